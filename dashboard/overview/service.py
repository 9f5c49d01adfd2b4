"""One cache on one page: joins the connection, its history and what is to be said about it."""

from datetime import UTC, datetime, timedelta

from dashboard.access import Role, can
from dashboard.caches import service as caches
from dashboard.invalidation import service as invalidation
from dashboard.keyspace import service as keyspace
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import Series, Span
from dashboard.overview import charts, prefixes, present, tour
from dashboard.overview.types import Json, Lede, NoCachePage, OverviewPage, RefusedSpan
from dashboard.policies import service as policies
from dashboard.work import UnitOfWork


def default_range(work: UnitOfWork, cache_id: int) -> str:
    """The range of an Overview whose address names none: an hour, or less while a cache is that new.

    Raises:
        NotFound: there is no such cache.
    """
    age = work.now - caches.get_cache(work, cache_id).created_at
    return "1h" if age > timedelta(minutes=30) else "15m"


def overview_page(
    work: UnitOfWork,
    cache_id: int,
    within: Span,
    refused: RefusedSpan | None = None,
    *,
    sort: str = prefixes.DEFAULT_SORT,
) -> OverviewPage:
    """Assemble the Overview of a cache over a span.

    Args:
        refused: what was asked for instead of ``within`` and is no span.
        sort: of the prefix table, one of ``prefixes.SORTS``.

    Raises:
        NotFound: there is no such cache.
    """
    cache = caches.get_cache(work, cache_id)
    series = monitoring.overview_series(work, cache_id, within, columns=charts.COLUMNS)
    summary = monitoring.summary(work, cache_id, within)
    verdicts, headline = monitoring.verdicts(work, cache_id)
    poll = monitoring.poll_status(work, cache_id)
    is_past = not within.is_live
    # What was read then does not grow old.
    stale = None if is_past else present.stale(cache.name, cache.address, poll, verdicts, work.now)
    words = present.span_words(within)
    is_waiting = summary.as_of is None
    lede = Lede(headline.kind, headline.bold, headline.sentence)
    if is_past:
        lede = Lede("info", "Past span.", f"Numbers and charts are of {words}. Now: {headline.bold}")
    edit_href = f"/caches/{cache_id}/edit" if can(work.actor, Role.ADMIN) else None
    path, query = f"/caches/{cache_id}", present.range_query(within)
    counted = policies.reads_avoided(work, cache_id, within.start, within.end)
    judged = headline.window if headline.window is not None else summary.window
    sorting = "" if sort == prefixes.DEFAULT_SORT else f"&sort={sort}"
    return OverviewPage(
        cache_id=cache_id,
        cache_name=cache.name,
        now=work.now,
        meta=present.meta(summary),
        poll_interval_s=cache.poll_interval_s,
        range=present.range_choice(within, f"{path}/overview", refused),
        lede=lede,
        tiles=present.tiles(
            summary,
            series,
            cache.hit_ratio_target,
            verdicts,
            work.now,
            is_stale=stale is not None,
            judged=headline.window,
            recent=headline.recent,
            counted=counted,
        ),
        verdicts=tuple(verdicts),
        links=present.next_links(verdicts, path, edit_href),
        chart=None
        if is_waiting
        else charts.hit_ratio_chart(
            series, summary, cache.hit_ratio_target, words, work.now, is_stale=stale is not None
        ),
        charts=() if is_waiting else charts.small_charts(series, summary, is_stale=stale is not None),
        series=_payload(work, cache_id, series, within.start, within.end),
        live_href=f"{path}/overview?{query}{sorting}",
        series_href=f"{path}/series?{query}",
        stale=stale,
        is_waiting=is_waiting,
        edit_href=edit_href,
        prefixes=None
        if is_waiting
        else prefixes.view(
            policies.prefix_table(work, cache_id, within.start, within.end),
            cache_id=cache_id,
            target=cache.hit_ratio_target,
            sort=sort,
            path=f"{path}/overview",
            query=query,
            words=words,
            may_edit=can(work.actor, Role.OPERATOR),
        ),
        scan=None if is_waiting else keyspace.panel(work, cache_id, "overview"),
        may_purge=can(work.actor, Role.OPERATOR) and not cache.read_only,
        tour=tour.find_tour(
            work, cache_id, judged.hit_ratio, sees_numbers=not is_waiting, is_away=stale is not None
        ),
    )


def series_payload(work: UnitOfWork, cache_id: int, within: Span, since: float | None) -> Json:
    """The numbers of all charts, or only what is new since ``since`` (epoch seconds).

    Raises:
        NotFound: there is no such cache.
    """
    series = monitoring.overview_series(work, cache_id, within, columns=charts.COLUMNS, since=since)
    start = within.start if since is None else max(within.start, datetime.fromtimestamp(since, UTC))
    return _payload(work, cache_id, series, start, within.end)


def _payload(work: UnitOfWork, cache_id: int, series: Series, start: datetime, end: datetime) -> Json:
    """The numbers with what was done in the span: versions published, purges begun."""
    return charts.payload(
        series, policies.marks(work, cache_id, start, end), invalidation.marks(work, cache_id, start, end)
    )


def no_cache_page(work: UnitOfWork) -> NoCachePage:
    """The Overview before the first cache: what it would show and, for an administrator, the form to add one."""
    return NoCachePage(drawer=caches.new_drawer(work) if can(work.actor, Role.ADMIN) else None)


def first_cache_path(work: UnitOfWork) -> str | None:
    """Where the Overview without a cache in its address leads; None when no cache is connected."""
    known = caches.list_caches(work)
    return f"/caches/{known[0].id}/overview" if known else None
