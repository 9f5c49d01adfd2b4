"""One-time links: what they open, and that they open it once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient

from dashboard.access import Role
from dashboard.audit import store as audit_store
from dashboard.audit.types import Filter
from dashboard.auth import service, throttle
from dashboard.auth.types import DeadLink, SignedIn, User
from dashboard.errors import Forbidden, Refused
from dashboard.work import Runtime
from tests.conftest import FixedClock
from tests.support import people
from tests.support.people import add_user


@pytest.fixture
def desk(runtime: Runtime) -> User:
    return add_user(runtime, "desk", Role.ADMIN)


def make(runtime: Runtime, user: User) -> str:
    """Path and query of a new link."""
    with people.as_cli(runtime) as work:
        return service.create_link(work, user.id)


def token_of(link: str) -> str:
    return parse_qs(urlsplit(link).query)["token"][0]


def use(client: FlaskClient, link: str):  # type: ignore[no-untyped-def]
    return client.post("/welcome", data={"token": token_of(link)})


def is_signed_in(client: FlaskClient) -> bool:
    return client.get("/account").status_code == 200


def test_it_signs_in_once(client: FlaskClient, runtime: Runtime, desk: User) -> None:
    link = make(runtime, desk)
    answer = use(client, link)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert is_signed_in(client)
    client.post("/sign-out")
    again = use(client, link)
    assert again.status_code == 410 and "This link is over" in again.get_data(as_text=True)
    assert not is_signed_in(client)


def test_whoever_only_looks_does_not_use_it_up(client: FlaskClient, runtime: Runtime, desk: User) -> None:
    link = make(runtime, desk)
    for _ in range(30):
        page = client.get(link)
        assert page.status_code == 200 and "Sign in as desk" in page.get_data(as_text=True)
    assert client.head(link).status_code == 200
    assert not is_signed_in(client)
    assert use(client, link).status_code == 303


def test_only_its_own_page_may_send_it(client: FlaskClient, runtime: Runtime, desk: User) -> None:
    link = make(runtime, desk)
    away = client.post("/welcome", data={"token": token_of(link)}, headers={"Sec-Fetch-Site": "cross-site"})
    assert away.status_code == 403
    assert use(client, link).status_code == 303


def test_it_ends_after_a_quarter_of_an_hour(
    client: FlaskClient, runtime: Runtime, desk: User, clock: FixedClock
) -> None:
    first, second = make(runtime, desk), make(runtime, desk)
    clock.wall += timedelta(minutes=15) - timedelta(seconds=1)
    assert use(client, first).status_code == 303
    client.post("/sign-out")
    clock.wall += timedelta(seconds=1)
    assert client.get(second).status_code == 410
    assert use(client, second).status_code == 410


@pytest.mark.parametrize(
    "change",
    [
        lambda work, user: service.reset_password(work, user.id, "a brand new password"),
        lambda work, user: service.update_role(work, user.id, Role.VIEWER),
        lambda work, user: service.disable_user(work, user.id),
    ],
    ids=["password", "role", "disabled"],
)
def test_it_ends_with_the_sessions_of_its_account(
    client: FlaskClient, runtime: Runtime, desk: User, change: object
) -> None:
    add_user(runtime, "other", Role.ADMIN)
    link = make(runtime, desk)
    with people.as_cli(runtime) as work:
        change(work, desk)  # type: ignore[operator]
    assert use(client, link).status_code == 410
    assert not is_signed_in(client)


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "é" * 43, "A" * 5000, "' OR 1=1"])
def test_anything_else_opens_nothing(client: FlaskClient, desk: User, token: str) -> None:
    assert client.get("/welcome", query_string={"token": token}).status_code == 410
    assert client.post("/welcome", data={"token": token}).status_code == 410


def test_who_is_signed_in_goes_on_and_keeps_the_link(
    admin: FlaskClient, runtime: Runtime, desk: User
) -> None:
    link = make(runtime, desk)
    assert admin.get(link).headers["Location"] == "/"
    with people.as_nobody(runtime) as work:
        assert isinstance(service.sign_in_by_link(work, token_of(link)), SignedIn)


def test_guesses_close_the_address(client: FlaskClient, runtime: Runtime, desk: User) -> None:
    link = make(runtime, desk)
    for _ in range(throttle.ADDRESS_LIMIT):
        assert client.post("/welcome", data={"token": "A" * 43}).status_code == 410
    page = use(client, link)
    assert page.status_code == 429
    assert page.headers["Retry-After"] == "900" and "Too many tries" in page.get_data(as_text=True)


def test_good_links_close_nothing(client: FlaskClient, runtime: Runtime, desk: User) -> None:
    for _ in range(throttle.ADDRESS_LIMIT + 2):
        assert use(client, make(runtime, desk)).status_code == 303
        client.post("/sign-out")


def test_the_log_has_who_made_it_and_who_used_it_but_not_the_token(
    client: FlaskClient, runtime: Runtime, desk: User
) -> None:
    link = make(runtime, desk)
    use(client, link)
    client.post("/sign-out")
    use(client, link)
    with people.as_cli(runtime) as work:
        entries = audit_store.list_entries(work.session, Filter(), before_id=None, limit=100)[::-1]
    seen = [(each.action, each.actor_name, each.subject, each.result) for each in entries]
    assert ("auth:link:create", "root", "desk", "done") in seen
    assert ("auth:session:sign-in-by-link", "desk", "desk", "done") in seen
    assert ("auth:session:sign-in", "anonymous", "unknown account", "failed") in seen
    assert token_of(link) not in repr(entries)


def test_only_the_command_line_makes_one_and_not_of_a_disabled_account(runtime: Runtime, desk: User) -> None:
    other = add_user(runtime, "other", Role.ADMIN)
    with people.as_user(runtime, desk) as work, pytest.raises(Forbidden):
        service.create_link(work, other.id)
    with people.as_cli(runtime) as work:
        service.disable_user(work, other.id)
    with people.as_cli(runtime) as work, pytest.raises(Refused):
        service.create_link(work, other.id)


def test_of_two_at_the_same_moment_one_gets_in(live_runtime: Runtime) -> None:
    user = add_user(live_runtime, "desk", Role.ADMIN)
    for _ in range(5):
        token = token_of(make(live_runtime, user))

        def try_in(token: str = token) -> object:
            with people.as_nobody(live_runtime) as work:
                return service.sign_in_by_link(work, token)

        with ThreadPoolExecutor(4) as pool:
            outcomes = [each.result() for each in [pool.submit(try_in) for _ in range(4)]]
        assert sum(isinstance(each, SignedIn) for each in outcomes) == 1
        assert sum(isinstance(each, DeadLink) for each in outcomes) == 3
