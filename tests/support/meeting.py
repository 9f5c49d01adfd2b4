"""Processes that do something at the same time, and know of each other that they do."""

import os
import time
from pathlib import Path
from typing import Final

LONGEST_S: Final = 30.0


class Meeting:
    """Says things to other processes by files in a folder.

    Args:
        folder: of this meeting alone.
        size: so many processes take part.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._folder = folder
        self._size = size

    def say(self, what: str) -> None:
        """Say it for this process."""
        (self._folder / f"{what}.{os.getpid()}").touch()

    def wait(self, what: str) -> None:
        """Until all have said it.

        Raises:
            TimeoutError: somebody has not after LONGEST_S seconds.
        """
        deadline = time.monotonic() + LONGEST_S
        while len(list(self._folder.glob(f"{what}.*"))) < self._size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all {self._size} processes said {what!r}")
            time.sleep(0.002)
