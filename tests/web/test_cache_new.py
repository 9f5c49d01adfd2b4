"""The form that adds a cache."""

import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches import service
from dashboard.work import Runtime
from tests.support.people import as_cli
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


def test_nothing_is_taken_from_its_own_address(admin: FlaskClient) -> None:
    page = admin.get(f"/caches/new?url=redis://me:{SECRET}@cache-01&address=cache-02").get_data(as_text=True)
    assert "cache-01" not in page and "cache-02" not in page and SECRET not in page


def test_the_first_cache_is_added_by_post(admin: FlaskClient, runtime: Runtime) -> None:
    """An address may be pasted with its password: no form for it may put its fields into a URL."""
    page = admin.get("/").get_data(as_text=True)
    assert "No cache connected yet" in page
    forms = re.findall(r"<form[^>]*>", page[page.index("<main") : page.index("</main>")])
    assert forms and all('method="post"' in form for form in forms)
    answer = admin.post("/caches/new", data=fields(url=f"redis://me:{SECRET}@127.0.0.1:1/0", password=""))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/caches")
    with as_cli(runtime) as work:
        assert service.list_caches(work)[0].url.password == SECRET


def test_who_may_not_add_is_told_who_can(viewer: FlaskClient) -> None:
    page = viewer.get("/").get_data(as_text=True)
    assert "Ask an administrator" in page and "/caches/new" not in page


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
