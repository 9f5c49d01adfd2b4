"""Whether Redis holds what is published, and what to do when it does not. Pure."""

from dataclasses import dataclass
from enum import StrEnum

from dashboard.caching.errors import PolicyError
from dashboard.caching.policy import parse_document


class State(StrEnum):
    """What was found where the document belongs."""

    IN_FORCE = "in-force"
    UNPUBLISHED = "unpublished"
    """Nothing is published, and nothing is there."""
    FOREIGN = "foreign"
    """Nothing is published here, but there is a document: another dashboard's, or of a time before this database."""
    REPUBLISHED = "republished"
    READ_ONLY = "read-only"
    """It should be written again, but the cache is read-only."""
    AWAY = "away"
    """Redis can't be reached, or refuses."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What stands in Redis.

    Args:
        reason: why it must be written again; empty: it is as published.
        found_version: of what stands there; None: nothing, or nothing readable.
        is_disputed: somebody else wrote it, so that two might write against each other.
    """

    reason: str
    found_version: int | None
    is_disputed: bool = False


def compare(found: bytes | None, is_other_type: bool, published: bytes, version: int) -> Finding:
    """Hold what stands in Redis against the published document.

    Args:
        found: the key's content; None: nothing.
        is_other_type: the key holds something that is no string.
        published: the document as it must be; empty with ``version`` 0: nothing is published.
    """
    if found == published:
        return Finding("", version)
    if is_other_type:
        return Finding("something that is no document had its key", None, is_disputed=True)
    if not found:
        return Finding("" if version == 0 else "it was gone (evicted, flushed or failed over)", None)
    try:
        there = parse_document(found).version
    except PolicyError:
        return Finding("what was there could not be read", None, is_disputed=True)
    if there < version:
        return Finding(f"version {there} was there", there)
    if there > version:
        return Finding(f"version {there} was there, which was not published here", there, is_disputed=True)
    return Finding(f"version {there} was there with other content", there, is_disputed=True)
