"""How many keys a prefix has, as far as counters tell, and how often it was read in a day."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
import redis

from dashboard.monitoring import service as monitoring
from dashboard.policies import service, store
from dashboard.policies.types import PolicyRow
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support.policies import acting, publish, stage
from tests.support.polled import pass_time, poll, polled_cache
from tests.support.some_caches import add_cache

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def cache_id(runtime: Runtime) -> int:
    made = add_cache(runtime).id
    stage(runtime, made)
    publish(runtime, made)
    return made


def add(runtime: Runtime, cache_id: int, at: datetime, growth: Mapping[str, Mapping[str, int]]) -> None:
    with runtime.database.transaction() as session:
        store.ensure_partitions(session, at)
        store.add_growth(session, cache_id, growth, at)


def news(runtime: Runtime, cache_id: int) -> PolicyRow:
    with acting(runtime) as work:
        return next(row for row in service.policies_page(work, cache_id).rows if row.prefix == "news:")


def keys(runtime: Runtime, cache_id: int, **counts: int) -> int | None:
    add(runtime, cache_id, NOW - MINUTE, {"news:": counts})
    return news(runtime, cache_id).keys


def test_a_load_of_many_keys_stores_many(runtime: Runtime, cache_id: int) -> None:
    assert keys(runtime, cache_id, loads=2, misses=800, waits=100, wait_timeouts=0) == 700


def test_loads_that_stored_nothing_do_not_count(runtime: Runtime, cache_id: int) -> None:
    counts = {
        "misses": 110,
        "loads": 100,
        "load_errors": 10,
        "rejected_fills": 5,
        "not_stored": 3,
        "errors": 2,
    }
    assert keys(runtime, cache_id, **counts) == 90


def test_reads_that_never_load_say_nothing_of_keys(runtime: Runtime, cache_id: int) -> None:
    assert keys(runtime, cache_id, misses=5_000) is None


def test_writes_count_where_they_store(runtime: Runtime, cache_id: int) -> None:
    assert keys(runtime, cache_id, loads=10, misses=10, writes=500) == 10
    stage(runtime, cache_id, original="news:", strategy="write-through")
    assert news(runtime, cache_id).keys == 510


def test_a_short_ttl_takes_its_share_of_the_first_minute(
    runtime: Runtime, cache_id: int, clock: FixedClock
) -> None:
    stage(runtime, cache_id, original="news:", tier="hot", base_ttl_s=30, jitter_s=0)
    publish(runtime, cache_id)
    clock.wall = NOW + timedelta(seconds=45)
    add(runtime, cache_id, NOW, {"news:": {"misses": 120, "loads": 120}})
    # 30 of the 45 seconds that were counted.
    assert news(runtime, cache_id).keys == 80
    clock.wall = NOW + timedelta(seconds=75)
    # And 15 of the whole minute.
    assert news(runtime, cache_id).keys == 30


def test_no_more_than_the_cache_holds_and_nothing_from_before_it_was_emptied(
    runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    now = runtime.clock.now()
    add(runtime, cache.id, now - MINUTE, {"news:": {"misses": 5_000, "loads": 5_000}})
    with redis.Redis.from_url(valkey_url) as client:
        client.mset({f"news:{number}": 1 for number in range(49)})
        held = client.dbsize()
        pass_time(runtime, 9)
        poll(runtime, cache)
        assert news(runtime, cache.id).keys == held and held < 5_000
        stage(runtime, cache.id, "other:")
        add(runtime, cache.id, now, {"other:": {"misses": 5_000, "loads": 5_000}})
        with acting(runtime) as work:
            cards = {card.tier.name: card for card in service.policies_page(work, cache.id).tiers}
        assert cards["frequently-updated"].keys == held
        client.flushall()
        pass_time(runtime, 9)
        poll(runtime, cache)
        client.mset({f"news:{number}": 1 for number in range(40)})
        pass_time(runtime, 60)
        poll(runtime, cache)
    with acting(runtime) as work:
        assert monitoring.key_space(work, cache.id).emptied_at is not None
    assert news(runtime, cache.id).keys is None
    add(runtime, cache.id, runtime.clock.now(), {"news:": {"misses": 40, "loads": 40}})
    assert news(runtime, cache.id).keys == 40
    # What a poll said minutes ago is no bound.
    pass_time(runtime, 600)
    add(runtime, cache.id, runtime.clock.now(), {"news:": {"misses": 500, "loads": 500}})
    assert news(runtime, cache.id).keys == 540


def test_rates_are_of_the_time_since_counting_began(
    runtime: Runtime, cache_id: int, clock: FixedClock
) -> None:
    clock.wall = NOW + 10 * MINUTE
    add(runtime, cache_id, NOW, {"news:": {"hits": 500, "bypasses": 100}})
    used = news(runtime, cache_id).use
    assert used is not None and (used.reads, used.window_s) == (600, 600)


def test_a_new_prefix_is_counted_since_its_policy(runtime: Runtime, cache_id: int, clock: FixedClock) -> None:
    add(runtime, cache_id, NOW - timedelta(hours=30), {"old:": {"hits": 1}})
    add(runtime, cache_id, NOW - timedelta(hours=3), {"old:": {"hits": 1}, "": {"hits": 1}})
    clock.wall = NOW + 20 * MINUTE
    add(runtime, cache_id, clock.wall, {"news:": {"hits": 500}})
    used = news(runtime, cache_id).use
    assert used is not None and used.window_s == 1200
    with acting(runtime) as work:
        page = service.policies_page(work, cache_id)
    assert page.default.use is not None and page.default.use.window_s == 3 * 3600 + 1200
    assert page.covered_ratio == pytest.approx(501 / 502)


def test_the_hit_ratio_of_a_day_is_drawn_hour_by_hour(runtime: Runtime, cache_id: int) -> None:
    for hours in (30, 23, 5, 0):
        at = NOW - timedelta(hours=hours)
        add(
            runtime,
            cache_id,
            at,
            {"news:": {"hits": 3 if hours else 0, "misses": 1 if hours else 0, "loads": 1}},
        )
    used = news(runtime, cache_id).use
    assert used is not None and (used.hit_ratio, used.reads, used.database_reads) == (0.75, 8, 3)
    assert used.hit_ratio_line == (0.75, *[None] * 17, 0.75, *[None] * 5)


def test_what_was_removed_and_stored_again_counts_once(runtime: Runtime, cache_id: int) -> None:
    # Dropped and loaded again, all 400 of them, every eleven minutes.
    for minutes in range(122, 0, -11):
        for counts in ({"invalidations": 500, "removals": 400}, {"misses": 400, "loads": 400}):
            add(runtime, cache_id, NOW - minutes * MINUTE, {"news:": counts})
    assert news(runtime, cache_id).keys == pytest.approx(400, rel=0.03)


def test_an_invalidation_of_what_is_not_there_takes_nothing_off(runtime: Runtime, cache_id: int) -> None:
    assert keys(runtime, cache_id, misses=900, loads=900, invalidations=5_000) == 900


def test_removals_of_a_long_life_are_followed_hour_by_hour(runtime: Runtime, cache_id: int) -> None:
    stage(runtime, cache_id, original="news:", tier="low-volatility", base_ttl_s=86_400, jitter_s=0)
    for hours in range(40, 0, -8):
        counts = {"removals": 400, "misses": 400, "loads": 400}
        add(runtime, cache_id, NOW - timedelta(hours=hours), {"news:": counts})
    assert news(runtime, cache_id).keys == pytest.approx(400, rel=0.03)


@pytest.mark.parametrize(("grace_s", "is_warned"), [(None, True), (600, True), (1200, False), (1800, False)])
def test_less_grace_is_warned_of(
    runtime: Runtime, cache_id: int, grace_s: int | None, is_warned: bool
) -> None:
    stage(runtime, cache_id, original="news:", protection={"grace_s": 1200})
    publish(runtime, cache_id)
    stage(runtime, cache_id, original="news:", protection={"grace_s": grace_s})
    with acting(runtime) as work:
        found = service.draft_page(work, cache_id).warnings
        assert service.editor(work, cache_id, "news:").warnings == found
    said = (
        "Values of news: that are stored already may still be served stale for 20 m: purge them where that must end"
        " at once."
    )
    assert found == ((said,) if is_warned else ())
