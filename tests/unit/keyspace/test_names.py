"""Names of parts: no key passes itself off as a folded one, and the pattern of a path holds its keys."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.invalidation.selection import parse_pattern
from dashboard.keyspace.names import FOLDED, OTHER, WHOLE, Name, name_of, part_text, pattern_of
from tests.support.glob import matches
from tests.support.shared import shared_data

PIECES = st.binary(max_size=6) | st.sampled_from(
    [b"{id}", b"(other)", b"{id", b"id}", b"*", b"\\x7bid}", b"?[a]"]
)
NAMES: st.SearchStrategy[Name] = PIECES | st.lists(PIECES, min_size=2, max_size=3).map(tuple)


@given(NAMES, NAMES)
def test_different_parts_have_different_texts(one: Name, other: Name) -> None:
    assert (part_text(one) == part_text(other)) == (one == other)


@given(NAMES)
def test_our_own_words_are_never_literal(name: Name) -> None:
    text = part_text(name)
    assert text != OTHER
    if isinstance(name, bytes):
        assert FOLDED not in text


def test_as_it_is_read() -> None:
    assert part_text(b"product", ":") == "product:"
    assert part_text(WHOLE, ":") == "{id}:"
    assert part_text((b"user-", b"")) == "user-{id}"
    assert part_text(b"{id}") == r"\x7bid}"
    assert part_text(b"(other)") == r"\x28other)"
    assert name_of(("product:", "{id}")) == "product:{id}"
    assert name_of(("product:", OTHER)) == OTHER


def test_patterns() -> None:
    assert pattern_of((), is_leaf=False) == "*"
    assert pattern_of(("product:",), is_leaf=False) == "product:*"
    assert pattern_of(("product:", "{id}"), is_leaf=True) == "product:*"
    assert pattern_of(("product:", "{id}:", "reviews"), is_leaf=True) == "product:*:reviews"
    assert pattern_of((r"\x7bid}", "a*"), is_leaf=True) == r"{id}a\\*"
    assert pattern_of(("product:", OTHER), is_leaf=False) is None


@given(
    st.lists(st.tuples(NAMES, st.lists(st.binary(max_size=5), min_size=3, max_size=3)), max_size=9),
    st.booleans(),
)
def test_the_pattern_holds_what_has_the_path(parts: list[tuple[Name, list[bytes]]], is_leaf: bool) -> None:
    key, path = b"", []
    for name, fillings in parts:
        path.append(part_text(name))
        pieces = [name] if isinstance(name, bytes) else list(name)
        key += pieces[0] + b"".join(b + a for a, b in zip(pieces[1:], fillings, strict=False))
    found = pattern_of(tuple(path), is_leaf=is_leaf)
    assert found is not None
    assert matches(found, key if is_leaf else key + b"more")


def naughty() -> list[str]:
    folder = shared_data()
    if folder is None:
        return []
    strings: list[str] = json.loads((folder / "strings" / "blns.json").read_text())
    return strings


@pytest.mark.skipif(shared_data() is None, reason="no shared data beside the checkout")
def test_naughty_names_are_printable_and_make_patterns() -> None:
    seen = set()
    for text in naughty():
        data = text.encode("utf-8", "surrogatepass")
        shown = part_text(data, ":")
        assert shown.isprintable()
        seen.add(shown)
        pattern = pattern_of((shown,), is_leaf=False)
        assert pattern is not None
        assert parse_pattern(pattern) == pattern.strip()
        assert matches(pattern, data + b":1")
    assert len(seen) == len(set(naughty()))
