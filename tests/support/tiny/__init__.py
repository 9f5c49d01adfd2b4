"""Scenarios that need no time: stand-ins for those of the lab. Each is known by the name of its module."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import psutil

from dashboard.demo.lab import catalogue
from dashboard.demo.lab.types import LOWER, Bench, Check, Number, Result, Scenario, Side

NAMES = ("passes", "fails", "breaks", "waits", "hangs", "dies")


@contextmanager
def registered(*names: str) -> Iterator[None]:
    """Let the catalogue hold these and no others."""
    with patch.dict(catalogue.MODULES, {name: f"{__name__}.{name}" for name in names}, clear=True):
        yield


def scenario(name: str, run: Callable[[Bench], Result], *, is_accepting: bool = True) -> Scenario:
    """A scenario with words."""
    title, question = f"One that {name}", f"What does one that {name} look like?"
    shows = f"Shows what one that {name} looks like."
    return Scenario(name, title, question, "docs/lab.md#how-runs-work", 3, is_accepting, run, shows)


def result(name: str, after: float, limit: float = 0.2) -> Result:
    """Two sides and a check on the second."""
    sides = (
        Side(
            "Cache off",
            (Number("Page p95", 0.84, "s", LOWER), Number("Errors", 0.031, "ratio", LOWER)),
            {"Database, queries/s": [(float(at), 1_900.0 + at) for at in range(30)]},
        ),
        Side(
            "Cachewarden",
            (Number("Page p95", after, "s", LOWER), Number("Errors", 0.0, "ratio", LOWER)),
            {"Database, queries/s": [(float(at), 140.0) for at in range(30)]},
        ),
    )
    check = Check("Pages are fast", after <= limit, after, limit, "s")
    sentence = "The database answered 1,900 queries a second; with the cache it was 140."
    return Result(name, sides, ("Database, queries/s", "per_s"), (check,), sentence, notes=("A note.",))


def processes_in(folder: Path) -> list[str]:
    """Command lines that name a folder, of whatever process."""
    found = []
    for each in psutil.process_iter(["cmdline"]):
        line = " ".join(each.info["cmdline"] or [])
        if str(folder) in line and "pytest" not in line:
            found.append(line)
    return found
