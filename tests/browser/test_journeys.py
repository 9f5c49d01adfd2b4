"""Whole journeys of an operator, in a real browser."""

import json
import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.helpers import cache_id
from tests.support import live
from tests.support.pages import Watched


def test_the_overview_is_live(page: Page, dashboard: live.Live) -> None:
    """Numbers and charts move by themselves, and stop when Live is paused."""
    page.goto(f"/caches/{cache_id(dashboard)}/overview?range=15m")
    expect(page.get_by_role("heading", level=1, name="Overview")).to_be_visible()
    page.locator(".plot canvas").nth(3).wait_for()
    tiles = page.locator("#overview-tiles")
    picture = "document.querySelector('#chart-hit-ratio canvas').toDataURL()"
    before, drawn = tiles.inner_html(), page.evaluate(picture)
    page.wait_for_function(
        "text => document.querySelector('#overview-tiles').innerHTML !== text", arg=before, timeout=20_000
    )
    page.wait_for_function(f"drawn => {picture} !== drawn", arg=drawn, timeout=20_000)
    page.locator(".live").click()
    expect(page.locator(".live")).to_have_attribute("aria-pressed", "false")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    # What was asked before still arrives.
    page.wait_for_timeout(2_000)
    paused = tiles.inner_html()
    page.wait_for_timeout(5_500)
    assert tiles.inner_html() == paused and asked == []


def test_range_and_cache_are_in_the_address(page: Page, dashboard: live.Live) -> None:
    page.goto("/")
    expect(page).to_have_url(re.compile(r"/caches/\d+/overview"))
    page.get_by_role("group", name="Time range").get_by_role("link", name="1h").click()
    expect(page).to_have_url(re.compile(r"range=1h"))
    page.reload()
    expect(page.get_by_role("group", name="Time range").locator("[aria-current]")).to_have_text("1h")


def test_dragging_over_a_chart_zooms(page: Page, dashboard: live.Live) -> None:
    page.goto(f"/caches/{cache_id(dashboard)}/overview?range=1h")
    plot = page.locator(".plot .u-over").first
    plot.wait_for()
    box = plot.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.3, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, y, steps=8)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"from=.*to="))


def test_a_theme_stays_chosen(page: Page, dashboard: live.Live) -> None:
    page.goto("/caches")
    page.locator("label[title='dark theme']").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_keyboard_alone_is_enough(page: Page, dashboard: live.Live) -> None:
    page.goto("/caches")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page).to_have_url(re.compile(r"/overview"))


def test_connecting_a_cache(page: Page, dashboard: live.Live) -> None:
    """Add with a wrong address, read what is wrong, correct it, see it in the list."""
    page.goto("/caches/new")
    page.get_by_label("Name").fill("journey")
    page.get_by_label("URL").fill("redis://127.0.0.1:1/0")
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text(re.compile("refused", re.IGNORECASE)).first).to_be_visible()
    page.get_by_label("URL").fill(dashboard.valkey_url)
    page.get_by_role("button", name="Add cache").click()
    expect(page).to_have_url(re.compile(r"/caches"))
    expect(page.get_by_role("link", name="journey").first).to_be_visible()
    assert dashboard.valkey_url.split("@")[0].rpartition(":")[2] not in page.content()


def test_signing_out_ends_the_live_page_too(chromium: Browser, dashboard: live.Live) -> None:
    from tests.support.pages import sign_in

    context = chromium.new_context(base_url=dashboard.url)
    page = context.new_page()
    watched = Watched(page, dashboard.url)
    sign_in(page, dashboard.url, "admin", live.PASSWORD)
    page.goto(f"/caches/{cache_id(dashboard)}/overview?range=15m")
    other = context.new_page()
    other.goto("/caches")
    other.get_by_role("button", name="Sign out").click()
    other.wait_for_url(re.compile("/sign-in"))
    # Charts and panels ask on their own: the second answer may take the way there over from the first.
    expect(page).to_have_url(re.compile("/sign-in"), timeout=20_000)
    context.close()
    assert watched.complaints == []


@pytest.mark.parametrize("path", ["/caches", "/users", "/audit"])
def test_pages_work_without_scripts(
    chromium: Browser, dashboard: live.Live, signed_in: dict[str, object], path: str
) -> None:
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        java_script_enabled=False,
    )
    page = context.new_page()
    answer = page.goto(path)
    assert answer is not None and answer.status == 200
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    context.close()


def test_marks_of_events_close_together_do_not_cover_each_other(page: Page, dashboard: live.Live) -> None:
    address = f"/caches/{cache_id(dashboard)}/overview?range=15m"
    page.goto(address)
    main = page.locator("#chart-hit-ratio .u-over")
    main.wait_for()
    width = main.evaluate("plot => plot.clientWidth")

    def with_events(route: Route) -> None:
        if route.request.resource_type != "document":
            return route.continue_()  # a live round
        answer = route.fetch()
        text = answer.text()
        found = re.search(
            r'(<script type="application/json" id="series"[^>]*>)(.*?)</script>', text, re.DOTALL
        )
        assert found is not None
        series = json.loads(found[2])
        # The first two share a mark in their middle, which the third would cover; the last stands apart.
        series["e"] = [
            {"t": series["from"] + (100 + pixels) * (series["to"] - series["from"]) / width, "title": "Policy",
             "text": str(pixels), "icon": "pencil", "rank": 1}
            for pixels in (0, 25, 27, 200)
        ]  # fmt: skip
        return route.fulfill(response=answer, body=text.replace(found[2], json.dumps(series)))

    page.route("**/overview?range=15m", with_events)
    page.goto(address)
    marks = page.locator("#chart-hit-ratio .mark")
    expect(marks).to_have_count(2)
    boxes = [box for mark in marks.all() if (box := mark.bounding_box()) is not None]
    left, right = sorted(boxes, key=lambda box: box["x"])
    assert right["x"] >= left["x"] + left["width"]


def test_on_a_phone_the_prefixes_come_before_the_small_charts(page: Page, dashboard: live.Live) -> None:
    page.goto(f"/caches/{cache_id(dashboard)}/overview?range=15m")

    def top(selector: str) -> float:
        box = page.locator(selector).bounding_box()
        assert box is not None
        return box["y"]

    assert top("#overview-prefixes") > top(".grid.later")
    page.set_viewport_size({"width": 390, "height": 844})
    assert top("#overview-prefixes") < top(".grid.later")
