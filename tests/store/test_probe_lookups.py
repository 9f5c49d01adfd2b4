"""What our own lookups are taken off: the very counters that hold them, by whoever polls, and only once."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import text

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.fleet.commands import PollReply
from dashboard.fleet.url import parse_url
from dashboard.keyspace.types import ScanLimits
from dashboard.monitoring import polling, service, store
from dashboard.monitoring.info import parse_info, read
from dashboard.monitoring.polling import Answer, Round
from dashboard.monitoring.types import ProbeLookups
from dashboard.work import Runtime, UnitOfWork, unit_of_work
from tests.support import history
from tests.support.polling import add_cache
from tests.support.walking import Seen, slowly, walk

ACTOR = Actor(None, "test", Role.ADMIN, "cli")
RUN = "a" * 40
NODE = "10.0.0.1:6379"
ONE, OTHER = "1" * 16, "2" * 16


@pytest.fixture
def work(runtime: Runtime) -> Iterator[UnitOfWork]:
    with unit_of_work(runtime, ACTOR) as work:
        store.ensure_partitions(work.session, work.now)
        yield work


@pytest.fixture
def cache(work: UnitOfWork) -> Cache:
    url = work.cipher.encrypt("redis://10.0.0.1")
    return caches.get_cache(work, history.add_cache(work.session, "shop", url=url, created_at=work.now))


def poll(
    work: UnitOfWork,
    cache: Cache,
    after_s: float,
    hits: int,
    named: Mapping[str, tuple[int, int]] | None = None,
    *,
    run_id: str = RUN,
    uptime: int = 1000,
    node: str = NODE,
) -> None:
    at = work.now + timedelta(seconds=after_s)
    info = (
        f"redis_version:7.4.1\r\nrun_id:{run_id}\r\nuptime_in_seconds:{uptime}\r\nrole:master\r\n"
        f"keyspace_hits:{hits}\r\nkeyspace_misses:{hits}\r\ntotal_commands_processed:{hits}"
    )
    reply = PollReply(node, info, [], 0, [], 0.001, at, after_s, lookups=named)
    before = store.load_state(work.session, cache.id, now=work.now, clock_s=0.0)
    answer = Answer(reply, read(parse_info(info), at, after_s))
    assert polling.record(work.session, cache, before, Round((answer,), 1, None)) is not None


def tell(work: UnitOfWork, cache: Cache, hits: int, misses: int = 0, **more: Any) -> None:
    given: dict[str, Any] = {"session": ONE, "node": NODE, "run_id": RUN, **more}
    service.record_probe_lookups(work, cache.id, [ProbeLookups(hits=hits, misses=misses, **given)])


def taken(work: UnitOfWork) -> list[tuple[int, int]]:
    return [
        tuple(row)
        for row in work.session.execute(text("SELECT self_hits, self_misses FROM sample ORDER BY ts"))
    ]


def held(work: UnitOfWork) -> int:
    return int(work.session.execute(text("SELECT count(*) FROM probe_lookups")).scalar_one())


def test_the_name_says_it_while_the_connection_lives(work: UnitOfWork, cache: Cache) -> None:
    poll(work, cache, 0, 100, {})
    tell(work, cache, 900)  # later than the poll that comes now
    poll(work, cache, 10, 200, {ONE: (70, 3)})
    tell(work, cache, 1_000, 30)
    poll(work, cache, 20, 300, {ONE: (90, 3)})
    assert taken(work) == [(0, 0), (70, 3), (20, 0)]


def test_what_was_told_counts_once_the_connection_is_gone(work: UnitOfWork, cache: Cache) -> None:
    poll(work, cache, 0, 100, {})
    poll(work, cache, 10, 200, {ONE: (70, 3)})
    tell(work, cache, 80, 4)
    tell(work, cache, 95, 5, is_over=True)
    tell(work, cache, 95, 5, is_over=True)
    poll(work, cache, 20, 300, {ONE: (95, 5)})  # over, but not closed yet
    assert held(work) == 1
    poll(work, cache, 30, 400, {})
    poll(work, cache, 40, 500, {})
    assert taken(work) == [(0, 0), (70, 3), (25, 2), (0, 0), (0, 0)]
    assert held(work) == 0


def test_a_short_look_between_two_polls(work: UnitOfWork, cache: Cache) -> None:
    poll(work, cache, 0, 100, {})
    tell(work, cache, 40, 4, is_over=True)
    tell(work, cache, 7, session=OTHER, is_over=True)
    poll(work, cache, 10, 200, {})
    assert taken(work)[1:] == [(47, 4)] and held(work) == 0


def test_where_names_can_not_be_read_what_was_told_counts(work: UnitOfWork, cache: Cache) -> None:
    poll(work, cache, 0, 100)
    for at, hits in ((10, 50), (20, 90), (30, 90)):
        tell(work, cache, hits)
        poll(work, cache, at, 100 + hits)
    assert taken(work)[1:] == [(50, 0), (40, 0), (0, 0)]


def test_a_server_that_restarted_does_not_hold_them_any_more(work: UnitOfWork, cache: Cache) -> None:
    poll(work, cache, 0, 1_000, {})
    tell(work, cache, 500, is_over=True)
    poll(work, cache, 10, 100, {OTHER: (8, 0)}, run_id="b" * 40, uptime=5)
    assert taken(work)[1:] == [(8, 0)]
    poll(work, cache, 20, 200, {}, run_id="b" * 40, uptime=15)
    assert taken(work)[2:] == [(0, 0)]


def test_a_connection_that_is_not_heard_of_any_more_is_forgotten(work: UnitOfWork, cache: Cache) -> None:
    poll(work, cache, 0, 100, {})
    tell(work, cache, 50)
    tell(work, cache, 70, session=OTHER, node="10.0.0.2:6379")
    poll(work, cache, 10, 200, {})
    assert held(work) == 2
    poll(work, cache, 4_000, 300, {})
    assert held(work) == 0 and taken(work)[1:] == [(50, 0), (0, 0)]


def test_another_dashboard_on_the_same_cache_is_taken_off_as_well(work: UnitOfWork, cache: Cache) -> None:
    poll(work, cache, 0, 100, {OTHER: (10, 0)})
    poll(work, cache, 10, 200, {OTHER: (60, 0)})
    poll(work, cache, 20, 300, {})
    assert taken(work)[1:] == [(50, 0), (0, 0)]


# --- while a scan runs -----------------------------------------------------------------------------------------------

KEYS = 60_000
SHARE = 0.7
AT_ONCE = 100
WITHIN = 0.005


class Traffic:
    """GETs as fast as they are answered; so many of them hit."""

    def __init__(self, url: str) -> None:
        self.hits = self.misses = 0
        self._client = redis.Redis.from_url(url)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)
        self._client.close()

    def _run(self) -> None:
        turn = 0
        while not self._ended.is_set():
            pipe = self._client.pipeline(transaction=False)
            for number in range(AT_ONCE):
                turn += 1
                # Hits and misses take turns, so that any stretch has its share of both.
                pipe.get(f"item:{turn % KEYS}" if number * 7 % 10 < SHARE * 10 else f"none:{turn}")
            found = sum(value is not None for value in pipe.execute())
            self.hits += found
            self.misses += AT_ONCE - found
            self._ended.wait(0.005)


@pytest.mark.parametrize("server", ["valkey_url", "redis7_url"])
def test_the_hit_ratio_stays_what_the_traffic_makes_it(
    request: pytest.FixtureRequest, live_runtime: Runtime, server: str
) -> None:
    """Every interval by itself, and their sum to the last lookup."""
    runtime, url = live_runtime, str(request.getfixturevalue(server))
    cache_id = add_cache(runtime, url)
    with unit_of_work(runtime, ACTOR) as work:
        store.ensure_partitions(work.session, work.now)
        cache = caches.get_cache(work, cache_id)
    connection = runtime.fleet.open(cache_id, parse_url(url), cache.revision)
    with redis.Redis.from_url(url) as client:
        for start in range(0, KEYS, 5_000):
            client.mset({f"item:{number}": "v" for number in range(start, start + 5_000)})

    def poll_now() -> None:
        asked = polling.ask(runtime.fleet, cache, runtime.clock)
        with runtime.database.transaction() as session:
            before = store.load_state(
                session, cache_id, now=runtime.clock.now(), clock_s=runtime.clock.monotonic()
            )
            assert polling.record(session, cache, before, asked) is not None

    def note(lookups: Any) -> None:
        with unit_of_work(runtime, ACTOR) as work:
            service.record_probe_lookups(work, cache_id, lookups)

    limits: ScanLimits = replace(slowly(20_000), slowest_probe_ms=50.0)
    scanning = threading.Thread(
        target=lambda: walk(connection, Seen(), limits=limits, on_lookups=note), daemon=True
    )
    poll_now()
    with Traffic(url) as traffic:
        scanning.start()
        while scanning.is_alive():
            time.sleep(0.4)
            poll_now()
    poll_now()

    with runtime.database.transaction() as session:
        rows = session.execute(text("SELECT * FROM sample ORDER BY ts")).all()[1:]
        left = session.execute(text("SELECT count(*) FROM probe_lookups")).scalar_one()
    assert left == 0
    judged = fooled = 0
    for row in rows:
        hits, misses = row.d_keyspace_hits - row.self_hits, row.d_keyspace_misses - row.self_misses
        if hits + misses < 2_000:
            continue
        judged += 1
        assert hits / (hits + misses) == pytest.approx(SHARE, abs=WITHIN)
        naive = row.d_keyspace_hits / (row.d_keyspace_hits + row.d_keyspace_misses)
        fooled += abs(naive - SHARE) > 10 * WITHIN
    assert judged >= 3 and fooled >= 3
    assert sum(row.d_keyspace_hits - row.self_hits for row in rows) == traffic.hits
    assert sum(row.d_keyspace_misses - row.self_misses for row in rows) == traffic.misses
    with unit_of_work(runtime, ACTOR) as work:
        within = service.span(work, "15m")
        drawn = service.overview_series(work, cache_id, within, columns=("hit_ratio", "lookups")).columns
    points = [
        ratio
        for ratio, number in zip(drawn["hit_ratio"], drawn["lookups"], strict=True)
        if (number or 0) > 2_000
    ]
    assert points and points == pytest.approx([SHARE] * len(points), abs=WITHIN)
