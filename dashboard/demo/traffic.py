"""The reads and writes of an invented shop, against a real cache: what makes the demo's charts move.

It is a customer of the cache, not a part of the dashboard, so it talks to it with redis-py directly. Every
read has the cache-aside shape: GET, and on a miss load and SET with a TTL. The shop is read-heavy with a few
very popular things (Zipf), keeps more than 64 MB would hold, and has its bad minutes: a crawler that asks for
what nobody reads, and a sale that drops every category at once.
"""

from __future__ import annotations

import itertools
import logging
import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import redis

log = logging.getLogger(__name__)

READS_PER_S = 320.0
TICK_S = 0.1
RETRY_S = 1.0
SALE_EVERY_S = 660.0
CRAWLER_EVERY_S, CRAWLER_FIRST_S, CRAWLER_FOR_S = 540.0, 240.0, 45.0
CRAWLER_SHARE = 0.25
REPORT_EVERY_S = 40.0
REPORT_KEY, REPORT_MEMBERS = "report:visitors", 60_000
CLIENT_NAMES = ("shop-web-1", "shop-web-2", "shop-web-3", "shop-jobs")


@dataclass(frozen=True)
class Kind:
    """One prefix: how much of the reads it gets, how many things there are and how they are kept.

    `skew` is the exponent of the Zipf distribution over the things; TTLs in seconds, sizes in bytes. A `sliding`
    TTL starts anew with every read.
    """

    prefix: str
    share: float
    things: int
    skew: float
    ttl_s: int
    jitter_s: int
    smallest: int
    largest: int
    sliding: bool = False


KINDS = (
    Kind("product:", 0.44, 26_000, 1.02, 3600, 720, 1_500, 9_000),
    Kind("category:", 0.14, 400, 0.9, 6 * 3600, 4320, 4_000, 16_000),
    Kind("session:", 0.20, 5_000, 0.8, 1800, 0, 400, 900, sliding=True),
    Kind("news:", 0.10, 200, 1.1, 60, 12, 1_000, 4_000),
    Kind("inventory:", 0.08, 3_000, 1.2, 30, 6, 60, 120),
    Kind("wallet:", 0.04, 1_500, 1.0, 15, 0, 80, 160),
)
PRODUCT, CATEGORY = KINDS[0], KINDS[1]
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

    Args: `clients` take turns, tick by tick; `seed` makes two runs ask for the same things in the same order.
    """

    def __init__(self, clients: Sequence[redis.Redis], *, seed: int = 2026) -> None:
        self._clients = itertools.cycle(clients)
        self._random = random.Random(seed)
        self._popularity = {kind.prefix: _zipf(kind) for kind in KINDS}
        self._shares = list(itertools.accumulate(kind.share for kind in KINDS))
        self._filler = " ".join(self._random.choices(WORDS, k=4_000))
        self._next_report_s = 10.0
        self._next_sale_s = SALE_EVERY_S
        self._owed = 0.0

    def warm_up(self) -> None:
        """Load the most popular things, as a shop does before it opens; takes well under a second."""
        with next(self._clients).pipeline(transaction=False) as pipe:
            for kind in KINDS:
                for number in range(min(kind.things, 600)):
                    self._load(pipe, kind, number)
            pipe.execute()

    def tick(self, at_s: float, for_s: float) -> int:
        """Do the reads of the next `for_s` seconds at `at_s` seconds after the shop opened.

        Returns: the number of reads. Raises: redis.RedisError when the cache is away.
        """
        client = next(self._clients)
        wanted = list(self._reads(at_s, for_s))
        with client.pipeline(transaction=False) as pipe:
            for kind, number in wanted:
                if kind.sliding:
                    pipe.getex(_key(kind, number), ex=kind.ttl_s)
                else:
                    pipe.get(_key(kind, number))
            found = pipe.execute()
        with client.pipeline(transaction=False) as pipe:
            for (kind, number), value in zip(wanted, found, strict=True):
                if value is None:
                    self._load(pipe, kind, number)
            # An order changes what is in stock: the next reader has to load it again.
            for _ in range(self._random.randrange(2)):
                pipe.unlink(f"inventory:{self._random.randrange(KINDS[4].things)}")
            pipe.execute()
        if at_s >= self._next_sale_s:
            self._next_sale_s = at_s + SALE_EVERY_S
            client.unlink(*(_key(CATEGORY, number) for number in range(CATEGORY.things)))
        if at_s >= self._next_report_s:
            self._next_report_s = at_s + REPORT_EVERY_S
            self._report(client)
        return len(wanted)

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

    def _load(self, pipe: redis.client.Pipeline, kind: Kind, number: int) -> None:
        size = self._random.randint(kind.smallest, kind.largest)
        text = self._filler[self._random.randrange(2_000) :][:size]
        value = f'{{"id":{number},"text":"{text}"}}'
        pipe.set(_key(kind, number), value, ex=kind.ttl_s + self._random.randint(0, kind.jitter_s))

    def _report(self, client: redis.Redis) -> None:
        """Somebody's report that sorts a large set within the cache: slow, and rightly in the slow log."""
        if not client.exists(REPORT_KEY):
            client.sadd(REPORT_KEY, *self._random.sample(range(10_000_000), REPORT_MEMBERS))
            client.expire(REPORT_KEY, 900)
        client.sort(REPORT_KEY, start=0, num=10, desc=True)


class Traffic:
    """The shop's traffic in a thread of its own, from `start()` to `stop()`, at a bounded rate."""

    def __init__(self, url: str, *, seed: int = 2026) -> None:
        self._clients = [
            redis.Redis.from_url(url, client_name=name, socket_timeout=2, socket_connect_timeout=2)
            for name in CLIENT_NAMES
        ]
        self._shop = Shop(self._clients, seed=seed)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-traffic", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close the connections; returns when both is done."""
        self._stopping.set()
        self._thread.join(timeout=5)
        for client in self._clients:
            client.close()

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
