"""What a version did, from its sums: the verdict, the numbers and what did not change."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dashboard.monitoring.types import StoredEvent
from dashboard.policies import effects
from dashboard.policies.types import ChangeKind, Sums


def side(
    hits: int, loads: int, *, window_s: float = 600.0, load_us: int = 0, errors: int = 0, bypasses: int = 0
) -> Sums:
    return Sums(window_s, hits + loads, hits, loads, load_us or loads * 20_000, errors, bypasses=bypasses)


def about(title: str = "inventory:", **values: Any) -> effects.Subject:
    return effects.Subject(title, 9, **values)


def event(kind: str) -> StoredEvent:
    return StoredEvent(1, 1, kind, datetime(2026, 3, 4, 12, tzinfo=UTC), None, "", {})


@pytest.mark.parametrize(
    ("before", "after", "kind", "sentence"),
    [
        (
            side(8_130, 1_870),
            side(5_830, 4_170),
            "crit",
            "Worse since v9. Hit ratio of inventory: fell from 81.3% to 58.3% and database reads more than doubled.",
        ),
        (
            side(5_000, 5_000),
            side(8_000, 2_000),
            "ok",
            "Better since v9. Hit ratio of inventory: rose from 50% to 80% and database reads fell by 60%.",
        ),
        (
            side(8_000, 2_000),
            side(8_100, 1_900),
            "info",
            "Hit ratio of inventory: stayed level at 81%, 80% before, and database reads stayed level.",
        ),
        (
            side(10_000, 0),
            side(9_990, 10),
            "info",
            "Hit ratio of inventory: stayed level at 99.9%, 100% before, and database reads rose from 0 to 0.02/s.",
        ),
        (
            side(10_000, 0),
            side(10_000, 0),
            "info",
            "Hit ratio of inventory: stayed level at 100% and database reads stayed level.",
        ),
        (side(50, 40), side(8_000, 100), "unknown", "inventory: was read too little around v9 to compare."),
        (side(0, 0), side(8_000, 100), "unknown", "inventory: was read too little around v9 to compare."),
    ],
)
def test_the_verdict_is_about_the_hit_ratio(before: Sums, after: Sums, kind: str, sentence: str) -> None:
    found = effects.judge(about(), before, after)
    assert (found[0], found[2]) == (kind, sentence)


def test_a_restart_or_a_flush_explains_it_as_well() -> None:
    before, after = side(8_130, 1_870), side(5_830, 4_170)
    kind, word, sentence = effects.judge(about("news:"), before, after, [event("config"), event("restart")])
    assert (kind, word) == ("info", "Not clear") and "there was a restart in this span" in sentence
    assert effects.judge(about("news:"), before, after, [event("config"), event("gap")])[1] == "Worse"


@pytest.mark.parametrize(
    ("subject", "before", "after", "kind", "word", "sentence"),
    [
        (
            about(kind="bypass"),
            side(8_000, 2_000),
            side(0, 0, bypasses=12_000),
            "info",
            "Bypassed",
            "inventory: went around the cache with v9: 20 database reads/s, 3.3/s before.",
        ),
        (
            about(kind="end-bypass"),
            side(0, 0, bypasses=12_000),
            side(8_000, 2_000),
            "info",
            "Bypass ended",
            "inventory: is cached again since v9: 3.3 database reads/s, 20/s before.",
        ),
        (
            about(is_cached=False),
            side(8_000, 2_000),
            side(0, 0, bypasses=12_000),
            "info",
            "Not cached",
            "inventory: is not cached since v9: 20 database reads/s, 3.3/s before.",
        ),
        (
            about(was_cached=False),
            side(0, 0, bypasses=12_000),
            side(8_000, 2_000),
            "info",
            "Cached",
            "inventory: is cached since v9: hit ratio 80%, 3.3 database reads/s, 20/s before.",
        ),
        (
            about(),
            side(8_000, 2_000, bypasses=1_000),
            side(9_500, 500),
            "info",
            "Bypassed",
            (
                "inventory: went around the cache for a part of it: 9.1% of its reads before, 0% after;"
                " 0.83 database reads/s, 5/s before."
            ),
        ),
        (
            about(change=ChangeKind.ADDED),
            side(0, 0),
            side(8_000, 2_000),
            "unknown",
            "New",
            "inventory: is counted apart only since v9: nothing to compare with.",
        ),
        (
            about(change=ChangeKind.REMOVED),
            side(8_000, 2_000),
            side(0, 0),
            "unknown",
            "Removed",
            "inventory: has no policy of its own since v9.",
        ),
        (
            about(doubt="Values live on.", is_early=True),
            side(8_000, 2_000),
            side(5_000, 5_000),
            "warn",
            "Too early",
            (
                "Hit ratio of inventory: fell from 80% to 50% and database reads more than doubled so far."
                " Values live on."
            ),
        ),
        (
            about(doubt="Values live on.", is_early=True),
            side(5_000, 5_000),
            side(8_000, 2_000),
            "info",
            "Too early",
            "Hit ratio of inventory: rose from 50% to 80% and database reads fell by 60% so far. Values live on.",
        ),
        (
            about(doubt="It was changed again."),
            side(5_000, 5_000),
            side(8_000, 2_000),
            "info",
            "Not clear",
            "Hit ratio of inventory: rose from 50% to 80% and database reads fell by 60%. It was changed again.",
        ),
    ],
)
def test_no_cause_is_claimed_where_something_else_explains_it(
    subject: effects.Subject, before: Sums, after: Sums, kind: str, word: str, sentence: str
) -> None:
    assert effects.judge(subject, before, after) == (kind, word, sentence)


def test_reads_around_the_cache_are_database_reads() -> None:
    rows = {row.label: row for row in effects.compare(side(8_000, 2_000), side(0, 0, bypasses=12_000))}
    found = rows["Database reads/s"]
    assert (found.before, found.after, found.change, found.kind) == ("3.3", "20", "+500%", "crit")
    assert rows["Around the cache/s"].after == "20" and rows["Reads/s"].change == "+20%"


def test_numbers_stand_side_by_side_and_say_which_got_worse() -> None:
    before, after = side(8_130, 1_870), side(5_830, 4_170, load_us=4_170 * 40_000)
    rows = {row.label: row for row in effects.compare(before, after)}
    assert (rows["Hit ratio"].change, rows["Hit ratio"].kind) == ("-23.0 points", "crit")
    assert (rows["Database reads/s"].change, rows["Database reads/s"].kind) == ("+123%", "crit")
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
