"""Points over time: fewer of them, and many lines on one grid. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from dashboard.demo.lab.types import POINTS_MOST, SIDES_MOST, Result

Points = Sequence[tuple[float, float]]
_LINES_MOST: Final = 8


def clipped(result: Result) -> Result:
    """A result of bounded size: so many sides, lines of each and points of each line."""
    sides = tuple(
        replace(side, series=_thinned(side.series, result.chart[0])) for side in result.sides[:SIDES_MOST]
    )
    return replace(result, sides=sides)


def _thinned(series: Mapping[str, Points], first: str) -> dict[str, Points]:
    # What is charted on the card stays, whatever else there is.
    names = sorted(series, key=lambda name: name != first)[:_LINES_MOST]
    return {name: thin(series[name]) for name in names}


def thin(points: Points, most: int = POINTS_MOST) -> list[tuple[float, float]]:
    """At most ``most`` points (two or more), in the order of time: of each stretch the lowest and the highest stay."""
    ordered = sorted((float(at), float(value)) for at, value in points)
    if len(ordered) <= most:
        return ordered
    stretches = most // 2
    kept: list[tuple[float, float]] = []
    for number in range(stretches):
        part = ordered[number * len(ordered) // stretches : (number + 1) * len(ordered) // stretches]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        kept.extend(sorted(ends))
    return kept


def grid(lines: Sequence[Points], most: int) -> list[float]:
    """Moments that all of these lines can be drawn at, from 0 to their end; two at least, ``most`` at most."""
    ends_at = max((at for line in lines for at, _ in line), default=0.0) or 1.0
    longest = max((len(line) for line in lines), default=0)
    steps = max(1, min(most - 1, longest * 2))
    return [ends_at * number / steps for number in range(steps + 1)]


def on_grid(points: Points, times: Sequence[float]) -> list[float | None]:
    """A line's values at the moments of a grid.

    Where points lie near a moment the one that sticks out most is taken, so that no peak is lost; between points the
    line is straight; before its first and after its last there is none.
    """
    ordered = sorted(points)
    if not ordered:
        return [None] * len(times)
    half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.0
    values: list[float | None] = []
    here = 0
    for moment in times:
        while here < len(ordered) and ordered[here][0] < moment - half:
            here += 1
        last = here
        while last < len(ordered) and ordered[last][0] < moment + half:
            last += 1
        near = [value for _, value in ordered[here:last]]
        if near:
            before = values[-1] if values and values[-1] is not None else near[0]
            values.append(max(near, key=lambda value: abs(value - before)))
        elif 0 < here < len(ordered):
            (from_at, low), (to_at, high) = ordered[here - 1], ordered[here]
            values.append(low + (high - low) * (moment - from_at) / (to_at - from_at))
        else:
            values.append(None)
    return values
