"""How many keys will expire when: the scan's TTLs carried forward, and what is written again under the policies. Pure.

A key that was found with a TTL ends when that is over, unless somebody refreshes it before. It is read again after a
while, exponentially distributed with the mean time between two reads of a key of its stem; that read loads it, and
it gets the policy's TTL: base + random(0, jitter) + grace. So expirations at ``t`` are those of the scan plus those of
keys refilled between ``t - longest`` and ``t - base - grace``. New keys that the scan has not seen, and those evicted
or removed before their time, are not in it.

Refills are followed from a while before the first step on. What had ended by then goes round evenly, as keys of a stem
do after some lives.

Stems whose policy gives ``HOT_S`` seconds at most expire all the time. They would only hide the others, and are told as
a rate: each of N keys ends once per mean TTL plus mean wait for the next read. Keys of theirs that end later than
their policy allows are drawn all the same.
"""

import dataclasses
import math
from collections.abc import Iterable
from typing import Final

from dashboard.forecast.types import Course, Grid, Horizon, Rule, Stem
from dashboard.keyspace.types import EXPIRY_STEP_S

HOT_S: Final = 120
MOST_LEAD_STEPS: Final = 720
"""Refills are followed for so many steps before the first one, at most."""
_HOUR_S: Final = 3_600
_STEPS_S: Final = (10, 60, 300, 900, 3_600)
_STEPS_PER_LIFE: Final = 4


def grid(horizon: Horizon, now: float) -> Grid:
    """The steps of a horizon; the first is the one that ``now`` (epoch seconds) is in."""
    step = horizon.step_s
    return Grid(int(now // step) * step, step, horizon.steps)


def course(stems: Iterable[Stem], taken_at: float, on: Grid) -> Course:
    """Expirations per step and stem.

    Args:
        stems: as found by a scan that ended at ``taken_at`` (epoch seconds).
        on: the steps asked for; may begin before the scan ended: what had expired by then is not known and 0.
    """
    found: dict[str, list[float]] = {}
    steady: dict[str, float] = {}
    for stem in stems:
        if is_hot(stem.rule):
            steady[stem.name] = steady.get(stem.name, 0.0) + _steady_per_s(stem)
            counts = _overdue(stem, taken_at, on)
            if not any(counts):
                continue
        else:
            counts = of_stem(stem, taken_at, on)
        held = found.get(stem.name)
        found[stem.name] = counts if held is None else [a + b for a, b in zip(held, counts, strict=True)]
    return Course(on, found, steady)


def is_hot(rule: Rule | None) -> bool:
    """Whether keys under it expire all the time."""
    return rule is not None and 0 < rule.longest_s <= HOT_S


def of_stem(stem: Stem, taken_at: float, on: Grid) -> list[float]:
    """Expirations per step of one stem that is not hot."""
    rule, rate = stem.rule, stem.reads_per_key_s
    if rule is None or rule.base_s <= 0 or rate <= 0:
        start = min(int(taken_at // on.step_s) * on.step_s, on.start)
        lead = (on.start - start) // on.step_s
        return first_generation(stem, Grid(start, on.step_s, on.steps + lead))[lead:]
    step = _step_s(rule, on)
    lead = max(0, min(MOST_LEAD_STEPS, (on.start - int(taken_at)) // step + 1))
    start = on.start - lead * step
    counts = first_generation(stem, Grid(start, step, lead + on.steps * on.step_s // step))
    earlier = _ended_before(stem, start)
    _refill(counts, rule, rate, step, earlier)
    wanted, per_step = counts[lead:], on.step_s // step
    return [sum(wanted[at * per_step : (at + 1) * per_step]) for at in range(on.steps)]


def _step_s(rule: Rule, on: Grid) -> int:
    """How finely refills are followed: some steps for each life, and a whole number of them in one of the grid's."""
    finest = rule.longest_s / _STEPS_PER_LIFE
    fitting = [step for step in _STEPS_S if step <= finest and on.step_s % step == 0 and on.start % step == 0]
    return fitting[-1] if fitting else min(on.step_s, _STEPS_S[0])


def _ended_before(stem: Stem, start: int) -> float:
    """How many of the keys that the scan found had ended by then."""
    fine, hours = stem.expiries.fine, stem.expiries.hours
    return sum(keys for bucket, keys in fine.items() if bucket * EXPIRY_STEP_S < start) + sum(
        keys for bucket, keys in hours.items() if bucket * _HOUR_S < start
    )


def _overdue(stem: Stem, taken_at: float, on: Grid) -> list[float]:
    """Of a hot stem, the keys that end later than its policy gives them."""
    assert stem.rule is not None
    latest = taken_at + stem.rule.longest_s + EXPIRY_STEP_S
    fine = {bucket: keys for bucket, keys in stem.expiries.fine.items() if bucket * EXPIRY_STEP_S > latest}
    late = dataclasses.replace(stem, expiries=dataclasses.replace(stem.expiries, fine=fine))
    return first_generation(late, on)


def first_generation(stem: Stem, on: Grid) -> list[float]:
    """Expirations per step of the keys that the scan found."""
    counts = [0.0] * on.steps
    for bucket, keys in stem.expiries.fine.items():
        _add(counts, on, bucket * EXPIRY_STEP_S, EXPIRY_STEP_S, keys)
    for bucket, keys in stem.expiries.hours.items():
        _add(counts, on, bucket * _HOUR_S, _HOUR_S, keys)
    return counts


def _add(counts: list[float], on: Grid, begin: int, width: int, keys: float) -> None:
    """Spread keys that end somewhere in [begin, begin + width) evenly over its steps."""
    first, last = (begin - on.start) // on.step_s, (begin + width - 1 - on.start) // on.step_s
    share = keys / (last - first + 1)
    for step in range(max(0, first), min(on.steps - 1, last) + 1):
        counts[step] += share


def _refill(counts: list[float], rule: Rule, reads_per_key_s: float, step: int, earlier: float) -> None:
    """Add, in place, what expires of the keys that are written again.

    Args:
        earlier: keys that had ended before the first step: each is somewhere on its round.
    """
    read_again = _share_read(reads_per_key_s, step)
    lag = max(1.0, (rule.base_s + rule.grace_s) / step)
    width = rule.jitter_s / step
    if width < 1:
        lag, width = lag + width / 2, 1.0
    else:
        # Counted from the middle of the step in which they are refilled.
        lag += 0.5
    steps = len(counts)
    wait_s, life_s = 1 / reads_per_key_s, rule.base_s + rule.grace_s + rule.jitter_s / 2
    missing = earlier * wait_s / (wait_s + life_s)
    alive_steps = life_s / step
    # Refills of step i end evenly in [i + lag, i + lag + width): the edges are noted, and summed up on the way.
    edges = [0.0] * (steps + 2)
    _edge(edges, 0.0, (earlier - missing) / alive_steps)
    _edge(edges, alive_steps, -(earlier - missing) / alive_steps)
    falling = 0.0
    for at in range(steps):
        falling += edges[at]
        # Sums of differences never come out as exactly nothing.
        counts[at] += max(0.0, falling)
        missing += counts[at]
        refilled = missing * read_again
        missing -= refilled
        _edge(edges, at + lag, refilled / width)
        _edge(edges, at + lag + width, -refilled / width)


def _edge(edges: list[float], place: float, height: float) -> None:
    """Note a rise at a place between two steps: it begins in the first by the share that is left of it."""
    first = int(place)
    if first + 1 < len(edges):
        part = place - first
        edges[first] += height * (1 - part)
        edges[first + 1] += height * part


def _share_read(reads_per_key_s: float, step: int) -> float:
    """Share of the keys missing in the midst of a step that are read before the next one's."""
    return -math.expm1(-reads_per_key_s * step)


def _steady_per_s(stem: Stem) -> float:
    if stem.rule is None or stem.reads_per_key_s <= 0:
        return 0.0
    life_s = stem.rule.base_s + stem.rule.grace_s + stem.rule.jitter_s / 2
    keys = stem.expiries.keys - stem.expiries.never
    return keys / (life_s + 1 / stem.reads_per_key_s)
