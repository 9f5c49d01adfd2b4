"""A forecast against what happened."""

import pytest

from dashboard.forecast.check import compare


def test_it_compares_step_by_step() -> None:
    check = compare([10.0, 20.0, 30.0], [12.0, 20.0, 24.0])
    assert (check.predicted, check.happened, check.steps) == (60, 56, 3)
    assert check.off == pytest.approx(8 / 56) and check.total_off == pytest.approx(4 / 56)


def test_errors_that_cancel_out_in_the_sum_still_show() -> None:
    check = compare([10.0, 0.0], [0.0, 10.0])
    assert check.total_off == 0 and check.off == 2


def test_steps_without_a_reading_are_left_out() -> None:
    check = compare([10.0, 99.0], [10.0, None])
    assert (check.predicted, check.steps, check.off) == (10, 1, 0)


def test_where_nothing_happened_no_share_is_known() -> None:
    assert compare([3.0], [0.0]).off is None and compare([], []).total_off is None
