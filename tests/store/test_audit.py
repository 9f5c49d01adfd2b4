"""The audit log in PostgreSQL: append-only, filtered, paged."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from dashboard.access import Actor, Role
from dashboard.audit import service, store
from dashboard.audit.types import Entry, Filter
from dashboard.errors import NotFound
from dashboard.work import Runtime, UnitOfWork
from tests.support import people

ACTION = "auth:user:create"


def entries(work: UnitOfWork, **wanted: object) -> list[Entry]:
    return store.list_entries(work.session, Filter(**wanted), before_id=None, limit=1000)  # type: ignore[arg-type]


def subjects(work: UnitOfWork, **wanted: object) -> list[str]:
    return [entry.subject for entry in entries(work, **wanted)]


def test_an_entry_keeps_who_when_where_what_and_why(work: UnitOfWork) -> None:
    acting = replace(work, actor=Actor(7, "ops", Role.OPERATOR, "web", "192.0.2.9", "req-58c1"))
    service.record(
        acting,
        "caches:cache:update",
        "shop-prod",
        before={"poll_interval_s": 10, "password": "old"},
        after={"poll_interval_s": 30, "password": "new"},
        reason="Too chatty",
        cache_name="shop-prod",
    )
    (entry,) = entries(work)
    assert entry.at == work.now
    assert (entry.actor_id, entry.actor_name, entry.role, entry.source) == (7, "ops", "operator", "web")
    assert (entry.address, entry.request_id) == ("192.0.2.9", "req-58c1")
    assert (entry.action, entry.subject, entry.cache_name) == (
        "caches:cache:update",
        "shop-prod",
        "shop-prod",
    )
    assert entry.before == {"poll_interval_s": 10, "password": "(hidden)"}
    assert entry.after == {"poll_interval_s": 30, "password": "(hidden)"}
    assert (entry.reason, entry.result) == ("Too chatty", "done")


def test_of_changes_only_what_differs_is_kept(work: UnitOfWork) -> None:
    was = {"batch": 500, "at_a_time": 1, "typed_above": None}
    service.record_changes(work, "invalidation:limits:change", "shop", was, dict(was), cache_name="shop")
    assert entries(work) == []
    now = was | {"batch": 100, "typed_above": 0}
    service.record_changes(work, "invalidation:limits:change", "shop", was, now, cache_name="shop")
    (entry,) = entries(work)
    assert entry.before == {"batch": 500, "typed_above": None}
    assert entry.after == {"batch": 100, "typed_above": 0}
    assert (entry.action, entry.cache_name) == ("invalidation:limits:change", "shop")


def test_an_entry_of_nobody_has_no_role(work: UnitOfWork) -> None:
    nobody = replace(work, actor=Actor(None, "anonymous", Role.VIEWER, "web", "192.0.2.9"))
    service.record(nobody, "auth:session:sign-in", "unknown account", result="failed")
    service.record(work, ACTION, "news-desk")
    assert [entry.role for entry in entries(work)] == ["admin", None]


def test_hostile_text_is_kept_harmless(work: UnitOfWork) -> None:
    service.record(
        work,
        ACTION,
        "nul \0 here " + "x" * 5000,
        after={"a\0": "b\0\ud800", "x" * 500: 1},
        reason="\0" * 2000,
    )
    (entry,) = entries(work)
    assert "\0" not in entry.subject + entry.reason
    assert len(entry.subject) == 200 and len(entry.reason) == 500


@pytest.mark.parametrize(("action", "result"), [("auth:user:crate", "done"), ("auth:user:create", "great")])
def test_a_mistyped_action_or_result_is_a_bug(work: UnitOfWork, action: str, result: str) -> None:
    with pytest.raises(ValueError, match="unknown"):
        service.record(work, action, "x", result=result)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_entry SET reason = 'nothing happened'",
        "UPDATE audit_entry SET reason = '' WHERE id = -1",
        "DELETE FROM audit_entry",
        "DELETE FROM audit_entry WHERE id = -1",
        "TRUNCATE audit_entry",
        "TRUNCATE audit_entry, user_account RESTART IDENTITY CASCADE",
        "INSERT INTO audit_entry (id, at, actor_name, source, action, subject, result)\
 OVERRIDING SYSTEM VALUE SELECT id, at, '', '', '', '', 'done' FROM audit_entry\
 ON CONFLICT (id) DO UPDATE SET reason = 'gone'",
    ],
)
@pytest.mark.parametrize("mode", ["origin", "replica"])
def test_nobody_changes_or_removes_an_entry_not_even_the_owner(
    work: UnitOfWork, statement: str, mode: str
) -> None:
    """The tests connect as the owner of the table; ``replica`` is what switches ordinary triggers off."""
    service.record(work, ACTION, "news-desk", reason="first")
    owner, me, is_super = work.session.execute(
        text(
            "SELECT tableowner, current_user, (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
            " FROM pg_tables WHERE tablename = 'audit_entry'"
        )
    ).one()
    assert owner == me
    if mode == "replica":
        if not is_super:
            pytest.skip("only a superuser may set session_replication_role")
        work.session.execute(text("SET LOCAL session_replication_role = 'replica'"))
    with pytest.raises(DBAPIError, match="append-only"), work.session.begin_nested():
        work.session.execute(text(statement))
    assert [entry.reason for entry in entries(work)] == ["first"]


def test_an_entry_of_a_transaction_that_fails_is_not_kept(runtime: Runtime) -> None:
    with pytest.raises(RuntimeError), people.as_cli(runtime) as work:
        service.record(work, ACTION, "news-desk")
        raise RuntimeError
    with people.as_cli(runtime) as work:
        assert entries(work) == []


def test_the_filter(work: UnitOfWork) -> None:
    ops = replace(work, actor=replace(work.actor, name="ops", address="198.51.100.4"))
    early = replace(work, now=work.now - timedelta(days=3))
    service.record(early, "auth:user:create", "old")
    service.record(ops, "auth:user:disable", "by-ops", reason="50%_off")
    service.record(work, "caches:cache:create", "cache", after={"url": "redis://cache-01:6379"})
    service.record(work, "auth:password:reset", "pass", cache_name="shop-prod")

    assert subjects(work) == ["pass", "cache", "by-ops", "old"]
    assert subjects(work, who="ops") == ["by-ops"]
    assert subjects(work, who="op") == []
    assert subjects(work, actions=("auth:user:*",)) == ["by-ops", "old"]
    assert subjects(work, actions=("auth:user:create",)) == ["old"]
    assert subjects(work, actions=("*:create", "auth:password:*")) == ["pass", "cache", "old"]
    assert subjects(work, actions=("auth:user",)) == []
    assert subjects(work, actions=("auth_user%",)) == []
    assert subjects(work, start=work.now - timedelta(days=1)) == ["pass", "cache", "by-ops"]
    assert subjects(work, end=work.now) == ["old"]
    assert subjects(work, contains="0%_O") == ["by-ops"]
    assert subjects(work, contains="50__off") == []
    assert subjects(work, contains="198.51.100") == ["by-ops"]
    assert subjects(work, contains="CACHE-01") == ["cache"]
    assert subjects(work, contains="shop-prod") == ["pass"]
    assert subjects(work, contains="*") == []
    assert subjects(work, contains="\\") == []
    assert store.list_names(work.session) == ["ops", "test-admin"]


def test_counting_stops_at_its_limit(work: UnitOfWork) -> None:
    for number in range(5):
        service.record(work, ACTION, f"user-{number}")
    assert store.count_entries(work.session, Filter(), limit=100) == 5
    assert store.count_entries(work.session, Filter(), limit=3) == 3
    assert store.count_entries(work.session, Filter(who="nobody"), limit=3) == 0


def test_names_are_found_in_order_and_once(work: UnitOfWork) -> None:
    assert store.list_names(work.session) == []
    for name in ("b", "a", "c", "b", "a"):
        service.record(replace(work, actor=replace(work.actor, name=name)), ACTION, "x")
    assert store.list_names(work.session) == ["a", "b", "c"]


def test_pages_by_key_neither_skip_nor_repeat_while_entries_arrive(work: UnitOfWork) -> None:
    for number in range(service.PAGE_SIZE * 2 + 7):
        service.record(work, ACTION, f"user-{number}")
    first = service.audit_page(work, {})
    assert first.count == 107 and len(first.rows) == 50 and first.newest_url == ""
    service.record(work, ACTION, "arrives meanwhile")
    seen = [row.subject for row in first.rows]
    page = first
    while page.next_url:
        page = service.audit_page(work, {}, before_id=int(page.next_url.rpartition("=")[2]))
        assert page.newest_url == "/audit"
        seen += [row.subject for row in page.rows]
    assert seen == [f"user-{number}" for number in reversed(range(107))]


def test_an_open_entry_shows_its_details_even_outside_the_page(work: UnitOfWork) -> None:
    service.record(
        work, ACTION, "wanted", before={"role": "viewer"}, after={"role": "admin"}, reason="Promoted"
    )
    wanted = entries(work)[0].id
    for number in range(60):
        service.record(work, ACTION, f"user-{number}")
    page = service.audit_page(work, {"who": "test-admin"}, open_id=wanted)
    assert page.opened is not None
    assert [(line.sign, line.text) for line in page.opened.lines] == [
        ("-", 'role: "viewer"'),
        ("+", 'role: "admin"'),
    ]
    assert page.rows[0].is_open and page.rows[0].subject == "wanted" and len(page.rows) == 51
    assert page.rows[0].toggle_url == f"/audit?who=test-admin#entry-{wanted}"
    with pytest.raises(NotFound):
        service.audit_page(work, {}, open_id=wanted + 1000)


def test_the_export_holds_every_entry_of_the_filter_once(
    work: UnitOfWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "EXPORT_BATCH", 4)
    for number in range(9):
        service.record(work, ACTION, f"user-{number}")
    service.record(work, "auth:user:disable", "not asked for")
    wanted = Filter(actions=(ACTION,))
    text_, before_id = service.export_batch(work, wanted, before_id=None)
    batches = 1
    while before_id is not None:
        more, before_id = service.export_batch(work, wanted, before_id=before_id)
        text_, batches = text_ + more, batches + 1
    lines = text_.splitlines()
    assert batches == 3 and len(lines) == 10
    assert lines[0].startswith('"entry","at","who"')
    assert ['"user-8"' in lines[1], '"user-0"' in lines[9]] == [True, True]


def test_the_filters_are_served_by_indexes(work: UnitOfWork) -> None:
    """With enough rows and honest statistics, no filter but "contains" reads the whole table."""
    work.session.execute(
        text(
            "INSERT INTO audit_entry (at, actor_name, source, action, subject, result)"
            " SELECT now() - n * interval '1 minute', 'user-' || n % 50, 'web',"
            " (ARRAY['auth:user:create', 'caches:cache:update', 'auth:session:sign-in'])[1 + n % 3], 's', 'done'"
            " FROM generate_series(1, 20000) n"
        )
    )
    work.session.execute(text("ANALYZE audit_entry"))
    for condition in (
        "actor_name = 'user-7'",
        "action LIKE 'auth:user:%'",
        "at >= now() - interval '1 hour'",
        "true",
    ):
        plan = "\n".join(
            work.session.execute(
                text(f"EXPLAIN SELECT * FROM audit_entry WHERE {condition} ORDER BY id DESC LIMIT 51")
            ).scalars()
        )
        assert "Seq Scan" not in plan, plan


def test_the_trail_of_one_subject_is_its_own_and_newest_first(work: UnitOfWork) -> None:
    for subject in ("purge 12", "purge 120", "purge 12"):
        service.record(work, "invalidation:purge:pause", subject, after={"state": "paused"})
    service.record(work, "caches:cache:update", "purge 12")
    found = service.trail(work, "purge 12", actions="invalidation:purge:*", since=work.now)
    assert [entry.title for entry in found] == ["Purge paused", "Purge paused"]
    assert found[0].id > found[1].id and f"open={found[0].id}" in found[0].href
    assert "paused" in found[0].what and found[0].actor_name == work.actor.name
    later = work.now + timedelta(hours=1)
    assert service.trail(work, "purge 12", actions="invalidation:purge:*", since=later) == ()
