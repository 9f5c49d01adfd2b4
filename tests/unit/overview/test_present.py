from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dashboard.monitoring.types import PollStatus, Span, Verdict, Window
from dashboard.overview import present
from dashboard.policies.types import ReadsAvoided
from tests.unit.overview.test_charts import MB, NOW, series, span, summary

OK = (Verdict("ok", "poll", "Read 4 s ago."), Verdict("ok", "hit_ratio", "Hit ratio is 91.4%."))


JUDGED = Window(NOW - timedelta(minutes=14, seconds=52), NOW, 890.0, hits=914, misses=86)


def tile(label, facts=None, verdicts=OK, columns=None, *, is_stale=False, judged=JUDGED):
    made = present.tiles(
        facts or summary(), series(columns or {}), 0.8, verdicts, NOW, is_stale=is_stale, judged=judged
    )
    return next(each for each in made if each.label == label)


def test_the_five_tiles_in_order():
    made = present.tiles(summary(), series({}), 0.8, OK, NOW, is_stale=False)
    assert [each.label for each in made] == [
        "Hit ratio",
        "Memory",
        "Operations",
        "Evictions",
        "Database reads avoided",
    ]


def test_hit_ratio_comes_with_its_volume_and_status():
    made = tile("Hit ratio", columns={"hit_ratio": (0.9, None, 0.7)})
    assert (made.value, made.unit, made.sub) == ("91.4", "%", "last 15 min; 1 h mean 90.0%")
    assert (made.status_kind, made.status_word, made.spark_target) == ("ok", "On target", 0.8)


def test_below_target_takes_the_verdicts_weight():
    low = (Verdict("crit", "hit_ratio", "Hit ratio is 41%."),)
    assert tile("Hit ratio", verdicts=low).status_kind == "crit"


def test_no_reads_are_said():
    window = Window(NOW - timedelta(hours=1), NOW, 3600.0, hits=0, misses=0)
    made = tile("Hit ratio", summary(window=window), verdicts=(), judged=None)
    assert (made.value, made.unit, made.sub, made.status_kind) == (
        "no reads",
        "",
        "no reads in the last 1 h",
        "",
    )


def test_unreported_counters_are_not_available():
    unreported = summary(rates={}, window=Window(NOW - timedelta(hours=1), NOW, 3600.0))
    made = tile("Hit ratio", unreported, verdicts=(), judged=None)
    assert (made.value, made.sub) == ("n/a", "hits and misses are not reported")
    assert (tile("Evictions", unreported).value, tile("Evictions", unreported).sub) == ("n/a", "not reported")


def test_the_first_minute_has_a_ratio_but_none_of_the_span():
    begun = summary(window=Window(NOW - timedelta(hours=1), NOW, 0.0))
    assert (tile("Hit ratio", begun).value, tile("Hit ratio", begun).sub) == (
        "91.4",
        "last 15 min",
    )
    assert tile("Evictions", begun).sub == "the first minute is not over"


@pytest.mark.parametrize(
    ("used", "limit", "value", "unit"),
    [
        (508 * MB, 512 * MB, "508", "of 512 MB"),
        (int(7.74 * MB), 64 * MB, "7.7", "of 64 MB"),
        (900 * 1024, 64 * MB, "900", "KB of 64 MB"),
        (36 * MB, 0, "36", "MB"),
        (None, 64 * MB, "n/a", ""),
    ],
)
def test_memory(used, limit, value, unit):
    made = tile("Memory", summary(used_memory_bytes=used, maxmemory_bytes=limit))
    assert (made.value, made.unit, made.sub) == (value, unit, "allkeys-lru, frag. 1.06")


def test_a_full_cache_is_no_alarm_but_pressure_is():
    full = summary(used_memory_bytes=512 * MB)
    assert tile("Memory", full).status_kind == ""
    pressed = (*OK, Verdict("warn", "memory.pressure", "Memory is full."))
    assert tile("Memory", full, pressed).status_word == "Full"
    assert tile("Evictions", full, pressed).status_word == "Rising"


def test_evictions_say_since_when():
    assert tile("Evictions").sub == "none in the last 1 h"
    began = NOW - timedelta(minutes=48)
    assert (
        tile("Evictions", summary(evicting_since=began, rates={"evicted_per_s": 46.2})).sub == "since 13:38"
    )


def test_evictions_that_ended_are_counted():
    window = Window(NOW - timedelta(hours=1), NOW, 3600.0, evicted_keys=1200)
    over = summary(evicting_since=NOW - timedelta(minutes=48), rates={"evicted_per_s": 0.0}, window=window)
    assert tile("Evictions", over).sub == "1,200 keys in the last 1 h"


def test_one_span_has_one_count_of_evictions():
    """The tile of a quarter of an hour counts as the verdicts do; others name their own span."""
    window = Window(NOW - timedelta(minutes=15), NOW, 900.0, evicted_keys=1963)
    recent = Window(NOW - timedelta(minutes=15), NOW, 900.0, evicted_keys=2324)
    facts = summary(rates={"evicted_per_s": 0.0}, window=window)
    for within, words in (
        (span(0.25, "15m"), "2,324 keys in the last 15 min"),
        (span(1, "1h"), "1,963 keys in the last 1 h"),
    ):
        found = replace(series({}), span=within)
        made = present.tiles(facts, found, 0.8, OK, NOW, is_stale=False, judged=JUDGED, recent=recent)
        assert next(each for each in made if each.label == "Evictions").sub == words


def test_rates_say_whether_they_are_of_now_or_a_mean():
    avoided = ReadsAvoided(9_000, 600, 252.0, 18.0, ())
    facts = summary(rates={"commands_per_s": 5.4, "evicted_per_s": 0.0})
    made = present.tiles(facts, series({}), 0.8, OK, NOW, is_stale=False, counted=avoided)
    assert [each.unit for each in made[2:]] == ["/s now", "/s now", "/s, last 2 min"]


def test_reads_avoided_name_what_is_left_for_the_database():
    made = tile("Database reads avoided")
    assert (made.value, made.unit, made.sub) == ("3,589", "/s now", "misses 338/s, by INFO")
    assert tile("Database reads avoided", summary(rates={})).value == "n/a"


def test_stale_tiles_keep_the_number_and_lose_the_status():
    old = summary(as_of=NOW - timedelta(minutes=17))
    made = tile("Hit ratio", old, is_stale=True)
    assert (made.value, made.sub, made.status_kind) == ("91.4", "as of 14:09:00, 17 m old", "")
    assert made.spark_target == 0.8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "Redis 7.2.5 · 512 MB · allkeys-lru · up 41 d"),
        ({"vendor": "valkey", "maxmemory_bytes": 0}, "Valkey 7.2.5 · no memory limit · allkeys-lru · up 41 d"),
        ({"vendor": "unknown", "version": None, "maxmemory_bytes": None, "maxmemory_policy": None,
          "uptime_in_seconds": None}, ""),
    ],
)  # fmt: skip
def test_meta(changes, words):
    assert present.meta(summary(**changes)) == words


def poll(**changes):
    facts = {"last_success_at": NOW - timedelta(minutes=17), "failing_since": NOW - timedelta(minutes=16)}
    return PollStatus(1, **(facts | {"failures": 34, "error": "Timed out after 2 s."} | changes))


AWAY = (Verdict("crit", "poll", "No answer since 14:09."),)


def test_no_banner_while_readings_come_in():
    assert present.stale("shop", "cache-01:6379", poll(failures=0), OK, NOW) is None


def test_the_banner_names_the_address_and_the_tries():
    made = present.stale("shop", "cache-01:6379", poll(), AWAY, NOW)
    assert made.title == "shop does not answer at cache-01:6379."
    assert made.detail == "Timed out after 2 s, 34 tries since 14:10."
    assert "1 try since" in present.stale("shop", "a:1", poll(failures=1), AWAY, NOW).detail


def test_the_banner_goes_by_the_verdict_as_all_other_states_do():
    assert present.stale("shop", "a:1", poll(failures=2), OK, NOW) is None
    assert present.stale("shop", "a:1", poll(failures=1), AWAY, NOW) is not None
    assert present.stale("shop", "a:1", poll(is_unpolled=True), AWAY, NOW).title == "Nobody polls shop."


def test_a_worker_that_is_away_is_not_blamed_on_the_cache():
    made = present.stale("shop", "a:1", poll(error=None, failing_since=None), AWAY, NOW)
    assert made.title == "Nobody polls shop."


def custom(start, end, *, is_live=False):
    return Span(start, end, "custom", is_live=is_live)


@pytest.mark.parametrize(
    ("within", "words", "query"),
    [
        (span(6, "6h"), "the last 6 h", "range=6h"),
        (
            custom(NOW - timedelta(hours=3), NOW),
            "Nov 22, 11:26 to 14:26",
            "from=2026-11-22T11%3A26%3A00Z&to=2026-11-22T14%3A26%3A00Z",
        ),
        (
            custom(datetime(2026, 11, 20, 9, 0, tzinfo=UTC), datetime(2026, 11, 21, 12, 0, tzinfo=UTC)),
            "Nov 20, 09:00 to Nov 21, 12:00",
            "from=2026-11-20T09%3A00%3A00Z&to=2026-11-21T12%3A00%3A00Z",
        ),
        (
            custom(datetime(2025, 12, 30, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
            "2025-12-30 to 2026-01-02",
            "from=2025-12-30T00%3A00%3A00Z&to=2026-01-02T00%3A00%3A00Z",
        ),
        (
            custom(NOW - timedelta(hours=3), NOW, is_live=True),
            "the time since 11:26",
            "from=2026-11-22T11%3A26%3A00Z",
        ),
    ],
)
def test_spans_in_words_and_in_the_address(within, words, query):
    assert present.span_words(within) == words
    assert present.range_query(within) == query


def test_range_choice_links_to_the_named_spans():
    made = present.range_choice(span(1, "1h"), "/caches/7/overview")
    assert (made.current, made.is_live) == ("1h", True)
    assert made.items[0] == ("15m", "/caches/7/overview?range=15m")
    assert (made.from_value, made.to_value) == ("2026-11-22T13:26", "2026-11-22T14:26")
