"""WCAG 2.2 AA by axe-core on every page, in both themes; nothing scrolls sideways at any width."""

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.helpers import cache_id
from tests.support import live
from tests.support.pages import Watched, pages

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
NAMES = list(pages(0))


WIDTHS = (1920, 1280, 1024, 768, 390)


def findings(page: Page, axe: str) -> list[str]:
    result = page.evaluate(f"tags => {{ {axe}; return axe.run(document, {{runOnly: tags}}) }}", TAGS)
    return [
        f"{found['id']}: {node['target']} {node.get('failureSummary', '')[:200]}"
        for found in result["violations"]
        for node in found["nodes"][:3]
    ]


def in_both_themes(page: Page, watched: Watched, axe: str) -> list[str]:
    # axe measures with styles of its own, which the page's policy rightly blocks: what counts came before.
    assert watched.complaints == []
    found = []
    page.evaluate("scrollTo(0, 0)")  # what is scrolled half below the sticky head is called too small
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
        found += [f"{theme}: {finding}" for finding in findings(page, axe)]
    watched.complaints.clear()
    return found


@pytest.mark.parametrize("name", NAMES)
def test_no_finding_in_either_theme_and_nothing_scrolls_sideways(
    page: Page, watched: Watched, dashboard: live.Live, axe: str, name: str
) -> None:
    page.goto(pages(cache_id(dashboard))[name])
    page.wait_for_load_state("networkidle")
    assert in_both_themes(page, watched, axe) == []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_no_finding_on_the_sign_in_page(chromium: Browser, dashboard: live.Live, axe: str) -> None:
    page = chromium.new_page(base_url=dashboard.url, reduced_motion="reduce")
    watched = Watched(page, dashboard.url)
    page.goto("/sign-in")
    assert in_both_themes(page, watched, axe) == []
    page.get_by_label("Username").fill("nobody")
    page.get_by_label("Password", exact=True).fill("wrong password here")
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("alert").wait_for()
    assert in_both_themes(page, watched, axe) == []
    page.close()
