"""Pages about one cache that show the last poll's tables: slow log, clients, commands."""

from flask import Blueprint, Response

from dashboard.access import Role
from dashboard.monitoring import service
from dashboard.web.context import open_work
from dashboard.web.guard import requires
from dashboard.web.templating import render

bp = Blueprint("monitoring", __name__, url_prefix="/caches/<int:cache_id>")


@bp.get("/slow-log")
@requires(Role.VIEWER)
def slow_log(cache_id: int) -> Response:
    """The slowest commands the server remembers."""
    with open_work() as work:
        page = service.slow_log_page(work, cache_id)
    return render("monitoring/slow_log.html", page, fragment="monitoring/_slow_log.html")


@bp.get("/clients")
@requires(Role.VIEWER)
def clients(cache_id: int) -> Response:
    """Who is connected."""
    with open_work() as work:
        page = service.clients_page(work, cache_id)
    return render("monitoring/clients.html", page, fragment="monitoring/_clients.html")


@bp.get("/commands")
@requires(Role.VIEWER)
def commands(cache_id: int) -> Response:
    """Which commands the server spends its time on."""
    with open_work() as work:
        page = service.commands_page(work, cache_id)
    return render("monitoring/commands.html", page, fragment="monitoring/_commands.html")
