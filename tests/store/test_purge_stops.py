"""Purges that are stopped, or stop by themselves, at a bad moment: nothing is forgotten, nobody waits in vain."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
import redis

from dashboard.caching import tags
from dashboard.clock import Clock
from dashboard.fleet.registry import Connection, Fleet
from dashboard.fleet.url import parse_url
from dashboard.invalidation import engine
from dashboard.invalidation.saving import Saver
from dashboard.invalidation.types import Limits, NodeProgress, Plan, Progress, SelectBy, Selection, When
from tests.support.clusters import servers
from tests.support.polling import WAIT_S, wait_until
from tests.support.purging import Interlude, MemoryJournal, Wishes, connect, preview, purge
from tests.support.servers import free_port, redis_server

BY_TAG = Selection(SelectBy.TAG, "sale")
BY_PREFIX = Selection(SelectBy.PREFIX, "product:")
SOME_AT_A_TIME = Limits(database_budget_qps=None, most_keys_per_s=20_000)


@pytest.fixture
def raw(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def cache(server_url: str) -> Iterator[Connection]:
    fleet = Fleet(timeout_s=2.0)
    yield connect(fleet, server_url)
    fleet.close()


def fill(client: redis.Redis, number: int) -> None:
    for start in range(0, number, 1000):
        client.mset({f"product:{index}": "v" for index in range(start, min(number, start + 1000))})


def tagged(raw: redis.Redis, number: int) -> float:
    """Some keys with a tag; the tag's version."""
    fill(raw, number)
    members = {f"product:{index}": 3e15 + index for index in range(number)}
    raw.zadd(tags.tag_key("sale"), {tags.VERSION: tags.new_version(), **members})
    return version(raw)


def version(raw: redis.Redis) -> float:
    score = raw.zscore(tags.tag_key("sale"), tags.VERSION)
    assert isinstance(score, float)
    return score


class Running:
    """Something that runs beside the test."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._error = error

    def error(self) -> BaseException | None:
        """What it ended with, once it has."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "it still runs"
        return self._error


# --- a tag's version ----------------------------------------------------------------------------------------------


def test_a_tag_that_was_stopped_before_its_version_was_new(raw: redis.Redis, cache: Connection) -> None:
    old = tagged(raw, 50)
    wishes, journal = Wishes(), MemoryJournal()
    raw.config_set("min-replicas-to-write", 1)
    running = Running(lambda: purge(cache, Plan(BY_TAG), journal=journal, wishes=wishes))
    try:
        wait_until(lambda: "NOREPLICAS" in journal.progress.waits_for, "it waits")
        wishes.wish = engine.Paused()
        assert isinstance(running.error(), engine.Paused)
    finally:
        raw.config_set("min-replicas-to-write", 0)
    wishes.wish = None
    purge(cache, Plan(BY_TAG), journal=journal, wishes=wishes)
    assert version(raw) != old


def test_a_tag_is_purged_on_a_full_server_that_evicts_nothing(raw: redis.Redis, cache: Connection) -> None:
    old = tagged(raw, 50)
    before = raw.config_get("maxmemory*")
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            raw.set("x", "y")
        done = purge(cache, Plan(BY_TAG))
    finally:
        raw.config_set("maxmemory", before["maxmemory"])
        raw.config_set("maxmemory-policy", before["maxmemory-policy"])
    assert done.touched == 50 and version(raw) != old


# --- the approval -------------------------------------------------------------------------------------------------


def test_beyond_its_approval_it_ends_what_it_began_and_an_exact_approval_is_enough(
    raw: redis.Redis, cache: Connection
) -> None:
    fill(raw, 30_000)
    # With the library, acting takes longer than finding: some of what was begun waits for its turn.
    raw.set("cachewarden:policies", "{}")
    journal = MemoryJournal()
    with pytest.raises(engine.Exceeded, match="more keys than were approved"):
        purge(cache, Plan(BY_PREFIX), cap=24_010, journal=journal)
    # Nothing is left half-way: who cancels now is told exactly what was done.
    assert not journal.segments
    left = len(list(raw.scan_iter("product:*", count=1000)))
    assert 0 < journal.progress.touched == 30_000 - left <= 24_010
    again = preview(cache, BY_PREFIX)
    assert again.keys == left
    done = purge(cache, Plan(BY_PREFIX), cap=journal.progress.touched + again.cap, journal=journal)
    assert done.touched == 30_000 and not list(raw.scan_iter("product:*", count=1000))


def test_however_many_claim_at_once_no_more_are_begun_than_approved() -> None:
    saver = Saver(Progress(), MemoryJournal(), Clock(), cap=4_999)
    begun: list[int] = []
    together = threading.Barrier(8)

    def claim(number: int) -> None:
        together.wait()
        for turn in range(100):
            keys = [b"%d:%d:%d" % (number, turn, index) for index in range(10)]
            try:
                saver.begin(NodeProgress(str(number), "", turn), keys)
            except engine.Exceeded:
                return
            begun.append(len(keys))

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Running(partial(claim, number)) for number in range(8)]
        assert [thread.error() for thread in threads] == [None] * 8
    finally:
        sys.setswitchinterval(interval)
    assert sum(begun) == 4_990


@pytest.mark.parametrize("when", [When.NOW, When.OVER])
def test_keys_that_come_back_with_a_snapshot_are_removed_under_the_same_approval(
    tmp_path_factory: pytest.TempPathFactory, when: When
) -> None:
    folder, port = tmp_path_factory.mktemp("redis"), free_port()
    fleet = Fleet(timeout_s=1.0)
    cache = connect(fleet, f"redis://127.0.0.1:{port}/0")
    journal = MemoryJournal()
    plan = Plan(BY_PREFIX, when=when, over_s=6)
    with redis_server(port=port, folder=folder), redis.Redis(port=port) as client:
        fill(client, 6_000)
        client.save()
        client.config_set("save", "")
        cap = preview(cache, BY_PREFIX).cap
        limits = replace(SOME_AT_A_TIME, most_keys_per_s=3_000)
        half = Interlude(lambda: client.dbsize() <= 3_000, lambda: client.shutdown(nosave=True))
        running = Running(lambda: purge(cache, plan, journal=journal, wishes=half, cap=cap, limits=limits))
        assert half.happened.wait(WAIT_S)
    with redis_server(port=port, folder=folder), redis.Redis(port=port) as client:
        assert running.error() is None
        assert not list(client.scan_iter("product:*", count=1000))
    fleet.close()
    done = journal.progress
    # What came back is counted again when it is removed again, and never counted on beforehand.
    assert 6_000 < done.touched <= 6_000 + done.came_back and done.came_back >= 3_000
    assert done.scanned <= done.expected_scans * 1.05 and done.expected_scans > 8_000


# --- a server that stands still ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [engine.Paused, engine.Cancelled])
@pytest.mark.parametrize("by", ["prefix", "keys"])
def test_who_wants_it_to_stop_does_not_wait_for_a_replica(wish: type[BaseException], by: str) -> None:
    fleet, journal = Fleet(timeout_s=2.0), MemoryJournal()
    keys = [b"product:%d" % index for index in range(20_000)]
    selection = BY_PREFIX if by == "prefix" else Selection(SelectBy.KEYS, count=len(keys))
    limits = replace(SOME_AT_A_TIME, most_keys_per_s=2_000)
    with servers() as made:
        primary = made.start()
        replica = made.start("--replicaof", f"127.0.0.1 {primary}", "--repl-diskless-sync-delay", "0")
        cache = connect(fleet, f"redis://127.0.0.1:{primary}/0")
        with redis.Redis(port=primary) as client:
            fill(client, len(keys))
            wait_until(
                lambda: client.info("replication").get("slave0", {}).get("state") == "online", "a replica"
            )

            def stop_the_replica() -> None:
                made.processes[replica].send_signal(signal.SIGSTOP)
                for index in range(40):
                    client.set(f"other:{index}", b"v" * 1_000_000)

            wishes = Interlude(lambda: client.dbsize() <= len(keys) - 1_000, stop_the_replica)
            running = Running(
                lambda: purge(
                    cache, Plan(selection), items=keys, journal=journal, wishes=wishes, limits=limits
                )
            )
            wait_until(lambda: journal.progress.slowed_by == "replication", "it stands still")
        wishes.wish = wish()
        assert isinstance(running.error(), wish)
        # What was begun and not done is known to whoever goes on.
        begun = sum(len(segment.keys) for segment in journal.segments.values())
        assert journal.progress.touched + begun < len(keys)
        made.processes[replica].send_signal(signal.SIGCONT)
        wishes.wish = None
        done = purge(cache, Plan(selection), items=keys, journal=journal, wishes=wishes)
        assert done.touched == len(keys)
    fleet.close()


# --- its cache is saved -----------------------------------------------------------------------------------------------


def test_saving_its_cache_does_not_have_it_connect_for_each_burst(raw: redis.Redis, server_url: str) -> None:
    fill(raw, 6_000)
    fleet, journal = Fleet(timeout_s=2.0), MemoryJournal()
    limits = replace(SOME_AT_A_TIME, most_keys_per_s=3_000)
    cache = fleet.open(1, parse_url(server_url), 1)
    before: list[int] = []

    def connections() -> int:
        return int(raw.info("stats")["total_connections_received"])

    def save() -> None:
        before.append(connections())
        fleet.open(1, parse_url(server_url), 2)

    saved = Interlude(lambda: raw.dbsize() < 5_500, save)
    purge(cache, Plan(BY_PREFIX), journal=journal, wishes=saved, limits=limits)
    assert journal.progress.touched == 6_000
    assert connections() - before[0] < 10
    fleet.close()
