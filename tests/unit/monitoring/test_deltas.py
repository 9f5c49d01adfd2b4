"""Differences of readings: right where growth is known, None where it is not, never negative, never a spike."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.monitoring.deltas import (
    GUARDS,
    add_nodes,
    difference,
    elapsed,
    hit_ratio,
    wilson_upper,
)
from dashboard.monitoring.info import parse_info, read
from dashboard.monitoring.types import COUNTERS, CommandStat, Delta, Event, EventKind, Flag, Reading
from tests.support.readings import RUN_A, RUN_B, START, reading
from tests.support.shared import shared_data

BUSY: dict[str, Any] = {
    "uptime_in_seconds": 90_000,
    "keyspace_hits": 8_000_000,
    "keyspace_misses": 2_000_000,
    "total_commands_processed": 12_000_000,
    "total_connections_received": 5_000,
    "total_net_input_bytes": 900_000_000,
    "total_reads_processed": 12_100_000,
    "evicted_keys": 40_000,
    "used_cpu_sys": 100.0,
    "used_cpu_user": 200.0,
    "master_replid": "1" * 40,
    "master_replid2": "0" * 40,
    "maxmemory": 1000,
    "maxmemory_policy": "allkeys-lru",
    "db0": "keys=10000,expires=9000,avg_ttl=0",
}


def busy(at_s: float, **changes: Any) -> Reading:
    return reading(at_s, **{**BUSY, "uptime_in_seconds": 90_000 + int(at_s), **changes})


def kinds(delta: Delta) -> list[EventKind]:
    return [event.kind for event in delta.events]


def values(delta: Delta) -> list[int]:
    return [value for name in COUNTERS if (value := getattr(delta, name)) is not None]


def test_the_plain_case() -> None:
    delta = difference(busy(0), busy(10, keyspace_hits=8_000_900, keyspace_misses=2_000_100), 10)
    assert (delta.dt_s, delta.flags, delta.events) == (10.0, Flag.NONE, ())
    assert (delta.keyspace_hits, delta.keyspace_misses, delta.evicted_keys) == (900, 100, 0)
    assert delta.expired_keys is None
    assert hit_ratio(delta.keyspace_hits, delta.keyspace_misses) == 0.9


def test_the_first_reading_has_no_growth() -> None:
    delta = difference(None, busy(0), 10)
    assert (delta.dt_s, delta.flags, values(delta)) == (None, Flag.FIRST, [])


def test_a_restart_counts_from_the_start_of_the_server() -> None:
    started = reading(10, run_id=RUN_B, uptime_in_seconds=4, keyspace_hits=70, keyspace_misses=30, used_cpu_sys=0.5,
                      used_cpu_user=0.5, commands={"get": "calls=100,usec=900"})  # fmt: skip
    delta = difference(busy(0, commands={"get": "calls=7000,usec=9000"}), started, 10)
    assert delta.flags == Flag.RESTART
    assert kinds(delta) == [EventKind.RESTART]
    assert (delta.keyspace_hits, delta.keyspace_misses, delta.used_cpu_usec) == (70, 30, 1_000_000)
    assert delta.commands == {"get": CommandStat(100, 900)}
    assert delta.dt_s == 4.5


def test_a_restart_within_the_first_second_has_a_time_to_divide_by() -> None:
    delta = difference(busy(0), reading(10, run_id=RUN_B, uptime_in_seconds=0, keyspace_hits=5), 10)
    assert delta.dt_s == 0.5


def test_a_restart_after_a_long_silence_is_a_gap_as_well() -> None:
    delta = difference(busy(0), reading(3600, run_id=RUN_B, uptime_in_seconds=3000, keyspace_hits=5), 10)
    assert delta.flags == Flag.RESTART | Flag.GAP
    assert delta.dt_s == 3000.5


def test_another_server_behind_the_same_name_is_not_credited_with_its_life() -> None:
    delta = difference(busy(0), busy(10, run_id=RUN_B, uptime_in_seconds=5_000_000, keyspace_hits=9**12), 10)
    assert delta.flags == Flag.SWITCH
    assert kinds(delta) == [EventKind.SWITCH]
    assert (delta.dt_s, values(delta), delta.commands) == (None, [], {})


def test_a_promoted_replica_behind_the_same_name_is_a_failover() -> None:
    promoted = busy(10, run_id=RUN_B, master_replid="2" * 40, master_replid2="1" * 40)
    delta = difference(busy(0), promoted, 10)
    assert delta.flags == Flag.SWITCH | Flag.FAILOVER
    assert kinds(delta) == [EventKind.FAILOVER]
    assert values(delta) == []


def test_a_node_that_is_promoted_in_place_goes_on_counting() -> None:
    before = busy(0, role="slave")
    after = busy(10, master_replid="2" * 40, master_replid2="1" * 40, keyspace_hits=8_000_100)
    delta = difference(before, after, 10)
    assert delta.flags == Flag.FAILOVER
    assert (delta.keyspace_hits, delta.events[0].details["role_before"]) == (100, "slave")


def test_a_second_replication_id_that_was_there_before_is_no_failover() -> None:
    same = {"master_replid": "2" * 40, "master_replid2": "1" * 40}
    assert difference(busy(0, **same), busy(10, **same), 10).flags == Flag.NONE


@pytest.fixture(params=["captured"])
def replicas(request: pytest.FixtureRequest) -> dict[str, bytes]:
    folder = shared_data()
    if folder is None:
        pytest.skip("the shared data is absent (CACHEWARDEN_SHARED_DATA)")
    names = ("master-with-replica", "replica", "replica-link-down")
    return {name: (folder / "info/captured" / f"redis-7.4.1-{name}.info.txt").read_bytes() for name in names}


def captured(reply: bytes, at_s: float, **changes: str) -> Reading:
    lines = reply.decode().split("\r\n")
    for name, value in changes.items():
        lines = [f"{name}:{value}" if line.startswith(f"{name}:") else line for line in lines]
    lines.append(f"server_time_usec:{int((START.timestamp() + at_s) * 1e6)}")
    lines = [line for line in lines if not line.startswith("server_time_usec:") or line is lines[-1]]
    taken = reading(at_s)
    return read(parse_info("\r\n".join(lines)), taken.taken_at, taken.clock_s)


def test_a_failover_from_a_real_primary_to_its_real_replica(replicas: dict[str, bytes]) -> None:
    """The replica as it was captured, then as Redis leaves it after a promotion, behind the primary's name."""
    primary = captured(replicas["master-with-replica"], 0, uptime_in_seconds="70000")
    replid = primary.master_replid
    assert replid is not None
    promoted = captured(
        replicas["replica"],
        10,
        role="master",
        master_replid="3" * 40,
        master_replid2=replid,
        uptime_in_seconds="60000",
        total_commands_processed="987654321",
    )
    delta = difference(primary, promoted, 10)
    assert delta.flags == Flag.SWITCH | Flag.FAILOVER
    assert values(delta) == []

    # The same replica polled by its own address: the run goes on, the role changes.
    follower = captured(replicas["replica"], 0)
    leader = captured(replicas["replica"], 10, role="master", master_replid="3" * 40, master_replid2=replid)
    delta = difference(follower, leader, 10)
    assert delta.flags == Flag.FAILOVER
    assert delta.total_commands_processed == 0


def test_a_replica_that_lost_its_primary_goes_on_counting(replicas: dict[str, bytes]) -> None:
    delta = difference(captured(replicas["replica"], 0), captured(replicas["replica-link-down"], 2), 10)
    assert delta.flags == Flag.NONE
    assert delta.total_commands_processed == 1


RESET: dict[str, Any] = {
    "keyspace_hits": 9,
    "keyspace_misses": 1,
    "total_commands_processed": 20,
    "total_connections_received": 1,
    "total_net_input_bytes": 700,
    "total_reads_processed": 21,
    "evicted_keys": 2,
}


def test_a_resetstat_makes_no_rate_and_counts_incidents() -> None:
    delta = difference(busy(0), busy(10, **RESET, used_cpu_sys=101.0), 10)
    assert delta.flags == Flag.RESETSTAT | Flag.PARTIAL
    assert kinds(delta) == [EventKind.RESETSTAT]
    assert (delta.keyspace_hits, delta.total_commands_processed, delta.evicted_keys, delta.dt_s) == (
        None,
    ) * 4
    rejecting = difference(busy(0), busy(10, **RESET, rejected_connections=4), 10)
    assert (rejecting.rejected_connections, add_nodes([rejecting]).rejected_connections) == (4, 4)


def test_a_reset_that_counters_outgrew_shows_in_the_command_statistics() -> None:
    young = dict.fromkeys(GUARDS, 10)
    grown = dict.fromkeys(GUARDS, 500)
    reset = {"config|resetstat": "calls=1,usec=51"}
    delta = difference(reading(0, **young), reading(10, **grown, commands=reset), 10)
    assert Flag.RESETSTAT in delta.flags
    assert delta.keyspace_hits is None
    # A second one is again the first call, with another duration; without one nothing changes.
    again = difference(
        reading(0, **young, commands=reset),
        reading(10, **grown, commands={"config|resetstat": "calls=1,usec=40"}),
        10,
    )
    assert Flag.RESETSTAT in again.flags
    quiet = difference(reading(0, **young, commands=reset), reading(10, **grown, commands=reset), 10)
    assert (quiet.flags, quiet.keyspace_hits) == (Flag.NONE, 490)


def test_a_refused_resetstat_is_no_reset() -> None:
    refused = {"config|resetstat": "calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0"}
    delta = difference(busy(0), busy(10, commands=refused), 10)
    assert (delta.flags, delta.keyspace_hits) == (Flag.NONE, 0)


def test_before_7_0_a_reset_shows_in_the_commands_that_lost_calls() -> None:
    before = reading(
        0, **dict.fromkeys(GUARDS, 10), commands={"get": "calls=9,usec=9", "config": "calls=3,usec=9"}
    )
    after = reading(
        10, **dict.fromkeys(GUARDS, 50), commands={"get": "calls=40,usec=90", "config": "calls=1,usec=4"}
    )
    delta = difference(before, after, 10)
    assert Flag.RESETSTAT in delta.flags
    assert delta.commands["get"] == CommandStat(40, 90)


def test_an_unloaded_module_takes_its_commands_along_and_resets_nothing() -> None:
    stats = dict.fromkeys(("get", "set", "del", "ft.search"), "calls=50,usec=90")
    delta = difference(
        busy(0, commands=stats), busy(10, commands={n: s for n, s in stats.items() if "." not in n}), 10
    )
    assert delta.flags == Flag.NONE


def test_a_single_counter_that_falls_loses_only_its_own_value() -> None:
    delta = difference(
        busy(0), busy(10, keyspace_hits=7_999_990, keyspace_misses=2_000_005, evicted_keys=40_003), 10
    )
    assert delta.flags == Flag.PARTIAL
    assert (delta.keyspace_hits, delta.keyspace_misses, delta.evicted_keys) == (None, 5, 3)
    fallen = difference(busy(0), busy(10, evicted_keys=39_000), 10)
    assert (fallen.flags, fallen.evicted_keys, fallen.keyspace_hits) == (Flag.PARTIAL, None, 0)


def test_a_counter_that_appears_or_disappears_is_unknown() -> None:
    assert difference(busy(0), busy(10, expired_keys=10**9), 10).expired_keys is None
    assert difference(busy(0, expired_keys=10**9), busy(10), 10).expired_keys is None


def test_statistics_that_appear_are_not_a_life_of_commands() -> None:
    without = read(parse_info("run_id:x\nuptime_in_seconds:5\nkeyspace_hits:1\n"), START, 0.0)
    text = (
        "run_id:x\nuptime_in_seconds:15\nkeyspace_hits:2\n# Commandstats\ncmdstat_get:calls=999999,usec=9\n"
        "# Errorstats\nerrorstat_OOM:count=999\n"
    )
    delta = difference(without, read(parse_info(text), START, 10.0), 10)
    assert (delta.commands, delta.errors, delta.keyspace_hits) == ({}, {}, 1)


def test_loading_has_no_growth_and_says_so_once() -> None:
    delta = difference(
        busy(0), reading(10, run_id=RUN_B, uptime_in_seconds=3, loading=1, keyspace_hits=0), 10
    )
    assert delta.flags == Flag.RESTART | Flag.LOADING
    assert (delta.dt_s, values(delta), kinds(delta)) == (None, [], [EventKind.RESTART, EventKind.LOADING])
    still = difference(busy(0, loading=1), busy(10, loading=1), 10)
    assert (still.flags, kinds(still)) == (Flag.LOADING, [])


def test_a_gap_keeps_its_sum() -> None:
    delta = difference(busy(0), busy(26, keyspace_hits=8_000_260), 10)
    assert (delta.flags, delta.dt_s, delta.keyspace_hits) == (Flag.GAP, 26.0, 260)
    assert delta.events == (Event(EventKind.GAP, busy(26).taken_at, {"elapsed_s": 26.0}),)
    assert difference(busy(0), busy(25), 10).flags == Flag.NONE


def test_a_flush_is_a_drop_with_the_command_to_prove_it() -> None:
    empty = {"db0": "keys=400,expires=300,avg_ttl=0"}
    flushed = difference(busy(0), busy(10, **empty, commands={"flushall": "calls=1,usec=900"}), 10)
    assert flushed.flags == Flag.FLUSH
    assert flushed.events[0].details == {"keys_before": 10_000, "keys_after": 400}
    deleted = difference(busy(0), busy(10, **empty), 10)
    assert deleted.flags == Flag.NONE
    elsewhere = difference(busy(0), busy(10, commands={"flushdb": "calls=1,usec=900"}), 10)
    assert elsewhere.flags == Flag.NONE


def test_without_command_statistics_a_flush_is_a_drop_that_nothing_else_explains() -> None:
    def plain(at_s: int, keys: int, expired: int) -> Reading:
        text = f"run_id:x\nuptime_in_seconds:{at_s}\nexpired_keys:{expired}\n# Keyspace\ndb0:keys={keys},expires=0\n"
        return read(parse_info(text), START, float(at_s))

    assert difference(plain(10, 9000, 0), plain(20, 100, 0), 10).flags == Flag.FLUSH
    assert difference(plain(10, 9000, 0), plain(20, 100, 8000), 10).flags == Flag.NONE
    assert difference(plain(10, 900, 0), plain(20, 10, 0), 10).flags == Flag.NONE


def test_a_changed_limit_is_an_event() -> None:
    delta = difference(busy(0), busy(10, maxmemory=2000, maxmemory_policy="allkeys-lfu"), 10)
    assert delta.events[0].kind is EventKind.CONFIG
    assert delta.events[0].details == {
        "maxmemory": [1000, 2000],
        "maxmemory_policy": ["allkeys-lru", "allkeys-lfu"],
    }
    assert kinds(difference(busy(0), busy(10, maxmemory=None), 10)) == []


def test_without_a_run_id_the_moment_of_the_start_tells_runs_apart() -> None:
    def unnamed(at_s: float, uptime_s: int, hits: int) -> Reading:
        return reading(
            at_s, run_id=None, server_time_usec=None, uptime_in_seconds=uptime_s, keyspace_hits=hits
        )

    assert difference(unnamed(0, 5000, 100), unnamed(10, 5010, 150), 10).keyspace_hits == 50
    restarted = difference(unnamed(0, 5000, 100), unnamed(10, 6, 30), 10)
    assert (restarted.flags, restarted.keyspace_hits) == (Flag.RESTART, 30)
    switched = difference(unnamed(0, 5000, 100), unnamed(10, 90_000, 10**9), 10)
    assert (switched.flags, switched.keyspace_hits) == (Flag.SWITCH, None)


@pytest.mark.parametrize(
    ("cur", "expected"),
    [
        pytest.param({}, 10.0, id="all agree"),
        pytest.param({"taken_s": 3610}, 10.0, id="our wall clock stepped ahead"),
        pytest.param({"taken_s": -3590}, 10.0, id="our wall clock stepped back"),
        pytest.param({"server_s": 3610}, 10.0, id="the server's clock stepped ahead"),
        pytest.param({"server_s": -3590}, 10.0, id="the server's clock stepped back"),
        pytest.param({"clock_s": 500_000}, 10.0, id="another worker with a later monotonic clock"),
        pytest.param({"clock_s": -500}, 10.0, id="another worker with an earlier monotonic clock"),
        pytest.param({"server_time_usec": None}, 10.0, id="before 6.2"),
        pytest.param({"server_time_usec": None, "clock_s": -500}, 10.0, id="before 6.2, another worker"),
        pytest.param({"server_time_usec": None, "taken_s": 3610}, 10.0, id="before 6.2, wall clock stepped"),
        pytest.param({"clock_s": 11.2}, 10.0, id="a slow reply: the server knows better"),
    ],
)
def test_two_clocks_that_agree_outvote_the_third(cur: dict[str, Any], expected: float) -> None:
    server_s = cur.pop("server_s", None)
    if server_s is not None:
        cur["server_time_usec"] = int((START.timestamp() + server_s) * 1e6)
    assert elapsed(busy(0), busy(10, **cur)) == pytest.approx(expected)


def test_a_reading_that_is_not_later_says_nothing() -> None:
    delta = difference(busy(0), busy(0, keyspace_hits=9_000_000), 10)
    assert (delta.dt_s, delta.flags, values(delta)) == (None, Flag.PARTIAL, [])


def test_our_own_lookups_are_taken_out_of_the_ratio() -> None:
    assert hit_ratio(1000, 100) == pytest.approx(0.909, abs=0.001)
    assert hit_ratio(1000, 100, self_hits=900, self_misses=0) == 0.5
    assert hit_ratio(1000, 100, self_hits=0, self_misses=100) == 1.0
    assert hit_ratio(5, 5, self_hits=9, self_misses=0) == 0.0


@pytest.mark.parametrize(("hits", "misses"), [(0, 0), (None, 5), (5, None), (None, None)])
def test_without_lookups_there_is_no_ratio(hits: int | None, misses: int | None) -> None:
    assert hit_ratio(hits, misses) is None


def test_only_our_own_lookups_is_no_traffic() -> None:
    assert hit_ratio(40, 10, self_hits=40, self_misses=10) is None


def test_the_upper_wilson_bound() -> None:
    # From the published tables: 8 of 10 lies in 0.490..0.943.
    assert wilson_upper(8, 10) == pytest.approx(0.943, abs=0.001)
    assert wilson_upper(0, 10) == pytest.approx(0.278, abs=0.001)
    assert wilson_upper(10, 10) == pytest.approx(1.0)
    assert wilson_upper(0, 0) == 1.0
    assert wilson_upper(600_000, 1_000_000) == pytest.approx(0.6, abs=0.001)


def test_nodes_are_added_never_averaged() -> None:
    small = Delta(10.0, keyspace_hits=0, keyspace_misses=10, evicted_keys=1, self_misses=1, errors={"OOM": 1})
    large = Delta(9.5, Flag.GAP, keyspace_hits=900, keyspace_misses=90, commands={"get": CommandStat(3, 6)})
    total = add_nodes([small, large])
    assert (total.dt_s, total.flags, total.evicted_keys) == (10.0, Flag.GAP, 1)
    assert hit_ratio(total.keyspace_hits, total.keyspace_misses) == 0.9
    assert (total.self_misses, total.errors, total.commands) == (1, {"OOM": 1}, {"get": CommandStat(3, 6)})


def test_an_unknown_node_makes_the_sum_partial_and_half_a_pair_does_not_count() -> None:
    known = Delta(10.0, keyspace_hits=6, keyspace_misses=4)
    total = add_nodes([known, Delta(None, Flag.SWITCH), Delta(10.0, keyspace_misses=500, self_misses=400)])
    assert total.flags == Flag.SWITCH | Flag.PARTIAL
    assert (total.keyspace_hits, total.keyspace_misses, total.self_misses) == (6, 4, 0)


def test_nothing_adds_to_nothing() -> None:
    nothing = add_nodes([])
    assert (nothing.dt_s, values(nothing)) == (None, [])


def test_a_node_that_comes_back_counts_with_its_own_time() -> None:
    """Four nodes at 100 commands a second each; one brings half an hour."""
    steady = [Delta(10.0, total_commands_processed=1000) for _ in range(3)]
    total = add_nodes([*steady, Delta(1810.0, Flag.GAP, total_commands_processed=181_000)])
    assert total.dt_s == 10 + 1800 / 4
    assert total.total_commands_processed is not None and total.dt_s is not None
    assert total.total_commands_processed / total.dt_s == pytest.approx(400)
    alone = add_nodes([Delta(1810.0, Flag.GAP), Delta(1800.0, Flag.GAP), Delta(None, Flag.FIRST)])
    assert alone.dt_s == 1810.0


@pytest.mark.parametrize("event", ["start", "reset", "growth"])
def test_growth_no_server_can_count_is_not_known(event: str) -> None:
    huge = {"total_commands_processed": 2**62, "keyspace_hits": 10**12}
    if event == "growth":
        prev, cur = busy(0), busy(10, **huge)
    elif event == "start":
        prev, cur = busy(0), busy(10, run_id=RUN_B, uptime_in_seconds=5, **huge)
    else:
        prev = busy(0, **dict.fromkeys(GUARDS, 2**62 + 1))
        cur = busy(10, **{**dict.fromkeys(GUARDS, 10), "total_commands_processed": 2**62})
    delta = difference(prev, cur, 10)
    assert delta.total_commands_processed is None and Flag.PARTIAL in delta.flags
    if event != "reset":
        # Within ten seconds that could be, within the five since the start it could not.
        assert (delta.keyspace_hits is not None) == (event == "growth")
        assert delta.dt_s is not None


# A server at random -------------------------------------------------------------------------------------------

STEP = st.fixed_dictionaries(
    {
        "hits": st.integers(0, 5000),
        "misses": st.integers(0, 5000),
        "commands": st.integers(0, 9000),
        "evicted": st.integers(0, 50),
        "seconds": st.integers(1, 40),
        "event": st.sampled_from(
            ["none"] * 6 + ["restart", "resetstat", "refused resetstat", "switch", "missing"]
        ),
        "before_event": st.floats(0, 1),
    }
)
NAMES = {
    "hits": "keyspace_hits",
    "misses": "keyspace_misses",
    "commands": "total_commands_processed",
    "evicted": "evicted_keys",
}


def live(steps: list[dict[str, Any]]) -> list[tuple[dict[str, Any], Reading]]:
    """A server that lives through ``steps``, with the reading after each."""
    counters = dict.fromkeys(NAMES, 0)
    counters |= {"hits": 70_000, "misses": 40_000, "commands": 300_000}
    run, uptime_s, at_s, reset_usec, resets = 0, 10_000, 0, 0, 0
    lives = [
        (
            {"event": "first"},
            reading(
                0, run_id="0" * 40, uptime_in_seconds=uptime_s, **{NAMES[n]: v for n, v in counters.items()}
            ),
        )
    ]
    for step in steps:
        at_s += step["seconds"]
        uptime_s += step["seconds"]
        growth = {name: step[name] for name in NAMES}
        if step["event"] in ("restart", "resetstat"):
            # What happens before the event is lost, the rest is counted from zero.
            growth = {name: value - int(value * step["before_event"]) for name, value in growth.items()}
            counters = dict.fromkeys(NAMES, 0)
            if step["event"] == "restart":
                run, uptime_s, reset_usec = run + 1, int(step["seconds"] * (1 - step["before_event"])), 0
            else:
                resets += 1
                reset_usec = 20 + resets
        elif step["event"] == "switch":
            run, uptime_s, reset_usec = run + 1, 900_000, 0
            counters = dict.fromkeys(NAMES, 10**12)
        counters = {name: counters[name] + growth[name] for name in NAMES}
        commands = {"config|resetstat": f"calls=1,usec={reset_usec}"} if reset_usec else {}
        if step["event"] == "refused resetstat" and not reset_usec:
            commands = {"config|resetstat": "calls=0,usec=0,rejected_calls=1"}
        fields = {NAMES[name]: value for name, value in counters.items()}
        if step["event"] == "missing":
            fields.pop("keyspace_hits")
        lives.append(
            (
                step,
                reading(at_s, run_id=f"{run:040d}", uptime_in_seconds=uptime_s, commands=commands, **fields),
            )
        )
    return lives


@given(st.lists(STEP, max_size=25))
def test_no_life_of_a_server_gives_negatives_or_spikes(steps: list[dict[str, Any]]) -> None:
    lives = live(steps)
    for (_, prev), (step, cur) in itertools.pairwise(lives):
        delta = difference(prev, cur, 10)
        for name, attribute in NAMES.items():
            value = getattr(delta, attribute)
            assert value is None or 0 <= value <= step[name]
        assert delta.dt_s is None or 0 < delta.dt_s <= step["seconds"]
        assert (Flag.RESTART in delta.flags) == (step["event"] == "restart")
        assert (Flag.SWITCH in delta.flags) == (step["event"] == "switch")
        assert (Flag.RESETSTAT in delta.flags) == (step["event"] == "resetstat")
        assert (Flag.GAP in delta.flags) == (step["seconds"] > 25)
        ratio = hit_ratio(delta.keyspace_hits, delta.keyspace_misses)
        assert ratio is None or 0 <= ratio <= 1


@given(st.lists(STEP.map(lambda step: {**step, "event": "none"}), min_size=1, max_size=25))
def test_without_events_the_sums_are_kept(steps: list[dict[str, Any]]) -> None:
    lives = [taken for _, taken in live(steps)]
    deltas = [difference(prev, cur, 10) for prev, cur in itertools.pairwise(lives)]
    total = add_nodes(deltas)
    for name, attribute in NAMES.items():
        assert getattr(total, attribute) == sum(step[name] for step in steps)
        assert getattr(total, attribute) == getattr(lives[-1], attribute) - getattr(lives[0], attribute)
    assert sum(delta.dt_s or 0 for delta in deltas) == pytest.approx(sum(step["seconds"] for step in steps))


@given(
    st.lists(st.tuples(*(st.integers(0, 2**62) | st.none() for _ in COUNTERS)), min_size=2, max_size=6),
    st.sampled_from([RUN_A, None]),
)
def test_counters_without_rhyme_or_reason_are_never_negative(
    rows: list[tuple[int | None, ...]], run_id: str | None
) -> None:
    readings = [
        Reading(busy(at).taken_at, float(at), run_id=run_id, **dict(zip(COUNTERS, row, strict=True)))
        for at, row in enumerate(rows)
    ]
    for prev, cur in itertools.pairwise(readings):
        assert all(value >= 0 for value in values(difference(prev, cur, 10)))
