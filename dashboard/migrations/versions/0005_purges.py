"""Purges: what was asked for, how far it is, its journal; open jobs; limits and schedules.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_STATES = "'draft', 'previewed', 'waiting', 'running', 'paused', 'done', 'cancelled', 'failed'"


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True)


def _cache() -> sa.Column[int]:
    return sa.Column("cache_id", sa.Integer, sa.ForeignKey("cache.id", ondelete="CASCADE"), nullable=False)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def _revision() -> sa.Column[int]:
    return sa.Column("revision", sa.BigInteger, nullable=False, server_default="0")


def _chunk(owner: str) -> tuple[sa.Column[object], ...]:
    return (
        sa.Column(
            f"{owner}_id", sa.BigInteger, sa.ForeignKey(f"{owner}.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("seq", sa.BigInteger, primary_key=True),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("keys", sa.LargeBinary, nullable=False),
    )


def upgrade() -> None:
    """Make the tables; in this order, because a removed cache takes purges before jobs then, as the workers do."""
    op.create_table(
        "purge_limits",
        sa.Column("cache_id", sa.Integer, sa.ForeignKey("cache.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("database_budget_qps", sa.Double),
        sa.Column("typed_above", sa.BigInteger, nullable=False),
        sa.Column("most_keys_per_s", sa.Integer, nullable=False),
        sa.Column("batch", sa.Integer, nullable=False),
        sa.Column("slowest_probe_ms", sa.Double, nullable=False),
        sa.Column("at_a_time", sa.Integer, nullable=False),
        _revision(),
    )
    op.create_table(
        "purge_schedule",
        _id(),
        _cache(),
        sa.Column("cron", sa.Text, nullable=False),
        sa.Column("plan", JSONB, nullable=False),
        sa.Column("preview", JSONB, nullable=False),
        sa.Column("cap", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("next_at", _TIME),
        sa.Column("last_at", _TIME),
        _text("last_note"),
        _revision(),
    )
    op.create_index("ix_purge_schedule_next_at", "purge_schedule", ["next_at"])
    op.create_table(
        "purge",
        _id(),
        _cache(),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("plan", JSONB, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("preview", JSONB),
        sa.Column("progress", JSONB, nullable=False),
        sa.Column("cap", sa.BigInteger, nullable=False, server_default="0"),
        _text("reason"),
        _text("problem"),
        sa.Column("needs_count", sa.Boolean, nullable=False, server_default="false"),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("schedule_id", sa.BigInteger, sa.ForeignKey("purge_schedule.id", ondelete="SET NULL")),
        sa.Column("job_id", sa.BigInteger),
        _text("wish"),
        sa.Column("next_segment", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("drafted_at", _TIME, nullable=False),
        sa.Column("approved_at", _TIME),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        _revision(),
        sa.CheckConstraint(f"state IN ({_STATES})", name="state"),
    )
    op.create_index("ix_purge_cache_id_id", "purge", ["cache_id", "id"])
    op.create_index("ix_purge_schedule_id_id", "purge", ["schedule_id", "id"])
    op.create_index(
        "ix_purge_open",
        "purge",
        ["id"],
        postgresql_where=sa.text("state IN ('waiting', 'running', 'paused')"),
    )
    op.create_table("purge_input", *_chunk("purge"))
    op.create_table("purge_schedule_input", *_chunk("purge_schedule"))
    op.create_table(
        "purge_segment",
        *_chunk("purge"),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("is_done", sa.Boolean, nullable=False),
    )
    op.create_table(
        "job",
        _id(),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("cache_id", sa.Integer, sa.ForeignKey("cache.id", ondelete="CASCADE")),
        sa.Column("subject", sa.BigInteger, nullable=False),
        _text("lane"),
        sa.Column("lane_width", sa.Integer, nullable=False, server_default="1"),
        sa.Column("spec", JSONB, nullable=False),
        sa.Column("not_before", _TIME, nullable=False),
        _text("holder"),
        sa.Column("lease_until", _TIME),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
        _text("wish"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.CheckConstraint("wish IN ('', 'pause', 'cancel')", name="wish"),
    )
    # Rewritten every few seconds, some times a second: vacuum them early, or few rows sit on thousands of dead ones.
    for table in ("job", "purge", "purge_segment"):
        op.execute(
            f"ALTER TABLE {table} SET (fillfactor = 50, autovacuum_vacuum_threshold = 50,"
            " autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)"
        )


def downgrade() -> None:
    """Remove the purges with their history, schedules and limits. The audit log keeps what was done."""
    for table in (
        "job",
        "purge_segment",
        "purge_schedule_input",
        "purge_input",
        "purge",
        "purge_schedule",
        "purge_limits",
    ):
        op.drop_table(table)
