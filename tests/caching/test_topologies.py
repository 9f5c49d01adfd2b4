"""Redis Cluster and Sentinel: the same promises, also while a primary fails over."""

import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel

from dashboard.caching import Cache, CacheSettingsWarning, InvalidationError
from dashboard.caching.wire import COUNTERS_KEY, INSTANCES_KEY
from tests.caching.conftest import a_policy
from tests.support.clusters import cluster_port, make_cluster, role, servers

QUICK = {"socket_timeout": 0.25, "socket_connect_timeout": 0.1}


class Rows:
    """A database under load: threads read, write and invalidate through the cache."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.locks = [threading.Lock() for _ in range(60)]
        self.versions = [0] * 60
        self.told = [0] * 60
        """The newest version of each that the cache was told of."""
        self.is_failing_over = False
        """From then on the new primary may not have what the old one had been told."""
        self.stop = threading.Event()
        self.errors: list[BaseException] = []
        self.reads = 0
        self.slowest_s = 0.0

    def run(self, index: int) -> None:
        turn = index
        while not self.stop.is_set():
            turn += 7
            row = turn % 60
            try:
                began = time.monotonic()
                if turn % 5 == 0:
                    self.write(row)
                else:
                    told = self.told[row]
                    found = self.cache.get_or_load(f"row:{row}", lambda row=row: self.versions[row])
                    assert found >= told or self.is_failing_over
                    self.reads += 1
                self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            except BaseException as error:
                self.errors.append(error)
                return
            time.sleep(0.002)

    def write(self, row: int) -> None:
        with self.locks[row]:
            with self.cache.write_through(f"row:{row}") as write:
                self.versions[row] += 1
                write.value = self.versions[row]
            self.told[row] = self.versions[row]

    def under_load(self) -> list[threading.Thread]:
        threads = [threading.Thread(target=self.run, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        return threads

    def stale(self) -> list[tuple[int, int, int]]:
        found = []
        for row in range(60):
            value = self.cache.get(f"row:{row}")
            if value is not None and value != self.versions[row]:
                found.append((row, value, self.versions[row]))
        return found


@pytest.fixture
def quiet_redis_py() -> Iterator[None]:
    """redis-py's cluster client leaves sockets of dead nodes to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_cluster_with_a_primary_that_fails_over_under_load(quiet_redis_py: None) -> None:
    with servers() as made:
        primaries, _ = make_cluster(made)
        client = RedisCluster(
            host="127.0.0.1", port=primaries[0], retry=Retry(NoBackoff(), 2), protocol=2, **QUICK
        )
        with Cache(client, default=a_policy(longest_wait_s=1.0), on_error="retry") as cache:
            # Everything works across slots.
            found = cache.get_or_load_many([f"m:{n}" for n in range(50)], lambda keys: dict.fromkeys(keys, 1))
            assert found == {f"m:{n}": 1 for n in range(50)}
            assert cache.get_or_load_many([f"m:{n}" for n in range(50)], lambda keys: {}) == found
            for number in range(20):
                cache.get_or_load(f"t:{number}", lambda: "old", tags=["a", "b"])
            assert cache.invalidate_tag("b") == 20
            assert cache.get_or_load("t:1", lambda: "new", tags=["a", "b"]) == "new"
            # Nodes that don't know the scripts (any more) are told them, in the middle of a batch.
            for port in primaries:
                with redis.Redis(port=port) as node:
                    node.script_flush()
            cache.invalidate(*(f"m:{n}" for n in range(50)))
            assert cache.get("m:7") is None
            cache.invalidate(*(f"m:{n}" for n in range(50)), hold_ms=300)
            cache.invalidate(*(f"m:{n}" for n in range(50)))
            assert cache.get_or_load("m:7", lambda: "lagging") == "lagging" and cache.get("m:7") is None
            cache.get_or_load("t:30", lambda: 0, tags=["a", "b"])
            cache._rule(b"t:31").tally.acquires_first = True
            assert cache.get_or_load("t:31", lambda: "old", tags=["a", "b"]) == "old"
            assert cache.get_or_load("t:31", lambda: "new", tags=["a", "b"]) == "old"

            rows = Rows(cache)
            threads = rows.under_load()
            time.sleep(1.5)
            victim = primaries[1]
            rows.is_failing_over = True
            made.kill(victim)
            rest = [port for port in made.processes if port != victim]
            deadline = time.monotonic() + 30
            while sum(role(port) == "master" for port in rest) < 3:
                assert time.monotonic() < deadline, "no replica took over"
                time.sleep(0.1)
            time.sleep(3)
            rows.stop.set()
            for thread in threads:
                thread.join(30)
            assert not rows.errors, rows.errors[0]
            assert rows.reads > 300 and rows.slowest_s < 5
            deadline = time.monotonic() + 15
            while cache._removal.pending and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not cache._removal.pending
            assert not rows.stale()
            # And the cache is used again, on every node.
            deadline = time.monotonic() + 20
            while not all(cache.get(f"after:{number}") == 1 for number in range(60)):
                assert time.monotonic() < deadline
                for number in range(60):
                    cache.get_or_load(f"after:{number}", lambda: 1)
            cache._keeper.flush()
            assert client.hlen(COUNTERS_KEY) and client.hlen(INSTANCES_KEY)
        client.close()


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_sentinel_with_a_primary_that_fails_over_under_load() -> None:
    with servers() as made:
        primary = made.start("--repl-diskless-sync-delay", "0")
        replica = made.start("--replicaof", "127.0.0.1", str(primary), "--repl-diskless-sync-delay", "0")
        config = f"""
sentinel monitor shop 127.0.0.1 {primary} 1
sentinel down-after-milliseconds shop 1000
sentinel failover-timeout shop 5000
"""
        watcher = made.start(sentinel=config)
        with redis.Redis(port=watcher, decode_responses=True) as asked:
            deadline = time.monotonic() + 30
            while not asked.sentinel_slaves("shop"):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        sentinel = Sentinel(
            [("127.0.0.1", watcher)], sentinel_kwargs={**QUICK, "retry": Retry(NoBackoff(), 0)}
        )
        client = sentinel.master_for("shop", retry=Retry(NoBackoff(), 0), **QUICK)
        with Cache(client, default=a_policy(longest_wait_s=1.0), on_error="retry") as cache:
            rows = Rows(cache)
            threads = rows.under_load()
            time.sleep(1.0)
            rows.is_failing_over = True
            made.kill(primary)
            deadline = time.monotonic() + 30
            while role(replica) != "master":
                assert time.monotonic() < deadline, "the replica was not promoted"
                time.sleep(0.1)
            time.sleep(3)
            rows.stop.set()
            for thread in threads:
                thread.join(30)
            assert not rows.errors, rows.errors[0]
            assert rows.reads > 300 and rows.slowest_s < 5
            deadline = time.monotonic() + 15
            while cache._removal.pending and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not rows.stale()
            # And the cache is used again, as soon as the Sentinel names the new primary.
            with redis.Redis(port=replica) as promoted:
                deadline = time.monotonic() + 20
                while promoted.get("after") != b"1":
                    assert time.monotonic() < deadline
                    cache.get_or_load("after", lambda: 1)
                    time.sleep(0.1)
        client.close()
        for each in sentinel.sentinels:
            each.close()


@pytest.fixture
def halves(quiet_redis_py: None) -> Iterator[tuple[RedisCluster, Callable[[], None]]]:
    """A Cluster of two servers without replicas, and how to kill the second one."""
    with servers() as made:
        ports = [
            made.start("--cluster-enabled", "yes", "--cluster-node-timeout", "60000", port=cluster_port())
            for _ in range(2)
        ]
        with redis.Redis(port=ports[0]) as first, redis.Redis(port=ports[1]) as second:
            first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
            second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
            second.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[0])
            deadline = time.monotonic() + 30
            for each in (first, second):
                while each.execute_command("CLUSTER INFO")["cluster_slots_assigned"] != "16384":
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
                while each.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
        client = RedisCluster(
            host="127.0.0.1",
            port=ports[0],
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            require_full_coverage=False,
            **QUICK,
        )
        yield client, lambda: made.kill(ports[1])
        client.close()


def of_half(client: RedisCluster, name: str, is_second: bool) -> Iterator[str]:
    """Names of keys that are on one of the two."""
    for number in range(1000):
        if (client.keyslot(name.format(number)) >= 8192) == is_second:
            yield f"{number}" if name.startswith("cachewarden:tag:") else name.format(number)


def test_a_node_that_is_dead_takes_no_other_with_it(
    halves: tuple[RedisCluster, Callable[[], None]],
) -> None:
    client, kill = halves
    fine = list(islice(of_half(client, "k:{}", False), 5))
    dead = list(islice(of_half(client, "k:{}", True), 5))
    tag = next(of_half(client, "cachewarden:tag:{}", True))
    with Cache(client, default=a_policy(longest_wait_s=0.5), follow=False, on_error="retry") as cache:
        mixed = [key for pair in zip(fine, dead, strict=True) for key in pair]
        assert cache.get_or_load_many(mixed, lambda keys: dict.fromkeys(keys, 1)) == dict.fromkeys(mixed, 1)
        cache.get_or_load("tagged", lambda: 1, tags=[tag])
        kill()
        loaded: list[list[str]] = []

        def load(keys: list[str]) -> dict[str, int]:
            loaded.append(keys)
            return dict.fromkeys(keys, 2)

        for _ in range(8):
            found = cache.get_or_load_many(mixed, load)
            assert found == dict.fromkeys(fine, 1) | dict.fromkeys(dead, 2)
            assert cache.get_or_load(fine[0], lambda: 3, tags=[tag]) == 3
        assert loaded == [dead] * 8
        assert cache._link.breaker(fine[0].encode()).is_closed
        assert not cache._link.breaker(dead[0].encode()).is_closed
        # What is on the node that is there is told, also what was kept behind what is not.
        with pytest.raises(InvalidationError) as caught:
            cache.invalidate(*mixed, on_error="raise")
        assert sorted(caught.value.keys) == sorted(key.encode() for key in dead)
        assert client.get(fine[0]) is None
        cache._removal.keep_or_raise([dead[0].encode(), fine[0].encode()], None, None, None)
        cache._removal.repeat()
        assert list(cache._removal.pending) == [dead[0].encode()]


def test_a_cluster_client_with_slow_settings_is_warned_about(quiet_redis_py: None) -> None:
    with servers() as made:
        port = made.start("--cluster-enabled", "yes", port=cluster_port())
        with redis.Redis(port=port) as node:
            node.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            deadline = time.monotonic() + 20
            while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
                assert time.monotonic() < deadline
                time.sleep(0.05)
        client = RedisCluster(host="127.0.0.1", port=port)
        with pytest.warns(CacheSettingsWarning, match="socket_timeout"), Cache(client) as cache:
            assert cache.get_or_load("k", lambda: 1) == 1
        client.close()
