"""Caches: what is connected.

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "cache",
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("url", sa.LargeBinary, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("poll_interval_s", sa.Integer, nullable=False),
        sa.Column("read_only", sa.Boolean, nullable=False),
        sa.Column("hit_ratio_target", sa.Double, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False, server_default="1"),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME, nullable=False),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 64", name="name"),
        sa.CheckConstraint("environment IN ('development', 'production')", name="environment"),
        sa.CheckConstraint("poll_interval_s BETWEEN 5 AND 3600", name="poll_interval_s"),
        sa.CheckConstraint("hit_ratio_target > 0 AND hit_ratio_target < 1", name="hit_ratio_target"),
    )
    # Two caches that differ only by upper and lower case would be taken for each other.
    op.create_index("uq_cache_name", "cache", [sa.text("lower(name)")], unique=True)


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("cache")
