"""What one poll costs, on the server and in the worker, against a bare INFO round trip in the same run.

``python -m benchmarks.polling``
"""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import redis

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.monitoring import polling, store
from dashboard.work import Runtime, unit_of_work
from tests.support import history as made
from tests.support import live

ROUNDS = 300
CLIENTS = 50
KEYS = 20_000
ACTOR = Actor(None, "bench", Role.ADMIN, "cli")


def medians(run: Callable[[], object], rounds: int = ROUNDS) -> tuple[float, float]:
    """Median wall and processor time of one call, milliseconds, after ten to warm up."""
    for _ in range(10):
        run()
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.thread_time()
        run()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.thread_time() - cpu)
    return statistics.median(walls) * 1000, statistics.median(cpus) * 1000


def server_usec(client: redis.Redis, run: Callable[[], object]) -> tuple[float, float, dict[str, float]]:
    """Per call of ``run``: process time and command time of the server, microseconds; the latter by command."""

    def cpu() -> float:
        found = client.info("cpu")
        return float(found["used_cpu_sys"]) + float(found["used_cpu_user"])

    for _ in range(10):
        run()
    client.config_resetstat()
    before = cpu()
    for _ in range(ROUNDS):
        run()
    used = cpu() - before
    stats = client.info("commandstats")
    # Our own two questions for the processor time are not part of what is measured.
    spent = {
        name.removeprefix("cmdstat_"): line["usec"] / ROUNDS
        for name, line in stats.items()
        if line["calls"] >= ROUNDS
    }
    return used / ROUNDS * 1e6, sum(spent.values()), spent


def measure(runtime: Runtime, url: str) -> None:
    """Print the figures."""
    with unit_of_work(runtime, ACTOR) as work:
        store.ensure_partitions(work.session, work.now)
        cache_id = made.add_cache(work.session, url=work.cipher.encrypt(url), created_at=work.now)
        cache = caches.get_cache(work, cache_id)
    crowd = [redis.Redis.from_url(url, client_name=f"shop-{number}") for number in range(CLIENTS)]
    for client in crowd:
        client.ping()
    with crowd[0].pipeline(transaction=False) as pipe:
        for number in range(KEYS):
            pipe.set(f"key:{number}", "x" * 100, ex=3600)
        pipe.execute()
    for name in (
        "get",
        "mget",
        "hset",
        "hgetall",
        "zadd",
        "zrange",
        "incr",
        "expire",
        "ttl",
        "exists",
        "lpush",
    ):
        for _ in range(3):
            with contextlib.suppress(redis.ResponseError):
                crowd[1].execute_command(name, "some", "1", "2")
    [node] = runtime.fleet.open(cache.id, cache.url, cache.revision).nodes()

    def bare() -> object:
        return node.run([("INFO",)])

    def ask() -> polling.Round:
        return polling.ask(runtime.fleet, cache, runtime.clock)

    def whole() -> None:
        asked = ask()
        with runtime.database.transaction() as session:
            before = states.get("it") or store.load_state(
                session, cache.id, now=runtime.clock.now(), clock_s=runtime.clock.monotonic()
            )
            after = polling.record(session, cache, before, asked)
        assert after is not None
        states["it"] = after

    states: dict[str, store.PollState] = {}
    bare_cpu, bare_command, _ = server_usec(crowd[0], bare)
    poll_cpu, poll_command, by_command = server_usec(crowd[0], ask)
    print(f"{CLIENTS} clients, {KEYS:,} keys, one node; medians of {ROUNDS}")
    print(
        f"server, process:  bare INFO {bare_cpu:6.0f} us, poll {poll_cpu:6.0f} us = {poll_cpu / bare_cpu:4.1f} x"
        f" = {poll_cpu / 1e7:.4%} of a core at one poll per 10 s"
    )
    print(
        f"server, commands: bare INFO {bare_command:6.0f} us, poll {poll_command:6.0f} us"
        f" = {poll_command / bare_command:4.1f} x ("
        + ", ".join(f"{name} {usec:.0f}" for name, usec in sorted(by_command.items()))
        + ")"
    )
    floor_wall, floor_cpu = medians(bare)
    print(f"worker, bare INFO round trip:   {floor_wall:6.2f} ms, processor {floor_cpu:6.2f} ms")
    for words, run in (("ask and read", ask), ("ask, subtract, store", whole)):
        wall, cpu = medians(run)
        print(
            f"worker, {words + ':':<24}{wall:6.2f} ms = {wall / floor_wall:4.1f} x,"
            f" processor {cpu:6.2f} ms = {cpu / floor_cpu:4.1f} x"
        )
    per_core = 10_000 / cpu
    print(f"one core of a worker polls about {per_core:,.0f} nodes every 10 s")
    for client in crowd:
        client.close()


def main() -> None:
    """Start everything, print the figures."""
    with tempfile.TemporaryDirectory(prefix="cachewarden-bench-") as folder:
        Path(folder).chmod(0o755)
        with live.dashboard(Path(folder), with_worker=False) as running:
            measure(running.runtime, running.valkey_url)


if __name__ == "__main__":
    main()
