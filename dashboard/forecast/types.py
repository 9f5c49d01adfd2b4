"""What a forecast is made of. Frozen; moments are epoch seconds, counts are expected keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from dashboard.keyspace.types import Expiries


class Horizon(StrEnum):
    """How far ahead, and in which steps."""

    HOUR = "1h"
    DAY = "24h"
    WEEK = "7d"

    @property
    def step_s(self) -> int:
        """Width of a step, seconds."""
        return {Horizon.HOUR: 10, Horizon.DAY: 60, Horizon.WEEK: 3_600}[self]

    @property
    def steps(self) -> int:
        """How many."""
        return {Horizon.HOUR: 360, Horizon.DAY: 1_440, Horizon.WEEK: 168}[self]


class Cause(StrEnum):
    """Why many keys end together."""

    ROUND_TIME = "round time"
    """The wall stands on a full hour, and others of the same stem do, too, or no policy explains it: EXPIREAT."""
    NO_JITTER = "no jitter"
    """They were written together, and their policy has no jitter."""
    WARM_UP = "warm-up"
    """Nearly all keys of the stem at once: something filled it in one go."""
    BURST = "burst"
    """They were written together, past the policy's jitter."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Steps of equal width.

    Args:
        start: where the first begins, a multiple of ``step_s``.
    """

    start: int
    step_s: int
    steps: int

    @property
    def end(self) -> int:
        """Where the last ends."""
        return self.start + self.step_s * self.steps


@dataclass(frozen=True, slots=True)
class Rule:
    """The TTL that keys of a stem get when they are written again.

    Args:
        base_s: 0: they are not cached again.
        jitter_s: at most so much is added, evenly at random.
        grace_s: kept so much longer, to be served stale.
    """

    base_s: float
    jitter_s: float = 0.0
    grace_s: float = 0.0

    @property
    def longest_s(self) -> float:
        """The longest TTL it gives."""
        return self.base_s + self.jitter_s + self.grace_s


@dataclass(frozen=True, slots=True)
class Stem:
    """The keys of one stem, and what becomes of them.

    Args:
        expiries: as the scan found them.
        rule: None: not known; then they are not followed beyond their present TTL.
        reads_per_key_s: how often each of them is read, on average; 0: never, or not known.
        load_s: mean seconds of a load; None: not known.
    """

    expiries: Expiries
    rule: Rule | None
    reads_per_key_s: float
    load_s: float | None = None

    @property
    def name(self) -> str:
        """As the tree has it."""
        return self.expiries.stem


@dataclass(frozen=True, slots=True)
class Blame:
    """A stem's part in a wall.

    Args:
        keys: of it that end in the wall.
        share: of the stem's keys with a TTL, 0..1.
        cause: why, as far as can be told.
    """

    stem: str
    policy: str
    keys: float
    share: float
    cause: Cause


@dataclass(frozen=True, slots=True)
class Wall:
    """A step, or several in a row, that holds far more expirations than its surroundings.

    Args:
        start, end: of the steps.
        keys: that end in it; excess: more than usual around it.
        times: the wall's fullest step by the median of its neighbours; None: they are empty.
        peak_per_s: database reads per second at its worst, those of the present included.
        over_s: seconds above the budget; 0: it stays within.
        blame: who it consists of, most first.
    """

    start: int
    end: int
    keys: float
    excess: float
    times: float | None
    peak_per_s: float
    over_s: float
    blame: tuple[Blame, ...]

    @property
    def is_risk(self) -> bool:
        """Whether it goes beyond the budget: an avalanche."""
        return self.over_s > 0


@dataclass(frozen=True, slots=True)
class Course:
    """Expirations per step.

    Args:
        by_stem: per step of the grid.
        steady: stems with so short a TTL that they always expire (left out of ``by_stem``): keys per second.
    """

    grid: Grid
    by_stem: Mapping[str, Sequence[float]]
    steady: Mapping[str, float]

    @property
    def total(self) -> list[float]:
        """Of all stems in ``by_stem``."""
        return [sum(each) for each in zip(*self.by_stem.values(), strict=True)] or [0.0] * self.grid.steps


@dataclass(frozen=True, slots=True)
class Basis:
    """What a forecast is reckoned from.

    Args:
        taken_at: when the scan ended, epoch seconds.
        is_sample: some keys were looked at, not all; ``looked_at`` of ``keyspace``.
        factor: keys that one of those stands for.
        stems: per stem of the keyspace.
        loads_per_s: database reads at present, as applications or else the server count them; None: not known.
        is_even: no application counts what is read: the server's reads are spread evenly over all keys.
        budget_per_s: those that are allowed; None: there is no limit.
    """

    taken_at: float
    is_sample: bool
    looked_at: int
    keyspace: int
    factor: float
    stems: Sequence[Stem]
    loads_per_s: float | None
    budget_per_s: float | None
    is_even: bool = False

    @property
    def with_ttl(self) -> float:
        """Keys that expire some day."""
        return sum(stem.expiries.keys - stem.expiries.never for stem in self.stems)


@dataclass(frozen=True, slots=True)
class Forecast:
    """When keys will expire.

    Args:
        course: per step and stem.
        walls: earliest first.
        line: keys per step from which on one may be a wall, for the chart.
        now: epoch seconds.
    """

    basis: Basis
    horizon: Horizon
    course: Course
    walls: Sequence[Wall]
    line: float
    now: float
