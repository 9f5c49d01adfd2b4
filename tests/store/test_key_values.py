"""Reading one key of real servers: any type, any size, seen by nobody; what comes between is noticed."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from dashboard.fleet import values
from dashboard.fleet.errors import Cause, FleetDenied, FleetError
from dashboard.fleet.registry import Connection, Fleet, Node
from dashboard.fleet.url import CacheUrl, parse_url
from dashboard.fleet.values import Gone, KeyReader, Member, TypeChanged
from tests.support.browsing import EVERY_TYPE, lookups, one_of_each
from tests.support.servers import redis_server


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def cache(server_url: str) -> Iterator[Connection]:
    fleet = Fleet(timeout_s=5)
    yield fleet.open(1, parse_url(server_url))
    fleet.close()


def all_of(cache: Connection, key: bytes, count: int = 100) -> tuple[list[Member], int]:
    """Every member, part by part, and in how many parts it came."""
    reader = KeyReader(cache, key)
    facts = reader.facts()
    assert facts is not None
    members: list[Member] = []
    place, parts = "", 0
    while True:
        part = reader.part(facts, place, count)
        assert not part.problem and len(part.members) <= 2 * count
        members += part.members
        parts, place = parts + 1, part.next
        if not place:
            return members, parts


def test_the_facts_are_the_servers(cache: Connection, client: redis.Redis) -> None:
    client.set("k", "x" * 1000, px=60_000)
    facts = KeyReader(cache, b"k").facts()
    assert facts is not None and facts.type == "string" and facts.references == 1
    assert facts.ttl_ms is not None and 50_000 < facts.ttl_ms <= 60_000
    assert facts.encoding == client.object("encoding", "k").decode()
    assert facts.size_bytes == client.memory_usage("k")
    client.persist("k")
    facts = KeyReader(cache, b"k").facts()
    assert facts is not None and facts.ttl_ms is None
    assert KeyReader(cache, b"none").facts() is None


@pytest.mark.parametrize("key", [b"", b"\x00\xff\r\n", b"a b", "häß 漢".encode(), b"x" * 100_000])
def test_any_name_can_be_opened(cache: Connection, client: redis.Redis, key: bytes) -> None:
    client.set(key, b"\x00value")
    reader = KeyReader(cache, key)
    facts = reader.facts()
    assert facts is not None and facts.type == "string"
    assert reader.text(0, 100).data == b"\x00value"


@pytest.mark.parametrize("number", [1, 50, 300, 5_000])
def test_collections_come_whole_part_by_part(cache: Connection, client: redis.Redis, number: int) -> None:
    names = [b"member-%d" % index for index in range(number)]
    client.hset("h", mapping={name: b"v" + name for name in names})
    client.rpush("l", *names)
    client.sadd("s", *names)
    client.sadd("i", *range(number))
    client.zadd("z", {name: index / 4 for index, name in enumerate(names)})
    with client.pipeline() as pipe:
        for index in range(number):
            pipe.xadd("x", {b"n": b"%d" % index, b"\xff": b""}, id=f"{index + 1}-0")
        pipe.execute()
    found, _ = all_of(cache, b"h")
    assert sorted((member.address, member.value) for member in found) == sorted((n, b"v" + n) for n in names)
    found, parts = all_of(cache, b"l")
    assert [member.value for member in found] == names and parts == -(-number // 100)
    assert [member.address for member in found] == [b"%d" % index for index in range(number)]
    assert {member.address for member in all_of(cache, b"s")[0]} == set(names)
    assert {int(member.address) for member in all_of(cache, b"i")[0]} == set(range(number))
    found, parts = all_of(cache, b"z")
    assert [(m.address, float(m.score)) for m in found] == [(n, i / 4) for i, n in enumerate(names)]
    assert parts == -(-number // 100)
    found, _ = all_of(cache, b"x")
    assert [member.address for member in found] == [b"%d-0" % (i + 1) for i in reversed(range(number))]
    assert found[-1].fields == ((b"n", b"0"), (b"\xff", b""))


def test_a_window_begins_where_it_is_told(cache: Connection, client: redis.Redis) -> None:
    client.rpush("l", *range(1000))
    reader = KeyReader(cache, b"l")
    facts = reader.facts()
    assert facts is not None
    part = reader.part(facts, "950", 100)
    assert [int(member.value) for member in part.members] == list(range(950, 1000)) and part.next == ""
    assert reader.part(facts, "5000", 100).members == ()
    client.set("s", "0123456789")
    assert KeyReader(cache, b"s").text(3, 4) == values.Text(10, b"3456")
    assert KeyReader(cache, b"s").text(20, 4) == values.Text(10, b"")


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("hash", "x"),
        ("hash", "-1"),
        ("hash", str(2**64)),
        ("hash", "0+"),
        ("set", "0 COUNT 1"),
        ("list", "-1"),
        ("zset", "1e3"),
        ("stream", "abc"),
        ("stream", "1-2-3"),
    ],
)
def test_a_place_that_is_none_is_refused(
    cache: Connection, client: redis.Redis, key: str, place: str
) -> None:
    one_of_each(client)
    reader = KeyReader(cache, key.encode())
    facts = reader.facts()
    assert facts is not None
    with pytest.raises(ValueError):
        reader.part(facts, place, 10)


def test_members_by_address(cache: Connection, client: redis.Redis) -> None:
    one_of_each(client)
    found = {
        ("hash", b"a"): Member(b"a", b"1"),
        ("list", b"1"): Member(b"1", b"b"),
        ("list", b"-1"): Member(b"-1", b"c"),
        ("set", b"b"): Member(b"b"),
        ("zset", b"b"): Member(b"b", score="2.5"),
        ("stream", b"1-1"): Member(b"1-1", fields=((b"field", b"value"),)),
    }
    for (type, address), member in found.items():
        assert KeyReader(cache, type.encode()).member(type, address) == member
    for type, address in (
        ("hash", b"-"),
        ("list", b"9"),
        ("set", b"-"),
        ("zset", b"-"),
        ("stream", b"9-9"),
    ):
        assert KeyReader(cache, type.encode()).member(type, address) is None
    for type in ("list", "stream"):
        with pytest.raises(ValueError):
            KeyReader(cache, type.encode()).member(type, b"abc")


def test_groups_of_a_stream(cache: Connection, client: redis.Redis) -> None:
    client.xadd("x", {"a": 1}, id="1-1")
    assert KeyReader(cache, b"x").groups() == values.Groups(0)
    client.xgroup_create("x", "workers\xff", 0)
    client.xreadgroup("workers\xff", "one", {"x": ">"})
    found = KeyReader(cache, b"x").groups()
    assert found.total == 1
    group = found.groups[0]
    assert group["consumers"] == "1" and group["pending"] == "1" and group["last-delivered-id"] == "1-1"
    for number in range(values.MOST_GROUPS):
        client.xgroup_create("x", f"g{number}", 0)
    assert KeyReader(cache, b"x").groups() == values.Groups(values.MOST_GROUPS + 1)


def test_every_lookup_is_counted_as_the_server_counts_it(cache: Connection, client: redis.Redis) -> None:
    one_of_each(client)
    client.xgroup_create("stream", "g", 0)
    client.sadd("big", *range(1000))
    KeyReader(cache, b"warm").facts()  # what a server can do is asked once
    for key in (*EVERY_TYPE, "big", "none"):
        before = lookups(client)
        reader = KeyReader(cache, key.encode())
        facts = reader.facts()
        if key == "string":
            reader.text(0, 100)
        elif facts is not None:
            reader.part(facts, "", 100)
            reader.member(facts.type, b"1-1" if key == "stream" else b"1")
        if key == "stream":
            reader.groups()
        after = lookups(client)
        counted = (after[0] - before[0], after[1] - before[1])
        assert counted == (reader.lookups.hits, reader.lookups.misses), key


@pytest.mark.parametrize("key", EVERY_TYPE)
def test_reading_leaves_a_key_unused(valkey_url: str, key: str) -> None:
    """Idle time grows in whole seconds: two reads more than one apart would begin it anew."""
    fleet = Fleet()
    cache = fleet.open(1, parse_url(valkey_url))
    with redis.Redis.from_url(valkey_url) as client:
        one_of_each(client)
        reader = KeyReader(cache, key.encode())
        assert reader.hides
        time.sleep(1.1)
        idle = 0
        for _ in range(2):
            facts = reader.facts()
            assert facts is not None and facts.idle_s is not None and facts.idle_s >= max(1, idle)
            idle = facts.idle_s
            if key == "string":
                assert reader.text(0, 10).data == b"value"
            else:
                assert reader.part(facts, "", 10).members
            assert client.object("idletime", key) >= idle
        if key == "string":
            # And it ends with us: others' reads count as uses on every connection.
            (node,) = cache.nodes()
            assert any(is_used_by(node, client, key) for _ in range(5))
    fleet.close()


def is_used_by(node: Node, client: redis.Redis, key: str) -> bool:
    """Whether a read begins a key's idle time anew; a machine that stalls for a second hides it."""
    node.run([("GETRANGE", key, 0, 0)])
    return bool(client.object("idletime", key) == 0)


def test_an_older_server_says_that_it_can_not_hide(redis7_url: str) -> None:
    fleet = Fleet()
    with redis.Redis.from_url(redis7_url) as client:
        client.set("k", "v")
        before = client.info("stats")["unexpected_error_replies"], client.info("errorstats")
        reader = KeyReader(fleet.open(1, parse_url(redis7_url)), b"k")
        assert not reader.hides and reader.text(0, 1).data == b"v"
        # Nothing is sent that it does not know.
        assert (client.info("stats")["unexpected_error_replies"], client.info("errorstats")) == before
    fleet.close()


def test_frequency_takes_the_place_of_idle_time(cache: Connection, client: redis.Redis) -> None:
    client.set("k", "v")
    before = client.config_get("maxmemory-policy")["maxmemory-policy"]
    client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        facts = KeyReader(cache, b"k").facts()
        assert facts is not None and facts.idle_s is None and facts.frequency is not None
        # Changed behind our back: what is refused is not shown, and asked anew the next time.
        client.config_set("maxmemory-policy", before)
        facts = KeyReader(cache, b"k").facts()
        assert facts is not None and facts.frequency is None
        facts = KeyReader(cache, b"k").facts()
        assert facts is not None and facts.idle_s is not None
    finally:
        client.config_set("maxmemory-policy", before)


def test_a_key_that_changes_between_two_calls(cache: Connection, client: redis.Redis) -> None:
    one_of_each(client)
    reader = KeyReader(cache, b"hash")
    facts = reader.facts()
    assert facts is not None
    client.delete("hash")
    with pytest.raises(Gone):
        reader.part(facts, "", 10)
    client.set("hash", "a string now")
    with pytest.raises(TypeChanged):
        reader.part(facts, "", 10)
    with pytest.raises(TypeChanged):
        KeyReader(cache, b"list").text(0, 10)
    with pytest.raises(Gone):
        KeyReader(cache, b"none").text(0, 10)
    with pytest.raises(Gone):
        KeyReader(cache, b"none").groups()


def test_a_hash_fields_ttl(valkey_url: str) -> None:
    fleet = Fleet()
    with redis.Redis.from_url(valkey_url) as client:
        client.hset("h", mapping={"a": "1", "b": "2"})
        client.execute_command("HPEXPIRE", "h", 60_000, "FIELDS", 1, "a")
        cache = fleet.open(1, parse_url(valkey_url))
        found = {member.address: member.ttl_ms for member in all_of(cache, b"h")[0]}
        assert found[b"b"] is None and found[b"a"] is not None and 50_000 < found[b"a"] <= 60_000
        member = KeyReader(cache, b"h").member("hash", b"a")
        assert member is not None and member.ttl_ms is not None
    fleet.close()


def test_a_string_of_half_a_gigabyte_opens_at_once() -> None:
    """SETRANGE makes it without sending it; the server's memory is not touched where it is zero."""
    with redis_server() as port, redis.Redis(port=port) as client:
        client.setrange("big", 512 * 1024 * 1024 - 5, b"end\xff\x00")
        fleet = Fleet(timeout_s=5)
        reader = KeyReader(fleet.open(1, parse_url(f"redis://127.0.0.1:{port}")), b"big")
        facts = reader.facts()
        assert facts is not None and (facts.size_bytes or 0) >= 512 * 1024 * 1024
        text = reader.text(0, 65_536)
        assert text == values.Text(512 * 1024 * 1024, bytes(65_536))
        assert reader.text(text.length - 5, 65_536).data == b"end\xff\x00"
        (node,) = reader.connection.nodes()
        slow = node.run([("SLOWLOG", "GET", 10)])[0][0]
        assert all(entry[3][0] not in (b"GETRANGE", b"STRLEN", b"MEMORY") for entry in slow)
        fleet.close()


@pytest.mark.parametrize("type", ["hash", "set", "zset", "list"])
def test_a_large_collection_takes_no_more_than_a_small_one(
    cache: Connection, client: redis.Redis, type: str
) -> None:
    """Counted in calls, not in time: one of ten million members would take as many."""
    add = {
        "hash": lambda names: client.hset("k", mapping=dict.fromkeys(names, "v")),
        "set": lambda names: client.sadd("k", *names),
        "zset": lambda names: client.zadd("k", dict.fromkeys(names, 1)),
        "list": lambda names: client.rpush("k", *names),
    }
    for start in range(0, 100_000, 10_000):
        add[type]([f"member-{number}" for number in range(start, start + 10_000)])
    reader = KeyReader(cache, b"k")
    client.config_resetstat()
    facts = reader.facts()
    assert facts is not None
    part = reader.part(facts, "", 100)
    assert part.length == 100_000 and 100 <= len(part.members) < 300 and part.next
    calls = {name: found["calls"] for name, found in client.info("commandstats").items()}
    reads = {"hash": "hscan", "set": "sscan", "zset": "zrange", "list": "lrange"}
    assert calls[f"cmdstat_{reads[type]}"] <= 8 and sum(calls.values()) < 50


def test_members_that_are_too_large_are_left_where_they_are() -> None:
    big = 40 * 1024 * 1024
    with redis_server() as port, redis.Redis(port=port) as client:
        client.rpush("mean", *(bytes(big) for _ in range(3)))
        client.rpush("one", *(b"%d" % number for number in range(50)))
        client.linsert("one", "after", "20", bytes(big))
        client.hset("h", mapping={"big": bytes(big), "small": "1"})
        client.sadd("first", bytes(big))
        fleet = Fleet(timeout_s=5)
        cache = fleet.open(1, parse_url(f"redis://127.0.0.1:{port}"))

        def opened(key: bytes, place: str = "") -> values.Part:
            reader = KeyReader(cache, key)
            facts = reader.facts()
            assert facts is not None
            return reader.part(facts, place, 100)

        assert "too large" in opened(b"mean").problem and not opened(b"mean").members
        part = opened(b"one")
        assert [int(member.value) for member in part.members] == list(range(len(part.members)))
        assert part.problem and part.next == str(len(part.members))
        while part.problem:
            # What is too large is stepped over, and the rest is there.
            part = opened(b"one", part.next)
            if part.members and int(part.members[-1].value) == 49:
                break
        assert part.next == ""
        assert opened(b"first").problem
        reader = KeyReader(cache, b"h")
        assert reader.member("hash", b"small") == Member(b"small", b"1")
        with pytest.raises(FleetError) as raised:
            reader.member("hash", b"big")
        assert raised.value.problem.cause is Cause.TOO_LARGE
        fleet.close()


def test_a_compact_collection_that_is_too_large_is_not_read_at_all() -> None:
    with redis_server("--hash-max-listpack-entries", "1000", "--hash-max-listpack-value", "100000") as port:
        with redis.Redis(port=port) as client:
            with client.pipeline() as pipe:
                for number in range(300):
                    pipe.hset("h", f"f{number}", bytes(60_000))
                pipe.execute()
            assert client.object("encoding", "h") == b"listpack"
        fleet = Fleet(timeout_s=5)
        reader = KeyReader(fleet.open(1, parse_url(f"redis://127.0.0.1:{port}")), b"h")
        facts = reader.facts()
        assert facts is not None
        part = reader.part(facts, "", 100)
        assert part.length == 300 and not part.members and "in one piece" in part.problem
        fleet.close()


def test_what_was_deleted_does_not_make_a_window_empty(cache: Connection, client: redis.Redis) -> None:
    """Deleting leaves a table of empty buckets for a while; a scan through it finds nothing at first."""
    client.config_set("activerehashing", "no")
    try:
        client.sadd("s", *range(60_000))
        with client.pipeline() as pipe:
            for start in range(0, 59_900, 100):
                pipe.srem("s", *range(start, start + 100))
            pipe.execute()
        found, parts = all_of(cache, b"s")
        assert {int(member.address) for member in found} == set(range(59_900, 60_000)) and parts < 20
    finally:
        client.config_set("activerehashing", "yes")


def test_missing_rights_are_told_once_and_the_rest_is_shown(server_url: str, client: redis.Redis) -> None:
    where = parse_url(server_url)
    client.acl_setuser(
        "half",
        enabled=True,
        nopass=True,
        keys=["*"],
        commands=["+type", "+pttl", "+info", "+strlen", "+getrange", "+object|encoding"],
    )
    fleet = Fleet()
    limited = fleet.open(1, CacheUrl(where.kind, where.nodes, username="half", password="x"))
    try:
        client.set("k", "v")
        client.config_resetstat()
        counts = []
        for _ in range(3):
            reader = KeyReader(limited, b"k")
            facts = reader.facts()
            assert facts is not None and facts.encoding and facts.idle_s is None and facts.size_bytes is None
            assert "ACL SETUSER half +object|idletime" in reader.missing.values()
            assert reader.text(0, 10).data == b"v"
            assert not reader.hides
            counts.append(client.info("errorstats")["errorstat_NOPERM"]["count"])
        assert counts[0] == counts[-1], "what is refused is asked once"
        client.hset("h", "a", 1)
        reader = KeyReader(limited, b"h")
        facts = reader.facts()
        assert facts is not None
        with pytest.raises(FleetDenied) as raised:
            reader.part(facts, "", 10)
        assert raised.value.what_to_do.endswith("ACL SETUSER half +hlen")
    finally:
        fleet.close()
        client.acl_deluser("half")


def test_a_server_that_loads_says_so(tmp_path: Path) -> None:
    with (
        redis_server("--enable-debug-command", "yes", folder=tmp_path) as port,
        redis.Redis(port=port) as client,
    ):
        client.execute_command("DEBUG", "POPULATE", 100_000)
        client.save()
    slowly = ("--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024")
    with redis_server(*slowly, folder=tmp_path) as port:
        fleet = Fleet(timeout_s=5)
        reader = KeyReader(fleet.open(1, parse_url(f"redis://127.0.0.1:{port}")), b"key:1")
        with pytest.raises(FleetError) as raised:
            reader.facts()
        assert raised.value.problem.cause is Cause.LOADING
        with redis.Redis(port=port) as client:
            client.config_set("key-load-delay", 0)
            wait_until(lambda: not client.info("persistence")["loading"])
        assert reader.facts() is not None
        fleet.close()


def wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)
