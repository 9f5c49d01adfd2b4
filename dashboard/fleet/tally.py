"""What our own lookups were so far, told in the name of the connection that makes them. Pure.

The server counts lookups of TTL and TYPE among everybody's hits and misses. A connection that makes a great many says
how many in its name, in the same exchange; a poll reads CLIENT LIST in the same moment as the counters, so both are of
the same instant, whichever process polls and however far the machines' clocks are apart.
"""

import re
import secrets
from collections.abc import Mapping
from typing import Final

_NAME: Final = re.compile(
    rb"(?:^| )name=cachewarden-probe:([0-9a-f]{8,32}):([0-9]{1,18}):([0-9]{1,18})(?: |$)", re.M
)


def new_session() -> str:
    """A name for a connection that no other has."""
    return secrets.token_hex(8)


def client_name(session: str, hits: int, misses: int) -> str:
    """What a connection is called that looked up so much."""
    return f"cachewarden-probe:{session}:{hits}:{misses}"


def read_names(client_list: bytes) -> Mapping[str, tuple[int, int]]:
    """(hits, misses) by session, of all connections in a reply to CLIENT LIST."""
    return {found[1].decode(): (int(found[2]), int(found[3])) for found in _NAME.finditer(client_list)}
