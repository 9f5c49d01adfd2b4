"""Who acts, and what a role may do."""

from dataclasses import dataclass
from enum import StrEnum

from dashboard.errors import Forbidden


class Role(StrEnum):
    """The three roles; each holds the ones before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def holds(self, other: "Role") -> bool:
        """Whether this role may do all that ``other`` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(other)

    @property
    def label(self) -> str:
        """The role's name on screen."""
        return {"viewer": "Viewer", "operator": "Operator", "admin": "Administrator"}[self.value]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something, as the audit log will name them.

    Args:
        user_id: the account's id; None for the worker and the command line.
        name: account name, or the name of the system user or process.
        role: what the actor may do.
        source: "web", "cli", "worker", or "api:" and the name of the token that was shown.
        address: the network address the request came from, if any.
        request_id: reference of the HTTP request, also found in the server's log.
    """

    user_id: int | None
    name: str
    role: Role
    source: str
    address: str | None = None
    request_id: str | None = None


def can(actor: Actor, role: Role) -> bool:
    """Whether ``actor`` may do what ``role`` may."""
    return actor.role.holds(role)


def require(actor: Actor, role: Role) -> None:
    """Refuse unless ``actor`` holds ``role``; every service that writes calls it.

    Raises:
        Forbidden: the actor's role does not hold ``role``.
    """
    if not can(actor, role):
        raise Forbidden(
            f"This needs the role {role.label}; {actor.name} is {actor.role.label}.",
            what_to_do="An administrator can change roles on the page Users and tokens.",
        )
