"""What the Overview template needs, and nothing it has to compute."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from dashboard.caches.types import Drawer
from dashboard.keyspace.types import ScanPanel
from dashboard.monitoring.types import StatusKind, Verdict, VerdictKind
from dashboard.policies.types import KeyspaceKeys

Json = Mapping[str, Any]
"""What json.dumps takes: read by static/js/charts.js."""

WORST_FIRST: tuple[StatusKind, ...] = ("crit", "warn", "unknown", "ok")
"""The order of caches wherever they are listed; then by name."""


@dataclass(frozen=True, slots=True)
class Lede:
    """The one sentence on top: ``bold`` is the verdict, ``sentence`` its cause with numbers."""

    kind: VerdictKind
    bold: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One number.

    Attributes:
        status_kind, status_word: empty when nothing is to be said, or no longer known.
        value, unit: the number in words, "91.4" and "%"; value is "n/a" or "no reads" where there is none.
        sub: the line of comparison below.
        spark: the page's span, oldest first, None for a gap; ends where the data ends.
        spark_target: a level to mark, in the spark's unit.
        spark_low: lower end of the scale, None for the lowest value.
        spark_label: what the line is, for those who cannot see it.
    """

    label: str
    value: str
    unit: str = ""
    sub: str = ""
    status_kind: Literal["", "ok", "warn", "crit"] = ""
    status_word: str = ""
    spark: tuple[float | None, ...] = ()
    spark_target: float | None = None
    spark_low: float | None = None
    spark_label: str = ""


@dataclass(frozen=True, slots=True)
class ChartLine:
    """One line of a chart: its name and its last value in words."""

    name: str
    now: str


@dataclass(frozen=True, slots=True)
class ChartView:
    """One chart card.

    Attributes:
        id: unique on the page.
        note: grey words beside the title; may be empty.
        sentence: the reading in words, for those who cannot see the canvas.
        config: for charts.js; None when there is nothing to draw, and none_text says why.
    """

    id: str
    title: str
    note: str
    lines: tuple[ChartLine, ...]
    sentence: str
    config: Json | None
    none_text: str = ""
    is_main: bool = False


@dataclass(frozen=True, slots=True)
class Stale:
    """The cache does not answer, or nothing was read for too long.

    Attributes:
        title: "shop-prod does not answer at cache-01:6379."
        last_good_at: the last good poll, None when there was none.
        detail: what the last try said, and for how long; may be empty.
    """

    title: str
    last_good_at: datetime | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RefusedSpan:
    """A span that is none: what was typed, and what is wrong by field."""

    start: str
    end: str
    errors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RangeChoice:
    """The span in force.

    Attributes:
        current: "6h", or "custom".
        items: (label, href) of the named spans.
        words: "the last 6 h", "Nov 21, 09:00 to 12:00".
        from_value, to_value: UTC, as ``datetime-local`` fields take them.
        is_live: it ends now, so the page keeps itself up to date.
        live_href: back to a span that does.
        errors: why the span that was asked for is none, by field; from_value and to_value are then as typed.
    """

    current: str
    items: tuple[tuple[str, str], ...]
    words: str
    from_value: str
    to_value: str
    is_live: bool
    live_href: str
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PrefixLine:
    """A sparkline of a prefix's hit ratio.

    Attributes:
        values: 0..1, oldest first, None without reads; below: the same where they are under the target.
        low, high: the ends of its own scale.
        target: where to mark it; None while it is far below the scale.
        label: what it is and its scale, for all who point at it.
    """

    values: tuple[float | None, ...]
    below: tuple[float | None, ...]
    low: float
    high: float
    target: float | None
    label: str


@dataclass(frozen=True, slots=True)
class PrefixRow:
    """One row of the prefix table; None where nothing is known.

    Attributes:
        kind: "prefix", "default" (keys that no prefix matches) or "other" (not shown apart).
        href: of its policy; None where there is none to see.
        tier_label, tier_icon, ttl_text: of the policy in force; empty where there is none.
        saved_s: hits times the mean time of a load.
        scan: what the last scan found of its keys; None: there was none, or it counts no keys apart.
    """

    kind: Literal["prefix", "default", "other"]
    name: str
    href: str | None
    tier_label: str
    tier_icon: str
    ttl_text: str
    is_bypassed: bool
    hit_ratio: float | None
    is_below_target: bool
    line: PrefixLine | None
    reads: int
    reads_per_s: float | None
    database_reads: int
    load_s: float | None
    saved_s: float | None
    waits: int
    stale_served: int
    errors: int
    scan: KeyspaceKeys | None = None


@dataclass(frozen=True, slots=True)
class PrefixColumn:
    """A column that sorts.

    Attributes:
        title: what it counts, for who points at it; direction: of the order in force, "" when it is another's.
        cls: its class in the table.
    """

    key: str
    label: str
    title: str
    href: str
    direction: Literal["", "ascending", "descending"]
    cls: str


@dataclass(frozen=True, slots=True)
class PrefixesView:
    """The prefix table of the Overview.

    Attributes:
        words: how many prefixes over which span.
        is_empty: nothing was counted in the span; ever_counted: but some time before.
        rows: in their order; the default and the others come last, whatever the order.
        policies_href: where policies are edited.
        note: what the last rows are; may be empty.
        largest: the most memory that a row has, bytes; 0: none is known.
    """

    words: str
    is_empty: bool
    ever_counted: bool
    columns: tuple[PrefixColumn, ...]
    rows: tuple[PrefixRow, ...]
    policies_href: str
    note: str = ""
    largest: float = 0.0


@dataclass(frozen=True, slots=True)
class TourStep:
    """One step of the first round.

    Attributes:
        action, href, icon: the button, and where it leads.
        is_next: the first one that is not done.
    """

    number: int
    title: str
    text: str
    action: str
    href: str
    icon: str
    is_done: bool
    is_next: bool


@dataclass(frozen=True, slots=True)
class Tour:
    """The first round through the product.

    Attributes:
        words: how far it is, and how long the rest takes.
        close_href: where closing it for good is sent to.
        is_over: every step is done.
    """

    words: str
    steps: tuple[TourStep, ...]
    close_href: str
    is_over: bool


@dataclass(frozen=True, slots=True)
class OverviewPage:
    """One cache over one span.

    Attributes:
        meta: "Redis 7.2.5 · 512 MB · allkeys-lru · up 41 d"; may be empty.
        poll_interval_s: how often the cache is polled, and the page asks.
        is_waiting: no reading was ever made; then there are no tiles and no charts, only the words about it.
        stale: None while readings come in.
        verdicts: worst first.
        links: (label, address) of where to look next, by a verdict's code.
        chart: the hit ratio, over the whole width beside the verdicts; charts: the small ones.
        prefixes: what applications counted; None while the page waits for its first numbers.
        scan: where memory and drift of the prefixes are from.
        may_purge: whether the reader may have existing keys given their policy's TTL.
        series: the numbers of all charts, for charts.js.
        live_href, series_href: where the page asks for its small parts, and for new points.
        edit_href: the cache's settings, None for who may not change them.
        tour: None where there is none: outside of the demo, or closed.
    """

    cache_id: int
    cache_name: str
    now: datetime
    meta: str
    poll_interval_s: int
    range: RangeChoice
    lede: Lede
    tiles: tuple[Tile, ...]
    verdicts: tuple[Verdict, ...]
    links: Mapping[str, tuple[str, str]]
    chart: ChartView | None
    charts: tuple[ChartView, ...]
    series: Json
    live_href: str
    series_href: str
    stale: Stale | None = None
    is_waiting: bool = False
    edit_href: str | None = None
    prefixes: PrefixesView | None = None
    scan: ScanPanel | None = None
    may_purge: bool = False
    tour: Tour | None = None


@dataclass(frozen=True, slots=True)
class NoCachePage:
    """The Overview before the first cache is connected.

    Attributes:
        drawer: the form to add one; None for who may not.
        total: how many caches there are, as the form asks: none.
    """

    drawer: Drawer | None
    total: int = 0
