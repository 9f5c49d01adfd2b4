"""What the shop's pages show, read through the shelf in force. Keys are named here and nowhere else."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dashboard.demo.shop.modes import Modes, Then, direct
from dashboard.demo.shop.store import DEAREST_CENTS, PER_PAGE, ShopStore
from dashboard.demo.shop.types import Paid, ShopError, Unknown

Json = dict[str, Any]
SITE: Final = "config:site"
FRONT: Final = "home:front"
NEWS: Final = "news:front"
MOST_PAGES: Final = 400
LONGEST_SEARCH: Final = 100
LARGEST_NUMBER: Final = 2**31 - 1
MOST_STOCK: Final = 100_000
MOST_IMPORTED: Final = 500
TOP_UPS: Final = (5_000, 10_000, 20_000)
"""What can be put into a wallet at once, in cents."""
IMPORT: Final = "the price import"
EDITOR: Final = "the editor"


def product_key(number: int) -> str:
    """Texts and price of a product."""
    return f"product:{number}"


def reviews_key(number: int) -> str:
    """Stars and reviews of a product."""
    return f"product:{number}:reviews"


def related_key(number: int) -> str:
    """What goes well with a product."""
    return f"product:{number}:related"


def stock_key(number: int) -> str:
    """Pieces in stock."""
    return f"inventory:{number}"


def category_key(slug: str, page: int) -> str:
    """One page of a category."""
    return f"category:{slug}:{page}"


def search_key(words: str, page: int) -> str:
    """One page of what a search found; the words are a customer's and may be anything."""
    return f"search:{hashlib.sha256(words.encode('utf-8', 'replace')).hexdigest()[:24]}:{page}"


def wallet_key(customer: int) -> str:
    """A customer's balance."""
    return f"wallet:{customer}"


def session_key(token: str) -> str:
    """Who is signed in."""
    return f"session:{token}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who asks.

    Args:
        token: of the session; empty before there is one.
        customer: None: not signed in.
        balance_cents: of the wallet; None without one.
        in_cart: pieces.
    """

    token: str = ""
    customer: int | None = None
    name: str = ""
    balance_cents: int | None = None
    in_cart: int = 0

    @property
    def is_known(self) -> bool:
        """Whether there is such a session."""
        return bool(self.token)


@dataclass(frozen=True, slots=True)
class ProductPage:
    """A product, from four keys."""

    product: Json
    reviews: Json
    related: Sequence[Json]
    pieces: int


@dataclass(frozen=True, slots=True)
class HomePage:
    """What sells best, what is on sale, and the news."""

    bestsellers: Sequence[Json]
    sale: Sequence[Json]
    news: Sequence[Json]


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a category, or of what was found.

    Args:
        parent: of a subcategory: its parent's slug and name.
        words: that were searched for, as they were typed.
        is_cut: more was typed than is searched for.
    """

    title: str
    cards: Sequence[Json]
    total: int
    page: int
    slug: str = ""
    parent: tuple[str, str] | None = None
    words: str = ""
    is_cut: bool = False

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return min(MOST_PAGES, max(1, -(-self.total // PER_PAGE)))


@dataclass(frozen=True, slots=True)
class CartPage:
    """A cart; prices and stock straight from the database, names from the cache.

    Args:
        lines: each with its ``product``.
        changed: lines whose price is not what the customer saw.
    """

    lines: Sequence[Json]
    delivery_cents: int
    changed: Sequence[Json] = field(default_factory=tuple)

    @property
    def pieces(self) -> int:
        """Of everything."""
        return sum(int(line["pieces"]) for line in self.lines)

    @property
    def total_cents(self) -> int:
        """To pay, delivery included; 0 for an empty cart."""
        return self._sum("price_cents")

    @property
    def seen_cents(self) -> int:
        """What the customer believes."""
        return self._sum("seen_cents")

    def _sum(self, name: str) -> int:
        goods = sum(int(line["pieces"]) * int(line[name]) for line in self.lines)
        return goods + self.delivery_cents if self.lines else 0


class Shop:
    """The shop's use cases.

    Args:
        store: its database.
        modes: how it caches.
    """

    def __init__(self, store: ShopStore, modes: Modes) -> None:
        self.store = store
        self.modes = modes

    # --- looking ------------------------------------------------------------------------------------------------

    def site(self) -> Json:
        """What every page shows."""
        found: Json = self.modes.shelf.read(SITE, self.store.site)
        return found

    def home(self) -> HomePage:
        """The home page."""
        shelf = self.modes.shelf
        front = shelf.read(FRONT, self.store.front)
        news = shelf.read(NEWS, self.store.news)
        cards = self._cards([*front["bestsellers"], *front["sale"]])
        sold = {each["id"] for each in front["bestsellers"]}
        on_sale = {each["id"] for each in front["sale"]}
        return HomePage(
            [card for card in cards if card["id"] in sold],
            [card for card in cards if card["id"] in on_sale and card["is_sale"]],
            news,
        )

    def category(self, slug: str, page: int, site: Json | None = None) -> ListPage:
        """One page of a category.

        Args:
            site: as ``site`` has it, where it was read already.

        Raises:
            Unknown: there is no such category, or page.
        """
        if not 1 <= page <= MOST_PAGES or len(slug) > 60:
            raise Unknown("There is no such page.")
        categories = {each["id"]: each for each in (site or self.site())["categories"]}
        if slug not in {each["slug"] for each in categories.values()}:
            # What somebody made up gets no key of its own.
            raise Unknown("There is no such category.")
        found = self.modes.shelf.read(category_key(slug, page), lambda: self.store.category(slug, page))
        if page > 1 and not found["products"]:
            raise Unknown("There is no such page.")
        parent = categories.get(found["parent_id"])
        return ListPage(
            found["name"],
            self._cards(found["products"]),
            found["total"],
            page,
            slug,
            (parent["slug"], parent["name"]) if parent else None,
        )

    def search(self, words: str, page: int) -> ListPage:
        """What a search finds.

        Raises:
            Unknown: there is no such page.
        """
        typed, is_cut = search_words(words)
        if not 1 <= page <= MOST_PAGES:
            raise Unknown("There is no such page.")
        if not typed:
            return ListPage("Search", (), 0, page)
        wanted = typed.lower()
        found = self.modes.shelf.read(search_key(wanted, page), lambda: self.store.search(wanted, page))
        return ListPage(
            f"“{typed}”", self._cards(found["products"]), found["total"], page, words=typed, is_cut=is_cut
        )

    def product(self, number: int) -> ProductPage:
        """A product's page.

        Raises:
            Unknown: there is no such product.
        """
        shelf = self.modes.shelf
        product = self._product(number)
        reviews = shelf.read(reviews_key(number), lambda: self.store.reviews(number))
        related = shelf.read(related_key(number), lambda: self.store.related(number))
        stock = shelf.read(stock_key(number), lambda: self.store.stock(number))
        return ProductPage(product, reviews, self._cards(related), int(stock["pieces"]) if stock else 0)

    def visitor(self, token: str) -> Visitor:
        """Who has this session; a stranger for one that does not exist."""
        if not token or len(token) > 100:
            return Visitor()
        shelf = self.modes.shelf
        found = shelf.read(session_key(token), lambda: self.store.session(token))
        if found is None:
            return Visitor()
        customer, in_cart = found["customer_id"], int(found["in_cart"])
        if customer is None:
            return Visitor(token, in_cart=in_cart)
        return Visitor(token, customer, found["name"], self.balance(customer), in_cart)

    def balance(self, customer: int) -> int | None:
        """What a wallet holds; None: there is none."""
        wallet = self.modes.shelf.read(wallet_key(customer), lambda: self.store.wallet(customer))
        return None if wallet is None else int(wallet["balance_cents"])

    def cart(self, visitor: Visitor, site: Json | None = None) -> CartPage:
        """A cart as it is, at the prices that the database has; ``site`` as for ``category``."""
        why = "Prices and stock straight from the database."
        rows = direct("cart", lambda: self.store.cart(visitor.token), why) if visitor.is_known else ()
        products = self._products([row["product_id"] for row in rows])
        lines = [
            {**row, "product": products[row["product_id"]]} for row in rows if row["product_id"] in products
        ]
        changed = [line for line in lines if line["price_cents"] != line["seen_cents"]]
        return CartPage(lines, int((site or self.site())["delivery_cents"]), changed)

    def order(self, visitor: Visitor, number: int) -> Json:
        """An order of the customer's own, with its lines.

        Raises:
            Unknown: there is none.
        """
        customer = visitor.customer
        found: Json | None = None
        if customer is not None and number <= LARGEST_NUMBER:
            why = "An order never changes; nobody reads it twice."
            found = direct("order", lambda: self.store.order(number, customer), why)
        if found is None:
            raise Unknown("There is no such order.")
        products = self._products([line["product_id"] for line in found["lines"]])
        lines = [{**line, "product": products.get(line["product_id"])} for line in found["lines"]]
        return {**found, "lines": lines}

    # --- buying -------------------------------------------------------------------------------------------------

    def open_session(self, customer: int | None = None, token: str = "") -> str:
        """Begin a session, or sign a customer in to one. Returns its token.

        Raises:
            Unknown: there is no such customer.
        """
        token = token or secrets.token_urlsafe(18)
        self.store.open_session(token, customer)
        self.modes.shelf.drop(session_key(token))
        return token

    def close_session(self, token: str) -> None:
        """Sign out."""
        self.store.close_session(token)
        self.modes.shelf.drop(session_key(token))

    def put_in_cart(self, token: str, number: int, pieces: int, seen_cents: int | None = None) -> None:
        """Add to a cart.

        Args:
            seen_cents: the price that the customer saw; None: what the product's page shows now.

        Raises:
            Unknown: there is no such product or session.
        """
        product = self._product(number)
        self.store.put_in_cart(
            token, number, pieces, int(product["price_cents"]) if seen_cents is None else seen_cents
        )
        self.modes.shelf.drop(session_key(token))

    def set_pieces(self, token: str, number: int, pieces: int) -> None:
        """Have so many pieces of what is in a cart; none: take it out."""
        if pieces < 1:
            self.store.take_out(token, number)
        else:
            self.store.set_pieces(token, number, pieces)
        self.modes.shelf.drop(session_key(token))

    def accept_price(self, token: str, number: int, cents: int) -> None:
        """The customer keeps it at the price he was shown now."""
        self.store.accept_price(token, number, cents)

    def pay(self, visitor: Visitor, order_key: str, expected_cents: int | None = None) -> Paid:
        """Pay a cart from the wallet: once, however often the button is pressed.

        Args:
            expected_cents: what the button said; None: whatever it is.

        Raises:
            Unknown: nobody is signed in, or the cart is empty.
            PriceChanged, OutOfStock, NotEnough: as ``ShopStore.pay``.
        """
        customer = visitor.customer
        if customer is None:
            raise Unknown("Sign in to pay from your wallet.")
        shelf = self.modes.shelf
        paid: Paid = shelf.write(
            wallet_key(customer),
            lambda then: self.store.pay(
                visitor.token,
                customer,
                _owned(customer, order_key),
                expected_cents=expected_cents,
                then=then,
            ),
        )
        if paid.products:
            shelf.drop(session_key(visitor.token), *(stock_key(number) for number in paid.products))
        return paid

    def top_up(self, customer: int, cents: int, key: str) -> int:
        """Put money into a wallet. Returns the balance.

        Raises:
            Unknown: there is no such customer, or the key was used before.
        """

        def commit(then: Then) -> Mapping[str, Any]:
            return self.store.book(customer, cents, _owned(customer, key), then=then)

        wallet = self.modes.shelf.write(wallet_key(customer), commit)
        return int(wallet["balance_cents"])

    # --- the editor's ---------------------------------------------------------------------------------------------

    def change(
        self, number: int, *, cents: int | None = None, pieces: int | None = None, by: str, tells_cache: bool
    ) -> Json:
        """Change price and stock of a product.

        Args:
            cents, pieces: None: as it is.
            tells_cache: invalidate what shows it, as one should; else it is forgotten.

        Returns:
            The row as it is now.

        Raises:
            Unknown: there is no such product.
            ShopError: no such price or stock.
        """
        if cents is not None and not 1 <= cents <= DEAREST_CENTS:
            raise ShopError(f"A price is between 0.01 and {DEAREST_CENTS // 100:,} euros.")
        if pieces is not None and not 0 <= pieces <= MOST_STOCK:
            raise ShopError(f"Stock is between 0 and {MOST_STOCK:,} pieces.")
        row = self.store.row(number) if number <= LARGEST_NUMBER else None
        if row is None:
            raise Unknown("There is no such product.")
        if cents is not None and cents != row["price_cents"]:
            row = self.store.set_price(number, cents, by)
        if pieces is not None and pieces != row["pieces"]:
            row = self.store.set_stock(number, pieces)
        if tells_cache:
            self.modes.shelf.drop(product_key(number), stock_key(number))
        return row

    def raise_prices(self, numbers: Sequence[int], percent: int, *, tells_cache: bool) -> Sequence[int]:
        """Change the prices of several products, as an import of prices does at night.

        Args:
            percent: below 0 to lower them.
            tells_cache: invalidate what shows them; an import usually forgets.

        Returns:
            The products whose price is another now.

        Raises:
            ShopError: too many, or too much.
        """
        if len(numbers) > MOST_IMPORTED:
            raise ShopError(f"At most {MOST_IMPORTED} products at once.")
        if not -90 <= percent <= 200:
            raise ShopError("Prices change by -90% to 200%.")
        changed = self.store.raise_prices(
            [each for each in numbers if each <= LARGEST_NUMBER], percent, IMPORT
        )
        if tells_cache and changed:
            self.modes.shelf.drop(*map(product_key, changed))
        return changed

    # --- helpers ------------------------------------------------------------------------------------------------

    def _product(self, number: int) -> Json:
        """One product.

        Raises:
            Unknown: there is none.
        """
        # What can't be a product's number gets no key of its own.
        is_possible = 1 <= number <= LARGEST_NUMBER
        shelf = self.modes.shelf
        found = shelf.read(product_key(number), lambda: self.store.product(number)) if is_possible else None
        if found is None:
            raise Unknown("There is no such product.")
        product: Json = found
        return product

    def _products(self, numbers: Sequence[int]) -> Mapping[int, Json]:
        """Several, by their numbers; with one look at the cache."""
        if not numbers:
            return {}

        def load(keys: list[str]) -> Mapping[str, Json]:
            found = self.store.products([int(key.rpartition(":")[2]) for key in keys])
            return {product_key(number): product for number, product in found.items()}

        found = self.modes.shelf.read_many([product_key(number) for number in numbers], load)
        return {product["id"]: product for product in found.values() if product is not None}

    def _cards(self, cards: Sequence[Json]) -> Sequence[Json]:
        """Stars from a list, name and price from the products' own keys: a list must not know old prices."""
        products = self._products([card["id"] for card in cards])
        return [{**products[card["id"]], **card} for card in cards if card["id"] in products]


def search_words(text: str) -> tuple[str, bool]:
    """(what is searched for, of what was typed: anything that PostgreSQL can be asked; whether it is not all)."""
    sound = " ".join(text.replace("\0", " ").encode("utf-8", "replace").decode().split())
    return sound[:LONGEST_SEARCH].strip(), len(sound) > LONGEST_SEARCH


def _owned(customer: int, key: str) -> str:
    """A key that no other customer can have used."""
    return f"{customer}:{key}"
