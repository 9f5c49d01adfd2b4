"""Hostile input on every form and address of purges: never a server error, never a purge that was not asked for."""

import io
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.access import Role
from dashboard.invalidation import service
from dashboard.invalidation.types import State
from dashboard.work import Runtime
from tests.conftest import sign_in
from tests.support import purges
from tests.support.people import as_cli
from tests.support.some_caches import add_cache

STRANGE = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        [
            "",
            "*",
            "**",
            "cachewarden:*",
            "cachewarden:",
            "\\",
            "\\x",
            "\\xff",
            "{id}",
            "p:{id}{id}",
            "1-5000001",
            "9-1",
            '"',
            "a\r\nb",
            "\ufffd",
            "<script>alert(1)</script>",
            "%00",
            "-1",
            "1e9999",
            "nan",
            "٣",
            "9" * 30,
            "2026-13-45T99:99",
            "0 0 31 2 *",
            "product:",
            "100",
            "now",
            "0",
        ]
    ),
)
NAMES = """
by keys template ids prefix pattern tag mapping rows type ttl_min_s ttl_min_s.unit ttl_max_s idle_min_s
size_min_bytes size_max_bytes size_max_bytes.unit without_ttl action window_s window_s.unit lengthens
wants_report list_of revision when over_s over_s.unit at cron reason typed confirm back
database_budget_qps typed_above most_keys_per_s batch slowest_probe_ms at_a_time
"""
FIELDS = NAMES.split()
FORM = st.dictionaries(st.sampled_from(FIELDS), STRANGE, max_size=10)
CHOSEN = st.fixed_dictionaries(
    {
        "by": st.sampled_from(["keys", "ids", "prefix", "pattern", "tag", "rows"]),
        "action": st.sampled_from(["delete", "spread", "soft", "policy", "flush"]),
    }
)
FIXED = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def numbers(runtime: Runtime) -> tuple[int, int]:
    """A cache, and a purge of it that was counted."""
    cache = add_cache(runtime)
    return cache.id, purges.counted(runtime, cache.id).number


@pytest.fixture
def admin_here(app: Flask, runtime: Runtime) -> FlaskClient:
    return sign_in(app, runtime, Role.ADMIN, "hostile")


def states(runtime: Runtime, cache_id: int) -> dict[int, State]:
    with as_cli(runtime) as work:
        return {purge.number: purge.state for purge in service.list_purges(work, cache_id, limit=10_000)}


def is_sound(answer: Any) -> bool:
    return answer.status_code < 500 and b"<script>alert" not in answer.data


@FIXED
@given(FORM, CHOSEN, st.none() | st.binary(max_size=200))
def test_choosing_only_ever_makes_drafts(
    admin_here: FlaskClient,
    runtime: Runtime,
    numbers: tuple[int, int],
    form: dict[str, str],
    chosen: dict[str, str],
    file: bytes | None,
) -> None:
    cache_id, _ = numbers
    before = states(runtime, cache_id)
    data: dict[str, Any] = {**form, **chosen}
    if file is not None:
        data["file"] = (io.BytesIO(file), "x.txt")
    path = f"/caches/{cache_id}/invalidate/preview"
    answer = admin_here.post(path, data=data, content_type="multipart/form-data")
    assert is_sound(answer)
    after = states(runtime, cache_id)
    new = {number: state for number, state in after.items() if number not in before}
    assert set(new.values()) <= {State.DRAFT} and len(new) == (answer.status_code == 303)
    assert {number: after[number] for number in before} == before


@FIXED
@given(FORM)
def test_nothing_is_approved_by_accident(
    admin_here: FlaskClient, runtime: Runtime, numbers: tuple[int, int], form: dict[str, str]
) -> None:
    cache_id, number = numbers
    with as_cli(runtime) as work:
        before = service.get_purge(work, number), service.list_schedules(work, cache_id)
    answer = admin_here.post(f"/caches/{cache_id}/invalidate/{number}/approve", data=form)
    assert is_sound(answer)
    with as_cli(runtime) as work:
        after = service.get_purge(work, number), service.list_schedules(work, cache_id)
    asked = form.get("confirm", "").strip() == "100" and form.get("revision") == str(before[0].revision)
    assert asked or after == before


@FIXED
@given(
    st.sampled_from(
        [
            "impact",
            "pause",
            "resume",
            "recount",
            "cancel",
            "limits",
            "schedules/1/remove",
            "schedules/1/pause",
        ]
    ),
    FORM,
)
def test_buttons_and_limits_take_any_form(
    admin_here: FlaskClient, runtime: Runtime, numbers: tuple[int, int], path: str, form: dict[str, str]
) -> None:
    cache_id, number = numbers
    whole = path if "/" in path or path == "limits" else f"{number}/{path}"
    before = states(runtime, cache_id)
    assert is_sound(admin_here.post(f"/caches/{cache_id}/invalidate/{whole}", data=form))
    after = states(runtime, cache_id)
    assert after == before or (path in ("recount", "cancel") and "revision" in form)
    assert not any(state.is_active for state in after.values())


@FIXED
@given(
    st.sampled_from(["", "/live", "/steps", "/{number}", "/{number}/report", "/limits"]),
    st.dictionaries(st.sampled_from(["by", "q", "state", "before", "purge", "seen"]), STRANGE, max_size=4),
    st.booleans(),
)
def test_looking_takes_any_question_and_changes_nothing(
    admin_here: FlaskClient,
    runtime: Runtime,
    numbers: tuple[int, int],
    path: str,
    query: dict[str, str],
    is_partial: bool,
) -> None:
    cache_id, number = numbers
    before = states(runtime, cache_id)
    headers = {"HX-Request": "true", "HX-Request-Type": "partial"} if is_partial else {}
    where = f"/caches/{cache_id}/invalidate{path.format(number=number)}"
    assert is_sound(admin_here.get(where, query_string=query, headers=headers))
    assert states(runtime, cache_id) == before


@pytest.mark.parametrize(
    "body", [b"", b"--x\r\n", b'--x\r\nContent-Disposition: form-data; name="by"\r\n\r\nkeys', b"\xff" * 500]
)
def test_a_broken_body_is_no_server_error(
    admin_here: FlaskClient, numbers: tuple[int, int], body: bytes
) -> None:
    path = f"/caches/{numbers[0]}/invalidate/preview"
    answer = admin_here.post(path, data=body, content_type="multipart/form-data; boundary=x")
    assert 400 <= answer.status_code < 500


def test_a_get_never_changes_anything(
    admin_here: FlaskClient, runtime: Runtime, numbers: tuple[int, int]
) -> None:
    cache_id, number = numbers
    for path in (
        "preview",
        f"{number}/approve",
        f"{number}/cancel",
        f"{number}/recount",
        "schedules/1/remove",
    ):
        assert admin_here.get(f"/caches/{cache_id}/invalidate/{path}").status_code in (404, 405)
    foreign = {"Sec-Fetch-Site": "cross-site"}
    form = {"revision": "1", "when": "now", "confirm": "100"}
    for path in ("preview", f"{number}/approve", f"{number}/cancel", "limits"):
        answer = admin_here.post(f"/caches/{cache_id}/invalidate/{path}", data=form, headers=foreign)
        assert answer.status_code == 403
    assert states(runtime, cache_id) == {number: State.PREVIEWED}
