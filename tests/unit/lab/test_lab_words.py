"""The lab's numbers in words, and what is better."""

import pytest

from dashboard.demo.lab import words
from dashboard.demo.lab.types import AT_LEAST, AT_MOST, HIGHER, LOWER, Check, Number


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "s", "n/a"),
        (0.0021, "s", "2.1 ms"),
        (-2.0, "s", "-2 s"),
        (0.031, "ratio", "3.1%"),
        (8_388_608.0, "bytes", "8 MB"),
        (390.0, "cents", "€3.90"),
        (-390.0, "cents", "-€3.90"),
        (1_950.0, "per_s", "1,950/s"),
        (31.0, "count", "31"),
        (0.09, "", "0.09"),
    ],
)
def test_values(value: float | None, unit: str, text: str) -> None:
    assert words.in_words(value, unit) == text


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (100.0, 14.0, "-86%"),
        (100.0, 112.0, "+12%"),
        (1.0, 287.0, "×287"),
        (5.0, 5.0, "same"),
        (0.0, 5.0, ""),
        (None, 5.0, ""),
        (5.0, None, ""),
        (None, None, ""),
    ],
)
def test_changes(before: float | None, after: float | None, text: str) -> None:
    assert words.change(before, after) == text


@pytest.mark.parametrize(
    ("better", "before", "after", "is_better"),
    [
        (LOWER, 2.0, 1.0, True),
        (LOWER, 1.0, 2.0, False),
        (HIGHER, 1.0, 2.0, True),
        ("", 1.0, 2.0, None),
        (LOWER, 1.0, 1.0, None),
        (LOWER, None, 1.0, None),
        (LOWER, 1.0, None, None),
    ],
)
def test_better(better: str, before: float | None, after: float | None, is_better: bool | None) -> None:
    assert words.is_better(Number("x", after, "count", better), before) is is_better


def test_what_a_check_found() -> None:
    assert words.found(Check("", True, 0.038, 0.1, "s")) == "38 ms, limit 100 ms"
    assert words.found(Check("", True, 0.038, 0.1, "s", AT_MOST)) == "38 ms, at most 100 ms"
    assert words.found(Check("", True, 2000.0, 1.0, "count", AT_LEAST)) == "2,000, at least 1"
    assert words.found(Check("", False, 3.0, 0.0, "count", AT_MOST)) == "3, none allowed"
    assert words.found(Check("", True, 3.0, None, "count")) == "3"
    assert words.found(Check("", False, None, 0.1, "s")) == "could not be measured"
