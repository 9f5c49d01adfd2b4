"""Cursors for SCAN that begin at random places.

A cursor is the number of a bucket of the server's table, its bits in reverse: SCAN counts from the highest bit down.
Which bucket a key is in depends on its hash alone, with a seed that the server draws at its start, so the keys in some
buckets are a fair sample. A server in a Cluster has a table for each slot since Redis 7.4 and Valkey 8: there the
lowest 14 bits are the slot, and slots hold as many keys as their hash tags let them, so they are drawn by their size.
"""

import bisect
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final

from dashboard.fleet import replies
from dashboard.fleet.registry import Node
from dashboard.fleet.topology import SLOTS

_BITS: Final = 64
_SLOT_BITS: Final = 14
_AT_ONCE: Final = 512


def spread(number: int, chance: Callable[[], float]) -> list[int]:
    """Cursors that are evenly far apart, from a random first one, in random order: walks from them do not meet soon.

    Args:
        chance: a random number in [0, 1).
    """
    offset = chance()
    cursors = [_cursor((index + offset) / number, _BITS) for index in range(number)]
    for index in range(number - 1, 0, -1):
        other = int(chance() * (index + 1))
        cursors[index], cursors[other] = cursors[other], cursors[index]
    return cursors


def in_slots(sizes: Sequence[int], number: int, chance: Callable[[], float]) -> list[int]:
    """Cursors within slots, each drawn as often as it has keys.

    Args:
        sizes: keys per slot; at least one has some.
        chance: a random number in [0, 1).
    """
    ends = list(accumulate(sizes))
    return [
        _cursor(chance(), _BITS - _SLOT_BITS) << _SLOT_BITS
        | bisect.bisect_right(ends, min(ends[-1] - 1, int(chance() * ends[-1])))
        for _ in range(number)
    ]


def has_slots(info: bytes) -> bool:
    """Whether the cursors of a server with this INFO carry a slot. Pure."""
    mode = replies.info_field(info, b"server_mode") or replies.info_field(info, b"redis_mode")
    if mode != "cluster":
        return False
    valkey = _version(replies.info_field(info, b"valkey_version"))
    return valkey >= (8, 0) if valkey else _version(replies.info_field(info, b"redis_version")) >= (7, 4)


def slot_sizes(node: Node, slots: Sequence[int] = range(SLOTS)) -> list[int] | None:
    """Keys per slot, 0 for those that were not asked for; None: the server does not say.

    Raises:
        FleetError: the node can't be used.
    """
    sizes = [0] * SLOTS
    for start in range(0, len(slots), _AT_ONCE):
        part = slots[start : start + _AT_ONCE]
        answers, _ = node.run([("CLUSTER", "COUNTKEYSINSLOT", slot) for slot in part])
        for slot, answer in zip(part, answers, strict=True):
            if not isinstance(answer, int):
                return None
            sizes[slot] = answer
    return sizes


def _cursor(place: float, bits: int) -> int:
    """The cursor of a place, 0..1, among the buckets in the order in which SCAN goes through them."""
    return int(f"{int(place * (1 << bits)):0{bits}b}"[::-1], 2)


def _version(text: str | None) -> tuple[int, ...]:
    found = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", text or "")
    return tuple(int(part) for part in found.groups()) if found else ()
