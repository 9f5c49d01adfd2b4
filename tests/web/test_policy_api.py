"""The API of policies: read the published document, put another one in its place."""

import json
from typing import Any

import pytest
import redis
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from dashboard.access import Role
from dashboard.caching.policy import parse_document
from dashboard.caching.wire import POLICIES_KEY
from dashboard.policies import service
from dashboard.policies.types import MAX_IMPORT_BYTES
from dashboard.work import Runtime
from tests.conftest import sign_in
from tests.support.people import PASSWORD, as_cli
from tests.support.some_caches import add_cache
from tests.support.some_policies import page_of, policy, publish, stage


def path_of(cache_id: int) -> str:
    return f"/api/caches/{cache_id}/policies"


@pytest.fixture
def cache_id(runtime: Runtime) -> int:
    """A cache with one policy in its first version."""
    cache_id = add_cache(runtime).id
    stage(runtime, cache_id, "news:")
    publish(runtime, cache_id)
    return cache_id


def document(browser: FlaskClient, cache_id: int, **values: Any) -> dict[str, Any]:
    """What is published, with some fields replaced."""
    found = browser.get(path_of(cache_id)).get_json()
    assert isinstance(found, dict)
    return {**found, **values}


def put(
    browser: FlaskClient,
    cache_id: int,
    content: Any,
    version: int | str | None = 1,
    query: str = "reason=Fresher+news",
    **headers: str,
) -> TestResponse:
    given = {} if version is None else {"If-Match": f'"{version}"' if isinstance(version, int) else version}
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer: TestResponse = browser.put(
        f"{path_of(cache_id)}?{query}",
        data=body,
        headers={"Content-Type": "application/json", **given, **headers},
    )
    assert answer.is_json, answer.get_data(as_text=True)
    return answer


# --- reading --------------------------------------------------------------------------------------------------


def test_the_document_is_the_exports_and_its_version_the_tag(viewer: FlaskClient, cache_id: int) -> None:
    answer = viewer.get(path_of(cache_id))
    assert (answer.status_code, answer.mimetype, answer.headers["ETag"]) == (200, "application/json", '"1"')
    exported = viewer.get(f"/caches/{cache_id}/policies/export?format=json")
    assert answer.get_json() == exported.get_json() and answer.get_json()["version"] == 1


@pytest.mark.parametrize("encoding", ["identity", "gzip", "br"])
def test_what_did_not_change_is_not_sent_again(viewer: FlaskClient, cache_id: int, encoding: str) -> None:
    asked = {"Accept-Encoding": encoding}
    tag = viewer.get(path_of(cache_id), headers=asked).headers["ETag"]
    again = viewer.get(path_of(cache_id), headers={**asked, "If-None-Match": tag})
    assert again.status_code == 304 and not again.data
    # The tag fits, however the answer was compressed.
    assert put(viewer, cache_id, {}, tag).status_code == 403
    other = viewer.get(path_of(cache_id), headers={**asked, "If-None-Match": '"0"'})
    assert other.status_code == 200


def test_before_the_first_version_it_is_version_0_without_what_is_staged(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    answer = operator.get(path_of(cache.id))
    assert answer.headers["ETag"] == '"0"' and answer.get_json()["policies"] == []
    done = put(operator, cache.id, answer.get_json(), 0)
    assert done.status_code == 200 and done.get_json()["version"] == 1
    assert [item.name for item in page_of(runtime, cache.id).draft.items] == ["news:"]  # type: ignore[union-attr]


# --- replacing ------------------------------------------------------------------------------------------------


def test_a_document_is_published(operator: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache_id = add_cache(runtime, url=valkey_url).id
    publish(runtime, cache_id)
    answer = put(operator, cache_id, document(operator, cache_id, policies=[policy("news:")]))
    assert answer.status_code == 200 and answer.headers["ETag"] == '"2"'
    assert answer.get_json() == {
        "version": 2,
        "is_new": True,
        "summary": "1 added",
        "changes": [
            {
                "kind": "policy",
                "name": "news:",
                "change": "added",
                "summary": "added: Frequently updated, 1 h + up to 12 m",
            }
        ],
        "warnings": [],
    }
    with redis.Redis.from_url(valkey_url) as judge:
        there = parse_document(judge.get(POLICIES_KEY) or b"")  # type: ignore[arg-type]
    assert there.version == 2 and there.find("news:1").base_ttl_s == 3600
    with as_cli(runtime) as work:
        query = "SELECT actor_name, source, reason FROM audit_entry WHERE action = 'policies:version:apply'"
        assert work.session.execute(text(query)).all() == [("the-operator", "web", "Fresher news")]


def test_a_token_publishes_without_a_session_and_is_named_in_the_audit_log(
    app: Flask, admin: FlaskClient, runtime: Runtime, cache_id: int
) -> None:
    owner = sign_in(app, runtime, Role.OPERATOR, "olga")
    form = {"token_name": "ci", "token_role": "operator", "token_days": "30", "token_current": PASSWORD}
    page = owner.post("/account/tokens", data=form).get_data(as_text=True)
    secret = page.partition('id="new-token" tabindex="0">')[2].partition("<")[0]
    program = app.test_client()
    headers = {"Authorization": f"Bearer {secret}", "Sec-Fetch-Site": "cross-site"}
    content = program.get(path_of(cache_id), headers=headers).get_json()
    answer = put(program, cache_id, {**content, "policies": []}, 1, **headers)
    assert answer.status_code == 200 and page_of(runtime, cache_id).rows == ()
    with as_cli(runtime) as work:
        query = "SELECT id, actor_name, source FROM audit_entry WHERE action = 'policies:version:apply'"
        number, *who = work.session.execute(text(query)).one()
    assert who == ["olga", "api:ci"]
    assert "API token ci" in admin.get(f"/audit?open={number}").get_data(as_text=True)


def test_a_session_needs_to_come_from_our_own_pages(operator: FlaskClient, cache_id: int) -> None:
    content = document(operator, cache_id, policies=[])
    answer = put(operator, cache_id, content, **{"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403


def test_what_is_in_force_already_makes_no_version(operator: FlaskClient, cache_id: int) -> None:
    answer = put(operator, cache_id, document(operator, cache_id))
    assert answer.status_code == 200 and answer.headers["ETag"] == '"1"'
    assert answer.get_json() | {"warnings": []} == {
        "version": 1, "is_new": False, "summary": "no change", "changes": [], "warnings": [],
    }  # fmt: skip


def test_check_says_what_would_change_and_publishes_nothing(
    operator: FlaskClient, runtime: Runtime, cache_id: int
) -> None:
    content = document(operator, cache_id, policies=[policy("wallet:", jitter_s=0)])
    for version in (1, None):
        answer = put(operator, cache_id, content, version, "check=1")
        assert answer.status_code == 200
        found = answer.get_json()
        assert (found["version"], found["is_new"]) == (1, False)
        assert found["summary"] == "1 added, 1 removed"
    assert page_of(runtime, cache_id).frame.version == 1
    assert put(operator, cache_id, content, 0, "check=1").status_code == 412
    assert put(operator, cache_id, {"tiers": 1}, 1, "check=1").status_code == 422
    assert put(operator, cache_id, content, 1, "check=yes").status_code == 422


def test_another_version_is_never_replaced_unseen(
    operator: FlaskClient, runtime: Runtime, cache_id: int
) -> None:
    content = document(operator, cache_id, policies=[])
    stage(runtime, cache_id, "wallet:")
    publish(runtime, cache_id)
    answer = put(operator, cache_id, content, 1)
    assert answer.status_code == 412
    found = answer.get_json()
    assert "root published version 2 meanwhile" in found["error"]["message"]
    assert [(item["name"], item["change"]) for item in found["changes"]] == [("wallet:", "added")]
    assert put(operator, cache_id, content, 99).status_code == 412
    assert page_of(runtime, cache_id).frame.version == 2
    assert put(operator, cache_id, content, 2).status_code == 200


@pytest.mark.parametrize("version", [None, "*", '"x"', '""', "-1", '"1", "2"', "9" * 30])
def test_the_version_that_was_looked_at_is_required(
    operator: FlaskClient, runtime: Runtime, cache_id: int, version: str | None
) -> None:
    answer = put(operator, cache_id, document(operator, cache_id, policies=[]), version)
    assert answer.status_code == 428 and "If-Match" in answer.get_json()["error"]["message"]
    assert page_of(runtime, cache_id).frame.version == 1


@pytest.mark.parametrize("version", ['W/"1"', '"1:gzip"', "1"])
def test_a_tag_is_taken_as_proxies_leave_it(operator: FlaskClient, cache_id: int, version: str) -> None:
    assert put(operator, cache_id, document(operator, cache_id, policies=[]), version).status_code == 200


@pytest.mark.parametrize("query", ["", "reason=", "reason=+++", "reason=" + "x" * 501])
def test_a_reason_is_required(operator: FlaskClient, runtime: Runtime, cache_id: int, query: str) -> None:
    answer = put(operator, cache_id, document(operator, cache_id, policies=[]), 1, query)
    assert answer.status_code == 422 and set(answer.get_json()["errors"]) == {"reason"}
    assert page_of(runtime, cache_id).frame.version == 1


def test_every_problem_is_named_by_its_place(operator: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    wrong = [
        policy("a:"),
        policy("b:", base_ttl_s=5),
        policy("c:", strategy="hope"),
        policy("d:", unknown=1),
    ]
    answer = put(operator, cache_id, document(operator, cache_id, policies=wrong))
    assert answer.status_code == 422
    errors = answer.get_json()["errors"]
    assert {"policies[1].base_ttl_s", "policies[2].strategy", "policies[3].unknown"} == set(errors)
    assert all(errors.values()) and page_of(runtime, cache_id).frame.version == 1


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "document"),
        (b"{", "document"),
        (b"[]", "document"),
        (b'{"tiers": [], "tiers": []}', "document"),
        (b'{"schema": 99, "tiers": [], "default": {}}', "schema"),
        (b"[" * 100_000, "document"),
        (b'{"tiers": NaN}', "document"),
        (b"\xff\xfe", "document"),
        (b"tiers: []", "document"),
    ],
)
def test_what_is_no_document_is_refused(
    operator: FlaskClient, cache_id: int, body: bytes, place: str
) -> None:
    answer = put(operator, cache_id, body)
    assert answer.status_code == 422 and place in answer.get_json()["errors"]


def test_a_running_bypass_is_no_part_of_it(operator: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    with as_cli(runtime) as work:
        service.bypass(work, cache_id, "news:", minutes=5, reason="lag")
    content = document(operator, cache_id)
    assert "bypass_until" not in json.dumps(content)
    content["policies"][0]["base_ttl_s"] = 7200
    assert put(operator, cache_id, content, 2).status_code == 200
    assert [each.prefix for each in page_of(runtime, cache_id).bypasses] == ["news:"]
    content["policies"][0]["bypass_until"] = 9e9
    assert set(put(operator, cache_id, content, 3).get_json()["errors"]) == {"policies[0].bypass_until"}


@pytest.mark.parametrize(
    "kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", ""]
)
def test_only_json_is_taken(operator: FlaskClient, cache_id: int, kind: str) -> None:
    answer = put(operator, cache_id, document(operator, cache_id), 1, **{"Content-Type": kind})
    assert answer.status_code == 415 and "application/json" in answer.get_json()["error"]["message"]


def test_a_document_may_be_larger_than_a_form(operator: FlaskClient, cache_id: int) -> None:
    content = json.dumps(document(operator, cache_id)).encode()
    assert put(operator, cache_id, content + b" " * 2_000_000).status_code == 200
    assert put(operator, cache_id, content + b" " * MAX_IMPORT_BYTES).status_code == 413


def test_a_read_only_cache_refuses(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, read_only=True)
    answer = put(operator, cache.id, document(operator, cache.id, policies=[policy()]), 0)
    assert answer.status_code == 409 and "read-only" in answer.get_json()["error"]["message"]


# --- refusals -------------------------------------------------------------------------------------------------


def test_every_refusal_is_json(client: FlaskClient, viewer: FlaskClient, cache_id: int) -> None:
    browser_like = {"Accept": "text/html", "HX-Request": "true", "HX-Request-Type": "partial"}
    for browser, method, path, status in (
        (client, "GET", path_of(cache_id), 401),
        (client, "PUT", path_of(cache_id), 401),
        (viewer, "PUT", path_of(cache_id), 428),
        (viewer, "POST", path_of(cache_id), 405),
        (viewer, "GET", path_of(cache_id + 1), 404),
        (viewer, "GET", "/api/caches/x/policies", 404),
        (viewer, "GET", "/api/", 404),
        (viewer, "GET", path_of(2**70), 404),
        (viewer, "GET", path_of(cache_id) + "?x=\0", 400),
    ):
        answer = browser.open(path, method=method, headers=browser_like)
        assert answer.status_code == status and answer.is_json, (method, path, answer.status_code)
        assert set(answer.get_json()["error"]) == {"title", "message", "what_to_do", "reference"}
        assert "Location" not in answer.headers and "HX-Redirect" not in answer.headers


def test_whoever_forgot_the_token_is_told_of_tokens(app: Flask, cache_id: int) -> None:
    answer = put(app.test_client(), cache_id, {}, **{"Sec-Fetch-Site": ""})
    assert answer.status_code == 401 and "cw_…" in answer.get_json()["error"]["what_to_do"]
    assert answer.headers["WWW-Authenticate"] == "Bearer"


def test_viewers_may_ask_what_a_document_would_change(
    viewer: FlaskClient, runtime: Runtime, cache_id: int
) -> None:
    content = document(viewer, cache_id, policies=[policy(f"p{number:04}:") for number in range(1_001)])
    answer = put(viewer, cache_id, content, query="check=1")
    assert (answer.status_code, answer.get_json()["summary"]) == (200, "1,001 added, 1 removed")
    assert put(viewer, cache_id, content).status_code == 403
    assert page_of(runtime, cache_id).frame.version == 1
