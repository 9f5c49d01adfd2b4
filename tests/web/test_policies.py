"""The Policies page: tiers, the table, what is staged, running bypasses."""

import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from dashboard.policies import service, store
from dashboard.policies.types import PrefixUse
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support.people import as_cli
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, fields, hear, opened, page_of, publish, stage


def test_shows_the_tiers_and_the_default_before_anything_was_edited(
    viewer: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    answer = viewer.get(f"/caches/{cache.id}/policies")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200 and "style=" not in page and "onclick" not in page
    for text in (
        "Low volatility",
        "24 to 48 h",
        "Frequently updated",
        "1 to 6 h",
        "30 s to 2 m",
        "Never stored",
    ):
        assert text in page
    assert "No prefix has its own policy yet" in page and "Other keys" in page
    assert "Which policy applies to this key?" in page


def test_what_is_staged_stands_beside_what_is_in_force(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    page = table_of(operator, cache.id)
    assert "New, staged" in page and "staged: " not in page
    publish(runtime, cache.id)
    path = f"/caches/{cache.id}/policies/edit?prefix=news:"
    sent = fields(base_ttl_s="2", seen=opened(operator, path))
    assert operator.post(path, data=sent).status_code == 303
    page = table_of(operator, cache.id)
    assert (
        '1 h<span class="staged"><span class="sr">staged: </span><span aria-hidden="true">→</span>2 h' in page
    )
    assert page.count('class="staged"') == 1  # its jitter and tier are as they were


def test_a_staged_range_stands_beside_the_one_in_force(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/tiers/edit?name=hot"
    sent = {
        "name": "hot", "label": "Hot", "is_cached": "yes", "min_ttl_s": "30", "min_ttl_s.unit": "s",
        "max_ttl_s": "3", "max_ttl_s.unit": "m", "seen": opened(operator, path),
    }  # fmt: skip
    assert operator.post(path, data=sent).status_code == 303
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert '30 s to 2 m <span class="staged">' in page and "</span>30 s to 3 m</span>" in page


def test_a_pattern_for_a_prefix_is_taken_and_warned_of(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    sent = fields(prefix="news:*")
    assert operator.post(f"/caches/{cache.id}/policies/add", data=sent).status_code == 303
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "news:* is taken as it is" in page and "Keys like news:1 need the prefix “news:”." in page


def test_a_version_on_its_way_is_looked_at_each_second_for_a_while(
    operator: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    hear(runtime, cache.id, "shop", clock.now(), policy_version=None)
    path = f"/caches/{cache.id}/policies"
    for part in ("live", "instances"):
        assert " data-soon" in operator.get(f"{path}/{part}", headers=FRAGMENT).get_data(as_text=True)
    clock.wall += timedelta(seconds=31)
    for part in ("live", "instances"):
        assert " data-soon" not in operator.get(f"{path}/{part}", headers=FRAGMENT).get_data(as_text=True)


def table_of(browser: FlaskClient, cache_id: int) -> str:
    """The rows of the table of policies."""
    page = browser.get(f"/caches/{cache_id}/policies").get_data(as_text=True)
    return page[page.index("<tbody>") : page.index("</tbody>")]


def test_a_viewer_finds_nothing_to_press(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    page = viewer.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "1 staged change" in page
    for word in ("Add policy", "Edit policy", "Review and publish", "Add a tier", "Import"):
        assert word not in page


def test_shows_what_is_staged_and_what_was_published(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:", "product:")
    publish(runtime, cache.id)
    stage(runtime, cache.id, "wallet:")
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "1 staged change, not in force yet" in page and "Review and publish v2" in page
    table = page[page.index("<tbody>") :]
    assert "up to 12 m" in table and table.index("news:") < table.index("product:") < table.index("wallet:")
    assert "Version 1" in page


def test_filters_keep_their_rows_only(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    stage(runtime, cache.id, "wallet:")
    page = operator.get(f"/caches/{cache.id}/policies?show=staged").get_data(as_text=True)
    assert re.findall(r'<tr id="row-1".*?title="([^"]*)"', page) == ["wallet:"] and 'id="row-2"' not in page


@pytest.mark.parametrize("query", ["show=nonsense", "sort=x", "first=-1", "first=x"])
def test_a_bad_query_is_named(viewer: FlaskClient, runtime: Runtime, query: str) -> None:
    cache = add_cache(runtime)
    answer = viewer.get(f"/caches/{cache.id}/policies?{query}")
    assert answer.status_code == 422 and query.partition("=")[0] in answer.get_data(as_text=True)


def test_a_long_list_comes_in_parts(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, *(f"p{number:03}:" for number in range(205)))
    first = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "1 to 200 of 205" in first and "p204:" not in first and "first=200" in first
    rest = operator.get(f"/caches/{cache.id}/policies?first=200").get_data(as_text=True)
    assert "201 to 205 of 205" in rest and "p204:" in rest and "Other keys" in rest


def test_hostile_text_is_text(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "<script>alert(1)</script>", "a&b\"'>:", note="<img src=x onerror=1>")
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "<script>alert" not in page and "&lt;script&gt;" in page
    href = re.findall(r'href="([^"]*/edit\?prefix=a[^"]*)"', page)[0].replace("&amp;", "&")
    form = operator.get(href).get_data(as_text=True)
    assert 'value="a&amp;b&#34;&#39;&gt;:"' in form and "<img src=x" not in form


def test_as_fragment(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = viewer.get(f"/caches/{cache.id}/policies", headers=FRAGMENT).get_data(as_text=True).strip()
    assert page.startswith('<div class="stack" id="policies-table">') and "<html" not in page


def test_the_live_round_says_when_the_page_is_no_longer_true(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = viewer.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    live = re.findall(r'hx-get="([^"]*/live\?seen=[^"]*)"', page)[0]
    quiet = viewer.get(live, headers=FRAGMENT).get_data(as_text=True)
    assert (
        quiet.strip().startswith('<div class="stack" id="policies-live"') and "changed meanwhile" not in quiet
    )
    stage(runtime, cache.id, "news:")
    said = viewer.get(live, headers=FRAGMENT).get_data(as_text=True)
    assert (
        "changed meanwhile" in said and "root staged a change to news:; what is in force is the same" in said
    )
    stage(runtime, cache.id, "a:", "b:", "c:")
    said = viewer.get(live, headers=FRAGMENT).get_data(as_text=True)
    assert "root staged changes to a:, b:, c: and 1 more" in said
    seen = live.replace("seen=0.0", f"seen=0.{page_of(runtime, cache.id).draft.revision}")  # type: ignore[union-attr]
    with as_cli(runtime) as work:
        held = service.draft_page(work, cache.id).draft
        service.discard_draft(work, cache.id, revision=held.revision)
    said = viewer.get(seen, headers=FRAGMENT).get_data(as_text=True)
    assert "Staged changes were taken back; what is in force is the same." in said
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    said = viewer.get(seen, headers=FRAGMENT).get_data(as_text=True)
    assert "This page shows an earlier state; version 1 is in force." in said


def test_needs_sign_in(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert client.get(f"/caches/{cache.id}/policies").status_code == 303


def test_unknown_id(viewer: FlaskClient) -> None:
    assert viewer.get("/caches/1/policies").status_code == 404
    assert viewer.get("/caches/1/policies/live", headers=FRAGMENT).status_code == 404


def test_a_read_only_cache_says_so(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, read_only=True)
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "Read-only." in page and "publishing and bypassing are refused" in page


@pytest.mark.parametrize("key", ["cachewarden:policies", r"cache\x77arden:tag:x"])
def test_our_own_keys_follow_no_policy(viewer: FlaskClient, runtime: Runtime, key: str) -> None:
    cache = add_cache(runtime)
    answer = viewer.get(f"/caches/{cache.id}/policies/test", query_string={"key": key})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "Cachewarden&#39;s own: no policy applies to them." in page
    assert "so it follows" not in page


def test_spaces_that_are_left_out_are_told_of(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    operator.post(f"/caches/{cache.id}/policies/add", data=fields(prefix=" news:"))
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert (
        r"Write \x20 for one that is part of it." in page
        and page_of(runtime, cache.id).rows[0].prefix == "news:"
    )
    operator.post(f"/caches/{cache.id}/policies/add", data=fields(prefix="wallet:"))
    assert "x20" not in operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)


def test_a_document_that_was_written_again_is_told_of(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    path = f"/caches/{cache.id}/policies/live"
    assert "wrote the document again" not in viewer.get(path, headers=FRAGMENT).get_data(as_text=True)
    with as_cli(runtime) as work:
        store.put_publication(
            work.session,
            cache.id,
            state="republished",
            found_version=1,
            checked_at=work.now,
            republished_at=work.now,
            republish_reason="version 7 was there",
        )
    said = viewer.get(path, headers=FRAGMENT).get_data(as_text=True)
    assert "The worker last wrote the document again" in said and ": version 7 was there." in said


@pytest.mark.parametrize(
    ("misses", "counted_s", "is_below"),
    [(1, 86_400.0, False), (19, 86_400.0, False), (20, 60.0, False), (20, 899.0, False), (20, 900.0, True)],
)
def test_a_hit_ratio_is_judged_by_enough_reads_and_after_a_start(
    misses: int, counted_s: float, is_below: bool
) -> None:
    assert PrefixUse("", counted_s, {"misses": misses}).is_below(0.8) is is_below
    assert not PrefixUse("", counted_s, {"hits": 99, "misses": 1}).is_below(0.8)
