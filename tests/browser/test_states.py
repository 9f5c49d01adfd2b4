"""What a page says of itself while it is open: live, paused, lost, in the past; and what stays open."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.helpers import cache_id
from tests.support import live
from tests.support.pages import Watched


def overview(dashboard: live.Live, query: str = "range=15m") -> str:
    return f"/caches/{cache_id(dashboard)}/overview?{query}"


def test_paused_is_said(page: Page, dashboard: live.Live) -> None:
    page.goto(overview(dashboard))
    button = page.locator(".live")
    assert button.inner_text().split() == ["Live", "every", "5", "s"]
    button.click()
    assert button.inner_text().strip() == "Paused"
    button.click()
    assert button.inner_text().startswith("Live")


def test_a_dashboard_that_does_not_answer_is_not_called_live(
    page: Page, watched: Watched, dashboard: live.Live
) -> None:
    page.goto(overview(dashboard))
    button = page.locator(".live")
    page.route("**/overview*", lambda route: route.abort())
    expect(page.get_by_text("Cachewarden does not answer.")).to_be_visible(timeout=20_000)
    assert button.inner_text().startswith("Not live")
    # htmx says so in the console too, and nothing else does.
    assert all("htmx:error: Failed to fetch" in complaint for complaint in watched.complaints)
    watched.complaints.clear()
    page.unroute("**/overview*")
    expect(page.get_by_text("Cachewarden does not answer.")).to_be_hidden(timeout=20_000)
    assert button.inner_text().startswith("Live")


def test_checks_that_were_unfolded_stay_open(page: Page, dashboard: live.Live) -> None:
    page.goto(overview(dashboard))
    page.locator("#verdicts-fine > summary").click()
    before = page.locator("#overview-tiles").inner_html()
    page.wait_for_function(
        "text => document.querySelector('#overview-tiles').innerHTML !== text", arg=before, timeout=20_000
    )
    expect(page.locator("#verdicts-fine li").first).to_be_visible()


def test_a_past_span_leads_back(page: Page, dashboard: live.Live) -> None:
    page.goto(overview(dashboard, "from=2026-01-05T22:00&to=2026-01-06T06:00"))
    expect(page.locator(".live")).to_have_count(0)
    page.get_by_role("link", name="Past span").click()
    expect(page.locator(".live")).to_be_visible()
    assert "from=" not in page.url


def test_a_refused_span_can_be_mended(page: Page, dashboard: live.Live) -> None:
    page.goto(overview(dashboard, "from=2026-01-06T06:00&to=2026-01-05T22:00"))
    form = page.get_by_role("form", name="Custom time range")
    expect(form.get_by_label("To, UTC")).to_be_focused()
    expect(form.get_by_label("From, UTC")).to_have_value("2026-01-06T06:00")
    form.get_by_label("To, UTC").fill("2026-01-06T07:00")
    form.get_by_role("button", name="Show span").click()
    expect(page.get_by_text("Past span.")).to_be_visible()


def test_the_help_lists_what_works_here(page: Page, dashboard: live.Live) -> None:
    for path, is_listed in ((overview(dashboard), False), ("/audit", True)):
        page.goto(path)
        page.keyboard.press("?")
        expect(page.get_by_role("dialog")).to_be_visible()
        expect(page.get_by_text("Search on this page")).to_be_visible(visible=is_listed)


def test_a_cache_that_was_removed_meanwhile(page: Page, watched: Watched, dashboard: live.Live) -> None:
    """The page does not stand there with old numbers."""
    page.goto(f"/caches/{cache_id(dashboard)}/clients")
    page.route(
        re.compile(r"/clients$"),
        lambda route: route.continue_(url=f"{dashboard.url}/caches/4711/clients"),
    )
    expect(page.get_by_role("heading", level=1, name="Not found")).to_be_visible(timeout=20_000)
    expect(page.get_by_role("navigation", name="Main")).to_be_visible()


@pytest.mark.parametrize(
    ("path", "asks", "panel"),
    [
        ("invalidate", "**/invalidate/live?**", "#invalidation-live"),
        ("policies", "**/policies/live?**", "#policies-live"),
        ("clients", "**/clients", "#monitoring-clients"),
        ("keyspace", "**/keyspace/panel?**", "#scan"),
    ],
)
def test_a_panel_outlives_an_answer_it_can_make_nothing_of(
    page: Page, watched: Watched, dashboard: live.Live, path: str, asks: str, panel: str
) -> None:
    """It keeps what it showed, the page says that it is not live, and goes on when the server does."""
    page.goto(f"/caches/{cache_id(dashboard)}/{path}")
    element = page.locator(panel)
    expect(element).to_be_visible()
    # As when the database is away: our own error, in a fragment.
    page.route(asks, lambda route: route.continue_(url=f"{dashboard.url}/audit?before=x"))
    expect(page.get_by_text("Cachewarden does not answer.")).to_be_visible(timeout=30_000)
    expect(element).to_be_visible()
    assert page.locator(".live").inner_text().startswith("Not live")
    page.unroute(asks)
    expect(page.get_by_text("Cachewarden does not answer.")).to_be_hidden(timeout=30_000)
    expect(element).to_be_visible()
    assert all("status of 4" in complaint for complaint in watched.complaints)
    watched.complaints.clear()


@pytest.mark.parametrize("width", [1440, 1280, 1024, 390])
def test_the_table_of_prefixes_is_not_cut(page: Page, dashboard: live.Live, width: int) -> None:
    """Names of usual length: longer ones scroll."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(overview(dashboard))
    table = page.locator("#overview-prefixes .tbl")
    assert table.evaluate("box => box.scrollWidth - box.clientWidth") <= 0
    heads = page.locator("#overview-prefixes thead th")
    names = {head.strip() for head in heads.all_inner_texts() if head.strip()}
    assert {"Prefix", "Hit ratio", "Reads/s"} <= names
