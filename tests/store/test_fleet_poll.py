"""Polling real servers: one round trip, what is missing and why, what is bounded."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import pytest
import redis

from dashboard.embedded import valkey
from dashboard.errors import CacheDenied, CacheTimeout, CacheUnavailable
from dashboard.fleet import commands
from dashboard.fleet.commands import Missing, Wants, Why, poll
from dashboard.fleet.errors import Cause, FleetError
from dashboard.fleet.registry import Fleet, Node
from dashboard.fleet.url import CacheUrl, parse_url
from tests.support import odd_servers, servers

PASSWORD = "p@ss/w:rd %41 ☂"
TIMEOUT_S = 0.5


@pytest.fixture(scope="module", params=["valkey", "redis7"])
def server(request: pytest.FixtureRequest) -> Iterator[CacheUrl]:
    """A server with a password, on a logical database that is not 0."""
    with ExitStack() as stack:
        if request.param == "valkey":
            started = stack.enter_context(valkey.start())
            port = started.port
            with redis.Redis.from_url(started.url) as client:
                client.config_set("requirepass", PASSWORD)
        else:
            port = stack.enter_context(servers.redis_server("--requirepass", PASSWORD))
        url = parse_url(f"redis://127.0.0.1:{port}/3")
        yield CacheUrl(url.kind, url.nodes, password=PASSWORD, db=3)


@pytest.fixture
def admin(server: CacheUrl) -> Iterator[redis.Redis]:
    """A client that may do everything; the users and keys it makes go away after the test."""
    with redis.Redis(port=server.nodes[0].port, password=PASSWORD, decode_responses=True) as client:
        yield client
        client.acl_deluser("limited")
        client.flushall()
        client.config_resetstat()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(timeout_s=TIMEOUT_S)
    yield fleet
    fleet.close()


def node_of(fleet: Fleet, url: CacheUrl) -> Node:
    (node,) = fleet.open(1, url).nodes()
    return node


def limited(server: CacheUrl, admin: redis.Redis, *rules: str) -> CacheUrl:
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", f">{PASSWORD}", "~*", *rules)
    return CacheUrl(server.kind, server.nodes, username="limited", password=PASSWORD)


def calls(admin: redis.Redis) -> dict[str, int]:
    stats = admin.info("commandstats")
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}


def test_poll_brings_everything(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    admin.config_set("slowlog-log-slower-than", 0)
    admin.set("k", "v")
    admin.config_set("slowlog-log-slower-than", 10_000)
    reply = poll(node_of(fleet, server))
    assert "used_memory:" in reply.info and "cmdstat_" in reply.info and "errorstat" in reply.info.lower()
    assert isinstance(reply.clients, list) and reply.clients_total == len(reply.clients) >= 2
    ours = [client for client in reply.clients if client.name == "cachewarden"]
    assert len(ours) == 1 and ours[0].db == 3 and ours[0].memory_bytes and ours[0].user == "default"
    assert isinstance(reply.slowlog, list)
    entry = next(entry for entry in reply.slowlog if entry.command == "SET k (1 more argument, 1 byte)")
    assert entry.at and abs(entry.at - datetime.now(UTC)) < timedelta(seconds=20)
    assert 0 <= entry.duration_s < 1 and entry.client_address
    assert 0 < reply.round_trip_s < TIMEOUT_S
    assert abs(reply.taken_at - datetime.now(UTC)) < timedelta(seconds=5)


def test_a_replaced_connection_is_closed(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    poll(fleet.open(1, server, 1).nodes()[0])
    poll(fleet.open(1, server, 2).nodes()[0])
    assert connections(admin) == 1
    fleet.forget(1)
    assert connections(admin) == 0


def test_a_poll_that_runs_while_its_cache_is_saved_comes_to_its_end(
    server: CacheUrl, admin: redis.Redis, fleet: Fleet
) -> None:
    # Its command keeps the server for most of the others' time.
    fleet.timeout_s = 5.0
    node = fleet.open(1, server, 1).nodes()[0]
    poll(node)
    answers: list[object] = []

    def wait() -> None:
        try:
            answers.extend(node.run([("BLPOP", "never", "0.3")])[0])
        except FleetError as error:
            answers.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    deadline = time.monotonic() + 5
    while not int(admin.info("clients")["blocked_clients"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    fleet.open(1, server, 2)
    waiting.join(5)
    assert answers == [None]
    assert connections(admin) == 0


def test_what_was_closed_still_answers_and_leaves_nothing_open(
    server: CacheUrl, admin: redis.Redis, fleet: Fleet
) -> None:
    """Somebody may hold a connection that was replaced before the first use, or between two."""
    held = fleet.open(1, server, 1)
    fleet.open(1, server, 2)
    assert poll(held.nodes()[0]).info
    again = fleet.open(1, server, 3)
    poll(again.nodes()[0])
    fleet.forget(1)
    assert poll(again.nodes()[0]).info
    assert connections(admin) == 0


def test_long_work_keeps_its_connections_to_its_end(
    server: CacheUrl, admin: redis.Redis, fleet: Fleet
) -> None:
    connection = fleet.open(1, server, 1)
    (node,) = connection.nodes()
    with connection.held():
        poll(node)
        fleet.open(1, server, 2)
        before = int(admin.info("stats")["total_connections_received"])
        for _ in range(3):
            poll(connection.nodes()[0])
        assert int(admin.info("stats")["total_connections_received"]) == before
        assert connections(admin) == 1
    assert connections(admin) == 0


def connections(admin: redis.Redis) -> int:
    """How many of ours the server has, once it noticed those that were just closed."""
    deadline, found = time.monotonic() + 2, -1
    while time.monotonic() < deadline:
        ours = [row for row in admin.client_list() if row["name"] == "cachewarden"]
        if len(ours) == found:
            break
        found = len(ours)
        time.sleep(0.1)
    return found


def test_poll_is_one_write_and_never_monitor_or_keys(
    server: CacheUrl, admin: redis.Redis, fleet: Fleet
) -> None:
    node = node_of(fleet, server)
    poll(node)
    admin.config_resetstat()
    before = admin.info("stats")["total_reads_processed"]
    poll(node)
    after = admin.info("stats")["total_reads_processed"]
    # One read for the poll's three commands, one for each INFO of this test.
    assert after - before == 2
    seen = calls(admin)
    assert {name: seen[name] for name in ("client|list", "slowlog|get")} == {
        "client|list": 1,
        "slowlog|get": 1,
    }
    assert not {"monitor", "keys", "client|setinfo", "hello", "multi", "ping"} & set(seen)
    stats = admin.info("stats")
    assert stats["keyspace_hits"] == stats["keyspace_misses"] == stats["total_error_replies"] == 0


def test_only_what_is_wanted(server: CacheUrl, fleet: Fleet) -> None:
    reply = poll(node_of(fleet, server), Wants(clients=False, slowlog=False, settings=False))
    assert isinstance(reply.clients, Missing) and isinstance(reply.slowlog, Missing)
    assert isinstance(reply.settings, Missing)
    assert "was not asked for" in reply.clients.reason and reply.clients_total is None


def test_forbidden_part_is_missing_and_asked_once_a_day(
    server: CacheUrl, admin: redis.Redis, fleet: Fleet
) -> None:
    url = limited(server, admin, "+info", "+client|setname", "+client|list", "+config|get")
    node = node_of(fleet, url)
    admin.config_resetstat()
    clock = [1000.0]

    def ask() -> commands.PollReply:
        return poll(node, monotonic=lambda: clock[0])

    first, second = ask(), ask()
    for reply in (first, second):
        assert isinstance(reply.clients, list)
        assert reply.slowlog == Missing(
            Why.FORBIDDEN,
            "SLOWLOG GET",
            "NOPERM: this user may not run SLOWLOG GET.",
            "ACL SETUSER limited +slowlog|get",
        )
    assert admin.info("errorstats")["errorstat_NOPERM"]["count"] == 1
    clock[0] += commands.PROBE_AGAIN_S - 1
    ask()
    assert admin.info("errorstats")["errorstat_NOPERM"]["count"] == 1
    clock[0] += 2
    ask()
    assert admin.info("errorstats")["errorstat_NOPERM"]["count"] == 2
    assert isinstance(first.slowlog, Missing)
    admin.execute_command(*str(first.slowlog.grant).split())
    clock[0] += commands.PROBE_AGAIN_S
    assert isinstance(ask().slowlog, list)


def test_forbidden_part_is_asked_again_when_the_cache_was_saved(
    server: CacheUrl, admin: redis.Redis, fleet: Fleet
) -> None:
    url = limited(server, admin, "+info")
    (node,) = fleet.open(1, url, 1).nodes()
    assert isinstance(poll(node).clients, Missing)
    admin.execute_command("ACL", "SETUSER", "limited", "+client|list")
    (node,) = fleet.open(1, url, 1).nodes()
    assert isinstance(poll(node).clients, Missing)
    (node,) = fleet.open(1, url, 2).nodes()
    assert isinstance(poll(node).clients, list)


def test_a_forbidden_name_is_no_reason_to_fail(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    url = limited(server, admin, "+info", "+client|list", "+slowlog|get", "+config|get")
    admin.config_resetstat()
    node = node_of(fleet, url)
    assert isinstance(poll(node).clients, list)
    node.close()  # the next poll connects anew, and does not try to set the name again
    poll(node)
    assert admin.info("errorstats")["errorstat_NOPERM"]["count"] == 1


def test_info_forbidden(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    url = limited(server, admin, "+ping")
    with pytest.raises(CacheDenied) as caught:
        poll(node_of(fleet, url))
    assert caught.value.message.startswith("NOPERM: this user may not run INFO.")
    assert "ACL SETUSER limited +info" in caught.value.what_to_do


@pytest.mark.parametrize("wrong", ["password", "user", "none"])
def test_wrong_sign_in(server: CacheUrl, fleet: Fleet, wrong: str) -> None:
    url = {
        "password": CacheUrl(server.kind, server.nodes, password="not-the-one"),
        "user": CacheUrl(server.kind, server.nodes, username="nobody", password=PASSWORD),
        "none": CacheUrl(server.kind, server.nodes),
    }[wrong]
    with pytest.raises(CacheDenied) as caught:
        poll(node_of(fleet, url))
    assert caught.value.message.startswith("NOAUTH" if wrong == "none" else "WRONGPASS")
    assert "not-the-one" not in str(caught.value) and PASSWORD not in repr(caught.value)
    assert caught.value.__cause__ is None


def test_user_without_password(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    admin.execute_command("ACL", "SETUSER", "limited", "reset", "on", "nopass", "~*", "+info")
    assert poll(node_of(fleet, CacheUrl(server.kind, server.nodes, username="limited"))).info


def test_database_that_does_not_exist(server: CacheUrl, fleet: Fleet) -> None:
    url = CacheUrl(server.kind, server.nodes, password=PASSWORD, db=4711)
    with pytest.raises(FleetError) as caught:
        poll(node_of(fleet, url))
    assert caught.value.problem.cause is Cause.DATABASE


def test_hostile_names_and_keys_are_made_harmless(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    with redis.Redis(port=server.nodes[0].port, password=PASSWORD) as other:
        other.execute_command("CLIENT", "SETNAME", "<script>alert(1)</script>")
        admin.config_set("slowlog-log-slower-than", 0)
        other.execute_command("SET", b"\xff\x00\x1b[31m\xe2\x80\xae" + b"x" * 400, "v")
        admin.config_set("slowlog-log-slower-than", 10_000)
        reply = poll(node_of(fleet, server))
    assert isinstance(reply.clients, list) and isinstance(reply.slowlog, list)
    assert "<script>alert(1)</script>" in {client.name for client in reply.clients}
    command = next(entry.command for entry in reply.slowlog if entry.command.startswith("SET"))
    assert command.startswith("SET \\xff\\x00\\x1b[31m\\u202exxx") and len(command) <= 300


def test_monitor_is_seen(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    with redis.Redis(port=server.nodes[0].port, password=PASSWORD).monitor():
        reply = poll(node_of(fleet, server))
    assert isinstance(reply.clients, list)
    assert [client.command for client in reply.clients if "O" in client.flags] == ["monitor"]


def test_settings_are_read_every_minute(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    node = node_of(fleet, server)
    admin.config_resetstat()
    clock = [1000.0]

    def settings() -> object:
        return poll(node, monotonic=lambda: clock[0]).settings

    first = settings()
    assert isinstance(first, dict)
    assert first["slowlog-log-slower-than"] == "10000" and "save" in first
    assert PASSWORD not in str(first) and len(first) < 10
    admin.config_set("slowlog-log-slower-than", 20_000)
    clock[0] += commands.SETTINGS_AGAIN_S - 1
    assert settings() == first
    assert calls(admin)["config|get"] == 1
    clock[0] += 1
    assert settings() == {**first, "slowlog-log-slower-than": "20000"}
    admin.config_set("slowlog-log-slower-than", 10_000)


def test_many_clients(server: CacheUrl, fleet: Fleet) -> None:
    """Beyond a limit they are counted but not all kept, and beyond another not even asked for."""
    pool = [redis.Redis(port=server.nodes[0].port, password=PASSWORD) for _ in range(60)]
    try:
        for client in pool:
            client.ping()
        node = node_of(fleet, server)
        reply = poll(node)
        assert isinstance(reply.clients, list)
        assert reply.clients_total is not None and reply.clients_total > 60
        node.memory["connected_clients"] = commands.MOST_CLIENTS_POLLED + 1
        reply = poll(node)
        assert isinstance(reply.clients, Missing) and "5,001 clients" in reply.clients.reason
        assert isinstance(poll(node).clients, list)  # fewer again
    finally:
        for client in pool:
            client.close()


def test_threads_share_a_connection(server: CacheUrl, admin: redis.Redis, fleet: Fleet) -> None:
    """More threads than connections: each gets its own replies, none fails."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                reply = poll(node_of(fleet, server))
                assert "run_id" in reply.info and isinstance(reply.slowlog, list)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    ours = [client for client in admin.client_list() if client["name"] == "cachewarden"]
    assert 1 <= len(ours) <= 4


def test_server_that_restarts_is_polled_again() -> None:
    port = servers.free_port()
    fleet = Fleet(timeout_s=TIMEOUT_S)
    url = parse_url(f"redis://127.0.0.1:{port}")
    with servers.redis_server(port=port):
        first = poll(node_of(fleet, url))
    with pytest.raises(CacheUnavailable) as caught:
        poll(node_of(fleet, url))
    assert "refused" in caught.value.message
    with servers.redis_server(port=port):
        second = poll(node_of(fleet, url))
    fleet.close()
    assert first.info.split("run_id:")[1][:40] != second.info.split("run_id:")[1][:40]


def test_new_server_behind_the_address_is_asked_for_what_the_old_one_forbade() -> None:
    port = servers.free_port()
    fleet = Fleet(timeout_s=TIMEOUT_S)
    url = parse_url(f"redis://127.0.0.1:{port}")
    with servers.redis_server("--rename-command", "SLOWLOG", "", port=port):
        reply = poll(node_of(fleet, url))
        assert isinstance(reply.slowlog, Missing)
        assert reply.slowlog.why is Why.UNKNOWN and reply.slowlog.grant is None
    with servers.redis_server(port=port):
        poll(node_of(fleet, url))  # finds the other run_id
        assert isinstance(poll(node_of(fleet, url)).slowlog, list)
    fleet.close()


ODD = {
    "silent": (odd_servers.silent, Cause.TIMEOUT),
    "dripping": (odd_servers.dripping, Cause.TIMEOUT),
    "flooding": (odd_servers.flooding, Cause.TOO_LARGE),
    "closing": (odd_servers.closing, Cause.CLOSED),
    "garbage": (odd_servers.says(b"hello, who is there?\r\n"), Cause.NOT_REDIS),
    "web": (odd_servers.says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), Cause.NOT_REDIS),
    "ssh": (odd_servers.says(b"SSH-2.0-OpenSSH_9.2\r\n"), Cause.NOT_REDIS),
    "bad length": (odd_servers.says(b"$banana\r\n"), Cause.NOT_REDIS),
    # hiredis notices at once; redis-py's own parser waits for what never comes.
    "negative length": (odd_servers.says(b"$-7\r\n"), None),
    "huge length": (odd_servers.says(b"$99999999999\r\n"), Cause.TIMEOUT),
    "huge array": (odd_servers.says(b"*999999999\r\n"), Cause.TIMEOUT),
    "deep array": (odd_servers.says(b"*1\r\n" * 20000), None),
    "not a text": (odd_servers.says(b":1\r\n:1\r\n:1\r\n"), Cause.NOT_REDIS),
    "nothing": (odd_servers.says(b"$0\r\n\r\n*0\r\n*0\r\n", b"$0\r\n\r\n*0\r\n*0\r\n"), Cause.NOT_REDIS),
    "loading": (odd_servers.says(b"-LOADING Redis is loading the dataset in memory\r\n" * 3), Cause.LOADING),
    "busy": (odd_servers.says(b"-BUSY Redis is busy running a script.\r\n" * 3), Cause.BUSY),
    "full": (odd_servers.says(b"-ERR max number of clients reached\r\n"), Cause.CLIENTS),
    "protected": (odd_servers.says(b"-DENIED Redis is running in protected mode\r\n"), Cause.PROTECTED),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_servers_end_in_words_and_in_time(kind: str, fleet: Fleet) -> None:
    talk, cause = ODD[kind]
    with odd_servers.listener(talk) as port:
        node = node_of(fleet, parse_url(f"redis://127.0.0.1:{port}"))
        start = time.monotonic()
        with pytest.raises(CacheUnavailable) as caught:
            poll(node)
        # Three variants of INFO at the most, each with its own time.
        assert time.monotonic() - start < 3 * TIMEOUT_S + 1
    assert isinstance(caught.value, FleetError)
    if cause is not None:
        assert caught.value.problem.cause is cause
    assert isinstance(caught.value, CacheTimeout) == (caught.value.problem.cause is Cause.TIMEOUT)
    assert str(port) in caught.value.message and caught.value.what_to_do


def test_http_server(fleet: Fleet) -> None:
    with odd_servers.http_server() as port, pytest.raises(FleetError) as caught:
        poll(node_of(fleet, parse_url(f"redis://127.0.0.1:{port}")))
    # It may hang up before its answer is read.
    assert caught.value.problem.cause in (Cause.NOT_REDIS, Cause.CLOSED)


def test_proxy_that_quotes_the_password(fleet: Fleet) -> None:
    secret = "hunter2-do-not-show"
    answer = b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2-do-not-show'\r\n"
    with odd_servers.listener(odd_servers.says(answer)) as port, pytest.raises(FleetError) as caught:
        poll(node_of(fleet, parse_url(f"redis://:{secret}@127.0.0.1:{port}")))
    assert secret not in caught.value.message and "***" in caught.value.message
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_refused_and_name_not_found(fleet: Fleet) -> None:
    with pytest.raises(FleetError) as caught:
        poll(node_of(fleet, parse_url(f"redis://127.0.0.1:{servers.free_port()}")))
    assert caught.value.problem.cause is Cause.REFUSED
    fleet.timeout_s = 20.0
    with pytest.raises(FleetError) as caught:
        poll(node_of(fleet, parse_url("redis://no-such-host.invalid")))
    assert caught.value.problem.cause in (Cause.NAME, Cause.TIMEOUT)


def test_old_server_that_knows_no_everything(fleet: Fleet) -> None:
    """An unknown section is an empty reply before Redis 7; a proxy may refuse it instead."""
    empty = b"$0\r\n\r\n" + b"*0\r\n" * 3
    refused = b"-ERR syntax error\r\n" + b"*0\r\n" * 3
    good = b"$21\r\nredis_version:2.8.0\r\n\r\n$0\r\n\r\n*0\r\n*0\r\n"
    with odd_servers.listener(odd_servers.says(b"+OK\r\n", empty, refused, good)) as port:
        node = node_of(fleet, parse_url(f"redis://127.0.0.1:{port}"))
        assert "redis_version:2.8.0" in poll(node).info
        assert "redis_version:2.8.0" in poll(node).info  # and goes on with what worked


def test_unix_socket(tmp_path_factory: pytest.TempPathFactory, fleet: Fleet) -> None:
    folder = tmp_path_factory.mktemp("s")
    path = folder / "redis.sock"
    with servers.redis_server("--unixsocket", str(path), folder=folder):
        assert poll(node_of(fleet, parse_url(f"unix://{path}"))).node_id == str(path)
    with pytest.raises(FleetError) as caught:
        poll(node_of(fleet, parse_url(f"unix://{folder}/away.sock")))
    assert caught.value.problem.cause is Cause.SOCKET


def test_huge_info_is_cut(fleet: Fleet) -> None:
    body = b"run_id:x\r\n" + b"field:" + b"1" * 90 + b"\r\n"
    body += b"other:2\r\n" * 200_000
    answer = b"$%d\r\n%s\r\n$0\r\n\r\n*0\r\n*0\r\n" % (len(body), body)
    with odd_servers.listener(odd_servers.says(b"+OK\r\n", answer)) as port:
        reply = poll(node_of(fleet, parse_url(f"redis://127.0.0.1:{port}")))
    assert 1_000_000 < len(reply.info) <= 1024 * 1024 and reply.info.endswith("other:2\r\n")
