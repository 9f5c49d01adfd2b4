"""``cachewarden demo``: everything in one process on this machine, with a live shop and its cache to look at."""

import contextlib
import errno
import logging
import os
import secrets
import signal
import socket
import threading
import time
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from wsgiref.types import WSGIApplication

import click
import psycopg
from pydantic import SecretStr
from waitress.server import TcpWSGIServer, create_server

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.app import create_app
from dashboard.auth import service as auth
from dashboard.caches import service as caches
from dashboard.caches.types import CacheForm, Environment
from dashboard.cli.browser import open_page
from dashboard.config import Settings, load_settings
from dashboard.demo import traffic
from dashboard.demo.policies import FILE, REASON
from dashboard.demo.shop import schema
from dashboard.demo.shop.app import create_shop
from dashboard.demo.shop.links import Links
from dashboard.demo.shop.pages import Shop
from dashboard.embedded import postgres, process, valkey
from dashboard.embedded.keeping import Kept
from dashboard.errors import ConfigError, DashboardError, NotFound
from dashboard.fleet.url import parse_url
from dashboard.keyspace import service as keyspace
from dashboard.policies import service as policies
from dashboard.work import Runtime, build_runtime, unit_of_work
from dashboard.worker import start_worker

log = logging.getLogger(__name__)

ADMIN = "admin"
CACHE = "demo-store"
POLL_INTERVAL_S = 5
# Less than the whole shop, so that it fills up within minutes.
VALKEY_CONFIG = {"maxmemory": "10mb", "maxmemory-policy": "allkeys-lru", "slowlog-log-slower-than": "5000"}
ACTOR = Actor(None, "demo", Role.ADMIN, "cli")
SCAN_AFTER_S, SCAN_EVERY_S = 30, 300
"""It takes less than a second, and memory by prefix is what somebody asks for once the cache is full."""
SHOP_THREADS = 6
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command()
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Port of the dashboard; unset: 8765, or a free one."
)
@click.option("--password", help=f"Password of the account {ADMIN}; unset: a new one at each start.")
@click.option("--no-traffic", is_flag=True, help="Start the demo store without anybody in it.")
@click.option("--no-browser", is_flag=True, help="Open no browser; there is none without a terminal anyway.")
def demo(port: int | None, password: str | None, no_traffic: bool, no_browser: bool) -> None:
    """Start the dashboard, a shop with customers and all servers on this machine; Ctrl-C ends it all."""
    for number in SIGNALS:
        # One way to the end for Ctrl-C, `kill` and a closed terminal; what nohup ignores stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    stack = ExitStack()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _run(stack, port, password, with_traffic=not no_traffic, with_browser=not no_browser)
        _ignore_signals()
        _say("\nStopping ...")
        stack.close()
        _say("Stopped.")
    finally:
        _ignore_signals()
        stack.close()  # after an error; empty otherwise


def _ignore_signals() -> None:
    """A second Ctrl-C must not interrupt the orderly end."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _run(
    stack: ExitStack, port: int | None, password: str | None, *, with_traffic: bool, with_browser: bool
) -> None:
    settings = _settings(port)
    folder = settings.data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    stack.callback(os.close, process.hold(folder, "The demo", wait_s=0))
    _start_logging(settings, folder / "demo.log")

    chosen = _free_port_near(settings.port)
    if port is not None and chosen != port:
        raise _taken(port, os.strerror(errno.EADDRINUSE))
    _say("Starting PostgreSQL and Valkey ...")
    shop_port = _free_port_near(settings.port + 2)
    url, shop_url = f"http://127.0.0.1:{chosen}", f"http://127.0.0.1:{shop_port}"
    settings = settings.model_copy(update={"lab": True, "shop_url": shop_url})
    if settings.database_url is None:
        database = stack.enter_context(_kept_postgres(folder / "postgres"))
        runtime = build_runtime(settings, database_url=database.url)
    else:
        runtime = build_runtime(settings)
        # That database is somebody's: the shop gets a server of its own.
        database = stack.enter_context(_kept_postgres(folder / "shop-postgres"))
    stack.callback(runtime.close)
    cache_port = _free_port_near(settings.port + 1)
    cache = stack.enter_context(
        Kept(
            lambda port: valkey.start(folder / "valkey", port=port or cache_port, config=VALKEY_CONFIG), _tell
        )
    )
    migrations.upgrade(runtime.database)
    _ensure_shop(database.url)
    signing_in = _ensure_admin(runtime, password, url)
    cache_id = _ensure_cache(runtime, cache.url)
    _ensure_policies(runtime, cache_id)

    # Bound before the shop opens: a port that was taken meanwhile must not leave a half-started demo.
    server = _bound(create_app(runtime), chosen, threads=8)
    shops = traffic.open_shops(
        database.url, cache.url, traffic.APPLICATIONS if with_traffic else traffic.APPLICATIONS[:1]
    )
    stack.callback(traffic.close_shops, shops)
    _serve_shop(stack, shops[0], shop_port, Links(url, cache_id, CACHE))
    if with_traffic:
        visitors = traffic.Traffic(shops, cache.url)
        stack.callback(visitors.stop)
        visitors.start()
    worker = start_worker(runtime)
    stack.callback(worker.stop)
    stack.callback(server.close)
    is_over = threading.Event()
    scans = threading.Thread(target=_scan_regularly, args=(runtime, cache_id, is_over), daemon=True)
    stack.callback(scans.join, 5)
    stack.callback(is_over.set)
    scans.start()
    told = (url, shop_url, signing_in, folder, with_browser)
    threading.Thread(target=_announce, args=told, daemon=True).start()
    server.run()


def _bound(app: WSGIApplication, port: int, *, threads: int) -> TcpWSGIServer:
    """A server that holds its port already and answers once it runs.

    Raises:
        ConfigError: the port is taken.
    """
    try:
        server: TcpWSGIServer = create_server(app, host="127.0.0.1", port=port, threads=threads, ident=None)
    except OSError as error:
        raise _taken(port, error.strerror) from None
    return server


def _taken(port: int, why: str | None) -> ConfigError:
    return ConfigError(f"Port {port} is taken ({why}).", what_to_do="Choose another --port.")


def _serve_shop(stack: ExitStack, shop: Shop, port: int, links: Links) -> None:
    server = _bound(create_shop(shop, links), port, threads=SHOP_THREADS)
    thread = threading.Thread(target=server.run, name="demo-store", daemon=True)
    stack.callback(thread.join, 5)
    stack.callback(server.close)
    thread.start()


def _ensure_shop(database_url: str) -> None:
    """Make the demo store's tables at the first start; whatever was bought since stays."""
    with psycopg.connect(database_url) as connection:
        if not schema.exists(connection):
            _say("Filling the demo store: 10,000 products, 500,000 reviews ...")
            schema.create(connection)


def _kept_postgres(folder: Path) -> Kept:
    return Kept(lambda port: postgres.start(folder, port=port), _tell)


def _tell(news: str) -> None:
    """News of a server, on the terminal and in the log."""
    log.info(news)
    _say(f"  {time.strftime('%H:%M:%S')}  {news}")


def _scan_regularly(runtime: Runtime, cache_id: int, is_over: threading.Event) -> None:
    """Have every key looked at once the shop is busy, and again as it fills up: pages about keys show what is."""
    wait_s = SCAN_AFTER_S
    while not is_over.wait(wait_s):
        wait_s = SCAN_EVERY_S
        # Somebody's scan is under way, the cache was removed, PostgreSQL is away: the next round may fare better.
        with contextlib.suppress(DashboardError), unit_of_work(runtime, ACTOR) as work:
            keyspace.start_scan(work, cache_id)


def _settings(port: int | None) -> Settings:
    """The settings of the environment, with those of a demo on plain HTTP on this machine."""
    given = {"secure_cookies": False, "allowed_hosts": ["127.0.0.1", "localhost"], "host": "127.0.0.1"}
    if port is not None:
        given["port"] = port
    if os.environ.get("CACHEWARDEN_SECRET_KEY"):
        return load_settings(**given)
    settings = load_settings(**given, secret_key=secrets.token_urlsafe(48))
    if settings.database_url is not None:
        raise ConfigError(
            "DATABASE_URL is set, but CACHEWARDEN_SECRET_KEY is not.",
            what_to_do="Set the key that belongs to that database, or unset DATABASE_URL for a database of the demo.",
        )
    return settings.model_copy(update={"secret_key": _kept_secret(settings)})


def _kept_secret(settings: Settings) -> SecretStr:
    """The demo's secret key: made at the first start, then kept in the data folder for its owner only."""
    path = settings.data_dir / "secret_key"
    if not path.exists():
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(settings.secret_key.get_secret_value())
    return SecretStr(path.read_text().strip())


@dataclass(frozen=True, slots=True)
class _SigningIn:
    """How to sign in.

    Args:
        link: that does so once; empty: none was made.
        words: by hand.
    """

    link: str
    words: str


def _ensure_admin(runtime: Runtime, password: str | None, url: str) -> _SigningIn:
    """Make the account, or give it its password for this start."""
    with unit_of_work(runtime, ACTOR) as work:
        try:
            user = auth.get_user_by_name(work, ADMIN)
        except NotFound:
            user = None
        if user is not None and password is None and runtime.settings.database_url is not None:
            # A database that is not the demo's own: its accounts are somebody's.
            return _SigningIn("", f"the account {user.name} and its password")
        password = password or secrets.token_urlsafe(12)
        if user is None:
            user = auth.create_user(work, ADMIN, Role.ADMIN, password)
        else:
            auth.enable_user(work, user.id)
            auth.reset_password(work, user.id, password)
        return _SigningIn(url + auth.create_link(work, user.id), f"user {ADMIN}, password {password}")


def _ensure_cache(runtime: Runtime, url: str) -> int:
    """Add the demo's cache, or bring its address up to date; what somebody changed about it stays. Returns its id."""
    with unit_of_work(runtime, ACTOR) as work:
        here = next((cache for cache in caches.list_caches(work) if cache.name == CACHE), None)
        form = CacheForm(
            name=CACHE,
            url=parse_url(url),
            environment=here.environment if here else Environment.DEVELOPMENT,
            poll_interval_s=here.poll_interval_s if here else POLL_INTERVAL_S,
            read_only=here.read_only if here else False,
            hit_ratio_target=here.hit_ratio_target if here else runtime.settings.hit_ratio_target,
            forget_password=False,
            revision=here.revision if here else None,
        )
        if here is None:
            return caches.create_cache(work, form).id
        if here.stored_url != form.url:
            caches.update_cache(work, here.id, form)
        return here.id


def _ensure_policies(runtime: Runtime, cache_id: int) -> None:
    """Publish a first set of policies where there never was one and nobody began with another."""
    with unit_of_work(runtime, ACTOR) as work:
        page = policies.policies_page(work, cache_id)
        if page.frame.version == 0 and page.draft is None and not page.frame.is_read_only:
            policies.apply(work, cache_id, FILE, "json", reason=REASON)


def _announce(url: str, shop_url: str, signing_in: _SigningIn, folder: Path, with_browser: bool) -> None:
    """Say where everything is, once it answers, and open it where somebody sits at a screen."""
    for _ in range(150):
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/healthz", timeout=2) as answer:
            if answer.status == 200:
                break
        time.sleep(0.2)
    _say(f"\n  The demo store:          {shop_url}")
    _say(f"  Cachewarden is running:  {url}")
    if signing_in.link:
        _say(f"  Sign in with one click:  {signing_in.link}")
        _say(f"  or by hand:              {signing_in.words}")
        _say("\n  The link works once, within 15 minutes.")
    else:
        _say(f"  Sign in:                 {signing_in.words}\n")
    _say(f"  Data and logs are in {folder}. Ctrl-C stops everything.")
    if with_browser and signing_in.link:
        open_page(signing_in.link)


def _start_logging(settings: Settings, path: Path) -> None:
    """Everything goes to the log file, warnings to the terminal as well."""
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.WARNING)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        handlers=[logging.FileHandler(path, mode="w", encoding="utf-8"), terminal],
    )


def _free_port_near(port: int) -> int:
    """`port` itself if nobody listens on it on loopback, else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return process.free_port()
    return port


def _say(text: str) -> None:
    try:
        click.echo(text)
    except OSError:
        # The terminal is gone. What is still in the buffers must have somewhere to go, or Python ends with an error.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (1, 2):
            os.dup2(nowhere, descriptor)
        os.close(nowhere)
