"""The first round: four steps that show a newcomer what this is for. Only where there is a lab, as in the demo.

How far somebody is, the audit log knows; that he closed the tour is remembered with his account.
"""

from dataclasses import dataclass
from typing import Final

from dashboard.access import Role, can
from dashboard.audit import service as audit
from dashboard.overview import store
from dashboard.overview.types import Tour, TourStep
from dashboard.web.formats import percent
from dashboard.work import UnitOfWork


@dataclass(frozen=True, slots=True)
class _Step:
    """A step: ``done_by`` are the actions that end it, on what begins so, ``minutes`` what it takes."""

    title: str
    text: str
    action: str
    again: str
    path: str
    icon: str
    minutes: int
    done_by: tuple[str, ...] = ()
    done_on: str = ""


_SEES: Final = "Numbers here are live."
_AWAY: Final = "Numbers are live again when the cache answers again."
_STEPS: Final = (
    _Step("See", _SEES, "Look around", "See again", "/caches/{id}/overview", "gauge", 1),
    _Step(
        "Set",
        "Give one prefix a TTL with jitter. It has a preview and can be rolled back.",
        "Set a policy",
        "Set another",
        "/caches/{id}/policies",
        "sliders-horizontal",
        2,
        ("policies:version:publish", "policies:version:apply"),
    ),
    _Step(
        "Purge",
        "Remove a few keys early, spread over time. The count comes first.",
        "Try a purge",
        "Purge again",
        "/caches/{id}/invalidate",
        "eraser",
        2,
        ("invalidation:purge:approve",),
    ),
    _Step(
        "Run",
        "Send a campaign's shoppers to a copy of the store, with the cache off and on.",
        "Run a campaign",
        "Run another",
        "/lab/campaign",
        "play",
        5,
        ("lab:run:start",),
        "campaign,",
    ),
)


def find_tour(
    work: UnitOfWork, cache_id: int, hit_ratio: float | None, *, sees_numbers: bool, is_away: bool
) -> Tour | None:
    """The tour of the reader of a cache's Overview; None: there is none, or he closed it.

    Args:
        hit_ratio: 0..1 as the page shows it; None without reads.
        sees_numbers: the page has numbers already.
        is_away: they are old, for the cache does not answer.
    """
    user_id = work.actor.user_id
    if not work.settings.lab or user_id is None or not can(work.actor, Role.OPERATOR):
        return None
    if store.has_closed_tour(work.session, user_id):
        return None
    are_done = [
        bool(audit.own_actions(work, step.done_by, on=step.done_on)) if step.done_by else sees_numbers
        for step in _STEPS
    ]
    first = are_done.index(False) if not all(are_done) else None
    steps = []
    for number, (step, is_done) in enumerate(zip(_STEPS, are_done, strict=True)):
        text = step.text
        if text is _SEES and is_away:
            text = _AWAY
        elif text is _SEES and hit_ratio is not None:
            text = f"The cache answers {percent(hit_ratio)} of reads. {text}"
        steps.append(
            TourStep(
                number=number + 1,
                title=step.title,
                text=text,
                action=step.again if is_done else step.action,
                href=step.path.format(id=cache_id),
                icon=step.icon,
                is_done=is_done,
                is_next=number == first,
            )
        )
    return Tour(_words(are_done), tuple(steps), f"/caches/{cache_id}/tour/close", first is None)


def close_tour(work: UnitOfWork) -> None:
    """Show the actor no tour any more; without an account there is none."""
    if work.actor.user_id is not None:
        store.close_tour(work.session, work.actor.user_id, work.now)


def _words(are_done: list[bool]) -> str:
    left = sum(step.minutes for step, is_done in zip(_STEPS, are_done, strict=True) if not is_done)
    if not left:
        return f"All {len(_STEPS)} done"
    return f"{sum(are_done)} of {len(_STEPS)} done, about {left} minutes left"
