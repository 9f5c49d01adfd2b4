"""Replies are read as they were written, however they arrive."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import InvalidResponse

from dashboard.fleet.parser import Parser


class Wire:
    """A socket that gives bytes in pieces, then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self.timeout: float | None = 2.0

    def recv(self, size: int) -> bytes:
        return next(self._pieces, b"")

    def settimeout(self, seconds: float | None) -> None:
        self.timeout = seconds


def parser(*pieces: bytes) -> Parser:
    made = Parser(65536)
    made.on_connect(SimpleNamespace(_sock=Wire(list(pieces)), socket_timeout=2.0))
    return made


def written(value: Any) -> bytes:
    match value:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % value
        case str():
            return b"-%s\r\n" % value.encode()
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
    return b"*%d\r\n%s" % (len(value), b"".join(map(written, value)))


def read(value: Any) -> Any:
    """As ``written`` expects it, errors by their words."""
    if isinstance(value, list):
        return [read(each) for each in value]
    return f"{value.status_code} {value}" if isinstance(value, redis.ResponseError) else value


ANY_BYTES = st.one_of(st.binary(), st.sampled_from([b"", b"\r\n", b"$1\r\na\r\n", b"a\r", b"\n", b"$0"]))
VALUES = st.recursive(
    st.one_of(ANY_BYTES, st.integers(), st.none(), st.just("READONLY no")),
    lambda inner: st.one_of(st.lists(inner, max_size=12), st.lists(ANY_BYTES, max_size=30)),
    max_leaves=30,
)


@given(st.lists(VALUES, min_size=1, max_size=3), st.lists(st.integers(1, 40), max_size=60))
def test_reads_what_was_written_however_it_arrives(values: list[Any], sizes: list[int]) -> None:
    data = b"".join(map(written, values))
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    made = parser(*(piece for piece in [*pieces, data] if piece))
    assert [read(made.read_response()) for _ in values] == values
    with pytest.raises(redis.ConnectionError):
        made.read_response()


@given(st.lists(st.binary(min_size=1), max_size=5))
def test_what_is_no_reply_is_refused(pieces: list[bytes]) -> None:
    made = parser(*pieces)
    with pytest.raises((redis.ConnectionError, InvalidResponse)):
        while True:
            made.read_response()


def test_a_scan_of_many_keys() -> None:
    keys = [b"product:%d" % number for number in range(5_000)]
    keys[77], keys[4_999] = b"line\r\nbreak", b""
    data = written([b"17", keys])
    pieces = [data[at : at + 1_448] for at in range(0, len(data), 1_448)]
    assert parser(*pieces).read_response() == [b"17", keys]


def test_an_error_that_means_the_connection_is_raised() -> None:
    with pytest.raises(redis.ConnectionError):
        parser(b"-ERR max number of clients reached\r\n").read_response()
    assert isinstance(parser(b"-NOSCRIPT none\r\n").read_response(), redis.exceptions.NoScriptError)


def test_what_was_not_read_is_noticed() -> None:
    made = parser(b":1\r\n:2\r\n")
    made.read_response()
    assert made.can_read() and made.read_response() == 2
    with pytest.raises(redis.ConnectionError):
        made.can_read()
    assert not Parser(1).can_read()
