"""The tables of purges.

A purge's row and its job's row are locked in this order. What a purge is made of is JSON, as ``stored`` writes it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base

_JSON = JSONB(none_as_null=True)


def _cache_id() -> Mapped[int]:
    return mapped_column(ForeignKey("cache.id", ondelete="CASCADE"))


def _id() -> Mapped[int]:
    return mapped_column(BigInteger, Identity(always=True), primary_key=True)


def _revision() -> Mapped[int]:
    return mapped_column(BigInteger, server_default="0")


class PurgeLimitsRow(Base):
    """What an administrator set for a cache; no row: the defaults."""

    __tablename__ = "purge_limits"

    cache_id: Mapped[int] = mapped_column(ForeignKey("cache.id", ondelete="CASCADE"), primary_key=True)
    database_budget_qps: Mapped[float | None] = mapped_column(Double)
    typed_above: Mapped[int] = mapped_column(BigInteger)
    most_keys_per_s: Mapped[int]
    batch: Mapped[int]
    slowest_probe_ms: Mapped[float] = mapped_column(Double)
    at_a_time: Mapped[int]
    revision: Mapped[int] = _revision()


class PurgeScheduleRow(Base):
    """One schedule; ``next_at`` is None while it is paused."""

    __tablename__ = "purge_schedule"

    id: Mapped[int] = _id()
    cache_id: Mapped[int] = _cache_id()
    cron: Mapped[str]
    plan: Mapped[dict[str, Any]] = mapped_column(_JSON)
    preview: Mapped[dict[str, Any]] = mapped_column(_JSON)
    cap: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str]
    actor: Mapped[str]
    created_at: Mapped[datetime]
    next_at: Mapped[datetime | None]
    last_at: Mapped[datetime | None]
    last_note: Mapped[str] = mapped_column(server_default="")
    revision: Mapped[int] = _revision()


class PurgeRow(Base):
    """One purge; its number is ``id``.

    ``target`` says in words what it selects, for the history's filter. ``needs_count``: it was stopped because it would
    go beyond its approval. ``drafted_at``: when it was made, or last sent back to be counted again. ``job_id``: its
    open job, which may be another in each state; ``wish`` is what that one's holder was asked. Of
    a draft, ``counted`` keys of ``to_count`` were looked at; 0: not known.
    """

    __tablename__ = "purge"

    id: Mapped[int] = _id()
    cache_id: Mapped[int] = _cache_id()
    state: Mapped[str]
    plan: Mapped[dict[str, Any]] = mapped_column(_JSON)
    target: Mapped[str]
    preview: Mapped[dict[str, Any] | None] = mapped_column(_JSON)
    progress: Mapped[dict[str, Any]] = mapped_column(_JSON)
    cap: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reason: Mapped[str] = mapped_column(server_default="")
    problem: Mapped[str] = mapped_column(server_default="")
    needs_count: Mapped[bool] = mapped_column(server_default="false")
    actor: Mapped[str]
    source: Mapped[str]
    schedule_id: Mapped[int | None] = mapped_column(ForeignKey("purge_schedule.id", ondelete="SET NULL"))
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    wish: Mapped[str] = mapped_column(server_default="")
    counted: Mapped[int] = mapped_column(BigInteger, server_default="0")
    to_count: Mapped[int] = mapped_column(BigInteger, server_default="0")
    next_segment: Mapped[int] = mapped_column(BigInteger, server_default="0")
    created_at: Mapped[datetime]
    drafted_at: Mapped[datetime]
    approved_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    revision: Mapped[int] = _revision()


class _Chunk:
    """Some thousand keys or identifiers, packed as ``stored.pack`` does."""

    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    count: Mapped[int]
    keys: Mapped[bytes]


class PurgeInputRow(_Chunk, Base):
    """A part of the list that an exact selector came with; ``seq`` is the index of its first item."""

    __tablename__ = "purge_input"

    purge_id: Mapped[int] = mapped_column(ForeignKey("purge.id", ondelete="CASCADE"), primary_key=True)


class PurgeScheduleInputRow(_Chunk, Base):
    """The same of a schedule, to be copied to each purge it makes."""

    __tablename__ = "purge_schedule_input"

    purge_schedule_id: Mapped[int] = mapped_column(
        ForeignKey("purge_schedule.id", ondelete="CASCADE"), primary_key=True
    )


class PurgeSegmentRow(_Chunk, Base):
    """The journal: keys that were found and are acted on, or were. ``is_done`` ones are the report."""

    __tablename__ = "purge_segment"

    purge_id: Mapped[int] = mapped_column(ForeignKey("purge.id", ondelete="CASCADE"), primary_key=True)
    node: Mapped[str]
    is_done: Mapped[bool]
