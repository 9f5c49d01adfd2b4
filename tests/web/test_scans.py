"""The pages on scans: what is known and how old it is, scans asked for and cancelled, limits; for every role."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import redis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from dashboard.caches.types import Cache
from dashboard.keyspace import scans, service, store
from dashboard.keyspace.types import Estimate, Kind, Scan, ScanLimits, ScanProgress, State
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support.people import as_cli
from tests.support.polled import polled_cache
from tests.support.reading import shown, words
from tests.support.snapshots import keep, node, snapshot
from tests.support.some_caches import add_cache

PROGRESS = ScanProgress(500_000, 2_000_000, 96_000.0, 1.25, "probe", "", 1)


def base(cache: Cache) -> str:
    return f"/caches/{cache.id}/keyspace"


def last(runtime: Runtime, cache: Cache) -> Scan:
    with as_cli(runtime) as work:
        found = service.find_scan(work, cache.id)
    assert found is not None
    return found


def run(runtime: Runtime, cache: Cache, **values: Any) -> Scan:
    """A scan that a worker is at."""
    with as_cli(runtime) as work:
        scan = service.start_scan(work, cache.id)
        store.change_scan(
            work.session, scan.number, **{"state": State.RUNNING, "started_at": work.now, **values}
        )
        store.save_progress(work.session, scan.number, PROGRESS)
    return last(runtime, cache)


def audited(runtime: Runtime) -> list[tuple[str, str]]:
    with as_cli(runtime) as work:
        query = "SELECT action, actor_name FROM audit_entry WHERE action LIKE 'keyspace:%' ORDER BY id"
        return [tuple(row) for row in work.session.execute(text(query))]


@pytest.fixture
def cache(runtime: Runtime) -> Cache:
    return add_cache(runtime)


# --- looking ----------------------------------------------------------------------------------------------------


def test_before_the_first_scan_it_says_so_and_offers_one(
    operator: FlaskClient, viewer: FlaskClient, cache: Cache
) -> None:
    page = shown(operator, base(cache))
    assert "No scan of this cache yet." in page
    assert f'action="{base(cache)}/sample"' in page and f'action="{base(cache)}/scan"' in page
    page = shown(viewer, base(cache))
    assert "No scan of this cache yet." in page and f'action="{base(cache)}' not in page


def test_what_a_scan_found_and_how_old_it_is(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    keep(runtime, snapshot(cache.id, clock.now() - timedelta(minutes=3)))
    page = words(shown(viewer, base(cache)))
    assert "Full scan, 3 m ago" in page and "25,000 keys, 2.4 MB" in page
    assert "product: 1.9 MB 20,000" in page and "session: 488.3 KB 5,000" in page
    assert r"product:\xff\x00 12.1 KB" in page


def test_a_sample_shows_its_error(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    found = snapshot(cache.id, clock.now(), replace(node("a:", 1e6, 1e8), size=Estimate(1e8, 7e5)))
    root = replace(found.root, size=Estimate(1e8, 7e5))
    keep(runtime, replace(found, root=root, kind=Kind.SAMPLE, looked_at=20_000, factor=50.0))
    page = words(shown(viewer, base(cache)))
    assert "Sample of 20,000 of 1 M keys ±0.7%" in page
    assert "95.4 MB ±0.7%" in page


def test_a_sample_that_missed_large_keys_claims_no_precision(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, valkey_url: str
) -> None:
    redis.Redis.from_url(valkey_url).setrange("large", 24 * 1024**2, "x")
    cache = polled_cache(runtime, valkey_url)
    found = snapshot(cache.id, clock.now(), replace(node("a:", 5e3, 1e6), size=Estimate(1e6, 7e3)))
    root = replace(found.root, size=Estimate(1e6, 7e3))
    keep(runtime, replace(found, root=root, kind=Kind.SAMPLE, looked_at=2_000, factor=2.5))
    for path in (base(cache), f"/caches/{cache.id}/keys"):
        page = words(shown(viewer, path))
        assert "a few large keys may not be in it" in page and "±0.7%" not in page
    assert "976.6 KB or more" in page
    keep(runtime, replace(found, root=root, kind=Kind.FULL, ended_at=clock.now() + timedelta(seconds=1)))
    assert "large keys may" not in words(shown(viewer, base(cache)))


def test_growth_over_a_week(viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache: Cache) -> None:
    for days, size in ((6, 1_048_576), (3, 3 * 1_048_576), (0, 5 * 1_048_576)):
        at = clock.now() - timedelta(days=days)
        keep(runtime, snapshot(cache.id, at, node("a:", size // 1_024, size), node("b:", 10, 10)))
    page = words(shown(viewer, base(cache)))
    assert "Growth, 6 d" in page and "a: 5 MB 5,120 0 +4 MB +4,096" in page
    assert re.search(r"Memory, MB, by full scans \S+ \d+ 1 MB, \S+ 5 MB", page), page


def test_growth_between_samples_has_an_error(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    for days, more in ((6, 0), (0, 2_000)):
        found = [
            replace(node(f"{name}:", 0, 0), keys=Estimate(9_000 + more, error), size=None)
            for name, error in (("a", 300.0), ("b", 3_000.0))
        ]
        at = clock.now() - timedelta(days=days)
        keep(runtime, snapshot(cache.id, at, *found, kind=Kind.SAMPLE))
    page = words(shown(viewer, base(cache)))
    assert "a: n/a 11,000 0 n/a +2,000 ±424" in page and "b: n/a 11,000 0 n/a none that is sure" in page


def test_names_are_shown_as_text(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    keep(runtime, snapshot(cache.id, clock.now(), node("<script>alert(1)</script>:", 5, 5)))
    page = shown(viewer, base(cache))
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


# --- a scan -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", ["keyspace", "keys", "policies", "overview", "forecast"])
def test_a_scan_is_asked_for_and_comes_back_to_its_page(
    operator: FlaskClient, runtime: Runtime, cache: Cache, back: str
) -> None:
    answer = operator.post(f"{base(cache)}/scan", data={"back": back})
    assert answer.status_code == 303 and answer.headers["Location"] == f"/caches/{cache.id}/{back}"
    scan = last(runtime, cache)
    assert (scan.state, scan.by) == (State.WAITING, "the-operator")
    assert audited(runtime) == [("keyspace:scan:start", "the-operator")]
    page = shown(operator, base(cache))
    assert "Waits for a worker." in page and "data-soon" in page
    assert f"/scans/{scan.number}/cancel" in page and f'action="{base(cache)}/scan"' not in page


def test_a_page_that_is_none_leads_to_the_scans(operator: FlaskClient, cache: Cache) -> None:
    answer = operator.post(f"{base(cache)}/scan", data={"back": "//evil.example"})
    assert answer.headers["Location"] == base(cache)


def test_one_at_a_time(operator: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    operator.post(f"{base(cache)}/scan")
    answer = operator.post(f"{base(cache)}/scan")
    assert answer.status_code == 409 and "is under way already" in answer.get_data(as_text=True)
    with as_cli(runtime) as work:
        assert len(service.list_scans(work, cache.id)) == 1
    other = add_cache(runtime, "another")
    assert operator.post(f"{base(other)}/scan").status_code == 303


def test_a_read_only_cache_may_be_scanned(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, read_only=True)
    assert operator.post(f"{base(cache)}/scan").status_code == 303
    assert last(runtime, cache).state is State.WAITING


def test_progress_of_a_scan(
    viewer: FlaskClient, operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    scan = run(runtime, cache)
    panel = shown(viewer, f"{base(cache)}/panel?back=policies&seen=0")
    assert "25%" in words(panel) and "500,000 of about 2 M keys, 96 k keys/s" in words(panel)
    assert "others wait 1.2 ms at p99" in panel and "other clients would wait too long" in panel
    assert "A server restarted and was begun again, once." in panel
    assert f"Scan {scan.number}: 25%" in panel and "<form" not in panel
    panel = shown(operator, f"{base(cache)}/panel?back=policies&seen=0")
    assert f"/scans/{scan.number}/cancel" in panel and 'name="back" value="policies"' in panel


def test_a_page_hears_that_there_is_something_newer(
    viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache: Cache
) -> None:
    first = keep(runtime, snapshot(cache.id, clock.now()))
    assert f"seen={first.id}" in shown(viewer, base(cache))
    assert "Newer numbers" not in shown(viewer, f"{base(cache)}/panel?seen={first.id}")
    keep(runtime, snapshot(cache.id, clock.now()))
    panel = shown(viewer, f"{base(cache)}/panel?back=overview&seen={first.id}")
    assert "Newer numbers" in panel and f'href="/caches/{cache.id}/overview"' in panel
    # What the page shows is what it goes on asking about.
    assert f"seen={first.id}" in panel


def test_a_waiting_scan_is_cancelled_at_once(operator: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    operator.post(f"{base(cache)}/scan")
    number = last(runtime, cache).number
    assert operator.post(f"{base(cache)}/scans/{number}/cancel").status_code == 303
    assert last(runtime, cache).state is State.CANCELLED
    assert [action for action, _ in audited(runtime)] == ["keyspace:scan:start", "keyspace:scan:cancel"]
    with as_cli(runtime) as work:
        assert work.session.execute(text("SELECT count(*) FROM job")).scalar_one() == 0
    again = operator.post(f"{base(cache)}/scans/{number}/cancel")
    assert again.status_code == 409 and "is cancelled already" in again.get_data(as_text=True)
    assert operator.post(f"{base(cache)}/scan").status_code == 303


def test_a_scan_of_another_cache_is_not_found(operator: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    other = add_cache(runtime, "another")
    operator.post(f"{base(other)}/scan")
    number = last(runtime, other).number
    assert operator.post(f"{base(cache)}/scans/{number}/cancel").status_code == 404
    assert last(runtime, other).state is State.WAITING


def test_why_a_scan_failed(viewer: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    scan = run(runtime, cache)
    with as_cli(runtime) as work:
        scans.end(work, scan, State.FAILED, cache, problem="127.0.0.1:6379 refuses SCAN.")
    page = words(shown(viewer, base(cache)))
    assert f"Scan {scan.number} failed. 127.0.0.1:6379 refuses SCAN." in page


def test_a_cache_that_is_away_is_said_on_the_page(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, url="redis://127.0.0.1:1")
    answer = operator.post(f"{base(cache)}/sample")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 503 and "Not done." in page and "Where the numbers are from" in page


# --- limits -----------------------------------------------------------------------------------------------------

LIMITS = {
    "revision": "0",
    "keys_per_s": "50,000",
    "slowest_probe_ms": "2.5",
    "size_every": "10",
    "delimiters": ":/",
    "sample_every_s": "0",
    "sample_every_s.unit": "m",
    "full_every_s": "1",
    "full_every_s.unit": "d",
}


def test_limits_are_set_with_an_audit_entry(admin: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    assert admin.post(f"{base(cache)}/limits", data=LIMITS).status_code == 303
    with as_cli(runtime) as work:
        assert service.limits(work, cache.id) == ScanLimits(50_000, 2.5, 10, False, ":/", 0, 86_400, 1)
    assert audited(runtime) == [("keyspace:limits:change", "the-admin")]
    page = shown(admin, f"{base(cache)}/limits")
    assert 'value="50000"' in page and 'value=":/"' in page and 'name="revision" value="1"' in page
    assert "a full scan every 1 d" in shown(admin, base(cache))


def test_limits_somebody_else_changed_are_not_overwritten(
    admin: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    admin.post(f"{base(cache)}/limits", data=LIMITS)
    answer = admin.post(f"{base(cache)}/limits", data={**LIMITS, "keys_per_s": "7"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "Somebody else changed" in page and 'value="7"' in page
    with as_cli(runtime) as work:
        assert service.limits(work, cache.id).keys_per_s == 50_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keys_per_s", "0"),
        ("slowest_probe_ms", "1e9"),
        ("size_every", "x"),
        ("delimiters", "ab"),
        ("delimiters", ""),
        ("sample_every_s", "0.5"),
        ("full_every_s", "99999999"),
    ],
)
def test_what_is_wrong_is_said_at_its_field_and_kept(
    admin: FlaskClient, runtime: Runtime, cache: Cache, field: str, value: str
) -> None:
    answer = admin.post(f"{base(cache)}/limits", data={**LIMITS, field: value})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and f'id="{field}-e"' in page and f'href="#{field}"' in page
    assert f'id="{field}"' in page and f'value="{value}"' in page
    with as_cli(runtime) as work:
        assert service.limits(work, cache.id) == ScanLimits()


# --- hostile ----------------------------------------------------------------------------------------------------

STRANGE = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["", "-1", "1e9999", "nan", "٣", "9" * 30, "%00", "<b>", "\\", "*", "//x", "keys"]),
)
FIELDS = [*LIMITS, "back", "prefers_replica"]


@given(
    form=st.dictionaries(st.sampled_from(FIELDS), STRANGE, max_size=8),
    query=st.dictionaries(st.sampled_from(["seen", "back", "before"]), STRANGE, max_size=3),
    where=st.sampled_from(["limits", "limits/again", "scan", "scans/1/cancel"]),
)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_strange_input_is_never_an_error_of_ours(
    admin: FlaskClient, cache: Cache, form: dict[str, str], query: dict[str, str], where: str
) -> None:
    for path in ("", "/panel"):
        assert admin.get(f"{base(cache)}{path}", query_string=query).status_code < 500
    assert admin.post(f"{base(cache)}/{where}", data=form).status_code < 500
