"""Where far more keys expire than around it, who they are, and what that does to the database. Pure.

The statistic: a step is part of a wall when it holds at least TIMES times what is usual around it, which is the higher
one of the medians of the NEIGHBOURS steps before it and behind it, and more than that by

- what chance does to a count: SIGMAS standard deviations, which are sqrt(n * factor) for n keys found by a sample whose
  keys stand for ``factor`` each, and SIGMAS ** 2 / 2 keys of the sample, because small counts have a longer tail,
- LEAST_KEYS keys, and LEAST_SHARE of all keys with a TTL.

Steps in a row are one wall. It is blamed on the stems that hold more than usual there, as long as they have BLAMED of
the fullest one's part. The database's peak: keys that end together are read again, each at its stem's rate, so that n
keys ending evenly over w seconds cause n / w * (1 - exp(-rate * w)) reads per second at the end of them.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Mapping, Sequence
from typing import Final

from dashboard.forecast.course import first_generation
from dashboard.forecast.types import Blame, Cause, Course, Grid, Stem, Wall
from dashboard.keyspace.types import EXPIRY_STEP_S

TIMES: Final = 3.0
NEIGHBOURS: Final = 30
SIGMAS: Final = 5.0
LEAST_KEYS: Final = 100
LEAST_SHARE: Final = 0.005
BLAMED: Final = 0.2
NEARLY_ALL: Final = 0.8
_HOUR_S: Final = 3_600
_TAIL_S: Final = 600
"""So long after its end a wall's reloads are followed."""


def find(
    stems: Sequence[Stem],
    course: Course,
    *,
    factor: float,
    loads_per_s: float,
    budget_per_s: float | None,
) -> list[Wall]:
    """The walls of a course, earliest first.

    Args:
        stems: those the course was made of.
        factor: keys that one key of the sample stands for; 1: all were looked at.
        loads_per_s: database reads at present.
        budget_per_s: those that are allowed; None: there is no limit.
    """
    total = course.total
    usual = medians(total)
    with_ttl = sum(stem.expiries.keys - stem.expiries.never for stem in stems)
    least = max(LEAST_KEYS, LEAST_SHARE * with_ttl)
    high = [
        count - around >= max(least, (TIMES - 1) * around, _chance(around, factor))
        for count, around in zip(total, usual, strict=True)
    ]
    named = {stem.name: stem for stem in stems}
    walls = []
    for first, last in _runs(high):
        blame, excess = _blame(named, course, first, last)
        fullest = max(range(first, last + 1), key=total.__getitem__)
        begin = course.grid.start + first * course.grid.step_s
        end = course.grid.start + (last + 1) * course.grid.step_s
        peak, over_s = _peak(
            [(named[name], more) for name, more in excess.items()], begin, end, loads_per_s, budget_per_s
        )
        walls.append(
            Wall(
                start=begin,
                end=end,
                keys=sum(total[first : last + 1]),
                excess=sum(excess.values()),
                times=total[fullest] / usual[fullest] if usual[fullest] > 0 else None,
                peak_per_s=peak,
                over_s=over_s,
                blame=blame,
            )
        )
    return walls


def _chance(around: float, factor: float) -> float:
    return SIGMAS * math.sqrt(around * factor) + SIGMAS**2 / 2 * factor


def line(total: Sequence[float]) -> float:
    """From how many keys in a step on it may be a wall: TIMES the median of all steps, for the chart."""
    return TIMES * _median(sorted(total))


def medians(values: Sequence[float]) -> list[float]:
    """What is usual around each value: the higher one of the medians before and behind it.

    The higher one, because where something begins or ends evenly one of them is nothing.
    """
    before = _medians_before(values)
    behind = _medians_before(values[::-1])[::-1]
    return [max(pair) for pair in zip(before, behind, strict=True)]


def _medians_before(values: Sequence[float]) -> list[float]:
    result, window = [], list[float]()
    for at, value in enumerate(values):
        result.append(_median(window))
        insort(window, value)
        if at >= NEIGHBOURS:
            del window[bisect_left(window, values[at - NEIGHBOURS])]
    return result


def _median(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 2] if ordered else 0.0


def _runs(high: Sequence[bool]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for at, is_high in enumerate(high):
        if is_high and runs and runs[-1][1] == at - 1:
            runs[-1] = (runs[-1][0], at)
        elif is_high:
            runs.append((at, at))
    return runs


def _blame(
    named: Mapping[str, Stem], course: Course, first: int, last: int
) -> tuple[tuple[Blame, ...], dict[str, float]]:
    """Who holds more than usual in these steps, and by how much."""
    low, high = max(0, first - NEIGHBOURS), last + 1 + NEIGHBOURS
    keys: dict[str, float] = {}
    excess: dict[str, float] = {}
    for name, counts in course.by_stem.items():
        usual = max(_median(sorted(counts[low:first])), _median(sorted(counts[last + 1 : high])))
        keys[name] = sum(counts[first : last + 1])
        more = keys[name] - usual * (last + 1 - first)
        if more > 0:
            excess[name] = more
    if not excess and keys:
        # Medians don't add up: together they may stand out where none of them does.
        name = max(keys, key=keys.__getitem__)
        excess[name] = keys[name]
    most = max(excess.values(), default=0.0)
    guilty = sorted(
        (name for name, more in excess.items() if more >= BLAMED * most), key=lambda n: -excess[n]
    )
    at = course.grid.start + first * course.grid.step_s
    blame = tuple(
        Blame(
            stem=name,
            policy=named[name].expiries.policy,
            keys=keys[name],
            share=_share(keys[name], named[name]),
            cause=cause(named[name], at, course.grid.step_s, _share(keys[name], named[name])),
        )
        for name in guilty
    )
    return blame, {name: excess[name] for name in guilty}


def _share(keys: float, stem: Stem) -> float:
    with_ttl = stem.expiries.keys - stem.expiries.never
    return min(1.0, keys / with_ttl) if with_ttl > 0 else 0.0


def cause(stem: Stem, at: int, step_s: int, share: float) -> Cause:
    """Why keys of a stem end together at ``at``, as far as their times tell.

    Args:
        at: where the wall begins, epoch seconds.
        step_s: how exactly that is known.
        share: of the stem's keys that end there.
    """
    rule = stem.rule
    into_hour = at % _HOUR_S
    # The step before the hour, too: who sets EXPIREAT by a clock that is a little ahead ends up there.
    on_the_hour = into_hour < max(step_s, EXPIRY_STEP_S) or into_hour >= _HOUR_S - EXPIRY_STEP_S
    if on_the_hour and step_s < _HOUR_S:
        return Cause.ROUND_TIME
    if rule is not None and rule.base_s > 0 and rule.jitter_s == 0:
        return Cause.NO_JITTER
    return Cause.WARM_UP if share >= NEARLY_ALL else Cause.BURST


def _peak(
    parts: Sequence[tuple[Stem, float]], begin: int, end: int, loads_per_s: float, budget_per_s: float | None
) -> tuple[float, float]:
    """(database reads per second at the worst, seconds above the budget)."""
    width = EXPIRY_STEP_S
    steps = Grid(begin // width * width, width, max(1, -(-(end - begin) // width)))
    loads = [0.0] * (steps.steps + _TAIL_S // width)
    for stem, excess in parts:
        ends = first_generation(stem, steps)
        found = sum(ends)
        # Later generations are known by the course's steps only.
        ends = [each * excess / found for each in ends] if found else [excess / steps.steps] * steps.steps
        rate, missing = stem.reads_per_key_s, 0.0
        for at in range(len(loads)):
            gone = ends[at] if at < len(ends) else 0.0
            # Reads per second at the end of the step: of those missing before, and of those that went within it.
            decay = math.exp(-rate * width)
            per_s = missing * rate * decay + gone / width * (1 - decay)
            loads[at] += max(per_s, missing * rate)
            missing = missing * decay + (gone / width * (1 - decay) / rate if rate > 0 else gone)
    peak = loads_per_s + max(loads)
    if budget_per_s is None:
        return peak, 0.0
    return peak, float(width * sum(loads_per_s + each > budget_per_s for each in loads))
