"""What grew between two readings of one node, without ever inventing a spike or a negative rate.

Lifetime counters hide incidents, and they fall: at a restart, at CONFIG RESETSTAT, at a failover behind the same
name. Each pair of readings is therefore classified first and subtracted after; where the growth cannot be known
it is None and the line in the chart breaks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from dashboard.monitoring.sums import whole_sum
from dashboard.monitoring.types import (
    COUNTERS,
    CommandStat,
    Delta,
    Event,
    EventKind,
    Flag,
    Reading,
)

GAP_INTERVALS = 2.5
"""More poll intervals than this between two readings are a gap."""
START_SLACK_S = 5.0
"""How far uptime and our clock may disagree."""
DROPPED_SHARE = 0.5
"""A data set that lost more than this share between two polls was dropped."""
MIN_DROPPED_KEYS = 1_000
"""Without command statistics, smaller data sets are not judged: their keys may simply have been deleted."""

MOST_PER_S = 10**11
"""Counters of one node that grow faster are broken: 800 Gbit/s of traffic, and two years of it fit into a sum."""

GUARDS = (
    "total_commands_processed",
    "total_connections_received",
    "total_net_input_bytes",
    "keyspace_hits",
    "keyspace_misses",
    "total_reads_processed",
)
"""Counters that only fall when the server starts or when they are all reset together."""

INCIDENTS = frozenset({"errors_oom", "rejected_connections", "keys_calls", "flush_calls"})
"""Counters whose single counts matter, however much of an interval they are of."""

_NO_REPLID = frozenset("0")


def difference(
    prev: Reading | None,
    cur: Reading,
    interval_s: float,
    *,
    self_hits: int = 0,
    self_misses: int = 0,
) -> Delta:
    """Classify two consecutive readings of one node and subtract them.

    Args:
        prev: the reading before, None when there is none.
        cur: the new reading.
        interval_s: the poll interval, seconds; decides what counts as a gap.
        self_hits: keyspace hits that our own probes caused in between.
        self_misses: keyspace misses that our own probes caused in between.

    Returns:
        Growth per counter with flags and events. The classes:

        * first reading, or one that is not later than ``prev``: nothing is known;
        * another run_id (or start time, where there is no run_id) and an uptime that fits into the interval:
          RESTART, growth and time count from the start of the server;
        * another run_id and a longer uptime: SWITCH, nothing is known, for the counters carry another life;
        * the same run and counters zeroed, by falling guards or by the command statistics: RESETSTAT with
          PARTIAL; what grew since the reset is the growth of an unknown part of the interval and makes no rate, so
          only incidents count, and the time does not;
        * loading: LOADING, nothing is known;
        * more than 2.5 intervals apart: GAP in addition, the growth stays;
        * a single counter that fell without such evidence, or grew faster than any server can count: None for
          that one, with PARTIAL.
    """
    if prev is None:
        return Delta(dt_s=None, flags=Flag.FIRST | _loading(cur))
    elapsed_s = elapsed(prev, cur)
    if elapsed_s <= 0:
        return Delta(dt_s=None, flags=Flag.PARTIAL | _loading(cur))

    flags = _loading(cur)
    events: list[Event] = []
    base: Reading | None = prev
    dt_s = elapsed_s
    if _is_another_run(prev, cur, elapsed_s):
        if cur.uptime_in_seconds is not None and cur.uptime_in_seconds <= elapsed_s + START_SLACK_S:
            flags |= Flag.RESTART
            base = None
            # Uptime is cut to whole seconds: half a second more is the better guess, and never zero.
            dt_s = min(elapsed_s, cur.uptime_in_seconds + 0.5)
            events.append(
                _event(
                    EventKind.RESTART,
                    cur,
                    uptime_s=cur.uptime_in_seconds,
                    version=cur.version,
                )
            )
        else:
            flags |= Flag.SWITCH
            if _is_promotion(prev, cur):
                flags |= Flag.FAILOVER
                events.append(
                    _event(
                        EventKind.FAILOVER,
                        cur,
                        role=cur.role,
                        uptime_s=cur.uptime_in_seconds,
                    )
                )
            else:
                events.append(
                    _event(
                        EventKind.SWITCH,
                        cur,
                        role=cur.role,
                        uptime_s=cur.uptime_in_seconds,
                    )
                )
    else:
        if _is_promotion(prev, cur):
            flags |= Flag.FAILOVER
            events.append(_event(EventKind.FAILOVER, cur, role=cur.role, role_before=prev.role))
        if _is_reset(prev, cur):
            flags |= Flag.RESETSTAT | Flag.PARTIAL
            events.append(_event(EventKind.RESETSTAT, cur))

    if elapsed_s > GAP_INTERVALS * interval_s:
        flags |= Flag.GAP
        events.append(_event(EventKind.GAP, cur, elapsed_s=round(elapsed_s, 1)))
    if Flag.LOADING in flags and not prev.loading:
        events.append(_event(EventKind.LOADING, cur))
    if Flag.SWITCH not in flags and (changes := _config_changes(prev, cur)):
        events.append(_event(EventKind.CONFIG, cur, **changes))
    if flags & (Flag.SWITCH | Flag.LOADING):
        return Delta(dt_s=None, flags=flags, events=tuple(events))

    growth = {name: _growth(name, base, cur, Flag.RESETSTAT in flags) for name in COUNTERS}
    for name in COUNTERS:
        if (growth[name] or 0) > MOST_PER_S * max(1.0, dt_s):
            growth[name] = None
            flags |= Flag.PARTIAL
    if base is not None and any(_fell(name, base, cur) and growth[name] is None for name in COUNTERS):
        flags |= Flag.PARTIAL
    is_reset = Flag.RESETSTAT in flags
    from_zero = base is None or is_reset
    if Flag.RESTART not in flags and _is_flush(prev, cur, growth):
        flags |= Flag.FLUSH
        events.append(_event(EventKind.FLUSH, cur, keys_before=prev.keys, keys_after=cur.keys))
    if is_reset:
        growth = {name: value if name in INCIDENTS else None for name, value in growth.items()}
    return Delta(
        dt_s=None if is_reset else dt_s,
        flags=flags,
        self_hits=self_hits,
        self_misses=self_misses,
        commands=_command_growth(None if from_zero else prev, cur),
        errors=_error_growth(None if from_zero else prev, cur),
        events=tuple(events),
        **growth,
    )


def elapsed(prev: Reading, cur: Reading) -> float:
    """Seconds between two readings, by the clocks that agree.

    The poller's monotonic clock is right within one process and means nothing across two (another worker took
    over, or this one restarted). The server's clock and ours can be stepped. Two that agree outvote the third.
    """
    ours_s = cur.clock_s - prev.clock_s
    wall_s = (cur.taken_at - prev.taken_at).total_seconds()
    if prev.server_time_usec is not None and cur.server_time_usec is not None:
        server_s = (cur.server_time_usec - prev.server_time_usec) / 1_000_000
        is_fine = True
    elif (
        prev.run_id == cur.run_id and prev.uptime_in_seconds is not None and cur.uptime_in_seconds is not None
    ):
        server_s = float(cur.uptime_in_seconds - prev.uptime_in_seconds)
        is_fine = False
    else:
        # Two witnesses only: the shorter time is the careful choice, it makes a SWITCH rather than a RESTART.
        return min((each for each in (ours_s, wall_s) if each > 0), default=0.0)
    if ours_s > 0 and _agree(server_s, ours_s):
        return server_s if is_fine else ours_s
    if wall_s > 0 and _agree(server_s, wall_s):
        return server_s if is_fine else wall_s
    return ours_s if ours_s > 0 else server_s


def hit_ratio(hits: int | None, misses: int | None, self_hits: int = 0, self_misses: int = 0) -> float | None:
    """The share of lookups by applications that found their key.

    Args:
        hits: growth of keyspace_hits.
        misses: growth of keyspace_misses.
        self_hits: hits among them that our own probes caused.
        self_misses: misses among them that our own probes caused.

    Returns:
        0..1, or None when a number is unknown or when nobody looked anything up.
    """
    if hits is None or misses is None:
        return None
    # A probe may be counted by the server in the interval next to the one we booked it in.
    hits = max(0, hits - self_hits)
    misses = max(0, misses - self_misses)
    return hits / (hits + misses) if hits + misses else None


def wilson_upper(hits: int, lookups: int, z: float = 1.96) -> float:
    """Upper end of the Wilson score interval: the best ratio that so few lookups still allow.

    Args:
        hits: how many lookups hit.
        lookups: hits plus misses.
        z: standard normal quantile; 1.96 leaves 2.5 % above.

    Returns:
        0..1, and 1 without lookups.
    """
    if lookups <= 0:
        return 1.0
    share = hits / lookups
    centre = share + z * z / (2 * lookups)
    spread = z * math.sqrt(share * (1 - share) / lookups + z * z / (4 * lookups * lookups))
    return min(1.0, (centre + spread) / (1 + z * z / lookups))


def add_nodes(deltas: Iterable[Delta]) -> Delta:
    """The growth of a whole cache from those of its nodes in one round of polls.

    Ratios of nodes are never averaged: numerators and denominators are added. A node whose growth is unknown is
    left out and the sum is PARTIAL. ``dt_s`` is the time since the cache's previous poll; a node that comes back
    from a longer silence (GAP) adds the rest of its own time by its share among the nodes, for its growth is of
    that time as well.
    """
    parts = list(deltas)
    totals: dict[str, int | None] = dict.fromkeys(COUNTERS)
    commands: dict[str, CommandStat] = {}
    errors: dict[str, int] = {}
    flags = Flag.NONE
    self_hits = self_misses = 0
    for part in parts:
        flags |= part.flags
        if part.dt_s is None:
            flags |= Flag.PARTIAL
        has_lookups = part.keyspace_hits is not None and part.keyspace_misses is not None
        if has_lookups:
            self_hits += part.self_hits
            self_misses += part.self_misses
        for name in COUNTERS:
            value: int | None = getattr(part, name)
            # Half of a pair would bend the ratio.
            if value is not None and (has_lookups or name not in ("keyspace_hits", "keyspace_misses")):
                totals[name] = (totals[name] or 0) + value
        for command, stat in part.commands.items():
            commands[command] = _plus(commands.get(command), stat)
        for error, count in part.errors.items():
            errors[error] = errors.get(error, 0) + count
    return Delta(
        dt_s=_time_of_nodes(parts),
        flags=flags,
        self_hits=self_hits,
        self_misses=self_misses,
        commands=MappingProxyType(commands),
        errors=MappingProxyType(errors),
        events=tuple(event for part in parts for event in part.events),
        **totals,
    )


def _time_of_nodes(parts: Sequence[Delta]) -> float | None:
    steady = [part.dt_s for part in parts if part.dt_s is not None and Flag.GAP not in part.flags]
    back = [part.dt_s for part in parts if part.dt_s is not None and Flag.GAP in part.flags]
    if not steady:
        return max(back, default=None)
    return max(steady) + sum(max(0.0, dt_s - max(steady)) for dt_s in back) / len(parts)


def _agree(one_s: float, other_s: float) -> bool:
    return abs(one_s - other_s) <= max(2.0, 0.1 * abs(other_s))


def _loading(cur: Reading) -> Flag:
    return Flag.LOADING if cur.loading else Flag.NONE


def _event(kind: EventKind, cur: Reading, **details: Any) -> Event:
    return Event(kind, cur.taken_at, MappingProxyType(details))


def _is_another_run(prev: Reading, cur: Reading, elapsed_s: float) -> bool:
    if prev.run_id is not None and cur.run_id is not None:
        return prev.run_id != cur.run_id
    if prev.uptime_in_seconds is None or cur.uptime_in_seconds is None:
        return False
    # No run_id: the same process started at the same moment.
    drift_s = elapsed_s - (cur.uptime_in_seconds - prev.uptime_in_seconds)
    return abs(drift_s) > max(START_SLACK_S, 0.2 * elapsed_s)


def _is_promotion(prev: Reading, cur: Reading) -> bool:
    """A promoted node keeps the replication id it followed as its second one."""
    if prev.role is not None and cur.role is not None and prev.role != cur.role:
        return True
    return (
        cur.role == "master"
        and prev.master_replid is not None
        and set(prev.master_replid) != _NO_REPLID
        and cur.master_replid2 == prev.master_replid
        and cur.master_replid != prev.master_replid
    )


def _fell(name: str, prev: Reading, cur: Reading) -> bool:
    before: int | None = getattr(prev, name)
    after: int | None = getattr(cur, name)
    return before is not None and after is not None and after < before


def _is_reset(prev: Reading, cur: Reading) -> bool:
    if prev.keys_calls is not None and cur.keys_calls is not None:
        # The command statistics go with the other counters, and a reset is the first call they then hold: always
        # the first, but with another duration. A refused attempt has no calls.
        before, after = prev.commands.get("config|resetstat"), cur.commands.get("config|resetstat")
        if (
            after is not None
            and after.calls
            and (before is None or (before.calls, before.usec) != (after.calls, after.usec))
        ):
            return True
        counted = [name for name, stat in prev.commands.items() if stat.calls]
        lost = [
            name
            for name in counted
            if name not in cur.commands or cur.commands[name].calls < prev.commands[name].calls
        ]
        if lost and 2 * len(lost) >= len(counted):
            return True
    # A reset zeroes all. A server that counts in several threads may show one of them a little lower than
    # before; counting that one from zero would be the very spike we promise not to show.
    counting = [name for name in GUARDS if getattr(prev, name) and getattr(cur, name) is not None]
    fallen = [name for name in counting if _fell(name, prev, cur)]
    return bool(fallen) and 2 * len(fallen) >= len(counting)


def _growth(name: str, base: Reading | None, cur: Reading, is_reset: bool) -> int | None:
    after: int | None = getattr(cur, name)
    if base is None or after is None or is_reset:
        return after
    before: int | None = getattr(base, name)
    return None if before is None or after < before else after - before


def _is_flush(prev: Reading, cur: Reading, growth: Mapping[str, int | None]) -> bool:
    if not prev.keys or cur.keys is None or cur.keys >= prev.keys * (1 - DROPPED_SHARE):
        return False
    if growth["flush_calls"] is not None:
        return growth["flush_calls"] > 0
    # No command statistics: a drop that neither expirations nor evictions account for.
    removed = (growth["expired_keys"] or 0) + (growth["evicted_keys"] or 0)
    return prev.keys >= MIN_DROPPED_KEYS and prev.keys - cur.keys - removed > prev.keys * DROPPED_SHARE


def _config_changes(prev: Reading, cur: Reading) -> dict[str, list[int | str | None]]:
    changes: dict[str, list[int | str | None]] = {}
    if None not in (prev.maxmemory, cur.maxmemory) and prev.maxmemory != cur.maxmemory:
        changes["maxmemory"] = [prev.maxmemory, cur.maxmemory]
    if (
        None not in (prev.maxmemory_policy, cur.maxmemory_policy)
        and prev.maxmemory_policy != cur.maxmemory_policy
    ):
        changes["maxmemory_policy"] = [prev.maxmemory_policy, cur.maxmemory_policy]
    return changes


def _command_growth(base: Reading | None, cur: Reading) -> Mapping[str, CommandStat]:
    if base is not None and base.keys_calls is None:
        return MappingProxyType({})
    before = base.commands if base is not None else {}
    grown: dict[str, CommandStat] = {}
    nothing = CommandStat(0, 0, 0, 0)
    for name, stat in cur.commands.items():
        old = before.get(name, nothing)
        # Calls that were only rejected or failed before they ran leave calls as they are.
        growth = CommandStat(
            max(0, stat.calls - old.calls),
            max(0, stat.usec - old.usec),
            _less(stat.rejected_calls, old.rejected_calls),
            _less(stat.failed_calls, old.failed_calls),
        )
        if growth.calls or growth.rejected_calls or growth.failed_calls:
            grown[name] = growth
    return MappingProxyType(grown)


def _error_growth(base: Reading | None, cur: Reading) -> Mapping[str, int]:
    if base is not None and base.errors_oom is None:
        return MappingProxyType({})
    before = base.errors if base is not None else {}
    grown = {name: count - before.get(name, 0) for name, count in cur.errors.items()}
    return MappingProxyType({name: count for name, count in grown.items() if count > 0})


def _less(after: int | None, before: int | None) -> int | None:
    return None if after is None or before is None else max(0, after - before)


def _plus(one: CommandStat | None, other: CommandStat) -> CommandStat:
    if one is None:
        return other
    return CommandStat(
        one.calls + other.calls,
        one.usec + other.usec,
        whole_sum((one.rejected_calls, other.rejected_calls)),
        whole_sum((one.failed_calls, other.failed_calls)),
    )
