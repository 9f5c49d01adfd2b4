"""What a server can do, and what this user may not: asked once and remembered, for each refusal raises its counters."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import redis

from dashboard.fleet import replies
from dashboard.fleet.commands import PROBE_AGAIN_S
from dashboard.fleet.errors import Cause, FleetError, as_error, explain
from dashboard.fleet.permissions import acl_line
from dashboard.fleet.registry import Command, Node

Monotonic = Callable[[], float]
_SERVER_AGAIN_S: Final = 60.0
_CONTAINERS: Final = frozenset({"OBJECT", "MEMORY", "CLIENT", "XINFO"})


@dataclass(frozen=True, slots=True)
class Server:
    """What matters about a server to who reads its keys.

    Args:
        has_no_touch: whether it knows CLIENT NO-TOUCH.
        has_field_ttls: whether hash fields can have TTLs.
        has_free_types: whether SCAN filters by type without counting a lookup for each key it looks at.
        is_lfu: whether it counts how often keys are used, instead of when.
    """

    has_no_touch: bool
    has_field_ttls: bool
    has_free_types: bool
    is_lfu: bool


def read_server(info: bytes) -> Server:
    """The server in a reply to INFO. Pure."""

    def version(name: bytes) -> tuple[int, int]:
        found = re.match(r"(\d{1,6})\.(\d{1,6})", replies.info_field(info, name) or "")
        return (int(found[1]), int(found[2])) if found else (0, 0)

    # Valkey calls itself Redis 7.2 as well.
    known, valkey = version(b"redis_version"), version(b"valkey_version")
    is_valkey = valkey > (0, 0)
    return Server(
        has_no_touch=known >= (7, 2),
        has_field_ttls=valkey >= (9, 0) if is_valkey else known >= (7, 4),
        has_free_types=valkey >= (8, 0) if is_valkey else known >= (8, 0),
        is_lfu="lfu" in (replies.info_field(info, b"maxmemory_policy") or ""),
    )


def server_of(node: Node, monotonic: Monotonic = time.monotonic) -> Server:
    """What a node can do, asked anew each minute.

    Raises:
        FleetError: the node can't be used.
    """
    held: tuple[Server, float] | None = node.memory.get("server")
    if held is not None and monotonic() - held[1] < _SERVER_AGAIN_S:
        return held[0]
    (reply,), _ = node.run([("INFO",)])
    # Without INFO nothing is asked that an older server does not know.
    server = read_server(reply) if isinstance(reply, bytes) else Server(False, False, False, False)
    node.memory["server"] = (server, monotonic())
    return server


def forget_server(node: Node) -> None:
    """Have it asked anew: it does not do what it said."""
    node.memory.pop("server", None)


def title(command: Command) -> str:
    """How a command is called where rights are told: with its subcommand."""
    words = command[:2] if command[0] in _CONTAINERS else command[:1]
    return " ".join(str(word) for word in words)


def grant_of(node: Node, name: str) -> str:
    """The ACL line that allows a command, by its title."""
    return acl_line(node.url.username, (name,))


def is_refused(node: Node, name: str, monotonic: Monotonic = time.monotonic) -> bool:
    """Whether a command, by its title, was refused within the last day."""
    held = node.memory.get(f"missing {name}")
    return held is not None and monotonic() - held[1] < PROBE_AGAIN_S


def note_refusal(
    node: Node, name: str, error: redis.ResponseError, monotonic: Monotonic = time.monotonic
) -> bool:
    """Remember a refusal if it will last; whether it will."""
    is_lasting = is_denied(error, node) or re.search("unknown (sub)?command", str(error), re.IGNORECASE)
    if is_lasting:
        node.memory[f"missing {name}"] = (name, monotonic())
    return bool(is_lasting)


def is_denied(error: redis.ResponseError, node: Node) -> bool:
    """Whether a command was refused for want of rights."""
    return explain(error, node.id, node.url).cause is Cause.NOPERM


def refusal(node: Node, command: Command, error: redis.ResponseError) -> FleetError:
    """What a refusal of a command means, with the line that grants it where that helps."""
    problem = explain(error, node.id, node.url)
    if problem.cause is not Cause.NOPERM:
        return as_error(problem)
    advice = f"Grant it with: {grant_of(node, title(command))}"
    return as_error(type(problem)(problem.cause, problem.words, advice))
