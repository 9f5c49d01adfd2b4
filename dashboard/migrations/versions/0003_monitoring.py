"""History: samples, rollups, events and the poller's state.

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)

_COUNTERS = (
    "keyspace_hits",
    "keyspace_misses",
    "total_commands_processed",
    "total_connections_received",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "expired_keys",
    "evicted_keys",
    "rejected_connections",
    "total_error_replies",
    "errors_oom",
    "keys_calls",
    "used_cpu_usec",
)

# From the command and error statistics; only their growth is kept.
_GROWTH_ONLY = ("errors_oom", "keys_calls")

_SUMS = (
    "hits",
    "misses",
    "commands",
    "connections",
    "net_input_bytes",
    "net_output_bytes",
    "expired",
    "evicted",
    "rejected",
    "errors",
    "errors_oom",
    "keys_calls",
    "cpu_usec",
    "used_memory_last",
    "maxmemory_last",
    "keys_last",
    "expires_last",
)

_EXTREMES = (
    "used_memory_min",
    "used_memory_avg",
    "used_memory_max",
    "rss_max",
    "fragmentation_max",
    "clients_avg",
    "clients_max",
    "blocked_max",
    "round_trip_avg",
    "round_trip_max",
    "ratio_min",
    "ratio_max",
    "commands_rate_min",
    "commands_rate_max",
    "misses_rate_max",
    "evicted_rate_max",
    "expired_rate_max",
    "net_input_rate_max",
    "net_output_rate_max",
)


def _cache_reference(*, primary_key: bool = False) -> sa.Column[int]:
    return sa.Column(
        "cache_id",
        sa.Integer,
        sa.ForeignKey("cache.id", ondelete="CASCADE"),
        primary_key=primary_key,
        nullable=False,
    )


def _rollup(name: str, *more: sa.Column[int]) -> None:
    op.create_table(
        name,
        # Columns by falling width: nothing is padded.
        sa.Column("bucket", _TIME, nullable=False),
        *(sa.Column(column, sa.BigInteger) for column in _SUMS),
        sa.Column("cache_id", sa.Integer, nullable=False),
        sa.Column("dt_s", sa.REAL),
        sa.Column("late_s", sa.REAL),
        sa.Column("late_reach_s", sa.REAL),
        *(sa.Column(column, sa.REAL) for column in _EXTREMES),
        sa.Column("polls", sa.SmallInteger, nullable=False),
        sa.Column("polls_complete", sa.SmallInteger, nullable=False),
        sa.Column("flags", sa.SmallInteger, nullable=False),
        *more,
        sa.PrimaryKeyConstraint("cache_id", "bucket"),
        postgresql_partition_by="RANGE (bucket)",
    )


def upgrade() -> None:
    """Make the tables; the worker makes the partitions."""
    op.create_table(
        "sample",
        sa.Column("ts", _TIME, nullable=False),
        *(sa.Column(column, sa.BigInteger) for column in _COUNTERS if column not in _GROWTH_ONLY),
        *(sa.Column(f"d_{column}", sa.BigInteger) for column in _COUNTERS),
        sa.Column("used_memory", sa.BigInteger),
        sa.Column("used_memory_rss", sa.BigInteger),
        sa.Column("maxmemory", sa.BigInteger),
        sa.Column("keys", sa.BigInteger),
        sa.Column("expires", sa.BigInteger),
        sa.Column("cache_id", sa.Integer, nullable=False),
        sa.Column("node_run_id", sa.Integer, nullable=False),
        sa.Column("uptime_in_seconds", sa.Integer),
        sa.Column("connected_clients", sa.Integer),
        sa.Column("blocked_clients", sa.Integer),
        sa.Column("self_hits", sa.Integer, nullable=False),
        sa.Column("self_misses", sa.Integer, nullable=False),
        sa.Column("dt_s", sa.REAL),
        sa.Column("round_trip_s", sa.REAL, nullable=False),
        sa.Column("mem_fragmentation_ratio", sa.REAL),
        sa.Column("flags", sa.SmallInteger, nullable=False),
        sa.Column("nodes_expected", sa.SmallInteger, nullable=False),
        sa.PrimaryKeyConstraint("cache_id", "ts", "node_run_id"),
        postgresql_partition_by="RANGE (ts)",
    )
    _rollup("rollup_minute")
    _rollup(
        "rollup_hour",
        sa.Column("minutes_known", sa.SmallInteger, nullable=False),
        sa.Column("minutes_below", sa.SmallInteger, nullable=False),
    )
    op.create_table(
        "command_sample",
        sa.Column("bucket", _TIME, nullable=False),
        sa.Column("cache_id", sa.Integer, nullable=False),
        sa.Column("commands", JSONB, nullable=False),
        sa.PrimaryKeyConstraint("cache_id", "bucket"),
        postgresql_partition_by="RANGE (bucket)",
    )
    op.create_table(
        "node_run",
        sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True),
        _cache_reference(),
        sa.Column("node", sa.Text, nullable=False),
        sa.Column("run_id", sa.Text, nullable=False),
        sa.Column("version", sa.Text),
        sa.Column("role", sa.Text),
        sa.Column("first_seen_at", _TIME, nullable=False),
        sa.UniqueConstraint("cache_id", "node", "run_id"),
    )
    op.create_table(
        "cache_event",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        _cache_reference(),
        sa.Column("ts", _TIME, nullable=False),
        sa.Column("until", _TIME),
        sa.Column("count", sa.Integer, nullable=False, server_default="1"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("node", sa.Text, nullable=False, server_default=""),
        sa.Column("details", JSONB, nullable=False, server_default="{}"),
    )
    op.create_index("ix_cache_event_cache_id_ts", "cache_event", ["cache_id", "ts"])
    op.create_index("ix_cache_event_cache_id_kind_ts", "cache_event", ["cache_id", "kind", "ts"])
    op.create_index("ix_cache_event_ts", "cache_event", ["ts"])
    # At most one open outage of a cache, whatever races.
    op.create_index(
        "uq_cache_event_open_outage",
        "cache_event",
        ["cache_id"],
        unique=True,
        postgresql_where=sa.text("kind = 'down' AND until IS NULL"),
    )
    op.create_table(
        "poll_state",
        _cache_reference(primary_key=True),
        sa.Column("revision", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("poll_interval_s", sa.REAL, nullable=False),
        sa.Column("last_attempt_at", _TIME),
        sa.Column("last_success_at", _TIME),
        sa.Column("failing_since", _TIME),
        sa.Column("failures", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error_code", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("what_to_do", sa.Text),
        sa.Column("round_trip_s", sa.REAL),
        sa.Column("keys_last_at", _TIME),
        sa.Column("topology", sa.Text),
        sa.Column("node_count", sa.Integer, nullable=False, server_default="1"),
        sa.Column("version", sa.Text),
        sa.Column("role", sa.Text),
        sa.Column("used_memory", sa.BigInteger),
        sa.Column("maxmemory", sa.BigInteger),
        sa.Column("self_hits", sa.Integer, nullable=False, server_default="0"),
        sa.Column("self_misses", sa.Integer, nullable=False, server_default="0"),
        sa.Column("status_kind", sa.Text),
        sa.Column("status_word", sa.Text),
        sa.Column("verdict_since", JSONB, nullable=False, server_default="{}"),
        sa.Column("missing", JSONB, nullable=False, server_default="[]"),
        sa.Column("settings", JSONB, nullable=False, server_default="{}"),
        sa.Column("readings", JSONB, nullable=False, server_default="{}"),
        sa.Column("clients", JSONB),
        sa.Column("slow_log", JSONB),
        sa.Column("commands_bucket", _TIME),
        sa.Column("commands", JSONB, nullable=False, server_default="{}"),
    )
    # Rewritten at every poll: vacuum it early, or the few rows would sit on thousands of dead ones.
    op.execute(
        "ALTER TABLE poll_state SET (fillfactor = 50, autovacuum_vacuum_threshold = 50,"
        " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 0)"
    )
    op.create_table(
        "worker_state",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("acquired_at", _TIME, nullable=False),
        sa.Column("beat_at", _TIME, nullable=False),
        sa.Column("minutes_until", _TIME),
        sa.Column("hours_until", _TIME),
    )


def downgrade() -> None:
    """Remove the history with all its partitions."""
    for table in (
        "worker_state",
        "poll_state",
        "cache_event",
        "node_run",
        "command_sample",
        "rollup_hour",
        "rollup_minute",
        "sample",
    ):
        op.drop_table(table)
