"""The form of a mapping from rows to keys."""

import pytest
from flask.testing import FlaskClient

from dashboard.work import Runtime
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, opened, page_of, publish, seen_in

ROWS = {"table": "products", "column": "id", "templates": "product:{id}\r\n\r\n product:{id}:reviews \r\n"}


def mapped(runtime: Runtime, cache_id: int) -> dict[str, tuple[str, ...]]:
    return {row.mapping.name: row.mapping.templates for row in page_of(runtime, cache_id).mappings}


def test_one_is_added_edited_and_removed(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    base = f"/caches/{cache.id}/policies"
    assert "Say which keys the rows of a table" in operator.get(base).get_data(as_text=True)
    assert operator.post(f"{base}/rows/add", data=ROWS).status_code == 303
    assert mapped(runtime, cache.id) == {"products.id": ("product:{id}", "product:{id}:reviews")}
    page = operator.get(base).get_data(as_text=True)
    assert "Rows and their keys" in page and "New, staged" in page
    draft = operator.get(f"{base}/draft").get_data(as_text=True)
    assert "products.id" in draft and "+ Keys: product:{id}, product:{id}:reviews" in draft
    publish(runtime, cache.id)

    path = f"{base}/rows/edit?name=products.id"
    form = operator.get(path).get_data(as_text=True)
    assert "product:{id}\nproduct:{id}:reviews</textarea>" in form and "style=" not in form
    sent = {**ROWS, "templates": "p:{id}", "seen": seen_in(form)}
    assert operator.post(path, data=sent).status_code == 303
    assert mapped(runtime, cache.id) == {"products.id": ("p:{id}",)}
    assert "Unstage" in operator.get(path).get_data(as_text=True)

    gone = operator.post(f"{base}/rows/remove?name=products.id", data={"seen": opened(operator, path)})
    assert gone.status_code == 303
    assert "Removal staged" in operator.get(base).get_data(as_text=True)


def test_as_fragment(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    part = operator.get(f"/caches/{cache.id}/policies/rows/add", headers=FRAGMENT).get_data(as_text=True)
    assert part.strip().startswith('<div class="stack" id="policies-rows">')


def test_needs_sign_in_and_the_role(client: FlaskClient, viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for path in ("rows/add", "rows/edit?name=products.id"):
        assert client.get(f"/caches/{cache.id}/policies/{path}").status_code == 303
        assert viewer.get(f"/caches/{cache.id}/policies/{path}").status_code == 403
        assert viewer.post(f"/caches/{cache.id}/policies/{path}", data=ROWS).status_code == 403
    assert viewer.post(f"/caches/{cache.id}/policies/rows/remove?name=products.id").status_code == 403
    assert "rows/add" not in viewer.get(f"/caches/{cache.id}/policies").get_data(as_text=True)


def test_unknown_rows(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    base = f"/caches/{cache.id}/policies/rows"
    assert operator.get(f"{base}/edit?name=gone.id").status_code == 404
    assert operator.post(f"{base}/edit?name=gone.id", data={**ROWS, "table": "a"}).status_code in (404, 409)
    assert operator.post(f"{base}/remove?name=gone.id").status_code == 404
    assert operator.get("/caches/1/policies/rows/add").status_code == 404


@pytest.mark.parametrize(
    ("typed", "field", "said"),
    [
        ({"table": ""}, "table", "Enter a name"),
        ({"table": "drop table;"}, "table", "Write a name such as products"),
        ({"column": "a.b"}, "column", "Write a name such as id"),
        ({"templates": ""}, "templates", "At least one is needed"),
        ({"templates": "product:{id}\nproduct:7"}, "templates", "product:7: {id} is missing"),
        ({"templates": "cachewarden:{id}"}, "templates", "reserved"),
        ({"templates": "<b>{id}\\q"}, "templates", "backslash"),
    ],
)
def test_bad_input_keeps_what_was_typed(
    operator: FlaskClient, runtime: Runtime, typed: dict[str, str], field: str, said: str
) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/rows/add"
    answer = operator.post(path, data={**ROWS, **typed})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and f'id="{field}-e"' in page and said in page
    assert "<b>{id}" not in page
    assert mapped(runtime, cache.id) == {}


def test_the_second_editor_sees_the_change(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    base = f"/caches/{cache.id}/policies/rows"
    operator.post(f"{base}/add", data=ROWS)
    path = f"{base}/edit?name=products.id"
    seen = opened(operator, path)
    operator.post(path, data={**ROWS, "templates": "theirs:{id}", "seen": seen})
    answer = operator.post(path, data={**ROWS, "templates": "mine:{id}", "seen": seen})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "Changed meanwhile" in page and "mine:{id}</textarea>" in page
    assert operator.post(f"{base}/remove?name=products.id", data={"seen": seen}).status_code == 409
    assert (
        operator.post(path, data={**ROWS, "templates": "mine:{id}", "seen": seen_in(page)}).status_code == 303
    )
    assert mapped(runtime, cache.id) == {"products.id": ("mine:{id}",)}
