"""``cachewarden config``: the effective settings."""

import click

from dashboard.config import describe, load_settings


@click.command()
def config() -> None:
    """Print the effective settings, secrets masked."""
    for name, value, description in describe(load_settings()):
        click.echo(f"{name}={value}\n    {description}")
