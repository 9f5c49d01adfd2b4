"""The page of users and its forms."""

import re

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.access import Role
from dashboard.audit import store
from dashboard.audit.types import Entry, Filter
from dashboard.auth import service
from dashboard.auth.types import User
from dashboard.work import Runtime
from tests.support import people
from tests.support.people import PASSWORD, add_user

NEW = "an entirely new password"


def user_named(runtime: Runtime, name: str) -> User:
    with people.as_cli(runtime) as work:
        return service.get_user_by_name(work, name)


def newest(runtime: Runtime) -> Entry:
    with people.as_cli(runtime) as work:
        return store.list_entries(work.session, Filter(), before_id=None, limit=1)[0]


def words(page: object) -> str:
    """The text a reader sees."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.get_data(as_text=True)).split())  # type: ignore[attr-defined]


# --- the table ----------------------------------------------------------------------------------------


def test_it_lists_the_accounts_by_name(admin: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "Zoe", Role.OPERATOR)
    gone = add_user(runtime, "bob")
    with people.as_cli(runtime) as work:
        service.disable_user(work, gone.id)
    text = words(admin.get("/users"))
    assert "3 accounts, 1 disabled" in text
    assert text.index("bob Viewer Disabled Disabled never") < text.index(
        "the-admin you Administrator Active Active now"
    )
    assert text.index("the-admin") < text.index("Zoe Operator Active Active never")


def test_it_says_what_each_role_may(admin: FlaskClient) -> None:
    text = words(admin.get("/users"))
    assert re.search(r"Manage users and tokens – No – No Yes", text)
    assert re.search(r"Read and export the audit log Yes Yes Yes", text)


@pytest.mark.parametrize("path", ["/users", "/users/new", "/users/1/edit"])
def test_it_is_for_administrators(
    client: FlaskClient, viewer: FlaskClient, operator: FlaskClient, path: str
) -> None:
    assert client.get(path).headers["Location"].startswith("/sign-in")
    assert viewer.get(path).status_code == operator.get(path).status_code == 403


# --- adding -------------------------------------------------------------------------------------------


def add(browser: FlaskClient, **typed: str):  # type: ignore[no-untyped-def]
    return browser.post(
        "/users/new", data={"name": "desk", "role": "operator", "password": PASSWORD, **typed}
    )


def test_an_added_account_can_sign_in(app: Flask, admin: FlaskClient, runtime: Runtime) -> None:
    answer = add(admin)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/users")
    assert "desk can sign in now." in words(admin.get("/users"))
    entry = newest(runtime)
    assert (entry.actor_name, entry.action, entry.subject) == ("the-admin", "auth:user:create", "desk")
    assert (entry.source, entry.after) == ("web", {"role": "operator"})
    assert entry.address == "127.0.0.1" and entry.request_id
    browser = app.test_client()
    assert browser.post("/sign-in", data={"name": "desk", "password": PASSWORD}).status_code == 303


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"name": "no blanks"}, "Takes 1 to 64 letters"),
        ({"password": "short"}, "Use 12 or more"),
        ({"role": "root"}, "Choose one of the roles"),
        ({"name": '"><script>'}, "Takes 1 to 64 letters"),
        ({"name": "", "role": "", "password": ""}, "Choose one of the roles"),
    ],
)
def test_a_refused_account_keeps_what_was_typed(
    admin: FlaskClient, runtime: Runtime, typed: dict[str, str], says: str
) -> None:
    page = add(admin, **typed)
    text = page.get_data(as_text=True)
    assert page.status_code == 422
    assert says in text and 'aria-invalid="true"' in text
    assert "<script>alert" not in text and PASSWORD not in text
    if typed.get("name") == "no blanks":
        assert 'value="no blanks"' in text and 'value="operator" checked' in text
    assert newest(runtime).action == "auth:session:sign-in", "nothing else was written"


def test_a_taken_name_is_a_conflict_at_its_field(admin: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "Desk")
    page = add(admin)
    assert page.status_code == 409
    assert "There is an account desk already" in words(page)
    assert 'value="desk"' in page.get_data(as_text=True)


# --- editing ------------------------------------------------------------------------------------------


def test_the_drawer_shows_the_account(admin: FlaskClient, runtime: Runtime) -> None:
    desk = add_user(runtime, "desk", Role.OPERATOR)
    text = admin.get(f"/users/{desk.id}/edit").get_data(as_text=True)
    assert f'action="/users/{desk.id}/role#drawer"' in text and 'value="operator" checked' in text
    assert "Disable desk" in text and "Enable desk" not in text


@pytest.mark.parametrize(
    ("method", "path"),
    [("get", "edit"), ("post", "role"), ("post", "password"), ("post", "disable"), ("post", "enable")],
)
def test_an_unknown_account_is_not_found(admin: FlaskClient, method: str, path: str) -> None:
    data = {"role": "viewer", "password": NEW}
    for number in ("999999999", "9" * 40):
        answer = admin.open(
            f"/users/{number}/{path}", method=method.upper(), data=data if method == "post" else None
        )
        assert answer.status_code == 404


def test_a_new_role_is_saved_and_audited(admin: FlaskClient, runtime: Runtime) -> None:
    desk = add_user(runtime, "desk")
    assert admin.post(f"/users/{desk.id}/role", data={"role": "admin"}).headers["Location"] == "/users"
    assert user_named(runtime, "desk").role is Role.ADMIN
    entry = newest(runtime)
    assert (entry.action, entry.before, entry.after) == (
        "auth:user:change-role", {"role": "viewer"}, {"role": "admin"},
    )  # fmt: skip


def test_a_role_that_is_none_is_refused(admin: FlaskClient, runtime: Runtime) -> None:
    desk = add_user(runtime, "desk")
    page = admin.post(f"/users/{desk.id}/role", data={"role": "root"})
    assert page.status_code == 422 and "Choose one of the roles" in words(page)


def test_disabling_and_enabling(app: Flask, admin: FlaskClient, runtime: Runtime) -> None:
    desk = add_user(runtime, "desk")
    browser = app.test_client()
    browser.post("/sign-in", data={"name": "desk", "password": PASSWORD})
    assert admin.post(f"/users/{desk.id}/disable").status_code == 303
    assert browser.get("/account").status_code == 303, "its session ended"
    assert "Enable desk" in admin.get(f"/users/{desk.id}/edit").get_data(as_text=True)
    assert admin.post(f"/users/{desk.id}/enable").status_code == 303
    assert browser.post("/sign-in", data={"name": "desk", "password": PASSWORD}).status_code == 303
    with people.as_cli(runtime) as work:
        actions = [
            entry.action
            for entry in store.list_entries(
                work.session, Filter(actions=("auth:user:*able",)), before_id=None, limit=9
            )
        ]
    assert actions == ["auth:user:enable", "auth:user:disable"]


def test_a_reset_password_works_at_once(app: Flask, admin: FlaskClient, runtime: Runtime) -> None:
    desk = add_user(runtime, "desk")
    assert admin.post(f"/users/{desk.id}/password", data={"password": NEW}).status_code == 303
    assert newest(runtime).action == "auth:password:reset"
    assert app.test_client().post("/sign-in", data={"name": "desk", "password": NEW}).status_code == 303


@pytest.mark.parametrize("password", ["", "short", "x" * 12])
def test_a_weak_reset_password_is_refused(admin: FlaskClient, runtime: Runtime, password: str) -> None:
    desk = add_user(runtime, "desk")
    page = admin.post(f"/users/{desk.id}/password", data={"password": password})
    assert page.status_code == 422
    assert "The password was not changed." in words(page) and 'aria-invalid="true"' in page.get_data(
        as_text=True
    )
    assert user_named(runtime, "desk").session_version == desk.session_version


def test_the_last_administrator_cannot_be_taken_away(admin: FlaskClient, runtime: Runtime) -> None:
    me = user_named(runtime, "the-admin")
    for path, data in (("disable", {}), ("role", {"role": "viewer"})):
        page = admin.post(f"/users/{me.id}/{path}", data=data)
        assert page.status_code == 409
        assert "the-admin is the last administrator" in words(page)
    assert admin.get("/users").status_code == 200


def test_administrators_may_change_their_own_account(admin: FlaskClient, runtime: Runtime) -> None:
    """They stay signed in as far as their new role reaches."""
    add_user(runtime, "deputy", Role.ADMIN)
    me = user_named(runtime, "the-admin")
    assert admin.post(f"/users/{me.id}/password", data={"password": NEW}).headers["Location"] == "/users"
    assert admin.get("/users").status_code == 200
    assert admin.post(f"/users/{me.id}/role", data={"role": "operator"}).headers["Location"] == "/"
    assert admin.get("/users").status_code == 403 and admin.get("/account").status_code == 200


def test_administrators_may_disable_themselves(admin: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "deputy", Role.ADMIN)
    me = user_named(runtime, "the-admin")
    assert admin.post(f"/users/{me.id}/disable").headers["Location"] == "/sign-in"
    assert admin.get("/account").status_code == 303


@pytest.mark.parametrize("path", ["role", "password", "disable", "enable"])
def test_only_administrators_change_accounts(
    client: FlaskClient, viewer: FlaskClient, operator: FlaskClient, runtime: Runtime, path: str
) -> None:
    desk = add_user(runtime, "desk")
    data = {"role": "admin", "password": NEW}
    for browser in (viewer, operator):
        assert browser.post(f"/users/{desk.id}/{path}", data=data).status_code == 403
        assert browser.post("/users/new", data={"name": "x", **data}).status_code == 403
    assert client.post(f"/users/{desk.id}/{path}", data=data).status_code == 303
    assert user_named(runtime, "desk") == desk
