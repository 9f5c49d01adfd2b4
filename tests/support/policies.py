"""Policies for tests: somebody who acts, a policy's fields, and one round of the worker."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dashboard.access import Actor, Role
from dashboard.caches import service as caches
from dashboard.policies import service
from dashboard.policies.jobs import Propagation
from dashboard.policies.types import Diff, Published, Staged
from dashboard.work import Runtime, UnitOfWork, unit_of_work


@contextmanager
def acting(runtime: Runtime, name: str = "olga", role: Role = Role.OPERATOR) -> Iterator[UnitOfWork]:
    """A unit of work of somebody in the dashboard."""
    with unit_of_work(runtime, Actor(None, name, role, "cli")) as work:
        yield work


def fields(prefix: str = "news:", **values: Any) -> dict[str, Any]:
    """A valid policy as in the document."""
    return {"prefix": prefix, "tier": "frequently-updated", "base_ttl_s": 3600, "jitter_s": 720, **values}


def stage(
    runtime: Runtime, cache_id: int, prefix: str = "news:", *, original: str | None = None, **values: Any
) -> Staged:
    """Stage a policy, having looked at it a moment before."""
    with acting(runtime) as work:
        seen = service.editor(work, cache_id, original).seen
        given = fields(prefix, **values)
        if original == "":
            given.pop("prefix")
        return service.stage_policy(work, cache_id, given, original=original, seen=seen)


def stage_import(work: UnitOfWork, cache_id: int, data: bytes, format: str) -> Diff:
    """Stage a file, having looked at the draft a moment before."""
    page = service.draft_page(work, cache_id)
    return service.stage_import(
        work, cache_id, data, format, revision=page.draft.revision, version=page.frame.version
    )


def publish(runtime: Runtime, cache_id: int, reason: str = "because", name: str = "olga") -> Published:
    """Publish the draft, having looked at it a moment before."""
    with acting(runtime, name) as work:
        revision = service.draft_page(work, cache_id).draft.revision
        return service.publish(work, cache_id, reason=reason, revision=revision)


def look_after(runtime: Runtime, cache_id: int, propagation: Propagation | None = None) -> None:
    """One round of the worker's job."""
    with acting(runtime) as work:
        cache = caches.get_cache(work, cache_id)
    (propagation or Propagation(runtime)).run(cache, lambda: True)
