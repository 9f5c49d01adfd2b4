"""Arithmetic of lifetimes. Pure: chance is an argument."""

import math
from collections.abc import Callable
from typing import Final

from dashboard.caching.policy import Policy

MIN_LEASE_MS: Final = 2_000
MAX_LEASE_MS: Final = 30_000
LEASE_FACTOR: Final = 3
"""A lease lasts so many times the prefix's mean load time, within the two above."""

EARLIEST_LOADS: Final = 40
"""So many mean load times (by beta) before the end an early refresh is out of the question: e to the power of -40."""

FIRST_PAUSE_S: Final = 0.004
LONGEST_PAUSE_S: Final = 0.05
PAUSE_GROWTH: Final = 1.6


def effective_ttl_ms(policy: Policy, chance: Callable[[], float]) -> int:
    """The TTL of one value: base plus random(0, jitter), to the millisecond.

    Args:
        policy: one that caches.
        chance: a random number in [0, 1).
    """
    assert policy.base_ttl_s is not None
    return policy.base_ttl_s * 1000 + int(chance() * (policy.jitter_s * 1000 + 1))


def life_ms(policy: Policy, chance: Callable[[], float]) -> int:
    """How long the key lives: the effective TTL, and the grace time after it."""
    return effective_ttl_ms(policy, chance) + (policy.protection.grace_s or 0) * 1000


def lease_ms(mean_load_s: float) -> int:
    """How long a load may take before others try; ``mean_load_s`` of the prefix in seconds."""
    return min(MAX_LEASE_MS, max(MIN_LEASE_MS, int(mean_load_s * 1000 * LEASE_FACTOR)))


def is_early(remaining_ms: float, mean_load_s: float, beta: float, chance: Callable[[], float]) -> bool:
    """XFetch (Vattani, Chierichetti, Lowenstein 2015): whether to refresh before the end.

    Args:
        remaining_ms: until the end of the TTL.
        mean_load_s: mean load time of the prefix, seconds.
        beta: 1 is optimal for steady load times; more is earlier.
        chance: a random number in [0, 1).
    """
    return -mean_load_s * 1000 * beta * math.log(1.0 - chance()) >= remaining_ms


def watch_below_ms(grace_s: float, mean_load_s: float, beta: float) -> float:
    """With longer to live than this, nothing needs to be decided about a value."""
    return 1000 * (grace_s + EARLIEST_LOADS * mean_load_s * beta)


def pause_s(turn: int, chance: Callable[[], float]) -> float:
    """How long a waiter sleeps before its next look: growing, and different for everybody.

    Args:
        turn: 0 for the first.
        chance: a random number in [0, 1).
    """
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * PAUSE_GROWTH ** min(turn, 20))
    return longest * (0.5 + 0.5 * chance())
