"""From the applications' counters to growth. Pure.

The counters only grow; where one is smaller than before, the hash was flushed or evicted, and what it holds was
counted since. The first reading of all is where we begin: what it holds may be days old.
"""

from collections.abc import Mapping
from typing import Final

from dashboard.caching.policy import MAX_PREFIX_BYTES, prefix_to_text
from dashboard.caching.wire import OTHER, parse_counter_field

MOST_PREFIXES: Final = 2_000
MOST_GROWTH: Final = 10**12
"""Nobody counts further in a few seconds; more is a mistake, and would make every sum useless."""
_MOST_DIGITS: Final = 19

Growth = dict[str, dict[str, int]]


def parse(fields: Mapping[bytes, bytes]) -> dict[str, int]:
    """The counters of the hash, "name:prefix" -> count; what can't be read is left out.

    Prefixes beyond MOST_PREFIXES are counted together with those that the applications did not count apart.
    """
    found: dict[str, int] = {}
    prefixes: set[str] = set()
    for field in sorted(fields):
        parsed = parse_counter_field(field)
        number = fields[field]
        if parsed is None or not number.isdigit() or len(number) > _MOST_DIGITS:
            continue
        name, prefix = parsed
        if prefix is not None and len(prefix) > MAX_PREFIX_BYTES:
            continue
        text = OTHER if prefix is None else prefix_to_text(prefix)
        if text not in prefixes:
            if len(prefixes) >= MOST_PREFIXES and text != OTHER:
                text = OTHER
            prefixes.add(text)
        key = f"{name}:{text}"
        found[key] = found.get(key, 0) + int(number)
    return found


def growth(before: Mapping[str, int] | None, now: Mapping[str, int]) -> Growth:
    """What was counted since, prefix -> counter -> growth; only what grew.

    Args:
        before: the reading before; None: this is the first.
    """
    grown: Growth = {}
    if before is None:
        return grown
    for key, count in now.items():
        old = before.get(key, 0)
        difference = count - old if count >= old else count
        if 0 < difference <= MOST_GROWTH:
            name, _, prefix = key.partition(":")
            grown.setdefault(prefix, {})[name] = difference
    return grown
