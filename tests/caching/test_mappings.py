"""Mappings from rows to keys: the one field of the document that applications never see."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.caching import PolicyError, parse_document
from dashboard.caching.policy import ROW_ID, TIERS, RowMapping, parse_mapping, prefix_from_text

REVIEWS = {"table": "products", "column": "id", "templates": ["product:{id}", "product:{id}:reviews"]}


def document(*mappings: Any) -> dict[str, Any]:
    return {
        "version": 3,
        "tiers": [tier.to_dict() for tier in TIERS],
        "default": {"tier": "hot", "base_ttl_s": 60},
        "mappings": list(mappings),
    }


def test_it_is_read_kept_and_not_published() -> None:
    parsed = parse_document(document(REVIEWS))
    assert parsed.mappings == (RowMapping("products", "id", ("product:{id}", "product:{id}:reviews")),)
    assert parsed.mappings[0].name == "products.id" and parsed.mappings[0].to_dict() == REVIEWS
    assert parse_document(parsed.to_dict()) == parsed
    assert b"mappings" not in parsed.to_json()


def test_a_document_without_them_is_what_it_was() -> None:
    without = document()
    del without["mappings"]
    parsed = parse_document(without)
    assert parsed == parse_document(document()) and "mappings" not in parsed.to_dict()


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"table": ""}, "table", "1 to 200 characters"),
        ({"table": "a b"}, "table", "such as products"),
        ({"table": "a.b.c.d"}, "table", "such as products"),
        ({"table": "x" * 201}, "table", "1 to 200 characters"),
        ({"table": 7}, "table", "text"),
        ({"column": "shop.id"}, "column", "such as id"),
        ({"column": "id\n"}, "column", "such as id"),
        ({"templates": []}, "templates", "At least one"),
        ({"templates": "product:{id}"}, "templates", "list"),
        ({"templates": ["product:{id}"] * 21}, "templates", "at most 20"),
        ({"templates": ["product:1"]}, "templates[0]", "{id} is missing"),
        ({"templates": ["product:\\x7bid}"]}, "templates[0]", "{id} is missing"),
        ({"templates": ["a:{id}", "a:{id}"]}, "templates[1]", "there already"),
        ({"templates": ["a:{id}", "\\x61:{id}"]}, "templates[1]", "there already"),
        ({"templates": ["a:{id} "]}, "templates[0]", "space"),
        ({"templates": ["a\\q{id}"]}, "templates[0]", "backslash"),
        ({"templates": ["\ud800{id}"]}, "templates[0]", "backslash"),
        ({"templates": ["x" * 513 + "{id}"]}, "templates[0]", "512"),
        ({"templates": ["cachewarden:{id}"]}, "templates[0]", "reserved"),
        ({"templates": [None]}, "templates[0]", "text"),
        ({"key": "id"}, "key", "Unknown field"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(changes: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(PolicyError) as alone:
        parse_mapping(REVIEWS | changes)
    (problem,) = alone.value.problems
    assert problem.path == path and words in problem.message
    with pytest.raises(PolicyError) as within:
        parse_document(document(REVIEWS | {"table": "other"}, REVIEWS | changes))
    assert [each.path for each in within.value.problems] == [f"mappings[1].{path}"]


@pytest.mark.parametrize("missing", list(REVIEWS))
def test_every_field_is_needed(missing: str) -> None:
    with pytest.raises(PolicyError) as caught:
        parse_mapping({name: value for name, value in REVIEWS.items() if name != missing})
    assert [problem.path for problem in caught.value.problems] == [missing]


def test_rows_are_mapped_once() -> None:
    with pytest.raises(PolicyError) as caught:
        parse_document(document(REVIEWS, REVIEWS | {"templates": ["other:{id}"]}))
    assert [problem.path for problem in caught.value.problems] == ["mappings[1].table"]


@pytest.mark.parametrize("source", [document("products.id"), document() | {"mappings": {}}, document([])])
def test_what_is_no_mapping(source: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse_document(source)


def test_braces_that_belong_to_the_key_stay_apart_from_the_place_of_the_value() -> None:
    # Hash tags of a Cluster are braces, too.
    parsed = parse_mapping(REVIEWS | {"templates": ["{product:{id}}", "\\x7bid}:{id}", "{\\x7bid}{id}"]})
    assert parsed.templates == ("{product:{id}}", "\\x7bid}:{id}", "{\\x7bid}{id}")
    assert parse_mapping(parsed.to_dict()) == parsed


@given(st.text(st.sampled_from("{}id:\\\\x7b \x00é*\ud800"), max_size=20))
def test_any_template_is_refused_or_has_one_spelling(text: str) -> None:
    try:
        parsed = parse_mapping(REVIEWS | {"templates": [text]})
    except PolicyError as error:
        assert all(problem.message for problem in error.problems)
        return
    assert parse_mapping(parsed.to_dict()) == parsed
    before, after = (
        [prefix_from_text(part) for part in each.split(ROW_ID)] for each in (text, *parsed.templates)
    )
    assert before == after


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5))
def test_whatever_stands_in_a_field_is_refused(value: object) -> None:
    for field in REVIEWS:
        try:
            parse_mapping(REVIEWS | {field: value})
        except PolicyError as error:
            assert all(problem.path.startswith(field) for problem in error.problems)
