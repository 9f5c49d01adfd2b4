"""Bytes as people read and type them. Pure."""

import re
from typing import Final

from dashboard.keys.jsontext import STEERING

_NAMED: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
_BYTES: Final = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\"}
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.)|\Z)", re.DOTALL)
_UNTYPABLE: Final = re.compile(f"\r|{STEERING.pattern}")
"""What a form does not send back as it was, or nobody sees."""


def json_string(text: str) -> str:
    """A text in quotes, as JSON writes it."""
    return (
        '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t") + '"'
    )


def to_typed(value: bytes) -> tuple[str, bool]:
    """The value as a form's field shows it, and whether that is written with escapes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return escaped(value), True
    # A field drops a line end in front.
    if _UNTYPABLE.search(text) is None and not text.startswith("\n"):
        return text, False
    return escaped(value), True


def from_typed(text: str, *, is_escaped: bool) -> bytes:
    """The bytes of a form's field.

    A browser sends every line end as CR LF, whatever was typed: they become LF.

    Raises:
        ValueError: an escape that is none, or half of a surrogate pair.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not is_escaped:
        return text.encode()
    parts: list[bytes] = []
    end = 0
    for match in _ESCAPE.finditer(text):
        parts.append(text[end : match.start()].encode())
        if match[1]:
            parts.append(bytes.fromhex(match[1]))
        elif match[2] in _BYTES:
            parts.append(_BYTES[match[2]])
        else:
            raise ValueError(f"\\{match[2] or ''} is no escape")
        end = match.end()
    parts.append(text[end:].encode())
    return b"".join(parts)


def escaped(value: bytes) -> str:
    """Bytes as text: what can be read as it is, else ``\\n``, ``\\r``, ``\\t``, two backslashes for one, ``\\xHH``."""
    shown: list[str] = []
    for character in value.decode("utf-8", "surrogateescape"):
        if "\udc80" <= character <= "\udcff":
            shown.append(f"\\x{ord(character) - 0xDC00:02x}")
        elif character in _NAMED:
            shown.append(_NAMED[character])
        elif character.isprintable() and STEERING.match(character) is None:
            shown.append(character)
        else:
            shown.extend(f"\\x{byte:02x}" for byte in character.encode())
    return "".join(shown)
