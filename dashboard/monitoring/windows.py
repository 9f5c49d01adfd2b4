"""Sums over time spans, for tiles and verdicts. SQL, run through the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.monitoring.rollup import BELOW_TARGET, IS_GAP, POINTS, RATE_S, big
from dashboard.monitoring.store import Session, fetch, worker_state
from dashboard.monitoring.sums import known_sum
from dashboard.monitoring.types import Incident, Window

RECENT = timedelta(minutes=15)
LATEST = timedelta(minutes=5)
BEFORE = timedelta(hours=1)
SPARK = timedelta(hours=6)
SPARK_STEP_S = 900
_SLACK = timedelta(minutes=2)
"""A window whose data begins so much later than it is whole: minutes do not begin with it."""

_SUMS: Mapping[str, str] = {
    "hits": "hits",
    "misses": "misses",
    "evicted_keys": "evicted",
    "expired_keys": "expired",
    "rejected_connections": "rejected",
    "errors_oom": "errors_oom",
    "keys_calls": "keys_calls",
    "total_commands_processed": "commands",
    "total_error_replies": "errors",
}
_SUM_SQL = ", ".join(f"{big(f'sum({column})')} AS {name}" for name, column in _SUMS.items())


def _window(row: Any, start: datetime, end: datetime) -> Window:
    return Window(start, end, row.covered_s or 0.0, **{name: getattr(row, name) for name in _SUMS})


def _minute(at: datetime) -> datetime:
    return at.replace(second=0, microsecond=0)


def _next_minute(at: datetime) -> datetime:
    """The first whole minute of a span that begins at ``at``."""
    return _minute(at + timedelta(seconds=59, microseconds=999_999))


@dataclass(frozen=True, slots=True)
class Recent:
    """The last minutes of one cache.

    Attributes:
        window: the last fifteen minutes of its data. It begins later where the data does, so that a cache that is
            new, or back from a long outage, is measured against what there can be; it ends with the last poll.
        before: the hour before them.
        latest: the last five minutes of the window, as it begins and ends.
        evicted_per_s, reads_per_s: of the last poll whose growth is known.
    """

    window: Window
    before: Window
    latest: Window
    evicted_per_s: float | None = None
    reads_per_s: float | None = None


_BACK_S = "coalesce(dt_s, 0) + coalesce(late_reach_s, 0)"
_RECENT_SQL = (
    # A minute counts by its start, a poll by its own time.
    "WITH point AS ("
    " SELECT cache_id, bucket AS at, bucket + interval '1 minute' AS ends, true AS is_counted, false AS is_poll,"
    f" bucket + interval '1 minute' - make_interval(secs => {_BACK_S}) AS begins, {IS_GAP} AS is_gap,"
    f" dt_s, NULL::float8 AS rate_s, {', '.join(_SUMS.values())}"
    " FROM rollup_minute WHERE cache_id = ANY(:cache_ids) AND bucket >= :earliest AND bucket < :until"
    " UNION ALL"
    " SELECT cache_id, at, at AS ends, at >= :until AS is_counted, true AS is_poll,"
    f" at - make_interval(secs => {_BACK_S}) AS begins, {IS_GAP} AS is_gap,"
    f" dt_s, {RATE_S} AS rate_s, {', '.join(_SUMS.values())} FROM ({POINTS['raw']}) AS poll"
    "), placed AS ("
    # What a gap carries along belongs to the span that holds the whole gap.
    " SELECT *, CASE WHEN at >= :latest AND (NOT is_gap OR begins >= :latest) THEN 2"
    " WHEN at >= :split AND (NOT is_gap OR begins >= :split) THEN 1"
    " WHEN at < :split AND (NOT is_gap OR begins >= :earliest) THEN 0 END AS part FROM point)"
    " SELECT cache_id, part, max(ends) FILTER (WHERE is_counted) AS ends,"
    " min(begins) FILTER (WHERE is_counted) AS begins,"
    " sum(dt_s::float8) FILTER (WHERE is_counted) AS covered_s,"
    " (array_agg(evicted / rate_s ORDER BY at DESC) FILTER (WHERE is_poll AND rate_s > 0))[1]::float8"
    " AS evicted_per_s,"
    " (array_agg((hits + misses) / rate_s ORDER BY at DESC) FILTER (WHERE is_poll AND rate_s > 0))[1]::float8"
    " AS reads_per_s, "
    + ", ".join(
        f"{big(f'sum({column}) FILTER (WHERE is_counted)')} AS {name}" for name, column in _SUMS.items()
    )
    + " FROM placed WHERE part IS NOT NULL GROUP BY 1, 2"
)


def recent(
    session: Session, cache_ids: Sequence[int], now: datetime, *, longest_interval_s: float = 60
) -> dict[int, Recent]:
    """The last minutes of each cache up to its last poll; one query for all, and one for how far the minutes reach.

    Finished minutes come from the rollup, and the polls since then from the samples: what was counted a second ago
    is in it. Growth that a gap carries along counts only in a span that holds the gap.

    Args:
        longest_interval_s: poll interval of the slowest of these caches.
    """
    split, latest = now - RECENT, now - LATEST
    earliest = split - BEFORE
    state = worker_state(session)
    until = min(max((state.minutes_until if state else None) or earliest, earliest), _minute(now))
    rows = fetch(
        session,
        _RECENT_SQL,
        cache_ids=list(cache_ids),
        earliest=_next_minute(earliest),
        split=_next_minute(split),
        latest=_next_minute(latest),
        until=until,
        # Back to the last poll in any case: it says how fast keys are evicted now.
        start=min(until, now - timedelta(seconds=max(60.0, 3 * longest_interval_s))),
        end=now + timedelta(microseconds=1),
    )
    found: dict[tuple[int, int], Any] = {(row.cache_id, row.part): row for row in rows}

    def window(cache_id: int, start: datetime, *parts: int) -> Window:
        known = [found[cache_id, part] for part in parts if (cache_id, part) in found]
        counted = [row for row in known if row.ends is not None]
        if not counted:
            return Window(start, now, 0.0)
        begins = min(row.begins for row in counted)
        sums = {name: known_sum(getattr(row, name) for row in counted) for name in _SUMS}
        return Window(
            start if begins <= start + _SLACK else begins,
            max(row.ends for row in counted),
            sum(row.covered_s or 0.0 for row in counted),
            **sums,
        )

    windows = {}
    for cache_id in cache_ids:
        parts = [found[cache_id, part] for part in (2, 1, 0) if (cache_id, part) in found]
        windows[cache_id] = Recent(
            window=window(cache_id, split, 1, 2),
            before=replace(window(cache_id, earliest, 0), start=earliest, end=split),
            latest=window(cache_id, latest, 2),
            evicted_per_s=next((row.evicted_per_s for row in parts if row.evicted_per_s is not None), None),
            reads_per_s=next((row.reads_per_s for row in parts if row.reads_per_s is not None), None),
        )
    return windows


INCIDENTS: Mapping[str, str] = {
    "errors_oom": "d_errors_oom",
    "rejected_connections": "d_rejected_connections",
    "keys_calls": "d_keys_calls",
}
"""What counts incidents, and its column of a sample."""


def incidents(session: Session, cache_ids: Sequence[int], now: datetime) -> dict[int, dict[str, Incident]]:
    """When each of INCIDENTS was counted within the last fifteen minutes; one query for all caches.

    Meant for the few caches that counted any: it reads their samples.
    """
    if not cache_ids:
        return {}
    # An incident in a gap was at any time of it.
    interval = f"make_interval(secs => CASE WHEN {IS_GAP} THEN 0 ELSE coalesce(dt_s, 0) END)"
    columns = ", ".join(
        f"min(ts - {interval}) FILTER (WHERE {column} > 0) AS {name}_first,"
        f" max(ts) FILTER (WHERE {column} > 0) AS {name}_last"
        for name, column in INCIDENTS.items()
    )
    rows = fetch(
        session,
        f"SELECT cache_id, {columns} FROM sample"
        " WHERE cache_id = ANY(:cache_ids) AND ts >= :start AND ts <= :end GROUP BY cache_id",
        cache_ids=list(cache_ids),
        start=_next_minute(now - RECENT),
        end=now,
    )
    return {
        row.cache_id: {
            name: Incident(getattr(row, f"{name}_first"), getattr(row, f"{name}_last"))
            for name in INCIDENTS
            if getattr(row, f"{name}_last") is not None
        }
        for row in rows
    }


def sparks(session: Session, cache_ids: Sequence[int], now: datetime) -> dict[int, tuple[float | None, ...]]:
    """The hit ratio of each cache over the last six hours, one value per 15 minutes; one query for all."""
    last = int(now.timestamp()) // SPARK_STEP_S * SPARK_STEP_S
    first = last - int(SPARK.total_seconds()) + SPARK_STEP_S
    rows = fetch(
        session,
        "SELECT cache_id,"
        f" extract(epoch FROM date_bin('{SPARK_STEP_S} seconds', bucket, timestamptz 'epoch'))::bigint AS slot,"
        " sum(hits)::float8 / nullif(sum(hits + misses), 0)::float8 AS ratio"
        " FROM rollup_minute WHERE cache_id = ANY(:cache_ids) AND bucket >= :start AND bucket < :end GROUP BY 1, 2",
        cache_ids=list(cache_ids),
        start=datetime.fromtimestamp(first, UTC),
        end=now,
    )
    ratios = {(row.cache_id, row.slot): row.ratio for row in rows}
    slots = range(first, last + 1, SPARK_STEP_S)
    return {cache_id: tuple(ratios.get((cache_id, slot)) for slot in slots) for cache_id in cache_ids}


@dataclass(frozen=True, slots=True)
class SpanSums:
    """A cache over a span: its sums, its lowest point, and how long it was below its target."""

    window: Window
    ratio_min: float | None
    minutes_known: int
    minutes_below_target: int


def over_span(
    session: Session, cache_id: int, start: datetime, end: datetime, target: float, *, from_hours: bool
) -> SpanSums:
    """Sum a span up, without what a gap carried into it from before it began.

    Args:
        target: hit ratio, 0..1.
        from_hours: the span is too long or too old for minutes; those below the target were then counted as
            each hour was made, against the target of that time.
    """
    if from_hours:
        table, length_s, known, below = "rollup_hour", 3600, "sum(minutes_known)", "sum(minutes_below)"
        begin = start.replace(minute=0, second=0, microsecond=0)
    else:
        table, length_s, known = "rollup_minute", 60, "count(*) FILTER (WHERE hits + misses > 0)"
        below = f"count(*) FILTER (WHERE {BELOW_TARGET.format(target=':target')})"
        begin = _next_minute(start)
    row = fetch(
        session,
        # Over a gap no bucket covers more than its length.
        f"SELECT sum(CASE WHEN {IS_GAP} THEN least(dt_s, {length_s}) ELSE dt_s END::float8) AS covered_s,"
        f" {_SUM_SQL}, min(ratio_min) AS ratio_min,"
        f" coalesce({known}, 0)::bigint AS known, coalesce({below}, 0)::bigint AS below"
        f" FROM {table} WHERE cache_id = ANY(:cache_ids) AND bucket >= :start AND bucket < :end"
        f" AND (NOT {IS_GAP} OR bucket - make_interval(secs => greatest(dt_s - {length_s}, late_reach_s, 0))"
        f" >= :start - make_interval(secs => {length_s}))",
        cache_ids=[cache_id],
        start=begin,
        end=end,
        **({} if from_hours else {"target": target}),
    )[0]
    return SpanSums(
        window=_window(row, start, end),
        ratio_min=row.ratio_min,
        minutes_known=row.known,
        minutes_below_target=row.below,
    )


def evicting_since(session: Session, cache_id: int, now: datetime) -> datetime | None:
    """Since which minute keys are evicted without a minute of rest, looking back a day; None when they are not."""
    found = fetch(
        session,
        "SELECT min(bucket) FILTER (WHERE evicted > 0) AS since FROM rollup_minute"
        " WHERE cache_id = :cache_id AND bucket < :end AND bucket > coalesce("
        "  (SELECT max(bucket) FROM rollup_minute WHERE cache_id = :cache_id AND bucket >= :start"
        "   AND bucket < :settled AND coalesce(evicted, 0) = 0), :start)",
        cache_id=cache_id,
        start=now - timedelta(days=1),
        # The current minute has hardly begun; that it evicted nothing yet says little.
        settled=_minute(now),
        end=now,
    )[0].since
    return found if isinstance(found, datetime) else None
