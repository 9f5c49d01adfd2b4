"""What the pages of purges show, worked out from what is stored. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dashboard.audit.types import TrailEntry
from dashboard.caching.policy import RESERVED, prefix_from_text, prefix_to_text
from dashboard.caching.tags import MAX_MEMBERS
from dashboard.errors import InvalidInput
from dashboard.invalidation.forms import TypedApproval, TypedLimits, TypedPurge, key_line, parse_when
from dashboard.invalidation.impact import Impact
from dashboard.invalidation.selection import filter_words, literal_head
from dashboard.invalidation.trail import MOST
from dashboard.invalidation.types import (
    Action,
    Friction,
    Limits,
    Plan,
    Point,
    Preview,
    Progress,
    Purge,
    Schedule,
    SelectBy,
    State,
    When,
)
from dashboard.web.formats import byte_size, duration, number, percent

POLL_S: Final = 1
RESTING_POLL_S: Final = 5
"""While all that is under way waits for somebody, or for its time."""
IDLE_POLL_S: Final = 10
"""While nothing is: somebody else may begin something."""
STALE_AFTER_S: Final = 600
SELECTORS: Final = (
    (SelectBy.KEYS, "Keys"),
    (SelectBy.IDS, "ID list"),
    (SelectBy.PREFIX, "Prefix"),
    (SelectBy.PATTERN, "Pattern"),
    (SelectBy.TAG, "Tag"),
    (SelectBy.ROWS, "Rows"),
)
ACTIONS: Final = (
    (Action.DELETE, "Delete", "Removed with UNLINK."),
    (
        Action.SPREAD,
        "Let expire",
        "Each key expires at a random moment of a window, never later than it would have.",
    ),
    (Action.SOFT, "Expire softly", "Stale from now on: served while one reader loads the new value."),
    (Action.POLICY, "Apply policy", "TTL and jitter as the policy says, for keys whose TTL is longer."),
)
STATES: Final = (
    ("", "Approved"),
    ("running", "Under way"),
    ("done", "Done"),
    ("stopped", "Cancelled or failed"),
    ("open", "Not approved"),
    ("all", "All"),
)
"""Of the history's filter. Most drafts were only a look: they stand in it for who asks."""
FOUND_BY: Final[Mapping[str, tuple[State, ...]]] = {
    "": (),
    "all": (),
    "running": (State.WAITING, State.RUNNING, State.PAUSED),
    "done": (State.DONE,),
    "stopped": (State.CANCELLED, State.FAILED),
    "open": (State.DRAFT, State.PREVIEWED),
}
_LEAST_PER_S: Final = 0.1
_SMOOTHED_S: Final = 30
_GAP_S: Final = 10
_MOVING: Final = (State.WAITING, State.RUNNING)
_SLOWED: Final = {
    "probe": "Slowed down: other clients would wait too long.",
    "memory": "Slowed down: the server is still freeing memory.",
    "replication": "Slowed down: the replicas are behind.",
    "database": "Slowed down to keep within the database budget.",
    "limit": "As fast as this cache's limits allow.",
    "spread": "",
}
_DEEDS: Final = {
    Action.DELETE: ("remove", "removed"),
    Action.SPREAD: ("let expire", "set to expire"),
    Action.SOFT: ("make stale", "made stale or removed"),
    Action.POLICY: ("give their policy’s TTL", "given their policy’s TTL"),
}
"""What is to be done to keys, and what was."""
_BADGES: Final[Mapping[State, tuple[str, str, str]]] = {
    State.DRAFT: ("Counting", "acc", "loader-circle"),
    State.PREVIEWED: ("Not approved", "", "circle-dashed"),
    State.WAITING: ("Waiting", "", "clock"),
    State.RUNNING: ("Running", "acc", "loader-circle"),
    State.PAUSED: ("Paused", "warn", "circle-pause"),
    State.DONE: ("Done", "ok", ""),
    State.CANCELLED: ("Cancelled", "", "ban"),
    State.FAILED: ("Failed", "crit", ""),
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page of a cache's purges knows.

    Args:
        base: address of the Invalidate page.
        may_purge, may_set_limits: what the actor's role allows.
        target_ratio: the hit ratio that the cache is to have.
    """

    cache_id: int
    cache_name: str
    base: str
    now: datetime
    is_production: bool
    is_read_only: bool
    may_purge: bool
    may_set_limits: bool
    target_ratio: float


@dataclass(frozen=True, slots=True)
class Notice:
    """Something about the whole page, with the way out."""

    kind: str
    icon: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Verb:
    """A button of a purge: what it posts to, its label."""

    name: str
    label: str
    icon: str
    is_danger: bool = False


@dataclass(frozen=True, slots=True)
class Drawn:
    """A moment of a purge's chart; all None: nothing is known of it, and the lines break."""

    at_s: float
    keys_per_s: float | None
    loads_per_s: float | None
    hit_ratio: float | None


@dataclass(frozen=True, slots=True)
class JobView:
    """How a purge is getting on.

    Args:
        only: the filters in words; empty: none.
        share: 0..1 of the keys to look at; None: not known, or it has not begun.
        done_text: "5,160 of about 8,190 keys removed".
        left_text: "45 s left"; may be empty.
        said: what to read out at the start, each quarter and the end.
        notes: sentences on what holds it up, most important first.
        keeps_text: what a cancel leaves.
    """

    purge: Purge
    href: str
    word: str
    badge: str
    icon: str
    only: str
    share: float | None
    done_text: str
    left_text: str
    said: str
    rate_label: str
    rate_text: str
    loads_text: str
    ratio_text: str
    points: tuple[Drawn, ...]
    budget_per_s: float | None
    notes: tuple[str, ...]
    verbs: tuple[Verb, ...]
    keeps_text: str


@dataclass(frozen=True, slots=True)
class Fact:
    """A number in a preview: its label, itself in words, a line below; kind "warn": it is not as it should be."""

    label: str
    value: str
    note: str = ""
    kind: str = ""


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One of the keys that would be touched."""

    key: str
    type: str
    ttl_s: float | None
    size_bytes: int | None
    policy: str


@dataclass(frozen=True, slots=True)
class PreviewView:
    """What a purge would do.

    Args:
        ttl: (label, share 0..1) of the sample, shortest first; empty where nothing was sampled.
        policies: (prefix in words, share 0..1).
        cost: None: what it costs is not known; ``cost_missing`` says why.
        is_stale: it must be counted again before it can be approved.
    """

    purge: Purge
    preview: Preview
    keys_text: str
    facts: tuple[Fact, ...]
    cost: "CostView | None"
    cost_missing: str
    sample: tuple[SampleRow, ...]
    ttl: tuple[tuple[str, float], ...]
    policies: tuple[tuple[str, float], ...]
    remarks: tuple[str, ...]
    is_stale: bool


@dataclass(frozen=True, slots=True)
class CostView:
    """The chart of a preview.

    Args:
        over_text: "120 s".
        once_kind, once_text, spread_kind, spread_text: a verdict on both ways, "Over budget: 668 reads/s".
        sentence: the drawing in words.
        assumption: where the numbers come from.
    """

    impact: Impact
    over_text: str
    once_kind: str
    once_text: str
    spread_kind: str
    spread_text: str
    sentence: str
    assumption: str


@dataclass(frozen=True, slots=True)
class ApprovalView:
    """The last step.

    Args:
        button: "Remove 11,962 keys".
        warning: what can't be undone; warning_kind: "warn" where that is not what the action's name says.
    """

    typed: TypedApproval
    friction: Friction
    errors: Mapping[str, str]
    problem: str
    button: str
    warning: str
    warning_kind: str


NAMED: Final = 3
"""So many items of a purge's list are named in its line of the history."""


@dataclass(frozen=True, slots=True)
class HistoryRow:
    """One line of the history.

    Attributes:
        named: of a list, its first items; empty where the target says it all.
    """

    purge: Purge
    target: str
    named: str
    only: str
    chosen_by: str
    keys_text: str
    how: str
    kind: str
    icon: str
    result: str


@dataclass(frozen=True, slots=True)
class HistoryView:
    """Past purges, newest first.

    Args:
        text, state: the filter, as asked for.
        is_filtered: whether there may be others.
        states: the choices of the filter.
        query: the filter and the place, as the live round asks for them again.
        next_href: where it goes on; empty at the end. newest_href: back to the first page.
    """

    rows: tuple[HistoryRow, ...]
    text: str
    state: str
    states: tuple[tuple[str, str], ...]
    is_filtered: bool
    query: str
    next_href: str
    newest_href: str


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A purge to come: by a schedule, or once at its time.

    Args:
        only: the filters in words.
        schedule: None for a single one; ``job`` then.
    """

    title: str
    target: str
    only: str
    keys_text: str
    reason: str
    by: str
    last: str
    last_href: str
    schedule: Schedule | None
    job: JobView | None


@dataclass(frozen=True, slots=True)
class PurgesScreen:
    """templates/invalidation/page.html; its fragments read the same.

    Args:
        typed, errors, problem: the first step, and why it was refused.
        lost_file: name of the file that was chosen for it, which no browser keeps.
        draft: the purge of the second step; None before one was counted. ``count``: how that gets on, while it does.
        seen: the purges under way, the newest and the schedules when the page was made; the live round compares.
        mappings: names of the mappings for rows, with their templates.
        poll_s: how often the page looks again.
        is_news: what is under way is not what the page knows of.
        last_scan: what the last scan of the keyspace says of the keys in question; empty: nothing.
    """

    frame: Frame
    notices: tuple[Notice, ...]
    typed: TypedPurge
    types: tuple[tuple[str, str], ...]
    mappings: tuple[tuple[str, str], ...]
    jobs: tuple[JobView, ...]
    coming: tuple[ScheduleRow, ...]
    limits: Limits
    history: HistoryView
    seen: str
    poll_s: int
    draft: Purge | None = None
    preview: PreviewView | None = None
    approval: ApprovalView | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    lost_file: str = ""
    is_news: bool = False
    last_scan: str = ""

    @property
    def is_counting(self) -> bool:
        """Whether the second step waits for its numbers."""
        return self.draft is not None and self.draft.state is State.DRAFT and not self.draft.problem


@dataclass(frozen=True, slots=True)
class OnePurgeScreen:
    """templates/invalidation/purge.html; its fragments read the same.

    Args:
        how, action: in words.
        report_href: empty: it keeps none.
        poll_s: as in PurgesScreen; 0: it is over.
        page_href: where an unapproved one goes on.
    """

    frame: Frame
    notices: tuple[Notice, ...]
    purge: Purge
    job: JobView
    target: str
    chosen_by: str
    how: str
    action: str
    filters: tuple[str, ...]
    preview: PreviewView | None
    trail: tuple[TrailEntry, ...]
    report_href: str
    page_href: str
    poll_s: int
    problem: str = ""


@dataclass(frozen=True, slots=True)
class LimitsScreen:
    """templates/invalidation/limits.html."""

    frame: Frame
    typed: TypedLimits
    revision: int
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


# --- words ------------------------------------------------------------------------------------------------------


def chosen_by(plan: Plan) -> str:
    """How the keys were named."""
    return dict(SELECTORS)[plan.selection.by]


def how(plan: Plan, source: str = "") -> str:
    """When it happens."""
    match plan.when:
        case When.NOW:
            words = "At once"
        case When.OVER:
            words = f"Over {duration(plan.over_s)}" if plan.says_when else "When is not chosen yet"
        case When.AT:
            words = "At its time"
        case When.CRON:
            words = "On a schedule"
    return f"{words}, scheduled" if source == "schedule" else words


def action(plan: Plan) -> str:
    """What happens to the keys."""
    match plan.action:
        case Action.DELETE:
            return "Delete"
        case Action.SPREAD:
            return f"Let expire within {duration(plan.window_s)}"
        case Action.SOFT:
            return "Expire softly"
        case Action.POLICY:
            return "Apply policy" + (", longer TTLs too" if plan.lengthens else "")


def filters(plan: Plan) -> tuple[str, ...]:
    """The filters, each in words."""
    return filter_words(plan.selection.filters, duration)


def count_text(preview: Preview) -> str:
    """How many keys, with the error of an estimate."""
    if not preview.keys_error:
        return f"{preview.keys:,}"
    digits = max(0, int(math.log10(preview.keys_error)))
    return f"about {round(preview.keys, -digits):,} ± {round(preview.keys_error, -digits):,}"


def keys(count: int) -> str:
    """So many keys."""
    return "1 key" if count == 1 else f"{count:,} keys"


# --- a purge under way ------------------------------------------------------------------------------------------


def job_view(purge: Purge, limits: Limits, frame: Frame, others: Sequence[Purge] = ()) -> JobView:
    """How a purge is getting on.

    Args:
        others: those under way in the same cache, which it may wait for.
    """
    progress, preview = purge.progress, purge.preview
    word, badge, icon = _BADGES[purge.state]
    if purge.state is State.DRAFT and purge.problem:
        word, badge, icon = "Not counted", "warn", ""
    elif purge.wish and purge.state.is_active:
        word = {"pause": "Pausing", "cancel": "Cancelling"}[purge.wish]
    expected = preview.keys if preview else 0
    is_estimate = bool(preview and preview.keys_error)
    is_queued = purge.state is State.WAITING and not purge.progress.scanned
    share = None if is_queued else purge.share
    left_s = _left_s(purge, share) if purge.state is State.RUNNING else None
    notes = [each for each in (purge.problem, progress.waits_for) if each]
    if before := waits_for(purge, others, limits):
        notes.append(f"Waits for {before} to end: this cache allows {limits.at_a_time} at a time.")
    if purge.state is State.RUNNING and not progress.waits_for and _SLOWED.get(progress.slowed_by):
        notes.append(_SLOWED[progress.slowed_by])
    if purge.state is State.RUNNING and progress.passes:
        notes.append("The nodes changed meanwhile, so all of them are looked at once more.")
    about = "about " if is_estimate else ""
    of = f" of {about}{keys(expected)}" if expected else " keys"
    deed = _DEEDS[purge.plan.action]
    left = max(0, expected - progress.touched - progress.skipped)
    rate_label, rate_text = _rate(purge)
    return JobView(
        purge=purge,
        href=f"{frame.base}/{purge.number}",
        word=word,
        badge=badge,
        icon=icon,
        only=", ".join(filters(purge.plan)),
        share=share,
        done_text=f"{about}{keys(expected)} to {deed[0]}"
        if is_queued
        else f"{progress.touched:,}{of} {deed[1]}",
        left_text="" if left_s is None else f"{duration(left_s)} left",
        said=_said(purge, share),
        rate_label=rate_label,
        rate_text=rate_text,
        loads_text="n/a" if progress.loads_per_s is None else f"{number(progress.loads_per_s)} reads/s",
        ratio_text=percent(progress.hit_ratio),
        points=_drawn(progress.trail),
        budget_per_s=limits.database_budget_qps,
        notes=tuple(notes),
        verbs=_verbs(purge) if frame.may_purge else (),
        keeps_text=_keeps(purge, left) if purge.state.is_active and expected else "",
    )


def _keeps(purge: Purge, left: int) -> str:
    # There are more than were counted: how many is not known.
    return "Cancel keeps what is left." if purge.needs_count else f"Cancel keeps the {keys(left)} left."


def waits_for(purge: Purge, others: Sequence[Purge], limits: Limits) -> str:
    """The purges whose end this one waits for, "purge 7, 9"; empty: it waits for none.

    Args:
        others: those under way in the same cache.
    """
    running = [each.number for each in others if each.state is State.RUNNING and each.number != purge.number]
    is_queued = purge.state is State.WAITING and not is_coming(purge)
    if not is_queued or len(running) < limits.at_a_time:
        return ""
    return f"purge {', '.join(map(str, running))}"


def _left_s(purge: Purge, share: float | None) -> float | None:
    """Seconds that are left at the rate of the last half minute; None while it does not move."""
    progress, preview = purge.progress, purge.preview
    if share is None or preview is None or _present_rate(purge) <= 0:
        return None
    left = max(0, preview.keys - progress.touched - progress.skipped)
    by_rate = left / _smooth_rate(progress)
    if purge.plan.when is When.OVER:
        # Over what is left of its time; a pause or a slow-down moves the end.
        planned = purge.plan.over_s * (1 - share)
        is_on_time = progress.slowed_by == "spread"
        return max(1.0, planned if is_on_time else max(planned, min(by_rate, 10 * planned)))
    return max(1.0, by_rate)


def _smooth_rate(progress: Progress) -> float:
    """Keys per second, the mean of the last half minute and now."""
    trail = progress.trail
    rates = [point.keys_per_s for point in trail if point.at_s > trail[-1].at_s - _SMOOTHED_S]
    return (sum(rates) + progress.keys_per_s) / (len(rates) + 1)


def _present_rate(purge: Purge) -> float:
    progress = purge.progress
    if purge.state is not State.RUNNING or progress.waits_for:
        return 0.0
    # Between the bursts of a slow spread nothing is done for a while, as it should be.
    is_resting = progress.keys_per_s <= 0 and progress.slowed_by == "spread"
    return _smooth_rate(progress) if is_resting else progress.keys_per_s


def _rate(purge: Purge) -> tuple[str, str]:
    """The present rate; of one that is over, its mean."""
    progress = purge.progress
    if purge.state.is_over:
        mean = progress.touched / progress.spent_s if progress.spent_s > 0 else None
        return "Mean rate", "n/a" if mean is None else f"{number(_round(mean))} keys/s"
    return "Rate", f"{number(_round(_present_rate(purge)))} keys/s"


def _drawn(trail: Sequence[Point]) -> tuple[Drawn, ...]:
    """The points of the chart; a time without any, such as a pause, stays empty."""
    drawn: list[Drawn] = []
    # They are ``every`` seconds apart, or up to twice that where a trail was thinned.
    every = max(1.0, trail[-1].at_s / MOST) if trail else 1.0
    for point in trail:
        if drawn and point.at_s - drawn[-1].at_s > max(_GAP_S, 5 * every):
            drawn.append(Drawn((drawn[-1].at_s + point.at_s) / 2, None, None, None))
        drawn.append(Drawn(point.at_s, point.keys_per_s, point.loads_per_s, point.hit_ratio))
    return tuple(drawn)


def _said(purge: Purge, share: float | None) -> str:
    if purge.state is State.RUNNING and share is not None:
        return f"Purge {purge.number}: {int(share * 4) * 25} per cent of the keys looked at."
    return f"Purge {purge.number} is {_BADGES[purge.state][0].lower()}."


def _verbs(purge: Purge) -> tuple[Verb, ...]:
    cancel = Verb("cancel", "Cancel", "x", is_danger=True)
    match purge.state:
        case State.WAITING | State.RUNNING:
            if purge.wish == "cancel":
                return ()
            return (cancel,) if purge.wish else (Verb("pause", "Pause", "pause"), cancel)
        case State.PAUSED if purge.needs_count:
            return Verb("recount", "Count again", "refresh-cw"), cancel
        case State.PAUSED:
            return Verb("resume", "Resume", "play"), cancel
        case State.DRAFT if purge.problem:
            return Verb("recount", "Count again", "refresh-cw"), cancel
        case State.DRAFT | State.PREVIEWED:
            return (Verb("cancel", "Discard", "trash-2", is_danger=True),)
    return ()


# --- the preview ------------------------------------------------------------------------------------------------


def preview_view(
    purge: Purge,
    frame: Frame,
    cost: CostView | None,
    cost_missing: str,
    load_s: float | None,
) -> PreviewView:
    """What a counted purge would do.

    Args:
        load_s: mean seconds of a load of these keys; None: not known.
    """
    preview = purge.preview
    assert preview is not None
    verb = "remove" if purge.plan.action is Action.DELETE else "touch"
    remarks = []
    if purge.plan.action is Action.SOFT and preview.without_grace:
        remarks.append(
            f"{percent(preview.without_grace)} of these keys have a policy without a time to be served stale:"
            " those are removed."
            if _softens(preview)
            else "No policy of these keys lets them be served stale: all of them are removed."
        )
    selection = purge.plan.selection
    is_retired = purge.plan.action is Action.DELETE and selection.filters.is_empty
    if selection.by is SelectBy.TAG and (preview.named or 0) >= MAX_MEMBERS:
        others = (
            "Others with the tag are not counted here; they count as missing all the same, and are loaded again, too."
            if is_retired
            else "Others with the tag are not reached."
        )
        remarks.append(f"The tag's index is full: it takes no more than {MAX_MEMBERS:,} keys. {others}")
    if preview.keys == 0 and selection.by is not SelectBy.TAG:
        remarks.append("Nothing matches right now, so there is nothing to do.")
    elif preview.keys == 0:
        remarks.append(
            "No key with this tag is known right now. Every value that has it counts as missing all the same."
            if is_retired
            else "Nothing has this tag right now, so there is nothing to do."
        )
    if _meets_own_keys(purge.plan):
        remarks.append(
            "Keys that begin with cachewarden: are protected: they are not counted and not touched."
        )
    if preview.keys_error:
        remarks.append(
            f"Estimated from {preview.scanned:,} of {preview.keyspace:,} keys, with its 95 % interval."
            " The purge stops and asks again before it goes 20 % beyond."
        )
    return PreviewView(
        purge=purge,
        preview=preview,
        keys_text=count_text(preview),
        facts=(
            Fact(f"Keys to {verb}", _most_text(purge.plan, preview), _missing(purge.plan, preview)),
            _memory(purge.plan, preview),
            # What it would cost the database is no question any more.
            *(
                (_ratio(cost, frame), _reads(purge.plan, preview, cost, load_s))
                if cost or cost_missing
                else ()
            ),
        ),
        cost=cost,
        cost_missing=cost_missing,
        sample=tuple(
            SampleRow(key_line(key.key), key.type, key.ttl_s, key.size_bytes, key.policy)
            for key in preview.sample
        ),
        ttl=_ttl(preview),
        policies=tuple(
            (prefix or "Other keys", share)
            for prefix, share in sorted(preview.by_policy.items(), key=lambda item: (-item[1], item[0]))
        ),
        remarks=tuple(remarks),
        is_stale=(frame.now - preview.counted_at).total_seconds() > STALE_AFTER_S,
    )


def _meets_own_keys(plan: Plan) -> bool:
    """Whether the text could mean our own keys, too."""
    selection = plan.selection
    if selection.by not in (SelectBy.PREFIX, SelectBy.PATTERN):
        return False
    text = prefix_from_text(selection.text)
    head = text if selection.by is SelectBy.PREFIX else literal_head(text)
    return RESERVED.startswith(head) and (bool(head) or set(text) == {ord("*")})


def _most_text(plan: Plan, preview: Preview) -> str:
    """Only Delete touches all of them: other keys may expire sooner than they would be made to."""
    is_all = plan.action is Action.DELETE or not preview.keys
    return f"{'' if is_all else 'up to '}{count_text(preview)}"


def _missing(plan: Plan, preview: Preview) -> str:
    if preview.named is not None:
        gone = max(0, preview.named - preview.keys)
        if not preview.named:
            return "none is known with this tag" if plan.selection.by is SelectBy.TAG else "none is named"
        if not gone:
            return "all that are named"
        what = "keys" if plan.selection.by is SelectBy.KEYS else "named keys"
        return f"{gone:,} of the {what} {'is' if gone == 1 else 'are'} not cached"
    if not preview.keyspace:
        return ""
    return f"{percent(min(1.0, preview.keys / preview.keyspace))} of {keys(preview.keyspace)}"


def _memory(plan: Plan, preview: Preview) -> Fact:
    label = "Memory freed" if plan.action is Action.DELETE else "Memory held"
    if preview.size_bytes is None:
        return Fact(label, "n/a", "not known")
    share = (
        f"{percent(min(1.0, preview.size_bytes / preview.used_memory_bytes))} of memory used"
        if preview.used_memory_bytes
        else ""
    )
    # In one piece where a narrow page breaks the line.
    about = (
        f"± {byte_size(preview.size_error_bytes)}".replace(" ", "\u00a0") if preview.size_error_bytes else ""
    )
    return Fact(label, byte_size(preview.size_bytes), ", ".join(each for each in (share, about) if each))


def _ratio(cost: CostView | None, frame: Frame) -> Fact:
    label = "Hit ratio, lowest"
    if cost is None or cost.impact.spread.lowest_hit_ratio is None:
        return Fact(label, "n/a", "not known")
    note = f"{percent(cost.impact.load.hit_ratio)} now, target {percent(frame.target_ratio)}"
    lowest = cost.impact.spread.lowest_hit_ratio
    return Fact(label, percent(lowest), note, "warn" if lowest < frame.target_ratio else "")


def _reads(plan: Plan, preview: Preview, cost: CostView | None, load_s: float | None) -> Fact:
    each = "" if load_s is None else f", {duration(load_s)} each"
    peak = None if cost is None else cost.impact.spread.extra_per_s
    if peak is None:
        note = "one per key, if it is read"
    elif peak <= 0:
        note = "if they are read; lately none was"
    else:
        # Few keys over a long time: not none.
        note = f"at most {number(max(peak, _LEAST_PER_S))} per second{each}"
    # With another TTL a key is loaded as often as its policy says from then on: the next time comes sooner.
    label = "Reads that come sooner" if plan.action is Action.POLICY else "Extra database reads"
    return Fact(label, f"{'up to ' if preview.keys else ''}{count_text(preview)}", note)


def _ttl(preview: Preview) -> tuple[tuple[str, float], ...]:
    total = sum(preview.ttl_counts)
    if not total:
        return ()
    labels = [f"up to {duration(bound)}" for bound in preview.ttl_bounds_s]
    if preview.ttl_bounds_s:
        labels.append(f"over {duration(preview.ttl_bounds_s[-1])}")
    labels += ["no TTL"] * (len(preview.ttl_counts) - len(labels))
    return tuple(
        (label, count / total) for label, count in zip(labels, preview.ttl_counts, strict=False) if count
    )


def cost_view(impact: Impact, assumption: str) -> CostView:
    """The chart of what a purge costs."""
    over_text = duration(impact.over_s)
    budget = impact.budget_per_s

    def verdict(peak: float, is_over: bool) -> tuple[str, str]:
        if is_over:
            return "warn", f"Over budget: {number(_round(peak))} reads/s"
        return "ok", f"Peak {number(_round(peak))} reads/s"

    once_kind, once_text = verdict(impact.once.peak_per_s, impact.once.is_over)
    spread_kind, spread_text = verdict(impact.spread.peak_per_s, impact.spread.is_over)
    limit = "no budget is set" if budget is None else f"budget {number(budget)}"
    return CostView(
        impact=impact,
        over_text=over_text,
        once_kind=once_kind,
        once_text=once_text,
        spread_kind=spread_kind,
        spread_text=spread_text,
        sentence=(
            f"Expected database reads per second: {number(_round(impact.load.loads_per_s))} now. At once: peak"
            f" {number(_round(impact.once.peak_per_s))}. Over {over_text}: peak"
            f" {number(_round(impact.spread.peak_per_s))}; {limit}."
        ),
        assumption=assumption,
    )


def button(purge: Purge, typed: TypedApproval) -> str:
    """What the last button does, and when: as the form stands."""
    preview = purge.preview
    assert preview is not None
    count = f"{'about ' if preview.keys_error else ''}{keys(preview.keys)}"
    most = f"up to {count}"
    words = {
        Action.DELETE: f"Remove {count}",
        Action.SPREAD: f"Let {most} expire within {duration(purge.plan.window_s)}",
        Action.SOFT: _soft_words(preview, count, most),
        Action.POLICY: f"Apply the policy to {most}",
    }[purge.plan.action]
    try:
        plan = parse_when(typed, purge.plan)
    except InvalidInput:
        return words  # the field says so
    over = f"over {duration(plan.over_s)}"
    when = {
        When.NOW.value: "now",
        When.OVER.value: over,
        When.AT.value: "at its time",
        When.CRON.value: f"on a schedule, {over}",
    }[typed.when]
    if purge.plan.action is Action.SPREAD and plan.when is When.OVER:
        # One length is each key's, the other that of the work.
        when = when.replace("over", "set over")
    return f"{words}, {when}" if purge.plan.action is Action.SPREAD else f"{words} {when}"


def _softens(preview: Preview) -> bool:
    """Whether any key may be served stale at all."""
    return preview.without_grace < 0.9995


def _soft_words(preview: Preview, count: str, most: str) -> str:
    if not _softens(preview):
        return f"Remove {count}"
    return f"Mark stale or remove {most}" if preview.without_grace else f"Mark {most} stale"


def warning(purge: Purge) -> tuple[str, str]:
    """(kind, text) of what can't be undone; kind "warn": it is not what the action's name says."""
    preview = purge.preview
    if purge.plan.action is not Action.SOFT or preview is None or not preview.without_grace:
        return "", _WARNINGS[purge.plan.action]
    if not _softens(preview):
        return (
            "warn",
            f"No policy lets these keys be served stale: they are removed. {_WARNINGS[Action.DELETE]}",
        )
    return "warn", f"{percent(preview.without_grace)} of the keys are removed. {_WARNINGS[Action.SOFT]}"


_WARNINGS: Final = {
    Action.DELETE: "No undo. Each key reloads from the database on its next read.",
    Action.SPREAD: "No undo. Each key reloads from the database on its first read after it expired.",
    Action.SOFT: "No undo. Each key is loaded anew by its next reader, while others get the old value.",
    Action.POLICY: "No undo. Keys that live longer than their policy says expire sooner.",
}


# --- lists ------------------------------------------------------------------------------------------------------


def history_row(purge: Purge, listed: Sequence[bytes] = ()) -> HistoryRow:
    """One line of the history.

    Args:
        listed: the first of the keys or identifiers it was given.
    """
    progress, preview = purge.progress, purge.preview
    expected = preview.keys if preview else None
    about = "about " if preview and preview.keys_error else ""
    if purge.state in (State.DRAFT, State.PREVIEWED, State.WAITING, State.RUNNING):
        # Those under way stand above, with how far they are.
        keys_text = "n/a" if expected is None else f"{about}{expected:,}"
    elif purge.state is State.DONE or not expected:
        keys_text = f"{progress.touched:,}"
    else:
        keys_text = f"{progress.touched:,} of {about}{expected:,}"
    kind, icon, result = _result(purge)
    return HistoryRow(
        purge=purge,
        target=purge.plan.selection.target,
        named=_named(listed[:NAMED], purge.plan.selection.count),
        only=", ".join(filters(purge.plan)),
        chosen_by=chosen_by(purge.plan),
        keys_text=keys_text,
        how=_what_and_when(purge),
        kind=kind,
        icon=icon,
        result=result,
    )


def _named(listed: Sequence[bytes], count: int) -> str:
    words = ", ".join(prefix_to_text(item) for item in listed)
    more = count - len(listed)
    return f"{words} and {more:,} more" if words and more > 0 else words


def _what_and_when(purge: Purge) -> str:
    done = action(purge.plan)
    if not purge.approved_at:
        return done
    when = how(purge.plan, purge.source)
    return f"{done}, {when[:1].lower()}{when[1:]}"


def _result(purge: Purge) -> tuple[str, str, str]:
    took = ""
    if purge.started_at and purge.ended_at:
        took = duration(max(0.1, (purge.ended_at - purge.started_at).total_seconds()))
    match purge.state:
        case State.DONE:
            return "ok", "", f"Done in {took}" if took else "Done"
        case State.CANCELLED:
            return "", "ban", f"Cancelled at {purge.progress.touched:,}" if purge.started_at else "Cancelled"
        case State.FAILED:
            return "crit", "", "Failed"
        case State.PAUSED:
            return "warn", "circle-pause", "Waits for you" if purge.problem else "Paused"
        case State.RUNNING:
            return "acc", "loader-circle", "Running"
        case State.WAITING:
            return "", "clock", "Waiting"
        case State.PREVIEWED:
            return "", "circle-dashed", "Not approved"
        case State.DRAFT:
            return ("warn", "", "Not counted") if purge.problem else ("", "loader-circle", "Counting")


def state_word(state: State) -> str:
    """Where a purge stands, within a sentence."""
    return _BADGES[state][0].lower()


def is_coming(purge: Purge) -> bool:
    """Whether it waits for its time, rather than for its turn."""
    return purge.state is State.WAITING and purge.plan.when is When.AT


def seen(purges: Sequence[Purge], schedules: Sequence[Schedule], newest: int) -> str:
    """What the lists of the page are made of, in short.

    Args:
        purges: those under way.
        newest: number of the purge that began last: it may be over within a moment.
    """
    parts = [str(newest), *(f"{purge.number}-{purge.state}" for purge in purges)]
    parts += (
        f"s{each.number}-{each.revision}-{each.last_at and int(each.last_at.timestamp())}-{each.last_state}"
        for each in schedules
    )
    return ".".join(parts)


def _round(value: float) -> float:
    return round(value) if value >= 10 else round(value, 1)


def poll_s(shown: Iterable[Purge]) -> int:
    """How often a page looks again at these purges, in seconds; 0: none of them changes by itself."""
    purges = [purge for purge in shown if purge.state.is_active or _is_counting(purge)]
    if any(
        _is_counting(purge) or purge.wish or (purge.state in _MOVING and not is_coming(purge))
        for purge in purges
    ):
        return POLL_S
    return RESTING_POLL_S if purges else 0


def _is_counting(purge: Purge) -> bool:
    return purge.state is State.DRAFT and not purge.problem
