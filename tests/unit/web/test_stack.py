"""Places of stacked bars."""

import re

from hypothesis import given
from hypothesis import strategies as st

from dashboard.web.stack import BOTTOM, BOX, LEFT, RIGHT, TOP, stack_plot

START = 1_800_001_230.0


def share(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=60),
    st.sampled_from([10.0, 60.0, 3600.0]),
    st.sets(st.integers(0, 59)),
)
def test_every_bar_is_in_the_plot(values: list[tuple[float, float]], step: float, marks: set[int]) -> None:
    marked = {at for at in marks if at < len(values)}
    plot = stack_plot(START, step, [[a for a, _ in values], [b for _, b in values]], marked=marked)
    for path in plot.paths:
        for number in re.findall(r"[MVh]([\d.]+)", path):
            assert -0.1 <= float(number) <= BOX + 0.1
    assert len(plot.marked) == len(plot.tops) == len(marked)
    for bar in plot.marked:
        assert share(bar.x) >= LEFT - 0.5 and share(bar.x) + share(bar.width) <= RIGHT + 0.5
        assert share(bar.y) >= TOP - 0.1 and abs(share(bar.y) + share(bar.height) - BOTTOM) < 0.1
    for place, moment, _ in plot.times:
        assert START <= moment <= START + step * len(values)
        assert LEFT - 0.1 <= share(place) <= RIGHT + 0.1


def test_series_stand_on_each_other() -> None:
    plot = stack_plot(0, 10, [[300.0], [100.0]])
    assert plot.high == 400
    lower, upper = plot.paths
    assert "V250.0" in lower and "M90.00 250.0V0.0" in upper


def test_a_marked_bar_is_drawn_once() -> None:
    plot = stack_plot(0, 10, [[1.0, 9.0], [1.0, 9.0]], marked={1})
    assert [path.count("M") for path in plot.paths] == [1, 1]
    assert share(plot.marked[0].height) > 4 * (share(plot.levels[0][0]) - share(plot.levels[1][0])) * 0.8


def test_two_plots_share_a_scale_when_asked() -> None:
    first = stack_plot(0, 10, [[900.0]])
    second = stack_plot(0, 10, [[90.0]], high=first.high)
    assert second.levels == first.levels


def test_times_are_full_steps_of_the_clock() -> None:
    plot = stack_plot(START, 10, [[0.0] * 360])
    assert [moment % 600 for _, moment, _ in plot.times] == [0.0] * 6


def test_a_limit_above_the_scale_is_left_out() -> None:
    assert stack_plot(0, 10, [[5.0]], limit=50.0).limit is None
    assert stack_plot(0, 10, [[5.0]], limit=3.0).limit is not None


def test_nothing_is_drawn_of_nothing() -> None:
    plot = stack_plot(0, 10, [])
    assert plot.paths == () and plot.times == ()
