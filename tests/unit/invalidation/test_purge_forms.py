"""The forms of purges: read as typed, refused field by field, shown again as they were."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.errors import InvalidInput
from dashboard.invalidation import forms, selection
from dashboard.invalidation.types import (
    Action,
    Filters,
    Limits,
    Plan,
    Progress,
    Purge,
    SelectBy,
    Selection,
    State,
    When,
)
from dashboard.web.numbers import revision_of
from tests.support.purges import plan, preview

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
ROWS = {"products.id": ("product:{id}", "product:{id}:reviews")}


def parsed(form: dict[str, str], upload: list[bytes] | None = None, listed: int = 0) -> forms.Asked:
    return forms.parse_purge(forms.typed_purge(form, listed=listed), upload, ROWS)


def errors(form: dict[str, str], upload: list[bytes] | None = None) -> dict[str, str]:
    with pytest.raises(InvalidInput) as refused:
        list(parsed(form, upload).items)
    return dict(refused.value.fields)


def purge(wanted: Plan, **values: Any) -> Purge:
    return Purge(
        **{
            "number": 12,
            "cache_id": 1,
            "state": State.PREVIEWED,
            "plan": wanted,
            "preview": preview(NOW),
            "progress": Progress(),
            "cap": 0,
            "reason": "",
            "problem": "",
            "by": "ops",
            "source": "web",
            "schedule_id": None,
            "wish": "",
            "created_at": NOW,
            "approved_at": None,
            "started_at": None,
            "ended_at": None,
            "revision": 3,
            **values,
        }
    )


@pytest.mark.parametrize(
    ("form", "selected", "items"),
    [
        ({"by": "prefix", "prefix": " product: "}, Selection(SelectBy.PREFIX, "product:"), []),
        ({"by": "pattern", "pattern": "*"}, Selection(SelectBy.PATTERN, "*"), []),
        ({"by": "tag", "tag": "sale-eu"}, Selection(SelectBy.TAG, "sale-eu"), []),
        ({"by": "keys", "keys": "a\r\nb\\x00\r\n"}, Selection(SelectBy.KEYS, count=2), [b"a", b"b\0"]),
        (
            {"by": "ids", "template": "p:{id}", "ids": "1-3, 7"},
            Selection(SelectBy.IDS, "p:{id}", ("p:{id}",)),
            [b"1", b"2", b"3", b"7"],
        ),
        (
            {"by": "rows", "mapping": "products.id", "rows": "5"},
            Selection(SelectBy.ROWS, "products.id", ROWS["products.id"]),
            [b"5"],
        ),
    ],
)
def test_each_way_to_choose(form: dict[str, str], selected: Selection, items: list[bytes]) -> None:
    asked = parsed(form)
    assert asked.plan.selection == selected and list(asked.items) == items
    assert asked.plan.when is When.OVER and asked.plan.action is Action.DELETE


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({"by": "prefix"}, "prefix"),
        ({"by": "prefix", "prefix": "cachewarden:tag:"}, "prefix"),
        ({"by": "pattern", "pattern": "  "}, "pattern"),
        ({"by": "pattern", "pattern": "cachewarden:*"}, "pattern"),
        ({"by": "tag"}, "tag"),
        ({"by": "keys", "keys": "\n\n"}, "keys"),
        ({"by": "ids", "template": "product:", "ids": "1"}, "template"),
        ({"by": "ids", "template": "p:{id}"}, "ids"),
        ({"by": "ids", "template": "p:{id}", "ids": "9-1"}, "ids"),
        ({"by": "ids", "template": "p:{id}", "ids": "1-9999999"}, "ids"),
        ({"by": "ids", "template": "p:{id}", "ids": '"open'}, "ids"),
        ({"by": "ids", "template": "p:{id}", "ids": "\ufffd"}, "ids"),
        ({"by": "rows", "rows": "1"}, "mapping"),
        ({"by": "rows", "mapping": "nowhere", "rows": "1"}, "mapping"),
        ({"by": "rows", "mapping": "products.id", "rows": "2-1"}, "rows"),
        ({"by": "prefix", "prefix": "p:", "ttl_min_s": "x"}, "ttl_min_s"),
        ({"by": "prefix", "prefix": "p:", "ttl_min_s": "9", "ttl_max_s": "1"}, "ttl_max_s"),
        ({"by": "prefix", "prefix": "p:", "size_min_bytes": "-1"}, "size_min_bytes"),
        ({"by": "prefix", "prefix": "p:", "size_max_bytes": "9" * 19}, "size_max_bytes"),
        ({"by": "prefix", "prefix": "p:", "idle_min_s": "1e999"}, "idle_min_s"),
        ({"by": "prefix", "prefix": "p:", "without_ttl": "1", "ttl_max_s": "5"}, "without_ttl"),
        ({"by": "prefix", "prefix": "p:", "type": "a b"}, "type"),
        ({"by": "prefix", "prefix": "p:", "action": "spread", "window_s": ""}, "window_s"),
        ({"by": "prefix", "prefix": "p:", "action": "spread", "window_s": "0"}, "window_s"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(form: dict[str, str], field: str) -> None:
    assert list(errors(form)) == [field]


def test_several_mistakes_are_said_together() -> None:
    form = {"by": "prefix", "ttl_min_s": "x", "action": "spread", "window_s": "y"}
    assert set(errors(form)) == {"prefix", "ttl_min_s", "window_s"}


def test_a_file_is_read_in_pieces_and_not_beside_a_list() -> None:
    form = {"by": "ids", "template": "p:{id}"}
    assert list(parsed(form, [b"1,2", b"3\n", b"4"]).items) == [b"1", b"23", b"4"]
    assert errors(form, [b"\xff\xfe1\x00"]) == {
        "ids": "The file is UTF-16; save it as UTF-8, or as CSV UTF-8."
    }
    assert "ids" in errors(form, [b"1\xff2"]) and "ids" in errors(form, [b""])
    assert "either a list or a file" in errors({**form, "ids": "1"}, [b"2"])["ids"]


def test_filters_action_and_units() -> None:
    form = {
        "by": "prefix",
        "prefix": "p:",
        "type": "hash",
        "ttl_min_s": "2",
        "ttl_min_s.unit": "h",
        "ttl_max_s": "1.5",
        "ttl_max_s.unit": "d",
        "idle_min_s": "0",
        "size_min_bytes": "1,024",
        "size_max_bytes": "2",
        "size_max_bytes.unit": "MB",
        "action": "spread",
        "window_s": "5",
        "window_s.unit": "m",
        "wants_report": "1",
        "lengthens": "1",
    }
    asked = parsed(form).plan
    assert asked.selection.filters == Filters("hash", 7200, 129_600, 0, 1024, 2 * 1024**2)
    assert (asked.action, asked.window_s, asked.wants_report) == (Action.SPREAD, 300, True)
    assert not asked.lengthens  # that is only for a policy's TTLs
    assert parsed({**form, "action": "policy"}).plan.lengthens


def test_a_list_that_was_counted_is_taken_until_another_is_given() -> None:
    form = {"by": "ids", "template": "p:{id}", "list_of": "12"}
    kept = parsed(form, listed=9000)
    assert (kept.list_of, kept.plan.selection.count, list(kept.items)) == (12, 9000, [])
    assert parsed({**form, "ids": "1"}, listed=9000).list_of is None
    assert parsed(form, [b"1"], listed=9000).list_of is None
    assert "ids" in errors(form)


@pytest.mark.parametrize(
    "wanted",
    [
        plan("product:"),
        plan("a\\x00*b", SelectBy.PATTERN),
        plan("sale", SelectBy.TAG, action=Action.SOFT),
        plan("p:", action=Action.SPREAD, window_s=5400, wants_report=True),
        plan("p:", action=Action.POLICY, lengthens=True),
        replace(
            plan("p:"),
            selection=Selection(
                SelectBy.PREFIX, "p:", filters=Filters("hash", 60, 7200, 86_400, 2048, 3, True)
            ),
        ),
    ],
)
def test_a_counted_purge_fills_its_form_with_the_same_again(wanted: Plan) -> None:
    shown = forms.shown_purge(purge(wanted))
    sent = {
        name: value
        for name in forms.TypedPurge.__slots__
        if isinstance(value := getattr(shown, name), str) and not name.endswith("unit")
    }
    units = ("ttl_min_s", "ttl_max_s", "idle_min_s", "size_min_bytes", "size_max_bytes", "window_s")
    for name in units:
        sent[f"{name}.unit"] = getattr(shown, name.rpartition("_")[0] + "_unit")
    sent |= {name: "1" for name in ("without_ttl", "lengthens", "wants_report") if getattr(shown, name)}
    typed = forms.typed_purge(sent)
    assert typed == shown
    if wanted.selection.filters.is_empty:
        again = forms.parse_purge(typed, None, {}).plan
        assert (again.selection, again.action, again.window_s) == (
            wanted.selection,
            wanted.action,
            wanted.window_s,
        )


ANY_KEY = st.binary(min_size=1, max_size=12).filter(lambda key: not key.startswith(b"cachewarden:"))


@given(st.lists(ANY_KEY, min_size=1, max_size=20, unique=True))
def test_keys_are_written_so_that_they_are_read_as_the_same(keys: list[bytes]) -> None:
    assert selection.parse_keys("\r\n".join(map(forms.key_line, keys))) == tuple(keys)


IDS = st.one_of(
    st.integers(0, 300).map(str),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffd"), min_size=1, max_size=8),
    st.sampled_from(["007", "1-5", "3..9", '"', "a b", "-", "--", "'x'", "1,2", "\n"]),
)


@given(st.lists(IDS, min_size=1, max_size=30, unique=True))
def test_identifiers_are_written_so_that_they_are_read_as_the_same(ids: list[str]) -> None:
    items = [each.encode() for each in ids]
    text = "\n".join(forms.id_lines(items))
    assert [each for chunk in selection.parse_ids([text]) for each in chunk] == items


def test_numbers_in_a_row_are_a_range_again() -> None:
    items = [b"%d" % number for number in (*range(1, 501), 7000, 7001)]
    assert list(forms.id_lines(items)) == ["1-500", "7000", "7001"]


def approval(**form: str) -> Plan:
    return forms.parse_when(forms.typed_approval(form), plan())


def test_when() -> None:
    assert approval(when="now").when is When.NOW
    over = approval(**{"when": "over", "over_s": "2", "over_s.unit": "m"})
    assert (over.when, over.over_s) == (When.OVER, 120)
    assert approval(**{"when": "over", "over_s": "1,5", "over_s.unit": "m"}).over_s == 90, "not 15 minutes"
    assert approval(when="at", at="2026-03-05T04:00").at == datetime(2026, 3, 5, 4, tzinfo=UTC)
    assert approval(when="at", at="2026-03-05T04:00+02:00").at == datetime(2026, 3, 5, 2, tzinfo=UTC)
    each = approval(when="cron", over_s="30", cron="0 4 * * *")
    assert (each.when, each.over_s) == (When.OVER, 30)


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "when"),
        ({"when": "whenever"}, "when"),
        ({"when": "over"}, "over_s"),
        ({"when": "over", "over_s": "0"}, "over_s"),
        ({"when": "over", "over_s": "1.5"}, "over_s"),
        ({"when": "cron", "cron": "0 4 * * *"}, "over_s"),
        ({"when": "at"}, "at"),
        ({"when": "at", "at": "tomorrow"}, "at"),
        ({"when": "at", "at": "9999-12-31T23:59-14:00"}, "at"),
    ],
)
def test_a_time_that_is_none_is_said_at_its_field(form: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        approval(**form)
    assert list(refused.value.fields) == [field]


@pytest.mark.parametrize(
    ("text", "count"), [("12", 12), (" 12 ", 12), ("", None), ("yes", None), ("-1", None), ("٣", None)]
)
def test_the_confirmed_count(text: str, count: int | None) -> None:
    assert forms.confirmed_keys(forms.typed_approval({"confirm": text})) == count


def test_limits_come_back_as_they_are() -> None:
    for limits in (Limits(), Limits(None, 0, 1, 1, 0.1, 16), Limits(1234.5, 10**9, 10**7, 10**4, 999.5, 1)):
        typed = forms.shown_limits(limits)
        assert forms.parse_limits(typed, 7) == replace(limits, revision=7)
    refused = forms.TypedLimits("x", "1.5", "", "nan", "inf", "9" * 30)
    with pytest.raises(InvalidInput) as error:
        forms.parse_limits(refused, 0)
    assert set(error.value.fields) == set(forms.TypedLimits.__slots__)


@given(
    st.dictionaries(
        st.sampled_from([*forms.TypedPurge.__slots__, "over_s", "when", "at", "revision"]), st.text()
    )
)
def test_nothing_that_is_sent_breaks_a_form(form: dict[str, str]) -> None:
    typed = forms.typed_purge(form)
    try:
        list(forms.parse_purge(typed, None, ROWS).items)
    except InvalidInput as error:
        assert error.fields
    try:
        approval(**form)
    except InvalidInput as error:
        assert error.fields
    assert revision_of(form) >= -1
