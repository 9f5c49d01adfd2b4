"""What this machine's processors do, for a run and besides it. Only who runs a scenario needs this, and ``psutil``."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psutil

BUSY_SHARE: Final = 0.15
"""Of the processors; when other programs use as much, it is said."""
SHORTEST_S: Final = 5.0
"""What happened in less says nothing."""
_BUSY_NOTE: Final = (
    "Other programs used {:.0%} of this machine's processors meanwhile: times are longer than they would be, and what"
    " was measured one after the other can't be compared well."
)


def others() -> Callable[[], tuple[str, ...]]:
    """Begin to watch what other programs do; calling the result gives a note if that may have changed the numbers."""
    ours = psutil.Process()
    all_before, ours_before, began = busy_s(), processor_s(ours), time.monotonic()

    def notes() -> tuple[str, ...]:
        took_s = time.monotonic() - began
        if took_s < SHORTEST_S:
            return ()
        used_s = busy_s() - all_before - (processor_s(ours) - ours_before)
        return busy_note(used_s, took_s * (psutil.cpu_count() or 1))

    return notes


def busy_note(used_s: float, there_s: float) -> tuple[str, ...]:
    """What to say when other programs used so much of the processor time that was there, in seconds."""
    part = used_s / there_s if there_s else 0.0
    return (_BUSY_NOTE.format(part),) if part >= BUSY_SHARE else ()


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
