"""Snapshots: kept, looked up, compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from math import hypot
from typing import Final

from dashboard.access import Role, require
from dashboard.errors import NotFound
from dashboard.keyspace import store, stored, summary
from dashboard.keyspace.types import Conformance, Estimate, Growth, GrowthPoint, Kind, Snapshot, SnapshotMark
from dashboard.policies import service as policies
from dashboard.policies.types import KeyspaceKeys
from dashboard.work import UnitOfWork

WEEK: Final = timedelta(days=7)
WHOLE_KEPT: Final = timedelta(days=1)
DAILY_KEPT: Final = timedelta(days=35)
_LISTED: Final = 200
_POINTS: Final = 60
_SOONEST: Final = timedelta(hours=1)
"""Between two snapshots that are compared: less would show noise as growth."""
_READ_AT_ONCE: Final = 8
"""Unpacked snapshots that a process keeps: they never change, and every page of a cache needs the newest."""


def latest(work: UnitOfWork, cache_id: int, kind: Kind | None = None) -> Snapshot | None:
    """The newest snapshot of a cache; None: there is none yet.

    Args:
        kind: None: whichever is newer.
    """
    require(work.actor, Role.VIEWER)
    found = store.find_latest(work.session, cache_id, kind)
    return None if found is None else _read(*found)


def get_snapshot(work: UnitOfWork, cache_id: int, snapshot_id: int) -> Snapshot:
    """One snapshot.

    Raises:
        NotFound: there is none of this cache with this id (any more).
    """
    require(work.actor, Role.VIEWER)
    found = store.find_snapshot(work.session, snapshot_id)
    if found is None or found[1] != cache_id:
        raise NotFound(
            f"There is no snapshot {snapshot_id} of this cache.",
            what_to_do="All are kept for a day, and one a day for 35 days.",
        )
    return _read(*found)


def list_snapshots(
    work: UnitOfWork,
    cache_id: int,
    *,
    kind: Kind | None = None,
    since: datetime | None = None,
    limit: int = _LISTED,
) -> list[SnapshotMark]:
    """Snapshots of a cache without what they hold, newest first.

    Args:
        kind: None: both.
        since: aware; only those that ended then or later.
    """
    require(work.actor, Role.VIEWER)
    return store.list_marks(work.session, cache_id, kind=kind, since=since, limit=limit)


def growth(
    work: UnitOfWork, cache_id: int, paths: Iterable[tuple[str, ...]], over: timedelta = WEEK
) -> Mapping[tuple[str, ...], Growth]:
    """How prefixes grew up to the newest snapshot, from the oldest one that is no older than ``over``.

    Args:
        paths: of the tree (``TreeNode.path``); () is the whole cache.
        over: how far to look back; a day more where nothing older than that is left. ``Growth.since`` says what it was.

    Returns:
        Without the prefixes of which it is not known: those that were counted under "(other)", or all when there are
        no two snapshots an hour apart.
    """
    require(work.actor, Role.VIEWER)
    begins = work.now - over
    marks = store.list_marks(work.session, cache_id, since=begins - timedelta(days=1), limit=1)
    if not marks:
        return {}
    ends = marks[0].ended_at - _SOONEST
    before = store.find_oldest(work.session, cache_id, begins, ends) or store.find_newest(
        work.session, cache_id, begins - timedelta(days=1), min(begins, ends)
    )
    if before is None:
        return {}
    pair = store.list_prefixes(work.session, (before, marks[0].id))
    if len(pair) < 2:
        return {}  # removed meanwhile
    (since, then), (_, now) = ((at, summary.unpack(packed)) for at, packed in pair)
    if then.delimiters != now.delimiters:
        return {}
    found = {}
    for path in paths:
        was, is_now = then.look(path), now.look(path)
        if was is not None and is_now is not None:
            size = None if was[1] is None or is_now[1] is None else is_now[1] - was[1]
            # Of two snapshots that are independent of each other.
            keys_error, size_error = map(
                hypot, then.errors.get(path, (0.0, 0.0)), now.errors.get(path, (0.0, 0.0))
            )
            found[path] = Growth(since, is_now[0] - was[0], size, keys_error, size_error)
    return found


def growth_line(
    work: UnitOfWork,
    cache_id: int,
    path: tuple[str, ...] = (),
    over: timedelta = WEEK,
    *,
    points: int = _POINTS,
    kind: Kind | None = None,
) -> tuple[GrowthPoint, ...]:
    """A prefix over time, oldest first.

    Args:
        path: of the tree; () is the whole cache.
        points: at most so many, evenly over the time; the first and the last snapshot are among them.
        kind: of these snapshots only; None: of both.
    """
    require(work.actor, Role.VIEWER)
    ids = _evenly(store.list_times(work.session, cache_id, work.now - over, kind), max(2, points))
    line = []
    for at, packed in store.list_prefixes(work.session, ids):
        found = summary.unpack(packed).look(path)
        line.append(GrowthPoint(at, *(found or (None, None))))
    return tuple(line)


def usual_kind(work: UnitOfWork, cache_id: int, over: timedelta = WEEK) -> Kind:
    """The kind that most of a cache's snapshots are of.

    A line is drawn through one kind: from an estimate to an exact number it would show steps that are no growth.
    """
    require(work.actor, Role.VIEWER)
    counts = {kind: len(store.list_times(work.session, cache_id, work.now - over, kind)) for kind in Kind}
    return Kind.SAMPLE if counts[Kind.SAMPLE] > counts[Kind.FULL] else Kind.FULL


def known_prefix(
    work: UnitOfWork, cache_id: int, prefix: str
) -> tuple[SnapshotMark, float, float | None] | None:
    """What the newest snapshot says of a prefix.

    Args:
        prefix: as text; a node of the tree, so up to a delimiter.

    Returns:
        The snapshot, keys and bytes (None: not measured); None where it does not tell them apart.
    """
    require(work.actor, Role.VIEWER)
    for mark in store.list_marks(work.session, cache_id, limit=1):
        for _, packed in store.list_prefixes(work.session, (mark.id,)):
            for path, (keys, size) in summary.unpack(packed).sizes.items():
                if path and "".join(path) == prefix:
                    return mark, keys, size
    return None


def keep(work: UnitOfWork, snapshot: Snapshot) -> Snapshot:
    """Store a snapshot and tell the prefix tables.

    Returns:
        The same with its id.
    """
    root = snapshot.root
    mark = SnapshotMark(
        id=0,
        cache_id=snapshot.cache_id,
        kind=snapshot.kind,
        began_at=snapshot.began_at,
        ended_at=snapshot.ended_at,
        looked_at=snapshot.looked_at,
        keyspace=snapshot.keyspace,
        keys=root.keys.value,
        size=root.size,
    )
    number = store.insert_snapshot(work.session, mark, stored.pack(snapshot), summary.pack(snapshot))
    in_force = policies.document_in_force(work, snapshot.cache_id)
    # A policy that the scan knew and that had no key is told as such; of one published meanwhile nothing is known.
    known = in_force.policies if in_force.version == snapshot.policy_version else ()
    nothing = Estimate(0.0)
    with_keys = {each.prefix for each in snapshot.policies}
    without_keys = [
        Conformance(policy.prefix_text, nothing, None if root.size is None else nothing, nothing, nothing)
        for policy in known
        if policy.prefix_text not in with_keys
    ]
    policies.record_keyspace(
        work,
        snapshot.cache_id,
        {
            each.prefix: KeyspaceKeys(
                keys=each.keys.value,
                keys_error=each.keys.error,
                size_bytes=None if each.size is None else each.size.value,
                size_error=0.0 if each.size is None else each.size.error,
                without_ttl=each.without_ttl.value,
                too_long=each.too_long.value,
                examples=each.examples,
                taken_at=snapshot.ended_at,
                is_sample=snapshot.kind is Kind.SAMPLE,
                has_policy=snapshot.policy_version > 0,
            )
            for each in (*snapshot.policies, *without_keys)
        },
        snapshot_id=number,
        kind=snapshot.kind.value,
        taken_at=snapshot.ended_at,
    )
    return replace(snapshot, id=number)


def upkeep(work: UnitOfWork) -> None:
    """Thin out snapshots, and forget old scans; the worker does so each hour."""
    store.thin_snapshots(work.session, work.now - WHOLE_KEPT, work.now - DAILY_KEPT)
    store.delete_old_scans(work.session, work.now - DAILY_KEPT)


def _read(snapshot_id: int, cache_id: int, packed: bytes) -> Snapshot:
    return replace(_unpacked(packed), id=snapshot_id, cache_id=cache_id)


# By their bytes and not by their id, which another database has as well.
_unpacked = lru_cache(_READ_AT_ONCE)(stored.unpack)


def _evenly(taken: Sequence[tuple[int, datetime]], points: int) -> list[int]:
    """Ids of the snapshots (newest first) next to so many moments that divide their time evenly."""
    if len(taken) <= points:
        return [number for number, _ in taken]
    newest, oldest = taken[0][1], taken[-1][1]
    step = (newest - oldest) / (points - 1)
    chosen, at = [], 0
    for number in range(points):
        moment = newest - number * step
        while at + 1 < len(taken) and abs(taken[at + 1][1] - moment) <= abs(taken[at][1] - moment):
            at += 1
        chosen.append(taken[at][0])
    return list(dict.fromkeys(chosen))
