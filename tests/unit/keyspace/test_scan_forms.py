"""The form of the limits: what is typed is what is set, and what can't be set is said at its field."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.errors import InvalidInput
from dashboard.keyspace import forms
from dashboard.keyspace.limits import problems
from dashboard.keyspace.types import ScanLimits

VALID = st.builds(
    ScanLimits,
    keys_per_s=st.integers(1, 10_000_000),
    slowest_probe_ms=st.floats(0.1, 1_000).map(lambda value: round(value, 3)),
    size_every=st.integers(0, 100_000),
    prefers_replica=st.booleans(),
    delimiters=st.lists(st.sampled_from(":/.-|_ #"), min_size=1, max_size=8, unique=True).map("".join),
    sample_every_s=st.just(0) | st.integers(1, 43_200).map(lambda minutes: minutes * 60),
    full_every_s=st.just(0) | st.integers(60, 43_200).map(lambda minutes: minutes * 60),
)


@given(VALID)
def test_what_is_shown_is_read_as_the_same(limits: ScanLimits) -> None:
    assert problems(limits) == {}
    assert forms.parse_limits(forms.shown_limits(limits), limits.revision) == limits


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"keys_per_s": 0}, "keys_per_s"),
        ({"keys_per_s": 10_000_001}, "keys_per_s"),
        ({"slowest_probe_ms": 0.05}, "slowest_probe_ms"),
        ({"slowest_probe_ms": float("nan")}, "slowest_probe_ms"),
        ({"size_every": -1}, "size_every"),
        ({"sample_every_s": 59}, "sample_every_s"),
        ({"sample_every_s": -60}, "sample_every_s"),
        ({"full_every_s": 3_599}, "full_every_s"),
        ({"full_every_s": 31 * 86_400}, "full_every_s"),
        ({"delimiters": ""}, "delimiters"),
        ({"delimiters": "::"}, "delimiters"),
        ({"delimiters": ":/.-|_ #~"}, "delimiters"),
        ({"delimiters": "a"}, "delimiters"),
        ({"delimiters": "*"}, "delimiters"),
        ({"delimiters": "{"}, "delimiters"),
        ({"delimiters": "\\"}, "delimiters"),
        ({"delimiters": "\x00"}, "delimiters"),
        ({"delimiters": "·"}, "delimiters"),
    ],
)
def test_what_can_not_be_set_is_said_at_its_field(changed: dict[str, object], field: str) -> None:
    assert list(problems(replace(ScanLimits(), **changed))) == [field]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "x", "1e3", "1.5", "٣", "9" * 30])
def test_what_is_no_number_is_said_at_its_field(text: str) -> None:
    typed = replace(forms.shown_limits(ScanLimits()), keys_per_s=text)
    with pytest.raises(InvalidInput) as caught:
        forms.parse_limits(typed, 0)
    assert list(caught.value.fields) == ["keys_per_s"]
