"""A real timeline, polled into the database and read back as a chart: it follows, without spikes or invented zeros."""

import itertools
import json
import lzma
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.errors import CacheUnavailable
from dashboard.fleet.commands import PollReply
from dashboard.monitoring import polling, rollup, series, store
from dashboard.monitoring.info import parse_info, read
from dashboard.monitoring.polling import Answer, Round
from dashboard.monitoring.types import Series, Span
from dashboard.work import Runtime, UnitOfWork, unit_of_work
from tests.support import history
from tests.support.shared import shared_data

REPLAY = "info/replay/redis-7.4.1-allkeys-lru-16mb.jsonl.xz"
ACTOR = Actor(None, "test", Role.ADMIN, "cli")


@pytest.fixture
def timeline() -> list[dict[str, Any]]:
    folder = shared_data()
    if folder is None or not (folder / REPLAY).exists():
        pytest.skip("the recorded timeline is not beside the checkout")
    with lzma.open(folder / REPLAY, "rt") as lines:
        return [json.loads(line) for line in lines]


@pytest.fixture
def work(runtime: Runtime) -> Iterator[UnitOfWork]:
    with unit_of_work(runtime, ACTOR) as work:
        yield work


def when(row: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(row["t"], UTC)


def replay(work: UnitOfWork, timeline: list[dict[str, Any]]) -> int:
    """Poll as the recording says; between any two polls the worker is another process. The cache's id."""
    start = when(timeline[0])
    store.ensure_partitions(work.session, start)
    cache_id = history.add_cache(
        work.session, url=work.cipher.encrypt("redis://10.0.0.1"), poll_interval_s=5, created_at=start
    )
    cache = caches.get_cache(work, cache_id)
    for number, row in enumerate(timeline):
        at, clock_s = when(row), 1000.0 * number
        before = store.load_state(work.session, cache_id, now=at, clock_s=clock_s)
        if row["info"]:
            reply = PollReply("10.0.0.1:6379", row["info"], [], 0, [], 0.001, at, clock_s)
            asked = Round((Answer(reply, read(parse_info(row["info"]), at, clock_s)),), 1, None)
            assert polling.record(work.session, cache, before, asked) is not None
        else:
            error = CacheUnavailable("It refuses connections.")
            assert polling.record_failure(work.session, cache, before, error, at) is not None
    rollup.roll_up_minutes(work.session, [cache_id], start, when(timeline[-1]) + timedelta(minutes=1))
    return cache_id


def chart(work: UnitOfWork, cache_id: int, timeline: list[dict[str, Any]], *, raw_hours: int = 48) -> Series:
    end = when(timeline[-1])
    return series.load(
        work.session,
        cache_id,
        Span(when(timeline[0]), end, "custom", is_live=False),
        now=end,
        poll_interval_s=5,
        raw_hours=raw_hours,
        minute_days=31,
    )


def test_the_chart_follows_a_real_incident(work: UnitOfWork, timeline: list[dict[str, Any]]) -> None:
    cache_id = replay(work, timeline)
    found = chart(work, cache_id, timeline)
    assert found.level == "raw"
    for name, column in found.columns.items():
        assert all(value is None or value >= 0 for value in column), name
    known = [value for value in found.columns["commands_per_s"] if value is not None]
    # The client really caught up after the restart, 13,647 commands within 0.66 s; lifetimes would be millions.
    assert max(known) == pytest.approx(13_647 / 0.656913, rel=0.01)
    assert sorted(known)[-2] < 2 * sorted(known)[len(known) // 2]
    ratios = [value for value in found.columns["hit_ratio"] if value is not None]
    assert len(ratios) > 80 and min(ratios) > 0.3 and max(ratios) < 1
    # While nobody polled there is nothing: no line, no zero.
    gaps = [
        (before, after) for before, after in itertools.pairwise(timeline) if after["t"] - before["t"] > 20
    ]
    assert gaps
    for before, after in gaps:
        inside = [at for at in found.times if before["t"] + 0.01 < at < after["t"] - 0.01]
        assert inside
        assert {found.columns["hit_ratio"][found.times.index(at)] for at in inside} == {None}


def test_its_events_are_marked_and_none_is_invented(work: UnitOfWork, timeline: list[dict[str, Any]]) -> None:
    cache_id = replay(work, timeline)
    found = chart(work, cache_id, timeline).events
    wanted = {row["event"].partition("|")[0]: row["t"] for row in timeline if row["event"]}
    times = {event.kind: event.at.timestamp() for event in found}
    assert times["resetstat"] == pytest.approx(wanted["resetstat"], abs=6)
    assert times["restart"] == pytest.approx(wanted["restart"], abs=12)
    assert times["flush"] == pytest.approx(wanted["flushall"], abs=12)
    kinds = [event.kind for event in found]
    assert kinds.count("restart") == kinds.count("resetstat") == kinds.count("flush") == 1
    assert kinds.count("down") == 1
    assert not set(kinds) & {"switch", "failover"}


def test_minutes_add_up_to_the_polls(work: UnitOfWork, timeline: list[dict[str, Any]]) -> None:
    cache_id = replay(work, timeline)
    raw = work.session.execute(
        text("SELECT sum(d_keyspace_hits), sum(d_keyspace_misses), sum(d_evicted_keys) FROM sample")
    ).one()
    made = work.session.execute(text("SELECT sum(hits), sum(misses), sum(evicted) FROM rollup_minute")).one()
    assert tuple(raw) == tuple(made)
    # The lifetime counters hide what the windows show.
    minutes = chart(work, cache_id, timeline, raw_hours=0)
    assert minutes.level == "minute"
    lows = [value for value in minutes.columns["hit_ratio_min"] if value is not None]
    means = [value for value in minutes.columns["hit_ratio"] if value is not None]
    assert min(lows) < min(means) < max(means)
