"""docs/permissions.md is true: its line, applied as printed, is enough for everything and allows nothing else."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from dashboard.access import Role
from dashboard.caches.types import Cache
from dashboard.caching import tags
from dashboard.caching.wire import COUNTERS_KEY, INSTANCES_KEY, Kind, placeholder
from dashboard.embedded import valkey
from dashboard.fleet import commands, policies
from dashboard.fleet.check import check_connection
from dashboard.fleet.commands import Missing
from dashboard.fleet.editing import digest
from dashboard.fleet.errors import FleetDenied
from dashboard.fleet.permissions import (
    BROWSING,
    BROWSING_NEWER,
    EDITS,
    EDITS_NEWER,
    POLICIES,
    PURGES,
    READ_ONLY,
    SCANS,
)
from dashboard.fleet.registry import Connection, Fleet
from dashboard.fleet.url import CacheUrl, parse_url
from dashboard.invalidation.signals import Failed
from dashboard.invalidation.types import Action, Filters, Plan, SelectBy, Selection, When
from dashboard.keys import service as keys
from dashboard.keys.types import Edit, Verb
from dashboard.work import Runtime
from tests.support import odd_servers, purging, servers, walking
from tests.support.browsing import EVERY_TYPE, at_work, cache_at, one_of_each

DOC = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"
PASSWORD = "correct-horse"
POLICIES_LINE = 2
PURGES_LINE = 3
BROWSING_LINE = 4
BROWSING_NEWER_LINE = 5
EDITS_LINE = 6
EDITS_NEWER_LINE = 7
SCANS_LINE = 8


def documented(number: int) -> list[str]:
    """The words of the document's ``number``-th ACL line, with a real password."""
    lines: list[str] = re.findall(r"^\s*(ACL SETUSER .*)$", DOC.read_text(), re.MULTILINE)
    assert len(lines) == 9
    return lines[number].replace("PASSWORD", PASSWORD).split()


@pytest.fixture(scope="module", params=["valkey", "redis7"])
def admin_url(request: pytest.FixtureRequest) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "valkey":
            yield stack.enter_context(valkey.start()).url
        else:
            port = stack.enter_context(servers.redis_server())
            yield f"redis://127.0.0.1:{port}/0"


def test_the_documented_line_is_enough_and_no_more(admin_url: str) -> None:
    where = parse_url(admin_url)
    with redis.Redis.from_url(admin_url) as admin:
        admin.flushall()
        admin.execute_command(*documented(0))
        admin.set("news:1", "text")
        admin.config_resetstat()

        url = CacheUrl(where.kind, where.nodes, username="cachewarden", password=PASSWORD, db=5)
        fleet = Fleet()
        (node,) = fleet.open(1, url).nodes()
        reply = commands.poll(node)
        assert not isinstance(reply.clients, Missing) and not isinstance(reply.slowlog, Missing)
        assert "cachewarden" in {client.name for client in reply.clients}
        assert not isinstance(reply.settings, Missing) and "save" in reply.settings
        fleet.close()
        report = check_connection(url)
        assert report.ok and report.problem == ""
        # Nothing we send is refused, so that our own polls raise nobody's alarm.
        assert "errorstat_NOPERM" not in admin.info("errorstats")
        stats = admin.info("stats")
        assert stats["keyspace_hits"] == stats["keyspace_misses"] == 0

    with redis.Redis(
        port=where.nodes[0].port, username="cachewarden", password=PASSWORD, driver_info=None, protocol=2
    ) as limited:
        assert limited.memory_usage("news:1") > 0
        assert limited.scan()[1] == [b"news:1"]
        for command in (
            "GET news:1",
            "SET news:1 x",
            "DEL news:1",
            "KEYS *",
            "DUMP news:1",
            "FLUSHALL",
            "CONFIG SET maxmemory 1",
            "CONFIG RESETSTAT",
            "SLOWLOG RESET",
            "CLIENT KILL ID 1",
            "MONITOR",
            "ACL LIST",
            "SHUTDOWN",
            "SUBSCRIBE x",
            "EVAL return(1) 0",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                limited.execute_command(*command.split())


def test_the_documented_sentinel_line_is_enough(tmp_path: Path) -> None:
    with odd_servers.sentinel_group(tmp_path, password="shop", sentinel_password="admin") as (
        primary,
        _,
        port,
    ):
        with redis.Redis(port=port, password="admin") as admin:
            admin.execute_command(*documented(1))
        login = f"sentinel_username=cachewarden&sentinel_password={PASSWORD}"
        url = parse_url(f"redis+sentinel://:shop@127.0.0.1:{port}/shop?{login}")
        fleet = Fleet()
        assert [node.id for node in fleet.open(1, url).nodes()] == [f"127.0.0.1:{primary}"]
        fleet.close()


def test_the_table_lists_every_right() -> None:
    rules = [word for word in documented(0) if word.startswith("+")]
    assert rules == [permission.rule for permission in READ_ONLY]
    rows = re.findall(r"^\| `(\+[^`]+)` \| ([A-Z -]+) \|", DOC.read_text(), re.MULTILINE)
    assert [(rule.replace("\\|", "|"), command) for rule, command in rows] == [
        (permission.rule, permission.command)
        for permission in (
            *READ_ONLY,
            *POLICIES,
            *PURGES,
            *BROWSING,
            *BROWSING_NEWER,
            *EDITS,
            *EDITS_NEWER,
            *SCANS,
        )
    ]
    rules = [word.rstrip(")") for word in documented(POLICIES_LINE) if word.startswith("+")]
    assert sorted(rules) == sorted(permission.rule for permission in POLICIES)
    for number, group in (
        (PURGES_LINE, PURGES),
        (BROWSING_LINE, BROWSING),
        (BROWSING_NEWER_LINE, BROWSING_NEWER),
        (EDITS_LINE, EDITS),
        (EDITS_NEWER_LINE, EDITS_NEWER),
        (SCANS_LINE, SCANS),
    ):
        assert documented(number)[3:] == [permission.rule for permission in group]


@pytest.mark.parametrize("missing", ["eval", "set"])
def test_a_right_that_is_missing_for_publishing_is_told(admin_url: str, missing: str) -> None:
    """Also when it is missed within the script."""
    where = parse_url(admin_url)
    with redis.Redis.from_url(admin_url) as admin:
        rights = [f"+{name}" for name in ("getrange", "eval", "set") if name != missing]
        admin.execute_command("ACL", "SETUSER", "half", "reset", "on", f">{PASSWORD}", "~*", *rights)
        fleet = Fleet()
        connection = fleet.open(1, CacheUrl(where.kind, where.nodes, username="half", password=PASSWORD))
        with pytest.raises(FleetDenied) as raised:
            policies.publish(connection, b"{}", 1)
        assert "docs/permissions.md" in raised.value.what_to_do
        fleet.close()


def test_the_line_for_policies_is_enough_and_reaches_no_other_key(admin_url: str) -> None:
    where = parse_url(admin_url)
    with redis.Redis.from_url(admin_url) as admin:
        admin.flushall()
        admin.execute_command(*documented(0))
        admin.execute_command(*documented(POLICIES_LINE))
        admin.set("news:1", "text")
        admin.hset(INSTANCES_KEY, "one", "{}")
        admin.hset(COUNTERS_KEY, "hits:", 1)
        admin.config_resetstat()
        fleet = Fleet()
        connection = fleet.open(
            1, CacheUrl(where.kind, where.nodes, username="cachewarden", password=PASSWORD)
        )
        policies.publish(connection, b"{}", 1)
        assert policies.read_document(connection).content == b"{}"
        assert policies.read_instances(connection).fields == {b"one": b"{}"}
        assert policies.read_counters(connection).fields == {b"hits:": b"1"}
        assert policies.list_counters(connection).fields == {b"hits:": b"1"}
        policies.drop_counters(connection, [b"hits:"])
        fleet.close()
        assert "errorstat_NOPERM" not in admin.info("errorstats")
    with redis.Redis(
        port=where.nodes[0].port, username="cachewarden", password=PASSWORD, driver_info=None, protocol=2
    ) as limited:
        for command in (
            "GETRANGE news:1 0 1",
            "SET news:1 x",
            "HGETALL news:1",
            "HDEL news:1 x",
            "DEL cachewarden:policies",
            "PUBLISH news x",
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                limited.execute_command(*command.split())


def filled(admin: redis.Redis) -> None:
    """A server with keys of every kind that a purge treats apart, one of them in a tag."""
    admin.flushall()
    admin.set("news:1", "text", ex=100)
    admin.set("news:2", "text")
    admin.set("news:3", placeholder(Kind.LOAD), ex=100)
    admin.zadd(tags.tag_key("sale"), {b"news:1": 2**50, tags.VERSION: 7})
    admin.hset(COUNTERS_KEY, "loads:news:", 1)


def everything() -> Iterator[tuple[Plan, list[bytes] | None]]:
    """Each way to select with each action, and all filters."""
    filters = Filters(type="string", ttl_max_s=10**6, idle_min_s=0, size_min_bytes=0)
    ways: list[tuple[Selection, list[bytes] | None]] = [
        (Selection(SelectBy.PREFIX, "news:"), None),
        (Selection(SelectBy.PREFIX, "news:", filters=filters), None),
        (Selection(SelectBy.KEYS, count=2), [b"news:1", b"news:3"]),
        (Selection(SelectBy.TAG, "sale"), None),
    ]
    for selection, items in ways:
        for action in Action:
            window_s = 5 if action is Action.SPREAD else 0
            yield Plan(selection, action, window_s=window_s, when=When.NOW), items


def limited(url: str, username: str) -> tuple[Fleet, Connection]:
    where = parse_url(url)
    fleet = Fleet()
    return fleet, fleet.open(1, CacheUrl(where.kind, where.nodes, username=username, password=PASSWORD))


def test_the_line_for_purges_is_enough(admin_url: str) -> None:
    with redis.Redis.from_url(admin_url) as admin:
        admin.execute_command(*documented(0))
        admin.execute_command(*documented(PURGES_LINE))
        admin.config_resetstat()
        fleet, connection = limited(admin_url, "cachewarden")
        for plan, items in everything():
            filled(admin)
            counted = purging.preview(connection, plan.selection, items=items)
            assert counted.keys >= 1 and counted.size_bytes
            assert purging.purge(connection, plan, items=items).touched >= 1, plan
        fleet.close()
        assert "errorstat_NOPERM" not in admin.info("errorstats")


def test_unlink_is_enough_to_delete(admin_url: str) -> None:
    with redis.Redis.from_url(admin_url) as admin:
        filled(admin)
        admin.execute_command(*documented(0))
        admin.execute_command(
            *["ACL", "SETUSER", "cachewarden", "reset", "on"], f">{PASSWORD}", *documented(0)[5:]
        )
        admin.execute_command("ACL", "SETUSER", "cachewarden", "+unlink")
        fleet, connection = limited(admin_url, "cachewarden")
        selection = Selection(SelectBy.PREFIX, "news:")
        assert purging.preview(connection, selection).keys == 3
        assert purging.purge(connection, Plan(selection, when=When.NOW)).touched == 3
        fleet.close()


@pytest.mark.parametrize("action", list(Action))
def test_without_the_line_a_purge_touches_nothing_and_says_what_grants_it(
    admin_url: str, action: Action
) -> None:
    with redis.Redis.from_url(admin_url) as admin:
        filled(admin)
        admin.execute_command(
            *["ACL", "SETUSER", "cachewarden", "reset", "on"], f">{PASSWORD}", *documented(0)[5:]
        )
        fleet, connection = limited(admin_url, "cachewarden")
        plan = Plan(Selection(SelectBy.PREFIX, "news:"), action, window_s=5, when=When.NOW)
        with pytest.raises(Failed) as raised:
            purging.purge(connection, plan)
        fleet.close()
        said = f"{raised.value.message} {raised.value.what_to_do}"
        assert "ACL SETUSER" in said and "+unlink" in said
        assert admin.exists("news:1", "news:2", "news:3") == 3


@pytest.mark.parametrize("action", [Action.SPREAD, Action.POLICY])
def test_whoever_may_not_look_at_a_value_does_not_touch_it(admin_url: str, action: Action) -> None:
    """A placeholder that is not known as one would be filled with what was read before the purge."""
    with redis.Redis.from_url(admin_url) as admin:
        filled(admin)
        admin.execute_command(*documented(0))
        admin.execute_command(*documented(PURGES_LINE))
        admin.execute_command("ACL", "SETUSER", "cachewarden", "-getrange")
        fleet, connection = limited(admin_url, "cachewarden")
        before = [admin.ttl(f"news:{number}") for number in (1, 2, 3)]
        plan = Plan(Selection(SelectBy.PREFIX, "news:"), action, window_s=5, when=When.NOW)
        with pytest.raises(Failed) as raised:
            purging.purge(connection, plan)
        fleet.close()
        assert "+getrange" in f"{raised.value.message} {raised.value.what_to_do}"
        assert [admin.ttl(f"news:{number}") for number in (1, 2, 3)] == pytest.approx(before, abs=5)


@pytest.fixture
def browser(runtime: Runtime, admin_url: str) -> Iterator[tuple[redis.Redis, Cache]]:
    """An account with the lines for looking at keys, as far as the server knows them, and a cache with it."""
    port = parse_url(admin_url).nodes[0].port
    with redis.Redis.from_url(admin_url) as admin:
        for number in (0, BROWSING_LINE):
            admin.execute_command(*documented(number))
        if "valkey_version" in admin.info("server"):
            admin.execute_command(*documented(BROWSING_NEWER_LINE))
        admin.flushall()
        one_of_each(admin)
        admin.xgroup_create("stream", "g", 0)
        admin.config_resetstat()
        yield admin, cache_at(runtime, f"redis://cachewarden:{PASSWORD}@127.0.0.1:{port}/0")


def test_the_lines_for_browsing_are_enough(runtime: Runtime, browser: tuple[redis.Redis, Cache]) -> None:
    admin, cache = browser
    with at_work(runtime, Role.VIEWER) as work:
        assert len(keys.search(work, cache.id, keys.read_search()).rows) == len(EVERY_TYPE)
        for name in EVERY_TYPE:
            detail = keys.open_key(work, cache.id, name.encode(), may_touch=True)
            assert detail is not None and detail.notes == () and not detail.withheld
            for each in detail.window.items:
                assert keys.open_item(work, cache.id, detail.key, each.address, may_touch=True)
        found = keys.download(work, cache.id, b"string", may_touch=True)
        assert found is not None and b"".join(found[1]) == b"value"
    assert "errorstat_NOPERM" not in admin.info("errorstats")


def test_the_lines_for_editing_are_enough(runtime: Runtime, browser: tuple[redis.Redis, Cache]) -> None:
    admin, cache = browser
    with at_work(runtime) as work, pytest.raises(FleetDenied) as raised:
        keys.delete(work, cache.id, b"string")
    assert raised.value.what_to_do == f"Grant it with: {' '.join(documented(EDITS_LINE))}"
    admin.execute_command(*documented(EDITS_LINE))
    if "valkey_version" in admin.info("server"):
        admin.execute_command(*documented(EDITS_NEWER_LINE))
    admin.config_resetstat()
    edits = {
        "string": [Edit(Verb.SET_VALUE, value=b"x", version=digest(b"value"))],
        "hash": [
            Edit(Verb.SET_FIELD, b"a", b"x", version=digest(b"1")),
            Edit(Verb.REMOVE_FIELD, b"b", version=digest(b"2")),
        ],
        "list": [
            Edit(Verb.SET_ELEMENT, b"0", b"x", version=digest(b"a")),
            Edit(Verb.REMOVE_ELEMENT, b"0", version=digest(b"x")),
            Edit(Verb.PUSH_FIRST, value=b"x"),
            Edit(Verb.PUSH_LAST, value=b"x"),
        ],
        "set": [Edit(Verb.ADD_MEMBER, b"x"), Edit(Verb.REMOVE_MEMBER, b"x")],
        "zset": [Edit(Verb.SET_SCORE, b"x", score="1"), Edit(Verb.REMOVE_SCORED, b"a", version=digest(b"1"))],
        "stream": [Edit(Verb.ADD_ENTRY, fields=((b"a", b"b"),)), Edit(Verb.REMOVE_ENTRY, b"1-1")],
    }
    if "valkey_version" in admin.info("server"):
        admin.execute_command("HPEXPIRE", "hash", 60_000, "FIELDS", 1, "a")
    with at_work(runtime) as work:
        for name, wanted in edits.items():
            for edit in wanted:
                assert keys.edit(work, cache.id, name.encode(), edit).is_done, edit
            assert keys.set_ttl(work, cache.id, name.encode(), 100).is_done
            assert keys.persist(work, cache.id, name.encode()).is_done
            assert keys.rename(work, cache.id, name.encode(), b"new").is_done
            assert keys.delete(work, cache.id, b"new").is_done
        for kind in Kind:
            admin.set("held", placeholder(kind), ex=100)
            assert keys.delete(work, cache.id, b"held").is_done
    assert "errorstat_NOPERM" not in admin.info("errorstats")


def test_the_line_for_scans_is_enough(admin_url: str) -> None:
    with redis.Redis.from_url(admin_url) as admin:
        admin.flushall()
        admin.mset({f"news:{number}": "text" for number in range(200)})
        admin.execute_command(
            *["ACL", "SETUSER", "cachewarden", "reset", "on"], f">{PASSWORD}", *documented(0)[5:]
        )
        admin.execute_command(*documented(SCANS_LINE))
        admin.config_resetstat()
        fleet, connection = limited(admin_url, "cachewarden")
        seen = walking.Seen()
        done = walking.walk(connection, seen)
        fleet.close()
        assert done.looked_at == 200 and done.notes == () and len(seen.objects) == 200 // 16
        assert "errorstat_NOPERM" not in admin.info("errorstats")
