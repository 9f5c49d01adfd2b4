"""The Overview, its live parts and the numbers of its charts."""

from flask import Blueprint, Response, jsonify

from dashboard.access import Role
from dashboard.errors import InvalidInput
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import Span
from dashboard.overview import prefixes, service, tour
from dashboard.overview.types import RefusedSpan
from dashboard.web.context import open_work
from dashboard.web.guard import requires
from dashboard.web.htmx import is_partial, redirect_to
from dashboard.web.params import choice_arg, float_arg, text_arg
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
        if path:
            return redirect_to(path)
        page = service.no_cache_page(work)
    return render("overview/no_cache.html", page)


@bp.get("/caches/<int:cache_id>/overview")
@requires(Role.VIEWER)
def overview(cache_id: int) -> Response:
    """One cache over one span; as a fragment, its live parts."""
    status = 200
    sort = choice_arg("sort", prefixes.SORTS, prefixes.DEFAULT_SORT)
    with open_work() as work:
        try:
            page = service.overview_page(work, cache_id, _span(work, cache_id), sort=sort)
        except InvalidInput as error:
            if is_partial() or not error.fields:
                raise
            refused = RefusedSpan(text_arg("from"), text_arg("to"), error.fields)
            usual = monitoring.span(work, service.default_range(work, cache_id))
            page, status = service.overview_page(work, cache_id, usual, refused, sort=sort), error.status
    return render("overview/overview.html", page, fragment="overview/_live.html", status=status)


@bp.post("/caches/<int:cache_id>/tour/close")
@requires(Role.VIEWER)
def close_tour(cache_id: int) -> Response:
    """Show the reader no tour any more."""
    with open_work() as work:
        tour.close_tour(work)
    return redirect_to(f"/caches/{cache_id}/overview")


@bp.get("/caches/<int:cache_id>/series")
@requires(Role.VIEWER)
def series(cache_id: int) -> Response:
    """The numbers of the charts as JSON; ``since`` (epoch seconds) asks for later ones only."""
    with open_work() as work:
        since = float_arg("since", low=0, high=_LATEST_S)
        return jsonify(service.series_payload(work, cache_id, _span(work, cache_id), since))
