"""Adding up numbers of which some are not known. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Stats = dict[str, list[int | None]]
"""Command statistics as they are stored: {command: [calls, usec, rejected calls, failed calls]}."""


def known_sum(values: Iterable[int | None]) -> int | None:
    """The sum of those that are known; None when none is."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def whole_sum(values: Iterable[int | None]) -> int | None:
    """The sum of all; None when one of them is not known. Nothing sums to zero."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def add_stats(sums: Stats, more: Mapping[str, Sequence[int | None]]) -> None:
    """Add command statistics to ``sums``."""
    for name, line in more.items():
        old = sums.get(name, (None,) * len(line))
        sums[name] = [known_sum(pair) for pair in zip(old, line, strict=True)]


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two parts of one bucket, each ``{"dt_s": seconds, "stats": Stats}`` or empty, as one."""
    stats: Stats = {}
    for part in (one, other):
        add_stats(stats, part.get("stats", {}))
    return {"dt_s": round(one.get("dt_s", 0.0) + other.get("dt_s", 0.0), 3), "stats": stats}
