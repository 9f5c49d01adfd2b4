"""The filter of the log as it stands in the URL."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from dashboard.audit.types import Filter, FilterForm

SPANS = {"today": "Today", "2d": "2 d", "7d": "7 d", "30d": "30 d"}
MOST_PATTERNS = 20
_LONGEST = {"who": 100, "action": 500, "from": 40, "to": 40, "contains": 200}
_PATTERN = re.compile(r"[a-z0-9:*-]{1,80}")
_MINUTE = re.compile(r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}")


def parse_filter(args: Mapping[str, str], now: datetime) -> tuple[FilterForm, Filter, dict[str, str]]:
    """Read the query of the page.

    Args:
        args: the query parameters who, action, from, to, contains and span.
        now: the current time, for "today" and the like.

    Returns:
        What was typed, what it asks for, and a message per field that can't be taken.
    """
    typed = {name: args.get(name, "").strip() for name in _LONGEST}
    span = args.get("span", "")
    errors = {
        name: f"Longer than {longest} characters."
        for name, longest in _LONGEST.items()
        if len(typed[name]) > longest
    }
    typed = {name: text[: _LONGEST[name]] for name, text in typed.items()}
    if span not in SPANS or typed["from"] or typed["to"]:
        span = ""  # an own range wins over a named one
    form = FilterForm(typed["who"], typed["action"], typed["from"], typed["to"], typed["contains"], span)

    patterns = tuple(part for part in re.split(r"[,\s]+", form.action) if part)
    if any(not _PATTERN.fullmatch(part) for part in patterns):
        errors.setdefault(
            "action", "Takes names like auth:user:create; * stands for any text, a comma for or."
        )
    elif len(patterns) > MOST_PATTERNS:
        errors.setdefault("action", f"Takes up to {MOST_PATTERNS} names.")
    start = _moment(form.start, "from", timedelta(), errors)
    # "To 14:26" holds what happened within that minute, "to the 22nd" that day.
    end = _moment(form.end, "to", _step(form.end), errors)
    if start is not None and end is not None and start >= end:
        errors.setdefault("to", "Is before From.")
    if span:
        start = span_start(span, now)
    return form, Filter(form.who, patterns, start, end, form.contains), errors


def span_start(span: str, now: datetime) -> datetime:
    """The first moment of a named range; days are UTC days, and today counts as the first."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = 1 if span == "today" else int(span.removesuffix("d"))
    return midnight - timedelta(days=days - 1)


def _moment(text: str, name: str, plus: timedelta, errors: dict[str, str]) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC) + plus
    except (ValueError, OverflowError):
        errors.setdefault(name, "Takes a time such as 2026-11-22 14:30.")
        return None


def _step(text: str) -> timedelta:
    if len(text) <= 10:
        return timedelta(days=1)
    return timedelta(minutes=1) if _MINUTE.fullmatch(text) else timedelta(seconds=1)
