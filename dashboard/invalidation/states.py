"""Which change of a purge's state is possible from where. Pure; every change goes through here."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from dashboard.invalidation.types import State


class Verb(StrEnum):
    """A change of state; its audit entry is ``invalidation:purge:<verb>``."""

    PREVIEW = "preview"
    """It was counted."""
    RECOUNT = "recount"
    APPROVE = "approve"
    START = "start"
    PAUSE = "pause"
    HOLD = "hold"
    """It paused by itself and says why."""
    RESUME = "resume"
    CANCEL = "cancel"
    FINISH = "finish"
    FAIL = "fail"


CHANGES: Final[Mapping[Verb, tuple[frozenset[State], State]]] = {
    Verb.PREVIEW: (frozenset({State.DRAFT}), State.PREVIEWED),
    Verb.RECOUNT: (frozenset({State.DRAFT, State.PREVIEWED, State.PAUSED}), State.DRAFT),
    Verb.APPROVE: (frozenset({State.PREVIEWED}), State.WAITING),
    Verb.START: (frozenset({State.WAITING}), State.RUNNING),
    Verb.PAUSE: (frozenset({State.WAITING, State.RUNNING}), State.PAUSED),
    Verb.HOLD: (frozenset({State.WAITING, State.RUNNING}), State.PAUSED),
    Verb.RESUME: (frozenset({State.PAUSED}), State.WAITING),
    Verb.CANCEL: (
        frozenset({State.DRAFT, State.PREVIEWED, State.WAITING, State.RUNNING, State.PAUSED}),
        State.CANCELLED,
    ),
    Verb.FINISH: (frozenset({State.RUNNING}), State.DONE),
    Verb.FAIL: (frozenset({State.WAITING, State.RUNNING}), State.FAILED),
}

WORDS: Final[Mapping[State, str]] = {
    State.DRAFT: "being counted",
    State.PREVIEWED: "counted and not approved yet",
    State.WAITING: "waiting for its turn",
    State.RUNNING: "running",
    State.PAUSED: "paused",
    State.DONE: "done",
    State.CANCELLED: "cancelled",
    State.FAILED: "failed",
}


def may(state: State, verb: Verb) -> bool:
    """Whether a purge in ``state`` can be changed so."""
    return state in CHANGES[verb][0]


def after(verb: Verb) -> State:
    """Where a change leads."""
    return CHANGES[verb][1]
