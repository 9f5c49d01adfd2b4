"""Links that sign an account in once: for the demo's first minute, and for who is locked out.

Only a link's hash is kept; a random token of 256 bits needs no slow one. A link ends with its first use, after a
quarter of an hour, and with whatever ends the account's sessions.
"""

import hashlib
import re
import secrets
from datetime import timedelta
from typing import Final

from dashboard.audit import service as audit
from dashboard.auth import store
from dashboard.auth.types import User
from dashboard.work import UnitOfWork

PATH: Final = "/welcome"
LIFETIME: Final = timedelta(minutes=15)
_BYTES: Final = 32
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


def insert(work: UnitOfWork, user: User) -> str:
    """Make a link for an account. Returns its path and query."""
    token = secrets.token_urlsafe(_BYTES)
    ends = work.now + LIFETIME
    store.insert_link(work.session, _hash(token), user, now=work.now, ends=ends)
    audit.record(work, "auth:link:create", user.name, after={"ends": ends})
    return f"{PATH}?token={token}"


def find(work: UnitOfWork, token: str) -> User | None:
    """Whom a link would sign in; it stays as it is."""
    return store.find_link(work.session, _hash(token), work.now) if _TOKEN.fullmatch(token) else None


def take(work: UnitOfWork, token: str) -> User | None:
    """Whom a link signs in, now and never again; None: it is worth nothing."""
    user = find(work, token)
    return user if user is not None and store.delete_link(work.session, _hash(token)) else None


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
