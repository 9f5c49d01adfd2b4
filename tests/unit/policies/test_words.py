"""Lengths of time as people write them."""

import pytest

from dashboard.policies import words


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (90, "1 m 30 s"),
        (3600, "1 h"),
        (3661, "1 h 1 m 1 s"),
        (86_400, "24 h"),
        (172_800, "48 h"),
        (259_200, "3 d"),
        (262_800, "73 h"),
    ],
)
def test_seconds_are_exact(seconds: int, said: str) -> None:
    assert words.seconds(seconds) == said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (3600, 21_600, "1 to 6 h"),
        (30, 120, "30 s to 2 m"),
        (86_400, 172_800, "24 to 48 h"),
        (90, 5400, "1 m 30 s to 1 h 30 m"),
    ],
)
def test_ranges_say_a_unit_once(low: int, high: int, said: str) -> None:
    assert words.span(low, high) == said
