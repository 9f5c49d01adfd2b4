"""What the database is asked while a purge runs, as the applications count it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.caching.wire import COUNTERS_KEY, counter_field
from dashboard.errors import DashboardError
from dashboard.fleet.purging import Router

MOST_PREFIXES: Final = 100
"""Prefixes whose counters are read; of more, the load is not known."""


@dataclass(frozen=True, slots=True)
class Load:
    """What applications did between two readings of their counters.

    Args:
        reads_per_s: lookups in the cache.
        loads_per_s: reads of the database.
        hit_ratio: 0..1; None without lookups.
    """

    reads_per_s: float
    loads_per_s: float
    hit_ratio: float | None


def concerned(table: PolicyTable[Policy], head: bytes) -> list[bytes] | None:
    """The prefixes of the policies that keys beginning with ``head`` can belong to; None: too many to follow."""
    prefixes = {
        policy.prefix
        for policy in (table.default, *table.items)
        if policy.prefix.startswith(head) or head.startswith(policy.prefix)
    }
    # The longest one that the head begins with holds all its keys, if no longer ones go further.
    around = [prefix for prefix in prefixes if head.startswith(prefix)]
    if around:
        prefixes -= {prefix for prefix in around if prefix != max(around, key=len)}
    return sorted(prefixes) if len(prefixes) <= MOST_PREFIXES else None


class Loads:
    """Reads the counters that applications add to about once a second.

    Args:
        router: of the cache.
        prefixes: whose counters matter.
        looked_up: told of our own lookups, which count.
    """

    NAMES: Final = ("hits", "misses", "loads")

    def __init__(
        self, router: Router, prefixes: Sequence[bytes], looked_up: Callable[[int, int], None]
    ) -> None:
        self._router = router
        self._fields = [counter_field(name, prefix) for name in self.NAMES for prefix in prefixes]
        self._looked_up = looked_up
        self._before: tuple[float, list[int]] | None = None

    @property
    def is_counted(self) -> bool:
        """Whether there was anything to read the last time."""
        return self._before is not None

    def read(self, now_s: float) -> Load | None:
        """What happened since the last reading; None: nothing is counted there, or it was the first.

        Args:
            now_s: monotonic.
        """
        before, self._before = self._before, None
        try:
            ((node, _),) = self._router.split([COUNTERS_KEY])
            (reply,), _ = node.run([("HMGET", COUNTERS_KEY, *self._fields)])
        except DashboardError:
            return None
        if not isinstance(reply, list) or len(reply) != len(self._fields):
            return None
        is_there = any(value is not None for value in reply)
        self._looked_up(int(is_there), int(not is_there))
        if not is_there:
            return None
        width = len(self._fields) // len(self.NAMES)
        sums = [
            sum(_number(value) for value in reply[place * width : (place + 1) * width])
            for place in range(len(self.NAMES))
        ]
        self._before = (now_s, sums)
        if before is None or now_s <= before[0]:
            return None
        hits, misses, loads = (after - once for after, once in zip(sums, before[1], strict=True))
        if min(hits, misses, loads) < 0:
            # They were flushed.
            return None
        span_s = now_s - before[0]
        lookups = hits + misses
        return Load(lookups / span_s, loads / span_s, hits / lookups if lookups else None)


def _number(value: object) -> int:
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 19 else 0
