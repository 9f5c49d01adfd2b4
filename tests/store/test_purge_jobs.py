"""The worker's part of purges: counting and running on a real server, and what can't even begin."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from sqlalchemy import text

from dashboard.access import Actor
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import StoreUnavailable
from dashboard.fleet.watching import Paces
from dashboard.invalidation import counter, jobs, journal, service
from dashboard.invalidation.journal import CountNews, PurgeJournal
from dashboard.invalidation.types import Action, Limits, Plan, Progress, Purge, SelectBy, State
from dashboard.jobs.runner import Runner
from dashboard.work import Runtime, UnitOfWork, unit_of_work
from tests.support import servers
from tests.support.people import as_cli
from tests.support.polling import SteppingClock, rows, value, wait_until, with_clock
from tests.support.purges import AT_ONCE, draft, plan
from tests.support.some_caches import add_cache, form


@pytest.fixture
def worker(live_runtime: Runtime) -> Iterator[None]:
    runner = Runner(
        live_runtime,
        jobs.handlers(live_runtime),
        beside=[lambda: jobs.fire_schedules(live_runtime)],
    )
    runner.start()
    yield
    runner.stop()


@pytest.fixture
def cache(live_runtime: Runtime, valkey_url: str) -> Cache:
    return add_cache(live_runtime, url=valkey_url)


@pytest.fixture
def raw(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        client.mset({f"product:{number}": number for number in range(40)})
        client.mset({f"other:{number}": number for number in range(1_000)})
        yield client


def get(runtime: Runtime, number: int) -> Purge:
    with as_cli(runtime) as work:
        return service.get_purge(work, number)


def waited(runtime: Runtime, number: int, state: State) -> Purge:
    wait_until(lambda: get(runtime, number).state is state, f"it is {state}")
    return get(runtime, number)


def approve(runtime: Runtime, number: int, **values: Any) -> Purge:
    with as_cli(runtime) as work:
        purge = service.get_purge(work, number)
        assert purge.preview is not None
        return service.approve(
            work,
            number,
            revision=purge.revision,
            reason="a data fix",
            typed=purge.plan.selection.text or "shop-prod",
            confirmed_keys=purge.preview.keys,
            plan=replace(purge.plan, **values),
        )


def jobs_left(runtime: Runtime) -> int:
    return int(value(runtime.database, "SELECT count(*) FROM job"))


@pytest.mark.parametrize(
    ("wanted", "listed", "gone"),
    [
        (AT_ONCE, (), 40),
        (plan("product:1*", SelectBy.PATTERN), (), 11),
        (plan("", SelectBy.KEYS), (b"product:1", b"product:2", b"nowhere"), 2),
        (plan("product:{id}", SelectBy.IDS), tuple(b"%d" % number for number in range(30, 50)), 10),
    ],
    ids=["prefix", "pattern", "keys", "ids"],
)
def test_counted_approved_done(
    live_runtime: Runtime,
    cache: Cache,
    raw: redis.Redis,
    worker: None,
    wanted: Plan,
    listed: tuple[bytes, ...],
    gone: int,
) -> None:
    number = draft(live_runtime, cache.id, wanted, listed).number
    counted = waited(live_runtime, number, State.PREVIEWED)
    assert counted.preview is not None and (counted.preview.keys, counted.preview.keys_error) == (gone, 0)
    assert counted.preview.keyspace == 1_040 and raw.dbsize() == 1_040
    approve(live_runtime, number)
    done = waited(live_runtime, number, State.DONE)
    assert (done.progress.touched, raw.dbsize()) == (gone, 1_040 - gone)
    assert done.progress.updated_at is not None and done.progress.passes == 1
    assert raw.exists(*(f"other:{number}" for number in range(1_000))) == 1_000
    found = rows(
        live_runtime.database, "SELECT * FROM audit_entry WHERE action LIKE 'invalidation:%' ORDER BY id"
    )
    assert [row.action.rpartition(":")[2] for row in found] == [
        "create", "preview", "approve", "start", "finish",
    ]  # fmt: skip
    assert {row.subject for row in found} == {f"purge {number}"}
    assert found[-1].after["keys touched"] == gone and found[-1].actor_name == "worker"
    assert jobs_left(live_runtime) == 0


def test_a_count_says_how_far_it_is(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CountNews, "EVERY_S", 0.0)
    keys = tuple(b"%d" % number for number in range(5_000))
    number = draft(live_runtime, cache.id, plan("product:{id}", SelectBy.IDS), keys).number
    counted = waited(live_runtime, number, State.PREVIEWED)
    assert counted.preview is not None and counted.preview.keys == 40
    assert (counted.counted, counted.to_count) == (5_000, 5_000)
    with as_cli(live_runtime) as work:
        again = service.recount(work, number, revision=counted.revision)
    assert (again.counted, again.to_count) == (0, 0)


def test_a_count_that_is_taken_over_says_how_far_it_is_itself(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, request: pytest.FixtureRequest
) -> None:
    number = draft(live_runtime, cache.id).number
    with live_runtime.database.transaction() as session:
        # What another worker had looked at before it was killed.
        session.execute(text("UPDATE purge SET counted = 120000, to_count = 400000"))
    request.getfixturevalue("worker")
    counted = waited(live_runtime, number, State.PREVIEWED)
    assert counted.counted < 120_000 and counted.to_count < 400_000


def test_a_count_keeps_to_the_limits(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[float] = []

    def noted(slowest_probe_ms: float, *rest: Any) -> Paces:
        allowed.append(slowest_probe_ms)
        return Paces(slowest_probe_ms, *rest)

    monkeypatch.setattr(counter, "Paces", noted)
    with as_cli(live_runtime) as work:
        service.set_limits(work, cache.id, Limits(slowest_probe_ms=7.5))
    waited(live_runtime, draft(live_runtime, cache.id).number, State.PREVIEWED)
    assert allowed == [7.5]


def test_a_cache_that_is_away_cannot_be_counted_and_says_so(live_runtime: Runtime, worker: None) -> None:
    port = servers.free_port()
    cache = add_cache(live_runtime, url=f"redis://127.0.0.1:{port}/0")
    number = draft(live_runtime, cache.id).number
    wait_until(lambda: get(live_runtime, number).problem, "it says why")
    purge = get(live_runtime, number)
    assert purge.state is State.DRAFT and "refused the connection" in purge.problem
    assert jobs_left(live_runtime) == 0
    failed = rows(live_runtime.database, "SELECT * FROM audit_entry ORDER BY id DESC LIMIT 1")[0]
    assert (failed.action, failed.result) == ("invalidation:purge:preview", "failed")
    with servers.redis_server(port=port):
        with as_cli(live_runtime) as work:
            service.recount(work, number, revision=purge.revision)
        assert waited(live_runtime, number, State.PREVIEWED).problem == ""


def test_a_url_that_cannot_be_read_ends_it_with_words(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    number = draft(live_runtime, cache.id).number
    waited(live_runtime, number, State.PREVIEWED)
    with live_runtime.database.transaction() as session:
        session.execute(text("UPDATE cache SET url = 'sealed with another key', revision = revision + 1"))
    approve(live_runtime, number)
    assert "can't be decrypted" in waited(live_runtime, number, State.FAILED).problem
    again = draft(live_runtime, cache.id).number
    wait_until(lambda: "can't be decrypted" in get(live_runtime, again).problem, "it says why")
    assert jobs_left(live_runtime) == 0 and raw.dbsize() == 1_040


def test_a_cache_that_became_read_only_meanwhile(
    live_runtime: Runtime, cache: Cache, valkey_url: str, raw: redis.Redis, worker: None
) -> None:
    number = draft(live_runtime, cache.id).number
    waited(live_runtime, number, State.PREVIEWED)
    with as_cli(live_runtime) as work:
        purge = service.get_purge(work, number)
        service.approve(
            work, number, revision=purge.revision, reason="x", typed="product:", confirmed_keys=40
        )
        # Before any worker can see it.
        changed = form(url=valkey_url, read_only=True, revision=cache.revision)
        caches.update_cache(work, cache.id, changed)
    assert "read-only" in waited(live_runtime, number, State.FAILED).problem
    assert raw.dbsize() == 1_040


def test_approved_for_another_server(
    live_runtime: Runtime, cache: Cache, valkey_url: str, raw: redis.Redis, worker: None
) -> None:
    number = draft(live_runtime, cache.id).number
    waited(live_runtime, number, State.PREVIEWED)
    with as_cli(live_runtime) as work:
        purge = service.get_purge(work, number)
        service.approve(work, number, revision=purge.revision, confirmed_keys=40)
        # Before any worker can see it.
        changed = form(url="redis://127.0.0.1:1/0", revision=cache.revision, forget_password=True)
        there = caches.update_cache(work, cache.id, changed)
    held = waited(live_runtime, number, State.PAUSED)
    assert held.needs_count and "another server" in held.problem
    with as_cli(live_runtime) as work:
        caches.update_cache(work, cache.id, form(url=valkey_url, revision=there.revision))
        service.recount(work, number, revision=held.revision)
    waited(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    waited(live_runtime, number, State.DONE)
    assert raw.dbsize() == 1_000


def test_more_than_approved_is_left_alone_until_it_is_approved(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    number = draft(live_runtime, cache.id).number
    waited(live_runtime, number, State.PREVIEWED)
    raw.mset({f"product:more:{number}": number for number in range(5_000)})
    approve(live_runtime, number)
    held = waited(live_runtime, number, State.PAUSED)
    assert held.needs_count and held.progress.touched <= held.cap < 100
    with as_cli(live_runtime) as work:
        service.recount(work, number, revision=held.revision)
    waited(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number)
    done = waited(live_runtime, number, State.DONE)
    assert (done.progress.touched, raw.dbsize()) == (5_040, 1_000)


def test_its_own_lookups_are_taken_off_the_hit_ratio(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    with live_runtime.database.transaction() as session:
        session.execute(
            text("INSERT INTO poll_state (cache_id, poll_interval_s) VALUES (:id, 10)"), {"id": cache.id}
        )
    raw.config_resetstat()
    number = draft(live_runtime, cache.id).number
    waited(live_runtime, number, State.PREVIEWED)
    approve(live_runtime, number, action=Action.SPREAD, window_s=600)
    waited(live_runtime, number, State.DONE)
    stats = raw.info("stats")
    noted = rows(live_runtime.database, "SELECT self_hits, self_misses FROM poll_state")[0]
    assert (noted.self_hits, noted.self_misses) == (stats["keyspace_hits"], stats["keyspace_misses"])
    assert all(0 < raw.ttl(f"product:{each}") <= 600 for each in range(40))


def test_commits_whose_answers_get_lost_count_lookups_once(
    live_runtime: Runtime,
    cache: Cache,
    raw: redis.Redis,
    worker: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with live_runtime.database.transaction() as session:
        session.execute(
            text("INSERT INTO poll_state (cache_id, poll_interval_s) VALUES (:id, 10)"), {"id": cache.id}
        )
    raw.config_resetstat()
    number = draft(live_runtime, cache.id).number
    waited(live_runtime, number, State.PREVIEWED)
    commit = PurgeJournal._commit
    seen: list[Progress] = []
    lost = threading.local()

    def noted(self: PurgeJournal, work: UnitOfWork, progress: Progress, *rest: Any) -> Progress:
        lost.is_next = all(each is not progress for each in seen)
        seen.append(progress)
        return commit(self, work, progress, *rest)

    @contextmanager
    def unanswered(runtime: Runtime, actor: Actor) -> Iterator[UnitOfWork]:
        with unit_of_work(runtime, actor) as work:
            yield work
        if getattr(lost, "is_next", False):
            lost.is_next = False
            raise StoreUnavailable("The answer got lost.")

    monkeypatch.setattr(PurgeJournal, "_commit", noted)
    monkeypatch.setattr(journal, "unit_of_work", unanswered)
    approve(live_runtime, number, action=Action.SPREAD, window_s=600)
    done = waited(live_runtime, number, State.DONE)
    assert done.progress.touched == 40 and len(seen) > 1
    stats = raw.info("stats")
    noted_there = rows(live_runtime.database, "SELECT self_hits, self_misses FROM poll_state")[0]
    assert (noted_there.self_hits, noted_there.self_misses) == (
        stats["keyspace_hits"],
        stats["keyspace_misses"],
    )


def test_a_schedule_from_its_firing_to_its_end(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    number = draft(live_runtime, cache.id).number
    counted = waited(live_runtime, number, State.PREVIEWED)
    with as_cli(live_runtime) as work:
        made = service.create_schedule(
            work, number, revision=counted.revision, line="0 4 * * *", confirmed_keys=40
        )
    raw.mset({f"product:{each}": each for each in range(45)})
    fire_old_schedule(live_runtime)

    def last() -> tuple[State | None, bool]:
        with as_cli(live_runtime) as work:
            (found,) = service.list_schedules(work, cache.id)
        return found.last_state, found.next_at is not None and found.next_at == made.next_at

    wait_until(lambda: last() == (State.DONE, True), "it ran")
    assert raw.dbsize() == 1_000


def test_what_a_schedule_finds_more_of_than_was_approved_is_left_alone(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis, worker: None
) -> None:
    raw.mset({f"product:{each}": each for each in range(20_000)})
    raw.mset({f"other:{each}": each for each in range(60_000)})
    number = draft(live_runtime, cache.id).number
    counted = waited(live_runtime, number, State.PREVIEWED)
    with as_cli(live_runtime) as work:
        service.create_schedule(
            work, number, revision=counted.revision, line="0 4 * * *", typed="product:", reason="nightly"
        )
    raw.mset({f"product:{each}": each for each in range(40_000)})
    fire_old_schedule(live_runtime)

    def made() -> Purge | None:
        with as_cli(live_runtime) as work:
            return next(iter(service.list_purges(work, cache.id)), None)

    wait_until(lambda: (found := made()) is not None and found.state is State.PAUSED, "it asks")
    held = made()
    assert held is not None and held.schedule_id is not None and held.needs_count
    assert held.problem.startswith("It would touch more keys than were approved: 40,000, of 24,010.")
    assert held.progress.touched == 0 and raw.dbsize() == 40_000 + 60_000


def test_what_waited_long_for_its_turn_is_counted_again(
    live_runtime: Runtime, cache: Cache, raw: redis.Redis
) -> None:
    clock = SteppingClock()
    runtime = with_clock(live_runtime, clock)
    raw.mset({f"product:{each}": each for each in range(6_000)})
    with counting_and_running(runtime):
        number = draft(runtime, cache.id).number
        waited(runtime, number, State.PREVIEWED)
    approve(runtime, number)
    raw.mset({f"product:{each}": each for each in range(12_000)})
    clock.step = timedelta(minutes=20)
    with counting_and_running(runtime):
        held = waited(runtime, number, State.PAUSED)
    assert held.needs_count and held.progress.touched == 0 and raw.exists("product:1")


@contextmanager
def counting_and_running(runtime: Runtime) -> Iterator[None]:
    runner = Runner(runtime, jobs.handlers(runtime))
    runner.start()
    try:
        yield
    finally:
        runner.stop()


def fire_old_schedule(runtime: Runtime) -> None:
    """Have the schedule that was made of a count of yesterday fire now."""
    now = datetime.now(UTC)
    with runtime.database.transaction() as session:
        session.execute(
            text(
                "UPDATE purge_schedule SET next_at = :at,"
                " preview = jsonb_set(preview, '{counted_at}', to_jsonb(CAST(:counted AS text)))"
            ),
            {"at": now - timedelta(seconds=1), "counted": (now - timedelta(days=1)).isoformat()},
        )


def test_a_clock_that_steps_changes_nothing(live_runtime: Runtime, cache: Cache, raw: redis.Redis) -> None:
    raw.mset({f"product:{each}": each for each in range(6_000)})
    clock = SteppingClock()
    runtime = with_clock(live_runtime, clock)
    with as_cli(runtime) as work:
        service.set_limits(work, cache.id, Limits(database_budget_qps=None, most_keys_per_s=2_000))
    runner = Runner(runtime, jobs.handlers(runtime))
    runner.start()
    number = draft(runtime, cache.id).number
    waited(runtime, number, State.PREVIEWED)
    approve(runtime, number)
    for step in (timedelta(hours=5), timedelta(hours=-5), timedelta(0)):
        before = get(runtime, number).progress.touched
        clock.step = step
        wait_until(
            lambda before=before: (
                (now := get(runtime, number)).progress.touched > before or now.state is State.DONE
            ),
            "it goes on",
        )
    done = waited(runtime, number, State.DONE)
    runner.stop()
    assert (done.progress.touched, raw.dbsize()) == (6_000, 1_000)
