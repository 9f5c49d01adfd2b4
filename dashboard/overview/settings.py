"""The effective settings, for administrators."""

from dataclasses import dataclass

from flask import Blueprint, Response

from dashboard import __version__
from dashboard.access import Role
from dashboard.config import describe
from dashboard.web.context import runtime
from dashboard.web.guard import requires
from dashboard.web.templating import render

bp = Blueprint("settings", __name__)


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable; ``value`` is masked when it is a secret."""

    name: str
    value: str
    description: str


@dataclass(frozen=True, slots=True)
class SettingsPage:
    """What the page shows."""

    version: str
    settings: tuple[Setting, ...]


@bp.get("/settings")
@requires(Role.ADMIN)
def settings() -> Response:
    """Every setting, its effective value and its meaning."""
    rows = tuple(Setting(*row) for row in describe(runtime().settings))
    return render("settings/page.html", SettingsPage(__version__, rows))
