"""The table of open jobs. A job that is over has no row: what came of it is its area's to keep."""

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity
from sqlalchemy.orm import Mapped, mapped_column

from dashboard.db.base import Base


class JobRow(Base):
    """One open job.

    ``attempt`` rises with each claim; whoever writes for the job names the attempt it claimed, and finds no row once
    somebody else took over. Times are PostgreSQL's: the clocks of the workers play no part.
    """

    __tablename__ = "job"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    kind: Mapped[str]
    cache_id: Mapped[int | None] = mapped_column(ForeignKey("cache.id", ondelete="CASCADE"))
    subject: Mapped[int] = mapped_column(BigInteger)
    lane: Mapped[str] = mapped_column(server_default="")
    lane_width: Mapped[int] = mapped_column(server_default="1")
    not_before: Mapped[datetime]
    holder: Mapped[str] = mapped_column(server_default="")
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    wish: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime]
