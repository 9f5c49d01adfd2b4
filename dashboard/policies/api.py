"""Policies over HTTP, for programs: the published document, and another one in its place.

The document is the one of exports and files. Its version is its ETag; whoever replaces it says which version was
looked at.
"""

import re
from typing import Any

from flask import Blueprint, Response, jsonify, request
from werkzeug.exceptions import PreconditionRequired, UnsupportedMediaType

from dashboard.access import Role
from dashboard.errors import InvalidInput
from dashboard.policies import service
from dashboard.policies.types import MAX_IMPORT_BYTES, InvalidDocument, ItemChange, PublishConflict, Published
from dashboard.web.context import open_work
from dashboard.web.errors import json_error
from dashboard.web.guard import requires
from dashboard.web.params import choice_arg, text_arg

bp = Blueprint("policies_api", __name__, url_prefix="/api/caches/<int:cache_id>/policies")

# A proxy or our own compression may add to the tag: W/"7", "7:gzip".
_TAG = re.compile(r'(?:W/)?"?(\d{1,18})(?::\w+)?"?')


@bp.get("")
@requires(Role.VIEWER)
def show(cache_id: int) -> Response:
    """The published document; version 0 where nothing was published."""
    with open_work() as work:
        file = service.published(work, cache_id)
    response = _tagged(Response(file.body, mimetype=file.media_type), file.version)
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


@bp.put("")
@requires(Role.VIEWER)
def replace(cache_id: int) -> Response:
    """Publish the document that was sent; with ``?check=1`` only say what that would change.

    Viewers may ask that; that only operators publish is held by the service.
    """
    is_check = choice_arg("check", ("0", "1"), "0") == "1"
    version = _if_match(is_needed=not is_check)
    data = _document()
    try:
        with open_work() as work:
            if is_check:
                done = service.check(work, cache_id, data, "json", version=version)
            else:
                reason = text_arg("reason", longest=4000)
                done = service.apply(work, cache_id, data, "json", reason=reason, version=version)
    except InvalidDocument as refused:
        fields: dict[str, str] = {}
        for problem in refused.problems:
            fields.setdefault(problem.path or "document", problem.message)
        raise InvalidInput("The document can't be taken.", fields=fields) from None
    except PublishConflict as conflict:
        return json_error(
            412,
            conflict.title,
            conflict.message,
            conflict.what_to_do,
            changes=[_change(item) for item in conflict.changes],
        )
    return _tagged(jsonify(_published(done)), done.version)


def _tagged(response: Response, version: int) -> Response:
    response.set_etag(str(version))
    return response


def _if_match(*, is_needed: bool) -> int | None:
    """The version that was looked at."""
    given = request.headers.get("If-Match", "").strip()
    if not given and not is_needed:
        return None
    found = _TAG.fullmatch(given)
    if found is None:
        raise PreconditionRequired('Say which version you looked at, as its ETag says it: If-Match: "7".')
    return int(found[1])


def _document() -> bytes:
    if request.mimetype != "application/json":
        raise UnsupportedMediaType("Send the document as JSON: Content-Type: application/json.")
    request.max_content_length = MAX_IMPORT_BYTES
    return request.get_data()


def _published(done: Published) -> dict[str, Any]:
    return {
        "version": done.version,
        "is_new": done.is_new,
        "summary": done.diff.summary,
        "changes": [_change(item) for item in done.diff.items],
        "warnings": list(done.warnings),
    }


def _change(item: ItemChange) -> dict[str, str]:
    return {"kind": item.kind, "name": item.name, "change": item.change, "summary": item.summary}
