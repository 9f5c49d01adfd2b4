"""Use cases of the lab: runs asked for, stopped, looked at. A worker does them (``jobs``)."""

from collections.abc import Mapping
from typing import Any, Final

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.demo.lab import catalogue
from dashboard.demo.lab.types import Result
from dashboard.errors import Conflict, NotFound
from dashboard.jobs import service as jobs
from dashboard.jobs.types import Wish
from dashboard.lab import store
from dashboard.lab.types import Latest, Run, State
from dashboard.work import UnitOfWork

LAB: Final = "lab"
"""Kind of the job, and its lane: runs measure, so one at a time."""
KEPT: Final = 200
"""Runs of a scenario; older ones are forgotten."""
LISTED: Final = 50


def start_run(work: UnitOfWork, name: str) -> Run:
    """Have a worker run a scenario, after those that wait already.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such scenario.
        Conflict: it waits or runs already.
    """
    require(work.actor, Role.OPERATOR)
    if catalogue.find(name) is None:
        raise no_scenario(name)
    run = _ask(work, name)
    if run is None:
        raise Conflict(
            f"The scenario {name} waits or runs already.", what_to_do="Wait for it, or stop it first."
        )
    return run


def start_all(work: UnitOfWork) -> list[Run]:
    """Have all scenarios run that neither wait nor run, one after the other.

    Raises:
        Forbidden: the actor is no operator.
    """
    require(work.actor, Role.OPERATOR)
    asked = [_ask(work, scenario.name) for scenario in catalogue.scenarios()]
    return [run for run in asked if run is not None]


def _ask(work: UnitOfWork, name: str) -> Run | None:
    number = store.insert_run(work.session, name, work.actor.name, work.now)
    if number is None:
        return None
    job_id = jobs.add(work, LAB, number, lane=LAB)
    store.change_run(work.session, number, job_id=job_id)
    run = _kept(work, number)
    record(work, "start", run, after={"state": State.WAITING.value})
    return run


def cancel_run(work: UnitOfWork, number: int) -> Run:
    """End a run for good; nothing of it is kept but that it was.

    A run that a worker holds is asked to end, which takes some seconds: its servers end with it.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such run.
        Conflict: it is over.
    """
    require(work.actor, Role.OPERATOR)
    run = store.find_run(work.session, number, lock=True)
    if run is None:
        raise _gone(number)
    if run.state.is_over:
        raise Conflict(f"Run {number} is over already.")
    job_id = store.find_job(work.session, number)
    job = None if job_id is None else jobs.lock(work, job_id)
    if job is not None and job.is_held:
        if run.wish != Wish.CANCEL.value:
            jobs.ask(work, job.id, Wish.CANCEL)
            store.change_run(work.session, number, wish=Wish.CANCEL.value)
            record(work, "ask-cancel", run)
        return _kept(work, number)
    if job is not None:
        jobs.remove(work, job.id)
    return end(work, run, State.CANCELLED)


def cancel_all(work: UnitOfWork) -> int:
    """End all runs that wait or run; how many they were.

    Raises:
        Forbidden: the actor is no operator.
    """
    require(work.actor, Role.OPERATOR)
    # Those that wait first: none of them begins meanwhile.
    found = sorted(store.list_open(work.session), key=lambda run: run.state is State.RUNNING)
    stopped = 0
    for run in found:
        try:
            cancel_run(work, run.number)
        except Conflict:
            continue  # it has just come to its end
        stopped += 1
    return stopped


def get_run(work: UnitOfWork, number: int) -> Run:
    """One run with its result.

    Raises:
        NotFound: there is no such run.
    """
    require(work.actor, Role.VIEWER)
    run = store.find_run(work.session, number)
    if run is None:
        raise _gone(number)
    return run


def latest(work: UnitOfWork, scenarios: list[str] | None = None) -> Latest:
    """What is known of each scenario; results only of these, where they are named."""
    require(work.actor, Role.VIEWER)
    return store.latest(work.session, scenarios)


def newest(work: UnitOfWork) -> dict[str, Run]:
    """The newest run of each scenario, without its result."""
    require(work.actor, Role.VIEWER)
    return store.newest(work.session)


def list_runs(
    work: UnitOfWork, scenario: str | None = None, *, before: int | None = None, limit: int = LISTED
) -> list[Run]:
    """Runs without their results, newest first; only numbers below ``before``."""
    require(work.actor, Role.VIEWER)
    return store.list_runs(work.session, scenario, before=before, limit=limit)


def list_open(work: UnitOfWork) -> list[Run]:
    """Runs that wait or run, in the order in which they are done."""
    require(work.actor, Role.VIEWER)
    return store.list_open(work.session)


def end(work: UnitOfWork, run: Run, state: State, *, problem: str = "", result: Result | None = None) -> Run:
    """Write down how a locked run ended; its job is the caller's to end."""
    store.change_run(
        work.session,
        run.number,
        state=state,
        ended_at=work.now,
        wish="",
        words="",
        problem=problem,
        result=result,
        job_id=None,
    )
    store.delete_old(work.session, run.scenario, KEPT)
    verb = {State.CANCELLED: "cancel", State.VOID: "fail"}.get(state, "done")
    after: dict[str, Any] = {"state": state.value}
    if problem:
        after["why"] = problem
    if result is not None and state is State.FAILED:
        after["checks that do not hold"] = [check.text for check in result.checks if not check.passed]
    record(
        work,
        verb,
        run,
        before={"state": run.state.value},
        after=after,
        result="failed" if state is State.VOID else "done",
    )
    return _kept(work, run.number)


def record(
    work: UnitOfWork,
    verb: str,
    run: Run,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    result: str = "done",
) -> None:
    """Write an audit entry about a run."""
    subject = f"{run.scenario}, run {run.number}"
    audit.record(work, f"lab:run:{verb}", subject, before=before, after=after, result=result)


def no_scenario(name: str) -> NotFound:
    """The error for a name that is none."""
    return NotFound(
        f"There is no scenario {name[:80]}.", what_to_do="The page Scenario lab shows all of them."
    )


def _kept(work: UnitOfWork, number: int) -> Run:
    run = store.find_run(work.session, number)
    assert run is not None  # it is locked, or was made by this transaction
    return run


def _gone(number: int) -> NotFound:
    return NotFound(
        f"There is no run {number}.", what_to_do=f"The last {KEPT} runs of each scenario are kept."
    )
