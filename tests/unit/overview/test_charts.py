from datetime import UTC, datetime, timedelta

import pytest

from dashboard.invalidation.types import PurgeMark
from dashboard.monitoring.types import Series, Span, StoredEvent, Summary, Window
from dashboard.overview import charts

NOW = datetime(2026, 11, 22, 14, 26, 0, tzinfo=UTC)
MB = 1024**2


def span(hours=1.0, name="1h"):
    return Span(NOW - timedelta(hours=hours), NOW, name, is_live=True)


def series(columns, times=None, *, within=None, level="raw", step_s=10.0, events=()):
    within = within or span()
    length = len(next(iter(columns.values()), ()))
    start = within.start.timestamp()
    return Series(
        cache_id=1,
        span=within,
        level=level,
        step_s=step_s,
        times=tuple(start + step_s * number for number in range(length)) if times is None else times,
        columns=columns,
        events=events,
    )


def summary(**changes):
    facts = {
        "window": Window(NOW - timedelta(hours=1), NOW, 3600.0, hits=900, misses=100, evicted_keys=0),
        "ratio_min": 0.67,
        "minutes_known": 60,
        "minutes_below_target": 0,
        "as_of": NOW - timedelta(seconds=4),
        "rates": {"hits_per_s": 3589.0, "misses_per_s": 338.0, "evicted_per_s": 0.0, "expired_per_s": 3.0},
        "used_memory_bytes": 508 * MB,
        "maxmemory_bytes": 512 * MB,
        "maxmemory_policy": "allkeys-lru",
        "mem_fragmentation_ratio": 1.06,
        "keys": 10,
        "connected_clients": 4,
        "blocked_clients": 0,
        "uptime_in_seconds": 41 * 86400,
        "version": "7.2.5",
        "vendor": "redis",
        "evicting_since": None,
    }
    return Summary(**(facts | changes))


def times_of(sent):
    """What charts.js makes of the differences."""
    total, made = 0, []
    for step in sent["t"]:
        total += step
        made.append(total / 10)
    return made


def event(kind, at=NOW, until=None, node="", **details):
    return StoredEvent(1, 1, kind, at, until, node, details)


def hit_ratio(of, facts=None, *, is_stale=False):
    return charts.hit_ratio_chart(of, facts or summary(), 0.8, "the last 1 h", NOW, is_stale)


def test_times_survive_the_way_as_differences():
    times = (1795357531.04, 1795357541.18, 1795357551.96)
    sent = charts.payload(series({"hit_ratio": (0.9, 0.9, 0.9)}, times))
    assert times_of(sent) == [1795357531.0, 1795357541.2, 1795357552.0]
    assert all(isinstance(step, int) for step in sent["t"])


def test_no_point_is_no_trouble():
    sent = charts.payload(series({"hit_ratio": ()}))
    assert (sent["t"], sent["c"]) == ([], {"hit_ratio": []})


def test_of_events_that_share_a_mark_the_cause_is_shown():
    kinds = ("config", "resetstat", "flush", "down", "restart")
    events = tuple(StoredEvent(number, 1, kind, NOW, None, "", {}) for number, kind in enumerate(kinds, 1))
    marks = charts.payload(series({"hit_ratio": (0.9,)}, events=events))["e"]
    ordered = sorted(marks, key=lambda mark: mark["rank"])
    assert [mark["title"] for mark in ordered] == [
        "Restart",
        "No answer",
        "Emptied",
        "Statistics reset",
        "Settings changed",
    ]


def test_values_keep_their_holes_and_four_digits():
    sent = charts.payload(series({"used_memory_bytes": (532676608.0, None, 0.0)}))
    assert sent["c"]["used_memory_bytes"] == [532700000, None, 0]


def test_nearly_all_hits_are_not_all_hits():
    assert charts.payload(series({"hit_ratio": (0.91449, 1.0)}))["c"]["hit_ratio"] == [0.914, 1]


def test_extremes_that_equal_the_line_are_not_sent():
    same = {"hit_ratio": (0.9, 0.8), "hit_ratio_min": (0.9, 0.8), "hit_ratio_max": (0.9, 0.8)}
    assert set(charts.payload(series(same))["c"]) == {"hit_ratio"}
    spread = same | {"hit_ratio_min": (0.9, 0.5)}
    assert "hit_ratio_min" in charts.payload(series(spread))["c"]
    assert "hit_ratio_min" in charts.payload(series(same, level="minute", step_s=60.0))["c"]


def test_a_band_is_drawn_only_where_averaging_hides_something():
    same = {"hit_ratio": (0.9,), "hit_ratio_min": (0.9,), "hit_ratio_max": (0.9,)}
    assert "lo" not in hit_ratio(series(same)).config["series"][0]
    line = hit_ratio(series(same | {"hit_ratio_max": (0.95,)})).config["series"][0]
    assert (line["lo"], line["hi"]) == ("hit_ratio_min", "hit_ratio_max")


def test_never_below_target_is_said_of_every_reading_not_of_whole_minutes():
    held, dipped = (summary(ratio_min=lowest, minutes_below_target=0) for lowest in (0.81, 0.4))
    assert hit_ratio(series({"hit_ratio": (0.9,)}), held).note == "never below target"
    assert hit_ratio(series({"hit_ratio": (0.9,)}), dipped).note == "below target for no whole minute"


def test_hit_ratio_in_words():
    view = hit_ratio(series({"hit_ratio": (0.9,)}), summary(minutes_below_target=11))
    assert view.note == "below target 11 of 60 min"
    assert (view.lines[0].name, view.lines[0].now) == ("In 10 s", "90%")
    assert view.sentence == (
        "Hit ratio over the last 1 h: 90% in the last 10 s, lowest 67%, target 80%, below target 11 of 60 min."
    )
    assert view.config["threshold"] == {"v": 80.0, "label": "target 80%", "below": True}


def test_no_traffic_is_neither_zero_nor_no_data():
    silent = Window(NOW - timedelta(hours=1), NOW, 3600.0, hits=0, misses=0)
    facts = summary(ratio_min=None, minutes_known=0, window=silent)
    view = hit_ratio(series({"hit_ratio": (None,)}), facts)
    assert view.lines[0].now == "no reads"
    assert view.note == "no reads in this span"


def test_the_first_minute_says_nothing_about_minutes():
    begun = summary(minutes_known=0, ratio_min=None, window=Window(NOW - timedelta(hours=1), NOW, 0.0))
    view = hit_ratio(series({"hit_ratio": (0.9,)}), begun)
    assert view.note == ""
    assert view.sentence == "Hit ratio over the last 1 h: 90% in the last 10 s, target 80%."


def test_stale_says_since_when():
    old = summary(as_of=NOW - timedelta(minutes=17))
    view = hit_ratio(series({"hit_ratio": (0.9,)}), old, is_stale=True)
    assert (view.note, view.lines[0].now) == ("no data since 14:09", "no data")
    assert {
        line.now for chart in charts.small_charts(series({}), old, is_stale=True) for line in chart.lines
    } == {"no data"}


def small(chart_id, columns, **facts):
    views = charts.small_charts(series(columns), summary(**facts), is_stale=False)
    return next(view for view in views if view.id == chart_id)


def test_memory_is_drawn_against_its_limit_with_the_policy_named():
    view = small("memory", {"used_memory_bytes": (508.0 * MB,)})
    assert (view.title, view.note, view.lines[0].now) == ("Memory, MB", "allkeys-lru", "508 MB")
    assert view.config["threshold"]["v"] == 512
    assert view.config["threshold"]["label"] == "maxmemory now 512 MB"
    assert view.config["div"] == MB


@pytest.mark.parametrize("limit", [0, None])
def test_memory_without_a_limit_has_no_line(limit):
    view = small(
        "memory", {"used_memory_bytes": (508.0 * MB,)}, maxmemory_bytes=limit, maxmemory_policy="noeviction"
    )
    assert view.config["threshold"] is None
    assert view.note == "no limit, noeviction"


def test_what_a_server_never_reports_is_said_instead_of_drawn():
    columns = {"evicted_per_s": (None, None), "expired_per_s": (None, None), "commands_per_s": (5.0, 6.0)}
    view = small("removed", columns)
    assert view.config is None
    assert view.none_text == "This server does not report evictions and expirations."
    assert small("commands", columns).config is not None


def test_an_empty_span_is_drawn_so_that_it_can_fill():
    assert small("removed", {"evicted_per_s": (), "commands_per_s": ()}).config is not None


@pytest.mark.parametrize(
    ("what", "title", "text"),
    [
        (event("restart", version="7.2.5"), "Restart", "Version 7.2.5. Its memory was empty at first"),
        (event("failover", role="master", role_before="slave"), "Failover", "slave became master"),
        (event("flush", keys_before=41208, keys_after=0), "Emptied", "41,208 keys before, 0 after"),
        (
            event("config", maxmemory=[0, 512 * MB], maxmemory_policy=["noeviction", "allkeys-lru"]),
            "Settings changed",
            "maxmemory no limit to 512 MB, maxmemory_policy noeviction to allkeys-lru",
        ),
        (
            event("down", until=NOW + timedelta(minutes=3), error="Connection refused."),
            "No answer",
            "Connection refused. For 3 m",
        ),
        (event("down", error="Refused."), "No answer", "Refused"),
        (
            event("resetstat", node="a:1"),
            "Statistics reset",
            "CONFIG RESETSTAT set the counters to zero. On a:1",
        ),
    ],
)
def test_events_are_marked_with_their_reason(what, title, text):
    (mark,) = charts.payload(series({"hit_ratio": (0.9,)}, events=(what,)))["e"]
    assert (mark["title"], mark["text"], mark["t"]) == (title, text, NOW.timestamp())


def test_gaps_are_not_marked_and_unknown_kinds_do_no_harm():
    sent = charts.payload(series({"hit_ratio": (0.9,)}, events=(event("gap"), event("up"), event("comet"))))
    assert sent["e"] == []


def test_slots_are_equal_in_time_and_keep_the_worst():
    within = span()
    start = within.start.timestamp()
    times = (start, start + 10, start + 20, start + 3000, start + 3590)
    made = charts.slots(series({"x": (0.9, 0.2, 0.8, 0.7, 0.6)}, times, within=within), "x", min, most=6)
    assert made == (0.2, None, None, None, None, 0.6)


def test_slots_are_longer_than_a_point_so_that_jitter_is_no_gap():
    within = span(0.25, "15m")
    start = within.start.timestamp()
    times = tuple(start + 10 * number + (number % 3) for number in range(90))
    assert None not in charts.slots(series({"x": (1.0,) * 90}, times, within=within), "x", charts.mean)


def test_columns_the_page_asks_for_are_those_it_draws():
    drawn = set()
    everything = series(
        {name: (1.0,) if name.endswith(("_min", "_max")) else (2.0,) for name in charts.COLUMNS}
    )
    for view in (hit_ratio(everything), *charts.small_charts(everything, summary(), is_stale=False)):
        for line in view.config["series"]:
            drawn |= {line["col"], line.get("lo", line["col"]), line.get("hi", line["col"])}
    assert drawn == set(charts.COLUMNS)


def test_a_purge_is_marked_where_it_began():
    at = NOW - timedelta(minutes=20)
    purged = (PurgeMark(12, at, "product:*", "ops", "Wrong prices"), PurgeMark(13, at, "tag sale", "cli", ""))
    marks = charts.payload(series({"hit_ratio": (0.9,)}), (), purged)["e"]
    assert [(mark["title"], mark["text"], mark["icon"]) for mark in marks] == [
        ("Purge 12", "product:* by ops. “Wrong prices”", "eraser"),
        ("Purge 13", "tag sale by cli", "eraser"),
    ]
    assert {mark["t"] for mark in marks} == {at.timestamp()}


def repeated(kind, at, until, count, **details):
    return StoredEvent(1, 1, kind, at, until, "", details, count)


def test_what_is_repeated_says_how_often():
    begin = NOW - timedelta(minutes=30)
    events = (
        repeated("switch", begin, begin + timedelta(minutes=14), 84),
        repeated("down", begin, begin + timedelta(minutes=14), 3, error="Connection refused."),
        repeated("down", begin, None, 2, error="Connection refused."),
    )
    marks = charts.payload(series({"hit_ratio": (0.9,)}, events=events))["e"]
    assert [mark["text"] for mark in marks] == [
        "Its counters start anew. 84 times within 14 m",
        "Connection refused. 3 times within 14 m",
        "Connection refused. 2 times",
    ]
    assert {mark["t"] for mark in marks} == {begin.timestamp()}


def test_what_is_repeated_across_the_start_is_marked_where_it_was_last():
    begin, last = NOW - timedelta(minutes=65), NOW - timedelta(minutes=55)
    marks = charts.payload(series({"hit_ratio": (0.9,)}, events=(repeated("restart", begin, last, 7),)))["e"]
    assert [mark["t"] for mark in marks] == [last.timestamp()]
