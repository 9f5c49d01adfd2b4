"""Reading replies: pure, bounded, and without trust in what the server sends."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dashboard.fleet.arguments import without_values
from dashboard.fleet.text import decoded, display

LARGEST_INFO_BYTES = 1024 * 1024
MOST_CLIENTS = 1000
MOST_SLOW_ENTRIES = 128
MOST_PAIRS = 1000
LONGEST_TEXT = 256


@dataclass(frozen=True, slots=True)
class Client:
    """One line of CLIENT LIST; None is "this server does not say".

    Args:
        flags: as Redis prints them: N normal, O runs MONITOR, S replica, P subscriber, b blocked …
        age_s: seconds since it connected.
        idle_s: seconds since its last command.
        memory_bytes: all it takes on the server.
        output_bytes: replies waiting to be sent to it.
    """

    id: int | None
    address: str
    name: str
    user: str | None
    flags: str
    db: int | None
    command: str
    age_s: int | None
    idle_s: int | None
    memory_bytes: int | None
    output_bytes: int | None
    library: str | None


@dataclass(frozen=True, slots=True)
class SlowEntry:
    """One entry of the slow log.

    Args:
        at: when it ran, by the server's clock; None when that is no date.
        duration_s: seconds it took, without waiting and network.
        command: with its first key; the other arguments are only counted, for they may be anybody's data.
        client_address: None before Redis 4.
    """

    id: int
    at: datetime | None
    duration_s: float
    command: str
    client_address: str | None
    client_name: str | None


def info_text(reply: bytes) -> str:
    """INFO as text, cut at a line's end when it is larger than LARGEST_INFO_BYTES."""
    if len(reply) > LARGEST_INFO_BYTES:
        reply = reply[:LARGEST_INFO_BYTES]
        reply = reply[: reply.rfind(b"\n") + 1]
    return decoded(reply)


def info_field(reply: bytes, name: bytes) -> str | None:
    """One field of INFO, without parsing the rest."""
    found = re.search(rb"^" + re.escape(name) + rb":([^\r\n]*)", reply, re.MULTILINE)
    return display(found.group(1), LONGEST_TEXT) if found else None


def clients(reply: bytes, most: int = MOST_CLIENTS) -> tuple[list[Client], int]:
    """(the first ``most`` clients, how many there are)."""
    total = sum(1 for line in reply.splitlines() if line.strip())
    found: list[Client] = []
    position = 0
    while len(found) < most and position < len(reply):
        end = reply.find(b"\n", position)
        end = len(reply) if end < 0 else end
        line = reply[position:end]
        position = end + 1
        if line.strip():
            found.append(_client(line))
    return found, total


def slow_log(reply: Any) -> list[SlowEntry]:
    """The entries of SLOWLOG GET, newest first; what does not look like one is left out."""
    entries = (_slow_entry(item) for item in reply[:MOST_SLOW_ENTRIES]) if isinstance(reply, list) else ()
    return [entry for entry in entries if entry is not None]


def pairs(reply: Any) -> dict[str, str]:
    """A flat list of names and values, as CONFIG GET answers."""
    if not isinstance(reply, list):
        return {}
    flat = [
        display(item, LONGEST_TEXT) if isinstance(item, bytes) else str(item)
        for item in reply[: 2 * MOST_PAIRS]
    ]
    return dict(zip(flat[::2], flat[1::2], strict=False))


def _client(line: bytes) -> Client:
    values: dict[bytes, bytes] = {}
    for word in line[:4096].split():
        name, equals, value = word.partition(b"=")
        if equals:
            values.setdefault(name, value)

    def text(name: bytes) -> str:
        return display(values.get(name, b""), LONGEST_TEXT)

    library = " ".join(filter(None, (text(b"lib-name"), text(b"lib-ver"))))
    return Client(
        id=_number(values.get(b"id")),
        address=text(b"addr"),
        name=text(b"name"),
        user=text(b"user") or None,
        flags=text(b"flags"),
        db=_number(values.get(b"db")),
        command=text(b"cmd").replace("|", " "),
        age_s=_number(values.get(b"age")),
        idle_s=_number(values.get(b"idle")),
        memory_bytes=_number(values.get(b"tot-mem")),
        output_bytes=_number(values.get(b"omem")),
        library=library or None,
    )


def _number(value: bytes | None) -> int | None:
    # PostgreSQL's bigint is the widest a number may become later.
    if value is None or not re.fullmatch(rb"-?[0-9]{1,18}", value):
        return None
    return int(value)


def _slow_entry(item: Any) -> SlowEntry | None:
    if not isinstance(item, list) or len(item) < 4:
        return None
    number, at, took, arguments, *client = item[:6]
    if not (isinstance(number, int) and isinstance(at, int) and isinstance(took, int)):
        return None
    if not isinstance(arguments, list):
        return None
    about = [display(text, LONGEST_TEXT) if isinstance(text, bytes) else "" for text in client]
    try:
        when = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        when = None
    return SlowEntry(
        id=number,
        at=when,
        duration_s=took / 1_000_000,
        command=without_values([word for word in arguments if isinstance(word, bytes)]),
        client_address=about[0] or None if about else None,
        client_name=about[1] or None if len(about) > 1 else None,
    )
