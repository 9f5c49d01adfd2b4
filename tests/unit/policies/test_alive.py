"""How many stored values are still there, held against a model that follows every single key."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

from dashboard.policies.alive import Flow, alive

START = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


class Keys:
    """A prefix whose every key is known."""

    def __init__(self, life_s: float) -> None:
        self.life_s = life_s
        self.ends: dict[int, float] = {}
        self.buckets: dict[int, list[int]] = {}

    def _bucket(self, at: float) -> list[int]:
        return self.buckets.setdefault(int(at // 60), [0, 0])

    def is_there(self, key: int, at: float) -> bool:
        return self.ends.get(key, at) > at

    def store(self, key: int, at: float) -> None:
        self._bucket(at)[0] += 1
        self.ends[key] = at + self.life_s

    def drop(self, key: int, at: float) -> None:
        if self.is_there(key, at):
            self._bucket(at)[1] += 1
            del self.ends[key]

    def real(self, at: float) -> int:
        return sum(end > at for end in self.ends.values())

    def stored(self, at: float) -> float:
        return sum(counts[0] for minute, counts in self.buckets.items() if minute * 60 >= at - self.life_s)

    def guess(self, at: float) -> int:
        now = START + timedelta(seconds=at)
        flows = []
        for minute in sorted(self.buckets):
            begins = START + timedelta(minutes=minute)
            if at - minute * 60 <= 3 * self.life_s:
                ends = min(now, begins + timedelta(minutes=1))
                flows.append(Flow(begins, ends, *self.buckets[minute]))
        since = now - timedelta(seconds=3 * self.life_s)
        return alive(flows, since, now, life_s=self.life_s, grace_s=0, is_all=False)


@pytest.mark.parametrize("life_s", [1200, 3600])
def test_a_prefix_that_is_dropped_and_loaded_again(life_s: float) -> None:
    keys = Keys(life_s)
    for at in range(0, 14_000, 660):
        for key in range(400):
            keys.drop(key, at + 1)
            keys.store(key, at + 2)
    assert keys.real(14_000) == 400 and keys.stored(14_000) >= 800
    assert keys.guess(14_000) == pytest.approx(400, rel=0.03)


def test_single_keys_that_are_removed_all_the_time() -> None:
    chance, keys = Random(1), Keys(1800)
    for at in range(14_400):
        keys.drop(chance.randrange(600), at)
        for _ in range(3):
            if not keys.is_there(key := chance.randrange(600), at):
                keys.store(key, at)
    assert keys.stored(14_400) > 1.5 * keys.real(14_400)
    assert keys.guess(14_400) == pytest.approx(keys.real(14_400), rel=0.15)


def test_a_life_of_less_than_a_minute() -> None:
    chance, keys = Random(2), Keys(45)
    for at in range(3_600):
        keys.drop(chance.randrange(100), at)
        for _ in range(5):
            if not keys.is_there(key := chance.randrange(100), at):
                keys.store(key, at)
    assert keys.guess(3_600) == pytest.approx(keys.real(3_600), rel=0.25)


def fresh(flows: list[Flow], now: datetime, *, life_s: float, grace_s: float) -> int:
    return alive(flows, START, now, life_s=life_s, grace_s=grace_s, is_all=True)


def test_without_removals_everything_that_was_stored_counts() -> None:
    flows = [Flow(START, START + timedelta(minutes=1), 60, 0)]
    assert fresh(flows, START + timedelta(minutes=1), life_s=60, grace_s=0) == 60
    assert fresh(flows, START + timedelta(seconds=90), life_s=60, grace_s=0) == 30
    assert fresh(flows, START + timedelta(seconds=121), life_s=60, grace_s=0) == 0


def test_what_is_removed_in_its_grace_is_not_taken_from_fresh_values() -> None:
    step = timedelta(minutes=1)
    flows = [Flow(START, START + step, 100, 0), Flow(START + 10 * step, START + 11 * step, 50, 100)]
    now = START + 11 * step
    assert fresh(flows, now, life_s=300, grace_s=900) == 50
    assert fresh(flows, now, life_s=300, grace_s=0) == 0
