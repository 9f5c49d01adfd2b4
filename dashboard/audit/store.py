"""SQL of the audit log: append and read, nothing else."""

from collections.abc import Collection
from dataclasses import asdict

from sqlalchemy import ColumnElement, cast, func, insert, or_, select, text
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import Text

from dashboard.audit.models import AuditEntryRow as Row
from dashboard.audit.types import Entry, Filter, NewEntry

MOST_NAMES = 200


def append(session: Session, entry: NewEntry) -> None:
    """Write one entry in the caller's transaction."""
    session.execute(insert(Row), [asdict(entry)])


def list_entries(session: Session, wanted: Filter, *, before_id: int | None, limit: int) -> list[Entry]:
    """Matching entries, newest first.

    Args:
        before_id: only entries older than this one (keyset paging: new entries move nothing).
        limit: at most so many.
    """
    query = select(Row).where(*_conditions(wanted)).order_by(Row.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(Row.id < before_id)
    return [_entry(row) for row in session.scalars(query)]


def find_entry(session: Session, entry_id: int) -> Entry | None:
    """The entry of this number, or None."""
    row = session.scalars(select(Row).where(Row.id == entry_id)).one_or_none()
    return None if row is None else _entry(row)


def count_entries(session: Session, wanted: Filter, *, limit: int) -> int:
    """How many entries match, counted up to ``limit`` so that a huge log can't slow the page."""
    found = select(Row.id).where(*_conditions(wanted)).limit(limit).subquery()
    return session.execute(select(func.count()).select_from(found)).scalar_one()


def actions_of(
    session: Session, actor_id: int, actor_name: str, actions: Collection[str], on: str = ""
) -> set[str]:
    """Which of these actions an account has done, on what begins so. By its name as well, which has an index."""
    query = (
        select(Row.action)
        .where(Row.actor_name == actor_name, Row.actor_id == actor_id)
        .where(Row.action.in_(actions), Row.result == "done")
        .where(Row.subject.startswith(on, autoescape=True))
        .distinct()
    )
    return set(session.scalars(query))


def list_names(session: Session) -> list[str]:
    """The names in the log, in order, at most 200.

    Walks the index from name to name (PostgreSQL has no skip scan of its own before 18), so the time
    depends on how many names there are, not on how many entries.
    """
    walk = text(
        """
        WITH RECURSIVE name(value) AS (
            (SELECT actor_name FROM audit_entry ORDER BY actor_name LIMIT 1)
            UNION ALL
            SELECT (SELECT actor_name FROM audit_entry WHERE actor_name > value ORDER BY actor_name LIMIT 1)
            FROM name WHERE value IS NOT NULL
        )
        SELECT value FROM name WHERE value IS NOT NULL LIMIT :most
        """
    )
    return list(session.execute(walk, {"most": MOST_NAMES}).scalars())


def escape_like(literal: str) -> str:
    """The text as a LIKE pattern that matches exactly itself (escape character: backslash)."""
    return literal.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.who:
        conditions.append(Row.actor_name == wanted.who)
    if wanted.actions:
        conditions.append(or_(*(_action_like(glob) for glob in wanted.actions)))
    if wanted.start is not None:
        conditions.append(Row.at >= wanted.start)
    if wanted.end is not None:
        conditions.append(Row.at < wanted.end)
    if wanted.subject:
        conditions.append(Row.subject == wanted.subject)
    if wanted.contains:
        conditions.append(_contains(wanted.contains))
    return conditions


def _action_like(glob: str) -> ColumnElement[bool]:
    if "*" not in glob:
        return Row.action == glob
    return Row.action.like(escape_like(glob).replace("*", "%"), escape="\\")


def _contains(needle: str) -> ColumnElement[bool]:
    pattern = f"%{escape_like(needle)}%"
    texts: tuple[ColumnElement[str] | InstrumentedAttribute[str], ...] = (
        Row.subject,
        Row.reason,
        func.coalesce(Row.cache_name, ""),
        func.coalesce(Row.address, ""),
        func.coalesce(Row.request_id, ""),
        func.coalesce(cast(Row.before, Text), ""),
        func.coalesce(cast(Row.after, Text), ""),
    )
    return or_(*(column.ilike(pattern, escape="\\") for column in texts))


def _entry(row: Row) -> Entry:
    return Entry(
        id=row.id,
        at=row.at,
        actor_id=row.actor_id,
        actor_name=row.actor_name,
        role=row.role,
        source=row.source,
        address=row.address,
        request_id=row.request_id,
        action=row.action,
        subject=row.subject,
        cache_name=row.cache_name,
        before=row.before,
        after=row.after,
        reason=row.reason,
        result=row.result,
    )
