"""The connection test of the form."""

from collections.abc import Callable

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text

from dashboard.access import Role
from dashboard.work import Runtime
from tests.support import odd_servers, servers
from tests.support.some_caches import SECRET, add_cache, fields

FRAGMENT = {"HX-Request": "true", "HX-Request-Type": "partial"}


def test_shows_the_steps_and_saves_nothing(admin: FlaskClient, valkey_url: str, runtime: Runtime) -> None:
    answer = admin.post("/caches/test", data=fields(url=valkey_url, password=""))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "Works" in page and "INFO is readable" in page and "Valkey 9" in page
    assert 'value="shop-prod"' in page and valkey_url.split(":")[2].partition("@")[0] not in page
    with runtime.database.transaction() as session:
        assert session.execute(text("SELECT count(*) FROM cache")).scalar_one() == 0


def test_as_fragment(admin: FlaskClient, valkey_url: str) -> None:
    answer = admin.post("/caches/test", data=fields(url=valkey_url, password=""), headers=FRAGMENT)
    page = answer.get_data(as_text=True).strip()
    assert page.startswith('<div class="gap" id="caches-check" role="status">') and "<form" not in page


def test_redis_away(admin: FlaskClient) -> None:
    url = f"redis://me@127.0.0.1:{servers.free_port()}/0"
    answer = admin.post("/caches/test", data=fields(url=url), headers=FRAGMENT)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200
    assert "Failed at step 1 of 5" in page and "refused the connection" in page
    assert page.count("not tried") == 4 and SECRET not in page


def test_forbidden_info_shows_the_line_that_grants_it(admin: FlaskClient) -> None:
    import redis

    with servers.redis_server() as port:
        with redis.Redis(port=port) as client:
            client.execute_command("ACL", "SETUSER", "u", "on", f">{SECRET}", "+ping")
        answer = admin.post("/caches/test", data=fields(url=f"redis://u@127.0.0.1:{port}"), headers=FRAGMENT)
    page = answer.get_data(as_text=True)
    assert "NOPERM: this user may not run INFO." in page
    assert ">ACL SETUSER u +info<" in page and "ACL SETUSER u ~* +ping" in page


def test_hostile_server_stays_text(admin: FlaskClient) -> None:
    error = b"-ERR <script>alert(1)</script>\r\n"
    talk = odd_servers.says(error, error * 3)
    with odd_servers.listener(talk) as port:
        answer = admin.post(
            "/caches/test", data=fields(url=f"redis://127.0.0.1:{port}", password=""), headers=FRAGMENT
        )
    page = answer.get_data(as_text=True)
    assert "<script>" not in page and "&lt;script&gt;" in page


def test_uses_the_stored_password_for_the_same_server_only(admin: FlaskClient, runtime: Runtime) -> None:
    with servers.redis_server("--requirepass", SECRET) as port:
        cache = add_cache(runtime, url=f"redis://:{SECRET}@127.0.0.1:{port}/0")
        data = fields(url=f"redis://127.0.0.1:{port}/0", password="", cache_id=str(cache.id))
        assert "Works" in admin.post("/caches/test", data=data, headers=FRAGMENT).get_data(as_text=True)
        elsewhere = {**data, "url": f"redis://127.0.0.1:{servers.free_port()}/0"}
        answer = admin.post("/caches/test", data=elsewhere, headers=FRAGMENT)
    assert answer.status_code == 422 and "Type the password again" in answer.get_data(as_text=True)


def test_bad_input_keeps_what_was_typed(admin: FlaskClient) -> None:
    answer = admin.post("/caches/test", data=fields(name="kept", url="http://x"))
    page = answer.get_data(as_text=True)
    assert answer.status_code == 422 and 'value="kept"' in page and 'value="http://x"' in page
    assert "scheme is not one of a Redis cache" in page


def test_unknown_id(admin: FlaskClient) -> None:
    assert admin.post("/caches/test", data=fields(cache_id="4711")).status_code == 404


def test_needs_sign_in(client: FlaskClient) -> None:
    assert client.post("/caches/test", data=fields()).status_code == 303


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_needs_the_role(as_role: Callable[[Role], FlaskClient], role: Role) -> None:
    assert as_role(role).post("/caches/test", data=fields()).status_code == 403
