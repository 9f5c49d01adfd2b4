"""Use cases of purges; see ``purges``, ``limits``, ``schedules`` and ``report`` for each."""

from dashboard.invalidation.limits import limits, set_limits
from dashboard.invalidation.purges import (
    active_purges,
    approve,
    cancel,
    create,
    friction_of,
    get_purge,
    list_purges,
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

__all__ = [
    "active_purges",
    "approve",
    "cancel",
    "create",
    "create_schedule",
    "friction_of",
    "get_purge",
    "limits",
    "list_purges",
    "list_schedules",
    "next_firings",
    "pause",
    "pause_schedule",
    "recount",
    "remove_schedule",
    "report_chunks",
    "resume",
    "resume_schedule",
    "row_mappings",
    "set_limits",
    "under_way",
]
