"""What is to be known about single keys, for filters and for the sample of a preview.

Whether a key exists is asked with MEMORY USAGE: it is no lookup that the server counts as a hit or a miss, does not
count as use of the key, and tells the size as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.fleet.permissions import acl_line
from dashboard.fleet.purging import Trouble, finish, judge
from dashboard.fleet.registry import Command, Connection, Node
from dashboard.fleet.text import display
from dashboard.invalidation.signals import Control, Failed, NotNow
from dashboard.invalidation.types import Filters

LOOKUP_S: Final = 0.000002
"""What one of these commands costs a server, about."""
SLOW_S: Final = 0.0001


@dataclass(frozen=True, slots=True)
class Wants:
    """Which facts are asked for."""

    size: bool = False
    type: bool = False
    ttl: bool = False
    idle: bool = False

    @classmethod
    def of(cls, filters: Filters) -> "Wants":
        """What filters need; the size at least, when nothing else tells whether the key exists."""
        found = cls(
            size=filters.size_min_bytes is not None or filters.size_max_bytes is not None,
            type=filters.type is not None,
            ttl=filters.without_ttl
            or filters.ttl_min_s is not None
            or filters.ttl_max_s is not None
            or filters.has_ends,
            idle=filters.idle_min_s is not None,
        )
        return found if found.number else cls(size=True)

    @property
    def number(self) -> int:
        """How many commands that is for each key."""
        return self.size + self.type + self.ttl + self.idle


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says about a key that exists; None: not asked.

    Args:
        ttl_ms: -1: it has none.
    """

    size_bytes: int | None = None
    type: str | None = None
    ttl_ms: int | None = None
    idle_s: int | None = None


def passes(facts: Facts, filters: Filters, now: float) -> bool:
    """Whether a key is among those that the filters leave.

    Args:
        now: epoch seconds when it was asked.
    """
    if filters.type is not None and facts.type != filters.type:
        return False
    if facts.ttl_ms is not None:
        if filters.without_ttl and facts.ttl_ms != -1:
            return False
        # A key without a TTL lives for ever.
        left_s = float("inf") if facts.ttl_ms == -1 else facts.ttl_ms / 1000
        if filters.ttl_min_s is not None and left_s < filters.ttl_min_s:
            return False
        if filters.ttl_max_s is not None and left_s > filters.ttl_max_s:
            return False
        if filters.ends_from is not None and now + left_s < filters.ends_from:
            return False
        if filters.ends_until is not None and now + left_s > filters.ends_until:
            return False
    if filters.idle_min_s is not None and (facts.idle_s or 0) < filters.idle_min_s:
        return False
    size = facts.size_bytes or 0
    if filters.size_min_bytes is not None and size < filters.size_min_bytes:
        return False
    return filters.size_max_bytes is None or size <= filters.size_max_bytes


def learn(
    connection: Connection, node: Node, keys: Sequence[bytes], wants: Wants, control: Control
) -> tuple[list[Facts | None], float]:
    """Ask about keys in one round trip.

    Args:
        node: where they are.
        keys: a burst's.
        control: told of lookups that count.

    Returns:
        (facts, None for a key that does not exist; seconds that the server was busy with it).

    Raises:
        FleetError: the node can't be used.
        NotNow: the server can't answer at present.
        Failed: a command is forbidden, or OBJECT IDLETIME is not kept under this server's eviction policy.
    """
    commands: list[Command] = []
    for key in keys:
        # All but the first count as hits; the first tells whether there is anything.
        if wants.size:
            commands.append(("MEMORY", "USAGE", key))
        if wants.type:
            commands.append(("TYPE", key))
        if wants.ttl:
            commands.append(("PTTL", key))
        if wants.idle:
            commands.append(("OBJECT", "IDLETIME", key))
    replies, took_s = node.run(commands)
    replies = finish(connection, node, commands, replies)
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, Exception):
            _refused(command, reply, node)
    width = wants.number
    found = [_read(replies[place * width : (place + 1) * width], wants) for place in range(len(keys))]
    counted = width - wants.size
    existing = sum(facts is not None for facts in found)
    control.looked_up(existing * counted, (len(keys) - existing) * counted)
    return found, busy_s(took_s, len(commands))


def busy_s(took_s: float, commands: int) -> float:
    """Of a round trip of lookups, the seconds that the server had to do with it.

    Most of it is the time this process takes to write the commands and to read the answers, while the server serves
    others. Only what takes far longer than that is the server's own: a module's type that measures itself, say.
    """
    return took_s if took_s > SLOW_S * commands else min(took_s, LOOKUP_S * commands)


def _read(replies: Sequence[Any], wants: Wants) -> Facts | None:
    answers = iter(replies)
    size = next(answers) if wants.size else None
    type_ = next(answers) if wants.type else None
    ttl_ms = next(answers) if wants.ttl else None
    idle_s = next(answers) if wants.idle else None
    # It may be gone between any two of the answers.
    gone = (
        (wants.size and not isinstance(size, int))
        or (wants.type and type_ in (None, b"none"))
        or (wants.ttl and (not isinstance(ttl_ms, int) or ttl_ms == -2))
        or (wants.idle and not isinstance(idle_s, int))
    )
    if gone:
        return None
    return Facts(size, display(type_, 64) if isinstance(type_, bytes) else None, ttl_ms, idle_s)


def _refused(command: Command, error: Exception, node: Node) -> None:
    if "LFU" in str(error):
        raise Failed(
            f"{node.id} keeps how often keys are used, not when: it evicts by LFU, so idle time is not known.",
            what_to_do="Leave the filter by idle time out.",
        )
    name = " ".join(
        str(word) for word in (command[:2] if command[0] in ("MEMORY", "OBJECT") else command[:1])
    )
    refusal = judge(error, node, lambda user: acl_line(user, (name,)))
    if refusal.trouble is Trouble.WAIT:
        raise NotNow(refusal.words, what_to_do=refusal.advice)
    raise Failed(refusal.words, what_to_do=refusal.advice)
