"""Purges in a browser: 200,000 of 400,000 keys while the page is closed and opened again; forms, scripts or not."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, expect

from dashboard.caches import service as caches
from dashboard.fleet.url import parse_url
from dashboard.invalidation import counter, service
from dashboard.invalidation.types import State
from dashboard.work import unit_of_work
from tests.browser.helpers import cache_id
from tests.browser.test_accessibility import in_both_themes
from tests.support import live, servers
from tests.support.pages import Watched

pytestmark = pytest.mark.browser

HALF = 200_000


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A Redis 7 with 400,000 keys, half of them to be purged."""
    with servers.redis_server() as port:
        with redis.Redis(port=port) as client:
            for prefix in ("legacy:", "product:"):
                for first in range(0, HALF, 10_000):
                    client.mset({f"{prefix}{number}": "x" for number in range(first, first + 10_000)})
        yield port


@pytest.fixture(scope="module")
def big(dashboard: live.Live, port: int) -> Iterator[int]:
    """Its id as a cache of the dashboard; how fast it goes does not depend on how busy this machine is."""
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        form = live.cache_form(dashboard, "big", poll_interval_s=60)
        made = caches.create_cache(work, replace(form, url=parse_url(f"redis://127.0.0.1:{port}/0")))
        limits = service.limits(work, made.id)
        service.set_limits(work, made.id, replace(limits, slowest_probe_ms=1000.0, typed_above=1000))
    with pytest.MonkeyPatch.context() as patch:
        # However long it takes to look at all keys, a count is no estimate.
        patch.setattr(counter, "MOST_S", 600.0)
        yield made.id
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        caches.delete_cache(work, made.id, "big")


def pace(dashboard: live.Live, cache: int, keys_per_s: int) -> None:
    """No purge that begins or goes on from now on is faster."""
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        service.set_limits(work, cache, replace(service.limits(work, cache), most_keys_per_s=keys_per_s))


@pytest.fixture
def carts(port: int) -> Iterator[None]:
    """Thirty keys beside them."""
    names = [f"cart:{number}" for number in range(1, 31)]
    with redis.Redis(port=port) as client:
        client.mset(dict.fromkeys(names, "x"))
        yield
        client.delete(*names)


@pytest.fixture
def spare(port: int) -> Iterator[None]:
    """Keys beside them, more than may go without a typed confirmation."""
    names = [f"spare:{number}" for number in range(2000)]
    with redis.Redis(port=port) as client:
        client.mset(dict.fromkeys(names, "x"))
        yield
        client.delete(*names)


def redis_cli(port: int, *words: str) -> str:
    """What the server itself says, by its own command line."""
    program = shutil.which("redis-cli")
    if program is None:
        servers.skip_or_fail("CACHEWARDEN_REQUIRE_REDIS", "redis-cli is not installed")
    assert program is not None
    said = subprocess.run(
        [program, "-p", str(port), *words], capture_output=True, text=True, check=True, timeout=60
    )
    return said.stdout


def counted(port: int, pattern: str) -> int:
    return len(redis_cli(port, "--scan", "--pattern", pattern).splitlines())


def choose(page: Page, by: str) -> None:
    """Press one of the ways to choose keys."""
    page.locator(f'label:has(input[name="by"][value="{by}"])').click()


def wait_for(page: Page, is_there: Callable[[], bool], *, reloads: bool) -> None:
    """Wait; ``reloads``: as one does without scripts."""
    deadline = time.monotonic() + 60
    while not is_there():
        assert time.monotonic() < deadline
        page.wait_for_timeout(500)
        if reloads:
            page.reload()


def percent_of(page: Page) -> int:
    found = re.search(r"(\d+)%", page.locator(".job").inner_text())
    assert found is not None
    return int(found[1])


@pytest.mark.timeout(400)
def test_half_of_the_keys_go_while_nobody_looks(
    context: BrowserContext, page: Page, dashboard: live.Live, big: int, port: int
) -> None:
    path = f"/caches/{big}/invalidate"
    page.goto(f"{path}?by=prefix")
    page.get_by_role("textbox", name="Prefix").fill("legacy:")
    page.get_by_role("button", name="Preview this purge").click()
    confirm = page.get_by_role("button", name="Remove 200,000 keys")
    confirm.wait_for(timeout=60_000)
    facts = page.locator("#preview .facts").first
    expect(facts).to_contain_text("50% of 400,000 keys")
    assert page.get_by_role("radio", name="Spread over", exact=True).is_checked()
    page.locator("#over_s").fill("20")
    # However long the way to the button for a pause takes, it is not over before.
    pace(dashboard, big, 2_000)
    page.get_by_label("Unit of the spread").select_option("s")

    # Nothing starts before all that is asked for is given, and what was typed stays.
    page.get_by_role("textbox", name="Reason").fill("Old import, wrong prices")
    confirm.click()
    expect(page.get_by_role("alert")).to_contain_text("Type legacy: to confirm.")
    expect(page.get_by_role("textbox", name="Reason")).to_have_value("Old import, wrong prices")
    expect(page.locator("#over_s")).to_have_value("20")
    page.get_by_label("Type legacy: to confirm").fill("legacy:")
    confirm.click()
    page.wait_for_url(lambda address: "purge=" not in address)

    job = page.locator(".job")
    expect(job).to_contain_text("Running", timeout=30_000)
    expect(job).not_to_contain_text(re.compile(r"\b0 of 200,000"), timeout=60_000)
    expect(page.locator("#nav-running")).to_have_text("1 running")
    number = int(job.get_by_role("link").inner_text().removeprefix("Purge "))
    page.close()

    again = context.new_page()
    watched = Watched(again, dashboard.url)
    again.goto(f"/caches/{cache_id(dashboard)}/overview")
    expect(again.locator("#nav-running")).to_have_text("1 running")
    again.goto(path)
    before = percent_of(again)
    expect(again.locator(".job")).to_contain_text("keys/s")
    again.wait_for_function(
        "before => parseInt(document.querySelector('.job .row b').textContent) > before",
        arg=before,
        timeout=60_000,
    )
    again.get_by_role("button", name="Pause").click()
    expect(again.locator(".job")).to_contain_text("Paused", timeout=30_000)
    expect(again.locator("#nav-running")).to_have_text("1 paused")
    left = counted(port, "legacy:*")
    assert 0 < left < HALF
    again.wait_for_timeout(1500)
    assert counted(port, "legacy:*") == left
    pace(dashboard, big, 1_000_000)
    again.get_by_role("button", name="Resume").click()
    row = again.get_by_role("row", name=re.compile("legacy:"))
    expect(row).to_contain_text("Done in", timeout=180_000)
    expect(again.locator(".job")).to_have_count(0)
    expect(again.locator("#nav-running")).to_be_empty()
    expect(again.locator("[data-live]")).to_have_attribute("data-live", "10")  # somebody may begin another
    assert counted(port, "legacy:*") == 0
    assert counted(port, "product:*") == HALF
    assert redis_cli(port, "DBSIZE").split()[-1] == str(HALF)

    row.get_by_role("link").click()
    expect(again.get_by_role("heading", level=1)).to_have_text(f"Purge {number}")
    expect(again.locator("#progress-h")).to_be_visible()
    expect(again.get_by_text("200,000 of 200,000 keys")).to_be_visible()
    for said in ("Purge drafted", "Purge approved", "Purge paused", "Purge resumed", "Purge done"):
        expect(again.get_by_role("link", name=said).first).to_be_visible()
    assert watched.complaints == []


@pytest.mark.parametrize("has_scripts", [True, False], ids=["scripts", "no scripts"])
def test_a_list_of_identifiers_with_and_without_scripts(
    chromium: Browser,
    dashboard: live.Live,
    signed_in: dict[str, object],
    big: int,
    port: int,
    carts: None,
    has_scripts: bool,
) -> None:
    context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
        java_script_enabled=has_scripts,
        viewport={"width": 390, "height": 844},
    )
    page = context.new_page()
    watched = Watched(page, dashboard.url)
    page.goto(f"/caches/{big}/invalidate")
    choose(page, "ids")
    page.get_by_label("Key template").fill("cart:{id}")
    page.get_by_label("IDs").fill("1-25, 99")
    page.get_by_role("button", name="Preview this purge").click()
    confirm = page.get_by_role("button", name="Remove 25 keys")
    wait_for(page, lambda: confirm.count() > 0, reloads=not has_scripts)
    expect(page.get_by_text("1 of the named keys is not cached")).to_be_visible()
    expect(page.get_by_label("IDs")).to_have_value(re.compile("1-25"))
    # A field of a choice chooses it; without scripts one has to press it.
    page.locator("#over_s").fill("1")
    if not has_scripts:
        page.locator("#when-over").check()
    page.get_by_label("Yes, 25 keys of big").check()
    confirm.click()
    page.wait_for_url(lambda address: "purge=" not in address)
    row = page.get_by_role("row", name=re.compile("cart:")).first
    wait_for(page, lambda: "Done" in row.inner_text(), reloads=not has_scripts)
    assert counted(port, "cart:*") == 5
    assert page.evaluate("document.documentElement.scrollWidth") <= 390 if has_scripts else True
    assert watched.complaints == []
    context.close()


def test_two_operators_see_the_same_and_who_comes_second_is_told(
    chromium: Browser, dashboard: live.Live, signed_in: dict[str, object], page: Page, big: int
) -> None:
    path = f"/caches/{big}/invalidate"
    page.goto(path)
    choose(page, "pattern")
    page.get_by_role("textbox", name="Pattern").fill("product:199*")
    page.get_by_role("button", name="Preview this purge").click()
    page.get_by_role("button", name=re.compile("Remove [0-9,]+ keys")).wait_for(timeout=60_000)
    address = page.url
    other_context = chromium.new_context(
        base_url=dashboard.url,
        storage_state=signed_in,  # type: ignore[arg-type]
    )
    other = other_context.new_page()
    other.goto(address)
    expect(other.get_by_role("button", name=re.compile("Remove [0-9,]+ keys"))).to_be_visible()
    other.goto(f"{path}?state=open")
    row = other.get_by_role("row", name=re.compile("product:199"))
    row.get_by_role("link").click()
    other.get_by_role("button", name="Discard").click()
    expect(other.locator("#progress-h ~ .badge")).to_have_text("Cancelled")
    page.get_by_role("textbox", name="Reason").fill("I was slower")
    page.get_by_role("button", name=re.compile("Remove [0-9,]+ keys")).click()
    expect(page.get_by_role("alert")).to_contain_text("By now purge")
    other_context.close()
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        found = service.list_purges(work, big, text="product:199")
    assert [purge.state for purge in found] == [State.CANCELLED]


def test_no_finding_on_a_preview_and_a_purge_under_way(
    page: Page, watched: Watched, axe: str, big: int, spare: None
) -> None:
    page.goto(f"/caches/{big}/invalidate?by=prefix")
    page.get_by_role("textbox", name="Prefix").fill("spare:")
    page.get_by_role("button", name="Preview this purge").click()
    button = page.get_by_role("button", name=re.compile("Remove [0-9,]+ keys"))
    button.wait_for(timeout=60_000)
    page.get_by_text("TTLs and policies of these keys").click()
    page.get_by_text("Only some of them").click()
    assert in_both_themes(page, watched, axe) == []
    button.click()
    page.get_by_role("alert").wait_for()
    assert in_both_themes(page, watched, axe) == []
    page.locator("#over_s").fill("10")
    page.get_by_label("Unit of the spread").select_option("h")
    page.get_by_role("textbox", name="Reason").fill("Only to look at it")
    page.get_by_label("Type spare: to confirm").fill("spare:")
    button.click()
    page.locator(".job").get_by_text("Running", exact=True).wait_for(timeout=30_000)
    assert in_both_themes(page, watched, axe) == []
    for width in (1920, 1280, 1024, 768, 390):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(150)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".job").get_by_role("link").click()
    page.locator("#progress-h").wait_for()
    assert in_both_themes(page, watched, axe) == []
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#progress-h ~ .badge")).to_have_text("Cancelled", timeout=30_000)
    assert in_both_themes(page, watched, axe) == []
