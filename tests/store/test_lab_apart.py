"""A run in its own process: what comes out, and that nothing is left of it whatever happens."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dashboard.demo.lab import __main__ as child
from dashboard.demo.lab import apart, catalogue
from dashboard.demo.lab.types import Cancelled, Result
from tests.support import servers, tiny
from tests.support.polling import wait_until


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where folders for temporary files are made; empty again in the end, and nobody uses it."""
    with servers.folder() as made, tiny.registered(*tiny.NAMES):
        monkeypatch.setattr(tempfile, "tempdir", str(made))
        yield made
        wait_until(lambda: not tiny.processes_in(made), "every process of it has ended")
        assert list(made.iterdir()) == []


class _Enough(Exception):
    """What a beat raises."""


def stopped_at(words: str, name: str) -> None:
    """Run until it says so, and stop it."""
    said: list[str] = []

    def beat() -> None:
        if words in said:
            raise _Enough

    with pytest.raises(_Enough):
        apart.run(name, tell=lambda share, told: said.append(told), beat=beat)


def test_a_result_comes_out_whole() -> None:
    told: list[tuple[float, str]] = []
    found = apart.run("passes", seed=7, tell=lambda share, words: told.append((share, words)))
    assert told == [(0.5, "Half of it")]
    assert found.passed and found.setup["seed"] == 7 and found.took_s > 0
    assert found.sides == tiny.result("passes", 0.038).sides
    assert Result.from_json(found.to_json()) == found


def test_a_check_that_does_not_hold_is_a_result() -> None:
    found = apart.run("fails", quick=True)
    assert not found.passed and not found.void and found.setup["quick"] == "yes"


def test_a_server_that_went_away_makes_it_void() -> None:
    assert apart.run("breaks").void == "Valkey ended in the middle of the run."


def test_a_process_that_was_killed_makes_it_void() -> None:
    assert "ended by signal 9" in apart.run("dies").void


def test_one_that_is_stopped_leaves_nothing() -> None:
    stopped_at("Waiting", "waits")


@pytest.mark.slow
def test_one_that_does_not_hear_is_ended_all_the_same() -> None:
    stopped_at("Hanging", "hangs")


def test_one_that_somebody_else_ends_is_cancelled(folder: Path) -> None:
    def tell(share: float, words: str) -> None:
        if words == "Waiting":
            (pid,) = (
                each.pid for each in psutil.Process().children() if "dashboard.demo.lab" in each.cmdline()
            )
            os.kill(pid, signal.SIGTERM)

    with pytest.raises(Cancelled):
        apart.run("waits", tell=tell)


def test_it_ends_when_its_starter_was_killed(folder: Path) -> None:
    code = (
        "import tempfile\n"
        f"tempfile.tempdir = {str(folder)!r}\n"
        "from dashboard.demo.lab import apart\n"
        "from tests.support import tiny\n"
        "with tiny.registered('waits'):\n"
        "    apart.run('waits', tell=lambda share, words: print(words, flush=True))\n"
    )
    starter = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None and starter.stdout.readline() == "Waiting\n"
    assert tiny.processes_in(folder)
    starter.kill()
    starter.wait()
    starter.stdout.close()
    wait_until(lambda: not tiny.processes_in(folder), "its child and the servers have ended")
    # Nobody was there to remove the folder; the next run does.
    assert list(folder.iterdir())
    apart.run("passes")


def test_who_comes_later_waits_and_the_folder_of_a_run_under_way_stays(folder: Path) -> None:
    told: list[tuple[str, bool]] = []
    found: list[Result] = []

    def is_first_there() -> bool:
        return any(" waits " in line for line in tiny.processes_in(folder))

    def second() -> None:
        found.append(apart.run("passes", tell=lambda share, words: told.append((words, is_first_there()))))

    later = threading.Thread(target=second)

    def tell(share: float, words: str) -> None:
        if words == "Waiting":
            later.start()

    def beat() -> None:
        if told:
            raise _Enough

    with pytest.raises(_Enough):
        apart.run("waits", tell=tell, beat=beat)
    later.join(60)
    assert found[0].passed
    assert told[0] == (apart.WAITS, True) and told[-1] == ("Half of it", False)


def test_who_waits_can_be_stopped(folder: Path) -> None:
    told: list[str] = []

    def beat() -> None:
        if apart.WAITS in told:
            raise _Enough

    def tell(share: float, words: str) -> None:
        if words == "Waiting":
            with pytest.raises(_Enough):
                apart.run("passes", tell=lambda share, words: told.append(words), beat=beat)
            told.append("stopped")

    def stop() -> None:
        if "stopped" in told:
            raise _Enough

    with pytest.raises(_Enough):
        apart.run("waits", tell=tell, beat=stop)
    assert set(told) == {apart.WAITS, "stopped"}


def test_half_a_line_of_a_process_that_was_killed_says_nothing() -> None:
    says = r'{"share": 0.5, "words": "Half of it"}\n{"result": {"scenario": "pa'
    told: list[str] = []
    with subprocess.Popen(["printf", says], stdout=subprocess.PIPE) as child:
        last = apart._follow(child, lambda share, words: told.append(words), lambda: None)
    assert told == ["Half of it"] and "result" not in last


def test_a_scenario_that_is_not_there() -> None:
    with tiny.registered("nowhere"):
        assert catalogue.scenarios() == [] and catalogue.find("nowhere") is None
    assert catalogue.find("unheard-of") is None
    assert child.main(["unheard-of"]) == child.USAGE
