"""The form of one policy: staging a new one and a change."""

from collections.abc import Callable
from html import unescape

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.work import Runtime
from tests.support.people import as_cli
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, fields, opened, page_of, publish, seen_in, stage


def test_shows_the_policy_in_its_largest_units(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    page = operator.get(f"/caches/{cache.id}/policies/edit?prefix=news:").get_data(as_text=True)
    assert 'name="base_ttl_s" inputmode="decimal" autocomplete="off" maxlength="20" value="1"' in page
    assert '<option value="h" selected>hours</option>' in page
    assert '<option value="frequently-updated" selected' in page
    assert "This tier allows 1 to 6 h" in page and "style=" not in page
    assert page.count('id="policies-editor"') == 1 and "Keys expiring per" in page


def test_as_fragment(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = operator.get(f"/caches/{cache.id}/policies/add", headers=FRAGMENT).get_data(as_text=True).strip()
    assert page.startswith('<div class="stack" id="policies-table">') and "Stage policy" in page


def test_needs_sign_in(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for path in ("add", "edit"):
        assert client.get(f"/caches/{cache.id}/policies/{path}").status_code == 303
        assert client.post(f"/caches/{cache.id}/policies/{path}", data=fields()).status_code == 303


def test_needs_the_role(viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for path in ("add", "edit"):
        assert viewer.get(f"/caches/{cache.id}/policies/{path}").status_code == 403
        assert viewer.post(f"/caches/{cache.id}/policies/{path}", data=fields()).status_code == 403
    assert page_of(runtime, cache.id).rows == ()


def test_unknown_cache_and_unknown_prefix(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert operator.get(f"/caches/{cache.id + 1}/policies/add").status_code == 404
    assert operator.post(f"/caches/{cache.id + 1}/policies/add", data=fields()).status_code == 404
    assert operator.get(f"/caches/{cache.id}/policies/edit?prefix=gone:").status_code == 404


def test_stages_a_new_policy_with_an_audit_entry(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    answer = operator.post(f"/caches/{cache.id}/policies/add", data=fields(protection__grace_s="90"))
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/caches/{cache.id}/policies")
    page = page_of(runtime, cache.id)
    found = page.rows[0].policy
    assert (found.prefix, found.base_ttl_s, found.jitter_s) == (b"news:", 3600, 720)
    assert found.protection.lease and found.protection.grace_s == 90
    assert page.frame.version == 0  # staged, not published
    with as_cli(runtime) as work:
        actions = work.session.execute(text("SELECT action, actor_name FROM audit_entry")).all()
    assert any(action.startswith("policies:") and name == "the-operator" for action, name in actions)


@pytest.mark.parametrize(
    ("typed", "seconds"),
    [({"jitter_s": "20", "jitter_s.unit": "%"}, 720), ({"jitter_s": "0.1", "jitter_s.unit": "h"}, 360)],
)
def test_jitter_by_share_and_by_fraction(
    operator: FlaskClient, runtime: Runtime, typed: dict[str, str], seconds: int
) -> None:
    cache = add_cache(runtime)
    assert operator.post(f"/caches/{cache.id}/policies/add", data=fields() | typed).status_code == 303
    assert page_of(runtime, cache.id).rows[0].policy.jitter_s == seconds


def test_a_tier_without_a_cache_needs_no_ttl(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert operator.post(f"/caches/{cache.id}/policies/add", data=fields(tier="no-cache")).status_code == 303
    assert page_of(runtime, cache.id).rows[0].policy.base_ttl_s is None


def test_the_default_has_no_prefix(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/edit?prefix="
    assert 'name="prefix"' not in operator.get(path).get_data(as_text=True)
    sent = fields(tier="hot", seen=opened(operator, path)) | {
        "base_ttl_s": "2", "base_ttl_s.unit": "m", "jitter_s": "0",
    }  # fmt: skip
    assert operator.post(path, data=sent).status_code == 303
    assert page_of(runtime, cache.id).default.policy.base_ttl_s == 120


BAD: list[tuple[dict[str, str], str]] = [
    ({"base_ttl_s": "8"}, "8 h is outside this tier. Enter 1 to 6 h"),
    ({"base_ttl_s": "abc"}, "“abc” can't be read as a number. Enter 1 to 6 h."),
    ({"base_ttl_s": ""}, "Enter 1 to 6 h."),
    ({"base_ttl_s": "9" * 20}, "can't be read as a number"),
    ({"jitter_s": "6", "jitter_s.unit": "h"}, "goes beyond this tier"),
    ({"jitter_s": "-1"}, "Jitter only adds to the TTL. Enter 0 to 300 m."),
    ({"prefix": ""}, "Enter the start of the keys"),
    ({"prefix": "cachewarden:x"}, "is reserved"),
    ({"prefix": "a\\q"}, "Write a backslash as"),
    ({"prefix": "x" * 2000}, "It has 2,000 bytes; at most 512 fit."),
    ({"tier": "nonsense"}, "Choose one of the tiers."),
    ({"strategy": "nonsense"}, "Choose Cache-aside or Write-through."),
    ({"protection.grace_s": "99999999"}, "is too much. Enter 1 s to 10 h, ten times the TTL"),
    ({"protection.early_refresh_beta": "99"}, "99 is too much. Enter 0.1 to 10"),
    ({"negative_ttl_s": "1000000000"}, "1000000000 s is too much. Enter 0 to 3,600 s"),
    ({"negative_ttl_s": "1e3"}, "“1e3” can't be read as a number. Enter 0 to 3,600 s"),
    ({"base_ttl_s": "7,5"}, "7,5 h is outside this tier. Enter 1 to 6 h"),
    ({"longest_wait_s": "nan"}, "Enter 0 to 60 s."),
    ({"note": "x" * 2001}, "It has 2,001 characters; at most 2,000 fit."),
]


@pytest.mark.parametrize(
    ("typed", "message"), BAD, ids=[" ".join(typed)[:40] + str(n) for n, (typed, _) in enumerate(BAD)]
)
def test_bad_input_is_said_at_the_field_and_keeps_what_was_typed(
    operator: FlaskClient, runtime: Runtime, typed: dict[str, str], message: str
) -> None:
    cache = add_cache(runtime)
    sent = fields(longest_wait_s="7") | typed
    answer = operator.post(f"/caches/{cache.id}/policies/add", data=sent)
    page = answer.get_data(as_text=True)
    name = next(iter(typed))
    assert answer.status_code == 422
    assert message in unescape(page) and f'id="{name}-e"' in page and "Not staged." in page
    assert page.count('aria-invalid="true"') >= 1
    if name not in ("tier", "strategy", "note"):
        assert f'value="{typed[name]}"' in page
    if name != "longest_wait_s":
        assert 'value="7"' in page
    assert page_of(runtime, cache.id).rows == ()


def test_refused_as_fragment(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/add"
    answer = operator.post(path, data=fields(base_ttl_s="8"), headers=FRAGMENT)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and page.strip().startswith('<div class="stack" id="policies-table">')
    good = operator.post(path, data=fields(), headers=FRAGMENT)
    assert (good.status_code, good.headers["HX-Redirect"]) == (204, f"/caches/{cache.id}/policies")


def test_a_prefix_that_is_there_is_refused(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    answer = operator.post(f"/caches/{cache.id}/policies/add", data=fields())
    assert answer.status_code == 422 and "has a policy already" in answer.get_data(as_text=True)


def test_the_second_editor_sees_the_change_and_keeps_what_was_typed(
    operator: FlaskClient, runtime: Runtime, as_role: Callable[[Role], FlaskClient]
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    path = f"/caches/{cache.id}/policies/edit?prefix=news:"
    other = as_role(Role.ADMIN)
    mine, theirs = opened(operator, path), opened(other, path)
    assert other.post(path, data=fields(base_ttl_s="2", seen=theirs)).status_code == 303
    answer = operator.post(path, data=fields(base_ttl_s="3", seen=mine))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert "Changed meanwhile" in page and "2 h" in page and 'value="3"' in page
    # Knowing it now, the next try wins.
    assert operator.post(path, data=fields(base_ttl_s="3", seen=seen_in(page))).status_code == 303
    assert page_of(runtime, cache.id).rows[0].policy.base_ttl_s == 3 * 3600


def test_a_policy_that_was_removed_meanwhile_keeps_what_was_typed(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    answer = operator.post(f"/caches/{cache.id}/policies/edit?prefix=gone:", data=fields(base_ttl_s="3"))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "Changed meanwhile" in page and 'value="3"' in page


def test_a_prefix_of_odd_bytes_comes_back_as_it_was(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    odd = "\\x00\\xff ünï&?#:"
    assert operator.post(f"/caches/{cache.id}/policies/add", data=fields(prefix=odd)).status_code == 303
    row = page_of(runtime, cache.id).rows[0]
    assert row.policy.prefix == b"\x00\xff " + "ünï&?#:".encode()
    answer = operator.get(f"/caches/{cache.id}/policies/edit", query_string={"prefix": row.prefix})
    assert answer.status_code == 200 and "ünï&amp;?#:" in answer.get_data(as_text=True)
