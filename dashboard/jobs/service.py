"""Use cases of jobs, for the areas that have long work. Who may ask for what is the area's to decide."""

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final, TypeVar

from dashboard.access import Actor
from dashboard.errors import StoreUnavailable
from dashboard.jobs import store
from dashboard.jobs.types import Control, Job, LeaseLost, OpenJob, Wish
from dashboard.work import Runtime, UnitOfWork, unit_of_work

_AGAIN_AFTER_S: Final = 0.3
_Answer = TypeVar("_Answer")


def add(
    work: UnitOfWork,
    kind: str,
    subject: int,
    *,
    cache_id: int | None = None,
    lane: str = "",
    lane_width: int = 1,
    not_before: datetime | None = None,
) -> int:
    """Have something done by a worker, once this transaction is committed.

    Args:
        kind: which of the worker's handlers does it.
        subject: number of what it is about, in the area's own table.
        cache_id: the job goes when this cache is removed.
        lane: jobs of one kind and lane run ``lane_width`` at a time; empty: as they come.
        not_before: aware; None: now.

    Returns:
        The job's id.
    """
    return store.insert_job(
        work.session,
        kind=kind,
        subject=subject,
        cache_id=cache_id,
        lane=lane,
        lane_width=lane_width,
        not_before=not_before,
        now=work.now,
    )


def lock(work: UnitOfWork, job_id: int) -> OpenJob | None:
    """The job, kept from being claimed or ended by anybody else until the transaction ends; None: it is over.

    The row of the area's own table is to be locked before it, always in that order.
    """
    return store.lock(work.session, job_id)


def ask(work: UnitOfWork, job_id: int, wish: Wish) -> None:
    """Ask the holder of a job to stop; it hears of it within seconds."""
    store.set_wish(work.session, job_id, wish)


def remove(work: UnitOfWork, job_id: int) -> None:
    """Take a job off the table. A holder finds that it lost it."""
    store.remove(work.session, job_id)


def set_width(work: UnitOfWork, kind: str, lane: str, width: int) -> None:
    """Change how many jobs of a lane run at a time; those that run go on."""
    store.set_width(work.session, kind, lane, width)


def fence(work: UnitOfWork, job: Job) -> None:
    """Let this transaction commit only as long as ``job`` is ours.

    Raises:
        LeaseLost: somebody took it over, or it was taken off the table.
    """
    if not store.is_mine(work.session, job.id, job.attempt):
        raise LeaseLost


def finish(work: UnitOfWork, job: Job) -> None:
    """End a job of ours, in the transaction that writes what came of it.

    Raises:
        LeaseLost: it was not ours any more; nothing of this transaction may stand.
    """
    if not store.finish(work.session, job.id, job.attempt):
        raise LeaseLost


def enter(work: UnitOfWork, job: Job) -> None:
    """Begin a transaction for a job.

    Removing the job's cache removes all its rows, in an order of its own; who has the cache first has them all.
    """
    store.let_go_soon(work.session)
    store.hold_cache(work.session, job.id)


def let_go_soon(work: UnitOfWork) -> None:
    """Let a worker's transaction neither hold rows for long when the worker hangs, nor wait long for others."""
    store.let_go_soon(work.session)


def commit_soon(work: UnitOfWork) -> None:
    """Don't wait for the disk at this commit: for progress, of which the last moment may be lost.

    A worker that is killed loses nothing by that; a crash of PostgreSQL's machine sets a job back by that moment.
    """
    store.commit_soon(work.session)


def patiently(
    runtime: Runtime, actor: Actor, control: Control, do: Callable[[UnitOfWork], _Answer]
) -> _Answer:
    """Do something for a job in a transaction of its own; again while PostgreSQL is away and the lease is ours.

    ``do`` must be such that a second time does no harm: the answer to a commit can get lost.

    Raises:
        LeaseLost: the lease is not ours any more, or that can't be known.
    """
    while True:
        try:
            with unit_of_work(runtime, actor) as work:
                enter(work, control.job)
                answer = do(work)
            return answer
        except StoreUnavailable:
            threading.Event().wait(_AGAIN_AFTER_S)
            if not control.is_ours:
                raise LeaseLost from None
