"""SQL of caches. Rows go in and out with the URL still encrypted."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from dashboard.caches.models import CacheRow

# Updates go past the session's identity map, so rows are read anew each time.
_ANEW = {"populate_existing": True}


def list_caches(session: Session) -> Sequence[CacheRow]:
    """All caches by name."""
    query = select(CacheRow).order_by(func.lower(CacheRow.name))
    return session.scalars(query, execution_options=_ANEW).all()


def find_cache(session: Session, cache_id: int, *, lock: bool = False) -> CacheRow | None:
    """The cache, or None; locked, nobody else changes it until the transaction ends."""
    if not 0 < cache_id < 2**31:
        return None  # comes from a URL; PostgreSQL would refuse to compare it
    query = select(CacheRow).where(CacheRow.id == cache_id)
    if lock:
        query = query.with_for_update()
    return session.scalars(query, execution_options=_ANEW).one_or_none()


def hold_cache(session: Session, cache_id: int) -> bool:
    """Whether the cache is there; if so, nobody removes it until the transaction ends."""
    query = select(CacheRow.id).where(CacheRow.id == cache_id).with_for_update(read=True, key_share=True)
    return session.execute(query).one_or_none() is not None


def insert_cache(session: Session, values: dict[str, Any], now: datetime) -> int | None:
    """Add a cache; None when the name is taken, also by somebody who adds it at the same moment."""
    row = {**values, "revision": 1, "created_at": now, "updated_at": now}
    query = insert(CacheRow).values(row).on_conflict_do_nothing().returning(CacheRow.id)
    return session.execute(query).scalar_one_or_none()


def update_cache(session: Session, cache_id: int, values: dict[str, Any], now: datetime) -> bool:
    """Change a cache that is locked; False when the new name is taken."""
    query = (
        update(CacheRow)
        .where(CacheRow.id == cache_id)
        .values(**values, revision=CacheRow.revision + 1, updated_at=now)
    )
    try:
        with session.begin_nested():
            session.execute(query)
    except IntegrityError as error:
        if "uq_cache_name" in str(error.orig):
            return False
        raise
    return True


def delete_cache(session: Session, cache_id: int) -> bool:
    """Remove a cache; False when it is gone already."""
    found = session.execute(delete(CacheRow).where(CacheRow.id == cache_id).returning(CacheRow.id))
    return found.scalar_one_or_none() is not None
