"""A keyspace built on purpose on a real server, looked at once: what is forecast, and what then happens."""

import random
import time

import pytest
import redis

from dashboard.caches.types import Cache
from dashboard.forecast import service
from dashboard.forecast.types import Forecast, Horizon
from dashboard.keyspace import service as keyspace
from dashboard.work import Runtime
from tests.support.people import CLI, as_cli
from tests.support.some_caches import add_cache

STEP_S = 10
EVEN, NEWS, SESSIONS, SPREAD = 18_000, 3_000, 2_500, 2_000
NEWS_STEP, SESSIONS_STEP = 1, 3
WATCHED_STEPS = 4


def build(client: redis.Redis, start: int) -> None:
    """Keys that end evenly over an hour, a burst without jitter, one with, and an EXPIREAT wall.

    Args:
        start: epoch seconds where the first whole step begins.
    """
    chance = random.Random(11)
    ends = [
        (b"product:%d" % number, start * 1000 + round(3_600_000 * number / EVEN)) for number in range(EVEN)
    ]
    # Written within two seconds, with one TTL.
    news = (start + NEWS_STEP * STEP_S + 3) * 1000
    ends += [(b"news:%d" % number, news + number % 2_000) for number in range(NEWS)]
    # Written as quickly, with half an hour of jitter.
    ends += [
        (b"price:%d" % number, start * 1000 + 600_000 + chance.randrange(1_800_000))
        for number in range(SPREAD)
    ]
    wall = (start + SESSIONS_STEP * STEP_S + 4) * 1000
    ends += [(b"session:user:%d" % number, wall) for number in range(SESSIONS)]
    with client.pipeline(transaction=False) as pipe:
        for key, moment in ends:
            pipe.set(key, "x" * 40, pxat=moment)
        pipe.execute()


def expired(client: redis.Redis) -> int:
    # Redis takes its time with keys that nobody asks for; going through them all is to ask for each.
    for _ in client.scan_iter(count=5_000):
        pass
    return int(client.info("stats")["expired_keys"])


def next_step(wait_s: float = 3.0) -> int:
    """Epoch seconds of a step's beginning, at least so far ahead."""
    return (int(time.time() + wait_s) // STEP_S + 1) * STEP_S


def looked_at(runtime: Runtime, cache: Cache) -> Forecast:
    keyspace.take_sample(runtime, CLI, cache.id)
    with as_cli(runtime) as work:
        found = service.forecast(work, cache.id, Horizon.HOUR)
    assert found is not None
    return found


def test_each_wall_is_named_and_each_step_comes_true(live_runtime: Runtime, valkey_url: str) -> None:
    cache = add_cache(live_runtime, url=valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        start = next_step()
        build(client, start)
        found = looked_at(live_runtime, cache)
        assert not found.basis.is_sample
        assert {wall.blame[0].stem: wall.start for wall in found.walls} == {
            "news:": start + NEWS_STEP * STEP_S,
            "session:user:": start + SESSIONS_STEP * STEP_S,
        }
        assert [len(wall.blame) for wall in found.walls] == [1, 1]
        counts = [wall.blame[0].keys for wall in found.walls]
        assert counts == [NEWS, SESSIONS]

        first = (start - found.course.grid.start) // STEP_S
        predicted = found.course.total[first : first + WATCHED_STEPS]
        happened, before = [], 0
        for step in range(WATCHED_STEPS + 1):
            time.sleep(max(0.0, start + step * STEP_S - time.time()))
            now = expired(client)
            if step:
                happened.append(now - before)
            before = now
    assert sum(happened) > NEWS + SESSIONS
    for forecast, truth in zip(predicted, happened, strict=True):
        assert forecast == pytest.approx(truth, rel=0.1, abs=3)
