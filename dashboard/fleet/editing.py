"""Changing one key: each change is one script, which compares what is there with what was seen before it acts.

No change takes a TTL away: a string is set with KEEPTTL, and a hash field's own TTL is put back. None makes a key that
is not there.
"""

import hashlib
import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import redis
from redis.crc import key_slot

from dashboard.caching.wire import HOLDS, MAGIC, Script
from dashboard.fleet.errors import Problem, as_error, explain
from dashboard.fleet.permissions import EDITS, EDITS_NEWER, acl_line
from dashboard.fleet.purging import Router, finish, judge, run_script
from dashboard.fleet.registry import Command, Connection, Node
from dashboard.fleet.values import KeyReader, Lookups

LARGEST: Final = 1_048_576
"""Bytes of a value that can be replaced."""
FAR: Final = 100_000
"""A list element further from both ends can't be taken out: the server would go through all before it."""

_BEGIN: Final = """
local hits = 0
local function ask(...)
  hits = hits + 1
  return redis.call(...)
end
local function is(held, seen)
  if seen == '' then return not held end
  return held and redis.sha1hex(held) == seen
end
local found = redis.call('TYPE', KEYS[1])
local kind = type(found) == 'table' and found['ok'] or found
if kind == 'none' then return {'gone', 0, 1} end
hits = 1
local misses = 0
local function done(word) return {word, hits, misses} end
local function left()
  if redis.call('EXISTS', KEYS[1]) == 1 then
    hits = hits + 1
    return done('done')
  end
  misses = misses + 1
  return done('last')
end
"""
# is: whether what is there is what was seen; an empty digest: nothing was.

# Where a change takes two commands, a right that is missing for the second must leave all as it was: scripts are not
# rolled back.

_TYPED: Final = _BEGIN + "if kind ~= '%s' then return done('type') end\n"


def _script(name: str, type: str, body: str) -> Script:
    return Script(name, _TYPED % type + body)


_SET: Final = _script(
    "set",
    "string",
    """
if ask('STRLEN', KEYS[1]) > tonumber(ARGV[3]) then return done('changed') end
if not is(ask('GET', KEYS[1]), ARGV[1]) then return done('changed') end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return done('done')
""",
)
_SET_FIELD: Final = _script(
    "set field",
    "hash",
    """
if not is(ask('HGET', KEYS[1], ARGV[1]), ARGV[2]) then return done('changed') end
local at = ARGV[4] == '1' and ask('HPEXPIRETIME', KEYS[1], 'FIELDS', 1, ARGV[1])[1] or -1
local function keep()
  return redis.pcall('HPEXPIREAT', KEYS[1], string.format('%.0f', at), 'FIELDS', 1, ARGV[1])
end
if at > 0 then
  local kept = keep()
  if type(kept) == 'table' and kept['err'] then return kept end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
if at > 0 then keep() end
return done('done')
""",
)
_REMOVE_FIELD: Final = _script(
    "remove field",
    "hash",
    """
if not is(ask('HGET', KEYS[1], ARGV[1]), ARGV[2]) then return done('changed') end
redis.call('HDEL', KEYS[1], ARGV[1])
return left()
""",
)
_SET_ELEMENT: Final = _script(
    "set element",
    "list",
    """
if not is(ask('LINDEX', KEYS[1], ARGV[1]), ARGV[2]) then return done('changed') end
redis.call('LSET', KEYS[1], ARGV[1], ARGV[3])
return done('done')
""",
)
_REMOVE_ELEMENT: Final = _script(
    "remove element",
    "list",
    """
local place, length = tonumber(ARGV[1]), ask('LLEN', KEYS[1])
local behind = length - 1 - place
if math.min(place, behind) > tonumber(ARGV[4]) then return done('far') end
local held = ask('LINDEX', KEYS[1], ARGV[1])
if not is(held, ARGV[2]) then return done('changed') end
redis.call('LSET', KEYS[1], ARGV[1], ARGV[3])
local gone = redis.pcall('LREM', KEYS[1], place <= behind and 1 or -1, ARGV[3])
if gone ~= 1 then
  redis.call('LSET', KEYS[1], ARGV[1], held)
  return gone
end
return done(length > 1 and 'done' or 'last')
""",
)
_PUSH: Final = _script(
    "push",
    "list",
    """
redis.call(ARGV[1], KEYS[1], ARGV[2])
return done('done')
""",
)
_ADD_MEMBER: Final = _script(
    "add member",
    "set",
    """
return done(redis.call('SADD', KEYS[1], ARGV[1]) == 1 and 'done' or 'there')
""",
)
_REMOVE_MEMBER: Final = _script(
    "remove member",
    "set",
    """
if redis.call('SREM', KEYS[1], ARGV[1]) == 0 then return done('changed') end
return left()
""",
)
_SET_SCORE: Final = _script(
    "set score",
    "zset",
    """
if not is(ask('ZSCORE', KEYS[1], ARGV[1]), ARGV[2]) then return done('changed') end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return done('done')
""",
)
_REMOVE_SCORED: Final = _script(
    "remove scored",
    "zset",
    """
if not is(ask('ZSCORE', KEYS[1], ARGV[1]), ARGV[2]) then return done('changed') end
redis.call('ZREM', KEYS[1], ARGV[1])
return left()
""",
)
_ADD_ENTRY: Final = _script(
    "add entry",
    "stream",
    """
redis.call('XADD', KEYS[1], '*', unpack(ARGV))
return done('done')
""",
)
_REMOVE_ENTRY: Final = _script(
    "remove entry",
    "stream",
    """
return done(redis.call('XDEL', KEYS[1], ARGV[1]) == 1 and 'done' or 'changed')
""",
)
_LEFT_ALONE: Final = """
if kind == 'string' and ask('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then return done('placeholder') end
"""
_AS_SEEN: Final = f"""
local ms = ask('PTTL', KEYS[1])
local function done(word) return {{word, hits, misses, kind, ms}} end
local function is_as_seen()
  if ARGV[2] ~= '' and kind ~= ARGV[2] then return false end
  if ARGV[3] ~= '' and (ms < tonumber(ARGV[3]) or ms > tonumber(ARGV[4])) then return false end
  if ARGV[5] == '' then return true end
  return ask('STRLEN', KEYS[1]) <= {LARGEST} and is(ask('GET', KEYS[1]), ARGV[5])
end
if not is_as_seen() then return done('changed') end
"""
# ARGV: what placeholders begin with, then what was seen: type, least and most of the TTL in ms, SHA-1 of a string; each
# empty where it is not compared.
_EXPIRE: Final = Script(
    "expire",
    _BEGIN
    + _LEFT_ALONE
    + _AS_SEEN
    + """
redis.call('PEXPIRE', KEYS[1], ARGV[6])
return done('done')
""",
)
_PERSIST: Final = Script(
    "persist",
    _BEGIN
    + _LEFT_ALONE
    + _AS_SEEN
    + """
return done(redis.call('PERSIST', KEYS[1]) == 1 and 'done' or 'there')
""",
)
_RENAME: Final = Script(
    "rename",
    _BEGIN
    + _LEFT_ALONE
    + _AS_SEEN
    + """
return done(redis.call('RENAMENX', KEYS[1], KEYS[2]) == 1 and 'done' or 'there')
""",
)
_DELETE: Final = Script(
    "delete",
    _BEGIN
    + _AS_SEEN
    + HOLDS
    + """
drop(KEYS[1])
hits = hits + 1
if redis.call('EXISTS', KEYS[1]) == 0 then
  misses = misses + 1
  return done('done')
end
hits = hits + 2
return done('held')
""",
)
# What is dropped is looked at; of a hold it is also asked how long it lasts.


class Word(Enum):
    """How a change ended."""

    DONE = "done"
    LAST = "last"
    """Done, and the key went with its last member."""
    HELD = "held"
    """Done, as far as a hold of the caching library lets it: that stays."""
    GONE = "gone"
    """There is no such key."""
    TYPE = "type"
    """The key holds another type."""
    CHANGED = "changed"
    """Something else is there than was seen; nothing was done."""
    THERE = "there"
    """There was nothing to do, or the new name is taken."""
    FAR = "far"
    """It lies too far within a list."""
    PLACEHOLDER = "placeholder"
    """A placeholder of the caching library, which is left alone."""

    @property
    def is_done(self) -> bool:
        """Whether something was changed."""
        return self in (Word.DONE, Word.LAST, Word.HELD)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a key must still be for a change of all of it.

    Args:
        type: as TYPE says.
        ttl_ms: least and most of what may be left, -1 for no TTL; None: not compared.
        digest: of a string's value; empty: not compared.
    """

    type: str
    ttl_ms: tuple[int, int] | None = None
    digest: str = ""


def _compared(seen: Seen | None) -> tuple[bytes | int, ...]:
    if seen is None:
        return (b"",) * 4
    least, most = (b"", b"") if seen.ttl_ms is None else seen.ttl_ms
    return (seen.type.encode(), least, most, seen.digest.encode())


def digest(held: bytes) -> str:
    """What was seen, as the scripts compare it. An empty one stands for nothing."""
    return hashlib.sha1(held, usedforsecurity=False).hexdigest()


class KeyEditor:
    """Changes one key.

    Args:
        connection: the cache.
        key: which.
        lookups: counts what the server takes for lookups.

    Every method returns how it ended, and raises FleetError: the cache can't be reached, or does not let us. ``seen``
    is the digest of what was seen there.
    """

    def __init__(self, connection: Connection, key: bytes, lookups: Lookups) -> None:
        self._connection = connection
        self._key = key
        self._lookups = lookups
        self._router = Router(connection)
        self.was: tuple[str, int | None] | None = None
        """Type and remaining TTL (ms; None: none) that a change of the whole key found; None: it found no key."""

    def set(self, seen: str, value: bytes) -> Word:
        """Replace a string; one longer than LARGEST counts as changed."""
        return self._run(_SET, seen.encode(), value, LARGEST)

    def set_field(self, name: bytes, seen: str, value: bytes) -> Word:
        """Replace a hash field's value, or add the field."""
        has_ttls = KeyReader(self._connection, self._key).server.has_field_ttls
        return self._run(_SET_FIELD, name, seen.encode(), value, int(has_ttls))

    def remove_field(self, name: bytes, seen: str) -> Word:
        """Remove a hash field."""
        return self._run(_REMOVE_FIELD, name, seen.encode())

    def set_element(self, index: int, seen: str, value: bytes) -> Word:
        """Replace the element at an index."""
        return self._run(_SET_ELEMENT, index, seen.encode(), value)

    def remove_element(self, index: int, seen: str) -> Word:
        """Remove the element at an index, 0 or more."""
        # Elements have no names: it gets one that nobody else can have, and is removed by that.
        return self._run(_REMOVE_ELEMENT, index, seen.encode(), secrets.token_bytes(32), FAR)

    def push(self, value: bytes, *, is_first: bool) -> Word:
        """Add an element at an end."""
        return self._run(_PUSH, b"LPUSHX" if is_first else b"RPUSHX", value)

    def add_member(self, member: bytes) -> Word:
        """Add a member to a set."""
        return self._run(_ADD_MEMBER, member)

    def remove_member(self, member: bytes) -> Word:
        """Remove a member from a set."""
        return self._run(_REMOVE_MEMBER, member)

    def set_score(self, member: bytes, seen: str, score: str) -> Word:
        """Change a member's score, or add the member; ``seen`` is of the score as the server writes it."""
        return self._run(_SET_SCORE, member, seen.encode(), score.encode())

    def remove_scored(self, member: bytes, seen: str) -> Word:
        """Remove a member from a sorted set."""
        return self._run(_REMOVE_SCORED, member, seen.encode())

    def add_entry(self, fields: tuple[tuple[bytes, bytes], ...]) -> Word:
        """Add an entry at a stream's end."""
        return self._run(_ADD_ENTRY, *(text for pair in fields for text in pair))

    def remove_entry(self, address: bytes) -> Word:
        """Remove an entry from a stream."""
        return self._run(_REMOVE_ENTRY, address)

    def expire(self, ttl_ms: int, seen: Seen | None = None) -> Word:
        """Give the key a TTL."""
        return self._run(_EXPIRE, MAGIC, *_compared(seen), ttl_ms)

    def persist(self, seen: Seen | None = None) -> Word:
        """Take its TTL away; THERE: it had none."""
        return self._run(_PERSIST, MAGIC, *_compared(seen))

    def is_near(self, name: bytes) -> bool:
        """Whether the key can get this name: in a Cluster both must lie in one slot."""
        return not self._router.is_cluster or key_slot(self._key) == key_slot(name)

    def rename(self, name: bytes, seen: Seen | None = None) -> Word:
        """Give the key another name; THERE: it is taken."""
        return self._run(_RENAME, MAGIC, *_compared(seen), more_keys=(name,))

    def drop(self, seen: Seen | None = None) -> Word:
        """Remove the key, but not a hold of the caching library's (HELD)."""
        return self._run(_DELETE, b"", *_compared(seen))

    def _run(self, script: Script, *arguments: bytes | int, more_keys: tuple[bytes, ...] = ()) -> Word:
        node = self._node()
        command = run_script(script, self._key, *arguments)
        if more_keys:
            command = ("EVALSHA", script.digest, 1 + len(more_keys), self._key, *more_keys, *arguments)
        (reply,) = self._send(node, [command], script)
        try:
            word, hits, misses, *was = reply
            self._lookups.hits += hits
            self._lookups.misses += misses
            self.was = (was[0].decode(), was[1] if was[1] >= 0 else None) if was else None
            return Word(word.decode())
        except (TypeError, ValueError, AttributeError):
            raise as_error(explain(redis.exceptions.InvalidResponse("edit"), node.id, node.url)) from None

    def _send(self, node: Node, commands: list[Command], script: Script) -> list[Any]:
        replies, _ = node.run(commands)
        replies = finish(self._connection, node, commands, replies, [script])
        for reply in replies:
            if isinstance(reply, redis.ResponseError):
                lacks_newer = any(each.command.lower() in str(reply).lower() for each in EDITS_NEWER)
                refusal = judge(reply, node, _grant_newer if lacks_newer else _grant)
                cause = explain(reply, node.id, node.url).cause
                raise as_error(Problem(cause, refusal.words, refusal.advice))
        return replies

    def _node(self) -> Node:
        ((node, _),) = self._router.split([self._key])
        return node


def _grant(username: str | None) -> str:
    return acl_line(username, tuple(permission.command for permission in EDITS))


def _grant_newer(username: str | None) -> str:
    return acl_line(username, tuple(permission.command for permission in (*EDITS, *EDITS_NEWER)))
