"""The composition root: one Flask app out of the areas."""

from flask import Flask
from flask_compress import Compress

from dashboard.audit import views as audit_views
from dashboard.auth import service as auth_service
from dashboard.auth import views as auth_views
from dashboard.caches import views as caches_views
from dashboard.forecast import views as forecast_views
from dashboard.invalidation import views as invalidation_views
from dashboard.keys import views as keys_views
from dashboard.keyspace import views as keyspace_views
from dashboard.lab import views as lab_views
from dashboard.monitoring import views as monitoring_views
from dashboard.overview import chrome, connections, health, settings
from dashboard.overview import views as overview_views
from dashboard.policies import api as policies_api
from dashboard.policies import views as policies_views
from dashboard.web import context, errors, guard, params, resources, security, templating
from dashboard.work import Runtime


def create_app(runtime: Runtime) -> Flask:
    """Build the web application around ``runtime``."""
    app = Flask("dashboard", static_folder=None, template_folder=str(resources.folder("templates")))
    app.url_map.strict_slashes = False
    app.url_map.converters["int"] = params.IdConverter
    security.install(app, runtime.settings)
    context.install(app, runtime, auth_service.load_actor, auth_service.load_token)
    templating.install(app, chrome.build, chrome.running)
    errors.install(app, auth_views.sign_in_again)
    app.before_request(security.check_origin)
    app.before_request(guard.allow_long)
    app.before_request(security.check_text)
    app.before_request(guard.check)
    app.config.update(
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_LEVEL=9,
        COMPRESS_BR_LEVEL=6,
        COMPRESS_MIMETYPES=[
            "text/html", "text/css", "text/javascript", "application/json", "image/svg+xml", "text/csv",
        ],
    )  # fmt: skip
    Compress(app)
    for blueprint in (
        resources.bp, health.bp, settings.bp, overview_views.bp, connections.bp, monitoring_views.bp,
        policies_views.bp, policies_api.bp, keyspace_views.bp, keys_views.bp, invalidation_views.bp,
        forecast_views.bp, lab_views.bp, caches_views.bp, auth_views.bp, audit_views.bp,
    ):  # fmt: skip
        app.register_blueprint(blueprint)
    return app
