"""How prefixes are used, from the applications' counters, and what follows for policies."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from dashboard.caching.policy import Policy, Strategy
from dashboard.caching.wire import OTHER
from dashboard.monitoring import service as monitoring
from dashboard.policies import store, words
from dashboard.policies.state import Held
from dashboard.policies.types import MANY_KEYS, ItemKind, PrefixUse
from dashboard.work import UnitOfWork

DAY: Final = timedelta(hours=24)


def keys(work: UnitOfWork, cache_id: int, policies: Iterable[Policy]) -> Mapping[str, int]:
    """About how many keys each prefix has: values stored within its mean TTL. Prefixes nobody counted are left out.

    A key that is stored twice in that time counts twice, so this errs on the high side, as a warning should; but it is
    never more than all keys of the cache, and what was stored before a flush or a restart is gone.
    """
    space = monitoring.key_space(work, cache_id)
    asked = {}
    for policy in policies:
        if policy.base_ttl_s is not None:
            # The grace is left out: most values are refreshed long before it ends, and would count twice.
            since = work.now - timedelta(seconds=policy.base_ttl_s + policy.jitter_s / 2)
            asked[policy.prefix_text] = store.Asked(
                since if space.emptied_at is None else max(since, space.emptied_at),
                is_written=policy.strategy is Strategy.WRITE_THROUGH,
            )
    found = store.stored_since(work.session, cache_id, asked, work.now)
    return found if space.keys is None else {name: min(count, space.keys) for name, count in found.items()}


def last_day(
    work: UnitOfWork, cache_id: int, counted_since: Mapping[str, datetime | None]
) -> Mapping[str | None, PrefixUse]:
    """The last 24 hours of every prefix that was active; None is the key of those not counted apart.

    Args:
        counted_since: prefixes whose hit ratio is wanted hour by hour, and when a policy made them counted apart; None
            where that is not known. Their windows begin no earlier, and no window before counting itself.
    """
    start = _hour(work.now - DAY) + timedelta(hours=1)
    first = store.first_count(work.session, cache_id, start, work.now) or start
    uses: dict[str | None, PrefixUse] = {}
    for prefix, day in store.sum_hours(work.session, cache_id, start, lines=counted_since).items():
        began = max(start, first, counted_since.get(prefix) or start)
        name = None if prefix == OTHER else prefix
        uses[name] = PrefixUse(
            prefix=name,
            window_s=max(60.0, (work.now - began).total_seconds()),
            counts=MappingProxyType(day.counts),
            hit_ratio_line=tuple(map(day.ratios.get, range(24))) if prefix in counted_since else (),
        )
    return uses


def covered_ratio(uses: Mapping[str | None, PrefixUse]) -> float | None:
    """Share of all reads that fell under a policy with a prefix; None without reads."""
    total = sum(use.reads for use in uses.values())
    return None if total == 0 else (total - (uses[""].reads if "" in uses else 0)) / total


def warnings(work: UnitOfWork, held: Held, *policies: Policy) -> tuple[str, ...]:
    """What is allowed but unwise."""
    return (*filter(None, map(words.pattern_warning, policies)), *_bursts(work, held, *policies))


def _bursts(work: UnitOfWork, held: Held, *policies: Policy) -> tuple[str, ...]:
    risky = [policy for policy in policies if policy.is_cached and policy.jitter_s == 0]
    if not risky:
        return ()
    known = keys(work, held.cache.id, risky)
    return tuple(
        f"{words.title(ItemKind.POLICY, policy.prefix_text)} has no jitter and about"
        f" {known[policy.prefix_text]:,} keys: those written together expire together."
        for policy in risky
        if known.get(policy.prefix_text, 0) > MANY_KEYS
    )


def _hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
