"""Write-through wallet: customers pay, and look at their balance, many at once.

A balance is wrong when the read began after a payment was over and gave the balance from before it. Cache-aside deletes
after the commit; its deletes come late now and then, as they do from a queue or a busy process. With write-through the
cache holds the new balance before the payment is over.
"""

import queue
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import psycopg

from dashboard.demo.lab.measuring import at_least, at_most
from dashboard.demo.lab.reading import Crew, modes, ratio, told, totals
from dashboard.demo.lab.types import LOWER, Bench, Number, Result, Scenario, Side
from dashboard.demo.load import quantile
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.catalogue import Popularity
from dashboard.demo.shop.modes import Load, LoadMany, Shelf, Then
from dashboard.demo.shop.pages import wallet_key
from dashboard.demo.shop.schema import START_CENTS
from dashboard.demo.shop.store import ShopStore

SECONDS: Final = 15.0
QUICK_S: Final = 1.5
FEWEST: Final = 150
"""Payments of each side, however long they take."""
CUSTOMERS: Final = 60
"""As many as the smallest shop has; few have most of the traffic, so that payments and reads meet."""
PAYERS: Final = 6
READERS: Final = 4
PAUSE_S: Final = 0.01
"""Mean time between a payer's payments, and a reader's reads."""
LATE_SHARE: Final = 0.05
LATE_S: Final = 0.1
"""So many of cache-aside's deletes come so much later than the answer to the customer."""
DEAREST_CENTS: Final = 900
LOW_CENTS: Final = PAYERS * DEAREST_CENTS
"""Whose wallet holds less tops it up instead."""
TOP_UP_CENTS: Final = 20_000
SERIES: Final = "Wrong balances read"
_STEP_S: Final = 0.25
_BEFORE: Final = "Cache-aside, deletes late"
_AFTER: Final = "Write-through"

_OFF: Final = f"""
SELECT count(*) FROM shop.wallet w WHERE balance_cents <> {START_CENTS}
    + (SELECT coalesce(sum(cents), 0) FROM shop.wallet_entry e WHERE e.customer_id = w.customer_id)
"""


class Late:
    """Cache-aside whose deletes come late now and then.

    Args:
        shelf: plain cache-aside.
        seed: of which ones.
    """

    def __init__(self, shelf: Shelf, seed: int) -> None:
        self._shelf = shelf
        self._chance = Random(seed)
        self._due: queue.SimpleQueue[tuple[float, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="lab-late", daemon=True)
        self._thread.start()

    def read(self, key: str, load: Load) -> Any:
        """As plainly."""
        return self._shelf.read(key, load)

    def read_many(self, keys: Sequence[str], load: LoadMany) -> dict[str, Any]:
        """As plainly."""
        return self._shelf.read_many(keys, load)

    def drop(self, *keys: str) -> None:
        """Most at once, some later; whoever calls does not wait for those."""
        for key in keys:
            if self._chance.random() < LATE_SHARE:
                self._due.put((time.monotonic() + LATE_S, key))
            else:
                self._shelf.drop(key)

    def write(self, key: str, commit: Callable[[Then], Any]) -> Any:
        """Write, then delete."""
        done = commit(lambda value: None)
        self.drop(key)
        return done

    def close(self) -> None:
        """Do what is due, and end."""
        self._due.put(None)
        self._thread.join(LATE_S + 2)

    def _work(self) -> None:
        # All are late by the same time, so they are due in their order.
        while (next_one := self._due.get()) is not None:
            due, key = next_one
            time.sleep(max(0.0, due - time.monotonic()))
            self._shelf.drop(key)


@dataclass(slots=True)
class _Found:
    """What the threads of one side found; they only append."""

    writes: list[float] = field(default_factory=list)
    """Seconds of each payment, the cache's part included."""
    reads: list[float] = field(default_factory=list)
    """Seconds of each look at a balance."""
    wrong: list[float] = field(default_factory=list)
    """When a wrong balance was read, seconds since the beginning."""
    ages: list[float] = field(default_factory=list)
    """How long before each of those the payment that it lacked was over, seconds."""


class _Wallets:
    """What customers know: the last payment of each that is over.

    Args:
        keys: begins the keys of bookings, which are used once.
    """

    def __init__(self, keys: str) -> None:
        self._lock = threading.Lock()
        self._keys = keys
        self._number = 0
        self._last: dict[int, tuple[int, float]] = {}

    def key(self) -> str:
        """Of a booking that was not made before."""
        with self._lock:
            self._number += 1
            return f"{self._keys}-{self._number}"

    def paid(self, customer: int, version: int) -> None:
        """A payment is over; ``version`` of the wallet after it."""
        now = time.monotonic()
        with self._lock:
            if version > self._last.get(customer, (-1, 0.0))[0]:
                self._last[customer] = version, now

    def last(self, customer: int) -> tuple[int, float]:
        """(version of the wallet after the last payment that is over, since when)."""
        with self._lock:
            return self._last.get(customer, (-1, 0.0))


def pay_and_look(bench: Bench, *, cure: str = "cachewarden") -> Result:
    """Let customers pay with cache-aside, then with the cure.

    Args:
        cure: the mode in which no balance may be wrong; "naive" has its deletes late as well.
    """
    store = bench.store(connections=PAYERS + READERS + 2)
    before = _side(bench, store, "naive", 0.05, _BEFORE)
    after = _side(bench, store, cure, 0.5, _AFTER if cure != "naive" else "In the cure's place")
    with psycopg.connect(bench.database_url(), autocommit=True) as connection:
        row = connection.execute(_OFF).fetchone()
    assert row is not None
    wrong, kept, off = before.value(SERIES), after.value(SERIES), int(row[0])
    left = after.value("Balances left wrong")
    assert wrong is not None and kept is not None and left is not None
    age_s, late_ms = before.value("Longest wrong") or 0.0, LATE_S * 1000
    write_before_s, write_s = before.value("Payment p95") or 0.0, after.value("Payment p95") or 0.0
    return Result(
        scenario=SCENARIO.name,
        sides=(before, after),
        chart=(SERIES, "count"),
        checks=(
            at_least("Cache-aside shows wrong balances", wrong, 1, "count"),
            at_most("With write-through nobody reads a balance before his last payment", kept, 0, "count"),
            at_most("With write-through no wrong balance is left in the cache", left, 0, "count"),
            at_most("Every booking is in the database once: bookings that are not", float(off), 0, "count"),
        ),
        sentence=(
            f"Customers who had paid were shown the balance from before {wrong:,.0f} times with cache-aside, for up to"
            f" {age_s:.1f} s, and {kept:,.0f} times with write-through: the cache holds the new balance before the"
            f" payment is over. 95% of payments took at most {write_before_s * 1000:.0f} ms with cache-aside and"
            f" {write_s * 1000:.0f} ms with write-through."
        ),
        notes=(
            f"{LATE_SHARE:.0%} of cache-aside's deletes come {late_ms:.0f} ms after the answer, as from a queue.",
            "A read is wrong when it began after a payment was over and its answer lacks that payment.",
        ),
        setup={"payers": float(PAYERS), "readers": float(READERS), "customers": float(CUSTOMERS)},
    )


def _side(bench: Bench, store: ShopStore, mode: str, share: float, title: str) -> Side:
    valkey = bench.valkey()
    found, wallets = _Found(), _Wallets(f"lab-{secrets.token_hex(8)}")
    seconds = QUICK_S if bench.is_quick else SECONDS
    with ExitStack() as stack:
        shelves: list[Shelf] = []
        for number in (1, 2):
            made = modes(store, valkey.url, mode, DOCUMENT, f"lab-web-{number}")
            shelf = stack.enter_context(made).shelf
            if mode == "naive":
                late = Late(shelf, bench.seed + number)
                stack.callback(late.close)
                shelf = late
            shelves.append(shelf)
        began = time.monotonic()
        with Crew(bench) as crew:
            for number in range(PAYERS + READERS):
                customer = _Customers(
                    store, shelves[number % 2], wallets, found, began, Random(bench.seed * 100 + number)
                )
                work = customer.pay if number < PAYERS else customer.look
                crew.begin(lambda work=work: work(crew))  # type: ignore[misc]
            crew.wait(seconds, share, share + 0.4, f"{title}: customers pay")
            # On a machine that is very busy: there must be enough of them for the late ones to be among them.
            while len(found.writes) < FEWEST:
                crew.wait(_STEP_S)
        ends_at = time.monotonic() - began
        # Deletes that are late have come by then; what is wrong now stays so until its TTL ends.
        bench.wait(3 * LATE_S)
        left = sum(
            shelf.read(wallet_key(customer), lambda customer=customer: store.wallet(customer))  # type: ignore[misc]
            != store.wallet(customer)
            for customer in range(1, CUSTOMERS + 1)
            for shelf in shelves
        )
    told(valkey.client())
    reads = len(found.reads)
    return Side(
        title,
        (
            Number(SERIES, len(found.wrong), "count", LOWER),
            Number("Share of reads", ratio(len(found.wrong), reads), "ratio", LOWER),
            Number("Longest wrong", max(found.ages, default=0.0), "s", LOWER),
            Number("Payment p50", quantile(found.writes, 0.5), "s", LOWER),
            Number("Payment p95", quantile(found.writes, 0.95), "s", LOWER),
            Number("Balances left wrong", left, "count", LOWER),
            Number("Balance read p95", quantile(found.reads, 0.95), "s", LOWER),
            Number("Payments", len(found.writes), "count"),
            Number("Balances read", reads, "count"),
        ),
        {SERIES: totals(found.wrong, ends_at, _STEP_S)},
    )


class _Customers:
    """One thread's customers, in one process of the shop.

    Args:
        wallets: shared by all threads.
        began: of the side, monotonic seconds.
    """

    def __init__(
        self, store: ShopStore, shelf: Shelf, wallets: _Wallets, found: _Found, began: float, chance: Random
    ) -> None:
        self._store = store
        self._shelf = shelf
        self._wallets = wallets
        self._found = found
        self._began = began
        self._chance = chance
        self._popular = Popularity(CUSTOMERS)

    def pay(self, crew: Crew) -> None:
        """Pay, and look at the balance on the next page."""
        balances: dict[int, int] = {}
        while crew.is_going:
            customer = self._pick()
            is_low = balances.get(customer, 0) < LOW_CENTS
            cents = TOP_UP_CENTS if is_low else -self._chance.randint(100, DEAREST_CENTS)
            began = time.monotonic()
            wallet = self._book(customer, cents)
            self._found.writes.append(time.monotonic() - began)
            self._wallets.paid(customer, int(wallet["version"]))
            balances[customer] = int(wallet["balance_cents"])
            self._read(customer)
            crew.pause(self._pause_s())

    def look(self, crew: Crew) -> None:
        """Look at balances, as pages do that show them."""
        while crew.is_going:
            self._read(self._pick())
            crew.pause(self._pause_s())

    def _book(self, customer: int, cents: int) -> Any:
        key = self._wallets.key()
        return self._shelf.write(
            wallet_key(customer), lambda then: self._store.book(customer, cents, key, then=then)
        )

    def _read(self, customer: int) -> None:
        version, since = self._wallets.last(customer)
        began = time.monotonic()
        wallet = self._shelf.read(wallet_key(customer), lambda: self._store.wallet(customer))
        self._found.reads.append(time.monotonic() - began)
        if wallet["version"] < version:
            self._found.wrong.append(began - self._began)
            self._found.ages.append(began - since)

    def _pick(self) -> int:
        return self._popular.pick(self._chance.random())

    def _pause_s(self) -> float:
        return self._chance.expovariate(1 / PAUSE_S)


SCENARIO: Final = Scenario(
    name="wallet",
    title="Wallet: cache-aside or write-through",
    question="Customers pay while balances are read. Does anybody see money that is spent already?",
    rule="docs/library.md#write-through-with-a-database",
    about_s=45,
    is_accepting=True,
    run=pay_and_look,
    shows="Shows how many wrong balances are read, with cache-aside and with write-through.",
)
