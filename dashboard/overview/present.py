"""The Overview's words: from numbers to tiles, sentences and links. Pure."""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlencode

from dashboard.monitoring.types import PollStatus, Series, Span, Summary, Verdict, Window
from dashboard.overview.charts import mean, slots
from dashboard.overview.types import RangeChoice, RefusedSpan, Stale, Tile
from dashboard.policies.types import ReadsAvoided
from dashboard.web.formats import (
    age,
    byte_size,
    byte_unit,
    compact,
    day_and_time,
    duration,
    iso,
    number,
    percent,
    share,
    since,
    time,
)

_BY_COUNTERS, _BY_INFO = "by counters", "by INFO"
"""Who counted the database reads that were avoided: applications, or the server."""
_NO_MINUTE_YET = "the first minute is not over"
_PAGE_OF = {
    "poll": "edit",
    "clients.rejected": "clients",
    "clients.monitor": "clients",
    "errors.oom": "commands",
    "hit_ratio": "commands",
    "commands.keys": "slow_log",
}
"""Which page has more about a verdict."""
RANGE_NAMES = ("15m", "1h", "6h", "24h", "7d", "30d")
_SPOKEN = {"15m": "15 min", "1h": "1 h", "6h": "6 h", "24h": "24 h", "7d": "7 d", "30d": "30 d"}
_VENDORS = {
    "redis": "Redis",
    "valkey": "Valkey",
    "keydb": "KeyDB",
    "dragonfly": "Dragonfly",
    "garnet": "Garnet",
}
# Kvrocks, Upstash and the managed services name themselves well enough with a capital letter.


def span_words(span: Span) -> str:
    """The span in the course of a sentence: "the last 6 h", "Nov 21, 09:00 to 12:00"."""
    if span.name in _SPOKEN:
        return f"the last {_SPOKEN[span.name]}"
    if span.is_live:
        return f"the time since {since(span.start, span.end)}"
    if span.start.date() == span.end.date():
        return f"{day_and_time(span.start)} to {span.end:%H:%M}"
    if span.start.year == span.end.year:
        return f"{day_and_time(span.start)} to {day_and_time(span.end)}"
    return f"{span.start:%Y-%m-%d} to {span.end:%Y-%m-%d}"


def range_choice(span: Span, path: str, refused: RefusedSpan | None = None) -> RangeChoice:
    """The range selector.

    Args:
        path: of the page, without a query.
        refused: what was asked for instead, and is no span.
    """
    return RangeChoice(
        current=span.name,
        items=tuple((name, f"{path}?{urlencode({'range': name})}") for name in RANGE_NAMES),
        words=span_words(span),
        from_value=refused.start if refused else f"{span.start:%Y-%m-%dT%H:%M}",
        to_value=refused.end if refused else f"{span.end:%Y-%m-%dT%H:%M}",
        is_live=span.is_live,
        live_href=path,
        errors=refused.errors if refused else {},
    )


def range_query(span: Span) -> str:
    """The query that asks for this span again, as it moves on when it is live."""
    if span.name in RANGE_NAMES:
        return urlencode({"range": span.name})
    query = {"from": iso(span.start)}
    if not span.is_live:
        query["to"] = iso(span.end)
    return urlencode(query)


def product(vendor: str | None, version: str | None) -> str:
    """What answers and in which version, such as "Valkey 9.1.2"; empty when neither is known."""
    vendor = vendor or ""
    name = "" if vendor in ("", "unknown") else _VENDORS.get(vendor, vendor.capitalize())
    return f"{name} {version or ''}".strip()


def meta(summary: Summary) -> str:
    """What the cache is: "Redis 7.2.5 · 512 MB · allkeys-lru · up 41 d"; without what is not known."""
    parts = [
        product(summary.vendor, summary.version),
        "no memory limit" if summary.maxmemory_bytes == 0 else "",
        byte_size(summary.maxmemory_bytes) if summary.maxmemory_bytes else "",
        summary.maxmemory_policy or "",
        f"up {duration(summary.uptime_in_seconds)}" if summary.uptime_in_seconds is not None else "",
    ]
    return " · ".join(part for part in parts if part)


def stale(
    name: str, address: str, poll: PollStatus, verdicts: Sequence[Verdict], now: datetime
) -> Stale | None:
    """The banner while readings no longer come in.

    Args:
        name, address: of the cache, the address without credentials.
        poll: how polling goes.
        verdicts: of the cache; the one about polling decides, as it does for the state of the cache everywhere.

    Returns:
        None while all is well, and before the first poll.
    """
    if _problem(verdicts, "poll") is None:
        return None
    if poll.is_unpolled or poll.error is None or poll.failing_since is None:
        return Stale(
            f"Nobody polls {name}.",
            poll.last_success_at,
            "No worker has read it for a while. Start one, or look at its log.",
        )
    tries = f"{number(poll.failures)} {'try' if poll.failures == 1 else 'tries'} since {since(poll.failing_since, now)}"
    error = poll.error.rstrip(".")
    advice = f" {poll.what_to_do}" if poll.what_to_do else ""
    return Stale(f"{name} does not answer at {address}.", poll.last_success_at, f"{error}, {tries}.{advice}")


def next_links(verdicts: Sequence[Verdict], path: str, edit_href: str | None) -> dict[str, tuple[str, str]]:
    """Where the reader of each verdict can look next, as far as there is a page for it.

    Args:
        path: of the cache, "/caches/1".
        edit_href: the form of its connection, None for who may not use it.

    Returns:
        (label, address) by the verdict's code.
    """
    pages = {
        "slow_log": ("Slow log", f"{path}/slow-log"),
        "clients": ("Clients", f"{path}/clients"),
        "commands": ("Commands", f"{path}/commands"),
        "edit": ("Connection settings", edit_href or ""),
    }
    return {
        verdict.code: pages[page]
        for verdict in verdicts
        if (page := _PAGE_OF.get(verdict.code)) is not None and pages[page][1]
    }


def tiles(
    summary: Summary,
    series: Series,
    target: float,
    verdicts: Sequence[Verdict],
    now: datetime,
    *,
    is_stale: bool,
    counted: ReadsAvoided | None = None,
    judged: Window | None = None,
    recent: Window | None = None,
) -> tuple[Tile, ...]:
    """The five numbers: hit ratio, memory, operations, evictions, database reads avoided.

    Args:
        target: of the hit ratio, 0..1.
        verdicts: give the tiles their status.
        is_stale: readings no longer come in: no status, and each tile says how old it is.
        judged: the span that the verdicts' hit ratio is of; the tile shows the same.
        recent: the last minutes that their other counts are of; a tile of as many minutes shows the same.
        counted: what applications counted in the span; None where none did, and the server's hits have to do.
    """
    words = span_words(series.span)
    if not series.span.is_live:
        return _past_tiles(summary, series, target, words, counted)
    made = (
        _hit_ratio(summary, series, target, verdicts, words, judged),
        _memory(summary, series, verdicts, words),
        _operations(summary, series, words),
        _evictions(summary, series, verdicts, words, recent),
        _avoided(summary, series, words, counted),
    )
    if not is_stale:
        return made
    old = (
        f"as of {time(summary.as_of, now, seconds=True)}, {age(summary.as_of, now)} old"
        if summary.as_of
        else "never read"
    )
    return tuple(
        Tile(
            label=tile.label,
            value=tile.value,
            unit=tile.unit,
            sub=old,
            spark=tile.spark,
            spark_target=tile.spark_target,
            spark_low=tile.spark_low,
            spark_label=tile.spark_label,
        )
        for tile in made
    )


def _past_tiles(
    summary: Summary, series: Series, target: float, words: str, counted: ReadsAvoided | None
) -> tuple[Tile, ...]:
    """The same five of a span that is over: means, extremes and sums of it, and no status of today."""
    window = summary.window
    used = _known(series, "used_memory_bytes")
    most_used = max(_known(series, "used_memory_bytes_max") or used, default=None)
    commands, evicted = _known(series, "commands_per_s"), _known(series, "evicted_per_s_max", "evicted_per_s")
    peak = max(_known(series, "commands_per_s_max", "commands_per_s"), default=None)
    ratio = window.hit_ratio
    lowest = f", lowest {percent(summary.ratio_min)}" if summary.ratio_min is not None else ""
    value, unit = _size(None if most_used is None else round(most_used), None)
    return (
        Tile(
            label="Hit ratio, mean",
            value=percent(ratio).removesuffix("%")
            if ratio is not None
            else "no reads"
            if window.lookups == 0
            else "n/a",
            unit="%" if ratio is not None else "",
            sub=f"of {compact(window.lookups)} reads{lowest}" if ratio is not None else "",
            spark=slots(series, "hit_ratio", min),
            spark_target=target,
            spark_label=f"Hit ratio, {words}, target {percent(target)}",
        ),
        Tile(
            label="Memory, most",
            value=value,
            unit=unit,
            sub=f"least {byte_size(min(used))}" if used else "",
            spark=slots(series, "used_memory_bytes", max),
            spark_label=f"Memory used, {words}",
        ),
        Tile(
            label="Operations, mean",
            value=number(mean(commands) if commands else None),
            unit="/s" if commands else "",
            sub=f"most {number(peak)}/s" if peak is not None else "",
            spark=slots(series, "commands_per_s", mean),
            spark_low=0.0,
            spark_label=f"Operations per second, {words}",
        ),
        Tile(
            label="Evictions",
            value=compact(window.evicted_keys),
            unit="keys" if window.evicted_keys is not None else "",
            sub=f"most {number(max(evicted))}/s" if evicted else "",
            spark=slots(series, "evicted_per_s", mean),
            spark_low=0.0,
            spark_label=f"Evictions per second, {words}",
        ),
        Tile(
            label="Database reads avoided",
            value=compact(counted.avoided),
            sub=f"{compact(counted.served)} made, {_BY_COUNTERS}",
            spark=counted.line,
            spark_low=0.0,
            spark_label=f"Database reads avoided per second, {words}, {_BY_COUNTERS}",
        )
        if counted is not None
        else Tile(
            label="Database reads avoided",
            value=compact(window.hits),
            sub=f"{compact(window.misses)} misses, {_BY_INFO}" if window.misses is not None else "",
            spark=slots(series, "hits_per_s", mean),
            spark_low=0.0,
            spark_label=f"Database reads avoided per second, {words}, {_BY_INFO}",
        ),
    )


def _known(series: Series, *names: str) -> list[float]:
    """The values of the first of these columns that has any."""
    for name in names:
        if values := [value for value in series.columns.get(name, ()) if value is not None]:
            return values
    return []


def recent_words(window: Window) -> str:
    """The span of a window in whole minutes: "the last 15 min"."""
    minutes = max(1, round(window.length_s / 60))
    return f"the last {minutes} min"


def _find(verdicts: Sequence[Verdict], code: str) -> Verdict | None:
    return next((verdict for verdict in verdicts if verdict.code == code), None)


def _problem(verdicts: Sequence[Verdict], code: str) -> Verdict | None:
    """The verdict of that check if it found something wrong: good news have verdicts too."""
    verdict = _find(verdicts, code)
    return verdict if verdict is not None and verdict.kind in ("crit", "warn") else None


def _is_problem(verdicts: Sequence[Verdict], code: str) -> bool:
    found = _find(verdicts, code)
    return found is not None and found.kind in ("warn", "crit")


def _hit_ratio(
    summary: Summary,
    series: Series,
    target: float,
    verdicts: Sequence[Verdict],
    words: str,
    judged: Window | None,
) -> Tile:
    window, verdict = summary.window, _find(verdicts, "hit_ratio")
    status = {
        "ok": ("ok", "On target"),
        "warn": ("warn", "Below target"),
        "crit": ("crit", "Below target"),
    }.get(verdict.kind if verdict else "", ("", ""))
    ratio = judged.hit_ratio if judged is not None else None
    if ratio is not None and judged is not None:
        # Three ratios of three spans stand on the page: each says which. Short: the tile is narrow.
        sub = recent_words(judged).removeprefix("the ")
        if series.span.name == "15m":
            sub += f"; target {percent(target)}"
        elif window.hit_ratio is not None:
            sub += f"; {_SPOKEN.get(series.span.name, 'whole span')} mean {share(window.hit_ratio)}"
    elif window.lookups == 0:
        sub = f"no reads in {words}"
    else:
        sub = "hits and misses are not reported" if window.covered_s else _NO_MINUTE_YET
    none = "no reads" if window.lookups is not None else "n/a"
    return Tile(
        label="Hit ratio",
        value=share(ratio).removesuffix("%") if ratio is not None else none,
        unit="%" if ratio is not None else "",
        sub=sub,
        status_kind=status[0],  # type: ignore[arg-type]
        status_word=status[1],
        spark=slots(series, "hit_ratio", min),
        spark_target=target,
        spark_label=f"Hit ratio over {words}, target {percent(target)}",
    )


def _memory(summary: Summary, series: Series, verdicts: Sequence[Verdict], words: str) -> Tile:
    used, limit = summary.used_memory_bytes, summary.maxmemory_bytes
    value, unit = _size(used, limit)
    status = ("", "")
    if _is_problem(verdicts, "memory.pressure"):
        status = ("warn", "Full")
    elif (verdict := _problem(verdicts, "memory.noeviction")) is not None:
        status = (verdict.kind, "No eviction")
    elif (verdict := _problem(verdicts, "memory.no_limit")) is not None:
        status = (verdict.kind, "No limit")
    facts = [summary.maxmemory_policy or ""]
    if summary.mem_fragmentation_ratio is not None:
        facts.append(f"frag. {summary.mem_fragmentation_ratio:.2f}")
    return Tile(
        label="Memory",
        value=value,
        unit=unit,
        sub=", ".join(fact for fact in facts if fact) or "policy not known",
        status_kind=status[0],  # type: ignore[arg-type]
        status_word=status[1],
        spark=slots(series, "used_memory_bytes", max),
        spark_target=float(limit) if limit else None,
        spark_label=f"Memory used over {words}" + (f", limit {byte_size(limit)}" if limit else ""),
    )


def _size(used: int | None, limit: int | None) -> tuple[str, str]:
    """A size apart from its unit: ("508", "of 512 MB"), ("36.1", "MB")."""
    if used is None:
        return "n/a", ""
    shared = limit is not None and limit > 0 and used >= 0.95 * byte_unit(limit)[0]
    per_unit, unit = byte_unit(limit if shared and limit else used)
    digits = 1 if used / per_unit < 99.95 and per_unit > 1 else 0
    value = f"{used / per_unit:,.{digits}f}".removesuffix(".0")
    if shared:
        return value, f"of {byte_size(limit)}"
    return value, f"{unit} of {byte_size(limit)}" if limit else unit


def _operations(summary: Summary, series: Series, words: str) -> Tile:
    reads = _sum(summary.rates.get("hits_per_s"), summary.rates.get("misses_per_s"))
    facts = [f"{number(reads)} reads"] if reads is not None else []
    if summary.connected_clients is not None:
        facts.append(
            f"{number(summary.connected_clients)} client{'' if summary.connected_clients == 1 else 's'}"
        )
    return _rate_tile(
        "Operations",
        summary,
        series,
        "commands_per_s",
        ", ".join(facts),
        f"Operations per second over {words}",
    )


def _evictions(
    summary: Summary, series: Series, verdicts: Sequence[Verdict], words: str, recent: Window | None
) -> Tile:
    window = summary.window
    if recent is not None and series.span.name == "15m":
        # Up to the last poll, as the verdicts count: two counts of one span would be two truths.
        window = recent
    if summary.evicting_since is not None and summary.rates.get("evicted_per_s") != 0:
        sub = f"since {since(summary.evicting_since, series.span.end)}"
    elif window.evicted_keys == 0:
        sub = f"none in {words}"
    elif window.evicted_keys is None:
        sub = "not reported" if window.covered_s else _NO_MINUTE_YET
    else:
        sub = f"{compact(window.evicted_keys)} keys in {words}"
    tile = _rate_tile(
        "Evictions", summary, series, "evicted_per_s", sub, f"Evictions per second over {words}"
    )
    if not _is_problem(verdicts, "memory.pressure"):
        return tile
    return Tile(
        tile.label, tile.value, tile.unit, tile.sub, "warn", "Rising", tile.spark, None, 0.0, tile.spark_label
    )


def _avoided(summary: Summary, series: Series, words: str, counted: ReadsAvoided | None) -> Tile:
    label = "Database reads avoided"
    spark_label = f"{label} per second over {words}"
    if counted is not None and counted.avoided_per_s is not None:
        return Tile(
            label=label,
            value=number(counted.avoided_per_s),
            # Applications tell every few seconds, and a minute is the least they are stored by.
            unit="/s, last 2 min",
            sub=f"{number(counted.served_per_s)}/s made, {_BY_COUNTERS}",
            spark=counted.line,
            spark_low=0.0,
            spark_label=f"{spark_label}, {_BY_COUNTERS}",
        )
    misses = summary.rates.get("misses_per_s")
    sub = f"misses {number(misses)}/s, {_BY_INFO}" if misses is not None else "misses are not reported"
    return _rate_tile(label, summary, series, "hits_per_s", sub, f"{spark_label}, {_BY_INFO}")


def _rate_tile(label: str, summary: Summary, series: Series, column: str, sub: str, spark_label: str) -> Tile:
    rate = summary.rates.get(column)
    return Tile(
        label=label,
        value=number(rate),
        unit="/s now" if rate is not None else "",
        sub=sub,
        spark=slots(series, column, mean),
        spark_low=0.0,
        spark_label=spark_label,
    )


def _sum(*values: float | None) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None
