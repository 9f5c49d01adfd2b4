"""The door where the exceptions of redis-py, sockets and TLS become ours.

Everything a server says is untrusted: its words are shortened, made printable and scrubbed of passwords
(a proxy may quote the AUTH command it did not understand).
"""

import errno
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import redis

from dashboard.errors import CacheDenied, CacheTimeout, CacheUnavailable
from dashboard.fleet.text import display
from dashboard.fleet.transport import ReplyTooLarge
from dashboard.fleet.url import HIDDEN, CacheUrl

LONGEST_QUOTE = 160


class Cause(StrEnum):
    """Why a cache does not do what it was asked."""

    REFUSED = "refused"
    TIMEOUT = "timeout"
    NAME = "name-not-found"
    UNREACHABLE = "unreachable"
    SOCKET = "socket"
    TLS = "tls"
    PASSWORD = "password"
    SIGN_IN = "sign-in-needed"
    NO_PASSWORD = "no-password-set"
    NOPERM = "noperm"
    PROTECTED = "protected-mode"
    NOT_REDIS = "not-redis"
    TOO_LARGE = "too-large"
    LOADING = "loading"
    CLIENTS = "too-many-clients"
    BUSY = "busy"
    POOL = "pool"
    CLOSED = "closed"
    DATABASE = "database"
    TOPOLOGY = "topology"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure, in words.

    Args:
        cause: what kind it is.
        words: one sentence: what is wrong. Redis' own word comes first where it has one.
        advice: one sentence: the way out.
    """

    cause: Cause
    words: str
    advice: str


_DENIED = frozenset({Cause.PASSWORD, Cause.SIGN_IN, Cause.NO_PASSWORD, Cause.NOPERM, Cause.PROTECTED})


class FleetError(CacheUnavailable):
    """A cache can't be used; ``problem`` says why."""

    problem: Problem


class FleetTimeout(CacheTimeout, FleetError):
    """A cache did not answer in time."""


class FleetDenied(CacheDenied, FleetError):
    """A cache refuses the sign-in or a command."""


def as_error(problem: Problem) -> FleetError:
    """The exception for ``problem``."""
    kind = FleetError
    if problem.cause is Cause.TIMEOUT:
        kind = FleetTimeout
    elif problem.cause in _DENIED:
        kind = FleetDenied
    error = kind(problem.words, what_to_do=problem.advice)
    error.problem = problem
    return error


@contextmanager
def translated(where: str, url: CacheUrl) -> Iterator[None]:
    """Turn what redis-py and sockets raise into a FleetError; bugs stay bugs.

    The original is not chained: its text is the server's, and a traceback in a log is not scrubbed.

    Raises:
        FleetError: with words, advice and cause.
    """
    try:
        yield
    except (redis.RedisError, OSError, UnicodeError, RecursionError, MemoryError) as error:
        raise as_error(explain(error, where, url)) from None
    except ValueError as error:
        # redis-py reads lengths with int(): garbage after a type byte ends here.
        if isinstance(error, redis.RedisError) or "invalid literal for int" in str(error):
            raise as_error(_not_redis(where, "")) from None
        raise


def quoted(text: object, url: CacheUrl) -> str:
    """A server's words: printable, at most LONGEST_QUOTE characters, without the URL's passwords."""
    shown = display(str(text).encode("utf-8", "surrogateescape"))
    for secret in sorted(url.secrets, key=len, reverse=True):
        shown = shown.replace(secret, HIDDEN).replace(display(secret.encode()), HIDDEN)
    return shown if len(shown) <= LONGEST_QUOTE else shown[: LONGEST_QUOTE - 1] + "…"


def explain(error: BaseException, where: str, url: CacheUrl) -> Problem:
    """Put an exception into words.

    Args:
        where: the address that was spoken to.
        url: whose secrets must not appear.
    """
    text = quoted(error, url)
    for link in _chain(error):
        found = _of_socket(link, where, url)
        if found is not None:
            return found
    status = getattr(error, "status_code", None) or text.partition(" ")[0].rstrip(":")
    # The pool says "not ready" of a connection on which data came that nobody asked for.
    if isinstance(error, redis.exceptions.InvalidResponse) or text in (
        "Connection not ready",
        "Connection has data",
    ):
        return _not_redis(where, text)
    if isinstance(error, redis.TimeoutError):
        return _timeout(where)
    if isinstance(error, redis.exceptions.BusyLoadingError) or status == "LOADING":
        return Problem(
            Cause.LOADING,
            f"LOADING: {where} is reading its data from disk.",
            "It answers by itself once it has loaded.",
        )
    if isinstance(error, redis.AuthenticationError):
        return _sign_in(where, url, status, text)
    if (
        isinstance(error, redis.exceptions.NoPermissionError)
        or status == "NOPERM"
        # Within a script, as Valkey and as Redis 7 say it.
        or "ACL failure in script" in text
        or "The user executing the script can't" in str(error)
    ):
        return Problem(
            Cause.NOPERM,
            f"NOPERM: {_noperm(text)}",
            "Grant it with ACL SETUSER; docs/permissions.md has the whole line.",
        )
    if status == "DENIED" or "protected mode" in text:
        return Problem(
            Cause.PROTECTED,
            f"DENIED: {where} runs in protected mode and answers its own machine only.",
            "Set a password on it, or bind it to an address, then protected-mode no.",
        )
    if "max number of clients reached" in text:
        return Problem(
            Cause.CLIENTS,
            f"{where} has reached its limit of clients (maxclients).",
            "Raise maxclients, or look for an application that leaks connections.",
        )
    if status in ("BUSY", "BUSYKEY"):
        return Problem(
            Cause.BUSY,
            f"BUSY: {where} is running a script or function that does not end.",
            "SCRIPT KILL ends one that has not written yet.",
        )
    if status in ("MASTERDOWN", "CLUSTERDOWN"):
        return Problem(
            Cause.TOPOLOGY, f"{status}: {where} has lost its primary or its cluster.", "Look at its log."
        )
    if "No connection available" in text:
        return Problem(
            Cause.POOL,
            f"All our connections to {where} are busy.",
            "It is tried again by itself.",
        )
    if "DB index is out of range" in text or "SELECT is not allowed" in text or "Invalid Database" in text:
        return Problem(
            Cause.DATABASE,
            f"{where} has no database {url.db}.",
            "Use /0 in the URL, or raise databases in redis.conf.",
        )
    if "closed by server" in text or "Connection reset" in text:
        return _closed(where, url)
    return Problem(
        Cause.OTHER,
        f"{where} answered: {text}" if text else f"{where} failed without a word.",
        "Look at the server's log.",
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from or during, nearest first."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _of_socket(error: BaseException, where: str, url: CacheUrl) -> Problem | None:
    if isinstance(error, ReplyTooLarge):
        return Problem(
            Cause.TOO_LARGE,
            f"{where} sent far more than was asked for; the connection was closed.",
            "Check that the address is that of a Redis.",
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = quoted(error.verify_message, url).rstrip(".")
        return Problem(
            Cause.TLS,
            f"TLS failed: the certificate of {where} is not accepted: {reason}.",
            "Use a name that is in the certificate, or name its authority with ?ssl_ca_certs=/path.",
        )
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
            return Problem(
                Cause.TLS,
                f"TLS failed: {where} does not speak TLS on this port.",
                "Use redis:// instead of rediss://, or the server's tls-port.",
            )
        reason = (error.reason or "handshake ended").replace("_", " ").lower()
        return Problem(
            Cause.TLS,
            f"TLS failed: {where} ended the handshake ({quoted(reason, url)}).",
            "The server may want a client certificate: ?ssl_certfile=/path&ssl_keyfile=/path.",
        )
    if isinstance(error, socket.gaierror):
        return Problem(
            Cause.NAME,
            f"The name in {where} is not known to the name server.",
            "Check the spelling, and that this machine can resolve it.",
        )
    if isinstance(error, ConnectionRefusedError):
        return Problem(
            Cause.REFUSED,
            f"{where} refused the connection: nothing listens there.",
            "Check the port, that Redis runs, and its bind setting.",
        )
    if isinstance(error, FileNotFoundError | PermissionError) and (url.path or url.ca_file or url.cert_file):
        wrong = (
            "does not exist" if isinstance(error, FileNotFoundError) else "may not be opened by Cachewarden"
        )
        what = f"The socket {where}" if url.path else "A certificate or key file named in the URL"
        return Problem(Cause.SOCKET, f"{what} {wrong}.", "Check the path and its permissions.")
    if isinstance(error, ConnectionResetError | BrokenPipeError | ConnectionAbortedError):
        return _closed(where, url)
    if isinstance(error, TimeoutError):
        return _timeout(where)
    if isinstance(error, OSError) and error.errno in (
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EADDRNOTAVAIL,
    ):
        return Problem(
            Cause.UNREACHABLE,
            f"There is no route to {where}.",
            "Check the address, the network and the firewall between.",
        )
    return None


def _timeout(where: str) -> Problem:
    return Problem(
        Cause.TIMEOUT,
        f"{where} did not answer in time.",
        "Check for a firewall that drops packets, a stopped process or a slow command.",
    )


def _closed(where: str, url: CacheUrl) -> Problem:
    hint = "" if url.tls else " If it expects TLS, use rediss://."
    return Problem(
        Cause.CLOSED,
        f"{where} closed the connection without an answer.",
        f"Check that it is a Redis and not a proxy without a server behind it.{hint}",
    )


def _not_redis(where: str, text: str) -> Problem:
    upper = text.upper()
    what = "something that is not Redis' protocol"
    # hiredis, where it is installed, tells no more than the first byte.
    if (
        "HTTP/" in upper
        or "<!DOCTYPE" in upper
        or "<HTML" in upper
        or 'GOT "H" AS' in upper
        or 'GOT "<" AS' in upper
    ):
        what = "as a web server (HTTP)"
    elif "SSH-" in upper or 'GOT "S" AS' in upper:
        what = "as an SSH server"
    return Problem(
        Cause.NOT_REDIS,
        f"Not a Redis: {where} answered {what}.",
        "Check host and port.",
    )


def _sign_in(where: str, url: CacheUrl, status: str, text: str) -> Problem:
    if status == "NOAUTH":
        return Problem(
            Cause.SIGN_IN,
            f"NOAUTH: {where} wants a user and a password.",
            "Enter them; without a user name Redis uses the user default.",
        )
    if "without any password" in text or "no password is set" in text:
        return Problem(
            Cause.NO_PASSWORD,
            f"{where} has no password set, but one was sent.",
            "Leave the password out, or check that this is the right server.",
        )
    user = f"the user {quoted(url.username, url)}" if url.username else "the user default"
    return Problem(
        Cause.PASSWORD,
        f"WRONGPASS: {where} does not accept the password of {user}, or the user is off or unknown.",
        "Check both; ACL GETUSER shows whether the user is on.",
    )


def _noperm(text: str) -> str:
    words = text.removeprefix("NOPERM").strip()
    return words[:1].lower() + words[1:] if words else "this user may not do that."
