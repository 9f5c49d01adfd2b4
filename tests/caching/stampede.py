"""A process with many threads that read one missing key at once: ``python -m tests.caching.stampede``."""

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dashboard.caching import Cache


def main(settings: dict[str, Any]) -> None:
    log = Path(settings["log"])

    def load() -> str:
        with log.open("a") as file:
            file.write("loaded\n")
        time.sleep(0.05)
        return "value"

    took_ms: list[float] = []
    with Cache(settings["url"], pool_size=settings["threads"]) as cache:
        cache.get("warm")
        barrier = threading.Barrier(settings["threads"])

        def read() -> None:
            barrier.wait()
            time.sleep(max(0.0, settings["at"] - time.time()))
            began = time.perf_counter()
            assert cache.get_or_load(settings["key"], load) == "value"
            took_ms.append((time.perf_counter() - began) * 1000)

        threads = [threading.Thread(target=read) for _ in range(settings["threads"])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    sys.stdout.write(json.dumps(took_ms))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
