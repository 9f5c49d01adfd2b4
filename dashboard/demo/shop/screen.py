"""What the shop's templates show: one frozen dataclass each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dashboard.demo.shop.pages import CartPage, HomePage, ListPage, ProductPage, Visitor
from dashboard.demo.shop.strip import Strip

Json = Mapping[str, Any]
MOST_PIECES_OFFERED: Final = 9
NOTICES: Final = {
    "added": ("ok", "It is in the cart."),
    "topped-up": ("ok", "The money is in your wallet."),
    "told": ("ok", "Written, and the cache was told: from now on nobody reads the old value."),
    "forgot": ("warn", "Written to the database only. Nobody told the cache."),
    "import-told": ("ok", "The import is written, and the cache was told of each product."),
    "import-forgot": ("warn", "The import is written to the database only. Nobody told the cache."),
    "import-none": ("info", "No price changed."),
}
"""By their names in addresses: kind and sentence."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What is around every page.

    Args:
        categories: with their parents; empty when they can't be had.
        products: how many there are.
        slug: of the category to be marked.
        words: in the field for searching.
        back: where a form of the frame leads back to.
        product: number of the product that the page is about; 0: of none.
        notice: kind and sentence above the page.
        strip: None: nobody looks at it.
    """

    categories: Sequence[Json]
    products: int
    visitor: Visitor
    slug: str = ""
    words: str = ""
    back: str = "/"
    notice: tuple[str, str] | None = None
    strip: Strip | None = None
    product: int = 0

    @property
    def editor_href(self) -> str:
        """The editor, with the product that one looks at."""
        return f"/editor?product={self.product}" if self.product else "/editor"

    @property
    def main_categories(self) -> Sequence[Json]:
        """Those without a parent."""
        return [each for each in self.categories if each["parent_id"] is None]

    def below(self, slug: str) -> Sequence[Json]:
        """Categories below another."""
        parents = {each["id"] for each in self.categories if each["slug"] == slug}
        return [each for each in self.categories if each["parent_id"] in parents]


@dataclass(frozen=True, slots=True)
class Home:
    """The home page."""

    frame: Frame
    home: HomePage


@dataclass(frozen=True, slots=True)
class Listing:
    """A category's page, or a search's."""

    frame: Frame
    listing: ListPage
    href: str
    """Of the first page; the number of another is added to it."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product's page."""

    frame: Frame
    found: ProductPage
    delivery_cents: int
    day: str

    @property
    def most(self) -> int:
        """Pieces that can be chosen."""
        return max(0, min(self.found.pieces, MOST_PIECES_OFFERED))


@dataclass(frozen=True, slots=True)
class Cart:
    """The cart."""

    frame: Frame
    cart: CartPage
    day: str


@dataclass(frozen=True, slots=True)
class Checkout:
    """Paying.

    Args:
        order_key: the same however often the button is pressed.
        top_up_cents: what is put into the wallet first, if that is chosen.
        problem: why it was not paid, unless the prices that changed say so.
    """

    frame: Frame
    cart: CartPage
    day: str
    order_key: str
    top_up_cents: int
    problem: str
    wants_top_up: bool

    @property
    def left_cents(self) -> int:
        """In the wallet afterwards; below 0: it does not hold that much."""
        return (self.frame.visitor.balance_cents or 0) - self.cart.total_cents


@dataclass(frozen=True, slots=True)
class Order:
    """What was paid."""

    frame: Frame
    order: Json
    delivery_cents: int
    day: str


@dataclass(frozen=True, slots=True)
class SignIn:
    """Whom to be."""

    frame: Frame
    customers: Sequence[Json]
    back: str


@dataclass(frozen=True, slots=True)
class Wallet:
    """A wallet and what happened to it."""

    frame: Frame
    entries: Sequence[Json]
    top_ups: Sequence[int]
    key: str


@dataclass(frozen=True, slots=True)
class Editor:
    """Changing what is sold.

    Args:
        row: of the product; None: none is chosen.
        shown: what its page says at present, from the cache; None: nothing is cached.
        typed: what stood in the fields that were refused.
        problem: why.
    """

    frame: Frame
    row: Json | None
    shown: Json | None
    typed: Mapping[str, str]
    problem: str
    purge_href: str

    @property
    def is_misled(self) -> bool:
        """Whether the page shows another price than the database has."""
        return (
            self.row is not None
            and self.shown is not None
            and self.shown["price_cents"] != self.row["price_cents"]
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """A page that can't be shown.

    Args:
        what_to_do: a way out, in a sentence.
    """

    frame: Frame
    status: int
    title: str
    text: str
    what_to_do: str = ""
