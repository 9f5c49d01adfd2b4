"""Forgotten invalidation: real servers, a short TTL, and that the check fails for an editor that forgets."""

from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import forgotten_invalidation as forgotten
from dashboard.demo.lab.types import Result


def test_old_prices_end_with_the_ttl_a_purge_or_an_editor_that_tells(quick_bench: LabBench) -> None:
    found = forgotten.SCENARIO.run(quick_bench)
    left, purged, right = found.sides
    # When they end is a matter of seconds, which a busy machine does not promise.
    assert [check.passed for check in found.checks if check.unit == "count"] == [True, True, True]
    assert (left.value(forgotten.OLD) or 0) > 0 and left.value(forgotten.AFTER) is None
    assert (purged.value(forgotten.OLD) or 0) > 0 and purged.value(forgotten.AFTER) == 0
    assert (right.value("Prices changed") or 0) >= forgotten.QUICK_EDITS
    assert left.value(forgotten.LOOKS) is None
    assert all((side.value(forgotten.LOOKS) or 0) >= forgotten.QUICK_PAGES for side in (purged, right))
    assert right.value(forgotten.OLD) == right.value(forgotten.SHARE) == 0
    assert 0 < (left.value(forgotten.SHARE) or 0) <= 1
    # Told after it was changed, so what was read since is less.
    for side in (purged, right):
        assert (side.value(forgotten.LOOKS) or 0) <= (side.value("Pages read after the first change") or 0)
    assert any(value > 0 for _, value in left.series[forgotten.SERIES])
    assert Result.from_json(found.to_json()) == found


def test_it_fails_for_an_editor_that_forgets(quick_bench: LabBench) -> None:
    found = forgotten.forget(quick_bench, editor_tells=False)
    assert (found.sides[2].value(forgotten.OLD) or 0) > 0
    assert not found.checks[-1].passed and not found.passed


def test_a_purge_by_row_is_of_the_keys_that_the_mapping_names() -> None:
    keys = forgotten._keys_of_rows([7, 31])
    assert {"product:7", "inventory:7", "product:31", "inventory:31"} <= set(keys)
    assert not any("{" in key for key in keys)
