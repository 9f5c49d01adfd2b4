"""What a scenario is, what it works with, and what it finds. Frozen, and JSON (``to_json``, ``from_json``)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Protocol

import redis

from dashboard.demo.shop.store import ShopStore

LOWER, HIGHER = "lower", "higher"
"""Which is better of two numbers."""
AT_MOST, AT_LEAST = "at most", "at least"
"""What the limit of a check is."""
SIDES_MOST: Final = 6
POINTS_MOST: Final = 400


class Cancelled(Exception):
    """The run was asked to end."""


class Void(Exception):
    """The run says nothing: something it needs broke. The message says what, for people."""


@dataclass(frozen=True, slots=True)
class Number:
    """One measured number.

    Args:
        name: the same on all sides: "Page p95", "Database time per page".
        value: in base units; None: could not be measured.
        unit: "s", "ratio" (0..1), "bytes", "cents", "count", "per_s".
        better: LOWER, HIGHER or "" where neither is.
    """

    name: str
    value: float | None
    unit: str
    better: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do it: "Cache off", "Naive", "Cachewarden".

    Args:
        series: by name: (seconds since this side began, value) of what is charted.
    """

    name: str
    numbers: tuple[Number, ...]
    series: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    def value(self, name: str) -> float | None:
        """Of one of its numbers; None: not measured, or there is none."""
        return next((number.value for number in self.numbers if number.name == name), None)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that must hold.

    Args:
        text: "Database time per page is at most a fifth of that without a cache".
        value, limit: what was found and what is allowed; None: could not be measured, which fails.
        unit: of both.
        bound: AT_MOST or AT_LEAST; empty: it is in the text.
    """

    text: str
    passed: bool
    value: float | None
    limit: float | None
    unit: str = ""
    bound: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run found.

    Args:
        scenario: its name.
        sides: the one before first, the cure last.
        chart: name of the series that is charted, and its unit: ("Database, queries/s", "per_s").
        across: what the chart runs along, and its unit, where that is not the time since each side began.
        checks: all must hold; none for a scenario that only shows.
        sentence: what happened, and why, with numbers.
        notes: what to know: a load that was lowered, a machine that was busy.
        void: why it says nothing; empty: it says something.
        took_s: seconds.
        setup: what it was run with: seed, load, cores, versions.
    """

    scenario: str
    sides: tuple[Side, ...]
    chart: tuple[str, str]
    checks: tuple[Check, ...]
    sentence: str
    notes: tuple[str, ...] = ()
    void: str = ""
    took_s: float = 0.0
    setup: Mapping[str, str | float] = field(default_factory=dict)
    across: tuple[str, str] = ("Time", "s")

    @property
    def passed(self) -> bool:
        """Whether it says something, and every check holds."""
        return not self.void and all(check.passed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """For storing and printing."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Result":
        """What ``to_json`` wrote."""
        return cls(
            scenario=data["scenario"],
            sides=tuple(
                Side(
                    side["name"],
                    tuple(Number(**number) for number in side["numbers"]),
                    {name: [(at, value) for at, value in points] for name, points in side["series"].items()},
                )
                for side in data["sides"]
            ),
            chart=(data["chart"][0], data["chart"][1]),
            checks=tuple(Check(**check) for check in data["checks"]),
            sentence=data["sentence"],
            notes=tuple(data["notes"]),
            void=data["void"],
            took_s=data["took_s"],
            setup=dict(data["setup"]),
            across=(data["across"][0], data["across"][1]),
        )


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario.

    Args:
        name: as on the command line.
        title, question: of its card: "Stampede on one hot key", "300 readers wait on …"
        rule: where the rule is explained: "docs/library.md#one-load-per-missing-key".
        about_s: how long it takes, about.
        is_accepting: whether it must pass for the product to be accepted (``make lab``).
        run: does it.
        shows: what a run shows, for who has not seen one: "Shows …".
        compares_times: its checks are of times, or of what a machine can do: a busy machine fails them.
    """

    name: str
    title: str
    question: str
    rule: str
    about_s: int
    is_accepting: bool
    run: "Callable[[Bench], Result]"
    shows: str = ""
    compares_times: bool = False


class ValkeyServer(Protocol):
    """A Valkey of the lab's own."""

    @property
    def url(self) -> str:
        """redis://…"""
        ...

    def client(self) -> redis.Redis:
        """A client of it; closed with the bench."""
        ...

    def kill(self) -> None:
        """SIGKILL: what a crash is."""
        ...

    def start(self) -> None:
        """Start it again on the same port, empty."""
        ...


class ShopServer(Protocol):
    """The shop in a process of its own."""

    @property
    def url(self) -> str:
        """http://127.0.0.1:…"""
        ...

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time that it used so far."""
        ...


@dataclass(frozen=True, slots=True)
class DatabaseUse:
    """What the database server did between two readings.

    Args:
        busy_s: time its sessions were running statements (pg_stat_database.active_time).
        cpu_s: processor time of its processes.
    """

    busy_s: float
    cpu_s: float


class Bench(Protocol):
    """What a scenario works with. Everything is its own, on loopback, and gone afterwards."""

    @property
    def seed(self) -> int:
        """Of all that is random."""
        ...

    @property
    def is_quick(self) -> bool:
        """A short run for tests of the scenario itself: its numbers mean nothing, its checks are not to be judged."""
        ...

    def progress(self, share: float, words: str) -> None:
        """How far it is, 0..1, and what it does now. Raises Cancelled when it is to end."""
        ...

    def wait(self, seconds: float) -> None:
        """Sleep. Raises Cancelled."""
        ...

    def database_url(self) -> str:
        """Of the lab's PostgreSQL, which holds the shop (schema ``shop``), as this run left it."""
        ...

    def store(self, **options: Any) -> ShopStore:
        """The shop's queries on it; closed with the bench."""
        ...

    def valkey(self, **config: str) -> ValkeyServer:
        """A new empty Valkey, with settings such as maxmemory="8mb", maxmemory_policy="allkeys-lfu"."""
        ...

    def shop(self, mode: str, valkey: ValkeyServer) -> AbstractContextManager[ShopServer]:
        """The shop in a process of its own, in one mode."""
        ...

    def database_use(self) -> Callable[[], DatabaseUse]:
        """Begin to measure; calling the result gives what was used since."""
        ...

    def database_processors(self) -> Callable[[], float]:
        """What reads how many seconds all processors of this machine together worked for PostgreSQL."""
        ...
