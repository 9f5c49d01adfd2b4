"""Which keys lie below a path of the prefix tree. Pure.

A path comes from an address, so from anybody: matching takes time in proportion to the key, whatever the path is.
"""

import re
from collections.abc import Callable, Sequence
from typing import Final

from dashboard.caching.policy import prefix_from_text
from dashboard.keyspace import service as keyspace

MOST_FOLDS: Final = 100
"""Folded identifiers in one path."""
_DEEPEST: Final = 8
"""Parts of a key that the tree tells apart; the last one may have delimiters in it."""

_Glob = tuple[bytes, ...]
"""Literal pieces; between each two of them lies at least one byte."""


def named(under: Sequence[str]) -> tuple[str, ...]:
    """The path without what has no name: its parent holds those keys."""
    return tuple(under[: under.index(keyspace.OTHER)]) if keyspace.OTHER in under else tuple(under)


def below(under: Sequence[str], delimiters: str) -> Callable[[bytes], bool]:
    """Whether a key lies below a path of the tree.

    A folded part is any text without a delimiter; what the tree folds beyond that, and "(other)", is taken for all that
    its parent holds.

    Args:
        under: the path; empty: every key does.
        delimiters: that end its parts.

    Raises:
        ValueError: it is no path, or has too many folded parts.
    """
    path = named(under)
    if not path:
        return lambda key: True
    pieces = [prefix_from_text(piece) for piece in "".join(path).split(keyspace.FOLDED)]
    if len(pieces) > MOST_FOLDS + 1:
        raise ValueError(under)
    ends = delimiters.encode()
    between = re.compile(b"([" + re.escape(ends) + b"])") if ends else None
    # No folded part reaches over a delimiter: those of the path and those of the key come in pairs.
    globs, marks = _segments(pieces, between)
    is_leaf = not path[-1].endswith(tuple(delimiters)) and len(path) <= _DEEPEST

    def is_below(key: bytes) -> bool:
        if not key.startswith(globs[0][0]):
            return False
        parts = [key] if between is None else between.split(key)
        texts = parts[::2]
        if len(texts) < len(globs) or (is_leaf and len(texts) > len(globs)):
            return False
        *whole, last = zip(globs, texts, strict=False)
        return (
            parts[1 : 2 * len(marks) : 2] == marks
            and all(_fits(glob, text) for glob, text in whole)
            and _fits(*last, is_whole=is_leaf)
        )

    return is_below


def _segments(pieces: Sequence[bytes], between: re.Pattern[bytes] | None) -> tuple[list[_Glob], list[bytes]]:
    """A pattern's parts between delimiters, and the delimiters."""
    segments: list[list[bytes]] = [[]]
    marks: list[bytes] = []
    for piece in pieces:
        parts = [piece] if between is None else between.split(piece)
        segments[-1].append(parts[0])
        segments += [[text] for text in parts[2::2]]
        marks += parts[1::2]
    return [tuple(segment) for segment in segments], marks


def _fits(glob: _Glob, text: bytes, *, is_whole: bool = True) -> bool:
    """Whether a text is what a glob says, or begins so.

    The first place that fits is taken for each piece: what lies between may be anything, so no later one does better.
    """
    first, *rest = glob
    if not text.startswith(first):
        return False
    if not rest:
        return not is_whole or text == first
    place = len(first)
    for piece in rest[:-1] if is_whole else rest:
        found = text.find(piece, place + 1)
        if found < 0:
            return False
        place = found + len(piece)
    return not is_whole or (text.endswith(rest[-1]) and len(text) - len(rest[-1]) > place)
