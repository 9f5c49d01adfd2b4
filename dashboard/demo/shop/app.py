"""The demo's shop as a web application of its own."""

from dataclasses import dataclass

from flask import Flask

from dashboard.demo.shop import views
from dashboard.demo.shop.pages import Shop


@dataclass(frozen=True, slots=True)
class Links:
    """Where the strip below each page leads.

    Args:
        dashboard_url: of the dashboard, without a slash at its end; empty: there is none, and no links.
        cache_id: the dashboard's number of the shop's cache.
        cache_name: what it is called there.
    """

    dashboard_url: str = ""
    cache_id: int | None = None
    cache_name: str = "demo-store"


NOWHERE = Links()


def create_shop(shop: Shop, links: Links = NOWHERE) -> Flask:
    """Build the web application around the shop's use cases.

    Args:
        shop: stays the caller's to close.
        links: where the strip leads.
    """
    app = Flask("dashboard.demo.shop", static_folder=None)

    app.register_blueprint(views.bp)
    return app
