"""What the applications ask of the database right now, prefix by prefix: the base of what a purge will cost."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Final

from dashboard.access import Role, require
from dashboard.caching.policy import PolicyDocument
from dashboard.caching.wire import OTHER
from dashboard.policies import documents, state, store, use
from dashboard.policies.types import PrefixLoad, RecentLoad
from dashboard.work import UnitOfWork

_LATELY: Final = timedelta(minutes=15)
_FALLS_SILENT: Final = timedelta(minutes=5)
_ASKED: Final = ("hits", "misses", "loads", "load_us", "bypasses")


def recent_load(work: UnitOfWork, cache_id: int) -> RecentLoad:
    """Reads and database reads of the last minutes; empty where no application counted any.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    last = store.last_counted(work.session, cache_id)
    begins = (work.now - _LATELY).replace(second=0, microsecond=0)
    first = store.first_count(work.session, cache_id, begins, work.now)
    if first is None or last is None or work.now - last > _FALLS_SILENT or last <= first:
        return RecentLoad(0.0, MappingProxyType({}))
    window_s = (last - first).total_seconds()
    sums = store.sum_counts(work.session, cache_id, store.MINUTE, begins, work.now, names=_ASKED)
    known = use.keys(work, cache_id, documents.every(held.published))
    return RecentLoad(
        window_s,
        MappingProxyType(
            {
                None if name == OTHER else name: _load(counts, window_s, known.get(name))
                for name, counts in sums.items()
            }
        ),
    )


def document_in_force(work: UnitOfWork, cache_id: int) -> PolicyDocument:
    """What is published; before the first version, the tiers and the default that editing begins with.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    return state.look(work, cache_id).published


def _load(counts: Mapping[str, int], window_s: float, keys: int | None) -> PrefixLoad:
    return PrefixLoad(
        hits_per_s=counts["hits"] / window_s,
        misses_per_s=counts["misses"] / window_s,
        loads_per_s=(counts["loads"] + counts["bypasses"]) / window_s,
        load_s=counts["load_us"] / counts["loads"] / 1e6 if counts["loads"] else None,
        keys=keys,
    )
