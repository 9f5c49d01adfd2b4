"""What somebody typed into a form whose session had ended: it goes through the sign-in and can be sent again.

The fields travel as hidden ones of the sign-in form, in the same browser; nothing is stored and nothing is done until
they are sent once more by a press of a button. Even that only shows the form again: a view that asks for this names
the one that does (``guard.requires(…, keeps_form="area.view")``), for whoever signs in may be somebody else. Files are
never kept.
"""

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from flask import current_app, request, url_for
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException

from dashboard.web import guard

_PATH: Final = "kept-path"
_FIELD: Final = "kept-"
_CUT: Final = "kept-is-cut"
_MOST_CHARS: Final = 300_000
"""Of all fields together: with them the sign-in must stay within the limit of a form."""
_LONGEST_PATH: Final = 2000


@dataclass(frozen=True, slots=True)
class Kept:
    """A form that waits for a sign-in.

    Args:
        path: what it is sent to.
        fields: name and value of each.
        is_cut: something was too long, or a file, and has to be given again.
    """

    path: str
    fields: tuple[tuple[str, str], ...]
    is_cut: bool = False

    @property
    def hidden(self) -> tuple[tuple[str, str], ...]:
        """The same as fields of the sign-in form."""
        more = ((_CUT, "1"),) if self.is_cut else ()
        return ((_PATH, self.path), *more, *((_FIELD + "." + name, value) for name, value in self.fields))


def sent() -> Kept | None:
    """The form of the request at hand; None where there is none to keep."""
    if request.method != "POST" or request.endpoint is None:
        return None
    shown_by = guard.keeps_form(request.endpoint)
    if not shown_by:
        return None
    if (request.content_length or 0) > current_app.config["MAX_CONTENT_LENGTH"]:
        return None  # it is not even read
    fields, is_cut = _cut(request.form)
    has_file = any(file.filename for file in request.files.values())
    return (
        Kept(url_for(shown_by, **(request.view_args or {})), fields, is_cut or has_file) if fields else None
    )


def brought(form: MultiDict[str, str]) -> Kept | None:
    """The form that came with a sign-in; None where none did, or one for nowhere."""
    path = form.get(_PATH, "")
    if not path or not _is_form(path):
        return None
    start = _FIELD + "."
    fields = [
        (name.removeprefix(start), value) for name, value in form.items(multi=True) if name.startswith(start)
    ]
    return Kept(path, tuple(fields), _CUT in form)


def came_from() -> str:
    """The page of ours that the request was made on; empty where that is not known."""
    try:
        parts = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
    except ValueError:
        return ""  # no address at all
    if (parts.scheme, parts.netloc) != (request.scheme, request.host):
        return ""
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _cut(form: MultiDict[str, str]) -> tuple[tuple[tuple[str, str], ...], bool]:
    kept, room, is_cut = [], _MOST_CHARS, False
    for name, value in sorted(form.items(multi=True), key=lambda item: len(item[1])):
        room -= len(name) + len(value)
        if room < 0:
            is_cut = True
        else:
            kept.append((name, value))
    return tuple(kept), is_cut


def _is_form(path: str) -> bool:
    """Whether a kept form is shown again there; nothing else may be sent by that press."""
    if len(path) > _LONGEST_PATH or not path.startswith("/") or path.startswith("//") or "\\" in path:
        return False
    router = current_app.url_map.bind(request.host)
    try:
        endpoint, _ = router.match(path.partition("?")[0], method="POST")
    except HTTPException:
        return False
    return guard.shows_kept_form(endpoint)
