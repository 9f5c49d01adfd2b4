"""Staging: every rule at its field, two operators in one draft, files that are hostile."""

import json
import time
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches.types import Cache
from dashboard.errors import Forbidden, InvalidInput, NotFound
from dashboard.policies import service
from dashboard.policies.types import (
    MAX_IMPORT_BYTES,
    ChangeKind,
    EditConflict,
    ItemKind,
    PublishConflict,
)
from dashboard.work import Runtime
from tests.support.policies import acting, fields, publish, stage, stage_import
from tests.support.some_caches import add_cache


@pytest.fixture
def cache(runtime: Runtime, valkey_url: str) -> Cache:
    return add_cache(runtime, url=valkey_url)


def refused(runtime: Runtime, cache: Cache, **values: Any) -> dict[str, str]:
    """The messages of a policy that can't be staged."""
    with pytest.raises(InvalidInput) as raised:
        stage(runtime, cache.id, **values)
    return raised.value.fields


def test_the_first_page_shows_the_seeded_tiers_and_nothing_published(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime, role=Role.VIEWER) as work:
        page = service.policies_page(work, cache.id)
    assert [(card.tier.label, card.range_text) for card in page.tiers] == [
        ("Low volatility", "24 to 48 h"),
        ("Frequently updated", "1 to 6 h"),
        ("Hot", "30 s to 2 m"),
        ("No cache", "Never stored"),
    ]
    assert page.rows == () and page.default.title == "Other keys"
    assert page.frame.version == 0 and not page.frame.may_edit
    assert page.draft is None and page.publication.word == "Never published"


def test_a_staged_policy_is_seen_by_everybody_and_is_not_published(runtime: Runtime, cache: Cache) -> None:
    staged = stage(runtime, cache.id)
    assert staged.change is not None
    assert staged.change.summary == "added: Frequently updated, 1 h + up to 12 m"
    with acting(runtime, "vera", Role.VIEWER) as work:
        page = service.policies_page(work, cache.id)
    (row,) = page.rows
    assert (row.prefix, row.ttl_text, row.jitter_text, row.tier_label) == (
        "news:",
        "1 h",
        "up to 12 m",
        "Frequently updated",
    )
    assert row.staged is not None and row.staged.by == "olga" and row.staged.change is ChangeKind.ADDED
    assert page.draft is not None and page.draft.next_version == 1 and page.draft.people == ("olga",)
    assert page.frame.version == 0
    with acting(runtime) as work:
        entry = work.session.execute(
            text("SELECT action, subject, actor_name, cache_name FROM audit_entry ORDER BY id DESC LIMIT 1")
        ).one()
    assert tuple(entry) == ("policies:draft:stage", "news:", "olga", "shop-prod")


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"prefix": ""}, "prefix", "1 to 512 bytes"),
        ({"prefix": "cachewarden:x"}, "prefix", "reserved"),
        ({"prefix": "bad\\q"}, "prefix", r"\xHH"),
        ({"base_ttl_s": 8 * 3600}, "base_ttl_s", "from 3600 to 21600"),
        ({"base_ttl_s": 5 * 3600, "jitter_s": 7200}, "jitter_s", "from 0 to 3600"),
        ({"base_ttl_s": "soon"}, "base_ttl_s", "whole number from 3600 to 21600"),
        ({"base_ttl_s": None}, "base_ttl_s", "missing"),
        ({"jitter_s": -1}, "jitter_s", "from 0 to"),
        ({"tier": "warm"}, "tier", "one of the tiers"),
        ({"tier": "no-cache"}, "base_ttl_s", "caches nothing"),
        ({"protection": {"grace_s": 36001}}, "protection.grace_s", "from 1 to 36000"),
        ({"protection": {"early_refresh_beta": 0}}, "protection.early_refresh_beta", "from 0.1 to 10"),
        ({"negative_ttl_s": 3601}, "negative_ttl_s", "from 0 to 3600"),
        ({"longest_wait_s": 61}, "longest_wait_s", "from 0 to 60"),
        ({"strategy": "write-back"}, "strategy", "cache-aside, write-through"),
        ({"note": "x" * 2001}, "note", "0 to 2000"),
        ({"note": "a\x00b"}, "note", "NUL"),
        ({"note": "\ud800"}, "note", "surrogate"),
        ({"bypass_until": 2e9}, "bypass_until", "form of its own"),
        ({"colour": "red"}, "colour", "Unknown field"),
    ],
)
def test_every_rule_speaks_at_its_field(
    runtime: Runtime, cache: Cache, values: dict[str, Any], field: str, said: str
) -> None:
    messages = refused(runtime, cache, **values)
    assert said in messages[field]
    with acting(runtime) as work:
        assert service.policies_page(work, cache.id).draft is None


def test_a_prefix_has_one_policy_however_it_is_spelt(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, "news:")
    assert "already" in refused(runtime, cache, prefix=r"\x6eews:")["prefix"]


def test_a_binary_prefix_goes_all_the_way(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, r"\x00\xff\\:")
    publish(runtime, cache.id)
    with acting(runtime) as work:
        (row,) = service.policies_page(work, cache.id).rows
        assert row.policy.prefix == b"\x00\xff\\:" and row.prefix == r"\x00\xff\\:"
        found = service.test_key(work, cache.id, r"\x00\xff\\:42")
        assert found.prefix == r"\x00\xff\\:"
        assert service.test_key(work, cache.id, r"\x00\xfe").prefix == ""
        assert service.editor(work, cache.id, r"\x00\xff\x5c:").original == r"\x00\xff\\:"


def test_the_default_is_edited_like_a_policy_but_stays(runtime: Runtime, cache: Cache) -> None:
    staged = stage(runtime, cache.id, original="", tier="hot", base_ttl_s=90, jitter_s=30)
    assert staged.change is not None and staged.change.kind is ItemKind.DEFAULT
    with acting(runtime) as work:
        assert service.policies_page(work, cache.id).default.ttl_text == "1 m 30 s"
        with pytest.raises(InvalidInput):
            service.stage_removal(work, cache.id, "", seen="x")


def test_renaming_is_one_removed_and_one_added(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    stage(runtime, cache.id, "story:", original="news:")
    with acting(runtime) as work:
        draft = service.draft_page(work, cache.id).draft
        assert [(item.name, item.change.value) for item in draft.items] == [
            ("news:", "removed"),
            ("story:", "added"),
        ]
        page = service.policies_page(work, cache.id)
        assert [row.prefix for row in page.rows] == ["news:", "story:"]


def test_an_edit_back_to_what_is_published_is_no_edit(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    stage(runtime, cache.id, original="news:", base_ttl_s=7200)
    staged = stage(runtime, cache.id, original="news:", base_ttl_s=3600)
    assert staged.change is None
    with acting(runtime) as work:
        assert service.policies_page(work, cache.id).draft is None


def test_the_second_operator_sees_the_firsts_change_and_may_insist(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    with acting(runtime, "second") as work:
        opened = service.editor(work, cache.id, "news:")
    stage(runtime, cache.id, original="news:", base_ttl_s=7200, jitter_s=600)

    mine = fields(base_ttl_s=10800, jitter_s=720)
    with acting(runtime, "second") as work, pytest.raises(EditConflict) as raised:
        service.stage_policy(work, cache.id, mine, original="news:", seen=opened.seen)
    conflict = raised.value
    assert "olga changed news:" in str(conflict)
    assert {(change.name, change.before, change.after) for change in conflict.theirs.fields} == {
        ("base_ttl_s", "2 h", "3 h"),
        ("jitter_s", "up to 10 m", "up to 12 m"),
    }
    with acting(runtime, "second") as work:
        form = service.typed_editor(work, cache.id, "news:", mine, seen=conflict.seen, theirs=conflict.theirs)
        assert form.values["base_ttl_s"] == 10800
        assert form.staged is not None and form.staged.by == "olga"
        service.stage_policy(work, cache.id, mine, original="news:", seen=conflict.seen)
        assert service.policies_page(work, cache.id).rows[0].ttl_text == "3 h"


def test_edits_of_different_policies_do_not_conflict(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, "a:")
    stage(runtime, cache.id, "b:")
    with acting(runtime, "second") as work:
        opened = service.editor(work, cache.id, "b:")
    stage(runtime, cache.id, "a:", original="a:", base_ttl_s=7200)
    with acting(runtime, "second") as work:
        service.stage_policy(work, cache.id, fields("b:", base_ttl_s=7200), original="b:", seen=opened.seen)
        draft = service.draft_page(work, cache.id).draft
    assert draft.people == ("olga", "second")


def test_what_the_other_removed_can_be_put_back(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    with acting(runtime, "second") as work:
        opened = service.editor(work, cache.id, "news:")
    with acting(runtime) as work:
        service.stage_removal(work, cache.id, "news:", seen=opened.seen)
    mine = fields(base_ttl_s=7200)
    with acting(runtime, "second") as work, pytest.raises(EditConflict) as raised:
        service.stage_policy(work, cache.id, mine, original="news:", seen=opened.seen)
    assert raised.value.theirs.change is ChangeKind.REMOVED and raised.value.theirs.by == "olga"
    with acting(runtime, "second") as work:
        service.stage_policy(work, cache.id, mine, original="news:", seen=raised.value.seen)
        assert service.policies_page(work, cache.id).rows[0].ttl_text == "2 h"
    with acting(runtime) as work, pytest.raises(NotFound):
        service.stage_removal(work, cache.id, "never:", seen="x")


def test_tiers_are_edited_and_misfits_hold_up_publishing(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id)
    with acting(runtime) as work:
        seen = service.tier_editor(work, cache.id, "frequently-updated").seen
        narrow = {
            "name": "frequently-updated",
            "label": "Often",
            "min_ttl_s": 7200,
            "max_ttl_s": 21600,
        }
        staged = service.stage_tier(work, cache.id, narrow, original="frequently-updated", seen=seen)
        assert staged.change is not None and staged.change.summary == "1 to 6 h to 2 to 6 h; renamed Often"
        (warning,) = staged.warnings
        problem = "TTL: 1 h is outside this tier. Enter 2 to 6 h."
        assert warning == f"news: does not fit any more. {problem}"
        assert service.draft_page(work, cache.id).draft.problems == (("news:", problem),)
    with pytest.raises(InvalidInput) as raised:
        publish(runtime, cache.id)
    assert "can't be published" in str(raised.value)
    stage(runtime, cache.id, original="news:", base_ttl_s=7200)
    assert publish(runtime, cache.id).version == 1


def test_rules_of_tiers(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime) as work:
        for values, field in (
            ({"name": "Big Tier", "min_ttl_s": 1, "max_ttl_s": 2}, "name"),
            ({"name": "hot", "min_ttl_s": 1, "max_ttl_s": 2}, "name"),
            ({"name": "new", "min_ttl_s": 5, "max_ttl_s": 2}, "max_ttl_s"),
            ({"name": "new", "min_ttl_s": 5, "max_ttl_s": None}, "max_ttl_s"),
        ):
            with pytest.raises(InvalidInput) as raised:
                service.stage_tier(work, cache.id, values, original=None, seen="none")
            assert field in raised.value.fields, values
        seen = service.tier_editor(work, cache.id, "hot").seen
        with pytest.raises(InvalidInput, match="used by Other keys"):
            service.stage_tier_removal(work, cache.id, "hot", seen=seen)
        with pytest.raises(InvalidInput):
            service.stage_tier(
                work, cache.id, {"name": "hotter", "min_ttl_s": 1, "max_ttl_s": 2}, original="hot", seen=seen
            )
        seen = service.tier_editor(work, cache.id, "low-volatility").seen
        service.stage_tier_removal(work, cache.id, "low-volatility", seen=seen)
        cards = service.policies_page(work, cache.id).tiers
        assert [card.staged.change.value for card in cards if card.staged] == ["removed"]


def test_one_edit_is_taken_back_or_all(runtime: Runtime, cache: Cache) -> None:
    for prefix in ("a:", "b:", "c:"):
        stage(runtime, cache.id, prefix)
    with acting(runtime) as work:
        seen = service.draft_page(work, cache.id).draft.revision
        service.unstage(work, cache.id, ItemKind.POLICY, "b:", revision=seen)
        draft = service.draft_page(work, cache.id).draft
        assert [item.name for item in draft.items] == ["a:", "c:"]
        with pytest.raises(NotFound):
            service.unstage(work, cache.id, ItemKind.POLICY, "b:", revision=draft.revision)
        with pytest.raises(PublishConflict):
            service.discard_draft(work, cache.id, revision=draft.revision - 1)
        service.discard_draft(work, cache.id, revision=draft.revision)
        assert service.policies_page(work, cache.id).draft is None


def test_what_somebody_changed_meanwhile_is_not_taken_back_unseen(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, "a:")
    with acting(runtime) as work:
        seen = service.draft_page(work, cache.id).draft.revision
    stage(runtime, cache.id, "b:")
    with acting(runtime, "mira") as work:
        edit = service.editor(work, cache.id, "a:").seen
        service.stage_policy(work, cache.id, fields("a:", jitter_s=1), original="a:", seen=edit)
    with acting(runtime) as work, pytest.raises(PublishConflict, match="mira changed a:") as raised:
        service.unstage(work, cache.id, ItemKind.POLICY, "a:", revision=seen)
    assert [item.name for item in raised.value.changes] == ["a:"]
    # Other edits than the one that is taken back do not matter.
    stage(runtime, cache.id, "c:")
    with acting(runtime) as work:
        seen = service.draft_page(work, cache.id).draft.revision
    stage(runtime, cache.id, "d:")
    with acting(runtime) as work:
        service.unstage(work, cache.id, ItemKind.POLICY, "a:", revision=seen)
        assert [item.name for item in service.draft_page(work, cache.id).draft.items] == ["b:", "c:", "d:"]


def test_an_import_does_not_replace_what_was_staged_since_its_preview(runtime: Runtime, cache: Cache) -> None:
    data = json.dumps(document()).encode()
    with acting(runtime) as work:
        shown = service.draft_page(work, cache.id)
    with acting(runtime, "mira") as work:
        service.stage_policy(work, cache.id, fields("a:"), original=None, seen="")
    with (
        acting(runtime) as work,
        pytest.raises(PublishConflict, match="mira changed what is staged") as raised,
    ):
        service.stage_import(
            work, cache.id, data, "json", revision=shown.draft.revision, version=shown.frame.version
        )
    assert [item.name for item in raised.value.changes] == ["a:"]
    with acting(runtime) as work:
        assert [item.name for item in service.draft_page(work, cache.id).draft.items] == ["a:"]


@pytest.mark.parametrize("how", ["publish", "apply", "revert"])
def test_who_published_first_is_named(runtime: Runtime, cache: Cache, how: str) -> None:
    stage(runtime, cache.id, "a:")
    publish(runtime, cache.id)
    stage(runtime, cache.id, "a:", original="a:", jitter_s=1)
    publish(runtime, cache.id)
    if how == "publish":
        stage(runtime, cache.id, "b:")
    with acting(runtime) as work:
        shown = service.draft_page(work, cache.id)
        seen = {"revision": shown.draft.revision, "version": shown.frame.version}
    with acting(runtime, "mira") as work:
        if how == "publish":
            service.publish(work, cache.id, reason="Fresher news.", revision=seen["revision"])
        elif how == "apply":
            service.apply(work, cache.id, json.dumps(document()).encode(), "json", reason="Fresher news.")
        else:
            service.revert(work, cache.id, to=1, reason="Fresher news.", version=2)
    said = r"mira published version 3 meanwhile: .* \(Fresher news\)\."
    with acting(runtime) as work:
        with pytest.raises(PublishConflict, match=said):
            service.publish(work, cache.id, reason="mine", **seen)
        with pytest.raises(PublishConflict, match=said):
            service.stage_import(work, cache.id, json.dumps(document()).encode(), "json", **seen)
        with pytest.raises(PublishConflict, match=said):
            service.revert(work, cache.id, to=1, reason="mine", version=2)


def test_a_viewer_stages_nothing(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime, role=Role.VIEWER) as work:
        for call in (
            lambda: service.stage_policy(work, cache.id, fields(), original=None, seen=""),
            lambda: service.stage_removal(work, cache.id, "a:", seen=""),
            lambda: service.stage_tier(work, cache.id, {}, original=None, seen=""),
            lambda: service.stage_tier_removal(work, cache.id, "hot", seen=""),
            lambda: stage_import(work, cache.id, b"{}", "json"),
            lambda: service.unstage(work, cache.id, ItemKind.POLICY, "a:", revision=0),
            lambda: service.discard_draft(work, cache.id, revision=0),
            lambda: service.publish(work, cache.id, reason="x", revision=0),
            lambda: service.revert(work, cache.id, to=1, reason="x", version=1),
            lambda: service.apply(work, cache.id, b"{}", "json", reason="x"),
            lambda: service.bypass(work, cache.id, "", minutes=1, reason="x"),
            lambda: service.end_bypass(work, cache.id, ""),
        ):
            with pytest.raises(Forbidden):
                call()


def test_less_time_to_serve_stale_is_warned_of_because_stored_values_keep_theirs(
    runtime: Runtime, cache: Cache
) -> None:
    def grace(seconds: int | None) -> tuple[str, ...]:
        protection = {"lease": True, "early_refresh_beta": None, "grace_s": seconds}
        original = "news:" if is_there(runtime, cache.id) else None
        return stage(runtime, cache.id, original=original, protection=protection).warnings

    def is_there(runtime: Runtime, cache_id: int) -> bool:
        with acting(runtime) as work:
            return bool(service.policies_page(work, cache_id).rows)

    assert grace(600) == grace(300) == grace(600) == (), (
        "nothing was published, so nothing was stored with it"
    )
    publish(runtime, cache.id)
    assert grace(900) == ()
    assert grace(300) == grace(None)
    (said,) = grace(None)
    assert said.startswith("Values of news: that are stored already may still be served stale for 10 m")


def test_no_jitter_on_many_keys_is_a_warning_and_no_refusal(runtime: Runtime, cache: Cache) -> None:
    from dashboard.policies import store

    with acting(runtime) as work:
        store.ensure_partitions(work.session, work.now)
        store.add_growth(
            work.session,
            cache.id,
            {"news:": {"loads": 1200}, "few:": {"loads": 5}, "read:": {"hits": 9}},
            work.now,
        )
    staged = stage(runtime, cache.id, jitter_s=0)
    assert staged.change is not None
    assert staged.warnings == (
        "news: has no jitter and about 1,200 keys: those written together expire together.",
    )
    assert stage(runtime, cache.id, "few:", jitter_s=0).warnings == ()
    stage(runtime, cache.id, "read:")
    assert publish(runtime, cache.id).warnings == staged.warnings
    with acting(runtime) as work:
        rows = {row.prefix: row for row in service.policies_page(work, cache.id).rows}
        assert rows["news:"].is_burst_risk and rows["news:"].keys == 1200
        assert not rows["few:"].is_burst_risk
        assert rows["few:"].keys == 5 and rows["read:"].keys is None
        shown = service.editor(work, cache.id, "news:").preview
        assert shown is not None and (shown.keys, shown.source.value, shown.kind) == (1200, "counted", "warn")


# --- files --------------------------------------------------------------------------------------------------


def document(**changes: Any) -> dict[str, Any]:
    return {
        "tiers": [{"name": "hot", "label": "Hot", "min_ttl_s": 30, "max_ttl_s": 120}],
        "policies": [{"prefix": "stock:", "tier": "hot", "base_ttl_s": 30, "jitter_s": 6}],
        "default": {"tier": "hot", "base_ttl_s": 60},
        **changes,
    }


def test_what_is_exported_comes_back_as_it_was(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, r"\xffbin:", note="two\nlines: 'quoted'")
    stage(runtime, cache.id, "yes")
    stage(runtime, cache.id, "12:30")
    publish(runtime, cache.id)
    with acting(runtime) as work:
        for format in ("json", "yaml"):
            file = service.export(work, cache.id, format)
            assert file.name == f"shop-prod-policies-v1.{format}"
            assert service.diff_import(work, cache.id, file.body, format).is_empty
            assert b"bypass_until" not in file.body


def test_a_file_becomes_the_draft(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id)
    publish(runtime, cache.id)
    stage(runtime, cache.id, "forgotten:")
    with acting(runtime) as work:
        found = stage_import(work, cache.id, json.dumps(document()).encode(), "json")
        draft = service.draft_page(work, cache.id).draft
    assert [(item.kind.value, item.name, item.change.value) for item in found.items] == [
        ("tier", "low-volatility", "removed"),
        ("tier", "frequently-updated", "removed"),
        ("tier", "no-cache", "removed"),
        ("policy", "news:", "removed"),
        ("policy", "stock:", "added"),
        ("default", "", "changed"),
    ]
    assert [item.name for item in draft.items] == [item.name for item in found.items]
    assert draft.problems == ()
    assert publish(runtime, cache.id).version == 2


BOMB = b"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n"
TWICE = b'{"version": 1, "version": 2, "tiers": [], "default": {}}'


@pytest.mark.parametrize(
    ("data", "format", "said"),
    [
        (BOMB, "yaml", "aliases"),
        (b"- 1\n- 2\n", "yaml", "one object"),
        (b"tiers: [", "yaml", "can't be read as YAML"),
        (b"a: b: c\n", "yaml", "mapping values are not allowed in this context, in line 1, column 5."),
        (b"a: \xff\n", "yaml", "can't be part of a text in UTF-8."),
        (b"!!python/object/apply:os.system ['true']", "yaml", "can't be read as YAML"),
        (b"a: 1\na: 2\n", "yaml", "given twice in the object that begins in line 1"),
        (b"[" * 5000, "yaml", "nested deeper"),
        (b"[" * 100_000, "json", "can't be read as JSON: it is nested too deeply."),
        (b'{"a": 1,}', "json", "in line 1, column 9."),
        (b'{"a": "\xff"}', "json", "byte 8 can't be part of a text in UTF-8."),
        (b"\xff\xfe\x00", "json", "can't be read as JSON"),
        (b"\x00", "yaml", "can't be read as YAML"),
        (TWICE, "json", "given twice"),
        (b'{"version": NaN}', "json", "NaN"),
        (
            b" " * (MAX_IMPORT_BYTES + 1),
            "yaml",
            "The file has more than 3,000,000 bytes; larger ones are not read.",
        ),
        (b"null", "json", "one object"),
        (json.dumps(document(colour="red")).encode(), "json", "colour: Unknown field"),
        (json.dumps(document(schema=2)).encode(), "json", "schema 2"),
        (json.dumps(document(tiers={})).encode(), "json", "tiers: Must be a list"),
        (json.dumps(document(default=[])).encode(), "json", "default: Must be an object"),
        (
            json.dumps(document(policies=[{"prefix": 7, "tier": "hot", "base_ttl_s": True}])).encode(),
            "json",
            "policies[0].prefix: Must be text",
        ),
        (
            json.dumps(document(default={"tier": "hot", "base_ttl_s": 60, "bypass_until": 9e9})).encode(),
            "json",
            "bypass is no part of a file",
        ),
    ],
)
def test_hostile_files_are_refused_with_the_reason(
    runtime: Runtime, cache: Cache, data: bytes, format: str, said: str
) -> None:
    start = time.monotonic()
    with acting(runtime) as work:
        for call in (stage_import, service.diff_import):
            with pytest.raises(InvalidInput) as raised:
                call(work, cache.id, data, format)
            assert said in raised.value.fields["file"]
        assert service.policies_page(work, cache.id).draft is None
    assert time.monotonic() - start < 5


def test_a_hundred_thousand_prefixes_are_refused(runtime: Runtime, cache: Cache) -> None:
    many = [{"prefix": f"p{number}:", "tier": "hot"} for number in range(100_000)]
    data = json.dumps(document(policies=many), separators=(",", ":")).encode()
    with acting(runtime) as work, pytest.raises(InvalidInput) as raised:
        stage_import(work, cache.id, data, "json")
    assert "more than 3,000,000 bytes" in raised.value.fields["file"]


def test_a_document_that_is_too_big_for_applications_is_refused(runtime: Runtime, cache: Cache) -> None:
    many = [{"prefix": f"p{number}:", "tier": "hot", "base_ttl_s": 60} for number in range(5000)]
    with acting(runtime) as work, pytest.raises(InvalidInput) as raised:
        stage_import(work, cache.id, json.dumps(document(policies=many)).encode(), "json")
    assert "bytes; at most 1,000,000" in raised.value.fields["file"]


def test_thousands_of_policies_are_staged_published_and_shown_in_seconds(
    runtime: Runtime, cache: Cache
) -> None:
    many = [{"prefix": f"p{number}:", "tier": "hot", "base_ttl_s": 60} for number in range(3000)]
    data = yaml.safe_dump(document(policies=many)).encode()
    start = time.monotonic()
    with acting(runtime) as work:
        stage_import(work, cache.id, data, "yaml")
    publish(runtime, cache.id)
    with acting(runtime) as work:
        assert len(service.policies_page(work, cache.id).rows) == 3000
        service.history_page(work, cache.id)
    assert time.monotonic() - start < 20


def test_a_jitter_is_staged_on_top_of_whatever_else_is(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id, jitter_s=0, note="from the newsroom")
    with acting(runtime) as work:
        staged = service.stage_jitter(work, cache.id, "news:", 600)
    assert (
        staged.change is not None and staged.change.summary == "added: Frequently updated, 1 h + up to 10 m"
    )
    with acting(runtime) as work:
        (row,) = service.policies_page(work, cache.id).rows
    assert (row.jitter_text, row.policy.note) == ("up to 10 m", "from the newsroom")


def test_the_default_takes_a_jitter_too(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime) as work:
        staged = service.stage_jitter(work, cache.id, "", 25)
    assert staged.change is not None and "25 s" in staged.change.summary


@pytest.mark.parametrize(("prefix", "jitter_s"), [("news:", 18_001), ("news:", -1), ("", 10**9)])
def test_a_jitter_that_a_policy_does_not_take_is_refused(
    runtime: Runtime, cache: Cache, prefix: str, jitter_s: int
) -> None:
    stage(runtime, cache.id)
    with acting(runtime) as work, pytest.raises(InvalidInput) as raised:
        service.stage_jitter(work, cache.id, prefix, jitter_s)
    assert "jitter_s" in raised.value.fields


@pytest.mark.parametrize("prefix", ["gone:", "bad\\q"])
def test_a_jitter_needs_its_policy(runtime: Runtime, cache: Cache, prefix: str) -> None:
    with acting(runtime) as work, pytest.raises(NotFound):
        service.stage_jitter(work, cache.id, prefix, 60)


def test_a_viewer_stages_no_jitter(runtime: Runtime, cache: Cache) -> None:
    stage(runtime, cache.id)
    with acting(runtime, "vera", Role.VIEWER) as work, pytest.raises(Forbidden):
        service.stage_jitter(work, cache.id, "news:", 60)
