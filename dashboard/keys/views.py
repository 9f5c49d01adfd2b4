"""The Keys page: find any key, open it, change it."""

from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from urllib.parse import parse_qs, quote

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.errors import CacheUnavailable, InvalidInput, NotFound, Refused
from dashboard.keys import forms, pages, screen, service
from dashboard.keys.forms import Place
from dashboard.keys.types import Edit, EditResult, Verb
from dashboard.web.addresses import key_from_text
from dashboard.web.context import open_work
from dashboard.web.errors import of_form
from dashboard.web.guard import requires
from dashboard.web.htmx import is_partial, notify, redirect_to
from dashboard.web.templating import render
from dashboard.work import UnitOfWork

bp = Blueprint("keys", __name__, url_prefix="/caches/<int:cache_id>/keys")

_PAGE, _PANES, _DETAIL = "keys/page.html", "keys/_panes.html", "keys/_detail.html"
_MOST_EDITED = 6 * 1024 * 1024
"""A value of a megabyte whose every byte is written as an escape, and what is around it."""
_MOST_FIELDS = 200
"""Of an address of this page."""
_DETAIL_ID = "keys-detail"
_KEPT_ERRORS = (InvalidInput, Refused, CacheUnavailable)
"""After which the form stands there as it was typed."""


# --- looking ----------------------------------------------------------------------------------------------------


@bp.get("")
@requires(Role.VIEWER)
def page(cache_id: int) -> Response:
    """The three panes; as a fragment all of them, or the one with the key."""
    place = forms.read_place(request.args.to_dict(flat=False))
    is_detail = is_partial() and request.headers.get("HX-Target", "").endswith(f"#{_DETAIL_ID}")
    with open_work() as work:
        make = pages.detail_page if is_detail else pages.keys_page
        shown = make(work, cache_id, place)
    response = render(
        _PAGE, shown, fragment=_DETAIL if is_detail else _PANES, status=422 if shown.is_refused else 200
    )
    response.vary.add("HX-Target")
    if is_partial() and not place.cursor:
        # Without the empty fields that the form's address has.
        response.headers["HX-Push-Url"] = f"/caches/{cache_id}/keys?{place.query()}".rstrip("?")
    return response


@bp.get("/value")
@requires(Role.VIEWER)
def download(cache_id: int) -> Response:
    """The raw bytes of a string."""
    key = key_from_text(request.args.get("key", ""))
    with open_work() as work:
        found = service.download(work, cache_id, key, may_touch=request.args.get("touch") == "1")
        if found is None:
            raise NotFound("There is no string of this name any more.", what_to_do="Open the key again.")
        size, chunks = found
        first = next(chunks, b"")
    name = quote(screen.key_name(key).replace("/", "_")[:100], safe="")
    headers = {
        "Content-Disposition": f"attachment; filename=\"value.bin\"; filename*=UTF-8''{name}.bin",
        # So that a file that ends early is an error to whoever receives it.
        "Content-Length": str(size),
    }
    return Response(chain((first,), chunks), mimetype="application/octet-stream", headers=headers)


# --- changing ---------------------------------------------------------------------------------------------------


@bp.post("/edit")
@requires(Role.OPERATOR, keeps_form="keys.edit_again", most_bytes=_MOST_EDITED)
def edit(cache_id: int) -> Response:
    """Change a value or a member, add one, or take one away."""
    place, key = _place(), forms.key_of(request.form)
    typed = forms.typed_edit(request.form)
    try:
        with open_work() as work:
            result = service.edit(work, cache_id, key, _wanted(typed))
    except _KEPT_ERRORS as error:
        errors, problem = of_form(error)
        with open_work() as work:
            shown = pages.refused_edit(work, cache_id, place, typed, errors=errors, problem=problem)
        return render(_PAGE, shown, status=error.status)
    if not result.is_done:
        with open_work() as work:
            shown = pages.refused_edit(
                work, cache_id, place, typed, problem=_why(result), there=result.conflict
            )
        return render(_PAGE, shown, status=409)
    notify("ok", result.note or f"{screen.key_name(key)} is changed. Its TTL is as it was.")
    is_away = typed.verb.is_removal
    return _back(cache_id, replace(place, edit="", item=None if is_away else place.item))


@bp.post("/edit/again")
@requires(Role.OPERATOR, most_bytes=_MOST_EDITED)
def edit_again(cache_id: int) -> Response:
    """A value's form as it was typed before a sign-in; nothing is changed."""
    typed = forms.typed_edit(request.form)
    with open_work() as work:
        shown = pages.refused_edit(work, cache_id, _place(), typed)
    return render(_PAGE, shown)


@bp.get("/edit")
@bp.get("/edit/again")
@bp.get("/ttl")
@bp.get("/persist")
@bp.get("/rename")
@bp.get("/delete")
@requires(Role.VIEWER)
def form_address(cache_id: int) -> Response:
    """The address that a refused form leaves in the browser: opened again, it leads back to the key."""
    return _back(cache_id, forms.read_place(request.args.to_dict(flat=False)))


@bp.post("/ttl")
@requires(Role.OPERATOR)
def set_ttl(cache_id: int) -> Response:
    """Have a key expire after a while."""
    typed = forms.typed_key(request.form)

    def change(work: UnitOfWork, key: bytes) -> EditResult:
        return service.set_ttl(work, cache_id, key, forms.ttl_of(typed), forms.opened_of(request.form))

    return _change(cache_id, change, "Its new TTL is set.", typed)


@bp.post("/persist")
@requires(Role.OPERATOR)
def persist(cache_id: int) -> Response:
    """Have a key never expire."""
    return _change(
        cache_id,
        lambda work, key: service.persist(work, cache_id, key, forms.opened_of(request.form)),
        "It has no TTL any more.",
    )


@bp.post("/rename")
@requires(Role.OPERATOR)
def rename(cache_id: int) -> Response:
    """Give a key another name."""
    typed = forms.typed_key(request.form)

    def change(work: UnitOfWork, key: bytes) -> EditResult:
        return service.rename(work, cache_id, key, forms.name_of(typed), forms.opened_of(request.form))

    def after(place: Place) -> Place:
        return replace(place, key=forms.name_of(typed))

    return _change(cache_id, change, "It is renamed. Its TTL is as it was.", typed, after)


@bp.post("/delete")
@requires(Role.OPERATOR)
def delete(cache_id: int) -> Response:
    """Remove a key."""
    name = screen.key_name(forms.key_of(request.form))
    return _change(
        cache_id,
        lambda work, key: service.delete(work, cache_id, key, forms.opened_of(request.form)),
        f"{name} is deleted.",
        after=lambda place: replace(place, key=None, item=None),
    )


# --- parts ------------------------------------------------------------------------------------------------------


def _change(
    cache_id: int,
    change: Callable[[UnitOfWork, bytes], EditResult],
    words: str,
    typed: forms.TypedKey | None = None,
    after: Callable[[Place], Place] = lambda place: place,
) -> Response:
    """One change of a whole key, and back to the page."""
    place, key = _place(), forms.key_of(request.form)
    try:
        with open_work() as work:
            result = change(work, key)
    except _KEPT_ERRORS as error:
        errors, problem = of_form(error)
        status, is_again = error.status, False
    else:
        if result.is_done:
            notify("ok", f"{words} {result.note}".strip())
            return _back(cache_id, after(place))
        errors, problem, status, is_again = {}, _why(result), 409, result.is_other
    again = replace(typed or forms.TypedKey(), errors=errors, is_again=is_again)
    with open_work() as work:
        shown = pages.keys_page(work, cache_id, replace(place, key=key), problem=problem, typed=again)
    return render(_PAGE, shown, status=status)


def _wanted(typed: forms.TypedEdit) -> Edit:
    """The change that was typed.

    Raises:
        InvalidInput: a message per field.
    """

    def read(text: str) -> bytes:
        return service.from_typed(text, is_escaped=typed.is_escaped)

    address, value = typed.address, b""
    if typed.verb in (Verb.ADD_MEMBER,):
        address = read(typed.value)
    elif typed.name:
        address = read(typed.name)
    if typed.verb in (Verb.SET_VALUE, Verb.SET_FIELD, Verb.SET_ELEMENT, Verb.PUSH_FIRST, Verb.PUSH_LAST):
        value = read(typed.value)
    return Edit(
        verb=typed.verb,
        address=address,
        value=value,
        score=typed.score.strip(),
        fields=tuple((read(name), read(text)) for name, text in typed.fields),
        version=typed.version,
    )


def _place() -> Place:
    """Where the form stood."""
    back = request.form.get("back", "")
    if back.count("&") > _MOST_FIELDS:
        raise InvalidInput("The form says not where it stood.", what_to_do="Open the key again.")
    return forms.read_place(parse_qs(back, keep_blank_values=True))


def _back(cache_id: int, place: Place) -> Response:
    return redirect_to(f"/caches/{cache_id}/keys?{place.query()}")


def _why(result: EditResult) -> str:
    return f"{result.problem} {result.advice}".strip()
