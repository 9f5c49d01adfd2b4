"""What a remedy would do to a wall: the stems as they would be after it. Pure; nothing is changed anywhere."""

import dataclasses
from collections.abc import Sequence
from typing import Final

from dashboard.forecast.types import Stem, Wall
from dashboard.keyspace.types import EXPIRY_STEP_S

SOONEST_S: Final = 30
"""A re-spread needs a moment to be looked at, approved and carried out."""


def add_jitter(stems: Sequence[Stem], policy: str, jitter_s: float) -> list[Stem]:
    """The policy gets another jitter: keys written from now on spread, those stored now end as before."""
    return [
        dataclasses.replace(stem, rule=dataclasses.replace(stem.rule, jitter_s=jitter_s))
        if stem.rule is not None and stem.expiries.policy == policy
        else stem
        for stem in stems
    ]


def respread(stems: Sequence[Stem], wall: Wall, stem_name: str, now: float) -> list[Stem]:
    """The stem's keys that end in the wall end at random between now and its end instead: never later than before.

    Args:
        now: epoch seconds. A wall nearer than SOONEST_S can't be spread any more; its keys stay as they are.
    """
    if wall.end - now <= SOONEST_S:
        return list(stems)
    return [_spread(stem, wall, now) if stem.name == stem_name else stem for stem in stems]


def window_s(wall: Wall, now: float) -> int:
    """How long the window of such a purge is, seconds."""
    return max(0, int(wall.end - now))


def ends_between(wall: Wall) -> tuple[int, int]:
    """Between which moments the wall's keys end, epoch seconds; a second more on either side, for clocks differ."""
    return wall.start - 1, wall.end + 1


def _spread(stem: Stem, wall: Wall, now: float) -> Stem:
    first, last = wall.start // EXPIRY_STEP_S, (wall.end - 1) // EXPIRY_STEP_S
    fine = dict(stem.expiries.fine)
    keys = sum(fine.pop(bucket, 0.0) for bucket in range(first, last + 1))
    begin = int(now // EXPIRY_STEP_S) + 1
    for bucket in range(begin, last + 1):
        fine[bucket] = fine.get(bucket, 0.0) + keys / (last + 1 - begin)
    return dataclasses.replace(stem, expiries=dataclasses.replace(stem.expiries, fine=fine))
