"""Many at once: one load for a missing key, and no moment at which very many keys expire."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import redis

from dashboard.caching import Cache
from tests.soak.expiry import burst
from tests.support.servers import redis_server

MakeCache = Callable[..., Cache]


def test_two_processes_of_64_threads_load_once(
    valkey_url: str, raw: redis.Redis, tmp_path: Path, checkout: Path
) -> None:
    settings = {"url": valkey_url, "threads": 64, "processes": 2, "key": "k", "folder": str(tmp_path)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.caching.stampede", json.dumps(settings)],
            stdout=subprocess.PIPE,
            cwd=checkout,
        )
        for _ in range(2)
    ]
    took_ms = [ms for process in processes for ms in json.loads(process.communicate(timeout=100)[0])]
    assert len(took_ms) == 128
    assert (tmp_path / "loads").read_text() == "loaded\n"
    assert raw.get("k") == b'"value"'


def test_a_server_removes_a_jittered_burst_evenly() -> None:
    """A fortieth of 10,000 keys within a fortieth of 300 s; ``make soak`` takes all of it."""
    with redis_server() as port:
        url = f"redis://127.0.0.1:{port}/0"
        spread = burst(url, keys=250, jitter_s=7)
        assert spread.total == 250
        assert spread.most <= 70
        together = burst(url, keys=250, jitter_s=0)
        assert together.most > 70, "the same measurement sees a burst where there is one"


def test_a_burst_of_10_000_keys_does_not_expire_at_once(make_cache: MakeCache, redis7_url: str) -> None:
    """With 300 s of jitter no second has more than 70 expirations."""
    cache = make_cache(redis7_url, base_ttl_s=600, jitter_s=300)
    names = [f"burst:{number}" for number in range(10_000)]
    for start in range(0, len(names), 500):
        batch = names[start : start + 500]
        cache.get_or_load_many(batch, lambda keys: dict.fromkeys(keys, 1))
    with redis.Redis.from_url(redis7_url) as raw:
        pipeline = raw.pipeline(transaction=False)
        for name in names:
            pipeline.pexpiretime(name)
        seconds = Counter(at // 1000 for at in pipeline.execute())
    assert sum(seconds.values()) == 10_000
    assert max(seconds.values()) <= 70
    assert len(seconds) >= 300
