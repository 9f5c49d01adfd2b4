"""The preview's arithmetic, held against simulated bursts."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from dashboard.caching.policy import Policy
from dashboard.policies.preview import MAX_BARS, likely_peak, preview
from dashboard.policies.types import KeysSource

NEWS = Policy(b"news:", "frequently-updated", 3600, 300)


def simulated(policy: Policy, keys: int, burst_s: int, chance: random.Random) -> Counter[int]:
    """Keys expiring in each second, written evenly within the burst."""
    assert policy.base_ttl_s is not None
    return Counter(
        int(burst_s * chance.random() + policy.base_ttl_s + policy.jitter_s * chance.random())
        for _ in range(keys)
    )


@pytest.mark.parametrize(("jitter_s", "burst_s"), [(300, 1), (300, 60), (7, 20), (86_400, 1), (1, 1)])
def test_the_bars_are_what_bursts_do(jitter_s: int, burst_s: int) -> None:
    policy = replace(NEWS, jitter_s=jitter_s)
    shown = preview(policy, 20_000, KeysSource.TYPED, burst_s=burst_s)
    assert shown is not None
    assert sum(shown.jittered) == pytest.approx(20_000) and sum(shown.plain) == pytest.approx(20_000)
    assert len(shown.starts_s) == len(shown.plain) == len(shown.jittered) <= MAX_BARS
    seconds = simulated(policy, 20_000, burst_s, random.Random(1))
    for start, expected in zip(shown.starts_s, shown.jittered, strict=True):
        there = sum(seconds[second] for second in range(start, start + shown.step_s))
        assert abs(there - expected) <= 6 * max(1.0, expected) ** 0.5, start


def test_the_issues_example() -> None:
    shown = preview(NEWS, 10_000, KeysSource.TYPED)
    assert shown is not None
    assert shown.plain_peak_s == 10_000
    assert shown.jittered_peak_s == pytest.approx(10_000 / 300)
    assert shown.likely_peak_s <= 70


@pytest.mark.parametrize("mean", [0.01, 0.5, 3, 33.3, 400, 2000])
def test_the_likely_peak_is_rarely_exceeded_and_not_far_off(mean: float) -> None:
    chance, seconds = random.Random(2), 100
    peak = likely_peak(mean, seconds)
    exceeded = 0
    for _ in range(300):
        worst = max(
            round(chance.gauss(mean, mean**0.5)) if mean > 100 else poisson(mean, chance)
            for _ in range(seconds)
        )
        exceeded += worst > peak
    assert exceeded <= 3
    assert peak <= mean + 7 * mean**0.5 + 8


def poisson(mean: float, chance: random.Random) -> int:
    if mean > 100:
        return round(chance.gauss(mean, mean**0.5))
    count, passed = 0, chance.expovariate(mean)
    while passed < 1:
        count, passed = count + 1, passed + chance.expovariate(mean)
    return count


@pytest.mark.parametrize(
    ("jitter_s", "keys", "kind", "said"),
    [
        (0, 3_628, "warn", "3,628 keys written together expire together"),
        (720, 3_628, "ok", "spread over 12 m"),
        (2, 3_628, "warn", "Little relief"),
        (6, 10_000, "warn", "1,667 keys still expire in one second"),
        (300, 1_000_000, "info", "3,333 loads in a second"),
        (50, 4_000, "ok", "spread over 50 s"),
        (1, 50, "warn", "Little relief"),
        (0, 5, "ok", "too few"),
    ],
)
def test_the_verdict(jitter_s: int, keys: int, kind: str, said: str) -> None:
    shown = preview(replace(NEWS, jitter_s=jitter_s), keys, KeysSource.COUNTED)
    assert shown is not None and shown.kind == kind and said in shown.verdict


def test_what_is_not_cached_has_no_preview() -> None:
    assert preview(replace(NEWS, base_ttl_s=None, jitter_s=0), 10, KeysSource.TYPED) is None
