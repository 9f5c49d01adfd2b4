"""The shop's pages. Whoever sends ``X-Shop-Traffic: 1`` gets them without the strip, which costs lookups of its own."""

import logging
import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from flask import (
    Blueprint,
    Flask,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
)
from werkzeug.exceptions import BadRequest, HTTPException

from dashboard.demo.shop import modes, screen, store, strip, words
from dashboard.demo.shop.links import Links
from dashboard.demo.shop.pages import (
    EDITOR,
    LARGEST_NUMBER,
    MOST_IMPORTED,
    TOP_UPS,
    Shop,
    Visitor,
    product_key,
)
from dashboard.demo.shop.screen import Frame
from dashboard.demo.shop.types import (
    MODES,
    DatabaseAway,
    NotEnough,
    OutOfStock,
    PriceChanged,
    ShopError,
    Unknown,
)

COOKIE: Final = "demo-store"
"""Cookies do not know of ports: the dashboard's has another name."""
TRAFFIC: Final = "X-Shop-Traffic"
_EXTENSION: Final = "demo-store"
_SESSION_S: Final = 24 * 3600
_DEMO_CUSTOMERS: Final = 6
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{8,100}")
_HOWS: Final = ("tell", "forget")

bp = Blueprint("shop", __name__)
log = logging.getLogger(__name__)


def install(app: Flask, shop: Shop, links: Links) -> None:
    """Register the pages, what happens around each of them, and the pages for errors."""
    app.extensions[_EXTENSION] = (shop, links)
    app.before_request(_listen)
    app.after_request(_measured)
    app.register_error_handler(ShopError, _shop_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    app.register_blueprint(bp)


# --- looking --------------------------------------------------------------------------------------------------------


@bp.get("/healthz")
def healthz() -> str:
    """Whether this process answers."""
    return "ok\n"


@bp.get("/")
def home() -> Response:
    """What sells best, what is on sale, the news."""
    found = _shop().home()
    return _show("home", lambda frame: screen.Home(frame, found))


@bp.get("/category/<slug>")
def category(slug: str) -> Response:
    """One page of a category."""
    found = _shop().category(slug, _number_arg("page", 1), _site())
    current = found.parent[0] if found.parent else slug
    return _show("list", lambda frame: screen.Listing(frame, found, f"/category/{slug}?page="), slug=current)


@bp.get("/search")
def search() -> Response:
    """What a search found."""
    found = _shop().search(request.args.get("q", ""), _number_arg("page", 1))
    href = f"/search?{urlencode({'q': found.words})}&page="
    return _show("list", lambda frame: screen.Listing(frame, found, href), words_=found.words)


@bp.get("/product/<int:number>")
def product(number: int) -> Response:
    """A product."""
    found = _shop().product(number)
    delivery_cents = int(_site()["delivery_cents"])
    return _show(
        "product",
        lambda frame: screen.Product(frame, found, delivery_cents, _day()),
        slug=found.product["parent_slug"],
    )


# --- buying ---------------------------------------------------------------------------------------------------------


@bp.get("/cart")
def cart() -> Response:
    """What is in the cart."""
    found = _shop().cart(_visitor(), _site())
    return _show("cart", lambda frame: screen.Cart(frame, found, _day()))


@bp.post("/cart")
def put_in_cart() -> Response:
    """Add a product; whoever has no session gets one."""
    number, pieces = _number("product"), _number("pieces", 1)
    seen_cents = _number("seen", -1)
    visitor = _visitor()
    token = visitor.token or _shop().open_session()
    _shop().put_in_cart(token, number, max(1, pieces), seen_cents if seen_cents >= 0 else None)
    return _with_session(_go("/cart", "added"), token)


@bp.post("/cart/lines")
def change_line() -> Response:
    """Have more or less of a product, or none."""
    number, pieces = _number("product"), _number("pieces", 0)
    visitor = _visitor()
    if visitor.is_known:
        _shop().set_pieces(visitor.token, number, pieces)
    return _go(_back("/cart"))


@bp.post("/cart/price")
def keep_at_price() -> Response:
    """Keep a product at the price it has now, as it was shown."""
    number, cents = _number("product"), _number("cents")
    visitor = _visitor()
    if visitor.is_known:
        _shop().accept_price(visitor.token, number, cents)
    return _go(_back("/checkout"))


@bp.get("/checkout")
def checkout() -> Response:
    """The order, and the button."""
    return _checkout()


@bp.post("/checkout")
def pay() -> Response:
    """Pay: once for each form, however often it is sent."""
    visitor, key = _visitor(), _key("key")
    expected_cents = _number("total")
    wants_top_up = request.form.get("pay") == "top-up"
    if visitor.customer is None:
        return _go("/sign-in?" + urlencode({"back": "/checkout"}))
    try:
        if wants_top_up:
            _top_up(visitor.customer, _number("top_up"), f"{key}-top-up")
        paid = _shop().pay(visitor, key, expected_cents)
    except (NotEnough, OutOfStock, PriceChanged) as error:
        g.pop("visitor", None)
        return _checkout(f"{error} Nothing has been taken from your wallet.", key, wants_top_up)
    return _go(f"/orders/{paid.order}")


@bp.get("/orders/<int:number>")
def order(number: int) -> Response:
    """What was paid."""
    shop = _shop()
    found = shop.order(_visitor(), number)
    delivery_cents = int(_site()["delivery_cents"])
    return _show("order", lambda frame: screen.Order(frame, found, delivery_cents, _day()))


# --- being somebody -------------------------------------------------------------------------------------------------


@bp.get("/sign-in")
def sign_in() -> Response:
    """Choose a customer to be."""
    customers = modes.direct(
        "customers", lambda: _shop().store.customers(_DEMO_CUSTOMERS), "Whom a visitor may choose to be."
    )
    back = _local(request.args.get("back", "/"))
    return _show("sign_in", lambda frame: screen.SignIn(frame, customers, back))


@bp.post("/sign-in")
def be_somebody() -> Response:
    """Be that customer, with the cart one had."""
    customer = _number("customer")
    if not 1 <= customer <= _DEMO_CUSTOMERS:
        raise Unknown("There is no such customer to choose.")
    token = _shop().open_session(customer, _visitor().token)
    return _with_session(_go(_back("/")), token)


@bp.post("/sign-out")
def sign_out() -> Response:
    """Be nobody; the cart stays behind."""
    visitor = _visitor()
    if visitor.is_known:
        _shop().close_session(visitor.token)
    answer = _go("/")
    answer.delete_cookie(COOKIE, httponly=True, samesite="Lax")
    return answer


@bp.get("/wallet")
def wallet() -> Response:
    """What one has."""
    customer = _visitor().customer
    if customer is None:
        return _go("/sign-in?" + urlencode({"back": "/wallet"}))
    entries = modes.direct("bookings", lambda: _shop().store.entries(customer), "Looked at rarely.")
    key = secrets.token_urlsafe(12)
    return _show("wallet", lambda frame: screen.Wallet(frame, entries, TOP_UPS, key))


@bp.post("/wallet")
def top_up() -> Response:
    """Put money into the wallet, once for each form."""
    customer = _visitor().customer
    if customer is None:
        return _go("/sign-in?" + urlencode({"back": "/wallet"}))
    cents = _number("cents")
    if cents not in TOP_UPS:
        raise BadRequest("There is no such amount to choose.")
    _top_up(customer, cents, _key("key"))
    return _go("/wallet", "topped-up")


# --- the editor -----------------------------------------------------------------------------------------------------


@bp.get("/editor")
def editor() -> Response:
    """Where prices and stock are changed."""
    return _editor(_number_arg("product", 0))


@bp.post("/editor")
def change() -> Response:
    """Change a price and stock, and tell the cache, or forget to."""
    number, how = _number("product"), _how()
    typed = {name: request.form.get(name, "")[:20] for name in ("price", "stock")} | {"how": how}
    cents, stock = words.cents_of(typed["price"]), typed["stock"].strip()
    if cents is None:
        return _editor(number, typed, "A price is a number such as 59.00.")
    if not (stock.isascii() and stock.isdigit() and len(stock) < 9):
        return _editor(number, typed, "Stock is a whole number.")
    try:
        _shop().change(number, cents=cents, pieces=int(stock), by=EDITOR, tells_cache=how == "tell")
    except Unknown:
        raise
    except ShopError as error:
        return _editor(number, typed, str(error))
    return _go(f"/editor?product={number}", "told" if how == "tell" else "forgot")


@bp.post("/editor/import")
def import_prices() -> Response:
    """Change the prices of several products as an import does."""
    how = _how()
    typed = {name: request.form.get(name, "")[:200] for name in ("products", "percent")} | {"how_import": how}
    first = _number("product", 0)
    numbers = words.numbers_of(typed["products"], MOST_IMPORTED)
    percent = typed["percent"].strip()
    if numbers is None:
        return _editor(first, typed, f"Products are numbers such as 1-20, 45; at most {MOST_IMPORTED}.")
    if re.fullmatch(r"[+-]?\d{1,3}", percent, re.ASCII) is None:
        return _editor(first, typed, "A change is a whole number of per cent, such as 10 or -15.")
    try:
        changed = _shop().raise_prices(numbers, int(percent), tells_cache=how == "tell")
    except ShopError as error:
        return _editor(first, typed, str(error))
    notice = "import-none" if not changed else "import-told" if how == "tell" else "import-forgot"
    return _go(f"/editor?product={changed[0] if changed else numbers[0]}", notice)


@bp.post("/mode")
def switch() -> Response:
    """Cache otherwise, from now on, in all processes of the shop."""
    mode = request.form.get("mode", "")
    if mode not in MODES:
        raise BadRequest("There is no such way to cache.")
    _shop().modes.switch(mode)
    return _go(_back("/"))


# --- parts ----------------------------------------------------------------------------------------------------------


def _shop() -> Shop:
    shop: Shop = current_app.extensions[_EXTENSION][0]
    return shop


def _links() -> Links:
    links: Links = current_app.extensions[_EXTENSION][1]
    return links


def _listen() -> None:
    """Note what this request reads."""
    g.touches, g.spent = [], []
    modes.touches.set(g.touches)
    store.spent.set(g.spent)


def _measured(response: Response) -> Response:
    """Say what it cost, so that whoever measures need not guess."""
    if "touches" in g and request.endpoint != "resources.static_file":
        touches = g.touches
        counts = {kind: sum(each.result == kind for each in touches) for kind in ("hit", "loaded")}
        response.headers["X-Shop-Reads"] = (
            f"all={len(touches)}, hit={counts['hit']}, loaded={counts['loaded']}, queries={len(g.spent)}"
        )
        cache_ms = sum(each.cache_ms for each in touches)
        response.headers["Server-Timing"] = f"cache;dur={cache_ms:.3f}, db;dur={sum(g.spent):.3f}"
    return response


def _visitor() -> Visitor:
    """Who asks; looked up once."""
    if "visitor" not in g:
        token = request.cookies.get(COOKIE, "")
        g.visitor = _shop().visitor(token if _TOKEN.fullmatch(token) else "")
    visitor: Visitor = g.visitor
    return visitor


def _site() -> dict[str, Any]:
    """What every page shows; looked up once."""
    if "site" not in g:
        g.site = _shop().site()
    site: dict[str, Any] = g.site
    return site


def _show(template: str, make: Callable[[Frame], object], *, status: int = 200, **around: Any) -> Response:
    """Answer with a page; all it reads but the frame's was read before."""
    page = make(_frame(**around))
    return make_response(render_template(f"shop/{template}.html", page=page), status)


def _frame(*, slug: str = "", words_: str = "") -> Frame:
    shop, visitor = _shop(), _visitor()
    site = _site()
    # What the strip itself asks is not this page's.
    touches, spent = tuple(g.touches), tuple(g.spent)
    below = None
    if request.headers.get(TRAFFIC) != "1":
        modes.touches.set(None)
        store.spent.set(None)
        below = strip.examine(shop, _links(), touches, spent)
    return Frame(
        categories=site["categories"],
        products=site["products"],
        visitor=visitor,
        slug=slug,
        words=words_,
        back=_local(request.full_path.rstrip("?")) if request.method == "GET" else "/",
        notice=screen.NOTICES.get(request.args.get("said", "")),
        strip=below,
    )


def _checkout(problem: str = "", key: str = "", wants_top_up: bool = False) -> Response:
    visitor = _visitor()
    found = _shop().cart(visitor, _site())
    if not found.lines:
        return _go("/cart")
    missing = found.total_cents - (visitor.balance_cents or 0)
    step = TOP_UPS[0]
    top_up_cents = max(step, -(-missing // step) * step)
    key = key or secrets.token_urlsafe(12)
    wants = wants_top_up or missing > 0
    return _show(
        "checkout",
        lambda frame: screen.Checkout(frame, found, _day(), key, top_up_cents, problem, wants),
        status=HTTPStatus.CONFLICT if problem else HTTPStatus.OK,
    )


def _top_up(customer: int, cents: int, key: str) -> None:
    """Put money into a wallet; what was put there with this key before is no error."""
    if not (0 < cents <= store.DEAREST_CENTS and cents % TOP_UPS[0] == 0):
        raise BadRequest("There is no such amount to choose.")
    shop = _shop()
    try:
        shop.top_up(customer, cents, key)
    except Unknown:
        log.debug("asked twice to put the same money into a wallet")


def _editor(number: int, typed: dict[str, str] | None = None, problem: str = "") -> Response:
    shop = _shop()
    row = None
    if 1 <= number <= LARGEST_NUMBER:
        row = modes.direct(
            "product's row", lambda: shop.store.row(number), "An editor changes rows, not copies."
        )
    if number and row is None:
        raise Unknown("There is no such product.")
    shown = shop.modes.peek([product_key(number)])[0] if row and shop.modes.current != "off" else None
    return _show(
        "editor",
        lambda frame: screen.Editor(
            frame,
            row,
            shown if isinstance(shown, dict) else None,
            typed or {},
            problem,
            _links().purge(product_key(number)) if row else "",
        ),
        status=HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
    )


def _how() -> str:
    how = request.form.get("how", "")
    if how not in _HOWS:
        raise BadRequest("Choose how it is written.")
    return how


def _key(name: str) -> str:
    """A form's own key, by which it counts once."""
    key = request.form.get(name, "")
    if _TOKEN.fullmatch(key) is None:
        raise BadRequest("The form is not whole. Open the page again.")
    return key


def _number(name: str, default: int | None = None) -> int:
    """A whole number of the form, 0 or more."""
    return _whole(request.form.get(name, ""), name, default)


def _number_arg(name: str, default: int) -> int:
    """A whole number of the address, 0 or more."""
    return _whole(request.args.get(name, ""), name, default)


def _whole(text: str, name: str, default: int | None) -> int:
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest(f"{name} is no whole number.")
    return min(int(text), LARGEST_NUMBER)


def _back(default: str) -> str:
    """Where a form wants to lead: nowhere but to this shop."""
    return _local(request.form.get("back", "") or default)


def _local(path: str) -> str:
    """A path of this shop; the home page for anything else."""
    is_local = path.startswith("/") and not path.startswith("//") and "\\" not in path
    return path if is_local and path.isprintable() and len(path) < 1000 else "/"


def _go(path: str, said: str = "") -> Response:
    if said:
        path += f"{'&' if '?' in path else '?'}said={said}"
    answer = make_response(redirect(path, HTTPStatus.SEE_OTHER))
    return answer


def _with_session(answer: Response, token: str) -> Response:
    answer.set_cookie(COOKIE, token, max_age=_SESSION_S, httponly=True, samesite="Lax")
    return answer


def _day() -> str:
    return words.delivery(datetime.now(UTC))


# --- errors ---------------------------------------------------------------------------------------------------------


def _shop_error(error: ShopError) -> Response:
    if isinstance(error, DatabaseAway):
        log.warning("PostgreSQL does not answer: %s", error.__cause__)
        text = "What is cached can still be looked at; everything else has to wait for it."
        return _problem(
            HTTPStatus.SERVICE_UNAVAILABLE, "The store's database does not answer", text, "Try again."
        )
    if isinstance(error, Unknown):
        return _problem(HTTPStatus.NOT_FOUND, "There is nothing here", str(error))
    return _problem(HTTPStatus.CONFLICT, "That can't be done", str(error))


def _http_error(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if error.response is not None or status < HTTPStatus.BAD_REQUEST:
        return make_response(error.get_response())
    if status == HTTPStatus.NOT_FOUND:
        return _problem(status, "There is nothing here", "There is no such page in this store.")
    return _problem(status, "That can't be done", error.description or error.name)


def _unexpected(error: Exception) -> Response:
    log.error("a page failed", exc_info=error)
    text = "Something went wrong in the demo store. The reason is in its log."
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This page failed", text, "Try again.")


def _problem(status: int, title: str, text: str, what_to_do: str = "") -> Response:
    """An error's page: with the frame as far as that can be had."""
    try:
        frame = _frame()
    except Exception:
        # The error may well be why there is no frame.
        frame = Frame(categories=(), products=0, visitor=Visitor())
    page = screen.Problem(frame, status, title, text, what_to_do)
    return make_response(render_template("shop/problem.html", page=page), status)
