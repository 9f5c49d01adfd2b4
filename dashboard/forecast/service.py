"""Use cases of the forecast."""

from datetime import UTC, datetime, timedelta
from typing import Final

from dashboard.access import Role, require
from dashboard.errors import NotFound
from dashboard.forecast import check, trial, walls
from dashboard.forecast.basis import basis
from dashboard.forecast.check import Check
from dashboard.forecast.course import course, grid
from dashboard.forecast.trial import Remedy, Trial
from dashboard.forecast.types import Forecast, Grid, Horizon
from dashboard.keyspace import service as keyspace
from dashboard.keyspace.types import Snapshot
from dashboard.monitoring import service as monitoring
from dashboard.policies import service as policies
from dashboard.policies.types import Staged
from dashboard.work import UnitOfWork

_MINUTE_S: Final = 60
_LONGEST_CHECK: Final = timedelta(hours=1)
_SHORTEST_CHECK: Final = timedelta(minutes=10)
_LOOK_BACK: Final = timedelta(hours=6)
"""Older forecasts are not judged: so much happened since."""


def forecast(work: UnitOfWork, cache_id: int, horizon: Horizon) -> Forecast | None:
    """When the keys of a cache will expire; None: nobody looked at its keys yet.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    snapshot = keyspace.latest(work, cache_id)
    return None if snapshot is None else _from(work, cache_id, snapshot, horizon)


def _from(work: UnitOfWork, cache_id: int, snapshot: Snapshot, horizon: Horizon) -> Forecast:
    now = work.now.timestamp()
    found = basis(work, cache_id, snapshot)
    made = course(found.stems, found.taken_at, grid(horizon, now))
    return Forecast(
        basis=found,
        horizon=horizon,
        course=made,
        walls=walls.find(
            found.stems,
            made,
            factor=found.factor,
            loads_per_s=found.loads_per_s or 0.0,
            budget_per_s=found.budget_per_s,
        ),
        line=walls.line(made.total),
        now=now,
    )


def try_remedy(
    found: Forecast, start: int, stem_name: str, remedy: Remedy | None, jitter_s: int
) -> Trial | None:
    """What a remedy would do to a wall. Pure.

    Args:
        start: of the wall.
        stem_name: one of those it is blamed on; "": the first.
        remedy: None: the first that makes sense.
        jitter_s: of Remedy.JITTER.

    Returns:
        None where there is no such wall (any more), or nothing to be done about it.
    """
    wall = next((each for each in found.walls if each.start == start), None)
    if wall is None or not wall.blame:
        return None
    blamed = {blame.stem for blame in wall.blame}
    name = stem_name if stem_name in blamed else wall.blame[0].stem
    stem = next(each for each in found.basis.stems if each.name == name)
    offered = trial.offered(stem, wall, found.now)
    if not offered:
        return None
    chosen = remedy if remedy in offered else offered[0]
    return trial.attempt(found.basis, wall, stem, chosen, jitter_s=jitter_s, now=found.now)


def add_jitter(work: UnitOfWork, cache_id: int, prefix: str, jitter_s: int) -> Staged:
    """Stage the jitter that was tried; it is in force once the draft is published.

    Raises:
        as ``policies.service.stage_jitter``.
    """
    return policies.stage_jitter(work, cache_id, prefix, jitter_s)


def checked(work: UnitOfWork, cache_id: int) -> tuple[datetime, Check] | None:
    """How an earlier forecast did: when it was made, and how far off it was, minute by minute until now.

    The one made about an hour ago is taken, else the oldest of the last hours that is ten minutes old. None: there is
    none, or the cache was not polled since.
    """
    require(work.actor, Role.VIEWER)
    marks = keyspace.list_snapshots(work, cache_id, since=work.now - _LOOK_BACK)
    old = [mark for mark in marks if mark.ended_at <= work.now - _SHORTEST_CHECK]
    if not old:
        return None
    wanted = work.now - _LONGEST_CHECK
    mark = min(old, key=lambda each: abs(each.ended_at - wanted))
    try:
        snapshot = keyspace.get_snapshot(work, cache_id, mark.id)
    except NotFound:
        return None
    first = -(-int(snapshot.ended_at.timestamp()) // _MINUTE_S) * _MINUTE_S
    last = int(work.now.timestamp()) // _MINUTE_S * _MINUTE_S
    on = Grid(
        first, _MINUTE_S, min((last - first) // _MINUTE_S, int(_LONGEST_CHECK.total_seconds()) // _MINUTE_S)
    )
    if on.steps <= 0:
        return None
    made = course(basis(work, cache_id, snapshot).stems, snapshot.ended_at.timestamp(), on)
    always = sum(made.steady.values()) * _MINUTE_S
    predicted = [each + always for each in made.total]
    found = check.compare(predicted, _expired(work, cache_id, on))
    return (snapshot.ended_at, found) if found.steps else None


def _expired(work: UnitOfWork, cache_id: int, on: Grid) -> list[float | None]:
    """What the servers counted per step; None where that is not known for the whole of it."""
    within = monitoring.span(work, None, _iso(on.start), _iso(on.end))
    series = monitoring.overview_series(work, cache_id, within, columns=("expired_per_s",))
    # A poll's rate is of the time before it, a bucket's of the time behind its start.
    back_s = series.step_s / 2 if series.level == "raw" else -series.step_s / 2
    rates: list[list[float]] = [[] for _ in range(on.steps)]
    holes: set[int] = set()
    for moment, rate in zip(series.times, series.columns["expired_per_s"], strict=True):
        step = int((moment - back_s - on.start) // on.step_s)
        if 0 <= step < on.steps:
            if rate is None:
                holes.add(step)
            else:
                rates[step].append(rate)
    return [
        None if step in holes or not found else sum(found) / len(found) * on.step_s
        for step, found in enumerate(rates)
    ]


def _iso(moment: int) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()
