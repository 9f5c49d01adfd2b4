"""A purge by prefix next to what people do instead: 200,000 of 400,000 keys, and what other clients feel of it.

``python -m benchmarks.purging``. Each turn begins with the same server: a Redis that has just loaded the same snapshot.
Each contender is a process of its own; the clock runs from its first command to its last. Another process is an
uninvolved client: it sends PING once a millisecond, and a stall counts for all that would have come in it. Contenders
are interleaved, in random order; printed are medians over the rounds, and the worst stall of all. Those that are not
installed are left out (``pip install .[bench]``).

Cachewarden comes twice: its engine alone, with a journal in memory and no limits, and as it is shipped: a worker, its
journal in PostgreSQL, the default limits; from the approval to the end, both as its page shows them. The slower one is
what a user gets.
"""

import asyncio
import atexit
import contextlib
import importlib.util
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import redis

from dashboard.caches import service as caches
from dashboard.fleet.registry import Fleet
from dashboard.fleet.url import parse_url
from dashboard.invalidation import service
from dashboard.invalidation.types import Plan, Purge, SelectBy, Selection, State, When
from dashboard.work import Runtime, unit_of_work
from tests.support import live, purging
from tests.support.servers import redis_server

KEYS: Final = 400_000
ROUNDS: Final = int(os.environ.get("ROUNDS", "5"))
PREFIX: Final = "product:"
VALUE: Final = b"x" * 1000
PROBE_S: Final = 0.001

FLOOR: Final = "floor: SCAN of all keys, nothing removed"
OURS: Final = "cachewarden's engine alone"
SHIPPED: Final = "cachewarden as shipped"
RECIPE: Final = "redis-cli --scan | xargs redis-cli unlink"
REDIS_PY: Final = "redis-py scan_iter, pipelined UNLINK"
DJANGO: Final = "django-redis delete_pattern"
BY_THOUSANDS: Final = "the same, xargs -n 1000"
CASHEWS: Final = "cashews delete_match"


# --- the contenders, each in a process of its own ---------------------------------------------------------------


def floor(port: int) -> Callable[[], None]:
    """Go over all keys in the cheapest way."""
    client = redis.Redis(port=port)
    client.ping()

    def run() -> None:
        cursor = 0
        while True:
            cursor, _ = client.scan(cursor, count=10_000)  # type: ignore[misc]
            if not cursor:
                return

    return run


def ours(port: int) -> Callable[[], None]:
    """The engine; its journal is in memory."""
    connection = purging.connect(Fleet(), f"redis://127.0.0.1:{port}/0")
    connection.nodes()[0].run([("PING",)])
    plan = Plan(Selection(SelectBy.PREFIX, PREFIX))

    def run() -> None:
        done = purging.purge(connection, plan)
        assert done.touched == KEYS // 2, done

    return run


def recipe(port: int, xargs: str = "xargs") -> Callable[[], None]:
    """What one finds when one searches for it; xargs puts some ten thousand keys into one command."""
    find = f"redis-cli -p {port} --scan --pattern '{PREFIX}*'"
    command = f"{find} | {xargs} redis-cli -p {port} unlink > /dev/null"
    return lambda: subprocess.run(command, shell=True, check=True) and None


def by_thousands(port: int) -> Callable[[], None]:
    """The same by those who know that a command with ten thousand keys holds everybody up."""
    return recipe(port, "xargs -n 1000")


def redis_py(port: int) -> Callable[[], None]:
    """Written with care."""
    client = redis.Redis(port=port)
    client.ping()

    def run() -> None:
        batch: list[bytes] = []
        pipe = client.pipeline(transaction=False)
        for key in client.scan_iter(PREFIX + "*", count=1000):
            batch.append(key)
            if len(batch) == 1000:
                pipe.unlink(*batch)
                pipe.execute()
                batch = []
        if batch:
            client.unlink(*batch)

    return run


def shipped(port: int) -> Callable[[], float]:
    """A whole dashboard, whose worker has counted the purge; it waits for its approval."""
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cachewarden-bench-")))
    running = stack.enter_context(live.dashboard(folder))
    runtime = running.runtime
    form = live.cache_form(running, "bench", poll_interval_s=300)
    plan = Plan(Selection(SelectBy.PREFIX, PREFIX), when=When.NOW)
    with unit_of_work(runtime, live.ACTOR) as work:
        cache = caches.create_cache(work, replace(form, url=parse_url(f"redis://127.0.0.1:{port}/0")))
        number = service.create(work, cache.id, plan).number
    counted = wait_for(runtime, number, State.PREVIEWED)
    preview = counted.preview
    assert preview is not None  # on a busy machine an estimate: ten seconds of counting were not enough

    def run() -> float:
        with unit_of_work(runtime, live.ACTOR) as work:
            service.approve(
                work,
                number,
                revision=counted.revision,
                reason="A benchmark",
                typed=PREFIX,
                confirmed_keys=preview.keys,
            )
        done = wait_for(runtime, number, State.DONE)
        assert done.progress.touched == KEYS // 2, done
        assert done.approved_at is not None and done.ended_at is not None
        return (done.ended_at - done.approved_at).total_seconds()

    return run


def wait_for(runtime: Runtime, number: int, state: State) -> Purge:
    """Look a few times a second, as its page does; a state from which it does not get there is an error."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        with unit_of_work(runtime, live.ACTOR) as work:
            purge = service.get_purge(work, number)
        if purge.state is state:
            return purge
        assert purge.state not in (State.PAUSED, State.FAILED), purge.problem
        time.sleep(0.25)
    raise TimeoutError(f"purge {number} is not {state}")


def django_redis(port: int) -> Callable[[], None]:
    """Django's cache, with keys as they are."""
    from django.conf import settings

    settings.configure(
        CACHES={
            "default": {
                "BACKEND": "django_redis.cache.RedisCache",
                "LOCATION": f"redis://127.0.0.1:{port}/0",
                "KEY_FUNCTION": "benchmarks.purging.same_key",
            }
        }
    )
    from django.core.cache import cache

    cache.get("warm")
    return lambda: cache.delete_pattern(PREFIX + "*") and None  # type: ignore[attr-defined]


def same_key(key: str, prefix: str, version: int) -> str:
    """No version in front of a key."""
    return key


def cashews(port: int) -> Callable[[], None]:
    """A library for asyncio."""
    from cashews import Cache

    loop = asyncio.new_event_loop()
    cache = Cache()
    cache.setup(f"redis://127.0.0.1:{port}/0", client_side=False)
    loop.run_until_complete(cache.get("warm"))
    return lambda: loop.run_until_complete(cache.delete_match(PREFIX + "*"))


CONTENDERS: Final[dict[str, tuple[Callable[[int], Callable[[], float | None]], str]]] = {
    FLOOR: (floor, ""),
    OURS: (ours, ""),
    SHIPPED: (shipped, ""),
    RECIPE: (recipe, ""),
    BY_THOUSANDS: (by_thousands, ""),
    REDIS_PY: (redis_py, ""),
    DJANGO: (django_redis, "django_redis"),
    CASHEWS: (cashews, "cashews"),
}


def contend(name: str, port: int) -> None:
    """Get ready, wait for a line, run, print the seconds."""
    run = CONTENDERS[name][0](port)
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.perf_counter()
    took = run()
    print(took or time.perf_counter() - began, flush=True)


# --- the uninvolved client ----------------------------------------------------------------------------------------


def probe(port: int) -> None:
    """PING once a millisecond, from a first line of input to a second; prints the waits in milliseconds."""
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    os.set_blocking(sys.stdin.fileno(), False)
    print("ready", flush=True)
    while not sys.stdin.read(1):
        time.sleep(0.001)
    waits: list[float] = []
    turn = 0
    while turn % 16 or not sys.stdin.read(1):
        turn += 1
        began = time.perf_counter()
        sock.sendall(b"PING\r\n")
        sock.recv(64)
        took = time.perf_counter() - began
        for late in range(int(took / PROBE_S) + 1):
            waits.append((took - late * PROBE_S) * 1000)
        time.sleep(max(0.0, PROBE_S - took))
    print(json.dumps(waits), flush=True)


# --- rounds -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def helper(*arguments: object, module: str = "benchmarks.purging") -> Iterator[subprocess.Popen[str]]:
    """A process of this module, or of another benchmark's, that has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "ready\n"
        yield process
    finally:
        # Those who have servers of their own stop them.
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=30)
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[str]) -> None:
    """Send a line."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def hear(process: subprocess.Popen[str]) -> Any:
    """Read a line of JSON."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def snapshot(folder: Path) -> None:
    """Write the snapshot that every turn begins with."""
    with redis_server(folder=folder) as port, redis.Redis(port=port, socket_timeout=120) as client:
        for start in range(0, KEYS // 2, 2_000):
            pipe = client.pipeline(transaction=False)
            for number in range(start, start + 2_000):
                pipe.set(f"{PREFIX}{number}", VALUE, ex=86_400)
                pipe.set(f"order:{number}", VALUE, ex=86_400)
            pipe.execute()
        client.save()


def turn(name: str, folder: Path) -> tuple[float, list[float]]:
    """Seconds that a contender took, and what the probe waited, milliseconds."""
    with redis_server("--rdbchecksum", "no", folder=folder) as port, redis.Redis(port=port) as client:
        while True:
            with contextlib.suppress(redis.RedisError):
                if client.dbsize() == KEYS:
                    break
            time.sleep(0.1)
        with helper("--probe", port) as watcher, helper("--contend", name, port) as contender:
            time.sleep(0.5)
            say(watcher)
            time.sleep(0.1)
            say(contender)
            seconds = hear(contender)
            say(watcher)
            waits = hear(watcher)
        left = sum(1 for _ in client.scan_iter(PREFIX + "*", count=5_000))
        assert left == (KEYS // 2 if name == FLOOR else 0) and client.dbsize() == KEYS // 2 + left, name
        return seconds, waits


def main() -> None:
    """All contenders in turn, then a table."""
    if shutil.which("redis-server") is None:
        print("  left out: redis-server is not installed")
        return
    names = [
        name for name, (_, module) in CONTENDERS.items() if not module or importlib.util.find_spec(module)
    ]
    took: dict[str, list[float]] = {name: [] for name in names}
    p99s: dict[str, list[float]] = {name: [] for name in names}
    stalls: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="cachewarden-bench-") as made:
        folder = Path(made)
        snapshot(folder)
        for _ in range(ROUNDS):
            random.shuffle(names)
            for name in names:
                seconds, waits = turn(name, folder)
                took[name].append(seconds)
                p99s[name].append(statistics.quantiles(waits, n=100)[98])
                stalls[name].append(max(waits))
    base = statistics.median(took[FLOOR])
    recipes = statistics.median(took[RECIPE])
    print(f"\n{KEYS // 2:,} of {KEYS:,} keys, {ROUNDS} rounds; hiredis {installed('hiredis')}")
    print(
        f"  {'keys/s':>8} {'x floor':>8} {'x recipe':>9} {'probe p99':>10} {'(best)':>9} {'worst stall':>12}"
    )
    for name in sorted(names, key=lambda name: statistics.median(took[name])):
        seconds = statistics.median(took[name])
        print(
            f"  {KEYS / 2 / seconds:8,.0f} {seconds / base:8.2f} {recipes / seconds:9.1f}"
            f" {statistics.median(p99s[name]):7.2f} ms {min(p99s[name]):6.2f} ms {max(stalls[name]):9.1f} ms  {name}"
        )


def installed(module: str) -> str:
    """In words."""
    return "installed" if importlib.util.find_spec(module) else "not installed"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--probe", port]:
            probe(int(port))
        case ["--contend", name, port]:
            contend(name, int(port))
        case _:
            main()
