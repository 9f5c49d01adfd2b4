"""A link to Redis that fails by chance: refused, answered too late, cut in the middle, or executed much later."""

import random
from collections.abc import Sequence
from typing import Any

from dashboard.caching.breaker import Breaker
from dashboard.caching.link import Command, DirectLink, Unreachable


class FaultyLink:
    """``exchange`` of a real link, with failures.

    Args:
        link: the real one.
        chance: whether and how.
        share: of the round trips that fail.
    """

    def __init__(self, link: DirectLink, chance: random.Random, share: float) -> None:
        self.link = link
        self._chance = chance
        self._share = share
        self.failures = 0
        self.late: list[Sequence[Command]] = []
        """On their way: whoever sent them has given up, and they will be executed yet."""

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """One round trip, perhaps.

        Raises:
            Unreachable: what became of the commands is as open as in life.
        """
        if self._chance.random() >= self._share:
            return self.link.exchange(commands)
        self.failures += 1
        match self._chance.choice(("refused", "no answer", "cut", "late")):
            case "no answer":
                self.link.exchange(commands)
            case "cut":
                self._send(commands[: self._chance.randrange(len(commands))])
            case "late":
                self.late.append(commands)
        raise Unreachable("by chance")

    def exchange_each(self, commands: Sequence[Command]) -> list[Any]:
        """There is one server only."""
        return self.exchange(commands)

    def breaker(self, key: bytes) -> Breaker:
        """The real one's."""
        return self.link.breaker(key)

    def deliver(self) -> None:
        """One of those that were on their way arrives."""
        self._send(self.late.pop(self._chance.randrange(len(self.late))))

    def _send(self, commands: Sequence[Command]) -> None:
        if commands:
            self.link.exchange(commands)
