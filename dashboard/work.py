"""The unit of work: what a service gets as its first argument.

``Runtime`` is built once per process; ``unit_of_work`` opens one transaction of it for one use case.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from dashboard.access import Actor
from dashboard.cipher import Cipher
from dashboard.clock import Clock
from dashboard.config import Settings
from dashboard.db.session import Database, translated
from dashboard.errors import ConfigError
from dashboard.fleet.registry import Fleet

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The long-lived parts of one process."""

    settings: Settings
    database: Database
    fleet: Fleet
    cipher: Cipher
    clock: Clock

    def close(self) -> None:
        """Close every connection to caches and to PostgreSQL."""
        self.fleet.close()
        self.database.dispose()


@dataclass(slots=True)
class UnitOfWork:
    """One transaction and all that a service may touch."""

    session: Session
    fleet: Fleet
    cipher: Cipher
    settings: Settings
    actor: Actor
    now: datetime
    _after_commit: list[Callable[[], None]] = field(default_factory=list)

    def after_commit(self, action: Callable[[], None]) -> None:
        """Have ``action`` run once the transaction is committed, and never if it is rolled back."""
        self._after_commit.append(action)

    def keep(self) -> None:
        """Commit what was done so far: it stands whatever becomes of the rest, which is another transaction.

        For what is written down before something outside PostgreSQL is changed, and after that was refused.

        Raises:
            StoreUnavailable: PostgreSQL is away.
        """
        with translated():
            self.session.commit()


def build_runtime(
    settings: Settings, *, database_url: str | None = None, clock: Clock | None = None
) -> Runtime:
    """Open the pools; nothing is connected yet.

    Args:
        database_url: wins over the settings (the demo's embedded server).

    Raises:
        ConfigError: there is no database URL.
    """
    url = database_url or (settings.database_url.get_secret_value() if settings.database_url else None)
    if url is None:
        raise ConfigError("DATABASE_URL is not set and no embedded PostgreSQL was started.")
    return Runtime(
        settings=settings,
        database=Database(url),
        fleet=Fleet(timeout_s=settings.poll_timeout_s),
        cipher=Cipher(settings.secret_key.get_secret_value()),
        clock=clock or Clock(),
    )


@contextmanager
def unit_of_work(runtime: Runtime, actor: Actor) -> Iterator[UnitOfWork]:
    """Open a transaction for ``actor``; commit at the end, then run what waits for the commit.

    Raises:
        StoreUnavailable: PostgreSQL is away.
    """
    with runtime.database.transaction() as session:
        work = UnitOfWork(
            session=session,
            fleet=runtime.fleet,
            cipher=runtime.cipher,
            settings=runtime.settings,
            actor=actor,
            now=runtime.clock.now(),
        )
        yield work
    for action in work._after_commit:
        try:
            action()
        except Exception:
            # The change itself is committed; a failed follow-up must not look like a failed change.
            log.exception("after-commit action failed")
