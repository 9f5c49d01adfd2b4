"""The quick look: some keys from random places, at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.clock import Clock
from dashboard.fleet.registry import Connection
from dashboard.keyspace.scanning import Collector
from dashboard.keyspace.types import SAMPLE_KEYS, ScanLimits
from dashboard.monitoring.types import ProbeLookups


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a sample says about itself.

    Args:
        looked_at: different keys that were read.
        keyspace: keys in the cache, by DBSIZE of all primaries.
        factor: what counts are to be multiplied by; 1: every key was read.
        size_every: one key of so many was measured; 0: none, for want of the right to.
        notes: what keeps it from being right, one sentence each.
    """

    began_at: datetime
    ended_at: datetime
    looked_at: int
    keyspace: int
    factor: float
    size_every: int
    notes: tuple[str, ...] = ()


def sample(
    connection: Connection,
    limits: ScanLimits,
    collector: Collector,
    clock: Clock,
    chance: Callable[[], float],
    *,
    on_lookups: Callable[[Sequence[ProbeLookups]], None],
    keys: int = SAMPLE_KEYS,
) -> Sampled:
    """Read some keys of each node from random places, in the same proportion of each; all of a small cache.

    Args:
        connection: the cache.
        limits: as an admin set them; its rate and ``size_every`` are for full scans alone.
        collector: gets the keys.
        chance: a random number in [0, 1).
        on_lookups: as of ``scanning.scan``.
        keys: about so many; up to half as many more are read when that is all of them.

    Raises:
        Refused: the cache forbids what is needed.
        FleetError: a server is away.
    """
    raise NotImplementedError
