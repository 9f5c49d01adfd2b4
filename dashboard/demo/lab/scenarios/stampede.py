"""A stampede: the home page's key expires again and again while many readers want it.

Four caches stand for four processes of an application: each has its own connections, and knows nothing of the others'
loads. The loader is the shop's own query of what sells best, on a database that is a little away.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from dashboard.caching import Cache, Policy, Protection
from dashboard.demo.lab import measuring
from dashboard.demo.lab.measuring import Loads, Pace, Part, Readers, at_most, duration, share
from dashboard.demo.lab.types import LOWER, Bench, Check, Number, Result, Scenario, Side
from dashboard.demo.shop.modes import Naive
from dashboard.demo.shop.pages import FRONT

PROCESSES: Final = 4
READERS: Final = 64
"""At once; the store has as many connections."""
LATENCY_S: Final = 0.04
"""Of each statement, there and back."""
BUCKET_S: Final = 0.1
QUIET_S: Final = 600

LOADS: Final = "Loads per TTL"
"""A value lives from the end of its load, so one load for each expiry is a little less than one per TTL."""
P99: Final = "Read p99"
MEAN_LOAD: Final = "One load takes"
ERRORS: Final = "Errors"
CHART: Final = "Loads per 100 ms"

MOST_LOADS: Final = 1.2
"""One; and a little, for the run does not end with an expiry."""
MOST_EARLY_LOADS: Final = 2.0
"""Early refresh renews the value before its time, so it loads more often; and two may draw the lot together."""
MOST_SHARE: Final = 0.1
WAITED: Final = 0.5
"""Who waits less than this share of a load has not waited for it."""

Read = Callable[[int], object]


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of a run: how long a value lives, one way goes on and what can be read is tried, in seconds; reads per second."""

    ttl_s: int = 3
    seconds: float = 15.0
    per_s: float = 400.0
    tries: float = 2.0

    @property
    def lives(self) -> float:
        """How many TTLs one way goes on for."""
        return self.seconds / self.ttl_s


QUICK: Final = Lengths(ttl_s=1, seconds=1.6, per_s=100.0, tries=0.2)


def run(bench: Bench) -> Result:
    """See the module."""
    lengths = QUICK if bench.is_quick else Lengths()
    store = bench.store(latency_s=LATENCY_S, connections=READERS)
    pace = _pace(bench, lengths)
    lengths = replace(lengths, per_s=pace.per_s)
    ways: Sequence[tuple[str, Protection | None]] = (
        ("Naive", None),
        ("Lease", Protection()),
        ("Early refresh", Protection(early_refresh_beta=1.0)),
        ("Stale while revalidate", Protection(grace_s=30)),
    )
    sides = tuple(
        _side(
            bench,
            name,
            protection,
            store.front,
            lengths,
            Part(0.1 + number * 0.22, 0.32 + number * 0.22, name),
        )
        for number, (name, protection) in enumerate(ways)
    )
    return Result(
        scenario="stampede",
        sides=sides,
        chart=(CHART, "count"),
        checks=_checks(sides),
        sentence=_sentence(sides, lengths),
        notes=tuple(filter(None, (pace.note,))),
        setup=measuring.facts(
            reads_per_s=lengths.per_s, ttl_s=lengths.ttl_s, processes=PROCESSES, latency_s=LATENCY_S
        ),
    )


def _pace(bench: Bench, lengths: Lengths) -> Pace:
    """What can be read here while nothing expires: readers must not wait for anything but loads."""
    part = Part(0.05, 0.1, "Measuring what can be read here")
    with _reading(bench.valkey().url, Protection(), Loads(lambda: "front"), QUIET_S) as read:
        can = measuring.reads_per_s(bench, read, part, threads=READERS, seconds=lengths.tries)
    return Pace(lengths.per_s) if bench.is_quick else measuring.pace(can, lengths.per_s)


def _side(
    bench: Bench,
    name: str,
    protection: Protection | None,
    load: Callable[[], Any],
    lengths: Lengths,
    part: Part,
) -> Side:
    loads = Loads(load)
    with _reading(bench.valkey().url, protection, loads, lengths.ttl_s) as read:
        for process in range(PROCESSES):
            read(process)
        filled = time.perf_counter()
        readers = Readers(
            measuring.arrivals(lengths.per_s, lengths.seconds, bench.seed), read, threads=READERS
        )
        reads = readers.run(bench, lengths.seconds, part)
    at_s = loads.since(max(filled, readers.began))
    at_s = [each for each in at_s if each < lengths.seconds]
    numbers = (
        Number(LOADS, len(at_s) / lengths.lives, "count", LOWER),
        Number("Loads at once", loads.most_at_once, "count", LOWER),
        Number(P99, measuring.p99(reads), "s", LOWER),
        Number("Longest read", max((each.took_s for each in reads), default=None), "s", LOWER),
        Number(MEAN_LOAD, loads.mean_s, "s", LOWER),
        Number(ERRORS, measuring.errors(reads), "ratio", LOWER),
    )
    return Side(name, numbers, {CHART: measuring.per_step(at_s, lengths.seconds, BUCKET_S)})


@contextmanager
def _reading(url: str, protection: Protection | None, loads: Loads, ttl_s: int) -> Iterator[Read]:
    """How reader number so-and-so reads: each through the next process's cache."""
    with ExitStack() as stack:
        if protection is None:
            shelves = [stack.enter_context(closing(Naive(url, ttl_s))) for _ in range(PROCESSES)]
            yield lambda number: shelves[number % PROCESSES].read(FRONT, loads)
        else:
            policy = Policy(b"", "hot", ttl_s, protection=protection)
            caches = [
                stack.enter_context(Cache(url, default=policy, follow=False, name=f"lab-{number}"))
                for number in range(PROCESSES)
            ]
            yield lambda number: caches[number % PROCESSES].get_or_load(FRONT, loads)


def _checks(sides: Sequence[Side]) -> tuple[Check, ...]:
    naive, *cures = sides
    lease = cures[0]
    counts = [
        at_most(f"{side.name}: loads per TTL", side.value(LOADS), most, "count")
        for side, most in zip(cures, (MOST_LOADS, MOST_EARLY_LOADS, MOST_LOADS), strict=True)
    ]
    waits = [
        at_most(
            f"{side.name}: 99% of readers do not wait for the load, that is half of what one takes at most",
            side.value(P99),
            (side.value(MEAN_LOAD) or 0.0) * WAITED,
            "s",
        )
        for side in cures[1:]
    ]
    return (
        at_most(
            "Lease: loads, as a share of naive's",
            share(lease.value(LOADS), naive.value(LOADS)),
            MOST_SHARE,
            "ratio",
        ),
        *counts,
        *waits,
        *(at_most(f"{side.name}: reads that fail", side.value(ERRORS), 0.0, "ratio") for side in cures),
    )


def _sentence(sides: Sequence[Side], lengths: Lengths) -> str:
    loads = [f"{side.value(LOADS) or 0.0:.1f}" for side in sides]
    waits = [duration(side.value(P99)) for side in sides]
    ways = [f"{side.name.lower()} {count}" for side, count in zip(sides, loads, strict=True)]
    return (
        f"One key that lives {lengths.ttl_s} s was read {lengths.per_s:.0f} times a second. Loads in each"
        f" {lengths.ttl_s} s: {_listed(ways)}. 99% of the readers waited at most {_listed(waits)}. A lease has one load"
        f" and the others wait for it; early refresh and stale while revalidate load in the background, so nobody"
        f" waits. A value lives from the end of its load, so one load for each expiry is a little less than one in"
        f" {lengths.ttl_s} s."
    )


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


SCENARIO: Final = Scenario(
    name="stampede",
    title="Stampede on one hot key",
    question="One key expires while hundreds want it. How often is it loaded, and who waits?",
    rule="docs/library.md#policies",
    about_s=80,
    is_accepting=True,
    run=run,
    shows="Shows how often the key is loaded and how long readers wait, naive and with three protections.",
    compares_times=True,
)
