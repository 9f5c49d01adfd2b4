"""An avalanche: 10,000 products were cached at once, so they all expire together; unless their TTLs differ.

All sides have the same mean TTL, and the library's lease. Only when keys end is different: together; each at its own
time, because the policy adds a random part; or together, but spread by an operator before it comes to that.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import redis

from dashboard.caching import Policy
from dashboard.demo.lab import measuring, warming
from dashboard.demo.lab.measuring import Moments, Part, at_most, share
from dashboard.demo.lab.types import LOWER, Bench, Check, Number, Result, Scenario, Side

EXPIRATIONS: Final = "Expirations, most per second"
QUERIES: Final = "Database queries, most per second"
P95: Final = "Slowest second's read p95"
ERRORS: Final = "Errors"
CHART: Final = "Database, queries/s"
EXPIRED: Final = "Expirations/s"

MOST_EXPIRATIONS: Final = 0.2
MOST_QUERIES: Final = 0.6
"""As shares of what a fixed TTL causes. With so many keys, each read once in 17 s, a perfect spread reaches 0.4."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of a run.

    Args:
        keys: that are warmed.
        ttl_s: mean TTL.
        seconds: how long each side is watched.
        spread_at_s: when the operator spreads what is left.
        per_s: reads.
        tries: of the trial of what can be read here, in seconds.
    """

    keys: int = 10_000
    ttl_s: int = 40
    seconds: float = 62.0
    spread_at_s: float = 2.0
    per_s: float = 600.0
    tries: float = 4.0


QUICK: Final = Lengths(keys=200, ttl_s=2, seconds=3.2, spread_at_s=0.2, per_s=100.0, tries=0.2)


def run(bench: Bench) -> Result:
    """See the module."""
    lengths = QUICK if bench.is_quick else Lengths()
    half = lengths.ttl_s // 2
    fixed, jittered = Policy(b"", "hot", lengths.ttl_s), Policy(b"", "hot", half, lengths.ttl_s)
    store = bench.store(connections=warming.READERS)
    pace = warming.find_pace(
        bench,
        store,
        Part(0.05, 0.1, "Measuring what can be read here"),
        keys=lengths.keys,
        per_s=lengths.per_s,
        seconds=lengths.tries,
    )
    lengths = replace(lengths, keys=round(lengths.keys * pace.share), per_s=pace.per_s)

    def respread(client: redis.Redis) -> Moments:
        window_s = lengths.ttl_s - lengths.spread_at_s
        return (
            (
                lengths.spread_at_s,
                lambda: warming.spread(client, warming.names(lengths.keys), window_s),
            ),
        )

    sides: list[Side] = []
    for number, (name, policy, moments) in enumerate(
        (
            ("Fixed TTL", fixed, lambda client: ()),
            ("Spread by the dashboard", fixed, respread),
            ("Jitter", jittered, lambda client: ()),
        )
    ):
        part = Part(0.1 + number * 0.3, 0.4 + number * 0.3, name)
        found = warming.measure(
            bench,
            store,
            bench.valkey(),
            policy,
            part,
            keys=lengths.keys,
            per_s=lengths.per_s,
            seconds=lengths.seconds,
            moments=moments,
        )
        sides.append(_side(name, found))
    return Result(
        scenario="avalanche",
        sides=tuple(sides),
        chart=(CHART, "per_s"),
        checks=_checks(sides),
        sentence=_sentence(sides, lengths),
        notes=(*filter(None, (pace.note,)), warming.SPREAD_NOTE),
        setup=measuring.facts(keys=lengths.keys, reads_per_s=lengths.per_s, mean_ttl_s=lengths.ttl_s),
    )


def _side(name: str, found: warming.Measured) -> Side:
    return Side(
        name,
        (
            Number(EXPIRATIONS, measuring.peak(found.expirations), "per_s", LOWER),
            Number(QUERIES, measuring.peak(found.queries), "per_s", LOWER),
            Number(P95, measuring.peak(found.p95_s), "s", LOWER),
            Number(ERRORS, measuring.errors(found.reads), "ratio", LOWER),
        ),
        {CHART: found.queries, EXPIRED: found.expirations, "Read p95": found.p95_s},
    )


def _checks(sides: Sequence[Side]) -> tuple[Check, ...]:
    fixed, *cures = sides
    return tuple(
        check
        for side in cures
        for check in (
            at_most(
                f"{side.name}: most expirations per second, as a share of those with a fixed TTL",
                share(side.value(EXPIRATIONS), fixed.value(EXPIRATIONS)),
                MOST_EXPIRATIONS,
                "ratio",
            ),
            at_most(
                f"{side.name}: most database queries per second, as a share of those with a fixed TTL",
                share(side.value(QUERIES), fixed.value(QUERIES)),
                MOST_QUERIES,
                "ratio",
            ),
            at_most(f"{side.name}: reads that fail", side.value(ERRORS), 0.0, "ratio"),
        )
    )


def _sentence(sides: Sequence[Side], lengths: Lengths) -> str:
    expired = [f"{side.value(EXPIRATIONS) or 0:,.0f}" for side in sides]
    queries = [f"{side.value(QUERIES) or 0:,.0f}" for side in sides]
    return (
        f"{lengths.keys:,} keys that were cached together with one TTL expired at up to {expired[0]} per second, and"
        f" the database got up to {queries[0]} queries/s. Spread by the dashboard before they ended it was"
        f" {expired[1]} and {queries[1]}; with a TTL of {lengths.ttl_s // 2} s and up to {lengths.ttl_s} s more, which"
        f" has the same mean, {expired[2]} and {queries[2]}."
    )


SCENARIO: Final = Scenario(
    name="avalanche",
    title="Avalanche: one TTL for everything",
    question="10,000 keys are cached together. What does the database feel when they end?",
    rule="docs/forecast.md#remedies",
    about_s=220,
    is_accepting=True,
    run=run,
    shows=(
        "Shows the peak of expirations and of database queries with one TTL, with jitter, and spread by"
        " the dashboard."
    ),
    compares_times=True,
)
