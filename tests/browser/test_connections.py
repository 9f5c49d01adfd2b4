"""The Connections page in a browser: the form under the live table, with and without scripts."""

import re

import pytest
import redis
from playwright.sync_api import Browser, Page, expect

from tests.browser.helpers import cache_id
from tests.browser.test_accessibility import in_both_themes
from tests.support import live, servers
from tests.support.pages import Watched

SECRET = "hunter2-do-not-show"


def test_the_form_opens_below_the_table_and_outlives_its_refresh(
    page: Page, watched: Watched, dashboard: live.Live, axe: str
) -> None:
    with servers.redis_server() as port:
        with redis.Redis(port=port) as client:
            client.execute_command("ACL", "SETUSER", "limited", "on", f">{SECRET}", "+ping")
        page.goto("/caches")
        page.get_by_role("link", name="Add cache").click()
        expect(page).to_have_url(re.compile(r"/caches/new$"))
        expect(page.get_by_label("Name", exact=True)).to_be_focused()
        expect(page.get_by_role("table")).to_be_visible()
        page.get_by_label("Name", exact=True).fill("typed")
        page.get_by_label("URL").fill(f"redis://limited@127.0.0.1:{port}")
        page.get_by_label("Password", exact=True).fill(SECRET)
        page.get_by_role("button", name="Test connection").click()
        expect(page.get_by_text("Failed at step 3 of 5")).to_be_visible()
        expect(page.get_by_text("ACL SETUSER limited +info", exact=True)).to_be_visible()
        with page.expect_response(lambda answer: answer.url.endswith("/caches"), timeout=15_000):
            pass  # the table has refreshed itself
        expect(page.get_by_label("Name", exact=True)).to_have_value("typed")
        expect(page.get_by_label("Password", exact=True)).to_have_value(SECRET)
        expect(page.get_by_text("Failed at step 3 of 5")).to_be_visible()
        assert in_both_themes(page, watched, axe) == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_label("Poll every").fill("1")
    page.get_by_role("button", name="Add cache").click()
    expect(page.get_by_role("alert")).to_contain_text("1 s is outside 5 to 3600 s.")
    expect(page.get_by_label("Poll every")).to_be_focused()
    expect(page.get_by_label("Name", exact=True)).to_have_value("typed")
    assert SECRET not in page.content()
    assert in_both_themes(page, watched, axe) == []


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_cache_comes_changes_and_goes(
    chromium: Browser, dashboard: live.Live, signed_in: dict[str, object], has_scripts: bool
) -> None:
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        java_script_enabled=has_scripts,
        viewport={"width": 390, "height": 844},
    )
    page = context.new_page()
    name = f"journey-{'with' if has_scripts else 'without'}"
    page.goto("/caches")
    page.get_by_role("link", name="Add cache").click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("URL").fill(dashboard.valkey_url)
    page.get_by_role("button", name="Test connection").click()
    expect(page.get_by_text("Works", exact=True)).to_be_visible()
    if not has_scripts:
        # The whole page came back, and a password never does.
        expect(page.get_by_text("Type it again: a password is never sent back.")).to_be_visible()
    page.get_by_label("URL").fill(dashboard.valkey_url)
    page.get_by_role("button", name="Add cache").click()
    expect(page.get_by_text(f"{name} is connected.")).to_be_visible()

    page.get_by_role("link", name=f"Edit {name}").click()
    expect(page.get_by_label("Password", exact=True)).to_have_value("")
    page.get_by_label("URL").fill("redis://localhost:1/0")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_role("alert")).to_contain_text("Type the password again")
    page.get_by_role("link", name="Close").click()

    page.get_by_role("link", name=f"Edit {name}").click()
    page.get_by_role("link", name="Remove cache").click()
    page.get_by_role("button", name=re.compile("^Remove")).click()
    expect(page.get_by_text(f"Type {name} to remove this production cache.")).to_be_visible()
    page.get_by_label(f"Type {name} to remove it").fill(name)
    page.get_by_role("button", name=re.compile("^Remove")).click()
    expect(page.get_by_text(f"{name} is removed.")).to_be_visible()
    expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    context.close()


def test_another_administrator_was_faster(
    page: Page, dashboard: live.Live, chromium: Browser, signed_in: dict[str, object]
) -> None:
    path = f"/caches/{cache_id(dashboard)}/edit"
    page.goto(path)
    other = chromium.new_page(base_url=dashboard.url, storage_state=signed_in)  # type: ignore[arg-type]
    other.goto(path)
    other.get_by_label("Hit ratio target").fill("70")
    other.get_by_role("button", name="Save changes").click()
    expect(other.get_by_text("is saved.")).to_be_visible()
    page.get_by_label("Hit ratio target").fill("75")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("Hit ratio target is now 70%; this form has 75%.")).to_be_visible()
    expect(page.get_by_label("Hit ratio target")).to_have_value("75")
    page.get_by_label("Hit ratio target").fill("80")
    page.get_by_role("button", name="Save changes").click()
    expect(page.get_by_text("is saved.")).to_be_visible()
    other.close()
