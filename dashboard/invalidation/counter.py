"""Counts what a selection selects, by the same ways as a purge goes, and looks at a sample of it."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.clock import Clock
from dashboard.errors import CacheUnavailable
from dashboard.fleet import scan
from dashboard.fleet.errors import FleetDenied, FleetError
from dashboard.fleet.purging import Router
from dashboard.fleet.registry import Connection, Node
from dashboard.fleet.watching import Paces
from dashboard.invalidation import counting, facts
from dashboard.invalidation.counting import Counted, Sample
from dashboard.invalidation.facts import Facts, Wants
from dashboard.invalidation.signals import Control, Failed, Input, NotNow
from dashboard.invalidation.sources import ListSource, ScanSource, Source, TagSource
from dashboard.invalidation.types import Limits, Preview, SelectBy, Selection

MOST_SCANNED: Final = 2_000_000
"""Of a larger cache, so many keys are looked at."""
MOST_S: Final = 10.0
FEWEST_SCANNED: Final = 20_000
"""So many are looked at, however long it takes."""
FEWEST_AT_ONCE: Final = 250
"""A SCAN looks at some more keys than it is told. That weighs little where it is told many, and so many take a server
less time than any burst may."""
PATIENCE_S: Final = 10.0
"""A server that can't be used is tried again for so long: it may be starting, or a replica be taking over."""
PAUSE_S: Final = 0.5
PARALLEL: Final = 8


@dataclass(frozen=True, slots=True)
class _Part:
    counted: Counted
    sample: Sample


class Counter:
    """See ``engine.count`` for the arguments."""

    def __init__(
        self,
        connection: Connection,
        selection: Selection,
        keys: Input | None,
        table: PolicyTable[Policy],
        limits: Limits,
        control: Control,
        clock: Clock,
        chance: Callable[[], float],
        tell: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._connection = connection
        self._selection = selection
        self._keys = keys
        self._table = table
        self._control = control
        self._clock = clock
        self._chance = chance
        self._router = Router(connection)
        self._paces = Paces(limits.slowest_probe_ms, clock)
        self._stop = threading.Event()
        self._tell = tell
        self._looked_at: dict[str, int] = {}
        self._to_look_at = selection.count * max(1, len(selection.templates))

    def total(self) -> tuple[int, int]:
        """(keys that exist, keys that are named), for a selector that names them.

        Raises:
            Failed, FleetError, NotNow, Paused, Cancelled, LeaseLost: as ``engine.count``.
        """
        try:
            part = self._count(self._named_source(), 0, None)
        finally:
            self._paces.close()
        return part.counted.matched, part.counted.scanned

    def preview(self) -> Preview:
        """Count, look at the sample, put it together; from the beginning where a server was away for a moment.

        Raises:
            Failed, FleetError, Paused, Cancelled, LeaseLost: as ``engine.count``.
        """
        ends_s = self._clock.monotonic() + PATIENCE_S
        try:
            while True:
                try:
                    return self._preview()
                except FleetDenied:
                    raise
                except (FleetError, NotNow) as error:
                    if self._clock.monotonic() >= ends_s:
                        if isinstance(error, FleetError):
                            raise
                        raise CacheUnavailable(error.message, what_to_do=error.what_to_do) from None
                self._control.check()
                self._control.wait(PAUSE_S)
                self._stop.clear()
        finally:
            self._paces.close()

    def _preview(self) -> Preview:
        self._connection.refresh()
        nodes = self._connection.nodes()
        states = {node.id: scan.server_state(node) for node in nodes}
        keyspace = sum(state.keys for state in states.values())
        named: int | None = None
        if self._selection.by in (SelectBy.PREFIX, SelectBy.PATTERN):
            self._to_look_at = min(keyspace, MOST_SCANNED)
            parts = self._count_nodes(nodes, [states[node.id].keys for node in nodes])
        else:
            parts = [self._count(self._named_source(), 0, None)]
            named = parts[0].counted.scanned
        keys, error = counting.estimate([part.counted for part in parts])
        sample = parts[0].sample
        for part in parts[1:]:
            sample.merge(part.sample)
        known = self._look_at(sample.keys)
        sizes = [each.size_bytes for _, each in known if each.size_bytes is not None]
        size_bytes, size_error = counting.memory(sizes, keys, error)
        shares, without_grace = counting.by_policy([key for key, _ in known], self._table)
        used = [state.used_memory for state in states.values()]
        return Preview(
            counted_at=self._clock.now(),
            keys=keys,
            keys_error=error,
            scanned=sum(part.counted.scanned for part in parts),
            named=named,
            keyspace=keyspace,
            size_bytes=size_bytes,
            size_error_bytes=size_error,
            used_memory_bytes=None if None in used else sum(each or 0 for each in used),
            ttl_bounds_s=counting.TTL_BOUNDS_S,
            ttl_counts=counting.ttl_counts(each for _, each in known),
            sample=counting.shown(known, self._table),
            by_policy=shares,
            without_grace=without_grace,
        )

    def _named_source(self) -> Source:
        if self._selection.by is SelectBy.TAG:
            return TagSource(self._router, self._selection)
        assert self._keys is not None
        return ListSource(self._keys, self._selection)

    def _count_nodes(self, nodes: Sequence[Node], totals: Sequence[int]) -> list[_Part]:
        bound = MOST_SCANNED // len(nodes)
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="purge-count") as pool:
            running = [
                pool.submit(self._count, ScanSource(self._router, node, self._selection, total), total, bound)
                for node, total in zip(nodes, totals, strict=True)
            ]
            try:
                return [future.result() for future in running]
            except BaseException:
                self._stop.set()
                raise

    def _count(self, source: Source, total: int, bound: int | None) -> _Part:
        """Go through one source; ``bound``: keys after which a sample is enough."""
        sample = Sample(self._chance)
        began_s = self._clock.monotonic()
        matched = scanned = 0
        cursor: int | None = scan.START
        while cursor is not None and not self._stop.is_set():
            self._control.check()
            if bound is not None and self._is_enough(scanned, total, bound, began_s):
                break
            if source.node is not None:
                pace = self._paces.of(source.node)
                count = max(FEWEST_AT_ONCE, pace.units)
                step = source.step(cursor, count, ())
                pace.worked(count, step.took_s)
                self._rest(pace.rest_s(step.took_s))
            else:
                step = source.step(cursor, 500, ())
            keys = step.keys
            if keys and (source.node is None or not self._selection.filters.is_empty):
                wants = Wants.of(self._selection.filters)
                learnt, now = self._learn(keys, wants), self._clock.now().timestamp()
                keys = [key for key, known in learnt if facts.passes(known, self._selection.filters, now)]
            matched += len(keys)
            scanned += step.looked_at
            sample.add(keys)
            cursor = step.cursor
            self._looked_at[source.name] = scanned
            self._tell(sum(self._looked_at.copy().values()), self._to_look_at)
        is_complete = cursor is None
        if is_complete and bound is not None:
            scanned = total
        return _Part(Counted(matched, scanned, total, is_complete), sample)

    def _is_enough(self, scanned: int, total: int, bound: int, began_s: float) -> bool:
        if scanned < FEWEST_SCANNED:
            return False
        if scanned >= bound:
            return True
        spent_s = self._clock.monotonic() - began_s
        # It is not broken off just before the end.
        left_s = spent_s * (total - scanned) / scanned
        return spent_s >= MOST_S and left_s > MOST_S / 2

    def _learn(self, keys: Sequence[bytes], wants: Wants) -> list[tuple[bytes, Facts]]:
        """What is known of those that exist."""
        found: list[tuple[bytes, Facts]] = []
        for node, here in self._router.split(keys):
            pace = self._paces.of(node)
            while here:
                most = max(1, pace.units // (2 * wants.number))
                part, here = here[:most], here[most:]
                known, took_s = facts.learn(self._connection, node, part, wants, self._control)
                pace.worked(2 * wants.number * len(part), took_s)
                found += [(key, each) for key, each in zip(part, known, strict=True) if each is not None]
                self._rest(pace.rest_s(took_s))
                self._control.check()
        return found

    def _look_at(self, keys: Sequence[bytes]) -> list[tuple[bytes, Facts]]:
        if not keys:
            return []
        # A right that is missing costs the preview a column, not its count.
        for wants in (Wants(size=True, type=True, ttl=True), Wants(size=True)):
            try:
                return self._learn(keys, wants)
            except Failed:
                continue
        return [(key, Facts()) for key in keys]

    def _rest(self, seconds: float) -> None:
        if seconds > 0:
            self._control.wait(seconds)
