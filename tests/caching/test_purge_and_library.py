"""A purge by the dashboard next to applications that use the library: no old value comes back."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from dashboard.caching import Cache
from dashboard.caching.policy import PolicyTable
from dashboard.caching.tags import tag_key
from dashboard.fleet.registry import Connection, Fleet
from dashboard.invalidation.types import Action, Plan, SelectBy, Selection
from tests.caching.conftest import MakeCache, a_policy
from tests.support.purging import connect, preview, purge

BY_PREFIX = Selection(SelectBy.PREFIX, "row:")
INVALIDATING = [Action.DELETE, Action.SPREAD, Action.SOFT]


class Row:
    """A row of a database, and a reader that can be held up after it has read."""

    def __init__(self) -> None:
        self.value = "old"
        self.has_read = threading.Event()
        self.may_return = threading.Event()
        self.loads = 0

    def load(self) -> str:
        self.loads += 1
        found = self.value
        self.has_read.set()
        assert self.may_return.wait(20)
        return found

    def quick(self) -> str:
        self.loads += 1
        return self.value


@pytest.fixture
def raw(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def connection(server_url: str) -> Iterator[Connection]:
    fleet = Fleet(timeout_s=2.0)
    yield connect(fleet, server_url)
    fleet.close()


def start(call: object) -> threading.Thread:
    thread = threading.Thread(target=call)  # type: ignore[arg-type]
    thread.start()
    return thread


@pytest.mark.parametrize("action", INVALIDATING)
@pytest.mark.parametrize("by", [SelectBy.PREFIX, SelectBy.KEYS])
def test_a_load_that_began_before_the_purge_stores_nothing(
    make_cache: MakeCache,
    server_url: str,
    raw: redis.Redis,
    connection: Connection,
    action: Action,
    by: SelectBy,
) -> None:
    cache: Cache = make_cache(server_url, grace_s=30)
    row = Row()
    got: list[str] = []
    reader = start(lambda: got.append(cache.get_or_load("row:1", row.load)))
    assert row.has_read.wait(10)
    row.value = "new"  # the data fix
    selection = BY_PREFIX if by is SelectBy.PREFIX else Selection(SelectBy.KEYS, count=1)
    policies = PolicyTable([], a_policy(grace_s=30))
    plan = Plan(selection, action, window_s=1000)
    assert preview(connection, selection, items=[b"row:1"]).keys == 1
    done = purge(connection, plan, items=[b"row:1"], policies=policies)
    assert done.touched == 1
    row.may_return.set()
    reader.join(20)
    assert got == ["old"]  # it asked before the fix
    assert raw.get("row:1") is None
    assert cache.get_or_load("row:1", row.quick) == "new"
    assert raw.get("row:1") == b'"new"'


@pytest.mark.parametrize("action", INVALIDATING)
@pytest.mark.parametrize("is_stale", [False, True])
def test_an_early_refresh_that_began_before_the_purge_stores_nothing(
    make_cache: MakeCache,
    server_url: str,
    raw: redis.Redis,
    connection: Connection,
    action: Action,
    is_stale: bool,
) -> None:
    grace_s = 30
    # Slow loads and a large beta: some of the next reads begins to refresh early.
    cache: Cache = make_cache(server_url, grace_s=grace_s, early_refresh_beta=10.0)
    row = Row()
    assert cache.get_or_load("row:1", row.quick) == "old"
    cache._rules.default.tally.mean_load_s = 3.0
    raw.pexpire("row:1", (grace_s - 5 if is_stale else grace_s + 10) * 1000)
    deadline = time.monotonic() + 10
    while not row.has_read.wait(0.01):
        assert time.monotonic() < deadline
        assert cache.get_or_load("row:1", row.load) == "old"
    row.value = "new"
    policies = PolicyTable([], a_policy(grace_s=grace_s))
    done = purge(connection, Plan(BY_PREFIX, action, window_s=1000), policies=policies)
    assert done.touched + done.skipped == 1
    before = raw.pttl("row:1")
    row.may_return.set()
    deadline = time.monotonic() + 10
    while cache._rules.default.tally._counts["rejected_fills"] == 0:
        assert time.monotonic() < deadline, "the refresh was not refused"
        time.sleep(0.02)
    # What is there is what the purge left; it does not live longer than that.
    assert raw.get("row:1") == (None if action is Action.DELETE else b'"old"')
    assert raw.pttl("row:1") <= before


def test_softly_expired_is_served_while_one_reader_refreshes_it(
    make_cache: MakeCache, server_url: str, raw: redis.Redis, connection: Connection
) -> None:
    cache: Cache = make_cache(server_url, grace_s=30)
    row = Row()
    row.may_return.set()
    for number in range(20):
        assert cache.get_or_load(f"row:{number}", row.quick) == "old"
    row.value = "new"
    done = purge(connection, Plan(BY_PREFIX, Action.SOFT), policies=PolicyTable([], a_policy(grace_s=30)))
    assert done.touched == 20
    for number in range(20):
        assert cache.get_or_load(f"row:{number}", row.load) == "old"
    deadline = time.monotonic() + 10
    while any(cache.get_or_load(f"row:{number}", row.quick) != "new" for number in range(20)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert raw.pttl("row:7") > 60_000


@pytest.mark.parametrize("action", list(Action))
def test_a_tag(
    make_cache: MakeCache, server_url: str, raw: redis.Redis, connection: Connection, action: Action
) -> None:
    cache: Cache = make_cache(server_url, grace_s=30)
    row = Row()
    for number in range(300):
        cache.get_or_load(f"row:{number}", row.quick, tags=["sale"])
    cache.get_or_load("other", row.quick, tags=["rest"])
    blocked = start(lambda: cache.get_or_load("row:slow", row.load, tags=["sale"]))
    assert row.has_read.wait(10)
    # The library writes the tag's index about once a second.
    deadline = time.monotonic() + 20
    while raw.zcard(tag_key("sale")) <= 300:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    row.value = "new"
    selection = Selection(SelectBy.TAG, "sale")
    policies = PolicyTable([], a_policy(grace_s=30))
    counted = preview(connection, selection)
    assert counted.keys >= 300 and counted.named is not None
    done = purge(connection, Plan(selection, action, window_s=1000), policies=policies, cap=counted.cap)
    assert done.touched + done.skipped >= 300
    row.may_return.set()
    blocked.join(20)
    assert cache.get_or_load("other", row.quick, tags=["rest"]) == "old"
    if action is Action.DELETE:
        assert not list(raw.scan_iter("row:[0-9]*"))
        # Also the value whose load began before: its tag has another version.
        assert cache.get_or_load("row:slow", row.quick, tags=["sale"]) == "new"
    else:
        assert all(raw.pttl(f"row:{number}") <= 1_000_000 for number in range(300))


def test_readers_and_a_purge_at_the_same_time(
    make_cache: MakeCache, server_url: str, raw: redis.Redis, connection: Connection
) -> None:
    """Threads read without pause while rows are fixed and purged, again and again."""
    cache: Cache = make_cache(server_url, grace_s=5, early_refresh_beta=1.0)
    rows = [0] * 100
    stop = threading.Event()
    failures: list[BaseException] = []

    def read(first: int) -> None:
        number = first
        try:
            while not stop.is_set():
                number = (number + 7) % 100

                def load(at: int = number) -> int:
                    found = rows[at]
                    time.sleep(0.002)
                    return found

                cache.get_or_load(f"row:{number}", load)
        except BaseException as error:
            failures.append(error)

    threads = [start(lambda first=first: read(first)) for first in range(8)]
    try:
        for turn in range(1, 8):
            time.sleep(0.1)
            for number in range(100):
                rows[number] = turn
            purge(connection, Plan(BY_PREFIX))
            # From here on nobody who asks gets what was there before the fix.
            found = {cache.get_or_load(f"row:{number}", lambda now=turn: now) for number in range(100)}
            assert found == {turn}
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not failures
