"""The forecast's page: what is due, what is a wall, what can be tried, who may do what."""

import html
import re
from datetime import datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.caches.types import Cache
from dashboard.forecast import service as forecasts
from dashboard.policies import service as policies
from dashboard.work import Runtime
from tests.support import expiries as found
from tests.support import snapshots
from tests.support.people import as_cli
from tests.support.policies import publish, stage
from tests.support.polled import pass_time, poll
from tests.support.reading import shown
from tests.support.some_caches import add_cache

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}
WALL_S = 1_800


def now(runtime: Runtime) -> datetime:
    return runtime.clock.now()


@pytest.fixture
def cache(runtime: Runtime) -> Cache:
    """A cache whose news: all end in half an hour, among products that end evenly."""
    made = add_cache(runtime)
    stage(runtime, made.id, jitter_s=0)
    stage(runtime, made.id, "product:")
    publish(runtime, made.id)
    even = dict.fromkeys(range(0, 3600, 10), 60.0)
    snapshots.keep(
        runtime,
        found.snapshot(
            made.id,
            [
                found.expiries("product:{id}", "product:", even, now(runtime), never=7.0),
                found.expiries("news:{id}", "news:", {WALL_S + 5: 3_628.0}, now(runtime)),
            ],
            now(runtime),
        ),
    )
    return made


def words(page: str) -> str:
    """The text of a page."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def test_without_a_look_at_the_keys_it_says_how_to_take_one(
    operator: FlaskClient, viewer: FlaskClient, runtime: Runtime
) -> None:
    path = f"/caches/{add_cache(runtime).id}/forecast"
    assert "Take a sample" in shown(operator, path)
    page = shown(viewer, path)
    assert "Take a sample" not in page and "An operator can take one" in page


def test_it_names_the_wall_its_prefix_and_its_time(
    viewer: FlaskClient, cache: Cache, runtime: Runtime
) -> None:
    page = words(shown(viewer, f"/caches/{cache.id}/forecast"))
    assert "Expire in the next hour 25,228 keys" in page
    assert "Busiest 10 s" in page and "3,688" in page
    at = f"{now(runtime) + timedelta(seconds=WALL_S):%H:%M}"
    assert re.search(rf"{at} news:\{{id\}} Watch|{at} news:\{{id\}}", page)
    assert "news:{id} 3,628" in page
    assert "Keys without TTL" in page and "7 of them product:{id}" in page
    assert "1 in the next hour" in page


@pytest.mark.parametrize(("ahead", "step"), [("1h", "10 s"), ("24h", "minute"), ("7d", "hour")])
def test_every_horizon_has_its_steps(viewer: FlaskClient, cache: Cache, ahead: str, step: str) -> None:
    page = words(shown(viewer, f"/caches/{cache.id}/forecast?ahead={ahead}"))
    assert f"Keys expiring per {step}" in page


def test_a_respread_leads_to_a_purge_that_only_shortens(
    operator: FlaskClient, cache: Cache, runtime: Runtime
) -> None:
    page = shown(operator, f"/caches/{cache.id}/forecast?try=respread")
    link = html.unescape(re.findall(r'href="(/caches/\d+/invalidate\?[^"]+)"', page)[-1])
    assert "pattern=news%3A%2A" in link and "action=spread" in link and f"window_s={WALL_S + 10}" in link
    form = shown(operator, link)
    assert re.search(r'value="spread" checked', form) and 'value="news:*"' in form
    # Seconds stay seconds, and the moments are those of the wall, however long one takes to confirm.
    assert re.search(rf'name="window_s"[^>]*value="{WALL_S + 10}"', form)
    assert re.search(r'name="window_s.unit".*?value="s" selected', form, re.DOTALL)
    first = (now(runtime) + timedelta(seconds=WALL_S - 1)).strftime("%Y-%m-%dT%H:%M:%S")
    assert f'value="{first}"' in form


@pytest.mark.parametrize(
    ("stem", "fields"),
    [
        ("tenant:{id}:session:", {"by": "pattern", "pattern": "tenant:*:session:*"}),
        ("a*b:{id}:", {"by": "pattern", "pattern": r"a\\*b:*:*"}),
        (r"tenant:\x7bid}:", {"by": "prefix", "prefix": r"tenant:\x7bid}:"}),
        ("(other)", None),
        ("", None),
    ],
)
def test_a_respread_selects_what_it_says_or_nothing(
    operator: FlaskClient, runtime: Runtime, stem: str, fields: dict[str, str] | None
) -> None:
    made = add_cache(runtime)
    wall = found.expiries(stem, "", {WALL_S: 5_000.0}, now(runtime))
    snapshots.keep(runtime, found.snapshot(made.id, [wall], now(runtime)))
    page = shown(operator, f"/caches/{made.id}/forecast?try=respread")
    links = [html.unescape(link) for link in re.findall(r'href="(/caches/\d+/invalidate\?[^"]+)"', page)]
    if fields is None:
        assert links == [] and "No prefix or pattern selects these keys alone" in page
    else:
        (link,) = links
        given = parse_qs(urlsplit(link).query)
        assert {name: given[name] for name in fields} == {name: [value] for name, value in fields.items()}
        form = shown(operator, link)
        assert f'value="{html.escape(fields[fields["by"]])}"' in form


def test_the_jitter_that_was_tried_is_staged(operator: FlaskClient, cache: Cache, runtime: Runtime) -> None:
    page = shown(operator, f"/caches/{cache.id}/forecast?try=jitter&percent=20")
    assert "1 h + up to 12 m" in words(page)
    assert 'name="jitter_s" value="720"' in page
    answer = operator.post(f"/caches/{cache.id}/forecast/jitter", data={"prefix": "news:", "jitter_s": "720"})
    assert (answer.status_code, answer.location) == (303, f"/caches/{cache.id}/policies/draft")
    with as_cli(runtime) as work:
        row = next(row for row in policies.policies_page(work, cache.id).rows if row.prefix == "news:")
    assert row.jitter_text == "up to 12 m" and row.staged is not None


@pytest.mark.parametrize("jitter_s", ["", "-1", "1e9", "9" * 11, "9" * 40, "٣", "\0"])
def test_a_jitter_that_is_none_stages_nothing(
    operator: FlaskClient, cache: Cache, runtime: Runtime, jitter_s: str
) -> None:
    answer = operator.post(
        f"/caches/{cache.id}/forecast/jitter", data={"prefix": "news:", "jitter_s": jitter_s}
    )
    assert answer.status_code in (303, 400, 422)
    with as_cli(runtime) as work:
        assert policies.policies_page(work, cache.id).draft is None


def test_a_viewer_sees_the_trial_and_no_button(viewer: FlaskClient, cache: Cache) -> None:
    page = shown(viewer, f"/caches/{cache.id}/forecast?try=respread")
    assert 'id="try"' in page and "/invalidate?by=" not in page and "/forecast/jitter" not in page


def test_a_trial_comes_as_a_fragment(viewer: FlaskClient, cache: Cache) -> None:
    page = shown(viewer, f"/caches/{cache.id}/forecast?try=jitter&percent=50", headers=PARTIAL)
    assert page.strip().startswith('<div id="forecast-try">') and "<html" not in page
    assert "1 h + up to 30 m" in words(page)


def test_a_wall_that_is_gone_leaves_the_page_as_it_is(viewer: FlaskClient, cache: Cache) -> None:
    page = shown(viewer, f"/caches/{cache.id}/forecast?at=12345&stem=gone%3A")
    assert 'id="try"' not in page and "news:" in page


def test_sampling_a_cache_that_is_away_says_so(operator: FlaskClient, cache: Cache) -> None:
    answer = operator.post(
        f"/caches/{cache.id}/forecast/sample", data={"ahead": "24h"}, follow_redirects=True
    )
    assert answer.status_code == 200
    page = answer.get_data(as_text=True)
    assert 'data-toast="crit"' in page and "news:" in page


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(st.text(max_size=30), st.integers(-(10**20), 10**20).map(str))
            for name in ("ahead", "at", "stem", "try", "percent")
        },
    )
)
def test_no_address_is_an_error_of_ours(viewer: FlaskClient, cache: Cache, query: dict[str, str]) -> None:
    answer = viewer.get(f"/caches/{cache.id}/forecast", query_string=query)
    assert answer.status_code in (200, 400, 422)


def test_keys_of_our_own_are_left_out(viewer: FlaskClient, cache: Cache, runtime: Runtime) -> None:
    own = found.expiries("cachewarden:", "", {95: 5_000.0}, now(runtime), never=3.0)
    snapshots.keep(runtime, found.snapshot(cache.id, [own], now(runtime)))
    page = words(shown(viewer, f"/caches/{cache.id}/forecast"))
    assert "cachewarden:" not in page and "Keys without TTL None 0" in page


def test_a_policy_that_nobody_follows_hides_no_wall(viewer: FlaskClient, runtime: Runtime) -> None:
    """Applications without the library give TTLs of their own, whatever was published."""
    made = add_cache(runtime)
    stage(runtime, made.id, "feed:", tier="hot", base_ttl_s=60, jitter_s=10)
    publish(runtime, made.id)
    wall = found.expiries("feed:", "feed:", {WALL_S: 50_000.0}, now(runtime))
    snapshots.keep(runtime, found.snapshot(made.id, [wall], now(runtime)))
    page = words(shown(viewer, f"/caches/{made.id}/forecast"))
    assert "feed: 50,000 at" in page and "Expire in the next hour 50,000" in page


def test_keys_without_a_delimiter_have_a_name_too(viewer: FlaskClient, runtime: Runtime) -> None:
    made = add_cache(runtime)
    wall = found.expiries("", "", {WALL_S: 5_000.0}, now(runtime))
    snapshots.keep(runtime, found.snapshot(made.id, [wall], now(runtime)))
    assert "no prefix 5,000 at" in words(shown(viewer, f"/caches/{made.id}/forecast"))


def test_hostile_names_are_shown_as_text(viewer: FlaskClient, runtime: Runtime) -> None:
    made = add_cache(runtime)
    name = "<script>alert(1)</script>\"'&{{7*7}}:"
    snapshots.keep(
        runtime,
        found.snapshot(
            made.id, [found.expiries(name, "", {95: 5_000.0}, now(runtime))], now(runtime), factor=1.0
        ),
    )
    page = shown(viewer, f"/caches/{made.id}/forecast")
    assert "<script>alert" not in page and name in html.unescape(page)


def test_a_forecast_is_checked_against_what_the_server_counted(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    made = add_cache(runtime, url=valkey_url)
    with redis.Redis.from_url(valkey_url) as client:
        poll(runtime, made)
        # 40 keys a minute are foreseen, and as many end.
        ends = {60.0 * minute + 30: 40.0 for minute in range(30)}
        snapshots.keep(
            runtime,
            found.snapshot(
                made.id,
                [found.expiries("a:{id}", "", {int(k): v for k, v in ends.items()}, now(runtime))],
                now(runtime),
            ),
        )
        for _ in range(15):
            for _ in range(6):
                before = client.info("stats")["expired_keys"]
                for number in range(7):
                    client.set(f"a:{number}", 1, px=1)
                while client.info("stats")["expired_keys"] < before + 7:
                    client.exists(*(f"a:{number}" for number in range(7)))
                pass_time(runtime, 9)
                poll(runtime, made)
    with as_cli(runtime) as work:
        judged = forecasts.checked(work, made.id)
    assert judged is not None
    _, check = judged
    assert check.steps >= 12
    assert check.predicted == 40 * check.steps
    # Seven each ten seconds are 42 a minute: 5 % fewer were foreseen.
    assert check.total_off == pytest.approx(40 / 42 - 1, abs=0.02)
    assert "too few" in words(shown(viewer, f"/caches/{made.id}/forecast"))
