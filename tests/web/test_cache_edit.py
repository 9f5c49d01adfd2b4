"""The form that changes a cache."""

import logging
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches import service
from dashboard.work import Runtime
from tests.support.people import as_cli
from tests.support.some_caches import SECRET, add_cache, fields, form

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


def edited(**values: str) -> dict[str, str]:
    """The form as a browser sends it after changing some fields."""
    return {**fields(revision="1"), "password": "", **values}


def test_shows_the_values_without_the_password(admin: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = admin.get(f"/caches/{cache.id}/edit").get_data(as_text=True)
    assert "Edit shop-prod" in page and 'value="redis://me@127.0.0.1:1/0"' in page
    assert "Leave it empty to keep the stored one" in page and "Remove cache" in page
    assert SECRET not in page and "style=" not in page


def test_as_fragment(admin: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = admin.get(f"/caches/{cache.id}/edit", headers=FRAGMENT).get_data(as_text=True).strip()
    assert page.startswith('<section class="card drawer" id="caches-drawer"')


def test_needs_sign_in(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert client.get(f"/caches/{cache.id}/edit").status_code == 303
    assert client.post(f"/caches/{cache.id}/edit", data=edited(name="x")).status_code == 303


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_needs_the_role(as_role: Callable[[Role], FlaskClient], role: Role, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    browser = as_role(role)
    assert browser.get(f"/caches/{cache.id}/edit").status_code == 403
    assert browser.post(f"/caches/{cache.id}/edit", data=edited(name="x")).status_code == 403


def test_unknown_id(admin: FlaskClient) -> None:
    assert admin.get("/caches/1/edit").status_code == 404
    assert admin.post("/caches/1/edit", data=edited()).status_code == 404
    assert admin.get("/caches/99999999999999999999/edit").status_code == 404
    panel = admin.get("/caches/1/edit", headers=FRAGMENT)
    assert panel.status_code == 404 and "<html" not in panel.get_data(as_text=True)


def test_saves_with_an_audit_entry_and_keeps_the_password(admin: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    answer = admin.post(f"/caches/{cache.id}/edit", data=edited(name="renamed", read_only="1"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/caches")
    with as_cli(runtime) as work:
        now = service.get_cache(work, cache.id)
        entry = work.session.execute(
            text("SELECT before, after FROM audit_entry WHERE action = 'caches:cache:update'")
        ).one()
    assert (now.name, now.read_only, now.url.password, now.revision) == ("renamed", True, SECRET, 2)
    assert entry[0] == {"name": "shop-prod", "access": "read and write"}
    assert entry[1] == {"name": "renamed", "access": "read-only"}


def test_bad_input_keeps_what_was_typed(admin: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    answer = admin.post(f"/caches/{cache.id}/edit", data=edited(name="kept", poll_interval_s="x"))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and 'value="kept"' in page and "Enter whole seconds" in page
    assert 'name="revision" value="1"' in page


def test_another_host_asks_for_the_password_again(admin: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    answer = admin.post(f"/caches/{cache.id}/edit", data=edited(url="redis://me@evil.example:6379/0"))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "Type the password again" in page and "evil.example" in page
    good = edited(url="redis://me@other.example:6379/0", password="typed-again")
    assert admin.post(f"/caches/{cache.id}/edit", data=good).status_code == 303
    with as_cli(runtime) as work:
        assert service.get_cache(work, cache.id).url.password == "typed-again"


def test_the_second_editor_sees_the_change_and_keeps_what_was_typed(
    admin: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    with as_cli(runtime) as work:
        service.update_cache(work, cache.id, form("theirs", revision=1, poll_interval_s=60))
    answer = admin.post(f"/caches/{cache.id}/edit", data=edited(name="mine"))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert "Somebody else changed theirs" in page and 'value="mine"' in page
    assert "Name is now theirs; this form has mine." in page
    assert "Poll interval is now 60 s; this form has 10 s." in page
    # Saving again, knowing it now, replaces it.
    assert 'name="revision" value="2"' in page
    assert admin.post(f"/caches/{cache.id}/edit", data=edited(name="mine", revision="2")).status_code == 303
    with as_cli(runtime) as work:
        assert service.get_cache(work, cache.id).name == "mine"


def test_no_secret_in_the_log(admin: FlaskClient, runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    cache = add_cache(runtime)
    for data in (edited(url=f"redis://me:{SECRET}-x@h"), edited(url=f"redis://me:{SECRET}@@h"), edited()):
        admin.post(f"/caches/{cache.id}/edit", data=data)
        admin.post("/caches/test", data={**data, "cache_id": str(cache.id)})
    assert SECRET not in caplog.text
