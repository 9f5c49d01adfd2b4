"""What is counted of keys that belong together. Mutable, made to be cheap per key. Pure."""

import sys
import zlib
from array import array
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from heapq import heappushpop, nlargest
from typing import Any, Final

from dashboard.keyspace.types import EXPIRY_FAR_S, EXPIRY_FINE_S, EXPIRY_STEP_S, TTL_BOUNDS_S

MOST_BIGGEST: Final = 10
"""Largest keys that are kept."""
LONGEST_NAME: Final = 1_024
"""Bytes of a key that is kept by name: as one of the largest, or as an example."""
TTL_BOUNDS_MS: Final = tuple(bound * 1000 for bound in TTL_BOUNDS_S)
TTL_BUCKETS: Final = len(TTL_BOUNDS_S) + 2

_STEP_MS: Final = EXPIRY_STEP_S * 1000
_HOUR_MS: Final = 3_600_000
_FINE_MS: Final = EXPIRY_FINE_S * 1000
_FAR_MS: Final = EXPIRY_FAR_S * 1000
_BEFORE: Final = 3_600 // EXPIRY_STEP_S
"""Fine buckets before the first key's moment: batches of several threads come in any order."""
_MOST_FINE: Final = 4 * 86_400 // EXPIRY_STEP_S
"""Fine buckets, for a scan that takes days; what lies behind goes into the hours."""

Big = tuple[int, bytes, bytes, int]
"""Size in bytes, key, type, remaining TTL in ms (-1: none)."""


class Expiry:
    """When keys expire, by absolute time: 10 s buckets in one dense array, hours beyond. Some 40 KB."""

    __slots__ = ("base", "fine", "hours", "keys", "later", "never", "policies")

    def __init__(self) -> None:
        self.base = 0
        self.fine: array[int] | None = None
        self.hours: dict[int, int] = {}
        self.later = 0
        self.never = 0
        self.keys = 0
        self.policies: dict[int, int] = {}
        """Keys by policy."""

    def add(self, at_ms: int, ttls_ms: Sequence[int]) -> None:
        """Keys that do expire.

        Args:
            at_ms: epoch, when they were read.
            ttls_ms: remaining, ascending.
        """
        if ttls_ms[-1] > _FINE_MS:
            end = bisect_right(ttls_ms, _FINE_MS)
            for ttl_ms in ttls_ms[end:]:
                if ttl_ms > _FAR_MS:
                    self.later += 1
                else:
                    hour = (at_ms + ttl_ms) // _HOUR_MS
                    self.hours[hour] = self.hours.get(hour, 0) + 1
            ttls_ms = ttls_ms[:end]
            if not ttls_ms:
                return
        self.add_fine([(at_ms + ttl_ms) // _STEP_MS for ttl_ms in ttls_ms])

    def add_fine(self, buckets: Sequence[int]) -> None:
        """Fine buckets, ascending."""
        fine = self._reach(buckets[0], buckets[-1])
        base = self.base
        if buckets[0] < base or buckets[-1] - base >= len(fine):
            self._add_far(buckets)
            return
        for bucket in buckets:
            fine[bucket - base] += 1

    def count(self, bucket: int, number: int) -> None:
        """Add a number to one fine bucket."""
        fine = self._reach(bucket, bucket)
        if 0 <= bucket - self.base < len(fine):
            fine[bucket - self.base] += number
        else:
            hour = bucket * _STEP_MS // _HOUR_MS
            self.hours[hour] = self.hours.get(hour, 0) + number

    def absorb(self, other: "Expiry") -> None:
        """Add what another one has."""
        if other.fine is not None:
            if self.fine is None:
                self.fine, self.base = other.fine[:], other.base
            else:
                for bucket, number in other.sparse().items():
                    self.count(bucket, number)
        for hour, number in other.hours.items():
            self.hours[hour] = self.hours.get(hour, 0) + number
        self.later += other.later
        self.never += other.never
        self.keys += other.keys
        for policy, number in other.policies.items():
            self.policies[policy] = self.policies.get(policy, 0) + number

    def sparse(self) -> dict[int, int]:
        """The fine buckets that are not empty."""
        if self.fine is None:
            return {}
        base = self.base
        return {base + index: number for index, number in enumerate(self.fine) if number}

    def state(self) -> list[Any]:
        """For JSON."""
        packed = ""
        if self.fine is not None:
            packed = b64encode(zlib.compress(_portable(self.fine).tobytes(), 1)).decode()
        hours = [part for pair in self.hours.items() for part in pair]
        policies = [part for pair in self.policies.items() for part in pair]
        return [self.base, packed, hours, self.later, self.never, self.keys, policies]

    @classmethod
    def restore(cls, state: list[Any]) -> "Expiry":
        """What ``state`` gave."""
        made = cls()
        made.base, packed, hours, made.later, made.never, made.keys, policies = state
        if packed:
            fine = array("I")
            fine.frombytes(zlib.decompress(b64decode(packed)))
            made.fine = _portable(fine)
        made.hours = dict(zip(hours[::2], hours[1::2], strict=True))
        made.policies = dict(zip(policies[::2], policies[1::2], strict=True))
        return made

    def _reach(self, first: int, last: int) -> "array[int]":
        """The array, made to hold these buckets where that is within reason."""
        if self.fine is None:
            self.base = first - _BEFORE
            self.fine = array("I", bytes(4 * (_FINE_MS // _STEP_MS + 2 * _BEFORE)))
        missing = last - self.base + 1 - len(self.fine)
        if missing > 0:
            room = _MOST_FINE - len(self.fine)
            self.fine.frombytes(bytes(4 * max(0, min(missing + _BEFORE, room))))
        if first < self.base:
            room = min(self.base - first + _BEFORE, _MOST_FINE - len(self.fine))
            if room > 0:
                self.fine = array("I", bytes(4 * room)) + self.fine
                self.base -= room
        return self.fine

    def _add_far(self, buckets: Iterable[int]) -> None:
        for bucket in buckets:
            self.count(bucket, 1)


class Tally:
    """Keys of one place in the tree and of one policy.

    Args:
        policy: its number.
        limit_ms: the longest TTL that keeps to it; None: there is none.
        expiry: where their ends are counted.
    """

    __slots__ = (
        "biggest",
        "expiry",
        "idle_s",
        "keys",
        "least",
        "limit_ms",
        "policy",
        "rows",
        "size_square",
        "size_sum",
        "sized",
        "too_long",
        "ttls",
        "types",
    )

    def __init__(self, policy: int, limit_ms: int | None, expiry: Expiry) -> None:
        self.policy = policy
        self.limit_ms = limit_ms
        self.expiry = expiry
        self.rows: list[int] = []
        """Of the batch that is being added."""
        self.keys = 0
        self.sized = 0
        """Keys whose size was measured."""
        self.size_sum = 0
        self.size_square = 0
        self.too_long = 0
        self.ttls = [0] * TTL_BUCKETS
        self.types: dict[bytes, int] = {}
        self.biggest: list[Big] = []
        """A heap, smallest first."""
        self.least = -1
        """What is no larger does not come among the biggest."""
        self.idle_s = -1

    @property
    def never(self) -> int:
        """Keys without TTL."""
        return self.ttls[-1]

    def add_ttls(self, at_ms: int, ttls_ms: list[int]) -> int:
        """Count remaining TTLs.

        Args:
            at_ms: epoch, when they were read.
            ttls_ms: -1: none. Is sorted.

        Returns:
            How many break the policy because they are too long.
        """
        number = len(ttls_ms)
        self.keys += number
        expiry, counts = self.expiry, self.ttls
        expiry.keys += number
        expiry.policies[self.policy] = expiry.policies.get(self.policy, 0) + number
        ttls_ms.sort()
        never = 0
        if ttls_ms[0] < 0:
            never = bisect_right(ttls_ms, -1)
            counts[-1] += never
            expiry.never += never
            if never == number:
                return 0
            del ttls_ms[:never]
        before, longest = 0, ttls_ms[-1]
        for bucket, bound in enumerate(TTL_BOUNDS_MS):
            if longest <= bound:
                counts[bucket] += number - never - before
                break
            end = bisect_right(ttls_ms, bound, before)
            counts[bucket] += end - before
            before = end
        else:
            counts[-2] += number - never - before
        expiry.add(at_ms, ttls_ms)
        if self.limit_ms is None or longest <= self.limit_ms:
            return 0
        too_long = number - never - bisect_right(ttls_ms, self.limit_ms)
        self.too_long += too_long
        return too_long

    def add_types(self, types: Iterable[bytes]) -> None:
        """Count types."""
        for kind, number in Counter(types).items():
            self.types[kind] = self.types.get(kind, 0) + number

    def add_big(self, big: Big) -> None:
        """Perhaps one of the biggest."""
        if len(big[1]) > LONGEST_NAME:
            return
        if len(self.biggest) < MOST_BIGGEST:
            self.biggest.append(big)
            if len(self.biggest) == MOST_BIGGEST:
                self.biggest.sort()
                self.least = self.biggest[0][0]
            return
        heappushpop(self.biggest, big)
        self.least = self.biggest[0][0]

    def absorb(self, other: "Tally") -> None:
        """Add what another one has; its expiry is not looked at."""
        self.keys += other.keys
        self.sized += other.sized
        self.size_sum += other.size_sum
        self.size_square += other.size_square
        self.too_long += other.too_long
        self.ttls = [mine + theirs for mine, theirs in zip(self.ttls, other.ttls, strict=True)]
        for kind, number in other.types.items():
            self.types[kind] = self.types.get(kind, 0) + number
        self.idle_s = max(self.idle_s, other.idle_s)
        for big in other.biggest:
            if big[0] > self.least:
                self.add_big(big)

    def state(self) -> list[Any]:
        """For JSON; without the expiry."""
        return [
            self.policy,
            self.keys,
            self.sized,
            self.size_sum,
            self.size_square,
            self.too_long,
            self.ttls,
            {kind.decode("latin-1"): number for kind, number in self.types.items()},
            [
                [size, key.decode("latin-1"), kind.decode("latin-1"), ttl_ms]
                for size, key, kind, ttl_ms in self.biggest
            ],
            self.idle_s,
        ]

    def fill(self, state: list[Any]) -> None:
        """Make an empty one what ``state`` told of."""
        _, self.keys, self.sized, self.size_sum, self.size_square, self.too_long, self.ttls = state[:7]
        types, biggest, self.idle_s = state[7:]
        self.types = {kind.encode("latin-1"): number for kind, number in types.items()}
        self.biggest = [
            (size, key.encode("latin-1"), kind.encode("latin-1"), ttl_ms)
            for size, key, kind, ttl_ms in biggest
        ]
        if len(self.biggest) == MOST_BIGGEST:
            self.biggest.sort()
            self.least = self.biggest[0][0]


def largest(found: Iterable[Big], number: int = MOST_BIGGEST) -> list[Big]:
    """The largest, largest first; a key that was read twice is among them once."""
    made: dict[bytes, Big] = {}
    for big in nlargest(2 * number, found):
        made.setdefault(big[1], big)
    return list(made.values())[:number]


def _portable(numbers: "array[int]") -> "array[int]":
    """The array in little-endian order, or back."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
