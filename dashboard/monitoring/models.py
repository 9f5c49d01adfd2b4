"""The tables of the history.

``sample``, ``command_sample``, ``rollup_minute`` and ``rollup_hour`` are partitioned by time and have no foreign
key to ``cache``: removing a cache must not touch millions of rows. Ids are never used twice, every question
starts from the table of caches, and orphaned rows leave with their partitions. The small tables cascade.

Column order is by falling width, so that PostgreSQL pads nothing.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import REAL, BigInteger, ForeignKey, Identity, Integer, SmallInteger
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base

_JSON = JSONB(none_as_null=True)


def _cache_id() -> Mapped[int]:
    return mapped_column(ForeignKey("cache.id", ondelete="CASCADE"), primary_key=True)


def _big() -> Mapped[int | None]:
    return mapped_column(BigInteger)


def _int() -> Mapped[int | None]:
    return mapped_column(Integer)


def _real() -> Mapped[float | None]:
    return mapped_column(REAL)


class SampleRow(Base):
    """One reading of one node: counters so far, their growth (``d_``) since the reading before, and gauges.

    All nodes of a cache read in one poll share ``ts``, so that sums over nodes are exact.
    ``node_run_id`` says which node and which run of its process (run_id).
    """

    __tablename__ = "sample"
    __table_args__ = ({"postgresql_partition_by": "RANGE (ts)"},)

    ts: Mapped[datetime] = mapped_column(primary_key=True)
    keyspace_hits: Mapped[int | None] = _big()
    keyspace_misses: Mapped[int | None] = _big()
    total_commands_processed: Mapped[int | None] = _big()
    total_connections_received: Mapped[int | None] = _big()
    total_net_input_bytes: Mapped[int | None] = _big()
    total_net_output_bytes: Mapped[int | None] = _big()
    expired_keys: Mapped[int | None] = _big()
    evicted_keys: Mapped[int | None] = _big()
    rejected_connections: Mapped[int | None] = _big()
    total_error_replies: Mapped[int | None] = _big()
    used_cpu_usec: Mapped[int | None] = _big()
    d_keyspace_hits: Mapped[int | None] = _big()
    d_keyspace_misses: Mapped[int | None] = _big()
    d_total_commands_processed: Mapped[int | None] = _big()
    d_total_connections_received: Mapped[int | None] = _big()
    d_total_net_input_bytes: Mapped[int | None] = _big()
    d_total_net_output_bytes: Mapped[int | None] = _big()
    d_expired_keys: Mapped[int | None] = _big()
    d_evicted_keys: Mapped[int | None] = _big()
    d_rejected_connections: Mapped[int | None] = _big()
    d_total_error_replies: Mapped[int | None] = _big()
    d_errors_oom: Mapped[int | None] = _big()
    d_keys_calls: Mapped[int | None] = _big()
    d_used_cpu_usec: Mapped[int | None] = _big()
    used_memory: Mapped[int | None] = _big()
    used_memory_rss: Mapped[int | None] = _big()
    maxmemory: Mapped[int | None] = _big()
    keys: Mapped[int | None] = _big()
    expires: Mapped[int | None] = _big()
    cache_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    node_run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    uptime_in_seconds: Mapped[int | None] = _int()
    connected_clients: Mapped[int | None] = _int()
    blocked_clients: Mapped[int | None] = _int()
    self_hits: Mapped[int] = mapped_column(Integer)
    self_misses: Mapped[int] = mapped_column(Integer)
    dt_s: Mapped[float | None] = _real()
    round_trip_s: Mapped[float] = mapped_column(REAL)
    mem_fragmentation_ratio: Mapped[float | None] = _real()
    flags: Mapped[int] = mapped_column(SmallInteger)
    nodes_expected: Mapped[int] = mapped_column(SmallInteger)


class NodeRunRow(Base):
    """One run of one node's process; a restart or a failover makes a new one."""

    __tablename__ = "node_run"

    id: Mapped[int] = mapped_column(Integer, Identity(always=True), primary_key=True)
    cache_id: Mapped[int] = mapped_column(ForeignKey("cache.id", ondelete="CASCADE"))
    node: Mapped[str]
    run_id: Mapped[str]
    version: Mapped[str | None]
    role: Mapped[str | None]
    first_seen_at: Mapped[datetime]


class _Rollup:
    """All polls of one bucket, summed over nodes first: sums of growth, extremes and means of gauges.

    ``hits`` and ``misses`` are the applications' own; ``ratio_`` and ``_rate_`` extremes are those of single
    polls (of polls with enough lookups for the ratio). Gauges come from ``polls_complete`` only, those in which
    every node answered. ``late_s`` and ``late_reach_s``: see ``rollup``.
    """

    bucket: Mapped[datetime] = mapped_column(primary_key=True)
    hits: Mapped[int | None] = mapped_column(BigInteger)
    misses: Mapped[int | None] = mapped_column(BigInteger)
    commands: Mapped[int | None] = mapped_column(BigInteger)
    connections: Mapped[int | None] = mapped_column(BigInteger)
    net_input_bytes: Mapped[int | None] = mapped_column(BigInteger)
    net_output_bytes: Mapped[int | None] = mapped_column(BigInteger)
    expired: Mapped[int | None] = mapped_column(BigInteger)
    evicted: Mapped[int | None] = mapped_column(BigInteger)
    rejected: Mapped[int | None] = mapped_column(BigInteger)
    errors: Mapped[int | None] = mapped_column(BigInteger)
    errors_oom: Mapped[int | None] = mapped_column(BigInteger)
    keys_calls: Mapped[int | None] = mapped_column(BigInteger)
    cpu_usec: Mapped[int | None] = mapped_column(BigInteger)
    used_memory_last: Mapped[int | None] = mapped_column(BigInteger)
    maxmemory_last: Mapped[int | None] = mapped_column(BigInteger)
    keys_last: Mapped[int | None] = mapped_column(BigInteger)
    expires_last: Mapped[int | None] = mapped_column(BigInteger)
    cache_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    dt_s: Mapped[float | None] = mapped_column(REAL)
    late_s: Mapped[float | None] = mapped_column(REAL)
    late_reach_s: Mapped[float | None] = mapped_column(REAL)
    used_memory_min: Mapped[float | None] = mapped_column(REAL)
    used_memory_avg: Mapped[float | None] = mapped_column(REAL)
    used_memory_max: Mapped[float | None] = mapped_column(REAL)
    rss_max: Mapped[float | None] = mapped_column(REAL)
    fragmentation_max: Mapped[float | None] = mapped_column(REAL)
    clients_avg: Mapped[float | None] = mapped_column(REAL)
    clients_max: Mapped[float | None] = mapped_column(REAL)
    blocked_max: Mapped[float | None] = mapped_column(REAL)
    round_trip_avg: Mapped[float | None] = mapped_column(REAL)
    round_trip_max: Mapped[float | None] = mapped_column(REAL)
    ratio_min: Mapped[float | None] = mapped_column(REAL)
    ratio_max: Mapped[float | None] = mapped_column(REAL)
    commands_rate_min: Mapped[float | None] = mapped_column(REAL)
    commands_rate_max: Mapped[float | None] = mapped_column(REAL)
    misses_rate_max: Mapped[float | None] = mapped_column(REAL)
    evicted_rate_max: Mapped[float | None] = mapped_column(REAL)
    expired_rate_max: Mapped[float | None] = mapped_column(REAL)
    net_input_rate_max: Mapped[float | None] = mapped_column(REAL)
    net_output_rate_max: Mapped[float | None] = mapped_column(REAL)
    polls: Mapped[int] = mapped_column(SmallInteger)
    polls_complete: Mapped[int] = mapped_column(SmallInteger)
    flags: Mapped[int] = mapped_column(SmallInteger)


class RollupMinuteRow(_Rollup, Base):
    """One minute of one cache."""

    __tablename__ = "rollup_minute"
    __table_args__ = ({"postgresql_partition_by": "RANGE (bucket)"},)


class RollupHourRow(_Rollup, Base):
    """One hour of one cache, made from its minutes: how many had lookups, and how many missed the target of then."""

    __tablename__ = "rollup_hour"
    __table_args__ = ({"postgresql_partition_by": "RANGE (bucket)"},)

    minutes_known: Mapped[int] = mapped_column(SmallInteger)
    minutes_below: Mapped[int] = mapped_column(SmallInteger)


class CommandSampleRow(Base):
    """Growth of the command statistics in ten minutes, as ``sums.joined`` makes it."""

    __tablename__ = "command_sample"
    __table_args__ = ({"postgresql_partition_by": "RANGE (bucket)"},)

    bucket: Mapped[datetime] = mapped_column(primary_key=True)
    cache_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    commands: Mapped[dict[str, Any]] = mapped_column(_JSON)


class CacheEventRow(Base):
    """Something that happened to a cache, or ``count`` times within a short time.

    ``until`` is the end of an outage that has ended, and the last time of anything else that was repeated.
    """

    __tablename__ = "cache_event"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    cache_id: Mapped[int] = mapped_column(ForeignKey("cache.id", ondelete="CASCADE"))
    ts: Mapped[datetime]
    until: Mapped[datetime | None]
    count: Mapped[int]
    kind: Mapped[str]
    node: Mapped[str]
    details: Mapped[dict[str, Any]] = mapped_column(_JSON)


class PollStateRow(Base):
    """The poller's memory of one cache, and all that pages show without asking the cache itself.

    ``revision`` fences: a poller that worked from an older state can't store its outcome, so nothing is
    counted twice whoever believes to hold the lock. The JSON columns are bounded where they are written.
    """

    __tablename__ = "poll_state"

    cache_id: Mapped[int] = _cache_id()
    revision: Mapped[int] = mapped_column(BigInteger)
    poll_interval_s: Mapped[float] = mapped_column(REAL)
    last_attempt_at: Mapped[datetime | None]
    last_success_at: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    failures: Mapped[int]
    error_code: Mapped[str | None]
    error: Mapped[str | None]
    what_to_do: Mapped[str | None]
    round_trip_s: Mapped[float | None] = mapped_column(REAL)
    keys_last_at: Mapped[datetime | None]
    topology: Mapped[str | None]
    node_count: Mapped[int]
    version: Mapped[str | None]
    role: Mapped[str | None]
    used_memory: Mapped[int | None] = mapped_column(BigInteger)
    maxmemory: Mapped[int | None] = mapped_column(BigInteger)
    self_hits: Mapped[int]
    self_misses: Mapped[int]
    status_kind: Mapped[str | None]
    status_word: Mapped[str | None]
    verdict_since: Mapped[dict[str, Any]] = mapped_column(_JSON)
    missing: Mapped[list[Any]] = mapped_column(_JSON)
    settings: Mapped[dict[str, Any]] = mapped_column(_JSON)
    readings: Mapped[dict[str, Any]] = mapped_column(_JSON)
    clients: Mapped[dict[str, Any] | None] = mapped_column(_JSON)
    slow_log: Mapped[dict[str, Any] | None] = mapped_column(_JSON)
    commands_bucket: Mapped[datetime | None]
    commands: Mapped[dict[str, Any]] = mapped_column(_JSON)


class ProbeLookupsRow(Base):
    """What one connection of ours looked up so far, and how much of that was taken off the hit ratio.

    ``run_id`` is of the node's process: another one counts from zero. Gone once it is over and all of it was taken.
    """

    __tablename__ = "probe_lookups"

    cache_id: Mapped[int] = _cache_id()
    session: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str]
    run_id: Mapped[str]
    hits: Mapped[int] = mapped_column(BigInteger)
    misses: Mapped[int] = mapped_column(BigInteger)
    taken_hits: Mapped[int] = mapped_column(BigInteger)
    taken_misses: Mapped[int] = mapped_column(BigInteger)
    is_over: Mapped[bool]
    told_at: Mapped[datetime]


class WorkerStateRow(Base):
    """One row, ``poller``: who polls, its last sign of life, and how far the rollups reach."""

    __tablename__ = "worker_state"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    acquired_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    minutes_until: Mapped[datetime | None]
    hours_until: Mapped[datetime | None]
