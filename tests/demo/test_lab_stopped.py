"""Scenarios that are cancelled, or lose a server, in the middle."""

import threading
from contextlib import suppress
from types import ModuleType
from typing import Any

import psutil
import pytest

from dashboard.demo.lab import running
from dashboard.demo.lab.bench import LabBench
from dashboard.demo.lab.scenarios import forgotten_invalidation, lost_race, memory, tiers, wallet
from dashboard.demo.lab.types import Cancelled
from tests.support.polling import wait_until


class CancelledAt:
    """A bench whose run is cancelled as soon as it says something.

    Args:
        words: part of what it says.
    """

    def __init__(self, bench: LabBench, words: str) -> None:
        self._bench = bench
        self._words = words

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bench, name)

    def progress(self, share: float, words: str) -> None:
        if self._words in words:
            raise Cancelled


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (forgotten_invalidation, "nobody has noticed yet"),
        (lost_race, "Cachewarden: racing"),
        (wallet, "Write-through: customers pay"),
        (tiers, "Reading, while rows change"),
        (memory, "volatile-ttl: reading products"),
    ],
    ids=["forgotten-invalidation", "lost-race", "wallet", "tiers", "memory"],
)
def test_a_cancelled_run_leaves_no_thread(quick_bench: LabBench, module: ModuleType, words: str) -> None:
    with pytest.raises(Cancelled):
        module.SCENARIO.run(CancelledAt(quick_bench, words))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lab")]


@pytest.mark.parametrize("what", ["postmaster", "client backend"])
def test_a_postgresql_that_crashes_in_the_middle_makes_it_void(what: str) -> None:
    """Also one whose server would begin again by itself: what it had counted is lost."""

    def ours() -> set[psutil.Process]:
        return {each for each in psutil.Process().children(recursive=True) if each.name() == "postgres"}

    there = ours()

    def is_backend(each: psutil.Process) -> bool:
        return "127.0.0.1" in "".join(each.cmdline())

    def say(share: float, words: str) -> None:
        if words.startswith("Write-through"):
            for each in ours() - there:
                with suppress(psutil.NoSuchProcess):
                    if (each.parent() not in ours()) if what == "postmaster" else is_backend(each):
                        each.kill()
                        return

    found = running.run(wallet.SCENARIO, quick=True, say=say)
    assert found.void == "PostgreSQL ended in the middle of the run."
    assert not found.passed and not found.sides
    wait_until(lambda: not ours() - there, "its servers have ended")


def test_a_valkey_that_ends_in_the_middle_makes_it_void() -> None:
    def ours() -> set[psutil.Process]:
        return {each for each in psutil.Process().children(recursive=True) if each.name() == "valkey-server"}

    there = ours()

    def say(share: float, words: str) -> None:
        if words.startswith("Write-through"):
            for each in ours() - there:
                each.kill()

    found = running.run(wallet.SCENARIO, quick=True, say=say)
    assert "Valkey ended" in found.void
    assert not found.passed and not found.sides
    wait_until(lambda: not ours() - there, "its servers have ended")
