"""Accounts: rules, roles, sessions, and what two people do at the same moment."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from dashboard.access import Role
from dashboard.audit import store as audit_store
from dashboard.audit.types import Filter
from dashboard.auth import service
from dashboard.auth.types import Closed, User, WrongPassword
from dashboard.errors import (
    Conflict,
    DashboardError,
    Forbidden,
    InvalidInput,
    NotFound,
    Refused,
    StoreUnavailable,
    Unauthenticated,
)
from dashboard.work import Runtime, UnitOfWork
from tests.conftest import FixedClock
from tests.support import people
from tests.support.people import PASSWORD, add_user

NEW = "an entirely new password"


def newest(work: UnitOfWork) -> tuple[str, str, object, object]:
    entry = audit_store.list_entries(work.session, Filter(), before_id=None, limit=1)[0]
    return entry.action, entry.subject, entry.before, entry.after


def count(work: UnitOfWork) -> int:
    return audit_store.count_entries(work.session, Filter(), limit=1000)


def is_signed_in(runtime: Runtime, user: User) -> bool:
    """Whether a session that began when ``user`` was read still holds."""
    with people.as_nobody(runtime) as work:
        return service.load_actor(work, user.id, user.session_version, "session") is not None


# --- adding -------------------------------------------------------------------------------------------


def test_a_new_account_can_be_found_in_upper_and_lower_case(work: UnitOfWork) -> None:
    user = service.create_user(work, "News.Desk+1@example", Role.OPERATOR, PASSWORD)
    assert (user.name, user.role, user.is_disabled, user.last_seen_at) == (
        "News.Desk+1@example", Role.OPERATOR, False, None,
    )  # fmt: skip
    assert user.created_at == user.password_changed_at == work.now
    assert service.get_user_by_name(work, "news.desk+1@EXAMPLE") == user
    assert newest(work) == ("auth:user:create", user.name, None, {"role": "operator"})


@pytest.mark.parametrize(
    "name", ["", " ", "a b", "-rf", ".hidden", "ä", "x" * 65, "a\n", "<script>", "a/b", "K\u212a", "a\0b"]
)
def test_a_name_is_plain(work: UnitOfWork, name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        service.create_user(work, name, Role.VIEWER, PASSWORD)
    assert list(refused.value.fields) == ["name"]
    assert count(work) == 0


def test_all_that_is_wrong_is_said_at_once(work: UnitOfWork) -> None:
    with pytest.raises(InvalidInput) as refused:
        service.create_user(work, "", Role.VIEWER, "short")
    assert list(refused.value.fields) == ["name", "password"]


def test_a_name_is_taken_in_upper_and_lower_case(work: UnitOfWork) -> None:
    service.create_user(work, "ops", Role.VIEWER, PASSWORD)
    with pytest.raises(Conflict, match="There is an account OPS already"):
        service.create_user(work, "OPS", Role.ADMIN, PASSWORD)
    assert len(service.list_users(work)) == 1 and count(work) == 1


def test_the_same_name_added_at_the_same_moment_is_a_clear_conflict(live_runtime: Runtime) -> None:
    start = threading.Barrier(4)

    def add(number: int) -> User | DashboardError:
        start.wait()
        try:
            return add_user(live_runtime, "Ops" if number % 2 else "ops")
        except DashboardError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(add, range(4)))
    assert sum(isinstance(result, User) for result in results) == 1
    assert sum(isinstance(result, Conflict) for result in results) == 3
    with people.as_cli(live_runtime) as work:
        assert len(service.list_users(work)) == 1 and count(work) == 1


# --- who may ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
@pytest.mark.parametrize(
    "act",
    [
        lambda work, target: service.list_users(work),
        lambda work, target: service.create_user(work, "new", Role.VIEWER, PASSWORD),
        lambda work, target: service.update_role(work, target, Role.ADMIN),
        lambda work, target: service.disable_user(work, target),
        lambda work, target: service.enable_user(work, target),
        lambda work, target: service.reset_password(work, target, NEW),
        lambda work, target: service.users_page(work),
    ],
    ids=["list", "create", "role", "disable", "enable", "reset", "page"],
)
def test_only_administrators_manage_accounts(
    runtime: Runtime, role: Role, act: Callable[[UnitOfWork, int], object]
) -> None:
    user = add_user(runtime, "somebody", role)
    with pytest.raises(Forbidden), people.as_user(runtime, user) as work:
        act(work, user.id)


@pytest.mark.parametrize(
    "act",
    [
        lambda work: service.get_user(work, 10**12),
        lambda work: service.get_user_by_name(work, "nobody"),
        lambda work: service.update_role(work, 10**12, Role.ADMIN),
        lambda work: service.disable_user(work, 10**12),
        lambda work: service.enable_user(work, 10**12),
        lambda work: service.reset_password(work, 10**12, NEW),
    ],
)
def test_an_unknown_account_is_not_found(work: UnitOfWork, act: Callable[[UnitOfWork], object]) -> None:
    with pytest.raises(NotFound):
        act(work)


# --- changing -----------------------------------------------------------------------------------------


def test_a_new_role_ends_the_sessions(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")
    with people.as_cli(runtime) as work:
        assert service.update_role(work, user.id, Role.OPERATOR).role is Role.OPERATOR
        assert newest(work) == ("auth:user:change-role", "desk", {"role": "viewer"}, {"role": "operator"})
    assert not is_signed_in(runtime, user)


def test_the_same_role_changes_nothing(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")
    with people.as_cli(runtime) as work:
        before = count(work)
        service.update_role(work, user.id, Role.VIEWER)
        assert count(work) == before
    assert is_signed_in(runtime, user)


def test_disabling_ends_the_sessions_and_enabling_does_not_bring_them_back(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")
    with people.as_cli(runtime) as work:
        assert service.disable_user(work, user.id).is_disabled
        assert newest(work) == ("auth:user:disable", "desk", {"disabled": False}, {"disabled": True})
        before = count(work)
        service.disable_user(work, user.id)
        assert count(work) == before, "disabled already"
    assert not is_signed_in(runtime, user)
    with people.as_cli(runtime) as work:
        assert not service.enable_user(work, user.id).is_disabled
        assert newest(work)[0] == "auth:user:enable"
    assert not is_signed_in(runtime, user)


def test_a_reset_password_ends_the_sessions_and_is_nowhere_in_the_log(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")
    with people.as_cli(runtime) as work:
        service.reset_password(work, user.id, NEW)
        assert newest(work) == ("auth:password:reset", "desk", None, None)
    assert not is_signed_in(runtime, user)
    with pytest.raises(InvalidInput) as refused, people.as_cli(runtime) as work:
        service.reset_password(work, user.id, "short")
    assert list(refused.value.fields) == ["password"]


def test_the_last_administrator_stays(runtime: Runtime) -> None:
    admin = add_user(runtime, "root", Role.ADMIN)
    other = add_user(runtime, "former", Role.ADMIN)
    with people.as_user(runtime, admin) as work:
        service.disable_user(work, other.id)
    for act in (
        lambda work: service.disable_user(work, admin.id),
        lambda work: service.update_role(work, admin.id, Role.OPERATOR),
    ):
        with pytest.raises(Refused, match="last administrator"), people.as_cli(runtime) as work:
            act(work)
    with people.as_cli(runtime) as work:
        service.enable_user(work, other.id)
        service.update_role(work, admin.id, Role.VIEWER)


@pytest.mark.parametrize(
    "take_away",
    [
        lambda work, target: service.disable_user(work, target),
        lambda work, target: service.update_role(work, target, Role.VIEWER),
    ],
    ids=["disable", "demote"],
)
@pytest.mark.parametrize("attempt", range(3))
def test_two_administrators_who_take_each_other_away_leave_one(
    live_runtime: Runtime, take_away: Callable[[UnitOfWork, int], User], attempt: int
) -> None:
    pair = [add_user(live_runtime, name, Role.ADMIN) for name in ("first", "second")]
    start = threading.Barrier(2)

    def act(number: int) -> User | DashboardError:
        start.wait()
        try:
            with people.as_user(live_runtime, pair[number]) as work:
                return take_away(work, pair[1 - number].id)
        except DashboardError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(act, range(2)))
    assert sum(isinstance(result, User) for result in results) == 1
    assert sum(isinstance(result, Forbidden | Refused) for result in results) == 1, results
    with people.as_cli(live_runtime) as work:
        left = [user for user in service.list_users(work) if user.role is Role.ADMIN and not user.is_disabled]
        assert len(left) == 1


def test_an_administrator_disabled_meanwhile_can_do_no_more(runtime: Runtime) -> None:
    """The request was let in while the account was still good, and waited for the lock."""
    first, second = (add_user(runtime, name, Role.ADMIN) for name in ("first", "second"))
    with people.as_user(runtime, second) as work:
        service.disable_user(work, first.id)
    with pytest.raises(Forbidden, match="meanwhile"), people.as_user(runtime, first) as work:
        service.create_user(work, "back-door", Role.ADMIN, PASSWORD)


# --- sessions -----------------------------------------------------------------------------------------


def test_a_session_holds_until_the_account_changes(runtime: Runtime, clock: FixedClock) -> None:
    user = add_user(runtime, "desk", Role.OPERATOR)
    with people.as_nobody(runtime) as work:
        assert service.load_actor(work, user.id, user.session_version, "session") == ("desk", Role.OPERATOR)
        assert service.load_actor(work, user.id, user.session_version + 1, "session") is None
        assert service.load_actor(work, user.id + 1000, user.session_version, "session") is None


def test_seeing_an_account_is_written_once_a_minute(runtime: Runtime, clock: FixedClock) -> None:
    user = add_user(runtime, "desk")

    def seen_at() -> object:
        with people.as_nobody(runtime) as work:
            service.load_actor(work, user.id, user.session_version, "session")
            return service.get_user(work, user.id).last_seen_at

    first = clock.wall
    assert seen_at() == first
    clock.wall += timedelta(seconds=59)
    assert seen_at() == first
    clock.wall += timedelta(seconds=1)
    assert seen_at() == clock.wall


def test_an_own_password_change_ends_the_other_sessions(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")
    with people.as_user(runtime, user) as work:
        changed = service.change_own_password(work, PASSWORD, NEW)
        assert newest(work) == ("auth:password:change", "desk", None, None)
    assert isinstance(changed, User)
    assert not is_signed_in(runtime, user)
    assert is_signed_in(runtime, changed), "the browser that changed it is handed the new version"


def test_an_own_password_change_needs_the_current_one_and_is_throttled(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")

    def change(current: str, new: str = NEW) -> object:
        with people.as_user(runtime, user) as work:
            return service.change_own_password(work, current, new)

    assert [change("wrong") for _ in range(5)] == [WrongPassword(left) for left in (4, 3, 2, 1, 0)]
    assert change(PASSWORD) == Closed(900)
    assert is_signed_in(runtime, user)
    with people.as_cli(runtime) as work:
        kept = audit_store.list_entries(
            work.session, Filter(actions=("auth:password:change",)), before_id=None, limit=100
        )
        assert {(entry.result, entry.actor_name) for entry in kept} == {("failed", "desk")}


@pytest.mark.parametrize("new", ["short", PASSWORD, "desk-desk-desk"[:11]])
def test_an_own_new_password_follows_the_rules(runtime: Runtime, new: str) -> None:
    user = add_user(runtime, "desk")
    with pytest.raises(InvalidInput) as refused, people.as_user(runtime, user) as work:
        service.change_own_password(work, PASSWORD, new)
    assert list(refused.value.fields) == ["new"]
    assert is_signed_in(runtime, user)


def test_signing_out_everywhere_ends_every_session(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")
    with people.as_user(runtime, user) as work:
        service.end_own_sessions(work)
        assert newest(work)[0] == "auth:session:end-all"
    assert not is_signed_in(runtime, user)


def test_a_disabled_account_changes_nothing_of_its_own(runtime: Runtime) -> None:
    user = add_user(runtime, "desk")
    with people.as_cli(runtime) as work:
        service.disable_user(work, user.id)
    with pytest.raises(Unauthenticated), people.as_user(runtime, user) as work:
        service.change_own_password(work, PASSWORD, NEW)


def test_postgresql_away_is_said_as_such(live_runtime: Runtime) -> None:
    from sqlalchemy import text

    with pytest.raises(StoreUnavailable), people.as_cli(live_runtime) as work:
        work.session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        service.list_users(work)


def test_the_table_of_roles_tells_operators_from_viewers() -> None:
    rows = {ability.words: ability.roles for ability in service.abilities()}
    may = {role: {words for words, roles in rows.items() if roles[list(Role).index(role)]} for role in Role}
    assert may[Role.VIEWER] < may[Role.OPERATOR] < may[Role.ADMIN] == set(rows)
    gained = may[Role.OPERATOR] - may[Role.VIEWER]
    assert gained == {"Edit, publish, revert and bypass policies", "Purge keys"}
