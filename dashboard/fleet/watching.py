"""Looks at what work on a node does to others while it runs: their wait, the server's state."""

import sys
import threading
from typing import Final

from dashboard.clock import Clock
from dashboard.errors import DashboardError
from dashboard.fleet import scan
from dashboard.fleet.pace import Pace
from dashboard.fleet.registry import Node

PROBE_S: Final = 0.01
STATE_S: Final = 1.0
AFTER_FAILURE_S: Final = 0.5
SWITCH_S: Final = 0.0005
"""Whoever measures must not wait for other threads of ours: Python lets one go on for ten times as long by itself."""
MOST_WATCHED: Final = 16
"""Nodes that are watched; others are worked on at the pace that their own answers suggest."""


class Watch:
    """A second connection to a node, on a thread of its own: what it waits, others wait."""

    def __init__(self, node: Node, pace: Pace, clock: Clock) -> None:
        self._node = node
        self._pace = pace
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._stop.set()

    def join(self) -> None:
        """Wait for the thread; after ``close``."""
        self._thread.join()

    def _work(self) -> None:
        asked_s = float("-inf")
        while not self._stop.is_set():
            try:
                now_s = self._clock.monotonic()
                if now_s - asked_s >= STATE_S:
                    asked_s = now_s
                    self._pace.observed(scan.server_state(self._node))
                self._pace.probed(scan.ping(self._node))
            except DashboardError:
                # Whoever works on the node notices, too, and says so.
                self._stop.wait(AFTER_FAILURE_S)
            self._stop.wait(PROBE_S)


class Paces:
    """The pace of each node that is worked on; a node is watched from the first question on.

    Args:
        slowest_probe_ms: what others may wait at the 99th percentile.
        needs_memory: whether the work makes the server store more.
    """

    def __init__(self, slowest_probe_ms: float, clock: Clock, *, needs_memory: bool = False) -> None:
        self._slowest_probe_ms = slowest_probe_ms
        self._needs_memory = needs_memory
        self._clock = clock
        self._lock = threading.Lock()
        self._paces: dict[str, Pace] = {}
        sys.setswitchinterval(min(SWITCH_S, sys.getswitchinterval()))
        self._watches: list[Watch] = []

    def of(self, node: Node) -> Pace:
        """The pace on a node."""
        with self._lock:
            found = self._paces.get(node.id)
            if found is None:
                found = Pace(self._slowest_probe_ms, needs_memory=self._needs_memory)
                self._paces[node.id] = found
                if len(self._watches) < MOST_WATCHED:
                    self._watches.append(Watch(node, found, self._clock))
            return found

    @property
    def probe_p99_ms(self) -> float | None:
        """What others wait at present, on the node where they wait longest; None: not known yet."""
        with self._lock:
            known = [pace.probe_p99_s for pace in self._paces.values()]
        return max((seconds * 1000 for seconds in known if seconds is not None), default=None)

    def close(self) -> None:
        """Stop watching."""
        for watch in self._watches:
            watch.close()
        for watch in self._watches:
            watch.join()
