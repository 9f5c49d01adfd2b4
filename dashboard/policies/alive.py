"""How many of the values that were stored are still there. Pure arithmetic."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

SLOTS_PER_LIFE: Final = 24
MOST_ROUNDS: Final = 8
CLOSE: Final = 0.02
"""Two rounds that differ by less of themselves are the same."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What happened to the values of a prefix within a bucket.

    Args:
        begins, ends: of the bucket, or of the part of it that counts.
        stored: values that were stored.
        removed: values that invalidations and writes took away.
    """

    begins: datetime
    ends: datetime
    stored: float
    removed: float


@dataclass(slots=True)
class _Cohort:
    """Values that were stored evenly between two moments, less those known to be gone."""

    begins: datetime
    ends: datetime
    count: float

    def share(self, at: datetime, life_s: float) -> float:
        """How much of it is not expired."""
        left_s = (self.ends - at).total_seconds() + life_s
        return min(1.0, max(0.0, left_s / max(1e-6, (self.ends - self.begins).total_seconds())))


def alive(
    flows: Sequence[Flow], since: datetime, now: datetime, *, life_s: float, grace_s: float, is_all: bool
) -> int:
    """About how many values are fresh.

    What is removed hits every value alike, and those stored before the same bucket first: a prefix is dropped and
    then loaded again. What there was before the first flow is not known: as many, it is taken, as there are in the
    end.

    Args:
        flows: oldest first.
        since: from when on they are known: some lives ago.
        life_s: mean seconds that a value is fresh.
        grace_s: how long it can be removed after that.
        is_all: nothing was there before.
    """
    merged = _merge(flows, since, life_s / SLOTS_PER_LIFE)
    if is_all or not flows:
        return round(_follow(merged, 0.0, since, now, life_s, grace_s))
    since = merged[0].begins  # counting may have begun with it
    # From below: what was removed at a time was there at least.
    count = max((flow.removed for flow in flows), default=0.0)
    for _ in range(MOST_ROUNDS):
        count, before = _follow(merged, count, since, now, life_s, grace_s), count
        if abs(count - before) <= before * CLOSE:
            break
    return round(count)


def _merge(flows: Iterable[Flow], since: datetime, slot_s: float) -> list[Flow]:
    """Fewer, longer flows: one per slot."""
    found: list[Flow] = []
    last = -1
    for flow in flows:
        slot = int((flow.begins - since).total_seconds() // slot_s)
        if found and slot == last:
            held = found[-1]
            found[-1] = Flow(held.begins, flow.ends, held.stored + flow.stored, held.removed + flow.removed)
        else:
            found.append(flow)
        last = slot
    return found


def _follow(
    flows: Iterable[Flow], before: float, since: datetime, now: datetime, life_s: float, grace_s: float
) -> float:
    """How many are fresh in the end, when ``before`` were in the beginning."""
    cohorts = [_Cohort(since - timedelta(seconds=life_s), since, before)]
    for flow in flows:
        middle = flow.begins + (flow.ends - flow.begins) / 2
        cohorts = [each for each in cohorts if each.count > 0 and each.share(middle, life_s + grace_s) > 0]
        unfound = _remove(cohorts, flow.removed, middle, life_s + grace_s)
        if before and (middle - since).total_seconds() < life_s + grace_s:
            unfound = 0.0  # of what was there before, not of what was stored just now
        cohorts.append(_Cohort(flow.begins, flow.ends, max(0.0, flow.stored - unfound)))
    return sum(each.count * each.share(now, life_s) for each in cohorts)


def _remove(cohorts: Iterable[_Cohort], count: float, at: datetime, life_s: float) -> float:
    """Take from all alike; returns what could not be taken."""
    shares = [(each, each.count * each.share(at, life_s)) for each in cohorts]
    there = sum(share for _, share in shares)
    if there <= 0:
        return count
    taken = min(1.0, count / there)
    for each, share in shares:
        each.count -= share * taken
    return max(0.0, count - there)
