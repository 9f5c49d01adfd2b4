"""Pollers, caches and exact traffic for the fault tests."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import redis
from sqlalchemy import text

from dashboard.clock import Clock
from dashboard.db.session import Database
from dashboard.monitoring import store
from dashboard.monitoring.jobs import Poller
from dashboard.work import Runtime
from tests.support import history

INTERVAL_S = 1
WAIT_S = 40.0
"""Generous: a busy machine must not fail a test that is about something else."""


class SteppingClock(Clock):
    """The real clock, whose wall time can be stepped."""

    step = timedelta(0)

    def now(self) -> datetime:
        return super().now() + self.step


def wait_until(is_so: Callable[[], Any], what: str, timeout_s: float = WAIT_S) -> float:
    """Wait until ``is_so()`` is true; the seconds it took."""
    start = time.monotonic()
    while not is_so():
        assert time.monotonic() - start < timeout_s, f"not within {timeout_s} s: {what}"
        time.sleep(0.1)
    return time.monotonic() - start


def add_cache(runtime: Runtime, url: str, name: str = "shop", interval_s: int = INTERVAL_S) -> int:
    """A cache that is polled faster than the forms allow."""
    with runtime.database.transaction() as session:
        session.execute(text("ALTER TABLE cache DROP CONSTRAINT IF EXISTS ck_cache_poll_interval_s"))
        return history.add_cache(
            session,
            name,
            url=runtime.cipher.encrypt(url),
            poll_interval_s=interval_s,
            created_at=runtime.clock.now(),
        )


@contextmanager
def polling(runtime: Runtime) -> Iterator[Poller]:
    """A poller in this process."""
    poller = Poller(runtime)
    poller.start()
    try:
        yield poller
    finally:
        poller.stop()


def rows(database: Database, sql: str, **parameters: Any) -> list[Any]:
    """What the database has."""
    with database.transaction() as session:
        return list(session.execute(text(sql), parameters).all())


def value(database: Database, sql: str, **parameters: Any) -> Any:
    """The single value of ``sql``."""
    return rows(database, sql, **parameters)[0][0]


def counted(database: Database, cache_id: int) -> int:
    """Lookups the history has counted."""
    return int(
        value(
            database,
            "SELECT coalesce(sum(d_keyspace_hits + d_keyspace_misses), 0) FROM sample WHERE cache_id = :id",
            id=cache_id,
        )
    )


def counted_gets(database: Database, cache_id: int) -> int:
    """Calls of GET that the history has counted: of a whole worker, which looks things up itself, but not with GET."""
    return int(
        value(
            database,
            "SELECT coalesce(sum(CAST(commands #>> '{stats,get,0}' AS bigint)), 0) FROM ("
            " SELECT commands FROM command_sample WHERE cache_id = :id"
            " UNION ALL SELECT commands FROM poll_state WHERE cache_id = :id) AS part",
            id=cache_id,
        )
    )


def samples(database: Database, cache_id: int) -> int:
    """How many samples there are."""
    return int(value(database, "SELECT count(*) FROM sample WHERE cache_id = :id", id=cache_id))


def kinds(database: Database, cache_id: int) -> list[str]:
    """What happened to the cache, oldest first."""
    found = rows(database, "SELECT kind FROM cache_event WHERE cache_id = :id ORDER BY ts, id", id=cache_id)
    return [row.kind for row in found]


def assert_no_spike(database: Database, cache_id: int) -> None:
    """No rate is negative, or more than ``Traffic`` can make: it sends 300 commands a second at most."""
    found = rows(database, "SELECT * FROM sample WHERE cache_id = :id AND dt_s > 0 ORDER BY ts", id=cache_id)
    assert found
    for counter in store.STORED_GROWTH:
        # A reply of INFO has some thousand bytes; processor time is in microseconds.
        most_per_s = {"used_cpu_usec": 4e6}.get(counter, 400e3 if "bytes" in counter else 400)
        for row in found:
            growth = getattr(row, f"d_{counter}")
            assert growth is None or 0 <= growth <= most_per_s * row.dt_s, (counter, growth, row.dt_s, row.ts)


class Traffic:
    """Lookups, counted exactly, from a thread."""

    def __init__(self, url: str) -> None:
        self.done = 0
        self._client = redis.Redis.from_url(url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join(10)
        self._client.close()

    def _run(self) -> None:
        while not self._ended.wait(0.02):
            self.done += lookups(self._client, 5)


def lookups(client: redis.Redis, number: int) -> int:
    """Look ``number`` keys up, half of which are there."""
    client.set("there", 1)
    for turn in range(number):
        client.get("there" if turn % 2 else "not there")
    return number


@contextmanager
def worker_process(runtime: Runtime, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``cachewarden worker`` as a process of its own."""
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "CACHEWARDEN_SECRET_KEY": runtime.settings.secret_key.get_secret_value(),
        "CACHEWARDEN_LOG_LEVEL": "debug",
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboard", "worker"], env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def with_clock(runtime: Runtime, clock: Clock) -> Runtime:
    """The same parts with another clock."""
    return replace(runtime, clock=clock)
