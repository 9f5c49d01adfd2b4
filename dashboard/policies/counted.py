"""What applications counted over a span: the prefix table, and the database reads that were avoided."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from dashboard.access import Role, require
from dashboard.caching.policy import Policy
from dashboard.caching.wire import OTHER
from dashboard.policies import scanned, state, store, words
from dashboard.policies.counting import bucket_of
from dashboard.policies.state import Held
from dashboard.policies.types import (
    WARM_UP_S,
    CountedPrefix,
    ItemKind,
    Mark,
    PrefixTable,
    PrefixUse,
    ReadsAvoided,
)
from dashboard.work import UnitOfWork

MOST_ROWS: Final = 200
MOST_MARKS: Final = 200
_FINE_ROWS: Final = 50
_FINE_SLOTS, _COARSE_SLOTS = 48, 24
_LATELY: Final = timedelta(minutes=2)
_FALLS_SILENT: Final = timedelta(minutes=5)
_SHOWN: Final = (
    "hits",
    "misses",
    "bypasses",
    "loads",
    "load_us",
    "load_errors",
    "waits",
    "stale_served",
    "errors",
)
_AVOIDED: Final = ("hits", "waits", "wait_timeouts", "refreshes", "loads", "load_errors", "bypasses")


def prefix_table(work: UnitOfWork, cache_id: int, start: datetime, end: datetime) -> PrefixTable:
    """Every prefix over a span; at most MOST_ROWS apart.

    Args:
        start, end: aware UTC; whole minutes, or whole hours of spans of more than six, within them are counted.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    table, step, since, until = _buckets(start, end, work.now)
    sums = store.sum_counts(work.session, cache_id, table, since, until, names=_SHOWN)
    first = store.first_count(work.session, cache_id, since, until) if sums else None
    ends = min(end, until)
    window_s = 0.0 if first is None else max(1.0, (ends - max(since, first)).total_seconds())
    policies = {policy.prefix_text: policy for policy in held.published.policies} if held.version else {}
    found = scanned.scanned(work, cache_id)
    zero = dict.fromkeys(_SHOWN, 0)
    names = sorted({*sums, *policies} - {"", OTHER}, key=lambda name: (-_reads(sums.get(name, zero)), name))
    shown, rest = names[:MOST_ROWS], [name for name in names[MOST_ROWS:] if name in sums]
    slot_s, count = _slots(since, until, step, _FINE_SLOTS if len(shown) <= _FINE_ROWS else _COARSE_SLOTS)
    asked = [name for name in (*shown, "") if name in sums]
    slots = (
        store.slot_counts(
            work.session,
            cache_id,
            table,
            since,
            until,
            slot_s=slot_s,
            names=("hits", "misses"),
            prefixes=asked,
        )
        if asked
        else {}
    )

    # Applications count a prefix apart since it has a policy.
    items = {name: f"{ItemKind.POLICY}:{name}" for name in shown if name in sums and name in policies}
    changes = store.changes_of(work.session, cache_id, items.values()) if items else {}

    def window(name: str) -> float:
        change = changes.get(items.get(name, ""))
        if change is None or not since < change.first_at < ends:
            return window_s
        return min(window_s, max(1.0, (ends - change.first_at).total_seconds()))

    def used(name: str) -> PrefixUse:
        line: list[float | None] = [None] * count
        for number, (hits, misses) in slots.get(name, {}).items():
            if number < count and hits + misses:
                line[number] = hits / (hits + misses)
        return PrefixUse(name, window(name), MappingProxyType(sums.get(name, zero)), tuple(line))

    def row(name: str, policy: Policy | None) -> CountedPrefix:
        use = used(name)
        begins = ends - timedelta(seconds=use.window_s)
        row = _counted(work, held, use, policy, is_new=begins > since and use.window_s < WARM_UP_S)
        # A scan tells apart the keys of policies, not those of prefixes that once had one.
        return replace(row, scan=found.of(name)) if policy is not None or not name else row

    others = [sums[name] for name in (*rest, *((OTHER,) if OTHER in sums else ()))]
    return PrefixTable(
        rows=tuple(row(name, policies.get(name)) for name in shown),
        default=row("", held.published.default if held.version else None),
        other=PrefixUse(None, window_s, {name: sum(each[name] for each in others) for name in _SHOWN})
        if others
        else None,
        other_prefixes=len(rest),
        window_s=window_s,
        ever_counted=bool(sums) or store.has_counts(work.session, cache_id),
        scanned=found.mark,
    )


def reads_avoided(work: UnitOfWork, cache_id: int, start: datetime, end: datetime) -> ReadsAvoided | None:
    """The database reads that the cache made unnecessary over a span; None where no application counted any.

    A read counts when the cache answered it, or when it waited for somebody else's load; loads in the background are
    taken off. Reads around the cache (no-cache tiers, bypasses) were served by the database.
    """
    require(work.actor, Role.VIEWER)
    table, step, since, until = _buckets(start, end, work.now)
    slot_s, count = _slots(since, until, step, 96)

    def counts(table: str, since: datetime, until: datetime, slot_s: float) -> Mapping[int, tuple[int, ...]]:
        return store.slot_counts(
            work.session, cache_id, table, since, until, slot_s=slot_s, names=_AVOIDED
        ).get("", {})

    slots = counts(table, since, until, slot_s)
    if not slots:
        return None
    line: list[float | None] = [None] * count
    for number, each in slots.items():
        if number < count:
            begins = since + timedelta(seconds=number * slot_s)
            line[number] = _avoided(each) / max(1.0, min(slot_s, (end - begins).total_seconds()))
    lately = None
    last = store.last_counted(work.session, cache_id)
    if last is not None and work.now - last <= _FALLS_SILENT:
        begins = bucket_of(work.now - _LATELY, timedelta(minutes=1))
        first = store.first_count(work.session, cache_id, begins, work.now)
        recent = counts(store.MINUTE, begins, work.now, 3600)
        if first is not None and recent and last > first:
            seconds = (last - first).total_seconds()
            lately = (_avoided(recent[0]) / seconds, _served(recent[0]) / seconds)
    return ReadsAvoided(
        avoided=sum(_avoided(each) for each in slots.values()),
        served=sum(_served(each) for each in slots.values()),
        avoided_per_s=None if lately is None else lately[0],
        served_per_s=None if lately is None else lately[1],
        line=tuple(line),
    )


def marks(work: UnitOfWork, cache_id: int, start: datetime, end: datetime) -> tuple[Mark, ...]:
    """The publications within a span, oldest first; the newest MOST_MARKS."""
    require(work.actor, Role.VIEWER)
    found = store.list_versions_between(work.session, cache_id, start, end, limit=MOST_MARKS)
    return tuple(
        Mark(each.version, each.published_at, each.actor, each.reason, each.kind, each.summary)
        for each in found
    )


def _avoided(counts: tuple[int, ...]) -> int:
    hits, waits, timeouts, refreshes, *_ = counts
    return max(0, hits + waits - timeouts - refreshes)


def _served(counts: tuple[int, ...]) -> int:
    return sum(counts[4:])


def _reads(counts: Mapping[str, int]) -> int:
    return counts["hits"] + counts["misses"] + counts["bypasses"]


def _counted(
    work: UnitOfWork, held: Held, use: PrefixUse, policy: Policy | None, *, is_new: bool
) -> CountedPrefix:
    if policy is None:
        return CountedPrefix(use, is_new=is_new)
    tier = next(tier for tier in held.published.tiers if tier.name == policy.tier)
    return CountedPrefix(
        use=use,
        tier_label=tier.label,
        tier_icon=words.tier_icon(tier),
        ttl_text=words.ttl_text(policy),
        is_cached=policy.is_cached,
        is_bypassed=policy.is_bypassed(work.now.timestamp()),
        is_new=is_new,
    )


def _buckets(start: datetime, end: datetime, now: datetime) -> tuple[str, timedelta, datetime, datetime]:
    """The table, the length of its buckets, the first that is counted, and where the last one ends or breaks off."""
    table, step = store.table_for(start, end, now)
    since, until = bucket_of(start, step), min(end, now)
    if end - start >= 2 * step:
        since = since if since == start else since + step
        until = until if end >= now else bucket_of(until, step)
    return table, step, since, max(until, since + step)


def _slots(since: datetime, until: datetime, step: timedelta, most: int) -> tuple[float, int]:
    """Seconds of a sparkline's slot, whole buckets each, and how many there are."""
    buckets = max(1, -int((since - until) // step))
    per_slot = -(-buckets // most)
    return per_slot * step.total_seconds(), -(-buckets // per_slot)
