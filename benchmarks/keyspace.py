"""A full scan of 400,000 keys next to what people do instead, and what other clients feel of it.

``python -m benchmarks.keyspace``. One Redis holds keys of five types; each contender is a process of its own; the clock
runs from its first command to its last, and for Cachewarden to the finished tree of prefixes. Another process is an
uninvolved client (see ``purging``): it sends PING once a millisecond, and a stall counts for all that would have come
in it. Contenders are interleaved, in random order; printed are medians over the rounds, the best p99, and the worst
stall of all. Before it, what the uninvolved client waits when nobody scans: what this machine does by itself.

Cachewarden reads name, type, TTL and memory of every key, or the memory of one of ten, at no rate limit. Its counts per
prefix are compared with what was written. At the end it scans ten times as many keys, to show what memory it takes.
"""

import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import redis

from benchmarks.purging import hear, helper, say
from dashboard.caching.policy import DEFAULT_POLICY, PolicyTable
from dashboard.clock import Clock
from dashboard.fleet.registry import Fleet
from dashboard.fleet.url import parse_url
from dashboard.keyspace import scanning
from dashboard.keyspace.collector import Collector
from dashboard.keyspace.types import Kind, ScanLimits, Snapshot
from tests.support.servers import redis_server

KEYS: Final = int(os.environ.get("KEYS", "400000"))
MANY: Final = 10 * KEYS
ROUNDS: Final = int(os.environ.get("ROUNDS", "5"))
IDLE_S: Final = 2.0

FLOOR: Final = "floor: bare SCAN, COUNT 1000"
OURS: Final = "cachewarden, memory of every key"
SAMPLED: Final = "cachewarden, memory of one key of ten"
BIGKEYS: Final = "redis-cli --bigkeys (no TTL)"
MEMKEYS: Final = "redis-cli --memkeys (no TTL)"
PLAIN: Final = "redis-py: SCAN, pipelined PTTL, TYPE, MEMORY USAGE"
SHARES: Final = {"product": 8, "session": 5, "user": 3, "rank": 2, "tags": 1, "list": 1}
"""Of twenty keys."""


# --- the contenders, each in a process of its own ---------------------------------------------------------------


def floor(port: int) -> Callable[[], None]:
    """Go over all keys and look at nothing."""
    client = redis.Redis(port=port)
    client.ping()

    def run() -> None:
        cursor = 0
        while True:
            cursor, _ = client.scan(cursor, count=1_000)
            if not cursor:
                return

    return run


def plain(port: int) -> Callable[[], None]:
    """Written with care."""
    client = redis.Redis(port=port)
    client.ping()

    def run() -> None:
        cursor = total = 0
        while True:
            cursor, keys = client.scan(cursor, count=1_000)
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.pttl(key)
                pipe.type(key)
                pipe.memory_usage(key)
            total += sum(pipe.execute()[2::3])
            if not cursor:
                return

    return run


def by_cli(option: str) -> Callable[[int], Callable[[], None]]:
    """One of redis-cli's own."""

    def ready(port: int) -> Callable[[], None]:
        def run() -> None:
            subprocess.run(["redis-cli", "-p", str(port), option], stdout=subprocess.DEVNULL, check=True)

        return run

    return ready


def ours(size_every: int) -> Callable[[int], Callable[[], None]]:
    """The scan as a worker does it, without its job."""

    def ready(port: int) -> Callable[[], None]:
        connection = Fleet().open(1, parse_url(f"redis://127.0.0.1:{port}/0"))
        connection.nodes()[0].run([("PING",)])
        limits = replace(ScanLimits(), keys_per_s=100_000_000, size_every=size_every)
        collector = Collector(PolicyTable([], DEFAULT_POLICY), limits.delimiters)

        def run() -> None:
            began_at = datetime.now(UTC)
            done = scanning.scan(
                connection,
                limits,
                collector,
                NoWishes(),
                Clock(),
                start=None,
                on_checkpoint=lambda checkpoint: None,
                on_lookups=lambda lookups: None,
            )
            found = collector.snapshot(
                cache_id=1,
                kind=Kind.FULL,
                began_at=began_at,
                ended_at=datetime.now(UTC),
                keyspace=done.keyspace,
                size_every=size_every,
            )
            check(found, done.keyspace)

        return run

    return ready


class NoWishes:
    """Nobody cancels."""

    def check(self) -> None:
        """Go on."""

    def wait(self, seconds: float) -> None:
        """Sleep."""
        time.sleep(seconds)


def check(found: Snapshot, total: int) -> None:
    """The tree has every key at its place."""
    counted = {node.name: node.keys.value for node in found.root.children}
    expected = {f"{name}:": share * total // 20 for name, share in SHARES.items()}
    assert counted == expected and found.looked_at == total, (counted, expected)


CONTENDERS: Final[dict[str, Callable[[int], Callable[[], None]]]] = {
    FLOOR: floor,
    OURS: ours(1),
    SAMPLED: ours(10),
    PLAIN: plain,
    BIGKEYS: by_cli("--bigkeys"),
    MEMKEYS: by_cli("--memkeys"),
}


def contend(name: str, port: int) -> None:
    """Get ready, wait for a line, run, print the seconds and the memory, MB, it took before and at most."""
    run = CONTENDERS[name](port)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    run()
    seconds = time.perf_counter() - began
    print(
        json.dumps([seconds, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]), flush=True
    )


# --- rounds -----------------------------------------------------------------------------------------------------


def fill(client: redis.Redis, keys: int) -> None:
    """Keys as a shop has them; none expires meanwhile."""
    chance = random.Random(keys)
    names = [name for name, share in SHARES.items() for _ in range(share)]
    for start in range(0, keys, 5_000):
        pipe = client.pipeline(transaction=False)
        for number in range(start, start + 5_000):
            match names[number % 20]:
                case "product":
                    value = b"x" * chance.randrange(50, 1_500)
                    pipe.set(f"product:{number}", value, ex=86_400 + number % 86_400)
                case "session":
                    pipe.set(f"session:{chance.getrandbits(128):032x}", b"x" * 200, ex=86_400)
                case "user":
                    fields: dict[Any, Any] = {f"field-{index}": "value" for index in range(8)}
                    pipe.hset(f"user:{number}:profile", mapping=fields)
                case "rank":
                    pipe.zadd(f"rank:{number}", {f"member-{index}": index for index in range(20)})
                case "tags":
                    pipe.sadd(f"tags:{number}", *(f"tag-{index}" for index in range(10)))
                case _:
                    pipe.rpush(f"list:{number}", *["element"] * 10)
        pipe.execute()
    assert client.dbsize() == keys


def fill_quickly(client: redis.Redis, keys: int) -> None:
    """The same names with small strings, made by the server itself."""
    for name, share in SHARES.items():
        client.execute_command("DEBUG", "POPULATE", share * keys // 20, name, 10)  # type: ignore[no-untyped-call]
    assert client.dbsize() == keys


def quiet(port: int) -> list[float]:
    """What the uninvolved client waits when nobody scans, milliseconds."""
    with helper("--probe", port) as watcher:
        say(watcher)
        time.sleep(IDLE_S)
        say(watcher)
        return list(hear(watcher))


def turn(name: str, port: int) -> tuple[list[float], list[float]]:
    """(seconds and memory of a contender, what the uninvolved client waited, milliseconds)."""
    with (
        helper("--probe", port) as watcher,
        helper("--contend", name, port, module="benchmarks.keyspace") as contender,
    ):
        time.sleep(0.3)
        say(watcher)
        time.sleep(0.1)
        say(contender)
        took = hear(contender)
        say(watcher)
        return list(took), list(hear(watcher))


def p99(waits: list[float]) -> float:
    """The 99th percentile."""
    return statistics.quantiles(waits, n=100)[98]


def main() -> None:
    """All contenders in turn, then a table; then the memory at ten times as many keys."""
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        print("  left out: redis-server or redis-cli is not installed")
        return
    names = list(CONTENDERS)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    p99s: dict[str, list[float]] = {name: [] for name in names}
    stalls: dict[str, list[float]] = {name: [] for name in names}
    rss: list[Any] = []
    with redis_server() as port, redis.Redis(port=port, socket_timeout=120) as client:
        fill(client, KEYS)
        still = quiet(port)
        for _ in range(ROUNDS):
            random.shuffle(names)
            for name in names:
                took, waits = turn(name, port)
                seconds[name].append(took[0])
                p99s[name].append(p99(waits))
                stalls[name].append(max(waits))
                if name == OURS:
                    rss.append(took[1:])
    base, memkeys = statistics.median(seconds[FLOOR]), statistics.median(seconds[MEMKEYS])
    print(
        f"\n{KEYS:,} keys, {ROUNDS} rounds; nobody scans: p99 {p99(still):.2f} ms, worst {max(still):.1f} ms"
    )
    print(
        f"  {'seconds':>8} {'x floor':>8} {'x memkeys':>10} {'probe p99':>10} {'(best)':>9} {'worst stall':>12}"
    )
    for name in sorted(names, key=lambda name: statistics.median(seconds[name])):
        median = statistics.median(seconds[name])
        print(
            f"  {median:8.2f} {median / base:8.2f} {memkeys / median:10.1f}"
            f" {statistics.median(p99s[name]):7.2f} ms {min(p99s[name]):6.2f} ms {max(stalls[name]):9.1f} ms  {name}"
        )
    before, most = (statistics.median(each) for each in zip(*rss, strict=True))
    with (
        redis_server("--enable-debug-command", "local") as port,
        redis.Redis(port=port, socket_timeout=120) as client,
    ):
        fill_quickly(client, MANY)
        took, _ = turn(OURS, port)
    print(
        f"  memory of the process: {before:.0f} MB before, {most:.0f} MB at most with {KEYS:,} keys,"
        f" {took[2]:.0f} MB with {MANY:,} ({MANY / took[0]:,.0f} keys/s)"
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--contend", name, port]:
            contend(name, int(port))
        case _:
            main()
