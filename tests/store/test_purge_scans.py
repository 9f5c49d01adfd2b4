"""How many keys a scan has looked at, on real servers; and what an estimate made of it is worth."""

import threading
import time
from collections.abc import Iterator

import pytest
import redis

from dashboard.fleet.errors import FleetError
from dashboard.fleet.purging import Router
from dashboard.fleet.registry import Connection, Fleet
from dashboard.fleet.scan import START, WHOLE, looked_at, position
from dashboard.invalidation import counter
from dashboard.invalidation.counting import Counted, estimate
from dashboard.invalidation.sources import ScanSource
from dashboard.invalidation.types import SelectBy, Selection
from tests.support.purging import connect, preview
from tests.support.servers import free_port, redis_server

# Just below a power of two, so that the table is as full as it becomes: a burst then ends latest.
NUMBER = 125_000
BY_PREFIX = Selection(SelectBy.PREFIX, "product:")


@pytest.fixture
def cache(server_url: str) -> Iterator[Connection]:
    with redis.Redis.from_url(server_url) as client:
        for start in range(0, NUMBER, 5_000):
            client.mset(
                {
                    f"{'product' if number % 4 == 0 else 'other'}:{number}": "v"
                    for number in range(start, start + 5_000)
                }
            )
        assert client.dbsize() == NUMBER
    fleet = Fleet(timeout_s=2.0)
    yield connect(fleet, server_url)
    fleet.close()


@pytest.mark.parametrize("count", [10, 50, 250, 2_000])
def test_the_cursor_says_how_many_keys_were_looked_at(cache: Connection, count: int) -> None:
    source = ScanSource(Router(cache), cache.nodes()[0], BY_PREFIX, NUMBER)
    matched = scanned = 0
    halfway: Counted | None = None
    cursor: int | None = START
    while cursor is not None:
        step = source.step(cursor, count, ())
        matched += len(step.keys)
        scanned += step.looked_at
        cursor = step.cursor
        if halfway is None and scanned >= NUMBER / 3:
            halfway = Counted(matched, scanned, NUMBER, False)
    assert scanned == NUMBER
    assert halfway is not None
    keys, error = estimate([halfway])
    # Its interval holds 95 of 100; twice as wide, all but one of ten thousand.
    assert abs(keys - matched) <= 2 * error
    assert error < 0.04 * matched


def test_positions() -> None:
    assert position(START) == 0
    # A table of four buckets is gone through as 0, 2, 1, 3.
    assert [position(cursor) * 4 // WHOLE for cursor in (0, 2, 1, 3)] == [0, 1, 2, 3]
    assert looked_at(0, 2, 10, 40) == 10 and looked_at(3, START, 10, 40) == 10
    assert looked_at(START, START, 500, 7) == 7


def test_cursors_that_count_otherwise_say_nothing() -> None:
    """As servers have them that keep a table for each slot: its number stands in the lowest 14 bits."""
    total, count = 1_000_000, 250
    within, onwards, back = (3 << 14 | 5, 1 << 14 | 5), (9 << 14 | 6, 7), (9 << 14 | 7, 8)
    assert [looked_at(*cursors, count, total) for cursors in (within, onwards, back)] == [count] * 3


def test_a_server_that_is_away_for_a_moment_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "PATIENCE_S", 60.0)
    port = free_port()
    fleet = Fleet(timeout_s=1.0)
    keys: list[int] = []
    thread = threading.Thread(
        target=lambda: keys.append(preview(connect(fleet, f"redis://127.0.0.1:{port}/0"), BY_PREFIX).keyspace)
    )
    thread.start()
    time.sleep(1)
    with redis_server(port=port):
        thread.join(60)
    fleet.close()
    assert keys == [0]


def test_one_that_stays_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counter, "PATIENCE_S", 0.1)
    fleet = Fleet(timeout_s=1.0)
    with pytest.raises(FleetError, match=r"127\.0\.0\.1"):
        preview(connect(fleet, f"redis://127.0.0.1:{free_port()}/0"), BY_PREFIX)
    fleet.close()
