"""Runs of the scenario lab.

Revision ID: 0014
Revises: 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_OPEN = "state IN ('waiting', 'running')"
_STATES = "state IN ('waiting', 'running', 'passed', 'failed', 'void', 'cancelled')"


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default="")


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "lab_run",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("scenario", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("started_at", _TIME),
        sa.Column("ended_at", _TIME),
        sa.Column("share", sa.Double, nullable=False, server_default="0"),
        _text("words"),
        _text("wish"),
        _text("problem"),
        sa.Column("result", JSONB),
        sa.Column("job_id", sa.BigInteger),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint(_STATES, name="state"),
    )
    op.create_index("ix_lab_run_scenario_id", "lab_run", ["scenario", "id"])
    # One at a time of each scenario, whoever asks at the same moment.
    op.create_index("uq_lab_run_open", "lab_run", ["scenario"], unique=True, postgresql_where=sa.text(_OPEN))


def downgrade() -> None:
    """Remove the runs. The audit log keeps who asked for them."""
    op.drop_table("lab_run")
