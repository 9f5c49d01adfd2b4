"""Connections and transactions; the door where PostgreSQL's exceptions become ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from dashboard.errors import ConfigError, StoreUnavailable

OLDEST_VERSION = 14
_TOOK_TOO_LONG = "57014"  # query_canceled, here by statement_timeout


def driver_url(url: str) -> str:
    """The URL with psycopg 3 named as the driver."""
    scheme, _, rest = url.partition(":")
    return f"postgresql+psycopg:{rest}" if scheme in ("postgres", "postgresql") else url


class Database:
    """One pool of connections to Cachewarden's own PostgreSQL.

    Args:
        url: postgresql://user:password@host/name.
        pool_size: connections kept; as many again may be opened for a moment.
    """

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        try:
            self.engine: Engine = create_engine(
                make_url(driver_url(url)),
                pool_size=pool_size,
                max_overflow=pool_size,
                pool_timeout=5,
                pool_pre_ping=True,
                pool_recycle=1800,
                # Logs outlive what they name: no password hash or client list in them.
                hide_parameters=True,
                connect_args={
                    "connect_timeout": 5,
                    "application_name": "cachewarden",
                    # UTC everywhere; a forgotten transaction or a runaway query must not hold locks.
                    "options": "-c timezone=UTC -c statement_timeout=30000"
                    " -c idle_in_transaction_session_timeout=60000",
                    "keepalives_idle": 5,
                    "keepalives_interval": 2,
                    "keepalives_count": 3,
                },
            )
        except ArgumentError:
            raise ConfigError(
                "DATABASE_URL is not a database URL.", what_to_do="Use postgresql://user:password@host/name."
            ) from None
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or rolls back when it raises.

        What is committed within the block stays; another transaction begins with what follows.

        Raises:
            StoreUnavailable: PostgreSQL can't be reached, is shutting down or out of connections.
        """
        with translated(), self._sessions() as session:
            yield session
            session.commit()

    def check_version(self) -> int:
        """Return PostgreSQL's major version.

        Raises:
            ConfigError: it is older than the oldest supported version, or not PostgreSQL.
            StoreUnavailable: it can't be reached.
        """
        with self.transaction() as session:
            number = int(session.execute(text("SHOW server_version_num")).scalar_one())
        if number // 10000 < OLDEST_VERSION:
            raise ConfigError(
                f"DATABASE_URL is PostgreSQL {number // 10000}; Cachewarden needs {OLDEST_VERSION} or later."
            )
        return number // 10000

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


@contextmanager
def translated() -> Iterator[None]:
    """Turn "PostgreSQL is away" exceptions into StoreUnavailable; bugs stay bugs."""
    try:
        yield
    except PoolTimeout:
        raise StoreUnavailable(
            "All connections to PostgreSQL are busy.", what_to_do="It is tried again by itself."
        ) from None
    except (OperationalError, InterfaceError) as error:
        if getattr(error.orig, "sqlstate", None) == _TOOK_TOO_LONG:
            raise StoreUnavailable(
                "PostgreSQL took too long to answer this.",
                what_to_do="Ask for less: a shorter span, or a narrower filter.",
            ) from error
        raise StoreUnavailable(
            "PostgreSQL does not answer.", what_to_do="It is tried again by itself."
        ) from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable(
                "The connection to PostgreSQL was lost.", what_to_do="It is tried again by itself."
            ) from error
        raise
