"""The form of a tier."""

import re

from flask.testing import FlaskClient

from dashboard.work import Runtime
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, opened, page_of, seen_in, stage

HOT = {
    "label": "Hot", "name": "hot", "is_cached": "yes", "min_ttl_s": "30", "min_ttl_s.unit": "s",
    "max_ttl_s": "5", "max_ttl_s.unit": "m",
}  # fmt: skip


def tiers(runtime: Runtime, cache_id: int) -> dict[str, tuple[int | None, int | None]]:
    found = page_of(runtime, cache_id).tiers
    return {card.tier.name: (card.tier.min_ttl_s, card.tier.max_ttl_s) for card in found}


def test_shows_the_tier_and_who_uses_it(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    page = operator.get(f"/caches/{cache.id}/policies/tiers/edit?name=frequently-updated").get_data(
        as_text=True
    )
    assert "Edit tier Frequently updated" in page and 'value="Frequently updated"' in page
    assert '<li class="mono wrap">news:</li>' in page and "style=" not in page


def test_as_fragment(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    part = operator.get(f"/caches/{cache.id}/policies/tiers/add", headers=FRAGMENT).get_data(as_text=True)
    assert part.strip().startswith('<div class="stack" id="policies-tiers">')


def test_needs_sign_in_and_the_role(client: FlaskClient, viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    for path in ("tiers/add", "tiers/edit?name=hot"):
        assert client.get(f"/caches/{cache.id}/policies/{path}").status_code == 303
        assert viewer.get(f"/caches/{cache.id}/policies/{path}").status_code == 403
        assert viewer.post(f"/caches/{cache.id}/policies/{path}", data=HOT).status_code == 403
    assert viewer.post(f"/caches/{cache.id}/policies/tiers/remove?name=hot").status_code == 403


def test_unknown_tier(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    assert operator.get(f"/caches/{cache.id}/policies/tiers/edit?name=gone").status_code == 404
    assert operator.get("/caches/1/policies/tiers/add").status_code == 404


def test_stages_a_new_range(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/tiers/edit?name=hot"
    assert operator.post(path, data={**HOT, "seen": opened(operator, path)}).status_code == 303
    assert tiers(runtime, cache.id)["hot"] == (30, 300)
    assert "Staged" in operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)


def test_stages_a_new_tier(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/tiers/add"
    sent = {**HOT, "name": "weekly", "label": "Weekly", "max_ttl_s": "14", "max_ttl_s.unit": "d", "seen": ""}
    assert operator.post(path, data=sent).status_code == 303
    assert tiers(runtime, cache.id)["weekly"] == (30, 14 * 86_400)
    never = {"name": "never", "label": "Never", "is_cached": "no", "min_ttl_s": "x", "seen": ""}
    assert operator.post(path, data=never).status_code == 303
    assert tiers(runtime, cache.id)["never"] == (None, None)


def test_bad_input_keeps_what_was_typed(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/tiers/add"
    for typed, field in (
        ({"name": "Not A Name"}, "name"), ({"label": ""}, "label"), ({"min_ttl_s": "0"}, "min_ttl_s"),
        ({"max_ttl_s": "1", "max_ttl_s.unit": "s"}, "max_ttl_s"), ({"min_ttl_s": ""}, "min_ttl_s"),
        ({"name": "hot"}, "name"),
    ):  # fmt: skip
        answer = operator.post(path, data={**HOT, "name": "weekly", **typed})
        page = answer.get_data(as_text=True)
        assert answer.status_code == 422 and f'id="{field}-e"' in page, (typed, page)
        assert f'value="{next(iter(typed.values()))}"' in page
    assert "weekly" not in tiers(runtime, cache.id)


def test_the_second_editor_sees_the_change(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    path = f"/caches/{cache.id}/policies/tiers/edit?name=hot"
    seen = opened(operator, path)
    assert operator.post(path, data={**HOT, "seen": seen}).status_code == 303
    answer = operator.post(path, data={**HOT, "max_ttl_s": "7", "seen": seen})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "Changed meanwhile" in page and 'value="7"' in page
    assert operator.post(path, data={**HOT, "max_ttl_s": "7", "seen": seen_in(page)}).status_code == 303
    assert tiers(runtime, cache.id)["hot"] == (30, 420)


def test_a_tier_in_use_is_not_removed(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    base = f"/caches/{cache.id}/policies/tiers"
    seen = opened(operator, f"{base}/edit?name=frequently-updated")
    answer = operator.post(f"{base}/remove?name=frequently-updated", data={"seen": seen})
    assert answer.status_code == 422 and "It is used by news:" in answer.get_data(as_text=True)
    seen = opened(operator, f"{base}/edit?name=low-volatility")
    assert operator.post(f"{base}/remove?name=low-volatility", data={"seen": seen}).status_code == 303
    page = operator.get(f"/caches/{cache.id}/policies").get_data(as_text=True)
    assert "Removal staged" in page


def test_a_policy_that_no_longer_fits_is_said_before_publishing(
    operator: FlaskClient, runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    path = f"/caches/{cache.id}/policies/tiers/edit?name=frequently-updated"
    sent = {**HOT, "name": "frequently-updated", "min_ttl_s": "2", "min_ttl_s.unit": "h", "max_ttl_s": "6",
            "max_ttl_s.unit": "h", "seen": opened(operator, path)}  # fmt: skip
    assert operator.post(path, data=sent).status_code == 303
    page = operator.get(f"/caches/{cache.id}/policies/draft").get_data(as_text=True)
    problem = '<span class="mono">news:</span> TTL: 1 h is outside this tier. Enter 2 to 6 h.'
    assert "It can’t be published as it is." in page and problem in page
    # Publishing it all the same names no field of the document: the list above has them in words.
    revision = re.search(r'name="revision" value="(\d+)"', page)
    assert revision is not None
    sent = {"reason": "because", "revision": revision[1], "version": "0"}
    refused = operator.post(f"/caches/{cache.id}/policies/draft", data=sent)
    page = refused.get_data(as_text=True)
    assert refused.status_code == 422 and "Version 1 can&#39;t be published." in page
    assert problem in page and "base_ttl_s" not in page
