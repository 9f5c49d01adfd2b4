"""``cachewarden user``: accounts from the command line, on a database of its own."""

import getpass
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from dashboard.access import Role
from dashboard.audit import store as audit_store
from dashboard.audit.types import Entry, Filter
from dashboard.auth import service
from dashboard.auth.types import SignedIn, User
from dashboard.cli import main
from dashboard.work import Runtime
from tests.conftest import SECRET_KEY
from tests.support import people
from tests.support.people import PASSWORD

Run = Callable[..., Result]


@pytest.fixture
def run(fresh_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("add", "ops", typed="...")`` runs ``cachewarden user add ops``."""
    monkeypatch.setenv("DATABASE_URL", fresh_database_url)
    monkeypatch.setenv("CACHEWARDEN_SECRET_KEY", SECRET_KEY)

    def run(*args: str, typed: str | bytes | None = None) -> Result:
        return CliRunner().invoke(main, ["user", *args], input=typed, catch_exceptions=False)

    return run


def user_named(runtime: Runtime, name: str) -> User:
    with people.as_cli(runtime) as work:
        return service.get_user_by_name(work, name)


def log(runtime: Runtime) -> list[Entry]:
    with people.as_cli(runtime) as work:
        return audit_store.list_entries(work.session, Filter(), before_id=None, limit=100)


def may_sign_in(runtime: Runtime, name: str, password: str) -> bool:
    with people.as_nobody(runtime) as work:
        return isinstance(service.sign_in(work, name, password), SignedIn)


def test_add_asks_twice_and_hides_what_is_typed(run: Run, live_runtime: Runtime) -> None:
    result = run("add", "ops", "--role", "admin", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 0, result.output
    assert "ops (Administrator) can sign in now." in result.output
    assert PASSWORD not in result.output
    assert user_named(live_runtime, "ops").role is Role.ADMIN
    assert may_sign_in(live_runtime, "ops", PASSWORD)


def test_the_audit_entry_names_the_command_line_and_the_systems_user(run: Run, live_runtime: Runtime) -> None:
    run("add", "ops", "--password-stdin", typed=PASSWORD)
    (entry,) = log(live_runtime)
    assert (entry.actor_name, entry.actor_id, entry.source) == (getpass.getuser(), None, "cli")
    assert (entry.action, entry.subject, entry.after) == ("auth:user:create", "ops", {"role": "viewer"})


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_password_from_standard_input_is_one_line(run: Run, live_runtime: Runtime, ending: str) -> None:
    assert run("add", "ops", "--password-stdin", typed=PASSWORD + ending).exit_code == 0
    assert may_sign_in(live_runtime, "ops", PASSWORD)


@pytest.mark.parametrize(
    ("args", "typed", "says"),
    [
        (["add", "ops", "--password-stdin"], "short\n", "Use 12 or more"),
        (["add", "ops", "--password-stdin"], "", "no password on standard input"),
        (["add", "ops", "--password-stdin"], b"\xff\xfe" * 10, "not UTF-8"),
        (["add", "ops", "--password-stdin"], "x y z é " * 600, "1024 bytes"),
        (["add", "o p s", "--password-stdin"], PASSWORD, "Name: Takes 1 to 64 letters"),
        (["passwd", "nobody", "--password-stdin"], PASSWORD, "no account 'nobody'"),
        (["disable", "nobody"], None, "no account 'nobody'"),
        (["enable", "nobody"], None, "no account 'nobody'"),
        (["add", "ops", "--role", "root"], None, "'root' is not one of"),
    ],
)
def test_what_is_wrong_is_one_line_and_exit_code_2(
    run: Run, live_runtime: Runtime, args: list[str], typed: str | bytes | None, says: str
) -> None:
    result = run(*args, typed=typed)
    assert result.exit_code == 2
    assert says in result.output and "Traceback" not in result.output
    assert PASSWORD not in result.output
    assert log(live_runtime) == []


def test_a_taken_name_is_said(run: Run, live_runtime: Runtime) -> None:
    people.add_user(live_runtime, "ops")
    result = run("add", "OPS", "--password-stdin", typed=PASSWORD)
    assert (result.exit_code, "There is an account OPS already" in result.output) == (2, True)


def test_passwd_ends_the_sessions(run: Run, live_runtime: Runtime) -> None:
    user = people.add_user(live_runtime, "ops")
    assert run("passwd", "OPS", "--password-stdin", typed="an entirely new password").exit_code == 0
    assert may_sign_in(live_runtime, "ops", "an entirely new password")
    assert user_named(live_runtime, "ops").session_version > user.session_version


def test_passwd_does_not_ask_for_an_account_that_is_not_there(run: Run) -> None:
    result = run("passwd", "nobody", typed=f"{PASSWORD}\n{PASSWORD}\n")
    assert result.exit_code == 2 and "Password" not in result.output


def test_disable_and_enable(run: Run, live_runtime: Runtime) -> None:
    people.add_user(live_runtime, "ops")
    assert run("disable", "ops").output == "ops is disabled.\n"
    assert not may_sign_in(live_runtime, "ops", PASSWORD)
    assert run("enable", "ops").output == "ops can sign in again.\n"
    assert may_sign_in(live_runtime, "ops", PASSWORD)


def test_the_last_administrator_stays(run: Run, live_runtime: Runtime) -> None:
    people.add_user(live_runtime, "ops", Role.ADMIN)
    result = run("disable", "ops")
    assert result.exit_code == 2 and "last administrator" in result.output


def test_list(run: Run, live_runtime: Runtime) -> None:
    assert "cachewarden user add NAME --role admin" in run("list").output
    people.add_user(live_runtime, "a-rather-long-name", Role.OPERATOR)
    people.add_user(live_runtime, "bob")
    run("disable", "bob")
    lines = run("list").output.splitlines()
    assert [line.split() for line in lines] == [
        ["NAME", "ROLE", "STATE", "LAST", "SEEN"],
        ["a-rather-long-name", "operator", "active", "never"],
        ["bob", "viewer", "disabled", "never"],
    ]


def test_an_empty_database_is_told_how_to_become_one(run: Run, live_runtime: Runtime) -> None:
    with people.as_cli(live_runtime) as work:
        work.session.execute(text("UPDATE alembic_version SET version_num = 'older'"))
    result = run("list")
    assert result.exit_code == 2 and "cachewarden db upgrade" in result.output


def test_a_database_that_is_away_is_said_without_a_traceback(checkout: Path) -> None:
    """In a process of its own, as an operator runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "dashboard", "user", "list"],
        env=os.environ
        | {
            "DATABASE_URL": "postgresql://nobody:s3cr3t@127.0.0.1:9/none",
            "CACHEWARDEN_SECRET_KEY": SECRET_KEY,
        },
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert "PostgreSQL does not answer" in done.stderr
    assert "Traceback" not in done.stderr and "s3cr3t" not in done.stderr


def test_link_prints_an_address_that_signs_in_once(run: Run, live_runtime: Runtime) -> None:
    people.add_user(live_runtime, "ops")
    result = run("link", "OPS", "--url", "https://cache.example/")
    assert result.exit_code == 0, result.output
    address, _, token = result.output.strip().partition("?token=")
    assert address == "https://cache.example/welcome"
    with people.as_nobody(live_runtime) as work:
        assert isinstance(service.sign_in_by_link(work, token), SignedIn)
    with people.as_nobody(live_runtime) as work:
        assert not isinstance(service.sign_in_by_link(work, token), SignedIn)


def test_link_of_nobody_says_so(run: Run) -> None:
    result = run("link", "nobody")
    assert result.exit_code != 0 and "There is no account" in result.output
