"""The poller when things die: nothing crashes, nothing is counted twice, the gap is visible."""

import signal
import socket
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
import redis

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.db.session import Database
from dashboard.embedded import postgres
from dashboard.fleet.registry import Fleet
from dashboard.monitoring import service
from dashboard.monitoring.jobs import LOCK_KEY, Poller
from dashboard.monitoring.types import Flag
from dashboard.work import Runtime, unit_of_work
from tests.support import odd_servers, servers
from tests.support.polling import (
    SteppingClock,
    Traffic,
    add_cache,
    assert_no_spike,
    counted,
    counted_gets,
    kinds,
    lookups,
    polling,
    rows,
    samples,
    value,
    wait_until,
    with_clock,
    worker_process,
)

pytestmark = pytest.mark.slow

ACTOR = Actor(None, "test", Role.ADMIN, "cli")


def test_redis_killed_and_restarted_under_the_poller(live_runtime: Runtime) -> None:
    database = live_runtime.database
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    cache_id = add_cache(live_runtime, url)
    # Whatever is started last outlives the poller: an outage at the very end would be told as one with the first.
    with ExitStack() as stack, polling(live_runtime):
        with servers.redis_server(port=port):
            wait_until(lambda: samples(database, cache_id) >= 1, "first poll")
            with redis.Redis.from_url(url) as client:
                before = lookups(client, 100)
            wait_until(lambda: counted(database, cache_id) == before, "lookups are counted")
        # Here the server was killed.
        wait_until(lambda: kinds(database, cache_id) == ["down"], "the outage is noted")
        wait_until(
            lambda: value(database, "SELECT failures FROM poll_state WHERE cache_id = :id", id=cache_id) >= 3,
            "it keeps trying",
        )
        with unit_of_work(live_runtime, ACTOR) as work:
            status = service.poll_status(work, cache_id)
            # The last known readings stay.
            assert service.facts(work, [cache_id])[cache_id].nodes
        assert status.error_code == "refused" and status.error and status.failing_since is not None
        stopped_at = samples(database, cache_id)
        stack.enter_context(servers.redis_server(port=port))
        with redis.Redis.from_url(url) as client:
            after = lookups(client, 40)
        wait_until(lambda: counted(database, cache_id) == before + after, "it comes back by itself")
        time.sleep(2.5)
        assert counted(database, cache_id) == before + after
    assert samples(database, cache_id) > stopped_at
    assert kinds(database, cache_id) == ["down", "restart"]
    outage = rows(database, "SELECT ts, until FROM cache_event WHERE kind = 'down'")[0]
    assert outage.until > outage.ts
    inside = value(
        database, "SELECT count(*) FROM sample WHERE ts > :a AND ts < :b", a=outage.ts, b=outage.until
    )
    assert inside == 0
    assert_no_spike(database, cache_id)


def test_postgresql_restarted_under_the_poller(
    live_runtime: Runtime, redis7_url: str, tmp_path: Path
) -> None:
    folder, port = tmp_path / "postgres", servers.free_port()
    with ExitStack() as stack:
        first = postgres.start(folder, port=port, config=servers.FAST_POSTGRES)
        stack.callback(first.stop)
        database = Database(first.url)
        stack.callback(database.dispose)
        migrations.upgrade(database)
        runtime = Runtime(
            live_runtime.settings, database, live_runtime.fleet, live_runtime.cipher, live_runtime.clock
        )
        cache_id = add_cache(runtime, redis7_url)
        poller = stack.enter_context(polling(runtime))
        wait_until(lambda: samples(database, cache_id) >= 1, "the first poll, from which is counted")
        traffic = stack.enter_context(Traffic(redis7_url))
        wait_until(lambda: counted(database, cache_id) > 0, "lookups are counted")
        first.stop()
        away_from = datetime.now(UTC)
        wait_until(lambda: not poller.is_polling, "it stops when the lock is lost", 15)
        time.sleep(3)
        back_at = datetime.now(UTC)
        second = postgres.start(folder, port=port, config=servers.FAST_POSTGRES)
        stack.callback(second.stop)
        wait_until(lambda: poller.is_polling, "it polls again")
        known = samples(database, cache_id)
        wait_until(lambda: samples(database, cache_id) > known + 1, "samples come again")
        traffic.stop()
        wait_until(lambda: counted(database, cache_id) == traffic.done, "the sum spans the outage")
        time.sleep(2.5)
        assert counted(database, cache_id) == traffic.done
        inside = "SELECT count(*) FROM sample WHERE ts > :a AND ts < :b"
        assert value(database, inside, a=away_from, b=back_at) == 0
        flags = [row.flags for row in rows(database, "SELECT flags FROM sample WHERE ts > :a", a=back_at)]
        assert any(flag & Flag.GAP for flag in flags)
        assert "gap" in kinds(database, cache_id)
        assert_no_spike(database, cache_id)


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "hung"])
def test_polling_passes_on_when_the_holder_dies(
    live_runtime: Runtime, fresh_database_url: str, redis7_url: str, tmp_path: Path, death: signal.Signals
) -> None:
    database = live_runtime.database
    cache_id = add_cache(live_runtime, redis7_url)
    holder = "SELECT holder FROM worker_state"

    def pid() -> int:
        return int(value(database, holder).rpartition(":")[2])

    with ExitStack() as stack:
        workers = {
            process.pid: process
            for process in (
                stack.enter_context(
                    worker_process(live_runtime, fresh_database_url, tmp_path / f"worker{number}.log")
                )
                for number in range(2)
            )
        }
        wait_until(lambda: samples(database, cache_id) >= 1, "the first holder polls")
        traffic = stack.enter_context(Traffic(redis7_url))
        wait_until(lambda: counted_gets(database, cache_id) > 100, "and goes on")
        first = pid()
        assert first in workers
        # Only one of them polls.
        holders = value(
            database,
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = :key"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            key=LOCK_KEY & 0xFFFF_FFFF,
        )
        assert holders == 1
        workers[first].send_signal(death)
        died_at = datetime.now(UTC)
        wait_until(
            lambda: (
                pid() != first
                and value(
                    database,
                    "SELECT count(*) FROM sample WHERE ts > :at",
                    at=died_at + timedelta(seconds=0.5),
                )
            ),
            "the other one polls",
            25,
        )
        took = value(
            database, "SELECT min(ts) FROM sample WHERE ts > :at", at=died_at + timedelta(seconds=0.5)
        )
        assert (took - died_at).total_seconds() < 15
        if death is signal.SIGSTOP:
            # It wakes up in the belief that it holds the lock.
            workers[first].send_signal(signal.SIGCONT)
            time.sleep(3)
            assert pid() != first
        wait_until(
            lambda: value(database, "SELECT max(ts) > now() - interval '3 s' FROM sample"), "it goes on"
        )
        traffic.stop()
        wait_until(lambda: counted_gets(database, cache_id) == traffic.done, "nothing is lost")
        time.sleep(2.5)
        assert counted_gets(database, cache_id) == traffic.done
        assert workers[first].poll() is None or death is signal.SIGKILL
    assert_no_spike(database, cache_id)


def test_a_worker_stops_when_asked(live_runtime: Runtime, fresh_database_url: str, tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with worker_process(live_runtime, fresh_database_url, log) as process:
        wait_until(lambda: rows(live_runtime.database, "SELECT 1 FROM worker_state"), "it polls")
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert "Traceback" not in log.read_text()


def test_a_redis_that_accepts_and_never_answers_delays_nobody(live_runtime: Runtime, redis7_url: str) -> None:
    database = live_runtime.database

    def never(sock: socket.socket) -> None:
        while sock.recv(4096):
            pass

    # Patient: whoever is well answers within that, on a busy machine, too.
    fleet = Fleet(timeout_s=5.0)
    with odd_servers.listener(never) as port, ExitStack() as stack:
        stack.callback(fleet.close)
        silent = [
            add_cache(live_runtime, f"redis://127.0.0.1:{port}/0", f"silent {number}") for number in range(4)
        ]
        lively = add_cache(live_runtime, redis7_url, "lively")
        with polling(replace(live_runtime, fleet=fleet)):
            for cache_id in silent:
                wait_until(
                    lambda cache_id=cache_id: kinds(database, cache_id) == ["down"], "its silence is noted"
                )
            from_here = samples(database, lively)
            wait_until(lambda: samples(database, lively) >= from_here + 6, "the other is polled")
    took = [
        row.dt_s
        for row in rows(database, "SELECT dt_s FROM sample WHERE cache_id = :id ORDER BY ts", id=lively)
    ]
    # A poll each second. Had it to wait for another, none would come sooner than its time-out of five seconds.
    assert statistics.median(took[-6:]) < 4
    codes = {row.error_code for row in rows(database, "SELECT error_code FROM poll_state WHERE failures > 0")}
    assert codes == {"timeout"}
    assert kinds(database, lively) == []


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)], ids=["forward", "back"])
def test_a_clock_step_stops_nothing_and_invents_nothing(
    live_runtime: Runtime, redis7_url: str, step: timedelta
) -> None:
    database, clock = live_runtime.database, SteppingClock()
    runtime = with_clock(live_runtime, clock)
    cache_id = add_cache(runtime, redis7_url)
    with ExitStack() as stack:
        poller = stack.enter_context(polling(runtime))
        wait_until(lambda: samples(database, cache_id) >= 1, "the first poll, from which is counted")
        traffic = stack.enter_context(Traffic(redis7_url))
        wait_until(lambda: samples(database, cache_id) >= 3, "polls")
        # What a step back does to a scheduler that waits for a time of day.
        for job in poller._scheduler.get_jobs():
            job.modify(next_run_time=datetime.now(UTC) + timedelta(hours=1))
        clock.step = step
        known = samples(database, cache_id)
        wait_until(lambda: samples(database, cache_id) >= known + 4, "polls go on after the step")
        traffic.stop()
        wait_until(lambda: counted(database, cache_id) == traffic.done, "nothing is lost or counted twice")
    found = rows(database, "SELECT dt_s, flags FROM sample WHERE cache_id = :id", id=cache_id)
    assert all(row.dt_s is None or row.dt_s < 20 for row in found)
    assert_no_spike(database, cache_id)


def test_caches_that_come_change_and_go_are_followed(live_runtime: Runtime, redis7_url: str) -> None:
    database = live_runtime.database
    with polling(live_runtime):
        cache_id = add_cache(live_runtime, redis7_url, interval_s=600)
        wait_until(lambda: samples(database, cache_id) == 1, "a new cache is polled at once")
        with database.transaction() as session:
            from sqlalchemy import text

            session.execute(text("UPDATE cache SET poll_interval_s = 1, revision = revision + 1"))
        wait_until(lambda: samples(database, cache_id) >= 3, "its new interval is kept")
        with database.transaction() as session:
            session.execute(text("DELETE FROM cache"))
        time.sleep(4)
        known = samples(database, cache_id)
        time.sleep(2.5)
        assert samples(database, cache_id) == known
        assert rows(database, "SELECT 1 FROM poll_state") == []


class _AtOnce(Poller):
    """Sees what a job would see that starts the moment it is scheduled."""

    seen: ClassVar[list[tuple[str, set[int]]]] = []

    def _schedule(self, job_id: str, *given: Any, **more: Any) -> None:
        self.seen.append((job_id, set(self._caches)))
        super()._schedule(job_id, *given, **more)


def test_a_job_that_starts_at_once_finds_its_cache(live_runtime: Runtime) -> None:
    cache_id = add_cache(live_runtime, "redis://127.0.0.1:1/0", interval_s=3600)
    _AtOnce(live_runtime)._follow()
    assert (f"cache-{cache_id}", {cache_id}) in _AtOnce.seen
