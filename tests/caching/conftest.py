"""Fixtures of the library's tests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from dashboard.caching import Cache, Policy, Protection, Strategy


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    """A plain client of the Valkey the test's caches use."""
    with redis.Redis.from_url(valkey_url) as client:
        yield client


MakeCache = Callable[..., Cache]


@pytest.fixture
def make_cache(valkey_url: str) -> Iterator[MakeCache]:
    """``make_cache(base_ttl_s=60, grace_s=5, ...)``: a cache with such a default policy, closed after the test.

    Its time-outs are long: on a machine that is busy nobody's Redis is away.
    """
    made: list[Cache] = []

    def make(target: Any = None, *, options: dict[str, Any] | None = None, **policy: Any) -> Cache:
        patient = f"{valkey_url}?socket_timeout=30&socket_connect_timeout=30"
        cache = Cache(patient if target is None else target, default=a_policy(**policy), **(options or {}))
        made.append(cache)
        return cache

    yield make
    for cache in made:
        cache.close()


@pytest.fixture
def cache(make_cache: MakeCache) -> Cache:
    return make_cache()


def a_policy(
    *, lease: bool = True, early_refresh_beta: float | None = None, grace_s: int | None = None, **changes: Any
) -> Policy:
    """A policy with defaults fit for tests."""
    fields: dict[str, Any] = {
        "prefix": b"",
        "tier": "hot",
        "base_ttl_s": 60,
        "jitter_s": 0,
        "strategy": Strategy.WRITE_THROUGH,
        "negative_ttl_s": 5,
        "longest_wait_s": 5.0,
        "protection": Protection(lease, early_refresh_beta, grace_s),
    }
    return Policy(**fields | changes)
