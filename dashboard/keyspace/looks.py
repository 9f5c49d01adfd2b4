"""The quick look: a sample of some thousand keys, taken at once, when somebody asks or every few minutes."""

from datetime import datetime, timedelta
from typing import Final

from dashboard.keyspace import store
from dashboard.keyspace.types import ScanLimits, Snapshot
from dashboard.work import UnitOfWork

_AGAIN_AFTER: Final = timedelta(minutes=1)
"""A sample that failed is tried again."""


def take_sample(work: UnitOfWork, cache_id: int) -> Snapshot:
    """Look at some keys of a cache now; takes some tenths of a second. Read-only caches may be looked at.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache.
        Conflict: somebody else does so at this moment.
        ConfigError: the cache's URL can't be decrypted.
        Refused: the cache forbids what is needed.
        CacheUnavailable: it does not answer.
    """
    raise NotImplementedError


def due_at(work: UnitOfWork, cache_id: int, set_: ScanLimits) -> datetime | None:
    """When a sample is to be taken by itself; in the past: now. None: never."""
    if not set_.sample_every_s:
        return None
    every = timedelta(seconds=set_.sample_every_s)
    times = [mark.ended_at + every for mark in store.list_marks(work.session, cache_id, limit=1)]
    tried = store.find_look(work.session, cache_id)
    if tried is not None:
        at, problem = tried
        times.append(at + (min(every, _AGAIN_AFTER) if problem else every))
    return max(times, default=work.now)
