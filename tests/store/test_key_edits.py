"""Edits, with redis-cli as the judge: what was asked for is there, the TTL is as it was, and nothing else happened."""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

from dashboard.access import Role
from dashboard.audit import store as audit_store
from dashboard.audit.types import Filter
from dashboard.caches.types import Cache
from dashboard.caching import tags, wire
from dashboard.errors import Forbidden, InvalidInput, NotFound, Refused, StoreUnavailable
from dashboard.fleet.editing import digest
from dashboard.fleet.errors import FleetDenied, FleetError
from dashboard.fleet.permissions import BROWSING, BROWSING_NEWER, EDITS, EDITS_NEWER
from dashboard.keys import edit as editing
from dashboard.keys import service
from dashboard.keys.types import MOST_EDITED_BYTES, Edit, Editable, EditResult, Opened, Verb
from dashboard.work import Runtime, UnitOfWork
from tests.support.browsing import (
    EVERY_TYPE,
    at_work,
    begin_polling,
    cache_at,
    last_entry,
    lookups,
    noted_lookups,
    one_of_each,
    redis_cli,
)
from tests.support.clusters import make_cluster, servers
from tests.support.shared import shared_data
from tests.support.some_caches import add_cache

ADDITIONS = [
    ("hash", Edit(Verb.SET_FIELD, b"new\xff", b"v")),
    ("list", Edit(Verb.PUSH_FIRST, value=b"v")),
    ("list", Edit(Verb.PUSH_LAST, value=b"v")),
    ("set", Edit(Verb.ADD_MEMBER, b"new")),
    ("zset", Edit(Verb.SET_SCORE, b"new", score="1.5")),
    ("stream", Edit(Verb.ADD_ENTRY, fields=((b"f", b"v"), (b"g", b"")))),
]
CHANGES = [
    ("string", Edit(Verb.SET_VALUE, value=b"other\x00")),
    ("hash", Edit(Verb.SET_FIELD, b"a", b"other")),
    ("list", Edit(Verb.SET_ELEMENT, b"1", b"other")),
    ("zset", Edit(Verb.SET_SCORE, b"a", score="-7")),
]
REMOVALS = [
    ("hash", Edit(Verb.REMOVE_FIELD, b"a")),
    ("list", Edit(Verb.REMOVE_ELEMENT, b"1")),
    ("set", Edit(Verb.REMOVE_MEMBER, b"a")),
    ("zset", Edit(Verb.REMOVE_SCORED, b"a")),
    ("stream", Edit(Verb.REMOVE_ENTRY, b"1-1")),
]
EVERY_EDIT = [*ADDITIONS, *CHANGES, *REMOVALS]


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def cache(runtime: Runtime, server_url: str) -> Cache:
    return cache_at(runtime, server_url)


def there(runtime: Runtime, cache: Cache, key: str | bytes, address: bytes = b"") -> Editable:
    with at_work(runtime) as work:
        found = service.editable(work, cache.id, key.encode() if isinstance(key, str) else key, address)
    assert found is not None and not found.problem
    return found


def edit(runtime: Runtime, cache: Cache, key: str | bytes, wanted: Edit) -> EditResult:
    with at_work(runtime) as work:
        return service.edit(work, cache.id, key.encode() if isinstance(key, str) else key, wanted)


def opened_and(runtime: Runtime, cache: Cache, key: str, wanted: Edit) -> Edit:
    """The edit with what stands there now as what was opened."""
    if wanted.verb in {each.verb for _, each in ADDITIONS} and wanted.address not in (b"a",):
        return wanted
    version = there(runtime, cache, key, wanted.address).version
    return Edit(wanted.verb, wanted.address, wanted.value, wanted.score, wanted.fields, version)


def state(client: redis.Redis, key: str) -> Any:
    """All that a key holds."""
    match client.type(key).decode():
        case "string":
            return client.get(key)
        case "hash":
            return client.hgetall(key)
        case "list":
            return client.lrange(key, 0, -1)
        case "set":
            return client.smembers(key)
        case "zset":
            return dict(client.zrange(key, 0, -1, withscores=True))
        case "stream":
            return client.xrange(key)
    return None


# --- every edit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "wanted"), EVERY_EDIT, ids=[f"{key}-{each.verb}" for key, each in EVERY_EDIT]
)
def test_every_edit_does_what_it_says_and_keeps_the_ttl(
    runtime: Runtime, cache: Cache, client: redis.Redis, server_url: str, key: str, wanted: Edit
) -> None:
    one_of_each(client)
    before = state(client, key)
    at = int(redis_cli(server_url, "PEXPIRETIME", key))
    assert at > 0
    result = edit(runtime, cache, key, opened_and(runtime, cache, key, wanted))
    assert result == EditResult(True)
    assert int(redis_cli(server_url, "PEXPIRETIME", key)) == at
    after = state(client, key)
    match wanted.verb:
        case Verb.SET_VALUE:
            assert after == wanted.value
        case Verb.SET_FIELD:
            assert after == before | {wanted.address: wanted.value}
        case Verb.PUSH_FIRST | Verb.PUSH_LAST:
            assert after == ([b"v", *before] if wanted.verb is Verb.PUSH_FIRST else [*before, b"v"])
        case Verb.SET_ELEMENT:
            assert after == [before[0], b"other", *before[2:]]
        case Verb.REMOVE_ELEMENT:
            assert after == [before[0], *before[2:]]
        case Verb.ADD_MEMBER:
            assert after == before | {b"new"}
        case Verb.REMOVE_MEMBER:
            assert after == before - {b"a"}
        case Verb.SET_SCORE:
            assert after == before | {wanted.address: float(wanted.score)}
        case Verb.REMOVE_SCORED | Verb.REMOVE_FIELD:
            assert after == {name: value for name, value in before.items() if name != b"a"}
        case Verb.ADD_ENTRY:
            assert after[:-1] == before and after[-1][1] == {b"f": b"v", b"g": b""}
        case Verb.REMOVE_ENTRY:
            assert after == before[1:]


@pytest.mark.parametrize("key", EVERY_TYPE)
def test_a_key_without_a_ttl_gets_none(
    runtime: Runtime, cache: Cache, client: redis.Redis, server_url: str, key: str
) -> None:
    one_of_each(client)
    client.persist(key)
    for type, wanted in EVERY_EDIT:
        if type == key:
            assert edit(runtime, cache, key, opened_and(runtime, cache, key, wanted)).is_done
            assert redis_cli(server_url, "TTL", key).strip() == "-1"


@pytest.mark.parametrize(
    ("key", "wanted"), EVERY_EDIT, ids=[f"{key}-{each.verb}" for key, each in EVERY_EDIT]
)
def test_a_key_that_is_gone_is_never_made(
    runtime: Runtime, cache: Cache, client: redis.Redis, key: str, wanted: Edit
) -> None:
    one_of_each(client)
    opened = opened_and(runtime, cache, key, wanted)
    client.delete(key)
    result = edit(runtime, cache, key, opened)
    assert not result.is_done and result.is_gone
    assert not client.exists(key)
    client.set(key, "x") if key != "string" else client.sadd(key, "x")
    result = edit(runtime, cache, key, opened)
    assert not result.is_done and f"no {key} any more" in result.problem
    assert state(client, key) in (b"x", {b"x"})


@pytest.mark.parametrize(
    ("key", "wanted"),
    [*CHANGES, *REMOVALS[:4]],
    ids=lambda each: each if isinstance(each, str) else each.verb,
)
def test_what_changed_meanwhile_is_not_overwritten_but_shown(
    runtime: Runtime, cache: Cache, client: redis.Redis, key: str, wanted: Edit
) -> None:
    one_of_each(client)
    opened = opened_and(runtime, cache, key, wanted)
    change = {
        "string": lambda: client.set(key, "theirs", keepttl=True),
        "hash": lambda: client.hset(key, "a", "theirs"),
        "list": lambda: client.lset(key, 1, "theirs"),
        "set": lambda: client.srem(key, "a"),
        "zset": lambda: client.zadd(key, {"a": 99}),
    }
    change[key]()
    theirs = state(client, key)
    result = edit(runtime, cache, key, opened)
    assert not result.is_done and result.conflict is not None and result.problem
    assert state(client, key) == theirs
    if key == "set":
        return
    assert result.conflict.score == "99" if key == "zset" else result.conflict.value == b"theirs"
    # Whoever has seen both may replace it.
    again = Edit(wanted.verb, wanted.address, wanted.value, wanted.score, version=result.conflict.version)
    assert edit(runtime, cache, key, again).is_done


def test_what_is_new_overwrites_nothing(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    one_of_each(client)
    for key, wanted in (
        ("hash", Edit(Verb.SET_FIELD, b"a", b"mine")),
        ("zset", Edit(Verb.SET_SCORE, b"a", score="5")),
    ):
        result = edit(runtime, cache, key, wanted)
        assert not result.is_done and result.conflict is not None and "already" in result.problem
    result = edit(runtime, cache, "set", Edit(Verb.ADD_MEMBER, b"a"))
    assert not result.is_done and result.problem == "It is a member already."
    assert client.hget("hash", "a") == b"1" and client.zscore("zset", "a") == 1


def test_what_was_removed_meanwhile_is_said(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    one_of_each(client)
    edits = {
        "hash": Edit(Verb.SET_FIELD, b"a", b"mine"),
        "stream": Edit(Verb.REMOVE_ENTRY, b"1-1"),
        "list": Edit(Verb.SET_ELEMENT, b"2", b"mine"),
    }
    opened = {key: opened_and(runtime, cache, key, wanted) for key, wanted in edits.items()}
    client.hdel("hash", "a")
    client.xdel("stream", "1-1")
    client.rpop("list")
    for key, wanted in opened.items():
        before = state(client, key)
        result = edit(runtime, cache, key, wanted)
        assert not result.is_done and result.conflict is not None and result.conflict.problem, key
        assert state(client, key) == before


def test_of_many_who_save_at_once_one_wins(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    """The comparison and the change are one step on the server."""
    from dashboard.fleet.editing import KeyEditor, Word, digest
    from dashboard.fleet.values import Lookups

    connection = runtime.fleet.open(cache.id, cache.url, cache.revision)
    client.set("k", "seen", ex=1000)
    words: list[Word] = []
    barrier = threading.Barrier(8)

    def save(number: int) -> None:
        barrier.wait()
        words.append(KeyEditor(connection, b"k", Lookups()).set(digest(b"seen"), b"mine %d" % number))

    threads = [threading.Thread(target=save, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(word.name for word in words) == ["CHANGED"] * 7 + ["DONE"]
    assert client.get("k").startswith(b"mine") and client.ttl("k") > 900


def test_the_last_member_takes_the_key_along(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.hset("hash", "a", "1")
    client.rpush("list", "a")
    client.sadd("set", "a")
    client.zadd("zset", {"a": 1})
    for key, wanted in (
        ("hash", Edit(Verb.REMOVE_FIELD, b"a")),
        ("list", Edit(Verb.REMOVE_ELEMENT, b"0")),
        ("set", Edit(Verb.REMOVE_MEMBER, b"a")),
        ("zset", Edit(Verb.REMOVE_SCORED, b"a")),
    ):
        result = edit(runtime, cache, key, opened_and(runtime, cache, key, wanted))
        assert result.is_done and "the key is gone" in result.note
        assert not client.exists(key)


def test_elements_are_removed_at_their_place(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.rpush("l", *("same" for _ in range(100)), "end")
    for index in (b"0", b"50", b"98", b"97"):
        version = there(runtime, cache, "l", index).version
        assert edit(runtime, cache, "l", Edit(Verb.REMOVE_ELEMENT, index, version=version)).is_done
    assert client.lrange("l", 0, -1) == [b"same"] * 96 + [b"end"] or client.llen("l") == 97
    with pytest.raises(InvalidInput):
        edit(runtime, cache, "l", Edit(Verb.REMOVE_ELEMENT, b"-1"))


def test_far_within_a_list_nothing_is_removed(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    for _ in range(3):
        client.rpush("l", *range(70_000))
    version = there(runtime, cache, "l", b"105000").version
    result = edit(runtime, cache, "l", Edit(Verb.REMOVE_ELEMENT, b"105000", version=version))
    assert not result.is_done and "100,000" in result.problem and client.llen("l") == 210_000
    version = there(runtime, cache, "l", b"209000").version
    assert edit(runtime, cache, "l", Edit(Verb.REMOVE_ELEMENT, b"209000", version=version)).is_done


def test_a_hash_fields_own_ttl_stays(runtime: Runtime, valkey_url: str) -> None:
    cache = cache_at(runtime, valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.hset("h", mapping={"a": "1", "b": "2"})
        client.execute_command("HPEXPIRE", "h", 60_000, "FIELDS", 1, "a")
        at = redis_cli(valkey_url, "HPEXPIRETIME", "h", "FIELDS", "1", "a")
        version = there(runtime, cache, "h", b"a").version
        assert edit(runtime, cache, "h", Edit(Verb.SET_FIELD, b"a", b"new", version=version)).is_done
        assert client.hget("h", "a") == b"new"
        assert redis_cli(valkey_url, "HPEXPIRETIME", "h", "FIELDS", "1", "a") == at


# --- what may be typed ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("value", Edit(Verb.SET_VALUE, value=b"x" * (MOST_EDITED_BYTES + 1))),
        ("value", Edit(Verb.SET_VALUE, value=wire.placeholder(wire.Kind.HOLD))),
        ("value", Edit(Verb.SET_VALUE, value=tags.HEADER + b'{"a":1}\nx')),
        ("address", Edit(Verb.SET_ELEMENT, b"first", b"x")),
        ("address", Edit(Verb.REMOVE_ENTRY, b"first")),
        ("score", Edit(Verb.SET_SCORE, b"a", score="nan")),
        ("score", Edit(Verb.SET_SCORE, b"a", score="1_0")),
        ("score", Edit(Verb.SET_SCORE, b"a", score="")),
        ("value", Edit(Verb.ADD_ENTRY)),
        ("value", Edit(Verb.ADD_ENTRY, fields=((b"a", b"b"),) * 101)),
    ],
)
def test_what_can_not_be_taken_is_said_at_its_field(
    runtime: Runtime, cache: Cache, client: redis.Redis, field: str, wanted: Edit
) -> None:
    one_of_each(client)
    with pytest.raises(InvalidInput) as caught:
        edit(runtime, cache, "stream" if wanted.verb is Verb.REMOVE_ENTRY else "string", wanted)
    assert list(caught.value.fields) == [field]


@pytest.mark.parametrize(
    ("score", "stored"), [("inf", "inf"), ("-INF", "-inf"), (" 1e3 ", "1000"), ("0.1", "0.1")]
)
def test_scores(
    runtime: Runtime, cache: Cache, client: redis.Redis, server_url: str, score: str, stored: str
) -> None:
    client.zadd("z", {"other": 0})
    assert edit(runtime, cache, "z", Edit(Verb.SET_SCORE, b"a", score=score)).is_done
    assert float(redis_cli(server_url, "ZSCORE", "z", "a")) == float(stored)


def test_any_bytes_come_back_as_they_were(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    for value in (b"", b"\r\n", b"\n", bytes(range(256)), "häß\u202e".encode(), b"a" * MOST_EDITED_BYTES):
        client.set("k", value, ex=1000)
        opened = there(runtime, cache, "k")
        assert opened.value == value
        typed = service.from_typed(opened.typed.replace("\n", "\r\n"), is_escaped=opened.is_escaped)
        assert typed == value
        assert edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=typed, version=opened.version)).is_done
        assert client.get("k") == value and client.ttl("k") > 900


@pytest.mark.parametrize(("text", "is_escaped"), [("\\q", True), ("\ud800", False), ("x" * 2_000_000, False)])
def test_what_is_typed_wrong_is_said(text: str, is_escaped: bool) -> None:
    with pytest.raises(InvalidInput) as caught:
        service.from_typed(text, is_escaped=is_escaped)
    assert list(caught.value.fields) == ["value"]


def test_what_is_too_large_is_not_opened_for_editing(
    runtime: Runtime, cache: Cache, client: redis.Redis
) -> None:
    client.setrange("k", 2_000_000, "x")
    client.hset("h", "a", "x" * 2_000_000)
    with at_work(runtime) as work:
        for key, address in ((b"k", b""), (b"h", b"a")):
            found = service.editable(work, cache.id, key, address)
            assert found is not None and found.problem and not found.value
        assert service.editable(work, cache.id, b"none") is None
        assert service.editable(work, cache.id, b"h", b"none") is None
    with pytest.raises(Refused):
        edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=b"x"))
    # It can be removed all the same.
    with at_work(runtime) as work:
        version = service.editable(work, cache.id, b"h", b"a").version  # type: ignore[union-attr]
    assert edit(runtime, cache, "h", Edit(Verb.REMOVE_FIELD, b"a", version=version)).is_done


def test_naughty_values_are_stored_as_they_are(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the naughty strings are not there: see CACHEWARDEN_SHARED_DATA")
    for text in json.loads((data / "strings" / "blns.json").read_text())[::7]:
        value = text.encode("utf-8", "surrogatepass")
        client.set(value or b"k", "before", ex=1000)
        opened = there(runtime, cache, value or b"k")
        wanted = Edit(Verb.SET_VALUE, value=value, version=opened.version)
        assert edit(runtime, cache, value or b"k", wanted).is_done
        assert client.get(value or b"k") == value


# --- the library's keys -----------------------------------------------------------------------------------------


def test_an_entry_keeps_its_header(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    versions = {"sale": tags.LEAST_VERSION + 5}
    client.set("k", tags.wrap(versions, b'{"a":1}'), ex=1000)
    opened = there(runtime, cache, "k")
    assert opened.value == b'{"a":1}'
    result = edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=b'{"a":2}', version=opened.version))
    assert result.is_done and "header" in result.note
    assert client.get("k") == tags.wrap(versions, b'{"a":2}') and client.ttl("k") > 900
    # Another version of a tag is another value, though the payload is the same.
    client.set("k", tags.wrap({"sale": tags.LEAST_VERSION}, b'{"a":2}'), keepttl=True)
    result = edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=b"3", version=opened.version))
    assert not result.is_done and result.conflict is not None and result.conflict.value == b'{"a":2}'


@pytest.mark.parametrize("kind", list(wire.Kind))
def test_placeholders_are_left_alone(
    runtime: Runtime, cache: Cache, client: redis.Redis, kind: wire.Kind
) -> None:
    token = wire.placeholder(kind)
    client.set("k", token, ex=1000)
    with pytest.raises(Refused):
        edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=b"x"))
    with at_work(runtime) as work:
        results = [
            service.set_ttl(work, cache.id, b"k", 5),
            service.persist(work, cache.id, b"k"),
            service.rename(work, cache.id, b"k", b"other"),
        ]
    assert not any(result.is_done for result in results) and all(result.problem for result in results)
    assert client.get("k") == token and 900 < client.ttl("k") <= 1000


@pytest.mark.parametrize("kind", list(wire.Kind))
def test_deleting_leaves_a_hold_in_force(
    runtime: Runtime, cache: Cache, client: redis.Redis, kind: wire.Kind
) -> None:
    token = wire.placeholder(kind)
    client.set("k", token, ex=1000)
    with at_work(runtime) as work:
        result = service.delete(work, cache.id, b"k")
    assert result.is_done
    if kind is wire.Kind.HOLD:
        assert "hold" in result.note and wire.kind_of(client.get("k")) is wire.Kind.HOLD
        # Another one, so that no load that began with the first can be stored.
        assert client.get("k") != token and client.ttl("k") > 900
    else:
        assert not client.exists("k")


def test_our_own_keys_are_refused(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.set("cachewarden:policies", "x")
    client.set("k", "v")
    with pytest.raises(Refused):
        edit(runtime, cache, "cachewarden:policies", Edit(Verb.SET_VALUE, value=b"y", version=digest(b"x")))
    for act in (service.delete, service.persist):
        with at_work(runtime) as work, pytest.raises(Refused):
            act(work, cache.id, b"cachewarden:policies")
    with at_work(runtime) as work, pytest.raises(InvalidInput) as caught:
        service.rename(work, cache.id, b"k", b"cachewarden:x")
    assert list(caught.value.fields) == ["name"]
    assert client.get("cachewarden:policies") == b"x"


# --- TTL, name, end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", EVERY_TYPE)
def test_ttl_set_and_removed(
    runtime: Runtime, cache: Cache, client: redis.Redis, server_url: str, key: str
) -> None:
    one_of_each(client)
    before = state(client, key)
    with at_work(runtime) as work:
        assert service.set_ttl(work, cache.id, key.encode(), 7_200).is_done
        assert 7_190 < int(redis_cli(server_url, "TTL", key)) <= 7_200
        assert service.persist(work, cache.id, key.encode()).is_done
        assert redis_cli(server_url, "TTL", key).strip() == "-1"
        result = service.persist(work, cache.id, key.encode())
        assert result.is_done and result.note == "It had no TTL."
        assert service.set_ttl(work, cache.id, key.encode(), 0.5).is_done
        assert 0 < int(redis_cli(server_url, "PTTL", key)) <= 500
    assert before is not None


@pytest.mark.parametrize("ttl_s", [0, -1, 0.0001, 1e12, float("nan"), float("inf")])
def test_no_time_at_all_is_refused(runtime: Runtime, cache: Cache, client: redis.Redis, ttl_s: float) -> None:
    client.set("k", "v", ex=1000)
    with at_work(runtime) as work, pytest.raises(InvalidInput) as caught:
        service.set_ttl(work, cache.id, b"k", ttl_s)
    assert list(caught.value.fields) == ["ttl"] and client.ttl("k") > 900


@pytest.mark.parametrize("key", EVERY_TYPE)
def test_renaming_keeps_the_ttl_and_never_overwrites(
    runtime: Runtime, cache: Cache, client: redis.Redis, server_url: str, key: str
) -> None:
    one_of_each(client)
    client.set("taken", "v")
    before, at = state(client, key), redis_cli(server_url, "PEXPIRETIME", key)
    with at_work(runtime) as work, pytest.raises(InvalidInput) as caught:
        service.rename(work, cache.id, key.encode(), b"taken")
    assert list(caught.value.fields) == ["name"] and client.get("taken") == b"v"
    with at_work(runtime) as work:
        assert service.rename(work, cache.id, key.encode(), b"new\xff\n").is_done
        assert service.rename(work, cache.id, key.encode(), b"other").is_gone
    assert state(client, b"new\xff\n") == before and client.pexpiretime(b"new\xff\n") == int(at)  # type: ignore[arg-type]
    for name in (b"", b"new\xff\n", b"x" * 5_000):
        with at_work(runtime) as work, pytest.raises(InvalidInput):
            service.rename(work, cache.id, b"new\xff\n", name)


@pytest.mark.parametrize("key", EVERY_TYPE)
def test_deleting(runtime: Runtime, cache: Cache, client: redis.Redis, key: str) -> None:
    one_of_each(client)
    with at_work(runtime) as work:
        assert service.delete(work, cache.id, key.encode()) == EditResult(True)
        assert service.delete(work, cache.id, key.encode()).is_gone
    assert client.dbsize() == len(EVERY_TYPE) - 1


# --- who may, and what is recorded ------------------------------------------------------------------------------


def test_a_viewer_may_not(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.set("k", "v")
    calls = [
        lambda work: service.edit(work, cache.id, b"k", Edit(Verb.SET_VALUE, value=b"x")),
        lambda work: service.editable(work, cache.id, b"k"),
        lambda work: service.set_ttl(work, cache.id, b"k", 5),
        lambda work: service.persist(work, cache.id, b"k"),
        lambda work: service.rename(work, cache.id, b"k", b"x"),
        lambda work: service.delete(work, cache.id, b"k"),
    ]
    for call in calls:
        with at_work(runtime, Role.VIEWER) as work, pytest.raises(Forbidden):
            call(work)
    read_only = add_cache(runtime, "read-only", cache.url.to_text(), read_only=True)
    with at_work(runtime) as work, pytest.raises(Refused):
        service.delete(work, read_only.id, b"k")
    with at_work(runtime) as work, pytest.raises(NotFound):
        service.delete(work, 999_999, b"k")
    assert client.get("k") == b"v"


def test_each_change_is_recorded_with_before_and_after(
    runtime: Runtime, cache: Cache, client: redis.Redis
) -> None:
    client.set("k\xff", "before", ex=1000)
    key = "k\xff".encode()
    version = there(runtime, cache, key).version
    edit(runtime, cache, key, Edit(Verb.SET_VALUE, value=b"after \x00", version=version))
    entry = last_entry(runtime)
    assert (entry.action, entry.subject, entry.actor_name) == ("keys:value:change", "kÿ", "the-operator")
    assert entry.before == {"value": "before"} and entry.after == {"value": "after \\x00"}
    with at_work(runtime) as work:
        service.set_ttl(work, cache.id, key, 60)
    entry = last_entry(runtime)
    assert entry.action == "keys:ttl:set" and entry.after == {"ttl_s": 60}
    assert 900 < entry.before["ttl_s"] <= 1000  # type: ignore[index, operator]
    with at_work(runtime) as work:
        service.persist(work, cache.id, key)
    assert last_entry(runtime).action == "keys:ttl:remove"
    with at_work(runtime) as work:
        service.rename(work, cache.id, key, b"new")
    entry = last_entry(runtime)
    assert entry.action == "keys:key:rename" and entry.after == {"name": "new"}
    with at_work(runtime) as work:
        service.delete(work, cache.id, b"new")
    entry = last_entry(runtime)
    assert entry.action == "keys:key:delete" and entry.after is None and entry.before is not None
    assert entry.before["type"] == "string"


def test_members_and_long_values_in_the_log(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.hset("h", "name", "x" * 100_000)
    client.zadd("z", {"m": 1})
    version = there(runtime, cache, "h", b"name").version
    edit(runtime, cache, "h", Edit(Verb.SET_FIELD, b"name", b"short", version=version))
    entry = last_entry(runtime)
    assert entry.before is not None and entry.after == {"member": "name", "value": "short"}
    assert len(str(entry.before["value"])) < 500 and "(100,000 bytes)" in str(entry.before["value"])
    edit(runtime, cache, "z", Edit(Verb.SET_SCORE, b"new", score="2"))
    entry = last_entry(runtime)
    assert entry.action == "keys:value:add" and entry.before is None
    assert entry.after == {"member": "new", "score": "2.0"}
    edit(
        runtime,
        cache,
        "z",
        Edit(Verb.REMOVE_SCORED, b"m", version=there(runtime, cache, "z", b"m").version),
    )
    entry = last_entry(runtime)
    assert entry.action == "keys:value:remove" and entry.before == {"member": "m", "score": "1"}


def test_what_was_not_done_is_not_recorded(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    client.set("k", "v")
    before = last_entry(runtime).id
    assert not edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=b"x", version="0" * 40)).is_done
    assert edit(runtime, cache, "none", Edit(Verb.SET_VALUE, value=b"x")).is_gone
    assert last_entry(runtime).id == before


def entries(runtime: Runtime) -> list[tuple[str, str]]:
    """Actions and results of the log, oldest first."""
    with runtime.database.transaction() as session:
        found = audit_store.list_entries(session, Filter(actions=("keys:*",)), before_id=None, limit=50)
        return [(entry.action, entry.result) for entry in reversed(found)]


ACTS: list[tuple[str, Callable[[UnitOfWork, int], EditResult]]] = [
    (
        "keys:value:change",
        lambda work, id: service.edit(work, id, b"k", Edit(Verb.SET_VALUE, value=b"x", version=digest(b"v"))),
    ),
    ("keys:ttl:set", lambda work, id: service.set_ttl(work, id, b"k", 50)),
    ("keys:ttl:remove", lambda work, id: service.persist(work, id, b"k")),
    ("keys:key:rename", lambda work, id: service.rename(work, id, b"k", b"other")),
    ("keys:key:delete", lambda work, id: service.delete(work, id, b"k")),
]


@pytest.mark.parametrize(("action", "act"), ACTS, ids=[action for action, _ in ACTS])
def test_no_change_is_without_an_entry(
    runtime: Runtime,
    cache: Cache,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    act: Callable[[UnitOfWork, int], EditResult],
) -> None:
    """PostgreSQL goes away before the first entry, and then before the second."""
    append = audit_store.append
    for written, left in ((0, []), (1, [("keys:change:begin", "done")])):
        client.flushall()
        client.set("k", "v", ex=1000)
        count = 0

        def fail(*args: Any, most: int = written) -> None:
            nonlocal count
            count += 1
            if count > most:
                raise StoreUnavailable("PostgreSQL is away.")
            append(*args)

        with monkeypatch.context() as patch, pytest.raises(StoreUnavailable):
            patch.setattr(audit_store, "append", fail)
            with at_work(runtime) as work:
                act(work, cache.id)
        assert entries(runtime) == left
        is_as_it_was = client.get("k") == b"v" and 900 < client.ttl("k") <= 1000
        assert is_as_it_was == (not written)
    client.flushall()
    client.set("k", "v", ex=1000)
    with at_work(runtime) as work:
        assert act(work, cache.id).is_done
    assert entries(runtime)[1:] == [("keys:change:begin", "done"), (action, "done")]


def test_a_name_that_is_taken_leaves_an_entry_and_its_lookups(
    runtime: Runtime, cache: Cache, client: redis.Redis
) -> None:
    begin_polling(runtime, cache)
    client.mset({"a": "1", "b": "2"})
    before = lookups(client)
    with pytest.raises(InvalidInput), at_work(runtime) as work:
        service.rename(work, cache.id, b"a", b"b")
    after = lookups(client)
    assert after[0] > before[0]
    assert noted_lookups(runtime, cache) == (after[0] - before[0], after[1] - before[1])
    assert entries(runtime) == [("keys:change:begin", "done"), ("keys:key:rename", "refused")]


# --- a key that was replaced since it was opened ----------------------------------------------------------------

Act = Callable[[UnitOfWork, int, Opened], EditResult]
WHOLE: dict[str, Act] = {
    "ttl": lambda work, id, opened: service.set_ttl(work, id, b"k", 5, opened),
    "persist": lambda work, id, opened: service.persist(work, id, b"k", opened),
    "rename": lambda work, id, opened: service.rename(work, id, b"k", b"other", opened),
    "delete": lambda work, id, opened: service.delete(work, id, b"k", opened),
}


def opened_now(runtime: Runtime, cache: Cache) -> Opened:
    with at_work(runtime) as work:
        found = service.open_key(work, cache.id, b"k", may_touch=True)
    assert found is not None
    return Opened(found.type, found.expires_at, found.version)


@pytest.mark.parametrize("act", WHOLE.values(), ids=list(WHOLE))
def test_a_key_that_was_replaced_is_left_alone_and_shown(
    runtime: Runtime, cache: Cache, client: redis.Redis, act: Act
) -> None:
    client.set("k", "v", ex=30)
    opened = opened_now(runtime, cache)
    replacements: list[tuple[Callable[[], object], str, str]] = [
        (lambda: client.hset("k", "a", "1") and client.expire("k", 86_400), "a hash with", "a string with"),
        (lambda: client.set("k", "v", ex=86_400), "is a string with", "was a string with"),
        (lambda: client.set("k", "v"), "without a TTL", "a string with"),
        (lambda: client.set("k", "other", ex=30), "its value", ""),
    ]
    for replace, now, was in replacements:
        client.delete("k")
        replace()
        before, ttl = client.dump("k"), client.ttl("k")
        with at_work(runtime) as work:
            result = act(work, cache.id, opened)
        assert not result.is_done and result.is_other and result.advice
        assert now in result.problem and was in result.problem
        assert client.dump("k") == before and abs(client.ttl("k") - ttl) <= 5
        assert last_entry(runtime).result == "refused"
    # Whoever has been shown that goes by the type alone; as does what was opened a moment ago, as it is.
    client.delete("k")
    client.rpush("k", "a")
    with at_work(runtime) as work:
        assert not act(work, cache.id, Opened("string", is_type_only=True)).is_done
        assert act(work, cache.id, Opened("list", is_type_only=True)).is_done
    client.flushall()
    client.set("k", "v", ex=30)
    opened = opened_now(runtime, cache)
    with at_work(runtime) as work:
        assert act(work, cache.id, opened).is_done


def test_before_in_the_log_is_what_the_change_found(
    runtime: Runtime, cache: Cache, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another TTL comes between the look and the change."""
    client.set("k", "v", ex=100)
    begin = editing._Session.begin

    def late(*args: Any) -> None:
        begin(*args)
        client.expire("k", 5_000)

    monkeypatch.setattr(editing._Session, "begin", late)
    with at_work(runtime) as work:
        assert service.set_ttl(work, cache.id, b"k", 50).is_done
    before = last_entry(runtime).before
    assert before is not None and 4_990 < before["ttl_s"] <= 5_000  # type: ignore[operator]


def test_lookups_of_edits_are_told_to_the_poller(runtime: Runtime, cache: Cache, client: redis.Redis) -> None:
    begin_polling(runtime, cache)
    one_of_each(client)
    there(runtime, cache, "string")
    for key, wanted in EVERY_EDIT:
        opened = opened_and(runtime, cache, key, wanted)
        noted, before = noted_lookups(runtime, cache), lookups(client)
        edit(runtime, cache, key, opened)
        told, after = noted_lookups(runtime, cache), lookups(client)
        assert (told[0] - noted[0], told[1] - noted[1]) == (after[0] - before[0], after[1] - before[1]), key
        one_of_each_again(client)
    client.set("hold", wire.placeholder(wire.Kind.HOLD), ex=100)
    for key in (b"string", b"hash", b"hold", b"none"):
        for act in (
            lambda work, key: service.set_ttl(work, cache.id, key, 50),
            lambda work, key: service.persist(work, cache.id, key),
            lambda work, key: service.rename(work, cache.id, key, key + b"2"),
            lambda work, key: service.delete(work, cache.id, key),
        ):
            noted, before = noted_lookups(runtime, cache), lookups(client)
            with at_work(runtime) as work:
                act(work, key)
            told, after = noted_lookups(runtime, cache), lookups(client)
            assert (told[0] - noted[0], told[1] - noted[1]) == (
                after[0] - before[0],
                after[1] - before[1],
            ), key


def one_of_each_again(client: redis.Redis) -> None:
    client.flushall()
    one_of_each(client)


# --- servers that do not ----------------------------------------------------------------------------------------


def test_a_server_without_room_changes_nothing_and_says_so(runtime: Runtime, server_url: str) -> None:
    cache = cache_at(runtime, server_url)
    with redis.Redis.from_url(server_url) as client:
        one_of_each(client)
        limits = client.config_get("maxmemory*")
        versions = {key: opened_and(runtime, cache, key, wanted) for key, wanted in CHANGES}
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        try:
            for key, wanted in versions.items():
                before = state(client, key)
                with pytest.raises(FleetError, match="OOM"):
                    edit(runtime, cache, key, wanted)
                assert state(client, key) == before and client.ttl(key) > 900
            with at_work(runtime) as work:
                assert service.delete(work, cache.id, b"string").is_done
        finally:
            client.config_set("maxmemory", limits["maxmemory"])
            client.config_set("maxmemory-policy", limits["maxmemory-policy"])


def test_missing_rights_are_said(runtime: Runtime, server_url: str) -> None:
    with redis.Redis.from_url(server_url) as admin:
        admin.acl_setuser(
            "half",
            enabled=True,
            passwords=["+secret"],
            keys=["*"],
            commands=["+info", *(permission.rule for permission in BROWSING), "+evalsha", "+eval"],
        )
        admin.set("k", "v", ex=1000)
        port = admin.connection_pool.connection_kwargs["port"]
        cache = cache_at(runtime, f"redis://half:secret@127.0.0.1:{port}/0")
        try:
            version = there(runtime, cache, "k").version
            with pytest.raises(FleetDenied) as raised:
                edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=b"x", version=version))
            assert "ACL SETUSER half" in raised.value.what_to_do and "+set" in raised.value.what_to_do
            assert admin.get("k") == b"v"
        finally:
            runtime.fleet.forget(cache.id)
            admin.acl_deluser("half")


@pytest.fixture
def granted(runtime: Runtime, valkey_url: str) -> Iterator[Callable[..., Cache]]:
    """A cache whose user has all rights of an editor but some."""
    with redis.Redis.from_url(valkey_url) as admin:
        made = []

        def make(*missing: str) -> Cache:
            rules = [each.rule for group in (BROWSING, BROWSING_NEWER, EDITS, EDITS_NEWER) for each in group]
            rules = ["+info", *(rule for rule in rules if rule not in missing)]
            admin.acl_setuser("half", enabled=True, passwords=["+secret"], keys=["*"], commands=rules)
            port = admin.connection_pool.connection_kwargs["port"]
            made.append(cache_at(runtime, f"redis://half:secret@127.0.0.1:{port}/0"))
            return made[0]

        yield make
        for each in made:
            runtime.fleet.forget(each.id)
        admin.acl_deluser("half")


def test_without_the_right_to_remove_a_list_stays_as_it_is(
    runtime: Runtime, granted: Callable[..., Cache], valkey_url: str
) -> None:
    cache = granted("+lrem")
    with redis.Redis.from_url(valkey_url) as client:
        client.rpush("l", "a", "b", "c")
        version = there(runtime, cache, "l", b"1").version
        with pytest.raises(FleetDenied) as raised:
            edit(runtime, cache, "l", Edit(Verb.REMOVE_ELEMENT, b"1", version=version))
        assert "+lrem" in raised.value.what_to_do
        assert client.lrange("l", 0, -1) == [b"a", b"b", b"c"]


def test_without_the_right_to_keep_it_a_fields_ttl_is_not_lost(
    runtime: Runtime, granted: Callable[..., Cache], valkey_url: str
) -> None:
    cache = granted("+hpexpireat")
    with redis.Redis.from_url(valkey_url) as client:
        client.hset("h", mapping={"a": "1", "b": "2"})
        client.execute_command("HPEXPIRE", "h", 60_000, "FIELDS", 1, "a")
        at = redis_cli(valkey_url, "HPEXPIRETIME", "h", "FIELDS", "1", "a")
        version = there(runtime, cache, "h", b"a").version
        with pytest.raises(FleetDenied) as raised:
            edit(runtime, cache, "h", Edit(Verb.SET_FIELD, b"a", b"new", version=version))
        assert "+hpexpireat" in raised.value.what_to_do
        assert client.hget("h", "a") == b"1"
        assert redis_cli(valkey_url, "HPEXPIRETIME", "h", "FIELDS", "1", "a") == at
        # One without a TTL needs no such right.
        version = there(runtime, cache, "h", b"b").version
        assert edit(runtime, cache, "h", Edit(Verb.SET_FIELD, b"b", b"new", version=version)).is_done


def test_an_edit_without_an_answer_is_recorded_as_not_known(runtime: Runtime, valkey_url: str) -> None:
    cache = cache_at(runtime, valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.set("k", "v", ex=1000)
        version = there(runtime, cache, "k").version
        # Writes wait, reads are answered: the change comes when nobody listens any more.
        client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        try:
            result = edit(runtime, cache, "k", Edit(Verb.SET_VALUE, value=b"x", version=version))
        finally:
            client.execute_command("CLIENT", "UNPAUSE")
    assert not result.is_done and "not known" in result.problem
    entry = last_entry(runtime)
    assert entry.action == "keys:value:change" and entry.result == "failed"


@pytest.mark.slow
def test_on_a_cluster(runtime: Runtime) -> None:
    with servers() as made:
        primaries, _ = make_cluster(made)
        cache = cache_at(runtime, f"redis+cluster://127.0.0.1:{primaries[0]}")
        client = RedisCluster(
            startup_nodes=[ClusterNode("127.0.0.1", port) for port in primaries], protocol=2
        )
        for number in range(12):
            key = f"product:{number}"
            client.set(key, "v", ex=1000)
            version = there(runtime, cache, key).version
            assert edit(runtime, cache, key, Edit(Verb.SET_VALUE, value=b"new", version=version)).is_done
            assert client.get(key) == b"new" and client.ttl(key) > 900
        with at_work(runtime) as work, pytest.raises(InvalidInput, match="slot"):
            service.rename(work, cache.id, b"product:1", b"product:2x")
        client.set("{a}:1", "v", ex=1000)
        with at_work(runtime) as work:
            assert service.rename(work, cache.id, b"{a}:1", b"{a}:2").is_done
            assert service.set_ttl(work, cache.id, b"{a}:2", 50).is_done
            assert service.delete(work, cache.id, b"product:3").is_done
        assert client.ttl("{a}:2") <= 50 and not client.exists("product:3")
        client.close()
