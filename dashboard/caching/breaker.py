"""The circuit breaker: after several failures Redis is not asked for a while. Pure: time is an argument."""

import threading
from collections.abc import Callable
from typing import Final

from dashboard.caching.chance import CHANCE

TRIP_AFTER: Final = 3
"""Failures in a row."""
FIRST_OPEN_S: Final = 0.5
LONGEST_OPEN_S: Final = 5.0


class Breaker:
    """Closed: everything passes. Open: nothing does. After a while one probe at a time is let through.

    Of an open breaker only the probe's failure counts: calls that were under way when it opened fail one after
    the other for the same reason, and must not keep it open for longer.

    Args:
        chance: a random number in [0, 1), so that processes don't probe in step.
    """

    __slots__ = (
        "_chance",
        "_failures",
        "_is_probing",
        "_lock",
        "_open_s",
        "_retry_at",
        "has_failed",
        "is_closed",
    )

    def __init__(self, chance: Callable[[], float] = CHANCE.random) -> None:
        self._chance = chance
        self._lock = threading.Lock()
        self._failures = 0
        self._open_s = 0.0
        self._retry_at = 0.0
        self._is_probing = False
        self.is_closed = True
        """Read without the lock on the way of every hit, as is the next."""
        self.has_failed = False

    def allows(self, now: float) -> bool:
        """Whether to ask Redis now; ``now`` in seconds of a clock that never goes back.

        After True for an open breaker the caller is the probe and must report success or failure; one that
        never does is replaced when the time is over again.
        """
        if self.is_closed:
            return True
        with self._lock:
            if now < self._retry_at:
                return False
            self._retry_at = now + self._open_s
            self._is_probing = True
            return True

    def succeeded(self) -> None:
        """Redis answered."""
        if self.has_failed:
            with self._lock:
                self._failures = 0
                self._open_s = 0.0
                self.has_failed = False
                self.is_closed = True
                self._is_probing = False

    def failed(self, now: float) -> None:
        """Redis did not answer."""
        with self._lock:
            self.has_failed = True
            if self.is_closed:
                self._failures += 1
                if self._failures < TRIP_AFTER:
                    return
            elif not self._is_probing:
                return
            self._is_probing = False
            self.is_closed = False
            self._open_s = min(LONGEST_OPEN_S, self._open_s * 2 or FIRST_OPEN_S)
            self._retry_at = now + self._open_s * (0.75 + 0.5 * self._chance())
