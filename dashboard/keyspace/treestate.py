"""Trees as plain data for JSON, and back: a scan goes on in another process. Pure."""

from collections.abc import Callable
from typing import Any

from dashboard.keyspace.names import WHOLE, Name
from dashboard.keyspace.tallies import Expiry, Tally
from dashboard.keyspace.tree import Crowd, Place, Tree


def from_tree(tree: Tree) -> dict[str, Any]:
    """A tree as plain data."""
    expiries = _Expiries()
    root = _from_place(tree.root, expiries)
    return {
        "looked_at": tree.looked_at,
        "limits": list(tree.limits),
        "counted": list(tree.counted),
        "examples": [
            [policy, [[_text(key), ttl_ms] for key, ttl_ms in found]]
            for policy, found in tree.examples.items()
        ],
        "root": root,
        "other": expiries.number(tree.other),
        "expiries": [expiry.state() for expiry in expiries.found],
    }


def to_tree(found: dict[str, Any], tree: Tree) -> Tree:
    """Fill an empty tree with what ``from_tree`` gave."""
    expiries = [Expiry.restore(each) for each in found["expiries"]]
    tree.looked_at = found["looked_at"]
    width, leaf_width, deepest = found["limits"]
    tree.limits = width, leaf_width, deepest
    tree.examples = {
        policy: [(_bytes(key), ttl_ms) for key, ttl_ms in examples] for policy, examples in found["examples"]
    }
    tree.other = expiries[found["other"]]
    _to_place(found["root"], tree.root, tree, expiries)
    places, stems = found["counted"]
    tree.counted = places, stems
    return tree


class _Expiries:
    """Numbers them: several places share one."""

    def __init__(self) -> None:
        self.found: list[Expiry] = []
        self._numbers: dict[int, int] = {}

    def number(self, expiry: Expiry) -> int:
        number = self._numbers.get(id(expiry))
        if number is None:
            number = self._numbers[id(expiry)] = len(self.found)
            self.found.append(expiry)
        return number


def _from_place(place: Place, expiries: _Expiries) -> list[Any]:
    return [
        [
            expiries.number(place.expiry),
            int(place.owns),
            int(place.leaves_full),
            int(place.folds_full),
            int(place.is_closed),
        ],
        place.may_miss,
        [[_text(name), _from_tally(tally, expiries)] for name, found in place.by_leaf() for tally in found],
        [
            [_from_name(name), [_from_tally(tally, expiries) for tally in by_policy.values()]]
            for name, by_policy in place.folds.items()
        ],
        [[_from_name(name), _from_place(below, expiries)] for name, below in place.inner.items()],
        [[_text(delimiter), _from_place(below, expiries)] for delimiter, below in place.rest.items()],
        None if place.crowd is None else _from_crowd(place.crowd),
    ]


def _to_place(found: list[Any], place: Place, tree: Tree, expiries: list[Expiry]) -> None:
    (expiry, owns, leaves_full, folds_full, is_closed), place.may_miss, leaves, folds, inner, rest, crowd = (
        found
    )
    place.expiry, place.owns = expiries[expiry], bool(owns)
    place.leaves_full, place.folds_full = bool(leaves_full), bool(folds_full)
    place.is_closed = bool(is_closed)
    for leaf, (expiry, state) in leaves:
        tally = tree.leaf_of(place, _bytes(leaf), state[0])
        tally.expiry = expiries[expiry]
        tally.fill(state)
    for folded, states in folds:
        name = _to_name(folded)
        by_policy = place.folds[name] = {}
        for state in states:
            if name == WHOLE:
                tally = _to_tally(
                    state, lambda policy, expiry: tree.new_whole(place, policy, expiry), expiries
                )
            else:
                tally = _to_tally(state, tree.new_tally, expiries)
            by_policy[tally.policy] = tally
    for folded, state in inner:
        name = _to_name(folded)
        below = place.inner[name] = tree.grow(place, name)
        if name == WHOLE:
            place.number = below
        _to_place(state, below, tree, expiries)
    for delimiter, state in rest:
        below = place.rest[_bytes(delimiter)] = tree.grow(place, None)
        _to_place(state, below, tree, expiries)
    place.crowd = None if crowd is None else _to_crowd(crowd)


def _from_tally(tally: Tally, expiries: _Expiries) -> list[Any]:
    return [expiries.number(tally.expiry), tally.state()]


def _to_tally(found: list[Any], make: Callable[[int, Expiry], Tally], expiries: list[Expiry]) -> Tally:
    expiry, state = found
    made = make(state[0], expiries[expiry])
    made.fill(state)
    return made


def _from_crowd(crowd: Crowd) -> list[Any]:
    names = [[_from_name(name), number] for name, number in crowd.names.items()]
    return [crowd.limit, crowd.bar, crowd.missed, crowd.passed, crowd.sketch, names]


def _to_crowd(found: list[Any]) -> Crowd:
    made = Crowd(found[0])
    _, made.bar, made.missed, made.passed, made.sketch, names = found
    made.names = {_to_name(name): number for name, number in names}
    return made


def _from_name(name: Name) -> str | list[str]:
    return _text(name) if isinstance(name, bytes) else [_text(piece) for piece in name]


def _to_name(found: str | list[str]) -> Name:
    return _bytes(found) if isinstance(found, str) else tuple(_bytes(piece) for piece in found)


def _text(data: bytes) -> str:
    return data.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode("latin-1")
