"""Every route says who may use it, and keeps its word for every role and for nobody."""

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from dashboard.access import Role
from dashboard.web import guard

# Written down here once more, on purpose: a route that is opened by mistake must fail a test.
PUBLIC = {
    "auth.sign_in",
    "auth.sign_in_submit",
    "auth.welcome",
    "auth.welcome_submit",
    "health.healthz",
    "health.metrics",
    "health.readyz",
    "resources.static_file",
}
VIEWER = {
    "audit.export",
    "audit.page",
    "auth.account",
    "auth.account_password",
    "auth.account_sign_out_everywhere",
    "auth.make_token",
    "auth.revoke_own_token",
    "auth.sign_out",
    "connections.connections",
    "forecast.page",
    "invalidation.live",
    "invalidation.page",
    "invalidation.purge",
    "invalidation.report",
    "keys.download",
    "keys.form_address",
    "keys.page",
    "keyspace.freshness",
    "keyspace.page",
    "lab.live",
    "lab.page",
    "lab.rule",
    "lab.runs",
    "lab.scenario",
    "monitoring.clients",
    "monitoring.commands",
    "monitoring.slow_log",
    "overview.close_tour",
    "overview.home",
    "overview.overview",
    "overview.series",
    "policies.compare",
    "policies.export",
    "policies.history",
    "policies.instances",
    "policies.live",
    "policies.policies",
    "policies.test",
    "policies.version",
    "policies_api.replace",
    "policies_api.show",
}
OPERATOR = {
    "forecast.jitter",
    "forecast.sample",
    "invalidation.approve",
    "invalidation.approve_again",
    "invalidation.cancel",
    "invalidation.chosen_keys",
    "invalidation.impact",
    "invalidation.pause",
    "invalidation.pause_schedule",
    "invalidation.preview",
    "invalidation.recount",
    "invalidation.remove_schedule",
    "invalidation.resume",
    "invalidation.resume_schedule",
    "invalidation.steps",
    "keys.delete",
    "keys.edit",
    "keys.edit_again",
    "keys.persist",
    "keys.rename",
    "keys.set_ttl",
    "keyspace.cancel",
    "keyspace.sample",
    "keyspace.scan",
    "lab.run",
    "lab.run_all",
    "lab.stop",
    "lab.stop_all",
    "policies.add",
    "policies.add_form",
    "policies.add_mapping",
    "policies.add_mapping_form",
    "policies.add_tier",
    "policies.add_tier_form",
    "policies.bypass",
    "policies.bypass_form",
    "policies.discard",
    "policies.draft",
    "policies.edit",
    "policies.edit_form",
    "policies.edit_mapping",
    "policies.edit_mapping_form",
    "policies.edit_tier",
    "policies.edit_tier_form",
    "policies.end_bypass",
    "policies.import_diff",
    "policies.import_form",
    "policies.import_stage",
    "policies.preview",
    "policies.publish",
    "policies.remove",
    "policies.remove_mapping",
    "policies.remove_tier",
    "policies.revert",
    "policies.unstage",
}
ADMIN = {
    "auth.change_role",
    "auth.create",
    "auth.disable",
    "auth.edit",
    "auth.enable",
    "auth.new",
    "auth.reset_password",
    "auth.revoke_token",
    "auth.users",
    "caches.remove",
    "caches.remove_form",
    "connections.create",
    "connections.edit",
    "connections.new",
    "connections.test",
    "connections.update",
    "invalidation.limits",
    "invalidation.set_limits",
    "invalidation.set_limits_again",
    "keyspace.limits",
    "keyspace.set_limits",
    "keyspace.set_limits_again",
    "settings.settings",
}
EXPECTED = {
    **dict.fromkeys(PUBLIC, guard.PUBLIC),
    **dict.fromkeys(VIEWER, Role.VIEWER),
    **dict.fromkeys(OPERATOR, Role.OPERATOR),
    **dict.fromkeys(ADMIN, Role.ADMIN),
}
# These work for everybody who is signed in, and end that.
ENDS_THE_SESSION = {"auth.sign_out", "auth.account_sign_out_everywhere"}


def routes(app: Flask) -> list[Rule]:
    return list(app.url_map.iter_rules())


def address(rule: Rule) -> str:
    def fill(part: str) -> str:
        if not part.startswith("<"):
            return part
        return "1" if part.startswith("<int:") else "x"

    return "/" + "/".join(map(fill, rule.rule.strip("/").split("/")))


def test_every_route_asks_for_what_is_written_here(app: Flask) -> None:
    assert {rule.endpoint: guard.access_of(app, rule.endpoint) for rule in routes(app)} == EXPECTED


def test_nobody_gets_past_the_sign_in(app: Flask, client: FlaskClient) -> None:
    for rule in routes(app):
        if rule.endpoint in PUBLIC:
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            page = client.open(address(rule), method=method)
            if rule.rule.startswith("/api/"):
                assert page.status_code == 401 and page.is_json, (method, rule.rule)
                assert page.headers["WWW-Authenticate"] == "Bearer"
                continue
            assert page.status_code == 303, (method, rule.rule, page.status_code)
            assert page.headers["Location"].startswith("/sign-in")
            part = client.open(
                address(rule), method=method, headers={"HX-Request": "true", "HX-Request-Type": "partial"}
            )
            assert part.status_code == 401, (method, rule.rule)
            assert part.headers["HX-Redirect"].startswith("/sign-in")


@pytest.mark.parametrize("role", list(Role))
def test_a_role_reaches_what_it_holds_and_no_more(
    app: Flask, role: Role, request: pytest.FixtureRequest
) -> None:
    browser: FlaskClient = request.getfixturevalue(role.value)
    for rule in routes(app):
        wanted = EXPECTED[rule.endpoint]
        if not isinstance(wanted, Role) or rule.endpoint in ENDS_THE_SESSION:
            continue
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            answer = browser.open(address(rule), method=method, data={} if method == "POST" else None)
            # Whatever else is wrong with an empty request, it must not be the role.
            assert (answer.status_code == 403) == (not role.holds(wanted)), (
                method,
                rule.rule,
                answer.status_code,
            )
            assert answer.status_code < 500 or answer.status_code == 503, (
                method,
                rule.rule,
                answer.status_code,
            )


def test_a_route_that_says_nothing_answers_nobody(app: Flask, request: pytest.FixtureRequest) -> None:
    app.add_url_rule("/forgotten", "forgotten", lambda: "secret")
    admin: FlaskClient = request.getfixturevalue("admin")
    answer = admin.get("/forgotten")
    assert answer.status_code == 403
    assert "secret" not in answer.get_data(as_text=True)
