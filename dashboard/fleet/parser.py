"""Reads replies under redis-py where hiredis is not installed; quick for long lists of strings, as SCAN's are.

redis-py reads each string with two calls through three layers; here as many as have arrived are cut up at once. RESP2
only, and nothing is decoded.
"""

import ssl
from typing import Any, Final

import redis
from redis.connection import BaseParser, DefaultParser  # type: ignore[attr-defined]
from redis.utils import HIREDIS_AVAILABLE

_FEW: Final = 4
"""Arrays of so few elements are not worth a cut."""
_WORDS: Final = "Connection closed by server."


class Parser(BaseParser):
    """One connection's replies, for ``redis.Connection(parser_class=…)``.

    Args:
        socket_read_size: bytes to ask the socket for.
    """

    def __init__(self, socket_read_size: int) -> None:
        self._size = socket_read_size
        self._sock: Any = None
        self._timeout: float | None = None
        self._data = b""
        self._at = 0

    def on_connect(self, connection: Any) -> None:
        """Begin with a fresh socket."""
        self._sock = connection._sock
        self._timeout = connection.socket_timeout
        self._data, self._at = b"", 0

    def on_disconnect(self) -> None:
        """Forget the socket, and what was not read."""
        self._sock = None
        self._data, self._at = b"", 0

    def can_read(self, timeout: float = 0) -> bool:
        """Whether something was not read, or comes within so many seconds.

        Raises:
            redis.ConnectionError: the server has closed the connection.
        """
        if self._sock is None:
            return False
        if self._at < len(self._data):
            return True
        self._sock.settimeout(timeout)
        try:
            self._more()
        except (BlockingIOError, TimeoutError, ssl.SSLWantReadError):
            return False
        finally:
            self._sock.settimeout(self._timeout)
        return True

    def read_response(self, disable_decoding: bool = False, timeout: object = None) -> Any:
        """The next reply: bytes, an int, None, a list of these, or a ResponseError, which is returned.

        Args:
            disable_decoding, timeout: redis-py's; nothing is ever decoded, and the socket has a deadline of its own.

        Raises:
            redis.ConnectionError: the server has closed the connection, or refuses it as a whole.
            redis.exceptions.InvalidResponse: that is no RESP2.
            OSError: from the socket.
        """
        return self._reply()

    def _reply(self) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        try:
            if kind == b"$":
                length = int(rest)
                return None if length < 0 else self._string(length)
            if kind == b":":
                return int(rest)
            if kind == b"*":
                length = int(rest)
                return None if length < 0 else self._array(length)
        except ValueError:
            raise redis.exceptions.InvalidResponse(f"Protocol Error: {line!r}") from None
        if kind == b"+":
            return rest
        if kind == b"-":
            error = self.parse_error(rest.decode("utf-8", "replace"))  # type: ignore[no-untyped-call]
            if isinstance(error, redis.ConnectionError):
                raise error
            return error
        raise redis.exceptions.InvalidResponse(f"Protocol Error: {line!r}")

    def _array(self, length: int) -> list[Any]:
        if length < _FEW:
            return [self._reply() for _ in range(length)]
        found: list[Any] = []
        while len(found) < length:
            # What is no string, has a line break in it, or has not arrived as a whole is read by itself.
            if not self._cut(found, length - len(found)):
                found.append(self._reply())
        return found

    def _cut(self, found: list[Any], most: int) -> bool:
        """Append the strings that have arrived, up to the first that is not plain; whether there was one."""
        parts = self._data[self._at :].split(b"\r\n", 2 * most)
        strings = parts[1:-1:2]
        heads = parts[0 : 2 * len(strings) : 2]
        wanted = [b"$%d" % len(string) for string in strings]
        if heads != wanted:
            # A head that tells its string's length is one, and the string has no line break, if all before are so.
            good = next(at for at, head in enumerate(heads) if head != wanted[at])
            strings, heads = strings[:good], heads[:good]
        found += strings
        self._at += sum(map(len, heads)) + sum(map(len, strings)) + 4 * len(strings)
        return bool(strings)

    def _line(self) -> bytes:
        seen = self._at
        while (end := self._data.find(b"\r\n", seen)) < 0:
            # The line break itself may have arrived in part.
            seen = max(self._at, len(self._data) - 1) - self._at
            self._more()
        line = self._data[self._at : end]
        self._at = end + 2
        return line

    def _string(self, length: int) -> bytes:
        end = self._at + length
        if len(self._data) >= end + 2:
            string = self._data[self._at : end]
            self._at = end + 2
            return string
        # A long one is put together once, when all of it is there.
        pieces = [self._data[self._at :]]
        left = length + 2 - len(pieces[0])
        while left > 0:
            pieces.append(self._received())
            left -= len(pieces[-1])
        self._data, self._at = b"".join(pieces), length + 2
        return self._data[:length]

    def _more(self) -> None:
        self._data, self._at = self._data[self._at :] + self._received(), 0

    def _received(self) -> bytes:
        data: bytes = self._sock.recv(self._size)
        if not data:
            raise redis.ConnectionError(_WORDS)
        return data


PARSER: Final = DefaultParser if HIREDIS_AVAILABLE else Parser
"""The quicker of those that are there."""
