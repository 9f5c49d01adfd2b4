"""The same few calls on this library, on the plain recipe, and on two libraries that many applications use."""

import json
import random
import time
from collections.abc import Callable
from typing import Any, Protocol

import redis

from dashboard.caching import Cache, InvalidationError, Policy, Protection, Strategy, tags
from dashboard.caching.wire import kind_of

TTL_S = 300
GRACE_S = 600
HOLD_MS = 40
GRACE_LEFT_MS = 400_000
"""With so long to live a value is in its grace time."""


class Adapter(Protocol):
    """What the harness needs of a cache."""

    def read(self, key: str, load: Callable[[], int]) -> int: ...
    def invalidate(self, key: str) -> None: ...
    def write(self, key: str, version: int, commit: Callable[[], None]) -> bool:
        """Write-through around ``commit``; False: not offered, invalidate instead."""

    def stored(self, key: str) -> int | None:
        """The version that a reader would be given now without loading."""

    def close(self) -> None: ...


class Ours:
    """This library with everything on."""

    def __init__(self, url: str) -> None:
        policy = Policy(
            prefix=b"",
            tier="hot",
            base_ttl_s=TTL_S,
            jitter_s=0,
            strategy=Strategy.WRITE_THROUGH,
            protection=Protection(early_refresh_beta=1.0, grace_s=GRACE_S),
            longest_wait_s=0.05,
        )
        self.cache = Cache(url, default=policy)
        self._tag = ("soak",)
        self._chance = random.Random()

    def read(self, key: str, load: Callable[[], int]) -> int:
        # A third of the keys are tagged.
        return self.cache.get_or_load(key, load, tags=self._tags(key))

    def invalidate(self, key: str) -> None:
        # On a busy machine the server may be too slow to answer in time; then it is said so, and tried again.
        # A third of the keys are sometimes held, so that some invalidations come while they are.
        hold_ms = HOLD_MS if hash_of(key) % 3 == 1 and self._chance.random() < 0.5 else None
        while True:
            try:
                self.cache.invalidate(key, hold_ms=hold_ms)
                return
            except InvalidationError:
                time.sleep(0.05)

    def write(self, key: str, version: int, commit: Callable[[], None]) -> bool:
        try:
            with self.cache.write_through(key, tags=self._tags(key)) as write:
                write.value = version
                commit()
        except InvalidationError:
            self.invalidate(key)
        return True

    def stored(self, key: str) -> int | None:
        return self.cache.get(key)

    def close(self) -> None:
        self.cache.close()

    def _tags(self, key: str) -> tuple[str, ...]:
        return self._tag if hash_of(key) % 3 == 0 else ()


def hash_of(key: str) -> int:
    """The same in every process."""
    return sum(key.encode())


class Plain:
    """GET, on a miss load and SETEX; DEL after a write."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url)

    def read(self, key: str, load: Callable[[], int]) -> int:
        found = self._client.get(key)
        if found is not None:
            return int(json.loads(found))
        value = load()
        self._client.setex(key, TTL_S, json.dumps(value))
        return value

    def invalidate(self, key: str) -> None:
        self._client.delete(key)

    def write(self, key: str, version: int, commit: Callable[[], None]) -> bool:
        return False

    def stored(self, key: str) -> int | None:
        found = self._client.get(key)
        return None if found is None else int(json.loads(found))

    def close(self) -> None:
        self._client.close()


class Dogpile:
    """dogpile.cache with its lock in Redis: the strongest it offers."""

    def __init__(self, url: str) -> None:
        from dogpile.cache import make_region

        self._region: Any = make_region().configure(
            "dogpile.cache.redis",
            expiration_time=TTL_S,
            arguments={"url": url, "distributed_lock": True, "lock_timeout": 5, "thread_local_lock": False},
        )

    def read(self, key: str, load: Callable[[], int]) -> int:
        return int(self._region.get_or_create(key, load))

    def invalidate(self, key: str) -> None:
        self._region.delete(key)

    def write(self, key: str, version: int, commit: Callable[[], None]) -> bool:
        return False

    def stored(self, key: str) -> int | None:
        from dogpile.cache.api import NO_VALUE

        found = self._region.get(key)
        return None if found is NO_VALUE else int(found)

    def close(self) -> None:
        self._region.backend.reader_client.close()


class FlaskCaching:
    """Flask-Caching's Redis cache, as its own decorators use it."""

    def __init__(self, url: str) -> None:
        from flask import Flask
        from flask_caching import Cache as TheirCache

        self._app = Flask("soak")
        self._cache: Any = TheirCache(
            self._app,
            config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url, "CACHE_DEFAULT_TIMEOUT": TTL_S},
        )

    def read(self, key: str, load: Callable[[], int]) -> int:
        with self._app.app_context():
            found = self._cache.get(key)
            if found is None:
                found = load()
                self._cache.set(key, found)
            return int(found)

    def invalidate(self, key: str) -> None:
        with self._app.app_context():
            self._cache.delete(key)

    def write(self, key: str, version: int, commit: Callable[[], None]) -> bool:
        return False

    def stored(self, key: str) -> int | None:
        with self._app.app_context():
            found = self._cache.get(key)
        return None if found is None else int(found)

    def close(self) -> None:
        self._cache.cache._write_client.close()


ADAPTERS: dict[str, Callable[[str], Adapter]] = {
    "cachewarden": Ours,
    "plain": Plain,
    "dogpile.cache": Dogpile,
    "Flask-Caching": FlaskCaching,
}

TAG_KEY = tags.tag_key("soak")


def is_placeholder(value: bytes | None) -> bool:
    """Whether what is stored is a mark of this library's."""
    return value is not None and kind_of(value) is not None
