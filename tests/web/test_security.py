"""Headers, cookies, the same-origin check and hostile input, on every kind of answer."""

import json
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from dashboard.access import Role
from dashboard.app import create_app
from dashboard.db.session import Database
from dashboard.work import Runtime
from tests.conftest import PASSWORD, SameOriginClient
from tests.support.shared import shared_data


@pytest.mark.parametrize("path", ["/sign-in", "/healthz", "/nowhere", "/static/x/css/app.css", "/"])
def test_every_answer_has_the_headers(client: FlaskClient, path: str) -> None:
    with client.get(path) as answer:
        headers = answer.headers
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "same-site"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, False),
        ({"Sec-Fetch-Site": None, "Origin": "http://localhost"}, True),
        ({"Sec-Fetch-Site": None, "Origin": "https://localhost"}, False),
        ({"Sec-Fetch-Site": None, "Origin": "http://localhost.evil.example"}, False),
        ({"Sec-Fetch-Site": None, "Origin": "null"}, False),
        ({"Sec-Fetch-Site": None}, False),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, False),
    ],
)
def test_only_our_own_pages_may_send_forms(
    admin: FlaskClient, headers: dict[str, str], is_taken: bool
) -> None:
    answer = admin.post("/sign-out", headers=headers)
    assert (answer.status_code != 403) == is_taken


def test_the_check_covers_the_sign_in_too(client: FlaskClient) -> None:
    answer = client.post(
        "/sign-in", data={"name": "a", "password": "b"}, headers={"Sec-Fetch-Site": "cross-site"}
    )
    assert answer.status_code == 403


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(app: Flask, as_role: object) -> None:
    browser = app.test_client()
    as_role(Role.VIEWER)  # type: ignore[operator]
    answer = browser.post("/sign-in", data={"name": "the-viewer", "password": "correct horse battery staple"})
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie


def app_with(runtime: Runtime, **changes: object) -> FlaskClient:
    settings = runtime.settings.model_copy(update=changes)
    app = create_app(Runtime(settings, runtime.database, runtime.fleet, runtime.cipher, runtime.clock))
    app.test_client_class = SameOriginClient
    return app.test_client()


def test_in_production_the_cookie_is_bound_to_this_host_and_https(
    runtime: Runtime, as_role: Callable[[Role], FlaskClient]
) -> None:
    as_role(Role.VIEWER)
    browser = app_with(runtime, secure_cookies=True)
    answer = browser.post("/sign-in", data={"name": "the-viewer", "password": PASSWORD})
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-cachewarden=") and "Secure" in cookie and "Path=/" in cookie
    assert "Domain" not in cookie


def test_other_hosts_are_refused_with_a_page(runtime: Runtime) -> None:
    browser = app_with(runtime, allowed_hosts=["cache.example"])
    for headers in ({}, {"HX-Request": "true", "HX-Request-Type": "partial"}, {"Accept": "application/json"}):
        answer = browser.get("/sign-in", headers={"Host": "evil.example", **headers})
        assert answer.status_code == 400
        assert "Traceback" not in answer.get_data(as_text=True)
    assert browser.get("/sign-in", headers={"Host": "cache.example"}).status_code == 200
    # Health checks ask this machine by its own names.
    for name in ("127.0.0.1:8765", "localhost"):
        assert browser.get("/healthz", headers={"Host": name}).status_code == 200


def test_forwarded_addresses_count_only_behind_a_trusted_proxy(
    runtime: Runtime, as_role: Callable[[Role], FlaskClient]
) -> None:
    """What the audit log says of where a sign-in came from."""

    def address_of(trusted: int, forwarded: str) -> str | None:
        browser = app_with(runtime, trusted_proxies=trusted)
        browser.post(
            "/sign-in",
            data={"name": "the-viewer", "password": PASSWORD},
            headers={"X-Forwarded-For": forwarded},
        )
        with runtime.database.transaction() as session:
            query = text("SELECT address FROM audit_entry ORDER BY id DESC LIMIT 1")
            return session.execute(query).scalar_one()

    as_role(Role.VIEWER)
    assert address_of(0, "203.0.113.9") == "127.0.0.1"
    assert address_of(1, "198.51.100.1, 203.0.113.9") == "203.0.113.9"
    assert address_of(1, "<script>") is None


def test_a_copied_cookie_is_worth_nothing_after_signing_out(
    app: Flask, as_role: Callable[[Role], FlaskClient]
) -> None:
    browser = as_role(Role.VIEWER)
    held = browser.get_cookie("cachewarden")
    assert held is not None
    thief = app.test_client()
    thief.set_cookie("cachewarden", held.value)
    assert thief.get("/caches").status_code == 200
    browser.post("/sign-out")
    assert thief.get("/caches").status_code == 303


def test_statements_in_errors_hide_their_values(database: Database) -> None:
    with pytest.raises(IntegrityError) as caught, database.transaction() as session:
        statement = text(
            "INSERT INTO user_account (name, role, password_hash, created_at, password_changed_at)"
            " VALUES ('desk', 'viewer', :hash, now(), now())"
        )
        for _ in range(2):
            session.execute(statement, {"hash": "argon2-hash-of-somebody"})
    assert "argon2-hash-of-somebody" not in str(caught.value)


def test_pages_are_not_kept_by_any_cache(viewer: FlaskClient) -> None:
    answer = viewer.get("/caches")
    assert answer.headers["Cache-Control"] == "no-store"
    assert "HX-Request-Type" in answer.headers["Vary"]


def test_static_files_are_kept_for_a_year_under_their_version_only(app: Flask, client: FlaskClient) -> None:
    from dashboard.web import resources

    def cached(address: str) -> tuple[int, str]:
        with client.get(address) as answer:
            return answer.status_code, answer.headers.get("Cache-Control", "")

    status, current = cached(f"/static/{resources.version()}/css/app.css")
    assert status == 200 and "immutable" in current
    status, other = cached("/static/0123456789ab/css/app.css")
    assert status == 200 and "immutable" not in other and "no-cache" in other
    status, missing = cached(f"/static/{resources.version()}/css/none.css")
    assert status == 404 and "immutable" not in missing


@pytest.mark.parametrize(
    "path", ["../../pyproject.toml", "%2e%2e/%2e%2e/pyproject.toml", "css/../../pyproject.toml"]
)
def test_static_never_leaves_its_folder(client: FlaskClient, path: str) -> None:
    answer = client.get(f"/static/x/{path}")
    assert answer.status_code == 404


def test_an_unexpected_error_shows_a_reference_and_nothing_else(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    from dashboard.web.guard import public

    @app.get("/boom")
    @public
    def boom() -> str:
        raise RuntimeError("the password is hunter2")

    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = client.get("/boom", headers={"X-Request-ID": "ref-from-proxy"})
    text = answer.get_data(as_text=True)
    assert answer.status_code == 500
    assert "ref-from-proxy" in text and "hunter2" not in text and "Traceback" not in text
    assert "ref-from-proxy" in caplog.text and "hunter2" in caplog.text


def test_an_unknown_address_is_a_page_or_json(client: FlaskClient) -> None:
    assert "Not found" in client.get("/nowhere").get_data(as_text=True)
    answer = client.get("/nowhere", headers={"Accept": "application/json"})
    assert answer.status_code == 404 and answer.get_json()["error"]["title"] == "Not found"


def test_a_form_larger_than_the_limit_is_refused(client: FlaskClient) -> None:
    answer = client.post("/sign-in", data={"name": "x" * (1024 * 1024 + 10), "password": "y"})
    assert answer.status_code == 413


def test_strange_strings_never_end_in_a_server_error(admin: FlaskClient) -> None:
    data = shared_data()
    strings = ["\0", "\ud7ff\ufffd", "'\"<script>", "../../x", "%00", "\u202e", "a" * 900]
    if data is not None:
        strings += json.loads((data / "strings" / "blns.json").read_text(encoding="utf-8"))
    for string in strings:
        for path, query in (
            ("/audit", {"contains": string, "who": string, "action": string}),
            ("/caches", {"environment": string}),
            ("/sign-in", {"next": string}),
        ):
            answer = admin.get(path, query_string=query)
            assert answer.status_code < 500, (path, string)
            assert "<script>alert" not in answer.get_data(as_text=True)


def test_a_panel_that_asks_by_itself_keeps_what_it_shows(viewer: FlaskClient) -> None:
    """In its place the error would be the last thing it says: nothing would ask again."""
    partial = {"HX-Request": "true", "HX-Request-Type": "partial"}
    by_itself = viewer.get("/caches/4711/invalidate/live", headers={**partial, "HX-Live": "true"})
    assert (by_itself.status_code, by_itself.headers.get("HX-Reswap")) == (404, "none")
    assert "HX-Reswap" not in viewer.get("/caches/4711/invalidate/live", headers=partial).headers
