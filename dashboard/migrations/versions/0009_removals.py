"""Counters: values that invalidations and writes removed.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = ("prefix_minute", "prefix_hour")


def upgrade() -> None:
    """Add the column; its default is kept in the catalogue, so no row is written."""
    for table in _TABLES:
        op.add_column(table, sa.Column("removals", sa.BigInteger, nullable=False, server_default="0"))


def downgrade() -> None:
    """Remove it; estimates of keys are as high as before then."""
    for table in _TABLES:
        op.drop_column(table, "removals")
