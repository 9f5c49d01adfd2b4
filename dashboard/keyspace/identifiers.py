"""Which parts of keys are identifiers: numbers, UUIDs, hashes, dates, e-mail addresses, random tokens. Pure.

What it can't see, such as slugs and user names, folds by being many: see ``tree``.
"""

import re
from typing import Final

from dashboard.keyspace.names import WHOLE, Name

LONGEST_PART: Final = 128
"""Bytes; nobody names a kind of data with more."""
_MOST_REMEMBERED: Final = 10_000

Spans = tuple[tuple[int, int], ...]

_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_JOINING: Final = b"_-+=.~"
_ONE_DIGIT: Final = bytes.maketrans(b"123456789", b"000000000")
"""All digits are the same one: whether a part is an identifier does not hang on their values."""
_HEX: Final = bytes.maketrans(b"123456789abcdefABCDEF", b"0" * 21)
_CLASSES: Final = bytes(
    ord("0")
    if byte in b"0123456789"
    else ord("a")
    if byte in _LETTERS
    else ord("-")
    if byte in _JOINING
    else 33
    for byte in range(256)
)
_UUID_SHAPE: Final = b"00000000-0000-0000-0000-000000000000"
_EMAIL: Final = re.compile(rb"[^@\s]+@[^@\s.]+(?:\.[^@\s.]+)+")
_IDENTIFIERS: Final = re.compile(
    rb"""
      (?<![A-Za-z0-9])
      (?:
          [0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}  # UUID
        | (?=[a-fA-F]*0)[0-9a-fA-F]{8,}                         # hash; without a digit it could be a word
        | [a-fA-F]{16,}                                         # hash; no word is so long with six letters
        | 0+(?:[.,xT]0+)*Z?                                     # number, address, size, time of day
      )
      (?![A-Za-z0-9])
    | (?<=[A-Za-z])(?:0+[A-Za-z]{1,3})*0{3,}(?![A-Za-z0-9])     # item1234, img12x3456, but not utf8 or v12
    """,
    re.VERBOSE,
)
_TOKENS: Final = re.compile(rb"[A-Za-z0-9]{10,}")
_WITHIN: Final = frozenset((b"-", b"_", b".", b",", b"+", b"T"))
"""May stand between the pieces of one identifier."""
_FEWEST_RANDOM: Final = 10
"""Bytes of a random token."""
_MOST_CHANGES: Final = 3
"""From letter to digit or back within what people name: h264-mp4."""


class Folder:
    """Finds the identifiers in parts of keys, and remembers parts of the same shape."""

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        self._seen: dict[bytes, Spans] = {}

    def fold(self, part: bytes) -> Name:
        """The part with its identifiers folded; itself when there is none."""
        size = len(part)
        if size > LONGEST_PART:
            return WHOLE
        as_hex = part.translate(_HEX)
        if as_hex == _UUID_SHAPE or _is_hash(part, as_hex):
            return WHOLE
        shape = part.translate(_ONE_DIGIT)
        spans = self._seen.get(shape)
        if spans is None:
            spans = find_spans(shape)
            if len(self._seen) >= _MOST_REMEMBERED:
                self._seen.clear()
            self._seen[shape] = spans
        if not spans:
            return part
        if spans[0] == (0, size):
            return WHOLE
        pieces, end = [], 0
        for start, stop in spans:
            pieces.append(part[end:start])
            end = stop
        pieces.append(part[end:])
        return tuple(pieces)


def _is_hash(part: bytes, as_hex: bytes) -> bool:
    """As ``_IDENTIFIERS`` has it. Quicker, and needed: of hashes no two have the same shape."""
    size = len(part)
    return size >= 8 and as_hex.count(b"0") == size and (size >= 16 or not part.isalpha())


def find_spans(shape: bytes) -> Spans:
    """Where identifiers are in a part whose digits are all ``0``: from and to, in order, apart from each other."""
    if _EMAIL.fullmatch(shape):
        return ((0, len(shape)),)
    found = [match.span() for match in _IDENTIFIERS.finditer(shape)]
    found += [match.span() for match in _TOKENS.finditer(shape) if _is_random(match[0])]
    spans: list[tuple[int, int]] = []
    for start, end in sorted(found, key=lambda span: (span[0], -span[1])):
        if spans and (start < spans[-1][1] or shape[spans[-1][1] : start] in _WITHIN):
            # 2024-01-31 is one, not three.
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    end, others = 0, []
    for start, stop in spans:
        others.append(shape[end:start])
        end = stop
    if _is_random(b"".join([*others, shape[end:]])):
        # Of tokens with separators in them only some pieces look like identifiers.
        return ((0, len(shape)),)
    return tuple(spans)


def _is_random(shape: bytes) -> bool:
    """Whether letters and digits alternate as nobody would write them: ULID, base62 and base64url tokens."""
    if len(shape) < _FEWEST_RANDOM:
        return False
    classes = shape.translate(_CLASSES)
    return b"!" not in classes and classes.count(b"a0") + classes.count(b"0a") > _MOST_CHANGES
