"""A session that ends in the middle of a form: what was typed goes through the sign-in and is shown again."""

import html
import io
import re
from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from werkzeug.test import encode_multipart

from dashboard.access import Role
from dashboard.invalidation import service
from dashboard.invalidation.types import State
from dashboard.work import Runtime
from tests.conftest import PASSWORD
from tests.support import purges
from tests.support.people import as_cli
from tests.support.some_caches import add_cache

TYPED = {"by": "keys", "keys": "product:1\r\n<b>&\"'\r\n", "action": "spread", "window_s": "zwölf"}


def hidden(page: str) -> dict[str, str]:
    """The hidden fields, as a browser would send them."""
    found = re.findall(r'<textarea name="([^"]*)" hidden>\n(.*?)</textarea>', page, re.DOTALL)
    return {html.unescape(name): html.unescape(value) for name, value in found}


def sign_in(browser: FlaskClient, fields: dict[str, str], name: str, password: str = PASSWORD) -> str:
    data = {"name": name, "password": password, "next": "/", **fields}
    return browser.post("/sign-in", data=data, content_type="multipart/form-data").get_data(as_text=True)


def test_what_was_typed_comes_back_in_its_form(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    as_role(Role.OPERATOR)
    path = f"/caches/{cache.id}/invalidate/preview"
    answer = client.post(path, data=TYPED, content_type="multipart/form-data")
    page = answer.get_data(as_text=True)
    assert answer.status_code == 401 and "Your session ended." in page and "<b>&" not in page
    # A wrong password first: nothing is lost by it.
    wrong = sign_in(client, hidden(page), "the-operator", "not the password")
    assert "Wrong username or password." in wrong and hidden(wrong) == hidden(page)
    again = sign_in(client, hidden(wrong), "the-operator")
    assert f'action="{path}"' in again and hidden(again) == TYPED
    refused = client.post(path, data=hidden(again), content_type="multipart/form-data")
    form = refused.get_data(as_text=True)
    assert refused.status_code == 422 and 'id="window_s-e"' in form
    assert 'value="zwölf"' in form and "product:1\r\n&lt;b&gt;&amp;&#34;&#39;" in form
    assert re.search(r'value="keys" checked', form) and re.search(r'value="spread" checked', form)


def test_a_file_or_what_is_too_long_has_to_be_given_again(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    as_role(Role.OPERATOR)
    path = f"/caches/{cache.id}/invalidate/preview"
    for more in ({"ids": "7," * 200_000}, {"file": (io.BytesIO(b"1\n2\n"), "ids.txt")}):
        data = {"by": "ids", "template": "product:{id}", **more}
        page = client.post(path, data=data, content_type="multipart/form-data").get_data(as_text=True)
        again = sign_in(client, hidden(page), "the-operator")
        assert "could not be kept" in again
        assert hidden(again) == {"by": "ids", "template": "product:{id}"}
        client.post("/sign-out")


def test_an_approval_is_never_given_by_going_on(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    draft = purges.counted(runtime, cache.id, keys=20)
    as_role(Role.OPERATOR)
    path = f"/caches/{cache.id}/invalidate/{draft.number}"
    typed = {"revision": str(draft.revision), "when": "now", "over_s": "7", "reason": "Prices, 4711"}
    page = client.post(f"{path}/approve", data=typed | {"confirm": "20"}).get_data(as_text=True)
    again = sign_in(client, hidden(page), "the-operator")
    (target,) = re.findall(r'<form class="card" method="post" action="([^"]*)"', again)
    answer = client.post(target, data=hidden(again), content_type="multipart/form-data")
    form = answer.get_data(as_text=True)
    assert answer.status_code == 200 and 'value="Prices, 4711"' in form and 'value="7"' in form
    assert re.search(r'value="now" checked', form) and not re.search(r'id="confirm"[^>]* checked', form)
    with as_cli(runtime) as work:
        assert service.get_purge(work, draft.number).state is State.PREVIEWED


def test_limits_are_not_changed_by_going_on(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], runtime: Runtime
) -> None:
    cache = add_cache(runtime)
    as_role(Role.ADMIN)
    path = f"/caches/{cache.id}/invalidate/limits"
    page = client.post(path, data={"revision": "0", "typed_above": "77"}).get_data(as_text=True)
    again = sign_in(client, hidden(page), "the-admin")
    (target,) = re.findall(r'<form class="card" method="post" action="([^"]*)"', again)
    answer = client.post(target, data=hidden(again), content_type="multipart/form-data")
    assert answer.status_code == 200 and 'value="77"' in answer.get_data(as_text=True)
    with as_cli(runtime) as work:
        assert service.limits(work, cache.id).typed_above == 10_000


def test_more_than_a_form_holds_is_not_even_read(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    boundary, body = encode_multipart({"by": "ids", "ids": "7," * 2_000_000})
    answer = client.post(
        f"/caches/{cache.id}/invalidate/preview",
        data=body,
        headers={"Referer": f"http://localhost/caches/{cache.id}/invalidate?by=ids"},
        content_type=f"multipart/form-data; boundary={boundary}",
    )
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"/sign-in?next=%2Fcaches%2F{cache.id}%2Finvalidate%3Fby%3Dids"


@pytest.mark.parametrize(
    "path",
    [
        "https://elsewhere.example/x",
        "//elsewhere.example/x",
        "/\\elsewhere.example",
        "/users/new",
        "/account",
        "/nowhere",
        "/sign-out",
        "/" + "x" * 5000,
        "/caches/1/invalidate",
        "/caches/x/invalidate/preview",
        "/caches/1/invalidate/1/approve",
        "/caches/1/invalidate/1/cancel",
        "/caches/1/invalidate/limits",
    ],
)
def test_leads_only_to_forms_that_asked_for_it(
    client: FlaskClient, as_role: Callable[[Role], FlaskClient], path: str
) -> None:
    as_role(Role.OPERATOR)
    fields = {"kept-path": path, "kept-.name": "x"}
    data = {"name": "the-operator", "password": PASSWORD, "next": "/audit", **fields}
    answer = client.post("/sign-in", data=data, content_type="multipart/form-data")
    assert (answer.status_code, answer.headers.get("Location")) == (303, "/audit")


def test_a_form_with_a_password_is_never_kept(client: FlaskClient) -> None:
    answer = client.post("/users/new", data={"name": "x", "password": "a secret of mine"})
    assert answer.status_code == 303 and "a secret of mine" not in answer.get_data(as_text=True)


def test_a_panel_is_told_to_sign_in_as_before(client: FlaskClient, runtime: Runtime) -> None:
    cache = add_cache(runtime)
    headers = {"HX-Request": "true", "HX-Request-Type": "partial"}
    answer = client.post(f"/caches/{cache.id}/invalidate/preview", data=TYPED, headers=headers)
    assert answer.status_code == 401 and answer.headers["HX-Redirect"].startswith("/sign-in")


def test_a_panel_leads_back_to_its_page(client: FlaskClient, runtime: Runtime) -> None:
    """Not to the panel alone, which is no page."""
    cache = add_cache(runtime)
    headers = {"HX-Request": "true", "HX-Request-Type": "partial"}
    page = f"/caches/{cache.id}/invalidate"
    for address, back in (
        (f"http://localhost{page}?state=all", f"%2Fcaches%2F{cache.id}%2Finvalidate%3Fstate%3Dall"),
        (f"http://elsewhere.example{page}", f"%2Fcaches%2F{cache.id}%2Finvalidate%2Flive%3Fseen%3D"),
        ("http://[", f"%2Fcaches%2F{cache.id}%2Finvalidate%2Flive%3Fseen%3D"),
    ):
        answer = client.get(f"{page}/live?seen=", headers={**headers, "HX-Current-URL": address})
        assert (answer.status_code, answer.headers["HX-Redirect"]) == (401, f"/sign-in?next={back}")
