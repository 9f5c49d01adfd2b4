"""Scenarios with the shop and its visitors in processes of their own, in short."""

import json
from collections.abc import Iterator

import pytest

from dashboard.demo.lab import running
from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import campaign, redis_down
from dashboard.demo.lab.types import Cancelled, Result

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def busy_bench() -> Iterator[LabBench]:
    """A bench whose shop sells."""
    with LabBench(quick=True) as bench:
        yield bench


def whole(found: Result) -> Result:
    """What a run found, which survives being stored."""
    assert Result.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.sentence and found.checks and all(side.series[found.chart[0]] for side in found.sides)
    names = [number.name for number in found.sides[0].numbers]
    assert all([number.name for number in side.numbers] == names for side in found.sides)
    return found


def test_a_campaign_is_the_same_for_all_three(busy_bench: LabBench) -> None:
    found = whole(campaign.SCENARIO.run(busy_bench))
    assert [side.name for side in found.sides] == ["Cache off", "Naive", "Cachewarden"]
    off, naive, kept = found.sides
    assert len({side.value(campaign.WANTED) for side in found.sides}) == 1
    assert off.value(campaign.HIT_RATIO) == 0 and off.value(campaign.HITS_P95) is None
    for side in (naive, kept):
        assert 0 < (side.value(campaign.HIT_RATIO) or 0) < 1
        # Of the same pages, fewer queries.
        assert (side.value(campaign.QUERIES) or 0) < (off.value(campaign.QUERIES) or 0)
    assert all((side.value(campaign.CPU_PER_PAGE) or -1) >= 0 for side in found.sides)
    limits = [check.limit for check in found.checks[:7]]
    assert limits == [0.9, 0.2, 0.2, 0.1, 0.005, 0.8, 0.0]


def test_nobody_gets_an_error_while_redis_is_away(busy_bench: LabBench) -> None:
    found = whole(redis_down.SCENARIO.run(busy_bench))
    naive, kept = found.sides
    assert (naive.name, kept.name) == ("Naive", "Cachewarden")
    assert kept.value(redis_down.ERRORS) == 0
    assert found.checks[0].passed and found.setup["away s"] == 3


def test_a_run_can_be_cancelled_while_visitors_are_under_way() -> None:
    said: list[str] = []
    with pytest.raises(Cancelled):
        running.run(
            redis_down.SCENARIO,
            quick=True,
            say=lambda share, words: said.append(words),
            is_cancelled=lambda: any(words.startswith("Measuring") for words in said),
        )
    assert said[-1].startswith("Measuring")
