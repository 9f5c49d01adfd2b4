"""The arithmetic of stacked bars over clock time, drawn by the server. Pure.

Ordinary bars are one path per series in a view box that is stretched over the plot, so that a thousand of them stay
small; marked ones are rectangles in per cent, so that their hatching is not stretched.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from dashboard.web.bars import Bar, nice, percent_of

LEFT, RIGHT, TOP, BOTTOM = 6.0, 99.5, 9.0, 90.0
"""The plot; left of it stand the values, below it the times."""
BOX: Final = 1000
_GAP: Final = 0.18
"""Share of a step between two bars, where there are few enough to see it."""
_MANY: Final = 200
_LEVELS: Final = 4
_MOST_TICKS: Final = 7
_TICKS_S: Final = (10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 14_400, 21_600, 43_200, 86_400)
_NARROWEST: Final = 0.35
"""Per cent of the width that a marked bar has at least."""


@dataclass(frozen=True, slots=True)
class StackPlot:
    """Stacked bars on one scale.

    Attributes:
        x, y, width, height: of the plot.
        paths: one for each series, in the view box; empty for a series without bars.
        marked: the bars that stand out, over all series.
        tops: (x, y, ``text-anchor``) above each of ``marked``, for its label.
        levels: (place, value) of each grid line.
        times: (place, epoch seconds, ``text-anchor``) below the plot.
        limit: place of the limit's line; None where it is not on the scale.
        high: the value at the top.
    """

    x: str
    y: str
    width: str
    height: str
    paths: tuple[str, ...]
    marked: tuple[Bar, ...]
    tops: tuple[tuple[str, str, str], ...]
    levels: tuple[tuple[str, float], ...]
    times: tuple[tuple[str, float, str], ...]
    limit: str | None
    high: float


def stack_plot(
    start: float,
    step: float,
    series: Sequence[Sequence[float]],
    *,
    marked: Collection[int] = (),
    limit: float | None = None,
    high: float | None = None,
) -> StackPlot:
    """Lay stacked bars out.

    Args:
        start: epoch seconds where the first bar begins.
        step: seconds of a bar.
        series: from the ground up; each has a value for every bar.
        marked: bars that stand out, by their place.
        limit: a level to mark; it is on the scale unless it is above it.
        high: the scale, as another plot has it; None: as the values need it.
    """
    count = len(series[0]) if series else 0
    sums = [sum(each[at] for each in series) for at in range(count)]
    tick = nice(max([*sums, 1.0]) / _LEVELS)
    if high is None:
        high = tick * math.ceil(max([*sums, 1.0]) / tick - 1e-9)
    else:
        tick = nice(high / _LEVELS)
    top = high

    def y_of(value: float) -> float:
        return BOTTOM - min(value, top) / top * (BOTTOM - TOP)

    def x_of(at: float) -> float:
        return LEFT + at / max(1, count) * (RIGHT - LEFT)

    gap = _GAP if count <= _MANY else 0.0
    ground = [0.0] * count
    paths = []
    for each in series:
        drawn: list[str] = []
        for at, value in enumerate(each):
            if value > 0 and at not in marked:
                low, up = ground[at] / top * BOX, min(top, ground[at] + value) / top * BOX
                left, width = (at + gap / 2) / count * BOX, (1 - gap) / count * BOX
                drawn.append(f"M{left:.2f} {BOX - low:.1f}V{BOX - up:.1f}h{width:.2f}V{BOX - low:.1f}z")
            ground[at] += value
        paths.append("".join(drawn))
    bars, tops = [], []
    for at in sorted(marked):
        width = max(_NARROWEST, (x_of(1) - x_of(0)) * (1 - gap))
        left, y = x_of(at + 0.5) - width / 2, y_of(sums[at])
        bars.append(Bar(percent_of(left), percent_of(y), percent_of(width), percent_of(BOTTOM - y)))
        middle = x_of(at + 0.5)
        anchor = "start" if middle < 20 else "end" if middle > 80 else "middle"
        tops.append((percent_of(middle), percent_of(y - 1.5), anchor))
    return StackPlot(
        x=percent_of(LEFT),
        y=percent_of(TOP),
        width=percent_of(RIGHT - LEFT),
        height=percent_of(BOTTOM - TOP),
        paths=tuple(paths),
        marked=tuple(bars),
        tops=tuple(tops),
        levels=tuple((percent_of(y_of(tick * n)), tick * n) for n in range(round(high / tick) + 1)),
        times=_times(start, step * count),
        limit=percent_of(y_of(limit)) if limit is not None and 0 < limit <= high else None,
        high=high,
    )


def _times(start: float, span: float) -> tuple[tuple[str, float, str], ...]:
    if span <= 0:
        return ()
    every = next((tick for tick in _TICKS_S if span / tick <= _MOST_TICKS), _TICKS_S[-1])
    first = math.ceil(start / every) * every
    found = []
    for number in range(int((start + span - first) // every) + 1):
        moment = first + every * number
        share = (moment - start) / span
        anchor = "start" if share < 0.02 else "end" if share > 0.98 else "middle"
        found.append((percent_of(LEFT + share * (RIGHT - LEFT)), float(moment), anchor))
    return tuple(found)
