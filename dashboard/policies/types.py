"""What the other areas and the templates know about policies.

``Policy``, ``Tier`` and ``PolicyDocument`` are the library's own (``dashboard.caching``). A prefix is bytes; wherever
it is text here (``prefix``), it is written as ``caching.policy.prefix_to_text`` does, and so are prefixes in forms
and URLs. The default, which applies to keys that no prefix matches, has the empty prefix.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from dashboard.caching.errors import Problem
from dashboard.caching.policy import Policy, PolicyDocument, RowMapping, Tier, prefix_to_text
from dashboard.errors import Conflict, InvalidInput, NotFound

MANY_KEYS = 1_000
"""More keys than this without jitter are worth a warning."""
_MOST_PROBLEMS = 20
LAGGING_AFTER_S = 10.0
AWAY_AFTER_S = 60.0
LONGEST_BYPASS_MIN = 24 * 60
LONGEST_REASON = 500
FEW_LOOKUPS = 20
WARM_UP_S = 15 * 60.0
"""A hit ratio of fewer lookups, or counted for less long than the Overview lets a cache warm up, is not judged."""
MAX_IMPORT_BYTES = 3_000_000
"""A document has at most a third of it, but files are written more loosely."""


class ItemKind(StrEnum):
    """What a document is made of."""

    TIER = "tier"
    POLICY = "policy"
    DEFAULT = "default"
    MAPPING = "mapping"
    """From rows of the database to keys."""


class ChangeKind(StrEnum):
    """What happens to an item."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that differs.

    Args:
        name: as in the document, e.g. ``protection.grace_s``.
        label: as on screen.
        before, after: in words with units; empty where the item is not there.
    """

    name: str
    label: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class ItemChange:
    """How one item differs.

    Args:
        name: the prefix, the tier's or mapping's name; empty for the default.
        title: how people call it: ``news:``, "Hot", "Other keys".
        summary: the change in one line: "2 h + up to 12 m to 1 h, no jitter".
        by, at, revision: who staged it, when, and as which of the draft's; empty, None and 0 outside a draft.
        published_meanwhile: since it was staged the published item changed, to what the fields' ``before`` says.
    """

    kind: ItemKind
    name: str
    title: str
    change: ChangeKind
    fields: tuple[FieldChange, ...]
    summary: str
    by: str = ""
    at: datetime | None = None
    revision: int = 0
    published_meanwhile: bool = False


@dataclass(frozen=True, slots=True)
class Diff:
    """All differences between two documents: tiers, then policies by prefix, the default, and mappings."""

    items: tuple[ItemChange, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the two are alike."""
        return not self.items

    def count(self, change: ChangeKind) -> int:
        """How many items were added, changed or removed."""
        return sum(item.change is change for item in self.items)

    @property
    def summary(self) -> str:
        """E.g. "2 changed, 1 added"; "no change"."""
        parts = [f"{self.count(kind):,} {kind}" for kind in ChangeKind if self.count(kind)]
        return ", ".join(parts) or "no change"


class InvalidDocument(InvalidInput):
    """A document from outside is refused; ``fields`` has up to twenty problems in one text, under ``file``.

    Args:
        problems: everything that is wrong with it.
    """

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        shown = [str(problem) for problem in problems[:_MOST_PROBLEMS]]
        more = len(problems) - _MOST_PROBLEMS
        if more > 0:
            shown.append(f"and {more} more problems.")
        super().__init__("The file can't be taken.", fields={"file": "\n".join(shown)})
        self.problems = problems


class InvalidItem(InvalidInput):
    """A policy or a tier is refused; ``fields`` has the validator's own words.

    Args:
        problems: everything that is wrong with it.
    """

    def __init__(self, message: str, *, problems: tuple[Problem, ...]) -> None:
        fields: dict[str, str] = {}
        for problem in problems:
            fields.setdefault(problem.path, problem.message)
        super().__init__(message, fields=fields)
        self.problems = problems


class NoVersion(NotFound):
    """There is no such version; the history lists all of them."""

    def __init__(self, version: int) -> None:
        super().__init__(f"There is no version {version}.", what_to_do="The history lists all of them.")


class EditConflict(Conflict):
    """Somebody else changed the item that a form was opened on. What was typed is not lost: the form shows both.

    Args:
        theirs: how their item differs from what the form was opened on.
        seen: the revision to send with the next try, which then wins.
    """

    def __init__(self, message: str, *, theirs: ItemChange, seen: str, what_to_do: str = "") -> None:
        super().__init__(message, what_to_do=what_to_do)
        self.theirs = theirs
        self.seen = seen


class PublishConflict(Conflict):
    """What would be published is not what was looked at.

    Args:
        changes: what changed meanwhile.
    """

    def __init__(self, message: str, *, changes: tuple[ItemChange, ...], what_to_do: str = "") -> None:
        super().__init__(message, what_to_do=what_to_do)
        self.changes = changes


# --- counters of a prefix ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PrefixUse:
    """What applications counted for one prefix over a window; see ``caching.wire.COUNTERS``.

    Args:
        prefix: empty for the default, None for all that are not counted apart.
        window_s: seconds that the window spans.
        counts: growth per counter.
        hit_ratio_line: hit ratio per step of the window, None without lookups: for a sparkline.
    """

    prefix: str | None
    window_s: float
    counts: Mapping[str, int]
    hit_ratio_line: tuple[float | None, ...] = ()

    @property
    def lookups(self) -> int:
        """Reads that the cache was asked for."""
        return self.counts.get("hits", 0) + self.counts.get("misses", 0)

    @property
    def reads(self) -> int:
        """All reads, those that went around the cache among them."""
        return self.lookups + self.counts.get("bypasses", 0)

    @property
    def database_reads(self) -> int:
        """Keys that were loaded, or whose loader raised, and reads around the cache."""
        return sum(self.counts.get(name, 0) for name in ("loads", "load_errors", "bypasses"))

    @property
    def hit_ratio(self) -> float | None:
        """0..1, of what the cache was asked for; None without that."""
        return self.counts.get("hits", 0) / self.lookups if self.lookups else None

    def is_below(self, target: float) -> bool:
        """Whether the hit ratio is below ``target`` (0..1), and by more reads and for longer than a start takes."""
        if self.hit_ratio is None or self.lookups < FEW_LOOKUPS or self.window_s < WARM_UP_S:
            return False
        return self.hit_ratio < target


@dataclass(frozen=True, slots=True)
class KeyspaceKeys:
    """What the last scan of the keyspace found of one policy's keys.

    Args:
        keys: how many; keys_error: half of the 95 % interval; 0: exact.
        size_bytes: their memory; None: not measured. size_error: as keys_error.
        without_ttl, too_long: keys that break the policy, because they never expire, or later than it allows.
        examples: some that break it: key and TTL in seconds (None: none).
        taken_at: when the scan ended.
        is_sample: only some of the cache's keys were looked at.
    """

    keys: float
    keys_error: float
    size_bytes: float | None
    size_error: float
    without_ttl: float
    too_long: float
    examples: tuple[tuple[bytes, float | None], ...]
    taken_at: datetime
    is_sample: bool
    has_policy: bool = True

    @property
    def breaking(self) -> float:
        """Keys that break the policy; none where none was published, for then there is nothing to break."""
        return min(self.keys, self.without_ttl + self.too_long) if self.has_policy else 0.0

    @property
    def drift(self) -> float | None:
        """Their share, 0..1; None without keys, and where no policy was published."""
        return self.breaking / self.keys if self.keys and self.has_policy else None

    @property
    def example_texts(self) -> tuple[tuple[str, float | None], ...]:
        """The examples with their keys as text."""
        return tuple((prefix_to_text(key), ttl_s) for key, ttl_s in self.examples)


@dataclass(frozen=True, slots=True)
class ScanMark:
    """The scan of the keyspace that memory and drift are from.

    Args:
        snapshot_id: of the keyspace's area.
        taken_at: when it ended.
        is_sample: only some keys were looked at.
    """

    snapshot_id: int
    taken_at: datetime
    is_sample: bool


@dataclass(frozen=True, slots=True)
class CountedPrefix:
    """One prefix over a span: what was counted, and the policy in force.

    Args:
        tier_label, tier_icon, ttl_text: of the policy in force; empty where there is none (any more).
        is_cached: whether that policy stores anything.
        is_bypassed: applications go around the cache right now.
        is_new: it was first counted within the span, and for less long than a cache warms up.
        scan: what the last scan of the keyspace found of its keys; None: there was none, or it counts no keys apart.
    """

    use: PrefixUse
    tier_label: str = ""
    tier_icon: str = ""
    ttl_text: str = ""
    is_cached: bool = True
    is_bypassed: bool = False
    is_new: bool = False
    scan: KeyspaceKeys | None = None


@dataclass(frozen=True, slots=True)
class PrefixTable:
    """All prefixes of a cache over a span.

    Args:
        rows: prefixes with a policy or with counts, those with most reads first; never the default.
        default: keys that no prefix matches.
        other: all that is not shown apart, together; None when there is nothing.
        other_prefixes: how many prefixes that are; 0 when only applications themselves did not tell them apart.
        window_s: seconds that were counted within the span; 0 when nothing was.
        ever_counted: whether any application ever counted for this cache.
        scanned: where memory and drift are from; None: no scan yet.
    """

    rows: tuple[CountedPrefix, ...]
    default: CountedPrefix
    other: PrefixUse | None
    other_prefixes: int
    window_s: float
    ever_counted: bool
    scanned: ScanMark | None = None


@dataclass(frozen=True, slots=True)
class ReadsAvoided:
    """Database reads that the cache made unnecessary, as applications counted them.

    Args:
        avoided, served: in the span: answered without a load of its own; and reads of the database, by a loader or
            around the cache.
        avoided_per_s, served_per_s: in the last minutes; None when nothing was counted lately.
        line: avoided per second, per step of the span; None where nothing was counted.
    """

    avoided: int
    served: int
    avoided_per_s: float | None
    served_per_s: float | None
    line: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PrefixLoad:
    """What the applications ask of one prefix.

    Args:
        loads_per_s: reads of the database, those of a bypass among them.
        load_s: mean seconds of one; None without any.
        keys: about how many there are; None: not known.
    """

    hits_per_s: float
    misses_per_s: float
    loads_per_s: float
    load_s: float | None
    keys: int | None


@dataclass(frozen=True, slots=True)
class RecentLoad:
    """What the applications asked in the last minutes.

    Args:
        window_s: seconds that were counted; 0: none lately.
        prefixes: by prefix, "" for the default, None for those that are not counted apart.
    """

    window_s: float
    prefixes: Mapping[str | None, PrefixLoad]

    @property
    def reads_per_s(self) -> float:
        """Reads of the cache."""
        return sum(each.hits_per_s + each.misses_per_s for each in self.prefixes.values())

    @property
    def loads_per_s(self) -> float:
        """Reads of the database."""
        return sum(each.loads_per_s for each in self.prefixes.values())

    @property
    def hit_ratio(self) -> float | None:
        """0..1; None without reads."""
        hits = sum(each.hits_per_s for each in self.prefixes.values())
        return hits / self.reads_per_s if self.reads_per_s else None


@dataclass(frozen=True, slots=True)
class Sums:
    """One side of a version's effect on a prefix.

    Args:
        window_s: seconds that were counted.
        lookups: reads of the cache; bypasses: those around it.
        loads, failed_loads: runs of the loader that ended well, and that raised.
        errors: the failed loads, and reads and fills that failed because of Redis.
    """

    window_s: float
    lookups: int
    hits: int
    loads: int
    load_us: int
    errors: int
    failed_loads: int = 0
    bypasses: int = 0

    @property
    def hit_ratio(self) -> float | None:
        """0..1; None without lookups."""
        return self.hits / self.lookups if self.lookups else None

    @property
    def reads(self) -> int:
        """All reads, those around the cache among them."""
        return self.lookups + self.bypasses

    @property
    def database_reads_per_s(self) -> float:
        """Reads of the database per second: every run of the loader, and every read around the cache."""
        return (self.loads + self.failed_loads + self.bypasses) / self.window_s

    @property
    def reads_per_s(self) -> float:
        """Reads per second."""
        return self.reads / self.window_s

    @property
    def bypasses_per_s(self) -> float:
        """Reads around the cache per second."""
        return self.bypasses / self.window_s

    @property
    def bypassed(self) -> float:
        """Share of all reads that went around the cache, 0..1."""
        return self.bypasses / self.reads if self.bypasses else 0.0

    @property
    def load_s(self) -> float | None:
        """Mean seconds of a load; None without loads."""
        return self.load_us / self.loads / 1e6 if self.loads else None


@dataclass(frozen=True, slots=True)
class EffectRow:
    """One number before and after a version, in words.

    Args:
        change: "+123%", "-23.0 points", "level"; empty where one side is not known.
        kind: crit when it got worse, ok when better, empty when neither is to be said.
    """

    label: str
    before: str
    after: str
    change: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class PrefixEffect:
    """What a version did to one prefix that it changed.

    Args:
        kind: ok (better), crit (worse), warn (falling, but too early to say), info (level, or no verdict) or
            unknown (too little is known).
        word: "Better", "Worse", "Level", "Too early", "Bypassed".
        sentence: the verdict in one sentence.
        side_s: seconds of each side.
        later_s: seconds between the publication and the second side, more than its own minute or hour.
        unchanged: what did not change, in sentences: the traffic, errors, events of the server.
        line: hit ratio per step over both sides, None without reads; the mark is in its middle.
    """

    prefix: str
    title: str
    kind: str
    word: str
    sentence: str
    side_s: float
    later_s: float = 0.0
    before: Sums | None = None
    after: Sums | None = None
    rows: tuple[EffectRow, ...] = ()
    unchanged: tuple[str, ...] = ()
    line: tuple[float | None, ...] = ()


@dataclass(frozen=True, slots=True)
class VersionEffect:
    """What a version did, prefix by prefix, worst first.

    Args:
        more: prefixes that it changed as well and that are not shown.
    """

    at: datetime
    version: int
    prefixes: tuple[PrefixEffect, ...]
    more: int = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """A publication, for charts."""

    version: int
    at: datetime
    by: str
    reason: str
    kind: str
    summary: str


# --- pages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page of a cache's policies knows.

    Args:
        version: the published version; 0 before the first.
        may_edit: the actor may stage, publish and bypass; a read-only cache still refuses the last two.
    """

    cache_id: int
    cache_name: str
    is_production: bool
    is_read_only: bool
    may_edit: bool
    now: datetime
    version: int
    published_at: datetime | None
    published_by: str
    hit_ratio_target: float


@dataclass(frozen=True, slots=True)
class Bypass:
    """A prefix that goes around the cache for a while; it ends by itself."""

    prefix: str
    title: str
    until: datetime
    left_s: float
    started_at: datetime | None
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Publication:
    """Whether applications can find the published document in Redis.

    Args:
        kind: ok, warn, crit, info or unknown.
        word: the status, e.g. "In force", "Not in Redis", "Never published".
        detail: one sentence; empty when there is nothing to add.
        what_to_do: the way out; may be empty.
        found_version: what Redis held when it was last looked at; None: nothing or not readable.
        checked_at: when Redis last answered.
        republished_at, republish_reason: the last time the worker had to write it again, and why.
    """

    kind: str
    word: str
    detail: str = ""
    what_to_do: str = ""
    found_version: int | None = None
    checked_at: datetime | None = None
    republished_at: datetime | None = None
    republish_reason: str = ""


class InstanceState(StrEnum):
    """How an application instance stands to the published version, worst first."""

    REFUSED = "refused"
    LAGGING = "lagging"
    AWAY = "away"
    UPDATING = "updating"
    APPLIED = "applied"


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One application instance.

    Args:
        title: ``program@host:pid``.
        kind: of the status: ok, warn, crit or unknown.
        word: the status: "Refused v9", "Lagging 1 h 6 m", "Away", "Updating", "Applied".
        version: the one it follows; None: it has none and uses the defaults in its code.
        applied_at: by its own clock; None where there is none.
        last_seen_s: seconds since its last heartbeat, by our clock.
        why: cause and way out; empty when there is nothing to say.
    """

    id: str
    title: str
    program: str
    host: str
    pid: int
    library: str
    state: InstanceState
    kind: str
    word: str
    version: int | None
    applied_at: datetime | None
    last_seen_at: datetime
    last_seen_s: float
    why: str


@dataclass(frozen=True, slots=True)
class InstanceCounts:
    """How many application instances are in which state."""

    total: int = 0
    applied: int = 0
    updating: int = 0
    lagging: int = 0
    refused: int = 0
    away: int = 0

    @property
    def behind(self) -> int:
        """Those that do not run the published version."""
        return self.total - self.applied


@dataclass(frozen=True, slots=True)
class TierDot:
    """A policy on a tier's time ruler."""

    prefix: str
    base_ttl_s: int


@dataclass(frozen=True, slots=True)
class TierCard:
    """A tier, as staged.

    Args:
        icon: name of its icon.
        range_text: "1 to 6 h", "Never stored".
        was_range_text: the range in force; empty unless a staged change puts another.
        note: what it is for; empty for tiers of one's own.
        keys: live keys of its prefixes, as far as counters tell; None when nobody knows.
        staged: the staged change, if any; a removed tier keeps its card until it is published.
        seen: the revision that its form sends along.
    """

    tier: Tier
    icon: str
    range_text: str
    was_range_text: str
    note: str
    prefixes: int
    keys: int | None
    dots: tuple[TierDot, ...]
    staged: ItemChange | None
    seen: str


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """A policy, as staged; removed ones stay until that is published.

    Args:
        prefix: empty for the default.
        tier_label, tier_icon: of its tier.
        ttl_text: "1 h", "n/a" when it is not cached.
        jitter_text: "up to 12 m", "None", "n/a".
        is_burst_risk: no jitter on more than MANY_KEYS keys.
        keys: live keys as far as counters tell; None when nobody knows.
        use: the last 24 hours of its counters; None when nobody counted.
        is_below_target: its hit ratio is below the cache's target.
        bypass: the running bypass, if any.
        staged: the staged change, if any.
        changed_version, changed_at, changed_by: the version that last changed it; None and empty when none did.
        scan: what the last scan of the keyspace found of its keys; None: there was none.
    """

    policy: Policy
    prefix: str
    title: str
    tier_label: str
    tier_icon: str
    ttl_text: str
    jitter_text: str
    strategy_label: str
    is_burst_risk: bool
    keys: int | None
    use: PrefixUse | None
    is_below_target: bool
    bypass: Bypass | None
    staged: ItemChange | None
    changed_version: int | None
    changed_at: datetime | None
    changed_by: str
    scan: KeyspaceKeys | None = None

    @property
    def is_drifting(self) -> bool:
        """Whether some of its keys break it."""
        return self.scan is not None and self.scan.breaking > 0

    def was(self, field: str) -> str:
        """What is in force where a staged change puts another value; empty elsewhere."""
        if self.staged is None or self.staged.change is not ChangeKind.CHANGED:
            return ""
        return next((change.before for change in self.staged.fields if change.name == field), "")


@dataclass(frozen=True, slots=True)
class MappingRow:
    """A mapping from rows to keys, as staged; removed ones stay until that is published.

    Args:
        staged: the staged change, if any.
    """

    mapping: RowMapping
    staged: ItemChange | None


@dataclass(frozen=True, slots=True)
class DraftSummary:
    """The staged edits of a cache, shared by all operators.

    Args:
        revision: rises with every edit.
        problems: why it can't be published as it is: field path -> message.
        people: who staged something.
    """

    revision: int
    next_version: int
    items: tuple[ItemChange, ...]
    problems: tuple[tuple[str, str], ...]
    people: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PoliciesPage:
    """templates/policies/page.html."""

    frame: Frame
    tiers: tuple[TierCard, ...]
    rows: tuple[PolicyRow, ...]
    default: PolicyRow
    draft: DraftSummary | None
    bypasses: tuple[Bypass, ...]
    publication: Publication
    instances: InstanceCounts
    covered_ratio: float | None
    """Share of the reads of the last 24 hours that fell under a policy with a prefix; None when nobody counted."""
    mappings: tuple[MappingRow, ...] = ()
    scanned: ScanMark | None = None
    """Where memory and drift are from; None: no scan yet."""


class KeysSource(StrEnum):
    """Where a preview's number of keys comes from."""

    COUNTED = "counted"
    """Values stored within the last TTL, from the applications' counters."""
    TYPED = "typed"
    ASSUMED = "assumed"


@dataclass(frozen=True, slots=True)
class Preview:
    """When the keys of a burst of writes expire.

    All keys are written within ``burst_s`` seconds and expire ``base + random(0, jitter)`` later. The bars are
    expected values; ``likely_peak`` is what a single second may reach by chance, and does not exceed in 999 of
    1,000 bursts.

    Args:
        keys: how many are written.
        step_s: width of a bar.
        starts_s: where each bar begins, seconds after the burst.
        plain, jittered: keys expiring in each bar without and with the jitter.
        plain_peak_s, jittered_peak_s: most keys expiring in a second, expected.
        now_peak_s: the same for what is published; None for a new policy and for one that is not cached.
        ttl_text, now_ttl_text: "1 h + up to 12 m".
        kind, verdict: ok, warn, info; a sentence.
    """

    keys: int
    source: KeysSource
    burst_s: int
    step_s: int
    starts_s: tuple[int, ...]
    plain: tuple[float, ...]
    jittered: tuple[float, ...]
    plain_peak_s: float
    jittered_peak_s: float
    likely_peak_s: int
    now_peak_s: float | None
    ttl_text: str
    now_ttl_text: str
    kind: str
    verdict: str
    is_waiting: bool = False
    """What was typed can't be used; this is the last valid state."""


@dataclass(frozen=True, slots=True)
class PrefixVersion:
    """A version that changed one prefix, newest first."""

    version: int
    is_current: bool
    change: ItemChange
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Editor:
    """templates/policies/_editor.html: the form of one policy.

    Args:
        original: the prefix it was opened on; None for a new policy; empty for the default.
        values: as in the document: what is staged, or a new policy's defaults; what was typed where that was
            refused. Numbers may be text then.
        errors: field path -> message, e.g. ``base_ttl_s``, ``protection.grace_s``.
        warnings: what is allowed but unwise.
        seen: the revision to send along.
        theirs: what somebody else changed since the form was opened.
        staged: the staged change of this policy, if any.
        published: the policy as it is in force; None for a new one.
    """

    frame: Frame
    original: str | None
    title: str
    values: Mapping[str, Any]
    errors: Mapping[str, str]
    warnings: tuple[str, ...]
    seen: str
    tiers: tuple[Tier, ...]
    preview: Preview | None
    versions: tuple[PrefixVersion, ...]
    staged: ItemChange | None
    published: Policy | None
    next_version: int
    theirs: ItemChange | None = None


@dataclass(frozen=True, slots=True)
class TierEditor:
    """templates/policies/_tier.html: the form of one tier; arguments as in ``Editor``.

    Args:
        used_by: the prefixes that name it.
    """

    frame: Frame
    original: str | None
    title: str
    values: Mapping[str, Any]
    errors: Mapping[str, str]
    seen: str
    staged: ItemChange | None
    used_by: tuple[str, ...]
    next_version: int
    theirs: ItemChange | None = None


@dataclass(frozen=True, slots=True)
class MappingEditor:
    """templates/policies/_rows.html: the form of one mapping; arguments as in ``Editor``."""

    frame: Frame
    original: str | None
    values: Mapping[str, Any]
    errors: Mapping[str, str]
    seen: str
    staged: ItemChange | None
    next_version: int
    theirs: ItemChange | None = None


@dataclass(frozen=True, slots=True)
class DraftPage:
    """templates/policies/draft.html: the staged edits as a diff, and the form that publishes them."""

    frame: Frame
    draft: DraftSummary
    warnings: tuple[str, ...]
    reason: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)
    meanwhile: tuple[ItemChange, ...] = ()
    """What changed between the look and the try to publish."""


@dataclass(frozen=True, slots=True)
class VersionRow:
    """One published version.

    Args:
        kind: "publish", "revert", "apply" (import), "bypass" or "end-bypass".
        summary: "2 changed, 1 added", or the one change in words.
    """

    version: int
    at: datetime
    by: str
    reason: str
    kind: str
    reverts_to: int | None
    summary: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """templates/policies/history.html: versions, newest first."""

    frame: Frame
    rows: tuple[VersionRow, ...]
    older_than: int | None
    """``before`` of the next page; None on the last."""


@dataclass(frozen=True, slots=True)
class VersionPage:
    """templates/policies/version.html: one version, what it changed, and how to go back.

    Args:
        diff: to the version before it.
        previous: that version's number; 0 for the first.
        to_current: to the version in force; empty when it is the one.
    """

    frame: Frame
    row: VersionRow
    document: PolicyDocument
    previous: int
    diff: Diff
    to_current: Diff
    instances: InstanceCounts
    reason: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ComparePage:
    """templates/policies/compare.html: any two versions."""

    frame: Frame
    older: VersionRow
    newer: VersionRow
    diff: Diff


@dataclass(frozen=True, slots=True)
class InstancesPage:
    """templates/policies/instances.html: who runs which version, worst first."""

    frame: Frame
    rows: tuple[InstanceRow, ...]
    counts: InstanceCounts
    publication: Publication
    first_applied_s: float | None
    last_applied_s: float | None
    """Seconds from the publication to the first and the last instance that applied it, by their clocks."""
    note: str = ""
    """Why the list may be incomplete; usually empty."""


@dataclass(frozen=True, slots=True)
class Test:
    """Which policy applies to a key.

    Args:
        key: as it was asked for.
        policy: the one in force (or staged, when the draft was asked).
        prefix: its prefix; empty: the default.
        shorter: prefixes that match as well but are shorter, longest first.
        ttl_text: "1 h + up to 12 m", "Not cached".
        is_bypassed: a bypass runs right now.
        draft: what will apply when the draft is published, where that differs.
        is_pattern: the key looks like a pattern of SCAN, which it is not taken for.
    """

    key: str
    policy: Policy
    prefix: str
    title: str
    tier: Tier
    ttl_text: str
    shorter: tuple[str, ...]
    is_bypassed: bool
    draft: Policy | None = None
    is_pattern: bool = False


@dataclass(frozen=True, slots=True)
class Export:
    """A document as a file.

    Args:
        version: of the document; 0: nothing was published.
    """

    version: int
    name: str
    media_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Staged:
    """What staging did.

    Args:
        change: the item's staged change; None when it is as published again.
        warnings: what is allowed but unwise, in sentences.
    """

    change: ItemChange | None
    revision: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Published:
    """The version in force.

    Args:
        diff: what it changed; what would be changed, where that was only asked for.
        is_new: it was made right now; else what was asked for was in force already, or it was only asked for.
    """

    version: int
    diff: Diff
    warnings: tuple[str, ...] = ()
    is_new: bool = True


# dashboard/policies/service.py (cache_id: int everywhere; NotFound when there is no such cache).
#
# Looking (viewer):
#   policies_page(work, cache_id) -> PoliciesPage
#   editor(work, cache_id, original: str | None) -> Editor            None: add; "": the default; NotFound
#   typed_editor(work, cache_id, original, values, *, errors, seen, theirs=None) -> Editor   after a refusal
#   tier_editor(work, cache_id, original: str | None) -> TierEditor   and typed_tier_editor alike
#   mapping_editor, typed_mapping_editor: the same of a mapping from rows to keys
#   preview(work, cache_id, original: str | None, values, *, keys: int | None = None) -> Preview | None
#   draft_page(work, cache_id, *, reason="", errors=None, meanwhile=()) -> DraftPage
#   history_page(work, cache_id, *, before: int | None = None) -> HistoryPage
#   version_page(work, cache_id, version, *, reason="", errors=None) -> VersionPage
#   compare_page(work, cache_id, older, newer) -> ComparePage
#   instances_page(work, cache_id) -> InstancesPage
#   test_key(work, cache_id, key: str) -> Test     key written like a prefix: \xHH for bytes that are no text
#   export(work, cache_id, format: "json" | "yaml", *, version: int | None = None) -> Export
#   diff_import(work, cache_id, data: bytes, format) -> Diff          file against what is published
#
# Changing (operator; an audit entry in the same transaction; values and paths of errors are the document's):
#   stage_policy(work, cache_id, values: Mapping[str, Any], *, original: str | None, seen: str) -> Staged
#   stage_removal(work, cache_id, prefix: str, *, seen: str) -> Staged
#   stage_tier(work, cache_id, values, *, original: str | None, seen: str) -> Staged
#   stage_tier_removal(work, cache_id, name: str, *, seen: str) -> Staged
#   stage_mapping(work, cache_id, values, *, original: str | None, seen: str) -> Staged    and stage_mapping_removal
#   stage_import(work, cache_id, data: bytes, format, *, revision, version) -> Diff: the draft becomes the file
#   unstage(work, cache_id, kind: ItemKind, name: str, *, revision) -> None        one item back to as published
#   discard_draft(work, cache_id, *, revision: int) -> None
#   publish(work, cache_id, *, reason: str, revision: int) -> Published    revision: the draft's, as it was shown
#   revert(work, cache_id, *, to: int, reason: str, version: int) -> Published   version: the current one, as shown
#   apply(work, cache_id, data: bytes, format, *, reason: str) -> Published      import and publish at once
#   bypass(work, cache_id, prefix: str, *, minutes: int, reason: str) -> Published
#   end_bypass(work, cache_id, prefix: str, *, reason: str = "") -> Published
# Raising: InvalidInput(fields={path: message}), EditConflict, PublishConflict, Refused (read-only), Forbidden,
# NotFound.
#
# Tables of counters (policies/models.py), growth per bucket, one row per prefix that was active:
#   prefix_minute(bucket timestamptz, cache_id int, prefix text, <each of caching.wire.COUNTERS> bigint not null)
#   prefix_hour(the same); prefix is prefix_to_text's text, "" the default, "\other" the rest. Both are upserted at
#   each read of the counters' hash, so that there is no rollup to wait for; minutes are kept 8 days.
