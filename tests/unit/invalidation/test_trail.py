"""The points of a purge's chart: one a second, fewer of a long one, never many."""

import itertools
from datetime import UTC, datetime, timedelta

from dashboard.invalidation import stored, trail
from dashboard.invalidation.types import Progress

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def followed(*seconds: float) -> Progress:
    saved = Progress()
    for second in seconds:
        now = Progress(touched=int(second), keys_per_s=100.04, loads_per_s=second, hit_ratio=0.91234567)
        saved = trail.follow(now, saved, START, START + timedelta(seconds=second))
    return saved


def test_a_point_a_second_however_often_it_is_saved() -> None:
    found = followed(0, 0.1, 0.4, 0.9, 1.0, 1.05, 2.3)
    assert [each.at_s for each in found.trail] == [0, 1.0, 2.3] and found.touched == 2
    assert (found.trail[1].keys_per_s, found.trail[1].hit_ratio) == (100.0, 0.9123)


def test_a_long_one_stays_short_and_keeps_its_beginning() -> None:
    found = followed(*range(0, 20_000, 3))
    assert len(found.trail) <= trail.MOST
    times = [each.at_s for each in found.trail]
    assert times[0] == 0 and times[-1] > 19_000 and times == sorted(times)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) < 520


def test_a_clock_that_steps_back_adds_nothing() -> None:
    found = followed(10, 20, 5, 21)
    assert [each.at_s for each in found.trail] == [10, 20, 21]


def test_it_is_stored() -> None:
    found = followed(0, 1, 2)
    assert stored.progress_from_json(stored.progress_to_json(found)) == found
    assert stored.progress_from_json({"touched": 5}).trail == ()
