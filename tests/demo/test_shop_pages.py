"""The shop's use cases: which keys they read, and what they make of hostile input."""

import pytest
import redis

from dashboard.demo.shop import modes as module
from dashboard.demo.shop import pages
from dashboard.demo.shop.catalogue import SMALL
from dashboard.demo.shop.pages import Shop
from dashboard.demo.shop.types import MODES, ShopError, Touch, Unknown


def heard_by(read: object) -> list[Touch]:
    heard: list[Touch] = []
    module.touches.set(heard)
    try:
        read()  # type: ignore[operator]
    finally:
        module.touches.set(None)
    return heard


def test_a_product_s_page_is_four_keys_and_what_goes_with_it(shop: Shop) -> None:
    keys = [touch.key for touch in heard_by(lambda: shop.product(1))]
    assert keys[:4] == ["product:1", "product:1:reviews", "product:1:related", "inventory:1"]
    assert all(key.startswith("product:") and key.count(":") == 1 for key in keys[4:])


def test_a_switch_forgets_every_key_that_pages_read(shop: Shop, valkey_url: str) -> None:
    token = shop.open_session(3)
    shop.put_in_cart(token, 5, 1)
    keys = {
        touch.key
        for touch in heard_by(
            lambda: (
                shop.home(),
                shop.category("tea", 1),
                shop.search("tea", 1),
                shop.product(1),
                shop.visitor(token),
            )
        )
    }
    client = redis.Redis.from_url(valkey_url)
    assert client.exists(*keys) == len(keys) > 10
    shop.modes.switch("naive")
    assert client.exists(*keys) == 0
    client.close()


@pytest.mark.parametrize("mode", MODES)
def test_after_the_right_change_no_page_shows_the_old_price(shop: Shop, mode: str) -> None:
    shop.modes.switch(mode)
    number = shop.home().bestsellers[0]["id"]
    slug = shop.product(number).product["parent_slug"]
    words = shop.product(number).product["name"]

    def shown() -> list[int]:
        cards = [*shop.home().bestsellers, *shop.category(slug, 1).cards, *shop.search(words, 1).cards]
        return [card["price_cents"] for card in cards if card["id"] == number]

    assert len(shown()) >= 2
    shop.change(number, cents=123_40, pieces=None, by="the editor", tells_cache=True)
    assert set(shown()) == {123_40}
    assert shop.product(number).product["price_cents"] == 123_40


@pytest.mark.parametrize("mode", ["naive", "cachewarden"])
def test_a_forgotten_invalidation_misleads_until_the_key_is_removed(
    shop: Shop, mode: str, valkey_url: str
) -> None:
    shop.modes.switch(mode)
    before = shop.product(1).product["price_cents"]
    shop.change(1, cents=before + 1000, by="the editor", tells_cache=False)
    assert shop.product(1).product["price_cents"] == before
    token = shop.open_session(3)
    shop.put_in_cart(token, 1, 1)
    cart = shop.cart(shop.visitor(token))
    assert [line["price_cents"] for line in cart.changed] == [before + 1000]
    assert cart.total_cents == cart.seen_cents + 1000
    client = redis.Redis.from_url(valkey_url)
    client.delete(pages.product_key(1))
    client.close()
    assert shop.product(1).product["price_cents"] == before + 1000


@pytest.mark.parametrize("mode", MODES)
def test_the_balance_and_the_cart_are_never_those_from_before(shop: Shop, mode: str) -> None:
    shop.modes.switch(mode)
    token = shop.open_session(3)
    start = shop.visitor(token)
    shop.put_in_cart(token, 5, 2)
    assert shop.visitor(token).in_cart == 2
    shop.set_pieces(token, 5, 3)
    assert shop.visitor(token).in_cart == 3
    paid = shop.pay(shop.visitor(token), "a-key-of-a-form")
    after = shop.visitor(token)
    assert after.in_cart == 0
    assert start.balance_cents is not None
    assert after.balance_cents == start.balance_cents - paid.total_cents
    assert shop.product(5).pieces == (shop.store.stock(5) or {})["pieces"]
    shop.top_up(3, 5000, "another-key")
    assert shop.visitor(token).balance_cents == after.balance_cents + 5000
    shop.close_session(token)
    assert not shop.visitor(token).is_known


def test_a_key_of_a_form_is_a_customer_s_own(shop: Shop) -> None:
    orders = []
    for customer in (3, 4):
        token = shop.open_session(customer)
        shop.put_in_cart(token, 5, 1)
        orders.append(shop.pay(shop.visitor(token), "the-same-key"))
    assert orders[0].order != orders[1].order
    assert not orders[1].is_again


def test_somebody_signed_out_has_a_cart_and_can_t_pay(shop: Shop) -> None:
    token = shop.open_session()
    shop.put_in_cart(token, 5, 1)
    visitor = shop.visitor(token)
    assert visitor.is_known
    assert visitor.customer is None
    with pytest.raises(Unknown, match="Sign in"):
        shop.pay(visitor, "a-key-of-a-form")
    shop.open_session(4, token)
    assert shop.visitor(token).in_cart == 1


@pytest.mark.parametrize("token", ["", "x" * 101, "made-up-token"])
def test_a_session_that_was_made_up_is_nobody_s(shop: Shop, token: str) -> None:
    assert not shop.visitor(token).is_known
    assert not shop.cart(shop.visitor(token)).lines


def test_what_can_t_exist_gets_no_key(shop: Shop) -> None:
    for read in (
        lambda: shop.product(0),
        lambda: shop.product(2**31),
        lambda: shop.category("made-up", 1),
        lambda: shop.category("tea", 0),
        lambda: shop.search("tea", 10_000),
    ):
        with pytest.raises(Unknown):
            read()
    heard = heard_by(lambda: shop.search(" \0 ", 1))
    assert heard == []
    with pytest.raises(Unknown):
        shop.product(SMALL.products + 1)
    with pytest.raises(Unknown):
        shop.category("tea", 300)


@pytest.mark.parametrize(
    "words", ["\0", "kettle\0", "\ud800 kettle", "a" * 5000, "' --", "%_\\", "\n\t", "<b>"]
)
def test_any_text_can_be_searched_for(shop: Shop, words: str) -> None:
    found = shop.search(words, 1)
    assert len(found.words) <= pages.LONGEST_SEARCH
    again = shop.search(words, 1)
    assert [card["id"] for card in again.cards] == [card["id"] for card in found.cards]


def test_the_same_words_are_the_same_key(shop: Shop) -> None:
    first = heard_by(lambda: shop.search("Quiet  KETTLE", 1))
    second = heard_by(lambda: shop.search("quiet kettle ", 1))
    assert first[0].key == second[0].key
    assert second[0].result == "hit"


def test_an_import_that_tells_the_cache_is_seen_at_once(shop: Shop) -> None:
    before = [shop.product(number).product["price_cents"] for number in (1, 2)]
    assert list(shop.raise_prices([1, 2], 50, tells_cache=False)) == [1, 2]
    assert [shop.product(number).product["price_cents"] for number in (1, 2)] == before
    shop.raise_prices([1, 2], 50, tells_cache=True)
    assert all(shop.product(number).product["price_cents"] > before[number - 1] for number in (1, 2))


@pytest.mark.parametrize(
    "change",
    [
        {"cents": 0, "pieces": None},
        {"cents": 10**9, "pieces": None},
        {"cents": None, "pieces": -1},
        {"cents": None, "pieces": 10**9},
    ],
)
def test_a_price_or_stock_that_can_t_be_is_refused(shop: Shop, change: dict[str, int | None]) -> None:
    before = shop.store.row(1)
    with pytest.raises(ShopError):
        shop.change(1, cents=change["cents"], pieces=change["pieces"], by="the editor", tells_cache=True)
    assert shop.store.row(1) == before


def test_imports_have_limits(shop: Shop) -> None:
    with pytest.raises(ShopError):
        shop.raise_prices(list(range(1, pages.MOST_IMPORTED + 2)), 10, tells_cache=True)
    with pytest.raises(ShopError):
        shop.raise_prices([1], 201, tells_cache=True)
