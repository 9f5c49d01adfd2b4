"""The forms of policies and tiers: text and units on one side, the document's fields on the other. Pure.

Names of fields are the document's paths, so that a problem finds its field. A length of time has two: ``base_ttl_s``
holds the number and ``base_ttl_s.unit`` what it counts. What is no number stays text: the document's validator
refuses it, and only that validator decides what is allowed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from dashboard.errors import InvalidInput
from dashboard.policies.types import LONGEST_BYPASS_MIN
from dashboard.web.numbers import decimal_of

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
PERCENT = "%"
MOST_KEYS = 100_000_000
"""The largest burst that a preview draws."""


@dataclass(frozen=True, slots=True)
class TypedPolicy:
    """What stands in the fields of a policy's form."""

    prefix: str = ""
    tier: str = ""
    base_ttl: str = ""
    base_ttl_unit: str = "s"
    jitter: str = ""
    jitter_unit: str = "s"
    strategy: str = "cache-aside"
    lease: bool = True
    early_refresh_beta: str = ""
    grace: str = ""
    grace_unit: str = "s"
    negative_ttl: str = ""
    longest_wait: str = ""
    note: str = ""
    keys: str = ""


@dataclass(frozen=True, slots=True)
class TypedTier:
    """What stands in the fields of a tier's form."""

    name: str = ""
    label: str = ""
    is_cached: bool = True
    low: str = ""
    low_unit: str = "s"
    high: str = ""
    high_unit: str = "s"


@dataclass(frozen=True, slots=True)
class TypedMapping:
    """What stands in the fields of a mapping's form; ``templates``: one on each line."""

    table: str = ""
    column: str = ""
    templates: str = ""


def typed_policy(form: Mapping[str, str]) -> TypedPolicy:
    """The form as it was sent."""
    get = form.get
    return TypedPolicy(
        prefix=get("prefix", ""),
        tier=get("tier", ""),
        base_ttl=get("base_ttl_s", ""),
        base_ttl_unit=_unit(form, "base_ttl_s"),
        jitter=get("jitter_s", ""),
        jitter_unit=_unit(form, "jitter_s", PERCENT),
        strategy=get("strategy", ""),
        lease="protection.lease" in form,
        early_refresh_beta=get("protection.early_refresh_beta", ""),
        grace=get("protection.grace_s", ""),
        grace_unit=_unit(form, "protection.grace_s"),
        negative_ttl=get("negative_ttl_s", ""),
        longest_wait=get("longest_wait_s", ""),
        note=get("note", ""),
        keys=get("keys", ""),
    )


def shown_policy(values: Mapping[str, Any]) -> TypedPolicy:
    """The form of a policy as the document has it."""
    protection = values.get("protection") or {}
    base, base_unit = _split(values.get("base_ttl_s"))
    jitter, jitter_unit = _split(values.get("jitter_s"), otherwise=base_unit)
    grace, grace_unit = _split(protection.get("grace_s"))
    return TypedPolicy(
        prefix=_text(values.get("prefix")),
        tier=_text(values.get("tier")),
        base_ttl=base,
        base_ttl_unit=base_unit,
        jitter=jitter,
        jitter_unit=jitter_unit,
        strategy=_text(values.get("strategy")) or "cache-aside",
        lease=bool(protection.get("lease", True)),
        early_refresh_beta=_text(protection.get("early_refresh_beta")),
        grace=grace,
        grace_unit=grace_unit,
        negative_ttl=_text(values.get("negative_ttl_s", 0)),
        longest_wait=_text(values.get("longest_wait_s", 5)),
        note=_text(values.get("note")),
    )


def policy_values(typed: TypedPolicy, *, is_default: bool, is_cached: bool = True) -> dict[str, Any]:
    """The document's fields of a typed policy, for the validator.

    Args:
        is_default: it has no prefix.
        is_cached: its tier caches; otherwise what stands in the fields of the TTL no longer counts.
    """
    base = _seconds(typed.base_ttl, typed.base_ttl_unit) if is_cached else None
    values: dict[str, Any] = {} if is_default else {"prefix": typed.prefix.strip()}
    return values | {
        "tier": typed.tier,
        "base_ttl_s": base,
        "jitter_s": (_jitter(typed, base) or 0) if is_cached else 0,
        "strategy": typed.strategy,
        "protection": {
            "lease": typed.lease,
            "early_refresh_beta": _number(typed.early_refresh_beta),
            "grace_s": _seconds(typed.grace, typed.grace_unit),
        },
        "negative_ttl_s": _number(typed.negative_ttl) or 0,
        "longest_wait_s": 5.0 if (wait := _number(typed.longest_wait)) is None else wait,
        "note": typed.note.replace("\r\n", "\n"),
    }


def typed_tier(form: Mapping[str, str]) -> TypedTier:
    """The form as it was sent."""
    return TypedTier(
        name=form.get("name", ""),
        label=form.get("label", ""),
        is_cached=form.get("is_cached", "yes") == "yes",
        low=form.get("min_ttl_s", ""),
        low_unit=_unit(form, "min_ttl_s"),
        high=form.get("max_ttl_s", ""),
        high_unit=_unit(form, "max_ttl_s"),
    )


def shown_tier(values: Mapping[str, Any]) -> TypedTier:
    """The form of a tier as the document has it."""
    low, low_unit = _split(values.get("min_ttl_s"))
    high, high_unit = _split(values.get("max_ttl_s"), otherwise=low_unit)
    return TypedTier(
        name=_text(values.get("name")),
        label=_text(values.get("label")),
        is_cached=not ("min_ttl_s" in values and values["min_ttl_s"] is None),
        low=low,
        low_unit=low_unit,
        high=high,
        high_unit=high_unit,
    )


def tier_values(typed: TypedTier) -> dict[str, Any]:
    """The document's fields of a typed tier, for the validator."""
    return {
        "name": typed.name.strip(),
        "label": typed.label.strip(),
        "min_ttl_s": _seconds(typed.low, typed.low_unit, empty="") if typed.is_cached else None,
        "max_ttl_s": _seconds(typed.high, typed.high_unit, empty="") if typed.is_cached else None,
    }


def typed_mapping(form: Mapping[str, str]) -> TypedMapping:
    """The form as it was sent."""
    return TypedMapping(form.get("table", ""), form.get("column", ""), form.get("templates", ""))


def shown_mapping(values: Mapping[str, Any]) -> TypedMapping:
    """The form of a mapping as the document has it."""
    return TypedMapping(
        _text(values.get("table")), _text(values.get("column")), "\n".join(values["templates"])
    )


def mapping_values(typed: TypedMapping) -> dict[str, Any]:
    """The document's fields of a typed mapping, for the validator."""
    lines = (line.strip() for line in typed.templates.splitlines())
    return {
        "table": typed.table.strip(),
        "column": typed.column.strip(),
        "templates": [line for line in lines if line],
    }


def burst_keys(typed: TypedPolicy) -> int | None:
    """How many keys the preview's burst writes; None where that was left to us.

    Raises:
        InvalidInput: it is no number of keys.
    """
    value = _number(typed.keys)
    if value is None:
        return None
    if not isinstance(value, int) or not 1 <= value <= MOST_KEYS:
        message = f"Enter 1 to {MOST_KEYS:,} keys, or leave it empty."
        raise InvalidInput(message, fields={"keys": message})
    return value


def minutes(text: str) -> int:
    """The length of a bypass.

    Raises:
        InvalidInput: it is no whole number of minutes within the limit.
    """
    value = _number(text)
    if not isinstance(value, int) or not 1 <= value <= LONGEST_BYPASS_MIN:
        message = f"Enter 1 to {LONGEST_BYPASS_MIN:,} minutes; longer, and No cache is the better tier."
        raise InvalidInput(message, fields={"minutes": message})
    return value


def _unit(form: Mapping[str, str], name: str, *more: str) -> str:
    unit = form.get(f"{name}.unit", "s")
    return unit if unit in UNITS or unit in more else "s"


def _jitter(typed: TypedPolicy, base: object) -> object:
    if typed.jitter_unit != PERCENT:
        return _seconds(typed.jitter, typed.jitter_unit)
    share = _number(typed.jitter)
    if isinstance(share, int | float) and isinstance(base, int):
        return round(base * share / 100)
    return share


def _seconds(text: str, unit: str, *, empty: object = None) -> object:
    """Seconds as a whole number where they are whole, else a number, else the text; ``empty`` for nothing."""
    value = decimal_of(text)
    if value is not None:
        return _plain(value * UNITS.get(unit, 1))
    return text.strip() or empty


def _number(text: str) -> object:
    value = decimal_of(text)
    return text.strip() or None if value is None else _plain(value)


def _plain(value: Decimal) -> int | float:
    return int(value) if value == value.to_integral_value() else float(value)


def _split(value: object, otherwise: str = "s") -> tuple[str, str]:
    """Seconds as a number and the largest unit that needs no fraction; what is no number stays as it is."""
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        return _text(value), otherwise if value == 0 else "s"
    unit = next(unit for unit in reversed(UNITS) if value % UNITS[unit] == 0)
    return str(value // UNITS[unit]), unit


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        # Never 1e-05, which no form takes.
        return str(int(value)) if value.is_integer() else format(Decimal(str(value)), "f")
    return str(value)
