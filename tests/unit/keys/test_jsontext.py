"""JSON over lines: what the standard library takes is taken, nothing is changed, no depth hurts."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.keys import jsontext
from dashboard.keys.jsontext import DEEPEST, MOST_LINES, Pretty, visible

PRINTABLE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2000, exclude_characters="\x7f"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | PRINTABLE,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(PRINTABLE, inner, max_size=5),
    max_leaves=20,
)


def pretty(text: str, **more: bool) -> Pretty:
    found = jsontext.pretty(text, **more)
    assert found is not None
    return found


@given(VALUES, st.sampled_from([None, 1]))
def test_it_says_what_the_json_says(value: Any, indent: int | None) -> None:
    found = pretty(json.dumps(value, indent=indent))
    assert found.is_whole and not found.is_cut
    assert json.loads(found.text) == value


@given(st.text('[]{}:,"\\ 01-.eEtrufalsn\nx', max_size=30))
def test_it_takes_what_the_standard_library_takes(text: str) -> None:
    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        assert jsontext.pretty(text) is None
    else:
        assert pretty(text).is_whole


def test_numbers_and_keys_stay_as_they_are_written() -> None:
    source = '{"a":1.0000000000000000001,"a":1E400,"b":123456789012345678901234567890,"c":-0}'
    assert pretty(source).text == (
        '{\n  "a": 1.0000000000000000001,\n  "a": 1E400,\n  "b": 123456789012345678901234567890,\n  "c": -0\n}'
    )


def test_lines_know_what_they_fold() -> None:
    lines = pretty('{"a":[1,2],"b":{},"c":[]}').lines
    assert [line.folds for line in lines] == [6, 2, 0, 0, 0, 0, 0, 0]
    assert lines[1].tokens == (("key", '"a"'), ("", ": "), ("", "["))
    assert "".join(text for _, text in lines[5].tokens) == '"b": {},'


@pytest.mark.parametrize("deep", [1_000, 30_000])
def test_depth_is_no_matter(deep: int) -> None:
    found = pretty("[" * deep + "]" * deep)
    assert found.is_whole and max(line.depth for line in found.lines) == DEEPEST
    assert len(found.lines) <= MOST_LINES and found.is_cut == (2 * deep - 1 > MOST_LINES)
    assert jsontext.pretty("[" * deep) is None
    assert not pretty('{"a":' * deep, is_all=False).is_whole


def test_lines_beyond_the_most_are_checked_and_not_shown() -> None:
    assert len(pretty(json.dumps(list(range(10_000)))).lines) == MOST_LINES
    assert jsontext.pretty(json.dumps(list(range(10_000)))[:-1] + "}") is None


@given(VALUES, st.integers(0, 200))
def test_what_breaks_off_is_shown_up_to_there(value: Any, end: int) -> None:
    whole = json.dumps({"first": value})
    found = jsontext.pretty(whole[:end], is_all=False)
    if found is None:
        # A mark that has no beginning yet, or an escape or number that is cut: nothing wrong is shown for it.
        assert end < 2 or re.search(r"\\u?[0-9a-f]{0,3}\Z|[-+eE.]\Z", whole[:end]) or not whole[:end].strip()
    else:
        assert found.is_whole == (end >= len(whole))
        shown = re.sub(r"\s+", "", found.text)
        assert re.sub(r"\s+", "", visible(whole[:end])).startswith(shown[:50])


def test_what_would_steer_a_screen_is_written_as_escapes() -> None:
    assert pretty('"a\u202eb\u2066"').text == '"a\\u202eb\\u2066"'
    assert visible("a\tb\nc\x00\x1b[2J\u200fd") == "a\tb\nc\\x00\\x1b[2J\\u200fd"


def test_a_long_text_is_cut() -> None:
    found = pretty(json.dumps(["x" * 100_000]))
    assert len(found.text) < 10_000 and "…" in found.text
