"""A whole dashboard on loopback: web server, worker, real servers. For browser tests, screenshots, benchmarks."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from waitress.server import create_server

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.app import create_app
from dashboard.auth import service as auth
from dashboard.caches import service as caches
from dashboard.caches.types import CacheForm, Environment
from dashboard.config import load_settings
from dashboard.demo import traffic
from dashboard.demo.policies import FILE, REASON
from dashboard.demo.shop import schema
from dashboard.demo.shop.catalogue import SMALL
from dashboard.embedded import postgres, valkey
from dashboard.fleet.url import parse_url
from dashboard.monitoring import service as monitoring
from dashboard.policies import service as policies
from dashboard.work import Runtime, build_runtime, unit_of_work
from dashboard.worker import start_worker
from tests.support import servers

SECRET_KEY = "a secret key that only the tests know, 32+"
PASSWORD = "correct horse battery staple"
ACTOR = Actor(None, "test", Role.ADMIN, "cli")


@dataclass(frozen=True)
class Live:
    """A running dashboard: its address, its parts, and an administrator ``admin`` with ``PASSWORD``."""

    url: str
    runtime: Runtime
    valkey_url: str
    database_url: str


@contextmanager
def dashboard(folder: Path, *, with_worker: bool = True, poll_timeout_s: float = 1.0) -> Iterator[Live]:
    """Start everything; stop everything at the end of the block."""
    with ExitStack() as stack:
        store = stack.enter_context(postgres.start(folder / "postgres", config=servers.FAST_POSTGRES))
        cache = stack.enter_context(
            valkey.start(config={"maxmemory": "64mb", "maxmemory-policy": "allkeys-lru"})
        )
        settings = load_settings(
            secret_key=SECRET_KEY,
            data_dir=folder,
            secure_cookies=False,
            poll_timeout_s=poll_timeout_s,
            lab=True,
        )
        runtime = build_runtime(settings, database_url=store.url)
        stack.callback(runtime.close)
        migrations.upgrade(runtime.database)
        with unit_of_work(runtime, ACTOR) as work:
            auth.create_user(work, name="admin", role=Role.ADMIN, password=PASSWORD)
        server = create_server(create_app(runtime), host="127.0.0.1", port=0, threads=8)
        thread = threading.Thread(target=server.run, name="web", daemon=True)
        thread.start()
        stack.callback(thread.join, 10)
        stack.callback(server.close)
        if with_worker:
            worker = start_worker(runtime)
            stack.callback(worker.stop)
        yield Live(f"http://127.0.0.1:{server.effective_port}", runtime, cache.url, store.url)


@contextmanager
def demonstration(folder: Path) -> Iterator[Live]:
    """A dashboard whose one cache, ``demo-store``, is polled every 5 s under the traffic of a small shop."""
    with dashboard(folder) as live:
        with unit_of_work(live.runtime, ACTOR) as work:
            cache = caches.create_cache(work, cache_form(live, "demo-store"))
            policies.apply(work, cache.id, FILE, "json", reason=REASON)
        with psycopg.connect(live.database_url) as connection:
            schema.create(connection, size=SMALL)
        shops = traffic.open_shops(live.database_url, live.valkey_url)
        running = traffic.Traffic(shops, live.valkey_url, SMALL)
        running.start()
        try:
            _wait_for_readings(live)
            yield live
        finally:
            running.stop()
            traffic.close_shops(shops)


def cache_form(live: Live, name: str, *, poll_interval_s: int = 5) -> CacheForm:
    """What an administrator would type to connect the dashboard's Valkey under ``name``."""
    return CacheForm(
        name=name,
        url=parse_url(live.valkey_url),
        environment=Environment.DEVELOPMENT,
        poll_interval_s=poll_interval_s,
        read_only=False,
        hit_ratio_target=0.8,
        forget_password=False,
        revision=None,
    )


def _wait_for_readings(live: Live) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with unit_of_work(live.runtime, ACTOR) as work:
            if all(status.hit_ratio is not None for status in monitoring.fleet_status(work).values()):
                return
        time.sleep(0.5)
    raise TimeoutError("the worker made no readings within a minute")
