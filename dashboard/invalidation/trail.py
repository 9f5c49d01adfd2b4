"""How a purge went, in a few points for its chart. Pure."""

from dataclasses import replace
from datetime import datetime
from typing import Final

from dashboard.invalidation.types import Point, Progress

MOST: Final = 120


def follow(progress: Progress, before: Progress, started_at: datetime, now: datetime) -> Progress:
    """The progress with the trail of the one before it, and one more point when it is time for it.

    They come once a second, and half as often whenever there would be more than MOST of them.

    Args:
        before: what was saved last.
        started_at, now: aware.
    """
    at_s = round(max(0.0, (now - started_at).total_seconds()), 1)
    trail = before.trail
    every = 1.0
    while every * MOST <= at_s:
        every *= 2
    if trail and at_s - trail[-1].at_s < every:
        return replace(progress, trail=trail)
    if len(trail) >= MOST:
        trail = _thinned(trail, every)
    ratio = progress.hit_ratio
    point = Point(
        at_s,
        round(progress.keys_per_s, 1),
        None if progress.loads_per_s is None else round(progress.loads_per_s, 1),
        None if ratio is None else round(ratio, 4),
    )
    return replace(progress, trail=(*trail, point))


def _thinned(trail: tuple[Point, ...], every: float) -> tuple[Point, ...]:
    kept = [trail[0]]
    for point in trail[1:]:
        if point.at_s - kept[-1].at_s >= every:
            kept.append(point)
    # Points of a clock that stepped may be closer still.
    return tuple(kept[-(MOST - 1) :])
