"""Publishing: versions, conflicts, going back, bypasses; and what applications then find in Redis."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
import redis
from sqlalchemy import text

from dashboard.access import Actor, Role
from dashboard.caches.types import Cache
from dashboard.caching.policy import parse_document
from dashboard.caching.wire import POLICIES_CHANNEL, POLICIES_KEY
from dashboard.errors import Conflict, InvalidInput, NotFound, Refused
from dashboard.policies import service
from dashboard.policies.types import KeysSource, PublishConflict
from dashboard.work import Runtime, unit_of_work
from tests.conftest import FixedClock
from tests.support.policies import acting, fields, publish, stage
from tests.support.some_caches import add_cache, form


@pytest.fixture
def cache(runtime: Runtime, valkey_url: str) -> Cache:
    return add_cache(runtime, url=valkey_url)


@pytest.fixture
def server(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as client:
        yield client


def in_redis(server: redis.Redis) -> int | None:
    """The version that applications find."""
    found = server.get(POLICIES_KEY)
    return None if found is None else parse_document(found).version


def test_publishing_makes_a_version_and_tells_applications(
    runtime: Runtime, cache: Cache, server: redis.Redis
) -> None:
    stage(runtime, cache.id)
    with server.pubsub() as listener:
        listener.subscribe(POLICIES_CHANNEL)
        assert listener.get_message(timeout=2)
        done = publish(runtime, cache.id, "Editors want fresher pages")
        message = listener.get_message(timeout=2)
    assert (done.version, len(done.diff.items)) == (1, 1)
    assert message is not None and message["data"] == b"1"
    there = parse_document(server.get(POLICIES_KEY))
    assert there.version == 1 and there.find(b"news:1").base_ttl_s == 3600
    with acting(runtime) as work:
        page = service.policies_page(work, cache.id)
        assert page.draft is None and page.frame.version == 1 and page.frame.published_by == "olga"
        (row,) = page.rows
        assert (row.changed_version, row.changed_by) == (1, "olga")
        (version,) = service.history_page(work, cache.id).rows
        assert version.reason == "Editors want fresher pages"
        assert version.summary == "news: added: Frequently updated, 1 h + up to 12 m"
        entry = work.session.execute(text("SELECT * FROM audit_entry ORDER BY id DESC LIMIT 1")).one()
    assert (entry.action, entry.subject, entry.reason) == (
        "policies:version:publish",
        "v1",
        "Editors want fresher pages",
    )
    assert entry.after["news:"].startswith("added")


def test_nothing_is_told_when_the_transaction_fails(
    runtime: Runtime, cache: Cache, server: redis.Redis
) -> None:
    stage(runtime, cache.id)
    with pytest.raises(ZeroDivisionError), acting(runtime) as work:
        revision = service.draft_page(work, cache.id).draft.revision
        service.publish(work, cache.id, reason="x", revision=revision)
        raise ZeroDivisionError
    assert in_redis(server) is None
    with acting(runtime) as work:
        assert service.policies_page(work, cache.id).frame.version == 0


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501])
def test_a_reason_is_needed(runtime: Runtime, cache: Cache, reason: str) -> None:
    stage(runtime, cache.id)
    with pytest.raises(InvalidInput) as raised:
        publish(runtime, cache.id, reason)
    assert set(raised.value.fields) == {"reason"}


def test_the_first_version_may_be_what_was_seeded_and_the_next_may_not_be_empty(
    runtime: Runtime, cache: Cache
) -> None:
    assert publish(runtime, cache.id).version == 1
    with pytest.raises(InvalidInput, match="Nothing is staged"):
        publish(runtime, cache.id)


def test_what_was_staged_after_the_look_is_not_published_unseen(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, "a:")
    with acting(runtime, "second") as work:
        looked_at = service.draft_page(work, cache.id).draft.revision
    stage(runtime, cache.id, "b:")
    with acting(runtime, "second") as work, pytest.raises(PublishConflict) as raised:
        service.publish(work, cache.id, reason="x", revision=looked_at)
    assert [(item.name, item.by) for item in raised.value.changes] == [("b:", "olga")]
    with acting(runtime, "second") as work:
        page = service.draft_page(work, cache.id, reason="x", meanwhile=raised.value.changes)
        assert page.reason == "x" and page.meanwhile == raised.value.changes
        done = service.publish(work, cache.id, reason="x", revision=page.draft.revision)
    assert len(done.diff.items) == 2


def test_a_draft_on_an_item_that_was_published_meanwhile_must_be_looked_at_again(
    runtime: Runtime, cache: Cache
) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    stage(runtime, cache.id, original="news:", base_ttl_s=7200)
    publish(runtime, cache.id)
    stage(runtime, cache.id, original="news:", base_ttl_s=10800)
    with acting(runtime) as work:
        revision = service.draft_page(work, cache.id).draft.revision
        service.revert(work, cache.id, to=1, reason="back", version=2)
    with acting(runtime) as work, pytest.raises(PublishConflict) as raised:
        service.publish(work, cache.id, reason="x", revision=revision)
    (item,) = raised.value.changes
    assert item.published_meanwhile and item.summary == "1 h + up to 12 m to 3 h + up to 12 m"
    assert publish(runtime, cache.id).version == 4


def test_of_two_who_publish_at_once_one_wins(live_runtime: Runtime, valkey_url: str) -> None:
    runtime = live_runtime
    cache = add_cache(runtime, url=valkey_url)
    stage(runtime, cache.id)
    with acting(runtime) as work:
        revision = service.draft_page(work, cache.id).draft.revision
    outcomes: list[object] = []
    ready = threading.Barrier(4)

    def one(name: str) -> None:
        ready.wait()
        try:
            with acting(runtime, name) as work:
                outcomes.append(service.publish(work, cache.id, reason=name, revision=revision).version)
        except PublishConflict as error:
            outcomes.append(type(error))

    threads = [threading.Thread(target=one, args=(f"op-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, outcomes)) == ["1", *[str(PublishConflict)] * 3]
    with acting(runtime) as work:
        assert len(service.history_page(work, cache.id).rows) == 1


def test_many_who_stage_at_once_lose_nothing(live_runtime: Runtime, valkey_url: str) -> None:
    runtime = live_runtime
    cache = add_cache(runtime, url=valkey_url)
    failed: list[BaseException] = []

    def one(number: int) -> None:
        try:
            with acting(runtime, f"op-{number}") as work:
                service.stage_policy(work, cache.id, fields(f"p{number}:"), original=None, seen="")
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with acting(runtime) as work:
        draft = service.draft_page(work, cache.id).draft
    assert [item.name for item in draft.items] == [f"p{number}:" for number in range(8)]
    assert draft.revision == 8


def test_history_diffs_and_going_back(runtime: Runtime, cache: Cache, server: redis.Redis) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id, "first")
    stage(runtime, cache.id, original="news:", base_ttl_s=7200, jitter_s=0, strategy="write-through")
    stage(runtime, cache.id, "stock:", tier="hot", base_ttl_s=30, jitter_s=6)
    publish(runtime, cache.id, "second")
    with acting(runtime) as work:
        page = service.compare_page(work, cache.id, 1, 2)
        news, stock = page.diff.items
        assert news.summary == ("1 h + up to 12 m to 2 h, no jitter; Strategy cache-aside to write-through")
        assert stock.change.value == "added" and page.diff.summary == "1 added, 1 changed"
        assert service.compare_page(work, cache.id, 2, 1).diff.items[1].change.value == "removed"
        for older, newer in ((1, 3), (0, 1), (2**70, 1), (-1, 1)):
            with pytest.raises(NotFound):
                service.compare_page(work, cache.id, older, newer)

    with acting(runtime) as work:
        done = service.revert(work, cache.id, to=1, reason="too old", version=2)
    assert done.version == 3 and in_redis(server) == 3
    there = parse_document(server.get(POLICIES_KEY))
    assert there.find(b"news:").base_ttl_s == 3600 and there.find(b"stock:").prefix == b""
    with acting(runtime) as work:
        rows = service.history_page(work, cache.id).rows
        assert [(row.version, row.kind, row.reverts_to, row.is_current) for row in rows] == [
            (3, "revert", 1, True),
            (2, "publish", None, False),
            (1, "publish", None, False),
        ]
        assert service.version_page(work, cache.id, 1).to_current.is_empty
        shown = service.version_page(work, cache.id, 2)
        assert shown.diff.summary == "1 added, 1 changed" and shown.previous == 1
        versions = service.editor(work, cache.id, "news:").versions
        assert [(each.version, each.is_current) for each in versions] == [(3, True), (2, False), (1, False)]
        with pytest.raises(InvalidInput, match="says the same"):
            service.revert(work, cache.id, to=1, reason="x", version=3)
        with pytest.raises(NotFound):
            service.revert(work, cache.id, to=9, reason="x", version=3)
        with pytest.raises(PublishConflict) as raised:
            service.revert(work, cache.id, to=2, reason="x", version=2)
        assert [item.name for item in raised.value.changes] == ["news:", "stock:"]


def test_the_history_is_read_page_by_page(
    runtime: Runtime, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dashboard.policies import pages

    monkeypatch.setattr(pages, "PAGE_SIZE", 2)
    for number in range(5):
        stage(runtime, cache.id, f"p{number}:")
        publish(runtime, cache.id)
    seen: list[int] = []
    before = None
    with acting(runtime) as work:
        while True:
            page = service.history_page(work, cache.id, before=before)
            seen += [row.version for row in page.rows]
            before = page.older_than
            if before is None:
                break
    assert seen == [5, 4, 3, 2, 1]


def test_a_read_only_cache_refuses_whatever_writes(
    runtime: Runtime, cache: Cache, server: redis.Redis, valkey_url: str
) -> None:
    from dashboard.caches import service as caches

    stage(runtime, cache.id)
    publish(runtime, cache.id)
    stage(runtime, cache.id, original="news:", base_ttl_s=7200)
    with unit_of_work(runtime, Actor(None, "root", Role.ADMIN, "cli")) as work:
        caches.update_cache(
            work, cache.id, form(cache.name, valkey_url, read_only=True, revision=cache.revision)
        )
    with acting(runtime) as work:
        revision = service.draft_page(work, cache.id).draft.revision
        data = service.export(work, cache.id, "json").body
        for call in (
            lambda: service.publish(work, cache.id, reason="x", revision=revision),
            lambda: service.revert(work, cache.id, to=1, reason="x", version=1),
            lambda: service.apply(work, cache.id, data, "json", reason="x"),
            lambda: service.bypass(work, cache.id, "news:", minutes=5, reason="x"),
            lambda: service.end_bypass(work, cache.id, "news:"),
        ):
            with pytest.raises(Refused):
                call()
    # Looking and staging go on: a draft is ours alone.
    stage(runtime, cache.id, "more:")
    assert in_redis(server) == 1


def test_a_file_is_applied_once(runtime: Runtime, cache: Cache, server: redis.Redis) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    stage(runtime, cache.id, "waiting:")
    with acting(runtime) as work:
        body = service.export(work, cache.id, "yaml").body.replace(b"base_ttl_s: 3600", b"base_ttl_s: 7200")
    with acting(runtime) as work:
        done = service.apply(work, cache.id, body, "yaml", reason="from the repository")
        assert (done.version, len(done.diff.items)) == (2, 1)
        again = service.apply(work, cache.id, body, "yaml", reason="from the repository")
        assert (again.version, again.diff.items) == (2, ())
        assert [item.name for item in service.draft_page(work, cache.id).draft.items] == ["waiting:"]
    assert in_redis(server) == 2


# --- bypass -------------------------------------------------------------------------------------------------


def test_a_bypass_is_published_at_once_and_ends_by_itself(
    runtime: Runtime, cache: Cache, server: redis.Redis, clock: FixedClock
) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    stage(runtime, cache.id, original="news:", base_ttl_s=7200)
    with acting(runtime) as work:
        before = service.draft_page(work, cache.id).draft
        done = service.bypass(work, cache.id, "news:", minutes=10, reason="wrong prices")
    assert done.version == 2
    policy = parse_document(server.get(POLICIES_KEY)).find(b"news:1")
    now = clock.now().timestamp()
    assert policy.is_bypassed(now + 599) and not policy.is_bypassed(now + 600)
    assert policy.base_ttl_s == 3600
    with acting(runtime) as work:
        page = service.policies_page(work, cache.id)
        (bypass,) = page.bypasses
        assert (bypass.prefix, bypass.left_s, bypass.by, bypass.reason) == (
            "news:",
            600.0,
            "olga",
            "wrong prices",
        )
        assert page.rows[0].bypass == bypass
        assert service.test_key(work, cache.id, "news:1").is_bypassed
        # The draft knows nothing of bypasses and needs no second look.
        assert service.draft_page(work, cache.id).draft.revision == before.revision
        assert (
            [item.summary for item in page.draft.items] == ["1 h + up to 12 m to 2 h + up to 12 m"]
            if page.draft
            else False
        )
        entry = work.session.execute(text("SELECT * FROM audit_entry ORDER BY id DESC LIMIT 1")).one()
        assert (entry.action, entry.subject, entry.reason) == (
            "policies:bypass:start",
            "news:",
            "wrong prices",
        )

    # A version that is published meanwhile does not end it; one that is published later does not carry it on.
    publish(runtime, cache.id)
    assert parse_document(server.get(POLICIES_KEY)).find(b"news:1").is_bypassed(now)
    clock.wall += timedelta(minutes=10)
    with acting(runtime) as work:
        assert service.policies_page(work, cache.id).bypasses == ()
        assert not service.test_key(work, cache.id, "news:1").is_bypassed
        with pytest.raises(Conflict):
            service.end_bypass(work, cache.id, "news:")
    stage(runtime, cache.id, "other:")
    publish(runtime, cache.id)
    assert parse_document(server.get(POLICIES_KEY)).find(b"news:1").bypass_until is None


def test_a_bypass_is_ended_before_its_time(runtime: Runtime, cache: Cache, server: redis.Redis) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    with acting(runtime) as work:
        service.bypass(work, cache.id, "", minutes=5, reason="x")
        service.bypass(work, cache.id, "news:", minutes=5, reason="x")
        assert [each.title for each in service.policies_page(work, cache.id).bypasses] == [
            "news:",
            "Other keys",
        ]
        service.end_bypass(work, cache.id, "")
    there = parse_document(server.get(POLICIES_KEY))
    assert there.default.bypass_until is None and there.find(b"news:").bypass_until is not None


def test_what_can_not_be_bypassed(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime) as work, pytest.raises(Refused, match="Nothing is published"):
        service.bypass(work, cache.id, "", minutes=5, reason="x")
    stage(runtime, cache.id, "pay:", tier="no-cache", base_ttl_s=None, jitter_s=0)
    publish(runtime, cache.id)
    with acting(runtime) as work:
        with pytest.raises(InvalidInput, match="not cached anyway"):
            service.bypass(work, cache.id, "pay:", minutes=5, reason="x")
        with pytest.raises(NotFound):
            service.bypass(work, cache.id, "nobody:", minutes=5, reason="x")
        for minutes, reason, wrong in (
            (0, "x", {"minutes"}),
            (1441, "", {"minutes", "reason"}),
            (5, " ", {"reason"}),
        ):
            with pytest.raises(InvalidInput) as raised:
                service.bypass(work, cache.id, "", minutes=minutes, reason=reason)
            assert set(raised.value.fields) == wrong


# --- the tester and the preview -----------------------------------------------------------------------------


def test_the_longest_prefix_wins(runtime: Runtime, cache: Cache) -> None:
    for prefix in ("a:", "a:b:", "a:b:c:"):
        stage(runtime, cache.id, prefix)
    publish(runtime, cache.id)
    stage(runtime, cache.id, "a:b:x", base_ttl_s=7200)
    with acting(runtime) as work:
        found = service.test_key(work, cache.id, "a:b:xyz")
        assert (found.prefix, found.shorter, found.ttl_text) == ("a:b:", ("a:",), "1 h + up to 12 m")
        assert found.draft is not None and found.draft.prefix == b"a:b:x"
        other = service.test_key(work, cache.id, "zzz")
        assert (other.title, other.shorter, other.draft) == ("Other keys", (), None)
        for wrong in ("", "x" * 4097, "a\\"):
            with pytest.raises(InvalidInput) as raised:
                service.test_key(work, cache.id, wrong)
            assert set(raised.value.fields) == {"key"}


def test_the_preview_says_what_the_jitter_does(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, jitter_s=0)
    publish(runtime, cache.id)
    with acting(runtime) as work:
        shown = service.preview(work, cache.id, "news:", fields(jitter_s=300), keys=10_000)
        assert shown is not None and not shown.is_waiting
        assert (shown.keys, shown.source) == (10_000, KeysSource.TYPED)
        assert shown.now_peak_s == shown.plain_peak_s == 10_000
        assert round(shown.jittered_peak_s, 1) == 33.3 and shown.likely_peak_s <= 70
        waiting = service.preview(work, cache.id, "news:", fields(base_ttl_s=8 * 3600))
        assert waiting is not None and waiting.is_waiting and waiting.source is KeysSource.ASSUMED
        assert waiting.ttl_text == "1 h, no jitter"
        none = fields(tier="no-cache", base_ttl_s=None, jitter_s=0)
        assert service.preview(work, cache.id, "news:", none) is None
        fresh = service.preview(work, cache.id, None, fields(prefix=""))
        assert fresh is not None and fresh.now_peak_s is None
