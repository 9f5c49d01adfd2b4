"""Lost race: a reader that read the database before a write stores what it read after the invalidation.

Each round forces it: the reader waits inside its loader, between reading the database and returning; meanwhile the
writer commits and invalidates. Then others look at what the cache says: in half of the rounds one looks already while
that reader still waits.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Final

import redis

from dashboard.demo.lab.measuring import at_least, at_most, duration
from dashboard.demo.lab.reading import LONGEST_S, Crew, modes, ratio, told, totals
from dashboard.demo.lab.types import LOWER, Bench, Number, Result, Scenario, Side, Void
from dashboard.demo.load import quantile
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.modes import Shelf
from dashboard.demo.shop.pages import EDITOR, product_key
from dashboard.demo.shop.store import ShopStore

ROUNDS: Final = 2_000
QUICK_ROUNDS: Final = 40
OFFERED: Final = 0.9
LANES: Final = 4
"""So many products are raced for at the same time."""
SERIES: Final = "Old prices after the invalidation"
_STEP_S: Final = 0.5
_FIRST_CENTS: Final = 1_000
_TITLES: Final = {"naive": "Naive", "cachewarden": "Cachewarden"}


@dataclass(slots=True)
class _Found:
    """What the rounds of one side found; threads only append."""

    rounds: list[float] = field(default_factory=list)
    """Seconds that each took."""
    left: list[float] = field(default_factory=list)
    """When an old price was read after the invalidation, seconds since the beginning."""
    lives_s: list[float] = field(default_factory=list)
    """How long each of those was still to be served."""


def race(bench: Bench, *, cure: str = "cachewarden") -> Result:
    """Race naive, then the cure.

    Args:
        cure: the mode that is to leave nothing behind.
    """
    store = bench.store(connections=3 * LANES)
    before = _side(bench, store, "naive", 0.05, _TITLES["naive"])
    after = _side(bench, store, cure, 0.5, _TITLES[cure] if cure != "naive" else "In the cure's place")
    rounds, left, kept = after.value("Rounds"), before.value(SERIES), after.value(SERIES)
    assert rounds is not None and left is not None and kept is not None
    life_s = before.value("Served for at most")
    refused = after.value("Old values refused")
    return Result(
        scenario=SCENARIO.name,
        sides=(before, after),
        chart=(SERIES, "count"),
        checks=(
            at_least(
                "Naive gives old prices after the invalidation: the race is real",
                left,
                1,
                "count",
            ),
            at_most(f"No old price after the invalidation in {rounds:,.0f} rounds", kept, 0, "count"),
            at_least(
                "The old price came to be stored, and was refused, in nine of ten rounds",
                refused,
                rounds * OFFERED,
                "count",
            ),
        ),
        sentence=(
            f"A reader read the old price, the writer committed and invalidated, and then the reader stored what it"
            f" had: {rounds:,.0f} times each. Naive gave the old price afterwards {left:,.0f} times, and would have for"
            f" up to {duration(life_s)} more; Cachewarden {kept:,.0f} times, because it stores only where its"
            f" placeholder still stands: it refused {refused or 0:,.0f} old values."
        ),
        notes=(
            "The order is forced: the reader pauses between reading the database and returning. In a shop it is rare.",
            "In every other round the writer is another process than the reader, as far as the library can tell.",
        ),
        setup={"rounds": float(rounds), "products": float(LANES)},
    )


def _side(bench: Bench, store: ShopStore, mode: str, share: float, title: str) -> Side:
    bench.progress(share, f"{title}: racing")
    valkey = bench.valkey()
    client = valkey.client()
    found = _Found()
    per_lane = (QUICK_ROUNDS if bench.is_quick else ROUNDS) // LANES
    with ExitStack() as stack:
        shelves = [
            stack.enter_context(modes(store, valkey.url, mode, DOCUMENT, name)).shelf
            for name in ("lab-web-1", "lab-web-2")
        ]
        crew = stack.enter_context(Crew(bench))
        began = time.monotonic()
        for lane in range(LANES):
            racer = _Lane(store, shelves, client, product=1 + lane, cents=_FIRST_CENTS * (1 + lane))
            crew.begin(lambda racer=racer: racer.run(crew, per_lane, began, found))  # type: ignore[misc]
        crew.finish(lambda: len(found.rounds) / (per_lane * LANES), share, share + 0.45, f"{title}: racing")
        ends_at = time.monotonic() - began
    counts = told(client)
    return Side(
        title,
        (
            Number("Rounds", len(found.rounds), "count"),
            Number(SERIES, len(found.left), "count", LOWER),
            Number("Share of rounds", ratio(len(found.left), len(found.rounds)), "ratio", LOWER),
            Number("Served for at most", max(found.lives_s, default=0.0), "s", LOWER),
            Number("Old values refused", counts["rejected_fills"], "count"),
            Number("Round p50", quantile(found.rounds, 0.5), "s"),
        ),
        {SERIES: totals(found.left, ends_at, _STEP_S)},
    )


class _Lane:
    """One product that is raced for: a writer, and a reader in a thread of its own.

    Args:
        shelves: of two processes of the shop.
    """

    def __init__(
        self, store: ShopStore, shelves: Sequence[Shelf], client: redis.Redis, product: int, cents: int
    ) -> None:
        self._store = store
        self._shelves = shelves
        self._client = client
        self._product = product
        self._key = product_key(product)
        self._cents = cents

    def run(self, crew: Crew, rounds: int, began: float, found: _Found) -> None:
        """Race until it is enough."""
        with ThreadPoolExecutor(1, thread_name_prefix="lab-reader") as readers:
            for number in range(rounds):
                if not crew.is_going:
                    return
                started = time.monotonic()
                same, other = self._shelves
                early = (same, other, None, None)[number // 2 % 4]
                seen = self._race(readers, reader=same, writer=(same, other)[number % 2], early=early)
                # Anybody who looks now, in any process, must be given the new price.
                seen.append(self._look((other, same)[number // 8 % 2]))
                now = time.monotonic()
                if any(cents != self._cents for cents in seen):
                    found.left.append(now - began)
                    found.lives_s.append(max(0, int(self._client.pttl(self._key))) / 1000)
                found.rounds.append(now - started)

    def _race(
        self, readers: ThreadPoolExecutor, *, reader: Shelf, writer: Shelf, early: Shelf | None
    ) -> list[int]:
        """One round.

        Args:
            early: looks right after the invalidation, while the reader still waits.

        Returns:
            The price that ``early`` was given.
        """
        has_read, may_return = threading.Event(), threading.Event()

        def load() -> Any:
            value = self._load()
            has_read.set()
            if not may_return.wait(LONGEST_S):
                raise Void("The writer did not come to an end in time.")
            return value

        writer.drop(self._key)
        self._cents += 1
        reading: Future[Any] = readers.submit(reader.read, self._key, load)
        try:
            ends = time.monotonic() + LONGEST_S
            while not has_read.wait(0.05):
                if reading.done():
                    reading.result()
                    raise Void("The reader found what had just been removed.")
                if time.monotonic() > ends:
                    raise Void("The reader did not read the database in time.")
            self._store.set_price(self._product, self._cents, EDITOR)
            writer.drop(self._key)
            seen = [] if early is None else [self._look(early)]
        finally:
            may_return.set()
        reading.result(LONGEST_S)
        return seen

    def _look(self, shelf: Shelf) -> int:
        return int(shelf.read(self._key, self._load)["price_cents"])

    def _load(self) -> Any:
        return self._store.product(self._product)


SCENARIO: Final = Scenario(
    name="lost-race",
    title="Lost race",
    question="A reader stores what it read before a write, after the invalidation. Does the old price stay?",
    rule="docs/library.md#what-is-promised-about-old-values-and-what-is-not",
    about_s=45,
    is_accepting=True,
    run=race,
    shows="Shows how many old prices are served after the invalidation, naive and with Cachewarden.",
)
