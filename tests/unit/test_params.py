"""Query parameters: right ones come through, wrong ones are a 422 that names them."""

from datetime import UTC, datetime

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


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-03-04 12:30", datetime(2026, 3, 4, 12, 30, tzinfo=UTC)),
        ("2026-03-04T12:30+02:00", datetime(2026, 3, 4, 10, 30, tzinfo=UTC)),
        ("1772627400", datetime(2026, 3, 4, 12, 30, tzinfo=UTC)),
    ],
)
def test_times(ask, value: str, moment: datetime) -> None:  # type: ignore[no-untyped-def]
    with ask(t=value):
        assert params.time_arg("t") == moment


@pytest.mark.parametrize("value", ["yesterday", "9" * 30, "2026-13-01", "²"])
def test_wrong_times(ask, value: str) -> None:  # type: ignore[no-untyped-def]
    with ask(t=value), pytest.raises(InvalidInput, match=r"^t is "):
        params.time_arg("t")


def test_choices_and_texts(ask) -> None:  # type: ignore[no-untyped-def]
    with ask(c="b", t="x" * 11, z="a\0b"):
        assert params.choice_arg("c", ("a", "b"), "a") == "b"
        with pytest.raises(InvalidInput, match="takes a, c"):
            params.choice_arg("c", ("a", "c"), "a")
        with pytest.raises(InvalidInput, match="longer than 10"):
            params.text_arg("t", longest=10)
        with pytest.raises(InvalidInput, match="NUL"):
            params.text_arg("z")
