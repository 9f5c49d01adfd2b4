"""A few threads for loads that nobody waits for; started when first needed, bounded, no hindrance at exit."""

import logging
import queue
import threading
from collections.abc import Callable, Hashable
from typing import Final

THREADS: Final = 4
MOST_WAITING: Final = 64
IDLE_S: Final = 30.0
"""A thread that had nothing to do for so long ends."""

log = logging.getLogger(__name__)


class Background:
    """Runs functions later, each name once at a time."""

    def __init__(self) -> None:
        self.after_fork()

    def after_fork(self) -> None:
        """In a child process there are no threads, and the parent's work is not ours."""
        self._lock = threading.Lock()
        self._names: set[Hashable] = set()
        self._queue: queue.SimpleQueue[tuple[Hashable, Callable[[], object]]] = queue.SimpleQueue()
        self._threads = 0

    def run(self, name: Hashable, task: Callable[[], object]) -> bool:
        """Run ``task`` in a thread; False when it is refused, because it runs already or too many wait."""
        with self._lock:
            if name in self._names or len(self._names) >= MOST_WAITING:
                return False
            if self._threads < min(THREADS, len(self._names) + 1):
                try:
                    threading.Thread(target=self._work, name="cachewarden-load", daemon=True).start()
                except RuntimeError:
                    # The process has too many, or is ending.
                    if not self._threads:
                        return False
                else:
                    self._threads += 1
            self._names.add(name)
            self._queue.put((name, task))
        return True

    def _work(self) -> None:
        while True:
            try:
                name, task = self._queue.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    # What is queued is put there under this lock, while this thread is still counted.
                    if self._queue.empty():
                        self._threads -= 1
                        return
                continue
            try:
                task()
            except BaseException:
                # Also what would end a thread (SystemExit): it is not the loader's, others' loads come after it.
                log.exception("A background load of %r failed", name)
            finally:
                with self._lock:
                    self._names.discard(name)
