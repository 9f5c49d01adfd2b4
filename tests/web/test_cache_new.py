"""The form that adds a cache."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.work import Runtime
from tests.support.some_caches import SECRET, add_cache, fields

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


def count(runtime: Runtime, table: str) -> int:
    with runtime.database.transaction() as session:
        return int(session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_shows_the_form_with_the_defaults(admin: FlaskClient) -> None:
    page = admin.get("/caches/new").get_data(as_text=True)
    assert 'action="/caches/new"' in page and 'value="10"' in page and 'value="80"' in page
    assert "style=" not in page


def test_as_fragment(admin: FlaskClient) -> None:
    page = admin.get("/caches/new", headers=FRAGMENT).get_data(as_text=True).strip()
    assert page.startswith('<section class="card drawer" id="caches-drawer"')
    assert "<html" not in page


def test_is_filled_in_from_the_address(admin: FlaskClient) -> None:
    page = admin.get(f"/caches/new?name=shop&address=me:{SECRET}@cache-01:6379").get_data(as_text=True)
    assert 'value="shop"' in page and 'value="redis://me@cache-01:6379/0"' in page
    assert SECRET not in page


def test_needs_sign_in(client: FlaskClient) -> None:
    assert client.get("/caches/new").status_code == 303
    assert client.post("/caches/new", data=fields()).status_code == 303


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_needs_the_role(as_role: Callable[[Role], FlaskClient], role: Role, runtime: Runtime) -> None:
    browser = as_role(role)
    assert browser.get("/caches/new").status_code == 403
    assert browser.post("/caches/new", data=fields()).status_code == 403
    assert count(runtime, "cache") == 0


def test_adds_with_an_audit_entry(admin: FlaskClient, runtime: Runtime) -> None:
    answer = admin.post("/caches/new", data=fields(environment="production", read_only="1"))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/caches")
    page = admin.get("/caches").get_data(as_text=True)
    assert "shop-prod is connected" in page and "Read-only" in page and SECRET not in page
    with runtime.database.transaction() as session:
        entry = session.execute(
            text(
                "SELECT actor_name, subject, after, audit_entry::text FROM audit_entry WHERE action LIKE 'caches:%'"
            )
        ).one()
    assert entry[0] == "the-admin" and entry[1] == "shop-prod"
    assert entry[2]["environment"] == "production" and entry[2]["access"] == "read-only"
    assert SECRET not in entry[3]


def test_bad_input_keeps_what_was_typed(admin: FlaskClient, runtime: Runtime) -> None:
    typed = fields(
        name="<keep>", poll_interval_s="1", environment="production", read_only="1", hit_ratio_target="77.5"
    )
    answer = admin.post("/caches/new", data={**typed, "url": f"redis://me:{SECRET}@host:x"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422
    assert "&lt;keep&gt;" in page and 'value="1"' in page and 'value="77.5"' in page
    assert 'value="redis://me@host:x"' in page and SECRET not in page
    assert 'value="production" checked' in page
    assert "Type it again: a password is never sent back." in page
    assert "The port is not a number" in page and "outside 5 to 3600" in page
    assert page.count('aria-invalid="true"') == 2 and 'role="alert"' in page
    assert count(runtime, "cache") == 0


def test_taken_name(admin: FlaskClient, runtime: Runtime) -> None:
    add_cache(runtime)
    answer = admin.post("/caches/new", data=fields(name="SHOP-PROD"))
    assert answer.status_code == 422 and "Another cache has this name" in answer.get_data(as_text=True)


def test_from_another_site(admin: FlaskClient, runtime: Runtime) -> None:
    answer = admin.post("/caches/new", data=fields(), headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403 and count(runtime, "cache") == 0
