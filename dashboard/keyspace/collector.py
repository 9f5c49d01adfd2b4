"""What a scan makes of keys: prefixes, memory, TTLs, conformance, in bounded memory. Pure.

Made to be cheap: what a key belongs to is looked up by its parts in nested dicts, and the columns of what belongs
together are then counted at once. That takes about a microsecond per key where prefixes are few. Where nearly every key
brings names of its own it takes some tens, and a batch after which the tree is thinned some hundreds.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.keyspace import picture, treestate
from dashboard.keyspace.rules import OWN, Rules
from dashboard.keyspace.tallies import LONGEST_NAME, Tally
from dashboard.keyspace.tree import DEPTH, MOST_EXAMPLES, Bounds, Tree
from dashboard.keyspace.types import Batch, Kind, Snapshot

LAYOUT: Final = 2
"""Of the state; another one can't be gone on with."""
_FEWEST_PLACES: Final = 1_000
_FEWEST_STEMS: Final = 32


class Collector:
    """Takes keys in, and says what they are.

    Args:
        policies: in force; a scan that is resumed keeps to those that it began with.
        delimiters: characters that separate the parts of keys; "": nothing does.
        bounds: how much is remembered.
    """

    def __init__(
        self, policies: PolicyTable[Policy], delimiters: str = ":", bounds: Bounds | None = None
    ) -> None:
        self._begin(delimiters, bounds or Bounds())
        self._rules = Rules.of(policies, self._delimiter)

    @property
    def looked_at(self) -> int:
        """Keys that were taken in and were still there."""
        return sum(tree.looked_at for tree in self._trees.values())

    def add(self, batch: Batch) -> None:
        """Take keys in; those that were gone when they were asked about are left out."""
        keys, types, ttls, sizes, objects = (
            batch.keys,
            batch.types,
            batch.ttls_ms,
            batch.sizes,
            batch.objects,
        )
        if -2 in ttls or b"none" in types:
            rows = [row for row, kind in enumerate(types) if ttls[row] != -2 and kind != b"none"]
            keys, types = [keys[row] for row in rows], [types[row] for row in rows]
            ttls, sizes = [ttls[row] for row in rows], [sizes[row] for row in rows]
            objects = [objects[row] for row in rows]
        if not keys:
            return
        tree = self._trees.get(batch.node) or self._plant(batch.node)
        tree.looked_at += len(keys)
        touched = self._sort_in(tree, keys) if self._cut is None else self._sort_in_cut(tree, keys)
        at_ms = int(batch.at * 1000)
        kind = types[0] if types.count(types[0]) == len(types) else None
        has_sizes, has_objects = max(sizes) >= 0, any(objects)
        for tally in touched:
            rows, tally.rows = tally.rows, []
            breaking = tally.add_ttls(at_ms, [ttls[row] for row in rows])
            if kind is not None:
                tally.types[kind] = tally.types.get(kind, 0) + len(rows)
            else:
                tally.add_types([types[row] for row in rows])
            if has_sizes:
                _add_sizes(tally, rows, keys, types, ttls, sizes)
            if has_objects:
                tally.objects.add([facts for row in rows if (facts := objects[row])])
            if (breaking or tally.ttls[-1]) and tally.policy != OWN:
                examples = tree.examples.setdefault(tally.policy, [])
                if len(examples) < MOST_EXAMPLES:
                    _add_examples(examples, tally.limit_ms, rows, keys, ttls)
        tree.tidy()

    def forget(self, node: str) -> None:
        """Drop all that came from a node: it is begun again."""
        self._trees.pop(node, None)

    def state(self) -> bytes:
        """All that was collected, so that another process can go on."""
        found = {
            "layout": LAYOUT,
            "delimiters": self._delimiters,
            "bounds": asdict(self._bounds),
            "rules": self._rules.state(),
            "trees": {node: treestate.from_tree(tree) for node, tree in self._trees.items()},
        }
        return json.dumps(found, separators=(",", ":")).encode()

    @classmethod
    def restore(cls, state: bytes) -> "Collector":
        """A collector that goes on where ``state`` was asked for.

        Raises:
            ValueError: it is none, or of another layout.
        """
        found = json.loads(state)
        if not isinstance(found, dict) or found.get("layout") != LAYOUT:
            raise ValueError("not the state of a collector of this layout")
        try:
            return cls._restore(found)
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError("not the state of a collector") from error

    def snapshot(
        self,
        *,
        cache_id: int,
        kind: Kind,
        began_at: datetime,
        ended_at: datetime,
        keyspace: int,
        factor: float = 1.0,
        size_every: int = 1,
        policy_version: int = 0,
    ) -> Snapshot:
        """What was found; the collector can go on afterwards.

        Args:
            cache_id: of the cache.
            kind: how much was looked at.
            began_at, ended_at: aware.
            keyspace: keys in the cache.
            factor: what counts are multiplied by: keys in the cache for each that was looked at; 1: all were.
            size_every: as asked for; what was measured is known by itself.
            policy_version: of the document in force.
        """
        return picture.draw(
            list(self._trees.values()),
            self._rules,
            self._several,
            self._bounds,
            Snapshot(
                cache_id=cache_id,
                kind=kind,
                began_at=began_at,
                ended_at=ended_at,
                looked_at=self.looked_at,
                keyspace=keyspace,
                factor=factor,
                size_every=size_every,
                root=picture.NOTHING,
                policies=(),
                expiries=(),
                policy_version=policy_version,
                delimiters=self._delimiters,
            ),
        )

    def _begin(self, delimiters: str, bounds: Bounds) -> None:
        self._delimiters = delimiters
        self._bounds = bounds
        self._several = tuple(dict.fromkeys(each.encode() for each in delimiters))
        self._delimiter = self._several[0] if len(self._several) == 1 else b""
        self._cut: re.Pattern[bytes] | None = None
        if len(self._several) != 1:
            # Without any, a pattern that is nowhere.
            self._cut = re.compile(b"(" + (b"|".join(map(re.escape, self._several)) or rb"(?!)") + b")")
        self._trees: dict[str, Tree] = {}

    @classmethod
    def _restore(cls, found: dict[str, Any]) -> "Collector":
        made = cls.__new__(cls)
        made._begin(found["delimiters"], Bounds(**found["bounds"]))
        made._rules = Rules.restore(found["rules"], made._delimiter)
        for node, tree in found["trees"].items():
            made._trees[node] = treestate.to_tree(tree, made._plant(node))
        return made

    def _plant(self, node: str) -> Tree:
        """A tree for a node's keys. All share what is to be remembered."""
        number = len(self._trees) + 1
        share = replace(
            self._bounds,
            places=max(_FEWEST_PLACES, self._bounds.places // number),
            stems=max(_FEWEST_STEMS, self._bounds.stems // number),
        )
        for tree in self._trees.values():
            tree.bounds = share
        made = self._trees[node] = Tree(self._rules, self._several, share)
        return made

    def _sort_in(self, tree: Tree, keys: Sequence[bytes]) -> list[Tally]:
        """Note each key's row with its tally; those that have any."""
        touched: list[Tally] = []
        root, step, leaf, delimiter = tree.root, tree.step, tree.leaf, self._delimiter
        for row, key in enumerate(keys):
            place = root
            parts = key.split(delimiter, DEPTH)
            last = parts.pop()
            for part in parts:
                below = place.inner.get(part)
                if below is None:
                    below = place.number
                    if below is None or not part.isdigit():
                        below = step(place, part)
                place = below
            tally = place.leaves.get(last)
            if tally is None:
                tally = place.whole
                if tally is None or not last.isdigit():
                    tally = leaf(place, key, last, len(parts) == DEPTH and delimiter in last)
            rows = tally.rows
            if not rows:
                touched.append(tally)
            rows.append(row)
        return touched

    def _sort_in_cut(self, tree: Tree, keys: Sequence[bytes]) -> list[Tally]:
        """The same where parts are separated by several delimiters, or none; each belongs to the part before it."""
        touched: list[Tally] = []
        cut = self._cut
        assert cut is not None
        for row, key in enumerate(keys):
            place = tree.root
            parts = cut.split(key, DEPTH)
            last = parts.pop()
            for index in range(0, len(parts), 2):
                part = parts[index] + parts[index + 1]
                place = place.inner.get(part) or tree.step(place, part)
            tally = place.leaves.get(last)
            if tally is None:
                is_rest = len(parts) == 2 * DEPTH and cut.search(last) is not None
                tally = tree.leaf(place, key, last, is_rest)
            if not tally.rows:
                touched.append(tally)
            tally.rows.append(row)
        return touched


def _add_sizes(
    tally: Tally,
    rows: Sequence[int],
    keys: Sequence[bytes],
    types: Sequence[bytes],
    ttls: Sequence[int],
    sizes: Sequence[int],
) -> None:
    measured = [sizes[row] for row in rows]
    if -1 in measured:
        measured = [size for size in measured if size >= 0]
        if not measured:
            return
    tally.sized += len(measured)
    tally.size_sum += sum(measured)
    tally.size_square += sum([size * size for size in measured])
    if max(measured) > tally.least:
        for row in rows:
            if sizes[row] > tally.least:
                tally.add_big((sizes[row], keys[row], types[row], ttls[row]))


def _add_examples(
    examples: list[tuple[bytes, int]],
    limit_ms: int | None,
    rows: Sequence[int],
    keys: Sequence[bytes],
    ttls: Sequence[int],
) -> None:
    for row in rows:
        ttl_ms = ttls[row]
        if (ttl_ms < 0 or (limit_ms is not None and ttl_ms > limit_ms)) and len(keys[row]) <= LONGEST_NAME:
            examples.append((keys[row], ttl_ms))
            if len(examples) == MOST_EXAMPLES:
                return
