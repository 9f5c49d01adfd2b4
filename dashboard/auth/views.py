"""Pages of accounts: sign-in, the own account, users."""

from dataclasses import replace

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.auth import forms, service
from dashboard.auth.redirects import local_path
from dashboard.auth.types import AgainPage, Closed, Drawer, MadeToken, SignedIn, User, WrongPassword
from dashboard.errors import Conflict, DashboardError, InvalidInput, Refused
from dashboard.web import context, kept
from dashboard.web.context import open_work
from dashboard.web.guard import public, requires
from dashboard.web.htmx import notify, redirect_to
from dashboard.web.templating import render

bp = Blueprint("auth", __name__)


@bp.get("/sign-in")
@public
def sign_in() -> Response:
    """The sign-in form, or straight on for somebody who is signed in."""
    next_path = local_path(request.args.get("next"))
    if context.find_actor() is not None:
        return redirect_to(next_path)
    with open_work() as work:
        page = service.sign_in_page(work, request.host, next_path=next_path)
    return render("auth/sign_in.html", page)


def sign_in_again(form: kept.Kept) -> Response:
    """The sign-in form for somebody whose session ended before a form was sent, which goes with it."""
    with open_work() as work:
        page = service.sign_in_page(work, request.host, next_path=local_path(kept.came_from()))
    return render("auth/sign_in.html", replace(page, kept=form.hidden), status=401)


@bp.post("/sign-in")
@public
def sign_in_submit() -> Response:
    """Check name and password."""
    form = forms.parse_sign_in(request.form)
    next_path = local_path(request.form.get("next"))
    waiting = kept.brought(request.form)
    with open_work() as work:
        outcome = service.sign_in(work, form.name, form.password)
        page = service.sign_in_page(
            work, request.host, name=form.name, stays=form.stays, next_path=next_path, outcome=outcome
        )
    if isinstance(outcome, SignedIn):
        context.start_session(outcome.user.id, outcome.user.session_version, stays=form.stays)
        if waiting is None:
            return redirect_to(next_path)
        return render("auth/again.html", AgainPage(waiting.path, waiting.fields, waiting.is_cut, next_path))
    if waiting is not None:
        page = replace(page, kept=waiting.hidden)
    if isinstance(outcome, Closed):
        response = render("auth/sign_in.html", page, status=429)
        response.headers["Retry-After"] = str(outcome.wait_s)
        return response
    return render("auth/sign_in.html", page, status=422)


@bp.get("/welcome")
@public
def welcome() -> Response:
    """What a one-time link opens; looking at it changes nothing."""
    if context.find_actor() is not None:
        return redirect_to("/")
    with open_work() as work:
        page = service.welcome_page(work, request.host, request.args.get("token", ""))
    return render("auth/welcome.html", page, status=200 if page.token else 410)


@bp.post("/welcome")
@public
def welcome_submit() -> Response:
    """Sign in by a one-time link."""
    token = request.form.get("token", "")
    with open_work() as work:
        outcome = service.sign_in_by_link(work, token)
    if isinstance(outcome, SignedIn):
        context.start_session(outcome.user.id, outcome.user.session_version)
        return redirect_to("/")
    with open_work() as work:
        page = service.welcome_page(work, request.host, token, outcome=outcome)
    response = render("auth/welcome.html", page, status=429 if isinstance(outcome, Closed) else 410)
    if isinstance(outcome, Closed):
        response.headers["Retry-After"] = str(outcome.wait_s)
    return response


@bp.post("/sign-out")
@requires(Role.VIEWER)
def sign_out() -> Response:
    """Sign this browser out."""
    with open_work() as work:
        service.sign_out(work, context.session_id())
    context.end_session()
    return redirect_to("/sign-in")


@bp.get("/account")
@requires(Role.VIEWER)
def account() -> Response:
    """The own account."""
    with open_work() as work:
        page = service.account_page(work)
    return render("auth/account.html", page)


@bp.post("/account")
@requires(Role.VIEWER)
def account_password() -> Response:
    """Change the own password."""
    errors, status = {}, 422
    try:
        form = forms.parse_password(request.form)
        with open_work() as work:
            outcome = service.change_own_password(work, form.current, form.new)
    except InvalidInput as error:
        errors = error.fields
    else:
        if isinstance(outcome, User):
            context.renew_session(outcome.session_version)
            with open_work() as work:
                still = _still_open(service.own_token_names(work))
            notify("warn" if still else "ok", f"Password changed. Your other sessions ended.{still}")
            return redirect_to("/account")
        errors, status = {"current": _refusal(outcome)}, 429 if isinstance(outcome, Closed) else 422
    with open_work() as work:
        page = service.account_page(work, errors)
    return render("auth/account.html", page, status=status)


@bp.post("/account/sign-out-everywhere")
@requires(Role.VIEWER)
def account_sign_out_everywhere() -> Response:
    """End every session of the own account."""
    with open_work() as work:
        still = _still_open(service.end_own_sessions(work))
    context.end_session()
    if still:
        notify("warn", f"All sessions ended.{still}")
    return redirect_to("/sign-in")


@bp.post("/account/tokens")
@requires(Role.VIEWER)
def make_token() -> Response:
    """Make an API token of the own account and show it, this once.

    The answer is the page itself: a redirect would have to carry the token.
    """
    try:
        form = forms.parse_token(request.form)
        with open_work() as work:
            made = service.create_token(work, form.name, form.role, days=form.days, current=form.current)
    except InvalidInput as error:
        errors, status = error.fields, error.status
    else:
        if isinstance(made, MadeToken):
            with open_work() as work:
                page = service.account_page(work, made=made)
            return render("auth/account.html", page)
        errors, status = {"token_current": _refusal(made)}, 429 if isinstance(made, Closed) else 422
    typed = {name: request.form.get(name, "") for name in ("token_name", "token_role", "token_days")}
    with open_work() as work:
        page = service.account_page(work, token_form=typed, token_errors=errors)
    return render("auth/account.html", page, status=status)


@bp.post("/account/tokens/<int:token_id>/revoke")
@requires(Role.VIEWER)
def revoke_own_token(token_id: int) -> Response:
    """End a token of the own account."""
    return _revoked(token_id, "/account")


@bp.post("/users/tokens/<int:token_id>/revoke")
@requires(Role.ADMIN)
def revoke_token(token_id: int) -> Response:
    """End anybody's token."""
    return _revoked(token_id, "/users")


@bp.get("/users")
@requires(Role.ADMIN)
def users() -> Response:
    """All accounts."""
    with open_work() as work:
        page = service.users_page(work)
    return render("auth/users.html", page)


@bp.get("/users/new")
@requires(Role.ADMIN)
def new() -> Response:
    """All accounts and the form that adds one."""
    with open_work() as work:
        page = service.users_page(work, Drawer(None, "", Role.VIEWER))
    return render("auth/users.html", page)


@bp.get("/users/<int:user_id>/edit")
@requires(Role.ADMIN)
def edit(user_id: int) -> Response:
    """All accounts and the forms of one."""
    with open_work() as work:
        user = service.get_user(work, user_id)
        page = service.users_page(work, Drawer(user, user.name, user.role))
    return render("auth/users.html", page)


@bp.post("/users/new")
@requires(Role.ADMIN)
def create() -> Response:
    """Add an account."""
    try:
        form = forms.parse_user(request.form)
        with open_work() as work:
            user = service.create_user(work, form.name, form.role, form.password)
    except InvalidInput as error:
        return _refused_new(error, error.fields)
    except Conflict as error:
        return _refused_new(error, {"name": error.in_full})
    notify("ok", f"{user.name} can sign in now.")
    return redirect_to("/users")


@bp.post("/users/<int:user_id>/role")
@requires(Role.ADMIN)
def change_role(user_id: int) -> Response:
    """Give an account another role."""
    try:
        role = forms.parse_role(request.form)
        with open_work() as work:
            user = service.update_role(work, user_id, role)
    except InvalidInput as error:
        return _refused_edit(error, user_id, errors=error.fields)
    except Refused as error:
        return _refused_edit(error, user_id)
    return _saved(user, f"{user.name} is {user.role.label} now.")


@bp.post("/users/<int:user_id>/password")
@requires(Role.ADMIN)
def reset_password(user_id: int) -> Response:
    """Give an account a new password."""
    try:
        with open_work() as work:
            user = service.reset_password(work, user_id, request.form.get("password", ""))
    except InvalidInput as error:
        return _refused_edit(error, user_id, password_errors=error.fields)
    return _saved(user, f"{user.name} has a new password. Older sessions and API tokens ended.")


@bp.post("/users/<int:user_id>/disable")
@requires(Role.ADMIN)
def disable(user_id: int) -> Response:
    """Shut an account out."""
    try:
        with open_work() as work:
            user = service.disable_user(work, user_id)
    except Refused as error:
        return _refused_edit(error, user_id)
    return _saved(user, f"{user.name} is disabled. All sessions and API tokens ended.")


@bp.post("/users/<int:user_id>/enable")
@requires(Role.ADMIN)
def enable(user_id: int) -> Response:
    """Let an account sign in again."""
    with open_work() as work:
        user = service.enable_user(work, user_id)
    return _saved(user, f"{user.name} can sign in again.")


def _revoked(token_id: int, back: str) -> Response:
    with open_work() as work:
        token = service.revoke_token(work, token_id)
    notify("ok", f"The token {token.name} of {token.user_name} is worth nothing any more.")
    return redirect_to(back)


def _saved(user: User, words: str) -> Response:
    """Back to the table. Whoever changed their own account stays signed in here, as far as they may."""
    may_see_users = True
    if user.id == context.current_actor().user_id:
        if user.is_disabled:
            context.end_session()
            return redirect_to("/sign-in")
        context.renew_session(user.session_version)
        may_see_users = user.role is Role.ADMIN
    notify("ok", words)
    return redirect_to("/users" if may_see_users else "/")


def _refused_new(error: DashboardError, errors: dict[str, str]) -> Response:
    typed = Drawer(None, request.form.get("name", ""), request.form.get("role", ""), errors=errors)
    return _page_again(error, typed)


def _refused_edit(
    error: DashboardError,
    user_id: int,
    *,
    errors: dict[str, str] | None = None,
    password_errors: dict[str, str] | None = None,
) -> Response:
    with open_work() as work:
        user = service.get_user(work, user_id)
    role = request.form.get("role", user.role)
    problem = "" if errors or password_errors else error.in_full
    return _page_again(error, Drawer(user, user.name, role, problem, errors or {}, password_errors or {}))


def _page_again(error: DashboardError, drawer: Drawer) -> Response:
    with open_work() as work:
        page = service.users_page(work, drawer)
    return render("auth/users.html", page, status=error.status)


def _still_open(names: tuple[str, ...]) -> str:
    """What ending sessions did not end, to go on a sentence with."""
    if not names:
        return ""
    first, more = ", ".join(names[:5]), f" and {len(names) - 5} more" if len(names) > 5 else ""
    one = len(names) == 1
    return (
        f" The API token{'' if one else 's'} {first}{more} still open{'s' if one else ''} the API;"
        f" revoke {'it' if one else 'them'} on your account's page."
    )


def _refusal(outcome: WrongPassword | Closed) -> str:
    if isinstance(outcome, Closed):
        return f"Wrong too often. Try again in {-(-outcome.wait_s // 60)} min."
    return f"Is not your password. {outcome.tries_left} tries left."
