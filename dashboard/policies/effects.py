"""What a published version did to the prefixes that it changed: equal spans around the publication."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from dashboard.access import Role, require
from dashboard.caching.wire import COUNTERS
from dashboard.errors import NotFound
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import Span, StoredEvent
from dashboard.policies import diff, state, store, words
from dashboard.policies.types import EffectRow, ItemKind, PrefixEffect, Sums, VersionEffect
from dashboard.web.formats import duration, number, percent
from dashboard.work import UnitOfWork

LONGEST_MINUTES: Final = 30
LONGEST_HOURS: Final = 6
FEWEST_READS: Final = 100
"""Fewer on one side say nothing about a ratio."""
NOTICED: Final = 0.02
"""A hit ratio that moves less stays level."""
LEVEL: Final = 0.10
"""A rate or a time that moves by less of itself stays level."""
MOST_SHOWN: Final = 12
_WORST_FIRST: Final = ("crit", "ok", "info", "unknown")
_EVENTS: Final = {
    "restart": "a restart",
    "failover": "a failover",
    "switch": "another server",
    "flush": "a flush",
    "down": "an outage",
    "config": "a change of the server's settings",
}

_UPSETTING: Final = frozenset(_EVENTS) - {"config"}


def effect(work: UnitOfWork, cache_id: int, version: int) -> VersionEffect:
    """What a version did to the policies that it changed.

    Equal spans before and after the publication are compared: up to half an hour, less where the version before or
    after it is nearer. The minute (or hour, once minutes are kept no more) of the publication itself is left out.

    Raises:
        NotFound: there is no such cache or version.
    """
    require(work.actor, Role.VIEWER)
    state.look(work, cache_id)
    published = store.find_version(work.session, cache_id, version)
    if published is None:
        raise NotFound(f"There is no version {version}.", what_to_do="The history lists all of them.")
    changed = diff.diff(
        state.document_of(work, cache_id, version - 1), state.document_of(work, cache_id, version)
    )
    items = [item for item in changed.items if item.kind is not ItemKind.TIER]
    made = [_prefix(work, cache_id, published, item.kind, item.name) for item in items[: 4 * MOST_SHOWN]]
    made.sort(key=lambda each: (_WORST_FIRST.index(each.kind), -(each.after.reads if each.after else 0)))
    return VersionEffect(
        at=published.published_at,
        version=version,
        prefixes=tuple(made[:MOST_SHOWN]),
        more=len(items) - len(made[:MOST_SHOWN]),
    )


def _prefix(
    work: UnitOfWork, cache_id: int, published: store.Version, kind: ItemKind, name: str
) -> PrefixEffect:
    at, title = published.published_at, words.title(kind, name)
    before_it, after_it = store.neighbours(work.session, cache_id, f"{kind}:{name}", published.version)
    is_old = at < work.now - store.MINUTES_KEPT + timedelta(days=1)
    table, step, most = (
        (store.HOUR, timedelta(hours=1), LONGEST_HOURS)
        if is_old
        else (store.MINUTE, timedelta(minutes=1), LONGEST_MINUTES)
    )
    middle = _floor(at, step)
    ends = _floor(min(work.now, after_it or work.now), step)
    begins = middle - most * step if before_it is None else _floor(before_it, step) + step
    sides = min(most, (ends - middle - step) // step, (middle - begins) // step)
    side_s = sides * step.total_seconds()
    if sides < 1:
        close = after_it is not None and ends <= middle + step
        sentence = (
            f"{title} was changed again within a minute."
            if close
            else f"{title} was changed a minute before as well."
            if middle - begins < step
            else "It is compared once the first full minute after the publication is over."
        )
        word = "Too early" if not close and middle - begins >= step else "Too close"
        return PrefixEffect(name, title, "unknown", word, sentence, 0.0)
    since, until = middle - sides * step, middle + (sides + 1) * step
    rows = store.list_counts(work.session, cache_id, table, since, until, prefix=name)
    by_bucket = {row.bucket: row.counts for row in rows}
    before = sums([by_bucket.get(since + n * step) for n in range(sides)], side_s)
    after = sums([by_bucket.get(middle + (n + 1) * step) for n in range(sides)], side_s)
    line = tuple(_ratio(by_bucket.get(since + n * step)) for n in range(2 * sides + 1))
    around = Span(since, min(until, work.now), "custom", False)
    series = monitoring.overview_series(work, cache_id, around, columns=("lookups",))
    events = [event for event in series.events if event.at >= since]
    kind_of, word, sentence = judge(title, published.version, before, after, events)
    return PrefixEffect(
        prefix=name,
        title=title,
        kind=kind_of,
        word=word,
        sentence=sentence,
        side_s=side_s,
        before=before,
        after=after,
        rows=compare(before, after),
        unchanged=unchanged(before, after, events),
        line=line,
    )


def sums(buckets: Sequence[Mapping[str, int] | None], window_s: float) -> Sums:
    """One side's sums; a bucket without counts is None."""
    total = dict.fromkeys(COUNTERS, 0)
    for bucket in buckets:
        for name, count in (bucket or {}).items():
            total[name] += count
    return Sums(
        window_s=window_s,
        reads=total["hits"] + total["misses"],
        hits=total["hits"],
        loads=total["loads"],
        load_us=total["load_us"],
        errors=total["errors"] + total["load_errors"],
    )


def judge(
    title: str, version: int, before: Sums, after: Sums, events: Sequence[StoredEvent] = ()
) -> tuple[str, str, str]:
    """Whether it got better: (kind, word, sentence); not clear where the server's own events explain it as well."""
    was, now = before.hit_ratio, after.hit_ratio
    if was is None or now is None or min(before.reads, after.reads) < FEWEST_READS:
        return "unknown", "Too few reads", f"{title} was read too little around v{version} to compare."
    loads = f" and loads {_times(before.loads_per_s, after.loads_per_s)}"
    if abs(now - was) < NOTICED:
        return "info", "Level", f"Hit ratio of {title} stayed at {percent(now)}{loads}."
    moved = "fell" if now < was else "rose"
    sentence = f"Hit ratio of {title} {moved} from {percent(was)} to {percent(now)}{loads}."
    besides = next((_EVENTS[event.kind] for event in events if event.kind in _UPSETTING), "")
    if besides:
        return "info", "Not clear", f"{sentence} It may not be the version: there was {besides} in this span."
    if now < was:
        return "crit", "Worse", f"Version {version} made it worse. {sentence}"
    return "ok", "Better", f"Version {version} made it better. {sentence}"


def compare(before: Sums, after: Sums) -> tuple[EffectRow, ...]:
    """The numbers side by side."""
    rows = []
    was, now = before.hit_ratio, after.hit_ratio
    if was is not None and now is not None:
        kind = "" if abs(now - was) < NOTICED else "crit" if now < was else "ok"
        rows.append(
            EffectRow("Hit ratio", percent(was), percent(now), f"{(now - was) * 100:+.1f} points", kind)
        )
    rows.append(_row("Loads/s", before.loads_per_s, after.loads_per_s, number))
    if before.load_s is not None and after.load_s is not None:
        rows.append(_row("Load time", before.load_s, after.load_s, duration))
    # More readers are neither good nor bad.
    rows.append(replace(_row("Reads/s", before.reads_per_s, after.reads_per_s, number), kind=""))
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


def _floor(at: datetime, step: timedelta) -> datetime:
    at = at.replace(second=0, microsecond=0)
    return at.replace(minute=0) if step >= timedelta(hours=1) else at
