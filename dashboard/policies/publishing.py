"""Versions: publish, revert, apply a file, bypass. Each makes a new one; none is ever changed or removed.

A version stands when its transaction is committed. Redis is told after that, and by the worker if that fails:
PostgreSQL is the system of record.
"""

import logging
from dataclasses import replace
from datetime import timedelta
from typing import Final

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.caches import service as caches
from dashboard.caching.errors import PolicyError
from dashboard.caching.policy import Policy, PolicyDocument
from dashboard.errors import Conflict, DashboardError, InvalidInput, NotFound, Refused
from dashboard.fleet import policies as fleet
from dashboard.policies import diff, documents, editing, state, store, use, words
from dashboard.policies.state import Held
from dashboard.policies.types import LONGEST_BYPASS_MIN, LONGEST_REASON, ItemKind, PublishConflict, Published
from dashboard.work import UnitOfWork

log = logging.getLogger(__name__)

_ACTIONS: Final = {
    "publish": "policies:version:publish",
    "revert": "policies:version:revert",
    "apply": "policies:version:apply",
    "bypass": "policies:bypass:start",
    "end-bypass": "policies:bypass:end",
}


def publish(
    work: UnitOfWork, cache_id: int, *, reason: str, revision: int, version: int | None = None
) -> Published:
    """Publish what is staged as a new version.

    Args:
        reason: why, in a few words; required.
        revision: the draft's, as it was shown.
        version: the one in force, as it was shown; only for the words of a refusal.

    Raises:
        Forbidden: the actor is no operator.
        Refused: the cache is read-only.
        NotFound: there is no such cache.
        PublishConflict: something was staged or published since the draft was shown.
        InvalidInput: no reason, nothing to publish, or a draft that is not valid.
    """
    require(work.actor, Role.OPERATOR)
    held = _lock(work, cache_id)
    editing.require_revision(work, held, revision, version)
    reason = _reason(reason)
    # The first version may be the tiers and the default as they were seeded.
    if held.version and not held.changes:
        raise InvalidInput("Nothing is staged.", what_to_do="Edit a policy or a tier first.")
    return _publish(work, held, held.draft, kind="publish", reason=reason)


def revert(work: UnitOfWork, cache_id: int, *, to: int, reason: str, version: int) -> Published:
    """Publish an earlier version's content again, as a new version. Staged edits stay staged.

    Args:
        to: the version to go back to.
        version: the one in force, as it was shown.

    Raises:
        as ``publish``; NotFound also when there is no version ``to``.
    """
    require(work.actor, Role.OPERATOR)
    held = _lock(work, cache_id)
    _require_version(work, held, version)
    if to == 0:
        raise NotFound("There is no version 0 to go back to.")
    document = state.document_of(work, cache_id, to)
    reason = _reason(reason)
    if diff.content(held.published, document).is_empty:
        raise InvalidInput(f"Version {to} says the same as version {held.version}, which is in force.")
    return _publish(work, held, document, kind="revert", reason=reason, reverts_to=to)


def check(
    work: UnitOfWork, cache_id: int, data: bytes, format: str, *, version: int | None = None
) -> Published:
    """What ``apply`` would do.

    Returns:
        The version in force, not ``is_new``, with what the file would change.

    Raises:
        NotFound: there is no such cache.
        InvalidDocument: with what is wrong with the file.
        PublishConflict: another version than ``version`` is in force.
    """
    require(work.actor, Role.VIEWER)
    document = documents.read(data, format)
    held = state.look(work, cache_id)
    _require_version(work, held, version)
    warnings = use.warnings(work, held, *documents.every(document))
    found = diff.diff(documents.without_bypasses(held.published), document)
    return Published(held.version, found, warnings, is_new=False)


def apply(
    work: UnitOfWork, cache_id: int, data: bytes, format: str, *, reason: str, version: int | None = None
) -> Published:
    """Publish a file's content. Nothing happens when it says what is in force. Staged edits stay staged.

    Args:
        format: "json" or "yaml".
        version: the one in force, as far as the caller knows; None: whichever.

    Returns:
        The version in force; not ``is_new`` when the file says what was in force already.

    Raises:
        as ``publish``; InvalidDocument with what is wrong with the file; PublishConflict: another version than
        ``version`` is in force.
    """
    require(work.actor, Role.OPERATOR)
    document = documents.read(data, format)
    held = _lock(work, cache_id)
    _require_version(work, held, version)
    reason = _reason(reason)
    found = diff.diff(documents.without_bypasses(held.published), document)
    if held.version and found.is_empty:
        return Published(held.version, found, is_new=False)
    return _publish(work, held, document, kind="apply", reason=reason)


def bypass(work: UnitOfWork, cache_id: int, prefix: str, *, minutes: int, reason: str) -> Published:
    """Have applications go around the cache for a prefix, for a while; it ends by itself. Published at once.

    Args:
        prefix: of a published policy; empty: the default's keys.
        minutes: from now on; a bypass that runs already ends then instead.

    Raises:
        as ``publish``; NotFound also when no published policy has this prefix.
    """
    require(work.actor, Role.OPERATOR)
    held = _lock(work, cache_id)
    fields = {}
    if not 1 <= minutes <= LONGEST_BYPASS_MIN:
        fields["minutes"] = f"Enter 1 to {LONGEST_BYPASS_MIN} minutes; a bypass is no way to live."
    if not reason.strip() or len(reason.strip()) > LONGEST_REASON:
        fields["reason"] = _reason_problem(reason)
    if fields:
        raise InvalidInput("The bypass did not start.", fields=fields)
    policy = _published_policy(held, prefix)
    if not policy.is_cached:
        raise InvalidInput(f"{words.title(ItemKind.POLICY, policy.prefix_text)} is not cached anyway.")
    until = (work.now + timedelta(minutes=minutes)).timestamp()
    document = _with(held.published, replace(policy, bypass_until=round(until, 3)))
    return _publish(work, held, document, kind="bypass", reason=_reason(reason), about=policy)


def end_bypass(work: UnitOfWork, cache_id: int, prefix: str, *, reason: str = "") -> Published:
    """End a bypass before its time.

    Raises:
        as ``publish``; Conflict: it has ended.
    """
    require(work.actor, Role.OPERATOR)
    held = _lock(work, cache_id)
    policy = _published_policy(held, prefix)
    if not policy.is_bypassed(work.now.timestamp()):
        raise Conflict(f"The bypass of {words.title(ItemKind.POLICY, policy.prefix_text)} has ended already.")
    document = _with(held.published, replace(policy, bypass_until=None))
    return _publish(
        work, held, document, kind="end-bypass", reason=_reason(reason or "Ended early"), about=policy
    )


# --- helpers ----------------------------------------------------------------------------------------------------


def _lock(work: UnitOfWork, cache_id: int) -> Held:
    caches.require_writable(caches.get_cache(work, cache_id))
    return state.lock(work, cache_id)


def _require_version(work: UnitOfWork, held: Held, version: int | None) -> None:
    if version in (None, held.version):
        return
    assert version is not None
    if not 0 <= version < held.version:
        raise PublishConflict(
            f"There is no version {version}; version {held.version} is in force.",
            changes=(),
            what_to_do="Look at it, then try again.",
        )
    shown = state.document_of(work, held.cache.id, version)
    raise PublishConflict(
        editing.published_since(work, held),
        changes=diff.diff(shown, held.published).items,
        what_to_do="Look at what it changed, then try again.",
    )


def _reason(reason: str) -> str:
    reason = reason.strip()
    if not reason or len(reason) > LONGEST_REASON:
        message = _reason_problem(reason)
        raise InvalidInput("Not published.", fields={"reason": message})
    return reason.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _reason_problem(reason: str) -> str:
    if len(reason) > LONGEST_REASON:
        return f"At most {LONGEST_REASON} characters; this has {len(reason):,}."
    return "Say why in a few words. It goes in the audit log."


def _published_policy(held: Held, prefix: str) -> Policy:
    if held.version == 0:
        raise Refused("Nothing is published yet.", what_to_do="Publish the policies first.")
    name = editing.canonical(prefix)
    kind = ItemKind.POLICY if name else ItemKind.DEFAULT
    found = documents.find_item(held.published, kind, name or "")
    if not isinstance(found, Policy):
        raise NotFound(
            f"No published policy has the prefix {prefix}.", what_to_do="Add and publish one for it first."
        )
    return found


def _with(document: PolicyDocument, policy: Policy) -> PolicyDocument:
    """The document with this policy in the place of the one with its prefix."""
    if not policy.prefix:
        return replace(document, default=policy)
    return replace(
        document, policies=tuple(policy if old.prefix == policy.prefix else old for old in document.policies)
    )


def _publish(
    work: UnitOfWork,
    held: Held,
    document: PolicyDocument,
    *,
    kind: str,
    reason: str,
    reverts_to: int | None = None,
    about: Policy | None = None,
) -> Published:
    cache, number = held.cache, held.version + 1
    # A bypass runs on through a new version of the rest, and one that has ended is not carried along.
    running = document if kind in ("bypass", "end-bypass") else held.published
    document = documents.with_bypasses(document, running, work.now.timestamp())
    try:
        document = documents.check(replace(document, version=number))
    except PolicyError as error:
        raise InvalidInput(
            f"Version {number} can't be published.",
            what_to_do="Fix what is listed below.",
            fields={problem.path or "draft": problem.message for problem in error.problems},
        ) from None
    found = diff.versions(held.published, document, work.now)
    summary = found.items[0].title + " " + found.items[0].summary if len(found.items) == 1 else found.summary
    store.insert_version(
        work.session,
        cache.id,
        store.Version(number, work.now, work.actor.name, reason, kind, reverts_to, summary),
        diff.changed_names(found, is_bypass=about is not None),
        document.to_dict(),
    )
    # A draft that was looked at, or what shall replace it, must be looked at again when what it changes has changed.
    moves_draft = about is None
    if kind == "publish":
        store.delete_edits(work.session, cache.id)
    store.set_numbers(
        work.session, cache.id, version=number, draft_revision=held.revision + (1 if moves_draft else 0)
    )
    audit.record(
        work,
        _ACTIONS[kind],
        f"v{number}" if about is None else words.title(ItemKind.POLICY, about.prefix_text),
        before={"version": held.version},
        after={"version": number}
        | ({} if reverts_to is None else {"reverts to": reverts_to})
        | {item.title: item.summary for item in found.items},
        reason=reason,
        cache_name=cache.name,
    )
    _announce(work, held, document)
    return Published(number, found, use.warnings(work, held, *documents.every(document)))


def _announce(work: UnitOfWork, held: Held, document: PolicyDocument) -> None:
    connection, content = caches.connect(work, held.cache), document.to_json()

    def tell() -> None:
        try:
            newer = fleet.publish(connection, content, document.version).newer
            if newer is not None:
                log.info("%s v%d was not written to Redis: v%d is there",
                         held.cache.name, document.version, newer)  # fmt: skip
        except DashboardError as error:
            log.warning("%s v%d is not in Redis yet, the worker goes on trying: %s",
                        held.cache.name, document.version, error)  # fmt: skip

    work.after_commit(tell)
