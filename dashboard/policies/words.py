"""Policies in words. Pure."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from dashboard.caching.policy import Policy, Strategy, Tier
from dashboard.policies.types import ItemKind
from dashboard.web.formats import day_and_time

OTHER_KEYS: Final = "Other keys"
NOT_CACHED: Final = "Not cached"
NO_VALUE: Final = "n/a"

STRATEGIES: Final = {Strategy.CACHE_ASIDE: "Cache-aside", Strategy.WRITE_THROUGH: "Write-through"}

_ICONS: Final = {
    "low-volatility": "hourglass",
    "frequently-updated": "clock",
    "hot": "zap",
    "no-cache": "ban",
}
_NOTES: Final = {
    "low-volatility": "Reference data that changes on a schedule: category tree, shipping zones.",
    "frequently-updated": "Changes daily, tolerates a short lag: product pages, sessions, articles.",
    "hot": "Changes by the minute, read constantly: stock levels, balances.",
    "no-cache": "Must be exact on every read: payments, one-time codes.",
}
_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s"))


@lru_cache(
    maxsize=1024
)  # comparing thousands of policies writes the same few lengths of time tens of thousands of times
def seconds(value: int) -> str:
    """An exact length of time: ``24 h``, ``30 s``, ``1 h 1 m 30 s``, ``3 d``."""
    if value == 0:
        return "0 s"
    parts = []
    for size, unit in _UNITS:
        # A day or two are said in hours, as tiers are.
        if unit == "d" and (value < 3 * size or value % size):
            continue
        count, value = divmod(value, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts)


def rounded(value_s: float) -> str:
    """A length of time in at most two units: ``1 h 6 m``, ``26 m``, ``12 s``."""
    parts = seconds(int(value_s)).split(" ")
    return " ".join(parts[:4])


def span(low: int, high: int) -> str:
    """A range of times, the unit once where both have it: ``1 to 6 h``, ``30 s to 2 m``."""
    first, second = seconds(low).split(" "), seconds(high).split(" ")
    if len(first) == len(second) == 2 and first[1] == second[1]:
        return f"{first[0]} to {second[0]} {second[1]}"
    return f"{' '.join(first)} to {' '.join(second)}"


def range_text(tier: Tier) -> str:
    """A tier's range: ``1 to 6 h``, ``Never stored``."""
    if tier.min_ttl_s is None or tier.max_ttl_s is None:
        return "Never stored"
    return span(tier.min_ttl_s, tier.max_ttl_s)


def tier_icon(tier: Tier) -> str:
    """The name of a tier's icon."""
    return _ICONS.get(tier.name, "clock" if tier.is_cached else "ban")


def tier_note(tier: Tier) -> str:
    """What one of the first tiers is for; empty for others."""
    return _NOTES.get(tier.name, "")


def ttl_text(policy: Policy) -> str:
    """``1 h + up to 12 m``, ``1 h, no jitter``, ``Not cached``."""
    if policy.base_ttl_s is None:
        return NOT_CACHED
    base = seconds(policy.base_ttl_s)
    return f"{base} + up to {seconds(policy.jitter_s)}" if policy.jitter_s else f"{base}, no jitter"


def base_text(policy: Policy) -> str:
    """The base TTL for a table: ``1 h``, ``n/a``."""
    return NO_VALUE if policy.base_ttl_s is None else seconds(policy.base_ttl_s)


def jitter_text(policy: Policy) -> str:
    """The jitter for a table: ``up to 12 m``, ``None``, ``n/a``."""
    if policy.base_ttl_s is None:
        return NO_VALUE
    return f"up to {seconds(policy.jitter_s)}" if policy.jitter_s else "None"


def strategy_label(policy: Policy) -> str:
    """``Cache-aside``, ``Write-through``, or ``Bypass`` where nothing is cached."""
    return STRATEGIES[policy.strategy] if policy.is_cached else "Bypass"


def title(kind: ItemKind, name: str, label: str = "") -> str:
    """How people call an item."""
    if kind is ItemKind.DEFAULT or (kind is ItemKind.POLICY and not name):
        return OTHER_KEYS
    return label or name


def moment(epoch_s: float) -> str:
    """A moment in time, in a text that is kept beside its date: ``Nov 22, 14:26 UTC``."""
    return f"{day_and_time(datetime.fromtimestamp(epoch_s, UTC))} UTC"


def is_pattern(text: str) -> bool:
    """Whether somebody may have meant a pattern as SCAN and KEYS take it: ``news:*``."""
    return "*" in text or "?" in text


def grace_warning(was: Policy | None, policy: Policy) -> str:
    """What is to be said of a shorter time to serve stale; empty where it is none.

    Args:
        was: the policy in force; None: there is none.
    """
    old, new = (0 if each is None else each.protection.grace_s or 0 for each in (was, policy))
    # What is not cached any more is not read from the cache either.
    if old <= new or not policy.is_cached:
        return ""
    name = title(ItemKind.POLICY if policy.prefix else ItemKind.DEFAULT, policy.prefix_text)
    said = f"Values of {name} that are stored already may still be served stale for {seconds(old)}"
    return f"{said}: purge them where that must end at once."


def pattern_warning(policy: Policy) -> str:
    """What is to be said of a prefix that looks like a pattern; empty for others."""
    text = policy.prefix_text
    if not is_pattern(text):
        return ""
    meant = text.rstrip("*?")
    way_out = f" Keys like {meant}1 need the prefix “{meant}”." if meant and not is_pattern(meant) else ""
    return f"{text} is taken as it is: * and ? stand for themselves, a prefix is no pattern.{way_out}"
