"""SQL of the overview area."""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dashboard.overview.models import TourRow


def has_closed_tour(session: Session, user_id: int) -> bool:
    """Whether an account wants no tour any more."""
    return session.scalars(select(TourRow.user_id).where(TourRow.user_id == user_id)).first() is not None


def close_tour(session: Session, user_id: int, now: datetime) -> None:
    """Remember that an account closed the tour; once is enough."""
    session.execute(insert(TourRow).values(user_id=user_id, closed_at=now).on_conflict_do_nothing())
