"""The schema's versions, applied by ``cachewarden db upgrade`` and at the demo's start."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from dashboard.db.session import Database, translated

_LOCK = 0x6361_6368_6577  # "cachew": two processes starting at once must not both migrate


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def upgrade(database: Database) -> None:
    """Bring the schema to this release's version; does nothing when it is there already.

    Raises:
        StoreUnavailable: PostgreSQL is away.
        ConfigError: PostgreSQL is too old.
    """
    database.check_version()
    with translated(), database.engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config = _config()
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def is_current(database: Database) -> bool:
    """Whether the schema is at this release's version."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    with translated(), database.engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision() == head
