"""Documents: any two differ by edits that turn one into the other, and any file comes back as it was."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from dashboard.caching.policy import (
    RESERVED,
    ROW_ID,
    TIERS,
    Policy,
    PolicyDocument,
    Protection,
    Strategy,
    Tier,
    parse_document,
    parse_mapping,
)
from dashboard.policies import diff, documents
from dashboard.policies.documents import Edit
from dashboard.policies.types import ChangeKind, ItemKind

AT = datetime(2026, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
MORE_TIERS = st.lists(
    st.builds(Tier, st.sampled_from(["a", "b", "no"]), TEXT.filter(bool), st.just(5), st.integers(5, 99)),
    unique_by=lambda tier: tier.name,
    max_size=3,
)


MAPPINGS = st.lists(
    st.builds(
        lambda table, parts: parse_mapping(
            {"table": table, "column": "id", "templates": [f"{part}:{ROW_ID}" for part in parts]}
        ),
        st.sampled_from(["a", "shop.b", "c"]),
        st.lists(st.sampled_from(["p", "\\x7bid}", "é", "\\xff\\\\"]), min_size=1, max_size=3, unique=True),
    ),
    unique_by=lambda mapping: mapping.name,
    max_size=3,
)


@st.composite
def policies(draw: st.DrawFn, prefix: bytes) -> Policy:
    tier = draw(st.sampled_from(TIERS))
    base = None if tier.min_ttl_s is None else draw(st.integers(tier.min_ttl_s, tier.max_ttl_s or 0))
    return Policy(
        prefix,
        tier.name,
        base,
        0 if base is None else draw(st.integers(0, (tier.max_ttl_s or 0) - base)),
        draw(st.sampled_from(Strategy)),
        Protection(
            draw(st.booleans()),
            draw(st.none() | st.sampled_from([0.1, 1.0, 2.5])),
            draw(st.none() | st.integers(1, 300)),
        ),
        draw(st.integers(0, 30)),
        draw(st.sampled_from([0.0, 5.0, 12.25])),
        draw(TEXT),
    )


@st.composite
def made(draw: st.DrawFn) -> PolicyDocument:
    prefixes = draw(
        st.lists(
            st.binary(min_size=1, max_size=4).filter(lambda prefix: not prefix.startswith(RESERVED)),
            unique=True,
            max_size=5,
        )
    )
    return PolicyDocument(
        3,
        (*TIERS, *draw(MORE_TIERS)),
        tuple(draw(policies(prefix)) for prefix in sorted(prefixes)),
        draw(policies(b"")),
        tuple(draw(MAPPINGS)),
    )


@given(made())
def test_a_file_comes_back_as_it_was(document: PolicyDocument) -> None:
    assert parse_document(document.to_dict()) == document
    # What applications get has no mappings: those of an earlier release would refuse it.
    assert parse_document(document.to_json()) == replace(document, mappings=())
    for format in ("json", "yaml"):
        back = documents.read(documents.export(document, "shop", format).body, format)
        assert replace(back, version=3) == document


@given(made())
def test_what_was_stored_is_loaded_as_it_was(document: PolicyDocument) -> None:
    assert documents.load(document.to_dict()) == document


@settings(max_examples=200)
@given(made(), made())
def test_edits_made_of_a_difference_lead_there(before: PolicyDocument, after: PolicyDocument) -> None:
    wanted, base = documents.items(after), documents.items(before)
    edits = [
        Edit(
            item.kind,
            item.name,
            documents.value_of(wanted.get((item.kind, item.name))),
            documents.value_of(base.get((item.kind, item.name))),
            "olga",
            AT,
            1,
        )
        for item in diff.diff(before, after).items
    ]
    there = documents.staged(before, edits)
    assert documents.items(there) == wanted
    assert diff.diff(there, after).is_empty and not documents.problems(there)
    for item in diff.diff(before, after).items:
        assert item.title and item.summary
        assert (item.change is ChangeKind.CHANGED) <= bool(item.fields)


@given(made())
def test_the_default_never_leaves(document: PolicyDocument) -> None:
    edit = Edit(ItemKind.DEFAULT, "", None, None, "olga", AT, 1)
    assert documents.staged(document, [edit]).default == document.default
