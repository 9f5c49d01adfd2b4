"""A proxy in front of Redis that fails by chance, for threads and processes."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.cutter import Cut, Cutter


class Flaky(Cutter):
    """Cuts before a command, after it, or swallows it.

    Args:
        port: of the server behind.
        share: of the commands that fail.
        seed: of chance.
    """

    def __init__(self, port: int, share: float, seed: int) -> None:
        self._share = share
        self._chance = random.Random(seed)
        self.failures = 0
        super().__init__(port)

    def _verdict(self, name: bytes) -> Cut | None:
        if name in self.SILENT or self._chance.random() >= self._share:
            return None
        self.failures += 1
        return self._chance.choice((Cut.BEFORE, Cut.BEFORE, Cut.AFTER, Cut.AFTER, Cut.HANG))


@contextmanager
def flaky(port: int, share: float, seed: int) -> Iterator[Flaky]:
    """A proxy in front of the server at ``port``."""
    made = Flaky(port, share, seed)
    try:
        yield made
    finally:
        made.close()
