r"""How the parts of keys are named, and the patterns that hold them. Pure.

A part is bytes when it is meant literally, and a tuple of the literal pieces around them when identifiers in it were
folded: ``(b"", b"")`` is nothing but an identifier, ``(b"user-", b"")`` is ``user-`` and one. As text, pieces are
written as policies write prefixes, FOLDED stands for each identifier, and a part that really reads like one of our own
words has its first character escaped (``\x7bid}``): no key can pass itself off as a folded one.
"""

import re
from typing import Final

from dashboard.caching.policy import prefix_from_text, prefix_to_text
from dashboard.fleet.globs import MOST_ASTERISKS, glob_escape

FOLDED: Final = "{id}"
"""Stands for an identifier in a path."""
OTHER: Final = "(other)"
"""What had no place of its own."""

Name = bytes | tuple[bytes, ...]
"""A part of a key: literal, or the pieces around folded identifiers."""
WHOLE: Final = (b"", b"")
"""A part that is an identifier as a whole."""

_ESCAPED_FOLDED: Final = r"\x7bid}"
_ESCAPED_OTHER: Final = r"\x28other)"


def part_text(name: Name, delimiter: str = "") -> str:
    """A part of a path as text.

    Args:
        name: the part.
        delimiter: that follows it; empty for the last part of a key.
    """
    if isinstance(name, tuple):
        return FOLDED.join(map(_literal, name)) + delimiter
    text = _literal(name) + delimiter
    return _ESCAPED_OTHER if text == OTHER else text


def name_of(path: tuple[str, ...]) -> str:
    """A path as it is shown: its parts in one."""
    return OTHER if path and path[-1] == OTHER else "".join(path)


def pattern_of(path: tuple[str, ...], *, is_leaf: bool) -> str | None:
    """The glob pattern that holds all keys of a path, written as the Invalidate form takes it.

    Args:
        path: parts as text.
        is_leaf: keys end with it; else anything may follow.

    Returns:
        None for OTHER, which no pattern describes.
    """
    if OTHER in path:
        return None
    pieces = [glob_escape(prefix_from_text(piece)) for piece in "".join(path).split(FOLDED)]
    if not is_leaf:
        pieces.append(b"")
    if len(pieces) > MOST_ASTERISKS + 1:
        pieces = [*pieces[:MOST_ASTERISKS], b""]
    text = prefix_to_text(b"*".join(pieces))
    # Forms leave out spaces at the ends.
    return re.sub(r"^ | $", r"\\x20", text)


def _literal(piece: bytes) -> str:
    return prefix_to_text(piece).replace(FOLDED, _ESCAPED_FOLDED)
