"""What every page that shows keys says about where its numbers are from, and how to get new ones."""

from collections.abc import Mapping
from typing import Final

from dashboard.access import Role, can, require
from dashboard.caches import service as caches
from dashboard.keyspace import scans, screen, store, uneven
from dashboard.keyspace.types import Kind, ScanPanel, State
from dashboard.monitoring import service as monitoring
from dashboard.work import UnitOfWork

BACK: Final[Mapping[str, str]] = {
    "keyspace": "keyspace",
    "keys": "keys",
    "forecast": "forecast",
    "policies": "policies",
    "overview": "overview",
    "invalidate": "invalidate",
}
"""Pages that show the panel, by name, and the end of their address."""


def panel(work: UnitOfWork, cache_id: int, back: str = "keyspace", *, seen: int | None = None) -> ScanPanel:
    """The panel of a page.

    Args:
        back: the page, one of BACK: where its buttons lead back to.
        seen: id of the newest snapshot that the page knows of; None: the page is being made.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    marks = store.list_marks(work.session, cache_id, limit=1)
    latest = marks[0] if marks else None
    scan = scans.find_scan(work, cache_id)
    look = store.find_look(work.session, cache_id)
    used = None
    if latest is not None and latest.kind is Kind.SAMPLE:
        used = monitoring.key_space(work, cache_id).used_bytes
    is_missed = latest is not None and used is not None and uneven.missed(latest, used)
    base = f"/caches/{cache.id}"
    is_known = scan is not None and scan.state is State.RUNNING and scan.progress.expected > 0
    return ScanPanel(
        base=f"{base}/keyspace",
        back=back,
        back_href=f"{base}/{BACK[back]}",
        now=work.now,
        latest=latest,
        seen=seen if seen is not None else latest.id if latest is not None else 0,
        source_text="" if latest is None else screen.source(latest),
        # An interval that leaves most of the memory out is none.
        error_text="" if latest is None or is_missed else screen.error(latest),
        scan=scan,
        share=scan.progress.share if scan is not None and is_known else None,
        done_text="" if scan is None else screen.done(scan),
        rate_text="" if scan is None else screen.rate(scan),
        notes=() if scan is None else screen.notes(scan),
        said="" if scan is None else screen.said(scan),
        look_problem=look[1] if look is not None else "",
        may_scan=can(work.actor, Role.OPERATOR),
        may_set=can(work.actor, Role.ADMIN),
        uneven=uneven.note(used) if is_missed and used is not None else "",
    )
