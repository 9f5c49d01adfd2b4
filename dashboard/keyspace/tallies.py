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

from dashboard.fleet.probing import Facts
from dashboard.keyspace.types import EXPIRY_FAR_S, EXPIRY_FINE_S, EXPIRY_STEP_S, TTL_BOUNDS_S

MOST_BIGGEST: Final = 10
"""Largest keys that are kept."""
MOST_ENCODINGS: Final = 24
OTHER_ENCODING: Final = b"(other)"
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
_MOST_FEW: Final = 500
_MOST_FINE: Final = 4 * 86_400 // EXPIRY_STEP_S
"""Fine buckets, for a scan that takes days; what lies behind goes into the hours."""

Big = tuple[int, bytes, bytes, int]
"""Size in bytes, key, type, remaining TTL in ms (-1: none)."""


class Expiry:
    """When keys expire, by absolute time: 10 s buckets, and hours beyond. Never more than some 150 KB; 40 as a rule."""

    __slots__ = ("_base", "_dense", "_few", "hours", "keys", "later", "never", "policies")

    def __init__(self) -> None:
        self._few: dict[int, int] = {}
        """Fine buckets, while they are few."""
        self._dense: array[int] | None = None
        """All fine buckets from ``_base`` on: less memory than a dict of thousands, and quicker."""
        self._base = 0
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
        buckets = [(at_ms + ttl_ms) // _STEP_MS for ttl_ms in ttls_ms]
        dense = self._dense
        if dense is None:
            few = self._few
            for bucket in buckets:
                few[bucket] = few.get(bucket, 0) + 1
            if len(few) > _MOST_FEW:
                self._thicken()
            return
        base = self._base
        if buckets[0] < base or buckets[-1] - base >= len(dense):
            for bucket in buckets:
                self._count(bucket, 1)
            return
        for bucket in buckets:
            dense[bucket - base] += 1

    def absorb(self, other: "Expiry") -> None:
        """Add what another one has."""
        if self._dense is None and not self._few and other._dense is not None:
            self._dense, self._base = other._dense[:], other._base
        else:
            for bucket, number in other.fine().items():
                self._count(bucket, number)
        for hour, number in other.hours.items():
            self.hours[hour] = self.hours.get(hour, 0) + number
        self.later += other.later
        self.never += other.never
        self.keys += other.keys
        for policy, number in other.policies.items():
            self.policies[policy] = self.policies.get(policy, 0) + number

    def fine(self) -> dict[int, int]:
        """The fine buckets that are not empty."""
        if self._dense is None:
            return self._few
        base = self._base
        return {base + index: number for index, number in enumerate(self._dense) if number}

    def state(self) -> list[Any]:
        """For JSON."""
        packed = ""
        if self._dense is not None:
            packed = b64encode(zlib.compress(_portable(self._dense).tobytes(), 1)).decode()
        return [
            self._base,
            packed,
            _flat(self._few),
            _flat(self.hours),
            self.later,
            self.never,
            self.keys,
            _flat(self.policies),
        ]

    @classmethod
    def restore(cls, state: list[Any]) -> "Expiry":
        """What ``state`` gave."""
        made = cls()
        made._base, packed, few, hours, made.later, made.never, made.keys, policies = state
        if packed:
            dense = array("I")
            dense.frombytes(zlib.decompress(b64decode(packed)))
            made._dense = _portable(dense)
        made._few, made.hours, made.policies = _paired(few), _paired(hours), _paired(policies)
        return made

    def _thicken(self) -> None:
        few, self._few = self._few, {}
        self._base = min(few) - _BEFORE
        self._dense = array("I", bytes(4 * (_FINE_MS // _STEP_MS + 2 * _BEFORE)))
        for bucket, number in few.items():
            self._count(bucket, number)

    def _count(self, bucket: int, number: int) -> None:
        """Add a number to one fine bucket; to its hour where the fine ones would reach too far."""
        if self._dense is None:
            self._few[bucket] = self._few.get(bucket, 0) + number
            if len(self._few) > _MOST_FEW:
                self._thicken()
            return
        index = bucket - self._base
        if index < 0:
            room = min(_BEFORE - index, _MOST_FINE - len(self._dense))
            self._dense = array("I", bytes(4 * room)) + self._dense
            self._base -= room
            index += room
        elif index >= len(self._dense):
            room = min(index + _BEFORE, _MOST_FINE) - len(self._dense)
            self._dense.frombytes(bytes(4 * max(0, room)))
        if 0 <= index < len(self._dense):
            self._dense[index] += number
        else:
            hour = bucket * _STEP_MS // _HOUR_MS
            self.hours[hour] = self.hours.get(hour, 0) + number


class Objects:
    """What OBJECT said of some keys."""

    __slots__ = ("counters", "counters_sum", "encodings", "idle_s")

    def __init__(self) -> None:
        self.idle_s = -1
        """The longest."""
        self.counters = 0
        """Keys whose use counter is known."""
        self.counters_sum = 0
        self.encodings: dict[bytes, int] = {}

    def add(self, objects: Iterable[Facts]) -> None:
        """Count some."""
        for encoding, idle_s, frequency in objects:
            if encoding:
                self._count(encoding, 1)
            if idle_s > self.idle_s:
                self.idle_s = idle_s
            if frequency >= 0:
                self.counters += 1
                self.counters_sum += frequency

    def absorb(self, other: "Objects") -> None:
        """Add what another one has."""
        self.idle_s = max(self.idle_s, other.idle_s)
        self.counters += other.counters
        self.counters_sum += other.counters_sum
        for encoding, number in other.encodings.items():
            self._count(encoding, number)

    def _count(self, encoding: bytes, number: int) -> None:
        # Servers know a dozen; what they say is not to be trusted.
        if len(self.encodings) >= MOST_ENCODINGS and encoding not in self.encodings:
            encoding = OTHER_ENCODING
        self.encodings[encoding] = self.encodings.get(encoding, 0) + number

    def state(self) -> list[Any]:
        """For JSON."""
        return [self.idle_s, self.counters, self.counters_sum, _named(self.encodings)]

    def fill(self, state: list[Any]) -> None:
        """Make an empty one what ``state`` told of."""
        self.idle_s, self.counters, self.counters_sum, encodings = state
        self.encodings = _unnamed(encodings)


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
        "keys",
        "least",
        "limit_ms",
        "objects",
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
        self.objects = Objects()

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
        self.objects.absorb(other.objects)
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
            _named(self.types),
            [
                [size, key.decode("latin-1"), kind.decode("latin-1"), ttl_ms]
                for size, key, kind, ttl_ms in self.biggest
            ],
            self.objects.state(),
        ]

    def fill(self, state: list[Any]) -> None:
        """Make an empty one what ``state`` told of."""
        _, self.keys, self.sized, self.size_sum, self.size_square, self.too_long, self.ttls = state[:7]
        types, biggest, objects = state[7:]
        self.types = _unnamed(types)
        self.objects.fill(objects)
        self.biggest = [
            (size, key.encode("latin-1"), kind.encode("latin-1"), ttl_ms)
            for size, key, kind, ttl_ms in biggest
        ]
        if len(self.biggest) == MOST_BIGGEST:
            self.least = self.biggest[0][0]


def largest(found: Iterable[Big], number: int = MOST_BIGGEST) -> list[Big]:
    """The largest, largest first; a key that was read twice is among them once."""
    made: dict[bytes, Big] = {}
    for big in nlargest(2 * number, found):
        made.setdefault(big[1], big)
    return list(made.values())[:number]


def _named(counts: dict[bytes, int]) -> dict[str, int]:
    return {name.decode("latin-1"): number for name, number in counts.items()}


def _unnamed(counts: dict[str, int]) -> dict[bytes, int]:
    return {name.encode("latin-1"): number for name, number in counts.items()}


def _flat(counts: dict[int, int]) -> list[int]:
    return [number for pair in counts.items() for number in pair]


def _paired(found: list[int]) -> dict[int, int]:
    return dict(zip(found[::2], found[1::2], strict=True))


def _portable(numbers: "array[int]") -> "array[int]":
    """The array in little-endian order, or back."""
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers
