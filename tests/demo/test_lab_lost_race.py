"""Lost race: real servers, few rounds, and that the check fails where nothing cures it."""

from dashboard.demo.lab import measuring
from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import lost_race
from dashboard.demo.lab.types import Result


def test_naive_loses_the_race_and_the_library_does_not(quick_bench: LabBench) -> None:
    found = lost_race.SCENARIO.run(quick_bench)
    assert found.passed, found.checks
    naive, cure = found.sides
    rounds = lost_race.QUICK_ROUNDS
    assert (naive.value("Rounds"), cure.value("Rounds")) == (rounds, rounds)
    assert naive.value(lost_race.SERIES) == rounds, "the order is forced"
    # Every old value came to be stored, and was refused.
    assert cure.value("Old values refused") == rounds
    assert str(rounds) in found.sentence
    assert f"for up to {measuring.duration(naive.value('Served for at most'))} more" in found.sentence
    assert Result.from_json(found.to_json()) == found


def test_it_fails_with_the_naive_recipe_in_the_cure_s_place(quick_bench: LabBench) -> None:
    found = lost_race.race(quick_bench, cure="naive")
    assert [check.passed for check in found.checks] == [True, False, False]
    assert not found.passed
