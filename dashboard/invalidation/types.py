"""What a purge is made of: selection, action, time, limits, preview. Frozen, and stored as JSON by the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

MOST_IDS: Final = 5_000_000
"""More identifiers than that are no list any more."""
MOST_PASTED: Final = 2_000_000
"""Characters in a form's text field; longer lists are uploaded as a file."""
EXCEEDED_BY: Final = 0.2
"""A purge that would touch more than this share beyond what was approved stops and asks again."""
ALMOST: Final = 0.999
"""As much is done at most of a purge that is not over."""
LARGE_SHARE: Final = 0.05
"""Of the keyspace; more asks for the typed confirmation."""


class SelectBy(StrEnum):
    """How the keys are named."""

    KEYS = "keys"
    IDS = "ids"
    PREFIX = "prefix"
    PATTERN = "pattern"
    TAG = "tag"
    ROWS = "rows"

    @property
    def is_exact(self) -> bool:
        """Whether it names its keys one by one: then nothing is ever scanned."""
        return self in (SelectBy.KEYS, SelectBy.IDS, SelectBy.ROWS)


class Action(StrEnum):
    """What happens to each selected key."""

    DELETE = "delete"
    """UNLINK."""
    SPREAD = "spread"
    """It expires at a random moment within ``window_s``, never later than it would have."""
    SOFT = "soft"
    """It is stale from now on: served while one reader refreshes it, for at most the grace of its policy. A key whose
    policy has no grace is removed."""
    POLICY = "policy"
    """Its TTL becomes the policy's base TTL plus jitter (and grace), if it has none or a longer one."""


class When(StrEnum):
    """When it happens."""

    NOW = "now"
    OVER = "over"
    """Evenly over ``over_s`` seconds from now."""
    AT = "at"
    CRON = "cron"
    """By a schedule, which makes one purge for each time it fires."""


class State(StrEnum):
    """Where a purge stands. Every change is an audit entry."""

    DRAFT = "draft"
    """It is being counted, or its preview failed (``problem`` says why)."""
    PREVIEWED = "previewed"
    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether nothing follows."""
        return self in (State.DONE, State.CANCELLED, State.FAILED)

    @property
    def is_active(self) -> bool:
        """Approved and not over: shown on every page."""
        return self in (State.WAITING, State.RUNNING, State.PAUSED)


@dataclass(frozen=True, slots=True)
class Filters:
    """Only keys for which all of this holds; None: whatever. Both ends are included.

    Args:
        type: as TYPE says: string, hash, list, set, zset, stream, or a module's name.
        ttl_min_s: remaining TTL. A key without one has an infinite TTL.
        ttl_max_s: the same, at most.
        idle_min_s: seconds since it was last used (OBJECT IDLETIME; not known under an LFU policy: then refused).
        size_min_bytes: as MEMORY USAGE says.
        size_max_bytes: the same, at most.
        without_ttl: only keys that have no TTL.
        ends_from: keys that end then or later, epoch seconds; unlike a TTL it does not move on while one thinks.
        ends_until: the same, at most. With SPREAD also the end of the window.
    """

    type: str | None = None
    ttl_min_s: int | None = None
    ttl_max_s: int | None = None
    idle_min_s: int | None = None
    size_min_bytes: int | None = None
    size_max_bytes: int | None = None
    without_ttl: bool = False
    ends_from: int | None = None
    ends_until: int | None = None

    @property
    def has_ends(self) -> bool:
        """Whether it matters when keys end."""
        return self.ends_from is not None or self.ends_until is not None

    @property
    def is_empty(self) -> bool:
        """Whether every key passes."""
        return self == Filters()


@dataclass(frozen=True, slots=True)
class Selection:
    """Which keys.

    Args:
        by: how they are named.
        text: the prefix, pattern (glob), or tag; the key template of IDS (contains ``{id}``); the mapping's
            name of ROWS ("products.id"). Prefix and pattern are written as policies write prefixes
            (``caching.policy.prefix_to_text``: ``\\xHH`` for bytes that are no text). Empty for KEYS.
        templates: the key templates that ``ids`` go into: one for IDS, the mapping's for ROWS.
        count: how many keys or identifiers are in the list, for KEYS, IDS and ROWS; the list itself is stored in
            chunks beside the purge (``store.put_input``), because it may be long.
        filters: which of them.
    """

    by: SelectBy
    text: str = ""
    templates: tuple[str, ...] = ()
    count: int = 0
    filters: Filters = field(default_factory=Filters)

    @property
    def target(self) -> str:
        """What it selects, in a word or two: for the history, the log and the one who types it."""
        match self.by:
            case SelectBy.KEYS:
                return "1 key" if self.count == 1 else f"{self.count:,} keys"
            case SelectBy.PREFIX:
                return f"{self.text}*"
            case SelectBy.TAG:
                return f"tag {self.text}"
            case SelectBy.IDS | SelectBy.PATTERN | SelectBy.ROWS:
                return self.text


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for: selection x action x when.

    Args:
        window_s: of SPREAD.
        over_s: of When.OVER; 0: when is still to be chosen, and it can't be approved as it is.
        at: of When.AT, aware, UTC.
        lengthens: POLICY may also make a TTL longer.
        wants_report: keep the keys touched, for download.
    """

    selection: Selection
    action: Action = Action.DELETE
    window_s: int = 0
    when: When = When.OVER
    over_s: int = 0
    at: datetime | None = None
    lengthens: bool = False
    wants_report: bool = False

    @property
    def says_when(self) -> bool:
        """Whether it was chosen when it happens."""
        return self.when is not When.OVER or self.over_s > 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What an admin allows on a cache.

    Args:
        database_budget_qps: database reads per second that purges may cause in all; None: not limited.
        typed_above: keys; more ask for the typed confirmation.
        most_keys_per_s: hard limit of any purge; at first above what a server bears, which is found out meanwhile.
        batch: keys in one UNLINK at most.
        slowest_probe_ms: the p99 of other clients' wait that a purge may cause; it slows down above.
        at_a_time: purges that run at once on this cache.
    """

    database_budget_qps: float | None = 500.0
    typed_above: int = 10_000
    most_keys_per_s: int = 1_000_000
    batch: int = 500
    slowest_probe_ms: float = 2.0
    at_a_time: int = 1
    revision: int = 0


@dataclass(frozen=True, slots=True)
class SampleKey:
    """One of the keys a purge would touch.

    Args:
        key: as bytes.
        ttl_s: None: it has none.
        size_bytes: None: not known.
        policy: prefix of the policy that applies, as text; "" for the default.
    """

    key: bytes
    type: str
    ttl_s: float | None
    size_bytes: int | None
    policy: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a purge would do, found by the same engine without the action.

    Args:
        counted_at: when the count ended.
        keys: how many keys; an estimate where ``keys_error`` is above 0.
        keys_error: half of the 95 % interval, keys; 0: exact.
        scanned: keys looked at.
        named: keys or identifiers that the selector names; None for one that scans.
        keyspace: keys in the cache then.
        size_bytes: their memory, estimated from the sample; None: not known.
        size_error_bytes: half of the 95 % interval.
        used_memory_bytes: of the cache, for the share; None: not known.
        ttl_bounds_s: upper bounds of the TTL histogram's buckets; the last bucket is "no TTL".
        ttl_counts: keys of the sample per bucket, one more than bounds (longer) plus one (none).
        sample: some of the keys, at random, at most 100.
        by_policy: policy prefix as text ("" default) -> share of the keys, 0..1, from the sample.
        without_grace: share of the keys whose policy has no grace (SOFT removes them), 0..1.
        place: which cache that was (``changing.place``); empty: not known.
    """

    counted_at: datetime
    keys: int
    keys_error: int = 0
    scanned: int = 0
    named: int | None = None
    keyspace: int = 0
    size_bytes: int | None = None
    size_error_bytes: int | None = None
    used_memory_bytes: int | None = None
    ttl_bounds_s: tuple[int, ...] = ()
    ttl_counts: tuple[int, ...] = ()
    sample: tuple[SampleKey, ...] = ()
    by_policy: Mapping[str, float] = field(default_factory=dict)
    without_grace: float = 0.0
    place: str = ""

    @property
    def cap(self) -> int:
        """As many keys may be touched under this preview's approval."""
        return int((self.keys + self.keys_error) * (1 + EXCEEDED_BY)) + 10


@dataclass(frozen=True, slots=True)
class NodeProgress:
    """How far a node was worked through.

    Args:
        run_id: of the server that the cursor belongs to; a cursor does not survive it.
        cursor: where the next SCAN goes on; None: this node is done. Exact selectors use it as index into the list.
        scanned: keys seen.
    """

    node: str
    run_id: str
    cursor: int | None
    scanned: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """How it was at a moment of a purge's life, for its chart.

    Args:
        at_s: seconds since it began.
        keys_per_s, loads_per_s, hit_ratio: as in Progress then.
    """

    at_s: float
    keys_per_s: float
    loads_per_s: float | None
    hit_ratio: float | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a purge is, as saved.

    Args:
        touched: keys that were removed or whose TTL was changed; a key is counted once.
        skipped: keys that matched, but were gone or needed no change when their turn came.
        scanned: keys looked at.
        expected_scans: keys that will be looked at in all, as of the start.
        passes: whole passes over the keyspace; a second one follows when nodes changed meanwhile.
        nodes: per node.
        keys_per_s: over the last seconds.
        probe_p99_ms: what other clients wait at present.
        slowed_by: why it is not faster: "", "probe", "memory", "replication", "database", "limit", "spread".
        waits_for: one sentence while it can't go on: which server is away, and why; else empty.
        loads_before_per_s: database reads per second of the concerned prefixes before it began, as the applications
            count them; None: not known.
        loads_per_s: the same, at present.
        hit_ratio: of the concerned prefixes at present, 0..1; None: not known.
        trail: how it went so far, at most ``trail.MOST`` points.
        spent_s: seconds that it worked; pauses, and the time between two workers, are not in it.
        spread_from_s: ``spent_s`` when it was approved last: what is spread over a time is what was left then.
        spread_from_share: how much of the way was behind it then, 0..1.
        shape: how the keys lay over the nodes when the present pass began (``fleet.scan.shape``).
        updated_at: when it was saved.
        touched_on: per node, keys that were touched since its server was seen to start.
        came_back: keys that were touched on servers that then restarted or failed over, and may be there again: the
            approval holds for them once more.
    """

    touched: int = 0
    skipped: int = 0
    scanned: int = 0
    expected_scans: int = 0
    passes: int = 0
    nodes: tuple[NodeProgress, ...] = ()
    keys_per_s: float = 0.0
    probe_p99_ms: float | None = None
    slowed_by: str = ""
    waits_for: str = ""
    loads_before_per_s: float | None = None
    loads_per_s: float | None = None
    hit_ratio: float | None = None
    trail: tuple[Point, ...] = ()
    spent_s: float = 0.0
    spread_from_s: float = 0.0
    spread_from_share: float = 0.0
    shape: str = ""
    updated_at: datetime | None = None
    touched_on: Mapping[str, int] = field(default_factory=dict)
    came_back: int = 0

    @property
    def scanned_share(self) -> float:
        """How much of what is to be looked at was, 0..1."""
        return min(1.0, self.scanned / self.expected_scans) if self.expected_scans else 0.0


@dataclass(frozen=True, slots=True)
class Purge:
    """One purge.

    Args:
        number: counts from 1 within all caches; what people call it by.
        cap: keys it may touch; 0 before it was approved.
        problem: why it failed, waits for approval again, or could not be counted; with the way out.
        by: who asked for it.
        source: "web", "cli" or "schedule".
        schedule_id: which schedule made it.
        wish: what was asked of a running one and is not done yet: "", "pause" or "cancel".
        revision: rises with each change of state.
        needs_count: it is paused because it would go beyond its approval: count again, approve again.
        counted: of a draft, keys that were looked at so far.
        to_count: of about so many; 0: not known.
    """

    number: int
    cache_id: int
    state: State
    plan: Plan
    preview: Preview | None
    progress: Progress
    cap: int
    reason: str
    problem: str
    by: str
    source: str
    schedule_id: int | None
    wish: str
    created_at: datetime
    approved_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    revision: int
    needs_count: bool = False
    counted: int = 0
    to_count: int = 0

    @property
    def share(self) -> float | None:
        """Of the keys to look at, how many were, 0..1; None: not known."""
        progress = self.progress
        if self.state is State.DONE:
            return 1.0
        if self.state is State.WAITING and not progress.scanned:
            return 0.0
        # Not of those to touch: they may lie anywhere, and some go by themselves.
        if progress.expected_scans:
            return min(ALMOST, progress.scanned / progress.expected_scans)
        if self.preview is not None and self.preview.keys:
            return min(ALMOST, (progress.touched + progress.skipped) / self.preview.keys)
        return None


@dataclass(frozen=True, slots=True)
class PurgeMark:
    """A purge on a chart: where it began, and what it was."""

    number: int
    at: datetime
    target: str
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Friction:
    """What must be given before a purge may start.

    Args:
        confirm_count: the number of keys, repeated; typing the text does it, too.
        typed: this text, typed; None: nothing.
        reason: why.
        why: for each of them a sentence that says why it is asked for.
    """

    confirm_count: bool = False
    typed: str | None = None
    reason: bool = False
    why: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A purge that is made again and again.

    Args:
        number: what people call it by.
        cron: five fields, UTC.
        preview: what it would have touched when it was approved.
        cap: keys that each of its purges may touch.
        by: who approved it.
        next_at: when it fires next; None: it is paused.
        last_at: when it last fired, or should have.
        last_note: what became of that, if it made no purge.
        last_purge: number of the last purge it made.
        last_state: and where that stands.
        revision: rises with each change, not with each firing.
    """

    number: int
    cache_id: int
    cron: str
    plan: Plan
    preview: Preview
    cap: int
    reason: str
    by: str
    created_at: datetime
    next_at: datetime | None
    last_at: datetime | None
    last_note: str
    last_purge: int | None
    last_state: State | None
    revision: int

    @property
    def is_paused(self) -> bool:
        """Whether it does not fire."""
        return self.next_at is None
