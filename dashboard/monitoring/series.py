"""What charts draw: the level that fits a span, at most about 600 points of it, gaps kept.

SQL, run through the store.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from dashboard.errors import InvalidInput
from dashboard.monitoring import store
from dashboard.monitoring.rollup import RATE_S, aggregate
from dashboard.monitoring.store import Session, fetch
from dashboard.monitoring.types import Series, Span

MAX_POINTS = 600
RANGES: Mapping[str, timedelta] = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "6h": timedelta(hours=6),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
LONGEST = timedelta(days=3660)
SHORTEST = timedelta(seconds=30)

RAW_UP_TO = timedelta(minutes=90)
MINUTES_UP_TO = timedelta(days=8)
_GAP_INTERVALS = 2.5
_ROLLUP_LAG_S = 150.0
"""How far the rollups may lie behind: the last bucket is not called a gap before."""

Level = Literal["raw", "minute", "hour"]
_LEVEL_S: Mapping[Level, int] = {"raw": 0, "minute": 60, "hour": 3600}
_STEPS: Mapping[Level, tuple[int, ...]] = {
    "raw": (1, 2, 5, 10, 15, 20, 30, 60, 120, 300),
    "minute": tuple(60 * minutes for minutes in (1, 2, 3, 5, 10, 15, 20, 30, 60, 120, 240)),
    "hour": tuple(3600 * hours for hours in (1, 2, 3, 4, 6, 12, 24, 48, 96, 168)),
}

_RATIO = "CASE WHEN hits + misses > 0 THEN hits::float8 / (hits + misses) END"


def _rate(sum_column: str) -> str:
    return f"CASE WHEN {RATE_S} > 0 THEN {sum_column} / {RATE_S} END"


EXPRESSIONS: Mapping[str, str] = {
    "hit_ratio": _RATIO,
    "hit_ratio_min": "ratio_min",
    "hit_ratio_max": "ratio_max",
    "lookups": "hits + misses",
    "hits_per_s": _rate("hits"),
    "misses_per_s": _rate("misses"),
    "misses_per_s_max": "misses_rate_max",
    "commands_per_s": _rate("commands"),
    "commands_per_s_min": "commands_rate_min",
    "commands_per_s_max": "commands_rate_max",
    "evicted_per_s": _rate("evicted"),
    "evicted_per_s_max": "evicted_rate_max",
    "expired_per_s": _rate("expired"),
    "expired_per_s_max": "expired_rate_max",
    "net_input_bytes_per_s": _rate("net_input_bytes"),
    "net_input_bytes_per_s_max": "net_input_rate_max",
    "net_output_bytes_per_s": _rate("net_output_bytes"),
    "net_output_bytes_per_s_max": "net_output_rate_max",
    "connections_per_s": _rate("connections"),
    "rejected_per_s": _rate("rejected"),
    "errors_per_s": _rate("errors"),
    "cpu_share": _rate("cpu_usec / 1e6"),
    "used_memory_bytes": "used_memory_avg",
    "used_memory_bytes_min": "used_memory_min",
    "used_memory_bytes_max": "used_memory_max",
    "maxmemory_bytes": "maxmemory_last",
    "rss_bytes_max": "rss_max",
    "fragmentation_max": "fragmentation_max",
    "keys": "keys_last",
    "expires": "expires_last",
    "connected_clients": "clients_avg",
    "connected_clients_max": "clients_max",
    "blocked_clients_max": "blocked_max",
    "round_trip_s": "round_trip_avg",
    "round_trip_s_max": "round_trip_max",
    "polls": "polls",
}
"""The columns of a Series and how a point's sums and extremes make them. ``cpu_share`` is of one core, 0..n."""


def parse_span(
    now: datetime, range_name: str | None = None, start: str | None = None, end: str | None = None
) -> Span:
    """The time range of a request.

    Args:
        range_name: ``15m`` … ``30d``; taken when there is no custom range.
        start, end: a custom range, ISO 8601 (UTC where no offset is given); ``end`` may be missing: now.

    Raises:
        InvalidInput: it is none of these, or the start does not come before the end.
    """
    if start or end:
        return _custom_span(now, start or "", end or "")
    name = range_name or "1h"
    if name not in RANGES:
        raise InvalidInput(
            "There is no such range.",
            what_to_do=f"Take one of {', '.join(RANGES)}, or from and to.",
            fields={"range": f"takes {', '.join(RANGES)}"},
        )
    return Span(now - RANGES[name], now, name, is_live=True)


def _custom_span(now: datetime, start: str, end: str) -> Span:
    begin, finish = _moment(start), _moment(end) if end else now
    wrong = {
        name: f"“{text[:40]}” is not a time. Write it like 2026-03-04 12:30."
        for name, text, at in (("from", start, begin), ("to", end, finish))
        if text and at is None
    }
    if not start:
        wrong["from"] = "Enter when the span begins."
    if begin is not None and finish is not None:
        if begin >= now:
            wrong["from"] = "This is in the future; nothing is known of it. Enter a time before now."
        elif finish <= begin:
            wrong["to"] = "The span ends before it begins. Enter a time after From."
        elif min(finish, now) - begin < SHORTEST:
            wrong["to"] = (
                f"The span is shorter than {SHORTEST.seconds} s. Enter a later end or an earlier beginning."
            )
        elif min(finish, now) - begin > LONGEST:
            wrong["from"] = "The span is longer than ten years. Enter a later beginning."
    if wrong or begin is None or finish is None:
        raise InvalidInput("This is not a span of time.", what_to_do=" ".join(wrong.values()), fields=wrong)
    return Span(begin, min(finish, now), "custom", is_live=not end)


def _moment(text: str) -> datetime | None:
    """The time in UTC, None when it is none."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Far years overflow when they are moved to UTC or bucketed.
    if not 1971 <= at.year <= 9000:
        return None
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def choose_level(
    span: Span, now: datetime, poll_interval_s: float, *, raw_hours: int, minute_days: int
) -> tuple[Level, float]:
    """The finest level that is kept for the span and needs no more rows than a chart can show in good time.

    Returns:
        The level and the seconds of one point; at level ``raw`` the poll interval means single polls.
    """
    length = span.end - span.start
    level: Level
    if length <= RAW_UP_TO and span.start >= now - timedelta(hours=raw_hours):
        level = "raw"
    elif length <= MINUTES_UP_TO and span.start >= now - timedelta(days=minute_days):
        level = "minute"
    else:
        level = "hour"
    wanted_s = length.total_seconds() / MAX_POINTS
    if level == "raw" and wanted_s <= poll_interval_s:
        return level, poll_interval_s
    # Buckets about as long as the interval would hold now two polls, now none.
    if poll_interval_s > _LEVEL_S[level] / 2:
        wanted_s = max(wanted_s, 2 * poll_interval_s)
    return level, next(
        (step for step in _STEPS[level] if step >= wanted_s), math.ceil(wanted_s / 3600) * 3600
    )


def load(
    session: Session,
    cache_id: int,
    span: Span,
    *,
    now: datetime,
    poll_interval_s: float,
    raw_hours: int,
    minute_days: int,
    columns: Sequence[str] | None = None,
    since: float | None = None,
) -> Series:
    """The points of a cache over a span, with its events.

    Args:
        columns: those wanted, of EXPRESSIONS; None for all.
        since: epoch seconds of the last point the asker has: only that point, as it is now, and later ones.
    """
    level, step_s = choose_level(span, now, poll_interval_s, raw_hours=raw_hours, minute_days=minute_days)
    names = tuple(EXPRESSIONS if columns is None else columns)
    is_single = level == "raw" and step_s == poll_interval_s
    start = span.start
    if since is not None:
        # An absurd "since" must not become an absurd query.
        since = min(max(since, span.start.timestamp()), span.end.timestamp())
        # A single poll's time was rounded to a millisecond, perhaps up.
        start = datetime.fromtimestamp(since - 0.001 * is_single, UTC)
    if not is_single:
        start = datetime.fromtimestamp(start.timestamp() // step_s * step_s, UTC)
    bucket = "at" if is_single else f"date_bin('{step_s} seconds', at, timestamptz 'epoch')"
    expressions = ", ".join(f"({EXPRESSIONS[name]})::float8 AS {name}" for name in names)
    rows = fetch(
        session,
        f"SELECT extract(epoch FROM bucket)::float8 AS at, flags, {expressions}"
        f" FROM ({aggregate(level, bucket)}) AS made ORDER BY bucket",
        cache_ids=[cache_id],
        start=start,
        end=span.end,
    )
    points: list[_Point] = [(float(row[0]), tuple(row[2:])) for row in rows]
    last_s = min(span.end, now).timestamp()
    if is_single:
        filled = _with_gaps(points, len(names), step_s, start.timestamp(), last_s, is_tail=since is not None)
    else:
        grace_s = max(_ROLLUP_LAG_S if level != "raw" else 0.0, _GAP_INTERVALS * poll_interval_s)
        settled_s = span.end.timestamp() if span.end < now - timedelta(seconds=grace_s) else last_s - grace_s
        filled = _on_grid(points, len(names), float(step_s), start.timestamp(), last_s, settled_s)
    values = zip(*(point for _, point in filled), strict=True) if filled else (() for _ in names)
    return Series(
        cache_id=cache_id,
        span=span,
        level=level,
        step_s=float(step_s),
        times=tuple(round(at, 3) for at, _ in filled),
        columns={name: _tidy(name, column) for name, column in zip(names, values, strict=True)},
        events=store.events_between(session, cache_id, start, span.end),
    )


def latest_rates(
    session: Session, cache_id: int, as_of: datetime, *, back: timedelta, columns: Sequence[str]
) -> dict[str, float | None]:
    """Values of the last poll since ``as_of - back`` whose differences are known."""
    expressions = ", ".join(f"({EXPRESSIONS[name]})::float8 AS {name}" for name in columns)
    rows = fetch(
        session,
        f"SELECT {expressions}"
        f" FROM ({aggregate('raw', 'at')}) AS made ORDER BY dt_s IS NULL, bucket DESC LIMIT 1",
        cache_ids=[cache_id],
        start=as_of - back,
        end=as_of + timedelta(microseconds=1),
    )
    return dict(zip(columns, rows[0], strict=True)) if rows else dict.fromkeys(columns)


_Point = tuple[float, tuple[Any, ...]]


def _with_gaps(
    points: list[_Point], width: int, interval_s: float, start_s: float, end_s: float, *, is_tail: bool
) -> list[_Point]:
    """Single polls with an empty point wherever more than 2.5 intervals pass without one."""
    empty = (None,) * width
    gap_s = _GAP_INTERVALS * interval_s
    filled: list[_Point] = []
    before: float | None = None if is_tail else start_s
    for at, values in points:
        if before is not None and at - before > gap_s:
            filled.append((before + interval_s if filled else start_s, empty))
            if at - interval_s > filled[-1][0]:
                filled.append((at - interval_s, empty))
        filled.append((at, values))
        before = at
    if before is not None and end_s - before > gap_s:
        filled.append((before + interval_s if points else start_s, empty))
        filled.append((end_s, empty))
    return filled


def _on_grid(
    points: list[_Point], width: int, step_s: float, start_s: float, end_s: float, settled_s: float
) -> list[_Point]:
    """Every bucket from start to end; one without data is empty, unless it may still get some."""
    empty = (None,) * width
    known = dict(points)
    filled: list[_Point] = []
    for number in range(math.ceil((end_s - start_s) / step_s)):
        at = start_s + number * step_s
        values = known.get(at)
        if values is not None:
            filled.append((at, values))
        elif at + step_s <= settled_s:
            filled.append((at, empty))
    return filled


def _tidy(name: str, column: Sequence[float | None]) -> tuple[float | None, ...]:
    """Numbers as exact as a chart or a readout can show: they travel as JSON."""
    if name.startswith("hit_ratio"):
        return tuple(None if value is None else round(value, 4) for value in column)
    if "_per_s" in name or name in ("cpu_share", "round_trip_s", "round_trip_s_max", "fragmentation_max"):
        return tuple(None if value is None else float(f"{value:.4g}") for value in column)
    return tuple(None if value is None else round(value) for value in column)
