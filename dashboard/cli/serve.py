"""``cachewarden web``, ``worker`` and ``db``: what production runs."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dashboard.config import Settings, load_settings
from dashboard.errors import ConfigError
from dashboard.work import Runtime, build_runtime

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def start_logging(settings: Settings) -> None:
    """Log to standard error at the level of the settings."""
    logging.basicConfig(level=settings.log_level.upper(), format=_LOG_FORMAT)


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The URL of the settings, or of an embedded PostgreSQL that runs as long as the block."""
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    from dashboard.embedded import postgres

    with postgres.start(settings.data_dir / "postgres") as server:
        yield server.url


@contextmanager
def opened(settings: Settings) -> Iterator[Runtime]:
    """The runtime for one command, closed at its end."""
    with database_url(settings) as url:
        runtime = build_runtime(settings, database_url=url)
        try:
            yield runtime
        finally:
            runtime.close()


@click.command()
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), help="Processes.")
@click.option("--threads", default=8, show_default=True, type=click.IntRange(1, 64), help="Threads of each.")
def web(workers: int, threads: int) -> None:
    """Serve the dashboard with gunicorn."""
    from gunicorn.app.wsgiapp import WSGIApplication

    settings = load_settings()
    if settings.database_url is None:
        raise ConfigError(
            "DATABASE_URL is not set, and several processes can't share an embedded PostgreSQL.",
            what_to_do="Set DATABASE_URL, or use `cachewarden demo` for a single process.",
        )
    start_logging(settings)

    class Server(WSGIApplication):
        def load_config(self) -> None:
            self.cfg.set("bind", f"{settings.host}:{settings.port}")
            self.cfg.set("workers", workers)
            self.cfg.set("threads", threads)
            self.cfg.set("worker_class", "gthread")
            self.cfg.set("accesslog", None)
            self.cfg.set("proc_name", "cachewarden-web")
            # The longest it takes: keys of up to 6,000 bytes have an address.
            self.cfg.set("limit_request_line", 8190)
            # Proxies are trusted by CACHEWARDEN_TRUSTED_PROXIES alone.
            self.cfg.set("forwarded_allow_ips", "")
            self.app_uri = "dashboard.wsgi:app"

    Server().run()


@click.command()
def worker() -> None:
    """Poll the caches and keep their history, until stopped."""
    from dashboard.worker import run

    settings = load_settings()
    start_logging(settings)
    with opened(settings) as runtime:
        run(runtime)


@click.group()
def db() -> None:
    """The database's schema."""


@db.command()
def upgrade() -> None:
    """Bring the schema to this release's version."""
    from dashboard import migrations

    with opened(load_settings()) as runtime:
        migrations.upgrade(runtime.database)
    click.echo("The schema is current.")
