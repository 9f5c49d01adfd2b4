"""What the Policies page shows besides its data: the part of the table in view and what is open on it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode

from dashboard.policies.forms import TypedMapping, TypedPolicy, TypedTier
from dashboard.policies.types import (
    Diff,
    Editor,
    Frame,
    InstanceRow,
    ItemChange,
    MappingEditor,
    PoliciesPage,
    PolicyRow,
    Preview,
    Test,
    TierEditor,
    VersionEffect,
    VersionPage,
)
from dashboard.web.numbers import digits_of

PAGE_SIZE = 200
REFRESH_S = 5
_MOST_NAMED = 3

_SHOWN: Mapping[str, tuple[str, Callable[[PolicyRow], bool]]] = {
    "all": ("All", lambda row: True),
    "staged": ("Staged", lambda row: row.staged is not None),
    "below": ("Below target", lambda row: row.is_below_target),
    "burst": ("No jitter", lambda row: row.is_burst_risk),
    "drifting": ("Drifting", lambda row: row.is_drifting),
    "bypassed": ("Bypassed", lambda row: row.bypass is not None),
}
_SORTED: Mapping[str, Callable[[PolicyRow], object]] = {
    "prefix": lambda row: row.policy.prefix,
    # What nobody counted goes last in either order of numbers.
    "hit": lambda row: (_ratio(row) is None, _ratio(row) or 0.0, row.policy.prefix),
    "reads": lambda row: (row.use is None, -(row.use.reads if row.use else 0), row.policy.prefix),
    "memory": lambda row: (_size(row) is None, -(_size(row) or 0.0), row.policy.prefix),
    "drift": lambda row: (_drift(row) is None, -(_drift(row) or 0.0), row.policy.prefix),
}
SHOWN = tuple(_SHOWN)
SORTED = tuple(_SORTED)


@dataclass(frozen=True, slots=True)
class Listing:
    """The rows in view.

    Args:
        filters: (label, address) of each filter that finds something; current: the label of the one in force.
        sort: one of SORTED; sort_hrefs: address of the table sorted by each.
        total: after the filter; first: how many come before these.
        previous_href, next_href: the rest of a long list; empty where there is none.
        query: what a link to an editor carries on, so that closing it comes back here.
    """

    rows: tuple[PolicyRow, ...]
    filters: tuple[tuple[str, str], ...]
    current: str
    sort: str
    sort_hrefs: Mapping[str, str]
    total: int
    first: int
    previous_href: str
    next_href: str
    query: str


@dataclass(frozen=True, slots=True)
class PolicyScreen:
    """templates/policies/page.html; its fragments read the same.

    Args:
        base: address of the cache's policies.
        seen: what the page shows, as ``mark`` writes it; the live round compares.
        news: what changed in what is in force or staged since the page was made; empty: nothing.
        editor, typed: the open form of a policy and what stands in it.
        tier_editor, typed_tier: the same of a tier.
        mapping_editor, typed_mapping: the same of a mapping from rows to keys.
        test: the answer to "which policy applies to this key?"; asked: the key; test_error: why there is none.
        bypass_row: the policy that the bypass form is open for.
    """

    frame: Frame
    list: PoliciesPage
    listing: Listing
    base: str
    seen: str
    refresh_s: int = REFRESH_S
    news: str = ""
    editor: Editor | None = None
    typed: TypedPolicy | None = None
    tier_editor: TierEditor | None = None
    typed_tier: TypedTier | None = None
    mapping_editor: MappingEditor | None = None
    typed_mapping: TypedMapping | None = None
    test: Test | None = None
    asked: str = ""
    test_error: str = ""
    bypass_row: PolicyRow | None = None
    bypass_typed: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""

    @property
    def has_editor_on_top(self) -> bool:
        """The open form has no row in view to stand under: a new policy, or one that is gone or filtered out."""
        if self.editor is None:
            return False
        in_view = {row.prefix for row in self.listing.rows}
        if not self.listing.next_href:
            in_view.add("")
        return self.editor.original not in in_view

    @property
    def preview(self) -> Preview | None:
        """The drawing in the open form."""
        return self.editor.preview if self.editor else None

    @property
    def is_waiting(self) -> bool:
        """The drawing is of an earlier state: what stands in the form can't be drawn."""
        return self.preview is not None and self.preview.is_waiting

    @property
    def marks(self) -> None:
        """A whole page has its errors at the fields already."""
        return None


@dataclass(frozen=True, slots=True)
class PreviewPart:
    """templates/policies/_preview.html by itself.

    Args:
        is_waiting: what was typed can't be drawn; the page then keeps the last drawing.
        marks: field -> what is wrong with it, for the form beside the drawing.
    """

    preview: Preview | None
    is_waiting: bool
    marks: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class VersionScreen:
    """templates/policies/version.html.

    Args:
        effect: what it did to the prefixes that it changed.
        instances: who runs which version, worst first; only beside the version in force.
    """

    version: VersionPage
    effect: VersionEffect
    instances: tuple[InstanceRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ImportPage:
    """templates/policies/import.html: a document from elsewhere, and what it would change before it is staged.

    Args:
        text: as pasted or uploaded.
        diff: to what is published; None before a document was given.
        replaces: staged edits that would be thrown away.
        revision: the draft's.
        conflict: why it was not staged, when somebody else staged or published meanwhile.
    """

    frame: Frame
    base: str
    text: str = ""
    format: str = "yaml"
    diff: Diff | None = None
    replaces: tuple[ItemChange, ...] = ()
    revision: int = 0
    conflict: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


def mark(page: PoliciesPage) -> str:
    """What the page shows, in short: version and revision of the draft."""
    return f"{page.frame.version}.{page.draft.revision if page.draft else 0}"


def news(page: PoliciesPage, seen: str) -> str:
    """What somebody who looks at an earlier state has to know; empty where nothing changed.

    Args:
        seen: what the page shows, as ``mark`` wrote it.
    """
    if not seen or seen == mark(page):
        return ""
    version, _, revision = seen.partition(".")
    if version != str(page.frame.version):
        return f"This page shows an earlier state; version {page.frame.version} is in force."
    staged = page.draft.items if page.draft else ()
    since = digits_of(revision, 18) or 0
    newer = [item for item in staged if item.revision > since]
    if not newer:
        return "Staged changes were taken back; what is in force is the same."
    names = ", ".join(dict.fromkeys(item.title for item in newer[:_MOST_NAMED]))
    more = f" and {len(newer) - _MOST_NAMED:,} more" if len(newer) > _MOST_NAMED else ""
    people = " and ".join(dict.fromkeys(item.by for item in newer))
    changes = "a change" if len(newer) == 1 else "changes"
    return f"{people} staged {changes} to {names}{more}; what is in force is the same."


def listing(
    page: PoliciesPage, base: str, *, show: str = "all", sort: str = "prefix", first: int = 0
) -> Listing:
    """Choose the rows in view.

    Args:
        base: address of the page.
        show: one of SHOWN; sort: one of SORTED.
        first: how many rows come before.
    """

    def href(**changed: object) -> str:
        kept: dict[str, object] = {"show": show, "sort": sort, "first": 0, **changed}
        standard = {"show": "all", "sort": "prefix", "first": 0}
        query = urlencode({name: value for name, value in kept.items() if value != standard[name]})
        return f"{base}?{query}" if query else base

    filters, current = [], "All"
    for name, (label, belongs) in _SHOWN.items():
        count = sum(map(belongs, page.rows))
        if name != "all":
            label = f"{label} {count:,}"
        if count or name in ("all", show):
            filters.append((label, href(show=name)))
        if name == show:
            current = label
    rows = sorted(filter(_SHOWN[show][1], page.rows), key=_SORTED[sort])  # type: ignore[arg-type]
    first = min(first, max(0, len(rows) - 1)) // PAGE_SIZE * PAGE_SIZE
    here = href(first=first)
    return Listing(
        rows=tuple(rows[first : first + PAGE_SIZE]),
        filters=tuple(filters),
        current=current,
        sort=sort,
        sort_hrefs={name: href(sort=name) for name in SORTED},
        total=len(rows),
        first=first,
        previous_href=href(first=first - PAGE_SIZE) if first else "",
        next_href=href(first=first + PAGE_SIZE) if first + PAGE_SIZE < len(rows) else "",
        query=here.partition("?")[2],
    )


def _ratio(row: PolicyRow) -> float | None:
    return row.use.hit_ratio if row.use else None


def _size(row: PolicyRow) -> float | None:
    return row.scan.size_bytes if row.scan else None


def _drift(row: PolicyRow) -> float | None:
    return row.scan.drift if row.scan else None
