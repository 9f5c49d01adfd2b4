"""The shop's everyday life, against its real database and cache: what makes the demo's charts move.

Visitors look and buy at a bounded rate, through the shop's use cases and as several application instances, each with
a cache of its own. The shop is read-heavy with a few very popular things (Zipf) and has its bad minutes: a crawler that
asks for what nobody reads, a sale that drops every category at once, a report that sorts a large set within the cache.
How they are served is the shop's business: its mode is switched on its pages, and its policies are published.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final

import redis

from dashboard.demo.load import Event, Page, plan
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.catalogue import Popularity, Size
from dashboard.demo.shop.modes import Modes
from dashboard.demo.shop.pages import Shop, category_key
from dashboard.demo.shop.store import ShopStore
from dashboard.demo.shop.types import DatabaseAway, NotEnough, OutOfStock, ShopError

log = logging.getLogger(__name__)

APPLICATIONS: Final = ("shop-web-1", "shop-web-2", "shop-web-3", "shop-jobs")
PAGES_PER_S: Final = 24.0
TICK_S: Final = 0.1
RETRY_S: Final = 1.0
STOP_S: Final = 5.0
SALE_EVERY_S: Final = 660.0
DROPPED_PAGES: Final = 10
"""Of each category in a sale: more than anybody leafs through."""
CRAWLER_EVERY_S, CRAWLER_FIRST_S, CRAWLER_FOR_S = 540.0, 240.0, 45.0
CRAWLER_PAGES_PER_S: Final = 8.0
DELIVERY_EVERY_S: Final = 6.0
REPORT_EVERY_S: Final = 40.0
REPORT_KEY, REPORT_MEMBERS = "report:visitors", 30_000
WARM_PRODUCTS: Final = 120
RESTOCKED: Final = 60
TOP_UP_CENTS: Final = 20_000
FIRST_CUSTOMER: Final = 7
"""Those before are for whoever visits the demo: nobody else spends their money."""
_SIGNED_IN_EVERY: Final = 3
"""One visit of so many is a customer's who has signed in."""
_PLANNED_S: Final = 120.0
_SETTLES_S: Final = 20.0
"""A plan begins with nobody in the shop; after so long as many leave as come."""
_BUSIEST: Final = 1.4


def open_shops(database_url: str, redis_url: str, names: Sequence[str] = APPLICATIONS) -> list[Shop]:
    """The shop, once for each application instance of these names; ``close_shops`` ends them.

    Args:
        database_url: of a PostgreSQL that has the shop's schema, filled.
    """
    return [
        Shop(store, Modes(store, redis_url, name, DOCUMENT))
        for name in names
        for store in (ShopStore(database_url, connections=4),)
    ]


def close_shops(shops: Sequence[Shop]) -> None:
    """Close all connections."""
    for shop in shops:
        shop.modes.close()
        shop.store.close()


class Day:
    """Decides who wants what of the shop, and does it.

    Args:
        shops: application instances; the last one runs the jobs, visitors come to the others.
        reports: whoever runs the shop's reports, with a client of their own.
        size: of the shop.
        seed: makes two days ask for the same things in the same order.
        is_over: asked before each page; once it says so there is none any more.
    """

    def __init__(
        self,
        shops: Sequence[Shop],
        reports: redis.Redis,
        size: Size | None = None,
        *,
        seed: int = 2026,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._web, self._jobs = (shops[:-1] or shops), shops[-1]
        self._reports = reports
        self._is_over = is_over
        self._size = size or Size()
        self._random = random.Random(seed)
        self._popular = Popularity(self._size.products)
        self._events = self._planned(seed)
        self._next = next(self._events)
        self._open: set[str] = set()
        # Orders of an earlier day have other keys, or they would count as paid.
        self._name = secrets.token_hex(4)
        self._crawled = 0
        self._owed = 0.0
        self._next_delivery_s = 0.0
        self._next_report_s = 10.0
        self._next_sale_s = SALE_EVERY_S

    def warm_up(self) -> None:
        """Look at the most popular pages, as a shop does before it opens; takes a second or two.

        Raises:
            DatabaseAway: PostgreSQL does not answer.
        """
        shop = self._web[0]
        shop.home()
        for each in shop.site()["categories"]:
            if self._is_over():
                return
            shop.category(each["slug"], 1)
        for number in range(1, min(WARM_PRODUCTS, self._size.products) + 1):
            if self._is_over():
                return
            shop.product(number)

    def tick(self, at_s: float, for_s: float) -> int:
        """Do what is wanted in the next ``for_s`` seconds at ``at_s`` seconds after the shop opened.

        What was wanted before is not made up for: no burst follows a pause.

        Returns:
            The number of pages.

        Raises:
            redis.RedisError: a report is due and the cache is away; pages can be had without it.
            DatabaseAway: PostgreSQL does not answer.
        """
        pages = 0
        while self._next.at_s < at_s + for_s and not self._is_over():
            event, self._next = self._next, next(self._events)
            if event.at_s >= at_s and self._random.random() < _wave(at_s) / _BUSIEST:
                self._visit(event)
                pages += 1
        pages += self._crawl(at_s, for_s)
        if at_s >= self._next_delivery_s:
            self._next_delivery_s = at_s + DELIVERY_EVERY_S
            self._restock(self._popular.pick(self._random.random()))
        if at_s >= self._next_sale_s:
            self._next_sale_s = at_s + SALE_EVERY_S
            self._sale()
        if at_s >= self._next_report_s:
            self._next_report_s = at_s + REPORT_EVERY_S
            self._report()
        return pages

    def _planned(self, seed: int) -> Iterator[Event]:
        """Pages wanted in the busiest of hours, without an end; in the order of time."""
        part = 0
        while True:
            begin = part * _PLANNED_S - _SETTLES_S
            for event in plan(
                PAGES_PER_S * _BUSIEST,
                _PLANNED_S + _SETTLES_S,
                products=self._size.products,
                seed=seed * 100_003 + part,
            ):
                if event.at_s >= _SETTLES_S:
                    yield Event(
                        begin + event.at_s,
                        part * 1_000_000 + event.visit,
                        event.page,
                        event.product,
                        event.text,
                        event.list_page,
                    )
            part += 1

    def _visit(self, event: Event) -> None:
        """One page with what is around each of them."""
        shop = self._web[event.visit % len(self._web)]
        customers = self._size.customers - FIRST_CUSTOMER + 1
        customer = FIRST_CUSTOMER + event.visit % customers
        is_signed_in = event.page is Page.BUY or event.visit % _SIGNED_IN_EVERY == 0
        token = self._token(shop, customer) if is_signed_in else ""
        try:
            match event.page:
                case Page.HOME:
                    shop.home()
                case Page.CATEGORY:
                    shop.category(event.text, event.list_page)
                case Page.SEARCH:
                    shop.search(event.text, 1)
                case Page.PRODUCT:
                    shop.product(event.product)
                case Page.BUY:
                    self._buy(shop, token, event.product)
            shop.site()
            shop.visitor(token)
        except DatabaseAway:
            raise
        except ShopError as error:
            # A list has no such page, or a product is sold out: that is every shop's day.
            log.debug("a visitor could not be served: %s", error)

    def _token(self, shop: Shop, customer: int) -> str:
        """A customer's session: always the same one, so that their table does not grow for ever."""
        token = f"regular-{customer:06d}"
        if token not in self._open:
            shop.open_session(customer, token)
            self._open.add(token)
        return token

    def _buy(self, shop: Shop, token: str, product: int) -> None:
        visitor = shop.visitor(token)
        shop.put_in_cart(token, product, 1)
        key = f"{self._name}-{self._random.getrandbits(64):x}"
        try:
            shop.pay(visitor, key)
        except NotEnough:
            if visitor.customer is not None:
                shop.top_up(visitor.customer, TOP_UP_CENTS, f"{key}-top-up")
        except OutOfStock:
            self._restock(product)
        except DatabaseAway:
            raise
        except ShopError:
            # The price changed under way: this visitor thinks it over, and begins anew another time.
            for line in shop.cart(visitor).lines:
                shop.set_pieces(token, line["product_id"], 0)

    def _crawl(self, at_s: float, for_s: float) -> int:
        """A robot that reads the catalogue from its end."""
        if at_s < CRAWLER_FIRST_S or (at_s - CRAWLER_FIRST_S) % CRAWLER_EVERY_S >= CRAWLER_FOR_S:
            return 0
        self._owed += CRAWLER_PAGES_PER_S * for_s
        count, self._owed = int(self._owed), self._owed % 1
        for _ in range(count):
            self._web[-1].product(self._size.products - self._crawled % self._size.products)
            self._crawled += 1
        return count

    def _restock(self, product: int) -> None:
        """A delivery: written, then invalidated."""
        with suppress(DatabaseAway):
            self._jobs.change(product, pieces=RESTOCKED, by="the warehouse", tells_cache=True)

    def _sale(self) -> None:
        """Every list changes at once."""
        slugs = [each["slug"] for each in self._jobs.site()["categories"]]
        self._jobs.modes.shelf.drop(
            *(category_key(slug, page) for slug in slugs for page in range(1, DROPPED_PAGES + 1))
        )

    def _report(self) -> None:
        """Somebody's report that sorts a large set within the cache: slow, and rightly in the slow log."""
        if not self._reports.exists(REPORT_KEY):
            self._reports.sadd(REPORT_KEY, *self._random.sample(range(10_000_000), REPORT_MEMBERS))
            self._reports.expire(REPORT_KEY, 900)
        self._reports.sort(REPORT_KEY, start=0, num=10, desc=True)


class Traffic:
    """A shop's days in a thread of their own, from `start()` to `stop()`, at a bounded rate.

    Args:
        shops: as of ``Day``; they stay the caller's to close.
        redis_url: of their cache.
        size: of the shop.
    """

    def __init__(
        self, shops: Sequence[Shop], redis_url: str, size: Size | None = None, *, seed: int = 2026
    ) -> None:
        self._reports = redis.Redis.from_url(
            redis_url, client_name="shop-reports", socket_timeout=2, socket_connect_timeout=2
        )
        self._stopping = threading.Event()
        self._day = Day(shops, self._reports, size, seed=seed, is_over=self._stopping.is_set)
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread behind the page that is under way, and close its connection; returns when both is done.

        A thread that takes longer than STOP_S is left to end when it can.
        """
        self._stopping.set()
        self._thread.join(timeout=STOP_S)
        self._reports.close()

    def _run(self) -> None:
        opened = time.monotonic()
        is_warm = is_failing = False
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if not is_warm:
                    self._day.warm_up()
                    is_warm = True
                self._day.tick(began - opened, TICK_S)
                if is_failing:
                    # As loud as the pause was: who saw the one waits for the other.
                    log.warning("The demo's traffic goes on.")
                is_failing = False
            except Exception as error:
                # Whatever it is: the next visitor may fare better, and without any every chart stands still.
                if not is_failing:
                    is_known = isinstance(error, redis.RedisError | DatabaseAway)
                    log.warning("The demo's traffic pauses: %s", error, exc_info=None if is_known else error)
                is_failing = True
                self._stopping.wait(RETRY_S)
            self._stopping.wait(max(0.0, began + TICK_S - time.monotonic()))


def _wave(at_s: float) -> float:
    """Busier and calmer minutes: around 1."""
    return 1 + 0.22 * math.sin(at_s / 47) + 0.12 * math.sin(at_s / 11)
