"""API tokens.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "api_token",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column(
            "user_id", sa.BigInteger, sa.ForeignKey("user_account.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("token_hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("start", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("last_used_at", _TIME),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
        sa.CheckConstraint("length(token_hash) = 32", name="token_hash"),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$'", name="name"),
    )
    op.create_index("uq_api_token_name", "api_token", ["user_id", sa.text("lower(name)")], unique=True)


def downgrade() -> None:
    """Remove it; tokens are worth nothing without it."""
    op.drop_table("api_token")
