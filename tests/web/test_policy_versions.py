"""Versions: the list, one of them, any two compared, going back, who runs which."""

import json

import pytest
import yaml
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.caching.policy import parse_document
from dashboard.work import Runtime
from tests.support.people import as_cli
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, fields, opened, page_of, publish, stage


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
    assert operator.get(f"{base}/versions/99").status_code == 404
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
    assert answer.status_code == 409 and "was published since" in page and 'value="typed before"' in page
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
