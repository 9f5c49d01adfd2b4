"""A newcomer's first minutes with ``cachewarden demo``, from the link in the terminal to the right price."""

import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.test_accessibility import WIDTHS, in_both_themes
from tests.faults.test_demo import Demo, started
from tests.support import servers
from tests.support.pages import Watched

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PRODUCT = 4321
"""One that hardly anybody asks for, so that nobody else has its keys dropped."""


@pytest.fixture
def demo() -> Iterator[Demo]:
    """The whole demo, as its command starts it; each test needs a link that nobody took yet."""
    with servers.folder() as folder:
        log = folder / "output"
        with log.open("wb") as output:
            process = started(folder, stdout=output, stderr=subprocess.STDOUT)
        running = Demo(process, log)
        try:
            running.said(r"(Ctrl-C stops everything)", within_s=180)
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    made = chromium.new_context(viewport={"width": 1440, "height": 900}, reduced_motion="reduce")
    yield made
    made.close()


def change_price(page: Page, store: str, price: str, how: str) -> None:
    page.goto(f"{store}/editor?product={PRODUCT}")
    form = page.locator("form", has=page.get_by_label("Price", exact=True))
    form.get_by_label("Price", exact=True).fill(price)
    form.get_by_label(how).check()
    form.get_by_role("button", name="Write it").click()


def test_from_the_link_to_the_right_price(context: BrowserContext, demo: Demo, axe: str) -> None:
    store = demo.said(r"demo store:\s+(http\S+)")
    watched = Watched(context.new_page(), demo.url)
    page = watched.page

    # In by the link of the terminal, onto an Overview that moves.
    page.goto(demo.said(r"one click:\s+(\S+)"))
    page.get_by_role("button", name="Sign in as admin").click()
    tour = page.locator("#overview-tour")
    expect(tour).to_contain_text("1 of 4 done, about 9 minutes left", timeout=120_000)
    expect(tour).to_contain_text(re.compile(r"The cache answers [\d.]+% of reads"), timeout=60_000)
    overview = page.url
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    page.set_viewport_size({"width": 1440, "height": 900})
    assert in_both_themes(page, watched, axe) == []

    # A customer sees a price, and has it in the cart.
    shop = Watched(context.new_page(), store)
    customer = shop.page
    change_price(customer, store, "12.30", "Write, then invalidate")
    customer.goto(f"{store}/sign-in?back=/product/{PRODUCT}")
    customer.get_by_role("button", name="Be ").first.click()
    price = customer.locator(".price")
    expect(price).to_contain_text("€12.30")
    customer.get_by_role("button", name="Add to cart").click()

    # The price changes and the cache is not told: page and checkout disagree.
    change_price(customer, store, "22.30", "Write and forget")
    expect(customer.get_by_text("The page and the checkout disagree.")).to_be_visible()
    customer.goto(f"{store}/product/{PRODUCT}")
    expect(price).to_contain_text("€12.30")
    customer.goto(f"{store}/checkout")
    expect(customer.get_by_text("The price changed while you were shopping.")).to_be_visible()
    expect(customer.get_by_role("button", name="Keep it at €22.30")).to_be_visible()

    # Found in the dashboard ...
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Keys").click()
    page.get_by_role("textbox", name="Key, prefix or pattern").fill(f"product:{PRODUCT}*")
    page.keyboard.press("Enter")
    page.locator("#keys-list").get_by_role("link", name=f"product:{PRODUCT}", exact=True).click(
        timeout=60_000
    )
    detail = page.locator("#keys-detail")
    expect(detail).to_contain_text(re.compile(r'"price_cents":\s*1230'))

    # ... and purged by its row, with what else is made of it.
    expect(page).to_have_url(re.compile("key="))
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Invalidate").click()
    page.wait_for_url("**/invalidate")
    page.locator('label:has(input[name="by"][value="rows"])').click()
    page.get_by_label("Rows of").select_option("products.id")
    page.get_by_label("Their identifiers").fill(str(PRODUCT))
    page.get_by_role("button", name="Preview this purge").click()
    confirm = page.get_by_role("button", name=re.compile(r"Remove \d+ keys?"))
    confirm.wait_for(timeout=60_000)
    page.get_by_role("textbox", name="Reason").fill("A price import forgot the cache")
    page.get_by_label(re.compile(r"^Yes, \d keys? of demo-store")).check()
    confirm.click()
    expect(page.get_by_role("main")).to_contain_text("A price import forgot the cache", timeout=60_000)

    # The customer sees the right price, and pays it.
    for _ in range(60):
        customer.goto(f"{store}/product/{PRODUCT}")
        if "€22.30" in price.inner_text():
            break
        customer.wait_for_timeout(500)
    expect(price).to_contain_text("€22.30")
    customer.goto(f"{store}/checkout")
    customer.get_by_role("button", name="Keep it at €22.30").click()
    customer.get_by_role("button", name="Pay €26.20 from wallet").click()
    expect(customer.get_by_role("heading", level=1)).to_contain_text("is paid")

    # The tour knows. On to a campaign, from its card; begun is enough here, it takes minutes.
    page.goto(overview)
    expect(tour).to_contain_text("2 of 4 done")
    tour.get_by_role("link", name="Run a campaign").click()
    page.get_by_role("button", name=re.compile("^Run")).first.click()
    stop = page.get_by_role("button", name=re.compile("^Stop"))
    expect(stop).to_be_visible(timeout=60_000)
    expect(page.get_by_role("progressbar")).to_be_visible(timeout=60_000)
    stop.click()
    expect(page.get_by_role("button", name=re.compile("^Run")).first).to_be_visible(timeout=120_000)

    page.goto(overview)
    expect(tour).to_contain_text("3 of 4 done, about 2 minutes left")
    tour.get_by_role("button", name="Close tour").click()
    expect(page.locator("#overview-tiles")).to_be_visible()
    expect(tour).to_have_count(0)
    assert watched.complaints == [] == shop.complaints


def test_the_second_who_takes_the_link_signs_in_with_the_password(chromium: Browser, demo: Demo) -> None:
    """Without scripts, which the page works without."""
    link = demo.said(r"one click:\s+(\S+)")
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(link)
    page.get_by_role("button", name="Sign in as admin").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    page.context.clear_cookies()
    page.goto(link)
    expect(page.get_by_role("heading", level=1)).to_have_text("This link is over")
    page.get_by_role("link", name="Sign in with a password").click()
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password", exact=True).fill(demo.said(r"user admin, password (\S+)"))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    context.close()
