"""``cachewarden policies``: policies as files, for a repository and its checks.

Exit codes: 0 done, or nothing differs; 1 something differs (``diff``, ``apply --check``); 2 an error.
"""

import sys
from pathlib import Path

import click

from dashboard.caches import service as caches
from dashboard.cli.acting import opened_runtime, unit
from dashboard.errors import InvalidInput, NotFound
from dashboard.policies import service
from dashboard.policies.types import MAX_IMPORT_BYTES, Diff, Published
from dashboard.work import UnitOfWork

DIFFERS = 1
_FORMATS = ("yaml", "json")

_cache_option = click.option("--cache", "cache_name", required=True, metavar="NAME", help="The cache's name.")
_format_option = click.option(
    "--format",
    "given_format",
    type=click.Choice(_FORMATS),
    help="The file's format; otherwise its ending says it, and yaml is meant without one.",
)
_file_argument = click.argument("file", type=click.Path(path_type=Path, allow_dash=True))


@click.group()
def policies() -> None:
    """Policies of a cache, as files. FILE may be - for standard input or output."""


@policies.command()
@_cache_option
@_format_option
@click.option("--version", type=click.IntRange(1, 2**53), help="This version instead of the one in force.")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True), default="-")
def export(cache_name: str, given_format: str | None, version: int | None, file: Path) -> None:
    """Write a cache's published policies to FILE."""
    with opened_runtime() as runtime, unit(runtime) as work:
        cache_id = _cache_id(work, cache_name)
        body = service.export(work, cache_id, _format(file, given_format), version=version).body
    if str(file) == "-":
        sys.stdout.buffer.write(body)
        sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(body)
    except OSError as error:
        raise InvalidInput(f"{file} can't be written: {error.strerror}.") from None


@policies.command()
@_cache_option
@_format_option
@_file_argument
def diff(cache_name: str, given_format: str | None, file: Path) -> None:
    """Show what FILE would change in what is published; exit code 1 when it would."""
    data, format = _read(file), _format(file, given_format)
    with opened_runtime() as runtime, unit(runtime) as work:
        found = _checked(work, cache_name, file, data, format).diff
    _show(found)
    if not found.is_empty:
        sys.exit(DIFFERS)


@policies.command()
@_cache_option
@_format_option
@click.option(
    "--check", is_flag=True, help="Only check and compare; exit code 1 when it would change something."
)
@click.option(
    "--reason", default="", help="Why, for the history and the audit log; required without --check."
)
@_file_argument
def apply(cache_name: str, given_format: str | None, check: bool, reason: str, file: Path) -> None:
    """Publish FILE as a new version; nothing happens when it says what is in force."""
    data, format = _read(file), _format(file, given_format)
    with opened_runtime() as runtime:
        with unit(runtime) as work:
            checked = _checked(work, cache_name, file, data, format)
        found = checked.diff
        if check:
            _show(found)
            if not found.is_empty:
                sys.exit(DIFFERS)
            return
        if not reason.strip() and not found.is_empty:
            raise InvalidInput("A reason is needed.", what_to_do='Say it with --reason "…".')
        with unit(runtime) as work:
            cache_id = _cache_id(work, cache_name)
            done = service.apply(
                work,
                cache_id,
                data,
                format,
                reason=reason.strip() or "Applied from a file",
                version=checked.version,
            )
    if not done.is_new:
        click.echo(f"Nothing to do: v{done.version} says the same.")
        return
    click.echo(f"Published v{done.version}: {found.summary}.")
    for warning in done.warnings:
        click.echo(f"Warning: {warning}", err=True)


def _checked(work: UnitOfWork, cache_name: str, file: Path, data: bytes, format: str) -> Published:
    """The version in force and what the file differs in; its problems are said one in a line."""
    cache_id = _cache_id(work, cache_name)
    try:
        return service.check(work, cache_id, data, format)
    except InvalidInput as error:
        for line in error.fields.get("file", error.message).splitlines():
            click.echo(f"cachewarden: {file}: {line}", err=True)
        sys.exit(2)


def _show(found: Diff) -> None:
    if found.is_empty:
        click.echo("No difference.")
        return
    for item in found.items:
        sign = {"added": "+", "removed": "-", "changed": "~"}[item.change.value]
        click.echo(f"{sign} {item.kind.value} {item.title}: {item.summary}")
    click.echo(f"{found.summary}.")


def _cache_id(work: UnitOfWork, name: str) -> int:
    for cache in caches.list_caches(work):
        if cache.name.lower() == name.lower():
            return cache.id
    raise NotFound(f"There is no cache {name}.", what_to_do="The Connections page lists all of them.")


def _format(file: Path, given: str | None) -> str:
    return given or ("json" if file.suffix.lower() == ".json" else "yaml")


def _read(file: Path) -> bytes:
    """The file's content, and of one that is too large only enough to say so."""
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MAX_IMPORT_BYTES + 1)
        with file.open("rb") as stream:
            return stream.read(MAX_IMPORT_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{file} can't be read: {error.strerror}.") from None
