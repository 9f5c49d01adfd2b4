"""The question before a cache is removed."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches import service
from dashboard.caches.types import Environment
from dashboard.work import Runtime
from tests.support.people import as_cli
from tests.support.some_caches import SECRET, add_cache


def exists(runtime: Runtime, cache_id: int) -> bool:
    with as_cli(runtime) as work:
        return service.find_cache(work, cache_id) is not None


def test_shows_what_goes(admin: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = admin.get(f"/caches/{cache.id}/remove").get_data(as_text=True)
    assert "Remove shop-prod" in page and "history" in page and "127.0.0.1:1" in page
    assert 'name="name"' not in page and SECRET not in page and "style=" not in page


def test_removes_with_an_audit_entry(admin: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    answer = admin.post(f"/caches/{cache.id}/remove")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/caches")
    assert not exists(runtime, cache.id)
    assert "shop-prod is removed" in admin.get("/caches").get_data(as_text=True)
    with runtime.database.transaction() as session:
        query = "SELECT subject, before, after FROM audit_entry WHERE action = 'caches:cache:delete'"
        subject, before, after = session.execute(text(query)).one()
    assert subject == "shop-prod" and before["name"] == "shop-prod" and after is None
    assert SECRET not in str(before)


@pytest.mark.parametrize("typed", ["", "shop", "Shop-Prod"])
def test_production_wants_its_name(admin: FlaskClient, runtime: Runtime, typed: str) -> None:
    cache = add_cache(runtime, environment=Environment.PRODUCTION)
    assert 'name="name"' in admin.get(f"/caches/{cache.id}/remove").get_data(as_text=True)
    answer = admin.post(f"/caches/{cache.id}/remove", data={"name": typed})
    assert answer.status_code == 422 and "Type shop-prod to remove" in answer.get_data(as_text=True)
    assert exists(runtime, cache.id)
    assert admin.post(f"/caches/{cache.id}/remove", data={"name": "shop-prod"}).status_code == 303
    assert not exists(runtime, cache.id)


def test_unknown_id(admin: FlaskClient) -> None:
    assert admin.get("/caches/1/remove").status_code == 404
    assert admin.post("/caches/1/remove").status_code == 404


def test_needs_sign_in(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert client.get(f"/caches/{cache.id}/remove").status_code == 303
    assert client.post(f"/caches/{cache.id}/remove").status_code == 303
    assert exists(runtime, cache.id)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_needs_the_role(as_role: Callable[[Role], FlaskClient], role: Role, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    browser = as_role(role)
    assert browser.get(f"/caches/{cache.id}/remove").status_code == 403
    assert browser.post(f"/caches/{cache.id}/remove").status_code == 403
    assert exists(runtime, cache.id)
