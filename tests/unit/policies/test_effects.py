"""What a version did, from its sums: the verdict, the numbers and what did not change."""

from datetime import UTC, datetime

import pytest

from dashboard.monitoring.types import StoredEvent
from dashboard.policies import effects
from dashboard.policies.types import Sums


def side(hits: int, loads: int, *, window_s: float = 600.0, load_us: int = 0, errors: int = 0) -> Sums:
    return Sums(window_s, hits + loads, hits, loads, load_us or loads * 20_000, errors)


def event(kind: str) -> StoredEvent:
    return StoredEvent(1, 1, kind, datetime(2026, 3, 4, 12, tzinfo=UTC), None, "", {})


@pytest.mark.parametrize(
    ("before", "after", "kind", "sentence"),
    [
        (
            side(8_130, 1_870),
            side(5_830, 4_170),
            "crit",
            "Version 9 made it worse. Hit ratio of inventory: fell from 81.3% to 58.3% and loads more than doubled.",
        ),
        (
            side(5_000, 5_000),
            side(8_000, 2_000),
            "ok",
            "Version 9 made it better. Hit ratio of inventory: rose from 50% to 80% and loads fell by 60%.",
        ),
        (
            side(8_000, 2_000),
            side(8_100, 1_900),
            "info",
            "Hit ratio of inventory: stayed at 81% and loads stayed level.",
        ),
        (side(50, 40), side(8_000, 100), "unknown", "inventory: was read too little around v9 to compare."),
        (side(0, 0), side(8_000, 100), "unknown", "inventory: was read too little around v9 to compare."),
    ],
)
def test_the_verdict_is_about_the_hit_ratio(before: Sums, after: Sums, kind: str, sentence: str) -> None:
    found = effects.judge("inventory:", 9, before, after)
    assert (found[0], found[2]) == (kind, sentence)


def test_a_restart_or_a_flush_explains_it_as_well() -> None:
    before, after = side(8_130, 1_870), side(5_830, 4_170)
    kind, word, sentence = effects.judge("news:", 9, before, after, [event("config"), event("restart")])
    assert (kind, word) == ("info", "Not clear") and "there was a restart in this span" in sentence
    assert effects.judge("news:", 9, before, after, [event("config"), event("gap")])[1] == "Worse"


def test_numbers_stand_side_by_side_and_say_which_got_worse() -> None:
    before, after = side(8_130, 1_870), side(5_830, 4_170, load_us=4_170 * 40_000)
    rows = {row.label: row for row in effects.compare(before, after)}
    assert (rows["Hit ratio"].change, rows["Hit ratio"].kind) == ("-23.0 points", "crit")
    assert (rows["Loads/s"].change, rows["Loads/s"].kind) == ("+123%", "crit")
    assert (rows["Load time"].before, rows["Load time"].after) == ("20 ms", "40 ms")
    assert (rows["Reads/s"].change, rows["Reads/s"].kind) == ("level", "")


def test_numbers_that_are_not_known_are_left_out() -> None:
    rows = {row.label: row for row in effects.compare(side(0, 0), side(100, 0))}
    assert "Hit ratio" not in rows and "Load time" not in rows
    assert (rows["Reads/s"].change, rows["Reads/s"].kind) == ("new", "")


def test_says_what_did_not_change() -> None:
    assert effects.unchanged(side(80, 20), side(60, 42), []) == (
        "Reads stayed level, so the traffic is not the cause.",
        "No errors on either side.",
        "No restart, failover, outage or flush in this span.",
    )


def test_says_what_else_changed() -> None:
    said = effects.unchanged(
        side(80, 20, errors=1), side(160, 40, errors=9), [event("flush"), event("flush"), event("gap")]
    )
    assert said == (
        "Reads changed by +100% too, so the traffic may be part of it.",
        "Errors rose from 1 to 9: part of it may be theirs.",
        "In this span, too: a flush.",
    )
