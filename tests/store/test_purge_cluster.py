"""Purges of a Cluster: keys on all nodes, slots that move, a primary that dies; and of a group with a Sentinel."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster
from redis.crc import key_slot

from dashboard.caching import tags
from dashboard.fleet.purging import finish
from dashboard.fleet.registry import Command, Connection, Fleet
from dashboard.invalidation import engine
from dashboard.invalidation.engine import LeaseLost
from dashboard.invalidation.types import Action, Plan, Progress, SelectBy, Selection, When
from tests.store.test_purge_engine import POLICIES, run_into
from tests.support.clusters import Servers, make_cluster, replicated, role, servers
from tests.support.polling import WAIT_S, wait_until
from tests.support.purging import Interlude, MemoryJournal, connect, preview, purge

NUMBER = 6_000
BY_PREFIX = Selection(SelectBy.PREFIX, "product:")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Servers, list[int]]]:
    with servers() as made:
        primaries, _ = make_cluster(made)
        yield made, primaries


@pytest.fixture
def cache(cluster: tuple[Servers, list[int]]) -> Iterator[Connection]:
    made, _ = cluster
    fleet = Fleet(timeout_s=1.0)
    hosts = ",".join(f"127.0.0.1:{port}" for port in made.processes)
    yield connect(fleet, f"redis+cluster://{hosts}")
    fleet.close()


@pytest.fixture
def client(cluster: tuple[Servers, list[int]]) -> Iterator[redis.RedisCluster]:
    made, _ = cluster
    client = RedisCluster(
        startup_nodes=[ClusterNode("127.0.0.1", port) for port in made.processes],
        protocol=2,
        socket_timeout=20,
    )
    for port in primaries_of(made):
        with redis.Redis(port=port) as node:
            node.flushall()
    for start in range(0, NUMBER, 1000):
        client.mset_nonatomic({f"product:{number}": "v" for number in range(start, start + 1000)})
    client.mset_nonatomic({f"other:{number}": "v" for number in range(1000)})
    yield client
    client.close()


def primaries_of(made: Servers) -> list[int]:
    return [port for port in made.processes if role(port) == "master"]


def held(made: Servers, prefix: str) -> set[bytes]:
    found: set[bytes] = set()
    for port in primaries_of(made):
        with redis.Redis(port=port) as node:
            found |= set(node.scan_iter(f"{prefix}*", count=1000))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("by", ["prefix", "keys", "tag"])
@pytest.mark.parametrize("action", list(Action))
def test_keys_on_all_nodes(
    cluster: tuple[Servers, list[int]], cache: Connection, client: RedisCluster, by: str, action: Action
) -> None:
    keys = [b"product:%d" % number for number in range(NUMBER)]
    selection = {
        "prefix": BY_PREFIX,
        "keys": Selection(SelectBy.KEYS, count=NUMBER),
        "tag": Selection(SelectBy.TAG, "sale"),
    }[by]
    if by == "tag":
        index = {key: 3e15 + number for number, key in enumerate(keys)}
        client.zadd(tags.tag_key("sale"), {tags.VERSION: tags.new_version(), **index})  # type: ignore[dict-item]
    counted = preview(cache, selection, items=keys, policies=POLICIES)
    assert (counted.keys, counted.keys_error) == (NUMBER, 0)
    done = purge(cache, Plan(selection, action, window_s=50), items=keys, policies=POLICIES, cap=counted.cap)
    assert done.touched == NUMBER and done.passes == 1
    assert len(held(cluster[0], "other:")) == 1000
    there = held(cluster[0], "product:")
    if action is Action.DELETE:
        assert not there
    else:
        most = {Action.SPREAD: 50, Action.SOFT: 40}.get(action, 160)
        assert all(client.ttl(key) <= most for key in sorted(there)[:200])


@pytest.mark.slow
def test_a_burst_whose_keys_are_all_elsewhere_asks_for_the_slots_once(
    cluster: tuple[Servers, list[int]], cache: Connection, client: RedisCluster
) -> None:
    wrong, *others = cache.nodes()
    commands: list[Command] = []
    for node in others:
        with redis.Redis(port=int(node.id.rpartition(":")[2])) as owner:
            found = sorted(owner.scan_iter("product:*", count=1000))[:50]
        commands += [("UNLINK", key) for key in found]
    before = times_asked_for_slots(cluster[0])
    sent, _ = wrong.run(commands)
    assert all(isinstance(reply, redis.exceptions.MovedError) for reply in sent)
    assert finish(cache, wrong, commands, sent) == [1] * 100
    assert times_asked_for_slots(cluster[0]) - before <= 3
    assert len(held(cluster[0], "product:")) == NUMBER - 100


def times_asked_for_slots(made: Servers) -> int:
    asked = 0
    for port in primaries_of(made):
        with redis.Redis(port=port) as node:
            asked += node.info("commandstats").get("cmdstat_cluster|slots", {}).get("calls", 0)
    return asked


@pytest.mark.slow
def test_who_takes_over_sends_what_was_begun_to_its_own_nodes(
    cluster: tuple[Servers, list[int]], cache: Connection, client: RedisCluster
) -> None:
    def die(progress: Progress) -> None:
        if progress.touched and len({segment.node for segment in journal.segments.values()}) > 1:
            raise LeaseLost

    journal = MemoryJournal(die)
    plan = Plan(BY_PREFIX, when=When.OVER, over_s=5)
    with pytest.raises(LeaseLost):
        purge(cache, plan, journal=journal)
    for port in primaries_of(cluster[0]):
        with redis.Redis(port=port) as node:
            node.config_resetstat()
    journal.before_commit = lambda progress: None
    done = purge(cache, Plan(BY_PREFIX), journal=journal)
    assert done.touched == NUMBER and not held(cluster[0], "product:")
    for port in primaries_of(cluster[0]):
        with redis.Redis(port=port) as node:
            assert "errorstat_MOVED" not in node.info("errorstats")


@pytest.mark.slow
def test_a_spread_is_even_where_nodes_wait_for_their_turn(
    cluster: tuple[Servers, list[int]],
    cache: Connection,
    client: RedisCluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As with more nodes than are worked on at a time.
    monkeypatch.setattr(engine, "PARALLEL", 1)
    seen: list[Progress] = []
    done = purge(cache, Plan(BY_PREFIX, when=When.OVER, over_s=8), journal=MemoryJournal(seen.append))
    assert done.touched == NUMBER and done.spent_s > 7
    # The last of three nodes would otherwise begin when the time is over.
    assert max(progress.touched for progress in seen if progress.spent_s < 8) > NUMBER // 2
    assert all(progress.touched < NUMBER for progress in seen if progress.spent_s < 6)


@pytest.mark.slow
def test_one_node_of_a_cluster_added_as_a_plain_server(
    cluster: tuple[Servers, list[int]], client: RedisCluster
) -> None:
    made, _ = cluster
    port = primaries_of(made)[0]
    with redis.Redis(port=port) as node:
        mine = set(node.scan_iter("product:*", count=1000))
    fleet = Fleet(timeout_s=1.0)
    done = purge(connect(fleet, f"redis://127.0.0.1:{port}"), Plan(BY_PREFIX))
    fleet.close()
    assert done.touched == len(mine) > 1000
    assert len(held(made, "product:")) == NUMBER - len(mine)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("action", [Action.DELETE, Action.SPREAD])
def test_slots_that_move_while_it_runs(
    cluster: tuple[Servers, list[int]], cache: Connection, client: RedisCluster, action: Action
) -> None:
    made, _ = cluster
    ports = primaries_of(made)
    journal = MemoryJournal()
    failures: list[BaseException] = []
    plan = Plan(BY_PREFIX, action, window_s=5000, when=When.OVER, over_s=6)
    cap = preview(cache, BY_PREFIX).cap
    has_moved = threading.Event()
    # The first slot moves before any pass is over, the others whenever it comes to them.
    wishes = Interlude(lambda: journal.progress.touched > 0, lambda: has_moved.wait(WAIT_S))
    thread = threading.Thread(
        target=lambda: run_into(failures, lambda: purge(cache, plan, journal=journal, wishes=wishes, cap=cap))
    )
    thread.start()
    wait_until(lambda: failures or journal.progress.touched > 0, "it runs")
    with redis.Redis(port=ports[0], decode_responses=True) as source:
        nodes = {line.split()[1].partition("@")[0]: line.split()[0] for line in raw_nodes(source)}
        mine = sorted(slots_of(source))
        busiest = sorted(mine, key=lambda slot: -int(source.execute_command("CLUSTER COUNTKEYSINSLOT", slot)))
        for number, slot in enumerate(busiest[:40]):
            move_slot(source, ports[0], ports[1 + number % 2], slot, nodes)
            has_moved.set()
    thread.join(120)
    assert not failures and not thread.is_alive()
    # Every one of them had its turn, wherever it was at what time; and that was not known after one pass.
    there = held(made, "product:")
    if action is Action.DELETE:
        assert not there
    else:
        # Some end while they are looked at (-2); none was left without an end (-1).
        ttls = [client.ttl(key) for key in there]
        assert len(there) > NUMBER * 0.9 and -1 not in ttls and max(ttls) <= 5000
    assert len(held(made, "other:")) == 1000
    done = journal.progress
    assert done.passes >= 2 and NUMBER <= done.touched <= NUMBER * 1.05


def raw_nodes(node: redis.Redis) -> list[str]:
    # redis-py would parse it.
    node.response_callbacks.clear()
    return str(node.execute_command("CLUSTER NODES")).splitlines()


def slots_of(node: redis.Redis) -> list[int]:
    line = next(line for line in raw_nodes(node) if "myself" in line)
    found: list[int] = []
    for span in line.split()[8:]:
        if not span.startswith("["):
            first, _, last = span.partition("-")
            found += range(int(first), int(last or first) + 1)
    return found


def move_slot(
    source: redis.Redis, source_port: int, target_port: int, slot: int, nodes: dict[str, str]
) -> None:
    """As redis-cli --cluster reshard does."""
    there, here = nodes[f"127.0.0.1:{target_port}"], nodes[f"127.0.0.1:{source_port}"]
    with redis.Redis(port=target_port) as target:
        target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", here)
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", there)
        while keys := source.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
            source.execute_command("MIGRATE", "127.0.0.1", target_port, "", 0, 5000, "KEYS", *keys)
        target.execute_command("CLUSTER SETSLOT", slot, "NODE", there)
        source.execute_command("CLUSTER SETSLOT", slot, "NODE", there)


@pytest.mark.slow
def test_a_slot_that_stays_open_is_not_called_done(
    cluster: tuple[Servers, list[int]], cache: Connection, client: RedisCluster
) -> None:
    made, _ = cluster
    ports = primaries_of(made)
    slot = key_slot(b"product:7")
    owner = next(port for port in ports if slot in slots_on(port))
    other = next(port for port in ports if port != owner)
    journal = MemoryJournal()
    failures: list[BaseException] = []
    with redis.Redis(port=owner, decode_responses=True) as source, redis.Redis(port=other) as target:
        nodes = {line.split()[1].partition("@")[0]: line.split()[0] for line in raw_nodes(source)}
        target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", nodes[f"127.0.0.1:{owner}"])
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", nodes[f"127.0.0.1:{other}"])
        # Half-way: the key is with the importing node, where no SCAN by its owner finds it.
        source.execute_command("MIGRATE", "127.0.0.1", other, "product:7", 0, 5000)
        thread = threading.Thread(
            target=lambda: run_into(failures, lambda: purge(cache, Plan(BY_PREFIX), journal=journal))
        )
        thread.start()
        wait_until(
            lambda: (progress := journal.progress).passes >= 2 and "moved" in progress.waits_for,
            "it is not called done",
        )
        assert not held(made, "product:") and thread.is_alive()
        target.execute_command("CLUSTER SETSLOT", slot, "NODE", nodes[f"127.0.0.1:{other}"])
        source.execute_command("CLUSTER SETSLOT", slot, "NODE", nodes[f"127.0.0.1:{other}"])
    thread.join(60)
    assert not failures and not thread.is_alive()
    assert journal.progress.touched == NUMBER and journal.progress.waits_for == ""


def slots_on(port: int) -> set[int]:
    with redis.Redis(port=port, decode_responses=True) as node:
        return set(slots_of(node))


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_primary_that_dies_while_it_runs(
    cluster: tuple[Servers, list[int]], cache: Connection, client: RedisCluster
) -> None:
    made, _ = cluster
    for port in primaries_of(made):
        with redis.Redis(port=port) as node:
            replicated(node)
    waits: set[str] = set()
    journal = MemoryJournal(lambda progress: waits.add(progress.waits_for))
    plan = Plan(BY_PREFIX, when=When.OVER, over_s=6)
    cap = preview(cache, BY_PREFIX).cap
    victim = primaries_of(made)[-1]
    with redis.Redis(port=victim) as dying:
        most = dying.dbsize() - 200
        wishes = Interlude(lambda: dying.dbsize() <= most, lambda: made.kill(victim))
        purge(cache, plan, journal=journal, wishes=wishes, cap=cap)
    assert wishes.happened.is_set()
    assert not held(made, "product:")
    done: Progress = journal.progress
    # What the dead one had not told its replica of is touched again, and counts again.
    assert done.touched >= NUMBER and done.waits_for == ""
    assert any(f"127.0.0.1:{victim}" in each for each in waits)
    assert len({node.node for node in done.nodes}) == 3 and len(primaries_of(made)) == 3
    made.bring_back(victim)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_group_whose_primary_dies_while_it_runs() -> None:
    with servers() as made:
        primary = made.start("--repl-diskless-sync-delay", "0")
        replica = made.start("--replicaof", "127.0.0.1", str(primary), "--repl-diskless-sync-delay", "0")
        config = f"""
sentinel monitor shop 127.0.0.1 {primary} 1
sentinel down-after-milliseconds shop 1000
sentinel failover-timeout shop 5000
"""
        with redis.Redis(port=primary) as first:
            pipe = first.pipeline(transaction=False)
            for number in range(NUMBER):
                pipe.set(f"product:{number}", "v")
                pipe.set(f"other:{number}", "v")
            pipe.execute()
            replicated(first)
        watcher = made.start(sentinel=config)
        with redis.Redis(port=watcher, decode_responses=True) as asked:
            deadline = time.monotonic() + 30
            while not asked.sentinel_slaves("shop"):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        fleet = Fleet(timeout_s=1.0)
        cache = connect(fleet, f"redis+sentinel://127.0.0.1:{watcher}/shop/0")
        journal = MemoryJournal()
        plan = Plan(BY_PREFIX, when=When.OVER, over_s=5)
        cap = preview(cache, BY_PREFIX).cap
        with redis.Redis(port=primary) as dying:
            most = dying.dbsize() - 500
            wishes = Interlude(lambda: dying.dbsize() <= most, lambda: made.kill(primary))
            purge(cache, plan, journal=journal, wishes=wishes, cap=cap)
        assert wishes.happened.is_set()
        with redis.Redis(port=replica) as promoted:
            assert not list(promoted.scan_iter("product:*", count=1000))
            assert promoted.dbsize() == NUMBER
        assert journal.progress.touched >= NUMBER
        assert [node.node for node in journal.progress.nodes] == [f"127.0.0.1:{replica}"]
        fleet.close()
