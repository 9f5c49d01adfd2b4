"""The quick look: a sample of some thousand keys, taken at once, when somebody asks or every few minutes."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from dashboard.access import Actor, Role, require
from dashboard.caches import service as caches
from dashboard.caching.policy import PolicyDocument, PolicyTable
from dashboard.clock import Clock
from dashboard.db.lock import AdvisoryLock
from dashboard.errors import Conflict, NotFound
from dashboard.fleet.registry import Connection
from dashboard.keyspace import sampling, snapshots, store
from dashboard.keyspace.collector import Collector
from dashboard.keyspace.limits import limits
from dashboard.keyspace.lookups import Report
from dashboard.keyspace.types import Kind, ScanLimits, Snapshot
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import ProbeLookups
from dashboard.policies import service as policies
from dashboard.work import Runtime, UnitOfWork, unit_of_work

_CHANCE: Final = random.Random()

FULL_HOLDS: Final = timedelta(minutes=30)
"""So long after a full scan no sample is taken by itself: its numbers are exact, a sample's would replace them."""
_LOOKS: Final = 0x6361_6B73 << 32
"""With the cache's id the number of the lock: one sample of a cache at a time, whoever asks."""
_PATIENCE_S: Final = 60.0
"""A process that hangs keeps the lock so long."""
_AGAIN_AFTER: Final = timedelta(minutes=1)
"""A sample that failed is tried again."""


def take_sample(runtime: Runtime, actor: Actor, cache_id: int) -> Snapshot:
    """Look at some keys of a cache now; takes some tenths of a second. Read-only caches may be looked at.

    No transaction is open while servers are asked: what was looked up is noted whatever becomes of the sample.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache (any more).
        Conflict: somebody else does so at this moment.
        ConfigError: the cache's URL can't be decrypted.
        Refused: the cache forbids what is needed.
        CacheUnavailable: it does not answer.
        StoreUnavailable: PostgreSQL is away.
    """
    with unit_of_work(runtime, actor) as work:
        require(actor, Role.OPERATOR)
        cache = caches.get_cache(work, cache_id)
    lock = AdvisoryLock(runtime.database.engine, _LOOKS | cache_id, patience_s=_PATIENCE_S)
    try:
        if not lock.acquire():
            raise Conflict(
                f"A look at {cache.name} is being taken at this moment.",
                what_to_do="Its result is there soon.",
            )
        found = look_apart(runtime, actor, cache_id)
        with unit_of_work(runtime, actor) as work:
            if not caches.hold_cache(work, cache_id):
                raise NotFound(f"{cache.name} was removed meanwhile.")
            store.note_look(work.session, cache_id, work.now, "")
            return snapshots.keep(work, found)
    finally:
        lock.release()


def look_apart(runtime: Runtime, actor: Actor, cache_id: int) -> Snapshot:
    """Look at some keys with no transaction open meanwhile; stores nothing but what our lookups were.

    Raises:
        NotFound: there is no such cache.
        ConfigError: the cache's URL can't be decrypted.
        Refused: the cache forbids what is needed.
        CacheUnavailable: it does not answer.
        StoreUnavailable: PostgreSQL is away.
    """
    with unit_of_work(runtime, actor) as work:
        connection = caches.connect(work, caches.get_cache(work, cache_id))
        document = policies.document_in_force(work, cache_id)
        set_ = limits(work, cache_id)

    def note(lookups: Sequence[ProbeLookups]) -> None:
        with unit_of_work(runtime, actor) as work:
            note_lookups(work, cache_id, lookups)

    return look(cache_id, connection, document, set_, runtime.clock, note)


def note_lookups(work: UnitOfWork, cache_id: int, lookups: Sequence[ProbeLookups]) -> None:
    """Take lookups of ours off a cache's hit ratio; it may have been removed meanwhile, with its hit ratio."""
    if caches.hold_cache(work, cache_id):
        monitoring.record_probe_lookups(work, cache_id, lookups)


def look(
    cache_id: int,
    connection: Connection,
    document: PolicyDocument,
    set_: ScanLimits,
    clock: Clock,
    report: Report,
) -> Snapshot:
    """Look at some keys; stores nothing.

    Args:
        set_: the cache's limits.
        report: stores what our lookups were, also when it fails; the connections stay open until it did.

    Raises:
        Refused: the cache forbids what is needed.
        CacheUnavailable: it does not answer.
    """
    collector = Collector(PolicyTable.of(document), set_.delimiters)
    found = sampling.sample(connection, set_, collector, clock, _CHANCE.random, on_lookups=report)
    snapshot = collector.snapshot(
        cache_id=cache_id,
        kind=Kind.SAMPLE,
        began_at=found.began_at,
        ended_at=found.ended_at,
        keyspace=found.keyspace,
        factor=found.factor,
        size_every=found.size_every,
        policy_version=document.version,
    )
    return replace(snapshot, notes=found.notes)


def due_at(work: UnitOfWork, cache_id: int, set_: ScanLimits) -> datetime | None:
    """When a sample is to be taken by itself; in the past: now. None: never."""
    if not set_.sample_every_s:
        return None
    every = timedelta(seconds=set_.sample_every_s)
    times = [
        mark.ended_at + (max(every, FULL_HOLDS) if mark.kind is Kind.FULL else every)
        for mark in store.list_marks(work.session, cache_id, limit=1)
    ]
    tried = store.find_look(work.session, cache_id)
    if tried is not None:
        at, problem = tried
        times.append(at + (min(every, _AGAIN_AFTER) if problem else every))
    return max(times, default=work.now)
