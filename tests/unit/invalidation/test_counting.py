"""Estimates that say how far they may be off; samples that are fair; what filters let pass."""

from collections import Counter
from random import Random

import pytest

from dashboard.caching.policy import DEFAULT_POLICY, Policy, PolicyTable, Protection
from dashboard.invalidation import counting
from dashboard.invalidation.counting import Counted, Sample, estimate
from dashboard.invalidation.facts import Facts, Wants, passes
from dashboard.invalidation.loads import MOST_PREFIXES, concerned
from dashboard.invalidation.types import Filters


def test_what_was_looked_at_whole_is_exact() -> None:
    assert estimate([Counted(7, 100, 100, True), Counted(0, 0, 0, True)]) == (7, 0)


NOW = 1_800_000_000.0


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.02, 0.5, 0.99])
def test_estimates_hold_what_they_promise(share: float) -> None:
    """Of many estimates nineteen in twenty contain the truth, as their interval says."""
    chance = Random(7)
    totals = (30_000, 70_000)
    held = 0
    errors = []
    for _ in range(200):
        counts, truth = [], 0
        for total in totals:
            selected = sum(chance.random() < share for _ in range(total // 100)) * 100
            truth += selected
            looked = 3_000
            # Drawn without replacement, as a scan in the order of hashes does.
            matched = sum(1 for pick in chance.sample(range(total), looked) if pick < selected)
            counts.append(Counted(matched, looked, total, False))
        keys, error = estimate(counts)
        errors.append(error)
        held += abs(keys - truth) <= error
    assert held >= 185
    assert max(errors) < 0.04 * sum(totals)


def test_nothing_found_does_not_mean_that_there_is_nothing() -> None:
    keys, error = estimate([Counted(0, 10_000, 1_000_000, False)])
    assert keys == 0 and error == 300


def test_memory() -> None:
    assert counting.memory([], 0, 0) == (0, 0)
    assert counting.memory([], 5, 0) == (None, None)
    assert counting.memory([100, 100], 2, 0) == (200, 0)
    size, error = counting.memory([100] * 500 + [300] * 500, 100_000, 0)
    assert size == 20_000_000 and error is not None and 600_000 < error < 640_000
    _, error = counting.memory([100] * 100, 1_000, 50)
    assert error == 5_000


def test_a_sample_is_fair_and_can_be_put_together() -> None:
    chance = Random(3)
    seen: Counter[int] = Counter()
    for _ in range(400):
        parts = [Sample(chance.random, 20), Sample(chance.random, 20)]
        parts[0].add(b"%d" % number for number in range(300))
        parts[1].add(b"%d" % number for number in range(300, 400))
        parts[0].merge(parts[1])
        keys = parts[0].keys
        assert len(set(keys)) == 20
        seen.update(int(key) // 100 for key in keys)
    # A quarter from each hundred, though the second stream was shorter.
    assert all(1_800 < seen[hundred] < 2_200 for hundred in range(4))
    small = Sample(chance.random, 20)
    small.add([b"a", b"b", b"a"])
    assert sorted(small.keys) == [b"a", b"b"]


def test_shares() -> None:
    assert counting.ttl_counts([Facts(ttl_ms=ms) for ms in (1, 60_000, 60_001, 10**12, -1, -1)]) == (
        *(2, 1, 0, 0, 0, 0, 0, 0, 0),
        1,
        2,
    )
    a = Policy(prefix=b"a:", tier="hot", base_ttl_s=60, protection=Protection(grace_s=5))
    table = PolicyTable([(b"a:", a)], DEFAULT_POLICY)
    assert counting.by_policy([b"a:1", b"a:2", b"b", b"c"], table) == ({"a:": 0.5, "": 0.5}, 0.5)
    assert counting.by_policy([], table) == ({}, 0.0)
    (one,) = counting.shown([(b"a:1", Facts(10, "hash", 1500))], table)
    assert (one.type, one.ttl_s, one.size_bytes, one.policy) == ("hash", 1.5, 10, "a:")
    assert counting.shown([(b"a:1", Facts())] * 200, table)[99].ttl_s is None
    assert len(counting.shown([(b"a:1", Facts())] * 200, table)) == 100


@pytest.mark.parametrize(
    ("filters", "facts", "expected"),
    [
        (Filters(), Facts(), True),
        (Filters(type="hash"), Facts(type="string"), False),
        (Filters(ttl_min_s=10), Facts(ttl_ms=10_000), True),
        (Filters(ttl_min_s=10), Facts(ttl_ms=9_999), False),
        (Filters(ttl_min_s=10), Facts(ttl_ms=-1), True),
        (Filters(ttl_max_s=10), Facts(ttl_ms=-1), False),
        (Filters(ends_from=int(NOW) + 60), Facts(ttl_ms=60_000), True),
        (Filters(ends_from=int(NOW) + 60), Facts(ttl_ms=59_000), False),
        (Filters(ends_from=int(NOW) + 60), Facts(ttl_ms=-1), True),
        (Filters(ends_until=int(NOW) + 60), Facts(ttl_ms=60_000), True),
        (Filters(ends_until=int(NOW) + 60), Facts(ttl_ms=61_000), False),
        (Filters(ends_until=int(NOW) + 60), Facts(ttl_ms=-1), False),
        (Filters(ttl_max_s=10), Facts(ttl_ms=10_000), True),
        (Filters(without_ttl=True), Facts(ttl_ms=5), False),
        (Filters(without_ttl=True), Facts(ttl_ms=-1), True),
        (Filters(idle_min_s=5), Facts(idle_s=4), False),
        (Filters(size_min_bytes=5, size_max_bytes=6), Facts(size_bytes=6), True),
        (Filters(size_min_bytes=5, size_max_bytes=6), Facts(size_bytes=7), False),
    ],
)
def test_filters(filters: Filters, facts: Facts, expected: bool) -> None:
    assert passes(facts, filters, NOW) is expected


def test_only_what_is_needed_is_asked() -> None:
    assert Wants.of(Filters()) == Wants(size=True)
    assert Wants.of(Filters(type="hash", ttl_max_s=1)) == Wants(type=True, ttl=True)
    assert Wants.of(Filters(idle_min_s=1)).number == 1


def test_which_prefixes_a_purge_concerns() -> None:
    def policy(prefix: bytes) -> Policy:
        return Policy(prefix=prefix, tier="hot", base_ttl_s=60)

    prefixes = (b"a:", b"a:b:", b"a:b:c:", b"z:")
    table = PolicyTable([(prefix, policy(prefix)) for prefix in prefixes], DEFAULT_POLICY)
    # Below the head, and the longest above it: others have nothing of it.
    assert concerned(table, b"a:b:x") == [b"a:b:"]
    assert concerned(table, b"a:b:") == [b"a:b:", b"a:b:c:"]
    assert concerned(table, b"a") == [b"", b"a:", b"a:b:", b"a:b:c:"]
    assert concerned(table, b"") == [b"", *prefixes]
    assert concerned(table, b"q") == [b""]
    many = PolicyTable([(b"%d:" % number, policy(b"%d:" % number)) for number in range(200)], DEFAULT_POLICY)
    assert concerned(many, b"") is None and MOST_PREFIXES < 200
