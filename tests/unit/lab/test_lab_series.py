"""Points over time: fewer of them without losing a peak, and lines on one grid."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.demo.lab import series
from dashboard.demo.lab.types import POINTS_MOST, SIDES_MOST, Result, Side

points = st.lists(
    st.tuples(st.floats(0, 600), st.floats(-1e6, 1e6)), max_size=60, unique_by=lambda point: point[0]
)


@given(points, st.integers(2, 40))
def test_fewer_points_keep_order_and_extremes(given_: list[tuple[float, float]], most: int) -> None:
    thinned = series.thin(given_, most)
    assert len(thinned) <= max(most, 0) or len(given_) <= most
    assert thinned == sorted(thinned) and set(thinned) <= set(given_)
    if given_:
        values = [value for _, value in given_]
        kept = [value for _, value in thinned]
        assert (min(kept), max(kept)) == (min(values), max(values))


@given(st.lists(points, max_size=4), st.integers(2, 50))
def test_a_grid_shows_every_lines_peak(lines: list[list[tuple[float, float]]], most: int) -> None:
    times = series.grid(lines, most)
    assert 2 <= len(times) <= most and times == sorted(set(times)) and times[0] == 0
    for line in lines:
        values = [value for value in series.on_grid(line, times) if value is not None]
        if line:
            given_ = [value for _, value in line]
            assert min(given_) <= min(values) and max(values) <= max(given_)
        else:
            assert values == []


def test_a_peak_of_one_point_survives_and_nothing_is_drawn_beyond_the_ends() -> None:
    line = [(float(at), 1.0) for at in range(10, 500)]
    line[200] = (210.0, 99.0)
    times = series.grid([line, [(600.0, 0.0)]], 60)
    values = series.on_grid(line, times)
    assert max(value for value in values if value is not None) == 99.0
    assert values[0] is None and values[-1] is None


def test_between_points_a_line_is_straight() -> None:
    assert series.on_grid([(0.0, 0.0), (10.0, 20.0)], [0.0, 2.5, 5.0, 7.5, 10.0]) == [
        0.0,
        5.0,
        10.0,
        15.0,
        20.0,
    ]


def test_a_result_is_bounded() -> None:
    many = [(float(at), float(at % 7)) for at in range(5_000)]
    side = Side("One", (), {**{f"Other {number}": many for number in range(20)}, "Charted": many})
    clipped = series.clipped(Result("x", (side,) * 9, ("Charted", ""), (), ""))
    assert len(clipped.sides) == SIDES_MOST and "Charted" in clipped.sides[0].series
    assert all(len(found) <= POINTS_MOST for found in clipped.sides[0].series.values())
    assert len(clipped.sides[0].series) < 20
    assert series.clipped(replace(clipped, sides=())).sides == ()


@pytest.mark.parametrize("line", [[], [(3.0, 4.0)]])
def test_none_and_one(line: list[tuple[float, float]]) -> None:
    times = series.grid([line], 90)
    assert [value for value in series.on_grid(line, times) if value is not None] == [
        value for _, value in line
    ]
