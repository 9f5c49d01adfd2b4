"""Use cases of accounts: signing in and out, passwords, roles.

Every change writes its audit entry in the same transaction. Locks are taken in one order everywhere:
throttle, then accounts, then the audit log.
"""

import re
from dataclasses import replace
from datetime import timedelta

from dashboard import __version__
from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.auth import links, passwords, store, throttle, tokens
from dashboard.auth.tokens import load_token, revoke_token
from dashboard.auth.types import (
    Ability,
    AccountPage,
    Closed,
    DeadLink,
    Drawer,
    MadeToken,
    SignedIn,
    SignInPage,
    User,
    UsersPage,
    WelcomePage,
    WrongPassword,
)
from dashboard.errors import Conflict, Forbidden, InvalidInput, NotFound, Refused, Unauthenticated
from dashboard.work import UnitOfWork

__all__ = [
    "abilities",
    "account_page",
    "change_own_password",
    "create_link",
    "create_token",
    "create_user",
    "disable_user",
    "enable_user",
    "end_own_sessions",
    "get_user",
    "get_user_by_name",
    "list_users",
    "load_actor",
    "load_token",
    "own_token_names",
    "reset_password",
    "revoke_token",
    "sign_in",
    "sign_in_by_link",
    "sign_in_page",
    "sign_out",
    "update_role",
    "users_page",
    "welcome_page",
]

LONGEST_NAME = 64
SEEN_EVERY_S = 60
UNKNOWN = "unknown account"
_UNCHANGED = "The password was not changed."
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._@+-]{{0,{LONGEST_NAME - 1}}}")


# --- signing in and out ------------------------------------------------------------------------------


def sign_in(work: UnitOfWork, name: str, password: str) -> SignedIn | WrongPassword | Closed:
    """Check a name and a password.

    An unknown name, a disabled account and a wrong password cost the same and get the same answer. The
    result is returned and not raised because the count of wrong tries must be committed.

    Args:
        name: as typed; upper or lower case does not matter.
        password: as typed.
    """
    name = name.strip()
    nobodys_hash = passwords.unknown_account_hash()
    attempt = throttle.begin(work, name)
    found = store.find_credentials(work.session, name)
    user, known_hash = found or (None, nobodys_hash)
    if attempt.wait_s:
        if attempt.is_first_refusal:
            _list_failure(work, user, "Too many wrong passwords", "refused")
        return Closed(attempt.wait_s)
    is_right = passwords.verify(known_hash, password)
    if user is None or user.is_disabled or not is_right:
        throttle.failed(work)
        _list_failure(work, user, _why(user, is_right), "failed")
        return WrongPassword(attempt.tries_left)
    throttle.passed(work, name)
    if passwords.needs_rehash(known_hash):
        store.replace_hash(work.session, user.id, known_hash, passwords.hash_password(password))
    store.touch(work.session, user.id, work.now)
    audit.record(_as(work, user), "auth:session:sign-in", user.name)
    return SignedIn(user)


def create_link(work: UnitOfWork, user_id: int) -> str:
    """Make a link that signs an account in, once, within ``links.LIFETIME``.

    Returns:
        Its path and query; the token in it can't be shown again.

    Raises:
        NotFound: there is no such account.
        Refused: it is disabled.
        Forbidden: the actor is not the command line's: nobody makes a way into somebody else's account from a page.
    """
    require(work.actor, Role.ADMIN)
    if work.actor.source != "cli":
        raise Forbidden("Links are made on the command line only.")
    user = get_user(work, user_id)
    if user.is_disabled:
        raise Refused(
            f"{user.name} is disabled.", what_to_do=f"Enable it first: cachewarden user enable {user.name}"
        )
    return links.insert(work, user)


def sign_in_by_link(work: UnitOfWork, token: str) -> SignedIn | DeadLink | Closed:
    """Sign in whom a link is for, and use it up.

    The result is returned and not raised because the count of tries must be committed.

    Args:
        token: of the link, as it came.
    """
    attempt = throttle.begin_link(work)
    if attempt.wait_s:
        if attempt.is_first_refusal:
            _list_failure(work, None, "Too many wrong links", "refused")
        return Closed(attempt.wait_s)
    user = links.take(work, token)
    if user is None:
        throttle.failed(work)
        _list_failure(work, None, "A link that was used, has ended, or is none", "failed")
        return DeadLink()
    throttle.link_passed(work)
    store.touch(work.session, user.id, work.now)
    audit.record(_as(work, user), "auth:session:sign-in-by-link", user.name)
    return SignedIn(user)


def sign_out(work: UnitOfWork, session_id: str) -> None:
    """End this one session of the actor: a copy of its cookie is worth nothing from now on."""
    until = work.now + timedelta(hours=work.settings.session_hours)
    store.end_session(work.session, session_id, until, work.now)
    audit.record(work, "auth:session:sign-out", work.actor.name)


def end_own_sessions(work: UnitOfWork) -> tuple[str, ...]:
    """End every session of the actor, this one included.

    Returns:
        The names of the account's API tokens, which go on.
    """
    user = _own_account(work)
    store.end_sessions(work.session, user.id)
    audit.record(work, "auth:session:end-all", user.name)
    return tokens.usable_names(work, user.id)


def load_actor(
    work: UnitOfWork, user_id: int, session_version: int, session_id: str
) -> tuple[str, Role] | None:
    """The account behind a session, or None when the session is over.

    Two reads by primary key; when the account was seen is written once a minute at most.

    Args:
        user_id: from the session cookie.
        session_version: from the session cookie; a password, role or state that was changed since ends it.
        session_id: from the session cookie; signing out ends it.
    """
    user = store.find_user(work.session, user_id)
    if user is None or user.is_disabled or user.session_version != session_version:
        return None
    if store.is_ended(work.session, session_id):
        return None
    if user.last_seen_at is None or (work.now - user.last_seen_at).total_seconds() >= SEEN_EVERY_S:
        store.touch(work.session, user.id, work.now)
    return user.name, user.role


# --- the own account ---------------------------------------------------------------------------------


def change_own_password(work: UnitOfWork, current: str, new: str) -> User | WrongPassword | Closed:
    """Replace the actor's password; every other session of the account ends.

    The current password is throttled like a sign-in, so that a session left open is no way to guess it.

    Returns:
        The account with its new session version, to keep this browser signed in; or why not.

    Raises:
        InvalidInput: the new password breaks a rule.
    """
    if wrong := passwords.problem(new, work.actor.name):
        raise InvalidInput(_UNCHANGED, fields={"new": wrong})
    user = _prove(work, current, "auth:password:change")
    if not isinstance(user, User):
        return user
    if current == new:
        raise InvalidInput(_UNCHANGED, fields={"new": "Is the password you have. Use another one."})
    store.set_password(work.session, user.id, passwords.hash_password(new), work.now)
    audit.record(work, "auth:password:change", user.name)
    return get_user(work, user.id)


def create_token(
    work: UnitOfWork, name: str, role: Role, *, days: int, current: str
) -> MadeToken | WrongPassword | Closed:
    """Make an API token of the actor's own account: a way in that outlives the session, so the password is asked for.

    Args:
        name: what it is for; each of an account's tokens has another.
        role: what it may do at most.
        days: how long it lives, one of ``tokens.LIFETIMES_D``.
        current: the account's password, throttled like a sign-in.

    Returns:
        The token in clear, which can't be shown again; or why there is none.

    Raises:
        Unauthenticated: the actor has no account that can sign in (the command line).
        InvalidInput: a message per field.
    """
    user = _prove(work, current, "auth:token:create")
    return tokens.insert(work, user, name, role, days=days) if isinstance(user, User) else user


def own_token_names(work: UnitOfWork) -> tuple[str, ...]:
    """The actor's API tokens that still open the API."""
    return tokens.usable_names(work, work.actor.user_id or 0)


def account_page(
    work: UnitOfWork,
    errors: dict[str, str] | None = None,
    *,
    made: MadeToken | None = None,
    token_form: dict[str, str] | None = None,
    token_errors: dict[str, str] | None = None,
) -> AccountPage:
    """The actor's own account.

    Args:
        errors: of the password's form.
        made: the token that was made right now.
        token_form, token_errors: of the token's form, when it was refused.

    Raises:
        NotFound: the actor has no account (the command line).
    """
    user = get_user(work, work.actor.user_id or 0)
    return AccountPage(
        user=user,
        now=work.now,
        shortest_password=passwords.SHORTEST,
        tokens=tokens.own_tokens(work),
        token_roles=tuple(role for role in Role if user.role.holds(role)),
        token_lifetimes_d=tokens.LIFETIMES_D,
        errors=errors or {},
        made=made,
        token_form=token_form or {},
        token_errors=token_errors or {},
    )


# --- managing accounts -------------------------------------------------------------------------------


def get_user(work: UnitOfWork, user_id: int) -> User:
    """The account.

    Raises:
        NotFound: there is none.
    """
    user = store.find_user(work.session, user_id)
    if user is None:
        raise NotFound("There is no such account.")
    return user


def get_user_by_name(work: UnitOfWork, name: str) -> User:
    """The account of this name, in upper or lower case.

    Raises:
        NotFound: there is none.
    """
    user = store.find_user_by_name(work.session, name)
    if user is None:
        raise NotFound(f"There is no account {name[:LONGEST_NAME]!r}.")
    return user


def list_users(work: UnitOfWork) -> list[User]:
    """All accounts by name.

    Raises:
        Forbidden: the actor is no administrator.
    """
    require(work.actor, Role.ADMIN)
    return store.list_users(work.session)


def create_user(work: UnitOfWork, name: str, role: Role, password: str) -> User:
    """Add an account.

    Raises:
        InvalidInput: the name or the password breaks a rule.
        Conflict: the name is taken, in upper or lower case.
        Forbidden: the actor is no administrator.
    """
    _require_admin(work)
    errors = {}
    if not _NAME.fullmatch(name):
        errors["name"] = (
            "Takes 1 to 64 letters without accents, digits and . _ @ + -, beginning with a letter or digit."
        )
    if wrong := passwords.problem(password, name):
        errors["password"] = wrong
    if errors:
        raise InvalidInput("The account was not added.", fields=errors)
    user_id = store.insert_user(work.session, name, role, passwords.hash_password(password), work.now)
    if user_id is None:
        raise Conflict(
            f"There is an account {name} already.", what_to_do="Use another name, or edit that account."
        )
    audit.record(work, "auth:user:create", name, after={"role": role})
    return get_user(work, user_id)


def update_role(work: UnitOfWork, user_id: int, role: Role) -> User:
    """Give an account another role; its sessions end. The same role changes nothing.

    Raises:
        NotFound: there is no such account.
        Refused: it is the last administrator.
        Forbidden: the actor is no administrator.
    """
    user = _lock(work, user_id, takes_admin_away=role is not Role.ADMIN)
    if user.role is role:
        return user
    store.set_role(work.session, user_id, role)
    audit.record(work, "auth:user:change-role", user.name, before={"role": user.role}, after={"role": role})
    return get_user(work, user_id)


def disable_user(work: UnitOfWork, user_id: int) -> User:
    """Shut an account out; its sessions and its API tokens end at once. A disabled one stays as it is.

    Raises:
        NotFound: there is no such account.
        Refused: it is the last administrator.
        Forbidden: the actor is no administrator.
    """
    user = _lock(work, user_id, takes_admin_away=True)
    if user.is_disabled:
        return user
    tokens.revoke_all(work, user)
    return _set_disabled(work, user, True)


def enable_user(work: UnitOfWork, user_id: int) -> User:
    """Let a disabled account sign in again. An enabled one stays as it is.

    Raises:
        NotFound: there is no such account.
        Forbidden: the actor is no administrator.
    """
    user = _lock(work, user_id, takes_admin_away=False)
    return _set_disabled(work, user, False) if user.is_disabled else user


def reset_password(work: UnitOfWork, user_id: int, password: str) -> User:
    """Give an account a new password; its sessions and its API tokens end, and it may sign in from everywhere again.

    Raises:
        NotFound: there is no such account.
        InvalidInput: the password breaks a rule.
        Forbidden: the actor is no administrator.
    """
    require(work.actor, Role.ADMIN)
    throttle.reopen(work, get_user(work, user_id).name)
    user = _lock(work, user_id, takes_admin_away=False)
    if wrong := passwords.problem(password, user.name):
        raise InvalidInput(_UNCHANGED, fields={"password": wrong})
    store.set_password(work.session, user_id, passwords.hash_password(password), work.now)
    tokens.revoke_all(work, user)
    audit.record(work, "auth:password:reset", user.name)
    return get_user(work, user_id)


# --- pages -------------------------------------------------------------------------------------------


def sign_in_page(
    work: UnitOfWork,
    host: str,
    *,
    name: str = "",
    stays: bool = False,
    next_path: str = "/",
    outcome: SignedIn | WrongPassword | Closed | None = None,
) -> SignInPage:
    """The sign-in form, with what came of the last try if there was one."""
    return SignInPage(
        host=host,
        version=__version__,
        name=name,
        stays=stays,
        next_path=next_path,
        session_hours=work.settings.session_hours,
        tries_left=outcome.tries_left if isinstance(outcome, WrongPassword) else None,
        wait_s=outcome.wait_s if isinstance(outcome, Closed) else None,
    )


def welcome_page(
    work: UnitOfWork, host: str, token: str, *, outcome: DeadLink | Closed | None = None
) -> WelcomePage:
    """What a one-time link opens: a button, so that whoever only looks at the address does not use it up.

    Args:
        outcome: of the last try, if there was one.
    """
    user = None if outcome is not None else links.find(work, token)
    return WelcomePage(
        host=host,
        version=__version__,
        name="" if user is None else user.name,
        token="" if user is None else token,
        session_hours=work.settings.session_hours,
        wait_s=outcome.wait_s if isinstance(outcome, Closed) else None,
    )


def users_page(work: UnitOfWork, drawer: Drawer | None = None) -> UsersPage:
    """All accounts, what each role may do, and the open form if there is one.

    Raises:
        Forbidden: the actor is no administrator.
    """
    users = list_users(work)
    return UsersPage(
        now=work.now,
        users=tuple(users),
        tokens=tokens.all_tokens(work),
        own_id=work.actor.user_id,
        disabled=sum(user.is_disabled for user in users),
        roles=tuple(Role),
        abilities=abilities(),
        drawer=drawer,
        shortest_password=passwords.SHORTEST,
        wrong_limit=throttle.PAIR_LIMIT,
        closed_minutes=int(throttle.WINDOW.total_seconds() // 60),
    )


def abilities() -> tuple[Ability, ...]:
    """What each role may do, in the order of ``Role``."""
    table = {
        "See numbers, charts and checks": Role.VIEWER,
        "See slow log, clients, commands": Role.VIEWER,
        "Read and export the audit log": Role.VIEWER,
        "Make own API tokens": Role.VIEWER,
        "Edit, publish, revert and bypass policies": Role.OPERATOR,
        "Purge keys": Role.OPERATOR,
        "Connect, test and remove caches": Role.ADMIN,
        "Set the limits of purges": Role.ADMIN,
        "Manage users and tokens": Role.ADMIN,
        "See the settings": Role.ADMIN,
    }
    return tuple(Ability(words, tuple(role.holds(least) for role in Role)) for words, least in table.items())


# --- pieces ------------------------------------------------------------------------------------------


def _require_admin(work: UnitOfWork) -> set[int]:
    """The ids of all active administrators, locked; the actor is one of them.

    Asked anew because the request may have waited for a lock while the actor's account was changed.
    """
    require(work.actor, Role.ADMIN)
    admins = store.lock_active_admins(work.session)
    if work.actor.user_id is not None and work.actor.user_id not in admins:
        raise Forbidden("Your account was changed meanwhile and can't manage users any more.")
    return admins


def _lock(work: UnitOfWork, user_id: int, *, takes_admin_away: bool) -> User:
    admins = _require_admin(work)
    user = store.lock_user(work.session, user_id)
    if user is None:
        raise NotFound("There is no such account.")
    if takes_admin_away and admins == {user.id}:
        raise Refused(
            f"{user.name} is the last administrator that can sign in.",
            what_to_do="Make somebody else an administrator first.",
        )
    return user


def _set_disabled(work: UnitOfWork, user: User, is_disabled: bool) -> User:
    store.set_disabled(work.session, user.id, is_disabled)
    audit.record(
        work,
        "auth:user:disable" if is_disabled else "auth:user:enable",
        user.name,
        before={"disabled": user.is_disabled},
        after={"disabled": is_disabled},
    )
    return get_user(work, user.id)


def _prove(work: UnitOfWork, password: str, action: str) -> User | WrongPassword | Closed:
    """The actor's own account, if this is its password; tries are counted like those of a sign-in.

    Args:
        action: what it is asked for, for the audit log's line of a wrong one.
    """
    attempt = throttle.begin(work, work.actor.name)
    user = _own_account(work)
    if attempt.wait_s:
        return Closed(attempt.wait_s)
    if not passwords.verify(store.password_hash_of(work.session, user.id), password):
        throttle.failed(work)
        audit.record(work, action, user.name, reason="Wrong current password", result="failed")
        return WrongPassword(attempt.tries_left)
    throttle.passed(work, user.name)
    return user


def _own_account(work: UnitOfWork) -> User:
    user = None if work.actor.user_id is None else store.lock_user(work.session, work.actor.user_id)
    if user is None or user.is_disabled:
        raise Unauthenticated("Sign in to change your account.")
    return user


def _why(user: User | None, is_right: bool) -> str:
    if user is None:
        return "No such account"
    if user.is_disabled:
        return "The account is disabled" if is_right else "Wrong password for a disabled account"
    return "Wrong password"


def _list_failure(work: UnitOfWork, user: User | None, reason: str, result: str) -> None:
    """Audit a failed sign-in. What was typed as a name is kept only when it is one: it may be a password."""
    room = throttle.room_in_log(work)
    if room < 0:
        return
    if room == 0:
        reason += ". More failed sign-ins of the next minutes are not listed"
    audit.record(
        work, "auth:session:sign-in", UNKNOWN if user is None else user.name, reason=reason, result=result
    )


def _as(work: UnitOfWork, user: User) -> UnitOfWork:
    """The same unit of work with ``user`` as the actor: they just proved who they are."""
    return replace(work, actor=replace(work.actor, user_id=user.id, name=user.name, role=user.role))
