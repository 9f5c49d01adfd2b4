"""The tree of prefixes of one node's keys: grown as keys come, and kept from growing too large. Pure.

Two things keep it small. A name that is an identifier by its looks is folded at once. And a place below which there
are too many names is *crowded*: the heavy ones keep a place of their own, all others are counted together from then on,
and what is new has to prove itself first (Misra and Gries' counters: a name that makes up more than PROMOTED of what
is counted there is found, whenever it comes). Sums are exact always; what a name may have missed before it had its
place is known.
"""

import zlib
from bisect import bisect_left, insort
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dashboard.keyspace.identifiers import Folder
from dashboard.keyspace.names import WHOLE, Name
from dashboard.keyspace.rules import Rules
from dashboard.keyspace.tallies import Expiry, Tally

DEPTH: Final = 8
"""Parts with a delimiter behind them; the rest of a key is one part."""
STEM_DEPTH: Final = 3
"""Parts that a stem has at most."""
KEPT: Final = 1 / 500
"""Share of its siblings' keys that a name needs to keep its place when there are too many."""
PROMOTED: Final = 1 / 200
"""Share of the keys counted together that a name needs to get a place."""
FEWEST_PROMOTED: Final = 64
MOST_EXAMPLES: Final = 5
_FEWEST_NAMES: Final = 16
_SKETCH: Final = 128
_NAMES_PER_PLACE: Final = 8
"""So many names of a crowd take as much memory as a place."""
_MOST_SHARED: Final = 8
"""Tallies of a mixed place for each name that it may have."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large a tree may grow.

    Args:
        names: below one place.
        leaves: names below one place that are whole keys.
        places: of the whole tree; a place with its counters takes about a kilobyte.
        stems: histograms of expiries; each takes some 40 KB.
    """

    names: int = 1_000
    leaves: int = 256
    places: int = 16_000
    stems: int = 256


class Crowd:
    """Names that are counted together, because there are too many.

    ``names`` holds how many keys the most frequent ones have; each may have ``missed`` more, which is also the most
    that any other has. None has more than ``passed``, the keys that are counted here.
    """

    __slots__ = ("bar", "limit", "missed", "names", "passed", "sketch")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bar = 0
        """Keys that a name needs to drive others out when there is no room."""
        self.names: dict[Name, int] = {}
        self.missed = 0
        self.passed = 0
        self.sketch: list[int] = []
        """The smallest hashes of names, ascending: how far apart they lie says how many there are."""

    def count(self, name: Name, number: int = 1) -> int:
        """Count keys of a name; how many it has by now, without those that may be missed."""
        self.passed += number
        return self.note(name, number)

    def note(self, name: Name, number: int) -> int:
        """Count keys of a name that are, or may be, counted here already."""
        counted = self.names.get(name)
        if counted is not None:
            self.names[name] = counted = counted + number
            return counted
        self.names[name] = number
        self._sketch(zlib.crc32(name if isinstance(name, bytes) else b"\0".join(name)))
        if len(self.names) > 2 * self.limit:
            self._shorten()
        return number

    def pop(self, name: Name) -> int:
        """How many keys of a name may be counted here, now that it gets a place."""
        return min(self.names.pop(name, 0) + self.missed, self.passed)

    def bound(self, name: Name) -> int:
        """How many keys of a name may be counted here."""
        return min(self.names.get(name, 0) + self.missed, self.passed)

    def absorb(self, other: "Crowd") -> None:
        """Add what another one has."""
        for name, number in other.names.items():
            self.names[name] = self.names.get(name, 0) + number
        self.missed += other.missed
        self.passed += other.passed
        for drawn in other.sketch:
            self._sketch(drawn)
        if len(self.names) > 2 * self.limit:
            self._shorten()

    def tighten(self, limit: int) -> None:
        """Remember fewer names."""
        self.limit = min(self.limit, limit)
        if len(self.names) > 2 * self.limit:
            self._shorten()

    @property
    def different(self) -> int:
        """How many different names there were, about."""
        if len(self.sketch) < _SKETCH:
            return max(len(self.sketch), len(self.names))
        return max(len(self.names), int((_SKETCH - 1) * 2**32 / (self.sketch[-1] + 1)))

    def _sketch(self, drawn: int) -> None:
        sketch = self.sketch
        if len(sketch) == _SKETCH:
            if drawn >= sketch[-1]:
                return
            if sketch[bisect_left(sketch, drawn)] != drawn:
                insort(sketch, drawn)
                sketch.pop()
        else:
            place = bisect_left(sketch, drawn)
            if place == len(sketch) or sketch[place] != drawn:
                sketch.insert(place, drawn)

    def _shorten(self) -> None:
        """Take the same from all, so much that only the larger half stays."""
        cut = sorted(self.names.values(), reverse=True)[self.limit]
        self.names = {name: number - cut for name, number in self.names.items() if number > cut}
        self.missed += cut


class Place:
    """One prefix.

    Args:
        head: the literal bytes that all its keys begin with.
        depth: parts above it.
        policy: number of the policy of all its keys; None: there are several.
    """

    __slots__ = (
        "crowd",
        "depth",
        "expiry",
        "folds",
        "folds_full",
        "head",
        "inner",
        "is_closed",
        "is_literal",
        "is_mixed",
        "leaves",
        "leaves_full",
        "may_miss",
        "number",
        "owns",
        "policy",
        "rest",
        "shared",
        "whole",
    )

    def __init__(self, head: bytes, is_literal: bool, depth: int, policy: int | None) -> None:
        self.head = head
        self.is_literal = is_literal
        """Whether its keys have this head and nothing else in common, so far."""
        self.depth = depth
        self.policy = policy
        self.is_mixed = policy is None and not is_literal
        """Whether keys that end alike may have different policies."""
        self.inner: dict[Name, Place] = {}
        self.number: Place | None = None
        """``inner`` of WHOLE."""
        self.leaves: dict[bytes, Tally] = {}
        """By the literal last part of keys."""
        self.shared: dict[bytes, dict[int, Tally]] = {}
        """The same where the place is mixed: by last part and policy; ``leaves`` is empty there."""
        self.whole: Tally | None = None
        """Keys that end in a number, where all have the same policy."""
        self.folds: dict[Name, dict[int, Tally]] = {}
        self.leaves_full = False
        self.folds_full = False
        self.crowd: Crowd | None = None
        self.rest: dict[bytes, Place] = {}
        """What is crowded out, by the delimiter behind it."""
        self.may_miss = 0
        self.is_closed = False
        """Whether there is nothing below, and all keys count as ending in identifiers."""
        self.expiry: Expiry
        """Where the ends of its keys are counted."""
        self.owns = False
        """Whether no other place counts there, too."""

    def tallies(self) -> Iterator[Tally]:
        """Of the keys that end here."""
        for _, tallies in self.by_leaf():
            yield from tallies
        for by_policy in self.folds.values():
            yield from by_policy.values()

    def by_leaf(self) -> Iterator[tuple[bytes, Collection[Tally]]]:
        """The literal last parts of the keys that end here, and their tallies."""
        for name, tally in self.leaves.items():
            yield name, (tally,)
        for name, by_policy in self.shared.items():
            yield name, by_policy.values()

    def below(self) -> Iterator["Place"]:
        """The places right below."""
        yield from self.inner.values()
        yield from self.rest.values()

    def total(self) -> int:
        """Keys here and below."""
        return sum(tally.keys for tally in self.tallies()) + sum(place.total() for place in self.below())


class Tree:
    """The prefixes of one node's keys.

    Args:
        rules: which policy applies to what.
        delimiters: between parts; several where each byte string is one.
        bounds: how large it may grow.
    """

    def __init__(self, rules: Rules, delimiters: tuple[bytes, ...], bounds: Bounds) -> None:
        self.bounds = bounds
        self.examples: dict[int, list[tuple[bytes, int]]] = {}
        """By policy: some keys that break it, and their TTL in ms (-1: none)."""
        self.other = Expiry()
        self.looked_at = 0
        self._rules = rules
        self._delimiters = delimiters if len(delimiters) > 1 else ()
        """Names of inner places end with theirs; where there is but one it goes without saying."""
        self._folder = Folder()
        self._stems = 0
        self._full: list[Place] = []
        self._width = bounds.names
        self._leaf_width = bounds.leaves
        self._deepest = DEPTH + 1
        self.places = 0
        self.root = self._new(b"", True, 0, None)

    def step(self, place: Place, part: bytes) -> Place:
        """The place below for a part, which was not found by its literal name; made where it is missing."""
        if place.is_closed:
            return place
        name, delimiter = self._name(part)
        below = place.inner.get(name)
        if below is not None:
            return below
        crowd = place.crowd
        if crowd is not None and not self._is_whole(name):
            number = crowd.count(name)
            is_heavy = number >= FEWEST_PROMOTED and number >= crowd.passed * PROMOTED
            if not is_heavy or (len(place.inner) >= self._width and number < crowd.bar):
                rest = place.rest.get(delimiter)
                if rest is None:
                    rest = place.rest[delimiter] = self.grow(place, None)
                return rest
            missed = crowd.pop(name) - 1
        else:
            missed = 0
        below = place.inner[name] = self.grow(place, name)
        below.may_miss = missed
        if name == WHOLE:
            place.number = below
        if len(place.inner) > self._width:
            self._full.append(place)
        return below

    def leaf(self, place: Place, key: bytes, part: bytes, is_rest: bool) -> Tally:
        """The tally of a key, which was not found by its last part's literal name; made where it is missing.

        Args:
            place: where it ends.
            key: the whole of it.
            part: the last part.
            is_rest: it is all that is left of a key of very many parts.
        """
        if place.shared and not is_rest:
            known = place.shared.get(part)
            tally = None if known is None else known.get(self._rules.find(key))
            if tally is not None:
                return tally
        folds = place.folds
        name: Name = WHOLE
        if not is_rest and not (place.leaves_full and (not folds or (len(folds) == 1 and WHOLE in folds))):
            name = self._folder.fold(part)
            if isinstance(name, bytes):
                if not place.leaves_full:
                    return self.leaf_of(place, name, self._policy_of(place, key))
                name = WHOLE
            elif place.folds_full and name not in folds:
                name = WHOLE
        by_policy = folds.get(name)
        if by_policy is None:
            by_policy = folds[name] = {}
            if len(folds) > self._leaf_width:
                self._full.append(place)
        policy = self._policy_of(place, key)
        tally = by_policy.get(policy)
        if tally is None:
            self.places += 1
            expiry = place.expiry
            if by_policy:
                expiry = next(iter(by_policy.values())).expiry
            elif place.depth == 0 and name != WHOLE and self._stems < self.bounds.stems // 4:
                # Without delimiters the names in front of numbers are all there is to tell keys apart.
                expiry = Expiry()
                self._stems += 1
            tally = self.new_whole(place, policy, expiry) if name == WHOLE else self.new_tally(policy, expiry)
            by_policy[policy] = tally
        return tally

    def tidy(self) -> None:
        """Make room where there is too much; between batches, because places vanish."""
        self._thin_full()
        # What was merged is still counted: walk through all places only when there might be too many.
        if self.places > self.bounds.places or self._stems > self.bounds.stems:
            self._recount()
        while self.places > self.bounds.places and (self._width > 2 or self._deepest > 1):
            if self._width > 2:
                self._width = max(2, self._width // 2)
                self._leaf_width = max(2, self._leaf_width // 2)
            else:
                self._deepest -= 1
            self._full += self.all_places()
            self._thin_full()
            self._recount()
        if self._stems > self.bounds.stems:
            self._shed()

    @property
    def limits(self) -> tuple[int, int, int]:
        """By now: how many names, and how many whole keys, may be below one place; how deep places may be."""
        return self._width, self._leaf_width, self._deepest

    @limits.setter
    def limits(self, limits: tuple[int, int, int]) -> None:
        self._width, self._leaf_width, self._deepest = limits

    @property
    def counted(self) -> tuple[int, int]:
        """Places, and histograms of expiries, at most: some may be gone by now."""
        return self.places, self._stems

    @counted.setter
    def counted(self, counted: tuple[int, int]) -> None:
        self.places, self._stems = counted

    def absorb(self, other: "Tree") -> None:
        """Add what another tree has; nothing is shared afterwards."""
        self._merge(self.root, other.root)
        self.other.absorb(other.other)
        self.tidy()
        self.looked_at += other.looked_at
        for policy, examples in other.examples.items():
            mine = self.examples.setdefault(policy, [])
            mine += examples[: MOST_EXAMPLES - len(mine)]

    def all_places(self) -> Iterator[Place]:
        """The root and all below."""
        pending = [self.root]
        while pending:
            place = pending.pop()
            yield place
            pending += place.below()

    # --- growing ------------------------------------------------------------------------------------------------

    def _name(self, part: bytes) -> tuple[Name, bytes]:
        """A part's name, and the delimiter that is written in it."""
        for delimiter in self._delimiters:
            if part.endswith(delimiter):
                name = self._folder.fold(part[: -len(delimiter)])
                if isinstance(name, bytes):
                    return part, delimiter
                return (*name[:-1], name[-1] + delimiter), delimiter
        return self._folder.fold(part), b""

    def _new(self, head: bytes, is_literal: bool, depth: int, policy: int | None) -> Place:
        place = Place(head, is_literal, depth, policy)
        self.places += 1
        place.expiry = Expiry()
        place.owns = True
        self._stems += 1
        return place

    def grow(self, above: Place, name: Name | None) -> Place:
        """A new place below another; without a name it is for what is crowded out."""
        if isinstance(name, bytes) and above.is_literal:
            head, is_literal = above.head + name + (b"" if self._delimiters else self._rules.delimiter), True
        else:
            head, is_literal = above.head, False
        policy = above.policy
        if policy is None:
            policy = self._rules.only(head)
        place = Place(head, is_literal, above.depth + 1, policy)
        self.places += 1
        if place.depth >= self._deepest:
            place.is_closed = place.leaves_full = place.folds_full = True
        if place.depth > STEM_DEPTH:
            place.expiry = above.expiry
        elif self._stems < 2 * self.bounds.stems or name is None or self._is_whole(name):
            place.expiry = Expiry()
            place.owns = True
            self._stems += 1
        else:
            place.expiry = self.other if above.depth == 0 else above.expiry
        return place

    def _policy_of(self, place: Place, key: bytes) -> int:
        return place.policy if place.policy is not None else self._rules.find(key)

    def leaf_of(self, place: Place, name: bytes, policy: int) -> Tally:
        """The tally of the keys of one policy that end in a literal part; made where it is missing."""
        by_policy = place.shared.setdefault(name, {}) if place.is_mixed else None
        found = place.leaves.get(name) if by_policy is None else by_policy.get(policy)
        if found is not None:
            return found
        made = self.new_tally(policy, place.expiry)
        if by_policy is None:
            place.leaves[name] = made
        else:
            by_policy[policy] = made
        self.places += 1
        if self._has_many_leaves(place):
            self._full.append(place)
        return made

    def _has_many_leaves(self, place: Place) -> bool:
        if len(place.leaves) > self._leaf_width or len(place.shared) > self._leaf_width:
            return True
        # One name alone takes as much when it is folded.
        return len(place.shared) > 1 and _tallies(place.shared) > _MOST_SHARED * self._leaf_width

    def new_tally(self, policy: int, expiry: Expiry) -> Tally:
        """A tally of keys of one policy."""
        return Tally(policy, self._rules.limits_ms[policy], expiry)

    def new_whole(self, place: Place, policy: int, expiry: Expiry) -> Tally:
        """A tally of keys that end in identifiers."""
        made = self.new_tally(policy, expiry)
        only = place.policy
        if only is None and place.is_literal and not place.is_closed:
            only = self._rules.between(place.head + b"0", place.head + b":")  # the byte after "9"
        if only == policy:
            place.whole = made
        return made

    # --- keeping small ------------------------------------------------------------------------------------------

    def _thin_full(self) -> None:
        """Thin what is noted as full, and what becomes so: each has what others were thinned of."""
        while self._full:
            full, self._full = self._full, []
            for place in full:
                self._thin(place)

    def _thin(self, place: Place) -> None:
        if place.depth >= self._deepest:
            self._close(place)
            return
        if self._has_many_leaves(place):
            self._fold_leaves(place)
        if len(place.folds) > self._leaf_width:
            self._thin_folds(place)
        if len(place.inner) > self._width:
            self._crowd_out(place)
        if place.crowd is not None:
            place.crowd.tighten(max(_FEWEST_NAMES, self._width))

    def _close(self, place: Place) -> None:
        """Count all that is below with the place itself."""
        if place.is_closed:
            return
        inside = [*place.below()]
        place.inner, place.rest, place.number, place.crowd = {}, {}, None, None
        place.is_closed = place.leaves_full = place.folds_full = True
        ended = [*place.tallies()]
        place.leaves, place.shared, place.folds, place.whole = {}, {}, {}, None
        for tally in ended:
            self._into_fold(place, WHOLE, tally)
        for below in inside:
            self._swallow(place, below)

    def _fold_leaves(self, place: Place) -> None:
        """Tell the keys that end in a literal part apart no more."""
        for _, tallies in place.by_leaf():
            for tally in tallies:
                self._into_fold(place, WHOLE, tally)
        place.leaves, place.shared, place.leaves_full = {}, {}, True

    def _swallow(self, into: Place, place: Place) -> None:
        """Count a place and all below with a closed one."""
        if place.owns:
            into.expiry.absorb(place.expiry)
        for tally in place.tallies():
            self._into_fold(into, WHOLE, tally)
        for below in place.below():
            self._swallow(into, below)

    def _thin_folds(self, place: Place) -> None:
        place.folds_full = True
        counts = {
            name: sum(tally.keys for tally in by_policy.values()) for name, by_policy in place.folds.items()
        }
        kept = _heavy(counts, self._leaf_width // 2)
        for name in counts:
            if name in kept or name == WHOLE:
                continue
            tallies = list(place.folds.pop(name).values())
            if tallies[0].expiry is not place.expiry:
                place.expiry.absorb(tallies[0].expiry)
            for tally in tallies:
                self._into_fold(place, WHOLE, tally)

    def _into_fold(self, place: Place, name: Name, tally: Tally) -> None:
        by_policy = place.folds.setdefault(name, {})
        into = by_policy.get(tally.policy)
        if into is None:
            expiry = next(iter(by_policy.values())).expiry if by_policy else place.expiry
            into = (
                self.new_whole(place, tally.policy, expiry)
                if name == WHOLE
                else self.new_tally(tally.policy, expiry)
            )
            by_policy[tally.policy] = into
        into.absorb(tally)

    def _crowd_out(self, place: Place) -> None:
        counts = {name: below.total() for name, below in place.inner.items()}
        kept = _heavy(counts, self._width // 2)
        if place.crowd is None:
            place.crowd = Crowd(max(_FEWEST_NAMES, self._width))
        place.crowd.bar = 2 * min((counts[name] for name in kept), default=0)
        for name in list(place.inner):
            if name in kept or self._is_whole(name):
                continue
            below = place.inner.pop(name)
            delimiter = self._delimiter_of(name)
            rest = place.rest.get(delimiter)
            if rest is None:
                rest = place.rest[delimiter] = self.grow(place, None)
            self._merge(rest, below)
            place.crowd.count(name, counts[name])
            if below.may_miss:
                place.crowd.note(name, below.may_miss)

    def _is_whole(self, name: Name) -> bool:
        """Whether a part is an identifier and nothing else, but for the delimiter."""
        return name == WHOLE or (
            isinstance(name, tuple) and len(name) == 2 and not name[0] and name[1] in self._delimiters
        )

    def _delimiter_of(self, name: Name) -> bytes:
        end = name if isinstance(name, bytes) else name[-1]
        return next((delimiter for delimiter in self._delimiters if end.endswith(delimiter)), b"")

    def _merge(self, into: Place, place: Place) -> None:
        """Add a place and all below to another."""
        if into.is_closed:
            self._swallow(into, place)
            return
        if place.owns:
            into.expiry.absorb(place.expiry)
        counted: set[int] = set()
        for leaf, tallies in place.by_leaf():
            for tally in tallies:
                if into.leaves_full:
                    self._into_fold(into, WHOLE, tally)
                else:
                    self.leaf_of(into, leaf, tally.policy).absorb(tally)
        for name, by_policy in place.folds.items():
            for tally in by_policy.values():
                target = name if name in into.folds or not into.folds_full else WHOLE
                self._into_fold(into, target, tally)
                if place.depth == 0 and tally.expiry is not place.expiry and id(tally.expiry) not in counted:
                    counted.add(id(tally.expiry))
                    self._merge_own(into, target, tally.expiry)
        if place.leaves_full and not into.leaves_full:
            self._fold_leaves(into)
        into.folds_full |= place.folds_full
        self._merge_below(into, place)
        if len(into.folds) > self._leaf_width or len(into.inner) > self._width:
            self._full.append(into)

    def _merge_own(self, into: Place, name: Name, expiry: Expiry) -> None:
        """Add the ends of keys that were counted apart from the others of their place."""
        tallies = list(into.folds[name].values())
        if into.depth == 0 and name != WHOLE:
            if tallies[0].expiry is into.expiry:
                mine = Expiry()
                self._stems += 1
                for tally in tallies:
                    tally.expiry = mine
            tallies[0].expiry.absorb(expiry)
        else:
            into.expiry.absorb(expiry)

    def _merge_below(self, into: Place, place: Place) -> None:
        theirs, mine = place.crowd, into.crowd
        if theirs is not None:
            for name, below in into.inner.items():
                if not self._is_whole(name):
                    below.may_miss += theirs.bound(name)
        for name, below in place.inner.items():
            target = into.inner.get(name)
            if target is None:
                target = into.inner[name] = self.grow(into, name)
                if name == WHOLE:
                    into.number = target
                if mine is not None and not self._is_whole(name):
                    target.may_miss += mine.pop(name)
            target.may_miss += below.may_miss
            self._merge(target, below)
        for delimiter, below in place.rest.items():
            target = into.rest.get(delimiter)
            if target is None:
                target = into.rest[delimiter] = self.grow(into, None)
            self._merge(target, below)
        if theirs is not None:
            if mine is None:
                mine = into.crowd = Crowd(theirs.limit)
            mine.absorb(theirs)
            for name in into.inner:
                mine.names.pop(name, None)

    def _recount(self) -> None:
        """Count anew what is there: places that were merged are gone with all below."""
        self.places = self._stems = 0
        for place in self.all_places():
            self.places += 1 + len(place.leaves) + _tallies(place.shared) + _tallies(place.folds)
            if place.crowd is not None:
                self.places += (len(place.crowd.names) + len(place.crowd.sketch)) // _NAMES_PER_PLACE
            # Those without a key take no memory to speak of.
            self._stems += place.owns and place.expiry.keys > 0
            if place.depth == 0:
                self._stems += sum(
                    any(tally.expiry is not place.expiry for tally in by_policy.values())
                    for by_policy in place.folds.values()
                )

    def _shed(self) -> None:
        """Count the ends of keys of light places with those of the place above; of the lightest at the top, apart."""
        above: dict[int, Place] = {}
        owners: list[Place] = []
        for place in self.all_places():
            for below in place.below():
                above[id(below)] = place
            if place.owns and place.depth and place.expiry.keys:
                owners.append(place)
        replaced: dict[int, Expiry] = {}
        most = self.bounds.stems // 2
        excess = len(owners) - most
        for place in sorted(owners, key=lambda place: (place.expiry.keys, -place.depth))[: max(0, excess)]:
            into = self.other if place.depth == 1 else _last(replaced, above[id(place)].expiry)
            replaced[id(place.expiry)] = into
            into.absorb(place.expiry)
            place.owns = False
        for place in self.all_places():
            place.expiry = _last(replaced, place.expiry)
            for tally in place.tallies():
                tally.expiry = _last(replaced, tally.expiry)
        self._recount()


def _tallies(found: Mapping[Any, dict[int, Tally]]) -> int:
    return sum(map(len, found.values()))


def _last(replaced: dict[int, Expiry], expiry: Expiry) -> Expiry:
    while (into := replaced.get(id(expiry))) is not None:
        expiry = into
    return expiry


def _heavy(counts: dict[Name, int], most: int) -> set[Name]:
    """The names that keep their place."""
    total = sum(counts.values())
    ordered = sorted(counts, key=lambda name: counts[name], reverse=True)[:most]
    return {name for name in ordered if counts[name] >= total * KEPT}
