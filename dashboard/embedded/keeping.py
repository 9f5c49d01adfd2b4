"""Keeps an embedded server running: one that ended by itself is started again, on the same port."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from dashboard.embedded import process

LOOK_EVERY_S: Final = 0.5
AGAIN_AFTER_S: Final = 5.0


class Kept:
    """A server that is started now, and again whenever it ends before ``stop()``.

    Args:
        start: starts it on a port, 0 for a free one; address, password and files stay the same from start to start.
        say: is told in a sentence when it ended, when it runs again, and once when it can't be started; called from
            a thread of its own.

    Raises:
        EmbeddedError: the first start failed.
    """

    def __init__(self, start: Callable[[int], process.Server], say: Callable[[str], None]) -> None:
        self._start, self._say = start, say
        self._server = start(0)
        self.url = self._server.url
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"keep-{self._server.name}", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int:
        """Of the server as it runs now."""
        return self._server.pid

    def stop(self) -> None:
        """End the server and wait for it; safe to call again."""
        self._stopping.set()
        self._thread.join()
        self._server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        is_told = False
        wait_s = LOOK_EVERY_S
        while not self._stopping.wait(wait_s):
            wait_s = LOOK_EVERY_S
            if self._server.is_running:
                continue
            name = self._server.name
            if not is_told:
                self._say(f"{name} has ended. Starting it again ...")
            self._server.stop()
            try:
                self._server = self._start(self._server.port)
            except (process.EmbeddedError, OSError) as error:
                # What it left behind, or who took its port, may be gone in a moment.
                if not is_told:
                    self._say(
                        f"{name} can't be started: {str(error).splitlines()[0]} It is tried every {AGAIN_AFTER_S:g} s; "
                        f"Ctrl-C and a new start begin anew. See {self._server.log}."
                    )
                is_told, wait_s = True, AGAIN_AFTER_S
            else:
                self._say(f"{name} runs again.")
                is_told = False
