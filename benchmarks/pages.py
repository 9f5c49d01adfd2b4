"""What the Overview costs: the request against a bare Flask page and ``SELECT 1``, and the bytes of a first visit.

``python -m benchmarks.pages``
"""

import re
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from benchmarks import history
from dashboard.access import Role
from dashboard.app import create_app
from dashboard.auth import service as auth
from dashboard.work import Runtime, unit_of_work
from tests.support import live

ROUNDS = 40
CEILING_KB = 150


def median_ms(run: Callable[[], object]) -> float:
    """Median milliseconds of one call, after three to warm up."""
    for _ in range(3):
        run()
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        run()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000


def bare_page() -> FlaskClient:
    """A Flask app that answers one constant page."""
    app = Flask("bare")
    app.add_url_rule("/", view_func=lambda: "<!doctype html><title>bare</title>")
    return app.test_client()


def signed_in(runtime: Runtime) -> FlaskClient:
    """A browser signed in to the dashboard."""
    with unit_of_work(runtime, live.ACTOR) as work:
        auth.create_user(work, name="bench", role=Role.VIEWER, password=live.PASSWORD)
    client = create_app(runtime).test_client()
    answer = client.post(
        "/sign-in",
        data={"name": "bench", "password": live.PASSWORD},
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert answer.status_code == 303, answer.status
    return client


def transferred(client: FlaskClient, path: str) -> dict[str, int]:
    """Compressed bytes of a page and of every file it loads, by address; nothing comes from another host."""
    headers = {"Accept-Encoding": "gzip"}
    page = client.get(path, headers=headers)
    html = client.get(path).get_data(as_text=True)
    wanted = set(re.findall(r'(?:src|href)="(/static/[^"#]+)', html))
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html), "a file from another host"
    sizes = {path: len(page.data)}
    while wanted:
        address = wanted.pop()
        answer = client.get(address, headers=headers)
        assert answer.status_code == 200, address
        sizes[address] = len(answer.data)
        if address.endswith(".css"):
            folder = address.rpartition("/")[0]
            css = client.get(address).get_data(as_text=True)
            found = {resolved(folder, name) for name in re.findall(r'url\("?([^")]+)"?\)', css)}
            wanted |= {name for name in found if not name.startswith("data:")} - set(sizes)
    return sizes


def resolved(folder: str, name: str) -> str:
    """The address of ``name`` as a stylesheet in ``folder`` means it."""
    parts = folder.split("/")
    for part in name.split("/"):
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory(prefix="cachewarden-bench-") as folder:
        Path(folder).chmod(0o755)
        with live.dashboard(Path(folder), with_worker=False) as running:
            cache_id = history.fill(running.runtime)
            client, bare = signed_in(running.runtime), bare_page()

            def select_1() -> None:
                with running.runtime.database.transaction() as session:
                    session.execute(text("SELECT 1"))

            floor_page, floor_query = median_ms(lambda: bare.get("/")), median_ms(select_1)
            print(
                f"bare Flask page {floor_page:.2f} ms, SELECT 1 in a transaction {floor_query:.2f} ms (medians)"
            )
            for name in ("15m", "1h", "6h", "24h", "7d", "30d"):
                path = f"/caches/{cache_id}/overview?range={name}"
                taken = median_ms(lambda path=path: client.get(path))
                print(
                    f"Overview {name:>3}: {taken:7.1f} ms = {taken / floor_page:5.0f} bare pages"
                    f" = {taken / floor_query:5.0f} SELECT 1"
                )
            sizes = transferred(client, f"/caches/{cache_id}/overview?range=6h")
            for address, size in sorted(sizes.items(), key=lambda item: -item[1]):
                print(f"{size / 1024:7.1f} KB  {address}")
            total = sum(sizes.values()) / 1024
            print(
                f"{total:7.1f} KB  first visit of the Overview, compressed, fonts included (ceiling {CEILING_KB})"
            )


if __name__ == "__main__":
    main()
