"""What a keyspace scan is made of, and what it finds. Frozen; values are in base units.

A *scan* walks the keys of a cache; a *snapshot* is what it found. A scan is either **full** (every key, a job) or a
**sample** (some keys from random places, at once). Keys are sorted into a tree by their parts between delimiters;
parts that are identifiers fold into one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from dashboard.fleet.probing import Facts

SAMPLE_KEYS: Final = 20_000
"""A quick look takes so many keys."""
TTL_BOUNDS_S: Final = (60, 300, 900, 3_600, 14_400, 43_200, 86_400, 172_800, 604_800, 2_592_000)
"""Upper ends of the TTL histogram's buckets; two more follow: longer, and none."""
EXPIRY_STEP_S: Final = 10
"""Width of the expiry histogram's fine buckets."""
EXPIRY_FINE_S: Final = 26 * 3_600
"""As far ahead the fine buckets reach; hours follow."""
EXPIRY_FAR_S: Final = 8 * 86_400
"""As far ahead the hours reach; what is later is one number."""


class Kind(StrEnum):
    """How much was looked at."""

    SAMPLE = "sample"
    FULL = "full"


class State(StrEnum):
    """Where a full scan stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self in (State.DONE, State.CANCELLED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Batch:
    """Keys of one node as the scanner brings them; columns of equal length.

    Args:
        node: who has them.
        at: epoch seconds when they were read.
        keys: a key may come twice while the server's table is resized.
        types: as TYPE says; b"none": it is gone.
        ttls_ms: remaining; -1: none, -2: gone.
        sizes: as MEMORY USAGE says, bytes; -1: not measured.
        objects: what OBJECT says; None: not asked.
    """

    node: str
    at: float
    keys: Sequence[bytes]
    types: Sequence[bytes]
    ttls_ms: Sequence[int]
    sizes: Sequence[int]
    objects: Sequence[Facts | None]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, and half of its 95 % interval; 0: exact (or as exact as a scan of a changing cache can be)."""

    value: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class BigKey:
    """One of the largest keys of a prefix."""

    key: bytes
    type: str
    size_bytes: int
    ttl_s: float | None


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One prefix of the tree.

    Args:
        path: the parts from the root, each a literal part with its delimiter ("product:"), or "" + FOLDED; see
            ``name``. Bytes that are no text are written as policies write prefixes (``\\xHH``).
        name: as shown below its parent's: "product:", "product:{id}", "(other)".
        pattern: the glob pattern that holds all its keys (and, of a folded part, others, too); None: "(other)".
        keys: how many.
        size: memory, bytes; None where no size was measured.
        without_ttl: keys that never expire.
        ttl_counts: keys per bucket of TTL_BOUNDS_S, then longer, then none.
        types: keys per type.
        biggest: the largest, at most ten, largest first.
        idle_s: the longest idle time seen; None: not known.
        frequency: mean of the use counters of an LFU policy, 0..255; None: not known.
        encodings: shares, 0..1, of those keys that were asked how they are kept; empty: none was.
        children: largest memory first (or most keys where no memory is known); "(other)" last.
        hidden: how many different names went into "(other)", at least.
        is_folded: its last part stands for identifiers.
        is_leaf: keys end here.
        may_miss: keys that may have been counted under "(other)" before it had a place of its own.
    """

    path: tuple[str, ...]
    name: str
    pattern: str | None
    keys: Estimate
    size: Estimate | None
    without_ttl: Estimate
    ttl_counts: tuple[float, ...] = ()
    types: Mapping[str, float] = field(default_factory=dict)
    biggest: tuple[BigKey, ...] = ()
    idle_s: int | None = None
    frequency: float | None = None
    encodings: Mapping[str, float] = field(default_factory=dict)
    children: tuple["TreeNode", ...] = ()
    hidden: int = 0
    is_folded: bool = False
    is_leaf: bool = False
    may_miss: int = 0


@dataclass(frozen=True, slots=True)
class Conformance:
    """How the keys of one policy keep to it.

    Args:
        prefix: of the policy, as text; "" for the default.
        keys, size: of its keys.
        without_ttl: breaking because they never expire.
        too_long: breaking because their TTL is longer than base + jitter + grace.
        examples: some that break it: key and TTL (None: none); at most five.
    """

    prefix: str
    keys: Estimate
    size: Estimate | None
    without_ttl: Estimate
    too_long: Estimate
    examples: tuple[tuple[bytes, float | None], ...] = ()

    @property
    def breaking(self) -> float:
        """Share of its keys that break it, 0..1."""
        return (
            min(1.0, (self.without_ttl.value + self.too_long.value) / self.keys.value)
            if self.keys.value
            else 0.0
        )


@dataclass(frozen=True, slots=True)
class Expiries:
    """When the keys of one stem expire, by absolute time.

    Args:
        stem: the first parts of their names, identifiers folded, as ``TreeNode.name`` has it; "(other)" for the rest.
        policy: prefix of the policy that applies to (most of) them, as text; "" for the default.
        keys: in all, those without TTL among them.
        fine: expirations per EXPIRY_STEP_S, by bucket: epoch seconds // EXPIRY_STEP_S. Sparse.
        hours: the same per hour, by epoch seconds // 3600, for what lies beyond the fine ones. Sparse.
        later: beyond EXPIRY_FAR_S.
        never: without TTL.
    """

    stem: str
    policy: str
    keys: float
    fine: Mapping[int, float]
    hours: Mapping[int, float]
    later: float
    never: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a scan found.

    Args:
        id: of the stored snapshot; 0 before it is stored.
        began_at, ended_at: aware, UTC; TTLs are as of the moment each key was read.
        looked_at: keys that were read; keyspace: keys in the cache (DBSIZE of all primaries, at the end).
        factor: what counts of a sample were multiplied by; 1 in a full scan.
        size_every: memory was measured on one key of so many; 0: on none.
        root: the tree; its children are the first level.
        policies: conformance per policy that has keys, the default ("") included.
        expiries: per stem.
        policy_version: of the document that was in force.
        delimiters: that parts are separated by.
        notes: what keeps it from being right, one sentence each.
    """

    cache_id: int
    kind: Kind
    began_at: datetime
    ended_at: datetime
    looked_at: int
    keyspace: int
    factor: float
    size_every: int
    root: TreeNode
    policies: tuple[Conformance, ...]
    expiries: tuple[Expiries, ...]
    policy_version: int = 0
    delimiters: str = ":"
    notes: tuple[str, ...] = ()
    id: int = 0


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """What an admin sets for scans of a cache.

    Args:
        keys_per_s: at most, by a full scan.
        slowest_probe_ms: p99 of other clients' wait that a scan may cause; it slows down above.
        size_every: measure the memory of one key of so many; 1: of each.
        prefers_replica: scan a replica where there is one.
        delimiters: characters that separate parts.
        sample_every_s: a sample is taken by itself so often; 0: never.
        full_every_s: a full scan is begun by itself so often; 0: never.
    """

    keys_per_s: int = 1_000_000
    slowest_probe_ms: float = 3.0
    size_every: int = 1
    prefers_replica: bool = True
    delimiters: str = ":"
    sample_every_s: int = 600
    full_every_s: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """How far a full scan is, as saved.

    Args:
        looked_at: keys read.
        expected: in all, about.
        keys_per_s: over the last seconds.
        probe_p99_ms: what other clients wait at present.
        slowed_by: "", "probe", "memory", "replication", "limit".
        waits_for: one sentence while it can't go on; else empty.
        restarts: nodes that were begun again, because they restarted.
    """

    looked_at: int = 0
    expected: int = 0
    keys_per_s: float = 0.0
    probe_p99_ms: float | None = None
    slowed_by: str = ""
    waits_for: str = ""
    restarts: int = 0

    @property
    def share(self) -> float:
        """0..1."""
        return min(1.0, self.looked_at / self.expected) if self.expected else 0.0


@dataclass(frozen=True, slots=True)
class Scan:
    """A full scan.

    Args:
        number: what it is called by.
        by: who asked for it; "schedule" for one that began by itself.
        wish: "cancel" when that was asked for and is not done yet.
        problem: why it failed, with the way out.
        snapshot_id: what it found, when it is done.
    """

    number: int
    cache_id: int
    state: State
    by: str
    asked_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: ScanProgress
    wish: str = ""
    problem: str = ""
    snapshot_id: int | None = None
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Growth:
    """How a prefix grew between two snapshots.

    Args:
        since: when the earlier one was taken.
        keys, size_bytes: now less then; size None where it was not measured.
        keys_error, size_error: half of their 95 % intervals, of both snapshots together; 0: both were exact.
    """

    since: datetime
    keys: float
    size_bytes: float | None
    keys_error: float = 0.0
    size_error: float = 0.0


@dataclass(frozen=True, slots=True)
class SnapshotMark:
    """A stored snapshot without what it holds, for lists.

    Args:
        keys: of the whole cache, as counted or estimated.
        size: memory of them; None where no size was measured.
    """

    id: int
    cache_id: int
    kind: Kind
    began_at: datetime
    ended_at: datetime
    looked_at: int
    keyspace: int
    keys: float
    size: Estimate | None


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """A prefix at one moment, for a line over time. None: it was not apart from others then, or not measured."""

    at: datetime
    keys: float | None
    size_bytes: float | None


@dataclass(frozen=True, slots=True)
class ScanPanel:
    """Where the numbers on a page about keys are from, and how to get new ones; ``freshness`` of macros/scans.html.

    Args:
        base: address of the cache's keyspace pages.
        back: name of the page it stands on, see ``panel.BACK``; back_href: its address.
        latest: the newest snapshot, full or sample; None: there is none yet.
        seen: id of the newest snapshot when the page was made; 0: there was none.
        source_text: "Full scan", "Sample of 20,000 of 142,256 keys"; error_text: "±0.7%", empty when exact.
        scan: the full scan that is under way; else the last one.
        share: how far the scan under way is, 0..1; None: nothing is known yet.
        done_text, rate_text: the same in words; notes: what slows it, what it waits for, why the last one failed.
        said: what a screen reader is told, changing at the start, each quarter and the end only.
        look_problem: why the last sample that was taken by itself failed; empty: it did not.
        may_scan: whether the reader may start and cancel; may_set: may change the limits.
        uneven: what a sample can't have seen of the memory, one sentence; empty: nothing.
    """

    base: str
    back: str
    back_href: str
    now: datetime
    latest: SnapshotMark | None
    seen: int
    source_text: str
    error_text: str
    scan: Scan | None
    share: float | None
    done_text: str
    rate_text: str
    notes: tuple[str, ...]
    said: str
    look_problem: str
    may_scan: bool
    may_set: bool
    uneven: str = ""

    @property
    def is_scanning(self) -> bool:
        """Whether a full scan is under way."""
        return self.scan is not None and not self.scan.state.is_over

    @property
    def is_news(self) -> bool:
        """Whether there is a newer snapshot than the page shows."""
        return self.latest is not None and self.latest.id > self.seen
