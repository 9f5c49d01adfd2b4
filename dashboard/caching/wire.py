"""Names and layouts on the wire: what applications and the dashboard agree on, next to the policy document.

Everything here is data; nothing does I/O.
"""

import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, Final

from dashboard.caching.policy import prefix_from_text, prefix_to_text

POLICIES_KEY: Final = b"cachewarden:policies"
"""String: the policy document."""
POLICIES_CHANNEL: Final = b"cachewarden:policies"
"""Channel: a message (the version as text) says that the document was replaced."""
INSTANCES_KEY: Final = b"cachewarden:instances"
"""Hash: instance id -> ``Instance`` as JSON."""
COUNTERS_KEY: Final = b"cachewarden:counters"
"""Hash: ``counter_field`` -> a number that only grows."""
TAG_KEY: Final = b"cachewarden:tag:"
"""Start of a tag's key; see ``tags``."""
GUARD_KEY: Final = b"cachewarden:guard:"
"""Start of the key that keeps processes from refreshing one key twice."""

INSTANCE_TTL_S: Final = 86_400
"""Application instances that were not seen for so long are dropped from the hash."""

# --- counters --------------------------------------------------------------------------------------------------

COUNTERS: Final = (
    "hits",  # reads that the cache answered, stale ones among them
    "misses",  # reads that it could not answer
    "loads",  # keys that a loader loaded; a call for many keys counts for each
    "load_us",  # microseconds that they took; the time of a call for many keys is divided among them
    "load_errors",  # keys whose loader raised
    "waits",  # reads that waited for somebody else's load, and got its value, or gave up: stampedes avoided
    "wait_timeouts",  # those among them that gave up and loaded themselves
    "rejected_fills",  # loads whose value was not stored, because the key was invalidated or the lease was over
    "overrun_leases",  # loads that took longer than their lease
    "not_stored",  # values that the codec refused, or Redis did (OOM, READONLY, MISCONF)
    "stale_served",  # reads answered with a value in its grace time
    "refreshes",  # loads in the background, before or after the end of the TTL
    "bypasses",  # reads that went around the cache: no-cache tier or a running bypass
    "errors",  # reads and fills that failed because of Redis
    "writes",  # write-through
    "invalidations",  # keys invalidated by this library
    "invalidation_errors",  # those among them that did not reach Redis at once
    "own_hits",  # lookups that the server counts as hits and that are none of the application's
    "own_misses",  # the same for misses
    "removals",  # values that invalidations and writes found in the cache and removed
)
"""Names of the counters per prefix; they contain no colon."""

OTHER: Final = r"\other"
"""Stands for the prefix where a process follows more prefixes than it counts; no prefix is written so."""
MAX_COUNTED_PREFIXES: Final = 1_000
"""A process counts the first so many prefixes of a document apart, the rest under OTHER."""


def counter_field(name: str, prefix: bytes | None) -> str:
    """The field of COUNTERS_KEY for a counter of a prefix: ``hits:product:``; ``hits:`` is the default's.

    Args:
        name: one of COUNTERS.
        prefix: a policy's prefix, empty for the default, None for the rest (OTHER).
    """
    return f"{name}:{OTHER if prefix is None else prefix_to_text(prefix)}"


def parse_counter_field(field: bytes | str) -> tuple[str, bytes | None] | None:
    """The (name, prefix) of a field of COUNTERS_KEY; None for a field that is not one of ours."""
    try:
        text = field.decode() if isinstance(field, bytes) else field
        name, colon, prefix = text.partition(":")
        if not colon or name not in COUNTERS:
            return None
        return name, None if prefix == OTHER else prefix_from_text(prefix)
    except ValueError:
        return None


# --- application instances -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an application instance does not follow the published document."""

    version: int | None
    """The refused document's, as far as it could be read."""
    reason: str
    at: float
    """Epoch seconds of the application's clock."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One process that uses the library."""

    id: str
    host: str
    pid: int
    program: str
    library: str
    """The library's version."""
    started_at: float
    """Epoch seconds of the application's clock, as all times here."""
    seen_at: float
    policy_version: int | None = None
    """The document it follows; None: it has none and uses the defaults in its code."""
    applied_at: float | None = None
    refusal: Refusal | None = None
    """The newest document was refused and ``policy_version`` stays in force."""

    def to_json(self) -> bytes:
        """As it is stored."""
        return json.dumps(asdict(self), separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, text: bytes | str) -> "Instance | None":
        """Read a field's value; None when it is not one, or not one this version understands."""
        try:
            found = json.loads(text)
            refusal = found.get("refusal")
            known = {item.name for item in fields(cls)}
            made = {name: value for name, value in found.items() if name in known}
            made["refusal"] = None if refusal is None else _refusal(refusal)
            return cls(**made) if _is_sound(made) else None
        except (ValueError, TypeError, AttributeError, KeyError, OverflowError, RecursionError):
            return None


_LATEST_S: Final = 1e11
"""No moment lies behind it that a calendar could show."""


def _refusal(found: Mapping[str, Any]) -> Refusal:
    return Refusal(found.get("version"), str(found["reason"]), min(max(float(found["at"]), 0.0), _LATEST_S))


def _is_sound(made: Mapping[str, Any]) -> bool:
    numbers = (int, float)
    return (
        isinstance(made["id"], str)
        and isinstance(made["pid"], int)
        and isinstance(made["seen_at"], numbers)
        and 0 <= made["seen_at"] <= _LATEST_S
        and isinstance(made["started_at"], numbers)
        and 0 <= made["started_at"] <= _LATEST_S
        and isinstance(made.get("policy_version"), int | None)
    )


# --- placeholders ----------------------------------------------------------------------------------------------

MAGIC: Final = b"\x00cachewarden:"
"""How every placeholder begins; no JSON begins with a NUL byte."""


class Kind(Enum):
    """What a placeholder says."""

    LOAD = b"load"
    """Somebody loads the value."""
    WRITE = b"write"
    """A write is committing."""
    HOLD = b"hold"
    """Load, but store nothing: replicas of the database may lag."""


def placeholder(kind: Kind) -> bytes:
    """A new placeholder; no two are alike."""
    return MAGIC + kind.value + b":" + secrets.token_hex(16).encode()


def kind_of(value: bytes) -> Kind | None:
    """The kind of a placeholder, None for a value. One of an unknown kind counts as a hold: store nothing."""
    if not value.startswith(MAGIC):
        return None
    name = value[len(MAGIC) :].partition(b":")[0]
    return next((kind for kind in Kind if kind.value == name), Kind.HOLD)


# --- scripts: each touches one key ------------------------------------------------------------------------------


class Script:
    """A Lua script, called by its digest."""

    __slots__ = ("digest", "name", "source")

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source.strip().encode()
        self.digest = hashlib.sha1(self.source, usedforsecurity=False).hexdigest().encode()

    def __repr__(self) -> str:
        return f"Script({self.name})"


ACQUIRE: Final = Script(
    "acquire",
    """
local held = redis.call('GET', KEYS[1])
if held then return held end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return false
""",
)
"""For servers whose SET doesn't take NX and GET together (before 7.0). ARGV: placeholder, ms."""

TAKE: Final = Script(
    "take",
    """
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] then return held end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return false
""",
)
"""Replace a useless value (unreadable, or of a purged tag) by a placeholder. ARGV: value seen, placeholder, ms."""

FILL: Final = Script(
    "fill",
    """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
""",
)
"""Store only if the key still holds the own placeholder. ARGV: placeholder, value, ms."""

ABORT: Final = Script(
    "abort",
    """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""",
)
"""Give the own placeholder back. ARGV: placeholder."""

HOLDS: Final = r"""
local HOLD = '\0cachewarden:hold:'
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
local function look(key)
  local held = redis.pcall('GETRANGE', key, 0, 95)
  if type(held) ~= 'string' then return '', 0 end
  if string.sub(held, 1, #HOLD) == HOLD then return held, math.max(redis.call('PTTL', key), 0) end
  local till = string.match(held, '^%zcachewarden:write:%x+:(%d+)$')
  return held, till and math.max(tonumber(till) - now(), 0) or 0
end
local function what(held)
  if held == '' then return 0 end
  return string.sub(held, 1, 13) == string.sub(HOLD, 1, 13) and 1 or 2
end
local function drop(key)
  local held, left = look(key)
  local was = redis.call('UNLINK', key) * math.max(what(held), 1)
  if left <= 0 then return was end
  redis.call('SET', key, HOLD .. redis.sha1hex(held), 'PX', left)
  return 1
end
"""
# look: the beginning of what is there, and for how many ms nobody may store anything: what is left of a hold, or of
# one that a write covers (its placeholder ends with the moment). what: 0 nothing, 1 a placeholder, 2 a value. drop:
# remove, but a hold stays, or comes back; what there was. A hold that stays is another one from then on: whoever
# reads after the invalidation must not take it for the one that an older load began with (see flight). The removal
# goes first, for a server without room (OOM) lets a script write on that gave something back.

DROP: Final = Script("drop", HOLDS + "return drop(KEYS[1])")
"""Remove whatever is there, except a hold that has not ended; returns what there was: 0 nothing, 1 a placeholder (or
what is no string), 2 a value."""

HOLD: Final = Script(
    "hold",
    HOLDS
    + """
local held, left = look(KEYS[1])
local ms = string.format('%.0f', math.max(left, tonumber(ARGV[2])))
local done = redis.pcall('SET', KEYS[1], ARGV[1], 'PX', ms)
if done.err then
  drop(KEYS[1])
  return done
end
return what(held)
""",
)
"""Put a hold there; one that lasts longer stays in force. Where there is no room for it (OOM), at least what is there
goes. Returns what there was, as DROP. ARGV: placeholder, ms."""

ANNOUNCE: Final = Script(
    "announce",
    HOLDS
    + """
local held, left = look(KEYS[1])
local token, ms = ARGV[1], tonumber(ARGV[2])
if left > 0 then
  token, ms = token .. ':' .. string.format('%.0f', now() + left), math.max(ms, left)
end
redis.call('SET', KEYS[1], token, 'PX', string.format('%.0f', ms))
return what(held)
""",
)
"""Begin a write: its placeholder, which keeps in mind until when a hold lasts that it covers. Returns what there
was, as DROP. ARGV: placeholder, ms."""

COMMIT: Final = Script(
    "commit",
    HOLDS
    + """
local held, left = look(KEYS[1])
if left <= 0 and string.sub(held, 1, #ARGV[1]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
drop(KEYS[1])
return 0
""",
)
"""End a write: store where the own placeholder is and no hold lasts, else remove whatever is there, but not a hold.
ARGV: placeholder, value, ms."""

_EXPIRY = """
local function expiry(key)
  local exact = redis.pcall('PEXPIRETIME', key)
  if type(exact) == 'number' then return exact, 0 end
  local left = redis.call('PTTL', key)
  local now = redis.call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000) + left, 2
end
"""
# Before Redis 7.0 there is no PEXPIRETIME; PTTL counts from a clock that may be a millisecond off TIME's.

CLAIM: Final = Script(
    "claim",
    _EXPIRY
    + """
local held = redis.call('GET', KEYS[1])
if not held or redis.sha1hex(held) ~= ARGV[1] then return false end
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) - 2 then return false end
return string.format('%.0f', (expiry(KEYS[1])))
""",
)
"""Begin a refresh: when exactly the value that was read expires; nil if it is not there, or still has as long to live
as a new one at least would. ARGV: its SHA-1, ms of the shortest life of a new value."""

REFRESH: Final = Script(
    "refresh",
    _EXPIRY
    + """
local held = redis.call('GET', KEYS[1])
if not held or redis.sha1hex(held) ~= ARGV[1] then return 0 end
local now, slack = expiry(KEYS[1])
if math.abs(now - tonumber(ARGV[2])) > slack then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
return 1
""",
)
"""End a refresh: store if the key still holds what CLAIM saw. ARGV: SHA-1, expiry, value, ms.

The bytes alone would not do: a value that was invalidated, changed, and changed back has the same bytes. Its moment
of expiry tells it apart, for whatever was stored after the claim expires later than what was claimed."""

TAG_OPEN: Final = Script(
    "tag open",
    """
local version = redis.call('ZSCORE', KEYS[1], ARGV[1])
local number = tonumber(version or 0) or 0
if number < 2^52 or number >= 2^53 or number % 1 ~= 0 then
  version = ARGV[2]
  redis.call('ZADD', KEYS[1], version, ARGV[1])
end
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local stays = tonumber(ARGV[4])
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'LIMIT', 0, 10)
if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
if redis.call('ZCARD', KEYS[1]) <= tonumber(ARGV[5]) then
  redis.call('ZADD', KEYS[1], string.format('%.0f', ms + stays), ARGV[3])
end
if redis.call('PTTL', KEYS[1]) < stays then redis.call('PEXPIRE', KEYS[1], stays) end
return version
""",
)
"""Before a load of a tagged key: the tag's version, made if it is gone or can't be one. Also writes the key into the
tag's index and reaps a few of those that expired. ARGV: version member, fresh version, key, ms that the key may live,
most members."""

TAG_INDEX: Final = Script(
    "tag index",
    """
local version = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not version or tonumber(version) ~= tonumber(ARGV[2]) then return 0 end
local time = redis.call('TIME')
local ms = time[1] * 1000 + math.floor(time[2] / 1000)
local count = (#ARGV - 3) / 2
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ms, 'LIMIT', 0, 10 * count)
if #old > 0 then redis.call('ZREM', KEYS[1], unpack(old)) end
local stays = 0
local room = ARGV[3] - redis.call('ZCARD', KEYS[1])
for number = 1, count do
  local life = tonumber(ARGV[3 + number * 2])
  stays = math.max(stays, life)
  if number <= room + 1 then
    redis.call('ZADD', KEYS[1], string.format('%.0f', ms + life), ARGV[2 + number * 2])
  end
end
if redis.call('PTTL', KEYS[1]) < stays then redis.call('PEXPIRE', KEYS[1], stays) end
return 1
""",
)
"""After loads for a tag whose version was known: write the keys into the index, as TAG_OPEN does. Never makes a
version: one from before a purge could come back. ARGV: version member, version, most members, then for each key: the
key, ms that it may live."""

TAG_PURGE: Final = Script(
    "tag purge",
    """
local now = redis.call('TIME')
-- First what needs no memory: who has begun to write may store the version on a full server, too.
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] * 1000)
if ARGV[2] ~= '' then
  redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
  if redis.call('PTTL', KEYS[1]) < 1000 then redis.call('PEXPIRE', KEYS[1], 60000) end
end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '4000000000000000', 'LIMIT', 0, tonumber(ARGV[3]))
if #found > 0 then redis.call('ZREM', KEYS[1], unpack(found)) end
return found
""",
)
"""Purge a tag: a new version makes every value of the tag useless at once; the members come back in batches, to be
removed. ARGV: version member, new version (empty: only the next batch), batch."""

SCRIPTS: Final = (
    ACQUIRE,
    TAKE,
    FILL,
    ABORT,
    DROP,
    HOLD,
    ANNOUNCE,
    COMMIT,
    CLAIM,
    REFRESH,
    TAG_OPEN,
    TAG_INDEX,
    TAG_PURGE,
)
