"""One that takes as long as one lets it."""

from dashboard.demo.lab.types import Bench, Result
from tests.support.tiny import result, scenario


def run(bench: Bench) -> Result:
    """Start a server, and wait."""
    assert bench.valkey().client().ping()
    bench.progress(0.25, "Waiting")
    bench.wait(600)
    return result("waits", 0.038)


SCENARIO = scenario("waits", run)
