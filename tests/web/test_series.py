"""The numbers of the charts as JSON."""

import pytest
from flask.testing import FlaskClient

from dashboard.work import Runtime
from tests.support.polled import pass_time, poll, polled_cache
from tests.support.some_caches import add_cache

JSON = {"Accept": "application/json"}


def times(sent: dict[str, list[int]]) -> list[float]:
    total, made = 0, []
    for step in sent["t"]:
        total += step
        made.append(total / 10)
    return made


def test_later_points_continue_where_the_page_ends(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    path = f"/caches/{cache.id}/series?range=15m"
    whole = viewer.get(path, headers=JSON).get_json()
    last = times(whole)[-1]
    pass_time(runtime, 9)
    poll(runtime, cache)
    later = viewer.get(f"{path}&since={int(last)}", headers=JSON).get_json()
    assert times(later) == [last, last + 10]
    assert later["to"] == whole["to"] + 10 and later["step"] == whole["step"] == 10
    assert all(len(column) == 2 for column in later["c"].values())
    assert later["c"]["hit_ratio"][-1] is None, "no traffic is no ratio"
    assert later["c"]["commands_per_s"][-1] is not None


def test_a_lost_poll_is_a_hole(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url)
    pass_time(runtime, 300)
    poll(runtime, cache)
    sent = viewer.get(f"/caches/{cache.id}/series?range=15m", headers=JSON).get_json()
    assert None in sent["c"]["used_memory_bytes"][2:-1]
    assert sent["c"]["used_memory_bytes"][-1] is not None


def test_answers_in_its_own_language(client: FlaskClient, viewer: FlaskClient, runtime: Runtime) -> None:
    path = f"/caches/{add_cache(runtime).id}/series"
    assert client.get(path, headers=JSON).status_code == 401
    unknown = viewer.get("/caches/4711/series", headers=JSON)
    assert unknown.status_code == 404 and unknown.get_json()["error"]["title"]


@pytest.mark.parametrize("query", ["since=x", "since=-1", "since=1e300", "since=nan", "range=never"])
def test_bad_input(viewer: FlaskClient, runtime: Runtime, query: str) -> None:
    answer = viewer.get(f"/caches/{add_cache(runtime).id}/series?{query}", headers=JSON)
    assert answer.status_code == 422 and answer.get_json()["error"]["message"]
