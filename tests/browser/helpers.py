"""Small questions to the running dashboard."""

from dashboard.caches import service as caches
from dashboard.work import unit_of_work
from tests.support import live


def cache_id(dashboard: live.Live) -> int:
    """The id of the first cache."""
    with unit_of_work(dashboard.runtime, live.ACTOR) as work:
        return caches.list_caches(work)[0].id
