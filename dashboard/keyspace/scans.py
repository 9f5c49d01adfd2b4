"""Full scans: asked for, cancelled, looked at. A worker does them (``jobs``)."""

from collections.abc import Mapping
from typing import Any, Final

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import Conflict, NotFound
from dashboard.jobs import service as jobs
from dashboard.jobs.types import Wish
from dashboard.keyspace import store
from dashboard.keyspace.types import Scan, State
from dashboard.work import UnitOfWork

SCAN: Final = "keyspace.scan"
"""Kind of the job."""
LISTED: Final = 20
_WORDS: Final = {
    State.WAITING: "waiting",
    State.RUNNING: "running",
    State.DONE: "done",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
}


def start_scan(work: UnitOfWork, cache_id: int) -> Scan:
    """Have a worker look at every key of a cache. Nothing is changed in it, so read-only caches may be scanned.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache.
        Conflict: one is under way.
    """
    require(work.actor, Role.OPERATOR)
    cache = caches.get_cache(work, cache_id)
    return ask(work, cache, work.actor.name)


def ask(work: UnitOfWork, cache: Cache, by: str) -> Scan:
    """The same for the worker, which asks in the name of the schedule.

    Raises:
        Conflict: one is under way.
    """
    number = store.insert_scan(work.session, cache.id, by, work.now)
    if number is None:
        raise Conflict(
            f"A scan of {cache.name} is under way already.", what_to_do="Wait for it, or cancel it first."
        )
    # The lane is of width one; the index of the table sees to it as well.
    job_id = jobs.add(work, SCAN, number, cache_id=cache.id, lane=f"cache {cache.id}")
    store.change_scan(work.session, number, job_id=job_id)
    record(work, "start", number, cache, after={"state": State.WAITING.value, "asked by": by})
    return _kept(work, number)


def cancel_scan(work: UnitOfWork, cache_id: int, number: int) -> Scan:
    """End a scan for good; what it saw so far is dropped.

    A scan that a worker holds is asked to end, which takes a second or two.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such scan of this cache.
        Conflict: it is over.
    """
    require(work.actor, Role.OPERATOR)
    cache = caches.get_cache(work, cache_id)
    scan = store.find_scan(work.session, number, lock=True)
    if scan is None or scan.cache_id != cache_id:
        raise _gone(number)
    if scan.state.is_over:
        raise Conflict(f"Scan {number} is {_WORDS[scan.state]} already.")
    job_id = store.find_job(work.session, number)
    job = None if job_id is None else jobs.lock(work, job_id)
    if job is not None and job.is_held:
        if scan.wish != Wish.CANCEL.value:
            jobs.ask(work, job.id, Wish.CANCEL)
            store.change_scan(work.session, number, wish=Wish.CANCEL.value)
            record(work, "ask-cancel", number, cache)
        return _kept(work, number)
    if job is not None:
        jobs.remove(work, job.id)
    return end(work, scan, State.CANCELLED, cache)


def get_scan(work: UnitOfWork, cache_id: int, number: int) -> Scan:
    """One scan.

    Raises:
        NotFound: there is no such scan of this cache.
    """
    require(work.actor, Role.VIEWER)
    scan = store.find_scan(work.session, number)
    if scan is None or scan.cache_id != cache_id:
        raise _gone(number)
    return scan


def find_scan(work: UnitOfWork, cache_id: int) -> Scan | None:
    """The scan of a cache that is under way, else its last one; None: there never was one."""
    require(work.actor, Role.VIEWER)
    found = store.list_scans(work.session, cache_id, limit=1)
    return found[0] if found else None


def list_scans(
    work: UnitOfWork, cache_id: int, *, before: int | None = None, limit: int = LISTED
) -> list[Scan]:
    """Scans of a cache, newest first; only numbers below ``before``."""
    require(work.actor, Role.VIEWER)
    return store.list_scans(work.session, cache_id, before=before, limit=limit)


def end(
    work: UnitOfWork,
    scan: Scan,
    state: State,
    cache: Cache,
    *,
    problem: str = "",
    snapshot_id: int | None = None,
) -> Scan:
    """Write down how a locked scan ended; its job is the caller's to end."""
    store.change_scan(
        work.session,
        scan.number,
        state=state,
        ended_at=work.now,
        wish="",
        problem=problem,
        snapshot_id=snapshot_id,
        job_id=None,
    )
    store.delete_checkpoint(work.session, scan.number)
    verb = {State.DONE: "done", State.CANCELLED: "cancel", State.FAILED: "fail"}[state]
    tells = {"state": state.value, "keys looked at": scan.progress.looked_at}
    record(
        work,
        verb,
        scan.number,
        cache,
        before={"state": scan.state.value},
        after=tells | ({"why": problem} if problem else {}),
        result="failed" if state is State.FAILED else "done",
    )
    return _kept(work, scan.number)


def record(
    work: UnitOfWork,
    verb: str,
    number: int,
    cache: Cache,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    result: str = "done",
) -> None:
    """Write an audit entry about a scan."""
    audit.record(
        work,
        f"keyspace:scan:{verb}",
        f"scan {number}",
        before=before,
        after=after,
        result=result,
        cache_name=cache.name,
    )


def _kept(work: UnitOfWork, number: int) -> Scan:
    scan = store.find_scan(work.session, number)
    assert scan is not None  # it is locked, or was made by this transaction
    return scan


def _gone(number: int) -> NotFound:
    return NotFound(
        f"There is no scan {number} of this cache.", what_to_do="Old ones are forgotten after 35 days."
    )
