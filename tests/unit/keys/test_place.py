"""The address of the Keys page: it holds all of where somebody is; what is none of ours is refused in words."""

from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.errors import InvalidInput
from dashboard.keys.forms import (
    Place,
    TypedKey,
    key_of,
    name_of,
    read_place,
    shown_ttl,
    ttl_of,
    typed_edit,
    typed_key,
)
from dashboard.keys.types import Verb, View

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLACES = st.builds(
    Place,
    q=WORDS,
    type=WORDS.map(str.strip),
    ttl=st.sampled_from(["", "none", "lt1h", "what"]),
    under=st.lists(WORDS, max_size=4).map(tuple),
    key=st.binary(max_size=30),
    stops=st.booleans(),
    view=st.sampled_from(View),
    start=st.integers(0, 2**40),
    part=WORDS,
    touches=st.booleans(),
    item=st.none() | st.binary(max_size=10),
    edit=st.sampled_from(["", "value", "new"]),
    pane=st.sampled_from(["", "tree", "about"]),
)


def read(query: str) -> Place:
    return read_place(parse_qs(query, keep_blank_values=True))


@given(PLACES)
def test_a_place_is_read_from_its_own_address(place: Place) -> None:
    assert read(place.query()) == place


def test_the_list_goes_on_from_a_cursor_and_another_list_begins_anew() -> None:
    place = Place(q="product:*", cursor="c1", before=400, found=7, key=b"\xff\x00")
    assert read(place.query()) == place
    other = read(place.list_query(under=("product:",)))
    assert other == Place(q="product:*", under=("product:",))


def test_another_key_opens_at_its_beginning() -> None:
    place = Place(
        q="a", cursor="c", before=1, found=1, key=b"x", view=View.HEX, start=9, item=b"f", edit="value"
    )
    assert read(place.key_query(b"")) == Place(q="a", cursor="c", before=1, found=1, key=b"")
    assert read(place.key_query(None)).key is None
    asked = Place(key=b"x", touches=True)
    assert read(asked.key_query(b"y")).touches and read(asked.list_query(under=("a:",))).touches


@pytest.mark.parametrize(
    "query",
    [
        "key=!", "item=a", "view=xml", "edit=all", "pane=4", "start=-1", "start=x", "before=99999999999999999999",
        "start=%D9%A3", "q=" + "x" * 20_001, "cursor=" + "x" * 10_001, "&".join(["under=a"] * 65),
    ],
)  # fmt: skip
def test_what_is_no_place_is_refused(query: str) -> None:
    with pytest.raises(InvalidInput):
        read(query)


@pytest.mark.parametrize(("typed", "seconds"), [("1.5", 5400.0), ("1,000", 3_600_000.0), ("0.001", 3.6)])
def test_a_ttl_that_was_typed(typed: str, seconds: float) -> None:
    assert ttl_of(TypedKey(ttl=typed, ttl_unit="h")) == seconds


@pytest.mark.parametrize("typed", ["", "0", "-5", "soon", "1e9", "nan", "٣"])
def test_a_ttl_that_is_none(typed: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        ttl_of(TypedKey(ttl=typed))
    assert "ttl" in refused.value.fields


@pytest.mark.parametrize(
    ("left", "unit"), [(None, "h"), (30.0, "s"), (90.0, "m"), (7200.0, "h"), (200_000.0, "d")]
)
def test_the_unit_fits_the_ttl_it_has(left: float | None, unit: str) -> None:
    assert shown_ttl(left).ttl_unit == unit


def test_forms_are_read_as_sent() -> None:
    typed = typed_edit(
        {
            "verb": "add-entry",
            "field0": "a",
            "value0": "1",
            "field2": "",
            "value2": "x",
            "address": "",
            "version": "v",
        }
    )
    assert typed.verb is Verb.ADD_ENTRY and typed.fields == (("a", "1"), ("", "x")) and not typed.is_escaped
    assert typed_edit({"verb": "set-value", "written": "escaped"}).is_escaped
    assert typed_key({"ttl": "4", "ttl.unit": "years"}).ttl_unit == "s"
    for form in ({"verb": "flush"}, {}, {"verb": "set-field", "address": "!"}):
        with pytest.raises(InvalidInput):
            typed_edit(form)
    with pytest.raises(InvalidInput):
        key_of({})


def test_a_new_name_may_be_any_bytes() -> None:
    assert name_of(TypedKey(name="a\\xff\\\\b")) == b"a\xff\\b"
    with pytest.raises(InvalidInput) as refused:
        name_of(TypedKey(name="a\\b"))
    assert "name" in refused.value.fields
