"""SQL of policies: versions, staged edits, what the worker found, counters per prefix."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Integer, delete, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dashboard.caching.wire import COUNTERS
from dashboard.db import partitions
from dashboard.policies.alive import Flow
from dashboard.policies.documents import Edit
from dashboard.policies.models import (
    PolicyChangeRow,
    PolicyEditRow,
    PolicyInstanceRow,
    PolicyKeyspaceRow,
    PolicyPublicationRow,
    PolicySetRow,
    PolicyVersionRow,
    PrefixHourRow,
    PrefixMinuteRow,
    PrefixStateRow,
)
from dashboard.policies.types import ItemKind

__all__ = ["Session"]

_ANEW = {"populate_existing": True}


@dataclass(frozen=True, slots=True)
class Version:
    """A published version without its document; see ``PolicyVersionRow``."""

    version: int
    published_at: datetime
    actor: str
    reason: str
    kind: str
    reverts_to: int | None
    summary: str


_VERSION = (
    PolicyVersionRow.version,
    PolicyVersionRow.published_at,
    PolicyVersionRow.actor,
    PolicyVersionRow.reason,
    PolicyVersionRow.kind,
    PolicyVersionRow.reverts_to,
    PolicyVersionRow.summary,
)


# --- the set: which version, which draft -------------------------------------------------------------------------


def find_set(session: Session, cache_id: int) -> tuple[int, int]:
    """(published version, draft's revision); zeros where nothing was ever touched."""
    row = session.execute(
        select(PolicySetRow.version, PolicySetRow.draft_revision).where(PolicySetRow.cache_id == cache_id)
    ).one_or_none()
    return (0, 0) if row is None else (row.version, row.draft_revision)


def lock_set(session: Session, cache_id: int) -> tuple[int, int]:
    """The same, and nobody else changes this cache's policies until the transaction ends."""
    session.execute(insert(PolicySetRow).values(cache_id=cache_id).on_conflict_do_nothing())
    row = session.execute(
        select(PolicySetRow.version, PolicySetRow.draft_revision)
        .where(PolicySetRow.cache_id == cache_id)
        .with_for_update()
    ).one()
    return row.version, row.draft_revision


def set_numbers(session: Session, cache_id: int, *, version: int, draft_revision: int) -> None:
    """Store both numbers of a locked set."""
    session.execute(
        update(PolicySetRow)
        .where(PolicySetRow.cache_id == cache_id)
        .values(version=version, draft_revision=draft_revision)
    )


# --- versions ----------------------------------------------------------------------------------------------------


def find_document(session: Session, cache_id: int, version: int) -> dict[str, Any] | None:
    """A version's document."""
    return session.scalar(
        select(PolicyVersionRow.document).where(
            PolicyVersionRow.cache_id == cache_id, PolicyVersionRow.version == version
        )
    )


def find_narrow_documents(
    session: Session, cache_id: int, versions: Collection[int], prefix: str
) -> dict[int, dict[str, Any]]:
    """Documents of some versions, of whose policies only the one of a prefix is left."""
    rows = session.execute(
        text(
            "SELECT version, jsonb_build_object('version', version, 'tiers', document -> 'tiers', 'default',"
            "  document -> 'default', 'policies', jsonb_path_query_array(document -> 'policies',"
            "  '$[*] ? (@.prefix == $prefix)', jsonb_build_object('prefix', CAST(:prefix AS text))))"
            " FROM policy_version WHERE cache_id = :cache_id AND version = ANY(:versions)"
        ),
        {"cache_id": cache_id, "versions": list(versions), "prefix": prefix},
    )
    return {row[0]: row[1] for row in rows}


def find_version(session: Session, cache_id: int, version: int) -> Version | None:
    """A version."""
    if not 0 < version < 2**63:
        return None  # comes from a URL; PostgreSQL would refuse to compare it
    row = session.execute(
        select(*_VERSION).where(PolicyVersionRow.cache_id == cache_id, PolicyVersionRow.version == version)
    ).one_or_none()
    return None if row is None else Version(*row)


def list_versions(session: Session, cache_id: int, *, before: int | None, limit: int) -> list[Version]:
    """Versions, newest first, those before ``before``."""
    query = select(*_VERSION).where(PolicyVersionRow.cache_id == cache_id)
    if before is not None:
        query = query.where(PolicyVersionRow.version < min(before, 2**62))
    rows = session.execute(query.order_by(PolicyVersionRow.version.desc()).limit(limit))
    return [Version(*row) for row in rows]


def list_versions_of(session: Session, cache_id: int, item: str, *, limit: int) -> list[Version]:
    """Versions that changed an item, newest first."""
    rows = session.execute(
        select(*_VERSION)
        .join(
            PolicyChangeRow,
            (PolicyChangeRow.cache_id == PolicyVersionRow.cache_id)
            & (PolicyChangeRow.version == PolicyVersionRow.version),
        )
        .where(PolicyChangeRow.cache_id == cache_id, PolicyChangeRow.item == item)
        .order_by(PolicyChangeRow.version.desc())
        .limit(limit)
    )
    return [Version(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class Changes:
    """When an item was changed: by its last version, and when by its first."""

    version: int
    at: datetime
    by: str
    first_at: datetime


def changes_of(session: Session, cache_id: int, items: Collection[str]) -> dict[str, Changes]:
    """When each of some items was changed; those that no version changed are left out."""
    rows = session.execute(
        text(
            "SELECT asked.item, latest.version, latest.published_at, latest.actor, earliest.published_at"
            " FROM unnest(CAST(:items AS text[])) AS asked (item) CROSS JOIN LATERAL"
            "  (SELECT min(version) AS first, max(version) AS last FROM policy_change"
            "   WHERE cache_id = :cache_id AND item = asked.item) AS found"
            " JOIN policy_version AS latest ON latest.cache_id = :cache_id AND latest.version = found.last"
            " JOIN policy_version AS earliest ON earliest.cache_id = :cache_id AND earliest.version = found.first"
        ),
        {"cache_id": cache_id, "items": list(items)},
    )
    return {item: Changes(*rest) for item, *rest in rows}


def insert_version(
    session: Session, cache_id: int, version: Version, changed: Sequence[str], document: Mapping[str, Any]
) -> None:
    """Add a version.

    Args:
        changed: the items that it changed, see ``PolicyChangeRow``.
    """
    session.execute(
        insert(PolicyVersionRow).values(
            cache_id=cache_id,
            version=version.version,
            published_at=version.published_at,
            actor=version.actor,
            reason=version.reason,
            kind=version.kind,
            reverts_to=version.reverts_to,
            summary=version.summary,
            document=dict(document),
        )
    )
    session.execute(
        text(
            "INSERT INTO policy_change (cache_id, item, version)"
            " SELECT :cache_id, item, :version FROM unnest(CAST(:items AS text[])) AS item"
        ),
        {"cache_id": cache_id, "version": version.version, "items": list(changed)},
    )


# --- staged edits ------------------------------------------------------------------------------------------------


def list_edits(session: Session, cache_id: int) -> list[Edit]:
    """The staged edits: tiers, policies by prefix, the default."""
    rows = session.scalars(
        select(PolicyEditRow)
        .where(PolicyEditRow.cache_id == cache_id)
        .order_by(PolicyEditRow.kind.desc(), PolicyEditRow.staged_at, PolicyEditRow.name),
        execution_options=_ANEW,
    )
    return [
        Edit(ItemKind(row.kind), row.name, row.value, row.base, row.actor, row.staged_at, row.revision)
        for row in rows
    ]


def put_edits(session: Session, cache_id: int, edits: Iterable[Edit]) -> None:
    """Add or replace staged edits."""
    rows = [
        {
            "cache_id": cache_id,
            "kind": edit.kind.value,
            "name": edit.name,
            "value": edit.value,
            "base": edit.base,
            "actor": edit.actor,
            "staged_at": edit.at,
            "revision": edit.revision,
        }
        for edit in edits
    ]
    if not rows:
        return
    statement = insert(PolicyEditRow)
    replaced = ("value", "base", "actor", "staged_at", "revision")
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["cache_id", "kind", "name"],
            set_={name: statement.excluded[name] for name in replaced},
        ),
        rows,
    )


def delete_edit(session: Session, cache_id: int, kind: ItemKind, name: str) -> bool:
    """Remove a staged edit; False when there is none."""
    found = session.execute(
        delete(PolicyEditRow)
        .where(
            PolicyEditRow.cache_id == cache_id, PolicyEditRow.kind == kind.value, PolicyEditRow.name == name
        )
        .returning(PolicyEditRow.name)
    )
    return found.scalar_one_or_none() is not None


def delete_edits(session: Session, cache_id: int) -> None:
    """Remove all staged edits."""
    session.execute(delete(PolicyEditRow).where(PolicyEditRow.cache_id == cache_id))


# --- what the worker found ---------------------------------------------------------------------------------------


def find_publication(session: Session, cache_id: int) -> PolicyPublicationRow | None:
    """What was last found in Redis."""
    return session.scalars(
        select(PolicyPublicationRow).where(PolicyPublicationRow.cache_id == cache_id), execution_options=_ANEW
    ).one_or_none()


def put_publication(session: Session, cache_id: int, **values: Any) -> None:
    """Note what was found; columns that are not given keep what they hold."""
    statement = insert(PolicyPublicationRow).values(cache_id=cache_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["cache_id"], set_=values))


def list_instances(session: Session, cache_id: int) -> Sequence[PolicyInstanceRow]:
    """All known application instances."""
    return session.scalars(
        select(PolicyInstanceRow).where(PolicyInstanceRow.cache_id == cache_id), execution_options=_ANEW
    ).all()


def put_instances(
    session: Session, cache_id: int, found: Sequence[Mapping[str, Any]], now: datetime, *, keep_s: float
) -> None:
    """Take over what the instances' hash holds.

    ``heard_at`` moves when an instance's own ``seen_at`` does, so that its clock may be wrong. Those that are in the
    hash no more (signed off, or the hash was flushed and they will be back) are dropped ``keep_s`` after their last
    heartbeat.
    """
    if found:
        statement = insert(PolicyInstanceRow)
        replaced = (*found[0], "heard_at")
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["cache_id", "id"],
                set_={name: statement.excluded[name] for name in replaced},
                where=PolicyInstanceRow.seen_at != statement.excluded.seen_at,
            ),
            [{"cache_id": cache_id, "first_heard_at": now, "heard_at": now, **values} for values in found],
        )
    session.execute(
        delete(PolicyInstanceRow).where(
            PolicyInstanceRow.cache_id == cache_id,
            PolicyInstanceRow.id.not_in([values["id"] for values in found]),
            PolicyInstanceRow.heard_at < now - timedelta(seconds=keep_s),
        )
    )


# --- counters per prefix -----------------------------------------------------------------------------------------

MINUTE: Final = "prefix_minute"
HOUR: Final = "prefix_hour"
PARTITION_DAYS: Mapping[str, int] = {MINUTE: 1, HOUR: 28}
MINUTES_KEPT: Final = timedelta(days=8)
"""Enough to look at a version's effect a week later, minute by minute."""
_IN_MINUTES: Final = timedelta(hours=1)
"""Longer than this, shares of whole hours say as much about how many values were stored, and are far fewer rows."""
_FLOWS_IN_MINUTES: Final = timedelta(hours=6)
"""The same for what was removed again, where the order within an hour matters."""


def ensure_partitions(session: Session, at: datetime) -> None:
    """Make the partitions around ``at``; idempotent."""
    partitions.ensure(session, PARTITION_DAYS, at)


def drop_old_counts(session: Session, now: datetime, *, hour_days: int) -> None:
    """Drop the partitions whose every row is too old, by PostgreSQL's clock if ours is ahead."""
    now = min(now, session.execute(select(func.now())).scalar_one())
    for table, kept in ((MINUTE, MINUTES_KEPT), (HOUR, timedelta(days=hour_days))):
        partitions.drop(session, table, PARTITION_DAYS[table], now - kept)


def delete_orphans(session: Session) -> None:
    """Delete the counters of one removed cache, if any are left: hours are kept for long, minutes leave soon."""
    session.execute(
        text(
            "DELETE FROM prefix_hour WHERE cache_id = (SELECT id FROM generate_series(1,"
            " (SELECT max(cache_id) FROM prefix_hour)) AS id WHERE NOT EXISTS (SELECT FROM cache WHERE"
            " cache.id = id.id) AND EXISTS (SELECT FROM prefix_hour WHERE cache_id = id.id) LIMIT 1)"
        )
    )


def lock_counts(session: Session, cache_id: int) -> tuple[datetime, dict[str, int]] | None:
    """When the counters were last read and what they were; None before the first time. Locked for the transaction."""
    row = session.execute(
        select(PrefixStateRow.counted_at, PrefixStateRow.counts)
        .where(PrefixStateRow.cache_id == cache_id)
        .with_for_update()
    ).one_or_none()
    return None if row is None else (row.counted_at, row.counts)


def put_counts(session: Session, cache_id: int, counts: Mapping[str, int], at: datetime) -> None:
    """Remember the counters as they were read."""
    values = {"counts": dict(counts), "counted_at": at}
    statement = insert(PrefixStateRow).values(cache_id=cache_id, **values)
    session.execute(statement.on_conflict_do_update(index_elements=["cache_id"], set_=values))


def add_growth(
    session: Session, cache_id: int, growth: Mapping[str, Mapping[str, int]], at: datetime
) -> None:
    """Add what the counters grew by to the minute and the hour of ``at``, whose partitions must be there.

    Args:
        growth: prefix -> counter -> growth.
    """
    if not growth:
        return
    # In one order, so that two transactions can't wait for each other.
    for row_class, bucket in (
        (PrefixMinuteRow, at.replace(second=0, microsecond=0)),
        (PrefixHourRow, at.replace(minute=0, second=0, microsecond=0)),
    ):
        table = row_class.__table__
        rows = [
            {"cache_id": cache_id, "bucket": bucket, "prefix": prefix}
            | {name: growth[prefix].get(name, 0) for name in COUNTERS}
            for prefix in sorted(growth)
        ]
        statement = insert(row_class)
        session.execute(
            statement.on_conflict_do_update(
                index_elements=["cache_id", "bucket", "prefix"],
                set_={name: table.c[name] + statement.excluded[name] for name in COUNTERS},
            ),
            rows,
        )


@dataclass(frozen=True, slots=True)
class Counted:
    """Counters of one prefix in one bucket."""

    prefix: str
    bucket: datetime
    counts: Mapping[str, int]


def list_counts(
    session: Session,
    cache_id: int,
    table: str,
    buckets: Collection[datetime],
    prefixes: Collection[str],
) -> list[Counted]:
    """Counters per prefix and bucket, oldest first.

    Args:
        table: MINUTE or HOUR.
        buckets, prefixes: those wanted, each looked up by itself: the other prefixes of a span are not read.
    """
    columns = (PrefixMinuteRow if table == MINUTE else PrefixHourRow).__table__.c
    rows = session.execute(
        select(columns.prefix, columns.bucket, *(columns[name] for name in COUNTERS))
        .where(columns.cache_id == cache_id, columns.bucket.in_(buckets), columns.prefix.in_(prefixes))
        .order_by(columns.bucket)
    )
    return [Counted(name, bucket, dict(zip(COUNTERS, counts, strict=True))) for name, bucket, *counts in rows]


@dataclass(frozen=True, slots=True)
class Asked:
    """Since when values of a prefix are counted, and whether its writes store any (write-through)."""

    since: datetime
    is_written: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """About how many values were stored, and whether some of them were removed."""

    count: int
    is_thinned: bool


_LIVED: Final = (
    " FROM unnest(CAST(:prefixes AS text[]), CAST(:since AS timestamptz[]), CAST(:written AS bool[]))"
    "  AS asked (name, since, is_written)"
    " JOIN {table} AS counted ON counted.cache_id = :cache_id AND counted.prefix = asked.name"
    " AND counted.bucket > asked.since - interval '{step}' AND counted.bucket > :least - interval '{step}'"
)
"""The buckets of each prefix since its own moment."""
# A load of many keys at once may count one load and as many misses (as older libraries did), so the misses that did
# not wait are taken where they are more.
_STORED: Final = (
    "(greatest(loads - wait_timeouts, CASE WHEN loads > 0 THEN misses - waits - load_errors + refreshes ELSE 0 END)"
    " + CASE WHEN is_written THEN writes ELSE 0 END - rejected_fills - not_stored - errors)"
)


def _lived(
    cache_id: int, asked: Mapping[str, Asked], now: datetime, in_minutes: timedelta
) -> list[tuple[str, timedelta, dict[str, Any]]]:
    """The tables to ask, how long their buckets are, and what is asked of each."""
    found = []
    for table, step, is_wanted in (
        (MINUTE, timedelta(minutes=1), True),
        (HOUR, timedelta(hours=1), False),
    ):
        chosen = {name: each for name, each in asked.items() if (now - each.since <= in_minutes) is is_wanted}
        if chosen:
            given = {
                "prefixes": list(chosen),
                "since": [each.since for each in chosen.values()],
                "written": [each.is_written for each in chosen.values()],
                "cache_id": cache_id,
                "least": min(each.since for each in chosen.values()),
            }
            found.append((_LIVED.format(table=table, step=f"{step.total_seconds():.0f} s"), step, given))
    return found


def stored_since(
    session: Session, cache_id: int, asked: Mapping[str, Asked], now: datetime
) -> dict[str, Stored]:
    """About how many values each prefix stored since its own moment; those of which none was are left out.

    A minute or an hour that began before the moment counts by its share.
    """
    found: dict[str, Stored] = {}
    for lived, step, given in _lived(cache_id, asked, now, _IN_MINUTES):
        rows = session.execute(
            text(
                "WITH weighed AS (SELECT asked.is_written, counted.*, CASE WHEN counted.bucket >="
                " asked.since THEN 1 ELSE greatest(0, extract(epoch FROM least(counted.bucket + :step, :now)"
                " - asked.since) / extract(epoch FROM least(counted.bucket + :step, :now) - counted.bucket))"
                f" END AS weight{lived})"
                f" SELECT prefix, sum(weight * {_STORED})::bigint AS stored,"
                f" bool_or(removals > 0) AS is_thinned FROM weighed GROUP BY prefix"
            ),
            {**given, "step": step, "now": now},
        )
        # None stored is no news of how many there are: counting may have begun after they were.
        found |= {row.prefix: Stored(row.stored, row.is_thinned) for row in rows if row.stored > 0}
    return found


def list_flows(
    session: Session, cache_id: int, asked: Mapping[str, Asked], now: datetime
) -> dict[str, list[Flow]]:
    """What was stored and removed of each prefix since its own moment, oldest first."""
    found: dict[str, list[Flow]] = {}
    for lived, step, given in _lived(cache_id, asked, now, _FLOWS_IN_MINUTES):
        rows = session.execute(
            text(
                f"SELECT prefix, bucket, asked.since, greatest(0, {_STORED}), removals{lived} ORDER BY bucket"
            ),
            given,
        )
        for prefix, bucket, since, *counts in rows:
            ends = min(bucket + step, now)
            begins = max(bucket, since)
            if begins < ends:
                share = (ends - begins) / (ends - bucket)
                flow = Flow(begins, ends, *(count * share for count in counts))
                found.setdefault(prefix, []).append(flow)
    return found


@dataclass(frozen=True, slots=True)
class DayOfPrefix:
    """Sums of one prefix over some hours; ``ratios``: the hit ratio by number of the hour, of those asked for."""

    counts: Mapping[str, int]
    ratios: Mapping[int, float | None]


def sum_hours(
    session: Session, cache_id: int, since: datetime, *, lines: Collection[str]
) -> dict[str, DayOfPrefix]:
    """What every prefix was asked for since a full hour.

    Args:
        lines: prefixes whose hit ratio is wanted hour by hour.
    """
    names = ("hits", "misses", "bypasses", "loads", "load_errors")
    rows = session.execute(
        text(
            f"SELECT counted.prefix, {', '.join(f'sum({name})::bigint' for name in names)},"
            " array_agg((extract(epoch FROM bucket - :since) / 3600)::int) FILTER (WHERE wanted.prefix IS NOT NULL),"
            " array_agg(hits::float8 / nullif(hits + misses, 0)) FILTER (WHERE wanted.prefix IS NOT NULL)"
            " FROM prefix_hour AS counted LEFT JOIN unnest(CAST(:lines AS text[])) AS wanted (prefix)"
            "  ON wanted.prefix = counted.prefix"
            " WHERE cache_id = :cache_id AND bucket >= :since GROUP BY counted.prefix"
        ),
        {"cache_id": cache_id, "since": since, "lines": list(lines)},
    )
    return {
        prefix: DayOfPrefix(
            dict(zip(names, counts, strict=True)), dict(zip(hours or (), ratios or (), strict=True))
        )
        for prefix, *counts, hours, ratios in rows
    }


def table_for(since: datetime, until: datetime, now: datetime) -> tuple[str, timedelta]:
    """Which table a span is read from, and how long its buckets are: minutes as long as they are few and kept."""
    if until - since <= timedelta(hours=6) and since > now - MINUTES_KEPT + timedelta(days=1):
        return MINUTE, timedelta(minutes=1)
    return HOUR, timedelta(hours=1)


def first_count(session: Session, cache_id: int, since: datetime, until: datetime) -> datetime | None:
    """When counting began within a span: its first minute or hour with counts, to the minute where minutes are kept.

    Where no application was known before that minute, it is the moment at which the first was heard of: a few seconds
    that count as a minute would make every rate of a start too low.
    """
    found: list[datetime] = []
    for row_class in (PrefixMinuteRow, PrefixHourRow):
        columns = row_class.__table__.c
        first = session.scalar(
            select(func.min(columns.bucket)).where(
                columns.cache_id == cache_id, columns.bucket >= since, columns.bucket < until
            )
        )
        if first is not None:
            found.append(first)
    if not found:
        return None
    minute, hour = found[0], found[-1]
    if minute - hour >= timedelta(hours=1):
        return hour  # minutes that are kept no more leave only the hour; else the minute lies within the first hour
    heard = session.scalar(
        select(func.min(PolicyInstanceRow.first_heard_at)).where(PolicyInstanceRow.cache_id == cache_id)
    )
    if minute > since and heard is not None and minute <= heard < minute + timedelta(minutes=1):
        return heard
    return minute


def sum_counts(
    session: Session, cache_id: int, table: str, since: datetime, until: datetime, *, names: Sequence[str]
) -> dict[str, dict[str, int]]:
    """Sums of some counters over a span: prefix -> counter -> count."""
    columns = (PrefixMinuteRow if table == MINUTE else PrefixHourRow).__table__.c
    rows = session.execute(
        select(columns.prefix, *(func.sum(columns[name]) for name in names))
        .where(columns.cache_id == cache_id, columns.bucket >= since, columns.bucket < until)
        .group_by(columns.prefix)
    )
    return {
        prefix: {name: int(count) for name, count in zip(names, counts, strict=True)}
        for prefix, *counts in rows
    }


def slot_counts(
    session: Session,
    cache_id: int,
    table: str,
    since: datetime,
    until: datetime,
    *,
    slot_s: float,
    names: Sequence[str],
    prefixes: Sequence[str] | None = None,
) -> dict[str, dict[int, tuple[int, ...]]]:
    """Sums of some counters over each slot of a span: prefix -> number of the slot -> the counters.

    Args:
        slot_s: seconds of one slot; the first begins at ``since``.
        names: the counters.
        prefixes: those wanted, each apart; None: all together, under the empty prefix.
    """
    columns = (PrefixMinuteRow if table == MINUTE else PrefixHourRow).__table__.c
    slot = func.floor(func.extract("epoch", columns.bucket - since) / slot_s).cast(Integer)
    name = literal("") if prefixes is None else columns.prefix
    query = select(
        name.label("name"), slot.label("slot"), *(func.sum(columns[each]) for each in names)
    ).where(columns.cache_id == cache_id, columns.bucket >= since, columns.bucket < until)
    if prefixes is not None:
        query = query.where(columns.prefix.in_(prefixes))
    found: dict[str, dict[int, tuple[int, ...]]] = {}
    for prefix, number, *counts in session.execute(query.group_by("name", "slot")):
        found.setdefault(prefix, {})[number] = tuple(int(count) for count in counts)
    return found


def has_counts(session: Session, cache_id: int) -> bool:
    """Whether any application ever counted for a cache."""
    counts = session.scalar(select(PrefixStateRow.counts).where(PrefixStateRow.cache_id == cache_id))
    return bool(counts)


def last_counted(session: Session, cache_id: int) -> datetime | None:
    """When the counters were last seen to grow."""
    return session.scalar(select(PrefixStateRow.counted_at).where(PrefixStateRow.cache_id == cache_id))


def list_versions_between(
    session: Session, cache_id: int, since: datetime, until: datetime, *, limit: int
) -> list[Version]:
    """The newest versions that were published within a span, oldest first."""
    rows = session.execute(
        select(*_VERSION)
        .where(
            PolicyVersionRow.cache_id == cache_id,
            PolicyVersionRow.published_at >= since,
            PolicyVersionRow.published_at <= until,
        )
        .order_by(PolicyVersionRow.version.desc())
        .limit(limit)
    )
    return [Version(*row) for row in rows][::-1]


def neighbours(
    session: Session, cache_id: int, items: Collection[str], version: int
) -> dict[str, tuple[datetime | None, datetime | None]]:
    """When the versions before and after this one that changed each item were published."""
    rows = session.execute(
        text(
            "SELECT asked.item, previous.published_at, next.published_at"
            " FROM unnest(CAST(:items AS text[])) AS asked (item) CROSS JOIN LATERAL"
            "  (SELECT max(version) AS number FROM policy_change"
            "   WHERE cache_id = :cache_id AND item = asked.item AND version < :version) AS before"
            " CROSS JOIN LATERAL"
            "  (SELECT min(version) AS number FROM policy_change"
            "   WHERE cache_id = :cache_id AND item = asked.item AND version > :version) AS after"
            " LEFT JOIN policy_version AS previous"
            "  ON previous.cache_id = :cache_id AND previous.version = before.number"
            " LEFT JOIN policy_version AS next ON next.cache_id = :cache_id AND next.version = after.number"
        ),
        {"cache_id": cache_id, "items": list(items), "version": version},
    )
    return {item: (before, after) for item, before, after in rows}


# --- what the keyspace's scans found ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FoundKeys:
    """What the last scan found; see ``PolicyKeyspaceRow``."""

    snapshot_id: int
    kind: str
    taken_at: datetime
    prefixes: Mapping[str, Mapping[str, Any]]


def find_keyspace(session: Session, cache_id: int, *, lock: bool = False) -> FoundKeys | None:
    """What the last scan of a cache found, or None."""
    query = select(PolicyKeyspaceRow).where(PolicyKeyspaceRow.cache_id == cache_id)
    if lock:
        query = query.with_for_update()
    row = session.scalars(query, execution_options=_ANEW).one_or_none()
    return None if row is None else FoundKeys(row.snapshot_id, row.kind, row.taken_at, row.prefixes)


def put_keyspace(session: Session, cache_id: int, **values: Any) -> None:
    """Keep what a scan found, in place of the last."""
    query = insert(PolicyKeyspaceRow).values(cache_id=cache_id, **values)
    session.execute(query.on_conflict_do_update(index_elements=["cache_id"], set_=values))
