"""One-time links for signing in, and who closed the tour.

Revision ID: 0013
Revises: 0012
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def _user() -> sa.ForeignKey:
    return sa.ForeignKey("user_account.id", ondelete="CASCADE")


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "sign_in_link",
        sa.Column("token_hash", sa.LargeBinary, primary_key=True),
        sa.Column("user_id", sa.BigInteger, _user(), nullable=False),
        sa.Column("session_version", sa.Integer, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.CheckConstraint("length(token_hash) = 32", name="token_hash"),
    )
    op.create_index("ix_sign_in_link_user_id", "sign_in_link", ["user_id"])
    op.create_table(
        "tour",
        sa.Column("user_id", sa.BigInteger, _user(), primary_key=True, autoincrement=False),
        sa.Column("closed_at", _TIME, nullable=False),
    )


def downgrade() -> None:
    """Remove them; open links are worth nothing without their table."""
    op.drop_table("tour")
    op.drop_table("sign_in_link")
