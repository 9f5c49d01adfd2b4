"""A journal in memory, an operator who wishes what a test says, and the engine run with both."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from random import Random

from dashboard.caching.policy import DEFAULT_POLICY, Policy, PolicyTable
from dashboard.clock import Clock
from dashboard.fleet.registry import Connection, Fleet
from dashboard.fleet.url import parse_url
from dashboard.invalidation import engine
from dashboard.invalidation.types import Limits, Plan, Preview, Progress, Selection

CHANCE = Random(20_26)
UNLIMITED = Limits(most_keys_per_s=10_000_000, database_budget_qps=None)


class MemoryJournal:
    """Keeps what was committed; refuses whatever a journal could not make sense of.

    Args:
        before_commit: called with each progress before it is kept; may raise.
    """

    def __init__(self, before_commit: Callable[[Progress], None] = lambda progress: None) -> None:
        self.progress = Progress()
        self.segments: dict[int, engine.Segment] = {}
        self.finished: list[int] = []
        self.reported: list[bytes] = []
        self.commits = 0
        self.before_commit = before_commit
        self._busy = threading.Lock()

    def pending(self) -> Sequence[engine.Segment]:
        return list(self.segments.values())

    def next_number(self) -> int:
        return 1 + max([0, *self.segments, *self.finished])

    def commit(
        self, progress: Progress, begun: Sequence[engine.Segment], finished: Sequence[engine.Finished]
    ) -> None:
        assert self._busy.acquire(blocking=False), "two commits at once"
        try:
            self.before_commit(progress)
            for each in finished:
                keys = self.segments.pop(each.number).keys
                self.reported += keys if each.touched is None else each.touched
                self.finished.append(each.number)
            for segment in begun:
                assert segment.number not in self.segments and segment.number not in self.finished
                self.segments[segment.number] = segment
            self.progress = progress
            self.commits += 1
        finally:
            self._busy.release()


class Wishes:
    """Lets the engine work until ``wish`` is set to an exception."""

    def __init__(self) -> None:
        self.wish: BaseException | None = None
        self.hits = 0
        self.misses = 0
        self.checks = 0
        self._lock = threading.Lock()

    def check(self) -> None:
        self.checks += 1
        if self.wish is not None:
            raise self.wish

    def wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while self.wish is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 0.05))

    def looked_up(self, hits: int, misses: int) -> None:
        with self._lock:
            self.hits += hits
            self.misses += misses


class Interlude(Wishes):
    """Has something happen once in the middle of a purge, which waits for it: on a busy machine, too, it is not over
    before whoever watches it sees that it began.

    Args:
        is_due: asked before each burst, until it says so.
        act: what happens then; no burst begins before it returns.
    """

    def __init__(self, is_due: Callable[[], bool], act: Callable[[], object]) -> None:
        super().__init__()
        self.happened = threading.Event()
        self._is_due = is_due
        self._act = act
        self._turn = threading.Lock()

    def check(self) -> None:
        super().check()
        with self._turn:
            if not self.happened.is_set() and self._is_due():
                self._act()
                self.happened.set()


class ListOf:
    """Items of an exact selector."""

    def __init__(self, items: Sequence[bytes], chunk: int = 1000) -> None:
        self._items = items
        self._chunk = chunk

    def chunks(self, first: int) -> Iterator[Sequence[bytes]]:
        for start in range(first, len(self._items), self._chunk):
            yield self._items[start : start + self._chunk]


def table(*policies: Policy, default: Policy = DEFAULT_POLICY) -> PolicyTable[Policy]:
    return PolicyTable([(policy.prefix, policy) for policy in policies], default)


def connect(fleet: Fleet, url: str) -> Connection:
    return fleet.open(1, parse_url(url))


def purge(
    connection: Connection,
    plan: Plan,
    *,
    items: Sequence[bytes] | None = None,
    policies: PolicyTable[Policy] | None = None,
    limits: Limits = UNLIMITED,
    cap: int = 10**9,
    journal: MemoryJournal | None = None,
    wishes: Wishes | None = None,
    age_s: float = 0.0,
    counts_first: bool = False,
) -> Progress:
    journal = journal or MemoryJournal()
    return engine.run(
        connection,
        plan,
        None if items is None else ListOf(items),
        policies or table(),
        limits,
        cap,
        journal.progress,
        journal,
        wishes or Wishes(),
        Clock(),
        CHANCE.random,
        age_s,
        counts_first,
    )


def preview(
    connection: Connection,
    selection: Selection,
    *,
    items: Sequence[bytes] | None = None,
    policies: PolicyTable[Policy] | None = None,
    wishes: Wishes | None = None,
) -> Preview:
    return engine.count(
        connection,
        selection,
        None if items is None else ListOf(items),
        policies or table(),
        Limits(),
        wishes or Wishes(),
        Clock(),
        CHANCE.random,
    )
