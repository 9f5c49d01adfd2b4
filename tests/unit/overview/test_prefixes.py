"""The prefix table: its order, its scales, its words."""

from dataclasses import replace

import pytest

from dashboard.caching.wire import COUNTERS
from dashboard.overview import prefixes
from dashboard.overview.types import PrefixesView
from dashboard.policies.types import CountedPrefix, PrefixTable, PrefixUse


def use(prefix: str | None, line: tuple[float | None, ...] = (), **counts: int) -> PrefixUse:
    return PrefixUse(prefix, 100.0, dict.fromkeys(COUNTERS, 0) | counts, line)


def counted(prefix: str | None, line: tuple[float | None, ...] = (), **counts: int) -> CountedPrefix:
    return CountedPrefix(use(prefix, line, **counts), "Hot", "zap", "30 s + up to 6 s")


TABLE = PrefixTable(
    rows=(
        counted("product:", hits=900, misses=100, loads=100, load_us=2_000_000, waits=7),
        counted("inventory:", hits=50, misses=50, loads=50, load_us=50_000, errors=2, load_errors=1),
        counted("idle:"),
    ),
    default=CountedPrefix(use("", hits=3, misses=1)),
    other=None,
    other_prefixes=0,
    window_s=100.0,
    ever_counted=True,
)


def view(table: PrefixTable = TABLE, sort: str = "reads", may_edit: bool = True) -> PrefixesView:
    return prefixes.view(
        table,
        cache_id=7,
        target=0.8,
        sort=sort,
        path="/caches/7/overview",
        query="range=1h",
        words="the last 1 h",
        may_edit=may_edit,
    )


def test_says_what_a_prefix_costs_and_saves() -> None:
    product, inventory, *_ = view().rows
    assert (product.hit_ratio, product.reads, product.reads_per_s) == (0.9, 1000, 10.0)
    assert (product.database_reads, product.load_s, product.saved_s, product.waits) == (100, 0.02, 18.0, 7)
    assert not product.is_below_target and inventory.is_below_target
    assert inventory.errors == 3


def test_reads_around_the_cache_are_reads_and_reach_the_database() -> None:
    around = counted("around:", hits=30, misses=10, loads=8, load_errors=2, bypasses=60)
    row = view(replace(TABLE, rows=(around,))).rows[0]
    assert (row.reads, row.reads_per_s, row.database_reads, row.hit_ratio) == (100, 1.0, 70, 0.75)


def test_what_nobody_read_or_loaded_is_not_known_instead_of_zero() -> None:
    idle = view().rows[2]
    assert (idle.hit_ratio, idle.load_s, idle.saved_s, idle.line) == (None, None, None, None)
    assert not idle.is_below_target


def test_few_reads_are_shown_but_not_blamed() -> None:
    table = replace(TABLE, rows=(counted("rare:", hits=1, misses=9), counted("off:", misses=999)))
    off = replace(table.rows[1], is_cached=False)
    rows = view(replace(table, rows=(table.rows[0], off))).rows
    assert [row.hit_ratio for row in rows[:2]] == [0.0, 0.1]
    assert not any(row.is_below_target for row in rows)


def test_a_prefix_that_warms_up_is_shown_but_not_blamed() -> None:
    new = replace(counted("new:", hits=10, misses=990), is_new=True)
    row = view(replace(TABLE, rows=(new,))).rows[0]
    assert row.hit_ratio == 0.01 and not row.is_below_target


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("reads", ["product:", "inventory:", "idle:"]),
        ("-reads", ["idle:", "inventory:", "product:"]),
        ("prefix", ["idle:", "inventory:", "product:"]),
        ("-prefix", ["product:", "inventory:", "idle:"]),
        ("hit", ["inventory:", "product:", "idle:"]),
        ("-hit", ["product:", "inventory:", "idle:"]),
        ("saved", ["product:", "inventory:", "idle:"]),
        ("errors", ["inventory:", "idle:", "product:"]),
    ],
)
def test_sorts_by_any_column_with_what_has_no_value_last(sort: str, names: list[str]) -> None:
    assert [row.name for row in view(sort=sort).rows] == [*names, "Other keys"]


def test_every_sort_is_a_link_and_the_one_in_force_turns_round() -> None:
    columns = {column.key: column for column in view(sort="db").columns}
    assert columns["db"].direction == "descending"
    assert columns["db"].href == "/caches/7/overview?range=1h&sort=-db#prefixes-h"
    assert columns["waits"].direction == "" and columns["waits"].href.endswith("&sort=waits#prefixes-h")
    assert columns["reads"].href == "/caches/7/overview?range=1h#prefixes-h"
    assert {column.key: column for column in view(sort="-db").columns}["db"].direction == "ascending"
    assert {column.key: column for column in view(sort="prefix").columns}["prefix"].direction == "ascending"
    assert {column.key: column for column in view(sort="hit").columns}["hit"].direction == "ascending"
    assert {
        column.href.partition("sort=")[2].partition("#")[0] or "reads" for column in columns.values()
    } <= {*prefixes.SORTS}


def test_the_rest_is_one_row_that_says_what_it_is() -> None:
    made = view(replace(TABLE, other=use(None, hits=10, misses=10), other_prefixes=1_300), sort="-reads")
    assert [row.kind for row in made.rows[-2:]] == ["default", "other"]
    assert made.rows[-1].reads == 20 and made.rows[-1].href is None
    assert made.rows[-1].name == "further prefixes" and "prefixes: 1,300" in made.note
    assert "do not count apart" in view(replace(TABLE, other=use(None, hits=1), other_prefixes=0)).note


def test_a_prefix_leads_to_its_policy_and_only_operators_to_its_form() -> None:
    table = replace(TABLE, rows=(counted("a&b=/ü:", hits=1), CountedPrefix(use("gone:", hits=1))))
    odd, gone = view(table, sort="prefix").rows[:2]
    assert odd.href == "/caches/7/policies/edit?prefix=a%26b%3D%2F%C3%BC%3A"
    assert gone.href is None and gone.ttl_text == ""
    assert view(table, sort="prefix", may_edit=False).rows[0].href == "/caches/7/policies"


def test_a_healthy_line_is_zoomed_and_a_far_target_left_out() -> None:
    drawn = prefixes.line((0.985, None, 0.99), 0.8, "news:", "the last 1 h")
    assert drawn is not None
    assert 0.04 <= drawn.high - drawn.low < 0.05 and drawn.low <= 0.985 and drawn.high <= 1
    assert drawn.target is None and drawn.below == (None, None, None)
    assert "lowest 98.5%, target 80%, scale" in drawn.label


def test_a_line_near_its_target_shows_it_and_is_red_only_below() -> None:
    drawn = prefixes.line((0.85, 0.6, 0.82), 0.8, "news:", "the last 1 h")
    assert drawn is not None
    assert (drawn.target, drawn.low, drawn.high) == (0.8, 0.6, 0.85)
    assert drawn.below == (None, 0.6, None)


@pytest.mark.parametrize("values", [(0.0, 0.0), (1.0, 1.0), (0.8,), (0.0, 1.0)])
def test_a_scale_stays_within_what_a_ratio_can_be(values: tuple[float, ...]) -> None:
    drawn = prefixes.line(values, 0.8, "x:", "now")
    assert drawn is not None
    assert 0 <= drawn.low < drawn.high <= 1
    assert all(drawn.low <= value <= drawn.high for value in values)


def test_without_counts_it_is_empty() -> None:
    none = PrefixTable((), CountedPrefix(use("")), None, 0, 0.0, False)
    assert view(none).is_empty and not view(none).ever_counted and view(none).rows == ()
