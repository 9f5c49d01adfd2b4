"""`cachewarden demo` as a user runs it: it starts, moves, refuses a second one and ends without a trace."""

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.support.servers import free_port

pytestmark = pytest.mark.timeout(300)


@dataclass
class Demo:
    """One running demo, its output so far and how to reach it."""

    process: subprocess.Popen[bytes]
    log: Path
    terminal: int | None = None

    def said(self, pattern: str, within_s: float = 120) -> str:
        """The first group of a pattern in the output, waited for."""
        deadline = time.monotonic() + within_s
        while True:
            found = re.search(pattern, self.log.read_text())
            if found:
                return found[1]
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.1)

    @property
    def url(self) -> str:
        return self.said(r"running:\s+(http://127\.0\.0\.1:\d+)")


def started(folder: Path, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
    given = {
        name: value for name, value in os.environ.items() if not name.startswith(("CACHEWARDEN", "DATABASE_"))
    }
    environment = {
        **given,
        "CACHEWARDEN_DATA_DIR": str(folder / "data"),
        "CACHEWARDEN_PORT": str(free_port()),
    }
    command = [sys.executable, "-m", "dashboard", "demo", *arguments]
    return subprocess.Popen(command, env=environment, cwd=folder, **options)  # type: ignore[call-overload,no-any-return]


@pytest.fixture
def demo(server_folder: Path) -> Iterator[Callable[..., Demo]]:
    """Starts demos; those still running at the end are killed, and their servers end with them."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str) -> Demo:
        log = server_folder / f"output-{len(running)}"
        with log.open("wb") as output:
            process = started(server_folder, *arguments, stdout=output, stderr=subprocess.STDOUT)
        running.append(process)
        return Demo(process, log)

    yield start
    for process in running:
        process.kill()
        process.wait()


def using(folder: Path) -> list[str]:
    """Command lines of the processes that have to do with a folder, ended ones aside."""
    lines = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if str(folder) in line and process.status() != psutil.STATUS_ZOMBIE:
                lines.append(line)
    return lines


def all_gone(folder: Path, within_s: float = 15) -> bool:
    deadline = time.monotonic() + within_s
    while using(folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def metric(url: str, name: str) -> float | None:
    """One of the cache's metrics as the dashboard tells them."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        found = re.search(rf'^{name}{{cache="demo-store"}} (\S+)', answer.read().decode(), re.MULTILINE)
    return float(found[1]) if found else None


def test_polls_a_cache_under_traffic_and_says_how_to_sign_in(
    demo: Callable[..., Demo], server_folder: Path
) -> None:
    running = demo()
    url = running.url
    password = running.said(r"user admin, password (\S+)")
    with urllib.request.urlopen(f"{url}/healthz", timeout=10) as answer:
        assert answer.status == 200

    form = f"name=admin&password={password}".encode()
    request = urllib.request.Request(f"{url}/sign-in", form, {"Sec-Fetch-Site": "same-origin"})
    signed_in = urllib.request.build_opener(urllib.request.HTTPCookieProcessor()).open(request, timeout=10)
    assert "/sign-in" not in signed_in.geturl()

    with urllib.request.urlopen(running.said(r"demo store:\s+(http\S+)"), timeout=20) as shop:
        assert "Harbour" in shop.read().decode()
    link = running.said(rf"one click:\s+({re.escape(url)}/welcome\?token=\S+)")
    request = urllib.request.Request(
        f"{url}/welcome", f"token={link.rpartition('=')[2]}".encode(), {"Sec-Fetch-Site": "same-origin"}
    )
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    assert browser.open(request, timeout=10).status == 200
    # Spent: whoever finds it in a log comes too late.
    with pytest.raises(urllib.error.HTTPError, match="410"):
        urllib.request.urlopen(link, timeout=10)

    first = None
    deadline = time.monotonic() + 40
    while first is None or metric(url, "cachewarden_cache_used_memory_bytes") == first:
        assert time.monotonic() < deadline
        time.sleep(0.5)
        first = first or metric(url, "cachewarden_cache_used_memory_bytes")
    assert (server_folder / "data").stat().st_mode & 0o007 == 0
    assert (server_folder / "data" / "secret_key").stat().st_mode & 0o077 == 0


def test_a_server_that_ends_is_started_again(demo: Callable[..., Demo], server_folder: Path) -> None:
    running = demo("--no-traffic")
    assert running.url
    valkey = next(
        process.pid
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "valkey-server" and process.info["cwd"] == f"{server_folder}/data/valkey"
    )
    os.kill(valkey, signal.SIGKILL)
    assert running.said("(Valkey has ended. Starting it again)")
    assert running.said("(Valkey runs again)")
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 0 and using(server_folder) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(
    demo: Callable[..., Demo], server_folder: Path, number: signal.Signals
) -> None:
    running = demo("--no-traffic")
    assert running.url
    running.process.send_signal(number)
    assert running.process.wait(20) == 0
    assert running.log.read_text().endswith("Stopped.\n")
    assert "Traceback" not in running.log.read_text()
    assert using(server_folder) == []


def test_a_signal_while_it_starts_ends_it_too(demo: Callable[..., Demo], server_folder: Path) -> None:
    running = demo()
    assert running.said("(Starting)")
    running.process.send_signal(signal.SIGINT)
    assert running.process.wait(20) == 0
    assert "Traceback" not in running.log.read_text()
    assert using(server_folder) == []


def test_a_closed_terminal_ends_it(server_folder: Path) -> None:
    ours, theirs = pty.openpty()

    def own_terminal() -> None:
        os.setsid()
        termios.tcsetwinsize(0, (24, 80))
        import fcntl

        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = started(
        server_folder, "--no-traffic", stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_terminal
    )
    try:
        os.close(theirs)
        shown = b""
        while b"Ctrl-C stops" not in shown:
            shown += os.read(ours, 4096)
        os.close(ours)
        assert process.wait(20) == 0
        assert all_gone(server_folder)
    finally:
        process.kill()
        process.wait()


def test_nothing_outlives_a_killed_demo_and_it_starts_again(
    demo: Callable[..., Demo], server_folder: Path
) -> None:
    running = demo("--no-traffic", "--password", "correct horse battery")
    assert running.said("password (correct horse battery)")
    running.process.kill()
    running.process.wait()
    assert all_gone(server_folder)
    again = demo("--no-traffic")
    assert again.url
    assert again.said(r"password (\S+)") != "correct"


def test_a_second_one_is_refused(demo: Callable[..., Demo]) -> None:
    running = demo("--no-traffic")
    assert running.url
    second = demo("--no-traffic")
    assert second.process.wait(20) == 2
    assert "The demo is already running in" in second.log.read_text()
    assert f"process {running.process.pid}" in second.log.read_text()
    assert "Traceback" not in second.log.read_text()


def test_a_taken_port_is_named(demo: Callable[..., Demo], server_folder: Path) -> None:
    running = demo("--no-traffic")
    port = running.url.rpartition(":")[2]
    (server_folder / "other").mkdir()
    other = started(
        server_folder / "other",
        "--no-traffic",
        "--port",
        port,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    _, errors = other.communicate(timeout=60)
    assert other.returncode == 2
    assert f"Port {port} is taken" in errors.decode()
    assert "Choose another --port" in errors.decode()


def test_a_database_of_somebody_needs_its_key(server_folder: Path) -> None:
    environment = {
        **os.environ,
        "CACHEWARDEN_DATA_DIR": str(server_folder),
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/x",
    }
    environment.pop("CACHEWARDEN_SECRET_KEY", None)
    done = subprocess.run(
        [sys.executable, "-m", "dashboard", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "CACHEWARDEN_SECRET_KEY is not" in done.stderr
