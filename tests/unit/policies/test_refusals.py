"""What a form says when the validator refuses what was typed: its own unit, and the way out."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.caching.errors import PolicyError
from dashboard.caching.policy import DEFAULT_POLICY, TIERS, Policy, PolicyDocument, Tier, parse_tier
from dashboard.policies import documents, forms, refusals
from dashboard.policies.forms import TypedPolicy, TypedTier

GOOD = TypedPolicy(
    prefix="news:", tier="frequently-updated", base_ttl="2", base_ttl_unit="h", jitter="10", jitter_unit="m"
)


def said(**typed: Any) -> dict[str, str]:
    """What is said at each field of a form that is ``GOOD`` but for ``typed``."""
    form = replace(GOOD, **typed)
    return refusals.check_policy(forms.policy_values(form, is_default=False), form, TIERS, is_default=False)


def test_nothing_is_said_of_a_good_form() -> None:
    assert said() == {}


@pytest.mark.parametrize(
    ("typed", "field", "message"),
    [
        ({"base_ttl": "8"}, "base_ttl_s", "8 h is outside this tier. Enter 1 to 6 h."),
        (
            {"base_ttl": "480", "base_ttl_unit": "m"},
            "base_ttl_s",
            "480 m is outside this tier. Enter 60 to 360 m.",
        ),
        (
            {"base_ttl": "1.5", "base_ttl_unit": "d"},
            "base_ttl_s",
            "1.5 d is outside this tier. Enter 1 to 6 h, or move news: to Low volatility.",
        ),
        ({"base_ttl": ""}, "base_ttl_s", "Enter 1 to 6 h."),
        ({"base_ttl": "soon"}, "base_ttl_s", "“soon” can't be read as a number. Enter 1 to 6 h."),
        (
            {"base_ttl": "60.01", "base_ttl_unit": "m"},
            "base_ttl_s",
            "60.01 m is no whole number of seconds. Enter 60 to 360 m.",
        ),
        (
            {"base_ttl": "5", "jitter": "120"},
            "jitter_s",
            "5 h + up to 120 m goes beyond this tier's 6 h. Enter at most 60 m.",
        ),
        (
            {"base_ttl": "5", "jitter": "50", "jitter_unit": "%"},
            "jitter_s",
            "5 h + up to 50% goes beyond this tier's 6 h. Enter at most 20%.",
        ),
        (
            {"base_ttl": "6", "jitter": "1", "jitter_unit": "s"},
            "jitter_s",
            "6 h + up to 1 s goes beyond this tier's 6 h. Leave it at 0, or lower the TTL.",
        ),
        ({"jitter": "-1"}, "jitter_s", "Jitter only adds to the TTL. Enter 0 to 240 m."),
        ({"jitter": "x"}, "jitter_s", "“x” can't be read as a number. Enter 0 to 240 m."),
        (
            {"grace": "2", "grace_unit": "d"},
            "protection.grace_s",
            "2 d is too much. Enter 1 s to 20 h, ten times the TTL, or leave it empty.",
        ),
        (
            {"grace": "0"},
            "protection.grace_s",
            "0 s is too little. Enter 1 s to 20 h, ten times the TTL, or leave it empty.",
        ),
        (
            {"early_refresh_beta": "99"},
            "protection.early_refresh_beta",
            "99 is too much. Enter 0.1 to 10, or leave it empty.",
        ),
        (
            {"negative_ttl": "7201"},
            "negative_ttl_s",
            "7201 s is too much. Enter 0 to 7,200 s (the TTL); 0 switches it off.",
        ),
        ({"longest_wait": "90"}, "longest_wait_s", "90 s is too much. Enter 0 to 60 s."),
        ({"longest_wait": "nan"}, "longest_wait_s", "“nan” can't be read as a number. Enter 0 to 60 s."),
        ({"strategy": "x"}, "strategy", "Choose Cache-aside or Write-through."),
        ({"tier": "x"}, "tier", "Choose one of the tiers."),
        ({"note": "n" * 2001}, "note", "It has 2,001 characters; at most 2,000 fit."),
        ({"prefix": "é" * 300}, "prefix", "It has 600 bytes; at most 512 fit."),
    ],
)
def test_a_field_speaks_in_the_unit_that_was_typed(typed: dict[str, Any], field: str, message: str) -> None:
    found = said(**typed)
    assert found[field] == message and len(found) == 1


def test_an_empty_prefix_says_what_belongs_there() -> None:
    assert said(prefix=" ")["prefix"].startswith("Enter the start of the keys, such as news:.")


@pytest.mark.parametrize(
    ("typed", "field", "message"),
    [
        ({"low": ""}, "min_ttl_s", "Enter 1 s to 366 d."),
        ({"high": "1"}, "max_ttl_s", "1 h is too little. Enter 2 to 8,784 h."),
        ({"low": "x"}, "min_ttl_s", "“x” can't be read as a number. Enter 1 s to 366 d."),
        ({"label": "l" * 61}, "label", "It has 61 characters; at most 60 fit."),
        ({"name": "Hot!"}, "name", "Small letters, digits and hyphens only."),
    ],
)
def test_a_tier_speaks_in_the_unit_that_was_typed(typed: dict[str, str], field: str, message: str) -> None:
    good = TypedTier(name="warm", label="Warm", low="2", low_unit="h", high="4", high_unit="h")
    form = replace(good, **typed)  # type: ignore[arg-type]
    with pytest.raises(PolicyError) as refused:
        parse_tier(forms.tier_values(form))
    assert refusals.of_tier(refused.value.problems, form)[field] == message


def test_a_staged_document_names_policies_and_fields_as_people_do() -> None:
    tier = Tier("frequently-updated", "Often", 7200, 21_600)
    policy = Policy(b"news:", "frequently-updated", 3600, 0)
    draft = PolicyDocument(1, (tier,), (policy,), replace(DEFAULT_POLICY, tier="frequently-updated"))
    assert documents.problems(draft) == (
        ("news:", "TTL: 1 h is outside this tier. Enter 2 to 6 h."),
        ("Other keys", "TTL: 1 m is outside this tier. Enter 120 to 360 m."),
    )


@given(st.fixed_dictionaries({}, optional={name: st.text(max_size=40) for name in (
    "prefix", "tier", "base_ttl", "jitter", "strategy", "early_refresh_beta", "grace", "negative_ttl",
    "longest_wait", "note",
)} | {"base_ttl_unit": st.sampled_from("smhd"), "jitter_unit": st.sampled_from("smhd%")}))  # fmt: skip
def test_whatever_is_typed_something_is_said_in_words(typed: dict[str, Any]) -> None:
    for message in said(**typed).values():
        ours = re.sub("“.*”", "", message, flags=re.DOTALL)
        assert message and "_s" not in ours
