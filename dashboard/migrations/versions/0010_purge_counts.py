"""Purges: how far a count is; the journal's keys are packed already, and its values are vacuumed as its rows are.

Revision ID: 0010
Revises: 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_COLUMNS = ("counted", "to_count")


def upgrade() -> None:
    """Add the columns, whose defaults are kept in the catalogue; the settings are for what is written from now on."""
    for column in _COLUMNS:
        op.add_column("purge", sa.Column(column, sa.BigInteger, nullable=False, server_default="0"))
    # What zlib made is not compressed again.
    op.execute("ALTER TABLE purge_segment ALTER COLUMN keys SET STORAGE EXTERNAL")
    op.execute(
        "ALTER TABLE purge_segment SET (toast.autovacuum_vacuum_threshold = 50,"
        " toast.autovacuum_vacuum_scale_factor = 0.01, toast.autovacuum_vacuum_cost_delay = 0)"
    )


def downgrade() -> None:
    """Take all of it back."""
    op.execute(
        "ALTER TABLE purge_segment RESET (toast.autovacuum_vacuum_threshold,"
        " toast.autovacuum_vacuum_scale_factor, toast.autovacuum_vacuum_cost_delay)"
    )
    op.execute("ALTER TABLE purge_segment ALTER COLUMN keys SET STORAGE EXTENDED")
    for column in _COLUMNS:
        op.drop_column("purge", column)
