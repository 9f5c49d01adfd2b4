"""The questions operators ask about caches, answered from the history: no cache is contacted here."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.monitoring import rollup, series, store, windows
from dashboard.monitoring.readings import reading_from_json
from dashboard.monitoring.sums import joined, known_sum
from dashboard.monitoring.types import (
    CacheStatus,
    ClientRow,
    ClientsPage,
    CommandRow,
    CommandsPage,
    Facts,
    Headline,
    Incident,
    KeySpace,
    MissingFact,
    MonitorClient,
    PollStatus,
    ProbeLookups,
    Reading,
    Series,
    SlowEntry,
    SlowLogPage,
    Span,
    StoredEvent,
    Summary,
    TablePage,
    Verdict,
    WorkerStatus,
)
from dashboard.monitoring.verdicts import (
    Away,
    away,
    evaluate,
    headline,
    judged_window,
    standing,
    status_word,
)
from dashboard.work import UnitOfWork

RANGES: tuple[str, ...] = tuple(series.RANGES)
COMMANDS_SPAN = timedelta(hours=1)
_EVENTS_BACK = timedelta(days=31)
_EMPTYING = ("flush", "restart", "switch")


def span(
    work: UnitOfWork, range_name: str | None = None, start: str | None = None, end: str | None = None
) -> Span:
    """The time range of a request: one of RANGES, or a custom one in ISO 8601.

    Raises:
        InvalidInput: it is none.
    """
    return series.parse_span(work.now, range_name, start, end)


def overview_series(
    work: UnitOfWork,
    cache_id: int,
    within: Span,
    *,
    columns: Sequence[str] | None = None,
    since: float | None = None,
) -> Series:
    """How a cache did over a span: at most about 600 points, gaps as None, with its events.

    Args:
        columns: those wanted, of ``series.EXPRESSIONS``; None for all.
        since: epoch seconds of the last point the asker has; only it and later ones are returned.

    Raises:
        NotFound: there is no such cache.
    """
    cache = caches.get_cache(work, cache_id)
    return series.load(
        work.session,
        cache_id,
        within,
        now=work.now,
        poll_interval_s=cache.poll_interval_s,
        raw_hours=work.settings.raw_retention_h,
        minute_days=work.settings.minute_retention_d,
        columns=columns,
        since=since,
    )


def events(work: UnitOfWork, cache_id: int, start: datetime, end: datetime) -> tuple[StoredEvent, ...]:
    """What happened to a cache within a time, what reaches into it included, oldest first; the newest 200."""
    return store.events_between(work.session, cache_id, start, end)


def key_space(work: UnitOfWork, cache_id: int) -> KeySpace:
    """How many keys a cache holds, and since when it has been filling."""
    state = store.poll_states(work.session, [cache_id], also=("readings",)).get(cache_id)
    is_known = state is not None and state.last_success_at is not None
    is_fresh = is_known and work.now - state.last_success_at <= _NOW  # type: ignore[union-attr]
    readings = _readings(work, state.readings) if is_fresh and state is not None else ()
    happened = store.last_events(work.session, _EMPTYING, work.now - _EVENTS_BACK, cache_ids=[cache_id])
    return KeySpace(
        known_sum(reading.keys for _, reading in readings),
        max(happened.values(), default=None),
        known_sum(reading.used_memory for _, reading in readings),
    )


def summary(work: UnitOfWork, cache_id: int, within: Span) -> Summary:
    """A cache over a span in a few numbers, and as it is right now.

    Raises:
        NotFound: there is no such cache.
    """
    cache = caches.get_cache(work, cache_id)
    oldest_minute = work.now - timedelta(days=work.settings.minute_retention_d)
    sums = windows.over_span(
        work.session,
        cache_id,
        within.start,
        within.end,
        cache.hit_ratio_target,
        from_hours=within.end - within.start > series.MINUTES_UP_TO or within.start < oldest_minute,
    )
    state = store.poll_states(work.session, [cache_id], also=("readings",)).get(cache_id)
    readings = _readings(work, state.readings) if state else ()
    first = readings[0][1] if readings else None
    as_of = state.last_success_at if state else None
    rates = _current_rates(work, cache, as_of)
    return Summary(
        window=sums.window,
        ratio_min=sums.ratio_min,
        minutes_known=sums.minutes_known,
        minutes_below_target=sums.minutes_below_target,
        as_of=as_of,
        rates=rates,
        used_memory_bytes=state.used_memory if state else None,
        maxmemory_bytes=state.maxmemory if state else None,
        maxmemory_policy=first.maxmemory_policy if first else None,
        mem_fragmentation_ratio=_most(reading.mem_fragmentation_ratio for _, reading in readings),
        keys=known_sum(reading.keys for _, reading in readings),
        connected_clients=known_sum(reading.connected_clients for _, reading in readings),
        blocked_clients=known_sum(reading.blocked_clients for _, reading in readings),
        uptime_in_seconds=first.uptime_in_seconds if first else None,
        version=first.version if first else None,
        vendor=first.vendor if first else None,
        evicting_since=windows.evicting_since(work.session, cache_id, as_of) if as_of else None,
    )


_NOW_COLUMNS = (
    "hits_per_s",
    "misses_per_s",
    "commands_per_s",
    "evicted_per_s",
    "expired_per_s",
    "net_input_bytes_per_s",
    "net_output_bytes_per_s",
    "connections_per_s",
    "errors_per_s",
    "cpu_share",
    "round_trip_s",
)
_NOW = timedelta(minutes=5)


def _current_rates(work: UnitOfWork, cache: Cache, as_of: datetime | None) -> dict[str, float | None]:
    """Rates of the last interval that is known."""
    if as_of is None:
        return dict.fromkeys(_NOW_COLUMNS)
    return series.latest_rates(
        work.session,
        cache.id,
        as_of,
        back=max(_NOW, timedelta(seconds=3 * cache.poll_interval_s)),
        columns=_NOW_COLUMNS,
    )


def facts(work: UnitOfWork, cache_ids: Sequence[int] | None = None) -> dict[int, Facts]:
    """All that verdicts are made from, for the given caches or for all, in a fixed number of queries."""
    return _facts_of(
        work,
        [cache for cache in caches.list_caches(work) if cache_ids is None or cache.id in cache_ids],
        store.poll_states(work.session, cache_ids, also=("readings", "clients")),
    )


def _facts_of(work: UnitOfWork, listed: Sequence[Cache], states: Mapping[int, Any]) -> dict[int, Facts]:
    ids = [cache.id for cache in listed]
    recent = windows.recent(
        work.session,
        ids,
        work.now,
        longest_interval_s=max((cache.poll_interval_s for cache in listed), default=0),
    )
    troubled = [each for each in ids if any(getattr(recent[each].window, name) for name in windows.INCIDENTS)]
    incidents = windows.incidents(work.session, troubled, work.now)
    happened = store.last_events(work.session, ("restart", "flush"), work.now - _EVENTS_BACK)
    return {
        cache.id: _facts(
            work,
            cache,
            states.get(cache.id),
            recent[cache.id],
            incidents=incidents.get(cache.id, {}),
            restarted_at=happened.get((cache.id, "restart")),
            flushed_at=happened.get((cache.id, "flush")),
        )
        for cache in listed
    }


def _facts(
    work: UnitOfWork,
    cache: Cache,
    state: Any,
    recent: windows.Recent,
    *,
    incidents: Mapping[str, Incident],
    restarted_at: datetime | None,
    flushed_at: datetime | None,
) -> Facts:
    if state is None:
        return Facts(work.now, cache.poll_interval_s, cache.hit_ratio_target)
    return replace(
        _poll_facts(work, cache, state),
        nodes=_readings(work, state.readings),
        window=recent.window,
        before=recent.before,
        latest=recent.latest,
        evicted_per_s=recent.evicted_per_s,
        reads_per_s=recent.reads_per_s,
        incidents=incidents,
        monitors=_monitors(state.clients),
        restarted_at=restarted_at,
        flushed_at=flushed_at,
        keys_last_at=state.keys_last_at,
    )


def _poll_facts(work: UnitOfWork, cache: Cache, state: Any) -> Facts:
    """The part that says how polling goes; it needs none of the large columns."""
    is_partial = state.error_code == store.PARTIAL
    return Facts(
        now=work.now,
        poll_interval_s=cache.poll_interval_s,
        hit_ratio_target=cache.hit_ratio_target,
        last_poll_at=state.last_success_at,
        last_attempt_at=state.last_attempt_at,
        failures=state.failures,
        failing_since=state.failing_since,
        last_error=None if is_partial else state.error,
        silent_nodes=state.error if is_partial else None,
        missing=_missing(state.missing),
        save_config=state.settings.get("save"),
        since={code: datetime.fromisoformat(at) for code, at in state.verdict_since.items()},
    )


def verdicts(work: UnitOfWork, cache_id: int) -> tuple[list[Verdict], Headline]:
    """What to say about a cache, worst first, and all of it in one sentence.

    Raises:
        NotFound: there is no such cache.
    """
    caches.get_cache(work, cache_id)
    known = facts(work, [cache_id])[cache_id]
    found = evaluate(known)
    judged, recent = judged_window(known), known.window
    if away(known) is not None and known.last_poll_at is not None:
        # Of a cache that is away the page shows the last minutes that are known, however long ago.
        judged = recent = windows.recent(work.session, [cache_id], known.last_poll_at)[cache_id].window
    return found, Headline(*headline(found, known), window=judged, recent=recent)


def cache_states(work: UnitOfWork) -> dict[int, CacheStatus]:
    """The state of every cache in a word, for the frame of each page: two queries, none of them large.

    The word is at most some seconds old, except that a cache or worker that stopped answering shows at once.
    """
    states = store.poll_states(work.session)
    return {cache.id: _light_status(work, cache, states.get(cache.id)) for cache in caches.list_caches(work)}


def _light_status(work: UnitOfWork, cache: Cache, state: Any) -> CacheStatus:
    if state is None:
        known = Facts(work.now, cache.poll_interval_s, cache.hit_ratio_target)
        kind, word = status_word(evaluate(known), known)
        return CacheStatus(cache.id, kind, word)
    known = _poll_facts(work, cache, state)
    kind, word = status_word(evaluate(known), known)
    gone = away(known)
    if gone is None and state.status_kind is not None:
        kind, word = state.status_kind, state.status_word
    return CacheStatus(
        cache_id=cache.id,
        kind=kind,
        word=word,
        last_poll_at=state.last_success_at,
        version=state.version,
        topology=state.topology,
        used_memory_bytes=state.used_memory,
        maxmemory_bytes=state.maxmemory,
        is_up=None if gone is Away.NOT_YET else gone is None,
        is_unpolled=gone is Away.UNPOLLED,
    )


def fleet_status(work: UnitOfWork) -> dict[int, CacheStatus]:
    """Every cache with its state, numbers and sparkline, judged anew, in a fixed number of queries."""
    listed = caches.list_caches(work)
    states = store.poll_states(work.session, also=("readings", "clients"))
    known = _facts_of(work, listed, states)
    light = {cache.id: _light_status(work, cache, states.get(cache.id)) for cache in listed}
    sparks = windows.sparks(work.session, list(known), work.now)
    statuses = {}
    for cache_id, its in known.items():
        found = evaluate(its)
        kind, word = status_word(found, its)
        worst = found[0] if found else None
        statuses[cache_id] = replace(
            light[cache_id],
            kind=kind,
            word=word,
            since=worst.since if worst is not None and worst.kind in ("crit", "warn") else None,
            hit_ratio=judged.hit_ratio if (judged := judged_window(its)) is not None else None,
            hit_ratio_spark=sparks[cache_id],
            vendor=its.nodes[0][1].vendor if its.nodes else None,
        )
    return statuses


def poll_status(work: UnitOfWork, cache_id: int) -> PollStatus:
    """How polling a cache goes.

    Raises:
        NotFound: there is no such cache.
    """
    cache = caches.get_cache(work, cache_id)
    state = store.poll_states(work.session, [cache_id]).get(cache_id)
    if state is None:
        return PollStatus(cache_id)
    return PollStatus(
        cache_id=cache_id,
        last_attempt_at=state.last_attempt_at,
        last_success_at=state.last_success_at,
        is_unpolled=away(_poll_facts(work, cache, state)) is Away.UNPOLLED,
        failing_since=state.failing_since,
        failures=state.failures,
        error_code=state.error_code,
        error=state.error,
        what_to_do=state.what_to_do,
        round_trip_s=state.round_trip_s,
        topology=state.topology,
        version=state.version,
        role=state.role,
        missing=_missing(state.missing),
    )


def worker_status(work: UnitOfWork) -> WorkerStatus | None:
    """The process that polls, None before there was any."""
    state = store.worker_state(work.session)
    if state is None:
        return None
    age_s = (work.now - state.beat_at).total_seconds()
    return WorkerStatus(state.holder, state.acquired_at, state.beat_at, age_s)


def worker_heartbeat(work: UnitOfWork) -> datetime | None:
    """When the process that polls last gave a sign of life, None before there was any."""
    state = store.worker_state(work.session)
    return state.beat_at if state else None


def record_self_lookups(work: UnitOfWork, cache_id: int, hits: int, misses: int) -> None:
    """Note lookups of our own (TTL, TYPE, OBJECT, EXISTS count as such), to be subtracted from the hit ratio."""
    store.add_self_lookups(work.session, cache_id, hits, misses)


def record_probe_lookups(work: UnitOfWork, cache_id: int, lookups: Sequence[ProbeLookups]) -> None:
    """Note what connections looked up so far that look up a lot, and say so in their name while they live.

    The poll reads such a name in the same moment as the counters, so that what is taken off the hit ratio belongs to
    the very lookups that the counters hold; what is noted here counts once the connection is gone. Noting the same
    again changes nothing.
    """
    store.put_probe_lookups(work.session, cache_id, lookups, work.now)


# --- the tables of one cache --------------------------------------------------------------------------------


def slow_log_page(work: UnitOfWork, cache_id: int) -> SlowLogPage:
    """The slowest commands the servers of a cache remember, newest first, as of the last good poll.

    Raises:
        NotFound: there is no such cache.
    """
    page, state = _table(work, cache_id, "SLOWLOG GET", "slow_log")
    if state is None or state.slow_log is None:
        return TablePage(**page)
    rows = tuple(
        SlowEntry(**{**row, "at": datetime.fromisoformat(row["at"])}) for row in state.slow_log["rows"]
    )
    threshold_s = _threshold_s(state.settings.get("slowlog-log-slower-than", ""))
    return TablePage(
        **page, rows=rows, total=_if_more(state.slow_log["total"], rows), threshold_s=threshold_s
    )


def _threshold_s(microseconds: str) -> float | None:
    """Seconds from which on a command is slow; None when it is unknown, or nothing is kept (-1)."""
    return int(microseconds) / 1e6 if microseconds.isdecimal() and len(microseconds) < 16 else None


def clients_page(work: UnitOfWork, cache_id: int) -> ClientsPage:
    """Who is connected, as of the last good poll: those that run MONITOR first, then the largest.

    Raises:
        NotFound: there is no such cache.
    """
    page, state = _table(work, cache_id, "CLIENT LIST", "clients")
    if state is None or state.clients is None:
        return TablePage(**page)
    rows = tuple(ClientRow(**row) for row in state.clients["rows"])
    return TablePage(**page, rows=rows, total=_if_more(state.clients["total"], rows))


def commands_page(work: UnitOfWork, cache_id: int, within: Span | None = None) -> CommandsPage:
    """Which commands the servers spent their time on over a span (the last hour), the costliest first.

    Raises:
        NotFound: there is no such cache.
    """
    page, state = _table(work, cache_id, "", "commands")
    if state is None:
        return TablePage(**page)
    start, end = (within.start, within.end) if within else (work.now - COMMANDS_SPAN, work.now)
    parts = [part.commands for part in store.command_samples(work.session, cache_id, start, end)]
    if state.commands_bucket is not None and start <= state.commands_bucket < end:
        parts.append(state.commands)
    nothing: dict[str, Any] = {}
    whole = functools.reduce(joined, parts, nothing)
    sums, covered_s = whole.get("stats", {}), whole.get("dt_s", 0.0)
    all_usec = sum(line[1] or 0 for line in sums.values())
    rows = [_command(name, line, covered_s, all_usec) for name, line in sums.items()]
    rows.sort(key=lambda row: (-(row.time_share or 0.0), -row.calls, row.name))
    return TablePage(**page, rows=tuple(rows), span_s=covered_s or None)


def _command(name: str, line: Sequence[int | None], covered_s: float, all_usec: int) -> CommandRow:
    calls, usec, rejected, failed = line
    calls, usec = calls or 0, usec or 0
    return CommandRow(
        name=name,
        calls=calls,
        calls_per_s=calls / covered_s if covered_s > 0 else None,
        time_share=usec / all_usec if all_usec else None,
        mean_s=usec / calls / 1e6 if calls else None,
        rejected_calls=rejected,
        failed_calls=failed,
    )


def _table(work: UnitOfWork, cache_id: int, what: str, column: str) -> tuple[dict[str, Any], Any]:
    cache = caches.get_cache(work, cache_id)
    state = store.poll_states(work.session, [cache_id], also=(column,)).get(cache_id)
    page: dict[str, Any] = {
        "cache_id": cache.id,
        "cache_name": cache.name,
        "now": work.now,
        "poll_interval_s": cache.poll_interval_s,
    }
    if state is not None:
        gone = away(_poll_facts(work, cache, state))
        page |= {
            "read_at": state.last_success_at,
            "node_count": state.node_count,
            "missing": next((fact for fact in _missing(state.missing) if fact.what == what), None),
            "error": _no_answer(gone, state),
        }
    return page, state


def _no_answer(gone: Away | None, state: Any) -> str | None:
    if gone is Away.SILENT:
        return str(state.error)
    return "No worker has read it for a while." if gone is Away.UNPOLLED else None


def _if_more(total: int, rows: Sequence[object]) -> int | None:
    return total if total > len(rows) else None


# --- upkeep, called by the worker ---------------------------------------------------------------------------


def roll_up(work: UnitOfWork) -> dict[int, str]:
    """Bring the rollups up to date; why by cache, of those whose numbers could not be."""
    return rollup.roll_up(work.session, work.now)


def refresh_statuses(work: UnitOfWork) -> None:
    """Judge every cache and keep the outcome: its word, and since when each verdict stands."""
    statuses = []
    for cache_id, its in facts(work).items():
        # While it is away nothing new is known: what was true stays until it is back.
        if away(its) is not None:
            continue
        found = evaluate(its)
        kind, word = status_word(found, its)
        since = {code: at.isoformat() for code, at in standing(found, its).items()}
        statuses.append((cache_id, kind, word, since))
    store.write_status(work.session, statuses)


def prepare_partitions(work: UnitOfWork) -> None:
    """Make the partitions that come next."""
    store.ensure_partitions(work.session, work.now)


def apply_retention(work: UnitOfWork) -> list[str]:
    """Drop the partitions that are over; their names."""
    return rollup.drop_old(
        work.session,
        work.now,
        raw_hours=work.settings.raw_retention_h,
        minute_days=work.settings.minute_retention_d,
        hour_days=work.settings.hour_retention_d,
    )


# --- helpers ------------------------------------------------------------------------------------------------


def _readings(work: UnitOfWork, raw: Mapping[str, Any]) -> tuple[tuple[str, Reading], ...]:
    return tuple((node, reading_from_json(part, now=work.now, clock_s=0.0)) for node, part in raw.items())


def _missing(raw: Sequence[Mapping[str, str]]) -> tuple[MissingFact, ...]:
    return tuple(MissingFact(**part) for part in raw)


def _monitors(clients: Mapping[str, Any] | None) -> tuple[MonitorClient, ...] | None:
    if clients is None:
        return None
    return tuple(
        MonitorClient(row["address"], row["name"], row["user"], row["age_s"], row["node"])
        for row in clients["rows"]
        if row["is_monitor"]
    )


def _most(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)
