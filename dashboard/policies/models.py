"""The tables of policies.

``prefix_minute`` and ``prefix_hour`` are partitioned by time and have no foreign key to ``cache``, for the reasons
given in ``monitoring.models``. Both are added to whenever the counters are read: growth only adds up, so a coarser
level needs no job that makes it from the finer one, and the last minute is there at once.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Integer
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base

_JSON = JSONB(none_as_null=True)


def _cache_id() -> Mapped[int]:
    return mapped_column(ForeignKey("cache.id", ondelete="CASCADE"), primary_key=True)


def _count() -> Mapped[int]:
    return mapped_column(BigInteger, server_default="0")


class PolicySetRow(Base):
    """One row per cache whose policies were touched; whoever changes them locks it."""

    __tablename__ = "policy_set"

    cache_id: Mapped[int] = _cache_id()
    version: Mapped[int] = mapped_column(BigInteger, server_default="0")
    draft_revision: Mapped[int] = mapped_column(BigInteger, server_default="0")


class PolicyVersionRow(Base):
    """One published version; never changed."""

    __tablename__ = "policy_version"

    cache_id: Mapped[int] = _cache_id()
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    published_at: Mapped[datetime]
    actor: Mapped[str]
    reason: Mapped[str]
    kind: Mapped[str]
    reverts_to: Mapped[int | None] = mapped_column(BigInteger)
    summary: Mapped[str]
    document: Mapped[dict[str, Any]] = mapped_column(_JSON)


class PolicyChangeRow(Base):
    """An item that a version changed: "kind:name", or "bypass:prefix" where it only began or ended a bypass."""

    __tablename__ = "policy_change"

    cache_id: Mapped[int] = _cache_id()
    item: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)


class PolicyEditRow(Base):
    """One staged item: what it shall be (None: removed), and what was published when it was staged."""

    __tablename__ = "policy_edit"

    cache_id: Mapped[int] = _cache_id()
    kind: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[dict[str, Any] | None] = mapped_column(_JSON)
    base: Mapped[dict[str, Any] | None] = mapped_column(_JSON)
    actor: Mapped[str]
    staged_at: Mapped[datetime]
    revision: Mapped[int] = mapped_column(BigInteger)


class PolicyPublicationRow(Base):
    """What the worker last found in Redis where the document belongs; ``state`` is one of ``propagation.State``."""

    __tablename__ = "policy_publication"

    cache_id: Mapped[int] = _cache_id()
    state: Mapped[str]
    found_version: Mapped[int | None] = mapped_column(BigInteger)
    checked_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(server_default="")
    what_to_do: Mapped[str] = mapped_column(server_default="")
    instances_note: Mapped[str] = mapped_column(server_default="")
    republished_at: Mapped[datetime | None]
    republish_reason: Mapped[str] = mapped_column(server_default="")


class PolicyInstanceRow(Base):
    """One application instance. ``seen_at`` is its own clock; ``heard_at`` is when we last saw that one move."""

    __tablename__ = "policy_instance"

    cache_id: Mapped[int] = _cache_id()
    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    program: Mapped[str]
    library: Mapped[str]
    pid: Mapped[int] = mapped_column(BigInteger)
    policy_version: Mapped[int | None] = mapped_column(BigInteger)
    applied_at: Mapped[datetime | None]
    refused_version: Mapped[int | None] = mapped_column(BigInteger)
    refusal: Mapped[str] = mapped_column(server_default="")
    seen_at: Mapped[float] = mapped_column(Double)
    first_heard_at: Mapped[datetime]
    heard_at: Mapped[datetime]


class PolicyKeyspaceRow(Base):
    """What the last scan of the keyspace found of each policy's keys, by prefix; see ``keyspace.scanned``."""

    __tablename__ = "policy_keyspace"

    cache_id: Mapped[int] = _cache_id()
    snapshot_id: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    taken_at: Mapped[datetime]
    prefixes: Mapped[dict[str, Any]] = mapped_column(_JSON)


class PrefixStateRow(Base):
    """The counters as they were last read, so that growth is stored once and only once."""

    __tablename__ = "prefix_state"

    cache_id: Mapped[int] = _cache_id()
    counted_at: Mapped[datetime]
    counts: Mapped[dict[str, Any]] = mapped_column(_JSON)


class _PrefixCounts:
    """Growth of ``caching.wire.COUNTERS`` of one prefix within a bucket; only prefixes that were active."""

    bucket: Mapped[datetime] = mapped_column(primary_key=True)
    hits: Mapped[int] = _count()
    misses: Mapped[int] = _count()
    loads: Mapped[int] = _count()
    load_us: Mapped[int] = _count()
    load_errors: Mapped[int] = _count()
    waits: Mapped[int] = _count()
    wait_timeouts: Mapped[int] = _count()
    rejected_fills: Mapped[int] = _count()
    overrun_leases: Mapped[int] = _count()
    not_stored: Mapped[int] = _count()
    stale_served: Mapped[int] = _count()
    refreshes: Mapped[int] = _count()
    bypasses: Mapped[int] = _count()
    errors: Mapped[int] = _count()
    writes: Mapped[int] = _count()
    invalidations: Mapped[int] = _count()
    invalidation_errors: Mapped[int] = _count()
    own_hits: Mapped[int] = _count()
    own_misses: Mapped[int] = _count()
    removals: Mapped[int] = _count()
    cache_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    prefix: Mapped[str] = mapped_column(primary_key=True)


class PrefixMinuteRow(_PrefixCounts, Base):
    """One minute of one prefix of one cache."""

    __tablename__ = "prefix_minute"
    __table_args__ = ({"postgresql_partition_by": "RANGE (bucket)"},)


class PrefixHourRow(_PrefixCounts, Base):
    """One hour of one prefix of one cache."""

    __tablename__ = "prefix_hour"
    __table_args__ = ({"postgresql_partition_by": "RANGE (bucket)"},)
