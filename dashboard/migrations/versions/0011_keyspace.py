"""The keyspace: scans, their checkpoints, what they found, limits; and what of it the prefix tables show.

Revision ID: 0011
Revises: 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_OPEN = "state IN ('waiting', 'running')"


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _cache(*, is_key: bool = False) -> sa.Column[int]:
    key = sa.ForeignKey("cache.id", ondelete="CASCADE")
    return sa.Column("cache_id", sa.Integer, key, nullable=False, primary_key=is_key)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _revision() -> sa.Column[int]:
    return sa.Column("revision", sa.BigInteger, nullable=False, server_default="0")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "keyspace_limits",
        _cache(is_key=True),
        sa.Column("keys_per_s", sa.Integer, nullable=False),
        sa.Column("slowest_probe_ms", sa.Double, nullable=False),
        sa.Column("size_every", sa.Integer, nullable=False),
        sa.Column("prefers_replica", sa.Boolean, nullable=False),
        sa.Column("delimiters", sa.Text, nullable=False),
        sa.Column("sample_every_s", sa.Integer, nullable=False),
        sa.Column("full_every_s", sa.Integer, nullable=False),
        _revision(),
    )
    op.create_table(
        "keyspace_snapshot",
        _id(),
        _cache(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("began_at", _TIME, nullable=False),
        sa.Column("ended_at", _TIME, nullable=False),
        sa.Column("looked_at", sa.BigInteger, nullable=False),
        sa.Column("keyspace", sa.BigInteger, nullable=False),
        sa.Column("keys", sa.Double, nullable=False),
        sa.Column("size_bytes", sa.Double),
        sa.Column("size_error", sa.Double, nullable=False, server_default="0"),
        sa.Column("found", sa.LargeBinary, nullable=False),
        sa.Column("prefixes", sa.LargeBinary, nullable=False),
        sa.CheckConstraint("kind IN ('sample', 'full')", name="kind"),
    )
    op.create_index("ix_keyspace_snapshot_cache_id_id", "keyspace_snapshot", ["cache_id", "id"])
    op.create_table(
        "keyspace_scan",
        _id(),
        _cache(),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("progress", JSONB, nullable=False),
        _text("wish"),
        _text("problem"),
        sa.Column("snapshot_id", sa.BigInteger, sa.ForeignKey("keyspace_snapshot.id", ondelete="SET NULL")),
        sa.Column("job_id", sa.BigInteger),
        _revision(),
        sa.CheckConstraint("state IN ('waiting', 'running', 'done', 'cancelled', 'failed')", name="state"),
    )
    op.create_index("ix_keyspace_scan_cache_id_id", "keyspace_scan", ["cache_id", "id"])
    op.create_index("ix_keyspace_scan_snapshot_id", "keyspace_scan", ["snapshot_id"])
    # One at a time, whoever asks at the same moment.
    op.create_index(
        "uq_keyspace_scan_open", "keyspace_scan", ["cache_id"], unique=True, postgresql_where=sa.text(_OPEN)
    )
    op.create_table(
        "keyspace_checkpoint",
        sa.Column(
            "scan_id", sa.BigInteger, sa.ForeignKey("keyspace_scan.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("places", JSONB, nullable=False),
        sa.Column("size_every", sa.Integer, nullable=False),
        sa.Column("policy_version", sa.BigInteger, nullable=False),
        sa.Column("collected", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "keyspace_look",
        _cache(is_key=True),
        sa.Column("tried_at", _TIME, nullable=False),
        _text("problem"),
    )
    op.create_table(
        "policy_keyspace",
        _cache(is_key=True),
        sa.Column("snapshot_id", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("taken_at", _TIME, nullable=False),
        sa.Column("prefixes", JSONB, nullable=False),
    )
    # What zlib made is not compressed again.
    for table, column in (
        ("keyspace_snapshot", "found"),
        ("keyspace_snapshot", "prefixes"),
        ("keyspace_checkpoint", "collected"),
    ):
        op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STORAGE EXTERNAL")
    # Rewritten every few seconds while a scan runs.
    op.execute(
        "ALTER TABLE keyspace_scan SET (fillfactor = 50, autovacuum_vacuum_threshold = 50,"
        " autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)"
    )
    op.execute(
        "ALTER TABLE keyspace_checkpoint SET (autovacuum_vacuum_threshold = 50,"
        " autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0,"
        " toast.autovacuum_vacuum_threshold = 50, toast.autovacuum_vacuum_scale_factor = 0.01,"
        " toast.autovacuum_vacuum_cost_delay = 0)"
    )


def downgrade() -> None:
    """Remove what was found. The audit log keeps who scanned."""
    for table in (
        "policy_keyspace",
        "keyspace_look",
        "keyspace_checkpoint",
        "keyspace_scan",
        "keyspace_snapshot",
        "keyspace_limits",
    ):
        op.drop_table(table)
