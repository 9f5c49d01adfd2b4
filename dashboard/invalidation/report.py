"""The keys a purge touched, for those who asked for a report."""

from collections.abc import Iterator

from dashboard.access import Actor, Role, require
from dashboard.caching.policy import prefix_to_text
from dashboard.errors import NotFound
from dashboard.invalidation import changing, store
from dashboard.work import Runtime, unit_of_work


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
