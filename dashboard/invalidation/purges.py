"""Use cases of a single purge: make, approve, pause, resume, cancel, count again. The worker's part is in ``jobs``."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from dashboard import access
from dashboard.access import Role
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import Conflict, InvalidInput, Refused
from dashboard.invalidation import changing, costs, friction, rows, selection, store
from dashboard.invalidation.limits import limits
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import (
    MOST_IDS,
    Action,
    Friction,
    Plan,
    Preview,
    Purge,
    PurgeMark,
    SelectBy,
    State,
    When,
)
from dashboard.jobs import service as jobs
from dashboard.jobs.types import Wish
from dashboard.policies.types import LONGEST_REASON
from dashboard.work import UnitOfWork

PAGE_SIZE: Final = 20
MOST_MARKS: Final = 200
STALE_AFTER: Final = timedelta(minutes=10)
"""A preview that is older must be counted again before it can be approved."""
LONGEST_WINDOW_S: Final = 30 * 86_400
LONGEST_AHEAD: Final = timedelta(days=366)


def create(
    work: UnitOfWork, cache_id: int, plan: Plan, keys: Iterable[bytes] = (), *, reason: str = ""
) -> Purge:
    """Make a draft, which a worker then counts; nothing in Redis is changed before ``approve``.

    Args:
        plan: what, with which action and when; all but what is selected can still be changed when it is approved. The
            templates of ROWS are those of the mapping in force.
        keys: for KEYS the keys, for IDS and ROWS the identifiers, in any number up to MOST_IDS; read once.
        reason: a first word on why; ``approve`` may replace it.

    Returns:
        The purge in state DRAFT. Its preview is there as soon as it is PREVIEWED; a ``problem`` says why it can't be
        counted.

    Raises:
        Forbidden: the actor is no operator.
        Refused: the cache is read-only.
        NotFound: there is no such cache.
        InvalidInput: a message per field.
    """
    access.require(work.actor, Role.OPERATOR)
    cache = caches.get_cache(work, cache_id)
    caches.require_writable(cache)
    plan = replace(plan, selection=rows.resolved(work, cache.id, plan.selection))
    number = store.insert_purge(
        work.session,
        cache_id=cache.id,
        state=State.DRAFT,
        plan=plan,
        target=plan.selection.target,
        actor=work.actor.name,
        source=work.actor.source,
        now=work.now,
        reason=_reason(reason),
    )
    if plan.selection.by.is_exact:
        count = store.put_input(work.session, number, keys, most=MOST_IDS)
        if not 0 < count <= MOST_IDS:
            message = "Enter at least one." if not count else f"At most {MOST_IDS:,} at a time."
            raise InvalidInput("Nothing can be purged with that list.", fields={"keys": message})
        # How many are in a list is known once it was read.
        plan = replace(plan, selection=replace(plan.selection, count=count))
    selection.check(plan.selection)
    store.change_purge(
        work.session,
        number,
        plan=plan,
        target=plan.selection.target,
        job_id=changing.add_count_job(work, number, cache),
    )
    audit.record(
        work,
        "invalidation:purge:create",
        f"purge {number}",
        after={"state": State.DRAFT.value, **changing.asked(plan)},
        reason=_reason(reason),
        cache_name=cache.name,
    )
    return get_purge(work, number)


def get_purge(work: UnitOfWork, number: int, cache_id: int | None = None) -> Purge:
    """The purge.

    Args:
        cache_id: it must be one of this cache; None: of any.

    Raises:
        NotFound: there is none.
    """
    access.require(work.actor, Role.VIEWER)
    purge = store.find_purge(work.session, number)
    if purge is None or cache_id not in (None, purge.cache_id):
        raise changing.gone(number)
    return purge


def list_purges(
    work: UnitOfWork,
    cache_id: int,
    *,
    text: str = "",
    states: Sequence[State] = (),
    before: int | None = None,
    limit: int = PAGE_SIZE,
    only_approved: bool = False,
) -> list[Purge]:
    """Purges of a cache, newest first.

    Args:
        text: in the target, the person or the reason.
        states: only those; empty: all.
        before: only numbers below, for paging.
        only_approved: only those that were ever let run.
    """
    access.require(work.actor, Role.VIEWER)
    return store.list_purges(
        work.session,
        cache_id,
        words=text.replace("\x00", ""),
        states=states,
        before=before,
        limit=limit,
        only_approved=only_approved,
    )


def active_purges(work: UnitOfWork) -> list[Purge]:
    """Approved purges of all caches that are not over, oldest first."""
    return store.list_active(work.session)


def marks(work: UnitOfWork, cache_id: int, start: datetime, end: datetime) -> list[PurgeMark]:
    """The purges that began within a span, for charts, oldest first; the newest MOST_MARKS."""
    access.require(work.actor, Role.VIEWER)
    return store.list_started(work.session, cache_id, start, end, MOST_MARKS)


def under_way(work: UnitOfWork) -> str:
    """What every page says of purges: "1 running, 2 waiting", "1 paused"; empty where none is under way.

    One that waits for its time is not. Paused ones are left out while others run.
    """
    found = Counter(
        state
        for state, when in store.list_under_way(work.session)
        if not (state is State.WAITING and when is When.AT)
    )
    said = (State.RUNNING, State.WAITING) if found[State.RUNNING] else (State.WAITING, State.PAUSED)
    return ", ".join(f"{found[state]} {state}" for state in said if found[state])


def friction_of(work: UnitOfWork, purge: Purge, plan: Plan | None = None) -> Friction:
    """What must be given to approve a purge that was counted.

    Args:
        plan: as it would be approved; None: as it is.
    """
    assert purge.preview is not None
    cache = caches.get_cache(work, purge.cache_id)
    return _wanted(work, cache, plan or purge.plan, purge.preview)


def approve(
    work: UnitOfWork,
    number: int,
    *,
    revision: int,
    reason: str = "",
    typed: str = "",
    confirmed_keys: int | None = None,
    plan: Plan | None = None,
) -> Purge:
    """Let a counted purge run: at once, over a while, or at its time; bound to the count that was shown.

    Args:
        revision: of the purge as it was shown.
        reason: why, in a few words; kept with the purge and in the audit log.
        typed: what was typed to confirm.
        confirmed_keys: the count that was confirmed: ``preview.keys`` as it was shown.
        plan: the plan as confirmed, where action, time or report were chosen after the preview; the same selection.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such purge.
        Conflict: it was changed, counted again or approved since it was shown; or the action is another than before it
            began.
        Refused: the cache is read-only, or not where it was counted any more, or the preview too old.
        InvalidInput: what ``friction_of`` asks for is missing; fields ``confirm``, ``typed``, ``reason``, ``over_s``,
            ``window_s``, ``at``.
    """
    access.require(work.actor, Role.OPERATOR)
    purge, cache = changing.lock(work, number, revision)
    plan, preview, reason = confirmed(
        work, purge, cache, reason=reason, typed=typed, confirmed_keys=confirmed_keys, plan=plan
    )
    if plan.when is When.CRON:
        raise InvalidInput("Not approved.", fields={"when": "A schedule is made in a way of its own."})
    if purge.started_at is not None and _deed(plan) != _deed(purge.plan):
        raise Conflict(
            f"Purge {number} has begun: what it does to the keys can't be changed any more.",
            what_to_do="Cancel it, and make another one.",
        )
    # What is in the journal may be touched already, or be among what was counted.
    cap = purge.progress.touched + store.open_keys(work.session, number) + preview.cap
    tells = {
        **changing.asked(plan),
        "when": plan.when.value,
        "keys": preview.keys,
        "at most": cap,
    }
    progress = replace(
        purge.progress,
        spread_from_s=purge.progress.spent_s,
        spread_from_share=purge.progress.scanned_share,
        came_back=0,
    )
    approved = changing.move(
        work,
        purge,
        Verb.APPROVE,
        cache,
        because=reason,
        tells=tells,
        plan=plan,
        reason=reason,
        cap=cap,
        progress=progress,
        approved_at=work.now,
        problem="",
        needs_count=False,
    )
    job = changing.add_run_job(work, approved, cache, limits(work, cache.id))
    store.change_purge(work.session, number, job_id=job)
    return approved


def pause(work: UnitOfWork, number: int, *, revision: int) -> Purge:
    """Pause a purge that waits or runs. One that runs is asked, and pauses within seconds (see ``wish``).

    Raises:
        Forbidden, NotFound, Conflict: as ``approve``; Conflict also when it is being cancelled.
    """
    return _stop(work, number, revision, Verb.PAUSE, Wish.PAUSE)


def cancel(work: UnitOfWork, number: int, *, revision: int) -> Purge:
    """End a purge for good; what is done stays done. One that runs is asked, and ends within seconds.

    Raises:
        Forbidden, NotFound, Conflict: as ``approve``.
    """
    return _stop(work, number, revision, Verb.CANCEL, Wish.CANCEL)


def resume(work: UnitOfWork, number: int, *, revision: int) -> Purge:
    """Let a paused purge go on where it stopped.

    Raises:
        Forbidden, NotFound: as ``approve``.
        Conflict: as ``approve``; also when it needs another approval first (``needs_count``).
        Refused: the cache is read-only now.
    """
    access.require(work.actor, Role.OPERATOR)
    purge, cache = changing.lock(work, number, revision)
    changing.require(purge, Verb.RESUME)
    if purge.needs_count:
        raise Conflict(
            f"Purge {number} would touch more than was approved.",
            what_to_do="Count again, then approve what it finds.",
        )
    caches.require_writable(cache)
    resumed = changing.move(work, purge, Verb.RESUME, cache, problem="")
    job = changing.add_run_job(work, resumed, cache, limits(work, cache.id))
    store.change_purge(work.session, number, job_id=job)
    return resumed


def recount(work: UnitOfWork, number: int, *, revision: int) -> Purge:
    """Count a purge again: a draft whose count failed, a preview, or one that is paused. It needs a new approval.

    Raises:
        Forbidden, NotFound, Conflict: as ``approve``; Conflict also while it is being counted.
        Refused: the cache is read-only now.
    """
    access.require(work.actor, Role.OPERATOR)
    purge, cache = changing.lock(work, number, revision)
    changing.require(purge, Verb.RECOUNT)
    if purge.state is State.DRAFT and not purge.problem:
        raise Conflict(f"Purge {number} is being counted.")
    caches.require_writable(cache)
    job = changing.add_count_job(work, number, cache)
    return changing.move(
        work,
        purge,
        Verb.RECOUNT,
        cache,
        job_id=job,
        drafted_at=work.now,
        counted=0,
        to_count=0,
        problem="",
        cap=0,
        approved_at=None,
        needs_count=False,
    )


def confirmed(
    work: UnitOfWork,
    purge: Purge,
    cache: Cache,
    *,
    reason: str,
    typed: str,
    confirmed_keys: int | None,
    plan: Plan | None,
) -> tuple[Plan, Preview, str]:
    """Check an approval: the plan, the preview it is bound to, and the reason as it is kept.

    Raises:
        Conflict, Refused, InvalidInput: as ``approve``.
    """
    changing.require(purge, Verb.APPROVE)
    caches.require_writable(cache)
    plan = plan or purge.plan
    if purge.started_at is not None and plan.at == purge.plan.at and not _is_to_come(work, plan):
        # It began at its time: what is left of it does not wait for another.
        plan = replace(plan, when=When.NOW, at=None)
    if plan.selection != purge.plan.selection:
        raise Conflict("What is selected is not what was counted.", what_to_do="Count again.")
    preview = purge.preview
    assert preview is not None  # it is previewed
    if changing.is_elsewhere(preview, cache):
        raise Refused(
            f"{cache.name} is another server, or another database, than the one that was counted.",
            what_to_do="Count again.",
        )
    if work.now - preview.counted_at > STALE_AFTER:
        raise Refused(
            f"Purge {purge.number} was counted more than {STALE_AFTER.seconds // 60} minutes ago.",
            what_to_do="Count again: the keys may be others by now.",
        )
    check_plan(work, plan)
    if purge.started_at is None and is_empty(plan, preview):
        raise Refused(
            "Nothing matched when it was counted: there is nothing to do.", what_to_do="Count again."
        )
    wanted = _wanted(work, cache, plan, preview)
    reason = _reason(reason) or purge.reason
    fields = {}
    # What is typed confirms the count, too: the revision says which.
    if wanted.confirm_count and wanted.typed is None and confirmed_keys is None:
        fields["confirm"] = f"Confirm the number of keys: {preview.keys:,}."
    if wanted.typed is not None and typed.strip() != wanted.typed:
        fields["typed"] = " ".join((f"Type {wanted.typed} to confirm.", *wanted.why))
    if wanted.reason and not reason:
        fields["reason"] = "Say why in a few words. It goes in the audit log."
    if fields:
        raise InvalidInput("Not approved.", fields=fields)
    if confirmed_keys not in (None, preview.keys):
        raise Conflict(f"It would touch {preview.keys:,} keys, and another number was confirmed.")
    return plan, preview, reason


def is_empty(plan: Plan, preview: Preview) -> bool:
    """Whether there is nothing to do. A purge for later may find keys then; a tag that goes as a whole makes values
    count as missing that its index does not name."""
    selection = plan.selection
    is_retired = selection.by is SelectBy.TAG and plan.action is Action.DELETE and selection.filters.is_empty
    return preview.keys + preview.keys_error == 0 and plan.when is not When.AT and not is_retired


def check_plan(work: UnitOfWork, plan: Plan) -> None:
    """Refuse a plan whose times can't be.

    Raises:
        InvalidInput: a message per field.
    """
    fields = {}
    longest = f"Enter 1 to {LONGEST_WINDOW_S:,} seconds."
    if plan.action is Action.SPREAD and not 1 <= plan.window_s <= LONGEST_WINDOW_S:
        fields["window_s"] = longest
    if plan.when is When.OVER and not 1 <= plan.over_s <= LONGEST_WINDOW_S:
        fields["over_s"] = longest
    if plan.when is When.AT:
        if not _is_to_come(work, plan):
            fields["at"] = "Enter a time that is still to come."
        elif plan.at is not None and plan.at > work.now + LONGEST_AHEAD:
            fields["at"] = "Enter a time within a year."
    if fields:
        raise InvalidInput("That can't be taken.", fields=fields)


def _stop(work: UnitOfWork, number: int, revision: int, verb: Verb, wish: Wish) -> Purge:
    access.require(work.actor, Role.OPERATOR)
    purge, cache = changing.lock(work, number, revision)
    changing.require(purge, verb)
    job_id = store.find_job(work.session, number)
    job = None if job_id is None else jobs.lock(work, job_id)
    if job is not None and job.is_held and purge.state.is_active:
        if purge.wish == Wish.CANCEL and wish is not Wish.CANCEL:
            raise Conflict(f"Purge {number} is being cancelled already.")
        if purge.wish != wish:
            jobs.ask(work, job.id, wish)
            store.change_purge(work.session, number, wish=wish.value)
            audit.record(
                work,
                f"invalidation:purge:ask-{wish.value}",
                f"purge {number}",
                before={"state": purge.state.value},
                after={"state": purge.state.value},
                cache_name=cache.name,
            )
        return get_purge(work, number)
    # Nobody holds it, or it is only being counted: whoever does finds that the job is gone.
    if job is not None:
        jobs.remove(work, job.id)
    if verb is Verb.CANCEL:
        return changing.end(work, purge, verb, cache)
    return changing.move(work, purge, verb, cache, tells=changing.touched(purge), job_id=None)


def _wanted(work: UnitOfWork, cache: Cache, plan: Plan, preview: Preview) -> Friction:
    allowed = limits(work, cache.id)
    beyond = costs.beyond_budget(work, cache.id, plan, preview, allowed)
    return friction.required(preview, plan, cache, allowed, beyond_budget_qps=beyond)


def _is_to_come(work: UnitOfWork, plan: Plan) -> bool:
    return plan.when is not When.AT or (plan.at is not None and plan.at > work.now)


def _deed(plan: Plan) -> tuple[Action, int, bool]:
    """What becomes of a key."""
    return plan.action, plan.window_s, plan.lengthens


def _reason(reason: str) -> str:
    reason = reason.strip()
    if len(reason) > LONGEST_REASON:
        message = f"At most {LONGEST_REASON} characters; this has {len(reason):,}."
        raise InvalidInput("That can't be taken.", fields={"reason": message})
    if match := selection.STEERING.search(reason):
        message = f"There is a control character in it, U+{ord(match[0]):04X}. Leave it out."
        raise InvalidInput("That can't be taken.", fields={"reason": message})
    return reason.encode("utf-8", "replace").decode()
