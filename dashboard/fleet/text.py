"""Untrusted bytes made fit to be stored and shown."""

import unicodedata

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def display(data: bytes, limit: int | None = None) -> str:
    """Decode UTF-8; what is not, and every control or direction-changing character, becomes an escape.

    Args:
        limit: longest result in characters; a longer one ends with an ellipsis.
    """
    if limit is not None and len(data) > limit * 4:
        data = data[: limit * 4]
    text = data.decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(_escaped(character) for character in text)
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    return text


def decoded(data: bytes) -> str:
    """Decode a text of several lines; PostgreSQL can't store a zero byte, so that one becomes an escape."""
    return data.decode("utf-8", "backslashreplace").replace("\0", "\\x00")


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    code = ord(character)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
