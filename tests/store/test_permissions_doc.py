"""docs/permissions.md is true: its line, applied as printed, is enough for everything and allows nothing else."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from dashboard.caching.wire import COUNTERS_KEY, INSTANCES_KEY
from dashboard.embedded import valkey
from dashboard.fleet import commands, policies
from dashboard.fleet.check import check_connection
from dashboard.fleet.commands import Missing
from dashboard.fleet.errors import FleetDenied
from dashboard.fleet.permissions import POLICIES, READ_ONLY
from dashboard.fleet.registry import Fleet
from dashboard.fleet.url import CacheUrl, parse_url
from tests.support import odd_servers, servers

DOC = Path(__file__).resolve().parents[2] / "docs" / "permissions.md"
PASSWORD = "correct-horse"
POLICIES_LINE = 2


def documented(number: int) -> list[str]:
    """The words of the document's ``number``-th ACL line, with a real password."""
    lines = re.findall(r"^\s*(ACL SETUSER .*)$", DOC.read_text(), re.MULTILINE)
    assert len(lines) == 3
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
    rows = re.findall(r"^\| `(\+[^`]+)` \| ([A-Z ]+) \|", DOC.read_text(), re.MULTILINE)
    assert [(rule.replace("\\|", "|"), command) for rule, command in rows] == [
        (permission.rule, permission.command) for permission in (*READ_ONLY, *POLICIES)
    ]
    rules = [word.rstrip(")") for word in documented(POLICIES_LINE) if word.startswith("+")]
    assert sorted(rules) == sorted(permission.rule for permission in POLICIES)


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
