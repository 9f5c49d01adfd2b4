"""SQL of jobs. All times are PostgreSQL's ``clock_timestamp()``, read in the statement that uses them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, insert, select, text, update
from sqlalchemy.orm import Session

from dashboard.jobs.models import JobRow
from dashboard.jobs.types import Job, OpenJob, Wish

_CLAIMS: Final = (
    0x6361_6A6F  # serialises claims, so that two of them can't both take the last place of a lane
)

_FREE: Final = """
    job.kind = ANY(:kinds) AND job.not_before <= clock_timestamp()
    AND (job.lease_until IS NULL OR job.lease_until < clock_timestamp())
    AND (job.lane = '' OR job.attempt > 0 OR job.lane_width > (
        SELECT count(*) FROM job AS begun
        WHERE begun.lane = job.lane AND begun.kind = job.kind AND begun.attempt > 0))
"""


def insert_job(
    session: Session,
    *,
    kind: str,
    subject: int,
    cache_id: int | None,
    lane: str,
    lane_width: int,
    not_before: datetime | None,
    now: datetime,
) -> int:
    """Add a job; its id."""
    values = {
        "kind": kind,
        "subject": subject,
        "cache_id": cache_id,
        "lane": lane,
        "lane_width": lane_width,
        "not_before": func.clock_timestamp() if not_before is None else not_before,
        "created_at": now,
    }
    return session.execute(insert(JobRow).values(values).returning(JobRow.id)).scalar_one()


def lock(session: Session, job_id: int) -> OpenJob | None:
    """The job, and nobody claims, renews or ends it until the transaction ends; None: it is over."""
    row = session.execute(
        select(
            JobRow.id,
            JobRow.wish,
            (func.coalesce(JobRow.lease_until >= func.clock_timestamp(), False)).label("is_held"),
        )
        .where(JobRow.id == job_id)
        .with_for_update()
    ).one_or_none()
    return None if row is None else OpenJob(row.id, row.is_held, Wish(row.wish))


def set_wish(session: Session, job_id: int, wish: Wish) -> None:
    """Say what is asked of its holder."""
    session.execute(update(JobRow).where(JobRow.id == job_id).values(wish=wish.value))


def remove(session: Session, job_id: int) -> None:
    """Take a job off the table; whoever holds it has lost it."""
    session.execute(delete(JobRow).where(JobRow.id == job_id))


def set_width(session: Session, kind: str, lane: str, width: int) -> None:
    """Change how many jobs of a lane run at a time."""
    # In the order that renewals lock them, too.
    found = select(JobRow.id).where(JobRow.kind == kind, JobRow.lane == lane)
    ids = session.scalars(found.order_by(JobRow.id).with_for_update()).all()
    session.execute(update(JobRow).where(JobRow.id.in_(ids)).values(lane_width=width))


def has_free(session: Session, kinds: Sequence[str]) -> bool:
    """Whether there is something to claim; locks nothing."""
    query = text(f"SELECT EXISTS (SELECT 1 FROM job WHERE {_FREE})")
    return bool(session.execute(query, {"kinds": list(kinds)}).scalar_one())


def claim(session: Session, kinds: Sequence[str], holder: str, lease_s: float) -> Job | None:
    """Take a free job for ``lease_s`` seconds: first those that were begun, then the one that waits longest."""
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLAIMS})
    query = text(
        f"""
        UPDATE job SET holder = :holder, attempt = attempt + 1,
            lease_until = clock_timestamp() + make_interval(secs => :lease_s)
        WHERE id = (SELECT id FROM job WHERE {_FREE}
            ORDER BY (attempt = 0), not_before, id LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id, kind, subject, attempt, wish
        """
    )
    row = session.execute(query, {"kinds": list(kinds), "holder": holder, "lease_s": lease_s}).one_or_none()
    if row is None:
        return None
    return Job(row.id, row.kind, row.subject, row.attempt, Wish(row.wish))


def renew(session: Session, held: Iterable[tuple[int, int]], lease_s: float) -> dict[int, Wish]:
    """Prolong leases.

    Args:
        held: (id, attempt) of each.

    Returns:
        The wish of each that is still held, by id; the others are lost.
    """
    query = text(
        """
        WITH held AS (
            SELECT job.id FROM job
            JOIN unnest(CAST(:ids AS bigint[]), CAST(:attempts AS int[])) AS mine(id, attempt)
                ON job.id = mine.id AND job.attempt = mine.attempt
            ORDER BY job.id FOR UPDATE OF job
        )
        UPDATE job SET lease_until = clock_timestamp() + make_interval(secs => :lease_s)
        FROM held WHERE job.id = held.id
        RETURNING job.id, job.wish
        """
    )
    pairs = list(held)
    found = session.execute(
        query, {"ids": [job_id for job_id, _ in pairs], "attempts": [a for _, a in pairs], "lease_s": lease_s}
    )
    return {row.id: Wish(row.wish) for row in found}


def is_mine(session: Session, job_id: int, attempt: int) -> bool:
    """Whether nobody took the job over; nobody can until the transaction ends."""
    query = select(JobRow.id).where(JobRow.id == job_id, JobRow.attempt == attempt)
    return session.execute(query.with_for_update(read=True)).one_or_none() is not None


def release(session: Session, job_id: int, attempt: int, after_s: float) -> bool:
    """Give a job back, to be claimed again after so many seconds; False: it was lost already."""
    query = text(
        """
        UPDATE job SET holder = '', lease_until = NULL,
            not_before = clock_timestamp() + make_interval(secs => :after_s)
        WHERE id = :id AND attempt = :attempt RETURNING id
        """
    )
    found = session.execute(query, {"id": job_id, "attempt": attempt, "after_s": after_s})
    return found.one_or_none() is not None


def finish(session: Session, job_id: int, attempt: int) -> bool:
    """Take a job of ours off the table; False: it was lost before."""
    query = delete(JobRow).where(JobRow.id == job_id, JobRow.attempt == attempt).returning(JobRow.id)
    return session.execute(query).one_or_none() is not None


def let_go_soon(session: Session) -> None:
    """Have the server end this transaction when we fall silent in its midst, and not wait long for another's.

    A worker that is stopped between two statements would keep the rows that its successor needs.
    """
    session.execute(
        text(
            "SELECT set_config('idle_in_transaction_session_timeout', '4000', true),"
            " set_config('lock_timeout', '3000', true)"
        )
    )


def hold_cache(session: Session, job_id: int) -> None:
    """Have the job's cache, where it has one, stay until this transaction ends."""
    session.execute(
        text(
            "SELECT FROM cache JOIN job ON job.cache_id = cache.id WHERE job.id = :id FOR KEY SHARE OF cache"
        ),
        {"id": job_id},
    )


def commit_soon(session: Session) -> None:
    """Have this commit not wait for the disk."""
    session.execute(text("SELECT set_config('synchronous_commit', 'off', true)"))
