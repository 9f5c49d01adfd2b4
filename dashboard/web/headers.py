"""What every answer says to the browser, and what every request must say of where it comes from.

Knows nothing of the dashboard; the demo's shop uses it as well.
"""

from typing import Final
from urllib.parse import urlsplit

from flask import Response, request

CSP: Final = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")


def is_from_own_page() -> bool:
    """Whether one of our own pages made the browser send this request, by what the browser says.

    Browsers set ``Sec-Fetch-Site`` themselves and scripts can't forge it; ``Origin`` serves browsers that
    do not send it (plain HTTP on another host than localhost). A request with neither comes from elsewhere.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = urlsplit(request.headers.get("Origin", ""))
    return bool(origin.netloc) and (origin.scheme, origin.netloc) == (request.scheme, request.host)


def protect(response: Response) -> Response:
    """Set the headers that browsers protect a page by."""
    set_default = response.headers.setdefault
    set_default("Content-Security-Policy", CSP)
    set_default("X-Content-Type-Options", "nosniff")
    set_default("Referrer-Policy", "same-origin")
    set_default("Cross-Origin-Opener-Policy", "same-origin")
    set_default("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
    if request.is_secure:
        set_default("Strict-Transport-Security", "max-age=31536000")
    if "Cache-Control" not in response.headers:
        response.headers["Cache-Control"] = "no-store"
    return response
