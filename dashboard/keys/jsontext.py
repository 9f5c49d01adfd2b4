"""JSON written over lines, as it stands there: no number is rounded, no key dropped, however deep it is nested. Pure.

It is read token by token and never built: a value that would not fit as objects, or would exhaust the stack, is only
text here. The same lines take what other formats hold (see ``packed``).
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from dashboard.keys.types import JsonLine

MOST_LINES: Final = 4_000
"""Lines that are shown; the rest is checked alone."""
DEEPEST: Final = 32
"""Deeper lines are indented no further."""
LONGEST_TOKEN: Final = 8_192
"""Characters of one text or number that are shown."""

_SPACE: Final = re.compile(r"[ \t\r\n]*+")
_TOKEN: Final = re.compile(
    r'(?P<string>"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+")'
    r"|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?)"
    r"|(?P<word>true|false|null)"
    r"|(?P<mark>[\[\]{},:])"
)
STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""Characters that would steer a screen, but for line ends and tabs."""


class _Expect(Enum):
    """What may come next."""

    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    NOTHING = auto()


@dataclass(frozen=True, slots=True)
class Pretty:
    """JSON over lines.

    Args:
        is_whole: it is JSON from beginning to end; else the end is missing.
        is_cut: there are more lines than are shown.
    """

    lines: tuple[JsonLine, ...]
    is_whole: bool
    is_cut: bool

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join("  " * line.depth + "".join(text for _, text in line.tokens) for line in self.lines)


class Lines:
    """Takes tokens and lays them out, one member on each line."""

    def __init__(self) -> None:
        self.count = 0
        self._lines: list[tuple[int, list[tuple[str, str]]]] = []
        self._folds: dict[int, int] = {}
        self._open: list[int] = []
        self._is_fresh = True
        self._was_opened = False

    def put(self, kind: str, text: str) -> None:
        """A value, or a key."""
        self._begin(len(self._open))
        self._add(kind, visible(text[:LONGEST_TOKEN] + ("…" if len(text) > LONGEST_TOKEN else "")))

    def mark(self, text: str) -> None:
        """A comma, or a colon and a space."""
        self._add("", text)
        if text == ",":
            self._is_fresh = True

    def open(self, text: str) -> None:
        """A bracket; what follows stands on lines of its own."""
        self.put("", text)
        self._open.append(self.count - 1)
        self._is_fresh = self._was_opened = True

    def close(self, text: str) -> None:
        """The bracket's end; an empty pair stays on its line."""
        first = self._open.pop()
        if not self._was_opened:
            self._is_fresh = True
            self._begin(len(self._open))
            if first < MOST_LINES:
                self._folds[first] = min(self.count - 1, MOST_LINES) - first - 1
        self._is_fresh = self._was_opened = False
        self._add("", text)

    def finish(self, *, is_whole: bool) -> Pretty:
        """All of it; what was opened and not closed reaches to the end."""
        for first in self._open:
            if first < MOST_LINES:
                self._folds[first] = len(self._lines) - first - 1
        lines = tuple(
            JsonLine(min(depth, DEEPEST), tuple(tokens), self._folds.get(number, 0))
            for number, (depth, tokens) in enumerate(self._lines)
        )
        return Pretty(lines, is_whole, self.count > MOST_LINES)

    def _begin(self, depth: int) -> None:
        if self._is_fresh:
            self.count += 1
            if self.count <= MOST_LINES:
                self._lines.append((depth, []))
            self._is_fresh = False
        self._was_opened = False

    def _add(self, kind: str, text: str) -> None:
        if self.count <= MOST_LINES:
            self._lines[-1][1].append((kind, text))


def visible(text: str) -> str:
    """The text with every character that would steer a screen written as an escape; line ends and tabs stay."""
    return STEERING.sub(lambda match: _escape(match[0]), text)


def pretty(text: str, *, is_all: bool = True) -> Pretty | None:
    """JSON over lines; None: it is none.

    Args:
        is_all: the text is the whole; else it may break off anywhere.
    """
    lines = Lines()
    closers: list[str] = []
    expect = _Expect.VALUE
    position = _skip(text, 0)
    while position < len(text):
        token = _TOKEN.match(text, position)
        if token is None:
            return _broken_off(lines, text, position, expect) if not is_all else None
        kind, found = token.lastgroup or "", token[0]
        if kind != "mark":
            if expect in (_Expect.VALUE, _Expect.VALUE_OR_END):
                lines.put(kind, found)
                expect = _Expect.COMMA_OR_END if closers else _Expect.NOTHING
            elif expect in (_Expect.KEY, _Expect.KEY_OR_END) and kind == "string":
                lines.put("key", found)
                expect = _Expect.COLON
            else:
                return None
        elif found in "[{" and expect in (_Expect.VALUE, _Expect.VALUE_OR_END):
            lines.open(found)
            closers.append("]" if found == "[" else "}")
            expect = _Expect.VALUE_OR_END if found == "[" else _Expect.KEY_OR_END
        elif found in "]}" and closers and closers[-1] == found and expect in _MAY_END:
            lines.close(closers.pop())
            expect = _Expect.COMMA_OR_END if closers else _Expect.NOTHING
        elif found == "," and expect is _Expect.COMMA_OR_END:
            lines.mark(",")
            expect = _Expect.VALUE if closers[-1] == "]" else _Expect.KEY
        elif found == ":" and expect is _Expect.COLON:
            lines.mark(": ")
            expect = _Expect.VALUE
        else:
            return None
        position = _skip(text, token.end())
    if expect is _Expect.NOTHING:
        return lines.finish(is_whole=True)
    return lines.finish(is_whole=False) if not is_all and lines.count else None


_MAY_END: Final = frozenset({_Expect.VALUE_OR_END, _Expect.KEY_OR_END, _Expect.COMMA_OR_END})
_TAKES_TOKEN: Final = frozenset({_Expect.VALUE, _Expect.VALUE_OR_END, _Expect.KEY, _Expect.KEY_OR_END})
_CUT_TOKEN: Final = re.compile(r'"[^"]*+(?:\\.[^"]*+)*+\Z|-\Z|-?[0-9.eE+-]++\Z|[truefalsn]{1,4}\Z', re.DOTALL)


def _broken_off(lines: Lines, text: str, position: int, expect: _Expect) -> Pretty | None:
    """What there is of a text that breaks off within a token; None: what stands there begins none."""
    if expect not in _TAKES_TOKEN or not lines.count or _CUT_TOKEN.match(text, position) is None:
        return None
    lines.put("", text[position:])
    return lines.finish(is_whole=False)


def _skip(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    assert found is not None
    return found.end()


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"
