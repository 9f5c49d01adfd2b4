"""How a purge goes from one state to the next: checked, stored and written in the audit log in one transaction."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.errors import Conflict, NotFound
from dashboard.invalidation import selection, states, store
from dashboard.invalidation.states import Verb
from dashboard.invalidation.types import Limits, Plan, Preview, Purge, When
from dashboard.jobs import service as jobs
from dashboard.work import UnitOfWork

COUNT: Final = "purge.count"
RUN: Final = "purge.run"
"""Kinds of jobs."""


def lock(work: UnitOfWork, number: int, revision: int) -> tuple[Purge, Cache]:
    """The purge and its cache, for a change; nobody else changes it until the transaction ends.

    Raises:
        NotFound: there is no such purge.
        Conflict: it was changed since it was shown.
    """
    purge = store.find_purge(work.session, number, lock=True)
    if purge is None:
        raise gone(number)
    if purge.revision != revision:
        raise Conflict(
            f"By now purge {number} is {states.WORDS[purge.state]}.",
            what_to_do="It changed since this page was opened; look at it again.",
        )
    return purge, caches.get_cache(work, purge.cache_id)


def gone(number: int) -> NotFound:
    """There is no such purge."""
    return NotFound(
        f"There is no purge {number}.", what_to_do="Drafts that nobody approves are removed after a day."
    )


def require(purge: Purge, verb: Verb) -> None:
    """Refuse what does not go from where the purge stands.

    Raises:
        Conflict: with where it stands.
    """
    if not states.may(purge.state, verb):
        raise Conflict(f"Purge {purge.number} is {states.WORDS[purge.state]}: that is not possible now.")


def move(
    work: UnitOfWork,
    purge: Purge,
    verb: Verb,
    cache: Cache,
    *,
    because: str = "",
    result: str = "done",
    tells: Mapping[str, object] | None = None,
    **values: Any,
) -> Purge:
    """Change the state of a locked purge, and record it.

    Args:
        because: the reason in the audit entry.
        tells: what the audit entry says beside the state.
        values: what else is stored in its row.

    Raises:
        Conflict: that does not go from where it stands.
    """
    require(purge, verb)
    to = states.after(verb)
    store.change_purge(work.session, purge.number, state=to, **{"wish": "", **values})
    audit.record(
        work,
        f"invalidation:purge:{verb}",
        f"purge {purge.number}",
        before={"state": purge.state.value},
        after={"state": to.value, **(tells or {})},
        reason=because,
        result=result,
        cache_name=cache.name,
    )
    changed = store.find_purge(work.session, purge.number)
    assert changed is not None  # it is locked
    return changed


def end(
    work: UnitOfWork, purge: Purge, verb: Verb, cache: Cache, *, problem: str | None = None, **values: Any
) -> Purge:
    """The same for the last change: what it needs no more is removed, and only the report stays.

    Keys that a worker had begun and nobody finished count as touched, and are in the report: whoever asks what became
    of a key must not be told that nothing was done to it.
    """
    unsure = store.close_segments(work.session, purge.number)
    tells = {**touched(purge)}
    if unsure:
        purge = replace(purge, progress=replace(purge.progress, touched=purge.progress.touched + unsure))
        tells = {**touched(purge), "keys perhaps touched": unsure}
        said = "1 key was" if unsure == 1 else f"{unsure:,} keys were"
        problem = f"{problem or ''} {said} under way when it ended: counted as touched, which not all may be."
        values["progress"] = purge.progress
    if problem is not None:
        values["problem"] = problem.strip()
    values["tells"] = {**values.get("tells", {}), **tells}
    over = move(work, purge, verb, cache, **{"ended_at": work.now, "job_id": None, **values})
    store.clear_work(work.session, purge.number, keep_report=purge.plan.wants_report)
    return over


def place(cache: Cache) -> str:
    """A fingerprint of where the cache is, whoever signs in there; empty when its URL can't be decrypted."""
    url = cache.stored_url
    if url is None:
        return ""
    bare = replace(url, username=None, sentinel_username=None).without_secrets
    return hashlib.blake2b(bare.encode(), digest_size=16).hexdigest()


def is_elsewhere(preview: Preview, cache: Cache) -> bool:
    """Whether the cache's URL leads to another place than was counted; one that can't be read is another matter."""
    return cache.stored_url is not None and preview.place not in ("", place(cache))


def add_count_job(work: UnitOfWork, purge_number: int, cache: Cache) -> int:
    """Have a worker count what the purge would touch."""
    return jobs.add(work, COUNT, purge_number, cache_id=cache.id)


def add_run_job(work: UnitOfWork, purge: Purge, cache: Cache, limits: Limits) -> int:
    """Have a worker do it: when it is time, and when no more than allowed run on this cache."""
    plan = purge.plan
    return jobs.add(
        work,
        RUN,
        purge.number,
        cache_id=cache.id,
        lane=lane(cache.id),
        lane_width=limits.at_a_time,
        # A resumed purge does not wait again: its time has come, or it will come.
        not_before=plan.at if plan.when is When.AT else None,
    )


def lane(cache_id: int) -> str:
    """Purges of one cache run side by side as its limits allow."""
    return f"cache {cache_id}"


def asked(plan: Plan) -> Mapping[str, object]:
    """What an audit entry tells of what was asked for."""
    only = selection.filter_words(plan.selection.filters)
    return {
        "target": plan.selection.target,
        **({"only": ", ".join(only)} if only else {}),
        "action": plan.action.value,
    }


def touched(purge: Purge) -> Mapping[str, object]:
    """What an audit entry tells of how far it is."""
    progress = purge.progress
    return {"keys touched": progress.touched, "keys skipped": progress.skipped}
