"""Three ways to cache the same reads."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest
import redis

from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop import modes as module
from dashboard.demo.shop.modes import NAIVE_TTL_S, Modes, Then
from dashboard.demo.shop.store import ShopStore
from dashboard.demo.shop.types import MODES, Touch
from dashboard.embedded import valkey

CACHED = ("naive", "cachewarden")


class Counted:
    """A loader that counts."""

    def __init__(self, value: object = None) -> None:
        self.calls = 0
        self.value = value if value is not None else {"price_cents": 4900}
        self.asked: list[list[str]] = []

    def __call__(self) -> object:
        self.calls += 1
        return self.value

    def many(self, keys: list[str]) -> dict[str, object]:
        self.asked.append(sorted(keys))
        return {key: {"key": key} for key in keys if key != "product:99"}


@pytest.fixture
def heard() -> Iterator[list[Touch]]:
    heard: list[Touch] = []
    module.touches.set(heard)
    yield heard
    module.touches.set(None)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(valkey_url)
    yield client
    client.close()


@pytest.mark.parametrize("mode", CACHED)
def test_the_second_read_is_a_hit_until_it_is_dropped(modes: Modes, heard: list[Touch], mode: str) -> None:
    modes.switch(mode)
    load = Counted()
    assert [modes.shelf.read("product:1", load) for _ in range(3)] == [load.value] * 3
    assert load.calls == 1
    assert [touch.result for touch in heard] == ["loaded", "hit", "hit"]
    assert heard[0].load_ms >= 0 == heard[1].load_ms
    modes.shelf.drop("product:1")
    modes.shelf.read("product:1", load)
    assert load.calls == 2


def test_off_loads_each_time_and_still_tells_the_cache_of_writes(
    modes: Modes, heard: list[Touch], client: redis.Redis
) -> None:
    load = Counted()
    modes.switch("cachewarden")
    modes.shelf.read("wallet:1", load)
    modes.switch("off")
    modes.shelf.read("wallet:1", load)
    modes.shelf.read_many(["product:1", "product:2"], load.many)
    assert load.calls == 2
    assert [touch.result for touch in heard] == ["loaded", "not cached", "not cached", "not cached"]
    modes.shelf.write("wallet:1", lambda then: load())
    # Switched on again it must not show what was before.
    assert client.get("wallet:1") is None


def test_naive_is_the_plain_recipe(modes: Modes, client: redis.Redis) -> None:
    modes.switch("naive")
    modes.shelf.read("product:1", Counted({"a": 1}))
    assert json.loads(client.get("product:1") or b"") == {"a": 1}
    assert NAIVE_TTL_S - 5 < client.ttl("product:1") <= NAIVE_TTL_S


def test_cachewarden_follows_the_policies(modes: Modes, client: redis.Redis) -> None:
    modes.shelf.read("product:1", Counted())
    policy = DOCUMENT.find("product:1")
    assert policy.base_ttl_s is not None
    assert policy.base_ttl_s - 5 < client.ttl("product:1") <= policy.base_ttl_s + policy.jitter_s


@pytest.mark.parametrize("mode", MODES)
def test_many_are_one_look_and_one_load_of_what_is_missing(
    modes: Modes, heard: list[Touch], mode: str
) -> None:
    modes.switch(mode)
    load = Counted()
    modes.shelf.read_many(["product:1", "product:2"], load.many)
    found = modes.shelf.read_many(["product:2", "product:3", "product:99", "product:2"], load.many)
    assert found == {
        "product:2": {"key": "product:2"},
        "product:3": {"key": "product:3"},
        "product:99": None,
    }
    cached = mode in CACHED
    assert load.asked[1] == (
        ["product:3", "product:99"] if cached else ["product:2", "product:3", "product:99"]
    )
    second = {touch.key: touch.result for touch in heard[2:]}
    missed = "loaded" if cached else "not cached"
    assert second == {
        "product:2": "hit" if cached else missed,
        "product:3": missed,
        "product:99": missed,
    }
    assert {touch.of for touch in heard} == {2, 3}
    assert modes.shelf.read_many([], load.many) == {}


@pytest.mark.parametrize("mode", MODES)
def test_a_write_changes_what_is_read_next(modes: Modes, mode: str) -> None:
    modes.switch(mode)
    rows = {"wallet:1": {"balance_cents": 100}}

    def load() -> object:
        return rows["wallet:1"]

    assert modes.shelf.read("wallet:1", load) == {"balance_cents": 100}

    def commit(then: Then) -> str:
        then({"balance_cents": 50})
        rows["wallet:1"] = {"balance_cents": 50}
        return "done"

    assert modes.shelf.write("wallet:1", commit) == "done"
    assert modes.shelf.read("wallet:1", load) == {"balance_cents": 50}


@pytest.mark.parametrize("mode", MODES)
def test_a_write_that_fails_leaves_the_old_value(modes: Modes, mode: str) -> None:
    modes.switch(mode)
    modes.shelf.read("wallet:1", lambda: {"balance_cents": 100})

    def commit(then: Then) -> None:
        then({"balance_cents": 50})
        raise RuntimeError("rolled back")

    with pytest.raises(RuntimeError, match="rolled back"):
        modes.shelf.write("wallet:1", commit)
    assert modes.shelf.read("wallet:1", lambda: {"balance_cents": 100}) == {"balance_cents": 100}


def test_write_through_stores_the_new_value(modes: Modes, client: redis.Redis) -> None:
    modes.shelf.write("wallet:1", lambda then: then({"balance_cents": 50}))
    assert json.loads(client.get("wallet:1") or b"") == {"balance_cents": 50}


def test_a_switch_is_followed_by_the_other_processes(modes: Modes, store: ShopStore, valkey_url: str) -> None:
    other, fixed = Modes(store, valkey_url, "shop-web-2"), Modes(store, valkey_url, fixed="off")
    assert other.current == "cachewarden"
    modes.switch("naive")
    assert modes.current == "naive"
    deadline = time.monotonic() + 20
    while other.current != "naive":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert fixed.current == "off"
    with pytest.raises(ValueError, match="magic"):
        modes.switch("magic")
    other.close()
    fixed.close()


@pytest.mark.parametrize(("before", "mode"), [("cachewarden", "naive"), ("naive", "cachewarden")])
def test_whoever_begins_to_cache_begins_with_nothing(
    modes: Modes, store: ShopStore, client: redis.Redis, valkey_url: str, before: str, mode: str
) -> None:
    modes.switch(before)
    with closing(Modes(store, valkey_url, "shop-web-2", DOCUMENT)) as other:
        assert other.current == before
        client.set("report:visitors", "not a page's")
        modes.shelf.read("product:1", Counted())
        modes.switch(mode)
        assert client.get("product:1") is None
        # The other process has not followed yet, and stores in its own way.
        other._shelves[before].read("product:2", Counted())
        deadline = time.monotonic() + 20
        while other.current != mode:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert client.get("product:2") is None
        assert client.get("report:visitors") == b"not a page's"
        # Nobody has switched: nothing is forgotten.
        modes.shelf.read("product:3", Counted())
        modes.switch(mode)
        assert client.get("product:3") is not None


def test_off_leaves_what_is_cached_and_a_process_that_starts_does_too(
    modes: Modes, store: ShopStore, client: redis.Redis, valkey_url: str
) -> None:
    modes.shelf.read("product:1", Counted())
    modes.switch("off")
    assert client.get("product:1") is not None
    modes.switch("naive")
    modes.shelf.read("product:1", Counted())
    with closing(Modes(store, valkey_url, "shop-web-2", DOCUMENT)) as other:
        assert other.current == "naive"
    assert client.get("product:1") is not None


def test_a_look_that_began_before_a_switch_does_not_undo_it(shop_url: str, valkey_url: str) -> None:
    asked, may_answer = threading.Event(), threading.Event()

    class Slow(ShopStore):
        def mode(self) -> str:
            found = super().mode()
            asked.set()
            assert may_answer.wait(30)
            return found

    slow = Slow(shop_url)
    with closing(Modes(slow, valkey_url)) as modes:
        looks = threading.Thread(target=lambda: modes.current)
        looks.start()
        assert asked.wait(30)
        modes.switch("naive")
        may_answer.set()
        looks.join()
        assert modes._current == "naive"
    slow.close()


def test_what_has_how_long_to_live_and_what_is_cached(modes: Modes, client: redis.Redis) -> None:
    modes.shelf.read("product:1", Counted({"a": 1}))
    client.set("forever", "1")
    client.set("odd", b"\xff\x00")
    first, second, third = modes.lives(["product:1", "forever", "missing"]) or ()
    assert first is not None
    assert first > 3000
    assert (second, third) == (None, None)
    assert modes.peek(["product:1", "missing", "odd"]) == [{"a": 1}, None, None]


@pytest.mark.parametrize("mode", MODES)
def test_without_a_cache_the_shop_reads_its_database(store: ShopStore, mode: str, heard: list[Touch]) -> None:
    with valkey.start() as server:
        modes = Modes(store, server.url, document=DOCUMENT)
        modes.switch(mode)
        modes.shelf.read("product:1", Counted())
    load = Counted()
    assert modes.shelf.read("product:1", load) == load.value
    assert modes.shelf.read_many(["product:1", "product:2"], load.many)["product:2"] == {"key": "product:2"}
    modes.shelf.drop("product:1")
    assert modes.shelf.write("wallet:1", lambda then: "done") == "done"
    assert load.calls == 1
    assert modes.lives(["product:1"]) is None
    assert modes.peek(["product:1"]) == [None]
    assert "hit" not in {touch.result for touch in heard}
    modes.close()
