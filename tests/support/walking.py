"""A collector that keeps every key, somebody who lets the scan work, and the scan run with both."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import redis

from dashboard.clock import Clock
from dashboard.fleet import probing
from dashboard.fleet.registry import Connection
from dashboard.keyspace import scanning
from dashboard.keyspace.scanning import Checkpoint, Scanned
from dashboard.keyspace.types import Batch, ScanLimits, ScanProgress
from dashboard.monitoring.types import ProbeLookups

UNLIMITED = ScanLimits(keys_per_s=100_000_000)
Facts = tuple[bytes, int, int]
"""Type, TTL in milliseconds, memory."""


class Seen:
    """Every key by node, as often as it came; refuses to be used by two threads at once.

    Args:
        on_add: called with each batch before it is kept; may raise, as if its worker was killed before it came.
    """

    def __init__(self, on_add: Callable[[Batch], None] = lambda batch: None) -> None:
        self.nodes: dict[str, Counter[bytes]] = {}
        self.facts: dict[bytes, Facts] = {}
        self.objects: dict[bytes, probing.Facts] = {}
        self.forgotten: list[str] = []
        self._on_add = on_add
        self._busy = threading.Lock()

    def add(self, batch: Batch) -> None:
        assert self._busy.acquire(blocking=False), "two batches at once"
        try:
            self._on_add(batch)
            columns = (batch.types, batch.ttls_ms, batch.sizes, batch.objects)
            assert {len(column) for column in columns} == {len(batch.keys)}
            self.nodes.setdefault(batch.node, Counter()).update(batch.keys)
            for key, type, ttl, size, said in zip(batch.keys, *columns, strict=True):
                self.facts[key] = type, ttl, size
                if said is not None:
                    self.objects[key] = said
        finally:
            self._busy.release()

    def forget(self, node: str) -> None:
        self.forgotten.append(node)
        self.nodes.pop(node, None)

    def state(self) -> bytes:
        return json.dumps(
            {
                node: {key.decode("latin-1"): times for key, times in keys.items()}
                for node, keys in self.nodes.items()
            }
        ).encode()

    @classmethod
    def restore(cls, state: bytes) -> "Seen":
        made = cls()
        for node, keys in json.loads(state).items():
            made.nodes[node] = Counter({key.encode("latin-1"): times for key, times in keys.items()})
        return made

    @property
    def keys(self) -> Counter[bytes]:
        """Keys of all nodes, as often as they came."""
        total: Counter[bytes] = Counter()
        for each in self.nodes.values():
            total += each
        return total


def seeing(keys: int, act: Callable[[], object]) -> Seen:
    """Somebody who keeps every key, and has something happen once so many came. The scan waits for it: on a busy
    machine, too, it is not over before whoever watches it sees that it began."""
    is_over = False

    def look(_: Batch) -> None:
        nonlocal is_over
        if not is_over and len(seen.facts) > keys:
            is_over = True
            act()

    seen = Seen(look)
    return seen


class Patience:
    """Lets the scan work until ``wish`` is set to an exception."""

    def __init__(self) -> None:
        self.wish: BaseException | None = None

    def check(self) -> None:
        if self.wish is not None:
            raise self.wish

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.wish is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))


def walk(
    connection: Connection,
    seen: Seen,
    *,
    limits: ScanLimits = UNLIMITED,
    control: Patience | None = None,
    start: Checkpoint | None = None,
    on_checkpoint: Callable[[Checkpoint], None] = lambda checkpoint: None,
    on_lookups: Callable[[Sequence[ProbeLookups]], None] = lambda lookups: None,
    tell: Callable[[ScanProgress], None] = lambda progress: None,
) -> Scanned:
    return scanning.scan(
        connection,
        limits,
        seen,
        control or Patience(),
        Clock(),
        start=start,
        on_checkpoint=on_checkpoint,
        on_lookups=on_lookups,
        tell=tell,
    )


def slowly(keys_per_s: int) -> ScanLimits:
    """So that something can happen while it runs."""
    return replace(UNLIMITED, keys_per_s=keys_per_s)


def lookups(client: redis.Redis) -> tuple[int, int]:
    """(hits, misses) that the server has counted."""
    stats = client.info("stats")
    return int(stats["keyspace_hits"]), int(stats["keyspace_misses"])
