"""Purges that are stopped, or stop by themselves, at a bad moment: nothing is forgotten, nobody waits in vain."""

import threading
from collections.abc import Callable, Iterator

import pytest
import redis

from dashboard.caching import tags
from dashboard.fleet.registry import Connection, Fleet
from dashboard.invalidation import engine
from dashboard.invalidation.types import Plan, SelectBy, Selection
from tests.support.polling import WAIT_S, wait_until
from tests.support.purging import MemoryJournal, Wishes, connect, purge

BY_TAG = Selection(SelectBy.TAG, "sale")


@pytest.fixture(params=["valkey", "redis7"])
def server_url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue("valkey_url" if request.param == "valkey" else "redis7_url"))


@pytest.fixture
def raw(server_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server_url) as client:
        yield client


@pytest.fixture
def cache(server_url: str) -> Iterator[Connection]:
    fleet = Fleet(timeout_s=2.0)
    yield connect(fleet, server_url)
    fleet.close()


def tagged(raw: redis.Redis, number: int) -> float:
    """Some keys with a tag; the tag's version."""
    raw.mset({f"product:{index}": "v" for index in range(number)})
    members = {f"product:{index}": 3e15 + index for index in range(number)}
    raw.zadd(tags.tag_key("sale"), {tags.VERSION: tags.new_version(), **members})
    return version(raw)


def version(raw: redis.Redis) -> float:
    score = raw.zscore(tags.tag_key("sale"), tags.VERSION)
    assert isinstance(score, float)
    return score


class Running:
    """Something that runs beside the test."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self._error = error

    def error(self) -> BaseException | None:
        """What it ended with, once it has."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "it still runs"
        return self._error


# --- a tag's version ----------------------------------------------------------------------------------------------


def test_a_tag_that_was_stopped_before_its_version_was_new(raw: redis.Redis, cache: Connection) -> None:
    old = tagged(raw, 50)
    wishes, journal = Wishes(), MemoryJournal()
    raw.config_set("min-replicas-to-write", 1)
    running = Running(lambda: purge(cache, Plan(BY_TAG), journal=journal, wishes=wishes))
    try:
        wait_until(lambda: "NOREPLICAS" in journal.progress.waits_for, "it waits")
        wishes.wish = engine.Paused()
        assert isinstance(running.error(), engine.Paused)
    finally:
        raw.config_set("min-replicas-to-write", 0)
    wishes.wish = None
    purge(cache, Plan(BY_TAG), journal=journal, wishes=wishes)
    assert version(raw) != old


def test_a_tag_is_purged_on_a_full_server_that_evicts_nothing(raw: redis.Redis, cache: Connection) -> None:
    old = tagged(raw, 50)
    policy = raw.config_get("maxmemory-policy")["maxmemory-policy"]
    raw.config_set("maxmemory-policy", "noeviction")
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            raw.set("x", "y")
        done = purge(cache, Plan(BY_TAG))
    finally:
        raw.config_set("maxmemory", 0)
        raw.config_set("maxmemory-policy", policy)
    assert done.touched == 50 and version(raw) != old
