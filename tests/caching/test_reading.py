"""Reads: what is loaded, what is cached, what is counted, and for how long."""

import contextlib
import json
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from dashboard.caching import Cache, MsgpackCodec, UsageError
from dashboard.caching.link import Unreachable
from dashboard.caching.wire import COUNTERS_KEY, Kind, placeholder

MakeCache = Callable[..., Cache]


_seen: "weakref.WeakKeyDictionary[Cache, Counter[str]]" = weakref.WeakKeyDictionary()


def counted(cache: Cache) -> dict[str, int]:
    """What a cache counted for its default policy since the last call, wherever it is by now."""
    cache._keeper.flush()
    total = Counter(cache._keeper._carried)
    with contextlib.suppress(Unreachable):
        (pairs,) = cache._link.exchange([(b"HGETALL", COUNTERS_KEY)])
        total.update({name.decode(): int(n) for name, n in zip(pairs[::2], pairs[1::2], strict=True)})
    grown = total - _seen.get(cache, Counter())
    _seen[cache] = total
    return {field[:-1]: number for field, number in grown.items() if field.endswith(":")}


class Loader:
    """Counts its calls."""

    def __init__(self, value: Any = None, takes_s: float = 0.0) -> None:
        self.calls = 0
        self.value = value
        self.takes_s = takes_s
        self.started = threading.Event()

    def __call__(self) -> Any:
        self.calls += 1
        self.started.set()
        time.sleep(self.takes_s)
        return self.value


def test_a_miss_loads_and_a_hit_does_not(cache: Cache, raw: redis.Redis) -> None:
    load = Loader({"name": "Tea", "price": 5})
    assert cache.get_or_load("product:1", load) == {"name": "Tea", "price": 5}
    assert cache.get_or_load("product:1", load) == {"name": "Tea", "price": 5}
    assert load.calls == 1
    assert raw.get("product:1") == b'{"name":"Tea","price":5}'
    assert 59_000 < raw.pttl("product:1") <= 60_000
    seen = counted(cache)
    assert (seen["hits"], seen["misses"], seen["loads"]) == (1, 1, 1)


def test_jitter_spreads_lifetimes(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(base_ttl_s=100, jitter_s=50)
    for number in range(40):
        cache.get_or_load(f"k{number}", lambda: 1)
    lifetimes = [raw.pttl(f"k{number}") for number in range(40)]
    assert all(98_000 < each <= 150_000 for each in lifetimes)
    assert max(lifetimes) - min(lifetimes) > 20_000


def test_none_is_remembered_for_its_own_time(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(negative_ttl_s=3)
    load = Loader(None)
    assert cache.get_or_load("gone", load) is None
    assert cache.get_or_load("gone", load) is None
    assert load.calls == 1
    assert raw.get("gone") == b"null" and raw.pttl("gone") <= 3000
    forgetful = make_cache(negative_ttl_s=0)
    assert [forgetful.get_or_load("gone2", load) for _ in range(2)] == [None, None]
    assert load.calls == 3 and raw.exists("gone2") == 0


def test_a_loader_that_raises_gives_its_lease_back(cache: Cache, raw: redis.Redis) -> None:
    def fail() -> int:
        raise LookupError("the database says no")

    with pytest.raises(LookupError, match="says no"):
        cache.get_or_load("k", fail)
    assert raw.exists("k") == 0
    assert cache.get_or_load("k", lambda: 2) == 2
    assert counted(cache)["load_errors"] == 1


def test_a_value_that_cannot_be_stored_is_returned_all_the_same(cache: Cache, raw: redis.Redis) -> None:
    for value in ({1, 2}, object(), {1: 2}, float("nan"), 2**70, "\ud800"):
        assert cache.get_or_load("odd", lambda value=value: value) is value
        assert raw.exists("odd") == 0
    assert counted(cache)["not_stored"] == 6


def test_bytes_that_are_no_value_are_replaced(cache: Cache, raw: redis.Redis) -> None:
    for rubbish in (
        b"\x80pickle",
        b"",
        b"{",
        b"#cachewarden {broken\n1",
        b"#cachewarden {}",
        b"#cachewarden []\n1",
    ):
        raw.set("k", rubbish)
        assert cache.get_or_load("k", lambda: 7) == 7
        assert raw.get("k") == b"7"
    raw.delete("k")
    raw.hset("k", "field", "a hash of somebody else's")
    assert cache.get_or_load("k", lambda: 8) == 8
    assert raw.type("k") == b"hash"


def test_a_write_or_a_hold_is_not_waited_for(cache: Cache, raw: redis.Redis) -> None:
    for kind in (Kind.WRITE, Kind.HOLD):
        mark = placeholder(kind)
        raw.set("k", mark, px=5000)
        began = time.monotonic()
        assert cache.get_or_load("k", lambda: 3) == 3
        assert time.monotonic() - began < 0.5
        assert raw.get("k") == mark


def test_somebody_elses_load_is_waited_for(cache: Cache, raw: redis.Redis) -> None:
    raw.set("k", placeholder(Kind.LOAD), px=5000)
    threading.Timer(0.15, lambda: raw.set("k", b'"theirs"')).start()
    assert cache.get_or_load("k", Loader("mine")) == "theirs"
    assert counted(cache)["waits"] == 1


def test_the_wait_is_limited(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(longest_wait_s=0.2)
    mark = placeholder(Kind.LOAD)
    raw.set("k", mark, px=5000)
    began = time.monotonic()
    assert cache.get_or_load("k", lambda: "mine") == "mine"
    assert 0.2 <= time.monotonic() - began < 1
    assert raw.get("k") == mark
    assert counted(cache)["wait_timeouts"] == 1


def test_a_lease_that_vanishes_is_taken_over(cache: Cache, raw: redis.Redis) -> None:
    raw.set("k", placeholder(Kind.LOAD), px=100)
    assert cache.get_or_load("k", lambda: "mine") == "mine"
    assert raw.get("k") == b'"mine"'


def test_without_lease_nobody_waits(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(lease=False)
    raw.set("k", placeholder(Kind.LOAD), px=5000)
    began = time.monotonic()
    assert cache.get_or_load("k", lambda: "mine") == "mine"
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("by", ["delete", "expiry", "overwrite"])
def test_a_fill_needs_its_placeholder(cache: Cache, raw: redis.Redis, by: str) -> None:
    """Invalidated, evicted, or a lease that ended in the middle of the load: the old value is not written."""

    def load() -> str:
        if by == "delete":
            raw.delete("k")
        elif by == "expiry":
            raw.pexpire("k", 1)
            time.sleep(0.01)
        else:
            raw.set("k", b'"newer"')
        return "old"

    assert cache.get_or_load("k", load) == "old"
    assert raw.get("k") == (b'"newer"' if by == "overwrite" else None)
    assert counted(cache)["rejected_fills"] == 1


def test_threads_share_one_load_and_each_gets_a_copy(cache: Cache) -> None:
    load = Loader([1, 2], takes_s=0.2)
    found: list[list[int]] = []

    def read() -> None:
        value = cache.get_or_load("k", load)
        value.append(3)
        found.append(value)

    threads = [threading.Thread(target=read) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load.calls == 1
    assert found == [[1, 2, 3]] * 20


def test_an_error_goes_to_all_who_wait_and_is_forgotten(cache: Cache) -> None:
    started = threading.Event()
    calls: list[int] = []

    def fail() -> int:
        calls.append(1)
        started.set()
        time.sleep(0.2)
        raise LookupError("no")

    errors: list[BaseException] = []

    def read() -> None:
        try:
            cache.get_or_load("k", fail)
        except LookupError as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) == 8 and len(calls) == 1
    assert cache.get_or_load("k", lambda: 5) == 5


def test_a_loader_that_hangs_holds_nobody_for_longer_than_the_wait(make_cache: MakeCache) -> None:
    cache = make_cache(longest_wait_s=0.2)
    release = threading.Event()
    first_in = threading.Event()

    def hang() -> str:
        first_in.set()
        release.wait(10)
        return "late"

    thread = threading.Thread(target=lambda: cache.get_or_load("k", hang))
    thread.start()
    assert first_in.wait(5)
    began = time.monotonic()
    assert cache.get_or_load("k", lambda: "quick") == "quick"
    assert time.monotonic() - began < 1
    release.set()
    thread.join()


def test_whoever_comes_after_an_invalidation_does_not_join_an_older_load(cache: Cache) -> None:
    row = {"v": 1}
    in_load, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        value = row["v"]
        in_load.set()
        go_on.wait(5)
        return value

    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(cache.get_or_load("k", slow)))
    thread.start()
    assert in_load.wait(5)
    row["v"] = 2
    cache.invalidate("k")
    assert cache.get_or_load("k", lambda: row["v"]) == 2
    go_on.set()
    thread.join()
    assert found == [1]
    assert cache.get("k") == 2


def test_the_same_when_another_process_invalidates(cache: Cache, raw: redis.Redis) -> None:
    row = {"v": 1}
    in_load, go_on = threading.Event(), threading.Event()

    def slow() -> int:
        value = row["v"]
        in_load.set()
        go_on.wait(5)
        return value

    thread = threading.Thread(target=lambda: cache.get_or_load("k", slow))
    thread.start()
    assert in_load.wait(5)
    row["v"] = 2
    raw.delete("k")
    assert cache.get_or_load("k", lambda: row["v"]) == 2
    go_on.set()
    thread.join()
    assert cache.get("k") == 2


def test_a_loader_may_read_its_own_key(cache: Cache) -> None:
    began = time.monotonic()
    assert cache.get_or_load("k", lambda: cache.get_or_load("k", lambda: 1) + 1) == 2
    assert time.monotonic() - began < 6


def test_mostly_missed_prefixes_take_the_lease_at_once(cache: Cache, raw: redis.Redis) -> None:
    for number in range(60):
        cache.get_or_load(f"miss:{number}", lambda: 1)
    cache._ledger.take()
    raw.config_resetstat()
    cache.get_or_load("miss:new", lambda: 1)
    cache.get_or_load("miss:new", lambda: 1)
    calls = raw.info("commandstats")
    assert "cmdstat_get" not in calls or calls["cmdstat_get"]["calls"] == 1, "only the fill's own"
    assert calls["cmdstat_set"]["calls"] >= 2
    for _ in range(2000):
        cache.get_or_load("miss:new", lambda: 1)
    cache._ledger.take()
    raw.config_resetstat()
    cache.get_or_load("miss:new", lambda: 1)
    assert raw.info("commandstats")["cmdstat_get"]["calls"] == 1


def full(raw: redis.Redis) -> contextlib.AbstractContextManager[Any]:
    """A server without room: it refuses to store anything."""

    @contextlib.contextmanager
    def made() -> Iterator[None]:
        before = raw.config_get("maxmemory*")
        raw.config_set("maxmemory-policy", "noeviction")
        raw.config_set("maxmemory", 1)
        try:
            yield
        finally:
            raw.config_set("maxmemory", before["maxmemory"])
            raw.config_set("maxmemory-policy", before["maxmemory-policy"])

    return made()


@pytest.mark.parametrize("tags", [(), ("t",)], ids=["plain", "tagged"])
@pytest.mark.parametrize("grace_s", [None, 5])
def test_a_full_server_still_gives_what_it_has_to_a_mostly_missed_prefix(
    make_cache: MakeCache, raw: redis.Redis, grace_s: int | None, tags: tuple[str, ...]
) -> None:
    """Taking the lease at once is a write, and refused."""
    cache, load = make_cache(grace_s=grace_s), Loader("stored")
    assert cache.get_or_load("k", load, tags=tags) == "stored"
    cache._rule(b"k").tally.acquires_first = True
    with full(raw):
        assert [cache.get_or_load("k", load, tags=tags) for _ in range(20)] == ["stored"] * 20
        assert load.calls == 1
        assert cache.get_or_load("none", lambda: "loaded", tags=tags) == "loaded"


@pytest.mark.parametrize("tags", [(), ("t",)], ids=["plain", "tagged"])
def test_a_mostly_missed_prefix_is_refreshed_early_too(
    make_cache: MakeCache, raw: redis.Redis, tags: tuple[str, ...]
) -> None:
    cache = make_cache(base_ttl_s=60, grace_s=30)
    cache.get_or_load("k", lambda: "old", tags=tags)
    raw.pexpire("k", 20_000)
    tally = cache._rule(b"k").tally
    tally.acquires_first = True
    counted(cache)
    tally.acquires_first = True
    load = Loader("new")
    assert cache.get_or_load("k", load, tags=tags) == "old"
    assert load.started.wait(5)
    deadline = time.monotonic() + 5
    while cache.get("k") == "old" and time.monotonic() < deadline:
        time.sleep(0.01)
    assert cache.get("k") == "new" and raw.pttl("k") > 80_000
    seen = counted(cache)
    assert (seen["stale_served"], seen["refreshes"], load.calls) == (1, 1, 1)


def eventually(check: Callable[[], object]) -> None:
    """What happens in the background has a while to happen."""
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("bypasses", ["", "pending"])
@pytest.mark.parametrize("value", [0, 35], ids=["NUL", "#"])
def test_values_whose_first_byte_could_be_a_mark_are_refreshed_too(
    make_cache: MakeCache, raw: redis.Redis, value: int, bypasses: str
) -> None:
    cache = make_cache(base_ttl_s=60, grace_s=30, options={"codec": MsgpackCodec(), "follow": False})
    cache.get_or_load("k", lambda: value)
    assert raw.get("k") == bytes([value])
    raw.pexpire("k", 20_000)
    if bypasses:
        # Reads take the longer way while an invalidation of any key is kept.
        cache._keeper.stop()
        cache._removal.keep_or_raise([b"another"], None, "retry", None)
    assert cache.get_or_load("k", lambda: 7) == value
    eventually(lambda: cache.get("k") == 7)
    seen = counted(cache)
    assert (seen["stale_served"], seen["refreshes"]) == (1, 1)


def test_a_tagged_value_is_refreshed_for_a_reader_that_names_no_tags_and_stays_tagged(
    make_cache: MakeCache, raw: redis.Redis
) -> None:
    cache = make_cache(base_ttl_s=60, grace_s=30)
    cache.get_or_load("k", lambda: "old", tags=["a", "b"])
    raw.pexpire("k", 20_000)
    assert cache.get_or_load("k", lambda: "new") == "old"
    eventually(lambda: cache.get("k") == "new")
    assert counted(cache)["stale_served"] == 1
    cache.invalidate_tag("b")
    assert cache.get("k") is None


def test_writes_look_at_keys_and_that_can_be_corrected(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(options={"follow": False})
    cache.get_or_load("warm", lambda: 0)
    counted(cache)
    raw.config_resetstat()
    for number in range(10):
        cache.put(f"k{number}", 1)
        cache.put(f"k{number}", 2)
        cache.invalidate(f"k{number}")
        cache.invalidate(f"k{number}")
        cache.invalidate(f"k{number}", hold_ms=60_000)
    info, seen = raw.info("stats"), counted(cache)
    assert info["keyspace_hits"] == seen["own_hits"] == 40
    assert info["keyspace_misses"] == seen["own_misses"] == 30


def test_keyspace_statistics_can_be_corrected(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache(options={"follow": False})
    cache.get_or_load("warm", lambda: 0)
    counted(cache)
    raw.config_resetstat()
    for number in range(10):
        cache.get_or_load(f"k{number}", lambda: 1)
        for _ in range(3):
            cache.get_or_load(f"k{number}", lambda: 1)
    info, seen = raw.info("stats"), counted(cache)
    assert (seen["hits"], seen["misses"]) == (30, 10)
    assert info["keyspace_hits"] - seen["own_hits"] == 30
    assert info["keyspace_misses"] - seen["own_misses"] == 10


def test_get_never_loads(cache: Cache, raw: redis.Redis) -> None:
    missing = object()
    assert cache.get("k") is None and cache.get("k", missing) is missing
    raw.set("k", placeholder(Kind.LOAD), px=5000)
    assert cache.get("k", missing) is missing
    raw.set("k", b"null")
    assert cache.get("k", missing) is None


def test_misuse_raises(cache: Cache) -> None:
    for key in ("", "x" * 5000, "cachewarden:policies", "\ud800", 7, None):
        with pytest.raises(UsageError):
            cache.get_or_load(key, lambda: 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        cache.get_or_load("k", lambda: 1, tags="tag")
    with pytest.raises(UsageError):
        cache.get_or_load("k", lambda: 1, tags=[""])
    with pytest.raises(UsageError):
        cache.invalidate("k", hold_ms=0)
    for target in (7, "http://127.0.0.1", None):
        with pytest.raises(UsageError):
            Cache(target)  # type: ignore[arg-type]


def test_binary_keys_and_plain_json(cache: Cache, raw: redis.Redis) -> None:
    assert cache.get_or_load(b"\xff\x00", lambda: {"ä": [1.5, True, None]}) == {"ä": [1.5, True, None]}
    stored = raw.get(b"\xff\x00")
    assert stored is not None and json.loads(stored) == {"ä": [1.5, True, None]}
