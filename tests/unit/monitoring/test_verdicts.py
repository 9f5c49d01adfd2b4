"""Verdicts: each check says what it found, with evidence and a next step, and says when it cannot know."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.monitoring.types import (
    COUNTERS,
    GAUGES,
    CommandStat,
    Facts,
    Incident,
    MissingFact,
    MonitorClient,
    Reading,
    Verdict,
    Window,
)
from dashboard.monitoring.verdicts import Away, away, evaluate, headline, standing, status_word
from tests.support.readings import START
from tests.support.shared import shared_data

MB = 1024**2
NOW = START + timedelta(hours=2)


def minutes_ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


HEALTHY_NODE = Reading(
    taken_at=minutes_ago(0.05),
    clock_s=0.0,
    version="7.4.1",
    vendor="redis",
    loading=False,
    keyspace_hits=10**6,
    keyspace_misses=10**5,
    errors_oom=0,
    keys_calls=0,
    rejected_connections=0,
    used_memory=200 * MB,
    used_memory_rss=220 * MB,
    maxmemory=512 * MB,
    maxmemory_policy="allkeys-lru",
    total_system_memory=2048 * MB,
    allocator_frag_ratio=1.08,
    allocator_frag_bytes=MB,
    mem_allocator="jemalloc-5.3.0",
    keys=10_000,
    expires=9_000,
    expired_stale_perc=0.3,
    connected_clients=40,
    maxclients=10_000,
    rdb_last_bgsave_status="ok",
    aof_enabled=False,
)
WINDOW = Window(
    start=minutes_ago(15),
    end=NOW,
    covered_s=900,
    hits=91_400,
    misses=8_600,
    evicted_keys=0,
    expired_keys=100,
    rejected_connections=0,
    errors_oom=0,
    keys_calls=0,
)
BEFORE = replace(
    WINDOW, start=minutes_ago(75), end=minutes_ago(15), covered_s=3600, hits=376_000, misses=24_000
)


def facts(node: dict[str, Any] | None = None, window: dict[str, Any] | None = None, **changes: Any) -> Facts:
    """A healthy cache but for the changes."""
    healthy = Facts(
        now=NOW,
        poll_interval_s=10,
        hit_ratio_target=0.8,
        last_poll_at=NOW - timedelta(seconds=4),
        nodes=(("cache-01:6379", replace(HEALTHY_NODE, **(node or {}))),),
        window=replace(WINDOW, **(window or {})),
        before=BEFORE,
        monitors=(),
    )
    return replace(healthy, **changes)


def find(known: Facts, code: str) -> Verdict:
    return {verdict.code: verdict for verdict in evaluate(known)}[code]


FULL = {"used_memory": 511 * MB}
EVICTING = {"evicted_keys": 41_400}


def test_a_healthy_cache_has_only_good_lines() -> None:
    verdicts = evaluate(facts())
    assert {verdict.kind for verdict in verdicts} == {"ok"}
    assert {verdict.code for verdict in verdicts} >= {
        "poll", "hit_ratio", "memory.no_limit", "memory.noeviction", "memory.pressure", "memory.fragmentation",
        "errors.oom", "clients.rejected", "clients.monitor", "commands.keys", "persistence", "keys.backlog",
    }  # fmt: skip
    assert find(facts(), "hit_ratio").title == "Hit ratio 91.4%, above its 80% target."
    assert find(facts(), "hit_ratio").evidence == "91.4% of 100,000 lookups in the last 15 m."
    assert headline(verdicts, facts()) == (
        "ok",
        "Healthy.",
        "The cache answered 91.4% of reads in the last 15 m, above its 80% target.",
    )
    assert status_word(verdicts, facts()) == ("ok", "Healthy")


# Hit ratio ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hits", "misses", "kind", "title"),
    [
        (800, 200, "ok", "Hit ratio 80%, at its 80% target."),
        (79_000, 21_000, "warn", "Hit ratio 79%, below its 80% target."),
        (79_999, 20_001, "warn", "Hit ratio just below its 80% target."),
        (59_000, 41_000, "crit", "Hit ratio 59%, below its 80% target."),
        (900, 99, "info", "Too few lookups to judge the hit ratio."),
        (700, 299, "warn", "Hit ratio 70.1%, below its 80% target."),
        (7, 3, "info", "Too few lookups to judge the hit ratio."),
        (0, 0, "info", "No traffic: no lookups in the last 15 m."),
    ],
)
def test_the_hit_ratio_is_judged_by_its_target_and_its_volume(
    hits: int, misses: int, kind: str, title: str
) -> None:
    verdict = find(facts(window={"hits": hits, "misses": misses}), "hit_ratio")
    assert (verdict.kind, verdict.title) == (kind, title)


def test_a_low_ratio_shows_its_volume_what_was_before_and_what_to_do() -> None:
    verdict = find(facts(window={"hits": 70_000, "misses": 30_000}), "hit_ratio")
    assert verdict.evidence == "30,000 of 100,000 lookups missed in the last 15 m. In the hour before: 94%."
    assert verdict.next_step == "Look for keys that are read once, or read before anything stores them."
    expiring = find(facts(window={"hits": 70_000, "misses": 30_000, "expired_keys": 15_000}), "hit_ratio")
    assert expiring.next_step.startswith("Lengthen the TTL")
    evicting = find(facts(FULL, {"hits": 70_000, "misses": 30_000, **EVICTING}), "hit_ratio")
    assert evicting.next_step.startswith("Raise maxmemory")


def test_a_window_with_holes_is_not_judged() -> None:
    verdict = find(facts(window={"hits": 50_000, "misses": 50_000, "covered_s": 500}), "hit_ratio")
    assert (verdict.kind, verdict.title) == (
        "unknown",
        "Not evaluable: only 55.6% of the last 15 m was measured.",
    )
    assert (
        find(facts(window={"hits": 50_000, "misses": 50_000, "covered_s": 541}), "hit_ratio").kind == "crit"
    )


def test_the_first_seconds_are_measured_and_not_judged() -> None:
    low = {"hits": 27_000, "misses": 73_000, "start": minutes_ago(1.6), "covered_s": 96.0}
    young = facts(window=low)
    verdict = find(young, "hit_ratio")
    assert (verdict.kind, verdict.title) == ("unknown", "The hit ratio is being measured.")
    assert verdict.evidence == "So far 27% of 100,000 lookups in the last 1 m 36 s. It is judged from 2 m on."
    assert status_word(evaluate(young), young) == ("unknown", "Measuring")


def test_a_server_that_just_started_warms_up_though_nobody_saw_it_start() -> None:
    started = facts({"uptime_in_seconds": 300}, {"hits": 50_000, "misses": 50_000})
    assert find(started, "hit_ratio").title == "Warming up since the start at 13:54."
    old = facts({"uptime_in_seconds": 900}, {"hits": 50_000, "misses": 50_000})
    assert find(old, "hit_ratio").kind == "crit"


def test_a_dip_of_the_last_minutes_is_not_hidden_by_those_before() -> None:
    dip = replace(WINDOW, start=minutes_ago(5), covered_s=300, hits=19_500, misses=10_500)
    dipping = facts(window={"hits": 84_000, "misses": 16_000}, latest=dip)
    verdict = find(dipping, "hit_ratio")
    assert (verdict.kind, verdict.title) == ("warn", "Hit ratio 65%, below its 80% target.")
    assert verdict.evidence == (
        "10,500 of 30,000 lookups missed in the last 5 m. In the last 15 m together: 84%."
    )
    assert headline(evaluate(dipping), dipping)[2].startswith(
        "The cache answered 65% of reads in the last 5 m, below its 80% target"
    )
    slight = replace(dip, hits=23_000, misses=7_000)
    assert find(facts(window={"hits": 84_000, "misses": 16_000}, latest=slight), "hit_ratio").kind == "ok"


@pytest.mark.parametrize(("event", "word"), [("restarted_at", "restart"), ("flushed_at", "flush")])
def test_a_cache_that_warms_up_is_not_judged_and_says_so(event: str, word: str) -> None:
    low = {"hits": 50_000, "misses": 50_000}
    warming = facts(window=low, **{event: minutes_ago(10)})
    verdict = find(warming, "hit_ratio")
    assert verdict.kind == "info"
    assert verdict.title == f"Warming up since the {word} at 13:50."
    assert (
        verdict.evidence == "Hit ratio 50% of 100,000 lookups in the last 15 m. It is judged from 14:05 on."
    )
    assert status_word(evaluate(warming), warming) == ("ok", "Warming up")
    assert headline(evaluate(warming), warming)[:2] == ("ok", "Warming up.")
    assert find(facts(window=low, **{event: minutes_ago(15)}), "hit_ratio").kind == "crit"
    ahead_of_us = facts(window=low, **{event: minutes_ago(-0.05)})
    assert find(ahead_of_us, "hit_ratio").kind == "info"


def test_a_server_that_does_not_count_lookups_is_not_blamed() -> None:
    silent = facts({"keyspace_hits": None}, {"hits": None, "misses": None})
    verdict = find(silent, "hit_ratio")
    assert (verdict.kind, verdict.title) == (
        "unknown",
        "Not evaluable: this server does not count hits and misses.",
    )
    assert status_word(evaluate(silent), silent) == ("ok", "Ratio not reported")


def test_before_the_second_poll_the_ratio_is_not_known_yet() -> None:
    young = facts(window=None, before=None)
    young = replace(young, window=None)
    assert find(young, "hit_ratio").title == "Hit ratio is not known yet."
    assert status_word(evaluate(young), young) == ("unknown", "Measuring")


# Memory -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lookups", "now", "is_said"),
    [(270_000, 2.4, True), (270_000, 16.0, False), (270_000, None, False), (9_000, 0.0, False)],
)
def test_a_cache_that_is_hardly_read_any_more_says_so(lookups: int, now: float | None, is_said: bool) -> None:
    """Switched off by its applications, it has the hit ratio of before."""
    known = facts({}, {"hits": lookups * 9 // 10, "misses": lookups // 10}, reads_per_s=now)
    found = [each for each in evaluate(known) if each.code == "reads"]
    assert [(each.kind, each.title) for each in found] == (
        [("info", "Hardly anybody reads it now: 2.4 reads/s.")] if is_said else []
    )
    assert not is_said or "300/s on average in the last 15 m" in found[0].evidence


def test_a_full_cache_that_evicts_at_its_target_is_no_problem() -> None:
    full = facts(FULL, EVICTING)
    verdict = find(full, "memory.pressure")
    assert verdict.kind == "info"
    assert verdict.title == "Memory is full and evicting 46 keys/s, as it should under allkeys-lru."
    assert verdict.evidence == "511 of 512 MB, allkeys-lru."
    assert {each.kind for each in evaluate(full)} == {"ok", "info"}
    assert status_word(evaluate(full), full) == ("ok", "Healthy")
    assert headline(evaluate(full), full)[1] == "Healthy."


@pytest.mark.parametrize(("window", "kind"), [({}, "info"), ({"hits": 70_000, "misses": 30_000}, "warn")])
def test_evictions_are_told_as_fast_as_they_are_now(window: dict[str, Any], kind: str) -> None:
    begun = facts(FULL, {"evicted_keys": 1_350, **window}, evicted_per_s=40.1)
    verdict = find(begun, "memory.pressure")
    assert verdict.kind == kind
    assert verdict.title.startswith("Memory is full and evicting 40.1 keys/s, ")
    rests = facts(FULL, {"evicted_keys": 1_350, **window}, evicted_per_s=0.0)
    assert find(rests, "memory.pressure").title.startswith(
        "Memory is full and evicted 1,350 keys in the last 15 m, "
    )


def test_full_evicting_and_below_target_names_the_cause() -> None:
    full = facts(FULL, {**EVICTING, "hits": 70_000, "misses": 30_000})
    verdicts = evaluate(full)
    assert [verdict.code for verdict in verdicts[:2]] == ["memory.pressure", "hit_ratio"]
    assert (
        verdicts[0].title == "Memory is full and evicting 46 keys/s, and the hit ratio is below its target."
    )
    assert status_word(verdicts, full) == ("warn", "Full, evicting")
    assert headline(verdicts, full) == (
        "warn",
        "Worth a look.",
        "The cache answered 70% of reads in the last 15 m, below its 80% target, because memory is full and evicting.",
    )
    deep = facts(FULL, {**EVICTING, "hits": 50_000, "misses": 50_000})
    assert status_word(evaluate(deep), deep) == ("crit", "Full, evicting")


def test_evictions_that_rise_while_the_ratio_falls_are_a_warning_above_the_target_too() -> None:
    falling = facts(FULL, {**EVICTING, "hits": 86_000, "misses": 14_000})
    verdict = find(falling, "memory.pressure")
    assert (verdict.kind, verdict.title) == (
        "warn",
        "Memory is full and evicting 46 keys/s, and the hit ratio falls.",
    )
    assert "from 0 to 46 keys/s while the hit ratio fell from 94% to 86%" in verdict.evidence
    assert headline(evaluate(falling), falling)[2] == (
        "The cache answered 86% of reads in the last 15 m, above its 80% target, but memory is full and evicting."
    )


@pytest.mark.parametrize(
    ("node", "window", "changes"),
    [
        pytest.param(
            FULL, {**EVICTING, "hits": 90_000, "misses": 10_000}, {}, id="the fall is within the noise"
        ),
        pytest.param({}, {**EVICTING, "hits": 86_000, "misses": 14_000}, {}, id="memory is not full"),
        pytest.param(FULL, {"hits": 86_000, "misses": 14_000}, {}, id="nothing is evicted"),
        pytest.param(
            FULL,
            {**EVICTING, "hits": 86_000, "misses": 14_000},
            {"before": replace(BEFORE, evicted_keys=180_000)},
            id="evictions do not rise",
        ),
        pytest.param(
            FULL,
            {**EVICTING, "hits": 86_000, "misses": 14_000},
            {"before": replace(BEFORE, hits=94, misses=6)},
            id="there was too little traffic to compare with",
        ),
        pytest.param(
            FULL,
            {**EVICTING, "hits": 50_000, "misses": 50_000},
            {"flushed_at": minutes_ago(3)},
            id="it warms up",
        ),
    ],
)
def test_each_part_of_memory_pressure_is_needed(
    node: dict[str, Any], window: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert find(facts(node, window, **changes), "memory.pressure").kind in ("ok", "info")


def test_memory_that_does_not_count_for_evictions_is_left_out() -> None:
    node = {**FULL, "mem_not_counted_for_evict": 100 * MB}
    assert find(facts(node), "memory.pressure").title == "Memory is 80.3% full."


def test_no_limit() -> None:
    verdict = find(facts({"maxmemory": 0}), "memory.no_limit")
    assert (verdict.kind, verdict.title) == ("warn", "No memory limit: maxmemory is 0.")
    assert verdict.evidence == "Used: 200 MB of 2 GB of the host."
    assert verdict.next_step.startswith("Set maxmemory")
    pressing = {"maxmemory": 0, "used_memory_rss": 1700 * MB}
    assert find(facts(pressing), "memory.no_limit").kind == "crit"
    unknown = find(facts({"maxmemory": None}), "memory.no_limit")
    assert (unknown.kind, unknown.title) == (
        "unknown",
        "Not evaluable: this server does not report maxmemory.",
    )


def test_noeviction_on_a_cache() -> None:
    verdict = find(facts({"maxmemory_policy": "noeviction"}), "memory.noeviction")
    assert (verdict.kind, verdict.title) == ("warn", "Policy noeviction: a full cache refuses writes.")
    assert find(facts({"maxmemory_policy": "noeviction", **FULL}), "memory.noeviction").kind == "crit"
    refused = facts({"maxmemory_policy": "noeviction"}, {"errors_oom": 5})
    assert find(refused, "memory.noeviction").kind == "crit"
    # Without a limit it never acts: the missing limit is the one line to show.
    default = evaluate(facts({"maxmemory_policy": "noeviction", "maxmemory": 0}))
    assert "memory.noeviction" not in {each.code for each in default}
    assert default[0].code == "memory.no_limit"
    assert find(facts({"maxmemory_policy": None}), "memory.noeviction").kind == "unknown"


def test_a_volatile_policy_without_volatile_keys() -> None:
    few = {"maxmemory_policy": "volatile-lru", "keys": 25_625, "expires": 15}
    verdict = find(facts(few), "memory.volatile")
    assert (verdict.kind, verdict.title) == ("warn", "Policy volatile-lru finds hardly any key to evict.")
    assert verdict.evidence == "15 of 25,625 keys have a TTL; when they are gone, writes are refused."
    assert find(facts({**few, **FULL}), "memory.volatile").kind == "crit"
    assert find(facts({**few, "expires": 9_000}), "memory.volatile").kind == "ok"
    assert find(facts({**few, "keys": 99, "expires": 0}), "memory.volatile").kind == "ok"


def test_writes_refused_for_lack_of_memory() -> None:
    refused = facts({"maxmemory_policy": "noeviction", **FULL}, {"errors_oom": 260_721})
    verdicts = evaluate(refused)
    assert (verdicts[0].kind, verdicts[0].code) == ("crit", "errors.oom")
    assert verdicts[0].title == "260,721 writes were refused for lack of memory in the last 15 m."
    assert status_word(verdicts, refused) == ("crit", "Writes refused")
    assert headline(verdicts, refused)[1:] == (
        "Needs attention.",
        (
            "The cache answered 91.4% of reads in the last 15 m, above its 80% target, "
            "but writes are refused for lack of memory and its "
            "policy refuses writes instead of evicting."
        ),
    )
    old = find(facts({"errors_oom": None}, {"errors_oom": None}), "errors.oom")
    assert old.title == "Not evaluable: this server does not count writes refused for lack of memory."


FRAGMENTED = {
    "allocator_frag_ratio": 1.6,
    "allocator_frag_bytes": 300 * MB,
    "used_memory": 600 * MB,
    "maxmemory": 1024 * MB,
}


def test_fragmentation_needs_a_ratio_bytes_and_a_size() -> None:
    verdict = find(facts(FRAGMENTED), "memory.fragmentation")
    assert (verdict.kind, verdict.title) == ("warn", "Memory is fragmented.")
    assert (verdict.evidence, verdict.next_step) == (
        "300 MB lost, ratio 1.60.",
        "Turn activedefrag on, or restart the node when its load is low.",
    )
    for harmless in (
        {"allocator_frag_ratio": 1.5},
        {"allocator_frag_bytes": 256 * MB},
        {"used_memory": 512 * MB},
    ):
        assert find(facts({**FRAGMENTED, **harmless}), "memory.fragmentation").kind == "ok"
    assert (
        "jemalloc" in find(facts({**FRAGMENTED, "mem_allocator": "libc"}), "memory.fragmentation").next_step
    )
    running = find(facts({**FRAGMENTED, "active_defrag_running": True}), "memory.fragmentation")
    assert running.next_step == "Active defragmentation is running; wait."
    assert find(facts({"allocator_frag_ratio": None}), "memory.fragmentation").kind == "unknown"


# Clients and commands -----------------------------------------------------------------------------------------


def test_a_client_that_runs_monitor() -> None:
    client = MonitorClient("10.0.0.7:51234", "debug-shell", age_s=600)
    verdict = find(facts(monitors=(client,)), "clients.monitor")
    assert (verdict.kind, verdict.title) == ("warn", "1 client runs MONITOR.")
    assert verdict.evidence.startswith("10.0.0.7:51234 (debug-shell), connected for 10 m.")
    two = find(facts(monitors=(client, MonitorClient("10.0.0.8:1"))), "clients.monitor")
    assert two.title == "2 clients run MONITOR."
    assert "10.0.0.8:1 (no name)" in two.evidence


def test_the_monitor_client_of_a_real_client_list() -> None:
    folder = shared_data()
    if folder is None:
        pytest.skip("the shared data is absent (CACHEWARDEN_SHARED_DATA)")
    listed = json.loads((folder / "info/captured/redis-7.4.1.json").read_text())["client_list"]
    clients = [
        dict(part.partition("=")[::2] for part in line.split()) for line in listed.splitlines() if line
    ]
    monitors = tuple(MonitorClient(each["addr"], each["name"]) for each in clients if "O" in each["flags"])
    assert "127.0.0.1:45764 (someone)" in find(facts(monitors=monitors), "clients.monitor").evidence


def test_a_forbidden_client_list_is_neither_good_nor_bad() -> None:
    missing = (
        MissingFact("CLIENT LIST", "forbidden", "+client|list"),
        MissingFact("SLOWLOG GET", "not known to this server"),
    )
    blind = facts(monitors=None, missing=missing)
    verdict = find(blind, "clients.monitor")
    assert (verdict.kind, verdict.title) == ("unknown", "Not evaluable: CLIENT LIST is forbidden.")
    assert verdict.next_step == "Grant it with the ACL rule +client|list."
    slow_log = find(blind, "access.slowlog_get")
    assert (slow_log.title, slow_log.next_step) == (
        "Not evaluable: SLOWLOG GET is not known to this server.",
        "",
    )
    assert status_word(evaluate(blind), blind) == ("ok", "Healthy")
    assert (
        find(facts(monitors=None), "clients.monitor").title == "Not evaluable: CLIENT LIST was not asked yet."
    )


def test_keys_in_use() -> None:
    node = {"keys_calls": 33, "commands": {"keys": CommandStat(33, 33 * 129_000)}}
    used = find(facts(node, {"keys_calls": 5}, keys_last_at=minutes_ago(4)), "commands.keys")
    assert (used.kind, used.title) == ("warn", "KEYS was called 5 times in the last 15 m.")
    assert used.evidence == "A call blocks the server for 129 ms; last seen 13:56."
    assert "SCAN" in used.next_step
    lately = find(facts(node, keys_last_at=minutes_ago(50)), "commands.keys")
    assert (lately.kind, lately.title) == ("info", "KEYS was called at 13:10.")
    once = find(facts(node, keys_last_at=minutes_ago(90)), "commands.keys")
    assert (once.kind, once.title) == ("info", "KEYS was not called in the last 15 m.")
    assert once.evidence == "33 calls since the server's counters started."
    assert find(facts({"keys_calls": None}), "commands.keys").kind == "unknown"


def test_one_call_of_keys_was_once() -> None:
    called = {"incidents": {"keys_calls": Incident(minutes_ago(4.1), minutes_ago(4))}}
    once = facts({"keys_calls": 1}, {"keys_calls": 1}, keys_last_at=minutes_ago(4), **called)
    assert find(once, "commands.keys").title == "KEYS was called once in the last 15 m."
    assert status_word(evaluate(once), once) == ("warn", "KEYS was called")
    assert headline(evaluate(once), once)[2].endswith("but KEYS was called (last at 13:56).")


def test_what_is_over_is_told_in_the_past_and_weighs_less() -> None:
    def refused(seconds_ago: float, **node: Any) -> Facts:
        at = NOW - timedelta(seconds=seconds_ago)
        incident = Incident(at - timedelta(seconds=10), at)
        limited = {"maxmemory_policy": "noeviction", "used_memory": 300 * MB, **node}
        return facts(
            limited,
            {"errors_oom": 12},
            incidents={"errors_oom": incident},
            since={"errors.oom": incident.first_at},
        )

    now, lately, over = refused(4), refused(14), refused(300)
    assert find(now, "errors.oom").since is not None and "last" not in find(now, "errors.oom").evidence
    assert "writes are refused for lack of memory" in headline(evaluate(now), now)[2]
    assert find(lately, "errors.oom").kind == "crit"
    verdict = find(over, "errors.oom")
    assert (verdict.kind, verdict.since) == ("warn", None)
    assert verdict.evidence == ("The last was counted at 13:55:00. Now: 300 of 512 MB, noeviction.")
    assert find(over, "memory.noeviction").kind == "warn"
    alone = replace(over, nodes=(("n", replace(HEALTHY_NODE)),))
    assert status_word(evaluate(alone), alone) == ("warn", "Writes were refused")
    assert "writes were refused for lack of memory (last at 13:55)" in headline(evaluate(over), over)[2]

    assert "allkeys-lru" in verdict.next_step
    evicting = find(refused(300, maxmemory_policy="allkeys-lru"), "errors.oom").next_step
    assert evicting.startswith("Raise maxmemory") and "allkeys-lru" not in evicting
    assert "TTL" in find(refused(300, maxmemory_policy="volatile-lru"), "errors.oom").next_step
    unlimited = refused(300, maxmemory=0)
    assert "Raise" not in find(unlimited, "errors.oom").next_step
    # What is wrong now comes first.
    assert status_word(evaluate(unlimited), unlimited) == ("warn", "No memory limit")


def test_a_condition_began_with_its_first_interval_and_survives_what_is_not_known() -> None:
    incident = Incident(minutes_ago(10.1), minutes_ago(9))
    refused = facts({}, {"errors_oom": 12}, incidents={"errors_oom": incident})
    assert standing(evaluate(refused), refused) == {"errors.oom": incident.first_at}
    stood = replace(refused, since={"errors.oom": minutes_ago(60), "clients.monitor": minutes_ago(50)})
    assert standing(evaluate(stood), stood) == {"errors.oom": minutes_ago(60)}
    low = {"hits": 10, "misses": 90, "covered_s": 50.0}
    measuring = facts({}, low, since={"hit_ratio": minutes_ago(20)})
    assert standing(evaluate(measuring), measuring) == {"hit_ratio": minutes_ago(20)}
    bad = facts(window={"hits": 50_000, "misses": 50_000})
    assert standing(evaluate(bad), bad) == {"hit_ratio": bad.last_poll_at}


def test_rejected_connections() -> None:
    verdict = find(facts({"connected_clients": 10_000}, {"rejected_connections": 1}), "clients.rejected")
    assert (verdict.kind, verdict.title) == ("crit", "1 connection was rejected in the last 15 m.")
    assert verdict.evidence == "Now connected: 10,000 of 10,000 clients."
    unknown = find(facts({"rejected_connections": None}, {"rejected_connections": None}), "clients.rejected")
    assert unknown.kind == "unknown"


def test_expired_keys_that_pile_up() -> None:
    verdict = find(facts({"expired_stale_perc": 31.0}), "keys.backlog")
    assert (verdict.kind, verdict.title) == ("warn", "Expired keys pile up.")
    assert verdict.evidence == "31% of the keys with a TTL have expired and still take memory."
    assert find(facts({"expired_stale_perc": 10.0}), "keys.backlog").kind == "ok"
    assert find(facts({"expired_stale_perc": None}), "keys.backlog").kind == "unknown"


# Persistence --------------------------------------------------------------------------------------------------


def test_persistence_is_judged_only_where_it_is_on() -> None:
    failed = {"rdb_last_bgsave_status": "err"}
    verdict = find(facts(failed), "persistence")
    assert (verdict.kind, verdict.title) == ("crit", "Saving to disk fails.")
    assert verdict.evidence == "The last snapshot failed."
    assert find(facts(failed, save_config=""), "persistence").kind == "ok"
    assert find(facts(failed, save_config="3600 1"), "persistence").kind == "crit"
    append_only = {"aof_last_write_status": "err"}
    assert find(facts(append_only), "persistence").kind == "ok"
    assert find(facts({**append_only, "aof_enabled": True}), "persistence").kind == "crit"
    assert find(facts({"rdb_last_bgsave_status": None}), "persistence").kind == "unknown"


# Polls --------------------------------------------------------------------------------------------------------


def test_a_cache_that_does_not_answer_has_one_line() -> None:
    away = facts(
        FULL,
        {"hits": 0, "misses": 10**6},
        last_poll_at=minutes_ago(17),
        last_attempt_at=minutes_ago(0.1),
        failures=34,
        last_error="connection refused",
    )
    verdicts = evaluate(away)
    assert [(verdict.kind, verdict.code) for verdict in verdicts] == [("crit", "poll")]
    assert verdicts[0].title == "No answer since 13:43."
    assert verdicts[0].evidence == "Connection refused. What is shown is 17 m old."
    assert status_word(verdicts, away) == ("crit", "No answer since 13:43")
    assert headline(verdicts, away) == ("crit", "No answer since 13:43.", verdicts[0].evidence)


def test_a_cache_that_nobody_polls_points_at_the_worker() -> None:
    for failing in ({}, {"failures": 7, "last_error": "refused", "last_attempt_at": minutes_ago(16)}):
        unpolled = facts(last_poll_at=minutes_ago(17), **failing)
        found = evaluate(unpolled)
        since = "13:44" if failing else "13:43"
        assert [(verdict.kind, verdict.title) for verdict in found] == [
            ("crit", f"Not polled since {since}.")
        ]
        assert "worker" in found[0].next_step and away(unpolled) is Away.UNPOLLED


def test_two_failed_polls_are_an_outage_whatever_the_interval() -> None:
    last = {"last_poll_at": NOW - timedelta(seconds=12), "last_attempt_at": NOW, "last_error": "refused"}
    once, twice = facts(failures=1, **last), facts(failures=2, **last)
    assert away(once) is None and status_word(evaluate(once), once) == ("ok", "Healthy")
    assert away(twice) is Away.SILENT
    assert status_word(evaluate(twice), twice) == ("crit", "No answer since 13:59")


@pytest.mark.parametrize(
    ("silence_s", "interval_s", "kind"),
    [(45, 10, "ok"), (46, 10, "crit"), (180, 60, "ok"), (181, 60, "crit")],
)
def test_the_last_poll_may_be_three_intervals_old(silence_s: int, interval_s: int, kind: str) -> None:
    known = facts(last_poll_at=NOW - timedelta(seconds=silence_s), poll_interval_s=interval_s)
    assert find(known, "poll").kind == kind


def test_before_the_first_poll() -> None:
    unpolled = facts(last_poll_at=None, nodes=(), window=None, before=None)
    assert status_word(evaluate(unpolled), unpolled) == ("unknown", "Not polled yet")
    assert headline(evaluate(unpolled), unpolled)[:2] == ("unknown", "Not polled yet.")
    refused = facts(
        last_poll_at=None, nodes=(), failures=1, last_attempt_at=NOW, last_error="connection refused"
    )
    assert status_word(evaluate(refused), refused) == ("crit", "No answer yet")


def test_a_failed_poll_alone_is_only_mentioned() -> None:
    assert find(facts(last_error="time-out after 2 s"), "poll").kind == "info"


def test_a_server_that_loads() -> None:
    loading = facts({"loading": True})
    assert status_word(evaluate(loading), loading) == ("warn", "Loading")


# All of them --------------------------------------------------------------------------------------------------


def test_several_nodes_are_named() -> None:
    sick = replace(HEALTHY_NODE, maxmemory=0)
    three = facts(nodes=(("n1:7000", HEALTHY_NODE), ("n2:7000", sick), ("n3:7000", HEALTHY_NODE)))
    verdict = find(three, "memory.no_limit")
    assert verdict.title == "No memory limit: maxmemory is 0 on n2:7000."
    assert "at n2:7000" in verdict.evidence
    two = facts(nodes=(("n1:7000", sick), ("n2:7000", sick), ("n3:7000", HEALTHY_NODE)))
    assert find(two, "memory.no_limit").title == "No memory limit: maxmemory is 0 on 2 of 3 nodes."


def test_worst_first_and_since_when() -> None:
    since = {"clients.monitor": minutes_ago(22), "memory.no_limit": minutes_ago(5)}
    bad = facts(
        {"expired_stale_perc": None},
        {"rejected_connections": 3},
        monitors=(MonitorClient("a:1"),),
        since=since,
    )
    verdicts = evaluate(bad)
    assert [verdict.code for verdict in verdicts[:3]] == [
        "clients.rejected",
        "clients.monitor",
        "keys.backlog",
    ]
    assert find(bad, "clients.monitor").since == minutes_ago(22)
    assert find(bad, "memory.no_limit").since is None


def test_many_problems_are_counted_in_the_first_sentence() -> None:
    bad = facts(
        {"maxmemory": 0, "expired_stale_perc": 50.0},
        {"rejected_connections": 3, "keys_calls": 2},
        monitors=(MonitorClient("a:1"),),
    )
    assert headline(evaluate(bad), bad)[2] == (
        "The cache answered 91.4% of reads in the last 15 m, above its 80% target, "
        "but connections are rejected, it has no memory limit "
        "and 3 more checks need a look."
    )


def test_below_target_with_another_problem() -> None:
    bad = facts({"maxmemory": 0}, {"hits": 70_000, "misses": 30_000, "expired_keys": 20_000})
    assert headline(evaluate(bad), bad)[2] == (
        "The cache answered 70% of reads in the last 15 m, below its 80% target, "
        "because keys expire before they are read again. "
        "Also, it has no memory limit."
    )
    # Without a ratio to speak of, the problems stand alone.
    quiet = facts({"maxmemory": 0}, {"hits": 0, "misses": 0})
    assert headline(evaluate(quiet), quiet) == ("warn", "Worth a look.", "It has no memory limit.")


NUMBER = st.none() | st.integers(0, 2**40)


@given(
    node=st.fixed_dictionaries(dict.fromkeys((*COUNTERS, *GAUGES), NUMBER)),
    policy=st.sampled_from([None, "noeviction", "allkeys-lru", "volatile-ttl"]),
    window=st.none()
    | st.fixed_dictionaries(
        dict.fromkeys(("hits", "misses", "evicted_keys", "expired_keys", "errors_oom", "keys_calls"), NUMBER)
        | {"rejected_connections": NUMBER, "covered_s": st.floats(0, 1000)}
    ),
    ages=st.tuples(*(st.none() | st.integers(-100, 10_000) for _ in range(4))),
    copies=st.integers(0, 3),
    error=st.sampled_from([None, "", "refused"]),
)
def test_whatever_is_known_or_not_the_lines_are_whole(
    node: dict[str, Any], policy: str | None, window: dict[str, Any] | None,
    ages: tuple[int | None, ...], copies: int, error: str | None,
) -> None:  # fmt: skip
    last_poll, restarted, flushed, keys_last = (
        None if s is None else NOW - timedelta(seconds=s) for s in ages
    )
    reading = Reading(NOW, 0.0, maxmemory_policy=policy, **node)
    known = Facts(
        now=NOW,
        poll_interval_s=10,
        hit_ratio_target=0.8,
        last_poll_at=last_poll,
        last_error=error,
        nodes=tuple((f"n{n}:1", reading) for n in range(copies)),
        window=None if window is None else Window(minutes_ago(15), NOW, **window),
        before=BEFORE,
        restarted_at=restarted,
        flushed_at=flushed,
        keys_last_at=keys_last,
    )
    verdicts = evaluate(known)
    assert verdicts
    assert len({verdict.code for verdict in verdicts}) == len(verdicts)
    order = ["crit", "warn", "unknown", "info", "ok"]
    assert [order.index(verdict.kind) for verdict in verdicts] == sorted(
        order.index(v.kind) for v in verdicts
    )
    kind, bold, sentence = headline(verdicts, known)
    assert kind in ("ok", "warn", "crit", "unknown")
    assert status_word(verdicts, known)[0] == kind
    for line in [bold, sentence, *(text for v in verdicts for text in (v.title, v.evidence, v.next_step))]:
        assert line == line.strip() and "None" not in line and ".." not in line and "  " not in line
        assert not line or (line.endswith(".") and not re.match("[a-z]", line))
    for verdict in verdicts:
        assert verdict.title
        assert verdict.next_step or verdict.kind not in ("crit", "warn")
