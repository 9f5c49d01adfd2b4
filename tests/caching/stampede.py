"""A process with many threads that read one missing key at once: ``python -m tests.caching.stampede``."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dashboard.caching import Cache
from tests.caching.conftest import a_policy
from tests.support.meeting import Meeting


def main(settings: dict[str, Any]) -> None:
    folder, threads = Path(settings["folder"]), settings["threads"]
    meeting = Meeting(folder, settings["processes"])

    def load() -> str:
        with (folder / "loads").open("a") as file:
            file.write("loaded\n")
        # A load that was over before the others read would prove nothing.
        meeting.wait("reading")
        time.sleep(0.05)
        return "value"

    took_ms: list[float] = []
    with Cache(settings["url"], pool_size=threads, default=a_policy(longest_wait_s=60.0)) as cache:
        cache.get("warm")
        # So that a lease outlives the load on a machine that is busy, too.
        cache._rule(b"").tally.mean_load_s = 60.0
        # All threads of this process, and then of all.
        together = threading.Barrier(threads, action=lambda: (meeting.say("ready"), meeting.wait("ready")))
        begun = threading.Semaphore(0)

        def read() -> None:
            together.wait()
            begun.release()
            began = time.perf_counter()
            assert cache.get_or_load(settings["key"], load) == "value"
            took_ms.append((time.perf_counter() - began) * 1000)

        readers = [threading.Thread(target=read) for _ in range(threads)]
        for reader in readers:
            reader.start()
        for _ in readers:
            begun.acquire()
        meeting.say("reading")
        for reader in readers:
            reader.join()
    sys.stdout.write(json.dumps(took_ms))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
