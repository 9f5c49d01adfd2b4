"""What the validator refuses, in the words of a form: the unit that was typed, and the way out. Pure.

The validator (``caching.policy``) decides and says kind and bounds of a problem in seconds; nothing is decided here.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from dashboard.caching.errors import PolicyError, Problem, Wrong
from dashboard.caching.policy import (
    MAX_GRACE_S,
    MAX_NEGATIVE_TTL_S,
    PolicyDocument,
    Tier,
    parse_policy,
    prefix_from_text,
)
from dashboard.policies import words
from dashboard.policies.forms import (
    PERCENT,
    UNITS,
    TypedPolicy,
    TypedTier,
    shown_policy,
    shown_tier,
)
from dashboard.policies.types import ItemKind
from dashboard.web.numbers import decimal_of

LABELS: Final = {
    "prefix": "Prefix",
    "tier": "Tier",
    "base_ttl_s": "TTL",
    "jitter_s": "Jitter",
    "strategy": "A write",
    "protection.grace_s": "Serve stale for",
    "protection.early_refresh_beta": "Early refresh",
    "negative_ttl_s": "Remember “there is none”",
    "longest_wait_s": "Longest wait",
    "note": "Note",
    "name": "Name",
    "label": "Label",
    "min_ttl_s": "Shortest TTL",
    "max_ttl_s": "Longest TTL",
    "table": "Table",
    "column": "Column",
    "templates": "Keys",
}
"""Fields as the forms call them."""
_LONGEST_ECHO: Final = 30
_MOST_IN_UNIT: Final = 9_999
"""Larger numbers are easier to read in a larger unit than the one typed."""

_Say = Callable[[Problem], str]


def of_policy(problems: Iterable[Problem], typed: TypedPolicy, tiers: Iterable[Tier]) -> dict[str, str]:
    """A message per field of a policy's form, the first where there are several.

    Args:
        problems: the validator's.
        typed: what stood in the form.
        tiers: those it could choose from.
    """
    known = {tier.name: tier for tier in tiers}
    return _said(
        problems,
        {
            "prefix": lambda problem: _prefix(problem, typed.prefix),
            "tier": lambda problem: "Choose one of the tiers.",
            "base_ttl_s": lambda problem: _base(problem, typed, known),
            "jitter_s": lambda problem: _jitter(problem, typed, known.get(typed.tier)),
            "strategy": lambda problem: "Choose Cache-aside or Write-through.",
            "protection.grace_s": lambda problem: _grace(problem, typed),
            "protection.early_refresh_beta": lambda problem: (
                f"{_outside(problem, typed.early_refresh_beta)} Enter {problem.low:g} to {problem.high:g},"
                " or leave it empty."
            ),
            "negative_ttl_s": lambda problem: _negative(problem, typed.negative_ttl),
            "longest_wait_s": lambda problem: (
                f"{_outside(problem, typed.longest_wait, 's')} Enter {problem.low:g} to {problem.high:g} s."
            ),
            "note": lambda problem: _length(problem, typed.note),
        },
    )


def check_policy(
    values: Mapping[str, Any], typed: TypedPolicy, tiers: Iterable[Tier], *, is_default: bool
) -> dict[str, str]:
    """What would be refused of a form that is still being filled in.

    Args:
        values: the document's fields of ``typed``.
        is_default: it has no prefix.
    """
    tiers = tuple(tiers)
    try:
        parse_policy(values, tiers, is_default=is_default)
    except PolicyError as error:
        return of_policy(error.problems, typed, tiers)
    return {}


def of_tier(problems: Iterable[Problem], typed: TypedTier) -> dict[str, str]:
    """The same of a tier's form."""
    return _said(
        problems,
        {
            "name": lambda problem: _length(problem, typed.name),
            "label": lambda problem: _length(problem, typed.label),
            "min_ttl_s": lambda problem: _bound(problem, typed.low, typed.low_unit),
            "max_ttl_s": lambda problem: _bound(problem, typed.high, typed.high_unit),
        },
    )


def of_mapping(problems: Iterable[Problem], templates: Sequence[str]) -> dict[str, str]:
    """The same of a mapping's form, whose templates are one field.

    Args:
        templates: as they were given.
    """
    fields: dict[str, str] = {}
    for problem in problems:
        field, _, index = problem.path.partition("[")
        message = problem.message
        if field in ("table", "column") and problem.code is Wrong.LENGTH:
            message = f"Enter a name of up to {problem.high:,.0f} characters."
        elif index:
            message = f"{_short(templates[int(index.rstrip(']'))])}: {message}"
        fields.setdefault(field, message)
    return fields


def of_document(problems: Iterable[Problem], document: PolicyDocument) -> tuple[tuple[str, str], ...]:
    """Why a staged document can't be published: (policy or tier, the field and what is wrong with it)."""
    found = []
    for problem in problems:
        place, _, rest = problem.path.partition("].")
        field, _, index = place.partition("[")
        if field == "tiers" and index.isdigit():
            tier = document.tiers[int(index)]
            title, said = tier.label, of_tier([problem._replace(path=rest)], shown_tier(tier.to_dict()))
        elif field == "policies" and index.isdigit():
            policy = document.policies[int(index)]
            title, typed = policy.prefix_text, shown_policy(policy.to_dict())
            said = of_policy([problem._replace(path=rest)], typed, document.tiers)
        elif field == "mappings" and index.isdigit():
            mapping = document.mappings[int(index)]
            title, said = mapping.name, of_mapping([problem._replace(path=rest)], mapping.templates)
            rest = next(iter(said))
        elif problem.path.startswith("default."):
            rest = problem.path.removeprefix("default.")
            title, typed = words.OTHER_KEYS, shown_policy(document.default.to_dict())
            said = of_policy([problem._replace(path=rest)], typed, document.tiers)
        else:
            title, said = "", {problem.path: problem.message}
            rest = problem.path
        label = LABELS.get(rest, rest)
        found.append((title, f"{label}: {said[rest]}" if label else said[rest]))
    return tuple(found)


# --- fields -----------------------------------------------------------------------------------------------------


def _said(problems: Iterable[Problem], says: Mapping[str, _Say]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for problem in problems:
        say = says.get(problem.path)
        is_plain = say is None or problem.code is Wrong.OTHER
        fields.setdefault(problem.path, problem.message if is_plain or say is None else say(problem))
    return fields


def _prefix(problem: Problem, typed: str) -> str:
    if problem.code is Wrong.MISSING or not typed.strip():
        return "Enter the start of the keys, such as news:. Keys that no prefix matches follow “Other keys”."
    if problem.code is Wrong.LENGTH:
        return f"It has {len(prefix_from_text(typed.strip())):,} bytes; at most {problem.high:,.0f} fit."
    return problem.message


def _base(problem: Problem, typed: TypedPolicy, tiers: Mapping[str, Tier]) -> str:
    if problem.code is Wrong.UNCACHED:
        return "This tier stores nothing: leave it empty."
    if problem.low is None or problem.high is None:
        return "Enter how long values are kept."
    allowed = _span(problem.low, problem.high, typed.base_ttl_unit)
    base = _in_seconds(typed.base_ttl, typed.base_ttl_unit)
    if base is None or base != int(base):
        wrong = _unreadable(typed.base_ttl, typed.base_ttl_unit) if typed.base_ttl.strip() else ""
        return f"{wrong} Enter {allowed}.".strip()
    fitting = next((tier for tier in tiers.values() if _holds(tier, base)), None)
    name = words.title(ItemKind.POLICY, typed.prefix.strip())
    way_out = f", or move {name} to {fitting.label}" if fitting else ""
    return f"{_echo(typed.base_ttl, typed.base_ttl_unit)} is outside this tier. Enter {allowed}{way_out}."


def _jitter(problem: Problem, typed: TypedPolicy, tier: Tier | None) -> str:
    if problem.code is Wrong.UNCACHED or tier is None or tier.max_ttl_s is None or problem.high is None:
        return "This tier stores nothing: leave it at 0."
    base = _in_seconds(typed.base_ttl, typed.base_ttl_unit)
    is_share = typed.jitter_unit == PERCENT
    if not is_share:
        most = _amount(problem.high, typed.jitter_unit)
    elif base:
        most = f"{int(Decimal(problem.high) * 100 / base):,}%"
    else:
        most = words.seconds(int(problem.high))
    value = decimal_of(typed.jitter)
    if value is None:
        return f"{_unreadable(typed.jitter, typed.jitter_unit)} Enter 0 to {most}."
    if value < 0:
        return f"Jitter only adds to the TTL. Enter 0 to {most}."
    if not is_share and value * UNITS[typed.jitter_unit] % 1:
        return f"{_unreadable(typed.jitter, typed.jitter_unit)} Enter 0 to {most}."
    if base is None or not _holds(tier, base):
        return f"{_echo(typed.jitter, typed.jitter_unit)} goes beyond this tier. Enter at most {most}."
    way_out = f"Enter at most {most}" if problem.high else "Leave it at 0, or lower the TTL"
    whole = f"{_echo(typed.base_ttl, typed.base_ttl_unit)} + up to {_echo(typed.jitter, typed.jitter_unit)}"
    return f"{whole} goes beyond this tier's {words.seconds(tier.max_ttl_s)}. {way_out}."


def _grace(problem: Problem, typed: TypedPolicy) -> str:
    high = problem.high or 0
    reason = ", ten times the TTL" if high < MAX_GRACE_S else ""
    most = _amount(high, typed.grace_unit)
    return (
        f"{_outside(problem, typed.grace, typed.grace_unit)}"
        f" Enter {_amount(problem.low or 0, 's')} to {most}{reason}, or leave it empty."
    )


def _negative(problem: Problem, typed: str) -> str:
    high = problem.high or 0
    reason = " (the TTL)" if high < MAX_NEGATIVE_TTL_S else ""
    return f"{_outside(problem, typed, 's')} Enter 0 to {high:,.0f} s{reason}; 0 switches it off."


def _bound(problem: Problem, typed: str, unit: str) -> str:
    low, high = problem.low or 0, problem.high or 0
    allowed = _span(low, high, unit)
    if not typed.strip():
        return f"Enter {allowed}."
    return f"{_outside(problem, typed, unit)} Enter {allowed}."


def _length(problem: Problem, typed: str) -> str:
    if problem.code is not Wrong.LENGTH:
        return problem.message
    if not typed.strip():
        return f"Enter up to {problem.high:,.0f} characters."
    return f"It has {len(typed):,} characters; at most {problem.high:,.0f} fit."


# --- amounts ----------------------------------------------------------------------------------------------------


def _outside(problem: Problem, typed: str, unit: str = "") -> str:
    """What is wrong with a number: "90 h is too much."."""
    value = decimal_of(typed) if not unit else _in_seconds(typed, unit)
    if value is None:
        return _unreadable(typed, unit)
    if problem.high is not None and value > problem.high:
        return f"{_echo(typed, unit)} is too much."
    if problem.low is not None and value < problem.low:
        return f"{_echo(typed, unit)} is too little."
    return _unreadable(typed, unit)


def _unreadable(typed: str, unit: str) -> str:
    if decimal_of(typed) is None:
        return f"“{_short(typed)}” can't be read as a number."
    return f"{_echo(typed, unit)} is no whole number of seconds."


def _echo(typed: str, unit: str) -> str:
    return _short(typed) + (unit if unit == PERCENT else f" {unit}" if unit else "")


def _short(typed: str) -> str:
    text = typed.strip()
    return text if len(text) <= _LONGEST_ECHO else text[: _LONGEST_ECHO - 1] + "…"


def _in_seconds(typed: str, unit: str) -> Decimal | None:
    value = decimal_of(typed)
    return None if value is None else value * UNITS.get(unit, 1)


def _amount(value_s: float, unit: str) -> str:
    """Seconds in the unit that was typed, where that is a handy whole number."""
    size = UNITS.get(unit, 1)
    if value_s % size == 0 and value_s / size <= _MOST_IN_UNIT:
        return f"{value_s / size:,.0f} {unit}"
    return words.seconds(int(value_s))


def _span(low_s: float, high_s: float, unit: str) -> str:
    low, high = _amount(low_s, unit), _amount(high_s, unit)
    if low.endswith(f" {unit}") and high.endswith(f" {unit}") and low.count(" ") == high.count(" ") == 1:
        return f"{low.removesuffix(f' {unit}')} to {high}"
    return words.span(int(low_s), int(high_s))


def _holds(tier: Tier, base: Decimal) -> bool:
    return (
        tier.min_ttl_s is not None and tier.max_ttl_s is not None and tier.min_ttl_s <= base <= tier.max_ttl_s
    )
