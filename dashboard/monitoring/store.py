"""The history's SQL: samples, the poller's state, events, partitions.

The questions that charts and rollups ask are written beside their logic in ``rollup`` and ``series`` and run
through ``fetch`` and ``execute`` here.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import DataError, IntegrityError, InternalError
from sqlalchemy.orm import Session

from dashboard.db import partitions as time_partitions
from dashboard.monitoring.models import (
    CacheEventRow,
    CommandSampleRow,
    NodeRunRow,
    PollStateRow,
    ProbeLookupsRow,
    SampleRow,
    WorkerStateRow,
)
from dashboard.monitoring.readings import reading_from_json, reading_to_json
from dashboard.monitoring.sums import joined, known_sum
from dashboard.monitoring.types import Event, ProbeLookups, Reading, StoredEvent

__all__ = ["Session"]

STORED_COUNTERS: tuple[str, ...] = (
    "keyspace_hits",
    "keyspace_misses",
    "total_commands_processed",
    "total_connections_received",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "expired_keys",
    "evicted_keys",
    "rejected_connections",
    "total_error_replies",
    "used_cpu_usec",
)
"""Kept as they are and as growth."""
STORED_GROWTH: tuple[str, ...] = (*STORED_COUNTERS, "errors_oom", "keys_calls")
"""Kept as growth (``d_``)."""
STORED_GAUGES: tuple[str, ...] = (
    "used_memory",
    "used_memory_rss",
    "maxmemory",
    "keys",
    "expires",
    "uptime_in_seconds",
    "connected_clients",
    "blocked_clients",
    "mem_fragmentation_ratio",
)
PARTIAL = "partial"
"""Error code of a poll that some nodes did not answer."""
REPEATED_WITHIN = timedelta(minutes=15)
"""What happens to a node again within this time is counted in the row of the first time."""
PROBE_FORGOTTEN = timedelta(hours=1)
"""A connection of ours that was not heard of for so long is no more; its worker was killed."""
MOST_SELF = 2**31 - 1
PARTITION_DAYS: Mapping[str, int] = {"sample": 1, "command_sample": 1, "rollup_minute": 7, "rollup_hour": 28}
"""Days one partition of a table spans, counted from 1970-01-01."""


def fetch(session: Session, sql: str, **parameters: Any) -> Sequence[Row[Any]]:
    """The rows of ``sql``."""
    return session.execute(text(sql), parameters).all()


def execute(session: Session, sql: str, **parameters: Any) -> int:
    """Run ``sql``; the number of rows it touched."""
    result = session.execute(text(sql), parameters)
    return int(getattr(result, "rowcount", 0))


def let_go_soon(session: Session) -> None:
    """Have the server end this transaction when we fall silent in its midst, and not wait long for another's.

    A worker that is stopped between two statements would keep the rows that its successor needs.
    """
    session.execute(
        text(
            "SELECT set_config('idle_in_transaction_session_timeout', '4000', true),"
            " set_config('lock_timeout', '5000', true)"
        )
    )


@dataclass(slots=True)
class Attempt:
    """How a part of a transaction went."""

    problem: str | None = None


@contextmanager
def attempt(session: Session) -> Iterator[Attempt]:
    """Do a part of a transaction that may fail for the data it meets; then it is undone, and the rest goes on.

    Raises:
        Whatever is not about the data: PostgreSQL is away, a lock was not to be had.
    """
    tried = Attempt()
    try:
        with session.begin_nested():
            yield tried
    except (DataError, IntegrityError, InternalError) as error:
        tried.problem = str(error.orig).strip()


# --- partitions ---------------------------------------------------------------------------------------------


def partitions(session: Session, table: str) -> dict[str, tuple[datetime, datetime]]:
    """Name, start and end of each partition of ``table``, oldest first."""
    return time_partitions.find(session, table, PARTITION_DAYS[table])


def ensure_partitions(session: Session, at: datetime, *, ahead: int = time_partitions.AHEAD) -> None:
    """Make the partitions around ``at``: the one before, its own and ``ahead`` more; idempotent."""
    time_partitions.ensure(session, PARTITION_DAYS, at, ahead=ahead)


def drop_partitions(session: Session, table: str, before: datetime) -> list[str]:
    """Drop the partitions of ``table`` that end at or before ``before``; their names."""
    return time_partitions.drop(session, table, PARTITION_DAYS[table], before)


def delete_orphans(session: Session) -> int:
    """Delete the rollups of one removed cache, if there is any left; the number of rows.

    They can't be seen any more, but would stay for as long as rollups are kept. One cache is some ten thousand
    rows; its samples leave with their partitions within days.
    """
    orphan = session.scalar(
        text(
            "SELECT id FROM generate_series(1, (SELECT max(id) FROM (SELECT max(cache_id) AS id FROM rollup_hour"
            " UNION ALL SELECT max(cache_id) FROM rollup_minute) AS each)) AS id"
            " WHERE NOT EXISTS (SELECT FROM cache WHERE cache.id = id.id)"
            " AND (EXISTS (SELECT FROM rollup_hour WHERE cache_id = id.id)"
            " OR EXISTS (SELECT FROM rollup_minute WHERE cache_id = id.id)) LIMIT 1"
        )
    )
    if orphan is None:
        return 0
    return sum(
        execute(session, f"DELETE FROM {table} WHERE cache_id = :orphan", orphan=orphan)
        for table in ("rollup_minute", "rollup_hour")
    )


# --- the poller's state -------------------------------------------------------------------------------------


@dataclass(slots=True)
class PollState:
    """What the poller must remember about one cache; the same in memory and in the database."""

    cache_id: int
    revision: int = 0
    last_success_at: datetime | None = None
    failing_since: datetime | None = None
    failures: int = 0
    error_code: str | None = None
    readings: dict[str, Reading] = field(default_factory=dict)
    commands_bucket: datetime | None = None
    commands: dict[str, Any] = field(default_factory=dict)
    node_run_ids: dict[tuple[str, str], int] = field(default_factory=dict)
    """(node, run_id) to node_run.id, as far as this process has met them."""
    slow_log: dict[str, Any] | None = None
    """As this process last wrote it: it is long and seldom changes."""


@dataclass(frozen=True, slots=True)
class Success:
    """What one good poll found, as it is stored beside the samples."""

    topology: str
    problem: str | None
    nodes_expected: int
    missing: list[dict[str, str]]
    settings: dict[str, str]
    clients: dict[str, Any] | None
    slow_log: dict[str, Any] | None
    round_trip_s: float
    keys_called: bool


@dataclass(frozen=True, slots=True)
class NodeSample:
    """One node's part of a poll, ready to be written."""

    node: str
    reading: Reading
    values: dict[str, Any]
    """Columns of ``sample`` except cache_id, ts, node_run_id, round_trip_s and nodes_expected."""
    round_trip_s: float
    lookups: Mapping[str, tuple[int, int]] | None = None
    """Of our own connections, by session, as of the reading's moment; None: not known."""


def load_state(session: Session, cache_id: int, *, now: datetime, clock_s: float) -> PollState:
    """The state of a cache as stored, or a new one.

    Args:
        now, clock_s: the wall and the monotonic clock of this process at one moment; stored readings get a
            place on its monotonic clock, so that differences go on across a restart or a takeover.
    """
    row = session.execute(
        select(PollStateRow.__table__).where(PollStateRow.cache_id == cache_id)
    ).one_or_none()
    if row is None:
        return PollState(cache_id)
    return PollState(
        cache_id=cache_id,
        revision=row.revision,
        last_success_at=row.last_success_at,
        failing_since=row.failing_since,
        failures=row.failures,
        error_code=row.error_code,
        readings={
            node: reading_from_json(raw, now=now, clock_s=clock_s) for node, raw in row.readings.items()
        },
        commands_bucket=row.commands_bucket,
        commands=row.commands,
    )


def _advance(session: Session, state: PollState, poll_interval_s: float, values: Mapping[str, Any]) -> bool:
    """Write ``values`` if nobody wrote since ``state`` was read; whether it was so."""
    values = {**values, "poll_interval_s": poll_interval_s, "revision": state.revision + 1}
    if state.revision == 0:
        made = session.execute(
            upsert(PollStateRow)
            .values(cache_id=state.cache_id, **values)
            .on_conflict_do_nothing(index_elements=["cache_id"])
            .returning(PollStateRow.cache_id)
        ).one_or_none()
        if made is not None:
            return True
    changed = session.execute(
        update(PollStateRow)
        .where(PollStateRow.cache_id == state.cache_id, PollStateRow.revision == state.revision)
        .values(**values)
        .returning(PollStateRow.cache_id)
    ).one_or_none()
    return changed is not None


def write_poll(
    session: Session,
    before: PollState,
    after: PollState,
    *,
    at: datetime,
    poll_interval_s: float,
    samples: Sequence[NodeSample],
    success: Success,
    events: Sequence[tuple[str, Event]],
    command_samples: Sequence[tuple[datetime, Mapping[str, Any]]] = (),
) -> bool:
    """Store one good poll whole, or nothing.

    Args:
        before, after: the state the differences were taken from, and the new one.
        events: (node, event).
        command_samples: (start of ten minutes, their command statistics so far, as ``sums.joined`` makes them).

    Returns:
        False when somebody stored a poll since ``before`` was read; nothing is written then.
    """
    first = samples[0].reading
    lookups = session.execute(
        select(PollStateRow.self_hits, PollStateRow.self_misses).where(
            PollStateRow.cache_id == before.cache_id
        )
    ).one_or_none()
    self_hits, self_misses = (lookups.self_hits, lookups.self_misses) if lookups else (0, 0)
    values: dict[str, Any] = {
        "last_attempt_at": at,
        "last_success_at": at,
        "failing_since": None,
        "failures": 0,
        "error_code": None if success.problem is None else PARTIAL,
        "error": success.problem,
        "what_to_do": None,
        "round_trip_s": success.round_trip_s,
        "topology": success.topology,
        "node_count": success.nodes_expected,
        "version": clean(first.version),
        "role": clean(first.role),
        "used_memory": known_sum(sample.values["used_memory"] for sample in samples),
        "maxmemory": known_sum(sample.values["maxmemory"] for sample in samples),
        "missing": success.missing,
        "settings": clean(success.settings),
        "readings": clean({node: reading_to_json(reading) for node, reading in after.readings.items()}),
        "clients": clean(success.clients),
        "commands_bucket": after.commands_bucket,
        "commands": after.commands,
        # Not zero: more may have been reported since the line above.
        "self_hits": PollStateRow.self_hits - self_hits if lookups else 0,
        "self_misses": PollStateRow.self_misses - self_misses if lookups else 0,
    }
    if success.keys_called:
        values["keys_last_at"] = at
    if success.slow_log is None or success.slow_log != before.slow_log:
        values["slow_log"] = clean(success.slow_log)
    if not _advance(session, before, poll_interval_s, values):
        return False
    after.revision = before.revision + 1
    after.slow_log = success.slow_log
    rows = []
    taken = _take_probe_lookups(session, before.cache_id, samples, at)
    for number, sample in enumerate(samples):
        hits, misses = taken.get(sample.node, (0, 0))
        if number == 0:
            hits, misses = hits + self_hits, misses + self_misses
        rows.append(
            {
                "cache_id": before.cache_id,
                "ts": at,
                "node_run_id": _node_run_id(session, before, after, sample, at),
                "round_trip_s": sample.round_trip_s,
                "nodes_expected": success.nodes_expected,
                "self_hits": min(hits, MOST_SELF),
                "self_misses": min(misses, MOST_SELF),
                **sample.values,
            }
        )
    session.execute(insert(SampleRow), rows)
    for bucket, commands in command_samples:
        _add_command_sample(session, before.cache_id, bucket, commands)
    if before.failing_since is not None:
        session.execute(
            update(CacheEventRow)
            .where(
                CacheEventRow.cache_id == before.cache_id,
                CacheEventRow.kind == "down",
                CacheEventRow.until.is_(None),
            )
            .values(until=at)
        )
    for node, happened in events:
        _note_event(
            session,
            before.cache_id,
            happened.kind.value,
            clean(node),
            happened.at,
            clean(dict(happened.details)),
        )
    return True


def _add_command_sample(
    session: Session, cache_id: int, bucket: datetime, commands: Mapping[str, Any]
) -> None:
    # After a step back of the clock the same ten minutes come again.
    row = session.get(CommandSampleRow, (bucket, cache_id), populate_existing=True)
    if row is None:
        session.execute(
            insert(CommandSampleRow).values(cache_id=cache_id, bucket=bucket, commands=dict(commands))
        )
    else:
        row.commands = joined(row.commands, commands)
        session.flush()


def write_failure(
    session: Session,
    before: PollState,
    *,
    at: datetime,
    poll_interval_s: float,
    code: str,
    message: str,
    what_to_do: str,
) -> PollState | None:
    """Store that a poll failed; the first failure in a row opens an outage.

    Returns:
        The new state; None when somebody stored a poll since ``before`` was read, nothing is written then.
    """
    since = before.failing_since or at
    values = {
        "last_attempt_at": at,
        "failing_since": since,
        "failures": before.failures + 1,
        "error_code": code,
        "error": clean(message),
        "what_to_do": clean(what_to_do),
    }
    if not _advance(session, before, poll_interval_s, values):
        return None
    if before.failing_since is None:
        _note_event(session, before.cache_id, "down", "", at, {"code": code, "error": clean(message)})
    return replace(
        before,
        revision=before.revision + 1,
        failing_since=since,
        failures=before.failures + 1,
        error_code=code,
    )


def _node_run_id(
    session: Session, before: PollState, after: PollState, sample: NodeSample, at: datetime
) -> int:
    run_id = clean(sample.reading.run_id) or ""
    found = before.node_run_ids.get((sample.node, run_id))
    if found is None:
        # Returns the id of a known run as well, which DO NOTHING would not.
        statement = upsert(NodeRunRow).values(
            cache_id=before.cache_id,
            node=sample.node,
            run_id=run_id,
            version=clean(sample.reading.version),
            role=clean(sample.reading.role),
            first_seen_at=at,
        )
        found = session.scalars(
            statement.on_conflict_do_update(
                index_elements=["cache_id", "node", "run_id"],
                set_={"version": statement.excluded.version, "role": statement.excluded.role},
            ).returning(NodeRunRow.id)
        ).one()
    # Only the runs of now: memory stays bounded whatever happens to the servers.
    after.node_run_ids[sample.node, run_id] = found
    return found


def clean(value: Any) -> Any:
    """``value`` with every text made storable: PostgreSQL holds neither NUL nor lone surrogates."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


_LARGE = frozenset({"readings", "clients", "slow_log", "commands"})
_LIGHT = tuple(column.name for column in PollStateRow.__table__.columns if column.name not in _LARGE)


def poll_states(
    session: Session, cache_ids: Sequence[int] | None = None, *, also: Sequence[str] = ()
) -> dict[int, Row[Any]]:
    """The stored state of the given caches, or of all; one query.

    Args:
        also: of the large columns, which are left out otherwise: readings, clients, slow_log, commands.
    """
    table = PollStateRow.__table__
    query = select(*(table.c[name] for name in (*_LIGHT, *also)))
    if cache_ids is not None:
        query = query.where(PollStateRow.cache_id.in_(cache_ids))
    return {row.cache_id: row for row in session.execute(query)}


def add_self_lookups(session: Session, cache_id: int, hits: int, misses: int) -> None:
    """Note lookups of our own, to be subtracted from the cache's next interval."""
    session.execute(
        update(PollStateRow)
        .where(PollStateRow.cache_id == cache_id)
        .values(self_hits=PollStateRow.self_hits + hits, self_misses=PollStateRow.self_misses + misses)
    )


def put_probe_lookups(
    session: Session, cache_id: int, lookups: Sequence[ProbeLookups], now: datetime
) -> None:
    """Note what connections of ours looked up so far."""
    if not lookups:
        return
    made = upsert(ProbeLookupsRow).values(
        [
            {
                "cache_id": cache_id,
                "session": each.session,
                "node": clean(each.node),
                "run_id": clean(each.run_id),
                "hits": each.hits,
                "misses": each.misses,
                "is_over": each.is_over,
                "told_at": now,
            }
            # Rows are locked in one order, whoever comes.
            for each in sorted(lookups, key=lambda each: each.session)
        ]
    )
    table, new = ProbeLookupsRow, made.excluded
    session.execute(
        made.on_conflict_do_update(
            index_elements=["cache_id", "session"],
            set_={
                "hits": func.greatest(table.hits, new.hits),
                "misses": func.greatest(table.misses, new.misses),
                "is_over": or_(table.is_over, new.is_over),
                "told_at": new.told_at,
            },
        )
    )


def _take_probe_lookups(
    session: Session, cache_id: int, samples: Sequence[NodeSample], at: datetime
) -> dict[str, tuple[int, int]]:
    """What is to be taken off each node's growth: (hits, misses) of our own since they were taken last.

    While a connection lives its name says how much it was at the reading's moment, and what was noted may be of a
    later moment. Once it is gone, or where names can't be read, what was noted counts.
    """
    by_node = {sample.node: sample for sample in samples}
    table = ProbeLookupsRow
    rows = session.scalars(
        select(table)
        .where(table.cache_id == cache_id)
        .order_by(table.session)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).all()
    taken: dict[str, tuple[int, int]] = {}
    unmet = {(sample.node, name): told for sample in samples for name, told in (sample.lookups or {}).items()}
    for row in rows:
        sample = by_node.get(row.node)
        named = unmet.pop((row.node, row.session), None)
        if sample is None or (sample.reading.run_id or "") != row.run_id:
            # Of a node that did not answer now, or does not count any more what this counted.
            if sample is not None or at - row.told_at > PROBE_FORGOTTEN:
                session.delete(row)
            continue
        hits, misses = named or (row.hits, row.misses)
        more = max(0, hits - row.taken_hits), max(0, misses - row.taken_misses)
        sofar = taken.get(row.node, (0, 0))
        taken[row.node] = sofar[0] + more[0], sofar[1] + more[1]
        row.taken_hits += more[0]
        row.taken_misses += more[1]
        if named is None and (row.is_over or at - row.told_at > PROBE_FORGOTTEN):
            session.delete(row)
    for (node, name), (hits, misses) in unmet.items():
        session.execute(
            upsert(table)
            .values(
                cache_id=cache_id,
                session=name,
                node=clean(node),
                run_id=clean(by_node[node].reading.run_id or ""),
                hits=0,
                misses=0,
                taken_hits=hits,
                taken_misses=misses,
                is_over=False,
                told_at=at,
            )
            .on_conflict_do_update(
                index_elements=["cache_id", "session"], set_={"taken_hits": hits, "taken_misses": misses}
            )
        )
        sofar = taken.get(node, (0, 0))
        taken[node] = sofar[0] + hits, sofar[1] + misses
    session.flush()
    return taken


def write_status(session: Session, statuses: Sequence[tuple[int, str, str, Mapping[str, str]]]) -> None:
    """Keep (cache_id, kind, word, ISO time by code since when each standing verdict was found) of caches."""
    if statuses:
        session.execute(
            text(
                "UPDATE poll_state SET status_kind = :kind, status_word = :word,"
                " verdict_since = CAST(:since AS jsonb) WHERE cache_id = :cache_id AND"
                " (status_kind, status_word, verdict_since) IS DISTINCT FROM (:kind, :word, CAST(:since AS jsonb))"
            ),
            [
                {"cache_id": cache_id, "kind": kind, "word": clean(word), "since": json.dumps(dict(since))}
                for cache_id, kind, word, since in statuses
            ],
        )


# --- events -------------------------------------------------------------------------------------------------


def _note_event(
    session: Session, cache_id: int, kind: str, node: str, at: datetime, details: dict[str, Any]
) -> None:
    """Write an event, or add it to the row of its like: an address with two servers behind it switches at each poll."""
    row = session.scalars(
        select(CacheEventRow)
        .where(
            CacheEventRow.cache_id == cache_id,
            CacheEventRow.kind == kind,
            CacheEventRow.ts > at - REPEATED_WITHIN,
            CacheEventRow.ts <= at,
            CacheEventRow.node == node,
        )
        .order_by(CacheEventRow.ts.desc(), CacheEventRow.id.desc())
        .limit(1),
        execution_options={"populate_existing": True},
    ).one_or_none()
    if row is None or (kind == "down" and row.until is None):
        session.execute(
            upsert(CacheEventRow)
            .values(cache_id=cache_id, ts=at, kind=kind, node=node, details=details)
            .on_conflict_do_nothing()
        )
        return
    row.count += 1
    # A repeated outage goes on until it ends; everything else is a moment.
    row.until = None if kind == "down" else at
    row.details = _changes_since(row.details, details) if kind == "config" else details
    session.flush()


def _changes_since(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as [before, after]: from before the first change to after the last."""
    return {**old, **{name: [old.get(name, change)[0], change[1]] for name, change in new.items()}}


def events_between(
    session: Session, cache_id: int, start: datetime, end: datetime, *, limit: int = 200
) -> tuple[StoredEvent, ...]:
    """What happened to a cache from ``start`` to ``end``, what reaches into it included, oldest first."""
    event = CacheEventRow
    # Only an outage lasts longer than that, and outages of one cache come one after the other: of those that
    # began earlier only the latest can reach in. So the history behind it is never walked.
    earlier = start - REPEATED_WITHIN
    outage = (
        select(event.id)
        .where(event.cache_id == cache_id, event.kind == "down", event.ts < earlier)
        .order_by(event.ts.desc(), event.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    reaches_in = (event.until >= start) | ((event.kind == "down") & event.until.is_(None))
    recent = (
        select(event.id)
        .where(event.cache_id == cache_id, event.ts >= earlier, event.ts <= end)
        .where((event.ts >= start) | reaches_in)
        .order_by(event.ts.desc(), event.id.desc())
        .limit(limit)
    )
    rows = session.scalars(
        select(event)
        .where(event.id.in_(recent.union_all(select(event.id).where(event.id == outage, reaches_in))))
        .order_by(event.ts.desc(), event.id.desc())
        .limit(limit)
    )
    return tuple(_event(row) for row in reversed(list(rows)))


def _event(row: CacheEventRow) -> StoredEvent:
    return StoredEvent(
        id=row.id,
        cache_id=row.cache_id,
        kind=row.kind,
        at=row.ts,
        until=row.until,
        count=row.count,
        node=row.node,
        details=row.details,
    )


def last_events(
    session: Session, kinds: Sequence[str], since: datetime, *, cache_ids: Sequence[int] | None = None
) -> dict[tuple[int, str], datetime]:
    """The time of the latest event of each cache and kind, of its end if it has one; one query for all caches.

    Args:
        cache_ids: only these.
    """
    rows = fetch(
        session,
        "SELECT cache.id AS cache_id, kind, latest.ts FROM cache, unnest(CAST(:kinds AS text[])) AS kind,"
        " LATERAL (SELECT coalesce(until, ts) AS ts FROM cache_event WHERE cache_id = cache.id"
        "  AND cache_event.kind = kind.kind AND ts >= :since ORDER BY cache_event.ts DESC LIMIT 1) AS latest"
        " WHERE CAST(:ids AS int[]) IS NULL OR cache.id = ANY(CAST(:ids AS int[]))",
        kinds=list(kinds),
        since=since,
        ids=None if cache_ids is None else list(cache_ids),
    )
    return {(row.cache_id, row.kind): row.ts for row in rows}


def delete_old_events(session: Session, before: datetime, *, at_most: int = 10_000) -> int:
    """Remove events older than ``before``, a bounded number at a time."""
    return execute(
        session,
        "DELETE FROM cache_event WHERE id IN"
        " (SELECT id FROM cache_event WHERE ts < :before ORDER BY ts LIMIT :at_most)",
        before=before,
        at_most=at_most,
    )


# --- command statistics -------------------------------------------------------------------------------------


def command_samples(session: Session, cache_id: int, start: datetime, end: datetime) -> Sequence[Row[Any]]:
    """(bucket, commands) of each ten minutes of a cache that begin within the span, oldest first.

    ``commands`` is as ``sums.joined`` makes it.
    """
    return session.execute(
        select(CommandSampleRow.bucket, CommandSampleRow.commands)
        .where(
            CommandSampleRow.cache_id == cache_id,
            CommandSampleRow.bucket >= start,
            CommandSampleRow.bucket < end,
        )
        .order_by(CommandSampleRow.bucket)
    ).all()


# --- the worker ---------------------------------------------------------------------------------------------

_WORKER = "poller"


def beat(session: Session, holder: str, now: datetime, *, is_new: bool) -> None:
    """Note that ``holder`` polls; ``is_new`` when it has just got the lock."""
    statement = upsert(WorkerStateRow).values(name=_WORKER, holder=holder, acquired_at=now, beat_at=now)
    changed: dict[str, Any] = {"holder": holder, "beat_at": now}
    if is_new:
        changed["acquired_at"] = now
    session.execute(statement.on_conflict_do_update(index_elements=["name"], set_=changed))


def worker_state(session: Session) -> WorkerStateRow | None:
    """The row of the process that polls, None before the first."""
    return session.get(WorkerStateRow, _WORKER)


def set_watermark(session: Session, column: str, until: datetime) -> None:
    """Note how far a rollup reaches (``minutes_until`` or ``hours_until``)."""
    session.execute(update(WorkerStateRow).where(WorkerStateRow.name == _WORKER).values({column: until}))
