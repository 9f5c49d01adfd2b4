"""Use cases of purges; see ``purges``, ``limits``, ``schedules`` and ``report`` for each.

How lists are read, for whoever has them as files, is here, too (``selection``).
"""

from dashboard.invalidation.limits import limits, set_limits
from dashboard.invalidation.purges import (
    STALE_AFTER,
    active_purges,
    approve,
    cancel,
    create,
    friction_of,
    get_purge,
    is_empty,
    list_purges,
    marks,
    pause,
    recount,
    resume,
    under_way,
)
from dashboard.invalidation.report import report_chunks
from dashboard.invalidation.rows import row_mappings
from dashboard.invalidation.schedules import (
    create_schedule,
    list_schedules,
    next_firings,
    pause_schedule,
    remove_schedule,
    resume_schedule,
)
from dashboard.invalidation.selection import decode_upload, filter_words, parse_ids, read_keys

__all__ = [
    "STALE_AFTER",
    "active_purges",
    "approve",
    "cancel",
    "create",
    "create_schedule",
    "decode_upload",
    "filter_words",
    "friction_of",
    "get_purge",
    "is_empty",
    "limits",
    "list_purges",
    "list_schedules",
    "marks",
    "next_firings",
    "parse_ids",
    "pause",
    "pause_schedule",
    "read_keys",
    "recount",
    "remove_schedule",
    "report_chunks",
    "resume",
    "resume_schedule",
    "row_mappings",
    "set_limits",
    "under_way",
]
