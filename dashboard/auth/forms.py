"""What the forms of accounts hold."""

from collections.abc import Mapping
from dataclasses import dataclass

from dashboard.access import Role
from dashboard.errors import InvalidInput
from dashboard.web.numbers import digits_of


@dataclass(frozen=True, slots=True)
class SignInForm:
    """Name and password as typed."""

    name: str
    password: str
    stays: bool


@dataclass(frozen=True, slots=True)
class UserForm:
    """A new account."""

    name: str
    role: Role
    password: str


@dataclass(frozen=True, slots=True)
class TokenForm:
    """A new API token, and the password of the account it is for."""

    name: str
    role: Role
    days: int
    current: str


@dataclass(frozen=True, slots=True)
class PasswordForm:
    """The own password, and the new one typed twice."""

    current: str
    new: str


def parse_sign_in(values: Mapping[str, str]) -> SignInForm:
    """Read the sign-in form; anything may be tried."""
    return SignInForm(values.get("name", ""), values.get("password", ""), "stay" in values)


def parse_user(values: Mapping[str, str]) -> UserForm:
    """Read the form that adds an account.

    Raises:
        InvalidInput: no such role.
    """
    return UserForm(values.get("name", "").strip(), parse_role(values), values.get("password", ""))


def parse_token(values: Mapping[str, str]) -> TokenForm:
    """Read the form that makes an API token.

    Raises:
        InvalidInput: no such role or lifetime.
    """
    days = digits_of(values.get("token_days", ""), 4)
    if days is None:
        raise InvalidInput("Choose a lifetime.", fields={"token_days": "Choose one of the lifetimes."})
    try:
        role = Role(values.get("token_role", ""))
    except ValueError:
        raise InvalidInput("Choose a role.", fields={"token_role": "Choose one of the roles."}) from None
    return TokenForm(values.get("token_name", "").strip(), role, days, values.get("token_current", ""))


def parse_role(values: Mapping[str, str]) -> Role:
    """Read the chosen role.

    Raises:
        InvalidInput: no such role.
    """
    try:
        return Role(values.get("role", ""))
    except ValueError:
        raise InvalidInput("Choose a role.", fields={"role": "Choose one of the roles."}) from None


def parse_password(values: Mapping[str, str]) -> PasswordForm:
    """Read the form that changes the own password.

    Raises:
        InvalidInput: the new password was typed in two ways.
    """
    form = PasswordForm(values.get("current", ""), values.get("new", ""))
    if form.new != values.get("again", ""):
        raise InvalidInput(
            "The password was not changed.", fields={"again": "Is not the same. Type it again."}
        )
    return form
