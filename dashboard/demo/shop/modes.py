"""Three ways to cache the same reads: not at all, the plain recipe, and ``dashboard.caching``.

A page reads through the shelf in force and does not know which one that is. Each read is noted (``Touch``) while
somebody listens, for the strip below a page.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from typing import Any, Final, Protocol

import redis

from dashboard.caching import Cache, PolicyDocument
from dashboard.demo.shop.store import ShopStore
from dashboard.demo.shop.types import MODES, PREFIXES, DatabaseAway, Touch

NAIVE_TTL_S: Final = 30
"""One TTL for everything, as the plain recipe has it: then it is that of what must be freshest, stock."""
FOLLOW_EVERY_S: Final = 1.0
TIMEOUT_S: Final = 1.0
LOOK_TIMEOUT_S: Final = 0.25
SCANNED: Final = 1000
"""Keys of one step through the cache."""

Load = Callable[[], Any]
LoadMany = Callable[[list[str]], Mapping[str, Any]]
Then = Callable[[Mapping[str, Any]], None]
AWAY_WHY: Final = "The cache does not answer."
KEPT_MISS_WHY: Final = "It was not there. Whoever else wants it now waits for this one load."
touches: ContextVar[list[Touch] | None] = ContextVar("touches", default=None)
"""Where reads are noted, while somebody listens."""


class Shelf(Protocol):
    """One way to cache."""

    def read(self, key: str, load: Load) -> Any:
        """The cached value, or what ``load`` returns, which may then be cached. JSON's types; None: there is none."""
        ...

    def read_many(self, keys: Sequence[str], load: LoadMany) -> dict[str, Any]:
        """The same for several keys: ``load`` gets those that are missing, and leaves out what there is not."""
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
    """Every read is one of the database.

    Args:
        drop: tells the cache of writes all the same: it must not be wrong when it is switched on again.
    """

    def __init__(self, drop: Callable[..., None]) -> None:
        self.drop = drop

    def read(self, key: str, load: Load) -> Any:
        """Load it."""
        return direct(key, load, "Caching is off.")

    def read_many(self, keys: Sequence[str], load: LoadMany) -> dict[str, Any]:
        """Load them."""
        names = list(dict.fromkeys(keys))
        values, load_ms = _timed(lambda: load(names))
        found = {name: values.get(name) for name in names}
        _note_many(found, set(), "not cached", 0.0, load_ms, "Caching is off.")
        return found

    def write(self, key: str, commit: Callable[[Then], Any]) -> Any:
        """Change the database."""
        done = commit(lambda value: None)
        self.drop(key)
        return done

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
        try:
            raw = self._client.get(key)
        except redis.RedisError:
            asked_ms = _since(began)
            value, load_ms = _timed(load)
            _note(key, "away", asked_ms, load_ms, AWAY_WHY, value)
            return value
        if raw is not None:
            with suppress(ValueError):  # another mode's mark: it is replaced
                value = json.loads(raw)
                _note(key, "hit", _since(began), 0.0, "", value)
                return value
        value, load_ms = _timed(load)
        with suppress(redis.RedisError):
            self._client.set(key, json.dumps(value), ex=self._ttl_s)
        _note(key, "loaded", _since(began) - load_ms, load_ms, "It was not there.", value)
        return value

    def read_many(self, keys: Sequence[str], load: LoadMany) -> dict[str, Any]:
        """MGET, load what is missing, and a SETEX for each of it."""
        began = time.perf_counter()
        names = list(dict.fromkeys(keys))
        found: dict[str, Any] = {}
        missed, why = "loaded", "It was not there."
        try:
            raws = self._client.mget(names) if names else []
        except redis.RedisError:
            raws, missed, why = [], "away", AWAY_WHY
        for name, raw in zip(names, raws, strict=False):
            if raw is not None:
                with suppress(ValueError):
                    found[name] = json.loads(raw)
        hits, load_ms = set(found), 0.0
        missing = [name for name in names if name not in found]
        if missing:
            values, load_ms = _timed(lambda: load(missing))
            found |= {name: values.get(name) for name in missing}
            if missed == "loaded":
                with suppress(redis.RedisError), self._client.pipeline(transaction=False) as pipe:
                    for name in missing:
                        pipe.set(name, json.dumps(found[name]), ex=self._ttl_s)
                    pipe.execute()
        _note_many(found, hits, missed, _since(began) - load_ms, load_ms, why)
        return {name: found[name] for name in names}

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
        took_ms = _since(began)
        if loads:
            load_ms = sum(loads)
            _note(key, "loaded", max(0.0, took_ms - load_ms), load_ms, KEPT_MISS_WHY, value)
        else:
            _note(key, "hit", took_ms, 0.0, "", value)
        return value

    def read_many(self, keys: Sequence[str], load: LoadMany) -> dict[str, Any]:
        """One look for all of them, and one load of what is missing."""
        began = time.perf_counter()
        loads: list[float] = []
        missed: set[str] = set()

        def timed(missing: list[str]) -> Mapping[str, Any]:
            missed.update(missing)
            values: Mapping[str, Any]
            values, load_ms = _timed(lambda: load(missing))
            loads.append(load_ms)
            return values

        found: dict[str, Any] = self.cache.get_or_load_many(keys, timed)
        load_ms = sum(loads)
        cache_ms = max(0.0, _since(began) - load_ms)
        _note_many(found, found.keys() - missed, "loaded", cache_ms, load_ms, KEPT_MISS_WHY)
        return found

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

    Whoever begins to cache begins with nothing: what another way stored, with its own times to live, would be
    counted as this one's.

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
        self._shelves: dict[str, Shelf] = {
            "off": Off(self.kept.drop),
            "naive": Naive(url),
            "cachewarden": self.kept,
        }
        self._looker = redis.Redis.from_url(
            url,
            socket_timeout=LOOK_TIMEOUT_S,
            socket_connect_timeout=LOOK_TIMEOUT_S,
            client_name="demo-store-strip",
        )
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
                is_first = self._asked_at == float("-inf")
                is_due = now - self._asked_at >= FOLLOW_EVERY_S
                if is_due:
                    self._asked_at = now
            if is_due:
                with suppress(DatabaseAway):  # the pages that are cached can still be had
                    found = self._store.mode()
                    with self._lock:
                        # It may have been switched meanwhile.
                        is_switched = self._asked_at == now and self._current != found
                        if is_switched:
                            self._current = found
                    # Until now this process stored in the other way, after the one that switched had forgotten.
                    if is_switched and not is_first:
                        self._forget(found)
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
            is_other = self._current != mode
            self._current, self._asked_at = mode, time.monotonic()
        if is_other:
            self._forget(mode)

    def lives(self, keys: Sequence[str], *, anew: bool = False) -> list[float | None] | None:
        """What each key has left to live, in seconds, without a read that would be counted as the shop's.

        Args:
            anew: over a new connection: one from before may still be let in where others are refused.

        Returns:
            In the order of the keys; None for one that is not there or lives forever. None for all: the cache
            does not answer.
        """
        try:
            if anew:
                self._looker.connection_pool.disconnect(inuse_connections=False)
            with self._looker.pipeline(transaction=False) as pipe:
                for key in keys:
                    pipe.pttl(key)
                return [None if left < 0 else left / 1000 for left in pipe.execute()]
        except redis.RedisError:
            return None

    def peek(self, keys: Sequence[str]) -> list[Any]:
        """What is cached under each key now; None where nothing is, or the cache does not answer. Loads nothing."""
        found: list[Any] = []
        with suppress(redis.RedisError):
            for raw in self._looker.mget(keys):
                value = None
                if raw is not None:
                    with suppress(ValueError):  # a mark of the library's own
                        value = json.loads(raw)
                found.append(value)
        return found or [None] * len(keys)

    def close(self) -> None:
        """Close everything."""
        self._looker.close()
        for shelf in self._shelves.values():
            shelf.close()

    def _forget(self, mode: str) -> None:
        """Remove the shop's keys when ``mode`` begins, if it caches."""
        if mode == "off":
            return
        # A cache that does not answer now keeps them: the strip says of each that it was stored before.
        with suppress(redis.RedisError):
            cursor = 0
            while True:
                reply: Any = self._looker.scan(cursor, count=SCANNED)
                cursor, found = reply
                ours = [key for key in found if key.startswith(PREFIXES)]
                if ours:
                    self._looker.unlink(*ours)
                if not cursor:
                    break


def direct(name: str, load: Load, why: str) -> Any:
    """Read from the database what is not to be cached, and note it for the strip.

    Args:
        name: the key, or what stands in its place: a name without a colon.
        why: in a sentence.
    """
    value, load_ms = _timed(load)
    _note(name, "not cached", 0.0, load_ms, why, value)
    return value


def _timed(load: Load) -> tuple[Any, float]:
    """(value, milliseconds)."""
    began = time.perf_counter()
    return load(), (time.perf_counter() - began) * 1000


def _since(began: float) -> float:
    """Milliseconds."""
    return (time.perf_counter() - began) * 1000


def _note(key: str, result: str, cache_ms: float, load_ms: float, why: str, value: Any) -> None:
    heard = touches.get()
    if heard is not None:
        heard.append(Touch(key, result, cache_ms, load_ms, why, value))


def _note_many(
    found: Mapping[str, Any], hits: Set[str], missed: str, cache_ms: float, load_ms: float, why: str
) -> None:
    heard = touches.get()
    if heard is None or not found:
        return
    each_ms, misses = cache_ms / len(found), len(found) - len(hits)
    for key, value in found.items():
        if key in hits:
            heard.append(Touch(key, "hit", each_ms, 0.0, "", value, len(found)))
        else:
            heard.append(Touch(key, missed, each_ms, load_ms / misses, why, value, len(found)))
