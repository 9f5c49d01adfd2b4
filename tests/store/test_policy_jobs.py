"""The worker's side: what is published stays in force, who follows it, and what was counted."""

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.caching.policy import parse_document
from dashboard.caching.wire import COUNTERS_KEY, INSTANCES_KEY, POLICIES_KEY, Instance, Refusal
from dashboard.fleet import policies as fleet
from dashboard.policies import jobs, service, store
from dashboard.policies.jobs import Propagation
from dashboard.policies.types import InstanceState
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import odd_servers
from tests.support.policies import acting, look_after, publish, stage
from tests.support.polled import pass_time, poll
from tests.support.some_caches import add_cache


@pytest.fixture
def cache(runtime: Runtime, valkey_url: str) -> Cache:
    return add_cache(runtime, url=valkey_url)


@pytest.fixture
def server(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


@pytest.fixture
def published(runtime: Runtime, cache: Cache) -> Cache:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    return cache


def publication(runtime: Runtime, cache: Cache) -> Any:
    with acting(runtime) as work:
        return service.policies_page(work, cache.id).publication


def beat(server: redis.Redis, clock: FixedClock, id: str = "web-01:7:ab", **values: Any) -> None:
    """What an application writes every few seconds."""
    now = clock.now().timestamp()
    known = {"host": "web-01", "pid": 7, "program": "shop", "library": "0.2.0", "started_at": now}
    given = {"policy_version": 1, "applied_at": now, **values}
    server.hset(INSTANCES_KEY, id, Instance(id=id, seen_at=now, **known, **given).to_json())


# --- the document -------------------------------------------------------------------------------------------


def test_what_is_as_published_is_left_alone(runtime: Runtime, published: Cache, server: redis.Redis) -> None:
    server.config_resetstat()
    look_after(runtime, published.id)
    found = publication(runtime, published)
    assert (found.kind, found.word, found.found_version) == ("ok", "In force", 1)
    assert found.republished_at is None
    assert "cmdstat_set" not in server.info("commandstats")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda server: server.flushall(), "it was gone"),
        (lambda server: server.delete(POLICIES_KEY), "it was gone"),
        (lambda server: server.set(POLICIES_KEY, b""), "it was gone"),
        (lambda server: server.set(POLICIES_KEY, b"{broken"), "could not be read"),
        (lambda server: server.set(POLICIES_KEY, b"\x00" * 2_000_000), "could not be read"),
        (lambda server: server.set(POLICIES_KEY, b'{"schema": 2, "version": 1}'), "could not be read"),
        (
            lambda server: server.delete(POLICIES_KEY) and server.lpush(POLICIES_KEY, "x"),
            "no document",
        ),
        (
            lambda server: server.set(
                POLICIES_KEY, server.get(POLICIES_KEY).replace(b'"version":1', b'"version":7')
            ),
            "version 7 was there, which was not published here",
        ),
        (
            lambda server: server.set(
                POLICIES_KEY, server.get(POLICIES_KEY).replace(b'"jitter_s":720', b'"jitter_s":7')
            ),
            "version 1 was there with other content",
        ),
    ],
    ids=["flush", "evicted", "empty", "broken", "large", "schema", "list", "newer", "other"],
)
def test_what_was_lost_or_spoilt_is_written_again(
    runtime: Runtime, published: Cache, server: redis.Redis, spoil: Any, reason: str
) -> None:
    good = server.get(POLICIES_KEY)
    spoil(server)
    with server.pubsub() as listener:
        listener.subscribe(POLICIES_KEY)
        assert listener.get_message(timeout=2)
        look_after(runtime, published.id)
        assert (listener.get_message(timeout=2) or {})["data"] == b"1"
    assert server.get(POLICIES_KEY) == good
    found = publication(runtime, published)
    assert found.word == "In force" and reason in found.republish_reason
    assert found.republished_at is not None


def test_an_older_version_is_replaced(runtime: Runtime, published: Cache, server: redis.Redis) -> None:
    old = server.get(POLICIES_KEY)
    stage(runtime, published.id, original="news:", base_ttl_s=7200)
    publish(runtime, published.id)
    server.set(POLICIES_KEY, old)
    look_after(runtime, published.id)
    assert parse_document(server.get(POLICIES_KEY)).version == 2
    assert publication(runtime, published).republish_reason == "version 1 was there"


def test_two_dashboards_do_not_fight_every_few_seconds(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    propagation = Propagation(runtime)
    good = server.get(POLICIES_KEY)
    theirs = good.replace(b'"version":1', b'"version":7')
    rounds = []
    for _ in range(8):
        server.set(POLICIES_KEY, theirs)
        look_after(runtime, published.id, propagation)
        rounds.append(server.get(POLICIES_KEY) == good)
        pass_time(runtime, jobs.DISPUTED_AGAIN_S / 4)
    assert rounds == [True, False, False, False, True, False, False, False]


def test_a_read_only_cache_is_not_written_to(runtime: Runtime, published: Cache, server: redis.Redis) -> None:
    with acting(runtime) as work:
        work.session.execute(text("UPDATE cache SET read_only = true"))
    server.flushall()
    look_after(runtime, published.id)
    assert server.get(POLICIES_KEY) is None
    found = publication(runtime, published)
    assert found.word == "Not in Redis" and "read-only" in found.detail and "gone" in found.detail


def test_whoever_lost_the_lock_writes_nothing(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    server.flushall()
    Propagation(runtime).run(published, lambda: False)
    assert server.dbsize() == 0
    with acting(runtime) as work:
        assert store.find_publication(work.session, published.id) is None


def test_a_version_that_is_published_in_the_midst_of_a_round_is_not_replaced_by_the_one_before(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    class Slow(Propagation):
        """Has read version 1 from PostgreSQL and not yet looked at Redis when version 2 is published."""

        def _look(self, *args: Any) -> None:
            stage(runtime, published.id, original="news:", base_ttl_s=7200)
            publish(runtime, published.id)
            super()._look(*args)

    Slow(runtime).run(published, lambda: True)
    assert parse_document(server.get(POLICIES_KEY)).version == 2
    assert publication(runtime, published).republished_at is None


def test_what_is_written_late_does_not_replace_what_is_newer(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    stage(runtime, published.id, original="news:", base_ttl_s=7200)
    with acting(runtime) as work:
        # Between this commit and the writing of version 2 to Redis, somebody else publishes version 3.
        work.after_commit(lambda: (stage(runtime, published.id, "other:"), publish(runtime, published.id)))
        revision = service.draft_page(work, published.id).draft.revision
        assert service.publish(work, published.id, reason="late", revision=revision).version == 2
    assert parse_document(server.get(POLICIES_KEY)).version == 3
    look_after(runtime, published.id)
    assert publication(runtime, published).republished_at is None


def test_whoever_writes_again_does_not_replace_what_is_published_meanwhile(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    def is_leading() -> bool:
        """Asked right before the writing: between the look at PostgreSQL and that at Redis."""
        if not server.exists(POLICIES_KEY):
            stage(runtime, published.id, original="news:", base_ttl_s=7200)
            publish(runtime, published.id)
        return True

    server.flushall()
    with acting(runtime) as work:
        cache = caches.get_cache(work, published.id)
    Propagation(runtime).run(cache, is_leading)
    assert parse_document(server.get(POLICIES_KEY)).version == 2
    assert publication(runtime, published).republished_at is None


def test_a_new_version_does_not_wait_for_the_end_of_a_dispute(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    propagation = Propagation(runtime)
    theirs = server.get(POLICIES_KEY).replace(b'"version":1', b'"version":7')
    server.set(POLICIES_KEY, theirs)
    look_after(runtime, published.id, propagation)
    server.set(POLICIES_KEY, theirs)
    stage(runtime, published.id, original="news:", base_ttl_s=7200)
    publish(runtime, published.id)
    assert server.get(POLICIES_KEY) == theirs  # it claims to be newer, and nobody has looked whether it is
    look_after(runtime, published.id, propagation)
    assert parse_document(server.get(POLICIES_KEY)).version == 2


@pytest.mark.parametrize("there", [b"{broken", b'{"version": -1}', b"x" * 3_000_000, None])
def test_publishing_goes_over_what_is_no_newer_version(
    runtime: Runtime, published: Cache, server: redis.Redis, there: bytes | None
) -> None:
    if there is None:
        server.delete(POLICIES_KEY)
        server.lpush(POLICIES_KEY, "x")
    else:
        server.set(POLICIES_KEY, there)
    stage(runtime, published.id, original="news:", base_ttl_s=7200)
    publish(runtime, published.id)
    assert parse_document(server.get(POLICIES_KEY)).version == 2


def test_a_server_that_may_not_be_written_to_says_why(
    runtime: Runtime, published: Cache, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    limit = server.config_get("maxmemory")["maxmemory"]
    server.config_set("maxmemory", 1)
    try:
        stage(runtime, published.id, original="news:", base_ttl_s=7200)
        assert publish(runtime, published.id).version == 2
        look_after(runtime, published.id)
        assert "maxmemory" in caplog.text
        found = publication(runtime, published)
        assert found.word == "Not reached" and "maxmemory" in found.detail
    finally:
        server.config_set("maxmemory", limit)


def test_a_cache_that_is_away_says_so_and_is_tried_again(runtime: Runtime, published: Cache) -> None:
    with acting(runtime) as work:
        other = add_cache(runtime, "gone", "redis://127.0.0.1:1/0")
        work.session.execute(
            text("UPDATE cache SET url = (SELECT url FROM cache WHERE id = :other) WHERE id = :id"),
            {"other": other.id, "id": published.id},
        )
    look_after(runtime, published.id)
    found = publication(runtime, published)
    assert (found.kind, found.word) == ("crit", "Not reached")
    assert "127.0.0.1:1" in found.detail and found.what_to_do


def test_a_publishing_that_does_not_reach_redis_stands_and_is_carried_later(
    runtime: Runtime, valkey_url: str, server: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    cache = add_cache(runtime, url="redis://127.0.0.1:1/0")
    stage(runtime, cache.id)
    assert publish(runtime, cache.id).version == 1
    assert "not in Redis yet" in caplog.text
    with acting(runtime) as work:
        work.session.execute(
            text("UPDATE cache SET url = :url, revision = revision + 1"),
            {"url": runtime.cipher.encrypt(valkey_url)},
        )
    look_after(runtime, cache.id)
    assert parse_document(server.get(POLICIES_KEY)).version == 1


def test_rights_that_are_missing_are_not_asked_for_every_few_seconds(
    runtime: Runtime, published: Cache, valkey_url: str, server: redis.Redis
) -> None:
    server.execute_command("ACL", "SETUSER", "looker", "on", ">pw", "~*", "+info", "+client", "+ping")
    try:
        url = valkey_url.partition("@")[2] or valkey_url.partition("//")[2]
        with acting(runtime) as work:
            work.session.execute(
                text("UPDATE cache SET url = :url, revision = revision + 1"),
                {"url": runtime.cipher.encrypt(f"redis://looker:pw@{url}")},
            )
        propagation = Propagation(runtime)
        server.config_resetstat()
        for _ in range(5):
            look_after(runtime, published.id, propagation)
            pass_time(runtime, 3)
        assert server.info("errorstats")["errorstat_NOPERM"] == {"count": 1}
        found = publication(runtime, published)
        assert found.word == "Not reached" and "NOPERM" in found.detail
        pass_time(runtime, jobs.DENIED_AGAIN_S)
        look_after(runtime, published.id, propagation)
        assert server.info("errorstats")["errorstat_NOPERM"] == {"count": 2}
    finally:
        server.execute_command("ACL", "DELUSER", "looker")


def test_a_document_where_nothing_was_published_is_shown_and_left_alone(
    runtime: Runtime, cache: Cache, server: redis.Redis
) -> None:
    server.set(POLICIES_KEY, b'{"version": 3, "tiers": [], "default": {}}')
    look_after(runtime, cache.id)
    assert publication(runtime, cache).word == "Foreign document"
    assert server.get(POLICIES_KEY) == b'{"version": 3, "tiers": [], "default": {}}'


def test_our_own_lookups_are_subtracted_from_the_hit_ratio(
    runtime: Runtime, published: Cache, server: redis.Redis, clock: FixedClock
) -> None:
    poll(runtime, published)
    beat(server, clock)
    server.hset(COUNTERS_KEY, "hits:news:", 5)
    server.config_resetstat()
    look_after(runtime, published.id)
    server.flushall()
    pass_time(runtime, 10)
    look_after(runtime, published.id, Propagation(runtime))
    stats = server.info("stats")
    assert stats["keyspace_hits"] + stats["keyspace_misses"] > 0
    with acting(runtime) as work:
        noted = work.session.execute(text("SELECT self_hits, self_misses FROM poll_state")).one()
    assert tuple(noted) == (stats["keyspace_hits"], stats["keyspace_misses"])


# --- application instances ----------------------------------------------------------------------------------


def test_who_runs_which_version(
    runtime: Runtime, published: Cache, server: redis.Redis, clock: FixedClock
) -> None:
    propagation = Propagation(runtime)

    def everybody_beats() -> None:
        beat(server, clock, "ok")
        beat(server, clock, "late", policy_version=None, applied_at=None)
        refusal = Refusal(1, "schema 2 is not known", clock.now().timestamp())
        beat(server, clock, "no", policy_version=None, applied_at=None, refusal=refusal)

    def rows() -> dict[str, Any]:
        with acting(runtime) as work:
            page = service.instances_page(work, published.id)
            assert page.counts.total == len(page.rows)
            return {row.id: row for row in page.rows}

    beat(server, clock, "gone")
    everybody_beats()
    look_after(runtime, published.id, propagation)
    found = rows()
    assert {id: row.state for id, row in found.items()} == {
        "ok": InstanceState.APPLIED,
        "gone": InstanceState.APPLIED,
        "late": InstanceState.UPDATING,
        "no": InstanceState.REFUSED,
    }
    assert next(iter(found)) == "no"
    assert found["no"].word == "Refused v1" and "schema 2 is not known" in found["no"].why
    assert found["ok"].title == "shop@web-01:7"

    for _ in range(13):
        pass_time(runtime, 5)
        everybody_beats()
        look_after(runtime, published.id, propagation)
    found = rows()
    assert found["late"].state is InstanceState.LAGGING and found["late"].word == "Lagging 1 m 5 s"
    assert found["gone"].state is InstanceState.AWAY and found["gone"].last_seen_s == 65
    with acting(runtime) as work:
        counts = service.policies_page(work, published.id).instances
    assert (counts.applied, counts.lagging, counts.refused, counts.away) == (1, 1, 1, 1)

    # One that signs off, or whose entry is tidied away, is forgotten a minute after its last heartbeat.
    server.hdel(INSTANCES_KEY, "ok", "gone")
    look_after(runtime, published.id, propagation)
    assert set(rows()) == {"ok", "late", "no"}


def test_an_instance_whose_clock_is_wrong_is_not_away(
    runtime: Runtime, published: Cache, server: redis.Redis, clock: FixedClock
) -> None:
    propagation = Propagation(runtime)
    for beat_number in range(20):
        server.hset(
            INSTANCES_KEY,
            "old",
            json.dumps(
                {
                    "id": "old",
                    "host": "h",
                    "pid": 1,
                    "program": "p",
                    "library": "1",
                    "started_at": 0,
                    "seen_at": 1000 + beat_number,
                    "policy_version": 1,
                }
            ),
        )
        look_after(runtime, published.id, propagation)
        pass_time(runtime, 5)
    with acting(runtime) as work:
        (row,) = service.instances_page(work, published.id).rows
    assert row.state is InstanceState.APPLIED


def test_what_applications_write_is_not_believed(
    runtime: Runtime, published: Cache, server: redis.Redis, clock: FixedClock
) -> None:
    base = {"host": "h", "pid": 1, "program": "p", "library": "1", "started_at": 0.0, "seen_at": 1.0}
    odd: dict[bytes, Any] = {
        b"\xff\x00\xe2\x80\xae": base | {"id": "x", "host": "\u202e\x00<b>", "program": "p" * 5000},
        b"big": base | {"id": "x", "pid": 2**80, "policy_version": 2**80, "applied_at": 1e300},
        b"nan": None,
        b"list": [],
        b"none": base | {"id": None},
        b"huge": base | {"id": "x", "library": "x" * 20_000},
        b"refuses": base | {"id": "x", "refusal": {"reason": "\x00" * 900, "at": 1, "version": "v"}},
    }
    for field, value in odd.items():
        server.hset(INSTANCES_KEY, field, json.dumps(value))
    server.hset(INSTANCES_KEY, b"inf", b'{"id":"x","seen_at":Infinity,"started_at":1,"pid":1}')
    server.hset(INSTANCES_KEY, b"raw", b"\xff\xfe")
    look_after(runtime, published.id)
    with acting(runtime) as work:
        rows = {row.id: row for row in service.instances_page(work, published.id).rows}
    assert set(rows) == {"\\xff\\x00\\u202e", "big", "refuses"}
    strange = rows["\\xff\\x00\\u202e"]
    assert strange.host == "\\u202e\\x00<b>" and len(strange.program) <= 60
    assert rows["big"].version is None and rows["big"].applied_at is None
    assert rows["refuses"].state is InstanceState.REFUSED and len(rows["refuses"].why) < 600


def test_a_hash_without_end_is_not_read(
    runtime: Runtime, published: Cache, server: redis.Redis, clock: FixedClock
) -> None:
    propagation = Propagation(runtime)
    beat(server, clock, "ok")
    look_after(runtime, published.id, propagation)
    server.hset(INSTANCES_KEY, mapping={f"i{number}": "x" for number in range(3000)})
    server.hset(COUNTERS_KEY, "hits:a:", "9" * 9_000_000)
    pass_time(runtime, 10)
    look_after(runtime, published.id, propagation)
    with acting(runtime) as work:
        page = service.instances_page(work, published.id)
    assert "3,001 fields" in page.note and [row.id for row in page.rows] == ["ok"]
    assert "cachewarden:counters takes 9," in page.note, "nothing per prefix, and why"
    server.delete(INSTANCES_KEY)
    server.set(INSTANCES_KEY, "not a hash")
    look_after(runtime, published.id, propagation)
    with acting(runtime) as work:
        assert "is no hash" in service.instances_page(work, published.id).note


# --- counters -----------------------------------------------------------------------------------------------


def counted(runtime: Runtime, cache: Cache, table: str = store.MINUTE) -> dict[str, dict[str, int]]:
    """Everything that was counted, by prefix, without zeros."""
    total: dict[str, dict[str, int]] = {}
    with acting(runtime) as work:
        rows = work.session.execute(text(f"SELECT * FROM {table} WHERE cache_id = :id"), {"id": cache.id})
        for row in rows.mappings():
            mine = total.setdefault(row["prefix"], {})
            for name, value in row.items():
                if name not in ("bucket", "cache_id", "prefix") and value:
                    mine[name] = mine.get(name, 0) + value
    return total


def test_growth_is_stored_once_per_minute_and_hour(
    runtime: Runtime, cache: Cache, server: redis.Redis
) -> None:
    propagation = Propagation(runtime)

    def read() -> None:
        pass_time(runtime, 10)
        look_after(runtime, cache.id, propagation)

    server.hset(COUNTERS_KEY, mapping={"hits:news:": 1000, "misses:news:": 10})
    read()
    assert counted(runtime, cache) == {}, "what the first reading finds may be days old"
    server.hincrby(COUNTERS_KEY, "hits:news:", 90)
    server.hincrby(COUNTERS_KEY, "misses:news:", 10)
    server.hset(COUNTERS_KEY, mapping={"hits:": 5, r"loads:\other": 2, r"waits:\xff:": 1})
    read()
    expected = {
        "news:": {"hits": 90, "misses": 10},
        "": {"hits": 5},
        r"\other": {"loads": 2},
        r"\xff:": {"waits": 1},
    }
    assert counted(runtime, cache) == expected
    read()
    # Another process, as after a change of the worker: nothing is counted twice.
    look_after(runtime, cache.id, Propagation(runtime))
    assert counted(runtime, cache) == expected == counted(runtime, cache, store.HOUR)

    # A restart: what is there now was counted since.
    server.delete(COUNTERS_KEY)
    read()
    server.hset(COUNTERS_KEY, "hits:news:", 7)
    read()
    assert counted(runtime, cache)["news:"] == {"hits": 97, "misses": 10}
    pass_time(runtime, 60)
    server.hincrby(COUNTERS_KEY, "hits:news:", 3)
    read()
    assert counted(runtime, cache)["news:"]["hits"] == 100
    with acting(runtime) as work:
        minutes = work.session.scalar(text("SELECT count(*) FROM prefix_minute WHERE prefix = 'news:'"))
        hours = work.session.scalar(text("SELECT count(*) FROM prefix_hour WHERE prefix = 'news:'"))
        page_use = service.policies_page(work, cache.id).covered_ratio
    assert (minutes, hours) == (2, 1)
    assert page_use == pytest.approx(110 / 115)


def test_counters_are_not_believed(runtime: Runtime, cache: Cache, server: redis.Redis) -> None:
    propagation = Propagation(runtime)
    look_after(runtime, cache.id, propagation)
    pass_time(runtime, 10)
    server.hset(
        COUNTERS_KEY,
        mapping={
            b"hits:" + b"x" * 600: 1,
            b"hits:a:": b"12",
            b"hits:b:": b"-5",
            b"hits:c:": b"9" * 30,
            b"hits:d:": b"9999999999999999",
            b"hits:e:": b"ten",
            b"secrets:f:": 1,
            b"\xff\xfe": 1,
            b"nocolon": 1,
            rb"hits:\x": 1,
            rb"hits:\x61:": 3,
        },
    )
    look_after(runtime, cache.id, propagation)
    # The same prefix in another spelling is the same prefix.
    assert counted(runtime, cache) == {"a:": {"hits": 15}}


def test_more_prefixes_than_are_kept_are_counted_together(
    runtime: Runtime, cache: Cache, server: redis.Redis
) -> None:
    propagation = Propagation(runtime)
    look_after(runtime, cache.id, propagation)
    server.hset(COUNTERS_KEY, mapping={f"hits:p{number:05}:": 1 for number in range(2500)})
    pass_time(runtime, 10)
    start = time.monotonic()
    look_after(runtime, cache.id, propagation)
    assert time.monotonic() - start < 5
    found = counted(runtime, cache)
    assert len(found) == 2001 and found[r"\other"] == {"hits": 500}


def test_counters_of_prefixes_without_a_policy_are_removed_when_nobody_counts_them(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    propagation = Propagation(runtime)

    def an_hour_later() -> set[bytes]:
        pass_time(runtime, jobs.ABANDONED_EVERY_S + 1)
        look_after(runtime, published.id, propagation)
        return set(server.hkeys(COUNTERS_KEY))

    kept = {"hits:news:": 5, "hits:": 5, r"hits:\other": 5, "unheard:old:": 5}
    server.hset(COUNTERS_KEY, mapping=kept | {"hits:old:": 7, "loads:old:": 7, "hits:older:": 7})
    look_after(runtime, published.id, propagation)
    # An application that still follows an older version counts on.
    server.hincrby(COUNTERS_KEY, "hits:older:", 1)
    assert an_hour_later() == {name.encode() for name in kept} | {b"hits:older:"}
    # One that comes back begins at zero, and nothing is counted twice.
    server.hincrby(COUNTERS_KEY, "hits:old:", 2)
    assert b"hits:older:" not in an_hour_later()
    assert counted(runtime, published) == {"old:": {"hits": 2}, "older:": {"hits": 1}}


def test_counters_of_a_cache_that_is_read_only_stay(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    with acting(runtime, role=Role.ADMIN) as work:
        work.session.execute(text("UPDATE cache SET read_only = true, revision = revision + 1"))
    server.hset(COUNTERS_KEY, "hits:old:", 7)
    propagation = Propagation(runtime)
    for _ in range(3):
        look_after(runtime, published.id, propagation)
        pass_time(runtime, jobs.ABANDONED_EVERY_S + 1)
    assert server.hexists(COUNTERS_KEY, "hits:old:")


def test_too_many_counters_are_made_fewer_so_that_counting_goes_on(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    propagation = Propagation(runtime)
    server.hset(COUNTERS_KEY, "hits:news:", 5)
    look_after(runtime, published.id, propagation)
    names = [f"hits:p{number}:" for number in range(fleet.MOST_COUNTERS + 1)]
    server.hset(COUNTERS_KEY, mapping=dict.fromkeys(names, 1))
    pass_time(runtime, jobs.ABANDONED_EVERY_S + 1)
    look_after(runtime, published.id, propagation)
    assert server.hkeys(COUNTERS_KEY) == [b"hits:news:"]
    server.hincrby(COUNTERS_KEY, "hits:news:", 2)
    pass_time(runtime, 10)
    look_after(runtime, published.id, propagation)
    assert counted(runtime, published) == {"news:": {"hits": 2}}


def test_counters_that_may_not_be_removed_do_not_hold_up_the_rest(
    runtime: Runtime, published: Cache, server: redis.Redis
) -> None:
    server.config_resetstat()
    server.execute_command("ACL", "SETUSER", "default", "-hdel")
    try:
        propagation = Propagation(runtime)
        server.hset(COUNTERS_KEY, "hits:old:", 7)
        for _ in range(5):
            pass_time(runtime, jobs.ABANDONED_EVERY_S + 1)
            look_after(runtime, published.id, propagation)
        assert publication(runtime, published).kind == "ok"
        server.hincrby(COUNTERS_KEY, "hits:news:", 2)
        pass_time(runtime, 10)
        look_after(runtime, published.id, propagation)
        assert counted(runtime, published) == {"news:": {"hits": 2}}
        assert server.info("errorstats")["errorstat_NOPERM"]["count"] == 1, "asked once a day"
    finally:
        server.execute_command("ACL", "SETUSER", "default", "+@all")


def test_counters_that_are_too_old_leave(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime) as work:
        real_now = work.session.scalar(text("SELECT now()"))
        for days in (0, 20):
            at = real_now - timedelta(days=days)
            store.ensure_partitions(work.session, at)
            store.add_growth(work.session, cache.id, {"a:": {"hits": 1}}, at)
        store.drop_old_counts(work.session, real_now, hour_days=730)
        assert work.session.scalar(text("SELECT count(*) FROM prefix_minute")) == 1
        assert work.session.scalar(text("SELECT count(*) FROM prefix_hour")) == 2


def test_counters_of_a_removed_cache_leave(runtime: Runtime, cache: Cache, valkey_url: str) -> None:
    other = add_cache(runtime, "other", valkey_url)
    with acting(runtime) as work:
        store.ensure_partitions(work.session, work.now)
        for each in (cache, other):
            store.add_growth(work.session, each.id, {"a:": {"hits": 1}}, work.now)
        work.session.execute(text("DELETE FROM cache WHERE id = :id"), {"id": cache.id})
        jobs.apply_retention(work)
        left = work.session.scalars(text("SELECT cache_id FROM prefix_hour")).all()
    assert left == [other.id]


def test_a_cache_without_policies_is_looked_at_less_often_and_what_that_costs_is_noted(
    runtime: Runtime, cache: Cache, server: redis.Redis
) -> None:
    poll(runtime, cache)
    propagation = Propagation(runtime)
    server.config_resetstat()
    for _ in range(5):
        look_after(runtime, cache.id, propagation)
        pass_time(runtime, 3)
    stats = server.info("stats")
    assert (stats["keyspace_hits"], stats["keyspace_misses"]) == (0, 6)
    with acting(runtime) as work:
        assert work.session.scalar(text("SELECT self_misses FROM poll_state")) == 6
    # Published: looked at at once, and often from now on.
    publish(runtime, cache.id)
    server.flushall()
    look_after(runtime, cache.id, propagation)
    assert server.exists(POLICIES_KEY)


def test_a_cluster_is_spoken_to_where_each_key_is(runtime: Runtime, tmp_path: Any) -> None:
    with odd_servers.cluster(tmp_path) as ports:
        url = f"redis+cluster://127.0.0.1:{ports[0]}"
        cache = add_cache(runtime, "cluster", url)
        stage(runtime, cache.id)
        publish(runtime, cache.id)
        with redis.RedisCluster.from_url(f"redis://127.0.0.1:{ports[0]}") as client:
            assert parse_document(client.get(POLICIES_KEY)).version == 1
            client.hset(COUNTERS_KEY, "hits:news:", 4)
            look_after(runtime, cache.id)
            client.flushall(target_nodes="primaries")
            pass_time(runtime, 10)
            look_after(runtime, cache.id)
            assert parse_document(client.get(POLICIES_KEY)).version == 1
        assert publication(runtime, cache).word == "In force"
