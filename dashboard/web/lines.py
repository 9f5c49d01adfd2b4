"""The arithmetic of a few lines over time, drawn by the server. Pure.

Places are in per cent of an SVG's width and height, so that the drawing takes any width and its letters keep their
size; the lines themselves are in a view box of BOX by BOX that is stretched over the plot.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dashboard.web.bars import nice, percent_of

LEFT, RIGHT, TOP, BOTTOM = 9.0, 99.0, 5.0, 86.0
"""The plot; left of it stand the values, below it the times."""
BOX = 1000
_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400)
_MOST_MARKS = 5
_LEVELS = 4


@dataclass(frozen=True, slots=True)
class LinePlot:
    """Lines on one scale.

    Attributes:
        x, y, width, height: of the plot.
        paths: one for each line, in the view box; empty for a line without points.
        levels: (place, value) of each grid line.
        times: (place, seconds, ``text-anchor``) below the plot.
        limit: place of the limit's line; None where it is not on the scale.
    """

    x: str
    y: str
    width: str
    height: str
    paths: tuple[str, ...]
    levels: tuple[tuple[str, float], ...]
    times: tuple[tuple[str, float, str], ...]
    limit: str | None


def line_plot(
    times: Sequence[float],
    lines: Sequence[Sequence[float | None]],
    *,
    limit: float | None = None,
    low: float = 0.0,
    high: float | None = None,
) -> LinePlot:
    """Lay lines out.

    Args:
        times: seconds, rising; the first is where the plot begins.
        lines: values at these times, None where there is none: the line breaks.
        limit: a level to mark. It is on the scale unless it is more than three times the highest value.
        low, high: the scale; high None: as the values need it.
    """
    start, end = (times[0], times[-1]) if times else (0.0, 1.0)
    span = end - start or 1.0
    top = max((value for line in lines for value in line if value is not None), default=0.0)
    has_limit = limit is not None and (top <= 0 or limit <= 3 * top)
    if has_limit and limit is not None:
        top = max(top, limit)
    if high is None:
        top = max(top * 1.04, low + 1.0)
        step = max(1.0, nice((top - low) / _LEVELS))  # levels are written as whole numbers
        high = low + step * math.ceil((top - low) / step - 1e-9)
    else:
        step = (high - low) / 2

    def y_of(value: float) -> float:
        return (high - min(max(value, low), high)) / (high - low)

    def path(line: Sequence[float | None]) -> str:
        drawn: list[str] = []
        is_on = False
        for moment, value in zip(times, line, strict=True):
            if value is not None:
                x, y = (moment - start) / span * BOX, y_of(value) * BOX
                drawn.append(f"{'L' if is_on else 'M'}{x:.1f} {y:.1f}")
            is_on = value is not None
        return "".join(drawn)

    levels = [low + step * number for number in range(math.floor((high - low) / step + 1e-9) + 1)]
    every = next((each for each in _STEPS_S if span / each <= _MOST_MARKS), span)
    marks = [every * number for number in range(math.floor(span / every + 1e-9) + 1)]
    return LinePlot(
        x=percent_of(LEFT),
        y=percent_of(TOP),
        width=percent_of(RIGHT - LEFT),
        height=percent_of(BOTTOM - TOP),
        paths=tuple(map(path, lines)),
        levels=tuple((percent_of(TOP + y_of(level) * (BOTTOM - TOP)), level) for level in levels),
        times=tuple(
            (
                percent_of(LEFT + mark / span * (RIGHT - LEFT)),
                mark,
                "start" if mark == 0 else "end" if mark > span * 0.96 else "middle",
            )
            for mark in marks
        ),
        limit=percent_of(TOP + y_of(limit) * (BOTTOM - TOP)) if has_limit and limit is not None else None,
    )
