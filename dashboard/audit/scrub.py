"""Makes a value fit to be kept for ever: no secrets, a bounded size, nothing PostgreSQL refuses. Pure."""

import json
import math
import re
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime
from enum import Enum
from itertools import pairwise
from typing import TypeAlias

HIDDEN = "(hidden)"
MAX_TEXT = 500  # characters of one text
MAX_ITEMS = 50  # entries of one mapping or list
MAX_DEPTH = 5
MAX_BYTES = 8192  # of one whole value as JSON

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_SECRET_WORDS = frozenset(
    {
        "apikey", "authorization", "cookie", "cookies", "credential", "credentials", "hash", "passphrase",
        "passwd", "password", "pwd", "secret", "secrets", "token", "tokens",
    }
)  # fmt: skip
_SECRET_PAIRS = frozenset({("api", "key"), ("private", "key"), ("session", "id"), ("session", "key")})
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
# Greedy to the last "@": a password may hold "@", ":" and "/", and hiding too much does no harm.
_URL_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s:/@]*):\S*@")
_QUERY_SECRET = re.compile(r"(?i)([?&;](?:password|passwd|pwd|secret|token|api_?key)=)[^&;\s]+")


def is_secret_name(name: str) -> bool:
    """Whether a field of this name holds something that must never be kept (``newPassword``, ``api_key``)."""
    words = [word.lower() for word in _WORD.findall(name)]
    if any(word in _SECRET_WORDS for word in words):
        return True
    return any(pair in _SECRET_PAIRS for pair in pairwise(words))


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """The text without credentials in addresses and without what PostgreSQL refuses, at most ``limit`` long."""
    text = text[: limit * 4]  # bounds the work of the patterns below
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")
    text = _URL_PASSWORD.sub(rf"\1:{HIDDEN}@", text)
    text = _QUERY_SECRET.sub(rf"\1{HIDDEN}", text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def scrub(values: Mapping[str, object] | None) -> dict[str, Json] | None:
    """What ``before`` and ``after`` of an entry may keep of these values.

    Fields named like secrets become ``(hidden)``, long texts and lists are cut, and a value that is still
    over 8 KB keeps its field names only.
    """
    if values is None:
        return None
    kept = _mapping(values, MAX_DEPTH)
    if len(json.dumps(kept, ensure_ascii=False).encode()) > MAX_BYTES:
        return dict.fromkeys(kept, "(too long)")
    return kept


def _mapping(values: Mapping[str, object], depth: int) -> dict[str, Json]:
    kept: dict[str, Json] = {}
    for name, value in list(values.items())[:MAX_ITEMS]:
        name = clean_text(str(name), 80)
        kept[name] = HIDDEN if is_secret_name(name) and value is not None else _value(value, depth - 1)
    if len(values) > MAX_ITEMS:
        kept["…"] = f"{len(values) - MAX_ITEMS} more"
    return kept


def _value(value: object, depth: int) -> Json:
    match value:
        case Enum():  # before the plain types: a StrEnum is a str as well
            return _value(value.value, depth)
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return clean_text(value)
        case datetime() | date():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return f"({len(value)} bytes)"
        case _ if depth <= 0:
            return "…"
        case Mapping():
            return _mapping({str(name): item for name, item in value.items()}, depth)
        case Sequence() | Set():
            items = list(value) if isinstance(value, Sequence) else sorted(value, key=str)
            kept = [_value(item, depth - 1) for item in items[:MAX_ITEMS]]
            return kept if len(items) <= MAX_ITEMS else [*kept, f"{len(items) - MAX_ITEMS} more"]
        case _:
            return clean_text(str(value))
