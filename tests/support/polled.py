"""Caches with a little history, read from a real server with a clock that the test moves."""

from datetime import timedelta
from typing import cast

import redis

from dashboard.caches.types import Cache
from dashboard.errors import CacheUnavailable
from dashboard.monitoring import polling, store
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support.some_caches import add_cache

INTERVAL_S = 10
LOOK_S = 1


def pass_time(runtime: Runtime, seconds: float) -> None:
    """Move the test's clock on."""
    clock = cast(FixedClock, runtime.clock)
    clock.wall += timedelta(seconds=seconds)
    clock.mono += seconds


def poll(runtime: Runtime, cache: Cache, error: CacheUnavailable | None = None) -> None:
    """One poll as the worker does it, and a second until somebody looks; with ``error`` it fails."""
    clock = runtime.clock
    with runtime.database.transaction() as session:
        store.ensure_partitions(session, clock.now())
        before = store.load_state(session, cache.id, now=clock.now(), clock_s=clock.monotonic())
        if error is None:
            stored = polling.record(session, cache, before, polling.ask(runtime.fleet, cache, clock))
        else:
            stored = polling.record_failure(session, cache, before, error, clock.now())
        assert stored is not None
    pass_time(runtime, LOOK_S)


def polled_cache(runtime: Runtime, url: str, name: str = "shop-prod", polls: int = 3) -> Cache:
    """A cache on a real server, polled every ten seconds with 90 hits and 10 misses in between."""
    cache = add_cache(runtime, name, url)
    with redis.Redis.from_url(url) as client:
        client.set("key", "value")
        for number in range(polls):
            if number:
                with client.pipeline(transaction=False) as pipe:
                    for lookup in range(100):
                        pipe.get("key" if lookup < 90 else "nothing")
                    pipe.execute()
                pass_time(runtime, INTERVAL_S - LOOK_S)
            poll(runtime, cache)
    return cache
