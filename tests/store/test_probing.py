"""A burst says of every key what the server says of it, counts what it costs, and leaves no trace."""

from collections.abc import Iterator, Mapping

import pytest
import redis

from dashboard.caching.wire import Script
from dashboard.fleet import probing, tally
from dashboard.fleet.errors import Cause, FleetDenied
from dashboard.fleet.probing import LOOK, Facts, Looked, Probe
from dashboard.fleet.registry import Fleet, Node
from dashboard.fleet.url import parse_url
from tests.support.servers import redis_server
from tests.support.walking import lookups

ODD: dict[bytes, bytes] = {
    b"": b"empty",
    b"\r\n": b"line",
    b"a\r\n$3\r\nb": b"protocol",
    b"\r\n+OK\r\n": b"an end",
    b"\x00\xff\xfe": b"binary",
    b"+string": b"type",
    "käse:ü".encode(): b"text",
    b"x" * 100_000: b"long",
}


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def node(server_url: str) -> Iterator[Node]:
    fleet = Fleet(timeout_s=2.0)
    yield fleet.open(1, parse_url(server_url)).nodes()[0]
    fleet.close()


def fill(client: redis.Redis) -> None:
    """Every type, keys with and without a TTL, names that are none."""
    for number in range(300):
        client.set(f"string:{number}", "v" * number, ex=1000 + number if number % 3 else None)
    for number in range(40):
        client.hset(f"hash:{number}", mapping={f"f{index}": "v" for index in range(number + 1)})
        client.rpush(f"list:{number}", *range(number + 1))
        client.sadd(f"set:{number}", *range(number + 1))
        client.zadd(f"zset:{number}", {str(index): index for index in range(number + 1)})
        client.xadd(f"stream:{number}", {"field": "value"})
    client.mset(ODD)


def read(probe: Probe, count: int = 50) -> list[Looked]:
    """As scans do: a burst is read while the next is under way."""
    found: list[Looked] = []
    probe.send((0,), count)
    while True:
        burst = probe.receive()
        if burst.cursor:
            probe.send((burst.cursor,), count)
        found.append(probe.read())
        assert (found[-1].cursor, len(found[-1].keys)) == (burst.cursor, burst.number)
        if not burst.cursor:
            return found


def received(probe: Probe) -> Looked:
    probe.receive()
    return probe.read()


def flat(found: list[Looked]) -> dict[bytes, tuple[bytes, int, int, Facts | None]]:
    rows = [
        (key, (type, ttl, size, said))
        for each in found
        for key, type, ttl, size, said in zip(
            each.keys, each.types, each.ttls_ms, each.sizes, each.objects, strict=True
        )
    ]
    assert len(dict(rows)) == len(rows)
    return dict(rows)


def idles(found: list[Looked]) -> dict[bytes, int]:
    return {key: -1 if said is None else said.idle_s for key, (*_, said) in flat(found).items()}


def names(node: Node) -> Mapping[str, tuple[int, int]]:
    (listed,), _ = node.run([("CLIENT", "LIST")])
    return tally.read_names(listed)


def plainly(probe: Probe) -> Probe:
    probe.is_plain = True
    return probe


@pytest.mark.parametrize("is_plain", [False, True])
def test_all_of_every_key(client: redis.Redis, node: Node, is_plain: bool) -> None:
    fill(client)
    before = lookups(client)
    probe = Probe(node)
    if is_plain:
        plainly(probe)
    found = flat(read(probe))
    after = lookups(client)
    assert probe.is_plain is is_plain
    assert (after[0] - before[0], after[1] - before[1]) == (probe.hits, probe.misses) == (2 * len(found), 0)
    assert found.keys() == set(client.scan_iter(count=1000))
    for key, (type, ttl, size, said) in found.items():
        assert type == client.type(key)
        assert size == client.memory_usage(key)
        now = client.pttl(key)
        assert ttl == now == -1 or 0 <= ttl - now < 60_000
        assert said is None
    probe.close()


@pytest.mark.parametrize("is_plain", [False, True])
def test_some_are_measured_and_of_some_the_object_is_looked_at(
    client: redis.Redis, node: Node, is_plain: bool
) -> None:
    fill(client)
    before = lookups(client)[0]
    probe = Probe(node, size_every=10, object_every=4)
    if is_plain:
        plainly(probe)
    found = flat(read(probe, count=7))
    assert lookups(client)[0] - before == probe.hits
    sizes = [size for _, _, size, _ in found.values()]
    number = len(found)
    assert number - sizes.count(-1) == number // 10
    assert {sizes[row] for row in range(9, number, 10)} != {-1}
    assert all((size >= 0) == (row % 10 == 9) for row, size in enumerate(sizes))
    encodings = set()
    for row, (key, (*_, said)) in enumerate(found.items()):
        if row % 4 != 3:
            assert said is None
        else:
            assert said is not None and said.idle_s >= 0 > said.frequency
            assert said.encoding == client.object("encoding", key)
            encodings.add(said.encoding)
    assert len(encodings) > 4
    probe.close()


@pytest.mark.parametrize("is_plain", [False, True])
def test_its_name_says_what_it_looked_up(client: redis.Redis, node: Node, is_plain: bool) -> None:
    fill(client)
    probe = Probe(node, object_every=16)
    if is_plain:
        plainly(probe)
    client.config_resetstat()
    cursor = 0
    while True:
        probe.send((cursor,), 40)
        cursor = received(probe).cursor
        if not cursor:
            break
        # Told with the burst, before it was known how many keys that would be.
        hits, misses = names(node)[probe.session]
        assert abs(hits - lookups(client)[0]) <= 40 and misses == 0
    probe.pause()
    assert names(node)[probe.session] == (probe.hits, probe.misses) == lookups(client)
    probe.close()


def test_no_key_looks_used(client: redis.Redis, node: Node) -> None:
    client.set("old", "v")
    # As old as if it had not been used for an hour.
    client.restore("older", 0, client.dump("old") or b"", idletime=3_600)
    probe = Probe(node, object_every=1)
    for _ in range(2):
        found = idles(read(probe))
        assert found[b"older"] >= 3_600 > found[b"old"]
    for _ in range(2):
        plainly(probe)
        assert idles(read(probe))[b"older"] >= 3_600
    probe.close()


@pytest.mark.parametrize("is_plain", [False, True])
def test_servers_that_keep_frequencies_are_asked_for_them(
    client: redis.Redis, node: Node, is_plain: bool
) -> None:
    client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        client.mset({f"key:{number}": "v" for number in range(500)})
        for number in range(0, 500, 2):
            client.restore(
                f"key:{number}", 0, client.dump(f"key:{number}") or b"", replace=True, frequency=99
            )
        probe = Probe(node, object_every=2)
        if is_plain:
            plainly(probe)
        before = lookups(client)[0]
        found = flat(read(probe, count=100))
        said = [each for *_, each in found.values() if each is not None]
        assert len(said) == 250
        assert {(each.encoding, each.idle_s) for each in said} == {(b"embstr", -1)}
        # A new key begins with 5; a counter sinks by one each minute.
        for key, (*_, each) in found.items():
            if each is not None:
                assert 0 <= (5 if int(key[4:]) % 2 else 99) - each.frequency <= 1
        assert lookups(client)[0] - before == probe.hits
        probe.close()
    finally:
        client.config_set("maxmemory-policy", "allkeys-lru")


def test_keys_that_vanish_under_its_eyes_are_left_out(client: redis.Redis, node: Node) -> None:
    """Their lookups are misses, which the cache's hit ratio must not have either."""
    client.mset({f"{kind}:{number}": "v" for number in range(50) for kind in ("stays", "goes")})
    client.config_resetstat()
    probe = plainly(Probe(node, object_every=5))
    probe.send((0,), 1_000)
    # Two round trips later the server has done what was sent before.
    client.ping()
    client.ping()
    client.delete(*(f"goes:{number}" for number in range(50)))
    found = flat([received(probe)])
    assert found.keys() == {b"stays:%d" % number for number in range(50)}
    assert lookups(client) == (probe.hits, probe.misses)
    assert probe.misses >= 100
    probe.close()


def test_a_key_that_vanishes_before_object_reads_it_switches_nothing_off(
    client: redis.Redis, node: Node
) -> None:
    """As where a burst is small and one key of it is asked about."""
    client.mset({f"key:{number}": "v" for number in range(200)})
    client.config_resetstat()
    probe = plainly(Probe(node, object_every=1))
    send = probe._socket.sendall

    def send_late(data: bytes) -> None:
        # Behind the scan, and behind PTTL and TYPE: what OBJECT asks about is gone by then.
        if b"OBJECT" not in data:
            return send(data)
        looks, objects = data.split(b"*3\r\n$6\r\nOBJECT", 1)
        send(looks)
        # Once it answers, the server has done what it was sent before.
        client.ping()
        while not client.info("commandstats").get("cmdstat_type"):
            client.ping()
        client.flushdb()
        return send(b"*3\r\n$6\r\nOBJECT" + objects)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe._socket, "sendall", send_late)
        probe.send((0,), 1_000)
        found = flat([received(probe)])
    assert len(found) == 200 and {said for *_, said in found.values()} == {Facts(b"", -1, -1)}
    client.set("key", "v")
    ((_, _, _, said),) = flat(read(probe)).values()
    assert said == Facts(b"embstr", 0, -1)
    assert lookups(client) == (probe.hits, probe.misses)
    probe.close()


def test_several_cursors_at_once(client: redis.Redis, node: Node) -> None:
    client.mset({f"key:{number}": "v" for number in range(4_000)})
    for is_plain in (False, True):
        probe = Probe(node)
        probe.is_plain = is_plain
        probe.send((0, 1, 2, 3), 10)
        found = received(probe)
        assert 40 <= len(found.keys) < 120
        assert len(found.sizes) == len(found.keys) and min(found.sizes) > 0
        picked = set()
        for seed in range(1, 30):
            probe.send((0, 1, 2, 3), 10, seed)
            one_each = received(probe).keys
            assert len(one_each) == 4 and set(one_each) <= set(found.keys)
            picked |= set(one_each)
        assert len(picked) > 20
        probe.close()


def test_a_script_that_the_server_forgot_is_sent_again(client: redis.Redis, node: Node) -> None:
    client.set("key", "v")
    probe = Probe(node)
    for _ in range(3):
        client.script_flush()
        assert flat(read(probe)).keys() == {b"key"}
    assert not probe.is_plain and client.script_exists(LOOK.digest.decode()) == [True]
    probe.close()


@pytest.fixture
def guarded() -> Iterator[tuple[redis.Redis, Node]]:
    """A server of its own, on which the user "looker" may do what a test grants."""
    with redis_server() as port, redis.Redis(port=port) as client:
        client.execute_command(
            "ACL SETUSER looker on >pass ~* resetchannels -@all +ping +info +client|setname +scan"
        )
        client.mset({f"key:{number}": "v" for number in range(100)})
        fleet = Fleet(timeout_s=2.0)
        yield client, fleet.open(1, parse_url(f"redis://looker:pass@127.0.0.1:{port}/0")).nodes()[0]
        fleet.close()


def grant(client: redis.Redis, *rules: str) -> None:
    client.execute_command("ACL SETUSER", "looker", *rules)  # type: ignore[no-untyped-call]


def test_what_is_forbidden_and_needed_is_named(guarded: tuple[redis.Redis, Node]) -> None:
    client, node = guarded
    for rules in ((), ("+eval", "+evalsha"), ("-eval", "-evalsha", "+pttl")):
        grant(client, *rules) if rules else None
        probe = Probe(node)
        with pytest.raises(FleetDenied) as refused:
            read(probe)
        assert refused.value.problem.cause is Cause.NOPERM
        assert "ACL SETUSER looker +scan +pttl +type" in refused.value.what_to_do
        probe.close()


def test_what_is_forbidden_and_can_be_missed_is_missed(guarded: tuple[redis.Redis, Node]) -> None:
    client, node = guarded
    grant(client, "+pttl", "+type")
    probe = Probe(node, object_every=1)
    found = flat(read(probe, count=10))
    assert len(found) == 100 and probe.is_plain and not probe.can_size
    assert {size for _, _, size, _ in found.values()} == {-1}
    grant(client, "+memory|usage", "-client|setname")
    probe = Probe(node, object_every=1)
    found = flat(read(probe, count=10))
    assert probe.is_plain and probe.can_size and all(size > 0 for _, _, size, _ in found.values())
    grant(client, "+eval", "+evalsha", "+object|idletime")
    probe = Probe(node, object_every=1)
    found = flat(read(probe, count=10))
    assert not probe.is_plain and all(
        size > 0 and said is not None and said.idle_s >= 0 and not said.encoding
        for _, _, size, said in found.values()
    )
    grant(client, "-object|idletime", "+object|encoding")
    for is_plain in (False, True):
        probe = Probe(node, object_every=1)
        if is_plain:
            plainly(probe)
        found = flat(read(probe, count=10))
        assert {said and (said.encoding, said.idle_s) for *_, said in found.values()} == {(b"embstr", -1)}
    grant(client, "-object|encoding")
    for policy in ("allkeys-lru", "allkeys-lfu"):
        client.config_set("maxmemory-policy", policy)
        for is_plain in (False, True):
            probe = Probe(node, object_every=1)
            if is_plain:
                plainly(probe)
            before = lookups(client)[0]
            _, *others = read(probe, count=10)
            # Two bursts hear that there is no idle time, two that there is no counter.
            assert {said for each in others[3:] for said in each.objects} == {None}
            assert lookups(client)[0] - before == probe.hits, "what is refused is not looked up"


def test_a_script_that_fails_again_and_again_is_given_up(client: redis.Redis, node: Node) -> None:
    """As where a server has scripts without ``struct``."""
    client.mset({f"key:{number}": "v" for number in range(400)})
    probe = Probe(node)
    broken = Script("broken", "return redis.error_reply('ERR no struct here')")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probing, "LOOK", broken)
        before = lookups(client)[0]
        assert len(flat(read(probe, count=20))) == 400
    assert probe.is_plain and lookups(client)[0] - before == probe.hits == 800
    probe.close()
