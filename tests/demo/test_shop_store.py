"""The shop's queries, on a small shop in a real PostgreSQL."""

import threading
import time

import psycopg
import pytest

from dashboard.demo.shop import schema
from dashboard.demo.shop import store as stores
from dashboard.demo.shop.catalogue import SMALL
from dashboard.demo.shop.store import DELIVERY_CENTS, ShopStore
from dashboard.demo.shop.types import (
    DatabaseAway,
    NotEnough,
    OutOfStock,
    PriceChanged,
    Unknown,
)

TOKEN = "a-token-of-a-test"


def filled(store: ShopStore, customer: int | None = 3, *, pieces: int = 2, product: int = 5) -> int:
    """A cart with one product; returns what is to be paid."""
    store.open_session(TOKEN, customer)
    row = store.row(product)
    assert row is not None
    store.put_in_cart(TOKEN, product, pieces, row["price_cents"])
    return int(pieces * row["price_cents"]) + DELIVERY_CENTS


def balance(store: ShopStore, customer: int = 3) -> int:
    wallet = store.wallet(customer)
    assert wallet is not None
    return int(wallet["balance_cents"])


# --- the schema -----------------------------------------------------------------------------------------------------


def test_the_shop_is_made_under_a_name_of_its_own_and_goes_again(shop_url: str) -> None:
    with psycopg.connect(shop_url, autocommit=True) as connection:
        assert schema.exists(connection)
        assert not schema.exists(connection, "second")
        schema.create(connection, "second", size=SMALL, seed=7)
        assert schema.exists(connection, "second")
        second, first = ShopStore(shop_url, "second"), ShopStore(shop_url)
        assert second.product(1) != first.product(1)
        second.close()
        first.close()
        schema.drop(connection, "second")
        assert not schema.exists(connection, "second")
        assert schema.exists(connection)


def test_a_shop_that_was_half_made_is_none(shop_url: str) -> None:
    with psycopg.connect(shop_url, autocommit=True) as connection:
        connection.execute("DELETE FROM shop.config WHERE name = 'seeded'")
        assert not schema.exists(connection)


# --- looking --------------------------------------------------------------------------------------------------------


def test_a_product_says_what_it_is_where_it_belongs_and_what_it_costs(store: ShopStore) -> None:
    product = store.product(1)
    assert product is not None
    assert product["price_cents"] > 0
    assert product["parent"] in {"Coffee", "Tea", "Kettles", "Grinders", "Cups", "Storage"}
    assert store.product(SMALL.products + 1) is None
    assert list(store.products([3, 1, SMALL.products + 1])) in ([1, 3], [3, 1])


def test_reviews_add_up(store: ShopStore, shop_url: str) -> None:
    found = store.reviews(1)
    with psycopg.connect(shop_url) as connection:
        row = connection.execute(
            "SELECT count(*), round(avg(stars), 1)::float8 FROM shop.review WHERE product_id = 1"
        ).fetchone()
    assert (found["count"], found["mean"]) == row
    assert sum(count for _, count in found["by_stars"]) == found["count"]
    assert len(found["shown"]) == stores.SHOWN_REVIEWS


def test_a_product_without_reviews_has_no_mean(store: ShopStore, shop_url: str) -> None:
    with psycopg.connect(shop_url, autocommit=True) as connection:
        connection.execute("DELETE FROM shop.review WHERE product_id = 9")
    assert store.reviews(9) == {
        "count": 0,
        "mean": None,
        "by_stars": [[star, 0] for star in (5, 4, 3, 2, 1)],
        "shown": [],
    }


def test_a_category_has_what_is_below_it_and_pages_leave_nothing_out(store: ShopStore) -> None:
    seen: list[int] = []
    first = store.category("kettles", 1)
    assert first is not None
    for page in range(1, -(-first["total"] // stores.PER_PAGE) + 1):
        found = store.category("kettles", page)
        assert found is not None
        seen += [each["id"] for each in found["products"]]
    assert len(seen) == len(set(seen)) == first["total"] > 0
    assert {store.products(seen)[number]["parent_slug"] for number in seen} == {"kettles"}
    sale = store.category("sale", 1)
    assert sale is not None
    assert all(store.products([each["id"]])[each["id"]]["is_sale"] for each in sale["products"])
    assert store.category("nothing", 1) is None


def test_lists_carry_no_prices_so_that_they_can_be_cached_for_a_day(store: ShopStore) -> None:
    found = store.category("tea", 1)
    assert found is not None
    lists = [
        found["products"],
        store.front()["bestsellers"],
        store.related(1),
        store.search("tea", 1)["products"],
    ]
    assert all(set(each) == {"id", "stars", "reviews"} for cards in lists for each in cards)
    assert all(lists)


@pytest.mark.parametrize(
    "words", ["%", "_", "\\", "' OR 1=1 --", '"; DROP TABLE shop.product', "<script>", "💥"]
)
def test_a_hostile_search_is_only_words(store: ShopStore, words: str) -> None:
    assert store.search(words, 1)["total"] == 0
    assert store.product(1) is not None


def test_a_search_wants_all_words_and_finds_parts_of_them(store: ShopStore) -> None:
    some = store.search("ket", 1)["total"]
    assert 0 < store.search("ket handle", 1)["total"] < some
    assert store.search("", 1)["total"] == 0


def test_related_products_were_bought_with_it(store: ShopStore, shop_url: str) -> None:
    with psycopg.connect(shop_url) as connection:
        rows = connection.execute(
            "SELECT product_id FROM shop.order_line WHERE order_id IN"
            " (SELECT order_id FROM shop.order_line WHERE product_id = 1)"
        ).fetchall()
    found = [each["id"] for each in store.related(1)]
    assert found
    assert set(found) <= {row[0] for row in rows} - {1}


# --- carts and paying -----------------------------------------------------------------------------------------------


def test_a_session_counts_its_cart(store: ShopStore) -> None:
    filled(store, None, pieces=2)
    assert store.session(TOKEN) == {"customer_id": None, "name": None, "in_cart": 2}
    store.set_pieces(TOKEN, 5, 500)
    assert store.cart(TOKEN)[0]["pieces"] == stores.MOST_PIECES
    store.take_out(TOKEN, 5)
    assert list(store.cart(TOKEN)) == []
    store.close_session(TOKEN)
    assert store.session(TOKEN) is None


def test_nobody_puts_what_there_is_not_into_a_cart(store: ShopStore) -> None:
    store.open_session(TOKEN)
    with pytest.raises(Unknown):
        store.put_in_cart(TOKEN, SMALL.products + 1, 1, 100)
    with pytest.raises(Unknown):
        store.put_in_cart("no-such-session", 1, 1, 100)
    with pytest.raises(Unknown):
        store.open_session("another-token", SMALL.customers + 1)


def test_paying_takes_from_the_wallet_and_the_stock_once(store: ShopStore) -> None:
    total, before = filled(store), balance(store)
    stock = store.stock(5)
    assert stock is not None
    told: list[object] = []
    first = store.pay(TOKEN, 3, "key-1", then=told.append)
    again = store.pay(TOKEN, 3, "key-1", then=told.append)
    assert (first.total_cents, first.is_again, again.is_again) == (total, False, True)
    assert again.order == first.order
    assert balance(store) == before - total
    after = store.stock(5)
    assert after is not None
    assert after["pieces"] == stock["pieces"] - 2
    assert told == [{"balance_cents": before - total, "version": first.version}]
    order = store.order(first.order, 3)
    assert order is not None
    assert order["lines"][0]["pieces"] == 2
    assert store.order(first.order, 4) is None
    assert store.entries(3)[0]["order"] == first.order


def test_two_presses_at_once_are_one_payment(store: ShopStore) -> None:
    total, before = filled(store), balance(store)
    start, paid = threading.Barrier(4), []

    def press() -> None:
        start.wait()
        paid.append(store.pay(TOKEN, 3, "key-1"))

    threads = [threading.Thread(target=press) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.is_again for each in paid) == [False, True, True, True]
    assert len({each.order for each in paid}) == 1
    assert balance(store) == before - total


def test_what_goes_wrong_takes_nothing(store: ShopStore) -> None:
    total, before = filled(store), balance(store)
    with pytest.raises(PriceChanged):
        store.pay(TOKEN, 3, "key-1", expected_cents=total - 1)
    row = store.set_price(5, 1230, "the editor")
    with pytest.raises(PriceChanged):
        store.pay(TOKEN, 3, "key-1")
    assert row["by"] == "the editor"
    store.accept_price(TOKEN, 5, 1230)
    store.set_stock(5, 1)
    with pytest.raises(OutOfStock, match="Only 1 of"):
        store.pay(TOKEN, 3, "key-1")
    store.set_stock(5, 9)
    store.book(3, 100 - before, "almost-all")
    with pytest.raises(NotEnough):
        store.pay(TOKEN, 3, "key-1")
    with pytest.raises(NotEnough):
        store.book(3, -101, "too-much")
    assert balance(store) == 100
    with pytest.raises(Unknown):
        store.pay(TOKEN, SMALL.customers + 1, "key-1")
    store.take_out(TOKEN, 5)
    with pytest.raises(Unknown, match="empty"):
        store.pay(TOKEN, 3, "key-1")


def test_money_is_booked_once_for_each_key(store: ShopStore) -> None:
    before = balance(store)
    assert store.book(3, 500, "k")["balance_cents"] == before + 500
    with pytest.raises(Unknown, match="already"):
        store.book(3, 500, "k")
    assert balance(store) == before + 500


def test_what_the_cache_refuses_is_not_booked(store: ShopStore) -> None:
    before = balance(store)

    def refuse(wallet: object) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        store.book(3, 500, "k", then=refuse)
    assert balance(store) == before


# --- the editor -----------------------------------------------------------------------------------------------------


def test_an_import_changes_prices_in_steps_and_says_which(store: ShopStore, shop_url: str) -> None:
    before = {number: row["price_cents"] for number, row in store.rows([1, 2, 3]).items()}
    changed = store.raise_prices([1, 2, SMALL.products + 5], 10, "the price import")
    rows = store.rows([1, 2, 3])
    assert list(changed) == [1, 2]
    for number in (1, 2):
        assert rows[number]["price_cents"] % 10 == 0
        assert abs(rows[number]["price_cents"] - before[number] * 1.1) <= 5
        assert rows[number]["by"] == "the price import"
    assert rows[3]["price_cents"] == before[3]
    assert list(store.raise_prices([1, 2], 0, "the price import")) == []
    with psycopg.connect(shop_url) as connection:
        row = connection.execute("SELECT count(*) FROM shop.price_change").fetchone()
    assert row == (2,)


def test_what_does_not_exist_can_t_be_changed(store: ShopStore) -> None:
    with pytest.raises(Unknown):
        store.set_price(SMALL.products + 1, 100, "the editor")
    with pytest.raises(Unknown):
        store.set_stock(SMALL.products + 1, 100)


# --- the database ---------------------------------------------------------------------------------------------------


def test_a_database_that_is_far_away_takes_longer_for_each_query(shop_url: str) -> None:
    far = ShopStore(shop_url, latency_s=0.05)
    far.product(1)
    spent: list[float] = []
    stores.spent.set(spent)
    began = time.perf_counter()
    far.product(1)
    far.stock(1)
    assert time.perf_counter() - began >= 0.1
    assert len(spent) == 2
    assert min(spent) >= 50
    stores.spent.set(None)
    far.close()


def test_a_database_that_is_not_there_is_said_to_be_away() -> None:
    away = ShopStore("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseAway):
        away.product(1)
    with pytest.raises(DatabaseAway):
        away.book(1, 100, "k")
    away.close()


def test_a_mode_nobody_knows_is_the_usual_one(store: ShopStore, shop_url: str) -> None:
    store.set_mode("naive")
    assert store.mode() == "naive"
    with psycopg.connect(shop_url, autocommit=True) as connection:
        connection.execute("UPDATE shop.config SET value = '\"magic\"' WHERE name = 'mode'")
    assert store.mode() == "cachewarden"
