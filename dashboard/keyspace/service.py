"""Use cases of the keyspace; see ``scans``, ``looks``, ``snapshots``, ``limits``, ``panel`` and ``names`` for each."""

from dashboard.keyspace.limits import limits, set_limits
from dashboard.keyspace.looks import take_sample
from dashboard.keyspace.names import FOLDED, OTHER, pattern_of
from dashboard.keyspace.panel import panel
from dashboard.keyspace.scans import cancel_scan, find_scan, get_scan, list_scans, start_scan
from dashboard.keyspace.snapshots import (
    get_snapshot,
    growth,
    growth_line,
    known_prefix,
    latest,
    list_snapshots,
    usual_kind,
)

__all__ = [
    "FOLDED",
    "OTHER",
    "cancel_scan",
    "find_scan",
    "get_scan",
    "get_snapshot",
    "growth",
    "growth_line",
    "known_prefix",
    "latest",
    "limits",
    "list_scans",
    "list_snapshots",
    "panel",
    "pattern_of",
    "set_limits",
    "start_scan",
    "take_sample",
    "usual_kind",
]
