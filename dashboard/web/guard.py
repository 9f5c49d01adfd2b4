"""Every route says who may use it; one that says nothing answers 403 to everybody."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, request

from dashboard.access import Role, require
from dashboard.errors import Forbidden

_MARK = "_cachewarden_access"
_KEEPS = "_cachewarden_keeps_form"
_MOST = "_cachewarden_most_bytes"
_LARGEST_FIELD_BYTES = 9 * 1024 * 1024
"""All fields of a long form without its files, which are not held in memory."""
F = TypeVar("F", bound=Callable[..., Any])
PUBLIC = "public"


def requires(role: Role, *, keeps_form: str = "", most_bytes: int | None = None) -> Callable[[F], F]:
    """Mark a view as open to actors that hold ``role``. Put it directly above the function.

    Args:
        keeps_form: what was typed survives a session that ended meanwhile; for forms without secrets. The endpoint that
            it is sent to then, which takes the same path: one that shows the form again and changes nothing.
        most_bytes: those actors may send so much; None: as everybody.
    """

    def mark(view: F) -> F:
        setattr(view, _MARK, role)
        setattr(view, _KEEPS, keeps_form)
        setattr(view, _MOST, most_bytes)
        return view

    return mark


def public(view: F) -> F:
    """Mark a view as open to everybody, signed in or not."""
    setattr(view, _MARK, PUBLIC)
    return view


def access_of(app: Flask, endpoint: str) -> Role | str | None:
    """What the view behind ``endpoint`` asks for: a role, ``PUBLIC``, or None when it says nothing."""
    return getattr(app.view_functions[endpoint], _MARK, None)


def keeps_form(endpoint: str) -> str:
    """The endpoint that shows a form anew which was sent to ``endpoint`` without a session; empty: it is not kept."""
    return str(getattr(current_app.view_functions[endpoint], _KEEPS, ""))


def shows_kept_form(endpoint: str) -> bool:
    """Whether ``endpoint`` is where some view has its kept form shown."""
    return any(keeps_form(each) == endpoint for each in current_app.view_functions)


def allow_long() -> None:
    """Let who may use the view send as much as it takes; run before anything reads the request.

    Raises:
        Unauthenticated, Forbidden: somebody else sends more than a form holds: it is not read.
    """
    if request.endpoint is None:
        return
    most = getattr(current_app.view_functions[request.endpoint], _MOST, None)
    is_long = (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]
    if most is None or not is_long:
        return
    check()
    request.max_content_length = most
    request.max_form_memory_size = min(most, _LARGEST_FIELD_BYTES)


def check() -> None:
    """Run before every request.

    Raises:
        Unauthenticated: the view needs a role and nobody is signed in.
        Forbidden: the role does not reach, or the view says nothing.
    """
    if request.endpoint is None:
        return  # an unknown address: the 404 comes from the router
    wanted = access_of(current_app, request.endpoint)
    if wanted == PUBLIC:
        return
    if not isinstance(wanted, Role):
        raise Forbidden("Nobody may use this address.")
    from dashboard.web.context import current_actor

    require(current_actor(), wanted)
