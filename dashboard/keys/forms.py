"""Where somebody is in the key browser, as its address says it; and what its forms hold. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlencode

from dashboard.caching.policy import prefix_from_text
from dashboard.errors import InvalidInput
from dashboard.keys.types import Editable, Opened, Verb, View
from dashboard.web.addresses import key_from_text, key_to_text
from dashboard.web.numbers import decimal_of

TTL_UNITS: Final[dict[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
LONGEST_TEXT: Final = 20_000
"""Characters of what is searched for: four for each byte of a key that is written by hand, and some."""
MOST_PARTS: Final = 64
"""Of a path in the tree."""
ENTRY_FIELDS: Final = 4
"""Of a new stream entry."""
_LARGEST: Final = 2**62
_LONGEST_CURSOR: Final = 10_000
_EDITS: Final = ("", "value", "new")
_PANES: Final = ("", "tree", "about")


Query = Mapping[str, Sequence[str]]
"""The parameters of an address, each as often as it is there."""


@dataclass(frozen=True, slots=True)
class Place:
    """All that the page's address says.

    Args:
        q: what is searched for, as typed; a text in double quotes is one whole key.
        type, ttl: filters.
        under: a path of the prefix tree.
        cursor, before, found: where the list goes on, and what the pages before it looked at and found.
        stops: it does not go on by itself while nothing is found.
        key: the one that is open; None: none is.
        view, start, part: how its value is shown, and from where on.
        touches: read values even where that counts as a use.
        item: of the key's members the one that is open.
        edit: the form that is open: "", "value" or "new" (a member).
        pane: what a narrow screen shows: "" the list, "tree" or "about" (the prefix).
    """

    q: str = ""
    type: str = ""
    ttl: str = ""
    under: tuple[str, ...] = ()
    cursor: str = ""
    before: int = 0
    found: int = 0
    stops: bool = False
    key: bytes | None = None
    view: View = View.AUTO
    start: int = 0
    part: str = ""
    touches: bool = False
    item: bytes | None = None
    edit: str = ""
    pane: str = ""

    def query(self, **changes: Any) -> str:
        """The part of an address behind the question mark, with some of it changed."""
        place = replace(self, **changes) if changes else self
        parts: list[tuple[str, str]] = [
            (name, value) for name in ("q", "type", "ttl") if (value := getattr(place, name))
        ]
        parts += [("under", part) for part in place.under]
        if place.cursor:
            parts += [
                ("cursor", place.cursor),
                ("before", str(place.before)),
                ("found", str(place.found)),
            ]
        if place.stops:
            parts.append(("stop", "1"))
        if place.key is not None:
            parts.append(("key", key_to_text(place.key)))
            if place.view is not View.AUTO:
                parts.append(("view", place.view.value))
            if place.start:
                parts.append(("start", str(place.start)))
            if place.part:
                parts.append(("part", place.part))

            if place.item is not None:
                parts.append(("item", key_to_text(place.item)))
            if place.edit:
                parts.append(("edit", place.edit))
        if place.touches:
            parts.append(("touch", "1"))
        if place.pane:
            parts.append(("pane", place.pane))
        return urlencode(parts)

    def key_query(self, key: bytes | None) -> str:
        """The same with another key open, at its beginning; None: with none.

        Who read one value where that counts as a use need not be asked for the next.
        """
        return self.query(key=key, view=View.AUTO, start=0, part="", item=None, edit="", pane="")

    def list_query(self, **changes: Any) -> str:
        """Another list from its beginning, with no key open."""
        place = replace(self, cursor="", before=0, found=0, stops=False, **changes)
        return place.key_query(None)


def read_place(query: Query) -> Place:
    """The place an address names.

    Raises:
        InvalidInput: something in it is none of ours.
    """
    return Place(
        q=_text(query, "q", LONGEST_TEXT),
        type=_text(query, "type", 200).strip(),
        ttl=_text(query, "ttl", 20),
        under=_path(query),
        cursor=_text(query, "cursor", _LONGEST_CURSOR),
        before=_number(query, "before"),
        found=_number(query, "found"),
        stops=_one(query, "stop") == "1",
        key=key_from_text(query["key"][0]) if "key" in query else None,
        view=View(_choice(query, "view", [each.value for each in View]) or View.AUTO),
        start=_number(query, "start"),
        part=_text(query, "part", _LONGEST_CURSOR),
        touches=_one(query, "touch") == "1",
        item=key_from_text(query["item"][0]) if "item" in query else None,
        edit=_choice(query, "edit", _EDITS),
        pane=_choice(query, "pane", _PANES),
    )


def key_of(form: Mapping[str, str]) -> bytes:
    """The key that a form is about.

    Raises:
        InvalidInput: it names none.
    """
    if "key" not in form:
        raise InvalidInput("The form names no key.", what_to_do="Open the key again.")
    return key_from_text(form["key"])


@dataclass(frozen=True, slots=True)
class TypedEdit:
    """What stands in the fields of a value's form.

    Args:
        verb: what the form does.
        address: of the member, where it is one that is there; else what was typed for it.
        is_escaped: value and address are written with \\xHH for bytes that are no text.
        fields: of a new stream entry, name and value.
        version: of what was opened.
    """

    verb: Verb
    address: bytes = b""
    name: str = ""
    value: str = ""
    score: str = ""
    is_escaped: bool = False
    fields: tuple[tuple[str, str], ...] = ()
    version: str = ""


def typed_edit(form: Mapping[str, str]) -> TypedEdit:
    """The form as it was sent.

    Raises:
        InvalidInput: it does nothing we know.
    """
    verb = form.get("verb", "")
    if verb not in list(Verb):
        raise InvalidInput("The form says not what it changes.", what_to_do="Open the key again.")
    names = range(ENTRY_FIELDS)
    pairs = ((form.get(f"field{number}", ""), form.get(f"value{number}", "")) for number in names)
    return TypedEdit(
        verb=Verb(verb),
        address=key_from_text(form.get("address", "")),
        name=form.get("name", ""),
        value=form.get("value", ""),
        score=form.get("score", ""),
        is_escaped=form.get("written", "") == "escaped",
        fields=tuple(pair for pair in pairs if pair != ("", "")),
        version=form.get("version", ""),
    )


def shown_edit(verb: Verb, there: Editable) -> TypedEdit:
    """The form of a value as it is."""
    return TypedEdit(
        verb=verb,
        address=there.address,
        value=there.typed,
        score=there.score,
        is_escaped=there.is_escaped,
        version=there.version,
    )


@dataclass(frozen=True, slots=True)
class TypedKey:
    """What stands in the fields of the forms for a TTL and a name.

    Args:
        is_again: the key was another than was opened; it is shown now, and only its type is compared from here on.
    """

    ttl: str = ""
    ttl_unit: str = "h"
    name: str = ""
    opened: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    is_again: bool = False


def opened_text(opened: Opened) -> str:
    """What was opened, as a form holds it."""
    if opened.is_type_only:
        return opened.type
    at = "never" if opened.expires_at is None else f"{opened.expires_at:.3f}"
    return f"{opened.type} {at} {opened.version}"


def opened_of(form: Mapping[str, str]) -> Opened | None:
    """What the form was opened on; None: it does not say.

    Raises:
        InvalidInput: it says what we never wrote.
    """
    text = form.get("opened", "")
    if not text:
        return None
    found = re.fullmatch(r"(\S{1,256})(?: (?:never|(\d{1,17}\.\d{3})) ([0-9a-f]{40})?)?", text)
    if found is None:
        raise InvalidInput("The form says not what was opened.", what_to_do="Open the key again.")
    type, at, version = found.groups()
    return Opened(type, None if at is None else float(at), version or "", is_type_only=" " not in text)


def shown_ttl(seconds: float | None) -> TypedKey:
    """The form of a TTL, empty, with the unit that fits the one it has."""
    if seconds is None:
        return TypedKey()
    unit = next((unit for unit, size in reversed(TTL_UNITS.items()) if seconds >= size), "s")
    return TypedKey(ttl_unit=unit)


def typed_key(form: Mapping[str, str]) -> TypedKey:
    """The form as it was sent."""
    unit = form.get("ttl.unit", "")
    return TypedKey(
        ttl=form.get("ttl", ""),
        ttl_unit=unit if unit in TTL_UNITS else "s",
        name=form.get("name", ""),
        opened=form.get("opened", ""),
    )


def ttl_of(typed: TypedKey) -> float:
    """The TTL that was typed, in seconds.

    Raises:
        InvalidInput: under ``ttl``.
    """
    number = decimal_of(typed.ttl)
    seconds = None if number is None else float(number * TTL_UNITS[typed.ttl_unit])
    if seconds is None or seconds <= 0:
        message = "Enter how long it is to live, as a number above 0. To remove it, delete the key."
        raise InvalidInput(message, fields={"ttl": message})
    return seconds


def name_of(typed: TypedKey) -> bytes:
    """The name that was typed.

    Raises:
        InvalidInput: under ``name``.
    """
    try:
        return prefix_from_text(typed.name)
    except ValueError:
        message = "Write a backslash as \\\\ and a byte that is no text as \\xHH."
        raise InvalidInput(message, fields={"name": message}) from None


def _one(query: Query, name: str) -> str:
    return next(iter(query.get(name, ())), "")


def _text(query: Query, name: str, longest: int) -> str:
    text = _one(query, name)
    if len(text) > longest:
        raise InvalidInput(f"{name} is longer than {longest:,} characters.")
    return text


def _path(query: Query) -> tuple[str, ...]:
    parts = query.get("under", ())
    if len(parts) > MOST_PARTS or sum(map(len, parts)) > LONGEST_TEXT:
        raise InvalidInput("The prefix in this address is too long.", what_to_do="Choose it in the tree.")
    return tuple(parts)


def _number(query: Query, name: str) -> int:
    text = _one(query, name)
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST):
        raise InvalidInput(f"{name} is {text[:40]!r}; it takes a whole number.")
    return int(text)


def _choice(query: Query, name: str, choices: Sequence[str]) -> str:
    text = _one(query, name)
    if text and text not in choices:
        raise InvalidInput(f"{name} is {text[:40]!r}; it takes {', '.join(filter(None, choices))}.")
    return text
