"""The Connections page: the table of all caches with what monitoring knows of each, and the form below it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from flask import Blueprint, Response, request

from dashboard.access import Role, can
from dashboard.caches import service as caches
from dashboard.caches.types import Cache, Drawer, Environment
from dashboard.errors import Conflict, InvalidInput
from dashboard.fleet.url import Kind
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import CacheStatus, StatusKind
from dashboard.overview import present
from dashboard.overview.types import WORST_FIRST
from dashboard.web.context import open_work
from dashboard.web.formats import since as since_words
from dashboard.web.guard import requires
from dashboard.web.htmx import notify, redirect_to
from dashboard.web.numbers import digits_of
from dashboard.web.params import choice_arg
from dashboard.web.templating import render
from dashboard.work import UnitOfWork

bp = Blueprint("connections", __name__)

REFRESH_S = 5
_TOPOLOGY = {Kind.SERVER: "Server", Kind.SENTINEL: "Sentinel", Kind.CLUSTER: "Cluster"}
_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclass(frozen=True, slots=True)
class Row:
    """One cache in the table.

    Args:
        product: what answers and its version; empty while it is not known.
        spark: the hit ratio in time; empty when nothing was measured.
        memory_share: used memory of the cache's own limit, 0..1; None without a limit or a reading.
        is_below_target: its hit ratio is under its target.
    """

    cache: Cache
    status: CacheStatus
    topology: str
    product: str
    spark: tuple[float | None, ...]
    memory_share: float | None
    is_below_target: bool


@dataclass(frozen=True, slots=True)
class Lede:
    """The sentence above the table; ``name`` is a cache's name between its two halves."""

    kind: StatusKind
    bold: str
    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class ConnectionsPage:
    """What the page shows.

    Args:
        rows: worst first, after the filter.
        total: all caches; answering: those whose last poll succeeded.
        filters: (label, address) of each environment filter.
        current: label of the filter in force.
        live_href: where the table refreshes itself from.
        may_edit: the reader is an administrator.
        drawer: the form below the table, if one is open.
    """

    rows: tuple[Row, ...]
    lede: Lede | None
    total: int
    answering: int
    filters: tuple[tuple[str, str], ...]
    current: str
    live_href: str
    refresh_s: int
    now: datetime
    may_edit: bool
    drawer: Drawer | None


@bp.get("/caches")
@requires(Role.VIEWER)
def connections() -> Response:
    """All caches, worst first."""
    environment = choice_arg("environment", list(Environment), "")
    with open_work() as work:
        page = connections_page(work, environment)
        if not page.total and page.may_edit:
            page = replace(page, drawer=caches.new_drawer(work))
    return render("caches/page.html", page, fragment="caches/_table.html")


@bp.get("/caches/new")
@requires(Role.ADMIN)
def new() -> Response:
    """The form to add a cache; nothing in its own address fills it in, for a URL is no place for a password."""
    with open_work() as work:
        page = connections_page(work, drawer=caches.new_drawer(work))
    return render("caches/page.html", page, fragment="caches/_drawer.html")


@bp.post("/caches/new")
@requires(Role.ADMIN)
def create() -> Response:
    """Add a cache."""
    try:
        form = caches.parse_form(request.form)
        with open_work() as work:
            cache = caches.create_cache(work, form)
    except InvalidInput as error:
        return _again(None, error.fields, error.status)
    notify("ok", f"{cache.name} is connected. The first numbers come after two polls.")
    return redirect_to("/caches")


@bp.get("/caches/<int:cache_id>/edit")
@requires(Role.ADMIN)
def edit(cache_id: int) -> Response:
    """The form to change a cache."""
    with open_work() as work:
        page = connections_page(work, drawer=caches.edit_drawer(work, cache_id))
    return render("caches/page.html", page, fragment="caches/_drawer.html")


@bp.post("/caches/<int:cache_id>/edit")
@requires(Role.ADMIN)
def update(cache_id: int) -> Response:
    """Change a cache."""
    try:
        form = caches.parse_form(request.form)
        with open_work() as work:
            cache = caches.update_cache(work, cache_id, form)
    except InvalidInput as error:
        return _again(cache_id, error.fields, error.status)
    except Conflict as error:
        return _again(cache_id, {"": error.in_full}, error.status)
    notify("ok", f"{cache.name} is saved.")
    return redirect_to("/caches")


@bp.post("/caches/test")
@requires(Role.ADMIN)
def test() -> Response:
    """Try a connection with what stands in the form, without saving it."""
    cache_id = digits_of(request.form.get("cache_id", ""), 9)
    try:
        with open_work() as work:
            run = caches.plan_test(work, request.form, cache_id)
    except InvalidInput as error:
        return _again(cache_id, error.fields, error.status, is_test=True)
    report = run()
    with open_work() as work:
        drawer = caches.typed_drawer(work, request.form, cache_id, report=report)
        page = connections_page(work, drawer=drawer)
    return render("caches/page.html", page, fragment="caches/_check.html")


def _again(
    cache_id: int | None, errors: Mapping[str, str], status: int, *, is_test: bool = False
) -> Response:
    with open_work() as work:
        drawer = caches.typed_drawer(work, request.form, cache_id, errors=errors, is_test=is_test)
        page = connections_page(work, drawer=drawer)
    fragment = "caches/_check.html" if is_test else "caches/_drawer.html"
    return render("caches/page.html", page, fragment=fragment, status=status)


def connections_page(
    work: UnitOfWork, environment: str = "", *, drawer: Drawer | None = None
) -> ConnectionsPage:
    """Join the caches with what monitoring knows of them.

    Args:
        environment: show only these; empty shows all.
    """
    everything = caches.list_caches(work)
    statuses = monitoring.fleet_status(work)
    rows = sorted((_row(cache, statuses.get(cache.id)) for cache in everything), key=_badness)
    shown = tuple(row for row in rows if not environment or row.cache.environment == environment)
    filters = [("All", "/caches")]
    current = "All"
    for kind in Environment:
        count = sum(cache.environment is kind for cache in everything)
        label = f"{kind.label} {count}"
        filters.append((label, f"/caches?environment={kind.value}"))
        if environment == kind:
            current = label
    return ConnectionsPage(
        rows=shown,
        lede=lede(rows, work.now),
        total=len(rows),
        answering=sum(row.status.is_up is True for row in rows),
        filters=tuple(filters),
        current=current,
        live_href=f"/caches?environment={environment}" if environment else "/caches",
        refresh_s=REFRESH_S,
        now=work.now,
        may_edit=can(work.actor, Role.ADMIN),
        drawer=drawer,
    )


def lede(rows: list[Row], now: datetime) -> Lede | None:
    """The one sentence on top: how many are away, how many need a look; the worst is named.

    Args:
        rows: all caches, worst first.
    """
    if not rows:
        return None
    away = [row for row in rows if row.status.is_up is False]
    ill = [row for row in rows if row.status.kind in ("crit", "warn") and row not in away]
    healthy = sum(row.status.kind == "ok" for row in rows)
    unread = [row for row in rows if row.status.kind == "unknown" and row.status.last_poll_at is None]
    waiting = sum(row not in away for row in unread)
    measuring = len(rows) - len(away) - len(ill) - healthy - waiting
    rest = []
    if away and ill:
        rest.append(f"{_count(len(ill), 'more needs', 'more need')} a look")
    if healthy:
        rest.append(f"{_count(healthy, 'is', 'are')} healthy")
    if waiting:
        rest.append(f"{_count(waiting, 'waits', 'wait')} for the first numbers")
    if measuring:
        rest.append(f"{_count(measuring, 'is', 'are')} being measured")
    if away:
        first = away[0].status
        # One that never answered has not stopped to.
        since = " does not answer"
        if first.last_poll_at is not None:
            since = f" stopped answering at {since_words(first.last_poll_at, now)}"
        if first.is_unpolled and first.last_poll_at is not None:
            since = f" was last read at {since_words(first.last_poll_at, now)}, nobody polls it"
        others = [row.cache.name for row in away[1:]]
        if len(others) > 2:
            others = [others[0], _count(len(others) - 1, "more", "more")]
        if others:
            since += f", and {' and '.join(others)} {'is' if len(away) == 2 else 'are'} away too"
        bold = f"{_count(len(away), 'cache is', 'caches are').capitalize()} away."
        return Lede("crit", bold, away[0].cache.name, _sentence(since, rest))
    if ill:
        bold = f"{_count(len(ill), 'cache needs', 'caches need').capitalize()} a look."
        word = ill[0].status.word
        if not word[:2].isupper():  # the name of a command stays as it is
            word = word[:1].lower() + word[1:]
        return Lede(ill[0].status.kind, bold, ill[0].cache.name, _sentence(f": {word}", rest))
    if waiting or measuring:
        bold = "Waiting for the first reading." if waiting else "Measuring."
        return Lede("unknown", bold, "", _sentence("", rest).capitalize())
    bold = "All caches are healthy." if len(rows) > 1 else "The cache is healthy."
    return Lede("ok", bold, "", "")


def _sentence(first: str, rest: list[str]) -> str:
    tail = ", ".join(rest)
    return f"{first}; {tail}." if first and tail else f"{first or tail}."


def _count(number: int, one: str, many: str) -> str:
    word = _NUMBERS[number] if number < len(_NUMBERS) else f"{number:,}"
    return f"{word} {one if number == 1 else many}"


def _row(cache: Cache, status: CacheStatus | None) -> Row:
    status = status or CacheStatus(cache.id, "unknown", "Not polled yet")
    limit = status.maxmemory_bytes
    kind = cache.stored_url.kind if cache.stored_url is not None else Kind.SERVER
    return Row(
        cache=cache,
        status=status,
        topology=status.topology or _TOPOLOGY[kind],
        product=present.product(status.vendor, status.version),
        spark=status.hit_ratio_spark if any(value is not None for value in status.hit_ratio_spark) else (),
        memory_share=status.used_memory_bytes / limit
        if limit and status.used_memory_bytes is not None
        else None,
        is_below_target=status.hit_ratio is not None and status.hit_ratio < cache.hit_ratio_target,
    )


def _badness(row: Row) -> tuple[bool, int, str]:
    return row.status.is_up is not False, WORST_FIRST.index(row.status.kind), row.cache.name.lower()
