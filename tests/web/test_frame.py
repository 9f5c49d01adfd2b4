"""The frame around every page: navigation, cache switcher, error pages inside it."""

import re

import pytest
from flask.testing import FlaskClient

from dashboard.caches.types import Environment
from dashboard.errors import CacheUnavailable
from dashboard.work import Runtime
from tests.support.polled import poll, polled_cache
from tests.support.some_caches import SECRET, add_cache, fields

PAGES = ("overview", "slow-log", "clients", "commands")


def switcher_of(page: str) -> str:
    return page[page.index('id="cache-menu"') : page.index("All connections")]


@pytest.mark.parametrize("name", PAGES)
def test_a_caches_page_says_what_it_is_for(name: str, viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, environment=Environment.PRODUCTION, read_only=True)
    page = viewer.get(f"/caches/{cache.id}/{name}").get_data(as_text=True)
    head = page[page.index('<div class="head">') : page.index('id="cache-menu"')]
    assert re.search(r'class="badge prod">.*?Production', head) and re.search(r"badge.*?Read-only", head)
    assert "<small>Production, read-only</small>" in switcher_of(page)


def test_the_switcher_has_the_worst_first_and_the_navigation_stays(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    fine = polled_cache(runtime, valkey_url, "a-fine-one", polls=8)
    away = add_cache(runtime, "z-away")
    for _ in range(6):
        poll(runtime, away, CacheUnavailable("Connection refused.", what_to_do="Check that it runs."))
    page = viewer.get(f"/caches/{away.id}/clients").get_data(as_text=True)
    assert re.findall(r'<b title="([^"]+)"', switcher_of(page)) == ["z-away", "a-fine-one"]
    assert f'href="/caches/{fine.id}/overview"' in viewer.get("/audit").get_data(as_text=True)


def test_an_error_keeps_the_way_on(viewer: FlaskClient, client: FlaskClient, runtime: Runtime) -> None:
    add_cache(runtime)
    for path, status in (("/nowhere", 404), ("/users", 403), ("/caches/4711/overview", 404)):
        answer = viewer.get(path)
        page = answer.get_data(as_text=True)
        assert answer.status_code == status, path
        assert '<nav class="nav"' in page and 'href="/caches">' in page and page.count("<h1>") == 1
    signed_out = client.get("/nowhere").get_data(as_text=True)
    assert "<nav" not in signed_out and "shop-prod" not in signed_out


def test_before_the_first_cache_the_navigation_says_where_one_is(viewer: FlaskClient) -> None:
    page = viewer.get("/").get_data(as_text=True)
    assert re.search(r'<a href="/" aria-current="page"[^>]*data-go="overview"', page)


def test_a_foreign_form_gets_no_frame_it_could_read_secrets_from(admin: FlaskClient) -> None:
    answer = admin.post("/caches/new", data=fields(), headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403 and SECRET not in answer.get_data(as_text=True)
