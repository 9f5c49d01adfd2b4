"""How prefixes are used, from the applications' counters, and what follows for policies."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from dashboard.caching.policy import Policy, Strategy
from dashboard.caching.wire import OTHER
from dashboard.monitoring import service as monitoring
from dashboard.policies import alive, documents, store, words
from dashboard.policies.state import Held
from dashboard.policies.types import MANY_KEYS, ItemKind, PrefixUse
from dashboard.work import UnitOfWork

DAY: Final = timedelta(hours=24)
MOST_THINNED: Final = 100
"""So many prefixes are followed bucket by bucket."""


def keys(work: UnitOfWork, cache_id: int, policies: Iterable[Policy]) -> Mapping[str, int]:
    """About how many keys each prefix has: values stored within its mean TTL. Prefixes nobody counted are left out.

    What the library removed is taken off, of the MOST_THINNED prefixes that stored most; the rest, and what operators
    purge, errs on the high side, as a warning should. But it is never more than all keys of the cache, and what was
    stored before a flush or a restart is gone.
    """
    space = monitoring.key_space(work, cache_id)

    def since(seconds: float) -> datetime:
        begins = work.now - timedelta(seconds=seconds)
        return begins if space.emptied_at is None else max(begins, space.emptied_at)

    cached = {policy.prefix_text: policy for policy in policies if policy.base_ttl_s is not None}
    asked = {
        # The grace is left out: most values are refreshed long before it ends, and would count twice.
        name: store.Asked(since(_life_s(policy)), policy.strategy is Strategy.WRITE_THROUGH)
        for name, policy in cached.items()
    }
    stored = store.stored_since(work.session, cache_id, asked, work.now)
    found = {name: each.count for name, each in stored.items()}
    thinned = sorted(
        (name for name, each in stored.items() if each.is_thinned), key=lambda name: -found[name]
    )
    longer = {
        name: store.Asked(since(3 * _life_s(cached[name]) + _grace_s(cached[name])), asked[name].is_written)
        for name in thinned[:MOST_THINNED]
    }
    for name, flows in store.list_flows(work.session, cache_id, longer, work.now).items():
        life_s, grace_s, begins = _life_s(cached[name]), _grace_s(cached[name]), longer[name].since
        is_all = begins == space.emptied_at
        left = alive.alive(flows, begins, work.now, life_s=life_s, grace_s=grace_s, is_all=is_all)
        found[name] = min(found[name], left)
    return found if space.keys is None else {name: min(count, space.keys) for name, count in found.items()}


def _life_s(policy: Policy) -> float:
    return (policy.base_ttl_s or 0) + policy.jitter_s / 2


def _grace_s(policy: Policy) -> float:
    """How long what is stale can still be removed; beyond another life little is left of it."""
    return min(policy.protection.grace_s or 0, _life_s(policy))


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
    return (
        *filter(None, map(words.pattern_warning, policies)),
        *_bursts(work, held, *policies),
        *_graces(held, *policies),
    )


def _graces(held: Held, *policies: Policy) -> Iterator[str]:
    """Values carry the grace that they were stored with: less of it holds for new ones only."""
    published = {each.prefix: each for each in documents.every(held.published)} if held.version else {}
    return filter(None, (words.grace_warning(published.get(policy.prefix), policy) for policy in policies))


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
