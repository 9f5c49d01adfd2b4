"""MessagePack written over lines, as JSON is. Pure.

Read here and not by a library: a few bytes of it can claim arrays of any length within arrays, for which libraries make
room at once, and its depth has no bound.
"""

import struct
from typing import Final

from dashboard.keys.jsontext import Lines, Pretty
from dashboard.keys.quoting import json_string

_NUMBERS: Final = {
    0xCA: ">f",
    0xCB: ">d",
    0xCC: ">B",
    0xCD: ">H",
    0xCE: ">I",
    0xCF: ">Q",
    0xD0: ">b",
    0xD1: ">h",
    0xD2: ">i",
    0xD3: ">q",
}
_LENGTHS: Final = {
    # What it is, and how its length is written.
    0xC4: ("bin", ">B"),
    0xC5: ("bin", ">H"),
    0xC6: ("bin", ">I"),
    0xC7: ("ext", ">B"),
    0xC8: ("ext", ">H"),
    0xC9: ("ext", ">I"),
    0xD9: ("str", ">B"),
    0xDA: ("str", ">H"),
    0xDB: ("str", ">I"),
    0xDC: ("array", ">H"),
    0xDD: ("array", ">I"),
    0xDE: ("map", ">H"),
    0xDF: ("map", ">I"),
}
_WORDS: Final = {0xC0: "null", 0xC2: "false", 0xC3: "true"}


class _Broken(Exception):
    """That is no MessagePack."""


class _TooShort(Exception):
    """The end is missing."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise _TooShort
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form: str) -> int | float:
        found: int | float = struct.unpack(form, self.take(struct.calcsize(form)))[0]
        return found

    def length(self, form: str) -> int:
        return int(self.number(form))

    def next(self) -> tuple[str, str, int]:
        """The next thing: its kind, its text, and, of an array or map, how many members follow."""
        first = self.take(1)[0]
        if first <= 0x7F:
            return "number", str(first), 0
        if first >= 0xE0:
            return "number", str(first - 256), 0
        if first <= 0x8F:
            return "map", "", first & 0x0F
        if first <= 0x9F:
            return "array", "", first & 0x0F
        if first <= 0xBF:
            return self._sized("str", first & 0x1F)
        if first in _WORDS:
            return "word", _WORDS[first], 0
        if first in _NUMBERS:
            return "number", repr(self.number(_NUMBERS[first])), 0
        if first in _LENGTHS:
            kind, form = _LENGTHS[first]
            return self._sized(kind, self.length(form))
        if 0xD4 <= first <= 0xD8:
            return self._sized("ext", 1 << (first - 0xD4))
        raise _Broken

    def _sized(self, kind: str, length: int) -> tuple[str, str, int]:
        if kind in ("array", "map"):
            return kind, "", length
        if kind == "ext":
            code = self.number(">b")
            return "word", f"ext({code}, {json_string(self.take(length).hex())})", 0
        data = self.take(length)
        if kind == "bin":
            return "word", f"bin({json_string(data.hex())})", 0
        try:
            return "string", json_string(data.decode()), 0
        except UnicodeDecodeError:
            # Before it knew bytes, texts held those as well.
            return "word", f"raw({json_string(data.hex())})", 0


def pretty(data: bytes, *, is_all: bool = True) -> Pretty | None:
    """MessagePack over lines; None: it is none.

    Only a map or an array is taken for it: any byte below 128 would be a number.

    Args:
        is_all: the data is the whole; else it may break off anywhere.
    """
    if not data or not (0x80 <= data[0] <= 0x9F or 0xDC <= data[0] <= 0xDF):
        return None
    reader, lines = _Reader(data), Lines()
    open_: list[list[int]] = []  # of each: is it a map; things still to come
    try:
        while True:
            kind, text, length = reader.next()
            is_key = bool(open_) and bool(open_[-1][0]) and open_[-1][1] % 2 == 0
            if kind in ("map", "array"):
                lines.open("{" if kind == "map" else "[")
                open_.append([int(kind == "map"), length * 2 if kind == "map" else length])
                if length:
                    continue
            else:
                lines.put("key" if is_key and kind == "string" else kind, text)
                if not open_:
                    break
                open_[-1][1] -= 1
            while open_ and open_[-1][1] == 0:
                is_map, _ = open_.pop()
                lines.close("}" if is_map else "]")
                if open_:
                    open_[-1][1] -= 1
            if not open_:
                break
            lines.mark(": " if open_[-1][0] and open_[-1][1] % 2 else ",")
    except _Broken:
        return None
    except _TooShort:
        return lines.finish(is_whole=False) if not is_all and lines.count > 1 else None
    return lines.finish(is_whole=True) if reader.at == len(data) else None
