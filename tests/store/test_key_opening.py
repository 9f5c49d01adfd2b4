"""Opening keys as a use case: values and what they are, the policy, the library's marks, rows; and downloads."""

import gzip
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from dashboard.access import Role
from dashboard.caches.types import Cache
from dashboard.caching import tags, wire
from dashboard.errors import Conflict, InvalidInput, NotFound, Refused
from dashboard.fleet.errors import FleetError
from dashboard.keys import service
from dashboard.keys.inspect import DOWNLOAD_BYTES, ITEM_BYTES
from dashboard.keys.types import WINDOW_BYTES, KeyDetail, View, Window
from dashboard.policies import service as policies
from dashboard.work import Runtime
from tests.support.browsing import (
    EVERY_TYPE,
    at_work,
    begin_polling,
    cache_at,
    lookups,
    noted_lookups,
    one_of_each,
)
from tests.support.servers import redis_server
from tests.support.shared import shared_data


@pytest.fixture
def cache(runtime: Runtime, valkey_url: str) -> Cache:
    return cache_at(runtime, valkey_url)


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def opened(runtime: Runtime, cache: Cache, key: bytes | str, **how: Any) -> KeyDetail:
    with at_work(runtime, Role.VIEWER) as work:
        found = service.open_key(work, cache.id, key.encode() if isinstance(key, str) else key, **how)
    assert found is not None
    return found


def item(runtime: Runtime, cache: Cache, key: str, address: bytes, **how: Any) -> Window | None:
    with at_work(runtime, Role.VIEWER) as work:
        return service.open_item(work, cache.id, key.encode(), address, **how)


def publish(runtime: Runtime, cache: Cache, *items: dict[str, Any], **more: Any) -> None:
    with at_work(runtime, Role.ADMIN) as work:
        content = policies.document_in_force(work, cache.id).to_dict() | {"policies": list(items)} | more
        policies.apply(work, cache.id, json.dumps(content).encode(), "json", reason="test")


def test_a_string(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.set("k", '{"id":1}', ex=1000)
    found = opened(runtime, cache, "k")
    assert (found.type, found.encoding, found.references) == ("string", "embstr", 1)
    assert found.ttl_s is not None and 900 < found.ttl_s <= 1000
    assert found.expires_at == pytest.approx(runtime.clock.now().timestamp() + found.ttl_s)
    assert found.window.length == 8 and found.window.raw == b'{"id":1}' and found.window.cursor == ""
    assert found.window.decoded is not None and found.window.decoded.layers[-1] == "JSON"
    assert found.version and not found.withheld and not found.fixed and found.notes == ()


def test_what_is_not_there_is_none(runtime: Runtime, cache: Cache) -> None:
    with at_work(runtime, Role.VIEWER) as work:
        assert service.open_key(work, cache.id, b"none") is None
        assert service.window(work, cache.id, b"none") is None
        assert service.open_item(work, cache.id, b"none", b"a") is None
        assert service.download(work, cache.id, b"none", may_touch=True) is None
        with pytest.raises(NotFound):
            service.open_key(work, 999_999, b"none")


@pytest.mark.parametrize("key", EVERY_TYPE)
def test_every_type_opens_and_each_member_by_itself(
    runtime: Runtime, cache: Cache, client: redis.Redis, key: str
) -> None:
    one_of_each(client)
    client.xgroup_create("stream", "workers", 0)
    found = opened(runtime, cache, key)
    assert found.type == key and found.ttl_s
    if key == "string":
        assert found.window.decoded is not None and found.window.decoded.text == "value"
        return
    assert found.window.length == len(found.window.items) >= 2 and not found.window.cursor
    for each in found.window.items:
        window = item(runtime, cache, key, each.address)
        assert window is not None and len(window.items) == 1
        assert window.items[0].address == each.address
    assert item(runtime, cache, key, b"9-9" if key == "stream" else b"77") is None
    if key == "stream":
        assert [each.address for each in found.window.items] == [b"2-1", b"1-1"]
        assert found.window.groups[0]["name"] == "workers" and found.window.groups[0]["lag"] == "2"
        assert item(runtime, cache, key, b"1-1").items[0].fields == ((b"field", b"value"),)  # type: ignore[union-attr]


def test_members_are_decoded_when_they_are_opened(
    runtime: Runtime, cache: Cache, client: redis.Redis
) -> None:
    client.hset("h", mapping={"packed": gzip.compress(b'{"a":1}'), "empty": "", "long": "x" * 100_000})
    client.sadd("s", '{"b":2}')
    client.zadd("z", {'{"c":3}': 1})
    for key, address, layers in (
        ("h", b"packed", ("gzip", "JSON")),
        ("h", b"empty", ("text",)),
        ("s", b'{"b":2}', ("JSON",)),
        ("z", b'{"c":3}', ("JSON",)),
    ):
        window = item(runtime, cache, key, address)
        assert window is not None and window.decoded is not None and window.decoded.layers == layers, key
    long = item(runtime, cache, "h", b"long")
    assert long is not None and long.length == 100_000 and len(long.raw) == WINDOW_BYTES
    listed = {each.address: each for each in opened(runtime, cache, "h").window.items}
    assert len(listed[b"long"].value) == ITEM_BYTES and listed[b"long"].full_bytes == 100_000
    client.rpush("l", "a")
    with pytest.raises(InvalidInput):
        item(runtime, cache, "l", b"abc")


def test_a_long_string_is_read_window_by_window(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    text = "".join(f"{number:07d}é" for number in range(20_000))
    client.set("k", text)
    data, start, parts = b"", 0, []
    while True:
        window = opened(runtime, cache, "k", start=start, view=View.TEXT).window
        assert window.start == start and window.length == len(text.encode())
        assert window.decoded is not None and window.decoded.text is not None
        data += window.raw
        parts.append(window.decoded.text)
        if not window.cursor:
            break
        start = int(window.cursor)
    assert data == text.encode() and len(parts) == -(-len(data) // WINDOW_BYTES)
    assert sum(map(len, parts)) >= len(text) - len(parts)
    assert opened(runtime, cache, "k").version == "" and not opened(runtime, cache, "k").fixed
    client.set("k", "x" * 2_000_000)
    assert "can't be edited" in opened(runtime, cache, "k").fixed


def test_bytes_are_read_4_kb_at_a_time(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    whole = bytes(range(256)) * 40
    client.set("k", whole)
    shown, start = "", 0
    while True:
        window = opened(runtime, cache, "k", start=start).window
        assert window.decoded is not None and window.decoded.hex[0][0] == f"{start:08x}"
        shown += "".join(row[1] for row in window.decoded.hex)
        if not window.cursor:
            break
        start = int(window.cursor)
    assert bytes.fromhex(shown) == whole


def test_compressed_values_are_read_up_to_a_megabyte(
    runtime: Runtime, cache: Cache, client: redis.Redis
) -> None:
    rows = [{"id": number, "name": pickle.dumps(number).hex()} for number in range(9_000)]
    packed = gzip.compress(json.dumps(rows).encode(), 0)
    assert WINDOW_BYTES < len(packed) < 1_000_000
    client.set("k", packed)
    window = opened(runtime, cache, "k").window
    assert window.decoded is not None and window.decoded.layers == ("gzip", "JSON")
    assert window.raw == packed and window.cursor == ""


def test_a_value_that_lies_a_bomb_and_a_pickle(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.mset(
        {
            "lie": b"\x1f\x8b\x08" + b"?" * 100,
            "bomb": gzip.compress(bytes(50_000_000)),
            "pickle": pickle.dumps({"a": 1}),
            "deep": "[" * 60_000 + "]" * 60_000,
        }
    )
    decoded = {
        name: opened(runtime, cache, name).window.decoded for name in ("lie", "bomb", "pickle", "deep")
    }
    assert all(decoded.values())
    assert "but is none" in decoded["lie"].note  # type: ignore[union-attr]
    assert "there is more" in decoded["bomb"].note  # type: ignore[union-attr]
    assert "never turned into objects" in decoded["pickle"].note  # type: ignore[union-attr]
    assert decoded["deep"].lines  # type: ignore[union-attr]


def test_hints(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.pfadd("hll", *range(500))
    client.setbit("bits", 4_000, 1)
    assert opened(runtime, cache, "hll").hint.startswith("HyperLogLog")
    assert opened(runtime, cache, "bits").hint.startswith("May be a bitmap: 1 of")
    client.set("k", "text")
    assert opened(runtime, cache, "k").hint == ""


def test_places_that_are_none_are_refused(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    one_of_each(client)
    for key, how in (("hash", {"cursor": "x"}), ("stream", {"cursor": "a-b"}), ("string", {"start": -1})):
        with pytest.raises(InvalidInput):
            opened(runtime, cache, key, **how)
    assert opened(runtime, cache, "list", start=2).window.items[0].value == b"c"
    assert opened(runtime, cache, "zset", start=1).window.items[0].address == b"b"
    assert opened(runtime, cache, "string", start=100).window.raw == b""


# --- policies, the library, rows --------------------------------------------------------------------------------


def test_the_policy_that_applies_and_whether_the_ttl_keeps_to_it(
    runtime: Runtime, cache: Cache, client: redis.Redis
) -> None:
    publish(
        runtime,
        cache,
        {
            "prefix": "product:",
            "tier": "hot",
            "base_ttl_s": 60,
            "jitter_s": 10,
            "protection": {"grace_s": 30},
        },
        {"prefix": "payment:", "tier": "no-cache", "base_ttl_s": None},
        mappings=[{"table": "products", "column": "id", "templates": ["product:{id}", "product:{id}:x"]}],
    )
    client.set("product:7", "v", ex=90)
    found = opened(runtime, cache, "product:7")
    assert found.policy == "product:" and found.policy_words == "1 m + up to 10 s" and found.longest_s == 100
    assert found.conforms is True and found.rows == (("products.id", "7"),)
    client.set("product:7", "v", px=101_500)
    assert opened(runtime, cache, "product:7").conforms is False
    client.persist("product:7")
    assert opened(runtime, cache, "product:7").conforms is False
    client.set("payment:1", "v", ex=5)
    found = opened(runtime, cache, "payment:1")
    assert found.conforms is None and found.policy_words == "Not cached"
    client.persist("payment:1")
    assert opened(runtime, cache, "payment:1").conforms is False
    client.set("else", "v", ex=10**6)
    assert opened(runtime, cache, "else").policy == "" and opened(runtime, cache, "else").conforms is False


def test_the_librarys_marks_are_explained(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.set("entry", tags.wrap({"sale": tags.LEAST_VERSION}, b'{"a":1}'), ex=50)
    client.set("load", wire.placeholder(wire.Kind.LOAD), ex=50)
    client.set("hold", wire.placeholder(wire.Kind.HOLD), ex=50)
    client.set("none", "null", ex=5)
    client.zadd(tags.tag_key("sale"), {tags.VERSION: tags.LEAST_VERSION})
    entry = opened(runtime, cache, "entry")
    assert entry.library == "entry" and entry.tags == ("sale",) and not entry.fixed
    assert entry.window.decoded is not None and entry.window.decoded.text == '{\n  "a": 1\n}'
    for key, name in (("load", "load placeholder"), ("hold", "hold")):
        found = opened(runtime, cache, key)
        assert found.library == name and found.library_note and found.fixed and found.conforms is None
    assert opened(runtime, cache, "none").library == "negative entry"
    found = opened(runtime, cache, tags.tag_key("sale"))
    assert found.library == "tag" and found.fixed and found.policy_words == ""


# --- without a trace --------------------------------------------------------------------------------------------


def test_an_older_server_shows_the_value_when_asked(runtime: Runtime, redis7_url: str) -> None:
    cache = cache_at(runtime, redis7_url)
    with redis.Redis.from_url(redis7_url) as client:
        one_of_each(client)
        client.config_set("maxmemory-policy", "allkeys-lfu")
        try:
            # Unused, a counter only falls; a read would raise it.
            for key in EVERY_TYPE:
                before = client.object("freq", key)
                found = opened(runtime, cache, key)
                assert found.withheld and found.type == key and found.window.length == 0
                with at_work(runtime) as work:
                    assert service.window(work, cache.id, key.encode()).notes == (found.withheld,)  # type: ignore[union-attr]
                    if key != "string":
                        assert service.open_item(work, cache.id, key.encode(), b"a").notes  # type: ignore[union-attr]
                assert client.object("freq", key) <= before
        finally:
            client.config_set("maxmemory-policy", "allkeys-lru")
    for key in EVERY_TYPE:
        found = opened(runtime, cache, key, may_touch=True)
        assert not found.withheld and found.window.length


def test_lookups_are_told_to_the_poller(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    begin_polling(runtime, cache)
    one_of_each(client)
    opened(runtime, cache, "string")
    noted = noted_lookups(runtime, cache)
    before = lookups(client)
    for key in EVERY_TYPE:
        opened(runtime, cache, key)
        if key not in ("string", "stream"):
            item(runtime, cache, key, b"1")
    with at_work(runtime) as work:
        assert service.open_key(work, cache.id, b"none") is None
    after = lookups(client)
    told = noted_lookups(runtime, cache)
    assert (told[0] - noted[0], told[1] - noted[1]) == (after[0] - before[0], after[1] - before[1])


# --- downloads --------------------------------------------------------------------------------------------------


def test_a_download_is_the_value(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    begin_polling(runtime, cache)
    value = bytes(range(256)) * 12_000
    client.set("k", value)
    before = lookups(client)
    with at_work(runtime, Role.VIEWER) as work:
        found = service.download(work, cache.id, b"k", may_touch=True)
    assert found is not None
    size, chunks = found
    assert size == len(value)
    got = list(chunks)
    assert b"".join(got) == value and max(map(len, got)) <= DOWNLOAD_BYTES
    after = lookups(client)
    assert noted_lookups(runtime, cache) == (after[0] - before[0], after[1] - before[1])


def test_a_download_never_mixes_values(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.set("k", b"a" * 3_000_000)
    with at_work(runtime, Role.VIEWER) as work:
        found = service.download(work, cache.id, b"k", may_touch=True)
    assert found is not None
    _, chunks = found
    first = next(chunks)
    client.set("k", b"b" * 2_000_000)
    assert first == b"a" * DOWNLOAD_BYTES
    with pytest.raises(Conflict):
        next(chunks)


def test_what_is_no_string_is_not_downloaded(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.sadd("s", "a")
    with at_work(runtime, Role.VIEWER) as work:
        assert service.download(work, cache.id, b"s", may_touch=True) is None
        assert service.download(work, cache.id, b"none", may_touch=True) is None


def test_a_download_that_would_be_taken_for_a_use_needs_a_word(runtime: Runtime, redis7_url: str) -> None:
    cache = cache_at(runtime, redis7_url)
    with redis.Redis.from_url(redis7_url) as client:
        client.set("k", "v")
        with at_work(runtime, Role.VIEWER) as work, pytest.raises(Refused, match="use of the key"):
            service.download(work, cache.id, b"k")


# --- hostile ----------------------------------------------------------------------------------------------------


def test_naughty_names_and_values_open(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the naughty strings are not there: see CACHEWARDEN_SHARED_DATA")
    for text in json.loads((data / "strings" / "blns.json").read_text()):
        name = text.encode("utf-8", "surrogatepass")
        client.set(name, name)
        found = opened(runtime, cache, name)
        assert found.window.raw == name and found.window.decoded is not None
        assert found.window.decoded.text is not None or found.window.decoded.hex or not name
        client.delete(name)
        client.hset(name, name, name)
        assert opened(runtime, cache, name).window.items[0].value == name
        assert item(runtime, cache, text, name) is not None
        client.delete(name)


@pytest.mark.parametrize("name", ["encodings", "hash-zipmap", "list-quicklist"])
def test_files_of_older_servers_open(runtime: Runtime, tmp_path: Path, name: str) -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the RDB files are not there: see CACHEWARDEN_SHARED_DATA")
    (tmp_path / "dump.rdb").write_bytes((data / "rdb" / f"valkey-tests-{name}.rdb").read_bytes())
    with redis_server(folder=tmp_path) as port, redis.Redis(port=port) as client:
        cache = cache_at(runtime, f"redis://127.0.0.1:{port}/0")
        keys = client.keys()
        assert keys
        for key in keys:
            found = opened(runtime, cache, key, may_touch=True)
            assert found.window.length and (found.window.raw or found.window.items)


def test_a_server_that_is_away_is_said(runtime: Runtime) -> None:
    cache = cache_at(runtime, "redis://127.0.0.1:1/0")
    with at_work(runtime) as work, pytest.raises(FleetError):
        service.open_key(work, cache.id, b"k")
