"""The table of caches."""

from datetime import datetime

from sqlalchemy import Double, Identity
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base


class CacheRow(Base):
    """One cache. ``url`` is encrypted: it holds the password."""

    __tablename__ = "cache"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    url: Mapped[bytes]
    environment: Mapped[str]
    poll_interval_s: Mapped[int]
    read_only: Mapped[bool]
    hit_ratio_target: Mapped[float] = mapped_column(Double)
    revision: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
