"""What an operator typed, pasted or uploaded, read as a selection; and a selection turned into keys. Pure.

Whatever is written by hand is written as policies write prefixes: UTF-8 as it is, ``\\\\`` for a backslash and
``\\xHH`` for a byte that is no text. Fields of messages are named like the ways to select: ``keys``, ``ids``,
``template``, ``prefix``, ``pattern``, ``tag``, and the filters by their own names.
"""

import codecs
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from dashboard.caching.policy import MAX_TEMPLATES, RESERVED, ROW_ID, prefix_from_text
from dashboard.caching.tags import MAX_TAG_CHARS
from dashboard.errors import InvalidInput
from dashboard.fleet.globs import MOST_ASTERISKS, glob_escape
from dashboard.invalidation.types import MOST_IDS, MOST_PASTED, Filters, SelectBy, Selection

LONGEST_KEY: Final = 4_096
"""Bytes of a key, prefix, pattern or template that is written by hand."""
LONGEST_ID: Final = 1_024
"""Bytes of an identifier."""
MOST_TEMPLATES: Final = MAX_TEMPLATES
STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that move a cursor, end a line, or turn the direction of what follows."""
CHUNK: Final = 10_000
"""Identifiers that are handed on at once."""
ID: Final = ROW_ID

_LONGEST_LINE: Final = 4 * LONGEST_KEY + 100
"""Characters of a line with one key: every byte of it may be written as an escape, in quotes."""
_REDIS_CLI: Final = re.compile(r'(?:\d+\) )?"((?:[^"\\]|\\.)*)"\Z', re.DOTALL)
_SHORT: Final = {"n": b"\n", "r": b"\r", "t": b"\t", "a": b"\a", "b": b"\b", '"': b'"', "\\": b"\\"}
_ESCAPE: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_BETWEEN: Final = re.compile(r"[\s,;]*")
_QUOTED: Final = {
    # One that is followed by another is half of a doubled quote.
    quote: re.compile(f"{quote}((?:[^{quote}]|{quote}{quote})*){quote}(?!{quote})")
    for quote in "\"'"
}
_BARE: Final = re.compile(r"[^\s,;]+")
_HEADING: Final = re.compile(r"(?:\w+[_ .-])?(?:id|ids|uuid|guid|key|sku|slug|identifier)", re.IGNORECASE)
_LOOKED_AT_LINES: Final = 50
_LOOKED_AT_CHARS: Final = 65_536
"""Of a file, to tell a table."""
_RANGE: Final = re.compile(r"(\d{1,18})(?:-|\.\.)(\d{1,18})")


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Pasted keys, one on each line; a line in double quotes is read as redis-cli prints it.

    Spaces around a line are not part of the key (write ``\\x20``), and a key that is there twice counts once.

    Raises:
        InvalidInput: for field "keys"; with the number of the first line that can't be taken.
    """
    _check_text(text, "keys", MOST_PASTED)
    found = dict.fromkeys(read_keys((text,)))
    if not found:
        raise _invalid("keys", "Enter at least one key.")
    return tuple(found)


def read_keys(parts: Iterable[str]) -> Iterator[bytes]:
    """Keys from a list of any length, written as ``parse_keys`` takes them; each as often as it is there.

    Args:
        parts: the text, in pieces of any size.

    Raises:
        InvalidInput: for field "keys", while it is read; with the number of the first line that can't be taken.
    """
    number, rest = 0, ""
    for part in chain(parts, ("\n",)):
        # A line's end may be cut in two.
        lines = re.split(r"\r\n|\n|\r(?!\Z)", rest + part)
        rest = lines.pop()
        for line in lines:
            number += 1
            if line := line.strip(" \t"):
                yield _key(line, number)
        if len(rest) > _LONGEST_LINE:
            raise _invalid("keys", f"Line {number + 1}: Longer than {LONGEST_KEY:,} bytes.")


def parse_ids(parts: Iterable[str]) -> Iterator[tuple[bytes, ...]]:
    """Identifiers from a list: separated by commas, semicolons, spaces or lines, with ranges such as ``100-199``.

    What stands in quotes is one identifier, whatever is in it; a quote within is written twice. Ranges of numbers with
    leading zeros keep their width. An identifier that comes twice near itself counts once.

    Args:
        parts: the text, in pieces of any size.

    Returns:
        up to CHUNK identifiers at a time, as UTF-8.

    Raises:
        InvalidInput: for field "ids": more than MOST_IDS, a quote that is not closed, a range that runs backwards.
    """
    total = 0
    chunk: dict[bytes, None] = {}
    for ids in _tokens(parts):
        for name in ids:
            total += 1
            if total > MOST_IDS:
                raise _invalid(
                    "ids",
                    f"There are more than {MOST_IDS:,} identifiers in it; a prefix or a tag fits better.",
                )
            chunk[name] = None
            if len(chunk) >= CHUNK:
                yield tuple(chunk)
                chunk = {}
    if chunk:
        yield tuple(chunk)
    elif total == 0:
        raise _invalid("ids", "Enter at least one identifier.")


def decode_upload(pieces: Iterable[bytes], field: str = "ids") -> Iterator[str]:
    """The text of an uploaded file, piece by piece.

    Args:
        field: "ids": identifiers stand in one column.

    Raises:
        InvalidInput: it is no UTF-8; or a table, or a column with its heading, whose words would all be taken for
            identifiers.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    is_first = True
    try:
        for piece in pieces:
            if is_first and piece[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise _invalid(field, "The file is UTF-16; save it as UTF-8, or as CSV UTF-8.")
            text = decoder.decode(piece)
            if is_first and piece and field == "ids":
                _check_column(text, field)
            is_first = is_first and not piece
            yield text
        yield decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise _invalid(field, "The file is no UTF-8 text; save it as UTF-8, or as CSV UTF-8.") from None


def parse_template(text: str, field: str = "template") -> str:
    """A key template such as ``product:{id}``.

    Raises:
        InvalidInput: without ``{id}``, or for our own keys alone.
    """
    text = text.strip()
    _check_text(text, field, LONGEST_KEY)
    _check_seen(text, field, "; write its bytes as \\xHH")
    if not text:
        raise _invalid(field, f"Enter how a key is made of an identifier, such as product:{ID}.")
    if ID not in text:
        raise _invalid(field, f"{ID} is missing: it stands where the identifier goes, as in product:{ID}.")
    _check_key(_unescaped(text, field), field)
    return text


def parse_prefix(text: str, field: str = "prefix") -> str:
    """A prefix, as it goes into ``Selection.text``.

    Raises:
        InvalidInput: empty, with a wildcard at its end, or of our own keys.
    """
    text = text.strip()
    _check_text(text, field, LONGEST_KEY)
    _check_seen(text, field, "; write its bytes as \\xHH")
    if not text:
        raise _invalid(field, "Enter a prefix; an empty one would be every key.")
    if text.endswith("*"):
        raise _invalid(
            field, "A prefix needs no asterisk at its end. If the keys really have one there, write \\x2a."
        )
    _check_key(_unescaped(text, field), field)
    return text


def parse_pattern(text: str, field: str = "pattern") -> str:
    """A glob pattern as SCAN takes it: ``*``, ``?``, ``[a-z]``, ``\\\\`` before a character that is meant literally.

    Raises:
        InvalidInput: empty, for our own keys alone, or too costly to match.
    """
    text = text.strip()
    _check_text(text, field, LONGEST_KEY)
    _check_seen(text, field, "; write its bytes as \\xHH")
    if not text:
        raise _invalid(field, "Enter a pattern such as session:*:cart.")
    pattern = _unescaped(text, field)
    if literal_head(pattern).startswith(RESERVED):
        raise _reserved(field)
    if len(re.findall(rb"\*+", re.sub(rb"\\.", b"", pattern, flags=re.DOTALL))) > MOST_ASTERISKS:
        raise _invalid(
            field, f"More than {MOST_ASTERISKS} asterisks could hold the server for long; leave some out."
        )
    return text


def parse_tag(text: str, field: str = "tag") -> str:
    """A tag, as applications give it to the library.

    Raises:
        InvalidInput: empty or too long.
    """
    text = text.strip()
    _check_text(text, field, MAX_TAG_CHARS)
    _check_seen(text, field, "; applications can purge such a tag themselves")
    if not text:
        raise _invalid(field, "Enter a tag.")
    if len(text) > MAX_TAG_CHARS:
        raise _invalid(field, f"A tag has at most {MAX_TAG_CHARS} characters.")
    return text


def check(selection: Selection) -> None:
    """Refuse a selection that no form would have made; for whoever makes one in another way.

    Raises:
        InvalidInput: see the parsers.
    """
    match selection.by:
        case SelectBy.PREFIX:
            parse_prefix(selection.text)
        case SelectBy.PATTERN:
            parse_pattern(selection.text)
        case SelectBy.TAG:
            parse_tag(selection.text)
        case SelectBy.IDS | SelectBy.ROWS:
            if not 1 <= len(selection.templates) <= MOST_TEMPLATES:
                raise _invalid("template", f"One to {MOST_TEMPLATES} templates are needed.")
            for template in selection.templates:
                parse_template(template)
    if selection.by.is_exact and not 1 <= selection.count <= MOST_IDS:
        field = "keys" if selection.by is SelectBy.KEYS else "ids"
        raise _invalid(field, f"A list has 1 to {MOST_IDS:,} entries; this one has {selection.count:,}.")
    _check_filters(selection.filters)


def literal_head(pattern: bytes) -> bytes:
    """The bytes that every key begins with which the pattern matches."""
    head = bytearray()
    position = 0
    while position < len(pattern):
        byte = pattern[position : position + 1]
        if byte in b"*?[":
            break
        if byte == b"\\" and position + 1 < len(pattern):
            position += 1
            byte = pattern[position : position + 1]
        head += byte
        position += 1
    return bytes(head)


def scan_pattern(selection: Selection) -> bytes:
    """What SCAN gets as MATCH for a PREFIX or PATTERN."""
    literal = prefix_from_text(selection.text)
    return glob_escape(literal) + b"*" if selection.by is SelectBy.PREFIX else literal


def head_of(selection: Selection) -> bytes:
    """What every selected key begins with; empty when that is not known."""
    if selection.by is SelectBy.PREFIX:
        return prefix_from_text(selection.text)
    if selection.by is SelectBy.PATTERN:
        return literal_head(prefix_from_text(selection.text))
    if selection.by in (SelectBy.IDS, SelectBy.ROWS) and len(selection.templates) == 1:
        return prefix_from_text(selection.templates[0].partition(ID)[0])
    return b""


def allowed(selection: Selection) -> Callable[[Iterable[bytes]], list[bytes]]:
    """A function that drops the keys that must not be touched, whatever the server says.

    Our own keys never are, and what does not begin as the selector says was not asked for: a proxy that does not know
    MATCH would otherwise empty a cache.
    """
    head = head_of(selection)
    if head and not RESERVED.startswith(head) and not head.startswith(RESERVED):
        # Nothing of ours can begin so.
        return lambda keys: [key for key in keys if key.startswith(head)]
    return lambda keys: [key for key in keys if key.startswith(head) and not key.startswith(RESERVED)]


def expander(selection: Selection) -> Callable[[Sequence[bytes]], list[bytes]]:
    """A function that makes the keys of a list's items: the items of KEYS, each template with each identifier else."""
    if selection.by is SelectBy.KEYS:
        return list
    # Split before unescaping: an identifier's place is written as {id} and in no other way.
    templates = [[prefix_from_text(part) for part in template.split(ID)] for template in selection.templates]
    return lambda items: [item.join(parts) for item in items for parts in templates]


def filter_words(filters: Filters, seconds: Callable[[float], str] = "{:,} s".format) -> tuple[str, ...]:
    """The filters, each in words.

    Args:
        seconds: writes a length of time.
    """
    found = []
    if filters.type:
        found.append(f"type {filters.type}")
    if filters.without_ttl:
        found.append("without TTL")
    if filters.ttl_min_s is not None:
        found.append(f"TTL at least {seconds(filters.ttl_min_s)}")
    if filters.ttl_max_s is not None:
        found.append(f"TTL at most {seconds(filters.ttl_max_s)}")
    if filters.ends_from is not None:
        found.append(f"ends {_clock(filters.ends_from)} or later")
    if filters.ends_until is not None:
        found.append(f"ends by {_clock(filters.ends_until)}")
    if filters.idle_min_s is not None:
        found.append(f"idle for {seconds(filters.idle_min_s)}")
    if filters.size_min_bytes is not None:
        found.append(f"at least {filters.size_min_bytes:,} bytes")
    if filters.size_max_bytes is not None:
        found.append(f"at most {filters.size_max_bytes:,} bytes")
    return tuple(found)


def _clock(epoch: int) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%d %H:%M:%S} UTC"


# --- below: how the lists are read --------------------------------------------------------------------------


def _check_column(text: str, field: str) -> None:
    """Refuse what begins as a table does, or as a column under its heading; what stands in quotes is meant so."""
    lines = [line for line in text[:_LOOKED_AT_CHARS].splitlines() if line.strip()][:_LOOKED_AT_LINES]
    if len(lines) < 2:
        return
    for separator in "\t;,":
        # Lines that were wrapped at any place have no such regularity.
        widths = {len(row) for row in csv.reader(lines[:-1], delimiter=separator)}
        if len(widths) == 1 and (width := widths.pop()) > 1:
            raise _invalid(
                field,
                f"The file has {width} columns. Leave only that of the identifiers; where all of them are"
                " identifiers, put each on a line of its own.",
            )
    first, others = lines[0].strip(), [line.strip() for line in lines[1:]]
    is_heading = _HEADING.fullmatch(first) is not None and not any(map(_HEADING.fullmatch, others))
    is_word = not any(map(str.isdigit, first)) and all(each.rstrip(",;").isdigit() for each in others)
    if first[0] not in _QUOTED and (is_heading or is_word):
        raise _invalid(
            field,
            f"The first line, {first[:40]}, looks like a heading. Leave it out; if it is an identifier, put it in"
            " quotes.",
        )


def _key(line: str, number: int) -> bytes:
    where = f"Line {number}: "
    _check_text(line, "keys", _LONGEST_LINE, where)
    if line.startswith('"') and not _REDIS_CLI.match(line):
        # Cut off while it was copied, most likely: another key than the one that is meant.
        raise _invalid(
            "keys", f"{where}A quote is not closed. Of a key that begins with one, write it as \\x22."
        )
    try:
        key = _from_redis_cli(line) if _REDIS_CLI.match(line) else prefix_from_text(line)
    except ValueError:
        raise _invalid(
            "keys", f"{where}write a backslash as \\\\ and a byte that is no text as \\xHH."
        ) from None
    _check_key(key, "keys", where)
    return key


def _tokens(parts: Iterable[str]) -> Iterator[Iterator[bytes]]:
    rest = ""
    for part in parts:
        if "\ufffd" in part:
            raise _invalid("ids", "There are characters in it that can't be read: broken UTF-8.")
        rest += part
        found, rest = _cut(rest, is_end=False)
        yield from found
    found, _ = _cut(rest, is_end=True)
    yield from found


def _cut(text: str, *, is_end: bool) -> tuple[list[Iterator[bytes]], str]:
    """The tokens that are complete, and what is left."""
    found: list[Iterator[bytes]] = []
    position = 0
    while True:
        start = _BETWEEN.match(text, position).end()  # type: ignore[union-attr]
        if start == len(text):
            return found, ""
        quote = text[start]
        match = _QUOTED[quote].match(text, start) if quote in _QUOTED else _BARE.match(text, start)
        # The other half of a doubled quote, or of a word, may come with the next piece.
        if match is None or (match.end() == len(text) and not is_end):
            if len(text) - start > 4 * LONGEST_ID or is_end:
                if match is None:
                    raise _invalid(
                        "ids", f"A quote is opened and never closed, before {text[start : start + 40]!r}."
                    )
                raise _too_long(text[start:])
            return found, text[start:]
        if quote in _QUOTED:
            found.append(iter((_id(match[1].replace(quote * 2, quote)),)))
        else:
            found.append(_ids(match[0]))
        position = match.end()


def _ids(word: str) -> Iterator[bytes]:
    match = _RANGE.fullmatch(word)
    if match is None:
        return iter((_id(word),))
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise _invalid(
            "ids", f"{word} runs backwards. If it is an identifier and no range, put it in quotes."
        )
    if last - first >= MOST_IDS:
        raise _invalid(
            "ids", f"{word} has more than {MOST_IDS:,} identifiers; a prefix or a tag fits better."
        )
    width = len(match[1]) if match[1].startswith("0") and len(match[1]) == len(match[2]) else 0
    return (b"%0*d" % (width, number) for number in range(first, last + 1))


def _id(text: str) -> bytes:
    if not text:
        raise _invalid("ids", "There is an empty identifier in it: two quotes with nothing between them.")
    try:
        name = text.encode()
    except UnicodeEncodeError:
        raise _invalid("ids", "There are characters in it that can't be read: broken UTF-8.") from None
    if len(name) > LONGEST_ID:
        raise _too_long(text)
    return name


def _too_long(text: str) -> InvalidInput:
    return _invalid("ids", f"{text[:40]!r}… is longer than {LONGEST_ID:,} bytes: that is no identifier.")


def _from_redis_cli(line: str) -> bytes:
    inner = _REDIS_CLI.match(line)[1]  # type: ignore[index]
    made: list[bytes] = []
    end = 0
    for match in _ESCAPE.finditer(inner):
        made.append(inner[end : match.start()].encode())
        if match[1]:
            made.append(bytes.fromhex(match[1]))
        elif match[2] in _SHORT:
            made.append(_SHORT[match[2]])
        else:
            raise ValueError("no escape of redis-cli")
        end = match.end()
    made.append(inner[end:].encode())
    return b"".join(made)


def _unescaped(text: str, field: str) -> bytes:
    try:
        return prefix_from_text(text)
    except ValueError:
        raise _invalid(field, "Write a backslash as \\\\ and a byte that is no text as \\xHH.") from None


def _check_text(text: str, field: str, longest: int, where: str = "") -> None:
    if len(text) > longest:
        raise _invalid(field, f"{where}That is longer than {longest:,} characters.")
    if "\ufffd" in text or any("\ud800" <= character <= "\udfff" for character in text):
        # What was sent is lost: the place of the bytes that were no UTF-8 is all that can be seen.
        raise _invalid(
            field,
            f"{where}There are characters in it that can't be read: broken UTF-8. Write bytes as \\xHH.",
        )
    if "\x00" in text:
        raise _invalid(field, f"{where}There is a NUL character in it; write it as \\x00.")


def _check_seen(text: str, field: str, way_out: str) -> None:
    """Refuse what would not look in the log, on a page or on a terminal as what it is."""
    if match := STEERING.search(text):
        raise _invalid(field, f"There is a control character in it, U+{ord(match[0]):04X}{way_out}.")


def _check_key(key: bytes, field: str, where: str = "") -> None:
    if len(key) > LONGEST_KEY:
        raise _invalid(field, f"{where}Longer than {LONGEST_KEY:,} bytes.")
    if key.startswith(RESERVED):
        raise _reserved(field, where)


def _reserved(field: str, where: str = "") -> InvalidInput:
    return _invalid(
        field, f"{where}Keys that begin with {RESERVED.decode()} are Cachewarden's own and are never purged."
    )


def _check_filters(filters: Filters) -> None:
    ranges = (
        ("ttl_min_s", filters.ttl_min_s, "ttl_max_s", filters.ttl_max_s),
        ("size_min_bytes", filters.size_min_bytes, "size_max_bytes", filters.size_max_bytes),
        ("idle_min_s", filters.idle_min_s, "", None),
        ("ends_from", filters.ends_from, "ends_until", filters.ends_until),
    )
    for low_name, low, high_name, high in ranges:
        for name, value in ((low_name, low), (high_name, high)):
            if value is not None and not 0 <= value <= 2**53:
                raise _invalid(name, "Must be a whole number from 0 on.")
        if low is not None and high is not None and low > high:
            raise _invalid(high_name, "Must not be below the other end.")
    has_range = filters.ttl_min_s is not None or filters.ttl_max_s is not None or filters.has_ends
    if filters.without_ttl and has_range:
        raise _invalid("without_ttl", "Keys without a TTL have no range of TTLs; choose one of both.")
    if filters.type is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", filters.type):
        raise _invalid("type", "A type is a word such as string or hash.")


def _invalid(field: str, message: str) -> InvalidInput:
    return InvalidInput(message, fields={field: message})
