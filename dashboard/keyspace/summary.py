"""Keys and memory of a snapshot's prefixes, and no more: what lines over time are drawn from. Pure.

A snapshot of a large keyspace is some hundred kilobytes; a line over a week needs a hundred of them.
"""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from dashboard.keyspace.types import Snapshot, TreeNode

MOST_PREFIXES: Final = 2_000
"""The ones with the most keys are kept."""

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Summary:
    """What ``pack`` kept.

    Args:
        delimiters: of the snapshot: paths of others can't be compared.
        sizes: keys and bytes (None: not measured) by path; () is the whole cache.
        errors: half of the 95 % intervals of both by path; those that are not exact.
        is_cut: prefixes are missing because there were too many.
        partial: paths below which some names were counted together.
    """

    delimiters: str
    sizes: dict[Path, tuple[float, float | None]]
    is_cut: bool
    partial: frozenset[Path]
    errors: dict[Path, tuple[float, float]]

    def look(self, path: Path) -> tuple[float, float | None] | None:
        """Keys and bytes of a prefix: zero when it had none; None when that is not known."""
        found = self.sizes.get(path)
        if found is not None or self.is_cut:
            return found
        for length in range(len(path)):
            above = path[:length]
            if above in self.partial:
                return None
            if above not in self.sizes:
                break
        whole = self.sizes.get((), (0.0, None))
        return 0.0, None if whole[1] is None else 0.0


def pack(snapshot: Snapshot) -> bytes:
    """Of a snapshot, as it is stored."""
    nodes = [
        (path, node) for path, node in _walk((), snapshot.root) if node.pattern is not None or path == ()
    ]
    nodes.sort(key=lambda each: (len(each[0]) > 0, -each[1].keys.value))
    kept = nodes[:MOST_PREFIXES]
    data = {
        "delimiters": snapshot.delimiters,
        "is_cut": len(nodes) > len(kept),
        "prefixes": [
            [list(path), round(node.keys.value), None if node.size is None else round(node.size.value)]
            for path, node in kept
        ],
        "errors": [[list(path), *errors] for path, node in kept if any(errors := _errors(node))],
        "partial": [
            list(path)
            for path, node in kept
            if node.hidden or any(child.pattern is None for child in node.children)
        ],
    }
    return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 6)


def unpack(packed: bytes) -> Summary:
    """What ``pack`` wrote."""
    data: dict[str, Any] = json.loads(zlib.decompress(packed))
    return Summary(
        delimiters=data["delimiters"],
        sizes={tuple(path): (keys, size) for path, keys, size in data["prefixes"]},
        is_cut=data["is_cut"],
        partial=frozenset(tuple(path) for path in data["partial"]),
        # An earlier release kept none.
        errors={tuple(path): (keys, size) for path, keys, size in data.get("errors", ())},
    )


def _errors(node: TreeNode) -> tuple[int, int]:
    return round(node.keys.error), 0 if node.size is None else round(node.size.error)


def _walk(path: Path, node: TreeNode) -> Iterator[tuple[Path, TreeNode]]:
    """A node and all below it. A stack instead of recursion: names may be nested as deeply as they like."""
    pending = [(path, node)]
    while pending:
        at, found = pending.pop()
        yield at, found
        pending += [(child.path, child) for child in found.children]
