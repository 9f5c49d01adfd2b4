"""Redis dies for 20 seconds in the middle of the day, and comes back empty.

As many visitors come as the database can just serve without a cache: no cache can help when there is none. What is
shown is what it costs to notice that it is gone, and what happens when it comes back with nothing in it.
"""

import math
from dataclasses import dataclass
from typing import Final

from dashboard.demo.lab import measuring
from dashboard.demo.lab.measuring import Part, Visits, at_most, duration
from dashboard.demo.lab.types import LOWER, Bench, Check, Number, Result, Scenario, Side

SHARE: Final = 0.5
"""Of what the shop can do without a cache."""
MODES: Final = (("naive", "Naive"), ("cachewarden", "Cachewarden"))
ERRORS: Final = "Pages that failed"
P95_BEFORE: Final = "Page p95 before"
P95_AWAY: Final = "Page p95 while it is away"
P95_AFTER: Final = "Page p95 afterwards"
PEAK_BEFORE: Final = "Database peak before"
PEAK_AWAY: Final = "Database peak while it is away"
PEAK_BACK: Final = "Database peak when it is back"
RECOVERED: Final = "Recovered after"
CHART: Final = "Database, queries/s"

MOST_AWAY_S: Final = 0.5
MOST_PEAK: Final = 1.2
"""As a share of the peak while it was away: seconds differ by so much."""
MOST_RECOVERY_S: Final = 10.0
RECOVERED_SHARE: Final = 0.5
STEADY_S: Final = 5
"""So many seconds have to be so on average."""
_NOTE: Final = (
    "{:.0f} pages/s are half of what the shop can do here without a cache: beyond that nothing keeps a shop alive whose"
    " cache is gone."
)
SETTLED_S: Final = 10.0
"""The first seconds of a run, and those after the return, are not "before" and not "afterwards"."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of a run, in seconds: a trial of what the shop can do; when Redis dies, comes back, and the end."""

    tries: float = 6.0
    settled: float = SETTLED_S
    dies: float = 30.0
    returns: float = 50.0
    ends: float = 75.0


QUICK: Final = Lengths(tries=0.6, settled=0.3, dies=1.0, returns=4.0, ends=6.0)
QUICK_PAGES_PER_S: Final = 8.0
"""Whatever the machine can do: a test of the scenario needs some visitors, and not too many."""


def run(bench: Bench) -> Result:
    """See the module."""
    lengths = QUICK if bench.is_quick else Lengths()
    part = Part(0.1, 0.18, "Measuring what the shop can do without a cache")
    with bench.shop("off", bench.valkey()) as shop:
        uncached = measuring.capacity(bench, shop.url, part, seconds=lengths.tries, seed=bench.seed)
    pages_per_s = QUICK_PAGES_PER_S if bench.is_quick else uncached * SHARE
    sides = [
        _side(bench, mode, name, pages_per_s, lengths, Part(0.18 + number * 0.41, 0.59 + number * 0.41, name))
        for number, (mode, name) in enumerate(MODES)
    ]
    return Result(
        scenario="redis-down",
        sides=tuple(sides),
        chart=(CHART, "per_s"),
        checks=_checks(sides[-1]),
        sentence=_sentence(sides[-1], lengths, pages_per_s),
        notes=(_NOTE.format(pages_per_s),),
        setup=measuring.facts(
            pages_per_s=round(pages_per_s, 1),
            uncached_pages_per_s=round(uncached, 1),
            away_s=lengths.returns - lengths.dies,
        ),
    )


def _side(bench: Bench, mode: str, name: str, pages_per_s: float, lengths: Lengths, part: Part) -> Side:
    valkey = bench.valkey()
    with bench.shop(mode, valkey) as shop:
        visits = measuring.visit(
            bench,
            shop.url,
            part,
            pages_per_s=pages_per_s,
            seconds=lengths.ends,
            seed=bench.seed + 1,
            moments=((lengths.dies, valkey.kill), (lengths.returns, valkey.start)),
        )
    queries = visits.query_series()
    return Side(name, _numbers(visits, queries, lengths), {CHART: queries, "Page p95": visits.p95_series()})


def _numbers(visits: Visits, queries: measuring.Points, lengths: Lengths) -> tuple[Number, ...]:
    before = (lengths.settled, lengths.dies)
    away = (lengths.dies, lengths.returns)
    # What is wanted last before it is back may be answered after.
    back = (math.ceil(lengths.returns), lengths.ends)
    afterwards = (lengths.returns + lengths.settled, lengths.ends)
    return (
        Number(ERRORS, float(visits.failed), "count", LOWER),
        *(
            Number(name, visits.within(*time).quantile(0.95), "s", LOWER)
            for name, time in ((P95_BEFORE, before), (P95_AWAY, away), (P95_AFTER, afterwards))
        ),
        *(
            Number(name, measuring.peak(queries, *time), "per_s", LOWER)
            for name, time in ((PEAK_BEFORE, before), (PEAK_AWAY, away), (PEAK_BACK, back))
        ),
        Number(RECOVERED, recovered_s(queries, lengths.dies, lengths.returns, lengths.ends), "s", LOWER),
    )


def recovered_s(queries: measuring.Points, dies: float, returns: float, ends: float) -> float | None:
    """How long after its return the database had half of what it had without it; None: not before the end.

    Args:
        queries: (second, how many); seconds without any may be left out.
        dies, returns, ends: seconds.
    """
    counts = dict(queries)

    def mean(first: int, last: int) -> float:
        return sum(counts.get(float(second), 0.0) for second in range(first, last)) / max(1, last - first)

    enough = mean(math.ceil(dies), int(returns)) * RECOVERED_SHARE
    first, last = math.ceil(returns), int(ends)
    # Single seconds say little: some have few visitors.
    steps = range(first, last - STEADY_S + 1)
    return next((at - returns for at in steps if mean(at, at + STEADY_S) <= enough), None)


def _checks(kept: Side) -> tuple[Check, ...]:
    away, before = kept.value(PEAK_AWAY), kept.value(P95_BEFORE)
    return (
        at_most("Pages that fail", kept.value(ERRORS), 0.0, "count"),
        at_most("While Redis is away, 95% of pages are there within", kept.value(P95_AWAY), MOST_AWAY_S, "s"),
        at_most(
            "No stampede when it is back: most queries in a second, next to 1.2 times those while it was away",
            kept.value(PEAK_BACK),
            None if away is None else away * MOST_PEAK,
            "per_s",
        ),
        at_most(
            "Half of the load is off the database again within", kept.value(RECOVERED), MOST_RECOVERY_S, "s"
        ),
        at_most(
            "Afterwards 95% of pages are there within twice the time of before, and 20 ms",
            kept.value(P95_AFTER),
            None if before is None else before * 2 + 0.02,
            "s",
        ),
    )


def _sentence(kept: Side, lengths: Lengths, pages_per_s: float) -> str:
    failed, recovered = kept.value(ERRORS) or 0.0, kept.value(RECOVERED)
    peaks = [f"{kept.value(name) or 0:,.0f}" for name in (PEAK_BEFORE, PEAK_AWAY, PEAK_BACK)]
    again = "not before the end" if recovered is None else f"{recovered:.0f} s after its return"
    return (
        f"Redis was dead for {lengths.returns - lengths.dies:.0f} s while {pages_per_s:.0f} pages/s were wanted:"
        f" {failed:.0f} of them failed with Cachewarden. 95% of pages took up to {duration(kept.value(P95_BEFORE))}"
        f" before, {duration(kept.value(P95_AWAY))} without it, {duration(kept.value(P95_AFTER))} afterwards. The"
        f" database had up to {peaks[0]}, {peaks[1]} and, from an empty cache, {peaks[2]} queries/s; half of its load"
        f" was gone {again}."
    )


SCENARIO: Final = Scenario(
    name="redis-down",
    title="Redis is down for 20 seconds",
    question="Redis is killed while customers shop, and comes back empty. Does anybody get an error?",
    rule="docs/library.md#when-redis-is-away",
    about_s=190,
    is_accepting=True,
    run=run,
    shows=(
        "Shows errors, page times and the database's load before, without and after Redis, naive and with"
        " Cachewarden."
    ),
    compares_times=True,
)
