"""The worker's part of scans: all keys of a real server, what can't be scanned, what happens by itself."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis

from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import CacheUnavailable, Conflict
from dashboard.fleet.errors import Cause, Problem, as_error
from dashboard.fleet.probing import Burst, Probe
from dashboard.jobs.runner import Runner
from dashboard.keyspace import jobs, looks, scanning, service, snapshots, store
from dashboard.keyspace.scanning import Checkpoint
from dashboard.keyspace.types import Kind, Scan, ScanLimits, Snapshot, State
from dashboard.monitoring.types import ProbeLookups
from dashboard.policies import service as policies
from dashboard.work import Runtime, UnitOfWork
from tests.support.people import CLI, as_cli
from tests.support.polling import rows, value, wait_until
from tests.support.some_caches import add_cache
from tests.support.walking import lookups


@pytest.fixture
def worker(live_runtime: Runtime) -> Iterator[None]:
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    yield
    runner.stop()


@pytest.fixture
def cache(live_runtime: Runtime, valkey_url: str) -> Cache:
    return add_cache(live_runtime, url=valkey_url)


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        for number in range(400):
            client.set(f"product:{number}", "x" * 100, ex=3_600)
        for number in range(90):
            client.hset(f"session:{number}", mapping={"user": number})
        client.set(b"odd:\xff\x00", "y", ex=60)
        yield client


def get(runtime: Runtime, scan: Scan) -> Scan:
    with as_cli(runtime) as work:
        return service.get_scan(work, scan.cache_id, scan.number)


def start(runtime: Runtime, cache: Cache) -> Scan:
    with as_cli(runtime) as work:
        return service.start_scan(work, cache.id)


def waited(runtime: Runtime, scan: Scan, state: State) -> Scan:
    wait_until(lambda: get(runtime, scan).state.is_over, "it is over")
    found = get(runtime, scan)
    assert found.state is state, found
    return found


def verbs(runtime: Runtime) -> list[str]:
    query = "SELECT action FROM audit_entry WHERE action LIKE 'keyspace:%' ORDER BY id"
    return [row.action.rpartition(":")[2] for row in rows(runtime.database, query)]


def publish(runtime: Runtime, cache: Cache, prefix: str, base_ttl_s: int) -> None:
    """A policy for a prefix, in force."""
    values = {
        "prefix": prefix,
        "tier": "frequently-updated",
        "base_ttl_s": base_ttl_s,
        "jitter_s": 0,
        "strategy": "cache-aside",
    }
    with as_cli(runtime) as work:
        staged = policies.stage_policy(work, cache.id, values, original=None, seen="absent")
        policies.publish(work, cache.id, reason="a test", revision=staged.revision)


# --- full scans -------------------------------------------------------------------------------------------------


def test_all_keys_are_counted_and_kept(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    done = waited(live_runtime, start(live_runtime, cache), State.DONE)
    assert done.progress.looked_at == 491 and done.started_at is not None and done.ended_at is not None
    with as_cli(live_runtime) as work:
        found = service.latest(work, cache.id)
        assert found is not None and found.id == done.snapshot_id
        (mark,) = service.list_snapshots(work, cache.id)
    assert (found.kind, found.looked_at, found.keyspace, found.factor) == (Kind.FULL, 491, 491, 1.0)
    held = {node.name: node for node in found.root.children}
    assert held["product:"].keys.value == 400 and held["session:"].without_ttl.value == 90
    sizes = [raw.memory_usage(key) or 0 for key in raw.scan_iter()]
    assert found.root.size is not None and (found.root.size.value, found.root.size.error) == (sum(sizes), 0)
    assert (mark.keys, mark.size) == (491, found.root.size)
    assert verbs(live_runtime) == ["start", "done"]
    assert value(live_runtime.database, "SELECT count(*) FROM job") == 0
    assert value(live_runtime.database, "SELECT count(*) FROM keyspace_checkpoint") == 0


def test_policies_hear_of_memory_and_of_keys_that_break_them(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    publish(live_runtime, cache, "session:", 7_200)
    publish(live_runtime, cache, "product:", 3_600)
    publish(live_runtime, cache, "nothing:", 3_600)
    raw.expire("product:7", 86_400)
    for number in range(88):
        raw.expire(f"session:{number}", 600)
    waited(live_runtime, start(live_runtime, cache), State.DONE)
    with as_cli(live_runtime) as work:
        page = policies.policies_page(work, cache.id)
    found = {row.prefix: row.scan for row in page.rows}
    session, product, nothing = found["session:"], found["product:"], found["nothing:"]
    assert session is not None and product is not None and nothing is not None
    assert (session.keys, session.without_ttl, session.too_long, session.keys_error) == (90, 2, 0, 0)
    assert {(key, ttl_s) for key, ttl_s in session.examples} == {(b"session:88", None), (b"session:89", None)}
    assert (product.without_ttl, product.too_long, product.breaking) == (0, 1, 1)
    assert [key for key, _ in product.examples] == [b"product:7"]
    assert (nothing.keys, nothing.size_bytes, nothing.drift) == (0, 0, None)
    assert product.size_bytes == sum(raw.memory_usage(f"product:{number}") or 0 for number in range(400))
    assert page.scanned is not None and not page.scanned.is_sample


def test_a_scan_that_is_cancelled_leaves_no_snapshot(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    with as_cli(live_runtime) as work:
        service.set_limits(work, cache.id, ScanLimits(keys_per_s=20))
    scan = start(live_runtime, cache)
    wait_until(lambda: get(live_runtime, scan).progress.looked_at > 0, "it has begun")
    with as_cli(live_runtime) as work:
        service.cancel_scan(work, cache.id, scan.number)
    waited(live_runtime, scan, State.CANCELLED)
    assert verbs(live_runtime) == ["change", "start", "ask-cancel", "cancel"]
    with as_cli(live_runtime) as work:
        assert service.latest(work, cache.id) is None
    assert value(live_runtime.database, "SELECT count(*) FROM keyspace_checkpoint") == 0


def test_why_it_can_not_be_scanned_is_told(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    raw.acl_setuser("blind", enabled=True, nopass=True, commands=["+info", "+ping"], keys=["*"])
    url = f"redis://blind@{raw.connection_pool.connection_kwargs['host']}:{raw.connection_pool.connection_kwargs['port']}"
    other = add_cache(live_runtime, "blind", url=url)
    failed = waited(live_runtime, start(live_runtime, other), State.FAILED)
    assert "+scan" in failed.problem.lower(), failed.problem
    assert verbs(live_runtime) == ["start", "fail"]


def test_a_url_that_can_not_be_decrypted_fails_the_scan(
    live_runtime: Runtime, cache: Cache, worker: None
) -> None:
    with live_runtime.database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE cache SET url = '\\x00'::bytea")
    failed = waited(live_runtime, start(live_runtime, cache), State.FAILED)
    assert "can't be decrypted" in failed.problem


def test_a_removed_cache_takes_its_scan_along(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with as_cli(live_runtime) as work:
        service.set_limits(work, cache.id, ScanLimits(keys_per_s=20))
    scan = start(live_runtime, cache)
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    wait_until(lambda: get(live_runtime, scan).progress.looked_at > 0, "it has begun")
    with as_cli(live_runtime) as work:
        caches.delete_cache(work, cache.id)
    wait_until(lambda: runner.running == 0, "the worker lets go of it")
    runner.stop()
    assert [record.message for record in caplog.records if record.exc_info] == []
    for table in ("keyspace_scan", "keyspace_limits", "keyspace_snapshot", "keyspace_checkpoint", "job"):
        assert value(live_runtime.database, f"SELECT count(*) FROM {table}") == 0


def somebody_waits(runtime: Runtime) -> None:
    """Return when a transaction waits for another one's rows."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    wait_until(lambda: value(runtime.database, waiting) > 0, "it waits")


def test_lookups_of_a_cache_that_is_being_removed_are_not_noted(live_runtime: Runtime, cache: Cache) -> None:
    """They come while the cache is still there, and wait for the transaction that removes it."""

    def note() -> None:
        with as_cli(live_runtime) as work:
            looks.note_lookups(work, cache.id, [ProbeLookups("a scan", "n1", "r1", hits=1, misses=0)])

    with ThreadPoolExecutor(1) as pool:
        with as_cli(live_runtime) as work:
            caches.delete_cache(work, cache.id)
            noted = pool.submit(note)
            somebody_waits(live_runtime)
        noted.result(10)
    assert value(live_runtime.database, "SELECT count(*) FROM probe_lookups") == 0


def test_a_cache_can_be_removed_in_the_moment_in_which_its_scan_ends(
    live_runtime: Runtime,
    cache: Cache,
    raw: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each has rows that the other waits for, unless both take the cache first."""
    ends = threading.Event()
    keep = snapshots.keep

    def keep_late(work: UnitOfWork, found: Snapshot) -> Snapshot:
        ends.set()
        somebody_waits(live_runtime)
        return keep(work, found)

    monkeypatch.setattr(snapshots, "keep", keep_late)
    start(live_runtime, cache)
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    assert ends.wait(10)
    with as_cli(live_runtime) as work:
        caches.delete_cache(work, cache.id)
    wait_until(lambda: runner.running == 0, "it has ended")
    runner.stop()
    assert [record.message for record in caplog.records if record.exc_info] == []
    assert value(live_runtime.database, "SELECT count(*) FROM keyspace_scan") == 0


def test_a_checkpoint_that_can_not_be_read_begins_the_scan_again(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis
) -> None:
    scan = start(live_runtime, cache)
    kept = store.KeptPlace([], size_every=1, policy_version=0, collected=b'{"layout": 0}')
    with as_cli(live_runtime) as work:
        store.change_scan(work.session, scan.number, state=State.RUNNING, started_at=work.now)
        store.put_checkpoint(work.session, scan.number, kept)
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    try:
        assert waited(live_runtime, scan, State.DONE).progress.looked_at == 491
    finally:
        runner.stop()


def test_a_worker_that_stops_hands_over_with_every_key_counted_once(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker stops behind its first checkpoint; the second goes on from there."""
    monkeypatch.setattr(scanning, "CHECKPOINT_S", 0.05)
    with as_cli(live_runtime) as work:
        service.set_limits(work, cache.id, ScanLimits(keys_per_s=100))
    saved = threading.Event()
    starts: list[Checkpoint | None] = []
    save = jobs._Journal.save

    def save_and_tell(journal: Any, checkpoint: Checkpoint) -> None:
        save(journal, checkpoint)
        if checkpoint.progress.looked_at:
            saved.set()

    scan_all = scanning.scan

    def seen(*args: Any, **values: Any) -> Any:
        starts.append(values["start"])
        return scan_all(*args, **values)

    monkeypatch.setattr(jobs._Journal, "save", save_and_tell)
    monkeypatch.setattr(scanning, "scan", seen)
    scan = start(live_runtime, cache)
    first = Runner(live_runtime, jobs.handlers(live_runtime))
    first.start()
    assert saved.wait(30)
    first.stop()
    assert get(live_runtime, scan).state is State.RUNNING
    with as_cli(live_runtime) as work:
        old = service.limits(work, cache.id)
        # Neither changes what is under way: the tree is cut as it was, each key is measured.
        service.set_limits(work, cache.id, replace(old, keys_per_s=100_000, delimiters="/", size_every=0))
    second = Runner(live_runtime, jobs.handlers(live_runtime))
    second.start()
    try:
        done = waited(live_runtime, scan, State.DONE)
    finally:
        second.stop()
    assert starts[0] is None and starts[-1] is not None and starts[-1].progress.looked_at > 0
    assert done.progress.looked_at == 491
    with as_cli(live_runtime) as work:
        found = service.latest(work, cache.id)
    assert found is not None and found.root.keys.value == 491 and found.delimiters == ":"
    assert found.root.size is not None and found.size_every == 1
    assert verbs(live_runtime).count("start") == 1


# --- by itself --------------------------------------------------------------------------------------------------


def automatic(runtime: Runtime, cache: Cache) -> None:
    jobs.Automatic(runtime).run(cache, lambda: True)


def test_full_scans_begin_by_themselves_as_often_as_was_set(live_runtime: Runtime, cache: Cache) -> None:
    with as_cli(live_runtime) as work:
        service.set_limits(work, cache.id, ScanLimits(sample_every_s=0, full_every_s=3_600))
    automatic(live_runtime, cache)
    automatic(live_runtime, cache)
    with as_cli(live_runtime) as work:
        (scan,) = service.list_scans(work, cache.id)
        assert (scan.by, scan.state) == ("schedule", State.WAITING)
        service.cancel_scan(work, cache.id, scan.number)
    automatic(live_runtime, cache)
    with live_runtime.database.transaction() as session:
        session.connection().exec_driver_sql(
            "UPDATE keyspace_scan SET asked_at = asked_at - interval '61 minutes'"
        )
    automatic(live_runtime, cache)
    with as_cli(live_runtime) as work:
        assert [each.state for each in service.list_scans(work, cache.id)] == [State.WAITING, State.CANCELLED]


def test_samples_are_taken_by_themselves_as_often_as_was_set(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis
) -> None:
    automatic(live_runtime, cache)
    automatic(live_runtime, cache)
    with as_cli(live_runtime) as work:
        (mark,) = service.list_snapshots(work, cache.id)
        assert mark.kind is Kind.SAMPLE and mark.keys == 491
        assert policies.scanned(work, cache.id).of("") is not None
    passed(live_runtime, timedelta(seconds=601))
    automatic(live_runtime, cache)
    with as_cli(live_runtime) as work:
        assert len(service.list_snapshots(work, cache.id)) == 2


def test_no_sample_takes_the_place_of_exact_numbers_soon(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    waited(live_runtime, start(live_runtime, cache), State.DONE)
    passed(live_runtime, timedelta(minutes=20))
    automatic(live_runtime, cache)
    with as_cli(live_runtime) as work:
        assert [mark.kind for mark in service.list_snapshots(work, cache.id)] == [Kind.FULL]
    passed(live_runtime, timedelta(minutes=11))
    automatic(live_runtime, cache)
    with as_cli(live_runtime) as work:
        assert [mark.kind for mark in service.list_snapshots(work, cache.id)] == [Kind.SAMPLE, Kind.FULL]


def test_a_sample_that_fails_says_so_and_is_tried_again(live_runtime: Runtime) -> None:
    away = add_cache(live_runtime, url="redis://127.0.0.1:1")
    automatic(live_runtime, away)
    with as_cli(live_runtime) as work:
        assert "127.0.0.1:1" in service.panel(work, away.id).look_problem
        assert service.latest(work, away.id) is None
    before = value(live_runtime.database, "SELECT tried_at FROM keyspace_look")
    automatic(live_runtime, away)
    assert value(live_runtime.database, "SELECT tried_at FROM keyspace_look") == before
    passed(live_runtime, timedelta(seconds=61))
    automatic(live_runtime, away)
    assert value(live_runtime.database, "SELECT tried_at FROM keyspace_look") >= before


def test_whoever_lost_the_lead_stores_nothing(live_runtime: Runtime, cache: Cache, raw: redis.Redis) -> None:
    jobs.Automatic(live_runtime).run(cache, lambda: False)
    with as_cli(live_runtime) as work:
        assert service.list_snapshots(work, cache.id) == []


def test_somebody_takes_a_sample(live_runtime: Runtime, cache: Cache, raw: redis.Redis) -> None:
    found = service.take_sample(live_runtime, CLI, cache.id)
    with as_cli(live_runtime) as work:
        again = service.latest(work, cache.id, Kind.SAMPLE)
    assert found.id and found.root.keys.value == 491 and found.factor == 1.0
    assert again == found


def test_what_a_sample_looked_up_is_noted_before_anything_else(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def noted() -> tuple[int, int]:
        query = "SELECT coalesce(sum(hits), 0) AS hits, count(*) AS sessions FROM probe_lookups"
        (found,) = rows(live_runtime.database, query)
        return found.hits, found.sessions

    seen: list[tuple[tuple[int, int], bool]] = []
    close, receive = Probe.close, Probe.receive

    def closing(probe: Probe) -> None:
        # A poll at this moment finds the connection, or what it did.
        with pytest.raises(Conflict):
            service.take_sample(live_runtime, CLI, cache.id)
        seen.append((noted(), any("cachewarden-probe" in each["name"] for each in raw.client_list())))
        close(probe)

    def failing(probe: Probe) -> Burst:
        if probe.hits:
            raise as_error(Problem(Cause.TIMEOUT, "it did not answer", "wait"))
        return receive(probe)

    monkeypatch.setattr(Probe, "close", closing)
    before = lookups(raw)[0]
    service.take_sample(live_runtime, CLI, cache.id)
    by_first = lookups(raw)[0] - before
    assert seen == [((by_first, 1), True)] and by_first > 2 * 491
    monkeypatch.setattr(Probe, "receive", failing)
    with pytest.raises(CacheUnavailable):
        service.take_sample(live_runtime, CLI, cache.id)
    hits, sessions = noted()
    assert hits > by_first and sessions == 2 and seen[1:] == [((hits, 2), True)]


def passed(runtime: Runtime, time: timedelta) -> None:
    """Have all looks and snapshots be so much older."""
    with runtime.database.transaction() as session:
        for statement in (
            "UPDATE keyspace_look SET tried_at = tried_at - CAST(%s AS interval)",
            "UPDATE keyspace_snapshot SET ended_at = ended_at - CAST(%s AS interval)",
        ):
            session.connection().exec_driver_sql(statement, (f"{time.total_seconds()} seconds",))
