"""Runs as the worker does them: one after the other, stopped, void, begun again when a worker was killed."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.access import Role
from dashboard.errors import Conflict, Forbidden, NotFound
from dashboard.jobs.runner import Runner
from dashboard.lab import jobs, service
from dashboard.lab.types import Run, State
from dashboard.work import Runtime
from tests.conftest import SECRET_KEY
from tests.support import servers, tiny
from tests.support.people import add_user, as_cli, as_user
from tests.support.polling import rows, value, wait_until


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where folders for temporary files are made; empty again in the end, and nobody uses it."""
    with servers.folder() as made, tiny.registered(*tiny.NAMES):
        monkeypatch.setattr(tempfile, "tempdir", str(made))
        yield made
        wait_until(lambda: not tiny.processes_in(made), "every process of it has ended")
        assert list(made.iterdir()) == []


@pytest.fixture
def worker(live_runtime: Runtime, folder: Path) -> Iterator[Runner]:
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    yield runner
    runner.stop()


def ask(runtime: Runtime, name: str) -> Run:
    with as_cli(runtime) as work:
        return service.start_run(work, name)


def get(runtime: Runtime, run: Run) -> Run:
    with as_cli(runtime) as work:
        return service.get_run(work, run.number)


def stop(runtime: Runtime, run: Run) -> None:
    with as_cli(runtime) as work:
        service.cancel_run(work, run.number)


def says(runtime: Runtime, run: Run, words: str) -> None:
    wait_until(lambda: get(runtime, run).words == words, f"it says {words}")


def waited(runtime: Runtime, run: Run, state: State) -> Run:
    wait_until(lambda: get(runtime, run).state.is_over, "it is over")
    found = get(runtime, run)
    assert found.state is state, found
    return found


def verbs(runtime: Runtime) -> list[str]:
    query = "SELECT action, subject FROM audit_entry WHERE action LIKE 'lab:%' ORDER BY id"
    return [
        f"{row.subject.partition(',')[0]} {row.action.rpartition(':')[2]}"
        for row in rows(runtime.database, query)
    ]


def test_what_was_found_is_kept(live_runtime: Runtime, worker: Runner) -> None:
    found = waited(live_runtime, ask(live_runtime, "passes"), State.PASSED)
    assert found.result is not None and found.result.sides == tiny.result("passes", 0.038).sides
    assert found.by == "root" and found.took_s is not None and found.problem == ""
    assert verbs(live_runtime) == ["passes start", "passes done"]
    assert value(live_runtime.database, "SELECT count(*) FROM job") == 0


def test_two_at_once_are_done_one_after_the_other(live_runtime: Runtime, worker: Runner) -> None:
    first, second = ask(live_runtime, "waits"), ask(live_runtime, "fails")
    says(live_runtime, first, "Waiting")
    assert get(live_runtime, second).state is State.WAITING
    with pytest.raises(Conflict, match="waits or runs already"):
        ask(live_runtime, "fails")
    stop(live_runtime, first)
    waited(live_runtime, first, State.CANCELLED)
    failed = waited(live_runtime, second, State.FAILED)
    assert failed.started_at is not None
    ended_at = get(live_runtime, first).ended_at
    assert ended_at is not None and failed.started_at >= ended_at
    assert verbs(live_runtime) == [
        "waits start",
        "fails start",
        "waits ask-cancel",
        "waits cancel",
        "fails done",
    ]


def test_one_that_is_stopped_leaves_nothing(live_runtime: Runtime, worker: Runner, folder: Path) -> None:
    run = ask(live_runtime, "waits")
    says(live_runtime, run, "Waiting")
    assert tiny.processes_in(folder) and list(folder.iterdir())
    assert get(live_runtime, run).share == 0.25
    stop(live_runtime, run)
    assert waited(live_runtime, run, State.CANCELLED).result is None
    # They were gone before it was said to be over.
    assert not tiny.processes_in(folder) and not list(folder.iterdir())
    with pytest.raises(Conflict, match="over already"):
        stop(live_runtime, run)


def test_one_that_waits_is_stopped_without_a_worker(live_runtime: Runtime) -> None:
    run = ask(live_runtime, "passes")
    stop(live_runtime, run)
    assert get(live_runtime, run).state is State.CANCELLED
    assert value(live_runtime.database, "SELECT count(*) FROM job") == 0


def test_all_are_asked_for_and_all_are_stopped(live_runtime: Runtime) -> None:
    ask(live_runtime, "passes")
    with as_cli(live_runtime) as work:
        assert [run.scenario for run in service.start_all(work)] == [
            name for name in tiny.NAMES if name != "passes"
        ]
    with as_cli(live_runtime) as work:
        assert service.cancel_all(work) == len(tiny.NAMES)
        assert service.list_open(work) == []


@pytest.mark.parametrize(("name", "why"), [("breaks", "Valkey ended"), ("dies", "signal 9")])
def test_what_broke_makes_it_void(live_runtime: Runtime, worker: Runner, name: str, why: str) -> None:
    found = waited(live_runtime, ask(live_runtime, name), State.VOID)
    assert why in found.problem
    assert verbs(live_runtime) == [f"{name} start", f"{name} fail"]


def test_a_worker_that_ends_gives_its_run_back(live_runtime: Runtime, folder: Path) -> None:
    run = ask(live_runtime, "waits")
    first = Runner(live_runtime, jobs.handlers(live_runtime))
    first.start()
    says(live_runtime, run, "Waiting")
    first.stop()
    assert not tiny.processes_in(folder)
    assert get(live_runtime, run).state is State.RUNNING
    second = Runner(live_runtime, jobs.handlers(live_runtime))
    second.start()
    wait_until(lambda: tiny.processes_in(folder), "it is begun again")
    stop(live_runtime, run)
    waited(live_runtime, run, State.CANCELLED)
    second.stop()


def test_a_worker_that_is_killed_takes_its_servers_along(
    live_runtime: Runtime, fresh_database_url: str, folder: Path
) -> None:
    run = ask(live_runtime, "waits")
    killed = subprocess.Popen(
        [sys.executable, "-m", "tests.support.lab_worker"],
        stdin=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert killed.stdin is not None
    killed.stdin.write(json.dumps({"url": fresh_database_url, "secret_key": SECRET_KEY}) + "\n")
    killed.stdin.flush()
    says(live_runtime, run, "Waiting")
    killed.kill()
    killed.wait()
    killed.stdin.close()
    wait_until(lambda: not tiny.processes_in(folder), "its child and the servers have ended")
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    wait_until(lambda: tiny.processes_in(folder), "another worker begins it again")
    stop(live_runtime, run)
    waited(live_runtime, run, State.CANCELLED)
    runner.stop()


def test_a_run_that_brings_workers_down_is_void_in_the_end(live_runtime: Runtime) -> None:
    run = ask(live_runtime, "waits")
    with live_runtime.database.transaction() as session:
        session.connection().exec_driver_sql(f"UPDATE job SET attempt = {jobs.MOST_BEGINNINGS}")
    runner = Runner(live_runtime, jobs.handlers(live_runtime))
    runner.start()
    found = waited(live_runtime, run, State.VOID)
    runner.stop()
    assert found.problem == "Its worker ended in the middle of it, 3 times."


def test_a_scenario_of_another_release(live_runtime: Runtime, folder: Path) -> None:
    run = ask(live_runtime, "passes")
    with tiny.registered("fails"):
        runner = Runner(live_runtime, jobs.handlers(live_runtime))
        runner.start()
        assert "no such scenario" in waited(live_runtime, run, State.VOID).problem
        runner.stop()
        with pytest.raises(NotFound):
            ask(live_runtime, "passes")


def test_looking_is_for_viewers_running_for_operators(live_runtime: Runtime) -> None:
    run = ask(live_runtime, "passes")
    with as_user(live_runtime, add_user(live_runtime, "looks", Role.VIEWER)) as work:
        assert service.get_run(work, run.number).state is State.WAITING
        assert [each.number for each in service.list_runs(work)] == [run.number]
        for step in (
            lambda: service.start_run(work, "fails"),
            lambda: service.start_all(work),
            lambda: service.cancel_run(work, run.number),
            lambda: service.cancel_all(work),
        ):
            with pytest.raises(Forbidden):
                step()
    with as_user(live_runtime, add_user(live_runtime, "runs", Role.OPERATOR)) as work:
        service.cancel_run(work, run.number)


def test_old_runs_are_forgotten(live_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "KEPT", 2)
    for name in ("fails", "passes", "passes", "passes"):
        stop(live_runtime, ask(live_runtime, name))
    with as_cli(live_runtime) as work:
        assert [run.scenario for run in service.list_runs(work)] == ["passes", "passes", "fails"]
        newest = service.list_runs(work, "passes", limit=1)[0].number
        older = service.list_runs(work, "passes", before=newest)
        assert len(older) == 1
        with pytest.raises(NotFound):
            service.get_run(work, older[0].number - 1)
