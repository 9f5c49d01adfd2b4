"""The runner: claims jobs and works on them in threads, in every worker process.

A job is leased for LEASE_S by PostgreSQL's clock, and one thread renews the leases of all jobs of this process. Whoever
can't renew stops by itself MARGIN_S before the lease ends, by its own clock (``uptime``), counted from the moment
before the last successful renewal was asked for: that can only be too early. A process that was stopped and wakes up
again finds its leases over at its next ``check``. Should it still be in the midst of a step, its next write to
PostgreSQL fails at the fence (``service.fence``).
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from dashboard.errors import DashboardError, StoreUnavailable
from dashboard.jobs import store
from dashboard.jobs.types import (
    CancelAsked,
    Handler,
    Interrupted,
    Job,
    LeaseLost,
    PauseAsked,
    Stopping,
    Wish,
)
from dashboard.work import Runtime

log = logging.getLogger(__name__)

LEASE_S = 10.0
RENEW_EVERY_S = 1.0
"""As often a process hears what is asked of its jobs, too."""
MARGIN_S = 2.0
CLAIM_EVERY_S = 0.2
BESIDE_EVERY_S = 1.0
LONGEST_PAUSE_S = 60.0


def uptime() -> float:
    """Seconds from an arbitrary start, never stepping back; where the system can tell, the time that the machine was
    suspended is in it: a lease ends meanwhile."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Held:
    """A job that this process holds; ``Control`` of its thread. Every method may be called from any thread."""

    def __init__(self, job: Job, good_until: float, stopping: threading.Event) -> None:
        self.job = job
        self._good_until = good_until
        self._stopping = stopping
        self._wish = job.wish
        self._is_lost = False
        self._news = threading.Event()
        if job.wish or stopping.is_set():
            self._news.set()

    @property
    def is_ours(self) -> bool:
        """Whether the lease is ours for sure."""
        return not self._is_lost and uptime() < self._good_until

    def check(self) -> None:
        """Go on? See ``Control``."""
        if not self.is_ours:
            raise LeaseLost
        if self._wish is Wish.CANCEL:
            raise CancelAsked
        if self._wish is Wish.PAUSE:
            raise PauseAsked
        if self._stopping.is_set():
            raise Stopping

    def wait(self, seconds: float) -> None:
        """Wait, until ``check`` would raise at most."""
        ends_at = uptime() + seconds
        while not self._news.is_set():
            # The lease may be prolonged while we wait, or run out.
            left = min(ends_at, self._good_until) - uptime()
            if left <= 0:
                return
            self._news.wait(left)

    def renewed(self, wish: Wish, good_until: float) -> None:
        """It is ours until then."""
        self._good_until = good_until
        self._wish = wish
        if wish:
            self._news.set()

    def lost(self) -> None:
        """It is somebody else's."""
        self._is_lost = True
        self._news.set()

    def stop(self) -> None:
        """This process ends."""
        self._news.set()


class Runner:
    """Works on jobs until it is stopped; used once.

    Args:
        handlers: by kind.
        beside: what else to do every second, in every process; each must bear that others do it, too.
        holder: this process's name in the database, by default host:pid.
    """

    def __init__(
        self,
        runtime: Runtime,
        handlers: Mapping[str, Handler],
        *,
        beside: Sequence[Callable[[], None]] = (),
        holder: str | None = None,
    ) -> None:
        self._runtime = runtime
        self._handlers = handlers
        self._beside = tuple(beside)
        self._holder = holder or f"{socket.gethostname()}:{os.getpid()}"
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._held: dict[int, Held] = {}
        self._threads: set[threading.Thread] = set()
        self._claimer = threading.Thread(target=self._claim_all, name="jobs", daemon=True)
        self._renewer = threading.Thread(target=self._renew_all, name="leases", daemon=True)
        self._is_over = threading.Event()
        self._store_is_away = False
        self._beside_at = 0.0

    @property
    def running(self) -> int:
        """How many jobs this process works on."""
        with self._lock:
            return len(self._held)

    def start(self) -> None:
        """Begin, in threads of its own; returns at once, also when PostgreSQL is away."""
        self._renewer.start()
        self._claimer.start()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Give the jobs back and wait until their threads have ended, for so long at most."""
        self._stopping.set()
        self._wake.set()
        ends_at = uptime() + timeout_s
        self._claimer.join(timeout_s)
        with self._lock:
            threads = list(self._threads)
            for held in self._held.values():
                held.stop()
        for thread in threads:
            thread.join(max(0.0, ends_at - uptime()))
        # Leases are renewed to the end: what comes to its end now must still be ours.
        self._is_over.set()
        self._renewer.join(max(1.0, ends_at - uptime()))

    # --- claiming -------------------------------------------------------------------------------------------

    def _claim_all(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()
            self._guarded(self._claim, "claiming jobs")
            if uptime() >= self._beside_at and not self._stopping.is_set():
                self._beside_at = uptime() + BESIDE_EVERY_S
                for step in self._beside:
                    self._guarded(step, "the work beside the jobs")
            self._wake.wait(CLAIM_EVERY_S)

    def _claim(self) -> None:
        while not self._stopping.is_set():
            kinds = self._free_kinds()
            if not kinds:
                return
            with self._runtime.database.transaction() as session:
                if not store.has_free(session, kinds):
                    return
            asked_at = uptime()
            with self._runtime.database.transaction() as session:
                store.let_go_soon(session)
                job = store.claim(session, kinds, self._holder, LEASE_S)
            if job is None:
                return
            held = Held(job, asked_at + LEASE_S - MARGIN_S, self._stopping)
            thread = threading.Thread(
                target=self._work, args=(held,), name=f"{job.kind} {job.subject}", daemon=True
            )
            with self._lock:
                # One that was lost to another process and came back at once may still have its old thread here.
                self._held[job.id] = held
                self._threads.add(thread)
            thread.start()

    def _free_kinds(self) -> list[str]:
        with self._lock:
            busy = [held.job.kind for held in self._held.values()]
        return [kind for kind, handler in self._handlers.items() if busy.count(kind) < handler.threads]

    def _work(self, held: Held) -> None:
        job = held.job
        log.debug("%s %d begins, attempt %d", job.kind, job.subject, job.attempt)
        again_after_s = 0.0
        try:
            self._handlers[job.kind].run(held)
        except LeaseLost:
            log.warning("%s %d went to another worker, or was taken off", job.kind, job.subject)
        except Interrupted:
            log.info("%s %d is given back", job.kind, job.subject)
        except StoreUnavailable as error:
            log.warning("%s %d is given back: %s", job.kind, job.subject, error)
            again_after_s = 1.0
        except Exception:
            log.exception("%s %d failed; it is tried again", job.kind, job.subject)
            again_after_s = min(LONGEST_PAUSE_S, 2.0 ** min(job.attempt, 10))
        self._give_back(job, again_after_s)
        with self._lock:
            if self._held.get(job.id) is held:
                del self._held[job.id]
            self._threads.discard(threading.current_thread())
        self._wake.set()

    def _give_back(self, job: Job, after_s: float) -> None:
        """End the lease; a job that is over, or somebody else's, is not touched by that."""
        try:
            with self._runtime.database.transaction() as session:
                store.let_go_soon(session)
                store.release(session, job.id, job.attempt, after_s)
        except DashboardError as error:
            log.warning("%s %d keeps its lease until it ends: %s", job.kind, job.subject, error)

    # --- leases ---------------------------------------------------------------------------------------------

    def _renew_all(self) -> None:
        while not self._is_over.wait(RENEW_EVERY_S):
            self._guarded(self._renew, "renewing leases")

    def _renew(self) -> None:
        with self._lock:
            mine = [held for held in self._held.values() if held.is_ours]
        if not mine:
            return
        asked_at = uptime()
        with self._runtime.database.transaction() as session:
            store.let_go_soon(session)
            wishes = store.renew(session, [(held.job.id, held.job.attempt) for held in mine], LEASE_S)
        for held in mine:
            if held.job.id in wishes:
                held.renewed(wishes[held.job.id], asked_at + LEASE_S - MARGIN_S)
            else:
                held.lost()

    def _guarded(self, step: Callable[[], None], what: str) -> None:
        try:
            step()
        except StoreUnavailable as error:
            if not self._store_is_away:
                log.warning("%s Jobs go on when it is back.", error)
            self._store_is_away = True
        except Exception:
            log.exception("%s failed; it is tried again", what)
        else:
            self._store_is_away = False
