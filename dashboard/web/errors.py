"""The one place where an error becomes an answer."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from flask import Flask, Response, current_app, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from dashboard.errors import DashboardError, InvalidInput, TooManyRequests, Unauthenticated
from dashboard.web import htmx, kept
from dashboard.web.context import bearer_token, is_api, request_id

log = logging.getLogger(__name__)

SignInAgain = Callable[[kept.Kept], Response]
_EXTENSION = "cachewarden-sign-in-again"

_WORDS = {
    400: ("That can't be read", "The request is malformed.", "Go back and try again."),
    404: ("Not found", "There is nothing at this address.", "It may have been removed, or the link is old."),
    405: (
        "Not this way",
        "This address does not take that kind of request.",
        "Open the page and use its form.",
    ),
    413: ("Too large", "This is more than is taken at once.", "Send less at once."),
}


@dataclass(frozen=True, slots=True)
class ErrorPage:
    """What the error template shows.

    Args:
        link: (label, address) of where the way out leads.
    """

    status: int
    title: str
    message: str
    what_to_do: str
    reference: str
    link: tuple[str, str] | None = None


def install(app: Flask, sign_in_again: SignInAgain) -> None:
    """Register the handlers.

    Args:
        sign_in_again: the sign-in page for somebody whose session ended before a form was sent.
    """
    app.extensions[_EXTENSION] = sign_in_again
    app.register_error_handler(DashboardError, _dashboard_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def of_form(error: DashboardError) -> tuple[Mapping[str, str], str]:
    """What was refused, for a form: by field, and in one text where there is no field for it."""
    if isinstance(error, InvalidInput) and error.fields:
        return error.fields, ""
    return {}, error.in_full


def json_error(status: int, title: str, message: str, what_to_do: str, **more: Any) -> Response:
    """An error for a program.

    Args:
        more: what else it can use, beside ``error``.
    """
    error = {"title": title, "message": message, "what_to_do": what_to_do, "reference": request_id()}
    return make_response({"error": error, **more}, status)


def _dashboard_error(error: DashboardError) -> Response:
    if isinstance(error, Unauthenticated):
        return _signed_out()
    if error.status >= 500:
        log.warning("%s [%s]: %s", error.code, request_id(), error, exc_info=error.__cause__ is not None)
    fields = error.fields if isinstance(error, InvalidInput) else {}
    response = _answer(error.status, error.title, error.message, error.what_to_do, fields)
    if isinstance(error, TooManyRequests):
        response.headers["Retry-After"] = str(error.retry_after_s)
    return response


def _http_error(error: HTTPException) -> Response:
    if error.code is None or error.code < 400:
        return make_response(error.get_response())
    title, message, way_out = _WORDS.get(error.code, (error.name, error.description or error.name, ""))
    if error.code == 400 and type(error).description != error.description and error.description:
        message = error.description
    response = _answer(error.code, title, message, way_out)
    for name, value in error.get_headers():
        if name in ("Allow", "Retry-After"):
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    log.error("unexpected error [%s] at %s %s", request_id(), request.method, request.path, exc_info=error)
    return _answer(
        500,
        "Something went wrong",
        "The dashboard could not do this. Nothing was changed.",
        "Try again. If it stays, look for the reference in the server's log.",
    )


def _signed_out() -> Response:
    if is_api():
        response = _answer(
            401,
            Unauthenticated.title,
            "The token is unknown, was revoked or has ended." if bearer_token() else "Nobody is signed in.",
            "Send a token of your account: Authorization: Bearer cw_…",
        )
        response.headers["WWW-Authenticate"] = "Bearer"
        return response
    is_page = not (request.headers.get("HX-Request") == "true" or _wants_json())
    form = kept.sent() if is_page else None
    if form is not None:
        again: SignInAgain = current_app.extensions[_EXTENSION]
        return again(form)
    # Of a fragment the page that it belongs to: alone it is none.
    is_fragment = request.headers.get("HX-Request") == "true"
    asked = request.full_path.rstrip("?") if request.method == "GET" else "/"
    back = asked if request.method == "GET" and not is_fragment else kept.came_from() or asked
    url = f"/sign-in?next={quote(back, safe='')}" if back != "/" else "/sign-in"
    if not is_page:
        # Never a sign-in page inside a panel.
        return Response(
            "Signed out.\n", 401, {"HX-Redirect": url, "Content-Type": "text/plain; charset=utf-8"}
        )
    return Response(status=303, headers={"Location": url})


def _wants_json() -> bool:
    return request.accept_mimetypes.best_match(["text/html", "application/json"]) == "application/json"


def _answer(
    status: int, title: str, message: str, what_to_do: str, fields: Mapping[str, str] | None = None
) -> Response:
    if is_api() or _wants_json():
        return json_error(status, title, message, what_to_do, **({"errors": dict(fields)} if fields else {}))
    # Only what is in the log needs a reference.
    page = ErrorPage(status, title, message, what_to_do, request_id() if status >= 500 else "")
    template = "errors/_error.html" if htmx.is_partial() else "errors/error.html"
    response = make_response(render_template(template, page=page), status)
    if htmx.is_round():
        # The panel keeps what it showed last, and goes on asking: in the place of the element that asks, the error
        # would be the last thing it ever says. live.js says that the page is not live.
        response.headers["HX-Reswap"] = "none"
    return response


def with_link(error: DashboardError, label: str, href: str) -> Response:
    """The page of an error whose way out leads to ``href``; programs and panels get it as they always do."""
    if _wants_json() or htmx.is_partial():
        return _dashboard_error(error)
    page = ErrorPage(error.status, error.title, error.message, error.what_to_do, "", (label, href))
    return make_response(render_template("errors/error.html", page=page), error.status)
