"""The reads and writes of an invented shop, against a real cache: what makes the demo's charts move.

It is a customer of the library, not a part of the dashboard: it reads with cache-aside, its wallets are written
through, its orders invalidate what they took, and how long things stay is for the published policies to say. The shop
is read-heavy with a few very popular things (Zipf), keeps more than 64 MB would hold, and has its bad minutes: a
crawler that asks for what nobody reads, and a sale that drops every category at once.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode

import redis

from dashboard.caching import Cache
from dashboard.demo.policies import DOCUMENT

log = logging.getLogger(__name__)

READS_PER_S = 320.0
TICK_S = 0.1
RETRY_S = 1.0
SALE_EVERY_S = 660.0
CRAWLER_EVERY_S, CRAWLER_FIRST_S, CRAWLER_FOR_S = 540.0, 240.0, 45.0
CRAWLER_SHARE = 0.25
REPORT_EVERY_S = 40.0
REPORT_KEY, REPORT_MEMBERS = "report:visitors", 60_000
APPLICATIONS = ("shop-web-1", "shop-web-2", "shop-web-3", "shop-jobs")
QUERY_S = 0.002
BOOKINGS_PER_TICK = 0.3


@dataclass(frozen=True)
class Kind:
    """One prefix: how much of the reads it gets, how many things there are and how large they are.

    `skew` is the exponent of the Zipf distribution over the things; sizes in bytes.
    """

    prefix: str
    share: float
    things: int
    skew: float
    smallest: int
    largest: int


KINDS = (
    Kind("product:", 0.44, 26_000, 1.02, 1_500, 9_000),
    Kind("category:", 0.14, 400, 0.9, 4_000, 16_000),
    Kind("session:", 0.20, 5_000, 0.8, 400, 900),
    Kind("news:", 0.10, 200, 1.1, 1_000, 4_000),
    Kind("inventory:", 0.08, 2_000, 1.2, 60, 120),
    Kind("wallet:", 0.04, 200, 1.0, 80, 160),
)
PRODUCT, CATEGORY, INVENTORY, WALLET = KINDS[0], KINDS[1], KINDS[4], KINDS[5]
WORDS = (
    "wool",
    "linen",
    "oak",
    "brass",
    "quiet",
    "river",
    "amber",
    "stone",
    "paper",
    "harbour",
    "kettle",
    "lantern",
)


class Shop:
    """Decides what the shop reads and writes, and does it.

    Args: `caches`, one per application instance, take turns, tick by tick; `reports` is whoever runs its reports,
    with a client of their own; `seed` makes two runs ask for the same things in the same order; `query` lets a
    database query take its time, given in seconds.
    """

    def __init__(
        self,
        caches: Sequence[Cache],
        reports: redis.Redis,
        *,
        seed: int = 2026,
        query: Callable[[float], object] = lambda seconds: None,
    ) -> None:
        self._caches = itertools.cycle(caches)
        self._reports = reports
        self._seed = seed
        self._query = query
        self._random = random.Random(seed)
        self._popularity = {kind.prefix: _zipf(kind) for kind in KINDS}
        self._shares = list(itertools.accumulate(kind.share for kind in KINDS))
        self._filler = " ".join(self._random.choices(WORDS, k=4_000))
        self._bookings: dict[int, int] = {}
        self._next_report_s = 10.0
        self._next_sale_s = SALE_EVERY_S
        self._owed = 0.0

    def warm_up(self) -> None:
        """Load the most popular things, as a shop does before it opens; takes well under a second."""
        cache = next(self._caches)
        for kind in KINDS:
            keys = [_key(kind, number) for number in range(min(kind.things, 600))]
            cache.get_or_load_many(keys, partial(self._values, kind))

    def tick(self, at_s: float, for_s: float) -> int:
        """Do the reads of the next `for_s` seconds at `at_s` seconds after the shop opened.

        Returns: the number of reads. Raises: redis.RedisError when a report is due and the cache is away; reads and
        writes go on without it.
        """
        cache = next(self._caches)
        count = 0
        for kind, number in self._reads(at_s, for_s):
            cache.get_or_load(_key(kind, number), partial(self._load, kind, number))
            count += 1
        # An order changes what is in stock: the next reader has to load it again.
        for _ in range(self._random.randrange(2)):
            cache.invalidate(_key(INVENTORY, self._random.randrange(INVENTORY.things)))
        if self._random.random() < BOOKINGS_PER_TICK:
            self._book(cache, self._random.randrange(WALLET.things))
        if at_s >= self._next_sale_s:
            self._next_sale_s = at_s + SALE_EVERY_S
            cache.invalidate(*(_key(CATEGORY, number) for number in range(CATEGORY.things)))
        if at_s >= self._next_report_s:
            self._next_report_s = at_s + REPORT_EVERY_S
            self._report()
        return count

    def _reads(self, at_s: float, for_s: float) -> Iterator[tuple[Kind, int]]:
        # Busier and calmer minutes, and no two seconds alike.
        wave = 1 + 0.22 * math.sin(at_s / 47) + 0.12 * math.sin(at_s / 11) + self._random.uniform(-0.1, 0.1)
        self._owed += READS_PER_S * wave * for_s
        count, self._owed = int(self._owed), self._owed % 1
        crawled = at_s >= CRAWLER_FIRST_S and (at_s - CRAWLER_FIRST_S) % CRAWLER_EVERY_S < CRAWLER_FOR_S
        for _ in range(count):
            if crawled and self._random.random() < CRAWLER_SHARE:
                yield PRODUCT, self._random.randrange(PRODUCT.things, PRODUCT.things * 4)
                continue
            (kind,) = self._random.choices(KINDS, cum_weights=self._shares)
            (number,) = self._random.choices(range(kind.things), cum_weights=self._popularity[kind.prefix])
            yield kind, number

    def _load(self, kind: Kind, number: int) -> dict[str, Any]:
        self._query(QUERY_S)
        return self._value(kind, number)

    def _values(self, kind: Kind, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        self._query(QUERY_S)
        return {key: self._value(kind, int(key.removeprefix(kind.prefix))) for key in keys}

    def _value(self, kind: Kind, number: int) -> dict[str, Any]:
        """What the database would say: always the same of the same thing, but for a wallet's bookings."""
        mine = random.Random(f"{self._seed}:{kind.prefix}{number}")
        size = mine.randint(kind.smallest, kind.largest)
        value = {"id": number, "text": self._filler[mine.randrange(2_000) :][:size]}
        return value | {"bookings": self._bookings.get(number, 0)} if kind is WALLET else value

    def _book(self, cache: Cache, number: int) -> None:
        """Write a wallet: to the database, and with the commit to the cache."""
        with cache.write_through(_key(WALLET, number)) as write:
            self._query(QUERY_S)
            self._bookings[number] = self._bookings.get(number, 0) + 1
            write.value = self._value(WALLET, number)

    def _report(self) -> None:
        """Somebody's report that sorts a large set within the cache: slow, and rightly in the slow log."""
        if not self._reports.exists(REPORT_KEY):
            self._reports.sadd(REPORT_KEY, *self._random.sample(range(10_000_000), REPORT_MEMBERS))
            self._reports.expire(REPORT_KEY, 900)
        self._reports.sort(REPORT_KEY, start=0, num=10, desc=True)


class Traffic:
    """The shop's traffic in a thread of its own, from `start()` to `stop()`, at a bounded rate."""

    def __init__(self, url: str, *, seed: int = 2026) -> None:
        # A lost invalidation is repeated until it works: nobody is there to catch an exception.
        self._caches = [
            Cache(f"{url}?{urlencode({'client_name': name})}", name=name, on_error="retry")
            for name in APPLICATIONS
        ]
        for cache in self._caches:
            # What holds until the published policies are there: a cache that was just started is empty.
            cache.use(DOCUMENT)
        self._reports = redis.Redis.from_url(
            url, client_name="shop-reports", socket_timeout=2, socket_connect_timeout=2
        )
        self._shop = Shop(self._caches, self._reports, seed=seed, query=time.sleep)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the connections; returns when both is done."""
        self._stopping.set()
        self._thread.join(timeout=5)
        for cache in self._caches:
            cache.close()
        self._reports.close()

    def _run(self) -> None:
        opened = time.monotonic()
        is_warm = is_away = False
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                if not is_warm:
                    self._shop.warm_up()
                    is_warm = True
                self._shop.tick(began - opened, TICK_S)
                is_away = False
            except redis.RedisError as error:
                if not is_away:
                    log.warning("The demo's traffic pauses, its cache is away: %s", error)
                is_away = True
                self._stopping.wait(RETRY_S)
            # A tick that took too long is not made up for: no burst follows a pause.
            self._stopping.wait(max(0.0, began + TICK_S - time.monotonic()))


def _key(kind: Kind, number: int) -> str:
    return f"{kind.prefix}{number}"


def _zipf(kind: Kind) -> list[float]:
    """Cumulative weights of the kind's things, the most popular first."""
    return list(itertools.accumulate(1 / (rank**kind.skew) for rank in range(1, kind.things + 1)))
