"""The quick look on real servers: how near it comes, and that a small cache is read whole."""

import math
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
import redis

from dashboard.clock import Clock
from dashboard.fleet.errors import FleetError
from dashboard.fleet.registry import Fleet
from dashboard.fleet.url import parse_url
from dashboard.keyspace import sampling
from dashboard.keyspace.sampling import Sampled
from dashboard.keyspace.scanning import UNMEASURED_NOTE, Refused
from dashboard.keyspace.types import ScanLimits
from dashboard.monitoring.types import ProbeLookups
from tests.support.servers import free_port, redis_server
from tests.support.walking import Seen, lookups

CHANCE = Random(20_26)
NUMBER = 60_000


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(timeout_s=2.0)
    yield fleet
    fleet.close()


def look(fleet: Fleet, url: str, seen: Seen, told: list[ProbeLookups], keys: int) -> Sampled:
    return sampling.sample(
        fleet.open(1, parse_url(url)),
        ScanLimits(),
        seen,
        Clock(),
        CHANCE.random,
        on_lookups=told.extend,
        keys=keys,
    )


def fill(client: redis.Redis, number: int) -> None:
    pipe = client.pipeline(transaction=False)
    for index in range(number):
        if index % 4 == 0:
            pipe.set(f"large:{index}", "v" * 600)
        else:
            pipe.set(f"small:{index}", "v", ex=3_600)
    pipe.execute()


def test_it_comes_near(fleet: Fleet, server_url: str) -> None:
    with redis.Redis.from_url(server_url) as client:
        fill(client, NUMBER)
        before = lookups(client)
        told: list[ProbeLookups] = []
        seen = Seen()
        done = look(fleet, server_url, seen, told, 5_000)
        after = lookups(client)
        assert 5_000 <= done.looked_at == seen.keys.total() < 5_500 and max(seen.keys.values()) == 1
        assert done.keyspace == NUMBER and done.factor == NUMBER / done.looked_at
        assert done.size_every == 1 and done.notes == () and done.ended_at > done.began_at
        large = sum(key.startswith(b"large:") for key in seen.keys) / done.looked_at
        # Four standard deviations.
        assert abs(large - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 5_000)
        sizes = sum(size for _, _, size in seen.facts.values()) * done.factor
        true = (
            NUMBER / 4 * ((client.memory_usage("large:4") or 0) + 3 * (client.memory_usage("small:1") or 0))
        )
        assert sizes == pytest.approx(true, rel=0.1)
        (each,) = told
        assert each.is_over and (each.hits, each.misses) == (after[0] - before[0], after[1] - before[1])


def test_two_looks_are_at_other_keys(fleet: Fleet, server_url: str) -> None:
    with redis.Redis.from_url(server_url) as client:
        fill(client, NUMBER)
    found = []
    for _ in range(2):
        seen = Seen()
        look(fleet, server_url, seen, [], 2_000)
        found.append(seen.keys.keys())
    assert len(found[0] & found[1]) < 500


@pytest.mark.parametrize("number", [0, 1, 3_000])
def test_a_small_cache_is_read_whole(fleet: Fleet, server_url: str, number: int) -> None:
    with redis.Redis.from_url(server_url) as client:
        if number:
            fill(client, number)
        keys = Counter(client.scan_iter(count=1_000))
    seen = Seen()
    done = look(fleet, server_url, seen, [], 2_000)
    assert seen.keys == keys and (done.looked_at, done.keyspace, done.factor) == (number, number, 1)


@pytest.mark.parametrize("keys", [100, 1_000])
def test_very_long_names(keys: int) -> None:
    fleet = Fleet(timeout_s=20.0)
    told: list[ProbeLookups] = []
    seen = Seen()
    with redis_server() as port, redis.Redis(port=port) as client:
        for number in range(400):
            client.set(f"{number:07d}" * 28_000, "v")
        done = look(fleet, f"redis://127.0.0.1:{port}/0", seen, told, keys)
        fleet.close()
    assert max(seen.keys.values()) == 1 and done.looked_at == seen.keys.total()
    assert done.factor == 400 / done.looked_at and all(each.is_over for each in told)
    if keys > 400:
        assert done.looked_at == 400
    else:
        # Not all that a burst of the usual size would have brought.
        assert 50 < done.looked_at < 200


def test_what_is_forbidden(fleet: Fleet) -> None:
    with redis_server() as port, redis.Redis(port=port) as client:
        fill(client, 100)
        client.execute_command("ACL SETUSER looker on >pass ~* resetchannels -@all +ping +info +scan")
        url = f"redis://looker:pass@127.0.0.1:{port}/0"
        with pytest.raises(Refused) as refused:
            look(fleet, url, Seen(), [], 1_000)
        assert "ACL SETUSER looker +scan +pttl +type" in refused.value.what_to_do
        client.execute_command("ACL SETUSER looker +pttl +type")
        done = look(fleet, url, Seen(), [], 1_000)
        assert (done.looked_at, done.size_every, done.notes) == (100, 0, (UNMEASURED_NOTE,))


def test_a_server_that_is_away(fleet: Fleet) -> None:
    with pytest.raises(FleetError):
        look(fleet, f"redis://127.0.0.1:{free_port()}/0", Seen(), [], 1_000)
