"""Policies reach applications within a second, and what they count reaches the dashboard."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from dashboard.caching import Cache, PolicyDocument, parse_document
from dashboard.caching.follow import Follower
from dashboard.caching.policy import TIERS
from dashboard.caching.wire import (
    COUNTERS_KEY,
    INSTANCES_KEY,
    OTHER,
    POLICIES_CHANNEL,
    POLICIES_KEY,
    Instance,
    counter_field,
    parse_counter_field,
)
from tests.caching.test_reading import Loader, counted

MakeCache = Callable[..., Cache]


def document(version: int = 1, ttl_s: int = 7200, prefix: str = "product:", **changes: Any) -> PolicyDocument:
    policy = {"prefix": prefix, "tier": "frequently-updated", "base_ttl_s": ttl_s} | changes
    return parse_document(
        {
            "version": version,
            "tiers": [tier.to_dict() for tier in TIERS],
            "policies": [policy],
            "default": {"tier": "hot", "base_ttl_s": 60},
        }
    )


def publish(raw: redis.Redis, found: PolicyDocument | bytes, version: int = 0) -> None:
    text = found if isinstance(found, bytes) else found.to_json()
    raw.set(POLICIES_KEY, text)
    raw.publish(POLICIES_CHANNEL, version)


def wait_for(condition: Callable[[], Any], timeout_s: float = 3.0) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < timeout_s, "it did not happen"
        time.sleep(0.01)
    return time.monotonic() - began


def instance(raw: redis.Redis) -> Instance:
    (text,) = raw.hvals(INSTANCES_KEY)
    found = Instance.from_json(text)
    assert found is not None
    return found


def test_a_document_that_is_there_at_the_start_applies_to_the_first_read(
    cache: Cache, raw: redis.Redis
) -> None:
    publish(raw, document())
    cache.get_or_load("product:1", lambda: 1)
    assert 7_190_000 < raw.pttl("product:1") <= 7_200_000
    assert cache.policy_for("product:1").base_ttl_s == 7200
    assert cache.policy_for("user:1").base_ttl_s == 60


def test_a_published_change_is_followed_and_acknowledged_within_a_second(
    cache: Cache, raw: redis.Redis
) -> None:
    cache.get_or_load("product:0", lambda: 1)
    assert instance(raw).policy_version is None
    for version, ttl_s in ((1, 7200), (2, 3600)):
        publish(raw, document(version, ttl_s))
        took_s = wait_for(lambda version=version: instance(raw).policy_version == version)
        assert took_s < 1
        cache.get_or_load(f"product:{version}", lambda: 1)
        assert raw.pttl(f"product:{version}") > ttl_s * 1000 - 5000
    assert instance(raw).refusal is None and instance(raw).library


def test_a_lost_message_costs_seconds_only(cache: Cache, raw: redis.Redis) -> None:
    cache.get_or_load("product:0", lambda: 1)
    raw.set(POLICIES_KEY, document(5).to_json())
    wait_for(lambda: instance(raw).policy_version == 5, timeout_s=7)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (b"{", "JSON"),
        (b"x" * 10_000_000, "1,000,000 bytes"),
        (document(9).to_json().replace(b'"schema":1', b'"schema":2'), "Update the library"),
        (document(9).to_json().replace(b"7200", b"10"), "3600 to 21600"),
        (
            json.dumps(
                document(9).to_dict() | {"policies": [{"prefix": str(n)} for n in range(50_000)]}
            ).encode(),
            "bytes",
        ),
    ],
    ids=["broken", "10 MB", "newer", "out of range", "many"],
)
def test_a_bad_document_is_refused_and_said_so(
    cache: Cache, raw: redis.Redis, broken: bytes, reason: str
) -> None:
    publish(raw, document(1))
    cache.get_or_load("product:0", lambda: 1)
    publish(raw, broken)
    wait_for(lambda: instance(raw).refusal is not None)
    found = instance(raw)
    assert found.refusal is not None and reason in found.refusal.reason
    assert found.policy_version == 1 and cache.policy_for("product:1").base_ttl_s == 7200
    publish(raw, document(2, 3600))
    wait_for(lambda: instance(raw).policy_version == 2)
    assert instance(raw).refusal is None


def test_an_evicted_document_stays_in_force(cache: Cache, raw: redis.Redis) -> None:
    publish(raw, document(1))
    cache.get_or_load("product:0", lambda: 1)
    raw.delete(POLICIES_KEY)
    raw.publish(POLICIES_CHANNEL, 1)
    time.sleep(0.3)
    assert cache.policy_for("product:1").base_ttl_s == 7200


def test_a_bypass_ends_by_itself(cache: Cache, raw: redis.Redis) -> None:
    raw.set("product:1", b'"cached"')
    publish(raw, document(bypass_until=time.time() + 0.6))
    assert cache.get_or_load("product:1", lambda: "loaded") == "loaded"
    assert cache.get("product:1") is None
    assert raw.get("product:1") == b'"cached"'
    wait_for(lambda: cache.get_or_load("product:1", lambda: "loaded") == "cached")


def test_no_cache_sends_nothing(cache: Cache, raw: redis.Redis) -> None:
    publish(raw, document(tier="no-cache", ttl_s=None))  # type: ignore[arg-type]
    load = Loader(5)
    cache.get_or_load("product:1", load)
    cache.get_or_load("product:1", load)
    assert load.calls == 2 and not raw.exists("product:1")


def test_counters_arrive_per_prefix(cache: Cache, raw: redis.Redis) -> None:
    publish(raw, document(prefix="odd\\xff:"))
    for _ in range(3):
        cache.get_or_load(b"odd\xff:1", lambda: 1)
        cache.get_or_load("else", lambda: 1)
    wait_for(lambda: raw.hget(COUNTERS_KEY, "hits:odd\\xff:") == b"2")
    found = {parse_counter_field(field): int(number) for field, number in raw.hgetall(COUNTERS_KEY).items()}
    assert found["hits", b""] == 2 and found["misses", b"odd\xff:"] == 1 and found["loads", b""] == 1
    cache.get_or_load("else", lambda: 1)
    cache.close()
    assert raw.hget(COUNTERS_KEY, "hits:") == b"3", "closing carries the rest"
    assert raw.hlen(INSTANCES_KEY) == 0, "and signs off"


def test_counters_survive_a_redis_that_is_away(cache: Cache, raw: redis.Redis) -> None:
    cache.get_or_load("k", lambda: 1)
    port = cache._link.client.connection_pool.connection_kwargs["port"]
    settings = cache._link._settings  # type: ignore[attr-defined]
    settings["port"] = 1
    cache._link.close()
    cache._keeper.flush()
    settings["port"] = port
    cache._keeper.flush()
    assert raw.hget(COUNTERS_KEY, "misses:") == b"1"


def test_counted_prefixes_are_bounded(cache: Cache) -> None:
    policies = [{"prefix": f"p{number}:", "tier": "hot", "base_ttl_s": 60} for number in range(1500)]
    cache.use(
        parse_document(
            {
                "version": 1,
                "tiers": [tier.to_dict() for tier in TIERS],
                "policies": policies,
                "default": {"tier": "hot", "base_ttl_s": 60},
            }
        )
    )
    for number in range(1500):
        cache.get(f"p{number}:x")
    taken = cache._ledger.take()
    assert len(taken) < 1100
    assert taken[f"misses:{OTHER}"] > 400
    assert counter_field("misses", None) == f"misses:{OTHER}"


def test_instances_unseen_for_a_day_are_dropped(cache: Cache, raw: redis.Redis) -> None:
    now = time.time()
    gone = Instance("old:1:aa", "old", 1, "x", "1", now - 90_000, now - 87_000)
    fresh = Instance("new:1:aa", "new", 1, "x", "1", now - 90_000, now - 80_000)
    for each in (gone, fresh):
        raw.hset(INSTANCES_KEY, each.id, each.to_json())
    cache.get("k")
    wait_for(lambda: not raw.hexists(INSTANCES_KEY, gone.id))
    assert raw.hexists(INSTANCES_KEY, fresh.id)


def test_a_clock_that_jumps() -> None:
    """Times of a report follow it; what is in force does not."""
    applied: list[PolicyDocument] = []
    now = [1000.0]
    follower = Follower(applied.append, lambda: now[0])
    assert follower.consider(document(1).to_json())
    now[0] = 5.0
    assert not follower.consider(document(1).to_json())
    assert follower.report().seen_at == 5.0
    now[0] = 1e10
    assert follower.consider(document(2).to_json())
    assert [each.version for each in applied] == [1, 2]


def test_stale_while_revalidate(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(grace_s=30)
    cache.get_or_load("k", lambda: "old")
    assert raw.pttl("k") > 85_000
    raw.pexpire("k", 20_000)
    go_on = threading.Event()

    def load() -> str:
        go_on.wait(5)
        return "new"

    began = time.monotonic()
    assert [cache.get_or_load("k", load) for _ in range(5)] == ["old"] * 5
    assert time.monotonic() - began < 0.5
    go_on.set()
    wait_for(lambda: cache.get("k") == "new")
    assert raw.pttl("k") > 85_000
    seen = counted(cache)
    assert seen["stale_served"] == 5 and seen["refreshes"] == 1 and seen["loads"] == 2


def test_a_refresh_that_was_overtaken_stores_nothing(make_cache: MakeCache, raw: redis.Redis) -> None:
    """Also when the value was invalidated, changed, and changed back to the same bytes."""
    for after in (None, b'"old"', b'"other"'):
        cache = make_cache(grace_s=30)
        raw.flushall()
        cache.get_or_load("k", lambda: "old")
        raw.pexpire("k", 20_000)
        in_load, go_on = threading.Event(), threading.Event()

        def load(in_load: threading.Event = in_load, go_on: threading.Event = go_on) -> str:
            in_load.set()
            go_on.wait(5)
            return "from before"

        assert cache.get_or_load("k", load) == "old"
        assert in_load.wait(5)
        raw.delete("k")
        if after is not None:
            raw.set("k", after, px=90_000)
        go_on.set()
        wait_for(lambda cache=cache: counted(cache).get("rejected_fills"))
        assert raw.get("k") == after


def test_only_one_process_refreshes(make_cache: MakeCache, raw: redis.Redis) -> None:
    first, second = make_cache(grace_s=30), make_cache(grace_s=30)
    first.get_or_load("k", lambda: "old")
    raw.pexpire("k", 20_000)
    load = Loader("new", takes_s=0.2)
    first.get_or_load("k", load)
    assert load.started.wait(5)
    second.get_or_load("k", load)
    wait_for(lambda: first.get("k") == "new")
    assert load.calls == 1


def test_a_background_loader_that_raises_is_survived(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(grace_s=30)
    cache.get_or_load("k", lambda: "old")
    raw.pexpire("k", 20_000)

    def fail() -> str:
        raise LookupError("no")

    assert cache.get_or_load("k", fail) == "old"
    wait_for(lambda: counted(cache).get("load_errors"))
    assert cache.get_or_load("k", fail) == "old"


def test_early_refresh(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(early_refresh_beta=10.0)
    cache.get_or_load("k", lambda: time.sleep(0.05) or "old")
    load = Loader("new")
    for _ in range(50):
        assert cache.get_or_load("k", load) == "old"
    assert load.calls == 0, "far from the end"
    raw.pexpire("k", 300)
    wait_for(lambda: cache.get_or_load("k", load) == "new", timeout_s=0.29)
    assert load.calls == 1 and raw.pttl("k") > 50_000
