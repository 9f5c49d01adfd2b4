"""The demo's shop in a real browser: accessible, in both themes and at any width, and what a customer does in it."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from dashboard.demo.shop.links import Links
from tests.browser.test_accessibility import WIDTHS, in_both_themes
from tests.support import servers, shop
from tests.support.pages import Watched

pytestmark = pytest.mark.browser
OLD = 5
"""A product whose price was changed behind the cache's back."""


@pytest.fixture(scope="session")
def store(chromium: Browser) -> Iterator[shop.Running]:
    with servers.folder() as folder, shop.shop(folder, Links("http://127.0.0.1:1", 1)) as running:
        yield running


@pytest.fixture
def shopping(chromium: Browser, store: shop.Running) -> Iterator[Watched]:
    """A watched page in front of the shop, in the cachewarden mode."""
    store.shop.modes.switch("cachewarden")
    context = chromium.new_context(
        base_url=store.url, viewport={"width": 1440, "height": 900}, reduced_motion="reduce"
    )
    watched = Watched(context.new_page(), store.url)
    yield watched
    assert watched.complaints == []
    context.close()


@pytest.fixture
def customer(shopping: Watched) -> Page:
    """Signed in."""
    page = shopping.page
    page.goto("/sign-in")
    page.get_by_role("button", name="Be ").first.click()
    return page


def put_in_cart(page: Page, number: int) -> None:
    page.goto(f"/product/{number}")
    page.get_by_role("button", name="Add to cart").click()


def change_price(page: Page, number: int, price: str, how: str) -> None:
    page.goto(f"/editor?product={number}")
    form = page.locator("form", has=page.get_by_label("Price", exact=True))
    form.get_by_label("Price", exact=True).fill(price)
    form.get_by_label(how).check()
    form.get_by_role("button", name="Write it").click()


@pytest.mark.parametrize("name", list(shop.story(OLD)))
def test_no_page_has_a_finding_in_either_theme_and_none_scrolls_sideways(
    shopping: Watched, customer: Page, store: shop.Running, axe: str, name: str
) -> None:
    put_in_cart(customer, OLD)
    row = store.shop.store.row(OLD)
    assert row is not None
    store.shop.change(OLD, cents=row["price_cents"] + 100, by="the price import", tells_cache=False)
    customer.goto(shop.story(OLD)[name])
    for width in WIDTHS:
        customer.set_viewport_size({"width": width, "height": 844})
        assert customer.evaluate("document.documentElement.scrollWidth") <= width
    assert in_both_themes(customer, shopping, axe) == []


def test_a_word_without_an_end_breaks_into_lines(shopping: Watched) -> None:
    shopping.page.goto("/search?q=" + "W" * 100)
    for width in WIDTHS:
        shopping.page.set_viewport_size({"width": width, "height": 844})
        assert shopping.page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_forgotten_invalidation_is_seen_asked_about_and_paid_right(customer: Page) -> None:
    customer.goto("/product/9")
    change_price(customer, 9, "12.30", "Write, then invalidate")
    put_in_cart(customer, 9)
    change_price(customer, 9, "22.30", "Write and forget")
    expect(customer.get_by_text("The page and the checkout disagree.")).to_be_visible()
    customer.goto("/product/9")
    expect(customer.locator(".price")).to_contain_text("€12.30")
    expect(customer.get_by_text("Hit, but old")).to_be_visible()
    customer.goto("/checkout")
    expect(customer.get_by_text("The price changed while you were shopping.")).to_be_visible()
    expect(customer.get_by_role("link", name="Remove…")).to_have_attribute(
        "href", "http://127.0.0.1:1/caches/1/invalidate?by=rows&mapping=products.id&rows=9"
    )
    customer.get_by_role("button", name="Keep it at €22.30").click()
    customer.get_by_role("button", name="Pay €26.20 from wallet").click()
    expect(customer.get_by_role("heading", level=1)).to_contain_text("is paid")
    expect(customer.locator(".total")).to_contain_text("€26.20")


def test_all_of_it_works_with_the_keyboard(customer: Page) -> None:
    customer.goto("/product/12")
    customer.keyboard.press("Tab")
    expect(customer.get_by_role("link", name="Skip to content")).to_be_focused()
    customer.keyboard.press("Enter")
    pieces = customer.get_by_label("Pieces", exact=True)
    for _ in range(10):
        customer.keyboard.press("Tab")
        if pieces.evaluate("field => field === document.activeElement"):
            break
    expect(pieces).to_be_focused()
    customer.keyboard.press("Tab")
    customer.keyboard.press("Enter")
    expect(customer.get_by_text("It is in the cart.")).to_be_visible()


def test_modes_are_switched_below_a_page_and_the_page_stays(customer: Page) -> None:
    customer.goto("/product/12")
    strip = customer.get_by_role("complementary", name="Cache strip")
    strip.get_by_role("button", name="Off").click()
    assert customer.url.endswith("/product/12")
    expect(strip.get_by_role("button", name="Off")).to_have_attribute("aria-pressed", "true")
    expect(strip.get_by_text("Not cached").first).to_be_visible()
    strip.get_by_role("button", name="Cachewarden").click()
    # The next page is there: one that is still on its way can't be loaded again.
    expect(strip.get_by_role("button", name="Cachewarden")).to_have_attribute("aria-pressed", "true")
    customer.reload()
    expect(strip.get_by_text("Hit").first).to_be_visible()
