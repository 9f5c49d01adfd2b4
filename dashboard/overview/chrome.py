"""The frame around every page: navigation, cache switcher, account."""

from dataclasses import dataclass

from flask import request, url_for

from dashboard.caches import service as caches
from dashboard.errors import DashboardError
from dashboard.invalidation import service as invalidation
from dashboard.monitoring import service as monitoring
from dashboard.monitoring.types import StatusKind
from dashboard.overview.types import WORST_FIRST
from dashboard.web.context import find_actor, open_work, runtime

_CACHE_PAGES = {
    "overview.overview": "overview",
    "monitoring.slow_log": "slow_log",
    "monitoring.clients": "clients",
    "monitoring.commands": "commands",
}
_AREAS = {
    "keys": "keys.page",
    "keyspace": "keyspace.page",
    "policies": "policies.policies",
    "invalidation": "invalidation.page",
    "forecast": "forecast.page",
}
"""Areas whose pages are one cache's own: another cache's are reached through their first page."""
_SECTIONS = {
    "overview": "overview",
    "keys": "keys",
    "keyspace": "keys",
    "policies": "policies",
    "invalidation": "invalidate",
    "forecast": "forecast",
    "caches": "caches",
    "connections": "caches",
    "audit": "audit",
    "settings": "settings",
    "lab": "lab",
}


@dataclass(frozen=True, slots=True)
class CacheLink:
    """One entry of the cache switcher.

    Attributes:
        href: the same page of that cache.
        environment: "Production" or "Development".
    """

    id: int
    name: str
    href: str
    status_kind: StatusKind
    status_word: str
    environment: str
    is_production: bool
    read_only: bool


@dataclass(frozen=True, slots=True)
class Chrome:
    """What base.html and the navigation read. Empty when nobody is signed in.

    Attributes:
        caches: worst first.
        cache: the one this page is about.
        watched: where the navigation leads: this cache, or the first by name.
        running: purges under way, of all caches, in words; empty: none.
        has_lab: the scenario lab is offered.
        shop_url: of the demo store; None: there is none.
    """

    user_name: str = ""
    role: str = ""
    role_label: str = ""
    caches: tuple[CacheLink, ...] = ()
    cache: CacheLink | None = None
    watched: CacheLink | None = None
    running: str = ""
    section: str = ""
    has_lab: bool = False
    shop_url: str | None = None


def build() -> Chrome:
    """The frame of this request; never raises, because error pages are framed too."""
    try:
        actor = find_actor()
        if actor is None:
            return Chrome()
        links, running = _links()
    except DashboardError:
        return Chrome()  # PostgreSQL is away: the error page says so
    current = (request.view_args or {}).get("cache_id")
    cache = next((link for link in links if link.id == current), None)
    if not _page_of_a_cache():
        cache = None
    return Chrome(
        user_name=actor.name,
        role=actor.role.value,
        role_label=actor.role.label,
        caches=tuple(sorted(links, key=lambda link: WORST_FIRST.index(link.status_kind))),
        cache=cache,
        watched=cache or next(iter(links), None),
        running=running,
        section=_section(),
        has_lab=runtime().settings.lab,
        shop_url=runtime().settings.shop_url,
    )


def running() -> str:
    """The purges under way, of all caches, in words; empty: none."""
    with open_work() as work:
        return invalidation.under_way(work)


def _page_of_a_cache() -> str | None:
    """The view that shows the same for another cache; None on pages over all of them."""
    if request.blueprint in _AREAS:
        return _AREAS[request.blueprint]
    return request.endpoint if request.endpoint in _CACHE_PAGES else None


def _links() -> tuple[tuple[CacheLink, ...], str]:
    endpoint = _page_of_a_cache() or "overview.overview"
    # url_for leaves out what is None.
    kept = request.args.get("range") if endpoint == "overview.overview" else None
    with open_work() as work:
        statuses = monitoring.cache_states(work)
        links = tuple(
            CacheLink(
                id=cache.id,
                name=cache.name,
                href=url_for(endpoint, cache_id=cache.id, range=kept),
                status_kind=statuses[cache.id].kind,
                status_word=statuses[cache.id].word,
                environment=cache.environment.label,
                is_production=cache.is_production,
                read_only=cache.read_only,
            )
            for cache in caches.list_caches(work)
        )
        return links, invalidation.under_way(work)


def _section() -> str:
    endpoint = request.endpoint or ""
    area, _, view = endpoint.partition(".")
    if area == "auth":
        return "account" if view.startswith("account") else "users"
    return _CACHE_PAGES.get(endpoint) or _SECTIONS.get(area, "")
