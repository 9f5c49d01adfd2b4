"""Versions: the list, one of them, any two compared, going back, who runs which."""

import json
from datetime import timedelta

import pytest
import yaml
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.caching.policy import parse_document
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support.people import as_cli
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, count, fields, hear, opened, page_of, publish, stage


@pytest.fixture
def three(operator: FlaskClient, runtime: Runtime) -> int:
    """A cache with three versions: one policy, two, and the first one changed."""
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id, "First try")
    stage(runtime, cache.id, "wallet:")
    publish(runtime, cache.id, "The wallet too")
    path = f"/caches/{cache.id}/policies/edit?prefix=news:"
    operator.post(path, data=fields(base_ttl_s="2", seen=opened(operator, path)))
    publish(runtime, cache.id, "Less load")
    return cache.id


def test_lists_the_versions_newest_first(operator: FlaskClient, three: int) -> None:
    page = operator.get(f"/caches/{three}/policies/versions").get_data(as_text=True)
    assert page.index("Less load") < page.index("The wallet too") < page.index("First try")
    assert "Compare the two chosen" in page and "style=" not in page
    part = operator.get(f"/caches/{three}/policies/versions?before=2").get_data(as_text=True)
    assert "First try" in part and "Less load" not in part


def test_no_version_yet(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert "Nothing was published yet" in viewer.get(f"/caches/{cache.id}/policies/versions").get_data(
        as_text=True
    )


def test_one_version_and_what_it_changed(operator: FlaskClient, three: int) -> None:
    page = operator.get(f"/caches/{three}/policies/versions/3").get_data(as_text=True)
    assert "1 h" in page and "2 h" in page and '<span class="del">' in page and "Less load" in page
    assert "Current" in page and "Revert to" not in page
    older = operator.get(f"/caches/{three}/policies/versions/1").get_data(as_text=True)
    assert "Revert to v1" in older and "Publishes v1 again as v4" in older


@pytest.mark.parametrize(("older", "newer"), [("1", "3"), ("3", "1")])
def test_compares_any_two(operator: FlaskClient, three: int, older: str, newer: str) -> None:
    page = operator.get(f"/caches/{three}/policies/compare?older={older}&newer={newer}").get_data(
        as_text=True
    )
    assert "v1 to v3" in page and "wallet:" in page and "news:" in page
    assert page.index('<span class="del">- ') < page.index('<span class="ins">+ ')


def test_bad_numbers(operator: FlaskClient, three: int) -> None:
    base = f"/caches/{three}/policies"
    gone = operator.get(f"{base}/versions/99")
    assert gone.status_code == 404
    assert f'<a class="btn" href="{base}/versions">' in gone.get_data(as_text=True)
    assert operator.get(f"{base}/versions/{2**62}").status_code == 404
    assert operator.get(f"{base}/compare?older=1&newer=99").status_code == 404
    for query in ("", "older=1", "older=x&newer=1", f"older=1&newer={2**40}"):
        assert operator.get(f"{base}/compare?{query}").status_code == 422
    assert operator.get(f"{base}/versions?before=0").status_code == 422
    assert operator.get(f"{base}/export?format=xml").status_code == 422
    assert operator.get(f"{base}/export?version=99").status_code == 404


def test_reverts_with_a_reason_as_a_new_version(operator: FlaskClient, runtime: Runtime, three: int) -> None:
    path = f"/caches/{three}/policies/versions/1/revert"
    answer = operator.post(path, data={"reason": "Too slow", "version": "3"})
    assert answer.status_code == 303
    page = page_of(runtime, three)
    assert page.frame.version == 4 and [row.prefix for row in page.rows] == ["news:"]
    listed = operator.get(f"/caches/{three}/policies/versions").get_data(as_text=True)
    assert "back to v1" in listed
    with as_cli(runtime) as work:
        query = "SELECT reason FROM audit_entry WHERE action LIKE 'policies:%revert'"
        assert work.session.execute(text(query)).all() == [("Too slow",)]


def test_a_revert_is_refused_without_a_reason_and_after_another_version(
    operator: FlaskClient, runtime: Runtime, three: int
) -> None:
    path = f"/caches/{three}/policies/versions/1/revert"
    answer = operator.post(path, data={"reason": " ", "version": "3"})
    assert answer.status_code == 422 and 'id="reason-e"' in answer.get_data(as_text=True)
    answer = operator.post(path, data={"reason": "typed before", "version": "2"})
    page = answer.get_data(as_text=True)
    assert (
        answer.status_code == 409
        and "root published version 3 meanwhile" in page
        and 'value="typed before"' in page
    )
    assert page_of(runtime, three).frame.version == 3


def test_a_viewer_looks_and_does_not_revert(viewer: FlaskClient, three: int) -> None:
    assert "Revert to v1" not in viewer.get(f"/caches/{three}/policies/versions/1").get_data(as_text=True)
    assert viewer.post(f"/caches/{three}/policies/versions/1/revert").status_code == 403


def test_needs_sign_in(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for path in ("versions", "versions/1", "compare", "instances", "export", "test"):
        assert client.get(f"/caches/{cache.id}/policies/{path}").status_code == 303


def test_exports_what_is_in_force_or_any_version(viewer: FlaskClient, three: int) -> None:
    as_json = viewer.get(f"/caches/{three}/policies/export?format=json")
    document = parse_document(as_json.get_data())
    assert document.version == 3 and document.find("news:1").base_ttl_s == 7200
    assert "attachment" in as_json.headers["Content-Disposition"]
    assert ".json" in as_json.headers["Content-Disposition"] and as_json.mimetype == "application/json"
    first = yaml.safe_load(viewer.get(f"/caches/{three}/policies/export?version=1").get_data(as_text=True))
    assert parse_document(json.dumps(first)).version == 1


def test_nobody_has_reported(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = viewer.get(f"/caches/{cache.id}/policies/instances").get_data(as_text=True)
    assert "No application has reported yet" in page
    part = viewer.get(f"/caches/{cache.id}/policies/instances", headers=FRAGMENT).get_data(as_text=True)
    assert part.strip().startswith('<div class="stack" id="policies-instances"')


def test_instances_worst_first_with_the_reason(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, three: int
) -> None:
    clock.wall += timedelta(minutes=5)
    now = clock.now()
    hear(runtime, three, "fine", now, policy_version=3, applied_at=now)
    hear(runtime, three, "away", now - timedelta(minutes=3), policy_version=1, applied_at=now)
    hear(
        runtime,
        three,
        "<b>odd</b>",
        now,
        policy_version=2,
        refused_version=3,
        refusal="schema 2 <i>is</i> new",
    )
    for path in ("instances", "versions/3"):
        page = viewer.get(f"/caches/{three}/policies/{path}").get_data(as_text=True)
        table = page[page.index('id="instances-h"') :]
        assert table.index("odd") < table.index("away@") < table.index("fine@")
        assert (
            "Refused v3" in table and "schema 2 &lt;i&gt;is&lt;/i&gt; new" in table and "<b>odd" not in page
        )
        assert "Away" in table and "Applied" in table
        assert "Seen 0 s ago, library 1.0. schema 2" in table  # on a phone, for want of columns
    page = viewer.get(f"/caches/{three}/policies").get_data(as_text=True)
    assert "1 of 3 application instances runs it, 1 refused it, 1 away" in page


def test_a_version_that_made_it_worse_says_so(
    operator: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    for minute in range(1, 31):
        count(runtime, cache.id, clock.now() - timedelta(minutes=minute), hits=80, misses=20, loads=20)
    publish(runtime, cache.id)
    published = clock.now()
    path = f"/caches/{cache.id}/policies/versions/1"
    assert "too early" in operator.get(path).get_data(as_text=True)
    for minute in range(1, 120):
        count(runtime, cache.id, published + timedelta(minutes=minute), hits=50, misses=50, loads=50)
    clock.wall += timedelta(minutes=31)
    page = operator.get(path).get_data(as_text=True)
    assert "Worse" not in page and "it is judged in 43 m" in page
    clock.wall += timedelta(minutes=89)
    page = operator.get(path).get_data(as_text=True)
    assert "Worse since v1." in page and "-30.0 points" in page and "made it" not in page
    assert "30 m before and after v1" in page and "Reads stayed level" in page and "style=" not in page
    assert "30 m, 1 h 12 m later" in page


def test_the_table_shows_what_applications_counted(
    operator: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:", "wallet:")
    publish(runtime, cache.id)
    count(runtime, cache.id, clock.now(), "news:", hits=600, misses=400)
    count(runtime, cache.id, clock.now(), "wallet:", hits=900, misses=100)
    clock.wall += timedelta(minutes=16)
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "Below target 1" in page and "60.0%" in page and "90.0%" in page and "1,000" in page
    by_ratio = operator.get(f"/caches/{cache.id}/policies?sort=hit").get_data(as_text=True)
    table = by_ratio[by_ratio.index("<tbody>") :]
    assert table.index("news:") < table.index("wallet:")
    below = operator.get(f"/caches/{cache.id}/policies?show=below").get_data(as_text=True)
    assert "wallet:" not in below[below.index("<tbody>") :]
