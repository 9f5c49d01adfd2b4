"""Policies for tests of the pages: what a browser sends, and what was staged or published before."""

import re
from datetime import datetime
from typing import Any

from flask.testing import FlaskClient

from dashboard.policies import service, store
from dashboard.policies.types import PoliciesPage
from dashboard.work import Runtime
from tests.support.people import as_cli

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


def fields(**values: str) -> dict[str, str]:
    """What a browser sends for a valid policy of ``news:``; dots in names are written as ``__``."""
    return {
        "prefix": "news:",
        "tier": "frequently-updated",
        "base_ttl_s": "1",
        "base_ttl_s.unit": "h",
        "jitter_s": "12",
        "jitter_s.unit": "m",
        "strategy": "cache-aside",
        "protection.lease": "1",
        "protection.grace_s": "",
        "protection.grace_s.unit": "s",
        "protection.early_refresh_beta": "",
        "negative_ttl_s": "0",
        "longest_wait_s": "5",
        "note": "",
        "keys": "",
        "seen": "",
        **{name.replace("__", "."): value for name, value in values.items()},
    }


def policy(prefix: str = "news:", **values: Any) -> dict[str, Any]:
    """A valid policy as the document has it."""
    return {"prefix": prefix, "tier": "frequently-updated", "base_ttl_s": 3600, "jitter_s": 720, **values}


def stage(runtime: Runtime, cache_id: int, *prefixes: str, **values: Any) -> None:
    """Stage new policies."""
    with as_cli(runtime) as work:
        for prefix in prefixes:
            service.stage_policy(work, cache_id, policy(prefix, **values), original=None, seen="")


def publish(runtime: Runtime, cache_id: int, reason: str = "because") -> int:
    """Publish what is staged; the new version."""
    with as_cli(runtime) as work:
        revision = service.draft_page(work, cache_id).draft.revision
        return service.publish(work, cache_id, reason=reason, revision=revision).version


def page_of(runtime: Runtime, cache_id: int) -> PoliciesPage:
    """What the page would show."""
    with as_cli(runtime) as work:
        return service.policies_page(work, cache_id)


def seen_in(html: str) -> str:
    """The revision that the open form sends along."""
    found = re.search(r'name="seen" value="([^"]*)"', html)
    assert found is not None, html
    return found[1]


def opened(browser: FlaskClient, path: str) -> str:
    """The revision of the form at ``path``."""
    return seen_in(browser.get(path).get_data(as_text=True))


def count(runtime: Runtime, cache_id: int, at: datetime, prefix: str = "news:", **growth: int) -> None:
    """Let applications have counted something in the minute of ``at``."""
    with as_cli(runtime) as work:
        store.ensure_partitions(work.session, at)
        store.add_growth(work.session, cache_id, {prefix: growth}, at)


def hear(runtime: Runtime, cache_id: int, program: str, at: datetime, **values: Any) -> None:
    """Let an application instance have reported at ``at``; ``values`` as in the table of instances."""
    with as_cli(runtime) as work:
        found = {
            "id": program, "host": "app-1", "pid": 4410, "program": program, "library": "1.0",
            "seen_at": at.timestamp(), "policy_version": None, "applied_at": None, "refused_version": None,
            "refusal": "", **values,
        }  # fmt: skip
        store.put_instances(work.session, cache_id, [found], at, keep_s=3600)
