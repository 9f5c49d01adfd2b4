"""One that does not hear that it is to end."""

import subprocess
import sys
import tempfile
import time

from dashboard.demo.lab.types import Bench, Result
from tests.support.tiny import result, scenario


def run(bench: Bench) -> Result:
    """Start a server and a program, and sleep."""
    bench.valkey()
    # Its command line names the run's folder, so that the test finds it.
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", tempfile.gettempdir()])
    bench.progress(0.25, "Hanging")
    time.sleep(600)
    return result("hangs", 0.038)


SCENARIO = scenario("hangs", run)
