"""Removing keys and purging tags; what does not get through is raised, or kept and repeated. Never dropped."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from redis.exceptions import ResponseError

from dashboard.caching import tags as tagging
from dashboard.caching.breaker import Breaker
from dashboard.caching.errors import InvalidationError, UsageError
from dashboard.caching.link import Link, Unreachable
from dashboard.caching.wire import DROP, HOLD, TAG_KEY, TAG_PURGE, Kind, placeholder

OnError = Literal["raise", "retry"]

BATCH: Final = 500
MAX_PENDING: Final = 100_000
"""More than so many kept ones are raised after all."""
RECLAIM_S: Final = 1.0
"""A purge spends so long at most on giving memory back."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """One invalidation that waits; a later one of the same key is another object."""

    hold_ms: int | None


class Removal:
    """Tells Redis, and keeps what it could not be told.

    Args:
        link: the way to Redis. The circuit breaker is not asked: a write must at least try.
        on_error: "raise" or "retry", where the caller doesn't say.
        looked: told of each key that was removed or held, and what there was (see wire.DROP).
    """

    def __init__(
        self,
        link: Link,
        on_error: OnError,
        looked: Callable[[bytes, int], None] = lambda key, found: None,
    ) -> None:
        self._link = link
        self._on_error = on_error
        self.mode(on_error)
        self._looked = looked
        self.pending: dict[bytes, _Kept] = {}
        """What Redis could not be told about, by key; tags are in by their own key."""
        self.after_fork()

    def after_fork(self) -> None:
        """In a child process; what is pending is repeated by both."""
        self._lock = threading.Lock()

    def mode(self, on_error: OnError | None) -> OnError:
        """What applies; None: as the cache was told.

        Raises:
            UsageError: it is neither.
        """
        mode = self._on_error if on_error is None else on_error
        if mode not in ("raise", "retry"):
            raise UsageError('on_error is "raise" or "retry"')
        return mode

    def concerns(self, key: bytes, tags: Iterable[str]) -> bool:
        """Whether the key, or one of its tags, waits for its invalidation."""
        if not self.pending:
            return False
        return key in self.pending or self.concerns_tag(tags)

    def concerns_tag(self, tags: Iterable[str]) -> bool:
        """Whether one of the tags waits for its purge."""
        return bool(self.pending) and any(tagging.tag_key(tag) in self.pending for tag in tags)

    def remove(
        self,
        keys: Sequence[bytes],
        hold_ms: int | None,
        on_error: OnError | None,
        failed: Callable[[bytes], None],
    ) -> None:
        """Remove keys, or put a hold in their place.

        Args:
            keys: the keys.
            hold_ms: None: remove.
            on_error: None: as the cache was told.
            failed: called for each key that did not get through.

        Raises:
            InvalidationError: some did not, and they are not kept.
        """
        kept = self._kept(keys)
        lost, cause = self._try(keys, hold_ms)
        for key in lost:
            failed(key)
        if lost:
            self.keep_or_raise(lost, hold_ms, on_error, cause)
        else:
            # A hold that waits promises more than this removal did.
            self._forget([item for item in kept if item[1].hold_ms is None or hold_ms is not None])

    def keep_or_raise(
        self, keys: Sequence[bytes], hold_ms: int | None, on_error: OnError | None, cause: Exception | None
    ) -> None:
        """Keep keys for later, or raise, as was asked for."""
        if self.mode(on_error) == "retry":
            with self._lock:
                if len(self.pending) + len(keys) <= MAX_PENDING:
                    for key in keys:
                        held = self.pending.get(key)
                        # A hold that waits promises more than a removal.
                        longest = max(hold_ms or 0, (held.hold_ms if held else None) or 0)
                        self.pending[key] = _Kept(longest or None)
                    return
        raise InvalidationError(keys, cause)

    def purge(self, tags: Sequence[str], on_error: OnError | None) -> int:
        """Give tags a new version, then give the memory of their keys back, as far as that goes quickly.

        Returns:
            how many keys were removed.

        Raises:
            InvalidationError: see ``remove``.
        """
        keys = [tagging.tag_key(tag) for tag in tags]
        kept = self._kept(keys)
        lost: list[bytes] = []
        cause: Exception | None = None
        purged: dict[bytes, list[bytes]] = {}
        for key, found in zip(keys, self._renew(keys), strict=True):
            if isinstance(found, Exception):
                lost.append(key)
                cause = found
            else:
                purged[key] = found
        self._forget([item for item in kept if item[0] in purged])
        try:
            if lost:
                self.keep_or_raise(lost, None, on_error, cause)
        finally:
            removed = self._reclaim(purged)
        return removed

    def _reclaim(self, purged: Mapping[bytes, list[bytes]]) -> int:
        """Remove the keys of purged tags; it is about memory only, and need not succeed."""
        removed = 0
        deadline = time.monotonic() + RECLAIM_S
        for key, found in purged.items():
            while found:
                lost, _ = self._try(found, None)
                removed += len(found) - len(lost)
                if lost or time.monotonic() > deadline:
                    break
                found = self._next(key)
        return removed

    def repeat(self) -> None:
        """Try again what is pending; called about once a second."""
        with self._lock:
            pending = list(self.pending.items())
        away: set[Breaker] = set()
        for key, kept in pending:
            server = self._link.breaker(key)
            if server in away:
                continue
            failure: Exception | None
            if key.startswith(TAG_KEY):
                found = self._renew([key])[0]
                failure = found if isinstance(found, Exception) else None
            else:
                _, failure = self._try([key], kept.hold_ms)
            if failure is None:
                self._forget([(key, kept)])
            elif isinstance(failure, Unreachable):
                # The next round tries again. What one server can't be told holds up no other, and what Redis
                # refuses holds up nothing behind it.
                away.add(server)

    def _kept(self, keys: Sequence[bytes]) -> list[tuple[bytes, _Kept]]:
        """What waits for these keys now, to be forgotten once they got through."""
        if not self.pending:
            return []
        with self._lock:
            return [(key, self.pending[key]) for key in keys if key in self.pending]

    def _forget(self, kept: Sequence[tuple[bytes, _Kept]]) -> None:
        """Forget what got through; what was kept for the same keys meanwhile stays."""
        if kept:
            with self._lock:
                for key, item in kept:
                    if self.pending.get(key) is item:
                        del self.pending[key]

    def _renew(self, keys: Sequence[bytes]) -> list[list[bytes] | ResponseError | Unreachable]:
        """Give tags new versions, in one round trip; for each, the first keys of its index, or why not."""
        commands = [(TAG_PURGE, key, tagging.VERSION, tagging.new_version(), BATCH) for key in keys]
        try:
            return self._link.exchange_each(commands)
        except Unreachable as error:
            return [error] * len(keys)

    def _next(self, key: bytes) -> list[bytes]:
        try:
            reply = self._link.exchange([(TAG_PURGE, key, tagging.VERSION, b"", BATCH)])[0]
        except Unreachable:
            return []
        return [] if isinstance(reply, ResponseError) else list(reply)

    def _try(self, keys: Sequence[bytes], hold_ms: int | None) -> tuple[list[bytes], Exception | None]:
        """Tell Redis; returns the keys that did not get through, and why."""
        lost: list[bytes] = []
        cause: Exception | None = None
        for start in range(0, len(keys), BATCH):
            batch = keys[start : start + BATCH]
            commands: list[tuple[Any, ...]] = [
                (DROP, key) if hold_ms is None else (HOLD, key, placeholder(Kind.HOLD), hold_ms)
                for key in batch
            ]
            try:
                replies = self._link.exchange_each(commands)
            except Unreachable as error:
                lost.extend(batch)
                cause = error
                continue
            for key, reply in zip(batch, replies, strict=True):
                if isinstance(reply, ResponseError | Unreachable):
                    lost.append(key)
                    cause = reply
                else:
                    self._looked(key, reply)
        return lost, cause
