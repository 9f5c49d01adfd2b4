"""A recorded incident, replayed: real traffic of 510 s with a reset, a restart, a gap, a flush, MONITOR and KEYS.

The expected numbers are computed here from the raw text of the replies, by other means than the code under test.
"""

import json
import lzma
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from statistics import median

import pytest

from dashboard.monitoring.deltas import add_nodes, difference, hit_ratio
from dashboard.monitoring.info import parse_info, read
from dashboard.monitoring.types import COUNTERS, Delta, EventKind, Facts, Flag, Reading, Window
from dashboard.monitoring.verdicts import evaluate
from tests.support.shared import shared_data

FOLDER = shared_data()
if FOLDER is None:
    pytest.skip("the shared data is absent (CACHEWARDEN_SHARED_DATA)", allow_module_level=True)
REPLAY = FOLDER / "info/replay/redis-7.4.1-allkeys-lru-16mb.jsonl.xz"


@dataclass(frozen=True)
class Row:
    """One reply, with the few numbers the reference needs, taken from the text by a pattern."""

    t_s: float
    text: str

    def raw(self, name: str) -> int:
        match = re.search(rf"^{name}:(\d+)\r?$", self.text, re.MULTILINE)
        assert match is not None, name
        return int(match[1])

    @property
    def run(self) -> str:
        match = re.search(r"^run_id:(\w+)", self.text, re.MULTILINE)
        assert match is not None
        return match[1]


@cache
def rows() -> tuple[Row, ...]:
    with lzma.open(REPLAY, "rt") as lines:
        records = [json.loads(line) for line in lines]
    first_s = records[0]["t"]
    # One row is the failed poll during the restart: there is nothing to read in it.
    return tuple(Row(record["t"] - first_s, record["info"]) for record in records if record["info"])


def polled_every(interval_s: int) -> list[Row]:
    """The replies a poller would have got that asks every ``interval_s``: the first in each slot of time."""
    slots: dict[int, Row] = {}
    for row in rows():
        # The recorder fired up to half a second early.
        slots.setdefault(int((row.t_s + 0.5) // interval_s), row)
    return list(rows()) if interval_s == 5 else list(slots.values())


def readings(interval_s: int) -> list[Reading]:
    start = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
    return [
        read(parse_info(row.text), start + timedelta(seconds=row.t_s), 5_000 + row.t_s)
        for row in polled_every(interval_s)
    ]


def deltas(interval_s: int) -> list[tuple[Row, Delta]]:
    taken = readings(interval_s)
    return [
        (row, difference(prev, cur, interval_s))
        for row, (prev, cur) in zip(polled_every(interval_s)[1:], pairwise(taken), strict=True)
    ]


def reference(interval_s: int) -> Iterator[tuple[Row, Row, int, int] | tuple[Row, Row, None, None]]:
    """Raw subtraction, with nothing for the two pairs of replies that a reset or a restart lies between."""
    for before, after in pairwise(polled_every(interval_s)):
        if before.t_s < 119.9 < after.t_s or before.t_s < 243 < after.t_s:
            yield before, after, None, None
        else:
            hits = after.raw("keyspace_hits") - before.raw("keyspace_hits")
            yield before, after, hits, after.raw("keyspace_misses") - before.raw("keyspace_misses")


def flagged(interval_s: int, flag: Flag) -> list[int]:
    return [round(row.t_s) for row, delta in deltas(interval_s) if flag in delta.flags]


every_interval = pytest.mark.parametrize("interval_s", [5, 10, 15])


@every_interval
def test_growth_is_that_of_the_raw_counters(interval_s: int) -> None:
    compared = 0
    for (row, delta), (before, after, hits, misses) in zip(
        deltas(interval_s), reference(interval_s), strict=True
    ):
        assert row is after
        if hits is None or misses is None:
            continue
        compared += 1
        assert (delta.keyspace_hits, delta.keyspace_misses) == (hits, misses)
        assert hit_ratio(delta.keyspace_hits, delta.keyspace_misses) == hits / (hits + misses)
        # The reply came within a tenth of a second of the server's clock.
        assert delta.dt_s == pytest.approx(after.t_s - before.t_s, abs=0.15)
    assert compared >= 400 / interval_s


@every_interval
def test_the_ratio_of_a_window_follows_the_traffic(interval_s: int) -> None:
    """Over every minute, events included: what an event loses must not bend the ratio."""
    measured, expected = deltas(interval_s), list(reference(interval_s))
    compared = 0
    for end in range(len(measured)):
        inside = [i for i in range(end + 1) if measured[i][0].t_s > measured[end][0].t_s - 60]
        total = add_nodes(measured[i][1] for i in inside)
        hits = sum(expected[i][2] or 0 for i in inside)
        misses = sum(expected[i][3] or 0 for i in inside)
        if hits + misses < 30_000:
            continue
        compared += 1
        ratio = hit_ratio(total.keyspace_hits, total.keyspace_misses)
        # The intervals of the two events count here and not in the reference.
        touched = any(expected[i][2] is None for i in inside)
        assert ratio == pytest.approx(hits / (hits + misses), abs=0.05 if touched else 1e-9)
    assert compared > 300 / interval_s


@every_interval
def test_no_rate_is_negative_and_none_is_a_spike(interval_s: int) -> None:
    ordinary = [
        (after.raw("total_commands_processed") - before.raw("total_commands_processed"))
        / (after.t_s - before.t_s)
        for before, after, hits, _ in reference(interval_s)
        if hits is not None
    ]
    special = 0
    for row, delta in deltas(interval_s):
        for name in COUNTERS:
            value = getattr(delta, name)
            if Flag.RESETSTAT in delta.flags and value is None:
                continue
            assert value is not None, name
            assert 0 <= value <= getattr(read(parse_info(row.text), datetime.now(UTC), 0.0), name)
        assert all(stat.calls >= 0 and stat.usec >= 0 for stat in delta.commands.values())
        if delta.flags:
            special += 1
            if Flag.RESETSTAT in delta.flags:
                continue
            assert delta.dt_s is not None and delta.total_commands_processed is not None
            # The recorder caught up with its traffic after the restart; the life of the server would be twentyfold.
            assert delta.total_commands_processed / delta.dt_s < 3 * median(ordinary)
    assert special == 3


@every_interval
def test_each_event_is_found_at_its_time_and_nothing_else(interval_s: int) -> None:
    assert flagged(interval_s, Flag.RESETSTAT) == [120]
    assert flagged(interval_s, Flag.PARTIAL) == [120]
    assert flagged(interval_s, Flag.RESTART) == [{5: 246, 10: 250, 15: 255}[interval_s]]
    assert flagged(interval_s, Flag.GAP) == [330]
    assert flagged(interval_s, Flag.FLUSH) == [330]
    assert flagged(interval_s, Flag.SWITCH | Flag.FAILOVER) == []
    events = [(round(row.t_s), event.kind) for row, delta in deltas(interval_s) for event in delta.events]
    assert events == [
        (120, EventKind.RESETSTAT),
        ({5: 246, 10: 250, 15: 255}[interval_s], EventKind.RESTART),
        (330, EventKind.GAP),
        (330, EventKind.FLUSH),
    ]


def test_the_details_of_the_events() -> None:
    details = {event.kind: dict(event.details) for _, delta in deltas(5) for event in delta.events}
    assert details[EventKind.RESTART] == {"uptime_s": 1, "version": "7.4.1"}
    assert details[EventKind.FLUSH] == {"keys_before": 24090, "keys_after": 857}
    assert details[EventKind.GAP] == {"elapsed_s": pytest.approx(35.0, abs=0.2)}


def test_a_reset_breaks_the_line_for_one_interval() -> None:
    measured = [delta for _, delta in deltas(5)]
    at = next(n for n, delta in enumerate(measured) if Flag.RESETSTAT in delta.flags)
    assert measured[at].dt_s is None and measured[at].keyspace_hits is None
    assert measured[at].errors_oom == 0
    assert all(measured[n].keyspace_hits for n in (at - 1, at + 1))


def test_the_ratio_of_a_lifetime_hides_the_flush() -> None:
    """Right after it the cache is nearly empty: its traffic says so, its lifetime does not."""
    row, delta = next((row, delta) for row, delta in deltas(5) if round(row.t_s) == 335)
    windowed = hit_ratio(delta.keyspace_hits, delta.keyspace_misses)
    hits, misses = row.raw("keyspace_hits"), row.raw("keyspace_misses")
    assert windowed == pytest.approx((125848 - 120179) / (125848 - 120179 + 59212 - 55110))
    assert windowed is not None and hits / (hits + misses) - windowed > 0.09


@every_interval
def test_monitor_and_keys_are_seen_when_they_happen(interval_s: int) -> None:
    monitor = [round(row.t_s) for row, delta in deltas(interval_s) if "monitor" in delta.commands]
    keys = [(round(row.t_s), delta.keys_calls) for row, delta in deltas(interval_s) if delta.keys_calls]
    assert monitor == [{5: 400, 10: 400, 15: 405}[interval_s]]
    assert keys == [(450, 5)]


def test_the_verdicts_over_the_incident() -> None:
    taken = readings(5)
    rest = {}
    for until in (60, 340, 508):
        now = taken[0].taken_at + timedelta(seconds=until)
        seen = [(cur, difference(prev, cur, 5)) for prev, cur in pairwise(taken) if cur.taken_at <= now]
        total = add_nodes(delta for _, delta in seen)
        last = seen[-1][0]

        def when(kind: EventKind, seen: list[tuple[Reading, Delta]] = seen) -> datetime | None:
            times = [event.at for _, delta in seen for event in delta.events if event.kind is kind]
            return times[-1] if times else None

        facts = Facts(
            now=now,
            poll_interval_s=5,
            hit_ratio_target=0.8,
            last_poll_at=last.taken_at,
            nodes=(("one:6379", last),),
            window=Window(
                start=taken[0].taken_at,
                end=now,
                covered_s=sum(delta.dt_s or 0 for _, delta in seen),
                hits=total.keyspace_hits,
                misses=total.keyspace_misses,
                evicted_keys=total.evicted_keys,
                expired_keys=total.expired_keys,
                rejected_connections=total.rejected_connections,
                errors_oom=total.errors_oom,
                keys_calls=total.keys_calls,
            ),
            monitors=(),
            restarted_at=when(EventKind.RESTART),
            flushed_at=when(EventKind.FLUSH),
        )
        rest[until] = {verdict.code: verdict for verdict in evaluate(facts)}
    assert rest[60]["hit_ratio"].title.startswith("Warming up since the start at")
    assert rest[60]["commands.keys"].kind == "ok"
    assert rest[340]["hit_ratio"].title == "Warming up since the flush at 12:05."
    assert rest[508]["commands.keys"].title == "KEYS was called 5 times in the last 8 m."
    assert rest[508]["memory.pressure"].title == "Memory is 84.6% full."
