"""Purging the keys of rows: the mappings in force can be chosen, and the keys are made by them."""

import json

import pytest
from flask.testing import FlaskClient

from dashboard.caches.types import Cache
from dashboard.errors import InvalidInput
from dashboard.invalidation import service, store
from dashboard.invalidation.types import Plan, SelectBy, Selection
from dashboard.policies import service as policies
from dashboard.work import Runtime
from tests.support.people import as_cli
from tests.support.some_caches import add_cache

TEMPLATES = ("product:{id}", "product:{id}:reviews")


@pytest.fixture
def cache(runtime: Runtime) -> Cache:
    """A cache whose rows by products.id are mapped; those by users.id are only staged."""
    cache = add_cache(runtime)
    with as_cli(runtime) as work:
        content = json.loads(policies.published(work, cache.id).body)
        content["mappings"] = [{"table": "products", "column": "id", "templates": list(TEMPLATES)}]
        policies.apply(work, cache.id, json.dumps(content).encode(), "json", reason="Rows")
        users = {"table": "users", "column": "id", "templates": ["user:{id}"]}
        policies.stage_mapping(work, cache.id, users, original=None, seen="")
    return cache


def test_the_form_offers_what_is_published(operator: FlaskClient, cache: Cache) -> None:
    page = operator.get(f"/caches/{cache.id}/invalidate").get_data(as_text=True)
    assert '<option value="products.id">products.id: product:{id}, product:{id}:reviews</option>' in page
    assert "users.id" not in page


def test_without_mappings_it_says_how_to_get_one(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    page = operator.get(f"/caches/{cache.id}/invalidate?by=rows").get_data(as_text=True)
    assert 'value="rows" checked' in page and 'id="mapping"' not in page
    assert "No mapping is published yet." in page and f'href="/caches/{cache.id}/policies"' in page


def test_its_identifiers_go_into_every_template(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    sent = {"by": "rows", "mapping": "products.id", "rows": "7, 10-12", "action": "delete"}
    answer = operator.post(f"/caches/{cache.id}/invalidate/preview", data=sent)
    assert answer.status_code == 303
    with as_cli(runtime) as work:
        (purge,) = service.list_purges(work, cache.id)
        selection = purge.plan.selection
        assert (selection.by, selection.text, selection.count) == (SelectBy.ROWS, "products.id", 4)
        assert selection.templates == TEMPLATES
        found = store.input_chunk(work.session, purge.number, 0)
    assert found is not None and list(found[1]) == [b"7", b"10", b"11", b"12"]
    # Of two purges of rows one must be told from the other.
    history = operator.get(f"/caches/{cache.id}/invalidate?state=all").get_data(as_text=True)
    assert ">7, 10, 11 and 1 more</small>" in history


@pytest.mark.parametrize("name", ["", "users.id", "products", "<b>"])
def test_other_rows_are_refused_and_kept(operator: FlaskClient, cache: Cache, name: str) -> None:
    sent = {"by": "rows", "mapping": name, "rows": "7, 8", "action": "delete"}
    answer = operator.post(f"/caches/{cache.id}/invalidate/preview", data=sent)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and 'id="mapping-e"' in page and "7, 8</textarea>" in page


def test_the_mapping_in_force_decides_and_not_who_asks(runtime: Runtime, cache: Cache) -> None:
    with as_cli(runtime) as work:
        given = Selection(SelectBy.ROWS, "products.id", ("other:{id}",))
        assert service.create(work, cache.id, Plan(given), [b"7"]).plan.selection.templates == TEMPLATES
        with pytest.raises(
            InvalidInput, match=r"No published mapping is called users\.id\. There is products\.id"
        ):
            service.create(work, cache.id, Plan(Selection(SelectBy.ROWS, "users.id", ("user:{id}",))), [b"7"])
