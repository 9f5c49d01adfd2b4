"""What the scenarios that must pass ask for: good numbers hold, and each bad one fails the check that is about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pytest

from dashboard.demo.lab.scenarios import avalanche, campaign, purge, redis_down, stampede
from dashboard.demo.lab.types import Check, Number, Side

Numbers = Mapping[str, float | None]


def sides(*numbers: Numbers) -> list[Side]:
    return [
        Side(str(place), tuple(Number(name, value, "") for name, value in each.items()))
        for place, each in enumerate(numbers)
    ]


def of_purge(found: Sequence[Side]) -> Sequence[Check]:
    return purge._checks(found, purge.Lengths())


def of_redis_down(found: Sequence[Side]) -> Sequence[Check]:
    return redis_down._checks(found[-1])


@dataclass(frozen=True)
class Case:
    """A scenario's checks, and numbers of its sides that hold."""

    checks: Callable[[Sequence[Side]], Sequence[Check]]
    good: Sequence[Numbers]

    def failing(self, place: int = 0, **change: float | None) -> list[str]:
        """Texts of the checks that fail when numbers of a side are others."""
        changed = [dict(each) for each in self.good]
        for name, value in change.items():
            assert name in changed[place], name
            changed[place][name] = value
        return [check.text for check in self.checks(sides(*changed)) if not check.passed]


_LOAD: Numbers = {campaign.WANTED: 60.0, campaign.ANSWERED: 36.0}
_PAGES: Numbers = {
    campaign.TIME_PER_PAGE: 0.002,
    campaign.CPU_PER_PAGE: 0.002,
    campaign.PRODUCT_P95: 0.04,
    campaign.HITS_P95: 0.001,
    campaign.HIT_RATIO: 0.95,
    campaign.ERRORS: 0.0,
}
CAMPAIGN = Case(
    campaign._checks,
    (
        {campaign.TIME_PER_PAGE: 0.04, campaign.CPU_PER_PAGE: 0.04, **_LOAD},
        _PAGES,
        _PAGES,
    ),
)
_CURE: Numbers = {stampede.LOADS: 1.0, stampede.P99: 0.01, stampede.MEAN_LOAD: 0.08, stampede.ERRORS: 0.0}
STAMPEDE = Case(
    stampede._checks,
    ({stampede.LOADS: 30.0}, {**_CURE, stampede.P99: 0.09}, {**_CURE, stampede.LOADS: 1.8}, _CURE),
)
_FIXED: Numbers = {avalanche.EXPIRATIONS: 5_000.0, avalanche.QUERIES: 600.0, avalanche.ERRORS: 0.0}
_EVEN: Numbers = {avalanche.EXPIRATIONS: 300.0, avalanche.QUERIES: 260.0, avalanche.ERRORS: 0.0}
AVALANCHE = Case(avalanche._checks, (_FIXED, _EVEN, _EVEN))
LOADED = "Products loaded anew"
PURGE = Case(
    of_purge,
    (
        {purge.QUERIES: 600.0, LOADED: 5_000.0, purge.ERRORS: 0.0},
        {purge.QUERIES: 190.0, LOADED: 4_900.0, purge.OVER: 34.0, purge.ERRORS: 0.0},
    ),
)
REDIS_DOWN = Case(
    of_redis_down,
    (
        {},
        {
            redis_down.ERRORS: 0.0,
            redis_down.P95_BEFORE: 0.02,
            redis_down.P95_AWAY: 0.1,
            redis_down.P95_AFTER: 0.03,
            redis_down.PEAK_AWAY: 200.0,
            redis_down.PEAK_BACK: 190.0,
            redis_down.RECOVERED: 3.0,
        },
    ),
)
CASES = {
    "campaign": CAMPAIGN,
    "stampede": STAMPEDE,
    "avalanche": AVALANCHE,
    "purge": PURGE,
    "redis-down": REDIS_DOWN,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_good_numbers_hold(case: Case) -> None:
    assert case.failing() == []


@pytest.mark.parametrize(
    ("name", "place", "number", "bad", "fails"),
    [
        ("campaign", 0, campaign.ANSWERED, 57.0, ["can't keep up"]),
        ("campaign", 0, campaign.TIME_PER_PAGE, 0.009, ["Database time per page, as a share"]),
        ("campaign", 2, campaign.TIME_PER_PAGE, 0.0081, ["as a share", "no worse than naive"]),
        ("campaign", 1, campaign.TIME_PER_PAGE, 0.0005, ["Database time per page: no worse than naive"]),
        ("campaign", 2, campaign.CPU_PER_PAGE, 0.0081, ["Database CPU per page"]),
        ("campaign", 2, campaign.PRODUCT_P95, 0.11, ["95% of product pages", "Product page p95: no worse"]),
        ("campaign", 1, campaign.PRODUCT_P95, 0.03, ["Product page p95: no worse"]),
        ("campaign", 2, campaign.HITS_P95, 0.0051, ["95% of hits", "Hits p95: no worse"]),
        ("campaign", 2, campaign.HIT_RATIO, 0.79, ["Hit ratio", "Hit ratio: no worse"]),
        ("campaign", 1, campaign.HIT_RATIO, 0.98, ["Hit ratio: no worse"]),
        ("campaign", 2, campaign.ERRORS, 0.001, ["Pages that fail"]),
        ("stampede", 0, stampede.LOADS, 9.0, ["as a share of naive's"]),
        ("stampede", 1, stampede.LOADS, 1.3, ["1: loads per TTL"]),
        ("stampede", 2, stampede.LOADS, 2.1, ["2: loads per TTL"]),
        ("stampede", 3, stampede.LOADS, 1.3, ["3: loads per TTL"]),
        ("stampede", 2, stampede.P99, 0.05, ["2: 99% of readers do not wait"]),
        ("stampede", 3, stampede.P99, 0.05, ["3: 99% of readers do not wait"]),
        ("stampede", 1, stampede.ERRORS, 0.01, ["1: reads that fail"]),
        ("avalanche", 0, avalanche.EXPIRATIONS, 400.0, ["1: most expirations", "2: most expirations"]),
        ("avalanche", 1, avalanche.EXPIRATIONS, 1_100.0, ["1: most expirations"]),
        ("avalanche", 2, avalanche.QUERIES, 400.0, ["2: most database queries"]),
        ("avalanche", 2, avalanche.ERRORS, 0.01, ["2: reads that fail"]),
        ("purge", 1, purge.QUERIES, 320.0, ["most database queries"]),
        ("purge", 1, LOADED, 4_000.0, ["loaded anew, as a share"]),
        ("purge", 1, purge.OVER, 50.0, ["within the time it was given"]),
        ("purge", 1, purge.ERRORS, 0.01, ["1: reads that fail"]),
        ("redis-down", 1, redis_down.ERRORS, 1.0, ["Pages that fail"]),
        ("redis-down", 1, redis_down.P95_AWAY, 0.6, ["While Redis is away"]),
        ("redis-down", 1, redis_down.PEAK_BACK, 250.0, ["No stampede"]),
        ("redis-down", 1, redis_down.RECOVERED, 11.0, ["Half of the load"]),
        ("redis-down", 1, redis_down.P95_AFTER, 0.07, ["Afterwards"]),
    ],
)
def test_a_bad_number_fails_what_is_about_it(
    name: str, place: int, number: str, bad: float, fails: list[str]
) -> None:
    found = CASES[name].failing(place, **{number: bad})
    assert len(found) == len(fails)
    assert all(words in text for words, text in zip(fails, found, strict=True)), found


@pytest.mark.parametrize("name", CASES)
def test_what_could_not_be_measured_holds_nothing(name: str) -> None:
    case = CASES[name]
    for number in case.good[-1]:
        assert case.failing(-1, **{number: None}), number
