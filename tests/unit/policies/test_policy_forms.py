"""Forms of policies and tiers: units on one side, the document's fields on the other."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.caching.errors import PolicyError
from dashboard.caching.policy import (
    MAX_TTL_S,
    TIERS,
    Policy,
    Protection,
    Strategy,
    Tier,
    parse_policy,
    parse_tier,
)
from dashboard.errors import InvalidInput
from dashboard.policies import forms
from dashboard.policies.forms import TypedPolicy

WIDE = (Tier("wide", "Wide", 1, MAX_TTL_S),)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    base = draw(st.integers(1, MAX_TTL_S // 2))
    return Policy(
        prefix=draw(
            st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=9)
        ).encode(),
        tier="wide",
        base_ttl_s=base,
        jitter_s=draw(st.integers(0, MAX_TTL_S // 2)),
        strategy=draw(st.sampled_from(Strategy)),
        protection=Protection(
            draw(st.booleans()),
            draw(st.none() | st.sampled_from([0.1, 0.5, 1.0, 2.5, 10.0])),
            draw(st.none() | st.integers(1, min(base * 10, 7 * 86_400))),
        ),
        negative_ttl_s=draw(st.integers(0, min(base, 86_400))),
        longest_wait_s=draw(st.sampled_from([0.0, 0.00001, 0.25, 5.0, 60.0])),
        note=draw(st.sampled_from(["", "why\nso"])),
    )


@given(policies())
def test_what_is_shown_and_sent_back_is_the_same_policy(policy: Policy) -> None:
    typed = forms.shown_policy(policy.to_dict())
    assert parse_policy(forms.policy_values(typed, is_default=False), WIDE) == policy


@given(st.dictionaries(st.sampled_from(list(TypedPolicy.__slots__)), st.text(max_size=60)))
def test_any_text_is_a_policy_or_a_refusal(typed: dict[str, Any]) -> None:
    values = forms.policy_values(TypedPolicy(**typed), is_default=False)
    try:
        parse_policy(values, TIERS)
    except PolicyError as error:
        assert error.problems


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [("1", "h", 3600), ("1.5", "m", 90), ("0.5", "s", 0.5), ("1,000", "s", 1000), ("", "s", None),
     ("1,5", "h", 5400), ("2,5", "m", 150), ("1_0", "s", "1_0"), ("1e3", "s", "1e3"), ("1,50,0", "s", "1,50,0"),
     ("x", "s", "x"), ("nan", "s", "nan"), ("9" * 21, "s", "9" * 21), ("1e99", "s", "1e99"), ("٣", "s", "٣")],
)  # fmt: skip
def test_lengths_of_time(text: str, unit: str, seconds: object) -> None:
    typed = TypedPolicy(prefix="a", base_ttl=text, base_ttl_unit=unit)
    assert forms.policy_values(typed, is_default=False)["base_ttl_s"] == seconds


def test_an_unknown_unit_is_seconds() -> None:
    assert forms.typed_policy({"base_ttl_s": "5", "base_ttl_s.unit": "%"}).base_ttl_unit == "s"
    assert forms.typed_policy({"jitter_s": "5", "jitter_s.unit": "%"}).jitter_unit == "%"


@pytest.mark.parametrize("tier", TIERS)
def test_tiers_come_back_as_they_were(tier: Tier) -> None:
    assert parse_tier(forms.tier_values(forms.shown_tier(tier.to_dict()))) == tier


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "x", "1441", "9" * 30])
def test_minutes_of_a_bypass_are_refused_outside_a_day(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        forms.minutes(text)
    assert "minutes" in refused.value.fields
    assert forms.minutes("1440") == 1440
