"""The Invalidate page: choose, preview, confirm; what is under way; one purge; limits and schedules."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.errors import Conflict, InvalidInput, NotFound, Refused
from dashboard.invalidation import forms, pages, screen, service
from dashboard.invalidation.types import Plan, Purge, When
from dashboard.web.addresses import key_from_text
from dashboard.web.context import current_actor, open_work, runtime
from dashboard.web.errors import of_form
from dashboard.web.guard import requires
from dashboard.web.htmx import is_partial, is_round, notify, redirect_to
from dashboard.web.numbers import revision_of
from dashboard.web.params import choice_arg, int_arg, text_arg
from dashboard.web.templating import render, unchanged
from dashboard.work import UnitOfWork

bp = Blueprint("invalidation", __name__, url_prefix="/caches/<int:cache_id>/invalidate")

_PAGE, _PURGE, _LIMITS = "invalidation/page.html", "invalidation/purge.html", "invalidation/limits.html"
_LARGEST = 2**62
_PIECE_BYTES = 256 * 1024
_MOST_UPLOADED = 256 * 1024 * 1024
"""Five million identifiers of fifty characters."""
_LONGEST_SEARCH = 200
_SEEN_CHARS = 4000
_Change = Callable[..., Purge]


def _base(cache_id: int) -> str:
    return f"/caches/{cache_id}/invalidate"


# --- looking ----------------------------------------------------------------------------------------------------


@bp.get("")
@requires(Role.VIEWER)
def page(cache_id: int) -> Response:
    """The form, what is under way and to come, limits and history."""
    with open_work() as work:
        shown = _page(work, cache_id, _number())
    return render(_PAGE, shown, fragment="invalidation/_history.html")


@bp.get("/live")
@requires(Role.VIEWER)
def live(cache_id: int) -> Response:
    """What a round brings; ``seen`` says what the page knows of."""
    known = text_arg("seen", longest=_SEEN_CHARS)
    with open_work() as work:
        if is_round() and pages.is_unchanged(work, cache_id, known):
            return unchanged()
        shown = _page(work, cache_id, _number())
    shown = replace(shown, is_news=known != shown.seen)
    return render(_PAGE, shown, fragment="invalidation/_live.html")


@bp.get("/steps")
@requires(Role.OPERATOR)
def steps(cache_id: int) -> Response:
    """The second and third step, for the round that waits for the count."""
    with open_work() as work:
        shown = _page(work, cache_id, _number())
    shown = replace(shown, is_news=not shown.is_counting)
    return render(_PAGE, shown, fragment="invalidation/_steps.html")


@bp.get("/<int:number>")
@requires(Role.VIEWER)
def purge(cache_id: int, number: int) -> Response:
    """One purge, at its permanent address; as a fragment, what changes of it."""
    with open_work() as work:
        shown = pages.purge_page(work, cache_id, number)
    return render(_PURGE, shown, fragment="invalidation/_purge.html")


@bp.get("/<int:number>/report")
@requires(Role.VIEWER)
def report(cache_id: int, number: int) -> Response:
    """The keys it touched, one a line."""
    with open_work() as work:
        service.get_purge(work, number, cache_id)
    chunks = service.report_chunks(runtime(), current_actor(), number)
    headers = {"Content-Disposition": f'attachment; filename="purge-{number}-keys.txt"'}
    return Response(chunks, mimetype="text/plain", headers=headers)


# --- choose and count -------------------------------------------------------------------------------------------


@bp.post("/keys")
@requires(Role.OPERATOR)
def chosen_keys(cache_id: int) -> Response:
    """The form with the keys that were ticked in the key browser. Nothing is counted yet."""
    keys = [key_from_text(text) for text in request.form.getlist("key")[: forms.MOST_SHOWN]]
    with open_work() as work:
        shown = _page(work, cache_id, None, forms.chosen_keys(keys))
    return render(_PAGE, shown)


@bp.post("/preview")
@requires(Role.OPERATOR, keeps_form="invalidation.preview", most_bytes=_MOST_UPLOADED)
def preview(cache_id: int) -> Response:
    """Make a draft, which a worker counts."""
    try:
        with open_work() as work:
            typed = _typed(work, cache_id)
            asked = forms.parse_purge(typed, _upload(), service.row_mappings(work, cache_id))
            items = asked.items
            if asked.list_of is not None:
                items = pages.kept_items(work, cache_id, asked.list_of)
            made = service.create(work, cache_id, asked.plan, items)
    except (InvalidInput, Refused) as error:
        with open_work() as work:
            typed = _typed(work, cache_id)
            errors, problem = of_form(error)
            file = request.files.get("file")
            shown = pages.refused_page(
                _page(work, cache_id, None),
                typed,
                errors=errors,
                problem=problem,
                lost_file=(file.filename or "") if file else "",
            )
        return render(_PAGE, shown, status=error.status)
    return redirect_to(f"{_base(cache_id)}?purge={made.number}#preview")


def _typed(work: UnitOfWork, cache_id: int) -> forms.TypedPurge:
    form = request.form
    listed = pages.listed(work, cache_id, form.get("list_of", ""), form.get("by", ""))
    return forms.typed_purge(request.form, listed=listed)


def _upload() -> Iterator[bytes] | None:
    """The pieces of an uploaded list; None: no file was chosen."""
    file = request.files.get("file")
    if file is None:
        return None
    file.stream.seek(0)
    first = file.stream.read(_PIECE_BYTES)
    if not first and not file.filename:
        return None
    return chain((first,), iter(lambda: file.stream.read(_PIECE_BYTES), b""))


# --- confirm ----------------------------------------------------------------------------------------------------


@bp.post("/<int:number>/impact")
@requires(Role.OPERATOR)
def impact(cache_id: int, number: int) -> Response:
    """What it costs with the spread that stands in the form now."""
    typed, errors = forms.typed_approval(request.form), {}
    try:
        forms.over_s(typed)
    except InvalidInput as error:
        errors = dict(error.fields)
    with open_work() as work:
        shown = pages.refused_approval(work, _page(work, cache_id, number), typed, errors=errors)
    if is_partial() and (errors or shown.preview is None):
        return Response(status=204)  # the last drawing stays
    return render(_PAGE, shown, fragment="invalidation/_impact.html", status=422 if errors else 200)


@bp.post("/<int:number>/approve")
@requires(Role.OPERATOR, keeps_form="invalidation.approve_again")
def approve(cache_id: int, number: int) -> Response:
    """Let a counted purge run, now, over a while, at its time; or again and again."""
    typed = forms.typed_approval(request.form)
    try:
        with open_work() as work:
            counted = service.get_purge(work, number, cache_id)
            plan = forms.parse_when(typed, counted.plan)
            if typed.when == When.CRON:
                return _schedule(work, cache_id, number, typed, plan)
            service.approve(
                work,
                number,
                revision=revision_of(request.form),
                reason=typed.reason,
                typed=typed.typed,
                confirmed_keys=forms.confirmed_keys(typed),
                plan=plan,
            )
    except (InvalidInput, Conflict, Refused) as error:
        errors, problem = of_form(error)
        with open_work() as work:
            shown = pages.refused_approval(
                work, _page(work, cache_id, number), typed, errors=errors, problem=problem
            )
        return render(_PAGE, shown, status=error.status)
    words = "It waits for its time." if typed.when == When.AT else "It goes on when this page is closed."
    notify("ok", f"Purge {number} is approved. {words}")
    return redirect_to(_base(cache_id))


@bp.post("/<int:number>/approve/again")
@requires(Role.OPERATOR)
def approve_again(cache_id: int, number: int) -> Response:
    """The last step as it was typed before a sign-in. Nothing is approved; whoever is here now confirms anew."""
    typed = replace(forms.typed_approval(request.form), typed="", confirm="")
    with open_work() as work:
        shown = pages.refused_approval(work, _page(work, cache_id, number), typed, errors={})
    return render(_PAGE, shown)


def _schedule(
    work: UnitOfWork, cache_id: int, number: int, typed: forms.TypedApproval, plan: Plan
) -> Response:
    schedule = service.create_schedule(
        work,
        number,
        revision=revision_of(request.form),
        line=typed.cron,
        reason=typed.reason,
        typed=typed.typed,
        confirmed_keys=forms.confirmed_keys(typed),
        plan=plan,
    )
    notify("ok", f"Schedule {schedule.number} is set: {schedule.cron}, UTC.")
    return redirect_to(_base(cache_id))


# --- a purge under way ------------------------------------------------------------------------------------------


@bp.post("/<int:number>/pause")
@requires(Role.OPERATOR)
def pause(cache_id: int, number: int) -> Response:
    """Stop it where it can go on."""
    return _change(cache_id, number, service.pause)


@bp.post("/<int:number>/resume")
@requires(Role.OPERATOR)
def resume(cache_id: int, number: int) -> Response:
    """Let it go on."""
    return _change(cache_id, number, service.resume)


@bp.post("/<int:number>/cancel")
@requires(Role.OPERATOR)
def cancel(cache_id: int, number: int) -> Response:
    """End it for good."""
    return _change(cache_id, number, service.cancel)


@bp.post("/<int:number>/recount")
@requires(Role.OPERATOR)
def recount(cache_id: int, number: int) -> Response:
    """Count it again; it then needs a new approval."""
    return _change(cache_id, number, service.recount, to=f"{_base(cache_id)}?purge={number}#preview")


def _change(cache_id: int, number: int, change: _Change, *, to: str = "") -> Response:
    """One change of a purge, and back to where it was asked for."""
    back = request.form.get("back") == "purge"
    try:
        with open_work() as work:
            service.get_purge(work, number, cache_id)
            change(work, number, revision=revision_of(request.form))
    except (Conflict, Refused) as error:
        with open_work() as work:
            _, problem = of_form(error)
            if back:
                return render(
                    _PURGE, pages.purge_page(work, cache_id, number, problem=problem), status=error.status
                )
            shown = replace(_page(work, cache_id, None), problem=problem)
        return render(_PAGE, shown, status=error.status)
    return redirect_to(to or (f"{_base(cache_id)}/{number}" if back else _base(cache_id)))


# --- limits and schedules ---------------------------------------------------------------------------------------


@bp.get("/limits")
@requires(Role.ADMIN)
def limits(cache_id: int) -> Response:
    """The form of the limits."""
    with open_work() as work:
        shown = pages.limits_page(work, cache_id)
    return render(_LIMITS, shown)


@bp.post("/limits")
@requires(Role.ADMIN, keeps_form="invalidation.set_limits_again")
def set_limits(cache_id: int) -> Response:
    """Change the limits."""
    typed = forms.typed_limits(request.form)
    try:
        with open_work() as work:
            service.set_limits(work, cache_id, forms.parse_limits(typed, revision_of(request.form)))
    except (InvalidInput, Conflict) as error:
        errors, problem = of_form(error)
        with open_work() as work:
            shown = pages.limits_page(work, cache_id, typed=typed, errors=errors, problem=problem)
        return render(_LIMITS, shown, status=error.status)
    notify("ok", "The limits are changed. Purges that run keep theirs.")
    return redirect_to(_base(cache_id))


@bp.post("/limits/again")
@requires(Role.ADMIN)
def set_limits_again(cache_id: int) -> Response:
    """The form of the limits as it was typed before a sign-in; nothing is changed."""
    with open_work() as work:
        shown = pages.limits_page(work, cache_id, typed=forms.typed_limits(request.form))
    # Typed on top of what stood there then: a change since is still noticed.
    return render(_LIMITS, replace(shown, revision=revision_of(request.form)))


@bp.post("/schedules/<int:number>/pause")
@requires(Role.OPERATOR)
def pause_schedule(cache_id: int, number: int) -> Response:
    """Have a schedule not fire."""
    return _change_schedule(cache_id, number, service.pause_schedule, "is paused")


@bp.post("/schedules/<int:number>/resume")
@requires(Role.OPERATOR)
def resume_schedule(cache_id: int, number: int) -> Response:
    """Have it fire again."""
    return _change_schedule(cache_id, number, service.resume_schedule, "goes on")


@bp.post("/schedules/<int:number>/remove")
@requires(Role.OPERATOR)
def remove_schedule(cache_id: int, number: int) -> Response:
    """Remove it; the purges it made stay."""
    return _change_schedule(cache_id, number, service.remove_schedule, "is removed")


def _change_schedule(cache_id: int, number: int, change: Callable[..., object], word: str) -> Response:
    try:
        with open_work() as work:
            if number not in {each.number for each in service.list_schedules(work, cache_id)}:
                raise NotFound(f"There is no schedule {number}.", what_to_do="Somebody may have removed it.")
            change(work, number, revision=revision_of(request.form))
    except (Conflict, Refused) as error:
        with open_work() as work:
            _, problem = of_form(error)
            shown = replace(_page(work, cache_id, None), problem=problem)
        return render(_PAGE, shown, status=error.status)
    notify("ok", f"Schedule {number} {word}.")
    return redirect_to(_base(cache_id))


# --- parts ------------------------------------------------------------------------------------------------------


def _page(
    work: UnitOfWork, cache_id: int, number: int | None, typed: forms.TypedPurge | None = None
) -> screen.PurgesScreen:
    return pages.purges_page(
        work,
        cache_id,
        number=number,
        typed=typed or forms.linked_purge(request.args),
        text=text_arg("q", longest=_LONGEST_SEARCH).strip(),
        state=choice_arg("state", tuple(screen.FOUND_BY), ""),
        before=int_arg("before", low=1, high=_LARGEST),
    )


def _number() -> int | None:
    return int_arg("purge", low=1, high=_LARGEST)
