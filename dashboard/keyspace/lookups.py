"""The connections of a scan, and how what they looked up is taken off the cache's hit ratio."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from dashboard.errors import StoreUnavailable
from dashboard.fleet.errors import FleetError
from dashboard.fleet.probing import Probe
from dashboard.fleet.registry import Node
from dashboard.monitoring.types import ProbeLookups

Report = Callable[[Sequence[ProbeLookups]], None]


@dataclass(frozen=True, slots=True)
class _Held:
    probe: Probe
    node: str
    run_id: str
    is_polled: bool

    def lookups(self, *, is_over: bool) -> ProbeLookups:
        probe = self.probe
        return ProbeLookups(probe.session, self.node, self.run_id, probe.hits, probe.misses, is_over)


class Lookups:
    """Keeps each connection open until its last lookups are stored.

    A poll in between would find neither the connection's name nor the sum. Any thread may use it.

    Args:
        report: stores sums so far.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._lock = threading.Lock()
        self._open: dict[str, _Held] = {}
        self._over: dict[str, _Held] = {}

    def begin(self, probe: Probe, node: Node, run_id: str, *, is_polled: bool = True) -> None:
        """A connection will look things up on a node; what it does to the counters of a replica nobody sees."""
        with self._lock:
            self._open[probe.session] = _Held(probe, node.id, run_id, is_polled)

    def end(self, probe: Probe) -> None:
        """It will look up nothing more."""
        with suppress(FleetError):
            # What was asked is counted.
            probe.finish()
        with self._lock:
            self._over[probe.session] = self._open.pop(probe.session)

    def store(self) -> None:
        """Report the sums so far, and close what is over; later, where PostgreSQL is away."""
        with self._lock:
            over = list(self._over.values())
            told = [each.lookups(is_over=False) for each in self._open.values() if each.is_polled]
        told += [each.lookups(is_over=True) for each in over if each.is_polled]
        told = [each for each in told if each.hits or each.misses]
        try:
            if told:
                self._report(told)
        except StoreUnavailable:
            return
        self._close(over)

    def close(self) -> None:
        """Report the last sums and close every connection; all of them are over."""
        try:
            self.store()
        finally:
            with self._lock:
                left = list(self._over.values())
            self._close(left)

    def _close(self, over: Sequence[_Held]) -> None:
        for each in over:
            each.probe.close()
            with self._lock:
                self._over.pop(each.probe.session, None)
