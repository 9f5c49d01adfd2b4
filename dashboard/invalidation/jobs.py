"""The worker's part: counts drafts, runs what was approved, fires schedules, removes what nobody wants any more.

Every change of state is committed together with the end of the job or the fence of its claim: a worker that lost its
purge changes nothing any more.
"""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Final

from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.caching.policy import Policy, PolicyTable
from dashboard.errors import DashboardError, StoreUnavailable
from dashboard.fleet.registry import Connection
from dashboard.invalidation import changing, engine, report, schedules, store
from dashboard.invalidation.journal import (
    ACTOR,
    CountNews,
    EngineControl,
    PurgeJournal,
    StoredInput,
    patiently,
    store_lookups,
)
from dashboard.invalidation.limits import limits
from dashboard.invalidation.purges import STALE_AFTER
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import Limits, Preview, Purge, State
from dashboard.jobs import service as jobs
from dashboard.jobs.types import CancelAsked, Control, Handler, LeaseLost, PauseAsked
from dashboard.policies import service as policies
from dashboard.work import Runtime, UnitOfWork, unit_of_work

log = logging.getLogger(__name__)
_CHANCE = random.Random()

COUNTS_AT_A_TIME: Final = 2
RUNS_AT_A_TIME: Final = 4
"""Of one worker process."""
UNAPPROVED_KEPT: Final = timedelta(hours=24)
_MOST_EXPIRED: Final = 500
_MOST_FIRED: Final = 100


@dataclass(frozen=True, slots=True)
class _Begun:
    purge: Purge
    cache: Cache
    connection: Connection
    table: PolicyTable[Policy]
    limits: Limits


def handlers(runtime: Runtime) -> Mapping[str, Handler]:
    """Who counts and who runs purges, for the runner."""
    return {
        changing.COUNT: Handler(partial(_count, runtime), COUNTS_AT_A_TIME),
        changing.RUN: Handler(partial(_run, runtime), RUNS_AT_A_TIME),
    }


def fire_schedules(runtime: Runtime) -> None:
    """Make the purges that are due; every worker does so, and each firing happens once.

    PostgreSQL's clock says what is due: those of the workers may differ, and step.
    """
    with unit_of_work(runtime, ACTOR) as work:
        if not store.has_due(work.session, store.database_now(work.session)):
            return
    for _ in range(_MOST_FIRED):
        with unit_of_work(runtime, ACTOR) as work:
            jobs.let_go_soon(work)
            if not schedules.fire_next(work, store.database_now(work.session)):
                return


def expire(work: UnitOfWork) -> None:
    """Remove drafts and previews that nobody approved within a day, and old reports.

    A purge that had begun before it was counted again is cancelled instead: what it did stays on record.
    """
    before = work.now - UNAPPROVED_KEPT
    for number in store.list_stale(work.session, before, _MOST_EXPIRED):
        purge = store.find_purge(work.session, number, lock=True)
        # Somebody may have sent it back to be counted again before it was locked.
        if purge is None or not store.is_stale(work.session, number, before):
            continue
        cache = caches.get_cache(work, purge.cache_id)
        job_id = store.find_job(work.session, number)
        if job_id is not None:
            jobs.remove(work, job_id)
        why = "Nobody approved it within a day."
        if purge.started_at is not None:
            changing.end(work, purge, Verb.CANCEL, cache, because=why)
            continue
        audit.record(
            work,
            "invalidation:purge:expire",
            f"purge {number}",
            before={"state": purge.state.value, "target": purge.plan.selection.target},
            reason=why,
            cache_name=cache.name,
        )
        store.delete_purge(work.session, number)
    store.delete_old_reports(work.session, work.now - report.KEPT)


# --- counting ---------------------------------------------------------------------------------------------------


def _count(runtime: Runtime, control: Control) -> None:
    begun = patiently(runtime, control, lambda work: _begin_count(work, control))
    if begun is None:
        return
    purge, asks = begun.purge, EngineControl(control)
    news = CountNews(runtime, control, purge.number)
    found: Preview | str
    try:
        found = engine.count(
            begun.connection,
            purge.plan.selection,
            _input(runtime, control, purge),
            begun.table,
            begun.limits,
            asks,
            runtime.clock,
            _CHANCE.random,
            news.tell,
        )
    except engine.LeaseLost:
        raise LeaseLost from None
    except (engine.Paused, engine.Cancelled):
        control.check()
        raise
    except StoreUnavailable:
        raise
    except DashboardError as error:
        found = error.in_full
    except Exception:
        log.exception("purge %d could not be counted", purge.number)
        found = "It could not be counted. The worker's log has the details."
    else:
        found = replace(found, place=changing.place(begun.cache))
    result, lookups = found, asks.take_lookups()

    def end(work: UnitOfWork) -> None:
        locked = _lock(work, control)
        if isinstance(result, Preview):
            tells = {"keys": result.keys, "at most": result.cap}
            changing.move(
                work, locked, Verb.PREVIEW, begun.cache, tells=tells, preview=result, problem="", job_id=None
            )
            jobs.finish(work, control.job)
        else:
            _leave_uncounted(work, control, locked, begun.cache, result)
        store_lookups(work, locked.cache_id, lookups)

    patiently(runtime, control, end)


def _begin_count(work: UnitOfWork, control: Control) -> _Begun | None:
    purge = _lock(work, control)
    if purge.state is not State.DRAFT:
        jobs.finish(work, control.job)
        return None
    # What another worker had counted before it was killed is counted again.
    store.change_purge(work.session, purge.number, counted=0, to_count=0)
    try:
        return _opened(work, purge)
    except DashboardError as error:
        # The stored URL can't be decrypted, say.
        _leave_uncounted(work, control, purge, caches.get_cache(work, purge.cache_id), error.in_full)
        return None


def _leave_uncounted(work: UnitOfWork, control: Control, purge: Purge, cache: Cache, problem: str) -> None:
    store.change_purge(work.session, purge.number, problem=problem, job_id=None)
    audit.record(
        work,
        "invalidation:purge:preview",
        f"purge {purge.number}",
        after={"state": purge.state.value, "why": problem},
        result="failed",
        cache_name=cache.name,
    )
    jobs.finish(work, control.job)


# --- running ----------------------------------------------------------------------------------------------------


def _run(runtime: Runtime, control: Control) -> None:
    begun = patiently(runtime, control, lambda work: _begin_run(work, control))
    if begun is None:
        return
    purge, cache, asks = begun.purge, begun.cache, EngineControl(control)
    journal = PurgeJournal(runtime, control, purge, asks)
    settle = partial(_settle, runtime, control, cache, asks)
    assert purge.started_at is not None  # it has just been started, or was before
    try:
        engine.run(
            begun.connection,
            purge.plan,
            _input(runtime, control, purge),
            begun.table,
            begun.limits,
            purge.cap,
            purge.progress,
            journal,
            asks,
            runtime.clock,
            _CHANCE.random,
            max(0.0, (runtime.clock.now() - purge.started_at).total_seconds()),
            counts_first=_is_old(runtime, purge),
        )
    except engine.LeaseLost:
        raise LeaseLost from None
    except (engine.Paused, engine.Cancelled):
        if journal.is_read_only:
            settle(Verb.FAIL, problem=f"{cache.name} was made read-only while it ran.")
            return
        try:
            control.check()
        except CancelAsked:
            settle(Verb.CANCEL)
        except PauseAsked:
            settle(Verb.PAUSE)
    except engine.Failed as error:
        settle(Verb.FAIL, problem=error.in_full)
    except engine.Exceeded as error:
        settle(Verb.HOLD, problem=error.in_full, needs_count=True)
    except DashboardError as error:
        settle(Verb.HOLD, problem=error.in_full)
    except Exception:
        log.exception("purge %d stopped", purge.number)
        settle(Verb.HOLD, problem="It stopped in an unexpected way. The worker's log has the details.")
    else:
        settle(Verb.FINISH)


def _begin_run(work: UnitOfWork, control: Control) -> _Begun | None:
    """Start it or take it over; None: it can't run, and is at its end."""
    purge = _lock(work, control)
    if purge.state not in (State.WAITING, State.RUNNING):
        jobs.finish(work, control.job)
        return None
    cache = caches.get_cache(work, purge.cache_id)
    if cache.read_only:
        _leave(work, control, purge, cache, Verb.FAIL, problem=f"{cache.name} is read-only.")
        return None
    if purge.preview is not None and changing.is_elsewhere(purge.preview, cache):
        problem = f"{cache.name} is another server, or another database, than the one that was counted."
        advice = "Count again, and approve what is there."
        _leave(work, control, purge, cache, Verb.HOLD, problem=f"{problem} {advice}", needs_count=True)
        return None
    try:
        begun = _opened(work, purge)
    except DashboardError as error:
        _leave(work, control, purge, cache, Verb.FAIL, problem=error.in_full)
        return None
    if purge.state is State.RUNNING:
        log.info("purge %d is taken over, %d keys touched so far", purge.number, purge.progress.touched)
        return begun
    started = changing.move(
        work,
        purge,
        Verb.START,
        cache,
        tells=changing.touched(purge),
        started_at=purge.started_at or work.now,
        problem="",
        # What was asked before it began is still asked.
        wish=purge.wish,
    )
    return replace(begun, purge=started)


def _is_old(runtime: Runtime, purge: Purge) -> bool:
    """Whether it was counted so long ago that it could not be approved any more: it waited for its time, for its turn,
    or a schedule made it."""
    return purge.preview is None or runtime.clock.now() - purge.preview.counted_at > STALE_AFTER


def _settle(
    runtime: Runtime,
    control: Control,
    cache: Cache,
    asks: EngineControl,
    verb: Verb,
    *,
    problem: str = "",
    needs_count: bool = False,
) -> None:
    """Write down how it ended, for now or for good."""
    lookups = asks.take_lookups()

    def end(work: UnitOfWork) -> None:
        purge = _lock(work, control)
        _leave(work, control, purge, cache, verb, problem=problem, needs_count=needs_count)
        store_lookups(work, cache.id, lookups)

    patiently(runtime, control, end)


def _leave(
    work: UnitOfWork,
    control: Control,
    purge: Purge,
    cache: Cache,
    verb: Verb,
    *,
    problem: str = "",
    needs_count: bool = False,
) -> None:
    tells: dict[str, object] = {**changing.touched(purge)}
    if problem:
        tells["why"] = problem
    result = "failed" if verb in (Verb.FAIL, Verb.HOLD) else "done"
    if verb in (Verb.FINISH, Verb.CANCEL, Verb.FAIL):
        changing.end(work, purge, verb, cache, tells=tells, result=result, problem=problem)
    else:
        changing.move(
            work,
            purge,
            verb,
            cache,
            tells=tells,
            result=result,
            problem=problem,
            needs_count=needs_count,
            job_id=None,
        )
    jobs.finish(work, control.job)


# --- both -------------------------------------------------------------------------------------------------------


def _lock(work: UnitOfWork, control: Control) -> Purge:
    """The purge, locked, in a transaction that commits only while the job is ours."""
    purge = store.find_purge(work.session, control.job.subject, lock=True)
    jobs.fence(work, control.job)
    if purge is None:
        raise LeaseLost
    return purge


def _opened(work: UnitOfWork, purge: Purge) -> _Begun:
    cache = caches.get_cache(work, purge.cache_id)
    table = PolicyTable.of(policies.document_in_force(work, cache.id))
    return _Begun(purge, cache, caches.connect(work, cache), table, limits(work, cache.id))


def _input(runtime: Runtime, control: Control, purge: Purge) -> StoredInput | None:
    return StoredInput(runtime, control, purge.number) if purge.plan.selection.by.is_exact else None
