"""What scenarios measure with: the arithmetic, and what happens when something goes wrong meanwhile."""

import os
import sys
import threading
import time
from dataclasses import replace

import psutil
import pytest

from dashboard.caching import Cache, Policy
from dashboard.demo.lab import catalogue, machine, measuring, warming
from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.measuring import Loads, Part, Read, Readers, Sampler, Visits
from dashboard.demo.lab.scenarios import campaign, purge, redis_down, stampede
from dashboard.demo.lab.types import Cancelled, Check, Result, Void
from dashboard.demo.load import Outcome, Page
from tests.support.polling import wait_until

PART = Part(0.2, 0.6, "Measuring")
PRODUCT = Page.PRODUCT


def bench(*, is_cancelled: bool = False) -> LabBench:
    return LabBench(quick=True, is_cancelled=lambda: is_cancelled)


# --- arithmetic -----------------------------------------------------------------------------------------------------


def test_a_part_knows_how_far_the_run_is() -> None:
    assert PART.at(0) == 0.2 and PART.at(0.5) == pytest.approx(0.4)
    assert PART.at(3) == pytest.approx(0.6) and PART.at(-1) == 0.2


def test_times_are_counted_in_steps_with_zeros() -> None:
    assert measuring.per_step([0.1, 0.9, 2.5, 7.0], 3) == [(0.0, 2.0), (1.0, 0.0), (2.0, 1.0)]
    found = measuring.per_step([0.0, 0.05, 0.25, 0.31], 0.3, 0.1)
    assert found == [(0.0, 2.0), (0.1, 0.0), (0.2, 1.0)]
    assert measuring.per_step([], 0.4) == [(0.0, 0.0)]


def test_values_are_put_together_by_second() -> None:
    points = measuring.by_second([(0.1, 1.0), (0.9, 3.0), (2.5, 5.0)], sum)
    assert points == [(0.0, 4.0), (2.0, 5.0)]
    assert measuring.peak(points) == 5.0 and measuring.peak(points, until_s=2) == 4.0
    assert measuring.peak([], 0) is None


def test_checks_fail_for_what_could_not_be_measured() -> None:
    assert measuring.at_most("it", 1.0, 1.0).passed and not measuring.at_most("it", 1.1, 1.0).passed
    assert measuring.at_least("it", 1.0, 1.0).passed and not measuring.at_least("it", 0.9, 1.0).passed
    assert not any(
        check(words, value, limit).passed
        for check in (measuring.at_most, measuring.at_least)
        for words, value, limit in (("a", None, 1.0), ("b", 1.0, None))
    )


def test_shares_and_durations_in_words() -> None:
    assert measuring.share(1, 4) == 0.25
    assert measuring.share(1, 0) is None and measuring.share(None, 1) is None
    words = {8.14: "8.1 s", 0.034: "34 ms", 0.0042: "4.2 ms", 0.99999: "1.0 s", 0.999: "999 ms"}
    assert {value: measuring.duration(value) for value in words} == words
    assert measuring.duration(None) == "an unknown time"


def test_visits_are_counted_where_they_belong() -> None:
    visits = Visits(
        5,
        [
            Outcome(0.5, PRODUCT, 0.1, True, reads=4, hits=4, loaded=0),
            Outcome(1.5, Page.HOME, 0.9, True, reads=4, hits=2, loaded=2, queries=3),
            # Came after the visitor had gone.
            Outcome(1.6, Page.HOME, 12.0, False, reads=4, hits=0, loaded=4, queries=5),
            Outcome(1.7, PRODUCT, 10.0, False),
        ],
        2.0,
    )
    assert (visits.answered, visits.failed, visits.served, visits.queries) == (2, 3, 3, 8)
    assert visits.hit_ratio == 0.5
    assert visits.within(1, 2).wanted == 3 and visits.within(1, 2).answered == 1
    # The second page was wanted in this time, but came later.
    assert visits.answered_within(0, 2) == 1 and visits.answered_within(2, 3) == 1
    assert visits.quantile(0.95) == 0.9
    assert visits.quantile(0.95, where=lambda each: each.page is PRODUCT) == 0.1
    assert visits.query_series() == [(second, {2: 3.0, 13: 5.0}.get(second, 0.0)) for second in range(14)]


def test_the_hit_ratio_of_no_cache_is_none_of_what_was_read() -> None:
    assert Visits(1, [Outcome(0, PRODUCT, 0.1, True, reads=4)], 1.0).hit_ratio == 0.0
    assert Visits(0, [], 1.0).hit_ratio is None


def test_the_campaigns_load_is_one_that_the_cached_shop_can_do() -> None:
    assert campaign.offer(40, 300) == campaign.Offer(40 * campaign.OVERLOAD)
    slow = campaign.offer(100, 200)
    assert slow.pages_per_s == pytest.approx(200 * campaign.COMFORT)
    assert "lowered from 175 to 120 pages/s" in slow.note and "100 without" in slow.note
    fast = campaign.offer(1_000, 5_000)
    assert fast.pages_per_s == campaign.MOST_PAGES_PER_S and "timed here" in fast.note


def test_readers_come_as_often_as_the_machine_can_bear() -> None:
    assert measuring.pace(1_000, 600, keys=10_000) == measuring.Pace(600)
    slow = measuring.pace(375, 600, keys=10_000)
    assert slow.per_s == pytest.approx(300) and slow.share == pytest.approx(0.5)
    assert "lowered from 600 to 300 reads/s, and the keys with it from 10,000 to 5,000" in slow.note
    assert "this machine can do 375." in slow.note
    assert "keys" not in measuring.pace(100, 400).note


def test_what_can_be_read_is_measured() -> None:
    done: list[int] = []

    def read(number: int) -> None:
        done.append(number)
        time.sleep(0.02)

    found = measuring.reads_per_s(bench(), read, PART, threads=2, seconds=0.3)
    assert sorted(done) == list(range(len(done)))
    # Each of two threads does fifty a second at most.
    assert 0 < found <= 110
    # One that takes longer than that is waited for.
    slow = measuring.reads_per_s(bench(), lambda number: time.sleep(0.3), PART, threads=1, seconds=0.01)
    assert 0 < slow < 100


def test_what_fails_can_not_be_measured() -> None:
    def read(number: int) -> None:
        if number:
            raise LookupError(number)

    with pytest.raises(LookupError):
        measuring.reads_per_s(bench(), read, PART, threads=2, seconds=0.3)


def test_how_long_a_reload_takes() -> None:
    points = [(0.0, 50.0), (1.0, 0.0), (2.0, 80.0), (3.0, 10.0), (4.0, 10.0)]
    assert purge.reload_s(points, 1.4) == 3
    assert purge.reload_s(points, 9) is None and purge.reload_s([], 0) is None


def test_when_the_database_has_recovered() -> None:
    away = [(float(second), 100.0) for second in range(10, 20)]
    # One busy second within quiet ones does not matter.
    falls = [
        (20.0, 150.0),
        (21.0, 120.0),
        (22.0, 40.0),
        (23.0, 20.0),
        (24.0, 60.0),
        (25.0, 20.0),
        (26.0, 9.0),
    ]
    assert redis_down.recovered_s([*away, *falls], 10, 20, 30) == 2
    assert redis_down.recovered_s(away, 10, 20, 30) == 0
    still = [(float(second), 80.0) for second in range(20, 30)]
    assert redis_down.recovered_s([*away, *still], 10, 20, 30) is None


# --- readers, loads, samples ----------------------------------------------------------------------------------------


def test_readers_come_at_random_and_the_same_each_time() -> None:
    times = measuring.arrivals(100, 20, seed=3)
    assert times == sorted(times) == measuring.arrivals(100, 20, seed=3)
    assert len(times) == pytest.approx(2_000, rel=0.15) and times[-1] < 20


def test_readers_count_from_when_they_came_and_note_errors() -> None:
    def read(number: int) -> None:
        time.sleep(0.05)
        if number == 2:
            raise LookupError(number)

    found = Readers([0.0, 0.0, 0.0], read, threads=1).run(bench(), 0.0, PART)
    assert [each.ok for each in found] == [True, True, False]
    assert found[1].took_s >= 0.1 and measuring.errors(found) == pytest.approx(1 / 3)
    assert measuring.p99(found) == found[1].took_s
    assert measuring.errors([]) == 0.0


def test_moments_happen_in_their_order_while_readers_read() -> None:
    happened: list[str] = []
    moments = ((0.05, lambda: happened.append("first")), (0.1, lambda: happened.append("second")))
    Readers([0.0, 0.1], lambda number: None, threads=1).run(bench(), 0.15, PART, moments)
    assert happened == ["first", "second"]


def test_a_cancelled_run_leaves_no_reader_behind() -> None:
    before = threading.active_count()
    with pytest.raises(Cancelled):
        Readers([0.0, 900.0], lambda number: None, threads=2).run(bench(is_cancelled=True), 900, PART)
    assert threading.active_count() == before


def test_loads_are_counted() -> None:
    together = threading.Barrier(2)

    def load(number: int) -> int:
        together.wait(30)
        if number == 2:
            raise LookupError
        return number

    loads = Loads(load)
    began = time.perf_counter()

    def fails() -> None:
        with pytest.raises(LookupError):
            loads(2)

    other = threading.Thread(target=fails)
    other.start()
    assert loads(1) == 1
    other.join()
    assert len(loads.since(began)) == 2 and loads.since(time.perf_counter()) == []
    assert loads.most_at_once == 2 and loads.mean_s > 0
    assert Loads(load).mean_s == 0


def test_growth_is_sampled_with_gaps_and_new_beginnings() -> None:
    values = iter((10.0, 30.0, None, 5.0, 6.0))
    done = threading.Event()

    def read() -> float:
        value = next(values, None)
        if value is None:
            if not list(values):
                done.set()
            raise ConnectionError
        return value

    sampler = Sampler(read, every_s=0.01)
    sampler._samples.extend([(1.0, 10.0), (2.0, 30.0), (4.0, 5.0), (5.0, 6.0)])
    assert sampler.rates(0.0) == [(2.0, 20.0), (4.0, 0.0), (5.0, 1.0)]
    assert sampler.rates(3.0) == [(2.0, 1.0)]
    with Sampler(read, every_s=0.01):
        # What could not be read is a gap, and it goes on.
        assert done.wait(30)


def test_other_programs_are_noted_when_they_use_much() -> None:
    timed = replace(stampede.SCENARIO, compares_times=True)
    held = machine.judged(timed, _checked(passed=True), 0.41)
    assert held.passed and held.notes[0].startswith("Other programs used 41% of")
    assert machine.judged(timed, _checked(passed=False), 0.06).notes == ()


def test_a_check_of_times_that_fails_on_a_busy_machine_says_nothing() -> None:
    timed, counted = (replace(stampede.SCENARIO, compares_times=each) for each in (True, False))
    with pytest.raises(Void, match=r"used 53% of .* can't be compared: 1 of 2 checks"):
        machine.judged(timed, _checked(passed=False), 0.53)
    # What was wrong is wrong on any machine, and a machine that was mostly ours is no excuse.
    assert not machine.judged(counted, _checked(passed=False), 0.53).passed
    assert not machine.judged(timed, _checked(passed=False), 0.24).passed
    assert not machine.judged(timed, _checked(passed=False), 0.53, quick=True).passed


def test_which_scenarios_compare_times() -> None:
    assert [each.name for each in catalogue.scenarios() if each.compares_times] == [
        "campaign",
        "stampede",
        "avalanche",
        "purge",
        "redis-down",
    ]


def _checked(*, passed: bool) -> Result:
    return Result("any", (), ("", ""), (Check("a", True, 1.0, 2.0), Check("b", passed, 1.0, 2.0)), "")


def test_processor_time_grows_with_what_is_done() -> None:
    me = psutil.Process()
    ours, busy = machine.processor_s(me), machine.busy_s()
    wait_until(
        lambda: sum(range(100_000)) and machine.processor_s(me) > ours, "this process has done something"
    )
    assert machine.busy_s() > busy


# --- the visitors' process ------------------------------------------------------------------------------------------


def test_visitors_who_find_nobody_have_failed_and_a_process_that_fails_is_said() -> None:
    nowhere = "http://127.0.0.1:9"
    with bench() as made:
        found = measuring.visit(made, nowhere, PART, pages_per_s=20, seconds=0.5, seed=1)
        assert found.wanted == found.failed > 0
        with pytest.raises(Void, match="this machine only"):
            measuring.visit(made, "http://192.0.2.1", PART, pages_per_s=20, seconds=0.5, seed=1)


@pytest.mark.skipif(sys.platform != "linux", reason="counts processes in /proc")
def test_a_cancelled_run_leaves_no_visitors_behind() -> None:
    def children() -> set[str]:
        with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children") as file:
            return set(file.read().split())

    before = children()
    with bench(is_cancelled=True) as made, pytest.raises(Cancelled):
        measuring.visit(made, "http://127.0.0.1:9", PART, pages_per_s=1, seconds=900, seed=1)
    wait_until(lambda: children() <= before, "the visitors are gone")


# --- keys -----------------------------------------------------------------------------------------------------------


def test_a_spread_ends_keys_over_its_window_and_lets_none_live_longer(quick_bench: LabBench) -> None:
    valkey, store = quick_bench.valkey(), quick_bench.store()
    client, keys = valkey.client(), warming.names(200)
    with Cache(valkey.url, default=Policy(b"", "hot", 1_000), follow=False) as cache:
        warming.warm(quick_bench, cache, store, 200, PART)
    assert all(900 < client.ttl(key) <= 1_000 for key in keys)
    client.pexpire(keys[0], 10_000)
    warming.spread(client, keys, 500)
    left = [client.pttl(key) / 1_000 for key in keys]
    assert left[0] <= 10 and all(0 < each <= 500 for each in left)
    # About a quarter of them in each quarter.
    assert all(30 <= sum(at < each <= at + 125 for each in left) <= 75 for at in (0, 125, 250, 375))


def test_a_prefix_is_removed_and_nothing_else(quick_bench: LabBench) -> None:
    client = quick_bench.valkey().client()
    client.mset({f"product:{number}": "1" for number in range(1_200)} | {"wallet:1": "1"})
    warming.remove(client, "product:")
    assert client.keys() == [b"wallet:1"]


def test_a_read_has_its_time() -> None:
    reads = [Read(0.5, 0.1, True), Read(1.5, 0.4, True), Read(1.6, 9.0, False)]
    assert warming.Measured(reads, [], []).p95_s == [(0.0, 0.1), (1.0, 9.0)]
