"""The library inside of a process: its threads, its connections, its start and its end."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.connection import parse_url

from dashboard.caching import Cache, Policy, PolicyDocument, UsageError, parse_document
from dashboard.caching.background import THREADS, Background
from dashboard.caching.counters import RETIRED_TAKES, Ledger
from dashboard.caching.follow import Follower
from dashboard.caching.keeper import Keeper
from dashboard.caching.link import DirectLink, Unreachable, connect
from dashboard.caching.policy import TIERS
from dashboard.caching.wire import COUNTERS_KEY, INSTANCES_KEY, MAX_COUNTED_PREFIXES, POLICIES_KEY
from tests.caching.test_following import document
from tests.caching.test_reading import full
from tests.support.cutter import Cut, Cutter, cutter
from tests.support.servers import redis_server

MakeCache = Callable[..., Cache]


@pytest.fixture(scope="module")
def proxy() -> Iterator[tuple[Cutter, int]]:
    with redis_server() as port, cutter(port) as made:
        yield made, port


# --- threads ------------------------------------------------------------------------------------------------


def test_a_background_load_that_ends_its_thread_ends_no_other() -> None:
    background = Background()

    def leave() -> None:
        raise SystemExit

    for number in range(THREADS * 2):
        assert background.run(number, leave)
    done = threading.Event()
    assert background.run("after them", done.set)
    assert done.wait(5)


def test_no_thread_can_be_started(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at the interpreter's end."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    background = Background()
    with monkeypatch.context() as changed:
        changed.setattr(threading.Thread, "start", refuse)
        assert cache.get_or_load("k", lambda: 1) == 1
        assert not background.run("k", lambda: 1)
    done = threading.Event()
    assert background.run("k", done.set), "it is forgotten that it was refused"
    assert done.wait(5)


# --- connections --------------------------------------------------------------------------------------------


def test_a_pool_never_exceeds_its_size(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever waits on a busy machine gets its turn.
    monkeypatch.setattr("dashboard.caching.link.POOL_WAIT_S", 60.0)
    alive: set[redis.Connection] = set()
    most = 0
    lock = threading.Lock()

    class Watched(redis.Connection):
        def connect(self) -> None:
            nonlocal most
            with lock:
                alive.add(self)
                most = max(most, len(alive))
            super().connect()

        def disconnect(self, *args: Any) -> None:
            with lock:
                alive.discard(self)
            super().disconnect(*args)

    settings = parse_url(valkey_url)
    pool: Any = redis.ConnectionPool(connection_class=Watched, socket_timeout=60, protocol=2, **settings)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(30):
            link = DirectLink(redis.Redis(connection_pool=pool), 2)
            start = threading.Barrier(12)

            def ask(link: DirectLink = link, start: threading.Barrier = start) -> None:
                start.wait()
                link.exchange([(b"GET", b"k")])

            threads = [threading.Thread(target=ask) for _ in range(12)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            link.close()
    finally:
        sys.setswitchinterval(interval)
    assert not alive
    assert most <= 2


def test_what_must_not_happen_twice_is_not_sent_twice(proxy: tuple[Cutter, int]) -> None:
    made, port = proxy
    made.heal()
    link = connect(f"redis://127.0.0.1:{made.port}", 4)
    add = (b"HINCRBY", b"once", b"field", 1)
    with redis.Redis(port=port) as raw:
        link.exchange([(b"PING",)])
        # Executed, and the answer is lost together with the connection.
        made.cut(0, Cut.AFTER, stays=False)
        with pytest.raises(Unreachable) as caught:
            link.exchange_once([add])
        assert not caught.value.is_unsent
        assert raw.hget("once", "field") == b"1"
        link.exchange([(b"PING",)])
        # Closed by the server while it was idle: nothing was sent, so it may be sent now.
        made.heal()
        link.exchange_once([add])
        assert raw.hget("once", "field") == b"2"
    link.close()


def test_counters_are_not_carried_twice_and_not_lost_without_need(proxy: tuple[Cutter, int]) -> None:
    made, port = proxy
    made.heal()
    link = connect(f"redis://127.0.0.1:{made.port}", 4)
    ledger = Ledger()
    keeper = Keeper(link, None, ledger, lambda: None)
    with redis.Redis(port=port) as raw:
        raw.delete(COUNTERS_KEY)
        ledger.tally(b"").add("loads")
        keeper.flush()
        made.cut(0, Cut.AFTER, stays=False)
        ledger.tally(b"").add("loads")
        keeper.flush()
        keeper.flush()
        assert raw.hget(COUNTERS_KEY, "loads:") == b"2"
        made.heal()
        ledger.tally(b"").add("loads")
        keeper.flush()
        assert raw.hget(COUNTERS_KEY, "loads:") == b"3"
    link.close()


def test_counters_wait_while_redis_refuses_writes(
    proxy: tuple[Cutter, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, port = proxy
    made.heal()
    link = connect(f"redis://127.0.0.1:{made.port}", 4)
    ledger = Ledger()
    keeper = Keeper(link, None, ledger, lambda: None)
    with redis.Redis(port=port) as raw:
        raw.delete(COUNTERS_KEY)
        with full(raw):
            for _ in range(3):
                ledger.tally(b"").add("loads")
                ledger.tally(b"p:").add("hits")
                keeper.flush()
        keeper.flush()
        assert raw.hgetall(COUNTERS_KEY) == {b"loads:": b"3", b"hits:p:": b"3"}
        # What is refused by itself holds up nothing else, and there is an end to what is kept.
        raw.hset(COUNTERS_KEY, "loads:", "not a number")
        for number in range(3):
            ledger.tally(b"").add("loads")
            ledger.tally(b"p:").add("hits")
            keeper.flush()
            assert raw.hget(COUNTERS_KEY, "hits:p:") == str(4 + number).encode()
        monkeypatch.setattr("dashboard.caching.keeper.MOST_CARRIED", 2)
        with full(raw):
            for number in range(9):
                ledger.tally(b"%d:" % number).add("hits")
            keeper.flush()
        keeper.flush()
        assert raw.hlen(COUNTERS_KEY) == 3
    link.close()


# --- policies -----------------------------------------------------------------------------------------------


def test_a_large_document_is_read_once_and_again_when_it_changed(valkey_url: str, raw: redis.Redis) -> None:
    applied: list[PolicyDocument] = []
    follower = Follower(applied.append)
    link = connect(valkey_url, 2)
    keeper = Keeper(link, follower, Ledger(), lambda: None)

    def read(is_told: bool = False) -> int:
        before = raw.info("stats")["total_net_output_bytes"]
        keeper._follow(is_told)
        return int(raw.info("stats")["total_net_output_bytes"]) - int(before)

    def large(version: int, letter: str) -> bytes:
        # Notes of policies, until it has a hundred kilobytes.
        policies = [
            {"prefix": f"p{number}:", "tier": "hot", "base_ttl_s": 60, "note": letter * 2000}
            for number in range(50)
        ]
        made = document(version).to_dict() | {"policies": policies}
        return parse_document(made).to_json()

    first = large(1, "a")
    raw.set(POLICIES_KEY, first)
    assert read() > len(first)
    unchanged = [read() for _ in range(4)]
    assert max(unchanged) < 20_000
    raw.set(POLICIES_KEY, large(2, "a"))
    read()
    assert [each.version for each in applied] == [1, 2]
    # Another content of the same version and size: a message says so, or it is found within a minute.
    raw.set(POLICIES_KEY, large(2, "b"))
    read(is_told=True)
    raw.set(POLICIES_KEY, large(2, "c"))
    keeper._read_at -= 61
    read()
    assert [each.policies[0].note[0] for each in applied] == ["a", "a", "b", "c"]
    raw.delete(POLICIES_KEY)
    read()
    raw.set(POLICIES_KEY, large(3, "c"))
    read()
    assert applied[-1].version == 3
    link.close()


def test_of_two_documents_the_newer_one_is_in_force_however_long_the_older_one_takes() -> None:
    with Cache("redis://127.0.0.1:1", follow=False) as cache:
        begun, go_on = threading.Event(), threading.Event()

        class Slow(tuple[Policy, ...]):
            def __iter__(self) -> Iterator[Policy]:
                begun.set()
                go_on.wait(5)
                return super().__iter__()

        def numbered(version: int, policies: tuple[Policy, ...]) -> PolicyDocument:
            default = Policy(prefix=b"", tier="hot", base_ttl_s=30 + version)
            return PolicyDocument(version, TIERS, policies, default)

        older = threading.Thread(target=cache.use, args=[numbered(1, Slow())])
        older.start()
        assert begun.wait(5)
        newer = threading.Thread(target=cache.use, args=[numbered(2, ())])
        newer.start()
        newer.join(0.2)
        go_on.set()
        older.join()
        newer.join()
        assert cache._rules.find(b"k").policy.base_ttl_s == 32


def test_prefixes_that_no_policy_has_any_more_are_given_up() -> None:
    ledger = Ledger()
    names = [b"p%d:" % number for number in range(MAX_COUNTED_PREFIXES + 1)]
    for name in names:
        running = ledger.tally(name)
    assert ledger.tally(b"one more:").prefix is None
    ledger.retain({b"one more:"})
    assert ledger.tally(b"one more:").prefix == b"one more:"
    # A load that began under the old policies is counted all the same.
    running.add("loads")
    assert ledger.take() == {"loads:p1000:": 1}
    assert ledger.tally(names[-1]) is running, "one that comes back goes on"
    ledger.retain(())
    for _ in range(RETIRED_TAKES):
        ledger.take()
    assert not ledger._retired and not ledger._tallies


# --- start and end --------------------------------------------------------------------------------------------


def test_a_call_while_it_is_closed_starts_it_anew(cache: Cache, raw: redis.Redis) -> None:
    cache.get_or_load("k", lambda: 1)
    before = cache._keeper._id
    # The call comes at the latest moment: while what runs is being stopped.
    cache._removal.repeat = lambda: cache.get("k")  # type: ignore[method-assign]
    cache.close()
    thread = cache._keeper._thread
    assert cache._is_started
    assert thread is not None and thread.is_alive()
    reported = raw.hkeys(INSTANCES_KEY)
    assert before.encode() not in reported, "the old one signed off"
    assert cache._keeper._id.encode() in reported, "and did not take the new one with it"
    del cache._removal.repeat


def test_a_program_that_just_ends_carries_its_counters_and_signs_off(
    valkey_url: str, raw: redis.Redis
) -> None:
    program = f"""
from dashboard.caching import Cache
cache = Cache({valkey_url!r})
cache.get_or_load("k", lambda: 1)
cache.get_or_load("k", lambda: 1)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
    assert raw.hget(COUNTERS_KEY, "hits:") == b"1"
    assert raw.hlen(INSTANCES_KEY) == 0


def test_a_program_that_ends_without_redis_ends_soon() -> None:
    program = """
from dashboard.caching import Cache
cache = Cache("redis://127.0.0.1:1")
assert cache.get_or_load("k", lambda: 1) == 1
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("key", ["", "cachewarden:policies", "x" * 5000])
def test_every_read_refuses_what_is_no_key(cache: Cache, raw: redis.Redis, key: str) -> None:
    raw.set(key, b"1")
    with pytest.raises(UsageError):
        cache.get(key)
    with pytest.raises(UsageError):
        cache.get_or_load(key, lambda: 2)
    with pytest.raises(UsageError):
        cache.get_or_load(key, lambda: 2, tags=["t"])
