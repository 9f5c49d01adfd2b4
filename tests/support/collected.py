"""Keys for a collector, and what is looked at in the snapshot that it makes."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from dashboard.caching.policy import Policy, PolicyTable, Protection
from dashboard.fleet.probing import Facts
from dashboard.keyspace.collector import Collector
from dashboard.keyspace.types import Batch, Kind, Snapshot, TreeNode

AT = datetime(2026, 11, 23, 4, tzinfo=UTC)
NOW = 1_795_406_400.123

POLICIES = [
    Policy(b"product:", "t", 3_600, 600),
    Policy(b"product:4", "t", 600, 60),
    Policy(b"product:list:", "t", 60, 0, protection=Protection(grace_s=30)),
    Policy(b"session:", "none", None),
    Policy(b"a", "t", 86_400, 0),
]
DEFAULT = Policy(b"", "t", 60, 15)
TABLE = PolicyTable([(policy.prefix, policy) for policy in POLICIES], DEFAULT)

Row = tuple[bytes, bytes, int, int, int]
"""Key, type, TTL in ms, size, idle time; ``facts`` makes what OBJECT says of the last."""


def facts(idle_s: int) -> Facts | None:
    """Of a key whose idle time is asked for (0 or more): some encoding, and perhaps a use counter."""
    if idle_s < 0:
        return None
    return Facts((b"raw", b"listpack", b"")[idle_s % 3], idle_s, idle_s % 256 if idle_s % 2 else -1)


def collected(rows: Sequence[Row], *, at: float = NOW, step: int = 50, **given: Any) -> Collector:
    collector = Collector(given.pop("table", TABLE), given.pop("delimiters", ":"), given.pop("bounds", None))
    add(collector, rows, at=at, step=step)
    return collector


def add(
    collector: Collector, rows: Sequence[Row], *, node: str = "n", at: float = NOW, step: int = 50
) -> None:
    for start in range(0, len(rows), step):
        keys, types, ttls, sizes, idles = zip(*rows[start : start + step], strict=True)
        collector.add(Batch(node, at, keys, types, ttls, sizes, [facts(idle) for idle in idles]))


def shot(collector: Collector, *, kind: Kind = Kind.FULL, factor: float = 1.0, keyspace: int = 0) -> Snapshot:
    return collector.snapshot(
        cache_id=1, kind=kind, began_at=AT, ended_at=AT, keyspace=keyspace, factor=factor
    )


def plain(keys: Sequence[bytes], ttl_ms: int = -1, size: int = 100) -> list[Row]:
    return [(key, b"string", ttl_ms, size, -1) for key in keys]


def walk(node: TreeNode) -> Iterator[TreeNode]:
    yield node
    for child in node.children:
        yield from walk(child)


def find(snapshot: Snapshot, *path: str) -> TreeNode:
    return next(node for node in walk(snapshot.root) if node.path == path)


def counts(snapshot: Snapshot) -> dict[str, float]:
    return {"".join(node.path): node.keys.value for node in walk(snapshot.root)}
