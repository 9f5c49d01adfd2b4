"""Policies in a browser: edited, published, followed by an application that was started on its own."""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from dashboard.policies import service
from dashboard.work import unit_of_work
from tests.browser.helpers import cache_id
from tests.browser.test_accessibility import in_both_themes
from tests.support import live, servers
from tests.support.pages import Watched

pytestmark = pytest.mark.browser

# A key every 20 ms, each written once; what it prints is the key's number and when it was written.
APPLICATION = """
import itertools, sys, time
from dashboard.caching import Cache
cache = Cache(sys.argv[1])
for number in itertools.count():
    cache.get_or_load(f"journal:{number}", lambda: {"number": number})
    print(number, time.time(), flush=True)
    time.sleep(0.02)
"""


@pytest.fixture
def path(dashboard: live.Live) -> str:
    return f"/caches/{cache_id(dashboard)}/policies"


@pytest.fixture
def unpublished(dashboard: live.Live) -> Iterator[None]:
    """Nothing staged is left over for the next test."""
    yield
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        draft = service.draft_page(work, cache_id(dashboard)).draft
        service.discard_draft(work, cache_id(dashboard), revision=draft.revision)


def fill(page: Page, prefix: str, ttl: str, unit: str, jitter: str, jitter_unit: str) -> None:
    """Type a policy of the tier for frequently updated keys."""
    page.get_by_role("textbox", name="Prefix").fill(prefix)
    page.get_by_label("Tier", exact=True).select_option("frequently-updated")
    page.get_by_label("TTL", exact=True).fill(ttl)
    page.get_by_label("Unit of TTL").select_option(unit)
    page.get_by_role("textbox", name="Jitter, up to").fill(jitter)
    page.get_by_label("Unit of Jitter").select_option(jitter_unit)


def publish(page: Page, reason: str) -> None:
    """Publish what is staged, from the page of policies."""
    page.get_by_role("link", name="Review and publish").click()
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name="Publish v").click()
    expect(page.get_by_text("is published.")).to_be_visible()


def ttl_s(url: str, key: str) -> int:
    """What the server itself says, by its own command line."""
    program = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if program is None:
        servers.skip_or_fail("CACHEWARDEN_REQUIRE_REDIS", "neither redis-cli nor valkey-cli is installed")
    assert program is not None
    server = urlsplit(url)
    said = subprocess.run(
        [program, "-h", str(server.hostname), "-p", str(server.port), "TTL", key],
        env={**os.environ, "REDISCLI_AUTH": unquote(server.password or "")},
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return int(said.stdout)


def test_an_edit_changes_what_a_running_application_writes_within_a_second(
    page: Page, dashboard: live.Live, path: str, tmp_path: Path
) -> None:
    written = tmp_path / "written"
    with written.open("wb") as output:
        application = subprocess.Popen(
            [sys.executable, "-c", APPLICATION, dashboard.valkey_url], stdout=output
        )
        try:
            page.goto(path)
            page.get_by_role("link", name="Add policy").click()
            fill(page, "journal:", "1", "h", "20", "%")
            page.get_by_role("button", name="Stage policy").click()
            expect(page.get_by_text("is staged, not yet in force")).to_be_visible()
            publish(page, "Journals may be an hour old")
            time.sleep(1.5)
            follows_within_a_second(dashboard, written)
            page.goto(f"{path}/instances")
            row = page.get_by_role("row", name=re.compile(str(application.pid)))
            expect(row).to_contain_text("Applied", timeout=30_000)  # with one of its next heartbeats
        finally:
            application.kill()
            application.wait(10)


def follows_within_a_second(dashboard: live.Live, written: Path) -> None:
    """What was written up to the publishing has the TTL of before; what was written a second later has the new one."""
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        published_at = service.policies_page(work, cache_id(dashboard)).frame.published_at
    assert published_at is not None
    lines = [line.split() for line in written.read_text().splitlines() if line.count(" ") == 1]
    times = {int(number): float(at) - published_at.timestamp() for number, at in lines}
    before = [number for number, at in times.items() if -1 < at < -0.1]
    late = [number for number, at in times.items() if at > 1]
    assert before and late
    for number in (before[0], before[-1]):
        assert 0 < ttl_s(dashboard.valkey_url, f"journal:{number}") <= 75
    for number in (late[0], late[len(late) // 2], late[-1]):
        # 1 h + up to 12 m, less the seconds since.
        assert 3600 - 30 <= ttl_s(dashboard.valkey_url, f"journal:{number}") <= 3600 + 720


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_policy_is_made_changed_reverted_and_removed(
    chromium: Browser,
    dashboard: live.Live,
    signed_in: dict[str, object],
    path: str,
    has_scripts: bool,
) -> None:
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        java_script_enabled=has_scripts,
        viewport={"width": 390, "height": 844},
        reduced_motion="reduce",
    )
    page = context.new_page()
    prefix = f"journey-{'with' if has_scripts else 'without'}:"
    page.goto(path)
    page.get_by_role("link", name="Add policy").click()
    fill(page, prefix, "8", "h", "0", "s")
    if not has_scripts:
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_role("textbox", name="Prefix")).to_have_value(prefix)
    page.get_by_role("button", name="Stage policy").click()
    expect(page.get_by_role("alert")).to_contain_text("Not staged.")
    expect(page.get_by_text("8 h is outside this tier. Enter 1 to 6 h")).to_be_visible()
    expect(page.get_by_role("textbox", name="Prefix")).to_have_value(prefix)
    if has_scripts:
        expect(page.get_by_label("TTL", exact=True)).to_be_focused()
    page.get_by_label("TTL", exact=True).fill("2")
    page.get_by_role("button", name="Stage policy").click()
    publish(page, "A new one")

    page.get_by_role("button", name=f"Edit policy for {prefix}").click()
    expect(page.get_by_label("TTL", exact=True)).to_have_value("2")
    page.get_by_label("TTL", exact=True).fill("3")
    page.get_by_role("button", name="Stage change").click()
    page.get_by_role("link", name="Review and publish").click()
    page.get_by_role("button", name="Publish v").click()
    expect(page.get_by_role("alert")).to_contain_text("Say why in a few words.")
    page.get_by_label("Reason").fill("Less load")
    page.get_by_role("button", name="Publish v").click()
    expect(page.get_by_role("row", name=re.compile(prefix))).to_contain_text("3 h")

    page.get_by_role("link", name="Versions").click()
    page.get_by_role("button", name="Compare the two chosen").click()
    expect(page.get_by_text("- TTL: 2 h")).to_be_visible()
    expect(page.get_by_text("+ TTL: 3 h")).to_be_visible()
    page.get_by_role("main").get_by_role("link", name=re.compile("^v")).first.click()
    page.get_by_label("Reason").fill("It was better")
    page.get_by_role("button", name="Revert to v").click()
    expect(page.get_by_role("row", name=re.compile(prefix))).to_contain_text("2 h")

    page.get_by_role("button", name=f"Edit policy for {prefix}").click()
    page.get_by_role("button", name="Stage removal").click()
    expect(page.get_by_text("It stays in force until that is published.")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile(prefix))).to_contain_text("Removal staged")
    publish(page, "The journey ends")
    expect(page.get_by_role("row", name=re.compile(prefix))).to_have_count(0)
    context.close()


def test_one_form_is_open_and_escape_gives_the_focus_back(
    page: Page, watched: Watched, path: str, axe: str
) -> None:
    page.goto(path)
    page.get_by_role("button", name="Edit policy for Other keys").press("Enter")
    expect(page).to_have_url(re.compile(r"/edit\?prefix=$"))
    form = page.get_by_role("form", name="Edit policy other keys")
    expect(form).to_be_visible()
    page.get_by_role("link", name="Add policy").click()
    expect(page.get_by_role("form", name="New policy")).to_be_visible()
    expect(form).to_have_count(0)
    expect(page.get_by_role("textbox", name="Prefix")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.get_by_role("form", name="New policy")).to_have_count(0)
    expect(page.get_by_role("link", name="Add policy")).to_be_focused()
    page.get_by_role("button", name="Edit policy for Other keys").press("Enter")
    expect(form).to_be_visible()
    page.get_by_label("TTL", exact=True).focus()
    page.keyboard.press("Escape")
    expect(form).to_have_count(0)
    expect(page.get_by_role("button", name="Edit policy for Other keys")).to_be_focused()
    page.go_back()
    expect(form).to_be_visible()
    assert in_both_themes(page, watched, axe) == []


def test_the_preview_follows_the_form_and_waits_while_it_can_not_be_used(page: Page, path: str) -> None:
    page.goto(f"{path}/add")
    fill(page, "news:", "1", "h", "12", "m")
    page.get_by_label("Keys in the preview").fill("3600")
    note = page.locator("#policies-preview-note")
    expect(page.get_by_text("3,600 at once")).to_be_visible()
    expect(page.get_by_role("listitem").filter(has_text="1 h + up to 12 m")).to_be_visible()
    page.get_by_label("TTL", exact=True).fill("8")
    expect(note).to_contain_text("Preview is waiting.")
    expect(page.get_by_text("3,600 at once")).to_be_visible()  # the last drawing stays
    ttl = page.get_by_label("TTL", exact=True)
    expect(ttl).to_have_accessible_description("8 h is outside this tier. Enter 1 to 6 h.")
    expect(ttl).to_have_attribute("aria-invalid", "true")
    # Whoever types in another field stays there, and what is wrong there is marked as well.
    page.get_by_label("Keys in the preview").fill("none")
    expect(page.locator("#keys-e")).to_contain_text("Enter 1 to 100,000,000 keys")
    expect(page.get_by_label("Keys in the preview")).to_be_focused()
    page.get_by_label("Keys in the preview").fill("3600")
    expect(page.locator("#keys-e")).to_have_count(0)
    ttl.fill("2")
    expect(ttl).to_have_accessible_description("This tier allows 1 to 6 h, jitter included.")
    expect(ttl).not_to_have_attribute("aria-invalid", "true")
    expect(note).not_to_contain_text("waiting")
    expect(page.get_by_role("listitem").filter(has_text="2 h + up to 12 m")).to_be_visible()
    page.get_by_label("Tier", exact=True).select_option("no-cache")
    expect(page.locator("#base_ttl_s-h")).to_have_text(
        "This tier stores nothing; TTL and jitter do not count."
    )
    expect(note).to_contain_text("Nothing to draw.")


def test_what_was_typed_goes_only_with_a_yes(page: Page, path: str, unpublished: None) -> None:
    """Escape, another row, a link and leaving the page ask; Cancel and an untouched form do not."""
    asked: list[str] = []
    answers: list[bool] = []

    def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        if answers.pop(0):
            dialog.accept()
        else:
            dialog.dismiss()

    page.on("dialog", answer)
    jitter = page.get_by_role("textbox", name="Jitter, up to")
    page.goto(path)
    page.get_by_role("button", name="Edit policy for Other keys").click()
    expect(jitter).to_be_visible()
    page.keyboard.press("Escape")
    expect(jitter).to_have_count(0)
    page.get_by_role("button", name="Edit policy for Other keys").click()
    jitter.fill("17")
    page.get_by_label("Unit of Jitter").select_option("m")
    answers += [False, False, False]
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Add policy").click()
    page.get_by_role("link", name="Versions").first.click()
    expect(jitter).to_have_value("17")
    assert (asked, answers) == (["confirm"] * 3, [])
    answers.append(False)
    page.close(run_before_unload=True)
    expect(jitter).to_have_value("17")
    assert asked.pop() == "beforeunload"
    answers.append(True)
    page.keyboard.press("Escape")
    expect(jitter).to_have_count(0)
    assert (len(asked), answers) == (4, [])
    # A form that came back refused holds what is nowhere else.
    page.get_by_role("button", name="Edit policy for Other keys").click()
    jitter.fill("lots")
    page.get_by_role("button", name="Stage change").click()
    expect(page.get_by_role("alert")).to_contain_text("Not staged.")
    answers.append(False)
    page.keyboard.press("Escape")
    expect(jitter).to_have_value("lots")
    assert len(asked) == 5
    page.get_by_role("link", name="Cancel").click()
    expect(jitter).to_have_count(0)
    # What is staged is not lost, so nothing asks.
    page.get_by_role("button", name="Edit policy for Other keys").click()
    jitter.fill("19")
    page.get_by_role("button", name="Stage change").click()
    expect(page.get_by_text("is staged, not yet in force")).to_be_visible()
    assert len(asked) == 5


def test_another_operator_was_faster(
    page: Page,
    watched: Watched,
    dashboard: live.Live,
    chromium: Browser,
    signed_in: dict[str, object],
    path: str,
    axe: str,
    unpublished: None,
) -> None:
    page.goto(f"{path}/edit?prefix=")
    other = chromium.new_page(base_url=dashboard.url, storage_state=signed_in)  # type: ignore[arg-type]
    other.goto(f"{path}/edit?prefix=")
    other.get_by_role("textbox", name="Jitter, up to").fill("20")
    other.get_by_role("button", name="Stage change").click()
    expect(other.get_by_text("1 staged change, not in force yet.")).to_be_visible()
    other.close()
    # The open page hears of it, and what is typed in it stays.
    page.get_by_role("textbox", name="Jitter, up to").fill("30")
    expect(page.get_by_text("The policies changed meanwhile.")).to_be_visible(timeout=15_000)
    expect(page.get_by_role("textbox", name="Jitter, up to")).to_have_value("30")
    page.get_by_role("button", name="Stage change").click()
    expect(page.get_by_role("alert")).to_contain_text("Changed meanwhile")
    expect(page.get_by_role("region", name="Their change of Other keys")).to_contain_text("20 s")
    expect(page.get_by_role("textbox", name="Jitter, up to")).to_have_value("30")
    assert in_both_themes(page, watched, axe) == []
    page.get_by_role("button", name="Stage change").click()
    expect(page.get_by_text("is staged, not yet in force")).to_be_visible()


def test_a_bypass_counts_down_and_ends(page: Page, watched: Watched, path: str, axe: str) -> None:
    page.goto(path)
    if page.get_by_text("Never published.").count():
        page.get_by_role("link", name="Publish the first version").click()
        page.get_by_label("Reason").fill("As they are")
        page.get_by_role("button", name="Publish v").click()
    page.get_by_role("button", name="Edit policy for Other keys").click()
    page.get_by_role("link", name="Bypass for some minutes").click()
    page.get_by_label("For", exact=True).fill("0")
    page.get_by_role("button", name="Bypass other keys").click()
    expect(page.get_by_text("Enter 1 to 1,440 minutes").first).to_be_visible()
    page.get_by_label("For", exact=True).fill("2")
    page.get_by_label("Reason").fill("A journey")
    page.get_by_role("button", name="Bypass other keys").click()
    banner = page.locator("#policies-live .banner.warn")
    expect(banner).to_contain_text("goes around the cache for")
    page.get_by_role("button", name="Live").click()  # without it nothing but the countdown moves
    first = banner.locator(".tnum").inner_text()
    expect(banner.locator(".tnum")).not_to_have_text(first)
    assert in_both_themes(page, watched, axe) == []
    page.get_by_role("button", name="End it now").click()
    expect(page.get_by_text("Other keys is cached again.")).to_be_visible()
    expect(banner).to_have_count(0)
    # Beginning and end are versions like any other.
    for part in ("versions", "versions/1", "versions/2", "compare?older=1&newer=2"):
        page.goto(f"{path}/{part}")
        assert in_both_themes(page, watched, axe) == []
        page.set_viewport_size({"width": 390, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.set_viewport_size({"width": 1440, "height": 900})


def test_a_document_goes_out_and_comes_back(
    page: Page, watched: Watched, path: str, axe: str, tmp_path: Path, unpublished: None
) -> None:
    page.goto(path)
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as started:
        page.get_by_role("link", name="YAML").click()
    file = tmp_path / started.value.suggested_filename
    started.value.save_as(file)
    text = file.read_text(encoding="utf-8")
    changed = re.sub(r"(?m)^(  label: )Hot$|^(    label: )Hot$", r"\g<1>\g<2>Very hot", text)
    assert changed != text
    file.write_text(changed, encoding="utf-8")
    page.goto(f"{path}/import")
    page.get_by_label("File", exact=True).set_input_files(file)
    page.get_by_role("button", name="Show what it would change").click()
    expect(page.get_by_text("Very hot").first).to_be_visible()
    assert in_both_themes(page, watched, axe) == []
    page.get_by_role("button", name="Stage these changes").click()
    expect(page).to_have_url(re.compile("/policies/draft$"))
    assert in_both_themes(page, watched, axe) == []
    page.goto(path)
    expect(page.get_by_role("heading", name="Very hot")).to_be_visible()
