"""The engine: selection x action on a live cache, in bounded bursts, that may be stopped and taken over at any moment.

``count`` looks, ``run`` acts; both go the same way through the keys. Neither knows PostgreSQL: what has to survive the
worker is handed to a ``Journal``, what is asked of it meanwhile comes from a ``Control``.

Nothing is missed and nothing counted twice, because keys are worked through in *segments*: the keys of a segment are
in the journal before the first of them is touched, together with the cursor behind them. Whoever takes over acts on the
pending segments once more, then goes on at the cursors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.clock import Clock
from dashboard.errors import DashboardError
from dashboard.fleet.registry import Connection
from dashboard.invalidation.types import Limits, Plan, Preview, Progress, Selection


class LeaseLost(Exception):
    """Another worker holds the purge, or PostgreSQL could not be asked in time: stop, and touch nothing more."""


class Paused(Exception):
    """An operator, or the end of this process, wants the purge to stop where it can be resumed."""


class Cancelled(Exception):
    """An operator wants the purge to stop for good."""


class Halted(DashboardError):
    """The purge can't go on by itself, but could after somebody acts: it is paused with these words as its problem.

    The cap of its approval would be exceeded, or a node has been away for too long.
    """

    code = "halted"
    status = 409
    title = "The purge waits for you"


class Exceeded(Halted):
    """It would touch more keys than were approved: it must be counted and approved again."""


class Failed(DashboardError):
    """Trying again will not help: the cache forbids what is needed, or what was asked for can't be done there."""

    code = "purge_failed"
    status = 409
    title = "The purge failed"


class Input(Protocol):
    """The list beside an exact selector: keys for KEYS, identifiers for IDS and ROWS."""

    def chunks(self, first: int) -> Iterator[Sequence[bytes]]:
        """The items from index ``first`` (0: all) on, in order, some thousand at a time.

        It may be asked more than once, and is left in the middle.
        """
        ...


@dataclass(frozen=True, slots=True)
class Segment:
    """Keys that are about to be touched.

    Args:
        number: counts up within a purge, over all nodes and workers.
        node: id of the node; exact selectors have one, "list".
        run_id: of the server when they were found; empty for exact selectors.
        cursor: where the node's scan goes on behind them (index into the list); None: nowhere, they were the last.
        keys: at most SEGMENT_KEYS and SEGMENT_BYTES.
    """

    number: int
    node: str
    run_id: str
    cursor: int | None
    keys: tuple[bytes, ...]


class Journal(Protocol):
    """What survives a worker. Called by one thread at a time, which need not be the one that called ``run``."""

    def pending(self) -> Sequence[Segment]:
        """The segments that were begun and not finished, by number. Asked once, before anything else."""
        ...

    def next_number(self) -> int:
        """The number of the next segment: above all that were ever begun."""
        ...

    def commit(self, progress: Progress, begun: Sequence[Segment], finished: Sequence[int]) -> None:
        """Save, in one transaction: the progress, new segments, and which of the earlier ones are done.

        Args:
            progress: includes the cursors behind the begun segments, and the counts of the finished ones only.
            begun: touched only after this returned.
            finished: numbers; removed, or kept as the report.

        Raises:
            LeaseLost: this worker is not the holder any more, or that can't be known.
        """
        ...


class Control(Protocol):
    """What is asked of the engine while it works. Called by several threads; quick, without I/O but for ``wait``."""

    def check(self) -> None:
        """Called before each burst.

        Raises:
            LeaseLost: stop at once. Paused, Cancelled: finish what was begun, save, stop.
        """
        ...

    def wait(self, seconds: float) -> None:
        """Sleep for so long, at most; return sooner when ``check`` would raise."""
        ...

    def looked_up(self, hits: int, misses: int) -> None:
        """So many lookups of ours count as hits and misses on the server: take them off the cache's hit ratio."""
        ...


def count(
    connection: Connection,
    selection: Selection,
    keys: Input | None,
    table: PolicyTable[Policy],
    control: Control,
    clock: Clock,
    chance: Callable[[], float],
) -> Preview:
    """Find out what a purge would touch; nothing is changed.

    Args:
        connection: the cache.
        selection: which keys.
        keys: the list of an exact selector, else None.
        table: the policies in force, for the sample.
        control: asked before each burst.
        clock: of this machine.
        chance: a random number in [0, 1), for the sample.

    Raises:
        Failed: the cache forbids what is needed for it; the words name the ACL line.
        FleetError: the cache is away; trying again may help.
        Paused, Cancelled, LeaseLost: from ``control``.
    """
    raise NotImplementedError


def run(
    connection: Connection,
    plan: Plan,
    keys: Input | None,
    table: PolicyTable[Policy],
    limits: Limits,
    cap: int,
    progress: Progress,
    journal: Journal,
    control: Control,
    clock: Clock,
    chance: Callable[[], float],
) -> Progress:
    """Do it, from the beginning or from where another worker stopped.

    A Redis that is away, loading, read-only after a failover or out of memory is waited for, with growing pauses;
    ``Progress.waits_for`` says so. So much is saved before any exception but LeaseLost goes out.

    Args:
        connection: the cache.
        plan: what to do with which keys. ``when`` matters for OVER alone.
        keys: the list of an exact selector, else None.
        table: the policies in force.
        limits: of the cache, as of the start of this run.
        cap: keys it may touch (``Preview.cap`` of what was approved).
        progress: as saved last; ``Progress()`` at first.
        journal: where to save.
        control: asked before each burst.
        clock: of this machine; only differences of its monotonic time are used.
        chance: a random number in [0, 1), for jitter.

    Returns:
        the last progress, saved; every node of it is done.

    Raises:
        Halted: it needs an approval again, or a node stays away.
        Failed: trying again can't help.
        Paused, Cancelled, LeaseLost: from ``control`` or ``journal``.
    """
    raise NotImplementedError
