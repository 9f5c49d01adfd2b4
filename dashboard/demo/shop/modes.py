"""Three ways to cache the same reads: not at all, the plain recipe, and ``dashboard.caching``.

A page reads through the shelf in force and does not know which one that is. Each read is noted (``Touch``) while
somebody listens, for the strip below a page.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from typing import Any, Final, Protocol

import redis

from dashboard.caching import Cache, PolicyDocument
from dashboard.demo.shop.store import ShopStore
from dashboard.demo.shop.types import MODES, Touch

NAIVE_TTL_S: Final = 300
"""One TTL for everything, as the plain recipe has it."""
FOLLOW_EVERY_S: Final = 1.0
TIMEOUT_S: Final = 1.0

Load = Callable[[], Any]
Then = Callable[[Mapping[str, Any]], None]
touches: ContextVar[list[Touch] | None] = ContextVar("touches", default=None)
"""Where reads are noted, while somebody listens."""


class Shelf(Protocol):
    """One way to cache."""

    def read(self, key: str, load: Load) -> Any:
        """The cached value, or what ``load`` returns, which may then be cached. JSON's types; None: there is none."""
        ...

    def drop(self, *keys: str) -> None:
        """Forget keys; after the commit."""
        ...

    def write(self, key: str, commit: Callable[[Then], Any]) -> Any:
        """Change what is behind a key and the cached value with it.

        Args:
            commit: changes the database; calls what it is given with the new value before it commits.

        Returns:
            what ``commit`` returned.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


class Off:
    """Every read is one of the database."""

    def read(self, key: str, load: Load) -> Any:
        """Load it."""
        value, load_ms = _timed(load)
        _note(key, "not cached", 0.0, load_ms, "Caching is off.")
        return value

    def drop(self, *keys: str) -> None:
        """Nothing is kept."""

    def write(self, key: str, commit: Callable[[Then], Any]) -> Any:
        """Change the database."""
        return commit(lambda value: None)

    def close(self) -> None:
        """Nothing is open."""


class Naive:
    """GET, on a miss load and SETEX with one TTL for all; DEL after a write. No protection of any kind.

    Args:
        url: of Redis.
        ttl_s: the TTL.
    """

    def __init__(self, url: str, ttl_s: int = NAIVE_TTL_S) -> None:
        self._client = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, client_name="demo-store-naive"
        )
        self._ttl_s = ttl_s

    def read(self, key: str, load: Load) -> Any:
        """Cache-aside as it is usually written down."""
        began = time.perf_counter()
        raw = None
        try:
            raw = self._client.get(key)
        except redis.RedisError:
            value, load_ms = _timed(load)
            _note(
                key,
                "away",
                (time.perf_counter() - began) * 1000 - load_ms,
                load_ms,
                "The cache does not answer.",
            )
            return value
        if raw is not None:
            try:
                value = json.loads(raw)
            except ValueError:
                pass  # another mode's: it is replaced
            else:
                _note(key, "hit", (time.perf_counter() - began) * 1000, 0.0, "")
                return value
        value, load_ms = _timed(load)
        with suppress(redis.RedisError):
            self._client.setex(key, self._ttl_s, json.dumps(value))
        _note(key, "loaded", (time.perf_counter() - began) * 1000 - load_ms, load_ms, "It was not there.")
        return value

    def drop(self, *keys: str) -> None:
        """DEL; one that gets lost is lost."""
        with suppress(redis.RedisError):
            self._client.delete(*keys)

    def write(self, key: str, commit: Callable[[Then], Any]) -> Any:
        """Write, then delete."""
        done = commit(lambda value: None)
        self.drop(key)
        return done

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


class Kept:
    """``dashboard.caching``: leases, jitter, policies that operators edit, write-through.

    Args:
        url: of Redis.
        name: of this application instance.
        document: what holds until policies were read.
    """

    def __init__(self, url: str, name: str, document: PolicyDocument | None = None) -> None:
        # A lost invalidation is repeated until it works: no customer has to know.
        self.cache = Cache(url, name=name, on_error="retry")
        if document is not None:
            self.cache.use(document)

    def read(self, key: str, load: Load) -> Any:
        """One read through the library."""
        began = time.perf_counter()
        loads: list[float] = []

        def timed() -> Any:
            value, load_ms = _timed(load)
            loads.append(load_ms)
            return value

        value = self.cache.get_or_load(key, timed)
        took_ms = (time.perf_counter() - began) * 1000
        if loads:
            _note(
                key,
                "loaded",
                max(0.0, took_ms - sum(loads)),
                sum(loads),
                "It was not there; others would wait.",
            )
        else:
            _note(key, "hit", took_ms, 0.0, "")
        return value

    def drop(self, *keys: str) -> None:
        """Invalidate; no load that began before can bring the old value back."""
        self.cache.invalidate(*keys)

    def write(self, key: str, commit: Callable[[Then], Any]) -> Any:
        """Write-through: the cache holds the new value from the commit on."""
        with ExitStack() as stack:

            def then(value: Mapping[str, Any]) -> None:
                write = stack.enter_context(self.cache.write_through(key))
                write.value = dict(value)

            return commit(then)

    def close(self) -> None:
        """Close the cache."""
        self.cache.close()


class Modes:
    """All shelves, and which one is in force: switched live, for all processes of the shop.

    Args:
        store: keeps the choice.
        url: of Redis.
        name: of this application instance.
        document: see ``Kept``.
        fixed: this one, whatever the store says; None: follow it.
    """

    def __init__(
        self,
        store: ShopStore,
        url: str,
        name: str = "shop-web-1",
        document: PolicyDocument | None = None,
        *,
        fixed: str | None = None,
    ) -> None:
        self._store = store
        self.kept = Kept(url, name, document)
        self._shelves: dict[str, Shelf] = {"off": Off(), "naive": Naive(url), "cachewarden": self.kept}
        self._fixed = fixed
        self._lock = threading.Lock()
        self._current = fixed or MODES[-1]
        self._asked_at = float("-inf")

    @property
    def current(self) -> str:
        """The mode in force, at most a second old."""
        if self._fixed is None:
            now = time.monotonic()
            with self._lock:
                is_due = now - self._asked_at >= FOLLOW_EVERY_S
                if is_due:
                    self._asked_at = now
            if is_due:
                self._current = self._store.mode()
        return self._current

    @property
    def shelf(self) -> Shelf:
        """The shelf in force."""
        return self._shelves[self.current]

    def switch(self, mode: str) -> None:
        """Let every process follow within a second; this one at once.

        Raises:
            ValueError: there is no such mode.
        """
        if mode not in MODES:
            raise ValueError(mode)
        self._store.set_mode(mode)
        with self._lock:
            self._current, self._asked_at = mode, time.monotonic()

    def close(self) -> None:
        """Close everything."""
        for shelf in self._shelves.values():
            shelf.close()


def _timed(load: Load) -> tuple[Any, float]:
    """(value, milliseconds)."""
    began = time.perf_counter()
    return load(), (time.perf_counter() - began) * 1000


def _note(key: str, result: str, cache_ms: float, load_ms: float, why: str) -> None:
    heard = touches.get()
    if heard is not None:
        heard.append(Touch(key, result, cache_ms, load_ms, why=why))
