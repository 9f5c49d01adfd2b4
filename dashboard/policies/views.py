"""The pages of a cache's policies: look, edit, publish, go back."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request

from dashboard.access import Role
from dashboard.caching.policy import Tier
from dashboard.errors import Conflict, DashboardError, InvalidInput, NotFound, Refused
from dashboard.policies import forms, refusals, screen, service
from dashboard.policies.types import (
    EditConflict,
    Editor,
    InvalidItem,
    ItemKind,
    MappingEditor,
    NoVersion,
    PublishConflict,
    TierEditor,
    VersionPage,
)
from dashboard.web import errors as error_pages
from dashboard.web.context import open_work
from dashboard.web.guard import requires
from dashboard.web.htmx import is_partial, notify, redirect_to
from dashboard.web.numbers import digits_of
from dashboard.web.params import choice_arg, int_arg, text_arg
from dashboard.web.templating import render
from dashboard.work import UnitOfWork

bp = Blueprint("policies", __name__, url_prefix="/caches/<int:cache_id>/policies")

_PAGE, _TABLE, _TIERS = "policies/page.html", "policies/_table.html", "policies/_tiers.html"
_ROWS = "policies/_rows.html"
_FORMATS = ("yaml", "json")
_LARGEST = 2**31


def _base(cache_id: int) -> str:
    return f"/caches/{cache_id}/policies"


@bp.errorhandler(NoVersion)
def no_version(error: NoVersion) -> Response:
    """Lead to the history; every address of a version has the cache in it."""
    cache_id = (request.view_args or {})["cache_id"]
    return error_pages.with_link(error, "All versions", f"{_base(cache_id)}/versions")


# --- looking ----------------------------------------------------------------------------------------------------


@bp.get("")
@requires(Role.VIEWER)
def policies(cache_id: int) -> Response:
    """Tiers, policies, what is staged and who follows."""
    with open_work() as work:
        page = _screen(work, cache_id)
    return render(_PAGE, page, fragment=_TABLE)


@bp.get("/live")
@requires(Role.VIEWER)
def live(cache_id: int) -> Response:
    """What a live round brings: running bypasses, who follows, and whether the page is still true."""
    seen = text_arg("seen", longest=40)
    with open_work() as work:
        page = _screen(work, cache_id, with_use=False)
    page = replace(page, seen=seen or page.seen, news=screen.news(page.list, seen))
    return render(_PAGE, page, fragment="policies/_live.html")


@bp.get("/test")
@requires(Role.VIEWER)
def test(cache_id: int) -> Response:
    """Which policy applies to ``?key=``."""
    key, found, problem = text_arg("key", longest=4096), None, ""
    with open_work() as work:
        try:
            found = service.test_key(work, cache_id, key) if key else None
        except InvalidInput as error:
            problem = error.fields.get("key", error.message)
        page = replace(_screen(work, cache_id), asked=key, test=found, test_error=problem)
    return render(_PAGE, page, fragment="policies/_test.html", status=422 if problem else 200)


@bp.get("/versions")
@requires(Role.VIEWER)
def history(cache_id: int) -> Response:
    """Published versions, newest first."""
    before = int_arg("before", low=1, high=_LARGEST)
    with open_work() as work:
        page = service.history_page(work, cache_id, before=before)
    return render("policies/history.html", page)


@bp.get("/versions/<int:version>")
@requires(Role.VIEWER)
def version(cache_id: int, version: int) -> Response:
    """One version and how it differs."""
    with open_work() as work:
        page = _version_screen(work, service.version_page(work, cache_id, version))
    return render("policies/version.html", page)


@bp.get("/compare")
@requires(Role.VIEWER)
def compare(cache_id: int) -> Response:
    """Any two versions, whichever was named first."""
    one = int_arg("older", low=0, high=_LARGEST)
    other = int_arg("newer", low=0, high=_LARGEST)
    if one is None or other is None:
        raise InvalidInput("Two versions are needed.", what_to_do="Choose them on the page of all versions.")
    with open_work() as work:
        page = service.compare_page(work, cache_id, min(one, other), max(one, other))
    return render("policies/compare.html", page)


@bp.get("/instances")
@requires(Role.VIEWER)
def instances(cache_id: int) -> Response:
    """Which application instance runs which version."""
    with open_work() as work:
        page = service.instances_page(work, cache_id)
    return render("policies/instances.html", page, fragment="policies/_instances.html")


@bp.get("/export")
@requires(Role.VIEWER)
def export(cache_id: int) -> Response:
    """A published document as a file."""
    format = choice_arg("format", _FORMATS, "yaml")
    number = int_arg("version", low=0, high=_LARGEST)
    with open_work() as work:
        file = service.export(work, cache_id, format, version=number)
    headers = {"Content-Disposition": f'attachment; filename="{file.name}"'}
    return Response(file.body, mimetype=file.media_type, headers=headers)


# --- one policy -------------------------------------------------------------------------------------------------


@bp.get("/add")
@requires(Role.OPERATOR)
def add_form(cache_id: int) -> Response:
    """The form of a new policy; ``?prefix=`` fills it in."""
    prefix = text_arg("prefix", longest=2100)
    with open_work() as work:
        editor = service.editor(work, cache_id, None)
        page = _with_editor(_screen(work, cache_id), editor)
    if prefix and page.typed is not None:
        page = replace(page, typed=replace(page.typed, prefix=prefix))
    return render(_PAGE, page, fragment=_TABLE)


@bp.get("/edit")
@requires(Role.OPERATOR)
def edit_form(cache_id: int) -> Response:
    """The form of the policy of ``?prefix=``; without one, of the default."""
    with open_work() as work:
        editor = service.editor(work, cache_id, _original())
        page = _with_editor(_screen(work, cache_id), editor)
    return render(_PAGE, page, fragment=_TABLE)


@bp.post("/add")
@requires(Role.OPERATOR)
def add(cache_id: int) -> Response:
    """Stage a new policy."""
    return _stage(cache_id, None)


@bp.post("/edit")
@requires(Role.OPERATOR)
def edit(cache_id: int) -> Response:
    """Stage a change of a policy."""
    return _stage(cache_id, _original())


@bp.post("/preview")
@requires(Role.OPERATOR)
def preview(cache_id: int) -> Response:
    """When the keys of a burst expire, for what stands in the form now."""
    original = None if request.args.get("is_new") else _original()
    typed = forms.typed_policy(request.form)
    with open_work() as work:
        tiers, keys, drawn = service.tiers(work, cache_id), None, None
        values = _values(tiers, typed, original)
        errors = refusals.check_policy(values, typed, tiers, is_default=original == "")
        if not typed.prefix.strip():
            errors.pop("prefix", None)  # it may not be typed yet
        try:
            keys = forms.burst_keys(typed)
        except InvalidInput as error:
            errors |= error.fields
        is_waiting = not errors.keys() <= {"prefix", "note"}  # what a drawing needs not
        if not is_waiting:
            drawn = service.preview(work, cache_id, original, values, keys=keys)
        if is_partial():
            part = screen.PreviewPart(drawn, is_waiting, errors)
            answer = render("policies/_preview.html", part, fragment="policies/_preview.html")
            if is_waiting:
                # The last drawing stays; only the line below it changes.
                answer.headers["HX-Retarget"] = "#policies-preview-note"
            return answer
        editor = service.typed_editor(
            work, cache_id, original, values, errors=errors, seen=request.form.get("seen", "")
        )
        page = _with_editor(_screen(work, cache_id), replace(editor, preview=drawn or editor.preview), typed)
    return render(_PAGE, page)


@bp.post("/remove")
@requires(Role.OPERATOR)
def remove(cache_id: int) -> Response:
    """Stage the removal of a policy."""
    prefix = _original()
    try:
        with open_work() as work:
            staged = service.stage_removal(work, cache_id, prefix, seen=request.form.get("seen", ""))
    except EditConflict as conflict:
        with open_work() as work:
            editor = replace(service.editor(work, cache_id, prefix), theirs=conflict.theirs)
            page = _with_editor(_screen(work, cache_id), editor)
        return render(_PAGE, page, fragment=_TABLE, status=conflict.status)
    if staged.change is None:
        notify("ok", f"{prefix} is gone: it was staged only.")
    else:
        notify("ok", f"The removal of {prefix} is staged. It stays in force until that is published.")
    return redirect_to(_base(cache_id))


@bp.post("/unstage")
@requires(Role.OPERATOR)
def unstage(cache_id: int) -> Response:
    """Take one staged change back."""
    kind = request.form.get("kind", "")
    if kind not in list(ItemKind):
        raise InvalidInput("This names nothing that can be staged.")
    name, revision = request.form.get("name", ""), _form_int("revision")
    try:
        with open_work() as work:
            service.unstage(work, cache_id, ItemKind(kind), name, revision=revision)
    except PublishConflict as conflict:
        return _draft_again(cache_id, conflict)
    notify("ok", "That change is no longer staged.")
    return redirect_to(_back(cache_id))


def _stage(cache_id: int, original: str | None) -> Response:
    typed = forms.typed_policy(request.form)
    seen = request.form.get("seen", "")
    try:
        with open_work() as work:
            values = _values(service.tiers(work, cache_id), typed, original)
            staged = service.stage_policy(work, cache_id, values, original=original, seen=seen)
    except InvalidInput as error:
        return _policy_again(cache_id, original, typed, seen, error)
    except EditConflict as conflict:
        return _policy_again(cache_id, original, typed, conflict.seen, conflict)
    for warning in staged.warnings:
        notify("warn", warning)
    if typed.prefix != typed.prefix.strip():
        notify("warn", r"Spaces around the prefix were left out. Write \x20 for one that is part of it.")
    if staged.change is None:
        notify("ok", "Nothing is staged: this is what is in force.")
    else:
        notify("ok", f"{staged.change.title} is staged, not yet in force: {staged.change.summary}.")
    return redirect_to(_base(cache_id))


def _policy_again(
    cache_id: int,
    original: str | None,
    typed: forms.TypedPolicy,
    seen: str,
    error: InvalidInput | EditConflict,
) -> Response:
    """The form as it was sent, with what is wrong with it or what somebody else changed."""
    theirs = error.theirs if isinstance(error, EditConflict) else None
    with open_work() as work:
        tiers = service.tiers(work, cache_id)
        values = _values(tiers, typed, original)
        errors: Mapping[str, str] = {}
        if isinstance(error, InvalidItem):
            errors = refusals.of_policy(error.problems, typed, tiers)
        elif isinstance(error, InvalidInput):
            errors = _said(error)
        editor = service.typed_editor(
            work, cache_id, original, values, errors=errors, seen=seen, theirs=theirs
        )
        page = _with_editor(_screen(work, cache_id), editor, typed)
    return render(_PAGE, page, fragment=_TABLE, status=error.status)


def _values(tiers: Iterable[Tier], typed: forms.TypedPolicy, original: str | None) -> dict[str, Any]:
    # What stands in the fields of the TTL counts no longer where the chosen tier stores nothing.
    is_cached = all(tier.is_cached for tier in tiers if tier.name == typed.tier)
    return forms.policy_values(typed, is_default=original == "", is_cached=is_cached)


# --- tiers ------------------------------------------------------------------------------------------------------


@bp.get("/tiers/add")
@requires(Role.OPERATOR)
def add_tier_form(cache_id: int) -> Response:
    """The form of a new tier."""
    return _tier_form(cache_id, None)


@bp.get("/tiers/edit")
@requires(Role.OPERATOR)
def edit_tier_form(cache_id: int) -> Response:
    """The form of the tier of ``?name=``."""
    return _tier_form(cache_id, text_arg("name", longest=200))


@bp.post("/tiers/add")
@requires(Role.OPERATOR)
def add_tier(cache_id: int) -> Response:
    """Stage a new tier."""
    return _stage_tier(cache_id, None)


@bp.post("/tiers/edit")
@requires(Role.OPERATOR)
def edit_tier(cache_id: int) -> Response:
    """Stage a change of a tier."""
    return _stage_tier(cache_id, text_arg("name", longest=200))


@bp.post("/tiers/remove")
@requires(Role.OPERATOR)
def remove_tier(cache_id: int) -> Response:
    """Stage the removal of a tier."""
    name, seen = text_arg("name", longest=200), request.form.get("seen", "")
    try:
        with open_work() as work:
            staged = service.stage_tier_removal(work, cache_id, name, seen=seen)
    except (InvalidInput, EditConflict) as error:
        with open_work() as work:
            editor = service.tier_editor(work, cache_id, name)
            if isinstance(error, EditConflict):
                editor = replace(editor, theirs=error.theirs)
            else:
                editor = replace(editor, errors=_said(error))
            page = _with_tier_editor(_screen(work, cache_id), editor)
        return render(_PAGE, page, fragment=_TIERS, status=error.status)
    if staged.change is None:
        notify("ok", f"The tier {name} is gone: it was staged only.")
    else:
        notify("ok", f"The removal of the tier {name} is staged. It stays until that is published.")
    return redirect_to(_base(cache_id))


def _tier_form(cache_id: int, name: str | None) -> Response:
    with open_work() as work:
        editor = service.tier_editor(work, cache_id, name)
        page = _with_tier_editor(_screen(work, cache_id), editor)
    return render(_PAGE, page, fragment=_TIERS)


def _stage_tier(cache_id: int, original: str | None) -> Response:
    typed = forms.typed_tier(request.form)
    values, seen = forms.tier_values(typed), request.form.get("seen", "")
    errors: Mapping[str, str] = {}
    theirs = None
    try:
        with open_work() as work:
            staged = service.stage_tier(work, cache_id, values, original=original, seen=seen)
    except InvalidInput as error:
        status = error.status
        errors = refusals.of_tier(error.problems, typed) if isinstance(error, InvalidItem) else _said(error)
    except EditConflict as conflict:
        theirs, seen, status = conflict.theirs, conflict.seen, conflict.status
    else:
        for warning in staged.warnings:
            notify("warn", warning)
        notify("ok", "The tier is staged, not yet in force." if staged.change else "Nothing is staged.")
        return redirect_to(_base(cache_id))
    with open_work() as work:
        editor = service.typed_tier_editor(
            work, cache_id, original, values, errors=errors, seen=seen, theirs=theirs
        )
        page = _with_tier_editor(_screen(work, cache_id), editor, typed)
    return render(_PAGE, page, fragment=_TIERS, status=status)


# --- mappings from rows to keys ---------------------------------------------------------------------------------


@bp.get("/rows/add")
@requires(Role.OPERATOR)
def add_mapping_form(cache_id: int) -> Response:
    """The form of a new mapping."""
    return _mapping_form(cache_id, None)


@bp.get("/rows/edit")
@requires(Role.OPERATOR)
def edit_mapping_form(cache_id: int) -> Response:
    """The form of the mapping of ``?name=``."""
    return _mapping_form(cache_id, _mapping_name())


@bp.post("/rows/add")
@requires(Role.OPERATOR)
def add_mapping(cache_id: int) -> Response:
    """Stage a new mapping."""
    return _stage_mapping(cache_id, None)


@bp.post("/rows/edit")
@requires(Role.OPERATOR)
def edit_mapping(cache_id: int) -> Response:
    """Stage a change of a mapping."""
    return _stage_mapping(cache_id, _mapping_name())


@bp.post("/rows/remove")
@requires(Role.OPERATOR)
def remove_mapping(cache_id: int) -> Response:
    """Stage the removal of a mapping."""
    name, seen = _mapping_name(), request.form.get("seen", "")
    try:
        with open_work() as work:
            staged = service.stage_mapping_removal(work, cache_id, name, seen=seen)
    except EditConflict as conflict:
        with open_work() as work:
            editor = replace(service.mapping_editor(work, cache_id, name), theirs=conflict.theirs)
            page = _with_mapping_editor(_screen(work, cache_id), editor)
        return render(_PAGE, page, fragment=_ROWS, status=conflict.status)
    if staged.change is None:
        notify("ok", f"The mapping of {name} is gone: it was staged only.")
    else:
        notify("ok", f"The removal of the mapping of {name} is staged. It stays until that is published.")
    return redirect_to(_base(cache_id))


def _mapping_name() -> str:
    return text_arg("name", longest=500)


def _mapping_form(cache_id: int, name: str | None) -> Response:
    with open_work() as work:
        editor = service.mapping_editor(work, cache_id, name)
        page = _with_mapping_editor(_screen(work, cache_id), editor)
    return render(_PAGE, page, fragment=_ROWS)


def _stage_mapping(cache_id: int, original: str | None) -> Response:
    typed = forms.typed_mapping(request.form)
    values, seen = forms.mapping_values(typed), request.form.get("seen", "")
    errors: Mapping[str, str] = {}
    theirs = None
    try:
        with open_work() as work:
            staged = service.stage_mapping(work, cache_id, values, original=original, seen=seen)
    except InvalidInput as error:
        status, errors = error.status, _said(error)
        if isinstance(error, InvalidItem):
            errors = refusals.of_mapping(error.problems, values["templates"])
    except EditConflict as conflict:
        theirs, seen, status = conflict.theirs, conflict.seen, conflict.status
    else:
        notify("ok", "The mapping is staged, not yet in force." if staged.change else "Nothing is staged.")
        return redirect_to(_base(cache_id))
    with open_work() as work:
        editor = service.typed_mapping_editor(
            work, cache_id, original, values, errors=errors, seen=seen, theirs=theirs
        )
        page = _with_mapping_editor(_screen(work, cache_id), editor, typed)
    return render(_PAGE, page, fragment=_ROWS, status=status)


# --- the draft, publishing --------------------------------------------------------------------------------------


@bp.get("/draft")
@requires(Role.OPERATOR)
def draft(cache_id: int) -> Response:
    """What is staged, as a diff, and the form that publishes it."""
    with open_work() as work:
        page = service.draft_page(work, cache_id)
    return render("policies/draft.html", page)


@bp.post("/draft")
@requires(Role.OPERATOR)
def publish(cache_id: int) -> Response:
    """Publish what is staged."""
    reason, revision = request.form.get("reason", ""), _form_int("revision")
    try:
        with open_work() as work:
            published = service.publish(
                work, cache_id, reason=reason, revision=revision, version=_form_int("version")
            )
    except (InvalidInput, Conflict, Refused) as error:
        meanwhile = error.changes if isinstance(error, PublishConflict) else ()
        with open_work() as work:
            errors = _said(error, "reason")
            page = service.draft_page(work, cache_id, reason=reason, errors=errors, meanwhile=meanwhile)
        return render("policies/draft.html", page, status=error.status)
    for warning in published.warnings:
        notify("warn", warning)
    notify("ok", f"Version {published.version} is published.")
    return redirect_to(_base(cache_id))


@bp.post("/draft/discard")
@requires(Role.OPERATOR)
def discard(cache_id: int) -> Response:
    """Throw all staged changes away."""
    try:
        with open_work() as work:
            service.discard_draft(work, cache_id, revision=_form_int("revision"))
    except PublishConflict as conflict:
        return _draft_again(cache_id, conflict)
    notify("ok", "The staged changes are gone. What is in force stays.")
    return redirect_to(_base(cache_id))


def _draft_again(cache_id: int, conflict: PublishConflict) -> Response:
    """What is staged now, for somebody whose page showed something else."""
    with open_work() as work:
        page = service.draft_page(work, cache_id, errors=_said(conflict), meanwhile=conflict.changes)
    return render("policies/draft.html", page, status=conflict.status)


@bp.post("/versions/<int:version>/revert")
@requires(Role.OPERATOR)
def revert(cache_id: int, version: int) -> Response:
    """Publish an earlier version again."""
    reason, current = request.form.get("reason", ""), _form_int("version")
    try:
        with open_work() as work:
            published = service.revert(work, cache_id, to=version, reason=reason, version=current)
    except (InvalidInput, Conflict, Refused) as error:
        with open_work() as work:
            refused = service.version_page(work, cache_id, version, reason=reason, errors=_said(error))
            page = _version_screen(work, refused)
        return render("policies/version.html", page, status=error.status)
    notify("ok", f"Version {published.version} is published: it is version {version} again.")
    return redirect_to(_base(cache_id))


# --- bypass -----------------------------------------------------------------------------------------------------


@bp.get("/bypass")
@requires(Role.OPERATOR)
def bypass_form(cache_id: int) -> Response:
    """Ask for how long the policy of ``?prefix=`` goes around the cache, and why."""
    with open_work() as work:
        page = _with_bypass(_screen(work, cache_id), _original(), {"minutes": "10", "reason": ""}, {})
    return render(_PAGE, page, fragment=_TABLE)


@bp.post("/bypass")
@requires(Role.OPERATOR)
def bypass(cache_id: int) -> Response:
    """Send a prefix around the cache for some minutes."""
    prefix, typed = _original(), {name: request.form.get(name, "") for name in ("minutes", "reason")}
    try:
        with open_work() as work:
            minutes = forms.minutes(typed["minutes"])
            service.bypass(work, cache_id, prefix, minutes=minutes, reason=typed["reason"])
    except (InvalidInput, Refused) as error:
        with open_work() as work:
            page = _with_bypass(_screen(work, cache_id), prefix, typed, _said(error))
        return render(_PAGE, page, fragment=_TABLE, status=error.status)
    notify(
        "warn",
        f"{prefix or 'Other keys'} goes around the cache for {minutes} minute{'' if minutes == 1 else 's'}.",
    )
    return redirect_to(_base(cache_id))


@bp.post("/bypass/end")
@requires(Role.OPERATOR)
def end_bypass(cache_id: int) -> Response:
    """End a bypass before its time."""
    prefix = _original()
    with open_work() as work:
        service.end_bypass(work, cache_id, prefix)
    notify("ok", f"{prefix or 'Other keys'} is cached again.")
    return redirect_to(_base(cache_id))


# --- import -----------------------------------------------------------------------------------------------------


@bp.get("/import")
@requires(Role.OPERATOR)
def import_form(cache_id: int) -> Response:
    """Ask for a document."""
    with open_work() as work:
        page = _import_page(work, cache_id)
    return render("policies/import.html", page)


@bp.post("/import")
@requires(Role.OPERATOR)
def import_diff(cache_id: int) -> Response:
    """Show what a document would change."""
    data, format = _document()
    with open_work() as work:
        page = _import_page(work, cache_id, text=data.decode("utf-8", "replace"), format=format)
        try:
            page = replace(page, diff=service.diff_import(work, cache_id, data, format))
        except InvalidInput as error:
            page = replace(page, errors=_said(error))
    return render("policies/import.html", page, status=422 if page.errors else 200)


@bp.post("/import/stage")
@requires(Role.OPERATOR)
def import_stage(cache_id: int) -> Response:
    """Stage a document."""
    data, format = _document()
    try:
        with open_work() as work:
            service.stage_import(
                work, cache_id, data, format, revision=_form_int("revision"), version=_form_int("version")
            )
    except (InvalidInput, PublishConflict) as error:
        with open_work() as work:
            page = _import_page(work, cache_id, text=data.decode("utf-8", "replace"), format=format)
            if isinstance(error, PublishConflict):
                found = service.diff_import(work, cache_id, data, format)
                page = replace(page, diff=found, conflict=error.in_full)
            else:
                page = replace(page, errors=_said(error))
        return render("policies/import.html", page, status=error.status)
    notify("ok", "The document is staged, not yet in force.")
    return redirect_to(f"{_base(cache_id)}/draft")


def _document() -> tuple[bytes, str]:
    """The uploaded file, else the pasted text, and how it is written."""
    file = request.files.get("file")
    text = request.form.get("text", "")
    data, name = text.encode(), ""
    if file is not None and file.filename:
        data, name = file.read(), file.filename
    chosen = request.form.get("format", "")
    if name.lower().endswith((".json", ".yaml", ".yml")):
        chosen = "json" if name.lower().endswith(".json") else "yaml"
    return data, chosen if chosen in _FORMATS else "yaml"


def _import_page(
    work: UnitOfWork, cache_id: int, *, text: str = "", format: str = "yaml"
) -> screen.ImportPage:
    draft = service.draft_page(work, cache_id)
    return screen.ImportPage(
        draft.frame,
        _base(cache_id),
        text=text,
        format=format,
        replaces=draft.draft.items,
        revision=draft.draft.revision,
    )


# --- putting a page together ------------------------------------------------------------------------------------


def _screen(work: UnitOfWork, cache_id: int, *, with_use: bool = True) -> screen.PolicyScreen:
    page = service.policies_page(work, cache_id, with_use=with_use)
    base = _base(cache_id)
    listing = screen.listing(
        page,
        base,
        show=choice_arg("show", screen.SHOWN, "all"),
        sort=choice_arg("sort", screen.SORTED, "prefix"),
        first=int_arg("first", 0, low=0, high=100_000) or 0,
    )
    return screen.PolicyScreen(page.frame, page, listing, base, screen.mark(page))


def _version_screen(work: UnitOfWork, page: VersionPage) -> screen.VersionScreen:
    cache_id = page.frame.cache_id
    rows = service.instances_page(work, cache_id).rows if page.row.is_current else ()
    return screen.VersionScreen(
        page, service.effect(work, cache_id, page.row.version, changed=page.diff), rows
    )


def _with_editor(
    page: screen.PolicyScreen, editor: Editor, typed: forms.TypedPolicy | None = None
) -> screen.PolicyScreen:
    return replace(page, editor=editor, typed=typed or forms.shown_policy(editor.values))


def _with_tier_editor(
    page: screen.PolicyScreen, editor: TierEditor, typed: forms.TypedTier | None = None
) -> screen.PolicyScreen:
    return replace(page, tier_editor=editor, typed_tier=typed or forms.shown_tier(editor.values))


def _with_mapping_editor(
    page: screen.PolicyScreen, editor: MappingEditor, typed: forms.TypedMapping | None = None
) -> screen.PolicyScreen:
    return replace(page, mapping_editor=editor, typed_mapping=typed or forms.shown_mapping(editor.values))


def _with_bypass(
    page: screen.PolicyScreen, prefix: str, typed: Mapping[str, str], errors: Mapping[str, str]
) -> screen.PolicyScreen:
    rows = (*page.list.rows, page.list.default)
    row = next((row for row in rows if row.prefix == prefix), None)
    if row is None:
        raise NotFound(f"There is no policy {prefix} (any more).", what_to_do="Go back to the list.")
    return replace(page, bypass_row=row, bypass_typed=typed, errors=errors)


def _said(error: DashboardError, *asked: str) -> Mapping[str, str]:
    """A refusal for a form: a message per field, or one for all of it.

    Args:
        asked: the form's fields, where what is wrong with others is listed on the page anyway.
    """
    if isinstance(error, InvalidInput) and error.fields and (not asked or error.fields.keys() <= set(asked)):
        return error.fields
    return {"": error.in_full}


def _original() -> str:
    return text_arg("prefix", longest=2100)


def _form_int(name: str) -> int:
    """A hidden number of a form; -1, which fits nothing, where it is missing or was tampered with."""
    found = digits_of(request.form.get(name, ""), 9)
    return -1 if found is None else found


def _back(cache_id: int) -> str:
    """Where a form that stands on two pages came from."""
    return f"{_base(cache_id)}/draft" if request.form.get("back") == "draft" else _base(cache_id)
