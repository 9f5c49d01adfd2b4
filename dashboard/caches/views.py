"""The page before a cache is removed; list and form join the areas and live in overview/connections."""

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.caches import service
from dashboard.errors import InvalidInput
from dashboard.web.context import open_work
from dashboard.web.guard import requires
from dashboard.web.htmx import notify, redirect_to
from dashboard.web.templating import render

bp = Blueprint("caches", __name__)


@bp.get("/caches/<int:cache_id>/remove")
@requires(Role.ADMIN)
def remove_form(cache_id: int) -> Response:
    """Ask before a cache is removed."""
    with open_work() as work:
        page = service.remove_page(work, cache_id)
    return render("caches/remove.html", page)


@bp.post("/caches/<int:cache_id>/remove")
@requires(Role.ADMIN)
def remove(cache_id: int) -> Response:
    """Remove a cache and its history."""
    try:
        with open_work() as work:
            cache = service.delete_cache(work, cache_id, request.form.get("name", ""))
    except InvalidInput as error:
        with open_work() as work:
            page = service.remove_page(work, cache_id, error.fields["name"])
        return render("caches/remove.html", page, status=error.status)
    notify("ok", f"{cache.name} is removed. Redis itself was not touched.")
    return redirect_to("/caches")
