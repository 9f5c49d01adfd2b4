"""What the engine asks of its surroundings, and how it stops."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from dashboard.errors import DashboardError
from dashboard.invalidation.types import Progress


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


class NotNow(DashboardError):
    """A server can't do what is needed at present; it is asked again. Stays within the engine."""

    code = "not_now"
    status = 503
    title = "The cache can't do that now"


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
        node: id of the node; exact selectors have one, "list", and tags one, "tag".
        keys: at most ``saving.SEGMENT_KEYS`` and SEGMENT_BYTES, or those of one burst if that brought more.
    """

    number: int
    node: str
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """A segment whose keys had their turn.

    Args:
        number: its own.
        touched: those of its keys that were touched, as the report names them; None: all, or nobody asked.
    """

    number: int
    touched: tuple[bytes, ...] | None = None


class Journal(Protocol):
    """What survives a worker. Called by one thread at a time, which need not be the one that called ``run``."""

    def pending(self) -> Sequence[Segment]:
        """The segments that were begun and not finished, by number. Asked once, before anything else."""
        ...

    def next_number(self) -> int:
        """The number of the next segment: above all that were ever begun."""
        ...

    def commit(self, progress: Progress, begun: Sequence[Segment], finished: Sequence[Finished]) -> None:
        """Save, in one transaction: the progress, new segments, and which of the earlier ones are done.

        While PostgreSQL is away it tries again, as long as the lease is ours for sure.

        Args:
            progress: includes the cursors behind the begun segments, and the counts of the finished ones only.
            begun: touched only after this returned.
            finished: removed, or kept as the report.

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
