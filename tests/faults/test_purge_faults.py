"""Purges when things die: nothing is missed, nothing is counted twice, one audit trail; nothing else is touched."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.db.session import Database
from dashboard.embedded import postgres, valkey
from dashboard.errors import Conflict
from dashboard.invalidation import service
from dashboard.invalidation.types import Limits, Purge, SelectBy, State, When
from dashboard.work import Runtime
from tests.support import servers
from tests.support.people import as_cli
from tests.support.polling import value, wait_until
from tests.support.purge_workers import LEASE_S, Mother, Workers
from tests.support.purges import draft, plan
from tests.support.some_caches import add_cache, form

FILL = """
for number = tonumber(ARGV[2]), tonumber(ARGV[3]) do
  redis.call('SET', ARGV[1] .. number, '{"price": 100}', 'EX', 86400)
end
"""
OTHERS = ("other:", "product", "cachewarden:test:")
"""Prefixes that must not be touched."""


def fill(url: str, prefix: str, keys: int) -> None:
    """Store ``keys`` keys."""
    with redis.Redis.from_url(url) as client:
        for start in range(0, keys, 20_000):
            client.eval(FILL, 0, prefix, start, min(start + 20_000, keys) - 1)


def fill_all(url: str, keys: int) -> None:
    """Store the keys to be purged, and some of every sort that must stay."""
    fill(url, "product:", keys)
    for prefix in OTHERS:
        fill(url, prefix, 500)


def left(url: str) -> dict[str, int]:
    """How many keys there are by prefix."""
    found = dict.fromkeys(("product:", *OTHERS), 0)
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter(count=5_000):
            # The longest that fits: "product" is a prefix of "product:", too.
            found[max((each for each in found if key.startswith(each.encode())), key=len)] += 1
    return found


def get(runtime: Runtime, number: int) -> Purge:
    with as_cli(runtime) as work:
        return service.get_purge(work, number)


def state(runtime: Runtime, number: int) -> State:
    return get(runtime, number).state


def wait_for(runtime: Runtime, number: int, wanted: State, timeout_s: float = 60.0) -> Purge:
    ends_at = time.monotonic() + timeout_s
    while (purge := get(runtime, number)).state is not wanted:
        assert time.monotonic() < ends_at and not purge.state.is_over, purge
        time.sleep(0.1)
    return purge


def ask(runtime: Runtime, verb: str, number: int) -> Purge:
    with as_cli(runtime) as work:
        purge = service.get_purge(work, number)
        done: Purge = getattr(service, verb)(work, number, revision=purge.revision)
        return done


def approve(runtime: Runtime, number: int, **values: Any) -> Purge:
    with as_cli(runtime) as work:
        purge = service.get_purge(work, number)
        assert purge.preview is not None
        return service.approve(
            work,
            number,
            revision=purge.revision,
            reason="a data fix",
            typed=purge.plan.selection.text,
            confirmed_keys=purge.preview.keys,
            plan=replace(purge.plan, **values),
        )


def pace(runtime: Runtime, cache: Cache, keys_per_s: int) -> None:
    """Let purges on the cache run no faster, and mind nothing else: the machine of a test is busy."""
    with as_cli(runtime) as work:
        old = service.limits(work, cache.id)
        service.set_limits(
            work,
            cache.id,
            Limits(
                database_budget_qps=None,
                most_keys_per_s=keys_per_s,
                slowest_probe_ms=1_000.0,
                at_a_time=4,
                revision=old.revision,
            ),
        )


def trail(runtime: Runtime, number: int) -> list[str]:
    """The verbs of the purge's audit entries, in order."""
    with runtime.database.transaction() as session:
        found = session.scalars(
            text("SELECT action FROM audit_entry WHERE subject = :subject ORDER BY id"),
            {"subject": f"purge {number}"},
        )
        return [action.rpartition(":")[2] for action in found]


def holder(runtime: Runtime) -> int | None:
    """Process id of the worker that holds a job for sure."""
    with runtime.database.transaction() as session:
        name = session.scalar(
            text("SELECT holder FROM job WHERE lease_until > clock_timestamp() ORDER BY id LIMIT 1")
        )
    return int(name.rpartition(":")[2]) if name else None


def assert_whole(runtime: Runtime, url: str, number: int, keys: int, *, timeout_s: float = 60.0) -> None:
    """It is done: every key counted once and gone, all others there, nothing left over.

    Keys may have been found twice, and gone the second time: SCAN repeats some while the server's table shrinks, and a
    restarted server is gone over again.
    """
    purge = wait_for(runtime, number, State.DONE, timeout_s)
    assert left(url) == {"product:": 0} | dict.fromkeys(OTHERS, 500)
    assert (purge.progress.touched, purge.problem) == (keys, "")
    assert purge.started_at is not None and purge.ended_at is not None
    assert_clean(runtime)


def assert_clean(runtime: Runtime) -> None:
    """Nothing is left of work that is over."""
    for table in ("job", "purge_segment", "purge_input"):
        assert value(runtime.database, f"SELECT count(*) FROM {table}") == 0, table


WHOLE = ["create", "preview", "approve", "start", "finish"]


@pytest.fixture
def cache(live_runtime: Runtime, valkey_url: str) -> Cache:
    cache = add_cache(live_runtime, url=valkey_url)
    pace(live_runtime, cache, 100_000)
    return cache


# --- killed at each step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at", ["previewed", "running", "journal 1", "journal 2", "journal 3", "done"])
def test_killed_on_its_way(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, at: str, moment: str
) -> None:
    keys = 12_000
    fill_all(valkey_url, keys)
    # As slowly that there are three commits of the journal.
    pace(live_runtime, cache, 4_000)
    number = draft(live_runtime, cache.id).number
    dying = crew.start(dies=f"{at}:{moment}")
    if at == "previewed":
        wait_until(lambda: not crew.is_alive(dying), "it dies")
        assert state(live_runtime, number) is (State.DRAFT if moment == "before" else State.PREVIEWED)
        crew.start()
    counted = wait_for(live_runtime, number, State.PREVIEWED)
    assert counted.preview is not None and (counted.preview.keys, counted.preview.keys_error) == (keys, 0)
    approve(live_runtime, number)
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    if at == "done":
        assert state(live_runtime, number) is (State.RUNNING if moment == "before" else State.DONE)
    crew.start()
    assert_whole(live_runtime, valkey_url, number, keys)
    assert trail(live_runtime, number) == WHOLE


def begun_by_one_that_dies(
    runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, keys: int, dies: str
) -> tuple[int, int]:
    """A slow purge under way, and its worker, which kills itself at ``dies``: (number, worker)."""
    fill_all(valkey_url, keys)
    pace(runtime, cache, 2_000)
    number = draft(runtime, cache.id).number
    dying = crew.start(dies=dies)
    wait_for(runtime, number, State.PREVIEWED)
    approve(runtime, number)
    wait_until(lambda: get(runtime, number).progress.touched > 0, "it has begun")
    return number, dying


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_when_it_pauses(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    keys = 8_000
    number, dying = begun_by_one_that_dies(live_runtime, valkey_url, cache, crew, keys, f"paused:{moment}")
    assert ask(live_runtime, "pause", number).wish == "pause"
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    crew.start()
    paused = wait_for(live_runtime, number, State.PAUSED)
    assert paused.wish == ""
    assert paused.progress.touched == keys - left(valkey_url)["product:"]
    ask(live_runtime, "resume", number)
    assert_whole(live_runtime, valkey_url, number, keys)
    assert trail(live_runtime, number) == [
        *WHOLE[:4], "ask-pause", "pause", "resume", "start", "finish",
    ]  # fmt: skip


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_when_it_is_cancelled(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    keys = 8_000
    number, dying = begun_by_one_that_dies(live_runtime, valkey_url, cache, crew, keys, f"cancelled:{moment}")
    ask(live_runtime, "cancel", number)
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    crew.start()
    over = wait_for(live_runtime, number, State.CANCELLED)
    assert 0 < over.progress.touched == keys - left(valkey_url)["product:"] < keys
    assert trail(live_runtime, number) == [*WHOLE[:4], "ask-cancel", "cancel"]
    assert_clean(live_runtime)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_when_it_fails(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    fill_all(valkey_url, 100)
    with redis.Redis.from_url(valkey_url) as client:
        client.acl_setuser("purger", enabled=True, passwords=["+secret"], keys=["*"], commands=["+@all"])
    limited = add_cache(
        live_runtime,
        "limited",
        valkey_url.replace("redis://:", "redis://purger:").replace(_password(valkey_url), "secret"),
    )
    number = draft(live_runtime, limited.id).number
    dying = crew.start(dies=f"failed:{moment}")
    wait_for(live_runtime, number, State.PREVIEWED)
    with redis.Redis.from_url(valkey_url) as client:
        client.acl_setuser("purger", enabled=True, commands=["-unlink", "-del"])
    approve(live_runtime, number)
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    crew.start()
    failed = wait_for(live_runtime, number, State.FAILED)
    assert "unlink" in failed.problem.lower()
    assert left(valkey_url)["product:"] == 100
    # Keys that were begun when the worker died may have been touched, for all that is known.
    assert failed.progress.touched == 0 or "under way" in failed.problem
    assert trail(live_runtime, number) == [*WHOLE[:4], "fail"]
    assert_clean(live_runtime)
    with redis.Redis.from_url(valkey_url) as client:
        client.acl_deluser("purger")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_when_it_would_go_beyond_its_approval(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    fill_all(valkey_url, 12_000)
    number = draft(live_runtime, cache.id).number
    dying = crew.start(dies=f"paused:{moment}")
    wait_for(live_runtime, number, State.PREVIEWED)
    keys = 40_000
    fill(valkey_url, "product:", keys)
    approve(live_runtime, number)
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    crew.start()
    held = wait_for(live_runtime, number, State.PAUSED)
    assert held.needs_count and "approved" in held.problem
    # Some segments were within it.
    assert 0 < held.progress.touched == keys - left(valkey_url)["product:"] <= held.cap
    ask(live_runtime, "recount", number)
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    assert_whole(live_runtime, valkey_url, number, keys)
    assert trail(live_runtime, number) == [
        *WHOLE[:4], "hold", "recount", "preview", "approve", "start", "finish",
    ]  # fmt: skip


def _password(url: str) -> str:
    return url.partition("//:")[2].partition("@")[0]


# --- killed at random ---------------------------------------------------------------------------------------


def kill_at_random(
    runtime: Runtime, url: str, cache: Cache, crew: Workers, *, keys: int, kills: int, seed: int
) -> None:
    """Purge ``keys`` keys with workers that are killed, of which two run at any time."""
    chance = random.Random(seed)

    def start() -> None:
        # Some die while they work, at any moment of it; the others soon after they took over.
        crew.start(dies=f"working:{chance.uniform(0, 0.4)}" if chance.random() < 0.7 else "", lease_s=0.8)

    # So slowly that it can't be done before all are dead: nobody works for half a second.
    pace(runtime, cache, max(1_000, keys // kills))
    number = draft(runtime, cache.id).number
    first = crew.start()
    wait_for(runtime, number, State.PREVIEWED)
    crew.signal(first, signal.SIGTERM)
    start()
    start()
    approve(runtime, number)
    killed = 0
    ends_at = time.monotonic() + 20 * kills
    while killed < kills:
        assert time.monotonic() < ends_at, "it does not get on"
        pid = holder(runtime)
        if pid is None:
            time.sleep(0.01)
            continue
        lives_until = time.monotonic() + chance.uniform(0, 1.0)
        while crew.is_alive(pid) and holder(runtime) == pid and time.monotonic() < lives_until:
            time.sleep(0.01)
        crew.signal(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: not crew.is_alive(pid), "it dies")
        killed += 1
        # Its lease is still to end.
        wait_until(lambda pid=pid: holder(runtime) != pid, "it is not the holder any more")
        start()
    pace(runtime, cache, 1_000_000)
    crew.close()
    crew.start()
    assert_whole(runtime, url, number, keys, timeout_s=300)
    assert trail(runtime, number) == WHOLE


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_killed_at_random(
    live_runtime: Runtime, fresh_database_url: str, mother: Mother, server_folder: Path
) -> None:
    """Fifty kills over a million keys."""
    keys, kills = 1_000_000, 50
    seed = random.randrange(2**31)
    crew = Workers(mother, live_runtime, fresh_database_url)
    with valkey.start(server_folder) as server:
        fill_all(server.url, keys)
        cache = add_cache(live_runtime, url=server.url)
        try:
            kill_at_random(live_runtime, server.url, cache, crew, keys=keys, kills=kills, seed=seed)
        except AssertionError as error:
            error.add_note(f"seed {seed}")
            raise
        finally:
            crew.close()


# --- lists and reports --------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_list_survives_its_worker_and_the_report_names_each_key_once(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    keys = 12_000
    fill_all(valkey_url, keys)
    # As slowly that there are three commits of the journal.
    pace(live_runtime, cache, 4_000)
    # Every other one is not in the cache, and each is named twice.
    ids = [b"%d" % number for number in range(2 * keys)]
    wanted = plan("product:{id}", SelectBy.IDS, wants_report=True)
    number = draft(live_runtime, cache.id, wanted, tuple(ids + ids)).number
    dying = crew.start(dies=f"journal 3:{moment}")
    counted = wait_for(live_runtime, number, State.PREVIEWED)
    assert counted.preview is not None and counted.preview.named is not None
    approve(live_runtime, number)
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    crew.start()
    done = wait_for(live_runtime, number, State.DONE)
    assert left(valkey_url) == {"product:": 0} | dict.fromkeys(OTHERS, 500)
    assert done.progress.touched == keys
    assert trail(live_runtime, number) == WHOLE
    actor = Actor(None, "vera", Role.VIEWER, "web")
    reported = b"".join(service.report_chunks(live_runtime, actor, number)).split()
    assert sorted(reported) == sorted(b"product:%d" % each for each in range(keys))


# --- servers that go away -----------------------------------------------------------------------------------


@pytest.mark.parametrize("away_s", [0.0, 3.0], ids=["shortly", "for longer than a lease"])
def test_postgresql_restarts_in_the_middle(
    live_runtime: Runtime, valkey_url: str, mother: Mother, server_folder: Path, away_s: float
) -> None:
    keys, port = 12_000, servers.free_port()
    fill_all(valkey_url, keys)
    with ExitStack() as stack:
        first = postgres.start(server_folder, port=port, config=servers.FAST_POSTGRES)
        stack.callback(first.stop)
        database = Database(first.url)
        stack.callback(database.dispose)
        migrations.upgrade(database)
        runtime = replace(live_runtime, database=database)
        crew = Workers(mother, runtime, first.url)
        stack.callback(crew.close)
        cache = add_cache(runtime, url=valkey_url)
        pace(runtime, cache, 1_500)
        number = draft(runtime, cache.id).number
        alive = [crew.start(), crew.start()]
        wait_for(runtime, number, State.PREVIEWED)
        approve(runtime, number)
        wait_until(lambda: get(runtime, number).progress.touched > 0, "it has begun")
        first.stop()
        time.sleep(away_s)
        if away_s > LEASE_S:
            # Nobody can know whose it is: nobody works on it.
            remaining = left(valkey_url)["product:"]
            assert remaining > 0
            time.sleep(1)
            assert left(valkey_url)["product:"] == remaining
        second = postgres.start(server_folder, port=port, config=servers.FAST_POSTGRES)
        stack.callback(second.stop)
        assert_whole(runtime, valkey_url, number, keys)
        assert trail(runtime, number) == WHOLE
        assert all(crew.is_alive(pid) for pid in alive)


def test_redis_restarts_in_the_middle(live_runtime: Runtime, crew: Workers, server_folder: Path) -> None:
    keys, port = 12_000, servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"
    arguments = ("--appendonly", "yes")
    with servers.redis_server(*arguments, port=port, folder=server_folder):
        fill_all(url, keys)
        cache = add_cache(live_runtime, url=url)
        pace(live_runtime, cache, 3_000)
        number = draft(live_runtime, cache.id).number
        crew.start()
        wait_for(live_runtime, number, State.PREVIEWED)
        approve(live_runtime, number)
        wait_until(lambda: get(live_runtime, number).progress.touched > 0, "it has begun")
        before = get(live_runtime, number).progress.nodes[0].run_id
    # Here it was killed.
    wait_until(lambda: get(live_runtime, number).progress.waits_for, "it says what it waits for")
    assert state(live_runtime, number) is State.RUNNING
    with servers.redis_server(*arguments, port=port, folder=server_folder):
        assert_whole(live_runtime, url, number, keys)
        after = get(live_runtime, number).progress
    assert after.nodes[0].run_id not in ("", before) and after.waits_for == ""
    # The cursor of the server that is gone was not used: it was gone over from its beginning.
    assert after.scanned > keys + 500 * len(OTHERS)
    assert trail(live_runtime, number) == WHOLE


# --- workers that hang, end, and work side by side ----------------------------------------------------------


def test_a_worker_that_hung_and_wakes_up_is_not_in_the_way(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers
) -> None:
    keys = 10_000
    fill_all(valkey_url, keys)
    pace(live_runtime, cache, 2_500)
    number = draft(live_runtime, cache.id).number
    hanging = crew.start()
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    wait_until(lambda: get(live_runtime, number).progress.touched > 0, "it has begun")
    crew.signal(hanging, signal.SIGSTOP)
    crew.start()
    wait_until(lambda: holder(live_runtime) not in (None, hanging), "another takes over")
    crew.signal(hanging, signal.SIGCONT)
    assert_whole(live_runtime, valkey_url, number, keys)
    assert trail(live_runtime, number) == WHOLE
    assert crew.is_alive(hanging)
    # And it is of use again.
    again = draft(live_runtime, cache.id).number
    wait_for(live_runtime, again, State.PREVIEWED)


def test_a_worker_that_ends_hands_over_at_once(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers
) -> None:
    keys = 8_000
    fill_all(valkey_url, keys)
    pace(live_runtime, cache, 2_000)
    number = draft(live_runtime, cache.id).number
    # Its lease would last for longer than this test waits.
    ending = crew.start(lease_s=300.0)
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    wait_until(lambda: get(live_runtime, number).progress.touched > 0, "it has begun")
    crew.signal(ending, signal.SIGTERM)
    wait_until(lambda: not crew.is_alive(ending), "it ends")
    assert state(live_runtime, number) is State.RUNNING
    crew.start()
    assert_whole(live_runtime, valkey_url, number, keys)
    assert trail(live_runtime, number) == WHOLE


def test_two_workers_share_what_there_is_to_do(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers
) -> None:
    prefixes = [f"part{number}:" for number in range(6)]
    for prefix in prefixes:
        fill(valkey_url, prefix, 2_000)
    with as_cli(live_runtime) as work:
        old = service.limits(work, cache.id)
        service.set_limits(work, cache.id, replace(old, at_a_time=2, most_keys_per_s=4_000))
    numbers = [draft(live_runtime, cache.id, plan(prefix)).number for prefix in prefixes]
    crew.start()
    crew.start()
    for number in numbers:
        wait_for(live_runtime, number, State.PREVIEWED)
        with as_cli(live_runtime) as work:
            purge = service.get_purge(work, number)
            service.approve(
                work,
                number,
                revision=purge.revision,
                confirmed_keys=2_000,
                reason="x",
                typed=purge.plan.selection.text,
            )
    most = 0

    def all_done() -> bool:
        nonlocal most
        with as_cli(live_runtime) as work:
            active = [purge.state for purge in service.active_purges(work)]
        most = max(most, active.count(State.RUNNING))
        return not active

    wait_until(all_done, "all are done", 120)
    assert most <= 2
    for number in numbers:
        purge = get(live_runtime, number)
        assert (purge.state, purge.progress.touched) == (State.DONE, 2_000)
        assert trail(live_runtime, number) == WHOLE
    with redis.Redis.from_url(valkey_url) as client:
        assert client.dbsize() == 0
    assert_clean(live_runtime)


# --- the ground is taken away -------------------------------------------------------------------------------


def test_a_cache_that_becomes_read_only_is_left_alone(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers
) -> None:
    fill_all(valkey_url, 8_000)
    pace(live_runtime, cache, 1_000)
    number = draft(live_runtime, cache.id).number
    crew.start()
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    wait_until(lambda: get(live_runtime, number).progress.touched > 0, "it has begun")
    with as_cli(live_runtime) as work:
        changed = form(url=valkey_url, read_only=True, revision=cache.revision)
        caches.update_cache(work, cache.id, changed)
    failed = wait_for(live_runtime, number, State.FAILED)
    assert "read-only" in failed.problem
    assert 0 < failed.progress.touched == 8_000 - left(valkey_url)["product:"] < 8_000
    assert_clean(live_runtime)


def test_a_cache_that_is_removed_is_left_alone(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers
) -> None:
    fill_all(valkey_url, 20_000)
    pace(live_runtime, cache, 1_000)
    number = draft(live_runtime, cache.id).number
    worker = crew.start()
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    wait_until(lambda: get(live_runtime, number).progress.touched > 0, "it has begun")
    with as_cli(live_runtime) as work:
        caches.delete_cache(work, cache.id)

    def is_still() -> bool:
        before = left(valkey_url)["product:"]
        time.sleep(1)
        return left(valkey_url)["product:"] == before

    wait_until(is_still, "nothing is removed any more")
    assert left(valkey_url)["product:"] > 0
    assert crew.is_alive(worker)
    assert_clean(live_runtime)


def test_its_time_is_waited_for(live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers) -> None:
    fill_all(valkey_url, 100)
    number = draft(live_runtime, cache.id).number
    crew.start()
    wait_for(live_runtime, number, State.PREVIEWED)
    at = live_runtime.clock.now() + timedelta(seconds=3)
    approve(live_runtime, number, when=When.AT, at=at)
    assert_whole(live_runtime, valkey_url, number, 100)
    started_at = get(live_runtime, number).started_at
    assert started_at is not None and started_at >= at


# --- many people --------------------------------------------------------------------------------------------


def test_many_people_pause_and_resume_at_once(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers
) -> None:
    keys = 9_000
    fill_all(valkey_url, keys)
    pace(live_runtime, cache, 3_000)
    number = draft(live_runtime, cache.id).number
    crew.start()
    crew.start()
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    ends_at = time.monotonic() + 8
    seed = random.randrange(2**31)

    def meddle(person: int) -> int:
        chance, done = random.Random(seed + person), 0
        while time.monotonic() < ends_at and not state(live_runtime, number).is_over:
            with suppress(Conflict):
                ask(live_runtime, chance.choice(("pause", "resume", "resume")), number)
                done += 1
            time.sleep(chance.uniform(0, 0.3))
        return done

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(meddle, range(3))) > 0
    while not state(live_runtime, number).is_over:
        with suppress(Conflict):
            ask(live_runtime, "resume", number)
        time.sleep(0.2)
    assert_whole(live_runtime, valkey_url, number, keys)
    with live_runtime.database.transaction() as session:
        entries = session.execute(
            text(
                "SELECT before->>'state' AS before, after->>'state' AS after FROM audit_entry"
                " WHERE subject = :subject AND action LIKE 'invalidation:purge:%' ORDER BY id"
            ),
            {"subject": f"purge {number}"},
        ).all()
    # Each begins where the one before it ended: nothing happened twice, and nothing in between.
    assert [entry.before for entry in entries[1:]] == [entry.after for entry in entries[:-1]], f"seed {seed}"
