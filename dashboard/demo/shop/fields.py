"""What requests bring, checked, and where answers lead."""

import re
from http import HTTPStatus
from typing import Any, Final

from flask import Response, make_response, redirect, request
from werkzeug.exceptions import BadRequest
from werkzeug.routing import IntegerConverter, Map

from dashboard.demo.shop.pages import LARGEST_NUMBER

COOKIE: Final = "demo-store"
"""Cookies do not know of ports: the dashboard's has another name."""
_SESSION_S: Final = 24 * 3600
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,100}")
_HOWS: Final = ("tell", "forget")
_NUMBER: Final = re.compile(r"(-?)0*(\d*)(?<=\d)", re.ASCII)
_CALLED: Final = {
    "page": "The number of a page",
    "pieces": "The number of pieces",
    "product": "The number of a product",
}
"""What people know a field as."""


class NumberConverter(IntegerConverter):
    """``<int:...>`` in addresses: what no row of ours can have as its number is not found."""

    def __init__(self, map: Map, *args: Any, **kwargs: Any) -> None:
        super().__init__(map, *args, **{"max": LARGEST_NUMBER, **kwargs})


def token() -> str:
    """Of the session, as the browser has it; empty for none, or for what can't be one."""
    found = request.cookies.get(COOKIE, "")
    return found if _TOKEN.fullmatch(found) else ""


def number(name: str, default: int | None = None) -> int:
    """A whole number of the form, 0 or more; of one that is larger than any of ours, the largest."""
    return _whole(request.form.get(name, ""), name, default)


def number_arg(name: str, default: int) -> int:
    """A whole number of the address, as ``number``."""
    return _whole(request.args.get(name, ""), name, default)


def _whole(text: str, name: str, default: int | None) -> int:
    if not text and default is not None:
        return default
    called = _CALLED.get(name, "A number of this form")
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise BadRequest(f"{called} is a whole number.")
    digits = found[2]
    if found[1] and digits:
        raise BadRequest(f"{called} can't be below 0.")
    return min(int(digits or "0"), LARGEST_NUMBER) if len(digits) < 12 else LARGEST_NUMBER


def pairs(name: str) -> list[tuple[int, int]]:
    """Two whole numbers each, as ``7:1230``, of a field that a form can have several times."""
    found = [each.partition(":") for each in request.form.getlist(name)]
    return [(_whole(first, name, None), _whole(second, name, None)) for first, _, second in found]


def key(name: str) -> str:
    """A form's own key, by which it counts once."""
    found = request.form.get(name, "")
    if _TOKEN.fullmatch(found) is None:
        raise BadRequest("The form is not whole. Open the page again.")
    return found


def how() -> str:
    """Whether the editor tells the cache."""
    found = request.form.get("how", "")
    if found not in _HOWS:
        raise BadRequest("Choose how it is written.")
    return found


def back(default: str) -> str:
    """Where a form wants to lead: nowhere but to this shop."""
    return local(request.form.get("back", "") or default)


def local(path: str) -> str:
    """A path of this shop; the home page for anything else."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_local and path.isprintable() and len(path) < 1000 else "/"


def go(path: str, said: str = "") -> Response:
    """On to another page; ``said`` names one of ``screen.NOTICES`` to be shown there."""
    if said:
        path += f"{'&' if '?' in path else '?'}said={said}"
    return make_response(redirect(path, HTTPStatus.SEE_OTHER))


def with_session(answer: Response, token: str) -> Response:
    """Let the browser keep the session's token."""
    answer.set_cookie(COOKIE, token, max_age=_SESSION_S, httponly=True, samesite="Lax")
    return answer


def without_session(answer: Response) -> Response:
    """Let the browser forget it."""
    answer.delete_cookie(COOKIE, httponly=True, samesite="Lax")
    return answer
