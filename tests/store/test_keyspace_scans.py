"""The full scan on real servers: every key once, whatever happens meanwhile."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from dashboard.errors import StoreUnavailable
from dashboard.fleet.errors import FleetDenied, FleetError
from dashboard.fleet.registry import Connection, Fleet
from dashboard.fleet.url import parse_url
from dashboard.keyspace import scanning
from dashboard.keyspace.scanning import UNMEASURED_NOTE, Checkpoint, Refused
from dashboard.keyspace.types import Batch, ScanProgress
from dashboard.monitoring.types import ProbeLookups
from tests.support.clusters import info_field, replicated
from tests.support.polling import WAIT_S, wait_until
from tests.support.servers import free_port, redis_server
from tests.support.walking import UNLIMITED, Patience, Seen, lookups, seeing, slowly, walk

NUMBER = 20_000
ProgressAt = tuple[float, ScanProgress]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(timeout_s=1.0)
    yield fleet
    fleet.close()


def connect(fleet: Fleet, port: int, user: str = "") -> Connection:
    return fleet.open(1, parse_url(f"redis://{user}127.0.0.1:{port}/0"))


def fill(client: redis.Redis, number: int = NUMBER) -> Counter[bytes]:
    """Keys of several types; as often as each is to come."""
    pipe = client.pipeline(transaction=False)
    for index in range(number):
        if index % 5 == 0:
            pipe.hset(f"user:{index}", "name", "v")
        else:
            pipe.set(f"product:{index}", "v" * (index % 100), ex=3600 if index % 2 else None)
    pipe.execute()
    return Counter(client.scan_iter(count=5_000))


class Killed(Exception):
    """The worker is no more."""


@pytest.mark.parametrize("server", ["valkey_url", "redis7_url"])
def test_every_key_once(request: pytest.FixtureRequest, fleet: Fleet, server: str) -> None:
    url = str(request.getfixturevalue(server))
    with redis.Redis.from_url(url) as client:
        keys = fill(client)
        before = lookups(client)
        told: dict[str, ProbeLookups] = {}
        seen = Seen()
        done = walk(
            fleet.open(1, parse_url(url)),
            seen,
            on_lookups=lambda each: told.update({one.session: one for one in each}),
        )
        after = lookups(client)
        assert seen.keys == keys
        assert (done.looked_at, done.keyspace, done.size_every, done.notes) == (NUMBER, NUMBER, 1, ())
        assert done.progress.share == 1 and done.progress.restarts == 0
        for key in (b"user:0", b"product:1", b"product:2"):
            type, ttl, size = seen.facts[key]
            assert (type, size) == (client.type(key), client.memory_usage(key))
            assert abs(ttl - client.pttl(key)) < 60_000
        assert len(seen.objects) == NUMBER // scanning.OBJECT_EVERY
        for key, said in seen.objects.items():
            assert said.encoding == client.object("encoding", key) and said.idle_s >= 0 > said.frequency
        (each,) = told.values()
        assert each.is_over and (each.hits, each.misses) == (after[0] - before[0], after[1] - before[1])
        assert all("probe" not in one["name"] for one in client.client_list())


def test_an_empty_cache(fleet: Fleet, redis7_url: str) -> None:
    seen = Seen()
    done = walk(fleet.open(1, parse_url(redis7_url)), seen)
    assert (done.looked_at, done.keyspace, done.progress.share) == (0, 0, 0.0) and not seen.keys


def test_it_keeps_to_its_rate_and_tells_how_far_it_is(fleet: Fleet, redis7_url: str) -> None:
    with redis.Redis.from_url(redis7_url) as client:
        keys = fill(client)
        told: list[ProgressAt] = []
        seen = Seen()
        began_s = time.monotonic()
        walk(
            fleet.open(1, parse_url(redis7_url)),
            seen,
            limits=slowly(10_000),
            tell=lambda progress: told.append((time.monotonic() - began_s, progress)),
        )
        assert seen.keys == keys
        # 20,000 keys at 10,000 a second; a burst may be ahead.
        assert time.monotonic() - began_s > 1.8
        assert all(progress.looked_at <= 10_000 * at_s + 2_000 for at_s, progress in told)
        shares = [progress.share for _, progress in told]
        assert len(shares) >= 2 and shares == sorted(shares) and 0 < shares[0] < 0.9
        assert {progress.expected for _, progress in told} == {NUMBER}
        assert "limit" in {progress.slowed_by for _, progress in told}


@pytest.mark.parametrize("turn", range(4))
def test_whoever_takes_over_goes_on_at_the_checkpoint(
    fleet: Fleet, redis7_url: str, monkeypatch: pytest.MonkeyPatch, turn: int
) -> None:
    """A worker is killed between two bursts; what came after its last checkpoint is read again, and counted once."""
    monkeypatch.setattr(scanning, "CHECKPOINT_S", 0.05)
    monkeypatch.setattr(scanning, "TELL_S", 0.05)
    with redis.Redis.from_url(redis7_url) as client:
        keys = fill(client)
    connection = fleet.open(1, parse_url(redis7_url))
    kept: list[Checkpoint] = []
    read: list[int] = []
    seen = Seen()
    for dies_after in (2 + turn, 1, 3, 10**9):
        batches = 0
        saved = len(kept)

        def on_add(batch: Batch, dies_after: int = dies_after, saved: int = saved) -> None:
            nonlocal batches
            read.append(len(batch.keys))
            batches += len(kept) > saved
            if batches > dies_after:
                raise Killed

        start = kept[-1] if kept else None
        seen = Seen.restore(start.collected) if start else Seen()
        seen._on_add = on_add
        try:
            done = walk(connection, seen, limits=slowly(15_000), start=start, on_checkpoint=kept.append)
        except Killed:
            assert len(kept) > saved
            continue
    assert seen.keys == keys and done.looked_at == NUMBER and done.progress.restarts == 0
    assert NUMBER < sum(read) < 2 * NUMBER
    for each in kept:
        assert sum(place.looked_at for place in each.places) == Seen.restore(each.collected).keys.total()
        assert each.progress.looked_at == sum(place.looked_at for place in each.places)


def test_what_the_control_raises_ends_it_and_its_lookups_are_told(fleet: Fleet, redis7_url: str) -> None:
    with redis.Redis.from_url(redis7_url) as client:
        fill(client)
        before = lookups(client)
        control = Patience()
        told: dict[str, ProbeLookups] = {}

        def tell(progress: ScanProgress) -> None:
            if progress.looked_at:
                control.wish = Killed()

        with pytest.raises(Killed):
            walk(
                fleet.open(1, parse_url(redis7_url)),
                Seen(),
                limits=slowly(5_000),
                control=control,
                tell=tell,
                on_lookups=lambda each: told.update({one.session: one for one in each}),
            )
        assert sum(each.hits for each in told.values()) == lookups(client)[0] - before[0] > 0
        assert all(each.is_over for each in told.values())


def test_lookups_that_can_not_be_stored_are_told_again(fleet: Fleet, redis7_url: str) -> None:
    with redis.Redis.from_url(redis7_url) as client:
        keys = fill(client)
        tries: list[ProbeLookups] = []

        def store(each: object) -> None:
            assert isinstance(each, list)
            tries.extend(each)
            if len(tries) == 1:
                raise StoreUnavailable("PostgreSQL is away.")

        seen = Seen()
        walk(fleet.open(1, parse_url(redis7_url)), seen, limits=slowly(12_000), on_lookups=store)
        assert seen.keys == keys
        assert len({each.session for each in tries}) == 1 and tries[-1].hits > tries[0].hits


# --- servers that do not stay what they are ------------------------------------------------------------------------


def in_background(walks: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """(the thread, what came of it)."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(walks())
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, found


def test_a_server_that_restarts_is_begun_again(fleet: Fleet, tmp_path: Path) -> None:
    port = free_port()
    told: list[ScanProgress] = []
    with redis_server(port=port, folder=tmp_path), redis.Redis(port=port) as client:
        keys = fill(client)
        client.save()
        pid = client.info("server")["process_id"]
        is_killed = threading.Event()

        def kill() -> None:
            os.kill(pid, signal.SIGKILL)
            is_killed.set()

        seen = seeing(NUMBER // 4, kill)
        thread, found = in_background(
            lambda: walk(connect(fleet, port), seen, limits=slowly(10_000), tell=told.append)
        )
        assert is_killed.wait(WAIT_S)
    wait_until(lambda: any(each.waits_for for each in told), "it says that the server is away")
    with redis_server(
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
        port=port,
        folder=tmp_path,
    ):
        wait_until(
            lambda: any("LOADING" in each.waits_for for each in told), "it says that the server is loading"
        )
        with redis.Redis(port=port) as client:
            client.config_set("key-load-delay", 0)
        thread.join(60)
    (done,) = found
    assert isinstance(done, scanning.Scanned), done
    assert seen.keys == keys and done.looked_at == NUMBER
    assert done.progress.restarts == 1 and len(seen.forgotten) == 1 and not done.progress.waits_for


def test_a_checkpoint_of_an_earlier_run_of_the_server_is_of_no_use(fleet: Fleet, redis7_url: str) -> None:
    with redis.Redis.from_url(redis7_url) as client:
        keys = fill(client)
    connection = fleet.open(1, parse_url(redis7_url))
    node = connection.nodes()[0].id
    seen = Seen()
    seen.nodes[node] = Counter([b"of before"])
    place = scanning.Place(node, node, "another run", 77, 1, False)
    start = Checkpoint((place,), seen.state(), ScanProgress(looked_at=1))
    done = walk(connection, seen, start=start)
    assert seen.keys == keys and seen.forgotten == [node] and done.progress.restarts == 1


def test_a_server_that_stays_away(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "AWAY_S", 1.0)
    with pytest.raises(FleetError) as away:
        walk(connect(fleet, free_port()), Seen())
    assert "refused the connection" in away.value.message


def test_what_is_forbidden(fleet: Fleet) -> None:
    with redis_server() as port, redis.Redis(port=port) as client:
        keys = fill(client, 500)
        rules = "on >pass ~* resetchannels -@all +ping +info +client|setname +scan"
        client.execute_command("ACL SETUSER looker " + rules)
        with pytest.raises(Refused) as refused:
            walk(connect(fleet, port, "looker:pass@"), Seen())
        assert refused.value.what_to_do == "Grant it with: ACL SETUSER looker +scan +pttl +type"
        client.execute_command("ACL SETUSER looker +pttl +type")
        seen = Seen()
        done = walk(connect(fleet, port, "looker:pass@"), seen)
        assert seen.keys == keys and done.size_every == 0 and done.notes == (UNMEASURED_NOTE,)
        with pytest.raises(FleetDenied):
            walk(connect(fleet, port, "looker:wrong@"), Seen())


# --- replicas -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[redis.Redis, redis.Redis]]:
    """A primary and its replica."""
    (tmp_path / "replica").mkdir()
    with (
        redis_server("--repl-diskless-sync-delay", "0", folder=tmp_path) as first,
        redis_server("--replicaof", "127.0.0.1", str(first), folder=tmp_path / "replica") as second,
        redis.Redis(port=first) as primary,
        redis.Redis(port=second) as replica,
    ):
        wait_until(lambda: info_field(second, "master_link_status") == "up", "the replica is there")
        yield primary, replica


def port_of(client: redis.Redis) -> int:
    return int(client.connection_pool.connection_kwargs["port"])


def test_a_replica_is_read_where_there_is_one(fleet: Fleet, pair: tuple[redis.Redis, redis.Redis]) -> None:
    primary, replica = pair
    keys = fill(primary)
    replicated(primary)
    primary.config_resetstat()
    replica.config_resetstat()
    told: list[object] = []
    seen = Seen()
    done = walk(connect(fleet, port_of(primary)), seen, on_lookups=told.append)
    assert seen.keys == keys and done.keyspace == NUMBER
    assert list(seen.nodes) == [f"127.0.0.1:{port_of(primary)}"]
    assert lookups(primary) == (0, 0) and lookups(replica)[0] > NUMBER
    assert not told
    seen = Seen()
    walk(connect(fleet, port_of(primary)), seen, limits=replace(UNLIMITED, prefers_replica=False))
    assert seen.keys == keys and lookups(primary)[0] > NUMBER


def test_a_replica_that_goes_away_is_given_up(
    fleet: Fleet, pair: tuple[redis.Redis, redis.Redis], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "REPLICA_AWAY_S", 0.5)
    primary, replica = pair
    keys = fill(primary)
    replicated(primary)
    seen = seeing(NUMBER // 10, lambda: replica.shutdown(nosave=True))
    done = walk(connect(fleet, port_of(primary)), seen, limits=slowly(4_000))
    assert seen.keys == keys and done.progress.restarts == 1
