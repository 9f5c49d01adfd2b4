"""What a view needs to know about its request: who, and a unit of work."""

import ipaddress
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

from flask import current_app, g, request, session

from dashboard.access import Actor, Role
from dashboard.errors import Unauthenticated
from dashboard.work import Runtime, UnitOfWork, unit_of_work

LoadActor = Callable[[UnitOfWork, int, int, str], tuple[str, Role] | None]
"""Given user id, session version and session id: the account's name and role, or None when the session is over."""

LoadToken = Callable[[UnitOfWork, str], tuple[int, str, Role, str] | None]
"""Given an API token: the account's id and name, what may be done with it, its name; None when it is worth nothing."""

_API = "/api/"
_EXTENSION = "cachewarden"
_SESSION_KEY = "account"
_SESSION_TYPES = [int, int, int, str]
"""User id, session version, time of the sign-in, session id."""


def install(app: object, runtime: Runtime, load_actor: LoadActor, load_token: LoadToken) -> None:
    """Give the app its runtime and the ways to look accounts up."""
    app.extensions[_EXTENSION] = (runtime, load_actor, load_token)  # type: ignore[attr-defined]


def is_api() -> bool:
    """Whether a program asks: every answer is JSON, and a token may stand for a session."""
    return request.path.startswith(_API)


def bearer_token() -> str | None:
    """The token of a request to the API. Pages take none; where there is one, no session is looked at."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if is_api() and scheme.lower() == "bearer" else None


def runtime() -> Runtime:
    """The process's long-lived parts."""
    return cast(Runtime, current_app.extensions[_EXTENSION][0])


def request_id() -> str:
    """A short reference of this request, shown with errors and written to log and audit."""
    if "request_id" not in g:
        given = request.headers.get("X-Request-ID", "")
        # A proxy's reference is kept when it is harmless, so that both logs can be matched.
        g.request_id = given if re.fullmatch(r"[\w.-]{6,64}", given) else secrets.token_hex(5)
    return cast(str, g.request_id)


def client_address() -> str | None:
    """The network address the request came from; None for what is none (a proxy may pass any text on)."""
    try:
        return str(ipaddress.ip_address(request.remote_addr or ""))
    except ValueError:
        return None


def anonymous() -> Actor:
    """The actor of a request before anybody signed in; may do nothing that needs more than looking."""
    return Actor(None, "anonymous", Role.VIEWER, "web", client_address(), request_id())


def find_actor() -> Actor | None:
    """The signed-in actor, or None; looked up once per request."""
    if "actor" not in g:
        g.actor = _load()
    return cast(Actor | None, g.actor)


def _load() -> Actor | None:
    token = bearer_token()
    return _of_session() if token is None else _of_token(token)


def _of_token(token: str) -> Actor | None:
    run, _, load = current_app.extensions[_EXTENSION]
    with unit_of_work(run, anonymous()) as work:
        found = load(work, token)
    if found is None:
        return None
    user_id, name, role, token_name = found
    return Actor(user_id, name, role, f"api:{token_name}", client_address(), request_id())


def _of_session() -> Actor | None:
    held = session.get(_SESSION_KEY)
    if not (isinstance(held, list) and [type(part) for part in held] == _SESSION_TYPES):
        return None
    user_id, version, signed_in_at, own_id = held
    run, load, _ = current_app.extensions[_EXTENSION]
    if run.clock.now().timestamp() - signed_in_at > run.settings.session_hours * 3600:
        session.clear()
        return None
    with unit_of_work(run, anonymous()) as work:
        account = load(work, user_id, version, own_id)
    if account is None:
        session.clear()
        return None
    name, role = account
    return Actor(user_id, name, role, "web", client_address(), request_id())


def current_actor() -> Actor:
    """The signed-in actor.

    Raises:
        Unauthenticated: there is none.
    """
    actor = find_actor()
    if actor is None:
        raise Unauthenticated("Sign in to see this.")
    return actor


def start_session(user_id: int, session_version: int, *, stays: bool = True) -> None:
    """Sign this browser in: a new session, so that one planted before the sign-in is worthless.

    Args:
        stays: keep the cookie when the browser is closed; it ends after ``session_hours`` all the same.
    """
    session.clear()
    signed_in_at = int(runtime().clock.now().timestamp())
    session[_SESSION_KEY] = [user_id, session_version, signed_in_at, secrets.token_urlsafe(16)]
    session.permanent = stays
    g.pop("actor", None)


def renew_session(session_version: int) -> None:
    """Keep this browser signed in while the account's other sessions end; it ends at the same time as before."""
    user_id, _, signed_in_at, own_id = session[_SESSION_KEY]
    session[_SESSION_KEY] = [user_id, session_version, signed_in_at, own_id]
    g.pop("actor", None)


def session_id() -> str:
    """The id of this browser's session; only for a view that needs a role, so that there is one."""
    return cast(str, session[_SESSION_KEY][3])


def end_session() -> None:
    """Sign this browser out."""
    session.clear()
    g.actor = None


@contextmanager
def open_work() -> Iterator[UnitOfWork]:
    """One transaction for the signed-in actor, or for nobody yet on public pages."""
    with unit_of_work(runtime(), find_actor() or anonymous()) as work:
        yield work
