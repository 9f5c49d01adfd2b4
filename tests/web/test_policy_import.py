"""A document from elsewhere: uploaded or pasted, compared, staged."""

import io
import json
import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from dashboard.work import Runtime
from tests.support.some_caches import add_cache
from tests.support.some_policies import page_of, policy, publish, stage


def exported(browser: FlaskClient, cache_id: int) -> dict[str, Any]:
    found = browser.get(f"/caches/{cache_id}/policies/export?format=json").get_json()
    assert isinstance(found, dict)
    return found


def numbers(page: str) -> dict[str, str]:
    """What the form says was looked at."""
    found = re.findall(r'name="(revision|version)" value="(\d+)"', page)
    assert len(found) == 2
    return dict(found)


def test_what_was_staged_since_the_preview_is_shown_before_it_is_replaced(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    document = exported(operator, cache.id)
    document["policies"] = [policy("wallet:")]
    sent = {"text": json.dumps(document), "format": "json"}
    path = f"/caches/{cache.id}/policies/import"
    page = operator.post(path, data=sent, content_type="multipart/form-data").get_data(as_text=True)
    stage(runtime, cache.id, "news:")
    again = operator.post(f"{path}/stage", data={**sent, **numbers(page)}, content_type="multipart/form-data")
    page = again.get_data(as_text=True)
    assert again.status_code == 409 and "root changed what is staged since this page was opened" in page
    assert "1 staged change will be replaced" in page and "by root" in page
    assert [row.prefix for row in page_of(runtime, cache.id).rows] == ["news:"]
    done = operator.post(f"{path}/stage", data={**sent, **numbers(page)}, content_type="multipart/form-data")
    assert done.status_code == 303
    assert [row.prefix for row in page_of(runtime, cache.id).rows] == ["wallet:"]


def test_shows_the_difference_before_anything_is_staged(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    document = exported(operator, cache.id)
    document["policies"].append(policy("wallet:"))
    path = f"/caches/{cache.id}/policies/import"
    for data in (
        {"text": json.dumps(document), "format": "json"},
        {"file": (io.BytesIO(json.dumps(document).encode()), "policies.json"), "text": "", "format": "yaml"},
    ):
        answer = operator.post(path, data=data, content_type="multipart/form-data")
        page = answer.get_data(as_text=True)
        assert answer.status_code == 200 and "1 added" in page and "Stage these changes" in page
    assert page_of(runtime, cache.id).draft is None
    sent = {"text": json.dumps(document), "format": "json", **numbers(page)}
    staged = operator.post(f"{path}/stage", data=sent, content_type="multipart/form-data")
    assert staged.status_code == 303 and staged.headers["Location"].endswith("/policies/draft")
    assert [row.prefix for row in page_of(runtime, cache.id).rows] == ["news:", "wallet:"]


def test_what_is_exported_as_yaml_imports_as_no_change(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:", "\\x00\\xff:", "a: b #c", note="line\nand 'quotes' \"both\" ünï")
    publish(runtime, cache.id)
    text = operator.get(f"/caches/{cache.id}/policies/export").get_data(as_text=True)
    answer = operator.post(
        f"/caches/{cache.id}/policies/import", data={"text": text, "format": "yaml"},
        content_type="multipart/form-data",
    )  # fmt: skip
    assert "It is what is in force already" in answer.get_data(as_text=True)


def test_says_what_would_be_replaced(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    document = exported(operator, cache.id)
    stage(runtime, cache.id, "news:")
    document["policies"] = [policy("wallet:")]
    sent = {"text": json.dumps(document), "format": "json"}
    page = operator.post(
        f"/caches/{cache.id}/policies/import", data=sent, content_type="multipart/form-data"
    ).get_data(as_text=True)
    assert "1 staged change will be replaced" in page


@pytest.mark.parametrize(
    ("text", "format"),
    [("", "yaml"), ("{", "json"), ("[]", "json"), ("a: [", "yaml"), ("!!python/object:os.system {}", "yaml"),
     ('{"schema": 99}', "json"), ('{"unknown": 1}', "json"), ("&a [*a]", "yaml"), ("\x07", "yaml")],
)  # fmt: skip
@pytest.mark.parametrize("step", ["import", "import/stage"])
def test_bad_documents_are_refused_and_kept(
    operator: FlaskClient, runtime: Runtime, text: str, format: str, step: str
) -> None:
    cache = add_cache(runtime)
    answer = operator.post(
        f"/caches/{cache.id}/policies/{step}", data={"text": text, "format": format},
        content_type="multipart/form-data",
    )  # fmt: skip
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "The document can’t be taken." in page
    assert page_of(runtime, cache.id).draft is None


def test_too_large_a_file(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    answer = operator.post(
        f"/caches/{cache.id}/policies/import",
        data=b"x" * 10_000_000,
        content_type="multipart/form-data; boundary=x",
    )
    assert answer.status_code == 413


def test_needs_sign_in_and_the_role(client: FlaskClient, viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for path in ("import", "import/stage"):
        assert client.post(f"/caches/{cache.id}/policies/{path}").status_code == 303
        assert viewer.post(f"/caches/{cache.id}/policies/{path}").status_code == 403


def test_unknown_id(operator: FlaskClient) -> None:
    assert operator.get("/caches/1/policies/import").status_code == 404
    assert operator.post("/caches/1/policies/import", data={"text": "{}"}).status_code == 404
