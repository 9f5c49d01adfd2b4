"""The vocabulary of monitoring: readings, differences, windows, facts and verdicts.

Everything here is frozen data without behaviour beyond simple derived values. Quantities are in base units
(bytes, seconds, ratio 0..1) unless the INFO field they are named after says otherwise, in which case the
docstring names the unit. ``None`` always means "the server does not report it", never zero.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import IntFlag, StrEnum
from types import MappingProxyType
from typing import Any, Generic, Literal, TypeVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """Whole numbers that only grow: so far in a Reading, within the interval in a Delta. None where not reported."""

    keyspace_hits: int | None = None
    keyspace_misses: int | None = None
    total_commands_processed: int | None = None
    total_connections_received: int | None = None
    total_net_input_bytes: int | None = None
    total_net_output_bytes: int | None = None
    total_reads_processed: int | None = None
    total_writes_processed: int | None = None
    expired_keys: int | None = None
    expired_time_cap_reached_count: int | None = None
    expire_cycle_cpu_milliseconds: int | None = None
    evicted_keys: int | None = None
    evicted_clients: int | None = None
    total_eviction_exceeded_time: int | None = None
    rejected_connections: int | None = None
    client_output_buffer_limit_disconnections: int | None = None
    total_error_replies: int | None = None
    errors_oom: int | None = None
    keys_calls: int | None = None
    flush_calls: int | None = None
    used_cpu_usec: int | None = None
    eventloop_duration_sum: int | None = None
    eventloop_duration_cmd_sum: int | None = None


COUNTERS: tuple[str, ...] = tuple(each.name for each in fields(Counters))
"""Their names."""

GAUGES: tuple[str, ...] = (
    "used_memory",
    "used_memory_rss",
    "used_memory_peak",
    "used_memory_dataset",
    "used_memory_overhead",
    "maxmemory",
    "total_system_memory",
    "mem_fragmentation_ratio",
    "mem_fragmentation_bytes",
    "allocator_frag_ratio",
    "allocator_frag_bytes",
    "mem_not_counted_for_evict",
    "mem_clients_normal",
    "lazyfree_pending_objects",
    "keys",
    "expires",
    "avg_ttl_s",
    "expired_stale_perc",
    "connected_clients",
    "blocked_clients",
    "maxclients",
    "tracking_clients",
    "connected_slaves",
    "instantaneous_ops_per_sec",
    "current_eviction_exceeded_time",
    "latest_fork_usec",
)
"""Attributes of Reading that hold a momentary value (int or float)."""

FLOAT_GAUGES: frozenset[str] = frozenset(
    {
        "mem_fragmentation_ratio",
        "allocator_frag_ratio",
        "avg_ttl_s",
        "expired_stale_perc",
    }
)
"""The members of GAUGES that are not whole numbers."""


def _empty() -> Mapping[str, Any]:
    return MappingProxyType({})


class Flag(IntFlag):
    """What is special about one difference between two readings; stored as one small integer."""

    NONE = 0
    FIRST = 1
    """No earlier reading: nothing to subtract from, every difference is None."""
    RESTART = 2
    """The server started anew; the differences count from its start."""
    SWITCH = 4
    """Another server answers at the same address; every difference is None."""
    FAILOVER = 8
    """A replica was promoted, or this node changed its role."""
    RESETSTAT = 16
    """The counters were zeroed; the differences count from the reset."""
    GAP = 32
    """Longer than 2.5 poll intervals: sums are right, but a line must break here."""
    LOADING = 64
    """The server was loading its data set; every difference is None."""
    PARTIAL = 128
    """Something in the interval is unknowable: some differences are lower bounds or None."""
    FLUSH = 256
    """The data set was emptied, in whole or for more than its half."""


class EventKind(StrEnum):
    """What can happen to a cache; marks on a chart."""

    RESTART = "restart"
    SWITCH = "switch"
    FAILOVER = "failover"
    RESETSTAT = "resetstat"
    GAP = "gap"
    LOADING = "loading"
    FLUSH = "flush"
    CONFIG = "config"
    DOWN = "down"
    UP = "up"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a node at a moment; ``details`` holds plain JSON values."""

    kind: EventKind
    at: datetime
    details: Mapping[str, Any] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class CommandStat:
    """One ``cmdstat_`` line, or the growth of one: calls and microseconds spent in them.

    ``rejected_calls`` and ``failed_calls`` are None before Redis 6.2.
    """

    calls: int
    usec: int
    rejected_calls: int | None = None
    failed_calls: int | None = None


@dataclass(frozen=True, slots=True)
class DatabaseLine:
    """One ``dbN`` line of the keyspace section; ``avg_ttl_ms`` is None when the server has no estimate."""

    db: int
    keys: int | None = None
    expires: int | None = None
    avg_ttl_ms: int | None = None
    subexpiry: int | None = None


@dataclass(frozen=True, slots=True)
class Reading(Counters):
    """One INFO reply of one node, typed.

    Attributes:
        taken_at: aware UTC time of the poll, for display and storage.
        clock_s: the poller's monotonic clock at the poll, seconds, for elapsed time within one process.
        version: of the product itself: ``valkey_version`` goes before ``redis_version``.
        vendor: redis, valkey, keydb, dragonfly, garnet, kvrocks, redict, upstash, pika, elasticache, memorydb,
            azure or unknown.
        mode: standalone, sentinel or cluster.
        errors_oom: writes refused for memory (``errorstat_OOM``); 0 when the section is there without the line.
        keys_calls, flush_calls: calls of KEYS, and of FLUSHALL with FLUSHDB, from the command statistics.
        used_cpu_usec: system plus user time of the process, microseconds.
        keys, expires, avg_ttl_s: summed over the databases (avg_ttl_s weighted by expires).
        expired_stale_perc: as INFO gives it, in percent 0..100.
        *_exceeded_time, *_milliseconds: milliseconds; eventloop_* and latest_fork_usec: microseconds.
        commands, errors: per command, and per error prefix; empty when the server reports none.
    """

    taken_at: datetime
    clock_s: float

    run_id: str | None = None
    uptime_in_seconds: int | None = None
    server_time_usec: int | None = None
    version: str | None = None
    vendor: str = "unknown"
    mode: str | None = None
    role: str | None = None
    master_replid: str | None = None
    master_replid2: str | None = None
    process_id: int | None = None
    os: str | None = None
    tcp_port: int | None = None
    loading: bool | None = None
    async_loading: bool | None = None

    used_memory: int | None = None
    used_memory_rss: int | None = None
    used_memory_peak: int | None = None
    used_memory_dataset: int | None = None
    used_memory_overhead: int | None = None
    maxmemory: int | None = None
    total_system_memory: int | None = None
    mem_fragmentation_ratio: float | None = None
    mem_fragmentation_bytes: int | None = None
    allocator_frag_ratio: float | None = None
    allocator_frag_bytes: int | None = None
    mem_not_counted_for_evict: int | None = None
    mem_clients_normal: int | None = None
    lazyfree_pending_objects: int | None = None
    keys: int | None = None
    expires: int | None = None
    avg_ttl_s: float | None = None
    expired_stale_perc: float | None = None
    connected_clients: int | None = None
    blocked_clients: int | None = None
    maxclients: int | None = None
    tracking_clients: int | None = None
    connected_slaves: int | None = None
    instantaneous_ops_per_sec: int | None = None
    current_eviction_exceeded_time: int | None = None
    latest_fork_usec: int | None = None

    maxmemory_policy: str | None = None
    mem_allocator: str | None = None
    active_defrag_running: bool | None = None
    rdb_last_bgsave_status: str | None = None
    rdb_last_save_time: int | None = None
    rdb_changes_since_last_save: int | None = None
    rdb_saves: int | None = None
    aof_enabled: bool | None = None
    aof_last_write_status: str | None = None
    aof_last_bgrewrite_status: str | None = None
    master_link_status: str | None = None
    master_link_down_since_seconds: int | None = None

    databases: tuple[DatabaseLine, ...] = ()
    commands: Mapping[str, CommandStat] = field(default_factory=_empty)
    errors: Mapping[str, int] = field(default_factory=_empty)


@dataclass(frozen=True, slots=True)
class Delta(Counters):
    """What grew between two readings of one node; counters are growth, never negative, None when unknown.

    Attributes:
        dt_s: seconds the growth belongs to; None when it makes no rate (first, switch, loading, reset).
        flags: see Flag.
        self_hits, self_misses: lookups of our own within the interval, to be subtracted.
        commands, errors: growth per command and per error prefix, only those that grew.
        events: what happened in the interval, in order of importance.
    """

    dt_s: float | None
    flags: Flag = Flag.NONE

    self_hits: int = 0
    self_misses: int = 0
    commands: Mapping[str, CommandStat] = field(default_factory=_empty)
    errors: Mapping[str, int] = field(default_factory=_empty)
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class ProbeLookups:
    """What one connection of ours looked up so far; the server counted it among everybody's hits and misses.

    Args:
        session: names the connection, for good.
        node: id of the node; run_id: of its process.
        hits, misses: since the connection began.
        is_over: whether there will be no more.
    """

    session: str
    node: str
    run_id: str
    hits: int
    misses: int
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """Sums of the known differences of all nodes of a cache over a time span.

    Attributes:
        start, end: aware UTC.
        covered_s: seconds of the span for which differences are known.
        hits, misses: lookups of the applications, our own already subtracted; None when not reported.
        others: growth of the counter of that name, None when not reported.
    """

    start: datetime
    end: datetime
    covered_s: float
    hits: int | None = None
    misses: int | None = None
    evicted_keys: int | None = None
    expired_keys: int | None = None
    rejected_connections: int | None = None
    errors_oom: int | None = None
    keys_calls: int | None = None
    total_commands_processed: int | None = None
    total_error_replies: int | None = None

    @property
    def length_s(self) -> float:
        """Seconds from start to end."""
        return (self.end - self.start).total_seconds()

    @property
    def coverage(self) -> float:
        """Share of the span with known differences, 0..1."""
        return min(1.0, self.covered_s / self.length_s) if self.length_s > 0 else 0.0

    @property
    def lookups(self) -> int | None:
        """Hits plus misses, None when either is not reported."""
        return None if self.hits is None or self.misses is None else self.hits + self.misses

    @property
    def hit_ratio(self) -> float | None:
        """Hits by lookups, None without lookups."""
        return None if self.hits is None or not self.lookups else self.hits / self.lookups


@dataclass(frozen=True, slots=True)
class Incident:
    """When something that should not happen was counted within a span.

    Attributes:
        first_at: the start of the first poll interval that counted it; last_at: the last poll that did.
    """

    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class MonitorClient:
    """A client that runs MONITOR (flag O in CLIENT LIST)."""

    address: str
    name: str = ""
    user: str = ""
    age_s: int | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class MissingFact:
    """Something we may not or cannot ask.

    Attributes:
        what: the command, e.g. ``CLIENT LIST``.
        reason: the end of "CLIENT LIST is …": ``forbidden``, ``not known to this server``.
        acl: the ACL rule that would grant it, e.g. ``+client|list``; empty when none would help.
    """

    what: str
    reason: str
    acl: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the verdicts about one cache are made from.

    Attributes:
        now: aware UTC.
        poll_interval_s: how often it is polled.
        hit_ratio_target: 0..1.
        last_poll_at: the last good poll, None before the first.
        last_attempt_at: the last poll, good or not; None when last_poll_at says it.
        failures: how many polls in a row failed; failing_since: the first of them.
        last_error: why the last poll failed, in words; None when it did not fail.
        silent_nodes: which part of a Cluster did not answer the last good poll, in words; None when all did.
        nodes: (node id, its last reading) of every primary; empty before the first good poll.
        window: the last 15 minutes or so; before: an equal or longer span that ends where window starts;
            latest: the last part of window.
        evicted_per_s, reads_per_s: keys evicted and lookups of applications per second now, None when not known.
        incidents: of errors_oom, rejected_connections and keys_calls, when window counted any.
        monitors: clients that run MONITOR; None when CLIENT LIST could not be asked.
        missing: what could not be asked and why.
        restarted_at, flushed_at: the last such event of any node, None when there was none.
        keys_last_at: the last poll in whose interval KEYS was called.
        save_config: the value of ``CONFIG GET save``; empty means that snapshots are off, None that it is unknown.
        since: per verdict code, when it was first found; used to say "since 13:38".
    """

    now: datetime
    poll_interval_s: float
    hit_ratio_target: float
    last_poll_at: datetime | None = None
    last_attempt_at: datetime | None = None
    failures: int = 0
    failing_since: datetime | None = None
    last_error: str | None = None
    silent_nodes: str | None = None
    nodes: tuple[tuple[str, Reading], ...] = ()
    window: Window | None = None
    before: Window | None = None
    latest: Window | None = None
    evicted_per_s: float | None = None
    reads_per_s: float | None = None
    incidents: Mapping[str, Incident] = field(default_factory=_empty)
    monitors: tuple[MonitorClient, ...] | None = None
    missing: tuple[MissingFact, ...] = ()
    restarted_at: datetime | None = None
    flushed_at: datetime | None = None
    keys_last_at: datetime | None = None
    save_config: str | None = None
    since: Mapping[str, datetime] = field(default_factory=_empty)


VerdictKind = Literal["crit", "warn", "unknown", "info", "ok"]
"""From worst to best; ``unknown`` is "not evaluable"."""

StatusKind = Literal["ok", "warn", "crit", "unknown"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one check.

    Attributes:
        kind: how bad.
        code: stable name of the check, e.g. ``memory.no_limit``; at most one verdict per code.
        title: one plain line, a sentence with its full stop.
        evidence: the numbers behind it, a sentence; may be empty.
        next_step: what to do, a sentence; empty when there is nothing to do.
        since: when it was first found, None when unknown.
    """

    kind: VerdictKind
    code: str
    title: str
    evidence: str = ""
    next_step: str = ""
    since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Headline:
    """All verdicts about a cache in one sentence: the words to set in bold, then the cause with its numbers.

    Attributes:
        window: the span that its hit ratio is of, None before there is one.
        recent: the last minutes that all other counts in verdicts are of.
    """

    kind: StatusKind
    bold: str
    sentence: str
    window: Window | None = None
    recent: Window | None = None


@dataclass(frozen=True, slots=True)
class CacheStatus:
    """One cache in the list of caches: its state in a word and a few numbers.

    Attributes:
        kind: how it is; ``unknown`` before the first poll.
        word: "Healthy", "Below target", "No answer since 14:09".
        since: since when it is so, None when unknown.
        hit_ratio: of the last window, 0..1, None without lookups.
        hit_ratio_spark: oldest first, None for a gap.
        is_up: whether it is there, None before the first poll: not after two failed polls, or when nobody polls.
        is_unpolled: it is not known to be there because nobody polls.
        vendor: as in Reading, None when unknown.
    """

    cache_id: int
    kind: StatusKind
    word: str
    since: datetime | None = None
    last_poll_at: datetime | None = None
    version: str | None = None
    topology: str | None = None
    hit_ratio: float | None = None
    hit_ratio_spark: tuple[float | None, ...] = ()
    used_memory_bytes: int | None = None
    maxmemory_bytes: int | None = None
    is_up: bool | None = None
    is_unpolled: bool = False
    vendor: str | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the history keeps it.

    Attributes:
        kind: an EventKind's value.
        until: the end of an outage (kind ``down``), None while it lasts; of anything else the last time it was
            repeated, None when it was not.
        count: how often it happened within a short time.
        node: the node it happened to, empty when it is the whole cache.
    """

    id: int
    cache_id: int
    kind: str
    at: datetime
    until: datetime | None
    node: str
    details: Mapping[str, Any]
    count: int = 1


@dataclass(frozen=True, slots=True)
class Span:
    """A time range as asked for.

    Attributes:
        start, end: aware UTC.
        name: ``15m`` … ``30d``, or ``custom``.
        is_live: whether the range ends now and moves on.
    """

    start: datetime
    end: datetime
    name: str
    is_live: bool

    @property
    def length_s(self) -> float:
        """Seconds from start to end."""
        return (self.end - self.start).total_seconds()


@dataclass(frozen=True, slots=True)
class Series:
    """Everything the charts of one cache draw over one span.

    Attributes:
        times: epoch seconds UTC, rising; a bucket's start, or a poll's own time at level ``raw``.
        columns: values by column name, as many as times. None where nothing is known. Of the hit ratio: None with
            ``lookups`` 0 means no traffic, None with ``lookups`` None means no data.
        level: ``raw``, ``minute`` or ``hour``: what the points were made from.
        step_s: seconds of one point; of the poll interval when points are single polls.
        events: what happened, oldest first.
    """

    cache_id: int
    span: Span
    level: Literal["raw", "minute", "hour"]
    step_s: float
    times: tuple[float, ...]
    columns: Mapping[str, tuple[float | None, ...]]
    events: tuple[StoredEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """A cache over a span in a few numbers, and as it is right now.

    Attributes:
        window: sums over the whole span; its hit_ratio is the span's mean.
        ratio_min: the lowest of a single point with enough lookups.
        minutes_known, minutes_below_target: minutes of the span with lookups, and those under the target; in a
            span of more than eight days against the target that held at the time.
        as_of: time of the last good poll; rates are those of its interval.
    """

    window: Window
    ratio_min: float | None
    minutes_known: int
    minutes_below_target: int
    as_of: datetime | None
    rates: Mapping[str, float | None]
    used_memory_bytes: int | None
    maxmemory_bytes: int | None
    maxmemory_policy: str | None
    mem_fragmentation_ratio: float | None
    keys: int | None
    connected_clients: int | None
    blocked_clients: int | None
    uptime_in_seconds: int | None
    version: str | None
    vendor: str | None
    evicting_since: datetime | None


@dataclass(frozen=True, slots=True)
class KeySpace:
    """What bounds the number of keys of a prefix.

    Attributes:
        keys: of all databases and nodes, at the last poll; None when that is not known, or minutes ago.
        emptied_at: the last flush, restart or change of the server within a month; None when there was none. What a
            restart loads from disk was stored before it.
        used_bytes: memory that its nodes use, as ``keys``.
    """

    keys: int | None
    emptied_at: datetime | None
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class PollStatus:
    """How polling one cache goes.

    Attributes:
        is_unpolled: nobody polls it, so nothing is known of it.
        failing_since, error, what_to_do: set while polls fail.
        missing: what the server does not let us ask.
    """

    cache_id: int
    last_attempt_at: datetime | None = None
    last_success_at: datetime | None = None
    is_unpolled: bool = False
    failing_since: datetime | None = None
    failures: int = 0
    error_code: str | None = None
    error: str | None = None
    what_to_do: str | None = None
    round_trip_s: float | None = None
    topology: str | None = None
    version: str | None = None
    role: str | None = None
    missing: tuple[MissingFact, ...] = ()


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The process that polls: who, since when, and how many seconds ago it last gave a sign of life."""

    holder: str
    acquired_at: datetime
    beat_at: datetime
    age_s: float

    @property
    def is_alive(self) -> bool:
        """Whether its last sign of life is recent; a takeover takes up to 15 s."""
        return self.age_s < 30


@dataclass(frozen=True, slots=True)
class SlowEntry:
    """One entry of a node's slow log.

    Attributes:
        at: when it ran, aware UTC.
        duration_s: how long it took.
        command: with its first key as one printable line; other arguments are only counted: they may be anybody's data.
        client_address, client_name: who sent it, empty when not reported.
        node: id of the node that ran it.
    """

    at: datetime
    duration_s: float
    command: str
    client_address: str = ""
    client_name: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class ClientRow:
    """One connection of CLIENT LIST.

    Attributes:
        last_command: as Redis spells it, e.g. ``client|list``; empty when unknown.
        library: ``lib-name`` with its version, empty when not reported.
        memory_bytes: ``tot-mem``, None when not reported.
        state: what is special in words, e.g. "blocked", "runs MONITOR", "subscribed"; empty when nothing is.
        is_monitor: it runs MONITOR.
        is_ours: it is a connection of this dashboard.
        node: id of the node it is connected to.
    """

    address: str
    name: str = ""
    user: str = ""
    library: str = ""
    last_command: str = ""
    state: str = ""
    age_s: int | None = None
    idle_s: int | None = None
    database: int | None = None
    memory_bytes: int | None = None
    is_monitor: bool = False
    is_ours: bool = False
    node: str = ""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """One command's share of the work over the page's span.

    Attributes:
        name: as INFO spells it, e.g. ``config|get``.
        calls_per_s: None when the span is not known.
        time_share: of the time spent in all commands, 0..1; None when no time was spent.
        mean_s: mean seconds of one call, None without calls.
        rejected_calls, failed_calls: None before Redis 6.2.
    """

    name: str
    calls: int
    calls_per_s: float | None = None
    time_share: float | None = None
    mean_s: float | None = None
    rejected_calls: int | None = None
    failed_calls: int | None = None


Row = TypeVar("Row", SlowEntry, ClientRow, CommandRow)


@dataclass(frozen=True)
class TablePage(Generic[Row]):
    """A table of one cache: slow log, clients or commands.

    Attributes:
        rows: sorted for display, the worst first.
        total: how many there are when not all are shown, else None.
        read_at: the poll the rows are from, None before the first.
        span_s: seconds the numbers belong to; None where that means nothing, or since the server's start.
        threshold_s: the slow log's ``slowlog-log-slower-than`` in seconds, None when not known.
        node_count: primaries; the node column is shown from two on.
        missing: why there are no rows, None when they could be read.
        error: why the cache does not answer, in words; None when it does.
    """

    cache_id: int
    cache_name: str
    now: datetime
    poll_interval_s: int
    rows: tuple[Row, ...] = ()
    total: int | None = None
    read_at: datetime | None = None
    span_s: float | None = None
    threshold_s: float | None = None
    node_count: int = 1
    missing: MissingFact | None = None
    error: str | None = None


SlowLogPage = TablePage[SlowEntry]
ClientsPage = TablePage[ClientRow]
CommandsPage = TablePage[CommandRow]
