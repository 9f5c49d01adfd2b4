"""The demo's traffic, its time simulated, on a real Valkey with the demo's memory."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from dashboard.demo import traffic
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


def test_fills_the_memory_in_minutes_and_dips_when_the_crawler_comes(cache: redis.Redis) -> None:
    shop = Shop([cache])
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


def test_keeps_its_rate_within_bounds(cache: redis.Redis) -> None:
    reads = simulate(Shop([cache]), 0, 60)
    assert 0.6 < reads / 60 / traffic.READS_PER_S < 1.4


def test_leaves_slow_commands_in_the_slow_log(cache: redis.Redis) -> None:
    cache.config_set("slowlog-log-slower-than", "1000")
    simulate(Shop([cache]), 0, 12)
    assert b"SORT report:visitors" in b" ".join(entry["command"] for entry in cache.slowlog_get(10))


def test_a_sale_drops_every_category(cache: redis.Redis) -> None:
    shop = Shop([cache])
    shop.warm_up()
    before = len(list(cache.scan_iter("category:*", count=1000)))
    shop.tick(traffic.SALE_EVERY_S, TICK_S)
    assert before == 400
    assert len(list(cache.scan_iter("category:*", count=1000))) == 0


def test_everything_but_nothing_forever(cache: redis.Redis) -> None:
    shop = Shop([cache])
    simulate(shop, 0, 15)
    ttls = {key: cache.ttl(key) for key in cache.scan_iter(count=1000)}
    assert {key.partition(b":")[0].decode() + ":" for key in ttls} >= {kind.prefix for kind in traffic.KINDS}
    assert -1 not in ttls.values()


def test_the_same_seed_asks_for_the_same_things(cache: redis.Redis) -> None:
    seen = []
    for seed in (1, 1, 2):
        cache.flushall()
        simulate(Shop([cache], seed=seed), 0, 3)
        seen.append(set(cache.scan_iter(count=1000)))
    assert seen[0] == seen[1] != seen[2]


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
