"""Reading one key: what it is, and its value in windows. Nothing is read before its size was asked for.

Reading must not make a key look used: ``CLIENT NO-TOUCH`` stands around every exchange where the server has it (Redis
7.2, Valkey). What counts as a lookup all the same (TYPE, PTTL, OBJECT and all that read values do) is counted along, to
be taken off the hit ratio.

A member of a collection can't be cut on the server: whoever reads one has it whole. So windows over collections that
are large, or that can't be measured at once, are read in steps that grow as long as the members are small.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import redis

from dashboard.fleet.abilities import (
    Monotonic,
    Server,
    forget_server,
    grant_of,
    is_refused,
    note_refusal,
    refusal,
    server_of,
    title,
)
from dashboard.fleet.errors import Cause, FleetError, Problem, as_error, explain
from dashboard.fleet.purging import Router, finish
from dashboard.fleet.registry import Command, Connection, Node
from dashboard.fleet.text import display

MOST_AT_ONCE: Final = 8 * 1024 * 1024
"""Bytes of members that one exchange may bring, as far as that can be known before."""
MOST_SHOWN: Final = 1024 * 1024
"""After so many bytes of members a window is full."""
MOST_MEASURED: Final = 20_000
"""Members whose memory is added up one by one; of a larger collection it is estimated."""
MOST_GROUPS: Final = 100
"""Of a stream's groups that are shown, and the bytes that the whole list of more may not take: it can't be cut."""
_STEPS: Final = (1, 9, 90, 900)
_COMPACT: Final = frozenset({"listpack", "ziplist", "intset", "zipmap", "listpackex"})
"""Encodings of one piece: the server knows their size exactly, and scans give all of it at once."""
_LENGTHS: Final = {
    "string": "STRLEN",
    "hash": "HLEN",
    "list": "LLEN",
    "set": "SCARD",
    "zset": "ZCARD",
    "stream": "XLEN",
}
TYPES: Final = tuple(_LENGTHS)
"""Types whose values can be read."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says about a key without reading its value; None: it does not say.

    Args:
        type: as TYPE says.
        ttl_ms: remaining; None: it does not expire.
        size_bytes: memory; an estimate for large collections.
        idle_s: seconds since it was last used; under LFU None.
        frequency: the LFU counter; under LRU None.
    """

    type: str
    ttl_ms: int | None
    encoding: str | None
    idle_s: int | None
    frequency: int | None
    references: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a collection, whole."""

    address: bytes
    value: bytes = b""
    score: str = ""
    fields: tuple[tuple[bytes, bytes], ...] = ()
    ttl_ms: int | None = None

    @property
    def size(self) -> int:
        """Bytes it took to read."""
        return (
            len(self.address) + len(self.value) + sum(len(name) + len(value) for name, value in self.fields)
        )


@dataclass(frozen=True, slots=True)
class Part:
    """A window over a collection.

    Args:
        type: as it was when it was read.
        length: members of the whole.
        next: where the next part begins; "": this was the last.
        problem: why there is less than there could be; empty.
    """

    type: str
    length: int
    members: tuple[Member, ...] = ()
    next: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A part of a string, and its whole length in bytes."""

    length: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Groups:
    """A stream's groups: what XINFO says of each, as text. ``total`` None: the server would not say."""

    total: int | None
    groups: tuple[Mapping[str, str], ...] = ()


@dataclass(slots=True)
class Lookups:
    """Lookups of ours that a server counted."""

    hits: int = 0
    misses: int = 0

    def add(self, number: int, *, is_there: bool) -> None:
        """Count ``number`` lookups of a key."""
        if is_there:
            self.hits += number
        else:
            self.misses += number


class TypeChanged(Exception):
    """The key holds another type than a moment before; look again."""


class Gone(Exception):
    """The key is not there any more."""


class KeyReader:
    """Reads one key.

    Args:
        connection: the cache.
        key: which.
        monotonic: seconds.
    """

    def __init__(self, connection: Connection, key: bytes, *, monotonic: Monotonic = time.monotonic) -> None:
        self.connection = connection
        self.key = key
        self.lookups = Lookups()
        self.missing: dict[str, str] = {}
        """Commands that this user may not run, and the ACL line that would allow them."""
        self._router = Router(connection)
        self._monotonic = monotonic

    @property
    def hides(self) -> bool:
        """Whether reading the value leaves no trace in its idle time.

        Raises:
            FleetError: the node can't be used.
        """
        return self._hides(self._node())

    @property
    def server(self) -> Server:
        """The server that has the key.

        Raises:
            FleetError: the node can't be used.
        """
        return server_of(self._node(), self._monotonic)

    def facts(self) -> Facts | None:
        """What the server says about the key; None: it is not there.

        Raises:
            FleetError: the node can't be used, or refuses TYPE or PTTL.
        """
        uses: Command = ("OBJECT", "FREQ" if self.server.is_lfu else "IDLETIME", self.key)
        type_, ttl, encoding, used, references, size = self._ask(
            ("TYPE", self.key),
            ("PTTL", self.key),
            ("OBJECT", "ENCODING", self.key),
            uses,
            ("OBJECT", "REFCOUNT", self.key),
            ("MEMORY", "USAGE", self.key),
            optional=frozenset(range(2, 6)),
        )
        if type_ == b"none":
            return None
        left = ttl if isinstance(ttl, int) else -1
        if left == -2:
            return None
        number = used if isinstance(used, int) else None
        return Facts(
            type=_text(type_),
            ttl_ms=left if left >= 0 else None,
            encoding=_text(encoding) if isinstance(encoding, bytes) else None,
            idle_s=None if uses[1] == "FREQ" else number,
            frequency=number if uses[1] == "FREQ" else None,
            references=references if isinstance(references, int) else None,
            size_bytes=size if isinstance(size, int) else None,
        )

    def length(self, type: str) -> int:
        """Bytes of a string, members of a collection.

        Raises:
            Gone, TypeChanged: look again.
            FleetError: the node can't be used, or refuses the command.
        """
        (length,) = self._ask_typed(type, (_LENGTHS[type], self.key))
        return self._number(length)

    def text(self, start: int, count: int) -> Text:
        """Bytes of a string.

        Args:
            start: offset; behind the end there is nothing.
            count: bytes, at most.

        Raises:
            Gone, TypeChanged: look again.
            FleetError: the node can't be used, or refuses a command.
        """
        length, data = self._ask_typed(
            "string", ("STRLEN", self.key), ("GETRANGE", self.key, start, start + count - 1)
        )
        return Text(self._number(length), data if isinstance(data, bytes) else b"")

    def part(self, facts: Facts, place: str, count: int) -> Part:
        """Members of a collection.

        Args:
            facts: of the key, as read a moment ago.
            place: "" for the beginning, or what the part before said; of lists and sorted sets an index.
            count: members, about.

        Raises:
            Gone, TypeChanged: look again.
            ValueError: the place is none.
            FleetError: the node can't be used, or refuses a command.
        """
        length = self.length(facts.type)
        return _Window(self, facts, length, place).read(count)

    def groups(self) -> Groups:
        """A stream's groups.

        Raises:
            Gone, TypeChanged: look again.
            FleetError: the node can't be used.
        """
        (reply,) = self._ask_typed("stream", ("XINFO", "STREAM", self.key), optional=frozenset({0}))
        total = _pairs(reply).get("groups")
        if not isinstance(total, int):
            return Groups(None)
        if not 0 < total <= MOST_GROUPS:
            return Groups(total)
        (reply,) = self._ask_typed("stream", ("XINFO", "GROUPS", self.key), optional=frozenset({0}))
        if not isinstance(reply, list):
            return Groups(None)
        return Groups(
            total, tuple({name: _text(value) for name, value in _pairs(each).items()} for each in reply)
        )

    def member(self, type: str, address: bytes) -> Member | None:
        """One member, whole; None: there is none.

        Args:
            address: field's name, index in digits, member, entry id.

        Raises:
            Gone, TypeChanged: look again.
            ValueError: a list has no such index, or a stream no such id: they are no numbers.
            FleetError: the node can't be used, or refuses a command; cause TOO_LARGE: it can't be read.
        """
        if type == "hash":
            size, value = self._sized(address)
            if size > MOST_AT_ONCE:
                raise _too_large(size)
            return (
                None
                if value is None
                else Member(address, value, ttl_ms=self._field_ttls([address]).get(address))
            )
        if type == "list":
            (value,) = self._ask_typed("list", ("LINDEX", self.key, _index(address)))
            return Member(address, value) if isinstance(value, bytes) else None
        if type == "set":
            (value,) = self._ask_typed("set", ("SISMEMBER", self.key, address))
            return Member(address) if value == 1 else None
        if type == "zset":
            (value,) = self._ask_typed("zset", ("ZSCORE", self.key, address))
            return Member(address, score=_text(value)) if value is not None else None
        if _ENTRY_ID.fullmatch(address) is None:
            raise ValueError(address)
        (value,) = self._ask_typed("stream", ("XRANGE", self.key, address, address, "COUNT", 1))
        found = list(_entries(value))
        return found[0] if found else None

    # --- below: exchanges -------------------------------------------------------------------------------------

    def _sized(self, name: bytes) -> tuple[int, bytes | None]:
        """A hash field's size, and its value where that is not too large."""
        (size,) = self._ask_typed("hash", ("HSTRLEN", self.key, name))
        length = self._number(size)
        if length > MOST_AT_ONCE:
            return length, None
        (value,) = self._ask_typed("hash", ("HGET", self.key, name))
        return length, value if isinstance(value, bytes) else None

    def _field_ttls(self, names: Sequence[bytes]) -> dict[bytes, int]:
        """What is left of the TTLs of hash fields, ms; only of those that have one."""
        if not names or not self.server.has_field_ttls:
            return {}
        command: Command = ("HPTTL", self.key, "FIELDS", len(names), *names)
        (left,) = self._ask_typed("hash", command, optional=frozenset({0}))
        if not isinstance(left, list) or len(left) != len(names):
            return {}
        return {name: ms for name, ms in zip(names, left, strict=True) if isinstance(ms, int) and ms >= 0}

    def _ask_typed(self, type: str, *commands: Command, optional: frozenset[int] = frozenset()) -> list[Any]:
        """Ask about a key of a known type, with its type in front: a change is noticed, and so is its end."""
        shifted = frozenset(index + 1 for index in optional)
        found, *answers = self._ask(("TYPE", self.key), *commands, optional=shifted)
        if found == b"none":
            raise Gone
        if _text(found) != type or any(_is_wrong_type(answer) for answer in answers):
            raise TypeChanged
        return answers

    def _ask(self, *commands: Command, optional: frozenset[int] = frozenset()) -> list[Any]:
        """Run commands about the key where it is, unseen.

        Args:
            commands: the first of them is TYPE.
            optional: indexes of those that may be refused: None stands for their reply, and they are not asked again.

        Raises:
            FleetError: the node can't be used, or refuses what is needed.
        """
        node = self._node()
        asked = [
            index
            for index, command in enumerate(commands)
            if index not in optional or not self._is_refused(node, title(command))
        ]
        sent = [commands[index] for index in asked]
        hides = self._hides(node)
        around: list[Command] = [_HIDE, *sent, _SHOW] if hides else sent
        answers, _ = node.run(around)
        answers = finish(self.connection, node, around, answers)
        if hides:
            if isinstance(answers[0], redis.ResponseError):
                self._set_aside(node, _HIDE, answers[0])
            answers = answers[1:-1]
        is_there = answers[0] != b"none"
        found: list[Any] = [None] * len(commands)
        for index, command, answer in zip(asked, sent, answers, strict=True):
            if isinstance(answer, redis.ResponseError) and not _is_wrong_type(answer):
                if index in optional:
                    self._set_aside(node, command, answer)
                    continue
                if "no such key" in str(answer):
                    self.lookups.add(1, is_there=False)
                    raise Gone
                raise refusal(node, command, answer)
            if command[0] != "MEMORY":
                self.lookups.add(1, is_there=is_there)
            found[index] = answer
        return found

    def _set_aside(self, node: Node, command: Command, error: redis.ResponseError) -> None:
        """Note why an optional command was refused."""
        if note_refusal(node, title(command), error, self._monotonic):
            self.missing[title(command)] = grant_of(node, title(command))
        elif "no such key" in str(error):
            self.lookups.add(1, is_there=False)
        elif command[0] == "OBJECT":
            # The eviction policy was changed a moment ago: IDLETIME and FREQ are refused by turns.
            self.lookups.add(1, is_there=True)
            forget_server(node)

    def _is_refused(self, node: Node, name: str) -> bool:
        if not is_refused(node, name, self._monotonic):
            return False
        self.missing[name] = grant_of(node, name)
        return True

    def _hides(self, node: Node) -> bool:
        return server_of(node, self._monotonic).has_no_touch and not self._is_refused(node, _NO_TOUCH)

    def _node(self) -> Node:
        ((node, _),) = self._router.split([self.key])
        return node

    def _number(self, reply: Any) -> int:
        if isinstance(reply, int):
            return reply
        node = self._node()
        raise as_error(explain(redis.exceptions.InvalidResponse("length"), node.id, node.url))


_NO_TOUCH: Final = "CLIENT NO-TOUCH"
_HIDE: Final = ("CLIENT", "NO-TOUCH", "ON")
_SHOW: Final = ("CLIENT", "NO-TOUCH", "OFF")
_ENTRY_ID: Final = re.compile(rb"\d{1,20}(-\d{1,20})?")
_PLACE: Final = re.compile(r"(\d{1,20})(?:\+(\d{1,9}))?")


_MOST_EMPTY: Final = 20
"""Scans in a row that may bring nothing: what was deleted leaves empty buckets."""
_MOST_DOUBLINGS: Final = 10
_PLAIN: Final = frozenset({"listpack", "ziplist", "zipmap"})
"""Encodings of hashes without TTLs of fields."""
_LONGEST_TEXT: Final = 256


class _Window:
    """Reads one window over a collection, in steps where that is wiser.

    Args:
        length: of the whole.
        place: where it begins.

    Raises:
        ValueError: the place is none.
    """

    def __init__(self, reader: KeyReader, facts: Facts, length: int, place: str) -> None:
        self._reader = reader
        self._facts = facts
        self._length = length
        self._place = place
        self._fetch: Callable[[int], list[Member]] = {
            "hash": self._scan,
            "set": self._scan,
            "list": self._range,
            "zset": self._range,
            "stream": self._entries,
        }[facts.type]
        if facts.type in ("list", "zset"):
            if place and re.fullmatch(r"\d{1,18}", place) is None:
                raise ValueError(place)
            self._index = int(place or 0)
        elif facts.type == "stream":
            if place and _ENTRY_ID.fullmatch(place.encode()) is None:
                raise ValueError(place)
        else:
            found = _PLACE.fullmatch(place or "0")
            if found is None or int(found[1]) >= 1 << 64:
                raise ValueError(place)
            self._cursor, self._skip = found[1], int(found[2] or 0)
        self._is_over = False
        self._count = 0

    def read(self, count: int) -> Part:
        """See KeyReader.part."""
        self._count = count
        total = self._measured()
        is_safe = total is not None and total <= MOST_AT_ONCE
        if not is_safe and (problem := self._hopeless(total)):
            return self._part((), problem)
        members: list[Member] = []
        taken = largest = empty = 0
        steps = iter((count,) if is_safe else _STEPS)
        while len(members) < count and taken < MOST_SHOWN and not self._is_over and empty < _MOST_EMPTY:
            step = min(next(steps, count), count - len(members))
            if not is_safe and largest:
                step = max(1, min(step, MOST_AT_ONCE // largest))
            try:
                found = self._fetch(step << min(empty, _MOST_DOUBLINGS))
            except FleetError as error:
                if error.problem.cause is not Cause.TOO_LARGE:
                    raise
                return self._part(members, self._too_large(is_first=not members))
            empty = 0 if found else empty + 1
            members += found
            taken += sum(member.size for member in found)
            largest = max([largest, *(member.size for member in found)])
        return self._part(self._with_ttls(members))

    def _hopeless(self, total: int | None) -> str:
        """Why members that may be large are not even tried; empty: they are."""
        size = self._facts.size_bytes if total is None else total
        if size is None:
            return ""
        if self._facts.type in ("hash", "set") and self._facts.encoding in _COMPACT:
            return f"It is stored in one piece, and all of its {size:,} bytes can't be read at once."
        mean = size // max(1, self._length)
        return (
            f"Its members have about {mean:,} bytes each; that is too large." if mean > MOST_AT_ONCE else ""
        )

    def _part(self, members: Sequence[Member], problem: str = "") -> Part:
        place = "" if self._is_over else self._place
        return Part(self._facts.type, self._length, tuple(members), place, problem)

    def _measured(self) -> int | None:
        """Bytes of the whole, where they are known; at most so many can come."""
        if self._facts.encoding in _COMPACT:
            return self._facts.size_bytes
        if self._length > MOST_MEASURED:
            return None
        command: Command = ("MEMORY", "USAGE", self._reader.key, "SAMPLES", 0)
        (size,) = self._reader._ask_typed(self._facts.type, command, optional=frozenset({0}))
        return size if isinstance(size, int) else None

    def _with_ttls(self, members: list[Member]) -> list[Member]:
        if self._facts.type != "hash" or self._facts.encoding in _PLAIN:
            return members
        left = self._reader._field_ttls([member.address for member in members])
        return [replace(member, ttl_ms=left.get(member.address)) for member in members] if left else members

    def _too_large(self, *, is_first: bool) -> str:
        """What to say of a member that can't be read; the place moves behind it where it can."""
        if is_first and self._facts.type in ("list", "zset"):
            self._index += 1
            self._place, self._is_over = str(self._index), self._index >= self._length
            return "The member at this place is too large to be read; the next part begins behind it."
        return "What follows is too large to be read."

    def _scan(self, count: int) -> list[Member]:
        name = "HSCAN" if self._facts.type == "hash" else "SSCAN"
        (reply,) = self._reader._ask_typed(
            self._facts.type, (name, self._reader.key, self._cursor, "COUNT", count)
        )
        cursor, flat = reply
        if name == "HSCAN":
            found = [Member(*pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
        else:
            found = [Member(address) for address in flat]
        found, begun, skipped = found[self._skip :], self._cursor, self._skip
        self._cursor, self._skip = _text(cursor), 0
        self._place, self._is_over = self._cursor, self._cursor == "0"
        if len(found) > 2 * self._count:
            # All of it came at once, or nearly: a cursor can't stand within, so what comes next is read once more.
            del found[self._count :]
            self._place, self._is_over = f"{begun}+{skipped + self._count}", False
        return found

    def _range(self, count: int) -> list[Member]:
        first, key = self._index, self._reader.key
        if first >= self._length:
            self._is_over = True
            return []
        last = min(first + count, self._length) - 1
        if self._facts.type == "list":
            (flat,) = self._reader._ask_typed("list", ("LRANGE", key, first, last))
            found = [Member(b"%d" % (first + place), value) for place, value in enumerate(flat)]
        else:
            (flat,) = self._reader._ask_typed("zset", ("ZRANGE", key, first, last, "WITHSCORES"))
            pairs = zip(flat[::2], flat[1::2], strict=True)
            found = [Member(member, score=_text(score)) for member, score in pairs]
        self._index += len(found)
        self._place, self._is_over = str(self._index), not found or self._index >= self._length
        return found

    def _entries(self, count: int) -> list[Member]:
        newest = f"({self._place}" if self._place else "+"
        command: Command = ("XREVRANGE", self._reader.key, newest, "-", "COUNT", count)
        (reply,) = self._reader._ask_typed("stream", command)
        found = list(_entries(reply))
        self._is_over = len(found) < count
        if found:
            self._place = _text(found[-1].address)
        return found


def _entries(reply: Any) -> Iterator[Member]:
    for entry in reply if isinstance(reply, list) else ():
        address, flat = entry
        # What was deleted while it was pending has no fields.
        pairs = zip(flat[::2], flat[1::2], strict=True) if isinstance(flat, list) else ()
        yield Member(address, fields=tuple(pairs))


def _index(address: bytes) -> int:
    if re.fullmatch(rb"-?\d{1,18}", address) is None:
        raise ValueError(address)
    return int(address)


def _pairs(reply: Any) -> dict[str, Any]:
    if not isinstance(reply, list):
        return {}
    return {_text(name): value for name, value in zip(reply[::2], reply[1::2], strict=False)}


def _text(reply: Any) -> str:
    if reply is None:
        return ""
    return display(reply, _LONGEST_TEXT) if isinstance(reply, bytes) else str(reply)


def _is_wrong_type(reply: Any) -> bool:
    return isinstance(reply, redis.ResponseError) and "WRONGTYPE" in (
        getattr(reply, "status_code", None) or str(reply)
    )


def _too_large(size: int) -> FleetError:
    return as_error(
        Problem(
            Cause.TOO_LARGE,
            f"It has {size:,} bytes; of a member, no more than {MOST_AT_ONCE:,} are read.",
            "Read it with redis-cli.",
        )
    )
