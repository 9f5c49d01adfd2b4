"""Snapshots with chosen expiries, for tests of the forecast."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from dashboard.keyspace.types import Estimate, Expiries, Kind, Snapshot, TreeNode


def expiries(
    stem: str,
    policy: str,
    ends: Mapping[int, float],
    now: datetime,
    *,
    never: float = 0.0,
    later: float = 0.0,
) -> Expiries:
    """Keys by seconds from now."""
    fine = {int(now.timestamp() + second) // 10: count for second, count in ends.items()}
    total = sum(fine.values()) + never + later
    return Expiries(stem, policy, total, fine, {}, later, never)


def snapshot(
    cache_id: int,
    found: Sequence[Expiries],
    at: datetime,
    *,
    factor: float = 1.0,
    keyspace: int | None = None,
) -> Snapshot:
    """What a scan that found these keys says."""
    keys = sum(each.keys for each in found)
    return Snapshot(
        cache_id=cache_id,
        kind=Kind.FULL if factor == 1 else Kind.SAMPLE,
        began_at=at - timedelta(seconds=1),
        ended_at=at,
        looked_at=round(keys / factor),
        keyspace=round(keys) if keyspace is None else keyspace,
        factor=factor,
        size_every=1,
        root=TreeNode((), "", "*", Estimate(keys), Estimate(keys * 100), Estimate(0.0)),
        policies=(),
        expiries=tuple(found),
    )
