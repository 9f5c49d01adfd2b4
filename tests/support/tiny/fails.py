"""One with a check that does not hold."""

from dashboard.demo.lab.types import Bench, Result
from tests.support.tiny import result, scenario


def run(bench: Bench) -> Result:
    """Find that pages are slow."""
    return result("fails", 0.5)


SCENARIO = scenario("fails", run)
