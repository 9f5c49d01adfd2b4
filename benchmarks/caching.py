"""The library next to bare redis-py and other libraries: hit, miss, stampede, tags, a refused Redis, policy lookup.

``python -m benchmarks.caching``. Each round calls the floor and every contender in turn, one call each, so that all
of them meet the same weather; what is printed is the median of the ratios of neighbours. The floor is what one
would write by hand with redis-py: GET and json.loads; on a miss GET, the loader, SETEX. Contenders that are not
installed are left out (``pip install .[bench]``).
"""

import asyncio
import contextlib
import importlib.util
import json
import logging
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from dashboard.caching import Cache, JsonCodec, Policy, PolicyTable, Protection, Strategy
from tests.support.meeting import Meeting
from tests.support.servers import free_port, redis_server

HITS = 3000
MISSES = 1500
STAMPEDES = 5
VALUE = {f"field{number}": "x" * 21 for number in range(30)}
"""About a kilobyte of JSON."""
TTL_S = 600

Call = Callable[[str], object]
"""Reads a key, with an instant loader."""


def load() -> dict[str, str]:
    """An instant loader."""
    return VALUE


def policy(**protection: Any) -> Policy:
    """What all of ours use."""
    return Policy(
        prefix=b"",
        tier="hot",
        base_ttl_s=TTL_S,
        jitter_s=60,
        strategy=Strategy.WRITE_THROUGH,
        protection=Protection(**protection),
    )


@contextlib.contextmanager
def contenders(url: str) -> Iterator[dict[str, Call]]:
    """Name -> a way to read a key."""
    calls: dict[str, Call] = {}
    with contextlib.ExitStack() as stack:
        caches = {
            "cachewarden": Cache(url, default=policy(), codec=JsonCodec(use_orjson=False)),
            "cachewarden, early refresh and grace": Cache(
                url, default=policy(early_refresh_beta=1.0, grace_s=60), codec=JsonCodec(use_orjson=False)
            ),
        }
        if importlib.util.find_spec("orjson"):
            caches["cachewarden, orjson"] = Cache(url, default=policy(), codec=JsonCodec(use_orjson=True))
        for name, cache in caches.items():
            stack.enter_context(cache)
            calls[name] = lambda key, cache=cache: cache.get_or_load(key, load)
        for name, protection in {
            "cachewarden, one tag": {},
            "cachewarden, one tag, early refresh and grace": {"early_refresh_beta": 1.0, "grace_s": 60},
        }.items():
            tagged = stack.enter_context(
                Cache(url, default=policy(**protection), codec=JsonCodec(use_orjson=False))
            )
            calls[name] = lambda key, cache=tagged: cache.get_or_load(key, load, tags=("bench",))
        if importlib.util.find_spec("dogpile"):
            calls.update(_dogpile(url))
        if importlib.util.find_spec("flask_caching"):
            calls["Flask-Caching (pickle)"] = _flask_caching(url, stack)
        if importlib.util.find_spec("django_redis"):
            calls.update(_django_redis(url))
        yield calls


def _dogpile(url: str) -> dict[str, Call]:
    from dogpile.cache import make_region

    def json_dump(value: Any) -> bytes:
        return json.dumps(value).encode()

    def made(**more: Any) -> Any:
        region = make_region(**more)
        return region.configure(
            "dogpile.cache.redis", expiration_time=TTL_S, arguments={"url": url, "distributed_lock": False}
        )

    pickled, as_json = made(), made(serializer=json_dump, deserializer=json.loads)
    return {
        "dogpile.cache (pickle)": lambda key: pickled.get_or_create(key, load),
        "dogpile.cache (JSON)": lambda key: as_json.get_or_create(key, load),
    }


def _flask_caching(url: str, stack: contextlib.ExitStack) -> Call:
    from flask import Flask
    from flask_caching import Cache as TheirCache

    app = Flask("bench")
    theirs: Any = TheirCache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url})
    stack.enter_context(app.app_context())
    key_now = [""]

    # Its decorator, with a key of the caller's: that is how it is used.
    @theirs.cached(timeout=TTL_S, make_cache_key=lambda *_, **__: key_now[0])
    def view() -> dict[str, str]:
        return VALUE

    def read(key: str) -> object:
        key_now[0] = key
        return view()

    return read


def _django_redis(url: str) -> dict[str, Call]:
    from django.conf import settings

    backend = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}
    serializer = {"OPTIONS": {"SERIALIZER": "django_redis.serializers.json.JSONSerializer"}}
    if not settings.configured:
        settings.configure(CACHES={"default": backend, "json": {**backend, **serializer}})
    from django.core.cache import caches

    pickled, as_json = caches["default"], caches["json"]
    return {
        "django-redis (pickle)": lambda key: pickled.get_or_set(key, load, TTL_S),
        "django-redis (JSON)": lambda key: as_json.get_or_set(key, load, TTL_S),
    }


class Cashews:
    """cashews is for asyncio: what is timed is the call within a running loop, not the way into it."""

    def __init__(self, url: str) -> None:
        from cashews import Cache as TheirCache

        self._loop = asyncio.new_event_loop()
        self._cache = TheirCache()
        self._cache.setup(url)

        @self._cache(ttl=TTL_S, key="{key}", protected=True)
        async def read(key: str) -> dict[str, str]:
            return VALUE

        self._read = read

    def seconds(self, key: str) -> float:
        async def timed() -> float:
            began = time.perf_counter()
            await self._read(key=key)
            return time.perf_counter() - began

        return self._loop.run_until_complete(timed())

    def close(self) -> None:
        self._loop.run_until_complete(self._cache.close())
        self._loop.close()


def floor_hit(client: redis.Redis) -> Call:
    """GET and json.loads."""

    def read(key: str) -> object:
        return json.loads(client.get(key))  # type: ignore[arg-type]

    return read


def floor_miss(client: redis.Redis) -> Call:
    """GET, the loader, SETEX."""

    def read(key: str) -> object:
        found = client.get(key)
        if found is not None:
            return json.loads(found)
        value = load()
        client.set(key, json.dumps(value), ex=TTL_S)
        return value

    return read


def seconds(call: Call, key: str) -> float:
    """How long one call takes."""
    began = time.perf_counter()
    call(key)
    return time.perf_counter() - began


def compare(
    floor: Call, calls: dict[str, Callable[[str], float]], prepare: Callable[[str], None], rounds: int
) -> tuple[float, dict[str, float]]:
    """Median microseconds of the floor, and name -> median ratio to the floor's call just before."""
    floors: list[float] = []
    ratios: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for turn in range(rounds + 20):
        random.shuffle(names)
        for name in names:
            prepare("floor")
            base = seconds(floor, "floor")
            prepare(name)
            ratio = calls[name](name) / base
            if turn >= 20:
                floors.append(base)
                ratios[name].append(ratio)
    return statistics.median(floors) * 1e6, {name: statistics.median(each) for name, each in ratios.items()}


def show(title: str, floor_us: float, ratios: dict[str, float]) -> None:
    """A table, fastest first."""
    print(f"\n{title} (floor {floor_us:.0f} us = 1.00)")
    for name, ratio in sorted(ratios.items(), key=lambda pair: pair[1]):
        print(f"  {ratio:5.2f}  {name}")


def timed(url: str, stack: contextlib.ExitStack) -> dict[str, Callable[[str], float]]:
    """The contenders, each as a function that returns how long a read took."""
    calls = stack.enter_context(contenders(url))
    found: dict[str, Callable[[str], float]] = {
        name: lambda key, call=call: seconds(call, key) for name, call in calls.items()
    }
    if importlib.util.find_spec("cashews"):
        cashews = Cashews(url)
        stack.callback(cashews.close)
        found["cashews (asyncio)"] = cashews.seconds
    return found


def hits(url: str) -> None:
    """What a read costs that finds its value."""
    with redis.Redis.from_url(url) as client, contextlib.ExitStack() as stack:
        client.set("floor", json.dumps(VALUE))
        calls = timed(url, stack)
        for name, run in calls.items():
            run(name)
        show("A hit of 1 KB", *compare(floor_hit(client), calls, lambda key: None, HITS))


def misses(url: str) -> None:
    """What a read costs that finds nothing, with a loader that takes no time."""
    with redis.Redis.from_url(url) as client, contextlib.ExitStack() as stack:
        calls = timed(url, stack)
        for name, run in calls.items():
            run(name)
        stored = [key for key in client.scan_iter("*") if not key.startswith(b"cachewarden:")]

        def forget(key: str) -> None:
            # Each library writes its own form of the key.
            client.unlink(key, *(each for each in stored if each.endswith(key.encode())))

        for _ in range(100):
            for name, run in calls.items():
                forget(name)
                run(name)
        # A prefix that mostly misses takes its lease first from the next count on.
        time.sleep(1.5)
        show("A miss, of a prefix that mostly misses", *compare(floor_miss(client), calls, forget, MISSES))
        title = "A miss, of a prefix that mostly hits"
        show(title, *compare(floor_miss(client), get_first(url, stack), forget, MISSES))


def get_first(url: str, stack: contextlib.ExitStack) -> dict[str, Callable[[str], float]]:
    """Ours as they read prefixes that mostly hit: what is measured here only misses."""

    def timed_call(protection: dict[str, Any], tags: tuple[str, ...]) -> Callable[[str], float]:
        codec = JsonCodec(use_orjson=False)
        cache = stack.enter_context(Cache(url, default=policy(**protection), codec=codec, follow=False))

        def run(key: str) -> float:
            cache._rules.default.tally.acquires_first = False
            return seconds(lambda key: cache.get_or_load(key, load, tags=tags), key)

        return run

    return {
        "cachewarden": timed_call({}, ()),
        "cachewarden, early refresh and grace": timed_call({"early_refresh_beta": 1.0, "grace_s": 60}, ()),
        "cachewarden, one tag": timed_call({}, ("bench",)),
        "cachewarden, one tag, early refresh and grace": timed_call(
            {"early_refresh_beta": 1.0, "grace_s": 60}, ("bench",)
        ),
    }


def stampede(url: str) -> None:
    """128 readers in two processes miss one key; the loader takes 50 ms."""
    print("\n128 readers of one missing key in 2 processes, loader 50 ms: loads, p50, p99")
    names = ["cachewarden", "dogpile.cache, distributed lock", "Flask-Caching", "django-redis", "GET / SETEX"]
    for name in names:
        module = {"dogpile": "dogpile", "Flask-C": "flask_caching", "django-": "django_redis"}.get(name[:7])
        if module is not None and importlib.util.find_spec(module) is None:
            continue
        loads, middle, high = [], [], []
        for turn in range(STAMPEDES):
            with tempfile.TemporaryDirectory() as folder:
                processes = [
                    subprocess.Popen(
                        [
                            sys.executable,
                            "-m",
                            "benchmarks.caching",
                            name,
                            url,
                            f"burst{turn}:{name}",
                            folder,
                        ],
                        stdout=subprocess.PIPE,
                    )
                    for _ in range(2)
                ]
                took = sorted(ms for each in processes for ms in json.loads(each.communicate()[0]))
                loads.append(len(list(Path(folder).glob("load.*"))))
            middle.append(took[len(took) // 2])
            high.append(took[int(len(took) * 0.99)])
        print(
            f"  {statistics.median(loads):5.0f}  {statistics.median(middle):6.0f} ms "
            f"{statistics.median(high):6.0f} ms  {name}"
        )


def burst(name: str, url: str, key: str, folder: str) -> None:
    """One process of the stampede."""
    meeting = Meeting(Path(folder), 2)

    def slow() -> str:
        (Path(folder) / f"load.{random.getrandbits(60)}").touch()
        # Of a load that was over before the other process reads, it would be no stampede.
        meeting.wait("reading")
        time.sleep(0.05)
        return "value"

    read: Callable[[], object]
    if name == "cachewarden":
        cache = Cache(url, default=policy())
        cache.get("warm")
        read = lambda: cache.get_or_load(key, slow)  # noqa: E731
    elif name.startswith("dogpile"):
        from dogpile.cache import make_region

        region = make_region().configure(
            "dogpile.cache.redis",
            expiration_time=TTL_S,
            arguments={"url": url, "distributed_lock": True, "lock_timeout": 10, "thread_local_lock": False},
        )
        read = lambda: region.get_or_create(key, slow)  # noqa: E731
    elif name == "django-redis":
        _django_redis(url)
        from django.core.cache import caches

        read = lambda: caches["default"].get_or_set(key, slow, TTL_S)  # noqa: E731
    elif name == "Flask-Caching":
        from flask import Flask
        from flask_caching import Cache as TheirCache

        app = Flask("bench")
        theirs: Any = TheirCache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": url})
        cached = theirs.cached(timeout=TTL_S, make_cache_key=lambda *_, **__: key)(slow)

        def read() -> object:
            with app.app_context():
                return cached()
    else:
        client = redis.Redis.from_url(url)

        def read() -> object:
            found = client.get(key)
            if found is None:
                found = slow()
                client.set(key, found, ex=TTL_S)
            return found

    took: list[float] = []

    together = threading.Barrier(64, action=lambda: (meeting.say("ready"), meeting.wait("ready")))
    begun = threading.Semaphore(0)

    def one() -> None:
        together.wait()
        begun.release()
        began = time.perf_counter()
        read()
        took.append((time.perf_counter() - began) * 1000)

    threads = [threading.Thread(target=one) for _ in range(64)]
    for thread in threads:
        thread.start()
    for _ in threads:
        begun.acquire()
    meeting.say("reading")
    for thread in threads:
        thread.join()
    print(json.dumps(took))


def refused() -> None:
    """The first read when nobody listens."""
    url = f"redis://127.0.0.1:{free_port()}/0"
    print("\nThe first read of a Redis that refuses")
    with Cache(url) as cache:
        took_ms = seconds(lambda key: cache.get_or_load(key, load), "k") * 1000
        again_ms = statistics.median(
            seconds(lambda key: cache.get_or_load(key, load), "k") * 1000 for _ in range(50)
        )
    print(
        f"  {took_ms:7.1f} ms  cachewarden, and the loader's value; {again_ms:.3f} ms once the breaker is open"
    )
    port = int(url.rpartition(":")[2].partition("/")[0])
    with redis.Redis(port=port) as client:
        began = time.perf_counter()
        with contextlib.suppress(redis.RedisError):
            client.get("k")
    print(f"  {(time.perf_counter() - began) * 1000:7.1f} ms  redis-py with its defaults, and an exception")


def lookup() -> None:
    """The policy of a key among 1,000 prefixes."""
    prefixes = [f"service{number % 40}:area{number}:".encode() for number in range(1000)]
    table = PolicyTable([(prefix, prefix) for prefix in prefixes], b"")
    keys = [random.choice(prefixes) + str(random.getrandbits(40)).encode() for _ in range(2000)]
    best = []
    find = table.find
    for _ in range(15):
        began = time.perf_counter()
        for key in keys:
            find(key)
        best.append((time.perf_counter() - began) / len(keys))
    bounds, items = table.bounds, table.items
    inline = []
    for _ in range(15):
        began = time.perf_counter()
        for key in keys:
            items[bisect_right(bounds, key)]
        inline.append((time.perf_counter() - began) / len(keys))
    tracemalloc.start()
    for key in keys:
        find(key)
    before = tracemalloc.get_traced_memory()[0]
    for key in keys:
        find(key)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    print(
        f"\nPolicy of a key among 1,000 prefixes: {statistics.median(best) * 1e9:.0f} ns, "
        f"{statistics.median(inline) * 1e9:.0f} ns where reads have it inline; memory grows by {grown} bytes "
        f"in {len(keys)} lookups"
    )


def main() -> None:
    """All of it."""
    logging.disable(logging.CRITICAL)
    try:
        with redis_server() as port:
            url = f"redis://127.0.0.1:{port}/0"
            hits(url)
            misses(url)
            stampede(url)
        refused()
        lookup()
    finally:
        logging.disable(logging.NOTSET)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        burst(*sys.argv[1:])
    else:
        main()
