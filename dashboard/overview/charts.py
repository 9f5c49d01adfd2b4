"""What the charts of the Overview draw, as plain JSON for static/js/charts.js. Pure.

The numbers travel once for all charts (``payload``); a chart's config only says which columns it draws and how.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dashboard.invalidation.types import PurgeMark
from dashboard.monitoring.types import Series, StoredEvent, Summary
from dashboard.overview.types import ChartLine, ChartView, Json
from dashboard.policies.types import Mark
from dashboard.web.formats import byte_size, byte_unit, duration, number, percent, since

COLUMNS: tuple[str, ...] = (
    "hit_ratio",
    "hit_ratio_min",
    "hit_ratio_max",
    "used_memory_bytes",
    "used_memory_bytes_max",
    "hits_per_s",
    "misses_per_s",
    "misses_per_s_max",
    "evicted_per_s",
    "evicted_per_s_max",
    "expired_per_s",
    "connected_clients",
    "connected_clients_max",
    "blocked_clients_max",
    "commands_per_s",
    "commands_per_s_max",
    "net_input_bytes_per_s",
    "net_output_bytes_per_s",
)
"""The columns of a Series that the page needs."""

_SPREAD = frozenset(
    name for name in COLUMNS if name.endswith(("_min", "_max")) and name != "blocked_clients_max"
)
_RATIOS = frozenset(name for name in COLUMNS if name.startswith("hit_ratio"))
_TENTHS = 10
"""Times travel as whole tenths of a second: exact in JSON and in sums of differences."""


def payload(series: Series, published: Sequence[Mark] = (), purged: Sequence[PurgeMark] = ()) -> Json:
    """The numbers of all charts.

    Args:
        published: versions of the policies to mark; purged: purges.

    Returns:
        ``t``: times in tenths of a second, the first absolute, the others as differences; ``c``: column name to
        values; ``e``: events; ``from``, ``to``: the span in epoch seconds; ``step``: seconds of one point.
    """
    tenths = [round(at * _TENTHS) for at in series.times]
    single = series.level == "raw" and all(
        series.columns.get(name, ()) == series.columns.get(name.rsplit("_", 1)[0], ()) for name in _SPREAD
    )
    return {
        "t": [at - before for before, at in zip([0, *tenths], tenths, strict=False)],
        "c": {
            name: [_shorter(value, is_ratio=name in _RATIOS) for value in column]
            for name, column in series.columns.items()
            if name in COLUMNS and not (single and name in _SPREAD)
        },
        "e": sorted(
            [
                *(mark for event in series.events if (mark := _mark(event, series.span.start)) is not None),
                *map(_published, published),
                *map(_purged, purged),
            ],
            key=lambda mark: float(mark["t"]),
        ),
        "from": round(series.span.start.timestamp(), 1),
        "to": round(series.span.end.timestamp(), 1),
        "step": series.step_s,
    }


def _shorter(value: float | None, is_ratio: bool) -> float | int | None:
    """Four digits, and tenths of a per cent, are more than a chart can show."""
    if value is None:
        return None
    short = round(value, 3) if is_ratio else float(f"{value:.4g}")
    return int(short) if short.is_integer() else short


def hit_ratio_chart(
    series: Series, summary: Summary, target: float, words: str, now: datetime, is_stale: bool
) -> ChartView:
    """The main chart: the hit ratio against its target.

    Args:
        target: 0..1.
        words: the span in words, "the last 6 h".
        is_stale: readings no longer come in.
    """
    is_past = not series.span.is_live
    point = next(
        (value for value in reversed(series.columns.get("hit_ratio", ())) if value is not None), None
    )
    ratio = summary.window.hit_ratio if is_past else point
    latest = "no data" if is_stale else percent(ratio) if ratio is not None else "no reads"
    known, below = summary.minutes_known, summary.minutes_below_target
    if is_stale and summary.as_of is not None:
        note = f"no data since {since(summary.as_of, now)}"
    elif not known:
        # Minutes are known only once the first is over.
        note = "no reads in this span" if summary.window.lookups == 0 else ""
    elif not below:
        # Minutes are judged by their mean; a single reading may still have been lower.
        dipped = summary.ratio_min is not None and summary.ratio_min < target
        note = "below target for no whole minute" if dipped else "never below target"
    else:
        note = f"below target {below:,} of {known:,} min"
    lowest = f", lowest {percent(summary.ratio_min)}" if summary.ratio_min is not None else ""
    return ChartView(
        id="hit-ratio",
        title="Hit ratio",
        note=note,
        # One point of the line, the last until the reader points at another.
        lines=(ChartLine(f"In {duration(series.step_s)}", latest),),
        sentence=f"Hit ratio over {words}: {latest} "
        f"{'on average' if is_past else f'in the last {duration(series.step_s)}'}{lowest}, "
        f"target {percent(target)}{note and ', ' + note}.",
        is_main=True,
        **_drawing(
            series,
            [_line(series, "Hit ratio", "hit_ratio", "hit_ratio_min", "hit_ratio_max", fill=True)],
            title="Hit ratio",
            missing="This server does not report hits and misses.",
            unit="%",
            tick="%",
            div=0.01,
            low=50,
            high=100,
            none="no reads",
            main=True,
            threshold={"v": round(target * 100, 1), "label": f"target {percent(target)}", "below": True},
        ),
    )


def small_charts(series: Series, summary: Summary, is_stale: bool) -> tuple[ChartView, ...]:
    """Memory, reads, removals, commands, clients and network, in this order."""
    rates = summary.rates

    def now(text: str) -> str:
        return "no data" if is_stale else text

    def rate(name: str) -> str:
        return now(number(rates.get(name)))

    per_unit, unit = byte_unit(
        max(summary.maxmemory_bytes or 0, _peak(series, "used_memory_bytes_max", "used_memory_bytes"))
    )
    per_net, net_unit = byte_unit(_peak(series, "net_input_bytes_per_s", "net_output_bytes_per_s"))
    limit = summary.maxmemory_bytes
    policy = summary.maxmemory_policy or ""
    used = now(byte_size(summary.used_memory_bytes))
    threshold = (
        {"v": limit / per_unit, "label": f"maxmemory now {byte_size(limit)}", "solid": True, "inside": True}
        if limit
        else None
    )
    in_rate, out_rate = rates.get("net_input_bytes_per_s"), rates.get("net_output_bytes_per_s")

    def view(
        chart_id: str,
        title: str,
        note: str,
        lines: list[tuple[str, str]],
        drawn: list[Json],
        missing: str,
        **config: Any,
    ) -> ChartView:
        words = ", ".join(f"{name} {value}" for name, value in lines) + " now"
        if not series.span.is_live:
            lines = [(str(line["name"]), _past(series, str(line["col"]), config)) for line in drawn]
            words = ", ".join(f"{name} {value}" for name, value in lines) + " on average"
        return ChartView(
            id=chart_id,
            title=title,
            note=note,
            lines=tuple(ChartLine(name, value) for name, value in lines),
            sentence=f"{title}: {words}.",
            **_drawing(series, drawn, title=title, missing=missing, **config),
        )

    return (
        view(
            "memory",
            f"Memory, {unit}",
            policy if limit else f"no limit, {policy}".removesuffix(", "),
            [("Used", used)],
            [
                _line(
                    series,
                    "Used",
                    "used_memory_bytes",
                    "used_memory_bytes",
                    "used_memory_bytes_max",
                    fill=True,
                )
            ],
            "This server does not report its memory.",
            unit=f" {unit}",
            div=per_unit,
            zoom=True,
            threshold=threshold,
        ),
        view(
            "reads",
            "Reads/s",
            "",
            [("Hits", rate("hits_per_s")), ("Misses", rate("misses_per_s"))],
            [
                _line(series, "Hits", "hits_per_s", fill=True),
                _line(series, "Misses", "misses_per_s", "misses_per_s", "misses_per_s_max"),
            ],
            "This server does not report hits and misses.",
        ),
        view(
            "removed",
            "Keys removed/s",
            "",
            [("Evicted", rate("evicted_per_s")), ("Expired", rate("expired_per_s"))],
            [
                _line(series, "Evicted", "evicted_per_s", "evicted_per_s", "evicted_per_s_max", fill=True),
                _line(series, "Expired", "expired_per_s"),
            ],
            "This server does not report evictions and expirations.",
        ),
        view(
            "commands",
            "Commands/s",
            "",
            [("Commands", rate("commands_per_s"))],
            [_line(series, "Commands", "commands_per_s", "commands_per_s", "commands_per_s_max", fill=True)],
            "This server does not count its commands.",
        ),
        view(
            "clients",
            "Clients",
            "",
            [
                ("Connected", now(number(summary.connected_clients))),
                ("Blocked", now(number(summary.blocked_clients))),
            ],
            [
                _line(
                    series,
                    "Connected",
                    "connected_clients",
                    "connected_clients",
                    "connected_clients_max",
                    fill=True,
                ),
                _line(series, "Blocked", "blocked_clients_max"),
            ],
            "This server does not report its clients.",
        ),
        view(
            "network",
            f"Network, {net_unit}/s",
            "",
            [
                ("In", now(_speed(in_rate, per_net, net_unit))),
                ("Out", now(_speed(out_rate, per_net, net_unit))),
            ],
            [
                _line(series, "In", "net_input_bytes_per_s", fill=True),
                _line(series, "Out", "net_output_bytes_per_s"),
            ],
            "This server does not report its traffic.",
            unit=f" {net_unit}",
            div=per_net,
        ),
    )


def _past(series: Series, column: str, config: Mapping[str, Any]) -> str:
    """The mean of a column, in the words of its chart."""
    values = [value for value in series.columns.get(column, ()) if value is not None]
    return f"{number(mean(values) / config.get('div', 1))}{config.get('unit', '')}" if values else "no data"


def _speed(bytes_per_s: float | None, per_unit: int, unit: str) -> str:
    return "n/a" if bytes_per_s is None else f"{number(bytes_per_s / per_unit)} {unit}"


def _line(
    series: Series, name: str, column: str, low: str = "", high: str = "", *, fill: bool = False
) -> Json:
    """One line; with a band between two columns where averaging hides extremes."""
    line: dict[str, Any] = {"name": name, "col": column, "fill": fill}
    if high and series.columns.get(high, ()) != series.columns.get(column, ()):
        line |= {"lo": low, "hi": high}
    return line


def _drawing(
    series: Series, lines: Sequence[Json], *, title: str, missing: str, **config: Any
) -> dict[str, Any]:
    """``config`` and ``none_text`` of a chart: nothing to draw when the server answers but never reports it."""
    columns = [series.columns.get(str(line["col"]), ()) for line in lines]
    measured = any(value is not None for column in series.columns.values() for value in column)
    if (
        measured
        and not any(value is not None for column in columns for value in column)
        and lines[0]["col"] != "hit_ratio"
    ):
        return {"config": None, "none_text": missing}
    drawn = {
        "title": title,
        "series": list(lines),
        "unit": "",
        "tick": "",
        "div": 1,
        "low": None,
        "high": None,
        **config,
    }
    return {"config": drawn, "none_text": missing}


def _peak(series: Series, *names: str) -> float:
    return max(
        (value for name in names for value in series.columns.get(name, ()) if value is not None), default=0.0
    )


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of event is shown."""

    icon: str
    title: str
    text: Callable[[StoredEvent], str]


def _mark(event: StoredEvent, start: datetime) -> Json | None:
    """One event as a mark; gaps are drawn as gaps, not marked.

    Args:
        start: of the chart. What was repeated across it is marked where it happened last.
    """
    kind = _KINDS.get(event.kind)
    if kind is None:
        return None
    is_cut = event.at < start and event.count > 1
    at = event.until if is_cut and event.until is not None else event.at
    text = ". ".join(
        part for part in (kind.text(event), _repeated(event), event.node and f"On {event.node}") if part
    )
    return {
        "t": round(at.timestamp(), 1),
        "icon": kind.icon,
        "title": kind.title,
        "text": text,
        "rank": _RANKS[event.kind],
    }


def _published(mark: Mark) -> Json:
    """A publication as a mark: a cause, so it is told before what the server did."""
    reason = f". “{mark.reason}”" if mark.reason else ""
    return {
        "t": round(mark.at.timestamp(), 1),
        "icon": "sliders-horizontal",
        "title": _PUBLISHED.get(mark.kind, "Policy published"),
        "text": f"v{mark.version} by {mark.by}: {mark.summary}{reason}",
        "rank": -1,
    }


def _purged(mark: PurgeMark) -> Json:
    """A purge as a mark: a cause as well."""
    reason = f". “{mark.reason}”" if mark.reason else ""
    return {
        "t": round(mark.at.timestamp(), 1),
        "icon": "eraser",
        "title": f"Purge {mark.number}",
        "text": f"{mark.target} by {mark.by}{reason}",
        "rank": -1,
    }


_PUBLISHED = {"revert": "Policy reverted", "bypass": "Bypass begun", "end-bypass": "Bypass ended"}


def _repeated(event: StoredEvent) -> str:
    if event.count == 1:
        return ""
    if event.until is None:
        return f"{event.count:,} times"
    return f"{event.count:,} times within {duration((event.until - event.at).total_seconds())}"


def _restarted(event: StoredEvent) -> str:
    version = event.details.get("version")
    return f"Version {version}. Its memory was empty at first" if version else "Its memory was empty at first"


def _failed_over(event: StoredEvent) -> str:
    before, role = event.details.get("role_before"), event.details.get("role")
    return f"{before} became {role}" if before and role else "A replica was promoted"


def _flushed(event: StoredEvent) -> str:
    before, after = event.details.get("keys_before"), event.details.get("keys_after")
    return (
        f"{number(before)} keys before, {number(after)} after"
        if before is not None and after is not None
        else ""
    )


def _configured(event: StoredEvent) -> str:
    words = {"maxmemory": lambda value: byte_size(value) if value else "no limit"}
    return ", ".join(
        f"{name} {words.get(name, str)(change[0])} to {words.get(name, str)(change[1])}"
        for name, change in sorted(event.details.items())
        if isinstance(change, (list, tuple)) and len(change) == 2
    )


def _was_down(event: StoredEvent) -> str:
    error = str(event.details.get("error") or "").rstrip(".")
    # An open page is not told when an outage ends, so one that lasts says nothing about its length.
    lasted = (
        f"For {duration((event.until - event.at).total_seconds())}"
        if event.until and event.count == 1
        else ""
    )
    return ". ".join(part for part in (error, lasted) if part)


_KINDS: dict[str, _Kind] = {
    "restart": _Kind("rotate-ccw", "Restart", _restarted),
    "switch": _Kind("server", "Another server answers", lambda event: "Its counters start anew"),
    "failover": _Kind("refresh-cw", "Failover", _failed_over),
    "down": _Kind("unplug", "No answer", _was_down),
    "flush": _Kind("eraser", "Emptied", _flushed),
    "resetstat": _Kind(
        "undo-2", "Statistics reset", lambda event: "CONFIG RESETSTAT set the counters to zero"
    ),
    "loading": _Kind("loader-circle", "Loading", lambda event: "The server reads its data set"),
    "config": _Kind("sliders-horizontal", "Settings changed", _configured),
}
"""Kind of event to how it is shown, causes before symptoms: where several share a mark, it is the first one's."""
_RANKS = {name: rank for rank, name in enumerate(_KINDS)}


def slots(
    series: Series, column: str, pick: Callable[[list[float]], float], most: int = 96
) -> tuple[float | None, ...]:
    """A column at equal distances in time, for a sparkline; None where a slot has no reading.

    Args:
        pick: makes one value of a slot's values, e.g. ``min`` where the worst must survive.
    """
    start, end = series.span.start.timestamp(), series.span.end.timestamp()
    # A slot is at least one and a half points long, so that jitter never looks like a gap.
    count = max(1, min(most, int((end - start) / max(series.step_s * 1.5, 0.001))))
    held: list[list[float]] = [[] for _ in range(count)]
    for at, value in zip(series.times, series.columns.get(column, ()), strict=False):
        if value is not None:
            held[min(count - 1, max(0, int((at - start) / (end - start) * count)))].append(value)
    return tuple(pick(values) if values else None for values in held)


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return sum(values) / len(values)
