"""Cron lines: five fields, UTC. Pure.

APScheduler computes the firings, but counts weekdays from Monday, where every crontab counts from Sunday: they are
written out as names first.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from apscheduler.triggers.cron import CronTrigger

from dashboard.errors import InvalidInput

FIELDS: Final = ("minute", "hour", "day of month", "month", "day of week")
LONGEST: Final = 200
_TAKES: Final = (
    ("minute", "0 to 59"),
    ("hour", "0 to 23"),
    ("day", "1 to 31"),
    ("month", "1 to 12 or jan to dec"),
)
"""APScheduler's names of the fields before the weekday, and what may stand in them."""
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELD: Final = re.compile(r"[0-9a-z*/,-]+")
_DAY_PART: Final = re.compile(r"(\*|[0-7]|[a-z]{3})(?:-([0-7]|[a-z]{3}))?(?:/([1-7]))?")


def firings(line: str, after: datetime, count: int = 3) -> tuple[datetime, ...]:
    """The next moments at which a cron line fires.

    Args:
        line: "minute hour day-of-month month day-of-week".
        after: aware; the first one is later.

    Raises:
        InvalidInput: it is no cron line, or it never fires; field ``cron``.
    """
    trigger = _trigger(line)
    found: list[datetime] = []
    at = after.astimezone(UTC)
    while len(found) < count:
        at = trigger.get_next_fire_time(None, at + timedelta(microseconds=1))
        if at is None:
            break
        found.append(at)
    if not found:
        raise _refused(f"This never happens: {' '.join(line.split())}.")
    return tuple(found)


def canonical(line: str) -> str:
    """The line with single spaces, in lower case."""
    return " ".join(line.lower().split())


def _trigger(line: str) -> CronTrigger:
    fields = canonical(line[: LONGEST + 1]).split()
    if len(fields) != len(FIELDS) or len(line) > LONGEST:
        raise _refused(f"Enter five fields: {', '.join(FIELDS)}; for example 0 4 * * 1-5.")
    for name, field in zip(FIELDS, fields, strict=True):
        if not _FIELD.fullmatch(field):
            raise _refused(f"The {name} can't be {field}.")
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise _refused(
            "Name days of the month or days of the week: programs differ in what both together mean."
        )
    days = _weekdays(weekday)
    for name, (key, takes), field in zip(FIELDS, _TAKES, (minute, hour, day, month), strict=False):
        try:
            CronTrigger(**{key: field}, timezone=UTC)
        except ValueError:
            raise _refused(
                f"The {name} can't be {field}: it takes {takes}, as one number, a list (1,15), a range (1-5) or"
                " steps (*/2)."
            ) from None
    return CronTrigger(minute=minute, hour=hour, day=day, month=month, day_of_week=days, timezone=UTC)


def _weekdays(field: str) -> str:
    if field == "*":
        return field
    found: set[int] = set()
    for part in field.split(","):
        match = _DAY_PART.fullmatch(part)
        if match is None:
            raise _refused(f"The {FIELDS[-1]} can't be {part}.")
        first, last, step = match.groups()
        low = 0 if first == "*" else _day(first)
        if last is not None and first != "*":
            high = _day(last)
        elif first == "*" or step:
            high = 6
        else:
            high = low
        if high < low:
            # sat-mon goes over the end of the week, as does 5-0.
            high += 7
        found |= {day % 7 for day in range(low, high + 1, int(step or 1))}
    return ",".join(_DAYS[day] for day in sorted(found))


def _day(text: str) -> int:
    if text.isdigit():
        return int(text)
    if text not in _DAYS:
        raise _refused(f"The {FIELDS[-1]} can't be {text}.")
    return _DAYS.index(text)


def _refused(message: str) -> InvalidInput:
    return InvalidInput("That is no time to purge at.", fields={"cron": message})
