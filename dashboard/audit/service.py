"""Use cases of the audit log."""

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from urllib.parse import urlencode

from dashboard.access import Role, require
from dashboard.audit import csv_text, diff, forms, store
from dashboard.audit.actions import ACTIONS
from dashboard.audit.scrub import clean_text, scrub
from dashboard.audit.types import (
    AuditPage,
    Entry,
    EntryDetail,
    EntryRow,
    Filter,
    FilterForm,
    NewEntry,
    Span,
    TrailEntry,
)
from dashboard.errors import NotFound
from dashboard.work import UnitOfWork

PAGE_SIZE = 50
COUNT_LIMIT = 100_000
EXPORT_BATCH = 1000
MOST_OF_A_TRAIL = 200
RESULTS = {"done": ("ok", "Done"), "refused": ("crit", "Refused"), "failed": ("warn", "Failed")}
_SOURCES = {"web": "Dashboard", "cli": "Command line", "worker": "Worker"}
_TOKEN = "api:"
"""Before the name of the token that was used."""
_COLUMNS = (
    "entry", "at", "who", "role", "source", "address", "request", "action", "on", "cache", "before", "after",
    "reason", "result",
)  # fmt: skip


def record(
    work: UnitOfWork,
    action: str,
    subject: str,
    *,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
    reason: str = "",
    result: str = "done",
    cache_name: str | None = None,
) -> None:
    """Write an entry in the transaction of ``work``: it stands if and only if the change does.

    Args:
        action: one of ``actions.ACTIONS``.
        subject: what was acted on, in the words of a reader ("news-desk", "product: v12").
        before: the changed fields as they were; None when there was nothing.
        after: the same fields as they are now; None when there is nothing any more.
        reason: why, in the actor's words.
        result: "done", "refused" or "failed".
        cache_name: the cache it concerns, if one.

    Values are scrubbed of secrets by field name and cut to a bounded size.

    Raises:
        ValueError: an action or a result that is not in its list.
    """
    if action not in ACTIONS:
        raise ValueError(f"unknown action: {action}")
    if result not in RESULTS:
        raise ValueError(f"unknown result: {result}")
    actor = work.actor
    nobody = actor.source == "web" and actor.user_id is None
    store.append(
        work.session,
        NewEntry(
            at=work.now,
            actor_id=actor.user_id,
            actor_name=clean_text(actor.name, 100),
            role=None if nobody else actor.role.value,
            source=actor.source,
            address=actor.address,
            request_id=actor.request_id,
            action=action,
            subject=clean_text(subject, 200),
            cache_name=None if cache_name is None else clean_text(cache_name, 200),
            before=_values(before),
            after=_values(after),
            reason=clean_text(reason),
            result=result,
        ),
    )


def record_changes(
    work: UnitOfWork,
    action: str,
    subject: str,
    before: Mapping[str, object],
    after: Mapping[str, object],
    *,
    cache_name: str | None = None,
) -> None:
    """Write an entry about the fields that differ; none where all are as they were.

    Args:
        before, after: all fields, as they were and as they are now.
        action, subject, cache_name: as for ``record``.
    """
    changed = [name for name in after if after[name] != before[name]]
    if changed:
        record(
            work,
            action,
            subject,
            before={name: before[name] for name in changed},
            after={name: after[name] for name in changed},
            cache_name=cache_name,
        )


def audit_page(
    work: UnitOfWork, args: Mapping[str, str], *, before_id: int | None = None, open_id: int | None = None
) -> AuditPage:
    """What was changed, by whom and why: one page of entries that match the filter.

    Args:
        args: the query parameters of the filter.
        before_id: where the page starts: the entry before it.
        open_id: the entry whose details are shown, if any.

    Raises:
        NotFound: there is no entry ``open_id``.
    """
    require(work.actor, Role.VIEWER)
    form, wanted, errors = forms.parse_filter(args, work.now)
    entries: list[Entry] = []
    count = 0
    if not errors:
        entries = store.list_entries(work.session, wanted, before_id=before_id, limit=PAGE_SIZE + 1)
        count = store.count_entries(work.session, wanted, limit=COUNT_LIMIT + 1)
    shown = entries[:PAGE_SIZE]
    opened = None
    if open_id is not None:
        entry = store.find_entry(work.session, open_id)
        if entry is None:
            raise NotFound(
                f"There is no entry {open_id}.", what_to_do="Entries are never removed; check the number."
            )
        opened = _detail(entry)
        if not any(row.id == open_id for row in shown):
            # A link to one entry works on its own, wherever the filter and the page are.
            shown = [entry, *shown]
    here = {"before": before_id} if before_id is not None else {}
    return AuditPage(
        now=work.now,
        form=form,
        errors=errors,
        names=tuple(store.list_names(work.session)),
        actions=tuple(sorted(ACTIONS)),
        spans=_spans(form),
        count=min(count, COUNT_LIMIT),
        is_count_cut=count > COUNT_LIMIT,
        rows=tuple(_row(entry, form, here, is_open=entry.id == open_id) for entry in shown),
        opened=opened,
        export_url=_url("/audit.csv", form),
        newest_url=_url("/audit", form) if before_id is not None else "",
        next_url=_url("/audit", form, before=entries[PAGE_SIZE - 1].id) if len(entries) > PAGE_SIZE else "",
        page_size=PAGE_SIZE,
    )


def export_batch(work: UnitOfWork, wanted: Filter, *, before_id: int | None) -> tuple[str, int | None]:
    """The next lines of the export.

    Args:
        wanted: the filter, parsed once for the whole export.
        before_id: where the last batch ended; None starts with the heading.

    Returns:
        CSV text and where the next batch starts, None when this was the last.
    """
    require(work.actor, Role.VIEWER)
    entries = store.list_entries(work.session, wanted, before_id=before_id, limit=EXPORT_BATCH)
    lines = [csv_text.csv_line(_COLUMNS)] if before_id is None else []
    lines += [csv_text.csv_line(tuple(_cells(entry))) for entry in entries]
    return "".join(lines), entries[-1].id if len(entries) == EXPORT_BATCH else None


def trail(work: UnitOfWork, subject: str, *, actions: str, since: datetime) -> tuple[TrailEntry, ...]:
    """What happened to one subject, newest first, at most MOST_OF_A_TRAIL entries.

    Args:
        subject: as it was recorded.
        actions: pattern of action names, ``*`` for any text.
        since: it was not there before; earlier entries are not looked at.
    """
    require(work.actor, Role.VIEWER)
    wanted = Filter(actions=(actions,), start=since, subject=subject)
    return tuple(
        TrailEntry(
            id=entry.id,
            at=entry.at,
            actor_name=entry.actor_name,
            title=ACTIONS.get(entry.action, entry.action),
            what=diff.summary(entry.before, entry.after, entry.reason),
            href=f"/audit?open={entry.id}#entry-{entry.id}",
        )
        for entry in store.list_entries(work.session, wanted, before_id=None, limit=MOST_OF_A_TRAIL)
    )


def own_actions(work: UnitOfWork, actions: Collection[str], *, on: str = "") -> frozenset[str]:
    """Which of these actions the actor has ever done; none for who has no account.

    Args:
        on: only on what begins so.
    """
    if work.actor.user_id is None:
        return frozenset()
    return frozenset(store.actions_of(work.session, work.actor.user_id, work.actor.name, actions, on))


def _values(values: Mapping[str, object] | None) -> dict[str, object] | None:
    kept = scrub(values)
    return None if kept is None else dict(kept)


def _url(path: str, form: FilterForm, **more: object) -> str:
    query = {
        "who": form.who,
        "action": form.action,
        "from": form.start,
        "to": form.end,
        "contains": form.contains,
        "span": form.span,
        **more,
    }
    kept = {name: value for name, value in query.items() if value not in ("", None)}
    return f"{path}?{urlencode(kept)}" if kept else path


def _spans(form: FilterForm) -> tuple[Span, ...]:
    own_range = bool(form.start or form.end)
    choices = {"": "All", **forms.SPANS}
    return tuple(
        Span(
            label,
            _url("/audit", FilterForm(form.who, form.action, "", "", form.contains, name)),
            not own_range and form.span == name,
        )
        for name, label in choices.items()
    )


def _row(entry: Entry, form: FilterForm, here: Mapping[str, object], *, is_open: bool) -> EntryRow:
    kind, word = RESULTS[entry.result]
    target = _url("/audit", form, **here) if is_open else _url("/audit", form, **here, open=entry.id)
    return EntryRow(
        id=entry.id,
        at=entry.at,
        actor_name=entry.actor_name,
        action=entry.action,
        subject=entry.subject,
        # An action of an older release may be none of today's.
        what=diff.summary(entry.before, entry.after, entry.reason) or ACTIONS.get(entry.action, "n/a"),
        result_kind=kind,
        result_word=word,
        toggle_url=f"{target}#entry-{entry.id}",
        is_open=is_open,
    )


def _source(source: str) -> str:
    if source.startswith(_TOKEN):
        return f"API token {source.removeprefix(_TOKEN)}"
    return _SOURCES.get(source, source)


def _detail(entry: Entry) -> EntryDetail:
    return EntryDetail(
        id=entry.id,
        at=entry.at,
        reason=entry.reason,
        actor_name=entry.actor_name,
        role_label=Role(entry.role).label if entry.role else "Signed out",
        source_label=_source(entry.source),
        address=entry.address or "",
        request_id=entry.request_id or "",
        cache_name=entry.cache_name or "",
        changed=diff.changed_count(entry.before, entry.after),
        lines=diff.diff_lines(entry.before, entry.after),
    )


def _cells(entry: Entry) -> Iterator[str]:
    yield str(entry.id)
    yield entry.at.isoformat(timespec="milliseconds")
    yield entry.actor_name
    yield entry.role or ""
    yield entry.source
    yield entry.address or ""
    yield entry.request_id or ""
    yield entry.action
    yield entry.subject
    yield entry.cache_name or ""
    yield "" if entry.before is None else json.dumps(entry.before, ensure_ascii=False)
    yield "" if entry.after is None else json.dumps(entry.after, ensure_ascii=False)
    yield entry.reason
    yield entry.result
