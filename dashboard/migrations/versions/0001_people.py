"""People: accounts, the sign-in throttle and the append-only audit log.

Revision ID: 0001
Revises:
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "user_account",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("session_version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("is_disabled", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("last_seen_at", _TIME),
        sa.Column("password_changed_at", _TIME, nullable=False),
        sa.CheckConstraint("role IN ('viewer', 'operator', 'admin')", name="role"),
        sa.CheckConstraint("name ~ '^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$'", name="name"),
    )
    # Names are ASCII (the check above), so lower() means the same under every collation.
    op.create_index("uq_user_account_name", "user_account", [sa.text("lower(name)")], unique=True)

    op.create_table(
        "ended_session",
        sa.Column("session_id", sa.Text, primary_key=True),
        sa.Column("expires_at", _TIME, nullable=False),
    )
    op.create_table(
        "sign_in_throttle",
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("account_key", sa.LargeBinary),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.CheckConstraint("failures >= 0", name="failures"),
    )
    op.create_index("ix_sign_in_throttle_expires_at", "sign_in_throttle", ["expires_at"])

    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("actor_id", sa.BigInteger),
        sa.Column("actor_name", sa.Text, nullable=False),
        sa.Column("role", sa.Text),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("request_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("cache_name", sa.Text),
        sa.Column("before", JSONB),
        sa.Column("after", JSONB),
        sa.Column("reason", sa.Text, nullable=False, server_default=""),
        sa.Column("result", sa.Text, nullable=False),
        sa.CheckConstraint("result IN ('done', 'refused', 'failed')", name="result"),
    )
    op.create_index("ix_audit_entry_at", "audit_entry", ["at"])
    op.create_index("ix_audit_entry_actor_name_id", "audit_entry", ["actor_name", "id"])
    op.create_index(
        "ix_audit_entry_action_id",
        "audit_entry",
        ["action", "id"],
        postgresql_ops={"action": "text_pattern_ops"},
    )
    op.execute(
        """
        CREATE FUNCTION audit_entry_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'audit_entry is append-only: % is refused', TG_OP
                USING ERRCODE = 'insufficient_privilege';
        END $$
        """
    )
    # One for each statement, so that TRUNCATE and statements that match no row are refused as well;
    # ALWAYS, so that session_replication_role = 'replica' is no way around.
    op.execute(
        """
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entry
        FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_is_append_only()
        """
    )
    op.execute("ALTER TABLE audit_entry ENABLE ALWAYS TRIGGER append_only")


def downgrade() -> None:
    """Remove them, the audit log included."""
    op.drop_table("audit_entry")
    op.execute("DROP FUNCTION audit_entry_is_append_only()")
    op.drop_table("sign_in_throttle")
    op.drop_table("ended_session")
    op.drop_table("user_account")
