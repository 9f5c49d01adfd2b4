"""``cachewarden user``: accounts from the command line, for the first administrator and for emergencies."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from dashboard.access import Role
from dashboard.auth import service
from dashboard.cli.acting import fields_said, opened_runtime, unit
from dashboard.errors import InvalidInput
from dashboard.work import Runtime, UnitOfWork

_LONGEST_LINE = 4096
_stdin_option = click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it."
)


@click.group()
def user() -> None:
    """Accounts that may sign in."""


@user.command()
@click.argument("name")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), default=Role.VIEWER.value, show_default=True
)
@_stdin_option
def add(name: str, role: str, password_stdin: bool) -> None:
    """Add the account NAME."""
    password = _password(password_stdin)
    with _work() as work:
        added = service.create_user(work, name, Role(role), password)
    click.echo(f"{added.name} ({added.role.label}) can sign in now.")


@user.command()
@click.argument("name")
@_stdin_option
def passwd(name: str, password_stdin: bool) -> None:
    """Give the account NAME a new password; its sessions and API tokens end."""
    with _runtime() as runtime:
        with unit(runtime) as work:
            known = service.get_user_by_name(work, name)  # before asking for a password in vain
        password = _password(password_stdin)
        with unit(runtime) as work:
            service.reset_password(work, known.id, password)
    click.echo(f"{known.name} has a new password.")


@user.command()
@click.argument("name")
def disable(name: str) -> None:
    """Shut the account NAME out; its sessions and API tokens end at once."""
    with _work() as work:
        changed = service.disable_user(work, service.get_user_by_name(work, name).id)
    click.echo(f"{changed.name} is disabled.")


@user.command()
@click.argument("name")
def enable(name: str) -> None:
    """Let the account NAME sign in again."""
    with _work() as work:
        changed = service.enable_user(work, service.get_user_by_name(work, name).id)
    click.echo(f"{changed.name} can sign in again.")


@user.command()
@click.argument("name")
@click.option("--url", help="Address of the dashboard, as the account's owner reaches it.", metavar="URL")
def link(name: str, url: str | None) -> None:
    """Print a link that signs the account NAME in, once, within 15 minutes."""
    with _runtime() as runtime, unit(runtime) as work:
        path = service.create_link(work, service.get_user_by_name(work, name).id)
        settings = runtime.settings
    click.echo(f"{(url or f'http://{settings.host}:{settings.port}').rstrip('/')}{path}")


@user.command("list")
def list_() -> None:
    """List all accounts."""
    with _work() as work:
        users = service.list_users(work)
    if not users:
        click.echo("There is no account yet. Add one with: cachewarden user add NAME --role admin")
        return
    width = max(len("NAME"), *(len(one.name) for one in users))
    click.echo(f"{'NAME':<{width}}  {'ROLE':<8}  {'STATE':<8}  LAST SEEN")
    for one in users:
        seen = f"{one.last_seen_at:%Y-%m-%d %H:%M} UTC" if one.last_seen_at else "never"
        state = "disabled" if one.is_disabled else "active"
        click.echo(f"{one.name:<{width}}  {one.role.value:<8}  {state:<8}  {seen}")


@contextmanager
def _runtime() -> Iterator[Runtime]:
    with opened_runtime() as runtime, fields_said():
        yield runtime


@contextmanager
def _work() -> Iterator[UnitOfWork]:
    with _runtime() as runtime, unit(runtime) as work:
        yield work


def _password(from_stdin: bool) -> str:
    if not from_stdin:
        entered: str = click.prompt("Password", hide_input=True, confirmation_prompt="Again")
        return entered
    line = sys.stdin.buffer.readline(_LONGEST_LINE + 1)
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise InvalidInput("The password on standard input is not UTF-8 text.") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise InvalidInput("There is no password on standard input.")
    return text
