"""The snapshot of what was collected: the tree as it is shown, estimates with their errors, expiries. Pure.

Errors are half of a 95 % interval. In a sample of n of N keys, a prefix with k of them has N·k/n keys, and the
variance of a share of draws without replacement. Bytes are a total over the sample of zero for every key that is
elsewhere; where only some keys were measured, the variance of each place's mean comes on top (places are strata: what
lies together is of about the same size).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from math import sqrt
from typing import Final

from dashboard.caching.policy import prefix_to_text
from dashboard.keyspace.names import FOLDED, OTHER, WHOLE, Name, name_of, part_text, pattern_of
from dashboard.keyspace.rules import OWN, Rules
from dashboard.keyspace.tallies import MOST_BIGGEST, TTL_BUCKETS, Big, Expiry, Objects, Tally, largest
from dashboard.keyspace.tree import KEPT, Bounds, Place, Tree
from dashboard.keyspace.types import (
    BigKey,
    Conformance,
    Estimate,
    Expiries,
    Snapshot,
    TreeNode,
)

MOST_SHOWN: Final = 3_000
"""Nodes of a snapshot."""
MOST_CHILDREN: Final = 200
MOST_KEYS_SHOWN: Final = 64
"""Whole keys below one prefix that are shown by name; of more, none is."""
MOST_BYTES_SHOWN: Final = 8
"""The same for names that are no text, and for shapes of names that hardly a key has: they say nothing to anybody."""
MOST_STEMS: Final = 256
FEWEST_KEYS_OF_A_NAME: Final = 8
"""On average: names with fewer keys are identifiers (user:alice:cart), with more they are kinds of data."""
_FEW_BIGGEST: Final = 3
_SHARE_OF_ALL_BIGGEST: Final = 0.01
_Z: Final = 1.96

NOTHING: Final = TreeNode((), "", "*", Estimate(0), None, Estimate(0), (0,) * TTL_BUCKETS)


def draw(
    trees: Sequence[Tree], rules: Rules, delimiters: tuple[bytes, ...], bounds: Bounds, frame: Snapshot
) -> Snapshot:
    """The snapshot.

    Args:
        trees: what was found per node; left as they are.
        rules: the policies.
        delimiters: between parts.
        bounds: of the tree that all are added to.
        frame: all of the snapshot but the root, the policies and the expiries.
    """
    if len(trees) == 1:
        tree = trees[0]
    else:
        tree = Tree(rules, delimiters, bounds)
        for each in trees:
            tree.absorb(each)
    scale = _Scale.of(tree, frame.factor)
    delimiter = delimiters[0].decode() if len(delimiters) == 1 else ""
    children = MOST_CHILDREN
    view = _Painter(scale, delimiter, children).paint(tree.root)
    while view.size() > MOST_SHOWN and children > 2:
        children //= 2
        view = _Painter(scale, delimiter, children).paint(tree.root)
    return replace(
        frame,
        root=_node(view, (), scale),
        policies=tuple(_policies(tree, rules, scale)),
        expiries=tuple(_expiries(tree, rules, scale, delimiter, children)),
    )


@dataclass(frozen=True, slots=True)
class _Scale:
    """Turns what was counted into what there is.

    Args:
        looked_at: keys that were read.
        factor: keys in the cache for each of them.
        mean, square: size of a key, and of its square, over all that were measured; None: none was.
    """

    looked_at: int
    factor: float
    mean: float | None
    square: float

    @classmethod
    def of(cls, tree: Tree, factor: float) -> "_Scale":
        sized = size_sum = size_square = 0
        for place in tree.all_places():
            for tally in place.tallies():
                sized += tally.sized
                size_sum += tally.size_sum
                size_square += tally.size_square
        if not sized:
            return cls(tree.looked_at, factor, None, 0.0)
        return cls(tree.looked_at, factor, size_sum / sized, size_square / sized)

    def count(self, number: int, *, is_all: bool = False) -> Estimate:
        """Keys, and how far off that may be."""
        if self.factor <= 1 or is_all:
            return Estimate(round(number * self.factor, 2))
        # Moved a little towards the middle, so that none of few does not look certain (Agresti and Coull).
        share = (number + _Z**2 / 2) / (self.looked_at + _Z**2)
        variance = share * (1 - share) / max(1, self.looked_at - 1) * self._unseen
        error = _Z * self.looked_at * self.factor * sqrt(variance)
        return Estimate(round(number * self.factor, 2), round(error, 2))

    def size(self, found: "_Sum") -> Estimate | None:
        """Bytes, and how far off that may be."""
        if self.mean is None:
            return None
        variance = self.factor**2 * found.unmeasured
        if self.factor > 1 and self.looked_at:
            spread = found.square / self.looked_at - (found.size / self.looked_at) ** 2
            whole = (self.looked_at * self.factor) ** 2
            variance += whole * self._unseen * max(0.0, spread) / max(1, self.looked_at - 1)
        return Estimate(round(found.size * self.factor, 2), round(_Z * sqrt(variance), 2))

    def number(self, number: int) -> float:
        """Keys, without more ado."""
        return number if self.factor == 1 else round(number * self.factor, 2)

    @property
    def _unseen(self) -> float:
        return max(0.0, 1 - 1 / self.factor)


@dataclass(slots=True)
class _Sum:
    """Keys of several tallies.

    Args:
        size: bytes, with those that were not measured reckoned like the others of their place.
        square: sum of the squares of the sizes.
        unmeasured: variance of ``size`` because not all were measured.
    """

    keys: int = 0
    too_long: int = 0
    size: float = 0.0
    square: float = 0.0
    unmeasured: float = 0.0
    ttls: list[int] = field(default_factory=lambda: [0] * TTL_BUCKETS)
    types: dict[bytes, int] = field(default_factory=dict)
    biggest: list[Big] = field(default_factory=list)
    objects: Objects = field(default_factory=Objects)

    @classmethod
    def of(cls, tallies: Iterable[Tally], scale: _Scale) -> "_Sum":
        made = cls()
        for tally in tallies:
            made._add_sizes(tally, scale)
            made._add(tally.keys, tally.too_long, tally.ttls, tally.types, tally.biggest, tally.objects)
        return made

    def add(self, other: "_Sum") -> None:
        self.size += other.size
        self.square += other.square
        self.unmeasured += other.unmeasured
        self._add(other.keys, other.too_long, other.ttls, other.types, other.biggest, other.objects)

    def _add(
        self,
        keys: int,
        too_long: int,
        ttls: list[int],
        types: dict[bytes, int],
        biggest: list[Big],
        objects: Objects,
    ) -> None:
        self.keys += keys
        self.too_long += too_long
        self.ttls = [mine + theirs for mine, theirs in zip(self.ttls, ttls, strict=True)]
        for kind, number in types.items():
            self.types[kind] = self.types.get(kind, 0) + number
        self.biggest = largest([*self.biggest, *biggest])
        self.objects.absorb(objects)

    def _add_sizes(self, tally: Tally, scale: _Scale) -> None:
        if scale.mean is None or not tally.keys:
            return
        keys, sized = tally.keys, tally.sized
        mean = tally.size_sum / sized if sized else scale.mean
        square = tally.size_square / sized if sized else scale.square
        self.size += keys * mean
        self.square += keys * square
        if sized < keys:
            # Of one alone nothing is known about the others: as if they differed as much as it is large.
            variance = square
            if sized > 1:
                variance = max(0.0, square - mean**2) * sized / (sized - 1) * _of_few(sized)
            self.unmeasured += keys**2 * variance / max(1, sized) * (1 - sized / keys)


@dataclass(slots=True)
class _View:
    """A node of the tree as it is shown."""

    part: str
    sum: _Sum
    is_leaf: bool = False
    is_folded: bool = False
    below: dict[str, "_View"] = field(default_factory=dict)
    hidden: int = 0
    may_miss: int = 0

    def put(self, view: "_View") -> None:
        """Add a node below; to the one that is there where there is one."""
        mine = self.below.get(view.part)
        if mine is None:
            self.below[view.part] = view
            return
        mine.sum.add(view.sum)
        mine.hidden += view.hidden
        mine.may_miss += view.may_miss
        for below in view.below.values():
            mine.put(below)

    def size(self) -> int:
        """Nodes, itself among them."""
        return 1 + sum(view.size() for view in self.below.values())


@dataclass(frozen=True, slots=True)
class _Light:
    """The names below a place that are not shown as such.

    Args:
        names: those that have places.
        different: how many, with those that have none.
        are_ids: they fold; else they are others.
    """

    names: frozenset[Name]
    different: int
    are_ids: bool


class _Painter:
    """Makes views of places."""

    def __init__(self, scale: _Scale, delimiter: str, children: int) -> None:
        self._scale = scale
        self._delimiter = delimiter
        self._children = children

    def paint(self, place: Place, part: str = "", *, is_folded: bool = False) -> _View:
        """A place and all below."""
        made = _View(part, _Sum(), is_folded=is_folded, may_miss=place.may_miss)
        self._paint_leaves(place, made)
        light = find_light(place, self._children)
        for name, below, ends in named(place, light, self._delimiter):
            if ends == OTHER:
                made.put(_View(OTHER, self._total(below)))
            else:
                made.put(self.paint(below, ends, is_folded=FOLDED in ends if name is None else _folds(name)))
        crowded_out = sum(below.total() for below in place.rest.values())
        for view in made.below.values():
            view.may_miss = min(view.may_miss, crowded_out)
        other = made.below.get(OTHER)
        if other is not None:
            other.hidden = light.different
        for view in made.below.values():
            made.sum.add(view.sum)
        return made

    def _paint_leaves(self, place: Place, made: _View) -> None:
        leaves = dict(place.by_leaf())
        are_bytes = sum(not part_text(leaf).isprintable() or "\\x" in part_text(leaf) for leaf in leaves)
        if len(leaves) > min(MOST_KEYS_SHOWN, self._children) or are_bytes > MOST_BYTES_SHOWN:
            total = _Sum.of(chain.from_iterable(leaves.values()), self._scale)
            made.put(_View(FOLDED, total, is_leaf=True, is_folded=True))
        else:
            for leaf, tallies in leaves.items():
                made.put(_View(part_text(leaf), _Sum.of(tallies, self._scale), is_leaf=True))
        shown = shown_folds(place, self._children)
        for name, by_policy in place.folds.items():
            text = part_text(name) if name in shown else FOLDED
            total = _Sum.of(by_policy.values(), self._scale)
            made.put(_View(text, total, is_leaf=True, is_folded=True))

    def _total(self, place: Place) -> _Sum:
        total = _Sum.of(place.tallies(), self._scale)
        for below in place.below():
            total.add(self._total(below))
        return total


def shown_folds(place: Place, most: int) -> frozenset[Name]:
    """Which folded names of keys right below a place are shown by themselves; the others are one ``{id}``.

    Of many, those with hardly a key each are identifiers of a shape that is not known as one.
    """
    counts = {
        name: sum(tally.keys for tally in by_policy.values()) for name, by_policy in place.folds.items()
    }
    ordered = sorted(counts, key=lambda name: counts[name], reverse=True)[:most]
    if len(counts) > MOST_BYTES_SHOWN:
        ordered = [name for name in ordered if counts[name] >= FEWEST_KEYS_OF_A_NAME or name == WHOLE]
    return frozenset(ordered)


def find_light(place: Place, most: int) -> _Light:
    """Which names below a place have no node of their own."""
    crowd = place.crowd
    different, keys = (
        (crowd.different, sum(rest.total() for rest in place.rest.values())) if crowd else (0, 0)
    )
    light: list[Name] = []
    if len(place.inner) > most:
        counts = {name: below.total() for name, below in place.inner.items()}
        ordered = sorted(counts, key=lambda name: counts[name], reverse=True)
        least = KEPT * sum(counts.values())
        light = [name for name in ordered[most // 2 :] if not _is_number(name)]
        are_few = sum(counts[name] for name in light) < FEWEST_KEYS_OF_A_NAME * len(light)
        if are_few:
            light = [
                name for name in ordered if not _is_number(name) and (counts[name] < least or name in light)
            ]
        different += len(light)
        keys += sum(counts[name] for name in light)
    return _Light(frozenset(light), different, keys < FEWEST_KEYS_OF_A_NAME * different)


def named(place: Place, light: _Light, delimiter: str) -> Iterator[tuple[Name | None, Place, str]]:
    """The places below a place with their names as text; several have the same one."""
    for name, below in place.inner.items():
        if name not in light.names:
            yield name, below, part_text(name, delimiter)
        elif light.are_ids:
            yield None, below, FOLDED + (delimiter or _end(name))
        else:
            yield None, below, OTHER
    for ends, below in place.rest.items():
        yield None, below, FOLDED + (delimiter or ends.decode()) if light.are_ids else OTHER


def _folds(name: Name) -> bool:
    return isinstance(name, tuple)


def _is_number(name: Name) -> bool:
    return name == WHOLE


def _end(name: Name) -> str:
    """The delimiter that a name ends with, where there are several."""
    last = name if isinstance(name, bytes) else name[-1]
    return last.decode("utf-8", "ignore")[-1:]


def _node(view: _View, above: tuple[str, ...], scale: _Scale) -> TreeNode:
    is_root = not above and not view.part and not view.is_leaf
    path = () if is_root else (*above, view.part)
    found = view.sum
    children = [_node(each, path, scale) for each in view.below.values()]
    children.sort(key=_weight, reverse=True)
    objects = found.objects
    known = sum(objects.encodings.values())
    is_large = len(path) <= 2 or found.keys >= _SHARE_OF_ALL_BIGGEST * scale.looked_at
    return TreeNode(
        path=path,
        name=name_of(path),
        pattern=pattern_of(path, is_leaf=view.is_leaf),
        keys=scale.count(found.keys, is_all=is_root),
        size=scale.size(found),
        without_ttl=scale.count(found.ttls[-1]),
        ttl_counts=tuple(scale.number(count) for count in found.ttls),
        types={_plain(kind): scale.number(count) for kind, count in sorted(found.types.items())},
        biggest=tuple(_big(each) for each in found.biggest[: MOST_BIGGEST if is_large else _FEW_BIGGEST]),
        idle_s=objects.idle_s if objects.idle_s >= 0 else None,
        frequency=round(objects.counters_sum / objects.counters, 2) if objects.counters else None,
        encodings={
            _plain(encoding): round(number / known, 4)
            for encoding, number in sorted(objects.encodings.items(), key=lambda each: -each[1])
        },
        children=tuple(children),
        hidden=view.hidden,
        is_folded=view.is_folded,
        is_leaf=view.is_leaf,
        may_miss=view.may_miss,
    )


def _weight(node: TreeNode) -> tuple[bool, float, float]:
    return (node.pattern is not None, -1.0 if node.size is None else node.size.value, node.keys.value)


def _big(found: Big) -> BigKey:
    size_bytes, key, kind, ttl_ms = found
    return BigKey(key, _plain(kind), size_bytes, None if ttl_ms < 0 else ttl_ms / 1000)


def _policies(tree: Tree, rules: Rules, scale: _Scale) -> Iterator[Conformance]:
    by_policy: dict[int, list[Tally]] = {}
    for place in tree.all_places():
        for tally in place.tallies():
            if tally.policy != OWN:
                by_policy.setdefault(tally.policy, []).append(tally)
    for policy in sorted(by_policy):
        found = _Sum.of(by_policy[policy], scale)
        if not found.keys:
            continue
        yield Conformance(
            prefix=_prefix(rules, policy),
            keys=scale.count(found.keys),
            size=scale.size(found),
            without_ttl=scale.count(found.ttls[-1]),
            too_long=scale.count(found.too_long),
            examples=tuple(
                (key, None if ttl_ms < 0 else ttl_ms / 1000) for key, ttl_ms in tree.examples.get(policy, ())
            ),
        )


def _expiries(tree: Tree, rules: Rules, scale: _Scale, delimiter: str, children: int) -> Iterator[Expiries]:
    stems: dict[str, Expiry] = {}
    for stem, expiry in [(OTHER, tree.other), *_stems(tree.root, (), delimiter, children)]:
        if expiry.keys:
            stems.setdefault(stem, Expiry()).absorb(expiry)
    ordered = sorted(stems, key=lambda stem: (stem != OTHER, stems[stem].keys), reverse=True)
    for stem in ordered[MOST_STEMS:]:
        if stem != OTHER:
            stems.setdefault(OTHER, Expiry()).absorb(stems.pop(stem))
    for stem in [*(stem for stem in ordered if stem in stems and stem != OTHER), OTHER]:
        if stem in stems:
            found = stems[stem]
            policy = max(found.policies, key=lambda policy: found.policies[policy])
            yield Expiries(
                stem=stem,
                policy=_prefix(rules, policy),
                keys=scale.number(found.keys),
                fine={bucket: scale.number(count) for bucket, count in sorted(found.fine().items())},
                hours={hour: scale.number(count) for hour, count in sorted(found.hours.items())},
                later=scale.number(found.later),
                never=scale.number(found.never),
            )


def _stems(
    place: Place, path: tuple[str, ...], delimiter: str, children: int
) -> Iterator[tuple[str, Expiry]]:
    if place.owns:
        yield name_of(path), place.expiry
    if not path:
        shown = shown_folds(place, children)
        for name, by_policy in place.folds.items():
            expiry = next(iter(by_policy.values())).expiry
            if expiry is not place.expiry:
                yield part_text(name) if name in shown else FOLDED, expiry
    for _, below, ends in named(place, find_light(place, children), delimiter):
        yield from _stems(below, (*path, ends), delimiter, children)


def _of_few(number: int) -> float:
    """How much wider an interval squared is because its width, too, is known from few values only: Student's t to z."""
    return (1 + 1.2 / (number - 1) + 0.9 / (number - 1) ** 2) ** 2


def _prefix(rules: Rules, policy: int) -> str:
    return prefix_to_text(rules.prefixes[policy] or b"")


def _plain(kind: bytes) -> str:
    return kind.decode("ascii", "backslashreplace")
