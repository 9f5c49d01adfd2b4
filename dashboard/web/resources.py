"""Where templates and static files are, and the URLs of the latter.

A static URL is ``/static/<version>/<path>``, the version being a hash over the whole static tree: a file
may be cached for a year, and relative URLs inside stylesheets keep working.
"""

import hashlib
from functools import cache
from pathlib import Path
from urllib.parse import quote

from flask import Blueprint, Response, request, send_from_directory
from werkzeug.exceptions import NotFound

from dashboard.web.guard import public

bp = Blueprint("resources", __name__)
_PACKAGE = Path(__file__).resolve().parent.parent
_YEAR_S = 365 * 24 * 3600


def folder(name: str) -> Path:
    """The folder ``templates``, ``static`` or ``docs``: inside the installed package, else beside it in a checkout."""
    packaged = _PACKAGE / name
    return packaged if packaged.is_dir() else _PACKAGE.parent / name


@cache
def version() -> str:
    """Hash over names and contents of all static files; computed once per process."""
    root, digest = folder("static"), hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file():
            digest.update(str(path.relative_to(root)).encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def asset(name: str) -> str:
    """URL of the static file ``name``, such as ``css/app.css``."""
    # Not url_for: a request to a host we do not answer to has no routes, and its error page needs its style.
    return f"{request.script_root}/static/{version()}/{quote(name)}"


@bp.get("/static/<version>/<path:name>", endpoint="static_file")
@public
def _static_file(version: str, name: str) -> Response:
    try:
        response = send_from_directory(folder("static"), name, conditional=True, max_age=_YEAR_S)
    except NotFound:
        # A 404 must never be cached for a year: the file may come with the next build.
        response = Response("No such file.\n", status=404, mimetype="text/plain")
        response.cache_control.no_store = True
        return response
    if response.status_code == 200:
        # Small files, read whole: a stream is not compressed with gzip.
        response.direct_passthrough = False
        response.get_data()
    if version == globals()["version"]():
        response.cache_control.public = True
        response.cache_control.immutable = True
    else:
        # A page of the release before, or after, asks: give the file, but don't pin it to that name.
        response.cache_control.max_age = None
        response.cache_control.no_cache = True
    return response
