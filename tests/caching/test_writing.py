"""Writes: write-through, invalidation, holds; and what the policy makes of them."""

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import redis

from dashboard.caching import Cache, InvalidationError, Strategy, UsageError
from dashboard.caching.wire import Kind, kind_of
from tests.caching.test_reading import counted, full
from tests.support.servers import free_port

MakeCache = Callable[..., Cache]


def kind_at(raw: redis.Redis, key: str) -> Kind | None:
    value: Any = raw.get(key)
    return None if value is None else kind_of(value)


def test_the_value_appears_with_the_end_of_the_block(cache: Cache, raw: redis.Redis) -> None:
    raw.set("k", b'"old"')
    with cache.write_through("k") as write:
        assert kind_at(raw, "k") is Kind.WRITE
        assert cache.get_or_load("k", lambda: "old") == "old"
        write.value = {"price": 5}
    assert write.is_stored
    assert raw.get("k") == b'{"price":5}' and raw.pttl("k") > 50_000
    assert cache.get("k") == {"price": 5}


def test_an_exception_leaves_nothing_behind(cache: Cache, raw: redis.Redis) -> None:
    with pytest.raises(LookupError), cache.write_through("k") as write:
        write.value = 5
        raise LookupError("rolled back")
    assert not write.is_stored and raw.exists("k") == 0


def test_no_value_only_invalidates(cache: Cache, raw: redis.Redis) -> None:
    raw.set("k", b"1")
    with cache.write_through("k") as write:
        pass
    assert not write.is_stored and raw.exists("k") == 0


def test_of_two_writers_neither_can_leave_the_older_value(cache: Cache, raw: redis.Redis) -> None:
    first = cache.write_through("k")
    first.__enter__()
    with cache.write_through("k") as second:
        second.value = "new"
    first.value = "old"
    first.__exit__(None, None, None)
    assert not first.is_stored
    assert raw.exists("k") == 0


def test_a_commit_slower_than_its_lease(cache: Cache, raw: redis.Redis) -> None:
    """A reader came in between and stored the value from before the commit: it must go."""
    with cache.write_through("k", lease_s=0.001) as write:
        threading.Event().wait(0.02)
        assert cache.get_or_load("k", lambda: "before") == "before"
        assert raw.get("k") == b'"before"'
        write.value = "after"
    assert not write.is_stored and raw.exists("k") == 0


def test_a_reader_that_came_before_cannot_fill(cache: Cache, raw: redis.Redis) -> None:
    def load() -> str:
        with cache.write_through("k") as write:
            write.value = "new"
        return "old"

    assert cache.get_or_load("k", load) == "old"
    assert raw.get("k") == b'"new"'


def test_put(cache: Cache, raw: redis.Redis) -> None:
    assert cache.put("k", [1])
    assert raw.get("k") == b"[1]"
    assert cache.put("k", None)
    assert raw.get("k") == b"null" and raw.pttl("k") <= 5000
    assert not cache.put("k", {1, 2})
    assert raw.exists("k") == 0
    seen = counted(cache)
    assert (seen["writes"], seen["not_stored"]) == (3, 1)


def test_the_policy_decides_what_a_write_leaves(make_cache: MakeCache, raw: redis.Redis) -> None:
    aside = make_cache(strategy=Strategy.CACHE_ASIDE)
    raw.set("k", b"1")
    assert not aside.put("k", 2)
    assert raw.exists("k") == 0
    uncached = make_cache(base_ttl_s=None)
    raw.set("k", b"1")
    assert uncached.get_or_load("k", lambda: 3) == 3
    assert raw.get("k") == b"1"
    assert not uncached.put("k", 2)
    assert raw.exists("k") == 0
    assert counted(uncached)["bypasses"] == 1


def test_invalidate(cache: Cache, raw: redis.Redis) -> None:
    for number in range(1200):
        raw.set(f"k{number}", b"1")
    cache.invalidate(*(f"k{number}" for number in range(1200)))
    assert raw.dbsize() == len(raw.keys("cachewarden:*"))
    assert counted(cache)["invalidations"] == 1200


def test_while_held_nobody_stores(cache: Cache, raw: redis.Redis) -> None:
    cache.invalidate("k", hold_ms=150)
    assert kind_at(raw, "k") is Kind.HOLD
    assert cache.get_or_load("k", lambda: "from a lagging replica") == "from a lagging replica"
    assert kind_at(raw, "k") is Kind.HOLD
    threading.Event().wait(0.2)
    assert cache.get_or_load("k", lambda: 2) == 2
    assert raw.get("k") == b"2"


def roll_back(cache: Cache) -> None:
    with contextlib.suppress(LookupError), cache.write_through("k"):
        raise LookupError


def purge(cache: Cache) -> None:
    assert cache.invalidate_tag("t") == 1


REMOVALS: list[Callable[[Cache], object]] = [
    lambda cache: cache.invalidate("k"),
    lambda cache: cache.invalidate("k", hold_ms=1),
    lambda cache: cache.put("k", "new"),
    roll_back,
    purge,
]


@pytest.mark.parametrize("remove", REMOVALS, ids=["invalidate", "shorter hold", "put", "rollback", "purge"])
def test_nothing_takes_a_hold_away_before_its_time(
    cache: Cache, raw: redis.Redis, remove: Callable[[Cache], object]
) -> None:
    """Else a value from a replica that lags could be stored."""
    cache.get_or_load("k", lambda: "old", tags=["t"])
    cache.invalidate("k", hold_ms=60_000)
    remove(cache)
    assert kind_at(raw, "k") is Kind.HOLD
    assert 50_000 < raw.pttl("k") <= 60_000
    assert cache.get_or_load("k", lambda: "lagging", tags=["t"]) == "lagging"
    assert cache.get("k") is None


@pytest.mark.parametrize("is_full", [False, True], ids=["", "full"])
@pytest.mark.parametrize("remove", REMOVALS, ids=["invalidate", "shorter hold", "put", "rollback", "purge"])
def test_whoever_reads_after_an_invalidation_joins_no_older_load_that_began_under_the_same_hold(
    make_cache: MakeCache, raw: redis.Redis, remove: Callable[[Cache], object], is_full: bool
) -> None:
    """The hold that stays is told apart from the one that the load began with, also where there is no room."""
    reads, writes = make_cache(), make_cache()
    row = {"v": "old"}
    in_load, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        value = row["v"]
        in_load.set()
        go_on.wait(10)
        return value

    writes.get_or_load("k", lambda: "older", tags=["t"])
    writes._beat()
    writes.invalidate("k", hold_ms=60_000)
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(reads.get_or_load("k", slow)))
    thread.start()
    assert in_load.wait(5)
    row["v"] = "new"
    with full(raw) if is_full else contextlib.nullcontext():
        if is_full and remove is REMOVALS[1]:
            with pytest.raises(InvalidationError):
                remove(writes)
        elif is_full and remove is purge:
            # A new version is refused, too.
            writes.invalidate("k")
        else:
            remove(writes)
        assert kind_at(raw, "k") is Kind.HOLD
    # Whoever joined would wait for it, and is given what it comes to.
    threading.Timer(0.3, go_on.set).start()
    assert reads.get_or_load("k", lambda: row["v"]) == "new"
    go_on.set()
    thread.join()
    assert found == ["old"]


def test_a_hold_outlives_the_writes_that_cover_it(cache: Cache, raw: redis.Redis) -> None:
    cache.invalidate("k", hold_ms=60_000)
    first = cache.write_through("k", lease_s=1)
    first.__enter__()
    assert kind_at(raw, "k") is Kind.WRITE and raw.pttl("k") > 50_000, "a crash now must not end it"
    with cache.write_through("k", lease_s=1) as second:
        second.value = 2
        assert kind_at(raw, "k") is Kind.WRITE
    assert kind_at(raw, "k") is Kind.HOLD
    first.value = 1
    first.__exit__(None, None, None)
    assert not first.is_stored and not second.is_stored
    assert kind_at(raw, "k") is Kind.HOLD and raw.pttl("k") > 50_000
    with cache.write_through("k"):
        cache.invalidate("k")
        assert kind_at(raw, "k") is Kind.HOLD


def test_a_hold_that_ends_during_a_write_does_not_keep_its_value_out(cache: Cache, raw: redis.Redis) -> None:
    cache.invalidate("k", hold_ms=30)
    with cache.write_through("k") as write:
        threading.Event().wait(0.05)
        write.value = 2
    assert write.is_stored and cache.get("k") == 2


def test_where_a_hold_does_not_fit_the_old_value_goes_all_the_same(cache: Cache, raw: redis.Redis) -> None:
    cache.get_or_load("k", lambda: "old")
    with full(raw):
        with pytest.raises(InvalidationError):
            cache.invalidate("k", hold_ms=60_000)
        assert raw.exists("k") == 0


def test_a_kept_hold_is_not_forgotten_for_a_removal(raw: redis.Redis, make_cache: MakeCache) -> None:
    cache = make_cache(options={"on_error": "retry", "follow": False})
    cache.get("k")
    cache._keeper.stop()
    with full(raw):
        cache.invalidate("k", hold_ms=60_000)
    cache._removal.keep_or_raise([b"k"], None, None, None)
    cache._removal.repeat()
    assert kind_at(raw, "k") is Kind.HOLD and not cache._removal.pending


def test_keys_of_other_types_are_removed_as_well(cache: Cache, raw: redis.Redis) -> None:
    raw.hset("k", "field", 1)
    cache.invalidate("k")
    assert raw.exists("k") == 0
    raw.hset("k", "field", 1)
    with cache.write_through("k") as write:
        write.value = 1
    assert raw.get("k") == b"1"


def test_an_invalidation_that_does_not_get_through_is_raised() -> None:
    with Cache(f"redis://127.0.0.1:{free_port()}") as cache:
        with pytest.raises(InvalidationError) as caught:
            cache.invalidate("a", "b")
        assert caught.value.keys == (b"a", b"b")
        with pytest.raises(InvalidationError):
            cache.invalidate_tag("t")
        with pytest.raises(InvalidationError):
            cache.put("k", 1)
        with pytest.raises(LookupError), cache.write_through("k"):
            raise LookupError("the application's own error is not hidden")
        assert counted(cache)["invalidation_errors"] == 4


def test_what_redis_refuses_to_store_is_removed(
    make_cache: MakeCache, valkey_url: str, raw: redis.Redis
) -> None:
    """OOM and READONLY mean "do not cache", not "Redis is away"."""
    cache = make_cache()
    raw.set("k", b'"old"')
    before = raw.config_get("maxmemory*")
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)
    try:
        assert not cache.put("k", "new")
        assert raw.exists("k") == 0
        assert [cache.get_or_load("k", lambda: "loaded") for _ in range(5)] == ["loaded"] * 5
        assert cache._link.breaker(b"k").is_closed
    finally:
        raw.config_set("maxmemory", before["maxmemory"])
        raw.config_set("maxmemory-policy", before["maxmemory-policy"])
    assert counted(cache)["not_stored"] >= 5
    assert cache.get_or_load("k", lambda: "loaded") == "loaded" and raw.exists("k")


def test_a_full_server_may_still_fill_up_in_the_middle_of_a_load(cache: Cache, raw: redis.Redis) -> None:
    before = raw.config_get("maxmemory*")

    def load() -> int:
        raw.config_set("maxmemory-policy", "noeviction")
        raw.config_set("maxmemory", 1)
        return 5

    try:
        assert cache.get_or_load("k", load) == 5
        assert raw.exists("k") == 0, "nobody must wait for a placeholder that will not be filled"
    finally:
        raw.config_set("maxmemory", before["maxmemory"])
        raw.config_set("maxmemory-policy", before["maxmemory-policy"])


def test_a_wrong_on_error_is_said_at_once(cache: Cache, raw: redis.Redis) -> None:
    """Not only on the day that Redis is away, and not after the commit."""
    raw.set("k", b"1")
    wrong: Any = "rais"
    with pytest.raises(UsageError):
        cache.write_through("k", on_error=wrong)
    with pytest.raises(UsageError):
        cache.put("k", 2, on_error=wrong)
    with pytest.raises(UsageError):
        cache.invalidate("k", on_error=wrong)
    with pytest.raises(UsageError):
        cache.invalidate_tag("t", on_error=wrong)
    assert raw.get("k") == b"1"


def test_only_values_that_went_count_as_removals(cache: Cache) -> None:
    cache.get_or_load("product:1", lambda: 1)
    cache.invalidate("product:1", hold_ms=5_000)
    assert counted(cache)["removals"] == 1
    # A hold is no value, and neither is what was not there.
    cache.invalidate("product:1", hold_ms=5_000)
    cache.invalidate("product:1", "product:2")
    assert "removals" not in counted(cache)
    cache.get_or_load("product:3", lambda: 1, tags=["shelf"])
    cache.invalidate_tag("shelf")
    assert counted(cache)["removals"] == 1
