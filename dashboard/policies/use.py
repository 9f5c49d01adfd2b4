"""How prefixes are used, from the applications' counters, and what follows for policies."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from dashboard.caching.policy import Policy
from dashboard.caching.wire import COUNTERS, OTHER
from dashboard.policies import store, words
from dashboard.policies.state import Held
from dashboard.policies.types import MANY_KEYS, ItemKind, PrefixUse
from dashboard.work import UnitOfWork

DAY: Final = timedelta(hours=24)


def keys(work: UnitOfWork, cache_id: int, policies: Iterable[Policy]) -> Mapping[str, int]:
    """About how many keys each prefix has: values stored within its last TTL. Prefixes nobody counted are left out.

    A key that is stored twice in that time counts twice, so this errs on the high side, as a warning should.
    """
    since = {
        policy.prefix_text: work.now - timedelta(seconds=policy.base_ttl_s)
        for policy in policies
        if policy.base_ttl_s is not None
    }
    return store.stored_since(work.session, cache_id, since, work.now)


def last_day(work: UnitOfWork, cache_id: int) -> Mapping[str | None, PrefixUse]:
    """The last 24 hours of every prefix that was active; None is the key of those not counted apart."""
    start = _hour(work.now - DAY) + timedelta(hours=1)
    hours = [start + timedelta(hours=number) for number in range(24)]
    sums: dict[str, dict[str, int]] = {}
    ratios: dict[str, dict[datetime, float]] = {}
    for row in store.list_counts(work.session, cache_id, store.HOUR, start, work.now + timedelta(hours=1)):
        total = sums.setdefault(row.prefix, dict.fromkeys(COUNTERS, 0))
        for name, count in row.counts.items():
            total[name] += count
        lookups = row.counts["hits"] + row.counts["misses"]
        if lookups:
            ratios.setdefault(row.prefix, {})[row.bucket] = row.counts["hits"] / lookups
    return {
        None if prefix == OTHER else prefix: PrefixUse(
            prefix=None if prefix == OTHER else prefix,
            window_s=DAY.total_seconds(),
            counts=MappingProxyType(total),
            hit_ratio_line=tuple(ratios.get(prefix, {}).get(hour) for hour in hours),
        )
        for prefix, total in sums.items()
    }


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
