"""What a published version did to the prefixes that it changed: equal spans around the publication."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from dashboard.access import Role, require
from dashboard.caching.policy import Policy, PolicyTable, prefix_from_text
from dashboard.caching.wire import COUNTERS
from dashboard.errors import NotFound
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import StoredEvent
from dashboard.policies import diff, state, store, words
from dashboard.policies.counting import bucket_of
from dashboard.policies.types import (
    ChangeKind,
    Diff,
    EffectRow,
    ItemChange,
    ItemKind,
    PrefixEffect,
    Sums,
    VersionEffect,
)
from dashboard.web.formats import duration, number, percent, share
from dashboard.work import UnitOfWork

LONGEST_MINUTES: Final = 30
LONGEST_HOURS: Final = 6
FEWEST_READS: Final = 100
"""Fewer on one side say nothing about a ratio."""
NOTICED: Final = 0.02
"""A hit ratio that moves less stays level."""
LEVEL: Final = 0.10
"""A rate or a time that moves by less of itself stays level."""
MOST_BYPASSED: Final = 0.05
"""A larger share of reads around the cache on one side makes two sides no comparison."""
MOST_SHOWN: Final = 12
_WORST_FIRST: Final = ("crit", "warn", "ok", "info", "unknown")
_EVENTS: Final = {
    "restart": "a restart",
    "failover": "a failover",
    "switch": "another server",
    "flush": "a flush",
    "down": "an outage",
    "config": "a change of the server's settings",
}

_UPSETTING: Final = frozenset(_EVENTS) - {"config"}
_GRACE: Final = "protection.grace_s"
_LIFE: Final = frozenset({"tier", "base_ttl_s", "jitter_s", _GRACE})
"""Fields that only values written from now on follow."""

_Buckets = Mapping[datetime, Mapping[str, int]]


def effect(work: UnitOfWork, cache_id: int, version: int, *, changed: Diff | None = None) -> VersionEffect:
    """What a version did to the policies that it changed.

    Equal spans before and after the publication are compared: up to half an hour, less where the version before or
    after it is nearer. The minute (or hour, once minutes are kept no more) of the publication itself is left out. A
    new TTL is judged once the values of the old one are gone and those of the new one begin to expire; until then
    the latest span stands in for it, and no verdict.

    Args:
        changed: what the version changed, where it is known: finding it again takes long in large documents.

    Raises:
        NotFound: there is no such cache or version.
    """
    require(work.actor, Role.VIEWER)
    state.look(work, cache_id)
    published = store.find_version(work.session, cache_id, version)
    if published is None:
        raise NotFound(f"There is no version {version}.", what_to_do="The history lists all of them.")
    old, new = state.document_of(work, cache_id, version - 1), state.document_of(work, cache_id, version)
    if changed is None:
        changed = diff.versions(old, new, published.published_at)
    items = [item for item in changed.items if item.kind in (ItemKind.POLICY, ItemKind.DEFAULT)]
    chosen = items[: 4 * MOST_SHOWN]
    policies = PolicyTable.of(old), PolicyTable.of(new)
    around = store.neighbours(
        work.session, cache_id, [each for item in chosen for each in _names(item)], version
    )
    spans = [_span(work, published, item, policies, around) for item in chosen]
    counts = _counts(work, cache_id, spans)
    compared = [span for span in spans if span.sides]
    events = (
        monitoring.events(
            work, cache_id, min(span.since for span in compared), max(span.until for span in compared)
        )
        if compared
        else ()
    )
    made = [_prefix(span, counts.get(span.item.name, {}), _within(events, span)) for span in spans]
    made.sort(key=lambda each: (_WORST_FIRST.index(each.kind), -(each.after.reads if each.after else 0)))
    return VersionEffect(
        at=published.published_at,
        version=version,
        prefixes=tuple(made[:MOST_SHOWN]),
        more=len(items) - len(made[:MOST_SHOWN]),
    )


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged.

    Args:
        kind: of the version, see ``VersionRow``.
        was_cached, is_cached: whether the policy before and after it stores anything.
        doubt: why the numbers are not the version's yet, or not its alone; a sentence.
        is_early: the doubt will end by itself.
    """

    title: str
    version: int
    kind: str = "publish"
    change: ChangeKind = ChangeKind.CHANGED
    was_cached: bool = True
    is_cached: bool = True
    doubt: str = ""
    is_early: bool = False


@dataclass(frozen=True, slots=True)
class _Span:
    """Which buckets of a prefix are compared: ``sides`` before ``middle``, and as many from ``begins`` on."""

    item: ItemChange
    table: str
    step: timedelta
    middle: datetime
    begins: datetime
    sides: int
    subject: Subject
    word: str = ""
    sentence: str = ""

    @property
    def since(self) -> datetime:
        return self.middle - self.sides * self.step

    @property
    def until(self) -> datetime:
        return self.begins + self.sides * self.step

    @property
    def before(self) -> list[datetime]:
        return [self.since + number * self.step for number in range(self.sides)]

    @property
    def after(self) -> list[datetime]:
        return [self.begins + number * self.step for number in range(self.sides)]


def _names(item: ItemChange) -> tuple[str, str]:
    """What the index of versions calls a policy and its bypass: either changes what is counted."""
    return f"{item.kind}:{item.name}", diff.bypass_name(item.name)


def _span(
    work: UnitOfWork,
    published: store.Version,
    item: ItemChange,
    policies: tuple[PolicyTable[Policy], PolicyTable[Policy]],
    around: Mapping[str, tuple[datetime | None, datetime | None]],
) -> _Span:
    at, title = published.published_at, words.title(item.kind, item.name)
    before_it = max((found for name in _names(item) if (found := around[name][0])), default=None)
    after_it = min((found for name in _names(item) if (found := around[name][1])), default=None)
    # What its keys had before and have after the version; the default's own policy has no key of its own.
    was, now = (
        table.default if item.kind is ItemKind.DEFAULT else table.find(prefix_from_text(item.name))
        for table in policies
    )
    is_old = at < work.now - store.MINUTES_KEPT + timedelta(days=1)
    table, step, most = (
        (store.HOUR, timedelta(hours=1), LONGEST_HOURS)
        if is_old
        else (store.MINUTE, timedelta(minutes=1), LONGEST_MINUTES)
    )
    middle = bucket_of(at, step)
    last = min(work.now, after_it or work.now)
    if published.kind == "bypass" and now.bypass_until is not None:
        last = min(last, at + timedelta(seconds=now.bypass_until - at.timestamp()))
    ends = bucket_of(last, step)
    earliest = middle - most * step if before_it is None else bucket_of(before_it, step) + step
    if item.change is ChangeKind.CHANGED and all(field.name == "note" for field in item.fields):
        most = 0
    settled_at = at + _settles(item, was, now)
    begins = middle + step if settled_at == at else bucket_of(settled_at, step) + step
    most = min(most, (middle - earliest) // step)
    is_settled = ends - begins >= step
    sides = min(most, (ends - (begins if is_settled else middle + step)) // step)
    doubt, is_early = "", False
    if sides >= 1 and not is_settled:
        begins = ends - sides * step
        is_early = after_it is None
        doubt = (
            f"Values from before v{published.version} may still be there: it is judged in"
            f" {words.rounded((settled_at + 2 * step - work.now).total_seconds())}."
            if is_early
            else f"It was changed again before the values from before v{published.version} had expired."
        )
    elif before_it is not None and at - before_it < _life(was):
        doubt = (
            f"It had been changed {words.rounded((at - before_it).total_seconds())} earlier, so what came"
            " before had not settled."
        )
    subject = Subject(
        title=title,
        version=published.version,
        kind=published.kind,
        change=item.change,
        was_cached=was.is_cached,
        is_cached=now.is_cached,
        doubt=doubt,
        is_early=is_early,
    )
    if sides >= 1:
        return _Span(item, table, step, middle, begins, sides, subject)
    if most == 0 and middle - earliest >= step:
        word, sentence = "Note only", f"Only the note of {title} was changed."
    elif after_it is not None and ends <= middle + step:
        word, sentence = "Too close", f"{title} was changed again within a minute."
    elif middle - earliest < step:
        word, sentence = "Too close", f"{title} was changed a minute before as well."
    elif published.kind == "bypass" and last < work.now:
        word, sentence = "Too short", f"The bypass of {title} was over within a minute."
    else:
        word = "Too early"
        sentence = "It is compared once the first full minute after the publication is over."
    return _Span(item, table, step, middle, middle, 0, subject, word, sentence)


def _settles(item: ItemChange, was: Policy, now: Policy) -> timedelta:
    """How long after a version its numbers still come from what was written before, or from nothing expiring yet."""
    changed = {field.name for field in item.fields}
    lives = item.change is not ChangeKind.CHANGED or not changed.isdisjoint(_LIFE)
    if not (lives and now.is_cached):
        return timedelta(0)
    # Where the grace stays, what is stale is replaced as before; else it lives on with the old grace.
    return max(_life(each) + (_grace(each) if _GRACE in changed else timedelta(0)) for each in (was, now))


def _life(policy: Policy) -> timedelta:
    """The longest that a value of it is fresh."""
    return timedelta(seconds=(policy.base_ttl_s or 0) + policy.jitter_s)


def _grace(policy: Policy) -> timedelta:
    return timedelta(seconds=(policy.protection.grace_s or 0) if policy.is_cached else 0)


def _counts(work: UnitOfWork, cache_id: int, spans: Iterable[_Span]) -> dict[str, _Buckets]:
    """What was counted in the spans, prefix by prefix: one query for all that are alike."""
    alike: dict[tuple[str, tuple[datetime, ...]], list[str]] = {}
    for span in spans:
        if span.sides:
            alike.setdefault((span.table, (*span.before, span.middle, *span.after)), []).append(
                span.item.name
            )
    found: dict[str, dict[datetime, Mapping[str, int]]] = {}
    for (table, buckets), names in alike.items():
        for row in store.list_counts(work.session, cache_id, table, buckets, names):
            found.setdefault(row.prefix, {})[row.bucket] = row.counts
    return dict(found)


def _within(events: Iterable[StoredEvent], span: _Span) -> list[StoredEvent]:
    def reaches(event: StoredEvent) -> bool:
        lasts = event.kind == "down" and event.until is None
        return event.at < span.until and (lasts or (event.until or event.at) >= span.since)

    return [event for event in events if span.sides and reaches(event)]


def _prefix(span: _Span, counts: _Buckets, events: Sequence[StoredEvent]) -> PrefixEffect:
    name, subject = span.item.name, span.subject
    if not span.sides:
        return PrefixEffect(name, subject.title, "unknown", span.word, span.sentence, 0.0)
    side_s = span.sides * span.step.total_seconds()
    before = sums([counts.get(bucket) for bucket in span.before], side_s)
    after = sums([counts.get(bucket) for bucket in span.after], side_s)
    kind, word, sentence = judge(subject, before, after, events)
    if kind == "unknown":
        # A chart of almost no reads, or of the minute before a prefix was counted apart, would look like a finding.
        return PrefixEffect(name, subject.title, kind, word, sentence, side_s, before=before, after=after)
    return PrefixEffect(
        prefix=name,
        title=subject.title,
        kind=kind,
        word=word,
        sentence=sentence,
        side_s=side_s,
        later_s=max(0.0, (span.begins - span.middle - span.step).total_seconds()),
        before=before,
        after=after,
        rows=compare(before, after),
        unchanged=unchanged(before, after, events),
        line=tuple(_ratio(counts.get(bucket)) for bucket in (*span.before, span.middle, *span.after)),
    )


def sums(buckets: Sequence[Mapping[str, int] | None], window_s: float) -> Sums:
    """One side's sums; a bucket without counts is None."""
    total = dict.fromkeys(COUNTERS, 0)
    for bucket in buckets:
        for name, count in (bucket or {}).items():
            total[name] += count
    return Sums(
        window_s=window_s,
        lookups=total["hits"] + total["misses"],
        hits=total["hits"],
        loads=total["loads"],
        load_us=total["load_us"],
        errors=total["errors"] + total["load_errors"],
        failed_loads=total["load_errors"],
        bypasses=total["bypasses"],
    )


def judge(
    subject: Subject, before: Sums, after: Sums, events: Sequence[StoredEvent] = ()
) -> tuple[str, str, str]:
    """Whether it got better: (kind, word, sentence).

    Not clear where the server's own events, or reads around the cache, explain it as well; too early while what was
    written before the version is still read.
    """
    title, version = subject.title, subject.version
    rates = f"{_rate(after)} database reads/s, {_rate(before)}/s before"
    if after.reads < FEWEST_READS and subject.change is ChangeKind.REMOVED:
        return "unknown", "Removed", f"{title} has no policy of its own since v{version}."
    if before.reads < FEWEST_READS and subject.change is ChangeKind.ADDED:
        return "unknown", "New", f"{title} is counted apart only since v{version}: nothing to compare with."
    if min(before.reads, after.reads) < FEWEST_READS:
        return "unknown", "Too few reads", f"{title} was read too little around v{version} to compare."
    if subject.kind == "bypass":
        return "info", "Bypassed", f"{title} went around the cache with v{version}: {rates}."
    if subject.kind == "end-bypass":
        return "info", "Bypass ended", f"{title} is cached again since v{version}: {rates}."
    if not subject.is_cached:
        since = f"since v{version}" if subject.was_cached else f"neither before nor since v{version}"
        return "info", "Not cached", f"{title} is not cached {since}: {rates}."
    if not subject.was_cached:
        return "info", "Cached", " ".join(filter(None, (_cached(subject, after, rates), subject.doubt)))
    if max(before.bypassed, after.bypassed) > MOST_BYPASSED:
        shares = f"{percent(before.bypassed)} of its reads before, {percent(after.bypassed)} after"
        return "info", "Bypassed", f"{title} went around the cache for a part of it: {shares}; {rates}."
    return _compared(subject, before, after, events)


def _cached(subject: Subject, after: Sums, rates: str) -> str:
    ratio = "" if after.hit_ratio is None else f"hit ratio {percent(after.hit_ratio)}, "
    return f"{subject.title} is cached since v{subject.version}: {ratio}{rates}."


def _compared(
    subject: Subject, before: Sums, after: Sums, events: Sequence[StoredEvent]
) -> tuple[str, str, str]:
    title, was, now = subject.title, before.hit_ratio, after.hit_ratio
    if was is None or now is None or min(before.lookups, after.lookups) < FEWEST_READS:
        return (
            "unknown",
            "Too few reads",
            f"{title} was read too little around v{subject.version} to compare.",
        )
    reads = f" and database reads {_times(before.database_reads_per_s, after.database_reads_per_s)}"
    is_level = abs(now - was) < NOTICED
    moved = "fell" if now < was else "rose"
    so_far = " so far" if subject.is_early else ""
    sentence = f"Hit ratio of {title} {moved} from {percent(was)} to {percent(now)}{reads}{so_far}."
    if is_level:
        was_text = "" if percent(was) == percent(now) else f", {percent(was)} before,"
        sentence = f"Hit ratio of {title} stayed level at {percent(now)}{was_text}{reads}{so_far}."
    if subject.is_early:
        kind = "warn" if now < was and not is_level else "info"
        return kind, "Too early", f"{sentence} {subject.doubt}"
    if is_level:
        return "info", "Level", sentence
    besides = next((_EVENTS[event.kind] for event in events if event.kind in _UPSETTING), "")
    if besides:
        return "info", "Not clear", f"{sentence} It may not be the version: there was {besides} in this span."
    if subject.doubt:
        return "info", "Not clear", f"{sentence} {subject.doubt}"
    if now < was:
        return "crit", "Worse", f"Worse since v{subject.version}. {sentence}"
    return "ok", "Better", f"Better since v{subject.version}. {sentence}"


def _rate(side: Sums) -> str:
    return number(side.database_reads_per_s)


def compare(before: Sums, after: Sums) -> tuple[EffectRow, ...]:
    """The numbers side by side."""
    rows = []
    was, now = before.hit_ratio, after.hit_ratio
    if was is not None and now is not None:
        kind = "" if abs(now - was) < NOTICED else "crit" if now < was else "ok"
        rows.append(EffectRow("Hit ratio", share(was), share(now), f"{(now - was) * 100:+.1f} points", kind))
    rows.append(_row("Database reads/s", before.database_reads_per_s, after.database_reads_per_s, number))
    if before.load_s is not None and after.load_s is not None:
        rows.append(_row("Load time", before.load_s, after.load_s, duration))
    # More readers are neither good nor bad.
    rows.append(replace(_row("Reads/s", before.reads_per_s, after.reads_per_s, number), kind=""))
    if before.bypasses or after.bypasses:
        around = _row("Around the cache/s", before.bypasses_per_s, after.bypasses_per_s, number)
        rows.append(replace(around, kind=""))
    return tuple(rows)


def unchanged(before: Sums, after: Sums, events: Sequence[StoredEvent]) -> tuple[str, ...]:
    """What did not change, or did besides the policy: traffic, errors, the server."""
    said = []
    moved = _share(before.reads_per_s, after.reads_per_s)
    if moved is not None and abs(moved) <= LEVEL:
        said.append("Reads stayed level, so the traffic is not the cause.")
    elif moved is not None:
        said.append(f"Reads changed by {moved:+.0%} too, so the traffic may be part of it.")
    if before.errors == after.errors == 0:
        said.append("No errors on either side.")
    elif after.errors > 2 * before.errors:
        said.append(f"Errors rose from {before.errors:,} to {after.errors:,}: part of it may be theirs.")
    known = list(dict.fromkeys(_EVENTS[event.kind] for event in events if event.kind in _EVENTS))
    if known:
        said.append(f"In this span, too: {', '.join(known)}.")
    else:
        said.append("No restart, failover, outage or flush in this span.")
    return tuple(said)


def _row(label: str, was: float, now: float, words: Callable[[float], str]) -> EffectRow:
    """A number of which less is better."""
    share = _share(was, now)
    if share is None:
        return EffectRow(label, words(was), words(now), "level" if was == now else "new")
    if abs(share) <= LEVEL:
        return EffectRow(label, words(was), words(now), "level")
    return EffectRow(label, words(was), words(now), f"{share:+.0%}", "crit" if share > 0 else "ok")


def _times(was: float, now: float) -> str:
    share = _share(was, now)
    if share is None and was != now:
        return f"rose from 0 to {number(now)}/s"
    if share is None or abs(share) <= LEVEL:
        return "stayed level"
    if share >= 1:
        return "doubled" if share < 1.1 else "more than doubled"
    return f"{'rose' if share > 0 else 'fell'} by {abs(share):.0%}"


def _share(was: float, now: float) -> float | None:
    return (now - was) / was if was > 0 else None


def _ratio(counts: Mapping[str, int] | None) -> float | None:
    reads = 0 if counts is None else counts["hits"] + counts["misses"]
    return counts["hits"] / reads if counts is not None and reads else None
