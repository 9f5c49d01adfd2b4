"""The keys a purge touched, for those who asked for a report."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from dashboard.access import Actor, Role, require
from dashboard.caching.policy import prefix_to_text
from dashboard.errors import NotFound
from dashboard.invalidation import changing, store
from dashboard.work import Runtime, unit_of_work

KEPT: Final = timedelta(days=30)
"""After its end; a report of millions of keys is large."""


def report_chunks(runtime: Runtime, actor: Actor, number: int) -> Iterator[bytes]:
    """The keys of the segments that are finished so far, in pieces: one key a line, as policies write prefixes.

    Each piece is read in a transaction of its own, so that a slow download holds nothing.

    Raises:
        Forbidden: the actor is no viewer.
        NotFound: there is no such purge, or it keeps no report. Raised at once, not while it is read.
    """
    require(actor, Role.VIEWER)
    with unit_of_work(runtime, actor) as work:
        purge = store.find_purge(work.session, number)
        if purge is None:
            raise changing.gone(number)
        if not purge.plan.wants_report:
            raise NotFound(f"Purge {number} keeps no report.", what_to_do="It is chosen before it runs.")
        if purge.ended_at is not None and purge.ended_at < work.now - KEPT:
            raise NotFound(f"The report of purge {number} was removed: they are kept for {KEPT.days} days.")
    return _chunks(runtime, actor, number)


def _chunks(runtime: Runtime, actor: Actor, number: int) -> Iterator[bytes]:
    after = -1
    while True:
        with unit_of_work(runtime, actor) as work:
            found = store.report_chunk(work.session, number, after)
        if found is None:
            return
        after, keys = found
        yield b"".join(_line(key) for key in keys)


def _line(key: bytes) -> bytes:
    return prefix_to_text(key).encode() + b"\n"
