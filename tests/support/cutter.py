"""A TCP proxy in front of Redis that cuts, swallows or delays at the n-th command."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import Enum


class Cut(Enum):
    BEFORE = "before"
    """The command never reaches the server; the connection closes."""
    AFTER = "after"
    """The server executes it, the reply is lost, the connection closes."""
    HANG = "hang"
    """The command is swallowed and the connection stays open."""


MARK = b"cutter: executed up to here"
ECHO = b"*2\r\n$4\r\nECHO\r\n$%d\r\n%b\r\n" % (len(MARK), MARK)


class Cutter:
    """Counts the commands that pass; connections made by ``AUTH``, ``CLIENT`` and the like don't count.

    Args:
        port: of the server behind.
    """

    SILENT = frozenset({b"CLIENT", b"HELLO", b"AUTH", b"SELECT", b"SUBSCRIBE", b"PING"})

    def __init__(self, port: int) -> None:
        self._behind = port
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.seen: list[bytes] = []
        """Names of the commands that came."""
        self._at: int | None = None
        self._how = Cut.BEFORE
        self._stays = False
        self._is_closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, at: int, how: Cut, *, stays: bool = True) -> None:
        """From the ``at``-th command from now on (0: the next) cut; ``stays``: all that follow too."""
        with self._lock:
            self.seen.clear()
            self._at, self._how, self._stays = at, how, stays

    def heal(self) -> None:
        """Let everything pass again; connections that hang are closed."""
        with self._lock:
            self._at = None
            self._drop()

    def close(self) -> None:
        self._is_closed = True
        self._listener.close()
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                front, _ = self._listener.accept()
            except OSError:
                return
            back = socket.create_connection(("127.0.0.1", self._behind))
            for each in (front, back):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [front, back]
            threading.Thread(target=self._serve, args=(front, back), daemon=True).start()

    def _verdict(self, name: bytes) -> Cut | None:
        with self._lock:
            if name in self.SILENT:
                # A server that is cut off does not greet either.
                is_cut = self._at is not None and self._stays and len(self.seen) > self._at
                return self._how if is_cut else None
            number = len(self.seen)
            self.seen.append(name)
            if self._at is None:
                return None
            is_cut = number == self._at or (self._stays and number > self._at)
            return self._how if is_cut else None

    def _serve(self, front: socket.socket, back: socket.socket) -> None:
        swallow, executed = threading.Event(), threading.Event()
        threading.Thread(target=self._pump, args=(back, front, swallow, executed), daemon=True).start()
        reader = front.makefile("rb")
        try:
            while command := _read_command(reader):
                name, raw = command
                verdict = self._verdict(name)
                if verdict is Cut.HANG:
                    swallow.set()
                    continue
                if verdict is Cut.AFTER:
                    swallow.set()
                    # The server must have executed it before the other end learns of the loss.
                    back.sendall(raw + ECHO)
                    executed.wait(10)
                    break
                if verdict is Cut.BEFORE:
                    break
                back.sendall(raw)
        except (OSError, ValueError):
            pass
        for each in (front, back):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        reader.close()

    @staticmethod
    def _pump(
        source: socket.socket, target: socket.socket, swallow: threading.Event, executed: threading.Event
    ) -> None:
        swallowed = b""
        try:
            while data := source.recv(65536):
                if not swallow.is_set():
                    target.sendall(data)
                    continue
                swallowed = swallowed[-len(MARK) :] + data
                if MARK in swallowed:
                    executed.set()
        except OSError:
            pass


def _read_command(reader: object) -> tuple[bytes, bytes] | None:
    line = reader.readline()  # type: ignore[attr-defined]
    if not line:
        return None
    raw = [line]
    name = b""
    for index in range(int(line[1:])):
        size = reader.readline()  # type: ignore[attr-defined]
        data = reader.read(int(size[1:]) + 2)  # type: ignore[attr-defined]
        raw += [size, data]
        if index == 0:
            name = data[:-2].upper()
    return name, b"".join(raw)


@contextmanager
def cutter(port: int) -> Iterator[Cutter]:
    """A proxy in front of the server at ``port``."""
    made = Cutter(port)
    try:
        yield made
    finally:
        made.close()
