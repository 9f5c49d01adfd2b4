"""Scenarios whose readers are threads of this process, in short: what does not depend on how fast the machine is."""

import json

import pytest

from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import avalanche, purge, stampede
from dashboard.demo.lab.types import Result, Scenario, Side


def run(scenario: Scenario, bench: LabBench) -> Result:
    """A short run; whatever it finds is whole."""
    found = scenario.run(bench)
    assert Result.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert found.scenario == scenario.name and found.sentence and found.checks and not found.void
    names = [number.name for number in found.sides[0].numbers]
    for side in found.sides:
        assert [number.name for number in side.numbers] == names
        assert side.series[found.chart[0]]
        assert side.value("Errors") == 0
    return found


def total(side: Side, name: str) -> float:
    return sum(value for _, value in side.series[name])


@pytest.mark.slow
def test_of_many_readers_of_an_expired_key_one_loads(quick_bench: LabBench) -> None:
    found = run(stampede.SCENARIO, quick_bench)
    assert [side.name for side in found.sides] == [
        "Naive",
        "Lease",
        "Early refresh",
        "Stale while revalidate",
    ]
    naive, *cures = found.sides
    assert (naive.value(stampede.LOADS) or 0) > 0
    for side in cures:
        loads = (side.value(stampede.LOADS) or 0) * stampede.QUICK.lives
        assert loads == pytest.approx(total(side, stampede.CHART)) and loads >= 1
    # Who has waited for the load has waited about as long as it takes; who has not has waited less.
    assert all((side.value(stampede.MEAN_LOAD) or 0) >= 2 * stampede.LATENCY_S for side in found.sides)


@pytest.mark.slow
def test_keys_that_were_cached_together_expire_together_or_not(quick_bench: LabBench) -> None:
    found = run(avalanche.SCENARIO, quick_bench)
    assert [side.name for side in found.sides] == ["Fixed TTL", "Spread by the dashboard", "Jitter"]
    fixed, spread, jitter = found.sides
    for side in found.sides:
        assert total(side, avalanche.CHART) > 0 and (side.value(avalanche.EXPIRATIONS) or 0) > 0
        assert side.value(avalanche.QUERIES) == max(value for _, value in side.series[avalanche.CHART])
    # What was spread begins to expire at once; the rest has its TTL before it, however busy the machine is.
    assert spread.series[avalanche.CHART][0][1] > 0
    for side in (fixed, jitter):
        points = side.series[avalanche.CHART]
        assert max(points, key=lambda point: point[1])[0] > points[0][0]
    assert {check.text.partition(":")[0] for check in found.checks} == {spread.name, jitter.name}


@pytest.mark.slow
def test_a_purge_at_once_is_felt_at_once(quick_bench: LabBench) -> None:
    found = run(purge.SCENARIO, quick_bench)
    at_once, over_time = found.sides
    for side in found.sides:
        assert side.value("Products loaded anew") == total(side, purge.CHART) > 0
        assert total(side, purge.CHART) <= 2 * purge.QUICK.keys
    assert at_once.series[purge.CHART][0][1] > over_time.series[purge.CHART][0][1]
