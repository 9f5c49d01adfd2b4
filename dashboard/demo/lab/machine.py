"""What this machine's processors do, for a run and besides it. Only who runs a scenario needs this, and ``psutil``."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

import psutil

from dashboard.demo.lab.types import Result, Scenario, Void

BUSY_SHARE: Final = 0.15
"""Of the processors; when other programs use as much, it is said."""
TOO_BUSY_SHARE: Final = 0.25
"""When they use as much, a check of times that does not hold says nothing."""
SHORTEST_S: Final = 5.0
"""What happened in less says nothing."""
_BUSY_NOTE: Final = (
    "Other programs used {:.0%} of this machine's processors meanwhile: times are longer than they would be, and what"
    " was measured one after the other can't be compared well."
)
_TOO_BUSY: Final = (
    "Other programs used {:.0%} of this machine's processors meanwhile, so its times can't be compared: {} of {} checks"
    " do not hold. Run it again when the machine has less to do."
)


def others() -> Callable[[], float]:
    """Begin to watch what other programs do; calling the result gives the share of the processors that they used, 0..1.

    It is 0 where too little time has gone by to say.
    """
    ours = psutil.Process()
    all_before, ours_before, began = busy_s(), processor_s(ours), time.monotonic()

    def used() -> float:
        took_s = time.monotonic() - began
        if took_s < SHORTEST_S:
            return 0.0
        used_s = busy_s() - all_before - (processor_s(ours) - ours_before)
        return max(0.0, used_s / (took_s * (psutil.cpu_count() or 1)))

    return used


def judged(scenario: Scenario, result: Result, others_share: float, *, quick: bool = False) -> Result:
    """A result with what is to be said of the machine it was measured on.

    Args:
        others_share: of the processors that other programs used meanwhile, 0..1.
        quick: the checks are not to be judged.

    Raises:
        Void: a check of times does not hold, and others used so much that this says nothing.
    """
    if scenario.compares_times and not quick and not result.passed and others_share >= TOO_BUSY_SHARE:
        failing = sum(not check.passed for check in result.checks)
        raise Void(_TOO_BUSY.format(others_share, failing, len(result.checks)))
    note = (_BUSY_NOTE.format(others_share),) if others_share >= BUSY_SHARE else ()
    return replace(result, notes=(*result.notes, *note))


def busy_s() -> float:
    """Processor time of everything on this machine, of other guests of its host, too."""
    times = psutil.cpu_times()
    return float(sum(times[:4]) - times.idle + getattr(times, "irq", 0.0) + getattr(times, "steal", 0.0))


def processor_s(process: psutil.Process) -> float:
    """Processor time of a process and all that it started, also of what has ended; seconds.

    Raises:
        psutil.NoSuchProcess: it has ended.
    """
    total = _spent_s(process)
    for each in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            total += _spent_s(each)
    return total


def _spent_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
