"""A campaign: many more visitors than the shop can serve without a cache, with three ways to cache.

The same planned visitors come to each: first a usual day that warms the cache and is not counted, then some seconds of
it that are, then the campaign. What the database did is read when the shop's process has ended: only then have all of
its sessions told what they did.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from dashboard.demo.lab import measuring
from dashboard.demo.lab.measuring import Part, Visits, at_least, at_most, duration, share
from dashboard.demo.lab.types import HIGHER, LOWER, Bench, Check, DatabaseUse, Number, Result, Scenario, Side
from dashboard.demo.load import Outcome, Page
from dashboard.web.formats import number, percent

OVERLOAD: Final = 1.75
"""The campaign wants so many times what the shop can do without a cache."""
COMFORT: Final = 0.6
"""And at most so much of what it can do with one: beyond that every queue grows, of whatever."""
MOST_PAGES_PER_S: Final = 400.0
"""What one process of visitors can want, and have its times right."""
TIMES: Final = 3
"""A campaign is so many times the usual."""
LETTER: Final = "11-30"
"""The products in the newsletter."""
MODES: Final = (("off", "Cache off"), ("naive", "Naive"), ("cachewarden", "Cachewarden"))

TIME_PER_PAGE: Final = "Database time per page"
CPU_PER_PAGE: Final = "Database CPU per page"
QUERIES: Final = "Database, queries/s"
HIT_RATIO: Final = "Hit ratio"
PRODUCT_P95: Final = "Product page p95"
HITS_P95: Final = "Hits p95"
ERRORS: Final = "Errors"
WANTED: Final = "Pages wanted in the campaign"
ANSWERED: Final = "Pages answered meanwhile"
BUSY: Final = "Database, share of the processors"

MOST_SHARE: Final = 0.2
GOAL_SHARE: Final = 0.1
MOST_PRODUCT_S: Final = 0.1
MOST_HITS_S: Final = 0.005
LEAST_HIT_RATIO: Final = 0.8
KEPT_UP: Final = 0.9
"""A shop that answers less of what is wanted while it is wanted is saturated."""
TOLERANCE: Final = 0.1
"""Two runs of the same differ by so much on a machine that does other things, too."""
TOLERANCE_S: Final = 0.002
TOLERANCE_DATABASE_S: Final = 0.0002
TOLERANCE_HITS_S: Final = 0.0005
TOLERANCE_HITS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of a run, in seconds.

    Args:
        tries: of each trial of what the shop can do.
        warms: of the usual day that is not counted.
        settles: until all sessions of the database have told what they did: it may be ten seconds late.
        before: of the usual day that is counted.
        campaign: of the campaign.
    """

    tries: float = 6.0
    warms: float = 30.0
    settles: float = 11.0
    before: float = 6.0
    campaign: float = 34.0

    @property
    def counted(self) -> float:
        """What numbers are of."""
        return self.before + self.campaign


QUICK: Final = Lengths(0.6, 0.8, 0.0, 0.4, 1.6)
QUICK_PAGES_PER_S: Final = 30.0
"""Whatever the machine can do: a test of the scenario needs some visitors, and not too many."""


@dataclass(frozen=True, slots=True)
class Offer:
    """How many pages a second the campaign wants, and what there is to say about it."""

    pages_per_s: float
    note: str = ""


def offer(uncached: float, cached: float) -> Offer:
    """The load of a campaign, from what the shop can do without a cache and with one (pages per second)."""
    wanted, most = uncached * OVERLOAD, min(cached * COMFORT, MOST_PAGES_PER_S)
    if wanted <= most:
        return Offer(wanted)
    why = f"The load was lowered from {wanted:.0f} to {most:.0f} pages/s:"
    if most == MOST_PAGES_PER_S:
        return Offer(most, f"{why} more than that can't be asked for and timed here.")
    return Offer(most, f"{why} this machine does {cached:.0f} pages/s with a cache, {uncached:.0f} without.")


def run(bench: Bench) -> Result:
    """See the module."""
    lengths = QUICK if bench.is_quick else Lengths()
    uncached = _capacity(
        bench, "off", lengths, Part(0.05, 0.08, "Measuring what the shop can do without a cache")
    )
    cached = _capacity(
        bench, "cachewarden", lengths, Part(0.08, 0.13, "Measuring what the shop can do with a cache")
    )
    offered = Offer(QUICK_PAGES_PER_S) if bench.is_quick else offer(uncached, cached)
    sides = tuple(
        _side(bench, mode, name, offered, lengths, 0.13 + 0.29 * place)
        for place, (mode, name) in enumerate(MODES)
    )
    return Result(
        scenario="campaign",
        sides=sides,
        chart=(BUSY, "ratio"),
        checks=_checks(sides),
        sentence=_sentence(sides, uncached),
        notes=tuple(filter(None, (offered.note,))),
        setup=measuring.facts(
            pages_per_s=round(offered.pages_per_s, 1),
            uncached_pages_per_s=round(uncached, 1),
            cached_pages_per_s=round(cached, 1),
            seconds=lengths.counted,
        ),
    )


def _capacity(bench: Bench, mode: str, lengths: Lengths, part: Part) -> float:
    """Pages per second that the shop can do; with a cache, when that is warm."""
    half = (part.begins + part.ends) / 2
    mix = f"0,{lengths.tries},1,{LETTER}"
    with bench.shop(mode, bench.valkey()) as shop:
        for seed, each in enumerate((Part(part.begins, half, part.words), Part(half, part.ends, part.words))):
            found = measuring.capacity(
                bench, shop.url, each, seconds=lengths.tries, seed=bench.seed + seed, campaign=mix
            )
    return found


def _side(bench: Bench, mode: str, name: str, offered: Offer, lengths: Lengths, begins: float) -> Side:
    usual = offered.pages_per_s / TIMES
    cpu = bench.database_processors()
    with bench.shop(mode, bench.valkey()) as shop:
        part = Part(begins, begins + 0.11, f"{name}: a usual day warms the cache")
        measuring.visit(bench, shop.url, part, pages_per_s=usual, seconds=lengths.warms, seed=bench.seed + 2)
        measuring.wait(bench, lengths.settles, Part(begins + 0.11, begins + 0.15, f"{name}: a usual day"))
        shop_cpu_s, read_use = shop.cpu_s, bench.database_use()
        with measuring.Sampler(cpu) as busy:
            visits = measuring.visit(
                bench,
                shop.url,
                Part(begins + 0.15, begins + 0.29, f"{name}: the campaign"),
                pages_per_s=usual,
                seconds=lengths.counted,
                seed=bench.seed + 3,
                campaign=f"{lengths.before},{lengths.counted},{TIMES},{LETTER}",
            )
        shop_cpu_s = shop.cpu_s - shop_cpu_s
    use = read_use()
    series = {
        BUSY: busy.rates(visits.began),
        QUERIES: visits.query_series(),
        "Page p95": visits.p95_series(),
    }
    return Side(name, _numbers(visits, use, shop_cpu_s, lengths), series)


def _numbers(visits: Visits, use: DatabaseUse, shop_cpu_s: float, lengths: Lengths) -> tuple[Number, ...]:
    def took(quantile: float) -> float | None:
        return visits.quantile(quantile)

    during = visits.within(lengths.before, lengths.counted)
    meanwhile = visits.answered_within(lengths.before, lengths.counted)
    product_p95 = visits.quantile(0.95, where=lambda each: each.page is Page.PRODUCT)
    return (
        Number(TIME_PER_PAGE, share(use.busy_s, visits.served), "s", LOWER),
        Number(CPU_PER_PAGE, share(use.cpu_s, visits.served), "s", LOWER),
        Number(QUERIES, visits.queries / visits.seconds, "per_s", LOWER),
        Number(HIT_RATIO, visits.hit_ratio, "ratio", HIGHER),
        Number("Page p50", took(0.5), "s", LOWER),
        Number("Page p95", took(0.95), "s", LOWER),
        Number("Page p99", took(0.99), "s", LOWER),
        Number(PRODUCT_P95, product_p95, "s", LOWER),
        Number(HITS_P95, visits.hits_quantile(0.95), "s", LOWER),
        Number("Page from the cache p95", visits.quantile(0.95, where=_is_cached), "s", LOWER),
        Number("Shop CPU per page", share(shop_cpu_s, visits.served), "s", LOWER),
        Number(WANTED, during.wanted / during.seconds, "per_s"),
        Number(ANSWERED, meanwhile / during.seconds, "per_s", HIGHER),
        Number(ERRORS, share(visits.failed, visits.wanted), "ratio", LOWER),
    )


def _is_cached(outcome: Outcome) -> bool:
    return outcome.is_cached


def _checks(sides: Sequence[Side]) -> tuple[Check, ...]:
    off, naive, kept = sides
    times, cpus = (share(kept.value(name), off.value(name)) for name in (TIME_PER_PAGE, CPU_PER_PAGE))
    return (
        at_most(
            "Without a cache the shop can't keep up: what it answers of what is wanted meanwhile",
            share(off.value(ANSWERED), off.value(WANTED)),
            KEPT_UP,
            "ratio",
        ),
        at_most("Database time per page, as a share of that without a cache", times, MOST_SHARE, "ratio"),
        at_most("Database CPU per page, as a share of that without a cache", cpus, MOST_SHARE, "ratio"),
        at_most("95% of product pages are there within", kept.value(PRODUCT_P95), MOST_PRODUCT_S, "s"),
        at_most(
            "95% of hits are there within",
            kept.value(HITS_P95),
            MOST_HITS_S,
            "s",
        ),
        at_least("Hit ratio", kept.value(HIT_RATIO), LEAST_HIT_RATIO, "ratio"),
        at_most("Pages that fail", kept.value(ERRORS), 0.0, "ratio"),
        *(
            at_most(
                f"{name}: no worse than naive, within 10%{words}",
                kept.value(name),
                _allowed(naive, name, s),
                "s",
            )
            for name, s, words in (
                (TIME_PER_PAGE, TOLERANCE_DATABASE_S, " and 0.2 ms"),
                (PRODUCT_P95, TOLERANCE_S, " and 2 ms"),
                (HITS_P95, TOLERANCE_HITS_S, " and 0.5 ms"),
            )
        ),
        at_least(
            f"{HIT_RATIO}: no worse than naive, within two points",
            kept.value(HIT_RATIO),
            (naive.value(HIT_RATIO) or 0.0) - TOLERANCE_HITS,
            "ratio",
        ),
    )


def _allowed(naive: Side, name: str, more_s: float) -> float | None:
    """What "no worse" allows."""
    value = naive.value(name)
    return None if value is None else value * (1 + TOLERANCE) + more_s


def _sentence(sides: Sequence[Side], uncached: float) -> str:
    off, _, kept = sides
    each = [duration(side.value(TIME_PER_PAGE)) for side in sides]
    pages = [duration(side.value(PRODUCT_P95)) for side in sides]
    part = share(kept.value(TIME_PER_PAGE), off.value(TIME_PER_PAGE))
    reached = "an unknown share" if part is None else percent(part)
    goal = "reached" if part is not None and part <= GOAL_SHARE else "not reached"
    wanted = off.value(WANTED) or 0.0
    return (
        f"At {number(wanted)} pages/s, {wanted / uncached:.1f} times what the shop can do without a cache, the database"
        f" worked {each[0]} for each page without a cache, {each[1]} with naive and {each[2]} with Cachewarden:"
        f" {reached} of it (the goal of {percent(GOAL_SHARE)} is {goal}). 95% of product pages were there within"
        f" {pages[0]}, {pages[1]} and {pages[2]}."
    )


SCENARIO: Final = Scenario(
    name="campaign",
    title="Campaign with the cache off, then on",
    question="A newsletter brings more visitors than the shop can serve. How much does the database feel?",
    rule="docs/policies.md#tiers-and-policies",
    about_s=300,
    is_accepting=True,
    run=run,
    shows=(
        "Shows how hard the database works and how fast pages are with the cache off, with a naive one and"
        " with Cachewarden."
    ),
    compares_times=True,
)
