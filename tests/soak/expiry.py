"""How many keys a server removes per second after many were written in a burst."""

import time
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise

import redis

from dashboard.caching import Cache, Policy, Protection, Strategy
from tests.support.servers import flush


@dataclass
class Expired:
    most: float
    """In the worst second, without what the server should have removed before it."""
    most_late: float
    """The same with it: on a machine that is busy otherwise the server falls behind, and catches up at once."""
    total: int
    seconds: float
    """From the first to the last that was seen to go."""


def burst(url: str, *, keys: int, jitter_s: int) -> Expired:
    """Write the keys through the library in one go, and watch the server remove them.

    Args:
        url: a server that is this run's own; it is emptied first.
        keys: how many.
        jitter_s: of the policy; the base TTL is a second.
    """
    flush(url)
    policy = Policy(
        prefix=b"",
        tier="hot",
        base_ttl_s=1,
        jitter_s=jitter_s,
        strategy=Strategy.CACHE_ASIDE,
        protection=Protection(),
    )
    samples: list[tuple[float, int, int]] = []
    with redis.Redis.from_url(url) as raw, Cache(url, default=policy, follow=False) as cache:
        # Its housekeeping at full strength: what is counted is when keys expire, not when they are found.
        raw.config_set("active-expire-effort", 10)
        names = [f"burst:{number}" for number in range(keys)]
        began = time.monotonic()
        cache.get_or_load_many(names, lambda wanted: dict.fromkeys(wanted, "value"))
        pipeline = raw.pipeline(transaction=False)
        for name in names:
            pipeline.pexpiretime(name)
        due = sorted(pipeline.execute())
        while time.monotonic() - began < jitter_s + 4:
            seconds, microseconds = raw.time()
            at = seconds + microseconds / 1e6
            removed = int(raw.info("stats")["expired_keys"])
            samples.append((at, removed, max(0, bisect_right(due, at * 1000) - removed)))
            time.sleep(1.0 - (time.monotonic() - began) % 1.0)
    # Later than a second apart: then it is the mean of what was missed.
    grown = [
        (max(1.0, later - sooner), after - before, overdue)
        for (sooner, before, overdue), (later, after, _) in pairwise(samples)
    ]
    busy = [at for (at, before, _), (_, after, _) in pairwise(samples) if after > before]
    return Expired(
        most=max((number - overdue) / took for took, number, overdue in grown),
        most_late=max(number / took for took, number, _ in grown),
        total=samples[-1][1],
        seconds=busy[-1] - busy[0] + 1 if busy else 0.0,
    )
