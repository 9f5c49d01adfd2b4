"""Caches with keys, and people who look at them."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from sqlalchemy import text

from dashboard.access import Actor, Role
from dashboard.audit import store as audit
from dashboard.audit.types import Entry, Filter
from dashboard.caches.types import Cache
from dashboard.fleet.url import parse_url
from dashboard.monitoring import polling
from dashboard.monitoring import store as monitoring
from dashboard.monitoring.store import PollState
from dashboard.work import Runtime, UnitOfWork, unit_of_work
from tests.support.some_caches import add_cache

EVERY_TYPE = ("string", "hash", "list", "set", "zset", "stream")


@contextmanager
def at_work(runtime: Runtime, role: Role = Role.OPERATOR) -> Iterator[UnitOfWork]:
    """One request of somebody with a role."""
    with unit_of_work(runtime, Actor(None, f"the-{role}", role, "web", "192.0.2.1", "req-1")) as work:
        yield work


def cache_at(runtime: Runtime, url: str, **values: Any) -> Cache:
    """A cache at a server."""
    return add_cache(runtime, url=url, **values)


def lookups(client: redis.Redis) -> tuple[int, int]:
    """Hits and misses that the server has counted."""
    stats = client.info("stats")
    return stats["keyspace_hits"], stats["keyspace_misses"]


def one_of_each(client: redis.Redis) -> None:
    """A key of each type, each with a TTL of about a thousand seconds."""
    client.set("string", "value")
    client.hset("hash", mapping={"a": "1", "b": "2"})
    client.rpush("list", "a", "b", "c")
    client.sadd("set", "a", "b", "c")
    client.zadd("zset", {"a": 1, "b": 2.5})
    client.xadd("stream", {"field": "value"}, id="1-1")
    client.xadd("stream", {"field": "other"}, id="2-1")
    for key in EVERY_TYPE:
        client.expire(key, 1000)


def redis_cli(url: str, *words: str | bytes) -> str:
    """What redis-cli answers: the judge."""
    program = shutil.which("redis-cli")
    assert program is not None
    where = parse_url(url)
    node = where.nodes[0]
    command = [program, "-h", node.host, "-p", str(node.port), "-n", str(where.db), *words]
    secret = {**os.environ, "REDISCLI_AUTH": where.password or ""}
    return subprocess.run(command, check=True, capture_output=True, timeout=10, env=secret).stdout.decode()


def noted_lookups(runtime: Runtime, cache: Cache) -> tuple[int, int]:
    """Hits and misses of ours that the poller will take off; before the first, ``begin_polling``."""
    with runtime.database.transaction() as session:
        query = text("SELECT self_hits, self_misses FROM poll_state WHERE cache_id = :cache_id")
        hits, misses = session.execute(query, {"cache_id": cache.id}).one()
        return hits, misses


def begin_polling(runtime: Runtime, cache: Cache) -> None:
    """Have a cache polled once."""
    with runtime.database.transaction() as session:
        monitoring.ensure_partitions(session, runtime.clock.now())
        asked = polling.ask(runtime.fleet, cache, runtime.clock)
        polling.record(session, cache, PollState(cache.id), asked)


def last_entry(runtime: Runtime) -> Entry:
    """The newest entry of the audit log."""
    with runtime.database.transaction() as session:
        return audit.list_entries(session, Filter(), before_id=None, limit=1)[0]
