"""What a scenario works with: servers of its own, on loopback, that end with it, whatever happens."""

import os
import shutil
import signal
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg
import redis

from dashboard.demo.lab.machine import processor_s
from dashboard.demo.lab.types import Cancelled, DatabaseUse, ValkeyServer, Void
from dashboard.demo.shop import catalogue, schema
from dashboard.demo.shop.store import ShopStore
from dashboard.embedded import postgres, process, valkey

POSTGRES: Final = {
    # A crash may cost us everything: the run is void then. The rest is as a small shop would have it.
    "fsync": "off",
    "synchronous_commit": "off",
    "shared_buffers": "192MB",
    "max_connections": "120",
    "max_parallel_workers_per_gather": "0",
    "autovacuum": "off",
    # One that began again by itself would have forgotten what it had counted.
    "restart_after_crash": "off",
}
_STEP_S: Final = 0.2
_REPORTED_S: Final = 1.2
"""After so long PostgreSQL's sessions have told what they did."""


class LabValkey:
    """A Valkey of the lab's own, which may be killed."""

    def __init__(self, folder: Path, config: dict[str, str]) -> None:
        self._folder = folder
        self._config = config
        self._server = valkey.start(folder, config=config)
        self._clients: list[redis.Redis] = []

    @property
    def url(self) -> str:
        """redis://…"""
        return self._server.url

    @property
    def is_running(self) -> bool:
        """Whether it is there."""
        return self._server.is_running

    def client(self) -> redis.Redis:
        """A client of it; closed with the bench."""
        made = redis.Redis.from_url(self.url, socket_timeout=5, socket_connect_timeout=2)
        self._clients.append(made)
        return made

    def kill(self) -> None:
        """SIGKILL: what a crash is."""
        with suppress(ProcessLookupError):
            os.kill(self._server.pid, signal.SIGKILL)
        self._server.stop()

    def start(self) -> None:
        """Start it again on the same port, empty."""
        self._server = valkey.start(self._folder, port=self._server.port, config=self._config)

    def close(self) -> None:
        """End it."""
        for client in self._clients:
            client.close()
        self._server.stop()


class LabShop:
    """The shop in a process of its own."""

    def __init__(self, server: process.Server) -> None:
        self._server = server
        self._process = psutil.Process(server.pid)

    @property
    def url(self) -> str:
        """http://127.0.0.1:…"""
        return self._server.url

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time that it used so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)


class LabBench:
    """See ``types.Bench``. To be used once, in a with block.

    Args:
        say: told how far it is, and what it does.
        is_cancelled: whether the run is to end.
        quick: small data, for tests.
    """

    def __init__(
        self,
        *,
        seed: int = schema.SEED,
        quick: bool = False,
        say: Callable[[float, str], None] = lambda share, words: None,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self.seed = seed
        self.is_quick = quick
        self._say = say
        self._is_cancelled = is_cancelled
        self._stack = ExitStack()
        self._folder = Path()
        self._numbers = iter(range(1_000_000))
        self._database: process.Server | None = None
        self._valkeys: list[LabValkey] = []

    def __enter__(self) -> "LabBench":
        self._folder = Path(tempfile.mkdtemp(prefix="cachewarden-lab-"))
        self._stack.callback(shutil.rmtree, self._folder, ignore_errors=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def progress(self, share: float, words: str) -> None:
        """How far it is, 0..1, and what it does now. Raises Cancelled."""
        self._check()
        self._say(min(1.0, max(0.0, share)), words)

    def wait(self, seconds: float) -> None:
        """Sleep. Raises Cancelled."""
        ends = time.monotonic() + seconds
        while True:
            self._check()
            left = ends - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(_STEP_S, left))

    def _check(self) -> None:
        if self._is_cancelled():
            raise Cancelled

    def database_url(self) -> str:
        """Of the lab's PostgreSQL with the shop; started and filled at the first question."""
        if self._database is None:
            self.progress(0.0, "Starting PostgreSQL and filling the shop")
            self._database = self._stack.enter_context(
                postgres.start(self._folder / "postgres", config=POSTGRES)
            )
            size = catalogue.SMALL if self.is_quick else catalogue.Size()
            with psycopg.connect(self._database.url, autocommit=True) as connection:
                schema.create(connection, size=size, seed=self.seed)
        return self._database.url

    def store(self, **options: Any) -> ShopStore:
        """The shop's queries; closed with the bench."""
        made = ShopStore(self.database_url(), **options)
        self._stack.callback(made.close)
        return made

    def valkey(self, **config: str) -> LabValkey:
        """A new empty Valkey; ``maxmemory_policy`` is written so for "maxmemory-policy"."""
        lines = {name.replace("_", "-"): value for name, value in config.items()}
        made = LabValkey(self._folder / f"valkey-{next(self._numbers)}", lines)
        self._stack.callback(made.close)
        self._valkeys.append(made)
        return made

    @contextmanager
    def shop(self, mode: str, valkey: ValkeyServer) -> Iterator[LabShop]:
        """The shop in a process of its own, in one mode."""
        folder = self._folder / f"shop-{next(self._numbers)}"
        folder.mkdir(mode=0o700)
        database_url = self.database_url()

        def command(port: int) -> list[str]:
            return [
                sys.executable,
                "-m",
                "dashboard.demo.shop",
                "--database-url",
                database_url,
                "--redis-url",
                valkey.url,
                "--port",
                str(port),
                "--mode",
                mode,
            ]

        recipe = process.Recipe(
            name="The shop",
            command=command,
            is_ready=_answers,
            url=lambda port: f"http://127.0.0.1:{port}",
            stop_signal=signal.SIGTERM,
        )
        lock = process.hold(folder, "The shop")
        try:
            server = process.start(recipe, folder, port=0, lock=lock)
        finally:
            os.close(lock)
        with server:
            yield LabShop(server)
            if not server.is_running:
                raise Void("The shop's process ended in the middle of the run.")

    def database_use(self) -> Callable[[], DatabaseUse]:
        """Begin to measure; calling the result gives what was used since."""
        url = self.database_url()
        assert self._database is not None
        postmaster = psutil.Process(self._database.pid)
        busy_before_s, cpu_before_s = _busy_s(url), processor_s(postmaster)

        def read() -> DatabaseUse:
            cpu_s = processor_s(postmaster) - cpu_before_s
            time.sleep(_REPORTED_S)
            busy_s = _busy_s(url) - busy_before_s
            if busy_s < 0:
                raise Void("PostgreSQL forgot in the middle of the run what it had counted.")
            return DatabaseUse(busy_s, cpu_s)

        return read

    def database_processors(self) -> Callable[[], float]:
        """What reads how many seconds all processors of this machine together worked for PostgreSQL."""
        self.database_url()
        assert self._database is not None
        postmaster, processors = psutil.Process(self._database.pid), os.cpu_count() or 1
        return lambda: processor_s(postmaster) / processors

    def verify(self, *, within_s: float = 0.0) -> None:
        """Whether all servers are still those that were started.

        Args:
            within_s: look so long for one that is just ending.

        Raises:
            Void: one is not.
        """
        until = time.monotonic() + within_s
        while True:
            if self._database is not None and not self._database.is_running:
                raise Void("PostgreSQL ended in the middle of the run.")
            if not all(each.is_running for each in self._valkeys):
                raise Void("Valkey ended in the middle of the run.")
            if time.monotonic() >= until:
                return
            time.sleep(_STEP_S)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _busy_s(url: str) -> float:
    """Seconds that sessions were running statements."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT active_time / 1000 FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return float(row[0])
