"""Selections as people type them: lists, ranges, patterns, bytes that are no text, and what is refused."""

import csv
import fnmatch
import io
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dashboard.caching.policy import RESERVED, prefix_to_text
from dashboard.errors import InvalidInput
from dashboard.fleet.globs import glob_escape
from dashboard.invalidation import selection
from dashboard.invalidation.types import MOST_IDS, Filters, SelectBy, Selection


def ids(*parts: str) -> list[bytes]:
    return [name for chunk in selection.parse_ids(parts) for name in chunk]


def refusal(field: str, call: object, *arguments: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        made = call(*arguments)  # type: ignore[operator]
        list(made)
    assert list(caught.value.fields) == [field]
    return caught.value.fields[field]


# --- keys ---------------------------------------------------------------------------------------------------


def test_pasted_keys_are_lines() -> None:
    text = "product:1\r\n\n  product:2 \nÄ:3\rproduct:1\n"
    assert selection.parse_keys(text) == (b"product:1", b"product:2", "Ä:3".encode())


def test_keys_may_be_any_bytes() -> None:
    assert selection.parse_keys("a\\xff\\x00b\nback\\\\slash") == (b"a\xff\x00b", b"back\\slash")


@given(
    st.lists(
        st.binary(min_size=1, max_size=40).filter(lambda key: not key.startswith(b"cachewarden:")), min_size=1
    )
)
def test_every_key_can_be_written(keys: list[bytes]) -> None:
    def written(key: bytes) -> str:
        text = prefix_to_text(key)
        # A space at the end and a quote at the beginning have a meaning of their own.
        return "".join(f"\\x{ord(each):02x}" if each in ' "' else each for each in text)

    assert selection.parse_keys("\n".join(map(written, keys))) == tuple(dict.fromkeys(keys))


def test_keys_copied_from_redis_cli() -> None:
    text = '1) "product:1"\n12) "a\\"b\\n\\xff\\\\"\n"plain"'
    assert selection.parse_keys(text) == (b"product:1", b'a"b\n\xff\\', b"plain")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least one"),
        ("a\nb\\q", "Line 2"),
        ('"a\\q"', "Line 1"),
        ('a\n"unclosed', "Line 2: A quote is not closed"),
        ('"a"b', "Line 1: A quote is not closed"),
        ("a\ncachewarden:policies", "Line 2: Keys that begin with cachewarden:"),
        ("x" * 5000, "Longer than"),
        ("a\ufffdb", "broken UTF-8"),
        ("a\ud800", "broken UTF-8"),
        ("a\x00b", "NUL"),
        ("k\n" * 1_000_001, "longer than 2,000,000"),
    ],
)
def test_keys_that_are_refused(text: str, words: str) -> None:
    assert words in refusal("keys", selection.parse_keys, text)


# --- identifiers --------------------------------------------------------------------------------------------


def test_ids_in_every_usual_form() -> None:
    assert ids("1, 2;3\t4\n5-7\r\n9..11") == [b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"9", b"10", b"11"]
    assert ids("008-011") == [b"008", b"009", b"010", b"011"]
    assert ids("550e8400-e29b-41d4-a716-446655440000") == [b"550e8400-e29b-41d4-a716-446655440000"]
    assert ids("O'Brien a\"b") == [b"O'Brien", b'a"b']
    assert ids("'2024-01', \"a,b\"") == [b"2024-01", b"a,b"]
    assert ids("7 7 7") == [b"7"]


@given(
    st.lists(
        st.text(
            st.characters(exclude_categories=["Cs"], exclude_characters="\ufffd"), min_size=1, max_size=20
        )
    ),
    st.integers(1, 7),
)
def test_quoted_ids_hold_anything_and_pieces_may_be_cut_anywhere(names: list[str], step: int) -> None:
    if not names:
        return
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerow(names)
    text = out.getvalue()
    pieces = [text[start : start + step] for start in range(0, len(text), step)]
    assert ids(*pieces) == list(dict.fromkeys(name.encode() for name in names))


@given(st.text(max_size=60))
def test_any_text_is_a_list_or_refused_with_a_message(text: str) -> None:
    try:
        found = ids(text)
    except InvalidInput as error:
        assert error.fields["ids"]
    else:
        assert found and all(found)


def test_a_list_comes_in_chunks() -> None:
    sizes = [len(chunk) for chunk in selection.parse_ids(["1-25000"])]
    assert sizes == [10_000, 10_000, 5_000]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "at least one"),
        (" ,;\n", "at least one"),
        ("1-10000000", "more than 5,000,000"),
        ("1-4000000, 5000000-9000000", "more than 5,000,000"),
        ("2024-01", "runs backwards"),
        ('"never closed', "never closed"),
        ('""', "empty identifier"),
        ("x" * 2000, "is no identifier"),
        ("x" * 9000, "is no identifier"),
        ("a\ufffd", "broken UTF-8"),
        ("a\ud800", "broken UTF-8"),
    ],
)
def test_ids_that_are_refused(text: str, words: str) -> None:
    assert words in refusal("ids", ids, text)


def test_an_uploaded_file() -> None:
    def read(*pieces: bytes) -> list[bytes]:
        return ids(*selection.decode_upload(pieces))

    assert read(b"\xef\xbb\xbf1\n", b"\xc3", b"\xa4") == [b"1", "ä".encode()]
    assert "UTF-16" in refusal("ids", read, "1\n2".encode("utf-16"))
    assert "no UTF-8" in refusal("ids", read, b"1,\xff\xfe")
    assert "no UTF-8" in refusal("ids", read, b"1,\xc3")


# --- templates, prefixes, patterns, tags --------------------------------------------------------------------


def test_templates_make_keys() -> None:
    chosen = Selection(SelectBy.ROWS, "products.id", ("product:{id}", r"\xff{id}:{id}\\", "p:{x}:{id}"), 2)
    assert selection.expander(chosen)([b"7", b"{id}"]) == [
        b"product:7",
        b"\xff7:7\\",
        b"p:{x}:7",
        b"product:{id}",
        b"\xff{id}:{id}\\",
        b"p:{x}:{id}",
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "how a key is made"),
        ("product:", "{id} is missing"),
        ("product:{ID}", "{id} is missing"),
        (r"a\{id}", "backslash"),
        ("cachewarden:{id}", "never purged"),
    ],
)
def test_templates_that_are_refused(text: str, words: str) -> None:
    assert words in refusal("template", selection.parse_template, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "every key"),
        ("   ", "every key"),
        ("product:*", "no asterisk"),
        ("cachewarden:", "never purged"),
        ("cachewarden:tag:", "never purged"),
        ("a\\q", "backslash"),
        ("a\ufffd", "broken UTF-8"),
        ("a" * 5000, "longer"),
    ],
)
def test_prefixes_that_are_refused(text: str, words: str) -> None:
    assert words in refusal("prefix", selection.parse_prefix, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Enter a pattern"),
        ("cachewarden:*", "never purged"),
        (r"cache\\warden:*", "never purged"),
        ("a*b*c*d*e*f*g*h*i*", "asterisks"),
        ("\\q*", "backslash"),
    ],
)
def test_patterns_that_are_refused(text: str, words: str) -> None:
    assert words in refusal("pattern", selection.parse_pattern, text)


def test_patterns_that_are_taken() -> None:
    for text in ("*", "session:*:cart", "a**b", r"\\*\\*\\*\\*\\*\\*\\*\\*\\*x", "[a-c]?", "c*"):
        assert selection.parse_pattern(text) == text


def test_tags() -> None:
    assert selection.parse_tag(" shop 7 ") == "shop 7"
    assert "Enter a tag" in refusal("tag", selection.parse_tag, " ")
    assert "longer" in refusal("tag", selection.parse_tag, "t" * 201)


@given(st.binary(min_size=1, max_size=12), st.binary(max_size=6))
@example(RESERVED, b"")
def test_an_escaped_prefix_matches_itself_alone(prefix: bytes, rest: bytes) -> None:
    # fnmatch knows no backslash, so the escapes are written in its way.
    pattern = glob_escape(prefix)
    assert selection.literal_head(pattern) == prefix
    assert selection.literal_head(pattern + b"*") == prefix
    theirs = "".join(f"[{chr(byte)}]" if chr(byte) in "*?[" else chr(byte) for byte in prefix)
    assert fnmatch.fnmatchcase(prefix.decode("latin-1"), theirs)
    chosen = Selection(SelectBy.PREFIX, prefix_to_text(prefix))
    assert selection.scan_pattern(chosen) == pattern + b"*"
    key = prefix + rest
    assert selection.allowed(chosen)([key]) == ([] if key.startswith(RESERVED) else [key])


def test_what_the_server_sends_is_not_believed() -> None:
    sent = [b"a:1", b"b:1", b"cachewarden:policies", b"cachewarden:tag:x", b"cacheward"]
    assert selection.allowed(Selection(SelectBy.PREFIX, "a:"))(sent) == [b"a:1"]
    assert selection.allowed(Selection(SelectBy.PREFIX, "c"))(sent) == [b"cacheward"]
    assert selection.allowed(Selection(SelectBy.PATTERN, "*"))(sent) == [b"a:1", b"b:1", b"cacheward"]
    assert selection.allowed(Selection(SelectBy.PATTERN, "b?*"))(sent) == [b"b:1"]
    assert selection.allowed(Selection(SelectBy.TAG, "t"))(sent) == [b"a:1", b"b:1", b"cacheward"]


@pytest.mark.parametrize(
    ("field", "chosen"),
    [
        ("prefix", Selection(SelectBy.PREFIX, "")),
        ("pattern", Selection(SelectBy.PATTERN, "cachewarden:*")),
        ("tag", Selection(SelectBy.TAG, "")),
        ("template", Selection(SelectBy.IDS, "", (), 3)),
        ("template", Selection(SelectBy.IDS, "", ("a",), 3)),
        ("template", Selection(SelectBy.ROWS, "", ("{id}",) * 21, 3)),
        ("ids", Selection(SelectBy.IDS, "", ("a{id}",), MOST_IDS + 1)),
        ("keys", Selection(SelectBy.KEYS)),
        ("ttl_max_s", Selection(SelectBy.PREFIX, "a", filters=Filters(ttl_min_s=5, ttl_max_s=4))),
        ("size_min_bytes", Selection(SelectBy.PREFIX, "a", filters=Filters(size_min_bytes=-1))),
        ("without_ttl", Selection(SelectBy.PREFIX, "a", filters=Filters(without_ttl=True, ttl_max_s=4))),
        ("type", Selection(SelectBy.PREFIX, "a", filters=Filters(type="string\n"))),
    ],
)
def test_a_selection_that_no_form_would_make(field: str, chosen: Selection) -> None:
    with pytest.raises(InvalidInput) as caught:
        selection.check(chosen)
    assert list(caught.value.fields) == [field]


def test_a_selection_that_is_fine() -> None:
    selection.check(Selection(SelectBy.PREFIX, "a", filters=Filters(type="ReJSON-RL", idle_min_s=0)))
    selection.check(Selection(SelectBy.ROWS, "products.id", ("a{id}", "b{id}"), MOST_IDS))


def test_a_doubled_quote_that_is_cut_in_two_is_still_one() -> None:
    assert ids(*'""""') == [b'"']
    assert ids(*"'''a'''") == [b"'a'"]


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters='"\ufffd'), min_size=1, max_size=6)),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(1, 5),
)
def test_keys_are_read_wherever_their_list_is_cut(names: list[str], end: str, step: int) -> None:
    # Spaces around a line are no part of the key.
    keys = [name.encode() for name in names if name == name.strip(" ")]
    text = end.join(map(prefix_to_text, keys))
    parts = [text[start : start + step] for start in range(0, len(text), step)]
    assert list(selection.read_keys(parts)) == keys


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\x7f", "\x9b", "\u2028", "\u202e", "\u2066", "a\tb"])
@pytest.mark.parametrize(
    ("parse", "field"),
    [
        (selection.parse_prefix, "prefix"),
        (selection.parse_pattern, "pattern"),
        (selection.parse_template, "template"),
        (selection.parse_tag, "tag"),
    ],
)
def test_what_names_a_purge_can_be_shown(parse: Callable[[str], str], field: str, character: str) -> None:
    with pytest.raises(InvalidInput, match="control character") as refused:
        parse(f"pro{character}duct:{{id}}x")
    assert set(refused.value.fields) == {field}
