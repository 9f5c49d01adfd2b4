"""What is published and what is staged, read together."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from dashboard.caches import service as caches
from dashboard.caches.types import Cache
from dashboard.caching.policy import PolicyDocument, Tier
from dashboard.policies import diff, documents, store
from dashboard.policies.documents import Edit
from dashboard.policies.types import DraftSummary, ItemChange, NoVersion
from dashboard.work import UnitOfWork


@dataclass(frozen=True)
class Held:
    """A cache's policies.

    Args:
        version: published; 0: nothing was ever published.
        revision: the draft's.
        published: the document in force, or the first one.
    """

    cache: Cache
    version: int
    revision: int
    published: PolicyDocument
    edits: tuple[Edit, ...]

    @cached_property
    def draft(self) -> PolicyDocument:
        """The published document with the edits in it."""
        return documents.staged(self.published, self.edits)

    @cached_property
    def tiers(self) -> Mapping[str, Tier]:
        """The staged tiers, and published ones that are to be removed, by name."""
        return {tier.name: tier for tier in (*self.published.tiers, *self.draft.tiers)}

    @cached_property
    def changes(self) -> tuple[ItemChange, ...]:
        """What is staged, item by item."""
        by_item = {(edit.kind, edit.name): edit for edit in self.edits}
        published = documents.items(self.published)
        found = []
        for change in diff.diff(self.published, self.draft).items:
            edit = by_item[change.kind, change.name]
            item = published.get((change.kind, change.name))
            found.append(
                ItemChange(
                    change.kind,
                    change.name,
                    change.title,
                    change.change,
                    change.fields,
                    change.summary,
                    by=edit.actor,
                    at=edit.at,
                    revision=edit.revision,
                    published_meanwhile=edit.base != documents.value_of(item),
                )
            )
        return tuple(found)

    def draft_summary(self) -> DraftSummary:
        """The draft for a page."""
        return DraftSummary(
            revision=self.revision,
            next_version=self.version + 1,
            items=self.changes,
            problems=documents.problems(self.draft),
            people=tuple(dict.fromkeys(edit.actor for edit in sorted(self.edits, key=lambda edit: edit.at))),
        )


def look(work: UnitOfWork, cache_id: int) -> Held:
    """The cache's policies.

    Raises:
        NotFound: there is no such cache.
    """
    cache = caches.get_cache(work, cache_id)
    return _held(work, cache, *store.find_set(work.session, cache.id))


def lock(work: UnitOfWork, cache_id: int) -> Held:
    """The same; nobody else changes them until the transaction ends.

    Raises:
        NotFound: there is no such cache.
    """
    cache = caches.get_cache(work, cache_id)
    return _held(work, cache, *store.lock_set(work.session, cache.id))


def document_of(work: UnitOfWork, cache_id: int, version: int) -> PolicyDocument:
    """A published version's document; version 0 is the first document, which was never published.

    Raises:
        NotFound: there is no such version.
    """
    if version == 0:
        return documents.FIRST
    stored = store.find_document(work.session, cache_id, version) if 0 < version < 2**63 else None
    if stored is None:
        raise NoVersion(version)
    return documents.load(stored)


def _held(work: UnitOfWork, cache: Cache, version: int, revision: int) -> Held:
    edits = tuple(store.list_edits(work.session, cache.id))
    return Held(cache, version, revision, document_of(work, cache.id, version), edits)
