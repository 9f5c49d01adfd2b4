"""The rule that a scenario shows: a section of the docs, in pieces that a template puts together.

The docs are our own files, written in the little Markdown that is read here: headings, paragraphs, lists, tables, code.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FENCE: Final = "```"
_HEADING: Final = re.compile(r"(#+) (.+)")
_ITEM: Final = re.compile(r"(?:-|(\d+\.)) +(.+)")
_MARKED: Final = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\([^)]*\)")
_KINDS: Final = ("code", "b", "em", "")
"""Of the groups of ``_MARKED``; of a link its words stay."""


@dataclass(frozen=True, slots=True)
class Span:
    """Some words; ``kind`` is the element around them, or empty."""

    text: str
    kind: str = ""


Words = tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a section.

    Args:
        kind: "heading", "text", "list", "steps", "table" or "code".
        words: of a heading, a text.
        rows: items of a list, each a row of one cell; rows of a table, its heads first.
        code: as it stands.
    """

    kind: str
    words: Words = ()
    rows: tuple[tuple[Words, ...], ...] = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """A section: where it is ("docs/library.md"), its heading and what it says."""

    path: str
    title: str
    pieces: tuple[Piece, ...]


def find(place: str, docs: Path) -> Rule | None:
    """The section at "docs/library.md#when-redis-is-away"; None: there is none.

    Args:
        docs: the folder with the docs.
    """
    path, _, anchor = place.partition("#")
    page = docs / path.removeprefix("docs/")
    if not page.is_file():
        return None
    found = section(page.read_text(encoding="utf-8"), anchor)
    return None if found is None else Rule(path, found[0], tuple(_pieces(found[1])))


def section(text: str, anchor: str) -> tuple[str, Sequence[str]] | None:
    """Heading and lines of the section that links call so; None: there is none."""
    title, level, lines = "", 0, list[str]()
    is_code = False
    for line in text.splitlines():
        is_code ^= line.startswith(_FENCE)
        heading = None if is_code else _HEADING.fullmatch(line)
        if level and heading is not None and len(heading[1]) <= level:
            break
        if level:
            lines.append(line)
        elif heading is not None and anchor_of(heading[2]) == anchor:
            title, level = heading[2], len(heading[1])
    return (title, lines) if level else None


def anchor_of(heading: str) -> str:
    """What links call a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _pieces(lines: Sequence[str]) -> Iterator[Piece]:
    for block in _blocks(lines):
        first = block[0]
        if first.startswith(_FENCE):
            yield Piece("code", code="\n".join(block[1:]))
        elif heading := _HEADING.fullmatch(first):
            yield Piece("heading", _words(heading[2]))
        elif first.startswith("|"):
            cells = (line.strip().strip("|").split("|") for line in block if not set(line) <= set("|-: "))
            yield Piece("table", rows=tuple(tuple(_words(cell.strip()) for cell in row) for row in cells))
        elif item := _ITEM.match(first):
            yield Piece("steps" if item[1] else "list", rows=tuple((_words(text),) for text in _items(block)))
        else:
            yield Piece("text", _words(" ".join(block)))


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Lines that belong together: up to an empty one, or of code, whose end is left out."""
    block: list[str] = []
    is_code = False
    for line in [*lines, ""]:
        is_end = line.startswith(_FENCE) if is_code else not line.strip()
        if is_end:
            if block:
                yield block
            block, is_code = [], False
        else:
            is_code = is_code or (not block and line.startswith(_FENCE))
            block.append(line)


def _items(block: Sequence[str]) -> list[str]:
    found: list[str] = []
    for line in block:
        item = _ITEM.match(line)
        if item is not None:
            found.append(item[2])
        else:
            found[-1] += f" {line.strip()}"
    return found


def _words(text: str) -> Words:
    found: list[Span] = []
    end = 0
    for match in _MARKED.finditer(text):
        found.append(Span(text[end : match.start()]))
        kind, inner = _KINDS[(match.lastindex or 1) - 1], match[match.lastindex or 0]
        if kind == "code":
            found.append(Span(inner, kind))
        else:  # what is bold, or a link, may name code
            found.extend(Span(each.text, each.kind or kind) for each in _words(inner))
        end = match.end()
    return tuple(span for span in (*found, Span(text[end:])) if span.text)
