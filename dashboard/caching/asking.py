"""What a read with tags asks for, made once for each set of tags: the way of most hits of tagged keys."""

import json
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from dashboard.caching import tags as tagging
from dashboard.caching.link import pack
from dashboard.caching.protocol import version_of

MADE_KEPT = 1024


class Asking:
    """The questions for the versions of some tags, and what a value begins with that was stored with them.

    Args:
        tags: checked ones.
    """

    __slots__ = ("_before", "commands", "packed", "tags")

    def __init__(self, tags: tuple[str, ...]) -> None:
        self.tags = tags
        self.commands = [version_of(tag) for tag in tags]
        self.packed = pack(self.commands)
        """The commands as they are sent."""
        starts = [tagging.HEADER + b"{", *[b","] * (len(tags) - 1)]
        self._before = [
            start + json.dumps(tag).encode() + b":" for start, tag in zip(starts, tags, strict=False)
        ]

    def payload(self, raw: bytes, versions: Sequence[Any]) -> bytes | None:
        """The payload of a value that has just these tags, with these versions.

        None says nothing: then look closer.

        Args:
            raw: the value as it is stored.
            versions: replies to ``commands``.
        """
        header = b""
        for before, version in zip(self._before, versions, strict=True):
            if type(version) is not bytes:
                return None
            header += before + version
        header += b"}\n"
        return raw[len(header) :] if raw.startswith(header) else None


def asking(tags: Iterable[str]) -> Asking:
    """For these tags.

    Raises:
        UsageError: see ``tags.check``.
    """
    if not isinstance(tags, str | bytes):
        tags = tuple(tags)
        # A text of another class may be equal to this one and mean another tag.
        if all(type(tag) is str for tag in tags):
            return _made(tags)
    return Asking(tagging.check(tags))


@lru_cache(maxsize=MADE_KEPT)
def _made(tags: tuple[str, ...]) -> Asking:
    return Asking(tagging.check(tags))
