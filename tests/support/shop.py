"""A running shop on loopback, small, for browser tests and screenshots."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from waitress.server import create_server

from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop import schema
from dashboard.demo.shop.app import create_shop
from dashboard.demo.shop.catalogue import SMALL
from dashboard.demo.shop.links import Links
from dashboard.demo.shop.modes import Modes
from dashboard.demo.shop.pages import Shop
from dashboard.demo.shop.store import ShopStore
from dashboard.embedded import postgres, valkey
from tests.support import servers


@dataclass(frozen=True)
class Running:
    """Its address and its use cases."""

    url: str
    shop: Shop


@contextmanager
def shop(folder: Path, links: Links) -> Iterator[Running]:
    """Start everything; stop everything at the end of the block."""
    with ExitStack() as stack:
        database = stack.enter_context(postgres.start(folder / "postgres", config=servers.FAST_POSTGRES))
        cache = stack.enter_context(valkey.start())
        with psycopg.connect(database.url, autocommit=True) as connection:
            schema.create(connection, size=SMALL)
        store = stack.enter_context(closing(ShopStore(database.url)))
        modes = stack.enter_context(closing(Modes(store, cache.url, document=DOCUMENT)))
        made = Shop(store, modes)
        server = create_server(create_shop(made, links), host="127.0.0.1", port=0, threads=8)
        thread = threading.Thread(target=server.run, name="shop", daemon=True)
        thread.start()
        stack.callback(thread.join, 10)
        stack.callback(server.close)
        yield Running(f"http://127.0.0.1:{server.effective_port}", made)


def story(number: int) -> dict[str, str]:
    """Name and path of every page of somebody who shops; ``number`` is what is in the cart."""
    return {
        "shop-home": "/",
        "shop-category": "/category/kettles",
        "shop-category-below": "/category/gooseneck",
        "shop-search": "/search?q=quiet",
        "shop-found-nothing": "/search?q=nothing+of+the+kind",
        "shop-product": "/product/7",
        "shop-product-old": f"/product/{number}",
        "shop-cart": "/cart",
        "shop-checkout": "/checkout",
        "shop-sign-in": "/sign-in",
        "shop-wallet": "/wallet",
        "shop-editor": f"/editor?product={number}",
        "shop-nothing": "/nothing",
    }
