"""Redis gone in the middle of every step: the application gets its value, and nothing old is left behind."""

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis
from redis.connection import parse_url

from dashboard.caching import Cache, CacheSettingsWarning, InvalidationError
from dashboard.caching.breaker import Breaker
from dashboard.caching.cache import BATCH
from dashboard.caching.link import DirectLink, connect
from tests.caching.conftest import a_policy
from tests.caching.test_reading import counted
from tests.support.cutter import Cut, Cutter, cutter
from tests.support.servers import free_port, redis_server


class Shop:
    """A row in a database, and the four ways to use it through a cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.price = 1
        self.lost = False

    def load(self) -> int:
        return self.price

    def read(self) -> None:
        assert self.cache.get_or_load("k", self.load) == self.price

    def read_tagged(self) -> None:
        assert self.cache.get_or_load("k", self.load, tags=["t"]) == self.price

    def read_many(self) -> None:
        found = self.cache.get_or_load_many(["k", "k2"], lambda keys: dict.fromkeys(keys, self.price))
        assert found == {"k": self.price, "k2": self.price}

    def write(self) -> None:
        try:
            with self.cache.write_through("k") as write:
                self.price += 1
                write.value = self.price
        except InvalidationError:
            self.lost = True

    def invalidate(self) -> None:
        self.price += 1
        try:
            self.cache.invalidate("k", "k2")
        except InvalidationError:
            self.lost = True

    def purge(self) -> None:
        self.price += 1
        try:
            self.cache.invalidate_tag("t")
        except InvalidationError:
            self.lost = True


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[Cutter, int]]:
    with redis_server() as port, cutter(port) as made:
        yield made, port


USES: list[tuple[str, Callable[[Shop], None]]] = [
    ("read", Shop.read),
    ("read_tagged", Shop.read_tagged),
    ("read_many", Shop.read_many),
    ("write", Shop.write),
    ("invalidate", Shop.invalidate),
    ("purge", Shop.purge),
]


MOST_COMMANDS = 16
"""More than any use takes, with the counters that may be carried meanwhile."""


def use_and_cut(
    proxy: tuple[Cutter, int], at: int, how: Cut, name: str, use: Callable[[Shop], None], is_warm: bool
) -> tuple[float, int]:
    """Cut a use off at its ``at``-th command, and look at what that left; its seconds, and how many commands came."""
    made, port = proxy
    made.heal()
    with (
        redis.Redis(port=port) as raw,
        Cache(f"redis://127.0.0.1:{made.port}", default=a_policy(longest_wait_s=0.05), follow=False) as cache,
    ):
        raw.flushall()
        shop = Shop(cache)
        if is_warm:
            (shop.read_tagged if name in ("purge", "read_tagged") else shop.read_many)()
        made.cut(at, how)
        began = time.monotonic()
        use(shop)
        took_s = time.monotonic() - began
        total = len(made.seen)
        made.heal()
        # What stayed behind of a cut-off caller ends with its lease.
        for key in (b"k", b"k2"):
            found = raw.get(key)
            if found is not None and found.startswith(b"\x00cachewarden:"):
                raw.delete(key)
        if shop.lost:
            # It was said so, by an exception: nothing is promised until it is repeated.
            until_told(lambda: cache.invalidate("k", "k2"))
            until_told(lambda: cache.invalidate_tag("t"))
        time.sleep(0.01)
        with Cache(f"redis://127.0.0.1:{port}", default=a_policy(), follow=False) as other:
            assert other.get("k", shop.price) == shop.price
            if name in ("purge", "read_tagged"):
                assert other.get_or_load("k", shop.load, tags=["t"]) == shop.price
    return took_s, total


def until_told(tell: Callable[[], object]) -> None:
    """Repeat what Redis may be too busy for."""
    deadline = time.monotonic() + 30
    while True:
        try:
            tell()
        except InvalidationError:
            assert time.monotonic() < deadline
        else:
            return


@pytest.mark.parametrize("how", list(Cut))
@pytest.mark.parametrize(("name", "use"), USES, ids=[name for name, _ in USES])
@pytest.mark.parametrize("is_warm", [False, True], ids=["cold", "warm"])
def test_cut_at_every_step(
    proxy: tuple[Cutter, int], how: Cut, name: str, use: Callable[[Shop], None], is_warm: bool
) -> None:
    for at in range(MOST_COMMANDS):
        # The quickest of some: the machine may be busy with other things.
        for _ in range(5):
            took_s, total = use_and_cut(proxy, at, how, name, use, is_warm)
            if took_s < 2.5:
                break
        else:
            pytest.fail(f"cut at command {at} it took {took_s:.1f} s")
        if total <= at:
            return
    pytest.fail(f"the use never ended within {MOST_COMMANDS} commands")


def test_many_in_several_round_trips_of_which_one_is_lost(proxy: tuple[Cutter, int]) -> None:
    """The keys of the others are filled all the same, and no lease of theirs stays behind."""
    made, port = proxy
    made.heal()
    keys = [f"k{number}" for number in range(BATCH + 100)]
    with (
        redis.Redis(port=port) as raw,
        Cache(f"redis://127.0.0.1:{made.port}", follow=False) as cache,
    ):
        raw.flushall()
        cache.get_or_load("warm", lambda: 1)
        cache._keeper.stop()
        # After two looks and the leases of the first round trip.
        made.cut(2 + BATCH + 10, Cut.HANG, stays=False)
        assert cache.get_or_load_many(keys, lambda keys: dict.fromkeys(keys, 7)) == dict.fromkeys(keys, 7)
        assert raw.mget(keys[:BATCH]) == [b"7"] * BATCH
        assert b"7" not in raw.mget(keys[BATCH:])
        made.heal()


def test_a_refused_port_costs_next_to_nothing() -> None:
    firsts, laters = [], []
    # The best of some: the machine may be busy with other things.
    for _ in range(5):
        with Cache(f"redis://127.0.0.1:{free_port()}") as cache:
            began = time.monotonic()
            assert cache.get_or_load("k", lambda: 1) == 1
            firsts.append(time.monotonic() - began)
            for _ in range(20):
                assert cache.get_or_load("k", lambda: 1) == 1
            assert not cache._link.breaker(b"k").is_closed
            began = time.monotonic()
            assert cache.get_or_load("k", lambda: 1) == 1
            laters.append(time.monotonic() - began)
            assert counted(cache)["errors"] >= 20
    assert min(firsts) < 0.06
    assert min(laters) < 0.01


def test_a_server_that_hangs_costs_one_time_out_then_the_breaker_opens(proxy: tuple[Cutter, int]) -> None:
    made, _ = proxy
    made.heal()
    with Cache(f"redis://127.0.0.1:{made.port}", follow=False) as cache:
        cache.get_or_load("k", lambda: 1)
        made.cut(0, Cut.HANG)
        began = time.monotonic()
        for _ in range(50):
            assert cache.get_or_load("k2", lambda: 1) == 1
        assert time.monotonic() - began < 1.5
        made.heal()
        deadline = time.monotonic() + 8
        while not cache._link.breaker(b"k").is_closed and time.monotonic() < deadline:
            cache.get_or_load("k2", lambda: 1)
            time.sleep(0.05)
        assert cache._link.breaker(b"k").is_closed


class SlowRow:
    """A row whose load takes until it is told to end, in a thread; it reads the row first."""

    def __init__(self, cache: Cache, tags: tuple[str, ...] = ()) -> None:
        self.value = "old"
        self.found: list[str] = []
        self.in_load, self.go_on = threading.Event(), threading.Event()

        def slow() -> str:
            value = self.value
            self.in_load.set()
            self.go_on.wait(10)
            return value

        self.thread = threading.Thread(
            target=lambda: self.found.append(cache.get_or_load("k", slow, tags=tags))
        )
        self.thread.start()
        assert self.in_load.wait(5)

    def end(self) -> list[str]:
        self.go_on.set()
        self.thread.join()
        return self.found


@pytest.mark.parametrize("tags", [(), ("t",)], ids=["plain", "tagged"])
def test_readers_that_found_no_connection_free_do_not_join_a_load_from_before_an_invalidation(
    valkey_url: str, tags: tuple[str, ...]
) -> None:
    """Redis is well: another process was heard by it."""
    with (
        Cache(valkey_url, pool_size=1, follow=False) as cache,
        Cache(valkey_url, follow=False) as other,
    ):
        cache.get_or_load("k", lambda: "older", tags=tags)
        cache._keeper.stop()
        link = cache._link
        assert isinstance(link, DirectLink)
        taken, _ = link._take()
        row = SlowRow(cache, tags)
        link._give(taken)
        row.value = "new"
        other.invalidate("k")
        taken, _ = link._take()
        threading.Timer(0.5, row.go_on.set).start()
        assert cache.get_or_load("k", lambda: row.value, tags=tags) == "new"
        link._give(taken)
        assert row.end() == ["old"]


def test_nor_do_those_that_redis_refused(valkey_url: str) -> None:
    with (
        redis.Redis.from_url(valkey_url) as raw,
        Cache(valkey_url, follow=False) as cache,
        Cache(valkey_url, follow=False) as other,
    ):
        raw.hset("k", "field", 1)
        row = SlowRow(cache)
        row.value = "new"
        other.invalidate("k")
        raw.hset("k", "field", 1)
        threading.Timer(0.5, row.go_on.set).start()
        assert cache.get_or_load("k", lambda: row.value) == "new"
        assert row.end() == ["old"]
        raw.delete("k")


def test_while_redis_is_away_readers_of_a_process_share_a_load() -> None:
    with Cache(f"redis://127.0.0.1:{free_port()}", follow=False) as cache:
        row = SlowRow(cache)
        flight = cache._flights.by_key[b"k"]

        def end_when_awaited() -> None:
            deadline = time.monotonic() + 10
            while flight._done is None and time.monotonic() < deadline:
                time.sleep(0.01)
            row.end()

        ending = threading.Thread(target=end_when_awaited)
        ending.start()
        assert cache.get_or_load("k", lambda: "a load of its own") == "old"
        ending.join()


def test_a_kept_invalidation_is_repeated_and_until_then_the_key_is_not_used(
    proxy: tuple[Cutter, int],
) -> None:
    made, port = proxy
    made.heal()
    with (
        redis.Redis(port=port) as raw,
        Cache(f"redis://127.0.0.1:{made.port}", on_error="retry", follow=False) as cache,
    ):
        raw.flushall()
        row = {"v": 1}
        cache.get_or_load("k", lambda: row["v"])
        cache.get_or_load("t", lambda: row["v"], tags=["tag"])
        made.cut(0, Cut.BEFORE)
        row["v"] = 2
        cache.invalidate("k")
        cache.invalidate_tag("tag")
        assert raw.get("k") == b"1"
        made.heal()
        assert cache.get_or_load("k", lambda: row["v"]) == 2
        assert cache.get_or_load("t", lambda: row["v"], tags=["tag"]) == 2
        deadline = time.monotonic() + 5
        while cache._removal.pending and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not cache._removal.pending
        assert raw.get("k") is None
        assert cache.get("t") is None


def test_connections_closed_while_idle_are_replaced(proxy: tuple[Cutter, int]) -> None:
    made, _ = proxy
    made.heal()
    with Cache(f"redis://127.0.0.1:{made.port}", follow=False) as cache:
        cache.get_or_load("idle", lambda: 1)
        made.heal()
        assert cache.get_or_load("idle", lambda: pytest.fail("a dead connection is no miss")) == 1


def test_a_client_with_slow_settings_is_warned_about(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as slow, pytest.warns(CacheSettingsWarning, match="socket_timeout"):
        Cache(slow)


def test_a_client_with_decoding_works(valkey_url: str) -> None:
    with (
        redis.Redis(**parse_url(valkey_url), decode_responses=True, socket_timeout=0.25) as client,
        pytest.warns(CacheSettingsWarning, match="retries"),
        Cache(client) as cache,
    ):
        assert cache.get_or_load("k", lambda: {"ä": 1}) == {"ä": 1}
        assert cache.get_or_load("k", lambda: 0) == {"ä": 1}


def test_servers_before_redis_7(valkey_url: str) -> None:
    """They refuse SET with NX and GET; a script takes its place."""
    link = connect(valkey_url, 4)
    assert isinstance(link, DirectLink)
    with Cache(valkey_url) as cache:
        cache._link = link
        link._has_nx_get = False
        assert cache.get_or_load("k", lambda: 1) == 1
        assert cache.get_or_load("k", lambda: 2) == 1
        link.exchange([(b"SCRIPT", b"FLUSH")])
        assert cache.get_or_load("k2", lambda: 2) == 2
    link.close()


def test_the_breaker() -> None:
    breaker = Breaker(lambda: 0.5)
    for _ in range(2):
        breaker.failed(0.0)
        assert breaker.allows(0.0)
    breaker.failed(0.0)
    assert not breaker.allows(0.4)
    assert breaker.allows(0.6), "one probe"
    assert not breaker.allows(0.6), "and no second"
    breaker.failed(0.7)
    assert not breaker.allows(1.6) and breaker.allows(1.8)
    breaker.succeeded()
    assert breaker.is_closed and breaker.allows(1.8)
    for turn in range(3, 20):
        breaker.failed(100.0 + turn * 7)
        assert breaker.allows(100.0 + turn * 7 + 6.3), "it never stays open for longer than seconds"


def test_calls_that_were_under_way_do_not_keep_the_breaker_open() -> None:
    breaker = Breaker(lambda: 0.5)
    for number in range(8):
        breaker.failed(number / 100)
    assert breaker.allows(0.6), "the probe comes half a second after the third failure"
    breaker.failed(0.7)
    for number in range(8):
        breaker.failed(0.8 + number / 100)
    assert not breaker.allows(1.6) and breaker.allows(1.8)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_cache_made_and_used_before_a_fork(valkey_url: str) -> None:
    with Cache(valkey_url) as cache:
        cache.get_or_load("k", lambda: "parent")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                found = [cache.get_or_load("k", lambda: "child"), cache.get_or_load("k2", lambda: "child")]
                is_alive = cache._keeper._thread is not None and cache._keeper._thread.is_alive()
                same = cache._follower is not None and f":{os.getpid()}:" in cache._follower.instance.id
                os.write(writer, repr((found, is_alive, same)).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 1000) == b"(['parent', 'child'], True, True)"
        assert [cache.get_or_load("k", lambda: 1) for _ in range(50)] == ["parent"] * 50
        os.close(reader)
        os.close(writer)
