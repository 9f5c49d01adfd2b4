"""The drawing beside a policy's form, and which policy applies to a key."""

import pytest
from flask.testing import FlaskClient

from dashboard.work import Runtime
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, fields, page_of, publish, stage


def test_draws_what_stands_in_the_form(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/preview?is_new=1"
    answer = operator.post(path, data=fields(keys="3640"), headers=FRAGMENT)
    part = answer.get_data(as_text=True)
    assert answer.status_code == 200 and part.strip().startswith(
        '<div class="gap plan" id="policies-preview">'
    )
    assert "1 h + up to 12 m" in part and "3,640" in part and part.count('class="will"') > 10
    assert "style=" not in part and page_of(runtime, cache.id).draft is None


def test_says_about_of_means_and_no_time_twice(operator: FlaskClient, runtime: Runtime) -> None:
    path = f"/caches/{add_cache(runtime).id}/policies/preview?is_new=1"
    part = operator.post(path, data=fields(keys="3640"), headers=FRAGMENT).get_data(as_text=True)
    assert ">about " in part and "at most" not in part
    part = operator.post(path, data=fields(jitter_s="0"), headers=FRAGMENT).get_data(as_text=True)
    assert part.count(">1 h</text>") == 1


@pytest.mark.parametrize("typed", [{"base_ttl_s": "8"}, {"base_ttl_s": ""}, {"keys": "-1"}, {"keys": "x"}])
def test_waits_while_the_form_can_not_be_used(
    operator: FlaskClient, runtime: Runtime, typed: dict[str, str]
) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/preview?is_new=1"
    answer = operator.post(path, data=fields() | typed, headers=FRAGMENT)
    part = answer.get_data(as_text=True)
    assert answer.status_code == 200 and answer.headers["HX-Retarget"] == "#policies-preview-note"
    assert part.strip().startswith('<div id="policies-preview-note" data-waits>')
    (name,) = typed
    assert part.count("data-for") == 1 and f'<p class="err" data-for="{name}">' in part


def test_names_a_wrong_field_that_the_drawing_does_not_need(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/preview?is_new=1"
    answer = operator.post(path, data=fields(prefix="cachewarden:x"), headers=FRAGMENT)
    part = answer.get_data(as_text=True)
    assert "HX-Retarget" not in answer.headers and 'class="will"' in part
    assert '<p class="err" data-for="prefix">' in part
    part = operator.post(path, data=fields(prefix=""), headers=FRAGMENT).get_data(as_text=True)
    assert "data-for" not in part  # it may not be typed yet


def test_nothing_is_drawn_for_what_is_not_cached(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/preview?is_new=1"
    part = operator.post(path, data=fields(tier="no-cache"), headers=FRAGMENT).get_data(as_text=True)
    assert "Nothing to draw." in part and 'id="policies-preview"' in part


def test_without_scripts_the_whole_page_comes_back_with_what_was_typed(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/preview?is_new=1"
    page = operator.post(path, data=fields(prefix="typed:", base_ttl_s="8")).get_data(as_text=True)
    assert "<html" in page and 'value="typed:"' in page and 'value="8"' in page
    assert "8 h is outside this tier" in page and 'id="base_ttl_s-e"' in page


def test_needs_sign_in_the_role_and_a_cache(
    client: FlaskClient, viewer: FlaskClient, operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/preview"
    assert client.post(path, data=fields()).status_code == 303
    assert viewer.post(path, data=fields()).status_code == 403
    assert operator.post("/caches/1/policies/preview", data=fields()).status_code == 404


def test_the_longest_prefix_applies(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "p:", "p:news:")
    publish(runtime, cache.id)
    page = viewer.get(f"/caches/{cache.id}/policies/test?key=p:news:7").get_data(as_text=True)
    assert 'The policy of <b class="mono">p:news:</b> applies, with 1 h + up to 12 m' in page
    assert 'Also matching, but shorter: <span class="mono">p:</span>' in page
    other = viewer.get(f"/caches/{cache.id}/policies/test?key=x").get_data(as_text=True)
    assert "No prefix matches this key, so it follows <b>Other keys</b>" in other
    assert "stand for themselves" not in other
    pattern = viewer.get(f"/caches/{cache.id}/policies/test?key=p:*").get_data(as_text=True)
    assert "* and ? stand for themselves" in pattern
    # What was asked stands in its field; the answer does not say it all again.
    long = viewer.get(f"/caches/{cache.id}/policies/test?key=p:{'k' * 3000}").get_data(as_text=True)
    assert long.count("k" * 3000) == 1


def test_says_what_the_draft_would_do(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "a:")
    publish(runtime, cache.id)
    stage(runtime, cache.id, "news:")
    part = viewer.get(f"/caches/{cache.id}/policies/test?key=news:7", headers=FRAGMENT).get_data(as_text=True)
    assert part.strip().startswith('<section class="card" id="policies-test"')
    assert "Once the staged changes are published" in part


def test_a_key_that_can_not_be_read_is_said_at_the_field(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    answer = viewer.get(f"/caches/{cache.id}/policies/test", query_string={"key": "a\\q"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and 'id="key-e"' in page and 'value="a\\q"' in page
