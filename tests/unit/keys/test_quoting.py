"""Values in a form's field: whatever comes out goes in as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.keys.quoting import escaped, from_typed, to_typed


def as_a_browser_sends(text: str) -> str:
    """A field's text: a line end in front is dropped, every other becomes CR LF."""
    return text.removeprefix("\n").replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n")


@given(st.binary(max_size=100) | st.text(max_size=100).map(lambda text: text.encode(errors="replace")))
def test_a_value_comes_back_as_it_was(value: bytes) -> None:
    typed, is_escaped = to_typed(value)
    assert from_typed(as_a_browser_sends(typed), is_escaped=is_escaped) == value


@given(st.binary(max_size=100))
def test_escapes_can_be_read_and_hide_nothing(value: bytes) -> None:
    text = escaped(value)
    assert text.isprintable() and from_typed(text, is_escaped=True) == value


@pytest.mark.parametrize("value", [b"plain", "häß 漢字".encode(), b"two\nlines\n", b"a\tb", b"C:\\dir", b""])
def test_text_is_typed_as_it_is(value: bytes) -> None:
    assert to_typed(value) == (value.decode(), False)


@pytest.mark.parametrize(
    ("value", "typed"),
    [
        (b"a\r\nb", "a\\r\\nb"),
        (b"\nfirst", "\\nfirst"),
        (b"\xff\\", "\\xff\\\\"),
        ("\u202eabc".encode(), "\\xe2\\x80\\xaeabc"),
        (b"\x00", "\\x00"),
    ],
)
def test_what_a_field_would_change_or_hide_is_escaped(value: bytes, typed: str) -> None:
    assert to_typed(value) == (typed, True)


@pytest.mark.parametrize("text", ["\\", "\\q", "\\x", "\\x1", "\\xg1", "a\\"])
def test_an_escape_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no escape"):
        from_typed(text, is_escaped=True)
    assert from_typed(text, is_escaped=False) == text.encode()


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError):
        from_typed("\ud800", is_escaped=False)
