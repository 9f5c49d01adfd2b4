"""What accounts look like to others."""

from dataclasses import dataclass, field
from datetime import datetime

from dashboard.access import Role


@dataclass(frozen=True, slots=True)
class User:
    """An account, without its password."""

    id: int
    name: str
    role: Role
    is_disabled: bool
    session_version: int
    created_at: datetime
    last_seen_at: datetime | None
    password_changed_at: datetime


@dataclass(frozen=True, slots=True)
class Token:
    """An API token, without what makes it one.

    Args:
        user_name, user_role: of the account it belongs to.
        start: its first characters.
        role: what it may do at most; at no time more than its account.
        last_used_at: to the minute.
    """

    id: int
    user_id: int
    user_name: str
    user_role: Role
    name: str
    start: str
    role: Role
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class MadeToken:
    """A new token, with its only showing.

    Args:
        secret: the token in clear; kept nowhere.
    """

    token: Token
    secret: str = field(repr=False)


TokenActor = tuple[int, str, Role, str]
"""Who a token stands for: the account's id and name, the role it may act with, the token's name."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in that worked."""

    user: User


@dataclass(frozen=True, slots=True)
class WrongPassword:
    """Wrong name or password; it is not said which.

    Args:
        tries_left: how many more from this address before it is closed.
    """

    tries_left: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Too many wrong passwords; none is looked at until the wait is over.

    Args:
        wait_s: seconds until the next try is looked at.
    """

    wait_s: int


@dataclass(frozen=True, slots=True)
class DeadLink:
    """A link that was used before, has ended, or never was one; it is not said which."""


@dataclass(frozen=True, slots=True)
class WelcomePage:
    """What templates/auth/welcome.html shows.

    Args:
        name: whom the link signs in; empty: nobody.
        token: of the link; empty where it is worth nothing.
        wait_s: None: not closed after too many tries.
    """

    host: str
    version: str
    name: str
    token: str = field(repr=False)
    session_hours: int
    wait_s: int | None = None


@dataclass(frozen=True, slots=True)
class SignInPage:
    """What templates/auth/sign_in.html shows.

    Args:
        kept: hidden fields of a form that was sent after the session had ended; it is shown again after the sign-in.
    """

    host: str
    version: str
    name: str
    next_path: str
    session_hours: int
    stays: bool
    tries_left: int | None = None  # None: no wrong try
    wait_s: int | None = None  # None: not closed
    kept: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class AgainPage:
    """What templates/auth/again.html shows: a form that waited for the sign-in.

    Args:
        path: what it is sent to; fields: name and value of each.
        is_cut: a file or a long list has to be given again.
        back: the page it was made on, without what was typed.
    """

    path: str
    fields: tuple[tuple[str, str], ...]
    is_cut: bool
    back: str


@dataclass(frozen=True, slots=True)
class AccountPage:
    """What templates/auth/account.html shows.

    Args:
        tokens: the account's own.
        token_roles: those a token of this account may have.
        made: the token that was made right now.
        token_form: what was typed to make one.
        token_errors: message per field of that form.
    """

    user: User
    now: datetime
    shortest_password: int
    tokens: tuple[Token, ...]
    token_roles: tuple[Role, ...]
    token_lifetimes_d: tuple[int, ...]
    errors: dict[str, str] = field(default_factory=dict)
    made: MadeToken | None = None
    token_form: dict[str, str] = field(default_factory=dict)
    token_errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Drawer:
    """The form under the table: to add an account, or to edit ``user``."""

    user: User | None
    name: str
    role: str
    problem: str = ""  # why nothing was saved, when no field is to blame
    errors: dict[str, str] = field(default_factory=dict)
    password_errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Ability:
    """One line of the role table: what, and which roles may."""

    words: str
    roles: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class UsersPage:
    """What templates/auth/users.html shows."""

    now: datetime
    users: tuple[User, ...]
    tokens: tuple[Token, ...]
    own_id: int | None
    disabled: int
    roles: tuple[Role, ...]
    abilities: tuple[Ability, ...]
    drawer: Drawer | None
    shortest_password: int
    wrong_limit: int
    closed_minutes: int
