"""The worker: polls the caches, keeps their history and their policies in force, runs purges and scans.

Any number may run: one of them polls, all of them do jobs.
"""

import logging
import signal
import threading
from types import FrameType

from dashboard.invalidation import jobs as invalidation
from dashboard.jobs.runner import Runner
from dashboard.keyspace import jobs as keyspace
from dashboard.lab import jobs as lab
from dashboard.monitoring.jobs import CacheJob, Poller
from dashboard.policies import jobs as policies
from dashboard.work import Runtime

log = logging.getLogger(__name__)


class Worker:
    """Background work of one process."""

    def __init__(self, runtime: Runtime) -> None:
        propagation = policies.Propagation(runtime)
        self._poller = Poller(
            runtime,
            beside=[
                CacheJob("policies", policies.EVERY_S, propagation.run),
                CacheJob("keyspace", keyspace.EVERY_S, keyspace.Automatic(runtime).run),
            ],
            upkeep=[policies.apply_retention, invalidation.expire, keyspace.upkeep],
        )
        handlers = {**invalidation.handlers(runtime), **keyspace.handlers(runtime)}
        if runtime.settings.lab:
            handlers |= lab.handlers(runtime)
        self._runner = Runner(
            runtime,
            handlers,
            beside=[lambda: invalidation.fire_schedules(runtime)],
        )

    @property
    def is_polling(self) -> bool:
        """Whether this process is the one that polls."""
        return self._poller.is_polling

    def start(self) -> None:
        """Begin, in threads of its own; returns at once, also when PostgreSQL is away."""
        self._poller.start()
        self._runner.start()

    def stop(self) -> None:
        """Stop and wait until nothing runs any more. The runtime stays open."""
        self._runner.stop()
        self._poller.stop()


def start_worker(runtime: Runtime) -> Worker:
    """Start the background work beside something else, as the demo does."""
    worker = Worker(runtime)
    worker.start()
    return worker


def run(runtime: Runtime) -> None:
    """Work until SIGTERM or SIGINT; to be called in the main thread of a process of its own."""
    stopping = threading.Event()

    def ask_to_stop(number: int, frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    worker = start_worker(runtime)
    log.info("worker started")
    stopping.wait()
    worker.stop()
    log.info("worker stopped")
