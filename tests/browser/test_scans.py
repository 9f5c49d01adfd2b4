"""Scans in a browser: begun, followed, cancelled, and from other pages; by keyboard, without scripts."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from dashboard.caches import service as caches
from dashboard.fleet.url import parse_url
from dashboard.keyspace import service
from dashboard.keyspace.types import ScanLimits
from dashboard.work import unit_of_work
from tests.support import live, servers

pytestmark = pytest.mark.browser

KEYS = 50_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A Redis 7 with 50,000 keys."""
    with servers.redis_server() as port:
        with redis.Redis(port=port) as client:
            for first in range(0, KEYS, 10_000):
                client.mset({f"shelf:book:{number}": "x" * 50 for number in range(first, first + 10_000)})
        yield port


@pytest.fixture
def shelf(dashboard: live.Live, port: int) -> Iterator[int]:
    """Its id as a cache of which no sample is taken by itself."""
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        form = live.cache_form(dashboard, "shelf", poll_interval_s=60)
        made = caches.create_cache(work, replace(form, url=parse_url(f"redis://127.0.0.1:{port}/0")))
        service.set_limits(work, made.id, ScanLimits(sample_every_s=0, slowest_probe_ms=1_000.0))
    yield made.id
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        caches.delete_cache(work, made.id, "shelf")


def pace(dashboard: live.Live, cache: int, keys_per_s: int) -> None:
    """No scan is faster."""
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        old = service.limits(work, cache)
        service.set_limits(work, cache, replace(old, keys_per_s=keys_per_s))


def test_a_scan_is_followed_cancelled_and_done(page: Page, dashboard: live.Live, shelf: int) -> None:
    pace(dashboard, shelf, 2_000)
    page.goto(f"/caches/{shelf}/keyspace")
    expect(page.get_by_text("No scan of this cache yet.")).to_be_visible()
    page.get_by_role("button", name="Scan all keys").click()
    panel = page.locator("#scan")
    # By itself: nobody reloads.
    expect(panel.get_by_role("progressbar")).to_be_visible(timeout=20_000)
    expect(panel).to_contain_text("of about 50 k keys")
    panel.get_by_role("button", name="Cancel scan").click()
    expect(panel.get_by_role("progressbar")).to_have_count(0, timeout=20_000)
    expect(page.get_by_text("No scan of this cache yet.")).to_be_visible()
    pace(dashboard, shelf, 20_000)
    panel.get_by_role("button", name="Scan all keys").click()
    expect(panel.get_by_role("link", name="Newer numbers: show them")).to_be_visible(timeout=30_000)
    panel.get_by_role("link", name="Newer numbers: show them").click()
    expect(page.get_by_role("row", name="shelf:")).to_contain_text("50,000")
    rows = page.get_by_role("region", name="Full scans").locator("tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("Done")
    expect(rows.last).to_contain_text("Cancelled")


def test_policies_ask_for_a_quick_look_and_come_back(page: Page, shelf: int) -> None:
    page.goto(f"/caches/{shelf}/policies")
    page.get_by_role("button", name="Quick look").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#scan")).to_contain_text("just now")
    expect(page).to_have_url(f"/caches/{shelf}/policies")
    expect(page.get_by_role("row", name="Other keys")).to_contain_text("MB")


def test_without_scripts(
    chromium: Browser, dashboard: live.Live, shelf: int, signed_in: dict[str, object]
) -> None:
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        java_script_enabled=False,
    )
    page = context.new_page()
    pace(dashboard, shelf, 2_000)
    page.goto(f"/caches/{shelf}/keyspace")
    page.get_by_role("button", name="Scan all keys").click()
    page.get_by_role("link", name="Look again").click()
    page.get_by_role("button", name="Cancel scan").click()
    expect(page.get_by_text("Where the numbers are from")).to_be_visible()
    page.goto(f"/caches/{shelf}/policies")
    expect(page.locator("#scan").get_by_role("link", name="Scans")).to_be_visible()
    context.close()
