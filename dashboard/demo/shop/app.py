"""The demo's shop as a web application of its own."""

from flask import Flask, request
from jinja2 import StrictUndefined
from werkzeug.exceptions import Forbidden

from dashboard.demo.shop import around, fields, views, words
from dashboard.demo.shop.links import NOWHERE, Links
from dashboard.demo.shop.pages import Shop
from dashboard.web import headers, resources
from dashboard.web.formats import FILTERS

LARGEST_FORM_BYTES = 64 * 1024


def create_shop(shop: Shop, links: Links = NOWHERE) -> Flask:
    """Build the web application around the shop's use cases.

    Args:
        shop: stays the caller's to close.
        links: where the strip below each page leads.
    """
    app = Flask("dashboard.demo.shop", static_folder=None, template_folder=str(resources.folder("templates")))
    app.url_map.strict_slashes = False
    app.url_map.converters["int"] = fields.NumberConverter
    app.config.update(MAX_CONTENT_LENGTH=LARGEST_FORM_BYTES, MAX_FORM_MEMORY_SIZE=LARGEST_FORM_BYTES)
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(
        FILTERS, euros=words.euros, amount=words.amount, millis=words.millis, pieces=words.pieces
    )
    app.jinja_env.globals.update(asset=resources.asset)
    app.before_request(_check_origin)
    app.after_request(headers.protect)
    app.register_blueprint(resources.bp)
    around.install(app, shop, links)
    app.register_blueprint(views.bp)
    return app


def _check_origin() -> None:
    """Refuse what another site makes a browser send."""
    if request.method not in headers.SAFE_METHODS and not headers.is_from_own_page():
        raise Forbidden("This request did not come from a page of this shop. Open the page and press again.")
