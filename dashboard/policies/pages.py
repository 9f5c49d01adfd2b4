"""What each page shows, put together."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from dashboard.access import Role, can, require
from dashboard.caching.policy import RESERVED, Policy, PolicyDocument, Tier, prefix_from_text
from dashboard.errors import InvalidInput, NotFound
from dashboard.monitoring import service as monitoring
from dashboard.policies import diff, documents, editing, instances, scanned, state, store, use, words
from dashboard.policies import preview as previews
from dashboard.policies.propagation import State
from dashboard.policies.state import Held
from dashboard.policies.types import (
    MANY_KEYS,
    Bypass,
    ComparePage,
    Diff,
    DraftPage,
    Editor,
    Export,
    Frame,
    HistoryPage,
    InstanceRow,
    InstancesPage,
    ItemChange,
    ItemKind,
    KeysSource,
    MappingEditor,
    MappingRow,
    NoVersion,
    PoliciesPage,
    PolicyRow,
    PrefixUse,
    PrefixVersion,
    Preview,
    Publication,
    Test,
    TierCard,
    TierDot,
    TierEditor,
    VersionPage,
    VersionRow,
)
from dashboard.work import UnitOfWork

PAGE_SIZE: Final = 50
_VERSIONS_SHOWN: Final = 10
_ASSUMED_KEYS: Final = 10_000
_MOST_KEYS: Final = 1_000_000_000
_STALE_AFTER: Final = timedelta(seconds=60)
_LONGEST_KEY: Final = 4_096


def policies_page(work: UnitOfWork, cache_id: int, *, with_use: bool = True) -> PoliciesPage:
    """Tiers, policies, what is staged, what runs, and who follows.

    Args:
        with_use: with what was counted and who changed what last: most of the work, and no part of a live round.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    staged = {(item.kind, item.name): item for item in held.changes}
    last: Mapping[str, store.Changes] = {}
    uses: Mapping[str | None, PrefixUse] = {}
    known: Mapping[str, int] = {}
    most = None
    found = scanned.Scanned(None, {})
    if with_use:
        last = _last_changes(work, held)
        uses = use.last_day(work, cache_id, _counted_since(held, last))
        known = use.keys(work, cache_id, documents.every(held.draft))
        most = monitoring.key_space(work, cache_id).keys
        found = scanned.scanned(work, cache_id)
    running = {bypass.prefix: bypass for bypass in _bypasses(work, held)}

    def row(policy: Policy) -> PolicyRow:
        row = _row(held, policy, staged, last, uses, known, running)
        return replace(row, scan=found.of(row.prefix))

    kept = documents.items(held.draft)
    removed = [
        policy
        for policy in held.published.policies
        if (ItemKind.POLICY, policy.prefix_text) not in kept
    ] if held.edits else []  # fmt: skip
    return PoliciesPage(
        frame=_frame(work, held),
        tiers=tuple(_card(held, tier, staged, known, most) for tier in held.tiers.values()),
        rows=tuple(
            row(policy)
            for policy in sorted((*held.draft.policies, *removed), key=lambda policy: policy.prefix)
        ),
        default=row(held.draft.default),
        draft=held.draft_summary() if held.changes else None,
        bypasses=tuple(running.values()),
        publication=_publication(work, held),
        instances=instances.count(_instances(work, held)),
        covered_ratio=use.covered_ratio(uses),
        mappings=_mappings(held, staged),
        scanned=found.mark,
    )


def editor(work: UnitOfWork, cache_id: int, original: str | None) -> Editor:
    """The form of a policy.

    Args:
        original: its prefix; empty: the default; None: a new one.

    Raises:
        NotFound: there is no such cache or policy.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    original = editing.canonical(original)
    kind = ItemKind.DEFAULT if original == "" else ItemKind.POLICY
    if original is None:
        start = replace(held.draft.default, note="", bypass_until=None)
        values: dict[str, Any] = {"prefix": ""} | (documents.value_of(start) or {})
        seen = documents.ABSENT
    else:
        values, seen = _opened(held, kind, original)
    return _editor(work, held, original, values, errors={}, seen=seen, theirs=None)


def typed_editor(
    work: UnitOfWork,
    cache_id: int,
    original: str | None,
    values: Mapping[str, Any],
    *,
    errors: Mapping[str, str] | None = None,
    seen: str,
    theirs: ItemChange | None = None,
) -> Editor:
    """The form as it was sent, after it was refused.

    Args:
        values: as they were typed.
        seen: the revision that was sent, or the one of an EditConflict.
        theirs: of an EditConflict.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return _editor(
        work, held, editing.canonical(original), values, errors=errors or {}, seen=seen, theirs=theirs
    )


def tier_editor(work: UnitOfWork, cache_id: int, original: str | None) -> TierEditor:
    """The form of a tier; None: a new one.

    Raises:
        NotFound: there is no such cache or tier.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    values: dict[str, Any] = {"name": "", "label": "", "min_ttl_s": 60, "max_ttl_s": 3600}
    seen = documents.ABSENT
    if original is not None:
        values, seen = _opened(held, ItemKind.TIER, original)
    return _tier_editor(work, held, original, values, errors={}, seen=seen, theirs=None)


def typed_tier_editor(
    work: UnitOfWork,
    cache_id: int,
    original: str | None,
    values: Mapping[str, Any],
    *,
    errors: Mapping[str, str] | None = None,
    seen: str,
    theirs: ItemChange | None = None,
) -> TierEditor:
    """The tier's form as it was sent; see ``typed_editor``."""
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return _tier_editor(work, held, original, values, errors=errors or {}, seen=seen, theirs=theirs)


def mapping_editor(work: UnitOfWork, cache_id: int, original: str | None) -> MappingEditor:
    """The form of a mapping; None: a new one.

    Raises:
        NotFound: there is no such cache or mapping.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    values: dict[str, Any] = {"table": "", "column": "id", "templates": []}
    seen = documents.ABSENT
    if original is not None:
        values, seen = _opened(held, ItemKind.MAPPING, original)
    return _mapping_editor(work, held, original, values, errors={}, seen=seen, theirs=None)


def typed_mapping_editor(
    work: UnitOfWork,
    cache_id: int,
    original: str | None,
    values: Mapping[str, Any],
    *,
    errors: Mapping[str, str] | None = None,
    seen: str,
    theirs: ItemChange | None = None,
) -> MappingEditor:
    """The mapping's form as it was sent; see ``typed_editor``."""
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return _mapping_editor(work, held, original, values, errors=errors or {}, seen=seen, theirs=theirs)


def tiers(work: UnitOfWork, cache_id: int) -> tuple[Tier, ...]:
    """The tiers as they are staged.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    return state.look(work, cache_id).draft.tiers


def preview(
    work: UnitOfWork,
    cache_id: int,
    original: str | None,
    values: Mapping[str, Any],
    *,
    keys: int | None = None,
) -> Preview | None:
    """When a burst's keys would expire; of the last valid state, and waiting, when the values can't be used.

    Args:
        keys: how many are written, if the operator said so.

    Returns:
        None when nothing is cached.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return _preview(work, held, editing.canonical(original), values, keys)


def draft_page(
    work: UnitOfWork,
    cache_id: int,
    *,
    reason: str = "",
    errors: Mapping[str, str] | None = None,
    meanwhile: Sequence[ItemChange] = (),
) -> DraftPage:
    """What is staged, as a diff.

    Args:
        reason, errors, meanwhile: of a publishing that was refused.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return DraftPage(
        frame=_frame(work, held),
        draft=held.draft_summary(),
        warnings=use.warnings(work, held, *documents.every(held.draft)),
        reason=reason,
        errors=dict(errors or {}),
        meanwhile=tuple(meanwhile),
    )


def history_page(work: UnitOfWork, cache_id: int, *, before: int | None = None) -> HistoryPage:
    """Published versions, newest first.

    Args:
        before: where the page begins: the version before it.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    found = store.list_versions(work.session, cache_id, before=before, limit=PAGE_SIZE + 1)
    rows = tuple(_version_row(held, version) for version in found[:PAGE_SIZE])
    return HistoryPage(_frame(work, held), rows, rows[-1].version if len(found) > PAGE_SIZE else None)


def version_page(
    work: UnitOfWork,
    cache_id: int,
    version: int,
    *,
    reason: str = "",
    errors: Mapping[str, str] | None = None,
) -> VersionPage:
    """One version.

    Args:
        reason, errors: of a revert that was refused.

    Raises:
        NotFound: there is no such cache or version.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    row = _get_version(work, held, version)
    document = state.document_of(work, cache_id, version)
    return VersionPage(
        frame=_frame(work, held),
        row=row,
        document=document,
        previous=version - 1,
        diff=diff.versions(state.document_of(work, cache_id, version - 1), document, row.at),
        to_current=diff.content(document, held.published),
        instances=instances.count(_instances(work, held, version)),
        reason=reason,
        errors=dict(errors or {}),
    )


def compare_page(work: UnitOfWork, cache_id: int, older: int, newer: int) -> ComparePage:
    """What differs between any two versions, in the order they are asked for; bypasses are not compared.

    Raises:
        NotFound: there is no such cache or version.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return ComparePage(
        frame=_frame(work, held),
        older=_get_version(work, held, older),
        newer=_get_version(work, held, newer),
        diff=diff.content(state.document_of(work, cache_id, older), state.document_of(work, cache_id, newer)),
    )


def instances_page(work: UnitOfWork, cache_id: int) -> InstancesPage:
    """Who runs which version."""
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    frame, rows = _frame(work, held), _instances(work, held)
    row = store.find_publication(work.session, cache_id)
    since = [
        (each.applied_at - frame.published_at).total_seconds()
        for each in rows
        if frame.published_at is not None and each.version == held.version and each.applied_at is not None
    ]
    # Those that started later applied it later, which says nothing about its way to them.
    prompt = [max(0.0, each) for each in since if each < 3600]
    return InstancesPage(
        frame=frame,
        rows=rows,
        counts=instances.count(rows),
        publication=_publication(work, held),
        first_applied_s=min(prompt, default=None),
        last_applied_s=max(prompt, default=None),
        note="" if row is None else row.instances_note,
    )


def test_key(work: UnitOfWork, cache_id: int, key: str) -> Test:
    r"""Which policy applies to a key.

    Args:
        key: ``\xHH`` for bytes that are no text, ``\\`` for a backslash.

    Raises:
        NotFound: there is no such cache.
        InvalidInput: the key is empty, too long, our own or has a wrong escape, under ``key``.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    problem = ""
    raw = b""
    if not key:
        problem = "Enter a key."
    elif len(key) > _LONGEST_KEY:
        problem = f"At most {_LONGEST_KEY:,} characters; a policy looks at the start only."
    else:
        try:
            raw = prefix_from_text(key)
        except ValueError:
            problem = r"Write a backslash as \\ and a byte that is no text as \xHH."
        if raw.startswith(RESERVED):
            problem = (
                f"Keys that begin with {RESERVED.decode()} are Cachewarden's own: no policy applies to them."
            )
    if problem:
        raise InvalidInput(problem, fields={"key": problem})
    document = held.published if held.version else held.draft
    policy = document.find(raw)
    staged = held.draft.find(raw)
    matching = sorted(
        (other for other in document.policies if raw.startswith(other.prefix) and other != policy),
        key=lambda other: -len(other.prefix),
    )
    return Test(
        key=key,
        policy=policy,
        prefix=policy.prefix_text,
        title=_title(policy),
        tier=_tier(held, policy.tier, document),
        ttl_text=words.ttl_text(policy),
        shorter=tuple(other.prefix_text for other in matching),
        is_bypassed=policy.is_bypassed(work.now.timestamp()),
        draft=staged if staged != policy else None,
        is_pattern=words.is_pattern(key),
    )


def export(work: UnitOfWork, cache_id: int, format: str, *, version: int | None = None) -> Export:
    """A version as a file; before the first, the draft it would be made from.

    Args:
        format: "json" or "yaml".
        version: None: the one in force.

    Raises:
        NotFound: there is no such cache or version.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    document = held.published if version is None else state.document_of(work, cache_id, version)
    if version is None and held.version == 0:
        document = held.draft
    return _export(held, document, format)


def published(work: UnitOfWork, cache_id: int) -> Export:
    """The version in force as JSON; before the first, version 0: the tiers and the default that editing begins with.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return _export(held, held.published, "json")


def diff_import(work: UnitOfWork, cache_id: int, data: bytes, format: str) -> Diff:
    """What a file would change in what is published.

    Raises:
        NotFound: there is no such cache.
        InvalidInput: what is wrong with the file, under ``file``.
    """
    require(work.actor, Role.VIEWER)
    held = state.look(work, cache_id)
    return diff.diff(documents.without_bypasses(held.published), documents.read(data, format))


# --- parts ------------------------------------------------------------------------------------------------------


def _export(held: Held, document: PolicyDocument, format: str) -> Export:
    safe = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in held.cache.name)
    return documents.export(document, f"{safe.strip('-') or 'cache'}-policies-v{document.version}", format)


def _frame(work: UnitOfWork, held: Held) -> Frame:
    cache = held.cache
    current = store.find_version(work.session, cache.id, held.version)
    return Frame(
        cache_id=cache.id,
        cache_name=cache.name,
        is_production=cache.is_production,
        is_read_only=cache.read_only,
        may_edit=can(work.actor, Role.OPERATOR),
        now=work.now,
        version=held.version,
        published_at=None if current is None else current.published_at,
        published_by="" if current is None else current.actor,
        hit_ratio_target=cache.hit_ratio_target,
    )


def _last_changes(work: UnitOfWork, held: Held) -> Mapping[str, store.Changes]:
    every = (policy for document in (held.draft, held.published) for policy in documents.every(document))
    return store.changes_of(work.session, held.cache.id, set(map(_item, every)))


def _counted_since(held: Held, changes: Mapping[str, store.Changes]) -> dict[str, datetime | None]:
    """Since when applications count each prefix apart: since it has a policy. The default they always count."""
    since: dict[str, datetime | None] = {}
    for policy in documents.every(held.draft):
        changed = changes.get(_item(policy))
        since[policy.prefix_text] = changed.first_at if changed is not None and policy.prefix else None
    return since


def _row(
    held: Held,
    policy: Policy,
    staged: Mapping[tuple[ItemKind, str], ItemChange],
    last: Mapping[str, store.Changes],
    uses: Mapping[str | None, PrefixUse],
    known: Mapping[str, int],
    running: Mapping[str, Bypass],
) -> PolicyRow:
    kind = ItemKind.POLICY if policy.prefix else ItemKind.DEFAULT
    name = policy.prefix_text
    tier = _tier(held, policy.tier, held.draft)
    keys, used, changed = known.get(name), uses.get(name), last.get(_item(policy))
    return PolicyRow(
        policy=policy,
        prefix=name,
        title=_title(policy),
        tier_label=tier.label,
        tier_icon=words.tier_icon(tier),
        ttl_text=words.base_text(policy),
        jitter_text=words.jitter_text(policy),
        strategy_label=words.strategy_label(policy),
        is_burst_risk=policy.is_cached and policy.jitter_s == 0 and (keys or 0) > MANY_KEYS,
        keys=keys,
        use=used,
        is_below_target=policy.is_cached and used is not None and used.is_below(held.cache.hit_ratio_target),
        bypass=running.get(name),
        staged=staged.get((kind, name)),
        changed_version=None if changed is None else changed.version,
        changed_at=None if changed is None else changed.at,
        changed_by="" if changed is None else changed.by,
    )


def _card(
    held: Held,
    tier: Tier,
    staged: Mapping[tuple[ItemKind, str], ItemChange],
    known: Mapping[str, int],
    most: int | None,
) -> TierCard:
    users = [policy for policy in held.draft.policies if policy.tier == tier.name]
    was = next((each for each in held.published.tiers if each.name == tier.name), None)
    counted = [known[policy.prefix_text] for policy in users if policy.prefix_text in known]
    return TierCard(
        tier=tier,
        icon=words.tier_icon(tier),
        range_text=words.range_text(tier),
        was_range_text=""
        if was is None or words.range_text(was) == words.range_text(tier)
        else words.range_text(was),
        note=words.tier_note(tier),
        prefixes=len(users),
        keys=None if not counted else sum(counted) if most is None else min(most, sum(counted)),
        dots=tuple(
            TierDot(policy.prefix_text, policy.base_ttl_s)
            for policy in users
            if policy.base_ttl_s is not None
        ),
        staged=staged.get((ItemKind.TIER, tier.name)),
        seen=documents.revision_of(documents.find_item(held.draft, ItemKind.TIER, tier.name)),
    )


def _mappings(held: Held, staged: Mapping[tuple[ItemKind, str], ItemChange]) -> tuple[MappingRow, ...]:
    known = {mapping.name: mapping for mapping in (*held.published.mappings, *held.draft.mappings)}
    return tuple(MappingRow(known[name], staged.get((ItemKind.MAPPING, name))) for name in sorted(known))


def _bypasses(work: UnitOfWork, held: Held) -> list[Bypass]:
    now, found = work.now.timestamp(), []
    for policy in documents.every(held.published):
        if policy.bypass_until is None or not policy.is_bypassed(now):
            continue
        versions = store.list_versions_of(
            work.session, held.cache.id, diff.bypass_name(policy.prefix_text), limit=_VERSIONS_SHOWN
        )
        started = next((version for version in versions if version.kind == "bypass"), None)
        found.append(
            Bypass(
                prefix=policy.prefix_text,
                title=_title(policy),
                until=datetime.fromtimestamp(policy.bypass_until, UTC),
                left_s=policy.bypass_until - now,
                started_at=None if started is None else started.published_at,
                by="" if started is None else started.actor,
                reason="" if started is None else started.reason,
            )
        )
    return found


def _instances(work: UnitOfWork, held: Held, version: int | None = None) -> tuple[InstanceRow, ...]:
    version = held.version if version is None else version
    published = store.find_version(work.session, held.cache.id, version)
    heard = [
        instances.Heard(
            id=row.id,
            host=row.host,
            program=row.program,
            library=row.library,
            pid=row.pid,
            policy_version=row.policy_version,
            applied_at=row.applied_at,
            refused_version=row.refused_version,
            refusal=row.refusal,
            first_heard_at=row.first_heard_at,
            heard_at=row.heard_at,
        )
        for row in store.list_instances(work.session, held.cache.id)
    ]
    return instances.judge(heard, version, None if published is None else published.published_at, work.now)


def _publication(work: UnitOfWork, held: Held) -> Publication:
    row = store.find_publication(work.session, held.cache.id)
    if row is None:
        if held.version == 0:
            return Publication("unknown", "Never published", "Applications use the defaults in their code.")
        return Publication("unknown", "Not checked yet", "The worker looks every few seconds while it runs.")
    current = Publication(
        kind="ok",
        word="In force",
        found_version=row.found_version,
        checked_at=row.checked_at,
        republished_at=row.republished_at,
        republish_reason=row.republish_reason,
    )
    match row.state:
        case State.AWAY:
            return replace(
                current, kind="crit", word="Not reached", detail=row.error, what_to_do=row.what_to_do
            )
        case State.READ_ONLY:
            detail = f"v{held.version} is not in Redis: {row.error}. The cache is read-only, so it stays so."
            what_to_do = "An administrator can change that on the Connections page."
            return replace(current, kind="warn", word="Not in Redis", detail=detail, what_to_do=what_to_do)
        case State.FOREIGN:
            detail = f"Nothing was published here, but Redis holds version {row.found_version}."
            what_to_do = (
                "Another dashboard may look after this cache. Publishing here replaces that document."
            )
            return replace(
                current, kind="warn", word="Foreign document", detail=detail, what_to_do=what_to_do
            )
        case State.UNPUBLISHED if held.version == 0:
            detail = "Applications use the defaults in their code."
            return replace(current, kind="unknown", word="Never published", detail=detail)
    if row.found_version != held.version:
        return replace(current, kind="info", word="On its way", detail=f"v{held.version} was just published.")
    if row.checked_at is None or work.now - row.checked_at > _STALE_AFTER:
        return replace(
            current, kind="unknown", word="Not checked", detail="No worker looks after it right now."
        )
    return current


def _opened(held: Held, kind: ItemKind, name: str) -> tuple[dict[str, Any], str]:
    """What a form begins with, and the revision it is opened on."""
    item = documents.find_item(held.draft, kind, name)
    value = documents.value_of(item)
    if value is None:
        what = {ItemKind.TIER: "tier", ItemKind.MAPPING: "mapping"}.get(kind, "policy")
        raise NotFound(f"There is no {what} {name} (any more).", what_to_do="Go back to the list.")
    return value, documents.revision_of(item)


def _staged(held: Held, kind: ItemKind, name: str | None) -> ItemChange | None:
    return next((each for each in held.changes if (each.kind, each.name) == (kind, name)), None)


def _editor(
    work: UnitOfWork,
    held: Held,
    original: str | None,
    values: Mapping[str, Any],
    *,
    errors: Mapping[str, str],
    seen: str,
    theirs: ItemChange | None,
) -> Editor:
    kind = ItemKind.DEFAULT if original == "" else ItemKind.POLICY
    item = None if original is None else documents.find_item(held.published, kind, original)
    draft = None if original is None else documents.find_item(held.draft, kind, original)
    return Editor(
        frame=_frame(work, held),
        original=original,
        title="New policy" if original is None else words.title(kind, original),
        values=dict(values),
        errors=dict(errors),
        warnings=use.warnings(work, held, draft) if isinstance(draft, Policy) else (),
        seen=seen,
        tiers=held.draft.tiers,
        preview=_preview(work, held, original, values, None),
        versions=() if original is None else _prefix_versions(work, held, kind, original),
        staged=_staged(held, kind, original),
        published=item if isinstance(item, Policy) else None,
        next_version=held.version + 1,
        theirs=theirs,
    )


def _tier_editor(
    work: UnitOfWork,
    held: Held,
    original: str | None,
    values: Mapping[str, Any],
    *,
    errors: Mapping[str, str],
    seen: str,
    theirs: ItemChange | None,
) -> TierEditor:
    kind = ItemKind.TIER
    item = None if original is None else documents.find_item(held.draft, kind, original)
    return TierEditor(
        frame=_frame(work, held),
        original=original,
        title="New tier" if original is None else item.label if isinstance(item, Tier) else original,
        values=dict(values),
        errors=dict(errors),
        seen=seen,
        staged=_staged(held, kind, original),
        used_by=tuple(_title(each) for each in documents.every(held.draft) if each.tier == original),
        next_version=held.version + 1,
        theirs=theirs,
    )


def _mapping_editor(
    work: UnitOfWork,
    held: Held,
    original: str | None,
    values: Mapping[str, Any],
    *,
    errors: Mapping[str, str],
    seen: str,
    theirs: ItemChange | None,
) -> MappingEditor:
    return MappingEditor(
        frame=_frame(work, held),
        original=original,
        values=dict(values),
        errors=dict(errors),
        seen=seen,
        staged=_staged(held, ItemKind.MAPPING, original),
        next_version=held.version + 1,
        theirs=theirs,
    )


def _prefix_versions(work: UnitOfWork, held: Held, kind: ItemKind, name: str) -> tuple[PrefixVersion, ...]:
    found = store.list_versions_of(work.session, held.cache.id, f"{kind}:{name}", limit=_VERSIONS_SHOWN)
    numbers = {number for version in found for number in (version.version, version.version - 1)}
    stored = store.find_narrow_documents(work.session, held.cache.id, numbers, name)
    narrow = {number: documents.without_bypasses(documents.load(each)) for number, each in stored.items()}
    shown: list[PrefixVersion] = []
    for version in found:
        after, before = narrow[version.version], narrow.get(version.version - 1, documents.FIRST)
        tiers = {tier.name: tier for tier in (*before.tiers, *after.tiers)}
        change = diff.item_change(
            kind,
            name,
            documents.find_item(before, kind, name),
            documents.find_item(after, kind, name),
            tiers,
        )
        if change is not None:
            shown.append(
                PrefixVersion(
                    version=version.version,
                    is_current=not shown,
                    change=change,
                    at=version.published_at,
                    by=version.actor,
                    reason=version.reason,
                )
            )
    return tuple(shown)


def _preview(
    work: UnitOfWork, held: Held, original: str | None, values: Mapping[str, Any], keys: int | None
) -> Preview | None:
    kind = ItemKind.DEFAULT if original == "" else ItemKind.POLICY
    now = None if original is None else documents.find_item(held.published, kind, original)
    is_waiting = False
    policy: documents.Item | None
    try:
        # The prefix is no matter here, and may not be typed yet.
        policy = editing.parse(held.draft, values, is_default=True)
    except InvalidInput:
        is_waiting = True
        policy = held.draft.default if original is None else documents.find_item(held.draft, kind, original)
    if not isinstance(policy, Policy):
        return None
    number, source = _how_many(work, held, original, keys)
    made = previews.preview(policy, number, source, now=now if isinstance(now, Policy) else None)
    if made is None or not is_waiting:
        return made
    verdict = f"Preview is waiting. It still shows the last valid draft, {made.ttl_text}."
    return replace(made, is_waiting=True, kind="info", verdict=verdict)


def _how_many(work: UnitOfWork, held: Held, original: str | None, keys: int | None) -> tuple[int, KeysSource]:
    if keys is not None:
        return min(max(1, keys), _MOST_KEYS), KeysSource.TYPED
    kind = ItemKind.DEFAULT if original == "" else ItemKind.POLICY
    in_force = None if original is None else documents.find_item(held.published, kind, original)
    if original is not None and isinstance(in_force, Policy):
        counted = use.keys(work, held.cache.id, [in_force]).get(original)
        if counted:
            return min(counted, _MOST_KEYS), KeysSource.COUNTED
    all_keys = monitoring.key_space(work, held.cache.id).keys
    return min(_ASSUMED_KEYS, all_keys) if all_keys else _ASSUMED_KEYS, KeysSource.ASSUMED


def _version_row(held: Held, version: store.Version) -> VersionRow:
    return VersionRow(
        version=version.version,
        at=version.published_at,
        by=version.actor,
        reason=version.reason,
        kind=version.kind,
        reverts_to=version.reverts_to,
        summary=version.summary,
        is_current=version.version == held.version,
    )


def _get_version(work: UnitOfWork, held: Held, version: int) -> VersionRow:
    found = store.find_version(work.session, held.cache.id, version)
    if found is None:
        raise NoVersion(version)
    return _version_row(held, found)


def _tier(held: Held, name: str, document: PolicyDocument) -> Tier:
    """The tier of a policy; one that a draft took away is as it was."""
    found = next((tier for tier in document.tiers if tier.name == name), None)
    return found or held.tiers.get(name) or Tier(name, name, None, None)


def _item(policy: Policy) -> str:
    """A policy's name in the index of versions."""
    return f"{ItemKind.POLICY if policy.prefix else ItemKind.DEFAULT}:{policy.prefix_text}"


def _title(policy: Policy) -> str:
    return words.title(ItemKind.POLICY if policy.prefix else ItemKind.DEFAULT, policy.prefix_text)
