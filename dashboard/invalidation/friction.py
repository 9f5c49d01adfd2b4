"""How much is asked before a purge may start, in proportion to what it does. Pure."""

from typing import Final

from dashboard.caches.types import Cache
from dashboard.invalidation.types import LARGE_SHARE, Friction, Limits, Plan, Preview, SelectBy

_EVERYTHING: Final = frozenset("*")


def required(
    preview: Preview, plan: Plan, cache: Cache, limits: Limits, *, beyond_budget_qps: float | None = None
) -> Friction:
    """What must be given to approve a plan.

    Nothing for one key; the count for more; the target typed and a reason for more than the cache's own limit or
    LARGE_SHARE of the keyspace, for more reads than the database's budget, and for a pattern that takes everything. A
    production cache always wants a reason. An estimate counts with its upper end.

    Args:
        preview: what it would touch.
        plan: what is to be done.
        cache: where.
        limits: of that cache.
        beyond_budget_qps: database reads per second at its peak, where that is above the budget; else None.
    """
    keys = preview.keys + preview.keys_error
    why: list[str] = []
    is_typed = False
    if keys > 1:
        if keys > limits.typed_above:
            is_typed = True
            why.append(f"More than {limits.typed_above:,} keys: this cache's limit for a typed confirmation.")
        if preview.keyspace and keys > preview.keyspace * LARGE_SHARE:
            is_typed = True
            why.append(f"More than {LARGE_SHARE:.0%} of the keys in this cache.")
        if beyond_budget_qps is not None and limits.database_budget_qps is not None:
            is_typed = True
            why.append(
                f"About {beyond_budget_qps:,.0f} database reads/s at its peak: the budget is"
                f" {limits.database_budget_qps:,g}."
            )
    if takes_everything(plan):
        is_typed = True
        why.append("The pattern takes every key.")
    if cache.is_production:
        why.append(f"{cache.name} is a production cache: a reason is kept with every purge.")
    return Friction(
        confirm_count=keys > 1 or is_typed,
        typed=to_type(plan, cache) if is_typed else None,
        reason=is_typed or cache.is_production,
        why=tuple(why),
    )


def takes_everything(plan: Plan) -> bool:
    """Whether the pattern is nothing but asterisks."""
    selection = plan.selection
    text = selection.text
    return selection.by is SelectBy.PATTERN and bool(text) and set(text) == _EVERYTHING


def to_type(plan: Plan, cache: Cache) -> str:
    """The text that confirms: the prefix, pattern, tag, template or mapping; for pasted keys the cache's name."""
    return plan.selection.text.strip() or cache.name
