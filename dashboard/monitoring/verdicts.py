"""What to say about a cache: one plain line per check, with its evidence and the next step.

A check answers with one of five kinds. ``unknown`` is the honest third state between good and bad: the check
could not be made, and the line says why. A full cache that evicts under an LRU or LFU policy is doing its job and
is never a problem by itself.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal

from dashboard.monitoring.deltas import wilson_upper
from dashboard.monitoring.types import Facts, Incident, Reading, StatusKind, Verdict, VerdictKind, Window
from dashboard.web.formats import age, byte_share, byte_size, duration, number, percent, since, time

MIN_LOOKUPS = 1_000
"""Fewer lookups are judged by what they still allow, not by their plain ratio."""
MIN_COVERAGE = 0.6
"""Less of a window than this measured is not judged."""
MIN_MEASURED_S = 120.0
"""A ratio of less time is not judged: the first polls of a cache jump about."""
WARM_UP = timedelta(minutes=15)
"""An emptied cache needs time to fill; real traffic took about eight minutes."""
CRITICAL_BELOW_TARGET = 0.2
MIN_FALL = 0.05
"""A ratio that lost less than this between two windows moves within its noise."""
MIN_RISE = 1.1
FAILURES_TO_NOTICE = 2
"""One failed poll is no outage."""
MISSED_POLLS = 3
MIN_SILENCE_S = 45.0
STILL_ACUTE = timedelta(minutes=2)
"""Losses stay critical for so long after the last one: they come in bursts."""
NEARLY_FULL = 0.95
CLOSE_TO_REFUSING = 0.9
HIGH_SHARE_OF_HOST = 0.8
FEW_VOLATILE = 0.1
MIN_KEYS = 100
FRAGMENTED_RATIO = 1.5
FRAGMENTED_BYTES = 256 * 1024**2
FRAGMENTED_USED_BYTES = 512 * 1024**2
STALE_PERC = 10.0
KEYS_MEMORY = timedelta(hours=1)
MANY_READS_PER_S = 20.0
ALMOST_NO_READS = 0.05

_ORDER: dict[VerdictKind, int] = {"crit": 0, "warn": 1, "unknown": 2, "info": 3, "ok": 4}

_WORDS = {
    "poll": "No answer",
    "state.loading": "Loading",
    "poll.nodes": "Node away",
    "errors.oom": "Writes refused",
    "clients.rejected": "Rejecting clients",
    "persistence": "Saves fail",
    "memory.pressure": "Full, evicting",
    "memory.noeviction": "Never evicts",
    "memory.no_limit": "No memory limit",
    "memory.volatile": "Few keys to evict",
    "hit_ratio": "Below target",
    "keys.backlog": "Expirations pile up",
    "clients.monitor": "MONITOR runs",
    "commands.keys": "KEYS in use",
    "memory.fragmentation": "Fragmented",
}
_WORDS_AFTER = {
    "errors.oom": "Writes were refused",
    "clients.rejected": "Clients were rejected",
    "commands.keys": "KEYS was called",
}
"""Check to the few words of the list of caches, when that check is its worst."""

_CLAUSES = {
    "state.loading": "it is loading its data set",
    "poll.nodes": "a part of the Cluster does not answer",
    "errors.oom": "writes are refused for lack of memory",
    "clients.rejected": "connections are rejected",
    "persistence": "saving to disk fails",
    "memory.pressure": "memory is full and evicting",
    "memory.noeviction": "its policy refuses writes instead of evicting",
    "memory.no_limit": "it has no memory limit",
    "memory.volatile": "hardly any key may be evicted",
    "keys.backlog": "expired keys pile up",
    "clients.monitor": "a client runs MONITOR",
    "commands.keys": "KEYS is in use",
    "memory.fragmentation": "memory is fragmented",
}
"""Check to a clause of the Overview's first sentence."""
_CLAUSES_AFTER = {
    "errors.oom": "writes were refused for lack of memory",
    "clients.rejected": "connections were rejected",
    "commands.keys": "KEYS was called",
}
"""The same once the last interval is clean; the time of the last one follows."""

_COUNTED = {
    "errors.oom": "errors_oom",
    "clients.rejected": "rejected_connections",
    "commands.keys": "keys_calls",
}
"""Check to the counter of its incidents."""


class Away(StrEnum):
    """Why nothing can be said about a cache."""

    NOT_YET = "not polled yet"
    SILENT = "does not answer"
    UNPOLLED = "nobody polls"


def away(facts: Facts) -> Away | None:
    """Whether and why a cache counts as away, by the one rule of all pages.

    Returns:
        SILENT after two failed polls, or one when it never answered; UNPOLLED when the last poll, good or not, is
        more than three intervals and 45 s ago; None while it is there.
    """
    tries = [at for at in (facts.last_attempt_at, facts.last_poll_at) if at is not None]
    if not tries:
        return Away.NOT_YET if facts.last_error is None else Away.SILENT
    if (facts.now - max(tries)).total_seconds() > max(MISSED_POLLS * facts.poll_interval_s, MIN_SILENCE_S):
        return Away.UNPOLLED
    needed = FAILURES_TO_NOTICE if facts.last_poll_at is not None else 1
    return Away.SILENT if facts.failures >= needed else None


def standing(verdicts: Iterable[Verdict], facts: Facts) -> dict[str, datetime]:
    """Since when each condition holds, by code: of the problems found, and of those that cannot be told now.

    Args:
        verdicts: from evaluate.
        facts: the same that they were made from; what stood already keeps its time.
    """
    since: dict[str, datetime] = {}
    for verdict in verdicts:
        known = facts.since.get(verdict.code)
        if verdict.kind in ("crit", "warn"):
            incident = _incident(verdict.code, facts)
            began = incident.first_at if incident is not None else facts.last_poll_at
            since[verdict.code] = known or began or facts.now
        elif verdict.kind == "unknown" and known is not None:
            since[verdict.code] = known
    return since


def evaluate(facts: Facts) -> list[Verdict]:
    """Make every check that the facts allow.

    Returns:
        At most one verdict per code, worst first. Without a recent answer there is only that one: nothing else
        can be said about a cache that is away.
    """
    poll = _poll(facts)
    if poll.kind in ("crit", "unknown"):
        return [poll]
    found = [poll, *(verdict for check in _CHECKS if (verdict := check(facts)) is not None)]
    found.extend(_other_missing(facts))
    # What is, comes before what was; within them the order of the checks stays, causes before symptoms.
    return [
        _with_since(verdict, facts)
        for verdict in sorted(found, key=lambda each: (_ORDER[each.kind], _is_over(each.code, facts)))
    ]


def headline(verdicts: Iterable[Verdict], facts: Facts) -> tuple[StatusKind, str, str]:
    """The first sentence of the Overview.

    Args:
        verdicts: from evaluate, worst first.
        facts: the same that they were made from.

    Returns:
        (kind, words to set in bold, the sentence after them, which may be empty). It names the cause where one is
        known, not only the symptom.
    """
    found = {verdict.code: verdict for verdict in verdicts}
    poll = found.get("poll")
    if poll is not None and poll.kind == "crit":
        return "crit", poll.title, poll.evidence
    if poll is not None and poll.kind == "unknown":
        return "unknown", poll.title, poll.evidence
    problems = [verdict for verdict in found.values() if verdict.kind in ("crit", "warn")]
    ratio = found.get("hit_ratio")
    if not problems:
        if ratio is None or ratio.kind in ("unknown", "info"):
            kind, word = status_word(found.values(), facts)
            return kind, f"{word}.", ratio.title if ratio is not None else ""
        return "ok", "Healthy.", _answers(facts)
    kind = "crit" if any(verdict.kind == "crit" for verdict in problems) else "warn"
    bold = "Needs attention." if kind == "crit" else "Worth a look."
    clauses = [clause for verdict in problems if (clause := _clause(verdict.code, facts))]
    if ratio is None or ratio.kind in ("unknown", "info"):
        return kind, bold, _sentence(_joined(clauses))
    if ratio.kind == "ok":
        return kind, bold, f"{_answers(facts, end='')}, but {_joined(clauses)}."
    # Below its target: the cause comes with it, the rest after it.
    cause = _cause(facts)
    reason = {
        "evictions": ", because memory is full and evicting",
        "expirations": ", because keys expire before they are read again",
        None: "",
    }[cause]
    rest = [
        clause for clause in clauses if not (cause == "evictions" and clause == _CLAUSES["memory.pressure"])
    ]
    also = f". Also, {_joined(rest)}" if rest else ""
    return kind, bold, f"{_answers(facts, end='')}{reason}{also}."


def status_word(verdicts: Iterable[Verdict], facts: Facts) -> tuple[StatusKind, str]:
    """The state of a cache in the list of caches.

    Args:
        verdicts: from evaluate, worst first.
        facts: the same that they were made from.

    Returns:
        (kind, few words): the reason, not the level, e.g. "Below target" or "No answer since 14:09".
    """
    found = list(verdicts)
    for verdict in found:
        if verdict.code == "poll" and verdict.kind in ("crit", "unknown"):
            return ("crit" if verdict.kind == "crit" else "unknown"), verdict.title.rstrip(".")
    for verdict in found:
        if verdict.kind in ("crit", "warn"):
            words = _WORDS_AFTER if _is_over(verdict.code, facts) else _WORDS
            return ("crit" if verdict.kind == "crit" else "warn"), words.get(verdict.code, "Needs a look")
    ratio = next((verdict for verdict in found if verdict.code == "hit_ratio"), None)
    if ratio is None or ratio.kind == "ok":
        return "ok", "Healthy"
    if ratio.kind == "unknown":
        return ("ok", "Ratio not reported") if _never_counts_lookups(facts) else ("unknown", "Measuring")
    if facts.window is not None and not facts.window.lookups:
        return "ok", "No traffic"
    return ("ok", "Warming up") if _emptied(facts) is not None else ("ok", "Little traffic")


def judged_window(facts: Facts) -> Window | None:
    """The span that the words about the hit ratio are of: the last minutes, or the part of them where it dips."""
    shortfall = _shortfall(facts)
    return shortfall[0] if shortfall is not None else facts.window


def _incident(code: str, facts: Facts) -> Incident | None:
    return facts.incidents.get(_COUNTED[code]) if code in _COUNTED else None


def _is_over(code: str, facts: Facts) -> bool:
    """Whether the last interval was clean of what this check counts."""
    incident = _incident(code, facts)
    if incident is None:
        return code == "commands.keys" and not (facts.window is not None and facts.window.keys_calls)
    return facts.last_poll_at is not None and incident.last_at < facts.last_poll_at


def _is_acute(code: str, facts: Facts) -> bool:
    """Whether it happened in the last two minutes."""
    incident = _incident(code, facts)
    return incident is None or facts.now - incident.last_at <= STILL_ACUTE


def _clause(code: str, facts: Facts) -> str:
    incident = _incident(code, facts)
    if not _is_over(code, facts):
        return _CLAUSES.get(code, "")
    last_at = incident.last_at if incident is not None else facts.keys_last_at
    return (
        f"{_CLAUSES_AFTER[code]} (last at {since(last_at, facts.now)})" if last_at else _CLAUSES_AFTER[code]
    )


def _last_seen(code: str, facts: Facts) -> str:
    """`` The last at 22:35:56.``, to the poll that counted it; empty while it goes on."""
    incident = _incident(code, facts)
    if incident is None or not _is_over(code, facts):
        return ""
    return f"The last was counted at {time(incident.last_at, facts.now, seconds=True)}."


def _poll(facts: Facts) -> Verdict:
    gone = away(facts)
    if gone is Away.NOT_YET:
        return Verdict(
            "unknown", "poll", "Not polled yet.", f"It is polled every {duration(facts.poll_interval_s)}."
        )
    old = f" What is shown is {age(facts.last_poll_at, facts.now)} old." if facts.last_poll_at else ""
    if gone is Away.UNPOLLED:
        tried_at = max(at for at in (facts.last_attempt_at, facts.last_poll_at) if at is not None)
        return Verdict(
            "crit",
            "poll",
            f"Not polled since {since(tried_at, facts.now)}.",
            f"No poll was made since.{old}",
            "Check that the worker is running.",
        )
    if gone is Away.SILENT and facts.last_poll_at is None:
        return Verdict(
            "crit",
            "poll",
            "No answer yet.",
            _failure(facts),
            "Check its address and credentials on the Connections page.",
        )
    if gone is Away.SILENT:
        return Verdict(
            "crit",
            "poll",
            f"No answer since {since(facts.last_poll_at or facts.now, facts.now)}.",
            f"{_failure(facts)}{old}",
            "Check that the server runs and can be reached; polling goes on by itself.",
        )
    if facts.last_error is not None:
        return Verdict("info", "poll", "The last poll failed.", _sentence(facts.last_error))
    return Verdict("ok", "poll", f"Polled {age(facts.last_poll_at, facts.now)} ago.")


def _loading(facts: Facts) -> Verdict | None:
    loading = [(node, reading) for node, reading in facts.nodes if reading.loading]
    if not loading:
        return None
    return Verdict(
        "warn",
        "state.loading",
        f"Loading its data set{_on(facts, loading)}.",
        "Commands are refused until it is done.",
        "Wait; it follows a restart or a full resynchronisation.",
    )


def _silent_nodes(facts: Facts) -> Verdict | None:
    if facts.silent_nodes is None:
        return None
    return Verdict(
        "warn",
        "poll.nodes",
        "A part of the Cluster does not answer.",
        _sentence(facts.silent_nodes),
        "Check that node; its keys are out of reach until it is back or a replica is promoted.",
    )


def _oom(facts: Facts) -> Verdict | None:
    code = "errors.oom"
    span = _span(facts.window)
    count = facts.window.errors_oom if facts.window is not None else None
    if count is None:
        if any(reading.errors_oom is None for _, reading in facts.nodes):
            return Verdict(
                "unknown",
                code,
                "Not evaluable: this server does not count writes refused for lack of memory.",
            )
        return None
    if count == 0:
        return Verdict("ok", code, f"No write was refused for lack of memory in {span}.")
    evidence = _memory(facts) or "The server does not report its memory limit."
    return Verdict(
        "crit" if _is_acute(code, facts) else "warn",
        code,
        f"{_times(count, 'write was', 'writes were')} refused for lack of memory in {span}.",
        f"{_last_seen(code, facts)} Now: {evidence}" if _is_over(code, facts) else evidence,
        _room(facts),
    )


def _room(facts: Facts) -> str:
    """What keeps writes from being refused, given the limit and the policy of now."""
    limited = [reading for _, reading in facts.nodes if reading.maxmemory]
    if facts.nodes and not limited and all(reading.maxmemory == 0 for _, reading in facts.nodes):
        return "It has no limit any more and refuses no write for one; set a limit that fits and a policy that evicts."
    policies = {reading.maxmemory_policy or "" for reading in limited}
    if policies and all(policy.startswith("allkeys-") for policy in policies):
        return "Raise maxmemory: eviction alone did not make room in time; large values or client buffers may fill it."
    if policies and all(policy.startswith("volatile-") for policy in policies):
        return (
            "Give every cache key a TTL or set maxmemory-policy to an allkeys policy; else raise maxmemory."
        )
    return "Raise maxmemory, or set maxmemory-policy to allkeys-lru so that old keys make room."


def _rejected(facts: Facts) -> Verdict | None:
    code = "clients.rejected"
    span = _span(facts.window)
    count = facts.window.rejected_connections if facts.window is not None else None
    if count is None:
        if any(reading.rejected_connections is None for _, reading in facts.nodes):
            return Verdict("unknown", code, "Not evaluable: this server does not count rejected connections.")
        return None
    if count == 0:
        return Verdict("ok", code, f"No connection was rejected in {span}.")
    limits = [
        f"{number(reading.connected_clients)} of {number(reading.maxclients)} clients{_at(facts, node)}"
        for node, reading in facts.nodes
        if reading.connected_clients is not None and reading.maxclients is not None
    ]
    now = f"Now connected: {', '.join(limits)}." if limits else ""
    return Verdict(
        "crit" if _is_acute(code, facts) else "warn",
        code,
        f"{_times(count, 'connection was', 'connections were')} rejected in {span}.",
        f"{_last_seen(code, facts)} {now}".strip(),
        "Let the applications use a connection pool, or raise maxclients.",
    )


def _persistence(facts: Facts) -> Verdict | None:
    code = "persistence"
    failing: list[str] = []
    affected: list[tuple[str, Reading]] = []
    is_on = is_known = False
    for node, reading in facts.nodes:
        has_snapshots = facts.save_config != "" if facts.save_config is not None else None
        statuses: list[tuple[str, str | None]] = []
        if has_snapshots is not False:
            # The status says err only after an attempt: then somebody wanted the snapshot.
            statuses.append(("The last snapshot failed", reading.rdb_last_bgsave_status))
        if reading.aof_enabled:
            statuses.append(("The last write to the append-only file failed", reading.aof_last_write_status))
            statuses.append(
                ("The last rewrite of the append-only file failed", reading.aof_last_bgrewrite_status)
            )
        is_known = is_known or any(status is not None for _, status in statuses) or has_snapshots is False
        is_on = is_on or bool(has_snapshots or reading.aof_enabled or reading.rdb_saves)
        errors = [words for words, status in statuses if status not in (None, "ok")]
        if errors:
            affected.append((node, reading))
            failing.extend(f"{words}{_at(facts, node)}" for words in errors)
    if failing:
        return Verdict(
            "crit",
            code,
            f"Saving to disk fails{_on(facts, affected)}.",
            f"{'. '.join(failing)}.",
            "Free disk space or repair the folder. A cache needs no persistence: turn it off if nothing relies on it. "
            "Until then Redis may refuse writes (stop-writes-on-bgsave-error).",
        )
    if not is_known:
        return (
            Verdict("unknown", code, "Not evaluable: this server does not report how saving to disk went.")
            if facts.nodes
            else None
        )
    return Verdict("ok", code, "Saving to disk works." if is_on else "No save to disk has failed.")


def _no_limit(facts: Facts) -> Verdict | None:
    code = "memory.no_limit"
    if not facts.nodes:
        return None
    unlimited = [(node, reading) for node, reading in facts.nodes if reading.maxmemory == 0]
    if not unlimited:
        if any(reading.maxmemory is None for _, reading in facts.nodes):
            return Verdict("unknown", code, "Not evaluable: this server does not report maxmemory.")
        return Verdict("ok", code, "Memory is limited.", _memory(facts))
    evidence = []
    is_pressing = False
    for node, reading in unlimited:
        host = reading.total_system_memory
        resident = reading.used_memory_rss
        if host and resident is not None and resident > HIGH_SHARE_OF_HOST * host:
            is_pressing = True
        evidence.append(
            f"{byte_share(reading.used_memory, host)}{' of the host' if host else ''}{_at(facts, node)}"
        )
    return Verdict(
        "crit" if is_pressing else "warn",
        code,
        f"No memory limit: maxmemory is 0{_on(facts, unlimited)}.",
        f"Used: {', '.join(evidence)}.",
        "Set maxmemory to about three quarters of the host's memory, and maxmemory-policy to allkeys-lru.",
    )


def _noeviction(facts: Facts) -> Verdict | None:
    code = "memory.noeviction"
    if not facts.nodes:
        return None
    # Without a limit the policy never acts; that is the other check's line.
    refusing = [
        (node, reading)
        for node, reading in facts.nodes
        if reading.maxmemory_policy == "noeviction" and reading.maxmemory
    ]
    if not refusing:
        if any(reading.maxmemory_policy is None for _, reading in facts.nodes):
            return Verdict("unknown", code, "Not evaluable: this server does not report maxmemory_policy.")
        policies = sorted({str(reading.maxmemory_policy) for _, reading in facts.nodes})
        if policies == ["noeviction"]:
            return None
        return Verdict("ok", code, f"Policy {' and '.join(policies)} makes room when memory is full.")
    is_close = any((_fill(reading) or 0.0) >= CLOSE_TO_REFUSING for _, reading in refusing)
    has_errors = facts.window is not None and bool(facts.window.errors_oom) and _is_acute("errors.oom", facts)
    return Verdict(
        "crit" if is_close or has_errors else "warn",
        code,
        f"Policy noeviction{_on(facts, refusing)}: a full cache refuses writes.",
        _memory(facts),
        "Set maxmemory-policy to allkeys-lru or allkeys-lfu; noeviction is for queues and locks.",
    )


def _volatile(facts: Facts) -> Verdict | None:
    code = "memory.volatile"
    affected: list[tuple[str, Reading]] = []
    evidence: list[str] = []
    has_policy = is_close = False
    for node, reading in facts.nodes:
        if not (reading.maxmemory_policy or "").startswith("volatile-"):
            continue
        has_policy = True
        keys, expires = reading.keys, reading.expires
        if keys is None or expires is None or keys < MIN_KEYS or expires >= FEW_VOLATILE * keys:
            continue
        affected.append((node, reading))
        evidence.append(f"{number(expires)} of {number(keys)} keys have a TTL{_at(facts, node)}")
        is_close = is_close or (_fill(reading) or 0.0) >= HIGH_SHARE_OF_HOST
    if affected:
        policy = affected[0][1].maxmemory_policy
        return Verdict(
            "crit" if is_close else "warn",
            code,
            f"Policy {policy} finds hardly any key to evict{_on(facts, affected)}.",
            f"{', '.join(evidence)}; when they are gone, writes are refused.",
            "Give every cache key a TTL, or set maxmemory-policy to an allkeys policy.",
        )
    return Verdict("ok", code, "Enough keys have a TTL and may be evicted.") if has_policy else None


def _pressure(facts: Facts) -> Verdict | None:
    code = "memory.pressure"
    limited = [(node, reading) for node, reading in facts.nodes if reading.maxmemory]
    fills = [(fill, node, reading) for node, reading in limited if (fill := _fill(reading)) is not None]
    if not fills:
        return None
    fill, _, fullest = max(fills, key=lambda each: each[0])
    memory = _memory(facts)
    if fill < NEARLY_FULL:
        return Verdict("ok", code, f"Memory is {percent(fill)} full.", memory)
    if fullest.maxmemory_policy == "noeviction":
        # The check of the policy says it, with the right next step.
        return None
    window, before = facts.window, facts.before
    rate = _rate(window)
    if window is None or rate is None:
        return Verdict("unknown", code, "Memory is nearly full; evictions are not known yet.", memory)
    if not window.evicted_keys:
        return Verdict("info", code, "Memory is nearly full, and nothing is evicted.", memory)
    now = facts.evicted_per_s if facts.evicted_per_s is not None else rate
    evicting = (
        f"Memory is full and evicting {number(now)} keys/s"
        if now
        else f"Memory is full and evicted {_times(window.evicted_keys, 'key', 'keys')} in {_span(window)}"
    )
    step = "Raise maxmemory by a quarter and measure again, or shorten the TTL of large values."
    if _emptied(facts) is None and (shortfall := _shortfall(facts)) is not None:
        return Verdict(
            "crit" if shortfall[1] > CRITICAL_BELOW_TARGET else "warn",
            code,
            f"{evicting}, and the hit ratio is below its target.",
            memory,
            step,
        )
    rate_before = _rate(before)
    if (
        _emptied(facts) is None
        and before is not None
        and rate_before is not None
        and rate > rate_before * MIN_RISE
        and _has_fallen(before, window)
    ):
        return Verdict(
            "warn",
            code,
            f"{evicting}, and the hit ratio falls.",
            f"{memory} Evictions rose from {number(rate_before)} to {number(now or rate)} keys/s "
            f"while the hit ratio fell from {percent(before.hit_ratio)} to {percent(window.hit_ratio)}.",
            step,
        )
    policy = fullest.maxmemory_policy
    return Verdict("info", code, f"{evicting}, as it should{f' under {policy}' if policy else ''}.", memory)


def _hit_ratio(facts: Facts) -> Verdict | None:
    code = "hit_ratio"
    window = facts.window
    if _never_counts_lookups(facts):
        return Verdict("unknown", code, "Not evaluable: this server does not count hits and misses.")
    if window is None or window.hits is None or window.misses is None:
        return Verdict(
            "unknown",
            code,
            "Hit ratio is not known yet.",
            "It takes two polls of the same server to measure it.",
        )
    span = _span(window)
    lookups = window.hits + window.misses
    ratio = window.hit_ratio
    if ratio is None:
        return Verdict("info", code, f"No traffic: no lookups in {span}.")
    volume = f"{percent(ratio)} of {_times(lookups, 'lookup', 'lookups')} in {span}."
    if (emptied := _emptied(facts)) is not None:
        what, at = emptied
        return Verdict(
            "info",
            code,
            f"Warming up since the {what} at {since(at, facts.now)}.",
            f"Hit ratio {volume} It is judged from {since(at + WARM_UP, facts.now)} on.",
        )
    if window.covered_s < MIN_MEASURED_S:
        return Verdict(
            "unknown",
            code,
            "The hit ratio is being measured.",
            f"So far {volume} It is judged from {duration(MIN_MEASURED_S)} on.",
        )
    if window.coverage < MIN_COVERAGE:
        return Verdict(
            "unknown",
            code,
            f"Not evaluable: only {percent(window.coverage)} of {span} was measured.",
            f"Hit ratio {volume}",
        )
    target = facts.hit_ratio_target
    shortfall = _shortfall(facts)
    if shortfall is not None:
        judged, depth = shortfall
        step = {
            "evictions": "Raise maxmemory by a quarter and measure again.",
            "expirations": "Lengthen the TTL of prefixes that are read again after they expire.",
            None: "Look for keys that are read once, or read before anything stores them.",
        }[_cause(facts)]
        missed, of = judged.misses or 0, judged.lookups or 0
        ratio = judged.hit_ratio
        shown = "Hit ratio just" if percent(ratio) == percent(target) else f"Hit ratio {percent(ratio)},"
        few = " Few, but too many missed for chance." if of < MIN_LOOKUPS else ""
        return Verdict(
            "crit" if depth > CRITICAL_BELOW_TARGET and of >= MIN_LOOKUPS else "warn",
            code,
            f"{shown} below its {percent(target)} target.",
            f"{number(missed)} of {_times(of, 'lookup', 'lookups')} missed in {_span(judged)}."
            f"{few}{_other_spans(facts, judged)}",
            step,
        )
    if lookups < MIN_LOOKUPS:
        return Verdict("info", code, "Too few lookups to judge the hit ratio.", f"Hit ratio {volume}")
    return Verdict(
        "ok",
        code,
        f"Hit ratio {percent(ratio)}, {_above(ratio, target)} its {percent(target)} target.",
        _sentence(volume),
    )


def _backlog(facts: Facts) -> Verdict | None:
    code = "keys.backlog"
    known = [
        (reading.expired_stale_perc, node, reading)
        for node, reading in facts.nodes
        if reading.expired_stale_perc is not None
    ]
    if not known:
        return (
            Verdict(
                "unknown", code, "Not evaluable: this server does not estimate expired keys still in memory."
            )
            if facts.nodes
            else None
        )
    worst = max(perc for perc, _, _ in known)
    if worst <= STALE_PERC:
        return Verdict("ok", code, "Expired keys are removed in time.")
    affected = [(node, reading) for perc, node, reading in known if perc > STALE_PERC]
    return Verdict(
        "warn",
        code,
        f"Expired keys pile up{_on(facts, affected)}.",
        f"{percent(worst / 100)} of the keys with a TTL have expired and still take memory.",
        "Spread expirations: add jitter to TTLs that end at the same moment.",
    )


def _monitor(facts: Facts) -> Verdict | None:
    code = "clients.monitor"
    if facts.monitors is None:
        reason = next(
            (f"is {fact.reason}" for fact in facts.missing if fact.what == "CLIENT LIST"), "was not asked yet"
        )
        acl = next((fact.acl for fact in facts.missing if fact.what == "CLIENT LIST" and fact.acl), "")
        return Verdict(
            "unknown",
            code,
            f"Not evaluable: CLIENT LIST {reason}.",
            "Clients that run MONITOR can't be seen.",
            _grant(acl),
        )
    if not facts.monitors:
        return Verdict("ok", code, "No client runs MONITOR.")
    described = []
    for client in facts.monitors:
        name = f" ({client.name})" if client.name else " (no name)"
        running = f", connected for {duration(client.age_s)}" if client.age_s is not None else ""
        described.append(f"{client.address}{name}{running}")
    return Verdict(
        "warn",
        code,
        f"{_times(len(described), 'client runs', 'clients run')} MONITOR.",
        f"{'; '.join(described)}. It slows down every command.",
        "Stop it; the slow log answers most of the same questions.",
    )


def _keys(facts: Facts) -> Verdict | None:
    code = "commands.keys"
    if not facts.nodes:
        return None
    totals = [reading.keys_calls for _, reading in facts.nodes]
    total = sum(calls for calls in totals if calls is not None)
    if all(calls is None for calls in totals):
        return Verdict("unknown", code, "Not evaluable: this server has no command statistics.")
    recent = facts.window.keys_calls if facts.window is not None else None
    span = _span(facts.window)
    last_at = facts.keys_last_at
    if recent or (last_at is not None and facts.now - last_at <= KEYS_MEMORY):
        often = "once" if recent == 1 else f"{_times(recent, 'time', 'times')}" if recent else ""
        title = (
            f"KEYS was called {often} in {span}."
            if recent
            else f"KEYS was called at {_hour(last_at, facts)}."
        )
        stats = [reading.commands["keys"] for _, reading in facts.nodes if "keys" in reading.commands]
        calls = sum(stat.calls for stat in stats)
        cost = (
            f"A call blocks the server for {duration(sum(stat.usec for stat in stats) / calls / 1e6)}"
            if calls
            else ""
        )
        last = f"last seen {_hour(last_at, facts)}" if last_at is not None and recent else ""
        return Verdict(
            "warn" if recent else "info",
            code,
            title,
            _sentence(_joined([part for part in (cost, last) if part], "; ")),
            "Use SCAN in the application, and deny KEYS to its user with the ACL rule -keys.",
        )
    if total:
        return Verdict(
            "info",
            code,
            f"KEYS was not called in {span}.",
            f"{_times(total, 'call', 'calls')} since the server's counters started.",
        )
    return Verdict("ok", code, "KEYS was not called since the server's counters started.")


def _fragmentation(facts: Facts) -> Verdict | None:
    code = "memory.fragmentation"
    if not facts.nodes:
        return None
    affected: list[tuple[str, Reading]] = []
    evidence: list[str] = []
    ratios: list[float] = []
    for node, reading in facts.nodes:
        ratio, wasted = reading.allocator_frag_ratio, reading.allocator_frag_bytes
        if ratio is None or wasted is None:
            continue
        ratios.append(ratio)
        if (
            ratio > FRAGMENTED_RATIO
            and wasted > FRAGMENTED_BYTES
            and (reading.used_memory or 0) > FRAGMENTED_USED_BYTES
        ):
            affected.append((node, reading))
            evidence.append(f"{byte_size(wasted)} lost, ratio {ratio:.2f}{_at(facts, node)}")
    if affected:
        reading = affected[0][1]
        if reading.active_defrag_running:
            step = "Active defragmentation is running; wait."
        elif (reading.mem_allocator or "").startswith("jemalloc"):
            step = "Turn activedefrag on, or restart the node when its load is low."
        else:
            step = "Restart the node when its load is low; active defragmentation needs jemalloc."
        return Verdict(
            "warn", code, f"Memory is fragmented{_on(facts, affected)}.", _sentence(", ".join(evidence)), step
        )
    if not ratios:
        return Verdict("unknown", code, "Not evaluable: this server does not report allocator fragmentation.")
    return Verdict("ok", code, "Fragmentation costs little memory.", f"Allocator ratio {max(ratios):.2f}.")


def _reads(facts: Facts) -> Verdict | None:
    """A cache that is hardly read any more looks as well as ever: its ratio is of the reads there were."""
    window, now = facts.window, facts.reads_per_s
    if window is None or not window.lookups or window.covered_s <= 0 or now is None:
        return None
    usual = window.lookups / window.covered_s
    if usual < MANY_READS_PER_S or now > usual * ALMOST_NO_READS:
        return None
    return Verdict(
        "info",
        "reads",
        f"Hardly anybody reads it now: {number(now)} reads/s.",
        f"They were {number(usual)}/s on average in {_span(window)}; the hit ratio is mostly of those.",
        "Look whether the applications run, and whether their cache was switched off.",
    )


_CHECKS: tuple[Callable[[Facts], Verdict | None], ...] = (
    _loading,
    _silent_nodes,
    _oom,
    _rejected,
    _persistence,
    _noeviction,
    _pressure,
    _volatile,
    _no_limit,
    _hit_ratio,
    _reads,
    _backlog,
    _monitor,
    _keys,
    _fragmentation,
)
"""Causes before symptoms, losses before risks."""


def _other_missing(facts: Facts) -> list[Verdict]:
    return [
        Verdict(
            "unknown",
            f"access.{fact.what.lower().replace(' ', '_')}",
            f"Not evaluable: {fact.what} is {fact.reason}.",
            "",
            _grant(fact.acl),
        )
        for fact in facts.missing
        if fact.what != "CLIENT LIST"
    ]


def _with_since(verdict: Verdict, facts: Facts) -> Verdict:
    is_there = verdict.kind in ("crit", "warn") and not _is_over(verdict.code, facts)
    found_at = facts.since.get(verdict.code) if is_there else None
    return verdict if found_at is None else replace(verdict, since=found_at)


def _emptied(facts: Facts) -> tuple[str, datetime] | None:
    """What emptied the cache lately and when; None when it had time to fill."""
    emptied = [
        (at, what)
        for what, at in (
            ("start", _started(facts)),
            ("restart", facts.restarted_at),
            ("flush", facts.flushed_at),
        )
        # The worker's clock may be a little ahead of ours.
        if at is not None and abs(facts.now - at) < WARM_UP
    ]
    if not emptied:
        return None
    at, what = max(emptied)
    return what, at


def _started(facts: Facts) -> datetime | None:
    """When the oldest node started, if nobody saw it restart: a cache may be added right after its start."""
    ups = [(reading.taken_at, reading.uptime_in_seconds) for _, reading in facts.nodes]
    starts = [at - timedelta(seconds=up) for at, up in ups if up is not None and up < WARM_UP.total_seconds()]
    return min(starts) if facts.restarted_at is None and starts and len(starts) == len(ups) else None


def _never_counts_lookups(facts: Facts) -> bool:
    return bool(facts.nodes) and all(
        reading.keyspace_hits is None or reading.keyspace_misses is None for _, reading in facts.nodes
    )


def _shortfall(facts: Facts) -> tuple[Window, float] | None:
    """The span in which the ratio is below its target and how far, when there is enough to judge it by; else None.

    It is the whole window, or its latest part when that alone is clearly below: the rest would hide it for minutes.
    """
    window, latest, target = facts.window, facts.latest, facts.hit_ratio_target
    if window is not None and (depth := _depth(window, target)) is not None:
        return window, depth
    if latest is None or (latest.lookups or 0) < MIN_LOOKUPS:
        return None
    depth = _depth(latest, target)
    return (latest, depth) if depth is not None and depth >= MIN_FALL else None


def _depth(window: Window, target: float) -> float | None:
    if window.hits is None or not window.lookups:
        return None
    if window.covered_s < MIN_MEASURED_S or window.coverage < MIN_COVERAGE:
        return None
    ratio = window.hits / window.lookups
    judged = ratio if window.lookups >= MIN_LOOKUPS else wilson_upper(window.hits, window.lookups)
    return target - ratio if judged < target else None


def _other_spans(facts: Facts, judged: Window) -> str:
    """The ratio of the spans around the judged one, each with its period."""
    if judged is not facts.window and facts.window is not None:
        return f" In {_span(facts.window)} together: {percent(facts.window.hit_ratio)}."
    words = []
    if facts.latest is not None and (facts.latest.lookups or 0) >= MIN_LOOKUPS:
        words.append(f" In {_span(facts.latest)}: {percent(facts.latest.hit_ratio)}.")
    if facts.before is not None and facts.before.hit_ratio is not None:
        words.append(f" In the hour before: {percent(facts.before.hit_ratio)}.")
    return "".join(words)


def _cause(facts: Facts) -> Literal["evictions", "expirations"] | None:
    """Why lookups miss, as far as counters can tell."""
    window = facts.window
    if window is None or not window.misses:
        return None
    is_full = any((_fill(reading) or 0.0) >= NEARLY_FULL for _, reading in facts.nodes)
    if is_full and window.evicted_keys:
        return "evictions"
    if window.expired_keys and 2 * window.expired_keys >= window.misses:
        return "expirations"
    return None


def _fill(reading: Reading) -> float | None:
    """Used share of maxmemory as the server itself judges it; None without a limit."""
    if not reading.maxmemory or reading.used_memory is None:
        return None
    return max(0, reading.used_memory - (reading.mem_not_counted_for_evict or 0)) / reading.maxmemory


def _rate(window: Window | None) -> float | None:
    if window is None or window.evicted_keys is None or window.covered_s <= 0:
        return None
    return window.evicted_keys / window.covered_s


def _has_fallen(before: Window, window: Window) -> bool:
    if (before.lookups or 0) < MIN_LOOKUPS or (window.lookups or 0) < MIN_LOOKUPS:
        return False
    one, other = before.hit_ratio, window.hit_ratio
    return one is not None and other is not None and one - other >= MIN_FALL


def _memory(facts: Facts) -> str:
    """``508 of 512 MB, allkeys-lru.`` per node; empty when nothing is known."""
    parts = [
        f"{byte_share(reading.used_memory, reading.maxmemory)}"
        f"{f', {reading.maxmemory_policy}' if reading.maxmemory_policy else ''}{_at(facts, node)}"
        for node, reading in facts.nodes
        if reading.used_memory is not None
    ]
    return f"{'; '.join(parts)}." if parts else ""


def _answers(facts: Facts, end: str = ".") -> str:
    window = judged_window(facts)
    ratio = window.hit_ratio if window is not None else None
    if ratio is None:
        return ""
    target = facts.hit_ratio_target
    return (
        f"The cache answered {percent(ratio)} of reads in {_span(window)}, {_above(ratio, target)} its"
        f" {percent(target)} target{end}"
    )


def _above(ratio: float, target: float) -> str:
    if percent(ratio) == percent(target):
        return "at" if ratio >= target else "just below"
    return "above" if ratio > target else "below"


def _span(window: Window | None) -> str:
    if window is None:
        return "the last minutes"
    # Minutes begin and end where they do: a second more or less is nothing to read.
    whole = window.length_s if window.length_s < 150 else round(window.length_s / 60) * 60
    return f"the last {duration(whole)}"


def _times(count: int, one: str, many: str) -> str:
    return f"{number(count)} {one if count == 1 else many}"


def _hour(at: datetime | None, facts: Facts) -> str:
    return since(at, facts.now) if at is not None else ""


def _at(facts: Facts, node: str) -> str:
    """`` at host:port`` where there is more than one node."""
    return f" at {node}" if len(facts.nodes) > 1 else ""


def _on(facts: Facts, affected: list[tuple[str, Reading]]) -> str:
    if len(facts.nodes) <= 1:
        return ""
    if len(affected) == 1:
        return f" on {affected[0][0]}"
    return f" on {len(affected)} of {len(facts.nodes)} nodes"


def _failure(facts: Facts) -> str:
    return _sentence(facts.last_error or "the last poll failed")


def _grant(acl: str) -> str:
    return f"Grant it with the ACL rule {acl}." if acl else ""


def _joined(clauses: list[str], last: str = " and ") -> str:
    if len(clauses) > 3:
        clauses = [*clauses[:2], f"{len(clauses) - 2} more checks need a look"]
    return last.join(part for part in (", ".join(clauses[:-1]), *clauses[-1:]) if part)


def _sentence(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")
