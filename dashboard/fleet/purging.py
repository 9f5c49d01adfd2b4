"""Commands about many keys, each sent to the node that has the key, and what their refusals mean.

Every command here names one key first (or several, where the cache is no Cluster), and a Cluster may move that key
while we speak: ``finish`` follows it. Scripts are called by their digest and sent in full where a server does not know
them yet.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import redis
from redis.crc import key_slot

from dashboard.caching.wire import Script
from dashboard.fleet.errors import as_error, explain, quoted
from dashboard.fleet.registry import Command, Connection, Node
from dashboard.fleet.topology import SLOTS
from dashboard.fleet.url import Kind

MOST_HOPS: Final = 5
"""A key is followed from node to node so many times."""


class Trouble(Enum):
    """What a refused command calls for."""

    WAIT = "wait"
    """The server can't do it now: it is loading, read-only, out of memory, handing the key over …"""
    DENIED = "denied"
    """This user may not, or this server can't."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A command that was not executed.

    Args:
        trouble: what it calls for.
        words: what is wrong, in one sentence.
        advice: the way out, in one sentence.
    """

    trouble: Trouble
    words: str
    advice: str


_WAITS: Final[Mapping[str, tuple[str, str]]] = {
    "READONLY": (
        "is a replica at present and takes no writes",
        "After a failover the new primary is found by itself.",
    ),
    "OOM": ("is out of memory and takes no writes", "It goes on once there is room; see maxmemory."),
    "LOADING": ("is reading its data from disk", "It goes on once it has loaded."),
    "MISCONF": (
        "takes no writes because its last snapshot failed (stop-writes-on-bgsave-error)",
        "Look at the server's log and its disk.",
    ),
    "NOREPLICAS": (
        "takes no writes without enough replicas (min-replicas-to-write)",
        "Bring its replicas back.",
    ),
    "BUSY": (
        "is running a script or function that does not end",
        "SCRIPT KILL ends one that has not written yet.",
    ),
    "CLUSTERDOWN": ("has lost its cluster", "Look at its log."),
    "MASTERDOWN": ("has lost its primary", "Look at its log."),
    "TRYAGAIN": ("is handing keys over to another node", "It goes on once that is done."),
    "MOVED": ("does not have that key any more", "It goes on once the Cluster's nodes agree."),
    "ASK": ("is handing that key over to another node", "It goes on once that is done."),
}


def judge(error: Exception, node: Node, grant: Callable[[str | None], str]) -> Refusal:
    """What a refusal means.

    Args:
        error: the server's answer, a ResponseError.
        node: who answered.
        grant: makes the ACL SETUSER line that would allow what was asked, for a user's name.
    """
    text = str(error)
    status = str(getattr(error, "status_code", None) or text.partition(" ")[0])
    for name, (words, advice) in _WAITS.items():
        # Before Redis 7 the error of a script begins with the place in it.
        if status == name or f" -{name} " in f" {text}":
            return Refusal(Trouble.WAIT, f"{name}: {node.id} {words}.", advice)
    problem = explain(error, node.id, node.url)
    if problem.words.startswith("NOPERM"):
        return Refusal(Trouble.DENIED, problem.words, f"Grant it with: {grant(node.url.username)}")
    if "unknown command" in text.lower():
        words = f"{node.id} does not offer a command that is needed: {quoted(text, node.url)}."
        return Refusal(Trouble.DENIED, words, "It was renamed or switched off on the server.")
    return Refusal(Trouble.DENIED, problem.words, problem.advice)


class Router:
    """Knows which node has a key, as far as was looked up."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.is_cluster = connection.url.kind is Kind.CLUSTER
        self._topology: object = None
        self._owners: list[str] = []

    def split(self, keys: Iterable[bytes]) -> list[tuple[Node, list[bytes]]]:
        """The keys by node.

        Raises:
            FleetError: no node is known, or a key's slot has none.
        """
        nodes = self.connection.nodes()
        if not self.is_cluster:
            return [(nodes[0], list(keys))]
        topology = self.connection.topology()
        if topology is not self._topology:
            owners = [""] * SLOTS
            for first, last, address in topology.slots:
                owners[first : last + 1] = [str(address)] * (last + 1 - first)
            self._owners, self._topology = owners, topology
        by_id = {node.id: node for node in nodes}
        found: dict[str, list[bytes]] = {}
        for key in keys:
            found.setdefault(self._owners[key_slot(key)], []).append(key)
        if not found.keys() <= by_id.keys():
            self.connection.refresh()
            lost = redis.exceptions.ClusterDownError("Hash slot not served", status_code="CLUSTERDOWN")
            raise as_error(explain(lost, self.connection.url.masked, self.connection.url))
        return [(by_id[name], listed) for name, listed in found.items()]


def run_script(script: Script, key: bytes, *arguments: bytes | int) -> Command:
    """The command that calls a script for one key."""
    return ("EVALSHA", script.digest, 1, key, *arguments)


def finish(
    connection: Connection,
    node: Node,
    commands: Sequence[Command],
    replies: list[Any],
    scripts: Iterable[Script] = (),
) -> list[Any]:
    """Repeat what was refused because a script is not known or a key is elsewhere.

    Args:
        connection: the cache.
        node: where the commands were sent.
        commands: in order.
        replies: to them; changed in place.
        scripts: those that the commands call.

    Returns:
        the replies; a ResponseError stands where a command is refused for another reason, or nobody has the key.

    Raises:
        FleetError: a node can't be used. Which commands were executed is then not known.
    """
    refused = [index for index, reply in enumerate(replies) if isinstance(reply, redis.ResponseError)]
    if not refused:
        return replies
    sources = {script.digest: script.source for script in scripts}
    unknown = [index for index in refused if _is_unknown_script(replies[index])]
    if unknown:
        again, _ = node.run([_in_full(commands[index], sources) for index in unknown])
        for index, reply in zip(unknown, again, strict=True):
            replies[index] = reply
    asked = dict.fromkeys(refused, node)
    for _ in range(MOST_HOPS):
        elsewhere = [index for index in asked if isinstance(replies[index], redis.exceptions.AskError)]
        if not elsewhere:
            break
        if any(isinstance(replies[index], redis.exceptions.MovedError) for index in elsewhere):
            # Once for all of them: a failover moves every key of a burst.
            connection.refresh()
        asked = _follow(connection, {index: asked[index] for index in elsewhere}, commands, replies, sources)
    return replies


def _follow(
    connection: Connection,
    asked: Mapping[int, Node],
    commands: Sequence[Command],
    replies: list[Any],
    sources: Mapping[bytes, bytes],
) -> dict[int, Node]:
    """Send commands to where the answers point, one exchange for each node; who was asked what."""
    nodes = {node.id: node for node in connection.nodes()}
    ways: dict[str, list[int]] = {}
    for index, node in asked.items():
        # No host means "the one you asked".
        ways.setdefault(
            f"{replies[index].host or node.id.rpartition(':')[0]}:{replies[index].port}", []
        ).append(index)
    followed: dict[int, Node] = {}
    for target, indexes in ways.items():
        other = nodes.get(target)
        if other is None:
            continue
        sent: list[Command] = []
        places: list[int] = []
        for index in indexes:
            if not isinstance(replies[index], redis.exceptions.MovedError):
                sent.append(("ASKING",))
            places.append(len(sent))
            sent.append(_in_full(commands[index], sources))
        answers, _ = other.run(sent)
        for index, place in zip(indexes, places, strict=True):
            replies[index] = answers[place]
            followed[index] = other
    return followed


def _in_full(command: Command, sources: Mapping[bytes, bytes]) -> Command:
    if command[0] != "EVALSHA":
        return command
    digest = command[1]
    assert isinstance(digest, bytes)
    return ("EVAL", sources[digest], *command[2:])


def _is_unknown_script(reply: Any) -> bool:
    return isinstance(reply, redis.exceptions.NoScriptError)
