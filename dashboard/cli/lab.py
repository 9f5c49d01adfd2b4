"""``cachewarden lab``: run scenarios from a terminal or a script. Needs neither a dashboard nor its database.

Exit codes: 0 all checks hold; 1 a check does not hold; 2 a run is void, or could not be made; 3 wrong usage;
130 Ctrl-C, which ends the run and all that it started. With several runs 1 goes before 2.
"""

import json
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import click

from dashboard.demo.lab import apart, catalogue, words
from dashboard.demo.lab.types import Cancelled, Result, Scenario
from dashboard.demo.shop.schema import SEED
from dashboard.fleet.text import display
from dashboard.web.formats import duration

FAILED: Final = 1
VOID: Final = 2
USAGE: Final = 3
MOST_TIMES: Final = 100
_BAR: Final = 20
_NARROWEST: Final = 60


class _Lab(click.Group):
    """Wrong usage has an exit code of its own: 2 says that a run is void."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.exit_code = USAGE  # type: ignore[misc]  # declared for the class, read from the error
            raise

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            error.exit_code = USAGE  # type: ignore[misc]  # declared for the class, read from the error
            raise


@click.group(cls=_Lab)
def lab() -> None:
    """Scenarios that show what breaks a cache and what helps, on servers of their own on this machine.

    \b
    Exit codes: 0 all checks hold, 1 one does not, 2 a run is void,
    3 wrong usage, 130 interrupted.
    """


@lab.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_(as_json: bool) -> None:
    """Print the scenarios."""
    found = catalogue.scenarios()
    if as_json:
        click.echo(json.dumps([_described(scenario) for scenario in found], ensure_ascii=False))
        return
    width = max((len(scenario.name) for scenario in found), default=0)
    for scenario in found:
        must = "  must pass" if scenario.is_accepting else ""
        click.echo(f"{scenario.name:<{width}}  {duration(scenario.about_s):>7}  {scenario.title}{must}")


@lab.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "is_all", is_flag=True, help="All scenarios.")
@click.option("--acceptance", "is_acceptance", is_flag=True, help="Those that must pass.")
@click.option(
    "--times", type=click.IntRange(1, MOST_TIMES), default=1, show_default=True, help="So often each."
)
@click.option("--seed", type=int, default=SEED, show_default=True, help="Of all that is random.")
@click.option(
    "--quick", is_flag=True, help="Short runs on little data: numbers mean nothing, checks don't count."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON, with all series.")
def run(
    names: Sequence[str],
    is_all: bool,
    is_acceptance: bool,
    times: int,
    seed: int,
    quick: bool,
    as_json: bool,
) -> None:
    """Run scenarios, one after the other, and print what they found. Ctrl-C ends the run, with all its servers."""
    chosen = _chosen(names, is_all, is_acceptance)
    for number in (signal.SIGTERM, signal.SIGHUP):
        # One way to the end for Ctrl-C, `kill` and a closed terminal; what nohup ignores stays ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    results: list[Result] = []
    for turn in range(times):
        for scenario in chosen:
            where = f"{scenario.name} ({turn + 1} of {times})" if times > 1 else scenario.name
            result = _run(scenario, where, seed, quick)
            results.append(result)
            if not as_json:
                click.echo("\n".join(_report(scenario, where, result)) + "\n")
    if as_json:
        found = [{"passed": result.passed, **result.to_json()} for result in results]
        click.echo(json.dumps(found, ensure_ascii=False))
    elif len(results) > 1:
        click.echo("\n".join(_summary(chosen, results)))
    sys.exit(_code(results))


def _chosen(names: Sequence[str], is_all: bool, is_acceptance: bool) -> list[Scenario]:
    found = {scenario.name: scenario for scenario in catalogue.scenarios()}
    if sum((bool(names), is_all, is_acceptance)) != 1:
        raise click.UsageError(f"Name scenarios, or --all, or --acceptance. There are: {', '.join(found)}.")
    for name in names:
        if name not in found:
            raise click.UsageError(f"There is no scenario {name}. There are: {', '.join(found)}.")
    if names:
        return [found[name] for name in dict.fromkeys(names)]
    return [scenario for scenario in found.values() if is_all or scenario.is_accepting]


def _run(scenario: Scenario, where: str, seed: int, quick: bool) -> Result:
    line = _Line(where, scenario.about_s)
    try:
        return apart.run(scenario.name, seed=seed, quick=quick, tell=line.tell, beat=line.beat)
    except Cancelled:
        return Result(scenario.name, (), ("", ""), (), "", void="Somebody ended its process.")
    finally:
        line.close()


class _Line:
    """How far a run is, on standard error: a line that changes on a terminal, a line for each step elsewhere."""

    def __init__(self, where: str, about_s: int) -> None:
        self._where = where
        self._about = duration(about_s)
        self._began_s = time.monotonic()
        self._share, self._words = 0.0, "Begins"
        self._is_live = sys.stderr.isatty()
        self._said = ""

    def tell(self, share: float, words: str) -> None:
        self._share = share
        if words != self._words and not self._is_live:
            click.echo(f"{self._where}: {_safe(words)}", err=True)
        self._words = words

    def beat(self) -> None:
        if not self._is_live:
            return
        full = round(self._share * _BAR)
        gone = duration(int(time.monotonic() - self._began_s))
        text = f"{self._where}  [{'#' * full}{'.' * (_BAR - full)}]  {gone} of about {self._about}  {self._words}"
        text = _safe(text)[: shutil.get_terminal_size().columns - 1]
        if text != self._said:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
            self._said = text

    def close(self) -> None:
        if self._said:
            click.echo("\r\x1b[K", err=True, nl=False)


def _report(scenario: Scenario, where: str, result: Result) -> Iterator[str]:
    wide = max(_NARROWEST, min(110, shutil.get_terminal_size().columns))
    yield f"{scenario.title}  [{where}]"
    yield from textwrap.wrap(scenario.question, wide)
    yield ""
    if result.void:
        yield f"VOID: {_safe(result.void)}"
        return
    yield from _table(result)
    yield ""
    for check in result.checks:
        yield f"{'holds' if check.passed else 'FAILS'}  {check.text} ({words.found(check)})"
    yield from textwrap.wrap(_safe(result.sentence), wide)
    for note in result.notes:
        yield from textwrap.wrap(f"Note: {_safe(note)}", wide)
    how = "A quick run: its checks don't count." if "quick" in result.setup else ""
    verdict = "Passed" if result.passed else "FAILED"
    yield how or f"{verdict} in {duration(round(result.took_s))}. The rule: {scenario.rule}"


def _table(result: Result) -> Iterator[str]:
    """Numbers down, sides across."""
    names = dict.fromkeys(number.name for side in result.sides for number in side.numbers)
    rows = [["", *(side.name for side in result.sides)]]
    for name in names:
        row = [name]
        for side in result.sides:
            one = next((number for number in side.numbers if number.name == name), None)
            row.append("n/a" if one is None else words.in_words(one.value, one.unit))
        rows.append(row)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join([f"{row[0]:<{widths[0]}}", *cells]).rstrip()


def _summary(chosen: Sequence[Scenario], results: Sequence[Result]) -> Iterator[str]:
    width = max(len(scenario.name) for scenario in chosen)
    for scenario in chosen:
        verdicts = [words.verdict(result) for result in results if result.scenario == scenario.name]
        counts = [
            f"{verdicts.count(word)} {word}" for word in ("passed", "failed", "void") if word in verdicts
        ]
        yield f"{scenario.name:<{width}}  {', '.join(counts)}"


def _code(results: Sequence[Result]) -> int:
    verdicts = [words.verdict(result) for result in results if "quick" not in result.setup or result.void]
    return FAILED if "failed" in verdicts else VOID if "void" in verdicts else 0


def _described(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "title": scenario.title,
        "question": scenario.question,
        "rule": scenario.rule,
        "about_s": scenario.about_s,
        "must_pass": scenario.is_accepting,
    }


def _safe(text: str) -> str:
    """What servers said in it can't steer the terminal."""
    return "\n".join(display(line.encode("utf-8", "backslashreplace")) for line in text.split("\n"))
