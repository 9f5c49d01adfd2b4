"""API tokens: what a program shows instead of a password.

A token belongs to an account and can do at most what that account can, at the moment it is used. Only its hash is
kept; a random token of 192 bits needs no slow one.
"""

import hashlib
import re
import secrets
from datetime import timedelta
from typing import Final

from dashboard.access import Role, can, require
from dashboard.audit import service as audit
from dashboard.auth import store
from dashboard.auth.types import MadeToken, Token, TokenActor, User
from dashboard.errors import InvalidInput, NotFound
from dashboard.work import UnitOfWork

PREFIX: Final = "cw_"
LIFETIMES_D: Final = (7, 30, 90, 365)
MOST_PER_ACCOUNT: Final = 50
USED_EVERY_S: Final = 60

_BYTES: Final = 24
_SHOWN_CHARS: Final = 4
_TOKEN = re.compile(rf"{PREFIX}[0-9a-f]{{{2 * _BYTES}}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")


def insert(work: UnitOfWork, user: User, name: str, role: Role, *, days: int) -> MadeToken:
    """Make a token of an account whose owner just proved who they are.

    Args:
        name: what it is for; each of an account's tokens has another.
        role: what it may do at most.
        days: how long it lives, one of LIFETIMES_D.

    Returns:
        The token in clear; it can't be shown again.

    Raises:
        InvalidInput: a message per field.
    """
    errors = {}
    if not _NAME.fullmatch(name):
        errors["token_name"] = (
            "Takes 1 to 64 letters without accents, digits and . _ @ + -, beginning with a letter or digit."
        )
    if not user.role.holds(role):
        errors["token_role"] = f"Your own role is {user.role.label}; a token may not do more."
    if days not in LIFETIMES_D:
        errors["token_days"] = "Choose one of the lifetimes."
    if not errors and store.count_tokens(work.session, user.id) >= MOST_PER_ACCOUNT:
        errors["token_name"] = f"You have {MOST_PER_ACCOUNT} tokens; revoke one first."
    if errors:
        raise InvalidInput("The token was not made.", fields=errors)
    secret = PREFIX + secrets.token_hex(_BYTES)
    token = store.insert_token(
        work.session,
        user_id=user.id,
        name=name,
        token_hash=_hash(secret),
        start=secret[: len(PREFIX) + _SHOWN_CHARS],
        role=role,
        now=work.now,
        expires_at=work.now + timedelta(days=days),
    )
    if token is None:
        raise InvalidInput(
            "The token was not made.", fields={"token_name": f"You have a token {name} already."}
        )
    audit.record(
        work, "auth:token:create", name, after={"of": user.name, "role": role, "ends": token.expires_at}
    )
    return MadeToken(token, secret)


def revoke_token(work: UnitOfWork, token_id: int) -> Token:
    """End a token for good; it is worth nothing from the next request on.

    Raises:
        NotFound: there is none, or it is somebody else's and the actor is no administrator.
    """
    token = store.find_token(work.session, token_id)
    if token is None or not (token.user_id == work.actor.user_id or can(work.actor, Role.ADMIN)):
        raise NotFound("There is no such token (any more).", what_to_do="It may have been revoked already.")
    store.delete_token(work.session, token.id)
    audit.record(work, "auth:token:revoke", token.name, before={"of": token.user_name, "role": token.role})
    return token


def revoke_all(work: UnitOfWork, user: User) -> None:
    """End every token of an account that is shut out, or whose password an administrator replaced."""
    if names := store.delete_tokens(work.session, user.id):
        audit.record(work, "auth:token:revoke-all", user.name, before={"names": ", ".join(names)})


def usable_names(work: UnitOfWork, user_id: int) -> tuple[str, ...]:
    """An account's tokens that still open the API, by name."""
    return tuple(
        token.name for token in store.list_tokens(work.session, user_id) if token.expires_at > work.now
    )


def own_tokens(work: UnitOfWork) -> tuple[Token, ...]:
    """The actor's own, by name; those that ended stay until they are revoked."""
    return tuple(store.list_tokens(work.session, work.actor.user_id or 0))


def all_tokens(work: UnitOfWork) -> tuple[Token, ...]:
    """Everybody's, by account and name.

    Raises:
        Forbidden: the actor is no administrator.
    """
    require(work.actor, Role.ADMIN)
    return tuple(store.list_tokens(work.session, None))


def load_token(work: UnitOfWork, text: str) -> TokenActor | None:
    """Who a token stands for, or None when it is worth nothing.

    One read; when it was used is written once a minute at most.
    """
    if not _TOKEN.fullmatch(text):
        return None
    token = store.find_usable_token(work.session, _hash(text), work.now)
    if token is None:
        return None
    if token.last_used_at is None or (work.now - token.last_used_at).total_seconds() >= USED_EVERY_S:
        store.touch_token(work.session, token.id, work.now)
    role = token.role if token.user_role.holds(token.role) else token.user_role
    return token.user_id, token.user_name, role, token.name


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
