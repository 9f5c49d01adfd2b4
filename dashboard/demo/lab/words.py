"""The lab's numbers in words. Pure."""

from dashboard.demo.lab.types import AT_MOST, HIGHER, LOWER, Check, Number, Result
from dashboard.web.formats import NOT_AVAILABLE, byte_size, duration, number, percent


def in_words(value: float | None, unit: str) -> str:
    """A value in base units: ``142 ms``, ``0.3%``, ``8 MB``, ``€3.90``, ``1,950/s``."""
    if value is None:
        return NOT_AVAILABLE
    match unit:
        case "s":
            return f"-{duration(-value)}" if value < 0 else duration(value)
        case "ratio":
            return percent(value)
        case "bytes":
            return byte_size(value)
        case "cents":
            return f"{'-' if value < 0 else ''}€{abs(value) / 100:,.2f}"
        case "per_s":
            return f"{number(value)}/s"
        case _:
            return number(value)


def verdict(result: Result) -> str:
    """``passed``, ``failed`` or ``void``."""
    return "void" if result.void else "passed" if result.passed else "failed"


def found(check: Check) -> str:
    """What a check found and what is allowed: ``38 ms, at most 100 ms``, ``3, none allowed``."""
    if check.value is None:
        return "could not be measured"
    if check.limit is None:
        return in_words(check.value, check.unit)
    value, limit = in_words(check.value, check.unit), in_words(check.limit, check.unit)
    if check.bound == AT_MOST and check.limit == 0:
        return f"{value}, none allowed"
    return f"{value}, {check.bound or 'limit'} {limit}"


def change(before: float | None, after: float | None) -> str:
    """From one value to another: ``-86%``, ``+12%``, ``×14``; empty where that says nothing."""
    if before is None or after is None or before == after:
        return "" if before is None or after is None else "same"
    if before <= 0:
        return ""
    factor = after / before
    if factor >= 10:
        return f"×{number(round(factor))}"
    return f"{'+' if factor > 1 else '-'}{percent(abs(factor - 1))}"


def is_better(one: Number, before: float | None) -> bool | None:
    """Whether a number is better than another value of it; None: neither, or nobody knows."""
    if one.value is None or before is None or one.value == before or one.better not in (LOWER, HIGHER):
        return None
    return (one.value < before) == (one.better == LOWER)
