"""Purges in the service: who may do what when, and what is on record of it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache, Environment
from dashboard.errors import Conflict, DashboardError, Forbidden, InvalidInput, NotFound, Refused
from dashboard.invalidation import changing, jobs, purges, report, service, store
from dashboard.invalidation.signals import Segment
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import (
    Action,
    Filters,
    Limits,
    Progress,
    Purge,
    SelectBy,
    Selection,
    State,
    When,
)
from dashboard.jobs import store as jobs_store
from dashboard.work import Runtime, unit_of_work
from tests.conftest import FixedClock
from tests.support.people import as_cli
from tests.support.policies import acting
from tests.support.polling import wait_until
from tests.support.purges import AT_ONCE, counted, draft, in_state, move, plan, preview
from tests.support.some_caches import add_cache, form

AUTHOR = "olga"


@pytest.fixture
def cache(runtime: Runtime) -> Cache:
    return add_cache(runtime)


def get(runtime: Runtime, number: int) -> Purge:
    with as_cli(runtime) as work:
        return service.get_purge(work, number)


def audit_of(runtime: Runtime, number: int) -> list[tuple[str, str, str]]:
    """(verb, from state, to state) of every entry of a purge, oldest first."""
    with runtime.database.transaction() as session:
        found = session.execute(
            text(
                "SELECT action, before->>'state', after->>'state' FROM audit_entry"
                " WHERE subject = :subject ORDER BY id"
            ),
            {"subject": f"purge {number}"},
        )
        return [(row[0].rpartition(":")[2], row[1] or "", row[2] or "") for row in found]


def rows(runtime: Runtime, sql: str, **values: Any) -> list[Any]:
    with runtime.database.transaction() as session:
        return list(session.execute(text(sql), values))


def hold(runtime: Runtime, number: int) -> None:
    """Let a worker hold the purge's job."""
    with runtime.database.transaction() as session:
        session.execute(
            text(
                "UPDATE job SET holder = 'elsewhere:1', attempt = attempt + 1,"
                " lease_until = clock_timestamp() + interval '10 s' WHERE subject = :number"
            ),
            {"number": number},
        )


# --- made ---------------------------------------------------------------------------------------------------


def test_a_draft_is_made_to_be_counted(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime, AUTHOR) as work:
        made = service.create(work, cache.id, plan("product:"), reason="  OPS-1  ")
    assert (made.state, made.by, made.source, made.reason) == (State.DRAFT, AUTHOR, "cli", "OPS-1")
    assert made.plan == plan("product:") and made.preview is None and made.progress == Progress()
    assert get(runtime, made.number) == made
    (job,) = rows(runtime, "SELECT kind, subject, cache_id FROM job")
    assert tuple(job) == ("purge.count", made.number, cache.id)
    assert audit_of(runtime, made.number) == [("create", "", "draft")]


def test_a_list_is_read_once_and_comes_back_in_order(runtime: Runtime, cache: Cache) -> None:
    keys = [b"\x00\xff'\n%d" % number for number in range(12_345)]

    def once() -> Iterator[bytes]:
        yield from keys

    with as_cli(runtime) as work:
        made = service.create(work, cache.id, plan("", SelectBy.KEYS), once())
        assert made.plan.selection.count == 12_345
        found: list[bytes] = []
        while (chunk := store.input_chunk(work.session, made.number, len(found))) is not None:
            assert chunk[0] == len(found)
            found += chunk[1]
        assert found == keys
        start, part = store.input_chunk(work.session, made.number, 7_000) or (0, [])
        assert part[7_000 - start] == keys[7_000]
        assert store.input_chunk(work.session, made.number, 12_345) is None


def test_what_is_named_twice_is_one_key(runtime: Runtime, cache: Cache) -> None:
    """However far apart: pasted twice, or two exports one behind the other."""
    keys = [b"%d" % number for number in range(11_000)]
    with as_cli(runtime) as work:
        made = service.create(work, cache.id, plan("product:{id}", SelectBy.IDS), [*keys, *keys])
    assert made.plan.selection.count == 11_000
    assert sum(row.count for row in rows(runtime, "SELECT count AS count FROM purge_input")) == 11_000


def test_no_list_and_one_that_is_too_long(
    runtime: Runtime, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purges, "MOST_IDS", 10_000)
    for keys in ([], [b"k%d" % number for number in range(10_001)]):
        with pytest.raises(InvalidInput) as refused, as_cli(runtime) as work:
            service.create(work, cache.id, plan("", SelectBy.KEYS), keys)
        assert set(refused.value.fields) == {"keys"}
    assert rows(runtime, "SELECT 1 FROM purge UNION ALL SELECT 1 FROM purge_input") == []


@pytest.mark.parametrize(
    "selection",
    [
        Selection(SelectBy.PREFIX, ""),
        Selection(SelectBy.PATTERN, ""),
        Selection(SelectBy.PREFIX, "cachewarden:"),
        Selection(SelectBy.PATTERN, "cachewarden:*"),
        Selection(SelectBy.TAG, ""),
        Selection(SelectBy.IDS, "product", templates=("product",)),
        Selection(SelectBy.IDS, "product:{id}"),
    ],
    ids=str,
)
def test_no_selection_gets_past_the_service(runtime: Runtime, cache: Cache, selection: Selection) -> None:
    with pytest.raises(InvalidInput), as_cli(runtime) as work:
        service.create(work, cache.id, replace(AT_ONCE, selection=selection), [b"1"])
    assert rows(runtime, "SELECT 1 FROM purge") == []


def test_read_only_caches_and_unknown_ones_and_viewers(runtime: Runtime) -> None:
    shut = add_cache(runtime, "shut", read_only=True)
    with pytest.raises(Refused):
        draft(runtime, shut.id)
    with pytest.raises(NotFound):
        draft(runtime, 12_345)
    with pytest.raises(Forbidden), acting(runtime, role=Role.VIEWER) as work:
        service.create(work, shut.id, AT_ONCE)


# --- from state to state ------------------------------------------------------------------------------------

D, P, W, R, H, OK, C, F = State
BY_PEOPLE = {
    "approve": {P: W},
    "pause": {W: H, R: H},
    "resume": {H: W},
    "cancel": {D: C, P: C, W: C, R: C, H: C},
    "recount": {P: D, H: D},  # a draft is being counted already
}


def ask(runtime: Runtime, verb: str, purge: Purge, **values: Any) -> Purge:
    if verb == "approve":
        values = {"confirmed_keys": 100, **values}
    with acting(runtime) as work:
        done: Purge = getattr(service, verb)(work, purge.number, **{"revision": purge.revision, **values})
        return done


@pytest.mark.parametrize("verb", BY_PEOPLE)
@pytest.mark.parametrize("state", State)
def test_what_people_ask_from_each_state(runtime: Runtime, cache: Cache, state: State, verb: str) -> None:
    purge = in_state(runtime, cache.id, state)
    assert purge.state is state
    trail = audit_of(runtime, purge.number)
    jobs_before = rows(runtime, "SELECT kind FROM job")
    if state not in BY_PEOPLE[verb]:
        with pytest.raises(Conflict):
            ask(runtime, verb, purge)
        assert get(runtime, purge.number) == purge
        assert audit_of(runtime, purge.number) == trail
        assert rows(runtime, "SELECT kind FROM job") == jobs_before
        return
    to = BY_PEOPLE[verb][state]
    done = ask(runtime, verb, purge)
    assert done == get(runtime, purge.number)
    assert (done.state, done.revision) == (to, purge.revision + 1)
    assert audit_of(runtime, purge.number) == [*trail, (verb, state.value, to.value)]
    expected = {W: ["purge.run"], D: ["purge.count"]}.get(to, [])
    assert [row.kind for row in rows(runtime, "SELECT kind FROM job")] == expected
    assert rows(runtime, "SELECT job_id FROM purge") == rows(runtime, "SELECT max(id) FROM job")
    assert (done.ended_at is not None) == (to is C)


@pytest.mark.parametrize("verb", BY_PEOPLE)
def test_nobody_acts_on_what_they_have_not_seen(runtime: Runtime, cache: Cache, verb: str) -> None:
    purge = in_state(runtime, cache.id, next(iter(BY_PEOPLE[verb])))
    with pytest.raises(Conflict):
        ask(runtime, verb, purge, revision=purge.revision - 1)
    with pytest.raises(NotFound):
        ask(runtime, verb, replace(purge, number=2**63))
    with pytest.raises(Forbidden), acting(runtime, role=Role.VIEWER) as work:
        getattr(service, verb)(work, purge.number, revision=purge.revision)
    assert get(runtime, purge.number) == purge


def test_one_of_many_who_approve_at_once_does(live_runtime: Runtime) -> None:
    cache = add_cache(live_runtime)
    purge = counted(live_runtime, cache.id)

    def approve(_: int) -> bool:
        try:
            ask(live_runtime, "approve", purge)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(approve, range(6))) == 1
    assert len(rows(live_runtime, "SELECT 1 FROM job")) == 1
    assert [entry[0] for entry in audit_of(live_runtime, purge.number)].count("approve") == 1


# --- approval -----------------------------------------------------------------------------------------------


def test_an_approval_is_bound_to_its_preview(runtime: Runtime, cache: Cache, clock: FixedClock) -> None:
    purge = counted(runtime, cache.id, keys=1_000, keys_error=50)
    wanted = replace(purge.plan, when=When.OVER, over_s=120, action=Action.SPREAD, window_s=60)
    done = ask(runtime, "approve", purge, confirmed_keys=1_000, reason="OPS-7", plan=wanted)
    assert (done.plan, done.cap, done.reason) == (wanted, int(1_050 * 1.2) + 10, "OPS-7")
    assert done.approved_at == clock.now()
    entry = rows(runtime, "SELECT * FROM audit_entry ORDER BY id DESC LIMIT 1")[0]
    assert entry.action == "invalidation:purge:approve" and entry.reason == "OPS-7"
    assert entry.after["at most"] == done.cap and entry.after["target"] == "product:*"


def test_what_was_counted_is_what_runs(runtime: Runtime, cache: Cache) -> None:
    purge = counted(runtime, cache.id)
    for selection in (
        replace(purge.plan.selection, text="p"),
        replace(purge.plan.selection, filters=Filters(ttl_max_s=0)),
        replace(purge.plan.selection, by=SelectBy.PATTERN),
    ):
        with pytest.raises(Conflict):
            ask(runtime, "approve", purge, plan=replace(purge.plan, selection=selection))


def test_what_is_asked_must_be_given(runtime: Runtime) -> None:
    cache = add_cache(runtime, environment=Environment.PRODUCTION)
    purge = counted(runtime, cache.id, keys=20_000)
    with pytest.raises(InvalidInput) as refused:
        ask(runtime, "approve", purge, confirmed_keys=None)
    assert set(refused.value.fields) == {"typed", "reason"}
    with pytest.raises(InvalidInput) as refused:
        ask(runtime, "approve", purge, confirmed_keys=20_000, typed="product", reason="  ")
    assert set(refused.value.fields) == {"typed", "reason"}
    with pytest.raises(Conflict):
        ask(runtime, "approve", purge, confirmed_keys=19_999, typed="product:", reason="x")
    assert get(runtime, purge.number).state is State.PREVIEWED
    done = ask(runtime, "approve", purge, confirmed_keys=20_000, typed=" product: ", reason="x")
    assert done.state is State.WAITING


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"when": When.OVER, "over_s": 0}, "over_s"),
        ({"when": When.OVER, "over_s": 10**9}, "over_s"),
        ({"action": Action.SPREAD, "window_s": 0}, "window_s"),
        ({"when": When.AT}, "at"),
        ({"when": When.CRON}, "when"),
    ],
)
def test_times_that_cannot_be(runtime: Runtime, cache: Cache, values: dict[str, Any], field: str) -> None:
    purge = counted(runtime, cache.id)
    with pytest.raises(InvalidInput) as refused:
        ask(runtime, "approve", purge, plan=replace(purge.plan, **values))
    assert set(refused.value.fields) == {field}


def test_at_a_time_it_waits_for(runtime: Runtime, cache: Cache, clock: FixedClock) -> None:
    purge = counted(runtime, cache.id)
    for wrong in (clock.now(), clock.now() + timedelta(days=400)):
        with pytest.raises(InvalidInput):
            ask(runtime, "approve", purge, plan=replace(purge.plan, when=When.AT, at=wrong))
    at = clock.now() + timedelta(hours=3)
    ask(runtime, "approve", purge, plan=replace(purge.plan, when=When.AT, at=at))
    assert [row.not_before for row in rows(runtime, "SELECT not_before FROM job")] == [at]


def test_what_began_at_its_time_goes_on_when_it_is_approved_again(
    runtime: Runtime, cache: Cache, clock: FixedClock
) -> None:
    at = clock.now() + timedelta(hours=1)
    purge = ask(runtime, "approve", counted(runtime, cache.id, replace(AT_ONCE, when=When.AT, at=at)))
    clock.wall += timedelta(hours=2)
    move(runtime, purge.number, Verb.START, started_at=clock.now())
    again = ask(runtime, "recount", move(runtime, purge.number, Verb.HOLD, needs_count=True))
    again = move(runtime, again.number, Verb.PREVIEW, preview=preview(clock.now()))
    with pytest.raises(InvalidInput) as refused:
        ask(runtime, "approve", again, plan=replace(again.plan, at=at + timedelta(minutes=1)))
    assert set(refused.value.fields) == {"at"}
    assert ask(runtime, "approve", again).plan.when is When.NOW
    # One that did not begin yet asks for another time.
    missed = counted(runtime, cache.id, replace(AT_ONCE, when=When.AT, at=clock.now()))
    with pytest.raises(InvalidInput):
        ask(runtime, "approve", missed)


def test_an_old_preview_must_be_counted_again(runtime: Runtime, cache: Cache, clock: FixedClock) -> None:
    purge = counted(runtime, cache.id)
    clock.wall += timedelta(minutes=10, seconds=1)
    with pytest.raises(Refused, match="10 minutes"):
        ask(runtime, "approve", purge)
    again = ask(runtime, "recount", purge)
    again = move(runtime, again.number, Verb.PREVIEW, preview=preview(clock.now()))
    assert ask(runtime, "approve", again).state is State.WAITING


def test_another_server_than_was_counted(runtime: Runtime, cache: Cache, clock: FixedClock) -> None:
    purge = counted(runtime, cache.id, place=changing.place(cache))
    with as_cli(runtime) as work:
        renamed = caches.update_cache(work, cache.id, form("renamed", revision=cache.revision))
        again = form("renamed", "redis://me:other@127.0.0.1:1/0", revision=renamed.revision)
        signed_in = caches.update_cache(work, cache.id, again)
        assert changing.place(signed_in) == changing.place(cache)
        caches.update_cache(
            work, cache.id, form("renamed", "redis://me@127.0.0.1:1/3", revision=signed_in.revision)
        )
    with pytest.raises(Refused, match="another database"):
        ask(runtime, "approve", purge)
    again = ask(runtime, "recount", purge)
    again = move(runtime, again.number, Verb.PREVIEW, preview=preview(clock.now(), place=""))
    assert ask(runtime, "approve", again).state is State.WAITING


def test_a_cache_that_became_read_only_runs_nothing(runtime: Runtime, cache: Cache) -> None:
    fresh, paused = counted(runtime, cache.id), in_state(runtime, cache.id, State.PAUSED)
    with as_cli(runtime) as work:
        caches.update_cache(work, cache.id, form(read_only=True, revision=cache.revision))
    for verb, purge in (("approve", fresh), ("recount", fresh), ("resume", paused), ("recount", paused)):
        with pytest.raises(Refused):
            ask(runtime, verb, purge)
    # Stopping is always possible.
    assert ask(runtime, "cancel", paused).state is State.CANCELLED


def test_reasons_are_bounded_and_never_break_the_store(runtime: Runtime, cache: Cache) -> None:
    purge = counted(runtime, cache.id)
    with pytest.raises(InvalidInput) as refused:
        ask(runtime, "approve", purge, reason="x" * 100_000)
    assert set(refused.value.fields) == {"reason"}
    for character in ("\x00", "\x1b", "\u202e"):
        with pytest.raises(InvalidInput) as refused:
            ask(runtime, "approve", purge, reason=f"a{character}b")
        assert set(refused.value.fields) == {"reason"}
    assert ask(runtime, "approve", purge, reason="b\ud800c").reason == "b?c"


# --- asking who holds it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.WAITING, State.RUNNING])
def test_a_held_purge_is_asked_and_not_pulled_away(runtime: Runtime, cache: Cache, state: State) -> None:
    purge = in_state(runtime, cache.id, state)
    hold(runtime, purge.number)
    asked = ask(runtime, "pause", purge)
    assert (asked.state, asked.wish, asked.revision) == (state, "pause", purge.revision)
    assert [row.wish for row in rows(runtime, "SELECT wish FROM job")] == ["pause"]
    trail = audit_of(runtime, purge.number)
    assert trail[-1] == ("ask-pause", state.value, state.value)
    # Once more, by somebody who saw the same page: nothing new.
    assert ask(runtime, "pause", purge) == asked
    assert audit_of(runtime, purge.number) == trail
    # To cancel is more than to pause, and not the other way round.
    assert ask(runtime, "cancel", purge).wish == "cancel"
    with pytest.raises(Conflict, match="being cancelled"):
        ask(runtime, "pause", purge)
    done = move(runtime, purge.number, Verb.PAUSE)
    assert done.wish == ""


def test_a_purge_whose_worker_died_is_stopped_at_once(runtime: Runtime, cache: Cache) -> None:
    purge = in_state(runtime, cache.id, State.RUNNING)
    hold(runtime, purge.number)
    with runtime.database.transaction() as session:
        session.execute(text("UPDATE job SET lease_until = clock_timestamp() - interval '1 s'"))
    assert ask(runtime, "cancel", purge).state is State.CANCELLED
    assert rows(runtime, "SELECT 1 FROM job") == []


def test_a_count_is_pulled_away_from_who_counts(runtime: Runtime, cache: Cache) -> None:
    purge = draft(runtime, cache.id)
    hold(runtime, purge.number)
    assert ask(runtime, "cancel", purge).state is State.CANCELLED
    assert rows(runtime, "SELECT 1 FROM job") == []


def test_beyond_its_approval_it_must_be_counted_and_approved_again(
    runtime: Runtime, cache: Cache, clock: FixedClock
) -> None:
    purge = in_state(runtime, cache.id, State.RUNNING)
    held = move(
        runtime,
        purge.number,
        Verb.HOLD,
        needs_count=True,
        problem="It would touch more.",
        progress=Progress(touched=70, scanned=300, expected_scans=400, spent_s=600.0, came_back=30),
    )
    with as_cli(runtime) as work:
        # Its server stood still, so that what had been begun could not be finished.
        keys = tuple(b"product:%d" % number for number in range(40))
        store.put_segments(work.session, purge.number, [Segment(0, "n", keys)])
    with pytest.raises(Conflict, match="more than was approved"):
        ask(runtime, "resume", held)
    again = ask(runtime, "recount", held)
    assert (again.needs_count, again.problem, again.cap) == (False, "", 0)
    again = move(runtime, again.number, Verb.PREVIEW, preview=preview(clock.now(), 50))
    done = ask(runtime, "approve", again, confirmed_keys=50)
    # What was touched before counts, too, and so does what may have been.
    assert done.cap == 70 + 40 + preview(clock.now(), 50).cap
    assert (done.progress.touched, done.progress.came_back) == (70, 0)
    # A time to spread over is that of this approval, for what is left.
    assert (done.progress.spread_from_s, done.progress.spread_from_share) == (600.0, 0.75)


@pytest.mark.parametrize("wants_report", [False, True])
@pytest.mark.parametrize("verb", ["cancel", "fail"])
def test_keys_that_were_under_way_at_its_end_count_as_touched(
    runtime: Runtime, cache: Cache, clock: FixedClock, verb: str, wants_report: bool
) -> None:
    purge = counted(runtime, cache.id, replace(AT_ONCE, wants_report=wants_report))
    ask(runtime, "approve", purge)
    purge = move(runtime, purge.number, Verb.START, started_at=clock.now(), progress=Progress(touched=7))
    keys = tuple(b"product:%d" % number for number in range(1_000))
    with as_cli(runtime) as work:
        store.put_segments(work.session, purge.number, [Segment(0, "n", keys)])
    if verb == "cancel":
        over = ask(runtime, "cancel", purge)
    else:
        with as_cli(runtime) as work:
            locked, its_cache = changing.lock(work, purge.number, purge.revision)
            over = changing.end(work, locked, Verb.FAIL, its_cache, problem="Forbidden.")
    assert over.progress.touched == 1_007
    assert over.problem.endswith(
        "1,000 keys were under way when it ended: counted as touched, which not all may be."
    )
    assert over.problem.startswith("Forbidden. ") == (verb == "fail")
    (entry,) = rows(runtime, "SELECT after FROM audit_entry ORDER BY id DESC LIMIT 1")
    assert (entry.after["keys touched"], entry.after["keys perhaps touched"]) == (1_007, 1_000)
    if wants_report:
        actor = Actor(None, "vera", Role.VIEWER, "web")
        told = b"".join(service.report_chunks(runtime, actor, purge.number))
        assert told.splitlines() == list(keys)
    else:
        assert rows(runtime, "SELECT 1 FROM purge_segment") == []


def test_what_it_does_stays_as_it_began(runtime: Runtime, cache: Cache, clock: FixedClock) -> None:
    purge = in_state(runtime, cache.id, State.RUNNING)
    move(runtime, purge.number, Verb.PAUSE)
    move(runtime, purge.number, Verb.RECOUNT)
    again = move(runtime, purge.number, Verb.PREVIEW, preview=preview(clock.now()))
    with pytest.raises(Conflict, match="has begun"):
        ask(runtime, "approve", again, plan=replace(again.plan, action=Action.SPREAD, window_s=50))
    over = replace(again.plan, when=When.OVER, over_s=60)
    assert ask(runtime, "approve", again, plan=over).plan == over


def test_a_count_that_failed_can_be_asked_for_again(runtime: Runtime, cache: Cache) -> None:
    purge = draft(runtime, cache.id)
    with runtime.database.transaction() as session:
        jobs_store.remove(session, store.find_job(session, purge.number) or 0)
        store.change_purge(session, purge.number, problem="Redis is away.", job_id=None)
    assert ask(runtime, "recount", purge).problem == ""
    assert len(rows(runtime, "SELECT 1 FROM job")) == 1


# --- lists --------------------------------------------------------------------------------------------------


def test_the_history_is_filtered_and_paged(runtime: Runtime, cache: Cache) -> None:
    other = add_cache(runtime, "other")
    made = [draft(runtime, cache.id, plan(f"p{number}%:")) for number in range(5)]
    draft(runtime, other.id, plan("p1%:"))
    with acting(runtime, AUTHOR) as work:
        hers = service.create(work, cache.id, plan("x:"), reason="Winter _tree_")
        numbers = [purge.number for purge in service.list_purges(work, cache.id)]
        assert numbers == [hers.number, *(purge.number for purge in reversed(made))]
        page = service.list_purges(work, cache.id, limit=2)
        rest = service.list_purges(work, cache.id, before=page[-1].number, limit=10)
        assert [purge.number for purge in (*page, *rest)] == numbers
        for words, count in (
            ("P1%", 1),
            ("%", 5),
            ("OLGA", 1),
            ("_tree_", 1),
            ("", 6),
            ("\x00", 6),
            ("?", 0),
        ):
            assert len(service.list_purges(work, cache.id, text=words)) == count, words
        assert len(service.list_purges(work, cache.id, states=[State.DRAFT, State.DONE])) == 6
        assert service.list_purges(work, cache.id, states=[State.DONE]) == []
        assert service.list_purges(work, cache.id, before=-(2**70)) == []
        assert len(service.list_purges(work, cache.id, before=2**70)) == 6


def test_what_is_active_is_seen_from_everywhere(runtime: Runtime, cache: Cache) -> None:
    other = add_cache(runtime, "other")
    made = {state: in_state(runtime, other.id, state).number for state in State}
    with acting(runtime, role=Role.VIEWER) as work:
        found = [purge.number for purge in service.active_purges(work)]
    assert found == [made[state] for state in (State.WAITING, State.RUNNING, State.PAUSED)]
    with pytest.raises(NotFound), as_cli(runtime) as work:
        service.get_purge(work, made[State.DONE], cache.id)


def test_what_every_page_asks_is_little(runtime: Runtime, cache: Cache) -> None:
    for state in State:
        in_state(runtime, cache.id, state)
    later = counted(runtime, cache.id, replace(AT_ONCE, when=When.AT, at=runtime.clock.now() + timedelta(1)))
    ask(runtime, "approve", later)
    asked: list[str] = []
    with as_cli(runtime) as work:
        connection = work.session.connection()
        event.listen(connection, "before_cursor_execute", lambda *said: asked.append(said[2]))
        # One waits for its turn, one runs; one is paused, and one waits for its time.
        assert service.under_way(work) == "1 running, 1 waiting"
    (statement,) = (each for each in asked if "FROM purge" in each)
    assert "preview" not in statement and "progress" not in statement


# --- limits -------------------------------------------------------------------------------------------------


def test_limits_are_an_administrators(runtime: Runtime, cache: Cache) -> None:
    with as_cli(runtime) as work:
        assert service.limits(work, cache.id) == Limits()
        new = service.set_limits(work, cache.id, Limits(database_budget_qps=None, at_a_time=3))
        assert new == Limits(database_budget_qps=None, at_a_time=3, revision=1)
    with pytest.raises(Conflict), as_cli(runtime) as work:
        service.set_limits(work, cache.id, Limits())
    with pytest.raises(Conflict), as_cli(runtime) as work:
        service.set_limits(work, cache.id, Limits(revision=7))
    with pytest.raises(Forbidden), acting(runtime) as work:
        service.set_limits(work, cache.id, Limits(revision=1))
    with as_cli(runtime) as work:
        assert service.set_limits(work, cache.id, Limits(revision=1)).revision == 2
    entries = rows(
        runtime, "SELECT before, after FROM audit_entry WHERE action = 'invalidation:limits:change'"
    )
    assert entries[0].after == {"database_budget_qps": None, "at_a_time": 3}
    assert entries[1].before == {"database_budget_qps": None, "at_a_time": 3}


@pytest.mark.parametrize("value", [0, -1, 10**12, float("nan"), float("inf")])
def test_limits_have_bounds(runtime: Runtime, cache: Cache, value: float) -> None:
    wrong = Limits(value, -1, value, value, value, value)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput) as refused, as_cli(runtime) as work:
        service.set_limits(work, cache.id, wrong)
    assert len(refused.value.fields) == 6


def test_more_at_a_time_is_for_those_who_wait_too(runtime: Runtime, cache: Cache) -> None:
    in_state(runtime, cache.id, State.WAITING)
    with as_cli(runtime) as work:
        service.set_limits(work, cache.id, Limits(at_a_time=4))
    assert [row.lane_width for row in rows(runtime, "SELECT lane_width FROM job")] == [4]


# --- what is removed ----------------------------------------------------------------------------------------


def test_what_nobody_approves_is_gone_after_a_day(runtime: Runtime, cache: Cache, clock: FixedClock) -> None:
    keys = draft(runtime, cache.id, plan("", SelectBy.KEYS), (b"k",))
    numbers = {state: in_state(runtime, cache.id, state).number for state in State}
    begun = move(runtime, in_state(runtime, cache.id, State.RUNNING).number, Verb.HOLD)
    clock.wall += timedelta(hours=23)
    sent_back = ask(runtime, "recount", begun)
    for days in (0, 1):
        clock.wall += timedelta(hours=2, days=days)
        with as_cli(runtime) as work:
            jobs.expire(work)
        left = {row.id for row in rows(runtime, "SELECT id FROM purge")}
        assert keys.number not in left
        kept = {number for state, number in numbers.items() if state not in (State.DRAFT, State.PREVIEWED)}
        assert left == kept | {sent_back.number}
    # What had begun stays on record.
    assert get(runtime, sent_back.number).state is State.CANCELLED
    assert audit_of(runtime, keys.number)[-1][0] == "expire"
    assert {row.subject for row in rows(runtime, "SELECT subject FROM job")} <= kept
    assert rows(runtime, "SELECT 1 FROM purge_input") == []


def test_a_draft_that_is_sent_back_in_time_stays(live_runtime: Runtime) -> None:
    clock = live_runtime.clock
    purge = counted(live_runtime, add_cache(live_runtime).id)
    with live_runtime.database.transaction() as session:
        session.execute(text("UPDATE purge SET drafted_at = :at"), {"at": clock.now() - timedelta(days=2)})

    def expire() -> None:
        with as_cli(live_runtime) as work:
            jobs.expire(work)

    with ThreadPoolExecutor(1) as pool:
        with as_cli(live_runtime) as work:
            service.recount(work, purge.number, revision=purge.revision)
            expiring = pool.submit(expire)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            wait_until(lambda: bool(rows(live_runtime, waiting)), "it waits for the row")
        expiring.result()
    assert get(live_runtime, purge.number).state is State.DRAFT


def test_the_report_is_kept_for_those_who_asked_and_for_a_while(
    runtime: Runtime, cache: Cache, clock: FixedClock
) -> None:
    actor = Actor(None, "vera", Role.VIEWER, "web")
    purge = counted(runtime, cache.id, replace(AT_ONCE, wants_report=True))
    ask(runtime, "approve", purge)
    purge = move(runtime, purge.number, Verb.START, started_at=clock.now())
    segments = [Segment(number, "n", (b"a%d" % number, b"b\n\xff\\")) for number in range(3)]
    with as_cli(runtime) as work:
        store.put_segments(work.session, purge.number, segments)
        store.put_segments(work.session, purge.number, segments[1:])  # a commit whose answer got lost
        assert store.open_segments(work.session, purge.number) == segments
        store.end_segments(work.session, purge.number, [0, 1], keep=True)
        assert store.open_segments(work.session, purge.number) == segments[2:]
    line = rb"b\x0a\xff\\"
    expected = b"a0\n" + line + b"\na1\n" + line + b"\n"
    assert b"".join(service.report_chunks(runtime, actor, purge.number)) == expected
    ask(runtime, "cancel", purge)
    # What was begun may have been touched.
    expected += b"a2\n" + line + b"\n"
    assert b"".join(service.report_chunks(runtime, actor, purge.number)) == expected
    clock.wall += report.KEPT + timedelta(hours=1)
    with as_cli(runtime) as work:
        jobs.expire(work)
    assert rows(runtime, "SELECT 1 FROM purge_segment") == []
    with pytest.raises(NotFound, match="30 days"):
        service.report_chunks(runtime, actor, purge.number)
    with pytest.raises(NotFound, match="keeps no report"):
        service.report_chunks(runtime, actor, draft(runtime, cache.id).number)
    with pytest.raises(NotFound):
        service.report_chunks(runtime, actor, 12_345)


def test_a_removed_cache_takes_all_of_it_along(runtime: Runtime, cache: Cache) -> None:
    draft(runtime, cache.id, plan("", SelectBy.KEYS), (b"k",))
    for state in State:
        in_state(runtime, cache.id, state)
    with unit_of_work(runtime, Actor(None, "root", Role.ADMIN, "cli")) as work:
        service.set_limits(work, cache.id, Limits())
        caches.delete_cache(work, cache.id)
    for table in ("purge", "purge_input", "purge_limits", "job"):
        assert rows(runtime, f"SELECT 1 FROM {table}") == []


def test_errors_are_ours(runtime: Runtime, cache: Cache) -> None:
    with pytest.raises(DashboardError), as_cli(runtime) as work:
        service.approve(work, -1, revision=0)
