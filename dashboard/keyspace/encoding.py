"""Snapshots as JSON, to be stored: short, and read back as they were. Pure.

Names, patterns and paths are made anew from the tree's parts; keys are base64url, whatever bytes they have.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.keyspace.names import name_of, pattern_of
from dashboard.keyspace.types import (
    BigKey,
    Conformance,
    Estimate,
    Expiries,
    Kind,
    Snapshot,
    TreeNode,
)

LAYOUT: Final = 1
"""Of the JSON; another one is not read."""


def to_json(snapshot: Snapshot) -> bytes:
    """A snapshot as it is stored; its id is not among it."""
    found = {
        "layout": LAYOUT,
        "cache": snapshot.cache_id,
        "kind": snapshot.kind.value,
        "began": snapshot.began_at.timestamp(),
        "ended": snapshot.ended_at.timestamp(),
        "looked_at": snapshot.looked_at,
        "keyspace": snapshot.keyspace,
        "factor": snapshot.factor,
        "size_every": snapshot.size_every,
        "policy_version": snapshot.policy_version,
        "delimiters": snapshot.delimiters,
        "root": _from_node(snapshot.root),
        "policies": [_from_conformance(each) for each in snapshot.policies],
        "expiries": [_from_expiries(each) for each in snapshot.expiries],
    }
    return json.dumps(found, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def from_json(source: bytes | str, *, snapshot_id: int = 0) -> Snapshot:
    """A snapshot as ``to_json`` wrote it.

    Args:
        source: the JSON.
        snapshot_id: under which it is stored.

    Raises:
        ValueError: it is no snapshot, or of another layout.
    """
    found = json.loads(source)
    if not isinstance(found, dict) or found.get("layout") != LAYOUT:
        raise ValueError("not a snapshot of this layout")
    try:
        return Snapshot(
            cache_id=found["cache"],
            kind=Kind(found["kind"]),
            began_at=datetime.fromtimestamp(found["began"], UTC),
            ended_at=datetime.fromtimestamp(found["ended"], UTC),
            looked_at=found["looked_at"],
            keyspace=found["keyspace"],
            factor=found["factor"],
            size_every=found["size_every"],
            root=_to_node(found["root"], ()),
            policies=tuple(_to_conformance(each) for each in found["policies"]),
            expiries=tuple(_to_expiries(each) for each in found["expiries"]),
            policy_version=found["policy_version"],
            delimiters=found["delimiters"],
            id=snapshot_id,
        )
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError("not a snapshot") from error


def _from_node(node: TreeNode) -> list[Any]:
    return [
        node.path[-1] if node.path else "",
        _from_estimate(node.keys),
        None if node.size is None else _from_estimate(node.size),
        _from_estimate(node.without_ttl),
        [_short(count) for count in node.ttl_counts],
        {kind: _short(count) for kind, count in node.types.items()},
        [[_from_key(big.key), big.type, big.size_bytes, big.ttl_s] for big in node.biggest],
        node.idle_s,
        node.hidden,
        int(node.is_folded) + 2 * int(node.is_leaf),
        node.may_miss,
        [_from_node(child) for child in node.children],
    ]


def _to_node(found: list[Any], above: tuple[str, ...], *, is_root: bool = True) -> TreeNode:
    part, keys, size, without_ttl, ttl_counts, types, biggest, idle_s, hidden, flags, may_miss, children = (
        found
    )
    path = () if is_root else (*above, part)
    is_leaf = bool(flags & 2)
    return TreeNode(
        path=path,
        name=name_of(path),
        pattern=pattern_of(path, is_leaf=is_leaf),
        keys=Estimate(*keys),
        size=None if size is None else Estimate(*size),
        without_ttl=Estimate(*without_ttl),
        ttl_counts=tuple(ttl_counts),
        types=types,
        biggest=tuple(BigKey(_to_key(key), kind, bytes_, ttl_s) for key, kind, bytes_, ttl_s in biggest),
        idle_s=idle_s,
        children=tuple(_to_node(child, path, is_root=False) for child in children),
        hidden=hidden,
        is_folded=bool(flags & 1),
        is_leaf=is_leaf,
        may_miss=may_miss,
    )


def _from_conformance(found: Conformance) -> list[Any]:
    return [
        found.prefix,
        _from_estimate(found.keys),
        None if found.size is None else _from_estimate(found.size),
        _from_estimate(found.without_ttl),
        _from_estimate(found.too_long),
        [[_from_key(key), ttl_s] for key, ttl_s in found.examples],
    ]


def _to_conformance(found: list[Any]) -> Conformance:
    prefix, keys, size, without_ttl, too_long, examples = found
    return Conformance(
        prefix=prefix,
        keys=Estimate(*keys),
        size=None if size is None else Estimate(*size),
        without_ttl=Estimate(*without_ttl),
        too_long=Estimate(*too_long),
        examples=tuple((_to_key(key), ttl_s) for key, ttl_s in examples),
    )


def _from_expiries(found: Expiries) -> list[Any]:
    return [
        found.stem,
        found.policy,
        _short(found.keys),
        _from_sparse(found.fine),
        _from_sparse(found.hours),
        _short(found.later),
        _short(found.never),
    ]


def _to_expiries(found: list[Any]) -> Expiries:
    stem, policy, keys, fine, hours, later, never = found
    return Expiries(stem, policy, keys, _to_sparse(fine), _to_sparse(hours), later, never)


def _from_sparse(counts: Mapping[int, float]) -> list[float]:
    """Bucket and count in turn, each bucket as the distance from the one before."""
    made: list[float] = []
    before = 0
    for bucket, count in sorted(counts.items()):
        made += (bucket - before, _short(count))
        before = bucket
    return made


def _to_sparse(found: list[Any]) -> dict[int, float]:
    made: dict[int, float] = {}
    bucket = 0
    for step, count in zip(found[::2], found[1::2], strict=True):
        bucket += step
        made[bucket] = count
    return made


def _from_estimate(found: Estimate) -> list[float]:
    value, error = _short(found.value), _short(found.error)
    return [value, error] if error else [value]


def _short(number: float) -> float:
    """Without the digits that say nothing: counts of a sample are no exacter than that."""
    return int(number) if number == int(number) else round(number, 2)


def _from_key(key: bytes) -> str:
    return urlsafe_b64encode(key).decode()


def _to_key(text: str) -> bytes:
    return urlsafe_b64decode(text)
