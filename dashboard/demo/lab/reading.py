"""What several scenarios need: threads that end with them, and what the library counted."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import redis

from dashboard.caching import PolicyDocument
from dashboard.caching.wire import COUNTERS_KEY, parse_counter_field
from dashboard.demo.lab.types import Bench, Void
from dashboard.demo.shop.modes import Modes
from dashboard.demo.shop.pages import Shop
from dashboard.demo.shop.store import ShopStore

LONGEST_S: Final = 15.0
"""No single step of a thread takes longer, unless something broke."""
_LOOK_S: Final = 0.1
"""How often threads that work are looked at."""


class Crew:
    """Threads that work until they are told to stop. What one of them raises is raised where they are waited for.

    To be used in a with block: at its end, however that comes, they are stopped and waited for.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._stopped = threading.Event()
        self._failure: BaseException | None = None
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopped.set()
        ends = time.monotonic() + LONGEST_S
        for thread in self._threads:
            thread.join(max(0.0, ends - time.monotonic()))
        if kind is None:
            if any(thread.is_alive() for thread in self._threads):
                raise Void("A thread of the run did not end in time.")
            self._raise()

    @property
    def is_going(self) -> bool:
        """Whether the threads are to go on; each asks often."""
        return not self._stopped.is_set()

    def pause(self, seconds: float) -> None:
        """Sleep in one of the threads; not longer than they are to go on."""
        self._stopped.wait(seconds)

    def begin(self, work: Callable[[], None]) -> None:
        """Start a thread."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:
                # The first one is the cause; what follows from it is not told.
                if self._failure is None:
                    self._failure = error
                self._stopped.set()

        # A daemon: one that hangs must not keep the process alive.
        thread = threading.Thread(target=guarded, name="lab", daemon=True)
        self._threads.append(thread)
        thread.start()

    def wait(self, seconds: float, low: float = 0.0, high: float = 0.0, words: str = "") -> None:
        """Let them work for so long.

        Args:
            low, high: progress of the run at the beginning and the end of it.
            words: what they do; empty: no progress is told.

        Raises:
            Cancelled: the run is to end.
            Exception: what a thread raised.
        """
        began = time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            if words:
                self._bench.progress(low + (high - low) * (1 - left / seconds), words)
            self._bench.wait(min(left, _LOOK_S))
            self._raise()

    def finish(self, share: Callable[[], float], low: float, high: float, words: str) -> None:
        """Wait until all of them have ended by themselves.

        Args:
            share: how much is done, 0..1.
            low, high: progress of the run at their beginning and end.
            words: what they do.

        Raises:
            As ``wait``.
        """
        while any(thread.is_alive() for thread in self._threads):
            self._bench.progress(low + (high - low) * share(), words)
            self.wait(_LOOK_S)
        self._raise()

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure


@contextmanager
def modes(
    store: ShopStore, url: str, mode: str, document: PolicyDocument, name: str = "lab"
) -> Iterator[Modes]:
    """Shelves as a process of the shop has them, in one mode."""
    made = Modes(store, url, name, document, fixed=mode)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def shop(store: ShopStore, url: str, mode: str, document: PolicyDocument) -> Iterator[Shop]:
    """The shop's use cases in this process, in one mode."""
    with modes(store, url, mode, document) as made:
        yield Shop(store, made)


def counted(client: redis.Redis) -> Counter[str]:
    """What the library counted on a server, all prefixes together; whole once its caches are closed."""
    found: Counter[str] = Counter()
    fields: dict[bytes, bytes] = client.hgetall(COUNTERS_KEY)  # type: ignore[assignment]
    for field, number in fields.items():
        parsed = parse_counter_field(field)
        if parsed is not None:
            found[parsed[0]] += int(number)
    return found


def told(client: redis.Redis) -> Counter[str]:
    """``counted``, where every invalidation got through.

    Raises:
        Void: one did not: the library repeats it later, and what was read meanwhile says nothing.
    """
    found = counted(client)
    if found["invalidation_errors"]:
        raise Void(f"Valkey did not answer {found['invalidation_errors']:,} invalidations in time.")
    return found


def ratio(part: float, whole: float) -> float | None:
    """A share; None of nothing."""
    return part / whole if whole else None


def shares(moments: Sequence[tuple[float, bool]], step_s: float) -> list[tuple[float, float]]:
    """Of what happened in each step of time, the share that was so: for charts.

    Args:
        moments: (seconds since the beginning, whether it was so).
        step_s: length of a step.
    """
    every: Counter[int] = Counter()
    such: Counter[int] = Counter()
    for at, is_so in moments:
        every[int(at / step_s)] += 1
        such[int(at / step_s)] += is_so
    return [(step * step_s, such[step] / every[step]) for step in sorted(every)]


def totals(moments: Sequence[float], ends_at: float, step_s: float) -> list[tuple[float, float]]:
    """How often something had happened by the end of each step of time: for charts.

    Args:
        moments: when it happened, in seconds since the beginning.
        ends_at: where the chart ends.
    """
    per_step = Counter(int(at / step_s) for at in moments)
    points, total = [(0.0, 0.0)], 0
    for step in range(max(1, round(ends_at / step_s))):
        total += per_step[step]
        points.append(((step + 1) * step_s, float(total)))
    return points
