"""What is staged: taken back, thrown away, published with a reason."""

from collections.abc import Callable

import pytest
import redis
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caching.policy import parse_document
from dashboard.caching.wire import POLICIES_KEY
from dashboard.policies import service
from dashboard.work import Runtime
from tests.support.people import add_user, as_cli, as_user
from tests.support.some_caches import add_cache
from tests.support.some_policies import fields, opened, page_of, policy, publish, seen_in, stage


def revision(runtime: Runtime, cache_id: int) -> str:
    draft = page_of(runtime, cache_id).draft
    return str(draft.revision if draft else 0)


def test_shows_the_staged_changes_as_a_diff(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    page = operator.get(f"/caches/{cache.id}/policies/draft").get_data(as_text=True)
    assert "Publish as version 1" in page and '<span class="ins">+ ' in page and "up to 12 m" in page
    assert "style=" not in page


def test_nothing_staged(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    first = operator.get(f"/caches/{cache.id}/policies/draft").get_data(as_text=True)
    assert "The first version can also be the tiers and the default as they are" in first
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    assert "Nothing is staged" in operator.get(f"/caches/{cache.id}/policies/draft").get_data(as_text=True)


def test_who_loses_the_race_to_publish_is_told(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    seen = revision(runtime, cache.id)
    publish(runtime, cache.id)
    sent = {"reason": "Mine", "revision": seen, "version": "0"}
    answer = operator.post(f"/caches/{cache.id}/policies/draft", data=sent)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert "Not published." in page and 'role="alert"' in page
    assert "root published version 1 meanwhile" in page


@pytest.mark.parametrize("path", ["draft", "draft/discard", "unstage", "remove?prefix=news:"])
def test_needs_sign_in_the_role_and_a_cache(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime, path: str
) -> None:
    cache = add_cache(runtime)
    assert client.post(f"/caches/{cache.id}/policies/{path}").status_code == 303
    assert as_role(Role.VIEWER).post(f"/caches/{cache.id}/policies/{path}").status_code == 403
    sent = {"kind": "policy", "name": "news:", "revision": "0", "reason": "x"}
    assert (
        as_role(Role.OPERATOR).post(f"/caches/{cache.id + 1}/policies/{path}", data=sent).status_code == 404
    )


def test_publishes_to_redis_with_an_audit_entry(
    operator: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = add_cache(runtime, url=valkey_url)
    stage(runtime, cache.id, "news:")
    with redis.Redis.from_url(valkey_url) as judge:
        assert judge.get(POLICIES_KEY) is None
        sent = {"reason": "Editors want fresher pages", "revision": revision(runtime, cache.id)}
        answer = operator.post(f"/caches/{cache.id}/policies/draft", data=sent)
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/caches/{cache.id}/policies")
        document = parse_document(judge.get(POLICIES_KEY) or b"")  # type: ignore[arg-type]
    assert document.version == 1 and document.find("news:1").base_ttl_s == 3600
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "Version 1 is published." in page and "staged change" not in page
    with as_cli(runtime) as work:
        query = "SELECT actor_name, reason FROM audit_entry WHERE action LIKE 'policies:%publish'"
        assert work.session.execute(text(query)).all() == [("the-operator", "Editors want fresher pages")]


def test_a_reason_is_required_and_the_page_says_so(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    for reason in ("", "   ", "x" * 501):
        sent = {"reason": reason, "revision": revision(runtime, cache.id)}
        answer = operator.post(f"/caches/{cache.id}/policies/draft", data=sent)
        page = answer.get_data(as_text=True)
        assert answer.status_code == 422 and 'id="reason-e"' in page and f'value="{reason}"' in page
    assert page_of(runtime, cache.id).frame.version == 0


@pytest.mark.parametrize("sent", ["0", "", "-1", "x", "9" * 40])
def test_what_was_staged_after_the_look_is_shown_before_it_is_published(
    operator: FlaskClient, runtime: Runtime, sent: str
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    answer = operator.post(
        f"/caches/{cache.id}/policies/draft", data={"reason": "typed before", "revision": sent}
    )
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "root changed what is staged since this page was opened" in page
    assert 'value="typed before"' in page and page_of(runtime, cache.id).frame.version == 0


def test_a_read_only_cache_refuses_and_keeps_the_reason(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, read_only=True)
    stage(runtime, cache.id, "news:")
    asked = operator.get(f"/caches/{cache.id}/policies/draft").get_data(as_text=True)
    assert (
        "This cache is read-only." in asked and '<button class="btn" type="submit" disabled>Publish' in asked
    )
    sent = {"reason": "typed before", "revision": revision(runtime, cache.id)}
    answer = operator.post(f"/caches/{cache.id}/policies/draft", data=sent)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and 'value="typed before"' in page
    assert "is read-only: nobody may change anything in it." in page
    assert page_of(runtime, cache.id).frame.version == 0


def test_publishing_is_kept_while_redis_is_away(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)  # nothing listens there
    stage(runtime, cache.id, "news:")
    sent = {"reason": "because", "revision": revision(runtime, cache.id)}
    assert operator.post(f"/caches/{cache.id}/policies/draft", data=sent).status_code == 303
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert page_of(runtime, cache.id).frame.version == 1 and "Version 1: in force" not in page


def test_one_change_is_taken_back(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:", "wallet:")
    sent = {"kind": "policy", "name": "news:", "back": "draft", "revision": "1"}
    unseen = operator.post(f"/caches/{cache.id}/policies/unstage", data={**sent, "revision": "0"})
    assert unseen.status_code == 409 and "root changed news:" in unseen.get_data(as_text=True)
    answer = operator.post(f"/caches/{cache.id}/policies/unstage", data=sent)
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/caches/{cache.id}/policies/draft")
    assert [row.prefix for row in page_of(runtime, cache.id).rows] == ["wallet:"]
    assert operator.post(f"/caches/{cache.id}/policies/unstage", data=sent).status_code == 404
    sent["kind"] = "nonsense"
    assert operator.post(f"/caches/{cache.id}/policies/unstage", data=sent).status_code == 422


def test_everything_staged_is_thrown_away_only_as_it_was_shown(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    shown = revision(runtime, cache.id)
    stage(runtime, cache.id, "wallet:")
    with as_user(runtime, add_user(runtime, "ana", Role.OPERATOR)) as work:
        service.stage_policy(work, cache.id, policy("app:"), original=None, seen="")
    asked = operator.get(f"/caches/{cache.id}/policies/draft").get_data(as_text=True)
    confirm = asked.partition("Discard all staged changes…</summary>")[2].partition("</details>")[0]
    assert "1 by ana, 2 by root." in confirm and "/draft/discard" in confirm, "not before it was unfolded"
    path = f"/caches/{cache.id}/policies/draft/discard"
    assert operator.post(path, data={"revision": shown}).status_code == 409
    assert len(page_of(runtime, cache.id).rows) == 3
    assert operator.post(path, data={"revision": revision(runtime, cache.id)}).status_code == 303
    assert page_of(runtime, cache.id).rows == ()


def test_a_removal_waits_for_publishing(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    seen = opened(operator, f"/caches/{cache.id}/policies/edit?prefix=news:")
    answer = operator.post(f"/caches/{cache.id}/policies/remove?prefix=news:", data={"seen": seen})
    assert answer.status_code == 303
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "Removal staged" in page and [row.prefix for row in page_of(runtime, cache.id).rows] == ["news:"]
    publish(runtime, cache.id)
    assert page_of(runtime, cache.id).rows == ()


def test_a_removal_of_what_somebody_changed_shows_the_change(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    path = f"/caches/{cache.id}/policies/edit?prefix=news:"
    seen = opened(operator, path)
    assert operator.post(path, data=fields(base_ttl_s="2", seen=seen)).status_code == 303
    answer = operator.post(f"/caches/{cache.id}/policies/remove?prefix=news:", data={"seen": seen})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "Changed meanwhile" in page
    again = operator.post(f"/caches/{cache.id}/policies/remove?prefix=news:", data={"seen": seen_in(page)})
    assert again.status_code == 303


def test_what_was_only_staged_goes_at_once(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    seen = opened(operator, f"/caches/{cache.id}/policies/edit?prefix=news:")
    operator.post(f"/caches/{cache.id}/policies/remove?prefix=news:", data={"seen": seen})
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "news: is gone: it was staged only." in page and page_of(runtime, cache.id).draft is None


def test_the_default_can_not_be_removed(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert operator.post(f"/caches/{cache.id}/policies/remove?prefix=").status_code == 422


def test_many_changes_are_folded_and_few_are_not(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, *(f"p{number}:" for number in range(5)))
    path = f"/caches/{cache.id}/policies/draft"
    folded = '<summary>added: Frequently updated, 1 h + up to 12 m</summary><pre class="code diff"'
    assert operator.get(path).get_data(as_text=True).count(folded) == 0
    stage(runtime, cache.id, "p5:")
    page = operator.get(path).get_data(as_text=True)
    assert page.count(folded) == 6 and page.count("+ TTL: 1 h") == 6
    stage(runtime, cache.id, *(f"p{number}:" for number in range(6, 103)))
    version = publish(runtime, cache.id)
    page = operator.get(f"/caches/{cache.id}/policies/versions/{version}").get_data(as_text=True)
    assert page.count(folded) == 100 and "The first 100 of 103 changes." in page
    assert "The first 100 of 103; the export has all." in page
