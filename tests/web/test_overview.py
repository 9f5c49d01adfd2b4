"""The Overview of one cache, and before there is one."""

import json
import re

from flask.testing import FlaskClient

from dashboard.errors import CacheUnavailable
from dashboard.work import Runtime
from tests.support.polled import poll, polled_cache
from tests.support.some_caches import SECRET, add_cache

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


def series_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="series"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))  # type: ignore[no-any-return]


def test_shows_what_was_read(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url)
    answer = viewer.get(f"/caches/{cache.id}/overview?range=15m")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert re.search(r'<div class="v">90<small>%</small>', page)
    assert "64 MB · allkeys-lru" in page and "maxmemory 64 MB" in page and "target 80%" in page
    assert series_of(page)["c"]["hit_ratio"][-2:] == [0.9, 0.9]  # type: ignore[index]
    assert 'data-live="10"' in page
    assert "style=" not in page and "onclick" not in page


def test_as_fragment_brings_the_small_parts_only(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    answer = viewer.get(f"/caches/{cache.id}/overview?range=15m", headers=FRAGMENT)
    body = answer.get_data(as_text=True)
    for part in ("overview-state", "overview-lede", "overview-tiles", "overview-verdicts"):
        assert re.search(rf'id="{part}" hx-swap-oob="outerMorph"', body) or re.search(
            rf'id="{part}"[^>]*hx-swap-oob="outerMorph"', body
        )
    assert "<html" not in body and 'id="series"' not in body
    assert {"HX-Request", "HX-Request-Type"} <= {name.strip() for name in answer.headers["Vary"].split(",")}
    assert answer.headers["Cache-Control"] == "no-store"


def test_needs_sign_in(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/overview"
    assert client.get(path).status_code == 303
    refused = client.get(path, headers=FRAGMENT)
    assert refused.status_code == 401 and refused.headers["HX-Redirect"].startswith("/sign-in")


def test_unknown_cache(viewer: FlaskClient) -> None:
    answer = viewer.get("/caches/4711/overview")
    assert answer.status_code == 404 and "Not found" in answer.get_data(as_text=True)


def test_a_range_that_makes_no_sense_says_what_it_takes(viewer: FlaskClient, runtime: Runtime) -> None:
    path = f"/caches/{add_cache(runtime).id}/overview"
    for query in ("range=2y", "from=yesterday", "from=2026-03-04T11:00Z&to=2026-03-04T10:00Z"):
        answer = viewer.get(f"{path}?{query}")
        assert answer.status_code == 422, query
        assert "Take " in answer.get_data(as_text=True) or "Write times" in answer.get_data(as_text=True)


def test_a_span_of_the_past_stands_still(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url)
    page = viewer.get(
        f"/caches/{cache.id}/overview?from=2026-03-04T11:00:00Z&to=2026-03-04T11:30:00Z"
    ).get_data(as_text=True)
    assert "data-live" not in page and "data-src" not in page
    assert 'value="2026-03-04T11:00"' in page and 'value="2026-03-04T11:30"' in page
    assert series_of(page)["from"] == 1772622000


def test_before_the_first_poll_nothing_is_invented(viewer: FlaskClient, runtime: Runtime) -> None:
    page = viewer.get(f"/caches/{add_cache(runtime).id}/overview").get_data(as_text=True)
    assert "data-waiting" in page and "The first numbers come with the second poll" in page
    assert 'id="overview-tiles"' not in page and 'id="series"' not in page


def test_a_cache_that_is_away_keeps_its_last_numbers_marked_as_old(
    admin: FlaskClient, viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    for _ in range(2):
        poll(runtime, cache, CacheUnavailable("Connection refused.", what_to_do="Check that it runs."))
    path = f"/caches/{cache.id}/overview?range=15m"
    page = viewer.get(path).get_data(as_text=True)
    assert "shop-prod does not answer" in page and "Last good reading" in page and "2 tries since" in page
    assert "as of 12:00:20, 3 s old" in page
    assert '<dl class="tiles old"' in page and "Not live" in page
    assert re.search(r'<div class="v">90<small>%</small>', page)
    assert SECRET not in page
    assert "Connection settings" not in page
    assert "Connection settings" in admin.get(path).get_data(as_text=True)


def test_hostile_names_stay_text(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url, name="</script><img src=x>")
    page = viewer.get(f"/caches/{cache.id}/overview").get_data(as_text=True)
    assert "<img" not in page and "&lt;img src=x&gt;" in page


def test_home_leads_to_the_first_cache_or_to_the_way_to_connect_one(
    admin: FlaskClient, viewer: FlaskClient, runtime: Runtime
) -> None:
    assert "No cache connected yet" in viewer.get("/").get_data(as_text=True)
    assert "Ask an administrator" in viewer.get("/").get_data(as_text=True)
    assert 'action="/caches/new"' in admin.get("/").get_data(as_text=True)
    cache = add_cache(runtime)
    answer = viewer.get("/")
    assert answer.status_code == 303 and answer.headers["Location"] == f"/caches/{cache.id}/overview"
