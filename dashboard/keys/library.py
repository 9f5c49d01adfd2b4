"""What a key is to the caching library, in words. Pure."""

from dataclasses import dataclass
from typing import Final

from dashboard.caching import tags
from dashboard.caching.policy import RESERVED
from dashboard.caching.wire import (
    COUNTERS_KEY,
    GUARD_KEY,
    INSTANCES_KEY,
    MAGIC,
    POLICIES_KEY,
    TAG_KEY,
    Kind,
    kind_of,
)

LONGEST_HEADER: Final = 16_384
"""Bytes of an entry's header, at most: its tags and their versions."""
_NONE: Final = frozenset({b"null", b"\xc0"})
"""How codecs write that there is nothing: JSON and MessagePack."""

_PLACEHOLDERS: Final = {
    Kind.LOAD: (
        "load placeholder",
        "An application loads the value from the database, and others wait for it. It ends by itself.",
    ),
    Kind.WRITE: (
        "write placeholder",
        "An application is writing the row. Until it is done, readers load from the database and store nothing.",
    ),
    Kind.HOLD: (
        "hold",
        "It was invalidated with a hold: until that ends, readers load from the database and store nothing.",
    ),
}
_OWN: Final = (
    (
        POLICIES_KEY,
        "policies",
        "The published TTL policies; applications follow them. Edit them on the Policies page.",
    ),
    (
        INSTANCES_KEY,
        "application instances",
        "Which application instances follow the policies, written by them.",
    ),
    (COUNTERS_KEY, "counters", "What applications counted per prefix; the numbers only grow."),
    (
        TAG_KEY,
        "tag",
        "A tag's version and its keys, scored by when they expire. Purge the tag to be rid of its keys.",
    ),
    (
        GUARD_KEY,
        "refresh guard",
        "One application refreshes this key's value; the guard keeps others from doing so.",
    ),
    (RESERVED, "own key", "It belongs to Cachewarden."),
)
OWN_IS_FIXED: Final = (
    "Keys that begin with cachewarden: belong to Cachewarden and its library; they are not edited here."
)
PLACEHOLDER_IS_FIXED: Final = "It is a placeholder of the caching library: what stands there is not a value."


@dataclass(frozen=True, slots=True)
class Role:
    """What a key is to the library.

    Args:
        name: as ``KeyDetail.library``; empty: nothing it knows.
        note: the explanation.
        tags: of an entry.
        header: bytes in front of the value.
        fixed: why it can't be edited; empty.
        is_value: it is a value, for which a policy's TTL is right.
    """

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    header: int = 0
    fixed: str = ""
    is_value: bool = True


def role_of(key: bytes, type: str, start: bytes, *, is_all: bool) -> Role:
    """What a key is.

    Args:
        start: of a string, how it begins.
        is_all: that is all of it.
    """
    for begins, name, note in _OWN:
        if key == begins or (begins.endswith(b":") and key.startswith(begins)):
            return Role(name, note, fixed=OWN_IS_FIXED, is_value=False)
    if type != "string":
        return Role()
    if start.startswith(MAGIC):
        name, note = _PLACEHOLDERS[kind_of(start) or Kind.HOLD]
        return Role(name, note, fixed=PLACEHOLDER_IS_FIXED, is_value=False)
    header, names = read_header(start)
    if is_all and start[header:] in _NONE:
        note = "The loader found nothing, and that is remembered for the policy's negative TTL."
        return Role("negative entry", note, names, header)
    if header:
        note = (
            "Stored by the caching library with the versions its tags had. Purging a tag changes its version, and the "
            "entry is not used any more."
        )
        return Role("entry", note, names, header)
    return Role()


def read_header(start: bytes) -> tuple[int, tuple[str, ...]]:
    """How long the header in front of a value is, and the tags in it; (0, ()): there is none.

    Args:
        start: how the value begins.
    """
    if not start.startswith(tags.HEADER):
        return 0, ()
    end = start.find(b"\n", 0, LONGEST_HEADER) + 1
    tagged = tags.unwrap(start[:end]) if end else None
    return (0, ()) if tagged is None else (end, tuple(tagged.versions))
