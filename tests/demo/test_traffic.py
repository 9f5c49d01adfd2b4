"""The shop's everyday life, its time simulated, on a small shop and a real Valkey."""

import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
import redis

from dashboard.demo import traffic
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.catalogue import SMALL
from dashboard.demo.shop.pages import Shop
from dashboard.demo.traffic import TICK_S, Day, Traffic
from dashboard.embedded import valkey
from tests.support.polling import WAIT_S, wait_until

ORDERS = "SELECT count(*) FROM shop.orders WHERE order_key NOT LIKE 'seed-%'"


@pytest.fixture
def cache(valkey_url: str) -> Iterator[redis.Redis]:
    """An empty cache."""
    with redis.Redis.from_url(valkey_url) as client:
        client.flushall()
        yield client
        client.flushall()


@pytest.fixture
def shops(cache: redis.Redis, shop_url: str, valkey_url: str) -> Iterator[list[Shop]]:
    made = traffic.open_shops(shop_url, valkey_url)
    yield made
    traffic.close_shops(made)


@pytest.fixture
def day(cache: redis.Redis, shops: list[Shop]) -> Day:
    return Day(shops, cache, SMALL)


def simulate(day: Day, start_s: float, end_s: float) -> int:
    """Let the shop's clock run from one second to another; returns how many pages that were."""
    ticks = range(round(start_s / TICK_S), round(end_s / TICK_S))
    return sum(day.tick(tick * TICK_S, TICK_S) for tick in ticks)


def keys(cache: redis.Redis, pattern: str = "*") -> set[str]:
    found = {key.decode() for key in cache.scan_iter(pattern, count=1000)}
    return {key for key in found if not key.startswith("cachewarden:")}


def test_keeps_its_rate_within_bounds_and_most_reads_are_hits(cache: redis.Redis, day: Day) -> None:
    day.warm_up()
    before = cache.info("stats")
    pages = simulate(day, 0, 30)
    after = cache.info("stats")
    hits, misses = (after[name] - before[name] for name in ("keyspace_hits", "keyspace_misses"))
    assert 0.6 < pages / 30 / traffic.PAGES_PER_S < 1.4
    assert hits / (hits + misses) > 0.75


def test_what_was_missed_is_not_made_up_for(day: Day) -> None:
    simulate(day, 0, 1)
    assert simulate(day, 500, 502) < 4 * traffic.PAGES_PER_S


def test_who_ends_it_waits_for_no_more_than_a_page(cache: redis.Redis, shops: list[Shop]) -> None:
    def lists() -> int:
        return len(keys(cache, "category:*"))

    day = Day(shops, cache, SMALL, is_over=lambda: lists() >= 3)
    day.warm_up()
    assert lists() == 3 and simulate(day, 0, 5) == 0
    Day(shops, cache, SMALL).warm_up()
    assert lists() > 10


def test_a_crawler_reads_what_nobody_reads(cache: redis.Redis, day: Day) -> None:
    day.warm_up()
    last = f"product:{SMALL.products}:reviews"
    assert last not in keys(cache)
    begin = traffic.CRAWLER_FIRST_S
    crawled = day._crawl(begin, 1.0)
    assert crawled == traffic.CRAWLER_PAGES_PER_S and last in keys(cache)
    assert day._crawl(begin - 1, 1.0) == day._crawl(begin + traffic.CRAWLER_FOR_S, 1.0) == 0


def test_leaves_slow_commands_in_the_slow_log(cache: redis.Redis, day: Day) -> None:
    threshold = str(cache.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"])
    cache.config_set("slowlog-log-slower-than", "1000")
    simulate(day, 9.9, 10.2)
    assert b"SORT report:visitors" in b" ".join(entry["command"] for entry in cache.slowlog_get(10))
    cache.config_set("slowlog-log-slower-than", threshold)


def test_a_sale_drops_every_category(cache: redis.Redis, day: Day) -> None:
    day.warm_up()
    assert len(keys(cache, "category:*")) > 10
    day._sale()
    assert keys(cache, "category:*") == set()


def test_has_keys_of_every_policy_and_nothing_stays_forever(cache: redis.Redis, day: Day) -> None:
    day.warm_up()
    simulate(day, 0, 20)
    found = keys(cache)
    for policy in DOCUMENT.policies:
        assert any(key.startswith(policy.prefix.decode()) for key in found), policy.prefix
    assert -1 not in {cache.ttl(key) for key in found}
    # What its row has is what the mapping makes of it.
    made = {template.replace("{id}", "1") for template in DOCUMENT.mappings[0].templates}
    assert made == {key for key in found if key.split(":")[1] == "1" and key[0] in "pi"}


def test_the_same_seed_asks_for_the_same_things(cache: redis.Redis, shops: list[Shop]) -> None:
    seen = []
    for seed in (1, 1, 2):
        cache.flushall()
        simulate(Day(shops, cache, SMALL, seed=seed), 0, 3)
        seen.append(keys(cache))
    assert seen[0] == seen[1] != seen[2]


def test_stays_as_long_as_the_policies_say(cache: redis.Redis, shops: list[Shop], day: Day) -> None:
    day.warm_up()
    for policy in DOCUMENT.policies:
        assert policy.base_ttl_s is not None
        ttls = [cache.ttl(key) for key in keys(cache, policy.prefix.decode() + "*")]
        assert all(ttl <= policy.base_ttl_s + policy.jitter_s for ttl in ttls)
        assert policy.base_ttl_s < 100 or all(ttl > policy.base_ttl_s - 100 for ttl in ttls)
    news = next(policy for policy in DOCUMENT.policies if policy.prefix == b"news:")
    others = tuple(policy for policy in DOCUMENT.policies if policy is not news)
    short = replace(news, tier="hot", base_ttl_s=40, jitter_s=0)
    for shop in shops:
        shop.modes.kept.cache.use(replace(DOCUMENT, version=2, policies=(*others, short)))
    cache.delete("news:front")
    shops[0].home()
    assert 0 < cache.ttl("news:front") <= 40


def test_regulars_buy_and_whoever_visits_the_demo_keeps_their_money(
    cache: redis.Redis, shop_url: str, day: Day
) -> None:
    with psycopg.connect(shop_url, autocommit=True) as database:
        simulate(day, 0, 40)
        for product in range(1, 6):
            # Sold out, an empty wallet and a price that changed are every shop's day.
            database.execute("UPDATE shop.inventory SET pieces = 0 WHERE product_id = %s", (product,))
        database.execute("UPDATE shop.wallet SET balance_cents = 0 WHERE customer_id > 20")
        simulate(day, 40, 80)
        orders = database.execute(ORDERS).fetchone()
        assert orders is not None and orders[0] > 3
        visitors = database.execute(
            "SELECT count(*) FROM shop.wallet WHERE customer_id < %s AND version > 0",
            (traffic.FIRST_CUSTOMER,),
        ).fetchone()
        assert visitors == (0,)


def test_no_wallet_in_the_cache_is_other_than_its_row(cache: redis.Redis, shop_url: str, day: Day) -> None:
    simulate(day, 0, 60)
    with psycopg.connect(shop_url) as database:
        rows: dict[int, int] = dict(
            database.execute("SELECT customer_id, balance_cents FROM shop.wallet").fetchall()
        )
    cached = {key: json.loads(cache.get(key) or b"null") for key in keys(cache, "wallet:*")}
    assert cached
    for key, value in cached.items():
        assert value["balance_cents"] == rows[int(key.partition(":")[2])]


def calls(client: redis.Redis) -> int:
    """Reads that this server has answered."""
    stats = client.info("stats")
    return int(stats["keyspace_hits"] + stats["keyspace_misses"])


def wait_for_calls(client: redis.Redis, more_than: int) -> None:
    deadline = time.monotonic() + 60
    while calls(client) <= more_than:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_goes_on_after_an_error_that_nobody_thought_of(
    cache: redis.Redis, shop_url: str, valkey_url: str, shops: list[Shop], caplog: pytest.LogCaptureFixture
) -> None:
    running = Traffic(shops, valkey_url, SMALL)
    with psycopg.connect(shop_url, autocommit=True) as database:
        running.start()
        try:
            wait_for_calls(cache, calls(cache) + 50)
            database.execute("ALTER TABLE shop.review RENAME TO gone")
            cache.flushall()
            wait_until(lambda: "relation" in caplog.text, "a visitor failed")
            database.execute("ALTER TABLE shop.gone RENAME TO review")
            wait_until(lambda: "The demo's traffic goes on." in caplog.text, "that it goes on was said")
            wait_for_calls(cache, calls(cache) + 200)
        finally:
            running.stop()


def test_comes_back_after_the_cache_was_away(server_folder: Path, shop_url: str) -> None:
    first = valkey.start(server_folder / "valkey")
    shops = traffic.open_shops(shop_url, first.url)
    running = Traffic(shops, first.url, SMALL)
    running.start()
    try:
        with redis.Redis.from_url(first.url) as client:
            wait_for_calls(client, 50)
            os.kill(first.pid, signal.SIGKILL)
            first.stop()
            with valkey.start(server_folder / "valkey", port=first.port):
                client.connection_pool.disconnect()
                wait_for_calls(client, 50)
                running.stop()
                running._thread.join(WAIT_S)
                assert not running._thread.is_alive()
    finally:
        running.stop()
        traffic.close_shops(shops)
