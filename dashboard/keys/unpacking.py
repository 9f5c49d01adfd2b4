"""Compressed values, unpacked up to a bound: a few bytes may stand for gigabytes. Pure."""

import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    # The standard library's own module of 3.14, for what came before.
    from backports import zstd

MOST_OUT: Final = 262_144
"""Bytes that one layer is unpacked to."""
_LARGEST_WINDOW_LOG: Final = 23
"""Of zstd: 8 MB, what its own tool asks for at most unless it is told otherwise."""
_MOST_PIECES: Final = 1_000
"""Members of a gzip, or frames, one behind the other: each may be empty."""
_CLEAR: Final = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One layer less.

    Args:
        name: of the format.
        data: what came out, at most MOST_OUT bytes.
        is_cut: more would come out.
        is_whole: it ended as the format says, with nothing else behind it; False: the end is missing, or something is.
        problem: it begins as the format does and isn't it; then there is no data.
    """

    name: str
    data: bytes = b""
    is_cut: bool = False
    is_whole: bool = False
    problem: bool = False


def unpack(data: bytes, *, is_all: bool = True) -> Unpacked | None:
    """Unpack a value by the format that its first bytes name; None: they name none.

    Args:
        is_all: its end is there as well.
    """
    name = next((name for magic, name in _CLEAR.items() if data.startswith(magic)), "")
    if name:
        return _unpacked(name, data)
    if _may_be_zlib(data):
        # Text may begin so, too.
        found = _unpacked("zlib", data)
        is_sound = found.is_whole or found.is_cut or (not is_all and not found.problem)
        return found if is_sound else None
    return None


def is_packed(start: bytes) -> bool:
    """Whether a value begins as something compressed does."""
    return start.startswith(tuple(_CLEAR)) or _may_be_zlib(start)


def _may_be_zlib(start: bytes) -> bool:
    return (
        len(start) >= 6 and start[0] == 0x78 and (start[0] << 8 | start[1]) % 31 == 0 and not start[1] & 0x20
    )


def _unpacked(name: str, data: bytes) -> Unpacked:
    try:
        out, is_whole = _READERS[name](data)
    except (zlib.error, zstd.ZstdError, RuntimeError, ValueError, EOFError, MemoryError, OverflowError):
        return Unpacked(name, problem=True)
    if not out and not is_whole:
        return Unpacked(name, problem=True)
    return Unpacked(name, out[:MOST_OUT], len(out) > MOST_OUT, is_whole)


def _zlib(data: bytes) -> tuple[bytes, bool]:
    reader = zlib.decompressobj(15)
    return reader.decompress(data, MOST_OUT + 1), reader.eof


def _gzip(data: bytes) -> tuple[bytes, bool]:
    out = b""
    for _ in range(_MOST_PIECES):
        reader = zlib.decompressobj(31)
        out += reader.decompress(data, MOST_OUT + 1 - len(out))
        # What follows may be a member of its own, or what somebody put behind; gzip itself leaves zeros out.
        data = reader.unused_data.lstrip(b"\0")
        if len(out) > MOST_OUT or not reader.eof or not data:
            return out, reader.eof
        if not data.startswith(b"\x1f\x8b\x08"):
            break
    return out, False


def _zstd(data: bytes) -> tuple[bytes, bool]:
    limit = {int(zstd.DecompressionParameter.window_log_max): _LARGEST_WINDOW_LOG}
    return _frames(lambda: zstd.ZstdDecompressor(options=limit), b"\x28\xb5\x2f\xfd", data)


def _lz4(data: bytes) -> tuple[bytes, bool]:
    return _frames(lz4.frame.LZ4FrameDecompressor, b"\x04\x22\x4d\x18", data)


def _frames(new: Callable[[], Any], magic: bytes, data: bytes) -> tuple[bytes, bool]:
    """Frame after frame, as their tools read them."""
    out = b""
    for _ in range(_MOST_PIECES):
        reader = new()
        piece, is_whole = _step_by_step(reader, data, MOST_OUT + 1 - len(out))
        out += piece
        data = reader.unused_data or b""
        if len(out) > MOST_OUT or not is_whole or not data:
            return out, is_whole
        if not data.startswith(magic):
            break
    return out, False


def _step_by_step(reader: Any, data: bytes, most: int) -> tuple[bytes, bool]:
    out = b""
    rest = data
    while len(out) < most and not reader.eof:
        piece = reader.decompress(rest, most - len(out))
        rest = b""
        if not piece and reader.needs_input:
            break
        out += piece
    return out, reader.eof


_READERS: Final[dict[str, Callable[[bytes], tuple[bytes, bool]]]] = {
    "gzip": _gzip,
    "zlib": _zlib,
    "zstd": _zstd,
    "lz4": _lz4,
}
