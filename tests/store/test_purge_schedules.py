"""Schedules: each firing happens once, whoever is there to see to it; what was missed is made up for or noted."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import Conflict, Forbidden, InvalidInput, NotFound
from dashboard.invalidation import jobs, schedules, service, store
from dashboard.invalidation.journal import ACTOR
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import Progress, Purge, Schedule, SelectBy, State, When
from dashboard.work import Runtime, unit_of_work
from tests.support.people import as_cli
from tests.support.policies import acting
from tests.support.purges import AT_ONCE, counted, in_state, move, plan, preview
from tests.support.some_caches import add_cache, form

LINE = "0 4 * * *"


@pytest.fixture
def cache(runtime: Runtime) -> Cache:
    return add_cache(runtime)


def schedule(runtime: Runtime, purge: Purge, line: str = LINE, **values: Any) -> Schedule:
    with acting(runtime) as work:
        return service.create_schedule(
            work, purge.number, **{"revision": purge.revision, "line": line, "confirmed_keys": 100, **values}
        )


@pytest.fixture
def daily(runtime: Runtime, cache: Cache) -> Schedule:
    return schedule(runtime, counted(runtime, cache.id), reason="Night work")


def only(runtime: Runtime, cache: Cache) -> Schedule:
    with as_cli(runtime) as work:
        (found,) = service.list_schedules(work, cache.id)
    return found


def purges_of(runtime: Runtime, cache: Cache) -> list[Purge]:
    with as_cli(runtime) as work:
        return service.list_purges(work, cache.id)


def fire(runtime: Runtime, at: datetime) -> int:
    """Fire what is due at ``at``, as one worker would; how many fired."""
    count = 0
    while True:
        with unit_of_work(runtime, ACTOR) as work:
            if not schedules.fire_next(work, at):
                return count
        count += 1


def next_at(found: Schedule) -> datetime:
    assert found.next_at is not None
    return found.next_at


def actions(runtime: Runtime) -> Iterator[Any]:
    with runtime.database.transaction() as session:
        yield from session.execute(text("SELECT * FROM audit_entry ORDER BY id"))


# --- made and changed ---------------------------------------------------------------------------------------


def test_it_is_made_of_a_purge_that_was_counted(runtime: Runtime, cache: Cache) -> None:
    purge = counted(runtime, cache.id)
    wanted = replace(purge.plan, when=When.OVER, over_s=300)
    made = schedule(runtime, purge, "  0  4 * *  MON ", reason="Night work", plan=wanted)
    assert purge.preview is not None
    assert (made.cron, made.plan, made.cap, made.by) == ("0 4 * * mon", wanted, purge.preview.cap, "olga")
    assert made.preview == purge.preview and made.last_purge is None and not made.is_paused
    at = next_at(made)
    assert (at.weekday(), at.hour, at.minute) == (0, 4, 0)
    assert purges_of(runtime, cache) == []
    last = list(actions(runtime))[-1]
    assert last.action == "invalidation:schedule:create" and last.after["from"] == f"purge {purge.number}"


def test_one_that_had_begun_stays_on_record(runtime: Runtime, cache: Cache) -> None:
    purge = in_state(runtime, cache.id, State.RUNNING)
    move(runtime, purge.number, Verb.PAUSE, progress=Progress(touched=90))
    move(runtime, purge.number, Verb.RECOUNT)
    purge = move(runtime, purge.number, Verb.PREVIEW, preview=preview(runtime.clock.now()))
    made = schedule(runtime, purge)
    (left,) = purges_of(runtime, cache)
    assert (left.number, left.state, left.progress.touched) == (purge.number, State.CANCELLED, 90)
    said = [row for row in actions(runtime) if row.action == "invalidation:purge:cancel"]
    assert [(row.reason, row.after["keys touched"]) for row in said] == [
        (f"Made schedule {made.number} of it.", 90)
    ]


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"line": "0 0 30 2 *"}, "cron"),
        ({"line": ""}, "cron"),
        ({"confirmed_keys": None}, "confirm"),
    ],
)
def test_what_cannot_be_scheduled(runtime: Runtime, cache: Cache, values: dict[str, Any], field: str) -> None:
    purge = counted(runtime, cache.id)
    with pytest.raises(InvalidInput) as refused:
        schedule(runtime, purge, **values)
    assert set(refused.value.fields) == {field}
    assert purges_of(runtime, cache) == [purge]


def test_at_a_time_and_by_a_schedule_is_one_too_many(runtime: Runtime, cache: Cache) -> None:
    at = replace(AT_ONCE, when=When.AT, at=runtime.clock.now() + timedelta(days=1))
    with pytest.raises(InvalidInput) as refused:
        schedule(runtime, counted(runtime, cache.id, at))
    assert set(refused.value.fields) == {"when"}


def test_paused_resumed_removed(runtime: Runtime, cache: Cache, daily: Schedule) -> None:
    with acting(runtime) as work:
        paused = service.pause_schedule(work, daily.number, revision=daily.revision)
    assert paused.is_paused and fire(runtime, next_at(daily)) == 0
    for verb in (service.pause_schedule, service.resume_schedule, service.remove_schedule):
        with pytest.raises(Conflict), acting(runtime) as work:
            verb(work, daily.number, revision=daily.revision)
        with pytest.raises(Forbidden), acting(runtime, role=Role.VIEWER) as work:
            verb(work, daily.number, revision=paused.revision)
        with pytest.raises(NotFound), acting(runtime) as work:
            verb(work, 2**64, revision=0)
    with pytest.raises(Conflict, match="paused already"), acting(runtime) as work:
        service.pause_schedule(work, daily.number, revision=paused.revision)
    with acting(runtime) as work:
        resumed = service.resume_schedule(work, daily.number, revision=paused.revision)
    assert not resumed.is_paused
    with pytest.raises(Conflict, match="not paused"), acting(runtime) as work:
        service.resume_schedule(work, daily.number, revision=resumed.revision)
    fire(runtime, next_at(resumed))
    with acting(runtime) as work:
        service.remove_schedule(work, daily.number, revision=resumed.revision)
        assert service.list_schedules(work, cache.id) == []
    # What it made stays, and says no more who made it.
    assert [purge.schedule_id for purge in purges_of(runtime, cache)] == [None]


def test_the_next_one_comes_first(runtime: Runtime, cache: Cache) -> None:
    late, soon, paused = (
        schedule(runtime, counted(runtime, cache.id), line)
        for line in ("0 4 1 1 *", "* * * * *", "1 1 * * *")
    )
    with acting(runtime) as work:
        service.pause_schedule(work, paused.number, revision=0)
        found = [each.number for each in service.list_schedules(work, cache.id)]
    assert found == [soon.number, late.number, paused.number]


# --- fired --------------------------------------------------------------------------------------------------


def test_a_firing_makes_an_approved_purge(runtime: Runtime, cache: Cache, daily: Schedule) -> None:
    due = next_at(daily)
    assert fire(runtime, due - timedelta(seconds=1)) == 0
    assert fire(runtime, due + timedelta(seconds=2)) == 1
    assert fire(runtime, due + timedelta(seconds=2)) == 0
    (purge,) = purges_of(runtime, cache)
    assert (purge.state, purge.source, purge.schedule_id) == (State.WAITING, "schedule", daily.number)
    assert (purge.by, purge.reason, purge.cap) == ("olga", "Night work", daily.cap)
    assert purge.preview == daily.preview and purge.plan == daily.plan and purge.approved_at is not None
    after = only(runtime, cache)
    assert (after.last_at, after.next_at) == (due, due + timedelta(days=1))
    assert (after.last_purge, after.last_state, after.last_note) == (purge.number, State.WAITING, "")
    assert after.revision == daily.revision
    last = list(actions(runtime))[-1]
    assert (last.action, last.subject) == ("invalidation:schedule:fire", f"purge {purge.number}")
    assert last.actor_name == f"schedule {daily.number}" and last.reason == "Night work"


def test_a_list_goes_along_every_time(runtime: Runtime, cache: Cache) -> None:
    keys = tuple(b"k%d" % number for number in range(6_000))
    made = schedule(runtime, counted(runtime, cache.id, plan("", SelectBy.KEYS), keys))
    for days in range(2):
        fire(runtime, next_at(made) + timedelta(days=days))
        purge = purges_of(runtime, cache)[0]
        with as_cli(runtime) as work:
            first = store.input_chunk(work.session, purge.number, 0)
            second = store.input_chunk(work.session, purge.number, 5_999)
        assert first is not None and second is not None
        assert tuple(first[1] + second[1]) == keys
        move(runtime, purge.number, Verb.CANCEL)
    assert len(purges_of(runtime, cache)) == 2


def test_of_many_workers_one_fires(live_runtime: Runtime) -> None:
    cache = add_cache(live_runtime)
    made = [schedule(live_runtime, counted(live_runtime, cache.id)) for _ in range(5)]
    with live_runtime.database.transaction() as session:
        session.execute(text("UPDATE purge_schedule SET next_at = clock_timestamp() - interval '1 s'"))
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: jobs.fire_schedules(live_runtime), range(12)))
    found = purges_of(live_runtime, cache)
    assert sorted(purge.schedule_id or 0 for purge in found) == [each.number for each in made]


def test_one_whose_cache_somebody_removes_is_passed_over(live_runtime: Runtime) -> None:
    """Who waited for that cache would keep the schedule that goes with it."""
    going, staying = add_cache(live_runtime, "going"), add_cache(live_runtime, "staying")
    for each in (going, staying):
        schedule(live_runtime, counted(live_runtime, each.id))
    with live_runtime.database.transaction() as session:
        session.execute(text("UPDATE purge_schedule SET next_at = clock_timestamp() - interval '1 s'"))
    with as_cli(live_runtime) as work:
        work.session.execute(text("SELECT FROM cache WHERE id = :id FOR UPDATE"), {"id": going.id})
        jobs.fire_schedules(live_runtime)
        caches.delete_cache(work, going.id)
    assert [purge.schedule_id is None for purge in purges_of(live_runtime, staying)] == [False]


def test_one_that_was_missed_is_made_up_for_once(runtime: Runtime, cache: Cache) -> None:
    every = schedule(runtime, counted(runtime, cache.id), "*/10 * * * *")
    # Nothing ran at six firings.
    assert fire(runtime, next_at(every) + timedelta(minutes=55)) == 1
    assert len(purges_of(runtime, cache)) == 1
    assert only(runtime, cache).next_at == next_at(every) + timedelta(minutes=60)


def test_one_that_is_long_past_is_only_noted(runtime: Runtime, cache: Cache, daily: Schedule) -> None:
    due = next_at(daily)
    assert fire(runtime, due + timedelta(hours=1, seconds=1)) == 1
    assert purges_of(runtime, cache) == []
    after = only(runtime, cache)
    assert "Nothing ran" in after.last_note and (after.last_at, after.next_at) == (
        due,
        due + timedelta(days=1),
    )
    last = list(actions(runtime))[-1]
    assert (last.action, last.result) == ("invalidation:schedule:miss", "failed")


def test_the_next_waits_for_nobody_but_its_own_last(runtime: Runtime, cache: Cache, daily: Schedule) -> None:
    due = next_at(daily)
    fire(runtime, due)
    fire(runtime, due + timedelta(days=1))
    (purge,) = purges_of(runtime, cache)
    assert f"Purge {purge.number}" in only(runtime, cache).last_note
    move(runtime, purge.number, Verb.CANCEL)
    fire(runtime, due + timedelta(days=2))
    assert len(purges_of(runtime, cache)) == 2 and only(runtime, cache).last_note == ""


def test_a_read_only_cache_is_left_alone(runtime: Runtime, cache: Cache, daily: Schedule) -> None:
    with as_cli(runtime) as work:
        caches.update_cache(work, cache.id, form(read_only=True, revision=cache.revision))
    fire(runtime, next_at(daily))
    assert purges_of(runtime, cache) == [] and "read-only" in only(runtime, cache).last_note
