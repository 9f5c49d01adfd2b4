"""How many keys a server removes per second after many were written in a burst."""

import time
from dataclasses import dataclass
from itertools import pairwise

import redis

from dashboard.caching import Cache, Policy, Protection, Strategy
from tests.support.servers import flush


@dataclass
class Expired:
    most: float
    """In the worst second."""
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
    samples: list[tuple[float, int]] = []
    with redis.Redis.from_url(url) as raw, Cache(url, default=policy, follow=False) as cache:
        # Its housekeeping at full strength: what is counted is when keys expire, not when they are found.
        raw.config_set("active-expire-effort", 10)
        names = [f"burst:{number}" for number in range(keys)]
        began = time.monotonic()
        cache.get_or_load_many(names, lambda wanted: dict.fromkeys(wanted, "value"))
        while time.monotonic() - began < jitter_s + 4:
            seconds, microseconds = raw.time()
            samples.append((seconds + microseconds / 1e6, int(raw.info("stats")["expired_keys"])))
            time.sleep(1.0 - (time.monotonic() - began) % 1.0)
    grown = [(later - sooner, after - before) for (sooner, before), (later, after) in pairwise(samples)]
    busy = [at for (at, before), (_, after) in pairwise(samples) if after > before]
    return Expired(
        # A machine that is busy otherwise may look late: then it is the mean of what it missed.
        most=max(number / max(1.0, took) for took, number in grown),
        total=samples[-1][1],
        seconds=busy[-1] - busy[0] + 1 if busy else 0.0,
    )
