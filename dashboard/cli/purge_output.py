"""Purges as the command line says them: in lines, and as JSON. Pure."""

import json
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from dashboard.fleet.text import display
from dashboard.invalidation import service
from dashboard.invalidation.types import (
    Action,
    Friction,
    Limits,
    Plan,
    Preview,
    Purge,
    Schedule,
    SelectBy,
    State,
)
from dashboard.web.formats import byte_size, duration, number, percent

_SLOWED: Final = {
    "probe": "slowed down for other clients",
    "memory": "slowed down while memory is freed",
    "replication": "slowed down for the replicas",
    "database": "slowed down for the database",
    "limit": "as fast as the limits allow",
}
BEGINS: Final = "is about to begin"
_TABLE: Final = ("NUMBER", "STATE", "ACTION", "KEYS", "STARTED", "BY", "WHAT")


def preview_lines(preview: Preview, action: Action | None = None) -> Iterator[str]:
    """What a purge would touch, one thing a line.

    Args:
        action: what it does to them, where that is to be said when it is not what it is called.
    """
    error = f", give or take {preview.keys_error:,}" if preview.keys_error else ""
    of = f" of {preview.keyspace:,} in the cache" if preview.keyspace else ""
    yield f"{'About ' if error else ''}{keys(preview.keys)}{error}{of}."
    if preview.named is not None and preview.named != preview.keys:
        yield f"{preview.named:,} are named; the others are not there."
    if preview.size_bytes is not None and preview.keys:
        share = (
            f", {percent(preview.size_bytes / preview.used_memory_bytes)} of its memory"
            if preview.used_memory_bytes
            else ""
        )
        yield f"About {byte_size(preview.size_bytes)}{share}."
    if preview.by_policy:
        parts = (f"{name or 'other keys'} {percent(share)}" for name, share in preview.by_policy.items())
        yield f"By policy: {', '.join(parts)}."
    if action is Action.SOFT and preview.without_grace:
        yield f"{percent(preview.without_grace)} of them can't be served stale by their policy: those are removed."


def progress_line(purge: Purge, before: Sequence[int] = ()) -> str:
    """How far it is, in one line.

    Args:
        before: the purges that it waits for.
    """
    progress = purge.progress
    if purge.state is State.WAITING:
        at = purge.plan.at
        if at is not None and not progress.scanned:
            return f"waits for {moment(at)}"
        return f"waits for purge {', '.join(map(str, before))} to end" if before else BEGINS
    if purge.state is State.PAUSED:
        return f"paused at {keys(progress.touched)}"
    parts = [done_text(purge)]
    if purge.share is not None:
        parts.append(f"{int(purge.share * 100)}% of the keys looked at")
    if progress.keys_per_s:
        parts.append(f"{number(progress.keys_per_s)} keys/s")
    if progress.waits_for:
        parts.append(progress.waits_for)
    elif _SLOWED.get(progress.slowed_by):
        parts.append(_SLOWED[progress.slowed_by])
    return ", ".join(parts)


def counting_line(purge: Purge) -> str:
    """How far its count is, in one line; empty: it is over, or nobody knows yet."""
    if purge.state is not State.DRAFT or purge.problem or not purge.counted:
        return ""
    of = f" of about {purge.to_count:,}" if purge.to_count else ""
    return f"{purge.counted:,}{of} keys looked at"


def done_text(purge: Purge) -> str:
    """``12,000 of 200,000 keys``."""
    if purge.preview is None or not purge.preview.keys:
        return keys(purge.progress.touched)
    about = "about " if purge.preview.keys_error else ""
    return f"{purge.progress.touched:,} of {about}{keys(purge.preview.keys)}"


def only_text(plan: Plan) -> str:
    """The filters; empty: there are none."""
    return ", ".join(service.filter_words(plan.selection.filters, duration))


def result_line(purge: Purge) -> str:
    """How it ended, or where it stands."""
    progress = purge.progress
    skipped = f", {progress.skipped:,} needed no change" if progress.skipped else ""
    took = ""
    if purge.started_at is not None and purge.ended_at is not None:
        took = f" in {duration((purge.ended_at - purge.started_at).total_seconds())}"
    return f"Purge {purge.number} is {purge.state}: {keys(progress.touched)} touched{skipped}{took}."


def shown_lines(purge: Purge, cache_name: str, before: Sequence[int] = ()) -> Iterator[str]:
    """Everything about one purge, one thing a line.

    Args:
        before: the purges that it waits for.
    """
    plan = purge.plan
    yield f"Purge {purge.number} of {cache_name}: {purge.state}"
    yield f"What:      {plan.selection.target}"
    if only := only_text(plan):
        yield f"Only:      {only}"
    if plan.selection.by in (SelectBy.IDS, SelectBy.ROWS):
        yield f"Keys:      {', '.join(plan.selection.templates)}, {plan.selection.count:,} identifiers"
    yield f"Action:    {plan.action}"
    if purge.preview is not None:
        for line in preview_lines(purge.preview, plan.action):
            yield f"Preview:   {line}"
    if counting := counting_line(purge):
        yield f"Counting:  {counting}"
    if purge.cap:
        yield f"Approved:  at most {keys(purge.cap)}, {moment(purge.approved_at)}"
    if purge.started_at is not None:
        yield f"Progress:  {progress_line(purge, before) if purge.state.is_active else result_line(purge)}"
    if purge.reason:
        yield f"Reason:    {purge.reason}"
    if purge.problem:
        yield f"Problem:   {purge.problem}"
    yield f"By:        {purge.by} ({purge.source}), {moment(purge.created_at)}"


def table(purges: Sequence[Purge]) -> Iterator[str]:
    """A line for each."""
    rows = [
        (
            str(purge.number),
            str(purge.state),
            str(purge.plan.action),
            f"{purge.progress.touched:,}",
            moment(purge.started_at),
            purge.by,
            purge.plan.selection.target,
        )
        for purge in purges
    ]
    yield from columns(_TABLE, rows)


def schedule_table(schedules: Sequence[Schedule]) -> Iterator[str]:
    """A line for each."""
    rows = [
        (
            str(each.number),
            "paused" if each.next_at is None else moment(each.next_at),
            each.cron,
            each.last_note or (f"purge {each.last_purge} {each.last_state}" if each.last_purge else "never"),
            each.by,
            each.plan.selection.target,
        )
        for each in schedules
    ]
    yield from columns(("NUMBER", "NEXT", "CRON, UTC", "LAST", "BY", "WHAT"), rows)


def limit_lines(limits: Limits) -> Iterator[str]:
    """One limit a line."""
    budget = limits.database_budget_qps
    yield f"Database budget:        {'none' if budget is None else f'{budget:,g} reads/s'}"
    yield f"Typed confirmation:     above {keys(limits.typed_above)}"
    yield f"Speed at most:          {limits.most_keys_per_s:,} keys/s"
    yield f"Keys in one command:    {limits.batch:,}"
    yield f"Others may wait:        {limits.slowest_probe_ms:g} ms (p99)"
    yield f"Purges at a time:       {limits.at_a_time}"


def safe(text: str) -> str:
    """A line fit for a terminal: what moves the cursor, changes colours or turns the direction is an escape."""
    return display(text.encode("utf-8", "backslashreplace"))


def json_text(value: Any) -> str:
    """JSON to be read, in which the same characters are escaped."""
    made = json.dumps(value, indent=2, ensure_ascii=False)
    return made if made.isascii() and "\x7f" not in made else "".join(map(_json_safe, made))


def _json_safe(character: str) -> str:
    is_plain = character == "\n" or unicodedata.category(character) not in (
        "Cc",
        "Cf",
        "Co",
        "Cs",
        "Zl",
        "Zp",
    )
    if is_plain:
        return character
    return "\\u007f" if character == "\x7f" else json.dumps(character)[1:-1]


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Lines whose parts stand below each other; the last part is as long as it is."""
    lines = [tuple(head), *(tuple(map(safe, row)) for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(head) - 1)]
    for line in lines:
        padded = [part.ljust(width) for part, width in zip(line, widths, strict=False)]
        yield "  ".join((*padded, line[-1])).rstrip()


def purge_json(purge: Purge, cache_name: str, friction: Friction | None = None) -> dict[str, Any]:
    """A purge for programs. Names carry their units; times are ISO 8601, UTC.

    Args:
        friction: what its approval asks for, where it waits for one.
    """
    plan, preview, progress = purge.plan, purge.preview, purge.progress
    made: dict[str, Any] = {
        "number": purge.number,
        "cache": cache_name,
        "state": str(purge.state),
        "by": str(plan.selection.by),
        "target": plan.selection.target,
        "action": str(plan.action),
        "when": str(plan.when),
        "window_s": plan.window_s,
        "over_s": plan.over_s,
        "at": _iso(plan.at),
        "reason": purge.reason,
        "problem": purge.problem,
        "needs_count": purge.needs_count,
        "cap": purge.cap,
        "touched": progress.touched,
        "skipped": progress.skipped,
        "scanned": progress.scanned,
        "share": purge.share,
        "keys_per_s": progress.keys_per_s,
        "loads_per_s": progress.loads_per_s,
        "hit_ratio": progress.hit_ratio,
        "probe_p99_ms": progress.probe_p99_ms,
        "slowed_by": progress.slowed_by,
        "waits_for": progress.waits_for,
        "actor": purge.by,
        "source": purge.source,
        "created_at": _iso(purge.created_at),
        "approved_at": _iso(purge.approved_at),
        "started_at": _iso(purge.started_at),
        "ended_at": _iso(purge.ended_at),
        "preview": None,
        "asks_for": None,
    }
    if preview is not None:
        made["preview"] = {
            "counted_at": _iso(preview.counted_at),
            "keys": preview.keys,
            "keys_error": preview.keys_error,
            "named": preview.named,
            "keyspace": preview.keyspace,
            "size_bytes": preview.size_bytes,
            "size_error_bytes": preview.size_error_bytes,
            "by_policy": dict(preview.by_policy),
        }
    if friction is not None:
        made["asks_for"] = {
            "count": friction.confirm_count,
            "typed": friction.typed,
            "reason": friction.reason,
        }
    return made


def schedule_json(schedule: Schedule) -> dict[str, Any]:
    """A schedule for programs."""
    return {
        "number": schedule.number,
        "cron": schedule.cron,
        "target": schedule.plan.selection.target,
        "action": str(schedule.plan.action),
        "cap": schedule.cap,
        "reason": schedule.reason,
        "actor": schedule.by,
        "next_at": _iso(schedule.next_at),
        "last_at": _iso(schedule.last_at),
        "last_note": schedule.last_note,
        "last_purge": schedule.last_purge,
        "last_state": None if schedule.last_state is None else str(schedule.last_state),
    }


def limits_json(limits: Limits) -> dict[str, Any]:
    """Limits for programs."""
    return {
        "database_budget_qps": limits.database_budget_qps,
        "typed_above": limits.typed_above,
        "most_keys_per_s": limits.most_keys_per_s,
        "batch": limits.batch,
        "slowest_probe_ms": limits.slowest_probe_ms,
        "at_a_time": limits.at_a_time,
    }


def keys(count: int) -> str:
    """``1 key``, ``12,000 keys``."""
    return "1 key" if count == 1 else f"{count:,} keys"


def moment(at: datetime | None) -> str:
    """``2026-11-24 03:00 UTC``, ``not yet``."""
    return "not yet" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat()
