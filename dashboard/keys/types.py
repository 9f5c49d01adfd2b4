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
class TtlFilter:
    """Keys by how long they have to live.

    Args:
        label: as on screen.
        least_s, most_s: remaining seconds, the first included; None: no bound.
        is_none: those that never expire instead.
    """

    label: str
    least_s: float | None = None
    most_s: float | None = None
    is_none: bool = False

    def holds(self, ttl_s: float | None) -> bool:
        """Whether a key with this TTL is meant; None: it never expires."""
        if ttl_s is None or self.is_none:
            return ttl_s is None and self.is_none
        return (self.least_s or 0.0) <= ttl_s and (self.most_s is None or ttl_s < self.most_s)


TTL_FILTERS: Final[Mapping[str, TtlFilter]] = {
    "none": TtlFilter("No TTL", is_none=True),
    "lt1m": TtlFilter("Under 1 m", most_s=60),
    "lt1h": TtlFilter("Under 1 h", most_s=3_600),
    "lt1d": TtlFilter("Under 24 h", most_s=86_400),
    "gt1d": TtlFilter("24 h or more", least_s=86_400),
}
"""Name in addresses to what it holds."""


@dataclass(frozen=True, slots=True)
class Search:
    """What the key list shows.

    Args:
        text: as typed: a glob pattern, a prefix (no glob characters: what begins with it), or an exact key.
        pattern: what SCAN gets; None: all keys.
        exact: the one key that is asked for; then nothing is scanned.
        under: a path of the prefix tree (``keyspace.TreeNode.path``); only keys below it.
        type: as TYPE says; None: any.
        ttl: one of TTL_FILTERS; "": any.
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
class JsonLine:
    """One line of pretty-printed JSON.

    Args:
        depth: how far it is indented.
        tokens: (kind, text); kinds are "key", "string", "number", "word" (true, false, null) and "" for the rest.
        folds: how many of the following lines are inside what this line opens; 0: it opens nothing.
    """

    depth: int
    tokens: tuple[tuple[str, str], ...]
    folds: int = 0


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a string's bytes are.

    Args:
        layers: from outside in, in words: ("gzip", "JSON"); ("PHP serialised",).
        text: of the window, when it is text; JSON is pretty-printed where it is whole.
        hex: rows of offset, hex and ASCII, when it isn't, or was asked for.
        lines: the same as ``text`` where that is JSON, for colours and folding.
        is_truncated: there is more than is shown.
        out_bytes: decompressed bytes shown; None where nothing was decompressed.
        note: what to say beside it: "decompressed output is cut at 1 MB", "named only; never executed".
    """

    layers: tuple[str, ...]
    text: str | None
    hex: tuple[tuple[str, str, str], ...] = ()
    lines: tuple[JsonLine, ...] = ()
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
        version: see ``Edit``.
    """

    address: bytes
    value: bytes = b""
    full_bytes: int = 0
    score: str = ""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    ttl_s: float | None = None
    version: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a value.

    Args:
        length: of the whole: bytes of a string, members of a collection.
        start: where this part begins (offset in a string, index in a list or sorted set); 0 for cursors.
        cursor: where the next part begins, opaque; "": there is none. Of strings, lists and sorted sets it is the
            next ``start``.
        raw: of a string: the bytes.
        decoded: of a string.
        items: of a collection.
        groups: of a stream: name, consumers, pending, last_delivered, lag; "" where the server does not say.
        notes: what to say beside it, in sentences: why there is less than expected.
    """

    length: int
    start: int = 0
    cursor: str = ""
    raw: bytes = b""
    decoded: Decoded | None = None
    items: tuple[Item, ...] = ()
    groups: tuple[Mapping[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyDetail:
    """One key.

    Args:
        type: as TYPE says; a module's own name for its types.
        ttl_s: remaining; None: none. expires_at: epoch seconds.
        encoding, idle_s, frequency, references, size_bytes: None where the server does not say.
        policy: prefix text of the policy that applies ("" default); policy_words: "4 h + up to 36 m".
        conforms: whether its TTL keeps to the policy; None: the policy caches nothing and it has one, or none applies.
        longest_s: base + jitter + grace of the policy.
        tags: of the library's entry.
        library: what it is to the caching library, in words: "", "entry", "load placeholder", "hold", "negative entry".
        library_note: the explanation.
        rows: (mapping's name, identifier) of the database rows it maps to.
        version: digest of type and value as far as it was looked at, for optimistic edits.
        hint: "HyperLogLog", "bitmap", ...
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
    withheld: str = ""
    fixed: str = ""


class Verb(StrEnum):
    """What an edit does. The key must be there already; its TTL stays as it is, whatever is done."""

    SET_VALUE = "set-value"
    """A string's value."""
    SET_FIELD = "set-field"
    """A hash field's value, new or not; a TTL of its own stays."""
    REMOVE_FIELD = "remove-field"
    SET_ELEMENT = "set-element"
    """The list element at an index."""
    PUSH_FIRST = "push-first"
    PUSH_LAST = "push-last"
    REMOVE_ELEMENT = "remove-element"
    """The list element at an index."""
    ADD_MEMBER = "add-member"
    """To a set."""
    REMOVE_MEMBER = "remove-member"
    SET_SCORE = "set-score"
    """Of a sorted set's member, new or not."""
    REMOVE_SCORED = "remove-scored"
    ADD_ENTRY = "add-entry"
    """At a stream's end."""
    REMOVE_ENTRY = "remove-entry"

    @property
    def key_type(self) -> str:
        """The type of key that it is for."""
        return _KEY_TYPES[self]

    @property
    def is_removal(self) -> bool:
        """Whether it takes a member away."""
        return self in _REMOVALS


_KEY_TYPES: Final = {
    Verb.SET_VALUE: "string",
    Verb.SET_FIELD: "hash",
    Verb.REMOVE_FIELD: "hash",
    Verb.SET_ELEMENT: "list",
    Verb.PUSH_FIRST: "list",
    Verb.PUSH_LAST: "list",
    Verb.REMOVE_ELEMENT: "list",
    Verb.ADD_MEMBER: "set",
    Verb.REMOVE_MEMBER: "set",
    Verb.SET_SCORE: "zset",
    Verb.REMOVE_SCORED: "zset",
    Verb.ADD_ENTRY: "stream",
    Verb.REMOVE_ENTRY: "stream",
}
_REMOVALS: Final = frozenset(
    {Verb.REMOVE_FIELD, Verb.REMOVE_ELEMENT, Verb.REMOVE_MEMBER, Verb.REMOVE_SCORED, Verb.REMOVE_ENTRY}
)


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of a value.

    Args:
        verb: what to do.
        address: of the member: field's name, index in digits, member, entry id; empty for a string and for what is
            pushed.
        value: the new one, or the pushed element.
        score: as text, for SET_SCORE.
        fields: of a new stream entry.
        version: of ``Editable`` or ``KeyDetail``: what was there when it was opened; a change meanwhile is a
            conflict. Empty for what is new (pushed, added): then nothing may be there.
    """

    verb: Verb
    address: bytes = b""
    value: bytes = b""
    score: str = ""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    version: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """What a key was when it was opened, for a change of all of it: its TTL, its name, its end.

    Args:
        type: as TYPE says.
        expires_at: epoch seconds; None: it had no TTL.
        version: of ``KeyDetail``; empty: the value was not read whole, and is not compared.
        is_type_only: nothing but the type is compared: whoever it is has been shown what is there now.
    """

    type: str
    expires_at: float | None = None
    version: str = ""
    is_type_only: bool = False


@dataclass(frozen=True, slots=True)
class Editable:
    """A value, whole, made ready for a form.

    Args:
        address: of the member; empty: the string.
        value: the bytes; of the library's entries without their header, which stays as it is.
        typed: the same as a form shows it.
        is_escaped: ``typed`` is written with \\xHH for bytes that are no text, \\n and so on; else it is text as is.
        score: of a sorted set's member.
        version: see ``Edit``.
        problem: why it can't be edited, in a sentence; then the rest is empty, but for the version where it can be
            removed all the same.
    """

    address: bytes
    value: bytes = b""
    typed: str = ""
    is_escaped: bool = False
    score: str = ""
    version: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class EditResult:
    """What became of an edit.

    Args:
        is_done: it was made.
        problem: why not, in a sentence; empty when it was.
        advice: the way out, in a sentence.
        conflict: what is there now, where that is not what was opened; None: there is no conflict.
        is_gone: the key is not there any more.
        is_other: the key is not what it was when it was opened.
        note: what to say of one that was made: "It was the last member: the key is gone."
    """

    is_done: bool
    problem: str = ""
    advice: str = ""
    conflict: Editable | None = None
    is_gone: bool = False
    is_other: bool = False
    note: str = ""
