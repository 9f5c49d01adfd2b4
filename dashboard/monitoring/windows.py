"""Sums over time spans, for tiles and verdicts. SQL, run through the store."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.monitoring.rollup import BELOW_TARGET, IS_GAP, big
from dashboard.monitoring.store import Session, fetch
from dashboard.monitoring.types import Window

RECENT = timedelta(minutes=15)
BEFORE = timedelta(hours=1)
SPARK = timedelta(hours=6)
SPARK_STEP_S = 900

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


def recent(session: Session, cache_ids: Sequence[int], now: datetime) -> dict[int, tuple[Window, Window]]:
    """For each cache the last fifteen minutes and the hour before them; one query for all.

    Minutes that reach over a gap are left out: their growth is that of hours, perhaps.
    """
    split = now - RECENT
    start = split - BEFORE
    rows = fetch(
        session,
        f"SELECT cache_id, bucket >= :split AS is_recent, sum(dt_s::float8) AS covered_s, {_SUM_SQL}"
        " FROM rollup_minute WHERE cache_id = ANY(:cache_ids) AND bucket >= :start AND bucket < :end"
        f" AND NOT {IS_GAP} GROUP BY 1, 2",
        cache_ids=list(cache_ids),
        split=_next_minute(split),
        start=_next_minute(start),
        end=now,
    )
    found = {(row.cache_id, row.is_recent): row for row in rows}
    windows = {}
    for cache_id in cache_ids:
        after, before = found.get((cache_id, True)), found.get((cache_id, False))
        windows[cache_id] = (
            _window(after, split, now) if after else Window(split, now, 0.0),
            _window(before, start, split) if before else Window(start, split, 0.0),
        )
    return windows


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
