"""Visitors: what is planned, and what is measured when a shop answers well, slowly, or not at all."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from dashboard.demo import load
from dashboard.demo.load import Campaign, Event, Outcome, Page

PRODUCTS = 500


# --- the plan -------------------------------------------------------------------------------------------------------


def test_a_plan_is_the_same_each_time_and_another_with_another_seed() -> None:
    first = load.plan(20, 30, products=PRODUCTS, seed=1)
    assert load.plan(20, 30, products=PRODUCTS, seed=1) == first
    assert load.plan(20, 30, products=PRODUCTS, seed=2) != first


def test_pages_come_in_order_at_about_the_rate_asked_for_from_the_first_second() -> None:
    events = load.plan(100, 60, products=PRODUCTS)
    times = [event.at_s for event in events]
    assert times == sorted(times) and times[0] >= 0 and times[-1] < 60
    assert len(events) == pytest.approx(6_000, rel=0.1)
    assert sum(at < 5 for at in times) == pytest.approx(500, rel=0.25)


def test_few_products_are_looked_at_most() -> None:
    events = load.plan(100, 60, products=PRODUCTS)
    looked_at = Counter(event.product for event in events if event.page is Page.PRODUCT)
    assert all(1 <= product <= PRODUCTS for product in looked_at)
    assert sum(looked_at[product] for product in range(1, 11)) > 0.3 * looked_at.total()


def test_all_kinds_of_pages_are_wanted_and_who_buys_looked_at_it_before() -> None:
    events = load.plan(100, 60, products=PRODUCTS)
    assert {event.page for event in events} == set(Page)
    seen = {(event.visit, event.product) for event in events if event.page is Page.PRODUCT}
    bought = [(event.visit, event.product) for event in events if event.page is Page.BUY and event.at_s > 30]
    assert bought and set(bought) <= seen


def test_a_campaign_brings_so_many_times_the_visits_for_its_products() -> None:
    campaign = Campaign(20, 40, 4, range(301, 306))
    events = load.plan(50, 40, products=PRODUCTS, campaign=campaign)
    before = [event for event in events if event.at_s < 20]
    # Who came because of the letter still looks around when the next ones come.
    during = [event for event in events if event.at_s >= 25]
    assert len(before) / 20 == pytest.approx(50, rel=0.15)
    assert len(during) / 15 == pytest.approx(200, rel=0.15)
    wanted = sum(event.product in campaign.products for event in during)
    assert wanted > 0.3 * len(during)
    assert sum(event.product in campaign.products for event in before) < 0.05 * len(before)


def test_a_plan_is_bounded() -> None:
    with pytest.raises(ValueError, match="more than"):
        load.plan(10_000, 60, products=PRODUCTS)
    assert load.plan(0, 60, products=PRODUCTS) == []


# --- what is measured -----------------------------------------------------------------------------------------------


def test_quantiles() -> None:
    assert load.quantile([], 0.5) is None
    assert load.quantile([3.0], 0.99) == 3.0
    assert load.quantile([float(n) for n in range(1, 101)], 0.95) == 95.0
    assert load.quantile([1.0, 2.0], 0.5) == 1.0


def test_an_outcome_survives_json() -> None:
    outcome = Outcome(0.5, Page.CATEGORY, 0.125, True, 7, 6, 1, 3, (0.001, 0.002))
    assert Outcome.from_row(json.loads(json.dumps(outcome.to_row()))) == outcome
    assert not outcome.is_cached and outcome.ended_at_s == 0.625
    assert Outcome(0, Page.HOME, 0.1, True, 5, 5, 0).is_cached
    # Who read nothing from the cache has not been served from it.
    assert not Outcome(0, Page.HOME, 0.1, True).is_cached


# --- over HTTP ------------------------------------------------------------------------------------------------------

Answer = Callable[[BaseHTTPRequestHandler], None]


def page(handler: BaseHTTPRequestHandler, status: int = 200, text: str = "page", **headers: str) -> None:
    body = text.encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@contextmanager
def a_shop(answer: Answer) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        # Whoever keeps a connection open must not keep the server.
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_visitors_note_what_the_shop_says_about_a_page() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        page(
            handler,
            X_Shop_Reads="all=7, hit=6, loaded=1, queries=3",
            Server_Timing="cache;dur=1.500, db;dur=2.000, hit;dur=0.400, hit;dur=0.600",
        )

    with a_shop(answer) as url:
        (found,) = load.drive(url, [Event(0.0, 1, Page.PRODUCT, product=3)])
    assert found.ok and (found.reads, found.hits, found.loaded, found.queries) == (7, 6, 1, 3)
    assert found.hits_s == (0.0004, 0.0006)


def test_time_counts_from_when_a_page_was_wanted() -> None:
    """One connection and a slow shop: the last one waits for all before it, and that is what is measured."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.05)
        page(handler)

    with a_shop(answer) as url:
        found = load.drive(url, [Event(0.0, n, Page.HOME) for n in range(6)], connections=1)
    took = sorted(each.took_s for each in found)
    assert len(found) == 6 and all(each.ok for each in found)
    assert took[-1] >= 0.3 and took[-1] - took[0] >= 0.25


def test_errors_and_nobody_there_are_failures() -> None:
    with a_shop(lambda handler: page(handler, 503)) as url:
        events = [Event(0.0, 1, Page.HOME), Event(0.0, 2, Page.SEARCH, text="50% & more")]
        assert [each.ok for each in load.drive(url, events)] == [False, False]
    # It is gone now.
    assert [each.ok for each in load.drive(url, events)] == [False, False]


def test_a_category_may_have_fewer_pages() -> None:
    with a_shop(lambda handler: page(handler, 404)) as url:
        events = [Event(0.0, 1, Page.CATEGORY, text="tea", list_page=number) for number in (1, 2)]
        assert sorted(each.ok for each in load.drive(url, events)) == [False, True]


def test_who_buys_signs_in_and_pays_what_the_checkout_says() -> None:
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(f"{handler.command} {handler.path} {handler.headers.get('Cookie', '')}".strip())
        if handler.command == "GET":
            fields = {"key": "k-1", "total": "1290", "top_up": "5000"}
            page(handler, text="".join(f'<input name="{n}" value="{v}">' for n, v in fields.items()))
        else:
            page(handler, 303, Set_Cookie="demo-store=abc; Path=/")

    with a_shop(answer) as url:
        (found,) = load.drive(url, [Event(0.0, 1, Page.BUY, product=3)])
    assert found.ok
    assert asked == [
        "POST /sign-in",
        "POST /cart demo-store=abc",
        "GET /checkout demo-store=abc",
        "POST /checkout demo-store=abc",
    ]


def test_visitors_stop_when_told() -> None:
    stop = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        stop.set()
        page(handler)

    with a_shop(answer) as url:
        found = load.drive(
            url, [Event(0.0, 1, Page.HOME), Event(300.0, 2, Page.HOME)], stop=stop.is_set, connections=2
        )
    assert len(found) == 1


def test_only_this_machine_is_visited() -> None:
    for url in ("http://192.0.2.1:80", "http://shop.example"):
        with pytest.raises(ValueError, match="this machine"):
            load.drive(url, [])
        with pytest.raises(ValueError, match="this machine"):
            load.hurry(url, [Event(0.0, 1, Page.HOME)], 1)


def test_how_many_pages_a_shop_can_do() -> None:
    asked = threading.Semaphore(0)

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.release()
        page(handler)

    with a_shop(answer) as url:
        found = load.hurry(url, [Event(0.0, 1, Page.HOME)], 0.3, connections=2)
        assert found > 0 and asked.acquire(blocking=False)
        with pytest.raises(ValueError, match="nothing"):
            load.hurry(url, [], 0.1)


def test_a_slow_shop_is_waited_for_once() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        page(handler)

    with a_shop(answer) as url:
        found = load.hurry(url, [Event(0.0, 1, Page.HOME)], 0.05, connections=1)
    assert 0 < found <= 1 / 0.3


# --- the process ----------------------------------------------------------------------------------------------------


def start(url: str, *more: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "dashboard.demo.load", "--url", url, "--products", "50", "--led", *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_the_process_goes_when_it_is_told_and_prints_what_became_of_each_page() -> None:
    with a_shop(page) as url, start(url, "--pages-per-s", "50", "--seconds", "0.5") as child:
        assert child.stdin is not None and child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        child.stdin.write(f"{time.time()!r}\n".encode())
        child.stdin.flush()
        found = json.loads(child.stdout.readline())
        assert found["wanted"] == len(found["outcomes"]) > 0
        assert all(Outcome.from_row(row).ok for row in found["outcomes"] if row[1] != Page.BUY)


def test_the_process_ends_with_whoever_started_it() -> None:
    with a_shop(page) as url, start(url, "--pages-per-s", "10", "--seconds", "3000") as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        child.stdin.write(f"{time.time()!r}\n".encode())
        child.stdin.close()
        assert child.wait(60) == 0
