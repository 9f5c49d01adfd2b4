"""Keys in addresses: any bytes come back as they were; what is none is refused in words."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.errors import InvalidInput
from dashboard.web.addresses import key_from_text, key_to_text


@given(st.binary(max_size=200))
def test_any_key_comes_back(key: bytes) -> None:
    text = key_to_text(key)
    assert re.fullmatch(r"[A-Za-z0-9_-]*", text) and key_from_text(text) == key


@pytest.mark.parametrize("text", ["a", "äö", "a b", "YQ=", "YQ==", "=", "a\n", "YWJj+", "%00", "aaaaa"])
def test_what_is_no_key_is_refused_or_read(text: str) -> None:
    if text.startswith("YQ"):
        assert key_from_text(text) == b"a"
    elif text == "=":
        assert key_from_text(text) == b""
    else:
        with pytest.raises(InvalidInput, match="can't be read"):
            key_from_text(text)
