"""Finding a replica of a primary: reading from it weighs on nobody, and its counters are its own."""

from typing import Final

from dashboard.errors import DashboardError
from dashboard.fleet import replies
from dashboard.fleet.registry import Connection, Node
from dashboard.fleet.url import Address

MOST_BEHIND: Final = 1_000_000
"""Bytes a replica may be behind."""
MOST_SILENT_S: Final = 10
"""Seconds since it was heard of."""
MOST_TRIED: Final = 3


def find(connection: Connection, primary: Node, wanted: str = "") -> Node | None:
    """A replica that is up to date and answers, or None. Whoever asks for it closes it.

    Args:
        connection: the cache.
        primary: whose.
        wanted: id of the one that is best, if it is still one.
    """
    try:
        (info,), _ = primary.run([("INFO", "replication")])
    except DashboardError:
        return None
    if not isinstance(info, bytes):
        return None
    found = candidates(info)
    found.sort(key=lambda address: str(address) != wanted)
    for address in found[:MOST_TRIED]:
        node = connection.reach(address)
        if _is_good(node):
            return node
        node.close()
    return None


def candidates(info: bytes) -> list[Address]:
    """The replicas in a primary's INFO replication that keep up, the nearest behind first. Pure."""
    if replies.info_field(info, b"role") != "master":
        return []
    found: list[tuple[int, Address]] = []
    offset = _number(replies.info_field(info, b"master_repl_offset"))
    for index in range(_number(replies.info_field(info, b"connected_slaves")) or 0):
        line = replies.info_field(info, b"slave%d" % index) or ""
        values = dict(part.partition("=")[::2] for part in line.split(","))
        port, done, silent_s = (_number(values.get(name)) for name in ("port", "offset", "lag"))
        host = values.get("ip", "")
        if not host or not port or port > 65_535 or offset is None or done is None:
            continue
        behind = offset - done
        if values.get("state") == "online" and behind <= MOST_BEHIND and (silent_s or 0) <= MOST_SILENT_S:
            found.append((behind, Address(host, port)))
    return [address for _, address in sorted(found, key=lambda each: each[0])]


def _is_good(node: Node) -> bool:
    try:
        (info,), _ = node.run([("INFO",)])
    except DashboardError:
        return False
    return isinstance(info, bytes) and (
        replies.info_field(info, b"role") == "slave"
        and replies.info_field(info, b"master_link_status") == "up"
        and replies.info_field(info, b"loading") == "0"
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None
