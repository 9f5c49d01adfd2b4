"""From what a count saw to what a preview says: estimates with their errors, a fair sample, shares. Pure."""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.invalidation.facts import Facts
from dashboard.invalidation.types import SampleKey

MEASURED: Final = 2_000
"""Keys of the sample that are asked for type, TTL and size."""
SHOWN: Final = 100
"""Keys of the sample that are kept."""
TTL_BOUNDS_S: Final = (60, 300, 900, 3600, 4 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400)
Z95: Final = 1.96
SCAN_DOUBT: Final = 0.005
"""Share by which the number of keys that a SCAN looked at is not known where its cursor does not tell."""


class Sample:
    """A uniform sample of a stream of keys, of bounded size; those of several streams can be put together.

    Each key draws a number, and those with the smallest stay.
    """

    def __init__(self, chance: Callable[[], float], size: int = MEASURED) -> None:
        self._chance = chance
        self._size = size
        self._held: list[tuple[float, bytes]] = []
        self._most = 1.0

    def add(self, keys: Iterable[bytes]) -> None:
        """Offer keys."""
        chance, held = self._chance, self._held
        for key in keys:
            drawn = chance()
            if len(held) < self._size:
                heapq.heappush(held, (-drawn, key))
            elif drawn < self._most:
                heapq.heapreplace(held, (-drawn, key))
            else:
                continue
            if len(held) == self._size:
                self._most = -held[0][0]

    def merge(self, other: "Sample") -> None:
        """Put another sample in, drawn by the same rule."""
        self._held = heapq.nlargest(self._size, [*self._held, *other._held])
        heapq.heapify(self._held)
        if len(self._held) == self._size:
            self._most = -self._held[0][0]

    @property
    def keys(self) -> list[bytes]:
        """The sample, in random order; a key that was offered twice is in once."""
        return list(dict.fromkeys(key for _, key in sorted(self._held, reverse=True)))


@dataclass(frozen=True, slots=True)
class Counted:
    """What was seen on one node.

    Args:
        matched: keys that are selected.
        scanned: keys that were looked at.
        total: keys that there are.
        is_complete: whether every key was looked at.
    """

    matched: int
    scanned: int
    total: int
    is_complete: bool


def estimate(counts: Sequence[Counted]) -> tuple[int, int]:
    """How many keys are selected in all, and half of the 95 % interval (0: exact).

    SCAN goes by the keys' hashes, so what was looked at of a node is a fair sample of it: a share of its hashes, in
    which each selected key lies or not. Where nothing matched, the interval is the rule of three: of n keys without a
    match, at most 3/n match.
    """
    keys = 0.0
    variance = 0.0
    doubt = 0.0
    for each in counts:
        if each.is_complete or each.scanned >= each.total:
            keys += each.matched
            continue
        looked = max(1, each.scanned)
        share = min(1.0, each.matched / looked)
        keys += share * each.total
        # What was not looked at is all that is uncertain.
        rest = (each.total - looked) / max(1, each.total - 1)
        spread = math.sqrt(share / looked * max(0.0, rest))
        if each.matched == 0:
            spread = 3 / looked / Z95
        variance += (spread * each.total) ** 2
        doubt += SCAN_DOUBT * share * each.total
    return round(keys), math.ceil(math.hypot(Z95 * math.sqrt(variance), doubt))


def memory(sizes: Sequence[int], keys: int, keys_error: int) -> tuple[int | None, int | None]:
    """Bytes of all selected keys and half of the 95 % interval, from the sizes of some; None: not known."""
    if keys == 0 and keys_error == 0:
        return 0, 0
    if not sizes:
        return None, None
    mean = sum(sizes) / len(sizes)
    spread = 0.0
    if 1 < len(sizes) < keys:
        deviation = math.sqrt(sum((size - mean) ** 2 for size in sizes) / (len(sizes) - 1))
        spread = Z95 * deviation / math.sqrt(len(sizes)) * math.sqrt(1 - len(sizes) / keys)
    return round(mean * keys), math.ceil(math.hypot(spread * keys, mean * keys_error))


def ttl_counts(facts: Iterable[Facts]) -> tuple[int, ...]:
    """Keys per bucket of TTL_BOUNDS_S, then those that live longer, then those without a TTL."""
    counts = [0] * (len(TTL_BOUNDS_S) + 2)
    for each in facts:
        if each.ttl_ms is None:
            continue
        if each.ttl_ms < 0:
            counts[-1] += 1
        else:
            counts[sum(each.ttl_ms > bound * 1000 for bound in TTL_BOUNDS_S)] += 1
    return tuple(counts)


def by_policy(keys: Sequence[bytes], table: PolicyTable[Policy]) -> tuple[Mapping[str, float], float]:
    """Share of the keys under each policy, by its prefix as text, and the share whose policy has no grace; 0..1."""
    if not keys:
        return {}, 0.0
    policies = [table.find(key) for key in keys]
    counts = Counter(policy.prefix_text for policy in policies)
    without = sum(not policy.protection.grace_s for policy in policies)
    shares = {prefix: count / len(keys) for prefix, count in counts.most_common()}
    return shares, without / len(keys)


def shown(found: Sequence[tuple[bytes, Facts]], table: PolicyTable[Policy]) -> tuple[SampleKey, ...]:
    """The first SHOWN of the sample, as a preview keeps them."""
    return tuple(
        SampleKey(
            key=key,
            type=facts.type or "",
            ttl_s=None if facts.ttl_ms is None or facts.ttl_ms < 0 else facts.ttl_ms / 1000,
            size_bytes=facts.size_bytes,
            policy=table.find(key).prefix_text,
        )
        for key, facts in found[:SHOWN]
    )
