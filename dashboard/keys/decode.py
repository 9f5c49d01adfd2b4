"""What a string's bytes are: text, JSON, something compressed, something serialised. Pure.

Nothing is ever executed or built: what a language would make objects of is named and shown as bytes. Names are guesses
by how the bytes begin and end; where they lie, that is said and the bytes are shown.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from dashboard.keys import jsontext, packed
from dashboard.keys.jsontext import Pretty, visible
from dashboard.keys.types import Decoded, View
from dashboard.keys.unpacking import MOST_OUT, unpack

MOST_TEXT: Final = 65_536
"""Bytes of text that are shown."""
HEX_BYTES: Final = 4_096
"""Bytes that are shown as hex."""
MOST_LAYERS: Final = 3
"""Something compressed within something compressed is unpacked so often."""
NEVER_RUN: Final = "Named only: it is never turned into objects, which could run code."
_HEX_ROW: Final = 16

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f\x7f]")
_PHP: Final = re.compile(
    rb'(?:a:\d{1,10}:\{|O:\d{1,6}:"[\w\\]+":\d{1,10}:\{|C:\d{1,6}:"[\w\\]+":\d{1,10}:\{|s:\d{1,10}:"'
    rb"|i:-?\d{1,20};\Z|b:[01];\Z|d:[-+.\dEINFAinfa]{1,40};\Z|N;\Z)"
)
_PHP_ENDS: Final = {b"a": b"}", b"O": b"}", b"C": b"}", b"s": b'";'}
_OLD_PICKLE: Final = re.compile(rb"(?:\(dp\d+\n|\(lp\d+\n|c[\w.]{1,200}\n[\w.]{1,200}\n|[\]}]q\x00)")
_HLL: Final = re.compile(rb"HYLL[\x00\x01]\x00\x00\x00", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Named:
    """A format that is named by how it begins.

    Args:
        is_code: a language makes objects of it.
    """

    name: str
    begins: bytes
    is_code: bool = False


_FORMATS: Final = (
    _Named("Java serialised", b"\xac\xed\x00\x05", True),
    _Named(".NET serialised", b"\x00\x01\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00", True),
    _Named("Ruby Marshal", b"\x04\x08", True),
    _Named("igbinary (PHP)", b"\x00\x00\x00\x02", True),
    _Named("Snappy", b"\xff\x06\x00\x00sNaPpY"),
    _Named("bzip2", b"BZh91AY&SY"),
    _Named("xz", b"\xfd7zXZ\x00"),
    _Named("PNG image", b"\x89PNG\r\n\x1a\n"),
    _Named("JPEG image", b"\xff\xd8\xff"),
    _Named("GIF image", b"GIF8"),
    _Named("PDF", b"%PDF-"),
    _Named("ZIP archive", b"PK\x03\x04"),
)


def decode(data: bytes, view: View = View.AUTO, *, is_all: bool = True, offset: int = 0) -> Decoded:
    """What bytes are, made fit to be shown.

    Args:
        data: a part of a value.
        view: how it is wanted; AUTO finds out.
        is_all: it reaches to the value's end.
        offset: where it begins in the value; a later part is text or bytes.
    """
    if view is View.HEX:
        return _as_hex(data, (), is_all=is_all, offset=offset)
    if view is View.TEXT:
        text = _as_text(data, (), is_all=is_all, is_middle=offset > 0)
        return text or _as_hex(data, (), is_all=is_all, offset=offset, note="It is no text.")
    if offset:
        text = _as_text(data, (), is_all=is_all, is_middle=True)
        return text or _as_hex(data, (), is_all=is_all, offset=offset)
    layers: list[str] = []
    notes: list[str] = []
    out: int | None = None
    is_cut = False
    while len(layers) < MOST_LAYERS and (found := unpack(data, is_all=is_all)) is not None:
        if found.problem:
            notes.append(f"It begins as {found.name} does, but is none: its bytes are shown.")
            layers.append(f"not {found.name}")
            break
        layers.append(found.name)
        if found.is_cut:
            is_cut = True
        elif not found.is_whole:
            words = f"The {found.name} has no end, or something else behind it that is not shown."
            notes.append(words if is_all and not is_cut else "")
        data, out = found.data, len(found.data)
        is_all = found.is_whole and not is_cut
    else:
        if layers and unpack(data) is not None:
            notes.append("It is compressed more often than is unpacked here.")
    if is_cut:
        notes.append(f"Unpacked only as far as {MOST_OUT // 1024} KB: there is more.")
    shown = _plain(data, tuple(layers), view, is_all=is_all)
    note = " ".join([*filter(None, notes), *filter(None, (shown.note,))])
    return replace(shown, out_bytes=out, note=note, is_truncated=shown.is_truncated or is_cut)


def hint(data: bytes, length: int) -> str:
    """What a string may be for, by its first bytes; empty: nothing in particular.

    Args:
        data: its beginning.
        length: of the whole.
    """
    if _HLL.match(data) and len(data) >= 16:
        if data[15] & 0x80:
            return "HyperLogLog"
        return (
            f"HyperLogLog, about {int.from_bytes(data[8:15], 'little'):,} different members when last counted"
        )
    if length < 8 or (_CONTROL.search(data) is None and _is_mostly_text(data)):
        return ""
    if decode(data, is_all=len(data) == length).layers == ("bytes",):
        is_likely = data.count(0) * 4 > len(data)
        bits = sum(byte.bit_count() for byte in data)
        of = "its bits" if len(data) == length else f"the first {len(data) * 8:,} bits"
        return f"{'May' if is_likely else 'Could'} be a bitmap: {bits:,} of {of} are set (BITCOUNT)"
    return ""


def _is_mostly_text(data: bytes) -> bool:
    """Whether most of it is letters, digits and signs, in whatever encoding."""
    return sum(0x20 <= byte < 0x7F or byte in b"\t\n\r" for byte in data) * 2 > len(data)


def _plain(data: bytes, layers: tuple[str, ...], view: View, *, is_all: bool) -> Decoded:
    """What is not compressed, or not any more."""
    name, is_code = _serialised(data, is_all=is_all)
    if name:
        return _as_hex(data, (*layers, name), is_all=is_all, note=NEVER_RUN if is_code else "")
    text = _as_text(data, layers, is_all=is_all)
    if text is None:
        found = packed.pretty(data, is_all=is_all)
        if found is not None:
            return _as_lines(found, (*layers, "MessagePack"))
        return _as_hex(data, layers, is_all=is_all)
    if view is View.JSON or _looks_like_json(data):
        found = _pretty_json(data, is_all=is_all)
        if found is not None:
            return _as_lines(found, (*layers, "JSON"))
        if view is View.JSON:
            return replace(text, note="It is no JSON.")
    return text


def _looks_like_json(data: bytes) -> bool:
    start = data.lstrip(b" \t\r\n")[:1]
    return start in (b"{", b"[", b'"') or data.strip() in (b"null", b"true", b"false")


def _pretty_json(data: bytes, *, is_all: bool) -> Pretty | None:
    text = _text(data, is_all=is_all)
    return None if text is None else jsontext.pretty(text, is_all=is_all)


def _serialised(data: bytes, *, is_all: bool) -> tuple[str, bool]:
    """The name of a format that is not read here, and whether a language makes objects of it."""
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        if not is_all or data.endswith(b"."):
            return f"Python pickle (protocol {data[1]})", True
    elif _OLD_PICKLE.match(data) and (not is_all or data.endswith(b".")):
        return "Python pickle", True
    if _PHP.match(data):
        end = _PHP_ENDS.get(data[:1])
        if end is None or not is_all or data.endswith(end):
            return "PHP serialised", True
    for each in _FORMATS:
        if data.startswith(each.begins):
            return each.name, each.is_code
    if _HLL.match(data):
        return "HyperLogLog", False
    return "", False


def _text(data: bytes, *, is_all: bool, is_middle: bool = False) -> str | None:
    """The bytes as text; None: they are none. A character that is cut at an end is left out."""
    if is_middle:
        # Up to three bytes of a character that began before.
        skip = next((index for index, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
        data = data[skip:]
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if is_all or error.start < len(data) - 3 or error.reason != "unexpected end of data":
            return None
        text = data[: error.start].decode()
    return None if _CONTROL.search(data) else text


def _as_text(
    data: bytes, layers: tuple[str, ...], *, is_all: bool, is_middle: bool = False
) -> Decoded | None:
    is_cut = len(data) > MOST_TEXT
    text = _text(data[:MOST_TEXT], is_all=is_all and not is_cut, is_middle=is_middle)
    if text is None:
        return None
    return Decoded((*layers, "text"), visible(text), is_truncated=is_cut or not is_all)


def _as_lines(found: Pretty, layers: tuple[str, ...]) -> Decoded:
    return Decoded(layers, found.text, lines=found.lines, is_truncated=found.is_cut or not found.is_whole)


def _as_hex(
    data: bytes, layers: tuple[str, ...], *, is_all: bool, offset: int = 0, note: str = ""
) -> Decoded:
    shown = data[:HEX_BYTES]
    rows = tuple(
        _hex_row(shown[start : start + _HEX_ROW], offset + start) for start in range(0, len(shown), _HEX_ROW)
    )
    is_truncated = not is_all or len(data) > HEX_BYTES
    return Decoded(layers or ("bytes",), None, hex=rows, is_truncated=is_truncated, note=note)


def _hex_row(row: bytes, offset: int) -> tuple[str, str, str]:
    pairs = row.hex(" ")
    half = _HEX_ROW // 2 * 3
    text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
    return f"{offset:08x}", f"{pairs[:half]} {pairs[half:]}".rstrip(), text
