"""The forecast's page: what expires when, and what can be done about it."""

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.errors import DashboardError, InvalidInput
from dashboard.forecast import pages, service
from dashboard.forecast.trial import Remedy
from dashboard.forecast.types import Horizon
from dashboard.keyspace import service as keyspace
from dashboard.web.context import current_actor, open_work, runtime
from dashboard.web.guard import requires
from dashboard.web.htmx import notify, redirect_to
from dashboard.web.numbers import digits_of
from dashboard.web.params import choice_arg, int_arg, text_arg
from dashboard.web.templating import render

bp = Blueprint("forecast", __name__, url_prefix="/caches/<int:cache_id>/forecast")

_HORIZONS = [each.value for each in Horizon]
_REMEDIES = [each.value for each in Remedy]
_LONGEST_STEM = 2_000
_LARGEST_S = 2**40
_MOST_JITTER_S = 366 * 86_400


@bp.get("")
@requires(Role.VIEWER)
def page(cache_id: int) -> Response:
    """Everything; as a fragment, the remedy that is tried."""
    horizon = Horizon(choice_arg("ahead", _HORIZONS, Horizon.HOUR.value))
    remedy = choice_arg("try", _REMEDIES, "")
    with open_work() as work:
        shown = pages.forecast_page(
            work,
            cache_id,
            horizon,
            at=int_arg("at", low=0, high=_LARGEST_S),
            stem=text_arg("stem", longest=_LONGEST_STEM),
            remedy=Remedy(remedy) if remedy else None,
            percent=int_arg("percent", low=0, high=100),
        )
    return render("forecast/page.html", shown, fragment="forecast/_try.html")


@bp.post("/sample")
@requires(Role.OPERATOR)
def sample(cache_id: int) -> Response:
    """Look at some keys anew, at once."""
    try:
        taken = keyspace.take_sample(runtime(), current_actor(), cache_id)
        notify("ok", f"{taken.looked_at:,} keys were looked at.")
    except DashboardError as error:
        notify("crit", error.in_full)
    return redirect_to(f"/caches/{cache_id}/forecast?ahead={_ahead()}")


@bp.post("/jitter")
@requires(Role.OPERATOR)
def jitter(cache_id: int) -> Response:
    """Stage the jitter that was tried; the draft's page publishes it."""
    jitter_s = digits_of(request.form.get("jitter_s", ""))
    if jitter_s is None or jitter_s > _MOST_JITTER_S:
        raise InvalidInput("The jitter is no number of seconds.", what_to_do="Go back to the forecast.")
    try:
        with open_work() as work:
            staged = service.add_jitter(work, cache_id, request.form.get("prefix", ""), jitter_s)
    except InvalidInput as error:
        words = " ".join(error.fields.values())
        notify("crit", f"This jitter can't be staged. {words}")
        return redirect_to(f"/caches/{cache_id}/forecast?ahead={_ahead()}")
    for warning in staged.warnings:
        notify("warn", warning)
    if staged.change is None:
        notify("ok", "Nothing is staged: this is what is in force.")
        return redirect_to(f"/caches/{cache_id}/forecast?ahead={_ahead()}")
    notify("ok", f"{staged.change.title} is staged: {staged.change.summary}. Publish it to put it in force.")
    return redirect_to(f"/caches/{cache_id}/policies/draft")


def _ahead() -> str:
    wanted = request.form.get("ahead", "")
    return wanted if wanted in _HORIZONS else Horizon.HOUR.value
