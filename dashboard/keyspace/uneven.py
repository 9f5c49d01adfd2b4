"""Whether a sample can have missed most of the memory: a few large keys among many small ones. Pure.

The interval of a sample's sum is worked out from the keys that are in it. Where one key of a million holds most of the
memory, it is hardly ever among them, and the interval is far too narrow. What the server uses in all tells.
"""

from typing import Final

from dashboard.keyspace.types import Kind, SnapshotMark
from dashboard.web.formats import byte_size

OVERHEAD_OF_A_KEY: Final = 120
"""Bytes that a key takes beside what MEMORY USAGE says: its places in the tables of keys and of expiries."""
ALWAYS_USED: Final = 16 * 1024 * 1024
"""Bytes: of an empty server with some clients, buffers and a replication backlog."""
FAR: Final = 1.5
"""The server uses so many times what the sample explains, before anything is said."""


def missed(mark: SnapshotMark, used_bytes: int | None) -> bool:
    """Whether the server uses far more than a sample's keys explain.

    Args:
        used_bytes: by all primaries, now; None: not known.
    """
    if used_bytes is None or mark.kind is Kind.FULL or mark.size is None or mark.looked_at >= mark.keyspace:
        return False
    explained = mark.size.value + mark.size.error + OVERHEAD_OF_A_KEY * mark.keys
    return used_bytes > ALWAYS_USED + FAR * explained


def note(used_bytes: int) -> str:
    """What to say then."""
    return (
        f"The server uses {byte_size(used_bytes)}, far more than the keys of this sample explain: a few large keys "
        "may not be in it. A full scan finds them."
    )
