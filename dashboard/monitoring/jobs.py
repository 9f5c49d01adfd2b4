"""The poller: one job per cache, in exactly one process at a time.

A supervisor thread holds the lock, follows the table of caches and minds the clock; APScheduler runs the polls on a
pool of threads, so that a slow cache delays nobody. Whoever loses the lock stops at once, keeps trying to get it
back, and then goes on from the last stored readings: the time in between is a gap, and nothing is counted twice.
While PostgreSQL is away nothing is kept in memory; the next difference spans the outage, so sums stay right.
"""

import logging
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from psycopg.errors import ForeignKeyViolation

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.db.lock import AdvisoryLock
from dashboard.errors import DashboardError, StoreUnavailable
from dashboard.monitoring import polling, service, store
from dashboard.monitoring.store import PollState
from dashboard.work import Runtime, UnitOfWork, unit_of_work

log = logging.getLogger(__name__)
_CHANCE = random.Random()

LOCK_KEY = 0x6361_6368_6570  # "cachep"
LOCK_PATIENCE_S = 9.0
"""A silent holder loses the lock after this; with the tries of the others, polling passes on within 15 s."""

TICK_S = 1.0
LOCK_EVERY_S = 2.0
FOLLOW_EVERY_S = 3.0
ROLL_UP_EVERY_S = 10
RETENTION_EVERY_S = 3600
MOST_THREADS = 64
CLOCK_STEP_S = 2.0

ACTOR = Actor(user_id=None, name="worker", role=Role.ADMIN, source="worker")


@dataclass(frozen=True, slots=True)
class CacheJob:
    """Work of another area, done for every cache by the process that polls.

    Args:
        name: unique among them.
        every_s: how often, seconds.
        run: gets the cache, and whether this process is still the one, to be asked right before anything is written.
    """

    name: str
    every_s: float
    run: Callable[[Cache, Callable[[], bool]], None]


class Poller:
    """Polls all caches while it holds the lock; used once.

    Args:
        holder: this process's name in the database, by default host:pid.
        beside: what else is done for every cache.
        upkeep: what else is done once an hour, each in a transaction of its own.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        holder: str | None = None,
        beside: Sequence[CacheJob] = (),
        upkeep: Sequence[Callable[[UnitOfWork], object]] = (),
    ) -> None:
        self._runtime = runtime
        self._beside = tuple(beside)
        self._more_upkeep = tuple(upkeep)
        self._holder = holder or f"{socket.gethostname()}:{os.getpid()}"
        self._lock = AdvisoryLock(runtime.database.engine, LOCK_KEY, patience_s=LOCK_PATIENCE_S)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="poller", daemon=True)
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={
                "default": ThreadPoolExecutor(MOST_THREADS),
                "beside": ThreadPoolExecutor(MOST_THREADS),
                "upkeep": ThreadPoolExecutor(1),
            },
            job_defaults={"coalesce": True, "max_instances": 1},
        )
        self._is_leading = False
        self._caches: dict[int, Cache] = {}
        self._states: dict[int, PollState] = {}
        self._days_ready: set[date] = set()
        self._clock_offset_s = 0.0
        self._due: dict[str, float] = {}
        self._store_is_away = False
        self._not_rolled_up: set[int] = set()

    @property
    def is_polling(self) -> bool:
        """Whether this process is the one that polls."""
        return self._is_leading and self._lock.is_held

    def start(self) -> None:
        """Begin to try for the lock."""
        # It warns whenever a poll takes longer than its interval; the poll's own record says that better.
        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop polling, wait for the polls that run (they are short), and let go of the lock."""
        self._stopping.set()
        self._thread.join(10)
        self._scheduler.shutdown(wait=True)
        self._lock.release()

    # --- the supervisor's thread ----------------------------------------------------------------------------

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            try:
                self._tick()
            except DashboardError as error:
                self._store_failed(error)
            except Exception:
                log.exception("the poller's supervisor failed; it goes on")
            self._stopping.wait(TICK_S)

    def _tick(self) -> None:
        if self._is_leading and not self._lock.is_held:
            self._step_down()
        if self._is_due("lock", LOCK_EVERY_S):
            if self._is_leading:
                if not self._lock.confirm():
                    self._step_down()
            elif self._lock.acquire():
                self._take_over()
        if not self._is_leading:
            return
        self._mind_the_clock()
        if self._is_due("follow", FOLLOW_EVERY_S):
            self._follow()

    @contextmanager
    def _work(self) -> Iterator[UnitOfWork]:
        with unit_of_work(self._runtime, ACTOR) as work:
            store.let_go_soon(work.session)
            yield work

    def _is_due(self, what: str, every_s: float) -> bool:
        now_s = self._runtime.clock.monotonic()
        if now_s < self._due.get(what, now_s):
            return False
        self._due[what] = now_s + every_s
        return True

    def _take_over(self) -> None:
        log.info("%s polls now", self._holder)
        self._forget()
        with self._work() as work:
            store.ensure_partitions(work.session, work.now)
            store.beat(work.session, self._holder, work.now, is_new=True)
        self._clock_offset_s = self._offset_s()
        self._is_leading = True
        self._due.pop("follow", None)
        self._schedule("rollup", self._roll_up, ROLL_UP_EVERY_S, within_s=2, executor="upkeep")
        self._schedule("retention", self._apply_retention, RETENTION_EVERY_S, within_s=5, executor="upkeep")

    def _step_down(self) -> None:
        log.warning("%s lost the lock and polls no more", self._holder)
        self._lock.release()
        self._forget()

    def _forget(self) -> None:
        self._is_leading = False
        self._scheduler.remove_all_jobs()
        self._caches = {}
        # The next holder may be another process: what we remember is out of date when we are back.
        self._states = {}
        self._days_ready = set()

    def _follow(self) -> None:
        """Give the sign of life and make the jobs match the table of caches."""
        with self._work() as work:
            store.beat(work.session, self._holder, work.now, is_new=False)
            found = {cache.id: cache for cache in caches.list_caches(work)}
        self._store_answers()
        known = self._caches
        # Before anything is scheduled: a job that starts at once must find its cache.
        self._caches = found
        for cache_id in known.keys() - found.keys():
            for name in ("cache", *(job.name for job in self._beside)):
                with suppress(JobLookupError):
                    self._scheduler.remove_job(_job_id(cache_id, name))
            self._states.pop(cache_id, None)
            self._runtime.fleet.forget(cache_id)
        for cache_id, cache in found.items():
            before = known.get(cache_id)
            if before is None or before.poll_interval_s != cache.poll_interval_s:
                # Together only after a start; a cache that was just added is wanted now.
                within_s = min(cache.poll_interval_s, 10) if not known else 1
                self._schedule(
                    _job_id(cache_id), self._job_of(cache_id), cache.poll_interval_s, within_s=within_s
                )
            if before is None:
                for job in self._beside:
                    self._schedule(
                        _job_id(cache_id, job.name),
                        self._beside_of(job, cache_id),
                        job.every_s,
                        within_s=min(job.every_s, 1),
                        executor="beside",
                    )

    def _job_of(self, cache_id: int) -> Callable[[], None]:
        return lambda: self._poll(cache_id)

    def _beside_of(self, job: CacheJob, cache_id: int) -> Callable[[], None]:
        return lambda: self._run_beside(job, cache_id)

    def _schedule(
        self,
        job_id: str,
        job: Callable[[], None],
        every_s: float,
        *,
        within_s: float,
        executor: str = "default",
    ) -> None:
        self._scheduler.add_job(
            job,
            IntervalTrigger(
                seconds=every_s,
                start_date=datetime.now(UTC) + timedelta(seconds=_CHANCE.uniform(0, within_s)),
                timezone=UTC,
            ),
            id=job_id,
            executor=executor,
            replace_existing=True,
            misfire_grace_time=max(1, round(every_s)),
        )

    def _offset_s(self) -> float:
        return self._runtime.clock.now().timestamp() - self._runtime.clock.monotonic()

    def _mind_the_clock(self) -> None:
        """After a step of the wall clock all jobs would wait for a moment that is hours away, or fire at once."""
        offset_s = self._offset_s()
        if abs(offset_s - self._clock_offset_s) < CLOCK_STEP_S:
            # A slow drift is no step.
            self._clock_offset_s = offset_s
            return
        log.warning("the clock stepped by %.1f s", offset_s - self._clock_offset_s)
        self._clock_offset_s = offset_s
        for job in self._scheduler.get_jobs():
            every_s = job.trigger.interval.total_seconds()
            self._scheduler.reschedule_job(
                job.id,
                trigger=IntervalTrigger(
                    seconds=every_s,
                    start_date=datetime.now(UTC) + timedelta(seconds=_CHANCE.uniform(0, min(every_s, 10))),
                    timezone=UTC,
                ),
            )

    # --- jobs -----------------------------------------------------------------------------------------------

    def _poll(self, cache_id: int) -> None:
        cache = self._caches.get(cache_id)
        if cache is None or not self.is_polling:
            return
        try:
            self._poll_and_store(cache)
            self._store_answers()
        except StoreUnavailable as error:
            self._store_failed(error)
        except Exception as error:
            self._states.pop(cache_id, None)
            if isinstance(getattr(error, "orig", None), ForeignKeyViolation):
                log.debug("%s was removed while it was polled", cache.name)
                return
            log.exception("polling %s failed", cache.name)
            self._note_failure(cache)

    def _run_beside(self, job: CacheJob, cache_id: int) -> None:
        cache = self._caches.get(cache_id)
        if cache is None or not self.is_polling:
            return
        try:
            job.run(cache, lambda: self.is_polling)
        except StoreUnavailable as error:
            self._store_failed(error)
        except Exception as error:
            if isinstance(getattr(error, "orig", None), ForeignKeyViolation):
                log.debug("%s was removed meanwhile", cache.name)
                return
            log.exception("%s of %s failed", job.name, cache.name)

    def _note_failure(self, cache: Cache) -> None:
        """Have the page say that it is us, or a reply that can't be used, and not a worker that is away."""
        error = DashboardError(
            "Its answer could not be read or stored.", what_to_do="The worker's log has the details."
        )
        try:
            self._store(cache, error)
        except Exception:
            log.exception("and that could not be noted")

    def _poll_and_store(self, cache: Cache) -> None:
        asked: polling.Round | DashboardError
        try:
            asked = polling.ask(self._runtime.fleet, cache, self._runtime.clock)
        except DashboardError as error:
            asked = error
        self._store(cache, asked)

    def _store(self, cache: Cache, asked: polling.Round | DashboardError) -> None:
        clock = self._runtime.clock
        # A second try when somebody else, or a commit whose answer was lost, stored a poll since we looked.
        for _ in range(2):
            # Asked right before it is written: a poll may have taken longer than the lock lasted.
            if not self.is_polling:
                return
            with self._work() as work:
                session = work.session
                caches.hold_cache(work, cache.id)
                before = self._states.get(cache.id) or store.load_state(
                    session, cache.id, now=clock.now(), clock_s=clock.monotonic()
                )
                if isinstance(asked, DashboardError):
                    after = polling.record_failure(session, cache, before, asked, clock.now())
                else:
                    days = self._partitions_for(session, asked)
                    after = polling.record(session, cache, before, asked)
                    self._days_ready |= days if after is not None else set()
            if after is not None:
                self._states[cache.id] = after
                return
            self._states.pop(cache.id, None)

    def _partitions_for(self, session: store.Session, asked: polling.Round) -> set[date]:
        """Make the partitions for these readings if this process has not seen them ready."""
        at = max(answer.reading.taken_at for answer in asked.answers)
        if at.date() not in self._days_ready:
            store.ensure_partitions(session, at)
        return {at.date()}

    def _roll_up(self) -> None:
        self._upkeep("rolling up", self._roll_up_all, service.refresh_statuses)

    def _roll_up_all(self, work: UnitOfWork) -> None:
        failed = service.roll_up(work)
        for cache_id in failed.keys() - self._not_rolled_up:
            log.error("the history of cache %d could not be rolled up: %s", cache_id, failed[cache_id])
        self._not_rolled_up = set(failed)

    def _apply_retention(self) -> None:
        self._upkeep("retention", service.prepare_partitions, service.apply_retention, *self._more_upkeep)

    def _upkeep(self, what: str, *steps: Callable[[UnitOfWork], object]) -> None:
        for step in steps:
            if not self.is_polling:
                return
            try:
                with self._work() as work:
                    step(work)
            except StoreUnavailable as error:
                # Also a lock that was not to be had in time: the next run tries again.
                self._store_failed(error)
            except Exception:
                log.exception("%s failed; it is tried again", what)

    def _store_failed(self, error: DashboardError) -> None:
        if not self._store_is_away:
            log.warning("%s Polling goes on when it is back.", error)
        self._store_is_away = True

    def _store_answers(self) -> None:
        if self._store_is_away:
            log.info("PostgreSQL answers again")
        self._store_is_away = False


def _job_id(cache_id: int, name: str = "cache") -> str:
    return f"{name}-{cache_id}"
