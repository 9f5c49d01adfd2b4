"""Rendering: one frozen dataclass per template, under StrictUndefined."""

from collections.abc import Callable

from flask import Flask, Response, current_app, g, make_response, render_template
from jinja2 import StrictUndefined
from werkzeug.local import LocalProxy

from dashboard.web import htmx, resources
from dashboard.web.bars import bar_plot
from dashboard.web.formats import FILTERS
from dashboard.web.lines import line_plot
from dashboard.web.ruler import ruler
from dashboard.web.spark import bar_width, spark_path
from dashboard.web.stack import stack_plot

_EXTENSION = "cachewarden-running"


def install(app: Flask, chrome: Callable[[], object], running: Callable[[], str]) -> None:
    """Set the environment of all templates up.

    Args:
        chrome: returns what the frame around every page shows (navigation, cache switcher, account).
        running: returns the part of it that every live round brings anew: the purges under way, in words.
    """
    app.extensions[_EXTENSION] = running
    app.jinja_env.undefined = StrictUndefined
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(FILTERS)
    app.jinja_env.globals.update(
        asset=resources.asset,
        bar_plot=bar_plot,
        bar_width=bar_width,
        is_partial=htmx.is_partial,
        line_plot=line_plot,
        ruler=ruler,
        spark_path=spark_path,
        stack_plot=stack_plot,
    )

    def once() -> object:
        if "chrome" not in g:
            g.chrome = chrome()
        return g.chrome

    # Made when a template looks at it: fragments and error pages do without.
    app.context_processor(lambda: {"chrome": LocalProxy(once)})


def render(template: str, page: object, *, fragment: str | None = None, status: int = 200) -> Response:
    """Answer with the page, or with only its fragment where htmx asks for one.

    Args:
        template: the whole page's template.
        page: the dataclass both templates read.
        fragment: the partial's template; None when the page has none.
        status: 200, or 422 for a refused form.
    """
    if fragment is None or not htmx.is_partial():
        return make_response(render_template(template, page=page), status)
    body = render_template(fragment, page=page)
    if htmx.has_notices():
        body += render_template("_toasts.html")
    if htmx.is_round():
        body += _running()
    return make_response(body, status)


def unchanged() -> Response:
    """Answer a live round that finds its panel as it was: only what the frame shows comes anew."""
    return make_response(_running())


def _running() -> str:
    return render_template("_running.html", page=current_app.extensions[_EXTENSION]())
