"""The shop's pages."""

from flask import Blueprint

bp = Blueprint("shop", __name__)


@bp.get("/healthz")
def healthz() -> str:
    """Whether this process answers."""
    return "ok\n"
