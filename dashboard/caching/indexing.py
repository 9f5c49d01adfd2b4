"""Which keys were stored for a tag, told to Redis about once a second and many at a time.

The index of a tag serves to give memory back early when the tag is purged; whether a value may be used is decided by
its version alone. So it need not be written in the middle of a read, and what is lost of it costs memory until the
keys expire, nothing else.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from dashboard.caching import tags as tagging
from dashboard.caching.link import Link, Unreachable
from dashboard.caching.wire import TAG_INDEX

MOST_WAITING: Final = 50_000
"""More keys than this are not remembered between two beats."""
BATCH: Final = 500
"""Keys per script."""

Entry = tuple[str, int]
"""A tag and the version that its keys were stored with."""


class Index:
    """Collects keys, and carries them.

    Args:
        link: the way to Redis.
        is_up: whether the server of a key is worth a try.
    """

    def __init__(self, link: Link, is_up: Callable[[bytes], bool] = lambda key: True) -> None:
        self._link = link
        self._is_up = is_up
        self.after_fork()

    def after_fork(self) -> None:
        """In a child process: what is waiting is carried by the parent."""
        self._lock = threading.Lock()
        self._waiting: dict[Entry, dict[bytes, int]] = {}
        self._number = 0

    def add(self, versions: Mapping[str, int], key: bytes, ms: int) -> None:
        """A value was stored.

        Args:
            versions: tag -> version in the value.
            key: its key.
            ms: how long it may live at most from now on.
        """
        with self._lock:
            for entry in versions.items():
                if self._number >= MOST_WAITING:
                    return
                keys = self._waiting.get(entry)
                if keys is None:
                    keys = self._waiting[entry] = {}
                if key not in keys:
                    self._number += 1
                keys[key] = ms

    def flush(self, tags: Iterable[str] | None = None) -> None:
        """Carry what is waiting; of these tags, or all of it."""
        if not self._number:
            return
        wanted = None if tags is None else set(tags)
        with self._lock:
            taken = [entry for entry in self._waiting if wanted is None or entry[0] in wanted]
            lists = [(entry, self._waiting.pop(entry)) for entry in taken]
            self._number -= sum(len(keys) for _, keys in lists)
        for (tag, version), keys in lists:
            tag_key = tagging.tag_key(tag)
            if not self._is_up(tag_key):
                continue
            items = list(keys.items())
            for start in range(0, len(items), BATCH):
                batch: list[Any] = [each for item in items[start : start + BATCH] for each in item]
                command = (TAG_INDEX, tag_key, tagging.VERSION, version, tagging.MAX_MEMBERS, *batch)
                try:
                    self._link.exchange([command])
                except Unreachable:
                    # It is about memory only.
                    break
