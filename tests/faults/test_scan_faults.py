"""Scans when things die: every key is counted once and measured once, by whichever worker; one audit trail."""

import random
import signal
import time
from pathlib import Path

import pytest
import redis

from dashboard.caches.types import Cache
from dashboard.keyspace import service
from dashboard.keyspace.types import Scan, ScanLimits, Snapshot, State
from dashboard.work import Runtime
from tests.support import servers
from tests.support.people import as_cli
from tests.support.polling import rows, value, wait_until
from tests.support.purge_workers import Workers
from tests.support.some_caches import add_cache

PREFIXES = {"product:": 6_000, "product:list:": 2_000, "session:": 3_500, "lone": 1}
FILL = """
for number = 1, tonumber(ARGV[2]) do
  redis.call('SET', ARGV[1] .. number, string.rep('x', number % 50), 'EX', 86400)
end
"""


def fill(url: str, times: int = 1) -> int:
    """Store the keys of PREFIXES; how many there are."""
    with redis.Redis.from_url(url) as client:
        for prefix, keys in PREFIXES.items():
            client.eval(FILL, 0, prefix, keys * times if keys > 1 else 1)
        return int(client.dbsize())


@pytest.fixture
def cache(live_runtime: Runtime, valkey_url: str) -> Cache:
    cache = add_cache(live_runtime, url=valkey_url)
    pace(live_runtime, cache, 8_000)
    return cache


def pace(runtime: Runtime, cache: Cache, keys_per_s: int) -> None:
    """Let scans of the cache run no faster, and mind nothing else: the machine of a test is busy."""
    with as_cli(runtime) as work:
        old = service.limits(work, cache.id)
        new = ScanLimits(keys_per_s=keys_per_s, slowest_probe_ms=1_000.0, revision=old.revision)
        service.set_limits(work, cache.id, new)


def start(runtime: Runtime, cache: Cache) -> Scan:
    with as_cli(runtime) as work:
        return service.start_scan(work, cache.id)


def get(runtime: Runtime, scan: Scan) -> Scan:
    with as_cli(runtime) as work:
        return service.get_scan(work, scan.cache_id, scan.number)


def waited(runtime: Runtime, scan: Scan, state: State, timeout_s: float = 60.0) -> Scan:
    wait_until(lambda: get(runtime, scan).state.is_over, "it is over", timeout_s)
    found = get(runtime, scan)
    assert found.state is state, found
    return found


def trail(runtime: Runtime, scan: Scan) -> list[str]:
    query = "SELECT action FROM audit_entry WHERE subject = :subject ORDER BY id"
    found = rows(runtime.database, query, subject=f"scan {scan.number}")
    return [row.action.rpartition(":")[2] for row in found]


def assert_exact(runtime: Runtime, url: str, scan: Scan, keys: int, times: int = 1) -> None:
    """It is done: every key counted and measured once, nothing left over."""
    done = waited(runtime, scan, State.DONE)
    with as_cli(runtime) as work:
        found = service.latest(work, scan.cache_id)
        assert len(service.list_snapshots(work, scan.cache_id)) == 1
    assert found is not None and found.id == done.snapshot_id
    assert done.progress.looked_at == found.looked_at == found.keyspace == keys
    assert counts(found) == {
        "product:": 8_000 * times, "session:": 3_500 * times, "lone": 1,
    }  # fmt: skip
    with redis.Redis.from_url(url) as client:
        pipe = client.pipeline(transaction=False)
        for key in client.scan_iter(count=5_000):
            pipe.memory_usage(key)
        assert found.root.size is not None and found.root.size.value == sum(pipe.execute())
    assert sum(each.keys for each in found.expiries) == keys
    assert sum(each.keys.value for each in found.policies) == keys
    for table in ("job", "keyspace_checkpoint"):
        assert value(runtime.database, f"SELECT count(*) FROM {table}") == 0, table


def counts(found: Snapshot) -> dict[str, float]:
    """Keys by prefix of the first level; the lone key has none."""
    held = {node.name: node.keys.value for node in found.root.children}
    lone = {name: keys for name, keys in held.items() if name not in PREFIXES}
    assert len(lone) <= 1, held
    return {
        "product:": held["product:"],
        "session:": held["session:"],
        "lone": sum(lone.values()) or held["lone"],
    }


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at", ["scan-running", "checkpoint 1", "checkpoint 2", "scan-done"])
def test_killed_on_its_way(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, at: str, moment: str
) -> None:
    keys = fill(valkey_url)
    # So slowly that there are two checkpoints.
    pace(live_runtime, cache, 4_000)
    scan = start(live_runtime, cache)
    dying = crew.start(dies=f"{at}:{moment}")
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    if at == "scan-done":
        assert get(live_runtime, scan).state is (State.RUNNING if moment == "before" else State.DONE)
    crew.start()
    assert_exact(live_runtime, valkey_url, scan, keys)
    assert trail(live_runtime, scan) == ["start", "done"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_when_it_is_cancelled(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    fill(valkey_url)
    pace(live_runtime, cache, 1_000)
    scan = start(live_runtime, cache)
    dying = crew.start(dies=f"scan-cancelled:{moment}")
    wait_until(lambda: get(live_runtime, scan).progress.looked_at > 0, "it has begun")
    with as_cli(live_runtime) as work:
        service.cancel_scan(work, cache.id, scan.number)
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    crew.start()
    waited(live_runtime, scan, State.CANCELLED)
    assert trail(live_runtime, scan) == ["start", "ask-cancel", "cancel"]
    assert value(live_runtime.database, "SELECT count(*) FROM keyspace_snapshot") == 0
    assert value(live_runtime.database, "SELECT count(*) FROM keyspace_checkpoint") == 0


@pytest.mark.slow
def test_killed_at_random(live_runtime: Runtime, cache: Cache, crew: Workers, valkey_url: str) -> None:
    """Ten workers are killed or held still in the middle of one scan, of which two run at any time."""
    chance = random.Random(7)
    keys = fill(valkey_url, times=4)
    pace(live_runtime, cache, 9_000)
    scan = start(live_runtime, cache)
    workers = [crew.start(), crew.start()]
    for turn in range(10):
        time.sleep(chance.uniform(0.2, 1.2))
        victim = workers[turn % 2]
        if chance.random() < 0.3:
            # Held still for longer than its lease lasts; it finds out when it wakes up.
            crew.signal(victim, signal.SIGSTOP)
            time.sleep(2.0)
            crew.signal(victim, signal.SIGCONT)
            continue
        crew.signal(victim, signal.SIGKILL)
        workers[turn % 2] = crew.start()
    pace(live_runtime, cache, 100_000)
    assert_exact(live_runtime, valkey_url, scan, keys, times=4)
    assert trail(live_runtime, scan) == ["start", "done"]


@pytest.mark.slow
def test_a_server_that_restarts_is_begun_again(
    live_runtime: Runtime, crew: Workers, server_folder: Path
) -> None:
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    arguments = ("--appendonly", "yes")
    with servers.redis_server(*arguments, port=port, folder=server_folder):
        keys = fill(url)
        cache = add_cache(live_runtime, "restarting", url=url)
        pace(live_runtime, cache, 2_000)
        scan = start(live_runtime, cache)
        crew.start()
        wait_until(lambda: get(live_runtime, scan).progress.looked_at > 2_000, "it has begun")
    # Here it was killed.
    wait_until(lambda: get(live_runtime, scan).progress.waits_for, "it says what it waits for")
    with servers.redis_server(*arguments, port=port, folder=server_folder):
        assert_exact(live_runtime, url, scan, keys)
    assert get(live_runtime, scan).progress.restarts >= 1
