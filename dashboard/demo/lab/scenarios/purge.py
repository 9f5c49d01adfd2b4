"""A purge of 5,000 hot products while they are read: all at once, as a script does it, and spread over a time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import redis

from dashboard.caching import Policy
from dashboard.demo.lab import measuring, warming
from dashboard.demo.lab.measuring import Moments, Part, at_most, duration, share
from dashboard.demo.lab.types import LOWER, Bench, Check, Number, Result, Scenario, Side

BEFORE: Final = "Database queries before, most per second"
QUERIES: Final = "Database queries, most per second"
OVER: Final = "Reload takes"
P95: Final = "Slowest second's read p95"
ERRORS: Final = "Errors"
CHART: Final = "Database, queries/s"

MOST_QUERIES: Final = 0.5
"""As a share of what a purge at once causes. Perfectly even it would be 0.27."""
RELOADED: Final = 0.9
READ_AGAIN: Final = 1.5
"""Times the mean pause between two reads of a product: the last ones to end have to be read, too."""
TTL_S: Final = 3_600
"""Nothing expires by itself meanwhile."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of a run.

    Args:
        keys: that are purged.
        at_s: when.
        over_s: the time over which the spread purge lets them end.
        seconds: how long each side is watched.
        per_s: reads.
        tries: of the trial of what can be read here, in seconds.
    """

    keys: int = 5_000
    at_s: float = 5.0
    over_s: float = 30.0
    seconds: float = 60.0
    per_s: float = 600.0
    tries: float = 4.0


QUICK: Final = Lengths(keys=200, at_s=0.4, over_s=1.6, seconds=2.6, per_s=100.0, tries=0.2)


def run(bench: Bench) -> Result:
    """See the module."""
    lengths = QUICK if bench.is_quick else Lengths()
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

    def at_once(client: redis.Redis) -> Moments:
        return ((lengths.at_s, lambda: warming.remove(client, "product:")),)

    def over_time(client: redis.Redis) -> Moments:
        keys = warming.names(lengths.keys)
        return ((lengths.at_s, lambda: warming.spread(client, keys, lengths.over_s)),)

    sides: list[Side] = []
    for number, (name, moments) in enumerate((("At once", at_once), ("Spread", over_time))):
        found = warming.measure(
            bench,
            store,
            bench.valkey(),
            Policy(b"", "hot", TTL_S),
            Part(0.1 + number * 0.45, 0.55 + number * 0.45, name),
            keys=lengths.keys,
            per_s=lengths.per_s,
            seconds=lengths.seconds,
            moments=moments,
        )
        sides.append(_side(name, found, lengths))
    return Result(
        scenario="purge",
        sides=tuple(sides),
        chart=(CHART, "per_s"),
        checks=_checks(sides, lengths),
        sentence=_sentence(sides, lengths),
        notes=(*filter(None, (pace.note,)), warming.SPREAD_NOTE),
        setup=measuring.facts(keys=lengths.keys, reads_per_s=lengths.per_s, spread_over_s=lengths.over_s),
    )


def reload_s(queries: measuring.Points, from_s: float, share_of_all: float = RELOADED) -> float | None:
    """How long it took until this share of all queries after ``from_s`` was over; None: there were none."""
    after = [(at, count) for at, count in queries if at >= int(from_s)]
    total, so_far = sum(count for _, count in after), 0.0
    for at, count in after:
        so_far += count
        if total and so_far >= share_of_all * total:
            return at + 1 - int(from_s)
    return None


def _side(name: str, found: warming.Measured, lengths: Lengths) -> Side:
    return Side(
        name,
        (
            Number(BEFORE, measuring.peak(found.queries, 0.0, int(lengths.at_s)), "per_s"),
            Number(QUERIES, measuring.peak(found.queries, int(lengths.at_s)), "per_s", LOWER),
            Number("Products loaded anew", sum(count for _, count in found.queries), "count"),
            Number(OVER, reload_s(found.queries, lengths.at_s), "s"),
            Number(P95, measuring.peak(found.p95_s), "s", LOWER),
            Number(ERRORS, measuring.errors(found.reads), "ratio", LOWER),
        ),
        {CHART: found.queries, "Read p95": found.p95_s},
    )


def _checks(sides: Sequence[Side], lengths: Lengths) -> tuple[Check, ...]:
    at_once, over_time = sides
    loaded = "Products loaded anew"
    return (
        at_most(
            "Spread: most database queries per second, as a share of those of a purge at once",
            share(over_time.value(QUERIES), at_once.value(QUERIES)),
            MOST_QUERIES,
            "ratio",
        ),
        measuring.at_least(
            "Spread: products loaded anew, as a share of those after a purge at once",
            share(over_time.value(loaded), at_once.value(loaded)),
            RELOADED,
            "ratio",
        ),
        at_most(
            "Spread: nine in ten products are loaded anew within the time it was given, and until they are read",
            over_time.value(OVER),
            lengths.over_s + READ_AGAIN * lengths.keys / lengths.per_s,
            "s",
        ),
        *(at_most(f"{side.name}: reads that fail", side.value(ERRORS), 0.0, "ratio") for side in sides),
    )


def _sentence(sides: Sequence[Side], lengths: Lengths) -> str:
    peaks = [f"{side.value(QUERIES) or 0:,.0f}" for side in sides]
    over = [duration(side.value(OVER)) for side in sides]
    slow = [duration(side.value(P95)) for side in sides]
    return (
        f"Purging {lengths.keys:,} products that are read {lengths.per_s:.0f} times a second at once sent up to"
        f" {peaks[0]} queries/s to the database, nine in ten of them within {over[0]}; let expire within"
        f" {lengths.over_s:.0f} s it was {peaks[1]} queries/s, over {over[1]}. In the slowest second 95% of the reads"
        f" took up to {slow[0]}, and {slow[1]}."
    )


SCENARIO: Final = Scenario(
    name="purge",
    title="Purge of 5,000 hot products",
    question="A whole prefix is to go while it is read. What does the database feel, at once or spread?",
    rule="docs/invalidation.md#the-preview",
    about_s=145,
    is_accepting=True,
    run=run,
    shows="Shows the database's peak when all of it goes at once, and when it is spread.",
    compares_times=True,
)
