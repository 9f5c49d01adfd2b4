"""A short piece of the soak: nothing stale here, and the same harness finds what it looks for elsewhere."""

import time
from collections.abc import Callable, Iterator

import pytest
import redis

from dashboard.caching import Cache, wire
from tests.caching.conftest import a_policy
from tests.soak import harness, scheduled
from tests.soak.flaky import flaky
from tests.support.servers import redis_server

SEED = 20


@pytest.fixture(scope="module")
def own_url() -> Iterator[str]:
    """A server of these tests' own: they flush it all the time."""
    with redis_server() as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.parametrize(
    "kinds", [scheduled.PLAIN, scheduled.TAGGED, scheduled.HELD], ids=["plain", "tagged", "held"]
)
def test_no_order_of_steps_leaves_a_stale_value(own_url: str, kinds: list[object]) -> None:
    result = scheduled.run(own_url, kinds, least=800, seed=SEED)  # type: ignore[arg-type]
    assert result.stale == 0 and result.served == 0
    assert result.kept > 50
    assert result.failures > 50, "Redis must fail, too"


def test_the_plain_recipe_does(own_url: str) -> None:
    result = scheduled.run(own_url, scheduled.NAIVE, least=2000, seed=SEED)
    assert result.stale > 0 and result.served > 0


def without(script: wire.Script, condition: str, instead: str = "") -> str:
    """The script's source with a condition taken out."""
    source = script.source.decode()
    assert source.count(condition) == 1, f"{script} has no such condition"
    return source.replace(condition, instead)


IF_OWN = "if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end"
COVERED = "till and math.max(tonumber(till) - now(), 0) or 0"
WRITES_HELD = [scheduled.reader, scheduled.holder, scheduled.idle_writer, scheduled.idle_writer]

MUTANTS = {
    "fill without compare": (wire.FILL, without(wire.FILL, IF_OWN), scheduled.PLAIN),
    "commit without compare": (
        wire.COMMIT,
        without(wire.COMMIT, "and string.sub(held, 1, #ARGV[1]) == ARGV[1] "),
        scheduled.PLAIN,
    ),
    "commit during a hold": (
        wire.COMMIT,
        without(wire.COMMIT, "left <= 0 and "),
        [scheduled.reader, scheduled.holder, scheduled.dropper, scheduled.idle_writer],
    ),
    "commit ends a hold": (
        wire.COMMIT,
        without(wire.COMMIT, "drop(KEYS[1])\nreturn 0", "redis.call('DEL', KEYS[1]) return 0"),
        scheduled.HELD,
    ),
    "announce ends a hold": (
        wire.ANNOUNCE,
        without(wire.ANNOUNCE, "if left > 0 then", "if false then"),
        WRITES_HELD,
    ),
    "announce forgets a covered hold": (wire.ANNOUNCE, without(wire.ANNOUNCE, COVERED, "0"), WRITES_HELD),
    "drop ends a hold": (wire.DROP, "return redis.call('UNLINK', KEYS[1])", scheduled.HELD),
    "drop forgets a covered hold": (wire.DROP, without(wire.DROP, COVERED, "0"), scheduled.HELD),
    "hold shortens a hold": (
        wire.HOLD,
        without(wire.HOLD, "math.max(left, tonumber(ARGV[2]))", "ARGV[2]"),
        [scheduled.reader, scheduled.holder, scheduled.brief_holder],
    ),
    "take without compare": (
        wire.TAKE,
        without(wire.TAKE, "if held and held ~= ARGV[1] then return held end"),
        [scheduled.reader, scheduled.holder],
    ),
    "abort without compare": (
        wire.ABORT,
        without(wire.ABORT, IF_OWN),
        [scheduled.reader, scheduled.holder],
    ),
    "acquire without looking": (
        wire.ACQUIRE,
        without(wire.ACQUIRE, "if held then return held end"),
        scheduled.HELD,
    ),
    "refresh without compare": (
        wire.REFRESH,
        without(wire.REFRESH, "if not held or redis.sha1hex(held) ~= ARGV[1] then return 0 end"),
        [scheduled.refresher, scheduled.reader, scheduled.writer],
    ),
    "purge without a new version": (
        wire.TAG_PURGE,
        without(wire.TAG_PURGE, "ARGV[2] ~= ''", "false"),
        scheduled.TAGGED,
    ),
    "index that makes a version": (
        wire.TAG_INDEX,
        without(
            wire.TAG_INDEX,
            "if not version or tonumber(version) ~= tonumber(ARGV[2]) then return 0 end",
            "if not version then redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1]) end",
        ),
        [scheduled.reader, scheduled.tag_purger, scheduled.tag_evictor, scheduled.indexer],
    ),
    "versions that come again": (
        wire.TAG_OPEN,
        without(wire.TAG_OPEN, "version = ARGV[2]", "version = '4503599627370999'"),
        [scheduled.reader, scheduled.tag_purger, scheduled.tag_evictor, scheduled.tag_opener],
    ),
}


def put(monkeypatch: pytest.MonkeyPatch, script: wire.Script, source: str) -> None:
    bad = wire.Script("broken", source)
    monkeypatch.setattr(script, "source", bad.source)
    monkeypatch.setattr(script, "digest", bad.digest)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", MUTANTS)
def test_each_condition_is_needed(own_url: str, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Without it the harness finds stale values: it looks at what the condition is there for."""
    script, source, kinds = MUTANTS[name]
    put(monkeypatch, script, source)
    is_old = script is wire.ACQUIRE
    # Mostly a second or two: so many are ten times what is needed on average, or more.
    found = scheduled.run(own_url, kinds, least=15_000, seed=SEED, is_old=is_old, until_stale=True)
    assert found.stale


@pytest.fixture(scope="module")
def old_url() -> Iterator[str]:
    """A server that can't say when a key expires, as before Redis 7.0."""
    with redis_server("--rename-command", "PEXPIRETIME", "") as port:
        yield f"redis://127.0.0.1:{port}/0"


@pytest.mark.parametrize("server", ["own_url", "old_url"])
def test_a_value_that_changes_back_during_its_refresh(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: str
) -> None:
    """Its bytes are the same again; only when it expires tells it apart, and both conditions on that are needed."""
    url = request.getfixturevalue(server)
    for is_fresh in (False, True):
        assert scheduled.there_and_back(url, is_fresh=is_fresh, turns=60, seed=SEED) == 0
    with monkeypatch.context() as patch:
        expiry = "if math.abs(now - tonumber(ARGV[2])) > slack then return 0 end"
        put(patch, wire.REFRESH, without(wire.REFRESH, expiry))
        assert scheduled.there_and_back(url, is_fresh=False, turns=60, seed=SEED) > 0
    with monkeypatch.context() as patch:
        least = "if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) - 2 then return false end"
        put(patch, wire.CLAIM, without(wire.CLAIM, least))
        assert scheduled.there_and_back(url, is_fresh=True, turns=300, seed=SEED) > 0


@pytest.mark.parametrize("kinds", [scheduled.PLAIN, scheduled.HELD], ids=["plain", "held"])
def test_no_order_of_steps_leaves_a_stale_value_on_an_old_server(old_url: str, kinds: list[object]) -> None:
    with redis.Redis.from_url(old_url) as raw, pytest.raises(redis.ResponseError):
        raw.execute_command("PEXPIRETIME", "k")
    result = scheduled.run(old_url, kinds, least=800, seed=SEED, is_old=True)  # type: ignore[arg-type]
    assert result.stale == 0 and result.served == 0
    assert result.kept > 50


def test_refreshes_work_on_an_old_server(old_url: str) -> None:
    with redis.Redis.from_url(old_url) as raw, Cache(old_url, default=a_policy(grace_s=30)) as cache:
        raw.flushall()
        cache.get_or_load("k", lambda: "old")
        raw.pexpire("k", 20_000)
        assert cache.get_or_load("k", lambda: "new") == "old"
        deadline = time.monotonic() + 10
        while cache.get("k") == "old" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert cache.get("k") == "new" and raw.pttl("k") > 80_000


def worked(run: Callable[[int], harness.Tally], is_enough: Callable[[harness.Tally], bool]) -> harness.Tally:
    """What runs add up to, with one seed after the other, until it is enough: a busy machine gets little done."""
    total = harness.Tally()
    for number in range(6):
        total += run(SEED + number)
        if is_enough(total):
            return total
    raise AssertionError(f"too little was done: {total}")


def test_threads_and_killed_processes_leave_and_serve_nothing_stale(own_url: str) -> None:
    tally = worked(
        lambda seed: harness.run("cachewarden", own_url, seconds=4, seed=seed),
        lambda total: bool(total.kills) and total.stored > 100 and total.operations > 500,
    )
    assert tally.stale == 0 and tally.served == 0


def test_threads_and_processes_whose_redis_fails_leave_nothing_stale(own_url: str) -> None:
    port = int(own_url.rpartition(":")[2].partition("/")[0])
    with flaky(port, share=0.03, seed=SEED) as proxy:
        through = f"redis://127.0.0.1:{proxy.port}/0"
        tally = worked(
            lambda seed: harness.run("cachewarden", own_url, seconds=4, seed=seed, through=through),
            lambda total: total.stored > 20 and total.operations > 200 and proxy.failures > 20,
        )
    assert tally.stale == 0


@pytest.mark.parametrize("other", ["plain", "dogpile.cache", "Flask-Caching"])
def test_the_same_finds_stale_values_elsewhere(own_url: str, other: str) -> None:
    worked(
        lambda seed: harness.run(other, own_url, seconds=2, kills=False, seed=seed),
        lambda total: total.stale > 0 and total.served > 0,
    )
