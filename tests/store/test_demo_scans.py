"""The demo looks at all keys again and again: what fills its cache is known when somebody asks."""

import threading

from dashboard.cli import demo
from dashboard.keyspace import service as keyspace
from dashboard.work import Runtime, unit_of_work
from tests.support.some_caches import add_cache


class Rounds(threading.Event):
    """Time that passes at once; it is over behind the third wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waited: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited.append(timeout)
        return len(self.waited) > 3


def test_one_scan_follows_another_and_never_two_at_once(runtime: Runtime) -> None:
    cache = add_cache(runtime)

    def asked() -> list[int]:
        with unit_of_work(runtime, demo.ACTOR) as work:
            return [scan.number for scan in keyspace.list_scans(work, cache.id)]

    rounds = Rounds()
    demo._scan_regularly(runtime, cache.id, rounds)
    assert rounds.waited == [demo.SCAN_AFTER_S, *[demo.SCAN_EVERY_S] * 3]
    (first,) = asked()  # nobody has done it yet
    with unit_of_work(runtime, demo.ACTOR) as work:
        keyspace.cancel_scan(work, cache.id, first)
    demo._scan_regularly(runtime, cache.id, Rounds())
    assert len(asked()) == 2
