"""The demo's traffic, its time simulated, on a real Valkey with the demo's memory."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from dashboard.caching import Cache
from dashboard.demo import traffic
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.traffic import TICK_S, Shop, Traffic
from dashboard.embedded import valkey

LIMITS = {"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"}


@pytest.fixture
def cache(valkey_url: str) -> Iterator[redis.Redis]:
    """An empty cache with the demo's limits, whatever server the tests run on."""
    with redis.Redis.from_url(valkey_url) as client:
        for name, value in LIMITS.items():
            client.config_set(name, value)
        client.slowlog_reset()
        yield client
        client.flushall()


@pytest.fixture
def library(valkey_url: str) -> Iterator[Cache]:
    """The library as the shop uses it, with the demo's policies."""
    with Cache(valkey_url, follow=False) as made:
        made.use(DOCUMENT)
        yield made


@pytest.fixture
def shop(cache: redis.Redis, library: Cache) -> Shop:
    return Shop([library], cache)


def simulate(shop: Shop, start_s: int, end_s: int) -> int:
    """Let the shop's clock run from one second to another; returns how many reads that were."""
    ticks = range(round(start_s / TICK_S), round(end_s / TICK_S))
    return sum(shop.tick(tick * TICK_S, TICK_S) for tick in ticks)


def hit_ratio(cache: redis.Redis, shop: Shop, start_s: int, end_s: int) -> float:
    before = cache.info("stats")
    simulate(shop, start_s, end_s)
    after = cache.info("stats")
    hits, misses = (after[name] - before[name] for name in ("keyspace_hits", "keyspace_misses"))
    return float(hits / (hits + misses))


@pytest.mark.timeout(240)
def test_fills_the_memory_in_minutes_and_dips_when_the_crawler_comes(cache: redis.Redis, shop: Shop) -> None:
    shop.warm_up()
    simulate(shop, 0, 150)
    warm = hit_ratio(cache, shop, 150, 240)
    assert 0.8 < warm < 0.95
    crawled = hit_ratio(cache, shop, 240, 285)
    assert 0.5 < crawled < warm - 0.1
    simulate(shop, 285, 400)
    assert 0.8 < hit_ratio(cache, shop, 400, 430) < 0.95
    info = cache.info()
    assert info["used_memory"] > 0.95 * info["maxmemory"]
    assert info["evicted_keys"] > 1000


def test_keeps_its_rate_within_bounds(shop: Shop) -> None:
    reads = simulate(shop, 0, 30)
    assert 0.6 < reads / 30 / traffic.READS_PER_S < 1.4


def test_leaves_slow_commands_in_the_slow_log(cache: redis.Redis, shop: Shop) -> None:
    cache.config_set("slowlog-log-slower-than", "1000")
    simulate(shop, 0, 12)
    assert b"SORT report:visitors" in b" ".join(entry["command"] for entry in cache.slowlog_get(10))


def test_a_sale_drops_every_category(cache: redis.Redis, shop: Shop) -> None:
    shop.warm_up()
    before = len(list(cache.scan_iter("category:*", count=1000)))
    shop.tick(traffic.SALE_EVERY_S, TICK_S)
    assert before == 400
    assert len(list(cache.scan_iter("category:*", count=1000))) == 0


def test_everything_but_nothing_forever(cache: redis.Redis, shop: Shop) -> None:
    simulate(shop, 0, 15)
    ttls = {key: cache.ttl(key) for key in cache.scan_iter(count=1000) if not key.startswith(b"cachewarden:")}
    assert {key.partition(b":")[0].decode() + ":" for key in ttls} >= {kind.prefix for kind in traffic.KINDS}
    assert -1 not in ttls.values()


def test_the_same_seed_asks_for_the_same_things(cache: redis.Redis, library: Cache) -> None:
    seen = []
    for seed in (1, 1, 2):
        cache.flushall()
        simulate(Shop([library], cache, seed=seed), 0, 3)
        keys = [key for key in cache.scan_iter(count=1000) if not key.startswith(b"cachewarden:")]
        seen.append({key: cache.dump(key) for key in keys if key != b"report:visitors"})
    assert seen[0] == seen[1]
    assert seen[1].keys() != seen[2].keys()


def test_stays_as_long_as_the_published_policies_say(cache: redis.Redis, library: Cache, shop: Shop) -> None:
    simulate(shop, 0, 3)
    for policy in DOCUMENT.policies:
        assert policy.base_ttl_s is not None
        ttls = [cache.ttl(key) for key in cache.scan_iter(policy.prefix + b"*", count=1000)]
        assert ttls and all(
            policy.base_ttl_s - 20 < ttl <= policy.base_ttl_s + policy.jitter_s for ttl in ttls
        )
    news = next(policy for policy in DOCUMENT.policies if policy.prefix == b"news:")
    changed = [policy for policy in DOCUMENT.policies if policy is not news]
    library.use(
        replace(
            DOCUMENT, version=2, policies=(*changed, replace(news, tier="hot", base_ttl_s=40, jitter_s=0))
        )
    )
    cache.delete(*cache.keys("news:*"))
    simulate(shop, 3, 6)
    written = [cache.ttl(key) for key in cache.scan_iter("news:*", count=1000)]
    assert written and all(0 < ttl <= 40 for ttl in written)


def test_a_booking_is_in_the_cache_at_once(cache: redis.Redis, library: Cache, shop: Shop) -> None:
    simulate(shop, 0, 20)
    booked = [json.loads(cache.get(key) or b"{}").get("bookings", 0) for key in cache.scan_iter("wallet:*")]
    assert sum(booked) > 20


def calls(client: redis.Redis) -> int:
    return int(client.info("commandstats").get("cmdstat_get", {"calls": 0})["calls"])


def wait_for_calls(client: redis.Redis, more_than: int) -> None:
    deadline = time.monotonic() + 20
    while calls(client) <= more_than:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_comes_back_after_the_cache_was_away(server_folder: Path) -> None:
    first = valkey.start(server_folder / "valkey", config=LIMITS)
    running = Traffic(first.url)
    running.start()
    try:
        with redis.Redis.from_url(first.url) as client:
            wait_for_calls(client, 50)
            os.kill(first.pid, signal.SIGKILL)
            first.stop()
            with valkey.start(server_folder / "valkey", port=first.port, config=LIMITS):
                client.connection_pool.disconnect()
                wait_for_calls(client, 50)
                running.stop()
                done = calls(client)
                time.sleep(0.5)
                assert calls(client) == done
    finally:
        running.stop()
