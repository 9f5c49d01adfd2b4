"""What the shop's pages show, read through the shelf in force. Keys are named here and nowhere else."""

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dashboard.demo.shop.modes import Modes, Then
from dashboard.demo.shop.store import ShopStore
from dashboard.demo.shop.types import Paid, Unknown

Json = dict[str, Any]
SITE: Final = "config:site"
FRONT: Final = "home:front"
NEWS: Final = "news:front"
MOST_PAGES: Final = 400
LONGEST_SEARCH: Final = 100


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


@dataclass(frozen=True, slots=True)
class ProductPage:
    """A product, from four keys."""

    product: Json
    reviews: Json
    related: Sequence[Json]
    pieces: int


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a category, or of what was found."""

    title: str
    found: Json
    slug: str = ""
    words: str = ""
    per_page: int = 24

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return max(1, -(-int(self.found["total"]) // self.per_page))


@dataclass(frozen=True, slots=True)
class CartPage:
    """A cart; prices and stock straight from the database.

    Args:
        changed: lines whose price is not what the customer saw.
    """

    lines: Sequence[Json]
    delivery_cents: int
    changed: Sequence[Json] = field(default_factory=tuple)

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

    def home(self) -> tuple[Json, Sequence[Json]]:
        """(bestsellers and sale, news)."""
        shelf = self.modes.shelf
        return shelf.read(FRONT, self.store.front), shelf.read(NEWS, self.store.news)

    def category(self, slug: str, page: int) -> ListPage:
        """One page of a category.

        Raises:
            Unknown: there is no such category, or page.
        """
        if not 1 <= page <= MOST_PAGES or len(slug) > 60:
            raise Unknown("There is no such page.")
        if slug not in {each["slug"] for each in self.site()["categories"]}:
            # What nobody made up gets no key of its own.
            raise Unknown("There is no such category.")
        found = self.modes.shelf.read(category_key(slug, page), lambda: self.store.category(slug, page))
        return ListPage(found["name"], found, slug=slug)

    def search(self, words: str, page: int) -> ListPage:
        """What a search finds.

        Raises:
            Unknown: there is no such page.
        """
        words = " ".join(words.split())[:LONGEST_SEARCH].lower()
        if not 1 <= page <= MOST_PAGES:
            raise Unknown("There is no such page.")
        found = self.modes.shelf.read(search_key(words, page), lambda: self.store.search(words, page))
        return ListPage(f"“{words}”", found, words=words)

    def product(self, number: int) -> ProductPage:
        """A product's page.

        Raises:
            Unknown: there is no such product.
        """
        shelf = self.modes.shelf
        product = shelf.read(product_key(number), lambda: self.store.product(number))
        if product is None:
            raise Unknown("There is no such product.")
        reviews = shelf.read(reviews_key(number), lambda: self.store.reviews(number))
        related = shelf.read(related_key(number), lambda: self.store.related(number))
        stock = shelf.read(stock_key(number), lambda: self.store.stock(number))
        return ProductPage(product, reviews, related, int(stock["pieces"]) if stock else 0)

    def visitor(self, token: str) -> Visitor:
        """Who has this session; a stranger for one that does not exist."""
        if not token or len(token) > 100:
            return Visitor()
        shelf = self.modes.shelf
        found = shelf.read(session_key(token), lambda: self.store.session(token))
        if found is None:
            return Visitor()
        in_cart = sum(int(line["pieces"]) for line in self.store.cart(token))
        customer = found["customer_id"]
        if customer is None:
            return Visitor(token, in_cart=in_cart)
        return Visitor(token, customer, found["name"], self.balance(customer), in_cart)

    def balance(self, customer: int) -> int | None:
        """What a wallet holds; None: there is none."""
        wallet = self.modes.shelf.read(wallet_key(customer), lambda: self.store.wallet(customer))
        return None if wallet is None else int(wallet["balance_cents"])

    def cart(self, visitor: Visitor) -> CartPage:
        """A cart as it is, never from the cache."""
        lines = self.store.cart(visitor.token) if visitor.token else ()
        changed = [line for line in lines if line["price_cents"] != line["seen_cents"]]
        return CartPage(lines, int(self.site()["delivery_cents"]), changed)

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

    def put_in_cart(self, token: str, number: int, pieces: int) -> None:
        """Add to a cart, at the price that the product's page shows.

        Raises:
            Unknown: there is no such product or session.
        """
        product = self.modes.shelf.read(product_key(number), lambda: self.store.product(number))
        if product is None:
            raise Unknown("There is no such product.")
        self.store.put_in_cart(token, number, pieces, int(product["price_cents"]))

    def pay(self, visitor: Visitor, order_key: str) -> Paid:
        """Pay a cart from the wallet: once, however often the button is pressed.

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
            lambda then: self.store.pay(visitor.token, customer, order_key, then=then),
        )
        if paid.products:
            shelf.drop(*(stock_key(number) for number in paid.products))
        return paid

    def top_up(self, customer: int, cents: int, key: str) -> int:
        """Put money into a wallet. Returns the balance.

        Raises:
            Unknown: there is no such customer, or the key was used before.
        """

        def commit(then: Then) -> Mapping[str, Any]:
            return self.store.book(customer, cents, key, then=then)

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
        """
        row = self.store.row(number)
        if row is None:
            raise Unknown("There is no such product.")
        if cents is not None:
            row = self.store.set_price(number, cents, by)
        if pieces is not None:
            row = self.store.set_stock(number, pieces)
        if tells_cache:
            self.modes.shelf.drop(product_key(number), stock_key(number))
        return row
