"""What single keys cost to look at."""

import pytest

from dashboard.invalidation import facts


@pytest.mark.parametrize(
    ("took_s", "commands", "busy_s"),
    [
        (0.004, 500, 0.001),  # writing and reading so many takes this process longer than the server
        (0.0005, 500, 0.0005),  # it was quicker than that
        (1.0, 500, 1.0),  # nothing but the server takes so long
        (0.0, 0, 0.0),
    ],
)
def test_a_round_trip_is_not_all_the_servers_work(took_s: float, commands: int, busy_s: float) -> None:
    assert facts.busy_s(took_s, commands) == pytest.approx(busy_s)
