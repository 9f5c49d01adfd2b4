"""What an administrator allows scans on a cache, and what is scanned by itself."""

import math
import string
from dataclasses import asdict, replace
from typing import Final

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.errors import Conflict, InvalidInput
from dashboard.keyspace import store
from dashboard.keyspace.types import ScanLimits
from dashboard.work import UnitOfWork

_BOUNDS: Final = {
    "keys_per_s": (1, 10_000_000, "keys per second"),
    "slowest_probe_ms": (0.1, 1_000.0, "milliseconds"),
    "size_every": (0, 100_000, "keys"),
}
_PERIODS: Final = {"sample_every_s": 60, "full_every_s": 3_600}
_LONGEST_PERIOD_S: Final = 30 * 86_400
MOST_DELIMITERS: Final = 8
_NO_DELIMITER: Final = frozenset(string.ascii_letters + string.digits + "*{}\\")
"""Letters and digits are what names are made of; the others stand for something in the tree's names."""


def limits(work: UnitOfWork, cache_id: int) -> ScanLimits:
    """The cache's limits; the defaults where nothing was set."""
    return store.find_limits(work.session, cache_id) or ScanLimits()


def set_limits(work: UnitOfWork, cache_id: int, new: ScanLimits) -> ScanLimits:
    """Change a cache's limits. A scan that runs keeps its own until it is taken over by another worker.

    Args:
        new: ``revision`` is that of the limits that were shown.

    Raises:
        Forbidden: the actor is no administrator.
        NotFound: there is no such cache.
        InvalidInput: a message per field that can't be taken.
        Conflict: somebody else changed them since they were shown.
    """
    require(work.actor, Role.ADMIN)
    cache = caches.get_cache(work, cache_id)
    fields = problems(new)
    if fields:
        raise InvalidInput("The limits were not changed.", fields=fields)
    old = limits(work, cache_id)
    if not store.put_limits(work.session, cache_id, new):
        raise Conflict(
            f"Somebody else changed the limits of {cache.name} since this form was opened.",
            what_to_do="Look at them again.",
        )
    # The form's revision is nobody's change.
    before, after = asdict(old), asdict(replace(new, revision=old.revision))
    audit.record_changes(work, "keyspace:limits:change", cache.name, before, after, cache_name=cache.name)
    return limits(work, cache_id)


def problems(new: ScanLimits) -> dict[str, str]:
    """What is wrong with limits, by field. Pure."""
    found = {}
    for name, (low, high, unit) in _BOUNDS.items():
        value = getattr(new, name)
        if not (math.isfinite(value) and low <= value <= high):
            found[name] = f"Enter {low:,g} to {high:,} {unit}."
    for name, shortest_s in _PERIODS.items():
        value = getattr(new, name)
        if value != 0 and not shortest_s <= value <= _LONGEST_PERIOD_S:
            least = "a minute" if shortest_s == 60 else "an hour"
            found[name] = f"Enter {least} to 30 days, or 0 for never."
    delimiters = new.delimiters
    if len(set(delimiters)) != len(delimiters) or not 0 < len(delimiters) <= MOST_DELIMITERS:
        found["delimiters"] = f"Enter 1 to {MOST_DELIMITERS} characters, each once."
    elif not all(each.isascii() and each.isprintable() and each not in _NO_DELIMITER for each in delimiters):
        found["delimiters"] = "Only punctuation and blanks, except * { } and \\."
    return found
