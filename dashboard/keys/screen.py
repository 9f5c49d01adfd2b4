"""What the Keys page shows, worked out from what was read. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import urlencode

from dashboard.caching.policy import prefix_to_text
from dashboard.errors import DashboardError
from dashboard.keys.forms import Place, TypedEdit, TypedKey, opened_text
from dashboard.keys.types import (
    TTL_FILTERS,
    Editable,
    Item,
    JsonLine,
    KeyDetail,
    KeyPage,
    KeyRow,
    Opened,
    Verb,
    View,
    Window,
)
from dashboard.keyspace.types import Estimate, ScanPanel
from dashboard.web.addresses import key_to_text
from dashboard.web.formats import age_s, byte_size, compact, day_and_time, duration, number

LONGEST_NAME: Final = 400
"""Bytes of a key that are shown; of what is longer the beginning."""
LONGEST_ADDRESSED: Final = 5_000
"""Bytes of a key that an address may hold, for gunicorn takes lines of 8,190; a longer one is shown but not opened."""
LONGEST_VALUE: Final = 600
"""Characters of a member's value in a list."""
FOLDED_LINES: Final = 40
"""An object or array of more lines begins folded, the outermost excepted."""
DEEPEST: Final = 60
"""Foldings within each other; browsers stop nesting much later."""
TYPES: Final = (
    ("", "Any type"),
    ("string", "String"),
    ("hash", "Hash"),
    ("list", "List"),
    ("set", "Set"),
    ("zset", "Sorted set"),
    ("stream", "Stream"),
)
TTL_LABELS: Final[Mapping[str, str]] = {
    "": "Any TTL",
    "none": "No TTL",
    "lt1m": "Under 1 min",
    "lt1h": "Under 1 h",
    "lt1d": "Under 24 h",
    "gt1d": "Over 24 h",
}
VIEWS: Final = ((View.AUTO, "Pretty"), (View.TEXT, "Raw"), (View.HEX, "Hex"))
_INDEXED: Final = ("string", "list", "zset")
"""Types whose parts are counted; of the others the server says where the next one begins."""
_MEMBERS: Final = {
    "hash": ("field", "fields"),
    "list": ("element", "elements"),
    "set": ("member", "members"),
    "zset": ("member", "members"),
    "stream": ("entry", "entries"),
}
_CHANGES: Final = {
    "string": Verb.SET_VALUE,
    "hash": Verb.SET_FIELD,
    "list": Verb.SET_ELEMENT,
    "zset": Verb.SET_SCORE,
}
REMOVALS: Final = {
    "hash": Verb.REMOVE_FIELD,
    "list": Verb.REMOVE_ELEMENT,
    "set": Verb.REMOVE_MEMBER,
    "zset": Verb.REMOVE_SCORED,
    "stream": Verb.REMOVE_ENTRY,
}
_ADDITIONS: Final = {
    "hash": Verb.SET_FIELD,
    "list": Verb.PUSH_LAST,
    "set": Verb.ADD_MEMBER,
    "zset": Verb.SET_SCORE,
    "stream": Verb.ADD_ENTRY,
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a pane shows nothing.

    Args:
        kind: "warn" for what was asked wrongly, "crit" for a cache that does not answer.
    """

    kind: Literal["warn", "crit"]
    title: str
    message: str
    what_to_do: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What the whole page knows.

    Args:
        base: its address.
        may_edit: the reader may change keys: their role allows it, and the cache is no read-only one.
        is_operator: their role alone.
    """

    cache_id: int
    cache_name: str
    base: str
    now: datetime
    is_read_only: bool
    is_operator: bool

    @property
    def may_edit(self) -> bool:
        """Whether there are forms at all."""
        return self.is_operator and not self.is_read_only


@dataclass(frozen=True, slots=True)
class TreeRow:
    """A prefix in the tree.

    Args:
        id: unique on the page, the same for the same prefix.
        share: of the largest row's memory (or keys, where no memory was measured), 0..1.
        is_open: its children are seen at first.
        children: as far as they are on the page.
        has_more: it has children that are not.
        is_rest: "(other)": what had no place of its own; it can't be chosen.
    """

    id: str
    name: str
    href: str
    keys: str
    size: str
    share: float
    is_current: bool
    is_open: bool
    children: tuple["TreeRow", ...]
    has_more: bool
    is_rest: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class TreeView:
    """The first pane.

    Args:
        panel: when and how exactly it was counted, and the way to count anew.
        words: how many keys there are.
        rows: empty without a scan; ``problem`` or ``is_missing`` says why.
    """

    panel: ScanPanel
    words: str = ""
    rows: tuple[TreeRow, ...] = ()
    all_href: str = ""
    is_missing: bool = False
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class ListRow:
    """A key in the list. ``href`` is empty where its name is too long for an address."""

    id: str
    name: str
    title: str
    href: str
    type: str
    has_ttl: bool
    ttl: str
    size: str
    idle: str
    is_open: bool


@dataclass(frozen=True, slots=True)
class ListView:
    """The second pane.

    Args:
        types, ttls: choices of the filters.
        under: the prefix that is chosen in the tree; "" for none, and ``all_href`` leads out of it.
        found: "340 found in 42,000 of about 142,256 keys".
        next_href, next_label: where it goes on; empty: it is complete.
        stop_href: while it looks on by itself: where it stands; empty: it does not.
        is_filtered: something narrows the list.
        error: what is wrong with what was searched for, by field.
    """

    types: tuple[tuple[str, str], ...] = TYPES
    ttls: tuple[tuple[str, str], ...] = ()
    under: str = ""
    all_href: str = ""
    clear_href: str = ""
    rows: tuple[ListRow, ...] = ()
    found: str = ""
    next_href: str = ""
    next_label: str = ""
    first_href: str = ""
    stop_href: str = ""
    is_filtered: bool = False
    is_whole: bool = False
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A line of a small chart: what, how many in words, and of the whole 0..1."""

    label: str
    words: str
    share: float


@dataclass(frozen=True, slots=True)
class PrefixView:
    """The third pane while no key is open: what the last scan says of the chosen prefix, or of all keys.

    Args:
        facts: (label, value).
        ttls: how long its keys still live.
        types: how many of each.
        encodings: of those keys that were asked.
        biggest: (name, words, address) of its largest keys.
        growth: in words over how long; empty: not known.
        line: its memory (else keys) over the last days; line_words: what it begins and ends with, and when.
        purge_href: the purge form with its pattern; empty for "(other)" and for all keys.
        purge_note: what it takes beside these keys; empty: nothing.
        drift: how many of its keys break their policies, in words; ``is_drifting``: some do.
        apply_href, apply_label: the purge form that mends most of them.
    """

    name: str
    taken: str
    facts: tuple[tuple[str, str], ...] = ()
    ttls: tuple[Share, ...] = ()
    types: tuple[Share, ...] = ()
    encodings: tuple[Share, ...] = ()
    biggest: tuple[tuple[str, str, str], ...] = ()
    growth: str = ""
    line: tuple[float | None, ...] = ()
    line_label: str = ""
    line_words: str = ""
    purge_href: str = ""
    purge_note: str = ""
    drift: str = ""
    is_drifting: bool = False
    apply_href: str = ""
    apply_label: str = ""
    is_all: bool = False
    is_missing: bool = False
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of folded JSON: a line, the beginning of a fold, or its end."""

    kind: Literal["line", "open", "close"]
    indent: str = ""
    tokens: tuple[tuple[str, str], ...] = ()
    folds: int = 0
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class ItemRow:
    """A member in the list of a key's value."""

    id: str
    name: str
    href: str
    value: str
    is_cut: bool
    score: str
    ttl: str
    fields: tuple[tuple[str, str], ...]
    is_open: bool


@dataclass(frozen=True, slots=True)
class ValueView:
    """A string's bytes, or a member's.

    Args:
        title: "JSON, 3,214 bytes".
        views: (label, address, is in force).
        pieces: of JSON; text: of any other; hex: of bytes.
        note: what to say beside it.
    """

    title: str
    views: tuple[tuple[str, str, bool], ...]
    pieces: tuple[Piece, ...]
    text: str | None
    hex: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EditView:
    """The form of a value, a member or a new one.

    Args:
        title: of the form.
        what: the member's name, where there is one.
        address: of the member, as a form holds it.
        back: of the page with this form open.
        saves: (verb, label) of what the form does.
        removal: the verb that takes the member away; None: there is none.
        there: what is there now, where that is not what was opened; None: there is no conflict.
        problem: why it can't be edited, or was refused.
        is_unsaved: what is typed in it stands nowhere else.
    """

    typed: TypedEdit
    title: str
    what: str
    fields: frozenset[str]
    address: str
    saves: tuple[tuple[Verb, str], ...]
    removal: Verb | None = None
    there: Editable | None = None
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    is_locked: bool = False
    is_unsaved: bool = False
    close_href: str = ""
    back: str = ""


@dataclass(frozen=True, slots=True)
class DetailView:
    """The third pane while a key is open.

    Args:
        name: as text; ``is_cut``: only its beginning.
        key: as an address and a form hold it.
        query: of the page with this key, for forms that come back to it.
        opened: what it is, for forms that change all of it.
        ttl_words: "3 h 12 m 08 s".
        share: of its policy's longest TTL that is left, 0..1; None where there is none.
        policy_kind, policy_word: whether its TTL keeps to it.
        members: "field", "fields"; empty for strings and types of modules.
        item_name, item_href: of the member that is open, and back to all of them; item_fields: of a stream's entry;
            item_notes: why there is nothing of it to see.
        touch_href: reads a value that is withheld.
    """

    detail: KeyDetail
    name: str
    is_cut: bool
    key: str
    query: str
    opened: str
    close_href: str
    reload_href: str
    ttl_words: str = ""
    ends_at: str = ""
    share: float | None = None
    policy_kind: str = ""
    policy_word: str = ""
    policy_href: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    value: ValueView | None = None
    members: tuple[str, str] = ("", "")
    items: tuple[ItemRow, ...] = ()
    item_name: str = ""
    item_href: str = ""
    item_fields: tuple[tuple[str, str], ...] = ()
    item_notes: tuple[str, ...] = ()
    groups: tuple[Mapping[str, str], ...] = ()
    part_words: str = ""
    next_href: str = ""
    first_href: str = ""
    touch_href: str = ""
    edit_href: str = ""
    edit_label: str = ""
    add_href: str = ""
    download_href: str = ""
    edit: EditView | None = None
    typed: TypedKey = field(default_factory=TypedKey)


@dataclass(frozen=True, slots=True)
class Gone:
    """A key that is not there (any more), or could not be read.

    Args:
        key, query, opened: as ``DetailView`` has them.
        edit, typed: a form that was sent, with what was typed into it; None: none was.
    """

    name: str
    close_href: str
    reload_href: str
    problem: Problem | None = None
    key: str = ""
    query: str = ""
    opened: str = ""
    edit: EditView | None = None
    typed: TypedKey | None = None


@dataclass(frozen=True, slots=True)
class KeysScreen:
    """The page; of a fragment only its pane.

    Args:
        part: "page", or "detail" for the fragment of the third pane alone.
        problem: why something that was asked for was not done.
    """

    frame: Frame
    place: Place
    tree: TreeView | None = None
    list: ListView | None = None
    detail: DetailView | None = None
    gone: Gone | None = None
    prefix: PrefixView | None = None
    purge_href: str = ""
    problem: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether what was asked for can't be taken as it is."""
        panes = (self.list, self.gone)
        return any(
            pane is not None and pane.problem is not None and pane.problem.kind == "warn" for pane in panes
        )


# --- words ------------------------------------------------------------------------------------------------------


def problem_of(error: DashboardError) -> Problem:
    """An error as a pane shows it."""
    return Problem("crit" if error.status >= 500 else "warn", error.title, error.message, error.what_to_do)


def key_name(key: bytes) -> str:
    """A key as it is shown: what is no text is escaped, and of a long one the beginning is there."""
    if not key:
        return '""'
    if len(key) <= LONGEST_NAME:
        return prefix_to_text(key)
    return prefix_to_text(_whole_characters(key[:LONGEST_NAME])) + "…"


def left(seconds: float) -> str:
    """What is left of a TTL: the last unit in two digits, so that it does not jump: ``3 h 12 m 08 s``."""
    whole = max(0, int(seconds))
    days, hours, minutes, rest = whole // 86_400, whole // 3600 % 24, whole // 60 % 60, whole % 60
    if days:
        return f"{days} d {hours:02d} h {minutes:02d} m"
    if hours:
        return f"{hours} h {minutes:02d} m {rest:02d} s"
    return f"{minutes} m {rest:02d} s" if minutes else f"{rest} s"


def estimate(value: Estimate) -> str:
    """A count with half of its interval: ``96,412``, ``96,400 ± 300``."""
    if not value.error:
        return number(round(value.value))
    return f"{number(round(value.value))} ± {compact(value.error)}"


def size_estimate(value: Estimate | None) -> str:
    """Memory with half of its interval: ``291 MB``, ``291 MB ± 2 MB``."""
    if value is None:
        return "not measured"
    words = byte_size(value.value)
    return f"{words} ± {byte_size(value.error)}" if value.error else words


def value_text(value: bytes, *, is_cut: bool = False) -> str:
    """A member's value in a list: text as it is, what is none escaped.

    Args:
        is_cut: it goes on, so that its last bytes may be the beginning of a character.
    """
    text = (_whole_characters(value) if is_cut else value).decode("utf-8", "surrogateescape")
    if all(letter.isprintable() or letter in "\n\t" for letter in text):
        return text
    return prefix_to_text(value)


def _whole_characters(data: bytes) -> bytes:
    """Without the beginning of a character that was cut in two."""
    for cut in range(1, 4):
        if len(data) >= cut and data[-cut] >= 0xC0:
            lengths = {0xC0: 2, 0xE0: 3, 0xF0: 4}
            needed = next((size for start, size in reversed(lengths.items()) if data[-cut] >= start), 1)
            return data[:-cut] if needed > cut else data
    return data


# --- list -------------------------------------------------------------------------------------------------------


def list_view(page: KeyPage, place: Place, frame: Frame, *, extra: Sequence[KeyRow] = ()) -> ListView:
    """A page of keys.

    Args:
        extra: keys that are shown before those that were found: the one that is called just so.
    """
    named = {row.key for row in extra}
    shown = [*extra, *(row for row in page.rows if row.key not in named)]
    looked, found = page.before + page.looked_at, page.found_before + len(page.rows)
    words = f"{number(found)} found in {number(looked)} of about {number(max(page.keyspace, looked))} keys"
    if not page.cursor:
        found = found if place.cursor else len(shown)
        words = f"{number(found)} found, all keys looked at"
    next_href = ""
    if page.cursor:
        query = place.query(cursor=page.cursor, before=looked, found=found, stops=False)
        next_href = f"{frame.base}?{query}"
    return empty_list(
        place,
        frame,
        rows=tuple(_list_row(row, place, frame) for row in shown),
        found=words,
        next_href=next_href,
        next_label="Look further" if page.stopped_early else "Next keys",
        first_href=f"{frame.base}?{place.query(cursor='', before=0, found=0)}" if place.cursor else "",
        stop_href=f"{frame.base}?{place.query(stops=True)}"
        if next_href and not shown and not place.stops
        else "",
        is_whole=not page.cursor and not place.cursor,
    )


def empty_list(place: Place, frame: Frame, **more: Any) -> ListView:
    """The list's filters without its rows."""
    types = TYPES if place.type in dict(TYPES) else (*TYPES, (place.type, place.type))
    return ListView(
        types=types,
        ttls=tuple((name, TTL_LABELS.get(name, name)) for name in ("", *TTL_FILTERS)),
        under="".join(place.under),
        all_href=f"{frame.base}?{place.list_query(under=())}",
        clear_href=frame.base,
        is_filtered=bool(place.q or place.type or place.ttl or place.under),
        **more,
    )


def _list_row(row: KeyRow, place: Place, frame: Frame) -> ListRow:
    text, name = key_to_text(row.key), key_name(row.key)
    is_short = len(row.key) <= LONGEST_ADDRESSED
    return ListRow(
        id=text if is_short else "",
        name=name,
        title=name if is_short else "Its name is too long to be opened here",
        href=f"{frame.base}?{place.key_query(row.key)}" if is_short else "",
        type=row.type,
        has_ttl=row.ttl_s is not None,
        ttl="" if row.ttl_s is None else duration(max(0, round(row.ttl_s))),
        size=byte_size(row.size_bytes),
        idle=age_s(row.idle_s),
        is_open=row.key == place.key,
    )


# --- detail -----------------------------------------------------------------------------------------------------


def detail_view(
    detail: KeyDetail,
    place: Place,
    frame: Frame,
    *,
    member: Window | None = None,
    edit: EditView | None = None,
    typed: TypedKey | None = None,
) -> DetailView:
    """A key that is open.

    Args:
        member: the one of its members that is open.
        edit: the form that is open.
        typed: what was typed into the forms for TTL and name, where it was refused.
    """
    window, base = detail.window, frame.base
    is_string = detail.type == "string"
    shown = window if place.item is None else member
    has_value = shown is not None and shown.decoded is not None and (is_string or member is not None)
    parts = next_part(detail.type, window)
    may_edit = frame.may_edit and not detail.fixed and not detail.withheld
    can_change = detail.type in _CHANGES or (detail.type in REMOVALS and place.item is not None)
    is_member = place.item is not None
    return DetailView(
        detail=detail,
        name=key_name(detail.key),
        is_cut=len(detail.key) > LONGEST_NAME,
        key=key_to_text(detail.key),
        query=place.query(edit="", pane=""),
        opened=opened_text(
            Opened(
                detail.type,
                detail.expires_at,
                detail.version,
                is_type_only=typed is not None and typed.is_again,
            )
        ),
        close_href=f"{base}?{place.key_query(None)}",
        reload_href=f"{base}?{place.query(edit='')}",
        ttl_words="" if detail.ttl_s is None else left(detail.ttl_s),
        ends_at=_ends_at(detail, frame),
        share=_share_left(detail),
        **_policy(detail, frame),
        facts=_facts(detail),
        value=_value(shown, place, base) if has_value and shown is not None else None,
        members=_MEMBERS.get(detail.type, ("", "")),
        items=tuple(_item_row(each, detail, place, base) for each in window.items) if not is_member else (),
        item_name=key_name(place.item) if place.item is not None else "",
        item_href=f"{base}?{place.query(item=None, view=View.AUTO, edit='')}",
        item_fields=_entry(member),
        item_notes=_member_notes(member, detail) if is_member and not has_value else (),
        groups=window.groups if not is_member else (),
        part_words=_part_words(detail, window) if not is_member else "",
        next_href=f"{base}?{place.query(edit='', **parts)}" if parts and not is_member else "",
        first_href=f"{base}?{place.query(edit='', start=0, part='')}" if place.start or place.part else "",
        touch_href=f"{base}?{place.query(touches=True)}" if detail.withheld else "",
        edit_href=f"{base}?{place.query(edit='value')}"
        if may_edit and can_change and (is_string or is_member)
        else "",
        edit_label="Edit" if detail.type in _CHANGES else "Remove",
        add_href=f"{base}?{place.query(edit='new')}"
        if may_edit and not is_member and detail.type in _ADDITIONS
        else "",
        download_href=_download_href(detail, place, base) if is_string and not detail.withheld else "",
        edit=edit,
        typed=typed or TypedKey(),
    )


def _download_href(detail: KeyDetail, place: Place, base: str) -> str:
    return f"{base}/value?key={key_to_text(detail.key)}{'&touch=1' if place.touches else ''}"


def next_part(type: str, window: Window) -> Mapping[str, Any]:
    """How the place changes for the next part of a value; empty: there is none."""
    if not window.cursor:
        return {}
    if type in _INDEXED:
        return {"start": int(window.cursor), "part": ""} if window.cursor.isdigit() else {}
    return {"start": 0, "part": window.cursor}


def edit_view(
    type: str,
    typed: TypedEdit,
    place: Place,
    frame: Frame,
    *,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    there: Editable | None = None,
    is_locked: bool = False,
    is_only_removed: bool = False,
) -> EditView:
    """The form of a value.

    Args:
        type: of the key.
        errors, problem: why it was refused; ``is_locked``: it can't be edited at all;
            ``is_only_removed``: it can be taken away.
        there: what is there now, where that is not what was opened.
    """
    is_new = place.edit == "new"
    one = _MEMBERS.get(type, ("value", ""))[0]
    shown: set[str] = set()
    if is_new:
        shown |= {
            "hash": {"name", "value"}, "list": {"value"}, "set": {"value"},
            "zset": {"name", "score"}, "stream": {"fields"},
        }.get(type, set())  # fmt: skip
    elif type in _CHANGES and not is_only_removed:
        shown |= {"score"} if type == "zset" else {"value"}
    what = "" if is_new or place.item is None else key_name(place.item)
    return EditView(
        typed=typed,
        title=f"New {one}" if is_new else ("Edit the value" if not what else f"Edit this {one}"),
        what=what,
        fields=frozenset(shown),
        address=key_to_text(typed.address),
        saves=() if is_only_removed else _saves(type, one, is_new),
        removal=None if is_new or not what else REMOVALS.get(type),
        there=there,
        errors=dict(errors or {}),
        problem=problem,
        is_locked=is_locked,
        close_href=f"{frame.base}?{place.query(edit='')}",
        back=place.query(),
    )


def _saves(type: str, one: str, is_new: bool) -> tuple[tuple[Verb, str], ...]:
    if type == "list" and is_new:
        return ((Verb.PUSH_LAST, "Add at the end"), (Verb.PUSH_FIRST, "Add at the beginning"))
    verbs, label = (_ADDITIONS, f"Add this {one}") if is_new else (_CHANGES, f"Save {one}")
    return ((verbs[type], label),) if type in verbs else ()


def new_verb(type: str) -> Verb | None:
    """What adds a member to a key of this type; None: nothing does."""
    return _ADDITIONS.get(type)


def change_verb(type: str) -> Verb | None:
    """What changes a value, or a member, of a key of this type; what can only be taken away, where nothing does."""
    return _CHANGES.get(type) or REMOVALS.get(type)


def folded(lines: Sequence[JsonLine]) -> Iterator[Piece]:
    """JSON as nested foldings: those that are long, and all within them, begin closed."""
    ends: list[int] = []
    for index, line in enumerate(lines):
        while ends and ends[-1] <= index:
            ends.pop()
            yield Piece("close")
        indent = "  " * line.depth
        if line.folds and len(ends) < DEEPEST:
            yield Piece("open", indent, line.tokens, line.folds, not ends or line.folds <= FOLDED_LINES)
            ends.append(index + 1 + line.folds)
        else:
            yield Piece("line", indent, line.tokens)
    for _ in ends:
        yield Piece("close")


def _value(window: Window, place: Place, base: str) -> ValueView:
    decoded = window.decoded
    assert decoded is not None
    # What is nothing but bytes needs no word for it.
    kind = "".join(f"{layer}, " for layer in decoded.layers if layer != "bytes")
    kind = kind[:1].upper() + kind[1:]
    notes = [note for note in (decoded.note, *window.notes) if note]
    if decoded.is_truncated and not window.cursor and not decoded.note:
        notes.insert(0, "This is the beginning.")
    return ValueView(
        title=f"{kind}{number(window.length)} byte{'' if window.length == 1 else 's'}",
        views=tuple(
            (label, f"{base}?{place.query(view=view, edit='')}", place.view is view) for view, label in VIEWS
        ),
        pieces=tuple(folded(decoded.lines)),
        text=decoded.text if not decoded.lines else None,
        hex=decoded.hex,
        notes=tuple(notes),
    )


def _item_row(item: Item, detail: KeyDetail, place: Place, base: str) -> ItemRow:
    text = value_text(item.value, is_cut=item.full_bytes > len(item.value))
    return ItemRow(
        id=key_to_text(item.address),
        name=key_name(item.address),
        href=f"{base}?{place.query(item=item.address, view=View.AUTO, edit='')}",
        value="" if detail.type in ("set", "zset") else text[:LONGEST_VALUE],
        is_cut=len(text) > LONGEST_VALUE or item.full_bytes > len(item.value),
        score=item.score,
        ttl="" if item.ttl_s is None else duration(item.ttl_s),
        fields=tuple((key_name(name), value_text(value)[:LONGEST_VALUE]) for name, value in item.fields),
        is_open=item.address == place.item,
    )


def _entry(member: Window | None) -> tuple[tuple[str, str], ...]:
    items = member.items if member is not None else ()
    return tuple((key_name(name), value_text(value)) for item in items for name, value in item.fields)


def _member_notes(member: Window | None, detail: KeyDetail) -> tuple[str, ...]:
    if member is None:
        return (f"There is no such {_MEMBERS.get(detail.type, ('member', ''))[0]} any more.",)
    return () if detail.withheld else member.notes


def _part_words(detail: KeyDetail, window: Window) -> str:
    if detail.type == "string":
        if window.start == 0 and not window.cursor:
            return ""
        last = window.start + len(window.raw)
        return f"Bytes {number(window.start + 1)} to {number(last)} of {number(window.length)}"
    many = _MEMBERS.get(detail.type, ("", "members"))[1]
    count = len(window.items)
    if not window.cursor and window.start == 0 and count >= window.length:
        return ""
    if detail.type in _INDEXED and count:
        last = window.start + count
        return f"{many.capitalize()} {number(window.start + 1)} to {number(last)} of {number(window.length)}"
    return f"{number(count)} of {number(window.length)} {many}"


def _facts(detail: KeyDetail) -> tuple[tuple[str, str], ...]:
    facts = [
        ("Type", detail.type),
        ("Encoding", detail.encoding or "not said"),
        ("Size", byte_size(detail.size_bytes) if detail.size_bytes is not None else "not said"),
    ]
    if detail.frequency is not None:
        facts.append(("Frequency", number(detail.frequency)))
    else:
        facts.append(("Idle", duration(detail.idle_s) if detail.idle_s is not None else "not said"))
    if detail.references is not None:
        facts.append(("References", number(detail.references)))
    if detail.hint:
        facts.append(("Looks like", detail.hint))
    return tuple(facts)


def _policy(detail: KeyDetail, frame: Frame) -> dict[str, Any]:
    if detail.conforms is None:
        kind, word = "", ""
    elif detail.conforms:
        kind, word = "ok", "Follows policy"
    else:
        kind, word = "warn", "No TTL" if detail.ttl_s is None else "Longer than its policy"
    policies = f"/caches/{frame.cache_id}/policies"
    test = f"{policies}/test?{urlencode({'key': prefix_to_text(detail.key)})}"
    edit = f"{policies}/edit?{urlencode({'prefix': detail.policy})}"
    return {
        "policy_kind": kind,
        "policy_word": word,
        "policy_href": edit if frame.is_operator else test if len(detail.key) < LONGEST_NAME else policies,
    }


def _share_left(detail: KeyDetail) -> float | None:
    if detail.ttl_s is None or not detail.longest_s:
        return None
    return min(1.0, detail.ttl_s / detail.longest_s)


def _ends_at(detail: KeyDetail, frame: Frame) -> str:
    if detail.expires_at is None:
        return ""
    try:
        return stamp_utc(detail.expires_at, frame.now)
    except (OverflowError, ValueError, OSError):
        return "in the far future"


def stamp_utc(epoch_s: float, now: datetime) -> str:
    """A moment of a key's end: ``17:38:48 UTC``, ``Nov 24, 17:38 UTC``."""
    moment = datetime.fromtimestamp(epoch_s, UTC)
    if moment.date() == now.astimezone(UTC).date():
        return f"{moment:%H:%M:%S} UTC"
    if moment.year == now.year:
        return f"{day_and_time(moment)} UTC"
    return f"{moment:%Y-%m-%d %H:%M} UTC"
