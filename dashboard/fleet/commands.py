"""What we ask of a node. All of it only looks: no key is read, and nothing here counts as a hit or a miss."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import redis

from dashboard.fleet import replies, tally
from dashboard.fleet.errors import Cause, Problem, as_error, explain, quoted
from dashboard.fleet.permissions import acl_line
from dashboard.fleet.registry import Command, Node
from dashboard.fleet.replies import Client, SlowEntry
from dashboard.fleet.url import Kind

PROBE_AGAIN_S = 24 * 3600.0
SETTINGS_AGAIN_S = 60.0
MOST_CLIENTS_POLLED = 5000
INFO_VARIANTS: tuple[Command, ...] = (("INFO", "everything"), ("INFO", "all"), ("INFO",))

Monotonic = Callable[[], float]


class Why(StrEnum):
    """Why a fact is missing; the first two last, and are not asked again for a day."""

    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"
    FAILED = "failed"
    NOT_ASKED = "not-asked"


@dataclass(frozen=True, slots=True)
class Missing:
    """A fact the server would not give.

    Args:
        why: what kind of reason it is.
        command: what was asked.
        reason: why it is missing, in words.
        grant: the ACL SETUSER line that would allow it; None where no ACL line helps.
    """

    why: Why
    command: str
    reason: str
    grant: str | None = None


@dataclass(frozen=True, slots=True)
class Wants:
    """What a poll asks for beside INFO."""

    clients: bool = True
    slowlog: bool = True
    settings: bool = True


@dataclass(frozen=True, slots=True)
class PollReply:
    """All that one poll of one node brought.

    Args:
        node_id: "host:port", or a socket's path.
        info: INFO, all sections, as text.
        clients: CLIENT LIST, at most MOST_CLIENTS of them.
        clients_total: how many lines CLIENT LIST had; None where it is missing.
        slowlog: the newest entries of the slow log, newest first.
        round_trip_s: seconds from the first byte sent to the last received.
        taken_at: when the reply was complete, aware, UTC.
        taken_monotonic_s: the same moment on the monotonic clock.
        settings: the server's settings ``save`` and ``slowlog-…``, read anew every minute.
        lookups: (hits, misses) that connections of ours caused so far, as of the same moment as ``info``, by session
            (``tally``); None: not known, because CLIENT LIST is missing.
    """

    node_id: str
    info: str
    clients: list[Client] | Missing
    clients_total: int | None
    slowlog: list[SlowEntry] | Missing
    round_trip_s: float
    taken_at: datetime
    taken_monotonic_s: float
    settings: Mapping[str, str] | Missing = field(default_factory=dict)
    lookups: Mapping[str, tuple[int, int]] | None = None


_CLIENT_LIST: Command = ("CLIENT", "LIST")
_SLOWLOG_GET: Command = ("SLOWLOG", "GET", replies.MOST_SLOW_ENTRIES)
# One pattern, because Redis 6 takes only one: "save" and "slowlog-…" match, and nothing that is secret.
_CONFIG_GET: Command = ("CONFIG", "GET", "s[al][vo]*")


def poll(
    node: Node,
    wants: Wants = Wants(),
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    monotonic: Monotonic = time.monotonic,
) -> PollReply:
    """Read a node's state in one round trip.

    What the server forbids is remembered on the node and not asked again for a day, or until the server
    restarts (run_id): each refused command would raise its own error counters.

    Raises:
        FleetError: the node can't be reached, refuses INFO, or is not a cache.
    """
    parts: dict[Command, Any] = {
        command: _held(node, command, monotonic()) if is_wanted else _not_asked(command, "was not asked for")
        for command, is_wanted in (
            (_CLIENT_LIST, wants.clients),
            (_SLOWLOG_GET, wants.slowlog),
            (_CONFIG_GET, wants.settings),
        )
    }
    asked = [command for command, held in parts.items() if held is None]
    variant: int = node.memory.get("info_variant", 0)
    answers, took_s = node.run([INFO_VARIANTS[variant], *asked])
    while _is_empty(answers[0]) and variant + 1 < len(INFO_VARIANTS):
        variant += 1
        answers, took_s = node.run([INFO_VARIANTS[variant], *asked])
    taken_at, taken_monotonic_s = now(), monotonic()
    raw = _info_bytes(node, answers[0])
    node.memory["info_variant"] = variant
    _learn(node, raw)
    for command, reply in zip(asked, answers[1:], strict=True):
        parts[command] = _judged(node, command, reply, monotonic())

    clients, total, lookups = parts[_CLIENT_LIST], None, None
    if isinstance(clients, bytes):
        lookups = tally.read_names(clients)
        clients, total = replies.clients(clients)
    slowlog, settings = parts[_SLOWLOG_GET], parts[_CONFIG_GET]
    if isinstance(settings, list):
        settings = replies.pairs(settings)
        node.memory["settings"] = (settings, taken_monotonic_s)
    return PollReply(
        node_id=node.id,
        info=replies.info_text(raw),
        clients=clients,
        clients_total=total,
        slowlog=slowlog if isinstance(slowlog, Missing) else replies.slow_log(slowlog),
        round_trip_s=took_s,
        taken_at=taken_at,
        taken_monotonic_s=taken_monotonic_s,
        settings=settings,
        lookups=lookups,
    )


def _name(command: Command) -> str:
    return " ".join(str(word) for word in command[:2])


def _not_asked(command: Command, why: str) -> Missing:
    return Missing(Why.NOT_ASKED, _name(command), f"{_name(command)} {why}.")


def _held(node: Node, command: Command, now_s: float) -> Missing | Mapping[str, str] | None:
    """What need not be asked for: it is known to be refused, would cost too much, or was read a while ago."""
    refused: tuple[Missing, float] | None = node.memory.get(f"missing {_name(command)}")
    if refused is not None and now_s - refused[1] < PROBE_AGAIN_S:
        return refused[0]
    connected = node.memory.get("connected_clients") or 0
    if command == _CLIENT_LIST and connected > MOST_CLIENTS_POLLED:
        return _not_asked(command, f"would weigh on the server with its {connected:,} clients")
    settings: tuple[Mapping[str, str], float] | None = node.memory.get("settings")
    if command == _CONFIG_GET and settings is not None and now_s - settings[1] < SETTINGS_AGAIN_S:
        return settings[0]
    return None


def _judged(node: Node, command: Command, reply: Any, now_s: float) -> Any:
    """The reply, or Missing; a lasting refusal is remembered."""
    name = _name(command)
    expected = bytes if command == _CLIENT_LIST else list
    if isinstance(reply, expected):
        return reply
    if not isinstance(reply, redis.ResponseError):
        return Missing(Why.FAILED, name, f"{name} was answered with something else.")
    text = quoted(reply, node.url)
    if isinstance(reply, redis.exceptions.NoPermissionError):
        missing = Missing(
            Why.FORBIDDEN,
            name,
            f"NOPERM: this user may not run {name}.",
            acl_line(node.url.username, (name,)),
        )
    elif "unknown command" in text.lower() or "unknown subcommand" in text.lower():
        missing = Missing(
            Why.UNKNOWN, name, f"this server does not offer {name}; managed services often take it away."
        )
    else:
        # Anything else may pass: it is asked again next time.
        return Missing(Why.FAILED, name, f"{name} failed: {text}")
    node.memory[f"missing {name}"] = (missing, now_s)
    return missing


def _is_empty(reply: Any) -> bool:
    """Whether this variant of INFO is not known to the server; no rights is another matter."""
    if isinstance(reply, redis.ResponseError):
        # Not BUSY, LOADING and the like: those would only be said again.
        return getattr(reply, "status_code", None) == "ERR"
    return isinstance(reply, bytes) and not reply.strip()


def _info_bytes(node: Node, reply: Any) -> bytes:
    if isinstance(reply, redis.exceptions.NoPermissionError):
        raise as_error(info_denied(node.url.username))
    if isinstance(reply, redis.ResponseError):
        raise as_error(explain(reply, node.id, node.url))
    if not isinstance(reply, bytes) or not reply.strip():
        raise as_error(explain(redis.exceptions.InvalidResponse("INFO"), node.id, node.url))
    if replies.info_field(reply, b"redis_mode") == "sentinel":
        raise as_error(
            Problem(
                Cause.TOPOLOGY,
                f"{node.id} is a Sentinel, not a cache.",
                "Use redis+sentinel://host:26379/service as the URL.",
            )
        )
    return reply


def info_denied(username: str | None) -> Problem:
    """INFO is forbidden: the one permission without which there is nothing to show."""
    return Problem(
        Cause.NOPERM,
        "NOPERM: this user may not run INFO. Without it there is no hit ratio and no memory.",
        f"Grant it with: {acl_line(username, ('INFO',))}",
    )


def _learn(node: Node, info: bytes) -> None:
    run_id = replies.info_field(info, b"run_id")
    if node.memory.get("run_id") not in (None, run_id):
        # Another server, or one that was configured anew: ask for everything again.
        for key in [key for key in node.memory if key == "settings" or key.startswith("missing ")]:
            del node.memory[key]
    node.memory["run_id"] = run_id
    connected = replies.info_field(info, b"connected_clients") or ""
    node.memory["connected_clients"] = (
        int(connected) if connected.isdecimal() and len(connected) < 10 else None
    )
    if node.url.kind is not Kind.SERVER and replies.info_field(info, b"role") == "slave":
        # Demoted since it was looked up: the next poll asks where the primary is now.
        node.doubt()
