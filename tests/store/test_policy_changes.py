"""Which version changed what: bypasses come and go between the edits, and are told apart from them."""

from datetime import timedelta

import pytest
from alembic import command
from sqlalchemy import text

import dashboard.migrations as migrations
from dashboard.db.session import Database
from dashboard.policies import service
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import history
from tests.support.policies import acting, publish, stage
from tests.support.some_caches import add_cache


@pytest.fixture
def cache_id(runtime: Runtime) -> int:
    made = add_cache(runtime).id
    stage(runtime, made)
    publish(runtime, made, "first")
    return made


def bypass(runtime: Runtime, cache_id: int, prefix: str = "news:", minutes: int = 10) -> int:
    with acting(runtime) as work:
        return service.bypass(work, cache_id, prefix, minutes=minutes, reason="stale").version


def test_a_bypass_that_ended_by_itself_is_no_change_of_the_next_version(
    runtime: Runtime, cache_id: int, clock: FixedClock
) -> None:
    bypass(runtime, cache_id)
    clock.wall += timedelta(minutes=10)
    stage(runtime, cache_id, "other:")
    done = publish(runtime, cache_id, "second")
    assert [item.name for item in done.diff.items] == ["other:"]
    with acting(runtime) as work:
        rows = service.history_page(work, cache_id).rows
        assert [row.kind for row in rows] == ["publish", "bypass", "publish"]
        assert "bypass" not in rows[0].summary and "news: bypassed until" in rows[1].summary
        assert [item.name for item in service.version_page(work, cache_id, 3).diff.items] == ["other:"]
        entry = work.session.execute(text("SELECT * FROM audit_entry ORDER BY id DESC LIMIT 1")).one()
    assert "news:" not in str(entry)


def test_one_that_runs_on_is_no_change_either(runtime: Runtime, cache_id: int, clock: FixedClock) -> None:
    bypass(runtime, cache_id)
    stage(runtime, cache_id, "other:")
    publish(runtime, cache_id, "second")
    # It has ended when the page is read, not when the version was published.
    clock.wall += timedelta(hours=1)
    with acting(runtime) as work:
        assert [item.name for item in service.version_page(work, cache_id, 3).diff.items] == ["other:"]


def test_a_bypass_is_its_own_versions_change_and_no_edit(
    runtime: Runtime, cache_id: int, clock: FixedClock
) -> None:
    clock.wall += timedelta(minutes=1)
    bypass(runtime, cache_id)
    with acting(runtime) as work:
        (change,) = service.version_page(work, cache_id, 2).diff.items
        assert change.name == "news:" and change.summary.startswith("bypassed until")
        assert service.compare_page(work, cache_id, 1, 2).diff.is_empty
        assert service.version_page(work, cache_id, 1).to_current.is_empty
        (row,) = service.policies_page(work, cache_id).rows
        assert row.bypass is not None and row.changed_version == 1
        assert [each.version for each in service.editor(work, cache_id, "news:").versions] == [1]
        service.end_bypass(work, cache_id, "news:")
        (change,) = service.version_page(work, cache_id, 3).diff.items
        assert change.summary == "bypass ended"
        assert service.policies_page(work, cache_id).rows[0].changed_version == 1


def test_the_form_shows_the_edits_of_its_prefix_and_no_others(runtime: Runtime, cache_id: int) -> None:
    stage(runtime, cache_id, "other:")
    publish(runtime, cache_id, "other")
    stage(runtime, cache_id, original="news:", base_ttl_s=7200)
    stage(runtime, cache_id, "", original="", tier="hot", base_ttl_s=60, jitter_s=15)
    publish(runtime, cache_id, "both")
    with acting(runtime) as work:
        versions = service.editor(work, cache_id, "news:").versions
        assert [(each.version, each.change.summary) for each in versions] == [
            (3, "1 h + up to 12 m to 2 h + up to 12 m"),
            (1, "added: Frequently updated, 1 h + up to 12 m"),
        ]
        assert [each.version for each in service.editor(work, cache_id, "").versions] == [3]


def test_lists_of_earlier_releases_are_taken_over_and_given_back(live_runtime: Runtime) -> None:
    database = live_runtime.database
    _migrate(database, "0004")
    kept = {1: ["policy:news:", "tier:hot"], 2: ["policy:news:"], 3: ["default:"], 4: []}
    kinds = {1: "publish", 2: "bypass", 3: "end-bypass", 4: "publish"}
    with database.transaction() as session:
        cache_id = history.add_cache(session, "old")
        for version, changed in kept.items():
            session.execute(
                text(
                    "INSERT INTO policy_version (cache_id, version, published_at, actor, reason, kind, summary,"
                    " changed, document) VALUES (:id, :version, now(), 'x', 'x', :kind, 'x',"
                    " to_jsonb(CAST(:changed AS text[])), '{}')"
                ),
                {"id": cache_id, "version": version, "kind": kinds[version], "changed": changed},
            )
    migrations.upgrade(database)
    with database.transaction() as session:
        rows = session.execute(text("SELECT version, item FROM policy_change ORDER BY version, item"))
        assert [tuple(row) for row in rows] == [
            (1, "policy:news:"),
            (1, "tier:hot"),
            (2, "bypass:news:"),
            (3, "bypass:"),
        ]
    _migrate(database, "0004")
    with database.transaction() as session:
        rows = session.execute(text("SELECT version, changed FROM policy_version ORDER BY version"))
        assert {row.version: row.changed for row in rows} == kept
    migrations.upgrade(database)


def _migrate(database: Database, revision: str) -> None:
    with database.engine.begin() as connection:
        config = migrations._config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
