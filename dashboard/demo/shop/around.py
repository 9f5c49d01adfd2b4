"""Around each page of the shop: who asks, what it read and cost, the frame, and the pages for errors.

Whoever sends ``X-Shop-Traffic: 1`` gets pages without the strip, which costs lookups of its own.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any, Final

from flask import Flask, Response, current_app, g, make_response, render_template, request
from werkzeug.exceptions import HTTPException

from dashboard.demo.shop import fields, modes, screen, store, strip
from dashboard.demo.shop.links import Links
from dashboard.demo.shop.pages import Shop, Visitor
from dashboard.demo.shop.screen import Frame
from dashboard.demo.shop.types import DatabaseAway, ShopError, Touch, Unknown

TRAFFIC: Final = "X-Shop-Traffic"
_EXTENSION: Final = "demo-store"

log = logging.getLogger(__name__)


def install(app: Flask, shop: Shop, links: Links) -> None:
    """Register what happens around each page, and the pages for errors."""
    app.extensions[_EXTENSION] = (shop, links)
    app.before_request(_listen)
    app.after_request(_measured)
    app.register_error_handler(ShopError, _shop_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)


def shop() -> Shop:
    """The shop that is served."""
    served: Shop = current_app.extensions[_EXTENSION][0]
    return served


def links() -> Links:
    """Where its strip leads."""
    leads: Links = current_app.extensions[_EXTENSION][1]
    return leads


def visitor() -> Visitor:
    """Who asks; looked up once."""
    if "visitor" not in g:
        g.visitor = shop().visitor(fields.token())
    found: Visitor = g.visitor
    return found


def site() -> dict[str, Any]:
    """What every page shows; looked up once."""
    if "site" not in g:
        g.site = shop().site()
    found: dict[str, Any] = g.site
    return found


def show(
    template: str,
    make: Callable[[Frame], object],
    *,
    slug: str = "",
    words: str = "",
    product: int = 0,
    status: int = HTTPStatus.OK,
) -> Response:
    """Answer with a page.

    Args:
        template: its name in the shop's folder.
        make: puts the page together, around what it read; it reads nothing any more.
        slug, words, product: as ``Frame`` has them.
    """
    page = make(_frame(slug, words, product))
    return make_response(render_template(f"shop/{template}.html", page=page), status)


def _frame(slug: str = "", words: str = "", product: int = 0) -> Frame:
    asks, found = visitor(), site()
    # What the strip itself asks is not this page's.
    touches, spent = tuple(g.touches), tuple(g.spent)
    below = None
    if request.headers.get(TRAFFIC) != "1":
        modes.touches.set(None)
        store.spent.set(None)
        below = strip.examine(shop(), links(), touches, spent)
    return Frame(
        categories=found["categories"],
        products=found["products"],
        visitor=asks,
        slug=slug,
        words=words,
        back=fields.local(request.full_path.rstrip("?")) if request.method == "GET" else "/",
        notice=screen.NOTICES.get(request.args.get("said", "")),
        strip=below,
        product=product,
    )


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
        hits = "".join(f", hit;dur={each_ms:.3f}" for each_ms in _hits_ms(touches))
        response.headers["Server-Timing"] = f"cache;dur={cache_ms:.3f}, db;dur={sum(g.spent):.3f}{hits}"
    return response


def _hits_ms(touches: Sequence[Touch]) -> Iterator[float]:
    """What each read took that was answered from the cache, whole where it was for many keys."""
    index = 0
    while index < len(touches):
        # Of one read for many keys, all touches come one after the other, each with its share of the time.
        together = touches[index : index + touches[index].of]
        if all(each.result == "hit" for each in together):
            yield sum(each.cache_ms for each in together)
        index += len(together)


def _shop_error(error: ShopError) -> Response:
    if isinstance(error, DatabaseAway):
        log.info("PostgreSQL does not answer: %s", error.__cause__)  # once for each page that is asked for
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
