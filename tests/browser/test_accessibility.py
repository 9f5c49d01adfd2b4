"""WCAG 2.2 AA by axe-core on every page, in both themes; nothing scrolls sideways at any width."""

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.helpers import cache_id
from tests.support import live
from tests.support.pages import Watched, pages

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NAMES = list(pages(0))


def findings(page: Page, axe: str) -> list[str]:
    # The page's own policy forbids added scripts; evaluating in the page's context is the test's privilege.
    page.evaluate(axe)
    result = page.evaluate("tags => axe.run(document, {runOnly: tags})", TAGS)
    return [
        f"{found['id']}: {node['target']} {node.get('failureSummary', '')[:200]}"
        for found in result["violations"]
        for node in found["nodes"][:3]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", NAMES)
def test_no_finding(page: Page, dashboard: live.Live, axe: str, name: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.goto(pages(cache_id(dashboard))[name])
    page.wait_for_load_state("networkidle")
    assert findings(page, axe) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_finding_on_the_sign_in_page(chromium: Browser, dashboard: live.Live, axe: str, theme: str) -> None:
    page = chromium.new_page(base_url=dashboard.url, color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    watched = Watched(page, dashboard.url)
    page.goto("/sign-in")
    assert findings(page, axe) == []
    page.get_by_label("Username").fill("nobody")
    page.get_by_label("Password", exact=True).fill("wrong password here")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    assert findings(page, axe) == []
    page.close()
    assert watched.complaints == []


@pytest.mark.parametrize("width", [390, 768, 1024, 1280, 1920])
def test_nothing_scrolls_sideways(page: Page, dashboard: live.Live, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for name, path in pages(cache_id(dashboard)).items():
        page.goto(path)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
