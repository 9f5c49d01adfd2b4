"""``cachewarden health``: for the health checks of containers and for monitoring by scripts."""

import sys
from typing import NoReturn

import click

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.cli.serve import opened
from dashboard.config import load_settings
from dashboard.monitoring import service as monitoring
from dashboard.work import unit_of_work


@click.command()
def health() -> None:
    """Say whether the database answers, its schema is current and a worker polls; exit code 1 if not."""
    with opened(load_settings()) as runtime:
        if not migrations.is_current(runtime.database):
            _unhealthy("The schema is not current: run `cachewarden db upgrade`.")
        with unit_of_work(runtime, Actor(None, "health", Role.VIEWER, "cli")) as work:
            status = monitoring.worker_status(work)
    if status is None:
        _unhealthy("No worker has polled yet.")
    if not status.is_alive:
        _unhealthy(f"The worker {status.holder} was last heard of {status.age_s:.0f} s ago.")
    click.echo(f"Healthy; {status.holder} polls, last heard of {status.age_s:.0f} s ago.")


def _unhealthy(reason: str) -> NoReturn:
    click.echo(reason, err=True)
    sys.exit(1)
