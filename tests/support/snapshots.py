"""Snapshots for tests: made by hand, and stored as a scan would."""

from datetime import datetime, timedelta
from typing import Any

from dashboard.keyspace import snapshots
from dashboard.keyspace.types import (
    BigKey,
    Conformance,
    Estimate,
    Expiries,
    Kind,
    Snapshot,
    TreeNode,
)
from dashboard.work import Runtime
from tests.support.people import as_cli


def node(name: str, keys: float, size: float | None, *children: TreeNode, **values: Any) -> TreeNode:
    """A node of the first level, or of another with ``path``."""
    return TreeNode(
        **{
            "path": (name,) if name else (),
            "name": name,
            "pattern": f"{name}*",
            "keys": Estimate(keys),
            "size": None if size is None else Estimate(size),
            "without_ttl": Estimate(0.0),
            "children": children,
            **values,
        }
    )


def snapshot(cache_id: int, at: datetime, *children: TreeNode, **values: Any) -> Snapshot:
    """What a full scan may have found; of 5,000 sessions two have no TTL."""
    if not children:
        biggest = (BigKey(b"product:\xff\x00", "hash", 12_345, 61.5),)
        children = (
            node("product:", 20_000, 2_000_000, biggest=biggest, types={"string": 20_000.0}),
            node("session:", 5_000, 500_000, without_ttl=Estimate(2.0)),
        )
    keys = sum(child.keys.value for child in children)
    sizes = [child.size.value for child in children if child.size is not None]
    root = node("", keys, sum(sizes) if len(sizes) == len(children) else None, *children)
    return Snapshot(
        **{
            "cache_id": cache_id,
            "kind": Kind.FULL,
            "began_at": at - timedelta(seconds=4),
            "ended_at": at,
            "looked_at": int(keys),
            "keyspace": int(keys),
            "factor": 1.0,
            "size_every": 1,
            "policy_version": 1,
            "root": root,
            "policies": (
                Conformance("product:", Estimate(20_000), Estimate(2e6), Estimate(0.0), Estimate(0.0)),
                Conformance(
                    "session:",
                    Estimate(5_000),
                    Estimate(5e5),
                    Estimate(2.0),
                    Estimate(0.0),
                    examples=((b"session:\xff<b>", None), (b"session:2", 1e9)),
                ),
            ),
            "expiries": (Expiries("session:", "session:", 5_000, {178_000_000: 4_998.0}, {}, 0.0, 2.0),),
            **values,
        }
    )


def keep(runtime: Runtime, found: Snapshot) -> Snapshot:
    """Store it as a scan would."""
    with as_cli(runtime) as work:
        return snapshots.keep(work, found)
