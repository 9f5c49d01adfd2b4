"""The full scan: every key of a cache, once, read in bursts so short that nobody else waits, and resumable.

It knows neither PostgreSQL nor what is made of the keys: batches go to a ``Collector``, what has to survive the worker
to ``on_checkpoint``.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Protocol

from dashboard.clock import Clock
from dashboard.errors import DashboardError
from dashboard.fleet import replicas
from dashboard.fleet import scan as fleet_scan
from dashboard.fleet.errors import Cause, FleetDenied, FleetError
from dashboard.fleet.pace import Allowance, Pace
from dashboard.fleet.probing import Looked, Probe
from dashboard.fleet.registry import Connection, Node
from dashboard.fleet.url import Kind
from dashboard.fleet.watching import Paces
from dashboard.keyspace.lookups import Lookups, Report
from dashboard.keyspace.types import Batch, ScanLimits, ScanProgress

PARALLEL: Final = 8
"""Nodes that are walked at a time."""
OBJECT_EVERY: Final = 16
"""OBJECT is asked about one key of so many: it costs lookups, and prefixes nobody reads show all the same."""
TIMED_EVERY: Final = 8
"""One burst of so many is waited for with nothing else to do, so that the pace knows what the server's part is."""
CHECKPOINT_S: Final = 5.0
CHECKPOINT_SHARE: Final = 0.05
"""Of the time, saving may take no more than this."""
LOOKUPS_S: Final = 1.0
TELL_S: Final = 0.5
RATE_S: Final = 5.0
"""The rate shown is that of so many seconds."""
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 5.0
PAUSE_TOLD_S: Final = 0.02
"""Before a longer rest the connection says exactly what it looked up."""
AWAY_S: Final = 120.0
"""A server may stay away so long."""
REPLICA_AWAY_S: Final = 10.0
"""A replica so long; then its primary is read, from the beginning."""
MOST_PASSES: Final = 3
MOVED_NOTE: Final = "Slots were moved while it ran: some keys may be missing, or counted twice."
UNMEASURED_NOTE: Final = "MEMORY USAGE is not allowed: no memory was measured."


class Refused(DashboardError):
    """Trying again will not help: the cache forbids what is needed."""

    code = "scan_refused"
    status = 409
    title = "The cache can't be scanned"


class Collector(Protocol):
    """What is made of the keys. Called by one thread at a time."""

    def add(self, batch: Batch) -> None:
        """Take keys in."""
        ...

    def forget(self, node: str) -> None:
        """Drop all that came from a node (``Batch.node``): it is begun again."""
        ...

    def state(self) -> bytes:
        """All that was collected, so that another worker can go on."""
        ...


class Control(Protocol):
    """What is asked of the scan while it works; ``jobs.types.Control`` is one. Called by several threads."""

    def check(self) -> None:
        """Called before each burst; whatever it raises ends the scan."""
        ...

    def wait(self, seconds: float) -> None:
        """Sleep for so long, at most; return sooner when ``check`` would raise."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """How far the keys of one primary are walked through.

    Args:
        node: id of the primary; ``Batch.node`` of its keys.
        source: id of the server that is read: the primary itself, or a replica of it.
        run_id: of the source; with another one the cursor means nothing.
        cursor: where to go on.
        looked_at: keys read.
        is_done: whether there are no more.
        slots: of a Cluster: which it had, as text.
    """

    node: str
    source: str
    run_id: str
    cursor: int
    looked_at: int
    is_done: bool
    slots: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that another worker needs to go on; its parts belong together.

    Args:
        places: by primary.
        collected: ``Collector.state()`` with exactly the keys before those places.
        progress: as shown.
    """

    places: tuple[Place, ...]
    collected: bytes
    progress: ScanProgress


@dataclass(frozen=True, slots=True)
class Scanned:
    """What a scan says about itself when it is done.

    Args:
        looked_at: keys read.
        keyspace: keys in the cache at the end, by DBSIZE of all primaries.
        size_every: one key of so many was measured; 0: none, for want of the right to.
        progress: the last.
        notes: what kept it from being exact, one sentence each.
    """

    looked_at: int
    keyspace: int
    size_every: int
    progress: ScanProgress
    notes: tuple[str, ...] = ()


def scan(
    connection: Connection,
    limits: ScanLimits,
    collector: Collector,
    control: Control,
    clock: Clock,
    *,
    start: Checkpoint | None,
    on_checkpoint: Callable[[Checkpoint], None],
    on_lookups: Report,
    tell: Callable[[ScanProgress], None] = lambda progress: None,
) -> Scanned:
    """Walk all keys, from the beginning or from where another worker stopped.

    A server that is away or loading is waited for; one that restarted is begun again.

    Args:
        connection: the cache.
        limits: as an admin set them.
        collector: gets the keys; restored from ``start.collected`` where there is a start.
        control: asked before each burst.
        clock: of this machine.
        start: the last checkpoint; None: from the beginning.
        on_checkpoint: saves one, every few seconds; not called any more once the scan is done. Whatever it raises ends
            the scan.
        on_lookups: stores what our lookups were so far (``monitoring.service.record_probe_lookups``), each second and
            before the end, whatever ends it. A StoreUnavailable that it raises is swallowed.
        tell: told twice a second how far it is, by the thread that called.

    Raises:
        Refused: the cache forbids what is needed; the words name the ACL line.
        FleetError: a server stayed away for too long.
    """
    return _Run(connection, limits, collector, control, clock, start, on_checkpoint, on_lookups, tell).go()


class _Gone(Exception):
    """The node is not of the cache any more."""


class _Stopped(Exception):
    """Another thread ends the scan."""


class _Run:
    def __init__(
        self,
        connection: Connection,
        limits: ScanLimits,
        collector: Collector,
        control: Control,
        clock: Clock,
        start: Checkpoint | None,
        on_checkpoint: Callable[[Checkpoint], None],
        on_lookups: Report,
        tell: Callable[[ScanProgress], None],
    ) -> None:
        self._connection = connection
        self._limits = limits
        self._collector = collector
        self._control = control
        self._clock = clock
        self._on_checkpoint = on_checkpoint
        self._tell = tell
        self._lookups = Lookups(on_lookups)
        self._paces = Paces(limits.slowest_probe_ms, clock)
        self._allowance = Allowance(limits.keys_per_s)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._places = {place.node: place for place in start.places} if start else {}
        self._restarts = start.progress.restarts if start else 0
        self._expected: dict[str, int] = {}
        self._waits: dict[str, str] = {}
        self._slowed: dict[str, str] = {}
        self._rates: deque[tuple[float, int]] = deque()
        self._replicas: dict[str, Node] = {}
        self._can_size = True
        self._is_shaky = False

    def go(self) -> Scanned:
        try:
            self._passes()
            keyspace = self._keyspace()
        finally:
            self._paces.close()
            self._lookups.close()
            for node in self._replicas.values():
                node.close()
        notes: tuple[str, ...] = ()
        if self._is_shaky:
            notes += (MOVED_NOTE,)
        if self._limits.size_every and not self._can_size:
            notes += (UNMEASURED_NOTE,)
        size_every = self._limits.size_every if self._can_size else 0
        progress = replace(self._progress(), waits_for="", slowed_by="")
        return Scanned(progress.looked_at, keyspace, size_every, progress, notes)

    # --- the thread that called ---------------------------------------------------------------------------------

    def _passes(self) -> None:
        """Until each node's keys were walked through while the node had the slots it has now."""
        for _ in range(MOST_PASSES):
            waiting = self._arrange()
            if not waiting:
                return
            self._walk_all(waiting)
        self._is_shaky = bool(self._arrange(is_last=True))

    def _arrange(self, *, is_last: bool = False) -> list[Node]:
        """The nodes that have keys to be walked through; what is of no node any more is forgotten."""
        self._connection.refresh()
        nodes = self._patiently(self._connection.nodes)
        shapes = self._shapes()
        waiting = []
        for node in nodes:
            place = self._places.get(node.id)
            if place is None or place.slots != shapes.get(node.id, ""):
                if is_last:
                    return [node]
                if place is not None:
                    self._forget(node.id)
                self._places[node.id] = Place(
                    node.id, "", "", fleet_scan.START, 0, False, shapes.get(node.id, "")
                )
            if not self._places[node.id].is_done:
                waiting.append(node)
        for gone in self._places.keys() - {node.id for node in nodes}:
            self._forget(gone)
        return waiting

    def _shapes(self) -> dict[str, str]:
        if self._connection.url.kind is not Kind.CLUSTER:
            return {}
        shapes: dict[str, list[str]] = {}
        for first, last, address in self._connection.topology().slots:
            shapes.setdefault(str(address), []).append(f"{first}-{last}")
        return {node: ",".join(stretches) for node, stretches in shapes.items()}

    def _walk_all(self, nodes: list[Node]) -> None:
        now_s = self._clock.monotonic()
        told_s = stored_s = now_s
        save_at_s = now_s + CHECKPOINT_S
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="keyspace-scan") as pool:
            walks: set[Future[None]] = {pool.submit(self._walk, node) for node in nodes}
            try:
                while walks:
                    done, walks = wait(walks, TELL_S / 2, FIRST_COMPLETED)
                    for walk in done:
                        walk.result()
                    now_s = self._clock.monotonic()
                    if now_s - told_s >= TELL_S:
                        told_s = now_s
                        self._tell(self._progress())
                    if now_s - stored_s >= LOOKUPS_S:
                        stored_s = now_s
                        self._lookups.store()
                    if walks and now_s >= save_at_s:
                        self._save()
                        took_s = self._clock.monotonic() - now_s
                        save_at_s = now_s + max(CHECKPOINT_S, took_s / CHECKPOINT_SHARE)
            finally:
                self._stop.set()
        self._stop.clear()

    def _save(self) -> None:
        progress = self._progress()
        with self._lock:
            places, collected = tuple(self._places.values()), self._collector.state()
        looked_at = sum(place.looked_at for place in places)
        self._on_checkpoint(Checkpoint(places, collected, replace(progress, looked_at=looked_at)))

    def _progress(self) -> ScanProgress:
        now_s = self._clock.monotonic()
        with self._lock:
            looked_at = sum(place.looked_at for place in self._places.values())
            expected = {**self._expected}
            for place in self._places.values():
                # SCAN can't know how many there will have been.
                known = expected.get(place.node, 0)
                expected[place.node] = place.looked_at if place.is_done else max(known, place.looked_at)
        waits, slowed = list(self._waits.values()), list(self._slowed.values())
        self._rates.append((now_s, looked_at))
        while len(self._rates) > 2 and now_s - self._rates[1][0] >= RATE_S:
            self._rates.popleft()
        first_s, first = self._rates[0]
        return ScanProgress(
            looked_at=looked_at,
            expected=sum(expected.values()),
            keys_per_s=max(0.0, (looked_at - first) / (now_s - first_s)) if now_s > first_s else 0.0,
            probe_p99_ms=self._paces.probe_p99_ms,
            slowed_by=slowed[0] if slowed else "",
            waits_for=waits[0] if waits else "",
            restarts=self._restarts,
        )

    def _keyspace(self) -> int:
        """Keys of all primaries; one that went away in the last moment had as many as were walked through."""
        total = 0
        for node in self._connection.nodes():
            try:
                total += fleet_scan.server_state(node).keys
            except FleetError:
                total += self._places[node.id].looked_at if node.id in self._places else 0
        return total

    # --- a thread for each node ---------------------------------------------------------------------------------

    def _walk(self, node: Node) -> None:
        """Through all keys of a primary, by itself or by a replica, whatever happens to them."""
        away_since_s: float | None = None
        pause_s = FIRST_PAUSE_S
        avoids_replicas = not self._limits.prefers_replica
        while True:
            before = self._places[node.id].looked_at
            source = None
            try:
                source = self._source(node, avoids_replicas=avoids_replicas)
                self._walk_source(node, source)
                self._waits.pop(node.id, None)
                return
            except FleetError as error:
                is_replica = source is not None and source is not node
                if isinstance(error, FleetDenied):
                    if not is_replica:
                        raise refused(error) from None
                    # Users are each server's own affair.
                    avoids_replicas = True
                    continue
                now_s = self._clock.monotonic()
                if away_since_s is None or self._places[node.id].looked_at != before:
                    away_since_s, pause_s = now_s, FIRST_PAUSE_S
                if now_s - away_since_s > AWAY_S:
                    raise
                if error.problem.cause is Cause.TOO_LARGE:
                    self._paces.of(source or node).overflowed()
                avoids_replicas |= is_replica and now_s - away_since_s > REPLICA_AWAY_S
                self._waits[node.id] = error.message
                self._check()
                self._control.wait(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
                try:
                    self._stay(node)
                except _Gone:
                    # The pass that follows finds who has its keys now.
                    self._waits.pop(node.id, None)
                    return

    def _stay(self, node: Node) -> None:
        self._connection.refresh()
        with suppress(FleetError):
            if all(each.id != node.id for each in self._connection.nodes()):
                raise _Gone

    def _source(self, node: Node, *, avoids_replicas: bool) -> Node:
        """Who is read: as before, or a replica where there is one."""
        place = self._places[node.id]
        if avoids_replicas or (
            place.source == node.id and fleet_scan.server_state(node).run_id == place.run_id
        ):
            return node
        found = replicas.find(self._connection, node, place.source)
        if found is None:
            return node
        with self._lock:
            kept = self._replicas.setdefault(found.id, found)
        if kept is not found:
            found.close()
        return kept

    def _walk_source(self, node: Node, source: Node) -> None:
        state = fleet_scan.server_state(source)
        place = self._places[node.id]
        if (place.source, place.run_id) != (source.id, state.run_id):
            # A cursor means nothing to another server, nor to this one after a restart.
            if place.looked_at:
                self._restarts += 1
                self._forget(node.id)
            with self._lock:
                self._places[node.id] = Place(
                    node.id, source.id, state.run_id, fleet_scan.START, 0, False, place.slots
                )
        self._expected[node.id] = state.keys
        probe = Probe(
            source,
            size_every=self._limits.size_every,
            object_every=OBJECT_EVERY,
            reads_replica=source is not node and self._connection.url.kind is Kind.CLUSTER,
        )
        self._lookups.begin(probe, source, state.run_id, is_polled=source is node)
        try:
            self._walk_bursts(node, probe, self._paces.of(source))
        finally:
            self._lookups.end(probe)
            self._can_size &= probe.can_size

    def _walk_bursts(self, node: Node, probe: Probe, pace: Pace) -> None:
        """Burst after burst; while the server works on the next, the last one is digested here."""
        cost_s = 0.0
        number = 0
        self._send(probe, pace, self._places[node.id].cursor)
        while True:
            burst = probe.receive()
            self._waits.pop(node.id, None)
            received_s = self._clock.monotonic()
            units = max(1, burst.number)
            if burst.is_timed:
                pace.worked(units, burst.took_s)
                cost_s = burst.took_s / units
            with self._lock:
                self._allowance.took(burst.number, received_s)
            go_at_s = received_s + pace.rest_s(min(burst.took_s, cost_s * units) if cost_s else burst.took_s)
            number += 1
            is_last = burst.cursor == fleet_scan.START
            is_ahead = (
                not is_last
                and number % TIMED_EVERY != 0
                and not self._wait_s(pace, go_at_s)
                and not self._stop.is_set()
            )
            if is_ahead:
                self._send(probe, pace, burst.cursor)
            self._digest(node, probe.read())
            if is_last:
                return
            if not is_ahead:
                self._rest(node, probe, pace, go_at_s)
                self._send(probe, pace, burst.cursor)

    def _send(self, probe: Probe, pace: Pace, cursor: int) -> None:
        self._check()
        most = self._allowance.most_at_once(max(1, sum(self._expected.values())))
        probe.send((cursor,), max(1, min(pace.units, most)))

    def _wait_s(self, pace: Pace, go_at_s: float) -> float:
        now_s = self._clock.monotonic()
        with self._lock:
            limited_s = self._allowance.wait_s(now_s, 0.0, 0.0)
        return max(0.0, go_at_s - now_s, limited_s, pace.rest_s(0.0) if pace.is_still else 0.0)

    def _rest(self, node: Node, probe: Probe, pace: Pace, go_at_s: float) -> None:
        """Until the node may be asked again."""
        is_told = False
        while (wait_s := self._wait_s(pace, go_at_s)) > 0:
            reason = pace.slowed_by or self._allowance.slowed_by
            if reason:
                self._slowed[node.id] = reason
            self._check()
            if not is_told and wait_s > PAUSE_TOLD_S:
                probe.pause()
                is_told = True
            self._control.wait(wait_s)
        if not pace.slowed_by and not self._allowance.slowed_by:
            self._slowed.pop(node.id, None)

    def _digest(self, node: Node, looked: Looked) -> None:
        batch = Batch(
            node.id, looked.at, looked.keys, looked.types, looked.ttls_ms, looked.sizes, looked.objects
        )
        with self._lock:
            place = self._places[node.id]
            self._collector.add(batch)
            self._places[node.id] = replace(
                place,
                cursor=looked.cursor,
                looked_at=place.looked_at + len(looked.keys),
                is_done=looked.cursor == fleet_scan.START,
            )

    def _forget(self, node: str) -> None:
        with self._lock:
            self._collector.forget(node)
            self._places.pop(node, None)
            self._expected.pop(node, None)

    # --- both ---------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        self._control.check()
        if self._stop.is_set():
            raise _Stopped

    def _patiently(self, ask: Callable[[], list[Node]]) -> list[Node]:
        ends_s = self._clock.monotonic() + AWAY_S
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                return ask()
            except FleetError as error:
                if isinstance(error, FleetDenied):
                    raise refused(error) from None
                if self._clock.monotonic() > ends_s:
                    raise
                self._waits[""] = error.message
                self._tell(self._progress())
                self._control.check()
                self._control.wait(pause_s)
                pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
            finally:
                self._waits.pop("", None)


def refused(error: FleetError) -> DashboardError:
    """``Refused`` where rights are missing; a sign-in that failed stays what it is."""
    if error.problem.cause is Cause.NOPERM:
        return Refused(error.message, what_to_do=error.what_to_do)
    return error
