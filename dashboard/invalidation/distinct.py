"""Leaves out of a long list what was in it before, in little memory. Pure."""

from array import array
from collections.abc import Iterable, Iterator
from typing import Final

_FIRST_SLOTS: Final = 1 << 12
_ALL_BITS: Final = (1 << 64) - 1


def distinct(keys: Iterable[bytes]) -> Iterator[bytes]:
    """The same keys in the same order, each once.

    What is remembered of a key is 64 bits, so five million of them take some 70 MB, where a set would take half a
    gigabyte. That two of five million different keys have the same ones is less likely than one in a million, and
    nobody can bring it about: Python's hash has another secret in each process.
    """
    seen = _Seen()
    return (key for key in keys if seen.is_new(hash(key) & _ALL_BITS or 1))


class _Seen:
    """A hash table with open addressing; 0 is an empty slot."""

    def __init__(self) -> None:
        self._count = 0
        self._slots = array("Q", bytes(8 * _FIRST_SLOTS))

    def is_new(self, mark: int) -> bool:
        """Remember a mark; whether it was not there."""
        slots = self._slots
        mask = len(slots) - 1
        place = mark & mask
        while held := slots[place]:
            if held == mark:
                return False
            place = (place + 1) & mask
        slots[place] = mark
        self._count += 1
        if self._count * 3 > len(slots) * 2:
            self._grow()
        return True

    def _grow(self) -> None:
        slots = array("Q", bytes(8 * 2 * len(self._slots)))
        mask = len(slots) - 1
        for mark in self._slots:
            if mark:
                place = mark & mask
                while slots[place]:
                    place = (place + 1) & mask
                slots[place] = mark
        self._slots = slots
