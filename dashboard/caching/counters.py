"""Counting per prefix, in memory; ``keeper`` carries the growth to Redis about once a second."""

import threading
from collections import Counter
from collections.abc import Collection
from typing import Final

from dashboard.caching.wire import MAX_COUNTED_PREFIXES, counter_field

LOAD_WEIGHT: Final = 0.2
"""Share of the newest load in the mean load time."""
GET_FIRST_ABOVE: Final = 0.89
ACQUIRE_FIRST_BELOW: Final = 0.85
"""Measured: a hit costs 1.05 and a miss 1.6 times the bare client's with GET first, 1.20 and 1.20 with SET NX GET
first: they meet at a hit ratio of 87 %. Two thresholds, so that a ratio in between doesn't flip."""
ENOUGH_LOOKUPS: Final = 50
DECAY: Final = 0.8
"""What is left of the counted lookups per flush when the hit ratio is judged."""
RETIRED_TAKES: Final = 60
"""A prefix that no policy has any more is counted for so many flushes: loads that run still count for it."""


class Tally:
    """What one prefix counted since the last flush, and what is known of its loads and hit ratio.

    Args:
        prefix: a policy's, empty for the default, None for all that are not counted apart.
    """

    __slots__ = (
        "_counts",
        "_hits_seen",
        "_misses_seen",
        "acquires_first",
        "hits",
        "lock",
        "mean_load_s",
        "own_hits",
        "prefix",
    )

    def __init__(self, prefix: bytes | None) -> None:
        self.prefix = prefix
        self.lock = threading.Lock()
        self.hits = 0
        self.own_hits = 0
        """These two are counted on the way of every hit, by whoever holds the lock."""
        self._counts: Counter[str] = Counter()
        self._hits_seen = 0.0
        self._misses_seen = 0.0
        self.mean_load_s = 0.0
        """Seconds; 0 before the first load."""
        self.acquires_first = False
        """Whether reads begin with taking the lease, because most of them miss."""

    def add(self, name: str, number: int = 1) -> None:
        """Count."""
        with self.lock:
            self._counts[name] += number

    def loaded(self, took_s: float, keys: int = 1, of: int = 1) -> None:
        """A loader ended well.

        Args:
            took_s: after so many seconds.
            keys: so many keys of this prefix were loaded.
            of: and so many in all, among which its time is divided.
        """
        with self.lock:
            self._counts["loads"] += keys
            self._counts["load_us"] += round(took_s * 1_000_000 * keys / of)
            # Whole: a lease must last as long as the call does, however many keys it is for.
            mean = self.mean_load_s
            self.mean_load_s = mean + LOAD_WEIGHT * (took_s - mean) if mean else took_s

    def take(self) -> dict[str, int]:
        """The growth since the last call; also judges the hit ratio anew."""
        with self.lock:
            taken, self._counts = self._counts, Counter()
            hits, self.hits = self.hits, 0
            own_hits, self.own_hits = self.own_hits, 0
            taken["hits"] += hits
            taken["own_hits"] += own_hits
            self._hits_seen = self._hits_seen * DECAY + taken["hits"]
            self._misses_seen = self._misses_seen * DECAY + taken["misses"]
            lookups = self._hits_seen + self._misses_seen
            if lookups >= ENOUGH_LOOKUPS:
                ratio = self._hits_seen / lookups
                if ratio < ACQUIRE_FIRST_BELOW:
                    self.acquires_first = True
                elif ratio > GET_FIRST_ABOVE:
                    self.acquires_first = False
        return {name: number for name, number in taken.items() if number}


class Ledger:
    """The tallies of a process, one per prefix and a bounded number of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[bytes, Tally] = {}
        self._retired: dict[bytes, tuple[Tally, int]] = {}
        """Those of no policy, and how many more times they are asked."""
        self._other = Tally(None)

    def tally(self, prefix: bytes) -> Tally:
        """The tally of a prefix; beyond MAX_COUNTED_PREFIXES that of all others together."""
        with self._lock:
            held = self._tallies.get(prefix)
            if held is None:
                if len(self._tallies) > MAX_COUNTED_PREFIXES:
                    return self._other
                retired = self._retired.pop(prefix, None)
                held = self._tallies[prefix] = Tally(prefix) if retired is None else retired[0]
            return held

    def retain(self, prefixes: Collection[bytes]) -> None:
        """Give up the tallies of all other prefixes, once what runs has been counted."""
        with self._lock:
            for prefix in self._tallies.keys() - prefixes:
                self._retired[prefix] = self._tallies.pop(prefix), RETIRED_TAKES

    def take(self) -> dict[str, int]:
        """The growth of everything: field of the counters' hash -> number."""
        with self._lock:
            tallies = [*self._tallies.values(), *(tally for tally, _ in self._retired.values()), self._other]
            self._retired = {
                prefix: (tally, turns - 1) for prefix, (tally, turns) in self._retired.items() if turns > 1
            }
        return {
            counter_field(name, tally.prefix): number
            for tally in tallies
            for name, number in tally.take().items()
        }
