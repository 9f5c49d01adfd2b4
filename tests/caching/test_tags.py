"""Tags: one command makes every value of a tag useless, whatever became of the index."""

import random
import threading
from collections.abc import Callable

import pytest
import redis

from dashboard.caching import Cache, InvalidationError, UsageError
from dashboard.caching import tags as tagging
from dashboard.caching.asking import asking
from dashboard.caching.tags import VERSION, tag_key
from tests.support.servers import redis_server

MakeCache = Callable[..., Cache]


def test_a_purged_tag_takes_its_values_with_it(cache: Cache, raw: redis.Redis) -> None:
    for number in range(700):
        cache.get_or_load(f"p{number}", lambda number=number: number, tags=["brand:1", "all"])
    cache.get_or_load("other", lambda: 1, tags=["brand:2"])
    cache.get_or_load("plain", lambda: 1)
    assert raw.get("plain") == b"1"
    # Two that flush: the one that finds nothing left to send would not wait for the other.
    cache._keeper.stop()
    cache._beat()
    assert raw.zcard(tag_key("all")) == 701
    assert cache.invalidate_tag("brand:1") == 700
    assert not list(raw.scan_iter("p[0-9]*"))
    assert cache.get("other") == 1 and cache.get("plain") == 1
    assert cache.get_or_load("p1", lambda: "new", tags=["brand:1", "all"]) == "new"
    assert cache.get("p1") == "new"


@pytest.mark.parametrize("on_error", ["raise", "retry"])
def test_a_tag_that_cannot_be_purged_stops_none_behind_it(
    make_cache: MakeCache, raw: redis.Redis, on_error: str
) -> None:
    cache = make_cache(options={"on_error": on_error, "follow": False})
    cache.get_or_load("k", lambda: "old", tags=["a", "c"])
    cache._beat()
    cache._keeper.stop()
    for tag in ("b", "d"):
        raw.set(tag_key(tag), "somebody else's")
    if on_error == "raise":
        with pytest.raises(InvalidationError) as caught:
            cache.invalidate_tag("a", "b", "c", "d")
        assert caught.value.keys == (tag_key("b"), tag_key("d"))
    else:
        cache.invalidate_tag("a", "b", "c", "d")
        assert set(cache._removal.pending) == {tag_key("b"), tag_key("d")}
    assert raw.exists("k") == 0, "the memory comes back, too"
    raw.delete(tag_key("b"), tag_key("d"))


def test_a_value_that_is_being_loaded_is_purged_too(cache: Cache) -> None:
    def load() -> str:
        cache.invalidate_tag("t")
        return "old"

    assert cache.get_or_load("k", load, tags=["t"]) == "old"
    assert cache.get("k") is None
    assert cache.get_or_load("k", lambda: "new", tags=["t"]) == "new"


def test_a_purge_between_index_and_fill(cache: Cache, raw: redis.Redis) -> None:
    """The key is gone from the index before the value is stored: the version does not need the index."""
    in_load, go_on = threading.Event(), threading.Event()

    def load() -> str:
        in_load.set()
        go_on.wait(5)
        return "old"

    thread = threading.Thread(target=lambda: cache.get_or_load("k", load, tags=["t"]))
    thread.start()
    assert in_load.wait(5)
    raw.zadd(tag_key("t"), {VERSION: tagging.new_version()})
    raw.zrem(tag_key("t"), "k")
    go_on.set()
    thread.join()
    assert raw.exists("k") and cache.get("k") is None


def test_whoever_comes_after_a_purge_does_not_join_an_older_load(
    make_cache: MakeCache, raw: redis.Redis
) -> None:
    """Another process purges, and the index had lost the key, so that the load's placeholder stays."""
    cache, other = make_cache(), make_cache()
    row = {"v": "old"}
    in_load, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        value = row["v"]
        in_load.set()
        go_on.wait(5)
        return value

    thread = threading.Thread(target=lambda: cache.get_or_load("k", slow, tags=["t"]))
    thread.start()
    assert in_load.wait(5)
    row["v"] = "new"
    raw.delete(tag_key("t"))
    other.invalidate_tag("t")
    assert raw.exists("k")
    threading.Timer(0.2, go_on.set).start()
    assert cache.get_or_load("k", lambda: row["v"], tags=["t"]) == "new"
    thread.join()


def test_while_a_purge_is_kept_nothing_of_the_tag_is_used(make_cache: MakeCache, raw: redis.Redis) -> None:
    """Also where the caller does not name the tag."""
    cache = make_cache(options={"on_error": "retry", "follow": False})
    for key in ("k", "k2", "k3"):
        cache.get_or_load(key, lambda: "old", tags=["a", "b"])
    cache._keeper.stop()
    cache._removal.keep_or_raise([tag_key("b")], None, None, None)
    assert cache.get("k", "none") == "none"
    assert cache.get_or_load("k", lambda: "new") == "new"
    assert cache.get_or_load("k2", lambda: "new", tags=["a"]) == "new"
    assert cache.get_or_load_many(["k3"], lambda keys: {"k3": "new"}, tags=["a"]) == {"k3": "new"}
    cache._removal.repeat()
    assert cache.get_or_load("k2", lambda: "newest", tags=["a", "b"]) == "newest"
    assert cache.get_or_load("k2", lambda: 0, tags=["a", "b"]) == "newest"


@pytest.mark.parametrize("tags", [["t"], ["ü", 't"', "a b"]])
def test_a_hit_is_one_round_trip_and_a_miss_two_or_three(
    cache: Cache, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch, tags: list[str]
) -> None:
    cache.get_or_load("k", lambda: 1, tags=tags)
    sent: list[str] = []

    def told(name: str, call: Callable[..., list[object]]) -> Callable[..., list[object]]:
        def tell(*given: object) -> list[object]:
            sent.append(name)
            return call(*given)

        return tell

    cache._keeper.stop()
    for name in ("exchange", "get_tagged"):
        monkeypatch.setattr(cache._link, name, told(name, getattr(cache._link, name)))
    assert cache.get_or_load("k", lambda: 2, tags=tags) == 1
    assert sent == ["get_tagged"]
    assert cache.get_or_load("k2", lambda: 2, tags=tags) == 2
    assert sent[1:] == ["get_tagged", "exchange", "exchange"]
    cache._rule(b"k").tally.acquires_first = True
    sent.clear()
    assert cache.get_or_load("k3", lambda: 3, tags=tags) == 3
    assert sent == ["exchange", "exchange"]
    assert cache.get_or_load("k3", lambda: 4, tags=tags) == 3
    assert len(sent) == 3


def test_a_tag_of_another_class_of_text_is_its_own(cache: Cache) -> None:
    """``lru_cache`` takes equal texts for the same one."""

    class Name(str):
        def __str__(self) -> str:
            return f"name:{super().__str__()}"

    assert asking([Name("t")]).tags == ("name:t",)
    assert asking(["t"]).tags == ("t",)
    assert asking(tag for tag in ["b", "a", "b"]).tags == ("a", "b")
    for bad in ("t", b"t", [""], [1], ["x" * 201], ["\ud800"], [str(number) for number in range(17)]):
        with pytest.raises(UsageError):
            asking(bad)  # type: ignore[arg-type]


def test_an_index_that_cannot_be_written_is_given_up(cache: Cache, raw: redis.Redis) -> None:
    cache.get_or_load("k", lambda: 1, tags=["t"])
    cache.get_or_load("k2", lambda: 1, tags=["t"])
    cache.invalidate_tag("t")
    cache.get_or_load("k3", lambda: 1, tags=["t"])
    raw.zadd(tag_key("t"), {VERSION: tagging.new_version()})
    cache._beat()
    assert raw.zscore(tag_key("t"), "k3") is None, "it is of another version"
    assert cache.get_or_load("k3", lambda: 3, tags=["t"]) == 3


def test_an_evicted_index_misses_nothing(cache: Cache, raw: redis.Redis) -> None:
    cache.get_or_load("k", lambda: "old", tags=["t"])
    raw.delete(tag_key("t"))
    # Another key brings the index back, without the first.
    cache.get_or_load("k2", lambda: 1, tags=["t"])
    cache.invalidate_tag("t")
    assert cache.get_or_load("k", lambda: "new", tags=["t"]) == "new"


def test_values_of_another_call_without_tags_are_not_trusted(cache: Cache) -> None:
    cache.get_or_load("k", lambda: "untagged")
    assert cache.get_or_load("k", lambda: "tagged", tags=["t"]) == "tagged"
    assert cache.get_or_load("k", lambda: 1 / 0) == "tagged"


def test_the_index_reaps_what_expired_and_is_bounded(make_cache: MakeCache, raw: redis.Redis) -> None:
    cache = make_cache()
    raw.zadd(tag_key("t"), {f"old{number}": 1000 + number for number in range(25)})
    cache.get_or_load("k", lambda: 1, tags=["t"])
    assert raw.zcard(tag_key("t")) == 25 - 10 + 2
    cache.get_or_load("k2", lambda: 1, tags=["t"])
    cache.get_or_load("k3", lambda: 1, tags=["t"])
    cache._beat()
    assert raw.zcard(tag_key("t")) == 4
    assert raw.pttl(tag_key("t")) > 60_000
    score = raw.zscore(tag_key("t"), VERSION)
    assert score is not None and score >= 2**52


def test_tagged_write_through_and_many(cache: Cache, raw: redis.Redis) -> None:
    with cache.write_through("w", tags=["t"]) as write:
        write.value = 1
    found = cache.get_or_load_many(["w", "m1", "m2"], lambda keys: dict.fromkeys(keys, 2), tags=["t"])
    assert found == {"w": 1, "m1": 2, "m2": 2}
    assert cache.get_or_load_many(["w", "m1"], lambda keys: {}, tags=["t"]) == {"w": 1, "m1": 2}
    cache.invalidate_tag("t")
    assert [cache.get(key) for key in ("w", "m1", "m2")] == [None] * 3


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_under_eviction_no_purge_misses_a_live_key(policy: str) -> None:
    """A small server with several times as much data and many tags: whatever is read is never from before a purge."""
    with (
        redis_server("--maxmemory", "3mb", "--maxmemory-policy", policy, "--maxmemory-samples", "3") as port,
        redis.Redis(port=port) as raw,
        Cache(f"redis://127.0.0.1:{port}") as cache,
    ):
        chance = random.Random(4)
        version = dict.fromkeys((f"tag:{number}" for number in range(40)), 0)
        survivors = evicted_indexes = 0
        for turn in range(4000):
            tag = chance.choice(list(version))
            if turn % 40 == 0:
                version[tag] += 1
                cache.invalidate_tag(tag)
                evicted_indexes += sum(not raw.exists(tag_key(each)) for each in version)
            else:
                row = {"v": version[tag], "pad": "x" * 6000}
                value = cache.get_or_load(f"{tag}:{chance.randrange(20)}", lambda row=row: row, tags=[tag])
                assert value["v"] == version[tag], f"{tag} under {policy} at turn {turn}"
        for tag, expected in version.items():
            for number in range(20):
                value = cache.get(f"{tag}:{number}")
                if value is not None:
                    survivors += 1
                    assert value["v"] == expected
        info = raw.info("stats")
        assert info["evicted_keys"] > 500, "no pressure, no proof"
        assert survivors > 20 and info["keyspace_hits"] > 500
        if policy == "allkeys-random":
            assert evicted_indexes > 40, "no index was evicted, nothing is proved about that"
