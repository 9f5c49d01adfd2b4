"""The filter of the audit log as it is typed."""

from datetime import UTC, datetime

import pytest

from dashboard.audit.forms import parse_filter
from dashboard.audit.types import Filter, FilterForm

NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)


def at(day: int, hour: int = 0, minute: int = 0, second: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, second, tzinfo=UTC)


def test_nothing_typed_asks_for_everything() -> None:
    form, wanted, errors = parse_filter({}, NOW)
    assert form.is_empty() and wanted == Filter() and not errors


def test_everything_typed_is_read_and_kept() -> None:
    typed = {
        "who": " ops ",
        "action": "policies:*, auth:user:create",
        "contains": "news",
        "from": "2026-03-01",
    }
    form, wanted, errors = parse_filter(typed, NOW)
    assert errors == {}
    assert form == FilterForm("ops", "policies:*, auth:user:create", "2026-03-01", "", "news")
    assert wanted == Filter("ops", ("policies:*", "auth:user:create"), at(1), None, "news")


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("2026-03-02", at(3)),
        ("2026-03-02 14:26", at(2, 14, 27)),
        ("2026-03-02T14:26:05", at(2, 14, 26, 6)),
        ("2026-03-02T16:26+02:00", at(2, 14, 26, 1)),
    ],
)
def test_the_end_holds_all_of_what_was_written(text: str, end: datetime) -> None:
    assert parse_filter({"to": text}, NOW)[1].end == end


@pytest.mark.parametrize(
    ("span", "start"), [("today", at(4)), ("2d", at(3)), ("7d", datetime(2026, 2, 26, tzinfo=UTC))]
)
def test_a_named_range_begins_at_midnight(span: str, start: datetime) -> None:
    assert parse_filter({"span": span}, NOW)[1].start == start


def test_an_own_range_wins_over_a_named_one() -> None:
    form, wanted, _ = parse_filter({"span": "2d", "from": "2026-01-01"}, NOW)
    assert form.span == "" and wanted.start == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("from", "yesterday"),
        ("to", "2026-13-01"),
        ("to", "9999-12-31"),
        ("from", "0001-01-01T00:00+14:00"),
        ("action", "Policies:%"),
        ("action", "a " * 30),
        ("who", "x" * 200),
        ("contains", "x" * 300),
    ],
)
def test_what_cannot_be_read_is_said_at_its_field_and_kept(field: str, text: str) -> None:
    form, _, errors = parse_filter({field: text}, NOW)
    assert list(errors) == [field]
    assert not form.is_empty()


def test_a_range_must_run_forwards() -> None:
    assert "to" in parse_filter({"from": "2026-03-02", "to": "2026-03-01"}, NOW)[2]
    assert parse_filter({"from": "2026-03-02", "to": "2026-03-02"}, NOW)[2] == {}
