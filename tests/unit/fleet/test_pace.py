"""The pace against servers that are only arithmetic: fast and slow ones, busy ones, ones that have to catch up."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.fleet.pace import (
    FEWEST_UNITS,
    LAG_SLOW,
    LAG_STOP,
    LEAST_DUTY,
    LONGEST_BURST_S,
    MOST_UNITS,
    PENDING_GO,
    PENDING_STOP,
    PROBES,
    SHORTEST_BURST_S,
    Allowance,
    Pace,
)
from dashboard.fleet.scan import ServerState, read_state

CALM = ServerState("id", "master", 1000, 10, 0, False, 0, None)


def settle(
    pace: Pace, unit_s: float, rtt_s: float = 0.0, bursts: int = 60, chance: Random | None = None
) -> float:
    """Let it work on a server that takes so long for a unit; how long the last burst keeps that server busy."""
    for _ in range(bursts):
        late_s = 0.0 if chance is None or chance.random() > 0.2 else chance.random() * 0.02
        pace.worked(pace.units, pace.units * unit_s + rtt_s + late_s)
    return pace.units * unit_s


def probe(pace: Pace, *waits_s: float) -> None:
    """A round of probes, with these among them."""
    for wait_s in [0.0001] * (PROBES - len(waits_s)) + list(waits_s):
        pace.probed(wait_s)


@pytest.mark.parametrize("unit_s", [1e-6, 2e-6, 5e-6, 2e-5])
def test_bursts_become_as_long_as_they_may(unit_s: float) -> None:
    pace = Pace(2.0)
    assert settle(pace, unit_s) == pytest.approx(LONGEST_BURST_S, rel=0.05)
    assert pace.slowed_by == "" and pace.rest_s(0.001) == 0.0


def test_the_way_to_the_server_is_none_of_its_work() -> None:
    pace = Pace(2.0)
    pace.probed(0.030)
    assert settle(pace, 2e-6, rtt_s=0.030) == pytest.approx(LONGEST_BURST_S, rel=0.05)


def test_a_long_way_is_no_wait_that_we_cause() -> None:
    """Other clients of a server that is 3 ms away wait those with or without us."""
    pace = Pace(2.0)
    for _ in range(20):
        for _ in range(PROBES):
            pace.probed(0.003)
        settle(pace, 2e-6, rtt_s=0.003)
    assert pace.slowed_by == "" and pace.units * 2e-6 == pytest.approx(LONGEST_BURST_S, rel=0.05)
    for _ in range(40):
        for _ in range(PROBES):
            pace.probed(0.003)
        pace.probed(0.006)
        pace.probed(0.006)
    assert pace.slowed_by == "probe"
    # And it rests for what the server did, not for what the network took.
    assert pace.rest_s(0.003 + SHORTEST_BURST_S) <= SHORTEST_BURST_S * (1 / LEAST_DUTY - 1) * 1.01


def test_being_put_aside_now_and_then_changes_little() -> None:
    pace = Pace(2.0)
    busy_s = settle(pace, 2e-6, bursts=300, chance=Random(1))
    assert 0.5 * LONGEST_BURST_S < busy_s <= LONGEST_BURST_S * 1.05


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=50))
def test_whatever_is_measured_bursts_stay_within_bounds(measured: list[tuple[float, float]]) -> None:
    pace = Pace(2.0)
    for took_s, wait_s in measured:
        pace.worked(pace.units, took_s)
        pace.probed(wait_s)
        assert FEWEST_UNITS <= pace.units <= MOST_UNITS
        assert pace.rest_s(took_s) >= 0


def test_where_others_wait_it_slows_down_and_recovers() -> None:
    pace = Pace(2.0)
    pace.probed(0.0001)
    full_s = settle(pace, 2e-6, rtt_s=0.0001)
    for _ in range(PROBES - 1):
        pace.probed(0.0001)
    probe(pace, 0.005)  # one stall is none yet
    assert pace.probe_p99_s == 0.0001 and pace.slowed_by == ""
    probe(pace, 0.005, 0.005)
    assert pace.probe_p99_s == 0.005 and pace.slowed_by == "probe"
    assert settle(pace, 2e-6, rtt_s=0.0001) < full_s * 0.7
    for _ in range(20):
        probe(pace, 0.005, 0.005)
    assert settle(pace, 2e-6, rtt_s=0.0001) == pytest.approx(SHORTEST_BURST_S, rel=0.1)
    # It never stops: with bursts this short it is not the one they wait for.
    assert pace.rest_s(0.0011) == pytest.approx(0.001 * (1 / LEAST_DUTY - 1))
    for _ in range(40):
        probe(pace)
    assert settle(pace, 2e-6, rtt_s=0.0001) == pytest.approx(full_s, rel=0.05)
    assert pace.slowed_by == "" and pace.rest_s(0.001) == 0.0


def test_memory_that_waits_to_be_freed() -> None:
    pace = Pace(2.0)
    pace.observed(CALM)
    assert not pace.is_still
    for pending, is_still in (
        (PENDING_STOP, False),
        (PENDING_STOP + 1, True),
        (PENDING_GO + 1, True),
        (10, False),
    ):
        pace.observed(ServerState("id", "master", 1, 10, 0, False, pending, None))
        assert pace.is_still == is_still
        assert (pace.slowed_by == "memory") == is_still and (pace.rest_s(0.0) > 0) == is_still


@pytest.mark.parametrize(
    ("needs_memory", "evicting", "is_still"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_a_full_server(needs_memory: bool, evicting: bool, is_still: bool) -> None:
    pace = Pace(2.0, needs_memory=needs_memory)
    pace.observed(ServerState("id", "master", 1, 990, 1000, evicting, 0, None))
    assert pace.is_still == pace.is_full == is_still
    pace.observed(ServerState("id", "master", 1, 900, 1000, evicting, 0, None))
    assert not pace.is_still


def test_replicas_that_fall_behind() -> None:
    pace = Pace(2.0)
    pace.observed(ServerState("id", "master", 1, 10, 0, False, 0, LAG_SLOW + 1))
    assert (
        pace.slowed_by == "replication" and not pace.is_still and pace.rest_s(0.001) == pytest.approx(0.001)
    )
    pace.observed(ServerState("id", "master", 1, 10, 0, False, 0, LAG_STOP + 1))
    assert pace.is_still
    pace.observed(CALM)
    assert not pace.is_still and pace.slowed_by == ""


# --- limits of the whole ----------------------------------------------------------------------------------------


def simulate(allowance: Allowance, seconds: float, share: float = 0.0, batch: int = 50) -> int:
    """Touch whenever it is allowed; how many in so long."""
    now_s = touched = 0.0
    while now_s < seconds:
        wait_s = allowance.wait_s(now_s, now_s, share)
        if wait_s > 0:
            now_s += min(wait_s, 0.25)
            continue
        keys = min(batch, allowance.most_at_once(10_000))
        allowance.took(keys, now_s)
        touched += keys
        now_s += 0.0005
    return int(touched)


@pytest.mark.parametrize("rate", [10, 500, 5_000])
def test_a_limit_holds(rate: int) -> None:
    allowance = Allowance(rate)
    assert simulate(allowance, 20) == pytest.approx(20 * rate, rel=0.1)
    assert allowance.slowed_by == "limit"


def test_the_limit_holds_where_nothing_else_does() -> None:
    """What was begun is finished when somebody pauses: not at once, where a limit is set."""
    allowance = Allowance(1_000, over_s=600, budget_per_s=50)
    allowance.begin_gently(5_000)
    allowance.took(100, 0.0)
    assert allowance.wait_s(0.05, 0.05, 0.5) > 100  # the spread
    assert allowance.limit_wait_s(0.05) == pytest.approx(0.05)
    assert allowance.limit_wait_s(0.2) == 0.0


def test_what_was_not_used_is_not_saved_up() -> None:
    allowance = Allowance(1_000)
    allowance.took(10, 0.0)
    # After a minute of nothing it does not make up for it.
    touched = 0
    while allowance.wait_s(60.0, 60.0, 0.0) == 0.0:
        allowance.took(10, 60.0)
        touched += 10
    assert touched <= 50


def test_a_spread_keeps_step_with_time() -> None:
    allowance = Allowance(1e6, over_s=60)
    assert allowance.wait_s(0.0, 0.0, 0.0) == 0.0
    assert allowance.wait_s(0.0, 10.0, 0.5) == pytest.approx(20.0)
    assert allowance.slowed_by == "spread"
    assert allowance.wait_s(0.0, 30.0, 0.5) == 0.0 and allowance.slowed_by == ""
    # After its time nothing is held back any more.
    assert allowance.wait_s(0.0, 60.0, 5.0) == 0.0
    # Several times a second, so that it comes in no lumps.
    assert allowance.most_at_once(6_000) == 25


def test_the_databases_budget() -> None:
    free = Allowance(100_000, budget_per_s=500)
    free.begin_gently(reads_per_s=400)
    assert free.keys_per_s == 100_000
    tight = Allowance(100_000, budget_per_s=500)
    tight.begin_gently(reads_per_s=9_000)
    assert tight.keys_per_s == 500
    # Each key that goes is loaded again at once, and a fifth of what is behind the limit twice.
    for _ in range(60):
        tight.loaded(tight.keys_per_s * 0.5)
    assert 700 < tight.keys_per_s < 1_300 and tight.slowed_by == ""
    for _ in range(60):
        tight.loaded(3_000)
    assert tight.keys_per_s == 25
    # What nobody reaches is no limit: the first step is one down from the present rate.
    fast = Allowance(1_000_000, budget_per_s=500)
    for turn in range(101):
        fast.took(1_000, turn / 100)
    fast.loaded(600)
    assert fast.keys_per_s == pytest.approx(101_000 * 0.7)
    unlimited = Allowance(100_000)
    unlimited.begin_gently(9_000)
    unlimited.loaded(1e9)
    assert unlimited.keys_per_s == 100_000


# --- what a server says ---------------------------------------------------------------------------------------------


def test_reading_info() -> None:
    info = (
        b"# Server\r\nrun_id:abc\r\n# Memory\r\nused_memory:123\r\nmaxmemory:456\r\nmaxmemory_policy:noeviction\r\n"
        b"lazyfree_pending_objects:7\r\n# Replication\r\nrole:master\r\nconnected_slaves:3\r\n"
        b"slave0:ip=10.0.0.1,port=1,state=online,offset=900,lag=0\r\n"
        b"slave1:ip=10.0.0.2,port=1,state=online,offset=400,lag=1\r\n"
        b"slave2:ip=10.0.0.3,port=1,state=wait_bgsave,offset=0,lag=0\r\n"
        b"master_repl_offset:1000\r\n# Keyspace\r\ndb0:keys=5,expires=1\r\ndb12:keys=42,expires=0\r\n"
    )
    assert read_state(info, 12) == ServerState("abc", "master", 42, 123, 456, False, 7, 600)
    assert read_state(info, 1).keys == 0


@given(st.binary(max_size=300))
def test_any_info_is_read(info: bytes) -> None:
    state = read_state(info + b"\r\nconnected_slaves:2\r\nslave0:offset=x", 0)
    assert state.keys >= 0


def test_what_is_left_after_a_second_approval_is_spread_over_its_own_time() -> None:
    allowance = Allowance(1e9, 100.0, from_s=5000.0, from_share=0.6)
    # Half of the rest is done, of the time a quarter.
    assert allowance.wait_s(0.0, 5025.0, 0.8) == pytest.approx(25.0)
    assert allowance.wait_s(0.0, 5051.0, 0.8) == 0.0
    assert allowance.wait_s(0.0, 5001.0, 0.1) == 0.0  # a node that lies behind
    assert Allowance(1e9, 100.0).wait_s(0.0, 25.0, 0.5) == pytest.approx(25.0)


def test_who_is_late_does_not_catch_up_but_spreads_what_is_left() -> None:
    allowance = Allowance(1e9, 100.0)
    # Held up for half of the time with a quarter done: the other three quarters take the other half.
    assert allowance.wait_s(0.0, 50.0, 0.25) == 0.0
    assert allowance.wait_s(0.0, 50.0, 0.4) == pytest.approx(10.0)
    assert allowance.wait_s(0.0, 62.5, 0.625) == pytest.approx(12.5)
    assert allowance.wait_s(0.0, 100.0, 0.7) == 0.0
    # A part of the way is to be gone again: less is done than there was.
    again = Allowance(1e9, 100.0)
    assert again.wait_s(0.0, 60.0, 0.3) == 0.0 and again.wait_s(0.0, 60.0, 0.65) == pytest.approx(20.0)
