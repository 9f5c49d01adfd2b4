"""What each page of purges shows, put together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from dashboard.access import Role, can, require
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import InvalidInput, NotFound
from dashboard.invalidation import (
    costs,
    forms,
    impact,
    limits,
    purges,
    rows,
    scanned,
    schedules,
    screen,
    store,
)
from dashboard.invalidation.forms import TypedApproval, TypedLimits, TypedPurge
from dashboard.invalidation.impact import Load, Stream
from dashboard.invalidation.screen import (
    ApprovalView,
    CostView,
    Frame,
    HistoryView,
    JobView,
    LimitsScreen,
    Notice,
    OnePurgeScreen,
    PreviewView,
    PurgesScreen,
    ScheduleRow,
)
from dashboard.invalidation.types import Limits, Plan, Preview, Purge, Schedule, SelectBy, State, When
from dashboard.monitoring import service as monitoring
from dashboard.web.formats import duration, since, time
from dashboard.web.numbers import digits_of
from dashboard.work import UnitOfWork

HISTORY_SIZE: Final = 20
_NOT_COUNTED: Final = (
    "No application counts its reads here, and the server was not polled lately: what it costs is not known."
)


def purges_page(
    work: UnitOfWork,
    cache_id: int,
    *,
    number: int | None = None,
    typed: TypedPurge | None = None,
    text: str = "",
    state: str = "",
    before: int | None = None,
) -> PurgesScreen:
    """The form, what is under way and to come, limits and history.

    Args:
        number: a purge that was counted or is being counted, for the second and third step.
        typed: what the form holds at first, where there is no such purge; None: nothing.
        text, state, before: of the history: words to find, one of ``screen.STATES``, where it begins.

    Raises:
        NotFound: there is no such cache, or no such purge of it.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    frame, allowed = _frame(work, cache), limits.limits(work, cache_id)
    here = _here(work, cache_id)
    draft = None if number is None else purges.get_purge(work, number, cache_id)
    if draft is not None and draft.state not in (State.DRAFT, State.PREVIEWED):
        draft = None  # approved meanwhile: it stands among those under way, or in the history
    if draft is not None:
        typed = forms.shown_purge(draft, _items(work, draft))
    typed = typed or TypedPurge()
    jobs = tuple(
        screen.job_view(purge, allowed, frame, here)
        for purge in here
        if not screen.is_coming(purge) and (draft is None or purge.number != draft.number)
    )
    view, approval = None, None
    if draft is not None and draft.state is State.PREVIEWED:
        view, approval = _steps(work, cache, frame, allowed, draft, None)
        if draft.started_at is None and purges.is_empty(draft.plan, view.preview):
            approval = None
    return PurgesScreen(
        frame=frame,
        notices=_notices(work, cache),
        typed=typed,
        types=forms.types(typed.type),
        mappings=tuple(
            (name, f"{name}: {', '.join(templates)}")
            for name, templates in rows.row_mappings(work, cache_id).items()
        ),
        jobs=jobs,
        coming=_coming(work, cache_id, here, allowed, frame),
        limits=allowed,
        history=_history(work, cache_id, frame, text, state, before),
        seen=_seen(work, cache_id, here),
        poll_s=screen.poll_s([*here, *((draft,) if draft else ())]) or screen.IDLE_POLL_S,
        draft=draft,
        preview=view,
        approval=approval,
        last_scan="" if draft is None else scanned.last_scan(work, cache_id, draft.plan.selection),
    )


def is_unchanged(work: UnitOfWork, cache_id: int, seen: str) -> bool:
    """Whether nothing is under way here, and all is as a page knows it.

    Args:
        seen: of that page.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    caches.get_cache(work, cache_id)
    here = _here(work, cache_id)
    return not here and seen == _seen(work, cache_id, here)


def refused_page(
    page: PurgesScreen,
    typed: TypedPurge,
    *,
    errors: Mapping[str, str],
    problem: str = "",
    lost_file: str = "",
) -> PurgesScreen:
    """The page with a first step that was refused, as it was typed.

    Args:
        lost_file: name of the file that came with it.
    """
    types = forms.types(typed.type)
    return replace(page, typed=typed, types=types, errors=dict(errors), problem=problem, lost_file=lost_file)


def refused_approval(
    work: UnitOfWork,
    page: PurgesScreen,
    typed: TypedApproval,
    *,
    errors: Mapping[str, str],
    problem: str = "",
) -> PurgesScreen:
    """The page with a last step that was refused or is to be drawn anew, as it was typed."""
    draft = page.draft
    if draft is None or draft.state is not State.PREVIEWED or page.approval is None:
        return replace(page, problem=problem)
    cache = caches.get_cache(work, draft.cache_id)
    view, approval = _steps(work, cache, page.frame, page.limits, draft, typed)
    return replace(page, preview=view, approval=replace(approval, errors=dict(errors), problem=problem))


def purge_page(work: UnitOfWork, cache_id: int, number: int, *, problem: str = "") -> OnePurgeScreen:
    """One purge, at its permanent address.

    Args:
        problem: why something that was asked of it was refused.

    Raises:
        NotFound: there is no such cache, or no such purge of it.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    purge = purges.get_purge(work, number, cache_id)
    frame, allowed = _frame(work, cache), limits.limits(work, cache_id)
    view = None
    if purge.preview is not None:
        cost, missing, load_s = None, "", None
        if purge.state is State.PREVIEWED:
            cost, missing, load_s = _cost(work, cache, allowed, purge, None)
        view = screen.preview_view(purge, frame, cost, missing, load_s)
    is_open = purge.state in (State.DRAFT, State.PREVIEWED)
    return OnePurgeScreen(
        frame=frame,
        notices=_notices(work, cache),
        purge=purge,
        job=screen.job_view(purge, allowed, frame, _here(work, cache_id)),
        target=purge.plan.selection.target,
        chosen_by=screen.chosen_by(purge.plan),
        how=screen.how(purge.plan, purge.source),
        action=screen.action(purge.plan),
        filters=screen.filters(purge.plan),
        preview=view,
        trail=audit.trail(
            work,
            f"purge {number}",
            actions="invalidation:*",
            since=purge.created_at - timedelta(minutes=1),
        ),
        report_href=f"{frame.base}/{number}/report" if purge.plan.wants_report and not is_open else "",
        page_href=f"{frame.base}?purge={number}" if is_open and frame.may_purge else "",
        poll_s=screen.poll_s([purge]) or (0 if purge.state.is_over else screen.IDLE_POLL_S),
        problem=problem,
    )


def limits_page(
    work: UnitOfWork,
    cache_id: int,
    *,
    typed: TypedLimits | None = None,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
) -> LimitsScreen:
    """The form of a cache's limits.

    Args:
        typed, errors, problem: of a form that was refused.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    allowed = limits.limits(work, cache_id)
    return LimitsScreen(
        frame=_frame(work, cache),
        typed=typed or forms.shown_limits(allowed),
        revision=allowed.revision,
        errors=dict(errors or {}),
        problem=problem,
    )


def listed(work: UnitOfWork, cache_id: int, text: str, by: str) -> int:
    """How many entries the list of purge ``text`` of this cache has; 0: there is none that suits.

    Args:
        by: how keys are chosen now. Keys are no identifiers, nor the other way round.
    """
    purge = _with_list(work, cache_id, text)
    if purge is None or (purge.plan.selection.by is SelectBy.KEYS) != (by == SelectBy.KEYS):
        return 0
    return purge.plan.selection.count


def kept_items(work: UnitOfWork, cache_id: int, number: int) -> Iterator[bytes]:
    """The list that an earlier purge of this cache came with.

    Raises:
        InvalidInput: it is not there any more.
    """
    if _with_list(work, cache_id, str(number)) is None:
        message = "The list is not kept any more. Paste or upload it again."
        raise InvalidInput(message, fields={"ids": message, "keys": message})
    index = 0
    while (chunk := store.input_chunk(work.session, number, index)) is not None:
        first, items = chunk
        yield from items
        index = first + len(items)


# --- parts ------------------------------------------------------------------------------------------------------


def _here(work: UnitOfWork, cache_id: int) -> list[Purge]:
    """What is under way in a cache: what was approved, and what began and waits for another approval."""
    active = [purge for purge in purges.active_purges(work) if purge.cache_id == cache_id]
    return sorted([*active, *store.list_reopened(work.session, cache_id)], key=lambda purge: purge.number)


def _seen(work: UnitOfWork, cache_id: int, here: Sequence[Purge]) -> str:
    newest = store.find_newest(work.session, cache_id)
    return screen.seen(here, schedules.list_schedules(work, cache_id), newest)


def _frame(work: UnitOfWork, cache: Cache) -> Frame:
    return Frame(
        cache_id=cache.id,
        cache_name=cache.name,
        base=f"/caches/{cache.id}/invalidate",
        now=work.now,
        is_production=cache.is_production,
        is_read_only=cache.read_only,
        may_purge=can(work.actor, Role.OPERATOR),
        may_set_limits=can(work.actor, Role.ADMIN),
        target_ratio=cache.hit_ratio_target,
    )


def _notices(work: UnitOfWork, cache: Cache) -> tuple[Notice, ...]:
    found = []
    if cache.read_only:
        found.append(
            Notice(
                "",
                "lock",
                "Read-only.",
                "Nothing can be purged until an administrator opens the connection for writing.",
            )
        )
    worker = monitoring.worker_status(work)
    if worker is None or not worker.is_alive:
        found.append(
            Notice(
                "crit",
                "",
                "No worker runs.",
                "Nothing is counted and nothing is purged until one does: start cachewarden with its worker. What"
                " is asked for meanwhile waits.",
            )
        )
    status = monitoring.poll_status(work, cache.id)
    if status.error and not status.is_unpolled:
        at = (
            f" Last good reading {since(status.last_success_at, work.now)}." if status.last_success_at else ""
        )
        found.append(
            Notice(
                "warn",
                "unplug",
                f"{cache.name} does not answer as it should.",
                f"{status.error} {status.what_to_do or ''}{at} A purge waits until it is there again.",
            )
        )
    return tuple(found)


def _items(work: UnitOfWork, purge: Purge) -> Sequence[bytes]:
    """The list of a purge if a field can hold it."""
    if not purge.plan.selection.by.is_exact or purge.plan.selection.count > forms.MOST_SHOWN:
        return ()
    return tuple(kept_items(work, purge.cache_id, purge.number))


def _with_list(work: UnitOfWork, cache_id: int, text: str) -> Purge | None:
    number = digits_of(text, 18)
    if number is None:
        return None
    try:
        purge = purges.get_purge(work, number, cache_id)
    except NotFound:
        return None
    is_kept = purge.plan.selection.by.is_exact and not purge.state.is_over
    return purge if is_kept else None


def _steps(
    work: UnitOfWork,
    cache: Cache,
    frame: Frame,
    allowed: Limits,
    purge: Purge,
    typed: TypedApproval | None,
) -> tuple[PreviewView, ApprovalView]:
    over_s = None
    if typed is not None:
        try:
            over_s = forms.over_s(typed)
        except InvalidInput:
            over_s = None  # the field says so
    cost, missing, load_s = _cost(work, cache, allowed, purge, over_s)
    if typed is None:
        suggested = cost.impact.over_s if cost else _gentle_s(purge, allowed)
        amount, unit = forms.shown_over(suggested)
        typed = TypedApproval(over_s=amount, over_unit=unit, reason=purge.reason)
    view = screen.preview_view(purge, frame, cost, missing, load_s)
    kind, warning = screen.warning(purge)
    approval = ApprovalView(
        typed=typed,
        friction=purges.friction_of(work, purge, _chosen(purge, typed)),
        errors={},
        problem="",
        button=screen.button(purge, typed),
        warning=warning,
        warning_kind=kind,
    )
    return view, approval


def _chosen(purge: Purge, typed: TypedApproval) -> Plan:
    """The plan as the form stands; where that can't be read, all at once, which asks for the most."""
    try:
        return forms.parse_when(typed, purge.plan)
    except InvalidInput:
        return replace(purge.plan, when=When.NOW, over_s=0, at=None)


def _gentle_s(purge: Purge, allowed: Limits) -> float:
    """A length of time for a purge whose cost is not known."""
    assert purge.preview is not None
    streams = [Stream(purge.preview.keys, 0.0)]
    found = impact.suggest(
        streams, Load(0.0, 0.0, None), budget_per_s=None, keys_per_s=allowed.most_keys_per_s
    )
    return float(found or impact.OVER_CHOICES_S[-1])


def _cost(
    work: UnitOfWork, cache: Cache, allowed: Limits, purge: Purge, over_s: float | None
) -> tuple[CostView | None, str, float | None]:
    """The chart; why there is none; mean seconds of a load."""
    assert purge.preview is not None
    found = costs.model(work, cache.id, purge.plan, purge.preview)
    if found is None:
        return None, _NOT_COUNTED, None
    if found.counted_s:
        counted = f"As applications counted in the last {duration(found.counted_s)}"
        assumption = f"{counted}, as if all keys of a prefix were read alike."
    else:
        assumption = (
            "No application counts its reads here: from the server’s hits and misses, as if all keys were read"
            " alike and every miss were a database read."
        )
    return screen.cost_view(found.impact(allowed, over_s), assumption), "", found.load_s


def _coming(
    work: UnitOfWork, cache_id: int, here: Sequence[Purge], allowed: Limits, frame: Frame
) -> tuple[ScheduleRow, ...]:
    once = [
        _once(purge, screen.job_view(purge, allowed, frame), frame)
        for purge in here
        if screen.is_coming(purge)
    ]
    again = [_again(schedule, frame) for schedule in schedules.list_schedules(work, cache_id)]
    return (*once, *again)


def _once(purge: Purge, job: JobView, frame: Frame) -> ScheduleRow:
    at = purge.plan.at
    assert at is not None  # it comes at its time
    day = _day(at, frame)
    return ScheduleRow(
        title=f"{day[:1].upper()}{day[1:]} UTC",
        target=purge.plan.selection.target,
        only=", ".join(screen.filters(purge.plan)),
        keys_text=_about(purge.preview),
        reason=purge.reason,
        by=purge.by,
        last="",
        last_href="",
        schedule=None,
        job=job,
    )


def _again(schedule: Schedule, frame: Frame) -> ScheduleRow:
    over = f", over {duration(schedule.plan.over_s)}" if schedule.plan.when is When.OVER else ""
    title = f"{schedule.cron}{over}"
    title += ", paused" if schedule.next_at is None else f", next {_day(schedule.next_at, frame)} UTC"
    last, href = "Did not run yet.", ""
    if schedule.last_purge is not None and schedule.last_state is not None:
        word = screen.state_word(schedule.last_state)
        last, href = f"Purge {schedule.last_purge}: {word}", f"{frame.base}/{schedule.last_purge}"
    if schedule.last_note and schedule.last_at is not None:
        last = f"Missed {_day(schedule.last_at, frame)}: {schedule.last_note}"
        href = "" if schedule.last_state is None or schedule.last_state.is_over else href
    return ScheduleRow(
        title=title,
        target=schedule.plan.selection.target,
        only=", ".join(screen.filters(schedule.plan)),
        keys_text=_about(schedule.preview),
        reason=schedule.reason,
        by=schedule.by,
        last=last,
        last_href=href,
        schedule=schedule,
        job=None,
    )


def _day(at: datetime, frame: Frame) -> str:
    days = (at.date() - frame.now.date()).days
    name = {0: "today", 1: "tomorrow"}.get(days) or time(at, frame.now)
    return f"{name} {at:%H:%M}"


def _about(preview: Preview | None) -> str:
    return "" if preview is None else f"about {screen.keys(preview.keys)}"


def _history(
    work: UnitOfWork, cache_id: int, frame: Frame, text: str, state: str, before: int | None
) -> HistoryView:
    found = purges.list_purges(
        work,
        cache_id,
        text=text,
        states=screen.FOUND_BY[state],
        only_approved=not state,
        before=before,
        limit=HISTORY_SIZE + 1,
    )
    shown = found[:HISTORY_SIZE]
    listed = store.first_inputs(
        work.session, [each.number for each in shown if each.plan.selection.count], screen.NAMED
    )
    query = {name: value for name, value in (("q", text), ("state", state)) if value}
    more = {**query, "before": shown[-1].number} if len(found) > HISTORY_SIZE else {}
    return HistoryView(
        rows=tuple(screen.history_row(each, listed.get(each.number, ())) for each in shown),
        text=text,
        state=state,
        states=screen.STATES,
        is_filtered=bool(query) or before is not None,
        query=urlencode({**query, "before": before} if before is not None else query),
        next_href=f"{frame.base}?{urlencode(more)}#history" if more else "",
        newest_href=f"{frame.base}{'?' + urlencode(query) if query else ''}#history" if before else "",
    )
