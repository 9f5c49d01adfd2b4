"""Policies: how long what kind of key is cached and how it is protected.

One JSON document per cache, published by the dashboard and followed by applications. The validator here is the
only one: forms, command line, API, import and the library all call it. ``PolicyTable`` finds the policy of a key.

The document::

    {"schema": 1, "version": 12,
     "tiers": [{"name": "hot", "label": "Hot", "min_ttl_s": 30, "max_ttl_s": 120},
               {"name": "no-cache", "label": "No cache", "min_ttl_s": null, "max_ttl_s": null}],
     "policies": [{"prefix": "product:", "tier": "hot", "base_ttl_s": 60, "jitter_s": 15,
                   "strategy": "cache-aside",
                   "protection": {"lease": true, "early_refresh_beta": null, "grace_s": null},
                   "negative_ttl_s": 5, "longest_wait_s": 5.0, "note": "", "bypass_until": null}],
     "default": {"tier": "hot", "base_ttl_s": 60, "jitter_s": 10}}

Everything but ``version``, ``tiers`` and ``default``, and a policy's ``prefix``, ``tier`` and ``base_ttl_s``, may
be left out. ``default`` is a policy without a prefix.

One more field may be there, for the dashboard alone; it is kept with the policies and left out of what is published::

    "mappings": [{"table": "products", "column": "id", "templates": ["product:{id}", "product:{id}:reviews"]}]
"""

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Generic, TypeVar

from dashboard.caching.errors import PolicyError, Problem, Wrong

SCHEMA: Final = 1
"""The newest layout of the document that this code understands."""
MAX_DOCUMENT_BYTES: Final = 1_000_000
MAX_POLICIES: Final = 5_000
MAX_TIERS: Final = 50
MAX_PREFIX_BYTES: Final = 512
MAX_NAME_CHARS: Final = 60
MAX_NOTE_CHARS: Final = 2_000
MAX_TTL_S: Final = 366 * 86_400
MAX_GRACE_S: Final = 7 * 86_400
MAX_NEGATIVE_TTL_S: Final = 86_400
MAX_WAIT_S: Final = 60.0
BETA_RANGE: Final = (0.1, 10.0)
MAX_PROBLEMS: Final = 100
"""After so many the rest of the document is not looked at."""
RESERVED: Final = b"cachewarden:"
"""Keys that start with it are this software's own."""
MAX_MAPPINGS: Final = 500
MAX_TEMPLATES: Final = 20
MAX_TABLE_CHARS: Final = 200
ROW_ID: Final = "{id}"
"""Where a row's identifier goes in a key template."""

_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(\\)|(.?))", re.DOTALL)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*\Z")
_COLUMN = re.compile(r"\w[\w$-]*\Z")
_TABLE = re.compile(r"\w[\w$-]*(\.\w[\w$-]*){0,2}\Z")


class Strategy(StrEnum):
    """What a write does to the cached value."""

    CACHE_ASIDE = "cache-aside"
    """It is dropped; the next read loads it."""
    WRITE_THROUGH = "write-through"
    """The new value is stored at once."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A named range of TTLs, both ends included; both None for the tier that caches nothing."""

    name: str
    label: str
    min_ttl_s: int | None
    max_ttl_s: int | None

    @property
    def is_cached(self) -> bool:
        """Whether keys of this tier are cached at all."""
        return self.min_ttl_s is not None

    def to_dict(self) -> dict[str, Any]:
        """As in the document."""
        return {
            "name": self.name,
            "label": self.label,
            "min_ttl_s": self.min_ttl_s,
            "max_ttl_s": self.max_ttl_s,
        }


@dataclass(frozen=True, slots=True)
class Protection:
    """What keeps the database safe from many loads at once."""

    lease: bool = True
    """Others wait for the one that loads; without it they load too (and only one of them fills)."""
    early_refresh_beta: float | None = None
    """XFetch: above 1 refreshes earlier, below 1 later; None: off."""
    grace_s: int | None = None
    """Stale-while-revalidate: seconds after the TTL in which the old value is still served; None: off."""

    def to_dict(self) -> dict[str, Any]:
        """As in the document."""
        return {
            "lease": self.lease,
            "early_refresh_beta": self.early_refresh_beta,
            "grace_s": self.grace_s,
        }


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules for the keys that start with ``prefix``; the empty prefix is the default."""

    prefix: bytes
    tier: str
    base_ttl_s: int | None
    """None: not cached."""
    jitter_s: int = 0
    strategy: Strategy = Strategy.CACHE_ASIDE
    protection: Protection = field(default_factory=Protection)
    negative_ttl_s: int = 0
    """How long "there is none" (the loader returned None) is remembered; 0: not at all."""
    longest_wait_s: float = 5.0
    """How long a reader waits for another's load before it loads itself."""
    note: str = ""
    bypass_until: float | None = None
    """Epoch seconds; until then keys of this prefix are neither read from the cache nor filled."""

    @property
    def is_cached(self) -> bool:
        """Whether its keys are cached at all, apart from a bypass."""
        return self.base_ttl_s is not None

    @property
    def longest_ttl_s(self) -> int | None:
        """The longest TTL that a key of it gets: base, jitter and grace; None: not cached."""
        if self.base_ttl_s is None:
            return None
        return self.base_ttl_s + self.jitter_s + (self.protection.grace_s or 0)

    @property
    def prefix_text(self) -> str:
        """The prefix as people and documents write it."""
        return prefix_to_text(self.prefix)

    def is_bypassed(self, now: float) -> bool:
        """Whether a bypass is running; ``now`` in epoch seconds."""
        return self.bypass_until is not None and now < self.bypass_until

    def to_dict(self) -> dict[str, Any]:
        """As in the document; the default has no ``prefix``."""
        start = {"prefix": self.prefix_text} if self.prefix else {}
        return start | {
            "tier": self.tier,
            "base_ttl_s": self.base_ttl_s,
            "jitter_s": self.jitter_s,
            "strategy": str(self.strategy),
            "protection": self.protection.to_dict(),
            "negative_ttl_s": self.negative_ttl_s,
            "longest_wait_s": self.longest_wait_s,
            "note": self.note,
            "bypass_until": self.bypass_until,
        }


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Which keys a row of the application's database is cached in, so that whoever mended rows can purge those keys.

    Args:
        table: its name, with a schema where one is needed: ``products``, ``shop.products``.
        column: the one whose value goes into the keys.
        templates: the keys, ROW_ID in the value's place, else written as prefixes are.
    """

    table: str
    column: str
    templates: tuple[str, ...]

    @property
    def name(self) -> str:
        """What people call it by: ``products.id``."""
        return f"{self.table}.{self.column}"

    def to_dict(self) -> dict[str, Any]:
        """As in the document."""
        return {"table": self.table, "column": self.column, "templates": list(self.templates)}


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A published set of policies; the mappings are kept with it and not published."""

    version: int
    tiers: tuple[Tier, ...]
    policies: tuple[Policy, ...]
    default: Policy
    mappings: tuple[RowMapping, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for JSON or YAML."""
        mappings = [mapping.to_dict() for mapping in self.mappings]
        return {
            "schema": SCHEMA,
            "version": self.version,
            "tiers": [tier.to_dict() for tier in self.tiers],
            "policies": [policy.to_dict() for policy in self.policies],
            "default": self.default.to_dict(),
        } | ({"mappings": mappings} if mappings else {})

    def to_json(self) -> bytes:
        """As it is published: without the mappings, which no application reads and earlier libraries refuse."""
        published = self.to_dict()
        published.pop("mappings", None)
        return json.dumps(published, ensure_ascii=False, separators=(",", ":")).encode()

    def find(self, key: bytes | str) -> Policy:
        """The policy that applies to ``key``; for many keys make a ``PolicyTable`` once."""
        return PolicyTable.of(self).find(key.encode() if isinstance(key, str) else key)


TIERS: Final = (
    Tier("low-volatility", "Low volatility", 24 * 3600, 48 * 3600),
    Tier("frequently-updated", "Frequently updated", 3600, 6 * 3600),
    Tier("hot", "Hot", 30, 120),
    Tier("no-cache", "No cache", None, None),
)
"""The tiers a dashboard starts with."""

DEFAULT_POLICY: Final = Policy(
    prefix=b"", tier="hot", base_ttl_s=60, jitter_s=15, strategy=Strategy.WRITE_THROUGH, negative_ttl_s=5
)
"""What applies without any document, unless the application gives its own. Write-through, so that ``put`` and
``write_through`` do what their callers expect; an operator's document may say otherwise."""


def prefix_to_text(prefix: bytes) -> str:
    r"""A prefix as text: printable UTF-8 as it is, ``\\`` for a backslash, ``\xHH`` for any other byte."""
    text = prefix.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text  # nearly all of them, and a dashboard asks for thousands at once
    shown: list[str] = []
    for character in text:
        if character == "\\":
            shown.append("\\\\")
        elif "\udc80" <= character <= "\udcff":
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")
        elif character.isprintable():
            shown.append(character)
        else:
            shown.extend(f"\\x{byte:02x}" for byte in character.encode())
    return "".join(shown)


def prefix_from_text(text: str) -> bytes:
    r"""The bytes of a prefix that was written as text.

    Raises:
        ValueError: a backslash that begins neither ``\\`` nor ``\xHH``, or half of a surrogate pair.
    """
    if "\\" not in text:
        return text.encode()
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPED.finditer(text):
        parts.append(text[end : match.start()].encode())
        if match[1]:
            parts.append(bytes.fromhex(match[1]))
        elif match[2]:
            parts.append(b"\\")
        else:
            raise ValueError(f"\\{match[3]} is no escape")
        end = match.end()
    parts.append(text[end:].encode())
    return b"".join(parts)


def parse_document(source: bytes | str | Mapping[str, Any]) -> PolicyDocument:
    """Check a whole document.

    Args:
        source: JSON, or what was parsed from JSON or YAML.

    Raises:
        PolicyError: with every problem found, at most MAX_PROBLEMS.
    """
    if isinstance(source, bytes | str):
        source = _from_json(source)
    return _sound(lambda at: _document(source, at), "")


def parse_policy(
    source: Mapping[str, Any], tiers: Iterable[Tier], *, is_default: bool = False, path: str = ""
) -> Policy:
    """Check one policy, e.g. a form's.

    Args:
        source: its fields as in the document.
        tiers: those it may name.
        is_default: it is the default, which has no prefix.
        path: put before the fields' names in problems.

    Raises:
        PolicyError: with every problem found.
    """
    by_name = {tier.name: tier for tier in tiers}
    return _sound(lambda at: _policy(source, by_name, at, is_default), path)


def parse_tier(source: Mapping[str, Any], *, path: str = "") -> Tier:
    """Check one tier, e.g. a form's.

    Raises:
        PolicyError: with every problem found.
    """
    return _sound(lambda at: _tier(source, at), path)


def parse_mapping(source: Mapping[str, Any], *, path: str = "") -> RowMapping:
    """Check one mapping, e.g. a form's.

    Raises:
        PolicyError: with every problem found.
    """
    return _sound(lambda at: _mapping(source, at), path)


Item = TypeVar("Item")


class PolicyTable(Generic[Item]):
    """Finds what belongs to the longest prefix a key starts with.

    The prefixes are laid out once as neighbouring stretches of the key space, nested ones cut out of those around
    them: a lookup is then one binary search, however deep they are nested, and allocates nothing.

    Args:
        items: (prefix, what belongs to it); an empty prefix is not allowed here.
        default: what belongs to every other key.
    """

    __slots__ = ("bounds", "default", "items")

    def __init__(self, items: Iterable[tuple[bytes, Item]], default: Item) -> None:
        self.default = default
        self.bounds: list[bytes] = []
        """Where a stretch begins; ``items[i]`` is the one before ``bounds[i]``."""
        self.items: list[Item] = [default]
        open_: list[tuple[bytes | None, Item]] = [(None, default)]
        for prefix, item in sorted(items, key=lambda pair: pair[0]):
            self._close(open_, prefix)
            self._add(prefix, item)
            open_.append((_after(prefix), item))
        self._close(open_, None)

    @classmethod
    def of(cls, document: PolicyDocument) -> "PolicyTable[Policy]":
        """The table of a document's policies."""
        return PolicyTable([(policy.prefix, policy) for policy in document.policies], document.default)

    def find(self, key: bytes) -> Item:
        """What belongs to the longest prefix of ``key``."""
        return self.items[bisect_right(self.bounds, key)]

    def _close(self, open_: list[tuple[bytes | None, Item]], start: bytes | None) -> None:
        """End the stretches that end at or before ``start``; what is around them goes on."""
        while len(open_) > 1:
            end, _ = open_[-1]
            if end is None or (start is not None and end > start):
                return
            open_.pop()
            self._add(end, open_[-1][1])

    def _add(self, start: bytes, item: Item) -> None:
        if self.bounds and self.bounds[-1] == start:
            self.items[-1] = item
        else:
            self.bounds.append(start)
            self.items.append(item)


def _after(prefix: bytes) -> bytes | None:
    """The first key behind all that start with ``prefix``; None where there is none."""
    short = prefix.rstrip(b"\xff")
    return short[:-1] + bytes([short[-1] + 1]) if short else None


class _Enough(Exception):
    """Too many problems to go on."""


class _Problems:
    def __init__(self) -> None:
        self.items: list[Problem] = []

    def add(self, problem: Problem) -> None:
        self.items.append(problem)
        if len(self.items) >= MAX_PROBLEMS:
            raise _Enough


class _At:
    """A place in the document."""

    def __init__(self, found: _Problems, path: str) -> None:
        self._found = found
        self.path = path

    def __truediv__(self, name: str) -> "_At":
        return _At(self._found, f"{self.path}.{name}" if self.path else name)

    def __getitem__(self, index: int) -> "_At":
        return _At(self._found, f"{self.path}[{index}]")

    def say(
        self, message: str, code: Wrong = Wrong.OTHER, low: float | None = None, high: float | None = None
    ) -> None:
        # Half a character (a lone surrogate) in a name can't be sent to a browser.
        self._found.add(Problem(_whole_text(self.path), _whole_text(message), code, low, high))


def _sound(check: Callable[[_At], Item | None], path: str) -> Item:
    """What a check made, when it had nothing to say; else PolicyError with what it said, at most MAX_PROBLEMS."""
    found = _Problems()
    try:
        made = check(_At(found, path))
    except _Enough:
        made = None
    if found.items or made is None:
        raise PolicyError(found.items)
    return made


def _whole_text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def read_json(source: bytes | str, what: str) -> Any:
    """Read JSON strictly: no field twice, of which the last would win silently, and nothing that is no JSON (NaN).

    Args:
        what: what it is called in a problem, e.g. "The file".

    Raises:
        PolicyError: it can't be read.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            raise ValueError("a field is given twice")
        return made

    def refuse(text: str) -> None:
        raise ValueError(f"{text} is no JSON")

    try:
        return json.loads(source, object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise PolicyError([Problem("", f"{what} can't be read as JSON: {_why(error)}.")]) from None


def _why(error: ValueError | RecursionError) -> str:
    """What the parser says, without its own names."""
    match error:
        case json.JSONDecodeError():
            return f"{error.msg}, in line {error.lineno}, column {error.colno}"
        case UnicodeDecodeError():
            return f"byte {error.start + 1:,} can't be part of a text in UTF-8"
        case RecursionError():
            return "it is nested too deeply"
    return str(error)


def _from_json(source: bytes | str) -> Any:
    size = len(source) if isinstance(source, bytes) else len(source.encode("utf-8", "surrogatepass"))
    if size > MAX_DOCUMENT_BYTES:
        message = f"The document has {size:,} bytes; at most {MAX_DOCUMENT_BYTES:,} are allowed."
        raise PolicyError([Problem("", message)])
    return read_json(source, "The document")


def _document(source: object, top: _At) -> PolicyDocument | None:
    if not isinstance(source, Mapping):
        top.say(f"Must be an object, not {_type(source)}.")
        return None
    schema = source.get("schema", SCHEMA)
    if isinstance(schema, bool) or not isinstance(schema, int) or schema < 1:
        (top / "schema").say(f"Must be {SCHEMA}.")
        return None
    if schema > SCHEMA:
        # Said alone: what else looks wrong is probably right in that schema.
        (top / "schema").say(
            f"The document has schema {schema}, this version understands up to {SCHEMA}. Update the library."
        )
        return None
    known = {"schema", "version", "tiers", "policies", "default", "mappings"}
    _known(source, top, known, {"version", "tiers", "default"})
    version = _integer(source, "version", top, 0, 2**53) if "version" in source else None

    tiers: dict[str, Tier] = {}
    for at, item in _list(source, "tiers", top, MAX_TIERS):
        tier = _tier(item, at)
        if tier is not None and tiers.setdefault(tier.name, tier) is not tier:
            (at / "name").say(f'The tier "{tier.name}" is there already.')
    if "tiers" in source and isinstance(source["tiers"], list) and not source["tiers"]:
        (top / "tiers").say("At least one tier is needed.")

    policies: list[Policy] = []
    seen: dict[bytes, str] = {}
    for at, item in _list(source, "policies", top, MAX_POLICIES):
        policy = _policy(item, tiers, at, is_default=False)
        if policy is None:
            continue
        first = seen.setdefault(policy.prefix, at.path)
        if first != at.path:
            (at / "prefix").say(f'The prefix "{policy.prefix_text}" is there already, at {first}.')
        policies.append(policy)
    default = (
        _policy(source["default"], tiers, top / "default", is_default=True) if "default" in source else None
    )
    mappings: dict[str, RowMapping] = {}
    for at, item in _list(source, "mappings", top, MAX_MAPPINGS):
        mapping = _mapping(item, at)
        if mapping is not None and mappings.setdefault(mapping.name, mapping) is not mapping:
            (at / "table").say(f"The mapping of {mapping.name} is there already.")
    if version is None or default is None:
        return None
    return PolicyDocument(version, tuple(tiers.values()), tuple(policies), default, tuple(mappings.values()))


def _tier(source: object, at: _At) -> Tier | None:
    if not isinstance(source, Mapping):
        at.say(f"Must be an object, not {_type(source)}.")
        return None
    fields = {"name", "label", "min_ttl_s", "max_ttl_s"}
    is_complete = _known(source, at, fields, {"name", "min_ttl_s", "max_ttl_s"})
    name = _text(source, "name", at, "", 1, MAX_NAME_CHARS) if "name" in source else None
    if name is not None and not _NAME.match(name):
        (at / "name").say("Small letters, digits and hyphens only.", Wrong.CHARACTERS)
        name = None
    label = _text(source, "label", at, name or "", 1, MAX_NAME_CHARS) if "label" in source else name
    if not is_complete:
        return None
    if source["min_ttl_s"] is None and source["max_ttl_s"] is None:
        return Tier(name, label, None, None) if name is not None and label is not None else None
    low = _integer(source, "min_ttl_s", at, 1, MAX_TTL_S)
    high = _integer(source, "max_ttl_s", at, 1 if low is None else low, MAX_TTL_S)
    if name is None or label is None or low is None or high is None:
        return None
    return Tier(name, label, low, high)


_POLICY_FIELDS: Final = {
    "tier",
    "base_ttl_s",
    "jitter_s",
    "strategy",
    "protection",
    "negative_ttl_s",
    "longest_wait_s",
    "note",
    "bypass_until",
}


def _policy(source: object, tiers: Mapping[str, Tier], at: _At, is_default: bool) -> Policy | None:
    if not isinstance(source, Mapping):
        at.say(f"Must be an object, not {_type(source)}.")
        return None
    extra = set() if is_default else {"prefix"}
    is_complete = _known(source, at, _POLICY_FIELDS | extra, {"tier"} | extra)
    prefix = b"" if is_default else _prefix(source, at) if "prefix" in source else None
    strategy = _choice(source, "strategy", at, Strategy, Strategy.CACHE_ASIDE)
    longest_wait_s = _number(source, "longest_wait_s", at, 0.0, MAX_WAIT_S, 5.0)
    note = _text(source, "note", at, "", 0, MAX_NOTE_CHARS)
    bypass_until = _optional(_number, source, "bypass_until", at, 0.0, 1e11)
    tier = tiers.get(source["tier"]) if isinstance(source.get("tier"), str) else None
    if "tier" in source and tier is None:
        # Without valid tiers there is nothing to choose from, and that was said.
        names = ", ".join(tiers) or "none is defined"
        (at / "tier").say(f"Must be one of the tiers: {names}.", Wrong.CHOICE)
    base_ttl_s, jitter_s = (None, 0) if tier is None else _ttl(source, tier, at)
    protection = _protection(source, at, base_ttl_s)
    # Remembering absence longer than presence would make new rows appear late.
    most = MAX_NEGATIVE_TTL_S if base_ttl_s is None else min(MAX_NEGATIVE_TTL_S, base_ttl_s)
    negative_ttl_s = _integer(source, "negative_ttl_s", at, 0, most, 0)
    if (
        not is_complete
        or prefix is None
        or tier is None
        or strategy is None
        or protection is None
        or jitter_s is None
        or longest_wait_s is None
        or negative_ttl_s is None
        or note is None
        or (tier.is_cached and base_ttl_s is None)
    ):
        return None
    return Policy(
        prefix=prefix,
        tier=tier.name,
        base_ttl_s=base_ttl_s,
        jitter_s=jitter_s,
        strategy=strategy,
        protection=protection,
        negative_ttl_s=negative_ttl_s,
        longest_wait_s=longest_wait_s,
        note=note,
        bypass_until=bypass_until,
    )


def _ttl(source: Mapping[str, Any], tier: Tier, at: _At) -> tuple[int | None, int | None]:
    if tier.min_ttl_s is None or tier.max_ttl_s is None:
        for name in ("base_ttl_s", "jitter_s"):
            if source.get(name) not in (None, 0) or isinstance(source.get(name), bool):
                (at / name).say(f'The tier "{tier.name}" caches nothing: leave it out.', Wrong.UNCACHED)
        return None, 0
    if source.get("base_ttl_s") is None:
        low, high = tier.min_ttl_s, tier.max_ttl_s
        (at / "base_ttl_s").say(f"Is missing; {_range(low, high, tier)}.", Wrong.MISSING, low, high)
        return None, _integer(source, "jitter_s", at, 0, tier.max_ttl_s - tier.min_ttl_s, 0)
    base = _integer(source, "base_ttl_s", at, tier.min_ttl_s, tier.max_ttl_s, tier=tier)
    room = tier.max_ttl_s - (tier.min_ttl_s if base is None else base)
    jitter = _integer(source, "jitter_s", at, 0, room, 0, tier=tier, whole="base and jitter together")
    return base, jitter


def _protection(source: Mapping[str, Any], at: _At, base_ttl_s: int | None) -> Protection | None:
    given = source.get("protection")
    at = at / "protection"
    if given is None:
        return Protection()
    if not isinstance(given, Mapping):
        at.say(f"Must be an object, not {_type(given)}.")
        return None
    _known(given, at, {"lease", "early_refresh_beta", "grace_s"}, set())
    lease = given.get("lease", True)
    if not isinstance(lease, bool):
        (at / "lease").say("Must be true or false.")
        lease = True
    beta = _optional(_number, given, "early_refresh_beta", at, *BETA_RANGE)
    # Serving what ended ten lifetimes ago is no cache any more.
    most = MAX_GRACE_S if base_ttl_s is None else min(MAX_GRACE_S, 10 * base_ttl_s)
    grace = _optional(_integer, given, "grace_s", at, 1, most)
    return Protection(lease, beta, grace)


def _prefix(source: Mapping[str, Any], at: _At) -> bytes | None:
    at = at / "prefix"
    text = source["prefix"]
    if not isinstance(text, str):
        at.say(f"Must be text, not {_type(text)}.")
        return None
    try:
        prefix = prefix_from_text(text)
    except ValueError:
        at.say(r"Write a backslash as \\ and a byte that is no text as \xHH.", Wrong.ESCAPE)
        return None
    if not 1 <= len(prefix) <= MAX_PREFIX_BYTES:
        message = f"Must have 1 to {MAX_PREFIX_BYTES} bytes; other keys belong to the default."
        at.say(message, Wrong.LENGTH, 1, MAX_PREFIX_BYTES)
        return None
    if prefix.startswith(RESERVED):
        at.say(f'"{RESERVED.decode()}" is reserved for the policies and counters themselves.', Wrong.RESERVED)
        return None
    return prefix


def _mapping(source: object, at: _At) -> RowMapping | None:
    if not isinstance(source, Mapping):
        at.say(f"Must be an object, not {_type(source)}.")
        return None
    fields = {"table", "column", "templates"}
    is_complete = _known(source, at, fields, fields)
    names = []
    for name, pattern, example in (("table", _TABLE, "products or shop.products"), ("column", _COLUMN, "id")):
        text = _text(source, name, at, "", 1, MAX_TABLE_CHARS) if name in source else None
        if text is not None and not pattern.match(text):
            (at / name).say(f"Write a name such as {example}.", Wrong.CHARACTERS)
            text = None
        names.append(text)
    templates: list[str] = []
    items = list(_list(source, "templates", at, MAX_TEMPLATES))
    for where, item in items:
        template = _template(item, where)
        if template is not None and template in templates:
            where.say(f"{template} is there already.")
        elif template is not None:
            templates.append(template)
    if isinstance(source.get("templates"), list | tuple) and not source["templates"]:
        (at / "templates").say(f"At least one is needed, such as product:{ROW_ID}.", Wrong.MISSING)
    table, column = names
    if not is_complete or table is None or column is None or not templates or len(templates) < len(items):
        return None
    return RowMapping(table, column, tuple(templates))


def _template(text: object, at: _At) -> str | None:
    if not isinstance(text, str):
        at.say(f"Must be text, not {_type(text)}.")
        return None
    if text != text.strip():
        at.say(
            "Leave out the space at its ends; one that belongs to the key is written \\x20.", Wrong.CHARACTERS
        )
        return None
    if ROW_ID not in text:
        at.say(f"{ROW_ID} is missing: it stands where the identifier goes, as in product:{ROW_ID}.")
        return None
    try:
        # Split first: {id} that is written with an escape is part of the key.
        parts = [prefix_from_text(part) for part in text.split(ROW_ID)]
    except ValueError:
        at.say(r"Write a backslash as \\ and a byte that is no text as \xHH.", Wrong.ESCAPE)
        return None
    if sum(map(len, parts)) > MAX_PREFIX_BYTES:
        at.say(f"Must have at most {MAX_PREFIX_BYTES} bytes.", Wrong.LENGTH, 1, MAX_PREFIX_BYTES)
        return None
    if parts[0].startswith(RESERVED):
        at.say(f'"{RESERVED.decode()}" is reserved for the policies and counters themselves.', Wrong.RESERVED)
        return None
    return ROW_ID.join(prefix_to_text(part).replace(ROW_ID, r"\x7bid}") for part in parts)


def _known(source: Mapping[Any, Any], at: _At, known: set[str], needed: set[str]) -> bool:
    """Say what is unknown and what is missing; whether all that is needed is there."""
    for name in source:
        if name not in known:
            shown = str(name)[:60]
            (at / shown).say(f"Unknown field; known are {', '.join(sorted(known))}.")
    missing = sorted(needed - set(source))
    for name in missing:
        (at / name).say("Is missing.", Wrong.MISSING)
    return not missing


def _list(source: Mapping[str, Any], name: str, at: _At, most: int) -> Iterable[tuple[_At, object]]:
    items = source.get(name, [])
    at = at / name
    if not isinstance(items, Sequence) or isinstance(items, str | bytes):
        at.say(f"Must be a list, not {_type(items)}.")
        return
    if len(items) > most:
        at.say(f"Has {len(items):,} entries; at most {most:,} are allowed.")
        return
    for index, item in enumerate(items):
        yield at[index], item


def _integer(
    source: Mapping[str, Any],
    name: str,
    at: _At,
    low: int,
    high: int,
    default: int | None = None,
    *,
    tier: Tier | None = None,
    whole: str = "",
) -> int | None:
    value = source.get(name, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        reason = f" ({whole})" if whole else ""
        message = f"{_range(low, high, tier).capitalize()}{reason}; got {_shown(value)}."
        (at / name).say(message, Wrong.RANGE, low, high)
        return None
    return value


def _number(
    source: Mapping[str, Any], name: str, at: _At, low: float, high: float, default: float | None = None
) -> float | None:
    value = source.get(name, default)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not low <= value <= high  # refuses nan as well
    ):
        message = f"Must be a number from {low:g} to {high:g}; got {_shown(value)}."
        (at / name).say(message, Wrong.RANGE, low, high)
        return None
    return float(value)


Number = TypeVar("Number", int, float)


def _optional(
    read: Callable[..., Number | None],
    source: Mapping[str, Any],
    name: str,
    at: _At,
    low: Number,
    high: Number,
) -> Number | None:
    return None if source.get(name) is None else read(source, name, at, low, high)


def _text(source: Mapping[str, Any], name: str, at: _At, default: str, low: int, high: int) -> str | None:
    value = source.get(name, default)
    if not isinstance(value, str) or not low <= len(value) <= high:
        (at / name).say(f"Must be text of {low} to {high} characters.", Wrong.LENGTH, low, high)
        return None
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        message = "Has a NUL or half a character (a lone surrogate) in it; leave that out."
        (at / name).say(message, Wrong.CHARACTERS)
        return None
    return value


def _choice(
    source: Mapping[str, Any], name: str, at: _At, kind: type[Strategy], default: Strategy
) -> Strategy | None:
    value = source.get(name, default)
    try:
        return kind(value)
    except ValueError:
        (at / name).say(f"Must be one of {', '.join(kind)}; got {_shown(value)}.", Wrong.CHOICE)
        return None


def _range(low: int, high: int, tier: Tier | None) -> str:
    where = f' in the tier "{tier.name}"' if tier is not None else ""
    return f"must be a whole number from {low} to {high}{where}"


def _shown(value: object) -> str:
    text = json.dumps(value) if isinstance(value, str | bool | int | float) or value is None else _type(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _type(value: object) -> str:
    if value is None:
        return "null"
    names = {
        dict: "an object",
        list: "a list",
        str: "text",
        bool: "a truth value",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
