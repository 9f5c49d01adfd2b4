"""Visitors of the shop: when they come, what they look at, what they buy. Open loop.

Everything is decided beforehand from a seed: visits arrive at random (Poisson), and each is a walk through some pages
with pauses between them. Nobody waits for the shop: when it is slow its queue grows, and every page's time counts from
the moment it was wanted (so a slow shop can't hide by being asked less, "coordinated omission").

``plan`` is pure. ``drive`` asks a shop over HTTP, with so many connections and so long at most; ``hurry`` finds out how
many pages a shop can do. ``python -m dashboard.demo.load`` does so in a process of its own and prints what became of
each page as JSON.
"""

import argparse
import http.client
import json
import math
import os
import queue
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from dashboard.demo.shop.catalogue import Popularity, categories

THINK_S: Final = 1.5
"""Mean pause between two pages of a visit."""
PAGES: Final = 5
"""Mean number of pages of a visit."""
MOST_PAGES: Final = 12
MOST_CONNECTIONS: Final = 64
WAITS_S: Final = 10.0
"""A page that takes longer has failed."""
MOST_EVENTS: Final = 400_000
SEARCHES: Final = (
    "kettle",
    "espresso",
    "tea tin",
    "hand grinder",
    "cup",
    "amber",
    "travel mug",
    "scale timer",
)
BUYS: Final = 0.04
"""Of all visits, those that end with an order."""
CUSTOMERS: Final = 6
"""Whom the shop's sign-in page offers: numbers 1 to this."""
_KEY: Final = re.compile(rb'name="key" value="([\w-]+)"')
_TOTAL: Final = re.compile(rb'name="total" value="(\d+)"')
_TOP_UP: Final = re.compile(rb'name="top_up" value="(\d+)"')
_ANSWERS: Final = (HTTPStatus.SEE_OTHER, HTTPStatus.CONFLICT)
"""Of a payment: paid, or sold out meanwhile."""


class Page(StrEnum):
    """What can be looked at, and done."""

    HOME = "home"
    CATEGORY = "category"
    SEARCH = "search"
    PRODUCT = "product"
    BUY = "buy"
    """Sign in, put the last product into the cart, pay."""


@dataclass(frozen=True, slots=True)
class Event:
    """One page that is wanted.

    Args:
        at_s: seconds after the beginning.
        visit: number of the visit it belongs to.
        product: of PRODUCT and BUY.
        text: category's slug, or words to search for.
        list_page: of a category.
    """

    at_s: float
    visit: int
    page: Page
    product: int = 0
    text: str = ""
    list_page: int = 1


@dataclass(frozen=True, slots=True)
class Campaign:
    """Marketing has sent a newsletter: so many times the visits, most of them for a few products.

    Args:
        from_s, until_s: seconds after the beginning.
        times: how many times the usual visits.
        products: numbers of those in the newsletter.
        share: of the visits in that time that came because of it.
    """

    from_s: float
    until_s: float
    times: float
    products: Sequence[int]
    share: float = 0.8


def plan(
    pages_per_s: float,
    seconds: float,
    *,
    products: int,
    seed: int = 42,
    campaign: Campaign | None = None,
    exponent: float = 1.02,
) -> list[Event]:
    """Who wants what, when; in the order of time.

    Args:
        pages_per_s: on average, outside a campaign.
        seconds: how long. Visits that began before are under way at the beginning, the last ones go on after the end.
        products: how many there are; number 1 is the most popular (Zipf's law with ``exponent``).

    Raises:
        ValueError: that would be more than MOST_EVENTS pages.
    """
    most = pages_per_s * seconds * (campaign.times if campaign else 1.0)
    if most > MOST_EVENTS:
        raise ValueError(f"{most:,.0f} pages are more than {MOST_EVENTS:,}")
    chance, popular = random.Random(f"load {seed}"), Popularity(products, exponent)
    slugs = [each.slug for each in categories()]
    fastest = pages_per_s / PAGES * (campaign.times if campaign else 1.0)
    events: list[Event] = []
    at, visit = -MOST_PAGES * THINK_S, 0
    while fastest > 0:
        at += chance.expovariate(fastest)
        if at >= seconds:
            break
        in_campaign = campaign is not None and campaign.from_s <= at < campaign.until_s
        # Arrivals are drawn at the fastest rate, and thinned out where it is not.
        if campaign is not None and not in_campaign and chance.random() >= 1 / campaign.times:
            continue
        visit += 1
        wanted = campaign.products if in_campaign and campaign and chance.random() < campaign.share else ()
        events.extend(
            each for each in _walk(chance, visit, at, popular, slugs, wanted) if 0 <= each.at_s < seconds
        )
    events.sort(key=lambda event: event.at_s)
    return events


def _walk(
    chance: random.Random,
    visit: int,
    at: float,
    popular: Popularity,
    slugs: Sequence[str],
    wanted: Sequence[int],
) -> Iterator[Event]:
    """The pages of one visit."""
    # Rounded down and bounded, this is PAGES on average.
    pages = min(MOST_PAGES, 1 + int(chance.expovariate(1 / PAGES)))
    last = 0
    for number in range(pages):
        if number:
            at += chance.expovariate(1 / THINK_S)
        drawn = chance.random()
        if wanted and (number == 0 or drawn < 0.5):
            last = chance.choice(wanted)
            yield Event(at, visit, Page.PRODUCT, product=last)
        elif drawn < 0.58:
            last = popular.pick(chance.random())
            yield Event(at, visit, Page.PRODUCT, product=last)
        elif drawn < 0.82:
            # Few go beyond the first page.
            yield Event(
                at, visit, Page.CATEGORY, text=chance.choice(slugs), list_page=1 + int(chance.expovariate(2))
            )
        elif drawn < 0.92:
            yield Event(at, visit, Page.HOME)
        else:
            yield Event(at, visit, Page.SEARCH, text=chance.choice(SEARCHES))
    if last and chance.random() < BUYS:
        yield Event(at + chance.expovariate(1 / THINK_S), visit, Page.BUY, product=last)


# --- over HTTP --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a page.

    Args:
        at_s: when it was wanted.
        took_s: from then to the last byte.
        ok: it was answered as it should, in time.
        reads, hits, loaded: what the page asked its cache for, found there, and had loaded; as the shop says.
        queries: that it sent to its database.
        hits_s: what each of its reads took that was answered from the cache.
    """

    at_s: float
    page: Page
    took_s: float
    ok: bool
    reads: int = 0
    hits: int = 0
    loaded: int = 0
    queries: int = 0
    hits_s: tuple[float, ...] = ()

    @property
    def ended_at_s(self) -> float:
        """When its last byte was there."""
        return self.at_s + self.took_s

    @property
    def is_cached(self) -> bool:
        """Whether all of it came from the cache."""
        return self.ok and 0 < self.reads == self.hits

    def to_row(self) -> list[Any]:
        """For JSON, short."""
        return [
            round(self.at_s, 4),
            str(self.page),
            round(self.took_s, 6),
            self.ok,
            self.reads,
            self.hits,
            self.loaded,
            self.queries,
            self.hits_s,
        ]

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "Outcome":
        """What ``to_row`` made."""
        at_s, page, took_s, ok, reads, hits, loaded, queries, hits_s = row
        return cls(at_s, Page(page), took_s, ok, reads, hits, loaded, queries, tuple(hits_s))


def drive(
    url: str,
    events: Sequence[Event],
    *,
    connections: int = MOST_CONNECTIONS,
    customers: int = CUSTOMERS,
    begin_in_s: float = 0.05,
    stop: Callable[[], bool] = lambda: False,
) -> list[Outcome]:
    """Ask a shop for all these pages, each when it is wanted.

    Args:
        url: http://127.0.0.1:port; another host is refused.
        customers: who can sign in: numbers from 1.
        begin_in_s: when the first second begins.
        stop: asked often; True ends it early.

    Raises:
        ValueError: the shop is not on this machine.
    """
    host, port = _local(url)
    waiting: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
    outcomes: list[Outcome] = []
    lock = threading.Lock()
    began = time.perf_counter() + begin_in_s

    def visit_all() -> None:
        visitor = _Visitor(host, port, customers)
        while (event := waiting.get()) is not None:
            wanted = began + event.at_s
            is_asked = time.perf_counter() - wanted < WAITS_S and not stop()
            ok = is_asked and visitor.visit(event)
            took_s = time.perf_counter() - wanted
            # It was asked for in time, and came too late.
            ok = ok and took_s < WAITS_S
            said = visitor.said if is_asked else _Said()
            outcome = Outcome(event.at_s, event.page, took_s, ok, *said.row)
            with lock:
                outcomes.append(outcome)
        visitor.close()

    threads = [
        threading.Thread(target=visit_all, name="visitor", daemon=True)
        for _ in range(max(1, min(connections, MOST_CONNECTIONS)))
    ]
    for thread in threads:
        thread.start()
    for event in events:
        while (early := began + event.at_s - time.perf_counter()) > 0 and not stop():
            time.sleep(min(early, 0.2))
        if stop():
            break
        waiting.put(event)
    for _ in threads:
        waiting.put(None)
    for thread in threads:
        thread.join(WAITS_S * 2)
    with lock:
        return list(outcomes)


def hurry(
    url: str,
    events: Sequence[Event],
    seconds: float,
    *,
    connections: int = 16,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Ask for one page after the other, without a pause: how many a shop can do.

    Args:
        url: as of ``drive``.
        events: what is asked for; from the beginning again where that is too few.
        seconds: how long.

    Returns:
        Pages per second that were answered. If none was, it goes on until one is, or nobody would wait any longer.

    Raises:
        ValueError: the shop is not on this machine, or there is nothing to ask for.
    """
    host, port = _local(url)
    if not events:
        raise ValueError("nothing to ask for")
    lock = threading.Lock()
    asked = answered = 0
    ended_s = seconds
    began = time.perf_counter()

    def is_over(passed_s: float) -> bool:
        return passed_s >= (seconds if answered else seconds + WAITS_S)

    def visit_all() -> None:
        nonlocal asked, answered, ended_s
        visitor = _Visitor(host, port, CUSTOMERS)
        while not stop():
            with lock:
                if is_over(time.perf_counter() - began):
                    break
                event = events[asked % len(events)]
                asked += 1
            ok = visitor.visit(event)
            passed_s = time.perf_counter() - began
            with lock:
                if ok and not is_over(passed_s):
                    answered += 1
                    ended_s = max(ended_s, passed_s)
            if not ok:
                # Whoever is refused at once must not ask a thousand times a second.
                time.sleep(0.02)
        visitor.close()

    threads = [
        threading.Thread(target=visit_all, name="visitor", daemon=True)
        for _ in range(max(1, min(connections, MOST_CONNECTIONS)))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + 2 * WAITS_S)
    return answered / ended_s


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value that ``share`` (0..1, more than 0) of these do not exceed; None of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else None


def _local(url: str) -> tuple[str, int]:
    """Host and port."""
    address = urlsplit(url)
    if address.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise ValueError("visitors are sent to this machine only")
    return address.hostname, address.port or 80


class _Said:
    """What the shop says that a visit's pages cost it."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(("all", "hit", "loaded", "queries"), 0)
        self.hits_s: list[float] = []

    @property
    def row(self) -> tuple[int, int, int, int, tuple[float, ...]]:
        """As ``Outcome`` has it."""
        counts = self.counts
        return counts["all"], counts["hit"], counts["loaded"], counts["queries"], tuple(self.hits_s)

    def add(self, headers: http.client.HTTPMessage) -> None:
        """One more answer."""
        for part in headers.get("X-Shop-Reads", "").split(","):
            name, _, count = part.strip().partition("=")
            if name in self.counts and count.isdecimal():
                self.counts[name] += int(count)
        for part in headers.get("Server-Timing", "").split(","):
            name, _, duration = part.strip().partition(";dur=")
            if name == "hit":
                self.hits_s.append(round(float(duration) / 1000, 6))


class _Visitor:
    """One connection, and whoever uses it."""

    def __init__(self, host: str, port: int, customers: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=WAITS_S)
        self._customers = customers
        self.said = _Said()

    def close(self) -> None:
        self._connection.close()

    def visit(self, event: Event) -> bool:
        """Whether it went as it should."""
        self.said = _Said()
        try:
            if event.page is Page.BUY:
                return self._buy(event)
            status, _ = self._ask("GET", _path(event))
            # Not every category has so many pages.
            return status == HTTPStatus.OK or (status == HTTPStatus.NOT_FOUND and event.list_page > 1)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return False

    def _buy(self, event: Event) -> bool:
        # One session for each order: what visitors share is the connection only.
        cookies: dict[str, str] = {}
        who = {"customer": str(1 + event.visit % self._customers)}
        if self._ask("POST", "/sign-in", who, cookies)[0] != HTTPStatus.SEE_OTHER:
            return False
        wanted = {"product": str(event.product), "pieces": "1"}
        if self._ask("POST", "/cart", wanted, cookies)[0] != HTTPStatus.SEE_OTHER:
            return False
        status, page = self._ask("GET", "/checkout", None, cookies)
        fields = {"key": _KEY, "total": _TOTAL, "top_up": _TOP_UP}
        found = {name: pattern.search(page) for name, pattern in fields.items()}
        form = {name: match[1].decode() for name, match in found.items() if match is not None}
        if status != HTTPStatus.OK or len(form) < len(fields):
            return False
        # Wallets never run dry: whoever pays puts the money there first.
        form["pay"] = "top-up"
        return self._ask("POST", "/checkout", form, cookies)[0] in _ANSWERS

    def _ask(
        self,
        method: str,
        path: str,
        form: dict[str, str] | None = None,
        cookies: dict[str, str] | None = None,
    ) -> tuple[int, bytes]:
        headers = {"X-Shop-Traffic": "1", "Sec-Fetch-Site": "same-origin"}
        body = None
        if form is not None:
            body = urlencode(form)
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        if cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._connection.request(method, path, body=body, headers=headers)
        answer = self._connection.getresponse()
        page = answer.read()
        self.said.add(answer.headers)
        if cookies is not None:
            for line in answer.headers.get_all("Set-Cookie") or ():
                name, _, value = line.partition(";")[0].partition("=")
                cookies[name.strip()] = value.strip()
        return answer.status, page


def _path(event: Event) -> str:
    match event.page:
        case Page.PRODUCT:
            return f"/product/{event.product}"
        case Page.CATEGORY:
            return f"/category/{quote(event.text)}?page={event.list_page}"
        case Page.SEARCH:
            return f"/search?{urlencode({'q': event.text})}"
        case _:
            return "/"


def main(given: Sequence[str] | None = None) -> int:
    """Drive a shop and print what became of each page. Returns the exit code."""
    args = _parser().parse_args(given)
    campaign = None
    if args.campaign:
        begin, end, times, which = args.campaign.split(",")
        first, _, last = which.partition("-")
        campaign = Campaign(float(begin), float(end), float(times), range(int(first), int(last or first) + 1))
    events = plan(args.pages_per_s, args.seconds, products=args.products, seed=args.seed, campaign=campaign)
    stop = threading.Event()
    begin_in_s = 0.05
    if args.led:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        begin_at = sys.stdin.readline()
        if not begin_at:
            return 0
        begin_in_s = max(0.0, float(begin_at) - time.time())
        threading.Thread(target=_until_alone, args=(stop,), name="watch", daemon=True).start()
    found: Any
    if args.hurry:
        found = {"pages_per_s": hurry(args.url, events, args.seconds, stop=stop.is_set)}
    else:
        outcomes = drive(
            args.url,
            events,
            connections=args.connections,
            customers=args.customers,
            begin_in_s=begin_in_s,
            stop=stop.is_set,
        )
        found = {"wanted": len(events), "outcomes": [each.to_row() for each in outcomes]}
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


def _until_alone(stop: threading.Event) -> None:
    """Whoever started us holds the other end of our input: when that is closed, nobody waits for us any more."""
    while os.read(sys.stdin.fileno(), 1024):
        pass
    stop.set()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m dashboard.demo.load", description=__doc__)
    add = parser.add_argument
    add("--url", required=True)
    add("--pages-per-s", type=float, required=True)
    add("--seconds", type=float, required=True)
    add("--products", type=int, required=True)
    add("--customers", type=int, default=CUSTOMERS)
    add("--seed", type=int, default=42)
    add("--connections", type=int, default=MOST_CONNECTIONS)
    add("--campaign", help="from,until,times,products as in 10,40,5,1-20")
    add("--hurry", action="store_true", help="one page after the other without a pause: how many it can do")
    add(
        "--led",
        action="store_true",
        help='print "ready", wait for a line with the Unix time to begin at, and end when standard input is closed',
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
