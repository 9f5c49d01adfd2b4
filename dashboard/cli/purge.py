"""``cachewarden purge``: purges from the command line, for data-fix scripts.

The same purges as on the Invalidate page: counted first, bound to that count, confirmed in proportion, done by the
worker.

Exit codes: 0 done; 1 it failed, was cancelled or could not be counted; 2 wrong usage, refused, or an error; 3 not
approved: a confirmation is missing, the time was up before it was counted, or it must be counted and approved again;
4 approved and not over: the time is up, or it is paused and says why; or no worker runs; 130 Ctrl-C, which ends the
waiting and not the purge.
"""

import itertools
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, TypeVar, cast

import click

from dashboard.caches import service as caches
from dashboard.cli import purge_output as output
from dashboard.cli.acting import fields_said, find_cache, opened_runtime, unit
from dashboard.cli.purging import Answers, Code, Steps, Teller, interruptible, is_empty, waits_for
from dashboard.errors import Conflict, InvalidInput
from dashboard.invalidation import service
from dashboard.invalidation.types import Action, Filters, Plan, Purge, SelectBy, Selection, State, When
from dashboard.work import Runtime

DEFAULT_WINDOW_S: Final = 300
_PIECE: Final = 1 << 20
_IN_MEMORY: Final = 8 << 20
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZES: Final = {"": 1, "b": 1, "kb": 1024, "mb": 1024**2, "gb": 1024**3}
_ASKED: Final = {"pause": "pauses within seconds", "cancel": "is cancelled within seconds"}
_SELECTORS: Final = ("prefix", "pattern", "tag", "keys", "template", "rows")

Made = TypeVar("Made", bound=Callable[..., object])


class _Amount(click.ParamType[int]):
    """A whole number with a unit: ``90``, ``5m``, ``10KB``."""

    def __init__(self, name: str, units: dict[str, int], example: str) -> None:
        self.name = name
        self._units = units
        self._example = example

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"\s*([0-9]{1,15})\s*([A-Za-z]*)\s*", str(value))
        if found is None or found[2].lower() not in self._units:
            self.fail(f"{value!r} is no {self.name}; write {self._example}.", param, ctx)
        return int(found[1]) * self._units[found[2].lower()]


_TIME = _Amount("time", _UNITS, "seconds, or such as 5m or 2h")
_SIZE = _Amount("size", _SIZES, "bytes, or such as 10KB or 2MB")

_number = click.argument("number", type=click.IntRange(1, 2**53))
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON value on standard output.")
_cache_option = click.option(
    "--cache", "cache_name", metavar="NAME", help="The cache's name; may be left out where there is only one."
)


def _answering(command: Made) -> Made:
    """The options that answer what an approval asks for, and those of waiting."""
    for option in reversed(
        (
            click.option("--reason", default="", help="Why; kept with the purge and in the audit log."),
            click.option("--yes", is_flag=True, help="Confirm the number of keys, whatever it is."),
            click.option(
                "--confirm",
                "typed",
                default="",
                metavar="TEXT",
                help="The text that a large purge asks for, as it says. Confirms the number, too.",
            ),
            click.option("--wait", is_flag=True, help="Wait until it is over."),
            click.option(
                "--timeout", type=_TIME, help="Wait no longer than that; what is approved by then goes on."
            ),
        )
    ):
        command = option(command)
    return command


@click.group(invoke_without_command=True, no_args_is_help=True, subcommand_metavar="[COMMAND]")
@_cache_option
@click.option("--prefix", help="Keys that begin with this.")
@click.option("--pattern", help="Keys that match this glob.")
@click.option("--tag", help="Keys that applications gave this tag.")
@click.option("--keys", metavar="FILE", help="The keys in this file, one on each line; - for standard input.")
@click.option("--template", metavar="KEY", help="The key made of each identifier, such as product:{id}.")
@click.option("--rows", metavar="NAME", help="The keys of rows, by a mapping such as products.id.")
@click.option(
    "--ids",
    metavar="LIST",
    help="For --template and --rows: 37,40-52, or @FILE, or - for standard input.",
)
@click.option(
    "--action",
    type=click.Choice([action.value for action in Action]),
    default=Action.DELETE.value,
    show_default=True,
    help="What happens to each key.",
)
@click.option("--window", type=_TIME, help="For --action spread: how long the keys may take to expire.")
@click.option("--lengthen", is_flag=True, help="For --action policy: lengthen shorter TTLs, too.")
@click.option("--spread", type=_TIME, help="Take that long, evenly; otherwise as fast as the limits allow.")
@click.option("--at", metavar="TIME", help="Begin then: 2026-11-24T03:00, UTC unless it says otherwise.")
@click.option("--type", "type_", metavar="TYPE", help="Only keys of this type, such as string or hash.")
@click.option("--ttl-min", type=_TIME, help="Only keys with at least that TTL; none counts as endless.")
@click.option("--ttl-max", type=_TIME, help="Only keys with at most that TTL.")
@click.option("--without-ttl", is_flag=True, help="Only keys that have no TTL.")
@click.option("--idle-min", type=_TIME, help="Only keys that were not used for that long.")
@click.option("--size-min", type=_SIZE, help="Only keys of at least that size.")
@click.option("--size-max", type=_SIZE, help="Only keys of at most that size.")
@click.option("--report", is_flag=True, help="Keep the keys touched, for: cachewarden purge report.")
@click.option("--preview-only", is_flag=True, help="Count and say what it would touch; change nothing.")
@_answering
@_json_option
@click.pass_context
def purge(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Purge keys of a cache: count them, confirm, and have the worker do it.

    \b
    cachewarden purge --cache shop --prefix product: --spread 60 --reason "Prices" --wait
    cachewarden purge --cache shop --rows products.id --ids 37,40-52 --yes --wait

    Exit codes: 0 done, 1 failed or cancelled, 2 refused, 3 confirmation or new approval needed, 4 not over.
    """
    if ctx.invoked_subcommand is not None:
        if any(
            ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE for name in ctx.params
        ):
            raise click.UsageError(f"Options of {ctx.invoked_subcommand} stand behind its name.")
        return
    plan = _plan(given)
    teller = Teller(as_json)
    with ExitStack() as stack:
        standing = stack.enter_context(interruptible(teller))
        items = stack.enter_context(_Items(given))
        runtime = stack.enter_context(opened_runtime())
        with fields_said(), unit(runtime) as work:
            cache = find_cache(work, given["cache_name"])
            draft = service.create(work, cache.id, plan, items.read(), reason=given["reason"])
        plan = draft.plan  # with what was found out while the list was read
        steps = Steps(runtime, cache.name, teller, standing, given["timeout"])
        counted = steps.counted(draft, None if given["preview_only"] else _said(given))
        if given["preview_only"]:
            with unit(runtime) as work:
                friction = service.friction_of(work, counted)
            steps.leave(counted, Code.DONE, friction)
        if is_empty(counted, plan):
            with unit(runtime) as work:
                over = service.cancel(work, counted.number, revision=counted.revision)
            teller.result("Nothing to do.")
            steps.leave(over, Code.DONE)
        _approve(steps, counted, plan, given, teller, reads_stdin=items.is_stdin)


@purge.command()
@_number
@click.option("--now", is_flag=True, help="As fast as the limits allow, whatever was chosen before.")
@click.option("--spread", type=_TIME, help="Take that long, evenly, for what is left.")
@click.option("--at", metavar="TIME", help="Begin then: 2026-11-24T03:00, UTC unless it says otherwise.")
@_answering
@_json_option
def approve(number: int, as_json: bool, **given: Any) -> None:
    """Approve purge NUMBER; it is counted again first where its count is too old, or it would go beyond it."""
    chosen = _chosen_when(given)
    teller = Teller(as_json)
    with interruptible(teller) as standing, opened_runtime() as runtime:
        found, name = _found(runtime, number)
        if found.state not in (State.DRAFT, State.PREVIEWED, State.PAUSED):
            raise Conflict(f"Purge {number} is {found.state}: there is nothing to approve.")
        if not chosen and _must_choose(found):
            raise click.UsageError("Say when, by one of --now, --spread and --at.")
        steps = Steps(runtime, name, teller, standing, given["timeout"])
        if found.state is State.PAUSED or _is_stale(found):
            with unit(runtime) as work:
                found = service.recount(work, number, revision=found.revision)
        counted = steps.counted(found, _said(given))
        _approve(steps, counted, replace(found.plan, **chosen), given, teller)


@purge.command("list")
@_cache_option
@click.option("--state", type=click.Choice([state.value for state in State]), help="Only those.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=20, show_default=True)
@_json_option
def list_(cache_name: str | None, state: str | None, limit: int, as_json: bool) -> None:
    """List a cache's purges, newest first."""
    with opened_runtime() as runtime, unit(runtime) as work:
        cache = find_cache(work, cache_name)
        states = () if state is None else (State(state),)
        found = service.list_purges(work, cache.id, states=states, limit=limit)
    teller = Teller(as_json)
    for line in output.table(found) if found else ["There is none."]:
        teller.result(line)
    teller.json([output.purge_json(each, cache.name) for each in found])


@purge.command()
@_number
@click.option("--wait", is_flag=True, help="Wait until it is over; the exit code is that of its end.")
@click.option("--timeout", type=_TIME, help="Wait no longer than that.")
@_json_option
def show(number: int, wait: bool, timeout: int | None, as_json: bool) -> None:
    """Show purge NUMBER."""
    teller = Teller(as_json)
    with interruptible(teller) as standing, opened_runtime() as runtime:
        standing.words = ""
        found, name = _found(runtime, number)
        if wait:
            Steps(runtime, name, teller, standing, timeout).followed(found)
        with unit(runtime) as work:
            before = waits_for(work, found)
    for line in output.shown_lines(found, name, before):
        teller.result(line)
    teller.json(output.purge_json(found, name))


@purge.command()
@_number
@_json_option
def pause(number: int, as_json: bool) -> None:
    """Pause purge NUMBER; it can go on later."""
    _change(number, service.pause, as_json)


@purge.command()
@_number
@_json_option
def resume(number: int, as_json: bool) -> None:
    """Have the paused purge NUMBER go on."""
    _change(number, service.resume, as_json)


@purge.command()
@_number
@_json_option
def cancel(number: int, as_json: bool) -> None:
    """End purge NUMBER for good; what is done stays done."""
    _change(number, service.cancel, as_json)


@purge.command()
@_number
def report(number: int) -> None:
    """Write the keys that purge NUMBER touched, one on each line, as --keys takes them."""
    with opened_runtime() as runtime:
        with unit(runtime) as work:
            actor = work.actor
        for chunk in service.report_chunks(runtime, actor, number):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


@purge.command()
@_cache_option
@_json_option
def limits(cache_name: str | None, as_json: bool) -> None:
    """Show the limits of a cache's purges; an administrator changes them on the Invalidate page."""
    with opened_runtime() as runtime, unit(runtime) as work:
        found = service.limits(work, find_cache(work, cache_name).id)
    teller = Teller(as_json)
    for line in output.limit_lines(found):
        teller.result(line)
    teller.json(output.limits_json(found))


@purge.command()
@_cache_option
@_json_option
def schedules(cache_name: str | None, as_json: bool) -> None:
    """List a cache's schedules of purges; they are made on the Invalidate page."""
    with opened_runtime() as runtime, unit(runtime) as work:
        found = service.list_schedules(work, find_cache(work, cache_name).id)
    teller = Teller(as_json)
    for line in output.schedule_table(found) if found else ["There is none."]:
        teller.result(line)
    teller.json([output.schedule_json(each) for each in found])


# --- what was asked for ----------------------------------------------------------------------------------------


def _plan(given: dict[str, Any]) -> Plan:
    action = Action(given["action"])
    if given["window"] is not None and action is not Action.SPREAD:
        raise click.UsageError("--window belongs to --action spread.")
    if given["lengthen"] and action is not Action.POLICY:
        raise click.UsageError("--lengthen belongs to --action policy.")
    plan = Plan(
        selection=_selection(given),
        action=action,
        window_s=(given["window"] or DEFAULT_WINDOW_S) if action is Action.SPREAD else 0,
        when=When.NOW,
        lengthens=given["lengthen"],
        wants_report=given["report"],
    )
    return replace(plan, **_chosen_when(given))


def _chosen_when(given: dict[str, Any]) -> dict[str, Any]:
    """The fields of a plan that say when; empty: nothing was said."""
    if sum((given["spread"] is not None, given["at"] is not None, given.get("now", False))) > 1:
        raise click.UsageError("Only one of --spread, --at and --now: it runs from now, or begins then.")
    if given["at"] is not None:
        at = _moment(given["at"])
        if at <= datetime.now(UTC):
            # Said before anything is counted for nothing.
            raise click.UsageError(f"--at: {output.moment(at)} is over. Name a time that is still to come.")
        return {"when": When.AT, "over_s": 0, "at": at}
    if given["spread"] is not None:
        return {"when": When.OVER, "over_s": given["spread"], "at": None}
    return {"when": When.NOW, "over_s": 0, "at": None} if given.get("now") else {}


def _must_choose(found: Purge) -> bool:
    """Whether an approval must say when: that was left open on the page, or a time is over that it did not begin at."""
    at = found.plan.at if found.plan.when is When.AT else None
    is_over = at is not None and at <= datetime.now(UTC) and found.started_at is None
    return is_over or not found.plan.says_when


def _selection(given: dict[str, Any]) -> Selection:
    chosen = [name for name in _SELECTORS if given[name] is not None]
    if len(chosen) != 1:
        names = ", ".join(f"--{name}" for name in _SELECTORS)
        raise click.UsageError(f"Say which keys, by one of {names}.")
    by = SelectBy.IDS if chosen == ["template"] else SelectBy(chosen[0])
    if (given["ids"] is not None) != (by in (SelectBy.IDS, SelectBy.ROWS)):
        raise click.UsageError("--template and --rows need --ids, and nothing else takes them.")
    filters = Filters(
        type=given["type_"],
        ttl_min_s=given["ttl_min"],
        ttl_max_s=given["ttl_max"],
        idle_min_s=given["idle_min"],
        size_min_bytes=given["size_min"],
        size_max_bytes=given["size_max"],
        without_ttl=given["without_ttl"],
    )
    text = "" if by is SelectBy.KEYS else given[chosen[0]]
    return Selection(by, text, templates=(text,) if by is SelectBy.IDS else (), filters=filters)


def _moment(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise click.UsageError(f"--at: {text!r} is no time such as 2026-11-24T03:00.") from None


class _Items:
    """The list of an exact selector; standard input is read to its end first, so that no transaction waits for it."""

    def __init__(self, given: dict[str, Any]) -> None:
        self._is_keys = given["keys"] is not None
        source: str | None = given["keys"] if self._is_keys else given["ids"]
        self.is_stdin = source == "-"
        self._text: str | None = None
        self._path: Path | None = None
        if source is not None and not self.is_stdin:
            if self._is_keys:
                self._path = Path(source)
            elif source.startswith("@"):
                self._path = Path(source[1:])
            else:
                self._text = source
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "_Items":
        try:
            if self.is_stdin:
                self._file = SpooledTemporaryFile(_IN_MEMORY)
                # By what is there: between two reads Ctrl-C is noticed.
                buffer = cast(BufferedReader, sys.stdin.buffer)
                for piece in iter(lambda: buffer.read1(_PIECE), b""):
                    self._file.write(piece)
                self._file.seek(0)
            elif self._path is not None:
                self._file = self._path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from None
        return self

    def __exit__(self, *raised: object) -> None:
        if self._file is not None:
            self._file.close()

    def read(self) -> Iterator[bytes]:
        """The keys or identifiers; none for a selector that has no list.

        Raises:
            InvalidInput: it can't be read as such a list.
        """
        parts: Iterable[str]
        if self._text is not None:
            parts = (self._text,)
        elif self._file is not None:
            parts = service.decode_upload(self._pieces(), "keys" if self._is_keys else "ids")
        else:
            return iter(())
        if self._is_keys:
            return service.read_keys(parts)
        return itertools.chain.from_iterable(service.parse_ids(parts))

    def _pieces(self) -> Iterator[bytes]:
        assert self._file is not None
        try:
            while piece := self._file.read(_PIECE):
                yield piece
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> InvalidInput:
        return InvalidInput(f"{self._path or 'Standard input'} can't be read: {error.strerror}.")


# --- parts -----------------------------------------------------------------------------------------------------


def _approve(
    steps: Steps,
    counted: Purge,
    plan: Plan,
    given: dict[str, Any],
    teller: Teller,
    *,
    reads_stdin: bool = False,
) -> None:
    is_asked = not teller.as_json and not reads_stdin and sys.stdin.isatty() and sys.stderr.isatty()
    answers = Answers(given["yes"], given["typed"], given["reason"], is_asked, _said_when(given))
    approved = steps.approved(counted, plan, answers)
    if given["wait"]:
        steps.followed(approved)
    teller.result(f"Purge {approved.number} is approved. To look: cachewarden purge show {approved.number}")
    steps.leave(approved, Code.DONE)


def _said(given: dict[str, Any]) -> str:
    """What was answered beforehand, for another command that approves."""
    words = ["--yes"] if given["yes"] else []
    for option, name in (("--confirm", "typed"), ("--reason", "reason")):
        if given[name]:
            words.append(f"{option} {shlex.quote(given[name])}")
    if given["wait"]:
        words.append("--wait")
    if when := _said_when(given):
        words.append(when)
    return " ".join(words)


def _said_when(given: dict[str, Any]) -> str:
    """What was said of when to a command that approves; the plan of a new purge keeps it."""
    if "now" not in given:
        return ""
    if given["spread"] is not None:
        return f"--spread {given['spread']}"
    return f"--at {shlex.quote(given['at'])}" if given["at"] is not None else "--now" if given["now"] else ""


def _found(runtime: Runtime, number: int) -> tuple[Purge, str]:
    with unit(runtime) as work:
        found = service.get_purge(work, number)
        return found, caches.get_cache(work, found.cache_id).name


def _is_stale(found: Purge) -> bool:
    """Whether its count failed, or is too old to be approved by the time it is confirmed."""
    if found.state is State.DRAFT:
        return bool(found.problem)
    if found.state is not State.PREVIEWED or found.preview is None:
        return False
    return datetime.now(UTC) - found.preview.counted_at > service.STALE_AFTER / 2


def _change(number: int, change: Callable[..., Purge], as_json: bool) -> None:
    teller = Teller(as_json)
    with interruptible(teller) as standing, opened_runtime() as runtime:
        standing.words = f"To see how it stands: cachewarden purge show {number}"
        found, name = _found(runtime, number)
        steps = Steps(runtime, name, teller, standing, None)
        if found.needs_count and change is service.resume:
            steps.end(
                found, Code.UNCONFIRMED, found.problem, f"Approve it: cachewarden purge approve {number}"
            )
        with unit(runtime) as work:
            changed = change(work, number, revision=found.revision)
        teller.result(f"Purge {number} {_ASKED.get(changed.wish, f'is {changed.state}')}.")
        steps.leave(changed, Code.DONE)
