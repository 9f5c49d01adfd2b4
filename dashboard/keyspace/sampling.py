"""The quick look: some keys from random places, at once."""

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from dashboard.clock import Clock
from dashboard.fleet import cursors, replicas
from dashboard.fleet import scan as fleet_scan
from dashboard.fleet.errors import Cause, FleetError
from dashboard.fleet.probing import Looked, Probe
from dashboard.fleet.registry import Connection, Node
from dashboard.fleet.topology import SLOTS
from dashboard.fleet.url import Kind
from dashboard.keyspace.lookups import Lookups, Report
from dashboard.keyspace.scanning import PARALLEL, UNMEASURED_NOTE, Collector, refused
from dashboard.keyspace.types import SAMPLE_KEYS, Batch, ScanLimits

AT_ONCE: Final = 200
"""Keys of a burst: well below a millisecond of the server's time."""
PLACES: Final = 100
"""Places of a burst where each place is one key."""
SHRINKS: Final = 4
"""Bursts whose answer is too large to be read, for long names, are that much smaller the next time."""
OBJECT_EVERY: Final = 4
WHOLE_SHARE: Final = 1.5
"""A cache of so many times a sample's keys is read whole."""
MOST_ROUNDS: Final = 20
UNWEIGHTED_NOTE: Final = (
    "CLUSTER COUNTKEYSINSLOT is not allowed: keys that share a hash tag with many others are underrated."
)


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a sample says about itself.

    Args:
        looked_at: different keys that were read.
        keyspace: keys in the cache, by DBSIZE of all primaries.
        factor: what counts are to be multiplied by; 1: every key was read.
        size_every: one key of so many was measured; 0: none, for want of the right to.
        notes: what keeps it from being right, one sentence each.
    """

    began_at: datetime
    ended_at: datetime
    looked_at: int
    keyspace: int
    factor: float
    size_every: int
    notes: tuple[str, ...] = ()


def sample(
    connection: Connection,
    limits: ScanLimits,
    collector: Collector,
    clock: Clock,
    chance: Callable[[], float],
    *,
    on_lookups: Report,
    keys: int = SAMPLE_KEYS,
) -> Sampled:
    """Read some keys of each node from random places, in the same proportion of each; all of a small cache.

    Args:
        connection: the cache.
        limits: as an admin set them; its rate and ``size_every`` are for full scans alone.
        collector: gets the keys.
        chance: a random number in [0, 1).
        on_lookups: as of ``scanning.scan``.
        keys: about so many; up to half as many more are read when that is all of them.

    Raises:
        Refused: the cache forbids what is needed.
        FleetError: a server is away.
    """
    taker = _Taker(connection, limits, collector, chance, on_lookups)
    began_at = clock.now()
    try:
        keyspace, is_whole = taker.take(keys)
    except FleetError as error:
        raise refused(error) from None
    finally:
        taker.close()
    looked_at = taker.looked_at
    return Sampled(
        began_at,
        clock.now(),
        looked_at,
        keyspace,
        1.0 if is_whole or not looked_at else max(1.0, keyspace / looked_at),
        1 if taker.can_size else 0,
        tuple(sorted(taker.notes)),
    )


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the keys of a primary are read.

    Args:
        node: the primary; read: itself, or a replica of it.
        keys: how many it has.
        has_slots: whether cursors carry a slot.
    """

    node: Node
    read: Node
    run_id: str
    keys: int
    has_slots: bool


class _Taker:
    def __init__(
        self,
        connection: Connection,
        limits: ScanLimits,
        collector: Collector,
        chance: Callable[[], float],
        on_lookups: Report,
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._collector = collector
        self._chance = chance
        self._lookups = Lookups(on_lookups)
        self._lock = threading.Lock()
        self._replicas: list[Node] = []
        self.looked_at = 0
        self.can_size = True
        self.notes: set[str] = set()

    def take(self, keys: int) -> tuple[int, bool]:
        """(keys in the cache, whether all of them were read)."""
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="keyspace-sample") as pool:
            sources = list(pool.map(self._source, self._connection.nodes()))
            keyspace = sum(source.keys for source in sources)
            is_whole = keyspace <= WHOLE_SHARE * keys
            shares = [None if is_whole else math.ceil(keys * source.keys / keyspace) for source in sources]
            list(pool.map(self._read, sources, shares))
        return keyspace, is_whole

    def close(self) -> None:
        self._lookups.close()
        for node in self._replicas:
            node.close()

    def _source(self, node: Node) -> _Source:
        keys = fleet_scan.server_state(node).keys
        found = replicas.find(self._connection, node) if self._limits.prefers_replica else None
        if found is not None:
            self._replicas.append(found)
        read = found or node
        info = fleet_scan.info(read)
        return _Source(
            node, read, fleet_scan.read_state(info, node.url.db).run_id, keys, cursors.has_slots(info)
        )

    def _read(self, source: _Source, share: int | None) -> None:
        """Some of a primary's keys; all, where there is no share."""
        if not source.keys or share == 0:
            return
        seen: set[bytes] = set()
        if source.read is not source.node:
            with suppress(FleetError):
                self._read_shrinking(source, share, seen)
                return
            # It went away, or has other users than its primary, which is as good.
            run_id = fleet_scan.server_state(source.node).run_id
            source = replace(source, read=source.node, run_id=run_id)
        self._read_shrinking(source, share, seen)

    def _read_shrinking(self, source: _Source, share: int | None, seen: set[bytes]) -> None:
        """In bursts that are small enough for the names there are; what was seen is not counted again."""
        at_once = AT_ONCE
        while True:
            try:
                self._read_from(source, share, seen, at_once)
                return
            except FleetError as error:
                if error.problem.cause is not Cause.TOO_LARGE or at_once == 1:
                    raise
                at_once = max(1, at_once // SHRINKS)

    def _read_from(self, source: _Source, share: int | None, seen: set[bytes], at_once: int) -> None:
        is_replica = source.read is not source.node
        probe = Probe(
            source.read,
            object_every=OBJECT_EVERY,
            reads_replica=is_replica and self._connection.url.kind is Kind.CLUSTER,
        )
        self._lookups.begin(probe, source.read, source.run_id, is_polled=not is_replica)
        try:
            if share is None:
                self._read_all(source, probe, seen, at_once)
            elif len(seen) < share:
                self._read_some(source, probe, share, seen, at_once)
        finally:
            self._lookups.end(probe)
            self.can_size &= probe.can_size
            if not probe.can_size:
                self.notes.add(UNMEASURED_NOTE)

    def _read_all(self, source: _Source, probe: Probe, seen: set[bytes], at_once: int) -> None:
        probe.send((fleet_scan.START,), at_once)
        while True:
            burst = probe.receive()
            if burst.cursor != fleet_scan.START:
                probe.send((burst.cursor,), at_once)
            self._digest(source, probe.read(), seen)
            if burst.cursor == fleet_scan.START:
                return

    def _read_some(self, source: _Source, probe: Probe, share: int, seen: set[bytes], at_once: int) -> None:
        bursts = self._bursts(source, share, at_once)
        probe.send(*next(bursts))
        while True:
            burst = probe.receive()
            following = next(bursts, None) if len(seen) + burst.number < share else None
            if following is not None:
                probe.send(*following)
            self._digest(source, probe.read(), seen)
            if following is None:
                return

    def _bursts(self, source: _Source, share: int, at_once: int) -> Iterator[tuple[Sequence[int], int, int]]:
        """Cursors, COUNT and seed of burst after burst: enough of them, and not for ever."""
        if not source.has_slots:
            for _ in range(MOST_ROUNDS):
                for cursor in cursors.spread(math.ceil(share / at_once), self._chance):
                    yield (cursor,), at_once, 0
            return
        sizes = self._slot_sizes(source)
        places = min(PLACES, at_once)
        for _ in range(MOST_ROUNDS * math.ceil(share / places)):
            # One key of each place: small slots have fewer to a bucket than large ones, and would be underrated.
            yield cursors.in_slots(sizes, places, self._chance), 1, 1 + int(self._chance() * 1_000_000_000)

    def _slot_sizes(self, source: _Source) -> list[int]:
        owned = [
            slot
            for first, last, address in self._connection.topology().slots
            if str(address) == source.node.id
            for slot in range(first, last + 1)
        ] or list(range(SLOTS))
        sizes = cursors.slot_sizes(source.read, owned)
        if sizes is None or not any(sizes):
            self.notes.add(UNWEIGHTED_NOTE)
            sizes = [0] * SLOTS
            for slot in owned:
                sizes[slot] = 1
        return sizes

    def _digest(self, source: _Source, looked: Looked, seen: set[bytes]) -> None:
        """Take in the keys that did not come before."""
        fresh: dict[bytes, int] = {key: row for row, key in enumerate(looked.keys) if key not in seen}
        seen.update(fresh)
        rows = fresh.values()
        batch = Batch(
            node=source.node.id,
            at=looked.at,
            keys=list(fresh),
            types=[looked.types[row] for row in rows],
            ttls_ms=[looked.ttls_ms[row] for row in rows],
            sizes=[looked.sizes[row] for row in rows],
            objects=[looked.objects[row] for row in rows],
        )
        with self._lock:
            self._collector.add(batch)
            self.looked_at += len(batch.keys)
