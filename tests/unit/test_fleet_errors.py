"""Exceptions of redis-py, sockets and TLS in words."""

import errno
import socket
import ssl

import pytest
import redis

from dashboard.errors import CacheDenied, CacheTimeout, CacheUnavailable
from dashboard.fleet.errors import LONGEST_QUOTE, Cause, as_error, explain, quoted, translated
from dashboard.fleet.transport import ReplyTooLarge
from dashboard.fleet.url import CacheUrl, Kind, parse_url

URL = parse_url("redis://:hunter2-do-not-show@cache-01:6379")
WHERE = "cache-01:6379"


def caused_by(outer: Exception, inner: BaseException) -> Exception:
    """As redis-py raises: its own exception while the socket's is handled."""
    try:
        try:
            raise inner
        except BaseException:
            raise outer  # noqa: B904
    except Exception as error:
        return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] something (_ssl.c:1006)")
    error.reason = reason
    return error


def untrusted() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_message = "Hostname mismatch, certificate is not valid for 'cache-01'."
    return error


def answer(text: str) -> Exception:
    """What redis-py makes of an error the server sent."""
    from redis._parsers.base import BaseParser

    error = BaseParser.parse_error(text)
    assert isinstance(error, Exception)
    return error


CASES = {
    "refused": (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Cause.REFUSED, "nothing listens"),
    "time-out": (TimeoutError("timed out"), Cause.TIMEOUT, "did not answer in time"),
    "redis time-out": (redis.TimeoutError("Timeout reading"), Cause.TIMEOUT, "did not answer in time"),
    "name": (socket.gaierror(socket.EAI_NONAME, "unknown"), Cause.NAME, "not known to the name server"),
    "no route": (OSError(errno.EHOSTUNREACH, "no route"), Cause.UNREACHABLE, "no route to"),
    "reset": (ConnectionResetError(errno.ECONNRESET, "reset"), Cause.CLOSED, "closed the connection"),
    "closed": (redis.ConnectionError("Connection closed by server."), Cause.CLOSED, "closed the connection"),
    "too large": (ReplyTooLarge("x"), Cause.TOO_LARGE, "far more than was asked for"),
    "plain port": (tls("WRONG_VERSION_NUMBER"), Cause.TLS, "does not speak TLS"),
    "client certificate": (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), Cause.TLS, "certificate required"),
    "certificate": (untrusted(), Cause.TLS, "Hostname mismatch"),
    "wrong password": (answer("WRONGPASS invalid username-password pair"), Cause.PASSWORD, "WRONGPASS"),
    "old wrong password": (answer("ERR invalid password"), Cause.PASSWORD, "WRONGPASS"),
    "no sign-in": (answer("NOAUTH Authentication required."), Cause.SIGN_IN, "NOAUTH"),
    "password not wanted": (
        answer(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        ),
        Cause.NO_PASSWORD,
        "has no password set",
    ),
    "noperm": (
        answer("NOPERM this user has no permissions to run the 'info' command"),
        Cause.NOPERM,
        "NOPERM: this user has no permissions to run the 'info' command",
    ),
    "protected": (answer("DENIED Redis is running in protected mode"), Cause.PROTECTED, "protected mode"),
    "loading": (answer("LOADING Redis is loading the dataset in memory"), Cause.LOADING, "from disk"),
    "clients": (answer("ERR max number of clients reached"), Cause.CLIENTS, "maxclients"),
    "busy": (answer("BUSY Redis is busy running a script"), Cause.BUSY, "script or function"),
    "cluster down": (answer("CLUSTERDOWN The cluster is down"), Cause.TOPOLOGY, "CLUSTERDOWN"),
    "primary down": (answer("MASTERDOWN Link with MASTER is down"), Cause.TOPOLOGY, "MASTERDOWN"),
    "database": (answer("ERR DB index is out of range"), Cause.DATABASE, "no database 0"),
    "http": (
        redis.exceptions.InvalidResponse("Protocol Error: b'HTTP/1.1 400'"),
        Cause.NOT_REDIS,
        "web server",
    ),
    "garbage": (
        redis.exceptions.InvalidResponse("Protocol Error: b'x'"),
        Cause.NOT_REDIS,
        "not Redis' protocol",
    ),
    "pool": (redis.ConnectionError("No connection available."), Cause.POOL, "are busy"),
    "anything else": (answer("ERR something new"), Cause.OTHER, "answered: something new"),
    "nothing": (redis.ConnectionError(""), Cause.OTHER, "without a word"),
}


@pytest.mark.parametrize("name", CASES)
def test_words(name: str) -> None:
    error, cause, words = CASES[name]
    problem = explain(error, WHERE, URL)
    assert problem.cause is cause
    assert words in problem.words
    assert problem.advice.endswith(".")


@pytest.mark.parametrize("name", ["refused", "time-out", "name", "too large", "plain port", "certificate"])
def test_the_cause_below_redis_py_counts(name: str) -> None:
    error, cause, _ = CASES[name]
    assert explain(caused_by(redis.ConnectionError("Error -2 connecting"), error), WHERE, URL).cause is cause


def test_a_missing_file_is_told_from_other_errors() -> None:
    away = FileNotFoundError(errno.ENOENT, "no such file")
    assert explain(away, "/x", CacheUrl(Kind.SERVER, path="/x")).cause is Cause.SOCKET
    denied = PermissionError(errno.EACCES, "denied")
    assert "may not be opened" in explain(denied, "/x", CacheUrl(Kind.SERVER, path="/x")).words
    assert explain(away, WHERE, URL).cause is Cause.OTHER


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("refused", CacheUnavailable),
        ("time-out", CacheTimeout),
        ("wrong password", CacheDenied),
        ("noperm", CacheDenied),
        ("no sign-in", CacheDenied),
    ],
)
def test_kinds_of_our_errors(name: str, kind: type[Exception]) -> None:
    error, cause, _ = CASES[name]
    with pytest.raises(kind) as caught, translated(WHERE, URL):
        raise error
    assert caught.value.problem.cause is cause  # type: ignore[attr-defined]
    assert caught.value.__suppress_context__
    if kind is CacheUnavailable:
        assert not isinstance(caught.value, CacheTimeout | CacheDenied)


def test_bugs_stay_bugs() -> None:
    for bug in (KeyError("x"), ValueError("other"), AttributeError("x")):
        with pytest.raises(type(bug)) as caught, translated(WHERE, URL):
            raise bug
        assert caught.value is bug


def test_garbage_lengths_are_no_bug() -> None:
    with pytest.raises(CacheUnavailable) as caught, translated(WHERE, URL):
        int(b"banana")
    assert caught.value.problem.cause is Cause.NOT_REDIS  # type: ignore[attr-defined]


def test_secrets_are_scrubbed_before_the_text_is_cut() -> None:
    long = "x" * (LONGEST_QUOTE - 10) + " hunter2-do-not-show"
    assert "hunter2" not in quoted(long, URL)
    assert quoted("auth hunter2-do-not-show\r\n", URL) == "auth ***\\x0d\\x0a"
    odd = CacheUrl(Kind.SERVER, password="a\x07b")
    assert quoted("AUTH a\x07b", odd) == "AUTH ***"
    assert as_error(explain(answer(f"ERR {long}"), WHERE, URL)).message.count("hunter2") == 0


def test_hostile_words_are_made_harmless() -> None:
    shown = explain(answer("ERR \x1b[31m\u202eevil\0" + "y" * 5000), WHERE, URL).words
    assert shown.isprintable() and len(shown) < 300
