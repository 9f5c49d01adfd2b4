"""`cachewarden health`: one line and an exit code that tell whether the installation works."""

import time
from datetime import timedelta

import psycopg
from click.testing import CliRunner, Result

from dashboard.cli import main
from dashboard.work import Runtime
from dashboard.worker import start_worker
from tests.conftest import SECRET_KEY


def health(url: str) -> Result:
    return CliRunner().invoke(
        main, ["health"], env={"DATABASE_URL": url, "CACHEWARDEN_SECRET_KEY": SECRET_KEY}
    )


def wait_until_it_polls(url: str) -> Result:
    deadline = time.monotonic() + 30
    while (result := health(url)).exit_code != 0:
        assert time.monotonic() < deadline, result.output
        time.sleep(0.2)
    return result


def test_a_schema_that_is_not_current(fresh_database_url: str) -> None:
    with psycopg.connect(fresh_database_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    result = health(fresh_database_url)
    assert result.exit_code == 1
    assert "cachewarden db upgrade" in result.output


def test_no_worker_yet(fresh_database_url: str) -> None:
    result = health(fresh_database_url)
    assert result.exit_code == 1
    assert result.output == "No worker has polled yet.\n"


def test_a_worker_that_polls_and_one_that_fell_silent(fresh_database_url: str, live_runtime: Runtime) -> None:
    worker = start_worker(live_runtime)
    try:
        assert "polls, last heard of" in wait_until_it_polls(fresh_database_url).output
    finally:
        worker.stop()
    with psycopg.connect(fresh_database_url) as connection:
        connection.execute("UPDATE worker_state SET beat_at = beat_at - %s", [timedelta(minutes=10)])
    result = health(fresh_database_url)
    assert result.exit_code == 1
    assert "was last heard of 6" in result.output


def test_a_database_that_is_away() -> None:
    result = health("postgresql://nobody:nothing@127.0.0.1:9/none")
    assert result.exit_code != 0
    assert "PostgreSQL does not answer" in result.output
