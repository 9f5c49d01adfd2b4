"""The shop's pages over HTTP: what they show, what they refuse, what they survive."""

import re
import threading
from collections.abc import Callable
from html import unescape
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
import redis
from flask.testing import FlaskClient
from psycopg import sql
from werkzeug.test import TestResponse

from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.catalogue import SMALL
from dashboard.demo.shop.fields import COOKIE
from dashboard.demo.shop.links import NOWHERE
from dashboard.demo.shop.modes import Modes
from dashboard.demo.shop.pages import Shop
from dashboard.demo.shop.store import ShopStore
from dashboard.demo.shop.types import MODES
from dashboard.embedded import valkey
from tests.demo.conftest import web_app

PAGES = [
    "/",
    "/category/kettles",
    "/category/gooseneck?page=1",
    "/category/sale",
    "/search?q=kettle",
    "/search?q=nothing+of+the+kind",
    "/search",
    "/product/1",
    "/product/299",
    "/cart",
    "/sign-in",
    "/editor",
    "/editor?product=1",
]
KEY = "a-key-of-a-form"


def text(answer: TestResponse) -> str:
    """What people read, without markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.get_data(as_text=True))).split())


def field(answer: TestResponse, name: str) -> str:
    """What stands in a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', answer.get_data(as_text=True))
    assert found is not None, name
    return unescape(found[1])


def signed_in(web: FlaskClient, customer: int = 2) -> FlaskClient:
    assert web.post("/sign-in", data={"customer": customer}).status_code == 303
    return web


def with_cart(web: FlaskClient, product: int = 5, pieces: int = 1) -> TestResponse:
    """Put a product into the cart as its page does; returns the checkout."""
    page = web.get(f"/product/{product}")
    data = {"product": product, "pieces": pieces, "seen": field(page, "seen")}
    assert web.post("/cart", data=data).status_code == 303
    return web.get("/checkout")


def pressed(web: FlaskClient, checkout: TestResponse, **change: str) -> TestResponse:
    names = ("key", "total", "top_up")
    data: dict[str, Any] = {name: field(checkout, name) for name in names}
    data |= {"pay": "wallet"} | change
    data["agreed"] = re.findall(r'name="agreed" value="([^"]*)"', checkout.get_data(as_text=True))
    return web.post("/checkout", data=data)


# --- every page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_every_page_in_each_mode_twice(web: FlaskClient, shop: Shop, mode: str) -> None:
    shop.modes.switch(mode)
    signed_in(web)
    with_cart(web)
    for path in [*PAGES, "/checkout", "/wallet"] * 2:
        answer = web.get(path)
        assert answer.status_code == 200, path
        assert "Demo store" in text(answer)
        pressed_name = re.search(r'value="(\w+)"[^>]*aria-pressed="true"', answer.get_data(as_text=True))
        assert pressed_name is not None
        assert pressed_name[1] == mode
    reads = web.get("/product/1").headers["X-Shop-Reads"]
    found = re.match(r"all=(\d+), hit=(\d+), loaded=(\d+), queries=\d+$", reads)
    assert found is not None
    assert (int(found[2]) == int(found[1])) == (mode != "off")


def test_pages_keep_to_the_content_policy_and_are_not_kept(web: FlaskClient) -> None:
    signed_in(web)
    with_cart(web)
    for path in [*PAGES, "/checkout", "/wallet", "/nothing"]:
        answer = web.get(path)
        body = answer.get_data(as_text=True)
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["Cache-Control"] == "no-store"
        assert not re.search(r"<style|<script(?![^>]*src=)|\sstyle=|\son\w+=", body), path


def test_the_files_that_pages_name_are_there(web: FlaskClient) -> None:
    body = web.get("/product/1").get_data(as_text=True)
    for address in set(re.findall(r'(?:href|src)="(/static/[^"#]+)', body)):
        with web.get(address) as answer:
            assert answer.status_code == 200, address
    with web.get(re.findall(r'href="(/static/[^"#]+icons\.svg)#', body)[0]) as answer:
        sprite = answer.get_data(as_text=True)
    for name in set(re.findall(r"icons\.svg#([\w-]+)", body)):
        assert f'id="{name}"' in sprite


def test_traffic_gets_the_page_without_the_strip_and_its_lookups(web: FlaskClient, valkey_url: str) -> None:
    people = web.get("/product/1")
    traffic = web.get("/product/1", headers={"X-Shop-Traffic": "1"})
    assert "Cache strip" in people.get_data(as_text=True)
    assert "Cache strip" not in traffic.get_data(as_text=True)
    for answer in (people, traffic):
        assert re.match(r"cache;dur=[\d.]+, db;dur=[\d.]+", answer.headers["Server-Timing"])


def test_each_read_that_hits_is_timed_and_one_for_many_keys_is_one(web: FlaskClient) -> None:
    timings, reads = [], []
    for _ in range(2):
        answer = web.get("/category/kettles")
        timings.append(answer.headers["Server-Timing"].split(", "))
        reads.append(dict(re.findall(r"(\w+)=(\d+)", answer.headers["X-Shop-Reads"])))
    assert reads[0]["hit"] == "0" and len(timings[0]) == 2
    assert 0 < len(timings[1]) - 2 < int(reads[1]["hit"])
    cache, _, *hits = (float(each.partition("=")[2]) for each in timings[1])
    assert 0 < sum(hits) <= cache + 0.01 * len(hits)


def test_a_category_is_paged_and_ends(web: FlaskClient) -> None:
    first = web.get("/category/kettles")
    assert "Page 2" in text(first)
    assert web.get("/category/kettles?page=2").status_code == 200
    assert web.get("/category/kettles?page=350").status_code == 404
    assert web.get("/category/kettles?page=0").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/category/nothing", 404),
        (f"/product/{SMALL.products + 1}", 404),
        ("/product/0", 404),
        ("/product/99999999999999999999999", 404),
        ("/product/abc", 404),
        ("/category/tea?page=abc", 400),
        ("/category/tea?page=%D9%A3", 400),
        ("/category/%00", 404),
        ("/orders/1", 404),
        ("/editor?product=999999999", 404),
        ("/editor?product=-1", 400),
        ("/mode", 405),
    ],
)
def test_what_is_not_there_is_said_in_a_page(web: FlaskClient, path: str, status: int) -> None:
    answer = web.get(path)
    assert answer.status_code == status
    assert "To the home page" in text(answer)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/editor?product=" + "9" * 20, "There is no such product."),
        ("/editor?product=" + "9" * 5000, "There is no such product."),
        ("/category/tea?page=" + "9" * 20, "There is no such page."),
        ("/category/tea?page=-1", "The number of a page can't be below 0."),
        ("/search?q=tea&page=-0", "There is no such page."),
        ("/editor?product=-000", "Every product has its number"),
        ("/editor?product=-", "The number of a product is a whole number."),
        ("/editor?product=1.5", "The number of a product is a whole number."),
    ],
)
def test_a_number_that_can_t_be_is_refused_in_words(web: FlaskClient, path: str, said: str) -> None:
    assert said in text(web.get(path))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"price": "-1"}, "A price is between 0.01 and 10,000 euros"),
        ({"price": "9999999"}, "A price is between 0.01 and 10,000 euros"),
        ({"stock": "-1"}, "Stock is between 0 and 100,000 pieces."),
        ({"stock": "9" * 15}, "Stock is between 0 and 100,000 pieces."),
        ({"stock": "many"}, "Stock is a whole number."),
    ],
)
def test_the_editor_says_between_what_a_number_has_to_be(
    web: FlaskClient, change: dict[str, str], said: str
) -> None:
    assert said in text(edited(web, "tell", **change))


@pytest.mark.parametrize(
    "words",
    [
        "<script>alert(1)</script>",
        '"><img src=x onerror=alert(1)>',
        "'; DROP TABLE shop.product; --",
        "%",
        "\0",
        "💥" * 80,
    ],
)
def test_a_hostile_search_is_shown_as_text(web: FlaskClient, words: str) -> None:
    for _ in range(2):
        answer = web.get(f"/search?q={quote(words)}")
        assert answer.status_code == 200
        body = answer.get_data(as_text=True)
        assert "<script>alert" not in body
        assert "<img src=x" not in body
        assert "Nothing found" in body or "What do you look for?" in body
    assert web.get("/product/1").status_code == 200


def test_a_search_is_echoed_as_it_was_typed_and_what_is_cut_is_said(web: FlaskClient) -> None:
    page = web.get("/search?q=Quiet++KETTLE")
    assert "“Quiet KETTLE”" in text(page)
    assert field(page, "q") == "Quiet KETTLE"
    assert "the rest of your text" not in text(page)
    long = text(web.get("/search?q=" + "Kettle" * 20))
    assert f"“{('Kettle' * 20)[:100]}”" in long
    assert "the rest of your text" in long


def test_a_hostile_name_is_shown_as_text(web: FlaskClient, shop_url: str) -> None:
    evil = '<script>alert("x")</script>'
    with psycopg.connect(shop_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE shop.product SET name = %s, text = %s, colour = 'black' WHERE id = 5", (evil, evil)
        )
        connection.execute("UPDATE shop.review SET title = %s, text = %s WHERE product_id = 5", (evil, evil))
        connection.execute("UPDATE shop.customer SET name = %s", (evil,))
    signed_in(web)
    with_cart(web)
    for path in ("/product/5", "/cart", "/checkout", "/wallet", "/sign-in", "/editor?product=5"):
        body = web.get(path).get_data(as_text=True)
        assert "<script>alert" not in body
        assert "&lt;script&gt;" in body, path


# --- who asks -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", None])
def test_what_another_site_makes_a_browser_send_is_refused(
    web: FlaskClient, shop: Shop, site: str | None
) -> None:
    headers = {"Sec-Fetch-Site": site}
    for path, data in (
        ("/mode", {"mode": "off"}),
        ("/editor", {"product": "1", "price": "1", "stock": "1", "how": "tell"}),
        ("/cart", {"product": "1"}),
        ("/sign-in", {"customer": "1"}),
    ):
        assert web.post(path, data=data, headers=headers).status_code == 403
    assert shop.store.mode() == "cachewarden"


def test_a_session_s_cookie_is_no_script_s_and_its_key_not_on_the_page(web: FlaskClient) -> None:
    answer = web.post("/sign-in", data={"customer": 1, "back": "/product/1"})
    assert answer.headers["Location"] == "/product/1"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    token = cookie.partition("=")[2].partition(";")[0]
    page = web.get("/product/1").get_data(as_text=True)
    assert token not in page
    assert f"session:{token[:6]}" in page


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:1", "/a\nb"]
)
def test_forms_lead_nowhere_else(web: FlaskClient, back: str) -> None:
    assert web.post("/sign-in", data={"customer": 1, "back": back}).headers["Location"] == "/"
    assert web.post("/mode", data={"mode": "off", "back": back}).headers["Location"] == "/"


@pytest.mark.parametrize("customer", ["0", "7", "999", "x", ""])
def test_nobody_else_can_be_chosen(web: FlaskClient, customer: str) -> None:
    assert web.post("/sign-in", data={"customer": customer}).status_code in (400, 404)
    assert web.get("/wallet").status_code == 303


@pytest.mark.parametrize("token", ["made-up-token-of-mine", "a" * 3000, "💥", "' OR 1=1", "../x"])
def test_a_cookie_that_was_made_up_is_nobody_s(web: FlaskClient, token: str) -> None:
    web.set_cookie(COOKIE, token)
    assert "The cart is empty" in text(web.get("/cart"))
    assert web.get("/wallet").headers["Location"].startswith("/sign-in")
    assert web.post("/sign-out").status_code == 303


def test_a_cart_outlives_signing_in_and_not_signing_out(web: FlaskClient) -> None:
    checkout = with_cart(web, pieces=2)
    assert "Sign in to pay" in text(checkout)
    assert pressed(web, checkout).headers["Location"].startswith("/sign-in")
    signed_in(web)
    assert "2 items" in text(web.get("/cart"))
    assert web.post("/sign-out").status_code == 303
    assert "The cart is empty" in text(web.get("/cart"))
    # An old page of the one who signed out: nothing is bought.
    assert pressed(web, checkout).headers["Location"].startswith("/sign-in")


def test_an_order_is_its_customer_s_own(web: FlaskClient) -> None:
    signed_in(web, 2)
    where = pressed(web, with_cart(web)).headers["Location"]
    assert web.get(where).status_code == 200
    signed_in(web, 3)
    assert web.get(where).status_code == 404


# --- buying ---------------------------------------------------------------------------------------------------------


def test_a_cart_can_be_changed(web: FlaskClient) -> None:
    with_cart(web, product=5)
    web.post("/cart/lines", data={"product": 5, "pieces": 3})
    assert "3 items" in text(web.get("/cart"))
    web.post("/cart/lines", data={"product": 5, "pieces": 0})
    assert "The cart is empty" in text(web.get("/cart"))
    assert web.get("/checkout").headers["Location"] == "/cart"
    assert web.post("/cart", data={"product": 5, "pieces": "-1"}).status_code == 400
    assert web.post("/cart", data={"product": SMALL.products + 1}).status_code == 404


def test_pressing_twice_at_once_is_one_order(shop: Shop) -> None:
    app = web_app(shop)
    web = signed_in(app.test_client())
    checkout = with_cart(web)
    before = shop.balance(2)
    cookie = web.get_cookie(COOKIE)
    assert cookie is not None
    start, answers = threading.Barrier(3), []

    def press() -> None:
        other = app.test_client()
        other.set_cookie(COOKIE, cookie.value)
        start.wait()
        answers.append(pressed(other, checkout).headers["Location"])

    threads = [threading.Thread(target=press) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 1
    assert before is not None
    assert shop.balance(2) == before - int(field(checkout, "total"))
    assert "is paid" in text(web.get(answers[0]))


def test_the_price_changed_while_shopping(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    seen = shop.product(5).product["price_cents"]
    checkout = with_cart(web)
    shop.change(5, cents=seen + 1000, by="the price import", tells_cache=False)
    refused = pressed(web, checkout)
    assert refused.status_code == 409
    assert text(refused).count("The price changed while you were shopping.") == 1
    assert text(refused).count("Nothing has been taken") == 1
    keys = re.findall(r"(?:session|wallet):\S+", text(refused))
    assert len(keys) == len(set(keys)) == 2
    before = shop.balance(2)
    page = web.get("/checkout")
    assert "With this you agree to the new price." in text(page)
    assert "The price changed while you were shopping." in text(page)
    assert "is older than its row" in text(page)
    assert "by the price import" in text(page)
    assert "by=rows&amp;mapping=products.id&amp;rows=5" in page.get_data(as_text=True)
    # It changes again while that page is looked at: what was agreed to is another price.
    shop.change(5, cents=seen + 2000, by="the price import", tells_cache=False)
    again = pressed(web, page)
    assert again.status_code == 409
    assert shop.balance(2) == before
    # The button has the new total: whoever presses it has agreed.
    paid = pressed(web, again)
    assert paid.headers["Location"].startswith("/orders/")
    assert before is not None
    assert shop.balance(2) == before - seen - 2000 - 390


def test_a_new_price_can_be_kept_before_paying(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    seen = shop.product(5).product["price_cents"]
    with_cart(web)
    before = shop.balance(2)
    shop.change(5, cents=seen + 1000, by="the price import", tells_cache=False)
    web.post("/cart/price", data={"product": 5, "cents": seen + 1000, "back": "/checkout"})
    paid = pressed(web, web.get("/checkout"))
    assert paid.headers["Location"].startswith("/orders/")
    assert before is not None
    assert shop.balance(2) == before - seen - 1000 - 390


def test_a_price_that_was_agreed_to_and_changed_again_is_asked_for_again(
    web: FlaskClient, shop: Shop
) -> None:
    signed_in(web)
    with_cart(web)
    shop.change(5, cents=700, by="the editor", tells_cache=True)
    page = web.get("/checkout")
    shop.change(5, cents=800, by="the editor", tells_cache=True)
    web.post("/cart/price", data={"product": 5, "cents": field(page, "cents")})
    assert "The price changed" in text(web.get("/checkout"))


@pytest.mark.parametrize(
    "change",
    [{"total": "1"}, {"total": "x"}, {"key": ""}, {"key": "<script>"}, {"pay": "top-up", "top_up": "1"}],
)
def test_a_form_that_was_tampered_with_takes_nothing(
    web: FlaskClient, shop: Shop, change: dict[str, str]
) -> None:
    signed_in(web)
    checkout = with_cart(web)
    before = shop.balance(2)
    assert pressed(web, checkout, **change).status_code in (400, 409)
    assert shop.balance(2) == before


def test_a_price_that_a_form_makes_up_is_not_paid(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    web.get("/product/5")
    web.post("/cart", data={"product": 5, "pieces": 1, "seen": 1})
    checkout = web.get("/checkout")
    assert "The price changed" in text(checkout)
    assert pressed(web, checkout, total="391").status_code == 409


def test_what_a_wallet_lacks_is_put_in_first(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    before = shop.balance(2)
    assert before is not None
    shop.store.book(2, 100 - before, "poor")
    shop.modes.shelf.drop("wallet:2")
    checkout = with_cart(web)
    assert "are missing" in text(checkout)
    refused = pressed(web, checkout)
    assert refused.status_code == 409
    assert "does not hold that much" in text(refused)
    total, top_up = int(field(refused, "total")), int(field(refused, "top_up"))
    paid = [pressed(web, refused, pay="top-up") for _ in range(2)]
    assert paid[0].headers["Location"] == paid[1].headers["Location"]
    assert shop.balance(2) == 100 + top_up - total >= 0
    assert "Top-up" in text(web.get("/wallet"))


def test_however_much_is_missing_can_be_put_in_first(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    shop.change(5, cents=599_00, pieces=60, by="the editor", tells_cache=True)
    with_cart(web)
    web.post("/cart/lines", data={"product": 5, "pieces": 30})
    checkout = web.get("/checkout")
    assert int(field(checkout, "top_up")) > 10_000_00
    paid = pressed(web, checkout, pay="top-up")
    assert "is paid" in text(web.get(paid.headers["Location"]))


def test_the_key_of_a_top_up_pays_nothing(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    assert web.post("/wallet", data={"cents": 5000, "key": KEY}).status_code == 303
    before = shop.balance(2)
    refused = pressed(web, with_cart(web), key=KEY)
    assert refused.status_code == 404 and "booked already" in text(refused)
    assert shop.balance(2) == before
    assert "1 item" in text(web.get("/cart"))


def test_a_wallet_is_topped_up_once_for_each_form(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    page, before = web.get("/wallet"), shop.balance(2)
    for _ in range(2):
        assert web.post("/wallet", data={"cents": 5000, "key": field(page, "key")}).status_code == 303
    assert before is not None
    assert shop.balance(2) == before + 5000
    assert web.post("/wallet", data={"cents": 1, "key": KEY}).status_code == 400


def test_what_is_sold_out_can_t_be_put_into_a_cart_or_paid(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    checkout = with_cart(web)
    shop.change(5, pieces=0, by="the editor", tells_cache=True)
    refused = pressed(web, checkout)
    assert refused.status_code == 409
    assert "Only 0 of" in text(refused)
    page = web.get("/product/5")
    assert "Sold out" in text(page)
    assert "Add to cart" not in text(page)


# --- the editor and the strip ---------------------------------------------------------------------------------------


def edited(web: FlaskClient, how: str, price: str = "77.70", stock: str = "9") -> TestResponse:
    return web.post("/editor", data={"product": 5, "price": price, "stock": stock, "how": how})


def test_the_right_way_and_the_wrong_way(web: FlaskClient) -> None:
    web.get("/product/5")
    answer = edited(web, "forget")
    assert answer.headers["Location"] == "/editor?product=5&said=forgot"
    page = web.get(answer.headers["Location"])
    assert "Nobody told the cache." in text(page)
    assert "The page and the checkout disagree." in text(page)
    old = web.get("/product/5")
    assert "€77.70" not in text(old).partition("old keys")[0]
    assert "Hit, but old" in text(old)
    assert "row says €77.70" in text(old)
    assert "Remove…" in text(old)
    assert edited(web, "tell", price="78.80").headers["Location"].endswith("said=told")
    new = web.get("/product/5")
    assert "€78.80" in text(new)
    assert "Hit, but old" not in text(new)


def test_the_editor_says_that_its_import_is_wrong_on_purpose(web: FlaskClient) -> None:
    page = web.get("/editor").get_data(as_text=True)
    form = page.partition('action="/editor/import"')[2]
    assert 'value="forget" checked' in form
    assert "on purpose" in form


def test_stock_that_nobody_told_of_is_old_too(web: FlaskClient, shop: Shop) -> None:
    web.get("/product/5")
    shop.change(5, pieces=1, by="the editor", tells_cache=False)
    assert "row says 1 piece." in text(web.get("/product/5"))


def test_an_import_by_the_form(web: FlaskClient, shop: Shop) -> None:
    for number in range(1, 9):
        web.get(f"/product/{number}")
    data = {"products": "1-8", "percent": "10", "how": "forget"}
    assert web.post("/editor/import", data=data).headers["Location"] == "/editor?product=1&said=import-forgot"
    with psycopg.connect(
        shop.store._engine.url.render_as_string(False).replace("+psycopg", "")
    ) as connection:
        row = connection.execute("SELECT count(*) FROM shop.price_change").fetchone()
    assert row == (8,)
    data |= {"how": "tell"}
    assert web.post("/editor/import", data=data).headers["Location"].endswith("import-told")
    assert "Hit, but old" not in text(web.get("/product/1"))
    assert (
        web.post("/editor/import", data=data | {"percent": "0"}).headers["Location"].endswith("import-none")
    )


def test_many_old_keys_are_said_once_and_removed_together(web: FlaskClient, shop: Shop) -> None:
    cards = shop.category("kettles", 1).cards
    numbers = [card["id"] for card in cards]
    assert len(numbers) > 5
    shop.raise_prices(numbers, 20, tells_cache=False)
    page = web.get("/category/kettles")
    assert f"{len(numbers)} keys are older than their rows." in text(page)
    assert page.get_data(as_text=True).count("strip-said") == 1
    assert quote("\n".join(map(str, numbers[:2]))) in page.get_data(as_text=True)


@pytest.mark.parametrize(
    "change",
    [
        {"price": "free"},
        {"price": "-1"},
        {"price": "0"},
        {"stock": "many"},
        {"stock": "-1"},
        {"stock": "99999999"},
    ],
)
def test_what_the_editor_can_t_read_is_said_and_kept(
    web: FlaskClient, shop: Shop, change: dict[str, str]
) -> None:
    before = shop.store.row(5)
    answer = edited(web, "tell", **change)
    assert answer.status_code == 422
    name, value = next(iter(change.items()))
    assert f'name="{name}"' in answer.get_data(as_text=True)
    assert f'value="{value}"' in answer.get_data(as_text=True)
    assert shop.store.row(5) == before


@pytest.mark.parametrize(
    "change", [{"products": "1-100000"}, {"products": "x"}, {"percent": "1e9"}, {"percent": "300"}]
)
def test_an_import_that_can_t_be_read_is_said(web: FlaskClient, change: dict[str, str]) -> None:
    data = {"products": "1-8", "percent": "10", "how": "tell"} | change
    assert web.post("/editor/import", data=data).status_code == 422


def test_forms_without_an_answer_are_refused(web: FlaskClient) -> None:
    assert edited(web, "perhaps").status_code == 400
    assert web.post("/mode", data={"mode": "magic"}).status_code == 400
    assert (
        web.post(
            "/editor", data={"product": SMALL.products + 1, "price": "1", "stock": "1", "how": "tell"}
        ).status_code
        == 404
    )


def test_the_strip_says_what_was_read_and_leads_into_the_dashboard(web: FlaskClient) -> None:
    signed_in(web)
    first, second = text(web.get("/product/1")), web.get("/product/1")
    assert "Miss, loaded" in first
    body = second.get_data(as_text=True)
    assert "Miss, loaded" not in body
    for expected in (
        "product:1:reviews",
        "inventory:1",
        "wallet:2",
        "Frequently updated",
        "Lives 30 s + up to 6 s.",
    ):
        assert expected in text(second)
    assert "http://127.0.0.1:8765/caches/3/keys?key=cHJvZHVjdDox" in body
    assert "http://127.0.0.1:8765/caches/3/overview" in body
    assert re.search(r'href="http://127.0.0.1:8765/lab/campaign">Run a campaign in the lab<', body)


def test_the_strip_s_sum_adds_up(web: FlaskClient, shop: Shop) -> None:
    signed_in(web)
    with_cart(web)
    for mode in MODES:
        shop.modes.switch(mode)
        web.get("/checkout")
        shop.raise_prices([5], 10, tells_cache=False)
        for path in ("/checkout", "/product/5", "/product/5", "/category/kettles"):
            said = text(web.get(path))
            counts = {
                name: int(found[1])
                for name in ("read", "hit", "load", "old")
                if (found := re.search(rf" {name}s? (\d+) ", said))
            }
            assert counts["read"] == counts["hit"] + counts["load"] + counts.get("old", 0)
            assert ("Lives" in said) == (mode != "off")


def test_the_strip_of_a_product_s_page_leads_to_the_editor_of_this_product(web: FlaskClient) -> None:
    leads = re.compile(r'<a href="(/editor[^"]*)">Change a price as the editor')
    for path, expected in (("/product/30", "/editor?product=30"), ("/", "/editor"), ("/cart", "/editor")):
        assert leads.findall(web.get(path).get_data(as_text=True)) == [expected]
    assert 'value="30"' in web.get("/editor?product=30").get_data(as_text=True)


@pytest.mark.parametrize("mode", ["naive", "cachewarden"])
def test_a_row_of_the_strip_does_not_contradict_itself(
    web: FlaskClient, shop: Shop, valkey_url: str, mode: str
) -> None:
    shop.modes.switch(mode)
    for _ in range(2):
        said = text(web.get("/product/1"))
        assert "Was given another time" not in said
    with redis.Redis.from_url(valkey_url) as client:
        client.expire("inventory:1", 40)  # as longer rules or another way to cache would have
        client.expire("product:1:reviews", 7200)
        said = text(web.get("/product/1"))
        assert said.count("Was given another time before; the next load gives it") == 2
        client.expire("inventory:1", 10)
        client.delete("product:1:reviews")
        said = text(web.get("/product/1"))
    # Of stock it is known when it was loaded: under the policy it can't have so little left already.
    assert said.count("Was given another time before") == (mode == "cachewarden")


def test_modes_are_switched_from_any_page(web: FlaskClient, shop: Shop) -> None:
    for mode, said in (("naive", "One for all"), ("off", "Not cached"), ("cachewarden", "Hot")):
        answer = web.post("/mode", data={"mode": mode, "back": "/product/1?x=1"})
        assert answer.headers["Location"] == "/product/1?x=1"
        assert said in text(web.get("/product/1"))
        assert shop.store.mode() == mode


def test_without_a_dashboard_the_strip_leads_nowhere(shop: Shop) -> None:
    web = web_app(shop, NOWHERE).test_client()
    web.get("/product/1")
    edited(web, "forget")
    body = web.get("/product/1").get_data(as_text=True)
    assert "http://" not in body
    assert 'href=""' not in body


# --- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_without_its_cache_the_shop_goes_on(store: ShopStore, mode: str) -> None:
    with valkey.start() as server:
        modes = Modes(store, server.url, document=DOCUMENT)
        modes.switch(mode)
        web = signed_in(web_app(Shop(store, modes)).test_client())
        assert web.get("/product/1").status_code == 200
    for path in PAGES:
        assert web.get(path).status_code == 200, path
    said = "The cache does not answer." in text(web.get("/product/1"))
    assert said == (mode != "off")
    where = pressed(web, with_cart(web)).headers["Location"]
    assert "is paid" in text(web.get(where))
    assert edited(web, "tell").status_code == 303
    assert "€77.70" in text(web.get("/product/5"))
    modes.close()


def test_a_cache_that_refuses_is_away_and_not_empty(store: ShopStore) -> None:
    with valkey.start() as server, redis.Redis.from_url(server.url) as admin:
        modes = Modes(store, server.url, document=DOCUMENT)
        web = web_app(Shop(store, modes)).test_client()
        assert "The cache does not answer." not in text(web.get("/product/1"))
        own = admin.client_id()
        admin.config_set("requirepass", "another")
        # The strip's own connection outlives it.
        for each in admin.client_list():
            if each["id"] != str(own) and each["name"] != "demo-store-strip":
                admin.client_kill_filter(_id=each["id"])
        said = text(web.get("/product/1"))
        assert "The cache does not answer." in said
        assert "Cache away, loaded" in said
        assert "Miss, loaded" not in said
        modes.close()


@pytest.fixture
def cut(postgres_url: str, shop_url: str) -> Callable[[bool], None]:
    """``cut(True)``: nobody reaches the shop's database; ``cut(False)``: again."""
    name = shop_url.rpartition("/")[2]

    def cut(is_away: bool) -> None:
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            statement = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
            admin.execute(statement.format(sql.Identifier(name), sql.SQL("false" if is_away else "true")))
            if is_away:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
                )

    return cut


def test_without_its_database_the_shop_shows_what_is_cached(
    web: FlaskClient, shop: Shop, cut: Callable[[bool], None], caplog: pytest.LogCaptureFixture
) -> None:
    web.get("/product/1")
    before = shop.product(1).product["name"]
    cut(True)
    try:
        cached = web.get("/product/1")
        assert cached.status_code == 200
        assert before in text(cached)
        assert "nobody can say what of it is old" in text(cached)
        for path in ("/product/200", "/search?q=never+searched", "/sign-in", "/editor?product=1"):
            answer = web.get(path)
            assert answer.status_code == 503, path
            assert "database does not answer" in text(answer)
        assert web.post("/cart", data={"product": 1, "pieces": 1}).status_code == 503
        assert web.post("/mode", data={"mode": "off"}).status_code == 503
    finally:
        cut(False)
    assert web.get("/product/200").status_code == 200


def test_a_page_that_fails_says_so_and_nothing_of_why(
    web: FlaskClient, shop_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(shop_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE shop.review RENAME TO gone")
    answer = web.get("/product/1")
    assert answer.status_code == 500
    assert "This page failed" in text(answer)
    assert "gone" not in text(answer)
    assert "relation" not in text(answer)
