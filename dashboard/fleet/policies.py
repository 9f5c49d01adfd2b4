"""The policies' side of a cache: write the document, read who follows it and what they counted.

Everything that is read was written by applications, or by whoever else can write there: its size is looked at before
it is fetched, and nothing is believed.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import redis

from dashboard.caching.policy import MAX_DOCUMENT_BYTES
from dashboard.caching.wire import COUNTERS_KEY, INSTANCES_KEY, POLICIES_CHANNEL, POLICIES_KEY
from dashboard.fleet.errors import FleetError, as_error, explain
from dashboard.fleet.registry import Command, Connection, Node

MOST_INSTANCES: Final = 2_000
MOST_COUNTERS: Final = 40_000
MOST_BYTES: Final = 8_000_000
"""Of one hash, as the server measures it."""
PAGE: Final = 500
MOST_PAGES: Final = 500
MOST_CROWDED_BYTES: Final = 64_000_000
"""Of a hash that is looked through page by page."""

_PUBLISH: Final = f"""
local held = redis.pcall('GETRANGE', KEYS[1], 0, 200)
local hits = held == '' and 0 or 1
local there = type(held) == 'string' and string.match(held, '"version"%s*:%s*(%d+)')
if there and tonumber(there) > tonumber(ARGV[2]) then
  hits = 2
  if redis.sha1hex(redis.call('GETRANGE', KEYS[1], 0, {MAX_DOCUMENT_BYTES})) ~= ARGV[3] then
    return {{hits, there}}
  end
end
local done = redis.pcall('SET', KEYS[1], ARGV[1])
if done.err then return done end
redis.pcall('PUBLISH', ARGV[4], ARGV[2])
return {{hits}}
"""
# A document begins with its schema and its version. What does not, or is no string, is replaced.
# Whoever misses the message reads the document within seconds, so only SET's answer counts.


@dataclass(frozen=True, slots=True)
class Document:
    """What is at the document's key.

    Args:
        content: at most one byte more than a document may have; None: nothing, or something that is no string.
        is_other_type: there is something that is no string.
        hits, misses: lookups that the server counted for this.
    """

    content: bytes | None
    is_other_type: bool
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class Fields:
    """A hash.

    Args:
        fields: its fields; empty when it is not there.
        problem: why it was not read, in words; empty.
        hits, misses: lookups that the server counted for this.
        is_crowded: it has too many fields to be read at once, but not too many to be listed.
    """

    fields: dict[bytes, bytes]
    problem: str
    hits: int
    misses: int
    is_crowded: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a publishing.

    Args:
        newer: the newer version that was there and was left; None: the document was written.
        hits, misses: lookups that the server counted for this.
    """

    newer: int | None
    hits: int
    misses: int


def read_document(connection: Connection) -> Document:
    """Read the published document.

    Raises:
        FleetError: the cache can't be reached or does not let us.
    """
    (reply,) = _run(connection, POLICIES_KEY, [("GETRANGE", POLICIES_KEY, 0, MAX_DOCUMENT_BYTES)])
    if isinstance(reply, redis.ResponseError):
        return Document(None, True, 1, 0)
    return Document(reply, False, 1, 0) if reply else Document(None, False, 0, 1)


def publish(
    connection: Connection, document: bytes, version: int, *, replaces: bytes | None = None
) -> Written:
    """Write the document and tell those who listen, unless a newer version is there already.

    One script on the server compares and writes, so that of two that publish at the same moment the newer version
    stays, whoever comes last.

    Args:
        replaces: what was seen there, to be replaced whatever version it claims; None: nothing was looked at.

    Raises:
        FleetError: it was not written; applications go on with what they have.
    """
    seen = "" if replaces is None else hashlib.sha1(replaces, usedforsecurity=False).hexdigest()
    command = ("EVAL", _PUBLISH, 1, POLICIES_KEY, document, str(version), seen, POLICIES_CHANNEL)
    ((hits, *newer),) = _run(connection, POLICIES_KEY, [command])
    return Written(int(newer[0]) if newer else None, hits, 0 if hits else 1)


def read_instances(connection: Connection) -> Fields:
    """Read the application instances' hash.

    Raises:
        FleetError: the cache can't be reached or does not let us.
    """
    return _read_hash(connection, INSTANCES_KEY, MOST_INSTANCES)


def read_counters(connection: Connection) -> Fields:
    """Read the counters' hash.

    Raises:
        FleetError: the cache can't be reached or does not let us.
    """
    return _read_hash(connection, COUNTERS_KEY, MOST_COUNTERS)


def list_counters(connection: Connection) -> Fields:
    """The fields of a counters' hash that is too crowded to be read at once, page by page.

    Raises:
        FleetError: the cache can't be reached or does not let us.
    """
    found: dict[bytes, bytes] = {}
    (size,) = _run(
        connection, COUNTERS_KEY, [("MEMORY", "USAGE", COUNTERS_KEY, "SAMPLES", 0)], is_needed=False
    )
    if not isinstance(size, int) or size > MOST_CROWDED_BYTES:
        return Fields(found, "It takes too much memory.", 0, 0)
    cursor: Any = 0
    for page in range(MOST_PAGES):
        (reply,) = _run(connection, COUNTERS_KEY, [("HSCAN", COUNTERS_KEY, cursor, "COUNT", PAGE)])
        if isinstance(reply, redis.ResponseError):
            break  # no hash any more
        cursor, pairs = reply
        found |= _pairs(pairs)
        if int(cursor) == 0:
            return Fields(found, "", page + 1, 0)
    return Fields(found, "Not all of it was seen.", MOST_PAGES, 0)


def drop_counters(connection: Connection, fields: Sequence[bytes]) -> None:
    """Remove counters. Who counts them all the same begins at zero.

    Raises:
        FleetError: the cache can't be reached or does not let us.
    """
    for start in range(0, len(fields), PAGE):
        _run(connection, COUNTERS_KEY, [("HDEL", COUNTERS_KEY, *fields[start : start + PAGE])])


def _read_hash(connection: Connection, key: bytes, most: int) -> Fields:
    name = key.decode()
    (length,) = _run(connection, key, [("HLEN", key)])
    if isinstance(length, redis.ResponseError):
        return Fields({}, f"{name} is no hash: something else was written there.", 1, 0)
    if not isinstance(length, int) or length == 0:
        return Fields({}, "", 0, 1)
    if length > most:
        problem = f"{name} has {length:,} fields; more than {most:,} are not read."
        return Fields({}, problem, 1, 0, is_crowded=length <= PAGE * MOST_PAGES)
    # Every field, or one huge value among many small ones would not be noticed.
    (size,) = _run(connection, key, [("MEMORY", "USAGE", key, "SAMPLES", 0)], is_needed=False)
    if isinstance(size, int) and size > MOST_BYTES:
        return Fields({}, f"{name} takes {size:,} bytes; more than {MOST_BYTES:,} are not read.", 1, 0)
    (reply,) = _run(connection, key, [("HGETALL", key)])
    return Fields(_pairs(reply), "", 2, 0)


def _pairs(reply: Any) -> dict[bytes, bytes]:
    if isinstance(reply, dict):  # RESP3
        return {field: value for field, value in reply.items() if isinstance(field, bytes)}
    if not isinstance(reply, list):
        return {}
    return dict(zip(reply[::2], reply[1::2], strict=False))


def _run(
    connection: Connection, key: bytes, commands: Sequence[Command], *, is_needed: bool = True
) -> list[Any]:
    """Run commands about one key where that key is.

    A refusal of the first command is raised, unless it is not needed or says that the key holds something else.
    """
    nodes = connection.nodes()
    moved: redis.exceptions.MovedError | None = None
    for node in _in_order(nodes, key):
        replies, _ = node.run(commands)
        first = replies[0]
        if isinstance(first, redis.exceptions.MovedError):
            moved = first
            continue
        for each in nodes:
            each.memory.pop(_here(key), None)
        node.memory[_here(key)] = True
        if _is_read_only(first):
            node.doubt()  # demoted since it was looked up
        if is_needed and isinstance(first, redis.ResponseError) and not _is_wrong_type(first):
            raise _refused(connection, first, node)
        return replies
    for node in nodes:
        node.doubt()
    assert moved is not None
    raise _refused(connection, moved)


def _here(key: bytes) -> str:
    return f"holds {key.decode()}"


def _in_order(nodes: Sequence[Node], key: bytes) -> list[Node]:
    """Where the key was found last time goes first; a Cluster's others follow."""
    return sorted(nodes, key=lambda node: not node.memory.get(_here(key), False))


def _is_read_only(reply: Any) -> bool:
    # Before Redis 7 the error of a script begins with the place in it, so that redis-py does not recognise it.
    return isinstance(reply, redis.exceptions.ReadOnlyError) or (
        isinstance(reply, redis.ResponseError) and "READONLY" in str(reply)
    )


def _is_wrong_type(error: redis.ResponseError) -> bool:
    return "WRONGTYPE" in str(error) or getattr(error, "status_code", None) == "WRONGTYPE"


def _refused(connection: Connection, error: redis.ResponseError, node: Node | None = None) -> FleetError:
    where = node.id if node is not None else connection.url.masked
    return as_error(explain(error, where, connection.url))
