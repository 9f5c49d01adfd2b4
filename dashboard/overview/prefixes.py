"""The prefix table of the Overview: order, words and scales. Pure."""

from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import quote, urlencode

from dashboard.overview.types import PrefixColumn, PrefixesView, PrefixLine, PrefixRow
from dashboard.policies.types import FEW_LOOKUPS, CountedPrefix, PrefixTable, PrefixUse
from dashboard.web.formats import number, percent

_LEAST_SCALE = 0.04
"""Four points: less would draw noise as mountains."""
_TARGET_NEAR = 0.12
OTHER_KEYS: Final = "Other keys"
"""Those that no prefix matches; the Policies page calls them so."""
FURTHER: Final = "further prefixes"
"""Prefixes that have no row of their own."""

_Key = Callable[[PrefixRow], float | str | None]
_COLUMNS: tuple[tuple[str, str, str, str, _Key], ...] = (
    ("prefix", "Prefix", "Start of the keys that a policy is for", "", lambda row: row.name),
    (
        "memory",
        "Memory",
        "Memory of its keys, as the last scan found it",
        "num p2",
        lambda row: row.scan.size_bytes if row.scan else None,
    ),
    (
        "drift",
        "Drift",
        "Share of its keys whose TTL breaks the policy: none, or longer than it allows",
        "num p3",
        lambda row: row.scan.drift if row.scan else None,
    ),
    ("hit", "Hit ratio", "Hits of all reads", "num", lambda row: row.hit_ratio),
    (
        "reads",
        "Reads",
        "Reads of applications: hits, misses and those around the cache",
        "num p5",
        lambda row: row.reads,
    ),
    ("rate", "Reads/s", "Reads per second, mean of the span", "num", lambda row: row.reads_per_s),
    (
        "db",
        "DB reads",
        "Reads of the database: runs of the loader, and reads around the cache",
        "num p3",
        lambda row: row.database_reads,
    ),
    (
        "saved",
        "Time saved",
        "Load time saved: hits times the mean time of a load",
        "num p5",
        lambda row: row.saved_s,
    ),
    (
        "waits",
        "Waits",
        "Reads that waited for somebody else's load: stampedes avoided",
        "num p6",
        lambda row: row.waits,
    ),
    (
        "stale",
        "Stale",
        "Reads answered with the old value while one reader loaded",
        "num p6",
        lambda row: row.stale_served,
    ),
    (
        "errors",
        "Errors",
        "Loads that failed, and reads and fills that failed because of Redis",
        "num p2",
        lambda row: row.errors,
    ),
)
SORTS: tuple[str, ...] = tuple(sign + key for key, *_ in _COLUMNS for sign in ("", "-"))
"""What ``?sort=`` takes: a column, what needs a look first (see _RISING), or the other way round with a minus."""
DEFAULT_SORT = "reads"
_RISING = frozenset({"prefix", "hit"})
"""Columns that begin with the least: names in their order, and the worst hit ratio. All others begin with the most."""


def view(
    table: PrefixTable,
    *,
    cache_id: int,
    target: float,
    sort: str,
    path: str,
    query: str,
    words: str,
    may_edit: bool,
) -> PrefixesView:
    """The table as it is shown.

    Args:
        target: of the cache's hit ratio, 0..1.
        sort: one of SORTS.
        path, query: of the page, without the sort.
        words: the span in words.
        may_edit: prefixes lead to the form of their policy.
    """
    policies = f"/caches/{cache_id}/policies"

    def row(kind: str, name: str, counted: CountedPrefix) -> PrefixRow:
        prefix = counted.use.prefix or ""
        href = f"{policies}/edit?prefix={quote(prefix, safe='')}" if may_edit else policies
        return _row(kind, name, counted, target, words, href if counted.ttl_text else None)

    rows = [row("prefix", counted.use.prefix or "", counted) for counted in table.rows]
    last = []
    if table.rows or table.default.use.reads or table.scanned is not None:
        last.append(row("default", OTHER_KEYS, table.default))
    if table.other is not None:
        last.append(_row("other", FURTHER, CountedPrefix(table.other), target, words, None))
    count = sum(each.use.reads > 0 for each in table.rows)
    return PrefixesView(
        words=f"{count:,} read in {words}" if count else words,
        is_empty=table.window_s == 0 and (table.scanned is None or not table.rows),
        ever_counted=table.ever_counted,
        columns=tuple(_column(each, sort, path, query) for each in _COLUMNS),
        rows=(*ordered(rows, sort), *last),
        policies_href=policies,
        note=_note(table),
        largest=max((row.scan.size_bytes or 0.0 for row in (*rows, *last) if row.scan), default=0.0),
    )


def ordered(rows: Sequence[PrefixRow], sort: str) -> list[PrefixRow]:
    """Rows in the order asked for; what has no value comes last, equal ones by name."""
    name = sort.removeprefix("-")
    key = next(each[4] for each in _COLUMNS if each[0] == name)
    by_name = sorted(rows, key=lambda row: row.name)
    known = [row for row in by_name if key(row) is not None]
    known.sort(key=key, reverse=(name not in _RISING) is not sort.startswith("-"))  # type: ignore[arg-type]
    return known + [row for row in by_name if key(row) is None]


def line(values: Sequence[float | None], target: float, name: str, words: str) -> PrefixLine | None:
    """A sparkline on a scale of its own, so that what is healthy is no flat line.

    Returns:
        None without a single value.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    is_near = low - target <= _TARGET_NEAR
    if is_near:
        low, high = min(low, target), max(high, target)
    room = max(0.0, _LEAST_SCALE - (high - low))
    high = min(1.0, high + room / 2)
    low = max(0.0, min(low - room / 2, high - _LEAST_SCALE))
    lowest = f"lowest {percent(min(known))}, target {percent(target)}"
    return PrefixLine(
        values=tuple(values),
        below=tuple(value if value is not None and value < target else None for value in values),
        low=low,
        high=high,
        target=target if is_near else None,
        label=f"Hit ratio of {name}, {words}: {lowest}, scale {percent(low)} to {percent(high)}",
    )


def _row(
    kind: str, name: str, counted: CountedPrefix, target: float, words: str, href: str | None
) -> PrefixRow:
    use = counted.use
    ratio = use.hit_ratio
    loads, hits = use.counts.get("loads", 0), use.counts.get("hits", 0)
    load_s = use.counts.get("load_us", 0) / loads / 1e6 if loads else None
    return PrefixRow(
        kind=kind,  # type: ignore[arg-type]
        name=name,
        href=href,
        tier_label=counted.tier_label,
        tier_icon=counted.tier_icon,
        ttl_text=counted.ttl_text,
        is_bypassed=counted.is_bypassed,
        hit_ratio=ratio,
        is_below_target=counted.is_cached
        and not counted.is_new
        and ratio is not None
        and ratio < target
        and use.lookups >= FEW_LOOKUPS,
        line=line(use.hit_ratio_line, target, name, words),
        reads=use.reads,
        reads_per_s=_per_s(use),
        database_reads=use.database_reads,
        load_s=load_s,
        saved_s=load_s * hits if load_s is not None else None,
        waits=use.counts.get("waits", 0),
        stale_served=use.counts.get("stale_served", 0),
        errors=use.counts.get("errors", 0) + use.counts.get("load_errors", 0),
        scan=counted.scan,
    )


def _per_s(use: PrefixUse) -> float | None:
    return use.reads / use.window_s if use.window_s else None


def _column(column: tuple[str, str, str, str, _Key], sort: str, path: str, query: str) -> PrefixColumn:
    key, label, title, cls, _ = column
    is_current = sort.removeprefix("-") == key
    turned = f"-{key}" if sort == key else key
    rises = (key in _RISING) is not sort.startswith("-")
    order = "" if turned == DEFAULT_SORT else urlencode({"sort": turned})
    return PrefixColumn(
        key=key,
        label=label,
        title=title,
        href=f"{path}?{'&'.join(part for part in (query, order) if part)}#prefixes-h",
        direction=("ascending" if rises else "descending") if is_current else "",
        cls=cls,
    )


def _note(table: PrefixTable) -> str:
    if table.other is None:
        return ""
    if table.other_prefixes:
        return f"{FURTHER.capitalize()}: {number(table.other_prefixes)} with fewer reads, together."
    return f"{FURTHER.capitalize()}: those that applications do not count apart, together."
