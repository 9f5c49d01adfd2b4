"""The worker's part: does full scans, takes samples and begins scans by itself, removes what is old.

How a scan ended is committed together with the end of its job: a worker that lost its scan changes nothing any more.
What was collected and the cursors it was collected up to are one row: a scan that is taken over counts each key once.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final, TypeVar

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.caching.policy import PolicyTable
from dashboard.errors import Conflict, DashboardError, NotFound, StoreUnavailable
from dashboard.fleet.registry import Connection
from dashboard.jobs import service as jobs
from dashboard.jobs.types import CancelAsked, Control, Handler, Interrupted, LeaseLost
from dashboard.keyspace import looks, scanning, scans, snapshots, store
from dashboard.keyspace.collector import Collector
from dashboard.keyspace.limits import limits
from dashboard.keyspace.scanning import Checkpoint, Place
from dashboard.keyspace.snapshots import upkeep
from dashboard.keyspace.types import Kind, Scan, ScanLimits, ScanProgress, Snapshot, State
from dashboard.monitoring.types import ProbeLookups
from dashboard.policies import service as policies
from dashboard.work import Runtime, UnitOfWork, unit_of_work

__all__ = ["EVERY_S", "Automatic", "handlers", "upkeep"]

log = logging.getLogger(__name__)

ACTOR: Final = Actor(user_id=None, name="worker", role=Role.ADMIN, source="worker")
SCANS_AT_A_TIME: Final = 2
"""Of one worker process; a scan keeps a processor busy."""
EVERY_S: Final = 5.0
"""How often it is looked whether a cache is due."""
_TELL_EVERY_S: Final = 1.0
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _Begun:
    scan: Scan
    cache: Cache
    connection: Connection
    limits: ScanLimits
    policy_version: int
    collector: Collector
    start: Checkpoint | None


def handlers(runtime: Runtime) -> Mapping[str, Handler]:
    """Who does full scans, for the runner."""
    return {scans.SCAN: Handler(partial(_scan, runtime), SCANS_AT_A_TIME)}


class Automatic:
    """Samples and full scans that nobody asked for; done by the process that polls."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def run(self, cache: Cache, is_leading: Callable[[], bool]) -> None:
        """Do what is due for a cache.

        Args:
            is_leading: whether this process is still the one.

        Raises:
            StoreUnavailable: PostgreSQL is away.
        """
        with unit_of_work(self._runtime, ACTOR) as work:
            set_ = limits(work, cache.id)
            _begin_due(work, cache, set_)
            due_at = looks.due_at(work, cache.id, set_)
            if due_at is None or due_at > work.now:
                return
        found: Snapshot | None = None
        problem = ""
        try:
            found = looks.look_apart(self._runtime, ACTOR, cache.id)
        except NotFound:
            return  # it was removed
        except StoreUnavailable:
            raise
        except DashboardError as error:
            problem = error.in_full
        except Exception:
            log.exception("the sample of %s failed", cache.name)
            problem = "It failed in an unexpected way. The worker's log has the details."
        if not is_leading():
            return
        with unit_of_work(self._runtime, ACTOR) as work:
            if not caches.hold_cache(work, cache.id):
                return  # it was removed
            store.note_look(work.session, cache.id, work.now, problem)
            if found is not None:
                snapshots.keep(work, found)


def _begin_due(work: UnitOfWork, cache: Cache, set_: ScanLimits) -> None:
    if not set_.full_every_s:
        return
    last = store.last_asked(work.session, cache.id)
    if last is not None and work.now - last < timedelta(seconds=set_.full_every_s):
        return
    try:
        scans.ask(work, cache, "schedule")
    except Conflict:
        return  # somebody's is under way


# --- a full scan ------------------------------------------------------------------------------------------------


def _scan(runtime: Runtime, control: Control) -> None:
    def patiently(do: Callable[[UnitOfWork], _Answer]) -> _Answer:
        return jobs.patiently(runtime, ACTOR, control, do)

    begun = patiently(lambda work: _begin(work, control))
    if begun is None:
        return
    journal = _Journal(runtime, control, begun)
    state, problem = State.FAILED, ""
    found: Snapshot | None = None
    try:
        began_at = begun.scan.started_at or runtime.clock.now()
        scanned = scanning.scan(
            begun.connection,
            begun.limits,
            begun.collector,
            control,
            runtime.clock,
            start=begun.start,
            on_checkpoint=journal.save,
            on_lookups=journal.note,
            tell=journal.tell,
        )
        journal.progress = scanned.progress
        snapshot = begun.collector.snapshot(
            cache_id=begun.cache.id,
            kind=Kind.FULL,
            began_at=began_at,
            ended_at=runtime.clock.now(),
            keyspace=scanned.keyspace,
            size_every=scanned.size_every,
            policy_version=begun.policy_version,
        )
        found = replace(snapshot, notes=scanned.notes)
        state = State.DONE
    except CancelAsked:
        state = State.CANCELLED
    except Interrupted:
        raise
    except DashboardError as error:
        problem = error.in_full
    except Exception:
        log.exception("scan %d stopped", begun.scan.number)
        problem = "It stopped in an unexpected way. The worker's log has the details."

    def end(work: UnitOfWork) -> None:
        scan = replace(_lock(work, control), progress=journal.progress)
        store.save_progress(work.session, scan.number, scan.progress)
        kept = None if found is None else snapshots.keep(work, found).id
        scans.end(work, scan, state, begun.cache, problem=problem, snapshot_id=kept)
        jobs.finish(work, control.job)

    patiently(end)


def _begin(work: UnitOfWork, control: Control) -> _Begun | None:
    """Start it or take it over; None: it can't run, and is at its end."""
    scan = _lock(work, control)
    if scan.state.is_over:
        jobs.finish(work, control.job)
        return None
    cache = caches.get_cache(work, scan.cache_id)
    set_ = limits(work, cache.id)
    document = policies.document_in_force(work, cache.id)
    try:
        connection = caches.connect(work, cache)
    except DashboardError as error:
        # The stored URL can't be decrypted, say.
        scans.end(work, scan, State.FAILED, cache, problem=error.in_full)
        jobs.finish(work, control.job)
        return None
    version = document.version
    collector = Collector(PolicyTable.of(document), set_.delimiters)
    start = None
    kept = store.find_checkpoint(work.session, scan.number)
    if kept is not None:
        try:
            collector = Collector.restore(kept.collected)
        except ValueError:
            # Of an earlier release.
            log.warning("scan %d is begun again: its checkpoint can't be read", scan.number)
        else:
            version = kept.policy_version
            # What was collected so far was measured so.
            set_ = replace(set_, size_every=kept.size_every)
            places = tuple(Place(**each) for each in kept.places)
            # What is shown may be ahead of what was kept.
            looked_at = sum(place.looked_at for place in places)
            scan = replace(scan, progress=replace(scan.progress, looked_at=looked_at))
            start = Checkpoint(places, kept.collected, scan.progress)
            log.info("scan %d goes on at %d keys", scan.number, looked_at)
    if scan.state is State.WAITING:
        # What was asked before it began is still asked.
        store.change_scan(work.session, scan.number, state=State.RUNNING, started_at=work.now)
        scan = replace(scan, state=State.RUNNING, started_at=work.now)
    return _Begun(scan, cache, connection, set_, version, collector, start)


class _Journal:
    """Stores how far a scan is, for its successor and for those who watch.

    Args:
        begun: the scan.
    """

    def __init__(self, runtime: Runtime, control: Control, begun: _Begun) -> None:
        self._runtime = runtime
        self._control = control
        self._begun = begun
        self._told_s = runtime.clock.monotonic()
        self.progress = begun.scan.progress

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint in place of the last.

        Raises:
            LeaseLost: the scan is somebody else's.
        """
        self.progress = checkpoint.progress
        kept = store.KeptPlace(
            places=[asdict(each) for each in checkpoint.places],
            size_every=self._begun.limits.size_every,
            policy_version=self._begun.policy_version,
            collected=checkpoint.collected,
        )

        def put(work: UnitOfWork) -> None:
            number = self._begun.scan.number
            jobs.commit_soon(work)
            # The scan's row before the job's, as everybody does.
            store.save_progress(work.session, number, checkpoint.progress)
            jobs.fence(work, self._control.job)
            store.put_checkpoint(work.session, number, kept)

        jobs.patiently(self._runtime, ACTOR, self._control, put)

    def note(self, lookups: Sequence[ProbeLookups]) -> None:
        """Take lookups of ours off the cache's hit ratio; they were made whoever has the job.

        Raises:
            StoreUnavailable: PostgreSQL is away.
        """
        with unit_of_work(self._runtime, ACTOR) as work:
            jobs.let_go_soon(work)
            jobs.commit_soon(work)
            looks.note_lookups(work, self._begun.cache.id, lookups)

    def tell(self, progress: ScanProgress) -> None:
        """Show how far it is, once a second.

        Raises:
            LeaseLost: the scan is somebody else's.
        """
        self.progress = progress
        now_s = self._runtime.clock.monotonic()
        if now_s - self._told_s < _TELL_EVERY_S:
            return
        self._told_s = now_s
        try:
            with unit_of_work(self._runtime, ACTOR) as work:
                jobs.enter(work, self._control.job)
                jobs.commit_soon(work)
                store.save_progress(work.session, self._begun.scan.number, progress)
                jobs.fence(work, self._control.job)
        except StoreUnavailable:
            return  # the next checkpoint waits for PostgreSQL


def _lock(work: UnitOfWork, control: Control) -> Scan:
    """The scan, locked, in a transaction that commits only while the job is ours."""
    scan = store.find_scan(work.session, control.job.subject, lock=True)
    jobs.fence(work, control.job)
    if scan is None:
        raise LeaseLost
    return scan
