"""Cron lines: UTC, weekdays from Sunday, never a line that can't fire."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.errors import InvalidInput
from dashboard.invalidation import cron

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)  # a Wednesday


def days(line: str, count: int = 3) -> list[str]:
    return [f"{at:%a %Y-%m-%d %H:%M}" for at in cron.firings(line, NOW, count)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 4 * * *", ["Thu 2026-03-05 04:00", "Fri 2026-03-06 04:00", "Sat 2026-03-07 04:00"]),
        ("0 12 * * *", ["Thu 2026-03-05 12:00", "Fri 2026-03-06 12:00", "Sat 2026-03-07 12:00"]),
        ("*/20 * * * *", ["Wed 2026-03-04 12:20", "Wed 2026-03-04 12:40", "Wed 2026-03-04 13:00"]),
        ("  15   4  1 JAN  * ", ["Fri 2027-01-01 04:15", "Sat 2028-01-01 04:15", "Mon 2029-01-01 04:15"]),
        ("0 0 29 2 *", ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00", "Fri 2036-02-29 00:00"]),
        ("0 4 * * 0", ["Sun 2026-03-08 04:00", "Sun 2026-03-15 04:00", "Sun 2026-03-22 04:00"]),
        ("0 4 * * 7", ["Sun 2026-03-08 04:00", "Sun 2026-03-15 04:00", "Sun 2026-03-22 04:00"]),
        ("0 4 * * 1-5", ["Thu 2026-03-05 04:00", "Fri 2026-03-06 04:00", "Mon 2026-03-09 04:00"]),
        ("0 4 * * mon-fri/2", ["Fri 2026-03-06 04:00", "Mon 2026-03-09 04:00", "Wed 2026-03-11 04:00"]),
        ("0 4 * * sat-mon", ["Sat 2026-03-07 04:00", "Sun 2026-03-08 04:00", "Mon 2026-03-09 04:00"]),
        ("0 4 * * 5-7", ["Fri 2026-03-06 04:00", "Sat 2026-03-07 04:00", "Sun 2026-03-08 04:00"]),
        ("0 4 * * */3", ["Sat 2026-03-07 04:00", "Sun 2026-03-08 04:00", "Wed 2026-03-11 04:00"]),
        ("0 4 * * 1,sun", ["Sun 2026-03-08 04:00", "Mon 2026-03-09 04:00", "Sun 2026-03-15 04:00"]),
    ],
)
def test_when_it_fires(line: str, expected: list[str]) -> None:
    assert days(line) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "0 0 30 2 *",
        "0 0 31 4,6,9,11 *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * 1-9",
        "* * * * someday",
        "*/0 * * * *",
        "5-1 * * * *",
        "* * , * *",
        "* * 1 * 1",  # cron programs differ in what both mean
        "1;2 * * * *",
        "9" * 500,
        "9" * 150 + " * * * *",
        "* * * * \x00",
        "٣ * * * *",
    ],
)
def test_what_never_fires_or_is_no_line_is_refused_at_its_field(line: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        cron.firings(line, NOW)
    assert set(refused.value.fields) == {"cron"}


def test_a_refusal_says_what_the_field_takes() -> None:
    for line, words in (
        ("61 * * * *", "The minute can't be 61: it takes 0 to 59"),
        ("0 25 * * *", "The hour can't be 25: it takes 0 to 23"),
        ("0 4 5-1 * *", "The day of month can't be 5-1: it takes 1 to 31"),
        ("0 4 * */13 *", "The month can't be */13: it takes 1 to 12 or jan to dec"),
    ):
        with pytest.raises(InvalidInput) as refused:
            cron.firings(line, NOW)
        assert refused.value.fields["cron"].startswith(words)


def test_the_moment_itself_is_not_to_come() -> None:
    line = "0 12 * * *"
    assert cron.firings(line, NOW - timedelta(microseconds=1), 1) == (NOW,)
    assert cron.firings(line, NOW, 1) == (NOW + timedelta(days=1),)
    elsewhere = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert cron.firings(line, elsewhere, 1) == (NOW + timedelta(days=1),)


FIELD = st.text(alphabet="0123456789*/,-abcdefjlmnorstuvwy ", max_size=8)


@given(line=st.one_of(st.text(max_size=40), st.lists(FIELD, min_size=5, max_size=5).map(" ".join)))
def test_any_line_fires_in_order_or_is_refused(line: str) -> None:
    try:
        found = cron.firings(line, NOW)
    except InvalidInput as refused:
        assert set(refused.fields) == {"cron"}
        return
    assert list(found) == sorted(set(found)) and found[0] > NOW
    assert all(at.second == 0 and at.microsecond == 0 for at in found)
    assert cron.firings(cron.canonical(line), NOW) == found
