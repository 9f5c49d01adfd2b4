"""Mappings from rows to keys are staged, published, reverted and moved between files like policies."""

import json
from typing import Any

import pytest
import redis

from dashboard.access import Role
from dashboard.caches.types import Cache
from dashboard.caching.wire import POLICIES_KEY
from dashboard.errors import Forbidden, InvalidInput, NotFound
from dashboard.policies import service
from dashboard.policies.types import ChangeKind, Diff, EditConflict, ItemKind, Staged
from dashboard.work import Runtime
from tests.support.policies import acting, look_after, publish, stage, stage_import
from tests.support.some_caches import add_cache

KEYS = ["product:{id}", "product:{id}:reviews"]


@pytest.fixture
def cache(runtime: Runtime, valkey_url: str) -> Cache:
    return add_cache(runtime, url=valkey_url)


def map_rows(
    runtime: Runtime, cache_id: int, *templates: str, original: str | None = None, **values: str
) -> Staged:
    """Stage a mapping, having looked at it a moment before."""
    with acting(runtime) as work:
        seen = service.mapping_editor(work, cache_id, original).seen
        fields: dict[str, Any] = {
            "table": "products",
            "column": "id",
            **values,
            "templates": templates or KEYS,
        }
        return service.stage_mapping(work, cache_id, fields, original=original, seen=seen)


def in_force(runtime: Runtime, cache_id: int) -> dict[str, tuple[str, ...]]:
    with acting(runtime) as work:
        return {each.name: each.templates for each in service.document_in_force(work, cache_id).mappings}


def test_one_is_staged_published_changed_and_reverted(runtime: Runtime, cache: Cache) -> None:
    staged = map_rows(runtime, cache.id)
    assert staged.change is not None and staged.change.kind is ItemKind.MAPPING
    assert staged.change.summary == "added: product:{id}, product:{id}:reviews"
    assert in_force(runtime, cache.id) == {}
    publish(runtime, cache.id)
    assert in_force(runtime, cache.id) == {"products.id": tuple(KEYS)}

    changed = map_rows(runtime, cache.id, "product:{id}", "p:{id}", original="products.id")
    assert changed.change is not None and changed.change.change is ChangeKind.CHANGED
    assert changed.change.summary == "adds p:{id}; drops product:{id}:reviews"
    publish(runtime, cache.id)
    with acting(runtime) as work:
        assert [item.name for item in service.version_page(work, cache.id, 2).diff.items] == ["products.id"]
        # It is no matter of the counters.
        assert service.effect(work, cache.id, 2).prefixes == ()
        service.revert(work, cache.id, to=1, reason="Back", version=2)
    assert in_force(runtime, cache.id) == {"products.id": tuple(KEYS)}

    with acting(runtime) as work:
        seen = service.mapping_editor(work, cache.id, "products.id").seen
        service.stage_mapping_removal(work, cache.id, "products.id", seen=seen)
        (row,) = service.policies_page(work, cache.id).mappings
        assert row.staged is not None and row.staged.change is ChangeKind.REMOVED
    publish(runtime, cache.id)
    assert in_force(runtime, cache.id) == {}


def test_applications_get_the_policies_alone(runtime: Runtime, cache: Cache, valkey_url: str) -> None:
    stage(runtime, cache.id)
    map_rows(runtime, cache.id)
    publish(runtime, cache.id)
    with redis.Redis.from_url(valkey_url) as server:
        published = json.loads(server.get(POLICIES_KEY))
        assert set(published) == {"schema", "version", "tiers", "policies", "default"}
        # The worker compares byte for byte what stands there, and leaves it.
        before = server.get(POLICIES_KEY)
        look_after(runtime, cache.id)
        assert server.get(POLICIES_KEY) == before
    with acting(runtime) as work:
        assert service.policies_page(work, cache.id).publication.republished_at is None


def test_a_new_name_is_one_removed_and_one_added(runtime: Runtime, cache: Cache) -> None:
    map_rows(runtime, cache.id)
    publish(runtime, cache.id)
    map_rows(runtime, cache.id, original="products.id", table="shop.products")
    with acting(runtime) as work:
        items = service.draft_page(work, cache.id).draft.items
        assert [(item.name, item.change.value) for item in items] == [
            ("products.id", "removed"),
            ("shop.products.id", "added"),
        ]
        revision = service.draft_page(work, cache.id).draft.revision
        service.unstage(work, cache.id, ItemKind.MAPPING, "products.id", revision=revision)
    publish(runtime, cache.id)
    assert list(in_force(runtime, cache.id)) == ["products.id", "shop.products.id"]


def test_rows_have_one_mapping(runtime: Runtime, cache: Cache) -> None:
    map_rows(runtime, cache.id)
    with pytest.raises(InvalidInput, match="mapped already"):
        map_rows(runtime, cache.id, "other:{id}")
    map_rows(runtime, cache.id, table="users")
    with pytest.raises(InvalidInput, match="mapped already"):
        map_rows(runtime, cache.id, original="users.id")


def test_who_looked_at_another_one_is_told_and_may_insist(runtime: Runtime, cache: Cache) -> None:
    map_rows(runtime, cache.id)
    with acting(runtime) as work:
        seen = service.mapping_editor(work, cache.id, "products.id").seen
    map_rows(runtime, cache.id, "theirs:{id}", original="products.id")
    mine = {"table": "products", "column": "id", "templates": ["mine:{id}"]}
    with acting(runtime, "second") as work, pytest.raises(EditConflict) as raised:
        service.stage_mapping(work, cache.id, mine, original="products.id", seen=seen)
    (field,) = raised.value.theirs.fields
    assert (field.before, field.after) == ("theirs:{id}", "mine:{id}")
    with acting(runtime, "second") as work, pytest.raises(EditConflict):
        service.stage_mapping_removal(work, cache.id, "products.id", seen=seen)
    with acting(runtime, "second") as work:
        seen = raised.value.seen
        assert service.stage_mapping(work, cache.id, mine, original="products.id", seen=seen).change


def test_files_carry_them_and_what_a_file_leaves_out_is_removed(runtime: Runtime, cache: Cache) -> None:
    map_rows(runtime, cache.id)
    publish(runtime, cache.id)

    def compare(data: bytes, format: str) -> Diff:
        with acting(runtime) as work:
            return service.diff_import(work, cache.id, data, format)

    for format in ("json", "yaml"):
        with acting(runtime) as work:
            body = service.export(work, cache.id, format).body
        assert b"product:{id}:reviews" in body and compare(body, format).is_empty
    content = json.loads(service_json(runtime, cache.id))
    del content["mappings"]
    without = json.dumps(content).encode()
    assert [item.change.value for item in compare(without, "json").items] == ["removed"]
    content["mappings"] = [{"table": "users", "column": "id", "templates": ["user:{id}"]}]
    with acting(runtime) as work:
        stage_import(work, cache.id, json.dumps(content).encode(), "json")
    publish(runtime, cache.id)
    assert in_force(runtime, cache.id) == {"users.id": ("user:{id}",)}
    with acting(runtime) as work:
        service.apply(work, cache.id, without, "json", reason="None any more")
    assert in_force(runtime, cache.id) == {}


def service_json(runtime: Runtime, cache_id: int) -> bytes:
    with acting(runtime) as work:
        return service.published(work, cache_id).body


def test_who_may_and_what_is_there(runtime: Runtime, cache: Cache) -> None:
    with acting(runtime, "vera", Role.VIEWER) as work:
        with pytest.raises(Forbidden):
            service.stage_mapping(work, cache.id, {}, original=None, seen="")
        with pytest.raises(Forbidden):
            service.stage_mapping_removal(work, cache.id, "products.id", seen="")
    with acting(runtime) as work:
        with pytest.raises(NotFound):
            service.mapping_editor(work, cache.id, "products.id")
        with pytest.raises(NotFound):
            service.stage_mapping_removal(work, cache.id, "products.id", seen="none")
