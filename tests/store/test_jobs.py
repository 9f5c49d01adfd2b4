"""Jobs: claimed once, leased, fenced, given back, taken over; with real commits and real threads."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import text

from dashboard.jobs import runner, service, store
from dashboard.jobs.runner import Held, Runner
from dashboard.jobs.types import (
    CancelAsked,
    Control,
    Handler,
    Job,
    LeaseLost,
    PauseAsked,
    Stopping,
    Wish,
)
from dashboard.work import Runtime, UnitOfWork
from tests.support.people import as_cli
from tests.support.polling import value, wait_until
from tests.support.some_caches import add_cache

KIND = "test.kind"


def add(runtime: Runtime, subject: int = 1, **values: object) -> int:
    with as_cli(runtime) as work:
        return service.add(work, KIND, subject, **values)  # type: ignore[arg-type]


def claim(runtime: Runtime, holder: str = "me", lease_s: float = 10.0) -> Job | None:
    with runtime.database.transaction() as session:
        return store.claim(session, [KIND], holder, lease_s)


def claimed(runtime: Runtime, holder: str = "me", lease_s: float = 10.0) -> Job:
    job = claim(runtime, holder, lease_s)
    assert job is not None
    return job


def finish(runtime: Runtime, job: Job) -> None:
    with as_cli(runtime) as work:
        service.finish(work, job)


def lease_of(runtime: Runtime, job_id: int) -> tuple[str, bool]:
    """(holder, whether the lease runs)."""
    with runtime.database.transaction() as session:
        row = session.execute(
            text("SELECT holder, coalesce(lease_until > clock_timestamp(), false) FROM job WHERE id = :id"),
            {"id": job_id},
        ).one()
    return row[0], row[1]


def expire(runtime: Runtime, job_id: int) -> None:
    """Let the lease be over, as if its holder had been silent."""
    with runtime.database.transaction() as session:
        session.execute(
            text("UPDATE job SET lease_until = clock_timestamp() - interval '1 ms' WHERE id = :id"),
            {"id": job_id},
        )


# --- claims -------------------------------------------------------------------------------------------------


def test_many_who_claim_at_once_get_each_job_once(live_runtime: Runtime) -> None:
    for subject in range(40):
        add(live_runtime, subject)

    def claim_until_empty(name: int) -> list[int]:
        found = []
        while (job := claim(live_runtime, str(name))) is not None:
            found.append(job.subject)
        return found

    with ThreadPoolExecutor(6) as pool:
        found = [subject for part in pool.map(claim_until_empty, range(6)) for subject in part]
    assert sorted(found) == list(range(40))


def test_a_lane_is_never_fuller_than_its_width(live_runtime: Runtime) -> None:
    for subject in range(8):
        add(live_runtime, subject, lane="cache 1", lane_width=2)
    add(live_runtime, 100, lane="cache 2", lane_width=1)
    with ThreadPoolExecutor(8) as pool:
        jobs = [job for job in pool.map(lambda _: claim(live_runtime), range(8)) if job is not None]
    assert sorted(job.subject for job in jobs)[-1] == 100
    assert len(jobs) == 3
    finish(live_runtime, next(job for job in jobs if job.subject != 100))
    assert claimed(live_runtime).subject < 100
    assert claim(live_runtime) is None


def test_who_was_begun_goes_first_and_keeps_its_place(live_runtime: Runtime) -> None:
    first, second = (add(live_runtime, subject, lane="one", lane_width=1) for subject in (1, 2))
    job = claimed(live_runtime)
    assert job.id == first
    with live_runtime.database.transaction() as session:
        assert store.release(session, first, job.attempt, 3600.0)
    # It waits for its server, say; the next one would only do the same.
    assert claim(live_runtime) is None
    with live_runtime.database.transaction() as session:
        session.execute(text("UPDATE job SET not_before = now()"))
    assert claimed(live_runtime).id == first
    assert second != first


def test_a_narrowed_lane_shuts_nobody_out_who_was_begun(live_runtime: Runtime) -> None:
    ids = [add(live_runtime, subject, lane="one", lane_width=2) for subject in (1, 2)]
    jobs = [claimed(live_runtime), claimed(live_runtime)]
    with as_cli(live_runtime) as work:
        service.set_width(work, KIND, "one", 1)
    for job in jobs:
        expire(live_runtime, job.id)
    assert sorted([claimed(live_runtime).id, claimed(live_runtime).id]) == ids


def test_nothing_is_claimed_before_its_time_or_while_it_is_held(live_runtime: Runtime) -> None:
    add(live_runtime, not_before=live_runtime.clock.now() + timedelta(hours=1))
    assert claim(live_runtime) is None
    job_id = add(live_runtime, 2)
    assert claimed(live_runtime).id == job_id
    assert claim(live_runtime) is None
    with live_runtime.database.transaction() as session:
        assert not store.has_free(session, [KIND])
        assert store.claim(session, ["another kind"], "me", 10) is None


# --- fences -------------------------------------------------------------------------------------------------


def test_whoever_was_silent_for_too_long_can_write_nothing_more(live_runtime: Runtime) -> None:
    job_id = add(live_runtime)
    old = claimed(live_runtime, "old")
    expire(live_runtime, job_id)
    new = claimed(live_runtime, "new")
    assert new.id == job_id and new.attempt == old.attempt + 1
    with pytest.raises(LeaseLost), as_cli(live_runtime) as work:
        service.fence(work, old)
    with pytest.raises(LeaseLost):
        finish(live_runtime, old)
    with live_runtime.database.transaction() as session:
        assert not store.release(session, old.id, old.attempt, 0)
        assert store.renew(session, [(old.id, old.attempt)], 10) == {}
    assert lease_of(live_runtime, job_id) == ("new", True)
    finish(live_runtime, new)
    with pytest.raises(LeaseLost):
        finish(live_runtime, new)


def test_a_take_over_waits_for_nobody_and_a_fence_holds_it_off(live_runtime: Runtime) -> None:
    job_id = add(live_runtime)
    old = claimed(live_runtime, "old")
    expire(live_runtime, job_id)
    with as_cli(live_runtime) as work:
        # Nobody has taken over yet, so this may still commit; and nobody does before it has.
        service.fence(work, old)
        assert claim(live_runtime, "new") is None
    assert claimed(live_runtime, "new").attempt == old.attempt + 1


def test_renewing_hears_what_is_asked(live_runtime: Runtime) -> None:
    job_id = add(live_runtime)
    job = claimed(live_runtime, lease_s=0.2)
    with as_cli(live_runtime) as work:
        locked = service.lock(work, job_id)
        assert locked is not None and locked.is_held and locked.wish is Wish.NONE
        service.ask(work, job_id, Wish.PAUSE)
    with live_runtime.database.transaction() as session:
        assert store.renew(session, [(job.id, job.attempt)], 10) == {job_id: Wish.PAUSE}
    assert lease_of(live_runtime, job_id) == ("me", True)
    # Whoever takes over hears it with the claim.
    expire(live_runtime, job_id)
    assert claimed(live_runtime).wish is Wish.PAUSE
    with as_cli(live_runtime) as work:
        service.remove(work, job_id)
        assert service.lock(work, job_id) is None


def test_a_removed_cache_takes_its_jobs_along(live_runtime: Runtime) -> None:
    cache = add_cache(live_runtime)
    add(live_runtime, cache_id=cache.id)
    job = claimed(live_runtime)
    with live_runtime.database.transaction() as session:
        session.execute(text("DELETE FROM cache"))
    with pytest.raises(LeaseLost), as_cli(live_runtime) as work:
        service.fence(work, job)


# --- what a thread is told ----------------------------------------------------------------------------------


def held(good_for_s: float = 60.0, wish: Wish = Wish.NONE, stopping: threading.Event | None = None) -> Held:
    job = Job(1, KIND, 1, 1, wish=wish)
    return Held(job, runner.uptime() + good_for_s, stopping or threading.Event())


def test_a_thread_is_told_the_most_important_thing() -> None:
    held().check()
    stopping = threading.Event()
    stopping.set()
    with pytest.raises(Stopping):
        held(stopping=stopping).check()
    with pytest.raises(PauseAsked):
        held(wish=Wish.PAUSE, stopping=stopping).check()
    with pytest.raises(CancelAsked):
        held(wish=Wish.CANCEL, stopping=stopping).check()
    with pytest.raises(LeaseLost):
        held(0.0, Wish.CANCEL, stopping).check()
    lost = held(wish=Wish.CANCEL)
    lost.lost()
    with pytest.raises(LeaseLost):
        lost.check()


@pytest.mark.parametrize(
    "news",
    [lambda control: control.renewed(Wish.PAUSE, runner.uptime() + 60), Held.lost, Held.stop],
    ids=["asked", "lost", "stopped"],
)
def test_waiting_ends_when_there_is_news(news: Callable[[Held], None]) -> None:
    control = held()
    threading.Timer(0.05, news, [control]).start()
    start = time.monotonic()
    control.wait(30)
    assert time.monotonic() - start < 25


def test_waiting_ends_with_the_lease() -> None:
    control = held(0.05)
    start = time.monotonic()
    control.wait(30)
    assert time.monotonic() - start < 25
    assert not control.is_ours


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="the system has no such clock")
def test_a_lease_ends_while_the_machine_is_suspended(monkeypatch: pytest.MonkeyPatch) -> None:
    control = held(0.05)
    present = time.monotonic()
    # As it is then: that clock stands still.
    monkeypatch.setattr(time, "monotonic", lambda: present)
    ends = time.perf_counter() + 25
    while control.is_ours:
        assert time.perf_counter() < ends


# --- the runner ---------------------------------------------------------------------------------------------


@contextmanager
def running(
    runtime: Runtime, run: Callable[[Control], None], threads: int = 2, holder: str = "here"
) -> Iterator[Runner]:
    made = Runner(runtime, {KIND: Handler(run, threads)}, holder=holder)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def is_over(runtime: Runtime) -> bool:
    return bool(value(runtime.database, "SELECT count(*) FROM job") == 0)


def until_told(control: Control) -> None:
    while True:
        control.check()
        control.wait(0.5)


def test_jobs_run_side_by_side_as_threads_allow(live_runtime: Runtime) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def run(control: Control) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        control.wait(0.1)
        with lock:
            now[0] -= 1
        finish(live_runtime, control.job)

    for subject in range(7):
        add(live_runtime, subject)
    with running(live_runtime, run, threads=2) as made:
        wait_until(lambda: is_over(live_runtime), "all jobs are done")
        wait_until(lambda: made.running == 0, "and forgotten")
    assert 1 <= most[0] <= 2


def test_what_fails_is_tried_again(live_runtime: Runtime) -> None:
    tries: list[int] = []

    def run(control: Control) -> None:
        tries.append(control.job.attempt)
        if len(tries) == 1:
            raise RuntimeError("an accident")
        finish(live_runtime, control.job)

    add(live_runtime)
    with running(live_runtime, run):
        wait_until(lambda: is_over(live_runtime), "it is done in the end")
    assert tries == [1, 2]


def test_stopping_gives_jobs_back_at_once(live_runtime: Runtime) -> None:
    job_id = add(live_runtime)
    with running(live_runtime, until_told, holder="first"):
        wait_until(lambda: lease_of(live_runtime, job_id)[1], "it is claimed")
    assert lease_of(live_runtime, job_id) == ("", False)
    taken = threading.Event()

    def run(control: Control) -> None:
        taken.set()
        finish(live_runtime, control.job)

    with running(live_runtime, run, holder="second"):
        # Far sooner than a lease lasts, were it not given back.
        assert taken.wait(runner.LEASE_S - 3)
        wait_until(lambda: is_over(live_runtime), "it is done")


def test_leases_are_renewed_for_as_long_as_the_work_takes(
    live_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEASE_S", 4.0)
    monkeypatch.setattr(runner, "RENEW_EVERY_S", 0.2)
    attempts: list[int] = []

    def run(control: Control) -> None:
        attempts.append(control.job.attempt)
        ends_at = time.monotonic() + 6
        while time.monotonic() < ends_at:
            control.check()
            control.wait(0.1)
        finish(live_runtime, control.job)

    add(live_runtime)
    with running(live_runtime, run, holder="one"), running(live_runtime, run, holder="two"):
        wait_until(lambda: is_over(live_runtime), "it is done")
    assert attempts == [1]


def test_who_cannot_renew_stops_before_the_lease_ends(
    live_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LEASE_S", 3.0)
    monkeypatch.setattr(runner, "RENEW_EVERY_S", 0.2)
    ended = threading.Event()
    begun = threading.Event()
    job_id = add(live_runtime)

    def run(control: Control) -> None:
        begun.set()
        try:
            until_told(control)
        except LeaseLost:
            ended.set()
            raise

    with running(live_runtime, run) as made:
        assert begun.wait(20)
        with live_runtime.database.transaction() as session:
            # Renewals wait for this row, as they would for a database that is away.
            session.execute(text("SELECT 1 FROM job WHERE id = :id FOR UPDATE"), {"id": job_id})
            assert ended.wait(20)
        monkeypatch.setattr(runner, "LEASE_S", 30.0)
        wait_until(lambda: made.running == 1 and lease_of(live_runtime, job_id)[1], "it is claimed anew")


def test_a_job_that_was_taken_off_stops(live_runtime: Runtime) -> None:
    ended = threading.Event()

    def run(control: Control) -> None:
        try:
            until_told(control)
        finally:
            ended.set()

    job_id = add(live_runtime)
    with running(live_runtime, run):
        wait_until(lambda: lease_of(live_runtime, job_id)[1], "it is claimed")
        with as_cli(live_runtime) as work:
            service.remove(work, job_id)
        assert ended.wait(20)


def test_what_runs_beside_runs_again_after_it_failed(live_runtime: Runtime) -> None:
    calls: list[int] = []

    def beside() -> None:
        calls.append(1)
        raise RuntimeError("an accident")

    made = Runner(live_runtime, {}, beside=[beside])
    made.start()
    wait_until(lambda: len(calls) >= 2, "it is called again")
    made.stop()


def test_areas_add_jobs_within_their_own_transaction(live_runtime: Runtime) -> None:
    def fail(work: UnitOfWork) -> None:
        service.add(work, KIND, 1)
        raise RuntimeError("an accident")

    with pytest.raises(RuntimeError), as_cli(live_runtime) as work:
        fail(work)
    assert claim(live_runtime) is None
