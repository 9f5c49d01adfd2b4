"""MessagePack over lines: as the reference library packs it, and whatever else is put there."""

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.keys import packed

WORDS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(WORDS, inner, max_size=20),
    max_leaves=30,
)
CONTAINERS = st.lists(VALUES, max_size=20) | st.dictionaries(WORDS, VALUES, max_size=20)


@given(CONTAINERS)
def test_it_says_what_was_packed(value: Any) -> None:
    found = packed.pretty(msgpack.packb(value))
    assert found is not None and found.is_whole
    text = found.text.replace("-inf", "-Infinity").replace("inf", "Infinity")
    assert "inf" in found.text or json.loads(text) == value


def test_every_length_of_text_bytes_arrays_and_maps() -> None:
    for size in (0, 1, 31, 32, 255, 256, 65_535, 65_536):
        for value in ("x" * size, b"x" * size, [1] * size, dict.fromkeys(range(size), 1)):
            found = packed.pretty(msgpack.packb([value]))
            assert found is not None and found.is_whole, (type(value), size)


def test_what_json_has_no_form_for() -> None:
    value = {b"\xff": msgpack.ExtType(5, b"ab"), "at": msgpack.Timestamp(1, 2), 3: [], "x": {}}
    found = packed.pretty(msgpack.packb(value))
    assert found is not None
    lines = found.text.splitlines()
    assert lines[1] == '  bin("ff"): ext(5, "6162"),'
    assert lines[2].startswith('  "at": ext(-1, ') and lines[3:5] == ["  3: [],", '  "x": {}']


def test_texts_from_before_it_knew_bytes() -> None:
    found = packed.pretty(msgpack.packb([b"\xff\xfe"], use_bin_type=False))
    assert found is not None and 'raw("fffe")' in found.text


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    found = packed.pretty(b"\x92" + data)
    try:
        msgpack.unpackb(b"\x92" + data, strict_map_key=False, raw=True)
    except Exception:
        # The library also refuses what it can't make objects of, which is no matter here.
        return
    assert found is not None and found.is_whole


@pytest.mark.parametrize(
    "data", [b"\xdd\xff\xff\xff\xff" * 5_000, b"\x91" * 50_000, b"\xdf\xff\xff\xff\xff", b"\x92\xc1\xc0"]
)
def test_lengths_that_lie_take_no_memory(data: bytes) -> None:
    assert packed.pretty(data) is None
    found = packed.pretty(data, is_all=False)
    assert found is None or not found.is_whole


def test_numbers_by_themselves_are_no_messagepack() -> None:
    assert packed.pretty(b"\x05") is None and packed.pretty(b"") is None
