"""One whose Valkey dies in the middle."""

from typing import Any, cast

from dashboard.demo.lab.types import Bench, Result
from tests.support.tiny import result, scenario


def run(bench: Bench) -> Result:
    """Kill the server without starting it again."""
    server = cast(Any, bench.valkey())
    server.kill()
    return result("breaks", 0.038)


SCENARIO = scenario("breaks", run, is_accepting=False)
