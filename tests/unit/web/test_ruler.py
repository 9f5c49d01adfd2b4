"""The time ruler's arithmetic."""

import itertools

import pytest

from dashboard.caching.policy import MAX_TTL_S
from dashboard.web.ruler import ruler


def share(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


def test_equal_factors_are_equal_distances() -> None:
    places = [share(dot) for dot in ruler(None, None, [10, 100, 1000, 10_000]).dots]
    steps = [b - a for a, b in itertools.pairwise(places)]
    assert places[0] == 0 and max(steps) - min(steps) < 0.2


@pytest.mark.parametrize(
    ("low", "high"), [(30, 120), (3600, 21_600), (86_400, 172_800), (1, MAX_TTL_S), (5, 5)]
)
def test_the_band_covers_its_range_and_stays_inside(low: int, high: int) -> None:
    drawn = ruler(low, high, [low, high])
    assert drawn.band is not None
    start, width = map(share, drawn.band)
    assert start >= 0 and start + width <= 100.1 and width >= 2
    for dot in map(share, drawn.dots):
        assert start - 0.2 <= dot <= start + width + 0.2


def test_no_range_no_band() -> None:
    assert ruler(None, None).band is None


@pytest.mark.parametrize("high", [120, 3 * 86_400, MAX_TTL_S])
def test_labels_do_not_touch_and_do_not_leave_the_ruler(high: int) -> None:
    marks = ruler(1, high).marks
    places = [share(place) for place, _, _ in marks]
    assert places == sorted(places) and len(marks) >= 4
    assert all(b - a >= 14 for a, b in itertools.pairwise(places))
    assert marks[0][2] == "start" and (places[-1] <= 96 or marks[-1][2] == "end")
