from datetime import UTC, datetime, timedelta

import pytest

from dashboard.web import formats

NOW = datetime(2026, 11, 22, 14, 26, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (0, "0"),
        (0.0, "0"),
        (1842, "1,842"),
        (4310.4, "4,310"),
        (99.97, "100"),
        (46.24, "46.2"),
        (3.0, "3"),
        (0.254, "0.25"),
        (0.1, "0.1"),
        (0.997, "1"),
        (0.0001, "<0.01"),
    ],
)
def test_number(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "n/a"),
        (912, "912"),
        (9999, "9,999"),
        (84800, "84.8 k"),
        (999_999, "1 M"),
        (1.2e6, "1.2 M"),
        (3e9, "3 G"),
    ],
)
def test_compact(value, text):
    assert formats.compact(value) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (None, "n/a"),
        (0, "0%"),
        (1, "100%"),
        (0.914, "91.4%"),
        (0.8, "80%"),
        (0.99999, "99.9%"),
        (0.00001, "<0.1%"),
        (1.5, "150%"),
    ],
)
def test_percent_is_all_or_nothing_only_when_it_is(ratio, text):
    assert formats.percent(ratio) == text


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (None, "n/a"),
        (0, "0%"),
        (0.0001, "<0.1%"),
        (0.72, "72.0%"),
        (0.713, "71.3%"),
        (0.9999, "99.9%"),
        (1, "100%"),
    ],
)
def test_shares_in_a_column_have_the_same_digits(ratio, text):
    assert formats.share(ratio) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "n/a"),
        (0, "0 B"),
        (870, "870 B"),
        (1024, "1 KB"),
        (37853593, "36.1 MB"),
        (512 * 1024**2, "512 MB"),
        (1024**3 - 1, "1 GB"),
        (3 * 1024**5, "3 PB"),
        (2000 * 1024**5, "2,000 PB"),
    ],
)
def test_bytes(size, text):
    assert formats.byte_size(size) == text


@pytest.mark.parametrize(
    ("used", "limit", "text"),
    [
        (508 * 1024**2, 512 * 1024**2, "508 of 512 MB"),
        (int(1.3 * 1024**3), 2 * 1024**3, "1.3 of 2 GB"),
        (int(7.74 * 1024**2), 64 * 1024**2, "7.7 of 64 MB"),
        (900 * 1024, 64 * 1024**2, "900 KB of 64 MB"),
        (508 * 1024**2, 0, "508 MB"),
        (508 * 1024**2, None, "508 MB"),
        (None, 512, "n/a"),
    ],
)
def test_byte_share(used, limit, text):
    assert formats.byte_share(used, limit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "n/a"),
        (0, "0 s"),
        (0.00085, "850 µs"),
        (0.0021, "2.1 ms"),
        (0.2, "200 ms"),
        (2.5, "2.5 s"),
        (30, "30 s"),
        (90, "1 m 30 s"),
        (120, "2 m"),
        (3960, "1 h 6 m"),
        (4 * 3600, "4 h"),
        (3 * 86400 + 4 * 3600, "3 d 4 h"),
        (41 * 86400 + 5 * 3600, "41 d"),
    ],
)
def test_duration(seconds, text):
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [(2, "2 s"), (1039, "17 m"), (7199, "1 h"), (86400 * 3, "3 d"), (-5, "0 s")],
)
def test_age_rounds_down(ago, text):
    assert formats.age(NOW - timedelta(seconds=ago), NOW) == text


def test_never():
    assert (
        formats.age(None, NOW)
        == formats.time(None, NOW)
        == formats.utc(None)
        == formats.stamp(None, NOW)
        == "never"
    )


@pytest.mark.parametrize(
    ("moment", "short", "in_log", "in_sentence"),
    [
        (
            datetime(2026, 11, 22, 13, 38, 5, tzinfo=UTC),
            "13:38",
            "Today 13:38:05",
            "13:38",
        ),
        (
            datetime(2026, 11, 21, 17, 41, 55, tzinfo=UTC),
            "Nov 21",
            "Yesterday 17:41:55",
            "Nov 21, 17:41",
        ),
        (
            datetime(2026, 11, 3, 9, 12, 45, tzinfo=UTC),
            "Nov 3",
            "Nov 3 09:12:45",
            "Nov 3, 09:12",
        ),
        (
            datetime(2024, 11, 11, 9, 0, tzinfo=UTC),
            "2024-11-11",
            "2024-11-11 09:00:00",
            "2024-11-11",
        ),
    ],
)
def test_points_in_time(moment, short, in_log, in_sentence):
    assert formats.time(moment, NOW) == short
    assert formats.stamp(moment, NOW) == in_log
    assert formats.since(moment, NOW) == in_sentence


def test_other_zones_are_shown_in_utc():
    from datetime import timezone

    east = datetime(2026, 11, 23, 1, 0, 0, tzinfo=timezone(timedelta(hours=12)))
    assert formats.time(east, NOW, seconds=True) == "13:00:00"
    assert formats.iso(east) == "2026-11-22T13:00:00Z"
    assert formats.utc(east) == "2026-11-22 13:00:00 UTC"


def test_every_filter_copes_with_nothing():
    written = {
        name: formats.FILTERS[name](None) for name in ("number", "percent", "bytes", "duration", "age_s")
    }
    assert set(written.values()) == {"n/a"}
    assert (formats.iso(None), formats.utc(None)) == ("", "never")
