"""The own account: password and sessions."""

import pytest
from flask import Flask
from flask.testing import FlaskClient

from dashboard.work import Runtime
from tests.conftest import sign_in
from tests.support.people import PASSWORD

NEW = "an entirely new password"


def change(browser: FlaskClient, **typed: str):  # type: ignore[no-untyped-def]
    return browser.post("/account", data={"current": PASSWORD, "new": NEW, "again": NEW, **typed})


def second_browser(app: Flask, name: str) -> FlaskClient:
    browser = app.test_client()
    assert browser.post("/sign-in", data={"name": name, "password": PASSWORD}).status_code == 303
    return browser


def test_it_shows_the_forms(viewer: FlaskClient) -> None:
    text = viewer.get("/account").get_data(as_text=True)
    assert "the-viewer, Viewer" in text
    assert 'autocomplete="current-password"' in text and 'autocomplete="new-password"' in text


@pytest.mark.parametrize("path", ["/account", "/account/sign-out-everywhere"])
def test_it_needs_a_sign_in(client: FlaskClient, path: str) -> None:
    assert client.post(path, data={}).headers["Location"].startswith("/sign-in")


def test_a_new_password_keeps_this_browser_and_ends_the_others(app: Flask, viewer: FlaskClient) -> None:
    other = second_browser(app, "the-viewer")
    assert change(viewer).headers["Location"] == "/account"
    assert "Password changed" in viewer.get("/account").get_data(as_text=True)
    assert other.get("/account").status_code == 303
    assert other.post("/sign-in", data={"name": "the-viewer", "password": PASSWORD}).status_code == 422
    assert other.post("/sign-in", data={"name": "the-viewer", "password": NEW}).status_code == 303


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"current": "wrong"}, "Is not your password. 4 tries left."),
        ({"new": "tooshort12", "again": "tooshort12"}, "Use 12 or more"),
        ({"again": NEW + "!"}, "Is not the same"),
        ({"new": PASSWORD, "again": PASSWORD}, "Is the password you have"),
        ({"current": "", "new": "", "again": ""}, "Use 12 or more"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(viewer: FlaskClient, typed: dict[str, str], says: str) -> None:
    page = change(viewer, **typed)
    text = page.get_data(as_text=True)
    assert page.status_code == 422
    assert says in text and 'aria-invalid="true"' in text and "The password was not changed." in text
    assert not any(value in text for value in typed.values() if value)
    assert viewer.get("/account").status_code == 200


def test_guessing_the_current_password_is_slowed(viewer: FlaskClient) -> None:
    for _ in range(5):
        change(viewer, current="wrong")
    page = change(viewer)
    assert page.status_code == 429
    assert "Try again in 15 min" in page.get_data(as_text=True)


def test_signing_out_everywhere_ends_all_sessions(app: Flask, viewer: FlaskClient) -> None:
    other = second_browser(app, "the-viewer")
    assert viewer.post("/account/sign-out-everywhere").headers["Location"] == "/sign-in"
    assert viewer.get("/account").status_code == 303
    assert other.get("/account").status_code == 303


def test_a_planted_form_of_another_site_changes_nothing(
    viewer: FlaskClient, runtime: Runtime, app: Flask
) -> None:
    data = {"current": PASSWORD, "new": NEW, "again": NEW}
    assert viewer.post("/account", data=data, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    second_browser(app, "the-viewer")


def test_every_role_has_an_account(app: Flask, runtime: Runtime) -> None:
    from dashboard.access import Role

    for role in Role:
        assert sign_in(app, runtime, role).get("/account").status_code == 200
