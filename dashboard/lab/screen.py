"""What the lab's pages show, in words and places. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dashboard.demo.lab import words
from dashboard.demo.lab.series import grid, on_grid
from dashboard.demo.lab.types import Check, Result, Scenario, Side
from dashboard.lab.types import Latest, Run, State
from dashboard.web.bars import nice, percent_of
from dashboard.web.formats import byte_unit, compact, duration, number
from dashboard.web.lines import LEFT, RIGHT, LinePlot, line_plot

BADGES: Final = {
    State.WAITING: ("Waiting", "", "hourglass"),
    State.RUNNING: ("Running", "acc", "loader-circle"),
    State.PASSED: ("Passed", "ok", "check"),
    State.FAILED: ("Failed check", "crit", "octagon-alert"),
    State.VOID: ("Void", "warn", "triangle-alert"),
    State.CANCELLED: ("Stopped", "", "square"),
}
"""Word, kind and icon of a badge."""
_SIDES_ON_CARD: Final = 3
_NUMBERS_ON_CARD: Final = 4
_FAILING_ON_CARD: Final = 3
_POINTS_ON_CARD: Final = 90
_POINTS: Final = 240
_MS_BELOW_S: Final = 10.0
_MARKS: Final = 4
_LEVELS: Final = 4
_FACTS: Final = {"latency s": "Latency of a statement", "away s": "Redis is away", "seconds": "Counted"}
_FACT_UNITS: Final = ((" per s", "per_s"), (" s", "s"), ("seconds", "s"))
"""Ends of the names of what a run was made with, and their units."""


@dataclass(frozen=True, slots=True)
class Badge:
    """A state in a word."""

    word: str
    kind: str
    icon: str


@dataclass(frozen=True, slots=True)
class Column:
    """One side's column: its name, and the class of its line's swatch."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class NumberRow:
    """One number on each side, in words."""

    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckLine:
    """One check: what must hold, and what was found."""

    text: str
    is_passed: bool
    found: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Args:
        key: class of its colour.
        path: in the plot's box.
        is_dot: it is one point only.
    """

    key: str
    path: str
    is_dot: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart of all sides.

    Args:
        levels: (place, words) of each grid line.
        marks: (place, words, ``text-anchor``) below the plot.
        along: what it runs along; empty: the time.
        sentence: the reading for those who can't see it.
    """

    title: str
    plot: LinePlot
    lines: tuple[Line, ...]
    levels: tuple[tuple[str, str], ...]
    marks: tuple[tuple[str, str, str], ...]
    along: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a run found, as it is shown.

    Args:
        columns, rows: the table of numbers.
        left_out: how many sides are not shown here.
    """

    run: Run
    columns: tuple[Column, ...]
    rows: tuple[NumberRow, ...]
    charts: tuple[Chart, ...]
    checks: tuple[CheckLine, ...]
    sentence: str
    notes: tuple[str, ...]
    left_out: int

    @property
    def holding(self) -> int:
        """How many checks hold."""
        return sum(check.is_passed for check in self.checks)

    @property
    def failing(self) -> tuple[CheckLine, ...]:
        """Those that don't, as far as a card has room."""
        return tuple(check for check in self.checks if not check.is_passed)[:_FAILING_ON_CARD]


@dataclass(frozen=True, slots=True)
class Progress:
    """A run that waits or runs.

    Args:
        share: 0..1.
        left_text: how long it takes, about; empty: nobody knows.
        words: what it does now.
        is_ending: it was asked to end.
    """

    run: Run
    share: float
    left_text: str
    words: str
    is_ending: bool


@dataclass(frozen=True, slots=True)
class Card:
    """One scenario on the page of all.

    Args:
        found: the newest run that came to its end; None: none did.
        progress: None while none is open.
        problem: why the newest run says nothing; empty: it does, or is not over.
        is_newest: what is shown is of the newest run.
        about_s, shows: how long a run takes, and what it shows, for who has not seen one.
    """

    name: str
    title: str
    question: str
    about_s: int
    shows: str
    badge: Badge
    latest: Run | None
    found: Found | None
    progress: Progress | None
    problem: str
    is_newest: bool

    @property
    def href(self) -> str:
        """Its own page."""
        return f"/lab/{self.name}"


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One number of one side, in an earlier run and in this one.

    Args:
        is_better: than it was; None: neither.
    """

    side: str
    name: str
    before: str
    after: str
    change: str
    is_better: bool | None


def card(scenario: Scenario, known: Latest, now: datetime) -> Card:
    """One scenario as its card shows it."""
    latest, shown = known.runs.get(scenario.name), known.shown.get(scenario.name)
    progress = None
    if latest is not None and not latest.state.is_over:
        progress = progress_of(latest, scenario.about_s, now)
    return Card(
        name=scenario.name,
        title=scenario.title,
        question=scenario.question,
        about_s=scenario.about_s,
        shows=scenario.shows,
        badge=badge(latest, scenario.about_s, now),
        latest=latest,
        found=None if shown is None else found(shown, on_card=True),
        progress=progress,
        problem=latest.problem if latest is not None and latest.state is State.VOID else "",
        is_newest=latest is not None and shown is not None and latest.number == shown.number,
    )


def badge(run: Run | None, about_s: int, now: datetime) -> Badge:
    """A run's state in a word; None: there never was one."""
    if run is None:
        return Badge("Never run", "", "circle-dashed")
    word, kind, icon = BADGES[run.state]
    if run.state is State.RUNNING and run.started_at is not None:
        gone_s = max(0, int((now - run.started_at).total_seconds()))
        word = f"Running {gone_s} of {about_s} s" if gone_s <= about_s else f"Running {gone_s} s"
    return Badge(word, kind, icon)


def progress_of(run: Run, about_s: int, now: datetime) -> Progress:
    """How far an open run is."""
    left = ""
    if run.state is State.RUNNING and run.started_at is not None:
        left_s = about_s - (now - run.started_at).total_seconds()
        left = f"{duration(max(1, round(left_s)))} left" if left_s > 0 else "longer than usual"
    is_ending = run.wish == "cancel"
    said = run.words or (
        "Begins" if run.state is State.RUNNING else "Waits for a worker, and for those before it"
    )
    return Progress(run, run.share, left, "Ends, with its servers" if is_ending else said, is_ending)


def found(run: Run, *, on_card: bool = False) -> Found:
    """What a run found.

    Args:
        run: with its result.
        on_card: only what has room there.
    """
    result = run.result
    assert result is not None
    sides = result.sides
    if on_card and len(sides) > _SIDES_ON_CARD:
        sides = (sides[0], sides[-1])
    keys = _keys(sides)
    names = list(dict.fromkeys(each.name for side in sides for each in side.numbers))
    return Found(
        run=run,
        columns=tuple(Column(side.name, keys[side.name]) for side in sides),
        rows=tuple(
            NumberRow(name, tuple(_cell(side, name) for side in sides))
            for name in names[: _NUMBERS_ON_CARD if on_card else None]
        ),
        charts=charts(result, sides, only_first=on_card),
        checks=tuple(_check(check) for check in result.checks),
        sentence=result.sentence,
        notes=result.notes,
        left_out=len(result.sides) - len(sides),
    )


def setup(result: Result) -> tuple[tuple[str, str], ...]:
    """What it was run with, in words."""
    return tuple(_fact(name.replace("_", " "), value) for name, value in result.setup.items())


def _fact(name: str, value: str | float) -> tuple[str, str]:
    """One of them; the end of its name says its unit, a seed is no number."""
    label = _FACTS.get(name)
    for end, unit in _FACT_UNITS:
        if name.endswith(end) and not isinstance(value, str):
            return label or _label(name.removesuffix(end)), words.in_words(value, unit)
    if isinstance(value, str) or name == "seed":
        return _label(name), str(value)
    return label or _label(name), number(value)


def _label(name: str) -> str:
    return (name[:1].upper() + name[1:]).replace("Ttl", "TTL").replace(" ttl", " TTL")


def rule(scenario: Scenario) -> str:
    """Where the rule is explained: ``docs/library.md, “One load per missing key”``."""
    path, _, place = scenario.rule.partition("#")
    return f"{path}, “{place.replace('-', ' ').capitalize()}”" if place else path


def compared(earlier: Run, this: Run) -> tuple[ChangeRow, ...]:
    """All numbers of a run beside those of an earlier one, as far as both have them."""
    assert earlier.result is not None and this.result is not None
    old = {side.name: side for side in earlier.result.sides}
    return tuple(
        ChangeRow(
            side.name,
            number.name,
            words.in_words(before, number.unit),
            words.in_words(number.value, number.unit),
            words.change(before, number.value),
            words.is_better(number, before),
        )
        for side in this.result.sides
        if side.name in old
        for number in side.numbers
        for before in [old[side.name].value(number.name)]
        if before is not None or number.value is not None
    )


def _cell(side: Side, name: str) -> str:
    one = next((each for each in side.numbers if each.name == name), None)
    return "n/a" if one is None else words.in_words(one.value, one.unit)


def _check(check: Check) -> CheckLine:
    return CheckLine(check.text, check.passed, words.found(check))


def _keys(sides: Sequence[Side]) -> dict[str, str]:
    """Class of each side's colour: the cure is the accent, the one before is slate and dashed."""
    names = [side.name for side in sides]
    order = [names[-1], *names[:-1]] if names else []
    return {name: f"s{place}" for place, name in enumerate(order, start=1)}


# --- charts -----------------------------------------------------------------------------------------------------


def charts(result: Result, sides: Sequence[Side], *, only_first: bool) -> tuple[Chart, ...]:
    """A chart for each series that some side has; the result's own first."""
    names = list(dict.fromkeys([result.chart[0], *(name for side in sides for name in side.series)]))
    made = [
        _chart(result, name, sides, _POINTS_ON_CARD if only_first else _POINTS)
        for name in (names[:1] if only_first else names)
    ]
    return tuple(each for each in made if each is not None)


def _chart(result: Result, name: str, sides: Sequence[Side], points: int) -> Chart | None:
    drawn = [side for side in sides if side.series.get(name)]
    if not drawn:
        return None
    is_main = name == result.chart[0]
    unit = result.chart[1] if is_main else _unit(drawn[0], name)
    tops = {side.name: max(value for _, value in side.series[name]) for side in drawn}
    factor, suffix = _scale(unit, max(tops.values()))
    scaled = [[(at, value * factor) for at, value in side.series[name]] for side in drawn]
    times = grid(scaled, points)
    plot = line_plot(times, [on_grid(line, times) for line in scaled], high=_high(unit, scaled))
    keys = _keys(sides)
    along, along_unit = result.across if is_main else ("Time", "s")
    most = " and ".join(f"{words.in_words(tops[side.name], unit)} with {side.name}" for side in drawn)
    return Chart(
        title=f"{name}{suffix}",
        plot=plot,
        lines=tuple(
            Line(keys[side.name], path if "L" in path else f"{path}h.1", "L" not in path)
            for side, path in zip(drawn, plot.paths, strict=True)
        ),
        levels=tuple((place, compact(level)) for place, level in plot.levels),
        marks=tuple((place, duration(at), anchor) for place, at, anchor in plot.times)
        if along_unit == "s"
        else _marks(times[-1], along_unit),
        along="" if (along, along_unit) == ("Time", "s") else along,
        sentence=f"{name}, at most: {most}.",
    )


def _high(unit: str, lines: Sequence[Sequence[tuple[float, float]]]) -> float:
    """Where the scale ends: just above the highest value; a share of a whole ends at 100%."""
    top = max(1.0, *(value for line in lines for _, value in line))
    step = max(1.0, nice(top / _LEVELS))
    high = step * math.ceil(top / step - 1e-9)
    return min(high, 100.0) if unit == "ratio" and top <= 100 else high


def _unit(side: Side, name: str) -> str:
    """A series that has a number's name is measured as that is."""
    return next((each.unit for each in side.numbers if each.name == name), "")


def _scale(unit: str, top: float) -> tuple[float, str]:
    """What values are multiplied by to be written as whole numbers, and what is said of that in the title."""
    match unit:
        case "s" if top < _MS_BELOW_S:
            return 1_000.0, ", ms"
        case "s":
            return 1.0, ", s"
        case "ratio":
            return 100.0, ", %"
        case "cents":
            return 0.01, ", €"
        case "bytes":
            size, name = byte_unit(top)
            return 1 / size, f", {name}"
        case _:
            return 1.0, ""


def _marks(end: float, unit: str) -> tuple[tuple[str, str, str], ...]:
    """Marks below a chart that does not run along the time."""
    step = nice(end / _MARKS)
    places = [step * number for number in range(int(end / step + 1e-9) + 1)]
    return tuple(
        (
            percent_of(LEFT + at / end * (RIGHT - LEFT)),
            words.in_words(at, unit),
            "start" if at == 0 else "end" if at > end * 0.96 else "middle",
        )
        for at in places
    )


def seen(runs: Mapping[str, Run]) -> str:
    """What a page knows of, for its next round: the newest run of each scenario and its revision."""
    return ",".join(f"{run.number}.{run.revision}" for run in runs.values())
