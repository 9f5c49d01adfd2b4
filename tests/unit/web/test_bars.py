"""Places of bars."""

from hypothesis import given
from hypothesis import strategies as st

from dashboard.web.bars import BOTTOM, LEFT, RIGHT, TOP, bar_plot


def share(text: str) -> float:
    assert text.endswith("%")
    return float(text[:-1])


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1, max_size=80),
    st.integers(0, 10**8),
    st.integers(1, 10**5),
)
def test_every_bar_is_in_the_plot_and_stands_on_the_ground(
    values: list[tuple[float, float]], first: int, step: int
) -> None:
    starts = [first + step * n for n in range(len(values))]
    plot = bar_plot(starts, step, [back for back, _ in values], [front for _, front in values])
    for bar in (*plot.back, *plot.front):
        assert share(bar.x) >= LEFT and share(bar.x) + share(bar.width) <= RIGHT + 0.5
        assert share(bar.y) >= TOP - 0.1
        assert abs(share(bar.y) + share(bar.height) - BOTTOM) < 0.1
    assert len(plot.back) == sum(back > 0 for back, _ in values)


def test_heights_share_one_scale() -> None:
    plot = bar_plot([0, 1, 2], 1, [3000, 0, 0], [1000, 1000, 1000])
    assert abs(share(plot.back[0].height) - 3 * share(plot.front[0].height)) < 0.1
    assert [value for _, value in plot.levels] == [0, 1000, 2000, 3000]


def test_nothing_to_draw() -> None:
    plot = bar_plot([], 1, [], [])
    assert plot.back == plot.front == () and plot.back_top is None and plot.front_top is None
