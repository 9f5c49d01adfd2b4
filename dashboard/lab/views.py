"""The scenario lab: all scenarios, one of them, past runs; run and stopped. Only where the settings offer it."""

from collections.abc import Callable

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.errors import Conflict, NotFound
from dashboard.lab import pages, service
from dashboard.web.context import open_work, runtime
from dashboard.web.guard import requires
from dashboard.web.htmx import is_round, notify, redirect_to
from dashboard.web.params import int_arg, text_arg
from dashboard.web.templating import render, unchanged
from dashboard.work import UnitOfWork

bp = Blueprint("lab", __name__, url_prefix="/lab")

_PAGE, _SCENARIO = "lab/page.html", "lab/scenario.html"
_LARGEST = 2**62
_SEEN_CHARS = 4000
_NAME_CHARS = 80


@bp.before_request
def offered() -> None:
    """Answer only where there is a lab.

    Raises:
        NotFound: the settings don't offer it.
    """
    if not runtime().settings.lab:
        raise NotFound(
            "There is no scenario lab here.", what_to_do="CACHEWARDEN_LAB=true offers it, for web and worker."
        )


@bp.get("")
@requires(Role.VIEWER)
def page() -> Response:
    """All scenarios, each with what its last run found."""
    with open_work() as work:
        shown = pages.lab_page(work)
    return render(_PAGE, shown)


@bp.get("/live")
@requires(Role.VIEWER)
def live() -> Response:
    """What a round brings; ``seen`` says what the page knows of."""
    known = text_arg("seen", longest=_SEEN_CHARS)
    with open_work() as work:
        if is_round() and pages.is_unchanged(work, known):
            return unchanged()
        shown = pages.lab_page(work, known=known)
    return render(_PAGE, shown, fragment="lab/_live.html")


@bp.get("/runs")
@requires(Role.VIEWER)
def runs() -> Response:
    """Past runs."""
    only = text_arg("scenario", longest=_NAME_CHARS)
    with open_work() as work:
        shown = pages.runs_page(work, only=only, before=int_arg("before", low=1, high=_LARGEST))
    return render("lab/runs.html", shown)


@bp.post("/run-all")
@requires(Role.OPERATOR)
def run_all() -> Response:
    """Have all scenarios run, one after the other."""
    with open_work() as work:
        asked = service.start_all(work)
    if asked:
        notify("ok", f"{_counted(len(asked), 'scenario')} wait for a worker, one runs at a time.")
    else:
        notify("warn", "All of them wait or run already.")
    return redirect_to("/lab")


@bp.post("/stop-all")
@requires(Role.OPERATOR)
def stop_all() -> Response:
    """End all runs that wait or run."""
    with open_work() as work:
        stopped = service.cancel_all(work)
    notify(
        "ok" if stopped else "warn", f"{_counted(stopped, 'run')} stopped." if stopped else "Nothing runs."
    )
    return redirect_to("/lab")


@bp.get("/<name>")
@requires(Role.VIEWER)
def scenario(name: str) -> Response:
    """One scenario: everything a run found, beside an earlier one where that is asked for."""
    number, earlier = (int_arg(key, low=1, high=_LARGEST) for key in ("run", "with"))
    with open_work() as work:
        shown = pages.scenario_page(work, name, number=number, earlier=earlier)
    return render(_SCENARIO, shown, fragment="lab/_scenario.html")


@bp.get("/<name>/rule")
@requires(Role.VIEWER)
def rule(name: str) -> Response:
    """The rule that a scenario shows, from the docs."""
    with open_work() as work:
        shown = pages.rule_page(work, name)
    return render("lab/rule.html", shown)


@bp.post("/<name>/run")
@requires(Role.OPERATOR)
def run(name: str) -> Response:
    """Have a scenario run."""
    return _do(lambda work: service.start_run(work, name), name, "It runs as soon as a worker is free.")


@bp.post("/<name>/stop/<int:number>")
@requires(Role.OPERATOR)
def stop(name: str, number: int) -> Response:
    """End a run for good."""
    return _do(lambda work: service.cancel_run(work, number), name, "It ends, and leaves nothing behind.")


def _do(what: Callable[[UnitOfWork], object], name: str, words: str) -> Response:
    """One step, and back to the page it was asked on."""
    is_own = request.form.get("back") == "scenario"
    try:
        with open_work() as work:
            what(work)
    except Conflict as error:
        said = error.in_full
        with open_work() as work:
            if is_own:
                return render(_SCENARIO, pages.scenario_page(work, name, refused=said), status=error.status)
            shown = pages.lab_page(work, problem=said)
        return render(_PAGE, shown, status=error.status)
    notify("ok", words)
    # To the part with its buttons: there the focus goes on from.
    return redirect_to(f"/lab/{name}#what" if is_own else f"/lab#lab-{name}")


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
