"""How many keys will expire when: the scan's TTLs carried forward, and what is written again under the policies. Pure.

A key that was found with a TTL ends when that is over, unless somebody refreshes it before. It is read again after a
while, exponentially distributed with the mean time between two reads of a key of its stem; that read loads it, and
it gets the policy's TTL: base + random(0, jitter) + grace. So expirations at ``t`` are those of the scan plus those of
keys refilled between ``t - longest`` and ``t - base - grace``. New keys that the scan has not seen, and those evicted
or removed before their time, are not in it.

Stems whose keys live ``HOT_S`` seconds at most expire all the time. They would only hide the others, and are told as a
rate: each of N keys ends once per mean TTL plus mean wait for the next read.
"""

import math
from collections.abc import Iterable
from typing import Final

from dashboard.forecast.types import Course, Grid, Horizon, Rule, Stem
from dashboard.keyspace.types import EXPIRY_STEP_S

HOT_S: Final = 120
_HOUR_S: Final = 3_600
_WIDEST_S: Final = 60
"""Refills are followed in steps of so many seconds at most."""


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
            continue
        counts = of_stem(stem, taken_at, on)
        held = found.get(stem.name)
        found[stem.name] = counts if held is None else [a + b for a, b in zip(held, counts, strict=True)]
    return Course(on, found, steady)


def is_hot(rule: Rule | None) -> bool:
    """Whether keys under it expire all the time."""
    return rule is not None and 0 < rule.longest_s <= HOT_S


def of_stem(stem: Stem, taken_at: float, on: Grid) -> list[float]:
    """Expirations per step of one stem that is not hot."""
    step = min(on.step_s, _WIDEST_S)
    start = min(int(taken_at // step) * step, on.start)
    counts = first_generation(stem, Grid(start, step, -(-(on.end - start) // step)))
    if stem.rule is not None and stem.rule.base_s > 0 and stem.reads_per_key_s > 0:
        _refill(counts, stem.rule, stem.reads_per_key_s, step)
    skipped, per_step = (on.start - start) // step, on.step_s // step
    wanted = counts[skipped:]
    return [sum(wanted[at * per_step : (at + 1) * per_step]) for at in range(on.steps)]


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


def _refill(counts: list[float], rule: Rule, reads_per_key_s: float, step: int) -> None:
    """Add, in place, what expires of the keys that are written again."""
    read_again = _share_read(reads_per_key_s, step)
    lag = max(1, round((rule.base_s + rule.grace_s) / step))
    width = max(1, round(rule.jitter_s / step))
    steps = len(counts)
    # Refills of step i end evenly in [i + lag, i + lag + width): the edges are noted, and summed up on the way.
    edges = [0.0] * (steps + 1)
    missing = falling = 0.0
    for at in range(steps):
        falling += edges[at]
        # Sums of differences never come out as exactly nothing.
        counts[at] += max(0.0, falling)
        missing += counts[at]
        refilled = missing * read_again
        missing -= refilled
        if at + lag < steps:
            edges[at + lag] += refilled / width
            edges[min(steps, at + lag + width)] -= refilled / width


def _share_read(reads_per_key_s: float, step: int) -> float:
    """Share of the keys missing in the midst of a step that are read before the next one's."""
    return -math.expm1(-reads_per_key_s * step)


def _steady_per_s(stem: Stem) -> float:
    if stem.rule is None or stem.reads_per_key_s <= 0:
        return 0.0
    life_s = stem.rule.base_s + stem.rule.grace_s + stem.rule.jitter_s / 2
    keys = stem.expiries.keys - stem.expiries.never
    return keys / (life_s + 1 / stem.reads_per_key_s)
