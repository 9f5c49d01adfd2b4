"""The last step of a purge, its buttons, limits and schedules: done as asked, or refused with what was typed."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.caches.types import Cache, Environment
from dashboard.errors import InvalidInput
from dashboard.invalidation import service, store
from dashboard.invalidation.types import Action, Limits, Purge, Schedule, SelectBy, State, When
from dashboard.policies import store as counts
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import purges
from tests.support.people import as_cli
from tests.support.some_caches import add_cache


def base(cache_id: int) -> str:
    return f"/caches/{cache_id}/invalidate"


def now_is(runtime: Runtime, number: int) -> Purge:
    with as_cli(runtime) as work:
        return service.get_purge(work, number)


def approve(browser: FlaskClient, purge: Purge, **form: str) -> Any:
    data = {"revision": str(purge.revision), "when": "over", "over_s": "30", "reason": "Wrong prices", **form}
    return browser.post(f"{base(purge.cache_id)}/{purge.number}/approve", data=data)


def audited(runtime: Runtime, action: str) -> list[Any]:
    with as_cli(runtime) as work:
        query = "SELECT actor_name, subject, reason FROM audit_entry WHERE action = :action ORDER BY id"
        return [tuple(row) for row in work.session.execute(text(query), {"action": action})]


@pytest.fixture
def cache(runtime: Runtime) -> Cache:
    return add_cache(runtime)


# --- approving --------------------------------------------------------------------------------------------------


def test_it_is_approved_as_chosen_with_an_audit_entry(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    purge = purges.counted(runtime, cache.id)
    answer = approve(operator, purge, confirm="100", **{"over_s": "2", "over_s.unit": "m"})
    assert (answer.status_code, answer.headers["Location"]) == (303, base(cache.id))
    approved = now_is(runtime, purge.number)
    assert (approved.state, approved.plan.when, approved.plan.over_s) == (State.WAITING, When.OVER, 120)
    assert approved.reason == "Wrong prices" and approved.cap == 130
    assert audited(runtime, "invalidation:purge:approve") == [
        ("the-operator", f"purge {purge.number}", "Wrong prices")
    ]
    page = operator.get(base(cache.id)).get_data(as_text=True)
    assert f"Purge {purge.number} is approved." in page and "goes on when this page is closed" in page


def test_now_and_at_a_time(operator: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    purge = purges.counted(runtime, cache.id)
    assert approve(operator, purge, when="now", confirm="100").status_code == 303
    assert now_is(runtime, purge.number).plan.when is When.NOW
    later = purges.counted(runtime, cache.id)
    at = runtime.clock.now() + timedelta(hours=16)
    assert approve(operator, later, when="at", at=f"{at:%Y-%m-%dT%H:%M}", confirm="100").status_code == 303
    assert now_is(runtime, later.number).plan.at == at
    page = operator.get(base(cache.id)).get_data(as_text=True)
    assert "Tomorrow 04:00 UTC" in page and "about 100 keys" in page and f"{later.number}/cancel" in page


@pytest.mark.parametrize(
    ("form", "field"),
    [
        ({}, "confirm"),
        ({"confirm": "100", "when": ""}, "when"),
        ({"confirm": "100", "over_s": ""}, "over_s"),
        ({"confirm": "100", "over_s": "1e99"}, "over_s"),
        ({"confirm": "100", "when": "at", "at": "2020-01-01T00:00"}, "at"),
        ({"confirm": "100", "when": "at", "at": "2999-01-01T00:00"}, "at"),
        ({"confirm": "100", "when": "cron", "cron": "0 4 31 2 *"}, "cron"),
        ({"confirm": "100", "when": "cron", "cron": "every day"}, "cron"),
        ({"confirm": "100", "reason": "x" * 501}, "reason"),
    ],
)
def test_what_is_wrong_is_said_and_kept(
    operator: FlaskClient, runtime: Runtime, cache: Cache, form: dict[str, str], field: str
) -> None:
    purge = purges.counted(runtime, cache.id)
    answer = approve(operator, purge, **form)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "Not approved." in page, page[-500:]
    assert f'id="{field}-e"' in page or field == "when"
    for name, value in {"reason": "Wrong prices", **form}.items():
        assert name in ("confirm", "when") or f'value="{value}"' in page
    assert now_is(runtime, purge.number).state is State.PREVIEWED
    with as_cli(runtime) as work:
        assert service.list_schedules(work, cache.id) == []


def test_friction_grows_with_what_is_done(operator: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    one = purges.counted(runtime, cache.id, purges.plan("", SelectBy.KEYS), (b"a",), keys=1)
    page = operator.get(f"{base(cache.id)}?purge={one.number}").get_data(as_text=True)
    assert 'name="confirm"' not in page and 'name="typed"' not in page
    assert approve(operator, one, reason="").status_code == 303
    large = purges.counted(runtime, cache.id, keys=10_001)
    page = operator.get(f"{base(cache.id)}?purge={large.number}").get_data(as_text=True)
    # What is typed confirms the count that stands above it; no tick beside.
    assert "More than 10,000 keys" in page and 'name="confirm"' not in page
    refused = approve(operator, large, reason="", typed="prod")
    page = refused.get_data(as_text=True)
    assert refused.status_code == 422 and 'id="typed-e"' in page and 'id="reason-e"' in page
    assert 'value="prod"' in page and 'id="confirm-e"' not in page
    assert approve(operator, large, confirm="10002", typed="product:").status_code == 409
    assert approve(operator, large, typed="product:").status_code == 303


def test_a_production_cache_always_asks_why(operator: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime, environment=Environment.PRODUCTION)
    purge = purges.counted(runtime, cache.id, purges.plan("", SelectBy.KEYS), (b"a",), keys=1)
    refused = approve(operator, purge, reason=" ")
    assert refused.status_code == 422 and "is a production cache" in refused.get_data(as_text=True)
    assert approve(operator, purge).status_code == 303


def test_what_is_over_the_database_budget_is_typed(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    """A hundred keys that are read ten thousand times a second: too much at once, and nothing over half a minute."""
    with runtime.database.transaction() as session:
        now = runtime.clock.now()
        counts.ensure_partitions(session, now)
        for minute in (2, 1):
            at = now - timedelta(minutes=minute)
            counts.add_growth(session, cache.id, {"product:": {"hits": 600_000}}, at)
            counts.put_counts(session, cache.id, {"hits:product:": 1}, now)
    purge = purges.counted(runtime, cache.id)
    page = operator.get(f"{base(cache.id)}?purge={purge.number}").get_data(as_text=True)
    assert 'id="typed-field"' in page and 'name="typed"' not in page
    partial = {"HX-Request": "true", "HX-Request-Type": "partial"}
    for when, is_asked in (("now", True), ("over", False), ("cron", False)):
        answer = operator.post(
            f"{base(cache.id)}/{purge.number}/impact", data={"when": when, "over_s": "30"}, headers=partial
        )
        part = answer.get_data(as_text=True)
        assert ('name="typed"' in part) == is_asked and 'id="typed-field" hx-swap-oob' in part
    refused = approve(operator, purge, when="now", confirm="100")
    page = refused.get_data(as_text=True)
    assert refused.status_code == 422 and 'id="typed-e"' in page and "the budget is 500." in page
    with as_cli(runtime) as work:
        at_once = replace(purge.plan, when=When.NOW)
        assert service.friction_of(work, purge, at_once).typed == "product:"
        with pytest.raises(InvalidInput) as missing:
            service.create_schedule(
                work,
                purge.number,
                revision=purge.revision,
                line="0 4 * * *",
                confirmed_keys=100,
                plan=at_once,
            )
        assert set(missing.value.fields) == {"typed", "reason"}
    assert approve(operator, purge, when="now", confirm="100", typed="product:").status_code == 303
    gentle = purges.counted(runtime, cache.id)
    assert approve(operator, gentle, confirm="100").status_code == 303


def test_the_last_button_follows_what_is_chosen(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    purge = purges.counted(runtime, cache.id)
    path = f"{base(cache.id)}/{purge.number}/impact"
    partial = {"HX-Request": "true", "HX-Request-Type": "partial"}
    button = re.compile(r'<button[^>]*id="approve-button"([^>]*)>.*?</svg>([^<]*)</button>')
    for form, words in (
        ({"when": "over", "over_s": "40", "over_s.unit": "m"}, "Remove 100 keys over 40 m"),
        ({"when": "now", "over_s": "40", "over_s.unit": "m"}, "Remove 100 keys now"),
    ):
        page = operator.post(path, data=form, headers=partial).get_data(as_text=True)
        found = button.search(page)
        assert found is not None and "hx-swap-oob" in found[1] and found[2] == words
        whole = button.search(operator.post(path, data=form).get_data(as_text=True))
        assert whole is not None and "hx-swap-oob" not in whole[1] and whole[2] == words


def test_what_was_counted_again_meanwhile_is_looked_at_again(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    purge = purges.counted(runtime, cache.id)
    for form in ({"confirm": "99"}, {"confirm": "100", "revision": "0"}, {"confirm": "100", "revision": "x"}):
        answer = approve(operator, purge, **form)
        page = answer.get_data(as_text=True)
        assert answer.status_code == 409 and "Not approved." in page and 'value="Wrong prices"' in page
    assert now_is(runtime, purge.number).state is State.PREVIEWED


def test_an_old_preview_and_a_read_only_cache_refuse(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    purge = purges.counted(runtime, cache.id)
    cast(FixedClock, runtime.clock).wall += timedelta(minutes=11)
    answer = approve(operator, purge, confirm="100")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409 and "Count again" in page and 'value="Wrong prices"' in page


@pytest.mark.parametrize("state", [state for state in State if state is not State.PREVIEWED])
def test_what_is_not_waiting_for_it_is_not_approved(
    operator: FlaskClient, runtime: Runtime, cache: Cache, state: State
) -> None:
    purge = purges.in_state(runtime, cache.id, state)
    assert approve(operator, purge, confirm="100").status_code == 409
    assert now_is(runtime, purge.number).state is state


def test_the_cost_is_drawn_for_what_stands_in_the_form(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    purge = purges.counted(runtime, cache.id)
    path = f"{base(cache.id)}/{purge.number}/impact"
    whole = operator.post(path, data={"over_s": "77", "when": "now", "reason": "typed"})
    page = whole.get_data(as_text=True)
    assert whole.status_code == 200 and 'value="77"' in page and 'value="typed"' in page
    assert re.search(r'value="now" checked', page)
    wrong = operator.post(path, data={"over_s": "soon"})
    assert wrong.status_code == 422 and 'id="over_s-e"' in wrong.get_data(as_text=True)
    partial = {"HX-Request": "true", "HX-Request-Type": "partial"}
    part = operator.post(path, data={"over_s": "77"}, headers=partial)
    assert part.get_data(as_text=True).lstrip().startswith('<div class="gap tight" id="invalidation-impact"')
    assert operator.post(path, data={"over_s": "soon"}, headers=partial).status_code == 204
    assert now_is(runtime, purge.number) == purge


# --- buttons ----------------------------------------------------------------------------------------------------


def press(browser: FlaskClient, purge: Purge, verb: str, **form: str) -> Any:
    data = {"revision": str(purge.revision), **form}
    return browser.post(f"{base(purge.cache_id)}/{purge.number}/{verb}", data=data)


def test_pause_resume_recount_cancel(operator: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    purge = purges.in_state(runtime, cache.id, State.WAITING)
    assert press(operator, purge, "pause").headers["Location"] == base(cache.id)
    paused = now_is(runtime, purge.number)
    assert paused.state is State.PAUSED
    back = press(operator, paused, "resume", back="purge")
    assert back.headers["Location"] == f"{base(cache.id)}/{purge.number}"
    press(operator, now_is(runtime, purge.number), "pause")
    again = press(operator, now_is(runtime, purge.number), "recount")
    assert again.headers["Location"] == f"{base(cache.id)}?purge={purge.number}#preview"
    assert now_is(runtime, purge.number).state is State.DRAFT
    press(operator, now_is(runtime, purge.number), "cancel")
    assert now_is(runtime, purge.number).state is State.CANCELLED
    for verb in ("pause", "resume", "recount", "cancel"):
        assert {who for who, _, _ in audited(runtime, f"invalidation:purge:{verb}")} == {"the-operator"}


@pytest.mark.parametrize("verb", ["pause", "resume", "recount", "cancel"])
@pytest.mark.parametrize("form", [{}, {"back": "purge"}])
def test_who_comes_too_late_is_told(
    operator: FlaskClient, runtime: Runtime, cache: Cache, verb: str, form: dict[str, str]
) -> None:
    done = purges.in_state(runtime, cache.id, State.DONE)
    answer = press(operator, done, verb, **form)
    assert answer.status_code == 409 and "Not done." in answer.get_data(as_text=True)
    stale = press(operator, purges.in_state(runtime, cache.id, State.PAUSED), verb, revision="0", **form)
    assert stale.status_code == 409


@pytest.mark.parametrize("verb", ["approve", "impact", "pause", "resume", "recount", "cancel"])
def test_buttons_need_sign_in_the_role_and_the_right_cache(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime, cache: Cache, verb: str
) -> None:
    purge = purges.counted(runtime, cache.id)
    assert press(client, purge, verb).status_code in (303, 401)
    assert press(as_role(Role.VIEWER), purge, verb).status_code == 403
    other = add_cache(runtime, "other")
    operator = as_role(Role.OPERATOR)
    form = {"revision": str(purge.revision), "when": "now", "confirm": "100", "over_s": "1"}
    for path in (f"{base(other.id)}/{purge.number}/{verb}", f"{base(cache.id)}/987654/{verb}"):
        assert operator.post(path, data=form).status_code == 404
    assert now_is(runtime, purge.number) == purge


# --- limits -----------------------------------------------------------------------------------------------------

LIMITS = {
    "database_budget_qps": "250",
    "typed_above": "5,000",
    "most_keys_per_s": "20000",
    "batch": "100",
    "slowest_probe_ms": "1.5",
    "at_a_time": "2",
    "revision": "0",
}


def limits_of(runtime: Runtime, cache: Cache) -> Limits:
    with as_cli(runtime) as work:
        return service.limits(work, cache.id)


def test_an_administrator_changes_the_limits(admin: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    page = admin.get(f"{base(cache.id)}/limits").get_data(as_text=True)
    assert 'value="10000"' in page and 'value="500"' in page
    answer = admin.post(f"{base(cache.id)}/limits", data=LIMITS)
    assert (answer.status_code, answer.headers["Location"]) == (303, base(cache.id))
    found = limits_of(runtime, cache)
    assert (found.database_budget_qps, found.typed_above, found.at_a_time) == (250.0, 5000, 2)
    assert audited(runtime, "invalidation:limits:change")[0][0] == "the-admin"
    page = admin.get(base(cache.id)).get_data(as_text=True)
    assert "250 reads/s" in page and "5,000 keys" in page and "The limits are changed." in page
    late = admin.post(f"{base(cache.id)}/limits", data={**LIMITS, "batch": "77"})
    assert late.status_code == 409 and 'value="77"' in late.get_data(as_text=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch", "0"),
        ("batch", "many"),
        ("at_a_time", "99"),
        ("typed_above", "1.5"),
        ("slowest_probe_ms", "nan"),
    ],
)
def test_limits_that_are_none_are_refused(
    admin: FlaskClient, runtime: Runtime, cache: Cache, name: str, value: str
) -> None:
    answer = admin.post(f"{base(cache.id)}/limits", data={**LIMITS, name: value})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and f'id="{name}-e"' in page and f'value="{value}"' in page
    assert limits_of(runtime, cache) == Limits()


def test_limits_need_the_role_and_a_cache(admin: FlaskClient, operator: FlaskClient, cache: Cache) -> None:
    assert operator.get(f"{base(cache.id)}/limits").status_code == 403
    assert operator.post(f"{base(cache.id)}/limits", data=LIMITS).status_code == 403
    assert admin.get(f"{base(4711)}/limits").status_code == 404
    assert admin.post(f"{base(4711)}/limits", data=LIMITS).status_code == 404


# --- schedules --------------------------------------------------------------------------------------------------


def scheduled(browser: FlaskClient, runtime: Runtime, cache: Cache) -> Schedule:
    purge = purges.counted(runtime, cache.id, purges.plan(action=Action.SPREAD, window_s=60))
    answer = approve(browser, purge, when="cron", cron=" 0  4 * * MON-fri", confirm="100", over_s="300")
    assert answer.status_code == 303, answer.get_data(as_text=True)
    with as_cli(runtime) as work:
        return service.list_schedules(work, cache.id)[-1]


def test_a_schedule_is_made_paused_resumed_and_removed(
    operator: FlaskClient, runtime: Runtime, cache: Cache
) -> None:
    schedule = scheduled(operator, runtime, cache)
    assert (schedule.cron, schedule.plan.when, schedule.plan.over_s) == ("0 4 * * mon-fri", When.OVER, 300)
    page = operator.get(base(cache.id)).get_data(as_text=True)
    assert "0 4 * * mon-fri, over 5 m, next" in page and "Did not run yet." in page

    def press_it(verb: str, revision: int) -> Any:
        path = f"{base(cache.id)}/schedules/{schedule.number}/{verb}"
        return operator.post(path, data={"revision": str(revision)})

    assert press_it("pause", 0).status_code == 303
    assert "mon-fri, over 5 m, paused" in operator.get(base(cache.id)).get_data(as_text=True)
    late = press_it("remove", 0)
    assert late.status_code == 409 and "Somebody else changed" in late.get_data(as_text=True)
    assert press_it("resume", 1).status_code == 303
    assert press_it("remove", 2).status_code == 303
    with as_cli(runtime) as work:
        assert service.list_schedules(work, cache.id) == []
    for verb in ("create", "pause", "resume", "remove"):
        assert audited(runtime, f"invalidation:schedule:{verb}")[0][0] == "the-operator"


@pytest.mark.parametrize("verb", ["pause", "resume", "remove"])
def test_schedules_need_the_role_and_the_right_cache(
    operator: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime, cache: Cache, verb: str
) -> None:
    schedule = scheduled(operator, runtime, cache)
    data = {"revision": "0"}
    path = f"schedules/{schedule.number}/{verb}"
    assert as_role(Role.VIEWER).post(f"{base(cache.id)}/{path}", data=data).status_code == 403
    other = add_cache(runtime, "other")
    assert operator.post(f"{base(other.id)}/{path}", data=data).status_code == 404
    assert operator.post(f"{base(cache.id)}/schedules/98765/{verb}", data=data).status_code == 404
    with as_cli(runtime) as work:
        assert service.list_schedules(work, cache.id) == [schedule]


def test_what_a_schedule_made_is_linked(operator: FlaskClient, runtime: Runtime, cache: Cache) -> None:
    schedule = scheduled(operator, runtime, cache)
    purge = purges.in_state(runtime, cache.id, State.DONE)
    with as_cli(runtime) as work:
        store.change_purge(work.session, purge.number, schedule_id=schedule.number)
    page = operator.get(base(cache.id)).get_data(as_text=True)
    assert f'href="{base(cache.id)}/{purge.number}">Purge {purge.number}: done</a>' in page
