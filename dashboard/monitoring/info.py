"""Parsing of INFO replies, from Redis 6.0 to 8, Valkey, KeyDB, Dragonfly and managed services.

The rule above all others: what is missing, unreadable or reported as unknown is None, never zero. A hostile or
broken reply yields a Reading with many Nones; it never raises and never takes memory out of proportion.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from dashboard.monitoring.sums import whole_sum
from dashboard.monitoring.types import CommandStat, DatabaseLine, Reading

MAX_REPLY_BYTES = 1_048_576
"""What follows is not read. Real replies have 4 to 60 KB."""
MAX_FIELDS = 20_000
MAX_NAME_CHARS = 256
MAX_VALUE_CHARS = 4_096
MAX_TEXT_CHARS = 128
"""Longest text kept in a Reading, e.g. a version."""

_LARGEST = 2**63 - 1
_NUMBER = re.compile(r"(-?[0-9]{1,19})(\.[0-9]{1,30})?%?\Z")
_DATABASE = re.compile(r"db([0-9]{1,5})\Z")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\uffff]")
_UNKNOWN_TEXT = frozenset({"", "-", "N/A", "n/a"})

_PRODUCT_VERSIONS = (
    ("valkey", "valkey_version"),
    ("dragonfly", "dragonfly_version"),
    ("garnet", "garnet_version"),
    ("kvrocks", "kvrocks_version"),
    ("redict", "redict_version"),
    ("upstash", "upstash_version"),
    ("pika", "pika_version"),
)
"""Products that also report a ``redis_version``, frozen or made up, for compatibility."""

_ERRORS_NOT_COUNTED = frozenset({"ERRORSTATS_DISABLED", "ERRORSTATS_OVERFLOW"})
"""Pseudo errors: the server met too many kinds of errors and stopped telling them apart."""


@dataclass(frozen=True, slots=True)
class Info:
    """An INFO reply taken apart, still as text.

    Attributes:
        fields: every ``name:value`` line, databases and statistics included; of a repeated name the first.
        sections: the headings without ``#``, in lower case.
        is_truncated: the reply was larger than any real one and its tail was left unread.
    """

    fields: Mapping[str, str]
    sections: frozenset[str]
    is_truncated: bool = False

    def text(self, name: str) -> str | None:
        """The printable text of a field; None when missing, empty, ``-`` or ``N/A``."""
        value = self.fields.get(name)
        if value is None:
            return None
        value = _UNPRINTABLE.sub("", value).strip()[:MAX_TEXT_CHARS]
        return None if value in _UNKNOWN_TEXT else value

    def number(self, name: str) -> float | None:
        """A field as a number, of ``20.99%`` the number before the sign; None when it is not one."""
        return _number(self.fields.get(name))

    def signed(self, name: str) -> int | None:
        """A whole number that may be negative by nature; a fraction is cut off."""
        return _whole(self.fields.get(name))

    def count(self, name: str) -> int | None:
        """A whole number that cannot be negative: below zero the server means "unknown"."""
        return _count(self.fields.get(name))

    def level(self, name: str) -> float | None:
        """A number that cannot be negative: below zero the server means "unknown"."""
        value = self.number(name)
        return None if value is None or value < 0 else value

    def yes(self, name: str) -> bool | None:
        """A field that is 0 or 1 (or a number that stands for yes, as in ``active_defrag_running:25``)."""
        value = self.count(name)
        return None if value is None else value != 0

    @property
    def vendor(self) -> str:
        """The product, or the service where the product hides; ``unknown`` when the reply names neither."""
        for vendor, name in _PRODUCT_VERSIONS:
            if self.text(name) is not None:
                return vendor
        if "keydb" in self.sections:
            return "keydb"
        system = self.text("os") or ""
        if "MemoryDB" in system:
            return "memorydb"
        if "ElastiCache" in system:
            return "elasticache"
        if system.startswith("Windows"):
            return "azure"
        return "redis" if self.text("redis_version") is not None else "unknown"

    @property
    def version(self) -> str | None:
        """The version of the product itself; Valkey's ``redis_version`` says 7.2.4 for ever."""
        for _, name in _PRODUCT_VERSIONS:
            if (version := self.text(name)) is not None:
                return version
        return self.text("redis_version")

    @property
    def databases(self) -> tuple[DatabaseLine, ...]:
        """The ``dbN`` lines in order of N; their parts are read by name, never by position."""
        lines = []
        for name, value in self.fields.items():
            if match := _DATABASE.match(name):
                parts = _parts(value)
                lines.append(
                    DatabaseLine(
                        db=int(match[1]),
                        keys=_count(parts.get("keys")),
                        expires=_count(parts.get("expires")),
                        avg_ttl_ms=_count(parts.get("avg_ttl")),
                        subexpiry=_count(parts.get("subexpiry")),
                    )
                )
        return tuple(sorted(lines, key=lambda line: line.db))

    @property
    def commands(self) -> Mapping[str, CommandStat]:
        """Command statistics by command name, subcommands as ``config|get``."""
        stats: dict[str, CommandStat] = {}
        for name, value in self._named("cmdstat_"):
            parts = _parts(value)
            calls, usec = _count(parts.get("calls")), _count(parts.get("usec"))
            if calls is not None and usec is not None:
                rejected, failed = (
                    _count(parts.get("rejected_calls")),
                    _count(parts.get("failed_calls")),
                )
                stats[name] = CommandStat(calls, usec, rejected, failed)
        return MappingProxyType(stats)

    @property
    def errors(self) -> Mapping[str, int]:
        """Error replies sent, by their prefix (``OOM``, ``WRONGTYPE``)."""
        errors: dict[str, int] = {}
        for name, value in self._named("errorstat_"):
            count = _count(_parts(value).get("count"))
            if count is not None:
                errors[name] = count
        return MappingProxyType(errors)

    def _named(self, prefix: str) -> Iterable[tuple[str, str]]:
        for name, value in self.fields.items():
            if name.startswith(prefix) and (
                rest := _UNPRINTABLE.sub("", name[len(prefix) :])[:MAX_TEXT_CHARS]
            ):
                yield rest, value


def parse_info(reply: bytes | str) -> Info:
    """Take an INFO reply apart.

    Args:
        reply: as it came, bytes or text, with CRLF or LF, with or without the RESP header line.

    Returns:
        What could be read. Lines without a colon, over-long names and everything beyond MAX_REPLY_BYTES or
        MAX_FIELDS are left out; over-long values are cut.
    """
    is_truncated = len(reply) > MAX_REPLY_BYTES
    reply = reply[:MAX_REPLY_BYTES]
    text = reply.decode("utf-8", errors="replace") if isinstance(reply, bytes) else reply
    if is_truncated:
        # The last line may have lost its end: half a number is a wrong number.
        text = text.rpartition("\n")[0]
    fields: dict[str, str] = {}
    sections: set[str] = set()
    for line in text.split("\n"):
        if line.startswith("#"):
            if len(sections) < MAX_FIELDS:
                sections.add(line[1:].strip().lower()[:MAX_NAME_CHARS])
            continue
        name, colon, value = line.partition(":")
        name = name.strip()
        if not colon or not name or len(name) > MAX_NAME_CHARS or name in fields:
            continue
        if len(fields) >= MAX_FIELDS:
            is_truncated = True
            break
        fields[name] = value.strip()[:MAX_VALUE_CHARS]
    return Info(MappingProxyType(fields), frozenset(sections), is_truncated)


def read(info: Info, taken_at: datetime, clock_s: float) -> Reading:
    """Turn a parsed INFO reply into a typed reading.

    Args:
        info: the parsed reply.
        taken_at: when it was taken, aware UTC.
        clock_s: the poller's monotonic clock at that moment, seconds.
    """
    databases = info.databases
    commands = info.commands
    errors = info.errors
    # A section without a line says "none so far"; a section that was cut off says nothing.
    has_commands = "commandstats" in info.sections and not info.is_truncated
    has_keyspace = "keyspace" in info.sections and not info.is_truncated
    return Reading(
        taken_at=taken_at,
        clock_s=clock_s,
        run_id=info.text("run_id"),
        uptime_in_seconds=info.count("uptime_in_seconds"),
        server_time_usec=info.count("server_time_usec"),
        version=info.version,
        vendor=info.vendor,
        # Valkey 8 renamed the field.
        mode=info.text("server_mode") or info.text("redis_mode"),
        role=info.text("role"),
        master_replid=info.text("master_replid"),
        master_replid2=info.text("master_replid2"),
        process_id=info.count("process_id"),
        os=info.text("os"),
        tcp_port=info.count("tcp_port"),
        loading=info.yes("loading"),
        async_loading=info.yes("async_loading"),
        # Garnet spells these two differently.
        keyspace_hits=_first(info.count("keyspace_hits"), info.count("total_found")),
        keyspace_misses=_first(info.count("keyspace_misses"), info.count("total_notfound")),
        total_commands_processed=info.count("total_commands_processed"),
        total_connections_received=info.count("total_connections_received"),
        total_net_input_bytes=info.count("total_net_input_bytes"),
        total_net_output_bytes=info.count("total_net_output_bytes"),
        total_reads_processed=info.count("total_reads_processed"),
        total_writes_processed=info.count("total_writes_processed"),
        expired_keys=info.count("expired_keys"),
        expired_time_cap_reached_count=info.count("expired_time_cap_reached_count"),
        expire_cycle_cpu_milliseconds=info.count("expire_cycle_cpu_milliseconds"),
        evicted_keys=info.count("evicted_keys"),
        evicted_clients=info.count("evicted_clients"),
        total_eviction_exceeded_time=info.count("total_eviction_exceeded_time"),
        rejected_connections=info.count("rejected_connections"),
        client_output_buffer_limit_disconnections=info.count("client_output_buffer_limit_disconnections"),
        total_error_replies=info.count("total_error_replies"),
        errors_oom=_errors_oom(info, errors),
        keys_calls=_calls(commands, "keys") if has_commands else None,
        flush_calls=_calls(commands, "flushall", "flushdb") if has_commands else None,
        used_cpu_usec=_cpu_usec(info),
        eventloop_duration_sum=info.count("eventloop_duration_sum"),
        eventloop_duration_cmd_sum=info.count("eventloop_duration_cmd_sum"),
        used_memory=info.count("used_memory"),
        used_memory_rss=info.count("used_memory_rss"),
        used_memory_peak=info.count("used_memory_peak"),
        used_memory_dataset=info.count("used_memory_dataset"),
        used_memory_overhead=info.count("used_memory_overhead"),
        maxmemory=info.count("maxmemory"),
        total_system_memory=info.count("total_system_memory"),
        mem_fragmentation_ratio=info.level("mem_fragmentation_ratio"),
        # Negative when part of the memory is swapped out.
        mem_fragmentation_bytes=info.signed("mem_fragmentation_bytes"),
        allocator_frag_ratio=info.level("allocator_frag_ratio"),
        allocator_frag_bytes=info.signed("allocator_frag_bytes"),
        mem_not_counted_for_evict=info.count("mem_not_counted_for_evict"),
        mem_clients_normal=info.count("mem_clients_normal"),
        lazyfree_pending_objects=info.count("lazyfree_pending_objects"),
        keys=whole_sum(line.keys for line in databases) if has_keyspace else None,
        expires=whole_sum(line.expires for line in databases) if has_keyspace else None,
        avg_ttl_s=_avg_ttl_s(databases),
        expired_stale_perc=info.level("expired_stale_perc"),
        connected_clients=info.count("connected_clients"),
        blocked_clients=info.count("blocked_clients"),
        maxclients=_first(info.count("maxclients"), info.count("max_clients")),
        tracking_clients=info.count("tracking_clients"),
        connected_slaves=info.count("connected_slaves"),
        instantaneous_ops_per_sec=info.count("instantaneous_ops_per_sec"),
        current_eviction_exceeded_time=info.count("current_eviction_exceeded_time"),
        latest_fork_usec=info.count("latest_fork_usec"),
        maxmemory_policy=info.text("maxmemory_policy"),
        mem_allocator=info.text("mem_allocator"),
        active_defrag_running=info.yes("active_defrag_running"),
        rdb_last_bgsave_status=info.text("rdb_last_bgsave_status"),
        rdb_last_save_time=info.count("rdb_last_save_time"),
        rdb_changes_since_last_save=info.count("rdb_changes_since_last_save"),
        rdb_saves=info.count("rdb_saves"),
        aof_enabled=info.yes("aof_enabled"),
        aof_last_write_status=info.text("aof_last_write_status"),
        aof_last_bgrewrite_status=info.text("aof_last_bgrewrite_status"),
        master_link_status=info.text("master_link_status"),
        master_link_down_since_seconds=info.count("master_link_down_since_seconds"),
        databases=databases,
        commands=commands,
        errors=errors,
    )


def _number(value: str | None) -> float | None:
    match = _NUMBER.match(value) if value is not None else None
    return None if match is None else float(match[0].rstrip("%"))


def _whole(value: str | None) -> int | None:
    match = _NUMBER.match(value) if value is not None else None
    if match is None:
        return None
    whole = int(match[1])
    # Larger ones are broken, and could not be stored.
    return whole if -_LARGEST <= whole <= _LARGEST else None


def _count(value: str | None) -> int | None:
    whole = _whole(value)
    return None if whole is None or whole < 0 else whole


def _parts(value: str) -> dict[str, str]:
    """Take ``keys=3,expires=1`` apart by name."""
    return {name: part for name, equals, part in (item.partition("=") for item in value.split(",")) if equals}


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _calls(commands: Mapping[str, CommandStat], *names: str) -> int:
    return sum(commands[name].calls for name in names if name in commands)


def _cpu_usec(info: Info) -> int | None:
    system, user = info.level("used_cpu_sys"), info.level("used_cpu_user")
    return None if system is None or user is None else round((system + user) * 1_000_000)


def _errors_oom(info: Info, errors: Mapping[str, int]) -> int | None:
    if "OOM" in errors:
        return errors["OOM"]
    if (rejections := info.count("oom_rejections")) is not None:  # Dragonfly
        return rejections
    # The section is there from 6.2 on and has a line only for errors that happened.
    has_errors = "errorstats" in info.sections and not info.is_truncated
    return 0 if has_errors and not _ERRORS_NOT_COUNTED & errors.keys() else None


def _avg_ttl_s(databases: Iterable[DatabaseLine]) -> float | None:
    """Mean time to live over all keys that have one; INFO's 0 means that there is no estimate yet."""
    known = [(line.expires, line.avg_ttl_ms) for line in databases if line.expires and line.avg_ttl_ms]
    volatile = sum(expires for expires, _ in known)
    return sum(expires * avg_ttl_ms for expires, avg_ttl_ms in known) / volatile / 1000 if volatile else None
