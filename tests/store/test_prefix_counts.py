"""What applications counted: per prefix over a span, as reads avoided, and around a version."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from sqlalchemy import event

from dashboard.caching.wire import OTHER, Instance
from dashboard.errors import NotFound
from dashboard.policies import counted, instances, service, store
from dashboard.work import Runtime, UnitOfWork
from tests.conftest import FixedClock
from tests.support.policies import acting, publish, stage
from tests.support.polled import pass_time
from tests.support.some_caches import add_cache

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def cache_id(runtime: Runtime) -> int:
    return add_cache(runtime).id


def add(
    runtime: Runtime,
    cache_id: int,
    at: datetime,
    growth: Mapping[str, Mapping[str, int]],
    *,
    read_at: datetime | None = None,
) -> None:
    """What the worker stores when the counters have grown."""
    with runtime.database.transaction() as session:
        store.ensure_partitions(session, at)
        store.add_growth(session, cache_id, growth, at)
        store.put_counts(session, cache_id, {"hits:product:": 1}, read_at or at)


def table(runtime: Runtime, cache_id: int, back: timedelta = HOUR, end: datetime | None = None):  # type: ignore[no-untyped-def]
    with acting(runtime) as work:
        end = end or work.now
        return service.prefix_table(work, cache_id, end - back, end)


def test_sums_a_span_and_draws_it(runtime: Runtime, cache_id: int) -> None:
    for minute in range(90, 0, -1):
        add(
            runtime,
            cache_id,
            NOW - minute * MINUTE,
            {"product:": {"hits": minute, "misses": 10, "loads": 10}},
        )
    found = table(runtime, cache_id)
    (product,) = found.rows
    assert product.use.counts["hits"] == sum(range(1, 61)) and product.use.counts["misses"] == 600
    assert found.window_s == 3600 and found.ever_counted
    line = product.use.hit_ratio_line
    assert len(line) == 30 and None not in line
    assert line[0] == pytest.approx((60 + 59) / (60 + 59 + 20))


def test_rates_are_of_the_time_that_was_counted(runtime: Runtime, cache_id: int) -> None:
    add(runtime, cache_id, NOW - 10 * MINUTE, {"product:": {"hits": 600}})
    found = table(runtime, cache_id)
    assert found.window_s == 600
    assert found.rows[0].use.hit_ratio_line[:25] == (None,) * 25
    # Hours have no minutes in them, but the first minute is still known.
    assert table(runtime, cache_id, timedelta(days=1)).window_s == 600


def test_the_rate_of_a_new_prefix_is_of_the_time_since_its_policy(runtime: Runtime, cache_id: int) -> None:
    stage(runtime, cache_id, "old:")
    publish(runtime, cache_id)
    pass_time(runtime, 3600)
    start = cast(FixedClock, runtime.clock).wall
    add(runtime, cache_id, start - 40 * MINUTE, {"old:": {"hits": 600}, "": {"hits": 1}})
    pass_time(runtime, 40)
    stage(runtime, cache_id, "news:")
    publish(runtime, cache_id)
    pass_time(runtime, 50)
    add(runtime, cache_id, start + MINUTE, {"news:": {"misses": 500}})
    found = table(runtime, cache_id)
    by_name = {row.use.prefix: row for row in found.rows}
    assert (by_name["news:"].use.window_s, by_name["news:"].is_new) == (50, True)
    assert (by_name["old:"].use.window_s, by_name["old:"].is_new) == (2490, False)
    assert found.window_s == found.default.use.window_s == 2490 and not found.default.is_new
    pass_time(runtime, 900)
    assert not {row.use.prefix: row.is_new for row in table(runtime, cache_id).rows}["news:"]


def hear(runtime: Runtime, cache_id: int, name: str) -> None:
    """An application is heard of for the first time, now."""
    now = runtime.clock.now()
    instance = Instance(name, "web-1", 7, "gunicorn", "0.1.0", now.timestamp(), now.timestamp())
    with runtime.database.transaction() as session:
        found = instances.parse({name.encode(): instance.to_json()})
        store.put_instances(session, cache_id, found, now, keep_s=60)


def test_rates_of_a_start_are_not_of_its_whole_first_minute(runtime: Runtime, cache_id: int) -> None:
    pass_time(runtime, 3640)
    start = cast(FixedClock, runtime.clock).wall
    hear(runtime, cache_id, "first")
    pass_time(runtime, 10)
    add(runtime, cache_id, start + timedelta(seconds=10), {"": {"hits": 100}})
    found = table(runtime, cache_id)
    assert found.window_s == found.default.use.window_s == 10
    with acting(runtime) as work:
        recent = service.recent_load(work, cache_id)
    assert (recent.window_s, recent.reads_per_s) == (10, 10)
    # One that came later says nothing of when counting began.
    pass_time(runtime, 600)
    with runtime.database.transaction() as session:
        store.put_instances(session, cache_id, [], runtime.clock.now(), keep_s=60)
    hear(runtime, cache_id, "later")
    assert table(runtime, cache_id).window_s == 650


def test_a_past_span_is_of_whole_minutes_within_it(runtime: Runtime, cache_id: int) -> None:
    for minute in range(30, 0, -1):
        add(runtime, cache_id, NOW - minute * MINUTE, {"product:": {"hits": 1}})
    half = timedelta(seconds=30)
    found = table(runtime, cache_id, timedelta(minutes=10), NOW - 5 * MINUTE + half)
    assert found.rows[0].use.counts["hits"] == 9 and found.window_s == 540
    assert table(runtime, cache_id, half, NOW - 5 * MINUTE + half).rows[0].use.counts["hits"] == 1


def test_long_and_old_spans_come_from_hours(runtime: Runtime, cache_id: int) -> None:
    old = NOW - timedelta(days=20)
    add(runtime, cache_id, old, {"product:": {"hits": 30}})
    with runtime.database.transaction() as session:
        store.drop_old_counts(session, NOW, hour_days=700)
    assert table(runtime, cache_id, timedelta(days=30)).rows[0].use.counts["hits"] == 30
    assert table(runtime, cache_id, 2 * HOUR, old + HOUR).rows[0].use.counts["hits"] == 30


def test_policies_say_their_words_and_those_without_reads_are_there(runtime: Runtime, cache_id: int) -> None:
    stage(runtime, cache_id, "news:")
    publish(runtime, cache_id)
    add(runtime, cache_id, NOW - MINUTE, {"gone:": {"hits": 5}, "": {"hits": 7}})
    found = table(runtime, cache_id)
    by_name = {row.use.prefix: row for row in found.rows}
    assert list(by_name) == ["gone:", "news:"]
    assert (by_name["news:"].tier_label, by_name["news:"].ttl_text) == (
        "Frequently updated",
        "1 h + up to 12 m",
    )
    assert by_name["gone:"].tier_label == ""
    assert found.default.use.counts["hits"] == 7 and found.default.ttl_text


def test_no_more_than_two_hundred_apart_and_the_rest_together(runtime: Runtime, cache_id: int) -> None:
    growth = {f"p{number:04}:": {"hits": number + 1} for number in range(counted.MOST_ROWS + 30)}
    add(runtime, cache_id, NOW - MINUTE, growth | {OTHER: {"hits": 5, "misses": 5}})
    found = table(runtime, cache_id)
    assert len(found.rows) == counted.MOST_ROWS and found.rows[0].use.prefix == "p0229:"
    assert found.other is not None and found.other_prefixes == 30
    assert found.other.counts["hits"] == sum(range(1, 31)) + 5 and found.other.counts["misses"] == 5
    assert all(len(row.use.hit_ratio_line) <= 24 for row in found.rows)


def test_nothing_counted(runtime: Runtime, cache_id: int) -> None:
    found = table(runtime, cache_id)
    assert (found.rows, found.window_s, found.ever_counted, found.other) == ((), 0.0, False, None)
    add(runtime, cache_id, NOW - 3 * HOUR, {"product:": {"hits": 1}})
    found = table(runtime, cache_id)
    assert found.window_s == 0 and found.ever_counted
    with acting(runtime) as work:
        assert service.reads_avoided(work, cache_id, NOW - HOUR, NOW) is None
        with pytest.raises(NotFound):
            service.prefix_table(work, 4711, NOW - HOUR, NOW)


def test_one_cache_knows_nothing_of_another(runtime: Runtime, cache_id: int) -> None:
    other = add_cache(runtime, "other").id
    add(runtime, other, NOW - MINUTE, {"product:": {"hits": 1}})
    assert table(runtime, cache_id).rows == ()


def test_reads_avoided_are_those_without_a_load_of_their_own(runtime: Runtime, cache_id: int) -> None:
    each = {
        "hits": 500,
        "misses": 100,
        "waits": 30,
        "wait_timeouts": 10,
        "refreshes": 20,
        "loads": 90,
        "load_errors": 10,
    }
    for minute in range(1, 4):
        add(runtime, cache_id, NOW - minute * MINUTE, {"product:": each, "news:": each}, read_at=NOW)
    with acting(runtime) as work:
        found = service.reads_avoided(work, cache_id, NOW - HOUR, NOW)
    assert found is not None
    assert (found.avoided, found.served) == (3_000, 600)
    assert found.avoided_per_s == pytest.approx(1000 / 60) and found.served_per_s == pytest.approx(200 / 60)
    assert found.line[-3:] == (pytest.approx(1000 / 60),) * 3 and found.line[0] is None


def test_reads_around_the_cache_are_not_avoided(runtime: Runtime, cache_id: int) -> None:
    for minute in range(1, 4):
        each = {"product:": {"hits": 60, "misses": 60, "loads": 60, "bypasses": 600}}
        add(runtime, cache_id, NOW - minute * MINUTE, each, read_at=NOW)
    with acting(runtime) as work:
        found = service.reads_avoided(work, cache_id, NOW - HOUR, NOW)
    assert found is not None and (found.avoided, found.served) == (180, 1_980)
    assert (found.avoided_per_s, found.served_per_s) == (1.0, 11.0)
    (row,) = table(runtime, cache_id).rows
    assert (row.use.reads, row.use.database_reads, row.use.hit_ratio) == (2_160, 1_980, 0.5)


def test_what_only_went_around_the_cache_is_not_the_last_of_the_table(
    runtime: Runtime, cache_id: int
) -> None:
    add(runtime, cache_id, NOW - MINUTE, {"a:": {"hits": 5}, "z:": {"bypasses": 50}})
    assert [row.use.prefix for row in table(runtime, cache_id).rows] == ["z:", "a:"]


def test_applications_that_fell_silent_have_no_current_rate(runtime: Runtime, cache_id: int) -> None:
    add(runtime, cache_id, NOW - 20 * MINUTE, {"product:": {"hits": 10}})
    with acting(runtime) as work:
        found = service.reads_avoided(work, cache_id, NOW - HOUR, NOW)
    assert found is not None and found.avoided == 10 and found.avoided_per_s is None


def test_publications_are_marks(runtime: Runtime, cache_id: int) -> None:
    stage(runtime, cache_id, "news:")
    publish(runtime, cache_id, "less load")
    with acting(runtime) as work:
        (mark,) = service.marks(work, cache_id, NOW - HOUR, NOW + HOUR)
        assert (mark.version, mark.by, mark.reason, mark.kind) == (1, "olga", "less load", "publish")
        assert service.marks(work, cache_id, NOW + HOUR, NOW + 2 * HOUR) == ()


# --- effect -----------------------------------------------------------------------------------------------------


def effect(runtime: Runtime, cache_id: int, version: int):  # type: ignore[no-untyped-def]
    with acting(runtime) as work:
        return service.effect(work, cache_id, version)


def change(runtime: Runtime, cache_id: int, **values: object) -> None:
    """Publish another TTL for ``news:`` now, within the seconds of a minute."""
    with acting(runtime) as work:
        exists = any(row.prefix == "news:" for row in service.policies_page(work, cache_id).rows)
    stage(runtime, cache_id, "news:", original="news:" if exists else None, **values)
    publish(runtime, cache_id)


def around(runtime: Runtime, cache_id: int, before: int, after: int, *, until: int = 41) -> datetime:
    """Hundred reads a minute around now, of which so many hit."""
    at = cast(FixedClock, runtime.clock).wall
    for minute in range(-40, until):
        hits = before if minute < 0 else 0 if minute == 0 else after
        counts = {"hits": hits, "misses": 100 - hits, "loads": 100 - hits, "load_us": (100 - hits) * 5_000}
        add(runtime, cache_id, at + minute * MINUTE, {"news:": counts})
    return at


def test_equal_spans_around_the_publication(runtime: Runtime, cache_id: int) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 86_420)
    # Protection holds at once, for what is stored already as well.
    change(runtime, cache_id, protection={"early_refresh_beta": 1.0})
    around(runtime, cache_id, 90, 60)
    pass_time(runtime, 600)
    (found,) = effect(runtime, cache_id, 2).prefixes
    # Ten minutes have passed, nine of them whole after the publication's own, which is left out.
    assert found.side_s == 540 and found.before is not None and found.after is not None
    assert (found.before.reads, found.before.hits, found.after.reads, found.after.hits) == (
        900,
        810,
        900,
        540,
    )
    assert (found.word, found.later_s) == ("Worse", 0) and "fell from 90% to 60%" in found.sentence
    assert len(found.line) == 19 and found.line[8:11] == (0.9, 0.0, 0.6)
    assert "Reads stayed level" in found.unchanged[0]
    pass_time(runtime, 3600)
    assert effect(runtime, cache_id, 2).prefixes[0].side_s == 1800


def test_a_new_ttl_is_judged_once_the_old_values_are_gone(runtime: Runtime, cache_id: int) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 86_400)
    change(runtime, cache_id, base_ttl_s=7200, jitter_s=600)
    at = around(runtime, cache_id, 90, 60, until=181)
    pass_time(runtime, 3600)
    (found,) = effect(runtime, cache_id, 2).prefixes
    # Two hours and ten minutes is the longest that a value of either lives. Until then the latest half hour is shown.
    assert (found.kind, found.word, found.side_s, found.later_s) == ("warn", "Too early", 1800, 1740)
    assert found.sentence.endswith("Values from before v2 may still be there: it is judged in 1 h 12 m.")
    pass_time(runtime, 4320)
    (found,) = effect(runtime, cache_id, 2).prefixes
    assert (found.word, found.side_s, found.later_s) == ("Worse", 60, 7800)
    pass_time(runtime, 3600)
    (found,) = effect(runtime, cache_id, 2).prefixes
    assert (found.word, found.side_s, found.later_s) == ("Worse", 1800, 7800)
    assert cast(FixedClock, runtime.clock).wall == at + timedelta(seconds=11_520)


def test_what_was_changed_again_too_soon_is_not_clear(runtime: Runtime, cache_id: int) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 86_400)
    around(runtime, cache_id, 90, 60, until=181)
    change(runtime, cache_id, jitter_s=600)
    pass_time(runtime, 1200)
    change(runtime, cache_id, jitter_s=0)
    pass_time(runtime, 86_400)
    (second,), (third,) = (effect(runtime, cache_id, version).prefixes for version in (2, 3))
    assert second.word == "Not clear" and "changed again before the values from before v2" in second.sentence
    assert third.word != "Worse" and second.side_s == third.side_s == 1140


def test_the_next_change_of_the_prefix_ends_the_span_and_others_do_not(
    runtime: Runtime, cache_id: int
) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 300)
    stage(runtime, cache_id, "product:")
    publish(runtime, cache_id)
    pass_time(runtime, 300)
    change(runtime, cache_id, jitter_s=600)
    pass_time(runtime, 7200)
    assert effect(runtime, cache_id, 1).prefixes[0].side_s == 540
    assert effect(runtime, cache_id, 2).prefixes[0].side_s == 1800
    # What came before the last change reaches back to the change before.
    assert effect(runtime, cache_id, 3).prefixes[0].side_s == 540


def test_too_early_and_too_close(runtime: Runtime, cache_id: int) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 30)
    assert effect(runtime, cache_id, 1).prefixes[0].word == "Too early"
    change(runtime, cache_id, jitter_s=600)
    pass_time(runtime, 3600)
    assert "again within a minute" in effect(runtime, cache_id, 1).prefixes[0].sentence


def test_a_note_has_no_effect(runtime: Runtime, cache_id: int) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 86_400)
    change(runtime, cache_id, note="For the front page")
    around(runtime, cache_id, 90, 60)
    pass_time(runtime, 3600)
    (found,) = effect(runtime, cache_id, 2).prefixes
    assert (found.kind, found.word, found.rows) == ("unknown", "Note only", ())


def test_a_bypass_is_no_verdict_and_ends_the_spans_of_others(runtime: Runtime, cache_id: int) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 86_400)
    at = around(runtime, cache_id, 90, 90, until=1)
    with acting(runtime) as work:
        service.bypass(work, cache_id, "news:", minutes=11, reason="stale")
    for minute in range(1, 12):
        add(runtime, cache_id, at + minute * MINUTE, {"news:": {"bypasses": 100}})
    pass_time(runtime, 3600)
    (found,) = effect(runtime, cache_id, 2).prefixes
    # It ended by itself: what came after is not what it did.
    assert (found.kind, found.word, found.side_s) == ("info", "Bypassed", 600)
    assert "1.7 database reads/s, 0.17/s before" in found.sentence
    rows = {row.label: row for row in found.rows}
    assert rows["Database reads/s"].change == "+900%" and rows["Reads/s"].change == "level"

    stage(runtime, cache_id, "other:")
    publish(runtime, cache_id)
    pass_time(runtime, 3600)
    assert [each.prefix for each in effect(runtime, cache_id, 3).prefixes] == ["other:"]


@pytest.mark.parametrize(
    ("values", "minutes"), [({"jitter_s": 600}, 72), ({"protection": {"grace_s": 7200}}, 72 + 120)]
)
def test_jitter_and_grace_are_judged_as_late_as_the_ttl(
    runtime: Runtime, cache_id: int, values: dict[str, object], minutes: int
) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 86_400)
    change(runtime, cache_id, **values)
    around(runtime, cache_id, 90, 90, until=minutes + 10)
    pass_time(runtime, 240)
    assert effect(runtime, cache_id, 2).prefixes[0].word == "Too early"
    pass_time(runtime, minutes * 60 - 300)
    assert effect(runtime, cache_id, 2).prefixes[0].word == "Too early"
    pass_time(runtime, 300)
    assert effect(runtime, cache_id, 2).prefixes[0].word == "Level"


def test_a_new_prefix_has_no_chart_of_the_time_before_it_was_counted(runtime: Runtime, cache_id: int) -> None:
    stage(runtime, cache_id, "other:")
    publish(runtime, cache_id)
    pass_time(runtime, 86_430)
    change(runtime, cache_id)
    at = cast(FixedClock, runtime.clock).wall
    for minute in range(-1, 30):
        add(runtime, cache_id, at + minute * MINUTE, {"news:": {"misses": 50, "hits": max(0, minute)}})
    pass_time(runtime, 1800)
    (found,) = effect(runtime, cache_id, 2).prefixes
    assert (found.kind, found.word, found.rows, found.line) == ("unknown", "New", (), ())


def test_an_old_version_is_compared_by_hours(runtime: Runtime, cache_id: int) -> None:
    change(runtime, cache_id)
    pass_time(runtime, 30 * 86_400)
    change(runtime, cache_id, protection={"early_refresh_beta": 1.0})
    at = cast(FixedClock, runtime.clock).wall
    for hour in range(-3, 4):
        add(runtime, cache_id, at + hour * HOUR, {"news:": {"hits": 1000, "misses": 10 if hour < 0 else 12}})
    pass_time(runtime, 20 * 86_400)
    (found,) = effect(runtime, cache_id, 2).prefixes
    assert found.side_s == 6 * 3600 and found.word == "Level"


def test_many_changed_prefixes_are_read_at_once(runtime: Runtime, cache_id: int) -> None:
    queries: list[str] = []

    def note(connection: object, cursor: object, statement: str, *rest: object) -> None:
        queries.append(statement)

    def asked(version: int) -> int:
        with acting(runtime) as work:
            queries.clear()
            event.listen(work.session.connection(), "before_cursor_execute", note)
            service.effect(work, cache_id, version)
            event.remove(work.session.connection(), "before_cursor_execute", note)
        return len(queries)

    change(runtime, cache_id)
    for prefixes in (["one:"], [f"p{number}:" for number in range(20)]):
        for prefix in prefixes:
            stage(runtime, cache_id, prefix)
        publish(runtime, cache_id)
    pass_time(runtime, 600)
    assert asked(3) == asked(2)


def test_an_unknown_version(runtime: Runtime, work: UnitOfWork, cache_id: int) -> None:
    with pytest.raises(NotFound):
        service.effect(work, cache_id, 1)


def test_the_recent_load_is_per_prefix_and_falls_silent(runtime: Runtime, cache_id: int) -> None:
    stage(runtime, cache_id, "product:")
    publish(runtime, cache_id)
    for minute in range(10, 0, -1):
        growth = {
            "product:": {"hits": 540, "misses": 60, "loads": 60, "load_us": 600_000, "bypasses": 6},
            OTHER: {"hits": 60},
        }
        add(runtime, cache_id, NOW - minute * MINUTE, growth, read_at=NOW)
    with acting(runtime) as work:
        found = service.recent_load(work, cache_id)
    product, other = found.prefixes["product:"], found.prefixes[None]
    assert found.window_s == 600 and set(found.prefixes) == {"product:", None}
    assert (product.hits_per_s, product.misses_per_s, product.loads_per_s) == pytest.approx((9, 1, 1.1))
    assert product.load_s == pytest.approx(0.01) and product.keys == 600  # stored within its TTL of an hour
    assert (other.hits_per_s, other.load_s, other.keys) == (1, None, None)
    assert found.reads_per_s == 11 and found.loads_per_s == pytest.approx(1.1)
    assert found.hit_ratio == pytest.approx(10 / 11)
    cast(FixedClock, runtime.clock).wall = NOW + 6 * MINUTE
    with acting(runtime) as work:
        silent = service.recent_load(work, cache_id)
    assert (silent.window_s, silent.hit_ratio, silent.loads_per_s) == (0, None, 0)
