"""The sign-in page."""

from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.access import Role
from dashboard.auth import service
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import people
from tests.support.people import PASSWORD, add_user


def post(client: FlaskClient, **typed: str):  # type: ignore[no-untyped-def]
    return client.post("/sign-in", data={"name": "desk", "password": PASSWORD, **typed})


def test_it_shows_the_form_to_everybody(client: FlaskClient) -> None:
    page = client.get("/sign-in?next=/audit")
    text = page.get_data(as_text=True)
    assert page.status_code == 200
    assert 'action="/sign-in"' in text and 'name="next" value="/audit"' in text
    assert "localhost" in text and "12 h" in text
    assert "Sign out" not in text and 'id="nav"' not in text


def test_it_sends_a_signed_in_browser_on(viewer: FlaskClient) -> None:
    assert viewer.get("/sign-in?next=/audit").headers["Location"] == "/audit"


def test_the_right_password_leads_where_one_wanted_to_go(client: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "desk")
    answer = post(client, next="/audit?who=desk")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/audit?who=desk")
    assert client.get("/account").status_code == 200


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "evil.example", ""],
)
def test_it_never_leads_away(client: FlaskClient, runtime: Runtime, wanted: str) -> None:
    add_user(runtime, "desk")
    assert 'name="next" value="/"' in client.get("/sign-in", query_string={"next": wanted}).get_data(
        as_text=True
    )
    assert post(client, next=wanted).headers["Location"] == "/"
    assert client.get("/sign-in", query_string={"next": wanted}).headers["Location"] == "/"


def test_a_wrong_password_keeps_the_name_and_not_the_password(client: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "desk")
    page = post(client, password="not the right one", next="/audit", stay="1")
    text = page.get_data(as_text=True)
    assert page.status_code == 422
    assert "Wrong username or password. 4 tries left." in text
    assert 'value="desk"' in text and 'name="next" value="/audit"' in text and "checked" in text
    assert "not the right one" not in text
    assert client.get("/account").status_code == 303


def test_what_is_typed_is_escaped(client: FlaskClient) -> None:
    text = post(client, name='"><script>alert(1)</script>').get_data(as_text=True)
    assert "<script>alert" not in text


def test_too_many_wrong_ones_say_how_long_to_wait(client: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "desk")
    for _ in range(5):
        post(client, password="wrong")
    page = post(client)
    assert page.status_code == 429
    assert page.headers["Retry-After"] == "900"
    assert "for 15 min" in page.get_data(as_text=True)


def test_the_last_try_is_told_as_one(client: FlaskClient) -> None:
    for _ in range(4):
        page = post(client)
    assert "1 try left" in page.get_data(as_text=True)


def test_an_empty_or_broken_form_is_a_wrong_password(client: FlaskClient) -> None:
    assert client.post("/sign-in", data={}).status_code == 422
    assert client.post("/sign-in", data=b"\xff\xfe", content_type="text/plain").status_code == 422


def test_a_session_planted_before_the_sign_in_is_replaced(client: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "desk")
    with client.session_transaction() as planted:
        planted["planted"] = "yes"
    post(client)
    with client.session_transaction() as held:
        assert "planted" not in held


def test_the_cookie_stays_only_when_asked_to(client: FlaskClient, runtime: Runtime) -> None:
    add_user(runtime, "desk")
    for stay, is_kept in (({}, False), ({"stay": "1"}, True)):
        cookie = post(client, **stay).headers["Set-Cookie"]
        assert ("Expires=" in cookie) == is_kept
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_a_session_ends_after_its_hours(client: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    add_user(runtime, "desk")
    post(client, stay="1")
    clock.wall += timedelta(hours=12)
    assert client.get("/account").status_code == 200
    clock.wall += timedelta(seconds=1)
    assert client.get("/account").status_code == 303


@pytest.mark.parametrize(
    "change",
    [
        lambda work, user: service.reset_password(work, user.id, "a brand new password"),
        lambda work, user: service.update_role(work, user.id, Role.VIEWER),
        lambda work, user: service.disable_user(work, user.id),
    ],
    ids=["password", "role", "disabled"],
)
def test_a_session_ends_when_the_account_changes(
    client: FlaskClient, runtime: Runtime, change: object
) -> None:
    user = add_user(runtime, "desk", Role.OPERATOR)
    post(client)
    assert client.get("/account").status_code == 200
    with people.as_cli(runtime) as work:
        change(work, user)  # type: ignore[operator]
    assert client.get("/account").headers["Location"] == "/sign-in?next=%2Faccount"


def test_it_says_so_when_postgresql_is_away(
    app: Flask, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard.db.session import Database

    away = Database("postgresql://nobody:x@127.0.0.1:9/none")
    monkeypatch.setattr(runtime.database, "transaction", away.transaction)
    page = app.test_client().post("/sign-in", data={"name": "desk", "password": PASSWORD})
    assert page.status_code == 503
    assert "PostgreSQL does not answer" in page.get_data(as_text=True)
