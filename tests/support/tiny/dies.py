"""One whose process is killed."""

import os
import signal

from dashboard.demo.lab.types import Bench, Result
from tests.support.tiny import result, scenario


def run(bench: Bench) -> Result:
    """As when memory is short."""
    bench.valkey()
    os.kill(os.getpid(), signal.SIGKILL)
    return result("dies", 0.038)


SCENARIO = scenario("dies", run)
