"""SQL of accounts."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from dashboard.access import Role
from dashboard.auth.models import EndedSessionRow, LinkRow, ThrottleRow, TokenRow, UserRow
from dashboard.auth.types import Token, User

CLEANED_AT_ONCE = 100
# Updates go past the session's identity map, so rows are read anew each time.
_ANEW = {"populate_existing": True}
_PLAIN = {"synchronize_session": False}


def list_users(session: Session) -> list[User]:
    """All accounts by name."""
    return _users(session, select(UserRow).order_by(func.lower(UserRow.name)))


def find_user(session: Session, user_id: int) -> User | None:
    """The account, or None."""
    return next(iter(_users(session, select(UserRow).where(UserRow.id == user_id))), None)


def find_user_by_name(session: Session, name: str) -> User | None:
    """The account of this name in upper or lower case, or None."""
    return next(iter(_users(session, select(UserRow).where(func.lower(UserRow.name) == name.lower()))), None)


def find_credentials(session: Session, name: str) -> tuple[User, str] | None:
    """The account of this name and its password's hash, or None; one query in both cases."""
    query = select(UserRow).where(func.lower(UserRow.name) == name.lower())
    row = session.scalars(query, execution_options=_ANEW).one_or_none()
    return None if row is None else (_user(row), row.password_hash)


def lock_user(session: Session, user_id: int) -> User | None:
    """The account as it is now, or None; nobody else changes it until the transaction ends."""
    query = select(UserRow).where(UserRow.id == user_id).with_for_update()
    return next(iter(_users(session, query)), None)


def lock_active_admins(session: Session) -> set[int]:
    """The ids of all administrators that can sign in.

    Held until the transaction ends: of two transactions that each take one away, the second waits here and
    then sees what the first left.
    """
    query = (
        select(UserRow.id)
        .where(UserRow.role == Role.ADMIN.value, UserRow.is_disabled.is_(False))
        .order_by(UserRow.id)
        .with_for_update()
    )
    return set(session.scalars(query))


def password_hash_of(session: Session, user_id: int) -> str:
    """The hash of the account's password."""
    return session.execute(select(UserRow.password_hash).where(UserRow.id == user_id)).scalar_one()


def insert_user(session: Session, name: str, role: Role, password_hash: str, now: datetime) -> int | None:
    """Add an account; None when the name is taken, also by somebody who adds it at the same moment."""
    values = {
        "name": name,
        "role": role.value,
        "password_hash": password_hash,
        "session_version": 1,
        "is_disabled": False,
        "created_at": now,
        "password_changed_at": now,
    }
    query = insert(UserRow).values(values).on_conflict_do_nothing().returning(UserRow.id)
    return session.execute(query).scalar_one_or_none()


def set_role(session: Session, user_id: int, role: Role) -> None:
    """Change the role and end the account's sessions."""
    _change(session, user_id, role=role.value, session_version=UserRow.session_version + 1)


def set_disabled(session: Session, user_id: int, is_disabled: bool) -> None:
    """Disable or enable the account and end its sessions."""
    _change(session, user_id, is_disabled=is_disabled, session_version=UserRow.session_version + 1)


def set_password(session: Session, user_id: int, password_hash: str, now: datetime) -> None:
    """Change the password and end the account's sessions."""
    _change(
        session,
        user_id,
        password_hash=password_hash,
        password_changed_at=now,
        session_version=UserRow.session_version + 1,
    )


def end_sessions(session: Session, user_id: int) -> None:
    """End the account's sessions, everywhere."""
    _change(session, user_id, session_version=UserRow.session_version + 1)


def end_session(session: Session, session_id: str, expires_at: datetime, now: datetime) -> None:
    """Remember until ``expires_at`` that this one session is over; forget those that ended by themselves."""
    session.execute(delete(EndedSessionRow).where(EndedSessionRow.expires_at < now), execution_options=_PLAIN)
    session.execute(
        insert(EndedSessionRow).values(session_id=session_id, expires_at=expires_at).on_conflict_do_nothing(),
        execution_options=_PLAIN,
    )


def is_ended(session: Session, session_id: str) -> bool:
    """Whether somebody signed out of this session."""
    query = select(EndedSessionRow.session_id).where(EndedSessionRow.session_id == session_id)
    return session.execute(query).scalar_one_or_none() is not None


def replace_hash(session: Session, user_id: int, old_hash: str, new_hash: str) -> None:
    """Keep the same password under newer parameters, unless it was changed meanwhile."""
    session.execute(
        update(UserRow)
        .where(UserRow.id == user_id, UserRow.password_hash == old_hash)
        .values(password_hash=new_hash),
        execution_options=_PLAIN,
    )


def touch(session: Session, user_id: int, now: datetime) -> None:
    """Note that the account was seen."""
    _change(session, user_id, last_seen_at=now)


# --- API tokens ---------------------------------------------------------------------------------------


def insert_token(
    session: Session,
    *,
    user_id: int,
    name: str,
    token_hash: bytes,
    start: str,
    role: Role,
    now: datetime,
    expires_at: datetime,
) -> Token | None:
    """Add a token; None when its account has one of this name."""
    query = (
        insert(TokenRow)
        .values(
            user_id=user_id,
            name=name,
            token_hash=token_hash,
            start=start,
            role=role.value,
            created_at=now,
            expires_at=expires_at,
        )
        .on_conflict_do_nothing()
        .returning(TokenRow.id)
    )
    token_id = session.execute(query).scalar_one_or_none()
    return None if token_id is None else find_token(session, token_id)


def count_tokens(session: Session, user_id: int) -> int:
    """How many tokens an account has."""
    query = select(func.count()).select_from(TokenRow).where(TokenRow.user_id == user_id)
    return session.execute(query).scalar_one()


def list_tokens(session: Session, user_id: int | None) -> list[Token]:
    """An account's tokens, or everybody's, by account and name."""
    query = _TOKENS if user_id is None else _TOKENS.where(TokenRow.user_id == user_id)
    return _tokens(session, query.order_by(func.lower(UserRow.name), func.lower(TokenRow.name)))


def find_token(session: Session, token_id: int) -> Token | None:
    """The token, or None."""
    return next(iter(_tokens(session, _TOKENS.where(TokenRow.id == token_id))), None)


def find_usable_token(session: Session, token_hash: bytes, now: datetime) -> Token | None:
    """The token with this hash, unless it has ended or its account is disabled."""
    query = _TOKENS.where(
        TokenRow.token_hash == token_hash, TokenRow.expires_at > now, UserRow.is_disabled.is_(False)
    )
    return next(iter(_tokens(session, query)), None)


def touch_token(session: Session, token_id: int, now: datetime) -> None:
    """Note that the token was used."""
    session.execute(
        update(TokenRow).where(TokenRow.id == token_id).values(last_used_at=now), execution_options=_PLAIN
    )


def delete_token(session: Session, token_id: int) -> None:
    """Forget the token."""
    session.execute(delete(TokenRow).where(TokenRow.id == token_id), execution_options=_PLAIN)


def delete_tokens(session: Session, user_id: int) -> list[str]:
    """Forget all tokens of an account; their names, in order."""
    query = delete(TokenRow).where(TokenRow.user_id == user_id).returning(TokenRow.name)
    return sorted(session.execute(query, execution_options=_PLAIN).scalars())


# --- one-time links ------------------------------------------------------------------------------------


def insert_link(session: Session, token_hash: bytes, user: User, *, now: datetime, ends: datetime) -> None:
    """Keep a link, and forget those that have ended."""
    session.execute(delete(LinkRow).where(LinkRow.expires_at <= now), execution_options=_PLAIN)
    session.add(
        LinkRow(token_hash=token_hash, user_id=user.id, session_version=user.session_version, expires_at=ends)
    )
    session.flush()


def find_link(session: Session, token_hash: bytes, now: datetime) -> User | None:
    """Whom a link would sign in, or None when it is worth nothing."""
    query = (
        select(UserRow)
        .join(LinkRow, LinkRow.user_id == UserRow.id)
        .where(
            LinkRow.token_hash == token_hash,
            LinkRow.expires_at > now,
            LinkRow.session_version == UserRow.session_version,
            UserRow.is_disabled.is_(False),
        )
    )
    return next(iter(_users(session, query)), None)


def delete_link(session: Session, token_hash: bytes) -> bool:
    """Use a link up; of two who try at once one gets True."""
    query = delete(LinkRow).where(LinkRow.token_hash == token_hash).returning(LinkRow.user_id)
    return session.execute(query, execution_options=_PLAIN).first() is not None


# --- the sign-in throttle -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counted:
    """One key after counting."""

    failures: int
    expires_at: datetime


def count_try(
    session: Session, key: bytes, account_key: bytes | None, *, now: datetime, window: timedelta, limit: int
) -> Counted:
    """Add one under ``key`` and return how many there are within the window.

    Each one up to the limit starts the window anew; those after it don't, so that trying on does not keep
    the door closed. The row stays locked until the transaction ends.
    """
    fresh = insert(ThrottleRow).values(key=key, account_key=account_key, failures=1, expires_at=now + window)
    is_over = ThrottleRow.expires_at <= now
    query = fresh.on_conflict_do_update(
        index_elements=[ThrottleRow.key],
        set_={
            "failures": case((is_over, 1), else_=func.least(ThrottleRow.failures + 1, limit + 2)),
            "expires_at": case(
                (or_(is_over, ThrottleRow.failures < limit), now + window), else_=ThrottleRow.expires_at
            ),
        },
    ).returning(ThrottleRow.failures, ThrottleRow.expires_at)
    failures, expires_at = session.execute(query).one()
    return Counted(failures, expires_at)


def take_try_back(session: Session, key: bytes) -> None:
    """Subtract one under ``key``."""
    query = (
        update(ThrottleRow)
        .where(ThrottleRow.key == key, ThrottleRow.failures > 0)
        .values(failures=ThrottleRow.failures - 1)
    )
    session.execute(query, execution_options=_PLAIN)


def forget_tries(session: Session, key: bytes) -> None:
    """Start ``key`` anew."""
    session.execute(delete(ThrottleRow).where(ThrottleRow.key == key), execution_options=_PLAIN)


def forget_tries_for(session: Session, account_key: bytes) -> None:
    """Start an account anew from every address."""
    # In the order of keys, as two such transactions may meet.
    keys = (
        select(ThrottleRow.key)
        .where(ThrottleRow.account_key == account_key)
        .order_by(ThrottleRow.key)
        .with_for_update()
    )
    found = session.scalars(keys).all()
    session.execute(delete(ThrottleRow).where(ThrottleRow.key.in_(found)), execution_options=_PLAIN)


def clean_tries(session: Session, *, now: datetime, most_rows: int) -> None:
    """Remove some rows whose window is over, and the ones nearest to their end beyond ``most_rows``.

    A failed try adds two rows at most and removes up to a hundred, so the table can't grow for ever.
    Rows somebody else works with are left for the next time.
    """
    over = (
        select(ThrottleRow.key)
        .where(ThrottleRow.expires_at <= now)
        .order_by(ThrottleRow.expires_at)
        .limit(CLEANED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    oldest_allowed = (
        select(ThrottleRow.expires_at)
        .order_by(ThrottleRow.expires_at.desc())
        .offset(most_rows)
        .limit(1)
        .scalar_subquery()
    )
    beyond = (
        select(ThrottleRow.key)
        .where(ThrottleRow.expires_at <= oldest_allowed)
        .order_by(ThrottleRow.expires_at)
        .limit(CLEANED_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    for query in (over, beyond):
        if keys := session.scalars(query).all():
            session.execute(delete(ThrottleRow).where(ThrottleRow.key.in_(keys)), execution_options=_PLAIN)


# --- pieces -------------------------------------------------------------------------------------------


_TOKENS = select(
    TokenRow.id,
    TokenRow.user_id,
    UserRow.name.label("user_name"),
    UserRow.role.label("user_role"),
    TokenRow.name,
    TokenRow.start,
    TokenRow.role,
    TokenRow.created_at,
    TokenRow.expires_at,
    TokenRow.last_used_at,
).join(UserRow, UserRow.id == TokenRow.user_id)


def _tokens(session: Session, query: Select[*tuple[Any, ...]]) -> list[Token]:
    return [
        Token(**{**row, "user_role": Role(row["user_role"]), "role": Role(row["role"])})
        for row in session.execute(query).mappings()
    ]


def _change(session: Session, user_id: int, **values: object) -> None:
    query = update(UserRow).where(UserRow.id == user_id).values(**values)
    session.execute(query, execution_options=_PLAIN)


def _users(session: Session, query: Select[UserRow]) -> list[User]:
    return [_user(row) for row in session.scalars(query, execution_options=_ANEW)]


def _user(row: UserRow) -> User:
    return User(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        is_disabled=row.is_disabled,
        session_version=row.session_version,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        password_changed_at=row.password_changed_at,
    )
