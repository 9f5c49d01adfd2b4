"""The Overview of one cache, and before there is one."""

import json
import re

import redis
from flask.testing import FlaskClient

from dashboard.errors import CacheUnavailable
from dashboard.work import Runtime
from tests.support.polled import pass_time, poll, polled_cache
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
    assert re.search(r'<div class="v">90.0<small>%</small>', page)
    assert "64 MB · allkeys-lru" in page and "maxmemory now 64 MB" in page and "target 80%" in page
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


def test_checks_that_are_fine_are_folded_and_problems_lead_on(
    admin: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        client.keys("*")
    pass_time(runtime, 9)
    poll(runtime, cache)
    page = admin.get(f"/caches/{cache.id}/overview?range=15m").get_data(as_text=True)
    card = page[page.index('id="overview-verdicts"') : page.index('id="chart-memory"')]
    first, _, folded = card.partition("<details")
    assert re.search(r"\d+ checks are fine", folded) and '<li class="ok">' not in first
    assert 'class="ok"' in folded and '<li class="warn">' not in folded
    assert f'<a href="/caches/{cache.id}/slow-log">Slow log</a>' in first


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
    for query, words in (
        ("range=2y", "takes 15m, 1h"),
        ("from=yesterday", "“yesterday” is not a time"),
        ("from=2026-03-04T11:00&to=2026-03-04T10:00", "The span ends before it begins"),
        ("from=2026-03-04T11:00&to=2026-03-04T11:00:10", "shorter than 30 s"),
        ("from=2099-03-04T11:00&to=2099-03-04T12:00", "This is in the future"),
        ("from=2000-03-04T11:00&to=2026-03-04T10:00", "longer than ten years"),
        ("to=2026-03-04T10:00", "Enter when the span begins"),
    ):
        answer = viewer.get(f"{path}?{query}")
        page = answer.get_data(as_text=True)
        assert answer.status_code == 422 and words in page, query
        # The page stays, and the form holds what was typed.
        assert 'aria-current="page"' in page and 'aria-label="Custom time range"' in page, query
        for typed in re.findall(r"(?:from|to)=([^&]+)", query):
            assert f'value="{typed}"' in page
        assert viewer.get(f"{path}?{query}", headers=FRAGMENT).status_code == 422
        assert viewer.get(f"/caches/1/series?{query}").status_code in (404, 422)


def test_a_span_of_the_past_stands_still(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url)
    page = viewer.get(
        f"/caches/{cache.id}/overview?from=2026-03-04T11:00:00Z&to=2026-03-04T11:30:00Z"
    ).get_data(as_text=True)
    assert "data-live" not in page and "data-src" not in page
    assert 'value="2026-03-04T11:00"' in page and 'value="2026-03-04T11:30"' in page
    assert "Past span." in page and f'href="/caches/{cache.id}/overview">' in page and "back to live" in page
    # No number and no word of today in what is about then.
    tiles = page[page.index('id="overview-tiles"') : page.index("</dl>")]
    assert "Hit ratio, mean" in tiles and "Memory, most" in tiles and 'class="st' not in tiles
    assert not re.search(r'class="sr">[^<]* now', page)
    assert series_of(page)["from"] == 1772622000


def test_a_cache_that_never_answered_waits_without_a_promise(
    admin: FlaskClient, viewer: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    poll(runtime, cache, CacheUnavailable("Connection refused.", what_to_do="Check that it runs."))
    pass_time(runtime, 90)
    poll(runtime, cache, CacheUnavailable("Connection refused.", what_to_do="Check that it runs."))
    page = viewer.get(f"/caches/{cache.id}/overview").get_data(as_text=True)
    assert "shop-prod does not answer" in page and "No reading yet" in page and "data-waiting" in page
    assert "loader-circle" not in page and "come with the second poll" not in page
    assert "Test the connection" not in page
    assert "Test the connection" in admin.get(f"/caches/{cache.id}/overview").get_data(as_text=True)
    assert "never answered" in viewer.get("/caches").get_data(as_text=True)


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
    assert re.search(r'<div class="v">90.0<small>%</small>', page)
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
