"""A remedy tried on a wall: before and after on one scale. Pure; nothing is changed anywhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from dashboard.forecast import remedies, walls
from dashboard.forecast.course import course
from dashboard.forecast.types import Basis, Grid, Rule, Stem, Wall

MOST_BARS: Final = 180
_STEPS_S: Final = (10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600)
_ROOM: Final = 1.15
"""So much longer than what it is about is what is shown."""


class Remedy(StrEnum):
    """What can be done about a wall."""

    JITTER = "jitter"
    """For the keys that are written from now on: the policy gets more jitter."""
    RESPREAD = "respread"
    """For those stored now: they end at random moments before the wall."""
    WARM_UP = "warm-up"
    """The same, but they are marked stale: readers refresh them ahead, and are served meanwhile. Needs grace."""


@dataclass(frozen=True, slots=True)
class Side:
    """Expirations with or without the remedy.

    Args:
        counts: per step of the trial's grid.
        marked: steps that belong to a wall.
        peak: the most in one step.
        peak_per_s: database reads per second at the worst; None: not known.
        is_over: that is above the budget.
    """

    counts: Sequence[float]
    marked: frozenset[int]
    peak: float
    peak_per_s: float | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class Trial:
    """Both sides.

    Args:
        stem: the one whose keys are treated.
        jitter_s: of JITTER, seconds.
        begins, ends: epoch seconds between which the treated keys end afterwards.
        most_per_step: of them in one step then.
        line: keys per step from which on one may be a wall.
    """

    remedy: Remedy
    wall: Wall
    stem: Stem
    jitter_s: int
    grid: Grid
    before: Side
    after: Side
    begins: float
    ends: float
    most_per_step: float
    line: float


def offered(stem: Stem, wall: Wall, now: float) -> list[Remedy]:
    """What makes sense for a stem's part in a wall, best first."""
    found = []
    can_spread = wall.end - now > remedies.SOONEST_S
    if stem.rule is not None and stem.rule.base_s > 0:
        found.append(Remedy.JITTER)
    if can_spread:
        found.append(Remedy.RESPREAD)
        if stem.rule is not None and stem.rule.grace_s > 0:
            found.append(Remedy.WARM_UP)
    return found


def attempt(basis: Basis, wall: Wall, stem: Stem, remedy: Remedy, *, jitter_s: int, now: float) -> Trial:
    """Reckon a remedy.

    Args:
        stem: one of those the wall is blamed on.
        jitter_s: of JITTER.
        now: epoch seconds.
    """
    stems = list(basis.stems)
    lies_back_s = 0.0
    if remedy is Remedy.JITTER:
        rule = stem.rule or Rule(0.0)
        treated = remedies.add_jitter(stems, stem.expiries.policy, jitter_s)
        begins = wall.start + rule.base_s + rule.grace_s
        ends, lies_back_s = wall.end + rule.base_s + rule.grace_s + jitter_s, begins - now
    else:
        treated = remedies.respread(stems, wall, stem.name, now)
        begins, ends = now, float(wall.end)
    on = _grid(now, max(ends, wall.end))
    before, after = course(stems, basis.taken_at, on), course(treated, basis.taken_at, on)
    line = walls.line(before.total)
    own = after.by_stem.get(stem.name, [0.0] * on.steps)
    # Under JITTER the wall itself stands; what is told is the next one.
    first = int((begins - on.start) // on.step_s) if lies_back_s > 0 else 0
    return Trial(
        remedy=remedy,
        wall=wall,
        stem=stem,
        jitter_s=jitter_s,
        grid=on,
        before=_side(before.total, walls_of(basis, stems, on), basis, on),
        after=_side(after.total, walls_of(basis, treated, on), basis, on),
        begins=begins,
        ends=ends,
        most_per_step=max(own[max(0, first) :], default=0.0),
        line=line,
    )


def walls_of(basis: Basis, stems: Sequence[Stem], on: Grid) -> list[Wall]:
    """The walls of these stems under this basis."""
    return walls.find(
        stems,
        course(stems, basis.taken_at, on),
        factor=basis.factor,
        loads_per_s=basis.loads_per_s or 0.0,
        budget_per_s=basis.budget_per_s,
    )


def _side(counts: Sequence[float], found: Sequence[Wall], basis: Basis, on: Grid) -> Side:
    marked = {
        step
        for wall in found
        for step in range((wall.start - on.start) // on.step_s, (wall.end - on.start) // on.step_s)
    }
    peak_per_s = None
    if basis.loads_per_s is not None:
        peak_per_s = max([basis.loads_per_s, *(wall.peak_per_s for wall in found)])
    is_over = any(wall.is_risk for wall in found)
    return Side(counts, frozenset(marked), max(counts, default=0.0), peak_per_s, is_over)


def _grid(now: float, until: float) -> Grid:
    span = (until - now) * _ROOM
    step = next((each for each in _STEPS_S if span / each <= MOST_BARS), _STEPS_S[-1])
    return Grid(int(now // step) * step, step, max(6, int(span // step) + 1))
