"""What every page that shows keys says about where its numbers are from, and how to get new ones."""

from typing import Final

from dashboard.access import Role, can, require
from dashboard.caches import service as caches
from dashboard.keyspace import looks, scans, store
from dashboard.keyspace.limits import limits
from dashboard.keyspace.types import ScanPanel
from dashboard.work import UnitOfWork

_POLL_S: Final = 1


def panel(work: UnitOfWork, cache_id: int, back: str = "keyspace") -> ScanPanel:
    """The panel of a page.

    Args:
        back: name of the page, one of ``views.BACK``: where its buttons lead back to.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    marks = store.list_marks(work.session, cache_id, limit=1)
    scan = scans.find_scan(work, cache_id)
    set_ = limits(work, cache_id)
    look = store.find_look(work.session, cache_id)
    due_at = looks.due_at(work, cache_id, set_)
    return ScanPanel(
        base=f"/caches/{cache.id}/keyspace",
        back=back,
        now=work.now,
        latest=marks[0] if marks else None,
        scan=scan,
        limits=set_,
        next_sample_s=None if due_at is None else max(0.0, (due_at - work.now).total_seconds()),
        look_problem=look[1] if look is not None else "",
        poll_s=_POLL_S if scan is not None and not scan.state.is_over else 0,
        may_scan=can(work.actor, Role.OPERATOR),
        may_set=can(work.actor, Role.ADMIN),
    )
