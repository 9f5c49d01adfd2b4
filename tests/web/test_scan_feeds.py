"""What a scan found, on the pages that show it: memory and drift beside each policy, and the way to change drift."""

import re
from datetime import timedelta
from html import unescape

import pytest
from flask.testing import FlaskClient

from dashboard.invalidation.types import SelectBy
from dashboard.keyspace.types import Conformance, Estimate, Kind
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import purges
from tests.support.polled import polled_cache
from tests.support.snapshots import keep, snapshot
from tests.support.some_policies import publish, stage


@pytest.fixture
def cache_id(runtime: Runtime, valkey_url: str) -> int:
    """A polled cache with policies for two prefixes."""
    cache = polled_cache(runtime, valkey_url)
    stage(runtime, cache.id, "product:")
    stage(runtime, cache.id, "session:")
    publish(runtime, cache.id, "Less load")
    return cache.id


@pytest.fixture
def scanned(runtime: Runtime, clock: FixedClock, cache_id: int) -> int:
    """The same, scanned three minutes ago: of 5,000 sessions two have no TTL."""
    keep(runtime, snapshot(cache_id, clock.now() - timedelta(minutes=3)))
    return cache_id


def get(browser: FlaskClient, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return answer.get_data(as_text=True)


def row(page: str, prefix: str) -> str:
    """The table's row of a prefix."""
    found = [part for part in re.findall(r"<tr.*?</tr>", page, re.DOTALL) if f">{prefix}<" in part]
    assert found, prefix
    return found[0]


@pytest.mark.parametrize("where", ["policies", "overview?range=15m"])
def test_memory_and_drift_beside_each_policy(operator: FlaskClient, scanned: int, where: str) -> None:
    page = get(operator, f"/caches/{scanned}/{where}")
    session, product = row(page, "session:"), row(page, "product:")
    assert "488.3 KB" in session and "&lt;0.1%" in session and "2 of 5,000 keys break it" in session
    assert "1.9 MB" in product and "break it" not in product
    assert "3 m ago" in page


def test_before_a_scan_it_is_offered(operator: FlaskClient, cache_id: int) -> None:
    page = get(operator, f"/caches/{cache_id}/policies")
    assert "Memory and drift come with the first scan." in page
    assert f"/caches/{cache_id}/keyspace" in page


@pytest.mark.parametrize("where", ["policies", "overview?range=15m"])
def test_drift_leads_to_the_form_that_applies_the_policy(
    operator: FlaskClient, viewer: FlaskClient, scanned: int, where: str
) -> None:
    session = row(get(operator, f"/caches/{scanned}/{where}"), "session:")
    (href,) = re.findall(r'href="([^"]*invalidate[^"]*)"', session)
    form = get(operator, unescape(href))
    assert re.search(r'name="prefix"[^>]*value="session:"', form)
    assert re.search(r'name="action"[^>]*value="policy"[^>]*checked', form)
    assert "/invalidate?" not in row(get(viewer, f"/caches/{scanned}/{where}"), "session:")


def test_drift_of_other_keys_leads_to_where_it_is_explained(
    operator: FlaskClient, viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache_id: int
) -> None:
    other = Conformance(
        "", Estimate(4), Estimate(1e6), Estimate(0.0), Estimate(1.0), examples=((b"report:visitors", 900.0),)
    )
    keep(runtime, snapshot(cache_id, clock.now(), policies=(other,)))
    default = row(get(operator, f"/caches/{cache_id}/overview?range=15m"), "Other keys")
    href = f"/caches/{cache_id}/policies/edit?prefix="
    assert f'href="{href}" title="1 of 4 keys break it: see which."' in default
    assert "report:visitors" in get(operator, href)
    default = row(get(viewer, f"/caches/{cache_id}/overview?range=15m"), "Other keys")
    assert f'href="/caches/{cache_id}/policies" title="1 of 4 keys break it: see which."' in default


def test_policies_that_drift_are_found_and_come_first(viewer: FlaskClient, scanned: int) -> None:
    def names(query: str) -> list[str]:
        page = get(viewer, f"/caches/{scanned}/policies?{query}")
        return re.findall(r'<span class="mono up clip"[^>]*>([^<]*)<', page)

    assert names("show=drifting") == ["session:"]
    assert names("sort=drift") == ["session:", "product:"]
    assert names("sort=memory") == ["product:", "session:"]


def test_of_a_policy_that_is_newer_than_the_scan_nothing_is_known(
    operator: FlaskClient, runtime: Runtime, scanned: int
) -> None:
    stage(runtime, scanned, "cart:")
    page = get(operator, f"/caches/{scanned}/policies")
    assert "action=policy" not in row(page, "cart:")  # it is not published
    publish(runtime, scanned, "Carts")
    cart = row(get(operator, f"/caches/{scanned}/policies"), "cart:")
    assert cart.count(">n/a<") >= 2 and ">0<" not in cart
    (href,) = re.findall(r'href="([^"]*invalidate[^"]*)"', cart)
    assert "prefix=cart%3A" in href and "action=policy" in href


def test_before_a_policy_is_published_no_key_breaks_one(
    operator: FlaskClient, runtime: Runtime, clock: FixedClock, valkey_url: str
) -> None:
    cache_id = polled_cache(runtime, valkey_url).id
    found = Conformance("", Estimate(500.0), Estimate(5e5), Estimate(500.0), Estimate(0.0))
    keep(runtime, snapshot(cache_id, clock.now(), policy_version=0, policies=(found,)))
    keys = get(operator, f"/caches/{cache_id}/keys")
    assert "none was published" in keys and "break their policy" not in keys
    policies = get(operator, f"/caches/{cache_id}/policies")
    assert "break it" not in policies and "488.3 KB" in policies and "No policy is published" in policies


def test_the_form_of_a_policy_shows_keys_that_break_it(operator: FlaskClient, scanned: int) -> None:
    page = get(operator, f"/caches/{scanned}/policies/edit?prefix=session%3A")
    assert "Keys that break it" in page and "2 without a TTL" in page and "a full scan, 3 m ago" in page
    assert r"session:\xff&lt;b&gt;" in page and "no TTL" in page and "Apply to existing keys" in page
    assert "Keys that break it" not in get(operator, f"/caches/{scanned}/policies/edit?prefix=product%3A")


def test_an_estimate_says_so(viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache_id: int) -> None:
    found = Conformance(
        "session:", Estimate(5e6, 1e5), Estimate(1e9, 3 * 1_048_576), Estimate(5e5, 1e4), Estimate(0.0)
    )
    keep(runtime, snapshot(cache_id, clock.now(), kind=Kind.SAMPLE, looked_at=20_000, policies=(found,)))
    session = row(get(viewer, f"/caches/{cache_id}/policies"), "session:")
    assert "10.0%" in session and "about 500,000 of 5,000,000 keys break it" in session
    assert "Estimated, ±3 MB" in session
    # No key of the other prefix was seen.
    assert ">0<" in row(get(viewer, f"/caches/{cache_id}/policies"), "product:")


def test_a_read_only_cache_offers_no_change(operator: FlaskClient, runtime: Runtime, scanned: int) -> None:
    with runtime.database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE cache SET read_only = true")
    for where in ("policies", "overview?range=15m", "policies/edit?prefix=session%3A"):
        page = get(operator, f"/caches/{scanned}/{where}")
        assert "action=policy" not in page, where


def test_a_purge_shows_what_the_last_scan_says_before_it_is_counted(
    operator: FlaskClient, runtime: Runtime, scanned: int
) -> None:
    number = purges.draft(runtime, scanned, purges.plan("session:")).number
    words = "A scan 3 m ago found 5,000 keys, 488.3 KB with this prefix."
    assert words in get(operator, f"/caches/{scanned}/invalidate?purge={number}")
    counted = purges.counted(runtime, scanned, purges.plan("session:"))
    assert words in get(operator, f"/caches/{scanned}/invalidate?purge={counted.number}")
    # It knows nothing of prefixes that end elsewhere, and of keys that are chosen otherwise.
    for plan in (purges.plan("sess"), purges.plan("session:*", SelectBy.PATTERN)):
        number = purges.draft(runtime, scanned, plan).number
        assert "with this prefix" not in get(operator, f"/caches/{scanned}/invalidate?purge={number}")
