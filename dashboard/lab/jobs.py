"""The worker's part: runs scenarios, each in a child process, one at a time.

How a run ended is committed together with the end of its job. A run whose worker ended is begun again from the start:
half of a measurement says nothing. After three beginnings it is void, so that a run that brings its worker down does
not do so for ever.
"""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, TypeVar

from dashboard.access import Actor, Role
from dashboard.demo.lab import apart, catalogue
from dashboard.demo.lab.types import Cancelled, Result
from dashboard.errors import StoreUnavailable
from dashboard.jobs import service as jobs
from dashboard.jobs.types import CancelAsked, Control, Handler, Interrupted, LeaseLost
from dashboard.lab import service, store
from dashboard.lab.types import Run, State
from dashboard.work import Runtime, UnitOfWork, unit_of_work

log = logging.getLogger(__name__)

ACTOR: Final = Actor(user_id=None, name="worker", role=Role.ADMIN, source="worker")
MOST_BEGINNINGS: Final = 3
_TELL_EVERY_S: Final = 1.0
_Answer = TypeVar("_Answer")


def handlers(runtime: Runtime) -> Mapping[str, Handler]:
    """Who runs scenarios, for the runner."""
    return {service.LAB: Handler(partial(_work, runtime), 1)}


def _work(runtime: Runtime, control: Control) -> None:
    def patiently(do: Callable[[UnitOfWork], _Answer]) -> _Answer:
        return jobs.patiently(runtime, ACTOR, control, do)

    run = patiently(lambda work: _begin(work, control))
    if run is None:
        return
    result: Result | None = None
    state, problem = State.VOID, ""
    try:
        result = apart.run(run.scenario, tell=_Teller(runtime, control, run).tell, beat=control.check)
        problem = result.void
        state = State.VOID if result.void else State.PASSED if result.passed else State.FAILED
    except CancelAsked:
        state = State.CANCELLED
    except Interrupted:
        raise
    except Cancelled:
        problem = "Somebody ended its process."
    except Exception:
        log.exception("run %d of %s stopped", run.number, run.scenario)
        problem = "It stopped in an unexpected way. The worker's log has the details."

    def end(work: UnitOfWork) -> None:
        service.end(work, _lock(work, control), state, problem=problem, result=result)
        jobs.finish(work, control.job)

    patiently(end)


def _begin(work: UnitOfWork, control: Control) -> Run | None:
    """Begin it, or begin it again; None: it is at its end."""
    run = _lock(work, control)
    if run.state.is_over:
        jobs.finish(work, control.job)
        return None
    problem = ""
    if run.scenario not in catalogue.MODULES:
        problem = "This release has no such scenario."
    elif control.job.attempt > MOST_BEGINNINGS:
        problem = f"Its worker ended in the middle of it, {MOST_BEGINNINGS} times."
    if problem:
        service.end(work, run, State.VOID, problem=problem)
        jobs.finish(work, control.job)
        return None
    words = "Begins again: its worker ended in the middle of it" if run.state is State.RUNNING else ""
    store.change_run(
        work.session, run.number, state=State.RUNNING, started_at=work.now, share=0.0, words=words
    )
    return run


class _Teller:
    """Shows how far a run is, once a second."""

    def __init__(self, runtime: Runtime, control: Control, run: Run) -> None:
        self._runtime = runtime
        self._control = control
        self._run = run
        self._said = ""
        self._told_s = 0.0

    def tell(self, share: float, words: str) -> None:
        """Store it.

        Raises:
            LeaseLost: the run is somebody else's.
        """
        now_s = self._runtime.clock.monotonic()
        if words == self._said and now_s - self._told_s < _TELL_EVERY_S:
            return
        self._said, self._told_s = words, now_s
        try:
            with unit_of_work(self._runtime, ACTOR) as work:
                jobs.enter(work, self._control.job)
                jobs.commit_soon(work)
                store.change_run(work.session, self._run.number, share=share, words=words[:200])
                jobs.fence(work, self._control.job)
        except StoreUnavailable:
            return  # the run goes on; its end waits for PostgreSQL


def _lock(work: UnitOfWork, control: Control) -> Run:
    """The run, locked, in a transaction that commits only while the job is ours."""
    run = store.find_run(work.session, control.job.subject, lock=True)
    jobs.fence(work, control.job)
    if run is None:
        raise LeaseLost
    return run
