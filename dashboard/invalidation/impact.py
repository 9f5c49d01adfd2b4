"""What a purge costs the database: how many reads it causes, when, and how low the hit ratio falls. Pure.

A purged key costs one database read, at its next read. The model: the keys of a prefix are read evenly, so each of its
``N`` keys is read ``r / N`` times a second when the prefix is read ``r`` times. Keys purged at a steady pace over ``T``
seconds are then reloaded, per second::

    m / T * (1 - exp(-t r / N))                               while it runs
    m / T * (1 - exp(-T r / N)) * exp(-(t - T) r / N)         afterwards

and ``m r / N * exp(-t r / N)`` when all go at once. Where few keys get most of the reads, those come back sooner: the
first seconds are worse than drawn, the rest is better. Keys that would have expired meanwhile are not taken off.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

POINTS: Final = 120
"""Of a drawn course."""
OVER_CHOICES_S: Final = (1, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400)
"""Lengths that a spread is suggested from."""
_BEARABLE: Final = 0.95
"""Of the budget: a suggestion leaves a little room, for the model is one."""
_GENTLE_KEYS_PER_S: Final = 1_000.0
"""No suggestion is faster, whatever the model says: it knows only of reads that were counted."""
_SHORTEST_S: Final = 30.0
_LONGEST_TAIL: Final = 4.0


@dataclass(frozen=True, slots=True)
class Stream:
    """The purged keys of one policy prefix.

    Args:
        keys: of them are purged.
        reads_per_key_s: how often each of the prefix's keys is read in a second.
        begins_s, window_s: they end at random moments of a window that begins so long after the purge came to them;
            0 and 0: at once.
        missed_share: how many of them are missing until they are reloaded; the others are served stale meanwhile.
    """

    keys: float
    reads_per_key_s: float
    begins_s: float = 0.0
    window_s: float = 0.0
    missed_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """What there is without the purge, in the last minutes.

    Args:
        loads_per_s: database reads, as applications count them.
        reads_per_s: of the cache.
        hit_ratio: 0..1; None without reads.
    """

    loads_per_s: float
    reads_per_s: float
    hit_ratio: float | None


@dataclass(frozen=True, slots=True)
class Course:
    """How the database fares.

    Args:
        points: all database reads per second, at ``Impact.times_s``.
        peak_per_s: the most of them.
        extra_per_s: the most that the purge adds.
        is_over: the peak is above the budget.
        lowest_hit_ratio: 0..1; None: not known.
    """

    points: tuple[float, ...]
    peak_per_s: float
    extra_per_s: float
    is_over: bool
    lowest_hit_ratio: float | None


@dataclass(frozen=True, slots=True)
class Impact:
    """Both ways compared.

    Args:
        times_s: since the purge begins, rising.
        over_s: the spread that ``spread`` is of.
        once: all as fast as the limits allow; ``spread``: over ``over_s``.
        suggested_s: the shortest of OVER_CHOICES_S that is gentle and keeps within the budget; None: none does.
        budget_per_s: None: there is none.
    """

    load: Load
    budget_per_s: float | None
    times_s: tuple[float, ...]
    over_s: float
    once: Course
    spread: Course
    suggested_s: int | None


def impact(
    streams: Sequence[Stream],
    load: Load,
    *,
    budget_per_s: float | None,
    keys_per_s: float,
    over_s: float | None = None,
) -> Impact:
    """Compare a purge at once with one over some seconds.

    Args:
        budget_per_s: database reads per second that are allowed in all.
        keys_per_s: the hard limit of a purge.
        over_s: the spread asked for; None: the suggested one, or the longest choice where none is good enough.
    """
    keys = sum(stream.keys for stream in streams)
    once_s = keys / keys_per_s
    suggested = suggest(streams, load, budget_per_s=budget_per_s, keys_per_s=keys_per_s)
    chosen = over_s if over_s is not None else float(suggested or OVER_CHOICES_S[-1])
    times = _times(streams, once_s, max(chosen, once_s))
    return Impact(
        load=load,
        budget_per_s=budget_per_s,
        times_s=times,
        over_s=chosen,
        once=_course(streams, load, budget_per_s, times, once_s),
        spread=_course(streams, load, budget_per_s, times, max(chosen, once_s)),
        suggested_s=suggested,
    )


def suggest(
    streams: Sequence[Stream], load: Load, *, budget_per_s: float | None, keys_per_s: float
) -> int | None:
    """The shortest spread that is gentle and keeps within the budget; None: not even the longest does."""
    keys = sum(stream.keys for stream in streams)
    for choice in OVER_CHOICES_S:
        if keys > choice * min(_GENTLE_KEYS_PER_S, keys_per_s):
            continue
        if budget_per_s is None:
            return choice
        peak = max(map(_Sum(tuple(streams), choice, missed_only=False), _turns(streams, choice)), default=0.0)
        if load.loads_per_s + peak <= budget_per_s * _BEARABLE:
            return choice
    # A hundred million keys take longer than a day at a gentle pace: without a budget that is no reason for none.
    return OVER_CHOICES_S[-1] if budget_per_s is None else None


def _course(
    streams: Sequence[Stream], load: Load, budget: float | None, times: Sequence[float], over_s: float
) -> Course:
    extra_at = _Sum(tuple(streams), over_s, missed_only=False)
    turns = _turns(streams, over_s)
    drawn = [extra_at(moment) for moment in times]
    extra = max([*drawn, *map(extra_at, turns)])
    lowest = None
    if load.hit_ratio is not None and load.reads_per_s > 0:
        missed_at = _Sum(tuple(streams), over_s, missed_only=True)
        missed = max(map(missed_at, [*times, *turns]))
        lowest = max(0.0, load.hit_ratio - missed / load.reads_per_s)
    peak = load.loads_per_s + extra
    return Course(
        points=tuple(load.loads_per_s + each for each in drawn),
        peak_per_s=peak,
        extra_per_s=extra,
        is_over=budget is not None and peak > budget,
        lowest_hit_ratio=lowest,
    )


@dataclass(frozen=True, slots=True)
class _Sum:
    """Reloads per second of all streams at a moment."""

    streams: tuple[Stream, ...]
    over_s: float
    missed_only: bool

    def __call__(self, moment: float) -> float:
        return sum(
            stream.keys
            * (stream.missed_share if self.missed_only else 1.0)
            * _response(moment - stream.begins_s, stream.reads_per_key_s, self.over_s, stream.window_s)
            for stream in self.streams
        )


def _response(at: float, rate: float, first: float, second: float) -> float:
    """Reloads per second of one key that ends at a moment of ``first`` plus a moment of ``second``, both even."""
    short, long = sorted((first, second))
    if at < 0 or rate <= 0:
        return 0.0
    if long <= 0:
        return rate * math.exp(-rate * at)
    if short <= long * 1e-4:  # the difference of two sums would be noise
        return _even(at, rate, long)
    return (_even_sum(at, rate, long) - _even_sum(at - short, rate, long)) / short


def _even(at: float, rate: float, window: float) -> float:
    if at <= window:
        return -math.expm1(-rate * at) / window
    return -math.expm1(-rate * window) / window * math.exp(-rate * (at - window))


def _even_sum(at: float, rate: float, window: float) -> float:
    """Integral of ``_even`` from 0."""
    if at <= 0:
        return 0.0
    within = min(at, window)
    # rate * within + expm1(-rate * within) loses all digits where it is tiny.
    x = rate * within
    total = (x * x / 2 - x**3 / 6 if x < 1e-4 else x + math.expm1(-x)) / rate / window
    if at > window:
        total += _even(window, rate, window) * -math.expm1(-rate * (at - window)) / rate
    return total


def _turns(streams: Iterable[Stream], over_s: float) -> list[float]:
    """The moments among which a sum of streams is highest."""
    found = set()
    for stream in streams:
        begin, ends = stream.begins_s, stream.begins_s + over_s + stream.window_s
        low = begin + max(over_s, stream.window_s)
        # With two windows the top lies between the longer one's end and the end of both.
        found |= {begin, low, *(low + (ends - low) * part / 8 for part in range(1, 9))}
    return sorted(found)


def _times(streams: Sequence[Stream], *overs: float) -> tuple[float, ...]:
    keys = sum(stream.keys for stream in streams)
    rate = sum(stream.keys * stream.reads_per_key_s for stream in streams) / keys if keys else 0.0
    over = max(overs)
    ends = max((stream.begins_s + over + stream.window_s for stream in streams if stream.keys), default=over)
    tail = 3 / rate if rate > 0 else math.inf
    last = max(_SHORTEST_S, ends + min(tail, max(_SHORTEST_S, _LONGEST_TAIL * ends)))
    even = [last * number / POINTS for number in range(POINTS + 1)]
    turns = {moment for each in overs for moment in _turns(streams, each) if moment <= last}
    return tuple(sorted({*even, *turns}))
