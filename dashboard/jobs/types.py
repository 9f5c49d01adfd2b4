"""What a job is to those who ask for one and those who do it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Wish(StrEnum):
    """What is asked of the holder of a job."""

    NONE = ""
    PAUSE = "pause"
    CANCEL = "cancel"


class Interrupted(Exception):
    """The work must end here; raised by ``Control.check``, and never to be swallowed by what runs below it."""


class LeaseLost(Interrupted):
    """The job is somebody else's, or may be: stop at once and write nothing more, anywhere."""


class PauseAsked(Interrupted):
    """Somebody wants it to pause: come to a good end of the present step."""


class CancelAsked(Interrupted):
    """Somebody wants it to end: come to a good end of the present step."""


class Stopping(Interrupted):
    """This process ends; the job goes on in another one."""


@dataclass(frozen=True, slots=True)
class Job:
    """A claimed job.

    Args:
        subject: number of what it works on, in its area's table.
        attempt: which claim this is; the fence of all it writes.
        wish: what was asked of it before it was claimed.
    """

    id: int
    kind: str
    subject: int
    attempt: int
    wish: Wish = Wish.NONE


@dataclass(frozen=True, slots=True)
class OpenJob:
    """A job as its area sees it when it wants to change it; locked.

    Args:
        is_held: some worker holds it, as far as PostgreSQL knows: ask it with a wish instead of acting for it.
    """

    id: int
    is_held: bool
    wish: Wish


class Control(Protocol):
    """What the worker's thread asks between two steps."""

    @property
    def job(self) -> Job:
        """The job as it was claimed."""
        ...

    def check(self) -> None:
        """Go on?

        Raises:
            LeaseLost: no: it is not ours any more, for all we know.
            PauseAsked, CancelAsked: somebody wants it to stop.
            Stopping: this process ends.
        """
        ...

    @property
    def is_ours(self) -> bool:
        """Whether the lease is ours for sure, whatever else is asked."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait so long, or until ``check`` would raise."""
        ...


@dataclass(frozen=True, slots=True)
class Handler:
    """Who does the jobs of one kind.

    Args:
        run: works on a claimed job; ends it with ``service.finish``. Raises what ``Control.check`` raised;
            after anything else it is tried again.
        threads: so many at a time in one process.
    """

    run: Callable[[Control], None]
    threads: int
