"""The tables of the keyspace.

A scan's row and its job's row are locked in this order. What was found is packed as ``stored`` does.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base

_JSON = JSONB(none_as_null=True)


def _cache_id(*, is_key: bool = False) -> Mapped[int]:
    return mapped_column(ForeignKey("cache.id", ondelete="CASCADE"), primary_key=is_key)


def _id() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=True), primary_key=True)


def _revision() -> Mapped[int]:
    return mapped_column(BigInteger, server_default="0")


class KeyspaceLimitsRow(Base):
    """What an administrator set for a cache; no row: the defaults."""

    __tablename__ = "keyspace_limits"

    cache_id: Mapped[int] = _cache_id(is_key=True)
    keys_per_s: Mapped[int]
    slowest_probe_ms: Mapped[float] = mapped_column(Double)
    size_every: Mapped[int]
    prefers_replica: Mapped[bool]
    delimiters: Mapped[str]
    sample_every_s: Mapped[int]
    full_every_s: Mapped[int]
    revision: Mapped[int] = _revision()


class KeyspaceSnapshotRow(Base):
    """What one scan found: ``found`` is all of it; ``prefixes`` only keys and memory, for lines over time.

    ``keys`` and ``size_bytes`` are of the whole cache; ``size_error`` is half of the 95 % interval.
    """

    __tablename__ = "keyspace_snapshot"

    id: Mapped[int] = _id()
    cache_id: Mapped[int] = _cache_id()
    kind: Mapped[str]
    began_at: Mapped[datetime]
    ended_at: Mapped[datetime]
    looked_at: Mapped[int] = mapped_column(BigInteger)
    keyspace: Mapped[int] = mapped_column(BigInteger)
    keys: Mapped[float] = mapped_column(Double)
    size_bytes: Mapped[float | None] = mapped_column(Double)
    size_error: Mapped[float] = mapped_column(Double, server_default="0")
    found: Mapped[bytes]
    prefixes: Mapped[bytes]


class KeyspaceScanRow(Base):
    """One full scan; its number is ``id``. ``wish`` is what the holder of its job was asked."""

    __tablename__ = "keyspace_scan"

    id: Mapped[int] = _id()
    cache_id: Mapped[int] = _cache_id()
    state: Mapped[str]
    actor: Mapped[str]
    asked_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    progress: Mapped[dict[str, Any]] = mapped_column(_JSON)
    wish: Mapped[str] = mapped_column(server_default="")
    problem: Mapped[str] = mapped_column(server_default="")
    snapshot_id: Mapped[int | None] = mapped_column(ForeignKey("keyspace_snapshot.id", ondelete="SET NULL"))
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    revision: Mapped[int] = _revision()


class KeyspaceCheckpointRow(Base):
    """Where a scan goes on: cursors, and what had been collected at them. One row, so both are of one moment.

    ``policy_version`` was in force when the scan began, and ``size_every`` was its limit: it keeps to both.
    """

    __tablename__ = "keyspace_checkpoint"

    scan_id: Mapped[int] = mapped_column(ForeignKey("keyspace_scan.id", ondelete="CASCADE"), primary_key=True)
    places: Mapped[list[dict[str, Any]]] = mapped_column(_JSON)
    size_every: Mapped[int]
    policy_version: Mapped[int] = mapped_column(BigInteger)
    collected: Mapped[bytes]


class KeyspaceLookRow(Base):
    """When a sample was last tried by itself, and why that failed; empty: it did not."""

    __tablename__ = "keyspace_look"

    cache_id: Mapped[int] = _cache_id(is_key=True)
    tried_at: Mapped[datetime]
    problem: Mapped[str] = mapped_column(server_default="")
