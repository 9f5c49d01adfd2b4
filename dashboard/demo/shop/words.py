"""The shop's numbers in words, and the other way round. Pure."""

import re
from datetime import datetime, timedelta
from typing import Final

DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LAST_HOUR: Final = 18
_PRICE: Final = re.compile(r"(\d{1,6})(?:[.,](\d{1,2}))?", re.ASCII)
_RANGE: Final = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", re.ASCII)


def euros(cents: int) -> str:
    """``€1,249.00``, ``-€3.90``."""
    return f"{'-' if cents < 0 else ''}€{abs(cents) / 100:,.2f}"


def amount(cents: int) -> str:
    """A price as it stands in a field: ``1249.00``."""
    return f"{cents // 100}.{cents % 100:02}"


def millis(seconds: float) -> str:
    """What a page took, in the unit that pages are measured in: ``0.8 ms``, ``41 ms``, ``0 ms``."""
    taken = seconds * 1000
    if taken < 0.095:
        return "<0.1 ms" if taken else "0 ms"
    return f"{taken:.1f} ms" if taken < 9.95 else f"{taken:,.0f} ms"


def pieces(number: int) -> str:
    """``1 piece``, ``23 pieces``."""
    return f"{number:,} {'piece' if number == 1 else 'pieces'}"


def cents_of(text: str) -> int | None:
    """Cents of a price as people type it: ``59``, ``59.00``, ``€ 59,5``; None: it is none."""
    found = _PRICE.fullmatch(text.strip().removeprefix("€").strip())
    if found is None:
        return None
    return int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))


def numbers_of(text: str, most: int) -> list[int] | None:
    """Numbers as people type them: ``1-20, 45``.

    Args:
        most: how many at most.

    Returns:
        Each once, in order; None: it can't be read, names none or too many.
    """
    found: set[int] = set()
    for part in filter(None, (each.strip() for each in text.split(","))):
        match = _RANGE.fullmatch(part)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if not first <= last < first + most:
            return None
        found.update(range(first, last + 1))
        if len(found) > most:
            return None
    return sorted(found) or None


def delivery(now: datetime) -> str:
    """The weekday of delivery of what is ordered now: two days on, three after six in the evening."""
    days = 2 if now.hour < LAST_HOUR else 3
    return DAYS[(now + timedelta(days=days)).weekday()]


FILTERS: Final = (euros, amount, millis, pieces)
"""Of the templates, by their names."""
