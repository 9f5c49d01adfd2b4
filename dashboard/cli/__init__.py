"""The command ``cachewarden``. Each command is imported when it is asked for: the demo's parts are extras."""

import importlib
import sys
from typing import Any

import click

from dashboard import __version__
from dashboard.errors import DashboardError
from dashboard.fleet.text import display

_COMMANDS = {
    "config": ("dashboard.cli.config", "config"),
    "db": ("dashboard.cli.serve", "db"),
    "demo": ("dashboard.cli.demo", "demo"),
    "health": ("dashboard.cli.health", "health"),
    "lab": ("dashboard.cli.lab", "lab"),
    "policies": ("dashboard.cli.policies", "policies"),
    "purge": ("dashboard.cli.purge", "purge"),
    "scan": ("dashboard.cli.scan", "scan"),
    "user": ("dashboard.cli.users", "user"),
    "web": ("dashboard.cli.serve", "web"),
    "worker": ("dashboard.cli.serve", "worker"),
}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DashboardError as error:
            # Names and server's words in it are others': none of them may steer the terminal.
            click.echo(_safe(f"cachewarden: {error}"), err=True)
            if error.what_to_do:
                click.echo(_safe(error.what_to_do), err=True)
            sys.exit(2)
        except KeyboardInterrupt:
            # What a shell says of one that Ctrl-C ended; commands that leave something behind say what.
            click.echo("\ncachewarden: interrupted.", err=True)
            sys.exit(130)


def _safe(text: str) -> str:
    lines = text.split("\n")
    return "\n".join(display(line.encode("utf-8", "backslashreplace")) for line in lines)


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="cachewarden")
def main() -> None:
    """Admin dashboard for Redis caches."""
