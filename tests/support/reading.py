"""Pages as their readers get them."""

import re
from typing import Any

from flask.testing import FlaskClient


def shown(browser: FlaskClient, path: str, status: int = 200, **options: Any) -> str:
    """A page, which has the status and styles nothing by itself.

    Args:
        options: of the request, as the client takes them.
    """
    answer = browser.get(path, **options)
    page: str = answer.get_data(as_text=True)
    assert answer.status_code == status, page[-2000:]
    assert "style=" not in page
    return page


def words(page: str) -> str:
    """What is to be read of a page below its heading, blanks as one."""
    return " ".join(re.sub(r"<[^>]+>", " ", page.partition("<h1>")[2] or page).split())
