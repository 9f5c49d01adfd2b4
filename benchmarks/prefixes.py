"""What a key costs between the server and the tree of prefixes: the collector alone, by how keys are named.

``python -m benchmarks.prefixes``. Processor time per key, the best of the rounds, in batches as a scan brings them; and
how large what was collected is when it is written down, which is what a checkpoint stores.
"""

import random
import time
from collections.abc import Callable, Iterator
from typing import Final

from dashboard.caching.policy import Policy, PolicyTable
from dashboard.fleet.probing import Facts
from dashboard.keyspace.collector import Collector
from dashboard.keyspace.types import Batch

KEYS: Final = 100_000
BATCH: Final = 1_000
ROUNDS: Final = 3
LETTERS: Final = b"abcdefghijklmnopqrstuvwxyz"

POLICIES: Final = PolicyTable(
    [
        (prefix, Policy(prefix, "any", base_ttl_s, 600))
        for prefix, base_ttl_s in ((b"product:", 3_600), (b"product:list:", 600), (b"session:", 7_200))
    ],
    Policy(b"", "any", 60, 15),
)


def shop(chance: random.Random) -> bytes:
    """As in the demo: numbers, hashes, identifiers in the middle."""
    form = chance.choice((b"product:%d", b"product:list:%d", b"session:user:%d:cart", b"news:%d", b""))
    return form % chance.randrange(10**7) if form else b"session:%032x" % chance.getrandbits(128)


def word(chance: random.Random, length: int) -> bytes:
    """Letters."""
    return bytes(chance.choices(LETTERS, k=length))


SHAPES: Final[dict[str, Callable[[random.Random], bytes]]] = {
    "a shop's, product:40118": shop,
    "no delimiter, user_40118": lambda chance: b"user_%d" % chance.randrange(10**7),
    "names, user:qjxhwz": lambda chance: b"user:" + word(chance, 9),
    "a million prefixes, qjxh:o:5": lambda chance: b"%s:o:%d" % (word(chance, 5), chance.randrange(10**6)),
    "random bytes": lambda chance: chance.randbytes(16),
    "hostile, c:ab::a:bb:": lambda chance: bytes(chance.choices(b"abc:", k=20)),
}


def batches(shape: Callable[[random.Random], bytes]) -> Iterator[Batch]:
    """Keys as a scan brings them."""
    chance = random.Random(1)
    for number in range(KEYS // BATCH):
        yield Batch(
            node="node",
            at=1.7e9 + number / 100,
            keys=[shape(chance) for _ in range(BATCH)],
            types=chance.choices((b"string", b"hash", b"zset"), (90, 8, 2), k=BATCH),
            ttls_ms=[chance.randrange(7_200_000) if chance.random() > 0.02 else -1 for _ in range(BATCH)],
            sizes=chance.choices((72, 104, 200, 1_032, 5_000), k=BATCH),
            objects=[
                None if row % 16 else Facts(b"raw", chance.randrange(1_000), -1) for row in range(BATCH)
            ],
        )


def main() -> None:
    """Run and print."""
    print(f"  {'keys':32} {'us/key':>7} {'checkpoint':>12}")
    for name, shape in SHAPES.items():
        given = list(batches(shape))
        best, size = float("inf"), 0
        for _ in range(ROUNDS):
            collector = Collector(POLICIES)
            began = time.process_time()
            for batch in given:
                collector.add(batch)
            best = min(best, time.process_time() - began)
            size = len(collector.state())
        print(f"  {name:32} {best / KEYS * 1e6:7.2f} {size / 1000:9,.0f} KB")


if __name__ == "__main__":
    main()
