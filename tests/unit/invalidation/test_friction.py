"""How much is asked before a purge may start."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.caches.types import Cache, Environment, SealedUrl
from dashboard.invalidation import friction
from dashboard.invalidation.types import Friction, Limits, Plan, SelectBy
from tests.support.purges import plan, preview

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
CACHE = Cache(
    id=1,
    name="shop",
    sealed=SealedUrl(b"", lambda token: "redis://127.0.0.1/0"),
    environment=Environment.DEVELOPMENT,
    poll_interval_s=10,
    read_only=False,
    hit_ratio_target=0.8,
    revision=1,
    created_at=NOW,
    updated_at=NOW,
)
PRODUCTION = replace(CACHE, environment=Environment.PRODUCTION)
LIMITS = Limits(typed_above=10_000)


def asked(keys: int, wanted: Plan | None = None, cache: Cache = CACHE, **values: int) -> Friction:
    return friction.required(preview(NOW, keys, **values), wanted or plan(), cache, LIMITS)


@pytest.mark.parametrize(
    ("keys", "keyspace", "confirm", "typed"),
    [
        (0, 1_000_000, False, None),
        (1, 1_000_000, False, None),
        (1, 1, False, None),  # one key is one key, also where it is all there is
        (2, 1_000_000, True, None),
        (1_000, 1_000_000, True, None),
        (1_001, 1_000_000, True, None),
        (10_000, 1_000_000, True, None),
        (10_001, 1_000_000, True, "product:"),
        (50, 1_000, True, None),
        (51, 1_000, True, "product:"),
        (5, 0, True, None),  # how many keys there are is not known
    ],
)
def test_it_grows_with_what_is_touched(keys: int, keyspace: int, confirm: bool, typed: str | None) -> None:
    found = asked(keys, keyspace=keyspace)
    assert (found.confirm_count, found.typed, found.reason) == (confirm, typed, typed is not None)
    assert bool(found.why) == (typed is not None)


def test_an_estimate_counts_with_its_upper_end() -> None:
    assert asked(9_500, keys_error=500).typed is None
    assert asked(9_500, keys_error=501).typed == "product:"
    assert asked(1, keys_error=1).confirm_count


def test_a_production_cache_always_wants_a_reason() -> None:
    for keys in (0, 1, 2, 1_000, 20_000):
        found = asked(keys, cache=PRODUCTION)
        assert found.reason and any("production" in line for line in found.why)
    assert asked(1, cache=PRODUCTION).typed is None


@pytest.mark.parametrize("pattern", ["*", "**", "***"])
def test_everything_is_typed_however_little_it_is(pattern: str) -> None:
    found = asked(1, plan(pattern, SelectBy.PATTERN))
    assert found == Friction(True, pattern, True, ("The pattern takes every key.",))
    assert not friction.takes_everything(plan("*a", SelectBy.PATTERN))
    assert not friction.takes_everything(plan("*", SelectBy.TAG))


@pytest.mark.parametrize(
    ("by", "text", "wanted"),
    [
        (SelectBy.PREFIX, "product:", "product:"),
        (SelectBy.PATTERN, "a*b", "a*b"),
        (SelectBy.TAG, "sale-eu", "sale-eu"),
        (SelectBy.IDS, "product:{id}", "product:{id}"),
        (SelectBy.ROWS, "products.id", "products.id"),
        (SelectBy.KEYS, "", "shop"),
        (SelectBy.PREFIX, "  ", "shop"),
    ],
)
def test_what_is_to_be_typed_names_what_goes(by: SelectBy, text: str, wanted: str) -> None:
    assert asked(20_000, plan(text, by)).typed == wanted


@given(
    keys=st.integers(0, 10**9),
    more=st.integers(0, 10**9),
    error=st.integers(0, 10**6),
    keyspace=st.integers(0, 10**9),
    production=st.booleans(),
)
def test_more_keys_never_ask_for_less(
    keys: int, more: int, error: int, keyspace: int, production: bool
) -> None:
    cache = PRODUCTION if production else CACHE
    less = asked(keys, cache=cache, keys_error=error, keyspace=keyspace)
    rest = asked(keys + more, cache=cache, keys_error=error, keyspace=keyspace)
    assert rest.confirm_count >= less.confirm_count
    assert (rest.typed is not None) >= (less.typed is not None)
    assert rest.reason >= less.reason
    assert (rest.typed is None) or rest.confirm_count


def test_beyond_the_database_budget() -> None:
    found = friction.required(preview(NOW, 2), plan(), CACHE, LIMITS, beyond_budget_qps=1234.4)
    assert found.typed == "product:" and found.reason and "1,234 database reads/s" in found.why[0]
    # One key costs one read at a time, however often it is read.
    assert friction.required(preview(NOW, 1), plan(), CACHE, LIMITS, beyond_budget_qps=1234.4) == Friction()
