"""One poll of one cache: ask every node once, subtract, store. Talks to caches; scheduling is elsewhere."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from dashboard.caches.types import Cache
from dashboard.clock import Clock
from dashboard.errors import CacheUnavailable, DashboardError
from dashboard.fleet.commands import Missing, PollReply, Why, poll
from dashboard.fleet.errors import FleetError
from dashboard.fleet.permissions import grant
from dashboard.fleet.registry import Fleet, Node
from dashboard.fleet.replies import Client
from dashboard.fleet.url import Kind
from dashboard.monitoring.deltas import add_nodes, difference
from dashboard.monitoring.info import parse_info, read
from dashboard.monitoring.store import (
    STORED_COUNTERS,
    STORED_GAUGES,
    STORED_GROWTH,
    NodeSample,
    PollState,
    Session,
    Success,
    write_failure,
    write_poll,
)
from dashboard.monitoring.sums import joined
from dashboard.monitoring.types import ClientRow, Delta, Event, EventKind, Reading, SlowEntry

COMMANDS_BUCKET = timedelta(minutes=10)
MOST_COMMANDS = 100
MOST_CLIENTS = 200
MOST_SLOW_ENTRIES = 128
ROUND_SHARE = 0.8
"""Of its interval, one round of polls over a cache's nodes may take so much; nodes not reached by then wait."""

_BIGGEST = 2**63 - 1
_MOST_OF_A_GAUGE = 2**53
"""Nine petabytes: more is broken, and the nodes of a cache must still add up."""
_SMALL = frozenset({"uptime_in_seconds", "connected_clients", "blocked_clients"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Answer:
    """One node's reply with what INFO said."""

    reply: PollReply
    reading: Reading


@dataclass(frozen=True, slots=True)
class Round:
    """What the nodes of a cache answered in one poll; at least one did.

    Attributes:
        expected: how many primaries there are.
        problem: why some did not answer, None when all did.
    """

    answers: tuple[Answer, ...]
    expected: int
    problem: str | None


def ask(fleet: Fleet, cache: Cache, clock: Clock) -> Round:
    """Ask every primary of a cache, one round trip each.

    Raises:
        CacheUnavailable: none of them answered.
    """
    deadline = time.monotonic() + ROUND_SHARE * cache.poll_interval_s
    nodes = fleet.open(cache.id, cache.url, cache.revision).nodes()
    answers: list[Answer] = []
    failure: CacheUnavailable | None = None
    silent = 0
    for node in nodes:
        if silent and time.monotonic() > deadline:
            silent += 1
            continue
        try:
            answers.append(_ask(node, clock))
        except CacheUnavailable as error:
            silent += 1
            failure = failure or error
    if not answers:
        raise failure or CacheUnavailable(
            "The cache has no primary.", what_to_do="Look at its Sentinels or slots."
        )
    problem = f"{silent} of {len(nodes)} nodes did not answer: {failure}" if failure else None
    return Round(tuple(answers), len(nodes), problem)


def _ask(node: Node, clock: Clock) -> Answer:
    reply = poll(node, now=clock.now, monotonic=clock.monotonic)
    return Answer(reply, read(parse_info(reply.info), reply.taken_at, reply.taken_monotonic_s))


def record(session: Session, cache: Cache, before: PollState, asked: Round) -> PollState | None:
    """Subtract the readings from those before and store everything in one transaction.

    Returns:
        The new state, or None when another process stored a poll since ``before`` was read: nothing is stored.
    """
    at = max(answer.reading.taken_at for answer in asked.answers)
    if at == before.last_success_at:
        at += timedelta(microseconds=1)
    follows_node = cache.url.kind is Kind.CLUSTER
    samples: list[NodeSample] = []
    deltas: list[Delta] = []
    events: list[tuple[str, Event]] = []
    # A node that did not answer this time is subtracted from its own last reading when it is back.
    readings = dict(before.readings) if follows_node else {}
    for answer in asked.answers:
        node, reading = answer.reply.node_id, answer.reading
        # Behind one address, or one Sentinel group, whoever answers is the cache: the difference tells a switch.
        previous = before.readings.get(node) if follows_node else next(iter(before.readings.values()), None)
        delta = difference(previous, reading, cache.poll_interval_s)
        deltas.append(delta)
        events += [
            (node, event)
            for event in delta.events
            # The outage that ends now says the same, and since when.
            if event.kind is not EventKind.GAP or before.failing_since is None
        ]
        samples.append(
            NodeSample(
                node, reading, _sample(reading, delta), answer.reply.round_trip_s, answer.reply.lookups
            )
        )
        readings[node] = reading
    if follows_node and asked.problem is None:
        readings = {answer.reply.node_id: answer.reading for answer in asked.answers}
    total = add_nodes(deltas)
    bucket, commands, finished = _add_commands(before, at, total)
    after = replace(
        before,
        last_success_at=at,
        failing_since=None,
        failures=0,
        readings=readings,
        commands_bucket=bucket,
        commands=commands,
        node_run_ids={},
    )
    success = Success(
        topology=_topology(cache.url.kind, asked.expected),
        problem=asked.problem,
        nodes_expected=asked.expected,
        missing=_missing(asked.answers),
        settings=_settings(asked.answers),
        clients=_clients(asked.answers),
        slow_log=_slow_log(asked.answers),
        round_trip_s=max(answer.reply.round_trip_s for answer in asked.answers),
        keys_called=bool(total.keys_calls),
    )
    is_stored = write_poll(
        session,
        before,
        after,
        at=at,
        poll_interval_s=cache.poll_interval_s,
        samples=samples,
        success=success,
        events=events,
        command_samples=finished,
    )
    return after if is_stored else None


def record_failure(
    session: Session, cache: Cache, before: PollState, error: DashboardError, at: datetime
) -> PollState | None:
    """Store that no node answered, and why.

    Returns:
        The new state, or None when another process stored a poll since ``before`` was read: nothing is stored.
    """
    return write_failure(
        session,
        before,
        at=at,
        poll_interval_s=cache.poll_interval_s,
        code=error.problem.cause.value if isinstance(error, FleetError) else error.code,
        message=error.message,
        what_to_do=error.what_to_do,
    )


def _sample(reading: Reading, delta: Delta) -> dict[str, Any]:
    values: dict[str, Any] = {"dt_s": delta.dt_s, "flags": int(delta.flags)}
    for name in STORED_COUNTERS:
        values[name] = _bounded(getattr(reading, name))
    for name in STORED_GROWTH:
        values[f"d_{name}"] = getattr(delta, name)
    for name in STORED_GAUGES:
        value = getattr(reading, name)
        if value is not None and name in _SMALL:
            values[name] = min(value, 2**31 - 1)
        else:
            values[name] = _bounded(value, _MOST_OF_A_GAUGE)
    return values


def _bounded(value: float | None, most: int = _BIGGEST) -> float | None:
    # What PostgreSQL can't hold, no healthy server reports.
    return value if value is not None and abs(value) <= most else None


def _topology(kind: Kind, nodes: int) -> str:
    if kind is Kind.CLUSTER:
        return f"Cluster, {nodes} primaries" if nodes != 1 else "Cluster, 1 primary"
    return "Sentinel" if kind is Kind.SENTINEL else "Server"


def _add_commands(
    before: PollState, at: datetime, total: Delta
) -> tuple[datetime, dict[str, Any], list[tuple[datetime, dict[str, Any]]]]:
    """Add an interval's command statistics to the ten minutes they belong to; those that are over come apart."""
    bucket = _EPOCH + (at - _EPOCH) // COMMANDS_BUCKET * COMMANDS_BUCKET
    finished = []
    kept = before.commands
    if before.commands_bucket != bucket:
        if before.commands_bucket is not None and kept.get("stats"):
            finished.append((before.commands_bucket, kept))
        kept = {}
    more = {
        name: (stat.calls, stat.usec, stat.rejected_calls, stat.failed_calls)
        for name, stat in total.commands.items()
    }
    whole = joined(kept, {"dt_s": total.dt_s or 0.0, "stats": more})
    stats = whole["stats"]
    if len(stats) > MOST_COMMANDS:
        costliest = sorted(stats, key=lambda name: stats[name][1] or 0, reverse=True)[:MOST_COMMANDS]
        whole["stats"] = {name: stats[name] for name in costliest}
    return bucket, whole, finished


def _missing(answers: Sequence[Answer]) -> list[dict[str, str]]:
    """What the nodes would not give, once per command, as MissingFact."""
    found: dict[str, dict[str, str]] = {}
    for answer in answers:
        for part in (answer.reply.clients, answer.reply.slowlog, answer.reply.settings):
            if isinstance(part, Missing) and part.command not in found:
                found[part.command] = {
                    "what": part.command,
                    "reason": _reason(part),
                    "acl": grant(part.command) if part.grant else "",
                }
    return list(found.values())


def _reason(part: Missing) -> str:
    """The end of "CLIENT LIST is …"."""
    if part.why is Why.FORBIDDEN:
        return "forbidden"
    if part.why is Why.UNKNOWN:
        return "not known to this server"
    return f"not read: {part.reason.rstrip('.')}"


def _settings(answers: Iterable[Answer]) -> dict[str, str]:
    """``save`` and the slow log's threshold; nodes of one cache are taken to be configured alike."""
    for answer in answers:
        if not isinstance(answer.reply.settings, Missing) and answer.reply.settings:
            names = ("save", "slowlog-log-slower-than")
            return {name: answer.reply.settings[name] for name in names if name in answer.reply.settings}
    return {}


def _clients(answers: Iterable[Answer]) -> dict[str, Any] | None:
    """The clients worth showing, bounded: those that run MONITOR, then the largest."""
    found: list[tuple[str, Client]] = []
    total = 0
    was_read = False
    for answer in answers:
        if not isinstance(answer.reply.clients, Missing):
            was_read = True
            total += answer.reply.clients_total or len(answer.reply.clients)
            found += [(answer.reply.node_id, client) for client in answer.reply.clients]
    if not was_read:
        return None
    found.sort(
        key=lambda item: ("O" not in item[1].flags, "b" not in item[1].flags, -(item[1].memory_bytes or 0))
    )
    return {
        "total": total,
        "rows": [asdict(_client_row(node, client)) for node, client in found[:MOST_CLIENTS]],
    }


_STATES: Mapping[str, str] = {
    "O": "runs MONITOR",
    "S": "replica",
    "M": "primary",
    "b": "blocked",
    "P": "subscribed",
    "x": "in a transaction",
    "c": "closing",
    "A": "closing",
    "t": "tracking",
}


def _client_row(node: str, client: Client) -> ClientRow:
    states = dict.fromkeys(word for flag, word in _STATES.items() if flag in client.flags)
    return ClientRow(
        address=client.address,
        name=client.name,
        user=client.user or "",
        library=client.library or "",
        last_command=client.command,
        state=", ".join(states),
        age_s=client.age_s,
        idle_s=client.idle_s,
        database=client.db,
        memory_bytes=client.memory_bytes,
        is_monitor="O" in client.flags,
        is_ours=client.name.startswith("cachewarden"),
        node=node,
    )


def _slow_log(answers: Iterable[Answer]) -> dict[str, Any] | None:
    """The newest entries of all nodes, bounded."""
    entries: list[SlowEntry] = []
    was_read = False
    for answer in answers:
        if isinstance(answer.reply.slowlog, Missing):
            continue
        was_read = True
        entries += [
            SlowEntry(
                at=entry.at or _EPOCH,
                duration_s=entry.duration_s,
                command=entry.command,
                client_address=entry.client_address or "",
                client_name=entry.client_name or "",
                node=answer.reply.node_id,
            )
            for entry in answer.reply.slowlog
        ]
    if not was_read:
        return None
    entries.sort(key=lambda entry: entry.at, reverse=True)
    rows = [{**asdict(entry), "at": entry.at.isoformat()} for entry in entries[:MOST_SLOW_ENTRIES]]
    return {"total": len(entries), "rows": rows}
