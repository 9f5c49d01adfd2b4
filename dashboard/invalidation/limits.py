"""What an administrator allows purges on a cache."""

from dataclasses import asdict, replace
from typing import Final

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.errors import Conflict, InvalidInput
from dashboard.invalidation import changing, store
from dashboard.invalidation.types import Limits
from dashboard.jobs import service as jobs
from dashboard.work import UnitOfWork

_BOUNDS: Final = {
    "database_budget_qps": (0.1, 10_000_000.0, "database reads per second"),
    "typed_above": (0, 1_000_000_000, "keys"),
    "most_keys_per_s": (1, 10_000_000, "keys per second"),
    "batch": (1, 10_000, "keys"),
    "slowest_probe_ms": (0.1, 1_000.0, "milliseconds"),
    "at_a_time": (1, 16, "purges"),
}


def limits(work: UnitOfWork, cache_id: int) -> Limits:
    """The cache's limits; the defaults where nothing was set."""
    return store.find_limits(work.session, cache_id) or Limits()


def set_limits(work: UnitOfWork, cache_id: int, new: Limits) -> Limits:
    """Change a cache's limits. Purges that run keep theirs until they are resumed or taken over.

    Args:
        new: ``revision`` is that of the limits that were shown.

    Raises:
        Forbidden: the actor is no administrator.
        NotFound: there is no such cache.
        InvalidInput: a message per field that is out of its bounds.
        Conflict: somebody else changed them since they were shown.
    """
    require(work.actor, Role.ADMIN)
    cache = caches.get_cache(work, cache_id)
    fields = {}
    for name, (low, high, unit) in _BOUNDS.items():
        value = getattr(new, name)
        if value is None and name == "database_budget_qps":
            continue
        if not low <= value <= high:  # also not a number
            fields[name] = f"Enter {low:,g} to {high:,} {unit}."
    if fields:
        raise InvalidInput("The limits were not changed.", fields=fields)
    old = limits(work, cache_id)
    if not store.put_limits(work.session, cache_id, new):
        raise Conflict(
            f"Somebody else changed the limits of {cache.name} since this form was opened.",
            what_to_do="Look at them again.",
        )
    jobs.set_width(work, changing.RUN, changing.lane(cache_id), new.at_a_time)
    # The form's revision is nobody's change.
    before, after = asdict(old), asdict(replace(new, revision=old.revision))
    audit.record_changes(work, "invalidation:limits:change", cache.name, before, after, cache_name=cache.name)
    return limits(work, cache_id)
