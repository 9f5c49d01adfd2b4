"""The steps of ``cachewarden purge``: have it counted, confirm it, wait for its end. Each may end the command."""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final, NoReturn, Protocol

import click

from dashboard.cli import purge_output as output
from dashboard.cli.acting import fields_said, unit
from dashboard.errors import Conflict, InvalidInput, Refused, StoreUnavailable
from dashboard.invalidation import service
from dashboard.invalidation.types import Friction, Plan, Purge, State
from dashboard.monitoring import service as monitoring
from dashboard.work import Runtime, UnitOfWork

WORKER_AWAY_S: Final = 20.0
"""A worker that was there is waited for so long: another one takes its work over."""
NEVER_A_WORKER_S: Final = 5.0
STORE_AWAY_S: Final = 300.0
FIRST_LINES_S: Final = 10.0
LAST_LINES_S: Final = 60.0
"""Between two lines of progress, where there is no terminal: first, and after a while."""
_STEPS: Final = 1_000


class Code(IntEnum):
    """Exit codes."""

    DONE = 0
    FAILED = 1
    """It failed or was cancelled, or could not be counted."""
    REFUSED = 2
    UNCONFIRMED = 3
    UNFINISHED = 4
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Answers:
    """What was said beforehand.

    Args:
        yes: the count is confirmed, whatever it is.
        typed: the text that confirms; it confirms the count, too.
        asks: the one at the terminal can be asked for the rest.
        when: the options that say when, for whoever has to say it again.
    """

    yes: bool
    typed: str
    reason: str
    asks: bool
    when: str = ""


@dataclass(frozen=True, slots=True)
class Teller:
    """Says things: results on standard output, everything else on standard error.

    Args:
        as_json: one JSON value on standard output, and no progress.
    """

    as_json: bool

    def result(self, text: str) -> None:
        """A line of the result."""
        if not self.as_json:
            click.echo(output.safe(text))

    def note(self, text: str) -> None:
        """A line on the way."""
        if not self.as_json:
            click.echo(output.safe(text), err=True)

    def problem(self, text: str, what_to_do: str = "") -> None:
        """Why it goes no further."""
        click.echo(output.safe(f"cachewarden: {text}"), err=True)
        if what_to_do:
            click.echo(output.safe(what_to_do), err=True)

    def json(self, value: Any) -> None:
        """The JSON value, where one is wanted."""
        if self.as_json:
            click.echo(output.json_text(value))


class Standing:
    """What holds at the moment, in words: what Ctrl-C leaves behind."""

    def __init__(self) -> None:
        self.words = "Nothing is purged."


@contextmanager
def interruptible(teller: Teller) -> Iterator[Standing]:
    """End the command with the code of Ctrl-C, and say what stands."""
    standing = Standing()
    try:
        yield standing
    except KeyboardInterrupt:
        click.echo(err=True)
        teller.problem("interrupted.", standing.words)
        sys.exit(Code.INTERRUPTED)


class _Late(Exception):
    """The time that --timeout allows is over.

    Args:
        found: how the purge stood when it was seen last.
    """

    def __init__(self, found: Purge) -> None:
        super().__init__()
        self.found = found


class Steps:
    """One purge on its way.

    Args:
        standing: told what holds.
        timeout_s: longest time in all; None: as long as it takes.
    """

    def __init__(
        self,
        runtime: Runtime,
        cache_name: str,
        teller: Teller,
        standing: Standing,
        timeout_s: float | None,
    ) -> None:
        self._runtime = runtime
        self._cache_name = cache_name
        self._teller = teller
        self._standing = standing
        self._ends_at = None if timeout_s is None else time.monotonic() + timeout_s

    def counted(self, purge: Purge, answers: str | None) -> Purge:
        """Wait until it is counted, and say what it would touch.

        Args:
            answers: the options with which it would be approved then; None: it is only looked at.
        """
        more = "more " if purge.progress.touched else ""
        self._standing.words = f"Nothing {more}is purged: purge {purge.number} was not approved."
        try:
            with _shown(self._teller, _Counting(purge.number)) as show:
                found = self._until(
                    purge, lambda now: now.state is not State.DRAFT or bool(now.problem), show
                )
        except _Late as late:
            words = f"Purge {purge.number} was not counted within the time that --timeout allows"
            if answers is None:
                way_out = f"Its count goes on: cachewarden purge show {purge.number}"
                self.end(late.found, Code.UNFINISHED, f"{words}.", way_out)
            way_out = f"To approve it: cachewarden purge approve {purge.number} {answers}".rstrip()
            problem = f"{words}. It was not approved, and nothing {more}is purged."
            self.end(late.found, Code.UNCONFIRMED, problem, way_out)
        if found.state is not State.PREVIEWED:
            self.end(found, Code.FAILED, found.problem or output.result_line(found))
        assert found.preview is not None
        self._teller.result(f"Purge {found.number} of {self._cache_name}: {found.plan.selection.target}")
        if only := output.only_text(found.plan):
            self._teller.result(f"Only {only}.")
        for line in output.preview_lines(found.preview, found.plan.action):
            self._teller.result(line)
        return found

    def approved(self, purge: Purge, plan: Plan, answers: Answers) -> Purge:
        """Approve what was counted, with what was said, or asked for at the terminal."""
        with unit(self._runtime) as work:
            friction = service.friction_of(work, purge, plan)
        assert purge.preview is not None
        try:
            typed, reason = self._answered(purge, friction, answers)
        except click.Abort as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            click.echo(err=True)
            self._teller.problem("Not confirmed: nothing is changed.")
            self.leave(purge, Code.UNCONFIRMED, friction)
        look = f"cachewarden purge show {purge.number}"
        self._standing.words = f"It was just being approved. To see whether it goes on: {look}"
        try:
            with fields_said(), unit(self._runtime) as work:
                approved = service.approve(
                    work,
                    purge.number,
                    revision=purge.revision,
                    reason=reason,
                    typed=typed,
                    confirmed_keys=purge.preview.keys if friction.confirm_count else None,
                    plan=plan,
                )
            self._goes_on(approved)
            return approved
        except (Conflict, Refused, InvalidInput) as error:
            self._teller.problem(error.message, error.what_to_do)
            self.leave(purge, Code.REFUSED)

    def followed(self, purge: Purge) -> NoReturn:
        """Wait until it is over, saying how far it is, and end with the exit code of its end."""
        self._goes_on(purge)

        def has_stopped(now: Purge) -> bool:
            # Whoever paused it by hand will have it go on; what paused by itself says why.
            stuck = now.state is State.PAUSED and (now.needs_count or bool(now.problem))
            return now.state.is_over or stuck or not now.state.is_active

        try:
            with _shown(self._teller, _Purging(purge.number)) as show:
                found = self._until(purge, has_stopped, show)
        except _Late as late:
            problem = f"Purge {purge.number} is not over after the time that --timeout allows."
            way_out = self._standing.words
            if late.found.state is State.PAUSED:
                way_out = f"It is paused. To go on: cachewarden purge resume {purge.number}"
            self.end(late.found, Code.UNFINISHED, problem, way_out)
        if found.state is State.DONE:
            self._teller.result(output.result_line(found))
            self.leave(found, Code.DONE)
        self._teller.result(output.result_line(found))
        if found.state.is_over:
            self.end(found, Code.FAILED, found.problem)
        if found.needs_count or not found.state.is_active:
            way_out = f"Count again and approve: cachewarden purge approve {found.number}"
            self.end(found, Code.UNCONFIRMED, found.problem, way_out)
        self.end(found, Code.UNFINISHED, found.problem, f"To go on: cachewarden purge resume {found.number}")

    def end(self, purge: Purge, code: Code, problem: str, what_to_do: str = "") -> NoReturn:
        """Say why it goes no further, and end."""
        if problem:
            self._teller.problem(problem, what_to_do)
        self.leave(purge, code)

    def leave(self, purge: Purge, code: Code, friction: Friction | None = None) -> NoReturn:
        """End the command, with the JSON where one is wanted."""
        self._teller.json(output.purge_json(purge, self._cache_name, friction))
        sys.exit(code)

    def _goes_on(self, purge: Purge) -> None:
        number = purge.number
        self._standing.words = f"Purge {number} goes on. To stop it: cachewarden purge cancel {number}"

    def _answered(self, purge: Purge, friction: Friction, answers: Answers) -> tuple[str, str]:
        """The typed text and the reason; ends the command where something is missing."""
        assert purge.preview is not None
        typed, reason = answers.typed.strip(), answers.reason.strip()
        needed = []
        for why in friction.why:
            self._teller.note(why)
        if friction.typed is not None and typed != friction.typed:
            if typed or not answers.asks:
                needed.append(f"--confirm {shlex.quote(friction.typed)}")
            else:
                typed = click.prompt(f"Type {output.safe(friction.typed)} to confirm", err=True).strip()
                if typed != friction.typed:
                    needed.append(f"--confirm {shlex.quote(friction.typed)}")
        elif friction.typed is None and friction.confirm_count and not (answers.yes or typed):
            count = output.keys(purge.preview.keys)
            if not answers.asks or not click.confirm(f"{_VERBS[purge.plan.action]} {count}?", err=True):
                needed.append("--yes")
        if friction.reason and not reason and not purge.reason:
            if answers.asks and not needed:
                reason = click.prompt("Why, in a few words", err=True).strip()
            else:
                needed.append('--reason "…"')
        if needed:
            self._teller.problem(
                f"Not confirmed: nothing is changed. Missing: {', '.join(needed)}.",
                f"Approve what was counted within ten minutes: cachewarden purge approve {purge.number}"
                f" {' '.join([*needed, *([answers.when] if answers.when else [])])}",
            )
            self.leave(purge, Code.UNCONFIRMED, friction)
        return typed, reason

    def _until(
        self,
        purge: Purge,
        is_there: Callable[[Purge], bool],
        show: Callable[[Purge, Sequence[int]], None] = lambda now, before: None,
    ) -> Purge:
        """Look again and again.

        Args:
            show: called with each look, and the purges that it waits for.

        Raises:
            _Late: the time is over.
        """
        began = time.monotonic()
        answered_at = alive_at = began
        found = purge
        was_there = False
        while True:
            now = time.monotonic()
            try:
                with unit(self._runtime) as work:
                    found = service.get_purge(work, purge.number)
                    worker = monitoring.worker_status(work)
                    is_due = found.plan.at is None or found.plan.at <= work.now
                    before = waits_for(work, found)
            except StoreUnavailable as error:
                if now - answered_at > STORE_AWAY_S:
                    self._teller.problem(error.message, error.what_to_do)
                    sys.exit(Code.UNFINISHED)
            else:
                answered_at = now
                show(found, before)
                if is_there(found):
                    return found
                was_there = was_there or worker is not None
                if (worker is not None and worker.is_alive) or not is_due or found.state is State.PAUSED:
                    alive_at = now
                elif now - alive_at > (WORKER_AWAY_S if was_there else NEVER_A_WORKER_S):
                    self.end(
                        found,
                        Code.UNFINISHED,
                        "No worker runs, so nothing is counted and nothing is purged.",
                        "Start one: cachewarden worker",
                    )
            if self._ends_at is not None and now > self._ends_at:
                raise _Late(found)
            time.sleep(0.1 if now - began < 2 else 0.5)


def waits_for(work: UnitOfWork, purge: Purge) -> list[int]:
    """The purges that this one waits for, as its cache allows only so many at a time."""
    if purge.state is not State.WAITING:
        return []
    running = [
        each.number
        for each in service.active_purges(work)
        if each.cache_id == purge.cache_id and each.state is State.RUNNING
    ]
    return running if len(running) >= service.limits(work, purge.cache_id).at_a_time else []


def is_empty(purge: Purge, plan: Plan) -> bool:
    """Whether there is nothing to do."""
    assert purge.preview is not None
    return purge.started_at is None and service.is_empty(plan, purge.preview)


class _Way(Protocol):
    """What is shown on the way to an end."""

    label: str

    def line(self, now: Purge, before: Sequence[int]) -> str:
        """How far it is; empty: nothing to show yet."""
        ...

    def share(self, now: Purge) -> float:
        """The same, 0..1."""
        ...


class _Purging:
    def __init__(self, number: int) -> None:
        self.label = f"Purge {number}"

    def line(self, now: Purge, before: Sequence[int]) -> str:
        return output.progress_line(now, before)

    def share(self, now: Purge) -> float:
        return now.share or 0.0


class _Counting:
    def __init__(self, number: int) -> None:
        self.label = f"Counting for purge {number}"

    def line(self, now: Purge, before: Sequence[int]) -> str:
        return output.counting_line(now)

    def share(self, now: Purge) -> float:
        if now.state is State.PREVIEWED:
            return 1.0
        return min(1.0, now.counted / now.to_count) if now.to_count else 0.0


@contextmanager
def _shown(teller: Teller, way: _Way) -> Iterator[Callable[[Purge, Sequence[int]], None]]:
    """A function that shows how far it is: as a bar on a terminal, else in a line now and then."""
    if teller.as_json:
        yield lambda now, before: None
    elif not sys.stderr.isatty():
        lines = Lines()

        def note(now: Purge, before: Sequence[int]) -> None:
            line = way.line(now, before)
            if line and lines.is_due(line, time.monotonic()):
                teller.note(f"{way.label}: {line}")

        yield note
    else:
        with ExitStack() as stack:
            bar: Any = None

            def show(now: Purge, before: Sequence[int]) -> None:
                nonlocal bar
                line = output.safe(way.line(now, before))
                if bar is None:
                    # What is over within a second has no bar.
                    if not line:
                        return
                    bar = stack.enter_context(
                        click.progressbar(
                            length=_STEPS,
                            label=way.label,
                            file=sys.stderr,
                            item_show_func=lambda text: text or "",
                        )
                    )
                # Another worker's count, or a second pass over the nodes, begins further back.
                bar.update(round(way.share(now) * _STEPS) - bar.pos, line)

            yield show


class Lines:
    """Which lines of progress to write: the first, then ever fewer, and none twice."""

    def __init__(self) -> None:
        self._said = output.BEGINS
        self._pause_s = 0.0
        self._next_s = 0.0

    def is_due(self, line: str, now_s: float) -> bool:
        """Whether to write it now."""
        if line == self._said or now_s < self._next_s:
            return False
        self._said = line
        self._pause_s = min(LAST_LINES_S, max(FIRST_LINES_S, self._pause_s * 1.5))
        self._next_s = now_s + self._pause_s
        return True


_VERBS: Final = {
    "delete": "Delete",
    "spread": "Expire",
    "soft": "Softly expire",
    "policy": "Change the TTL of",
}
