"""Policies: mappings from rows to keys can be staged.

Revision ID: 0008
Revises: 0007
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_NAME = "ck_policy_edit_kind"


def upgrade() -> None:
    """Allow one more kind of edit."""
    op.drop_constraint(op.f(_NAME), "policy_edit")
    op.create_check_constraint(op.f(_NAME), "policy_edit", "kind IN ('tier', 'policy', 'default', 'mapping')")


def downgrade() -> None:
    """Throw staged mappings away; those of published versions are not looked at by earlier releases."""
    op.execute("DELETE FROM policy_edit WHERE kind = 'mapping'")
    op.drop_constraint(op.f(_NAME), "policy_edit")
    op.create_check_constraint(op.f(_NAME), "policy_edit", "kind IN ('tier', 'policy', 'default')")
