"""Many products in a cache, who reads them, and how their end is spread."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import redis

from dashboard.caching import Cache, Policy
from dashboard.demo.lab import measuring
from dashboard.demo.lab.measuring import Loads, Moments, Pace, Part, Readers, Sampler
from dashboard.demo.lab.types import Bench, ValkeyServer
from dashboard.demo.load import quantile
from dashboard.demo.shop.pages import product_key
from dashboard.demo.shop.store import ShopStore

READERS: Final = 32
"""At once; the store has as many connections."""
PROCESSES: Final = 2
"""Caches that know nothing of each other's loads, as of two processes."""
_CHUNK: Final = 500
SPREAD_NOTE: Final = (
    "The spread is done here as the dashboard's purge “Let expire within” does it: each key gets a moment in the"
    " window, drawn from its name, and none lives longer than it would have."
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What happened to many keys.

    Args:
        reads: what readers saw.
        queries: to the database: (second, how many).
        expirations: (second, keys that expired, per second).
    """

    reads: Sequence[measuring.Read]
    queries: measuring.Points
    expirations: measuring.Points

    @property
    def p95_s(self) -> measuring.Points:
        """(second, p95 of the reads wanted in it)."""
        return measuring.by_second(
            [(each.at_s, each.took_s) for each in self.reads],
            lambda found: quantile(found, 0.95) or 0.0,
        )


def measure(
    bench: Bench,
    store: ShopStore,
    valkey: ValkeyServer,
    policy: Policy,
    part: Part,
    *,
    keys: int,
    per_s: float,
    seconds: float,
    moments: Callable[[redis.Redis], Moments] = lambda client: (),
) -> Measured:
    """Warm keys at once, and have them read, each as often as any other.

    Args:
        policy: of all keys.
        keys: how many: the first so many products.
        per_s, seconds: how many reads, and how long.
        moments: what happens meanwhile, to the server of this client.

    Raises:
        Cancelled: the run is to end.
    """
    client = valkey.client()
    loads = Loads(store.product)
    chance = Random(f"keys {bench.seed}")
    times = measuring.arrivals(per_s, seconds, bench.seed)
    wanted = [1 + chance.randrange(keys) for _ in times]
    with _caches(valkey.url, policy) as caches:

        def read(number: int) -> None:
            product = wanted[number]
            found = caches[number % PROCESSES].get_or_load(product_key(product), lambda: loads(product))
            if found is None:
                raise LookupError(product)

        warm(bench, caches[0], store, keys, part)
        readers = Readers(times, read, threads=READERS)
        with Sampler(lambda: float(client.info("stats")["expired_keys"]), every_s=1.0) as expired:
            reads = readers.run(bench, seconds, part, moments(client))
    queries = measuring.per_step(loads.since(readers.began), seconds)
    return Measured(reads, queries, [each for each in expired.rates(readers.began) if each[0] <= seconds])


def find_pace(bench: Bench, store: ShopStore, part: Part, *, keys: int, per_s: float, seconds: float) -> Pace:
    """What can be read here when nothing is cached: that is what an avalanche comes to.

    Args:
        keys, per_s: what a scenario would like.
        seconds: how long to try.

    Raises:
        Cancelled: the run is to end.
    """
    with _caches(bench.valkey().url, Policy(b"", "hot", 60)) as caches:

        def read(number: int) -> object:
            cache, product = caches[number % PROCESSES], 1 + number % keys
            return cache.get_or_load(f"trial:{number}", lambda: store.product(product))

        can = measuring.reads_per_s(bench, read, part, threads=READERS, seconds=seconds)
    # A short run is about whether it works, wherever it is run.
    return Pace(per_s) if bench.is_quick else measuring.pace(can, per_s, keys=keys)


@contextmanager
def _caches(url: str, policy: Policy) -> Iterator[Sequence[Cache]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(Cache(url, default=policy, follow=False, name=f"lab-{number}"))
            for number in range(PROCESSES)
        ]


def warm(bench: Bench, cache: Cache, store: ShopStore, keys: int, part: Part) -> None:
    """Have so many products in the cache, as fast as it goes.

    Raises:
        Cancelled: the run is to end.
    """

    def load(missing: list[str]) -> Mapping[str, Any]:
        found = store.products([int(key.rpartition(":")[2]) for key in missing])
        return {product_key(number): product for number, product in found.items()}

    for first in range(1, keys + 1, _CHUNK):
        bench.progress(part.begins, part.words)
        numbers = range(first, min(first + _CHUNK, keys + 1))
        cache.get_or_load_many([product_key(number) for number in numbers], load)


def spread(client: redis.Redis, keys: Sequence[str], window_s: float) -> None:
    """Have keys expire over a window instead of together: what the dashboard's purge "Let expire within" does.

    Each key gets a moment in the window that is drawn from its name, and none lives longer than it would have.
    """
    for first in range(0, len(keys), _CHUNK):
        with client.pipeline(transaction=False) as pipe:
            for key in keys[first : first + _CHUNK]:
                pipe.pexpire(key, max(1, int(draw(key) * window_s * 1000)), lt=True)
            pipe.execute()


def remove(client: redis.Redis, prefix: str) -> None:
    """Remove all keys of a prefix as fast as it goes, as ``redis-cli --scan | xargs redis-cli unlink`` does."""
    found: list[Any] = []
    for key in client.scan_iter(f"{prefix}*", count=_CHUNK):
        found.append(key)
        if len(found) == _CHUNK:
            client.unlink(*found)
            found.clear()
    if found:
        client.unlink(*found)


def draw(key: str) -> float:
    """A number in [0, 1) that looks random and is always the same for a key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big") / 2**48


def names(keys: int) -> list[str]:
    """Of the first so many products."""
    return [product_key(number) for number in range(1, keys + 1)]
