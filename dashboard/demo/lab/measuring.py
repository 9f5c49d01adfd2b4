"""What several scenarios measure with: visitors over HTTP, readers in this process, samples over time, checks.

Both kinds of load are open loop: who comes when is decided beforehand, and each one's time counts from then.
"""

import itertools
import json
import math
import queue
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from dashboard.demo.lab.reading import LONGEST_S, Crew
from dashboard.demo.lab.types import AT_LEAST, AT_MOST, Bench, Check, Void
from dashboard.demo.load import WAITS_S, Outcome, quantile
from dashboard.demo.shop import catalogue

_READY_S: Final = 30.0
"""A process of visitors is ready within so long."""
_AHEAD_S: Final = 0.2
"""The first visitor may come so long after that."""
_BEAT_S: Final = 0.1
_GIVE_UP_S: Final = 5.0
"""Readers that are not back so long after the end hang, and are left behind."""
_OVER_S: Final = 30.0
"""So long after the last visitor at the latest all have been answered or have given up."""
PACKAGE: Final = Path(__file__).parents[3]

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a run, for its progress.

    Args:
        begins, ends: shares of the whole run, 0..1.
        words: what is done meanwhile.
    """

    begins: float
    ends: float
    words: str

    def at(self, share: float) -> float:
        """How far the run is when this part is done by ``share``."""
        return self.begins + (self.ends - self.begins) * min(1.0, max(0.0, share))


Moments = Sequence[tuple[float, Callable[[], None]]]
"""(seconds after the beginning, what happens then), in the order of time."""


def wait(bench: Bench, seconds: float, part: Part) -> None:
    """Wait, and say so.

    Raises:
        Cancelled: the run is to end.
    """
    _follow(bench, time.time(), seconds, part, (), lambda: False)


def _follow(
    bench: Bench, begins: float, seconds: float, part: Part, moments: Moments, is_done: Callable[[], bool]
) -> None:
    """Say how far it is until ``seconds`` after ``begins`` (Unix time), and have the moments happen meanwhile."""
    left = list(moments)
    while not is_done():
        passed = time.time() - begins
        bench.progress(part.at(passed / seconds if seconds else 1.0), part.words)
        if left and passed >= left[0][0]:
            left.pop(0)[1]()
        elif passed >= seconds and not left:
            return
        else:
            bench.wait(_BEAT_S)


# --- visitors over HTTP ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Visits:
    """What became of all that visitors wanted.

    Args:
        wanted: pages.
        outcomes: of those that were asked for; nearly always all.
        seconds: within which they were wanted.
        began: when the first may have come, by ``time.perf_counter``.
    """

    wanted: int
    outcomes: Sequence[Outcome]
    seconds: float
    began: float = 0.0

    @property
    def answered(self) -> int:
        """Pages that were answered as they should."""
        return sum(each.ok for each in self.outcomes)

    @property
    def served(self) -> int:
        """Pages that the shop made, in time or not."""
        return sum(each.ok or each.reads > 0 for each in self.outcomes)

    @property
    def failed(self) -> int:
        """Pages that were not, or not in time."""
        return self.wanted - self.answered

    @property
    def queries(self) -> int:
        """What these pages asked the database."""
        return sum(each.queries for each in self.outcomes)

    @property
    def hit_ratio(self) -> float | None:
        """Of all reads of the cache; 0 where there is none; None: nothing was read."""
        reads = sum(each.reads for each in self.outcomes)
        asked = sum(each.hits + each.loaded for each in self.outcomes)
        if asked:
            return sum(each.hits for each in self.outcomes) / asked
        return 0.0 if reads else None

    def within(self, from_s: float, until_s: float) -> "Visits":
        """Those that were wanted in this time."""
        found = [each for each in self.outcomes if from_s <= each.at_s < until_s]
        return Visits(len(found), found, until_s - from_s)

    def answered_within(self, from_s: float, until_s: float) -> int:
        """Pages whose answer came in this time, whenever they were wanted."""
        return sum(each.ok and from_s <= each.ended_at_s < until_s for each in self.outcomes)

    def quantile(
        self,
        share: float,
        of: Callable[[Outcome], float] = lambda outcome: outcome.took_s,
        where: Callable[[Outcome], bool] = lambda outcome: True,
    ) -> float | None:
        """Of pages that were answered, and are meant; None of none."""
        return quantile((of(each) for each in self.outcomes if each.ok and where(each)), share)

    def hits_quantile(self, share: float) -> float | None:
        """Of all reads that were answered from the cache, seconds; None of none."""
        return quantile((hit_s for each in self.outcomes for hit_s in each.hits_s), share)

    def p95_series(self) -> Points:
        """(second, p95 in s of all pages wanted in it, failed ones too)."""
        return by_second(
            [(each.at_s, each.took_s) for each in self.outcomes],
            lambda found: quantile(found, 0.95) or 0.0,
        )

    def query_series(self) -> Points:
        """(second, queries of the pages that were answered in it), zeros too."""
        found = dict(by_second([(each.ended_at_s, float(each.queries)) for each in self.outcomes], sum))
        last = max((*found, math.ceil(self.seconds) - 1.0))
        return [(float(second), found.get(float(second), 0.0)) for second in range(int(last) + 1)]


def visit(
    bench: Bench,
    url: str,
    part: Part,
    *,
    pages_per_s: float,
    seconds: float,
    seed: int,
    campaign: str = "",
    moments: Moments = (),
) -> Visits:
    """Send visitors to a shop, from a process of their own, and wait for them.

    Args:
        pages_per_s, seconds, seed: as of ``load.plan``.
        campaign: as on the command line of ``dashboard.demo.load``: "from,until,times,products".
        moments: what happens meanwhile, in seconds after the first visitor may come.

    Raises:
        Cancelled: the run is to end.
        Void: the visitors did not come back.
    """
    given = ["--campaign", campaign] if campaign else []
    with _visitors(bench, url, pages_per_s, seconds, seed, given) as visitors:
        begins = visitors.lead(bench, part)
        began = time.perf_counter() + begins - time.time()
        _follow(bench, begins, seconds + _OVER_S, part, moments, lambda: visitors.are_back)
        found = visitors.answer()
    return Visits(found["wanted"], [Outcome.from_row(row) for row in found["outcomes"]], seconds, began)


def capacity(bench: Bench, url: str, part: Part, *, seconds: float, seed: int, campaign: str = "") -> float:
    """How many pages a second a shop can do, when it is asked for one after the other by sixteen visitors.

    Args:
        seconds: how long to try.
        seed, campaign: of the pages that are asked for.

    Raises:
        Cancelled: the run is to end.
        Void: the visitors did not come back, or nothing was answered.
    """
    given = ["--hurry", *(["--campaign", campaign] if campaign else [])]
    with _visitors(bench, url, 200.0, seconds, seed, given) as visitors:
        begins = visitors.lead(bench, part)
        _follow(bench, begins, seconds + _OVER_S, part, (), lambda: visitors.are_back)
        found = float(visitors.answer()["pages_per_s"])
    if not found:
        raise Void("The shop did not answer a single page.")
    return found


class _Visitors:
    """Their process. What it says is read all the time, for a pipe holds little."""

    def __init__(self, child: "subprocess.Popen[bytes]") -> None:
        self._child = child
        self._ready = threading.Event()
        self._said = b""
        self._thread = threading.Thread(target=self._listen, name="visitors", daemon=True)
        self._thread.start()

    @property
    def are_back(self) -> bool:
        """Whether it has ended, and all was heard."""
        return self._child.poll() is not None and not self._thread.is_alive()

    def lead(self, bench: Bench, part: Part) -> float:
        """Let them go once they are ready. Returns when the first may come, as Unix time."""
        until = time.monotonic() + _READY_S
        while not self._ready.wait(_BEAT_S):
            bench.progress(part.begins, part.words)
            if time.monotonic() > until:
                raise Void("The visitors were not ready in time.")
        begins = time.time() + _AHEAD_S
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.write(f"{begins!r}\n".encode())
            self._child.stdin.flush()
        return begins

    def answer(self) -> Any:
        """What it printed in the end.

        Raises:
            Void: it did not, or failed.
        """
        if not self.are_back:
            raise Void("The visitors did not come back in time.")
        lines = self._said.splitlines() or [b""]
        last = lines[-1].decode("utf-8", "replace")
        if self._child.returncode:
            raise Void(f"The visitors' process failed: {last}")
        return json.loads(last)

    def end(self) -> None:
        """End it, whatever it does."""
        self._child.kill()
        self._child.wait()
        self._thread.join()
        for pipe in (self._child.stdin, self._child.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        parts: list[bytes] = []
        for line in self._child.stdout:
            parts.append(line)
            self._ready.set()
        self._said = b"".join(parts)
        # Whoever waits for one that failed to start shall not.
        self._ready.set()


@contextmanager
def _visitors(
    bench: Bench, url: str, pages_per_s: float, seconds: float, seed: int, given: Sequence[str]
) -> Iterator[_Visitors]:
    command = [sys.executable, "-m", "dashboard.demo.load", "--led", "--url", url, "--seed", str(seed)]
    command += ["--pages-per-s", f"{pages_per_s:.3f}", "--seconds", f"{seconds:.3f}"]
    command += ["--products", str(size(bench).products), *given]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=PACKAGE
    )
    visitors = _Visitors(child)
    try:
        yield visitors
    finally:
        visitors.end()


# --- readers in this process ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """One read.

    Args:
        at_s: when it was wanted.
        took_s: from then until it was there.
    """

    at_s: float
    took_s: float
    ok: bool


def p99(reads: Sequence[Read]) -> float | None:
    """Of all that were read, from the moment each was wanted; None of none."""
    return quantile((each.took_s for each in reads if each.ok), 0.99)


def errors(reads: Sequence[Read]) -> float:
    """Share of the reads that came to nothing."""
    return sum(not each.ok for each in reads) / len(reads) if reads else 0.0


def arrivals(per_s: float, seconds: float, seed: int) -> list[float]:
    """When readers come: at random, so many per second on average."""
    chance = random.Random(f"readers {seed}")
    found: list[float] = []
    at = chance.expovariate(per_s)
    while at < seconds:
        found.append(at)
        at += chance.expovariate(per_s)
    return found


class Readers:
    """Reads that are wanted at given times, by so many threads at most.

    Args:
        times: seconds after the beginning, in order.
        read: does the read of this number.
        threads: at once.
    """

    def __init__(self, times: Sequence[float], read: Callable[[int], object], *, threads: int) -> None:
        self._times = times
        self._read = read
        self._threads = threads
        self._stop = threading.Event()
        self._reads: dict[int, Read] = {}
        self._lock = threading.Lock()
        self.began = 0.0
        """By ``time.perf_counter``, once it runs."""

    def run(self, bench: Bench, seconds: float, part: Part, moments: Moments = ()) -> list[Read]:
        """Do them all; what is not done some seconds after the end is given up and counts as failed.

        Args:
            seconds: how long it is to go on.
            moments: what happens meanwhile.

        Raises:
            Cancelled: the run is to end.
        """
        waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._work, args=(waiting,), name="reader", daemon=True)
            for _ in range(self._threads)
        ]
        self.began = time.perf_counter() + 0.05
        dispatcher = threading.Thread(
            target=self._dispatch, args=(waiting, len(threads)), name="readers", daemon=True
        )
        for thread in (*threads, dispatcher):
            thread.start()
        try:
            _follow(bench, time.time(), seconds, part, moments, lambda: False)
            ends = time.monotonic() + WAITS_S
            while any(thread.is_alive() for thread in threads) and time.monotonic() < ends:
                bench.wait(_BEAT_S)
        finally:
            self._stop.set()
            ends = time.monotonic() + _GIVE_UP_S
            for thread in (dispatcher, *threads):
                thread.join(max(0.0, ends - time.monotonic()))
        gave_up_at_s = time.perf_counter() - self.began
        with self._lock:
            done = dict(self._reads)
        return [
            done.get(number) or Read(at, max(0.0, gave_up_at_s - at), False)
            for number, at in enumerate(self._times)
        ]

    def _dispatch(self, waiting: "queue.SimpleQueue[int | None]", threads: int) -> None:
        for number, at in enumerate(self._times):
            early = self.began + at - time.perf_counter()
            if early > 0 and self._stop.wait(early):
                break
            waiting.put(number)
        for _ in range(threads):
            waiting.put(None)

    def _work(self, waiting: "queue.SimpleQueue[int | None]") -> None:
        while (number := waiting.get()) is not None:
            if self._stop.is_set():
                continue
            try:
                self._read(number)
                ok = True
            except Exception:
                # A reader that gets an error is what is counted here.
                ok = False
            at = self._times[number]
            read = Read(at, time.perf_counter() - self.began - at, ok)
            with self._lock:
                self._reads[number] = read


KEPT_UP: Final = 0.8
"""Of what readers can do when they do nothing else: what comes at random comes in heaps."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much can be read here.

    Args:
        per_s: reads that are wanted.
        share: of what the scenario would like, 0..1.
        note: what to say about it; empty: it is what the scenario would like.
    """

    per_s: float
    share: float = 1.0
    note: str = ""


def pace(can_per_s: float, wanted_per_s: float, *, keys: int = 0) -> Pace:
    """What a machine that can do so much is asked for.

    Args:
        can_per_s: reads, as ``reads_per_s`` found it.
        wanted_per_s: what the scenario would like.
        keys: that are to be fewer where reads are, so that each is read as often; 0: they stay.
    """
    share_of_it = can_per_s * KEPT_UP / wanted_per_s
    if share_of_it >= 1:
        return Pace(wanted_per_s)
    per_s = wanted_per_s * share_of_it
    with_it = f", and the keys with it from {keys:,} to {round(keys * share_of_it):,}" if keys else ""
    note = f"The load was lowered from {wanted_per_s:.0f} to {per_s:.0f} reads/s{with_it}:"
    return Pace(per_s, share_of_it, f"{note} this machine can do {can_per_s:.0f}.")


def reads_per_s(
    bench: Bench, read: Callable[[int], object], part: Part, *, threads: int, seconds: float
) -> float:
    """How many reads a second can be done here, by so many threads and one after the other.

    Args:
        read: does the read of this number.

    Raises:
        Cancelled: the run is to end.
        Void: they don't come to their end.
        Exception: what a read raised.
    """
    numbers = itertools.count()
    begun: list[None] = []
    done: list[None] = []

    def work() -> None:
        # The first one has its connections made, too.
        read(next(numbers))
        begun.append(None)
        while crew.is_going:
            read(next(numbers))
            done.append(None)

    def wait_for(counted: list[None], most: int) -> None:
        until = time.monotonic() + LONGEST_S
        while len(counted) < most:
            if time.monotonic() > until:
                raise Void("What can be read here could not be measured: reads don't come to their end.")
            crew.wait(_BEAT_S, part.begins, part.begins, part.words)

    with Crew(bench) as crew:
        for _ in range(threads):
            crew.begin(work)
        wait_for(begun, threads)
        before, began = len(done), time.monotonic()
        crew.wait(seconds, part.begins, part.ends, part.words)
        wait_for(done, before + 1)
        count, took_s = len(done) - before, time.monotonic() - began
    return count / took_s


class Loads:
    """Counts the calls of a loader.

    Args:
        load: what is called.
    """

    def __init__(self, load: Callable[..., Any]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._began: list[float] = []
        self._took_s = 0.0
        self._running = self._most = 0

    def __call__(self, *args: Any) -> Any:
        """Call it."""
        began = time.perf_counter()
        with self._lock:
            self._began.append(began)
            self._running += 1
            self._most = max(self._most, self._running)
        try:
            return self._load(*args)
        finally:
            took_s = time.perf_counter() - began
            with self._lock:
                self._took_s += took_s
                self._running -= 1

    @property
    def mean_s(self) -> float:
        """How long one takes; 0 of none."""
        return self._took_s / len(self._began) if self._began else 0.0

    def since(self, began: float) -> list[float]:
        """When they began, in seconds after ``began`` (of ``time.perf_counter``); earlier ones are left out."""
        with self._lock:
            return sorted(at - began for at in self._began if at >= began)

    @property
    def most_at_once(self) -> int:
        """How many ran at the same time at most."""
        with self._lock:
            return self._most


# --- over time ------------------------------------------------------------------------------------------------------


class Sampler:
    """Reads a growing number again and again, in a with block.

    Args:
        read: the number; what it raises is a gap.
        every_s: how often.
    """

    def __init__(self, read: Callable[[], float], every_s: float = 0.5) -> None:
        self._read = read
        self._every_s = every_s
        self._stop = threading.Event()
        self._samples: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(10)

    def rates(self, began: float) -> list[tuple[float, float]]:
        """(seconds after ``began``, growth per second); ``began`` of ``time.perf_counter``.

        What grows can't shrink: where it did, somebody began again from 0.
        """
        samples = list(self._samples)
        return [
            (round(to_at - began, 2), max(0.0, to_value - from_value) / (to_at - from_at))
            for (from_at, from_value), (to_at, to_value) in itertools.pairwise(samples)
            if to_at > from_at >= began
        ]

    def _run(self) -> None:
        due = time.perf_counter()
        while not self._stop.is_set():
            with suppress(Exception):
                value = self._read()
                self._samples.append((time.perf_counter(), value))
            due += self._every_s
            self._stop.wait(max(0.0, due - time.perf_counter()))


def by_second(
    values: Points,
    put_together: Callable[[list[float]], float],
    *,
    every_s: float = 1.0,
) -> list[tuple[float, float]]:
    """(when a stretch of time begins, what its values come to); stretches without any are left out."""
    found: dict[int, list[float]] = {}
    for at, value in values:
        found.setdefault(int(at // every_s), []).append(value)
    return [(number * every_s, put_together(each)) for number, each in sorted(found.items())]


def per_step(times: Sequence[float], seconds: float, every_s: float = 1.0) -> list[tuple[float, float]]:
    """How many fell into each stretch of time, zeros too; what is later than ``seconds`` is left out."""
    counts = [0] * max(1, math.ceil(round(seconds / every_s, 6)))
    for at in times:
        if 0 <= at < seconds:
            counts[int(at / every_s)] += 1
    return [(round(number * every_s, 3), float(count)) for number, count in enumerate(counts)]


def peak(points: Points, from_s: float = 0.0, until_s: float = float("inf")) -> float | None:
    """The highest value in this time; None of none."""
    return max((value for at, value in points if from_s <= at < until_s), default=None)


# --- checks ---------------------------------------------------------------------------------------------------------


def at_most(text: str, value: float | None, limit: float | None, unit: str = "") -> Check:
    """It must not be more; what could not be measured fails."""
    passed = value is not None and limit is not None and value <= limit
    return Check(text, passed, value, limit, unit, AT_MOST)


def at_least(text: str, value: float | None, limit: float | None, unit: str = "") -> Check:
    """It must not be less; what could not be measured fails."""
    passed = value is not None and limit is not None and value >= limit
    return Check(text, passed, value, limit, unit, AT_LEAST)


def share(part: float | None, whole: float | None) -> float | None:
    """One as a share of the other; None where that says nothing."""
    return part / whole if part is not None and whole else None


def duration(seconds: float | None) -> str:
    """For a sentence: "8.1 s", "34 ms", "0.42 ms"."""
    if seconds is None:
        return "an unknown time"
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 9.95 else f"{milliseconds:.2g} ms"


# --- sizes ----------------------------------------------------------------------------------------------------------


def size(bench: Bench) -> catalogue.Size:
    """How much of everything the bench's shop has."""
    return catalogue.SMALL if bench.is_quick else catalogue.Size()


def facts(**given: str | float | None) -> Mapping[str, str | float]:
    """For ``Result.setup``: what is known."""
    return {name.replace("_", " "): value for name, value in given.items() if value is not None}
