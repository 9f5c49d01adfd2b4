"""How a snapshot is written to PostgreSQL: JSON, packed. Pure.

The tree is a flat list, each node followed by what is below it: names may be nested more deeply than a parser goes.
"""

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.keyspace.types import (
    BigKey,
    Conformance,
    Estimate,
    Expiries,
    Kind,
    Snapshot,
    TreeNode,
)

_LEVEL: Final = 6


def pack(snapshot: Snapshot) -> bytes:
    """A snapshot as it is stored; its id and its cache are the row's."""
    data = {
        "kind": snapshot.kind.value,
        "began_at": snapshot.began_at.timestamp(),
        "ended_at": snapshot.ended_at.timestamp(),
        "looked_at": snapshot.looked_at,
        "keyspace": snapshot.keyspace,
        "factor": snapshot.factor,
        "size_every": snapshot.size_every,
        "policy_version": snapshot.policy_version,
        "delimiters": snapshot.delimiters,
        "notes": list(snapshot.notes),
        "tree": list(_nodes(snapshot.root)),
        "policies": [
            {
                "prefix": each.prefix,
                "keys": _estimate(each.keys),
                "size": None if each.size is None else _estimate(each.size),
                "without_ttl": _estimate(each.without_ttl),
                "too_long": _estimate(each.too_long),
                "examples": [[_text(key), ttl_s] for key, ttl_s in each.examples],
            }
            for each in snapshot.policies
        ],
        "expiries": [
            [each.stem, each.policy, each.keys, _pairs(each.fine), _pairs(each.hours), each.later, each.never]
            for each in snapshot.expiries
        ],
    }
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), _LEVEL)


def unpack(packed: bytes) -> Snapshot:
    """The snapshot that ``pack`` wrote, of cache 0 and without an id."""
    data: dict[str, Any] = json.loads(zlib.decompress(packed))
    return Snapshot(
        cache_id=0,
        kind=Kind(data["kind"]),
        began_at=datetime.fromtimestamp(data["began_at"], UTC),
        ended_at=datetime.fromtimestamp(data["ended_at"], UTC),
        looked_at=data["looked_at"],
        keyspace=data["keyspace"],
        factor=data["factor"],
        size_every=data["size_every"],
        root=_tree(data["tree"]),
        policies=tuple(
            Conformance(
                prefix=each["prefix"],
                keys=Estimate(*each["keys"]),
                size=None if each["size"] is None else Estimate(*each["size"]),
                without_ttl=Estimate(*each["without_ttl"]),
                too_long=Estimate(*each["too_long"]),
                examples=tuple((_bytes(key), ttl_s) for key, ttl_s in each["examples"]),
            )
            for each in data["policies"]
        ),
        expiries=tuple(
            Expiries(stem, policy, keys, dict(fine), dict(hours), later, never)
            for stem, policy, keys, fine, hours, later, never in data["expiries"]
        ),
        policy_version=data["policy_version"],
        delimiters=data["delimiters"],
        notes=tuple(data["notes"]),
    )


def _nodes(root: TreeNode) -> Iterator[list[Any]]:
    pending = [root]
    while pending:
        node = pending.pop()
        yield [
            len(node.children),
            list(node.path),
            node.name,
            node.pattern,
            _estimate(node.keys),
            None if node.size is None else _estimate(node.size),
            _estimate(node.without_ttl),
            list(node.ttl_counts),
            dict(node.types),
            [[_text(big.key), big.type, big.size_bytes, big.ttl_s] for big in node.biggest],
            node.idle_s,
            node.hidden,
            int(node.is_folded),
            int(node.is_leaf),
            node.may_miss,
            node.frequency,
            dict(node.encodings),
        ]
        pending += reversed(node.children)


def _tree(rows: list[list[Any]]) -> TreeNode:
    done: list[TreeNode] = []
    # From the last: what is below a node is finished when its turn comes, the first child on top.
    for row in reversed(rows):
        count, node = row[0], _node(row)
        children = tuple(done[len(done) - count :][::-1])
        del done[len(done) - count :]
        done.append(replace(node, children=children) if count else node)
    return done[0]


def _node(row: list[Any]) -> TreeNode:
    (
        _,
        path,
        name,
        pattern,
        keys,
        size,
        without_ttl,
        ttl_counts,
        types,
        biggest,
        idle_s,
        hidden,
        is_folded,
        is_leaf,
        may_miss,
        *later,
    ) = row
    # Snapshots of an earlier version end here.
    frequency, encodings = later or (None, {})
    return TreeNode(
        path=tuple(path),
        name=name,
        pattern=pattern,
        keys=Estimate(*keys),
        size=None if size is None else Estimate(*size),
        without_ttl=Estimate(*without_ttl),
        ttl_counts=tuple(ttl_counts),
        types=types,
        biggest=tuple(BigKey(_bytes(key), type, size, ttl_s) for key, type, size, ttl_s in biggest),
        idle_s=idle_s,
        frequency=frequency,
        encodings=encodings,
        hidden=hidden,
        is_folded=bool(is_folded),
        is_leaf=bool(is_leaf),
        may_miss=may_miss,
    )


def _estimate(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.error]


def _pairs(buckets: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(buckets.items())


def _text(key: bytes) -> str:
    return key.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
