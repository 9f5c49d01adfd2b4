"""Policies with everything real: the worker, an application in a process of its own, and servers that fail."""

import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from sqlalchemy import text

from dashboard.caching.policy import parse_document
from dashboard.caching.wire import POLICIES_KEY
from dashboard.policies import service
from dashboard.policies.jobs import Propagation
from dashboard.policies.types import InstanceState, PoliciesPage
from dashboard.work import Runtime
from dashboard.worker import start_worker
from tests.support import odd_servers, servers
from tests.support.policies import acting, look_after, publish, stage
from tests.support.polling import wait_until
from tests.support.some_caches import add_cache

APPLICATION = """
import sys, time
from dashboard.caching import Cache
with Cache(sys.argv[1]) as cache:
    number = 0
    while True:
        number += 1
        cache.get_or_load(f"news:{number}", lambda: number)
        cache.get_or_load("news:same", lambda: 1)
        time.sleep(0.05)
"""


@contextmanager
def application(url: str) -> Iterator[subprocess.Popen[bytes]]:
    """A program that reads a new key of news: every twentieth of a second."""
    process = subprocess.Popen([sys.executable, "-c", APPLICATION, url])
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@contextmanager
def working(runtime: Runtime) -> Iterator[None]:
    worker = start_worker(runtime)
    try:
        yield
    finally:
        worker.stop()


def newest_ttl_s(server: redis.Redis) -> float:
    """The TTL of the key that was written last."""
    numbers = [int(key[5:]) for key in server.scan_iter("news:[0-9]*", count=10_000)]
    return server.pttl(f"news:{max(numbers)}") / 1000 if numbers else 0.0


def page(runtime: Runtime, cache_id: int) -> PoliciesPage:
    with acting(runtime) as work:
        return service.policies_page(work, cache_id)


def set_read_only(runtime: Runtime, value: bool) -> None:
    with acting(runtime) as work:
        work.session.execute(text("UPDATE cache SET read_only = :value"), {"value": value})


def test_an_application_follows_within_a_second_and_is_seen(live_runtime: Runtime, valkey_url: str) -> None:
    runtime = live_runtime
    cache = add_cache(runtime, url=valkey_url)
    stage(runtime, cache.id, base_ttl_s=3600, jitter_s=60)
    publish(runtime, cache.id)
    with redis.Redis.from_url(valkey_url) as server, application(valkey_url), working(runtime):
        wait_until(lambda: 3590 < newest_ttl_s(server) <= 3660, "the published TTL is written")
        stage(runtime, cache.id, original="news:", base_ttl_s=7200, jitter_s=60)
        publish(runtime, cache.id)
        took = wait_until(lambda: 7190 < newest_ttl_s(server) <= 7260, "the new TTL is written")
        assert took < 1.5  # the message takes milliseconds; the rest is a busy machine

        wait_until(lambda: page(runtime, cache.id).instances.applied == 1, "the instance is seen")
        with acting(runtime) as work:
            found = service.instances_page(work, cache.id)
        assert found.rows[0].state is InstanceState.APPLIED and found.rows[0].version == 2
        assert found.last_applied_s is not None and found.last_applied_s < 5

        def is_counted() -> bool:
            use = page(runtime, cache.id).rows[0].use
            return use is not None and use.counts["hits"] > 20 and use.counts["loads"] > 20

        wait_until(is_counted, "its reads are counted")

        # A newer schema, as from a newer dashboard: the last good document stays in force, and the refusal shows.
        set_read_only(runtime, True)
        server.set(POLICIES_KEY, b'{"schema": 2, "version": 3}')
        wait_until(lambda: page(runtime, cache.id).instances.refused == 1, "the refusal is seen")
        assert 7190 < newest_ttl_s(server) <= 7260
        with acting(runtime) as work:
            (row,) = service.instances_page(work, cache.id).rows
            assert row.word == "Refused v3" and "schema 2" in row.why and "keeps v2" in row.why
        set_read_only(runtime, False)
        wait_until(lambda: page(runtime, cache.id).instances.applied == 1, "the document is written again")


def test_flushall_and_a_restart_of_redis_cost_seconds(live_runtime: Runtime, tmp_path: Path) -> None:
    runtime = live_runtime
    port = servers.free_port()
    url = f"redis://127.0.0.1:{port}/0"

    def start() -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [
                "redis-server",
                "--port",
                str(port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--dir",
                str(tmp_path),
            ],
            stdout=subprocess.DEVNULL,
        )
        servers.wait_for_port(port)
        return process

    process = start()
    try:
        cache = add_cache(runtime, url=url)
        stage(runtime, cache.id)
        publish(runtime, cache.id)
        with working(runtime), redis.Redis(port=port) as server:
            wait_until(lambda: page(runtime, cache.id).publication.word == "In force", "it is looked at")
            server.flushall()
            took = wait_until(lambda: server.exists(POLICIES_KEY), "it is written again")
            assert took < 6
            wait_until(
                lambda: "gone" in page(runtime, cache.id).publication.republish_reason, "the reason is noted"
            )
            process.send_signal(signal.SIGKILL)
            process.wait(10)
            wait_until(lambda: page(runtime, cache.id).publication.word == "Not reached", "it is away")
            stage(runtime, cache.id, original="news:", base_ttl_s=7200)
            publish(runtime, cache.id)
            process = start()
            wait_until(lambda: server.exists(POLICIES_KEY), "what was published meanwhile arrives")
            assert parse_document(server.get(POLICIES_KEY)).version == 2
            wait_until(lambda: page(runtime, cache.id).publication.word == "In force", "all is well")
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.slow
def test_a_failover_brings_the_document_to_the_new_primary(live_runtime: Runtime, tmp_path: Path) -> None:
    runtime = live_runtime
    with odd_servers.sentinel_group(tmp_path, password="shop", sentinel_password="admin") as (
        primary,
        replica,
        port,
    ):
        url = f"redis+sentinel://:shop@127.0.0.1:{port}/shop?sentinel_password=admin"
        cache = add_cache(runtime, url=url)
        stage(runtime, cache.id)
        publish(runtime, cache.id)
        with (
            redis.Redis(port=replica, password="shop") as other,
            redis.Redis(port=primary, password="shop") as old,
        ):
            odd_servers.wait_until(lambda: other.exists(POLICIES_KEY) == 1, "it is replicated")
            # The replica loses it with the link, as one that was behind would.
            old.delete(POLICIES_KEY)
            odd_servers.wait_until(lambda: other.exists(POLICIES_KEY) == 0, "the replica has it no more")
            old.shutdown(nosave=True)
            with working(runtime):
                wait_until(lambda: other.exists(POLICIES_KEY), "the new primary gets it")
                assert other.info("replication")["role"] == "master"
                start = time.monotonic()
                wait_until(lambda: page(runtime, cache.id).publication.word == "In force", "all is well")
                assert time.monotonic() - start < 40


def test_redis_never_goes_back_to_an_older_version(live_runtime: Runtime, valkey_url: str) -> None:
    """Three publish at once, and a worker that starts anew each time looks whether Redis has the newest."""
    runtime = live_runtime
    cache = add_cache(runtime, url=valkey_url)
    publish(runtime, cache.id)
    numbers = itertools.count(30)
    ends = time.monotonic() + 3

    def apply() -> None:
        while time.monotonic() < ends:
            tiers = [{"name": "hot", "min_ttl_s": 1, "max_ttl_s": 100_000}]
            document = {"tiers": tiers, "default": {"tier": "hot", "base_ttl_s": next(numbers)}}
            with acting(runtime) as work:
                service.apply(work, cache.id, json.dumps(document).encode(), "json", reason="race")

    def look() -> None:
        while time.monotonic() < ends:
            look_after(runtime, cache.id, Propagation(runtime))

    with redis.Redis.from_url(valkey_url) as server, ThreadPoolExecutor(4) as pool:
        done = [pool.submit(each) for each in (apply, apply, apply, look)]
        seen = []
        while time.monotonic() < ends:
            seen.append(parse_document(server.get(POLICIES_KEY)).version)
        for each in done:
            each.result()
        there = parse_document(server.get(POLICIES_KEY)).version
    assert seen == sorted(seen) and len(set(seen)) > 5
    with acting(runtime) as work:
        assert there == service.policies_page(work, cache.id).frame.version


def test_whoever_publishes_while_redis_is_flushed_what_is_published_ends_up_there(
    live_runtime: Runtime, valkey_url: str
) -> None:
    runtime = live_runtime
    cache = add_cache(runtime, url=valkey_url)
    publish(runtime, cache.id)
    stopped = threading.Event()
    failed: list[BaseException] = []

    def repeat(do: Callable[[], object]) -> threading.Thread:
        def run() -> None:
            while not stopped.is_set():
                try:
                    do()
                except BaseException as error:
                    failed.append(error)
                    return

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    numbers = itertools.count(30)

    def apply() -> None:
        tiers = [{"name": "hot", "min_ttl_s": 1, "max_ttl_s": 100_000}]
        document = {"tiers": tiers, "default": {"tier": "hot", "base_ttl_s": next(numbers)}}
        with acting(runtime) as work:
            service.apply(work, cache.id, json.dumps(document).encode(), "json", reason="race")

    propagation = Propagation(runtime)
    with redis.Redis.from_url(valkey_url) as server:
        threads = [repeat(apply) for _ in range(3)]
        threads.append(repeat(lambda: look_after(runtime, cache.id, propagation)))
        for _ in range(30):
            server.delete(POLICIES_KEY)
            time.sleep(0.1)
        stopped.set()
        for thread in threads:
            thread.join()
        assert not failed
        look_after(runtime, cache.id, Propagation(runtime))
        with acting(runtime) as work:
            page = service.policies_page(work, cache.id)
        assert page.frame.version > 20
        there = parse_document(server.get(POLICIES_KEY))
    assert (there.version, there.default) == (page.frame.version, page.default.policy)
