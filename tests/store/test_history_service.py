"""Operators' questions, answered from a history whose numbers are known."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text

from dashboard.access import Actor, Role
from dashboard.errors import NotFound
from dashboard.monitoring import rollup, service, store
from dashboard.work import Runtime, UnitOfWork, unit_of_work
from tests.support import history

ACTOR = Actor(None, "test", Role.VIEWER, "cli")


@pytest.fixture
def work(runtime: Runtime) -> Iterator[UnitOfWork]:
    with unit_of_work(runtime, ACTOR) as work:
        yield work


def fill(work: UnitOfWork, hours: float, *, interval_s: int = 10) -> int:
    """A cache with ``hours`` of samples: 900 hits and 100 misses per poll."""
    cache_id = history.add_cache(
        work.session,
        url=work.cipher.encrypt("redis://10.0.0.1"),
        poll_interval_s=interval_s,
        created_at=work.now - timedelta(hours=hours),
    )
    work.session.execute(
        text(
            "INSERT INTO poll_state (cache_id, poll_interval_s, last_success_at, used_memory, maxmemory)"
            " VALUES (:id, :interval, :at, 7, 9)"
        ),
        {"id": cache_id, "interval": interval_s, "at": work.now},
    )
    start = work.now - timedelta(hours=hours)
    history.ensure_partitions(work.session, start, work.now)
    history.insert_samples(work.session, cache_id, start, work.now, interval_s)
    work.session.execute(
        text(
            f"UPDATE sample SET d_keyspace_hits = 900, d_keyspace_misses = 100, d_evicted_keys = 0, dt_s = {interval_s}"
        )
    )
    return cache_id


def change(work: UnitOfWork, values: str, from_minutes: float, to_minutes: float = 0) -> None:
    """Set columns of the samples between so many minutes ago and so many."""
    work.session.execute(
        text(f"UPDATE sample SET {values} WHERE ts >= :a AND ts < :b"),
        {"a": work.now - timedelta(minutes=from_minutes), "b": work.now - timedelta(minutes=to_minutes)},
    )


def roll_up(work: UnitOfWork, cache_id: int, hours: float) -> None:
    start = work.now - timedelta(hours=hours)
    rollup.roll_up_minutes(work.session, [cache_id], start, work.now)
    rollup.roll_up_hours(work.session, [cache_id], start, work.now)


def test_the_summary_of_a_span(work: UnitOfWork) -> None:
    cache_id = fill(work, 2)
    change(work, "d_keyspace_hits = 500, d_keyspace_misses = 500", 40, 30)
    change(work, "d_keyspace_hits = 0, d_keyspace_misses = 0", 20, 15)
    change(work, "d_evicted_keys = 30", 12)
    roll_up(work, cache_id, 2)
    found = service.summary(work, cache_id, service.span(work, "1h"))
    polls = 60 * 6
    assert found.window.lookups == (polls - 30) * 1000
    assert found.window.hits == (polls - 30 - 60) * 900 + 60 * 500
    assert found.window.covered_s == pytest.approx(3600)
    assert (found.minutes_known, found.minutes_below_target) == (55, 10)
    assert found.ratio_min == 0.5
    assert found.rates["hits_per_s"] == 90 and found.rates["evicted_per_s"] == 3
    assert (found.used_memory_bytes, found.maxmemory_bytes) == (7, 9)
    assert found.evicting_since == work.now - timedelta(minutes=12)
    assert found.as_of == work.now


def test_a_long_span_is_summed_from_hours(work: UnitOfWork) -> None:
    cache_id = fill(work, 24 * 20, interval_s=300)
    change(work, "d_keyspace_hits = 100, d_keyspace_misses = 900", 60 * 24 * 9, 60 * 24 * 9 - 180)
    roll_up(work, cache_id, 24 * 20)
    found = service.summary(work, cache_id, service.span(work, "30d"))
    assert found.window.lookups == 20 * 288 * 1000
    assert (found.minutes_known, found.minutes_below_target) == (20 * 288, 180 // 5)
    assert found.evicting_since is None


def test_a_cache_without_a_poll_has_no_numbers_and_no_error(work: UnitOfWork) -> None:
    store.ensure_partitions(work.session, work.now)
    cache_id = history.add_cache(
        work.session, url=work.cipher.encrypt("redis://10.0.0.1"), created_at=work.now
    )
    found = service.summary(work, cache_id, service.span(work, "1h"))
    assert found.as_of is None and found.window.lookups is None
    assert service.poll_status(work, cache_id).last_attempt_at is None
    assert service.fleet_status(work)[cache_id].kind == "unknown"
    assert service.commands_page(work, cache_id).rows == ()
    assert service.worker_status(work) is None and service.worker_heartbeat(work) is None


def test_windows_of_verdicts_end_where_the_next_begins(work: UnitOfWork) -> None:
    cache_id = fill(work, 3)
    change(work, "d_keyspace_hits = 100", 15)
    roll_up(work, cache_id, 3)
    known = service.facts(work, [cache_id])[cache_id]
    assert known.window is not None and known.before is not None
    assert known.before.end == known.window.start == work.now - timedelta(minutes=15)
    assert known.window.hits == 90 * 100 and known.before.hits == 360 * 900
    assert known.window.coverage == pytest.approx(1) == known.before.coverage


def test_a_young_cache_is_judged_by_what_there_can_be(work: UnitOfWork) -> None:
    cache_id = fill(work, 3 / 60)
    roll_up(work, cache_id, 1)
    window = service.facts(work, [cache_id])[cache_id].window
    assert window is not None and window.length_s == pytest.approx(180, abs=1)
    assert window.coverage == pytest.approx(1, abs=0.01)


def test_verdicts_reach_to_the_last_poll_and_say_when_it_began(work: UnitOfWork) -> None:
    """The minute that runs is not in the rollup yet; what was counted in it is known all the same."""
    cache_id = fill(work, 1)
    began = work.now
    roll_up(work, cache_id, 1)
    store.beat(work.session, "host:1", work.now, is_new=True)
    store.set_watermark(work.session, "minutes_until", work.now)
    history.insert_samples(work.session, cache_id, work.now, work.now + timedelta(seconds=30))
    work.now += timedelta(seconds=24)
    work.session.execute(
        text(
            "UPDATE sample SET d_errors_oom = 3, d_evicted_keys = 400, d_keyspace_hits = 0, dt_s = 10"
            " WHERE ts > :at AND ts < :until"
        ),
        {"at": began + timedelta(seconds=15), "until": work.now},
    )
    work.session.execute(
        text("UPDATE poll_state SET last_success_at = (SELECT max(ts) FROM sample WHERE ts < :at)"),
        {"at": work.now},
    )
    known = service.facts(work, [cache_id])[cache_id]
    assert known.window is not None and known.window.errors_oom == 3
    assert known.last_poll_at == known.window.end == known.incidents["errors_oom"].last_at
    assert known.evicted_per_s == 40
    assert known.reads_per_s is not None and known.reads_per_s > 0
    assert known.window.coverage == pytest.approx(1, abs=0.03)
    service.refresh_statuses(work)
    stood = service.facts(work, [cache_id])[cache_id].since["errors.oom"]
    assert stood == known.last_poll_at - timedelta(seconds=10)
    # An outage changes nothing about it.
    work.session.execute(
        text("UPDATE poll_state SET failures = 9, error = 'refused', last_attempt_at = :at"), {"at": work.now}
    )
    service.refresh_statuses(work)
    assert service.cache_states(work)[cache_id].kind == "crit"
    assert service.facts(work, [cache_id])[cache_id].since["errors.oom"] == stood


def test_after_a_long_outage_the_window_is_short_and_not_full_of_holes(work: UnitOfWork) -> None:
    cache_id = fill(work, 1)
    change(work, "flags = 32, dt_s = 1800, d_keyspace_misses = 999999", 4.1, 3.9)
    work.session.execute(
        text("DELETE FROM sample WHERE ts >= :a AND ts < :b"),
        {"a": work.now - timedelta(minutes=34), "b": work.now - timedelta(minutes=4.1)},
    )
    roll_up(work, cache_id, 1)
    window = service.facts(work, [cache_id])[cache_id].window
    assert window is not None and window.length_s == pytest.approx(180, abs=61)
    assert window.coverage > 0.95 and window.hit_ratio == pytest.approx(0.9)


def test_one_rule_says_on_every_page_whether_a_cache_is_away(work: UnitOfWork) -> None:
    cache_id = fill(work, 1)
    for failures, is_up in ((1, True), (2, False)):
        work.session.execute(
            text(
                "UPDATE poll_state SET failures = :failures, failing_since = :at, last_attempt_at = :at,"
                " error = 'Timed out.'"
            ),
            {"failures": failures, "at": work.now},
        )
        light, full = service.cache_states(work)[cache_id], service.fleet_status(work)[cache_id]
        assert light.is_up is is_up and full.is_up is is_up
        assert (light.kind == "crit") is (full.kind == "crit") is not is_up
        assert (service.verdicts(work, cache_id)[1].kind == "crit") is not is_up
        assert (service.clients_page(work, cache_id).error is None) is is_up
    assert not service.poll_status(work, cache_id).is_unpolled
    work.now += timedelta(minutes=45)
    assert (
        service.cache_states(work)[cache_id].is_unpolled and service.poll_status(work, cache_id).is_unpolled
    )
    # The last numbers stay on the page.
    judged = service.verdicts(work, cache_id)[1].window
    assert judged is not None and judged.hit_ratio == pytest.approx(0.9)
    assert "worker" in (service.clients_page(work, cache_id).error or "")


def test_sparklines_stop_where_the_data_stops(work: UnitOfWork) -> None:
    cache_id = fill(work, 6)
    work.session.execute(text("DELETE FROM sample WHERE ts >= :at"), {"at": work.now - timedelta(hours=1)})
    roll_up(work, cache_id, 6)
    spark = service.fleet_status(work)[cache_id].hit_ratio_spark
    assert len(spark) == 24
    assert spark[-4:] == (None,) * 4 and spark[3] == pytest.approx(0.9)


def test_the_commands_of_a_span_are_summed_and_sorted_by_time(work: UnitOfWork) -> None:
    cache_id = fill(work, 1)
    for minutes, calls in ((120, 1000), (50, 10), (20, 20)):
        work.session.execute(
            text("INSERT INTO command_sample VALUES (:at, :id, CAST(:commands AS jsonb))"),
            {
                "at": work.now - timedelta(minutes=minutes),
                "id": cache_id,
                "commands": json.dumps(
                    {"dt_s": 600, "stats": {"get": [calls, calls, 0, None], "keys": [1, 900, None, 0]}}
                ),
            },
        )
    page = service.commands_page(work, cache_id)
    assert [row.name for row in page.rows] == ["keys", "get"]
    keys, get = page.rows
    assert (keys.calls, get.calls) == (2, 30)
    assert keys.time_share == pytest.approx(1800 / 1830)
    assert page.span_s == 1200 and get.calls_per_s == pytest.approx(30 / 1200)
    assert (get.rejected_calls, get.failed_calls) == (0, None)
    day = service.commands_page(work, cache_id, service.span(work, "24h"))
    assert sum(row.calls for row in day.rows) == 1033


def test_what_is_gone_is_not_found(work: UnitOfWork) -> None:
    span = service.span(work, "1h")
    for ask in (
        lambda: service.overview_series(work, 4711, span),
        lambda: service.summary(work, 4711, span),
        lambda: service.verdicts(work, 4711),
        lambda: service.poll_status(work, 4711),
        lambda: service.slow_log_page(work, 4711),
        lambda: service.clients_page(work, 4711),
        lambda: service.commands_page(work, 4711),
    ):
        with pytest.raises(NotFound):
            ask()


def test_the_workers_sign_of_life(work: UnitOfWork) -> None:
    store.beat(work.session, "host:1", work.now, is_new=True)
    began = work.now
    work.now += timedelta(seconds=20)
    store.beat(work.session, "host:1", work.now, is_new=False)
    status = service.worker_status(work)
    assert status is not None and (status.acquired_at, status.beat_at) == (began, work.now)
    assert status.is_alive
    work.now += timedelta(minutes=1)
    later = service.worker_status(work)
    assert later is not None and not later.is_alive
    assert replace(later, age_s=0).is_alive
