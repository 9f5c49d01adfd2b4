"""Policies: which version changed what is looked up by item.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Move the lists of changed items into a table of their own; a bypass is no change of its policy."""
    op.create_table(
        "policy_change",
        sa.Column(
            "cache_id",
            sa.Integer,
            # Not to the version: removing a cache would look for the changes of each of its versions.
            sa.ForeignKey("cache.id", ondelete="CASCADE"),
            primary_key=True,
            nullable=False,
        ),
        sa.Column("item", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, primary_key=True),
    )
    op.execute(
        "INSERT INTO policy_change (cache_id, item, version) SELECT DISTINCT cache_id,"
        " CASE WHEN kind IN ('bypass', 'end-bypass') THEN 'bypass:' || substr(item, strpos(item, ':') + 1)"
        " ELSE item END, version FROM policy_version, jsonb_array_elements_text(changed) AS item"
    )
    op.drop_column("policy_version", "changed")


def downgrade() -> None:
    """Put the lists back."""
    op.add_column("policy_version", sa.Column("changed", JSONB, nullable=False, server_default="[]"))
    op.execute(
        "UPDATE policy_version SET changed = found.items FROM (SELECT cache_id, version, jsonb_agg("
        " CASE WHEN item = 'bypass:' THEN 'default:' WHEN item LIKE 'bypass:%'"
        " THEN 'policy:' || substr(item, 8) ELSE item END ORDER BY item) AS items"
        " FROM policy_change GROUP BY cache_id, version) AS found"
        " WHERE found.cache_id = policy_version.cache_id AND found.version = policy_version.version"
    )
    op.alter_column("policy_version", "changed", server_default=None)
    op.drop_table("policy_change")
