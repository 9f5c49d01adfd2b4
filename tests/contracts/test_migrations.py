"""The migrations make exactly the tables that the models describe, in one line of versions."""

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import dashboard.migrations as migrations
from dashboard.db.base import Base
from dashboard.db.session import Database


def test_there_is_one_head() -> None:
    assert len(ScriptDirectory.from_config(migrations._config()).get_heads()) == 1


def test_models_and_migrations_agree(migrated: Database) -> None:
    import dashboard.audit.models
    import dashboard.auth.models
    import dashboard.caches.models
    import dashboard.invalidation.models
    import dashboard.jobs.models
    import dashboard.keyspace.models
    import dashboard.lab.models
    import dashboard.monitoring.models
    import dashboard.overview.models
    import dashboard.policies.models  # noqa: F401

    def is_ours(item: object, name: str | None, kind: str, reflected: bool, compare_to: object) -> bool:
        if kind in ("index", "unique_constraint") and reflected:
            return False  # the migrations alone name them
        # Partitions are made at run time and belong to their parent.
        return not (kind == "table" and reflected and compare_to is None and name not in Base.metadata.tables)

    with migrated.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": is_ours, "compare_type": True}
        )
        differences = compare_metadata(context, Base.metadata)
    assert not differences, "\n".join(str(item) for item in differences)


def test_upgrading_again_changes_nothing(migrated: Database) -> None:
    migrations.upgrade(migrated)
    assert migrations.is_current(migrated)
