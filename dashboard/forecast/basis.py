"""What a forecast is reckoned from: the last scan, the policies in force, what applications read."""

from dataclasses import dataclass
from typing import Final

from dashboard.caching.policy import RESERVED, Policy, PolicyDocument
from dashboard.forecast.types import Basis, Rule, Stem
from dashboard.invalidation import service as invalidation
from dashboard.keyspace.types import EXPIRY_STEP_S, Expiries, Kind, Snapshot
from dashboard.monitoring import service as monitoring
from dashboard.policies import service as policies
from dashboard.policies.types import RecentLoad
from dashboard.work import UnitOfWork

IGNORED: Final = 0.1
"""More of a stem's keys than this live longer than their policy allows: it is not what gives them their TTL."""
_LATELY = "15m"


def basis(work: UnitOfWork, cache_id: int, snapshot: Snapshot) -> Basis:
    """Join a snapshot with the policies and the load of the last minutes."""
    document = policies.document_in_force(work, cache_id)
    reads = _reads(work, cache_id, snapshot)
    named = {policy.prefix_text: policy for policy in document.policies}
    held = _keys_by_policy(snapshot)
    stems = []
    for expiries in snapshot.expiries:
        if expiries.stem.encode().startswith(RESERVED):
            continue  # our own are there to stay
        rate, load_s = reads.of(expiries.policy, held.get(expiries.policy, 0.0))
        # Before the first version applications give TTLs of their own, which nobody told us.
        known = rule(_policy(document, named, expiries.policy)) if document.version else None
        if known is not None and _is_ignored(known, expiries, snapshot.ended_at.timestamp()):
            known = None
        stems.append(Stem(expiries, known, rate, load_s))
    return Basis(
        taken_at=snapshot.ended_at.timestamp(),
        is_sample=snapshot.kind is Kind.SAMPLE and snapshot.factor > 1,
        looked_at=snapshot.looked_at,
        keyspace=snapshot.keyspace,
        factor=snapshot.factor,
        stems=stems,
        loads_per_s=reads.loads_per_s,
        budget_per_s=invalidation.limits(work, cache_id).database_budget_qps,
        is_even=not reads.recent.window_s,
    )


def rule(policy: Policy) -> Rule:
    """The TTL that a policy gives."""
    if policy.base_ttl_s is None:
        return Rule(0.0)
    return Rule(policy.base_ttl_s, policy.jitter_s, policy.protection.grace_s or 0)


def _is_ignored(known: Rule, expiries: Expiries, taken_at: float) -> bool:
    """Whether applications give these keys another TTL than their policy says, as those without the library do."""
    latest = taken_at + known.longest_s + EXPIRY_STEP_S
    longer = (
        sum(keys for bucket, keys in expiries.fine.items() if bucket * EXPIRY_STEP_S > latest)
        + sum(keys for bucket, keys in expiries.hours.items() if bucket * 3_600 > latest)
        + expiries.later
    )
    return known.base_s > 0 and longer > IGNORED * (expiries.keys - expiries.never)


def _policy(document: PolicyDocument, named: dict[str, Policy], prefix: str) -> Policy:
    # A policy that went away since the scan leaves its keys to the default.
    return named.get(prefix, document.default)


@dataclass(frozen=True, slots=True)
class _Reads:
    """How often keys are read: prefix by prefix as applications count, or all alike as the server does.

    Args:
        recent: empty where no application counts.
        per_key_s: of all keys alike; 0: not known.
    """

    recent: RecentLoad
    loads_per_s: float | None
    per_key_s: float

    def of(self, prefix: str, keys: float) -> tuple[float, float | None]:
        """(reads per second of each key, mean seconds of a load) under a policy that has so many keys."""
        if not self.recent.window_s:
            return self.per_key_s, None
        found = self.recent.prefixes.get(prefix)
        if found is None:
            return 0.0, None
        return (found.hits_per_s + found.misses_per_s) / max(1.0, keys), found.load_s


def _reads(work: UnitOfWork, cache_id: int, snapshot: Snapshot) -> _Reads:
    recent = policies.recent_load(work, cache_id)
    if recent.window_s:
        return _Reads(recent, recent.loads_per_s, 0.0)
    rates = monitoring.summary(work, cache_id, monitoring.span(work, _LATELY)).rates
    hits, misses = rates.get("hits_per_s"), rates.get("misses_per_s")
    if hits is None or misses is None:
        return _Reads(recent, None, 0.0)
    return _Reads(recent, misses, (hits + misses) / max(1, snapshot.keyspace))


def _keys_by_policy(snapshot: Snapshot) -> dict[str, float]:
    held: dict[str, float] = {}
    for expiries in snapshot.expiries:
        held[expiries.policy] = held.get(expiries.policy, 0.0) + expiries.keys
    return held
