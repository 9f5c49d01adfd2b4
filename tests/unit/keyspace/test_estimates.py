"""Errors that a snapshot states: as often as they claim, the truth lies within them; not much more often either."""

import random
from collections.abc import Callable, Sequence

from dashboard.keyspace.types import Estimate, Kind, Snapshot
from tests.support.collected import Row, collected, find, shot

KEYSPACE = 20_000
LOOKED_AT = 1_000
TRIALS = 150
PREFIXES = {"large:": 0.6, "middle:": 0.35, "small:": 0.05}


def population(chance: random.Random) -> list[Row]:
    """Keys of three kinds with sizes of their own, one of them very uneven; some without TTL."""
    rows: list[Row] = []
    for number in range(KEYSPACE):
        (prefix,) = chance.choices(list(PREFIXES), list(PREFIXES.values()))
        size = {"large:": 80, "middle:": 1_000, "small:": 5_000}[prefix]
        measured = (
            int(size * chance.uniform(0.5, 1.5)) if prefix != "small:" else int(size * chance.expovariate(1))
        )
        ttl_ms = -1 if chance.random() < 0.1 else chance.randrange(1, 150_000)
        rows.append((b"%s%d" % (prefix.encode(), number), b"string", ttl_ms, measured, -1))
    return rows


def hits(
    found: Sequence[Snapshot], pick: Callable[[Snapshot], Estimate | None], truth: float
) -> tuple[float, float]:
    """How often the truth lies within the error, and the mean of estimates over it."""
    estimates = [estimate for snapshot in found if (estimate := pick(snapshot)) is not None]
    assert len(estimates) == len(found)
    within = sum(abs(estimate.value - truth) <= estimate.error for estimate in estimates)
    return within / len(found), sum(estimate.value for estimate in estimates) / len(found) / truth


def samples(rows: list[Row], chance: random.Random, size_every: int = 1) -> list[Snapshot]:
    found = []
    for _ in range(TRIALS):
        drawn = [
            (*row[:3], row[3] if number % size_every == 0 else -1, -1)
            for number, row in enumerate(chance.sample(rows, LOOKED_AT))
        ]
        collector = collected(drawn, step=500)
        factor = KEYSPACE / LOOKED_AT
        found.append(shot(collector, kind=Kind.SAMPLE, factor=factor, keyspace=KEYSPACE))
    return found


def test_the_truth_lies_within_the_error_of_a_sample() -> None:
    chance = random.Random(11)
    rows = population(chance)
    for size_every in (1, 5):
        found = samples(rows, chance, size_every)
        for prefix in PREFIXES:
            mine = [row for row in rows if row[0].startswith(prefix.encode())]
            for pick, truth in (
                (lambda each, prefix=prefix: find(each, prefix).keys, len(mine)),
                (lambda each, prefix=prefix: find(each, prefix).size, sum(row[3] for row in mine)),
                (
                    lambda each, prefix=prefix: find(each, prefix).without_ttl,
                    sum(row[2] < 0 for row in mine),
                ),
            ):
                within, bias = hits(found, pick, truth)
                # Ten measured keys of very uneven sizes tell little about how uneven they are.
                least = 0.8 if (prefix, size_every) == ("small:", 5) else 0.88
                assert within >= least, (prefix, size_every, truth, within)
                assert 0.97 <= bias <= 1.03, (prefix, truth, bias)
        within, bias = hits(found, lambda each: each.root.size, sum(row[3] for row in rows))
        assert within >= (0.88 if size_every == 1 else 0.8)
        within, _ = hits(found, lambda each: each.policies[0].too_long, sum(row[2] > 76_000 for row in rows))
        assert within >= 0.88
        assert all(each.root.keys == Estimate(KEYSPACE) for each in found)


def test_errors_are_no_larger_than_needed() -> None:
    chance = random.Random(12)
    rows = population(chance)
    found = samples(rows, chance)
    large = find(found[0], "large:")
    # Of 1,000 draws with a share of 0.6 the standard error is 1.5 points.
    assert 0.025 * KEYSPACE < large.keys.error < 0.035 * KEYSPACE
    assert large.size is not None
    assert large.size.error / large.size.value < 0.08


def test_a_larger_sample_knows_more() -> None:
    chance = random.Random(13)
    rows = population(chance)
    errors = []
    for number in (500, 2_000, 8_000, KEYSPACE):
        snapshot = shot(collected(chance.sample(rows, number)), kind=Kind.SAMPLE, factor=KEYSPACE / number)
        size = find(snapshot, "middle:").size
        assert size is not None
        errors.append((find(snapshot, "middle:").keys.error, size.error))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == (0, 0)


def test_a_full_scan_that_measures_some_keys() -> None:
    chance = random.Random(14)
    rows = population(chance)
    found = []
    for _ in range(40):
        measured = set(chance.sample(range(KEYSPACE), KEYSPACE // 20))
        some = [(*row[:3], row[3] if number in measured else -1, -1) for number, row in enumerate(rows)]
        found.append(shot(collected(some, step=5_000)))
    for prefix in PREFIXES:
        mine = [row for row in rows if row[0].startswith(prefix.encode())]
        assert all(find(each, prefix).keys == Estimate(len(mine)) for each in found)
        within, bias = hits(
            found, lambda each, prefix=prefix: find(each, prefix).size, sum(row[3] for row in mine)
        )
        assert within >= 0.85, prefix
        assert 0.97 <= bias <= 1.03
    exact = shot(collected(rows, step=5_000))
    assert exact.root.size == Estimate(sum(row[3] for row in rows))


def test_a_prefix_without_a_measured_key_is_reckoned_like_the_others() -> None:
    rows: list[Row] = [(b"a:%d" % n, b"string", -1, 100, -1) for n in range(99)]
    rows.append((b"b:1", b"string", -1, -1, -1))
    size = find(shot(collected(rows)), "b:").size
    assert size is not None
    assert size.value == 100
    assert size.error > 100


def test_what_no_key_of_a_sample_shows_may_still_be_there() -> None:
    rows: list[Row] = [(b"a:%d" % n, b"string", 1_000, 100, -1) for n in range(100)]
    snapshot = shot(collected(rows), kind=Kind.SAMPLE, factor=50.0, keyspace=5_000)
    assert snapshot.root.without_ttl.value == 0
    assert 50 < snapshot.root.without_ttl.error < 300
