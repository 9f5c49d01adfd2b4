"""Signing out."""

from flask.testing import FlaskClient

from dashboard.audit import store
from dashboard.audit.types import Filter
from dashboard.work import Runtime
from tests.support import people


def test_it_ends_the_session_of_this_browser(viewer: FlaskClient, runtime: Runtime) -> None:
    answer = viewer.post("/sign-out")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/sign-in")
    assert viewer.get("/account").status_code == 303
    with people.as_cli(runtime) as work:
        (entry,) = store.list_entries(
            work.session, Filter(actions=("auth:session:sign-out",)), before_id=None, limit=9
        )
    assert (entry.actor_name, entry.subject) == ("the-viewer", "the-viewer")


def test_a_link_cannot_sign_anybody_out(viewer: FlaskClient) -> None:
    assert viewer.get("/sign-out").status_code == 405
    assert viewer.post("/sign-out", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert viewer.get("/account").status_code == 200


def test_signed_out_already_it_leads_to_the_sign_in(client: FlaskClient) -> None:
    assert client.post("/sign-out").headers["Location"].startswith("/sign-in")
