"""The full scan: every key of a cache, once, read in bursts so short that nobody else waits, and resumable.

It knows neither PostgreSQL nor what is made of the keys: batches go to a ``Collector``, what has to survive the worker
to ``on_checkpoint``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from dashboard.clock import Clock
from dashboard.errors import DashboardError
from dashboard.fleet.registry import Connection
from dashboard.keyspace.types import Batch, ScanLimits, ScanProgress
from dashboard.monitoring.types import ProbeLookups


class Refused(DashboardError):
    """Trying again will not help: the cache forbids what is needed."""

    code = "scan_refused"
    status = 409
    title = "The cache can't be scanned"


class Collector(Protocol):
    """What is made of the keys. Called by one thread at a time."""

    def add(self, batch: Batch) -> None:
        """Take keys in."""
        ...

    def forget(self, node: str) -> None:
        """Drop all that came from a node (``Batch.node``): it is begun again."""
        ...

    def state(self) -> bytes:
        """All that was collected, so that another worker can go on."""
        ...


class Control(Protocol):
    """What is asked of the scan while it works; ``jobs.types.Control`` is one. Called by several threads."""

    def check(self) -> None:
        """Called before each burst; whatever it raises ends the scan."""
        ...

    def wait(self, seconds: float) -> None:
        """Sleep for so long, at most; return sooner when ``check`` would raise."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """How far the keys of one primary are walked through.

    Args:
        node: id of the primary; ``Batch.node`` of its keys.
        source: id of the server that is read: the primary itself, or a replica of it.
        run_id: of the source; with another one the cursor means nothing.
        cursor: where to go on.
        looked_at: keys read.
        is_done: whether there are no more.
        slots: of a Cluster: which it had, as text.
    """

    node: str
    source: str
    run_id: str
    cursor: int
    looked_at: int
    is_done: bool
    slots: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that another worker needs to go on; its parts belong together.

    Args:
        places: by primary.
        collected: ``Collector.state()`` with exactly the keys before those places.
        progress: as shown.
    """

    places: tuple[Place, ...]
    collected: bytes
    progress: ScanProgress


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan says about itself when it is done.

    Args:
        looked_at: keys read.
        keyspace: keys in the cache at the end, by DBSIZE of all primaries.
        size_every: one key of so many was measured; 0: none, for want of the right to.
        progress: the last.
        notes: what kept it from being exact, one sentence each.
    """

    looked_at: int
    keyspace: int
    size_every: int
    progress: ScanProgress
    notes: tuple[str, ...] = ()


def scan(
    connection: Connection,
    limits: ScanLimits,
    collector: Collector,
    control: Control,
    clock: Clock,
    *,
    start: Checkpoint | None,
    on_checkpoint: Callable[[Checkpoint], None],
    on_lookups: Callable[[Sequence[ProbeLookups]], None],
    tell: Callable[[ScanProgress], None] = lambda progress: None,
) -> Scanned:
    """Walk all keys, from the beginning or from where another worker stopped.

    A server that is away or loading is waited for; one that restarted is begun again.

    Args:
        connection: the cache.
        limits: as an admin set them.
        collector: gets the keys; restored from ``start.collected`` where there is a start.
        control: asked before each burst.
        clock: of this machine.
        start: the last checkpoint; None: from the beginning.
        on_checkpoint: saves one, every few seconds; not called any more once the scan is done. Whatever it raises ends
            the scan.
        on_lookups: stores what our lookups were so far (``monitoring.service.record_probe_lookups``), each second and
            before the end, whatever ends it. A StoreUnavailable that it raises is swallowed.
        tell: told twice a second how far it is, by the thread that called.

    Raises:
        Refused: the cache forbids what is needed; the words name the ACL line.
        FleetError: a server stayed away for too long.
    """
    raise NotImplementedError
