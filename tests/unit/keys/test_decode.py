"""What bytes are: unpacked within bounds, named where they would be code, shown as they are where they lie."""

import bz2
import gzip
import json
import lzma
import pickle
import random
import zlib
from typing import Any

import lz4.frame
import msgpack
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from dashboard.keys.decode import HEX_BYTES, MOST_TEXT, NEVER_RUN, decode, hint
from dashboard.keys.types import View
from dashboard.keys.unpacking import MOST_OUT, is_packed, unpack

JSON = json.dumps({"id": 40118, "name": "kettle", "in_stock": True}).encode()
PACKERS = {"gzip": gzip.compress, "zlib": zlib.compress, "zstd": zstd.compress, "lz4": lz4.frame.compress}


@pytest.mark.parametrize("name", PACKERS)
def test_compressed_json_is_unpacked_and_named(name: str) -> None:
    found = decode(PACKERS[name](JSON))
    assert found.layers == (name, "JSON") and not found.is_truncated
    assert found.out_bytes == len(JSON) and found.text is not None and '"name": "kettle"' in found.text


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_every_level_of_zlib_is_known(level: int) -> None:
    assert decode(zlib.compress(JSON, level)).layers == ("zlib", "JSON")


@pytest.mark.parametrize("name", ["gzip", "zstd", "lz4"])
def test_all_members_and_frames_are_shown_within_the_bound(name: str) -> None:
    pack = PACKERS[name]
    found = decode(pack(b"first ") + pack(b"") + pack(b"second"))
    assert found.text == "first second" and not found.is_truncated and not found.note
    found = decode(pack(b"a" * (MOST_OUT - 1)) + pack(b"b" * 50_000_000))
    assert found.is_truncated and found.out_bytes == MOST_OUT and "there is more" in found.note
    found = decode(pack(b"first ") + b"something else")
    assert found.is_truncated and "behind it" in found.note
    found = decode(pack(b"first ") + pack(b"second" * 50)[:-6])
    assert found.is_truncated and found.note


@pytest.mark.parametrize("name", PACKERS)
def test_a_bomb_is_cut_and_said_to_be(name: str) -> None:
    bomb = PACKERS[name](b"a" * 50_000_000)
    found = decode(bomb)
    assert found.layers == (name, "text") and found.is_truncated and found.out_bytes == MOST_OUT
    assert found.text is not None and len(found.text) <= MOST_TEXT
    assert "there is more" in found.note


@pytest.mark.parametrize("name", PACKERS)
def test_a_bomb_in_a_bomb_is_no_more(name: str) -> None:
    bomb = b"a" * 50_000_000
    for _ in range(5):
        bomb = PACKERS[name](bomb)
    found = decode(bomb)
    assert found.layers[:3] == (name,) * 3 and (found.out_bytes or 0) <= MOST_OUT
    assert "more often" in found.note


@pytest.mark.parametrize("name", PACKERS)
@given(end=st.integers(5, 60), flip=st.integers(0, 60))
def test_what_is_cut_or_broken_is_shown_all_the_same(name: str, end: int, flip: int) -> None:
    data = bytearray(PACKERS[name](JSON))
    data[flip % len(data)] ^= 0x55
    for piece in (bytes(data), bytes(data[:end]), PACKERS[name](JSON)[:end]):
        for is_all in (True, False):
            found = decode(piece, is_all=is_all)
            assert found.text is not None or found.hex


@pytest.mark.parametrize("start", [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"])
def test_a_value_that_lies_about_its_format_is_shown_as_it_is(start: bytes) -> None:
    found = decode(start + b"no such thing at all, really")
    assert found.hex and found.text is None and "but is none" in found.note


def test_text_that_begins_as_zlib_does_is_text() -> None:
    assert is_packed(b"x^2 + y^2 = z^2")
    assert decode(b"x^2 + y^2 = z^2").layers == ("text",)
    assert unpack(b"x^2 + y^2 = z^2") is None


def test_zstd_that_asks_for_much_memory_gets_none() -> None:
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.content_size_flag: 0}
    writer = zstd.ZstdCompressor(options=options)
    data = writer.compress(random.Random(1).randbytes(200_000)) + writer.flush()
    found = unpack(data)
    assert found is not None and found.problem


class Trap:
    """Does harm when it is unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was executed",))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("packed", [False, True])
def test_pickle_is_named_and_never_executed(protocol: int, packed: bool) -> None:
    data = pickle.dumps(Trap(), protocol)
    found = decode(zlib.compress(data) if packed else data)
    assert found.layers[-1].startswith("Python pickle") and found.note == NEVER_RUN
    assert found.hex and found.text is None
    assert decode(pickle.dumps({"a": [1, 2]}, protocol)).layers[-1].startswith("Python pickle")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b'a:2:{i:0;s:1:"x";i:1;b:1;}', "PHP serialised"),
        (b'O:8:"stdClass":1:{s:1:"a";i:5;}', "PHP serialised"),
        (b"N;", "PHP serialised"),
        (b"\xac\xed\x00\x05sr\x00\x11java.lang.Integer", "Java serialised"),
        (b"\x00\x01\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00\x00", ".NET serialised"),
        (b'\x04\x08[\x07i\x06"\x06a', "Ruby Marshal"),
        (b"\x00\x00\x00\x02\x14\x01\x11\x01a\x06\x01", "igbinary (PHP)"),
        (bz2.compress(b"x"), "bzip2"),
        (lzma.compress(b"x"), "xz"),
        (b"\x89PNG\r\n\x1a\n....", "PNG image"),
    ],
)
def test_other_formats_are_named_and_shown_as_bytes(data: bytes, name: str) -> None:
    found = decode(data)
    assert found.layers == (name,) and found.hex and found.text is None


def test_messagepack_is_read() -> None:
    found = decode(msgpack.packb({"id": 1, "tags": ["a", b"\x00"]}))
    assert found.layers == ("MessagePack",)
    assert found.text == '{\n  "id": 1,\n  "tags": [\n    "a",\n    bin("00")\n  ]\n}'


@given(st.text())
def test_text_is_text(text: str) -> None:
    found = decode(text.encode(errors="ignore"), View.TEXT)
    assert found.text is not None or any(character < " " or character == "\x7f" for character in text)


@given(st.binary(max_size=300), st.sampled_from(View), st.booleans(), st.integers(0, 3))
def test_any_bytes_can_be_shown_in_any_way(data: bytes, view: View, is_all: bool, offset: int) -> None:
    found = decode(data, view, is_all=is_all, offset=offset)
    assert found.text is not None or found.hex or not data
    if view is View.HEX and data:
        assert bytes.fromhex("".join(row[1] for row in found.hex)) == data
        assert found.hex[0][0] == f"{offset:08x}"


def test_a_character_that_is_cut_at_a_windows_end_makes_no_bytes_of_a_text() -> None:
    whole = "Wörter – 漢字 🙂".encode()
    for start in range(len(whole)):
        for end in range(start + 4, len(whole)):
            found = decode(whole[start:end], is_all=False, offset=start)
            assert found.text is not None, (start, end)
            assert found.text in whole.decode()


def test_views_can_be_chosen() -> None:
    assert decode(JSON, View.TEXT).text == JSON.decode()
    assert decode(b"[1,", View.JSON).note == "It is no JSON."
    assert decode(b"7", View.JSON).lines and decode(b"7").layers == ("text",)
    assert decode(b"null").layers == ("JSON",) and decode(b"nulls").layers == ("text",)
    assert decode(b"\xff", View.TEXT).note == "It is no text."
    assert len(decode(bytes(10_000), View.HEX).hex) == HEX_BYTES // 16


def test_json_is_shown_as_far_as_it_was_read() -> None:
    found = decode(json.dumps([{"a": 1}] * 100).encode()[:200], is_all=False)
    assert found.layers == ("JSON",) and found.lines and found.is_truncated


def test_hints() -> None:
    hll = b"HYLL\x01\x00\x00\x00" + (1234).to_bytes(8, "little") + b"\x7f\x80"
    assert hint(hll, len(hll)) == "HyperLogLog, about 1,234 different members when last counted"
    stale = hll[:15] + b"\x80" + hll[16:]
    assert hint(stale, len(stale)) == "HyperLogLog" and decode(hll).layers == ("HyperLogLog",)
    assert (
        hint(b"\x00\x00\x00\x01\x00\x00\x00\x80\x00", 9)
        == "May be a bitmap: 2 of its bits are set (BITCOUNT)"
    )
    dense = bytes([0xFF, 0x93, 0xC0, 0x1F] * 100)
    assert hint(dense, 400) == "Could be a bitmap: 1,900 of its bits are set (BITCOUNT)"
    assert hint(dense[:80], 400).startswith("Could be a bitmap: 380 of the first 640 bits")
    for known in (b"text", b"", JSON, gzip.compress(JSON), pickle.dumps({"a": 1}), "käse ключ".encode() * 9):
        assert hint(known, len(known)) == "", known
