"""What a list of keys shows of each: type, TTL, memory, idle time. Looked up in bursts, never by reading a value."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from dashboard.fleet.abilities import (
    forget_server,
    grant_of,
    is_refused,
    note_refusal,
    refusal,
    server_of,
    title,
)
from dashboard.fleet.purging import Router, finish
from dashboard.fleet.registry import Command, Connection, Node
from dashboard.fleet.text import display
from dashboard.fleet.values import Lookups

BURST: Final = 500
"""Keys whose type and TTL are asked for at once."""
_LONGEST_TYPE: Final = 64


@dataclass(frozen=True, slots=True)
class Listed:
    """A key, its type, and its remaining TTL in ms (None: it does not expire)."""

    key: bytes
    type: str
    ttl_ms: int | None


@dataclass(frozen=True, slots=True)
class Weighed:
    """What more is known of it; None: the server does not say."""

    size_bytes: int | None
    idle_s: int | None


class Lister:
    """Looks at many keys of a cache."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.lookups = Lookups()
        self.missing: dict[str, str] = {}
        """Commands that this user may not run, and the ACL line that would allow them."""
        self._router = Router(connection)

    def find(self, key: bytes) -> Listed | None:
        """One key, wherever it is; None: it is not there.

        Raises:
            FleetError: the cache can't be used, or refuses TYPE or PTTL.
        """
        ((node, keys),) = self._router.split([key])
        return next(iter(self.look(node, keys)), None)

    def look(
        self,
        node: Node,
        keys: Iterable[bytes],
        *,
        type: str | None = None,
        fits: Callable[[int | None], bool] | None = None,
    ) -> list[Listed]:
        """Types and TTLs, in order; keys that are gone are left out.

        Args:
            type: only keys of this type.
            fits: whether a key with this TTL (ms, None: it does not expire) is wanted.

        Raises:
            FleetError: the node can't be used, or refuses TYPE or PTTL.
        """
        wanted = list(keys)
        found = []
        for start in range(0, len(wanted), BURST):
            found += self._look(node, wanted[start : start + BURST], type, fits)
        return found

    def weigh(self, keys: Sequence[bytes]) -> list[Weighed]:
        """Memory and idle times, in order, wherever the keys are.

        Raises:
            FleetError: a node can't be used.
        """
        weighed: dict[bytes, Weighed] = {}
        for node, listed in self._router.split(keys):
            weighed.update(zip(listed, self._weigh(node, listed), strict=True))
        return [weighed[key] for key in keys]

    def _look(
        self,
        node: Node,
        keys: Sequence[bytes],
        type: str | None,
        fits: Callable[[int | None], bool] | None,
    ) -> list[Listed]:
        # What most keys are sorted out by is asked for first, and the rest of the others alone.
        if type is not None:
            types = {key: name for key, name in self._types(node, keys).items() if name == type}
            ttls = self._ttls(node, list(types))
        elif fits is not None:
            ttls = {key: left for key, left in self._ttls(node, keys).items() if fits(left)}
            types = self._types(node, list(ttls))
        else:
            types, ttls = self._types(node, keys), self._ttls(node, keys)
        return [
            Listed(key, types[key], ttls[key])
            for key in keys
            if key in types and key in ttls and (fits is None or fits(ttls[key]))
        ]

    def _types(self, node: Node, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The types of the keys that are there."""
        found = {}
        for key, reply in zip(keys, self._ask(node, "TYPE", keys), strict=True):
            self.lookups.add(1, is_there=reply != b"none")
            if isinstance(reply, bytes) and reply != b"none":
                found[key] = display(reply, _LONGEST_TYPE)
        return found

    def _ttls(self, node: Node, keys: Sequence[bytes]) -> dict[bytes, int | None]:
        """What is left of their TTLs, of the keys that are there."""
        found: dict[bytes, int | None] = {}
        for key, reply in zip(keys, self._ask(node, "PTTL", keys), strict=True):
            self.lookups.add(1, is_there=reply != -2)
            if isinstance(reply, int) and reply != -2:
                found[key] = reply if reply >= 0 else None
        return found

    def _ask(self, node: Node, name: str, keys: Sequence[bytes]) -> list[Any]:
        commands: list[Command] = [(name, key) for key in keys]
        answers = self._run(node, commands) if commands else []
        for command, answer in zip(commands, answers, strict=True):
            if isinstance(answer, redis.ResponseError):
                raise refusal(node, command, answer)
        return answers

    def _weigh(self, node: Node, keys: Sequence[bytes]) -> list[Weighed]:
        kinds = (
            [("MEMORY", "USAGE")] if server_of(node).is_lfu else [("MEMORY", "USAGE"), ("OBJECT", "IDLETIME")]
        )
        asked = [kind for kind in kinds if not self._is_refused(node, kind)]
        commands: list[Command] = [(*kind, key) for key in keys for kind in asked]
        answers = self._run(node, commands) if commands else []
        replies = iter(zip(commands, answers, strict=True))
        found = []
        for _ in keys:
            said: dict[str, int | None] = {}
            for kind in asked:
                said[kind[0]] = self._number(node, *next(replies))
            found.append(Weighed(said.get("MEMORY"), said.get("OBJECT")))
        return found

    def _number(self, node: Node, command: Command, answer: Any) -> int | None:
        """A reply that is a number; it is counted, and a refusal remembered."""
        if isinstance(answer, redis.ResponseError):
            if note_refusal(node, title(command), answer):
                self.missing[title(command)] = grant_of(node, title(command))
            elif command[0] == "OBJECT":
                # Answered, though not as hoped: the eviction policy is another since a moment ago.
                self.lookups.add(1, is_there="no such key" not in str(answer))
                forget_server(node)
            return None
        if command[0] == "OBJECT":
            self.lookups.add(1, is_there=answer is not None)
        return answer if isinstance(answer, int) else None

    def _is_refused(self, node: Node, kind: tuple[str, str]) -> bool:
        name = " ".join(kind)
        if not is_refused(node, name):
            return False
        self.missing[name] = grant_of(node, name)
        return True

    def _run(self, node: Node, commands: Sequence[Command]) -> list[Any]:
        answers, _ = node.run(commands)
        return finish(self.connection, node, commands, answers)
