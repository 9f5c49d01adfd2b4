"""Finding keys on real servers: every key once, whatever its name; bounded work for each page; filters; a whole key."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from redis.cluster import ClusterNode, RedisCluster

from dashboard.access import Role
from dashboard.errors import InvalidInput
from dashboard.fleet.errors import FleetDenied, FleetError
from dashboard.fleet.globs import glob_escape
from dashboard.fleet.registry import Connection, Fleet
from dashboard.fleet.url import CacheUrl, parse_url
from dashboard.keys import search as searching
from dashboard.keys import service
from dashboard.keys.search import Walk, read_search
from dashboard.keys.types import PAGE_KEYS, KeyPage, KeyRow, Search
from dashboard.keyspace import service as keyspace
from dashboard.work import Runtime
from tests.support.browsing import at_work, begin_polling, cache_at, lookups, noted_lookups, one_of_each
from tests.support.clusters import Servers, make_cluster, servers
from tests.support.servers import redis_server
from tests.support.shared import shared_data


@pytest.fixture
def client(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def cache(server_url: str) -> Iterator[Connection]:
    fleet = Fleet(timeout_s=5)
    yield fleet.open(1, parse_url(server_url))
    fleet.close()


def pages(cache: Connection, wanted: Search) -> Iterator[KeyPage]:
    """All pages of a search, each by a walk of its own, as requests make them; however long they take."""
    cursor, before, found = "", 0, 0
    while True:
        page = Walk(cache, wanted, ":", monotonic=lambda: 0.0).page(cursor, before, found)
        yield page
        assert (page.before, page.found_before) == (before, found)
        cursor, before, found = page.cursor, before + page.looked_at, found + len(page.rows)
        if not cursor:
            return


def rows(cache: Connection, wanted: Search) -> list[KeyRow]:
    return [row for page in pages(cache, wanted) for row in page.rows]


def names(cache: Connection, wanted: Search) -> list[bytes]:
    return [row.key for row in rows(cache, wanted)]


def fill(client: redis.Redis, number: int, name: str = "product:%d") -> set[bytes]:
    keys = [name % index for index in range(number)]
    for start in range(0, number, 10_000):
        client.mset(dict.fromkeys(keys[start : start + 10_000], "v"))
    return {key.encode() for key in keys}


@pytest.mark.parametrize("number", [0, 1, 99, 5_000])
def test_every_key_is_found_once_page_by_page(cache: Connection, client: redis.Redis, number: int) -> None:
    keys = fill(client, number)
    found = list(pages(cache, read_search()))
    listed = [row.key for page in found for row in page.rows]
    assert len(listed) == len(set(listed)) and set(listed) == keys
    assert all(PAGE_KEYS <= len(page.rows) < 5 * PAGE_KEYS and not page.stopped_early for page in found[:-1])
    assert all(page.keyspace == number for page in found)
    assert sum(page.looked_at for page in found) == number


def test_a_page_ends_when_it_has_looked_at_enough(cache: Connection, client: redis.Redis) -> None:
    fill(client, 60_000)
    client.set("needle", "v")
    found = list(pages(cache, read_search("needle*")))
    assert [row.key for page in found for row in page.rows] == [b"needle"]
    assert len(found) >= 3
    for page in found[:-1]:
        assert page.stopped_early and page.looked_at <= searching.MOST_LOOKED_AT + 2_000
    # About as many as there are: by how far the cursor has moved.
    assert sum(page.looked_at for page in found) == pytest.approx(60_001, rel=0.02)


def test_a_page_ends_after_a_while(cache: Connection, client: redis.Redis) -> None:
    fill(client, 5_000)
    moments = iter(range(1000))
    walk = Walk(cache, read_search("needle*"), monotonic=lambda: float(next(moments)))
    page = walk.page("", 0, 0)
    assert page.stopped_early and page.cursor and page.looked_at < 1_000


def test_a_whole_key_is_found_without_a_scan(cache: Connection, client: redis.Redis) -> None:
    fill(client, 1_000)
    client.set("odd [*]?", "v", ex=100)
    scans = client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"]
    page = Walk(cache, read_search("odd [*]?", is_exact=True)).page("", 0, 0)
    (row,) = page.rows
    assert (row.key, row.type) == (b"odd [*]?", "string") and row.ttl_s is not None and 90 < row.ttl_s <= 100
    assert page.cursor == "" and page.looked_at == 1
    assert Walk(cache, read_search("none", is_exact=True)).page("", 0, 0).rows == ()
    assert client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"] == scans


def test_prefixes_patterns_and_paths(cache: Connection, client: redis.Redis) -> None:
    fill(client, 50)
    client.mset({"product:1:reviews": 1, "product:list:a": 1, "products": 1, "a*b": 1, "a\xffb": 1, "axb": 1})
    assert len(names(cache, read_search("product:"))) == 52
    assert sorted(names(cache, read_search("product:1?"))) == sorted(b"product:%d" % n for n in range(10, 20))
    assert names(cache, read_search("a\\x2ab")) == [b"a*b"]
    assert sorted(names(cache, read_search("a*b"))) == [b"a*b", b"axb", "a\xffb".encode()]
    below = names(cache, read_search(under=("product:", "{id}")))
    assert sorted(below) == sorted(b"product:%d" % n for n in range(50))
    assert names(cache, read_search("*reviews", under=("product:",))) == [b"product:1:reviews"]
    assert names(cache, read_search("products", is_exact=True, under=("product:",))) == []


def test_filters_by_type_and_ttl(cache: Connection, client: redis.Redis) -> None:
    one_of_each(client)
    client.set("never", "v")
    client.set("soon", "v", px=30_000)
    client.set("late", "v", ex=10 * 86_400)
    for type in ("hash", "list", "set", "zset", "stream"):
        assert names(cache, read_search(type=type)) == [type.encode()]
    assert sorted(names(cache, read_search(type="string"))) == [b"late", b"never", b"soon", b"string"]
    assert names(cache, read_search(type="vectorset")) == []
    assert names(cache, read_search(ttl="none")) == [b"never"]
    assert names(cache, read_search(ttl="lt1m")) == [b"soon"]
    assert names(cache, read_search(ttl="gt1d", type="string")) == [b"late"]
    assert names(cache, read_search("never", is_exact=True, ttl="lt1m")) == []


def test_rows_say_what_the_server_says(cache: Connection, client: redis.Redis) -> None:
    one_of_each(client)
    found = {row.key: row for row in rows(cache, read_search())}
    for name in ("string", "hash", "list", "set", "zset", "stream"):
        row = found[name.encode()]
        assert row.type == name and row.ttl_s is not None and 900 < row.ttl_s <= 1000
        assert row.size_bytes == client.memory_usage(name) and row.idle_s is not None


def test_lookups_are_counted_as_the_server_counts_them(cache: Connection, client: redis.Redis) -> None:
    fill(client, 300)
    Walk(cache, read_search()).page("", 0, 0)
    for wanted in (
        read_search(),
        read_search("product:1*"),
        read_search(type="hash"),
        read_search(ttl="none"),
        read_search("product:1", is_exact=True),
        read_search("none", is_exact=True),
    ):
        before = lookups(client)
        walk = Walk(cache, wanted)
        walk.page("", 0, 0)
        after = lookups(client)
        counted = walk.lister.lookups
        assert (after[0] - before[0], after[1] - before[1]) == (counted.hits, counted.misses), wanted


def test_looking_at_a_list_uses_no_key(cache: Connection, client: redis.Redis) -> None:
    client.set("k", "v")
    client.config_set("maxmemory-policy", "allkeys-lfu")
    try:
        client.get("k")
        before = client.object("freq", "k")
        for _ in range(50):
            assert names(cache, read_search()) == [b"k"]
        assert client.object("freq", "k") == before
        assert rows(cache, read_search())[0].idle_s is None
    finally:
        client.config_set("maxmemory-policy", "allkeys-lru")


@pytest.mark.parametrize("cursor", ["x", "AAAA", "é", "MTIz", "LTEgMTI3LjAuMC4xOjE", "a" * 500])
def test_a_cursor_that_is_none_of_ours_is_refused(cache: Connection, cursor: str) -> None:
    with pytest.raises(InvalidInput):
        Walk(cache, read_search()).page(cursor, 0, 0)


def test_naughty_names_are_found_and_addressed(cache: Connection, client: redis.Redis) -> None:
    data = shared_data()
    if data is None:
        pytest.skip("the naughty strings are not there: see CACHEWARDEN_SHARED_DATA")
    strings = json.loads((data / "strings" / "blns.json").read_text())
    keys = {text.encode("utf-8", "surrogatepass") for text in strings}
    for key in keys:
        client.set(key, key)
    assert set(names(cache, read_search())) == keys
    for text in strings:
        try:
            wanted = read_search(text.replace("\\", "\\\\"), is_exact=True)
        except InvalidInput:
            continue
        page = Walk(cache, wanted).page("", 0, 0)
        assert [row.key for row in page.rows] == [text.encode("utf-8", "surrogatepass")]
        assert list(pages(cache, Search(pattern=glob_escape(wanted.exact or b"") + b"*")))


def test_names_of_megabytes_come_a_few_at_a_time() -> None:
    with redis_server() as port, redis.Redis(port=port) as client:
        keys = {b"%d" % number + b"x" * 1_000_000 for number in range(120)}
        for key in keys:
            client.set(key, "v")
        fleet = Fleet(timeout_s=10)
        found = names(fleet.open(1, parse_url(f"redis://127.0.0.1:{port}")), read_search())
        assert set(found) == keys
        fleet.close()


def test_missing_rights(server_url: str, client: redis.Redis) -> None:
    where = parse_url(server_url)
    fleet = Fleet()
    limited = fleet.open(1, CacheUrl(where.kind, where.nodes, username="half", password="x"))
    try:
        client.set("k", "v")
        rights = ["+scan", "+info"]
        client.acl_setuser("half", enabled=True, nopass=True, keys=["*"], commands=rights)
        with pytest.raises(FleetDenied) as raised:
            Walk(limited, read_search()).page("", 0, 0)
        assert raised.value.what_to_do == "Grant it with: ACL SETUSER half +type"
        client.acl_setuser(
            "half", enabled=True, nopass=True, keys=["*"], commands=[*rights, "+type", "+pttl"]
        )
        walk = Walk(limited, read_search())
        (row,) = walk.page("", 0, 0).rows
        assert row.size_bytes is None and row.idle_s is None
        assert set(walk.lister.missing) == {"MEMORY USAGE", "OBJECT IDLETIME"}
    finally:
        fleet.close()
        client.acl_deluser("half")


# --- as a use case ----------------------------------------------------------------------------------------------


def test_a_search_tells_the_poller_what_it_looked_up(runtime: Runtime, valkey_url: str) -> None:
    cache = cache_at(runtime, valkey_url)
    begin_polling(runtime, cache)
    with redis.Redis.from_url(valkey_url) as client:
        fill(client, 50)
        before = lookups(client)
        with at_work(runtime, Role.VIEWER) as work:
            assert len(service.search(work, cache.id, read_search("product:")).rows) == 50
        after = lookups(client)
    assert noted_lookups(runtime, cache) == (after[0] - before[0], after[1] - before[1])


def test_a_path_of_the_tree_goes_by_the_caches_delimiters(runtime: Runtime, valkey_url: str) -> None:
    cache = cache_at(runtime, valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.mset({"a/1": 1, "a/1/x": 1, "a:1": 1})
    with at_work(runtime, Role.ADMIN) as work:
        before = keyspace.limits(work, cache.id)
        keyspace.set_limits(work, cache.id, replace(before, delimiters="/"))
    with at_work(runtime, Role.VIEWER) as work:
        found = service.search(work, cache.id, read_search(under=("a/", "{id}")))
    assert [row.key for row in found.rows] == [b"a/1"]


def test_a_server_that_is_away_is_said(runtime: Runtime) -> None:
    cache = cache_at(runtime, "redis://127.0.0.1:1/0")
    with at_work(runtime) as work, pytest.raises(FleetError):
        service.search(work, cache.id, read_search())


# --- a Cluster --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[Servers, list[int]]]:
    with servers() as made:
        primaries, _ = make_cluster(made)
        yield made, primaries


@pytest.mark.slow
def test_a_cluster_is_searched_node_by_node(cluster: tuple[Servers, list[int]]) -> None:
    _, primaries = cluster
    fleet = Fleet(timeout_s=2)
    cache = fleet.open(1, parse_url(f"redis+cluster://127.0.0.1:{primaries[0]}"))
    client = RedisCluster(startup_nodes=[ClusterNode("127.0.0.1", port) for port in primaries], protocol=2)
    client.mset_nonatomic({f"product:{number}": "v" for number in range(3_000)})
    client.hset("user:1", "a", 1)
    client.expire("user:1", 1000)
    listed = names(cache, read_search("product:"))
    assert len(listed) == 3_000 and set(listed) == {b"product:%d" % number for number in range(3_000)}
    (row,) = Walk(cache, read_search("user:1", is_exact=True)).page("", 0, 0).rows
    assert row.type == "hash" and row.size_bytes and row.ttl_s
    assert names(cache, read_search(type="hash")) == [b"user:1"]
    page = Walk(cache, read_search()).page("", 0, 0)
    assert page.keyspace == 3_001 and page.cursor
    # The place is on the first node; who has only the others can't go on from it.
    first, *others = sorted(node.id for node in cache.nodes())
    assert f" {first}" in base64.urlsafe_b64decode(page.cursor + "==").decode()
    with pytest.raises(InvalidInput):
        Walk(fleet.open(2, parse_url(f"redis://{others[0]}")), read_search()).page(page.cursor, 0, 0)
    client.close()
    fleet.close()
