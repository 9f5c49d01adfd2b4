"""Purges for tests: plans, previews, and purges brought to a state as the worker would."""

from datetime import datetime
from typing import Any

from dashboard.caches import service as caches
from dashboard.invalidation import changing, service, store
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import (
    Action,
    Plan,
    Preview,
    Purge,
    SampleKey,
    SelectBy,
    Selection,
    State,
    When,
)
from dashboard.jobs import service as jobs
from dashboard.work import Runtime, UnitOfWork
from tests.support.people import as_cli

AT_ONCE = Plan(Selection(SelectBy.PREFIX, "product:"), when=When.NOW)


def plan(text: str = "product:", by: SelectBy = SelectBy.PREFIX, **values: Any) -> Plan:
    """A plan, at once if nothing else is said."""
    selection = Selection(by, text, templates=(text,) if by is SelectBy.IDS else ())
    return Plan(selection, **{"action": Action.DELETE, "when": When.NOW, **values})


def preview(counted_at: datetime, keys: int = 100, **values: Any) -> Preview:
    """What a count may have found, among a million keys."""
    sample = (SampleKey(b"product:\x00\xff", "string", 61.5, 120, "product:"),)
    return Preview(
        **{
            "counted_at": counted_at,
            "keys": keys,
            "scanned": 1_000_000,
            "keyspace": 1_000_000,
            "sample": sample,
            "by_policy": {"product:": 1.0},
            **values,
        }
    )


def draft(runtime: Runtime, cache_id: int, wanted: Plan = AT_ONCE, listed: tuple[bytes, ...] = ()) -> Purge:
    """A purge that nobody has counted yet."""
    with as_cli(runtime) as work:
        return service.create(work, cache_id, wanted, listed)


def move(runtime: Runtime, number: int, verb: Verb, **values: Any) -> Purge:
    """Change its state as the worker would; its job goes."""
    with as_cli(runtime) as work:
        return _move(work, number, verb, **values)


def counted(
    runtime: Runtime, cache_id: int, wanted: Plan = AT_ONCE, listed: tuple[bytes, ...] = (), **values: Any
) -> Purge:
    """A purge that was counted a moment ago; ``values`` are the preview's."""
    made = draft(runtime, cache_id, wanted, listed)
    return move(runtime, made.number, Verb.PREVIEW, preview=preview(runtime.clock.now(), **values))


def in_state(runtime: Runtime, cache_id: int, state: State) -> Purge:
    """A purge that stands there, by the shortest way."""
    if state is State.DRAFT:
        return draft(runtime, cache_id)
    purge = counted(runtime, cache_id)
    number = purge.number
    if state is State.PREVIEWED:
        return purge
    with as_cli(runtime) as work:
        if state is State.CANCELLED:
            return service.cancel(work, number, revision=purge.revision)
        purge = service.approve(work, number, revision=purge.revision, confirmed_keys=100)
        if state is State.WAITING:
            return purge
        if state is State.PAUSED:
            return service.pause(work, number, revision=purge.revision)
    purge = move(runtime, number, Verb.START, started_at=runtime.clock.now())
    if state is State.RUNNING:
        return purge
    return move(runtime, number, {State.DONE: Verb.FINISH, State.FAILED: Verb.FAIL}[state])


def _move(work: UnitOfWork, number: int, verb: Verb, **values: Any) -> Purge:
    purge = store.find_purge(work.session, number, lock=True)
    assert purge is not None
    job_id = store.find_job(work.session, number)
    if job_id is not None and verb is not Verb.START:
        jobs.remove(work, job_id)
        values = {"job_id": None, **values}
    return changing.move(work, purge, verb, caches.get_cache(work, purge.cache_id), **values)
