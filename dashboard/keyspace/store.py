"""SQL of the keyspace: scans, checkpoints, snapshots, limits, looks."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, delete, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import Session

from dashboard.keyspace.models import (
    KeyspaceCheckpointRow,
    KeyspaceLimitsRow,
    KeyspaceLookRow,
    KeyspaceScanRow,
    KeyspaceSnapshotRow,
)
from dashboard.keyspace.types import Estimate, Kind, Scan, ScanLimits, ScanProgress, SnapshotMark, State

__all__ = ["Session"]

_ANEW: Final = {"populate_existing": True}
_LARGEST: Final = 2**63
_FAST: Final = 1  # zlib's level; a checkpoint is written every few seconds
_MARK: Final = (
    KeyspaceSnapshotRow.id,
    KeyspaceSnapshotRow.cache_id,
    KeyspaceSnapshotRow.kind,
    KeyspaceSnapshotRow.began_at,
    KeyspaceSnapshotRow.ended_at,
    KeyspaceSnapshotRow.looked_at,
    KeyspaceSnapshotRow.keyspace,
    KeyspaceSnapshotRow.keys,
    KeyspaceSnapshotRow.size_bytes,
    KeyspaceSnapshotRow.size_error,
)


# --- snapshots ---------------------------------------------------------------------------------------------------


def insert_snapshot(session: Session, mark: SnapshotMark, found: bytes, prefixes: bytes) -> int:
    """Store what was found; its id.

    Args:
        mark: its id is not used.
        found, prefixes: as ``stored`` packs them.
    """
    row = {
        "cache_id": mark.cache_id,
        "kind": mark.kind.value,
        "began_at": mark.began_at,
        "ended_at": mark.ended_at,
        "looked_at": mark.looked_at,
        "keyspace": mark.keyspace,
        "keys": mark.keys,
        "size_bytes": None if mark.size is None else mark.size.value,
        "size_error": 0.0 if mark.size is None else mark.size.error,
        "found": found,
        "prefixes": prefixes,
    }
    query = insert(KeyspaceSnapshotRow).values(row).returning(KeyspaceSnapshotRow.id)
    return session.execute(query).scalar_one()


def find_snapshot(session: Session, snapshot_id: int) -> tuple[int, int, bytes] | None:
    """Id, cache and content of a snapshot, or None."""
    if not 0 < snapshot_id < _LARGEST:
        return None  # comes from a URL; PostgreSQL would refuse to compare it
    row = KeyspaceSnapshotRow
    found = session.execute(
        select(row.id, row.cache_id, row.found).where(row.id == snapshot_id)
    ).one_or_none()
    return None if found is None else (found.id, found.cache_id, found.found)


def find_latest(session: Session, cache_id: int, kind: Kind | None) -> tuple[int, int, bytes] | None:
    """The same of the newest of a cache."""
    row = KeyspaceSnapshotRow
    query = select(row.id, row.cache_id, row.found).where(row.cache_id == cache_id)
    if kind is not None:
        query = query.where(row.kind == kind.value)
    found = session.execute(query.order_by(row.id.desc()).limit(1)).one_or_none()
    return None if found is None else (found.id, found.cache_id, found.found)


def list_marks(
    session: Session,
    cache_id: int,
    *,
    kind: Kind | None = None,
    since: datetime | None = None,
    limit: int,
) -> list[SnapshotMark]:
    """Snapshots of a cache without their content, newest first."""
    row = KeyspaceSnapshotRow
    query = select(*_MARK).where(row.cache_id == cache_id)
    if kind is not None:
        query = query.where(row.kind == kind.value)
    if since is not None:
        query = query.where(row.ended_at >= since)
    return [_mark(each) for each in session.execute(query.order_by(row.id.desc()).limit(limit))]


def find_oldest(session: Session, cache_id: int, first: datetime, last: datetime) -> int | None:
    """Id of the oldest snapshot of a cache between two moments."""
    row = KeyspaceSnapshotRow
    query = select(row.id).where(row.cache_id == cache_id, row.ended_at >= first, row.ended_at <= last)
    return session.scalar(query.order_by(row.ended_at, row.id).limit(1))


def find_newest(session: Session, cache_id: int, first: datetime, last: datetime) -> int | None:
    """The same of the newest."""
    row = KeyspaceSnapshotRow
    query = select(row.id).where(row.cache_id == cache_id, row.ended_at >= first, row.ended_at <= last)
    return session.scalar(query.order_by(row.ended_at.desc(), row.id.desc()).limit(1))


def list_times(
    session: Session, cache_id: int, since: datetime, kind: Kind | None = None
) -> list[tuple[int, datetime]]:
    """Ids of all snapshots of a cache since then (of one kind, or of both), and when they were taken; newest first."""
    row = KeyspaceSnapshotRow
    query = select(row.id, row.ended_at).where(row.cache_id == cache_id, row.ended_at >= since)
    if kind is not None:
        query = query.where(row.kind == kind.value)
    query = query.order_by(row.ended_at.desc(), row.id.desc())
    return [(each.id, each.ended_at) for each in session.execute(query)]


def list_prefixes(session: Session, ids: Sequence[int]) -> list[tuple[datetime, bytes]]:
    """When these snapshots were taken, and keys and memory of their prefixes; oldest first."""
    row = KeyspaceSnapshotRow
    query = select(row.ended_at, row.prefixes).where(row.id.in_(list(ids))).order_by(row.id)
    return [(each.ended_at, each.prefixes) for each in session.execute(query)]


def thin_snapshots(session: Session, whole_since: datetime, kept_since: datetime) -> None:
    """Remove snapshots that are no longer wanted; the newest of each cache and kind stays however old it is.

    Args:
        whole_since: all of later ones stay.
        kept_since: of those before ``whole_since`` the last of each day (UTC) and kind stays, back to here.
    """
    session.execute(
        text(
            """
            DELETE FROM keyspace_snapshot WHERE ended_at < :whole_since
                AND id NOT IN (SELECT max(id) FROM keyspace_snapshot GROUP BY cache_id, kind)
                AND id NOT IN (
                    SELECT max(id) FROM keyspace_snapshot
                    WHERE ended_at >= :kept_since AND ended_at < :whole_since
                    GROUP BY cache_id, kind, date_trunc('day', ended_at, 'UTC'))
            """
        ),
        {"whole_since": whole_since, "kept_since": kept_since},
    )


def _mark(row: Row[*tuple[Any, ...]]) -> SnapshotMark:
    return SnapshotMark(
        id=row.id,
        cache_id=row.cache_id,
        kind=Kind(row.kind),
        began_at=row.began_at,
        ended_at=row.ended_at,
        looked_at=row.looked_at,
        keyspace=row.keyspace,
        keys=row.keys,
        size=None if row.size_bytes is None else Estimate(row.size_bytes, row.size_error),
    )


# --- scans -------------------------------------------------------------------------------------------------------


def insert_scan(session: Session, cache_id: int, actor: str, now: datetime) -> int | None:
    """Add a scan that waits; its number. None: one is under way already."""
    row = {
        "cache_id": cache_id,
        "state": State.WAITING.value,
        "actor": actor,
        "asked_at": now,
        "progress": {},
    }
    query = upsert(KeyspaceScanRow).values(row).on_conflict_do_nothing().returning(KeyspaceScanRow.id)
    return session.execute(query).scalar_one_or_none()


def find_scan(session: Session, number: int, *, lock: bool = False) -> Scan | None:
    """The scan, or None; locked, nobody else changes it until the transaction ends."""
    if not 0 < number < _LARGEST:
        return None
    query = select(KeyspaceScanRow).where(KeyspaceScanRow.id == number)
    if lock:
        query = query.with_for_update()
    row = session.scalars(query, execution_options=_ANEW).one_or_none()
    return None if row is None else _scan(row)


def find_job(session: Session, number: int) -> int | None:
    """Id of the scan's open job."""
    return session.scalar(select(KeyspaceScanRow.job_id).where(KeyspaceScanRow.id == number))


def list_scans(session: Session, cache_id: int, *, before: int | None = None, limit: int) -> list[Scan]:
    """Scans of a cache, newest first; only numbers below ``before``."""
    query = select(KeyspaceScanRow).where(KeyspaceScanRow.cache_id == cache_id)
    if before is not None:
        query = query.where(KeyspaceScanRow.id < min(max(before, 0), _LARGEST - 1))
    found = session.scalars(query.order_by(KeyspaceScanRow.id.desc()).limit(limit), execution_options=_ANEW)
    return [_scan(row) for row in found]


def change_scan(session: Session, number: int, *, state: State | None = None, **values: Any) -> None:
    """Store what changed of a scan that is locked; a new state raises the revision."""
    if state is not None:
        values |= {"state": state.value, "revision": KeyspaceScanRow.revision + 1}
    session.execute(update(KeyspaceScanRow).where(KeyspaceScanRow.id == number).values(values))


def save_progress(session: Session, number: int, progress: ScanProgress) -> None:
    """Store how far a scan is."""
    session.execute(
        update(KeyspaceScanRow).where(KeyspaceScanRow.id == number).values(progress=asdict(progress))
    )


def last_asked(session: Session, cache_id: int) -> datetime | None:
    """When a full scan of a cache was last asked for."""
    query = select(func.max(KeyspaceScanRow.asked_at)).where(KeyspaceScanRow.cache_id == cache_id)
    return session.scalar(query)


def delete_old_scans(session: Session, before: datetime) -> None:
    """Forget scans that ended before then."""
    session.execute(delete(KeyspaceScanRow).where(KeyspaceScanRow.ended_at < before))


def _scan(row: KeyspaceScanRow) -> Scan:
    return Scan(
        number=row.id,
        cache_id=row.cache_id,
        state=State(row.state),
        by=row.actor,
        asked_at=row.asked_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        progress=ScanProgress(**row.progress),
        wish=row.wish,
        problem=row.problem,
        snapshot_id=row.snapshot_id,
        revision=row.revision,
    )


# --- checkpoints -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KeptPlace:
    """Where a scan goes on; see ``KeyspaceCheckpointRow``.

    Args:
        places: each node's, as plain data.
        collected: what the collector had at them.
    """

    places: Sequence[Mapping[str, Any]]
    size_every: int
    policy_version: int
    collected: bytes


def put_checkpoint(session: Session, number: int, kept: KeptPlace) -> None:
    """Store where a scan goes on, in place of the last."""
    values = {
        "places": [dict(place) for place in kept.places],
        "size_every": kept.size_every,
        "policy_version": kept.policy_version,
        "collected": zlib.compress(kept.collected, _FAST),
    }
    query = upsert(KeyspaceCheckpointRow).values(scan_id=number, **values)
    session.execute(query.on_conflict_do_update(index_elements=["scan_id"], set_=values))


def find_checkpoint(session: Session, number: int) -> KeptPlace | None:
    """Where a scan goes on; None: it begins at the beginning."""
    row = session.scalars(
        select(KeyspaceCheckpointRow).where(KeyspaceCheckpointRow.scan_id == number), execution_options=_ANEW
    ).one_or_none()
    if row is None:
        return None
    return KeptPlace(row.places, row.size_every, row.policy_version, zlib.decompress(row.collected))


def delete_checkpoint(session: Session, number: int) -> None:
    """A scan that is over goes on nowhere."""
    session.execute(delete(KeyspaceCheckpointRow).where(KeyspaceCheckpointRow.scan_id == number))


# --- samples that are taken by themselves ------------------------------------------------------------------------


def note_look(session: Session, cache_id: int, at: datetime, problem: str) -> None:
    """Note that a sample was tried, and why it failed; empty: it did not."""
    values = {"tried_at": at, "problem": problem}
    query = upsert(KeyspaceLookRow).values(cache_id=cache_id, **values)
    session.execute(query.on_conflict_do_update(index_elements=["cache_id"], set_=values))


def find_look(session: Session, cache_id: int) -> tuple[datetime, str] | None:
    """When a sample was last tried, and why it failed."""
    row = KeyspaceLookRow
    found = session.execute(select(row.tried_at, row.problem).where(row.cache_id == cache_id)).one_or_none()
    return None if found is None else (found.tried_at, found.problem)


# --- limits ------------------------------------------------------------------------------------------------------


def find_limits(session: Session, cache_id: int) -> ScanLimits | None:
    """What was set for a cache."""
    row = session.scalars(
        select(KeyspaceLimitsRow).where(KeyspaceLimitsRow.cache_id == cache_id), execution_options=_ANEW
    ).one_or_none()
    return None if row is None else ScanLimits(**{name: getattr(row, name) for name in ScanLimits.__slots__})


def put_limits(session: Session, cache_id: int, limits: ScanLimits) -> bool:
    """Set a cache's limits if they are still at ``limits.revision``; it rises by one."""
    row = KeyspaceLimitsRow
    values = asdict(limits) | {"revision": limits.revision + 1}
    if limits.revision:
        done = session.execute(
            update(row)
            .where(row.cache_id == cache_id, row.revision == limits.revision)
            .values(values)
            .returning(row.revision)
        )
    else:
        query = upsert(row).values(cache_id=cache_id, **values)
        done = session.execute(query.on_conflict_do_nothing().returning(row.revision))
    return done.one_or_none() is not None
