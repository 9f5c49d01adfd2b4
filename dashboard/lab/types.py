"""Runs of the lab as the dashboard keeps them. Frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from dashboard.demo.lab.types import Result


class State(StrEnum):
    """Where a run stands."""

    WAITING = "waiting"
    RUNNING = "running"
    PASSED = "passed"
    """It came to its end, and every check holds."""
    FAILED = "failed"
    """It came to its end, and a check does not hold."""
    VOID = "void"
    """It says nothing: something it needs broke."""
    CANCELLED = "cancelled"

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self not in (State.WAITING, State.RUNNING)


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Args:
        scenario: its name; it may be none of this release's.
        by: who asked for it.
        started_at: when it began, or was begun again after its worker had ended.
        share, words: how far it is, 0..1, and what it does.
        wish: what the worker that has it was asked.
        problem: why it is void.
        result: what it found; None also where nobody asked for it.
        revision: rises with every change of state.
    """

    number: int
    scenario: str
    state: State
    by: str
    asked_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    share: float = 0.0
    words: str = ""
    wish: str = ""
    problem: str = ""
    result: Result | None = None
    revision: int = 0

    @property
    def took_s(self) -> float | None:
        """How long it took; None: it is not over, or never began."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Latest:
    """What is known of each scenario, by name.

    Args:
        runs: the newest of each, without its result.
        shown: the newest of each that has a result, with it.
    """

    runs: Mapping[str, Run] = field(default_factory=dict)
    shown: Mapping[str, Run] = field(default_factory=dict)
