"""Cursors that begin at random places."""

import itertools
from random import Random

import pytest

from dashboard.fleet.cursors import has_slots, in_slots, spread
from dashboard.fleet.scan import WHOLE, position

CHANCE = Random(20_26)


@pytest.mark.parametrize("number", [1, 2, 7, 100])
def test_places_are_evenly_far_apart_in_random_order(number: int) -> None:
    cursors = spread(number, CHANCE.random)
    places = sorted(position(cursor) / WHOLE for cursor in cursors)
    assert len(places) == number and 0 <= places[0] < 1 / number
    for one, next_one in itertools.pairwise(places):
        assert next_one - one == pytest.approx(1 / number)
    if number == 100:
        assert sorted(cursors, key=position) != cursors
        assert spread(number, CHANCE.random) != cursors


def test_slots_are_drawn_by_their_keys() -> None:
    sizes = [0] * 16_384
    sizes[3], sizes[700], sizes[16_383] = 1_000, 3_000, 6_000
    cursors = in_slots(sizes, 10_000, CHANCE.random)
    drawn = [cursor & 16_383 for cursor in cursors]
    assert set(drawn) == {3, 700, 16_383}
    assert drawn.count(700) == pytest.approx(3_000, rel=0.1)
    assert drawn.count(16_383) == pytest.approx(6_000, rel=0.1)
    # Of a table of two buckets both are met.
    assert 0.45 < sum((cursor >> 14) & 1 for cursor in cursors) / 10_000 < 0.55
    assert all(cursor < 1 << 64 for cursor in cursors)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("redis_version:7.0.15\r\nredis_mode:cluster", False),
        ("redis_version:7.4.1\r\nredis_mode:cluster", True),
        ("redis_version:7.4.1\r\nredis_mode:standalone", False),
        ("redis_version:7.2.4\r\nserver_mode:cluster\r\nvalkey_version:8.0.1", True),
        ("redis_version:7.2.4\r\nserver_mode:cluster\r\nvalkey_version:7.2.9", False),
        ("redis_version:10.1.0\r\nredis_mode:cluster", True),
        ("redis_version:what\r\nredis_mode:cluster", False),
        ("", False),
    ],
)
def test_which_servers_have_a_table_for_each_slot(info: str, expected: bool) -> None:
    assert has_slots(info.encode()) is expected
