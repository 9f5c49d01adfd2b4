"""Use cases of schedules: a purge that was counted and approved once, made again each time a cron line fires."""

from datetime import UTC, datetime, timedelta
from typing import Final

from dashboard import access
from dashboard.access import Actor, Role
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import Conflict, InvalidInput, NotFound
from dashboard.invalidation import changing, cron, purges, store
from dashboard.invalidation.limits import limits
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import Plan, Schedule, State, When
from dashboard.work import UnitOfWork

MISSED_AFTER: Final = timedelta(hours=1)
"""A firing that nobody was there for is made up for until then, once; later it is only noted."""


def next_firings(line: str, after: datetime, count: int = 3) -> tuple[datetime, ...]:
    """When a cron line fires next, UTC.

    Raises:
        InvalidInput: it is no cron line, or one that never fires; field ``cron``.
    """
    return cron.firings(line, after, count)


def list_schedules(work: UnitOfWork, cache_id: int) -> list[Schedule]:
    """Schedules of a cache, the one that fires next first."""
    access.require(work.actor, Role.VIEWER)
    return store.list_schedules(work.session, cache_id)


def create_schedule(
    work: UnitOfWork,
    number: int,
    *,
    revision: int,
    line: str,
    reason: str = "",
    typed: str = "",
    confirmed_keys: int | None = None,
    plan: Plan | None = None,
) -> Schedule:
    """Make a schedule of a purge that was counted. That is used up by it, or cancelled where it had begun.

    Args:
        line: five cron fields, UTC.
        number, revision, reason, typed, confirmed_keys, plan: as for ``purges.approve``; ``plan.when`` says whether
            each purge runs at once or over a while.

    Raises:
        as ``purges.approve``; field ``cron``, too.
    """
    access.require(work.actor, Role.OPERATOR)
    purge, cache = changing.lock(work, number, revision)
    plan, preview, reason = purges.confirmed(
        work, purge, cache, reason=reason, typed=typed, confirmed_keys=confirmed_keys, plan=plan
    )
    if plan.when not in (When.NOW, When.OVER):
        raise InvalidInput("Not scheduled.", fields={"when": "Each purge runs at once, or over a while."})
    next_at = cron.firings(line, store.database_now(work.session))[0]
    schedule = store.insert_schedule(
        work.session,
        cache_id=cache.id,
        cron=cron.canonical(line),
        plan=plan,
        preview=preview,
        cap=preview.cap,
        reason=reason,
        actor=work.actor.name,
        created_at=work.now,
        next_at=next_at,
    )
    store.copy_input_to_schedule(work.session, number, schedule)
    if purge.started_at is not None:
        # What it did stays on record.
        changing.end(work, purge, Verb.CANCEL, cache, because=f"Made {_subject(schedule)} of it.")
    else:
        store.delete_purge(work.session, number)
    audit.record(
        work,
        "invalidation:schedule:create",
        _subject(schedule),
        after={
            "from": f"purge {number}",
            "cron": cron.canonical(line),
            **changing.asked(plan),
            "at most": preview.cap,
        },
        reason=reason,
        cache_name=cache.name,
    )
    return _get(work, schedule)


def pause_schedule(work: UnitOfWork, number: int, *, revision: int) -> Schedule:
    """Have a schedule not fire until it is resumed; the purges it made go on.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such schedule.
        Conflict: it was changed since it was shown.
    """
    schedule, cache = _lock(work, number, revision)
    if schedule.is_paused:
        raise Conflict(f"Schedule {number} is paused already.")
    return _change(work, schedule, cache, "pause", None)


def resume_schedule(work: UnitOfWork, number: int, *, revision: int) -> Schedule:
    """Have a paused schedule fire again, from its next moment on.

    Raises:
        as ``pause_schedule``; Refused: the cache is read-only now.
    """
    schedule, cache = _lock(work, number, revision)
    if not schedule.is_paused:
        raise Conflict(f"Schedule {number} is not paused.")
    caches.require_writable(cache)
    return _change(
        work, schedule, cache, "resume", cron.firings(schedule.cron, store.database_now(work.session))[0]
    )


def remove_schedule(work: UnitOfWork, number: int, *, revision: int) -> None:
    """Remove a schedule; the purges it made stay.

    Raises:
        as ``pause_schedule``.
    """
    schedule, cache = _lock(work, number, revision)
    store.delete_schedule(work.session, number)
    audit.record(
        work,
        "invalidation:schedule:remove",
        _subject(number),
        before={"cron": schedule.cron, "target": schedule.plan.selection.target},
        cache_name=cache.name,
    )


def fire_next(work: UnitOfWork, now: datetime) -> bool:
    """Make the purge of one schedule that is due; False when none is, or others are at it.

    The next moment is stored in the same transaction, so each firing happens once, whoever else tries.

    Args:
        now: PostgreSQL's time.
    """
    number = store.claim_due(work.session, now)
    if number is None:
        return False
    schedule = _get(work, number)
    cache = caches.get_cache(work, schedule.cache_id)
    due = schedule.next_at
    assert due is not None  # it is due
    note = _why_not(schedule, cache, due, now)
    store.change_schedule(
        work.session,
        number,
        next_at=cron.firings(schedule.cron, now, 1)[0],
        last_at=due,
        last_note=note,
    )
    # The log names the schedule as who acts, and who approved it in the entry of its making.
    acting = UnitOfWork(work.session, work.fleet, work.cipher, work.settings, _actor(number), work.now)
    if note:
        audit.record(
            acting,
            "invalidation:schedule:miss",
            _subject(number),
            after={"due": _shown(due), "why": note},
            result="failed",
            cache_name=cache.name,
        )
        return True
    _make(acting, schedule, cache, due)
    return True


def _make(work: UnitOfWork, schedule: Schedule, cache: Cache, due: datetime) -> None:
    number = store.insert_purge(
        work.session,
        cache_id=cache.id,
        state=State.WAITING,
        plan=schedule.plan,
        target=schedule.plan.selection.target,
        actor=schedule.by,
        source="schedule",
        now=work.now,
        reason=schedule.reason,
        schedule_id=schedule.number,
        approved_at=work.now,
        cap=schedule.cap,
    )
    store.change_purge(work.session, number, preview=schedule.preview)
    store.copy_input_from_schedule(work.session, schedule.number, number)
    purge = purges.get_purge(work, number)
    job = changing.add_run_job(work, purge, cache, limits(work, cache.id))
    store.change_purge(work.session, number, job_id=job)
    audit.record(
        work,
        "invalidation:schedule:fire",
        f"purge {number}",
        after={
            "state": State.WAITING.value,
            "schedule": schedule.number,
            "due": _shown(due),
            "target": schedule.plan.selection.target,
            "at most": schedule.cap,
        },
        reason=schedule.reason,
        cache_name=cache.name,
    )


def _why_not(schedule: Schedule, cache: Cache, due: datetime, now: datetime) -> str:
    if now - due > MISSED_AFTER:
        return f"Nothing ran at {_shown(due)}, nor in the hour after it."
    if cache.read_only:
        return f"{cache.name} is read-only."
    if schedule.last_state is not None and schedule.last_state.is_active:
        return f"Purge {schedule.last_purge}, which it made before, is not over yet."
    return ""


def _lock(work: UnitOfWork, number: int, revision: int) -> tuple[Schedule, Cache]:
    access.require(work.actor, Role.OPERATOR)
    schedule = store.find_schedule(work.session, number, lock=True)
    if schedule is None:
        raise NotFound(f"There is no schedule {number}.", what_to_do="Somebody may have removed it.")
    if schedule.revision != revision:
        raise Conflict(
            f"Somebody else changed schedule {number} since this page was opened.",
            what_to_do="Look at it again.",
        )
    return schedule, caches.get_cache(work, schedule.cache_id)


def _change(
    work: UnitOfWork, schedule: Schedule, cache: Cache, verb: str, next_at: datetime | None
) -> Schedule:
    store.change_schedule(work.session, schedule.number, next_at=next_at, revision=schedule.revision + 1)
    audit.record(
        work,
        f"invalidation:schedule:{verb}",
        _subject(schedule.number),
        before={"next": _shown(schedule.next_at)},
        after={"next": _shown(next_at)},
        cache_name=cache.name,
    )
    return _get(work, schedule.number)


def _get(work: UnitOfWork, number: int) -> Schedule:
    schedule = store.find_schedule(work.session, number)
    assert schedule is not None
    return schedule


def _actor(number: int) -> Actor:
    return Actor(None, _subject(number), Role.OPERATOR, "worker")


def _subject(number: int) -> str:
    return f"schedule {number}"


def _shown(at: datetime | None) -> str:
    return "paused" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
