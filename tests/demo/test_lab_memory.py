"""Memory: real servers that are too small, a few hundred reads."""

from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import memory
from dashboard.demo.lab.types import Result


def test_a_full_server_refuses_or_evicts_and_no_read_fails(quick_bench: LabBench) -> None:
    found = memory.SCENARIO.run(quick_bench)
    assert [side.name for side in found.sides] == list(memory.POLICIES)
    for side in found.sides:
        assert side.value("Reads") == memory.QUICK_READS
        hits = memory.QUICK_READS - (side.value("Database loads") or 0)
        assert side.value(memory.SERIES) == hits / memory.QUICK_READS
        assert 0 < (side.value(memory.SERIES) or 0) < 1
    stuck, *evicting = found.sides
    # What it did not have it could not store either.
    assert stuck.value(memory.EVICTED) == 0
    assert (stuck.value(memory.REFUSED) or 0) >= (stuck.value("Database loads") or 0)
    assert all((side.value(memory.EVICTED) or 0) > 0 for side in evicting)
    assert not found.checks and not memory.SCENARIO.is_accepting
    assert Result.from_json(found.to_json()) == found
