"""Every route says who may use it; one that says nothing answers 403 to everybody."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, current_app, request

from dashboard.access import Role, require
from dashboard.errors import Forbidden

_MARK = "_cachewarden_access"
F = TypeVar("F", bound=Callable[..., Any])
PUBLIC = "public"


def requires(role: Role) -> Callable[[F], F]:
    """Mark a view as open to actors that hold ``role``. Put it directly above the function."""

    def mark(view: F) -> F:
        setattr(view, _MARK, role)
        return view

    return mark


def public(view: F) -> F:
    """Mark a view as open to everybody, signed in or not."""
    setattr(view, _MARK, PUBLIC)
    return view


def access_of(app: Flask, endpoint: str) -> Role | str | None:
    """What the view behind ``endpoint`` asks for: a role, ``PUBLIC``, or None when it says nothing."""
    return getattr(app.view_functions[endpoint], _MARK, None)


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
