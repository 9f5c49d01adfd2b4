"""Addresses for machines."""

from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from dashboard.app import create_app
from dashboard.db.session import Database
from dashboard.work import Runtime
from tests.conftest import SameOriginClient


def test_alive_needs_nothing(client: FlaskClient) -> None:
    assert client.get("/healthz").get_data() == b"ok\n"


def test_ready_when_the_schema_is_current(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200 and answer.get_json()["ready"] is True


def test_not_ready_without_postgresql(runtime: Runtime) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    app = create_app(Runtime(runtime.settings, away, runtime.fleet, runtime.cipher, runtime.clock))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert "PostgreSQL does not answer" in answer.get_json()["problem"]


def test_pages_say_that_postgresql_is_away(runtime: Runtime) -> None:
    away = Database("postgresql://nobody@127.0.0.1:1/none")
    app = create_app(Runtime(runtime.settings, away, runtime.fleet, runtime.cipher, runtime.clock))
    app.test_client_class = SameOriginClient
    answer = app.test_client().post("/sign-in", data={"name": "a", "password": "correct horse battery"})
    assert answer.status_code == 503
    assert "PostgreSQL does not answer" in answer.get_data(as_text=True)


def test_metrics_are_prometheus_text(app: Flask, client: FlaskClient, runtime: Runtime) -> None:
    families = {
        family.name: family
        for family in text_string_to_metric_families(client.get("/metrics").get_data(as_text=True))
    }
    assert "cachewarden_cache_up" in families and "cachewarden_build_info" in families


def test_metrics_stay_on_this_machine_unless_a_token_is_set(app: Flask, runtime: Runtime) -> None:
    outside = {"REMOTE_ADDR": "192.0.2.7"}
    assert app.test_client().get("/metrics", environ_base=outside).status_code == 403
    settings = runtime.settings.model_copy(update={"metrics_token": SecretStr("the-token")})
    forwarded = {"X-Forwarded-For": "203.0.113.9"}
    assert app.test_client().get("/metrics", headers=forwarded).status_code == 403
    guarded = create_app(
        Runtime(settings, runtime.database, runtime.fleet, runtime.cipher, runtime.clock)
    ).test_client()
    assert guarded.get("/metrics").status_code == 403
    assert guarded.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 403
    right = guarded.get("/metrics", headers={"Authorization": "Bearer the-token"}, environ_base=outside)
    assert right.status_code == 200
