"""Between the engine and PostgreSQL: the journal, the list of an exact selector, and what is asked of a running purge.

PostgreSQL may be away for a moment: what is to be written is tried again as long as the lease is ours for sure. After
that another worker may have it, and this one stops.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.errors import StoreUnavailable
from dashboard.invalidation import signals, store, trail
from dashboard.invalidation.signals import Finished, Segment
from dashboard.invalidation.types import Progress, Purge
from dashboard.jobs import service as jobs
from dashboard.jobs import types as asked
from dashboard.monitoring import service as monitoring
from dashboard.work import Runtime, UnitOfWork, unit_of_work

ACTOR: Final = Actor(user_id=None, name="worker", role=Role.ADMIN, source="worker")

_Answer = TypeVar("_Answer")


def patiently(runtime: Runtime, control: asked.Control, do: Callable[[UnitOfWork], _Answer]) -> _Answer:
    """Do something in a transaction of its own; again while PostgreSQL is away and the lease is ours.

    ``do`` must be such that a second time does no harm: the answer to a commit can get lost.

    Raises:
        asked.LeaseLost: the lease is not ours any more, or that can't be known.
    """
    return jobs.patiently(runtime, ACTOR, control, do)


class EngineControl:
    """``signals.Control``: the lease and the wishes, in the engine's words; counts lookups until they are stored."""

    def __init__(self, control: asked.Control) -> None:
        self._control = control
        self._lock = threading.Lock()
        self._hits = self._misses = 0
        self._halted = threading.Event()

    def check(self) -> None:
        """See ``signals.Control``."""
        if self._halted.is_set() and self._control.is_ours:
            raise signals.Paused
        try:
            self._control.check()
        except asked.LeaseLost:
            raise signals.LeaseLost from None
        except asked.CancelAsked:
            raise signals.Cancelled from None
        except (asked.PauseAsked, asked.Stopping):
            raise signals.Paused from None

    def wait(self, seconds: float) -> None:
        """See ``signals.Control``."""
        if not self._halted.is_set():
            self._control.wait(seconds)

    def looked_up(self, hits: int, misses: int) -> None:
        """See ``signals.Control``."""
        with self._lock:
            self._hits += hits
            self._misses += misses

    def take_lookups(self) -> tuple[int, int]:
        """What was looked up since the last time."""
        with self._lock:
            taken = self._hits, self._misses
            self._hits = self._misses = 0
        return taken

    def halt(self) -> None:
        """Have the engine stop as if it was paused."""
        self._halted.set()


class PurgeJournal:
    """``signals.Journal`` of one purge in one worker.

    Args:
        purge: as it stood when this worker began.
        control: whose halt is called when the cache became read-only.
    """

    def __init__(self, runtime: Runtime, job: asked.Control, purge: Purge, control: EngineControl) -> None:
        self._runtime = runtime
        self._job = job
        self._purge = purge
        self._control = control
        self._saved = purge.progress
        self.is_read_only = False

    def pending(self) -> Sequence[Segment]:
        """See ``signals.Journal``."""
        return self._do(lambda work: store.open_segments(work.session, self._purge.number))

    def next_number(self) -> int:
        """See ``signals.Journal``."""
        return self._do(lambda work: store.next_segment(work.session, self._purge.number))

    def commit(self, progress: Progress, begun: Sequence[Segment], finished: Sequence[Finished]) -> None:
        """See ``signals.Journal``."""
        lookups = self._control.take_lookups()
        is_repeat = False

        def save(work: UnitOfWork) -> Progress:
            nonlocal is_repeat
            # All the rest may be written twice; these are added up.
            owed = (0, 0) if is_repeat and self._is_saved(work, progress) else lookups
            is_repeat = True
            return self._commit(work, progress, begun, finished, owed)

        try:
            self._saved = self._do(save)
        except BaseException:
            self._control.looked_up(*lookups)
            raise
        if self.is_read_only:
            self._control.halt()

    def _is_saved(self, work: UnitOfWork, progress: Progress) -> bool:
        """Whether it was the answer to the commit that got lost, and not the commit."""
        purge = store.find_purge(work.session, self._purge.number)
        return purge is not None and purge.progress.updated_at == progress.updated_at

    def _commit(
        self,
        work: UnitOfWork,
        progress: Progress,
        begun: Sequence[Segment],
        finished: Sequence[Finished],
        lookups: tuple[int, int],
    ) -> Progress:
        purge, session = self._purge, work.session
        # After a crash of PostgreSQL's machine, segments are done again: their keys are gone, and count as skipped.
        jobs.commit_soon(work)
        assert purge.started_at is not None  # it runs
        progress = trail.follow(progress, self._saved, purge.started_at, work.now)
        # The purge's row before the job's, as everybody does.
        store.save_progress(
            session, purge.number, progress, max((segment.number + 1 for segment in begun), default=0)
        )
        jobs.fence(work, self._job.job)
        store.put_segments(session, purge.number, begun)
        wants_report = purge.plan.wants_report
        store.end_segments(session, purge.number, [each.number for each in finished], keep=wants_report)
        for each in finished:
            if wants_report and each.touched is not None:
                store.trim_segment(session, purge.number, each.number, each.touched)
        store_lookups(work, purge.cache_id, lookups)
        self.is_read_only = caches.get_cache(work, purge.cache_id).read_only
        return progress

    def _do(self, do: Callable[[UnitOfWork], _Answer]) -> _Answer:
        try:
            return patiently(self._runtime, self._job, do)
        except asked.LeaseLost:
            raise signals.LeaseLost from None


class CountNews:
    """Stores once a second how far a count is, for those who wait for it."""

    EVERY_S: Final = 1.0

    def __init__(self, runtime: Runtime, job: asked.Control, number: int) -> None:
        self._runtime = runtime
        self._job = job
        self._number = number
        self._lock = threading.Lock()
        self._told_s = runtime.clock.monotonic()

    def tell(self, counted: int, to_count: int) -> None:
        """So many keys were looked at, of so many. Any thread may call it; one of them stores it."""
        now_s = self._runtime.clock.monotonic()
        if now_s - self._told_s < self.EVERY_S or not self._lock.acquire(blocking=False):
            return
        try:
            self._told_s = now_s
            with unit_of_work(self._runtime, ACTOR) as work:
                jobs.enter(work, self._job.job)
                jobs.commit_soon(work)
                store.change_purge(work.session, self._number, counted=counted, to_count=to_count)
                jobs.fence(work, self._job.job)
        except StoreUnavailable:
            return  # the count itself waits for PostgreSQL at its end
        except asked.LeaseLost:
            raise signals.LeaseLost from None
        finally:
            self._lock.release()


class StoredInput:
    """``signals.Input``: the list beside a purge, read chunk by chunk, each in a transaction of its own."""

    def __init__(self, runtime: Runtime, job: asked.Control, number: int) -> None:
        self._runtime = runtime
        self._job = job
        self._number = number

    def chunks(self, first: int) -> Iterator[Sequence[bytes]]:
        """See ``signals.Input``."""
        index = first
        while (found := self._read(index)) is not None:
            start, items = found
            yield items[index - start :]
            index = start + len(items)

    def _read(self, index: int) -> tuple[int, list[bytes]] | None:
        try:
            return patiently(
                self._runtime,
                self._job,
                lambda work: store.input_chunk(work.session, self._number, index),
            )
        except asked.LeaseLost:
            raise signals.LeaseLost from None


def store_lookups(work: UnitOfWork, cache_id: int, lookups: tuple[int, int]) -> None:
    """Take lookups of ours, (hits, misses), off the cache's hit ratio."""
    if any(lookups):
        monitoring.record_self_lookups(work, cache_id, *lookups)
