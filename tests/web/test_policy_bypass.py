"""Sending a prefix around the cache for some minutes."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support.people import as_cli
from tests.support.some_caches import add_cache
from tests.support.some_policies import FRAGMENT, count, page_of, publish, stage


@pytest.fixture
def cache_id(runtime: Runtime) -> int:
    cache = add_cache(runtime)
    stage(runtime, cache.id, "news:")
    publish(runtime, cache.id)
    return cache.id


def test_asks_for_how_long_and_why(operator: FlaskClient, cache_id: int) -> None:
    page = operator.get(f"/caches/{cache_id}/policies/bypass?prefix=news:").get_data(as_text=True)
    assert "every read goes to the database" in page and 'name="minutes"' in page and "style=" not in page


def test_says_what_the_database_is_in_for_since_counting_began(
    operator: FlaskClient, runtime: Runtime, clock: FixedClock, cache_id: int
) -> None:
    count(runtime, cache_id, clock.now(), hits=7_200, misses=1_200)
    clock.wall += timedelta(minutes=10)
    page = operator.get(f"/caches/{cache_id}/policies/bypass?prefix=news:").get_data(as_text=True)
    assert "about 14 a second over the last 10 m." in page


def test_needs_sign_in_the_role_and_the_policy(
    client: FlaskClient, viewer: FlaskClient, operator: FlaskClient, cache_id: int
) -> None:
    path = f"/caches/{cache_id}/policies/bypass?prefix=news:"
    assert client.post(path).status_code == 303
    assert viewer.get(path).status_code == 403 and viewer.post(path).status_code == 403
    gone = f"/caches/{cache_id}/policies/bypass?prefix=gone:"
    assert operator.get(gone).status_code == 404
    assert operator.post(gone, data={"minutes": "5", "reason": "x"}).status_code == 404


def test_runs_counts_down_and_ends_by_itself(
    operator: FlaskClient, viewer: FlaskClient, runtime: Runtime, clock: FixedClock, cache_id: int
) -> None:
    path = f"/caches/{cache_id}/policies"
    answer = operator.post(f"{path}/bypass?prefix=news:", data={"minutes": "10", "reason": "Stale stock"})
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    page = operator.get(path).get_data(as_text=True)
    assert "goes around the cache for" in page and "10 m" in page and "“Stale stock”" in page
    assert "End it now" in page and "End it now" not in viewer.get(path).get_data(as_text=True)
    clock.wall += timedelta(minutes=4)
    live = viewer.get(f"{path}/live", headers=FRAGMENT).get_data(as_text=True)
    assert "goes around the cache for" in live and "6 m" in live
    assert 'data-left="360.0"' in live  # the browser counts on from there
    clock.wall += timedelta(minutes=7)
    assert "goes around the cache" not in viewer.get(f"{path}/live", headers=FRAGMENT).get_data(as_text=True)
    with as_cli(runtime) as work:
        query = "SELECT actor_name, reason FROM audit_entry WHERE action = 'policies:bypass:start'"
        assert work.session.execute(text(query)).all() == [("the-operator", "Stale stock")]


def test_ends_early(operator: FlaskClient, runtime: Runtime, cache_id: int) -> None:
    base = f"/caches/{cache_id}/policies"
    operator.post(f"{base}/bypass?prefix=news:", data={"minutes": "10", "reason": "x"})
    assert operator.post(f"{base}/bypass/end?prefix=news:").status_code == 303
    assert page_of(runtime, cache_id).bypasses == ()
    again = operator.post(f"{base}/bypass/end?prefix=news:")
    assert again.status_code == 409 and "has ended already" in again.get_data(as_text=True)


@pytest.mark.parametrize(
    ("typed", "field"),
    [({"minutes": "0"}, "minutes"), ({"minutes": "1441"}, "minutes"), ({"minutes": "x"}, "minutes"),
     ({"minutes": ""}, "minutes"), ({"reason": " "}, "reason")],
)  # fmt: skip
def test_bad_input_keeps_what_was_typed(
    operator: FlaskClient, runtime: Runtime, cache_id: int, typed: dict[str, str], field: str
) -> None:
    sent = {"minutes": "12", "reason": "typed before", **typed}
    answer = operator.post(f"/caches/{cache_id}/policies/bypass?prefix=news:", data=sent)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and f'id="{field}-e"' in page
    assert all(f'value="{value}"' in page for value in sent.values())
    assert page_of(runtime, cache_id).bypasses == ()


def test_a_read_only_cache_refuses(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, read_only=True)
    stage(runtime, cache.id, "news:")
    answer = operator.post(
        f"/caches/{cache.id}/policies/bypass?prefix=news:", data={"minutes": "5", "reason": "kept"}
    )
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "read-only" in page and 'value="kept"' in page
