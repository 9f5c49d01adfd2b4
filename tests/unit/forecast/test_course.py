"""Expirations carried forward."""

import math
import random

import pytest

from dashboard.forecast import course as courses
from dashboard.forecast.course import course, grid, is_hot, of_stem
from dashboard.forecast.types import Grid, Horizon, Rule, Stem
from dashboard.keyspace.types import Expiries

NOW = 1_800_000_000.0


def stem(
    fine: dict[int, float] | None = None,
    *,
    rule: Rule | None = None,
    reads: float = 0.0,
    hours: dict[int, float] | None = None,
    keys: float | None = None,
    name: str = "product:{id}",
) -> Stem:
    """Keys by seconds from NOW; hours by hours from NOW's."""
    buckets = {int(NOW + second) // 10: count for second, count in (fine or {}).items()}
    by_hour = {int(NOW) // 3600 + hour: count for hour, count in (hours or {}).items()}
    total = sum(buckets.values()) + sum(by_hour.values()) if keys is None else keys
    return Stem(Expiries(name, "product:", total, buckets, by_hour, 0.0, 0.0), rule, reads)


def test_keys_end_when_their_ttl_is_over() -> None:
    counts = of_stem(stem({25: 40.0, 3_590: 2.0, 3_600: 9.0}), NOW, grid(Horizon.HOUR, NOW))
    assert counts[2] == 40 and counts[359] == 2 and sum(counts) == 42


def test_what_was_due_before_now_is_not_due_any_more() -> None:
    counts = of_stem(stem({25: 40.0, 95: 3.0}), NOW, grid(Horizon.HOUR, NOW + 60))
    assert counts[3] == 3 and sum(counts) == 3


def test_hours_are_spread_over_their_steps() -> None:
    counts = of_stem(stem(hours={30: 3_600.0}), NOW, grid(Horizon.WEEK, NOW))
    assert counts[30] == pytest.approx(3_600) and sum(counts) == pytest.approx(3_600)


@pytest.mark.parametrize("horizon", list(Horizon))
def test_no_key_is_lost_or_made_by_another_width_of_steps(horizon: Horizon) -> None:
    on = grid(horizon, NOW)
    fine = dict.fromkeys(range(0, min(on.end - int(NOW), 90000) - 10, 10), 1.0)
    assert sum(of_stem(stem(fine), NOW, on)) == pytest.approx(len(fine))


def test_a_key_that_is_read_again_ends_again_after_its_policys_ttl() -> None:
    rule = Rule(base_s=600.0)
    # Read so often that the refill follows at once.
    counts = of_stem(stem({5: 1_000.0}, rule=rule, reads=10.0), NOW, grid(Horizon.HOUR, NOW))
    ends = [at for at, count in enumerate(counts) if count > 500]
    assert ends == [0, 60, 120, 180, 240, 300]


def test_jitter_spreads_the_next_generation() -> None:
    rule = Rule(base_s=600.0, jitter_s=300.0)
    counts = of_stem(stem({5: 1_000.0}, rule=rule, reads=10.0), NOW, grid(Horizon.HOUR, NOW))
    second = counts[60:90]
    assert max(second) == pytest.approx(1_000 / 30, rel=0.02)
    assert sum(second) == pytest.approx(1_000, rel=0.02)


def test_a_key_that_nobody_reads_ends_once() -> None:
    counts = of_stem(stem({5: 1_000.0}, rule=Rule(600.0), reads=0.0), NOW, grid(Horizon.HOUR, NOW))
    assert sum(counts) == 1_000


def test_it_agrees_with_keys_followed_one_by_one() -> None:
    """The same world, simulated key by key."""
    chance = random.Random(7)
    rule, rate, keys = Rule(base_s=300.0, jitter_s=120.0, grace_s=60.0), 0.01, 4_000
    due = [chance.uniform(0, 480) for _ in range(keys)]
    happened = [0.0] * 60
    for first in due:
        at = first
        while at < 3_600:
            happened[int(at // 60)] += 1
            at += chance.expovariate(rate) + rule.base_s + rule.grace_s + chance.uniform(0, rule.jitter_s)
    fine: dict[int, float] = {}
    for each in due:
        fine[int(each // 10) * 10] = fine.get(int(each // 10) * 10, 0.0) + 1
    counts = of_stem(stem(fine, rule=rule, reads=rate), NOW, grid(Horizon.HOUR, NOW))
    minutes = [sum(counts[at * 6 : at * 6 + 6]) for at in range(60)]
    for predicted, found in zip(minutes, happened, strict=True):
        assert abs(predicted - found) <= 5 * math.sqrt(found + 1) + 0.05 * found
    assert sum(minutes) == pytest.approx(sum(happened), rel=0.03)


def test_hot_stems_are_told_as_a_rate() -> None:
    hot = stem({5: 600.0}, rule=Rule(50.0, 10.0), reads=0.2, name="stock:{id}")
    found = course([hot, stem({5: 3.0})], NOW, grid(Horizon.HOUR, NOW))
    assert set(found.by_stem) == {"product:{id}"}
    assert found.steady["stock:{id}"] == pytest.approx(600 / (55 + 5))


def test_what_is_hot() -> None:
    assert is_hot(Rule(60.0, 30.0)) and is_hot(Rule(60.0, 60.0))
    assert not is_hot(Rule(60.0, 61.0)) and not is_hot(None) and not is_hot(Rule(0.0))


def test_nothing_expires_in_an_empty_cache() -> None:
    assert course([], NOW, Grid(0, 10, 3)).total == [0.0, 0.0, 0.0]


def test_what_ends_later_than_a_hot_policy_allows_is_drawn() -> None:
    """A wall of keys that break their policy must not hide behind it."""
    hot = stem({30: 70.0, 1_800: 50_000.0}, rule=Rule(50.0, 10.0), reads=0.2, name="feed:")
    counts = course([hot], NOW, grid(Horizon.HOUR, NOW)).by_stem["feed:"]
    assert counts[180] == 50_000 and sum(counts) == 50_000


@pytest.mark.parametrize("horizon", list(Horizon))
@pytest.mark.parametrize("base_s", [149, 150, 151, 209, 600, 1_000, 7_200])
def test_in_the_long_run_a_stem_ends_as_often_as_its_keys_live(horizon: Horizon, base_s: int) -> None:
    """However wide the steps are: once per TTL plus wait for the next read."""
    keys, rate = 10_000.0, 1.0
    rule = Rule(float(base_s), base_s / 5)
    even = dict.fromkeys(range(0, 600, 10), keys / 60)
    on = grid(horizon, NOW)
    counts = of_stem(stem(even, rule=rule, reads=rate), NOW, on)
    life_s = rule.base_s + rule.jitter_s / 2 + 1 / rate
    # Whole lives, as many as the second half of the horizon has: a wave that goes round counts once in each.
    lives = int(on.steps * on.step_s / 2 / life_s)
    if lives:
        tail = counts[-round(lives * life_s / on.step_s) :]
        found = sum(tail) / (len(tail) * on.step_s)
        assert found == pytest.approx(keys / life_s, rel=0.04)


@pytest.mark.parametrize("age_s", [86_400, 7 * 86_400, 30 * 86_400])
@pytest.mark.parametrize("horizon", list(Horizon))
def test_an_old_scan_is_carried_on_at_the_price_of_a_new_one(age_s: int, horizon: Horizon) -> None:
    keys, rule = 6_000.0, Rule(3_600.0, 600.0)
    even = dict.fromkeys(range(0, 3600, 10), keys / 360)
    on = grid(horizon, NOW + age_s)
    counts = of_stem(stem(even, rule=rule, reads=0.1), NOW, on)
    expected = keys / (3_600 + 300 + 10) * on.steps * on.step_s
    assert sum(counts) == pytest.approx(expected, rel=0.15)


def test_lead_in_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = courses.first_generation

    def noted(one: Stem, on: Grid) -> list[float]:
        made.append(on.steps)
        return real(one, on)

    monkeypatch.setattr(courses, "first_generation", noted)
    of_stem(stem({5: 1.0}, rule=Rule(3_600.0), reads=0.1), NOW, grid(Horizon.HOUR, NOW + 365 * 86_400))
    assert made == [courses.MOST_LEAD_STEPS + Horizon.HOUR.steps]
