import re

import pytest

from dashboard.web.spark import HEIGHT, WIDTH, bar_width, spark_path


def points(path):
    return [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path)]


def test_line_spans_the_width_and_stays_inside():
    path = spark_path([5, 1, 9])
    xs, ys = zip(*points(path.line), strict=True)
    assert (xs[0], xs[-1]) == (0, WIDTH)
    assert ys[1] > ys[0] > ys[2]
    assert min(ys) >= 0 and max(ys) <= HEIGHT
    assert path.target_y is None


def test_a_gap_lifts_the_pen_and_splits_the_area():
    path = spark_path([1, 2, None, None, 3, 4])
    assert path.line.count("M") == 2
    assert path.area.count("Z") == 2
    assert len(points(path.line)) == 4


def test_the_line_stops_where_the_data_stops():
    xs = [x for x, _ in points(spark_path([1, 2, 3, None, None]).line)]
    assert max(xs) == WIDTH / 2


def test_a_lone_reading_between_gaps_is_drawn():
    path = spark_path([1.0, None, 5.0, None, 1.0])
    assert path.line.count("M") == 3


def test_the_target_is_inside_the_scale():
    path = spark_path([0.95, 0.96], target=0.8)
    assert path.target_y is not None
    ys = [y for _, y in points(path.line)]
    assert float(path.target_y) > max(ys)


def test_values_beyond_a_given_scale_stay_inside():
    ys = [y for _, y in points(spark_path([-5, 500], low=0, high=100).line)]
    assert min(ys) >= 0 and max(ys) <= HEIGHT


def test_flat_lines():
    assert points(spark_path([0, 0]).line)[0][1] == HEIGHT - 2
    assert points(spark_path([7, 7]).line)[0][1] == HEIGHT / 2


def test_nothing_measured():
    path = spark_path([None, None])
    assert (path.line, path.area) == ("", "")
    assert spark_path([]).line == ""


@pytest.mark.parametrize(
    ("share", "width"),
    [
        (None, "0"),
        (0, "0"),
        (-1, "0"),
        (0.001, "2"),
        (0.425, "42.5"),
        (1, "100"),
        (7, "100"),
    ],
)
def test_bar_width(share, width):
    assert bar_width(share) == width
