"""From the applications' counters to growth. Pure.

The counters only grow; where one is smaller than before, the hash was flushed or evicted, and what it holds was
counted since. The first reading of all is where we begin: what it holds may be days old.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from dashboard.caching.policy import MAX_PREFIX_BYTES, prefix_to_text
from dashboard.caching.wire import OTHER, parse_counter_field

MOST_PREFIXES: Final = 2_000
"""So many are stored apart."""
MOST_GROWTH: Final = 10**12
"""Nobody counts further in a few seconds; more is a mistake, and would make every sum useless."""
_MOST_DIGITS: Final = 19

Growth = dict[str, dict[str, int]]


def parse(fields: Mapping[bytes, bytes]) -> dict[str, int]:
    """The counters of the hash, "name:prefix" -> count; what can't be read is left out."""
    found: dict[str, int] = {}
    for field, number in fields.items():
        parsed = parse_counter_field(field)
        if parsed is None or not number.isdigit() or len(number) > _MOST_DIGITS:
            continue
        name, prefix = parsed
        if prefix is not None and len(prefix) > MAX_PREFIX_BYTES:
            continue
        # The same prefix in another spelling is the same prefix.
        key = f"{name}:{OTHER if prefix is None else prefix_to_text(prefix)}"
        found[key] = found.get(key, 0) + int(number)
    return found


def growth(before: Mapping[str, int] | None, now: Mapping[str, int]) -> Growth:
    """What was counted since, prefix -> counter -> growth; only what grew.

    What prefixes beyond MOST_PREFIXES grew by is put together with what the applications did not count apart. The
    growth, never the counts: which prefixes are beyond changes with every one that comes or goes.

    Args:
        before: the reading before; None: this is the first.
    """
    grown: Growth = {}
    if before is None:
        return grown
    apart = sorted({key.partition(":")[2] for key in now} - {OTHER})[:MOST_PREFIXES]
    kept = {*apart, OTHER}
    for key, count in now.items():
        old = before.get(key, 0)
        difference = count - old if count >= old else count
        if 0 < difference <= MOST_GROWTH:
            name, _, prefix = key.partition(":")
            counters = grown.setdefault(prefix if prefix in kept else OTHER, {})
            counters[name] = counters.get(name, 0) + difference
    return grown


def abandoned(fields: Iterable[bytes], prefixes: Collection[bytes]) -> list[bytes]:
    """The fields of prefixes that have no policy.

    Those of the default and of the rest stay, and what can't be read may be a newer library's.

    Args:
        fields: of the hash.
        prefixes: those that have one.
    """
    found = []
    for field in fields:
        parsed = parse_counter_field(field)
        if parsed is not None and parsed[1] and parsed[1] not in prefixes:
            found.append(field)
    return found


def bucket_of(at: datetime, step: timedelta) -> datetime:
    """When the bucket begins that a moment lies in.

    Args:
        step: buckets of an hour from there on, else of a minute.
    """
    at = at.replace(second=0, microsecond=0)
    return at.replace(minute=0) if step >= timedelta(hours=1) else at
