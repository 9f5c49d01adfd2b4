"""Tags: labels for groups of keys that are invalidated together.

A tag is one sorted set, ``cachewarden:tag:<tag>``. Its members are keys, scored by when they expire at the latest;
one more member holds the tag's *version*, a random number, as its score. Whoever loads a value for a tagged key
first asks for the versions of its tags, and writes them in front of the value; a reader compares them with the
current ones, in the same round trip as the value. Purging a tag is a new version: one command, and from then on no
value of the tag is used, however many there are and whoever loads one at that moment.

The index only serves to give memory back early. When the set is evicted, the version goes with it, and a tag
without that version makes all its values useless: an eviction costs loads, it never leaves an old value readable.
"""

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dashboard.caching.errors import UsageError
from dashboard.caching.wire import TAG_KEY

HEADER: Final = b"#cachewarden "
"""How a tagged value begins; no JSON begins with it. Up to the line's end follows {tag: version} as JSON."""
VERSION: Final = b"\x00version"
"""The member whose score is the version."""
LEAST_VERSION: Final = 2**52
"""Versions are integers from here to twice that; ``wire.TAG_OPEN`` knows it, too."""
MAX_TAGS: Final = 16
MAX_TAG_CHARS: Final = 200
MAX_MEMBERS: Final = 100_000
"""An index that has so many members takes no more; their memory comes back when they expire."""


_in_short = json.JSONEncoder(separators=(",", ":")).encode


class Tagged(NamedTuple):
    """A tagged value, taken apart."""

    versions: Mapping[str, int]
    payload: bytes


def check(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags in order, each once.

    Raises:
        UsageError: not texts of 1 to MAX_TAG_CHARS characters, or more than MAX_TAGS.
    """
    if isinstance(tags, str | bytes):
        raise UsageError(f"tags takes several: ({tags!r},)")
    given: set[object] = set(tags)
    for tag in given:
        if not isinstance(tag, str) or not 1 <= len(tag) <= MAX_TAG_CHARS:
            raise UsageError(f"a tag is text of 1 to {MAX_TAG_CHARS} characters; got {tag!r}")
        try:
            tag.encode()
        except UnicodeEncodeError:
            raise UsageError("a tag can't contain half of a surrogate pair") from None
    if len(given) > MAX_TAGS:
        raise UsageError(f"a key can have {MAX_TAGS} tags; got {len(given)}")
    return tuple(sorted(map(str, given)))


def tag_key(tag: str) -> bytes:
    """The key of a tag's sorted set."""
    return TAG_KEY + tag.encode()


def new_version() -> int:
    """A version: random, exact as a double, and above any time in milliseconds."""
    return LEAST_VERSION + secrets.randbits(52)


def parse_version(reply: Any) -> int | None:
    """The version in a reply to ZSCORE, which is text or a number, depending on the protocol.

    None for everything that ``new_version`` can't have made: there is none, or somebody else wrote it.
    """
    try:
        number = float(reply)
    except (TypeError, ValueError):
        return None
    return int(number) if LEAST_VERSION <= number < 2 * LEAST_VERSION and number.is_integer() else None


def wrap(versions: Mapping[str, int], payload: bytes) -> bytes:
    """The value as it is stored; without tags it is the payload itself."""
    if not versions:
        return payload
    return HEADER + _in_short(versions).encode() + b"\n" + payload


def unwrap(value: bytes) -> Tagged | None:
    """A tagged value, taken apart; None when its header can't be read."""
    header, newline, payload = value[len(HEADER) :].partition(b"\n")
    try:
        found = json.loads(header)
        if newline and isinstance(found, dict) and all(type(number) is int for number in found.values()):
            # Each will be asked for: they must be tags, and few.
            check(found)
            return Tagged(found, payload)
    except (ValueError, RecursionError):
        pass
    return None


def is_current(tagged: Tagged, tags: Sequence[str], replies: Sequence[Any]) -> bool:
    """Whether every version in the value is the current one.

    Args:
        tagged: the value.
        tags: the tags that were asked for; they must contain the value's.
        replies: to ZSCORE, in the same order.
    """
    current = dict(zip(tags, replies, strict=True))
    return all(parse_version(current[tag]) == version for tag, version in tagged.versions.items())
