"""Lookups of our own that are told by connection, so that a poll takes off just those that its counters hold.

Revision ID: 0012
Revises: 0011
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    key = sa.ForeignKey("cache.id", ondelete="CASCADE")
    op.create_table(
        "probe_lookups",
        sa.Column("cache_id", sa.Integer, key, primary_key=True),
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("hits", sa.BigInteger, nullable=False),
        sa.Column("misses", sa.BigInteger, nullable=False),
        sa.Column("taken_hits", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("taken_misses", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("is_over", sa.Boolean, nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=False),
    )
    # Rewritten every second while a scan runs.
    op.execute(
        "ALTER TABLE probe_lookups SET (fillfactor = 50, autovacuum_vacuum_threshold = 50,"
        " autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0)"
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("probe_lookups")
