"""What the lab's pages show, put together."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from dashboard.access import Role, can, require
from dashboard.demo.lab import catalogue
from dashboard.demo.lab.types import Scenario
from dashboard.demo.shop.schema import SEED
from dashboard.errors import NotFound
from dashboard.lab import rules, screen, service
from dashboard.lab.rules import Rule
from dashboard.lab.screen import Badge, Card, ChangeRow, Found, Progress
from dashboard.lab.types import Latest, Run, State
from dashboard.web import resources
from dashboard.work import UnitOfWork

SOON_S: Final = 1
LATER_S: Final = 10
"""As often a page asks while something is under way, and for what others begin."""
_COMPARABLE: Final = 20


@dataclass(frozen=True, slots=True)
class LabPage:
    """templates/lab/page.html.

    Args:
        cards: in the catalogue's order; in a round only those that are news.
        counts: (status kind, words, icon or empty) of what is known of all.
        about_s: how long all of them take.
        open: how many wait or run.
        seen: what the page knows of.
        poll_s: as often it asks again.
    """

    now: datetime
    cards: tuple[Card, ...]
    total: int
    counts: tuple[tuple[str, str, str], ...]
    about_s: int
    open: int
    seed: int
    seen: str
    poll_s: int
    may_run: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ScenarioPage:
    """templates/lab/scenario.html.

    Args:
        found: the run that is shown; None: none came to its end.
        about: what it was run with.
        others: runs with a result beside the one that is shown, newest first.
        earlier, changes: the run that it is compared with, and how.
        past: the last runs of any state, newest first.
    """

    now: datetime
    name: str
    title: str
    question: str
    rule: str
    about_s: int
    is_accepting: bool
    badge: Badge
    latest: Run | None
    progress: Progress | None
    problem: str
    found: Found | None
    about: tuple[tuple[str, str], ...]
    others: tuple[Run, ...]
    earlier: Run | None
    changes: tuple[ChangeRow, ...]
    past: tuple[Run, ...]
    poll_s: int
    query: str
    may_run: bool
    refused: str = ""

    def word(self, run: Run) -> Badge:
        """A run's state."""
        return screen.badge(run, self.about_s, self.now)


@dataclass(frozen=True, slots=True)
class RulePage:
    """templates/lab/rule.html.

    Args:
        name, title: of the scenario.
    """

    now: datetime
    name: str
    title: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class RunsPage:
    """templates/lab/runs.html.

    Args:
        only: the scenario whose runs are shown; empty: all.
        names: all scenarios, for the choice.
        next_before: ``before`` of the next ones; None: there are none.
    """

    now: datetime
    runs: tuple[Run, ...]
    only: str
    names: tuple[tuple[str, str], ...]
    next_before: int | None

    def word(self, run: Run) -> Badge:
        """Its state."""
        return Badge(*screen.BADGES[run.state])

    def title(self, run: Run) -> str:
        """Its scenario's title."""
        return dict(self.names).get(run.scenario, run.scenario)


def is_unchanged(work: UnitOfWork, known: str) -> bool:
    """Whether a page that knows ``known`` has nothing to learn."""
    runs = _of(catalogue.scenarios(), service.newest(work))
    return screen.seen(runs) == known and all(run.state.is_over for run in runs.values())


def lab_page(work: UnitOfWork, *, known: str | None = None, problem: str = "") -> LabPage:
    """All scenarios.

    Args:
        known: what the page knows of; only the cards that are news then. None: all of them.
        problem: why what was asked for was not done.
    """
    require(work.actor, Role.VIEWER)
    scenarios = catalogue.scenarios()
    runs = _of(scenarios, service.newest(work))
    shown = scenarios if known is None else _news(scenarios, runs, known)
    found = service.latest(work, [scenario.name for scenario in shown])
    is_open = sum(not run.state.is_over for run in runs.values())
    return LabPage(
        now=work.now,
        cards=tuple(screen.card(scenario, Latest(runs, found.shown), work.now) for scenario in shown),
        total=len(scenarios),
        counts=_counts(scenarios, list(runs.values())),
        about_s=sum(scenario.about_s for scenario in scenarios),
        open=is_open,
        seed=SEED,
        seen=screen.seen(runs),
        poll_s=SOON_S if is_open else LATER_S,
        may_run=can(work.actor, Role.OPERATOR),
        problem=problem,
    )


def scenario_page(
    work: UnitOfWork, name: str, *, number: int | None = None, earlier: int | None = None, refused: str = ""
) -> ScenarioPage:
    """One scenario.

    Args:
        number: of the run that is shown; None: the newest that came to its end.
        earlier: of the run that it is compared with.
        refused: why what was asked for was not done.

    Raises:
        NotFound: there is no such scenario, or no such run of it with a result.
    """
    require(work.actor, Role.VIEWER)
    scenario = catalogue.find(name)
    if scenario is None:
        raise service.no_scenario(name)
    known = service.latest(work, [name])
    latest = known.runs.get(name)
    shown = known.shown.get(name) if number is None else _run(work, name, number)
    other = None if earlier is None or shown is None else _run(work, name, earlier)
    past = service.list_runs(work, name, limit=_COMPARABLE)
    is_open = latest is not None and not latest.state.is_over
    queries = [("run", number), ("with", earlier)]
    return ScenarioPage(
        now=work.now,
        name=name,
        title=scenario.title,
        question=scenario.question,
        rule=screen.rule(scenario),
        about_s=scenario.about_s,
        is_accepting=scenario.is_accepting,
        badge=screen.badge(latest, scenario.about_s, work.now),
        latest=latest,
        progress=screen.progress_of(latest, scenario.about_s, work.now) if latest and is_open else None,
        problem=latest.problem if latest is not None and latest.state is State.VOID else "",
        found=None if shown is None else screen.found(shown),
        about=() if shown is None or shown.result is None else screen.setup(shown.result),
        others=tuple(
            run
            for run in past
            if run.state in (State.PASSED, State.FAILED) and shown is not None and run.number != shown.number
        ),
        earlier=other,
        changes=() if other is None or shown is None else screen.compared(other, shown),
        past=tuple(past),
        poll_s=SOON_S if is_open else 0,
        query="&".join(f"{key}={value}" for key, value in queries if value is not None),
        may_run=can(work.actor, Role.OPERATOR),
        refused=refused,
    )


def rule_page(work: UnitOfWork, name: str) -> RulePage:
    """The rule that a scenario shows.

    Raises:
        NotFound: there is no such scenario, or the docs have no such section.
    """
    require(work.actor, Role.VIEWER)
    scenario = catalogue.find(name)
    if scenario is None:
        raise service.no_scenario(name)
    found = rules.find(scenario.rule, resources.folder("docs"))
    if found is None:
        raise NotFound(f"The docs of this release have no {scenario.rule}.")
    return RulePage(work.now, name, scenario.title, found)


def runs_page(work: UnitOfWork, *, only: str = "", before: int | None = None) -> RunsPage:
    """Past runs, newest first.

    Args:
        only: of this scenario; empty: of all.
        before: only lower numbers.
    """
    require(work.actor, Role.VIEWER)
    runs = service.list_runs(work, only or None, before=before, limit=service.LISTED + 1)
    shown = tuple(runs[: service.LISTED])
    return RunsPage(
        now=work.now,
        runs=shown,
        only=only,
        names=tuple((scenario.name, scenario.title) for scenario in catalogue.scenarios()),
        next_before=shown[-1].number if len(runs) > len(shown) else None,
    )


def _run(work: UnitOfWork, name: str, number: int) -> Run:
    run = service.get_run(work, number)
    if run.scenario != name or run.result is None or run.state not in (State.PASSED, State.FAILED):
        raise NotFound(f"Run {number} has no numbers of this scenario.")
    return run


def _of(scenarios: Sequence[Scenario], runs: dict[str, Run]) -> dict[str, Run]:
    """In the catalogue's order, without those of another release."""
    return {scenario.name: runs[scenario.name] for scenario in scenarios if scenario.name in runs}


def _news(scenarios: Sequence[Scenario], runs: dict[str, Run], known: str) -> list[Scenario]:
    old = set(known.split(","))

    def is_news(scenario: Scenario) -> bool:
        run = runs.get(scenario.name)
        return run is not None and (not run.state.is_over or screen.seen({scenario.name: run}) not in old)

    return [scenario for scenario in scenarios if is_news(scenario)]


def _counts(scenarios: Sequence[Scenario], runs: Sequence[Run]) -> tuple[tuple[str, str, str], ...]:
    def count(*states: State) -> int:
        return sum(run.state in states for run in runs)

    rows = (
        ("ok", count(State.PASSED), "passed", ""),
        ("crit", count(State.FAILED), "failed", ""),
        ("warn", count(State.VOID), "void", ""),
        ("unknown", count(State.RUNNING), "running", "loader-circle"),
        ("unknown", count(State.WAITING), "waiting", "hourglass"),
        ("unknown", len(scenarios) - len(runs) + count(State.CANCELLED), "without a result", ""),
    )
    return tuple((kind, f"{number} {word}", icon) for kind, number, word, icon in rows if number)
