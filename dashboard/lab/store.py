"""SQL of the lab's runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.orm import InstrumentedAttribute, Session

from dashboard.demo.lab.types import Result
from dashboard.lab.models import LabRunRow
from dashboard.lab.types import Latest, Run, State

_LARGEST: Final = 2**63
_OPEN: Final = (State.WAITING.value, State.RUNNING.value)
_WITH_RESULT: Final = (State.PASSED.value, State.FAILED.value)
# Results are large, and wanted of few.
_SHORT: Final[Sequence[InstrumentedAttribute[Any]]] = (
    LabRunRow.id,
    LabRunRow.scenario,
    LabRunRow.state,
    LabRunRow.actor,
    LabRunRow.asked_at,
    LabRunRow.started_at,
    LabRunRow.ended_at,
    LabRunRow.share,
    LabRunRow.words,
    LabRunRow.wish,
    LabRunRow.problem,
    LabRunRow.revision,
)


def insert_run(session: Session, scenario: str, actor: str, now: datetime) -> int | None:
    """Add a run that waits; its number. None: one of this scenario is under way already."""
    row = {"scenario": scenario, "state": State.WAITING.value, "actor": actor, "asked_at": now}
    query = upsert(LabRunRow).values(row).on_conflict_do_nothing().returning(LabRunRow.id)
    return session.execute(query).scalar_one_or_none()


def find_run(session: Session, number: int, *, lock: bool = False) -> Run | None:
    """The run with its result, or None; locked, nobody else changes it until the transaction ends."""
    if not 0 < number < _LARGEST:
        return None
    query = select(*_SHORT, LabRunRow.result).where(LabRunRow.id == number)
    if lock:
        query = query.with_for_update()
    row = session.execute(query).one_or_none()
    return None if row is None else _run(row._mapping)


def find_job(session: Session, number: int) -> int | None:
    """Id of the run's open job."""
    return session.scalar(select(LabRunRow.job_id).where(LabRunRow.id == number))


def newest(session: Session) -> dict[str, Run]:
    """The newest run of each scenario, without its result."""
    query = (
        select(*_SHORT).ext(distinct_on(LabRunRow.scenario)).order_by(LabRunRow.scenario, LabRunRow.id.desc())
    )
    return {row.scenario: _run(row._mapping) for row in session.execute(query)}


def latest(session: Session, scenarios: Sequence[str] | None = None) -> Latest:
    """What is known of each scenario, or of some."""
    query = (
        select(*_SHORT, LabRunRow.result)
        .where(LabRunRow.state.in_(_WITH_RESULT))
        .ext(distinct_on(LabRunRow.scenario))
        .order_by(LabRunRow.scenario, LabRunRow.id.desc())
    )
    if scenarios is not None:
        query = query.where(LabRunRow.scenario.in_(scenarios))
    return Latest(newest(session), {row.scenario: _run(row._mapping) for row in session.execute(query)})


def list_runs(session: Session, scenario: str | None, *, before: int | None = None, limit: int) -> list[Run]:
    """Runs without their results, newest first.

    Args:
        scenario: of this one; None: of all.
        before: only lower numbers.
    """
    query = select(*_SHORT).order_by(LabRunRow.id.desc()).limit(limit)
    if scenario is not None:
        query = query.where(LabRunRow.scenario == scenario)
    if before is not None:
        query = query.where(LabRunRow.id < min(max(before, 0), _LARGEST - 1))
    return [_run(row._mapping) for row in session.execute(query)]


def list_open(session: Session) -> list[Run]:
    """Runs that are not over, in the order in which they are done."""
    query = select(*_SHORT).where(LabRunRow.state.in_(_OPEN)).order_by(LabRunRow.id)
    return [_run(row._mapping) for row in session.execute(query)]


def change_run(
    session: Session, number: int, *, state: State | None = None, result: Result | None = None, **values: Any
) -> None:
    """Store what changed of a run that is locked; a new state raises the revision."""
    if state is not None:
        values |= {"state": state.value, "revision": LabRunRow.revision + 1}
    if result is not None:
        values["result"] = result.to_json()
    session.execute(update(LabRunRow).where(LabRunRow.id == number).values(values))


def delete_old(session: Session, scenario: str, keep: int) -> None:
    """Forget all but the newest runs of a scenario."""
    of_it = select(LabRunRow.id).where(LabRunRow.scenario == scenario)
    kept = of_it.order_by(LabRunRow.id.desc()).limit(keep)
    session.execute(delete(LabRunRow).where(LabRunRow.scenario == scenario, LabRunRow.id.not_in(kept)))


def add_past_run(session: Session, run: Run) -> int:
    """Store a run that is over as it is, under a number of its own."""
    row = {
        "scenario": run.scenario,
        "state": run.state.value,
        "actor": run.by,
        "asked_at": run.asked_at,
        "started_at": run.started_at,
        "ended_at": run.ended_at,
        "problem": run.problem,
        "result": None if run.result is None else run.result.to_json(),
    }
    return session.execute(insert(LabRunRow).values(row).returning(LabRunRow.id)).scalar_one()


def _run(row: Mapping[Any, Any]) -> Run:
    result = row.get("result")
    return Run(
        number=row["id"],
        scenario=row["scenario"],
        state=State(row["state"]),
        by=row["actor"],
        asked_at=row["asked_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        share=row["share"],
        words=row["words"],
        wish=row["wish"],
        problem=row["problem"],
        result=None if result is None else Result.from_json(result),
        revision=row["revision"],
    )
