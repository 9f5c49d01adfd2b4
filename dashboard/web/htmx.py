"""The server's half of htmx 4: partial or page, redirects, toasts."""

from flask import Response, flash, request, session

NOTICE_KINDS = ("ok", "warn", "crit")


def is_partial() -> bool:
    """Whether htmx asks for a fragment rather than a page."""
    return request.headers.get("HX-Request-Type") == "partial"


def is_round() -> bool:
    """Whether a panel asks by itself for what changed (``static/js/live.js``), rather than somebody by a press."""
    return request.headers.get("HX-Live") == "true"


def redirect_to(url: str) -> Response:
    """Send the browser to ``url`` with GET: 303 for a page, ``HX-Redirect`` for a fragment."""
    if is_partial():
        return Response(status=204, headers={"HX-Redirect": url})
    return Response(status=303, headers={"Location": url})


def notify(kind: str, text: str) -> None:
    """Show a toast with this answer, or after the redirect it is.

    Args:
        kind: "ok", "warn" or "crit".
        text: plain text; escaped by the template.
    """
    if kind not in NOTICE_KINDS:
        raise ValueError(f"no such kind of notice: {kind}")
    flash(text, kind)


def has_notices() -> bool:
    """Whether toasts wait to be shown; looking does not use them up."""
    return bool(session.get("_flashes"))
