"""The input of ``impact``: what applications, or else the server, counted lately."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dashboard.caching.policy import PolicyDocument
from dashboard.invalidation import impact
from dashboard.invalidation.impact import Impact, Load, Stream
from dashboard.invalidation.types import Action, Limits, Plan, Preview, When
from dashboard.monitoring import service as monitoring
from dashboard.policies import service as policies
from dashboard.policies.types import RecentLoad
from dashboard.work import UnitOfWork

_LATELY: Final = "15m"
_FASTEST_KEYS_PER_S: Final = 150_000
"""About what one server bears: all at once takes so long at least, however high the limit is."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the cost of a purge is reckoned from.

    Args:
        counted_s: so many seconds of applications' counting; 0: none counts, it is from the server's hits and misses.
        load_s: mean seconds of a load; None: not known.
    """

    streams: Sequence[Stream]
    load: Load
    counted_s: float
    load_s: float | None

    def impact(self, limits: Limits, over_s: float | None) -> Impact:
        """All at once against over ``over_s`` seconds; None: over those that are suggested."""
        return impact.impact(
            self.streams,
            self.load,
            budget_per_s=limits.database_budget_qps,
            keys_per_s=min(_FASTEST_KEYS_PER_S, limits.most_keys_per_s),
            over_s=over_s,
        )


def model(work: UnitOfWork, cache_id: int, plan: Plan, preview: Preview) -> Model | None:
    """The model for a purge that was counted; None: nobody counted anything lately."""
    recent = policies.recent_load(work, cache_id)
    if recent.window_s:
        document = policies.document_in_force(work, cache_id)
        streams = [
            _stream(plan, preview, document, recent, prefix, share)
            for prefix, share in preview.by_policy.items()
        ]
        load = Load(recent.loads_per_s, recent.reads_per_s, recent.hit_ratio)
        return Model(streams, load, recent.window_s, _load_s(recent, preview.by_policy))
    rates = monitoring.summary(work, cache_id, monitoring.span(work, _LATELY)).rates
    hits, misses = rates.get("hits_per_s"), rates.get("misses_per_s")
    if hits is None or misses is None:
        return None
    reads = hits + misses
    per_key = reads / max(1, preview.keyspace)
    stream = Stream(preview.keys, per_key, missed_share=_missed(plan, preview))
    return Model([stream], Load(misses, reads, hits / reads if reads else None), 0.0, None)


def beyond_budget(
    work: UnitOfWork, cache_id: int, plan: Plan, preview: Preview, limits: Limits
) -> float | None:
    """Database reads per second at the peak of a purge that goes beyond the budget in the way the plan has chosen.

    None: it keeps within, adds less than one read a second to what there is, or its cost is not known.
    """
    if limits.database_budget_qps is None:
        return None
    found = model(work, cache_id, plan, preview)
    if found is None:
        return None
    over_s = float(plan.over_s) if plan.when is When.OVER and plan.over_s > 0 else None
    made = found.impact(limits, over_s)
    course = made.once if over_s is None else made.spread
    return course.peak_per_s if course.is_over and course.extra_per_s >= 1 else None


def _stream(
    plan: Plan,
    preview: Preview,
    document: PolicyDocument,
    recent: RecentLoad,
    prefix: str,
    share: float,
) -> Stream:
    keys, found = preview.keys * share, recent.prefixes.get(prefix)
    reads = 0.0 if found is None else found.hits_per_s + found.misses_per_s
    known = 0 if found is None else found.keys or 0
    begins_s, window_s = 0.0, 0.0
    if plan.action is Action.SPREAD:
        window_s = float(plan.window_s)
    elif plan.action is Action.POLICY:
        named = {policy.prefix_text: policy for policy in document.policies}
        policy = named.get(prefix, document.default)
        begins_s = float((policy.base_ttl_s or 0) + (policy.protection.grace_s or 0))
        window_s = float(policy.jitter_s)
    # There are at least as many keys of the prefix as were found of it.
    per_key = reads / max(1.0, known, keys)
    return Stream(keys, per_key, begins_s, window_s, _missed(plan, preview))


def _missed(plan: Plan, preview: Preview) -> float:
    return preview.without_grace if plan.action is Action.SOFT else 1.0


def _load_s(recent: RecentLoad, shares: Mapping[str, float]) -> float | None:
    known = [
        (share, found.load_s)
        for prefix, share in shares.items()
        if (found := recent.prefixes.get(prefix)) is not None and found.load_s is not None
    ]
    total = sum(share for share, _ in known)
    return sum(share * load_s for share, load_s in known) / total if total else None
