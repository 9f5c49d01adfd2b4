"""One poll of one cache, stored: exactly once, whole, bounded, and with what a server may do to us."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import event, text

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import CacheUnavailable
from dashboard.fleet.commands import Missing, PollReply, Why
from dashboard.fleet.replies import Client
from dashboard.monitoring import polling, service, store
from dashboard.monitoring.info import parse_info, read
from dashboard.monitoring.polling import Answer, Round
from dashboard.monitoring.store import PollState
from dashboard.monitoring.types import Flag
from dashboard.work import Runtime, UnitOfWork, unit_of_work
from tests.support import history
from tests.support.polling import lookups

ACTOR = Actor(None, "test", Role.ADMIN, "cli")


@pytest.fixture
def work(runtime: Runtime) -> Iterator[UnitOfWork]:
    with unit_of_work(runtime, ACTOR) as work:
        store.ensure_partitions(work.session, work.now)
        yield work


def add(work: UnitOfWork, url: str, name: str = "shop") -> Cache:
    cache_id = history.add_cache(work.session, name, url=work.cipher.encrypt(url), created_at=work.now)
    return caches.get_cache(work, cache_id)


def state(work: UnitOfWork, cache: Cache) -> PollState:
    return store.load_state(work.session, cache.id, now=work.now, clock_s=0.0)


def answer(
    work: UnitOfWork, info: str, *, node: str = "10.0.0.1:6379", after_s: float = 0.0, **more: Any
) -> Answer:
    at = work.now + timedelta(seconds=after_s)
    reply = PollReply(
        node_id=node,
        info=info,
        clients=more.get("clients", []),
        clients_total=more.get("total", 0),
        slowlog=more.get("slowlog", []),
        round_trip_s=0.001,
        taken_at=at,
        taken_monotonic_s=after_s,
    )
    return Answer(reply, read(parse_info(info), at, after_s))


def info(run_id: str = "a" * 40, hits: int = 0, uptime: int = 1000, **more: Any) -> str:
    fields = {
        "redis_version": "7.4.1",
        "run_id": run_id,
        "uptime_in_seconds": uptime,
        "role": "master",
        "keyspace_hits": hits,
        "keyspace_misses": 10,
        "total_commands_processed": hits + 10,
        "used_memory": 1000,
        "cmdstat_get": f"calls={hits},usec={hits * 2},usec_per_call=2.00,rejected_calls=0,failed_calls=0",
        **more,
    }
    return "\r\n".join(f"{name}:{value}" for name, value in fields.items())


def poll(work: UnitOfWork, cache: Cache, *answers: Answer, expected: int = 1) -> PollState:
    after = polling.record(work.session, cache, state(work, cache), Round(answers, expected, None))
    assert after is not None
    return after


def rows(work: UnitOfWork, sql: str) -> list[Any]:
    return list(work.session.execute(text(sql)).all())


def test_a_real_server_is_polled_and_every_number_arrives(
    runtime: Runtime, work: UnitOfWork, redis7_url: str
) -> None:
    cache = add(work, redis7_url)
    first = polling.ask(runtime.fleet, cache, runtime.clock)
    assert polling.record(work.session, cache, PollState(cache.id), first) is not None
    with redis.Redis.from_url(redis7_url) as client:
        done = lookups(client, 60)
    runtime.clock.wall += timedelta(seconds=10)  # type: ignore[attr-defined]
    runtime.clock.mono += 10  # type: ignore[attr-defined]
    second = polling.ask(runtime.fleet, cache, runtime.clock)
    assert polling.record(work.session, cache, state(work, cache), second) is not None
    work.now += timedelta(seconds=20)
    one, two = rows(work, "SELECT * FROM sample ORDER BY ts")
    assert one.flags == Flag.FIRST and one.d_keyspace_hits is None
    assert (two.d_keyspace_hits + two.d_keyspace_misses, two.d_keyspace_hits) == (done, done // 2)
    assert two.used_memory and two.maxmemory == 64 * 2**20 and two.connected_clients
    table = {row.name: row.calls for row in service.commands_page(work, cache.id).rows}
    assert table["get"] == done
    assert [row for row in service.clients_page(work, cache.id).rows if row.is_ours]
    [node_run] = rows(work, "SELECT * FROM node_run")
    assert node_run.run_id == second.answers[0].reading.run_id


def test_a_poll_that_began_from_an_old_state_stores_nothing(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    poll(work, cache, answer(work, info(hits=100)))
    stale = state(work, cache)
    poll(work, cache, answer(work, info(hits=150), after_s=10))
    late = Round((answer(work, info(hits=160), after_s=11),), 1, None)
    assert polling.record(work.session, cache, stale, late) is None
    assert polling.record_failure(work.session, cache, stale, CacheUnavailable("away"), work.now) is None
    assert rows(work, "SELECT sum(d_keyspace_hits), count(*) FROM sample") == [(50, 2)]
    # The same reading, from the state as it is now, counts what is new in it and no more.
    assert polling.record(work.session, cache, state(work, cache), late) is not None
    assert rows(work, "SELECT sum(d_keyspace_hits), count(*) FROM sample") == [(60, 3)]


def test_differences_go_on_from_the_stored_reading_in_another_process(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    poll(work, cache, answer(work, info(hits=100), after_s=5_000))
    taken_over = answer(work, info(hits=700, uptime=1010), after_s=5_010)
    # Another process: its monotonic clock began elsewhere.
    taken_over = replace(taken_over, reading=replace(taken_over.reading, clock_s=17.0))
    before = store.load_state(work.session, cache.id, now=taken_over.reading.taken_at, clock_s=17.0)
    assert polling.record(work.session, cache, before, Round((taken_over,), 1, None)) is not None
    last = rows(work, "SELECT * FROM sample ORDER BY ts")[-1]
    assert (last.d_keyspace_hits, last.flags) == (600, 0)
    assert last.dt_s == pytest.approx(10, abs=0.1)


def test_lookups_of_our_own_are_subtracted_once(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    poll(work, cache, answer(work, info(hits=100)))
    service.record_self_lookups(work, cache.id, 40, 0)
    poll(work, cache, answer(work, info(hits=150), after_s=10))
    poll(work, cache, answer(work, info(hits=170), after_s=20))
    assert rows(work, "SELECT d_keyspace_hits, self_hits FROM sample ORDER BY ts")[1:] == [(50, 40), (20, 0)]
    within = replace(service.span(work, "15m"), end=work.now + timedelta(seconds=30))
    assert [
        value for value in service.overview_series(work, cache.id, within).columns["lookups"] if value
    ] == [10, 20]


def test_a_failover_behind_a_sentinel_is_one_cache_and_no_spike(work: UnitOfWork) -> None:
    cache = add(work, "redis+sentinel://10.0.0.9:26379/shop")
    poll(work, cache, answer(work, info(hits=100)))
    other = answer(work, info("b" * 40, hits=9_000_000, uptime=900_000), node="10.0.0.2:6379", after_s=10)
    poll(work, cache, other)
    last = rows(work, "SELECT * FROM sample ORDER BY ts")[-1]
    assert last.d_keyspace_hits is None and last.flags & Flag.SWITCH
    assert [row.kind for row in rows(work, "SELECT kind FROM cache_event")] == ["switch"]
    assert [row.node for row in rows(work, "SELECT node FROM node_run ORDER BY id")] == [
        "10.0.0.1:6379",
        "10.0.0.2:6379",
    ]


def test_nodes_of_a_cluster_are_each_subtracted_from_their_own(work: UnitOfWork) -> None:
    cache = add(work, "redis+cluster://10.0.0.1:6379")
    runs = {f"10.0.0.{number}:6379": str(number) * 40 for number in (1, 2, 3)}

    def answers(hits: int, after_s: float, *skip: str) -> list[Answer]:
        return [
            answer(work, info(run, hits=hits * (place + 1)), node=node, after_s=after_s)
            for place, (node, run) in enumerate(runs.items())
            if node not in skip
        ]

    poll(work, cache, *answers(100, 0), expected=3)
    asked = Round(tuple(answers(200, 10, "10.0.0.2:6379")), 3, "1 of 3 nodes did not answer: away")
    assert polling.record(work.session, cache, state(work, cache), asked) is not None
    status = service.poll_status(work, cache.id)
    assert status.error and "1 of 3" in status.error and status.failing_since is None
    warnings = {each.code: each for each in service.verdicts(work, cache.id)[0] if each.kind == "warn"}
    assert "1 of 3" in warnings["poll.nodes"].evidence
    poll(work, cache, *answers(300, 20), expected=3)
    # The node that was silent once is subtracted from its own last reading: nothing is lost.
    assert rows(work, "SELECT sum(d_keyspace_hits) FROM sample") == [(200 + 400 + 600,)]
    found = service.overview_series(
        work, cache.id, replace(service.span(work, "15m"), end=work.now + timedelta(seconds=30))
    )
    memory = [value for value in found.columns["used_memory_bytes"] if value is not None]
    assert memory == [3000, 3000], "half of a cluster's memory is not its memory"
    assert service.poll_status(work, cache.id).topology == "Cluster, 3 primaries"


def test_failures_open_one_outage_and_success_closes_it(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    poll(work, cache, answer(work, info(hits=1)))
    for turn in range(3):
        at = work.now + timedelta(seconds=10 * (turn + 1))
        error = CacheUnavailable("It refuses.", what_to_do="Start it.")
        assert polling.record_failure(work.session, cache, state(work, cache), error, at) is not None
    status = service.poll_status(work, cache.id)
    assert (status.failures, status.error, status.what_to_do) == (3, "It refuses.", "Start it.")
    assert status.failing_since == work.now + timedelta(seconds=10)
    poll(work, cache, answer(work, info(hits=2), after_s=60))
    [outage] = rows(work, "SELECT * FROM cache_event")
    assert (outage.kind, outage.ts, outage.until) == (
        "down",
        work.now + timedelta(seconds=10),
        work.now + timedelta(seconds=60),
    )
    assert service.poll_status(work, cache.id).failing_since is None


def test_what_a_server_says_is_stored_whatever_it_is(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    nasty = "\x00'\"; DROP TABLE sample; --<script>\ud800\U0001f4a9"
    hostile = info(
        run_id=nasty,
        hits=10**30,
        redis_version=nasty,
        role=nasty,
        maxmemory_policy=nasty,
        used_memory=-(10**40),
        connected_clients=10**15,
        **{f"cmdstat_{nasty}": "calls=1,usec=99999999999999999999,usec_per_call=nan"},
    )
    client = Client(
        id=1,
        address=nasty,
        name=nasty,
        user=nasty,
        flags="NO",
        db=0,
        command=nasty,
        age_s=1,
        idle_s=1,
        memory_bytes=1,
        output_bytes=0,
        library=nasty,
    )
    poll(work, cache, answer(work, hostile, clients=[client] * 5000, total=5000))
    poll(
        work,
        cache,
        answer(work, hostile, after_s=10, clients=Missing(Why.FORBIDDEN, "CLIENT LIST", "no.", "x")),
    )
    page = service.clients_page(work, cache.id)
    assert page.rows == () and page.missing is not None and page.missing.reason == "forbidden"
    poll(work, cache, answer(work, hostile, after_s=20, clients=[client] * 5000, total=5000))
    page = service.clients_page(work, cache.id)
    assert len(page.rows) == polling.MOST_CLIENTS and page.total == 5000
    assert page.rows[0].is_monitor
    assert "\x00" not in page.rows[0].name
    service.fleet_status(work)


def test_a_server_that_claims_absurd_counters_harms_nobody(work: UnitOfWork) -> None:
    """A new run at each poll, whose counters are near the end of what can be counted, would be credited whole."""
    cache, shop = add(work, "redis+cluster://10.0.0.1", "hostile"), add(work, "redis://10.0.0.9")
    store.beat(work.session, "test", work.now, is_new=True)
    most = 2**62
    for turn in range(5):
        hostile = [
            info(
                f"{turn}{node}" * 20,
                hits=most,
                uptime=1,
                keyspace_misses=most,
                evicted_keys=most,
                total_net_output_bytes=most,
                used_memory=2**63 - 1,
                maxmemory=2**63 - 1,
            )
            for node in (1, 2)
        ]
        poll(
            work,
            cache,
            *(
                answer(work, text, node=f"10.0.0.{place}:6379", after_s=10 * turn)
                for place, text in enumerate(hostile)
            ),
            expected=2,
        )
        poll(work, shop, answer(work, info(hits=100 * turn), after_s=10 * turn))
    found = rows(work, f"SELECT flags, d_keyspace_hits FROM sample WHERE cache_id = {cache.id} ORDER BY ts")
    assert len(found) == 10 and all(row.d_keyspace_hits is None for row in found)
    assert all(row.flags & Flag.PARTIAL for row in found[2:])
    work.now += timedelta(minutes=3)
    assert service.roll_up(work) == {}
    service.refresh_statuses(work)
    assert service.fleet_status(work).keys() == {cache.id, shop.id}
    for each, lookups_seen in ((cache, None), (shop, 400)):
        page = service.summary(work, each.id, service.span(work, "1h"))
        assert page.window.lookups == lookups_seen
        assert service.overview_series(work, each.id, service.span(work, "15m")).times
        service.commands_page(work, each.id)


def test_events_that_repeat_are_counted_in_one_row(work: UnitOfWork) -> None:
    """Two servers behind one address: each poll meets the other one."""
    cache = add(work, "redis://10.0.0.1")
    polls = 6 * 60 * 2
    for turn in range(polls):
        run_id, uptime = ("a" * 40, 900_000) if turn % 2 else ("b" * 40, 500_000)
        poll(work, cache, answer(work, info(run_id, hits=turn, uptime=uptime + 10 * turn), after_s=10 * turn))
    found = rows(work, "SELECT * FROM cache_event ORDER BY ts")
    assert {row.kind for row in found} == {"switch"} and sum(row.count for row in found) == polls - 1
    assert len(found) == 8
    assert all(row.until - row.ts < store.REPEATED_WITHIN for row in found)
    end = work.now + timedelta(seconds=10 * polls)
    # Right after the last row began: the one before reaches into the span.
    start = found[-2].until - timedelta(seconds=5)
    seen = store.events_between(work.session, cache.id, start, end)
    assert [event.count for event in seen] == [found[-2].count, found[-1].count]
    latest = store.last_events(work.session, ("switch", "flush"), work.now)
    assert latest == {(cache.id, "switch"): found[-1].until}


def test_settings_that_change_twice_are_shown_as_one_change(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    for turn, (memory, policy) in enumerate(
        ((100, "noeviction"), (200, "noeviction"), (300, "allkeys-lru"), (300, "allkeys-lru"))
    ):
        settings = {"maxmemory": memory, "maxmemory_policy": policy}
        poll(work, cache, answer(work, info(hits=turn, **settings), after_s=10 * turn))
    [change] = rows(work, "SELECT * FROM cache_event")
    assert (change.count, change.details) == (
        2,
        {"maxmemory": [100, 300], "maxmemory_policy": ["noeviction", "allkeys-lru"]},
    )


def test_a_cache_that_comes_and_goes_has_one_outage_that_is_open_while_it_is_away(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    for turn in range(0, 60, 2):
        at = work.now + timedelta(seconds=10 * turn)
        error = CacheUnavailable("It refuses.")
        assert polling.record_failure(work.session, cache, state(work, cache), error, at) is not None
        assert rows(work, "SELECT count(*) FROM cache_event WHERE until IS NULL") == [(1,)]
        poll(work, cache, answer(work, info(hits=turn), after_s=10 * turn + 10))
        assert rows(work, "SELECT count(*) FROM cache_event WHERE until IS NULL") == [(0,)]
    [outage] = rows(work, "SELECT * FROM cache_event")
    assert (outage.kind, outage.count) == ("down", 30)
    later = work.now + timedelta(hours=3)
    assert polling.record_failure(work.session, cache, state(work, cache), error, later) is not None
    assert [row.count for row in rows(work, "SELECT count FROM cache_event ORDER BY ts")] == [30, 1]
    for length in (timedelta(minutes=5), timedelta(hours=5)):
        seen = store.events_between(
            work.session, cache.id, later + timedelta(hours=4) - length, later + timedelta(hours=4)
        )
        assert [event.count for event in seen][-1] == 1 and seen[-1].until is None


def test_the_last_hour_is_read_without_the_history_behind_it(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    work.session.execute(
        text(
            "INSERT INTO cache_event (cache_id, ts, until, kind) SELECT :id, at, at + interval '9 minutes', kind"
            " FROM generate_series(CAST(:start AS timestamptz), :end, interval '15 minutes') AS at,"
            " unnest(ARRAY['switch', 'down', 'restart']) AS kind"
        ),
        {"id": cache.id, "start": work.now - timedelta(days=90), "end": work.now - timedelta(hours=3)},
    )
    work.session.execute(text("ANALYZE cache_event"))
    asked: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    engine = work.session.get_bind()
    event.listen(engine, "before_cursor_execute", note)
    try:
        assert store.events_between(work.session, cache.id, work.now - timedelta(hours=1), work.now) == ()
        assert len(store.last_events(work.session, ("restart", "flush"), work.now - timedelta(days=31))) == 1
    finally:
        event.remove(engine, "before_cursor_execute", note)
    assert len(asked) == 2
    for statement, parameters in asked:
        [(plan,)] = work.session.connection().exec_driver_sql(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters
        )
        assert plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"] < 40, plan


def test_ten_minutes_that_come_twice_are_added(work: UnitOfWork) -> None:
    """The clock is set back over a ten minutes' end: what was stored for them stays."""
    cache = add(work, "redis://10.0.0.1")
    work.now = work.now.replace(minute=4, second=0, microsecond=0)

    def poll_at(minutes: float, after_s: float, calls: int) -> None:
        told = info(hits=calls, uptime=1000 + int(after_s))
        made = answer(work, told.replace("cmdstat_get", "# Commandstats\r\ncmdstat_get"), after_s=after_s)
        at = work.now + timedelta(minutes=minutes)
        reading = replace(made.reading, taken_at=at)
        poll(work, cache, Answer(replace(made.reply, taken_at=at), reading))

    poll_at(0, 0, 0)
    poll_at(1, 60, 100)
    poll_at(8, 480, 300)  # minute 12: the ten minutes before are over
    poll_at(2, 540, 700)  # set back to minute 6
    poll_at(9, 600, 1500)  # minute 13: over once more
    stored = rows(work, "SELECT bucket, commands FROM command_sample ORDER BY bucket")
    assert [row.bucket.minute for row in stored] == [0, 10]
    assert stored[0].commands["stats"]["get"][0] == 100 + 400
    within = replace(service.span(work, "1h"), end=work.now + timedelta(hours=1))
    [get] = service.commands_page(work, cache.id, within).rows
    assert get.calls == 1500


def test_lookups_reported_while_a_poll_is_stored_are_kept_for_the_next(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    poll(work, cache, answer(work, info(hits=100)))
    service.record_self_lookups(work, cache.id, 40, 4)
    reported: list[bool] = []

    def report(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        # Between the poll's look at what was reported and its own write.
        if statement.startswith("UPDATE poll_state") and not reported:
            reported.append(True)
            service.record_self_lookups(work, cache.id, 5, 3)

    engine = work.session.get_bind()
    event.listen(engine, "before_cursor_execute", report)
    try:
        poll(work, cache, answer(work, info(hits=150), after_s=10))
    finally:
        event.remove(engine, "before_cursor_execute", report)
    assert reported
    assert rows(work, "SELECT self_hits, self_misses FROM poll_state") == [(5, 3)]
    poll(work, cache, answer(work, info(hits=170), after_s=20))
    assert rows(work, "SELECT self_hits, self_misses FROM sample ORDER BY ts")[1:] == [(40, 4), (5, 3)]


def test_a_removed_cache_is_gone_with_all_that_is_small(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    poll(work, cache, answer(work, info()))
    before = state(work, cache)
    work.session.execute(text("DELETE FROM cache"))
    asked = Round((answer(work, info(hits=5), after_s=10),), 1, None)
    assert polling.record(work.session, cache, before, asked) is None
    for table in ("poll_state", "node_run", "cache_event"):
        assert rows(work, f"SELECT * FROM {table}") == []
    assert service.cache_states(work) == {} == service.fleet_status(work)


def queries(runtime: Runtime, ask: Any) -> int:
    """How many statements ``ask`` sends."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(runtime.database.engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(runtime.database.engine, "before_cursor_execute", note)
    return len(sent)


def test_the_number_of_queries_does_not_grow_with_the_caches(runtime: Runtime, work: UnitOfWork) -> None:
    poll(work, add(work, "redis://10.0.0.1", "first"), answer(work, info(hits=1)))
    asks = (
        lambda: service.fleet_status(work),
        lambda: service.cache_states(work),
        lambda: service.facts(work),
    )
    few = [queries(runtime, ask) for ask in asks]
    for number in range(8):
        poll(work, add(work, "redis://10.0.0.1", f"more {number}"), answer(work, info(hits=1)))
    assert [queries(runtime, ask) for ask in asks] == few
    assert max(few) <= 6


def test_a_worker_that_stopped_shows_on_every_page(runtime: Runtime, work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    assert service.cache_states(work)[cache.id].kind == "unknown"
    poll(work, cache, answer(work, info(hits=1)))
    service.refresh_statuses(work)
    assert service.cache_states(work)[cache.id].kind in ("ok", "unknown", "warn")
    work.now += timedelta(minutes=10)
    assert service.cache_states(work)[cache.id].kind == "crit"
    assert service.fleet_status(work)[cache.id].kind == "crit"


def test_a_verdict_keeps_the_time_it_was_first_found(work: UnitOfWork) -> None:
    cache = add(work, "redis://10.0.0.1")
    poll(work, cache, answer(work, info(hits=1, maxmemory=0, maxmemory_policy="noeviction")))
    began = work.now
    service.refresh_statuses(work)
    work.now += timedelta(seconds=20)
    service.refresh_statuses(work)
    found, _ = service.verdicts(work, cache.id)
    standing = [each for each in found if each.kind in ("warn", "crit")]
    assert standing and {each.since for each in standing} == {began}
