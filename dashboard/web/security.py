"""Headers, cookies and the same-origin check."""

from datetime import timedelta

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import BadRequest
from werkzeug.middleware.proxy_fix import ProxyFix

from dashboard.config import Settings
from dashboard.errors import Forbidden, Unauthenticated
from dashboard.web import headers
from dashboard.web.context import bearer_token, is_api

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_OWN_NAMES = ("127.0.0.1", "localhost")
_LARGEST_FORM_BYTES = 1024 * 1024


def install(app: Flask, settings: Settings) -> None:
    """Set cookies, limits and headers."""
    app.config.update(
        SECRET_KEY=settings.secret_key.get_secret_value(),
        # The __Host- prefix binds the cookie to this host and to HTTPS; browsers refuse it on plain HTTP.
        SESSION_COOKIE_NAME="__Host-cachewarden" if settings.secure_cookies else "cachewarden",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        MAX_CONTENT_LENGTH=_LARGEST_FORM_BYTES,
        MAX_FORM_MEMORY_SIZE=_LARGEST_FORM_BYTES,
        # Health checks ask this machine by its own names.
        TRUSTED_HOSTS=[*settings.allowed_hosts, *_OWN_NAMES] if settings.allowed_hosts else None,
    )
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    app.after_request(_headers)


def check_origin() -> None:
    """Refuse unsafe requests that another site made the browser send; one that does not say is refused too.

    Raises:
        Forbidden: the request is not from our own pages.
        Unauthenticated: it is a program's, which has neither a session nor a token.
    """
    # No browser adds a token by itself, and with one no session counts.
    if request.method in headers.SAFE_METHODS or bearer_token() is not None or headers.is_from_own_page():
        return
    if is_api() and current_app.config["SESSION_COOKIE_NAME"] not in request.cookies:
        raise Unauthenticated(
            "Nobody is signed in."
        )  # a program that forgot its token, not a browser led astray
    raise Forbidden(
        "This request did not come from a page of this dashboard.",
        what_to_do="Open the page here and press the button again.",
    )


def check_text() -> None:
    """Refuse NUL characters in addresses and forms: PostgreSQL can't store them.

    Raises:
        BadRequest: there is one.
    """
    values = [request.path, *request.args.values()]
    if request.mimetype in _FORMS:
        values += request.form.values()
    if any("\0" in value for value in values):
        raise BadRequest("A NUL character can't be taken. Remove it and try again.")


def _headers(response: Response) -> Response:
    headers.protect(response)
    if response.mimetype == "text/html":
        response.vary.update(("HX-Request", "HX-Request-Type"))
    return response
