"""Jobs: what one is about is its area's to keep; nothing was ever written down with the job itself.

Revision ID: 0015
Revises: 0014
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Remove the column, which is empty in every row."""
    op.drop_column("job", "spec")


def downgrade() -> None:
    """Bring it back, as empty as it was."""
    op.add_column("job", sa.Column("spec", JSONB, nullable=False, server_default="{}"))
    op.alter_column("job", "spec", server_default=None)
