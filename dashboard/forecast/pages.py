"""What the forecast's page shows, put together."""

from typing import Final

from dashboard.access import Role, can
from dashboard.caches import service as caches
from dashboard.forecast import screen, service, trial
from dashboard.forecast.screen import ForecastScreen
from dashboard.forecast.trial import Remedy, Trial
from dashboard.forecast.types import Forecast, Horizon
from dashboard.work import UnitOfWork

USUAL_JITTER: Final = 0.2
"""Of the base TTL: what a trial begins with."""


def forecast_page(
    work: UnitOfWork,
    cache_id: int,
    horizon: Horizon,
    *,
    at: int | None = None,
    stem: str = "",
    remedy: Remedy | None = None,
    percent: int | None = None,
) -> ForecastScreen:
    """The whole page.

    Args:
        at: start of the wall that something is tried on; None: the worst one.
        stem: whose keys; "": those that are most of it.
        percent: jitter, of the base TTL; None: the usual one.

    Raises:
        NotFound: there is no such cache.
    """
    cache = caches.get_cache(work, cache_id)
    base = f"/caches/{cache_id}/forecast"
    found = service.forecast(work, cache_id, horizon)
    frame = ForecastScreen(
        cache_id=cache_id,
        base=base,
        may_act=can(work.actor, Role.OPERATOR) and not cache.read_only,
        may_sample=can(work.actor, Role.OPERATOR),
        ahead_value=horizon.value,
        ranges=[(words, f"{base}?ahead={each.value}") for each, words in screen.HORIZONS.items()],
        current=screen.HORIZONS[horizon],
        has_scan=found is not None,
    )
    if found is None:
        return frame
    tried = _trial(found, at, stem, remedy, percent)
    offered = [] if tried is None else trial.offered(tried.stem, tried.wall, found.now)
    return screen.fill(frame, found, tried, service.checked(work, cache_id), offered)


def _trial(
    found: Forecast, at: int | None, stem: str, remedy: Remedy | None, percent: int | None
) -> Trial | None:
    if at is None:
        if not found.walls:
            return None
        at = max(found.walls, key=lambda wall: (wall.is_risk, wall.peak_per_s, wall.excess)).start
    wall = next((each for each in found.walls if each.start == at), None)
    if wall is None or not wall.blame:
        return None
    named = {each.name: each for each in found.basis.stems}
    blamed = [blame.stem for blame in wall.blame]
    rule = named[stem if stem in blamed else blamed[0]].rule
    share = USUAL_JITTER if percent is None else percent / 100
    jitter_s = round(share * rule.base_s) if rule is not None else 0
    return service.try_remedy(found, at, stem, remedy, jitter_s)
