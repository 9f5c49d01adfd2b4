"""Accounts and audit log, as people use them in a browser."""

import re

from playwright.sync_api import Browser, Page, expect

from tests.browser.test_accessibility import in_both_themes
from tests.support import live
from tests.support.pages import Watched

FIRST, SECOND = "a first long password", "a second long password"


def test_the_life_of_an_account(page: Page, chromium: Browser, dashboard: live.Live) -> None:
    """Added, signed in to where one wanted to go, password changed, given a role, shut out at once."""
    page.goto("/users")
    page.get_by_role("link", name="Add user").click()
    expect(page.get_by_label("Name")).to_be_focused()
    page.get_by_label("Name").fill("journey-desk")
    page.get_by_label("Password").fill(FIRST)
    page.get_by_role("button", name="Add user").click()
    expect(page.get_by_role("status").filter(has_text="journey-desk can sign in now.")).to_be_visible()

    context = chromium.new_context(base_url=dashboard.url)
    theirs = context.new_page()
    watched = Watched(theirs, dashboard.url)
    theirs.goto("/account")
    theirs.get_by_label("Username").fill("journey-desk")
    theirs.get_by_label("Password", exact=True).fill("wrong password")
    theirs.get_by_role("button", name="Sign in").click()
    expect(theirs.get_by_role("alert")).to_contain_text("4 tries left")
    expect(theirs.get_by_label("Password", exact=True)).to_be_focused()
    theirs.get_by_label("Password", exact=True).fill(FIRST)
    theirs.keyboard.press("Enter")
    expect(theirs).to_have_url(re.compile("/account$"))

    theirs.get_by_label("Current password").fill(FIRST)
    theirs.get_by_label("New password", exact=True).fill(SECOND)
    theirs.get_by_label("New password again").fill(SECOND)
    theirs.get_by_role("button", name="Change password").click()
    expect(theirs.get_by_text("Password changed.")).to_be_visible()

    page.get_by_role("link", name="Edit journey-desk").click()
    page.get_by_text("Operator", exact=True).last.click()
    page.get_by_role("button", name="Save role").click()
    expect(page.get_by_role("row", name=re.compile("journey-desk Operator"))).to_be_visible()
    theirs.reload()
    expect(theirs).to_have_url(re.compile(r"/sign-in\?next=%2Faccount"))

    page.get_by_role("link", name="Edit journey-desk").click()
    page.get_by_role("button", name="Disable journey-desk").click()
    expect(page.get_by_role("row", name=re.compile("journey-desk Operator Disabled"))).to_be_visible()
    theirs.get_by_label("Username").fill("journey-desk")
    theirs.get_by_label("Password", exact=True).fill(SECOND)
    theirs.get_by_role("button", name="Sign in").click()
    expect(theirs.get_by_role("alert")).to_contain_text("Wrong username or password")
    context.close()
    assert watched.complaints == []


def test_reading_the_audit_log_by_keyboard(page: Page) -> None:
    """A row opens and closes in place, keeps the focus, and its address can be sent to somebody."""
    page.goto("/audit?action=auth:session:*")
    toggle = page.locator("a[id^=toggle-]").first
    toggle.focus()
    page.keyboard.press("Enter")
    details = page.get_by_role("heading", name="Details")
    expect(details).to_be_visible()
    expect(page).to_have_url(re.compile(r"open=\d+"))
    expect(toggle).to_be_focused()
    address = page.url
    page.keyboard.press("Enter")
    expect(details).to_be_hidden()
    expect(toggle).to_be_focused()
    page.goto(address)
    expect(details).to_be_visible()


def test_the_export_holds_what_the_button_says(page: Page) -> None:
    page.goto("/audit?action=auth:session:sign-in")
    button = page.get_by_role("link", name=re.compile("Export"))
    count = re.search(r"Export ([\d,]+) row", button.inner_text())
    assert count is not None
    with page.expect_download() as download:
        button.click()
    assert download.value.suggested_filename.startswith("cachewarden-audit-")
    lines = download.value.path().read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + int(count[1].replace(",", ""))


def test_no_finding_on_open_and_refused_forms(page: Page, watched: Watched, axe: str) -> None:
    """The states of these pages that no link leads to."""
    page.goto("/users")
    page.get_by_role("link", name="Edit admin").click()
    assert in_both_themes(page, watched, axe) == []
    page.goto("/users/new")
    page.get_by_label("Name").fill("no blanks")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Add user").click()
    expect(page.get_by_role("alert")).to_contain_text("The account was not added.")
    assert in_both_themes(page, watched, axe) == []
    page.goto("/audit")
    page.locator("a[id^=toggle-]").first.click()
    page.get_by_role("heading", name="Details").wait_for()
    assert in_both_themes(page, watched, axe) == []
    page.goto("/audit?from=yesterday")
    assert in_both_themes(page, watched, axe) == []
