"""API tokens: made and shown once, used, revoked, and what they never open."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.work import Runtime
from tests.conftest import FixedClock, sign_in
from tests.support.people import PASSWORD, as_cli
from tests.support.some_caches import add_cache

FORM = {
    "token_name": "ci-policies",
    "token_role": "viewer",
    "token_days": "30",
    "token_current": PASSWORD,
}


def make(browser: FlaskClient, **typed: str) -> str:
    """A new token, as its owner sees it."""
    answer = browser.post("/account/tokens", data={**FORM, **typed})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    (secret,) = re.findall(r">(cw_[0-9a-f]{48})<", answer.get_data(as_text=True))
    return str(secret)


def ask(
    app: Flask, path: str, token: str, method: str = "GET", scheme: str = "Bearer", **kwargs: object
) -> int:
    """The status that a program without cookies gets."""
    headers = {"Authorization": f"{scheme} {token}", "Sec-Fetch-Site": None}
    if method == "PUT":
        headers, kwargs = {**headers, "If-Match": '"0"'}, {"json": {}}
    return app.test_client().open(path, method=method, headers=headers, **kwargs).status_code  # type: ignore[arg-type]


def revoke_first(browser: FlaskClient, page: str) -> int:
    found = re.search(
        rf'action="({page}/\d+/revoke)"', browser.get(page.rpartition("/")[0]).get_data(as_text=True)
    )
    assert found is not None
    return browser.post(found[1]).status_code


def test_it_is_shown_once_and_kept_as_a_hash(operator: FlaskClient, runtime: Runtime) -> None:
    secret = make(operator)
    page = operator.get("/account").get_data(as_text=True)
    assert secret not in page and "ci-policies" in page and f"{secret[:7]}…" in page and "never" in page
    with as_cli(runtime) as work:
        row = str(work.session.execute(text("SELECT * FROM api_token")).mappings().one())
        entry = str(
            work.session.execute(text("SELECT * FROM audit_entry WHERE action = 'auth:token:create'"))
            .mappings()
            .one()
        )
    for kept in (row, entry):
        assert secret[7:] not in kept and secret.encode().hex() not in kept
    assert "the-operator" in entry and "ci-policies" in entry


def test_it_opens_the_api_and_no_page(app: Flask, viewer: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    secret, path = make(viewer), f"/api/caches/{cache.id}/policies"
    assert ask(app, path, secret) == 200
    assert ask(app, path, secret, scheme="bearer") == 200
    for page in ("/", "/account", f"/caches/{cache.id}/policies"):
        assert ask(app, page, secret) == 303
    assert ask(app, "/account", secret, "POST", data={}) == 403
    assert ask(app, "/account/tokens", secret, "POST", data=FORM) == 403


@pytest.mark.parametrize("spoilt", ["", "x", "cw_", "cw_" + "0" * 48, "cw_" + "é" * 48, "cw_" + "A" * 5000])
def test_a_wrong_one_opens_nothing_even_beside_a_session(
    viewer: FlaskClient, runtime: Runtime, spoilt: str
) -> None:
    cache = add_cache(runtime)
    header = f"Bearer {spoilt}".encode().decode("latin-1")
    answer = viewer.get(f"/api/caches/{cache.id}/policies", headers={"Authorization": header})
    assert answer.status_code == 401 and "cw_…" in answer.get_json()["error"]["what_to_do"]
    assert viewer.get("/account").status_code == 200


def test_a_revoked_one_opens_nothing(
    app: Flask, viewer: FlaskClient, admin: FlaskClient, runtime: Runtime
) -> None:
    path = f"/api/caches/{add_cache(runtime).id}/policies"
    mine, other = make(viewer), make(viewer, token_name="other")
    assert revoke_first(viewer, "/account/tokens") == 303
    assert (ask(app, path, mine), ask(app, path, other)) == (401, 200)
    assert "the-viewer" in admin.get("/users").get_data(as_text=True)
    assert revoke_first(admin, "/users/tokens") == 303
    assert ask(app, path, other) == 401
    with as_cli(runtime) as work:
        query = "SELECT actor_name, subject FROM audit_entry WHERE action = 'auth:token:revoke' ORDER BY id"
        assert work.session.execute(text(query)).all() == [
            ("the-viewer", "ci-policies"),
            ("the-admin", "other"),
        ]


def test_nobody_revokes_somebody_elses(viewer: FlaskClient, operator: FlaskClient, runtime: Runtime) -> None:
    make(operator)
    with as_cli(runtime) as work:
        number = work.session.execute(text("SELECT id FROM api_token")).scalar_one()
    assert viewer.post(f"/account/tokens/{number}/revoke").status_code == 404
    assert viewer.post(f"/users/tokens/{number}/revoke").status_code == 403
    assert operator.post(f"/account/tokens/{number}/revoke").status_code == 303
    assert operator.post(f"/account/tokens/{number}/revoke").status_code == 404


def test_it_ends(app: Flask, viewer: FlaskClient, runtime: Runtime, clock: FixedClock) -> None:
    path = f"/api/caches/{add_cache(runtime).id}/policies"
    secret = make(viewer, token_days="7")
    clock.wall += timedelta(days=7, seconds=-1)
    assert ask(app, path, secret) == 200
    clock.wall += timedelta(seconds=1)
    assert ask(app, path, secret) == 401


def test_it_may_no_more_than_its_account(app: Flask, admin: FlaskClient, runtime: Runtime) -> None:
    """The role that was chosen is a limit, and so is the account's of the moment."""
    operator = sign_in(app, runtime, Role.OPERATOR, "olga")
    path = f"/api/caches/{add_cache(runtime).id}/policies"
    weak, strong = make(operator), make(operator, token_name="strong", token_role="operator")
    assert ask(app, path, weak, "PUT") == 403
    assert ask(app, path, strong, "PUT") == 422
    with as_cli(runtime) as work:
        number = work.session.execute(text("SELECT id FROM user_account WHERE name = 'olga'")).scalar_one()
    assert admin.post(f"/users/{number}/role", data={"role": "viewer"}).status_code == 303
    assert (ask(app, path, strong), ask(app, path, strong, "PUT")) == (200, 403)
    assert admin.post(f"/users/{number}/disable").status_code == 303
    assert ask(app, path, strong) == 401


@pytest.mark.parametrize("how", ["disable", "password"])
def test_it_ends_when_its_account_is_shut_out(
    app: Flask, viewer: FlaskClient, admin: FlaskClient, runtime: Runtime, how: str
) -> None:
    """A token made from a session that somebody stole must not survive what an administrator does about it."""
    path = f"/api/caches/{add_cache(runtime).id}/policies"
    mine, other = make(viewer), make(viewer, token_name="a-second")
    others = make(admin)
    with as_cli(runtime) as work:
        query = "SELECT id FROM user_account WHERE name = 'the-viewer'"
        number = work.session.execute(text(query)).scalar_one()
    answer = admin.post(f"/users/{number}/{how}", data={"password": "an entirely new password"})
    assert answer.status_code == 303
    assert "API tokens ended" in admin.get("/users").get_data(as_text=True)
    if how == "disable":
        assert admin.post(f"/users/{number}/enable").status_code == 303
    assert (ask(app, path, mine), ask(app, path, other), ask(app, path, others)) == (401, 401, 200)
    with as_cli(runtime) as work:
        query = "SELECT actor_name, subject, before FROM audit_entry WHERE action = 'auth:token:revoke-all'"
        assert work.session.execute(text(query)).all() == [
            ("the-admin", "the-viewer", {"names": "a-second, ci-policies"})
        ]


def test_what_ends_sessions_says_which_tokens_go_on(
    app: Flask, viewer: FlaskClient, runtime: Runtime
) -> None:
    path = f"/api/caches/{add_cache(runtime).id}/policies"
    mine, other = make(viewer), make(viewer, token_name="a-second")
    new = "an entirely new password"
    form = {"current": PASSWORD, "new": new, "again": new}
    assert viewer.post("/account", data=form).headers["Location"] == "/account"
    said = "The API tokens a-second, ci-policies still open the API; revoke them on your account"
    assert said in viewer.get("/account").get_data(as_text=True)
    assert revoke_first(viewer, "/account/tokens") == 303
    assert viewer.post("/account/sign-out-everywhere").headers["Location"] == "/sign-in"
    assert "The API token ci-policies still opens the API" in viewer.get("/sign-in").get_data(as_text=True)
    assert (ask(app, path, mine), ask(app, path, other)) == (200, 401)


def test_a_session_alone_makes_none_and_guessing_is_throttled(viewer: FlaskClient, runtime: Runtime) -> None:
    for left in (4, 3, 2, 1, 0):
        answer = viewer.post("/account/tokens", data={**FORM, "token_current": "a guess of somebody"})
        page = answer.get_data(as_text=True)
        assert answer.status_code == 422 and f"Is not your password. {left} tries left." in page
        assert "a guess of somebody" not in page and 'value="ci-policies"' in page
    answer = viewer.post("/account/tokens", data=FORM)
    assert answer.status_code == 429 and "Try again in 15 min" in answer.get_data(as_text=True)
    with as_cli(runtime) as work:
        assert work.session.execute(text("SELECT count(*) FROM api_token")).scalar_one() == 0
        query = "SELECT count(*) FROM audit_entry WHERE action = 'auth:token:create' AND result = 'failed'"
        assert work.session.execute(text(query)).scalar_one() == 5


@pytest.mark.parametrize(
    ("typed", "field"),
    [
        ({"token_name": ""}, "token_name"),
        ({"token_name": "with space"}, "token_name"),
        ({"token_name": "x" * 65}, "token_name"),
        ({"token_role": "operator"}, "token_role"),
        ({"token_role": "king"}, "token_role"),
        ({"token_days": "8"}, "token_days"),
        ({"token_days": "-7"}, "token_days"),
        ({"token_days": "٣٠"}, "token_days"),
    ],
)
def test_what_can_not_be_is_refused_and_kept(viewer: FlaskClient, typed: dict[str, str], field: str) -> None:
    answer = viewer.post("/account/tokens", data={**FORM, **typed})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and "The token was not made." in page and f'id="{field}-e"' in page
    assert f'value="{ {**FORM, **typed}["token_name"] }"' in page


def test_a_name_is_taken_once_per_account(viewer: FlaskClient, operator: FlaskClient) -> None:
    make(viewer)
    make(operator)
    answer = viewer.post("/account/tokens", data={**FORM, "token_name": "CI-Policies"})
    assert answer.status_code == 422 and "already" in answer.get_data(as_text=True)


def test_when_it_was_used_is_noted_once_a_minute(
    app: Flask, viewer: FlaskClient, runtime: Runtime, clock: FixedClock
) -> None:
    path, secret = f"/api/caches/{add_cache(runtime).id}/policies", make(viewer)
    start, seen = clock.wall, []
    for _ in range(4):
        ask(app, path, secret)
        with as_cli(runtime) as work:
            seen.append(work.session.execute(text("SELECT last_used_at FROM api_token")).scalar_one())
        clock.wall += timedelta(seconds=30)
    assert [(moment - start).total_seconds() for moment in seen] == [0, 0, 60, 60]


def test_the_pages_need_sign_in(client: FlaskClient, as_role: Callable[[Role], FlaskClient]) -> None:
    for path in ("/account/tokens", "/account/tokens/1/revoke", "/users/tokens/1/revoke"):
        assert client.post(path).status_code == 303
    assert as_role(Role.OPERATOR).post("/users/tokens/1/revoke").status_code == 403
