"""The Overview's prefix table, its live round, its order, and the marks of publications."""

import json
import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from dashboard.policies import store
from dashboard.work import Runtime
from tests.support.polled import pass_time, polled_cache
from tests.support.some_policies import FRAGMENT, publish, stage


@pytest.fixture
def cache_id(runtime: Runtime, valkey_url: str) -> int:
    """A polled cache with a policy for ``news:``, of which v1 was just published."""
    cache = polled_cache(runtime, valkey_url)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id, "Less load")
    return cache.id


def count(runtime: Runtime, cache_id: int, **growth: dict[str, int]) -> None:
    """What applications counted a minute ago; prefixes without their colon."""
    now = runtime.clock.now()
    with runtime.database.transaction() as session:
        store.ensure_partitions(session, now)
        at = now - timedelta(seconds=60)
        store.add_growth(session, cache_id, {f"{name}:": counts for name, counts in growth.items()}, at)
        store.put_counts(session, cache_id, {"hits:news:": 1}, now)


def card(page: str) -> str:
    found = re.search(r'<section class="card" id="overview-prefixes".*?</section>', page, re.DOTALL)
    assert found is not None
    return found[0]


def names(page: str) -> list[str]:
    return re.findall(
        r'<a class="k mono clip"[^>]*>([^<]*)</a>|<span class="mono clip"[^>]*>([^<]*)</span>', page
    )


def test_shows_each_prefix_with_its_policy(viewer: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    news = {"hits": 600, "misses": 400, "loads": 400, "load_us": 4_000_000, "waits": 12_345, "errors": 3}
    count(runtime, cache_id, news=news)
    new = card(viewer.get(f"/caches/{cache_id}/overview?range=1h").get_data(as_text=True))
    assert "60%" in new and 'class="st crit"' not in new  # it is warming up
    pass_time(runtime, 960)
    page = card(viewer.get(f"/caches/{cache_id}/overview?range=1h").get_data(as_text=True))
    for text in ("news:", "Frequently updated", "1 h + up to 12 m", "60%", "12.3 k", "6 s", "Other keys"):
        assert text in page, text
    assert 'class="st crit"' in page and 'class="l under"' in page and "target 80%" in page
    assert "style=" not in page
    # A viewer can't open the form.
    assert f'href="/caches/{cache_id}/policies"' in page and "policies/edit" not in page


def test_operators_get_to_the_policy(operator: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    count(runtime, cache_id, news={"hits": 1})
    page = card(operator.get(f"/caches/{cache_id}/overview?range=15m").get_data(as_text=True))
    href = f"/caches/{cache_id}/policies/edit?prefix=news%3A"
    assert f'href="{href}"' in page
    assert operator.get(href).status_code == 200


def test_comes_with_each_live_round_in_the_same_order(
    viewer: FlaskClient, runtime: Runtime, cache_id: int
) -> None:
    count(runtime, cache_id, news={"hits": 1, "waits": 9}, product={"hits": 50})
    path = f"/caches/{cache_id}/overview?range=15m&sort=waits"
    whole = viewer.get(path).get_data(as_text=True)
    live = re.search(r'id="overview-live" hx-get="([^"]*)"', whole)
    assert live is not None
    part = viewer.get(live[1].replace("&amp;", "&"), headers=FRAGMENT).get_data(as_text=True)
    assert 'id="overview-prefixes" aria-labelledby="prefixes-h" hx-swap-oob="outerMorph"' in part
    for page in (whole, part):
        assert [first or second for first, second in names(card(page))] == ["news:", "product:"]
    usual = viewer.get(path.replace("&sort=waits", "")).get_data(as_text=True)
    assert [first or second for first, second in names(card(usual))] == ["product:", "news:"]


def test_an_order_that_is_none_is_refused(viewer: FlaskClient, cache_id: int) -> None:
    answer = viewer.get(f"/caches/{cache_id}/overview?sort=beauty")
    assert answer.status_code == 422 and "takes prefix" in answer.get_data(as_text=True)


def test_says_how_applications_get_counted(viewer: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    path = f"/caches/{cache_id}/overview?range=15m"
    page = viewer.get(path).get_data(as_text=True)
    assert "No application counts its reads yet" in page and "docs/library.md" in page
    assert re.search(r'<a href="/caches/\d+/keyspace">the largest prefixes', page)
    assert "by INFO" in page
    count(runtime, cache_id, news={"hits": 1})
    past = "?from=2026-03-04T09:00:00Z&to=2026-03-04T10:00:00Z"
    page = viewer.get(f"/caches/{cache_id}/overview{past}").get_data(as_text=True)
    assert "No application counted a read in this span" in page


def test_the_tile_takes_what_applications_counted(
    viewer: FlaskClient, runtime: Runtime, cache_id: int
) -> None:
    count(runtime, cache_id, news={"hits": 6_000, "misses": 600, "loads": 600})
    page = viewer.get(f"/caches/{cache_id}/overview?range=15m").get_data(as_text=True)
    assert re.search(r'<div class="sub" title="[\d.]+/s made, by counters">', page)
    assert "by INFO" not in page


def test_hostile_prefixes_stay_text(viewer: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    count(runtime, cache_id, **{'"><script>alert(1)</script>': {"hits": 5}, "\\x00\\xff": {"hits": 4}})
    page = card(viewer.get(f"/caches/{cache_id}/overview?range=15m").get_data(as_text=True))
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page and "\\x00\\xff:" in page


def test_a_page_of_very_many_prefixes_stays_small(
    viewer: FlaskClient, runtime: Runtime, cache_id: int
) -> None:
    count(runtime, cache_id, **{f"area-{number}": {"hits": 5, "misses": number} for number in range(1_500)})
    page = viewer.get(f"/caches/{cache_id}/overview?range=15m").get_data(as_text=True)
    assert len(names(card(page))) == 200
    assert "further prefixes" in card(page) and "with fewer reads, together" in card(page)
    assert len(card(page)) < 400_000


def test_publications_are_marked_on_the_charts(viewer: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    page = viewer.get(f"/caches/{cache_id}/overview?range=15m").get_data(as_text=True)
    found = re.search(r'<script type="application/json" id="series"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert found is not None
    for payload in (json.loads(found[1]), viewer.get(f"/caches/{cache_id}/series?range=15m").get_json()):
        (mark,) = payload["e"]
        assert (
            mark["title"] == "Policy published" and "v1 by " in mark["text"] and "“Less load”" in mark["text"]
        )
    pass_time(runtime, 10)
    later = viewer.get(f"/caches/{cache_id}/series?range=15m&since={payload['to'] + 5}").get_json()
    assert later["e"] == []
