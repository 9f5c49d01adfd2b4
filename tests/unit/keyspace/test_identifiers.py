"""Which parts of keys are identifiers: what people and programs make them of, and what is a word."""

import base64
import re
import string
import uuid
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.keyspace.identifiers import LONGEST_PART, Folder, find_spans
from dashboard.keyspace.names import WHOLE, part_text

WORDS = st.from_regex(r"[a-z]{1,7}([-_.][a-z]{1,7}){0,3}", fullmatch=True)
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def fold(part: str) -> str:
    return part_text(Folder().fold(part.encode()))


@pytest.mark.parametrize(
    ("part", "folded"),
    [
        ("40118", "{id}"),
        ("0", "{id}"),
        ("12.5", "{id}"),
        ("10.0.0.1", "{id}"),
        ("1920x1080", "{id}"),
        ("2024-01", "{id}"),
        ("2024-01-31T10", "{id}"),
        ("d41d8cd98f00b204e9800998ecf8427e", "{id}"),
        ("01ARZ3NDEKTSV4RRFFQ69G5FAV", "{id}"),
        ("dQw4w9WgXcQ", "{id}"),
        ("V1StGXR8_Z5jdHi6B-myT", "{id}"),
        ("jane.doe+shop@example.co.uk", "{id}"),
        ("user-123", "user-{id}"),
        ("user_9", "user_{id}"),
        ("item1234", "item{id}"),
        ("{user1000}", "{user{id}}"),
        ("report-2024-01-31-final", "report-{id}-final"),
        ("a-3f2504e0-4f89-11d3-9a0c-0305e82c3301-b", "a-{id}-b"),
        ("cart-01ARZ3NDEKTSV4RRFFQ69G5FAV", "cart-{id}"),
        ("session-d41d8cd98f00b204e9800998ecf8427e", "session-{id}"),
        ("", ""),
        ("list", "list"),
        ("v2", "v2"),
        ("utf8", "utf8"),
        ("24h", "24h"),
        ("ipv4-to-ipv6", "ipv4-to-ipv6"),
        ("getUserProfileById", "getUserProfileById"),
        ("deadbeef", "deadbeef"),
        ("recommendations", "recommendations"),
    ],
)
def test_examples(part: str, folded: str) -> None:
    assert fold(part) == folded


@given(st.integers(min_value=0))
def test_numbers(number: int) -> None:
    assert fold(str(number)) == "{id}"


@given(st.uuids(), st.booleans())
def test_uuids(found: uuid.UUID, is_upper: bool) -> None:
    text = str(found).upper() if is_upper else str(found)
    assert fold(text) == "{id}"
    assert fold(f"cart-{text}") == "cart-{id}"


@given(st.binary(min_size=4, max_size=64).filter(lambda data: any(c.isdigit() for c in data.hex())))
def test_hashes(data: bytes) -> None:
    assert fold(data.hex()) == fold(data.hex().upper()) == "{id}"


@given(st.dates(min_value=date(1970, 1, 1)))
def test_dates(day: date) -> None:
    for form in ("%Y-%m-%d", "%Y%m%d", "%Y.%m.%d", "%Y-%m-%dT00", "%d-%m-%Y", "%Y-%m"):
        assert fold(day.strftime(form)) == "{id}"


@given(st.text(CROCKFORD, min_size=26, max_size=26))
def test_ulids_of_today(text: str) -> None:
    # Their first characters are a time: digits and letters in turn for the next thousand years.
    assert fold("01J9Z7K2Q8" + text[10:]) == "{id}"


@given(st.from_regex(r"[a-z0-9.+_-]{1,20}@[a-z]{1,10}\.(com|org|co\.uk)", fullmatch=True))
def test_email_addresses(text: str) -> None:
    assert fold(text) == "{id}"


@given(WORDS)
def test_words_are_no_identifiers(word: str) -> None:
    assert fold(word) == word


@given(WORDS, st.integers(0, 10**12), st.sampled_from("-_.=#"))
def test_a_number_behind_a_word_folds_alone(word: str, number: int, between: str) -> None:
    assert fold(f"{word}{between}{number}") == f"{word}{between}{{id}}"


@given(st.binary(max_size=200))
def test_the_literal_pieces_are_those_of_the_part(part: bytes) -> None:
    name = Folder().fold(part)
    if isinstance(name, bytes):
        assert name == part
    else:
        assert re.fullmatch(b".+".join(map(re.escape, name)), part, re.DOTALL)


@given(st.binary(max_size=40) | st.text(string.hexdigits + "-_.", max_size=40).map(str.encode))
def test_what_was_seen_before_changes_nothing(part: bytes) -> None:
    folder = Folder()
    digits = bytes.maketrans(b"0123456789", b"9876543210")
    folder.fold(part.translate(digits))
    assert folder.fold(part) == Folder().fold(part)


def test_long_parts_are_identifiers() -> None:
    assert Folder().fold(b"n" * LONGEST_PART) == b"n" * LONGEST_PART
    assert Folder().fold(b"n" * (LONGEST_PART + 1)) == WHOLE


def test_more_shapes_than_are_remembered() -> None:
    folder = Folder()
    for number in range(20_000):
        token = base64.b32hexencode(number.to_bytes(5, "big"))
        assert folder.fold(b"x-" + token) == Folder().fold(b"x-" + token)


@given(st.text("0123456789abcdefABCDEF", max_size=40).map(str.encode))
def test_the_short_way_for_hashes_leads_where_the_long_one_does(part: bytes) -> None:
    spans = find_spans(part.translate(bytes.maketrans(b"123456789", b"0" * 9)))
    assert (Folder().fold(part) == WHOLE) == (spans == ((0, len(part)),))
