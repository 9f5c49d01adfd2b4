"""From samples to minutes to hours, and the end of what is too old. SQL, run through the store.

The three levels share one shape, a *point*: the sums, extremes and means of ``_Rollup``. A poll is a point of
itself, made from its nodes' samples; ``aggregate`` makes coarser points from finer ones, for the rollups here and
for charts. So a number means the same at every level. Counters add up, gauges keep minimum, mean, maximum and last, and
the hit ratio is never averaged: only sums of hits and misses go up, with the extremes of single polls beside them.

A rate divides a sum by the time its growth belongs to. That is ``dt_s``, the time since the cache's previous poll,
and ``late_s``: a node of a Cluster that comes back brings the growth of all its silence, most of it from before the
poll. ``late_s`` is that earlier time as a share of the whole cache (an hour of one node of four is a quarter of an
hour), ``late_reach_s`` how far back it goes. Both shrink as points join: what lies within the coarser point is no
longer early.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from dashboard.monitoring import store
from dashboard.monitoring.deltas import INCIDENTS
from dashboard.monitoring.store import Session, execute, fetch
from dashboard.monitoring.types import Flag

MIN_LOOKUPS = 50
"""A single poll's hit ratio counts as an extreme only with so many lookups; of two lookups it says nothing."""

LOOKBACK = timedelta(minutes=2)
"""How far before the last run samples may still arrive late."""

MOST = 4 * 10**18
"""Sums end here: two of them still add up within PostgreSQL's bigint, and no cache ever counts so far."""

IS_GAP = f"flags & {int(Flag.GAP)} <> 0"
"""SQL: whether a sample or point reaches over time in which nothing was read."""

RATE_S = "(dt_s + coalesce(late_s, 0))"
"""SQL: the seconds that the growth of a point belongs to."""

_CHUNK = timedelta(hours=6)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

SUMS: Mapping[str, str] = {
    "commands": "total_commands_processed",
    "connections": "total_connections_received",
    "net_input_bytes": "total_net_input_bytes",
    "net_output_bytes": "total_net_output_bytes",
    "expired": "expired_keys",
    "evicted": "evicted_keys",
    "rejected": "rejected_connections",
    "errors": "total_error_replies",
    "errors_oom": "errors_oom",
    "keys_calls": "keys_calls",
    "cpu_usec": "used_cpu_usec",
}
"""Sums of a rollup and the sample's counters they come from; hits and misses are apart, ours are subtracted."""

_RATES = {
    "commands_rate": "commands",
    "misses_rate": "misses",
    "evicted_rate": "evicted",
    "expired_rate": "expired",
    "net_input_rate": "net_input_bytes",
    "net_output_rate": "net_output_bytes",
}
_GAUGES = {
    "used_memory": "sum(used_memory)",
    "maxmemory": "sum(maxmemory)",
    "keys": "sum(keys)",
    "expires": "sum(expires)",
    "rss": "sum(used_memory_rss)",
    "fragmentation": "max(mem_fragmentation_ratio)",
    "clients": "sum(connected_clients)",
    "blocked": "sum(blocked_clients)",
    "round_trip": "max(round_trip_s)",
}
_ALL_SUMS = ("hits", "misses", *SUMS)
_LASTS = ("used_memory_last", "maxmemory_last", "keys_last", "expires_last")
_MINS = ("used_memory_min", "ratio_min", "commands_rate_min")
_AVERAGES = ("used_memory_avg", "clients_avg", "round_trip_avg")
_MAXES = (
    "used_memory_max",
    "rss_max",
    "fragmentation_max",
    "clients_max",
    "blocked_max",
    "round_trip_max",
    "ratio_max",
    "commands_rate_max",
    "misses_rate_max",
    "evicted_rate_max",
    "expired_rate_max",
    "net_input_rate_max",
    "net_output_rate_max",
)
COLUMNS = (
    *_ALL_SUMS,
    *_LASTS,
    *_MINS,
    *_AVERAGES,
    *_MAXES,
    "dt_s",
    "late_s",
    "late_reach_s",
    "polls",
    "polls_complete",
    "flags",
)
"""Columns of a point beside cache_id and its time."""


def big(expression: str) -> str:
    """SQL: a sum as bigint, ending at MOST; NULL stays NULL."""
    # least() alone would pass NULL over.
    return f"CASE WHEN {expression} IS NOT NULL THEN least({expression}, {MOST}) END::bigint"


def _if_any(seconds: str) -> str:
    """SQL: NULL, which takes no room, for nothing."""
    return f"nullif(greatest({seconds}, 0), 0)"


def _polls() -> str:
    """One row per cache and poll, from the samples of its nodes."""
    # Half of a pair would bend the ratio: a node counts with both or not at all.
    is_paired = "FILTER (WHERE d_keyspace_hits IS NOT NULL AND d_keyspace_misses IS NOT NULL)"
    # Growth of part of an interval makes no rate: one node's reset would be a dip of all. Incidents count still.
    is_reset = f"bool_or(flags & {int(Flag.RESETSTAT)} <> 0)"
    sums = [
        # greatest() passes NULL over, and what is not reported must not become 0.
        f"CASE WHEN NOT {is_reset} AND sum(d_keyspace_{name}) {is_paired} IS NOT NULL THEN least(greatest("
        f"sum(d_keyspace_{name}) {is_paired} - sum(self_{name}) {is_paired}, 0), {MOST}) END::bigint AS {name}"
        for name in ("hits", "misses")
    ]
    sums += [
        f"{big(f'sum(d_{counter})')} AS {name}"
        if counter in INCIDENTS
        else f"CASE WHEN NOT {is_reset} THEN {big(f'sum(d_{counter})')} END AS {name}"
        for name, counter in SUMS.items()
    ]
    gauges = [
        # Half of a cluster's memory is not its memory: gauges only when every node answered.
        f"CASE WHEN count(*) >= max(nodes_expected) THEN {expression} END AS {name}"
        for name, expression in _GAUGES.items()
    ]
    # Nodes that were there all along say how long it is since the previous poll, one that was away does not.
    steady = f"max(dt_s) FILTER (WHERE NOT {IS_GAP})"
    back = f"FILTER (WHERE {IS_GAP})"
    late = f"(sum(dt_s) {back} - count(dt_s) {back} * {steady}) / max(nodes_expected)"
    return (
        f"SELECT cache_id, ts AS at, CASE WHEN NOT {is_reset} THEN coalesce({steady}, max(dt_s)) END AS dt_s,"
        f" bit_or(flags) AS flags,"
        f" {_if_any(late)} AS late_s, {_if_any(f'max(dt_s) {back} - {steady}')} AS late_reach_s,"
        f" (count(*) >= max(nodes_expected))::int AS polls_complete, {', '.join(sums + gauges)}"
        " FROM sample WHERE cache_id = ANY(:cache_ids) AND ts >= :start AND ts < :end GROUP BY cache_id, ts"
    )


def _raw_points() -> str:
    columns = [*_ALL_SUMS]
    columns += [f"{big(name.removesuffix('_last'))} AS {name}" for name in _LASTS]
    ratio = f"CASE WHEN hits + misses >= {MIN_LOOKUPS} THEN hits::float8 / (hits + misses) END"
    for name in (*_MINS, *_AVERAGES, *_MAXES):
        base = name.rpartition("_")[0]
        if base == "ratio":
            expression = ratio
        elif base in _RATES:
            expression = f"CASE WHEN {RATE_S} > 0 THEN {_RATES[base]} / {RATE_S} END"
        else:
            expression = base
        columns.append(f"({expression})::float8 AS {name}")
    return (
        f"SELECT cache_id, at, dt_s, late_s, late_reach_s, 1 AS polls, polls_complete, flags, {', '.join(columns)}"
        f" FROM ({_polls()}) AS poll"
    )


def _stored_points(table: str) -> str:
    return (
        f"SELECT cache_id, bucket AS at, {', '.join(COLUMNS)} FROM {table}"
        " WHERE cache_id = ANY(:cache_ids) AND bucket >= :start AND bucket < :end"
    )


POINTS: Mapping[str, str] = {
    "raw": _raw_points(),
    "minute": _stored_points("rollup_minute"),
    "hour": _stored_points("rollup_hour"),
}
"""The points of each level; parameters :cache_ids, :start and :end."""


BELOW_TARGET = f"hits + misses >= {MIN_LOOKUPS} AND hits < {{target}} * (hits + misses)"
"""SQL: whether a minute with enough lookups missed the target."""

_HOUR_ONLY: Mapping[str, str] = {
    "minutes_known": "count(*) FILTER (WHERE hits + misses > 0)",
    "minutes_below": "count(*) FILTER (WHERE "
    + BELOW_TARGET.format(target="(SELECT hit_ratio_target FROM cache WHERE cache.id = point.cache_id)")
    + ")",
}
"""Counted while the minutes are at hand: over a month they would be tens of thousands of scattered rows."""


def aggregate(level: str, bucket: str, more: Mapping[str, str] = MappingProxyType({})) -> str:
    """SQL that joins the points of ``level`` into one per cache and value of the expression ``bucket``.

    Args:
        more: further columns and the aggregate expressions that make them.
    """
    columns = [f"{big(f'sum({name})')} AS {name}" for name in _ALL_SUMS]
    columns += [
        f"(array_agg({name} ORDER BY at DESC) FILTER (WHERE {name} IS NOT NULL))[1] AS {name}"
        for name in _LASTS
    ]
    columns += [f"min({name}) AS {name}" for name in _MINS]
    columns += [
        f"sum({name}::float8 * polls_complete)"
        f" / nullif(sum(polls_complete) FILTER (WHERE {name} IS NOT NULL), 0) AS {name}"
        for name in _AVERAGES
    ]
    columns += [f"max({name}) AS {name}" for name in _MAXES]
    columns += [f"{expression} AS {name}" for name, expression in more.items()]
    reach = f"greatest(late_reach_s - extract(epoch FROM at - ({bucket}))::float8, 0)"
    columns += [
        f"{_if_any(f'sum(late_s * {reach} / late_reach_s)')} AS late_s",
        f"{_if_any(f'max({reach})')} AS late_reach_s",
    ]
    return (
        f"SELECT cache_id, {bucket} AS bucket, {', '.join(columns)}, sum(dt_s::float8) AS dt_s,"
        " sum(polls)::int AS polls, sum(polls_complete)::int AS polls_complete, bit_or(flags) AS flags"
        f" FROM ({POINTS[level]}) AS point GROUP BY 1, 2"
    )


def _insert(table: str, level: str, seconds: int, more: Mapping[str, str] = MappingProxyType({})) -> str:
    columns = ("cache_id", "bucket", *COLUMNS, *more)
    bucket = f"date_bin('{seconds} seconds', at, timestamptz 'epoch')"
    return (
        f"INSERT INTO {table} ({', '.join(columns)})"
        f" SELECT {', '.join(f'made.{name}' for name in columns)}"
        # Nothing is made for a cache that was removed.
        f" FROM ({aggregate(level, bucket, more)}) AS made JOIN poll_state USING (cache_id)"
        # In the order of the primary key, whatever the plan: of buckets made together the index has full pages.
        " ORDER BY cache_id, bucket"
        " ON CONFLICT (cache_id, bucket) DO UPDATE SET "
        + ", ".join(f"{name} = excluded.{name}" for name in columns[2:])
        # A bucket that is made again and comes out the same leaves no dead row behind.
        + f" WHERE {table} IS DISTINCT FROM excluded"
    )


_MINUTES = _insert("rollup_minute", "raw", 60)
_HOURS = _insert("rollup_hour", "minute", 3600, _HOUR_ONLY)


def _floor(at: datetime, seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=(at - _EPOCH) // timedelta(seconds=seconds) * seconds)


def roll_up_minutes(session: Session, cache_ids: Sequence[int], start: datetime, end: datetime) -> int:
    """Make the minutes that ``start`` to ``end`` touches, whole, again or anew; the number that changed."""
    return _roll_up(session, _MINUTES, 60, cache_ids, start, end)


def roll_up_hours(session: Session, cache_ids: Sequence[int], start: datetime, end: datetime) -> int:
    """Make the hours that ``start`` to ``end`` touches from their minutes; the number that changed."""
    return _roll_up(session, _HOURS, 3600, cache_ids, start, end)


def _roll_up(
    session: Session, sql: str, seconds: int, cache_ids: Sequence[int], start: datetime, end: datetime
) -> int:
    at, changed = _floor(start, seconds), 0
    end = _floor(end + timedelta(seconds=seconds, microseconds=-1), seconds)
    while at < end:
        chunk_end = min(at + _CHUNK, end)
        changed += execute(session, sql, cache_ids=list(cache_ids), start=at, end=chunk_end)
        at = chunk_end
    return changed


def roll_up(session: Session, now: datetime) -> dict[int, str]:
    """Bring minutes and hours up to ``now``, from where the last run ended.

    A minute is made when it is over: made at each poll it would leave five dead rows for one. The current hour is
    there as far as it has come. Idempotent: buckets are made whole from what they are made of. To be called by
    the holder of the poller's lock.

    Returns:
        Why by cache, of those whose numbers could not be rolled up. The others are, and the mark goes on: one
        cache's broken numbers hold up neither the charts of the others nor retention.
    """
    state = store.worker_state(session)
    cache_ids = list(store.poll_states(session))
    if state is None or not cache_ids:
        return {}
    # A clock that stepped back: what is written now lies before the mark.
    oldest = _oldest_sample(session, cache_ids, now)
    minutes = max(min(state.minutes_until or oldest, now) - LOOKBACK, min(oldest, now))
    until = _floor(now, 60)
    hours = min(state.hours_until or minutes, minutes)

    def make(ids: Sequence[int]) -> str | None:
        with store.attempt(session) as tried:
            roll_up_minutes(session, ids, minutes, until)
            roll_up_hours(session, ids, hours, until)
        return tried.problem

    failed: dict[int, str] = {}
    # All at once is several times cheaper than one by one.
    if make(cache_ids) is not None:
        failed = {cache_id: problem for cache_id in cache_ids if (problem := make([cache_id])) is not None}
    store.set_watermark(session, "minutes_until", until)
    store.set_watermark(session, "hours_until", until)
    return failed


def _oldest_sample(session: Session, cache_ids: Sequence[int], now: datetime) -> datetime:
    oldest = fetch(
        session,
        "SELECT min((SELECT min(ts) FROM sample WHERE cache_id = id)) AS ts FROM unnest(CAST(:ids AS int[])) AS id",
        ids=list(cache_ids),
    )[0].ts
    return oldest if isinstance(oldest, datetime) else now


def drop_old(
    session: Session, now: datetime, *, raw_hours: int, minute_days: int, hour_days: int
) -> list[str]:
    """Drop the partitions whose every row is too old, and what a removed cache left behind.

    Samples that were not rolled up yet stay, whatever their age. ``now`` is held against PostgreSQL's own clock:
    a clock that is ahead by mistake must not cost the history.

    Returns:
        The names of the dropped partitions.
    """
    state = store.worker_state(session)
    now = min(now, fetch(session, "SELECT now() AS now")[0].now)
    minutes_until = (state.minutes_until if state else None) or _EPOCH
    hours_until = (state.hours_until if state else None) or _EPOCH
    raw = min(now - timedelta(hours=raw_hours), minutes_until - LOOKBACK)
    dropped = store.drop_partitions(session, "sample", raw)
    dropped += store.drop_partitions(session, "command_sample", raw)
    minutes = min(now - timedelta(days=minute_days), hours_until - timedelta(hours=1))
    dropped += store.drop_partitions(session, "rollup_minute", minutes)
    dropped += store.drop_partitions(session, "rollup_hour", now - timedelta(days=hour_days))
    store.delete_old_events(session, now - timedelta(days=hour_days))
    store.delete_orphans(session)
    return dropped
