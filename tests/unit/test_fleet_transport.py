"""Sockets that are bounded, whatever parser reads from them."""

import socket

import pytest
import redis

from dashboard.fleet.errors import Cause, explain
from dashboard.fleet.transport import BoundedSocket, ReplyTooLarge
from dashboard.fleet.url import CacheUrl, Kind


def test_looking_takes_nothing_away() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        bounded = BoundedSocket(ours, 5.0, largest_bytes=4)
        theirs.sendall(b"abcde")
        for _ in range(3):
            assert bounded.recv(4, socket.MSG_PEEK) == b"abcd"
        assert bounded.recv(4) == b"abcd"
        with pytest.raises(ReplyTooLarge):
            bounded.recv(4)


@pytest.mark.parametrize(
    ("first", "words"), [("H", "web server"), ("<", "web server"), ("S", "SSH"), ("?", "not Redis' protocol")]
)
def test_what_hiredis_says_of_a_server_that_is_no_redis(first: str, words: str) -> None:
    error = redis.exceptions.InvalidResponse(f'Protocol error, got "{first}" as reply type byte')
    problem = explain(error, "host:1", CacheUrl(Kind.SERVER))
    assert problem.cause is Cause.NOT_REDIS and words in problem.words
