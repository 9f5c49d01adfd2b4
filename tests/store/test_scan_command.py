"""``cachewarden scan`` as a script runs it: numbers, progress beside them, exit codes."""

import json
from collections.abc import Iterator

import pytest
import redis
from click.testing import CliRunner, Result

from dashboard.cli import main
from dashboard.jobs.runner import Runner
from dashboard.keyspace import jobs, service
from dashboard.work import Runtime
from tests.conftest import SECRET_KEY
from tests.support.people import as_cli
from tests.support.some_caches import add_cache


@pytest.fixture
def cache_id(live_runtime: Runtime, valkey_url: str) -> int:
    with redis.Redis.from_url(valkey_url) as client:
        client.mset({f"product:{number}": "x" * 50 for number in range(300)})
        client.mset({b"odd\x1b[2J:\xff": "x"})
    return add_cache(live_runtime, "shop-prod", valkey_url).id


@pytest.fixture
def worker(live_runtime: Runtime) -> Iterator[None]:
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    yield
    runner.stop()


@pytest.fixture
def environment(fresh_database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_database_url)
    monkeypatch.setenv("CACHEWARDEN_SECRET_KEY", SECRET_KEY)


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["scan", *words])


def test_a_full_scan_prints_the_prefixes(environment: None, cache_id: int, worker: None) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["keys", "memory", "prefix"]
    assert lines[1].split()[0] == "301" and lines[1].endswith("(all)")
    assert [line.split()[0] for line in lines if line.endswith("product:")] == ["300"]
    # What a key is called does not steer the terminal.
    assert "\x1b" not in done.stdout and "\\x1b" in done.stdout
    assert "Scan " in done.stderr and "of shop-prod." in done.stderr


def test_a_sample_needs_no_worker_and_json_is_for_programs(environment: None, cache_id: int) -> None:
    done = run("--cache", "shop-prod", "--sample", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["kind"], found["looked_at"], found["keyspace"]) == ("sample", 301, 301)
    product = next(each for each in found["prefixes"] if each["prefix"] == "product:")
    assert (product["keys"], product["keys_error"], product["without_ttl"]) == (300, 0, 300)


def test_a_scan_that_is_cancelled_has_no_numbers(
    environment: None, live_runtime: Runtime, cache_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel(seconds: float) -> None:
        with as_cli(live_runtime) as work:
            scan = service.find_scan(work, cache_id)
            assert scan is not None
            service.cancel_scan(work, cache_id, scan.number)

    monkeypatch.setattr("dashboard.cli.scan.time.sleep", cancel)
    done = run()
    assert done.exit_code == 1 and "was cancelled" in done.stderr and done.stdout == ""


def test_what_can_not_be_scanned_is_an_error(environment: None, live_runtime: Runtime, cache_id: int) -> None:
    assert run("--cache", "nowhere").exit_code == 2
    with as_cli(live_runtime) as work:
        service.start_scan(work, cache_id)
    again = run()
    assert again.exit_code == 2 and "under way already" in again.stderr
