"""Real servers for the tests: from the wheels, or the ones a variable names."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

FAST_POSTGRES = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "80",
}


def required(variable: str) -> bool:
    """Whether CI promised this part, so that its absence is a failure and not a skip."""
    return os.environ.get(variable) == "1"


def skip_or_fail(variable: str, reason: str) -> None:
    """Skip, or fail where ``variable`` is set."""
    if required(variable):
        pytest.fail(f"{reason} ({variable}=1 promised it)")
    pytest.skip(reason)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for an embedded server, right below the system's temporary folder.

    Not pytest's: it closes its own to every other user whenever another run starts, and PostgreSQL runs as
    another user when we are root.
    """
    with tempfile.TemporaryDirectory(prefix="cachewarden-test-", ignore_cleanup_errors=True) as made:
        yield Path(made)


@contextmanager
def redis_server(*arguments: str, port: int | None = None, folder: Path | None = None) -> Iterator[int]:
    """A Redis 7 of the system's package; yields its port."""
    program = shutil.which("redis-server")
    if program is None:
        skip_or_fail("CACHEWARDEN_REQUIRE_REDIS", "redis-server is not installed")
    assert program is not None
    port = port or free_port()
    with tempfile.TemporaryDirectory(prefix="cachewarden-redis-") as made:
        process = subprocess.Popen(
            [
                program,
                *arguments,
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(folder or made),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_port(port)
            yield port
        finally:
            process.kill()
            process.wait(10)


def wait_for_port(port: int, timeout_s: float = 20) -> None:
    """Wait until something accepts connections there."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


# What tests turn at a server they share.
_TURNED = (
    "activerehashing",
    "maxmemory",
    "maxmemory-policy",
    "min-replicas-to-write",
    "save",
    "slowlog-log-slower-than",
)
_started_with: dict[str, dict[str, str]] = {}


def flush(url: str) -> None:
    """Empty every database of the server at ``url``, zero its statistics and undo what a test set there."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        if url in _started_with:
            for name, value in _started_with[url].items():
                client.config_set(name, value)
        else:
            _started_with[url] = client.config_get(*_TURNED)
        client.flushall()
        client.config_resetstat()
