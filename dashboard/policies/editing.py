"""Staging: edits that wait, seen by every operator, until they are published together."""

from collections.abc import Mapping, Sequence
from typing import Any

from dashboard.access import Role, require
from dashboard.audit import service as audit
from dashboard.caching.errors import PolicyError, Problem
from dashboard.caching.policy import (
    Policy,
    PolicyDocument,
    RowMapping,
    Tier,
    parse_mapping,
    parse_policy,
    parse_tier,
    prefix_from_text,
    prefix_to_text,
)
from dashboard.errors import InvalidInput, NotFound
from dashboard.policies import diff, documents, state, store, use, words
from dashboard.policies.documents import Edit, Item, Value
from dashboard.policies.state import Held
from dashboard.policies.types import (
    ChangeKind,
    Diff,
    EditConflict,
    InvalidItem,
    ItemChange,
    ItemKind,
    PublishConflict,
    Staged,
)
from dashboard.work import UnitOfWork


def stage_policy(
    work: UnitOfWork, cache_id: int, values: Mapping[str, Any], *, original: str | None, seen: str
) -> Staged:
    """Stage a policy.

    Args:
        values: its fields as in the document.
        original: the prefix the form was opened on; None: a new policy; empty: the default.
        seen: the revision the form was opened on.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache, or no policy ``original`` any more.
        InvalidInput: a message per field.
        EditConflict: somebody else changed this policy since.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    original = canonical(original)
    policy = parse(held.draft, values, is_default=original == "")
    kind = ItemKind.POLICY if policy.prefix else ItemKind.DEFAULT
    name = policy.prefix_text
    if name != original and documents.find_item(held.draft, kind, name) is not None:
        message = f'The prefix "{name}" has a policy already; edit that one.'
        raise InvalidInput(message, fields={"prefix": message})
    if original is not None:
        _check_seen(held, kind, original, seen, policy)
    edits = [(kind, name, documents.value_of(policy))]
    if original not in (None, name):
        edits.append((kind, str(original), None))
    return _stage(work, held, edits, use.warnings(work, held, policy))


def stage_jitter(work: UnitOfWork, cache_id: int, prefix: str, jitter_s: int) -> Staged:
    """Stage another jitter for a policy, whatever else is staged of it.

    Args:
        prefix: of the policy, as text; empty: the default.
        jitter_s: seconds.

    Raises:
        Forbidden: the actor is no operator.
        NotFound: there is no such cache, or no such policy.
        InvalidInput: the policy does not take that much, or caches nothing; field ``jitter_s``.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    name = canonical(prefix) or ""
    kind = ItemKind.POLICY if name else ItemKind.DEFAULT
    policy = documents.find_item(held.draft, kind, name)
    if not isinstance(policy, Policy):
        raise _gone(prefix)
    values = {**(documents.value_of(policy) or {}), "jitter_s": jitter_s}
    changed = parse(held.draft, values, is_default=not name)
    return _stage(work, held, [(kind, name, documents.value_of(changed))], use.warnings(work, held, changed))


def stage_removal(work: UnitOfWork, cache_id: int, prefix: str, *, seen: str) -> Staged:
    """Stage the removal of a policy; its keys will be the default's, or a shorter prefix's.

    Raises:
        as ``stage_policy``; the default can't be removed.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    if not prefix:
        raise InvalidInput("Other keys always have a policy; it can be edited but not removed.")
    name = canonical(prefix)
    assert name is not None
    _check_seen(held, ItemKind.POLICY, name, seen, None)
    return _stage(work, held, [(ItemKind.POLICY, name, None)])


def stage_tier(
    work: UnitOfWork, cache_id: int, values: Mapping[str, Any], *, original: str | None, seen: str
) -> Staged:
    """Stage a tier. Policies that do not fit any more are listed with the draft, and hold up its publishing.

    Raises:
        as ``stage_policy``.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    tier = parse_tier_values(values)
    if tier.name != original:
        if original is not None:
            message = "A tier's short name can't be changed: policies refer to it. Change its label."
            raise InvalidInput(message, fields={"name": message})
        if documents.find_item(held.draft, ItemKind.TIER, tier.name) is not None:
            message = f'The tier "{tier.name}" is there already.'
            raise InvalidInput(message, fields={"name": message})
    else:
        _check_seen(held, ItemKind.TIER, tier.name, seen, tier)
    staged = _stage(work, held, [(ItemKind.TIER, tier.name, documents.value_of(tier))])
    return Staged(staged.change, staged.revision, _misfits(work, cache_id))


def stage_tier_removal(work: UnitOfWork, cache_id: int, name: str, *, seen: str) -> Staged:
    """Stage the removal of a tier.

    Raises:
        as ``stage_policy``; InvalidInput also while policies use the tier.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    _check_seen(held, ItemKind.TIER, name, seen, None)
    users = [
        words.title(ItemKind.POLICY, policy.prefix_text)
        for policy in documents.every(held.draft)
        if policy.tier == name
    ]
    if users:
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        raise InvalidInput(f"It is used by {', '.join(users[:3])}{more}; move those to another tier first.")
    return _stage(work, held, [(ItemKind.TIER, name, None)])


def stage_mapping(
    work: UnitOfWork, cache_id: int, values: Mapping[str, Any], *, original: str | None, seen: str
) -> Staged:
    """Stage a mapping from rows to keys.

    Args:
        values: its fields as in the document.
        original: the name the form was opened on; None: a new one.
        seen: the revision the form was opened on.

    Raises:
        as ``stage_policy``.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    mapping = parse_mapping_values(values)
    if (
        mapping.name != original
        and documents.find_item(held.draft, ItemKind.MAPPING, mapping.name) is not None
    ):
        message = f"Rows of {mapping.name} are mapped already; edit that mapping."
        raise InvalidInput(message, fields={"table": message})
    edits = [(ItemKind.MAPPING, mapping.name, documents.value_of(mapping))]
    if original is not None:
        _check_seen(held, ItemKind.MAPPING, original, seen, mapping)
        if original != mapping.name:
            edits.append((ItemKind.MAPPING, original, None))
    return _stage(work, held, edits)


def stage_mapping_removal(work: UnitOfWork, cache_id: int, name: str, *, seen: str) -> Staged:
    """Stage the removal of a mapping; schedules that were made with it keep their keys.

    Raises:
        as ``stage_policy``.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    _check_seen(held, ItemKind.MAPPING, name, seen, None)
    return _stage(work, held, [(ItemKind.MAPPING, name, None)])


def stage_import(
    work: UnitOfWork, cache_id: int, data: bytes, format: str, *, revision: int, version: int
) -> Diff:
    """Make the draft what a file says; edits that were staged before are replaced.

    Args:
        format: "json" or "yaml".
        revision: the draft's, as what would be replaced was shown.
        version: the one in force, as the difference was shown.

    Returns:
        What differs from what is published.

    Raises:
        Forbidden, NotFound; InvalidInput: what is wrong with the file, under ``file``; PublishConflict: something
        was staged or published since.
    """
    require(work.actor, Role.OPERATOR)
    document = documents.read(data, format)
    held = state.lock(work, cache_id)
    require_revision(work, held, revision, version)
    found = diff.diff(documents.without_bypasses(held.published), document)
    store.delete_edits(work.session, cache_id)
    held = Held(held.cache, held.version, held.revision, held.published, ())
    wanted = documents.items(document)
    changes = [
        (item.kind, item.name, documents.value_of(wanted.get((item.kind, item.name)))) for item in found.items
    ]
    _put(work, held, changes)
    audit.record(
        work,
        "policies:draft:import",
        found.summary,
        after={item.title: item.summary for item in found.items},
        cache_name=held.cache.name,
    )
    return found


def unstage(work: UnitOfWork, cache_id: int, kind: ItemKind, name: str, *, revision: int) -> None:
    """Take one staged edit back: the item is as published again. Other edits do not matter.

    Args:
        revision: the draft's, as the edit was shown.

    Raises:
        Forbidden; NotFound: there is no such edit (any more); PublishConflict: this one was changed since.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    change = next((item for item in held.changes if (item.kind, item.name) == (kind, name)), None)
    edit = next((edit for edit in held.edits if (edit.kind, edit.name) == (kind, name)), None)
    if edit is not None and edit.revision > revision:
        raise PublishConflict(
            f"{edit.actor} changed {words.title(kind, name)} since this page was opened.",
            changes=() if change is None else (change,),
            what_to_do="Look at it as it is now, then try again.",
        )
    if not store.delete_edit(work.session, cache_id, kind, name):
        raise NotFound(
            "There is no such staged edit.", what_to_do="It may have been published or taken back."
        )
    store.set_numbers(work.session, cache_id, version=held.version, draft_revision=held.revision + 1)
    audit.record(
        work,
        "policies:draft:unstage",
        words.title(kind, name),
        before={"staged": change.summary} if change is not None else None,
        cache_name=held.cache.name,
    )


def discard_draft(work: UnitOfWork, cache_id: int, *, revision: int) -> None:
    """Take all staged edits back.

    Args:
        revision: the draft's, as it was shown.

    Raises:
        Forbidden, NotFound; PublishConflict: something was staged since.
    """
    require(work.actor, Role.OPERATOR)
    held = state.lock(work, cache_id)
    require_revision(work, held, revision)
    if not held.edits:
        return
    store.delete_edits(work.session, cache_id)
    store.set_numbers(work.session, cache_id, version=held.version, draft_revision=held.revision + 1)
    audit.record(
        work,
        "policies:draft:discard",
        f"draft of v{held.version + 1}",
        before={item.title: item.summary for item in held.changes},
        cache_name=held.cache.name,
    )


def require_revision(work: UnitOfWork, held: Held, revision: int, version: int | None = None) -> None:
    """Refuse unless the draft is the one that was shown.

    Args:
        version: the one in force, as it was shown; None: it is not known what was.

    Raises:
        PublishConflict: who did what, with what was staged since; nothing where edits were taken back.
    """
    if held.revision == revision:
        return
    newer = [edit for edit in held.edits if edit.revision > revision]
    names = {(edit.kind, edit.name) for edit in newer}
    if version is not None and 0 <= version < held.version:
        said = published_since(work, held)
    else:
        people = " and ".join(dict.fromkeys(edit.actor for edit in newer))
        said = (
            f"{people} changed what is staged since this page was opened."
            if people
            else "Staged edits were taken back or published since this page was opened."
        )
    raise PublishConflict(
        said,
        changes=tuple(
            item for item in held.changes if (item.kind, item.name) in names or item.published_meanwhile
        ),
        what_to_do="Look at what is staged now, then try again.",
    )


def published_since(work: UnitOfWork, held: Held) -> str:
    """Who published the version in force, for somebody who looked at an earlier one."""
    (latest,) = store.list_versions(work.session, held.cache.id, before=None, limit=1)
    return (
        f"{latest.actor} published version {latest.version} meanwhile:"
        f" {latest.summary} ({latest.reason.rstrip('.')})."
    )


def parse(draft: PolicyDocument, values: Mapping[str, Any], *, is_default: bool) -> Policy:
    """A policy from a form.

    Raises:
        InvalidItem: a message per field.
    """
    given = {name: value for name, value in values.items() if not (is_default and name == "prefix")}
    try:
        if given.pop("bypass_until", None) is not None:
            raise PolicyError([Problem("bypass_until", "A bypass has a form of its own.")])
        return parse_policy(given, draft.tiers, is_default=is_default)
    except PolicyError as error:
        raise _invalid(error) from None


def parse_tier_values(values: Mapping[str, Any]) -> Tier:
    """A tier from a form.

    Raises:
        InvalidItem: a message per field.
    """
    try:
        return parse_tier(values)
    except PolicyError as error:
        raise _invalid(error) from None


def parse_mapping_values(values: Mapping[str, Any]) -> RowMapping:
    """A mapping from a form.

    Raises:
        InvalidItem: a message per field.
    """
    try:
        return parse_mapping(values)
    except PolicyError as error:
        raise _invalid(error) from None


def canonical(prefix: str | None) -> str | None:
    """A prefix in its one spelling, so that it is found however it was written.

    Raises:
        NotFound: it can't be a prefix.
    """
    if prefix is None:
        return None
    try:
        return prefix_to_text(prefix_from_text(prefix))
    except ValueError:
        raise _gone(prefix) from None


# --- helpers ----------------------------------------------------------------------------------------------------


def _invalid(error: PolicyError) -> InvalidItem:
    count = len({problem.path for problem in error.problems})
    message = f"Not saved. Fix the {'1 field' if count == 1 else f'{count} fields'} marked below."
    return InvalidItem(message, problems=error.problems)


def _check_seen(held: Held, kind: ItemKind, name: str, seen: str, mine: Item | None) -> None:
    item = documents.find_item(held.draft, kind, name)
    revision = documents.revision_of(item)
    if item is None and mine is None:
        raise _gone(name)
    if revision == seen:
        return
    edit = next((edit for edit in held.edits if (edit.kind, edit.name) == (kind, name)), None)
    if item is not None and documents.value_of(item) == documents.value_of(mine):
        return  # both want the same
    raise EditConflict(
        f"{edit.actor if edit is not None else 'Somebody else'} changed"
        f" {words.title(kind, name)} since this form was opened.",
        theirs=_theirs(held, kind, name, item, mine, edit),
        seen=revision,
        what_to_do="What differs is listed below; saving again replaces it with what you typed.",
    )


def _theirs(
    held: Held,
    kind: ItemKind,
    name: str,
    item: Item | None,
    mine: Item | None,
    edit: Edit | None,
) -> ItemChange:
    """How what is there differs from what was typed: each field's ``before`` is theirs, ``after`` is mine."""
    found = diff.item_change(kind, name, item, mine, held.tiers)
    assert found is not None
    by, at = ("", None) if edit is None else (edit.actor, edit.at)
    change, summary = found.change, found.summary
    if item is None:
        change, summary = ChangeKind.REMOVED, "removed"
    return ItemChange(kind, name, found.title, change, found.fields, summary, by=by, at=at)


def _stage(
    work: UnitOfWork,
    held: Held,
    changes: Sequence[tuple[ItemKind, str, Value | None]],
    warnings: tuple[str, ...] = (),
) -> Staged:
    before = held.draft
    revision = _put(work, held, changes)
    after = state.look(work, held.cache.id)
    kind, name, _ = changes[0]
    done = diff.diff(before, after.draft)
    if not done.is_empty:
        audit.record(
            work,
            "policies:draft:stage",
            words.title(kind, name),
            before={item.title: _values(item, "before") for item in done.items},
            after={item.title: _values(item, "after") for item in done.items},
            cache_name=held.cache.name,
        )
    staged = next((item for item in after.changes if (item.kind, item.name) == (kind, name)), None)
    return Staged(staged, revision, warnings)


def _values(item: ItemChange, side: str) -> dict[str, object] | None:
    if item.change is (ChangeKind.ADDED if side == "before" else ChangeKind.REMOVED):
        return None
    return {field.label: getattr(field, side) for field in item.fields}


def _put(work: UnitOfWork, held: Held, changes: Sequence[tuple[ItemKind, str, Value | None]]) -> int:
    revision = held.revision + 1
    published = documents.items(held.published)
    edits = []
    for kind, name, value in changes:
        base = documents.value_of(published.get((kind, name)))
        if value == base:
            store.delete_edit(work.session, held.cache.id, kind, name)
        else:
            edits.append(Edit(kind, name, value, base, work.actor.name, work.now, revision))
    store.put_edits(work.session, held.cache.id, edits)
    store.set_numbers(work.session, held.cache.id, version=held.version, draft_revision=revision)
    return revision


def _misfits(work: UnitOfWork, cache_id: int) -> tuple[str, ...]:
    found = documents.problems(state.look(work, cache_id).draft)
    return tuple(f"{where} does not fit any more. {message}" for where, message in found)


def _gone(name: str) -> NotFound:
    return NotFound(f"There is no {name} (any more).", what_to_do="Go back to the list.")
