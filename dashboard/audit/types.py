"""What the audit log hands to others."""

from dataclasses import dataclass
from datetime import datetime

from dashboard.audit.diff import DiffLine


@dataclass(frozen=True, slots=True)
class NewEntry:
    """An entry before the database numbers it; every value is scrubbed and bounded."""

    at: datetime
    actor_id: int | None
    actor_name: str
    role: str | None  # None: nobody was signed in
    source: str
    address: str | None
    request_id: str | None
    action: str
    subject: str
    cache_name: str | None
    before: dict[str, object] | None
    after: dict[str, object] | None
    reason: str
    result: str


@dataclass(frozen=True, slots=True)
class Entry(NewEntry):
    """One kept entry."""

    id: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are asked for; the defaults ask for all.

    Args:
        who: an actor's name.
        actions: patterns of action names, ``*`` for any text; an entry matches one of them.
        start: the first moment, included.
        end: the first moment that is not included any more.
        contains: text in the subject, cache, reason, address or values, in upper or lower case.
        subject: exactly this one.
    """

    who: str = ""
    actions: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    contains: str = ""
    subject: str = ""


@dataclass(frozen=True, slots=True)
class TrailEntry:
    """One line of what happened to one subject.

    Args:
        title: the action in words; what: its values and reason in one line.
        href: of the entry in the log.
    """

    id: int
    at: datetime
    actor_name: str
    title: str
    what: str
    href: str


@dataclass(frozen=True, slots=True)
class EntryRow:
    """One line of the page."""

    id: int
    at: datetime
    actor_name: str
    action: str
    subject: str
    what: str
    result_kind: str  # ok, warn or crit
    result_word: str
    toggle_url: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class EntryDetail:
    """The open entry."""

    id: int
    at: datetime
    reason: str
    actor_name: str
    role_label: str
    source_label: str
    address: str
    request_id: str
    cache_name: str
    changed: int  # lines that differ
    lines: tuple[DiffLine, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """One choice of the time range."""

    label: str
    url: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class FilterForm:
    """What the filter's fields hold, exactly as typed."""

    who: str = ""
    action: str = ""
    start: str = ""
    end: str = ""
    contains: str = ""
    span: str = ""

    def is_empty(self) -> bool:
        """Whether nothing is filtered."""
        return self == FilterForm()


@dataclass(frozen=True, slots=True)
class AuditPage:
    """What templates/audit/page.html and _entries.html show.

    ``count`` is exact up to ``COUNT_LIMIT``; beyond, ``is_count_cut`` says "more than".
    """

    now: datetime
    form: FilterForm
    errors: dict[str, str]
    names: tuple[str, ...]  # everybody in the log, for the Who field
    actions: tuple[str, ...]  # every known action, for suggestions
    spans: tuple[Span, ...]
    count: int
    is_count_cut: bool
    rows: tuple[EntryRow, ...]
    opened: EntryDetail | None
    export_url: str
    newest_url: str  # empty on the first page
    next_url: str  # empty on the last page
    page_size: int
