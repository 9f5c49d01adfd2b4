"""Policies: versions, staged edits, what Redis and the applications follow, counters per prefix.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)

_COUNTERS = (
    "hits",
    "misses",
    "loads",
    "load_us",
    "load_errors",
    "waits",
    "wait_timeouts",
    "rejected_fills",
    "overrun_leases",
    "not_stored",
    "stale_served",
    "refreshes",
    "bypasses",
    "errors",
    "writes",
    "invalidations",
    "invalidation_errors",
    "own_hits",
    "own_misses",
)


def _cache_reference(*, primary_key: bool = True) -> sa.Column[int]:
    return sa.Column(
        "cache_id",
        sa.Integer,
        sa.ForeignKey("cache.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def _counters(name: str) -> None:
    op.create_table(
        name,
        sa.Column("bucket", _TIME, nullable=False),
        *(sa.Column(column, sa.BigInteger, nullable=False, server_default="0") for column in _COUNTERS),
        sa.Column("cache_id", sa.Integer, nullable=False),
        sa.Column("prefix", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("cache_id", "bucket", "prefix"),
        postgresql_partition_by="RANGE (bucket)",
    )


def upgrade() -> None:
    """Make the tables; the worker makes the partitions."""
    op.create_table(
        "policy_set",
        _cache_reference(),
        sa.Column("version", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("draft_revision", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table(
        "policy_version",
        _cache_reference(),
        sa.Column("version", sa.BigInteger, primary_key=True),
        sa.Column("published_at", _TIME, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("reverts_to", sa.BigInteger),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("changed", JSONB, nullable=False),
        sa.Column("document", JSONB, nullable=False),
        sa.CheckConstraint("version > 0", name="version"),
        sa.CheckConstraint("kind IN ('publish', 'revert', 'apply', 'bypass', 'end-bypass')", name="kind"),
    )
    op.create_table(
        "policy_edit",
        _cache_reference(),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", JSONB),
        sa.Column("base", JSONB),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("staged_at", _TIME, nullable=False),
        sa.Column("revision", sa.BigInteger, nullable=False),
        sa.CheckConstraint("kind IN ('tier', 'policy', 'default')", name="kind"),
    )
    op.create_table(
        "policy_publication",
        _cache_reference(),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("found_version", sa.BigInteger),
        sa.Column("checked_at", _TIME),
        sa.Column("error", sa.Text, nullable=False, server_default=""),
        sa.Column("what_to_do", sa.Text, nullable=False, server_default=""),
        sa.Column("instances_note", sa.Text, nullable=False, server_default=""),
        sa.Column("republished_at", _TIME),
        sa.Column("republish_reason", sa.Text, nullable=False, server_default=""),
    )
    op.create_table(
        "policy_instance",
        _cache_reference(),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("program", sa.Text, nullable=False),
        sa.Column("library", sa.Text, nullable=False),
        sa.Column("pid", sa.BigInteger, nullable=False),
        sa.Column("policy_version", sa.BigInteger),
        sa.Column("applied_at", _TIME),
        sa.Column("refused_version", sa.BigInteger),
        sa.Column("refusal", sa.Text, nullable=False, server_default=""),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("first_heard_at", _TIME, nullable=False),
        sa.Column("heard_at", _TIME, nullable=False),
    )
    op.create_table(
        "prefix_state",
        _cache_reference(),
        sa.Column("counted_at", _TIME, nullable=False),
        sa.Column("counts", JSONB, nullable=False),
    )
    # Rewritten every few seconds: vacuum them early, or the few rows would sit on thousands of dead ones.
    for table in ("policy_publication", "policy_instance", "prefix_state"):
        op.execute(
            f"ALTER TABLE {table} SET (fillfactor = 50, autovacuum_vacuum_threshold = 50,"
            " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0)"
        )
    _counters("prefix_minute")
    _counters("prefix_hour")


def downgrade() -> None:
    """Remove the policies with all their versions, and the counters with all their partitions."""
    for table in (
        "prefix_hour",
        "prefix_minute",
        "prefix_state",
        "policy_instance",
        "policy_publication",
        "policy_edit",
        "policy_version",
        "policy_set",
    ):
        op.drop_table(table)
