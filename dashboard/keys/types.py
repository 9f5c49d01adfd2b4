"""What the key browser shows: key lists, one key, its value in windows. Frozen; values are in base units."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

PAGE_KEYS: Final = 100
"""Rows of the key list."""
WINDOW_BYTES: Final = 65_536
"""Of a string that is read at a time."""
WINDOW_ITEMS: Final = 100
"""Of a collection's members that are read at a time."""
MOST_EDITED_BYTES: Final = 1_048_576
"""A longer value can't be edited here."""


class View(StrEnum):
    """How a string is shown."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"
    HEX = "hex"


@dataclass(frozen=True, slots=True)
class Search:
    """What the key list shows.

    Args:
        text: as typed: a glob pattern, a prefix (no glob characters: what begins with it), or an exact key.
        pattern: what SCAN gets; None: all keys.
        exact: the one key that is asked for; then nothing is scanned.
        under: a path of the prefix tree (``keyspace.TreeNode.path``); only keys below it.
        type: as TYPE says; None: any.
        ttl: "", "none", "lt1m", "lt1h", "gt1d", ...: see forms.
    """

    text: str = ""
    pattern: bytes | None = None
    exact: bytes | None = None
    under: tuple[str, ...] = ()
    type: str | None = None
    ttl: str = ""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One row of the list. Gone between two calls: it is left out."""

    key: bytes
    type: str
    ttl_s: float | None
    size_bytes: int | None
    idle_s: int | None


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Some keys, found by SCAN.

    Args:
        rows: in the order they were found.
        cursor: opaque, where the search goes on (all nodes); "": it is complete.
        looked_at: keys looked at for this page; before: by the pages before it.
        found_before: rows on the pages before.
        keyspace: keys in the cache, about.
        stopped_early: it looked at enough for one page without filling it: "go on" is offered.
    """

    rows: tuple[KeyRow, ...]
    cursor: str
    looked_at: int
    before: int
    found_before: int
    keyspace: int
    stopped_early: bool = False


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a string's bytes are.

    Args:
        layers: from outside in, in words: ("gzip", "JSON"); ("PHP serialised",).
        text: of the window, when it is text; JSON is pretty-printed where it is whole.
        hex: rows of offset, hex and ASCII, when it isn't, or was asked for.
        is_json: the text is JSON, whole.
        is_truncated: there is more than is shown.
        out_bytes: decompressed bytes shown; None where nothing was decompressed.
        note: what to say beside it: "decompressed output is cut at 1 MB", "named only; never executed".
    """

    layers: tuple[str, ...]
    text: str | None
    hex: tuple[tuple[str, str, str], ...] = ()
    is_json: bool = False
    is_truncated: bool = False
    out_bytes: int | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One member of a collection: a field, list element, set member, scored member, stream entry.

    Args:
        address: what edits and URLs call it by: field's name, index, member, entry id.
        value: at most some KB of it; full_bytes says how long it is.
        score: of a sorted set's member, as the server writes it.
        fields: of a stream's entry.
        ttl_s: of a hash field that has one (Redis 7.4).
    """

    address: bytes
    value: bytes = b""
    full_bytes: int = 0
    score: str = ""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    ttl_s: float | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a value.

    Args:
        length: of the whole: bytes of a string, members of a collection.
        start: where this part begins (offset, index); 0 for cursors.
        cursor: where the next part begins, opaque; "": there is none.
        raw: of a string: the bytes.
        decoded: of a string.
        items: of a collection.
        groups: of a stream: name, consumers, pending, last delivered id, lag.
    """

    length: int
    start: int = 0
    cursor: str = ""
    raw: bytes = b""
    decoded: Decoded | None = None
    items: tuple[Item, ...] = ()
    groups: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KeyDetail:
    """One key.

    Args:
        type: as TYPE says; a module's own name for its types.
        ttl_s: remaining; None: none. expires_at: epoch seconds.
        encoding, idle_s, frequency, references, size_bytes: None where the server does not say.
        policy: prefix text of the policy that applies ("" default); policy_words: "4 h + up to 36 m".
        conforms: whether its TTL keeps to the policy; None: the policy caches nothing, or none applies.
        longest_s: base + jitter + grace of the policy.
        tags: of the library's entry.
        library: what it is to the caching library, in words: "", "entry", "load placeholder", "hold", "negative entry".
        library_note: the explanation.
        rows: (mapping's name, identifier) of the database rows it maps to.
        version: digest of type and value as far as it was looked at, for optimistic edits.
        hint: "HyperLogLog", "bitmap", ...
        payload: of a string, all that an edit replaces (of the library's entry: what the application stored); None: it
            can't be edited here, and ``fixed`` says why.
        fixed: why the value of this key can't be edited here, with the way out; empty: it can.
    """

    key: bytes
    type: str
    ttl_s: float | None
    expires_at: float | None
    size_bytes: int | None
    encoding: str | None
    idle_s: int | None
    frequency: int | None
    references: int | None
    policy: str
    policy_words: str
    conforms: bool | None
    longest_s: float | None
    window: Window
    tags: tuple[str, ...] = ()
    library: str = ""
    library_note: str = ""
    rows: tuple[tuple[str, str], ...] = ()
    version: str = ""
    hint: str = ""
    notes: tuple[str, ...] = field(default_factory=tuple)
    payload: bytes | None = None
    fixed: str = ""
