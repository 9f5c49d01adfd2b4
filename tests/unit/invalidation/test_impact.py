"""The model of what a purge costs: against counting, against known limits, and what it suggests."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.invalidation.impact import OVER_CHOICES_S, Load, Stream, impact, suggest

QUIET = Load(loads_per_s=338.0, reads_per_s=3000.0, hit_ratio=0.914)


def counted(keys: int, rate: float, over_s: float, window_s: float, at: float, step: float) -> float:
    """Reloads per second around a moment, by drawing when each key ends and when it is read next."""
    chance = random.Random(f"{over_s} {window_s} {at}")
    ends = (
        chance.random() * over_s + chance.random() * window_s + chance.expovariate(rate) for _ in range(keys)
    )
    return sum(at - step / 2 <= end < at + step / 2 for end in ends) / step


@pytest.mark.parametrize(
    ("over_s", "window_s", "rate", "at"),
    [(120, 0, 0.01, 100), (120, 0, 0.01, 150), (120, 60, 0.01, 130), (30, 60, 0.05, 70), (60, 60, 0.02, 90)],
)
def test_agrees_with_drawn_keys(over_s: float, window_s: float, rate: float, at: float) -> None:
    keys = 60_000
    stream = Stream(keys, rate, window_s=window_s)
    found = impact([stream], Load(0, 0, None), budget_per_s=None, keys_per_s=1e12, over_s=over_s)
    near = min(range(len(found.times_s)), key=lambda index: abs(found.times_s[index] - at))
    modelled = found.spread.points[near]
    drawn = counted(keys, rate, over_s, window_s, found.times_s[near], step=4)
    # Four standard deviations of the count.
    assert modelled == pytest.approx(drawn, abs=4 * math.sqrt(modelled * 4) / 4)


def test_at_once_begins_at_the_reads_of_the_purged_share() -> None:
    # 12,000 of 25,000 keys that are read 100 times a second together: 48 of those reads miss at first.
    found = impact([Stream(12_000, 100 / 25_000)], QUIET, budget_per_s=350, keys_per_s=1e12)
    assert found.once.extra_per_s == pytest.approx(48) and found.once.peak_per_s == pytest.approx(386)
    assert found.once.is_over and found.once.lowest_hit_ratio == pytest.approx(0.914 - 48 / 3000)


def test_a_hard_limit_slows_at_once_down() -> None:
    # A thousand keys a second take 60 s; each is read soon, so as many are loaded.
    found = impact([Stream(60_000, 10)], QUIET, budget_per_s=None, keys_per_s=1000)
    assert found.once.extra_per_s == pytest.approx(1000, rel=0.01)


def test_what_is_served_stale_costs_the_database_and_not_the_hit_ratio() -> None:
    found = impact([Stream(12_000, 0.004, missed_share=0)], QUIET, budget_per_s=None, keys_per_s=1e12)
    assert found.once.extra_per_s == pytest.approx(48) and found.once.lowest_hit_ratio == 0.914


def test_keys_that_end_later_cost_later() -> None:
    found = impact([Stream(1000, 1, begins_s=600, window_s=100)], QUIET, budget_per_s=None, keys_per_s=1e12)
    before = [point for at, point in zip(found.times_s, found.once.points, strict=True) if at < 600]
    assert set(before) == {338.0}
    assert found.once.extra_per_s == pytest.approx(10) and found.times_s[-1] > 700


def test_suggests_the_shortest_spread_within_the_budget() -> None:
    streams = [Stream(50_000, 0.2)]
    choice = suggest(streams, QUIET, budget_per_s=500, keys_per_s=100_000)
    assert choice is not None
    shorter = OVER_CHOICES_S[OVER_CHOICES_S.index(choice) - 1]
    here = impact(streams, QUIET, budget_per_s=500, keys_per_s=100_000)
    less = impact(streams, QUIET, budget_per_s=500, keys_per_s=100_000, over_s=shorter)
    assert here.over_s == choice == here.suggested_s and not here.spread.is_over
    assert less.spread.peak_per_s > 500 * 0.95 and less.once.is_over


def test_a_database_that_is_over_its_budget_already_has_no_good_moment() -> None:
    found = impact([Stream(1000, 1)], QUIET, budget_per_s=300, keys_per_s=100_000)
    assert found.suggested_s is None and found.over_s == OVER_CHOICES_S[-1] and found.spread.is_over
    unlimited = impact([Stream(10**8, 1)], QUIET, budget_per_s=None, keys_per_s=100_000)
    assert unlimited.suggested_s == OVER_CHOICES_S[-1]


def test_nothing_costs_nothing() -> None:
    for streams in ([], [Stream(0, 1)], [Stream(500, 0)]):
        found = impact(streams, QUIET, budget_per_s=500, keys_per_s=1000, over_s=10)
        assert found.once.extra_per_s == found.spread.extra_per_s == 0
        assert found.spread.lowest_hit_ratio == 0.914 and found.times_s[-1] >= 30


@given(
    st.lists(
        st.builds(
            Stream,
            keys=st.floats(0, 1e8),
            reads_per_key_s=st.floats(0, 1e5),
            begins_s=st.floats(0, 1e5),
            window_s=st.floats(0, 1e5),
            missed_share=st.floats(0, 1),
        ),
        max_size=4,
    ),
    st.floats(0, 1e5),
    st.none() | st.floats(1, 1e6),
)
def test_is_sound_whatever_is_asked(streams: list[Stream], over_s: float, budget: float | None) -> None:
    found = impact(streams, QUIET, budget_per_s=budget, keys_per_s=100_000, over_s=over_s)
    assert list(found.times_s) == sorted(set(found.times_s)) and len(found.times_s) <= 300
    reads_per_s = sum(stream.keys * stream.reads_per_key_s for stream in streams)
    for course in (found.once, found.spread):
        assert len(course.points) == len(found.times_s)
        assert all(math.isfinite(point) and point >= 338 * (1 - 1e-9) for point in course.points)
        # Nothing is loaded that is not read, and no point is above what is called the peak.
        assert course.extra_per_s <= reads_per_s * (1 + 1e-6) + 1e-6
        assert max(course.points) <= course.peak_per_s * (1 + 1e-3) + 1e-6
        assert course.lowest_hit_ratio is not None and 0 <= course.lowest_hit_ratio <= 0.914
