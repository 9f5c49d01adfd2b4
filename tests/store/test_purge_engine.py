"""The purge engine on real servers: every way to select with every action, and what goes wrong meanwhile."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import redis

from dashboard.caching import tags
from dashboard.caching.policy import Policy, Protection
from dashboard.caching.wire import MAGIC, Kind, placeholder
from dashboard.fleet.registry import Connection, Fleet
from dashboard.invalidation import engine
from dashboard.invalidation.types import (
    Action,
    Filters,
    Limits,
    NodeProgress,
    Plan,
    Progress,
    SelectBy,
    Selection,
    When,
)
from tests.support.polling import WAIT_S
from tests.support.purging import Interlude, MemoryJournal, Wishes, connect, preview, purge, table
from tests.support.servers import free_port, redis_server

PRODUCT = Policy(
    prefix=b"product:", tier="hot", base_ttl_s=100, jitter_s=20, protection=Protection(grace_s=40)
)
POLICIES = table(PRODUCT, Policy(prefix=b"raw:", tier="no-cache", base_ttl_s=None))
WHOLE_LIFE_S = 160


@pytest.fixture
def raw(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def cache(server_url: str) -> Iterator[Connection]:
    fleet = Fleet(timeout_s=2.0)
    yield connect(fleet, server_url)
    fleet.close()


def fill(client: redis.Redis, prefix: bytes, number: int, ttl_s: int | None = 3600) -> None:
    pipe = client.pipeline(transaction=False)
    for index in range(number):
        pipe.set(prefix + str(index).encode(), b"v" * 20, ex=ttl_s)
    pipe.execute()


def left(client: redis.Redis, match: str = "*") -> set[bytes]:
    return set(client.scan_iter(match, count=1000))


def by_prefix(text: str, **filters: object) -> Selection:
    return Selection(SelectBy.PREFIX, text, filters=Filters(**filters))  # type: ignore[arg-type]


# --- ways to select -----------------------------------------------------------------------------------------

NUMBER = 1_200
CHOSEN: dict[str, tuple[Selection, list[bytes] | None]] = {
    "prefix": (by_prefix("product:"), None),
    "pattern": (Selection(SelectBy.PATTERN, "pro?uct:[0-9]*"), None),
    "tag": (Selection(SelectBy.TAG, "sale"), None),
    "keys": (Selection(SelectBy.KEYS, count=NUMBER), [b"product:%d" % index for index in range(NUMBER)]),
    "ids": (
        Selection(SelectBy.IDS, "product:{id}", ("product:{id}",), NUMBER + 300),
        [b"%d" % index for index in range(NUMBER + 300)],
    ),
    "rows": (
        Selection(SelectBy.ROWS, "products.id", ("product:{id}", "product:{id}:reviews"), NUMBER),
        [b"%d" % index for index in range(NUMBER)],
    ),
}


@pytest.mark.parametrize(("by", "action"), list(itertools.product(CHOSEN, Action)))
def test_every_selector_with_every_action(
    raw: redis.Redis, cache: Connection, by: str, action: Action
) -> None:
    fill(raw, b"product:", NUMBER, ttl_s=None)
    fill(raw, b"other:", 300)
    own = {b"cachewarden:policies": b"{}", b"cachewarden:guard:product:1": b"1"}
    raw.mset(own)
    if by == "tag":
        index = {f"product:{number}": 3e15 + number for number in range(NUMBER)}
        raw.zadd(tags.tag_key("sale"), {tags.VERSION: tags.new_version(), **index})
    own_keys = left(raw, "cachewarden:*")
    selection, items = CHOSEN[by]
    counted = preview(cache, selection, items=items, policies=POLICIES)
    assert (counted.keys, counted.keys_error) == (NUMBER, 0)
    # A tag's version among its members is no key.
    assert by != "tag" or counted.named == NUMBER
    assert len(counted.sample) == 100 and counted.by_policy == {"product:": 1.0}
    assert counted.without_grace == 0.0 and counted.ttl_counts[-1] == NUMBER
    assert counted.size_bytes is not None and counted.size_bytes > 20 * NUMBER

    journal = MemoryJournal()
    plan = Plan(selection, action, window_s=50, wants_report=True)
    done = purge(cache, plan, items=items, policies=POLICIES, journal=journal, cap=counted.cap)

    assert done == journal.progress
    assert not journal.segments and done.touched == NUMBER
    assert {node.cursor for node in done.nodes} == {None} and done.waits_for == ""
    assert left(raw, "cachewarden:*") == own_keys
    assert len(left(raw, "other:*")) == 300 and raw.ttl("other:7") > 3500
    assert sorted(journal.reported) == sorted(b"product:%d" % number for number in range(NUMBER))
    ttls = [raw.ttl(f"product:{number}") for number in range(NUMBER)]
    if action is Action.DELETE:
        assert set(ttls) == {-2}
    elif action is Action.SPREAD:
        # Spread out, and none later than the window.
        assert max(ttls) <= 50 and -1 not in ttls
        assert sum(ttl < 25 for ttl in ttls) in range(NUMBER * 4 // 10, NUMBER * 6 // 10)
    elif action is Action.SOFT:
        # Stale (less to live than the grace), over its upper half.
        assert max(ttls) <= 40 and min(ttls) >= 18
        assert sum(ttl < 30 for ttl in ttls) in range(NUMBER * 4 // 10, NUMBER * 6 // 10)
    else:
        assert max(ttls) <= WHOLE_LIFE_S and min(ttls) >= 138
        assert len(set(ttls)) > 10


def test_what_is_gone_or_fine_already_is_skipped(raw: redis.Redis, cache: Connection) -> None:
    fill(raw, b"product:", 100, ttl_s=20)
    fill(raw, b"raw:", 10, ttl_s=None)
    done = purge(cache, Plan(by_prefix("product:"), Action.SPREAD, window_s=5000))
    assert done.skipped >= 95 and done.touched + done.skipped == 100
    assert max(raw.ttl(f"product:{number}") for number in range(100)) <= 20
    done = purge(cache, Plan(by_prefix("product:"), Action.POLICY), policies=POLICIES)
    assert (done.touched, done.skipped) == (0, 100)
    # Kept out of the cache by their policy: no TTL is theirs.
    done = purge(cache, Plan(by_prefix("raw:"), Action.POLICY), policies=POLICIES)
    assert (done.touched, done.skipped) == (0, 10) and raw.ttl("raw:1") == -1
    keys = [b"product:1", b"nothing:1", b"nothing:2"]
    done = purge(cache, Plan(Selection(SelectBy.KEYS, count=3)), items=keys)
    # What was never there is no key that was skipped.
    assert (done.touched, done.skipped, done.scanned) == (1, 0, 3)


@pytest.mark.parametrize("is_library_there", [False, True])
@pytest.mark.parametrize("action", list(Action))
def test_the_report_names_what_was_touched_and_nothing_else(
    raw: redis.Redis, cache: Connection, action: Action, is_library_there: bool
) -> None:
    if is_library_there:
        raw.set("cachewarden:policies", "{}")
    fill(raw, b"product:short:", 400, ttl_s=20)
    fill(raw, b"product:long:", 400, ttl_s=None)
    fill(raw, b"product:gone:", 400)

    def lose(progress: Progress) -> None:
        # After they were found, and before their turn.
        if progress.nodes and progress.nodes[0].cursor is None:
            raw.delete(*(b"product:gone:%d" % number for number in range(400)))

    journal = MemoryJournal(lose)
    plan = Plan(by_prefix("product:"), action, window_s=1, wants_report=True)
    plan = replace(plan, window_s=10_000_000) if action is Action.SPREAD else plan
    done = purge(cache, plan, policies=POLICIES, journal=journal)
    named = set(journal.reported)
    assert len(journal.reported) == len(named) == done.touched and done.touched + done.skipped == 1200
    assert {b"product:long:%d" % number for number in range(400)} <= named
    assert not any(key.startswith(b"product:gone:") for key in named)
    short = sum(key.startswith(b"product:short:") for key in named)
    assert short == 400 if action is Action.DELETE else short < 10


@pytest.mark.parametrize(("action", "touched"), [(Action.POLICY, 400), (Action.DELETE, 800)])
def test_a_segment_done_again_counts_what_is_gone_but_not_what_was_fine(
    raw: redis.Redis, cache: Connection, action: Action, touched: int
) -> None:
    keys = tuple(b"product:%d" % number for number in range(800))
    fill(raw, b"product:", 400, ttl_s=50)  # the others are gone: whoever was killed removed them
    (node,) = cache.nodes()
    run_id = str(raw.info("server")["run_id"])
    journal = MemoryJournal()
    journal.segments = {1: engine.Segment(1, node.id, keys)}
    journal.progress = Progress(nodes=(NodeProgress(node.id, run_id, None, 800),), expected_scans=800)
    plan = Plan(by_prefix("product:"), action, wants_report=True)
    done = purge(cache, plan, policies=POLICIES, journal=journal)
    assert done.touched == touched == len(journal.reported)


@pytest.mark.parametrize("action", [Action.SPREAD, Action.SOFT])
def test_a_key_whose_turn_comes_again_keeps_its_moment_and_counts_once(
    raw: redis.Redis, cache: Connection, action: Action
) -> None:
    fill(raw, b"product:", 1_000)
    journal = MemoryJournal()
    plan = Plan(by_prefix("product:"), action, window_s=3000)
    done = purge(cache, plan, policies=POLICIES, journal=journal)
    assert done.touched == 1_000
    before = {key: raw.pttl(key) for key in left(raw, "product:*")}
    # As a worker that was killed in the middle of the pass that follows a restart: nobody knows of the first one.
    nodes = tuple(replace(node, cursor=0, scanned=0) for node in done.nodes)
    journal.progress = replace(done, nodes=nodes, passes=0)
    assert purge(cache, plan, policies=POLICIES, journal=journal, cap=2_010).touched == 1_000
    assert all(raw.pttl(key) <= before[key] for key in before)
    assert all(raw.pttl(key) > before[key] - 60_000 for key in before if before[key] > 60_000)


def test_a_policy_may_lengthen_only_when_asked_and_never_what_says_there_is_none(
    raw: redis.Redis, cache: Connection
) -> None:
    raw.set("product:value", b'{"a":1}', ex=5)
    raw.set("product:none", b"null", ex=5)
    raw.hset("product:hash", mapping={"a": "1"})
    raw.expire("product:hash", 5000)
    plan = Plan(by_prefix("product:"), Action.POLICY, lengthens=True)
    done = purge(cache, plan, policies=POLICIES)
    assert (done.touched, done.skipped) == (2, 1)
    assert raw.ttl("product:value") > 130 and raw.ttl("product:none") <= 5
    assert 130 < raw.ttl("product:hash") <= WHOLE_LIFE_S


@pytest.mark.parametrize("lengthens", [False, True])
@pytest.mark.parametrize("is_redone", [False, True])
def test_a_key_whose_turn_comes_again_keeps_its_policys_life_and_counts_once(
    raw: redis.Redis, cache: Connection, lengthens: bool, is_redone: bool
) -> None:
    for number in range(1_000):
        raw.set(f"product:{number}", "v", ex=5 if lengthens else 9_999)
    journal = MemoryJournal()
    plan = Plan(by_prefix("product:"), Action.POLICY, lengthens=lengthens)
    done = purge(cache, plan, policies=POLICIES, journal=journal)
    assert done.touched == 1_000
    # Some time later many have less to live than the policy's shortest life.
    for key in left(raw, "product:*"):
        raw.pexpire(key, raw.pttl(key) - 30_000)
    before = {key: raw.pttl(key) for key in left(raw, "product:*")}
    (node,) = done.nodes
    if is_redone:
        # As if the worker was killed before it could say that its last segment was done.
        journal.segments = {1: engine.Segment(1, node.node, tuple(before))}
        journal.finished.clear()
        journal.progress = replace(done, touched=0)
    else:
        # As if the server was restarted, and its keys are gone over again.
        journal.progress = replace(done, nodes=(replace(node, run_id="before"),), passes=0)
    again = purge(cache, plan, policies=POLICIES, journal=journal, age_s=300.0)
    assert again.touched == 1_000
    assert all(raw.pttl(key) <= before[key] for key in before)
    # What became longer meanwhile, or is new, was not done before.
    raw.set("product:1", "v", ex=9_999)
    raw.set("product:new", "v", ex=5)
    last = purge(cache, plan, policies=POLICIES, age_s=600.0)
    assert raw.ttl("product:1") <= WHOLE_LIFE_S and (raw.ttl("product:new") > 100) == lengthens
    assert last.touched >= 1


def test_a_life_that_the_policy_could_have_given_stays_as_it_is(raw: redis.Redis, cache: Connection) -> None:
    for number in range(200):
        raw.set(f"product:{number}", "v", px=150_000 + 40 * number)
    raw.set("product:short", "v", ex=100)
    plan = Plan(by_prefix("product:"), Action.POLICY, lengthens=True)
    done = purge(cache, plan, policies=POLICIES)
    assert (done.touched, done.skipped) == (1, 200)
    assert raw.ttl("product:short") > 130


@pytest.mark.parametrize("grace_s", [None, 40])
@pytest.mark.parametrize("action", list(Action))
def test_placeholders(raw: redis.Redis, cache: Connection, action: Action, grace_s: int | None) -> None:
    raw.hset("cachewarden:instances", "one", "{}")
    policy = replace(PRODUCT, protection=Protection(grace_s=grace_s))
    for kind in Kind:
        raw.set(f"product:{kind.value.decode()}", placeholder(kind), px=20_000)
    covered = placeholder(Kind.WRITE) + b":%d" % (time.time() * 1000 + 8000)
    raw.set("product:covered", covered, px=20_000)
    raw.set("product:value", "v")
    raw.hset("product:hash", "field", "v")
    raw.set("product:empty", "")
    plan = Plan(by_prefix("product:"), action, window_s=900, lengthens=True)
    done = purge(cache, plan, policies=table(policy))
    found = {key: raw.getrange(key, 0, 50) for key in left(raw, "product:*") - {b"product:hash"}}
    found |= dict.fromkeys(left(raw, "product:hash"), b"")
    if action is Action.POLICY:
        # It invalidates nothing, so a load may go on, and its lease is not made longer.
        in_flight = [key for key, value in found.items() if (value or b"").startswith(MAGIC)]
        assert len(in_flight) == 4 and all(raw.pttl(key) <= 20_000 for key in in_flight)
    else:
        # Loads and writes in flight lose their right to store; a hold stays in force.
        holds = {key for key, value in found.items() if (value or b"").startswith(MAGIC + b"hold:")}
        assert holds == {b"product:hold", b"product:covered"}
        assert 6000 < raw.pttl("product:covered") <= 8000 and raw.pttl("product:hold") > 15_000
        is_removed = action is Action.DELETE or (action is Action.SOFT and grace_s is None)
        values = {b"product:value", b"product:hash", b"product:empty"}
        assert found.keys() - holds == (set() if is_removed else values)
        assert done.touched + done.skipped == 7 and 5 <= done.touched <= 6


def test_bytes_and_big_keys(raw: redis.Redis, cache: Connection) -> None:
    strange = [b"\xff\x00*[?]:%d\r\n$3\r\n" % number for number in range(50)]
    raw.mset(dict.fromkeys([*strange, b"\xff\x00other"], b"v"))
    raw.zadd("\\xff", {str(number): number for number in range(20_000)})
    pipe = raw.pipeline(transaction=False)
    for number in range(200_000):
        pipe.hset("big", str(number), "x" * 20)
    pipe.execute()
    selection = Selection(SelectBy.PREFIX, r"\xff\x00*[?]:")
    assert preview(cache, selection).keys == 50
    assert purge(cache, Plan(selection)).touched == 50
    assert left(raw) == {b"\xff\x00other", b"\\xff", b"big"}
    counted = preview(cache, by_prefix("big"))
    assert counted.sample[0].type == "hash" and (counted.sample[0].size_bytes or 0) > 4_000_000
    freed = raw.info("memory")["lazyfreed_objects"]
    assert purge(cache, Plan(by_prefix("big"))).touched == 1
    assert not raw.exists("big")
    # In the background: nobody waits for 200,000 fields to be freed.
    deadline = time.monotonic() + 10
    while raw.info("memory")["lazyfreed_objects"] == freed:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"type": "hash"}, {"h"}),
        ({"ttl_max_s": 100}, {"short"}),
        ({"ttl_min_s": 100}, {"long", "h", "big"}),
        ({"without_ttl": True}, {"h", "big"}),
        ({"size_min_bytes": 5000}, {"big"}),
        ({"size_max_bytes": 5000, "type": "string"}, {"short", "long"}),
        ({"idle_min_s": 3600}, set()),
        ({"idle_min_s": 0, "type": "string"}, {"short", "long", "big"}),
    ],
)
def test_filters(raw: redis.Redis, cache: Connection, filters: dict[str, object], expected: set[str]) -> None:
    raw.set("a:short", "v", ex=50)
    raw.set("a:long", "v", ex=5000)
    raw.hset("a:h", "f", "v")
    raw.set("a:big", b"x" * 10_000)
    names = [b"a:short", b"a:long", b"a:h", b"a:big", b"a:gone"]
    for selection, items in (
        (by_prefix("a:", **filters), None),
        (Selection(SelectBy.KEYS, count=5, filters=Filters(**filters)), names),  # type: ignore[arg-type]
    ):
        assert preview(cache, selection, items=items).keys == len(expected)
    raw.config_resetstat()
    wishes = Wishes()
    done = purge(cache, Plan(by_prefix("a:", **filters)), wishes=wishes)
    stats = raw.info("stats")
    # What the server counted for us is what we say it did.
    assert (wishes.hits, wishes.misses) == (stats["keyspace_hits"], stats["keyspace_misses"])
    assert done.touched == len(expected)
    assert left(raw) == set(names) - {b"a:gone"} - {b"a:" + name.encode() for name in expected}


@pytest.mark.parametrize("is_library_there", [False, True])
@pytest.mark.parametrize("action", list(Action))
def test_our_own_lookups_are_told(
    raw: redis.Redis, cache: Connection, action: Action, is_library_there: bool
) -> None:
    fill(raw, b"product:", 3000)
    if is_library_there:
        raw.set("cachewarden:policies", "{}")
    raw.config_resetstat()
    wishes = Wishes()
    keys = [b"product:%d" % number for number in range(4000)]
    plan = Plan(Selection(SelectBy.KEYS, count=4000), action, window_s=50)
    preview(cache, plan.selection, items=keys, policies=POLICIES, wishes=wishes)
    purge(cache, plan, items=keys, policies=POLICIES, wishes=wishes)
    stats = raw.info("stats")
    assert (wishes.hits, wishes.misses) == (stats["keyspace_hits"], stats["keyspace_misses"])


def test_idle_time_under_lfu_is_refused_with_the_reason(raw: redis.Redis, cache: Connection) -> None:
    raw.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        raw.set("a:1", "v")
        with pytest.raises(engine.Failed, match="LFU"):
            preview(cache, by_prefix("a:", idle_min_s=5))
        with pytest.raises(engine.Failed, match="LFU"):
            purge(cache, Plan(by_prefix("a:", idle_min_s=5)))
        assert raw.exists("a:1")
    finally:
        raw.config_set("maxmemory-policy", "allkeys-lru")


# --- the approval, the limits --------------------------------------------------------------------------------


def test_more_than_approved_is_not_touched(raw: redis.Redis, cache: Connection) -> None:
    fill(raw, b"product:", 30_000)
    journal = MemoryJournal()
    with pytest.raises(engine.Exceeded, match="more keys than were approved"):
        purge(cache, Plan(by_prefix("product:")), cap=12_000, journal=journal)
    assert len(left(raw, "product:*")) >= 30_000 - 12_000
    # Nothing is lost of what was begun: after another approval it goes on from there.
    done = purge(cache, Plan(by_prefix("product:")), cap=36_000, journal=journal)
    assert done.touched == 30_000 and not left(raw, "product:*")
    fill(raw, b"product:", 30)
    keys = [b"product:%d" % number for number in range(30)]
    for by in (Selection(SelectBy.KEYS, count=30), Selection(SelectBy.PREFIX, "product:")):
        with pytest.raises(engine.Exceeded):
            purge(cache, Plan(by), items=keys, cap=29)
    assert len(left(raw, "product:*")) == 30


def test_what_was_counted_long_ago_is_counted_again_before_the_first_key(
    raw: redis.Redis, cache: Connection
) -> None:
    fill(raw, b"product:", 12_000)
    plan = Plan(by_prefix("product:"))
    with pytest.raises(engine.Exceeded, match="12,000, of 11,000"):
        purge(cache, plan, cap=11_000, counts_first=True)
    assert raw.dbsize() == 12_000
    assert purge(cache, plan, cap=12_000, counts_first=True).touched == 12_000


def test_a_limit_and_a_spread_take_their_time(raw: redis.Redis, cache: Connection) -> None:
    fill(raw, b"product:", 2_000)
    began = time.monotonic()
    plan = Plan(by_prefix("product:"))
    assert purge(cache, plan, limits=Limits(most_keys_per_s=1000)).touched == 2_000
    assert time.monotonic() - began > 1.5
    fill(raw, b"product:", 2_000)
    fill(raw, b"other:", 2_000)
    gone: list[int] = []
    journal = MemoryJournal(lambda progress: gone.append(progress.touched))
    began = time.monotonic()
    done = purge(cache, Plan(by_prefix("product:"), when=When.OVER, over_s=4), journal=journal)
    assert done.touched == 2_000 and time.monotonic() - began > 3.5
    # Evenly: something went in each second, and nothing all at once.
    assert len(set(gone)) >= 4 and max(b - a for a, b in itertools.pairwise(gone)) < 1_400


def test_the_databases_budget_slows_a_purge(raw: redis.Redis, cache: Connection, server_url: str) -> None:
    fill(raw, b"product:", 20_000)
    stop = threading.Event()

    def apply() -> None:
        # Applications that read a thousand times a second; every key that goes is loaded again.
        held = 20_000
        with redis.Redis.from_url(server_url) as client:
            while not stop.wait(0.2):
                now = client.dbsize()
                client.hincrby("cachewarden:counters", "hits:product:", 4000)
                client.hincrby("cachewarden:counters", "loads:product:", max(0, held - now))
                held = now

    thread = threading.Thread(target=apply)
    thread.start()
    wishes = Wishes()
    seen: list[Progress] = []
    journal = MemoryJournal(seen.append)
    threading.Timer(8.0, lambda: setattr(wishes, "wish", engine.Paused())).start()
    try:
        time.sleep(0.5)
        with pytest.raises(engine.Paused):
            purge(
                cache,
                Plan(by_prefix("product:")),
                policies=POLICIES,
                limits=Limits(database_budget_qps=500.0),
                journal=journal,
                wishes=wishes,
            )
    finally:
        stop.set()
        thread.join()
    last = journal.progress
    assert last.loads_before_per_s is not None and last.loads_before_per_s < 50
    assert any(each.slowed_by == "database" for each in seen)
    assert 300 < last.touched < 10_000
    assert max(each.loads_per_s or 0 for each in seen) < 1500 and last.hit_ratio == 1.0


# --- stopped, and gone on with ---------------------------------------------------------------------------------


@pytest.mark.parametrize("wish", [engine.Paused, engine.Cancelled])
def test_paused_in_the_middle_everything_begun_is_finished(
    raw: redis.Redis, cache: Connection, wish: type[BaseException]
) -> None:
    fill(raw, b"product:", 60_000)
    wishes = Wishes()

    def after_some(progress: Progress) -> None:
        if progress.touched > 5_000:
            wishes.wish = wish()

    journal = MemoryJournal(after_some)
    with pytest.raises(wish):
        purge(cache, Plan(by_prefix("product:")), journal=journal, wishes=wishes)
    assert not journal.segments
    assert 5_000 < journal.progress.touched < 60_000
    assert len(left(raw, "product:*")) == 60_000 - journal.progress.touched
    done = purge(cache, Plan(by_prefix("product:")), journal=journal)
    assert done.touched == 60_000 and done.skipped == 0 and not left(raw, "product:*")
    assert done.scanned < 120_000


def test_a_lost_lease_stops_everything_at_once(raw: redis.Redis, cache: Connection) -> None:
    number = 80_000  # several segments: what is under way when the lease is lost must not be all
    fill(raw, b"product:", number)
    wishes = Wishes()

    def lose(progress: Progress) -> None:
        if progress.touched > 5_000:
            wishes.wish = engine.LeaseLost()
            raise engine.LeaseLost

    journal = MemoryJournal(lose)
    with pytest.raises(engine.LeaseLost):
        purge(cache, Plan(by_prefix("product:")), journal=journal, wishes=wishes)
    before = raw.dbsize()
    time.sleep(0.2)
    assert raw.dbsize() == before > 0
    journal.before_commit = lambda progress: None
    done = purge(cache, Plan(by_prefix("product:")), journal=journal)
    # Segments that were being touched are touched again, and each key counts once.
    assert done.touched == number and done.skipped == 0 and not left(raw, "product:*")


class Killed(BaseException):
    """Nothing in the engine knows it: as a process that dies in the middle."""


@pytest.mark.parametrize("by", ["prefix", "keys"])
@pytest.mark.parametrize("action", [Action.DELETE, Action.SPREAD])
def test_killed_again_and_again(raw: redis.Redis, cache: Connection, by: str, action: Action) -> None:
    number = 20_000
    fill(raw, b"product:", number)
    fill(raw, b"other:", 500)
    keys = [b"product:%d" % index for index in range(number)]
    selection = by_prefix("product:") if by == "prefix" else Selection(SelectBy.KEYS, count=number)
    turns = itertools.count(1)

    def sometimes(progress: Progress) -> None:
        if next(turns) % 3 == 0:
            raise Killed

    journal = MemoryJournal(sometimes)
    plan = Plan(selection, action, window_s=1000)
    cap = preview(cache, selection, items=keys).cap
    for _ in range(100):
        try:
            done = purge(cache, plan, items=keys, journal=journal, cap=cap)
        except Killed:
            continue
        break
    assert next(turns) > 5
    # A SCAN may give a key twice while the table shrinks; the second time nothing is left to do.
    assert done.touched == number and not journal.segments
    assert len(left(raw, "other:*")) == 500
    if action is Action.DELETE:
        assert not left(raw, "product:*")
    else:
        assert max(raw.ttl(key) for key in keys) <= 1000


def test_nothing_is_touched_before_it_is_in_the_journal(raw: redis.Redis, cache: Connection) -> None:
    fill(raw, b"product:", 12_000)
    known: set[bytes] = set()

    class Checking(MemoryJournal):
        def commit(self, progress, begun, finished):  # type: ignore[no-untyped-def]
            gone = {b"product:%d" % number for number in range(12_000)} - left(raw, "product:*")
            assert gone <= known
            super().commit(progress, begun, finished)
            for segment in begun:
                known.update(segment.keys)

    done = purge(cache, Plan(by_prefix("product:")), journal=Checking())
    assert done.touched == 12_000


# --- the server goes away, and comes back as another ----------------------------------------------------------


def test_a_server_that_restarts_is_scanned_from_the_beginning(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("redis")
    port = free_port()
    fleet = Fleet(timeout_s=1.0)
    cache = connect(fleet, f"redis://127.0.0.1:{port}/0")
    options = ("--appendonly", "yes", "--appendfsync", "always")
    journal = MemoryJournal()
    failures: list[BaseException] = []
    with redis_server(*options, port=port, folder=folder), redis.Redis(port=port) as client:
        fill(client, b"product:", 4_000)
        fill(client, b"other:", 4_000)
        pid = client.info("server")["process_id"]
        wishes = Interlude(lambda: client.dbsize() <= 7_500, lambda: os.kill(pid, signal.SIGKILL))
        thread = threading.Thread(
            target=lambda: run_into(
                failures,
                lambda: purge(
                    cache,
                    Plan(by_prefix("product:"), when=When.OVER, over_s=3),
                    journal=journal,
                    wishes=wishes,
                    cap=preview(cache, by_prefix("product:")).cap,
                ),
            )
        )
        thread.start()
        assert wishes.happened.wait(WAIT_S)
    first = journal.progress.nodes[0].run_id
    deadline = time.monotonic() + 20
    while not journal.progress.waits_for:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert "127.0.0.1" in journal.progress.waits_for
    with redis_server(*options, port=port, folder=folder), redis.Redis(port=port) as client:
        thread.join(60)
        assert not failures and not thread.is_alive()
        assert not left(client, "product:*") and len(left(client, "other:*")) == 4_000
        done = journal.progress
        assert done.nodes[0].run_id == client.info("server")["run_id"] != first
        assert done.touched == 4_000 and done.waits_for == ""
    fleet.close()


@pytest.mark.parametrize("by", ["keys", "tag"])
def test_a_server_that_comes_back_with_its_snapshot_during_a_purge_of_named_keys(
    tmp_path_factory: pytest.TempPathFactory, by: str
) -> None:
    folder = tmp_path_factory.mktemp("redis")
    port = free_port()
    fleet = Fleet(timeout_s=1.0)
    cache = connect(fleet, f"redis://127.0.0.1:{port}/0")
    number = 3_000
    keys = [b"product:%d" % index for index in range(number)]
    selection = Selection(SelectBy.KEYS, count=number) if by == "keys" else Selection(SelectBy.TAG, "sale")
    journal = MemoryJournal()
    failures: list[BaseException] = []
    limits = Limits(most_keys_per_s=1_000, database_budget_qps=None)
    with redis_server(port=port, folder=folder) as _, redis.Redis(port=port) as client:
        fill(client, b"product:", number)
        index = {key: 3e15 + place for place, key in enumerate(keys)}
        client.zadd(tags.tag_key("sale"), {tags.VERSION: tags.new_version(), **index})
        client.save()
        client.config_set("save", "")
        most = client.dbsize() - 1_000
        wishes = Interlude(lambda: client.dbsize() <= most, lambda: client.shutdown(nosave=True))
        thread = threading.Thread(
            target=lambda: run_into(
                failures,
                lambda: purge(
                    cache,
                    Plan(selection),
                    items=keys,
                    journal=journal,
                    wishes=wishes,
                    limits=limits,
                    cap=preview(cache, selection, items=keys).cap,
                ),
            )
        )
        thread.start()
        assert wishes.happened.wait(WAIT_S)
    with redis_server(port=port, folder=folder), redis.Redis(port=port) as client:
        thread.join(60)
        assert not failures and not thread.is_alive()
        assert not left(client, "product:*") and journal.progress.passes >= 2
        assert journal.progress.touched > number and journal.progress.waits_for == ""
    fleet.close()


def run_into(failures: list[BaseException], call: Callable[[], object]) -> None:
    try:
        call()
    except BaseException as error:
        failures.append(error)


@pytest.mark.parametrize("trouble", ["READONLY", "OOM", "MISCONF"])
def test_a_server_that_takes_no_writes_is_waited_for(trouble: str) -> None:
    fleet = Fleet(timeout_s=2.0)
    with redis_server("--enable-protected-configs", "yes") as port, redis.Redis(port=port) as client:
        cache = connect(fleet, f"redis://127.0.0.1:{port}/0")
        fill(client, b"product:", 500, ttl_s=None)
        action = Action.DELETE
        if trouble == "READONLY":
            other = free_port()
            client.config_set("replica-serve-stale-data", "yes")
            client.replicaof("127.0.0.1", other)
        elif trouble == "MISCONF":
            client.config_set("save", "1 1")
            client.config_set("dir", "/proc")
            client.set("change", "1")
            with pytest.raises(redis.ResponseError):
                client.bgsave()
                for _ in range(100):
                    time.sleep(0.1)
                    client.set("change", "1")
        else:
            action = Action.SPREAD
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", "1")
        journal = MemoryJournal()
        failures: list[BaseException] = []
        plan = Plan(by_prefix("product:"), action, window_s=100)
        thread = threading.Thread(
            target=lambda: run_into(failures, lambda: purge(cache, plan, journal=journal))
        )
        thread.start()
        deadline = time.monotonic() + 20
        while not journal.progress.waits_for:
            assert time.monotonic() < deadline and thread.is_alive(), failures
            time.sleep(0.02)
        assert journal.progress.touched == 0
        if trouble == "READONLY":
            assert journal.progress.waits_for.startswith("READONLY: 127.0.0.1")
            client.replicaof("NO", "ONE")
        elif trouble == "MISCONF":
            assert journal.progress.waits_for.startswith("MISCONF: 127.0.0.1")
            client.config_set("stop-writes-on-bgsave-error", "no")
        else:
            assert "is full and evicts nothing" in journal.progress.waits_for
            client.config_set("maxmemory", "0")
        thread.join(30)
        assert not failures and not thread.is_alive()
        assert journal.progress.touched == 500 and journal.progress.waits_for == ""
    fleet.close()


def test_names_so_long_that_a_burst_is_too_large(raw: redis.Redis, cache: Connection) -> None:
    # Several of them exceed what one exchange may bring.
    long = b"long:" + b"x" * 700_000
    limit = raw.config_get("maxmemory")["maxmemory"]
    raw.config_set("maxmemory", 0)
    try:
        for number in range(60):
            raw.set(long + str(number).encode(), "v")
        fill(raw, b"product:", 500)
        assert purge(cache, Plan(by_prefix("long:"))).touched == 60
        assert raw.dbsize() == 500
    finally:
        raw.config_set("maxmemory", limit)


# --- what is forbidden --------------------------------------------------------------------------------------


def test_without_the_right_to_unlink(raw: redis.Redis, server_url: str) -> None:
    fill(raw, b"product:", 100)
    raw.execute_command(
        "ACL", "SETUSER", "looker", "on", ">pass", "~*", "+info", "+scan", "+ping", "+memory|usage"
    )
    fleet = Fleet(timeout_s=2.0)
    parts = urlsplit(server_url)
    cache = connect(fleet, f"redis://looker:pass@{parts.hostname}:{parts.port}{parts.path}")
    try:
        # What is missing costs the preview some columns.
        counted = preview(cache, by_prefix("product:"))
        assert counted.keys == 100 and counted.size_bytes and sum(counted.ttl_counts) == 0
        for action, rights in (
            (Action.DELETE, "+unlink"),
            (Action.SPREAD, "+evalsha +eval +pttl +pexpire +getrange +set +time +unlink"),
        ):
            journal = MemoryJournal()
            with pytest.raises(engine.Failed, match="NOPERM") as caught:
                purge(cache, Plan(by_prefix("product:"), action, window_s=5), journal=journal)
            assert caught.value.what_to_do == f"Grant it with: ACL SETUSER looker {rights}"
        assert raw.dbsize() == 100
        raw.execute_command("ACL", "SETUSER", "looker", "-scan")
        with pytest.raises(engine.Failed, match="NOPERM"):
            purge(cache, Plan(by_prefix("product:")))
        raw.execute_command("ACL", "SETUSER", "looker", "+scan", "+unlink")
        assert purge(cache, Plan(by_prefix("product:"))).touched == 100
    finally:
        fleet.close()
        raw.execute_command("ACL", "DELUSER", "looker")


def test_a_wall_is_spread_up_to_its_end_however_late_one_begins(raw: redis.Redis, cache: Connection) -> None:
    """Keys are chosen by when they end, and the window ends with them: a confirmation that took minutes leaves none."""
    number, ends = 2_000, int(time.time()) + 300
    with raw.pipeline(transaction=False) as pipe:
        for index in range(number):
            pipe.set(b"news:%d" % index, b"x", pxat=ends * 1000 + index % 900)
            pipe.set(b"news:even:%d" % index, b"x", px=10_000_000)
        pipe.execute()
    chosen = replace(by_prefix("news:"), filters=Filters(ends_from=ends - 1, ends_until=ends + 2))
    # The window is that of a page which was opened long ago.
    done = purge(cache, Plan(chosen, Action.SPREAD, window_s=3_600))
    # Who draws a moment in the last seconds ends then anyway.
    assert number * 0.98 < done.touched <= number
    left = sorted(raw.pttl(b"news:%d" % index) / 1000 for index in range(number))
    assert left[-1] <= 302 and left[number // 2] == pytest.approx(150, abs=25)
    assert sum(each > 290 for each in left) < number * 0.08
    assert raw.pttl("news:even:1") > 9_000_000
