"""Scans and samples: asked for, followed, cancelled; what they found in short; limits."""

from collections.abc import Callable
from dataclasses import replace

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.errors import CacheUnavailable, ConfigError, Conflict, InvalidInput, Refused
from dashboard.keyspace import forms, pages, panel, service
from dashboard.keyspace.scanning import Refused as CantScan
from dashboard.web.context import current_actor, open_work, runtime
from dashboard.web.errors import of_form
from dashboard.web.guard import requires
from dashboard.web.htmx import notify, redirect_to
from dashboard.web.numbers import revision_of
from dashboard.web.params import choice_arg, int_arg
from dashboard.web.templating import render
from dashboard.work import UnitOfWork

bp = Blueprint("keyspace", __name__, url_prefix="/caches/<int:cache_id>/keyspace")

_PAGE, _LIMITS = "keyspace/page.html", "keyspace/limits.html"
_LARGEST = 2**62
_SHOWN_AS_PROBLEM = (Conflict, Refused, CantScan, CacheUnavailable, ConfigError)


@bp.get("")
@requires(Role.VIEWER)
def page(cache_id: int) -> Response:
    """Where the numbers about keys are from, the largest prefixes, growth, scans so far."""
    with open_work() as work:
        shown = pages.keyspace_page(work, cache_id, before=int_arg("before", low=1, high=_LARGEST))
    return render(_PAGE, shown)


@bp.get("/panel")
@requires(Role.VIEWER)
def freshness(cache_id: int) -> Response:
    """The panel alone, for the round that follows a scan on any page; ``seen`` says what that page knows of."""
    back = choice_arg("back", tuple(panel.BACK), "keyspace")
    seen = int_arg("seen", low=0, high=_LARGEST)
    with open_work() as work:
        shown = panel.panel(work, cache_id, back, seen=seen)
    return render("keyspace/_panel.html", shown)


@bp.post("/sample")
@requires(Role.OPERATOR)
def sample(cache_id: int) -> Response:
    """Look at some keys now."""
    return _do(
        cache_id,
        lambda: service.take_sample(runtime(), current_actor(), cache_id),
        "These numbers are of just now.",
    )


@bp.post("/scan")
@requires(Role.OPERATOR)
def scan(cache_id: int) -> Response:
    """Have all keys looked at."""
    ask = _in_work(lambda work: service.start_scan(work, cache_id))
    return _do(cache_id, ask, "All keys are being looked at.")


@bp.post("/scans/<int:number>/cancel")
@requires(Role.OPERATOR)
def cancel(cache_id: int, number: int) -> Response:
    """End a scan for good."""
    words = f"Scan {number} ends. What it saw is dropped; earlier numbers stay."
    return _do(cache_id, _in_work(lambda work: service.cancel_scan(work, cache_id, number)), words)


def _in_work(what: Callable[[UnitOfWork], object]) -> Callable[[], object]:
    def do() -> object:
        with open_work() as work:
            return what(work)

    return do


def _do(cache_id: int, what: Callable[[], object], words: str) -> Response:
    """One step, and back to the page it was asked on."""
    back = request.form.get("back", "keyspace")
    try:
        what()
    except _SHOWN_AS_PROBLEM as error:
        with open_work() as work:
            shown = pages.keyspace_page(work, cache_id, problem=error.in_full)
        return render(_PAGE, shown, status=error.status)
    notify("ok", words)
    return redirect_to(f"/caches/{cache_id}/{panel.BACK.get(back, 'keyspace')}")


@bp.get("/limits")
@requires(Role.ADMIN)
def limits(cache_id: int) -> Response:
    """The form of the limits."""
    with open_work() as work:
        shown = pages.limits_page(work, cache_id)
    return render(_LIMITS, shown)


@bp.post("/limits")
@requires(Role.ADMIN, keeps_form="keyspace.set_limits_again")
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
    notify("ok", "The limits are changed. A scan that runs keeps its own.")
    return redirect_to(f"/caches/{cache_id}/keyspace")


@bp.post("/limits/again")
@requires(Role.ADMIN)
def set_limits_again(cache_id: int) -> Response:
    """The form of the limits as it was typed before a sign-in; nothing is changed."""
    with open_work() as work:
        shown = pages.limits_page(work, cache_id, typed=forms.typed_limits(request.form))
    # Typed on top of what stood there then: a change since is still noticed.
    return render(_LIMITS, replace(shown, revision=revision_of(request.form)))
