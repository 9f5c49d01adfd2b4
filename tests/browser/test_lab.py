"""The lab in a browser: a run begun, followed to its end, stopped; what it found in both themes; without scripts."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.lab import service
from dashboard.lab.types import Run
from dashboard.work import unit_of_work
from tests.browser.test_accessibility import WIDTHS, in_both_themes
from tests.support import live, tiny
from tests.support.pages import Watched
from tests.support.polling import wait_until

pytestmark = pytest.mark.browser
SLOW_MS = 60_000


@pytest.fixture(autouse=True)
def catalogue(dashboard: live.Live) -> Iterator[None]:
    with tiny.registered("passes", "fails", "waits"):
        yield
        with unit_of_work(dashboard.runtime, live.ACTOR) as work:
            service.cancel_all(work)
        wait_until(lambda: not _open(dashboard), "nothing of it runs any more")


def _open(dashboard: live.Live) -> list[Run]:
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        return service.list_open(work)


def test_a_run_is_followed_to_its_end_while_another_one_waits(page: Page) -> None:
    page.goto("/lab")
    passes = page.get_by_role("region", name="One that passes")
    waits = page.get_by_role("region", name="One that waits")
    waits.get_by_role("button", name="Run").click()
    passes.get_by_role("button", name="Run").click()
    expect(waits.get_by_text("Waiting", exact=True)).to_be_visible(timeout=SLOW_MS)
    expect(waits.locator("progress")).to_have_attribute("value", "250")
    expect(passes.get_by_text("Waits for a worker")).to_be_visible()
    waits.get_by_role("button", name="Stop").click()
    expect(waits.get_by_text("Stopped")).to_be_visible(timeout=SLOW_MS)
    # Nobody reloads the page: its rounds bring it.
    expect(passes.get_by_text("Passed")).to_be_visible(timeout=SLOW_MS)
    expect(passes.get_by_role("cell", name="38 ms")).to_be_visible()
    expect(page.locator("[data-live]")).to_have_attribute("data-live", "10")


def test_the_keyboard_goes_on_from_the_card_whose_run_was_pressed(page: Page) -> None:
    page.goto("/lab")
    waits = page.get_by_role("region", name="One that waits")
    waits.get_by_role("button", name="Run").press("Enter")
    stop = waits.get_by_role("button", name="Stop")
    expect(stop).to_be_visible(timeout=SLOW_MS)
    expect(waits.locator("progress")).to_have_attribute("value", "250", timeout=SLOW_MS)
    # Rounds have brought the card anew meanwhile.
    expect(waits.locator("h2")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(stop).to_be_focused()
    stop.press("Enter")


def test_its_own_page_shows_what_was_found_as_soon_as_it_is_there(page: Page) -> None:
    page.goto("/lab/fails")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_text("Does not hold:").first).to_be_attached(timeout=SLOW_MS)
    expect(page.get_by_role("row", name="Page p95 840 ms 500 ms")).to_be_visible()
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("heading", name="Beside an earlier run")).to_be_visible(timeout=SLOW_MS)
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_role("cell", name="same").first).to_be_visible()
    page.get_by_role("link", name="Past runs").click()
    expect(page.get_by_role("row", name="One that fails").first).to_be_visible()


def test_cards_with_numbers_in_both_themes_and_at_any_width(page: Page, watched: Watched, axe: str) -> None:
    page.goto("/lab")
    page.get_by_role("button", name="Run all").click()
    for name, word in (("passes", "Passed"), ("fails", "Failed check")):
        card = page.get_by_role("region", name=f"One that {name}")
        expect(card.get_by_text(word)).to_be_visible(timeout=SLOW_MS)
    for address in ("/lab", "/lab/fails", "/lab/runs"):
        page.goto(address)
        assert in_both_themes(page, watched, axe) == []
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_timeout(100)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (address, width)


def test_without_scripts(chromium: Browser, dashboard: live.Live, signed_in: dict[str, object]) -> None:
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        java_script_enabled=False,
    )
    page = context.new_page()
    page.goto("/lab")
    waits = page.get_by_role("region", name="One that waits")
    waits.get_by_role("button", name="Run").click()
    expect(waits.get_by_role("link", name="Look again")).to_be_visible()
    waits.get_by_role("button", name="Stop").click()
    context.close()
