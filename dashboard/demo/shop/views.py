"""The shop's pages."""

import logging
import re
import secrets
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

from flask import Blueprint, Response, g, request
from werkzeug.exceptions import BadRequest

from dashboard.demo.shop import around, fields, modes, screen, words
from dashboard.demo.shop.pages import EDITOR, LARGEST_NUMBER, MOST_IMPORTED, TOP_UPS, product_key
from dashboard.demo.shop.store import DEAREST_CENTS
from dashboard.demo.shop.types import (
    MODES,
    NotEnough,
    OutOfStock,
    PriceChanged,
    ShopError,
    Unknown,
)

_DEMO_CUSTOMERS: Final = 6

bp = Blueprint("shop", __name__)
log = logging.getLogger(__name__)


# --- looking --------------------------------------------------------------------------------------------------------


@bp.get("/healthz")
def healthz() -> str:
    """Whether this process answers."""
    return "ok\n"


@bp.get("/")
def home() -> Response:
    """What sells best, what is on sale, the news."""
    found = around.shop().home()
    return around.show("home", lambda frame: screen.Home(frame, found))


@bp.get("/category/<slug>")
def category(slug: str) -> Response:
    """One page of a category."""
    found = around.shop().category(slug, fields.number_arg("page", 1), around.site())
    current = found.parent[0] if found.parent else slug
    return around.show(
        "list", lambda frame: screen.Listing(frame, found, f"/category/{slug}?page="), slug=current
    )


@bp.get("/search")
def search() -> Response:
    """What a search found."""
    found = around.shop().search(request.args.get("q", ""), fields.number_arg("page", 1))
    href = f"/search?{urlencode({'q': found.words})}&page="
    return around.show("list", lambda frame: screen.Listing(frame, found, href), words=found.words)


@bp.get("/product/<int:number>")
def product(number: int) -> Response:
    """A product."""
    found = around.shop().product(number)
    delivery_cents = int(around.site()["delivery_cents"])
    return around.show(
        "product",
        lambda frame: screen.Product(frame, found, delivery_cents, _day()),
        slug=found.product["parent_slug"],
        product=number,
    )


# --- buying ---------------------------------------------------------------------------------------------------------


@bp.get("/cart")
def cart() -> Response:
    """What is in the cart."""
    found = around.shop().cart(around.visitor(), around.site())
    return around.show("cart", lambda frame: screen.Cart(frame, found, _day()))


@bp.post("/cart")
def put_in_cart() -> Response:
    """Add a product; whoever has no session gets one."""
    number, pieces = fields.number("product"), fields.number("pieces", 1)
    seen_cents = fields.number("seen", -1)
    visitor = around.visitor()
    token = visitor.token or around.shop().open_session()
    around.shop().put_in_cart(token, number, max(1, pieces), seen_cents if seen_cents >= 0 else None)
    return fields.with_session(fields.go("/cart", "added"), token)


@bp.post("/cart/lines")
def change_line() -> Response:
    """Have more or less of a product, or none."""
    number, pieces = fields.number("product"), fields.number("pieces", 0)
    visitor = around.visitor()
    if visitor.is_known:
        around.shop().set_pieces(visitor.token, number, pieces)
    return fields.go(fields.back("/cart"))


@bp.post("/cart/price")
def keep_at_price() -> Response:
    """Keep a product at the price it has now, as it was shown."""
    number, cents = fields.number("product"), fields.number("cents")
    visitor = around.visitor()
    if visitor.is_known:
        around.shop().accept_price(visitor.token, number, cents)
    return fields.go(fields.back("/checkout"))


@bp.get("/checkout")
def checkout() -> Response:
    """The order, and the button."""
    return _checkout()


@bp.post("/checkout")
def pay() -> Response:
    """Pay: once for each form, however often it is sent.

    The button says what it costs, below whatever price has changed: pressing it agrees to those prices.
    """
    visitor, key = around.visitor(), fields.key("key")
    expected_cents = fields.number("total")
    wants_top_up = request.form.get("pay") == "top-up"
    if visitor.customer is None:
        return fields.go("/sign-in?" + urlencode({"back": "/checkout"}))
    shop = around.shop()
    for number, cents in fields.pairs("agreed"):
        shop.accept_price(visitor.token, number, cents)
    try:
        if wants_top_up:
            _top_up(visitor.customer, fields.number("top_up"), f"{key}-top-up")
            g.visitor = replace(visitor, balance_cents=shop.balance(visitor.customer))
        paid = shop.pay(visitor, key, expected_cents)
    except (NotEnough, OutOfStock, PriceChanged) as error:
        return _checkout(error, key, wants_top_up)
    return fields.go(f"/orders/{paid.order}")


@bp.get("/orders/<int:number>")
def order(number: int) -> Response:
    """What was paid."""
    shop = around.shop()
    found = shop.order(around.visitor(), number)
    delivery_cents = int(around.site()["delivery_cents"])
    return around.show("order", lambda frame: screen.Order(frame, found, delivery_cents, _day()))


# --- being somebody -------------------------------------------------------------------------------------------------


@bp.get("/sign-in")
def sign_in() -> Response:
    """Choose a customer to be."""
    customers = modes.direct(
        "customers",
        lambda: around.shop().store.customers(_DEMO_CUSTOMERS),
        "Whom a visitor may choose to be.",
    )
    back = fields.local(request.args.get("back", "/"))
    return around.show("sign_in", lambda frame: screen.SignIn(frame, customers, back))


@bp.post("/sign-in")
def be_somebody() -> Response:
    """Be that customer, with the cart one had."""
    customer = fields.number("customer")
    if not 1 <= customer <= _DEMO_CUSTOMERS:
        raise Unknown("There is no such customer to choose.")
    token = around.shop().open_session(customer, around.visitor().token)
    return fields.with_session(fields.go(fields.back("/")), token)


@bp.post("/sign-out")
def sign_out() -> Response:
    """Be nobody; the cart stays behind."""
    visitor = around.visitor()
    if visitor.is_known:
        around.shop().close_session(visitor.token)
    return fields.without_session(fields.go("/"))


@bp.get("/wallet")
def wallet() -> Response:
    """What one has."""
    customer = around.visitor().customer
    if customer is None:
        return fields.go("/sign-in?" + urlencode({"back": "/wallet"}))
    entries = modes.direct("bookings", lambda: around.shop().store.entries(customer), "Looked at rarely.")
    key = secrets.token_urlsafe(12)
    return around.show("wallet", lambda frame: screen.Wallet(frame, entries, TOP_UPS, key))


@bp.post("/wallet")
def top_up() -> Response:
    """Put money into the wallet, once for each form."""
    customer = around.visitor().customer
    if customer is None:
        return fields.go("/sign-in?" + urlencode({"back": "/wallet"}))
    cents = fields.number("cents")
    if cents not in TOP_UPS:
        raise BadRequest("There is no such amount to choose.")
    _top_up(customer, cents, fields.key("key"))
    return fields.go("/wallet", "topped-up")


# --- the editor -----------------------------------------------------------------------------------------------------


@bp.get("/editor")
def editor() -> Response:
    """Where prices and stock are changed."""
    return _editor(fields.number_arg("product", 0))


@bp.post("/editor")
def change() -> Response:
    """Change a price and stock, and tell the cache, or forget to."""
    number, how = fields.number("product"), fields.how()
    typed = {name: request.form.get(name, "")[:20] for name in ("price", "stock")} | {"how": how}
    cents, stock = words.cents_of(typed["price"]), typed["stock"].strip()
    if cents is None:
        said = f"A price is between 0.01 and {DEAREST_CENTS // 100:,} euros, such as 59.00."
        return _editor(number, typed, said)
    if re.fullmatch(r"-?\d{1,20}", stock, re.ASCII) is None:
        return _editor(number, typed, "Stock is a whole number.")
    try:
        around.shop().change(number, cents=cents, pieces=int(stock), by=EDITOR, tells_cache=how == "tell")
    except Unknown:
        raise
    except ShopError as error:
        return _editor(number, typed, str(error))
    return fields.go(f"/editor?product={number}", "told" if how == "tell" else "forgot")


@bp.post("/editor/import")
def import_prices() -> Response:
    """Change the prices of several products as an import does."""
    how = fields.how()
    typed = {name: request.form.get(name, "")[:200] for name in ("products", "percent")} | {"how_import": how}
    first = fields.number("product", 0)
    numbers = words.numbers_of(typed["products"], MOST_IMPORTED)
    percent = typed["percent"].strip()
    if numbers is None:
        return _editor(first, typed, f"Products are numbers such as 1-20, 45; at most {MOST_IMPORTED}.")
    if re.fullmatch(r"[+-]?\d{1,3}", percent, re.ASCII) is None:
        return _editor(
            first, typed, "A change is a whole number of per cent from -90 to 200, such as 10 or -15."
        )
    try:
        changed = around.shop().raise_prices(numbers, int(percent), tells_cache=how == "tell")
    except ShopError as error:
        return _editor(first, typed, str(error))
    notice = "import-none" if not changed else "import-told" if how == "tell" else "import-forgot"
    return fields.go(f"/editor?product={changed[0] if changed else numbers[0]}", notice)


@bp.post("/mode")
def switch() -> Response:
    """Cache otherwise, from now on, in all processes of the shop."""
    mode = request.form.get("mode", "")
    if mode not in MODES:
        raise BadRequest("There is no such way to cache.")
    around.shop().modes.switch(mode)
    return fields.go(fields.back("/"))


# --- parts ----------------------------------------------------------------------------------------------------------


def _checkout(refusal: ShopError | None = None, key: str = "", wants_top_up: bool = False) -> Response:
    visitor = around.visitor()
    found = around.shop().cart(visitor, around.site())
    if not found.lines:
        return fields.go("/cart")
    # Prices that have changed are said one by one, each with what can be done.
    is_said = refusal is None or (isinstance(refusal, PriceChanged) and found.changed)
    problem = "" if is_said else f"{refusal} Nothing has been taken from your wallet."
    missing = found.total_cents - (visitor.balance_cents or 0)
    step = TOP_UPS[0]
    top_up_cents = max(step, -(-missing // step) * step)
    key = key or secrets.token_urlsafe(12)
    wants = wants_top_up or missing > 0
    return around.show(
        "checkout",
        lambda frame: screen.Checkout(frame, found, _day(), key, top_up_cents, problem, wants),
        status=HTTPStatus.CONFLICT if refusal else HTTPStatus.OK,
    )


def _top_up(customer: int, cents: int, key: str) -> None:
    """Put money into a wallet; what was put there with this key before is no error."""
    if cents <= 0 or cents % TOP_UPS[0]:
        raise BadRequest("There is no such amount to choose.")
    shop = around.shop()
    try:
        shop.top_up(customer, cents, key)
    except Unknown:
        log.debug("asked twice to put the same money into a wallet")


def _editor(number: int, typed: dict[str, str] | None = None, problem: str = "") -> Response:
    shop = around.shop()
    row = None
    if 1 <= number <= LARGEST_NUMBER:
        row = modes.direct(
            "product's row", lambda: shop.store.row(number), "An editor changes rows, not copies."
        )
    if number and row is None:
        raise Unknown("There is no such product.")
    shown = shop.modes.peek([product_key(number)])[0] if row and shop.modes.current != "off" else None
    return around.show(
        "editor",
        lambda frame: screen.Editor(
            frame,
            row,
            shown if isinstance(shown, dict) else None,
            typed or {},
            problem,
            around.links().purge(product_key(number)) if row else "",
        ),
        product=number,
        status=HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
    )


def _day() -> str:
    return words.delivery(datetime.now(UTC))
