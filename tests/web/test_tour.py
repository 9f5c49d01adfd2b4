"""The first round on the Overview: four steps, how far they are, closed for good."""

import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from dashboard.access import Actor, Role
from dashboard.audit import service as audit
from dashboard.auth import service as auth
from dashboard.config import Settings
from dashboard.work import Runtime, unit_of_work
from tests.conftest import FixedClock
from tests.support.polled import polled_cache
from tests.support.some_caches import add_cache

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


@pytest.fixture(scope="session")
def settings(settings: Settings) -> Settings:
    """Those of the demo."""
    return settings.model_copy(update={"lab": True})


def shown(browser: FlaskClient, cache_id: int, **options: object) -> str:
    """The card on the Overview; empty: there is none."""
    page = browser.get(f"/caches/{cache_id}/overview?range=15m", **options).get_data(as_text=True)  # type: ignore[arg-type]
    found = re.search(r'<section class="card tour".*?</section>', page, re.DOTALL)
    return found[0] if found else ""


def done(card: str) -> list[str]:
    return re.findall(r'<h3>(\w+)<span class="sr">, done</span>', card)


def act(runtime: Runtime, name: str, action: str, result: str = "done", on: str = "campaign, run 7") -> None:
    """Something an account did, as its area records it."""
    with unit_of_work(runtime, Actor(None, "root", Role.ADMIN, "cli")) as work:
        user = auth.get_user_by_name(work, name)
    with unit_of_work(runtime, Actor(user.id, user.name, user.role, "web")) as work:
        audit.record(work, action, on, result=result)


def test_the_first_look_is_the_first_step(operator: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url)
    card = shown(operator, cache.id)
    assert done(card) == ["See"]
    assert "1 of 4 done, about 9 minutes left" in card
    assert "The cache answers 90% of reads. Numbers here are live." in card
    assert card.count('aria-current="step"') == 1
    (following,) = re.findall(r'<li aria-current="step">.*?<h3>(\w+)', card, re.DOTALL)
    assert following == "Set"
    links = re.findall(r'<a class="btn[^"]*" href="([^"]+)"', card)
    assert links == [
        f"/caches/{cache.id}/overview",
        f"/caches/{cache.id}/policies",
        f"/caches/{cache.id}/invalidate",
        "/lab/campaign",
    ]


def test_every_step_leads_somewhere(operator: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    card = shown(operator, polled_cache(runtime, valkey_url).id)
    for href in re.findall(r'<a class="btn[^"]*" href="([^"]+)"', card):
        assert operator.get(href).status_code == 200, href


def test_before_the_first_numbers_nothing_is_done(operator: FlaskClient, runtime: Runtime) -> None:
    card = shown(operator, add_cache(runtime).id)
    assert done(card) == [] and "0 of 4 done, about 10 minutes left" in card
    assert "Numbers here are live." in card and "answers" not in card


@pytest.mark.parametrize(
    ("action", "step", "left"),
    [
        ("policies:version:publish", "Set", 7),
        ("policies:version:apply", "Set", 7),
        ("invalidation:purge:approve", "Purge", 7),
        ("lab:run:start", "Run", 4),
    ],
)
def test_what_the_account_did_is_known(
    operator: FlaskClient, runtime: Runtime, valkey_url: str, action: str, step: str, left: int
) -> None:
    cache = polled_cache(runtime, valkey_url)
    act(runtime, "the-operator", action, result="refused")
    assert done(shown(operator, cache.id)) == ["See"]
    done_by_another(runtime, action)
    assert done(shown(operator, cache.id)) == ["See"]
    act(runtime, "the-operator", action)
    assert done(shown(operator, cache.id)) == ["See", step]
    assert f"2 of 4 done, about {left} minutes left" in shown(operator, cache.id)


def test_a_campaign_is_what_the_last_step_asks_for(
    operator: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    act(runtime, "the-operator", "lab:run:start", on="lost-race, run 3")
    assert done(shown(operator, cache.id)) == ["See"]
    act(runtime, "the-operator", "lab:run:start", on="campaign, run 4")
    assert done(shown(operator, cache.id)) == ["See", "Run"]


def test_nothing_is_live_while_the_cache_is_away(
    operator: FlaskClient, runtime: Runtime, valkey_url: str, clock: FixedClock
) -> None:
    cache = polled_cache(runtime, valkey_url)
    clock.wall += timedelta(minutes=10)
    card = shown(operator, cache.id)
    assert "Numbers here are live" not in card and "answers 90%" not in card
    assert "Numbers are live again when the cache answers again." in card


def done_by_another(runtime: Runtime, action: str) -> None:
    """The same, done by somebody else."""
    with unit_of_work(runtime, Actor(None, "root", Role.ADMIN, "cli")) as work:
        auth.create_user(work, "somebody", Role.OPERATOR, "correct horse battery staple")
    act(runtime, "somebody", action)


def test_at_the_end_it_says_what_is_next(operator: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url)
    for action in ("policies:version:publish", "invalidation:purge:approve", "lab:run:start"):
        act(runtime, "the-operator", action)
    card = shown(operator, cache.id)
    assert done(card) == ["See", "Set", "Purge", "Run"]
    assert "All 4 done" in card and 'href="/caches/new"' in card and "aria-current" not in card


def test_a_live_round_brings_it_anew(operator: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    cache = polled_cache(runtime, valkey_url)
    card = shown(operator, cache.id, headers=FRAGMENT)
    assert 'id="overview-tour" hx-swap-oob="outerMorph"' in card


def test_closed_is_closed_for_this_account(
    operator: FlaskClient, admin: FlaskClient, runtime: Runtime, valkey_url: str
) -> None:
    cache = polled_cache(runtime, valkey_url)
    for _ in range(2):
        answer = operator.post(f"/caches/{cache.id}/tour/close")
        assert (answer.status_code, answer.headers["Location"]) == (303, f"/caches/{cache.id}/overview")
    assert shown(operator, cache.id) == "" == shown(operator, cache.id, headers=FRAGMENT)
    assert shown(admin, cache.id)
    operator.post("/sign-out")
    operator.post("/sign-in", data={"name": "the-operator", "password": "correct horse battery staple"})
    assert shown(operator, cache.id) == ""


def test_who_may_only_look_has_none(viewer: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
    assert shown(viewer, polled_cache(runtime, valkey_url).id) == ""


class TestInProduction:
    """Without a lab."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"lab": False})

    def test_there_is_none(self, operator: FlaskClient, runtime: Runtime, valkey_url: str) -> None:
        assert shown(operator, polled_cache(runtime, valkey_url).id) == ""
