"""The table of runs. A run's row and its job's row are locked in this order."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, Identity
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base


class LabRunRow(Base):
    """One run; its number is ``id``. ``result`` is ``Result.to_json`` of one that came to its end."""

    __tablename__ = "lab_run"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    scenario: Mapped[str]
    state: Mapped[str]
    actor: Mapped[str]
    asked_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    share: Mapped[float] = mapped_column(Double, server_default="0")
    words: Mapped[str] = mapped_column(server_default="")
    wish: Mapped[str] = mapped_column(server_default="")
    problem: Mapped[str] = mapped_column(server_default="")
    result: Mapped[dict[str, Any] | None] = mapped_column(JSONB(none_as_null=True))
    job_id: Mapped[int | None] = mapped_column(BigInteger)
    revision: Mapped[int] = mapped_column(BigInteger, server_default="0")
