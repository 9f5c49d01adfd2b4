"""The progress that a worker tells of: its rate."""

import pytest

from dashboard.invalidation.saving import Saver
from dashboard.invalidation.types import NodeProgress, Progress
from tests.conftest import FixedClock
from tests.support.purging import MemoryJournal


def test_the_rate_is_that_of_the_keys_however_they_lie_in_segments() -> None:
    """Not above what a limit lets through, neither in the first moment nor when a segment ends."""
    clock = FixedClock()
    saver = Saver(Progress(touched=70_000), MemoryJournal(), clock, cap=1_000_000)
    at = NodeProgress("node", "run", 7)
    rates = []
    for _ in range(8):
        begun = saver.begin(at, [b"%d" % number for number in range(900)])
        for _ in range(9):
            clock.mono += 0.1
            saver.done(begun, 100, 0)
            rates.append(saver.progress.keys_per_s)
    assert rates[0] == pytest.approx(100.0)
    assert max(rates) <= 1_000.001
    assert rates[-1] == pytest.approx(1_000.0)
