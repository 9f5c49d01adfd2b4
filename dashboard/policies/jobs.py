"""Keeps what is published in force, and notes who follows it and what was counted. Runs beside the polls."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import CacheDenied, DashboardError
from dashboard.fleet import policies as fleet
from dashboard.fleet.registry import Connection
from dashboard.monitoring import service as monitoring
from dashboard.policies import counting, documents, instances, store
from dashboard.policies.propagation import Finding, State, compare
from dashboard.policies.types import AWAY_AFTER_S
from dashboard.work import Runtime, UnitOfWork, unit_of_work

log = logging.getLogger(__name__)

EVERY_S: Final = 3.0
COUNTERS_EVERY_S: Final = 8.0
DISPUTED_AGAIN_S: Final = 30.0
"""Somebody else writes the document too: so often, at most, we write ours over it."""
QUIET_EVERY_S: Final = 10.0
"""How often a cache is looked at that has no policies, and no applications that use the library."""
DENIED_AGAIN_S: Final = 60.0
"""Every refused command raises the server's own error counters."""
ABANDONED_EVERY_S: Final = 3600.0
"""Counters of prefixes without a policy are removed when they did not grow for so long."""
ABANDONED_DENIED_AGAIN_S: Final = 86_400.0
DENIED_UNUSED_AGAIN_S: Final = 3600.0
"""The same where nothing was ever published, and nobody waits for anything."""

_ACTOR: Final = Actor(user_id=None, name="worker", role=Role.ADMIN, source="worker")


def apply_retention(work: UnitOfWork) -> None:
    """Make the partitions of the counters that come next, drop those that are over, and what no cache has any more."""
    store.ensure_partitions(work.session, work.now)
    store.drop_old_counts(work.session, work.now, hour_days=work.settings.hour_retention_d)
    store.delete_orphans(work.session)


@dataclass(slots=True)
class _Memory:
    """What this process knows of one cache. Losing it costs nothing."""

    version: int = -1
    revision: int = -1
    content: bytes = b""
    not_before_s: float = 0.0
    counters_at_s: float = float("-inf")
    republished_at_s: float = float("-inf")
    prefixes: frozenset[bytes] = frozenset()
    """Those that have a policy."""
    abandoned: dict[bytes, bytes] = field(default_factory=dict)
    """Counters of others, as they were when they were last looked at."""
    abandoned_next_s: float = float("-inf")
    counters_problem: str = ""
    """Why they were not read the last time."""
    hits: int = 0
    misses: int = 0
    """Lookups of our own that are not noted yet."""


@dataclass(slots=True)
class _Round:
    """What one look at a cache brought."""

    at: datetime
    state: State = State.IN_FORCE
    found_version: int | None = None
    is_found: bool = False
    error: DashboardError | None = None
    detail: str = ""
    republished: str = ""
    instances: fleet.Fields | None = None
    counters: fleet.Fields | None = None

    @property
    def is_quiet(self) -> bool:
        """Nothing is published, nothing was found, nobody counts."""
        found = [each for each in (self.instances, self.counters) if each is not None]
        return self.state is State.UNPUBLISHED and not any(each.fields or each.problem for each in found)


class Propagation:
    """One per process; ``run`` is called for each cache in turn, never twice at once for the same."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._memories: dict[int, _Memory] = {}
        self._days_ready: set[date] = set()

    def run(self, cache: Cache, is_leading: Callable[[], bool]) -> None:
        """Look after one cache.

        Args:
            is_leading: asked right before anything is written.

        Raises:
            StoreUnavailable: PostgreSQL is away; Redis keeps what it has.
        """
        memory = self._memories.setdefault(cache.id, _Memory())
        now_s = self._runtime.clock.monotonic()
        connection: Connection | None = None
        with self._work() as work:
            version, _ = store.find_set(work.session, cache.id)
            if version != memory.version or cache.revision != memory.revision:
                self._load(work, cache, memory, version)
            elif now_s < memory.not_before_s:
                return
            done = _Round(work.now)
            try:
                connection = caches.connect(work, cache)
            except DashboardError as error:
                done.state, done.error = State.AWAY, error
        if connection is not None:
            try:
                self._look(cache, connection, memory, done, is_leading)
            except DashboardError as error:
                done.state, done.error = State.AWAY, error
                if isinstance(error, CacheDenied):
                    memory.not_before_s = now_s + (DENIED_AGAIN_S if version else DENIED_UNUSED_AGAIN_S)
        if done.is_quiet:
            memory.not_before_s = now_s + QUIET_EVERY_S
        if is_leading():
            self._store(cache, memory, done)

    def _work(self) -> Any:
        return unit_of_work(self._runtime, _ACTOR)

    def _load(self, work: UnitOfWork, cache: Cache, memory: _Memory, version: int) -> None:
        stored = store.find_document(work.session, cache.id, version) if version else None
        document = None if stored is None else documents.load(stored)
        memory.content = b"" if document is None else document.to_json()
        memory.prefixes = frozenset(() if document is None else (each.prefix for each in document.policies))
        memory.version, memory.revision, memory.not_before_s = version, cache.revision, 0.0
        # A dispute holds up what was written again, never what is new.
        memory.republished_at_s = float("-inf")

    def _look(
        self,
        cache: Cache,
        connection: Connection,
        memory: _Memory,
        done: _Round,
        is_leading: Callable[[], bool],
    ) -> None:
        found = fleet.read_document(connection)
        _note(memory, found)
        finding = compare(found.content, found.is_other_type, memory.content, memory.version)
        done.found_version, done.is_found = finding.found_version, found.hits > 0
        if memory.version == 0:
            done.state = State.FOREIGN if done.is_found else State.UNPUBLISHED
        elif finding.reason:
            self._write_again(cache, connection, memory, done, found, finding, is_leading)
        done.instances = fleet.read_instances(connection)
        _note(memory, done.instances)
        now_s = self._runtime.clock.monotonic()
        if now_s - memory.counters_at_s >= COUNTERS_EVERY_S:
            memory.counters_at_s = now_s
            done.counters = fleet.read_counters(connection)
            memory.counters_problem = done.counters.problem
            _note(memory, done.counters)
            if memory.version > 0 and not cache.read_only and now_s >= memory.abandoned_next_s:
                self._tidy(cache, connection, memory, done.counters, is_leading)

    def _tidy(
        self,
        cache: Cache,
        connection: Connection,
        memory: _Memory,
        counters: fleet.Fields,
        is_leading: Callable[[], bool],
    ) -> None:
        """Remove the counters of prefixes that have no policy any more, or the hash grows for ever.

        They may belong to an application that follows an older version: what grew since the last time stays.
        """
        now_s = self._runtime.clock.monotonic()
        memory.abandoned_next_s = now_s + ABANDONED_EVERY_S
        try:
            fields = counters.fields
            if counters.is_crowded:
                # Nothing can be counted until it is smaller.
                listed = fleet.list_counters(connection)
                _note(memory, listed)
                fields = listed.fields
            abandoned = {each: fields[each] for each in counting.abandoned(fields, memory.prefixes)}
            over = [
                each
                for each, number in abandoned.items()
                if counters.is_crowded or memory.abandoned.get(each) == number
            ]
            if over and is_leading():
                fleet.drop_counters(connection, over)
                log.info("%s: %d counters of prefixes without a policy were removed", cache.name, len(over))
            memory.abandoned = {each: abandoned[each] for each in abandoned.keys() - set(over)}
        except CacheDenied as error:
            # Counting goes on without it.
            memory.abandoned_next_s = now_s + ABANDONED_DENIED_AGAIN_S
            log.info("%s: counters of prefixes without a policy can't be removed: %s", cache.name, error)

    def _write_again(
        self,
        cache: Cache,
        connection: Connection,
        memory: _Memory,
        done: _Round,
        found: fleet.Document,
        finding: Finding,
        is_leading: Callable[[], bool],
    ) -> None:
        done.detail = finding.reason
        if cache.read_only:
            done.state = State.READ_ONLY
            return
        now_s = self._runtime.clock.monotonic()
        if finding.is_disputed and now_s - memory.republished_at_s < DISPUTED_AGAIN_S:
            done.state = State.REPUBLISHED
            return
        with self._work() as work:
            # Asked after Redis was: what was found there and is newer than this was not published here.
            version, _ = store.find_set(work.session, cache.id)
            fresh = caches.find_cache(work, cache.id)
        if version != memory.version or fresh is None or fresh.read_only or not is_leading():
            return
        # No lock is held meanwhile. Who publishes now writes a newer version, and that one stays.
        written = fleet.publish(connection, memory.content, version, replaces=found.content)
        _note(memory, written)
        if written.newer is not None:
            return
        memory.republished_at_s = now_s
        done.found_version, done.is_found = version, True
        done.state, done.republished = State.REPUBLISHED, finding.reason
        log.info("%s: policies v%d were written again: %s", cache.name, version, finding.reason)

    def _store(self, cache: Cache, memory: _Memory, done: _Round) -> None:
        with self._work() as work:
            session = work.session
            caches.hold_cache(work, cache.id)
            values: dict[str, Any] = {
                "state": done.state.value,
                "error": str(done.error) if done.error is not None else done.detail,
                "what_to_do": done.error.what_to_do if done.error is not None else "",
            }
            if done.error is None:
                values |= {"checked_at": done.at, "found_version": done.found_version}
            if done.instances is not None:
                values["instances_note"] = f"{done.instances.problem} {memory.counters_problem}".strip()
            if done.republished:
                values |= {"republished_at": done.at, "republish_reason": done.republished}
            store.put_publication(session, cache.id, **values)
            if done.instances is not None and not done.instances.problem:
                found = instances.parse(done.instances.fields)
                store.put_instances(session, cache.id, found, done.at, keep_s=AWAY_AFTER_S)
            if done.counters is not None and not done.counters.problem:
                self._count(work, cache, done)
            if memory.hits or memory.misses:
                monitoring.record_self_lookups(work, cache.id, memory.hits, memory.misses)
        memory.hits = memory.misses = 0

    def _count(self, work: UnitOfWork, cache: Cache, done: _Round) -> None:
        assert done.counters is not None
        counts = counting.parse(done.counters.fields)
        held = store.lock_counts(work.session, cache.id)
        before = None if held is None else held[1]
        if counts == before:
            return
        if done.at.date() not in self._days_ready:
            store.ensure_partitions(work.session, done.at)
            work.after_commit(lambda: self._days_ready.add(done.at.date()))
        store.add_growth(work.session, cache.id, counting.growth(before, counts), done.at)
        store.put_counts(work.session, cache.id, counts, done.at)


def _note(memory: _Memory, asked: fleet.Document | fleet.Fields | fleet.Written) -> None:
    memory.hits += asked.hits
    memory.misses += asked.misses
