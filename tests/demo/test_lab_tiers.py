"""Tiers: real servers, two TTLs, a few seconds."""

import pytest

from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import tiers
from dashboard.demo.lab.types import Result


def test_every_kind_has_its_curve_and_its_policy_s_point(quick_bench: LabBench) -> None:
    found = tiers.SCENARIO.run(quick_bench)
    assert [side.name for side in found.sides] == ["Category pages", "Products", "Stock"]
    for side in found.sides:
        assert len(side.series[tiers.SERIES]) == len(tiers.QUICK_FACTORS)
        assert (1.0, side.value(tiers.POINT)) in side.series[tiers.SERIES]
        assert all(x > 0 and 0 <= share < 1 for x, share in side.series[tiers.SERIES])
        # Each key is loaded at most once per TTL, whatever the readers do.
        policy_s = side.value("Policy's TTL")
        assert policy_s and 0 < (side.value("Policy's TTL: loads of a million keys") or 0) < 1.5e6 / policy_s
    assert found.sides[0].value("Policy's TTL") == 26 * 3600
    assert found.across != ("Time", "s")
    assert not found.checks and not tiers.SCENARIO.is_accepting
    assert Result.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("seconds", "words"), [(8.25, "8.2 seconds"), (990, "16 minutes"), (23_400, "6.5 hours")]
)
def test_spans_in_words(seconds: float, words: str) -> None:
    assert tiers._span(seconds) == words
