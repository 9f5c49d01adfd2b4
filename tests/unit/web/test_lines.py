"""Lines over time, laid out in per cent."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.web.lines import BOX, line_plot


def points(path: str) -> list[tuple[str, float, float]]:
    return [(kind, float(x), float(y)) for kind, x, y in re.findall(r"([ML])([\d.]+) ([\d.]+)", path)]


def test_a_line_goes_from_edge_to_edge_and_a_hole_breaks_it() -> None:
    line = [0.0, 400.0, None, 400.0, 0.0]
    plot = line_plot([0, 10, 20, 30, 40], [line])
    assert [(kind, x) for kind, x, _ in points(plot.paths[0])] == [
        ("M", 0),
        ("L", 250),
        ("M", 750),
        ("L", BOX),
    ]
    assert points(plot.paths[0])[0][2] == BOX  # zero is at the bottom
    assert plot.levels[0][1] == 0
    assert max(value for _, value in plot.levels) >= 400


def test_a_limit_is_on_the_scale_unless_it_dwarfs_the_lines() -> None:
    near = line_plot([0, 60], [[300, 400]], limit=500)
    assert near.limit and near.levels[-1][1] >= 500
    far = line_plot([0, 60], [[300, 400]], limit=50_000)
    assert not far.limit and far.levels[-1][1] < 1000
    quiet = line_plot([0, 60], [[0, 0]], limit=500)
    assert quiet.paths and quiet.limit


def test_a_given_scale_holds() -> None:
    plot = line_plot([0, 60], [[0.4, 0.9]], low=0.5, high=1.0)
    assert plot.levels[0][1] == 0.5 and plot.levels[-1][1] == pytest.approx(1.0)
    assert points(plot.paths[0])[0][2] == BOX  # below the scale: at its edge


def test_levels_are_written_as_whole_numbers() -> None:
    for top in (0.0, 0.4, 1.0, 2.0, 3.5):
        levels = [level for _, level in line_plot([0, 60], [[0.0, top]]).levels]
        assert len({round(level) for level in levels}) == len(levels)


def test_nothing_measured_is_an_empty_plot() -> None:
    assert line_plot([], [[]]).paths == ("",)
    assert line_plot([5], [[None]]).paths == ("",)


@given(
    st.lists(st.floats(0, 1e6), min_size=1, max_size=30, unique=True).map(sorted),
    st.data(),
    st.none() | st.floats(0, 1e7),
)
def test_everything_stays_within_the_plot(
    times: list[float], data: st.DataObject, limit: float | None
) -> None:
    line = data.draw(st.lists(st.none() | st.floats(0, 1e9), min_size=len(times), max_size=len(times)))
    plot = line_plot(times, [line], limit=limit)
    assert all(0 <= x <= BOX and 0 <= y <= BOX for _, x, y in points(plot.paths[0]))
    places = [float(str(each[0]).rstrip("%")) for each in (*plot.levels, *plot.times)]
    assert all(0 <= place <= 100 for place in places) and len(plot.times) <= 7 and len(plot.levels) <= 9
