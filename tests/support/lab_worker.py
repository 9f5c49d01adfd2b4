"""A worker process that runs tiny scenarios: ``python -m tests.support.lab_worker``; a line of JSON says for whom."""

import json
import signal
import sys

from dashboard.config import load_settings
from dashboard.jobs import runner
from dashboard.jobs.runner import Runner
from dashboard.lab import jobs
from dashboard.work import build_runtime
from tests.support import tiny

LEASE_S = 1.5
"""Instead of ten seconds: a test waits for it to end."""


def main() -> None:
    """Work until SIGTERM."""
    given = json.loads(sys.stdin.readline())
    runner.LEASE_S, runner.MARGIN_S, runner.RENEW_EVERY_S = LEASE_S, LEASE_S / 5, LEASE_S / 6
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    runtime = build_runtime(load_settings(secret_key=given["secret_key"]), database_url=given["url"])
    with tiny.registered(*tiny.NAMES):
        worker = Runner(runtime, jobs.handlers(runtime))
        worker.start()
        signal.sigwait({signal.SIGTERM})
        worker.stop()
    runtime.close()


if __name__ == "__main__":
    main()
