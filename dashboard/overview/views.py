"""The Overview, its live parts and the numbers of its charts."""

from flask import Blueprint, Response, jsonify

from dashboard.access import Role, can
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import Span
from dashboard.overview import service
from dashboard.overview.types import NoCachePage
from dashboard.web.context import open_work
from dashboard.web.guard import requires
from dashboard.web.htmx import redirect_to
from dashboard.web.params import float_arg, text_arg
from dashboard.web.templating import render
from dashboard.work import UnitOfWork

bp = Blueprint("overview", __name__)
_LATEST_S = 1e11


def _span(work: UnitOfWork, cache_id: int) -> Span:
    return monitoring.span(
        work,
        text_arg("range", longest=20) or service.default_range(work, cache_id),
        text_arg("from", longest=40) or None,
        text_arg("to", longest=40) or None,
    )


@bp.get("/")
@requires(Role.VIEWER)
def home() -> Response:
    """The first cache's Overview, or the way to connect one."""
    with open_work() as work:
        path = service.first_cache_path(work)
        may_add = can(work.actor, Role.ADMIN)
    return redirect_to(path) if path else render("overview/no_cache.html", NoCachePage(may_add))


@bp.get("/caches/<int:cache_id>/overview")
@requires(Role.VIEWER)
def overview(cache_id: int) -> Response:
    """One cache over one span; as a fragment, its live parts."""
    with open_work() as work:
        page = service.overview_page(work, cache_id, _span(work, cache_id))
    return render("overview/overview.html", page, fragment="overview/_live.html")


@bp.get("/caches/<int:cache_id>/series")
@requires(Role.VIEWER)
def series(cache_id: int) -> Response:
    """The numbers of the charts as JSON; ``since`` (epoch seconds) asks for later ones only."""
    with open_work() as work:
        since = float_arg("since", low=0, high=_LATEST_S)
        return jsonify(service.series_payload(work, cache_id, _span(work, cache_id), since))
