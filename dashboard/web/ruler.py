"""The arithmetic of the time ruler: a logarithmic scale of seconds, in per cent of its width. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_DAY = 86_400
_LOW, _HIGH = 10, 3 * _DAY
"""The scale of the tiers a dashboard starts with; others stretch it."""
# Never two marks closer than their labels are wide.
_MARKS = (
    (1, "1 s"), (10, "10 s"), (60, "1 m"), (600, "10 m"), (3600, "1 h"), (6 * 3600, "6 h"), (2 * _DAY, "2 d"),
    (14 * _DAY, "14 d"), (90 * _DAY, "90 d"), (366 * _DAY, "1 y"),
)  # fmt: skip
_NEAREST = 14.0


@dataclass(frozen=True, slots=True)
class Ruler:
    """Places in per cent of the width, as SVG takes them.

    Attributes:
        band: start and width of the allowed range; None without one.
        dots: where the policies are.
        marks: place, label and ``text-anchor`` of each label.
    """

    band: tuple[str, str] | None
    dots: tuple[str, ...]
    marks: tuple[tuple[str, str, str], ...]


def ruler(low_s: float | None, high_s: float | None, dots_s: Sequence[float] = ()) -> Ruler:
    """Lay a ruler out.

    Args:
        low_s, high_s: the allowed range in seconds; both None for no range.
        dots_s: TTLs in seconds to mark.
    """
    known = [value for value in (low_s, high_s, *dots_s) if value is not None and value > 0]
    bottom, top = min([_LOW, *known]), max([_HIGH, *known])
    span = math.log(top) - math.log(bottom)

    def at(seconds: float) -> float:
        return (math.log(min(max(seconds, bottom), top)) - math.log(bottom)) / span * 100

    band = None
    if low_s is not None and high_s is not None:
        # A range of one value is still to be seen.
        start, width = at(low_s), max(at(high_s) - at(low_s), 2.0)
        start = min(start, 100 - width)
        band = (_percent(start), _percent(width))
    marks: list[tuple[str, str, str]] = []
    last = -_NEAREST
    for seconds, label in _MARKS:
        if not bottom <= seconds <= top or at(seconds) - last < _NEAREST:
            continue
        last = at(seconds)
        anchor = "start" if last < 4 else "end" if last > 96 else "middle"
        marks.append((_percent(last), label, anchor))
    return Ruler(band, tuple(_percent(at(seconds)) for seconds in dots_s), tuple(marks))


def _percent(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0") + "%"
