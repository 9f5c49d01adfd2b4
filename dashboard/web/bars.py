"""The arithmetic of two rows of bars over time: places in per cent of an SVG's width and height. Pure.

Per cent instead of a view box: the drawing takes any width, and its letters keep their size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LEFT, RIGHT, TOP, BOTTOM = 11.0, 99.0, 7.0, 88.0
"""The plot; left of it stand the values, below it the times."""
_GAP = 0.14
"""Share of a step between two bars."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar."""

    x: str
    y: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class BarPlot:
    """Two rows of bars on one scale.

    Attributes:
        back, front: the bars that are not empty.
        levels: (place, value) of each grid line.
        times: (place, seconds, ``text-anchor``) below the plot.
        back_top, front_top: (x, y) beside the highest bar and above the end of the front row, for a note;
            None where there is no bar.
    """

    back: tuple[Bar, ...]
    front: tuple[Bar, ...]
    levels: tuple[tuple[str, float], ...]
    times: tuple[tuple[str, float, str], ...]
    back_top: tuple[str, str] | None
    front_top: tuple[str, str] | None


def bar_plot(starts: Sequence[float], step: float, back: Sequence[float], front: Sequence[float]) -> BarPlot:
    """Lay two rows of bars out.

    Args:
        starts: where each bar begins, rising.
        step: width of a bar in the same unit.
        back, front: the values.
    """
    begin, end = (starts[0], starts[-1] + step) if starts else (0.0, 1.0)
    # A lone spike stands a little to the right of the axis.
    lead = (end - begin) * 0.02 or step
    begin -= lead
    span = end + lead - begin
    top = max([*back, *front, 0.0])
    tick = nice(top / 4) if top > 1e-6 else 1.0
    high = max(tick, math.ceil(top / tick - 1e-9) * tick)

    def x_of(moment: float) -> float:
        return LEFT + (moment - begin) / span * (RIGHT - LEFT)

    def y_of(value: float) -> float:
        return BOTTOM - value / high * (BOTTOM - TOP)

    def row(values: Sequence[float]) -> tuple[Bar, ...]:
        drawn = []
        for start, value in zip(starts, values, strict=True):
            if value > 0:
                width = max(0.4, (x_of(start + step) - x_of(start)) * (1 - _GAP))
                height = max(0.6, BOTTOM - y_of(value))  # what is there stays visible
                drawn.append(
                    Bar(
                        percent_of(x_of(start)),
                        percent_of(BOTTOM - height),
                        percent_of(width),
                        percent_of(height),
                    )
                )
        return tuple(drawn)

    highest = max(range(len(back)), key=back.__getitem__, default=None)
    last = max((index for index, value in enumerate(front) if value > 0), default=None)
    first, final = starts[0] if starts else 0.0, starts[-1] + step if starts else 1.0
    return BarPlot(
        back=row(back),
        front=row(front),
        levels=tuple((percent_of(y_of(tick * n)), tick * n) for n in range(round(high / tick) + 1)),
        times=(
            (percent_of(x_of(first)), first, "start"),
            (percent_of(x_of((first + final) / 2)), (first + final) / 2, "middle"),
            (percent_of(x_of(final)), final, "end"),
        ),
        back_top=None
        if highest is None
        else (percent_of(x_of(starts[highest] + step) + 1), percent_of(y_of(back[highest]) + 4)),
        front_top=None
        if last is None
        else (percent_of(x_of(starts[last] + step)), percent_of(y_of(max(front)) - 3)),
    )


def nice(value: float) -> float:
    """The smallest of 1, 2, 2.5 and 5 times a power of ten that is no less than ``value`` (above 0)."""
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(step for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999) * power


def percent_of(value: float) -> str:
    """A place in per cent of the drawing, for its markup."""
    return f"{value:.2f}".rstrip("0").rstrip(".") + "%"
