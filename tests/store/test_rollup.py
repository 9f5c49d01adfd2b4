"""Rollups against a reference in plain Python, retention by partitions, and what a month costs."""

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from dashboard.db.session import Database
from dashboard.monitoring import rollup, series, store, windows
from dashboard.monitoring.models import SampleRow
from dashboard.monitoring.types import Flag
from tests.support import history
from tests.support.history import NOW, one

START = NOW - timedelta(hours=2)


@pytest.fixture
def session(database: Database) -> Any:
    with database.transaction() as session:
        yield session


def random_samples(
    rng: random.Random, cache_id: int, nodes: int, *, reports: bool = True, hours: float = 2.0
) -> list[dict[str, Any]]:
    """Polls of several nodes with what goes wrong in life: gaps, silent nodes, unknown differences."""
    rows = []
    at = START + timedelta(seconds=rng.random())
    while at < START + timedelta(hours=hours):
        at += timedelta(seconds=10 + rng.uniform(-0.2, 0.2))
        if rng.random() < 0.01:
            at += timedelta(minutes=rng.choice((1, 3, 20)))
        for node in range(nodes):
            if nodes > 1 and rng.random() < 0.05:
                continue
            row: dict[str, Any] = {
                "cache_id": cache_id,
                "ts": at,
                "node_run_id": node + 1,
                "dt_s": rng.choice((10.0, 10.25, 9.5)),
                "flags": rng.choice((0, 0, 0, 128)),
                "nodes_expected": nodes,
                "self_hits": rng.choice((0, 0, 7)),
                "self_misses": rng.choice((0, 0, 3)),
                "round_trip_s": rng.choice((0.25, 0.5, 0.125)),
                "connected_clients": rng.randint(0, 50),
                "blocked_clients": rng.choice((None, 0, 2)),
                "used_memory": rng.randint(10**8, 10**9),
                "used_memory_rss": rng.randint(10**8, 10**9),
                "maxmemory": 2**30,
                "keys": rng.randint(0, 10**6),
                "expires": rng.randint(0, 10**6),
                "mem_fragmentation_ratio": rng.choice((1.5, 1.25, None)),
            }
            if rng.random() < 0.1:
                row |= {"flags": 32, "dt_s": rng.choice((30.5, 75.0, 1860.0))}
            is_known = rng.random() > 0.05
            for counter in store.STORED_COUNTERS:
                row[counter] = rng.randint(0, 10**12)
            for counter in store.STORED_GROWTH:
                row[f"d_{counter}"] = rng.choice((0, 5, 40, 4000, None)) if is_known else None
            if not is_known:
                row["dt_s"] = None
            if not reports:
                row["d_keyspace_hits"] = row["keyspace_hits"] = None
            rows.append(row)
    return [row for row in rows if row["ts"] < NOW]


def add(values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def best(choose: Any, values: Sequence[Any]) -> Any:
    known = [value for value in values if value is not None]
    return choose(known) if known else None


def reference(rows: list[dict[str, Any]], seconds: int) -> dict[tuple[int, datetime], dict[str, Any]]:
    """What the rollups promise, straight from their description: per poll over nodes, then per bucket over polls."""
    polls: dict[tuple[int, datetime], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        polls[row["cache_id"], row["ts"]].append(row)
    buckets: dict[tuple[int, datetime], list[dict[str, Any]]] = defaultdict(list)
    for (cache_id, ts), nodes in sorted(polls.items()):
        steady = best(max, [node["dt_s"] for node in nodes if not node["flags"] & Flag.GAP])
        back = [node["dt_s"] for node in nodes if node["flags"] & Flag.GAP and node["dt_s"] is not None]
        poll: dict[str, Any] = {"dt_s": best(max, back) if steady is None else steady}
        late_s = 0.0 if steady is None else sum(each - steady for each in back) / nodes[0]["nodes_expected"]
        rate_s = None if poll["dt_s"] is None else poll["dt_s"] + max(late_s, 0)
        for name, counter in rollup.SUMS.items():
            poll[name] = add([node[f"d_{counter}"] for node in nodes])
        paired = [node for node in nodes if None not in (node["d_keyspace_hits"], node["d_keyspace_misses"])]
        for name in ("hits", "misses"):
            gross = add([node[f"d_keyspace_{name}"] for node in paired])
            poll[name] = (
                None if gross is None else max(0, gross - sum(node[f"self_{name}"] for node in paired))
            )
        poll["is_complete"] = len(nodes) >= nodes[0]["nodes_expected"]
        for name in ("used_memory", "maxmemory", "keys", "expires"):
            poll[name] = add([node[name] for node in nodes]) if poll["is_complete"] else None
        poll["clients"] = add([node["connected_clients"] for node in nodes]) if poll["is_complete"] else None
        poll["round_trip"] = (
            best(max, [node["round_trip_s"] for node in nodes]) if poll["is_complete"] else None
        )
        lookups = None if poll["hits"] is None or poll["misses"] is None else poll["hits"] + poll["misses"]
        poll["ratio"] = (
            poll["hits"] / lookups if lookups is not None and lookups >= rollup.MIN_LOOKUPS else None
        )
        for name in ("commands", "misses", "evicted", "net_output_bytes"):
            poll[f"{name}_rate"] = poll[name] / rate_s if rate_s and poll[name] is not None else None
        poll["flags"] = 0
        for node in nodes:
            poll["flags"] |= node["flags"]
        epoch = ts.timestamp() // seconds * seconds
        buckets[cache_id, datetime.fromtimestamp(epoch, UTC)].append(poll)
    made = {}
    for key, members in buckets.items():
        complete = [poll for poll in members if poll["is_complete"]]
        row = {name: add([poll[name] for poll in members]) for name in ("hits", "misses", *rollup.SUMS)}
        row["dt_s"] = add([poll["dt_s"] for poll in members])
        row["polls"], row["polls_complete"] = len(members), len(complete)
        row["flags"] = 0
        for poll in members:
            row["flags"] |= poll["flags"]
        for name in ("used_memory", "maxmemory", "keys", "expires"):
            row[f"{name}_last"] = complete[-1][name] if complete else None
        for name in ("used_memory", "clients", "round_trip"):
            row[f"{name}_avg"] = sum(poll[name] for poll in complete) / len(complete) if complete else None
            row[f"{name}_max"] = best(max, [poll[name] for poll in complete])
        row["used_memory_min"] = best(min, [poll["used_memory"] for poll in complete])
        row["ratio_min"] = best(min, [poll["ratio"] for poll in members])
        row["ratio_max"] = best(max, [poll["ratio"] for poll in members])
        row["commands_rate_min"] = best(min, [poll["commands_rate"] for poll in members])
        for name, source in (
            ("commands_rate_max", "commands_rate"),
            ("misses_rate_max", "misses_rate"),
            ("evicted_rate_max", "evicted_rate"),
            ("net_output_rate_max", "net_output_bytes_rate"),
        ):
            row[name] = best(max, [poll[source] for poll in members])
        made[key] = row
    return made


def stored(session: Session, table: str) -> dict[tuple[int, datetime], dict[str, Any]]:
    rows = session.execute(text(f"SELECT * FROM {table}")).mappings()
    return {(row["cache_id"], row["bucket"]): dict(row) for row in rows}


def assert_same(found: dict[Any, dict[str, Any]], wanted: dict[Any, dict[str, Any]]) -> None:
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        for name, value in row.items():
            # Gauges are single precision: seven digits.
            assert found[key][name] == (value if value is None else pytest.approx(value, rel=1e-6)), (
                key,
                name,
            )


def load(session: Session, rows: list[dict[str, Any]]) -> None:
    history.ensure_partitions(session, START, NOW)
    session.execute(insert(SampleRow), rows)


@pytest.mark.parametrize("seed", range(3))
def test_minutes_and_hours_are_what_the_reference_says(session: Session, seed: int) -> None:
    rng = random.Random(seed)
    alone, cluster, silent = (history.add_cache(session, name) for name in ("alone", "cluster", "silent"))
    rows = (
        random_samples(rng, alone, 1)
        + random_samples(rng, cluster, 3)
        + random_samples(rng, silent, 1, reports=False)
    )
    rng.shuffle(rows)
    load(session, rows)
    store.beat(session, "test", NOW, is_new=True)

    rollup.roll_up(session, NOW)

    assert_same(stored(session, "rollup_minute"), reference(rows, 60))
    hours = reference(rows, 3600)
    assert_same(stored(session, "rollup_hour"), hours)
    assert any(row["hits"] is None for (cache_id, _), row in hours.items() if cache_id == silent)


def test_rolling_up_again_changes_nothing_and_leaves_no_dead_rows(session: Session) -> None:
    cache_id = history.add_cache(session)
    load(session, random_samples(random.Random(1), cache_id, 2))
    first = rollup.roll_up_minutes(session, [cache_id], START, NOW)
    assert first > 60
    rollup.roll_up_hours(session, [cache_id], START, NOW)
    before = stored(session, "rollup_minute"), stored(session, "rollup_hour")

    assert rollup.roll_up_minutes(session, [cache_id], START, NOW) == 0
    assert rollup.roll_up_hours(session, [cache_id], START, NOW) == 0
    assert (stored(session, "rollup_minute"), stored(session, "rollup_hour")) == before


def test_late_samples_are_taken_in(session: Session) -> None:
    cache_id = history.add_cache(session)
    rows = random_samples(random.Random(4), cache_id, 1)
    late = [row for row in rows if row["ts"] > NOW - timedelta(seconds=90)]
    assert late
    load(session, [row for row in rows if row not in late])
    store.beat(session, "test", NOW, is_new=True)
    rollup.roll_up(session, NOW)

    session.execute(insert(SampleRow), late)
    rollup.roll_up(session, NOW + timedelta(seconds=10))

    assert_same(stored(session, "rollup_minute"), reference(rows, 60))
    assert_same(stored(session, "rollup_hour"), reference(rows, 3600))


def test_it_catches_up_after_a_day_without_a_worker(session: Session) -> None:
    cache_id = history.add_cache(session)
    history.ensure_partitions(session, NOW - timedelta(days=2), NOW)
    store.beat(session, "test", NOW - timedelta(days=1), is_new=True)
    history.insert_samples(session, cache_id, NOW - timedelta(days=1, hours=1), NOW - timedelta(days=1))
    rollup.roll_up(session, NOW - timedelta(days=1))
    history.insert_samples(session, cache_id, NOW - timedelta(days=1), NOW)
    rollup.roll_up(session, NOW)

    assert one(session, "SELECT count(*) FROM rollup_minute") == 25 * 60
    assert one(session, "SELECT sum(polls) FROM rollup_hour") == 25 * 360
    assert one(session, "SELECT sum(hits) FROM rollup_hour") == one(
        session, "SELECT sum(d_keyspace_hits) FROM sample"
    )


def two_nodes(cache_id: int, silent: tuple[datetime, datetime], **values: Any) -> list[dict[str, Any]]:
    """Two nodes at 1,000 commands and 100 hits a second each, polled every 10 s; one falls silent for a while."""
    rows = []
    for node in (1, 2):
        heard = START
        for turn in range(1, 2 * 360 + 1):
            at = START + timedelta(seconds=10 * turn)
            if node == 2 and silent[0] < at < silent[1]:
                continue
            seconds = (at - heard).total_seconds()
            rows.append(
                {
                    "cache_id": cache_id,
                    "ts": at,
                    "node_run_id": node,
                    "dt_s": seconds,
                    "flags": int(Flag.GAP) if seconds > 25 else 0,
                    "nodes_expected": 2,
                    "self_hits": 0,
                    "self_misses": 0,
                    "round_trip_s": 0.001,
                    "d_total_commands_processed": round(1000 * seconds),
                    "d_keyspace_hits": round(100 * seconds),
                    "d_keyspace_misses": 0,
                    **values,
                }
            )
            heard = at
    return [row for row in rows if row["ts"] < NOW]


@pytest.mark.parametrize(
    "begins_min", [15, 45, 90], ids=["within an hour", "over the hour", "in the last hour"]
)
def test_a_node_that_comes_back_leaves_the_rates_as_they_were(session: Session, begins_min: int) -> None:
    cache_id = history.add_cache(session)
    away_from = START + timedelta(minutes=begins_min)
    back_at = away_from + timedelta(minutes=29, seconds=30)
    rows = two_nodes(cache_id, (away_from, back_at))
    load(session, rows)
    store.beat(session, "test", NOW, is_new=True)
    rollup.roll_up(session, NOW)

    def rates(level: str, step_s: int) -> dict[datetime, float]:
        bucket = f"date_bin('{step_s} seconds', at, timestamptz 'epoch')"
        made = store.fetch(
            session,
            f"SELECT bucket, {series.EXPRESSIONS['commands_per_s']} AS rate FROM"
            f" ({rollup.aggregate(level, bucket)}) AS made ORDER BY bucket",
            cache_ids=[cache_id],
            start=START,
            end=NOW,
        )
        return {row.bucket: row.rate for row in made}

    assert one(session, "SELECT sum(commands) FROM rollup_hour") == sum(
        row["d_total_commands_processed"] for row in rows
    )
    minutes = rates("minute", 60)
    return_at = back_at.replace(second=0)
    assert minutes[return_at] == pytest.approx(2000, rel=0.01)
    silent = [rate for at, rate in minutes.items() if away_from < at < return_at - timedelta(minutes=1)]
    assert silent and set(map(round, silent)) == {1000}
    for level, step_s in (("raw", 60), ("raw", 300), ("minute", 1200), ("minute", 3600), ("hour", 3600)):
        found = rates(level, step_s)
        assert max(found.values()) < 2060, (level, step_s)
    hours = rates("hour", 3600)
    assert hours == pytest.approx(rates("minute", 3600), rel=1e-5)
    # An hour that the whole silence lies in is known whole.
    whole = [rate for at, rate in hours.items() if at <= away_from and return_at < at + timedelta(hours=1)]
    assert whole == pytest.approx([2000] * len(whole), rel=0.01)
    assert len(whole) == (0 if begins_min == 45 else 1)
    # A minute covers a minute, an hour an hour.
    assert one(session, "SELECT max(dt_s) FROM rollup_minute") <= 60.01
    assert one(session, "SELECT max(dt_s) FROM rollup_hour") <= 3600.1
    assert one(session, "SELECT max(commands_rate_max) FROM rollup_hour") == pytest.approx(2000, rel=0.01)


def test_counters_that_no_sum_can_hold_stop_nobody(session: Session) -> None:
    """What a server claimed and an earlier release stored as it was."""
    hostile, shop = history.add_cache(session, "hostile"), history.add_cache(session)
    most = 2**63 - 1
    huge = {f"d_{name}": most for name in store.STORED_GROWTH} | {"used_memory": most, "maxmemory": most}
    load(session, two_nodes(hostile, (NOW, NOW), **huge) + random_samples(random.Random(1), shop, 2))
    store.beat(session, "test", NOW, is_new=True)

    assert rollup.roll_up(session, NOW) == {}

    assert one(session, "SELECT max(hits) FROM rollup_hour WHERE cache_id = :id", id=hostile) == rollup.MOST
    assert one(session, "SELECT count(*) FROM rollup_hour WHERE cache_id = :id", id=shop) == 2
    for start in (NOW - timedelta(hours=1), NOW - timedelta(days=30)):
        found = windows.over_span(session, hostile, start, NOW, 0.8, from_hours=start < START)
        assert found.window.lookups
    assert (windows.recent(session, [hostile, shop], NOW)[hostile].window.evicted_keys or 0) >= rollup.MOST
    assert windows.sparks(session, [hostile], NOW)
    for name in ("15m", "6h", "30d"):
        given = {"now": NOW, "poll_interval_s": 10, "raw_hours": 48, "minute_days": 31}
        series.load(session, hostile, series.parse_span(NOW, name), **given)


def test_one_caches_broken_numbers_hold_up_neither_the_others_nor_retention(session: Session) -> None:
    broken, shop = history.add_cache(session, "broken"), history.add_cache(session)
    rows = random_samples(random.Random(1), shop, 1)
    # A rate that no column can hold.
    load(session, rows + two_nodes(broken, (NOW, NOW), dt_s=1e-36))
    store.beat(session, "test", NOW, is_new=True)

    failed = rollup.roll_up(session, NOW)

    assert failed.keys() == {broken} and "out of range" in failed[broken]
    assert_same(stored(session, "rollup_minute"), reference(rows, 60))
    assert_same(stored(session, "rollup_hour"), reference(rows, 3600))
    worker = store.worker_state(session)
    assert worker is not None and worker.minutes_until == worker.hours_until == NOW
    later = NOW + timedelta(days=4)
    rollup.roll_up(session, later)
    rollup.drop_old(session, later, raw_hours=48, minute_days=31, hour_days=730)
    assert one(session, "SELECT count(*) FROM sample") == 0


def test_after_a_gap_the_window_of_verdicts_is_about_its_own_minutes(session: Session) -> None:
    cache_id = history.add_cache(session)
    history.ensure_partitions(session, START, NOW)
    history.insert_samples(session, cache_id, NOW - timedelta(minutes=1), NOW)
    # Two hours without a poll, then six; the first of them brings what grew since.
    session.execute(
        text(
            "UPDATE sample SET flags = 32, dt_s = 7200, d_keyspace_hits = 2175000, d_rejected_connections = 7"
            " WHERE ts = (SELECT min(ts) FROM sample)"
        )
    )
    rollup.roll_up_minutes(session, [cache_id], START, NOW)
    rollup.roll_up_hours(session, [cache_id], START, NOW)
    window = windows.recent(session, [cache_id], NOW)[cache_id].window
    # Its data begins after the gap: it is short, not full of holes.
    assert window.covered_s <= 60 and window.length_s <= 60
    assert not window.rejected_connections and (window.hits or 0) < 1_000_000
    for hours, from_hours in ((1, False), (1, True)):
        found = windows.over_span(
            session, cache_id, NOW - timedelta(hours=hours), NOW, 0.8, from_hours=from_hours
        ).window
        assert found.rejected_connections is None and found.covered_s <= 60
    # A span that holds the whole gap holds its growth, and no more time than was measured.
    day = windows.over_span(session, cache_id, NOW - timedelta(hours=24), NOW, 0.8, from_hours=False).window
    assert day.rejected_connections == 7 and day.covered_s <= 60


def test_the_reset_of_one_node_is_no_dip_of_the_cache(session: Session) -> None:
    cache_id = history.add_cache(session)
    history.ensure_partitions(session, START, NOW)
    history.insert_samples(session, cache_id, NOW - timedelta(minutes=1), NOW)
    session.execute(text("UPDATE sample SET dt_s = 10, d_total_commands_processed = 1100, d_errors_oom = 0"))
    session.execute(
        text(
            "UPDATE sample SET flags = 16, d_total_commands_processed = 400, d_errors_oom = 2"
            " WHERE ts = (SELECT max(ts) FROM sample)"
        )
    )
    rollup.roll_up_minutes(session, [cache_id], START, NOW)
    minute = session.execute(
        text("SELECT commands / dt_s AS rate, commands_rate_min, errors_oom FROM rollup_minute")
    )
    assert tuple(minute.one()) == (110, 110, 2)
    window = windows.recent(session, [cache_id], NOW)[cache_id].window
    assert (window.errors_oom, window.covered_s) == (2, 50)


def test_long_intervals_are_no_gaps(session: Session) -> None:
    cache_id = history.add_cache(session, poll_interval_s=300)
    history.ensure_partitions(session, START, NOW)
    history.insert_samples(session, cache_id, START, NOW, 300)
    rollup.roll_up_minutes(session, [cache_id], START, NOW)
    recent = windows.recent(session, [cache_id], NOW, longest_interval_s=300)[cache_id]
    assert recent.window.coverage > 0.99 and recent.before.coverage > 0.99
    assert recent.evicted_per_s


def test_a_removed_cache_is_not_rolled_up_and_leaves_with_the_partitions(session: Session) -> None:
    cache_id = history.add_cache(session)
    load(session, random_samples(random.Random(3), cache_id, 1))
    rollup.roll_up_minutes(session, [cache_id], START, NOW - timedelta(minutes=30))
    session.execute(text("DELETE FROM cache"))

    assert rollup.roll_up_minutes(session, [cache_id], START, NOW) == 0
    assert one(session, "SELECT count(*) FROM poll_state") == 0
    assert one(session, "SELECT count(*) FROM rollup_minute") > 0
    assert store.delete_orphans(session) > 60
    assert (
        one(session, "SELECT (SELECT count(*) FROM rollup_minute) + (SELECT count(*) FROM rollup_hour)") == 0
    )
    assert store.delete_orphans(session) == 0
    store.drop_partitions(session, "sample", NOW + timedelta(days=9))
    assert one(session, "SELECT count(*) FROM sample") == 0


def test_retention_drops_whole_partitions_and_only_what_is_rolled_up(session: Session) -> None:
    cache_id = history.add_cache(session)
    history.ensure_partitions(session, NOW - timedelta(days=6), NOW)
    for day in range(6):
        history.insert_samples(
            session, cache_id, NOW - timedelta(days=day + 1), NOW - timedelta(days=day), 600
        )
    store.beat(session, "test", NOW, is_new=True)

    def keep() -> list[str]:
        return rollup.drop_old(session, NOW, raw_hours=48, minute_days=31, hour_days=730)

    assert keep() == []  # nothing was rolled up yet: nothing may go
    rollup.roll_up(session, NOW)
    dropped = keep()

    assert "sample_p20250612" in dropped
    oldest = one(session, "SELECT min(ts) FROM sample")
    assert datetime(2025, 6, 13, tzinfo=UTC) <= oldest <= NOW - timedelta(hours=48)
    assert one(session, "SELECT count(*) FROM rollup_minute") == 6 * 144
    assert keep() == []
    later = NOW + timedelta(days=40)
    store.ensure_partitions(session, later)
    assert rollup.drop_old(session, later, raw_hours=48, minute_days=31, hour_days=730)
    ahead = store.partitions(session, "sample")
    assert f"sample_p{later + timedelta(days=2):%Y%m%d}" in ahead


def test_retention_takes_what_removed_caches_left(session: Session) -> None:
    gone, shop = history.add_cache(session, "gone"), history.add_cache(session)
    load(session, random_samples(random.Random(5), gone, 1) + random_samples(random.Random(6), shop, 1))
    store.beat(session, "test", NOW, is_new=True)
    rollup.roll_up(session, NOW)
    session.execute(text("DELETE FROM cache WHERE id = :id"), {"id": gone})
    rollup.drop_old(session, NOW, raw_hours=48, minute_days=31, hour_days=730)
    for table in ("rollup_minute", "rollup_hour"):
        assert one(session, f"SELECT array_agg(DISTINCT cache_id) FROM {table}") == [shop]


def test_a_clock_far_ahead_costs_no_history(session: Session) -> None:
    real_now = one(session, "SELECT now()")
    cache_id = history.add_cache(session)
    store.ensure_partitions(session, real_now)
    history.insert_samples(session, cache_id, real_now - timedelta(hours=1), real_now)
    store.beat(session, "test", real_now, is_new=True)
    store.set_watermark(session, "minutes_until", real_now + timedelta(days=5000))
    store.set_watermark(session, "hours_until", real_now + timedelta(days=5000))

    rollup.drop_old(session, real_now + timedelta(days=5000), raw_hours=48, minute_days=31, hour_days=730)

    assert one(session, "SELECT count(*) FROM sample") == 360


def test_a_sample_of_an_unexpected_day_finds_its_partition(session: Session) -> None:
    for at in (datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(2071, 1, 1, tzinfo=UTC)):
        store.ensure_partitions(session, at)
        for table in store.PARTITION_DAYS:
            ranges = store.partitions(session, table).values()
            assert any(start <= at < end for start, end in ranges)


def test_a_month_of_one_cache_stays_under_25_mb(
    session: Session, record_property: Callable[[str, object], None]
) -> None:
    cache_id = history.add_cache(session)
    start, end = NOW - timedelta(days=30), NOW.replace(hour=23, minute=59, second=59)
    history.ensure_partitions(session, start, end)
    store.beat(session, "test", start, is_new=True)
    # The plan that takes the rows in no order: which one is chosen hangs on statistics.
    for method in ("sort", "incremental_sort", "indexscan", "bitmapscan"):
        session.execute(text(f"SET LOCAL enable_{method} = off"))
    empty = sum(history.total_size(session).values())
    day = start
    while day < end:
        until = min(day + timedelta(days=1), end)
        history.insert_samples(session, cache_id, day, until)
        history.insert_command_samples(session, cache_id, day, until)
        rollup.roll_up(session, until)
        store.ensure_partitions(session, until)
        rollup.drop_old(session, until, raw_hours=48, minute_days=31, hour_days=730)
        day = until

    # Measured at the worst moment: a day's partition is about to be over, nearly 72 hours are kept.
    sizes = history.total_size(session)
    total = sum(sizes.values())
    shown = ", ".join(f"{table} {size / 2**20:.1f}" for table, size in sizes.items())
    record_property("bytes", total)
    assert one(session, "SELECT count(*) FROM rollup_minute") >= 30 * 1440
    assert one(session, "SELECT count(*) FROM sample") > 48 * 360
    assert total < 25 * 10**6, (
        f"{total / 2**20:.1f} MB: {shown}, of which empty partitions {empty / 2**20:.1f}"
    )
