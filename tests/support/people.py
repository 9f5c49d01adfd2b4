"""Accounts and actors for tests."""

from contextlib import AbstractContextManager

from dashboard.access import Actor, Role
from dashboard.auth import service
from dashboard.auth.types import User
from dashboard.work import Runtime, UnitOfWork, unit_of_work

PASSWORD = "correct horse battery staple"
CLI = Actor(None, "root", Role.ADMIN, "cli")
"""As the command line has it: an administrator without an account."""


def as_cli(runtime: Runtime) -> AbstractContextManager[UnitOfWork]:
    """A unit of work as the command line has it."""
    return unit_of_work(runtime, CLI)


def as_user(runtime: Runtime, user: User) -> AbstractContextManager[UnitOfWork]:
    """A unit of work of a signed-in account."""
    return unit_of_work(runtime, Actor(user.id, user.name, user.role, "web", "192.0.2.1", "req-1"))


def as_nobody(runtime: Runtime, address: str | None = "192.0.2.1") -> AbstractContextManager[UnitOfWork]:
    """A unit of work of a browser in which nobody is signed in."""
    return unit_of_work(runtime, Actor(None, "anonymous", Role.VIEWER, "web", address, "req-0"))


def add_user(runtime: Runtime, name: str, role: Role = Role.VIEWER, password: str = PASSWORD) -> User:
    """Add an account."""
    with as_cli(runtime) as work:
        return service.create_user(work, name, role, password)
