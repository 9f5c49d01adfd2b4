"""The shop's numbers in words, its links, and what the strip makes of reads."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from dashboard.demo.policies import DOCUMENT
from dashboard.demo.shop import words
from dashboard.demo.shop.links import MAPPING, NOWHERE, Links
from dashboard.web.addresses import key_from_text

LINKS = Links("http://127.0.0.1:8765", 3)


@pytest.mark.parametrize(
    ("cents", "text"),
    [(0, "€0.00"), (5, "€0.05"), (4900, "€49.00"), (-390, "-€3.90"), (124_900, "€1,249.00")],
)
def test_euros(cents: int, text: str) -> None:
    assert words.euros(cents) == text


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("59", 5900),
        (" 59.5 ", 5950),
        ("59,05", 5905),
        ("€ 7", 700),
        ("", None),
        ("-1", None),
        ("1e3", None),
        ("1.234", None),
        ("٣", None),
        ("12345678", None),
        ("nan", None),
    ],
)
def test_prices_as_people_type_them(text: str, cents: int | None) -> None:
    assert words.cents_of(text) == cents


def test_an_amount_is_read_as_it_is_written() -> None:
    for cents in (1, 10, 99, 100, 4905, 999_999_99):
        assert words.cents_of(words.amount(cents)) == cents


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1-3, 7", [1, 2, 3, 7]),
        ("3,3,1", [1, 3]),
        ("4 - 5", [4, 5]),
        ("", None),
        (",", None),
        ("3-1", None),
        ("1-1000000000", None),
        ("1-9,11-19", None),
        ("a", None),
        ("-3", None),
        ("1--3", None),
    ],
)
def test_numbers_as_people_type_them(text: str, numbers: list[int] | None) -> None:
    assert words.numbers_of(text, 10) == numbers


def test_what_is_ordered_late_comes_a_day_later() -> None:
    assert words.delivery(datetime(2026, 11, 23, 17, 59, tzinfo=UTC)) == "Wednesday"
    assert words.delivery(datetime(2026, 11, 23, 18, 0, tzinfo=UTC)) == "Thursday"
    assert words.delivery(datetime(2026, 11, 29, 9, 0, tzinfo=UTC)) == "Tuesday"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 ms"), (0.00001, "<0.1 ms"), (0.0008, "0.8 ms"), (0.041, "41 ms"), (1.5, "1,500 ms")],
)
def test_milliseconds(seconds: float, text: str) -> None:
    assert words.millis(seconds) == text


def test_a_link_to_a_key_is_one_that_the_dashboard_reads() -> None:
    for key in ("product:1", "search:ab:1", "odd:💥?&"):
        query = parse_qs(urlsplit(LINKS.key(key)).query)
        assert key_from_text(query["key"][0]) == key.encode()


def test_what_shows_a_row_is_removed_by_its_row_and_all_else_by_name() -> None:
    assert parse_qs(urlsplit(LINKS.purge("product:7")).query) == {
        "by": ["rows"],
        "mapping": [MAPPING],
        "rows": ["7"],
    }
    assert parse_qs(urlsplit(LINKS.purge("product:7", "inventory:7", "product:8")).query)["rows"] == ["7\n8"]
    assert parse_qs(urlsplit(LINKS.purge("wallet:7", "product:8")).query) == {
        "by": ["keys"],
        "keys": ["wallet:7\nproduct:8"],
    }


def test_the_mapping_that_links_name_is_one_of_the_demo_s_policies() -> None:
    mapping = next(each for each in DOCUMENT.mappings if each.name == MAPPING)
    assert {"product:{id}", "inventory:{id}"} <= set(mapping.templates)


def test_without_a_dashboard_there_are_no_links() -> None:
    assert {NOWHERE.overview, NOWHERE.campaign, NOWHERE.forgotten, NOWHERE.key("a"), NOWHERE.purge("a")} == {
        ""
    }
