"""Tables that are partitioned by time: their partitions are made ahead, and dropped whole when they are old."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

AHEAD = 2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCK = 0x6361_7061  # serialises the making of partitions


def start_of(days: int, at: datetime) -> datetime:
    """When the partition of ``at`` begins, each spanning ``days``, counted from 1970-01-01."""
    passed = (at - _EPOCH).days
    return _EPOCH + timedelta(days=passed - passed % days)


def find(session: Session, table: str, days: int) -> dict[str, tuple[datetime, datetime]]:
    """Name, start and end of each partition of ``table``, oldest first."""
    names = session.scalars(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = CAST(:parent AS regclass) ORDER BY c.relname"
        ),
        {"parent": table},
    )
    span = timedelta(days=days)
    found = {}
    for name in names:
        start = datetime.strptime(name.removeprefix(f"{table}_p"), "%Y%m%d").replace(tzinfo=UTC)
        found[name] = (start, start + span)
    return found


def ensure(session: Session, tables: Mapping[str, int], at: datetime, *, ahead: int = AHEAD) -> None:
    """Make the partitions around ``at``: the one before, its own and ``ahead`` more; idempotent.

    A partition is made as a plain table and then attached: that blocks neither readers nor writers of the others.

    Args:
        tables: name -> days that one of its partitions spans.
    """
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    for table, days in tables.items():
        existing = find(session, table, days)
        for offset in range(-1, ahead + 1):
            start = start_of(days, at) + timedelta(days=days * offset)
            name = f"{table}_p{start:%Y%m%d}"
            if name in existing:
                continue
            end = start + timedelta(days=days)
            session.execute(text(f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL)"))
            session.execute(
                text(
                    f"ALTER TABLE {table} ATTACH PARTITION {name}"
                    f" FOR VALUES FROM ('{start.isoformat()}') TO ('{end.isoformat()}')"
                )
            )


def drop(session: Session, table: str, days: int, before: datetime) -> list[str]:
    """Drop the partitions of ``table`` that end at or before ``before``; their names.

    Waits for running queries for at most two seconds: the next run comes soon enough.
    """
    session.execute(text("SET LOCAL lock_timeout = '2s'"))
    old = [name for name, (_, end) in find(session, table, days).items() if end <= before]
    for name in old:
        session.execute(text(f"DROP TABLE {name}"))
    return old
