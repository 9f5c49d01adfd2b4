"""Query parameters: right ones come through, wrong ones are a 422 that names them."""

import pytest
from flask import Flask

from dashboard.errors import InvalidInput
from dashboard.web import params


@pytest.fixture
def ask():  # type: ignore[no-untyped-def]
    app = Flask("params")
    return lambda **query: app.test_request_context("/", query_string=query)


def test_numbers(ask) -> None:  # type: ignore[no-untyped-def]
    with ask(n="7", f="1.5"):
        assert params.int_arg("n", low=0, high=10) == 7
        assert params.float_arg("f", low=0, high=10) == 1.5
        assert params.int_arg("none", 3, low=0, high=10) == 3


@pytest.mark.parametrize("value", ["x", "1.5", "11", "-1", "٣", "9" * 30, "1e3"])
def test_wrong_whole_numbers(ask, value: str) -> None:  # type: ignore[no-untyped-def]
    with ask(n=value), pytest.raises(InvalidInput, match=r"^n is "):
        params.int_arg("n", low=0, high=10)


@pytest.mark.parametrize("value", ["x", "nan", "inf", "-0.1", "11"])
def test_wrong_numbers(ask, value: str) -> None:  # type: ignore[no-untyped-def]
    with ask(f=value), pytest.raises(InvalidInput, match=r"^f is "):
        params.float_arg("f", low=0, high=10)


def test_choices_and_texts(ask) -> None:  # type: ignore[no-untyped-def]
    with ask(c="b", t="x" * 11, z="a\0b"):
        assert params.choice_arg("c", ("a", "b"), "a") == "b"
        with pytest.raises(InvalidInput, match="takes a, c"):
            params.choice_arg("c", ("a", "c"), "a")
        with pytest.raises(InvalidInput, match="longer than 10"):
            params.text_arg("t", longest=10)
        with pytest.raises(InvalidInput, match="NUL"):
            params.text_arg("z")
