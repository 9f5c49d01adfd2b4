"""Purges when things die: nothing is missed, nothing is counted twice, one audit trail; nothing else is touched."""

import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import text

from dashboard import migrations
from dashboard.caches.types import Cache
from dashboard.db.session import Database
from dashboard.embedded import postgres, valkey
from dashboard.invalidation import service
from dashboard.invalidation.types import Limits, Plan, Purge, SelectBy, State, When
from dashboard.work import Runtime
from tests.support import servers
from tests.support.people import as_cli
from tests.support.polling import value, wait_until
from tests.support.purge_workers import Mother, Workers
from tests.support.purges import AT_ONCE, draft, plan
from tests.support.some_caches import add_cache

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


def fill_all(url: str, keys: int, others: int = 500) -> None:
    """Store the keys to be purged, and some of every sort that must stay."""
    fill(url, "product:", keys)
    for prefix in OTHERS:
        fill(url, prefix, others)


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
    wait_until(lambda: state(runtime, number) is wanted, f"purge {number} is {wanted}", timeout_s)
    return get(runtime, number)


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
            typed="product:",
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


def assert_whole(runtime: Runtime, url: str, number: int, keys: int, *, others: int = 500) -> None:
    """It is done: every key counted once and gone, all others there, one audit trail, nothing left over."""
    purge = wait_for(runtime, number, State.DONE)
    assert left(url) == {"product:": 0} | dict.fromkeys(OTHERS, others)
    assert (purge.progress.touched, purge.progress.skipped, purge.problem) == (keys, 0, "")
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


@pytest.fixture(scope="module")
def mother() -> Iterator[Mother]:
    made = Mother()
    yield made
    made.close()


@pytest.fixture
def crew(mother: Mother, live_runtime: Runtime, fresh_database_url: str) -> Iterator[Workers]:
    made = Workers(mother, live_runtime, fresh_database_url)
    yield made
    made.close()


# --- killed at each step ------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("at", ["previewed", "running", "journal 1", "journal 2", "journal 3", "done"])
def test_killed_on_its_way(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, at: str, moment: str
) -> None:
    keys = 12_000
    fill_all(valkey_url, keys)
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


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_when_it_pauses(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    keys = 8_000
    fill_all(valkey_url, keys)
    pace(live_runtime, cache, 2_000)
    number = draft(live_runtime, cache.id).number
    dying = crew.start(dies=f"paused:{moment}")
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    wait_until(lambda: get(live_runtime, number).progress.touched > 0, "it has begun")
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
    fill_all(valkey_url, keys)
    pace(live_runtime, cache, 2_000)
    number = draft(live_runtime, cache.id).number
    dying = crew.start(dies=f"cancelled:{moment}")
    wait_for(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    wait_until(lambda: get(live_runtime, number).progress.touched > 0, "it has begun")
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
    assert left(valkey_url)["product:"] == 100 and failed.progress.touched == 0
    assert trail(live_runtime, number) == [*WHOLE[:4], "fail"]
    assert_clean(live_runtime)
    with redis.Redis.from_url(valkey_url) as client:
        client.acl_deluser("purger")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_when_it_would_go_beyond_its_approval(
    live_runtime: Runtime, valkey_url: str, cache: Cache, crew: Workers, moment: str
) -> None:
    fill_all(valkey_url, 1_000)
    number = draft(live_runtime, cache.id).number
    dying = crew.start(dies=f"paused:{moment}")
    wait_for(live_runtime, number, State.PREVIEWED)
    keys = 20_000
    fill(valkey_url, "product:", keys)
    approve(live_runtime, number)
    wait_until(lambda: not crew.is_alive(dying), "it dies")
    crew.start()
    held = wait_for(live_runtime, number, State.PAUSED)
    assert held.needs_count and "approved" in held.problem
    assert held.progress.touched == keys - left(valkey_url)["product:"] <= held.cap
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
    assert_whole(runtime, url, number, keys)
    assert trail(runtime, number) == WHOLE


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_killed_at_random(
    live_runtime: Runtime, fresh_database_url: str, mother: Mother, server_folder: Path
) -> None:
    """With CACHEWARDEN_FULL=1 fifty kills over a million keys."""
    keys, kills = (1_000_000, 50) if os.environ.get("CACHEWARDEN_FULL") == "1" else (200_000, 15)
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
