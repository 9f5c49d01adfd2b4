"""The frame around every page: navigation, cache switcher, account."""

from dataclasses import dataclass

from flask import request, url_for

from dashboard.caches import service as caches
from dashboard.errors import DashboardError
from dashboard.monitoring import service as monitoring
from dashboard.web.context import find_actor, open_work

_CACHE_PAGES = {
    "overview.overview": "overview",
    "monitoring.slow_log": "slow_log",
    "monitoring.clients": "clients",
    "monitoring.commands": "commands",
}
_POLICIES = "policies.policies"
_SECTIONS = {
    "policies": "policies",
    "caches": "caches",
    "connections": "caches",
    "audit": "audit",
    "settings": "settings",
}


@dataclass(frozen=True, slots=True)
class CacheLink:
    """One entry of the cache switcher; ``href`` is the same page of that cache."""

    id: int
    name: str
    href: str
    status_kind: str
    status_word: str


@dataclass(frozen=True, slots=True)
class Chrome:
    """What base.html and the navigation read. Empty when nobody is signed in."""

    user_name: str = ""
    role: str = ""
    role_label: str = ""
    caches: tuple[CacheLink, ...] = ()
    cache: CacheLink | None = None
    section: str = ""


def build() -> Chrome:
    """The frame of this request; never raises, because error pages are framed too."""
    try:
        actor = find_actor()
        if actor is None:
            return Chrome()
        links = _links()
    except DashboardError:
        return Chrome()  # PostgreSQL is away: the error page says so
    current = (request.view_args or {}).get("cache_id")
    return Chrome(
        user_name=actor.name,
        role=actor.role.value,
        role_label=actor.role.label,
        caches=links,
        cache=next((link for link in links if link.id == current), None)
        if _page_of_a_cache()
        else None,
        section=_section(),
    )


def _page_of_a_cache() -> str | None:
    """The view that shows the same for another cache; None on pages over all of them."""
    if request.blueprint == "policies":
        return _POLICIES  # a version is one cache's own
    return request.endpoint if request.endpoint in _CACHE_PAGES else None


def _links() -> tuple[CacheLink, ...]:
    endpoint = _page_of_a_cache() or "overview.overview"
    # url_for leaves out what is None.
    kept = request.args.get("range") if endpoint == "overview.overview" else None
    with open_work() as work:
        statuses = monitoring.cache_states(work)
        return tuple(
            CacheLink(
                id=cache.id,
                name=cache.name,
                href=url_for(endpoint, cache_id=cache.id, range=kept),
                status_kind=statuses[cache.id].kind,
                status_word=statuses[cache.id].word,
            )
            for cache in caches.list_caches(work)
        )


def _section() -> str:
    endpoint = request.endpoint or ""
    area, _, view = endpoint.partition(".")
    if area == "auth":
        return "account" if view.startswith("account") else "users"
    return _CACHE_PAGES.get(endpoint) or _SECTIONS.get(area, "")
