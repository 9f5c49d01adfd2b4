"""What charts draw: levels, gaps, extremes, no traffic against no data, and live appends."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.orm import Session

from dashboard.db.session import Database
from dashboard.errors import InvalidInput
from dashboard.monitoring import rollup, series, store
from dashboard.monitoring.models import SampleRow
from dashboard.monitoring.types import Series, Span
from tests.support import history
from tests.support.history import NOW


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    with database.transaction() as session:
        yield session


def span(name: str, now: datetime = NOW) -> Span:
    return series.parse_span(now, name)


def load(session: Session, cache_id: int, within: Span, **more: Any) -> Series:
    given = {"now": NOW, "poll_interval_s": 10, "raw_hours": 48, "minute_days": 31, **more}
    return series.load(session, cache_id, within, **given)


def fill(session: Session, cache_id: int, start: datetime, end: datetime, interval_s: int = 10) -> None:
    history.ensure_partitions(session, start, end)
    history.insert_samples(session, cache_id, start, end, interval_s)


def roll_up(session: Session, cache_id: int, start: datetime) -> None:
    rollup.roll_up_minutes(session, [cache_id], start, NOW)
    rollup.roll_up_hours(session, [cache_id], start, NOW)


@pytest.mark.parametrize("interval_s", [5, 10, 45, 60, 300, 3600])
@pytest.mark.parametrize("name", list(series.RANGES))
def test_every_range_has_at_most_600_points(name: str, interval_s: int) -> None:
    within = span(name)
    level, step_s = series.choose_level(within, NOW, interval_s, raw_hours=48, minute_days=31)
    assert within.length_s / step_s <= series.MAX_POINTS
    assert {"15m": "raw", "1h": "raw", "6h": "minute", "24h": "minute", "7d": "minute", "30d": "hour"}[
        name
    ] == level
    # Shorter than two polls, a bucket would hold now one, now none.
    assert step_s == interval_s or step_s >= min(2 * interval_s, 3600)


@pytest.mark.parametrize(
    ("start", "end", "level"),
    [
        (NOW - timedelta(hours=49), NOW - timedelta(hours=48), "minute"),
        (NOW - timedelta(hours=40), NOW - timedelta(hours=39), "raw"),
        (NOW - timedelta(days=40), NOW - timedelta(days=40) + timedelta(hours=1), "hour"),
        (NOW - timedelta(days=3650), NOW, "hour"),
    ],
)
def test_a_custom_range_takes_the_level_that_is_still_kept(
    start: datetime, end: datetime, level: str
) -> None:
    within = Span(start, end, "custom", is_live=False)
    found, step_s = series.choose_level(within, NOW, 10, raw_hours=48, minute_days=31)
    assert found == level
    assert within.length_s / step_s <= series.MAX_POINTS


def test_spans_are_parsed_in_utc() -> None:
    within = series.parse_span(NOW, None, "2025-06-15T10:00:00+02:00", "2025-06-15T09:00")
    assert (within.start, within.end) == (
        datetime(2025, 6, 15, 8, tzinfo=UTC),
        datetime(2025, 6, 15, 9, tzinfo=UTC),
    )
    assert within.name == "custom" and not within.is_live
    assert series.parse_span(NOW, "1h", "2025-06-15T10:00:00Z").is_live
    assert span("7d").start == NOW - timedelta(days=7)


@pytest.mark.parametrize(
    "given",
    [
        ("2w", None, None),
        ("1h'; DROP TABLE sample", None, None),
        (None, "yesterday", None),
        (None, "2025-06-15T11:00:00", "2025-06-15T10:00:00"),
        (None, "2031-06-15T11:00:00", None),
        (None, "0001-01-01T00:00:00+14:00", None),
        (None, "2025-06-15T11:00:00", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_bad_spans_are_refused(given: tuple[str | None, str | None, str | None]) -> None:
    with pytest.raises(InvalidInput):
        series.parse_span(NOW, *given)


def test_raw_points_are_the_polls_and_an_outage_is_a_gap(session: Session) -> None:
    cache_id = history.add_cache(session)
    fill(session, cache_id, NOW - timedelta(minutes=15), NOW - timedelta(minutes=8))
    fill(session, cache_id, NOW - timedelta(minutes=5), NOW)
    found = load(session, cache_id, span("15m"))
    assert (found.level, found.step_s) == ("raw", 10)
    ratio = dict(zip(found.times, found.columns["hit_ratio"], strict=True))
    empty = [at for at, value in ratio.items() if value is None]
    assert len(ratio) - len(empty) == 42 + 30
    # The gap begins right after the last poll and ends right before the next.
    outage = NOW.timestamp() - 480, NOW.timestamp() - 300
    assert len(empty) == 2
    assert outage[0] - 10 <= empty[0] <= outage[0] + 11 and outage[1] - 11 <= empty[1] <= outage[1]
    assert list(found.times) == sorted(found.times)
    assert found.columns["lookups"][found.times.index(empty[0])] is None


def test_a_dead_tail_is_a_gap_up_to_now_and_a_late_poll_is_none(session: Session) -> None:
    cache_id = history.add_cache(session)
    fill(session, cache_id, NOW - timedelta(minutes=15), NOW - timedelta(minutes=2))
    dead = load(session, cache_id, span("15m"))
    assert dead.times[-1] == NOW.timestamp()
    assert dead.columns["used_memory_bytes"][-2:] == (None, None)
    alive = load(session, cache_id, span("15m", NOW - timedelta(minutes=2)), now=NOW - timedelta(minutes=2))
    assert None not in alive.columns["used_memory_bytes"][-60:]


@pytest.mark.parametrize("name", ["6h", "24h", "7d", "30d"])
def test_a_gap_stays_a_gap_at_every_level(session: Session, name: str) -> None:
    cache_id = history.add_cache(session)
    within = span(name)
    step_s = series.choose_level(within, NOW, 10, raw_hours=48, minute_days=31)[1]
    gap = NOW - timedelta(seconds=step_s * 30), NOW - timedelta(seconds=step_s * 25)
    start = NOW - timedelta(seconds=step_s * 60)
    fill(session, cache_id, start, gap[0], 60)
    fill(session, cache_id, gap[1], NOW, 60)
    roll_up(session, cache_id, start)
    found = load(session, cache_id, within)
    assert len(found.times) <= series.MAX_POINTS + 1
    assert {round(b - a) for a, b in zip(found.times, found.times[1:], strict=False)} == {round(step_s)}
    since = [
        value
        for at, value in zip(found.times, found.columns["hit_ratio"], strict=True)
        if at >= start.timestamp() + step_s
    ]
    assert sum(value is None for value in since) in (4, 5, 6)
    assert since[-1] is not None


def test_one_bad_poll_in_a_week_is_still_seen(session: Session) -> None:
    cache_id = history.add_cache(session)
    start = NOW - timedelta(days=7)
    fill(session, cache_id, start, NOW, 30)
    session.execute(
        text(
            "UPDATE sample SET d_keyspace_hits = 0, d_evicted_keys = 9000000, used_memory = 1"
            " WHERE ts = (SELECT min(ts) FROM sample WHERE ts > :at)"
        ),
        {"at": NOW - timedelta(days=3)},
    )
    roll_up(session, cache_id, start)
    for name in ("7d", "30d"):
        found = load(session, cache_id, span(name), poll_interval_s=30)
        assert min(value for value in found.columns["hit_ratio_min"] if value is not None) == 0
        assert min(value for value in found.columns["hit_ratio"] if value is not None) > 0.8
        assert min(value for value in found.columns["used_memory_bytes_min"] if value is not None) == 1
        most = max(value for value in found.columns["evicted_per_s_max"] if value is not None)
        assert most == pytest.approx(300_000, rel=0.01)


def test_no_traffic_is_not_no_data(session: Session) -> None:
    cache_id = history.add_cache(session)
    fill(session, cache_id, NOW - timedelta(hours=6), NOW)
    half = NOW - timedelta(hours=3)
    session.execute(
        update(SampleRow).where(SampleRow.ts >= half).values(d_keyspace_hits=0, d_keyspace_misses=0)
    )
    session.execute(text("DELETE FROM sample WHERE ts >= :at"), {"at": NOW - timedelta(hours=1)})
    roll_up(session, cache_id, NOW - timedelta(hours=6))
    found = load(session, cache_id, span("6h"))
    by_time = {
        at: (ratio, lookups, commands)
        for at, ratio, lookups, commands in zip(
            found.times,
            found.columns["hit_ratio"],
            found.columns["lookups"],
            found.columns["commands_per_s"],
            strict=True,
        )
    }
    busy, idle, dead = (by_time[(NOW - timedelta(hours=h)).timestamp()] for h in (5, 2, 0.5))
    assert busy[0] is not None and busy[1]
    assert idle[:2] == (None, 0) and idle[2]
    assert dead == (None, None, None)


def test_ratio_and_rates_come_from_sums_at_every_level(session: Session) -> None:
    cache_id = history.add_cache(session)
    start = NOW - timedelta(hours=24)
    fill(session, cache_id, start, NOW)
    # One minute of every ten is busy and misses: a mean of ratios would be far off.
    session.execute(
        text(
            "UPDATE sample SET d_keyspace_hits = 10, d_keyspace_misses = 100000"
            " WHERE extract(minute FROM ts)::int % 10 = 0"
        )
    )
    session.execute(text("UPDATE sample SET dt_s = dt_s * 2 WHERE extract(minute FROM ts)::int % 10 = 1"))
    roll_up(session, cache_id, start)
    hits, misses, time_s = session.execute(
        text("SELECT sum(d_keyspace_hits), sum(d_keyspace_misses), sum(dt_s::float8) FROM sample")
    ).one()
    minutes = load(session, cache_id, span("24h"))
    lookups = sum(value or 0 for value in minutes.columns["lookups"])
    assert lookups == hits + misses
    weighted = sum(
        (ratio or 0) * (count or 0)
        for ratio, count in zip(minutes.columns["hit_ratio"], minutes.columns["lookups"], strict=True)
    )
    assert weighted / lookups == pytest.approx(float(hits) / float(hits + misses), abs=1e-4)
    summed = session.execute(text("SELECT sum(hits), sum(dt_s) FROM rollup_hour")).one()
    assert summed[0] == hits and summed[1] == pytest.approx(time_s, rel=1e-5)


def test_appending_live_gives_what_loading_anew_would(session: Session) -> None:
    cache_id = history.add_cache(session)
    fill(session, cache_id, NOW - timedelta(hours=8), NOW)
    roll_up(session, cache_id, NOW - timedelta(hours=8))
    for name in ("15m", "1h", "6h"):
        whole = load(session, cache_id, span(name))
        known = whole.times[-7]
        tail = load(session, cache_id, span(name), since=known)
        assert tail.times == whole.times[-7:]
        assert tail.columns["hit_ratio"] == whole.columns["hit_ratio"][-7:]
    assert (
        load(session, cache_id, span("15m"), since=-1e18).times == load(session, cache_id, span("15m")).times
    )
    assert len(load(session, cache_id, span("15m"), since=1e18).times) <= 2


def test_only_the_columns_asked_for(session: Session) -> None:
    cache_id = history.add_cache(session)
    fill(session, cache_id, NOW - timedelta(minutes=15), NOW)
    assert set(load(session, cache_id, span("15m"), columns=["hit_ratio", "keys"]).columns) == {
        "hit_ratio",
        "keys",
    }


def test_events_and_outages_that_reach_into_the_span(session: Session) -> None:
    cache_id, other = history.add_cache(session), history.add_cache(session, "other")
    rows = [
        (cache_id, NOW - timedelta(hours=3), NOW - timedelta(hours=2), "down"),
        (cache_id, NOW - timedelta(hours=3), NOW - timedelta(minutes=50), "down"),
        (cache_id, NOW - timedelta(minutes=20), None, "restart"),
        (cache_id, NOW - timedelta(hours=5), None, "restart"),
        (cache_id, NOW - timedelta(minutes=5), None, "down"),
        (other, NOW - timedelta(minutes=5), None, "flush"),
    ]
    for row in rows:
        session.execute(
            text("INSERT INTO cache_event (cache_id, ts, until, kind) VALUES (:a, :b, :c, :d)"),
            dict(zip("abcd", row, strict=True)),
        )
    found = load(session, cache_id, span("1h")).events
    assert [(event.kind, event.until is None) for event in found] == [
        ("down", False),
        ("restart", True),
        ("down", True),
    ]


def test_an_unknown_cache_has_an_empty_chart_not_an_error(session: Session) -> None:
    store.ensure_partitions(session, NOW)
    found = load(session, 4711, span("1h"))
    assert set(found.columns["hit_ratio"]) == {None}


def test_samples_of_nodes_at_one_moment_are_one_point(session: Session) -> None:
    cache_id = history.add_cache(session)
    store.ensure_partitions(session, NOW)
    at = NOW - timedelta(seconds=30)
    base = {
        "cache_id": cache_id,
        "ts": at,
        "self_hits": 0,
        "self_misses": 0,
        "dt_s": 10,
        "round_trip_s": 0.001,
        "flags": 0,
        "nodes_expected": 2,
    }
    session.execute(
        insert(SampleRow),
        [
            {**base, "node_run_id": 1, "d_keyspace_hits": 900, "d_keyspace_misses": 100, "used_memory": 10},
            {**base, "node_run_id": 2, "d_keyspace_hits": 0, "d_keyspace_misses": 9000, "used_memory": 20},
        ],
    )
    found = load(session, cache_id, span("15m"))
    at_s = found.times.index(at.timestamp())
    assert found.columns["hit_ratio"][at_s] == 0.09
    assert found.columns["used_memory_bytes"][at_s] == 30
    assert found.columns["hits_per_s"][at_s] == 90
