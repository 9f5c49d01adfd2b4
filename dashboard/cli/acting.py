"""What commands that work in the database share: the runtime, and a unit of work in the system user's name."""

import getpass
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.cli.serve import opened
from dashboard.config import load_settings
from dashboard.errors import ConfigError, InvalidInput, NotFound
from dashboard.work import Runtime, UnitOfWork, unit_of_work


@contextmanager
def opened_runtime() -> Iterator[Runtime]:
    """The runtime of a command.

    Raises:
        ConfigError: the settings are wrong, or the schema is not the one of this release.
    """
    with opened(load_settings()) as runtime:
        if not migrations.is_current(runtime.database):
            raise ConfigError(
                "The database's schema is not the one of this release.",
                what_to_do="Run: cachewarden db upgrade",
            )
        yield runtime


def unit(runtime: Runtime) -> AbstractContextManager[UnitOfWork]:
    """A unit of work in the name of the system's user, who holds the settings and so may do everything."""
    return unit_of_work(runtime, system_actor())


def system_actor() -> Actor:
    """The system's user."""
    return Actor(None, _system_user(), Role.ADMIN, "cli")


@contextmanager
def fields_said() -> Iterator[None]:
    """Say what is wrong with each field, as there is no form to show it in."""
    try:
        yield
    except InvalidInput as error:
        fields = " ".join(
            f"{name.capitalize()}: {message}"
            for name, message in error.fields.items()
            # Where there is but one thing wrong, a form says it above and at the field.
            if message != error.message
        )
        raise InvalidInput(f"{error.message} {fields}".strip(), what_to_do=error.what_to_do) from None


def find_cache(work: UnitOfWork, name: str | None) -> Cache:
    """The cache of this name; None: the only one there is.

    Raises:
        NotFound: there is none, or no name and several.
    """
    known = caches.list_caches(work)
    if name is None and len(known) == 1:
        return known[0]
    if name is None:
        raise NotFound(
            "Which cache is meant?",
            what_to_do=f"Say it with --cache: {', '.join(cache.name for cache in known) or 'there is none yet'}.",
        )
    for cache in known:
        if cache.name.lower() == name.lower():
            return cache
    raise NotFound(f"There is no cache {name}.", what_to_do="The Connections page lists all of them.")


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry in passwd, as in some containers
        return "unknown"
