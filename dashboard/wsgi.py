"""The WSGI application for gunicorn: ``dashboard.wsgi:app``."""

from dashboard.app import create_app
from dashboard.config import load_settings
from dashboard.work import build_runtime

app = create_app(build_runtime(load_settings()))
