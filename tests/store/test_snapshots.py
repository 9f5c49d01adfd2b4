"""Snapshots as they are kept: the newest, growth between two, what goes and what stays."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from dashboard.access import Role
from dashboard.caches.types import Cache
from dashboard.errors import Conflict, Forbidden, NotFound
from dashboard.keyspace import service, snapshots
from dashboard.keyspace.types import Estimate, Growth, Kind, ScanLimits, Snapshot, SnapshotMark
from dashboard.policies import service as policies
from dashboard.work import Runtime
from tests.conftest import FixedClock, make_work
from tests.support.people import as_cli
from tests.support.snapshots import keep, node, snapshot
from tests.support.some_caches import add_cache

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def cache(runtime: Runtime) -> Cache:
    return add_cache(runtime)


def stored(runtime: Runtime, cache: Cache, at: datetime, kind: Kind = Kind.FULL, **keys: float) -> Snapshot:
    """A snapshot with so many keys of ten bytes by prefix."""
    children = [node(f"{name}:", count, count * 10) for name, count in keys.items()]
    return keep(runtime, snapshot(cache.id, at, *children, kind=kind))


def marks(runtime: Runtime, cache: Cache) -> list[SnapshotMark]:
    with as_cli(runtime) as work:
        return service.list_snapshots(work, cache.id)


def grown(runtime: Runtime, cache: Cache, *paths: tuple[str, ...]) -> dict[tuple[str, ...], Growth]:
    with as_cli(runtime) as work:
        return dict(service.growth(work, cache.id, paths))


# --- looking up -------------------------------------------------------------------------------------------------


def test_the_newest_is_the_latest(runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    other = add_cache(runtime, "another")
    full = stored(runtime, cache, clock.now() - HOUR, a=1)
    sample = stored(runtime, cache, clock.now(), Kind.SAMPLE, a=2)
    stored(runtime, other, clock.now(), a=3)
    with as_cli(runtime) as work:
        assert service.latest(work, cache.id) == sample
        assert service.latest(work, cache.id, Kind.FULL) == full
        assert service.get_snapshot(work, cache.id, full.id) == full
        for wrong in (full.id + 1_000, 0, -1, 2**64):
            with pytest.raises(NotFound):
                service.get_snapshot(work, cache.id, wrong)
        with pytest.raises(NotFound):
            service.get_snapshot(work, other.id, full.id)
        assert service.latest(work, other.id, Kind.SAMPLE) is None
    assert [mark.id for mark in marks(runtime, cache)] == [sample.id, full.id]
    assert marks(runtime, cache)[0].keys == 2


# --- growth -----------------------------------------------------------------------------------------------------


def test_growth_is_from_the_oldest_within_a_week(runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    now = clock.now()
    stored(runtime, cache, now - 9 * DAY, a=1)
    since = stored(runtime, cache, now - 6 * DAY, a=100, gone=50).ended_at
    stored(runtime, cache, now - DAY, a=5_000)
    stored(runtime, cache, now, a=130, new=7)
    assert grown(runtime, cache, (), ("a:",), ("new:",), ("gone:",)) == {
        (): Growth(since, -13, -130),
        ("a:",): Growth(since, 30, 300),
        ("new:",): Growth(since, 7, 70),
        ("gone:",): Growth(since, -50, -500),
    }


def test_any_number_of_samples_hides_no_week(runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    now = clock.now()
    first = stored(runtime, cache, now - 6 * DAY, Kind.SAMPLE, a=1_000).ended_at
    since = stored(runtime, cache, now - 20 * HOUR, Kind.SAMPLE, a=5_000).id
    with runtime.database.transaction() as session:
        # One a minute, as samples may be taken, each with what that one has.
        session.connection().exec_driver_sql(
            "INSERT INTO keyspace_snapshot (cache_id, kind, began_at, ended_at, looked_at, keyspace, keys,"
            " size_bytes, size_error, found, prefixes) SELECT cache_id, kind, at, at, looked_at, keyspace, keys,"
            " size_bytes, size_error, found, prefixes FROM keyspace_snapshot,"
            " generate_series(ended_at, ended_at + interval '19 hours 59 minutes', '1 minute') AS at WHERE id = %s",
            (since,),
        )
    stored(runtime, cache, now, Kind.SAMPLE, a=5_000)
    with as_cli(runtime) as work:
        assert service.growth(work, cache.id, [()])[()] == Growth(first, 4_000, 40_000)
        line = service.growth_line(work, cache.id)
    assert (line[0].at, line[0].keys) == (first, 1_000) and 2 < len(line) <= 60


def test_a_line_is_of_one_kind_of_snapshot(runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    now = clock.now()
    for hours, kind, keys in ((3, Kind.SAMPLE, 90), (2, Kind.FULL, 100), (1, Kind.SAMPLE, 95)):
        stored(runtime, cache, now - hours * HOUR, kind, a=keys)
    with as_cli(runtime) as work:
        kind = service.usual_kind(work, cache.id)
        line = service.growth_line(work, cache.id, kind=kind)
        exact = service.growth_line(work, cache.id, kind=Kind.FULL)
    assert kind is Kind.SAMPLE and [point.keys for point in line] == [90, 95]
    assert [point.keys for point in exact] == [100]


def test_growth_between_samples_has_the_error_of_both(
    runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    for age, keys, errors in ((DAY, 100.0, (30.0, 300.0)), (timedelta(0), 120.0, (40.0, 400.0))):
        found = replace(node("a:", 0, 0), keys=Estimate(keys, errors[0]), size=Estimate(keys * 10, errors[1]))
        keep(runtime, snapshot(cache.id, clock.now() - age, found, kind=Kind.SAMPLE))
    assert grown(runtime, cache, ("a:",)) == {("a:",): Growth(clock.now() - DAY, 20, 200, 50.0, 500.0)}


def test_a_day_more_is_looked_back_where_a_week_has_none(
    runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    at = clock.now() - timedelta(days=7, hours=20)
    stored(runtime, cache, at, a=1)
    stored(runtime, cache, clock.now(), a=3)
    assert grown(runtime, cache, ("a:",)) == {("a:",): Growth(at, 2, 20)}


def test_no_growth_is_known_of_one_moment_or_of_other_delimiters(
    runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    now = clock.now()
    assert grown(runtime, cache, ("a:",)) == {}
    stored(runtime, cache, now - 59 * MINUTE, a=1)
    stored(runtime, cache, now, a=3)
    assert grown(runtime, cache, ("a:",)) == {}
    keep(runtime, snapshot(cache.id, now + 2 * HOUR, node("a:", 9, 9), delimiters="/"))
    assert grown(runtime, cache, ("a:",)) == {}


def test_no_growth_is_known_of_what_was_counted_with_others(
    runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    other = node("(other)", 500, 5_000, pattern=None)
    keep(runtime, snapshot(cache.id, clock.now() - DAY, node("a:", 1, 10), other))
    stored(runtime, cache, clock.now(), a=2, b=3)
    assert set(grown(runtime, cache, ("a:",), ("b:",))) == {("a:",)}


def test_memory_that_was_not_measured_does_not_grow(
    runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    at = clock.now() - DAY
    keep(runtime, snapshot(cache.id, at, node("a:", 1, None), size_every=0))
    stored(runtime, cache, clock.now(), a=2)
    assert grown(runtime, cache, ("a:",), ()) == {("a:",): Growth(at, 1, None), (): Growth(at, 1, None)}


def test_a_line_has_evenly_many_points(runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    now = clock.now()
    # Many in the last hours, few before, as samples are kept.
    times = [now - each * DAY for each in (6, 5, 4, 3, 2)] + [
        now - each * 10 * MINUTE for each in range(30, -1, -1)
    ]
    for number, at in enumerate(times):
        stored(runtime, cache, at, a=number)
    with as_cli(runtime) as work:
        line = service.growth_line(work, cache.id, ("a:",), points=8)
        whole = service.growth_line(work, cache.id, ("never:",))
    assert line[0].at == times[0] and line[-1].at == now and len(line) <= 8
    assert [point.at for point in line[:4]] == times[:4]
    assert [point.keys for point in line] == sorted(point.keys or 0 for point in line)
    assert len(whole) == len(times) and {point.keys for point in whole} == {0.0}


# --- what stays -------------------------------------------------------------------------------------------------


def test_all_of_a_day_stay_and_one_a_day_for_35_days(
    runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    now = clock.now().replace(hour=12)
    for days in (40, 34, 2):
        for hours in (0, 1, 2):
            stored(runtime, cache, now - days * DAY + hours * HOUR, a=days * 10 + hours)
            stored(runtime, cache, now - days * DAY + hours * HOUR, Kind.SAMPLE, a=days * 10 + hours)
    for hours in range(3):
        stored(runtime, cache, now - hours * HOUR, Kind.SAMPLE, a=hours)
    with as_cli(runtime) as work:
        work.now = now
        snapshots.upkeep(work)
    left = [(mark.kind, int(mark.keys)) for mark in reversed(marks(runtime, cache))]
    # The last of each day.
    assert left == [
        (Kind.FULL, 342), (Kind.SAMPLE, 342), (Kind.FULL, 22), (Kind.SAMPLE, 22),
        (Kind.SAMPLE, 0), (Kind.SAMPLE, 1), (Kind.SAMPLE, 2),
    ]  # fmt: skip


def test_the_newest_of_each_kind_stays_however_old(runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    stored(runtime, cache, clock.now() - 100 * DAY, a=1)
    stored(runtime, cache, clock.now() - 90 * DAY, a=2)
    stored(runtime, cache, clock.now() - 80 * DAY, Kind.SAMPLE, a=3)
    with as_cli(runtime) as work:
        snapshots.upkeep(work)
    assert [mark.keys for mark in marks(runtime, cache)] == [3, 2]


def test_scans_are_forgotten_when_they_are_old(runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    with as_cli(runtime) as work:
        old = service.start_scan(work, cache.id)
        service.cancel_scan(work, cache.id, old.number)
        open_ = service.start_scan(work, cache.id)
    with as_cli(runtime) as work:
        work.now += 36 * DAY
        snapshots.upkeep(work)
        # One that is under way is none of these, however long ago it was asked for.
        assert [scan.number for scan in service.list_scans(work, cache.id)] == [open_.number]


def test_an_older_scan_does_not_replace_what_policies_know(
    runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    stored(runtime, cache, clock.now(), a=1)
    keep(runtime, snapshot(cache.id, clock.now() - HOUR, policies=()))
    with as_cli(runtime) as work:
        assert policies.scanned(work, cache.id).of("session:") is not None


# --- who may ----------------------------------------------------------------------------------------------------


def test_viewers_look_and_operators_scan(runtime: Runtime, cache: Cache) -> None:
    with runtime.database.transaction() as session:
        viewer, operator = (make_work(runtime, session, role) for role in (Role.VIEWER, Role.OPERATOR))
        for refused in (
            lambda: service.start_scan(viewer, cache.id),
            lambda: service.take_sample(runtime, viewer.actor, cache.id),
            lambda: service.cancel_scan(viewer, cache.id, 1),
            lambda: service.set_limits(operator, cache.id, ScanLimits()),
        ):
            with pytest.raises(Forbidden):
                refused()
        number = service.start_scan(operator, cache.id).number
        assert service.get_scan(viewer, cache.id, number).by == operator.actor.name
        with pytest.raises(Conflict):
            service.start_scan(operator, cache.id)
        for missing in (number + 1, 0, 2**63):
            with pytest.raises(NotFound):
                service.get_scan(viewer, cache.id, missing)
        with pytest.raises(NotFound):
            service.start_scan(operator, cache.id + 1)
