"""Caches for tests."""

from typing import Any

from dashboard.caches import service
from dashboard.caches.types import Cache, CacheForm, Environment
from dashboard.fleet.url import parse_url
from dashboard.work import Runtime
from tests.support.people import as_cli

SECRET = "hunter2-do-not-show"
URL = f"redis://me:{SECRET}@127.0.0.1:1/0"


def form(name: str = "shop-prod", url: str = URL, **values: Any) -> CacheForm:
    """A valid form."""
    return CacheForm(
        **{
            "name": name,
            "url": parse_url(url),
            "environment": Environment.DEVELOPMENT,
            "poll_interval_s": 10,
            "read_only": False,
            "hit_ratio_target": 0.8,
            **values,
        }
    )


def add_cache(runtime: Runtime, name: str = "shop-prod", url: str = URL, **values: Any) -> Cache:
    """Add a cache; nothing listens at its default address."""
    with as_cli(runtime) as work:
        return service.create_cache(work, form(name, url, **values))


def fields(**values: str) -> dict[str, str]:
    """What a browser sends for a valid form."""
    return {
        "name": "shop-prod",
        "url": "redis://me@127.0.0.1:1/0",
        "password": SECRET,
        "environment": "development",
        "poll_interval_s": "10",
        "hit_ratio_target": "80",
        **values,
    }
