"""The page of the audit log and its export."""

from collections.abc import Iterator

from flask import Blueprint, Response, request, stream_with_context

from dashboard.access import Role
from dashboard.audit import forms, service
from dashboard.errors import InvalidInput
from dashboard.web.context import open_work
from dashboard.web.guard import requires
from dashboard.web.params import int_arg
from dashboard.web.templating import render

bp = Blueprint("audit", __name__)
_MAX_ID = 2**63 - 1


@bp.get("/audit")
@requires(Role.VIEWER)
def page() -> Response:
    """Who changed what, when and why."""
    before_id = int_arg("before", low=1, high=_MAX_ID)
    open_id = int_arg("open", low=1, high=_MAX_ID)
    with open_work() as work:
        shown = service.audit_page(work, request.args, before_id=before_id, open_id=open_id)
    return render(
        "audit/page.html", shown, fragment="audit/_entries.html", status=422 if shown.errors else 200
    )


@bp.get("/audit.csv")
@requires(Role.VIEWER)
def export() -> Response:
    """All entries that match the filter, streamed."""
    with open_work() as work:
        _, wanted, errors = forms.parse_filter(request.args, work.now)
        if errors:
            raise InvalidInput(
                "The filter can't be taken.", what_to_do="Correct it on the page.", fields=errors
            )
        # The first part is read before the answer starts, so that a failure is still an error page.
        first, before_id = service.export_batch(work, wanted, before_id=None)
        name = f"cachewarden-audit-{work.now:%Y-%m-%d}.csv"

    def rest(text: str, before_id: int | None) -> Iterator[str]:
        yield text
        while before_id is not None:
            # A transaction for each part: a slow reader must not hold one open.
            with open_work() as part:
                text, before_id = service.export_batch(part, wanted, before_id=before_id)
            yield text

    response = Response(stream_with_context(rest(first, before_id)), mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
