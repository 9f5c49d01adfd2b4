"""Readings as JSON, so that the poller can go on from the last one after a restart. Pure."""

import dataclasses
import heapq
import itertools
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from dashboard.monitoring.types import CommandStat, DatabaseLine, Reading

MOST_COMMANDS = 1000
MOST_ERRORS = 200
"""More than any server has; a hostile one must not fill the database."""

_SPECIAL = frozenset({"taken_at", "clock_s", "databases", "commands", "errors"})
_PLAIN = tuple(field.name for field in dataclasses.fields(Reading) if field.name not in _SPECIAL)


def reading_to_json(reading: Reading) -> dict[str, Any]:
    """Plain JSON values; what is None is left out."""
    raw: dict[str, Any] = {name: value for name in _PLAIN if (value := getattr(reading, name)) is not None}
    raw["taken_at"] = reading.taken_at.isoformat()
    raw["databases"] = [dataclasses.astuple(line) for line in reading.databases]
    busiest = heapq.nlargest(MOST_COMMANDS, reading.commands.items(), key=lambda item: item[1].calls)
    raw["commands"] = {name: dataclasses.astuple(stat) for name, stat in busiest}
    raw["errors"] = dict(itertools.islice(reading.errors.items(), MOST_ERRORS))
    return raw


def reading_from_json(raw: Mapping[str, Any], *, now: datetime, clock_s: float) -> Reading:
    """The reading that was stored.

    Args:
        now, clock_s: this process's wall and monotonic clock at one moment. The reading was taken on another
            process's monotonic clock; it gets the place on ours that the wall clock says.
    """
    taken_at = datetime.fromisoformat(raw["taken_at"])
    return Reading(
        taken_at=taken_at,
        clock_s=clock_s - (now - taken_at).total_seconds(),
        databases=tuple(DatabaseLine(*line) for line in raw["databases"]),
        commands={name: CommandStat(*stat) for name, stat in raw["commands"].items()},
        errors=raw["errors"],
        # A field of an older release that is no more is passed over.
        **{name: raw[name] for name in _PLAIN if name in raw},
    )
