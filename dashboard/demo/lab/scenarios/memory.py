"""Memory: twice as much data as there is room for, under four settings of ``maxmemory-policy``.

The same products are read in the same order each time, a few of them most of the time (Zipf). The library counts what
it could not store, Valkey what it threw away. Nothing here is to pass: it shows what to choose.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from dashboard.demo.lab.reading import Crew, counted, modes, ratio, shares
from dashboard.demo.lab.types import HIGHER, LOWER, Bench, Number, Result, Scenario, Side, ValkeyServer
from dashboard.demo.load import quantile
from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop.catalogue import SMALL, Popularity, Size
from dashboard.demo.shop.modes import Shelf
from dashboard.demo.shop.pages import product_key
from dashboard.demo.shop.store import ShopStore
from dashboard.web.formats import byte_size

POLICIES: Final = ("noeviction", "volatile-ttl", "allkeys-lru", "allkeys-lfu")
"""The worst of them first."""
READS: Final = 20_000
QUICK_READS: Final = 600
READERS: Final = 4
BATCH: Final = 500
"""Products that are stored at once, before the reads."""
SERIES: Final = "Hit ratio"
REFUSED: Final = "Values refused for want of memory"
EVICTED: Final = "Keys evicted"
_STEP_S: Final = 0.5


@dataclass(slots=True)
class _Found:
    """What the readers of one side found; they only append."""

    reads: list[tuple[float, bool]] = field(default_factory=list)
    """(seconds since the beginning, whether the cache had it)."""
    took: list[float] = field(default_factory=list)
    """Seconds of each."""


def fill_up(bench: Bench) -> Result:
    """Read through a cache that is too small, in four ways."""
    store = bench.store(connections=READERS + 2)
    products = (SMALL if bench.is_quick else Size()).products
    bench.progress(0.02, "Measuring how much memory the products need")
    empty, full = _needed(bench, store, products)
    most = empty + (full - empty) // 2
    sides = []
    for number, policy in enumerate(POLICIES):
        sides.append(_side(bench, store, products, policy, most, 0.1 + 0.9 * number / len(POLICIES)))
    by_name = {side.name: side for side in sides}
    best = max(sides[1:], key=lambda side: side.value(SERIES) or 0.0)
    stuck, ttl_only = by_name["noeviction"], by_name["volatile-ttl"]
    return Result(
        scenario=SCENARIO.name,
        sides=tuple(sides),
        chart=(SERIES, "ratio"),
        checks=(),
        sentence=(
            f"With room for half of its {products:,} products the shop found most of what it read under {best.name}:"
            f" {best.value(SERIES) or 0:.0%}. Under noeviction Valkey refused {stuck.value(REFUSED) or 0:,.0f} values"
            f" and {stuck.value(SERIES) or 0:.0%} was found, for what came first stays, wanted or not; volatile-ttl"
            f" removes what would expire first, however popular it is: {ttl_only.value(SERIES) or 0:.0%}. No read"
            " failed: what can't be stored is loaded."
        ),
        notes=("A hit ratio of noeviction depends on which products happened to be stored first.",),
        setup={
            "products": float(products),
            "maxmemory": byte_size(most),
            "products need": byte_size(full - empty),
        },
    )


def _needed(bench: Bench, store: ShopStore, products: int) -> tuple[int, int]:
    """Memory of a Valkey without the products and with all of them, bytes."""
    valkey = bench.valkey()
    client = valkey.client()
    with modes(store, valkey.url, "cachewarden", DOCUMENT) as used:
        # The connections of the readers are there from the beginning.
        used.shelf.read(product_key(1), lambda: store.product(1))
        empty = int(client.info("memory")["used_memory"])
        _fill(bench, store, used.shelf, products)
        return empty, int(client.info("memory")["used_memory"])


def _fill(bench: Bench, store: ShopStore, shelf: Shelf, products: int) -> None:
    """Store all products, in an order that has nothing to do with how popular they are."""
    numbers = list(range(1, products + 1))
    Random(bench.seed).shuffle(numbers)

    def load(keys: list[str]) -> Mapping[str, Any]:
        found = store.products([int(key.rpartition(":")[2]) for key in keys])
        return {product_key(number): product for number, product in found.items()}

    for start in range(0, products, BATCH):
        bench.wait(0)
        shelf.read_many([product_key(number) for number in numbers[start : start + BATCH]], load)


def _side(bench: Bench, store: ShopStore, products: int, policy: str, most: int, share: float) -> Side:
    bench.progress(share, f"{policy}: storing all products")
    valkey = bench.valkey(maxmemory=str(most), maxmemory_policy=policy)
    client = valkey.client()
    found = _Found()
    each = (QUICK_READS if bench.is_quick else READS) // READERS
    with ExitStack() as stack:
        shelf = stack.enter_context(modes(store, valkey.url, "cachewarden", DOCUMENT)).shelf
        _fill(bench, store, shelf, products)
        # The counters of a full server can't be written; they come when there is room.
        stack.callback(client.config_set, "maxmemory", 0)
        with Crew(bench) as crew:
            began = time.monotonic()
            for number in range(READERS):
                chance = Random(bench.seed * 100 + number)
                crew.begin(
                    lambda chance=chance: _read(crew, store, shelf, products, each, chance, began, found)  # type: ignore[misc]
                )
            crew.finish(
                lambda: len(found.reads) / (each * READERS), share, share + 0.2, f"{policy}: reading products"
            )
        evicted = _evicted(valkey)
    counts = counted(client)
    hits = sum(is_hit for _, is_hit in found.reads)
    return Side(
        policy,
        (
            Number("Reads", len(found.reads), "count"),
            Number(SERIES, ratio(hits, len(found.reads)), "ratio", HIGHER),
            Number("Database loads", len(found.reads) - hits, "count", LOWER),
            Number(EVICTED, evicted, "count"),
            Number(REFUSED, counts["not_stored"], "count", LOWER),
            Number("Reads and fills that failed", counts["errors"], "count", LOWER),
            Number("Read p95", quantile(found.took, 0.95), "s", LOWER),
        ),
        {SERIES: shares(found.reads, _STEP_S)},
    )


def _evicted(valkey: ValkeyServer) -> int:
    return int(valkey.client().info("stats")["evicted_keys"])


def _read(
    crew: Crew,
    store: ShopStore,
    shelf: Shelf,
    products: int,
    reads: int,
    chance: Random,
    began: float,
    found: _Found,
) -> None:
    """One customer after the other, each looks at one product."""
    popular = Popularity(products)
    for _ in range(reads):
        if not crew.is_going:
            return
        number = popular.pick(chance.random())
        loads: list[int] = []

        def load(number: int = number, loads: list[int] = loads) -> Any:
            loads.append(number)
            return store.product(number)

        asked_at = time.monotonic()
        shelf.read(product_key(number), load)
        found.took.append(time.monotonic() - asked_at)
        found.reads.append((asked_at - began, not loads))


SCENARIO: Final = Scenario(
    name="memory",
    title="Memory: what goes when it is full",
    question="There is room for half of the products. What do customers notice under each maxmemory-policy?",
    rule="docs/library.md#when-redis-is-away",
    about_s=120,
    is_accepting=False,
    run=fill_up,
    shows="Shows the hit ratio and refused values under each of four eviction policies.",
)
