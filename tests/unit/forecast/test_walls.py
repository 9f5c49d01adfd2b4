"""Walls: found where they are, blamed on whom they consist of, and nowhere else."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.forecast import remedies, walls
from dashboard.forecast.course import course, grid
from dashboard.forecast.types import Cause, Horizon, Rule, Stem, Wall
from dashboard.keyspace.types import Expiries

NOW = 1_800_000_000.0 + 1_230
"""Twenty and a half minutes past the hour."""
HOUR = grid(Horizon.HOUR, NOW)


def stem(
    name: str,
    fine: dict[int, float],
    rule: Rule | None = None,
    reads: float = 0.01,
    keys: float | None = None,
) -> Stem:
    """Keys by step of HOUR."""
    buckets = {HOUR.start // 10 + step: count for step, count in fine.items()}
    total = sum(buckets.values()) if keys is None else keys
    return Stem(Expiries(name, f"{name.partition(':')[0]}:", total, buckets, {}, 0.0, 0.0), rule, reads)


def noise(level: float, seed: int) -> dict[int, float]:
    chance = random.Random(seed)
    return {step: max(0.0, round(chance.gauss(level, math.sqrt(level)))) for step in range(360)}


def found(
    *stems: Stem, budget: float | None = 500.0, factor: float = 1.0, loads: float = 300.0
) -> list[Wall]:
    made = course(stems, NOW, HOUR)
    return walls.find(list(stems), made, factor=factor, loads_per_s=loads, budget_per_s=budget)


def test_a_burst_without_jitter_is_one_wall_of_its_stem_at_its_time() -> None:
    news = stem("news:{id}", {200: 3_628.0}, Rule(3_600.0), keys=3_640.0)
    (wall,) = found(stem("product:{id}", noise(110, 1)), news)
    assert wall.start == HOUR.start + 2_000 and wall.end == wall.start + 10
    (blame,) = wall.blame
    assert blame.stem == "news:{id}" and blame.policy == "news:" and blame.cause is Cause.NO_JITTER
    assert blame.keys == 3_628 and blame.share == pytest.approx(0.9967, abs=1e-4)
    assert wall.times is not None and 25 < wall.times < 45


@given(st.integers(0, 2**32))
def test_chance_alone_is_no_wall(seed: int) -> None:
    assert found(stem("product:{id}", noise(110, seed))) == []


@given(st.integers(0, 2**32))
def test_chance_alone_is_no_wall_in_a_sample_either(seed: int) -> None:
    chance = random.Random(seed)
    # 1 of 50 keys was looked at: each of the sample's stands for 50.
    sampled = {step: 50.0 * sum(chance.random() < 0.02 for _ in range(200)) for step in range(360)}
    assert found(stem("product:{id}", sampled), factor=50.0) == []


def test_walls_of_two_stems_in_one_step_are_blamed_on_both() -> None:
    a, b = stem("a:{id}", {100: 5_000.0}), stem("b:{id}", {100: 2_000.0})
    (wall,) = found(stem("product:{id}", noise(110, 2)), a, b)
    assert [each.stem for each in wall.blame] == ["a:{id}", "b:{id}"]


def test_steps_in_a_row_are_one_wall() -> None:
    (wall,) = found(stem("a:{id}", noise(20, 3)), stem("b:{id}", {50: 800.0, 51: 900.0, 52: 700.0}))
    assert (wall.start, wall.end) == (HOUR.start + 500, HOUR.start + 530)
    assert wall.blame[0].keys == 2_400


def test_the_full_hour_is_named() -> None:
    step = (3_600 - int(HOUR.start) % 3_600) // 10
    (wall,) = found(stem("b:{id}", {step: 4_000.0}, Rule(7_200.0, 600.0)))
    assert wall.start % 3_600 == 0 and wall.blame[0].cause is Cause.ROUND_TIME


@pytest.mark.parametrize(
    ("keys", "cause"), [(4_000.0, Cause.WARM_UP), (40_000.0, Cause.BURST)], ids=["nearly all", "a part"]
)
def test_without_any_other_reason_it_is_a_warm_up_or_a_burst(keys: float, cause: Cause) -> None:
    (wall,) = found(stem("b:{id}", {77: 4_000.0}, Rule(7_200.0, 600.0), keys=keys))
    assert wall.blame[0].cause is cause


def test_the_peak_is_what_those_keys_are_read() -> None:
    """n keys that end evenly over w seconds, each read at the rate r: n / w (1 - exp(-r w)) at the end."""
    (wall,) = found(stem("a:{id}", {50: 10_000.0}, reads=0.02), loads=100.0)
    assert wall.peak_per_s == pytest.approx(100 + 10_000 / 10 * (1 - math.exp(-0.2)), rel=0.01)


def test_what_nobody_reads_again_is_no_risk() -> None:
    (read,) = found(stem("a:{id}", {50: 10_000.0}, reads=0.1))
    (unread,) = found(stem("a:{id}", {50: 10_000.0}, reads=0.0))
    assert read.is_risk and not unread.is_risk and unread.peak_per_s == 300


def test_seconds_over_the_budget_are_those_until_enough_was_read_again() -> None:
    (wall,) = found(stem("a:{id}", {50: 10_000.0}, reads=0.02), loads=100.0, budget=200.0)
    at, over = 10.0, 0.0
    while 100 + 10_000 / 10 * (1 - math.exp(-0.2)) * math.exp(-0.02 * (at - 10)) > 200:
        at, over = at + 1, over + 1
    assert wall.over_s == pytest.approx(over + 10, abs=20)


def test_without_a_budget_nothing_is_a_risk() -> None:
    (wall,) = found(stem("a:{id}", {50: 10_000.0}), budget=None)
    assert not wall.is_risk


def test_few_keys_are_no_wall() -> None:
    assert found(stem("a:{id}", {50: walls.LEAST_KEYS - 1.0})) == []


@given(st.lists(st.integers(0, 50).map(float), min_size=1, max_size=150))
def test_usual_is_the_higher_median_of_either_side(values: list[float]) -> None:
    def upper(others: list[float]) -> float:
        return sorted(others)[len(others) // 2] if others else 0.0

    n = walls.NEIGHBOURS
    assert walls.medians(values) == [
        max(upper(values[max(0, at - n) : at]), upper(values[at + 1 : at + 1 + n]))
        for at in range(len(values))
    ]


@pytest.mark.parametrize("steps", [range(20), range(340, 360), range(100, 130)])
def test_where_something_even_begins_or_ends_is_no_wall(steps: range) -> None:
    assert found(stem("a:", dict.fromkeys(steps, 2_000.0))) == []


def test_a_respread_sinks_the_wall_and_loses_no_key() -> None:
    burst = stem("a:{id}", {250: 6_000.0}, keys=6_000.0)
    stems = [stem("product:{id}", noise(100, 5)), burst]
    (wall,) = found(*stems)
    after = remedies.respread(stems, wall, "a:{id}", NOW)
    assert found(*after) == []
    before_counts, counts = course(stems, NOW, HOUR).total, course(after, NOW, HOUR).total
    assert sum(counts) == pytest.approx(sum(before_counts), rel=0.001)
    assert max(made - was for made, was in zip(counts, before_counts, strict=True)) <= 6_000 / 249
    # Never later than before.
    assert sum(counts[251:]) == pytest.approx(sum(before_counts[251:]))


def test_a_wall_that_is_upon_us_stays() -> None:
    stems = [stem("a:{id}", {1: 6_000.0})]
    (wall,) = found(*stems)
    assert remedies.respread(stems, wall, "a:{id}", NOW) == stems


def test_jitter_changes_the_next_generation_of_its_policy_alone() -> None:
    a, b = (
        stem("a:{id}", {30: 900.0}, Rule(900.0), reads=10.0),
        stem("b:{id}", {30: 900.0}, Rule(900.0), reads=10.0),
    )
    after = remedies.add_jitter([a, b], "a:", 300.0)
    made = course(after, NOW, HOUR)
    assert max(made.by_stem["a:{id}"][100:]) < 40 < 500 < max(made.by_stem["b:{id}"][100:])
    assert made.by_stem["a:{id}"][30] == made.by_stem["b:{id}"][30] == 900


def test_somebody_is_always_to_blame() -> None:
    """Medians don't add up: three that take turns stand out together where each by itself does not."""
    fine: list[dict[int, float]] = [{}, {}, {}]
    turn = 0
    for step in range(3, 160):
        if step % 5 in (0, 2):
            for each in fine:
                each[step] = 200.0
        else:
            fine[turn % 3][step] = 200.0
            turn += 1
    walls_found = found(*(stem(name, each) for name, each in zip(("a:", "b:", "c:"), fine, strict=True)))
    assert walls_found and all(wall.blame for wall in walls_found)
