"""Purges: a segment says which keys, and where they lie; how far each node's scan is stands with the purge.

Revision ID: 0016
Revises: 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remove the columns, which nothing decides by."""
    op.drop_column("purge_segment", "run_id")
    op.drop_column("purge_segment", "cursor")


def downgrade() -> None:
    """Bring them back; what is under way then goes on by the purge's own places, as ever."""
    op.add_column("purge_segment", sa.Column("run_id", sa.Text, nullable=False, server_default=""))
    op.alter_column("purge_segment", "run_id", server_default=None)
    op.add_column("purge_segment", sa.Column("cursor", sa.Text))
