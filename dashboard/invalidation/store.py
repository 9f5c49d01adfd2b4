"""SQL of purges: their rows, their lists of keys, the journal, limits and schedules."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, insert, literal, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from dashboard.invalidation import stored
from dashboard.invalidation.distinct import distinct
from dashboard.invalidation.models import (
    PurgeInputRow,
    PurgeLimitsRow,
    PurgeRow,
    PurgeScheduleInputRow,
    PurgeScheduleRow,
    PurgeSegmentRow,
)
from dashboard.invalidation.signals import Segment
from dashboard.invalidation.types import (
    Limits,
    Plan,
    Preview,
    Progress,
    Purge,
    PurgeMark,
    Schedule,
    State,
    When,
)

__all__ = ["Session"]

_ANEW: Final = {"populate_existing": True}
_ACTIVE: Final = tuple(state.value for state in State if state.is_active)
_LARGEST: Final = 2**63


# --- purges ------------------------------------------------------------------------------------------------------


_BEGAN = or_(PurgeRow.started_at.is_not(None), PurgeRow.schedule_id.is_not(None))
"""Whatever its approval is now."""


def insert_purge(
    session: Session,
    *,
    cache_id: int,
    state: State,
    plan: Plan,
    target: str,
    actor: str,
    source: str,
    now: datetime,
    **values: Any,
) -> int:
    """Add a purge; its number."""
    row = {
        "cache_id": cache_id,
        "state": state.value,
        "plan": stored.plan_to_json(plan),
        "target": target,
        "progress": {},
        "actor": actor,
        "source": source,
        "created_at": now,
        "drafted_at": now,
        **values,
    }
    return session.execute(insert(PurgeRow).values(row).returning(PurgeRow.id)).scalar_one()


def find_purge(session: Session, number: int, *, lock: bool = False) -> Purge | None:
    """The purge, or None; locked, nobody else changes it until the transaction ends."""
    if not 0 < number < _LARGEST:
        return None  # comes from a URL; PostgreSQL would refuse to compare it
    query = select(PurgeRow).where(PurgeRow.id == number)
    if lock:
        query = query.with_for_update()
    row = session.scalars(query, execution_options=_ANEW).one_or_none()
    return None if row is None else _purge(row)


def find_job(session: Session, number: int) -> int | None:
    """Id of the purge's open job."""
    return session.scalar(select(PurgeRow.job_id).where(PurgeRow.id == number))


def list_purges(
    session: Session,
    cache_id: int,
    *,
    words: str,
    states: Sequence[State],
    before: int | None,
    limit: int,
    only_approved: bool = False,
) -> list[Purge]:
    """Purges of a cache, newest first.

    Args:
        words: in the target, the person or the reason, in upper or lower case; empty: whichever.
        states: empty: all.
        before: only numbers below.
        only_approved: only those that were ever let run.
    """
    query = select(PurgeRow).where(PurgeRow.cache_id == cache_id)
    if only_approved:
        query = query.where(or_(PurgeRow.approved_at.is_not(None), _BEGAN))
    if words:
        query = query.where(
            or_(
                *(
                    column.icontains(words, autoescape=True)
                    for column in (PurgeRow.target, PurgeRow.actor, PurgeRow.reason)
                )
            )
        )
    if states:
        query = query.where(PurgeRow.state.in_([state.value for state in states]))
    if before is not None:
        query = query.where(PurgeRow.id < min(max(before, 0), _LARGEST - 1))
    found = session.scalars(query.order_by(PurgeRow.id.desc()).limit(limit), execution_options=_ANEW)
    return [_purge(row) for row in found]


def list_under_way(session: Session) -> list[tuple[State, When]]:
    """Of each approved purge that is not over, where it stands and when it is to run."""
    query = select(PurgeRow.state, PurgeRow.plan["when"].astext).where(PurgeRow.state.in_(_ACTIVE))
    return [(State(state), When(when)) for state, when in session.execute(query)]


def list_active(session: Session) -> list[Purge]:
    """Approved purges of all caches that are not over, oldest first."""
    query = select(PurgeRow).where(PurgeRow.state.in_(_ACTIVE)).order_by(PurgeRow.id)
    return [_purge(row) for row in session.scalars(query, execution_options=_ANEW)]


def list_reopened(session: Session, cache_id: int) -> list[Purge]:
    """Purges of a cache that were let run once and are counted again: they wait for another approval."""
    states = (State.DRAFT.value, State.PREVIEWED.value)
    query = select(PurgeRow).where(PurgeRow.cache_id == cache_id, PurgeRow.state.in_(states), _BEGAN)
    return [_purge(row) for row in session.scalars(query, execution_options=_ANEW)]


def find_newest(session: Session, cache_id: int) -> int:
    """The number of the purge of a cache that began last; 0: none has."""
    row = PurgeRow
    query = select(row.id).where(row.cache_id == cache_id, row.started_at.is_not(None))
    return session.scalar(query.order_by(row.started_at.desc()).limit(1)) or 0


def list_started(
    session: Session, cache_id: int, start: datetime, end: datetime, limit: int
) -> list[PurgeMark]:
    """Purges of a cache that began within a span, oldest first; the newest ``limit``."""
    row = PurgeRow
    query = (
        select(row.id, row.started_at, row.target, row.actor, row.reason)
        .where(row.cache_id == cache_id, row.started_at >= start, row.started_at <= end)
        .order_by(row.started_at.desc())
        .limit(limit)
    )
    return [
        PurgeMark(number, at, target, by, reason)
        for number, at, target, by, reason in reversed(session.execute(query).all())
        if at is not None
    ]


def change_purge(
    session: Session,
    number: int,
    *,
    plan: Plan | None = None,
    preview: Preview | None = None,
    progress: Progress | None = None,
    state: State | None = None,
    **values: Any,
) -> None:
    """Store what changed of a purge that is locked; a new state raises the revision."""
    if plan is not None:
        values["plan"] = stored.plan_to_json(plan)
    if preview is not None:
        values["preview"] = stored.preview_to_json(preview)
    if progress is not None:
        values["progress"] = stored.progress_to_json(progress)
    if state is not None:
        values |= {"state": state.value, "revision": PurgeRow.revision + 1}
    session.execute(update(PurgeRow).where(PurgeRow.id == number).values(values))


def list_stale(session: Session, before: datetime, limit: int) -> list[int]:
    """Numbers of drafts and previews from before then."""
    query = select(PurgeRow.id).where(_stale(before))
    return list(session.scalars(query.order_by(PurgeRow.id).limit(limit)))


def is_stale(session: Session, number: int, before: datetime) -> bool:
    """Whether a purge is a draft or a preview from before then."""
    return session.scalar(select(PurgeRow.id).where(PurgeRow.id == number, _stale(before))) is not None


def _stale(before: datetime) -> ColumnElement[bool]:
    unapproved = (State.DRAFT.value, State.PREVIEWED.value)
    return and_(PurgeRow.state.in_(unapproved), PurgeRow.drafted_at < before)


def delete_purge(session: Session, number: int) -> None:
    """Remove a purge with its lists and its journal."""
    session.execute(delete(PurgeRow).where(PurgeRow.id == number))


def _purge(row: PurgeRow) -> Purge:
    return Purge(
        number=row.id,
        cache_id=row.cache_id,
        state=State(row.state),
        plan=stored.plan_from_json(row.plan),
        preview=None if row.preview is None else stored.preview_from_json(row.preview),
        progress=stored.progress_from_json(row.progress),
        cap=row.cap,
        reason=row.reason,
        problem=row.problem,
        by=row.actor,
        source=row.source,
        schedule_id=row.schedule_id,
        wish=row.wish,
        created_at=row.created_at,
        approved_at=row.approved_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        revision=row.revision,
        needs_count=row.needs_count,
        counted=row.counted,
        to_count=row.to_count,
    )


# --- lists of keys and identifiers -------------------------------------------------------------------------------


def put_input(session: Session, number: int, keys: Iterable[bytes], *, most: int) -> int:
    """Store the list of an exact selector in chunks, each item once, reading it once.

    Args:
        most: stop reading behind so many.

    Returns:
        How many there are; more than ``most``: there were too many.
    """
    count = 0
    for chunk in stored.chunks(distinct(keys)):
        row = {"purge_id": number, "seq": count, "count": len(chunk), "keys": stored.pack(chunk)}
        session.execute(insert(PurgeInputRow).values(row))
        count += len(chunk)
        if count > most:
            break
    return count


def input_chunk(session: Session, number: int, index: int) -> tuple[int, list[bytes]] | None:
    """The chunk that holds the item ``index``: index of its first item, and its items; None: behind the end."""
    row = session.execute(
        select(PurgeInputRow.seq, PurgeInputRow.keys)
        .where(
            PurgeInputRow.purge_id == number,
            PurgeInputRow.seq <= index,
            PurgeInputRow.seq + PurgeInputRow.count > index,
        )
        .order_by(PurgeInputRow.seq.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.seq, stored.unpack(row.keys))


def first_inputs(session: Session, numbers: Sequence[int], most: int) -> dict[int, list[bytes]]:
    """The first items of the lists of these purges, at most ``most`` of each; those without a list are left out."""
    query = select(PurgeInputRow.purge_id, PurgeInputRow.keys)
    found = session.execute(query.where(PurgeInputRow.purge_id.in_(numbers), PurgeInputRow.seq == 0))
    return {row.purge_id: stored.unpack(row.keys)[:most] for row in found}


def copy_input_to_schedule(session: Session, number: int, schedule: int) -> None:
    """Give a schedule the list of a purge."""
    found = select(literal(schedule), PurgeInputRow.seq, PurgeInputRow.count, PurgeInputRow.keys)
    session.execute(
        insert(PurgeScheduleInputRow).from_select(
            ["purge_schedule_id", "seq", "count", "keys"], found.where(PurgeInputRow.purge_id == number)
        )
    )


def copy_input_from_schedule(session: Session, schedule: int, number: int) -> None:
    """Give a purge the list of its schedule."""
    row = PurgeScheduleInputRow
    found = select(literal(number), row.seq, row.count, row.keys).where(row.purge_schedule_id == schedule)
    session.execute(insert(PurgeInputRow).from_select(["purge_id", "seq", "count", "keys"], found))


# --- the journal -------------------------------------------------------------------------------------------------


def save_progress(session: Session, number: int, progress: Progress, next_segment: int) -> None:
    """Store how far a purge is; ``next_segment`` only ever rises."""
    session.execute(
        update(PurgeRow)
        .where(PurgeRow.id == number)
        .values(
            progress=stored.progress_to_json(progress),
            next_segment=func.greatest(PurgeRow.next_segment, next_segment),
        )
    )


def put_segments(session: Session, number: int, segments: Sequence[Segment]) -> None:
    """Add segments that begin; those that are there already, from a commit whose answer was lost, stay."""
    rows = [
        {
            "purge_id": number,
            "seq": segment.number,
            "count": len(segment.keys),
            "keys": stored.pack(segment.keys),
            "node": segment.node,
            "is_done": False,
        }
        for segment in segments
    ]
    if rows:
        session.execute(upsert(PurgeSegmentRow).on_conflict_do_nothing(), rows)


def end_segments(session: Session, number: int, seqs: Sequence[int], *, keep: bool) -> None:
    """Mark segments as done, or remove them."""
    if not seqs:
        return
    mine = and_(PurgeSegmentRow.purge_id == number, PurgeSegmentRow.seq.in_(list(seqs)))
    session.execute(
        update(PurgeSegmentRow).where(mine).values(is_done=True)
        if keep
        else delete(PurgeSegmentRow).where(mine)
    )


def trim_segment(session: Session, number: int, seq: int, keys: Sequence[bytes]) -> None:
    """Leave only these keys in a segment that is kept."""
    session.execute(
        update(PurgeSegmentRow)
        .where(PurgeSegmentRow.purge_id == number, PurgeSegmentRow.seq == seq)
        .values(keys=stored.pack(keys), count=len(keys))
    )


def close_segments(session: Session, number: int) -> int:
    """Take segments that were begun and not finished for done; how many keys they hold."""
    mine = and_(PurgeSegmentRow.purge_id == number, PurgeSegmentRow.is_done.is_(False))
    closed = session.scalars(
        update(PurgeSegmentRow).where(mine).values(is_done=True).returning(PurgeSegmentRow.count),
        execution_options={"synchronize_session": False},
    )
    return sum(closed)


def open_keys(session: Session, number: int) -> int:
    """How many keys are in segments that were begun and not finished."""
    query = select(func.coalesce(func.sum(PurgeSegmentRow.count), 0)).where(
        PurgeSegmentRow.purge_id == number, PurgeSegmentRow.is_done.is_(False)
    )
    return int(session.execute(query).scalar_one())


def open_segments(session: Session, number: int) -> list[Segment]:
    """Segments that were begun and not finished, in order."""
    query = select(PurgeSegmentRow).where(
        PurgeSegmentRow.purge_id == number, PurgeSegmentRow.is_done.is_(False)
    )
    return [
        Segment(
            number=row.seq,
            node=row.node,
            keys=tuple(stored.unpack(row.keys)),
        )
        for row in session.scalars(query.order_by(PurgeSegmentRow.seq), execution_options=_ANEW)
    ]


def next_segment(session: Session, number: int) -> int:
    """A number above those of all segments that were ever begun."""
    return session.execute(select(PurgeRow.next_segment).where(PurgeRow.id == number)).scalar_one()


def report_chunk(session: Session, number: int, after: int) -> tuple[int, list[bytes]] | None:
    """The first finished segment above number ``after``: its number and its keys."""
    row = session.execute(
        select(PurgeSegmentRow.seq, PurgeSegmentRow.keys)
        .where(
            PurgeSegmentRow.purge_id == number,
            PurgeSegmentRow.seq > after,
            PurgeSegmentRow.is_done.is_(True),
        )
        .order_by(PurgeSegmentRow.seq)
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.seq, stored.unpack(row.keys))


def delete_old_reports(session: Session, before: datetime) -> None:
    """Remove the reports of purges that ended before then."""
    old = select(PurgeRow.id).where(PurgeRow.ended_at < before)
    session.execute(delete(PurgeSegmentRow).where(PurgeSegmentRow.purge_id.in_(old)))


def clear_work(session: Session, number: int, *, keep_report: bool) -> None:
    """Remove what a purge that is over needs no more: its list, and its journal unless that is the report."""
    session.execute(delete(PurgeInputRow).where(PurgeInputRow.purge_id == number))
    if not keep_report:
        session.execute(delete(PurgeSegmentRow).where(PurgeSegmentRow.purge_id == number))


# --- limits ------------------------------------------------------------------------------------------------------


def find_limits(session: Session, cache_id: int) -> Limits | None:
    """What was set for a cache."""
    row = session.scalars(
        select(PurgeLimitsRow).where(PurgeLimitsRow.cache_id == cache_id), execution_options=_ANEW
    ).one_or_none()
    return None if row is None else Limits(**{name: getattr(row, name) for name in Limits.__slots__})


def put_limits(session: Session, cache_id: int, limits: Limits) -> bool:
    """Set a cache's limits if they are still at ``limits.revision``; it rises by one."""
    values = {name: getattr(limits, name) for name in Limits.__slots__} | {"revision": limits.revision + 1}
    query = upsert(PurgeLimitsRow).values(cache_id=cache_id, **values)
    if limits.revision:
        done = session.execute(
            update(PurgeLimitsRow)
            .where(PurgeLimitsRow.cache_id == cache_id, PurgeLimitsRow.revision == limits.revision)
            .values(values)
            .returning(PurgeLimitsRow.revision)
        )
    else:
        done = session.execute(query.on_conflict_do_nothing().returning(PurgeLimitsRow.revision))
    return done.one_or_none() is not None


# --- schedules ---------------------------------------------------------------------------------------------------


def insert_schedule(session: Session, **values: Any) -> int:
    """Add a schedule; its number."""
    plan: Plan = values.pop("plan")
    preview: Preview = values.pop("preview")
    row = {"plan": stored.plan_to_json(plan), "preview": stored.preview_to_json(preview), **values}
    return session.execute(insert(PurgeScheduleRow).values(row).returning(PurgeScheduleRow.id)).scalar_one()


def find_schedule(session: Session, number: int, *, lock: bool = False) -> Schedule | None:
    """The schedule, or None."""
    if not 0 < number < _LARGEST:
        return None
    if lock:
        session.execute(select(PurgeScheduleRow.id).where(PurgeScheduleRow.id == number).with_for_update())
    found = _schedules(session, PurgeScheduleRow.id == number)
    return found[0] if found else None


def list_schedules(session: Session, cache_id: int) -> list[Schedule]:
    """Schedules of a cache, the one that fires next first, paused ones last."""
    return _schedules(session, PurgeScheduleRow.cache_id == cache_id)


def claim_due(session: Session, now: datetime) -> int | None:
    """Lock a schedule that is due and that nobody else fires at this moment, with its cache; its number.

    One whose cache somebody changes or removes is passed over: removing it would wait for the schedule.
    """
    query = text(
        "SELECT purge_schedule.id FROM purge_schedule JOIN cache ON cache.id = purge_schedule.cache_id"
        " WHERE next_at <= :now ORDER BY next_at LIMIT 1"
        " FOR UPDATE OF purge_schedule SKIP LOCKED FOR KEY SHARE OF cache SKIP LOCKED"
    )
    number: int | None = session.scalar(query, {"now": now})
    return number


def has_due(session: Session, now: datetime) -> bool:
    """Whether a schedule is due; locks nothing."""
    return bool(
        session.scalar(select(select(PurgeScheduleRow.id).where(PurgeScheduleRow.next_at <= now).exists()))
    )


def change_schedule(session: Session, number: int, **values: Any) -> None:
    """Store what changed of a schedule that is locked."""
    session.execute(update(PurgeScheduleRow).where(PurgeScheduleRow.id == number).values(values))


def delete_schedule(session: Session, number: int) -> None:
    """Remove a schedule; the purges it made stay."""
    session.execute(delete(PurgeScheduleRow).where(PurgeScheduleRow.id == number))


def _schedules(session: Session, condition: ColumnElement[bool]) -> list[Schedule]:
    row = PurgeScheduleRow
    last = (
        select(PurgeRow.id, PurgeRow.state)
        .where(PurgeRow.schedule_id == row.id)
        .order_by(PurgeRow.id.desc())
        .limit(1)
        .lateral()
    )
    query = (
        select(row, last.c.id, last.c.state)
        .outerjoin(last, literal(True))
        .where(condition)
        .order_by(row.next_at.nulls_last(), row.id)
    )
    return [
        Schedule(
            number=found.id,
            cache_id=found.cache_id,
            cron=found.cron,
            plan=stored.plan_from_json(found.plan),
            preview=stored.preview_from_json(found.preview),
            cap=found.cap,
            reason=found.reason,
            by=found.actor,
            created_at=found.created_at,
            next_at=found.next_at,
            last_at=found.last_at,
            last_note=found.last_note,
            last_purge=last_id,
            last_state=None if last_state is None else State(last_state),
            revision=found.revision,
        )
        for found, last_id, last_state in session.execute(query, execution_options=_ANEW)
    ]


def database_now(session: Session) -> datetime:
    """PostgreSQL's clock."""
    now: datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now
