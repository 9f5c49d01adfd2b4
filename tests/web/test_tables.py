"""Slow log, clients and commands of one cache: three views with the same frame."""

import re

import pytest
import redis
from flask.testing import FlaskClient

from dashboard.errors import CacheUnavailable
from dashboard.work import Runtime
from tests.support.polled import pass_time, poll, polled_cache
from tests.support.some_caches import add_cache

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}
PAGES = ["slow-log", "clients", "commands"]


@pytest.mark.parametrize("page", PAGES)
def test_as_fragment_brings_itself_and_whether_it_is_live(
    page: str, viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    path = f"/caches/{cache.id}/{page}"
    body = viewer.get(path, headers=FRAGMENT).get_data(as_text=True).strip()
    assert body.startswith(f'<div class="stack" id="monitoring-{page}" hx-get="{path}"')
    panel, state, _ = body.partition('<span id="table-state" hx-swap-oob="outerMorph">')
    assert state and "<html" not in body
    whole = viewer.get(path).get_data(as_text=True)
    assert panel.strip() in whole and '<span id="table-state"><button class="live"' in whole


@pytest.mark.parametrize("page", PAGES)
def test_a_cache_that_is_away_is_not_called_live(
    page: str, viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    for _ in range(2):
        poll(runtime, cache, CacheUnavailable("Connection refused.", what_to_do="Check that it runs."))
    for headers in ({}, FRAGMENT):
        body = viewer.get(f"/caches/{cache.id}/{page}", headers=headers).get_data(as_text=True)
        assert "does not answer" in body and '<button class="live away"' in body


def test_what_a_client_did_not_say_is_said_in_words(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    with redis.Redis.from_url(valkey_url) as other:
        connection = other.connection_pool.get_connection()
        try:
            cache = polled_cache(runtime, valkey_url)
            page = viewer.get(f"/caches/{cache.id}/clients").get_data(as_text=True)
        finally:
            connection.disconnect()
    assert "NULL" not in page and "just now" not in page and re.search(r"read \d+ s ago", page)


@pytest.mark.parametrize("page", PAGES)
def test_needs_sign_in_and_a_cache(
    page: str, client: FlaskClient, viewer: FlaskClient, runtime: Runtime
) -> None:
    assert client.get(f"/caches/{add_cache(runtime).id}/{page}").status_code == 303
    assert viewer.get(f"/caches/4711/{page}").status_code == 404


@pytest.mark.parametrize("page", PAGES)
def test_before_the_first_poll(page: str, viewer: FlaskClient, runtime: Runtime) -> None:
    answer = viewer.get(f"/caches/{add_cache(runtime).id}/{page}")
    assert answer.status_code == 200 and "<tbody>" not in answer.get_data(as_text=True)


def test_slow_commands_are_listed_as_text(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url, client_name="sleepy") as client:
        before = client.config_get("slowlog-log-slower-than")["slowlog-log-slower-than"]
        client.config_set("slowlog-log-slower-than", 0)
        client.set("<b>bold</b>", "1")
        client.config_set("slowlog-log-slower-than", before)
    page = viewer.get(f"/caches/{polled_cache(runtime, valkey_url, polls=1).id}/slow-log").get_data(
        as_text=True
    )
    assert "&lt;b&gt;bold&lt;/b&gt;" in page and "<b>bold</b>" not in page
    assert "sleepy" in page


def test_our_own_connection_and_a_monitor_are_told_apart(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    with redis.Redis.from_url(valkey_url) as client, client.monitor():
        cache = polled_cache(runtime, valkey_url, polls=2)
        page = viewer.get(f"/caches/{cache.id}/clients").get_data(as_text=True)
    assert re.search(r'<span class="badge">\s*Cachewarden', page)
    assert re.search(r'<span class="st crit">.*MONITOR', page)


def test_commands_show_their_share_of_the_time(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url, polls=8)
    page = viewer.get(f"/caches/{cache.id}/commands").get_data(as_text=True)
    row = re.search(r'<th scope="row" class="mono">get</th>.*?</tr>', page)
    assert row is not None and "%" in row.group() and "<rect" in row.group()


def test_what_may_not_be_asked_is_said_with_the_rule_that_grants_it(
    viewer: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        client.execute_command(
            "ACL", "SETUSER", "narrow", "on", ">secret", "+info", "+ping", "+hello", "+client|setname"
        )
        try:
            cache = polled_cache_as(runtime, f"redis://narrow:secret@{valkey_url.rpartition('@')[2]}")
            page = viewer.get(f"/caches/{cache}/clients").get_data(as_text=True)
            assert "CLIENT LIST is" in page and "+client|list" in page
            assert "SLOWLOG" in viewer.get(f"/caches/{cache}/slow-log").get_data(as_text=True)
        finally:
            client.execute_command("ACL", "DELUSER", "narrow")


def polled_cache_as(runtime: Runtime, url: str) -> int:
    cache = add_cache(runtime, "narrow", url)
    poll(runtime, cache)
    pass_time(runtime, 9)
    poll(runtime, cache)
    return cache.id
