"""Full scans and quick looks of a Cluster: by primaries and replicas, slots that move, a primary that dies."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from random import Random

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from dashboard.clock import Clock
from dashboard.embedded import valkey
from dashboard.fleet.registry import Connection, Fleet
from dashboard.fleet.url import parse_url
from dashboard.keyspace import sampling
from dashboard.keyspace.sampling import UNWEIGHTED_NOTE, Sampled
from dashboard.keyspace.scanning import Scanned
from dashboard.keyspace.types import ScanLimits
from tests.store.test_purge_cluster import move_slot, primaries_of, raw_nodes, slots_of
from tests.support.clusters import Servers, cluster_port, make_cluster, replicated, role, servers
from tests.support.polling import WAIT_S, wait_until
from tests.support.walking import UNLIMITED, Seen, lookups, seeing, slowly, walk

NUMBER = 12_000
CHANCE = Random(20_26)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Servers]:
    with servers() as made:
        make_cluster(made)
        yield made


@pytest.fixture
def cache(cluster: Servers) -> Iterator[Connection]:
    fleet = Fleet(timeout_s=1.0)
    hosts = ",".join(f"127.0.0.1:{port}" for port in cluster.processes)
    yield fleet.open(1, parse_url(f"redis+cluster://{hosts}"))
    fleet.close()


@pytest.fixture
def keys(cluster: Servers) -> Counter[bytes]:
    """Keys on all nodes, and their replicas have them, too."""
    client = RedisCluster(
        startup_nodes=[ClusterNode("127.0.0.1", port) for port in cluster.processes],  # type: ignore[no-untyped-call]
        protocol=2,
        socket_timeout=20,
    )
    for port in primaries_of(cluster):
        with redis.Redis(port=port) as node:
            node.flushall()
    names = [f"product:{number}" for number in range(NUMBER)]
    for start in range(0, NUMBER, 1_000):
        client.mset_nonatomic(dict.fromkeys(names[start : start + 1_000], "v"))
    client.close()
    for port in primaries_of(cluster):
        with redis.Redis(port=port) as node:
            replicated(node)
    return Counter(name.encode() for name in names)


def looked_up(made: Servers, kind: str) -> int:
    total = 0
    for port in made.processes:
        if role(port) == kind:
            with redis.Redis(port=port) as node:
                total += lookups(node)[0]
    return total


def test_every_key_of_every_node_once(cluster: Servers, cache: Connection, keys: Counter[bytes]) -> None:
    for port in cluster.processes:
        with redis.Redis(port=port) as node:
            node.config_resetstat()
    seen = Seen()
    done = walk(cache, seen)
    assert seen.keys == keys and done.keyspace == NUMBER and done.notes == ()
    assert len(seen.nodes) == 3 and seen.nodes.keys() == {node.id for node in cache.nodes()}
    # Each by its replica, and none was sent elsewhere.
    assert looked_up(cluster, "master") == 0 and looked_up(cluster, "slave") > 2 * NUMBER
    for port in cluster.processes:
        with redis.Redis(port=port) as node:
            assert "errorstat_MOVED" not in node.info("errorstats")
    seen = Seen()
    walk(cache, seen, limits=replace(UNLIMITED, prefers_replica=False))
    assert seen.keys == keys and looked_up(cluster, "master") > 2 * NUMBER


def look(cache: Connection, seen: Seen, *, keys: int, prefers_replica: bool = False) -> Sampled:
    limits = ScanLimits(prefers_replica=prefers_replica)
    return sampling.sample(
        cache, limits, seen, Clock(), CHANCE.random, on_lookups=lambda lookups: None, keys=keys
    )


@pytest.mark.parametrize("prefers_replica", [False, True])
def test_a_quick_look_takes_of_each_node_what_is_due(
    cache: Connection, keys: Counter[bytes], prefers_replica: bool
) -> None:
    seen = Seen()
    done = look(cache, seen, keys=3_000, prefers_replica=prefers_replica)
    assert max(seen.keys.values()) == 1 and not seen.keys - keys
    # The last burst of each node may bring keys that came before.
    assert done.looked_at == seen.keys.total() and 2_700 <= done.looked_at < 4_000
    assert done.keyspace == NUMBER and done.factor == NUMBER / done.looked_at
    for each in seen.nodes.values():
        assert 0.27 < each.total() / done.looked_at < 0.4
    seen = Seen()
    done = look(cache, seen, keys=NUMBER, prefers_replica=prefers_replica)
    assert seen.keys == keys and done.factor == 1


SLOWLY = replace(slowly(4_000), prefers_replica=False)


def test_slots_that_move_while_it_runs(cluster: Servers, cache: Connection, keys: Counter[bytes]) -> None:
    ports = primaries_of(cluster)
    begun, moved = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        assert moved.wait(WAIT_S)

    seen = seeing(NUMBER // 4, wait)
    done: list[Scanned] = []
    thread = threading.Thread(target=lambda: done.append(walk(cache, seen, limits=SLOWLY)))
    thread.start()
    assert begun.wait(WAIT_S)
    with redis.Redis(port=ports[0], decode_responses=True) as source:
        nodes = {line.split()[1].partition("@")[0]: line.split()[0] for line in raw_nodes(source)}
        for number, slot in enumerate(slots_of(source)[:60]):
            move_slot(source, ports[0], ports[1 + number % 2], slot, nodes)
            if number == 1:
                # All three have other slots now; the others move whenever it comes to them.
                moved.set()
    thread.join(120)
    assert done and seen.keys == keys and done[0].looked_at == NUMBER and done[0].notes == ()
    # All three had other slots in the end than when they were begun.
    assert set(seen.forgotten) == {f"127.0.0.1:{port}" for port in ports}


@pytest.mark.timeout(240)
def test_a_primary_that_dies_while_it_runs(cluster: Servers, cache: Connection, keys: Counter[bytes]) -> None:
    victim = primaries_of(cluster)[-1]
    seen = seeing(NUMBER // 4, lambda: cluster.kill(victim))
    done = walk(cache, seen, limits=SLOWLY)
    assert seen.keys == keys and done.looked_at == NUMBER
    assert f"127.0.0.1:{victim}" in seen.forgotten and f"127.0.0.1:{victim}" not in seen.nodes
    assert len(seen.nodes) == 3
    cluster.bring_back(victim)


# --- where cursors carry a slot ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def slotted() -> Iterator[tuple[str, int]]:
    """A Cluster of one Valkey, which has a table for each slot: half of its keys share one hash tag."""
    port = cluster_port()
    with valkey.start(port=port, config={"cluster-enabled": "yes"}) as server:
        with redis.Redis.from_url(server.url) as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16_383)
            wait_until(lambda: b"cluster_state:ok" in raw(client, "CLUSTER INFO"), "the cluster is up")
            pipe = client.pipeline(transaction=False)
            for number in range(30_000):
                pipe.set(f"tagged:{{shop}}:{number}", "v" * 500)
                pipe.set(f"spread:{number}", "v")
            pipe.execute()
        yield server.url.replace("redis://", "redis+cluster://").removesuffix("/0"), port


def raw(client: redis.Redis, command: str) -> bytes:
    client.response_callbacks.clear()
    return bytes(client.execute_command(command))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", ["redis+cluster", "redis"])
def test_slots_are_looked_at_by_their_keys(slotted: tuple[str, int], kind: str) -> None:
    """Also where a node of a Cluster was added as a plain server."""
    url = slotted[0].replace("redis+cluster", kind)
    fleet = Fleet(timeout_s=2.0)
    seen = Seen()
    done = look(fleet.open(1, parse_url(url)), seen, keys=6_000)
    fleet.close()
    assert max(seen.keys.values()) == 1 and 5_500 <= done.looked_at < 7_500 and done.notes == ()
    tagged = sum(key.startswith(b"tagged:") for key in seen.keys)
    # One of 16,384 tables, and half of the keys: four standard deviations.
    assert abs(tagged / done.looked_at - 0.5) < 0.026
    slots = {key_slot(key) for key in seen.keys}
    assert len(slots) > 1_500


def test_where_slots_can_not_be_weighed_that_is_said(slotted: tuple[str, int]) -> None:
    url, _ = slotted
    fleet = Fleet(timeout_s=2.0)
    with redis.Redis.from_url(url.replace("redis+cluster", "redis")) as client:
        client.execute_command(
            "ACL SETUSER looker on >pass ~* resetchannels -@all +ping +info +scan +pttl +type +cluster|slots"
        )
    host = url.partition("@")[2]
    done = look(fleet.open(1, parse_url(f"redis+cluster://looker:pass@{host}")), Seen(), keys=2_000)
    fleet.close()
    assert UNWEIGHTED_NOTE in done.notes and done.size_every == 0


def test_a_full_scan_goes_through_all_slots(slotted: tuple[str, int]) -> None:
    fleet = Fleet(timeout_s=2.0)
    seen = Seen()
    done = walk(fleet.open(1, parse_url(slotted[0])), seen)
    fleet.close()
    assert done.looked_at == done.keyspace == 60_000
    assert len(seen.keys) == 60_000 and max(seen.keys.values()) == 1
