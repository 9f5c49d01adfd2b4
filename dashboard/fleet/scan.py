"""Going through the keys of a node in bursts: one round trip each, short enough that nobody else on the server waits.

How large a burst may be is the caller's business; nothing here waits or repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from dashboard.fleet import replies
from dashboard.fleet.errors import FleetError, as_error, explain
from dashboard.fleet.registry import Command, Connection, Node
from dashboard.fleet.url import Kind

START: Final = 0
"""The cursor that begins a scan, and the one that says it is complete."""
WHOLE: Final = 1 << 64
"""The position behind the last key."""
_ALL: Final = WHOLE - 1
_MOST_MOVED: Final = 10
"""SCAN looks at so many times the buckets it was asked for, at most; and a server removes keys while it is scanned."""


@dataclass(frozen=True, slots=True)
class Burst:
    """What one round trip brought.

    Args:
        cursor: where to go on; START: the scan is complete. Up to 2**64 - 1.
        keys: those found; a key may come twice while the server's table is resized.
        replies: to the commands sent along; a ResponseError stands where one was refused.
        took_s: from the first byte sent to the last received.
    """

    cursor: int
    keys: list[bytes]
    replies: list[Any]
    took_s: float


@dataclass(frozen=True, slots=True)
class ServerState:
    """What matters about a server while one works on it; None: it does not say.

    Args:
        run_id: changes with each start of the server; empty where it does not say.
        role: "master" or "slave".
        keys: in the database of the cache's URL.
        used_memory: bytes.
        max_memory: bytes; 0: no limit.
        is_evicting: whether it makes room by itself when memory is full.
        lazyfree_pending: objects that wait to be freed in the background.
        lag_bytes: how far the slowest replica that is connected is behind; None without replicas.
    """

    run_id: str
    role: str
    keys: int
    used_memory: int | None
    max_memory: int
    is_evicting: bool
    lazyfree_pending: int
    lag_bytes: int | None


def scan(
    node: Node,
    cursor: int,
    *,
    count: int,
    match: bytes | None = None,
    type: str | None = None,
    along: Sequence[Command] = (),
) -> Burst:
    """Send commands and one SCAN behind them.

    Args:
        node: where.
        cursor: START, or the last burst's.
        count: about so many keys are looked at; in truth up to the end of a bucket, which is some more.
        match: a glob pattern.
        type: as TYPE says; before Redis 8 and Valkey 8 the server counts a lookup for each key it looks at.
        along: commands that go first.

    Raises:
        FleetError: the node can't be used, or refuses SCAN. Whether ``along`` was executed is then not known.
    """
    matching: Command = () if match is None or match == b"*" else ("MATCH", match)
    typed: Command = () if type is None else ("TYPE", type)
    return _burst(node, ("SCAN", str(cursor), *matching, "COUNT", count, *typed), along)


def position(cursor: int) -> int:
    """How much of a server's keys lies before a cursor, in 2**64ths: 0 at START.

    A cursor counts through the buckets of the table from its highest bit down, so that it stays right while the table
    is resized; turned round it is the share of the buckets that were gone through. Servers with a table for each slot
    (Redis 7.4 and Valkey 8 as a Cluster), and some proxies, number their cursors otherwise: theirs say nothing.
    """
    return int(f"{cursor & _ALL:064b}"[::-1], 2)


def looked_at(before: int, after: int, count: int, total: int) -> int:
    """How many keys a SCAN looked at. Pure.

    By how far its cursor moved, which adds up to ``total`` over a whole scan; by what was asked for where it moved as
    no table's does.

    Args:
        before: the cursor that was sent.
        after: the one that came back.
        count: keys that were asked for.
        total: keys on the node.
    """
    end = position(after) if after != START else WHOLE
    moved = end * total // WHOLE - position(before) * total // WHOLE
    is_likely = moved <= count * _MOST_MOVED and (moved * _MOST_MOVED >= count or end == WHOLE)
    return moved if is_likely else count


def scan_members(node: Node, key: bytes, cursor: int, *, count: int) -> Burst:
    """The same for the members of a sorted set; their scores are left out.

    Raises:
        FleetError: the node can't be used, refuses ZSCAN, or does not hold the key.
    """
    burst = _burst(node, ("ZSCAN", key, str(cursor), "COUNT", count), ())
    return Burst(burst.cursor, burst.keys[::2], burst.replies, burst.took_s)


def server_state(node: Node) -> ServerState:
    """Ask INFO.

    Raises:
        FleetError: the node can't be used, or refuses INFO.
    """
    return read_state(info(node), node.url.db)


def info(node: Node) -> bytes:
    """INFO as it comes.

    Raises:
        FleetError: the node can't be used, or refuses it.
    """
    (reply,), _ = node.run([("INFO",)])
    if isinstance(reply, redis.ResponseError):
        raise refusal(node, reply)
    if not isinstance(reply, bytes):
        raise _unreadable(node)
    return reply


def read_state(info: bytes, db: int) -> ServerState:
    """The state in a reply to INFO. Pure."""

    def number(name: bytes) -> int | None:
        text = replies.info_field(info, name)
        return int(text) if text is not None and text.isascii() and text.isdigit() else None

    keyspace = replies.info_field(info, b"db%d" % db) or ""
    keys = keyspace.partition("keys=")[2].partition(",")[0]
    offset = number(b"master_repl_offset")
    behind: list[int] = []
    for index in range(number(b"connected_slaves") or 0):
        replica = replies.info_field(info, b"slave%d" % index) or ""
        position = replica.partition("offset=")[2].partition(",")[0]
        # One that is still being sent its first copy has no offset worth the name.
        if offset is not None and position.isdigit() and "state=online" in replica:
            behind.append(max(0, offset - int(position)))
    return ServerState(
        run_id=replies.info_field(info, b"run_id") or "",
        role=replies.info_field(info, b"role") or "",
        keys=int(keys) if keys.isascii() and keys.isdigit() else 0,
        used_memory=number(b"used_memory"),
        max_memory=number(b"maxmemory") or 0,
        is_evicting=(replies.info_field(info, b"maxmemory_policy") or "noeviction") != "noeviction",
        lazyfree_pending=number(b"lazyfree_pending_objects") or 0,
        lag_bytes=max(behind, default=None),
    )


def ping(node: Node) -> float:
    """Seconds that a client waits for the least of answers at present.

    Raises:
        FleetError: the node can't be used.
    """
    _, took_s = node.run([("PING",)])
    return took_s


def shape(connection: Connection) -> str:
    """How the keys are spread over nodes, as one text: equal before and after means that nothing was moved meanwhile.

    Of a Cluster, slots that are being moved at present are in it as ``open``, and each node's configuration epoch,
    which rises with every change of owner. Anything else is its primary's address.

    Raises:
        FleetError: no node could be asked.
    """
    connection.refresh()
    topology = connection.topology()
    if connection.url.kind is not Kind.CLUSTER:
        return str(topology.primaries[0])
    lines = [f"{first}-{last}@{address}" for first, last, address in topology.slots]
    for node in sorted(connection.nodes(), key=lambda node: node.id):
        (reply,), _ = node.run([("CLUSTER", "NODES")])
        if isinstance(reply, bytes):
            # A node knows the open slots of itself alone.
            lines += sorted(_own_line(reply, node.id))
    return "\n".join(lines)


def has_open_slots(shape: str) -> bool:
    """Whether slots are being moved, as far as the nodes let us see."""
    return " open " in shape


def refusal(node: Node, error: redis.ResponseError) -> FleetError:
    """What a node's refusal of a command means."""
    return as_error(explain(error, node.id, node.url))


def _own_line(reply: bytes, node_id: str) -> list[str]:
    for line in reply.decode("utf-8", "replace").splitlines():
        words = line.split()
        if len(words) >= 8 and "myself" in words[2]:
            moving = [word for word in words[8:] if word.startswith("[")]
            return [f"{node_id} epoch {words[6]}" + (f" open {' '.join(moving)}" if moving else "")]
    return []


def _burst(node: Node, command: Command, along: Sequence[Command]) -> Burst:
    found, took_s = node.run([*along, command])
    reply = found.pop()
    if isinstance(reply, redis.ResponseError):
        raise refusal(node, reply)
    try:
        cursor, keys = reply
        number = int(cursor)
    except (TypeError, ValueError):
        raise _unreadable(node) from None
    if not isinstance(keys, list) or number < 0:
        raise _unreadable(node)
    return Burst(number, keys, found, took_s)


def _unreadable(node: Node) -> FleetError:
    return as_error(explain(redis.exceptions.InvalidResponse("scan"), node.id, node.url))
