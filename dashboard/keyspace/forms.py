"""What was typed into the form of the limits. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dashboard.errors import InvalidInput
from dashboard.keyspace.types import ScanLimits
from dashboard.web.numbers import decimal_of

UNITS: Final[dict[str, int]] = {"m": 60, "h": 3_600, "d": 86_400}
_NUMBERS: Final = {"keys_per_s": True, "slowest_probe_ms": False, "size_every": True}
"""Whether each is a whole number."""
_LONGEST_DELIMITERS: Final = 40


@dataclass(frozen=True, slots=True)
class TypedLimits:
    """What stands in the form's fields."""

    keys_per_s: str = ""
    slowest_probe_ms: str = ""
    size_every: str = ""
    delimiters: str = ""
    sample_every_s: str = ""
    sample_every_unit: str = "m"
    full_every_s: str = ""
    full_every_unit: str = "h"
    prefers_replica: bool = False


def typed_limits(form: Mapping[str, str]) -> TypedLimits:
    """The form as it was sent."""

    def unit(name: str, usual: str) -> str:
        given = form.get(f"{name}.unit", "")
        return given if given in UNITS else usual

    return TypedLimits(
        keys_per_s=form.get("keys_per_s", ""),
        slowest_probe_ms=form.get("slowest_probe_ms", ""),
        size_every=form.get("size_every", ""),
        delimiters=form.get("delimiters", "")[:_LONGEST_DELIMITERS],
        sample_every_s=form.get("sample_every_s", ""),
        sample_every_unit=unit("sample_every_s", "m"),
        full_every_s=form.get("full_every_s", ""),
        full_every_unit=unit("full_every_s", "h"),
        prefers_replica="prefers_replica" in form,
    )


def shown_limits(limits: ScanLimits) -> TypedLimits:
    """The form of limits as they are."""
    sample, sample_unit = _split(limits.sample_every_s, "m")
    full, full_unit = _split(limits.full_every_s, "h")
    return TypedLimits(
        keys_per_s=str(limits.keys_per_s),
        slowest_probe_ms=f"{limits.slowest_probe_ms:.15g}",
        size_every=str(limits.size_every),
        delimiters=limits.delimiters,
        sample_every_s=sample,
        sample_every_unit=sample_unit,
        full_every_s=full,
        full_every_unit=full_unit,
        prefers_replica=limits.prefers_replica,
    )


def parse_limits(typed: TypedLimits, revision: int) -> ScanLimits:
    """What the form asks for; its bounds are the service's.

    Raises:
        InvalidInput: a message per field that holds no number.
    """
    errors: dict[str, str] = {}
    found: dict[str, float] = {}
    for name, is_whole in _NUMBERS.items():
        number = decimal_of(getattr(typed, name))
        if number is None:
            errors[name] = "Enter a number."
        elif is_whole and number != number.to_integral_value():
            errors[name] = "Enter a whole number."
        else:
            found[name] = int(number) if is_whole else float(number)
    for name, unit in (("sample_every_s", typed.sample_every_unit), ("full_every_s", typed.full_every_unit)):
        number = decimal_of(getattr(typed, name))
        seconds = None if number is None else number * UNITS[unit]
        if seconds is None or seconds != seconds.to_integral_value():
            errors[name] = "Enter a whole number; 0: never."
        else:
            found[name] = int(seconds)
    if errors:
        raise InvalidInput("The limits were not changed.", fields=errors)
    return ScanLimits(
        **found,  # type: ignore[arg-type]
        delimiters=typed.delimiters,
        prefers_replica=typed.prefers_replica,
        revision=revision,
    )


def _split(seconds: int, usual: str) -> tuple[str, str]:
    """A time and the largest unit that needs no fraction."""
    if not seconds:
        return "0", usual
    unit = next((unit for unit in reversed(UNITS) if seconds % UNITS[unit] == 0), "m")
    return f"{seconds / UNITS[unit]:g}", unit
