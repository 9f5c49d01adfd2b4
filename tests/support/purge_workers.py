"""Worker processes that do purges and scans and can be killed; cheap: forked from one that has imported everything.

``python -m tests.support.purge_workers`` is that process: it reads how a worker shall be as a line of JSON, forks it,
and answers with its process id.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.orm import Session

from dashboard.config import load_settings
from dashboard.invalidation import jobs
from dashboard.jobs import runner
from dashboard.jobs.runner import Runner
from dashboard.keyspace import jobs as keyspace
from dashboard.keyspace import scanning
from dashboard.work import Runtime, build_runtime

LEASE_S = 1.5
"""Instead of ten seconds: a test that kills fifty workers waits for fifty leases to end."""
CHECKPOINT_S = 0.3
"""As often a scan is saved, instead of every few seconds."""


class Mother:
    """The process that workers are forked from."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.purge_workers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fork(self, settings: dict[str, Any]) -> int:
        """A worker's process id."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(settings) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it; its workers are killed by whoever started them."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Workers:
    """Starts workers on one database, and ends them.

    Args:
        mother: that they are forked from.
        runtime: as theirs shall be.
        url: of the database.
    """

    def __init__(self, mother: Mother, runtime: Runtime, url: str) -> None:
        self._mother = mother
        self._settings = {
            "url": url,
            "secret_key": runtime.settings.secret_key.get_secret_value(),
            "timeout_s": runtime.settings.poll_timeout_s,
        }
        self._pids: set[int] = set()

    def start(self, *, dies: str = "", lease_s: float = LEASE_S) -> int:
        """Start one; its process id.

        Args:
            dies: when it kills itself: "running:before" and "running:after" the commit of that state of a purge,
                "journal 3:before" the third commit of the journal, "working:0.25" so many seconds after it first wrote
                the journal; "scan-done:before" and "checkpoint 3:before" the same of a scan; empty: it does not.
            lease_s: how long it owns what it claims without a sign of life.
        """
        pid = self._mother.fork({**self._settings, "dies": dies, "lease_s": lease_s})
        self._pids.add(pid)
        return pid

    def is_alive(self, pid: int) -> bool:
        """Whether it still runs; a dead one is reaped at once."""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        return True

    def signal(self, pid: int, what: signal.Signals) -> None:
        """Send a signal, unless it is gone."""
        with suppress(ProcessLookupError):
            os.kill(pid, what)

    def close(self) -> None:
        """Kill whatever still runs."""
        for pid in self._pids:
            self.signal(pid, signal.SIGKILL)


def _mother() -> None:
    # Children that end are gone at once.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                _work(json.loads(line))
            finally:
                os._exit(0)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def _work(settings: dict[str, Any]) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    runner.LEASE_S = settings["lease_s"]
    runner.MARGIN_S = settings["lease_s"] / 5
    runner.RENEW_EVERY_S = settings["lease_s"] / 6
    runner.CLAIM_EVERY_S = 0.05
    if settings["dies"]:
        _arm(*settings["dies"].split(":"))
    runtime = build_runtime(
        load_settings(secret_key=settings["secret_key"], poll_timeout_s=settings["timeout_s"]),
        database_url=settings["url"],
    )
    scanning.CHECKPOINT_S = CHECKPOINT_S  # type: ignore[misc]
    scanning.CHECKPOINT_SHARE = 1.0  # type: ignore[misc]
    handlers = {**jobs.handlers(runtime), **keyspace.handlers(runtime)}
    worker = Runner(runtime, handlers, beside=[lambda: jobs.fire_schedules(runtime)])
    worker.start()
    signal.sigwait({signal.SIGTERM})
    worker.stop()
    runtime.close()


def _arm(what: str, moment: str) -> None:
    """Have this process kill itself right before or right after a commit."""
    name, _, number = what.partition(" ")
    seen = 0
    # Other threads commit meanwhile, leases for example.
    here = threading.local()

    @event.listens_for(Engine, "before_cursor_execute")
    def look(
        connection: Connection, cursor: object, statement: str, parameters: Any, context: object, many: bool
    ) -> None:
        nonlocal seen
        if name in ("journal", "working", "checkpoint"):
            table = "keyspace_checkpoint" if name == "checkpoint" else "purge_segment"
            if statement.startswith(f"INSERT INTO {table}"):
                seen += 1
                if name == "working" and seen == 1:
                    threading.Timer(float(moment), os.kill, [os.getpid(), signal.SIGKILL]).start()
                here.is_next = seen == int(number or 0)
        elif statement.startswith(("UPDATE purge SET", "UPDATE keyspace_scan SET")):
            prefix = "" if statement.startswith("UPDATE purge") else "scan-"
            if f"{prefix}{parameters.get('state')}" == name:
                here.is_next = True

    def die() -> None:
        if getattr(here, "is_next", False):
            os.kill(os.getpid(), signal.SIGKILL)

    if moment == "before":
        event.listen(Engine, "commit", lambda connection: die())
    else:
        event.listen(Session, "after_commit", lambda session: die())


if __name__ == "__main__":
    _mother()
