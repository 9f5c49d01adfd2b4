"""What the Keys page shows, put together: each pane by itself, so that one which fails leaves the others."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from dashboard.access import Role, can, require
from dashboard.caches import service as caches
from dashboard.errors import CacheUnavailable, DashboardError, InvalidInput, NotFound, Refused
from dashboard.keys import screen, service, tree
from dashboard.keys.forms import Place, TypedEdit, TypedKey, shown_edit, shown_ttl
from dashboard.keys.screen import (
    DetailView,
    EditView,
    Frame,
    Gone,
    KeysScreen,
    ListView,
    PrefixView,
    Problem,
    TreeView,
)
from dashboard.keys.types import PAGE_KEYS, Editable, KeyDetail, KeyPage, KeyRow, Search
from dashboard.keyspace import service as keyspace
from dashboard.keyspace.types import Kind, Snapshot
from dashboard.web.addresses import key_to_text
from dashboard.work import UnitOfWork

_ENOUGH_ROWS: Final = PAGE_KEYS // 2
_LONGEST_SEARCH_S: Final = 1.0
"""A page of the list goes on looking for so long while it has few rows."""
_GLOB: Final = frozenset("*?[")
_PANE_ERRORS: Final = (CacheUnavailable, InvalidInput, Refused)
"""What one pane says by itself; a cache that is not there, or a role that does not reach, is the whole page's."""


def keys_page(
    work: UnitOfWork,
    cache_id: int,
    place: Place,
    *,
    problem: str = "",
    typed: TypedKey | None = None,
    edit: EditView | None = None,
) -> KeysScreen:
    """The whole page.

    Args:
        problem: why something that was asked for was not done.
        typed, edit: a form that was refused.

    Raises:
        NotFound: there is no such cache.
    """
    frame = frame_of(work, cache_id)
    snapshot, failed = _snapshot(work, cache_id)
    shown = KeysScreen(
        frame=frame,
        place=place,
        tree=_tree(work, snapshot, failed, place, frame),
        list=_list(work, place, frame),
        purge_href=f"/caches/{cache_id}/invalidate",
        problem=problem,
    )
    if place.key is None:
        return replace(shown, prefix=_prefix(work, snapshot, failed, place, frame))
    return _with_detail(work, shown, typed, edit)


def detail_page(work: UnitOfWork, cache_id: int, place: Place) -> KeysScreen:
    """The third pane alone.

    Raises:
        NotFound: there is no such cache.
    """
    shown = KeysScreen(frame=frame_of(work, cache_id), place=place)
    if place.key is not None:
        return _with_detail(work, shown, None, None)
    snapshot, failed = _snapshot(work, cache_id)
    return replace(shown, prefix=_prefix(work, snapshot, failed, place, shown.frame))


def frame_of(work: UnitOfWork, cache_id: int) -> Frame:
    """What the page knows of its cache and its reader.

    Raises:
        NotFound: there is no such cache.
    """
    require(work.actor, Role.VIEWER)
    cache = caches.get_cache(work, cache_id)
    return Frame(
        cache_id=cache.id,
        cache_name=cache.name,
        base=f"/caches/{cache.id}/keys",
        now=work.now,
        is_read_only=cache.read_only,
        is_operator=can(work.actor, Role.OPERATOR),
    )


def refused_edit(
    work: UnitOfWork,
    cache_id: int,
    place: Place,
    typed: TypedEdit,
    *,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    there: Editable | None = None,
) -> KeysScreen:
    """The page with a value's form as it was typed.

    Args:
        there: what is there now, where that is not what was opened: the next save replaces it.
    """
    frame = frame_of(work, cache_id)
    if there is not None:
        typed = replace(typed, version=there.version)
    type = typed.verb.key_type
    view = screen.edit_view(type, typed, place, frame, errors=errors, problem=problem, there=there)
    return keys_page(work, cache_id, place, edit=replace(view, is_unsaved=bool(problem)))


# --- panes ------------------------------------------------------------------------------------------------------


def _snapshot(work: UnitOfWork, cache_id: int) -> tuple[Snapshot | None, Problem | None]:
    try:
        return keyspace.latest(work, cache_id), None
    except _PANE_ERRORS as error:
        return None, screen.problem_of(error)


def _tree(
    work: UnitOfWork, snapshot: Snapshot | None, failed: Problem | None, place: Place, frame: Frame
) -> TreeView:
    panel = keyspace.panel(work, frame.cache_id, "keys")
    if snapshot is None:
        return TreeView(panel, is_missing=failed is None, problem=failed)
    return tree.tree_view(snapshot, place, frame, panel)


def _list(work: UnitOfWork, place: Place, frame: Frame) -> ListView:
    try:
        wanted, exact = _wanted(place)
        found = _search(work, frame.cache_id, wanted, place)
        extra = _exact(work, frame.cache_id, exact) if exact is not None else ()
    except _PANE_ERRORS as error:
        fields = error.fields if isinstance(error, InvalidInput) else {}
        problem = screen.problem_of(error)
        return screen.empty_list(
            place,
            frame,
            errors=fields,
            problem=problem,
            first_href=f"{frame.base}?{place.query(cursor='', before=0, found=0)}",
        )
    return screen.list_view(found, place, frame, extra=extra)


def _wanted(place: Place) -> tuple[Search, Search | None]:
    """What is searched for; and the one key that may be called just so, which is looked up first."""
    text = place.q
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    wanted = service.read_search(
        text[1:-1] if quoted else text, type=place.type, ttl=place.ttl, under=place.under, is_exact=quoted
    )
    if quoted or not text or place.cursor or _GLOB & set(text):
        return wanted, None
    return wanted, service.read_search(text, type=place.type, ttl=place.ttl, under=place.under, is_exact=True)


def _search(work: UnitOfWork, cache_id: int, wanted: Search, place: Place) -> KeyPage:
    """Pages until there are some rows, or for a second."""
    until = time.monotonic() + _LONGEST_SEARCH_S
    page = service.search(
        work, cache_id, wanted, cursor=place.cursor, before=place.before, found_before=place.found
    )
    rows, looked_at = list(page.rows), page.looked_at
    while page.cursor and page.stopped_early and len(rows) < _ENOUGH_ROWS and time.monotonic() < until:
        page = service.search(
            work,
            cache_id,
            wanted,
            cursor=page.cursor,
            before=place.before + looked_at,
            found_before=place.found + len(rows),
        )
        rows += page.rows
        looked_at += page.looked_at
    return replace(page, rows=tuple(rows), looked_at=looked_at, before=place.before, found_before=place.found)


def _exact(work: UnitOfWork, cache_id: int, wanted: Search) -> tuple[KeyRow, ...]:
    return service.search(work, cache_id, wanted).rows


def _prefix(
    work: UnitOfWork, snapshot: Snapshot | None, failed: Problem | None, place: Place, frame: Frame
) -> PrefixView:
    title = "".join(place.under) or "All keys"
    if snapshot is None:
        return PrefixView(title, "", is_missing=failed is None, problem=failed, is_all=not place.under)
    node = tree.find_node(snapshot.root, place.under)
    if node is None:
        problem = Problem(
            "warn",
            "Not in the last scan",
            f"{tree.taken(snapshot, frame)}: it found no such prefix, or counted its keys under (other).",
            "Scan again, or choose another in the tree.",
        )
        return PrefixView(title, "", problem=problem)
    growth = keyspace.growth(work, frame.cache_id, [node.path]).get(node.path)
    kind = keyspace.usual_kind(work, frame.cache_id)
    line = keyspace.growth_line(work, frame.cache_id, node.path, kind=kind)
    is_sample = snapshot.kind is Kind.SAMPLE and snapshot.factor > 1
    return tree.prefix_view(
        snapshot,
        node,
        place,
        frame,
        growth=growth,
        line=line,
        line_kind=kind,
        whole=keyspace.latest(work, frame.cache_id, Kind.FULL) if is_sample else None,
        is_uneven=is_sample and bool(keyspace.panel(work, frame.cache_id, "keys").uneven),
    )


def _with_detail(
    work: UnitOfWork, shown: KeysScreen, typed: TypedKey | None, edit: EditView | None
) -> KeysScreen:
    place, frame = shown.place, shown.frame
    assert place.key is not None
    close = f"{frame.base}?{place.key_query(None)}"
    again = f"{frame.base}?{place.key_query(place.key)}"
    gone = Gone(
        screen.key_name(place.key),
        close,
        again,
        key=key_to_text(place.key),
        query=place.query(edit="", pane=""),
        opened=typed.opened if typed else "",
        edit=edit,
        typed=typed,
    )
    try:
        detail = service.open_key(
            work,
            frame.cache_id,
            place.key,
            view=place.view if place.item is None else place.view.AUTO,
            start=place.start,
            cursor=place.part,
            may_touch=place.touches,
        )
        if detail is None:
            return replace(shown, gone=gone)
        return replace(shown, detail=_detail(work, detail, shown, typed, edit))
    except _PANE_ERRORS as error:
        return replace(shown, gone=replace(gone, problem=screen.problem_of(error)))


def _detail(
    work: UnitOfWork, detail: KeyDetail, shown: KeysScreen, typed: TypedKey | None, edit: EditView | None
) -> DetailView:
    place, frame = shown.place, shown.frame
    member = None
    if place.item is not None:
        member = service.open_item(
            work, frame.cache_id, detail.key, place.item, view=place.view, may_touch=place.touches
        )
    if edit is None and place.edit and frame.may_edit:
        edit = _edit(work, detail, place, frame)
    fresh = shown_ttl(detail.ttl_s)
    if typed is None:
        typed = fresh
    elif not typed.ttl:
        typed = replace(typed, ttl_unit=fresh.ttl_unit)  # another form was refused
    return screen.detail_view(detail, place, frame, member=member, edit=edit, typed=typed)


def _edit(work: UnitOfWork, detail: KeyDetail, place: Place, frame: Frame) -> EditView | None:
    """The form of what is there; None: nothing of this type can be changed."""
    verb = screen.new_verb(detail.type) if place.edit == "new" else screen.change_verb(detail.type)
    if verb is None or (place.edit == "value" and (detail.type == "string") == (place.item is not None)):
        return None
    if detail.fixed:
        return screen.edit_view(
            detail.type, TypedEdit(verb), place, frame, problem=detail.fixed, is_locked=True
        )
    if place.edit == "new":
        return screen.edit_view(detail.type, TypedEdit(verb), place, frame)
    try:
        there = service.editable(work, frame.cache_id, detail.key, place.item or b"")
    except DashboardError as error:
        if isinstance(error, NotFound):
            raise
        problem = error.in_full
        return screen.edit_view(detail.type, TypedEdit(verb), place, frame, problem=problem, is_locked=True)
    if there is not None and there.problem and there.version and detail.type in screen.REMOVALS:
        typed = replace(shown_edit(verb, there), address=place.item or b"")
        return screen.edit_view(detail.type, typed, place, frame, problem=there.problem, is_only_removed=True)
    if there is None or there.problem:
        problem = there.problem if there is not None else "It is not there any more."
        return screen.edit_view(detail.type, TypedEdit(verb), place, frame, problem=problem, is_locked=True)
    return screen.edit_view(detail.type, shown_edit(verb, there), place, frame)
