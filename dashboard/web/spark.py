"""The arithmetic of small drawings: path data of a sparkline, 200 by 34 units, and widths of bars. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, _EDGE = 200.0, 34.0, 2.0


@dataclass(frozen=True, slots=True)
class SparkPath:
    """SVG path data.

    Attributes:
        line: the measured values; a gap lifts the pen.
        area: the same closed down to the bottom, one piece per stretch without a gap; empty without a line.
        target_y: height of the target line, None without a target.
    """

    line: str
    area: str
    target_y: str | None


def spark_path(
    values: Sequence[float | None],
    *,
    target: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> SparkPath:
    """Draw values in time order at equal distances.

    Args:
        values: in any unit; None where nothing was measured.
        target: a level to mark; always inside the drawing.
        low, high: the ends of the scale; from the values and the target where they are not given.
    """
    known = [value for value in values if value is not None]
    marks = known if target is None else [*known, target]
    bottom = min(marks, default=0.0) if low is None else low
    top = max(marks, default=0.0) if high is None else high
    span = top - bottom

    def y_of(value: float) -> float:
        if span <= 0:
            return HEIGHT - _EDGE if value <= 0 else HEIGHT / 2  # flat: on the ground only when it is zero
        share = min(max((value - bottom) / span, 0.0), 1.0)
        return HEIGHT - _EDGE - share * (HEIGHT - 2 * _EDGE)

    step = WIDTH / max(1, len(values) - 1)
    lines, areas = [], []
    for stretch in _stretches(values):
        points = [(index * step, y_of(value)) for index, value in stretch]
        if len(points) == 1:
            # A lone reading between two gaps is still something that was measured.
            x, y = points[0]
            points = [(max(0.0, x - step / 2), y), (min(WIDTH, x + step / 2), y)]
        path = "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)
        lines.append(path)
        areas.append(
            f"{path}L{_short(points[-1][0])} {_short(HEIGHT)}L{_short(points[0][0])} {_short(HEIGHT)}Z"
        )
    return SparkPath("".join(lines), "".join(areas), None if target is None else _short(y_of(target)))


def bar_width(share: float | None) -> str:
    """Width in per cent of a bar for a share 0..1; what is there at all stays visible."""
    if not share or share < 0:
        return "0"
    return f"{max(2.0, min(share, 1.0) * 100):.1f}".removesuffix(".0")


def _stretches(values: Iterable[float | None]) -> list[list[tuple[int, float]]]:
    """Runs of known values with their positions."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is not None:
            runs[-1].append((index, value))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
