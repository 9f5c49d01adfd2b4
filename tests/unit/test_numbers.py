"""Numbers as people type them, and as forms carry them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.web.numbers import decimal_of, digits_of, revision_of


@pytest.mark.parametrize(
    ("text", "value"),
    [("25", "25"), (" 25 ", "25"), ("2.5", "2.5"), (".5", "0.5"), ("5.", "5"), ("-3", "-3"), ("007", "7"),
     ("1,500", "1500"), ("12,345,678.5", "12345678.5"),
     ("2,5", "2.5"), ("1,25", "1.25"), ("0,125", "0.125"), ("1,0625", "1.0625"), ("-0,5", "-0.5")],
)  # fmt: skip
def test_a_number(text: str, value: str) -> None:
    assert decimal_of(text) == Decimal(value)


@pytest.mark.parametrize(
    "text",
    ["", " ", "x", "1_0", "1e3", "1,5,0", "1234,567", "1,50,000", "2,5.5", "1.500,5", ",5", "1,", "+5", "1 000", "٣",
     "nan", "inf", "-", ".", "9" * 19, "0" * 21],
)  # fmt: skip
def test_no_number(text: str) -> None:
    assert decimal_of(text) is None


@given(st.integers(-(10**14), 10**14))
def test_what_the_dashboard_writes_is_read_again(number: int) -> None:
    assert decimal_of(f"{number:,}") == decimal_of(str(number)) == number


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_none(text: str) -> None:
    value = decimal_of(text)
    assert value is None or value.is_finite()


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("007", 7), ("123", 123)])
def test_digits_alone_are_a_number(text: str, number: int) -> None:
    assert digits_of(text, 3) == number
    assert revision_of({"revision": text}) == number


@pytest.mark.parametrize("text", ["", "-1", "+1", "1.0", "1e3", " 1", "1_0", "²", "٣", "9" * 20])
def test_anything_else_is_none(text: str) -> None:
    assert digits_of(text) is None
    assert revision_of({"revision": text}) == revision_of({}) == -1


def test_no_more_digits_than_fit() -> None:
    assert (digits_of("9" * 9, 9), digits_of("9" * 10, 9)) == (10**9 - 1, None)
