"""What commands that work in the database share: the runtime, and a unit of work in the system user's name."""

import getpass
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from dashboard import migrations
from dashboard.access import Actor, Role
from dashboard.cli.serve import opened
from dashboard.config import load_settings
from dashboard.errors import ConfigError
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
    return unit_of_work(runtime, Actor(None, _system_user(), Role.ADMIN, "cli"))


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no entry in passwd, as in some containers
        return "unknown"
