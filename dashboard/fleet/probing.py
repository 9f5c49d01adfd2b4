"""Looking at many keys of a node: name, type, TTL, memory and what OBJECT says, in bursts of one round trip each.

A burst is one short script that scans and looks, and answers with columns packed into strings: for the server half the
work of the same commands sent one by one, and for this process a tenth. Where scripts are refused the commands are sent
one by one, pipelined. No value is read, and no key looks used afterwards: TYPE, PTTL, OBJECT and MEMORY USAGE leave
idle times as they are. All but MEMORY USAGE and SCAN count as hits or misses, though, so the connection says in its
name how many they were (``tally``).

Memory is what MEMORY USAGE says with its own sampling of five elements: what ``redis-cli --memkeys`` shows, too, and
bounded, where measuring every element of a hash of ten millions would hold the server for seconds.
"""

import functools
import random
import re
import select
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, NamedTuple, NoReturn

import redis

from dashboard.caching.wire import Script
from dashboard.fleet import tally
from dashboard.fleet.errors import Cause, FleetError, Problem, as_error, explain, quoted, translated
from dashboard.fleet.packing import pack
from dashboard.fleet.permissions import acl_line
from dashboard.fleet.registry import Node
from dashboard.fleet.transport import BoundedSocket

NEEDS: Final = ("SCAN", "PTTL", "TYPE")
"""Without these there is nothing to be found."""
LOOK: Final = Script(
    "look",
    """
local call, pack = redis.call, struct.pack
local count, size_every, shift, object_every = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local use, encodes, seed = ARGV[5], ARGV[6] ~= '', tonumber(ARGV[7])
if seed > 0 then math.randomseed(seed) end
local letters = {string = 's', hash = 'h', list = 'l', set = 'e', zset = 'z', stream = 'x', none = 'n'}
local names, rows, others, uses, encodings = {}, {}, {}, {}, {}
local n, cursor = 0, '0'
for place = 8, #ARGV do
  local found = call('SCAN', ARGV[place], 'COUNT', count)
  cursor = found[1]
  local keys = found[2]
  local first, last = 1, #keys
  if seed > 0 and last > 0 then
    first = math.random(last)
    last = first
  end
  for index = first, last do
    local key = keys[index]
    n = n + 1
    local kind = call('TYPE', key)['ok']
    local letter = letters[kind]
    if not letter then
      letter = '?'
      others[#others + 1] = kind
    end
    local size = -1
    if size_every > 0 and (n + shift) % size_every == 0 then size = call('MEMORY', 'USAGE', key) or -1 end
    if object_every > 0 and (n + shift) % object_every == 0 then
      local used = use ~= '' and redis.pcall('OBJECT', use, key)
      local encoding = encodes and redis.pcall('OBJECT', 'ENCODING', key)
      if type(used) == 'table' then used = string.find(used.err, 'LFU') and -2 or -3 end
      if type(encoding) == 'table' then encoding = '!' end
      used, encoding = used or -1, encoding or '-'
      uses[#uses + 1] = pack('<i8', used)
      encodings[#encodings + 1] = encoding
    end
    names[n] = key
    rows[n] = pack('<I4i8i8c1', #key, call('PTTL', key), size, letter)
  end
end
return {cursor, table.concat(names), table.concat(rows), table.concat(others, ' '), table.concat(uses),
  table.concat(encodings, ' ')}
""",
)
"""ARGV: COUNT of each SCAN; measure the memory of one key of so many (0: none); where to begin with that; ask OBJECT
about one key of so many; for IDLETIME, FREQ or "" (neither); for ENCODING or ""; a seed to pick one key of each place
by (0: all of them); cursors.
Answers: the last cursor; all names; per key its name's length, TTL, memory and a letter for its type; the types without
a letter; idle times or frequencies (-1: of no key, -2: the server keeps the other, -3: refused); encodings ("-": of no
key, "!": refused). It declares no keys, for it reads what SCAN found on this very node."""

_TYPES: Final = {
    b"s": b"string",
    b"h": b"hash",
    b"l": b"list",
    b"e": b"set",
    b"z": b"zset",
    b"x": b"stream",
    b"n": b"none",
}
_ROW_BYTES: Final = 21
_USE_BYTES: Final = 8
_PARTS: Final = 6
_NO_KEY: Final = -1
_OTHER: Final = -2
_REFUSED: Final = -3
_CODES: Final = {b"-": _NO_KEY, b"~": _OTHER, b"!": _REFUSED}
"""What OBJECT said in place of an answer, in a word and in a number."""
_LONGEST_ENCODING: Final = 32
_CHUNK: Final = 1 << 16
_MOST_FAILED: Final = 3
_WAITS: Final = frozenset({"LOADING", "BUSY", "MASTERDOWN", "CLUSTERDOWN"})


class Facts(NamedTuple):
    """What OBJECT says of a key.

    Args:
        encoding: how the server keeps it; empty: not said.
        idle_s: since it was last used; -1: not kept, as under an LFU policy.
        frequency: the logarithmic counter of an LFU policy, 0..255; -1: not kept.
    """

    encoding: bytes
    idle_s: int
    frequency: int


@dataclass(frozen=True, slots=True)
class Burst:
    """A burst that came, before anybody looked into it.

    Args:
        cursor: where to go on; scan.START: there is no more.
        number: keys in it, with those that were gone in the same moment.
        took_s: from the first byte sent to the last received.
        is_timed: whether somebody waited for the answer, so that ``took_s`` holds nothing else.
    """

    cursor: int
    number: int
    took_s: float
    is_timed: bool


@dataclass(frozen=True, slots=True)
class Looked:
    """What a burst found; columns of equal length, without keys that were gone in the same moment.

    Args:
        cursor: as in ``Burst``.
        at: epoch seconds when it came.
        types: as TYPE says.
        ttls_ms: remaining; -1: none.
        sizes: as MEMORY USAGE says, bytes; -1: not measured.
        objects: None: not asked.
    """

    cursor: int
    at: float
    keys: Sequence[bytes]
    types: Sequence[bytes]
    ttls_ms: Sequence[int]
    sizes: Sequence[int]
    objects: Sequence[Facts | None]


class _Asked(NamedTuple):
    """What a burst was asked for; the script's words are explained there."""

    cursors: tuple[int, ...]
    most: int
    seed: int
    shift: int
    size_every: int
    object_every: int
    words: frozenset[bytes]
    """What OBJECT is asked for."""

    @property
    def use(self) -> bytes:
        """What says how keys are used: IDLETIME, FREQ, or empty where nothing does."""
        return next(iter(self.words - {b"ENCODING"}), b"")

    def places(self, number: int, every: int) -> range:
        """Which of a burst's keys are asked for what is asked of one of ``every``; as the script has it."""
        return range(every - 1 - self.shift % every, number, every) if every else range(0)

    def facts(self, used: int, encoding: bytes) -> Facts:
        encoding = b"" if encoding in _CODES else encoding[:_LONGEST_ENCODING]
        used = max(used, -1)
        return Facts(encoding, -1, used) if self.use == b"FREQ" else Facts(encoding, used, -1)


class _Found(NamedTuple):
    """Columns as of ``Looked``, keys that are gone (TTL -2) among them; what OBJECT said, of those asked about."""

    keys: list[bytes]
    types: list[bytes]
    ttls_ms: list[int]
    sizes: list[int]
    uses: Sequence[int]
    encodings: Sequence[bytes]


class _Packed(NamedTuple):
    """Columns as the script packs them."""

    names: bytes
    rows: bytes
    others: bytes
    uses: bytes
    encodings: bytes


class Probe:
    """A connection of its own to a node. ``send`` a burst, do something else, ``receive`` it, ``send`` the next, and
    ``read`` what came while the server works on that.

    Args:
        node: where; its pool is not used.
        size_every: measure the memory of one key of so many; 0: of none.
        object_every: the same for what OBJECT says, which counts as lookups, too.
        reads_replica: whether the node is a replica of a Cluster.

    Attributes:
        session: names this connection in ``tally``.
        hits, misses: what the server counted for all that was read.
        can_size: whether MEMORY USAGE is allowed.
        is_plain: whether commands are sent one by one.

    Raises:
        FleetError: the node can't be used.
    """

    def __init__(
        self, node: Node, *, size_every: int = 1, object_every: int = 0, reads_replica: bool = False
    ) -> None:
        self.session = tally.new_session()
        self.hits = 0
        self.misses = 0
        self.can_size = True
        self.is_plain = False
        self._node = node
        self._size_every = size_every
        self._object_every = object_every
        self._refused: set[bytes] = set()
        self._says_name = True
        self._per_key = 2.0
        self._shift = 0
        self._failed = 0
        self._sent: _Asked | None = None
        self._sent_s = 0.0
        self._unread: tuple[Burst, _Asked, _Packed | _Found, float] | None = None
        pool: Any = node.client.connection_pool
        self._connection: Any = pool.connection_class(**pool.connection_kwargs)
        with translated(node.id, node.url):
            self._connection.connect()
            if reads_replica:
                self._connection.send_command("READONLY", check_health=False)
                self._connection.read_response()
            use = b"FREQ" if object_every and self._keeps_frequencies() else b"IDLETIME"
        self._words = frozenset({use, b"ENCODING"})
        self._socket: BoundedSocket = self._connection.socket
        self._ready = select.poll()
        self._ready.register(self._socket.fileno(), select.POLLIN)
        self._data = b""
        self._place = 0

    def close(self) -> None:
        """Close the connection; its name goes with it."""
        self._connection.disconnect()

    def send(self, cursors: Sequence[int], count: int, seed: int = 0) -> None:
        """Ask for the keys behind each cursor, about ``count`` of each; ``receive`` brings them.

        Args:
            seed: above 0: one of the keys behind each cursor, picked by it.

        Raises:
            FleetError: the node can't be used.
        """
        sizes = self._size_every if self.can_size else 0
        self._sent = _Asked(tuple(cursors), count, seed, self._shift, sizes, self._object_every, self._words)
        self._sent_s = time.perf_counter()
        with translated(self._node.id, self._node.url):
            if self.is_plain:
                self._socket.sendall(_scans(cursors, count))
            else:
                self._send_script("EVALSHA", LOOK.digest)

    def receive(self) -> Burst:
        """The burst that was sent; ``read`` looks into it.

        Raises:
            FleetError: the node can't be used at present, or refuses what is needed (Cause.NOPERM, with the ACL line).
        """
        assert self._sent is not None and self._unread is None
        try:
            with translated(self._node.id, self._node.url):
                self._socket.resume()
                is_timed = not self._is_ready()
                cursor, found = self._receive_plain() if self.is_plain else self._receive_script()
        except FleetError:
            # Its answer came, and was a refusal, or never will.
            self._sent = None
            self._node.doubt()
            raise
        number = len(found.rows) // _ROW_BYTES if isinstance(found, _Packed) else len(found.keys)
        burst = Burst(cursor, number, time.perf_counter() - self._sent_s, is_timed)
        self._unread = burst, self._sent, found, time.time()
        self._sent = None
        self._shift += number
        return burst

    def read(self) -> Looked:
        """What is in the burst that was received last.

        Raises:
            FleetError: it is not what was asked for.
        """
        assert self._unread is not None
        burst, asked, found, at = self._unread
        self._unread = None
        if isinstance(found, _Packed):
            with translated(self._node.id, self._node.url):
                found = _unpack(found, asked)
        return self._settle(burst, asked, found, at)

    def finish(self) -> None:
        """Count what is still on its way or unread, and say exactly what was looked up: it will be nothing more.

        Raises:
            FleetError: the node can't be used.
        """
        if self._unread is not None:
            self.read()
        if self._sent is not None:
            self.receive()
            self.read()
        self.pause()

    def pause(self) -> None:
        """Say exactly what was looked up, because nothing more will be for a while; all that was sent must be read.

        Raises:
            FleetError: the node can't be used.
        """
        if self._says_name:
            with translated(self._node.id, self._node.url):
                self._socket.sendall(self._name(0))
                self._end_name()

    # --- by script ----------------------------------------------------------------------------------------------

    def _send_script(self, command: str, script: bytes) -> None:
        assert self._sent is not None
        cursors, most, seed, shift, sizes, objects, words = self._sent
        encodes = b"ENCODING" if b"ENCODING" in words else b""
        values = (most, sizes, shift, objects, self._sent.use, encodes, seed)
        # What the script will look up is told with it, for a poll may come right after it.
        more = len(cursors) * (1 if seed else most)
        if self._unread is not None:
            more += self._unread[0].number
        self._socket.sendall(
            pack([(command, script, 0, *values, *cursors)]) + self._name(round(self._per_key * more))
        )

    def _receive_script(self) -> tuple[int, _Packed | _Found]:
        head = self._line()
        if head.startswith(b"-"):
            self._end_name()
            return self._without_script(head[1:].decode("utf-8", "replace"))
        if head != b"*%d" % _PARTS:
            raise redis.exceptions.InvalidResponse("look")
        cursor, *columns = (self._bulk() for _ in range(_PARTS))
        self._end_name()
        self._failed = 0
        return int(cursor), _Packed(*columns)

    def _without_script(self, answer: str) -> tuple[int, _Packed | _Found]:
        assert self._sent is not None
        if answer.startswith("NOSCRIPT"):
            self._send_script("EVAL", LOOK.source)
            return self._receive_script()
        if answer.partition(" ")[0] in _WAITS:
            self._refuse(answer)
        # Anything else is said better, or gone round, by the commands themselves.
        self._failed += 1
        if self._failed >= _MOST_FAILED or "NOPERM" in answer or "unknown command" in answer.lower():
            self.is_plain = True
        self._socket.sendall(_scans(*self._sent[:2]))
        return self._receive_plain()

    # --- command by command -------------------------------------------------------------------------------------

    def _receive_plain(self) -> tuple[int, _Found]:
        assert self._sent is not None
        asked = self._sent
        chance = random.Random(asked.seed)
        cursor, keys = 0, []
        for _ in asked.cursors:
            head = self._line()
            if head.startswith(b"-"):
                self._refuse(head[1:].decode("utf-8", "replace"))
            if head != b"*2":
                raise redis.exceptions.InvalidResponse("scan")
            cursor = int(self._bulk())
            head = self._line()
            if not head.startswith(b"*"):
                raise redis.exceptions.InvalidResponse("scan")
            found = [self._bulk() for _ in range(int(head[1:]))]
            keys += [chance.choice(found)] if asked.seed and found else found
        number = len(keys)
        sized = asked.places(number, asked.size_every)
        described = asked.places(number, asked.object_every)
        commands = [_LOOK_AT % (len(key), key, len(key), key) for key in keys]
        commands += [_MEASURE % (len(keys[index]), keys[index]) for index in sized]
        words = sorted(asked.words)
        commands += [
            _OBJECT % (len(word), word, len(keys[index]), keys[index])
            for index in described
            for word in words
        ]
        commands.append(self._name(2 * number + len(words) * len(described)))
        self._socket.sendall(b"".join(commands))
        ttls, types = [-2] * number, [b"none"] * number
        for index in range(number):
            ttl, type = self._line(), self._line()
            if ttl.startswith(b":") and type.startswith(b"+"):
                ttls[index], types[index] = int(ttl[1:]), type[1:]
            else:
                self._look_away(ttl if ttl.startswith(b"-") else type)
        sizes = [-1] * number
        for index in sized:
            size = self._line()
            if size.startswith(b":"):
                sizes[index] = int(size[1:])
            elif size.startswith(b"-") and not _is_elsewhere(size):
                self.can_size = False
        uses, encodings = [], []
        for _ in described:
            said = {word: self._said() for word in words}
            used = said.get(asked.use, b"-")
            uses.append(_CODES[used] if used in _CODES else int(used))
            encodings.append(said.get(b"ENCODING", b"-"))
        self._end_name()
        return cursor, _Found(keys, types, ttls, sizes, uses, encodings)

    def _look_away(self, answer: bytes) -> None:
        """A key that is being moved to another node is looked at there; anything else can't be gone round."""
        if not _is_elsewhere(answer):
            self._drop()
            self._refuse(answer.removeprefix(b"-").decode("utf-8", "replace"))

    def _drop(self) -> None:
        # More answers are on their way, and nobody reads them.
        self._connection.disconnect()

    def _refuse(self, answer: str) -> NoReturn:
        problem = explain(redis.ResponseError(answer), self._node.id, self._node.url)
        if problem.cause is Cause.NOPERM:
            grant = acl_line(self._node.url.username, NEEDS)
            problem = Problem(problem.cause, problem.words, f"Grant it with: {grant}")
        elif "unknown command" in answer.lower():
            words = (
                f"{self._node.id} does not offer a command that is needed: {quoted(answer, self._node.url)}."
            )
            problem = Problem(Cause.NOPERM, words, "It was renamed or switched off on the server.")
        raise as_error(problem)

    # --- both ---------------------------------------------------------------------------------------------------

    def _settle(self, burst: Burst, asked: _Asked, found: _Found, at: float) -> Looked:
        keys, types, ttls, sizes, uses, encodings = found
        objects: list[Facts | None] = [None] * len(keys)
        described = asked.places(len(keys), asked.object_every)
        for index, used, encoding in zip(described, uses, encodings, strict=False):
            objects[index] = asked.facts(used, encoding)
        gone = ttls.count(-2)
        self.hits += 2 * (len(keys) - gone)
        self.misses += 2 * gone
        if described:
            self._learn(asked, uses, encodings)
        if keys:
            self._per_key = 2.0 + len(asked.words) * len(described) / len(keys)
        if gone:
            left = [index for index, ttl in enumerate(ttls) if ttl != -2]
            keys, types = [keys[index] for index in left], [types[index] for index in left]
            ttls, sizes = [ttls[index] for index in left], [sizes[index] for index in left]
            objects = [objects[index] for index in left]
        return Looked(burst.cursor, at, keys, types, ttls, sizes, objects)

    def _learn(self, asked: _Asked, uses: Sequence[int], encodings: Sequence[bytes]) -> None:
        """Count what OBJECT looked up, and don't ask again for what the server refuses or does not keep."""
        said = [*uses] if asked.use else []
        if b"ENCODING" in asked.words:
            said += [_CODES.get(encoding, 0) for encoding in encodings]
        # What is refused is not looked up; what the server does not keep it says after it has.
        gone = said.count(_NO_KEY)
        self.misses += gone
        self.hits += len(said) - gone - said.count(_REFUSED)
        if asked.words != self._words:
            # The burst before has said it already.
            return
        words = set(asked.words)
        if b"!" in encodings:
            words.discard(b"ENCODING")
        if _REFUSED in uses:
            self._refused.add(asked.use)
        if _REFUSED in uses or _OTHER in uses:
            words.discard(asked.use)
            words |= {b"IDLETIME", b"FREQ"} - {asked.use} - self._refused
        self._words = frozenset(words)
        if not words:
            self._object_every = 0

    def _keeps_frequencies(self) -> bool:
        """Whether the server evicts by frequency; where it does not say, the first burst finds out."""
        self._connection.send_command("INFO", "memory", check_health=False)
        try:
            return re.search(rb"maxmemory_policy:\S+-lfu", self._connection.read_response()) is not None
        except redis.ResponseError:
            return False

    def _name(self, more: int) -> bytes:
        if not self._says_name:
            return b""
        name = tally.client_name(self.session, self.hits + more, self.misses)
        return pack([("CLIENT", "SETNAME", name)])

    def _end_name(self) -> None:
        if self._says_name and self._line().startswith(b"-"):
            self._says_name = False

    def _is_ready(self) -> bool:
        return bool(self._ready.poll(0))

    def _more(self, most: int = _CHUNK) -> None:
        chunk = self._socket.recv(max(_CHUNK, most))
        if not chunk:
            raise ConnectionResetError("closed")
        self._data = self._data[self._place :] + chunk
        self._place = 0

    def _line(self) -> bytes:
        while (end := self._data.find(b"\r\n", self._place)) < 0:
            self._more()
        line = self._data[self._place : end]
        self._place = end + 2
        return line

    def _said(self) -> bytes:
        """A number or a word, or why there is none, as in ``_CODES``."""
        head = self._line()
        if head.startswith(b":"):
            return head[1:]
        if head.startswith(b"$") and head != b"$-1":
            return self._bulk(head)
        if not head.startswith(b"-") or _is_elsewhere(head):
            return b"-"
        return b"~" if b"LFU" in head else b"!"

    def _bulk(self, head: bytes = b"") -> bytes:
        head = head or self._line()
        if not head.startswith(b"$"):
            raise redis.exceptions.InvalidResponse("bulk")
        length = int(head[1:])
        while (missing := self._place + length + 2 - len(self._data)) > 0:
            self._more(missing)
        begin = self._place
        self._place += length + 2
        return self._data[begin : begin + length]


_LOOK_AT: Final = b"*2\r\n$4\r\nPTTL\r\n$%d\r\n%b\r\n*2\r\n$4\r\nTYPE\r\n$%d\r\n%b\r\n"
_MEASURE: Final = b"*3\r\n$6\r\nMEMORY\r\n$5\r\nUSAGE\r\n$%d\r\n%b\r\n"
_OBJECT: Final = b"*3\r\n$6\r\nOBJECT\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"


def _scans(cursors: Sequence[int], count: int) -> bytes:
    return pack(("SCAN", cursor, "COUNT", count) for cursor in cursors)


def _is_elsewhere(answer: bytes) -> bool:
    return answer.startswith((b"-ASK", b"-MOVED", b"-TRYAGAIN", b"-CROSSSLOT"))


def _unpack(packed: _Packed, asked: _Asked) -> _Found:
    names, rows, others, uses, encodings = packed
    number, torn = divmod(len(rows), _ROW_BYTES)
    if torn or len(uses) % _USE_BYTES:
        raise redis.exceptions.InvalidResponse("look")
    values = _row_layout(number).unpack(rows)
    ends = list(accumulate(values[0::4]))
    keys = [names[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    letters = values[3::4]
    if others:
        rest = iter(others.split(b" "))
        types = [_TYPES.get(letter) or next(rest) for letter in letters]
    else:
        types = [_TYPES[letter] for letter in letters]
    used = struct.unpack(f"<{len(uses) // _USE_BYTES}q", uses)
    said = encodings.split(b" ") if encodings else []
    return _Found(keys, types, list(values[1::4]), list(values[2::4]), used, said)


@functools.lru_cache(maxsize=512)
def _row_layout(number: int) -> struct.Struct:
    return struct.Struct("<" + "Iqqc" * number)
